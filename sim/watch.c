#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service.h"
#include "ecs/task_internal.h"

#include <string.h>

/*
 * Looks on while the scheduler works: every start and every stop is judged at the moment when its
 * record changes.
 */

#define SCALING "Scaling activity initiated by"
#define ZONES "Availability-zone rebalancing initiated by"
#define HEALTH "Task failed container health checks"
#define MISPLACED "The container instance of the task does not satisfy"
#define LOST "The host of the task lost contact"

static struct sim *watched;

// ---- what is known ----------------------------------------------------------------------------

struct service_watch *watch_service(struct sim *sim, int64_t key)
{
    struct services *services = &sim->services;
    for (size_t i = 0; i < services->watch_count; i++) {
        if (services->watches[i].key == key) {
            return &services->watches[i];
        }
    }
    ASSERT(services->watch_count < SERVICE_WATCH_MAX);
    struct service_watch *watch = &services->watches[services->watch_count++];
    *watch = (struct service_watch){.key = key};
    return watch;
}

struct deployment_watch *watch_deployment(struct sim *sim, int64_t key)
{
    struct services *services = &sim->services;
    for (size_t i = services->deployment_count; i > 0; i--) {
        if (services->deployments[i - 1].key == key) {
            return &services->deployments[i - 1];
        }
    }
    ASSERT(services->deployment_count < DEPLOYMENT_WATCH_MAX);
    struct deployment_watch *watch = &services->deployments[services->deployment_count++];
    *watch = (struct deployment_watch){.key = key};
    return watch;
}

static const struct service_record_deployment *deployment_of(const struct core *core, int64_t key)
{
    return core_get(core, &service_deployment_kind, key);
}

// ---- a task is started --------------------------------------------------------------------------

static bool distinct(const struct service_record_service *service)
{
    for (size_t i = 0; i < service->placement_constraints.count; i++) {
        if (service->placement_constraints.items[i].type ==
            ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE) {
            return true;
        }
    }
    return false;
}

static void check_distinct(struct sim *sim, const struct core *core, int64_t service, int64_t key,
                           const struct task_record_task *task)
{
    for (size_t i = 0; i < sim->services.live_count; i++) {
        int64_t other = sim->services.live[i];
        const struct task_record_task *record = core_get(core, &task_kind, other);
        if (other != key && record->node == task->node &&
            record->desired_status != TASK_RECORD_TASK_STATUS_STOPPED &&
            standing_service(core, record->deployment) == service) {
            world_fail(&sim->world,
                       "task %.*s of a service with distinctInstance shares its instance",
                       TEXT_FMT(task->task_id));
        }
    }
}

static bool may_start(struct sim *sim, const struct service_record_service *service, int64_t key,
                      const struct service_record_deployment *deployment)
{
    return deployment->task_set ? deployment->status != SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING
                                : stages_may_start(sim, service, key);
}

// No instance ever has two tasks of a DAEMON service, not even while one of them ends.
static void check_daemon(struct sim *sim, const struct core *core,
                         const struct service_record_service *service, int64_t service_key,
                         int64_t key, const struct task_record_task *task)
{
    for (size_t i = 0; i < sim->services.live_count; i++) {
        int64_t other = sim->services.live[i];
        const struct task_record_task *record = core_get(core, &task_kind, other);
        if (other != key && record->node == task->node &&
            standing_service(core, record->deployment) == service_key) {
            world_fail(&sim->world, "the daemon %.*s has tasks %.*s and %.*s on one instance",
                       TEXT_FMT(service->name), TEXT_FMT(task->task_id), TEXT_FMT(record->task_id));
        }
    }
    const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
    if (!standing_meant(service, task_membership(node, task)) || standing_drains(core, task)) {
        world_fail(&sim->world, "the daemon %.*s starts a task where none is to be",
                   TEXT_FMT(service->name));
    }
    sim->churn.counts[ACT_DAEMON_START]++;
}

