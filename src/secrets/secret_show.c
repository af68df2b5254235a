#include "secrets/secrets_internal.h"

#include "base/limits.h"
#include "base/text.h"

/*
 * Reading one secret: its value, what it is, and which versions it has.
 */

// ---- GetSecretValue ---------------------------------------------------------------------------

static int find_version(struct core_call *call, int64_t secret,
                        const struct secretsmanager_get_secret_value_request *in,
                        struct secret_version *out_version)
{
    struct text stage = in->version_stage.data == NULL ? TEXT(SECRETS_CURRENT) : in->version_stage;
    struct secret_version version = {0};
    if (in->version_id.data == NULL) {
        version = secret_version_by_stage(call->core, secret, stage);
        if (version.key == 0) {
            return core_fault(call, &secretsmanager_error_resource_not_found_exception,
                              "Secrets Manager can't find the specified secret value for staging "
                              "label: %.*s",
                              TEXT_FMT(stage));
        }
    } else {
        version = secret_version_by_id(call->core, secret, in->version_id);
        if (version.key == 0) {
            return core_fault(call, &secretsmanager_error_resource_not_found_exception,
                              "Secrets Manager can't find the specified secret value for "
                              "VersionId: %.*s",
                              TEXT_FMT(in->version_id));
        }
        if (in->version_stage.data != NULL && !secret_version_has(version.record, stage)) {
            return core_fault(call, &secretsmanager_error_invalid_request_exception,
                              "You provided a VersionStage that is not associated to the provided "
                              "VersionId.");
        }
    }
    *out_version = version;
    return 0;
}

// AWS tells the day of the last access only, so that most reads change nothing.
static void note_access(struct core_call *call, int64_t key, int64_t version)
{
    if (call->put_count + 2 > LIMIT_TX_RECORDS) {
        return; // a task reads very many at once: more than one transaction can note
    }
    int64_t day = call->now_ms / SECRETS_DAY_MS * SECRETS_DAY_MS;
    struct secrets_record_secret *secret = core_edit(call, &secrets_secret_kind, key);
    if (secret->accessed_at != day) {
        secret->accessed_at = day;
        core_put(call, &secrets_secret_kind, key, secret);
    }
    struct secrets_record_version *record = core_edit(call, &secrets_version_kind, version);
    if (record->accessed_at != day) {
        record->accessed_at = day;
        core_put(call, &secrets_version_kind, version, record);
    }
}

int secret_get_value(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_get_secret_value_request *in = request;
    struct secretsmanager_get_secret_value_response *out = response;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    struct secret_version version = {0};
    struct text bytes = {0};
    int rc = secret_open_live(call, in->secret_id, &key, &secret);
    if (rc == 0) {
        rc = find_version(call, key, in, &version);
    }
    if (rc == 0) {
        rc = secret_value_open(call, &version, &bytes);
    }
    if (rc != 0) {
        return rc;
    }
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    out->version_id = version.record->version_id;
    out->version_stages = version.record->stages;
    out->created_date = version.record->created_at;
    if (version.record->has_binary && version.record->binary) {
        out->secret_binary = bytes;
    } else {
        out->secret_string = bytes;
    }
    note_access(call, key, version.key);
    return 0;
}

// ---- DescribeSecret ---------------------------------------------------------------------------

static struct secretsmanager_tag_list show_tags(struct core_call *call,
                                                const struct secrets_record_secret *secret)
{
    if (secret->tags.count == 0) {
        return (struct secretsmanager_tag_list){0};
    }
    struct secretsmanager_tag_list tags = {
        .items = arena_array(call->arena, secret->tags.count, sizeof(*tags.items)),
        .count = secret->tags.count,
    };
    for (size_t i = 0; i < tags.count; i++) {
        tags.items[i] = (struct secretsmanager_tag){.key = secret->tags.items[i].key,
                                                    .value = secret->tags.items[i].value};
    }
    return tags;
}

