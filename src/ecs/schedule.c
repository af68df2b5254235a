#include "ecs/service_internal.h"
#include "ecs/stage.h"

/*
 * The next step of a service. All of it follows from how the service stands now: no step knows the
 * one before, so a step that is lost is done again, and none is done twice.
 *
 * What ECS does not publish of its rolling update (reference, services §2.1) is done so that the
 * service is never hurt: tasks that take part in `minimumHealthyPercent` are stopped only while
 * those that stay and are known to be healthy, together with those that still serve, are enough
 * without them.
 */

// How many tasks a service may fall to and rise to.
struct bounds {
    int32_t desired;
    int32_t lower;
    int32_t upper;
};

static struct bounds bounds_of(const struct service_record_service *record, int64_t desired)
{
    int64_t minimum = record->configuration->minimum_healthy_percent;
    int64_t maximum = record->configuration->maximum_percent;
    return (struct bounds){
        .desired = (int32_t)desired,
        .lower = (int32_t)((desired * minimum + 99) / 100),
        .upper = (int32_t)(desired * maximum / 100),
    };
}

struct text service_scaling_reason(struct core_call *call, const struct service_survey *survey)
{
    struct text id =
        survey->primary == NULL ? TEXT("none") : service_deployment_id(call, survey->primary->key);
    return arena_format(call->arena, "Scaling activity initiated by (deployment %.*s)",
                        TEXT_FMT(id));
}

void service_due(struct service_survey *survey, int64_t at_ms)
{
    if (survey->due_ms == 0 || at_ms < survey->due_ms) {
        survey->due_ms = at_ms;
    }
}

// ---- starting -------------------------------------------------------------------------------

bool service_must_wait(const struct core_call *call, const struct service_standing *standing)
{
    return ecs_must_wait(call, standing->record->retry_at, SERVICE_BACKOFF_MAX_MS);
}

// Start what is missing as far as there is room below the upper bound.
static size_t start_missing(struct core_call *call, struct service_survey *survey, int32_t missing,
                            int32_t room)
{
    struct service_standing *primary = survey->primary;
    int32_t count = MIN(missing, room);
    bool failed = primary->record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    if (count <= 0 || (failed && !MUTANT("start-failed"))) {
        return 0;
    }
    if (service_must_wait(call, primary)) {
        service_due(survey, primary->record->retry_at);
        return 0;
    }
    size_t started = service_launch(call, survey, primary, (size_t)count);
    if (survey->entry->unplaced) {
        service_due(survey, call->now_ms + SERVICE_UNPLACED_MS);
    } else if (started < (size_t)count) {
        service_queue(call, survey->entry->key); // the rest in a step of its own
    }
    return started;
}

// ---- stopping -------------------------------------------------------------------------------

struct others {
    int32_t serving;
    int32_t fit;
    int32_t live;
    int32_t lost;
    int32_t occupying;
};

static struct others others_of(const struct service_survey *survey)
{
    struct others sum = {0};
    for (size_t i = 0; i < survey->count; i++) {
        const struct service_standing *standing = &survey->standings[i];
        if (standing != survey->primary) {
            sum.serving += standing->serving;
            sum.fit += standing->fit;
            sum.live += standing->live;
            sum.lost += standing->lost;
            sum.occupying += standing->occupying;
        }
    }
    return sum;
}

static size_t at_least_0(int32_t number)
{
    return number > 0 ? (size_t)number : 0;
}

// How many that serve may go, for others that replace them.
static struct service_pick_limit limit_of(const struct service_survey *survey,
                                          const struct bounds *bounds, const struct others *others)
{
    const struct service_standing *primary = survey->primary;
    // What serves and goes, what stays and is healthy: together they must not fall below the bound.
    // Nor must those that are healthy now: what merely runs may turn out not to be.
    int32_t going = others->serving + primary->serving - primary->up;
    struct service_pick_limit limit = {
        .count = SIZE_MAX,
        .serving = at_least_0(going + primary->healthy - bounds->lower),
        .healthy = at_least_0(others->fit + primary->fit - bounds->lower),
    };
    if (MUTANT("skip-lower-bound")) {
        limit.serving = SIZE_MAX;
        limit.healthy = SIZE_MAX;
    }
    return limit;
}

// Tasks of older deployments.
static size_t stop_others(struct core_call *call, struct service_survey *survey,
                          const struct bounds *bounds, const struct others *others)
{
    bool failed = survey->primary->record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    return others->live == 0 || failed
               ? 0
               : service_stop(call, survey, SERVICE_PICK_OLD, limit_of(survey, bounds, others),
                              service_scaling_reason(call, survey));
}