static void on_started(struct sim *sim, struct core *core, int64_t key,
                       const struct task_record_task *task)
{
    const struct service_record_deployment *deployment = deployment_of(core, task->deployment);
    const struct service_record_service *service =
        core_get(core, &service_kind, deployment->service);
    const struct service_record_revision *revision =
        core_get(core, &service_revision_kind, deployment->revision);
    const char *why = NULL;
    if (service->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
        why = "of a service that is deleted";
    } else if (!may_start(sim, service, task->deployment, deployment)) {
        why = "of a deployment that is not to have any now";
    } else if (deployment->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED) {
        why = "of a deployment that failed";
    } else if (!standing_retries(sim, deployment)) {
        why = "before its time to try again";
    } else if (task->definition != revision->definition) {
        why = "of another definition than its revision's";
    }
    if (why != NULL) {
        world_fail(&sim->world, "task %.*s is started %s", TEXT_FMT(task->task_id), why);
    }
    if (service_sort(service) == SORT_DAEMON) {
        check_daemon(sim, core, service, deployment->service, key, task);
        return;
    }
    struct standing standing = standing_for(sim, deployment->service, task->deployment, 0);
    spot_started(sim, core, service, revision, task);
    sim->churn.counts[ACT_SET_START] += deployment->task_set;
    sim->churn.counts[ACT_STAGE_START] += stages_apart(sim, service);
    world_trace(&sim->world, "service %.*s starts %.8s: %d of %d to %d tasks",
                TEXT_FMT(service->name), task->task_id.data, standing.counted, standing.desired,
                standing.upper);
    if (standing.counted > standing.upper) {
        world_fail(&sim->world, "service %.*s is driven to %d tasks, and may have %d",
                   TEXT_FMT(service->name), standing.counted, standing.upper);
    }
    if (distinct(service)) {
        check_distinct(sim, core, deployment->service, key, task);
    }
    sim->churn.counts[ACT_SERVICE_START]++;
}

// ---- a task is told to stop ---------------------------------------------------------------------

static void on_scaled(struct sim *sim, const struct service_record_service *service,
                      const struct standing *others, const struct task_record_task *before)
{
    struct text reason_of = before->task_id;
    if (before->extra != NULL && before->extra->protected_until > sim->server.input_ms) {
        world_fail(&sim->world, "task %.*s of service %.*s is protected and stopped",
                   TEXT_FMT(reason_of), TEXT_FMT(service->name));
    }
    // Scaling in to what is desired needs no other's health.
    const struct service_record_deployment *of =
        deployment_of(sim->server.core, before->deployment);
    bool apart = of->task_set || stages_apart(sim, service) ||
                 stages_gathers(sim, service, before->deployment);
    bool surplus = (apart || before->deployment == stages_primary(sim, service)) &&
                   others->staying >= others->desired;
    if (apart && !surplus && !standing_drains(sim->server.core, before)) {
        world_fail(&sim->world, "task %.*s of service %.*s is stopped, and nothing takes its place",
                   TEXT_FMT(before->task_id), TEXT_FMT(service->name));
    }
    if (standing_healthy(sim, before) && !surplus && others->healthy < others->lower) {
        world_fail(&sim->world,
                   "service %.*s is driven to %d healthy tasks of %d, and needs %d: %.*s was "
                   "stopped",
                   TEXT_FMT(service->name), others->healthy, others->desired, others->lower,
                   TEXT_FMT(before->task_id));
    }
    sim->churn.counts[surplus ? ACT_SERVICE_SCALE_IN : ACT_SERVICE_STOP]++;
}

// Evening out zones never costs a healthy task: as many as are desired are there without it.
static void on_moved(struct sim *sim, const struct service_record_service *service,
                     const struct standing *others, const struct task_record_task *before)
{
    if (others->primary_healthy < others->desired) {
        world_fail(&sim->world,
                   "service %.*s is left with %d healthy tasks of %d to even out its zones: %.*s "
                   "was stopped",
                   TEXT_FMT(service->name), others->primary_healthy, others->desired,
                   TEXT_FMT(before->task_id));
    }
    sim->churn.counts[ACT_SERVICE_MOVE]++;
}

// Its instance lost what the constraints ask for.
static void check_misplaced(struct sim *sim, const struct service_record_service *service,
                            const struct task_record_task *task)
{
    const struct task_record_node *node = core_get(sim->server.core, &task_node_kind, task->node);
    const struct task_record_membership *membership = task_membership(node, task);
    if (membership != NULL && standing_meant(service, membership)) {
        world_fail(&sim->world, "task %.*s of the daemon %.*s is stopped as misplaced, and is not",
                   TEXT_FMT(task->task_id), TEXT_FMT(service->name));
    }
    sim->churn.counts[ACT_DAEMON_MISPLACED]++;
}

