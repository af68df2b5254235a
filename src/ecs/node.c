#include "ecs/task_internal.h"

#include "base/limits.h"

/*
 * Nodes as their administrator sees them: joining, where sessions are, listing, removal.
 */

// ---- joining ------------------------------------------------------------------------------

void task_node_joined(struct core_call *call, const struct identity_node *node)
{
    struct text name = text_empty(node->name) ? node->node_id : node->name;
    const struct task_record_node record = {
        .node_id = node->node_id,
        .name = text_slice(name, 0, LIMIT_NAME_CHARS),
        .account = node->account,
        .region = node->region,
        .joined_at = call->now_ms,
        .has_cpu_units = true,
        .has_memory_mib = true,
        .has_eni_slots = true,
        .has_connections = true,
        .has_berth_agent = true,
        .berth_agent = true,
    };
    core_put(call, &task_node_kind, core_new_key(call), &record);
}

// ---- where sessions are ------------------------------------------------------------------

int task_discover_endpoint(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)input;
    const struct task_state *state = pointer;
    struct ecs_discover_poll_endpoint_response *response = output;
    if (text_empty(state->acs_url) || text_empty(state->tcs_url)) {
        return core_fault(call, &ecs_error_server_exception,
                          "This server has no listener for the sessions of nodes.");
    }
    response->endpoint = state->acs_url;
    response->telemetry_endpoint = state->tcs_url;
    response->service_connect_endpoint = state->acs_url;
    return 0;
}

// ---- administration -----------------------------------------------------------------------

static void show_node(struct core_call *call, const struct task_node *node,
                      const struct task_record_node *record, struct berth_node *out_node)
{
    struct berth_node shown = {
        .node_id = record->node_id,
        .name = record->name,
        .status = node->removed                ? TEXT("REMOVED")
                  : node->lost                 ? TEXT("LOST")
                  : !node->seen                ? TEXT("NEW")
                  : !text_empty(node->refusal) ? TEXT("FULL")
                                               : TEXT("ACTIVE"),
        .has_cpu_units = true,
        .cpu_units = node->cpu_units,
        .has_cpu_units_free = true,
        .cpu_units_free = (int32_t)MAX(INT64_C(0), node->cpu_units - node->cpu_used),
        .has_memory_mib = true,
        .memory_mib = node->memory_mib,
        .has_memory_mib_free = true,
        .memory_mib_free = (int32_t)MAX(INT64_C(0), node->memory_mib - node->memory_used),
        .has_task_count = true,
        .task_count = node->task_count,
        .last_seen_at = node->seen ? node->beat_ms : 0,
        .refusal = text_empty(node->refusal) ? (struct text){0} : node->refusal,
        .agent_version = text_empty(node->agent_version) ? (struct text){0} : node->agent_version,
    };
    if (record->memberships.count > 0) {
        const struct task_record_membership *membership = &record->memberships.items[0];
        shown.availability_zone = membership->zones.items[0];
        shown.capacity = membership->capacity;
        if (membership->cluster != 0) {
            const struct ecs_record_cluster *cluster =
                core_get(call->core, &ecs_cluster_kind, membership->cluster);
            shown.capacity = cluster->name;
        }
    }
    *out_node = shown;
}

// Pages are by key, in the token's plain digits: people may read them.
int task_list_nodes(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct berth_list_nodes_request *request = input;
    struct berth_list_nodes_response *response = output;
    int64_t after = 0;
    if (!text_empty(request->next_token) &&
        (text_to_i64(request->next_token, &after) != 0 || after < 0)) {
        return core_fault(call, &berth_error_invalid_parameter_exception, "Invalid token");
    }
    size_t size = request->has_max_results ? (size_t)MAX(1, MIN(request->max_results, 1000)) : 1000;
    response->nodes.items =
        arena_array(call->arena, MIN(size, state->node_count), sizeof(struct berth_node));
    int64_t last = 0;
    for (size_t i = 0; i < state->node_count; i++) {
        const struct task_node *node = state->nodes[i];
        if (node->key <= after || node->removed) {
            continue;
        }
        if (response->nodes.count == size) {
            response->next_token = arena_format(call->arena, "%lld", (long long)last);
            break;
        }
        show_node(call, node, core_get(call->core, &task_node_kind, node->key),
                  &response->nodes.items[response->nodes.count]);
        response->nodes.count++;
        last = node->key;
    }
    return 0;
}

void task_node_remove(struct core_call *call, struct task_node *node, struct text reason)
{
    struct task_record_node *record = core_edit(call, &task_node_kind, node->key);
    record->removed_at = call->now_ms;
    record->removed_reason = reason;
    identity_node_keys_delete(call, record->node_id);
    core_put(call, &task_node_kind, node->key, record);
    node->connected = false;
    core_work(call, &task_managers[TASK_MANAGER_REMOVE], node->key);
}

int task_remove_node(struct core_call *call, void *pointer, const void *input, void *output)
{
    struct task_state *state = pointer;
    const struct berth_remove_node_request *request = input;
    struct berth_remove_node_response *response = output;
    struct task_node *node = task_node_of(state, request->node_id);
    if (node == NULL) {
        return core_fault(call, &berth_error_resource_not_found_exception, "There is no node %.*s.",
                          TEXT_FMT(text_slice(request->node_id, 0, 200)));
    }
    bool force = request->has_force && request->force;
    if (node->task_count > 0 && !force) {
        return core_fault(call, &berth_error_invalid_parameter_exception,
                          "Node %.*s still has %d tasks. Stop them first, or remove it with force: "
                          "then they count as stopped, whether they run or not.",
                          TEXT_FMT(request->node_id), (int)node->task_count);
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    task_node_remove(call, node,
                     arena_format(call->arena,
                                  "Node %.*s was removed by force while it had this task.",
                                  TEXT_FMT(record->name)));
    response->node = ARENA_NEW(call->arena, struct berth_node);
    show_node(call, node, core_get(call->core, &task_node_kind, node->key), response->node);
    response->node->status = TEXT("REMOVED");
    return 0;
}
