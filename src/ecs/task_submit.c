#include "ecs/task_internal.h"

#include "ecs/definition_internal.h"

#include <string.h>

/*
 * What nodes report of their tasks. A node's word about what ran is final; reports may come late,
 * twice or out of order, and then change nothing: every part of a task only ever goes forward, and
 * a stopped task is never touched again.
 */

#define REPORT_CONTAINERS_MAX 10 // of a definition; more are no report of ours

// The three ways to report, brought into one form. Borrowed.
struct report {
    struct text status; // of the task; absent when only parts are reported
    struct text reason;
    const struct ecs_container_state_change *containers;
    size_t container_count;
    const struct ecs_managed_agent_state_change *agents;
    size_t agent_count;
    const struct ecs_attachment_state_change *attachments;
    size_t attachment_count;
    int64_t pull_started_at;
    int64_t pull_stopped_at;
    int64_t execution_stopped_at;
};

// ---- parts --------------------------------------------------------------------------------

static size_t container_index(const struct ecs_task_definition *definition, struct text name)
{
    size_t index = 0;
    while (index < definition->container_definitions.count &&
           !text_equal(definition->container_definitions.items[index].name, name)) {
        index++;
    }
    return index;
}

static bool is_essential(const struct ecs_container_definition *container)
{
    return !container->has_essential || container->essential;
}

// The agent's statuses before RUNNING all mean that the container does not run yet.
static enum task_record_task_status container_status(struct text status)
{
    if (text_is(status, "STOPPED")) {
        return TASK_RECORD_TASK_STATUS_STOPPED;
    }
    if (text_is(status, "RUNNING") || text_is(status, "RESOURCES_PROVISIONED")) {
        return TASK_RECORD_TASK_STATUS_RUNNING;
    }
    return TASK_RECORD_TASK_STATUS_PENDING;
}

// Take over a text that was not known yet. @return whether it changed
static bool learn(struct text *known, struct text reported, size_t size_max)
{
    if (text_empty(reported) || known->data != NULL) {
        return false;
    }
    *known = text_slice(reported, 0, size_max);
    return true;
}

static bool apply_container(const struct ecs_container_state_change *report,
                            struct task_record_container *container, bool *out_moved)
{
    enum task_record_task_status status = container_status(report->status);
    bool changed = learn(&container->runtime_id, report->runtime_id, 255);
    changed = learn(&container->image_digest, report->image_digest, 255) || changed;
    changed = learn(&container->reason, report->reason, TASK_REASON_MAX) || changed;
    if (container->network_bindings.count == 0 && report->network_bindings.count > 0) {
        container->network_bindings.items = report->network_bindings.items;
        container->network_bindings.count = report->network_bindings.count;
        changed = true;
    }
    if (report->has_exit_code && !container->has_exit_code) {
        container->has_exit_code = true;
        container->exit_code = report->exit_code;
        changed = true;
    }
    if (status > container->status) {
        container->status = status;
        *out_moved = true;
        changed = true;
    }
    return changed;
}

// In the host's network a container's ports are the host's, of which Amazon's agent says nothing.
static bool bind_to_host(struct core_call *call, const struct ecs_task_definition *definition,
                         size_t index, struct task_record_container *container)
{
    const struct ecs_port_mapping_list *ports =
        &definition->container_definitions.items[index].port_mappings;
    if (definition->network_mode != ECS_NETWORK_MODE_HOST || ports->count == 0 ||
        container->status != TASK_RECORD_TASK_STATUS_RUNNING ||
        container->network_bindings.count > 0) {
        return false;
    }
    container->network_bindings.count = ports->count;
    container->network_bindings.items =
        arena_array(call->arena, ports->count, sizeof(*container->network_bindings.items));
    for (size_t i = 0; i < ports->count; i++) {
        const struct ecs_port_mapping *port = &ports->items[i];
        container->network_bindings.items[i] = (struct ecs_network_binding){
            .bind_ip = TEXT("0.0.0.0"),
            .has_container_port = true,
            .container_port = port->container_port,
            .has_host_port = true,
            .host_port = port->container_port,
            .protocol = port->protocol == ECS_TRANSPORT_PROTOCOL_ABSENT ? ECS_TRANSPORT_PROTOCOL_TCP
                                                                        : port->protocol,
        };
    }
    return true;
}

static bool apply_times(const struct report *report, struct task_record_task *record)
{
    bool changed = false;
    if (record->pull_started_at == 0 && report->pull_started_at > 0) {
        record->pull_started_at = report->pull_started_at;
        changed = true;
    }
    if (record->pull_stopped_at == 0 && report->pull_stopped_at > 0) {
        record->pull_stopped_at = report->pull_stopped_at;
        changed = true;
    }
    if (record->execution_stopped_at == 0 && report->execution_stopped_at > 0) {
        record->execution_stopped_at = report->execution_stopped_at;
        changed = true;
    }
    return changed;
}

