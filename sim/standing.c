#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service_internal.h"
#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

/*
 * How services stand, counted from records each time, and what must hold of it after every step and
 * at rest.
 */

#define LOOK_HOURS_MS 1000   // in runs of hours
#define PARTS_HOURS_MS 30000 // deployments and events, when no deployment changed
#define LOOK_MS 200          // all services are looked at so often
#define SHORT_MS 8000 // a task that is missing is started within this; looking for room is 5 s
#define OVER_MS 2000  // a circuit breaker trips within this
#define FAILURE_MINUTE_MS 60000

// ---- one task -----------------------------------------------------------------------------------

int64_t standing_service(const struct core *core, int64_t deployment)
{
    const struct service_record_deployment *record =
        core_get(core, &service_deployment_kind, deployment);
    return record == NULL ? 0 : record->service;
}

bool standing_lost(const struct core *core, const struct task_record_task *task)
{
    const struct task_node *node = task_node(task_state(core), task->node);
    return node == NULL || node->lost || node->removed;
}

static bool checked(const struct core *core, const struct task_record_task *task)
{
    const struct ecs_record_definition *record =
        core_get(core, &ecs_definition_kind, task->definition);
    for (size_t i = 0; i < record->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &record->definition->container_definitions.items[i];
        if (container->essential && container->health_check != NULL) {
            return true;
        }
    }
    return false;
}

static int64_t settle_ms(const struct sim *sim)
{
    return sim->services.settle_ms == 0 ? SERVICE_SETTLE_MS : sim->services.settle_ms;
}

bool standing_healthy(struct sim *sim, const struct task_record_task *task)
{
    const struct core *core = sim->server.core;
    if (task->last_status != TASK_RECORD_TASK_STATUS_RUNNING || standing_lost(core, task)) {
        return false;
    }
    return checked(core, task) ? task->health == ECS_HEALTH_STATUS_HEALTHY
                               : sim->server.input_ms >= task->started_at + settle_ms(sim) ||
                                     sim->server.input_ms < task->started_at;
}

// RUNNING and known to be sick, for longer than the time of grace.
static bool unhealthy(struct sim *sim, const struct service_record_service *service,
                      const struct task_record_task *task)
{
    int64_t grace_ms = (int64_t)service->health_check_grace_period_seconds * 1000;
    return task->last_status == TASK_RECORD_TASK_STATUS_RUNNING &&
           checked(sim->server.core, task) && task->health == ECS_HEALTH_STATUS_UNHEALTHY &&
           sim->server.input_ms >= task->started_at + grace_ms;
}

static bool drains(const struct core *core, const struct task_record_task *task)
{
    const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
    const struct task_record_membership *membership =
        node == NULL ? NULL : task_membership(node, task);
    return membership != NULL && (membership->draining || membership->deregistered_at != 0);
}

// ---- a service ----------------------------------------------------------------------------------

static void count_task(struct sim *sim, const struct service_record_service *service,
                       const struct task_record_task *task, struct standing *standing)
{
    const struct core *core = sim->server.core;
    bool primary = task->deployment == service->primary;
    if (task->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        return;
    }
    standing->left++;
    standing->primary_left += primary;
    if (standing_lost(core, task)) {
        return;
    }
    standing->occupying += task->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING;
    standing->counted += task->last_status <= TASK_RECORD_TASK_STATUS_RUNNING;
    if (task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        return;
    }
    bool healthy = standing_healthy(sim, task);
    bool sick = unhealthy(sim, service, task);
    bool leaves = drains(core, task);
    standing->drains = standing->drains || leaves;
    standing->guarded = standing->guarded || (task->extra != NULL &&
                                              task->extra->protected_until > sim->server.input_ms);
    standing->healthy += healthy;
    standing->unsettled +=
        !healthy && !sick && task->last_status == TASK_RECORD_TASK_STATUS_RUNNING;
    if (primary) {
        standing->live++;
        standing->staying += !sick && !leaves;
        standing->primary_healthy += healthy && !leaves;
    }
}

