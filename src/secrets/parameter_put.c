#include "secrets/parameter_internal.h"

#include "base/text.h"
#include "identity/identity.h"

/*
 * Putting and deleting parameters.
 */

// ---- PutParameter -------------------------------------------------------------------------------

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &parameter_validation_exception, "%s", message);
}

static int check_unbuilt(struct core_call *call, const struct ssm_put_parameter_request *in)
{
    if (!text_empty(in->allowed_pattern)) {
        return core_fault(call, &ssm_error_invalid_allowed_pattern_exception,
                          "Values are not held against patterns here. Leave AllowedPattern out.");
    }
    if (!text_empty(in->policies) && !text_is(text_trim(in->policies), "[]")) {
        return core_fault(call, &ssm_error_invalid_policy_type_exception,
                          "Parameter policies are not built in Berth. Leave Policies out.");
    }
    if (!text_empty(in->data_type) && !text_is(in->data_type, "text")) {
        return core_fault(call, &parameter_validation_exception,
                          "The following data type is not supported: %.*s (Data type names are all "
                          "lowercase.)",
                          TEXT_FMT(in->data_type));
    }
    return 0;
}

static int check_put(struct core_call *call, const struct ssm_put_parameter_request *in,
                     bool exists)
{
    bool overwrite = in->has_overwrite && in->overwrite;
    if (text_empty(in->value)) {
        return refuse(call, "1 validation error detected: Value '' at 'value' failed to satisfy "
                            "constraint: Member must have length greater than or equal to 1.");
    }
    if (overwrite && in->tags.count > 0) {
        return refuse(call, "Invalid request: tags and overwrite can't be used together. To create "
                            "a parameter with tags, please remove overwrite flag. To update tags "
                            "for an existing parameter, please use AddTagsToResource or "
                            "RemoveTagsFromResource.");
    }
    int rc = parameter_check_name(call, in->name);
    if (rc == 0) {
        rc = check_unbuilt(call, in);
    }
    if (rc != 0) {
        return rc;
    }
    if (exists && !overwrite) {
        return core_fault(call, &ssm_error_parameter_already_exists,
                          "The parameter already exists. To overwrite this value, set the "
                          "overwrite option in the request to true.");
    }
    if (!exists && in->type == SSM_PARAMETER_TYPE_ABSENT) {
        return refuse(call, "A parameter type is required when you create a parameter.");
    }
    return 0;
}

// The tier of a new version: as asked, else as it was, else what the value needs.
static int choose_tier(struct core_call *call, const struct ssm_put_parameter_request *in,
                       const struct secrets_record_parameter_version *before,
                       enum secrets_record_parameter_tier *out_tier)
{
    bool was_advanced = before != NULL && before->tier == SECRETS_RECORD_PARAMETER_TIER_ADVANCED;
    bool advanced = was_advanced || in->tier == SSM_PARAMETER_TIER_ADVANCED ||
                    (in->tier == SSM_PARAMETER_TIER_INTELLIGENT_TIERING &&
                     in->value.size > PARAMETER_STANDARD_MAX);
    if (was_advanced && in->tier == SSM_PARAMETER_TIER_STANDARD) {
        return refuse(call,
                      "This parameter uses the advanced-parameter tier. You can't downgrade a "
                      "parameter from the advanced-parameter tier to the standard-parameter "
                      "tier. If necessary, you can delete the advanced parameter and "
                      "recreate it as a standard parameter.");
    }
    if (!advanced && in->value.size > PARAMETER_STANDARD_MAX) {
        return refuse(call, "Standard tier parameters support a maximum parameter value of 4096 "
                            "characters. To create a larger parameter value, upgrade the parameter "
                            "to use the advanced-parameter tier. For more information, see "
                            "https://docs.aws.amazon.com/systems-manager/latest/userguide/"
                            "parameter-store-advanced-parameters.html");
    }
    if (in->value.size > PARAMETER_ADVANCED_MAX) {
        return refuse(call, "Advanced tier parameters support a maximum parameter value of 8192 "
                            "characters.");
    }
    *out_tier =
        advanced ? SECRETS_RECORD_PARAMETER_TIER_ADVANCED : SECRETS_RECORD_PARAMETER_TIER_STANDARD;
    return 0;
}

