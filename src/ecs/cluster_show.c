#include "ecs/cluster_internal.h"

#include "base/text.h"
#include "ecs/service.h"
#include "ecs/task.h"

/*
 * A cluster as the API shows it.
 */

static void add_statistic(struct core_call *call, struct ecs_cluster *cluster, const char *name,
                          int32_t value)
{
    cluster->statistics.items[cluster->statistics.count] = (struct ecs_key_value_pair){
        .name = text_of(name), .value = arena_format(call->arena, "%d", (int)value)};
    cluster->statistics.count++;
}

/** Counts by launch type. */
static void show_statistics(struct core_call *call, int64_t key,
                            const struct task_cluster_counts *counts, struct ecs_cluster *cluster)
{
    const struct {
        const char *name;
        enum ecs_launch_type type;
        bool draining;
    } services[] = {
        {"activeEC2ServiceCount", ECS_LAUNCH_TYPE_EC2, false},
        {"activeFargateServiceCount", ECS_LAUNCH_TYPE_FARGATE, false},
        {"drainingEC2ServiceCount", ECS_LAUNCH_TYPE_EC2, true},
        {"drainingFargateServiceCount", ECS_LAUNCH_TYPE_FARGATE, true},
        {"activeExternalServiceCount", ECS_LAUNCH_TYPE_EXTERNAL, false},
        {"drainingExternalServiceCount", ECS_LAUNCH_TYPE_EXTERNAL, true},
    };
    const struct {
        const char *name;
        int32_t value;
    } tasks[] = {
        {"runningEC2TasksCount", counts->running_ec2_tasks},
        {"pendingEC2TasksCount", counts->pending_ec2_tasks},
        {"runningFargateTasksCount",
         counts->running_tasks - counts->running_ec2_tasks - counts->running_external_tasks},
        {"pendingFargateTasksCount",
         counts->pending_tasks - counts->pending_ec2_tasks - counts->pending_external_tasks},
        {"runningExternalTasksCount", counts->running_external_tasks},
        {"pendingExternalTasksCount", counts->pending_external_tasks},
    };
    cluster->statistics.items = arena_array(call->arena, ARRAY_LEN(services) + ARRAY_LEN(tasks),
                                            sizeof(*cluster->statistics.items));
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
        add_statistic(call, cluster, tasks[i].name, tasks[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        struct service_counts of_type = service_count(call->core, key, services[i].type);
        add_statistic(call, cluster, services[i].name,
                      services[i].draining ? of_type.draining : of_type.active);
    }
}

void cluster_show(struct core_call *call, int64_t key, const struct cluster_view *view,
                  struct ecs_cluster *out)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
    ASSERT(record != NULL);
    struct task_cluster_counts counts = {0};
    task_cluster_counts(call->core, key, &counts);
    *out = (struct ecs_cluster){
        .cluster_arn = ecs_cluster_arn(call, key),
        .cluster_name = record->name,
        .status = record->status,
        .has_registered_container_instances_count = true,
        .registered_container_instances_count = counts.registered_instances,
        .has_running_tasks_count = true,
        .running_tasks_count = counts.running_tasks,
        .has_pending_tasks_count = true,
        .pending_tasks_count = counts.pending_tasks,
        .has_active_services_count = true,
        .active_services_count = service_count(call->core, key, ECS_LAUNCH_TYPE_ABSENT).active,
        .statistics = {.items = SHAPE_EMPTY},
        .tags = {.items = SHAPE_EMPTY},
        .settings = {.items = SHAPE_EMPTY},
        .capacity_providers = {.items = SHAPE_EMPTY},
        .default_capacity_provider_strategy = {.items = SHAPE_EMPTY},
        .service_connect_defaults = record->service_connect_defaults,
    };
    if (record->capacity_providers.count > 0) {
        out->capacity_providers = record->capacity_providers;
    }
    if (record->default_capacity_provider_strategy.count > 0) {
        out->default_capacity_provider_strategy.items =
            record->default_capacity_provider_strategy.items;
        out->default_capacity_provider_strategy.count =
            record->default_capacity_provider_strategy.count;
    }
    if (view->settings && record->settings.count > 0) {
        out->settings.items = record->settings.items;
        out->settings.count = record->settings.count;
    }
    if (view->tags && record->tags.count > 0) {
        out->tags.items = record->tags.items;
        out->tags.count = record->tags.count;
    }
    if (view->configuration) {
        out->configuration = record->configuration;
    }
    if (view->attachments) {
        out->attachments.items = SHAPE_EMPTY;
    }
    if (view->statistics) {
        show_statistics(call, key, &counts, out);
    }
}

struct ecs_cluster *cluster_shown(struct core_call *call, int64_t key)
{
    static const struct cluster_view view = {.settings = true, .configuration = true, .tags = true};
    struct ecs_cluster *cluster = ARENA_NEW(call->arena, struct ecs_cluster);
    cluster_show(call, key, &view, cluster);
    return cluster;
}
