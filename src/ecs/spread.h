#pragma once

#include "ecs/task_internal.h"

/*
 * Where the tasks of one service are: what its new tasks spread over.
 *
 * Counts by zone and by node of the group that tasks are placed in, in the order of their arrays,
 * so that a choice of a place reads arrays only. They are kept while tasks come and go, see
 * service_spread.c; when nodes come or go, the arrays are others, and all is counted anew.
 */

/** Counts of tasks of a service. */
struct task_spread {
    const struct task_group *group;
    uint64_t layout; ///< of the state when the arrays were made
    size_t zone_count;
    int32_t *zones;  ///< by place of the zone in its group
    int32_t **nodes; ///< by place of the zone, then by place of the node in it
};

/** Begin to count, for a group that may be NULL. The caller frees it. */
struct task_spread *task_spread_new(const struct task_state *state, const struct task_group *group);
/** Free it; NULL is allowed. */
void task_spread_free(struct task_spread *spread);
/** @return whether zones and nodes have the places that they had when it was made */
bool task_spread_valid(const struct task_state *state, const struct task_spread *spread);
/** Count a task that is in a zone, of whichever group, and on a node, or count it no more (-1). The
 *  spread is valid. */
void task_spread_count(struct task_spread *spread, const struct task_zone *zone,
                       const struct task_node *node, int32_t sign);
/** @return whether two that are valid, of one group, count the same */
bool task_spread_equal(const struct task_spread *a, const struct task_spread *b);
/** @return how many tasks are in a zone of the group */
int32_t task_spread_zone(const struct task_spread *spread, const struct task_zone *zone);
