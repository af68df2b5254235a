#include "ecs/page.h"
#include "ecs/service_internal.h"
#include "ecs/stage.h"

/*
 * Service deployments and service revisions: Describe, List, Stop. Both are named by ARNs alone,
 * so an operation finds cluster and service in the ARN.
 */

// ---- finding --------------------------------------------------------------------------------

/** The parts of `.../CLUSTER/SERVICE/ID`. */
struct path {
    struct text cluster;
    struct text service;
    struct text id;
};

// Whether a text is an ARN of a type of the caller's account and region.
static bool parse(const struct core_call *call, struct text reference, const char *type,
                  struct path *out_path)
{
    struct ecs_arn arn;
    if (!ecs_arn_parse(reference, &arn) || !text_is(arn.type, type) ||
        !text_equal(arn.region, call->caller->region) ||
        !text_equal(arn.account, call->caller->account)) {
        return false;
    }
    struct text rest = arn.path;
    out_path->cluster = text_cut(&rest, '/');
    out_path->service = text_cut(&rest, '/');
    out_path->id = rest;
    return !text_empty(rest) && text_find(rest, '/') == SIZE_MAX;
}

// The record of a path: of any service that has or had the name.
static int64_t find(const struct core_call *call, const struct path *path,
                    const struct index *index, bool number)
{
    int64_t value = 0;
    if (number && text_to_i64(path->id, &value) != 0) {
        return 0;
    }
    int64_t cluster = ecs_cluster_lookup(call->core, ecs_caller_realm(call), path->cluster);
    struct index_key name = {.size = 0};
    index_key_u64(&name, (uint64_t)cluster);
    index_key_text(&name, path->service);
    struct index_cursor cursor;
    index_walk(service_state(call->core)->by_name, &name, true, &cursor);
    for (int64_t service = index_step(&cursor); service != 0; service = index_step(&cursor)) {
        struct index_key at = {.size = 0};
        index_key_u64(&at, (uint64_t)service);
        if (number) {
            index_key_u64(&at, (uint64_t)value);
        } else {
            index_key_text(&at, path->id);
        }
        int64_t key = index_get(index, &at);
        if (key != 0) {
            return key;
        }
    }
    return 0;
}

// The key of a service deployment by its ARN: 0 when there is none, or when the text is no such
// ARN, which out_arn then says.
static int64_t find_rollout(const struct core_call *call, struct text arn, bool *out_arn)
{
    struct path path = {0};
    *out_arn = parse(call, arn, "service-deployment", &path);
    return *out_arn ? find(call, &path, service_state(call->core)->rollout_ids, false) : 0;
}

int service_refuse_arn(struct core_call *call, const char *what, struct text arn)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "Invalid %s ARN: %.*s", what,
                      TEXT_FMT(text_slice(arn, 0, MIN(arn.size, (size_t)500))));
}

int service_rollout_named(struct core_call *call, struct text arn, int64_t *out_key)
{
    bool is_arn = false;
    int64_t key = find_rollout(call, arn, &is_arn);
    if (!is_arn) {
        return service_refuse_arn(call, "service deployment", arn);
    }
    if (key == 0) {
        return core_fault(call, &ecs_error_service_deployment_not_found_exception,
                          "Service deployment not found.");
    }
    *out_key = key;
    return 0;
}

static void add_missing(struct ecs_failure_list *failures, struct text arn)
{
    failures->items[failures->count] = (struct ecs_failure){.arn = arn, .reason = TEXT("MISSING")};
    failures->count++;
}

// ---- a service deployment -------------------------------------------------------------------

// A revision and how many tasks of it there are now, whatever deployment they are of.
static struct ecs_service_revision_summary
summary(struct core_call *call, const struct service_survey *survey, int64_t revision)
{
    struct ecs_service_revision_summary out = {
        .arn = service_revision_arn(call, revision),
        .has_requested_task_count = true,
        .has_running_task_count = true,
        .has_pending_task_count = true,
    };
    for (size_t i = 0; survey != NULL && i < survey->count; i++) {
        const struct service_standing *standing = &survey->standings[i];
        if (standing->record->revision == revision) {
            out.requested_task_count +=
                standing == survey->primary ? survey->record->desired_count : standing->live;
            out.running_task_count += standing->running;
            out.pending_task_count += standing->pending;
        }
    }
    return out;
}

// Whether what watches over a service deployment still does.
static bool watched(enum ecs_service_deployment_status status)
{
    return status == ECS_SERVICE_DEPLOYMENT_STATUS_PENDING ||
           status == ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS;
}