// Tasks that others replace: of older deployments, and on instances that drain.
static size_t stop_replaced(struct core_call *call, struct service_survey *survey,
                            const struct bounds *bounds, const struct others *others)
{
    size_t stopped = stop_others(call, survey, bounds, others);
    // The rest goes by a survey that knows what was stopped.
    if (stopped == 0 && survey->primary->live > survey->primary->staying) {
        stopped = service_stop(call, survey, SERVICE_PICK_LEAVING, limit_of(survey, bounds, others),
                               service_scaling_reason(call, survey));
    }
    return stopped;
}

// Unhealthy tasks: when as many healthy ones as are desired are there without them. Where the
// successor of one cannot start beside it, for the bounds or for want of a place, they go one by
// one; but all at once while older deployments carry the service alone.
static size_t stop_unhealthy(struct core_call *call, struct service_survey *survey,
                             const struct bounds *bounds, const struct others *others, int32_t room)
{
    const struct service_standing *primary = survey->primary;
    if (primary->unhealthy == 0) {
        return 0;
    }
    bool replaced = primary->healthy >= bounds->desired;
    bool ending = survey->occupying > primary->live + others->live;
    bool failed = primary->record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    bool carried = others->live > 0 && others->fit >= bounds->lower;
    bool crowded = (room <= 0 || survey->entry->unplaced) && primary->staying < bounds->desired &&
                   (carried || (primary->pending == 0 && !ending)) && !failed;
    if (!replaced && !crowded) {
        return 0;
    }
    struct service_pick_limit limit = {.count = replaced || carried ? SIZE_MAX : 1, .serving = 0};
    return service_stop(call, survey, SERVICE_PICK_UNHEALTHY, limit,
                        TEXT("Task failed container health checks"));
}

static size_t stop_surplus(struct core_call *call, struct service_survey *survey,
                           const struct bounds *bounds)
{
    int32_t surplus = survey->primary->staying - bounds->desired - survey->record->rebalancing;
    if (surplus <= 0) {
        return 0;
    }
    struct service_pick_limit limit = {
        .count = (size_t)surplus, .serving = SIZE_MAX, .healthy = SIZE_MAX};
    size_t stopped = service_stop(call, survey, SERVICE_PICK_SURPLUS, limit,
                                  service_scaling_reason(call, survey));
    int32_t kept = surplus - (int32_t)stopped;
    if (kept > 0 && stopped < SERVICE_STOP_STEP) {
        struct text id = service_deployment_id(call, survey->primary->key);
        service_tell_once(call, survey->entry,
                          "was unable to reach steady state because (taskSet %.*s) was unable to "
                          "scale in due to (reason %d tasks under protection)",
                          TEXT_FMT(id), (int)kept);
    }
    return stopped;
}

// Copies on lost nodes that others stand in for: should the node come back, they stop. One that
// comes back before its successor runs has never ended, and the successor goes.
static size_t stop_lost(struct core_call *call, struct service_survey *survey,
                        const struct bounds *bounds, const struct others *others)
{
    bool replaced = survey->primary->up >= bounds->desired;
    if (survey->primary->lost + others->lost == 0 || !replaced) {
        return 0;
    }
    struct service_pick_limit limit = {.count = SIZE_MAX, .serving = SIZE_MAX, .healthy = SIZE_MAX};
    return service_stop(call, survey, SERVICE_PICK_LOST, limit,
                        TEXT("The host of the task lost contact; the service replaced the task."));
}

// ---- the steps ------------------------------------------------------------------------------

// A deployment that its own bounds forbid to begin: nothing moves, and nothing will.
static void tell_stuck(struct core_call *call, struct service_survey *survey,
                       const struct others *others, int32_t room)
{
    const struct service_standing *primary = survey->primary;
    bool quiet = primary->pending == 0 && primary->up == primary->healthy &&
                 survey->occupying == primary->live + others->live;
    if (quiet && room <= 0 && others->live > 0) {
        service_tell_once(call, survey->entry, SERVICE_STUCK_MESSAGE);
    }
}

// One step of the survey's primary deployment beside others that it replaces.
static size_t move(struct core_call *call, struct service_survey *survey,
                   const struct bounds *bounds, const struct others *others)
{
    int32_t missing = bounds->desired - survey->primary->staying;
    int32_t room = bounds->upper - survey->occupying;
    if (MUTANT("exceed-maximum")) {
        room = missing;
    }
    size_t moved = start_missing(call, survey, missing, room);
    // One kind of step at a time: stopping goes by a survey that knows what was started.
    if (moved == 0) {
        moved += stop_replaced(call, survey, bounds, others);
        moved += stop_unhealthy(call, survey, bounds, others, room);
        moved += stop_surplus(call, survey, bounds);
        moved += stop_lost(call, survey, bounds, others);
        if (moved == 0 && missing > 0) {
            tell_stuck(call, survey, others, room);
        }
    }
    return moved;
}