static size_t count_versions(const struct core *core, int64_t parameter, int64_t *out_oldest)
{
    size_t count = 0;
    int64_t last = 0;
    *out_oldest = parameter_version_next(core, parameter, 0);
    for (int64_t key = *out_oldest; key != 0; key = parameter_version_next(core, parameter, last)) {
        const struct secrets_record_parameter_version *version =
            core_get(core, &parameter_version_kind, key);
        last = version->version;
        count++;
    }
    return count;
}

static int check_room(struct core_call *call, const struct ssm_put_parameter_request *in,
                      int64_t parameter, int64_t *out_oldest)
{
    const struct parameter_state *state = parameter_state(call->core);
    int64_t realm = identity_realm(call->core, call->caller->account, call->caller->region);
    *out_oldest = 0;
    if (secrets_cipher(call->core) == NULL) {
        return core_fault(call, &ssm_error_invalid_key_id,
                          "Values cannot be sealed: this server has no key.");
    }
    if (state->stock.stored_bytes + (int64_t)in->value.size > PARAMETERS_STORED_MAX) {
        return core_fault(call, &ssm_error_parameter_limit_exceeded,
                          "All parameters together have %lld MiB, which is the limit. Delete "
                          "parameters that are not needed.",
                          PARAMETERS_STORED_MAX >> 20);
    }
    if (parameter == 0) {
        return realm == 0 || secrets_count(&state->stock.counts, realm) < PARAMETERS_MAX
                   ? 0
                   : core_fault(call, &ssm_error_parameter_limit_exceeded,
                                "There are %d parameters in this account and region, which is the "
                                "limit.",
                                PARAMETERS_MAX);
    }
    int64_t oldest = 0;
    if (count_versions(call->core, parameter, &oldest) < PARAMETER_VERSIONS_MAX) {
        return 0;
    }
    const struct secrets_record_parameter_version *version =
        core_get(call->core, &parameter_version_kind, oldest);
    if (version->labels.count > 0) {
        return core_fault(call, &ssm_error_parameter_max_version_limit_exceeded,
                          "You attempted to create a new version of %.*s by calling the "
                          "PutParameter API with the overwrite flag. Version %lld, the oldest "
                          "version, can't be deleted because it has a label associated with it. "
                          "Move the label to another version of the parameter, and try again.",
                          TEXT_FMT(in->name), (long long)version->version);
    }
    *out_oldest = oldest;
    return 0;
}

int parameter_tags_check(struct core_call *call, const struct secrets_record_tag_list *tags)
{
    if (tags->count > PARAMETER_TAGS_MAX) {
        return core_fault(call, &ssm_error_too_many_tags_error,
                          "A parameter can have at most %d tags.", PARAMETER_TAGS_MAX);
    }
    struct text fault = tags_fault(call->arena, tags);
    return fault.data == NULL
               ? 0
               : core_fault(call, &parameter_validation_exception, "%.*s", TEXT_FMT(fault));
}

struct secrets_record_tag_list parameter_tags_keep(struct core_call *call,
                                                   const struct ssm_tag_list *tags)
{
    struct secrets_record_tag_list kept = {
        .items = arena_array(call->arena, tags->count, sizeof(*kept.items)), .count = tags->count};
    for (size_t i = 0; i < tags->count; i++) {
        kept.items[i] =
            (struct secrets_record_tag){.key = tags->items[i].key, .value = tags->items[i].value};
    }
    return kept;
}

static enum secrets_record_parameter_type
type_for(const struct ssm_put_parameter_request *in,
         const struct secrets_record_parameter_version *before)
{
    return in->type == SSM_PARAMETER_TYPE_ABSENT ? before->type
                                                 : (enum secrets_record_parameter_type)in->type;
}

