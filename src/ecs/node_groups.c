#include "ecs/task_internal.h"

#include "base/mutant.h"
#include "vpc/vpc.h"

/*
 * Security groups on nodes: what a group lets through goes to the nodes that host its members.
 *
 * A node gets the rules with each task, so nothing waits for them. When rules change, the members
 * are looked through in steps, and each of their nodes is told once what it does not have yet,
 * again until it acknowledges. After it connected it gets all of its tasks anew, and their groups
 * so.
 */

#define WALK_STEP 500   ///< members that one step looks at
#define MESSAGE_MAX 100 ///< groups of a message: each has at most 120 rules, of some 100 bytes

// ---- what a node is told ------------------------------------------------------------------

/** Groups that are collected, each once. */
struct collected {
    struct session_security_group *items;
    size_t count;
    size_t capacity;
};

static bool has(const struct collected *groups, struct text id)
{
    for (size_t i = 0; i < groups->count; i++) {
        if (text_equal(groups->items[i].group_id, id)) {
            return true;
        }
    }
    return false;
}

static void grow(struct core_call *call, struct collected *groups)
{
    if (groups->count < groups->capacity) {
        return;
    }
    groups->capacity = MAX(2 * groups->capacity, (size_t)4);
    struct session_security_group *items =
        arena_array(call->arena, groups->capacity, sizeof(*items));
    for (size_t i = 0; i < groups->count; i++) {
        items[i] = groups->items[i];
    }
    groups->items = items;
}

/** Add the groups of a task's interface that are newer than a version. */
static void collect(struct core_call *call, const struct task_record_task *task, int64_t behind,
                    struct collected *groups)
{
    const struct vpc_record_eni *eni =
        task->eni == 0 ? NULL : core_get(call->core, &vpc_eni_kind, task->eni);
    if (eni == NULL) {
        return;
    }
    const struct vpc_record_subnet *subnet = core_get(call->core, &vpc_subnet_kind, eni->subnet);
    for (size_t i = 0; i < eni->security_groups.count; i++) {
        struct text id = eni->security_groups.items[i];
        int64_t key = vpc_group_find(call->core, subnet->vpc, id);
        const struct vpc_record_security_group *record = core_get(call->core, &vpc_group_kind, key);
        if ((record != NULL && record->version <= behind) || has(groups, id)) {
            continue;
        }
        grow(call, groups);
        struct session_security_group *out = &groups->items[groups->count++];
        if (record != NULL) {
            vpc_group_spec(call, key, out);
            continue;
        }
        // No group goes while an interface is in it, but before they were kept an interface could
        // name whatever it liked: such a one lets nothing through, in either way.
        const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, subnet->vpc);
        *out = (struct session_security_group){.group_id = id,
                                               .vpc_id = vpc->vpc_id,
                                               .has_version = true,
                                               .version = INT64_MAX,
                                               .rules = {.items = SHAPE_EMPTY}};
    }
}

void task_groups_spec(struct core_call *call, const struct task_node *node,
                      struct task_entry *const *entries, size_t count,
                      struct session_payload_message *message)
{
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    struct collected groups = {0};
    if (!record->berth_agent || MUTANT("hand-over-without-rules")) {
        return; // a stock agent knows no rules
    }
    for (size_t i = 0; i < count; i++) {
        const struct task_record_task *task = core_get(call->core, &task_kind, entries[i]->key);
        // One that is to stop may run for minutes, and rules may have changed while the node was
        // away: after it connected it has acknowledged nothing.
        bool away = entries[i]->acked_status == 0 && !MUTANT("forget-what-ends");
        if (task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING || away) {
            collect(call, task, 0, &groups);
        }
    }
    message->security_groups.items = groups.items;
    message->security_groups.count = groups.count;
}

// ---- changes ------------------------------------------------------------------------------

