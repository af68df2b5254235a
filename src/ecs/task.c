#include "ecs/scaling.h"
#include "ecs/task_internal.h"

#include <stdio.h>

const struct core_kind task_kinds[] = {
    {.number = 50, .name = "task_node", .type = &task_record_node_shape, .version = 1},
    {.number = 51, .name = "task", .type = &task_record_task_shape, .version = 1},
    {.number = 52, .name = "scaling", .type = &scaling_scaling_shape, .version = 1},
};
enum { KIND_COUNT = ARRAY_LEN(task_kinds) };

const struct core_manager task_managers[] = {
    [TASK_MANAGER_DELIVER] = {"deliver", task_deliver_work},
    [TASK_MANAGER_FINISH] = {"finish", task_finish_work},
    [TASK_MANAGER_LEASES] = {"leases", task_leases_work},
    [TASK_MANAGER_REAP] = {"reap", task_reap_work},
    [TASK_MANAGER_REMOVE] = {"remove", task_remove_work},
    [TASK_MANAGER_EMPTY] = {"empty", task_empty_work},
    [TASK_MANAGER_CONTACT] = {"contact", task_contact_work},
    [TASK_MANAGER_SPOT] = {"spot", task_spot_work},
    [TASK_MANAGER_SPOT_RATE] = {"spot_rate", task_spot_rate_work},
    [TASK_MANAGER_CREDENTIALS] = {"credentials", task_credentials_work},
    [TASK_MANAGER_GROUPS_WALK] = {"groups_walk", task_groups_walk_work},
    [TASK_MANAGER_GROUPS_TELL] = {"groups_tell", task_groups_tell_work},
    [TASK_MANAGER_WAITING] = {"waiting", task_waiting_work},
    [TASK_MANAGER_SCALING] = {"scaling", scaling_work},
};
_Static_assert(ARRAY_LEN(task_managers) == TASK_MANAGER_COUNT, "every manager has its work");

static const struct core_handler handlers[] = {
    {&ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE], task_register_instance},
    {&ecs_operations[ECS_OP_DESCRIBE_CONTAINER_INSTANCES], task_describe_instances},
    {&ecs_operations[ECS_OP_LIST_CONTAINER_INSTANCES], task_list_instances},
    {&ecs_operations[ECS_OP_DEREGISTER_CONTAINER_INSTANCE], task_deregister_instance},
    {&ecs_operations[ECS_OP_UPDATE_CONTAINER_INSTANCES_STATE], task_update_instances},
    {&ecs_operations[ECS_OP_UPDATE_CONTAINER_AGENT], task_update_agent},
    {&ecs_operations[ECS_OP_DISCOVER_POLL_ENDPOINT], task_discover_endpoint},
    {&ecs_operations[ECS_OP_RUN_TASK], task_run_task},
    {&ecs_operations[ECS_OP_START_TASK], task_start_task},
    {&ecs_operations[ECS_OP_DESCRIBE_TASKS], task_describe_tasks},
    {&ecs_operations[ECS_OP_LIST_TASKS], task_list_tasks},
    {&ecs_operations[ECS_OP_STOP_TASK], task_stop_task},
    {&ecs_operations[ECS_OP_EXECUTE_COMMAND], task_execute_command},
    {&ecs_operations[ECS_OP_GET_TASK_PROTECTION], task_get_protection},
    {&ecs_operations[ECS_OP_UPDATE_TASK_PROTECTION], task_update_protection},
    {&ecs_operations[ECS_OP_PUT_ATTRIBUTES], task_put_attributes},
    {&ecs_operations[ECS_OP_DELETE_ATTRIBUTES], task_delete_attributes},
    {&ecs_operations[ECS_OP_LIST_ATTRIBUTES], task_list_attributes},
    {&ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE], task_submit_task},
    {&ecs_operations[ECS_OP_SUBMIT_CONTAINER_STATE_CHANGE], task_submit_container},
    {&ecs_operations[ECS_OP_SUBMIT_ATTACHMENT_STATE_CHANGES], task_submit_attachments},
    {&node_operations[NODE_OP_NODE_ADMIT], task_node_admit},
    {&node_operations[NODE_OP_NODE_CONNECT], task_node_connect},
    {&node_operations[NODE_OP_NODE_DISCONNECT], task_node_disconnect},
    {&node_operations[NODE_OP_NODE_BEAT], task_node_beat},
    {&node_operations[NODE_OP_NODE_ACK], task_node_ack},
    {&node_operations[NODE_OP_NODE_STOP_CANDIDATES], task_node_stop_candidates},
    {&node_operations[NODE_OP_NODE_CREDENTIALS_ACK], task_credentials_ack},
    {&node_operations[NODE_OP_NODE_HEALTH], task_node_health},
    {&node_operations[NODE_OP_NODE_TIMELINE], task_node_timeline},
    {&node_operations[NODE_OP_NODE_INSTANCE_STATUS], task_node_instance_status},
    {&berth_operations[BERTH_OP_LIST_NODES], task_list_nodes},
    {&berth_operations[BERTH_OP_REMOVE_NODE], task_remove_node},
    {&berth_operations[BERTH_OP_INTERRUPT_SPOT], task_interrupt_spot},
    {&berth_operations[BERTH_OP_RESTORE_SPOT], task_restore_spot},
    {&berth_operations[BERTH_OP_EXPLAIN_PLACEMENT], task_explain_placement},
    {&berth_operations[BERTH_OP_LIST_UNPLACED_TASKS], task_list_unplaced},
    {&berth_operations[BERTH_OP_EXPLAIN_TASK], task_explain_task},
    {&berth_operations[BERTH_OP_GET_TASK_SECRETS], task_secrets},
    {&berth_operations[BERTH_OP_GET_TASK_TIMELINE], task_get_timeline},
    {&berth_operations[BERTH_OP_LIST_CAPACITY], scaling_list},
    {&berth_operations[BERTH_OP_TERMINATE_INSTANCE], scaling_terminate},
    {&scaling_operations[SCALING_OP_REPORT_SCALING], scaling_report},
};

