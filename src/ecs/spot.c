#include "ecs/task_internal.h"

#include <string.h>

/*
 * FARGATE_SPOT: a pool whose hosts and tasks may be taken back.
 *
 * A host that was taken back stays out of the pool until it is given back; the tasks of it that
 * came through the pool are interrupted, whatever else the host runs. Nothing here replaces a task:
 * a service sees that one of its own is to stop.
 */

bool task_membership_pooled(const struct task_record_membership *membership, bool spot)
{
    if (membership->cluster != 0) {
        return false;
    }
    struct text rest = membership->capacity;
    bool named = false;
    while (rest.data != NULL && !text_empty(rest)) {
        struct text pool = text_cut(&rest, ',');
        named = named || text_is(pool, spot ? "FARGATE_SPOT" : "FARGATE");
    }
    return named && !(spot && membership->spot_reclaimed_at != 0 && !MUTANT("place-on-reclaimed"));
}

bool task_is_spot(const struct task_record_task *record)
{
    return record->launch_type == ECS_LAUNCH_TYPE_FARGATE && record->extra != NULL &&
           text_is(record->extra->capacity_provider, "FARGATE_SPOT");
}

// ---- interruption -------------------------------------------------------------------------

#define SPOT_STEP 40 // tasks interrupted in one step: each is two records at most
#define RATE_TICK_MS 1000
#define TICKS_PER_HOUR 3600

static bool interruptible(const struct core *core, const struct task_entry *entry)
{
    if (!entry->holds || !entry->zone->group->spot) {
        return false;
    }
    const struct task_record_task *record = core_get(core, &task_kind, entry->key);
    return record->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
}

// ECS warns two minutes ahead by the event of the task and its SIGTERM; the SIGKILL follows after
// the container's stopTimeout, of which FARGATE allows 120 seconds at most. Protection does not
// hold against it.
static void interrupt(struct core_call *call, struct task_entry *entry)
{
    struct task_record_task *record = task_edit(call, entry->key);
    task_want_stopped(call, record, ECS_TASK_STOP_CODE_SPOT_INTERRUPTION,
                      TEXT("Your Spot Task was interrupted."));
    task_put(call, entry->key, record);
    task_send(call, entry->node, &entry, 1);
}

static const struct task_record_membership *reclaimed_in(const struct core *core,
                                                         const struct task_node *node)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
    for (size_t i = 0; i < record->memberships.count; i++) {
        if (record->memberships.items[i].spot_reclaimed_at != 0) {
            return &record->memberships.items[i];
        }
    }
    return NULL;
}

void task_spot_work(struct core_call *call, void *pointer, int64_t key)
{
    const struct task_node *node = task_node(pointer, key);
    if (node == NULL || node->removed || reclaimed_in(call->core, node) == NULL) {
        return;
    }
    size_t done = 0;
    for (struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        if (!interruptible(call->core, entry) || MUTANT("forget-spot")) {
            continue;
        }
        if (done == SPOT_STEP) {
            core_work(call, &task_managers[TASK_MANAGER_SPOT], key);
            return;
        }
        interrupt(call, entry);
        done++;
    }
}

void task_spot_rate_work(struct core_call *call, void *pointer, int64_t key)
{
    const struct task_state *state = pointer;
    if (state->spot_permille == 0) {
        return;
    }
    size_t done = 0;
    for (size_t i = 0; i < state->node_count; i++) {
        for (struct task_entry *entry = state->nodes[i]->first; entry != NULL;
             entry = entry->next) {
            // More than a step in one second is no rehearsal of single interruptions any more.
            bool hit = done < SPOT_STEP && interruptible(call->core, entry) &&
                       core_random(call) % (1000 * TICKS_PER_HOUR) < state->spot_permille;
            if (hit) {
                interrupt(call, entry);
                done++;
            }
        }
    }
    core_timer(call, &task_managers[TASK_MANAGER_SPOT_RATE], key, call->now_ms + RATE_TICK_MS);
}

void task_spot_recover(struct core_call *call, struct task_state *state)
{
    for (size_t i = 0; i < state->node_count; i++) {
        if (reclaimed_in(call->core, state->nodes[i]) != NULL) {
            core_work(call, &task_managers[TASK_MANAGER_SPOT], state->nodes[i]->key);
        }
    }
    core_work(call, &task_managers[TASK_MANAGER_SPOT_RATE], 1);
}

