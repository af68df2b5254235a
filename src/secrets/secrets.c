#include "secrets/secrets_internal.h"

#include "base/text.h"

/*
 * Volatile state of the module, and the module itself.
 */

const struct api_error secret_validation_exception = {.name = "ValidationException",
                                                      .http_status = 400};

static void *state_new(struct core *core)
{
    (void)core;
    struct secrets_state *state = ALLOC(struct secrets_state);
    secrets_stock_init(&state->stock);
    state->by_realm = index_new();
    return state;
}

static void state_free(void *pointer)
{
    struct secrets_state *state = pointer;
    if (state == NULL) {
        return;
    }
    index_free(state->by_realm);
    secrets_stock_deinit(&state->stock);
    alloc_free(state);
}

struct secrets_state *secrets_state(const struct core *core)
{
    return core_module_state(core, &secrets_module);
}

void secrets_set_cipher(struct core *core, const struct seal_cipher *cipher)
{
    secrets_state(core)->cipher = cipher;
}

const struct seal_cipher *secrets_cipher(const struct core *core)
{
    return secrets_state(core)->cipher;
}

static struct text sealed_of(const void *record)
{
    return ((const struct secrets_record_version *)record)->sealed;
}

size_t secrets_count_foreign(const struct core *core)
{
    return secrets_foreign(core, &secrets_version_kind, sealed_of);
}

// ---- what follows from records --------------------------------------------------------------

static void number_key(struct index_key *out_key, int64_t number)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)number);
}

// Neither realm nor name of a secret ever changes.
static void secret_changed(struct secrets_state *state, int64_t key,
                           const struct secrets_record_secret *before,
                           const struct secrets_record_secret *after)
{
    if (before != NULL && after != NULL) {
        return;
    }
    const struct secrets_record_secret *secret = before == NULL ? after : before;
    struct index_key name;
    struct index_key realm;
    number_key(&realm, secret->realm);
    number_key(&name, secret->realm);
    index_key_text(&name, secret->name);
    if (before == NULL) {
        index_add(state->stock.by_name, &name, key);
        index_add(state->by_realm, &realm, key);
        secrets_count_change(&state->stock.counts, secret->realm, 1);
    } else {
        index_remove(state->stock.by_name, &name, key);
        index_remove(state->by_realm, &realm, key);
        secrets_count_change(&state->stock.counts, secret->realm, -1);
    }
}

static void version_changed(struct secrets_state *state, int64_t key,
                            const struct secrets_record_version *before,
                            const struct secrets_record_version *after)
{
    struct index_key at;
    if (before != NULL) {
        number_key(&at, before->secret);
        index_remove(state->stock.versions, &at, key);
        state->stock.stored_bytes -= before->size;
    }
    if (after != NULL) {
        number_key(&at, after->secret);
        index_add(state->stock.versions, &at, key);
        state->stock.stored_bytes += after->size;
    }
}

static void changed(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after)
{
    (void)core;
    if (kind == &secrets_secret_kind) {
        secret_changed(state, key, before, after);
    } else if (kind == &secrets_version_kind) {
        version_changed(state, key, before, after);
    }
}

// ---- the end of a recovery window -------------------------------------------------------------

static void secret_work(struct core_call *call, void *state, int64_t key)
{
    (void)state;
    const struct secrets_record_secret *secret = core_get(call->core, &secrets_secret_kind, key);
    if (secret == NULL || secret->deletion_at == 0) {
        return;
    }
    if (secret->deletion_at > call->now_ms) {
        core_timer(call, &secret_manager, key, secret->deletion_at);
    } else {
        secret_remove(call, key);
    }
}

static void recover(struct core_call *call, void *state)
{
    (void)state;
    for (int64_t key = core_next(call->core, &secrets_secret_kind, 0); key != 0;
         key = core_next(call->core, &secrets_secret_kind, key)) {
        const struct secrets_record_secret *secret =
            core_get(call->core, &secrets_secret_kind, key);
        if (secret->deletion_at != 0) {
            core_timer(call, &secret_manager, key, secret->deletion_at);
        }
    }
}

// ---- invariants -----------------------------------------------------------------------------

static size_t count_bearers(const struct core *core, int64_t secret, struct text stage)
{
    size_t count = 0;
    struct secret_version version = {0};
    while (secret_version_next(core, secret, &version)) {
        count += secret_version_has(version.record, stage) ? 1 : 0;
    }
    return count;
}

