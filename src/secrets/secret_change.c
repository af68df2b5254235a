#include "secrets/secrets_internal.h"

#include "base/text.h"
#include "identity/identity.h"

/*
 * Operations that change secrets.
 */

static struct text_list current_only(struct core_call *call)
{
    struct text *items = ARENA_NEW(call->arena, struct text);
    items[0] = TEXT(SECRETS_CURRENT);
    return (struct text_list){.items = items, .count = 1};
}

// The id of a new version: the client's token, or a fresh one for a client without.
static struct text version_id_of(struct core_call *call, struct text token)
{
    return token.data == NULL ? core_random_uuid(call) : token;
}

static struct secrets_record_tag_list keep_tags(struct core_call *call,
                                                const struct secretsmanager_tag_list *tags)
{
    struct secrets_record_tag_list kept = {
        .items = arena_array(call->arena, tags->count, sizeof(*kept.items)), .count = tags->count};
    for (size_t i = 0; i < tags->count; i++) {
        kept.items[i] =
            (struct secrets_record_tag){.key = tags->items[i].key, .value = tags->items[i].value};
    }
    return kept;
}

static int check_tags(struct core_call *call, const struct secrets_record_tag_list *tags)
{
    if (tags->count > SECRETS_TAGS_MAX) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "A secret can have at most %d tags.", SECRETS_TAGS_MAX);
    }
    struct text fault = tags_fault(call->arena, tags);
    return fault.data == NULL ? 0
                              : core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                                           "%.*s", TEXT_FMT(fault));
}

// ---- creating -----------------------------------------------------------------------------------

static int check_create(struct core_call *call,
                        const struct secretsmanager_create_secret_request *in,
                        const struct secrets_record_tag_list *tags)
{
    if (in->add_replica_regions.items != NULL) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "Secrets are not replicated to other regions here. Leave "
                          "AddReplicaRegions out and create the secret in each region.");
    }
    int rc = secret_check_name(call, in->name);
    return rc == 0 ? check_tags(call, tags) : rc;
}

// A secret of that name is there: the same request once more, or a refusal.
static int create_existing(struct core_call *call, int64_t key,
                           const struct secretsmanager_create_secret_request *in,
                           const struct secret_value *value,
                           struct secretsmanager_create_secret_response *out)
{
    const struct secrets_record_secret *secret = core_get(call->core, &secrets_secret_kind, key);
    if (secret->deletion_at != 0) {
        return core_fault(call, &secretsmanager_error_invalid_request_exception,
                          "You can't create this secret because a secret with this name is already "
                          "scheduled for deletion.");
    }
    struct secret_version version = {0};
    if (in->client_request_token.data != NULL) {
        version = secret_version_by_id(call->core, key, in->client_request_token);
    }
    if (version.key == 0 || value->bytes.data == NULL) {
        return core_fault(call, &secretsmanager_error_resource_exists_exception,
                          "The operation failed because the secret %.*s already exists.",
                          TEXT_FMT(in->name));
    }
    bool repeat = false;
    out->arn = secret_arn(call, secret);
    int rc = secret_version_check(call, key, out->arn, in->client_request_token, value, &repeat);
    out->name = secret->name;
    out->version_id = version.record->version_id;
    return rc;
}

static int check_count(struct core_call *call)
{
    const struct secrets_state *state = secrets_state(call->core);
    int64_t realm = identity_realm(call->core, call->caller->account, call->caller->region);
    if (realm != 0 && secrets_count(&state->stock.counts, realm) >= SECRETS_MAX) {
        return core_fault(call, &secretsmanager_error_limit_exceeded_exception,
                          "There are %d secrets in this account and region, which is the limit.",
                          SECRETS_MAX);
    }
    return 0;
}