static void put_version(struct core_call *call, int64_t parameter,
                        const struct ssm_put_parameter_request *in,
                        const struct secrets_record_parameter_version *before,
                        enum secrets_record_parameter_tier tier)
{
    struct secrets_record_parameter_version version = {
        .has_parameter = true,
        .parameter = parameter,
        .has_version = true,
        .version = before == NULL ? 1 : before->version + 1,
        .type = type_for(in, before),
        .tier = tier,
        .modified_at = call->now_ms,
        .modified_by = call->caller->arn,
        .description =
            in->description.data == NULL && before != NULL ? before->description : in->description,
        .has_size = true,
        .size = (int64_t)in->value.size,
    };
    if (version.type == SECRETS_RECORD_PARAMETER_TYPE_SECURE_STRING) {
        version.key_id = text_empty(in->key_id) ? TEXT(PARAMETER_KEY_USUAL) : in->key_id;
    }
    version.sealed = seal_close(call, secrets_cipher(call->core),
                                parameter_bound(call->arena, &version), in->value);
    core_put(call, &parameter_version_kind, core_new_key(call), &version);
}

int parameter_put(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_put_parameter_request *in = request;
    struct ssm_put_parameter_result *out = response;
    struct parameter_reference old = parameter_find(call->core, call->caller, in->name);
    const struct secrets_record_parameter_version *before =
        old.key == 0 ? NULL
                     : core_get(call->core, &parameter_version_kind,
                                parameter_version_find(call->core, old.key, 0));
    enum secrets_record_parameter_tier tier = SECRETS_RECORD_PARAMETER_TIER_STANDARD;
    int64_t oldest = 0;
    const struct secrets_record_tag_list tags = parameter_tags_keep(call, &in->tags);
    int rc = check_put(call, in, old.key != 0);
    if (rc == 0) {
        rc = parameter_tags_check(call, &tags);
    }
    if (rc == 0) {
        rc = choose_tier(call, in, before, &tier);
    }
    if (rc == 0 && !text_empty(in->key_id) &&
        type_for(in, before) != SECRETS_RECORD_PARAMETER_TYPE_SECURE_STRING) {
        rc = refuse(call, "KeyId can be used with parameters of the type SecureString only.");
    }
    if (rc == 0) {
        rc = check_room(call, in, old.key, &oldest);
    }
    if (rc != 0) {
        return rc;
    }
    int64_t key = old.key;
    if (key == 0) {
        int64_t realm = identity_realm_ensure(call, &ssm_error_parameter_limit_exceeded);
        if (realm == 0) {
            return ERR_FAULT;
        }
        const struct secrets_record_parameter parameter = {
            .has_realm = true, .realm = realm, .name = in->name, .tags = tags};
        key = core_new_key(call);
        core_put(call, &parameter_kind, key, &parameter);
    }
    if (oldest != 0) {
        core_delete(call, &parameter_version_kind, oldest);
    }
    put_version(call, key, in, before, tier);
    out->has_version = true;
    out->version = before == NULL ? 1 : before->version + 1;
    out->tier = (enum ssm_parameter_tier)tier;
    return 0;
}

// ---- deleting -----------------------------------------------------------------------------------

int parameter_delete(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct ssm_delete_parameter_request *in = request;
    struct parameter_reference reference;
    int rc = parameter_open(call, in->name, &reference);
    if (rc == 0) {
        parameter_remove(call, reference.key);
    }
    return rc;
}

int parameter_delete_many(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_delete_parameters_request *in = request;
    struct ssm_delete_parameters_result *out = response;
    struct text *deleted = arena_array(call->arena, in->names.count, sizeof(*deleted));
    struct text *invalid = arena_array(call->arena, in->names.count, sizeof(*invalid));
    for (size_t i = 0; i < in->names.count; i++) {
        struct parameter_reference reference =
            parameter_find(call->core, call->caller, in->names.items[i]);
        if (reference.key == 0) {
            invalid[out->invalid_parameters.count++] = in->names.items[i];
        } else {
            deleted[out->deleted_parameters.count++] = in->names.items[i];
            parameter_remove(call, reference.key);
        }
    }
    out->deleted_parameters.items = deleted;
    out->invalid_parameters.items = invalid;
    return 0;
}
