#include "ecs/task_internal.h"

#include <string.h>

/*
 * Sessions with nodes: what is sent, again until acknowledged, and the leases that tell whether a
 * node is there.
 *
 * seqNum and timeline come from one counter, as the agent keeps one: the number of the node's
 * session, which its record keeps, and the number of the message within it. So it grows over
 * restarts of the server whatever the clock does. A message's id is that number.
 */

#define CONNECT_PAYLOADS 20 // in one input; more follow as the manager's work
#define VERSION_MAX 64      // bytes that are kept of what an agent calls itself

// ---- who and whether ----------------------------------------------------------------------

struct task_node *task_node_of(const struct task_state *state, struct text node_id)
{
    return text_empty(node_id) ? NULL : map_get(&state->nodes_by_id, node_id);
}

bool task_node_live(const struct task_node *node)
{
    return node->seen && !node->lost;
}

static void tick_at(struct core_call *call, struct task_state *state, int64_t at_ms)
{
    state->tick_due_ms = at_ms;
    core_timer(call, &task_managers[TASK_MANAGER_LEASES], 1, at_ms);
}

// The node was heard of: its lease begins anew.
static void beat(struct core_call *call, struct task_state *state, struct task_node *node)
{
    bool was_live = task_node_live(node);
    bool was_lost = node->lost;
    node->beat_ms = call->now_ms;
    node->seen = true;
    node->lost = false;
    if (!was_live) {
        node->contact_ms = call->now_ms;
        task_node_told(state, node);
        task_node_refresh(node);
    }
    if (was_lost) {
        core_work(call, &task_managers[TASK_MANAGER_CONTACT], node->key);
    } else if (!was_live) {
        service_node_changed(call, node->key); // it is new: services may have waited for it
    }
    if (state->tick_due_ms == 0) {
        tick_at(call, state, call->now_ms + NODE_TICK_MS);
    }
}

// ---- sending ------------------------------------------------------------------------------

int64_t task_next_sequence(struct task_node *node)
{
    ASSERT(node->sequence < UINT32_MAX);
    node->sequence++;
    return (node->connection << 32) | node->sequence;
}

// The node's own view of itself: the first membership, which is the one it registered first.
static struct text instance_arn(struct core_call *call, const struct task_node *node)
{
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    ASSERT(record->memberships.count > 0);
    return task_instance_arn(call, record, &record->memberships.items[0]);
}

// Look again at what waits, at that time or before.
static void resend_at(struct core_call *call, struct task_node *node, int64_t at_ms)
{
    if (node->resend_due_ms == 0 || at_ms < node->resend_due_ms) {
        node->resend_due_ms = at_ms;
        core_timer(call, &task_managers[TASK_MANAGER_DELIVER], node->key, at_ms);
    }
}

static void send_payload(struct core_call *call, struct task_node *node,
                         struct task_entry *const *entries, size_t count)
{
    struct arena *own = core_effect_begin(call);
    struct session_task_spec *specs = arena_array(call->arena, count, sizeof(*specs));
    int64_t sequence = task_next_sequence(node);
    for (size_t i = 0; i < count; i++) {
        struct task_entry *entry = entries[i];
        const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
        task_spec(call, entry->key, record, &specs[i]);
        entry->sent_sequence = sequence;
        entry->sent_status = (uint8_t)record->desired_status;
        entry->sent_ms = call->now_ms;
    }
    struct session_payload_message *message =
        ARENA_NEW(call->arena, struct session_payload_message);
    *message = (struct session_payload_message){
        .message_id = task_number(call, sequence),
        .cluster_arn = specs[0].cluster_arn,
        .container_instance_arn = instance_arn(call, node),
        .tasks = {.items = specs, .count = count},
        .has_seq_num = true,
        .seq_num = sequence,
        .generated_at = call->now_ms,
    };
    task_groups_spec(call, node, entries, count, message);
    core_effect_lend(call, CORE_EFFECT_NODE, node->node_id, "PayloadMessage",
                     &session_payload_message_shape, message);
    core_effect_end(call, own);
    for (size_t i = 0; i < count; i++) {
        task_credentials_send(call, node, entries[i]);
    }
}

void task_send(struct core_call *call, struct task_node *node, struct task_entry *const *entries,
               size_t count)
{
    // Without a session nothing is lost: all that waits is sent when there is one.
    if (!node->connected || node->removed || count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i += TASK_PAYLOAD_MAX) {
        send_payload(call, node, entries + i, MIN(count - i, (size_t)TASK_PAYLOAD_MAX));
    }
    resend_at(call, node, call->now_ms + NODE_RESEND_MS);
}

