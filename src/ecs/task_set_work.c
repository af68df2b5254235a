#include "ecs/service_internal.h"

/*
 * The next step of a service with task sets: each keeps its own count, by the bounds of the
 * service's deployment configuration. None knows of the others.
 */

// Have what a task set told of its count follow the service's desired count and its scale.
static bool compute(struct core_call *call, const struct service_survey *survey,
                    const struct service_standing *standing)
{
    int32_t desired = service_task_set_desired(survey->record, standing->record);
    if (desired == standing->record->desired_count) {
        return false;
    }
    struct service_record_deployment *record = service_deployment_edit(call, standing->key);
    record->desired_count = desired;
    service_deployment_put(call, standing->key, record);
    service_tell(call, survey->entry->key, "updated computedDesiredCount for taskSet %.*s to %d.",
                 TEXT_FMT(service_deployment_id(call, standing->key)), (int)desired);
    const struct event_service_action action = {
        .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_DESIRED_COUNT_UPDATED,
    };
    service_event_action(call, survey->entry->key, &action);
    return true;
}

static bool note_stability(struct core_call *call, const struct service_survey *survey,
                           const struct service_standing *standing)
{
    bool stable = standing->healthy == standing->record->desired_count &&
                  standing->occupying == standing->healthy && standing->lost == 0;
    if (stable == (standing->record->stable_at != 0)) {
        return false;
    }
    struct service_record_deployment *record = service_deployment_edit(call, standing->key);
    record->stable_at = stable ? call->now_ms : 0;
    record->unstable_at = stable ? 0 : call->now_ms;
    service_deployment_put(call, standing->key, record);
    if (stable) {
        service_tell(call, survey->entry->key, "updated state to STEADY_STATE.");
        const struct event_service_action action = {
            .event_name = EVENT_SERVICE_EVENT_NAME_TASKSET_STEADY_STATE,
        };
        service_event_action(call, survey->entry->key, &action);
    }
    return true;
}

// A task set that was deleted stops all its tasks, protected ones, too.
static size_t empty(struct core_call *call, struct service_survey *survey,
                    const struct service_standing *standing)
{
    int64_t keys[SERVICE_STOP_STEP];
    size_t count = 0;
    const struct service_entry *entry = survey->entry;
    for (size_t i = 0; i < entry->task_count && count < ARRAY_LEN(keys); i++) {
        const struct service_task *task = &entry->tasks[i];
        if (task->key != 0 && task->deployment == standing->key &&
            task->desired_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            keys[count] = task->key;
            count++;
        }
    }
    struct text reason =
        arena_format(call->arena, "Scaling activity initiated by (deployment %.*s)",
                     TEXT_FMT(service_deployment_id(call, standing->key)));
    return count == 0 ? 0 : service_stop_these(call, survey, keys, count, reason);
}

// One task set. @return whether something changed, and the survey is old
static bool work(struct core_call *call, struct service_survey *survey,
                 struct service_standing *standing)
{
    if (standing->record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        return empty(call, survey, standing) > 0;
    }
    return service_rollout_forgive(call, standing) ||
           service_keep(call, survey, standing, standing->record->desired_count) > 0 ||
           note_stability(call, survey, standing);
}

void service_task_sets_work(struct core_call *call, struct service_survey *survey)
{
    int64_t key = survey->entry->key;
    bool changed = service_rollout_tidy(call, survey);
    for (size_t i = 0; !changed && i < survey->count; i++) {
        changed = compute(call, survey, &survey->standings[i]);
    }
    bool unplaced = false;
    for (size_t i = 0; !changed && i < survey->count; i++) {
        survey->entry->speaker = survey->standings[i].key;
        survey->entry->unplaced = false;
        changed = work(call, survey, &survey->standings[i]);
        unplaced = unplaced || survey->entry->unplaced;
    }
    survey->entry->speaker = 0;
    survey->entry->unplaced = unplaced;
    if (changed) {
        service_queue(call, key);
    }
}
