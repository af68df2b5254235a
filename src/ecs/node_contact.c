#include "ecs/task_internal.h"

/*
 * Contact with a node as the API shows it: agentConnected, the connectivity of tasks, and what the
 * node says of itself. All of it lives in memory, as leases do; only that contact began or ended is
 * a new version of the node's container instances and tasks, and watchers are told.
 */

#define REFUSAL_MAX 500 // bytes: two sentences
#define TASKS_STEP 40   // tasks of a node in one step: a transaction writes at most 100 records

// ---- agentConnected -----------------------------------------------------------------------

bool task_node_agent_connected(const struct task_node *node)
{
    return node->connected && !node->removed && task_node_live(node);
}

void task_instance_tell(struct core_call *call, const struct task_node *node,
                        const struct task_record_node *record, size_t index)
{
    if (record->memberships.items[index].cluster == 0) {
        return; // a host of the pool is no container instance to anybody
    }
    struct ecs_container_instance shown;
    task_show_instance(call, node, record, index, TASK_SHOW_TAGS, &shown);
    core_effect(call, CORE_EFFECT_EVENT, shown.container_instance_arn,
                "ECS Container Instance State Change", &ecs_container_instance_shape, &shown);
}

// What is shown of the node's container instances has changed: a new version, told to watchers.
static void count_version(struct core_call *call, const struct task_node *node)
{
    struct task_record_node *record = core_edit(call, &task_node_kind, node->key);
    size_t count = record->memberships.count;
    struct task_record_membership *all = arena_array(call->arena, count, sizeof(*all));
    for (size_t i = 0; i < count; i++) {
        all[i] = record->memberships.items[i];
        all[i].version += all[i].deregistered_at == 0 ? 1 : 0;
    }
    record->memberships.items = all;
    core_put(call, &task_node_kind, node->key, record);
    for (size_t i = 0; i < count; i++) {
        if (all[i].deregistered_at == 0) {
            task_instance_tell(call, node, record, i);
        }
    }
}

void task_contact_count(struct core_call *call, struct task_node *node)
{
    bool connected = task_node_agent_connected(node);
    if (connected != node->connected_counted && !node->removed) {
        node->connected_counted = connected;
        count_version(call, node);
    }
}

// Tasks show the contact of their node as connectivity. @return whether there are more to count
static bool count_tasks_contact(struct core_call *call, const struct task_node *node)
{
    size_t done = 0;
    for (struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        if (!entry->holds || entry->lost_counted == node->lost) {
            continue;
        }
        if (done == TASKS_STEP) {
            return true;
        }
        entry->lost_counted = node->lost;
        struct task_record_task *task = task_edit(call, entry->key);
        if (task->connectivity_at != 0) {
            task->version++;
            task_put(call, entry->key, task);
            done++;
        }
    }
    return false;
}

void task_contact_work(struct core_call *call, void *state, int64_t key)
{
    struct task_node *node = task_node(state, key);
    if (node == NULL) {
        return;
    }
    task_contact_count(call, node);
    if (count_tasks_contact(call, node)) {
        core_work(call, &task_managers[TASK_MANAGER_CONTACT], key);
        return;
    }
    service_node_changed(call, key);
    // Of a lost node nothing will be heard: what was asked of it counts as done.
    if (node->lost && !node->removed && task_node_parted(call->core, node)) {
        core_work(call, &task_managers[TASK_MANAGER_EMPTY], key);
    }
}

// ---- a stock agent's right to a session ---------------------------------------------------

int task_node_admit(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct task_state *state = pointer;
    const struct node_node_admit_request *request = input;
    struct text arn = request->container_instance_arn;
    struct text id = text_slice(arn, text_find_last(arn, '/') + 1, arn.size);
    const struct task_node *node = text_empty(id) ? NULL : map_get(&state->nodes_by_instance, id);
    const struct task_record_node *record =
        node == NULL ? NULL : core_get(call->core, &task_node_kind, node->key);
    if (record == NULL || !text_equal(record->node_id, id) ||
        !text_equal(record->account, call->caller->account) ||
        !text_equal(record->region, call->caller->region)) {
        return core_fault(
            call, &node_error_resource_not_found_exception,
            "There is no container instance %.*s of a stock agent in this account and "
            "region. Register it first.",
            TEXT_FMT(text_slice(arn, 0, 300)));
    }
    if (node->retired) {
        return core_fault(call, &node_error_inactive_instance_exception,
                          "Container instance %.*s was deregistered.",
                          TEXT_FMT(text_slice(arn, 0, 300)));
    }
    return 0;
}

// ---- healthStatus -------------------------------------------------------------------------

static const struct shape_type *const check_type = &ecs_instance_health_check_type_shape;
static const struct shape_type *const check_state = &ecs_instance_health_check_state_shape;

