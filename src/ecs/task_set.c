#include "ecs/service_internal.h"

#include "shape/cbor.h"

/*
 * Task sets of services whose deployments somebody else makes (controller EXTERNAL): each has a
 * revision of its own, and keeps its percentage of the service's desired count running. Which of
 * them is PRIMARY changes what the service shows, nothing that runs.
 */

#define TASK_SETS_MAX 5
#define TOKEN_MAX 36

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- finding --------------------------------------------------------------------------------

int service_task_set_open(struct core_call *call, struct text cluster, struct text reference,
                          int64_t *out_service)
{
    int64_t cluster_key = 0;
    int rc = ecs_cluster_resolve(call, cluster, &cluster_key);
    if (rc != 0) {
        return rc;
    }
    int64_t key = service_find_any(call->core, cluster_key, reference);
    if (key == 0) {
        return core_fault(call, &ecs_error_service_not_found_exception, "Service not found.");
    }
    const struct service_record_service *record = core_get(call->core, &service_kind, key);
    if (record->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
        return core_fault(call, &ecs_error_service_not_active_exception, "Service was not ACTIVE.");
    }
    if (record->controller != ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL) {
        return refuse(call, "Amazon ECS only supports task set management on services configured "
                            "to use external deployment controllers.");
    }
    *out_service = key;
    return 0;
}

static int find_set(struct core_call *call, int64_t service, struct text reference,
                    int64_t *out_set)
{
    *out_set = service_task_set_find(call, service, reference);
    return *out_set != 0
               ? 0
               : core_fault(call, &ecs_error_task_set_not_found_exception, "TaskSet not found.");
}

static struct ecs_task_set *shown(struct core_call *call, int64_t service, int64_t set)
{
    struct service_survey survey;
    service_survey(call, service_entry(service_state(call->core), service), &survey);
    struct ecs_task_set *out = ARENA_NEW(call->arena, struct ecs_task_set);
    service_task_set_show(call, &survey, service_standing_of(&survey, set), true, out);
    return out;
}

// ---- what is asked for ----------------------------------------------------------------------

static int read_scale(struct core_call *call, const struct ecs_scale *scale, double *out_percent)
{
    *out_percent = 0;
    if (scale == NULL) {
        return 0;
    }
    // A comparison that is false for what is no number, too.
    bool fine = scale->value >= 0 && scale->value <= 100;
    if (!fine) {
        return refuse(call, "The value of a scale must be between 0 and 100.");
    }
    *out_percent = scale->value;
    return 0;
}

static int check_token(struct core_call *call, struct text token)
{
    bool fine = token.size <= TOKEN_MAX;
    for (size_t i = 0; fine && i < token.size; i++) {
        fine = token.data[i] >= 33 && token.data[i] <= 126;
    }
    return fine ? 0 : refuse(call, "clientToken can have up to 36 characters of ASCII 33 to 126.");
}

static int64_t hash_request(const struct ecs_create_task_set_request *request)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(&ecs_create_task_set_request_shape, request, 1, NULL, &bytes);
    return (int64_t)(text_hash(buf_view(&bytes)) >> 1);
}

// The task set that the same token made, 0 for none. The same token with another content is
// refused.
static int find_repeated(struct core_call *call, int64_t service,
                         const struct ecs_create_task_set_request *request, int64_t *out_set)
{
    *out_set = 0;
    const struct service_entry *entry = service_entry(service_state(call->core), service);
    for (size_t i = 0; i < entry->deployment_count && !text_empty(request->client_token); i++) {
        const struct service_record_deployment *record =
            core_get(call->core, &service_deployment_kind, entry->deployments[i]);
        if (!text_equal(record->client_token, request->client_token)) {
            continue;
        }
        if (record->request_hash != hash_request(request)) {
            return refuse(call, "The clientToken was used before for a request with other "
                                "parameters.");
        }
        *out_set = entry->deployments[i];
    }
    return 0;
}

// ---- CreateTaskSet --------------------------------------------------------------------------

