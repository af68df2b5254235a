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

/** Kinds of services: the first letter of a name tells which. */
enum service_sort {
    SORT_REPLICA = 's',
    SORT_DAEMON = 'd',
    SORT_SETS = 'e',   ///< controller EXTERNAL, with task sets
    SORT_STAGED = 'g', ///< its deployments go by stages: blue and green
};

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
    bool refused;  ///< a hook failed, or somebody had it stopped: it has to turn back
};

/** What the endpoint of a lifecycle hook said. */
struct hook_fact {
    char id[64];
    bool under_way;       ///< it is being asked
    uint64_t server_life; ///< by the server of that life
    bool succeeded;       ///< it said so once
    bool failed;          ///< or that, or nothing of use
};

/** Services of a run. */
struct services {
    bool active;                 ///< this seed has services
    bool alone;                  ///< and nothing else is run
    enum service_sort favourite; ///< most services of this seed are of this kind
    bool spot;                   ///< this seed is about FARGATE_SPOT
    bool hours;                  ///< the run takes hours, and all happens slowly
    bool loading;                ///< records come from the store
    uint64_t life;               ///< of the people who change them
    int64_t pause_ms;            ///< between two changes, at most
    int64_t settle_ms;           ///< see service_set_settle_ms; 0 for ECS's
    int weights[8];              ///< of each kind of change
    struct service_watch watches[SERVICE_WATCH_MAX];
    size_t watch_count;
    struct deployment_watch deployments[DEPLOYMENT_WATCH_MAX];
    size_t deployment_count;
    struct hook_fact **hooks; ///< owned
    size_t hook_count;
    size_t hook_capacity;
    uint64_t hooks_life; ///< of those who continue deployments that paused
    int64_t looked_ms;   ///< when all services were looked at last
    bool parts_touched;  ///< a deployment changed since all were looked at
    int64_t parts_ms;    ///< when that was
    int64_t *live;       ///< keys of the tasks of services that are not STOPPED; owned
    size_t live_count;
    size_t live_capacity;
};

// ---- people: services.c -----------------------------------------------------------------------

/** Choose whether the seed has services, and whether its run takes hours, as it does when it must;
 *  make their definitions. */
void services_setup(struct sim *sim, bool hours);
/** A service that somebody has in mind. */
struct chosen {
    int64_t key;
    char name[16];
    char cluster[32];
    const struct service_record_service *record;
    bool network; ///< its tasks have addresses of their own
};

/** What people do to services. */
enum change {
    CHANGE_CREATE,
    CHANGE_DEFINITION,
    CHANGE_COUNT,
    CHANGE_CONFIGURATION,
    CHANGE_FORCE,
    CHANGE_PROTECT,
    CHANGE_DELETE,
    CHANGE_SPOT,
    CHANGE_COUNT_OF,
};

/** Ask for something; an apostrophe stands for a quotation mark. */
void services_ask(struct sim *sim, enum ecs_operation number, const char *format, ...)
    PRINTF_LIKE(3, 4);
/** @return a family of the given kind of network; without one, now and then one that never works */
const char *services_family(struct sim *sim, bool network);
/** A networkConfiguration with all subnets, and a comma before it. */
void services_network(struct sim *sim, char *out, size_t size_bytes);

// ---- services of other kinds: kinds.c -----------------------------------------------------------

/** @return of which kind a service is */
enum service_sort service_sort(const struct service_record_service *record);
/** Make a DAEMON service. */
void kinds_create_daemon(struct sim *sim);
/** Make a service with task sets. */
void kinds_create_sets(struct sim *sim);
/** Make a service whose deployments go by stages. */
void kinds_create_staged(struct sim *sim);
/** Change a service whose deployments go by stages. @return whether that is all */
bool kinds_change_staged(struct sim *sim, enum change change, const struct chosen *chosen);
/** Change a DAEMON service. */
void kinds_change_daemon(struct sim *sim, enum change change, const struct chosen *chosen);
/** Change a service with task sets, or one of them. */
void kinds_change_sets(struct sim *sim, enum change change, const struct chosen *chosen);

/** Begin to change services. */
void services_begin(struct sim *sim);
/** The world is well again: what can never run is given up or mended, most of it; instances that
 *  drain become ACTIVE. */
void services_calm(struct sim *sim);
/** Delete all services by force. */
void services_delete_all(struct sim *sim);
/** @return whether tasks of a definition come and go for ever */
bool services_restless(const struct core *core, int64_t definition);

// ---- FARGATE_SPOT: spot.c -----------------------------------------------------------------------

/** Take the capacity of many hosts back; each is given back later. */
void spot_wave(struct sim *sim);
/** Most of what was taken is given back. */
void spot_calm(struct sim *sim);
/** A strategy of both pools, as a member. */
void spot_strategy(struct sim *sim, char *out, size_t size_bytes);
/** @return whether a host is of that pool, and was not taken back from it */
bool spot_offers(const struct task_record_membership *membership, bool spot);
/** A task came or changed. */
void spot_task_changed(struct sim *sim, const struct core *core,
                       const struct task_record_task *before, const struct task_record_task *after);
