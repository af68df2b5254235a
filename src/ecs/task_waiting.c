#include "ecs/scaling.h"
#include "ecs/task_run.h"

#include "shape/cbor.h"

/*
 * Tasks that wait in PROVISIONING for a place.
 *
 * A capacity provider with managed scaling has an Auto Scaling group that grows when it must, so a
 * task for which it has no room is made all the same, without a node. Whenever an instance comes or
 * has room, what waits looks again, the oldest first; what waits too long stops with the reason
 * that stands against it then.
 */

#define WAITING_STEP 15        // tasks placed or stopped in one step: each is a few records
#define WAITING_REFUSED_MAX 64 // kinds of tasks that found no place in one step
#define WAITING_AGAIN_MS                                                                           \
    30000 // for what no change of a node tells, such as an address that is free
#define WAITING_PREFIX "TaskFailedToStart: "

bool task_waits(const struct task_record_task *record)
{
    return record->node == 0 && record->last_status == TASK_RECORD_TASK_STATUS_PROVISIONING;
}

// ---- what was asked for -------------------------------------------------------------------

// The request of a task that waits, as far as its place depends on it. @return 0 or ERR_FAULT
static int read_waiting(struct core_call *call, const struct task_record_task *record,
                        struct task_run *out_run)
{
    const struct task_record_task_extra *extra = record->extra;
    struct ecs_capacity_provider_strategy_item *item =
        ARENA_NEW(call->arena, struct ecs_capacity_provider_strategy_item);
    item->capacity_provider = extra->capacity_provider;
    item->has_weight = true;
    item->weight = 1;
    struct ecs_run_task_request *request = ARENA_NEW(call->arena, struct ecs_run_task_request);
    *request = (struct ecs_run_task_request){
        .capacity_provider_strategy = {item, 1},
        .group = extra->group,
        .network_configuration = extra->placement->network,
        .overrides = extra->overrides,
        .placement_constraints = {extra->placement->constraints.items,
                                  extra->placement->constraints.count},
        .placement_strategy = {extra->placement->strategy.items, extra->placement->strategy.count},
        .started_by = record->started_by,
    };
    *out_run = (struct task_run){
        .request = request,
        .cluster = record->cluster,
        .cluster_record = core_get(call->core, &ecs_cluster_kind, record->cluster),
        .definition_key = record->definition,
        .deployment = record->deployment,
        .count = 1,
    };
    int rc = task_run_read(call, out_run);
    if (rc == 0) {
        task_run_group(call, out_run);
        out_run->spread = record->deployment == 0
                              ? NULL
                              : service_spread(call, record->deployment, out_run->group);
    }
    return rc;
}

// Tasks with the same number find a place, or none, for the same reasons.
static uint64_t kind_of(const struct task_record_task *record)
{
    const struct task_record_task_extra likeness = {
        .capacity_provider = record->extra->capacity_provider,
        .overrides = record->extra->overrides,
        .group = record->extra->group,
        .placement = record->extra->placement,
    };
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(&task_record_task_extra_shape, &likeness, 1, NULL, &bytes);
    buf_format(&bytes, "%lld %lld", (long long)record->definition, (long long)record->deployment);
    return text_hash(buf_view(&bytes));
}

// ---- what becomes of it -------------------------------------------------------------------

static void place(struct core_call *call, int64_t key, const struct task_run *run,
                  const struct task_spot *spot)
{
    struct task_record_task *record = task_edit(call, key);
    record->extra->placement = NULL;
    record->extra->placed_at = task_run_placed_at(call, run, spot);
    task_run_settle(call, run, spot, key, record);
    if (run->awsvpc) {
        record->version++; // PROVISIONING goes on until its interface is there
    } else {
        task_move(record, TASK_RECORD_TASK_STATUS_PENDING);
    }
    task_put(call, key, record);
    task_run_send(call, &key, 1);
}

static void give_up(struct core_call *call, int64_t key, struct text reason)
{
    struct task_record_task *record = task_edit(call, key);
    record->extra->placement = NULL;
    task_want_stopped(call, record, ECS_TASK_STOP_CODE_TASK_FAILED_TO_START, reason);
    task_put(call, key, record);
}

