#include "identity/identity_internal.h"

#include "api/berth.h"
#include "api/identity.h"
#include "api/sts.h"
#include "base/limits.h"
#include "base/text.h"

/** No account, region or id of ours is longer; longer ones are in no index. */
#define ID_BYTES_MAX 128
#define SIGNING_KEY_DIGITS 64

// ---- volatile state -----------------------------------------------------------------------

static void *state_new(struct core *core)
{
    (void)core;
    struct identity_state *state = ALLOC(struct identity_state);
    state->realms = index_new();
    state->node_keys = index_new();
    return state;
}

static void state_free(void *pointer)
{
    struct identity_state *state = pointer;
    if (state == NULL) {
        return;
    }
    index_free(state->realms);
    index_free(state->node_keys);
    map_deinit(&state->keys);
    map_deinit(&state->tokens);
    alloc_free(state);
}

static struct identity_state *state_of(const struct core *core)
{
    return core_module_state(core, &identity_module);
}

// Maps hold pointers; a record's key is above zero, so that it never reads as an absent entry.
static void map_put_key(struct map *map, struct text id, int64_t key)
{
    ASSERT(key > 0);
    map_put(map, id, (void *)(uintptr_t)key);
}

int64_t identity_map_get(const struct map *map, struct text id)
{
    return (int64_t)(uintptr_t)map_get(map, id);
}

static void realm_key(struct index_key *out_key, struct text account, struct text region)
{
    out_key->size = 0;
    index_key_text(out_key, account);
    index_key_text(out_key, region);
}

static void node_key(struct index_key *out_key, struct text node_id)
{
    out_key->size = 0;
    index_key_text(out_key, node_id);
}

static void realm_changed(struct identity_state *state, int64_t key,
                          const struct identity_record_realm *before,
                          const struct identity_record_realm *after)
{
    struct index_key at;
    if (before != NULL) {
        realm_key(&at, before->account, before->region);
        index_remove(state->realms, &at, key);
    }
    if (after != NULL) {
        realm_key(&at, after->account, after->region);
        index_add(state->realms, &at, key);
    }
}

static void access_key_changed(struct identity_state *state, int64_t key,
                               const struct identity_record_access_key *before,
                               const struct identity_record_access_key *after)
{
    struct index_key at;
    if (before != NULL) {
        map_remove(&state->keys, before->access_key_id);
        if (before->node_id.data != NULL) {
            node_key(&at, before->node_id);
            index_remove(state->node_keys, &at, key);
        }
    }
    if (after != NULL) {
        map_put_key(&state->keys, after->access_key_id, key);
        if (after->node_id.data != NULL) {
            node_key(&at, after->node_id);
            index_add(state->node_keys, &at, key);
        }
    }
}

static void token_changed(struct identity_state *state, int64_t key,
                          const struct identity_record_join_token *before,
                          const struct identity_record_join_token *after)
{
    if (before != NULL) {
        map_remove(&state->tokens, before->token_id);
    }
    if (after != NULL) {
        map_put_key(&state->tokens, after->token_id, key);
    }
}

static void changed(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after)
{
    (void)core;
    if (kind == &identity_realm_kind) {
        realm_changed(state, key, before, after);
    } else if (kind == &identity_access_key_kind) {
        access_key_changed(state, key, before, after);
    } else if (kind == &identity_join_token_kind) {
        token_changed(state, key, before, after);
    }
}

static void check(void *pointer, struct core *core, struct buf *violations)
{
    const struct identity_state *state = pointer;
    if (core_count(core, &identity_realm_kind) > LIMIT_REALMS) {
        buf_string(violations, "identity: more realms than the limit\n");
    }
    // A second record under the same id would have replaced the first in the map.
    if (core_count(core, &identity_access_key_kind) != state->keys.count) {
        buf_string(violations, "identity: two access keys share an id\n");
    }
    if (core_count(core, &identity_signing_key_kind) > 1) {
        buf_string(violations, "identity: two keys sign session tokens\n");
    }
    if (core_count(core, &identity_join_token_kind) != state->tokens.count) {
        buf_string(violations, "identity: two join tokens share an id\n");
    }
    for (int64_t key = core_next(core, &identity_realm_kind, 0); key != 0;
         key = core_next(core, &identity_realm_kind, key)) {
        const struct identity_record_realm *realm = core_get(core, &identity_realm_kind, key);
        if (identity_realm(core, realm->account, realm->region) != key) {
            buf_format(violations, "identity: realm %lld exists twice\n", (long long)key);
        }
    }
    for (int64_t key = core_next(core, &identity_join_token_kind, 0); key != 0;
         key = core_next(core, &identity_join_token_kind, key)) {
        const struct identity_record_join_token *token =
            core_get(core, &identity_join_token_kind, key);
        if (token->uses_left < 1) {
            buf_format(violations, "identity: join token %lld has no use left\n", (long long)key);
        }
    }
}

