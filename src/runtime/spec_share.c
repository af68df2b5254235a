#include "base/text.h"
#include "runtime/spec.h"

// What containers share, with each other and with the host: processes, shared memory, swap.

#define SHM_MIB_DEFAULT 64 // Docker's

enum spec_sharing spec_pids(const struct ecs_task_definition *task)
{
    return task->pid_mode == ECS_PID_MODE_HOST   ? SPEC_HOST
           : task->pid_mode == ECS_PID_MODE_TASK ? SPEC_TASK
                                                 : SPEC_OWN;
}

enum spec_sharing spec_ipc(const struct ecs_task_definition *task)
{
    return task->ipc_mode == ECS_IPC_MODE_HOST   ? SPEC_HOST
           : task->ipc_mode == ECS_IPC_MODE_TASK ? SPEC_TASK
                                                 : SPEC_OWN;
}

static uint64_t own_shm_mib(const struct ecs_container_definition *definition)
{
    const struct ecs_linux_parameters *parameters = definition->linux_parameters;
    return parameters != NULL && parameters->shared_memory_size > 0
               ? (uint64_t)parameters->shared_memory_size
               : SHM_MIB_DEFAULT;
}

uint64_t spec_shm_mib(const struct ecs_task_definition *task,
                      const struct ecs_container_definition *definition)
{
    if (spec_ipc(task) != SPEC_TASK) {
        return own_shm_mib(definition);
    }
    uint64_t most = 0;
    for (size_t i = 0; i < task->container_definitions.count; i++) {
        most = MAX(most, own_shm_mib(&task->container_definitions.items[i]));
    }
    return most;
}

int spec_swap(const struct ecs_container_definition *definition, const struct spec_swap_host *host,
              struct spec_swap *out_swap, struct err *err)
{
    const struct ecs_linux_parameters *parameters = definition->linux_parameters;
    struct spec_swap swap = {0};
    if (parameters == NULL || !parameters->has_max_swap) {
        *out_swap = swap;
        return 0;
    }
    if (definition->memory <= 0) {
        return err_set(err, ERR_UNSUPPORTED,
                       "linuxParameters.maxSwap is what a container may use beyond its memory: "
                       "container '%.*s' needs a memory, too",
                       TEXT_FMT(definition->name));
    }
    // Without swap nothing has to be limited.
    if (host->has_swap && !host->accounted) {
        return err_set(err, ERR_UNSUPPORTED,
                       "linuxParameters.maxSwap of container '%.*s' cannot be held: the node has "
                       "swap, and its kernel does not account for it; boot it with swapaccount=1",
                       TEXT_FMT(definition->name));
    }
    swap.limited = host->accounted;
    swap.mib = (uint64_t)parameters->max_swap;
    if (parameters->has_swappiness && !host->per_group) {
        return err_set(err, ERR_UNSUPPORTED,
                       "linuxParameters.swappiness of container '%.*s' needs a node with cgroup "
                       "v1: v2 has one for the whole node; remove it from the task definition",
                       TEXT_FMT(definition->name));
    }
    swap.has_swappiness = parameters->has_swappiness;
    swap.swappiness = (uint32_t)parameters->swappiness;
    *out_swap = swap;
    return 0;
}

uint64_t spec_task_swap_mib(const struct ecs_task_definition *task)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < task->container_definitions.count; i++) {
        const struct ecs_linux_parameters *parameters =
            task->container_definitions.items[i].linux_parameters;
        if (parameters != NULL && parameters->max_swap > 0) {
            sum += (uint64_t)parameters->max_swap;
        }
    }
    return sum;
}

// crun runs hooks and handlers, runc sets properties of systemd by annotations: these are the
// node's to say, not those of whoever writes a label.
static bool is_order(struct text key)
{
    static const char *const prefixes[] = {"run.oci.", "org.systemd.property.", "org.criu.",
                                           "io.crun.", "module.wasm."};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (text_starts(key, text_of(prefixes[i]))) {
            return true;
        }
    }
    return false;
}

struct text_map spec_annotations(const struct ecs_container_definition *definition,
                                 struct arena *arena)
{
    const struct text_map *labels = &definition->docker_labels;
    struct text_map map = {.items = arena_array(arena, labels->count, sizeof(*map.items))};
    for (size_t i = 0; i < labels->count; i++) {
        if (!is_order(labels->items[i].key)) {
            map.items[map.count++] = labels->items[i];
        }
    }
    return map;
}
