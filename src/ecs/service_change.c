#include "ecs/service_internal.h"

#include "base/limits.h"
#include "shape/cbor.h"

#define SERVICES_MAX 5000                    // ECS: of a cluster
#define REAP_STEP 40                         // records of a deleted service let go in one step
#define REAP_RETRY_MS (3600 * INT64_C(1000)) // while its stopped tasks are shown

// ---- finding --------------------------------------------------------------------------------

int64_t service_lookup(const struct core *core, int64_t cluster, struct text name)
{
    // Longer names were never made, and the index refuses to build keys of them.
    if (name.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key at = {.size = 0};
    index_key_u64(&at, (uint64_t)cluster);
    index_key_text(&at, name);
    struct index_cursor cursor;
    index_walk(service_state(core)->by_name, &at, true, &cursor);
    return index_step(&cursor);
}

// The name out of a reference: a name, or an ARN that may name the cluster before it.
static bool reference_name(const struct core *core, int64_t cluster, struct text reference,
                           struct text *out_name)
{
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    struct text path = {0};
    if (!ecs_reference_path(reference, "service", ecs_scope(core, record->realm), &path)) {
        return false;
    }
    size_t slash = text_find_last(path, '/');
    if (slash == SIZE_MAX) {
        *out_name = path;
        return true;
    }
    *out_name = text_slice(path, slash + 1, path.size);
    return text_equal(text_slice(path, 0, slash), record->name);
}

int64_t service_find_any(const struct core *core, int64_t cluster, struct text reference)
{
    struct text name = {0};
    bool named = !text_empty(reference) && reference_name(core, cluster, reference, &name);
    return named ? service_lookup(core, cluster, name) : 0;
}

int64_t service_find(const struct core *core, int64_t cluster, struct text reference)
{
    int64_t key = service_find_any(core, cluster, reference);
    const struct service_record_service *record =
        key == 0 ? NULL : core_get(core, &service_kind, key);
    return record == NULL || record->status == SERVICE_RECORD_SERVICE_STATUS_INACTIVE ? 0 : key;
}

// A service of any status.
static int resolve(struct core_call *call, struct text cluster, struct text reference,
                   int64_t *out_service)
{
    int64_t cluster_key = 0;
    int rc = ecs_cluster_resolve(call, cluster, &cluster_key);
    if (rc != 0) {
        return rc;
    }
    *out_service = service_find_any(call->core, cluster_key, reference);
    return *out_service != 0
               ? 0
               : core_fault(call, &ecs_error_service_not_found_exception, "Service not found.");
}

// ---- CreateService --------------------------------------------------------------------------

static int64_t hash_request(const struct ecs_create_service_request *request)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(&ecs_create_service_request_shape, request, 1, NULL, &bytes);
    return (int64_t)(text_hash(buf_view(&bytes)) >> 1);
}

int64_t service_revision_put(struct core_call *call, int64_t service,
                             struct service_record_revision *revision)
{
    revision->has_service = true;
    revision->service = service;
    revision->has_number = true;
    revision->number = (int64_t)(core_random(call) >> 1);
    int64_t key = core_new_key(call);
    core_put(call, &service_revision_kind, key, revision);
    return key;
}

static struct ecs_service *shown(struct core_call *call, int64_t service)
{
    struct ecs_service *out = ARENA_NEW(call->arena, struct ecs_service);
    service_show(call, service, true, out);
    return out;
}

static bool is_full(const struct core *core, int64_t cluster)
{
    struct service_counts counts = service_count(core, cluster, ECS_LAUNCH_TYPE_ABSENT);
    return counts.active + counts.draining >= SERVICES_MAX;
}

int service_create(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_create_service_request *request = input;
    struct ecs_create_service_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    int64_t taken = service_lookup(call->core, cluster, request->service_name);
    const struct service_record_service *before =
        taken == 0 ? NULL : core_get(call->core, &service_kind, taken);
    if (before != NULL && before->status != SERVICE_RECORD_SERVICE_STATUS_INACTIVE) {
        bool same = !text_empty(request->client_token) &&
                    text_equal(request->client_token, before->client_token) &&
                    before->request_hash == hash_request(request);
        if (!same) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Creation of service was not idempotent.");
        }
        response->service = shown(call, taken);
        return 0;
    }
    if (is_full(call->core, cluster)) {
        return core_fault(call, &ecs_error_client_exception,
                          "The cluster has %d services, as many as a cluster can have. Delete some "
                          "and try again.",
                          SERVICES_MAX);
    }
    struct service_ask ask = {0};
    rc = service_ask_create(call, request, cluster, &ask);
    if (rc != 0) {
        return rc;
    }
    ask.service.has_request_hash = !text_empty(request->client_token);
    ask.service.request_hash = ask.service.has_request_hash ? hash_request(request) : 0;

    // The service comes first: what refers to it has greater keys.
    int64_t key = core_new_key(call);
    core_put(call, &service_kind, key, &ask.service);
    if (ask.deploy) {
        int64_t revision = service_revision_put(call, key, &ask.revision);
        service_rollout_begin(call, key, &ask.service, revision);
    }
    response->service = shown(call, key);
    return 0;
}

