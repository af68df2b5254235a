#pragma once

#include "api/service_record.h"
#include "api/task_record.h"
#include "core/core.h"

/*
 * Services in the simulated region: what people do to them, and what the scheduler may do.
 *
 * A module of the simulator's own stands in the engine beside the real ones and sees every record
 * at the moment when it changes. So each start and each stop is judged by how the service stood
 * then: by counts over all records, made anew each time, which share nothing with the scheduler's
 * own.
 */

struct sim;
struct applied;

#define SERVICE_WATCH_MAX 256     ///< services of a run, deleted ones included
#define DEPLOYMENT_WATCH_MAX 2048 ///< the same of deployments
#define SERVICE_FAILURES_KEPT 64  ///< of a deployment, for how often it tries

/** What a service did, that its records do not tell. */
struct service_watch {
    int64_t key;
    int64_t completed;      ///< key of the deployment that was completed last
    int32_t desired_most;   ///< the highest desired count it ever had
    int64_t short_ms;       ///< since when it has fewer tasks than it may start; engine time, or 0
    int64_t short_world_ms; ///< the same in true time
};

/** What a deployment did. */
struct deployment_watch {
    int64_t key;
    int32_t failures; ///< all there ever were, also those that a restart of the server forgot
    int32_t streak;   ///< that never were RUNNING, one after the other; what is forgotten is not in
    int64_t over_ms;  ///< since when the streak is beyond the breaker's threshold, or 0
    int64_t failed_ms[SERVICE_FAILURES_KEPT]; ///< when its newest tasks failed to start; a ring
    size_t failed_count;
    bool hopeless; ///< its image is nowhere: no task of it can ever run
};

/** Services of a run. */
struct services {
    bool active;       ///< this seed has services
    bool alone;        ///< and nothing else is run
    bool hours;        ///< the run takes hours, and all happens slowly
    bool loading;      ///< records come from the store
    uint64_t life;     ///< of the people who change them
    int64_t pause_ms;  ///< between two changes, at most
    int64_t settle_ms; ///< see service_set_settle_ms; 0 for ECS's
    int weights[8];    ///< of each kind of change
    struct service_watch watches[SERVICE_WATCH_MAX];
    size_t watch_count;
    struct deployment_watch deployments[DEPLOYMENT_WATCH_MAX];
    size_t deployment_count;
    int64_t looked_ms;  ///< when all services were looked at last
    bool parts_touched; ///< a deployment changed since all were looked at
    int64_t parts_ms;   ///< when that was
    int64_t *live;      ///< keys of the tasks of services that are not STOPPED; owned
    size_t live_count;
    size_t live_capacity;
};

// ---- people: services.c -----------------------------------------------------------------------

/** Choose whether the seed has services, and whether its run takes hours, as it does when it must;
 *  make their definitions. */
void services_setup(struct sim *sim, bool hours);
/** Begin to change services. */
void services_begin(struct sim *sim);
/** The world is well again: what can never run is given up or mended, most of it; instances that
 *  drain become ACTIVE. */
void services_calm(struct sim *sim);
/** Delete all services by force. */
void services_delete_all(struct sim *sim);
/** @return whether tasks of a definition come and go for ever */
bool services_restless(const struct core *core, int64_t definition);

// ---- what the scheduler does: watch.c -----------------------------------------------------------

/** The module that looks on. */
extern const struct core_module watch_module;
/** An engine is made: records that come now are loaded. */
void watch_begin(struct sim *sim);
/** What is known of the tasks that live must be so. */
void watch_check(struct sim *sim);
/** All is loaded: what was not durable never happened. */
void watch_loaded(struct sim *sim);
/** @return what is known of a service, made when it is new */
struct service_watch *watch_service(struct sim *sim, int64_t key);
/** @return what is known of a deployment, made when it is new */
struct deployment_watch *watch_deployment(struct sim *sim, int64_t key);

// ---- where there is room: room.c ----------------------------------------------------------------

/** @return whether some host could take one more task of a service, in a zone, or anywhere for an
 *  empty name */
bool room_for(struct sim *sim, int64_t service, const struct service_record_revision *revision,
              struct text zone);
/** @return whether a service that is to even out its zones has two tasks more in one than in
 *  another that has room */
bool room_uneven(struct sim *sim, int64_t service, const struct service_record_revision *revision);

// ---- how services stand: standing.c -------------------------------------------------------------

/** Tasks of a service, counted from records. */
struct standing {
    int32_t desired;
    int32_t lower;
    int32_t upper;
    int32_t occupying; ///< not ended, on nodes in contact
    int32_t counted;   ///< of these PENDING or RUNNING
    int32_t healthy;   ///< to run, RUNNING, and counted as healthy
    int32_t unsettled; ///< to run, RUNNING, neither healthy nor unhealthy
    int32_t left;      ///< all that are not STOPPED
    // Of the deployment that is PRIMARY:
    int32_t live;    ///< to run, on nodes in contact
    int32_t staying; ///< of live: neither unhealthy nor on an instance that drains
    int32_t primary_healthy;
    int32_t primary_left;
    bool guarded; ///< a task to run is protected
    bool drains;  ///< a task to run is on an instance that drains
};

/** Count the tasks of a service; one of them, besides, may be left out (0 for none). */
struct standing standing_of(struct sim *sim, int64_t service, int64_t without);
/** @return whether a task is RUNNING and counts as healthy */
bool standing_healthy(struct sim *sim, const struct task_record_task *task);
/** @return whether a task's node is out of contact or gone */
bool standing_lost(const struct core *core, const struct task_record_task *task);
/** @return the service of a deployment, 0 without one */
int64_t standing_service(const struct core *core, int64_t deployment);
/** @return whether a deployment need not wait any more after its failures */
bool standing_retries(const struct sim *sim, const struct service_record_deployment *deployment);
/** What must hold after each step. */
void standing_check(struct sim *sim);
/** @return whether all services are as they should be at rest; else why is a sentence */
bool standing_settled(struct sim *sim, char *why, size_t size_bytes);
/** Count what came of the services of a run that is at rest. */
void standing_count(struct sim *sim);
/** An operation on services was applied. */
void standing_applied(struct sim *sim, const struct applied *applied);