/** Look for tasks of FARGATE_SPOT that go on although their host was taken back. */
void spot_check(struct sim *sim);
/** @return whether nothing is to run on what was taken back */
bool spot_settled(struct sim *sim, char *why, size_t size_bytes);
/** A service started a task: its provider has no more than its share by the strategy. */
void spot_started(struct sim *sim, const struct core *core,
                  const struct service_record_service *record,
                  const struct service_record_revision *revision,
                  const struct task_record_task *task);

// ---- lifecycle hooks: hooks.c -------------------------------------------------------------------

/** Let people look after deployments that paused, until the end. */
void hooks_begin(struct sim *sim);
/** An endpoint is called. */
void hooks_effect(struct sim *sim, const struct core_effect *effect);
/** @return what is known of a hook, made when it is new */
struct hook_fact *hook_fact(struct sim *sim, struct text id);
/** Free. */
void hooks_deinit(struct services *services);

// ---- deployments by stages: stages.c ------------------------------------------------------------

/** @return the newest rollout of a service when it goes by stages, else NULL */
const struct service_record_rollout *stages_rollout(struct sim *sim,
                                                    const struct service_record_service *service);
/** @return whether it is under way, or failed without a way back */
bool stages_open(struct sim *sim, const struct service_record_service *service);
/** @return whether it is under way */
bool stages_moving(struct sim *sim, const struct service_record_service *service);
/** @return whether blue and green keep their counts each by itself now */
bool stages_apart(struct sim *sim, const struct service_record_service *service);
/** @return whether others give way to a deployment, which keeps its own count besides */
bool stages_gathers(struct sim *sim, const struct service_record_service *service,
                    int64_t deployment);
/** @return the deployment that others give way to */
int64_t stages_primary(struct sim *sim, const struct service_record_service *service);
/** @return whether tasks of a deployment may be started now */
bool stages_may_start(struct sim *sim, const struct service_record_service *service,
                      int64_t deployment);
/** @return whether blue, which has the traffic, is of what never works */
bool stages_restless(struct sim *sim, const struct service_record_service *service);
/** @return whether the circuit breaker is at work */
bool stages_breaks(struct sim *sim, const struct service_record_service *service);
/** Trace how it stands, for whoever looks for why it does not go on. */
void stages_tell(struct sim *sim, const struct service_record_service *service);
/** A rollout changed. */
void stages_changed(struct sim *sim, const struct service_record_rollout *before,
                    const struct service_record_rollout *after);

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
/** @return whether some provider of a service has no room for one more of its tasks */
bool room_short(struct sim *sim, int64_t service, const struct service_record_revision *revision);
/** @return whether a host could take one more task of a service */
bool room_on(struct sim *sim, int64_t node, int64_t service,
             const struct service_record_revision *revision);
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
/** The same of one deployment that keeps a count of its own: its tasks alone. */
struct standing standing_of_set(struct sim *sim, int64_t service, int64_t deployment,
                                int32_t desired, int64_t without);
/** @return the desired count of a task set: its share, rounded up; 0 when it is deleted */
int32_t standing_share(const struct service_record_service *service,
                       const struct service_record_deployment *set);
/** How a service stands, as far as a task of the deployment is judged by it. */
struct standing standing_for(struct sim *sim, int64_t service, int64_t deployment, int64_t without);
/** @return whether an instance has what the constraints of a DAEMON service ask for */
bool standing_meant(const struct service_record_service *service,
                    const struct task_record_membership *membership);
/** @return whether a task is RUNNING and counts as healthy */
bool standing_healthy(struct sim *sim, const struct task_record_task *task);
/** @return whether a task's node is out of contact or gone */
bool standing_lost(const struct core *core, const struct task_record_task *task);
/** @return whether a task is RUNNING and known to be unhealthy, for longer than its time of grace
 */
bool standing_sick(struct sim *sim, const struct service_record_service *service,
                   const struct task_record_task *task);
/** @return whether a task is on an instance that drains or is deregistered */
bool standing_drains(const struct core *core, const struct task_record_task *task);
/** @return the PRIMARY deployment of a service, NULL without one */
const struct service_record_deployment *
standing_primary(struct sim *sim, const struct service_record_service *record);
/** @return the service of a deployment, 0 without one */
int64_t standing_service(const struct core *core, int64_t deployment);
/** @return whether a deployment need not wait any more after its failures */
bool standing_retries(const struct sim *sim, const struct service_record_deployment *deployment);
/** What must hold after each step. */
void standing_check(struct sim *sim);
/** An operation on services was applied. */
void standing_applied(struct sim *sim, const struct applied *applied);

// ---- at rest: rest.c ------------------------------------------------------------------------

/** @return whether all services are as they should be at rest; else why is a sentence */
bool standing_settled(struct sim *sim, char *why, size_t size_bytes);
/** Count what came of the services of a run that is at rest. */
void standing_count(struct sim *sim);