// ---- realms -------------------------------------------------------------------------------

int64_t identity_realm(const struct core *core, struct text account, struct text region)
{
    if (account.size > ID_BYTES_MAX || region.size > ID_BYTES_MAX) {
        return 0;
    }
    // Nearly every input asks, several times, and mostly for the same as the one before.
    struct identity_state *state = state_of(core);
    const struct identity_record_realm *last =
        core_get(core, &identity_realm_kind, state->realm_last);
    if (last != NULL && text_equal(last->account, account) && text_equal(last->region, region)) {
        return state->realm_last;
    }
    struct index_key key;
    realm_key(&key, account, region);
    state->realm_last = index_get(state->realms, &key);
    return state->realm_last;
}

int64_t identity_realm_ensure(struct core_call *call, const struct api_error *limit_error)
{
    ASSERT(call->caller != NULL);
    ASSERT(call->caller->account.size <= ID_BYTES_MAX);
    ASSERT(call->caller->region.size <= ID_BYTES_MAX);
    int64_t realm = identity_realm(call->core, call->caller->account, call->caller->region);
    if (realm != 0) {
        return realm;
    }
    if (core_count(call->core, &identity_realm_kind) >= LIMIT_REALMS) {
        IGNORE(core_fault(call, limit_error,
                          "There are %d pairs of account and region already; no more can be made.",
                          LIMIT_REALMS),
               "the caller sees the 0 and gives the fault on");
        return 0;
    }
    const struct identity_record_realm record = {.account = call->caller->account,
                                                 .region = call->caller->region};
    realm = core_new_key(call);
    core_put(call, &identity_realm_kind, realm, &record);
    return realm;
}

// ---- access keys --------------------------------------------------------------------------

const struct identity_record_access_key *identity_key(const struct core *core, struct text key_id)
{
    int64_t key = identity_map_get(&state_of(core)->keys, key_id);
    return key == 0 ? NULL : core_get(core, &identity_access_key_kind, key);
}

// A key id looks like one of AWS, twenty capitals and digits, so that clients which check accept
// it, but begins so that nobody takes it for a real one.
static struct text random_key_id(struct core_call *call)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    static const char start[] = "BERTHN";
    char id[20];
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof(id); i++) {
        if (i < sizeof(start) - 1) {
            id[i] = start[i];
            continue;
        }
        if ((i - (sizeof(start) - 1)) % 12 == 0) {
            bits = core_random(call); // 12 digits of five bits
        }
        id[i] = digits[bits % 32];
        bits /= 32;
    }
    return arena_text(call->arena, (struct text){id, sizeof(id)});
}

const struct identity_record_access_key *
identity_node_key_create(struct core_call *call, struct text account, struct text node_id)
{
    ASSERT(!text_empty(node_id));
    struct identity_record_access_key *record =
        ARENA_NEW(call->arena, struct identity_record_access_key);
    *record = (struct identity_record_access_key){
        .access_key_id = random_key_id(call),
        .secret_access_key = core_random_hex(call, 40),
        .account = account,
        .node_id = node_id,
        .created_at = call->now_ms,
        .arn = arena_format(call->arena, "arn:aws:sts::%.*s:assumed-role/berth-node/%.*s",
                            TEXT_FMT(account), TEXT_FMT(node_id)),
    };
    core_put(call, &identity_access_key_kind, core_new_key(call), record);
    return record;
}

void identity_node_keys_delete(struct core_call *call, struct text node_id)
{
    if (node_id.size > ID_BYTES_MAX) {
        return;
    }
    struct index_key at;
    node_key(&at, node_id);
    struct identity_state *state = state_of(call->core);
    for (int64_t key = index_get(state->node_keys, &at); key != 0;
         key = index_get(state->node_keys, &at)) {
        core_delete(call, &identity_access_key_kind, key);
    }
}

