#include "ecs/service_internal.h"

// A task that may be stopped, and how soon: by class, then by what its class goes by.
struct candidate {
    const struct service_task *task;
    int class;
    bool serving;
    bool healthy;
    bool taken;
    struct text zone;
};

// Tasks of the primary deployment that stay, by zone and by node: scaling in evens them out.
struct spread {
    struct candidate *candidates;
    size_t count;
};

static struct text zone_of(struct core_call *call, const struct service_task *task)
{
    const struct task_entry *entry = task_entry(task_state(call->core), task->key);
    return entry == NULL || entry->zone == NULL ? (struct text){0} : entry->zone->name;
}

static size_t in_zone(const struct spread *spread, struct text zone)
{
    size_t count = 0;
    for (size_t i = 0; i < spread->count; i++) {
        count += !spread->candidates[i].taken && text_equal(spread->candidates[i].zone, zone);
    }
    return count;
}

static size_t on_node(const struct spread *spread, int64_t node)
{
    size_t count = 0;
    for (size_t i = 0; i < spread->count; i++) {
        count += !spread->candidates[i].taken && spread->candidates[i].task->node == node;
    }
    return count;
}

// Whether a surplus task goes before another one of its class: it is where more of them are; among
// equals the newer one goes, which has done the least yet.
static bool sooner_of_surplus(const struct spread *spread, const struct candidate *a,
                              const struct candidate *b)
{
    if (!text_equal(a->zone, b->zone)) {
        size_t of_a = in_zone(spread, a->zone);
        size_t of_b = in_zone(spread, b->zone);
        if (of_a != of_b) {
            return of_a > of_b;
        }
    }
    if (a->task->node != b->task->node) {
        size_t of_a = on_node(spread, a->task->node);
        size_t of_b = on_node(spread, b->task->node);
        if (of_a != of_b) {
            return of_a > of_b;
        }
    }
    return a->task->key > b->task->key;
}

static bool sooner(const struct spread *spread, enum service_pick pick, const struct candidate *a,
                   const struct candidate *b)
{
    if (a->class != b->class) {
        return a->class < b->class;
    }
    return pick == SERVICE_PICK_SURPLUS ? sooner_of_surplus(spread, a, b)
                                        : a->task->key < b->task->key;
}

// The class of a task for a pick: smaller ones are stopped first; -1: never.
static int class_of(enum service_pick pick, bool primary, enum service_place place, bool leaving,
                    bool lost)
{
    bool ending = place == SERVICE_PLACE_ENDING;
    switch (pick) {
    case SERVICE_PICK_OLD:
        return primary || ending                  ? -1
               : place == SERVICE_PLACE_UNHEALTHY ? 0
               : place == SERVICE_PLACE_PENDING   ? 1
               : leaving                          ? 2
                                                  : 3;
    case SERVICE_PICK_LEAVING:
        return !primary || ending || !leaving ? -1 : place == SERVICE_PLACE_PENDING ? 0 : 1;
    case SERVICE_PICK_UNHEALTHY:
        return primary && place == SERVICE_PLACE_UNHEALTHY ? 0 : -1;
    case SERVICE_PICK_SURPLUS:
        return !primary || ending                 ? -1
               : place == SERVICE_PLACE_PENDING   ? 0
               : place == SERVICE_PLACE_UNHEALTHY ? 1
               : leaving                          ? 2
               : place == SERVICE_PLACE_SETTLING  ? 3
                                                  : 4;
    case SERVICE_PICK_LOST:
        return lost ? 0 : -1;
    case SERVICE_PICK_ANY:
        return !ending || lost ? 0 : -1;
    }
    return -1;
}

static struct service_standing *standing_of(const struct service_survey *survey, int64_t deployment)
{
    size_t place = 0;
    while (survey->standings[place].key != deployment) {
        place++;
    }
    return &survey->standings[place];
}

