#include "ecs/service_internal.h"

#include <stdlib.h>

#define SURPLUS_RUNNING 3 // classes of SERVICE_PICK_SURPLUS from here on: healthy, or soon to be

// A task that may be stopped, and how soon: by class, then by what its class goes by.
struct candidate {
    const struct service_task *task;
    int class;
    bool serving;
    bool healthy;
    bool taken;
    uint32_t *in_zone; ///< how many candidates that are not taken are in its zone; for a surplus
    uint32_t *on_node; ///< the same of its node
    int64_t *excess;   ///< tasks of its provider beyond the share of it; NULL without a strategy
};

struct spread {
    struct candidate *candidates;
    size_t count;
};

// ---- the order ------------------------------------------------------------------------------

// Whether a surplus task goes before another one of its class: it is where more of them are, which
// evens out zones and nodes; among equals the newer one goes, which has done the least yet.
static bool sooner_of_surplus(const struct candidate *a, const struct candidate *b)
{
    // Of tasks that run, the ratio of the strategy comes before how long they have run.
    bool both_run = a->class >= SURPLUS_RUNNING && b->class >= SURPLUS_RUNNING;
    if (a->class != b->class && !both_run) {
        return a->class < b->class;
    }
    if (a->excess != NULL && *a->excess != *b->excess) {
        return *a->excess > *b->excess;
    }
    if (a->class != b->class) {
        return a->class < b->class;
    }
    if (*a->in_zone != *b->in_zone) {
        return *a->in_zone > *b->in_zone;
    }
    if (*a->on_node != *b->on_node) {
        return *a->on_node > *b->on_node;
    }
    return a->task->key > b->task->key;
}

static int compare(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;
    if (a->class != b->class) {
        return a->class < b->class ? -1 : 1;
    }
    return a->task->key < b->task->key ? -1 : a->task->key > b->task->key;
}

// A count that all candidates with the same place share.
static uint32_t *shared_count(struct core_call *call, struct map *counts, uint64_t place)
{
    uint32_t *count = map_get_u64(counts, place);
    if (count == NULL) {
        count = ARENA_NEW(call->arena, uint32_t);
        map_put_u64(counts, place, count);
    }
    (*count)++;
    return count;
}

static void count_places(struct core_call *call, struct spread *spread)
{
    AUTO(map_deinit) struct map zones = {0};
    AUTO(map_deinit) struct map nodes = {0};
    for (size_t i = 0; i < spread->count; i++) {
        struct candidate *candidate = &spread->candidates[i];
        // By name: a zone of one pool is the same place in the other.
        candidate->in_zone = shared_count(call, &zones, text_hash(candidate->task->zone->name));
        candidate->on_node = shared_count(call, &nodes, (uint64_t)candidate->task->node);
    }
}

// What each provider has beyond its share of the desired count; all, of one that the strategy left.
static void count_excess(struct core_call *call, const struct service_survey *survey,
                         struct spread *spread)
{
    const struct service_standing *primary = survey->primary;
    size_t count = primary == NULL ? 0 : primary->revision->capacity_provider_strategy.count;
    if (count == 0) {
        return;
    }
    struct capacity_item items[CAPACITY_ITEMS_MAX];
    size_t shares[CAPACITY_ITEMS_MAX];
    service_capacity_items(call, survey, primary, items);
    capacity_split(items, count, (size_t)survey->record->desired_count, shares);
    int64_t *excess = arena_array(call->arena, UINT8_MAX + 1, sizeof(*excess));
    for (size_t i = 0; i < spread->count; i++) {
        spread->candidates[i].excess = &excess[spread->candidates[i].task->provider];
        (*spread->candidates[i].excess)++;
    }
    for (size_t i = 0; i < count; i++) {
        struct text name = primary->revision->capacity_provider_strategy.items[i].capacity_provider;
        uint8_t number = service_provider_number(service_state(call->core), name);
        if (number != 0) {
            excess[number] = items[i].tasks - (int64_t)shares[i];
        }
    }
}

// ---- which may be stopped -------------------------------------------------------------------

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
               : place == SERVICE_PLACE_SETTLING  ? SURPLUS_RUNNING
                                                  : SURPLUS_RUNNING + 1;
    case SERVICE_PICK_LOST:
        return lost ? 0 : -1;
    case SERVICE_PICK_ANY:
        return !ending || lost ? 0 : -1;
    }
    return -1;
}

struct service_standing *service_standing_of(const struct service_survey *survey,
                                             int64_t deployment)
{
    size_t place = 0;
    while (survey->standings[place].key != deployment) {
        place++;
    }
    return &survey->standings[place];
}

