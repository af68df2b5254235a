#include "ecs/task_internal.h"

#include "base/limits.h"
#include "vpc/vpc.h"

#include <string.h>

#define REAP_STEP 50   // stopped tasks let go in one step
#define REMOVE_STEP 40 // tasks of a removed node in one step: each is two records

// ---- the table of allowed moves -----------------------------------------------------------

#define STATUS(name) (1u << TASK_RECORD_TASK_STATUS_##name)
#define ENDING (STATUS(STOPPING) | STATUS(DEPROVISIONING) | STATUS(STOPPED))

// Only forward. A step may be skipped when the report of it was overtaken by a later one.
static const uint32_t moves[] = {
    [TASK_RECORD_TASK_STATUS_PROVISIONING] =
        STATUS(PENDING) | STATUS(ACTIVATING) | STATUS(RUNNING) | ENDING,
    [TASK_RECORD_TASK_STATUS_PENDING] = STATUS(ACTIVATING) | STATUS(RUNNING) | ENDING,
    [TASK_RECORD_TASK_STATUS_ACTIVATING] = STATUS(RUNNING) | STATUS(DEACTIVATING) | ENDING,
    [TASK_RECORD_TASK_STATUS_RUNNING] = STATUS(DEACTIVATING) | ENDING,
    [TASK_RECORD_TASK_STATUS_DEACTIVATING] = ENDING,
    [TASK_RECORD_TASK_STATUS_STOPPING] = STATUS(DEPROVISIONING) | STATUS(STOPPED),
    [TASK_RECORD_TASK_STATUS_DEPROVISIONING] = STATUS(STOPPED),
    [TASK_RECORD_TASK_STATUS_STOPPED] = 0,
};

bool task_may_move(enum task_record_task_status from, enum task_record_task_status to)
{
    ASSERT(from >= TASK_RECORD_TASK_STATUS_PROVISIONING);
    ASSERT((size_t)from < ARRAY_LEN(moves));
    ASSERT(to >= TASK_RECORD_TASK_STATUS_PROVISIONING);
    bool stale = to == TASK_RECORD_TASK_STATUS_PENDING && MUTANT("accept-stale-report");
    return stale || (moves[from] & (1u << to)) != 0;
}

void task_move(struct task_record_task *record, enum task_record_task_status status)
{
    ASSERT(task_may_move(record->last_status, status));
    record->last_status = status;
    record->version++;
}

// ---- changing records ---------------------------------------------------------------------

// Now, but never before what the record tells already: the wall clock may have been set back while
// the server was down.
static int64_t now_of(const struct core_call *call, const struct task_record_task *record)
{
    int64_t told_ms = MAX(record->created_at, record->started_at);
    return MAX(call->now_ms, MAX(told_ms, record->stopping_at));
}

struct task_record_task *task_edit(struct core_call *call, int64_t key)
{
    struct task_record_task *record = core_edit(call, &task_kind, key);
    size_t count = record->containers.count;
    struct task_record_container *containers = NULL;
    if (count > 0) {
        containers = arena_array(call->arena, count, sizeof(*containers));
        memcpy(containers, record->containers.items, count * sizeof(*containers));
        record->containers.items = containers;
    }
    struct task_record_task_extra *extra = ARENA_NEW(call->arena, struct task_record_task_extra);
    if (record->extra != NULL) {
        *extra = *record->extra;
    }
    record->extra = extra;
    return record;
}

void task_put(struct core_call *call, int64_t key, const struct task_record_task *record)
{
    const struct task_record_task *before = core_get(call->core, &task_kind, key);
    bool tell = before == NULL || before->version != record->version;
    core_put(call, &task_kind, key, record);
    if (record->has_deployment) {
        service_task_put(call, key, before, record);
    } else if (record->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        service_hook_task_ended(call, key);
    }
    if (tell) {
        struct arena *own = core_effect_begin(call);
        struct ecs_task *shown = ARENA_NEW(call->arena, struct ecs_task);
        task_show(call, key, core_get(call->core, &task_kind, key),
                  TASK_SHOW_TAGS | TASK_SHOW_EVENT, shown);
        core_effect_lend(call, CORE_EFFECT_EVENT, shown->task_arn, "ECS Task State Change",
                         &ecs_task_shape, shown);
        core_effect_end(call, own);
    }
    if (record->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        service_node_task_ended(call, record->node);
        task_waiting_look(call, task_node(task_state(call->core), record->node));
        core_work(call, &task_managers[TASK_MANAGER_REAP], 1);
    }
}

