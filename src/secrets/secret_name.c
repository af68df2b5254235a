#include "secrets/secrets_internal.h"

#include "base/text.h"
#include "identity/identity.h"

/*
 * How secrets are named: by name, by ARN, or by ARN without the six random characters.
 */

#define SUFFIX_CHARS 6

static int64_t find_name(const struct secrets_state *state, int64_t realm, struct text name)
{
    if (name.size == 0 || name.size > SECRETS_NAME_MAX) {
        return 0;
    }
    struct index_key key = {0};
    index_key_u64(&key, (uint64_t)realm);
    index_key_text(&key, name);
    return index_get(state->stock.by_name, &key);
}

// The rest of an ARN behind `arn:aws:secretsmanager:REGION:ACCOUNT:secret:`; absent for another's.
static struct text resource_of(const struct core_caller *caller, struct text arn)
{
    const struct text parts[] = {TEXT("arn"),    TEXT("aws"),     TEXT("secretsmanager"),
                                 caller->region, caller->account, TEXT("secret")};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!text_equal(text_cut(&arn, ':'), parts[i])) {
            return (struct text){0};
        }
    }
    return arn;
}

int64_t secret_find(const struct core *core, const struct core_caller *caller, struct text id)
{
    const struct secrets_state *state = secrets_state(core);
    int64_t realm = identity_realm(core, caller->account, caller->region);
    if (realm == 0) {
        return 0;
    }
    if (!text_starts(id, TEXT("arn:"))) {
        return find_name(state, realm, id);
    }
    struct text resource = resource_of(caller, id);
    size_t dash = resource.data == NULL ? SIZE_MAX : text_find_last(resource, '-');
    if (dash != SIZE_MAX && resource.size - dash - 1 == SUFFIX_CHARS) {
        int64_t key = find_name(state, realm, text_slice(resource, 0, dash));
        const struct secrets_record_secret *secret =
            key == 0 ? NULL : core_get(core, &secrets_secret_kind, key);
        if (secret != NULL &&
            text_equal(secret->suffix, text_slice(resource, dash + 1, resource.size))) {
            return key;
        }
    }
    // A name may itself end like an ARN, so what was read as a whole one may be a partial one.
    return find_name(state, realm, resource);
}

int secret_open(struct core_call *call, struct text id, int64_t *out_key,
                const struct secrets_record_secret **out_secret)
{
    int64_t key = secret_find(call->core, call->caller, id);
    if (key == 0) {
        return core_fault(call, &secretsmanager_error_resource_not_found_exception,
                          "Secrets Manager can't find the specified secret.");
    }
    *out_key = key;
    *out_secret = core_get(call->core, &secrets_secret_kind, key);
    return 0;
}

int secret_open_live(struct core_call *call, struct text id, int64_t *out_key,
                     const struct secrets_record_secret **out_secret)
{
    int rc = secret_open(call, id, out_key, out_secret);
    if (rc == 0 && (*out_secret)->deletion_at != 0) {
        return core_fault(call, &secretsmanager_error_invalid_request_exception,
                          "You can't perform this operation on the secret because it was marked "
                          "for deletion.");
    }
    return rc;
}

struct text secret_arn(struct core_call *call, const struct secrets_record_secret *secret)
{
    const struct identity_record_realm *realm =
        core_get(call->core, &identity_realm_kind, secret->realm);
    return arena_format(call->arena, "arn:aws:secretsmanager:%.*s:%.*s:secret:%.*s-%.*s",
                        TEXT_FMT(realm->region), TEXT_FMT(realm->account), TEXT_FMT(secret->name),
                        TEXT_FMT(secret->suffix));
}

int secret_check_name(struct core_call *call, struct text name)
{
    for (size_t i = 0; i < name.size; i++) {
        char byte = name.data[i];
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9');
        if (!plain && text_find(TEXT("-/_+=.@!"), byte) == SIZE_MAX) {
            return core_fault(call, &secret_validation_exception,
                              "Invalid name. Must be a valid name containing alphanumeric "
                              "characters, or any of the following: -/_+=.@!");
        }
    }
    return 0;
}

struct text secret_suffix(struct core_call *call)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    char suffix[SUFFIX_CHARS];
    uint64_t bits = core_random(call); // the remainder's bias does not matter: it is no key
    for (size_t i = 0; i < sizeof(suffix); i++) {
        suffix[i] = digits[bits % (sizeof(digits) - 1)];
        bits /= sizeof(digits) - 1;
    }
    return arena_text(call->arena, (struct text){suffix, sizeof(suffix)});
}
