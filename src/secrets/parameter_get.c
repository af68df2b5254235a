#include "secrets/parameter_internal.h"

#include "base/text.h"
#include "core/page_token.h"
#include "identity/identity.h"

/*
 * Reading parameters: one, several, those below a path, and the history of one.
 */

#define PAGE_PATH 10
#define PAGE_HISTORY 50

static enum ssm_parameter_type type_of(enum secrets_record_parameter_type type)
{
    return (enum ssm_parameter_type)type; // the same numbers: see below
}
_Static_assert((int)SSM_PARAMETER_TYPE_STRING == (int)SECRETS_RECORD_PARAMETER_TYPE_STRING, "");
_Static_assert((int)SSM_PARAMETER_TYPE_STRING_LIST ==
                   (int)SECRETS_RECORD_PARAMETER_TYPE_STRING_LIST,
               "");
_Static_assert((int)SSM_PARAMETER_TYPE_SECURE_STRING ==
                   (int)SECRETS_RECORD_PARAMETER_TYPE_SECURE_STRING,
               "");
_Static_assert((int)SSM_PARAMETER_TIER_STANDARD == (int)SECRETS_RECORD_PARAMETER_TIER_STANDARD, "");
_Static_assert((int)SSM_PARAMETER_TIER_ADVANCED == (int)SECRETS_RECORD_PARAMETER_TIER_ADVANCED, "");

int parameter_value(struct core_call *call, int64_t version, bool decrypt, struct text *out_value)
{
    const struct secrets_record_parameter_version *record =
        core_get(call->core, &parameter_version_kind, version);
    if (record->type == SECRETS_RECORD_PARAMETER_TYPE_SECURE_STRING && !decrypt) {
        char *digits = arena_alloc(call->arena, 2 * record->sealed.size + 1);
        text_hex(record->sealed.data, record->sealed.size, digits);
        *out_value = (struct text){digits, 2 * record->sealed.size};
        return 0;
    }
    const struct seal_cipher *cipher = secrets_cipher(call->core);
    int rc = cipher == NULL ? ERR_UNSUPPORTED
                            : seal_open(cipher, parameter_bound(call->arena, record),
                                        record->sealed, call->arena, out_value);
    if (rc != 0) {
        const struct secrets_record_parameter *parameter =
            core_get(call->core, &parameter_kind, record->parameter);
        return core_fault(call, &ssm_error_invalid_key_id,
                          "The value of %.*s cannot be opened: %s. Put back the key file that it "
                          "was sealed with, or put the value again.",
                          TEXT_FMT(parameter->name),
                          rc == ERR_DENIED ? "it was sealed with another key than the server's"
                                           : err_name(rc));
    }
    return 0;
}

static int show(struct core_call *call, const struct parameter_reference *reference, bool decrypt,
                struct ssm_parameter *out)
{
    const struct secrets_record_parameter_version *version =
        core_get(call->core, &parameter_version_kind, reference->version);
    struct text value = {0};
    int rc = parameter_value(call, reference->version, decrypt, &value);
    if (rc != 0) {
        return rc;
    }
    *out = (struct ssm_parameter){
        .name = reference->name,
        .type = type_of(version->type),
        .value = value,
        .has_version = true,
        .version = version->version,
        .selector = reference->selector,
        .last_modified_date = version->modified_at,
        .arn = parameter_arn(call->caller, call->arena, reference->name),
        .data_type = TEXT("text"),
    };
    return 0;
}

int parameter_get(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_get_parameter_request *in = request;
    struct ssm_get_parameter_result *out = response;
    struct parameter_reference reference;
    int rc = parameter_open(call, in->name, &reference);
    if (rc == 0) {
        out->parameter = ARENA_NEW(call->arena, struct ssm_parameter);
        rc = show(call, &reference, in->has_with_decryption && in->with_decryption, out->parameter);
    }
    return rc;
}

static bool listed_before(const struct text_list *names, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (text_equal(names->items[i], names->items[index])) {
            return true;
        }
    }
    return false;
}

int parameter_get_many(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_get_parameters_request *in = request;
    struct ssm_get_parameters_result *out = response;
    out->parameters.items = arena_array(call->arena, in->names.count, sizeof(struct ssm_parameter));
    struct text *invalid = arena_array(call->arena, in->names.count, sizeof(*invalid));
    for (size_t i = 0; i < in->names.count; i++) {
        if (listed_before(&in->names, i)) {
            continue;
        }
        struct parameter_reference reference =
            parameter_find(call->core, call->caller, in->names.items[i]);
        if (reference.version == 0) {
            invalid[out->invalid_parameters.count++] = in->names.items[i];
            continue;
        }
        int rc = show(call, &reference, in->has_with_decryption && in->with_decryption,
                      &out->parameters.items[out->parameters.count]);
        if (rc != 0) {
            return rc;
        }
        out->parameters.count++;
    }
    out->invalid_parameters.items = invalid;
    return 0;
}

// ---- below a path -------------------------------------------------------------------------------

