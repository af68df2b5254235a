#pragma once

#include "ecs/task_internal.h"

/*
 * What the parts of the volatile state share: task_state.c (tasks, and the whole), task_node.c
 * (nodes), task_group.c (clusters and pools with their zones). All of it follows from records
 * alone.
 */

/** @return the group of a cluster, or of the pool FARGATE for 0; made when there is none */
struct task_group *task_group_need(struct task_state *state, int64_t cluster);
/** @return one of the two pools; made when there is none */
struct task_group *task_pool_need(struct task_state *state, bool spot);
/** @return the zone of that name in a group; made when there is none */
struct task_zone *task_zone_need(struct task_group *group, struct text name);
/** Free a group with its zones. */
void task_group_free(struct task_group *group);

/** A node's record changed: before is NULL for a new one, after for one that is gone. */
void task_node_changed(struct task_state *state, int64_t key, const struct task_record_node *before,
                       const struct task_record_node *after);
/** Free a node. */
void task_node_free(struct task_node *node);

/** A node's row was loaded: tasks whose rows came before it go there. */
void task_entries_join(struct task_state *state, struct task_node *node);

/** @return a copy, which task_text_free frees */
struct text task_text_own(struct text text);
/** Free a text of task_text_own; an absent one is fine. */
void task_text_free(struct text text);