// What stands against a task: of its group, or of the instance that comes closest to it, which is
// one that only lacks room.
static struct text refusal(struct core_call *call, const struct task_run *run)
{
    const char *group = task_run_group_refusal(call, run);
    if (group != NULL) {
        return arena_format(call->arena, WAITING_PREFIX "%s", group);
    }
    struct task_spots spots = {0};
    struct ecs_failure_list failures = {0};
    task_spots_find(call, run, true, &spots);
    task_spots_explain(call, run, &spots, &failures);
    ASSERT(failures.count > 0); // an instance without any would have taken it
    struct text reason = failures.items[0].reason;
    for (size_t i = 0; i < failures.count; i++) {
        if (text_starts(failures.items[i].reason, TEXT("RESOURCE:"))) {
            reason = failures.items[i].reason;
            break;
        }
    }
    return arena_format(call->arena, WAITING_PREFIX "%.*s", TEXT_FMT(reason));
}

struct step {
    uint64_t refused[WAITING_REFUSED_MAX];
    size_t refused_count;
    int64_t due_ms;
};

static bool was_refused(const struct step *step, uint64_t kind)
{
    for (size_t i = 0; i < step->refused_count; i++) {
        if (step->refused[i] == kind) {
            return true;
        }
    }
    return false;
}

// @return whether something was put
static bool look(struct core_call *call, struct step *step, int64_t key)
{
    const struct task_record_task *record = core_get(call->core, &task_kind, key);
    int64_t until_ms = record->created_at + task_state(call->core)->waiting_ms;
    uint64_t kind = kind_of(record);
    bool late = call->now_ms >= until_ms;
    if (!late) {
        step->due_ms = MIN(step->due_ms, until_ms);
    }
    if (!late && was_refused(step, kind)) {
        return false;
    }
    struct task_run run;
    if (read_waiting(call, record, &run) != 0) {
        // It was fine once; what it names is gone, such as a subnet.
        give_up(call, key, arena_format(call->arena, WAITING_PREFIX "%s", call->fault_text));
        call->fault = NULL;
        call->fault_text[0] = '\0';
        return true;
    }
    struct task_spot *spot = NULL;
    if (run.group != NULL) {
        struct task_spots spots = {0};
        task_spots_find(call, &run, true, &spots);
        spot = task_spots_choose(call, &run, &spots);
    }
    if (spot != NULL) {
        place(call, key, &run, spot);
        return true;
    }
    if (late) {
        give_up(call, key, refusal(call, &run));
        return true;
    }
    if (step->refused_count < WAITING_REFUSED_MAX) {
        step->refused[step->refused_count] = kind;
        step->refused_count++;
    }
    return false;
}

void task_waiting_work(struct core_call *call, void *pointer, int64_t key)
{
    const struct task_state *state = pointer;
    const struct core_manager *manager = &task_managers[TASK_MANAGER_WAITING];
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)key);
    // Those that wait are listed before any of them leaves the list.
    int64_t *keys = arena_array(call->arena, TASK_WAITING_MAX, sizeof(*keys));
    size_t count = 0;
    struct index_cursor cursor;
    index_walk(state->unplaced_by_cluster, &prefix, false, &cursor);
    for (int64_t task = index_step(&cursor); task != 0 && count < TASK_WAITING_MAX;
         task = index_step(&cursor)) {
        keys[count] = task;
        count++;
    }
    struct step step = {.due_ms = call->now_ms + WAITING_AGAIN_MS};
    size_t done = 0;
    for (size_t i = 0; i < count && done < WAITING_STEP; i++) {
        done += look(call, &step, keys[i]) ? 1 : 0;
    }
    if (done == WAITING_STEP) {
        core_work(call, manager, key); // the rest in a step of its own
    }
    core_timer(call, manager, key, count == 0 ? 0 : step.due_ms);
}

void task_waiting_look(struct core_call *call, const struct task_node *node)
{
    scaling_node_changed(call, node);
    const struct task_state *state = task_state(call->core);
    for (size_t i = 0; node != NULL && i < node->cluster_count; i++) {
        const struct task_group *group = task_group(state, node->clusters[i]);
        if (group != NULL && group->waiting_count > 0) {
            core_work(call, &task_managers[TASK_MANAGER_WAITING], node->clusters[i]);
        }
    }
}

void task_waiting_recover(struct core_call *call, struct task_state *state)
{
    for (const struct task_entry *entry = state->nowhere->first; entry != NULL;
         entry = entry->next) {
        const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
        if (task_waits(record)) {
            core_work(call, &task_managers[TASK_MANAGER_WAITING], record->cluster);
        }
    }
}

void task_set_waiting_ms(struct core *core, int64_t waiting_ms)
{
    ASSERT(waiting_ms > 0);
    task_state(core)->waiting_ms = waiting_ms;
}