static void find(struct core_call *call, const struct service_survey *survey,
                 enum service_pick pick, struct text zone, struct spread *out_spread)
{
    const struct service_entry *entry = survey->entry;
    out_spread->candidates =
        arena_array(call->arena, entry->task_count, sizeof(*out_spread->candidates));
    out_spread->count = 0;
    for (size_t i = 0; i < entry->task_count; i++) {
        const struct service_task *task = &entry->tasks[i];
        if (task->key == 0 || task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED ||
            (!text_empty(zone) && !text_equal(zone, task->zone->name))) {
            continue;
        }
        const struct service_standing *standing = service_standing_of(survey, task->deployment);
        bool leaving = false;
        enum service_place place = service_judge(call, survey, standing, task, &leaving);
        bool lost = place == SERVICE_PLACE_ENDING; // it is to run, so this is its node's doing
        // Nobody stands in for a task of another task set.
        if (pick == SERVICE_PICK_LOST && standing->record->task_set &&
            standing != survey->primary) {
            continue;
        }
        int class = class_of(pick, standing == survey->primary, place, leaving, lost);
        bool protected = task->protected_ms > call->now_ms && pick != SERVICE_PICK_ANY &&
                         pick != SERVICE_PICK_UNHEALTHY && pick != SERVICE_PICK_LOST;
        if (class >= 0 && (!protected || MUTANT("stop-protected"))) {
            out_spread->candidates[out_spread->count] = (struct candidate){
                .task = task,
                .class = class,
                .serving = place == SERVICE_PLACE_HEALTHY || place == SERVICE_PLACE_SETTLING,
                .healthy = place == SERVICE_PLACE_HEALTHY,
            };
            out_spread->count++;
        }
    }
}

// ---- stopping -------------------------------------------------------------------------------

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
    if (running_count > 0 && survey->move != NULL) {
        service_tell(call, survey->entry->key,
                     "has stopped %zu running tasks in %.*s due to AZ rebalancing:%.*s.",
                     running_count, TEXT_FMT(survey->move->zone), TEXT_FMT(buf_view(running)));
    } else if (running_count > 0) {
        service_tell(call, survey->entry->key, "has stopped %zu running tasks:%.*s.", running_count,
                     TEXT_FMT(buf_view(running)));
    }
    if (pending_count > 0) {
        service_tell(call, survey->entry->key, "stopped %zu pending tasks.", pending_count);
    }
}

// Whether the limits leave room for a candidate; they only ever shrink.
static bool allowed(const struct candidate *candidate, const struct service_pick_limit *limit)
{
    return !candidate->taken && (!candidate->serving || limit->serving > 0) &&
           (!candidate->healthy || limit->healthy > 0);
}

static void take(struct candidate *candidate, struct service_pick_limit *limit)
{
    candidate->taken = true;
    limit->serving -= candidate->serving;
    limit->healthy -= candidate->healthy;
    if (candidate->in_zone != NULL) {
        (*candidate->in_zone)--;
        (*candidate->on_node)--;
    }
    if (candidate->excess != NULL) {
        (*candidate->excess)--;
    }
}

static struct candidate *best_surplus(const struct spread *spread,
                                      const struct service_pick_limit *limit)
{
    struct candidate *best = NULL;
    for (size_t i = 0; i < spread->count; i++) {
        struct candidate *candidate = &spread->candidates[i];
        if (allowed(candidate, limit) && (best == NULL || sooner_of_surplus(candidate, best))) {
            best = candidate;
        }
    }
    return best;
}

size_t service_stop(struct core_call *call, struct service_survey *survey, enum service_pick pick,
                    struct service_pick_limit limit, struct text reason)
{
    struct spread spread;
    find(call, survey, pick, limit.zone, &spread);
    bool surplus = pick == SERVICE_PICK_SURPLUS;
    if (surplus) {
        count_places(call, &spread);
        count_excess(call, survey, &spread);
    } else if (spread.count > 1) {
        qsort(spread.candidates, spread.count, sizeof(*spread.candidates), compare);
    }
    AUTO(buf_deinit) struct buf running = {0};
    size_t running_count = 0;
    size_t stopped = 0;
    size_t most = MIN(limit.count, (size_t)SERVICE_STOP_STEP);
    for (size_t next = 0; stopped < most;) {
        struct candidate *best = surplus ? best_surplus(&spread, &limit) : NULL;
        while (!surplus && best == NULL && next < spread.count) {
            best = allowed(&spread.candidates[next], &limit) ? &spread.candidates[next] : NULL;
            next++;
        }
        if (best == NULL) {
            break;
        }
        take(best, &limit);
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

size_t service_stop_these(struct core_call *call, struct service_survey *survey,
                          const int64_t *keys, size_t count, struct text reason)
{
    AUTO(buf_deinit) struct buf running = {0};
    size_t running_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct task_record_task *record = core_get(call->core, &task_kind, keys[i]);
        if (record->last_status >= TASK_RECORD_TASK_STATUS_RUNNING) {
            buf_format(&running, " (task %.*s)", TEXT_FMT(record->task_id));
            running_count++;
        }
        stop_one(call, keys[i], reason);
    }
    tell_stopped(call, survey, &running, running_count, count - running_count, reason);
    return count;
}
