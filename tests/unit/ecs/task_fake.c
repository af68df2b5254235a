#include "task_fake.h"

#include "ecs/task.h"

static struct task_cluster_counts fake_counts;
static bool fake_in_use;

void task_fake_counts(int32_t registered_instances, int32_t running_tasks, int32_t pending_tasks)
{
    fake_counts = (struct task_cluster_counts){.registered_instances = registered_instances,
                                               .running_tasks = running_tasks,
                                               .pending_tasks = pending_tasks};
}

void task_fake_in_use(int in_use)
{
    fake_in_use = in_use != 0;
}

void task_cluster_counts(const struct core *core, int64_t cluster,
                         struct task_cluster_counts *out_counts)
{
    (void)core;
    (void)cluster;
    *out_counts = fake_counts;
}

bool task_definition_in_use(const struct core *core, int64_t definition)
{
    (void)core;
    (void)definition;
    return fake_in_use;
}