// Nothing of a task runs any more, and it holds no interface.
static void end(const struct core_call *call, struct task_record_task *record)
{
    for (size_t i = 0; i < record->containers.count; i++) {
        record->containers.items[i].status = TASK_RECORD_TASK_STATUS_STOPPED;
    }
    record->stopped_at = now_of(call, record);
    task_move(record, TASK_RECORD_TASK_STATUS_STOPPED);
}

void task_want_stopped(struct core_call *call, struct task_record_task *record,
                       enum ecs_task_stop_code code, struct text reason)
{
    if (record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        return;
    }
    record->desired_status = TASK_RECORD_TASK_STATUS_STOPPED;
    record->stop_code = code;
    record->extra->stopped_reason = text_slice(reason, 0, TASK_REASON_MAX);
    record->stopping_at = now_of(call, record);
    record->version++;
    if (record->node == 0) {
        // No host has it, so none will report its end.
        end(call, record);
    }
}

void task_finish(struct core_call *call, int64_t key, struct task_record_task *record)
{
    ASSERT(record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED);
    for (size_t i = 0; i < record->containers.count; i++) {
        record->containers.items[i].status = TASK_RECORD_TASK_STATUS_STOPPED;
    }
    if (record->execution_stopped_at == 0 && record->started_at != 0) {
        record->execution_stopped_at = now_of(call, record);
    }
    if (record->has_eni) {
        record->eni_status = TASK_RECORD_ENI_STATUS_DETACHED;
        task_move(record, TASK_RECORD_TASK_STATUS_DEPROVISIONING);
        core_work(call, &task_managers[TASK_MANAGER_FINISH], key);
        return;
    }
    record->stopped_at = now_of(call, record);
    task_move(record, TASK_RECORD_TASK_STATUS_STOPPED);
}

// Delete the interface, remembering what is shown of it, and make the last move.
static void give_back(struct core_call *call, struct task_record_task *record)
{
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    if (record->has_eni) {
        struct session_eni spec;
        vpc_eni_spec(call, record->eni, ecs_scope(call->core, cluster->realm).region, &spec);
        struct task_record_past_eni *past = ARENA_NEW(call->arena, struct task_record_past_eni);
        past->eni_id = spec.eni_id;
        past->mac_address = spec.mac_address;
        past->address = spec.address;
        record->extra->past_eni = past;
        vpc_eni_delete(call, record->eni);
        record->has_eni = false;
        record->eni = 0;
        record->eni_status = TASK_RECORD_ENI_STATUS_DELETED;
    }
    record->stopped_at = now_of(call, record);
    task_move(record, TASK_RECORD_TASK_STATUS_STOPPED);
}

void task_finish_work(struct core_call *call, void *state, int64_t key)
{
    (void)state;
    const struct task_record_task *stored = core_get(call->core, &task_kind, key);
    if (stored == NULL || stored->last_status != TASK_RECORD_TASK_STATUS_DEPROVISIONING) {
        return;
    }
    struct task_record_task *record = task_edit(call, key);
    give_back(call, record);
    task_put(call, key, record);
}

// ---- letting go ---------------------------------------------------------------------------

// A node that was removed is kept for as long as its stopped tasks are shown.
static void release_node(struct core_call *call, const struct task_state *state, int64_t key)
{
    const struct task_node *node = task_node(state, key);
    if (node != NULL && (node->removed || node->retired) && node->entry_count == 0) {
        core_delete(call, &task_node_kind, key);
    }
}

void task_reap_work(struct core_call *call, void *pointer, int64_t key)
{
    struct task_state *state = pointer;
    const struct core_manager *reaper = &task_managers[TASK_MANAGER_REAP];
    struct index_key all = {.size = 0};
    struct index_cursor cursor;
    index_walk(state->stopped, &all, false, &cursor);
    for (size_t i = 0; i < REAP_STEP; i++) {
        int64_t task = index_step(&cursor);
        if (task == 0) {
            return;
        }
        const struct task_record_task *record = core_get(call->core, &task_kind, task);
        int64_t due_ms = record->stopped_at + (MUTANT("reap-early") ? 0 : state->retention_ms);
        if (due_ms > call->now_ms && index_count(state->stopped) <= TASK_STOPPED_MAX) {
            core_timer(call, reaper, key, due_ms);
            return;
        }
        int64_t node = record->node;
        core_delete(call, &task_kind, task);
        release_node(call, state, node);
    }
    core_work(call, reaper, key);
}

