#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service_internal.h"
#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <stdio.h>

/*
 * Services at rest: as they are desired to be, or with a good reason not to.
 */

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

// Whether an instance is to have a task of a DAEMON service.
static bool daemon_wanted(const struct core *core, int64_t node_key,
                          const struct service_record_service *record)
{
    const struct task_record_node *node = core_get(core, &task_node_kind, node_key);
    const struct task_node *known = task_node(task_state(core), node_key);
    if (known == NULL || known->lost || known->removed || !known->connected) {
        return false;
    }
    for (size_t i = 0; i < node->memberships.count; i++) {
        const struct task_record_membership *membership = &node->memberships.items[i];
        if (membership->cluster == record->cluster && !membership->draining &&
            membership->deregistered_at == 0) {
            return standing_meant(record, membership);
        }
    }
    return false;
}

// One healthy task of the newest deployment on each instance that is to have one; else only what
// leaves last an instance that drains.
static enum rest rest_of_daemon(struct sim *sim, int64_t service,
                                const struct service_record_service *record,
                                const struct service_record_revision *revision)
{
    const struct core *core = sim->server.core;
    int32_t wanted = 0;
    bool room = false;
    bool whole = true;
    for (int64_t node = core_next(core, &task_node_kind, 0); node != 0;
         node = core_next(core, &task_node_kind, node)) {
        int32_t healthy = 0;
        int32_t left = 0;
        for (size_t i = 0; i < sim->services.live_count; i++) {
            const struct task_record_task *task = core_get(core, &task_kind, sim->services.live[i]);
            bool here = task->node == node && standing_service(core, task->deployment) == service;
            bool stays = here && standing_drains(core, task);
            left += here && !stays;
            healthy += here && !stays && task->deployment == record->primary &&
                       task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING &&
                       standing_healthy(sim, task);
        }
        bool here = daemon_wanted(core, node, record);
        wanted += here;
        whole = whole && left == here && healthy == here;
        room = room || (here && left == 0 && room_on(sim, node, service, revision));
    }
    if (record->desired_count != wanted) {
        return REST_MOVING;
    }
    return whole                                                            ? REST_CONVERGED
           : service_entry(service_state(core), service)->unplaced && !room ? REST_UNPLACED
                                                                            : REST_MOVING;
}

// Each task set has its own share of the service's desired count.
static enum rest rest_of_sets(struct sim *sim, int64_t service,
                              const struct service_record_service *record)
{
    const struct core *core = sim->server.core;
    enum rest rest = REST_CONVERGED;
    for (int64_t key = core_next(core, &service_deployment_kind, 0); key != 0;
         key = core_next(core, &service_deployment_kind, key)) {
        const struct service_record_deployment *set = core_get(core, &service_deployment_kind, key);
        if (set->service != service || set->status == SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE) {
            continue;
        }
        const struct service_record_revision *revision =
            core_get(core, &service_revision_kind, set->revision);
        int32_t desired = standing_share(record, set);
        struct standing standing = standing_of_set(sim, service, key, desired, 0);
        bool converged = set->desired_count == desired && standing.left == desired &&
                         standing.primary_healthy == desired &&
                         set->status != SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING;
        bool held = standing.guarded ||
                    (standing.lower >= desired && standing.upper <= desired &&
                     standing.counted == standing.left && standing.left >= standing.upper);
        bool unplaced = service_entry(service_state(core), service)->unplaced &&
                        standing.staying < desired && room_short(sim, service, revision);
        if (!converged && !held && !unplaced) {
            return REST_MOVING;
        }
        rest = converged ? rest : held ? REST_STUCK : REST_UNPLACED;
    }
    return rest;
}

static enum rest rest_of(struct sim *sim, int64_t key, const struct service_record_service *record)
{
    const struct core *core = sim->server.core;
    const struct service_record_deployment *primary = standing_primary(sim, record);
    if (service_sort(record) == SORT_SETS) {
        return rest_of_sets(sim, key, record);
    }
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
    if (services_restless(core, revision->definition) || stages_restless(sim, record)) {
        return REST_RESTLESS;
    }
    if (service_sort(record) == SORT_DAEMON && !standing.guarded && !stuck(record, &standing)) {
        return rest_of_daemon(sim, key, record, revision);
    }
    if (stages_moving(sim, record)) {
        bool held = standing.guarded || (standing.drains && standing.lower >= standing.desired &&
                                         standing.upper <= standing.desired);
        bool unplaced =
            service_entry(service_state(core), key)->unplaced && room_short(sim, key, revision);
        return held ? REST_STUCK : unplaced ? REST_UNPLACED : REST_MOVING;
    }
    // Protection ends soon, unless the server's clock was set back since it was given.
    if (stuck(record, &standing) || standing.guarded) {
        return REST_STUCK;
    }
    bool unplaced = service_entry(service_state(core), key)->unplaced;
    return unplaced && standing.staying < standing.desired && room_short(sim, key, revision)
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
            world_trace(&sim->world,
                        "  task %.8s of deployment %lld: status %d of %d, health %d%s%s",
                        task->task_id.data, (long long)task->deployment, (int)task->last_status,
                        (int)task->desired_status, (int)task->health,
                        standing_drains(core, task) ? ", drains" : "",
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
            stages_tell(sim, record);
            const struct service_record_deployment *primary = standing_primary(sim, record);
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
                     rest == REST_UNEVEN ? ", it is spread unevenly" : "");
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
