#pragma once

#include "api/event.h"
#include "base/map.h"
#include "base/mutant.h"
#include "base/text.h"
#include "core/index.h"
#include "ecs/capacity.h"
#include "ecs/ecs_internal.h"
#include "ecs/service.h"
#include "ecs/task_internal.h"

/*
 * What the parts of service_module share.
 *
 * service_state.c   what follows from records: the tasks of each service, in a flat array
 * service_ask.c, service_ask_update.c  what a CreateService, UpdateService, CreateTaskSet asks for
 * service_fill.c    its defaults
 * service_check.c, service_attached.c  what must hold of it
 * service_change.c  CreateService, UpdateService, DeleteService
 * service_show.c, service_list.c  Describe and List
 * rollout_show.c    service deployments and revisions: Describe, List, Stop
 * service_event.c   what a service tells
 * event.c           the same for the event stream
 * service_spread.c  how many tasks a service has in each zone and on each host
 * survey.c          how a service stands: counts for each deployment
 * schedule.c        the next step of a service: how many tasks to start and to stop
 * rebalance.c       evening out zones
 * pick.c            which tasks to stop
 * launch.c          starting tasks of a deployment
 * daemon.c          the next step of a DAEMON service
 * stage*.c, hook*.c deployments by stages: see stage.h
 * task_set*.c       task sets: what is asked of them, how they are shown, their next step
 * rollout.c         deployments that begin, are completed, fail
 * revision_image.c  the digests of a revision's images
 * rollout_back.c    the circuit breaker, and the way back
 */

#define SERVICE_EVENTS_MAX 100   ///< ECS shows that many
#define SERVICE_LAUNCH_STEP 40   ///< tasks started in one step: each is two records
#define SERVICE_STOP_STEP 60     ///< tasks stopped in one step
#define SERVICE_SETTLE_MS 40000  ///< see service_set_settle_ms
#define SERVICE_TOLD_MAX 6       ///< a service and five task sets
#define SERVICE_ROLLOUTS_MAX 100 ///< finished rollouts kept of a service
#define SERVICE_INACTIVE_MS (7 * 24 * 3600 * INT64_C(1000)) ///< how long a deleted one is described
#define SERVICE_BACKOFF_MAX_MS (900 * INT64_C(1000))        ///< ECS: 15 minutes at most
#define SERVICE_CRASH_BACKOFF_MAX_MS (30 * INT64_C(1000))   ///< of tasks that were RUNNING once
#define SERVICE_EVENT_INSTANCES_MAX 10 ///< instances that an event of a failed placement names
#define SERVICE_UNPLACED_MS 5000 ///< when no place was found, one is looked for again after it

/** A task of a service that is not STOPPED, as the scheduler sees it. */
struct service_task {
    int64_t key;
    int64_t deployment;
    int64_t node;
    const struct task_node *host; ///< that node: it outlives its tasks
    const struct task_zone *zone; ///< through which it was placed: it outlives them, too
    int64_t subnet;               ///< 0 without one
    int64_t created_ms;
    int64_t started_ms;
    int64_t protected_ms; ///< until then
    uint8_t last_status;
    uint8_t desired_status;
    uint8_t health;
    uint8_t provider; ///< place of its capacity provider in the names of the state; 0 for none
};

/** The newest message about what does not go. */
struct service_told {
    struct text message; ///< owned
    int64_t told_ms;
    int64_t speaker; ///< task set it is about; 0 for the service
};

#define SERVICE_SPREADS_MAX 2 ///< both pools, or a cluster

struct task_spread;

/** A service in memory, beside its record. */
struct service_entry {
    int64_t key;
    struct service_task *tasks; ///< ascending by key; a key of 0 is a gap
    size_t task_count;          ///< gaps included
    size_t task_capacity;
    size_t gap_count;
    int64_t *deployments; ///< that are not INACTIVE, ascending
    size_t deployment_count;
    size_t deployment_capacity;
    bool hooks_asked; ///< since this engine began, those that wait for an answer were called
    bool unplaced;    ///< a task found no place when it was looked for last
    bool uneven;      ///< its zones were when they were looked at last, and no task could be moved
    int64_t speaker;  ///< the task set whose step is under way: events name it; 0 for none
    struct task_spread *spreads[SERVICE_SPREADS_MAX]; ///< owned: see service_spread.c; or NULL
    struct service_told told[SERVICE_TOLD_MAX];       ///< one for the service and each task set
};