int secret_create(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_create_secret_request *in = request;
    struct secretsmanager_create_secret_response *out = response;
    struct secret_value value = {0};
    const struct secrets_record_tag_list tags = keep_tags(call, &in->tags);
    int rc = secret_value_take(call, in->secret_string, in->secret_binary, &value);
    if (rc == 0) {
        rc = check_create(call, in, &tags);
    }
    if (rc != 0) {
        return rc;
    }
    int64_t old = secret_find(call->core, call->caller, in->name);
    if (old != 0) {
        return create_existing(call, old, in, &value, out);
    }
    bool repeat = false;
    struct text version_id = version_id_of(call, in->client_request_token);
    rc = check_count(call);
    if (rc == 0 && value.bytes.data != NULL) {
        rc = secret_version_check(call, 0, in->name, version_id, &value, &repeat);
    }
    int64_t realm =
        rc != 0 ? 0 : identity_realm_ensure(call, &secretsmanager_error_limit_exceeded_exception);
    if (realm == 0) {
        return ERR_FAULT;
    }
    const struct secrets_record_secret secret = {
        .has_realm = true,
        .realm = realm,
        .name = in->name,
        .suffix = secret_suffix(call),
        .description = in->description,
        .kms_key_id = in->kms_key_id,
        .tags = tags,
        .created_at = call->now_ms,
        .changed_at = call->now_ms,
        .type = in->type,
    };
    int64_t key = core_new_key(call);
    core_put(call, &secrets_secret_kind, key, &secret);
    out->arn = secret_arn(call, &secret);
    out->name = in->name;
    if (value.bytes.data != NULL) {
        const struct text_list stages = current_only(call);
        secret_version_put(call, key, version_id, &value, &stages);
        out->version_id = version_id;
    }
    return 0;
}

// ---- values -------------------------------------------------------------------------------------

static void touch(struct core_call *call, int64_t key)
{
    struct secrets_record_secret *secret = core_edit(call, &secrets_secret_kind, key);
    secret->changed_at = call->now_ms;
    core_put(call, &secrets_secret_kind, key, secret);
}

// Check and make a version; the one that is there already stays as it is.
static int put_value(struct core_call *call, int64_t key, struct text arn, struct text version_id,
                     const struct secret_value *value, const struct text_list *stages)
{
    bool repeat = false;
    int rc = secret_version_check(call, key, arn, version_id, value, &repeat);
    if (rc == 0 && !repeat) {
        secret_version_put(call, key, version_id, value, stages);
        touch(call, key);
    }
    return rc;
}

int secret_put_value(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_put_secret_value_request *in = request;
    struct secretsmanager_put_secret_value_response *out = response;
    struct secret_value value = {0};
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_value_take(call, in->secret_string, in->secret_binary, &value);
    if (rc == 0 && value.bytes.data == NULL) {
        return core_fault(call, &secretsmanager_error_invalid_request_exception,
                          "You must provide either SecretString or SecretBinary.");
    }
    if (rc == 0 && in->rotation_token.data != NULL) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "RotationToken cannot be used here: rotation is not built in Berth yet.");
    }
    if (rc == 0) {
        rc = secret_open_live(call, in->secret_id, &key, &secret);
    }
    const struct text_list stages =
        in->version_stages.count == 0 ? current_only(call) : in->version_stages;
    if (rc == 0) {
        rc = secret_stages_check(call, key, &stages);
    }
    if (rc != 0) {
        return rc;
    }
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    out->version_id = version_id_of(call, in->client_request_token);
    rc = put_value(call, key, out->arn, out->version_id, &value, &stages);
    if (rc == 0) {
        out->version_stages = secret_version_by_id(call->core, key, out->version_id).record->stages;
    }
    return rc;
}

