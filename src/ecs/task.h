#pragma once

#include "api/task_record.h"
#include "core/core.h"

/*
 * Nodes, placement and tasks: which host runs what, and how each task stands.
 */

extern const struct core_module task_module;
extern const struct core_kind task_node_kind;
extern const struct core_kind task_kind;

/** What DescribeClusters counts. */
struct task_cluster_counts {
    int32_t registered_instances;
    int32_t running_tasks;
    int32_t pending_tasks;
};

/** Count for a cluster; kept up to date, so this is a look-up. */
void task_cluster_counts(const struct core *core, int64_t cluster,
                         struct task_cluster_counts *out_counts);

/** @return whether any task of any status but STOPPED refers to the definition */
bool task_definition_in_use(const struct core *core, int64_t definition);

/**
 * Find which node to ask for a task's output.
 *
 * @return 0, or ERR_NOT_FOUND when there is no such task or it never had a node
 */
MUST_CHECK int task_locate(const struct core *core, struct text account, struct text region,
                           struct text cluster, struct text task, struct text *out_node_id,
                           struct text *out_task_arn, bool *out_stopped);
