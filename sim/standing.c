#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service_internal.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * How services stand, counted from records each time, and what must hold of it after every step.
 */

#define LOOK_HOURS_MS 2000   // in runs of hours
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
bool standing_sick(struct sim *sim, const struct service_record_service *service,
                   const struct task_record_task *task)
{
    int64_t grace_ms = (int64_t)service->health_check_grace_period_seconds * 1000;
    return task->last_status == TASK_RECORD_TASK_STATUS_RUNNING &&
           checked(sim->server.core, task) && task->health == ECS_HEALTH_STATUS_UNHEALTHY &&
           sim->server.input_ms >= task->started_at + grace_ms;
}

bool standing_drains(const struct core *core, const struct task_record_task *task)
{
    const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
    const struct task_record_membership *membership =
        node == NULL ? NULL : task_membership(node, task);
    return membership != NULL && (membership->draining || membership->deregistered_at != 0);
}

// ---- a service ----------------------------------------------------------------------------------

/** Whose tasks are counted. */
struct scope {
    int64_t service;
    int64_t deployment; ///< 0: of all
    int64_t primary;    ///< of which deployment the last members of a standing tell
    int64_t without;    ///< a task that is left out
};

static void count_task(struct sim *sim, const struct service_record_service *service,
                       const struct task_record_task *task, bool primary, struct standing *standing)
{
    const struct core *core = sim->server.core;
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
    bool sick = standing_sick(sim, service, task);
    bool leaves = standing_drains(core, task);
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

static struct standing count(struct sim *sim, const struct scope *scope, int64_t desired)
{
    const struct core *core = sim->server.core;
    const struct service_record_service *record = core_get(core, &service_kind, scope->service);
    int64_t minimum = record->configuration->minimum_healthy_percent;
    struct standing standing = {
        .desired = (int32_t)desired,
        .lower = (int32_t)(desired * minimum / 100 + (desired * minimum % 100 != 0)),
        .upper = (int32_t)(desired * record->configuration->maximum_percent / 100),
    };
    for (size_t i = 0; i < sim->services.live_count; i++) {
        int64_t key = sim->services.live[i];
        const struct task_record_task *task = core_get(core, &task_kind, key);
        bool of_it = scope->deployment == 0
                         ? standing_service(core, task->deployment) == scope->service
                         : task->deployment == scope->deployment;
        if (key != scope->without && of_it) {
            count_task(sim, record, task, task->deployment == scope->primary, &standing);
        }
    }
    return standing;
}

struct standing standing_of(struct sim *sim, int64_t service, int64_t without)
{
    const struct service_record_service *record =
        core_get(sim->server.core, &service_kind, service);
    const struct scope scope = {service, 0, stages_primary(sim, record), without};
    return count(sim, &scope, record->desired_count);
}

struct standing standing_of_set(struct sim *sim, int64_t service, int64_t deployment,
                                int32_t desired, int64_t without)
{
    const struct scope scope = {service, deployment, deployment, without};
    return count(sim, &scope, desired);
}

int32_t standing_share(const struct service_record_service *service,
                       const struct service_record_deployment *set)
{
    if (set->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        return 0;
    }
    int64_t tenths = (int64_t)(set->scale * 10 + 0.5); // scales have one decimal at most here
    int64_t product = service->desired_count * tenths;
    return (int32_t)(product / 1000 + (product % 1000 != 0));
}

struct standing standing_for(struct sim *sim, int64_t service, int64_t deployment, int64_t without)
{
    const struct core *core = sim->server.core;
    const struct service_record_service *record = core_get(core, &service_kind, service);
    const struct service_record_deployment *set =
        core_get(core, &service_deployment_kind, deployment);
    if (set->task_set) {
        return standing_of_set(sim, service, deployment, standing_share(record, set), without);
    }
    return stages_apart(sim, record) || stages_gathers(sim, record, deployment)
               ? standing_of_set(sim, service, deployment, record->desired_count, without)
               : standing_of(sim, service, without);
}

bool standing_meant(const struct service_record_service *service,
                    const struct task_record_membership *membership)
{
    if (service->placement_constraints.count == 0) {
        return true;
    }
    for (size_t i = 0; i < membership->attributes.count; i++) {
        const struct ecs_attribute *attribute = &membership->attributes.items[i];
        if (text_is(attribute->name, "rack")) {
            return text_is(attribute->value, "r1") || text_is(attribute->value, "r2");
        }
    }
    return false;
}

// ---- after each step ----------------------------------------------------------------------------

const struct service_record_deployment *
standing_primary(struct sim *sim, const struct service_record_service *record)
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
    const struct service_record_deployment *primary = standing_primary(sim, record);
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
    const struct service_record_deployment *primary = standing_primary(sim, record);
    const struct ecs_deployment_circuit_breaker *breaker =
        record->configuration->deployment_circuit_breaker;
    int32_t threshold = MIN(MAX((record->desired_count + 1) / 2, 3), 200);
    if (watch->streak > 0 && any_healthy(sim, record->primary)) {
        watch->streak = 0;
    }
    bool over = breaker != NULL && breaker->enable && stages_breaks(sim, record) &&
                watch->streak >= threshold &&
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
    bool sets = service_sort(record) == SORT_SETS;
    if (sets && record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE &&
        primaries != (record->primary != 0)) {
        world_fail(&sim->world, "service %.*s has %d task sets that are PRIMARY",
                   TEXT_FMT(record->name), primaries);
    }
    if (!sets && record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE &&
        (primaries != 1 || standing_primary(sim, record) == NULL ||
         standing_primary(sim, record)->status != SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY)) {
        world_fail(&sim->world, "service %.*s has %d deployments that are PRIMARY",
                   TEXT_FMT(record->name), primaries);
    }
}