/** Derived from records, never stored. */
struct service_state {
    struct core *core;
    int64_t settle_ms;
    bool spot_fallback;         ///< see service_set_spot_fallback
    struct map entries;         ///< by service's key, of those that are not INACTIVE
    struct map hook_tasks;      ///< by key of a task that a lifecycle hook waits for: its service's
    struct map definition_uses; ///< by definition's key: deployments that are not INACTIVE, a count
    struct index *by_name;      ///< cluster, name; of every status
    struct index *active;       ///< cluster, name; ACTIVE ones, as listed
    struct index *revisions;    ///< service, number
    struct index *rollouts;     ///< service, createdAt
    struct index *rollout_ids;  ///< service, id
    struct index *events;       ///< service, createdAt
    struct index *deployments;  ///< service, number; of every status
    size_t unresolved_count;    ///< tasks without a host: while rows are loaded, it comes later
    struct text *providers;     ///< owned: names, by service_task.provider
    size_t provider_count;
};

/** Numbers of the managers. */
enum service_manager {
    SERVICE_MANAGER_SCHEDULE, ///< service: the next step
    SERVICE_MANAGER_REAP,     ///< service that is INACTIVE: let it go
    SERVICE_MANAGER_COUNT,
};
extern const struct core_manager service_managers[];

// ---- service_state.c ------------------------------------------------------------------------

/** Make the volatile state. */
void *service_state_new(struct core *core);
/** Free it. */
void service_state_free(void *pointer);
/** Keep it up to date; see core_module. */
void service_state_changed(void *pointer, struct core *core, const struct core_kind *kind,
                           int64_t key, const void *before, const void *after);
/** See core_module. */
void service_state_check(void *pointer, struct core *core, struct buf *violations);
/** @return the state of an engine, NULL when it has no services */
struct service_state *service_state(const struct core *core);
/** @return the entry of a service that is not INACTIVE, or NULL */
struct service_entry *service_entry(const struct service_state *state, int64_t service);
/** @return the number of a capacity provider, as in service_task; 0 when no task ever had it */
uint8_t service_provider_number(const struct service_state *state, struct text name);
/** Close the gaps in an entry's tasks. */
void service_entry_compact(struct service_entry *entry);

// ---- service_spread.c -----------------------------------------------------------------------

/** A task comes to stand where it stands (1), or is about to change (-1). */
void service_spread_count(const struct service_state *state, struct service_entry *entry,
                          const struct service_task *task, int32_t sign);
/** @return how many of a service's tasks are to run in each zone and on each node of a group; it
 *  follows them, until nodes change or the service rests */
const struct task_spread *service_entry_spread(const struct core *core, struct service_entry *entry,
                                               const struct task_group *group);
/** Let go of what was counted. */
void service_spreads_drop(struct service_entry *entry);
/** Compare what is kept with what tasks tell; see core_module. */
void service_spreads_check(const struct core *core, const struct service_entry *entry,
                           struct buf *violations);

// ---- service_ask.c, service_ask_update.c ----------------------------------------------------

/** What a service is to be, read from a request, over what it was. */
struct service_ask {
    struct service_record_service service;
    struct service_record_revision revision;
    bool deploy; ///< the revision is another than before, or a deployment was asked for
};

/** Read and check a CreateService. @return 0 or ERR_FAULT */
MUST_CHECK int service_ask_create(struct core_call *call,
                                  const struct ecs_create_service_request *request, int64_t cluster,
                                  struct service_ask *out_ask);
