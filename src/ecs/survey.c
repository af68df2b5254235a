#include "ecs/service_internal.h"

#include "ecs/definition_internal.h"

// ---- one task -------------------------------------------------------------------------------

// A host may be in the cluster more than once, as when it was deregistered and came anew: what
// counts is the instance that the task was placed on.
static bool node_drains(struct core_call *call, const struct service_task *task)
{
    if (!task->host->parting || MUTANT("stay-on-draining")) {
        return false;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, task->node);
    const struct task_record_membership *membership =
        task_membership(record, core_get(call->core, &task_kind, task->key));
    return membership != NULL && (membership->draining || membership->deregistered_at != 0);
}

static bool node_lost(const struct service_task *task)
{
    return (task->host->lost && !MUTANT("trust-lost-hosts")) || task->host->removed;
}

static bool ended(const struct service_task *task)
{
    return task->last_status >= TASK_RECORD_TASK_STATUS_DEPROVISIONING;
}

enum service_place service_judge(struct core_call *call, const struct service_survey *survey,
                                 const struct service_standing *standing,
                                 const struct service_task *task, bool *out_leaving)
{
    *out_leaving = false;
    if (task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED || node_lost(task)) {
        return SERVICE_PLACE_ENDING;
    }
    *out_leaving = node_drains(call, task);
    if (task->last_status < TASK_RECORD_TASK_STATUS_RUNNING) {
        return SERVICE_PLACE_PENDING;
    }
    int64_t grace_ms = (int64_t)survey->record->health_check_grace_period_seconds * 1000;
    if (standing->checked && !MUTANT("ignore-health")) {
        bool grace = call->now_ms < task->started_ms + grace_ms;
        return task->health == ECS_HEALTH_STATUS_HEALTHY               ? SERVICE_PLACE_HEALTHY
               : task->health == ECS_HEALTH_STATUS_UNHEALTHY && !grace ? SERVICE_PLACE_UNHEALTHY
                                                                       : SERVICE_PLACE_SETTLING;
    }
    // A start that lies ahead was noted before the server's clock was set back: a while ago.
    int64_t settled_ms = task->started_ms + service_state(call->core)->settle_ms;
    bool settled = call->now_ms >= settled_ms || call->now_ms < task->started_ms;
    return settled ? SERVICE_PLACE_HEALTHY : SERVICE_PLACE_SETTLING;
}

// ---- all of them ----------------------------------------------------------------------------

static bool has_check(const struct core *core, const struct service_record_revision *revision)
{
    const struct ecs_task_definition *definition = task_definition(core, revision->definition);
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        if (container->essential && definition_has_health(container)) {
            return true;
        }
    }
    return false;
}

static void add_due(struct service_survey *survey, int64_t due_ms)
{
    if (survey->due_ms == 0 || due_ms < survey->due_ms) {
        survey->due_ms = due_ms;
    }
}

// When time alone will change what a task counts as, or whether it may be stopped.
static void add_task_due(struct core_call *call, struct service_survey *survey,
                         const struct service_standing *standing, const struct service_task *task,
                         enum service_place place)
{
    if (place == SERVICE_PLACE_SETTLING && !standing->checked) {
        add_due(survey, task->started_ms + service_state(call->core)->settle_ms);
    } else if (place == SERVICE_PLACE_SETTLING && task->health == ECS_HEALTH_STATUS_UNHEALTHY) {
        int64_t grace_ms = (int64_t)survey->record->health_check_grace_period_seconds * 1000;
        add_due(survey, task->started_ms + grace_ms);
    }
    if (task->protected_ms > call->now_ms) {
        add_due(survey, task->protected_ms);
    }
}

static void count_task(struct core_call *call, struct service_survey *survey,
                       struct service_standing *standing, const struct service_task *task)
{
    bool leaving = false;
    enum service_place place = service_judge(call, survey, standing, task, &leaving);
    bool lost = node_lost(task);
    standing->tasks++;
    standing->lost += lost && task->desired_status != TASK_RECORD_TASK_STATUS_STOPPED;
    if (!lost && !ended(task)) {
        standing->occupying++;
        standing->running += task->last_status >= TASK_RECORD_TASK_STATUS_RUNNING &&
                             task->last_status < TASK_RECORD_TASK_STATUS_STOPPING;
    }
    if (place == SERVICE_PLACE_ENDING) {
        return;
    }
    add_task_due(call, survey, standing, task, place);
    standing->live++;
    standing->pending += place == SERVICE_PLACE_PENDING;
    standing->unhealthy += place == SERVICE_PLACE_UNHEALTHY;
    standing->serving += place == SERVICE_PLACE_HEALTHY || place == SERVICE_PLACE_SETTLING;
    standing->fit += place == SERVICE_PLACE_HEALTHY;
    if (place == SERVICE_PLACE_UNHEALTHY || leaving) {
        return;
    }
    standing->staying++;
    standing->up += place != SERVICE_PLACE_PENDING;
    if (place == SERVICE_PLACE_HEALTHY) {
        standing->healthy++;
        standing->newest_healthy_ms = MAX(standing->newest_healthy_ms, task->created_ms);
    }
}

static void open_standings(struct core_call *call, struct service_survey *survey)
{
    struct service_entry *entry = survey->entry;
    survey->count = entry->deployment_count;
    survey->standings = arena_array(call->arena, survey->count, sizeof(*survey->standings));
    for (size_t i = 0; i < survey->count; i++) {
        struct service_standing *standing = &survey->standings[i];
        standing->key = entry->deployments[i];
        standing->record = core_get(call->core, &service_deployment_kind, standing->key);
        standing->revision =
            core_get(call->core, &service_revision_kind, standing->record->revision);
        standing->checked = has_check(call->core, standing->revision);
        if (standing->key == survey->record->primary) {
            survey->primary = standing;
        }
    }
}

void service_survey(struct core_call *call, struct service_entry *entry,
                    struct service_survey *out_survey)
{
    *out_survey = (struct service_survey){
        .record = core_get(call->core, &service_kind, entry->key),
        .entry = entry,
    };
    open_standings(call, out_survey);
    for (size_t i = 0; i < entry->task_count; i++) {
        const struct service_task *task = &entry->tasks[i];
        size_t place = 0;
        while (task->key != 0 && out_survey->standings[place].key != task->deployment) {
            place++;
            ASSERT(place < out_survey->count); // a deployment with tasks is never INACTIVE
        }
        if (task->key != 0) {
            count_task(call, out_survey, &out_survey->standings[place], task);
        }
    }
    for (size_t i = 0; i < out_survey->count; i++) {
        out_survey->pending += out_survey->standings[i].pending;
        out_survey->running += out_survey->standings[i].running;
        out_survey->occupying += out_survey->standings[i].occupying;
    }
}