struct standing standing_of(struct sim *sim, int64_t service, int64_t without)
{
    const struct core *core = sim->server.core;
    const struct service_record_service *record = core_get(core, &service_kind, service);
    int64_t desired = record->desired_count;
    int64_t minimum = record->configuration->minimum_healthy_percent;
    struct standing standing = {
        .desired = record->desired_count,
        .lower = (int32_t)(desired * minimum / 100 + (desired * minimum % 100 != 0)),
        .upper = (int32_t)(desired * record->configuration->maximum_percent / 100),
    };
    for (size_t i = 0; i < sim->services.live_count; i++) {
        int64_t key = sim->services.live[i];
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (key != without && standing_service(core, task->deployment) == service) {
            count_task(sim, record, task, &standing);
        }
    }
    return standing;
}

// ---- after each step ----------------------------------------------------------------------------

static const struct service_record_deployment *
primary_of(struct sim *sim, const struct service_record_service *record)
{
    return core_get(sim->server.core, &service_deployment_kind, record->primary);
}

bool standing_retries(const struct sim *sim, const struct service_record_deployment *deployment)
{
    int64_t wait_ms = deployment->retry_at - sim->server.input_ms;
    return wait_ms <= 0 || wait_ms > SERVICE_BACKOFF_MAX_MS; // the clock was set back since
}

// Nothing but its bounds, its failures and the want of room keeps a service from its tasks.
static void check_short(struct sim *sim, int64_t key, const struct service_record_service *record,
                        const struct standing *standing)
{
    struct service_watch *watch = watch_service(sim, key);
    const struct service_record_deployment *primary = primary_of(sim, record);
    const struct service_entry *entry = service_entry(service_state(sim->server.core), key);
    bool waits = primary->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED ||
                 !standing_retries(sim, primary) || entry->unplaced ||
                 standing->occupying >= standing->upper || standing->staying >= standing->desired;
    if (waits) {
        watch->short_ms = 0;
    } else if (watch->short_ms == 0) {
        watch->short_ms = sim->server.input_ms;
        watch->short_world_ms = sim->world.now_ms;
    } else if (sim->server.input_ms - watch->short_ms > SHORT_MS &&
               sim->world.now_ms - watch->short_world_ms > SHORT_MS) {
        world_fail(&sim->world, "service %.*s has %d tasks of %d for %d s, and starts none",
                   TEXT_FMT(record->name), standing->staying, standing->desired, SHORT_MS / 1000);
    }
}

static bool any_healthy(struct sim *sim, int64_t deployment)
{
    const struct core *core = sim->server.core;
    for (size_t i = 0; i < sim->services.live_count; i++) {
        const struct task_record_task *task = core_get(core, &task_kind, sim->services.live[i]);
        if (task->deployment == deployment && standing_healthy(sim, task)) {
            return true;
        }
    }
    return false;
}

static void check_breaker(struct sim *sim, const struct service_record_service *record)
{
    struct deployment_watch *watch = watch_deployment(sim, record->primary);
    const struct service_record_deployment *primary = primary_of(sim, record);
    const struct ecs_deployment_circuit_breaker *breaker =
        record->configuration->deployment_circuit_breaker;
    int32_t threshold = MIN(MAX((record->desired_count + 1) / 2, 3), 200);
    if (watch->streak > 0 && any_healthy(sim, record->primary)) {
        watch->streak = 0;
    }
    bool over = breaker != NULL && breaker->enable && watch->streak >= threshold &&
                primary->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_IN_PROGRESS;
    if (!over) {
        watch->over_ms = 0;
    } else if (watch->over_ms == 0) {
        watch->over_ms = sim->server.input_ms;
    } else if (sim->server.input_ms - watch->over_ms > OVER_MS) {
        world_fail(&sim->world,
                   "%d tasks of service %.*s failed, and its circuit breaker does not trip at %d",
                   watch->streak, TEXT_FMT(record->name), threshold);
    }
}