/** Read and check an UpdateService of a service. @return 0 or ERR_FAULT */
MUST_CHECK int service_ask_update(struct core_call *call,
                                  const struct ecs_update_service_request *request, int64_t service,
                                  struct service_ask *out_ask);

/** Read and check the revision of a CreateTaskSet. @return 0 or ERR_FAULT */
MUST_CHECK int service_ask_task_set(struct core_call *call,
                                    const struct ecs_create_task_set_request *request,
                                    int64_t service, struct service_ask *out_ask);

// ---- service_fill.c -------------------------------------------------------------------------

/** @return a deployment configuration as asked for over what was before, either may be NULL, with
 *  its defaults: 200/100 for REPLICA, 100/0 for DAEMON */
struct ecs_deployment_configuration *
service_fill_configuration(struct core_call *call, const struct ecs_deployment_configuration *asked,
                           const struct ecs_deployment_configuration *before, bool daemon);
/** @return strategy items as ECS echoes them, with weight and base; NULL for none */
struct ecs_capacity_provider_strategy_item *
service_fill_strategy(struct core_call *call,
                      const struct ecs_capacity_provider_strategy_item *items, size_t count);
/** Without a launch type, the cluster's default strategy decides, and without one EC2. */
void service_fill_launch_type(struct core_call *call, int64_t cluster,
                              struct service_record_revision *revision);
/** Service Connect without a namespace is in the cluster's default one. @return asked, or a copy */
struct ecs_service_connect_configuration *
service_fill_connect(struct core_call *call, int64_t cluster,
                     struct ecs_service_connect_configuration *asked);
/** Find the task definition of a revision. @return 0 or ERR_FAULT */
MUST_CHECK int service_fill_definition(struct core_call *call, struct text reference,
                                       struct service_record_revision *revision);
/** A new service evens out its zones where it can; one that is asked to and cannot is refused. An
 *  update that does not say keeps what was, and what never was set is DISABLED. @return 0 or
 *  ERR_FAULT */
MUST_CHECK int service_fill_zones(struct core_call *call,
                                  enum ecs_availability_zone_rebalancing asked, bool is_new,
                                  struct service_ask *ask);

// ---- service_check.c, service_attached.c ----------------------------------------------------

/** Check what a service is to be, but for its name. @return 0 or ERR_FAULT */
MUST_CHECK int service_check(struct core_call *call, const struct service_ask *ask);
/** With --strict, refuse ECS Exec without a task role, whose permissions its agent needs at AWS;
 * done is `created` or `updated`. @return 0 or ERR_FAULT */
MUST_CHECK int service_check_execute(struct core_call *call, const struct service_ask *ask,
                                     const char *done);
/** The same of load balancers, registries, Service Connect, volumes and VPC Lattice. */
MUST_CHECK int service_check_attached(struct core_call *call, const struct service_ask *ask);
/** @return what keeps a service from having its zones evened out, for the end of a sentence; NULL
 *  when nothing does */
const char *service_zones_refusal(const struct core *core, const struct service_ask *ask);

// ---- service_change.c, service_list.c: handlers ---------------------------------------------