// Whether something runs on a node that is of no DAEMON service.
static bool others_on(const struct core *core, int64_t node)
{
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->node != node || task->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
            continue;
        }
        int64_t service = task->has_deployment ? standing_service(core, task->deployment) : 0;
        const struct service_record_service *record =
            service == 0 ? NULL : core_get(core, &service_kind, service);
        if (record == NULL || service_sort(record) != SORT_DAEMON) {
            return true;
        }
    }
    return false;
}

// A daemon goes last from an instance that drains, and for its successor while enough others serve.
static void on_daemon_stopped(struct sim *sim, const struct service_record_service *service,
                              int64_t service_key, int64_t key,
                              const struct task_record_task *before)
{
    const struct core *core = sim->server.core;
    bool running = before->last_status == TASK_RECORD_TASK_STATUS_RUNNING;
    if (before->extra != NULL && before->extra->protected_until > sim->server.input_ms && running) {
        world_fail(&sim->world, "task %.*s of the daemon %.*s is protected and stopped",
                   TEXT_FMT(before->task_id), TEXT_FMT(service->name));
    }
    if (standing_drains(core, before)) {
        if (running && others_on(core, before->node)) {
            world_fail(&sim->world,
                       "the daemon %.*s leaves an instance that drains before other tasks do",
                       TEXT_FMT(service->name));
        }
        sim->churn.counts[ACT_DAEMON_LAST] += running;
        return;
    }
    struct standing others = standing_of(sim, service_key, key);
    if (before->deployment == service->primary) {
        world_fail(&sim->world, "the daemon %.*s stops a task that is where it should be",
                   TEXT_FMT(service->name));
    } else if (standing_healthy(sim, before) && others.healthy < others.lower) {
        world_fail(&sim->world, "the daemon %.*s is driven to %d healthy tasks of %d, and needs %d",
                   TEXT_FMT(service->name), others.healthy, others.desired, others.lower);
    }
    sim->churn.counts[ACT_DAEMON_REPLACE]++;
}

static void on_stopped(struct sim *sim, struct core *core, int64_t key,
                       const struct task_record_task *before, const struct task_record_task *after)
{
    int64_t service_key = standing_service(core, after->deployment);
    const struct service_record_service *service = core_get(core, &service_kind, service_key);
    struct text reason = after->extra == NULL ? (struct text){0} : after->extra->stopped_reason;
    world_trace(&sim->world, "service %.*s stops %.8s: %.*s", TEXT_FMT(service->name),
                after->task_id.data, TEXT_FMT(reason));
    if (service->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
        return; // all its tasks stop
    }
    const struct service_record_deployment *of = deployment_of(core, after->deployment);
    if (of->task_set && of->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        return; // of a task set that was deleted, all stop
    }
    if (service_sort(service) == SORT_DAEMON && text_starts(reason, TEXT(MISPLACED))) {
        check_misplaced(sim, service, before);
    } else if (service_sort(service) == SORT_DAEMON && text_starts(reason, TEXT(SCALING))) {
        on_daemon_stopped(sim, service, service_key, key, before);
    } else if (text_starts(reason, TEXT(SCALING)) || text_starts(reason, TEXT(ZONES))) {
        struct standing others = standing_for(sim, service_key, after->deployment, key);
        on_scaled(sim, service, &others, before);
        if (text_starts(reason, TEXT(ZONES))) {
            on_moved(sim, service, &others, before);
        }
    } else if (text_starts(reason, TEXT(HEALTH))) {
        if (before->health != ECS_HEALTH_STATUS_UNHEALTHY) {
            world_fail(&sim->world, "task %.*s is stopped for its health, and is not unhealthy",
                       TEXT_FMT(before->task_id));
        }
        watch_deployment(sim, after->deployment)->failures++;
        sim->churn.counts[ACT_SERVICE_HEALTH]++;
    } else if (text_starts(reason, TEXT(LOST))) {
        if (!standing_lost(core, before)) {
            world_fail(&sim->world, "task %.*s is stopped for its host, which is in contact",
                       TEXT_FMT(before->task_id));
        }
        sim->churn.counts[ACT_SERVICE_LOST]++;
    } else {
        world_fail(&sim->world, "task %.*s is stopped by its service, for '%.*s'",
                   TEXT_FMT(before->task_id), TEXT_FMT(reason));
    }
}

