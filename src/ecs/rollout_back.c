#include "ecs/service_internal.h"
#include "ecs/stage.h"

/*
 * Deployments that do not go on: the circuit breaker, StopServiceDeployment, and the way back to
 * the deployment that was completed last. That one is revived under its own id, as ECS does it, so
 * its tasks that still run are those that the rollback needs.
 */

#define BREAKER_LEAST 3 // ECS: the threshold is half of the desired count, within these
#define BREAKER_MOST 200

int32_t service_breaker_threshold(int32_t desired_count)
{
    return MIN(MAX((desired_count + 1) / 2, BREAKER_LEAST), BREAKER_MOST);
}

/** What ends a deployment before its time. */
struct end {
    struct text reason;  ///< of the service deployment
    struct text failed;  ///< rolloutStateReason of the deployment that ends
    struct text revived; ///< the same of the one that is PRIMARY again
    bool tripped;        ///< by the circuit breaker
    int32_t threshold;   ///< of the circuit breaker
    int64_t back;        ///< key of the deployment that it goes back to; 0 for none
};

static void put_rollout(struct core_call *call, const struct service_survey *survey,
                        const struct end *end)
{
    int64_t key = survey->record->rollout;
    struct service_record_rollout *record = hook_edit(call, key);
    record->has_failure_count = true;
    record->failure_count = survey->primary->record->failed_tasks;
    record->has_threshold = true;
    record->threshold = end->threshold;
    record->has_tripped = end->tripped;
    record->tripped = end->tripped;
    record->updated_at = call->now_ms;
    record->status_reason = end->reason;
    if (end->back != 0) {
        const struct service_record_deployment *target =
            core_get(call->core, &service_deployment_kind, end->back);
        record->status = ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS;
        record->rollback_reason = end->reason;
        record->rollback_at = call->now_ms;
        record->has_rollback_revision = true;
        record->rollback_revision = target->revision;
    } else if (record->status == ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS) {
        record->status =
            ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_FAILED; // what it went back to failed
        record->finished_at = call->now_ms;
    } else {
        record->status = ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED;
        record->finished_at = call->now_ms;
        record->stopped_at = call->now_ms;
    }
    stage_turn_back(call, survey, record, end->back);
    core_put(call, &service_rollout_kind, key, record);
}

// The deployment that was completed last is PRIMARY again, under its own id.
static void revive(struct core_call *call, int64_t service, const struct end *end)
{
    struct service_record_deployment *revived = service_deployment_edit(call, end->back);
    revived->status = SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY;
    revived->rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_IN_PROGRESS;
    revived->rollout_state_reason = end->revived;
    revived->failed_tasks = 0;
    revived->start_failures = 0;
    revived->retry_at = 0;
    service_deployment_put(call, end->back, revived);
    struct service_record_service *record = core_edit(call, &service_kind, service);
    record->primary = end->back;
    core_put(call, &service_kind, service, record);
    service_event_deployment(
        call, end->back, EVENT_DEPLOYMENT_EVENT_NAME_SERVICE_DEPLOYMENT_IN_PROGRESS, end->revived);
    service_tell(call, service, "rolling back to deployment %.*s.",
                 TEXT_FMT(service_deployment_id(call, end->back)));
}

static void end_deployment(struct core_call *call, const struct service_survey *survey,
                           const struct end *end)
{
    put_rollout(call, survey, end);
    struct service_record_deployment *failed = service_deployment_edit(call, survey->primary->key);
    failed->rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    failed->rollout_state_reason = end->failed;
    if (end->back != 0) {
        failed->status = SERVICE_RECORD_DEPLOYMENT_STATUS_ACTIVE;
    }
    service_deployment_put(call, survey->primary->key, failed);
    // ECS words the event of a tripped breaker unlike the deployment's own reason.
    service_event_deployment(
        call, survey->primary->key, EVENT_DEPLOYMENT_EVENT_NAME_SERVICE_DEPLOYMENT_FAILED,
        end->tripped ? TEXT("ECS deployment circuit breaker: task failed to start.") : end->failed);
    if (end->back != 0) {
        revive(call, survey->entry->key, end);
    }
}

