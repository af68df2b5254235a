#include "ecs/capability.h"
#include "ecs/service_internal.h"
#include "ecs/task_run.h"

#define ROUNDS_MAX 4 // changes of a service in one go

/*
 * DAEMON services: one task on each container instance that is ACTIVE, connected and means the
 * constraints. The desired count follows the instances.
 *
 * A task that others are to find on their instance is there before them and longer than they: it
 * starts first on a new instance, and on one that drains it is stopped when nothing else is left.
 * No instance ever has two of them, so a deployment stops the old one, then starts the new one.
 */

/** An instance of the cluster, as a service sees it. */
struct daemon_host {
    struct task_spot *spot;
    bool satisfies; ///< attributes and constraints
    bool fits;      ///< one task is to be there
    size_t tasks;   ///< of the service that have not ended there
};

struct daemon {
    struct task_run run;
    struct task_spots spots;
    struct daemon_host *hosts; ///< one for each spot
    int32_t desired;
};

// ---- looking --------------------------------------------------------------------------------

// The host of a node, or NULL when it is no instance of the cluster any more.
static struct daemon_host *host_of(const struct daemon *daemon, int64_t node)
{
    size_t low = 0;
    size_t high = daemon->spots.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (daemon->spots.spots[middle].key < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < daemon->spots.count && daemon->spots.spots[low].key == node;
    return found ? &daemon->hosts[low] : NULL;
}

// A constraint that changes with every task decides where tasks start, and of none that is there:
// it may count this very task.
static bool fits(const struct daemon_host *host)
{
    const struct task_spot *spot = host->spot;
    if (!host->satisfies || spot->draining) {
        return false;
    }
    return host->tasks > 0 ? !spot->node->lost
                           : task_node_place(spot->node).usable && spot->meant_now;
}

// The usual ones are bits; only others are looked for by name.
static bool has_attributes(const struct task_run *run, const struct task_spot *spot)
{
    uint32_t needed = run->need.capabilities & ~CAPABILITY_OTHER;
    bool other = (run->need.capabilities & CAPABILITY_OTHER) != 0;
    return (needed & ~spot->capabilities) == 0 &&
           (!other || text_empty(task_spot_lacks(run, spot, 0)));
}

// NULL when what the service names is gone: then it was told.
static struct daemon *look(struct core_call *call, struct service_survey *survey)
{
    struct daemon *daemon = ARENA_NEW(call->arena, struct daemon);
    if (survey->primary == NULL ||
        service_launch_read(call, survey, survey->primary, 1, &daemon->run) != 0) {
        return NULL;
    }
    if (daemon->run.group != NULL) {
        task_spots_find(call, &daemon->run, true, &daemon->spots);
    }
    daemon->hosts = arena_array(call->arena, daemon->spots.count, sizeof(*daemon->hosts));
    for (size_t i = 0; i < daemon->spots.count; i++) {
        struct task_spot *spot = &daemon->spots.spots[i];
        daemon->hosts[i].spot = spot;
        daemon->hosts[i].satisfies = spot->meant && has_attributes(&daemon->run, spot);
    }
    for (size_t i = 0; i < survey->entry->task_count; i++) {
        const struct service_task *task = &survey->entry->tasks[i];
        struct daemon_host *host = task->key == 0 ? NULL : host_of(daemon, task->node);
        if (host != NULL) {
            host->tasks++;
        }
    }
    for (size_t i = 0; i < daemon->spots.count; i++) {
        daemon->hosts[i].fits = fits(&daemon->hosts[i]);
        daemon->desired += daemon->hosts[i].fits;
    }
    return daemon;
}

static bool count_hosts(struct core_call *call, const struct service_survey *survey,
                        const struct daemon *daemon)
{
    if (daemon->desired == survey->record->desired_count) {
        return false;
    }
    struct service_record_service *record = core_edit(call, &service_kind, survey->entry->key);
    record->desired_count = daemon->desired;
    core_put(call, &service_kind, survey->entry->key, record);
    return true;
}

// ---- stopping -------------------------------------------------------------------------------

/** What is to become of a task. */
enum duty {
    DUTY_NONE, ///< it stays, or goes already, or its node is lost: should it come back, it stays
    DUTY_MISPLACED, ///< its instance does not satisfy the constraints any more
    DUTY_LEAVING,   ///< its instance drains, and nothing else is left there
    DUTY_BROKEN,    ///< of an older deployment, and does not serve
    DUTY_OLD,       ///< of an older deployment
    DUTY_UNHEALTHY, ///< of the primary one
};

/** A task with its duty. */
struct judged {
    int64_t key;
    enum duty duty;
    enum service_place place;
    bool primary;
    bool here; ///< on an instance that is to have a task
};

// Whether no task runs on a node but those of daemons.
static bool only_daemons(const struct core *core, int64_t key)
{
    const struct task_node *node = task_node(task_state(core), key);
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        if (entry->holds && !MUTANT("daemon-leaves-first") &&
            !(task->has_deployment && service_is_daemon(core, task->deployment))) {
            return false;
        }
    }
    return true;
}

