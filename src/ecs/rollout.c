#include "ecs/service_internal.h"
#include "ecs/stage.h"

#include <string.h>

#define FREE_FAILURES 2 // as many are followed by another start at once
#define ROLLOUT_ID_CHARS 21

// ---- names and small things -----------------------------------------------------------------

struct service_record_deployment *service_deployment_edit(struct core_call *call, int64_t key)
{
    return core_edit(call, &service_deployment_kind, key);
}

void service_deployment_put(struct core_call *call, int64_t key,
                            struct service_record_deployment *record)
{
    record->updated_at = call->now_ms;
    core_put(call, &service_deployment_kind, key, record);
}

// ECS's have 19 digits.
int64_t service_fresh_number(struct core_call *call)
{
    return INT64_C(1000000000000000000) +
           (int64_t)(core_random(call) % UINT64_C(8000000000000000000));
}

static struct text fresh_rollout_id(struct core_call *call)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *id = arena_alloc(call->arena, ROLLOUT_ID_CHARS);
    for (size_t i = 0; i < ROLLOUT_ID_CHARS; i++) {
        id[i] = digits[core_random(call) % (sizeof(digits) - 1)];
    }
    return (struct text){id, ROLLOUT_ID_CHARS};
}

bool service_rollout_over(enum ecs_service_deployment_status status)
{
    switch (status) {
    case ECS_SERVICE_DEPLOYMENT_STATUS_SUCCESSFUL:
    case ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL:
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_FAILED:
        return true;
    case ECS_SERVICE_DEPLOYMENT_STATUS_ABSENT:
    case ECS_SERVICE_DEPLOYMENT_STATUS_UNRECOGNIZED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_PENDING:
    case ECS_SERVICE_DEPLOYMENT_STATUS_STOP_REQUESTED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS:
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_REQUESTED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS:
        break;
    }
    return false;
}

// What the circuit breaker counted, to be shown when the deployment itself is gone.
static void note_breaker(struct core_call *call, struct service_record_rollout *record)
{
    const struct service_record_service *service =
        core_get(call->core, &service_kind, record->service);
    const struct service_record_deployment *deployment =
        core_get(call->core, &service_deployment_kind, record->deployment);
    record->has_failure_count = true;
    record->failure_count = deployment == NULL ? 0 : deployment->failed_tasks;
    record->has_threshold = true;
    record->threshold = service_breaker_threshold(service->desired_count);
}

void service_rollout_end(struct core_call *call, int64_t key,
                         enum ecs_service_deployment_status status, struct text reason)
{
    const struct service_record_rollout *stored =
        key == 0 ? NULL : core_get(call->core, &service_rollout_kind, key);
    if (stored == NULL || service_rollout_over(stored->status)) {
        return;
    }
    struct service_record_rollout *record = hook_edit(call, key);
    if (!record->tripped) {
        note_breaker(call, record); // what tripped noted it when it did
    }
    hook_cut(call, record);
    record->status = status;
    record->status_reason = reason;
    record->updated_at = call->now_ms;
    record->finished_at = call->now_ms;
    if (status == ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED) {
        record->stopped_at = call->now_ms;
    }
    core_put(call, &service_rollout_kind, key, record);
}

// ---- beginning ------------------------------------------------------------------------------

static int64_t put_new_deployment(struct core_call *call, int64_t service, int64_t revision)
{
    int64_t number = service_fresh_number(call);
    const struct service_record_deployment record = {
        .has_service = true,
        .service = service,
        .has_number = true,
        .number = number,
        .has_revision = true,
        .revision = revision,
        .status = SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY,
        .created_at = call->now_ms,
        .updated_at = call->now_ms,
        .rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_IN_PROGRESS,
        .rollout_state_reason = arena_format(
            call->arena, "ECS deployment ecs-svc/%lld in progress.", (long long)number),
    };
    int64_t key = core_new_key(call);
    core_put(call, &service_deployment_kind, key, &record);
    service_event_deployment(call, key, EVENT_DEPLOYMENT_EVENT_NAME_SERVICE_DEPLOYMENT_IN_PROGRESS,
                             record.rollout_state_reason);
    return key;
}

static void demote(struct core_call *call, int64_t key)
{
    struct service_record_deployment *record = service_deployment_edit(call, key);
    record->status = SERVICE_RECORD_DEPLOYMENT_STATUS_ACTIVE;
    service_deployment_put(call, key, record);
}

// The revisions there are now, for the new rollout to name as its sources.
static struct long_list sources_of(struct core_call *call, int64_t service)
{
    const struct service_entry *entry = service_entry(service_state(call->core), service);
    struct long_list sources = {0};
    if (entry == NULL) {
        return sources;
    }
    sources.items = arena_array(call->arena, entry->deployment_count, sizeof(*sources.items));
    for (size_t i = 0; i < entry->deployment_count; i++) {
        const struct service_record_deployment *record =
            core_get(call->core, &service_deployment_kind, entry->deployments[i]);
        sources.items[sources.count] = record->revision;
        sources.count++;
    }
    return sources;
}

