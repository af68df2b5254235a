#pragma once

#include "api/scaling.h"
#include "ecs/reservation.h"
#include "ecs/task_internal.h"

/*
 * Managed scaling: an Auto Scaling group follows what its capacity provider needs.
 *
 * scaling_group.c  how a provider stands in a cluster: its instances, what waits
 * scaling.c        the next step of it, every period and when an instance may go
 * scaling_show.c   what people see of it, and `berth capacity terminate`
 *
 * A group is a set of hosts whose agents name it. The engine works out how large it should be and
 * asks the server to run the scale command; what the command did shows in the instances that come.
 * Instances that go are given up first (terminateAt of the membership): nothing new is placed
 * there, and once their tasks are gone the command is told their names.
 */

#define SCALING_STEP_INSTANCES 15 ///< named to one command: each is removed with a few records
#define SCALING_STEP_CLUSTERS 20  ///< of one provider, changed in one step
#define SCALING_LOW_PERIODS 15    ///< ECS: data points below the target before a group shrinks
#define SCALING_LOST_MS 60000     ///< a host that is silent that long is not counted
#define SCALING_DRAIN_MS (48 * 3600 * INT64_C(1000)) ///< ECS: a lifecycle hook holds no longer
#define SCALING_PERIOD_MS 60000                      ///< ECS: of the metric
#define SCALING_RETRY_MS 10000 ///< after the first failure, then twice as long
#define SCALING_RETRY_MAX_MS 600000

/** An instance of a group. */
struct scaling_instance {
    struct task_node *node;
    const struct task_record_node *record;
    const struct task_record_membership *membership;
    int32_t tasks; ///< that are not of daemons
    bool lost;     ///< for so long that it does not count
};

/** How a provider stands in a cluster. Everything borrows from records or the call's arena. */
struct scaling_view {
    int64_t provider_key;
    int64_t cluster;
    const struct ecs_record_capacity_provider *provider;
    const struct ecs_auto_scaling_group_provider *settings;
    struct text group;
    int64_t key;                        ///< of the record, 0 for none
    struct scaling_scaling record;      ///< a copy
    struct scaling_instance *instances; ///< ascending by node
    size_t instance_count;
    int64_t here; ///< of the group's size, those that registered
    int64_t active;
    int64_t draining;
    int64_t terminating; ///< of those that drain, and others: given up
    int64_t lost;
    int64_t busy;
    int64_t waiting; ///< tasks
    struct reservation_sizes sizes;
    struct reservation_ask ask;
    struct reservation reservation;
};

// ---- scaling_group.c ----------------------------------------------------------------------

/** Look at a provider in a cluster. */
void scaling_look(struct core_call *call, int64_t provider, int64_t cluster,
                  struct scaling_view *out_view);
/** @return the first cluster above `after` that is associated with a provider; 0 when there is none
 */
int64_t scaling_next_cluster(const struct core *core, int64_t provider, int64_t after);
/** @return whether an instance that was given up may be named to the command now */
bool scaling_may_go(const struct core_call *call, const struct scaling_view *view,
                    const struct scaling_instance *instance);
/** @return whether an instance that has tasks is kept, whatever is asked */
bool scaling_protects(const struct scaling_view *view);
/** Give an instance up. Nothing is placed there any more, and where draining is managed or it has
 * no tasks it drains. What the last growth was to bring is one less then: the view's record
 *  changes, which the caller puts. */
void scaling_give_up(struct core_call *call, struct scaling_view *view,
                     const struct scaling_instance *instance, struct text reason);
/** Choose instances without tasks that a group can do without, the ones it misses least first.
 * @return how many, at most count */
size_t scaling_pick(const struct scaling_view *view, size_t count,
                    const struct scaling_instance **out_instances);

// ---- scaling.c ----------------------------------------------------------------------------

/** Manager TASK_MANAGER_SCALING. */
void scaling_work(struct core_call *call, void *state, int64_t provider);
/** A node changed, or a task on it ended: its group may have waited for that. */
void scaling_node_changed(struct core_call *call, const struct task_node *node);
/** Go on after a start. */
void scaling_recover(struct core_call *call);
/** Handler of ReportScaling. */
int scaling_report(struct core_call *call, void *state, const void *request, void *response);

// ---- scaling_show.c -----------------------------------------------------------------------

/** Handler of ListCapacity. */
int scaling_list(struct core_call *call, void *state, const void *request, void *response);
/** Handler of TerminateInstance. */
int scaling_terminate(struct core_call *call, void *state, const void *request, void *response);