// Send what waits and was not sent lately. @return when there is something to send again, 0 never;
// now when there is more than one step does
static int64_t deliver(struct core_call *call, struct task_node *node)
{
    struct task_entry *entries[TASK_PAYLOAD_MAX];
    size_t count = 0;
    size_t payloads = 0;
    int64_t due_ms = 0;
    for (struct task_entry *entry = node->waiting_first; entry != NULL;
         entry = entry->waiting_next) {
        int64_t entry_due_ms =
            entry->sent_sequence == 0 ? call->now_ms : entry->sent_ms + NODE_RESEND_MS;
        if (entry_due_ms > call->now_ms) {
            due_ms = due_ms == 0 ? entry_due_ms : MIN(due_ms, entry_due_ms);
            continue;
        }
        if (payloads == CONNECT_PAYLOADS) {
            return call->now_ms;
        }
        entries[count] = entry;
        count++;
        if (count == TASK_PAYLOAD_MAX) {
            send_payload(call, node, entries, count);
            count = 0;
            payloads++;
            due_ms = due_ms == 0 ? call->now_ms + NODE_RESEND_MS : due_ms;
        }
    }
    if (count > 0) {
        send_payload(call, node, entries, count);
        due_ms = due_ms == 0 ? call->now_ms + NODE_RESEND_MS : due_ms;
    }
    return due_ms;
}

static void deliver_and_again(struct core_call *call, struct task_node *node)
{
    node->resend_due_ms = 0;
    int64_t due_ms = deliver(call, node);
    if (due_ms != 0 && due_ms <= call->now_ms) {
        core_work(call, &task_managers[TASK_MANAGER_DELIVER], node->key);
    } else if (due_ms != 0) {
        resend_at(call, node, due_ms);
    }
}

void task_deliver_work(struct core_call *call, void *state, int64_t key)
{
    struct task_node *node = task_node(state, key);
    if (node == NULL) {
        return;
    }
    node->resend_due_ms = 0;
    if (node->connected && !node->removed) {
        deliver_and_again(call, node);
    }
}

static void send_manifest(struct core_call *call, struct task_node *node)
{
    size_t count = 0;
    struct session_manifest_task *tasks =
        arena_array(call->arena, (size_t)node->task_count + 1, sizeof(*tasks));
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
        if (record->last_status >= TASK_RECORD_TASK_STATUS_DEPROVISIONING) {
            continue; // it told itself that nothing of them runs
        }
        ASSERT(count <= (size_t)node->task_count);
        tasks[count].task_arn = task_arn(call, record);
        tasks[count].desired_status = task_status_name(record->desired_status);
        count++;
    }
    int64_t sequence = task_next_sequence(node);
    const struct session_task_manifest_message message = {
        .message_id = task_number(call, sequence),
        .container_instance_arn = instance_arn(call, node),
        .has_timeline = true,
        .timeline = sequence,
        .tasks = {.items = count > 0 ? tasks : SHAPE_EMPTY, .count = count},
    };
    core_effect(call, CORE_EFFECT_NODE, node->node_id, "TaskManifestMessage",
                &session_task_manifest_message_shape, &message);
}

// ---- the session --------------------------------------------------------------------------

static struct task_node *find_instance(const struct task_state *state, struct text arn)
{
    size_t slash = text_find_last(arn, '/');
    struct text id = slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
    return text_empty(id) ? NULL : map_get(&state->nodes_by_instance, id);
}

void task_node_keep(struct text *field, struct text value, size_t limit)
{
    size_t size = MIN(value.size, limit);
    char *copy = alloc_zero(size + 1);
    if (size > 0) {
        memcpy(copy, value.data, size);
    }
    alloc_free((void *)(uintptr_t)field->data);
    *field = (struct text){copy, size};
}

