#include "ecs/service_internal.h"

/*
 * Services on the event stream, in the shape of Amazon's events. They go out as effects: rare ones,
 * so their messages are cloned.
 */

void service_event_deployment(struct core_call *call, int64_t deployment,
                              enum event_deployment_event_name name, struct text reason)
{
    const struct service_record_deployment *record =
        core_get(call->core, &service_deployment_kind, deployment);
    const struct event_deployment_state_change detail = {
        .event_type = name == EVENT_DEPLOYMENT_EVENT_NAME_SERVICE_DEPLOYMENT_FAILED
                          ? EVENT_EVENT_TYPE_ERROR
                          : EVENT_EVENT_TYPE_INFO,
        .event_name = name,
        .deployment_id = service_deployment_id(call, deployment),
        .updated_at = call->now_ms,
        .reason = reason,
    };
    core_effect(call, CORE_EFFECT_EVENT, service_arn(call, record->service),
                "ECS Deployment State Change", &event_deployment_state_change_shape, &detail);
}

static enum event_event_type type_of(enum event_service_event_name name)
{
    switch (name) {
    case EVENT_SERVICE_EVENT_NAME_ABSENT:
    case EVENT_SERVICE_EVENT_NAME_UNRECOGNIZED:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_STEADY_STATE:
    case EVENT_SERVICE_EVENT_NAME_TASKS_STOPPED:
    case EVENT_SERVICE_EVENT_NAME_TASKSET_STEADY_STATE:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_REBALANCING_STARTED:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_REBALANCING_COMPLETED:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_REBALANCING_STOPPED:
    case EVENT_SERVICE_EVENT_NAME_TASKS_STARTED:
    case EVENT_SERVICE_EVENT_NAME_TASKSET_SCALE_IN_FAILURE_BY_TASK_PROTECTION:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_DESIRED_COUNT_UPDATED:
        break;
    case EVENT_SERVICE_EVENT_NAME_SERVICE_TASK_START_IMPAIRED:
        return EVENT_EVENT_TYPE_WARN;
    case EVENT_SERVICE_EVENT_NAME_SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_TASK_PLACEMENT_FAILURE:
    case EVENT_SERVICE_EVENT_NAME_SERVICE_TASK_CONFIGURATION_FAILURE:
        return EVENT_EVENT_TYPE_ERROR;
    }
    return EVENT_EVENT_TYPE_INFO;
}

void service_event_action(struct core_call *call, int64_t service,
                          const struct event_service_action *action)
{
    const struct service_record_service *record = core_get(call->core, &service_kind, service);
    struct event_service_action detail = *action;
    detail.event_type = type_of(action->event_name);
    detail.cluster_arn = ecs_cluster_arn(call, record->cluster);
    detail.created_at = call->now_ms;
    core_effect(call, CORE_EFFECT_EVENT, service_arn(call, service), "ECS Service Action",
                &event_service_action_shape, &detail);
}

// The capacity providers that the tasks of a revision were to come from.
static struct text_list provider_arns(struct core_call *call, int64_t cluster,
                                      const struct service_record_revision *revision)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
    struct ecs_realm_scope scope = ecs_scope(call->core, record->realm);
    size_t count = revision->capacity_provider_strategy.count;
    struct text_list arns = {0};
    if (count == 0) {
        return arns;
    }
    arns.items = arena_array(call->arena, count, sizeof(*arns.items));
    arns.count = count;
    for (size_t i = 0; i < count; i++) {
        struct text name = revision->capacity_provider_strategy.items[i].capacity_provider;
        arns.items[i] =
            arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:capacity-provider/%.*s",
                         TEXT_FMT(scope.region), TEXT_FMT(scope.account), TEXT_FMT(name));
    }
    return arns;
}

void service_event_unplaced(struct core_call *call, const struct service_survey *survey,
                            const struct service_standing *standing,
                            const struct ecs_failure_list *failures)
{
    struct event_service_action action = {
        .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_TASK_PLACEMENT_FAILURE,
        .capacity_provider_arns = provider_arns(call, survey->record->cluster, standing->revision),
    };
    if (failures == NULL) {
        action.reason = TEXT("RESOURCE:FARGATE");
        service_event_action(call, survey->entry->key, &action);
        return;
    }
    // The reason of the instance that matched closest, and the instances that have the same one.
    struct text arns[SERVICE_EVENT_INSTANCES_MAX];
    size_t count = 0;
    action.reason = failures->count == 0 ? (struct text){0} : failures->items[0].reason;
    for (size_t i = 0; i < failures->count && count < ARRAY_LEN(arns); i++) {
        const struct ecs_failure *failure = &failures->items[i];
        if (text_equal(failure->reason, action.reason) && !text_empty(failure->arn)) {
            arns[count] = failure->arn;
            count++;
        }
    }
    action.container_instance_arns.items = count == 0 ? NULL : arns;
    action.container_instance_arns.count = count;
    service_event_action(call, survey->entry->key, &action);
}