// What a task set shows as its desired count is its share, once the scheduler had a look.
static void check_sets(struct sim *sim, int64_t service,
                       const struct service_record_service *record)
{
    const struct core *core = sim->server.core;
    struct service_watch *watch = watch_service(sim, service);
    bool wrong = false;
    for (int64_t key = core_next(core, &service_deployment_kind, 0); key != 0;
         key = core_next(core, &service_deployment_kind, key)) {
        const struct service_record_deployment *set = core_get(core, &service_deployment_kind, key);
        wrong = wrong || (set->service == service &&
                          set->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE &&
                          set->desired_count != standing_share(record, set));
    }
    if (!wrong) {
        watch->short_ms = 0;
    } else if (watch->short_ms == 0) {
        watch->short_ms = sim->server.input_ms;
        watch->short_world_ms = sim->world.now_ms;
    } else if (sim->server.input_ms - watch->short_ms > SHORT_MS &&
               sim->world.now_ms - watch->short_world_ms > SHORT_MS) {
        world_fail(&sim->world, "a task set of service %.*s does not have its share of %d tasks",
                   TEXT_FMT(record->name), record->desired_count);
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
    if (service_sort(record) == SORT_SETS) {
        check_sets(sim, key, record);
        return;
    }
    struct standing standing = standing_of(sim, key, 0);
    if (service_sort(record) == SORT_DAEMON) {
        check_breaker(sim, record);
        check_backoff(sim, key, record);
        return;
    }
    if (!stages_open(sim, record)) {
        check_short(sim, key, record, &standing);
    }
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

// ---- what was acknowledged ----------------------------------------------------------------------

static void note_service(struct sim *sim, const struct ecs_service *shown)
{
    struct text arn = shown->service_arn;
    char count[16];
    snprintf(count, sizeof(count), "%d", shown->desired_count);
    if (shown->scheduling_strategy != ECS_SCHEDULING_STRATEGY_DAEMON) {
        ledger_add(sim, LEDGER_SERVICE, arn, TEXT("desiredCount"), text_of(count));
    }
    ledger_add(sim, LEDGER_SERVICE, arn, TEXT("status"), shown->status);
    if (shown->deployment_controller == NULL ||
        shown->deployment_controller->type != ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL) {
        ledger_add(sim, LEDGER_SERVICE, arn, TEXT("taskDefinition"),
                   sim_task_id(shown->task_definition));
    }
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
    } else if (applied->operation == &ecs_operations[ECS_OP_CREATE_TASK_SET] ||
               applied->operation == &ecs_operations[ECS_OP_UPDATE_TASK_SET] ||
               applied->operation == &ecs_operations[ECS_OP_DELETE_TASK_SET] ||
               applied->operation == &ecs_operations[ECS_OP_UPDATE_SERVICE_PRIMARY_TASK_SET]) {
        sim->churn.counts[ACT_SET_CHANGE]++;
    } else if (applied->operation == &ecs_operations[ECS_OP_UPDATE_TASK_PROTECTION]) {
        const struct ecs_update_task_protection_response *response = applied->response;
        sim->churn.counts[ACT_SERVICE_PROTECT] += response->protected_tasks.count;
    }
}
