#pragma once

#include "ecs/capacity.h"
#include "ecs/task_internal.h"

/*
 * What RunTask and StartTask share: a request that was read and checked, and where its tasks can
 * go.
 *
 * Most requests go the short way: the spread rule of ecs/place.h over all nodes of a zone. Where
 * the request or the nodes have something special (constraints, strategies, ports of the host,
 * agents that are not Berth's own), every container instance of the cluster is looked at once, as a
 * spot, and each task takes the best of them.
 */

#define TASK_SUBNETS_MAX 16     // ECS
#define TASK_CONSTRAINTS_MAX 10 // ECS: of the definition and the request together
#define TASK_STRATEGIES_MAX 5   // ECS

/** One RunTask or StartTask, read and checked. */
struct task_run {
    const struct ecs_run_task_request *request; ///< of a StartTask what both have in common
    const struct ecs_record_cluster *cluster_record;
    const struct ecs_record_definition *definition_record;
    const struct ecs_task_definition *definition;
    int64_t cluster;
    int64_t definition_key; ///< found already, also INACTIVE, or 0: the request names it
    int64_t deployment;     ///< of a service; 0 for none
    size_t count;
    enum ecs_launch_type launch_type;
    const struct ecs_capacity_provider_strategy_item *strategy; ///< in force, or NULL
    size_t strategy_count;
    struct text provider;      ///< of capacity, absent without a strategy: see task_run_provider
    bool spot;                 ///< through the pool FARGATE_SPOT
    struct text scaling_group; ///< of the provider: only instances of it; or absent
    struct text zone;          ///< only there; or absent: see task_run_confine
    struct text platform_version;
    bool awsvpc;
    int64_t subnets[TASK_SUBNETS_MAX];
    size_t subnet_count;
    struct text_list groups;
    struct task_sizes sizes;
    struct place_request need;
    struct ecs_tag *tags;
    size_t tag_count;
    int64_t request_hash;
    const struct task_group *group;
    const struct task_spread *spread; ///< of the tasks of a service, see spread.h; or NULL

    struct constraint constraints[TASK_CONSTRAINTS_MAX]; ///< all memberOf
    struct text expressions[TASK_CONSTRAINTS_MAX];       ///< what they were parsed from
    size_t constraint_count;
    bool distinct; ///< no two tasks of the group on one instance
    uint32_t ports[TASK_PORTS_MAX + 1];
    size_t port_count;
    int64_t gpus;
};

/** A container instance that a task may go to. */
struct task_spot {
    struct task_node *node;
    int64_t key; ///< of the node
    const struct task_record_node *record;
    size_t index; ///< of the membership
    const struct task_zone *zone;
    uint64_t told;          ///< the node's stamps: see task_roster.h
    uint64_t tasks_told;    //
    struct place_node room; ///< of the node
    uint32_t capabilities;  ///< of the membership
    bool draining;

    bool outside;                         ///< of the Auto Scaling group or zone that is asked for
    bool meant;                           ///< by the constraints that last
    bool meant_now;                       ///< by those that change with every task
    int64_t subnet;                       ///< 0 for none; chosen anew for each task
    int32_t group_tasks;                  ///< tasks of the group that are to run there
    uint32_t values[TASK_STRATEGIES_MAX]; ///< of the field of each spread strategy, as a number
};

/** All container instances of the cluster, in ascending key. */
struct task_spots {
    struct task_spot *spots; ///< the cluster's own: good until somebody else looks at it
    size_t count;
    int32_t *totals[TASK_STRATEGIES_MAX]; ///< tasks of the group by value, of spread strategies
    uint32_t *ties;                       ///< room for count places, when chance decides
};

/** Check the texts that a request names itself by. @return 0 or ERR_FAULT */
MUST_CHECK int task_run_check_names(struct core_call *call,
                                    const struct ecs_run_task_request *request,
                                    size_t started_by_max);
/** Read and check all of a request, whose cluster was found already. @return 0 or ERR_FAULT */
MUST_CHECK int task_run_read(struct core_call *call, struct task_run *run);
/**
 * Make as many of the tasks as find a place, or may wait for one.
 *
 * @param out_spots  the instances that were looked at, none when the short way did
 * @param out_keys   of the tasks made, room for run->count; out_tasks the same, as the API shows
 * @return how many were made
 */
size_t task_run_place(struct core_call *call, const struct task_run *run,
                      struct task_spots *out_spots, int64_t *out_keys, struct ecs_task *out_tasks);
/** @return why the provider's Auto Scaling group takes no task whatever it needs; NULL when it has
 *  instances that are ACTIVE, and without a group */
const char *task_run_group_refusal(struct core_call *call, const struct task_run *run);
/** Find the nodes that a request that was read is about: those of its provider. */
void task_run_group(const struct core_call *call, struct task_run *run);
/** From now on tasks go to one of the providers of the strategy. */
void task_run_provider(const struct core_call *call, struct task_run *run, size_t item);
/** The strategy's items for capacity.h, without any tasks; room for CAPACITY_ITEMS_MAX. */
void task_run_items(const struct task_run *run, struct capacity_item *out_items);
/** From now on tasks go to one zone: that of their subnets, or of their instances where they have
 *  none. An empty name is for any. */