// ---- a task has ended ---------------------------------------------------------------------------

static void on_ended(struct sim *sim, const struct task_record_task *task)
{
    bool start = task->stop_code == ECS_TASK_STOP_CODE_TASK_FAILED_TO_START;
    bool exited = task->stop_code == ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED;
    struct deployment_watch *watch = watch_deployment(sim, task->deployment);
    watch->failures += start || exited;
    if ((start || exited) && task->started_at == 0) {
        watch->streak++;
        watch->failed_ms[watch->failed_count++ % SERVICE_FAILURES_KEPT] = sim->server.input_ms;
    }
}

static void on_task(struct sim *sim, struct core *core, int64_t key,
                    const struct task_record_task *before, const struct task_record_task *after)
{
    if (after == NULL || !after->has_deployment) {
        return;
    }
    if (before == NULL) {
        on_started(sim, core, key, after);
        return;
    }
    if (before->desired_status != after->desired_status &&
        after->stop_code == ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED) {
        on_stopped(sim, core, key, before, after);
    }
    if (before->last_status != after->last_status &&
        after->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        on_ended(sim, after);
    }
}

// ---- deployments --------------------------------------------------------------------------------

static void on_completed(struct sim *sim, int64_t key,
                         const struct service_record_deployment *deployment)
{
    struct standing standing = standing_of(sim, deployment->service, 0);
    if (standing.primary_healthy != standing.desired || standing.occupying != standing.desired) {
        world_fail(&sim->world,
                   "deployment %lld is completed with %d healthy tasks of %d, and %d in all",
                   (long long)deployment->number, standing.primary_healthy, standing.desired,
                   standing.occupying);
    }
    watch_service(sim, deployment->service)->completed = key;
    sim->churn.counts[ACT_SERVICE_COMPLETED]++;
}

static int32_t threshold_of(int32_t desired)
{
    int32_t half = (desired + 1) / 2;
    return half < 3 ? 3 : half > 200 ? 200 : half;
}

static void on_failed(struct sim *sim, const struct core *core, int64_t key,
                      const struct service_record_deployment *after)
{
    const struct service_record_service *service = core_get(core, &service_kind, after->service);
    const struct ecs_deployment_circuit_breaker *breaker =
        service->configuration->deployment_circuit_breaker;
    struct deployment_watch *watch = watch_deployment(sim, key);
    int64_t back = watch_service(sim, after->service)->completed;
    bool stays = after->status == SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY;
    const struct service_record_rollout *rollout =
        core_get(core, &service_rollout_kind, service->rollout);
    if (rollout != NULL && !rollout->tripped && watch->refused) {
        if (stays && back != 0 && back != key) {
            world_fail(&sim->world, "a deployment of %.*s was refused and is not rolled back",
                       TEXT_FMT(service->name));
        }
        return;
    }
    if (breaker == NULL || !breaker->enable) {
        world_fail(&sim->world, "a deployment of %.*s failed, and it has no circuit breaker",
                   TEXT_FMT(service->name));
        return;
    }
    if (watch->failures < threshold_of(service->desired_count)) {
        world_fail(&sim->world, "a deployment of %.*s failed after %d tasks of %d",
                   TEXT_FMT(service->name), watch->failures, threshold_of(service->desired_count));
    }
    if (stays && breaker->rollback && back != 0 && back != key) {
        world_fail(&sim->world, "a deployment of %.*s failed and is not rolled back",
                   TEXT_FMT(service->name));
    }
    sim->churn.counts[stays ? ACT_SERVICE_FAILED : ACT_SERVICE_ROLLED_BACK]++;
}

