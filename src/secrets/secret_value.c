#include "secrets/secrets_internal.h"

#include "base/text.h"

/*
 * Versions of a secret and the values in them.
 */

bool secret_version_next(const struct core *core, int64_t secret, struct secret_version *version)
{
    struct index_key prefix = {0};
    index_key_u64(&prefix, (uint64_t)secret);
    struct index_cursor cursor;
    index_walk(secrets_state(core)->stock.versions, &prefix, false, &cursor);
    if (version->key != 0) {
        index_walk_after(&cursor, &prefix, version->key);
    }
    int64_t key = index_step(&cursor);
    *version = (struct secret_version){
        .key = key, .record = key == 0 ? NULL : core_get(core, &secrets_version_kind, key)};
    return key != 0;
}

struct secret_version secret_version_by_id(const struct core *core, int64_t secret, struct text id)
{
    struct secret_version version = {0};
    while (secret_version_next(core, secret, &version)) {
        if (text_equal(version.record->version_id, id)) {
            return version;
        }
    }
    return version;
}

bool secret_version_has(const struct secrets_record_version *version, struct text stage)
{
    for (size_t i = 0; i < version->stages.count; i++) {
        if (text_equal(version->stages.items[i], stage)) {
            return true;
        }
    }
    return false;
}

struct secret_version secret_version_by_stage(const struct core *core, int64_t secret,
                                              struct text stage)
{
    struct secret_version version = {0};
    while (secret_version_next(core, secret, &version)) {
        if (secret_version_has(version.record, stage)) {
            return version;
        }
    }
    return version;
}

// ---- values -----------------------------------------------------------------------------------

int secret_value_take(struct core_call *call, struct text string, struct text binary,
                      struct secret_value *out_value)
{
    if (string.data != NULL && binary.data != NULL) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "You can't specify both a binary secret value and a string secret value "
                          "in the same secret.");
    }
    struct text bytes = string.data == NULL ? binary : string;
    if (bytes.size > SECRETS_VALUE_MAX) {
        return core_fault(call, &secret_validation_exception,
                          "The secret value has %zu bytes in UTF-8; it can have at most %d.",
                          bytes.size, SECRETS_VALUE_MAX);
    }
    *out_value = (struct secret_value){.bytes = bytes, .binary = binary.data != NULL};
    return 0;
}

// What a sealed value belongs to: it opens for no other version.
static struct text bound_to(struct arena *arena, int64_t secret, struct text version_id)
{
    return arena_format(arena, "secret %lld %.*s", (long long)secret, TEXT_FMT(version_id));
}

static int open_value(const struct core *core, struct arena *arena,
                      const struct secrets_record_version *version, struct text *out_bytes)
{
    const struct seal_cipher *cipher = secrets_cipher(core);
    if (cipher == NULL) {
        return ERR_UNSUPPORTED;
    }
    return seal_open(cipher, bound_to(arena, version->secret, version->version_id), version->sealed,
                     arena, out_bytes);
}

int secret_value_open(struct core_call *call, const struct secret_version *version,
                      struct text *out_bytes)
{
    int rc = open_value(call->core, call->arena, version->record, out_bytes);
    if (rc == 0) {
        return 0;
    }
    if (rc == ERR_DENIED) {
        return core_fault(call, &secretsmanager_error_decryption_failure,
                          "Secrets Manager can't decrypt the protected secret text using the "
                          "provided KMS key. It was sealed with another key than the server's: put "
                          "that key file back, or put the value again.");
    }
    return core_fault(call, &secretsmanager_error_decryption_failure,
                      "Secrets Manager can't decrypt the protected secret text using the provided "
                      "KMS key: %s. Put the value again.",
                      err_name(rc));
}

// ---- making versions ----------------------------------------------------------------------------

// The version of a secret that goes when one more comes: the oldest without a label.
static struct secret_version oldest_unlabelled(const struct core *core, int64_t secret)
{
    struct secret_version version = {0};
    while (secret_version_next(core, secret, &version)) {
        if (version.record->stages.count == 0) {
            return version;
        }
    }
    return version;
}