static enum duty duty_of(struct core_call *call, const struct service_survey *survey,
                         const struct service_task *task, const struct daemon_host *host,
                         const struct judged *judged)
{
    bool protected = task->protected_ms > call->now_ms;
    bool failed = survey->primary->record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    if (host == NULL || host->spot->draining) {
        bool may = judged->place == SERVICE_PLACE_PENDING ||
                   (!protected && only_daemons(call->core, task->node));
        return may ? DUTY_LEAVING : DUTY_NONE;
    }
    if (!host->satisfies) {
        return DUTY_MISPLACED;
    }
    if (!judged->primary) {
        bool serves =
            judged->place == SERVICE_PLACE_HEALTHY || judged->place == SERVICE_PLACE_SETTLING;
        return failed || protected ? DUTY_NONE : serves ? DUTY_OLD : DUTY_BROKEN;
    }
    return judged->place == SERVICE_PLACE_UNHEALTHY && !failed ? DUTY_UNHEALTHY : DUTY_NONE;
}

// All tasks that are to run and whose nodes are not lost, ascending by key.
static size_t judge_all(struct core_call *call, const struct service_survey *survey,
                        const struct daemon *daemon, struct judged **out_judged)
{
    const struct service_entry *entry = survey->entry;
    *out_judged = arena_array(call->arena, entry->task_count, sizeof(**out_judged));
    size_t count = 0;
    for (size_t i = 0; i < entry->task_count; i++) {
        const struct service_task *task = &entry->tasks[i];
        if (task->key == 0) {
            continue;
        }
        const struct service_standing *standing = service_standing_of(survey, task->deployment);
        const struct daemon_host *host = host_of(daemon, task->node);
        bool leaving = false;
        struct judged *judged = &(*out_judged)[count];
        *judged = (struct judged){
            .key = task->key,
            .place = service_judge(call, survey, standing, task, &leaving),
            .primary = standing == survey->primary,
            .here = host != NULL && host->fits,
        };
        if (judged->place != SERVICE_PLACE_ENDING) {
            judged->duty = duty_of(call, survey, task, host, judged);
            count++;
        }
    }
    return count;
}

/** Keys to stop, and how many of them may go. */
struct stops {
    int64_t keys[SERVICE_STOP_STEP];
    size_t count;
    int32_t serving; ///< how many that serve may go
    int32_t healthy; ///< and of these, that count as healthy
};

static void collect(const struct judged *judged, size_t count, enum duty duty, size_t most,
                    struct stops *stops)
{
    for (size_t i = 0; i < count && stops->count < MIN(most, ARRAY_LEN(stops->keys)); i++) {
        bool healthy = judged[i].place == SERVICE_PLACE_HEALTHY;
        bool serving = healthy || judged[i].place == SERVICE_PLACE_SETTLING;
        if (judged[i].duty != duty || (serving && stops->serving <= 0) ||
            (healthy && stops->healthy <= 0)) {
            continue;
        }
        stops->keys[stops->count] = judged[i].key;
        stops->count++;
        stops->serving -= serving;
        stops->healthy -= healthy;
    }
}