static bool attach(struct task_record_task *record)
{
    if (record->eni_status != TASK_RECORD_ENI_STATUS_PRECREATED &&
        record->eni_status != TASK_RECORD_ENI_STATUS_ATTACHING) {
        return false;
    }
    record->eni_status = TASK_RECORD_ENI_STATUS_ATTACHED;
    return true;
}

static bool apply_attachments(struct core_call *call, const struct report *report,
                              struct task_record_task *record)
{
    bool changed = false;
    for (size_t i = 0; record->has_eni && i < report->attachment_count; i++) {
        const struct ecs_attachment_state_change *change = &report->attachments[i];
        // Only that it is attached matters: it goes when the task is STOPPED.
        if (text_is(change->status, "ATTACHED") &&
            text_equal(change->attachment_arn, task_attachment_arn(call, record))) {
            changed = attach(record) || changed;
        }
    }
    return changed;
}

// ---- the task -----------------------------------------------------------------------------

// Why a task ended that nobody asked to stop.
static void explain_end(struct core_call *call, const struct ecs_task_definition *definition,
                        struct text reason, struct task_record_task *record)
{
    bool essential_exited = false;
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        essential_exited =
            essential_exited ||
            (is_essential(&definition->container_definitions.items[i]) && container->has_exit_code);
    }
    // That a container ran which others waited for does not make it a task that started.
    bool started = record->started_at != 0 || essential_exited;
    if (essential_exited || (started && text_empty(reason))) {
        task_want_stopped(call, record, ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED,
                          TEXT("Essential container in task exited"));
        return;
    }
    // The node knows better: a supervisor that died, an image that cannot be pulled.
    task_want_stopped(call, record,
                      started ? ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED
                              : ECS_TASK_STOP_CODE_TASK_FAILED_TO_START,
                      text_empty(reason) ? TEXT("Task failed to start") : reason);
}

// An essential container that ran has ended. One that never ran is the node's to explain, with the
// task's own end.
static bool essential_stopped(const struct ecs_task_definition *definition,
                              const struct task_record_task *record)
{
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        if (container->status == TASK_RECORD_TASK_STATUS_STOPPED &&
            (container->has_exit_code || record->started_at != 0) &&
            is_essential(&definition->container_definitions.items[i])) {
            return true;
        }
    }
    return false;
}

static bool apply_status(struct core_call *call, const struct report *report,
                         struct task_record_task *record)
{
    if (text_is(report->status, "RUNNING")) {
        if (!task_may_move(record->last_status, TASK_RECORD_TASK_STATUS_RUNNING)) {
            return false;
        }
        IGNORE(attach(record), "a task that runs has its interface");
        record->started_at = MAX(call->now_ms, record->created_at);
        task_move(record, TASK_RECORD_TASK_STATUS_RUNNING);
        return true;
    }
    bool pending = text_is(report->status, "PENDING") || text_is(report->status, "CREATED") ||
                   text_is(report->status, "PULLED") || text_is(report->status, "MANIFEST_PULLED");
    if (pending && task_may_move(record->last_status, TASK_RECORD_TASK_STATUS_PENDING)) {
        task_move(record, TASK_RECORD_TASK_STATUS_PENDING);
        return true;
    }
    return false;
}

// Apply a report to an edited record. @return whether anything changed
static bool apply(struct core_call *call, int64_t key, const struct report *report,
                  struct task_record_task *record)
{
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    bool changed = apply_times(report, record);
    bool moved = false;
    for (size_t i = 0; i < report->container_count; i++) {
        size_t index = container_index(definition, report->containers[i].container_name);
        if (index < record->containers.count) {
            struct task_record_container *container = &record->containers.items[index];
            changed = apply_container(&report->containers[i], container, &moved) || changed;
            changed = bind_to_host(call, definition, index, container) || changed;
            changed = task_execute_follow(call, record, container) || changed;
        }
    }
    for (size_t i = 0; i < report->agent_count; i++) {
        size_t index = container_index(definition, report->agents[i].container_name);
        if (index < record->containers.count) {
            changed =
                task_execute_report(call, &report->agents[i], &record->containers.items[index]) ||
                changed;
        }
    }
    changed = apply_attachments(call, report, record) || changed;
    if (record->connectivity_at == 0) {
        record->connectivity_at = call->now_ms;
        changed = true;
    }
    int32_t version = record->version;
    if (text_is(report->status, "STOPPED")) {
        explain_end(call, definition, report->reason, record);
        task_finish(call, key, record);
        record->version = version + 1;
        return true;
    }
    changed = apply_status(call, report, record) || changed;
    if (moved && essential_stopped(definition, record)) {
        explain_end(call, definition, (struct text){0}, record);
    }
    // One version for one report, and one also when nothing but a container moved.
    if (moved || record->version != version) {
        record->version = version + 1;
        changed = true;
    }
    return changed;
}