// Versions that bear labels, as DescribeSecret and ListSecrets show them.
static struct secretsmanager_text_list_map show_versions(struct core_call *call, int64_t secret)
{
    struct secretsmanager_text_list_map versions = {
        .items = arena_array(call->arena, SECRETS_VERSIONS_MAX, sizeof(*versions.items))};
    struct secret_version version = {0};
    while (secret_version_next(call->core, secret, &version)) {
        if (version.record->stages.count > 0) {
            ASSERT(versions.count < SECRETS_VERSIONS_MAX);
            versions.items[versions.count].key = version.record->version_id;
            versions.items[versions.count].value = version.record->stages;
            versions.count++;
        }
    }
    versions.items = versions.count == 0 ? NULL : versions.items;
    return versions;
}

void secret_show(struct core_call *call, int64_t key, struct secretsmanager_secret_list_entry *out)
{
    const struct secrets_record_secret *secret = core_get(call->core, &secrets_secret_kind, key);
    *out = (struct secretsmanager_secret_list_entry){
        .arn = secret_arn(call, secret),
        .name = secret->name,
        .type = secret->type,
        .description = secret->description,
        .kms_key_id = secret->kms_key_id,
        .last_changed_date = secret->changed_at,
        .last_accessed_date = secret->accessed_at,
        .deleted_date = secret->deletion_at,
        .tags = show_tags(call, secret),
        .secret_versions_to_stages = show_versions(call, key),
        .created_date = secret->created_at,
    };
}

int secret_describe(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_describe_secret_request *in = request;
    struct secretsmanager_describe_secret_response *out = response;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_open(call, in->secret_id, &key, &secret);
    if (rc != 0) {
        return rc;
    }
    struct secretsmanager_secret_list_entry entry;
    secret_show(call, key, &entry);
    out->arn = entry.arn;
    out->name = entry.name;
    out->type = entry.type;
    out->description = entry.description;
    out->kms_key_id = entry.kms_key_id;
    out->last_changed_date = entry.last_changed_date;
    out->last_accessed_date = entry.last_accessed_date;
    out->deleted_date = entry.deleted_date;
    out->tags = entry.tags;
    out->version_ids_to_stages = entry.secret_versions_to_stages;
    out->created_date = entry.created_date;
    return 0;
}

// ---- resource policies ------------------------------------------------------------------------

// No secret has one, for they cannot be put: PutResourcePolicy is not built. Tools ask all the
// same.
static int show_named(struct core_call *call, struct text id, struct text *out_arn,
                      struct text *out_name)
{
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_open_live(call, id, &key, &secret);
    if (rc == 0) {
        *out_arn = secret_arn(call, secret);
        *out_name = secret->name;
    }
    return rc;
}

int secret_get_policy(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_get_resource_policy_request *in = request;
    struct secretsmanager_get_resource_policy_response *out = response;
    return show_named(call, in->secret_id, &out->arn, &out->name);
}

int secret_delete_policy(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_delete_resource_policy_request *in = request;
    struct secretsmanager_delete_resource_policy_response *out = response;
    return show_named(call, in->secret_id, &out->arn, &out->name);
}

// ---- ListSecretVersionIds ---------------------------------------------------------------------

int secret_list_versions(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_list_secret_version_ids_request *in = request;
    struct secretsmanager_list_secret_version_ids_response *out = response;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    struct secret_place last = {0};
    int rc = secret_open(call, in->secret_id, &key, &secret);
    if (rc == 0) {
        rc = secret_page_after(call, in->next_token, &last);
    }
    if (rc != 0) {
        return rc;
    }
    struct secret_version version = {.key = last.key};
    bool all = in->has_include_deprecated && in->include_deprecated;
    size_t size = in->has_max_results ? (size_t)in->max_results : SECRETS_PAGE;
    out->versions.items = arena_array(call->arena, size, sizeof(*out->versions.items));
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    while (secret_version_next(call->core, key, &version)) {
        if (!all && version.record->stages.count == 0) {
            continue;
        }
        if (out->versions.count == size) {
            out->next_token = secret_page_token(call, &last);
            break;
        }
        last.key = version.key;
        out->versions.items[out->versions.count++] =
            (struct secretsmanager_secret_versions_list_entry){
                .version_id = version.record->version_id,
                .version_stages = version.record->stages,
                .last_accessed_date = version.record->accessed_at,
                .created_date = version.record->created_at,
            };
    }
    return 0;
}
