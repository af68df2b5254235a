#include "ecs/scaling.h"

#define INSTANCES_MAX 1000 // of one group in an answer
#define PAGE_MAX 100

static int refuse(struct core_call *call, const struct api_error *error, const char *format,
                  struct text name)
{
    return core_fault(call, error, format, TEXT_FMT(text_slice(name, 0, 200)));
}

// ---- ListCapacity -------------------------------------------------------------------------

static struct berth_scale_action *show_action(struct core_call *call,
                                              const struct scaling_action *action)
{
    if (action == NULL) {
        return NULL;
    }
    struct berth_scale_action *shown = ARENA_NEW(call->arena, struct berth_scale_action);
    *shown = (struct berth_scale_action){
        .direction = action->direction == SCALING_DIRECTION_OUT ? TEXT("Out") : TEXT("In"),
        .has_current = true,
        .current = action->current,
        .has_desired = true,
        .desired = action->desired,
        .reason = action->reason,
        .container_instances = {action->instances.items, action->instances.count},
        .asked_at = action->asked_at,
        .ended_at = action->ended_at,
        .failure = action->failure,
        .has_attempt = true,
        .attempt = action->attempt,
    };
    return shown;
}

static void show_instances(struct core_call *call, const struct scaling_view *view,
                           struct berth_capacity_status *out)
{
    size_t count = MIN(view->instance_count, (size_t)INSTANCES_MAX);
    out->instances.items = arena_array(call->arena, count, sizeof(*out->instances.items));
    out->instances.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct scaling_instance *instance = &view->instances[i];
        out->instances.items[i] = (struct berth_group_instance){
            .container_instance_arn =
                task_instance_arn(call, instance->record, instance->membership),
            .node_name = instance->record->name,
            .status = instance->membership->terminate_at != 0 ? TEXT("TERMINATING")
                      : instance->lost                        ? TEXT("LOST")
                                       : task_instance_status(instance->membership),
            .has_task_count = true,
            .task_count = instance->tasks,
        };
    }
}

static void show(struct core_call *call, int64_t provider, int64_t cluster,
                 struct berth_capacity_status *out)
{
    struct scaling_view view;
    scaling_look(call, provider, cluster, &view);
    const struct ecs_managed_scaling *scaling = view.settings->managed_scaling;
    *out = (struct berth_capacity_status){
        .cluster_arn = ecs_cluster_arn(call, cluster),
        .capacity_provider = view.provider->name,
        .auto_scaling_group = view.group,
        .has_managed_scaling = true,
        .managed_scaling = scaling->status == ECS_MANAGED_SCALING_STATUS_ENABLED,
        .has_target_capacity = true,
        .target_capacity = scaling->target_capacity,
        .has_active_count = true,
        .active_count = (int32_t)view.active,
        .has_draining_count = true,
        .draining_count = (int32_t)view.draining,
        .has_terminating_count = true,
        .terminating_count = (int32_t)view.terminating,
        .has_lost_count = true,
        .lost_count = (int32_t)view.lost,
        .has_busy_count = true,
        .busy_count = (int32_t)view.busy,
        .has_waiting_task_count = true,
        .waiting_task_count = (int32_t)view.waiting,
        .has_size = true,
        .size = view.ask.size,
        .has_needed = true,
        .needed = view.reservation.needed,
        .has_reservation = true,
        .reservation = view.reservation.percent,
        .has_desired = true,
        .desired = view.reservation.desired,
        .under_way = show_action(call, view.record.under_way),
        .last = show_action(call, view.record.last),
        .retry_at = view.record.retry_at,
        .has_command = true,
        .command = task_state(call->core)->scaling_command,
        .below_since = view.record.below_since,
    };
    show_instances(call, &view, out);
}

// A token names the last provider and cluster that were shown, in plain digits.
static int read_token(struct core_call *call, struct text token, int64_t *out_provider,
                      int64_t *out_cluster)
{
    struct text cluster = token;
    struct text provider = text_cut(&cluster, '.');
    bool fine =
        text_empty(token) || (text_to_i64(provider, out_provider) == 0 && *out_provider >= 0 &&
                              text_to_i64(cluster, out_cluster) == 0 && *out_cluster >= 0);
    return fine ? 0 : core_fault(call, &berth_error_invalid_parameter_exception, "Invalid token");
}

int scaling_list(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    const struct berth_list_capacity_request *request = input;
    struct berth_list_capacity_response *response = output;
    int64_t only = 0;
    int64_t provider = 0;
    int64_t after = 0;
    int rc = read_token(call, request->next_token, &provider, &after);
    if (rc == 0 && !text_empty(request->cluster)) {
        rc = ecs_cluster_resolve(call, request->cluster, &only);
    }
    if (rc != 0) {
        return rc;
    }
    size_t max = request->has_max_results ? (size_t)request->max_results : PAGE_MAX;
    response->capacity.items = arena_array(call->arena, max, sizeof(*response->capacity.items));
    int64_t realm = ecs_caller_realm(call);
    int64_t last = 0;
    int64_t last_cluster = 0;
    int64_t key = provider == 0 ? core_next(call->core, &ecs_provider_kind, 0) : provider;
    for (; key != 0; key = core_next(call->core, &ecs_provider_kind, key), after = 0) {
        const struct ecs_record_capacity_provider *record =
            core_get(call->core, &ecs_provider_kind, key);
        if (record == NULL || record->realm != realm) {
            continue;
        }
        for (int64_t cluster = scaling_next_cluster(call->core, key, after); cluster != 0;
             cluster = scaling_next_cluster(call->core, key, cluster)) {
            if (only != 0 && cluster != only) {
                continue;
            }
            if (response->capacity.count == max) {
                response->next_token = arena_format(call->arena, "%lld.%lld", (long long)last,
                                                    (long long)last_cluster);
                return 0;
            }
            show(call, key, cluster, &response->capacity.items[response->capacity.count]);
            response->capacity.count++;
            last = key;
            last_cluster = cluster;
        }
    }
    return 0;
}

