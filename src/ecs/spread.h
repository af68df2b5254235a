#pragma once

#include "ecs/task_internal.h"

/*
 * Where the tasks of one service are: what its new tasks spread over.
 *
 * Counted once for each launch, by zone and by node of the group that tasks are placed in; a choice
 * of a place then reads arrays only.
 */

/** Counts of tasks of a service. In an arena; for as long as no node of the group changes. */
struct task_spread {
    const struct task_group *group;
    int32_t *zones;  ///< by place of the zone in its group
    int32_t **nodes; ///< by place of the zone, then by place of the node in it
};

/** Begin to count, for a group that may be NULL. */
struct task_spread *task_spread_new(struct arena *arena, const struct task_group *group);
/** Count a task, placed through whichever group. */
void task_spread_add(struct task_spread *spread, const struct task_entry *entry);
/** @return how many tasks are in a zone of the group */
int32_t task_spread_zone(const struct task_spread *spread, const struct task_zone *zone);
