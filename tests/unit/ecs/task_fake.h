#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What ecs_module asks of task_module, answered as a test wants: so that clusters and definitions
 * are tested by themselves. Every test sets what it needs.
 */

/** What every cluster counts from now on. */
void task_fake_counts(int32_t registered_instances, int32_t running_tasks, int32_t pending_tasks);

/** How many of those tasks are of EC2 and of EXTERNAL from now on; task_fake_counts forgets it. */
void task_fake_launch(int32_t running_ec2, int32_t pending_ec2, int32_t running_external,
                      int32_t pending_external);

/** Which capacity provider has tasks from now on; NULL for none. */
void task_fake_provider(const char *provider);

/** Whether tasks name every cluster from now on. */
void task_fake_referenced(bool referenced);

/** Whether every definition is in use from now on. */
void task_fake_in_use(int in_use);