// ---- metrics ------------------------------------------------------------------------------

void task_write_metrics(struct core *core, int64_t now_ms, struct buf *out)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct core_call call = {.core = core, .now_ms = now_ms, .arena = &arena};
    buf_string(out, "# HELP berth_capacity_provider_reservation CapacityProviderReservation of "
                    "AWS/ECS/ManagedScaling, in percent.\n"
                    "# TYPE berth_capacity_provider_reservation gauge\n");
    for (int64_t key = core_next(core, &ecs_provider_kind, 0); key != 0;
         key = core_next(core, &ecs_provider_kind, key)) {
        const struct ecs_record_capacity_provider *record = core_get(core, &ecs_provider_kind, key);
        if (record->provider->managed_scaling->status != ECS_MANAGED_SCALING_STATUS_ENABLED) {
            continue;
        }
        struct ecs_realm_scope scope = ecs_scope(core, record->realm);
        for (int64_t cluster = scaling_next_cluster(core, key, 0); cluster != 0;
             cluster = scaling_next_cluster(core, key, cluster)) {
            const struct ecs_record_cluster *names = core_get(core, &ecs_cluster_kind, cluster);
            struct scaling_view view;
            scaling_look(&call, key, cluster, &view);
            buf_format(out,
                       "berth_capacity_provider_reservation{account=\"%.*s\",region=\"%.*s\","
                       "cluster=\"%.*s\",capacity_provider=\"%.*s\"} %.17g\n",
                       TEXT_FMT(scope.account), TEXT_FMT(scope.region), TEXT_FMT(names->name),
                       TEXT_FMT(record->name), view.reservation.percent);
        }
    }
}

// ---- TerminateInstance --------------------------------------------------------------------

static const struct scaling_instance *find(const struct scaling_view *view,
                                           const struct task_node *node)
{
    for (size_t i = 0; i < view->instance_count; i++) {
        if (view->instances[i].node == node) {
            return &view->instances[i];
        }
    }
    return NULL;
}

static int find_instance(struct core_call *call,
                         const struct berth_terminate_instance_request *request,
                         struct scaling_view *out_view,
                         const struct scaling_instance **out_instance)
{
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    size_t index = 0;
    const struct task_node *node =
        task_instance_find(call->core, cluster, request->container_instance, &index);
    const struct task_record_node *record =
        node == NULL ? NULL : core_get(call->core, &task_node_kind, node->key);
    if (record == NULL || record->memberships.items[index].deregistered_at != 0) {
        return refuse(call, &berth_error_resource_not_found_exception,
                      "There is no container instance %.*s in the cluster.",
                      request->container_instance);
    }
    struct text name =
        ecs_provider_of_group(call->core, cluster, record->memberships.items[index].scaling_group);
    const struct ecs_record_cluster *names = core_get(call->core, &ecs_cluster_kind, cluster);
    int64_t provider = text_empty(name) ? 0 : ecs_provider_find(call->core, names->realm, name);
    if (provider == 0) {
        return refuse(call, &berth_error_invalid_parameter_exception,
                      "Container instance %.*s is of no Auto Scaling group that a capacity "
                      "provider of the cluster names; `berth node remove` lets a host go.",
                      request->container_instance);
    }
    scaling_look(call, provider, cluster, out_view);
    *out_instance = find(out_view, node);
    ASSERT(*out_instance != NULL); // it names the group of that provider
    return 0;
}

int scaling_terminate(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    struct berth_terminate_instance_response *response = output;
    struct scaling_view view;
    const struct scaling_instance *instance = NULL;
    int rc = find_instance(call, input, &view, &instance);
    if (rc != 0) {
        return rc;
    }
    bool drains = view.settings->managed_draining == ECS_MANAGED_DRAINING_ENABLED;
    if (instance->tasks > 0 && scaling_protects(&view) && !drains) {
        return core_fault(call, &berth_error_invalid_parameter_exception,
                          "Container instance %.*s has %d tasks and is protected from termination "
                          "(managedTerminationProtection). Stop them, or drain it first.",
                          TEXT_FMT(instance->membership->instance_id), (int)instance->tasks);
    }
    *response = (struct berth_terminate_instance_response){
        .capacity_provider = view.provider->name,
        .auto_scaling_group = view.group,
        .has_task_count = true,
        .task_count = instance->tasks,
        .has_named = true,
        .named = instance->tasks == 0 || !drains,
    };
    if (instance->membership->terminate_at == 0) {
        scaling_give_up(call, &view, instance, TEXT("It was asked for with TerminateInstance."));
        if (view.key != 0) {
            core_put(call, &task_scaling_kind, view.key, &view.record);
        }
    }
    return 0;
}