// A revision that never starts is tried seldom.
static void check_backoff(struct sim *sim, int64_t key, const struct service_record_service *record)
{
    const struct deployment_watch *watch = watch_deployment(sim, record->primary);
    int32_t most = 10 + 3 * watch_service(sim, key)->desired_most;
    int32_t recent = 0;
    if (!watch->hopeless) {
        return;
    }
    for (size_t i = 0; i < MIN(watch->failed_count, (size_t)SERVICE_FAILURES_KEPT); i++) {
        recent += sim->server.input_ms - watch->failed_ms[i] < FAILURE_MINUTE_MS;
    }
    if (recent > most) {
        world_fail(&sim->world, "service %.*s started %d tasks in vain within a minute",
                   TEXT_FMT(record->name), recent);
    }
}

static void note_hopeless(struct sim *sim, int64_t key,
                          const struct service_record_deployment *deployment)
{
    const struct core *core = sim->server.core;
    const struct service_record_revision *revision =
        core_get(core, &service_revision_kind, deployment->revision);
    watch_deployment(sim, key)->hopeless =
        text_is(ecs_definition_family(core, revision->definition), "s-missing");
}

// Whether what belongs to a service is as it should: one deployment PRIMARY, and few events.
static void check_parts(struct sim *sim, int64_t key, const struct service_record_service *record)
{
    const struct core *core = sim->server.core;
    int primaries = 0;
    for (int64_t at = core_next(core, &service_deployment_kind, 0); at != 0;
         at = core_next(core, &service_deployment_kind, at)) {
        const struct service_record_deployment *deployment =
            core_get(core, &service_deployment_kind, at);
        if (deployment->service == key) {
            primaries += deployment->status == SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY;
            note_hopeless(sim, at, deployment);
        }
    }
    size_t events = 0;
    for (int64_t at = core_next(core, &service_event_kind, 0); at != 0;
         at = core_next(core, &service_event_kind, at)) {
        const struct service_record_event *event = core_get(core, &service_event_kind, at);
        events += event->service == key;
    }
    if (events > SERVICE_EVENTS_MAX) {
        world_fail(&sim->world, "service %.*s has %zu events", TEXT_FMT(record->name), events);
    }
    if (record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE &&
        (primaries != 1 || primary_of(sim, record) == NULL ||
         primary_of(sim, record)->status != SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY)) {
        world_fail(&sim->world, "service %.*s has %d deployments that are PRIMARY",
                   TEXT_FMT(record->name), primaries);
    }
}

static void check_service(struct sim *sim, int64_t key, const struct service_record_service *record,
                          bool parts)
{
    if (parts) {
        check_parts(sim, key, record);
    }
    if (sim->world.failed || record->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
        return;
    }
    struct standing standing = standing_of(sim, key, 0);
    check_short(sim, key, record, &standing);
    check_breaker(sim, record);
    check_backoff(sim, key, record);
}

void standing_check(struct sim *sim)
{
    const struct core *core = sim->server.core;
    if (!sim->services.active || core == NULL ||
        sim->world.now_ms <
            sim->services.looked_ms + (sim->services.hours ? LOOK_HOURS_MS : LOOK_MS)) {
        return;
    }
    sim->services.looked_ms = sim->world.now_ms;
    bool parts = !sim->services.hours || sim->services.parts_touched ||
                 sim->world.now_ms >= sim->services.parts_ms + PARTS_HOURS_MS;
    if (parts) {
        sim->services.parts_touched = false;
        sim->services.parts_ms = sim->world.now_ms;
    }
    for (int64_t key = core_next(core, &service_kind, 0); key != 0 && !sim->world.failed;
         key = core_next(core, &service_kind, key)) {
        const struct service_record_service *record = core_get(core, &service_kind, key);
        if (record->status != SERVICE_RECORD_SERVICE_STATUS_INACTIVE) {
            check_service(sim, key, record, parts);
        }
    }
}