static void on_deployment(struct sim *sim, const struct core *core, int64_t key,
                          const struct service_record_deployment *before,
                          const struct service_record_deployment *after)
{
    if (before == NULL || after == NULL || after->task_set) {
        return;
    }
    if (before->rollout_state != after->rollout_state) {
        if (after->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED) {
            on_completed(sim, key, after);
        } else if (after->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED) {
            on_failed(sim, core, key, after);
        }
    }
    if (before->status != after->status &&
        after->status == SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY) {
        if (watch_service(sim, after->service)->completed != key) {
            world_fail(&sim->world,
                       "deployment %lld is PRIMARY again, and not the one that was "
                       "completed last",
                       (long long)after->number);
        }
        struct deployment_watch *watch = watch_deployment(sim, key);
        watch->failures = 0;
        watch->streak = 0;
        // Its back-off begins anew, too: what it is given as PRIMARY once more counts by itself.
        watch->failed_count = 0;
    }
}

// ---- tasks that live ----------------------------------------------------------------------------

static bool lives(const struct task_record_task *task)
{
    return task != NULL && task->has_deployment &&
           task->last_status != TASK_RECORD_TASK_STATUS_STOPPED;
}

// Most tasks have ended, and are let go of only after a while: a list of the others spares a look
// at all of them each time a service is counted.
static void note_live(struct services *services, int64_t key, bool before, bool after)
{
    if (after && !before) {
        if (services->live_count == services->live_capacity) {
            services->live_capacity = MAX(services->live_capacity * 2, (size_t)64);
            services->live =
                alloc_resize(services->live, services->live_capacity, sizeof(*services->live));
        }
        services->live[services->live_count++] = key;
    }
    for (size_t i = 0; before && !after && i < services->live_count; i++) {
        if (services->live[i] == key) {
            services->live[i] = services->live[--services->live_count];
            return;
        }
    }
}

void watch_check(struct sim *sim)
{
    const struct core *core = sim->server.core;
    const struct services *services = &sim->services;
    size_t count = 0;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        count += lives(core_get(core, &task_kind, key));
    }
    bool wrong = count != services->live_count;
    for (size_t i = 0; i < services->live_count && !wrong; i++) {
        wrong = !lives(core_get(core, &task_kind, services->live[i]));
    }
    if (wrong) {
        world_fail(&sim->world, "%zu tasks of services live, and %zu were seen", count,
                   services->live_count);
    }
}

// ---- the module ---------------------------------------------------------------------------------

static void on_changed(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                       const void *before, const void *after)
{
    (void)state;
    struct sim *sim = watched;
    if (sim != NULL && kind == &task_kind) {
        const struct task_record_task *task = after == NULL ? before : after;
        struct fact *fact = fact_find(sim, task->task_id);
        note_live(&sim->services, key, lives(before), lives(after));
        if (fact != NULL) {
            fact_changed(sim, fact);
        }
    }
    if (sim == NULL || sim->services.loading || sim->world.failed) {
        return;
    }
    if (kind == &task_kind) {
        if (after != NULL) {
            spot_task_changed(sim, core, before, after);
        }
        on_task(sim, core, key, before, after);
    } else if (kind == &service_deployment_kind) {
        sim->services.parts_touched = true;
        on_deployment(sim, core, key, before, after);
    } else if (kind == &service_rollout_kind) {
        stages_changed(sim, before, after);
    } else if (kind == &service_kind && after != NULL) {
        const struct service_record_service *record = after;
        struct service_watch *watch = watch_service(sim, key);
        watch->desired_most = MAX(watch->desired_most, record->desired_count);
    }
}

void watch_begin(struct sim *sim)
{
    watched = sim;
    sim->services.loading = true;
    sim->services.live_count = 0;
}

void watch_loaded(struct sim *sim)
{
    struct services *services = &sim->services;
    const struct core *core = sim->server.core;
    services->loading = false;
    for (size_t i = 0; i < services->watch_count; i++) {
        struct service_watch *watch = &services->watches[i];
        const struct service_record_service *record = core_get(core, &service_kind, watch->key);
        watch->completed = record == NULL ? 0 : record->completed;
        watch->short_ms = 0;
    }
    for (size_t i = 0; i < services->deployment_count; i++) {
        struct deployment_watch *watch = &services->deployments[i];
        watch->streak = 0;
        watch->over_ms = 0;
        watch->failed_count = 0;
    }
}

const struct core_module watch_module = {.name = "watch", .changed = on_changed};