int secret_update(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_update_secret_request *in = request;
    struct secretsmanager_update_secret_response *out = response;
    struct secret_value value = {0};
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_value_take(call, in->secret_string, in->secret_binary, &value);
    if (rc == 0) {
        rc = secret_open_live(call, in->secret_id, &key, &secret);
    }
    if (rc != 0) {
        return rc;
    }
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    if (value.bytes.data != NULL) {
        const struct text_list stages = current_only(call);
        out->version_id = version_id_of(call, in->client_request_token);
        rc = put_value(call, key, out->arn, out->version_id, &value, &stages);
        if (rc != 0) {
            return rc;
        }
    }
    struct secrets_record_secret *changed = core_edit(call, &secrets_secret_kind, key);
    changed->description = in->description.data == NULL ? changed->description : in->description;
    changed->kms_key_id = in->kms_key_id.data == NULL ? changed->kms_key_id : in->kms_key_id;
    changed->type = in->type.data == NULL ? changed->type : in->type;
    changed->changed_at = call->now_ms;
    core_put(call, &secrets_secret_kind, key, changed);
    return 0;
}

// ---- staging labels -----------------------------------------------------------------------------

static int check_remove(struct core_call *call, const struct secret_version *holder,
                        const struct secretsmanager_update_secret_version_stage_request *in)
{
    struct text from = in->remove_from_version_id;
    if (holder->key == 0) {
        return from.data == NULL
                   ? 0
                   : core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                                "The parameter RemoveFromVersionId is not valid. Staging label "
                                "%.*s is currently not attached to version %.*s.",
                                TEXT_FMT(in->version_stage), TEXT_FMT(from));
    }
    if (from.data == NULL) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "The parameter RemoveFromVersionId can't be empty. Staging label %.*s is "
                          "currently attached to version %.*s, so you must explicitly reference "
                          "that version in RemoveFromVersionId.",
                          TEXT_FMT(in->version_stage), TEXT_FMT(holder->record->version_id));
    }
    if (!text_equal(from, holder->record->version_id)) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "The parameter RemoveFromVersionId is not valid. Staging label %.*s is "
                          "currently attached to version %.*s, not to version %.*s.",
                          TEXT_FMT(in->version_stage), TEXT_FMT(holder->record->version_id),
                          TEXT_FMT(from));
    }
    return 0;
}

int secret_update_stage(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_update_secret_version_stage_request *in = request;
    struct secretsmanager_update_secret_version_stage_response *out = response;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_open_live(call, in->secret_id, &key, &secret);
    if (rc != 0) {
        return rc;
    }
    struct secret_version target = {0};
    if (in->move_to_version_id.data != NULL) {
        target = secret_version_by_id(call->core, key, in->move_to_version_id);
        if (target.key == 0) {
            return core_fault(call, &secretsmanager_error_resource_not_found_exception,
                              "Secrets Manager can't find the specified secret value for "
                              "VersionId: %.*s",
                              TEXT_FMT(in->move_to_version_id));
        }
    } else if (text_is(in->version_stage, SECRETS_CURRENT)) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "You can't remove the staging label AWSCURRENT from a version without "
                          "moving it to another one: name that in MoveToVersionId.");
    }
    struct secret_version holder = secret_version_by_stage(call->core, key, in->version_stage);
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    if (holder.key != 0 && holder.key == target.key) {
        return 0; // it is there already
    }
    struct text stage = in->version_stage;
    const struct text_list stages = {.items = &stage, .count = 1};
    rc = check_remove(call, &holder, in);
    if (rc == 0 && target.key != 0) {
        rc = secret_stages_check(call, key, &stages);
    }
    if (rc == 0) {
        secret_stage_move(call, key, in->version_stage, target.key);
        touch(call, key);
    }
    return rc;
}

// ---- deleting -----------------------------------------------------------------------------------

static int check_window(struct core_call *call,
                        const struct secretsmanager_delete_secret_request *in)
{
    if (in->has_recovery_window_in_days && in->force_delete_without_recovery) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "You can't use ForceDeleteWithoutRecovery in conjunction with "
                          "RecoveryWindowInDays.");
    }
    if (in->has_recovery_window_in_days && (in->recovery_window_in_days < SECRETS_WINDOW_DAYS_MIN ||
                                            in->recovery_window_in_days > SECRETS_WINDOW_DAYS)) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "The RecoveryWindowInDays value must be between %d and %d days "
                          "(inclusive).",
                          SECRETS_WINDOW_DAYS_MIN, SECRETS_WINDOW_DAYS);
    }
    return 0;
}