// ---- UpdateService --------------------------------------------------------------------------

int service_update(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_update_service_request *request = input;
    struct ecs_update_service_response *response = output;
    int64_t key = 0;
    int rc = resolve(call, request->cluster, request->service, &key);
    if (rc != 0) {
        return rc;
    }
    const struct service_record_service *before = core_get(call->core, &service_kind, key);
    if (before->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
        return core_fault(call, &ecs_error_service_not_active_exception, "Service was not ACTIVE.");
    }
    struct service_ask ask = {0};
    rc = service_ask_update(call, request, key, &ask);
    if (rc != 0) {
        return rc;
    }
    if (ask.deploy) {
        int64_t revision = service_revision_put(call, key, &ask.revision);
        service_rollout_begin(call, key, &ask.service, revision);
    } else {
        core_put(call, &service_kind, key, &ask.service);
        service_queue(call, key);
    }
    response->service = shown(call, key);
    return 0;
}

// ---- DeleteService --------------------------------------------------------------------------

int service_delete(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_delete_service_request *request = input;
    struct ecs_delete_service_response *response = output;
    int64_t key = 0;
    int rc = resolve(call, request->cluster, request->service, &key);
    if (rc != 0) {
        return rc;
    }
    const struct service_record_service *before = core_get(call->core, &service_kind, key);
    switch (before->status) {
    case SERVICE_RECORD_SERVICE_STATUS_ACTIVE:
        break;
    case SERVICE_RECORD_SERVICE_STATUS_DRAINING:
        response->service = shown(call, key); // it was deleted already, and its tasks are ending
        return 0;
    case SERVICE_RECORD_SERVICE_STATUS_ABSENT:
    case SERVICE_RECORD_SERVICE_STATUS_UNRECOGNIZED:
    case SERVICE_RECORD_SERVICE_STATUS_INACTIVE:
        return core_fault(call, &ecs_error_service_not_found_exception, "Service not found.");
    }
    bool daemon = before->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
    if (before->desired_count > 0 && !request->force && !daemon) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The service cannot be stopped while it is scaled above 0.");
    }
    const struct service_entry *entry = service_entry(service_state(call->core), key);
    bool external = before->controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL;
    size_t most = external ? 0 : 1; // task sets are deleted before their service
    if (!request->force && !daemon && entry->deployment_count > most) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The service cannot be stopped while deployments are active.");
    }
    service_rollout_end(call, before->rollout, ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED,
                        TEXT("The service was deleted."));
    struct service_record_service *record = core_edit(call, &service_kind, key);
    record->status = SERVICE_RECORD_SERVICE_STATUS_DRAINING;
    record->desired_count = 0;
    core_put(call, &service_kind, key, record);
    service_queue(call, key);
    response->service = shown(call, key);
    return 0;
}

// ---- letting go -----------------------------------------------------------------------------

// Whether a task that is still shown was started by a deployment.
static bool has_tasks(struct core_call *call, int64_t cluster, int64_t deployment)
{
    struct index_key at;
    task_list_key(&at, cluster, TASK_RECORD_TASK_STATUS_STOPPED);
    index_key_text(&at, service_deployment_id(call, deployment));
    return index_get(task_state(call->core)->by_starter, &at) != 0;
}

static size_t delete_listed(struct core_call *call, const struct index *index,
                            const struct core_kind *kind, int64_t service, size_t most)
{
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)service);
    struct index_cursor cursor;
    index_walk(index, &prefix, false, &cursor);
    int64_t keys[REAP_STEP];
    size_t count = 0;
    for (int64_t key = index_step(&cursor); key != 0 && count < most; key = index_step(&cursor)) {
        keys[count] = key;
        count++;
    }
    for (size_t i = 0; i < count; i++) {
        core_delete(call, kind, keys[i]);
    }
    return count;
}

void service_reap_work(struct core_call *call, void *pointer, int64_t key)
{
    struct service_state *state = pointer;
    const struct service_record_service *record = core_get(call->core, &service_kind, key);
    if (record == NULL) {
        return;
    }
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)key);
    struct index_cursor cursor;
    index_walk(state->deployments, &prefix, false, &cursor);
    for (int64_t deployment = index_step(&cursor); deployment != 0;
         deployment = index_step(&cursor)) {
        if (has_tasks(call, record->cluster, deployment)) {
            core_timer(call, &service_managers[SERVICE_MANAGER_REAP], key,
                       call->now_ms + REAP_RETRY_MS);
            return;
        }
    }
    const struct {
        const struct index *index;
        const struct core_kind *kind;
    } parts[] = {
        {state->events, &service_event_kind},
        {state->rollouts, &service_rollout_kind},
        {state->deployments, &service_deployment_kind},
        {state->revisions, &service_revision_kind},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (delete_listed(call, parts[i].index, parts[i].kind, key, REAP_STEP) > 0) {
            core_work(call, &service_managers[SERVICE_MANAGER_REAP], key);
            return;
        }
    }
    core_delete(call, &service_kind, key);
}