// Nobody can tell any more how a task ends: it counts as stopped, without exit codes.
static void count_ended(struct core_call *call, int64_t key, struct task_record_task *task,
                        struct text reason)
{
    for (size_t i = 0; i < task->containers.count; i++) {
        struct task_record_container *container = &task->containers.items[i];
        if (container->status != TASK_RECORD_TASK_STATUS_STOPPED) {
            container->status = TASK_RECORD_TASK_STATUS_STOPPED;
            container->reason = reason;
        }
    }
    give_back(call, task);
    task_put(call, key, task);
}

void task_remove_work(struct core_call *call, void *pointer, int64_t key)
{
    struct task_state *state = pointer;
    struct task_node *node = task_node(state, key);
    if (node == NULL || !node->removed) {
        return;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, key);
    size_t done = 0;
    struct task_entry *next = NULL;
    for (struct task_entry *entry = node->first; entry != NULL && done < REMOVE_STEP;
         entry = next) {
        next = entry->next;
        if (!entry->holds) {
            continue;
        }
        struct task_record_task *task = task_edit(call, entry->key);
        task_want_stopped(call, task, ECS_TASK_STOP_CODE_TERMINATION_NOTICE,
                          record->removed_reason);
        count_ended(call, entry->key, task, record->removed_reason);
        done++;
    }
    if (node->task_count > 0) {
        core_work(call, &task_managers[TASK_MANAGER_REMOVE], key);
    } else {
        release_node(call, state, key);
    }
}

// Let a deregistered instance of a stock agent go, or look again when its time has come.
static void release_retired(struct core_call *call, const struct task_state *state,
                            const struct task_node *node)
{
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    int64_t due_ms = record->memberships.items[0].deregistered_at + TASK_INSTANCE_KEPT_MS;
    if (due_ms > call->now_ms) {
        core_timer(call, &task_managers[TASK_MANAGER_EMPTY], node->key, due_ms);
        return;
    }
    release_node(call, state, node->key);
}

// The next task in a list that its deregistered instance must let go of.
static struct task_entry *next_to_empty(const struct core *core, struct task_entry *entry,
                                        bool live)
{
    for (; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
        const struct task_record_membership *membership = task_membership(node, task);
        bool asked = task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
        if (entry->holds && membership->deregistered_at != 0 && !(live && asked)) {
            return entry;
        }
    }
    return NULL;
}

// A host in contact is told to stop the tasks and reports how they end. Of others nothing will be
// heard: their tasks count as stopped; should one come back, it is told to stop what it runs.
void task_empty_work(struct core_call *call, void *pointer, int64_t key)
{
    struct task_state *state = pointer;
    struct task_node *node = task_node(state, key);
    if (node == NULL || node->removed) {
        return;
    }
    const struct text reason = TEXT("Container instance deregistration forced by user");
    bool live = task_node_live(node);
    struct task_entry *asked[REMOVE_STEP];
    size_t done = 0;
    struct task_entry *entry = next_to_empty(call->core, node->first, live);
    while (entry != NULL && done < REMOVE_STEP) {
        struct task_entry *next = next_to_empty(call->core, entry->next, live);
        struct task_record_task *task = task_edit(call, entry->key);
        task_want_stopped(call, task, ECS_TASK_STOP_CODE_USER_INITIATED, reason);
        if (live) {
            task_put(call, entry->key, task);
        } else {
            count_ended(call, entry->key, task, reason);
        }
        asked[done] = entry;
        done++;
        entry = next;
    }
    if (live) {
        task_send(call, node, asked, done);
    }
    if (entry != NULL) {
        core_work(call, &task_managers[TASK_MANAGER_EMPTY], key);
    } else if (node->retired) {
        release_retired(call, state, node);
    }
}

// ---- StopTask -----------------------------------------------------------------------------

int task_stop_task(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_stop_task_request *request = input;
    struct ecs_stop_task_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    if (text_empty(request->task)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception, "Task cannot be empty.");
    }
    struct task_entry *entry = task_find(call->core, cluster, request->task);
    if (entry == NULL) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The referenced task was not found.");
    }
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    if (record->desired_status != TASK_RECORD_TASK_STATUS_STOPPED) {
        struct task_record_task *edit = task_edit(call, entry->key);
        task_want_stopped(call, edit, ECS_TASK_STOP_CODE_USER_INITIATED,
                          text_empty(request->reason) ? TEXT("Task stopped by user")
                                                      : request->reason);
        task_put(call, entry->key, edit);
        task_send(call, entry->node, &entry, MUTANT("lose-stop") ? 0 : 1);
        record = edit;
    }
    response->task = ARENA_NEW(call->arena, struct ecs_task);
    task_show(call, entry->key, record, TASK_SHOW_TAGS, response->task);
    return 0;
}