static void check_secret(struct core *core, int64_t key, struct buf *violations)
{
    struct secret_version version = {0};
    size_t count = 0;
    while (secret_version_next(core, key, &version)) {
        count++;
        const struct secrets_record_version *record = version.record;
        for (size_t i = 0; i < record->stages.count; i++) {
            if (count_bearers(core, key, record->stages.items[i]) != 1) {
                buf_format(violations, "secrets: %.*s is on two versions of secret %lld\n",
                           TEXT_FMT(record->stages.items[i]), (long long)key);
            }
        }
        if (record->sealed.size != (size_t)record->size + SEAL_MORE_BYTES) {
            buf_format(violations, "secrets: version %lld does not have its size\n",
                       (long long)version.key);
        }
    }
    if (count > SECRETS_VERSIONS_MAX) {
        buf_format(violations, "secrets: secret %lld has %zu versions\n", (long long)key, count);
    }
    if (count > 0 && count_bearers(core, key, TEXT(SECRETS_CURRENT)) != 1) {
        buf_format(violations, "secrets: secret %lld has no current version\n", (long long)key);
    }
}

static void check(void *pointer, struct core *core, struct buf *violations)
{
    const struct secrets_state *state = pointer;
    if (index_count(state->stock.by_name) != core_count(core, &secrets_secret_kind)) {
        buf_string(violations, "secrets: the index of names does not fit\n");
    }
    int64_t bytes = 0;
    for (int64_t key = core_next(core, &secrets_version_kind, 0); key != 0;
         key = core_next(core, &secrets_version_kind, key)) {
        const struct secrets_record_version *version = core_get(core, &secrets_version_kind, key);
        bytes += version->size;
        if (core_get(core, &secrets_secret_kind, version->secret) == NULL) {
            buf_format(violations, "secrets: version %lld has no secret\n", (long long)key);
        }
    }
    if (bytes != state->stock.stored_bytes) {
        buf_string(violations, "secrets: the values' bytes are not counted right\n");
    }
    for (int64_t key = core_next(core, &secrets_secret_kind, 0); key != 0;
         key = core_next(core, &secrets_secret_kind, key)) {
        const struct secrets_record_secret *secret = core_get(core, &secrets_secret_kind, key);
        struct index_key name;
        number_key(&name, secret->realm);
        index_key_text(&name, secret->name);
        if (index_get(state->stock.by_name, &name) != key) {
            buf_format(violations, "secrets: secret %lld shares its name\n", (long long)key);
        }
        check_secret(core, key, violations);
    }
}

// ---- the module -------------------------------------------------------------------------------

const struct core_kind secrets_kinds[] = {
    {.number = 100, .name = "secret", .type = &secrets_record_secret_shape, .version = 1},
    {.number = 101, .name = "secret_version", .type = &secrets_record_version_shape, .version = 1},
};

const struct core_manager secret_manager = {.name = "secret", .work = secret_work};

static const struct core_handler handlers[] = {
    {&secretsmanager_operations[SECRETSMANAGER_OP_CREATE_SECRET], secret_create},
    {&secretsmanager_operations[SECRETSMANAGER_OP_DELETE_SECRET], secret_delete},
    {&secretsmanager_operations[SECRETSMANAGER_OP_DELETE_RESOURCE_POLICY], secret_delete_policy},
    {&secretsmanager_operations[SECRETSMANAGER_OP_DESCRIBE_SECRET], secret_describe},
    {&secretsmanager_operations[SECRETSMANAGER_OP_GET_RANDOM_PASSWORD], secret_random_password},
    {&secretsmanager_operations[SECRETSMANAGER_OP_GET_RESOURCE_POLICY], secret_get_policy},
    {&secretsmanager_operations[SECRETSMANAGER_OP_GET_SECRET_VALUE], secret_get_value},
    {&secretsmanager_operations[SECRETSMANAGER_OP_LIST_SECRETS], secret_list},
    {&secretsmanager_operations[SECRETSMANAGER_OP_LIST_SECRET_VERSION_IDS], secret_list_versions},
    {&secretsmanager_operations[SECRETSMANAGER_OP_PUT_SECRET_VALUE], secret_put_value},
    {&secretsmanager_operations[SECRETSMANAGER_OP_RESTORE_SECRET], secret_restore},
    {&secretsmanager_operations[SECRETSMANAGER_OP_TAG_RESOURCE], secret_tag},
    {&secretsmanager_operations[SECRETSMANAGER_OP_UNTAG_RESOURCE], secret_untag},
    {&secretsmanager_operations[SECRETSMANAGER_OP_UPDATE_SECRET], secret_update},
    {&secretsmanager_operations[SECRETSMANAGER_OP_UPDATE_SECRET_VERSION_STAGE],
     secret_update_stage},
};

const struct core_module secrets_module = {
    .name = "secrets",
    .kinds = secrets_kinds,
    .kind_count = ARRAY_LEN(secrets_kinds),
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = &secret_manager,
    .manager_count = 1,
    .state_new = state_new,
    .state_free = state_free,
    .changed = changed,
    .recover = recover,
    .check = check,
};
