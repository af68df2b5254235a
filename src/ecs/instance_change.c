#include "ecs/page.h"
#include "ecs/task_internal.h"

#include <string.h>

/*
 * DeregisterContainerInstance, UpdateContainerInstancesState, UpdateContainerAgent.
 */

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

struct task_record_node *task_node_edit(struct core_call *call, int64_t key)
{
    struct task_record_node *record = core_edit(call, &task_node_kind, key);
    size_t count = record->memberships.count;
    struct task_record_membership *copy = arena_array(call->arena, count, sizeof(*copy));
    memcpy(copy, record->memberships.items, count * sizeof(*copy));
    record->memberships.items = copy;
    return record;
}

int task_deregister_instance(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    const struct ecs_deregister_container_instance_request *request = input;
    struct ecs_deregister_container_instance_response *response = output;
    struct task_node *node = NULL;
    size_t index = 0;
    int rc =
        task_instance_resolve(call, request->cluster, request->container_instance, &node, &index);
    if (rc != 0) {
        return rc;
    }
    struct task_instance_counts counts;
    task_instance_count(call->core, node, core_get(call->core, &task_node_kind, node->key), index,
                        &counts);
    if (counts.held > 0 && !(request->has_force && request->force)) {
        return refuse(call, "Found running tasks on the instance.");
    }
    struct task_record_node *record = task_node_edit(call, node->key);
    record->memberships.items[index].deregistered_at = call->now_ms;
    record->memberships.items[index].version++;
    core_put(call, &task_node_kind, node->key, record);
    if (!MUTANT("leave-tasks")) {
        core_work(call, &task_managers[TASK_MANAGER_EMPTY], node->key);
    }
    task_instance_tell(call, node, record, index);
    response->container_instance = ARENA_NEW(call->arena, struct ecs_container_instance);
    task_show_instance(call, node, record, index, TASK_SHOW_TAGS, response->container_instance);
    return 0;
}

static void set_draining(struct core_call *call, struct task_node *node, size_t index,
                         bool draining, struct ecs_container_instance *out_instance)
{
    struct task_record_node *record = task_node_edit(call, node->key);
    struct task_record_membership *membership = &record->memberships.items[index];
    if (membership->draining != draining) {
        membership->has_draining = draining;
        membership->draining = draining;
        membership->version++;
        if (!draining) { // whoever has it back keeps it
            membership->terminate_at = 0;
            membership->terminate_reason = (struct text){0};
        }
        core_put(call, &task_node_kind, node->key, record);
        task_instance_tell(call, node, record, index);
        service_node_changed(call, node->key);
    }
    task_show_instance(call, node, record, index, 0, out_instance);
}

int task_update_instances(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    const struct ecs_update_container_instances_state_request *request = input;
    struct ecs_update_container_instances_state_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    if (request->status != ECS_CONTAINER_INSTANCE_STATUS_ACTIVE &&
        request->status != ECS_CONTAINER_INSTANCE_STATUS_DRAINING) {
        return refuse(call, "Container instance status should be one of [ACTIVE, DRAINING]");
    }
    size_t count = request->container_instances.count;
    rc = ecs_batch_check(call, count);
    if (rc != 0) {
        return rc;
    }
    response->container_instances.items =
        arena_array(call->arena, count, sizeof(*response->container_instances.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        struct text reference = request->container_instances.items[i];
        size_t index = 0;
        struct task_node *node = task_instance_find(call->core, cluster, reference, &index);
        struct ecs_failure failure = {0};
        if (node == NULL) {
            failure = task_instance_missing(call, cluster, reference);
        } else {
            const struct task_record_node *record =
                core_get(call->core, &task_node_kind, node->key);
            const struct task_record_membership *membership = &record->memberships.items[index];
            if (membership->deregistered_at != 0) {
                failure.arn = task_instance_arn(call, record, membership);
                failure.reason = TEXT("INACTIVE");
            }
        }
        if (failure.reason.data != NULL) {
            response->failures.items[response->failures.count] = failure;
            response->failures.count++;
            continue;
        }
        set_draining(call, node, index, request->status == ECS_CONTAINER_INSTANCE_STATUS_DRAINING,
                     &response->container_instances.items[response->container_instances.count]);
        response->container_instances.count++;
    }
    return 0;
}

// Nothing here can replace an agent, so none ever has an update; of one that never said its
// version not even that much is known.
int task_update_agent(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    (void)output;
    const struct ecs_update_container_agent_request *request = input;
    struct task_node *node = NULL;
    size_t index = 0;
    int rc =
        task_instance_resolve(call, request->cluster, request->container_instance, &node, &index);
    if (rc != 0) {
        return rc;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    if (text_empty(task_instance_version_info(call, node, record)->agent_version)) {
        return core_fault(call, &ecs_error_missing_version_exception,
                          "Unable to determine the current version of the container agent.");
    }
    return core_fault(call, &ecs_error_no_update_available_exception,
                      "There is no update available for your container agent.");
}