int service_create_task_set(struct core_call *call, void *state, const void *input, void *output)
{
    const struct ecs_create_task_set_request *request = input;
    struct ecs_create_task_set_response *response = output;
    int64_t service = 0;
    int64_t set = 0;
    double percent = 0;
    struct service_ask ask = {0};
    int rc = service_task_set_open(call, request->cluster, request->service, &service);
    if (rc == 0) {
        rc = check_token(call, request->client_token);
    }
    if (rc == 0) {
        rc = find_repeated(call, service, request, &set);
    }
    if (rc == 0 && set != 0) {
        response->task_set = shown(call, service, set);
        return 0;
    }
    if (rc == 0) {
        rc = read_scale(call, request->scale, &percent);
    }
    if (rc == 0) {
        rc = ecs_tags_check(call, request->tags.items, request->tags.count);
    }
    if (rc == 0) {
        rc = service_ask_task_set(call, request, service, &ask);
    }
    if (rc != 0) {
        return rc;
    }
    if (service_entry(state, service)->deployment_count >= TASK_SETS_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "%d deployments exist on the service. Unable to create new TaskSet since "
                          "this exceeds the maximum limit.",
                          TASK_SETS_MAX);
    }
    int64_t revision = service_revision_put(call, service, &ask.revision);
    struct service_record_deployment record = {
        .has_service = true,
        .service = service,
        .has_number = true,
        .number = service_fresh_number(call),
        .has_revision = true,
        .revision = revision,
        .status = SERVICE_RECORD_DEPLOYMENT_STATUS_ACTIVE,
        .created_at = call->now_ms,
        .updated_at = call->now_ms,
        .has_desired_count = true,
        .has_task_set = true,
        .task_set = true,
        .external_id = text_empty(request->external_id) ? (struct text){0} : request->external_id,
        .has_scale = true,
        .scale = percent,
        .unstable_at = call->now_ms,
        .client_token =
            text_empty(request->client_token) ? (struct text){0} : request->client_token,
        .has_request_hash = !text_empty(request->client_token),
    };
    record.request_hash = record.has_request_hash ? hash_request(request) : 0;
    record.tags.items = request->tags.items;
    record.tags.count = request->tags.count;
    set = core_new_key(call);
    core_put(call, &service_deployment_kind, set, &record);
    service_queue(call, service);
    response->task_set = shown(call, service, set);
    return 0;
}

// ---- UpdateTaskSet --------------------------------------------------------------------------

int service_update_task_set(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_update_task_set_request *request = input;
    struct ecs_update_task_set_response *response = output;
    int64_t service = 0;
    int64_t set = 0;
    double percent = 0;
    int rc = service_task_set_open(call, request->cluster, request->service, &service);
    if (rc == 0) {
        rc = find_set(call, service, request->task_set, &set);
    }
    if (rc == 0) {
        rc = read_scale(call, request->scale, &percent);
    }
    if (rc != 0) {
        return rc;
    }
    struct service_record_deployment *record = service_deployment_edit(call, set);
    if (record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        return refuse(call, "The task set is DRAINING. Create another one and try again.");
    }
    record->scale = percent;
    service_deployment_put(call, set, record);
    service_queue(call, service);
    response->task_set = shown(call, service, set);
    return 0;
}

// ---- UpdateServicePrimaryTaskSet ------------------------------------------------------------

static void put_status(struct core_call *call, int64_t set,
                       enum service_record_deployment_status status)
{
    struct service_record_deployment *record = service_deployment_edit(call, set);
    record->status = status;
    service_deployment_put(call, set, record);
}

int service_update_primary_task_set(struct core_call *call, void *state, const void *input,
                                    void *output)
{
    (void)state;
    const struct ecs_update_service_primary_task_set_request *request = input;
    struct ecs_update_service_primary_task_set_response *response = output;
    int64_t service = 0;
    int64_t set = 0;
    int rc = service_task_set_open(call, request->cluster, request->service, &service);
    if (rc == 0) {
        rc = find_set(call, service, request->primary_task_set, &set);
    }
    if (rc != 0) {
        return rc;
    }
    const struct service_record_deployment *found =
        core_get(call->core, &service_deployment_kind, set);
    if (found->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        return refuse(call, "The task set is DRAINING. Create another one and try again.");
    }
    const struct service_record_revision *revision =
        core_get(call->core, &service_revision_kind, found->revision);
    struct service_record_service *record = core_edit(call, &service_kind, service);
    if (record->primary != set) {
        if (record->primary != 0) {
            put_status(call, record->primary, SERVICE_RECORD_DEPLOYMENT_STATUS_ACTIVE);
        }
        put_status(call, set, SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY);
        record->has_primary = true;
        record->primary = set;
        record->launch_type = revision->launch_type;
        core_put(call, &service_kind, service, record);
    }
    response->task_set = shown(call, service, set);
    return 0;
}

// ---- DeleteTaskSet --------------------------------------------------------------------------

static int check_delete(struct core_call *call, const struct service_record_deployment *record)
{
    if (record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY) {
        return refuse(call, "The primary task set cannot be deleted. Make another task set the "
                            "primary one, or specify force, and try again.");
    }
    return record->scale > 0
               ? refuse(call, "The task set cannot be deleted while it is scaled above 0. Scale it "
                              "to 0, or specify force, and try again.")
               : 0;
}

int service_delete_task_set(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_delete_task_set_request *request = input;
    struct ecs_delete_task_set_response *response = output;
    int64_t service = 0;
    int64_t set = 0;
    int rc = service_task_set_open(call, request->cluster, request->service, &service);
    if (rc == 0) {
        rc = find_set(call, service, request->task_set, &set);
    }
    if (rc != 0) {
        return rc;
    }
    struct service_record_deployment *record = service_deployment_edit(call, set);
    if (record->status != SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        rc = request->force ? 0 : check_delete(call, record);
        if (rc != 0) {
            return rc;
        }
        record->status = SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING;
        service_deployment_put(call, set, record);
        struct service_record_service *owner = core_edit(call, &service_kind, service);
        if (owner->primary == set) {
            owner->has_primary = false;
            owner->primary = 0;
            core_put(call, &service_kind, service, owner);
        }
        service_queue(call, service);
    }
    response->task_set = shown(call, service, set);
    return 0;
}