static int take_report(struct core_call *call, struct text cluster_reference,
                       struct text task_reference, const struct report *report)
{
    int64_t cluster = ecs_cluster_find(call->core, ecs_caller_realm(call), cluster_reference);
    struct ecs_arn arn;
    // A host of the pool runs tasks of clusters that are not its own, so the task's ARN decides.
    if (ecs_arn_parse(task_reference, &arn)) {
        int64_t realm = identity_realm(call->core, arn.account, arn.region);
        struct text path = arn.path;
        struct text name = text_cut(&path, '/');
        int64_t named = path.data == NULL ? 0 : ecs_cluster_lookup(call->core, realm, name);
        cluster = named != 0 ? named : cluster;
    }
    struct task_entry *entry = cluster == 0 ? NULL : task_find(call->core, cluster, task_reference);
    if (entry == NULL) {
        return 0; // long gone: the node may forget it too
    }
    struct text node_id = call->caller->node_id;
    const struct ecs_record_cluster *record_cluster =
        core_get(call->core, &ecs_cluster_kind, cluster);
    if (text_empty(node_id) && record_cluster->realm != ecs_caller_realm(call)) {
        return 0; // to this caller there is no such task
    }
    const struct task_record_task *stored = core_get(call->core, &task_kind, entry->key);
    if (stored->node == 0) {
        return 0; // no host has it
    }
    if (!text_empty(node_id) && !text_equal(node_id, entry->node->node_id)) {
        return core_fault(call, &ecs_error_access_denied_exception,
                          "The task was not given to this node.");
    }
    // Whoever reports on a task has got it.
    entry->acked_status = MAX(entry->acked_status, (uint8_t)TASK_RECORD_TASK_STATUS_RUNNING);
    bool ended = stored->last_status >= TASK_RECORD_TASK_STATUS_DEPROVISIONING;
    if (!ended) {
        task_entry_wait(entry, entry->acked_status < (uint8_t)stored->desired_status);
        struct task_record_task *record = task_edit(call, entry->key);
        if (apply(call, entry->key, report, record)) {
            bool stop = record->desired_status != stored->desired_status &&
                        record->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING;
            task_put(call, entry->key, record);
            if (stop) {
                task_send(call, entry->node, &entry, 1);
            }
        }
    } else if (!text_empty(report->status) && !text_is(report->status, "STOPPED")) {
        // It runs where it must not any more: its address may belong to another task.
        task_send(call, entry->node, &entry, 1);
    }
    return 0;
}

// ---- operations ---------------------------------------------------------------------------

int task_submit_task(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_submit_task_state_change_request *request = input;
    struct ecs_submit_task_state_change_response *response = output;
    const struct report report = {
        .status = request->status,
        .reason = request->reason,
        .containers = request->containers.items,
        .container_count = MIN(request->containers.count, (size_t)REPORT_CONTAINERS_MAX),
        .agents = request->managed_agents.items,
        .agent_count = MIN(request->managed_agents.count, (size_t)REPORT_CONTAINERS_MAX),
        .attachments = request->attachments.items,
        .attachment_count = request->attachments.count,
        .pull_started_at = request->pull_started_at,
        .pull_stopped_at = request->pull_stopped_at,
        .execution_stopped_at = request->execution_stopped_at,
    };
    response->acknowledgment = TEXT("ACCEPT");
    return take_report(call, request->cluster, request->task, &report);
}

int task_submit_container(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_submit_container_state_change_request *request = input;
    struct ecs_submit_container_state_change_response *response = output;
    const struct ecs_container_state_change change = {
        .container_name = request->container_name,
        .runtime_id = request->runtime_id,
        .has_exit_code = request->has_exit_code,
        .exit_code = request->exit_code,
        .reason = request->reason,
        .status = request->status,
        .network_bindings = request->network_bindings,
    };
    const struct report report = {.containers = &change, .container_count = 1};
    response->acknowledgment = TEXT("ACCEPT");
    return take_report(call, request->cluster, request->task, &report);
}

// An attachment's ARN does not say whose it is, so the node's own tasks are looked through. Only
// those whose interface is not known to be attached can be meant.
static void take_attachment(struct core_call *call, struct task_node *node,
                            const struct ecs_attachment_state_change *change)
{
    for (struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *stored = core_get(call->core, &task_kind, entry->key);
        if (!stored->has_eni || stored->eni_status >= TASK_RECORD_ENI_STATUS_ATTACHED ||
            !text_equal(change->attachment_arn, task_attachment_arn(call, stored))) {
            continue;
        }
        struct task_record_task *record = task_edit(call, entry->key);
        const struct report report = {.attachments = change, .attachment_count = 1};
        if (apply_attachments(call, &report, record)) {
            task_put(call, entry->key, record);
        }
        return;
    }
}

