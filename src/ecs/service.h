#pragma once

#include "api/service_record.h"
#include "core/core.h"

struct task_group;
struct task_record_task;
struct task_spread;

/*
 * Services: so many tasks of a task definition are to run, and go on running; and deployments, the
 * way from one revision of a service to the next.
 *
 * service_module is level-triggered: whatever happens to a service or to a task of it queues the
 * service, and service_schedule looks at what there is and does the next step. Kinds 70 to 89.
 */

extern const struct core_module service_module;

/** Tables of the module: the engine knows a kind by its address in this array. */
extern const struct core_kind service_kinds[];
#define service_kind (service_kinds[0])
#define service_revision_kind (service_kinds[1])
#define service_deployment_kind (service_kinds[2])
#define service_rollout_kind (service_kinds[3])
#define service_event_kind (service_kinds[4])

/** How long a task without a health check is RUNNING before it counts as healthy: ECS waits 40 s.
 *  Not stored: before core_recover. */
void service_set_settle_ms(struct core *core, int64_t settle_ms);

/** Whether a service starts tasks on FARGATE for which FARGATE_SPOT has no room, in clusters that
 *  have both. ECS does not: off unless told. Not stored. */
void service_set_spot_fallback(struct core *core, bool fallback);

// ---- what tasks and nodes tell services -----------------------------------------------------

/** A task of a deployment was put: before is NULL for a new one. Counts what failed, and queues the
 *  service. May put the deployment. */
void service_task_put(struct core_call *call, int64_t key, const struct task_record_task *before,
                      const struct task_record_task *after);

/** A task of no deployment is STOPPED: a lifecycle hook may wait for it. */
void service_hook_task_ended(struct core_call *call, int64_t task);

/** A node was lost, came back, began or ceased to drain, or is new: services that have tasks there
 *  or wait for room look again. */
void service_node_changed(struct core_call *call, int64_t node);

/** A task on a node has ended, of a service or not: what waits for the last one of a node that
 *  drains looks again. */
void service_node_task_ended(struct core_call *call, int64_t node);

// ---- what tasks and clusters ask ------------------------------------------------------------

/** @return `service:` and the name of a deployment's service, in the call's arena */
struct text service_group_name(struct core_call *call, int64_t deployment);

/** @return the name of a deployment's service; borrows from its record */
struct text service_name(const struct core *core, int64_t deployment);

/** Find a service of a cluster that is not INACTIVE, by its name or ARN. @return its key, or 0 */
int64_t service_find(const struct core *core, int64_t cluster, struct text reference);

/** Find a task set of a service by its id or ARN. @return its key, or 0 */
int64_t service_task_set_find(struct core_call *call, int64_t service, struct text reference);

/** @return where the tasks of a deployment's service are, for one more of them; see ecs/spread.h.
 * NULL when the service is INACTIVE */
const struct task_spread *service_spread(struct core_call *call, int64_t deployment,
                                         const struct task_group *group);

/** @return whether a deployment's service is a DAEMON */
bool service_is_daemon(const struct core *core, int64_t deployment);

struct ecs_container_definition;

/** @return the digest that a container of a task is to have, absent when its tag decides: see
 *  revision_image.c */
struct text service_pinned_image(const struct core *core, const struct task_record_task *task,
                                 const struct ecs_container_definition *container);

/** @return the key of the service of a deployment */
int64_t service_of(const struct core *core, int64_t deployment);

/** Services of a cluster. */
struct service_counts {
    int32_t active;
    int32_t draining;
};

/** Count those of a cluster whose tasks have a launch type, by itself or by their strategy;
 *  ECS_LAUNCH_TYPE_ABSENT counts all. */
struct service_counts service_count(const struct core *core, int64_t cluster,
                                    enum ecs_launch_type launch_type);

/** @return whether a service of any status is kept that names the cluster */
bool service_cluster_referenced(const struct core *core, int64_t cluster);

/** @return whether a deployment that still matters refers to the definition */
bool service_definition_in_use(const struct core *core, int64_t definition);

/** @return whether a service that is not INACTIVE names a capacity provider of its cluster */
bool service_provider_in_use(const struct core *core, int64_t cluster, struct text provider);