// ---- at rest
// --------------------------------------------------------------------------------------

static int32_t deployments_of(const struct core *core, int64_t service)
{
    int32_t count = 0;
    for (int64_t key = core_next(core, &service_deployment_kind, 0); key != 0;
         key = core_next(core, &service_deployment_kind, key)) {
        const struct service_record_deployment *record =
            core_get(core, &service_deployment_kind, key);
        count += record->service == service &&
                 record->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE;
    }
    return count;
}

// ---- how a service rests ------------------------------------------------------------------------

enum rest {
    REST_CONVERGED,
    REST_RESTLESS, ///< what it runs ends again and again
    REST_FAILED,   ///< its deployment failed, and it stays so
    REST_STUCK,    ///< its own bounds keep it from doing anything
    REST_UNPLACED, ///< there is no room
    REST_UNEVEN,   ///< its zones are to be evened out
    REST_MOVING,
};

// Nothing may be stopped and nothing started.
static bool stuck(const struct service_record_service *record, const struct standing *standing)
{
    return standing->lower >= record->desired_count && standing->upper <= record->desired_count &&
           standing->counted == standing->left && standing->left >= standing->upper;
}

static enum rest rest_of(struct sim *sim, int64_t key, const struct service_record_service *record)
{
    const struct core *core = sim->server.core;
    const struct service_record_deployment *primary = primary_of(sim, record);
    const struct service_record_revision *revision =
        core_get(core, &service_revision_kind, primary->revision);
    struct standing standing = standing_of(sim, key, 0);
    bool converged = standing.primary_healthy == standing.desired &&
                     standing.left == standing.desired && deployments_of(core, key) == 1 &&
                     primary->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED;
    if (converged) {
        return room_uneven(sim, key, revision) ? REST_UNEVEN : REST_CONVERGED;
    }
    if (primary->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED) {
        return REST_FAILED;
    }
    if (services_restless(core, revision->definition)) {
        return REST_RESTLESS;
    }
    // Protection ends soon, unless the server's clock was set back since it was given.
    if (stuck(record, &standing) || standing.guarded) {
        return REST_STUCK;
    }
    bool unplaced = service_entry(service_state(core), key)->unplaced;
    return unplaced && standing.staying < standing.desired &&
                   !room_for(sim, key, revision, TEXT(""))
               ? REST_UNPLACED
               : REST_MOVING;
}

// For whoever reads the trace of a run that does not come to rest.
static void tell_tasks(struct sim *sim, int64_t service)
{
    const struct core *core = sim->server.core;
    for (int64_t key = sim->world.print ? core_next(core, &task_kind, 0) : 0; key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->has_deployment && task->last_status != TASK_RECORD_TASK_STATUS_STOPPED &&
            standing_service(core, task->deployment) == service) {
            world_trace(
                &sim->world, "  task %.8s of deployment %lld: status %d of %d, health %d%s%s",
                task->task_id.data, (long long)task->deployment, (int)task->last_status,
                (int)task->desired_status, (int)task->health, drains(core, task) ? ", drains" : "",
                standing_lost(core, task) ? ", lost" : "");
        }
    }
}

bool standing_settled(struct sim *sim, char *why, size_t size_bytes)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        const struct service_record_service *record = core_get(core, &service_kind, key);
        struct standing standing = standing_of(sim, key, 0);
        bool ended = record->status == SERVICE_RECORD_SERVICE_STATUS_INACTIVE;
        bool ending = record->status == SERVICE_RECORD_SERVICE_STATUS_DRAINING;
        enum rest rest = ended || ending ? REST_MOVING : rest_of(sim, key, record);
        bool moving = !ended && !ending && rest >= REST_UNEVEN;
        if (ending || moving || (ended && standing.left > 0)) {
            tell_tasks(sim, key);
            const struct service_record_deployment *primary = primary_of(sim, record);
            snprintf(why, size_bytes,
                     "service %.*s is %s, desires %d (%d to %d), has %d healthy of its newest "
                     "deployment and %d in all, %d deployments, rollout %d%s%s%s",
                     TEXT_FMT(record->name),
                     ended    ? "INACTIVE"
                     : ending ? "DRAINING"
                              : "ACTIVE",
                     standing.desired, standing.lower, standing.upper, standing.primary_healthy,
                     standing.left, deployments_of(core, key),
                     primary == NULL ? 0 : (int)primary->rollout_state,
                     primary != NULL && !standing_retries(sim, primary) ? ", waits to retry" : "",
                     !ended && service_entry(service_state(core), key)->unplaced ? ", unplaced"
                                                                                 : "",
                     rest == REST_UNEVEN ? ", its zones are uneven" : "");
            return false;
        }
    }
    return true;
}