static size_t stop_misplaced(struct core_call *call, struct service_survey *survey,
                             const struct judged *judged, size_t count)
{
    struct stops stops = {.serving = INT32_MAX, .healthy = INT32_MAX};
    collect(judged, count, DUTY_MISPLACED, SIZE_MAX, &stops);
    if (stops.count == 0) {
        return 0;
    }
    const struct event_service_action action = {
        .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED,
    };
    service_event_action(call, survey->entry->key, &action);
    return service_stop_these(call, survey, stops.keys, stops.count,
                              TEXT("The container instance of the task does not satisfy the "
                                   "placement constraints of the service any more."));
}

static size_t stop_leaving(struct core_call *call, struct service_survey *survey,
                           const struct judged *judged, size_t count, struct text reason)
{
    struct stops stops = {.serving = INT32_MAX, .healthy = INT32_MAX};
    collect(judged, count, DUTY_LEAVING, SIZE_MAX, &stops);
    return service_stop_these(call, survey, stops.keys, stops.count, reason);
}

static int32_t lower_of(const struct service_survey *survey)
{
    int64_t desired = survey->record->desired_count;
    return (int32_t)((desired * survey->record->configuration->minimum_healthy_percent + 99) / 100);
}

// Of older deployments: those that serve while enough others do. What merely runs may turn out
// not to be healthy, so those that are must be enough without it.
static size_t stop_old(struct core_call *call, struct service_survey *survey,
                       const struct judged *judged, size_t count, struct text reason)
{
    struct stops stops = {.serving = -lower_of(survey), .healthy = -lower_of(survey)};
    bool pending = false;
    bool settling = false;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        bool healthy = judged[i].here && judged[i].place == SERVICE_PLACE_HEALTHY;
        bool runs = judged[i].here && judged[i].place == SERVICE_PLACE_SETTLING;
        stops.healthy += healthy;
        stops.serving += healthy || (runs && !judged[i].primary);
        pending = pending || judged[i].place == SERVICE_PLACE_PENDING;
        settling = settling || runs;
        any = any || judged[i].duty == DUTY_OLD;
    }
    collect(judged, count, DUTY_BROKEN, SIZE_MAX, &stops);
    collect(judged, count, DUTY_OLD, SIZE_MAX, &stops);
    bool quiet = !pending && !settling && survey->occupying == (int32_t)count;
    if (any && stops.count == 0 && quiet && lower_of(survey) >= survey->record->desired_count) {
        service_tell_once(call, survey->entry, SERVICE_STUCK_MESSAGE);
    }
    return service_stop_these(call, survey, stops.keys, stops.count, reason);
}

// No more at a time than a deployment might stop: a check that fails everywhere at once must not
// take every daemon away.
static size_t stop_unhealthy(struct core_call *call, struct service_survey *survey,
                             const struct judged *judged, size_t count)
{
    int32_t present = 0;
    for (size_t i = 0; i < count; i++) {
        present += judged[i].here && judged[i].place != SERVICE_PLACE_PENDING;
    }
    int32_t desired = survey->record->desired_count;
    int32_t most = MAX(1, desired - lower_of(survey)) - (desired - present);
    struct stops stops = {0};
    collect(judged, count, DUTY_UNHEALTHY, most > 0 ? (size_t)most : 0, &stops);
    return service_stop_these(call, survey, stops.keys, stops.count,
                              TEXT("Task failed container health checks"));
}

// ---- starting -------------------------------------------------------------------------------