static struct ecs_service_deployment_circuit_breaker *
show_breaker(struct core_call *call, const struct service_record_rollout *record)
{
    struct ecs_service_deployment_circuit_breaker *out =
        ARENA_NEW(call->arena, struct ecs_service_deployment_circuit_breaker);
    const struct ecs_deployment_circuit_breaker *asked =
        record->configuration->deployment_circuit_breaker;
    bool on = asked != NULL && asked->enable;
    out->status = !on               ? ECS_SERVICE_DEPLOYMENT_ROLLBACK_MONITORS_STATUS_DISABLED
                  : record->tripped ? ECS_SERVICE_DEPLOYMENT_ROLLBACK_MONITORS_STATUS_TRIGGERED
                  : watched(record->status)
                      ? ECS_SERVICE_DEPLOYMENT_ROLLBACK_MONITORS_STATUS_MONITORING
                      : ECS_SERVICE_DEPLOYMENT_ROLLBACK_MONITORS_STATUS_MONITORING_COMPLETE;
    out->has_failure_count = true;
    out->failure_count = record->failure_count;
    out->has_threshold = true;
    out->threshold = record->threshold;
    if (!record->has_threshold) { // under way: they are those of the deployment and the service
        const struct service_record_deployment *deployment =
            core_get(call->core, &service_deployment_kind, record->deployment);
        const struct service_record_service *service =
            core_get(call->core, &service_kind, record->service);
        out->failure_count = deployment->failed_tasks;
        out->threshold = service_breaker_threshold(service->desired_count);
    }
    return out;
}

// Nothing watches alarms yet, so none is ever said to be monitored.
static struct ecs_service_deployment_alarms *
show_alarms(struct core_call *call, const struct service_record_rollout *record)
{
    struct ecs_service_deployment_alarms *out =
        ARENA_NEW(call->arena, struct ecs_service_deployment_alarms);
    out->status = ECS_SERVICE_DEPLOYMENT_ROLLBACK_MONITORS_STATUS_DISABLED;
    if (record->configuration->alarms != NULL) {
        out->alarm_names = record->configuration->alarms->alarm_names;
    }
    return out;
}

static struct ecs_rollback *show_rollback(struct core_call *call,
                                          const struct service_record_rollout *record)
{
    if (record->rollback_at == 0) {
        return NULL;
    }
    struct ecs_rollback *out = ARENA_NEW(call->arena, struct ecs_rollback);
    out->reason = record->rollback_reason;
    out->started_at = record->rollback_at;
    out->service_revision_arn = service_revision_arn(call, record->rollback_revision);
    return out;
}

static void show_rollout(struct core_call *call, int64_t key, struct ecs_service_deployment *out)
{
    const struct service_record_rollout *record = core_get(call->core, &service_rollout_kind, key);
    const struct service_record_service *service =
        core_get(call->core, &service_kind, record->service);
    struct service_entry *entry = service_entry(service_state(call->core), record->service);
    struct service_survey survey;
    if (entry != NULL) {
        service_survey(call, entry, &survey);
    }
    const struct service_survey *counts = entry == NULL ? NULL : &survey;
    *out = (struct ecs_service_deployment){
        .service_deployment_arn = service_rollout_arn(call, key),
        .service_arn = service_arn(call, record->service),
        .cluster_arn = ecs_cluster_arn(call, service->cluster),
        .created_at = record->created_at,
        .started_at = record->started_at,
        .finished_at = record->finished_at,
        .stopped_at = record->stopped_at,
        .updated_at = record->updated_at,
        .target_service_revision = ARENA_NEW(call->arena, struct ecs_service_revision_summary),
        .status = record->status,
        .status_reason = record->status_reason,
        .deployment_configuration = record->configuration,
        .rollback = show_rollback(call, record),
        .deployment_circuit_breaker = show_breaker(call, record),
        .alarms = show_alarms(call, record),
    };
    *out->target_service_revision = summary(call, counts, record->target);
    size_t count = record->sources.count;
    out->source_service_revisions.items =
        arena_array(call->arena, count, sizeof(*out->source_service_revisions.items));
    out->source_service_revisions.count = count;
    for (size_t i = 0; i < count; i++) {
        out->source_service_revisions.items[i] = summary(call, counts, record->sources.items[i]);
    }
    stage_show(call, key, out);
}