void standing_count(struct sim *sim)
{
    static const enum act acts[] = {
        [REST_CONVERGED] = ACT_SERVICE_CONVERGED, [REST_RESTLESS] = ACT_SERVICE_RESTLESS,
        [REST_FAILED] = ACT_SERVICE_STAYS_FAILED, [REST_STUCK] = ACT_SERVICE_STUCK,
        [REST_UNPLACED] = ACT_SERVICE_UNPLACED,
    };
    const struct core *core = sim->server.core;
    for (int64_t key = core == NULL ? 0 : core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        const struct service_record_service *record = core_get(core, &service_kind, key);
        if (record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
            enum rest rest = rest_of(sim, key, record);
            sim->churn.counts[rest < REST_UNEVEN ? acts[rest] : ACT_SERVICE_RESTLESS]++;
        }
    }
}

// ---- what was acknowledged
// ------------------------------------------------------------------------

static void note_service(struct sim *sim, const struct ecs_service *shown)
{
    struct text arn = shown->service_arn;
    char count[16];
    snprintf(count, sizeof(count), "%d", shown->desired_count);
    ledger_add(sim, LEDGER_SERVICE, arn, TEXT("desiredCount"), text_of(count));
    ledger_add(sim, LEDGER_SERVICE, arn, TEXT("status"), shown->status);
    ledger_add(sim, LEDGER_SERVICE, arn, TEXT("taskDefinition"),
               sim_task_id(shown->task_definition));
}

static void on_update_service(struct sim *sim, const struct applied *applied)
{
    const struct ecs_update_service_request *request = applied->request;
    const struct ecs_update_service_response *response = applied->response;
    const struct ecs_service *shown = response->service;
    bool asked = request->has_desired_count;
    if (asked && shown->desired_count != request->desired_count) {
        world_fail(&sim->world, "UpdateService sets %d tasks and shows %d", request->desired_count,
                   shown->desired_count);
    }
    note_service(sim, shown);
    sim->churn.counts[ACT_SERVICE_UPDATE]++;
}

void standing_applied(struct sim *sim, const struct applied *applied)
{
    if (applied->rc != 0) {
        return;
    }
    if (applied->operation == &ecs_operations[ECS_OP_CREATE_SERVICE]) {
        const struct ecs_create_service_response *response = applied->response;
        ledger_add(sim, LEDGER_END, response->service->service_arn, (struct text){0},
                   (struct text){0});
        note_service(sim, response->service);
        sim->churn.counts[ACT_SERVICE_CREATE]++;
    } else if (applied->operation == &ecs_operations[ECS_OP_UPDATE_SERVICE]) {
        on_update_service(sim, applied);
    } else if (applied->operation == &ecs_operations[ECS_OP_DELETE_SERVICE]) {
        const struct ecs_delete_service_response *response = applied->response;
        note_service(sim, response->service);
        sim->churn.counts[ACT_SERVICE_DELETE]++;
    } else if (applied->operation == &ecs_operations[ECS_OP_UPDATE_TASK_PROTECTION]) {
        const struct ecs_update_task_protection_response *response = applied->response;
        sim->churn.counts[ACT_SERVICE_PROTECT] += response->protected_tasks.count;
    }
}