void task_set_spot_rate(struct core *core, uint32_t permille)
{
    ASSERT(permille <= 1000);
    task_state(core)->spot_permille = permille;
}

// ---- administration -----------------------------------------------------------------------

static int interrupt_task(struct core_call *call,
                          const struct berth_interrupt_spot_request *request,
                          struct berth_interrupt_spot_response *response)
{
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    struct task_entry *entry = task_find(call->core, cluster, request->task);
    if (entry == NULL) {
        return core_fault(call, &berth_error_resource_not_found_exception,
                          "There is no task %.*s in the cluster.",
                          TEXT_FMT(text_slice(request->task, 0, 200)));
    }
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    if (!task_is_spot(record)) {
        return core_fault(call, &berth_error_invalid_parameter_exception,
                          "Task %.*s was not placed through FARGATE_SPOT, so nobody takes its "
                          "capacity back.",
                          TEXT_FMT(record->task_id));
    }
    if (interruptible(call->core, entry)) {
        interrupt(call, entry);
        response->task_count = 1;
    }
    return 0;
}

// The place of a node's membership of the pools in its record, or SIZE_MAX.
static size_t spot_membership(const struct task_record_node *record)
{
    size_t index = task_instance_in(record, 0);
    bool spot = false;
    if (index != SIZE_MAX) {
        struct task_record_membership given = record->memberships.items[index];
        given.spot_reclaimed_at = 0;
        spot = task_membership_pooled(&given, true);
    }
    return spot ? index : SIZE_MAX;
}

static int find_host(struct core_call *call, const struct task_state *state, struct text node_id,
                     struct task_node **out_node)
{
    struct task_node *node = task_node_of(state, node_id);
    if (node == NULL) {
        return core_fault(call, &berth_error_resource_not_found_exception, "There is no node %.*s.",
                          TEXT_FMT(text_slice(node_id, 0, 200)));
    }
    if (spot_membership(core_get(call->core, &task_node_kind, node->key)) == SIZE_MAX) {
        return core_fault(call, &berth_error_invalid_parameter_exception,
                          "Node %.*s is no host of FARGATE_SPOT. Start its agent with --capacity "
                          "FARGATE_SPOT to make it one.",
                          TEXT_FMT(node_id));
    }
    *out_node = node;
    return 0;
}

// The host leaves the pool or comes back to it; what it is besides stays.
static void set_reclaimed(struct core_call *call, const struct task_node *node, bool reclaimed)
{
    struct task_record_node *record = core_edit(call, &task_node_kind, node->key);
    size_t index = spot_membership(record);
    if ((record->memberships.items[index].spot_reclaimed_at != 0) == reclaimed) {
        return;
    }
    struct task_record_membership *memberships =
        arena_array(call->arena, record->memberships.count, sizeof(*memberships));
    memcpy(memberships, record->memberships.items,
           record->memberships.count * sizeof(*memberships));
    memberships[index].spot_reclaimed_at = reclaimed ? call->now_ms : 0;
    record->memberships.items = memberships;
    core_put(call, &task_node_kind, node->key, record);
}

int task_interrupt_spot(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct berth_interrupt_spot_request *request = input;
    struct berth_interrupt_spot_response *response = output;
    response->has_task_count = true;
    if (text_empty(request->task) == text_empty(request->node_id)) {
        return core_fault(call, &berth_error_invalid_parameter_exception,
                          "Give either a task or a node to interrupt.");
    }
    if (!text_empty(request->task)) {
        return interrupt_task(call, request, response);
    }
    struct task_node *node = NULL;
    int rc = find_host(call, pointer, request->node_id, &node);
    if (rc != 0) {
        return rc;
    }
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        response->task_count += interruptible(call->core, entry) ? 1 : 0;
    }
    set_reclaimed(call, node, true);
    core_work(call, &task_managers[TASK_MANAGER_SPOT], node->key);
    return 0;
}

int task_restore_spot(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct berth_restore_spot_request *request = input;
    struct task_node *node = NULL;
    int rc = find_host(call, pointer, request->node_id, &node);
    if (rc == 0) {
        set_reclaimed(call, node, false);
    }
    return rc;
}