int service_describe_rollouts(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_describe_service_deployments_request *request = input;
    struct ecs_describe_service_deployments_response *response = output;
    size_t count = request->service_deployment_arns.count;
    int rc = ecs_batch_check(call, count);
    if (rc != 0) {
        return rc;
    }
    response->service_deployments.items =
        arena_array(call->arena, count, sizeof(*response->service_deployments.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        struct text arn = request->service_deployment_arns.items[i];
        bool is_arn = false;
        int64_t key = find_rollout(call, arn, &is_arn);
        if (!is_arn) {
            return service_refuse_arn(call, "service deployment", arn);
        }
        if (key == 0) {
            add_missing(&response->failures, arn);
            continue;
        }
        show_rollout(call, key,
                     &response->service_deployments.items[response->service_deployments.count]);
        response->service_deployments.count++;
    }
    return 0;
}

// ---- ListServiceDeployments -----------------------------------------------------------------

static bool meant(const struct service_record_rollout *record,
                  const struct ecs_list_service_deployments_request *request)
{
    bool status = request->status.count == 0;
    for (size_t i = 0; i < request->status.count; i++) {
        status = status || request->status.items[i] == record->status;
    }
    const struct ecs_created_at *created = request->created_at;
    bool before = created == NULL || created->before == 0 || record->created_at < created->before;
    bool after = created == NULL || created->after == 0 || record->created_at > created->after;
    return status && before && after;
}

static void show_brief(struct core_call *call, int64_t key,
                       struct ecs_service_deployment_brief *out)
{
    const struct service_record_rollout *record = core_get(call->core, &service_rollout_kind, key);
    const struct service_record_service *service =
        core_get(call->core, &service_kind, record->service);
    *out = (struct ecs_service_deployment_brief){
        .service_deployment_arn = service_rollout_arn(call, key),
        .service_arn = service_arn(call, record->service),
        .cluster_arn = ecs_cluster_arn(call, service->cluster),
        .started_at = record->started_at,
        .created_at = record->created_at,
        .finished_at = record->finished_at,
        .target_service_revision_arn = service_revision_arn(call, record->target),
        .status = record->status,
        .status_reason = record->status_reason,
    };
}

// The cluster of a request that may name it only in the service's ARN.
static struct text cluster_of(const struct ecs_list_service_deployments_request *request)
{
    struct ecs_arn arn;
    struct text path = text_empty(request->cluster) && ecs_arn_parse(request->service, &arn)
                           ? arn.path
                           : (struct text){0};
    size_t slash = path.data == NULL ? SIZE_MAX : text_find(path, '/');
    return slash == SIZE_MAX ? request->cluster : text_slice(path, 0, slash);
}

int service_list_rollouts(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct service_state *state = pointer;
    const struct ecs_list_service_deployments_request *request = input;
    struct ecs_list_service_deployments_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, cluster_of(request), &cluster);
    if (rc != 0) {
        return rc;
    }
    int64_t service = service_find_any(call->core, cluster, request->service);
    if (service == 0) {
        return core_fault(call, &ecs_error_service_not_found_exception, "Service not found.");
    }
    struct ecs_page page;
    int64_t after = 0;
    rc = ecs_page_open(call, request->next_token, request->has_max_results, request->max_results,
                       &page);
    if (rc == 0) {
        rc = ecs_page_after_key(call, &page, &after);
    }
    if (rc != 0) {
        return rc;
    }
    // Newest first: keys ascend with time, so what is shown next has a smaller one.
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)service);
    struct index_cursor cursor;
    index_walk(state->rollouts, &prefix, true, &cursor);
    response->service_deployments.items =
        arena_array(call->arena, page.size, sizeof(*response->service_deployments.items));
    int64_t last = 0;
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        if ((after != 0 && key >= after) ||
            !meant(core_get(call->core, &service_rollout_kind, key), request)) {
            continue;
        }
        if (response->service_deployments.count == page.size) {
            response->next_token = ecs_page_token_of_key(call, last);
            break;
        }
        show_brief(call, key,
                   &response->service_deployments.items[response->service_deployments.count]);
        response->service_deployments.count++;
        last = key;
    }
    return 0;
}

// ---- DescribeServiceRevisions ---------------------------------------------------------------

static struct ecs_resolved_configuration *
show_resolved(struct core_call *call, const struct service_record_revision *record)
{
    size_t count = record->load_balancers.count;
    if (count == 0) {
        return NULL;
    }
    struct ecs_resolved_configuration *out =
        ARENA_NEW(call->arena, struct ecs_resolved_configuration);
    out->load_balancers.items = arena_array(call->arena, count, sizeof(*out->load_balancers.items));
    out->load_balancers.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_load_balancer *balancer = &record->load_balancers.items[i];
        out->load_balancers.items[i] = (struct ecs_service_revision_load_balancer){
            .target_group_arn = balancer->target_group_arn,
            .production_listener_rule =
                balancer->advanced_configuration == NULL
                    ? (struct text){0}
                    : balancer->advanced_configuration->production_listener_rule,
        };
    }
    return out;
}