static size_t start_missing(struct core_call *call, struct service_survey *survey,
                            struct daemon *daemon)
{
    const struct service_record_deployment *primary = survey->primary->record;
    if (primary->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED) {
        return 0;
    }
    struct task_spot *places[SERVICE_LAUNCH_STEP] = {NULL};
    struct service_refusal refusal = {0};
    size_t count = 0;
    for (size_t i = 0; i < daemon->spots.count && count < ARRAY_LEN(places); i++) {
        struct daemon_host *host = &daemon->hosts[i];
        if (!host->fits || (host->tasks > 0 && !MUTANT("two-daemons"))) {
            continue;
        }
        const char *reason = task_spot_refusal(call->core, &daemon->run, host->spot);
        if (reason == NULL) {
            places[count] = host->spot;
            count++;
        } else if (refusal.spot == NULL) {
            refusal = (struct service_refusal){host->spot, reason};
        }
    }
    if (count + (refusal.spot != NULL) > 0 && service_must_wait(call, survey->primary)) {
        service_due(survey, primary->retry_at);
        return 0;
    }
    service_launch_on(call, survey, &daemon->run, places, count);
    survey->entry->unplaced = refusal.spot != NULL;
    if (refusal.spot != NULL) {
        service_launch_refused(call, survey, &daemon->run, &refusal);
        service_due(survey, call->now_ms + SERVICE_UNPLACED_MS);
    } else if (count > 0) {
        service_tell_cleared(survey->entry);
    }
    return count;
}

// ---- the step -------------------------------------------------------------------------------

static void step(struct core_call *call, struct service_survey *survey, struct daemon *daemon)
{
    struct judged *judged = NULL;
    size_t count = judge_all(call, survey, daemon, &judged);
    struct text reason = service_scaling_reason(call, survey);
    // One kind of step at a time: each goes by a look that knows what the one before did.
    size_t moved = start_missing(call, survey, daemon);
    if (moved == 0) {
        moved = stop_misplaced(call, survey, judged, count);
    }
    if (moved == 0) {
        moved = stop_leaving(call, survey, judged, count, reason);
    }
    if (moved == 0) {
        moved = stop_unhealthy(call, survey, judged, count);
    }
    if (moved == 0) {
        moved = stop_old(call, survey, judged, count, reason);
    }
    if (moved > 0) {
        service_queue(call, survey->entry->key);
    }
}

void service_daemon_work(struct core_call *call, struct service_survey *survey)
{
    // What changes is looked at anew at once: other work waits for room on a new instance as well,
    // and the daemon is to be there first.
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct daemon *daemon = look(call, survey);
        if (daemon == NULL) {
            return; // an update of the service, or a change of its instances, queues it again
        }
        if (!count_hosts(call, survey, daemon) && !service_rollout_step(call, survey) &&
            !service_rollout_tidy(call, survey)) {
            step(call, survey, daemon);
            return;
        }
        service_survey(call, survey->entry, survey);
    }
    service_queue(call, survey->entry->key);
}

// ---- what nodes tell ------------------------------------------------------------------------

bool service_is_daemon(const struct core *core, int64_t deployment)
{
    const struct service_record_deployment *record =
        core_get(core, &service_deployment_kind, deployment);
    const struct service_record_service *service = core_get(core, &service_kind, record->service);
    return service->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
}

void service_daemon_node_changed(struct core_call *call, int64_t key)
{
    const struct task_node *node = task_node(task_state(call->core), key);
    for (size_t i = 0; node != NULL && i < node->cluster_count; i++) {
        struct index_key prefix = {.size = 0};
        index_key_u64(&prefix, (uint64_t)node->clusters[i]);
        struct index_cursor cursor;
        index_walk(service_state(call->core)->active, &prefix, false, &cursor);
        for (int64_t service = index_step(&cursor); service != 0; service = index_step(&cursor)) {
            const struct service_record_service *record =
                core_get(call->core, &service_kind, service);
            if (record->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
                service_queue(call, service);
            }
        }
    }
}

void service_node_task_ended(struct core_call *call, int64_t key)
{
    const struct task_record_node *record = core_get(call->core, &task_node_kind, key);
    bool draining = false;
    for (size_t i = 0; record != NULL && i < record->memberships.count; i++) {
        draining = draining || record->memberships.items[i].draining;
    }
    if (draining) {
        service_daemon_node_changed(call, key);
    }
}
