#include "ecs/task_internal.h"

/*
 * GPUs of a host: platformDevices that an instance registered, handed out one by one. Who has which
 * is in the tasks' records; what is free follows from them.
 */

static int64_t container_gpus(const struct ecs_container_definition *container,
                              const struct ecs_task_override *overrides)
{
    const struct ecs_container_override *override = task_override(overrides, container->name);
    const struct ecs_resource_requirement_list *requirements =
        override != NULL && override->resource_requirements.count > 0
            ? &override->resource_requirements
            : &container->resource_requirements;
    int64_t sum = 0;
    for (size_t i = 0; i < requirements->count; i++) {
        int64_t count = 0;
        if (requirements->items[i].type == ECS_RESOURCE_TYPE_GPU &&
            text_to_i64(requirements->items[i].value, &count) == 0 && count > 0) {
            sum += MIN(count, INT64_C(1) << 30); // overrides are not checked otherwise
        }
    }
    return sum;
}

int64_t task_gpus_wanted(const struct ecs_task_definition *definition,
                         const struct ecs_task_override *overrides)
{
    int64_t sum = 0;
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        sum += container_gpus(&definition->container_definitions.items[i], overrides);
    }
    return sum;
}

static bool task_has_gpu(const struct task_record_task *task, struct text id)
{
    for (size_t i = 0; i < task->containers.count; i++) {
        const struct task_record_container *container = &task->containers.items[i];
        for (size_t j = 0; j < container->gpu_ids.count; j++) {
            if (text_equal(container->gpu_ids.items[j], id)) {
                return true;
            }
        }
    }
    return false;
}

// Whether a task has it, through whatever membership: a node has one inventory.
static bool gpu_taken(const struct core *core, const struct task_node *node, struct text id)
{
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        if (entry->holds && task_has_gpu(core_get(core, &task_kind, entry->key), id)) {
            return true;
        }
    }
    return false;
}

size_t task_gpus(const struct core *core, const struct task_node *node,
                 const struct task_record_membership *membership, bool free_only,
                 struct text *out_ids)
{
    size_t count = 0;
    for (size_t i = 0; i < membership->platform_devices.count; i++) {
        const struct ecs_platform_device *device = &membership->platform_devices.items[i];
        if (device->type == ECS_PLATFORM_DEVICE_TYPE_GPU && count < TASK_GPUS_MAX &&
            !(free_only && !MUTANT("share-gpus") && gpu_taken(core, node, device->id))) {
            out_ids[count] = device->id;
            count++;
        }
    }
    return count;
}

void task_gpus_assign(struct core_call *call, const struct task_node *node,
                      const struct task_record_membership *membership,
                      const struct ecs_task_definition *definition,
                      const struct ecs_task_override *overrides, struct task_record_task *record)
{
    struct text *ids = arena_array(call->arena, TASK_GPUS_MAX, sizeof(*ids));
    size_t count = task_gpus(call->core, node, membership, true, ids);
    size_t given = 0;
    for (size_t i = 0; i < record->containers.count; i++) {
        size_t wanted =
            (size_t)container_gpus(&definition->container_definitions.items[i], overrides);
        ASSERT(wanted <= count - given); // placement saw that there are enough
        record->containers.items[i].gpu_ids.items = ids + given;
        record->containers.items[i].gpu_ids.count = wanted;
        given += wanted;
    }
}

void task_gpus_check(const struct core *core, const struct task_node *node, struct buf *violations)
{
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        for (size_t i = 0; entry->holds && i < task->containers.count; i++) {
            const struct task_record_container *container = &task->containers.items[i];
            for (size_t j = 0; j < container->gpu_ids.count; j++) {
                size_t holders = 0;
                for (const struct task_entry *other = node->first; other != NULL;
                     other = other->next) {
                    holders += other->holds && task_has_gpu(core_get(core, &task_kind, other->key),
                                                            container->gpu_ids.items[j]);
                }
                if (holders != 1) {
                    buf_format(violations, "node %lld: GPU %.*s has %zu tasks\n",
                               (long long)node->key, TEXT_FMT(container->gpu_ids.items[j]),
                               holders);
                }
            }
        }
    }
}