/** Handler of CreateService; see core_handler_fn. */
int service_create(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateService. */
int service_update(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteService. */
int service_delete(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DescribeServices. */
int service_describe(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListServices. */
int service_list(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListServicesByNamespace. */
int service_list_by_namespace(struct core_call *call, void *state, const void *request,
                              void *response);
/** Put a new revision of a service. @return its key */
int64_t service_revision_put(struct core_call *call, int64_t service,
                             struct service_record_revision *revision);
/** Find a service of a cluster of any status, the newest one meant by a name or ARN. @return its
 *  key, or 0 */
int64_t service_find_any(const struct core *core, int64_t cluster, struct text reference);
/** The same by its name alone. */
int64_t service_lookup(const struct core *core, int64_t cluster, struct text name);

// ---- service_show.c -------------------------------------------------------------------------

/** @return the beginning of an ARN up to the service's name, for a type that is named below one */
struct text service_arn_below(struct core_call *call, const char *type, int64_t service);
/** @return the ARN of a service */
struct text service_arn(struct core_call *call, int64_t service);
/** @return `ecs-svc/` and a deployment's number */
struct text service_deployment_id(struct core_call *call, int64_t deployment);
/** @return the ARN of a rollout */
struct text service_rollout_arn(struct core_call *call, int64_t rollout);
/** @return the ARN of a revision */
struct text service_revision_arn(struct core_call *call, int64_t revision);
/** @return whether tasks of a revision run on Fargate */
bool service_on_fargate(const struct service_record_revision *revision);
/** @return the platform version that tasks of a revision run on, on Fargate; absent elsewhere */
struct text service_resolved_platform(const struct service_record_revision *revision);
/** @return their platform family */
struct text service_shown_family(struct core_call *call,
                                 const struct service_record_revision *revision);
/** Fill a service as DescribeServices shows it. */
void service_show(struct core_call *call, int64_t service, bool tags, struct ecs_service *out);

// ---- rollout_show.c -------------------------------------------------------------------------

/** Handler of DescribeServiceDeployments. */
int service_describe_rollouts(struct core_call *call, void *state, const void *request,
                              void *response);
/** Handler of ListServiceDeployments. */
int service_list_rollouts(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DescribeServiceRevisions. */
int service_describe_revisions(struct core_call *call, void *state, const void *request,
                               void *response);
/** Handler of StopServiceDeployment. */
int service_stop_rollout(struct core_call *call, void *state, const void *request, void *response);
/** Find the service deployment that a request names by its ARN. @return 0, or a fault's code */
MUST_CHECK int service_rollout_named(struct core_call *call, struct text arn, int64_t *out_key);
/** Refuse a text that is no ARN of what it should be, such as `service deployment`. @return
 *  ERR_FAULT */
int service_refuse_arn(struct core_call *call, const char *what, struct text arn);

// ---- revision_image.c -----------------------------------------------------------------------

/** Keep the digests that a task's images have in its revision, of containers without one. */
void service_revision_learn(struct core_call *call, int64_t revision,
                            const struct task_record_task *task);

// ---- service_event.c ------------------------------------------------------------------------

/** Tell something: `(service NAME) ` and the rest, a format. Puts a record, and takes the oldest
 *  away when there are more than ECS shows. */
void service_tell(struct core_call *call, int64_t service, const char *format, ...)
    PRINTF_LIKE(3, 4);
/** The same for what does not go: nothing when it is what was told last, within six hours. @return
 *  whether it was told */
bool service_tell_once(struct core_call *call, struct service_entry *entry, const char *format, ...)
    PRINTF_LIKE(3, 4);
/** What did not go goes again: it may be told anew. */
void service_tell_cleared(struct service_entry *entry);
/** Free what was noted of that. */
void service_told_free(struct service_entry *entry);

// ---- event.c --------------------------------------------------------------------------------

struct service_survey;
struct service_standing;

/** Yield `ECS Deployment State Change` of a deployment. */
void service_event_deployment(struct core_call *call, int64_t deployment,
                              enum event_deployment_event_name name, struct text reason);
/** Yield `ECS Service Action` of a service; its type, cluster and time are filled in. */
void service_event_action(struct core_call *call, int64_t service,
                          const struct event_service_action *action);
/** Yield that a task of a deployment found no place: failures tells of each instance, NULL is for
 *  want of room on Fargate. */
void service_event_unplaced(struct core_call *call, const struct service_survey *survey,
                            const struct service_standing *standing,
                            const struct ecs_failure_list *failures);

// ---- survey.c -------------------------------------------------------------------------------

/** How one deployment stands. */
struct service_standing {
    int64_t key;
    const struct service_record_deployment *record;
    const struct service_record_revision *revision;
    bool checked;              ///< an essential container has a health check
    int32_t pending;           ///< on their way to RUNNING
    int32_t running;           ///< RUNNING, whatever is desired
    int32_t live;              ///< to run, and not on a lost node: pending or running
    int32_t staying;           ///< of live: neither unhealthy nor on an instance that drains
    int32_t up;                ///< of staying: RUNNING
    int32_t healthy;           ///< of up: counted as healthy
    int32_t serving;           ///< of live: RUNNING and not unhealthy
    int32_t fit;               ///< of live: counted as healthy, on whatever instance
    int32_t unhealthy;         ///< of live
    int32_t occupying;         ///< not known to have ended, and not on a lost node
    int32_t lost;              ///< to run, but on a lost node
    int32_t tasks;             ///< all that are not STOPPED
    int64_t newest_healthy_ms; ///< when the newest task that is healthy was made
};

/** A step that evens out zones: what it tells names the zone. */
struct service_move {
    struct text zone;
    struct text unbalanced; ///< when it begins: tasks by zone before it, for the event
    bool quiet;             ///< that there is no room is not told
};

/** How a service stands. */
struct service_survey {
    const struct service_record_service *record;
    struct service_entry *entry;
    struct service_standing *standings; ///< in ascending key of the deployment
    size_t count;
    struct service_standing *primary; ///< NULL without one
    int32_t pending;
    int32_t running;
    int32_t occupying;
    int64_t due_ms;                  ///< when time alone changes it next; 0 for never
    const struct service_move *move; ///< what is done now evens out zones; else NULL
};

/** Survey a service. Standings are in the call's arena. */
void service_survey(struct core_call *call, struct service_entry *entry,
                    struct service_survey *out_survey);

/** What a task is to the scheduler. */
enum service_place {
    SERVICE_PLACE_ENDING, ///< to be stopped, or on a lost node
    SERVICE_PLACE_PENDING,
    SERVICE_PLACE_SETTLING, ///< RUNNING, not yet counted as healthy
    SERVICE_PLACE_HEALTHY,
    SERVICE_PLACE_UNHEALTHY,
};

/** Judge a task. out_leaving says whether its instance drains. */
enum service_place service_judge(struct core_call *call, const struct service_survey *survey,
                                 const struct service_standing *standing,
                                 const struct service_task *task, bool *out_leaving);

// ---- schedule.c -----------------------------------------------------------------------------

/** Manager SERVICE_MANAGER_SCHEDULE. */
void service_schedule_work(struct core_call *call, void *state, int64_t key);
/** Manager SERVICE_MANAGER_REAP. */
void service_reap_work(struct core_call *call, void *state, int64_t key);
/** Queue a service. */
void service_queue(struct core_call *call, int64_t service);
/** One step towards the survey's primary deployment: its tasks come, those of others go. Queues the
 *  service when something moved. */
void service_roll(struct core_call *call, struct service_survey *survey);
/** One step towards so many tasks of one deployment or task set, whatever others have. @return how
 *  many were started or stopped; when any, the survey is old */
size_t service_keep(struct core_call *call, struct service_survey *survey,
                    struct service_standing *standing, int32_t desired);

/** One step of a deployment that has all traffic: it keeps its own tasks, and others give way to it
 *  as fast as the service's bounds allow. Queues the service when something moved. */
void service_gather(struct core_call *call, struct service_survey *survey,
                    struct service_standing *standing);

/** A step is due at a time at the latest, unless something happens before. */
void service_due(struct service_survey *survey, int64_t at_ms);
/** @return whether tasks of a deployment failed, and none is to be started before its retryAt */
bool service_must_wait(const struct core_call *call, const struct service_standing *standing);
/** @return what tasks are told that stop for the primary deployment's sake */
struct text service_scaling_reason(struct core_call *call, const struct service_survey *survey);
/** An event of deployments that their own bounds forbid to begin. */
#define SERVICE_STUCK_MESSAGE                                                                      \
    "was unable to stop or start tasks during a deployment because of the service deployment "     \
    "configuration. Update the minimumHealthyPercent or maximumPercent value and try again."

// ---- task_set.c, task_set_show.c, task_set_work.c -------------------------------------------

/** Handler of CreateTaskSet. */
int service_create_task_set(struct core_call *call, void *state, const void *request,
                            void *response);
/** Handler of UpdateTaskSet. */
int service_update_task_set(struct core_call *call, void *state, const void *request,
                            void *response);
/** Handler of DeleteTaskSet. */
int service_delete_task_set(struct core_call *call, void *state, const void *request,
                            void *response);
/** Handler of UpdateServicePrimaryTaskSet. */
int service_update_primary_task_set(struct core_call *call, void *state, const void *request,
                                    void *response);
/** Handler of DescribeTaskSets. */
int service_describe_task_sets(struct core_call *call, void *state, const void *request,
                               void *response);
/** Find a service that is ACTIVE and has task sets. @return 0 or ERR_FAULT */
MUST_CHECK int service_task_set_open(struct core_call *call, struct text cluster,
                                     struct text reference, int64_t *out_service);
/** @return the ARN of a task set */
struct text service_task_set_arn(struct core_call *call, int64_t deployment);
/** @return computedDesiredCount */
int32_t service_task_set_desired(const struct service_record_service *service,
                                 const struct service_record_deployment *set);
/** Fill a task set as the API shows it. */
void service_task_set_show(struct core_call *call, const struct service_survey *survey,
                           const struct service_standing *standing, bool tags,
                           struct ecs_task_set *out);
/** Fill all task sets of a service, the newest first. */
void service_task_sets_show(struct core_call *call, const struct service_survey *survey, bool tags,
                            struct ecs_task_set_list *out);
/** Do the next step of a service with task sets. */
void service_task_sets_work(struct core_call *call, struct service_survey *survey);

// ---- daemon.c -------------------------------------------------------------------------------

/** Do the next steps of a DAEMON service. The survey may be another one afterwards. */
void service_daemon_work(struct core_call *call, struct service_survey *survey);
/** Queue the DAEMON services of a node's clusters. */
void service_daemon_node_changed(struct core_call *call, int64_t node);

// ---- rebalance.c ----------------------------------------------------------------------------

/** The next step towards even zones, see availabilityZoneRebalancing. @return whether something was
 *  done, and the survey is old */
bool service_rebalance(struct core_call *call, struct service_survey *survey);
/** @return whether a node is the only one that takes tasks in a zone: until now there was none */
bool service_zone_opened(const struct core *core, int64_t node);

// ---- pick.c ---------------------------------------------------------------------------------

/** Tasks that may be stopped, and in which order. */
enum service_pick {
    SERVICE_PICK_OLD, ///< of other deployments than the primary: unhealthy ones, then the oldest
    SERVICE_PICK_LEAVING,   ///< of the primary, on instances that drain
    SERVICE_PICK_UNHEALTHY, ///< of the primary
    SERVICE_PICK_SURPLUS,   ///< of the primary: PENDING first, then where most tasks are
    SERVICE_PICK_LOST,      ///< of any deployment, on lost nodes
    SERVICE_PICK_ANY,       ///< all, for a service that is deleted
};

/** How many may be stopped. */
struct service_pick_limit {
    size_t count;     ///< of all
    size_t serving;   ///< of those that are RUNNING and not unhealthy
    size_t healthy;   ///< of those that count as healthy
    struct text zone; ///< only there; absent for anywhere
};

/**
 * Stop tasks, at most SERVICE_STOP_STEP. Protected ones are left alone, but of a service that is
 * deleted.
 *
 * @return how many were told to stop
 */
size_t service_stop(struct core_call *call, struct service_survey *survey, enum service_pick pick,
                    struct service_pick_limit limit, struct text reason);
/** Stop certain tasks, which are to run. @return count */
size_t service_stop_these(struct core_call *call, struct service_survey *survey,
                          const int64_t *keys, size_t count, struct text reason);
/** @return the standing of a deployment that has tasks */
struct service_standing *service_standing_of(const struct service_survey *survey,
                                             int64_t deployment);

// ---- launch.c -------------------------------------------------------------------------------

/**
 * Start tasks of a deployment, at most SERVICE_LAUNCH_STEP.
 *
 * @return how many were started; when fewer than asked for, the service was told why
 */
size_t service_launch(struct core_call *call, struct service_survey *survey,
                      struct service_standing *standing, size_t count);

struct task_run;
struct task_spot;

/** An instance that takes no task. */
struct service_refusal {
    const struct task_spot *spot;
    const char *reason; ///< see task_spot_refusal
};

/** Read a deployment's tasks as a request for so many. @return 0, or ERR_FAULT when what it names
 *  is gone meanwhile; then the service was told */
MUST_CHECK int service_launch_read(struct core_call *call, struct service_survey *survey,
                                   const struct service_standing *standing, size_t count,
                                   struct task_run *out_run);
/** Start a task on each of some instances, at most SERVICE_LAUNCH_STEP, that task_spot_refusal said
 *  nothing against. */
void service_launch_on(struct core_call *call, struct service_survey *survey,
                       const struct task_run *run, struct task_spot *const *places, size_t count);
/** Tell that a task of the primary deployment found no place on an instance. */
void service_launch_refused(struct core_call *call, struct service_survey *survey,
                            const struct task_run *run, const struct service_refusal *refusal);

/** The strategy of a deployment for capacity.h, with the tasks of the deployment that stay; room
 * for CAPACITY_ITEMS_MAX. */
void service_capacity_items(struct core_call *call, const struct service_survey *survey,
                            const struct service_standing *standing,
                            struct capacity_item *out_items);

// ---- rollout.c ------------------------------------------------------------------------------

/** Begin a deployment of a revision that is already put: the PRIMARY one from now on. Edits and
 *  puts the service. @return key of the deployment */
int64_t service_rollout_begin(struct core_call *call, int64_t service,
                              struct service_record_service *record, int64_t revision);
/** @return a new number of a deployment or task set */
int64_t service_fresh_number(struct core_call *call);
/** A task of a deployment that began after the last failure is healthy: failures count anew.
 *  @return whether they did not before, and the survey is old */
bool service_rollout_forgive(struct core_call *call, const struct service_standing *standing);
/** Look whether the primary deployment failed or is complete. @return whether something changed,
 *  and the survey is old */
bool service_rollout_step(struct core_call *call, struct service_survey *survey);
/** End deployments that have no task left. @return whether there were any */
bool service_rollout_tidy(struct core_call *call, struct service_survey *survey);
/** A deployment's record in the arena, to change and core_put. */
struct service_record_deployment *service_deployment_edit(struct core_call *call, int64_t key);
/** Put it: updatedAt is now. */
void service_deployment_put(struct core_call *call, int64_t key,
                            struct service_record_deployment *record);
/** @return whether a rollout with this status has ended */
bool service_rollout_over(enum ecs_service_deployment_status status);
/** @return whether nothing is left to do: all that are desired run and are healthy, nothing else is
 *  there */
bool service_rollout_steady(const struct service_survey *survey);
/** The primary deployment is what it was to be. */
void service_rollout_complete(struct core_call *call, struct service_survey *survey);
/** End a rollout, unless it has ended. */
void service_rollout_end(struct core_call *call, int64_t key,
                         enum ecs_service_deployment_status status, struct text reason);

// ---- rollout_back.c -------------------------------------------------------------------------

/** The circuit breaker's threshold for a desired count. */
int32_t service_breaker_threshold(int32_t desired_count);
/** The circuit breaker trips: the primary deployment failed. Rolls back when that was asked for and
 *  there is a completed deployment to go back to. */
void service_rollout_trip(struct core_call *call, struct service_survey *survey, int32_t threshold);
/** The primary deployment fails for a reason, a sentence; `what` ends its event. Rolls back when
 *  there is a completed deployment to go back to. */
void service_rollout_fail(struct core_call *call, struct service_survey *survey, struct text reason,
                          const char *what);
/** Do what a StopServiceDeployment asked for. @return whether something changed */
bool service_rollout_stop_asked(struct core_call *call, struct service_survey *survey);