int task_node_connect(struct core_call *call, void *pointer, const void *input, void *output)
{
    struct task_state *state = pointer;
    const struct node_node_connect_request *request = input;
    struct node_node_connect_response *response = output;
    struct task_node *node = find_instance(state, request->container_instance_arn);
    struct text node_id = call->caller->node_id;
    if (node == NULL || (!text_empty(node_id) && !text_equal(node->node_id, node_id))) {
        return core_fault(call, &node_error_resource_not_found_exception,
                          "There is no container instance %.*s of this node.",
                          TEXT_FMT(request->container_instance_arn));
    }
    bool berth_agent = request->has_berth_agent && request->berth_agent;
    if (node->connected && request->session < node->session) {
        // A session that was overtaken by a newer one: it gets nothing.
        response->has_lease_ms = true;
        response->lease_ms = node->lease_ms;
        return 0;
    }
    struct task_record_node *record = core_edit(call, &task_node_kind, node->key);
    record->connections++;
    record->has_berth_agent = true;
    record->berth_agent = berth_agent;
    core_put(call, &task_node_kind, node->key, record);

    node->connected = true;
    node->session = request->session;
    node->sequence = 0;
    node->lease_ms = berth_agent ? NODE_LEASE_MS : NODE_LEASE_STOCK_MS;
    task_node_keep(&node->agent_version, request->agent_version, VERSION_MAX);
    task_node_keep(&node->agent_hash, request->agent_hash, VERSION_MAX);
    task_node_keep(&node->docker_version, request->docker_version, VERSION_MAX);
    task_node_told(state, node);
    beat(call, state, node);
    task_node_refresh(node);
    // What an older session sent may never have arrived: everything is sent again.
    for (struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(call->core, &task_kind, entry->key);
        entry->sent_sequence = 0;
        entry->acked_status = 0;
        task_entry_wait(entry, task->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING);
    }
    task_credentials_connected(call, node);
    task_groups_connected(node);
    send_manifest(call, node);
    deliver_and_again(call, node);
    task_contact_count(call, node);
    response->has_lease_ms = true;
    response->lease_ms = node->lease_ms;
    return 0;
}

int task_node_disconnect(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct node_node_disconnect_request *request = input;
    struct task_node *node = task_node_of(pointer, call->caller->node_id);
    if (node != NULL && node->connected && node->session == request->session) {
        // The lease goes on: a node that comes back in time was never away.
        node->connected = false;
        task_node_told(pointer, node);
        task_node_refresh(node);
        task_contact_count(call, node);
    }
    return 0;
}

int task_node_beat(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)input;
    (void)output;
    struct task_node *node = task_node_of(pointer, call->caller->node_id);
    if (node != NULL && node->seen) {
        beat(call, pointer, node);
        task_contact_count(call, node);
    }
    // A stock agent whose instance was deregistered hears of it when it has nothing left to stop.
    if (node != NULL && node->retired && node->task_count == 0) {
        return core_fault(call, &node_error_inactive_instance_exception,
                          "Container instance %.*s was deregistered.", TEXT_FMT(node->node_id));
    }
    return 0;
}

// The node has the task: it is PENDING, and its interface is being attached.
static void handed_over(struct core_call *call, struct task_entry *entry)
{
    const struct task_record_task *stored = core_get(call->core, &task_kind, entry->key);
    if (stored->last_status != TASK_RECORD_TASK_STATUS_PROVISIONING ||
        entry->sent_status != (uint8_t)TASK_RECORD_TASK_STATUS_RUNNING) {
        return;
    }
    struct task_record_task *record = task_edit(call, entry->key);
    if (record->eni_status == TASK_RECORD_ENI_STATUS_PRECREATED) {
        record->eni_status = TASK_RECORD_ENI_STATUS_ATTACHING;
    }
    if (record->connectivity_at == 0) {
        record->connectivity_at = call->now_ms;
    }
    task_move(record, TASK_RECORD_TASK_STATUS_PENDING);
    task_put(call, entry->key, record);
}

int task_node_ack(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct node_node_ack_request *request = input;
    struct task_state *state = pointer;
    struct task_node *node = task_node_of(state, call->caller->node_id);
    int64_t sequence = 0;
    if (node == NULL || text_to_i64(request->message_id, &sequence) != 0 || sequence <= 0) {
        return 0;
    }
    if (node->seen) {
        beat(call, state, node);
    }
    task_groups_acked(call, node, sequence);
    struct task_entry *next = NULL;
    for (struct task_entry *entry = node->waiting_first; entry != NULL; entry = next) {
        next = entry->waiting_next;
        if (entry->sent_sequence != sequence) {
            continue;
        }
        entry->acked_status = MAX(entry->acked_status, entry->sent_status);
        const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
        task_entry_wait(entry, entry->acked_status < (uint8_t)record->desired_status);
        handed_over(call, entry);
    }
    return 0;
}