// A service keeps so many rollouts; the oldest that is over goes for a new one.
static void forget_oldest(struct core_call *call, int64_t service)
{
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)service);
    struct index_cursor cursor;
    index_walk(service_state(call->core)->rollouts, &prefix, true, &cursor);
    size_t count = 0;
    int64_t oldest = 0;
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        oldest = key;
        count++;
    }
    const struct service_record_rollout *record =
        oldest == 0 ? NULL : core_get(call->core, &service_rollout_kind, oldest);
    if (count >= SERVICE_ROLLOUTS_MAX && service_rollout_over(record->status)) {
        core_delete(call, &service_rollout_kind, oldest);
    }
}

int64_t service_rollout_begin(struct core_call *call, int64_t service,
                              struct service_record_service *record, int64_t revision)
{
    service_rollout_end(call, record->rollout, ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED,
                        TEXT("A newer service deployment took its place."));
    struct long_list sources = sources_of(call, service);
    if (record->primary != 0 && !MUTANT("two-primaries")) {
        demote(call, record->primary);
    }
    forget_oldest(call, service);
    int64_t deployment = put_new_deployment(call, service, revision);
    struct service_record_rollout rollout = {
        .has_service = true,
        .service = service,
        .id = fresh_rollout_id(call),
        .has_deployment = true,
        .deployment = deployment,
        .sources = sources,
        .has_target = true,
        .target = revision,
        .status = ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS,
        .created_at = call->now_ms,
        .started_at = call->now_ms,
        .updated_at = call->now_ms,
        .configuration = record->configuration,
    };
    stage_begin(call, record, &rollout);
    int64_t key = core_new_key(call);
    core_put(call, &service_rollout_kind, key, &rollout);
    record->has_primary = true;
    record->primary = deployment;
    record->has_rollout = true;
    record->rollout = key;
    record->has_steady = false;
    record->steady = false;
    core_put(call, &service_kind, service, record);
    service_queue(call, service);
    return deployment;
}

// ---- completing -----------------------------------------------------------------------------

bool service_rollout_steady(const struct service_survey *survey)
{
    const struct service_standing *primary = survey->primary;
    return primary->healthy == survey->record->desired_count &&
           primary->occupying == primary->healthy && survey->occupying == primary->occupying &&
           survey->record->rebalancing == 0;
}

void service_rollout_complete(struct core_call *call, struct service_survey *survey)
{
    int64_t service = survey->entry->key;
    int64_t key = survey->primary->key;
    struct text id = service_deployment_id(call, key);
    struct service_record_deployment *deployment = service_deployment_edit(call, key);
    deployment->rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED;
    deployment->rollout_state_reason =
        arena_format(call->arena, "ECS deployment %.*s completed.", TEXT_FMT(id));
    service_deployment_put(call, key, deployment);
    const struct service_record_rollout *rollout =
        core_get(call->core, &service_rollout_kind, survey->record->rollout);
    bool back =
        rollout != NULL && rollout->status == ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS;
    service_rollout_end(call, survey->record->rollout,
                        back ? ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL
                             : ECS_SERVICE_DEPLOYMENT_STATUS_SUCCESSFUL,
                        back ? rollout->status_reason : (struct text){0});
    struct service_record_service *record = core_edit(call, &service_kind, service);
    if (!MUTANT("lose-completed")) {
        record->has_completed = true;
        record->completed = key;
    }
    core_put(call, &service_kind, service, record);
    service_tell(call, service, "(deployment %.*s) deployment completed.", TEXT_FMT(id));
    service_event_deployment(
        call, key, EVENT_DEPLOYMENT_EVENT_NAME_SERVICE_DEPLOYMENT_COMPLETED,
        arena_format(call->arena, "ECS deployment %.*s completed.", TEXT_FMT(id)));
}

static void set_steady(struct core_call *call, struct service_survey *survey, bool is_steady)
{
    struct service_record_service *record = core_edit(call, &service_kind, survey->entry->key);
    record->has_steady = is_steady;
    record->steady = is_steady;
    core_put(call, &service_kind, survey->entry->key, record);
    if (is_steady) {
        service_tell_cleared(survey->entry);
        service_tell(call, survey->entry->key, "has reached a steady state.");
        const struct event_service_action action = {
            .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_STEADY_STATE,
        };
        service_event_action(call, survey->entry->key, &action);
    }
}