// Each container's image, with the digest that the first task's turned out to have.
static void show_images(struct core_call *call, const struct service_record_revision *record,
                        struct ecs_service_revision *out)
{
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    size_t count = definition->container_definitions.count;
    out->container_images.items =
        arena_array(call->arena, count, sizeof(*out->container_images.items));
    out->container_images.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        out->container_images.items[i] = (struct ecs_container_image){
            .container_name = container->name, .image = container->image};
        for (size_t j = 0; j < record->container_images.count; j++) {
            const struct ecs_container_image *known = &record->container_images.items[j];
            if (text_equal(known->container_name, container->name)) {
                out->container_images.items[i].image_digest = known->image_digest;
            }
        }
    }
}

static void show_revision(struct core_call *call, int64_t key, struct ecs_service_revision *out)
{
    const struct service_record_revision *record =
        core_get(call->core, &service_revision_kind, key);
    const struct service_record_service *service =
        core_get(call->core, &service_kind, record->service);
    *out = (struct ecs_service_revision){
        .service_revision_arn = service_revision_arn(call, key),
        .service_arn = service_arn(call, record->service),
        .cluster_arn = ecs_cluster_arn(call, service->cluster),
        .launch_type = record->launch_type,
        .platform_version = service_resolved_platform(record),
        .network_configuration = record->network_configuration,
        .has_guard_duty_enabled = true,
        .service_connect_configuration = record->service_connect_configuration,
        .created_at = record->created_at,
        .resolved_configuration = show_resolved(call, record),
    };
    out->capacity_provider_strategy.items = record->capacity_provider_strategy.items;
    out->capacity_provider_strategy.count = record->capacity_provider_strategy.count;
    out->load_balancers.items = record->load_balancers.items;
    out->load_balancers.count = record->load_balancers.count;
    out->service_registries.items = record->service_registries.items;
    out->service_registries.count = record->service_registries.count;
    out->volume_configurations.items = record->volume_configurations.items;
    out->volume_configurations.count = record->volume_configurations.count;
    out->vpc_lattice_configurations.items = record->vpc_lattice_configurations.items;
    out->vpc_lattice_configurations.count = record->vpc_lattice_configurations.count;
    if (record->has_definition) {
        out->task_definition = ecs_definition_arn(call, record->definition);
        out->platform_family = service_shown_family(call, record);
        show_images(call, record, out);
    }
}

int service_describe_revisions(struct core_call *call, void *pointer, const void *input,
                               void *output)
{
    const struct service_state *state = pointer;
    const struct ecs_describe_service_revisions_request *request = input;
    struct ecs_describe_service_revisions_response *response = output;
    size_t count = request->service_revision_arns.count;
    int rc = ecs_batch_check(call, count);
    if (rc != 0) {
        return rc;
    }
    response->service_revisions.items =
        arena_array(call->arena, count, sizeof(*response->service_revisions.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        struct text arn = request->service_revision_arns.items[i];
        struct path path = {0};
        if (!parse(call, arn, "service-revision", &path)) {
            return service_refuse_arn(call, "service revision", arn);
        }
        int64_t key = find(call, &path, state->revisions, true);
        if (key == 0) {
            add_missing(&response->failures, arn);
            continue;
        }
        show_revision(call, key,
                      &response->service_revisions.items[response->service_revisions.count]);
        response->service_revisions.count++;
    }
    return 0;
}

// ---- StopServiceDeployment ------------------------------------------------------------------

int service_stop_rollout(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_stop_service_deployment_request *request = input;
    struct ecs_stop_service_deployment_response *response = output;
    if (request->stop_type != ECS_STOP_SERVICE_DEPLOYMENT_STOP_TYPE_ABSENT &&
        request->stop_type != ECS_STOP_SERVICE_DEPLOYMENT_STOP_TYPE_ROLLBACK) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The stopType ABORT is not supported. Specify ROLLBACK and try again.");
    }
    int64_t key = 0;
    int rc = service_rollout_named(call, request->service_deployment_arn, &key);
    if (rc != 0) {
        return rc;
    }
    const struct service_record_rollout *stored = core_get(call->core, &service_rollout_kind, key);
    if (service_rollout_over(stored->status)) {
        return core_fault(call, &ecs_error_conflict_exception,
                          "The service deployment has ended and cannot be stopped.");
    }
    response->service_deployment_arn = service_rollout_arn(call, key);
    if (stored->status != ECS_SERVICE_DEPLOYMENT_STATUS_PENDING &&
        stored->status != ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS) {
        return 0; // it is on its way back already
    }
    struct service_record_rollout *record = core_edit(call, &service_rollout_kind, key);
    record->status = ECS_SERVICE_DEPLOYMENT_STATUS_STOP_REQUESTED;
    record->updated_at = call->now_ms;
    core_put(call, &service_rollout_kind, key, record);
    service_queue(call, record->service);
    return 0;
}