void service_roll(struct core_call *call, struct service_survey *survey)
{
    struct bounds bounds = bounds_of(survey->record, survey->record->desired_count);
    struct others others = others_of(survey);
    if (move(call, survey, &bounds, &others) > 0) {
        service_queue(call, survey->entry->key);
    }
}

size_t service_keep(struct core_call *call, struct service_survey *survey,
                    struct service_standing *standing, int32_t desired)
{
    struct bounds bounds = bounds_of(survey->record, desired);
    struct service_survey alone = *survey;
    alone.primary = standing;
    alone.occupying = standing->occupying;
    size_t moved = move(call, &alone, &bounds, &(struct others){0});
    survey->due_ms = alone.due_ms;
    return moved;
}

void service_gather(struct core_call *call, struct service_survey *survey,
                    struct service_standing *standing)
{
    struct bounds bounds = bounds_of(survey->record, survey->record->desired_count);
    struct service_survey all = *survey;
    all.primary = standing;
    struct others others = others_of(&all);
    // What others have is no reason for it to have less than its own.
    size_t moved = service_keep(call, survey, standing, bounds.desired);
    if (moved == 0) {
        moved += stop_others(call, &all, &bounds, &others);
        moved += stop_lost(call, &all, &bounds, &others);
    }
    if (moved > 0) {
        service_queue(call, survey->entry->key);
    }
}

// A service that was deleted: stop all, and end when none is left.
static void drain(struct core_call *call, struct service_survey *survey)
{
    struct service_pick_limit limit = {.count = SIZE_MAX, .serving = SIZE_MAX, .healthy = SIZE_MAX};
    size_t stopped =
        service_stop(call, survey, SERVICE_PICK_ANY, limit, service_scaling_reason(call, survey));
    if (stopped > 0) {
        service_queue(call, survey->entry->key);
        return;
    }
    if (service_rollout_tidy(call, survey)) {
        service_queue(call, survey->entry->key);
        return;
    }
    for (size_t i = 0; i < survey->count; i++) {
        if (survey->standings[i].tasks > 0 && !MUTANT("leave-behind")) {
            return; // its end is reported, and queues the service again
        }
    }
    struct service_record_service *record = core_edit(call, &service_kind, survey->entry->key);
    record->status = SERVICE_RECORD_SERVICE_STATUS_INACTIVE;
    record->ended_at = call->now_ms;
    int64_t key = survey->entry->key;
    core_put(call, &service_kind, key, record);
    core_timer(call, &service_managers[SERVICE_MANAGER_SCHEDULE], key, 0);
    core_timer(call, &service_managers[SERVICE_MANAGER_REAP], key,
               call->now_ms + SERVICE_INACTIVE_MS);
}

void service_queue(struct core_call *call, int64_t service)
{
    core_work(call, &service_managers[SERVICE_MANAGER_SCHEDULE], service);
}

void service_schedule_work(struct core_call *call, void *pointer, int64_t key)
{
    struct service_state *state = pointer;
    struct service_entry *entry = service_entry(state, key);
    if (entry == NULL) {
        return;
    }
    service_entry_compact(entry);
    struct service_survey survey;
    service_survey(call, entry, &survey);
    if (survey.record->status == SERVICE_RECORD_SERVICE_STATUS_DRAINING) {
        drain(call, &survey);
        return;
    }
    if (survey.record->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
        service_daemon_work(call, &survey);
        core_timer(call, &service_managers[SERVICE_MANAGER_SCHEDULE], key, survey.due_ms);
        return;
    }
    if (survey.record->controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL) {
        service_task_sets_work(call, &survey);
        core_timer(call, &service_managers[SERVICE_MANAGER_SCHEDULE], key, survey.due_ms);
        return;
    }
    // What they change is looked at anew.
    if (service_rollout_step(call, &survey) || service_rollout_tidy(call, &survey)) {
        service_queue(call, key);
        return;
    }
    if (service_rebalance(call, &survey)) {
        service_queue(call, key);
        return;
    }
    struct stage_view stage;
    if (stage_open(call->core, &survey, &stage)) {
        stage_keep(call, &survey, &stage);
    } else if (survey.primary != NULL) {
        service_roll(call, &survey);
    }
    const struct service_record_service *now = core_get(call->core, &service_kind, key);
    if (now->steady) {
        service_spreads_drop(entry); // nothing starts until something changes
    }
    core_timer(call, &service_managers[SERVICE_MANAGER_SCHEDULE], key, survey.due_ms);
}