bool service_rollout_forgive(struct core_call *call, const struct service_standing *standing)
{
    if (standing->record->failed_tasks == 0 ||
        standing->newest_healthy_ms <= standing->record->failed_at) {
        return false;
    }
    struct service_record_deployment *edit = service_deployment_edit(call, standing->key);
    edit->failed_tasks = 0;
    edit->start_failures = 0;
    edit->retry_at = 0;
    service_deployment_put(call, standing->key, edit);
    return true;
}

bool service_rollout_step(struct core_call *call, struct service_survey *survey)
{
    const struct service_standing *primary = survey->primary;
    if (primary == NULL) {
        return false;
    }
    if (service_rollout_stop_asked(call, survey)) {
        return true;
    }
    const struct service_record_deployment *record = primary->record;
    if (service_rollout_forgive(call, primary)) {
        return true;
    }
    bool under_way = record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_IN_PROGRESS;
    const struct ecs_deployment_circuit_breaker *breaker =
        survey->record->configuration->deployment_circuit_breaker;
    int32_t threshold = service_breaker_threshold(survey->record->desired_count);
    threshold = MUTANT("trip-early") ? 1 : MUTANT("never-trip") ? INT32_MAX : threshold;
    struct stage_view stage;
    bool staged = stage_open(call->core, survey, &stage);
    if (staged && (stage.back || stage.record->stage != SERVICE_RECORD_STAGE_SCALE_UP)) {
        return stage_step(call, survey, &stage); // the circuit breaker is of SCALE_UP alone
    }
    if (under_way && breaker != NULL && breaker->enable && record->failed_tasks >= threshold) {
        service_rollout_trip(call, survey, threshold);
        return true;
    }
    if (staged) {
        return stage_step(call, survey, &stage);
    }
    bool is_steady = service_rollout_steady(survey);
    if (under_way && is_steady) {
        service_rollout_complete(call, survey);
        return true;
    }
    if (is_steady != survey->record->steady) {
        set_steady(call, survey, is_steady);
        return true;
    }
    return false;
}

bool service_rollout_tidy(struct core_call *call, struct service_survey *survey)
{
    bool any = false;
    bool draining = survey->record->status == SERVICE_RECORD_SERVICE_STATUS_DRAINING;
    for (size_t i = 0; i < survey->count; i++) {
        const struct service_standing *standing = &survey->standings[i];
        bool primary =
            standing == survey->primary || stage_keeps(call->core, survey, standing->key);
        bool deleted = standing->record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING;
        bool stays = (primary || standing->record->task_set) && !draining && !deleted;
        if (stays || standing->tasks > 0) {
            continue;
        }
        struct service_record_deployment *record = service_deployment_edit(call, standing->key);
        record->status = SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE;
        service_deployment_put(call, standing->key, record);
        any = true;
    }
    return any;
}

// ---- what tasks tell ------------------------------------------------------------------------

// How long to wait after so many failures one after the other. ECS publishes only that the wait
// grows to 15 minutes for tasks that never were RUNNING; a process that ends at once would be
// started without end, so it waits as well, but never as long.
static int64_t backoff_ms(int32_t failures, bool was_running)
{
    if (failures <= FREE_FAILURES || MUTANT("never-back-off")) {
        return 0;
    }
    int64_t most_ms = was_running ? SERVICE_CRASH_BACKOFF_MAX_MS : SERVICE_BACKOFF_MAX_MS;
    int shift = MIN(failures - FREE_FAILURES - 1, 20);
    return MIN(INT64_C(1000) << shift, most_ms);
}

// Why a task failed, in a sentence: the first container that tells more than that it stopped.
static struct text failure_text(struct core_call *call, const struct task_record_task *task)
{
    struct text reason = task->extra == NULL ? (struct text){0} : task->extra->stopped_reason;
    const struct ecs_task_definition *definition = task_definition(call->core, task->definition);
    for (size_t i = 0; i < task->containers.count; i++) {
        const struct task_record_container *container = &task->containers.items[i];
        struct text name = definition->container_definitions.items[i].name;
        if (!text_empty(container->reason) && text_equal(container->reason, reason)) {
            return arena_format(call->arena, "container %.*s: %.*s", TEXT_FMT(name),
                                TEXT_FMT(reason));
        }
        if (!text_empty(container->reason)) {
            return arena_format(call->arena, "%.*s: container %.*s: %.*s", TEXT_FMT(reason),
                                TEXT_FMT(name), TEXT_FMT(container->reason));
        }
        if (container->has_exit_code && container->exit_code != 0) {
            return arena_format(call->arena, "%.*s: container %.*s exited with code %d",
                                TEXT_FMT(reason), TEXT_FMT(name), (int)container->exit_code);
        }
    }
    return reason;
}