static void find(struct core_call *call, const struct service_survey *survey,
                 enum service_pick pick, struct spread *out_spread)
{
    const struct service_entry *entry = survey->entry;
    out_spread->candidates =
        arena_array(call->arena, entry->task_count, sizeof(*out_spread->candidates));
    out_spread->count = 0;
    for (size_t i = 0; i < entry->task_count; i++) {
        const struct service_task *task = &entry->tasks[i];
        if (task->key == 0 || task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED) {
            continue;
        }
        const struct service_standing *standing = standing_of(survey, task->deployment);
        bool leaving = false;
        enum service_place place = service_judge(call, survey, standing, task, &leaving);
        bool lost = place == SERVICE_PLACE_ENDING; // it is to run, so this is its node's doing
        int class = class_of(pick, standing == survey->primary, place, leaving, lost);
        bool protected = task->protected_ms > call->now_ms && pick != SERVICE_PICK_ANY &&
                         pick != SERVICE_PICK_UNHEALTHY && pick != SERVICE_PICK_LOST;
        if (class >= 0 && !protected) {
            out_spread->candidates[out_spread->count] = (struct candidate){
                .task = task,
                .class = class,
                .serving = place == SERVICE_PLACE_HEALTHY || place == SERVICE_PLACE_SETTLING,
                .healthy = place == SERVICE_PLACE_HEALTHY,
                .zone = pick == SERVICE_PICK_SURPLUS ? zone_of(call, task) : (struct text){0},
            };
            out_spread->count++;
        }
    }
}

static void stop_one(struct core_call *call, int64_t key, struct text reason)
{
    struct task_record_task *record = task_edit(call, key);
    task_want_stopped(call, record, ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED, reason);
    task_put(call, key, record);
    struct task_entry *entry = task_entry(task_state(call->core), key);
    task_send(call, entry->node, &entry, 1);
}

static void tell_stopped(struct core_call *call, const struct service_survey *survey,
                         struct buf *running, size_t running_count, size_t pending_count,
                         struct text reason)
{
    if (running_count + pending_count > 0) {
        const struct event_service_action action = {
            .event_name = EVENT_SERVICE_EVENT_NAME_TASKS_STOPPED,
            .reason = reason,
        };
        service_event_action(call, survey->entry->key, &action);
    }
    if (running_count > 0) {
        service_tell(call, survey->entry->key, "has stopped %zu running tasks:%.*s.", running_count,
                     TEXT_FMT(buf_view(running)));
    }
    if (pending_count > 0) {
        service_tell(call, survey->entry->key, "stopped %zu pending tasks.", pending_count);
    }
}

size_t service_stop(struct core_call *call, struct service_survey *survey, enum service_pick pick,
                    struct service_pick_limit limit, struct text reason)
{
    struct spread spread;
    find(call, survey, pick, &spread);
    AUTO(buf_deinit) struct buf running = {0};
    size_t running_count = 0;
    size_t stopped = 0;
    size_t serving = 0;
    size_t healthy = 0;
    size_t most = MIN(limit.count, (size_t)SERVICE_STOP_STEP);
    while (stopped < most) {
        struct candidate *best = NULL;
        for (size_t i = 0; i < spread.count; i++) {
            struct candidate *candidate = &spread.candidates[i];
            bool allowed = !candidate->taken && (!candidate->serving || serving < limit.serving) &&
                           (!candidate->healthy || healthy < limit.healthy);
            if (allowed && (best == NULL || sooner(&spread, pick, candidate, best))) {
                best = candidate;
            }
        }
        if (best == NULL) {
            break;
        }
        best->taken = true;
        serving += best->serving;
        healthy += best->healthy;
        stopped++;
        bool was_running = best->task->last_status >= TASK_RECORD_TASK_STATUS_RUNNING;
        const struct task_record_task *record = core_get(call->core, &task_kind, best->task->key);
        if (was_running) {
            buf_format(&running, " (task %.*s)", TEXT_FMT(record->task_id));
            running_count++;
        }
        stop_one(call, best->task->key, reason);
    }
    tell_stopped(call, survey, &running, running_count, stopped - running_count, reason);
    return stopped;
}