static int check_path(struct core_call *call, struct text path)
{
    if (!text_starts(path, TEXT("/"))) {
        return core_fault(call, &parameter_validation_exception,
                          "The parameter doesn't meet the parameter name requirements. The "
                          "parameter name must begin with a forward slash \"/\". It can't be "
                          "prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only "
                          "letters, numbers, or the following symbols: . (period), - (hyphen), _ "
                          "(underscore). Special characters are not allowed. All sub-paths, if "
                          "specified, must use the forward slash symbol \"/\". Valid example: "
                          "/get/parameters2-/by1./path0_.");
    }
    return path.size <= PARAMETER_ARN_MAX
               ? 0
               : core_fault(call, &parameter_validation_exception,
                            "The path has %zu characters; it can have at most %d.", path.size,
                            PARAMETER_ARN_MAX);
}

// Whether a name lies below a path, which ends with a slash.
static bool below(struct text name, struct text path, bool recursive)
{
    return text_starts(name, path) && name.size > path.size &&
           (recursive || text_find(text_slice(name, path.size, name.size), '/') == SIZE_MAX);
}

int parameter_get_path(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_get_parameters_by_path_request *in = request;
    struct ssm_get_parameters_by_path_result *out = response;
    struct text after = {0};
    int rc = check_path(call, in->path);
    if (rc == 0) {
        rc = parameter_filters_check(call, &in->parameter_filters, true);
    }
    if (rc == 0) {
        rc = parameter_page_after(call, in->next_token, &after);
    }
    if (rc != 0) {
        return rc;
    }
    size_t size = in->has_max_results ? (size_t)in->max_results : PAGE_PATH;
    bool decrypt = in->has_with_decryption && in->with_decryption;
    struct text path = text_ends(in->path, TEXT("/"))
                           ? in->path
                           : arena_format(call->arena, "%.*s/", TEXT_FMT(in->path));
    out->parameters.items = arena_array(call->arena, size, sizeof(struct ssm_parameter));
    struct parameter_walk walk;
    parameter_walk_begin(call, path, after, &walk);
    for (int64_t key = index_step(&walk.cursor); key != 0; key = index_step(&walk.cursor)) {
        const struct secrets_record_parameter *parameter =
            core_get(call->core, &parameter_kind, key);
        struct parameter_reference reference = {.key = key,
                                                .name = parameter->name,
                                                .version =
                                                    parameter_version_find(call->core, key, 0)};
        if (!below(parameter->name, path, in->has_recursive && in->recursive) ||
            !parameter_filters_match(call->core, key, reference.version, &in->parameter_filters)) {
            continue;
        }
        if (out->parameters.count == size) {
            out->next_token = page_token_make(call, out->parameters.items[size - 1].name);
            break;
        }
        rc = show(call, &reference, decrypt, &out->parameters.items[out->parameters.count]);
        if (rc != 0) {
            return rc;
        }
        out->parameters.count++;
    }
    return 0;
}

// ---- history ------------------------------------------------------------------------------------

int parameter_history(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_get_parameter_history_request *in = request;
    struct ssm_get_parameter_history_result *out = response;
    struct parameter_reference reference;
    struct text after = {0};
    uint64_t last = 0;
    int rc = parameter_open(call, in->name, &reference);
    if (rc == 0) {
        rc = parameter_page_after(call, in->next_token, &after);
    }
    if (rc == 0 && after.data != NULL && text_to_u64(after, &last) != 0) {
        return core_fault(call, &ssm_error_invalid_next_token, "The specified token isn't valid.");
    }
    if (rc != 0) {
        return rc;
    }
    size_t size = in->has_max_results ? (size_t)in->max_results : PAGE_HISTORY;
    out->parameters.items = arena_array(call->arena, size, sizeof(*out->parameters.items));
    last = MIN(last, (uint64_t)INT32_MAX);
    for (int64_t key = parameter_version_next(call->core, reference.key, (int64_t)last); key != 0;
         key = parameter_version_next(call->core, reference.key, (int64_t)last)) {
        if (out->parameters.count == size) {
            out->next_token =
                page_token_make(call, arena_format(call->arena, "%llu", (unsigned long long)last));
            break;
        }
        const struct secrets_record_parameter_version *version =
            core_get(call->core, &parameter_version_kind, key);
        struct text value = {0};
        rc = parameter_value(call, key, in->has_with_decryption && in->with_decryption, &value);
        if (rc != 0) {
            return rc;
        }
        last = (uint64_t)version->version;
        out->parameters.items[out->parameters.count++] = (struct ssm_parameter_history){
            .name = reference.name,
            .type = type_of(version->type),
            .key_id = arena_text(call->arena, version->key_id), // terminated: it has a pattern
            .last_modified_date = version->modified_at,
            .last_modified_user = version->modified_by,
            .description = version->description,
            .value = value,
            .has_version = true,
            .version = version->version,
            .labels = version->labels,
            .tier = (enum ssm_parameter_tier)version->tier,
            .data_type = TEXT("text"),
        };
    }
    return 0;
}