int task_node_stop_candidates(struct core_call *call, void *pointer, const void *input,
                              void *output)
{
    (void)output;
    const struct node_node_stop_candidates_request *request = input;
    const struct task_state *state = pointer;
    struct task_node *node = task_node_of(state, call->caller->node_id);
    if (node == NULL || !node->connected) {
        return 0;
    }
    size_t count = MIN(request->stop_candidates.count, (size_t)10000);
    struct session_manifest_task *stop = arena_array(call->arena, count, sizeof(*stop));
    size_t stop_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct text arn = request->stop_candidates.items[i].task_arn;
        size_t slash = text_find_last(arn, '/');
        struct text id = slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
        const struct task_entry *entry = task_entry_by_id(state, id);
        const struct task_record_task *record =
            entry == NULL ? NULL : core_get(call->core, &task_kind, entry->key);
        bool keep = entry != NULL && entry->node == node &&
                    record->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
        if (!keep) {
            stop[stop_count].task_arn = arn;
            stop[stop_count].desired_status = TEXT("STOPPED");
            stop_count++;
        }
    }
    const struct session_task_stop_verification_ack message = {
        .message_id = request->message_id,
        .stop_tasks = {.items = stop_count > 0 ? stop : SHAPE_EMPTY, .count = stop_count},
        .generated_at = call->now_ms,
    };
    core_effect(call, CORE_EFFECT_NODE, node->node_id, "TaskStopVerificationAck",
                &session_task_stop_verification_ack_shape, &message);
    return 0;
}

// ---- leases -------------------------------------------------------------------------------

// Whether so many nodes are silent that the fault is more likely ours, or the network's. A node is
// silent when half its lease passed: those that fall silent together do not all run out together.
static bool mass_silence(const struct task_state *state, int64_t now_ms)
{
    size_t live = 0;
    size_t silent = 0;
    for (size_t i = 0; i < state->node_count; i++) {
        const struct task_node *node = state->nodes[i];
        if (!node->removed && task_node_live(node)) {
            live++;
            silent += now_ms - node->beat_ms > node->lease_ms / 2;
        }
    }
    return silent >= 2 && silent * 10 > live * 3;
}

// Whether nodes whose lease ran out may be declared lost now.
static bool may_declare(struct task_state *state, int64_t now_ms)
{
    if (state->hold_start_ms == 0 && mass_silence(state, now_ms)) {
        state->hold_start_ms = now_ms;
    }
    if (state->hold_start_ms != 0 && now_ms - state->hold_start_ms < NODE_HOLD_MS) {
        return false;
    }
    state->hold_start_ms = 0;
    return true;
}

static bool lease_expired(const struct task_node *node, int64_t now_ms)
{
    return !node->removed && task_node_live(node) && now_ms - node->beat_ms >= node->lease_ms;
}

// Every node gets a full period from now on: nobody could be heard while we did not listen.
static void renew_all(struct task_state *state, int64_t now_ms)
{
    for (size_t i = 0; i < state->node_count; i++) {
        state->nodes[i]->beat_ms = now_ms;
    }
    state->hold_start_ms = 0;
}

void task_leases_work(struct core_call *call, void *pointer, int64_t key)
{
    (void)key;
    struct task_state *state = pointer;
    // A tick that comes late was held up by a suspend, a jump of the clock, or a long pause of
    // ours: what nodes sent meanwhile has not been looked at yet.
    if (call->now_ms - state->tick_due_ms > NODE_TICK_MS) {
        renew_all(state, call->now_ms);
    }
    bool any_live = false;
    bool any_expired = false;
    for (size_t i = 0; i < state->node_count; i++) {
        any_live = any_live || (!state->nodes[i]->removed && task_node_live(state->nodes[i]));
        any_expired = any_expired || lease_expired(state->nodes[i], call->now_ms);
    }
    if (!any_expired) {
        state->hold_start_ms = 0;
    } else if (may_declare(state, call->now_ms)) {
        for (size_t i = 0; i < state->node_count; i++) {
            struct task_node *node = state->nodes[i];
            if (lease_expired(node, call->now_ms)) {
                node->lost = true;
                node->contact_ms = call->now_ms;
                task_node_told(state, node);
                task_node_refresh(node);
                core_work(call, &task_managers[TASK_MANAGER_CONTACT], node->key);
            }
        }
    }
    // A tick that finds nobody in contact is the last: the next beat sets one again.
    state->tick_due_ms = 0;
    if (any_live) {
        tick_at(call, state, call->now_ms + NODE_TICK_MS);
    }
}

void task_leases_recover(struct core_call *call, struct task_state *state)
{
    for (size_t i = 0; i < state->node_count; i++) {
        struct task_node *node = state->nodes[i];
        const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
        node->seen = record->memberships.count > 0;
        node->beat_ms = call->now_ms;
        // An agent looks for a server that is gone every 7.5 s at the latest, and thousands that
        // come back together have to wait for each other. Its session sets the usual lease.
        node->lease_ms = MAX(node->lease_ms, (int64_t)NODE_RETURN_MS);
        node->contact_ms = call->now_ms;
        task_node_told(state, node);
        task_node_refresh(node);
        if (node->seen && !node->removed && state->tick_due_ms == 0) {
            tick_at(call, state, call->now_ms + NODE_TICK_MS);
        }
    }
}