// Where a rollback of the primary deployment leads: to the one completed last, 0 when that is it.
static int64_t way_back(const struct service_survey *survey)
{
    int64_t completed = survey->record->completed;
    if (MUTANT("roll-back-to-failed")) {
        return survey->primary->key;
    }
    return completed == survey->primary->key ? 0 : completed;
}

void service_rollout_trip(struct core_call *call, struct service_survey *survey, int32_t threshold)
{
    const struct service_record_service *service = survey->record;
    const struct service_record_deployment *primary = survey->primary->record;
    struct text id = service_deployment_id(call, survey->primary->key);
    struct text cause =
        text_empty(primary->failure) ? TEXT("tasks failed to start") : primary->failure;
    struct end end = {
        .reason = arena_format(call->arena,
                               "Service deployment %.*s failed: %d tasks in a row failed to start; "
                               "the last one: %.*s",
                               TEXT_FMT(id), (int)primary->failed_tasks, TEXT_FMT(cause)),
        .failed = TEXT("ECS deployment circuit breaker: tasks failed to start."),
        .tripped = true,
        .threshold = threshold,
        .back = service->configuration->deployment_circuit_breaker->rollback ? way_back(survey) : 0,
    };
    if (end.back != 0) {
        struct text back = service_deployment_id(call, end.back);
        end.revived = arena_format(
            call->arena, "ECS deployment circuit breaker: rolling back to deploymentId %.*s.",
            TEXT_FMT(back));
    }
    service_tell(call, survey->entry->key,
                 "(deployment %.*s) deployment failed: tasks failed to start.", TEXT_FMT(id));
    end_deployment(call, survey, &end);
}

void service_rollout_fail(struct core_call *call, struct service_survey *survey, struct text reason,
                          const char *what)
{
    struct text id = service_deployment_id(call, survey->primary->key);
    struct end end = {
        .reason = reason,
        .failed = arena_format(call->arena, "ECS deployment failed: %.*s", TEXT_FMT(reason)),
        .threshold = service_breaker_threshold(survey->record->desired_count),
        .back = way_back(survey),
    };
    if (end.back != 0) {
        struct text back = service_deployment_id(call, end.back);
        end.revived = arena_format(call->arena, "ECS deployment rolling back to deploymentId %.*s.",
                                   TEXT_FMT(back));
    }
    service_tell(call, survey->entry->key, "(deployment %.*s) deployment failed: %s.", TEXT_FMT(id),
                 what);
    end_deployment(call, survey, &end);
}

bool service_rollout_stop_asked(struct core_call *call, struct service_survey *survey)
{
    const struct service_record_rollout *rollout =
        survey->record->rollout == 0
            ? NULL
            : core_get(call->core, &service_rollout_kind, survey->record->rollout);
    if (rollout == NULL || rollout->status != ECS_SERVICE_DEPLOYMENT_STATUS_STOP_REQUESTED) {
        return false;
    }
    struct end end = {
        .failed = TEXT("ECS deployment stopped: a rollback was requested."),
        .threshold = service_breaker_threshold(survey->record->desired_count),
        .back = way_back(survey),
    };
    if (end.back != 0) {
        struct text back = service_deployment_id(call, end.back);
        end.reason = TEXT("A rollback was requested with StopServiceDeployment.");
        end.revived = arena_format(call->arena, "ECS deployment rolling back to deploymentId %.*s.",
                                   TEXT_FMT(back));
    } else {
        end.reason = TEXT("The service deployment was stopped with StopServiceDeployment. There is "
                          "no completed deployment to roll back to.");
    }
    end_deployment(call, survey, &end);
    return true;
}