// Whether a task that is STOPPED now failed by itself before it was healthy.
static bool failed_early(const struct core_call *call, const struct task_record_task *task)
{
    bool by_itself = task->stop_code == ECS_TASK_STOP_CODE_TASK_FAILED_TO_START ||
                     task->stop_code == ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED;
    bool settled = task->started_at != 0 &&
                   (task->health == ECS_HEALTH_STATUS_HEALTHY ||
                    call->now_ms >= task->started_at + service_state(call->core)->settle_ms);
    return by_itself && !settled;
}

// Whether the scheduler is about to replace a task for its health: it counts as failed, too.
static bool failed_health(const struct task_record_task *before,
                          const struct task_record_task *after)
{
    return before->desired_status != after->desired_status &&
           after->health == ECS_HEALTH_STATUS_UNHEALTHY && after->extra != NULL &&
           text_is(after->extra->stopped_reason, "Task failed container health checks");
}

// From here on starts are delayed.
static void tell_impaired(struct core_call *call, int64_t service, struct text failure)
{
    service_tell(call, service,
                 "is unable to consistently start tasks successfully. For more information, see "
                 "the Troubleshooting section.");
    const struct event_service_action action = {
        .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_TASK_START_IMPAIRED,
        .reason = failure,
    };
    service_event_action(call, service, &action);
}

// What a failure of a task tells by itself. Of one that never was RUNNING only what is new: the
// same image that cannot be pulled again and again is told once.
static void tell_failure(struct core_call *call, int64_t service, bool again,
                         const struct task_record_task *task)
{
    if (task->health == ECS_HEALTH_STATUS_UNHEALTHY) {
        service_tell(call, service, "(task %.*s) failed container health checks.",
                     TEXT_FMT(task->task_id));
    } else if (task->stop_code == ECS_TASK_STOP_CODE_TASK_FAILED_TO_START && !again &&
               task->extra != NULL && !text_empty(task->extra->stopped_reason)) {
        struct text reason = task->extra->stopped_reason;
        bool ends = reason.data[reason.size - 1] == '.';
        service_tell(call, service, "was unable to place a task. Reason: %.*s%s", TEXT_FMT(reason),
                     ends ? "" : ".");
    }
}

void service_task_put(struct core_call *call, int64_t key, const struct task_record_task *before,
                      const struct task_record_task *after)
{
    (void)key;
    const struct service_record_deployment *deployment =
        core_get(call->core, &service_deployment_kind, after->deployment);
    bool ended = after->last_status == TASK_RECORD_TASK_STATUS_STOPPED && before != NULL &&
                 before->last_status != TASK_RECORD_TASK_STATUS_STOPPED;
    bool failed =
        (ended && failed_early(call, after)) || (before != NULL && failed_health(before, after));
    if (failed && !MUTANT("forget-failure")) {
        struct service_record_deployment *edit = service_deployment_edit(call, after->deployment);
        edit->has_failed_tasks = true;
        edit->failed_tasks++;
        edit->has_start_failures = true;
        edit->start_failures++;
        edit->failed_at = call->now_ms;
        struct text failure = failure_text(call, after);
        bool again = edit->failed_tasks > 1 && text_equal(edit->failure, failure);
        edit->failure = failure;
        int64_t wait_ms = backoff_ms(edit->start_failures, after->started_at != 0);
        edit->retry_at = wait_ms == 0 ? 0 : call->now_ms + wait_ms;
        service_deployment_put(call, after->deployment, edit);
        tell_failure(call, deployment->service, again, after);
        if (edit->start_failures == FREE_FAILURES + 1) {
            tell_impaired(call, deployment->service, edit->failure);
        }
    }
    if (before != NULL) {
        service_revision_learn(call, deployment->revision, after);
    }
    service_queue(call, deployment->service);
}

void service_node_changed(struct core_call *call, int64_t key)
{
    // Daemons first: on a new instance their tasks are there before others.
    service_daemon_node_changed(call, key);
    const struct task_node *node = task_node(task_state(call->core), key);
    task_waiting_look(call, node);
    for (const struct task_entry *entry = node == NULL ? NULL : node->first; entry != NULL;
         entry = entry->next) {
        const struct task_record_task *task = core_get(call->core, &task_kind, entry->key);
        if (task->has_deployment && entry->holds) {
            service_queue(call, service_of(call->core, task->deployment));
        }
    }
    // There may be room now for what found none, or a zone that services spread over.
    const struct service_state *state = service_state(call->core);
    bool opened = service_zone_opened(call->core, key);
    for (int64_t service = core_next(call->core, &service_kind, 0); service != 0;
         service = core_next(call->core, &service_kind, service)) {
        const struct service_entry *waiting = service_entry(state, service);
        const struct service_record_service *record = core_get(call->core, &service_kind, service);
        bool spreads =
            opened && record->zone_rebalancing == ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED;
        if (waiting != NULL && (waiting->unplaced || waiting->uneven || spreads)) {
            service_queue(call, service);
        }
    }
}
