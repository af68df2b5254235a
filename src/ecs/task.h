#pragma once

#include "api/ecs.h"
#include "api/task_record.h"
#include "core/core.h"

/*
 * Nodes, placement and tasks: which host runs what, and how each task stands.
 *
 * A node has one inventory; being a container instance of a cluster or a host of the FARGATE pool
 * are views on it. What is free follows from the tasks, leases live in memory: neither is stored.
 * A task is placed once, when it is made, and never again: a retry is a new task. Its node's
 * reports say what ran; its desired status is only ever changed here.
 */

extern const struct core_module task_module;

/** Tables of the module: the engine knows a kind by its address in this array. */
extern const struct core_kind task_kinds[];
#define task_node_kind (task_kinds[0])
#define task_kind (task_kinds[1])
#define task_scaling_kind (task_kinds[2])

/** Set what DiscoverPollEndpoint answers: base URLs of the two sessions. Copied, not stored. */
void task_set_endpoints(struct core *core, struct text acs_url, struct text tcs_url);

/** Set how long stopped tasks are kept: 7 days unless told. Not stored: before core_recover. */
void task_set_retention_ms(struct core *core, int64_t retention_ms);

/**
 * Interrupt tasks of FARGATE_SPOT by chance, to rehearse it: so many in a thousand in an hour, by
 * draws once a second. 0 for none, as at start. Not stored: before core_recover.
 */
void task_set_spot_rate(struct core *core, uint32_t permille);

/**
 * Whether the server has a command that grows and shrinks Auto Scaling groups, and how often what
 * they need is looked at: 0 for once a minute, as ECS does. Without a command nothing is asked, and
 * people see what is needed. Not stored: before core_recover.
 */
void task_set_scaling(struct core *core, bool command, int64_t period_ms);

/** Set how long a task waits in PROVISIONING for an instance: a quarter of an hour unless told. Not
 *  stored: before core_recover. */
void task_set_waiting_ms(struct core *core, int64_t waiting_ms);

/** A capacity provider of a group was made, changed or deleted. */
void task_provider_changed(struct core_call *call, int64_t provider);

/** Append a line of metrics for each cluster of each capacity provider with managed scaling. */
void task_write_metrics(struct core *core, int64_t now_ms, struct buf *out);

/** What DescribeClusters counts. */
struct task_cluster_counts {
    int32_t registered_instances;
    int32_t running_tasks; ///< of every launch type
    int32_t pending_tasks;
    int32_t running_ec2_tasks; ///< those of FARGATE are the rest
    int32_t pending_ec2_tasks;
    int32_t running_external_tasks;
    int32_t pending_external_tasks;
};

/** Count for a cluster; kept up to date, so this is a look-up. */
void task_cluster_counts(const struct core *core, int64_t cluster,
                         struct task_cluster_counts *out_counts);

/** @return whether any task or membership, of any status, is kept that names the cluster */
bool task_cluster_referenced(const struct core *core, int64_t cluster);

/** @return whether a task of a cluster that is to run was placed through a capacity provider */
bool task_provider_in_use(const struct core *core, int64_t cluster, struct text provider);

/** @return whether any task of any status but STOPPED refers to the definition */
bool task_definition_in_use(const struct core *core, int64_t definition);

/** A task or a container instance as something that has tags, which borrow from its record. */
struct task_tagged {
    const struct ecs_tag *tags;
    size_t count;
    bool ended;    ///< a STOPPED task, an instance that was deregistered
    bool instance; ///< private, as what follows
    int64_t key;
    size_t index;
};

/** Find a task or a container instance of a cluster by its id. @return false when there is none */
bool task_tagged_find(const struct core *core, int64_t cluster, bool instance, struct text id,
                      struct task_tagged *out_tagged);

/** Replace the tags of what task_tagged_find found in the same input. */
void task_tagged_put(struct core_call *call, const struct task_tagged *tagged, struct ecs_tag *tags,
                     size_t count);

/**
 * Find which node to ask for a task's output.
 *
 * @param out_node_id   borrows from a record: valid until the next input
 * @param out_task_arn  valid until the next call
 * @return 0, or ERR_NOT_FOUND when there is no such task or it never had a node
 */
MUST_CHECK int task_locate(const struct core *core, struct text account, struct text region,
                           struct text cluster, struct text task, struct text *out_node_id,
                           struct text *out_task_arn, bool *out_stopped);

/**
 * What the server needs for the session of an ExecuteCommand that was accepted in the same input.
 *
 * @param container    its name
 * @param out_node_id  which node has the task; valid until the next input
 * @param out_logged   whether a transcript is to be kept, as the cluster's configuration has it
 * @return 0, or ERR_NOT_FOUND when there is no such task on a node, or no such container in it
 */
MUST_CHECK int task_execute_plan(const struct core *core, struct text task_arn,
                                 struct text container, struct text *out_node_id, bool *out_logged);