int identity_ensure_root_key(struct core_call *call, void *pointer, const void *request,
                             void *response)
{
    struct identity_state *state = pointer;
    const struct identity_ensure_root_key_request *in = request;
    struct identity_ensure_root_key_response *out = response;
    out->has_changed = true;

    int64_t key = identity_map_get(&state->keys, in->access_key_id);
    const struct identity_record_access_key *old =
        key == 0 ? NULL : core_get(call->core, &identity_access_key_kind, key);
    if (old != NULL && old->node_id.data != NULL) {
        return core_fault(call, &identity_error_invalid_parameter_exception,
                          "The key %.*s belongs to the node %.*s.", TEXT_FMT(in->access_key_id),
                          TEXT_FMT(old->node_id));
    }
    if (old != NULL && text_equal(old->account, in->account) &&
        text_equal(old->secret_access_key, in->secret_access_key)) {
        return 0;
    }
    const struct identity_record_access_key record = {
        .access_key_id = in->access_key_id,
        .secret_access_key = in->secret_access_key,
        .account = in->account,
        .created_at = call->now_ms,
        .arn = arena_format(call->arena, "arn:aws:iam::%.*s:root", TEXT_FMT(in->account)),
    };
    core_put(call, &identity_access_key_kind, key == 0 ? core_new_key(call) : key, &record);
    out->changed = true;
    return 0;
}

// ---- session tokens -----------------------------------------------------------------------

struct text identity_signing_key(const struct core *core)
{
    int64_t key = core_next(core, &identity_signing_key_kind, 0);
    const struct identity_record_signing_key *record =
        key == 0 ? NULL : core_get(core, &identity_signing_key_kind, key);
    return record == NULL ? (struct text){0} : record->secret;
}

int identity_ensure_signing_key(struct core_call *call, void *pointer, const void *request,
                                void *response)
{
    (void)pointer;
    (void)request;
    struct identity_ensure_signing_key_response *out = response;
    out->has_changed = true;
    out->changed = core_count(call->core, &identity_signing_key_kind) == 0;
    if (out->changed) {
        const struct identity_record_signing_key record = {
            .secret = core_random_hex(call, SIGNING_KEY_DIGITS), .created_at = call->now_ms};
        core_put(call, &identity_signing_key_kind, core_new_key(call), &record);
    }
    return 0;
}

// AWS shows a role's id in front of the session's name; the role's name stands for it here.
static struct text user_id(struct core_call *call, const struct core_caller *caller)
{
    if (!text_empty(caller->node_id)) {
        return arena_format(call->arena, "berth-node:%.*s", TEXT_FMT(caller->node_id));
    }
    struct text rest = caller->arn;
    struct text kind = text_cut(&rest, '/');
    if (!text_ends(kind, TEXT(":assumed-role"))) {
        return caller->account;
    }
    struct text role = text_cut(&rest, '/');
    return arena_format(call->arena, "%.*s:%.*s", TEXT_FMT(role), TEXT_FMT(rest));
}

int identity_get_caller_identity(struct core_call *call, void *state, const void *request,
                                 void *response)
{
    (void)state;
    (void)request;
    struct sts_get_caller_identity_response *out = response;
    const struct core_caller *caller = call->caller;
    ASSERT(caller != NULL);
    out->account = caller->account;
    out->arn = caller->arn;
    out->user_id = user_id(call, caller);
    return 0;
}

// ---- the module ---------------------------------------------------------------------------

const struct core_kind identity_kinds[] = {
    {.number = 1, .name = "realm", .type = &identity_record_realm_shape, .version = 1},
    {.number = 2, .name = "access_key", .type = &identity_record_access_key_shape, .version = 1},
    {.number = 3, .name = "join_token", .type = &identity_record_join_token_shape, .version = 1},
    {.number = 4, .name = "signing_key", .type = &identity_record_signing_key_shape, .version = 1},
};

static const struct core_handler handlers[] = {
    {&identity_operations[IDENTITY_OP_ENSURE_ROOT_KEY], identity_ensure_root_key},
    {&identity_operations[IDENTITY_OP_ENSURE_SIGNING_KEY], identity_ensure_signing_key},
    {&berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], identity_create_join_token},
    {&berth_operations[BERTH_OP_JOIN_NODE], identity_join_node},
    {&sts_operations[STS_OP_GET_CALLER_IDENTITY], identity_get_caller_identity},
};

void identity_on_join(struct core *core, identity_joined_fn joined)
{
    state_of(core)->joined = joined;
}

const struct core_module identity_module = {
    .name = "identity",
    .kinds = identity_kinds,
    .kind_count = ARRAY_LEN(identity_kinds),
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = &identity_token_manager,
    .manager_count = 1,
    .state_new = state_new,
    .state_free = state_free,
    .changed = changed,
    .recover = identity_token_recover,
    .check = check,
};
