#include "ecs/service_internal.h"
#include "ecs/stage.h"

const struct core_kind service_kinds[] = {
    {.number = 70, .name = "service", .type = &service_record_service_shape, .version = 1},
    {.number = 71,
     .name = "service_revision",
     .type = &service_record_revision_shape,
     .version = 1},
    {.number = 72, .name = "deployment", .type = &service_record_deployment_shape, .version = 1},
    {.number = 73,
     .name = "service_deployment",
     .type = &service_record_rollout_shape,
     .version = 1},
    {.number = 74, .name = "service_event", .type = &service_record_event_shape, .version = 1},
};

const struct core_manager service_managers[] = {
    [SERVICE_MANAGER_SCHEDULE] = {"schedule", service_schedule_work},
    [SERVICE_MANAGER_REAP] = {"reap_service", service_reap_work},
};
_Static_assert(ARRAY_LEN(service_managers) == SERVICE_MANAGER_COUNT, "every manager has its work");

static const struct core_handler handlers[] = {
    {&ecs_operations[ECS_OP_CREATE_SERVICE], service_create},
    {&ecs_operations[ECS_OP_UPDATE_SERVICE], service_update},
    {&ecs_operations[ECS_OP_DELETE_SERVICE], service_delete},
    {&ecs_operations[ECS_OP_DESCRIBE_SERVICES], service_describe},
    {&ecs_operations[ECS_OP_LIST_SERVICES], service_list},
    {&ecs_operations[ECS_OP_LIST_SERVICES_BY_NAMESPACE], service_list_by_namespace},
    {&ecs_operations[ECS_OP_CONTINUE_SERVICE_DEPLOYMENT], hook_continue},
    {&hook_operations[HOOK_OP_REPORT_HOOK], hook_report},
    {&ecs_operations[ECS_OP_DESCRIBE_SERVICE_DEPLOYMENTS], service_describe_rollouts},
    {&ecs_operations[ECS_OP_LIST_SERVICE_DEPLOYMENTS], service_list_rollouts},
    {&ecs_operations[ECS_OP_DESCRIBE_SERVICE_REVISIONS], service_describe_revisions},
    {&ecs_operations[ECS_OP_STOP_SERVICE_DEPLOYMENT], service_stop_rollout},
    {&ecs_operations[ECS_OP_CREATE_TASK_SET], service_create_task_set},
    {&ecs_operations[ECS_OP_UPDATE_TASK_SET], service_update_task_set},
    {&ecs_operations[ECS_OP_DELETE_TASK_SET], service_delete_task_set},
    {&ecs_operations[ECS_OP_DESCRIBE_TASK_SETS], service_describe_task_sets},
    {&ecs_operations[ECS_OP_UPDATE_SERVICE_PRIMARY_TASK_SET], service_update_primary_task_set},
};

static void recover(struct core_call *call, void *pointer)
{
    (void)pointer;
    for (int64_t key = core_next(call->core, &service_kind, 0); key != 0;
         key = core_next(call->core, &service_kind, key)) {
        const struct service_record_service *record = core_get(call->core, &service_kind, key);
        if (record->status == SERVICE_RECORD_SERVICE_STATUS_INACTIVE) {
            core_timer(call, &service_managers[SERVICE_MANAGER_REAP], key,
                       record->ended_at + SERVICE_INACTIVE_MS);
        } else {
            service_queue(call, key);
        }
    }
}

const struct core_module service_module = {
    .name = "service",
    .kinds = service_kinds,
    .kind_count = ARRAY_LEN(service_kinds),
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = service_managers,
    .manager_count = SERVICE_MANAGER_COUNT,
    .state_new = service_state_new,
    .state_free = service_state_free,
    .changed = service_state_changed,
    .recover = recover,
    .check = service_state_check,
};