static void recover(struct core_call *call, void *pointer)
{
    struct task_state *state = pointer;
    task_leases_recover(call, state);
    task_spot_recover(call, state);
    task_waiting_recover(call, state);
    scaling_recover(call);
    core_work(call, &task_managers[TASK_MANAGER_REAP], 1);
    for (size_t i = 0; i < state->node_count; i++) {
        const struct task_node *node = state->nodes[i];
        if (node->removed) {
            core_work(call, &task_managers[TASK_MANAGER_REMOVE], node->key);
        }
        if (task_node_parted(call->core, node)) {
            core_work(call, &task_managers[TASK_MANAGER_EMPTY], node->key);
        }
        for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
            const struct task_record_task *task = core_get(call->core, &task_kind, entry->key);
            if (task->last_status == TASK_RECORD_TASK_STATUS_DEPROVISIONING) {
                core_work(call, &task_managers[TASK_MANAGER_FINISH], entry->key);
            }
        }
    }
}

const struct core_module task_module = {
    .name = "task",
    .kinds = task_kinds,
    .kind_count = KIND_COUNT,
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = task_managers,
    .manager_count = TASK_MANAGER_COUNT,
    .state_new = task_state_new,
    .state_free = task_state_free,
    .changed = task_state_changed,
    .recover = recover,
    .check = task_check,
};

int task_locate(const struct core *core, struct text account, struct text region,
                struct text cluster, struct text task, struct text *out_node_id,
                struct text *out_task_arn, bool *out_stopped)
{
    int64_t cluster_key = ecs_cluster_find(core, identity_realm(core, account, region), cluster);
    const struct task_entry *entry = cluster_key == 0 ? NULL : task_find(core, cluster_key, task);
    if (entry == NULL) {
        return ERR_NOT_FOUND;
    }
    struct task_state *state = task_state(core);
    const struct task_record_task *record = core_get(core, &task_kind, entry->key);
    const struct ecs_record_cluster *names = core_get(core, &ecs_cluster_kind, cluster_key);
    int size = snprintf(state->locate_arn, sizeof(state->locate_arn),
                        "arn:aws:ecs:%.*s:%.*s:task/%.*s/%.*s", TEXT_FMT(region), TEXT_FMT(account),
                        TEXT_FMT(names->name), TEXT_FMT(record->task_id));
    ASSERT(size > 0);
    ASSERT((size_t)size < sizeof(state->locate_arn));
    const struct task_record_node *node = core_get(core, &task_node_kind, record->node);
    if (node == NULL) {
        return ERR_NOT_FOUND; // it never had a place
    }
    *out_node_id = node->node_id;
    *out_task_arn = (struct text){state->locate_arn, (size_t)size};
    *out_stopped = record->last_status == TASK_RECORD_TASK_STATUS_STOPPED;
    return 0;
}