static void send_groups(struct core_call *call, struct task_node *node,
                        const struct session_security_group *items, size_t count)
{
    int64_t sequence = task_next_sequence(node);
    const struct session_security_groups_message message = {
        .message_id = task_number(call, sequence),
        .security_groups = {.items = (void *)(uintptr_t)items, .count = count},
    };
    core_effect(call, CORE_EFFECT_NODE, node->node_id, "SecurityGroupsMessage",
                &session_security_groups_message_shape, &message);
    node->groups_sequence = sequence;
}

void task_groups_tell_work(struct core_call *call, void *state, int64_t key)
{
    struct task_node *node = task_node(state, key);
    if (node == NULL || node->removed || node->groups_wanted <= node->groups_acked) {
        return;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    if (!node->connected || !record->berth_agent) {
        return; // it gets all when it connects; a stock agent has no rules
    }
    struct collected groups = {0};
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(call->core, &task_kind, entry->key);
        bool ends = task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
        if (task->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING &&
            !(ends && MUTANT("stop-telling"))) {
            collect(call, task, node->groups_acked, &groups);
        }
    }
    // The last of them is the one whose acknowledgement counts: messages of a session keep order.
    for (size_t i = 0; i < groups.count; i += MESSAGE_MAX) {
        send_groups(call, node, groups.items + i, MIN(groups.count - i, (size_t)MESSAGE_MAX));
    }
    if (groups.count == 0) {
        node->groups_acked = node->groups_wanted; // the members that it had are gone
        return;
    }
    node->groups_sent = node->groups_wanted;
    core_timer(call, &task_managers[TASK_MANAGER_GROUPS_TELL], key, call->now_ms + NODE_RESEND_MS);
}

void task_groups_acked(struct core_call *call, struct task_node *node, int64_t sequence)
{
    if (sequence != node->groups_sequence) {
        return;
    }
    node->groups_acked = MAX(node->groups_acked, node->groups_sent);
    core_timer(call, &task_managers[TASK_MANAGER_GROUPS_TELL], node->key, 0);
    if (node->groups_wanted > node->groups_acked) {
        core_work(call, &task_managers[TASK_MANAGER_GROUPS_TELL], node->key);
    }
}

void task_groups_connected(struct task_node *node)
{
    node->groups_sequence = 0;
    node->groups_acked = 0;
    node->groups_sent = 0;
    node->groups_wanted = 0; // all of its tasks are sent, with their groups
}

void task_groups_walk_work(struct core_call *call, void *pointer, int64_t key)
{
    struct task_state *state = pointer;
    const struct vpc_record_security_group *group = core_get(call->core, &vpc_group_kind, key);
    int64_t after = (int64_t)(intptr_t)map_remove_u64(&state->group_walks, (uint64_t)key);
    if (group == NULL) {
        return;
    }
    int64_t eni = 0;
    for (size_t i = 0; i < WALK_STEP; i++) {
        eni = vpc_group_member_next(call->core, key, after);
        if (eni == 0) {
            return;
        }
        after = eni;
        const struct vpc_record_eni *record = core_get(call->core, &vpc_eni_kind, eni);
        const struct task_entry *entry = task_entry(state, record->owner);
        struct task_node *node = entry == NULL ? NULL : entry->node;
        if (node != NULL && node->groups_wanted < group->version) {
            node->groups_wanted = group->version;
            core_work(call, &task_managers[TASK_MANAGER_GROUPS_TELL], node->key);
            if (MUTANT("tell-first-host")) {
                return;
            }
        }
    }
    map_put_u64(&state->group_walks, (uint64_t)key, (void *)(intptr_t)after);
    core_work(call, &task_managers[TASK_MANAGER_GROUPS_WALK], key);
}

void task_groups_changed(struct core_call *call, int64_t group)
{
    struct task_state *state = core_module_state(call->core, &task_module);
    // From the beginning, wherever a walk for an older change stands.
    map_remove_u64(&state->group_walks, (uint64_t)group);
    core_work(call, &task_managers[TASK_MANAGER_GROUPS_WALK], group);
}
