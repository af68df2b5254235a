#include "ecs/task_internal.h"

#include <string.h>

/*
 * A container instance as the API shows it: what it registered, and what remains of that.
 */

static struct ecs_resource integer_resource(const char *name, int64_t value)
{
    return (struct ecs_resource){
        .name = text_of(name),
        .type = TEXT("INTEGER"),
        .has_double_value = true,
        .has_long_value = true,
        .has_integer_value = true,
        .integer_value = (int32_t)MAX(INT64_C(0), value),
    };
}

// Every number of a resource is shown, also those that its type does not use.
static struct ecs_resource whole_resource(struct ecs_resource resource)
{
    resource.has_double_value = true;
    resource.has_long_value = true;
    resource.has_integer_value = true;
    return resource;
}

// PORTS of remainingResources lists those in use: the reserved ones, then those of tasks.
static void add_ports(struct core_call *call, const struct task_node *node, bool udp,
                      struct ecs_resource *resource)
{
    size_t count = resource->string_set_value.count;
    struct text *ports = arena_array(call->arena, count + node->port_count, sizeof(*ports));
    if (count > 0) {
        memcpy(ports, resource->string_set_value.items, count * sizeof(*ports));
    }
    for (size_t i = 0; i < node->port_count; i++) {
        if ((node->ports[i] % 2 != 0) == udp) {
            ports[count] = task_number(call, node->ports[i] / 2);
            count++;
        }
    }
    resource->string_set_value.items = ports;
    resource->string_set_value.count = count;
}

static struct ecs_resource gpu_resource(struct core_call *call, const struct task_node *node,
                                        const struct task_record_membership *membership,
                                        bool free_only)
{
    struct text *ids = arena_array(call->arena, TASK_GPUS_MAX, sizeof(*ids));
    struct ecs_resource resource = {.name = TEXT("GPU"), .type = TEXT("STRINGSET")};
    resource.string_set_value.count = task_gpus(call->core, node, membership, free_only, ids);
    resource.string_set_value.items = resource.string_set_value.count > 0 ? ids : SHAPE_EMPTY;
    return whole_resource(resource);
}

// GPUs come as platformDevices and are shown as a resource; what remains of them are the free ones.
static void fill_resources(struct core_call *call, const struct task_node *node,
                           const struct task_record_node *record,
                           const struct task_record_membership *membership,
                           struct ecs_container_instance *instance)
{
    size_t count = record->resources.count;
    struct ecs_resource *registered = arena_array(call->arena, count + 1, sizeof(*registered));
    struct ecs_resource *remaining = arena_array(call->arena, count + 1, sizeof(*remaining));
    for (size_t i = 0; i < count; i++) {
        registered[i] = whole_resource(record->resources.items[i]);
        remaining[i] = registered[i];
        if (text_is(registered[i].name, "CPU")) {
            remaining[i] = integer_resource("CPU", node->cpu_units - node->cpu_used);
        } else if (text_is(registered[i].name, "MEMORY")) {
            remaining[i] = integer_resource("MEMORY", node->memory_mib - node->memory_used);
        } else if (text_is(registered[i].name, "PORTS")) {
            add_ports(call, node, false, &remaining[i]);
        } else if (text_is(registered[i].name, "PORTS_UDP")) {
            add_ports(call, node, true, &remaining[i]);
        }
    }
    registered[count] = gpu_resource(call, node, membership, false);
    if (registered[count].string_set_value.count > 0) {
        remaining[count] = gpu_resource(call, node, membership, true);
        count++;
    }
    instance->registered_resources.items = registered;
    instance->registered_resources.count = count;
    instance->remaining_resources.items = remaining;
    instance->remaining_resources.count = count;
}

static struct text known(struct text text)
{
    return text_empty(text) ? (struct text){0} : text;
}

struct ecs_version_info *task_instance_version_info(struct core_call *call,
                                                    const struct task_node *node,
                                                    const struct task_record_node *record)
{
    if (record->version_info != NULL) {
        return record->version_info;
    }
    struct ecs_version_info *info = ARENA_NEW(call->arena, struct ecs_version_info);
    info->agent_version = known(node->agent_version);
    info->agent_hash = known(node->agent_hash);
    info->docker_version = known(node->docker_version);
    return info;
}

static void count_tasks(const struct core *core, const struct task_node *node,
                        const struct task_record_node *record,
                        const struct task_record_membership *membership,
                        struct task_instance_counts *out_counts)
{
    *out_counts = (struct task_instance_counts){0};
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        if (!entry->holds) {
            continue;
        }
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        if (task_membership(record, task) == membership) {
            out_counts->held++;
            out_counts->running += task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
            out_counts->pending += task->last_status == TASK_RECORD_TASK_STATUS_PENDING;
        }
    }
}

void task_instance_count(const struct core *core, const struct task_node *node,
                         const struct task_record_node *record, size_t index,
                         struct task_instance_counts *out_counts)
{
    count_tasks(core, node, record, &record->memberships.items[index], out_counts);
}

struct text task_instance_status(const struct task_record_membership *membership)
{
    if (membership->deregistered_at != 0) {
        return TEXT("INACTIVE");
    }
    return membership->draining ? TEXT("DRAINING") : TEXT("ACTIVE");
}

struct text task_instance_ec2_id(struct arena *arena,
                                 const struct task_record_membership *membership)
{
    return membership->ec2_instance_id.data != NULL
               ? membership->ec2_instance_id
               : arena_format(arena, "i-%.17s", membership->instance_id.data);
}

void task_show_instance(struct core_call *call, const struct task_node *node,
                        const struct task_record_node *record, size_t index, unsigned flags,
                        struct ecs_container_instance *out_instance)
{
    const struct task_record_membership *membership = &record->memberships.items[index];
    bool gone = membership->deregistered_at != 0;
    struct task_instance_counts counts;
    count_tasks(call->core, node, record, membership, &counts);
    struct ecs_container_instance instance = {
        .container_instance_arn = task_instance_arn(call, record, membership),
        .ec2_instance_id = task_instance_ec2_id(call->arena, membership),
        .has_version = true,
        .version = membership->version,
        .version_info = task_instance_version_info(call, node, record),
        .status = task_instance_status(membership),
        .has_agent_connected = true,
        .agent_connected = !gone && task_node_agent_connected(node),
        .has_running_tasks_count = true,
        .running_tasks_count = counts.running,
        .has_pending_tasks_count = true,
        .pending_tasks_count = counts.pending,
        .attributes = {membership->attributes.items, membership->attributes.count},
        .registered_at = membership->registered_at,
        .capacity_provider_name = gone ? (struct text){0}
                                       : ecs_provider_of_group(call->core, membership->cluster,
                                                               membership->scaling_group),
        .attachments = {.items = SHAPE_EMPTY},
        .tags = {.items = SHAPE_EMPTY},
    };
    if ((flags & TASK_SHOW_TAGS) != 0 && membership->tags.count > 0) {
        instance.tags.items = membership->tags.items;
        instance.tags.count = membership->tags.count;
    }
    fill_resources(call, node, record, membership, &instance);
    *out_instance = instance;
}