static size_t count_versions(const struct core *core, int64_t secret)
{
    size_t count = 0;
    struct secret_version version = {0};
    while (secret_version_next(core, secret, &version)) {
        count++;
    }
    return count;
}

static int check_room(struct core_call *call, int64_t secret, const struct secret_value *value)
{
    const struct secrets_state *state = secrets_state(call->core);
    if (secrets_cipher(call->core) == NULL) {
        return core_fault(call, &secretsmanager_error_encryption_failure,
                          "Secrets Manager can't encrypt the protected secret text: this server "
                          "has no key.");
    }
    if (state->stock.stored_bytes + (int64_t)value->bytes.size > SECRETS_STORED_MAX) {
        return core_fault(call, &secretsmanager_error_limit_exceeded_exception,
                          "All secret values together have %lld MiB, which is the limit. Delete "
                          "secrets that are not needed.",
                          SECRETS_STORED_MAX >> 20);
    }
    if (secret != 0 && count_versions(call->core, secret) >= SECRETS_VERSIONS_MAX &&
        oldest_unlabelled(call->core, secret).key == 0) {
        return core_fault(call, &secretsmanager_error_limit_exceeded_exception,
                          "The secret has %d versions with staging labels, which is the limit. "
                          "Remove labels of versions that are not needed.",
                          SECRETS_VERSIONS_MAX);
    }
    return 0;
}

static bool same_value(struct core_call *call, const struct secret_version *version,
                       const struct secret_value *value)
{
    struct text bytes = {0};
    return (version->record->has_binary && version->record->binary) == value->binary &&
           open_value(call->core, call->arena, version->record, &bytes) == 0 &&
           text_equal(bytes, value->bytes);
}

int secret_version_check(struct core_call *call, int64_t secret, struct text arn,
                         struct text version_id, const struct secret_value *value, bool *out_repeat)
{
    ASSERT(value->bytes.data != NULL);
    struct secret_version version = {0};
    if (secret != 0) {
        version = secret_version_by_id(call->core, secret, version_id);
    }
    if (version.key == 0) {
        *out_repeat = false;
        return check_room(call, secret, value);
    }
    if (!same_value(call, &version, value)) {
        return core_fault(call, &secretsmanager_error_resource_exists_exception,
                          "You can't use ClientRequestToken %.*s because that value is already in "
                          "use for a version of secret %.*s.",
                          TEXT_FMT(version_id), TEXT_FMT(arn));
    }
    *out_repeat = true;
    return 0;
}

void secret_version_put(struct core_call *call, int64_t secret, struct text version_id,
                        const struct secret_value *value, const struct text_list *stages)
{
    struct secret_version first = {0};
    bool is_first = !secret_version_next(call->core, secret, &first);
    if (count_versions(call->core, secret) >= SECRETS_VERSIONS_MAX) {
        core_delete(call, &secrets_version_kind, oldest_unlabelled(call->core, secret).key);
    }
    const struct secrets_record_version record = {
        .has_secret = true,
        .secret = secret,
        .version_id = version_id,
        .created_at = call->now_ms,
        .sealed = seal_close(call, secrets_cipher(call->core),
                             bound_to(call->arena, secret, version_id), value->bytes),
        .has_binary = value->binary,
        .binary = value->binary,
        .has_size = true,
        .size = (int64_t)value->bytes.size,
    };
    int64_t key = core_new_key(call);
    core_put(call, &secrets_version_kind, key, &record);
    for (size_t i = 0; i < stages->count; i++) {
        secret_stage_move(call, secret, stages->items[i], key);
    }
    if (is_first && secret_version_by_stage(call->core, secret, TEXT(SECRETS_CURRENT)).key == 0) {
        secret_stage_move(call, secret, TEXT(SECRETS_CURRENT), key);
    }
}

void secret_remove(struct core_call *call, int64_t secret)
{
    core_timer(call, &secret_manager, secret, 0);
    struct secret_version version = {0};
    while (secret_version_next(call->core, secret, &version)) {
        core_delete(call, &secrets_version_kind, version.key);
    }
    core_delete(call, &secrets_secret_kind, secret);
}