int secret_delete(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_delete_secret_request *in = request;
    struct secretsmanager_delete_secret_response *out = response;
    bool force = in->has_force_delete_without_recovery && in->force_delete_without_recovery;
    int rc = check_window(call, in);
    if (rc != 0) {
        return rc;
    }
    int64_t key = secret_find(call->core, call->caller, in->secret_id);
    if (key == 0 && force) {
        // AWS answers so, that a script which deletes twice does not fail.
        struct text suffix = secret_suffix(call);
        out->name = in->secret_id;
        out->arn =
            text_starts(in->secret_id, TEXT("arn:"))
                ? in->secret_id
                : arena_format(call->arena,
                               "arn:aws:secretsmanager:%.*s:%.*s:secret:%.*s-"
                               "%.*s",
                               TEXT_FMT(call->caller->region), TEXT_FMT(call->caller->account),
                               TEXT_FMT(in->secret_id), TEXT_FMT(suffix));
        out->deletion_date = call->now_ms;
        return 0;
    }
    const struct secrets_record_secret *secret = NULL;
    rc = secret_open(call, in->secret_id, &key, &secret);
    if (rc != 0) {
        return rc;
    }
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    if (force) {
        out->deletion_date = call->now_ms;
        secret_remove(call, key);
        return 0;
    }
    if (secret->deletion_at != 0) {
        return core_fault(call, &secretsmanager_error_invalid_request_exception,
                          "You can't perform this operation on the secret because it was already "
                          "scheduled for deletion.");
    }
    int64_t days =
        in->has_recovery_window_in_days ? in->recovery_window_in_days : SECRETS_WINDOW_DAYS;
    struct secrets_record_secret *changed = core_edit(call, &secrets_secret_kind, key);
    changed->deletion_at = call->now_ms + days * SECRETS_DAY_MS;
    core_put(call, &secrets_secret_kind, key, changed);
    core_timer(call, &secret_manager, key, changed->deletion_at);
    out->deletion_date = changed->deletion_at;
    return 0;
}

int secret_restore(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_restore_secret_request *in = request;
    struct secretsmanager_restore_secret_response *out = response;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_open(call, in->secret_id, &key, &secret);
    if (rc != 0) {
        return rc;
    }
    out->arn = secret_arn(call, secret);
    out->name = secret->name;
    struct secrets_record_secret *changed = core_edit(call, &secrets_secret_kind, key);
    changed->deletion_at = 0;
    core_put(call, &secrets_secret_kind, key, changed);
    core_timer(call, &secret_manager, key, 0);
    return 0;
}

// ---- tags ---------------------------------------------------------------------------------------

static void put_tags(struct core_call *call, int64_t key, struct secrets_record_tag_list tags)
{
    struct secrets_record_secret *secret = core_edit(call, &secrets_secret_kind, key);
    secret->tags = tags;
    secret->changed_at = call->now_ms;
    core_put(call, &secrets_secret_kind, key, secret);
}

int secret_tag(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct secretsmanager_tag_resource_request *in = request;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    const struct secrets_record_tag_list given = keep_tags(call, &in->tags);
    int rc = secret_open_live(call, in->secret_id, &key, &secret);
    if (rc == 0) {
        rc = check_tags(call, &given);
    }
    if (rc != 0) {
        return rc;
    }
    const struct secrets_record_tag_list merged = tags_merge(call->arena, &secret->tags, &given);
    rc = check_tags(call, &merged);
    if (rc == 0) {
        put_tags(call, key, merged);
    }
    return rc;
}

int secret_untag(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct secretsmanager_untag_resource_request *in = request;
    int64_t key = 0;
    const struct secrets_record_secret *secret = NULL;
    int rc = secret_open_live(call, in->secret_id, &key, &secret);
    if (rc == 0) {
        put_tags(call, key, tags_without(call->arena, &secret->tags, &in->tag_keys));
    }
    return rc;
}