void task_run_confine(const struct core *core, struct task_run *run, struct text zone);

// ---- task_make.c --------------------------------------------------------------------------

/** @return whether a task of the request that finds no place waits for one: its capacity provider
 * has managed scaling, and not too many wait already */
bool task_run_may_wait(const struct core_call *call, const struct task_run *run);
/** @return whether it would wait, if not too many did */
bool task_run_waits_in_vain(const struct core_call *call, const struct task_run *run);
/** @return when a task gets its place: now, but never before its instance was registered, even if
 * the wall clock was set back since. task_membership tells the instances of a host apart by that */
int64_t task_run_placed_at(const struct core_call *call, const struct task_run *run,
                           const struct task_spot *spot);
/** Give a task that is being changed its place: host, network interface, GPUs. */
void task_run_settle(struct core_call *call, const struct task_run *run,
                     const struct task_spot *spot, int64_t key, struct task_record_task *record);
/** Make a task on a spot that nothing was said against. out_task is the task as the API shows it.
 *  @return its key */
int64_t task_run_make(struct core_call *call, const struct task_run *run,
                      const struct task_spot *spot, struct ecs_task *out_task);
/** Make a task that found no place, and waits for one with what it was asked for. @return its key
 */
int64_t task_run_make_waiting(struct core_call *call, const struct task_run *run,
                              struct ecs_task *out_task);
/** Tell each node of its new tasks, at most TASK_RUN_MAX, in one message. */
void task_run_send(struct core_call *call, const int64_t *keys, size_t count);

// ---- task_placement.c ---------------------------------------------------------------------

/** Read constraints, strategies and ports. @return 0 or ERR_FAULT */
MUST_CHECK int task_placement_read(struct core_call *call, struct task_run *run);
/** @return whether the short way does not do */
bool task_placement_special(const struct task_run *run);

// ---- task_place.c -------------------------------------------------------------------------

/** @return the subnet of a zone with the most free addresses, the first among equals; 0 when none
 *  has any */
int64_t task_run_subnet(const struct core *core, const struct task_run *run, struct text zone);
/** Choose a place the short way. @return false when there is no room */
bool task_place_short(const struct core *core, const struct task_run *run,
                      struct task_spot *out_spot);
/** Look at all instances of the cluster, or hosts of the pool. placed says whether strategies and
 * constraints count. */
void task_spots_find(struct core_call *call, const struct task_run *run, bool placed,
                     struct task_spots *out_spots);

// ---- task_choose.c ------------------------------------------------------------------------

/** Choose among them. @return NULL when none has room */
struct task_spot *task_spots_choose(struct core_call *call, const struct task_run *run,
                                    struct task_spots *spots);
/** A task was made there. */
void task_spots_taken(struct core_call *call, const struct task_run *run, struct task_spots *spots,
                      struct task_spot *spot);
/** @return why a spot does not take a task now, or NULL; sets its subnet */
const char *task_spot_refusal(const struct core *core, const struct task_run *run,
                              struct task_spot *spot);
/** @return the same of a task that placement puts there: constraints count, too */
const char *task_spot_placed_refusal(const struct core *core, const struct task_run *run,
                                     struct task_spot *spot);

// The parts of a refusal, for those who explain it.

/** @return the name of the attribute at a place among those that the task needs and the spot has
 *  not, absent when there are not so many */
struct text task_spot_lacks(const struct task_run *run, const struct task_spot *spot, size_t place);
/** What task_run_lacks names when only an agent of Berth's will do: see acs/acs.h. */
#define TASK_BERTH_AGENT "berth.agent"
/** The same of any membership. */
struct text task_run_lacks(const struct task_run *run, const struct task_record_node *record,
                           size_t index, size_t place);
/** @return whether a port of the host (see task_port) is in use or reserved */
bool task_spot_port_taken(const struct task_spot *spot, uint32_t port);
/** @return how many GPUs no task has */
int64_t task_spot_gpus(const struct core *core, const struct task_spot *spot);
/** @return the key of the subnet that a task's interface would be in, 0 when there is none */
int64_t task_spot_subnet(const struct core *core, const struct task_run *run,
                         const struct task_spot *spot);
/** @return whether a constraint asks for what changes with every task that is placed */
bool task_constraint_changes(const struct constraint *constraint);
/** @return whether a constraint means the spot */
bool task_spot_meant(const struct core *core, const struct task_spot *spot,
                     const struct constraint *constraint);
/** Name the reason as a failure. */
struct ecs_failure task_spot_failure(struct core_call *call, const struct task_run *run,
                                     const struct task_spot *spot, const char *reason);
/** List why each instance takes none, as failures of a response. */
void task_spots_explain(struct core_call *call, const struct task_run *run,
                        struct task_spots *spots, struct ecs_failure_list *out_failures);