// A node that says why it takes no new tasks is given none until it says so no more.
static void take_refusal(struct core_call *call, struct task_state *state, struct task_node *node,
                         const struct node_node_instance_status_request *said)
{
    struct text refusal = {0};
    for (size_t i = 0; i < said->statuses.count; i++) {
        refusal = text_empty(refusal) ? said->statuses.items[i].refusal : refusal;
    }
    bool changed = text_empty(refusal) != text_empty(node->refusal);
    if (!text_equal(text_slice(refusal, 0, REFUSAL_MAX), node->refusal)) {
        task_node_keep(&node->refusal, refusal, REFUSAL_MAX);
    }
    if (changed && !node->removed) {
        task_node_told(state, node);
        task_node_refresh(node);
        count_version(call, node);
        service_node_changed(call, node->key); // services may wait for it
    }
}

// Amazon's agent has names of its own for some of the checks that the API shows.
static int32_t type_of(struct text said)
{
    static const struct {
        const char *agent;
        enum ecs_instance_health_check_type type;
    } names[] = {
        {"ContainerRuntime", ECS_INSTANCE_HEALTH_CHECK_TYPE_CONTAINER_RUNTIME},
        {"EBSDaemon", ECS_INSTANCE_HEALTH_CHECK_TYPE_DAEMON},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (text_is(said, names[i].agent)) {
            return (int32_t)names[i].type;
        }
    }
    return shape_enum_number(check_type, said);
}

int task_node_instance_status(struct core_call *call, void *pointer, const void *input,
                              void *output)
{
    (void)output;
    const struct node_node_instance_status_request *request = input;
    struct task_node *node = task_node_of(pointer, call->caller->node_id);
    if (node != NULL) {
        take_refusal(call, pointer, node, request);
    }
    for (size_t i = 0; node != NULL && i < request->statuses.count; i++) {
        const struct session_instance_status *said = &request->statuses.items[i];
        int32_t type = type_of(said->type);
        int32_t state = shape_enum_number(check_state, said->status);
        if (type < 1 || type > TASK_NODE_PARTS || state < 1) {
            continue; // of a newer agent
        }
        struct task_node_status *status = &node->status[type - 1];
        bool changed = (int32_t)status->state != state;
        status->state = (enum ecs_instance_health_check_state)state;
        // Agents' clocks are not ours; a time of the future would look like a mistake.
        status->updated_ms =
            said->last_updated > 0 ? MIN(said->last_updated, call->now_ms) : call->now_ms;
        if (changed || status->changed_ms == 0) {
            status->changed_ms = said->last_status_change > 0
                                     ? MIN(said->last_status_change, call->now_ms)
                                     : call->now_ms;
        }
    }
    return 0;
}

// One part that is impaired impairs the whole; one of which nothing is known leaves it unknown.
static enum ecs_instance_health_check_state worse(enum ecs_instance_health_check_state a,
                                                  enum ecs_instance_health_check_state b)
{
    static const int rank[] = {
        [ECS_INSTANCE_HEALTH_CHECK_STATE_ABSENT] = 0,
        [ECS_INSTANCE_HEALTH_CHECK_STATE_OK] = 1,
        [ECS_INSTANCE_HEALTH_CHECK_STATE_INITIALIZING] = 2,
        [ECS_INSTANCE_HEALTH_CHECK_STATE_INSUFFICIENT_DATA] = 3,
        [ECS_INSTANCE_HEALTH_CHECK_STATE_IMPAIRED] = 4,
    };
    return rank[a] >= rank[b] ? a : b;
}

void task_show_instance_health(struct core_call *call, const struct task_node *node,
                               struct ecs_container_instance *instance)
{
    struct ecs_container_instance_health_status *shown =
        ARENA_NEW(call->arena, struct ecs_container_instance_health_status);
    shown->details.items = arena_array(call->arena, TASK_NODE_PARTS, sizeof(*shown->details.items));
    for (size_t i = 0; i < TASK_NODE_PARTS; i++) {
        struct task_node_status status = node->status[i];
        bool runtime = i + 1 == ECS_INSTANCE_HEALTH_CHECK_TYPE_CONTAINER_RUNTIME;
        if (status.state == ECS_INSTANCE_HEALTH_CHECK_STATE_ABSENT && !runtime) {
            continue;
        }
        // What a node said when it was heard last says nothing of now.
        if (status.state == ECS_INSTANCE_HEALTH_CHECK_STATE_ABSENT ||
            !task_node_agent_connected(node)) {
            status.state = ECS_INSTANCE_HEALTH_CHECK_STATE_INSUFFICIENT_DATA;
        }
        struct ecs_instance_health_check_result *result =
            &shown->details.items[shown->details.count];
        shown->details.count++;
        *result = (struct ecs_instance_health_check_result){
            .type = (enum ecs_instance_health_check_type)(i + 1),
            .status = status.state,
            .last_updated = status.updated_ms,
            .last_status_change = status.changed_ms,
        };
        shown->overall_status = worse(shown->overall_status, status.state);
    }
    instance->health_status = shown;
}