int task_submit_attachments(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct ecs_submit_attachment_state_changes_request *request = input;
    struct ecs_submit_attachment_state_changes_response *response = output;
    struct task_node *node = task_node_of(pointer, call->caller->node_id);
    for (size_t i = 0; node != NULL && i < MIN(request->attachments.count, (size_t)50); i++) {
        take_attachment(call, node, &request->attachments.items[i]);
    }
    response->acknowledgment = TEXT("ACCEPT");
    return 0;
}

// ---- health -------------------------------------------------------------------------------

static enum ecs_health_status health_of(struct text word)
{
    if (text_is(word, "HEALTHY")) {
        return ECS_HEALTH_STATUS_HEALTHY;
    }
    return text_is(word, "UNHEALTHY") ? ECS_HEALTH_STATUS_UNHEALTHY : ECS_HEALTH_STATUS_UNKNOWN;
}

// Of a task: any essential container UNHEALTHY, all of those that have a check HEALTHY, or UNKNOWN.
static enum ecs_health_status task_health(const struct ecs_task_definition *definition,
                                          const struct task_record_task *record)
{
    bool checked = false;
    bool all_healthy = true;
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        if (!is_essential(container) || !definition_has_health(container)) {
            continue;
        }
        if (record->containers.items[i].health == ECS_HEALTH_STATUS_UNHEALTHY) {
            return ECS_HEALTH_STATUS_UNHEALTHY;
        }
        checked = true;
        all_healthy =
            all_healthy && record->containers.items[i].health == ECS_HEALTH_STATUS_HEALTHY;
    }
    return checked && all_healthy ? ECS_HEALTH_STATUS_HEALTHY : ECS_HEALTH_STATUS_UNKNOWN;
}

// @return whether the report says anything new of the task
static bool health_news(const struct ecs_task_definition *definition,
                        const struct session_task_health *report,
                        const struct task_record_task *record)
{
    for (size_t i = 0; i < report->containers.count; i++) {
        size_t index = container_index(definition, report->containers.items[i].container_name);
        if (index < record->containers.count &&
            definition_has_health(&definition->container_definitions.items[index])) {
            enum ecs_health_status known = record->containers.items[index].health;
            known = known == ECS_HEALTH_STATUS_ABSENT ? ECS_HEALTH_STATUS_UNKNOWN : known;
            if (health_of(report->containers.items[i].health_status) != known) {
                return true;
            }
        }
    }
    return false;
}

static void take_health(struct core_call *call, const struct task_state *state,
                        const struct task_node *node, const struct session_task_health *report)
{
    size_t slash = text_find_last(report->task_arn, '/');
    struct text id = slash == SIZE_MAX
                         ? report->task_arn
                         : text_slice(report->task_arn, slash + 1, report->task_arn.size);
    struct task_entry *entry = task_entry_by_id(state, id);
    if (entry == NULL || entry->node != node) {
        return;
    }
    const struct task_record_task *stored = core_get(call->core, &task_kind, entry->key);
    const struct ecs_task_definition *definition = task_definition(call->core, stored->definition);
    if (stored->last_status >= TASK_RECORD_TASK_STATUS_DEPROVISIONING ||
        !health_news(definition, report, stored)) {
        return;
    }
    struct task_record_task *record = task_edit(call, entry->key);
    for (size_t i = 0; i < report->containers.count; i++) {
        size_t index = container_index(definition, report->containers.items[i].container_name);
        if (index < record->containers.count &&
            definition_has_health(&definition->container_definitions.items[index])) {
            record->containers.items[index].health =
                health_of(report->containers.items[i].health_status);
        }
    }
    enum ecs_health_status health = task_health(definition, record);
    enum ecs_health_status known =
        record->health == ECS_HEALTH_STATUS_ABSENT ? ECS_HEALTH_STATUS_UNKNOWN : record->health;
    record->health = health;
    record->version += health != known ? 1 : 0;
    task_put(call, entry->key, record);
}

int task_node_health(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct node_node_health_request *request = input;
    struct task_state *state = pointer;
    const struct task_node *node = task_node_of(state, call->caller->node_id);
    // Bounded as every input is; what one message names beyond that comes again with the next.
    for (size_t i = 0; node != NULL && i < MIN(request->tasks.count, (size_t)100); i++) {
        take_health(call, state, node, &request->tasks.items[i]);
    }
    return 0;
}
