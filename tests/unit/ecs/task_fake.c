#include "task_fake.h"

#include "base/text.h"
#include "ecs/service.h"
#include "ecs/task.h"

static struct task_cluster_counts fake_counts;
static bool fake_in_use;
static const char *fake_provider;
static bool fake_referenced;

void task_fake_counts(int32_t registered_instances, int32_t running_tasks, int32_t pending_tasks)
{
    fake_counts = (struct task_cluster_counts){.registered_instances = registered_instances,
                                               .running_tasks = running_tasks,
                                               .pending_tasks = pending_tasks};
}

void task_fake_launch(int32_t running_ec2, int32_t pending_ec2, int32_t running_external,
                      int32_t pending_external)
{
    fake_counts.running_ec2_tasks = running_ec2;
    fake_counts.pending_ec2_tasks = pending_ec2;
    fake_counts.running_external_tasks = running_external;
    fake_counts.pending_external_tasks = pending_external;
}

void task_fake_provider(const char *provider)
{
    fake_provider = provider;
}

void task_fake_referenced(bool referenced)
{
    fake_referenced = referenced;
}

void task_provider_changed(struct core_call *call, int64_t provider)
{
    (void)call;
    (void)provider;
}

bool task_cluster_referenced(const struct core *core, int64_t cluster)
{
    (void)core;
    (void)cluster;
    return fake_referenced;
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

bool task_provider_in_use(const struct core *core, int64_t cluster, struct text provider)
{
    (void)core;
    (void)cluster;
    return fake_provider != NULL && text_is(provider, fake_provider);
}

bool task_tagged_find(const struct core *core, int64_t cluster, bool instance, struct text id,
                      struct task_tagged *out_tagged)
{
    (void)core;
    (void)cluster;
    (void)instance;
    (void)id;
    (void)out_tagged;
    return false;
}

void task_tagged_put(struct core_call *call, const struct task_tagged *tagged, struct ecs_tag *tags,
                     size_t count)
{
    (void)call;
    (void)tagged;
    (void)tags;
    (void)count;
}

// ---- services: there are none -------------------------------------------------------------

struct service_counts service_count(const struct core *core, int64_t cluster,
                                    enum ecs_launch_type launch_type)
{
    (void)core;
    (void)cluster;
    (void)launch_type;
    return (struct service_counts){0};
}

bool service_cluster_referenced(const struct core *core, int64_t cluster)
{
    (void)core;
    (void)cluster;
    return false;
}

bool service_definition_in_use(const struct core *core, int64_t definition)
{
    (void)core;
    (void)definition;
    return false;
}

bool service_provider_in_use(const struct core *core, int64_t cluster, struct text provider)
{
    (void)core;
    (void)cluster;
    (void)provider;
    return false;
}

int64_t service_find(const struct core *core, int64_t cluster, struct text reference)
{
    (void)core;
    (void)cluster;
    (void)reference;
    return 0;
}

int64_t service_task_set_find(struct core_call *call, int64_t service, struct text reference)
{
    (void)call;
    (void)service;
    (void)reference;
    return 0;
}

const struct core_kind service_kinds[3];
