#include "ecs/task_internal.h"

#include "vpc/vpc.h"

#include <string.h>

const struct ecs_task_definition *task_definition(const struct core *core, int64_t key)
{
    const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, key);
    ASSERT(record != NULL);
    ASSERT(record->definition != NULL);
    return record->definition;
}

const struct ecs_container_override *task_override(const struct ecs_task_override *overrides,
                                                   struct text container)
{
    // The last of several overrides for a container wins.
    for (size_t i = overrides == NULL ? 0 : overrides->container_overrides.count; i > 0; i--) {
        if (text_equal(overrides->container_overrides.items[i - 1].name, container)) {
            return &overrides->container_overrides.items[i - 1];
        }
    }
    return NULL;
}

// ---- sizes --------------------------------------------------------------------------------

static int32_t container_cpu(const struct ecs_container_definition *container,
                             const struct ecs_container_override *override)
{
    return override != NULL && override->has_cpu ? override->cpu
           : container->has_cpu                  ? container->cpu
                                                 : 0;
}

// What placement reserves: the reservation if there is one, else the hard limit.
static int32_t container_memory(const struct ecs_container_definition *container,
                                const struct ecs_container_override *override)
{
    if (override != NULL && override->has_memory_reservation) {
        return override->memory_reservation;
    }
    if (container->has_memory_reservation) {
        return container->memory_reservation;
    }
    if (override != NULL && override->has_memory) {
        return override->memory;
    }
    return container->has_memory ? container->memory : 0;
}

int task_sizes(const struct ecs_task_definition *definition,
               const struct ecs_task_override *overrides, struct task_sizes *out_sizes)
{
    struct text cpu_text =
        overrides != NULL && !text_empty(overrides->cpu) ? overrides->cpu : definition->cpu;
    struct text memory_text = overrides != NULL && !text_empty(overrides->memory)
                                  ? overrides->memory
                                  : definition->memory;
    int64_t cpu = 0;
    int64_t memory = 0;
    bool has_cpu = !text_empty(cpu_text);
    bool has_memory = !text_empty(memory_text);
    if (has_cpu && ecs_parse_cpu(cpu_text, &cpu) != 0) {
        return ERR_INVALID;
    }
    if (has_memory && ecs_parse_memory(memory_text, &memory) != 0) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        const struct ecs_container_override *override = task_override(overrides, container->name);
        int32_t container_units = container_cpu(container, override);
        int32_t container_mib = container_memory(container, override);
        if (container_units < 0 || container_mib < 0) {
            return ERR_INVALID;
        }
        cpu += has_cpu ? 0 : container_units;
        memory += has_memory ? 0 : container_mib;
    }
    if (cpu < 0 || memory < 0 || cpu > INT32_MAX || memory > INT32_MAX) {
        return ERR_INVALID;
    }
    *out_sizes = (struct task_sizes){
        .has_cpu = has_cpu,
        .has_memory = has_memory,
        .cpu_units = (int32_t)cpu,
        .memory_mib = (int32_t)memory,
    };
    return 0;
}

// ---- merging ------------------------------------------------------------------------------

// Variables of the definition and of the override, which wins where both name one.
static void merge_environment(struct core_call *call,
                              const struct ecs_key_value_pair_list *override,
                              struct ecs_container_definition *container)
{
    if (override->count == 0) {
        return;
    }
    struct ecs_key_value_pair_list merged = {
        .items = arena_array(call->arena, container->environment.count + override->count,
                             sizeof(*merged.items)),
        .count = container->environment.count,
    };
    if (merged.count > 0) {
        memcpy(merged.items, container->environment.items, merged.count * sizeof(*merged.items));
    }
    for (size_t i = 0; i < override->count; i++) {
        size_t place = 0;
        while (place < merged.count &&
               !text_equal(merged.items[place].name, override->items[i].name)) {
            place++;
        }
        merged.items[place] = override->items[i];
        merged.count = MAX(merged.count, place + 1);
    }
    container->environment = merged;
}

static void merge_container(struct core_call *call, const struct ecs_container_override *override,
                            struct ecs_container_definition *container)
{
    if (override->command.count > 0) {
        container->command = override->command;
    }
    merge_environment(call, &override->environment, container);
    if (override->environment_files.count > 0) {
        container->environment_files = override->environment_files;
    }
    if (override->has_cpu) {
        container->has_cpu = true;
        container->cpu = override->cpu;
    }
    if (override->has_memory) {
        container->has_memory = true;
        container->memory = override->memory;
    }
    if (override->has_memory_reservation) {
        container->has_memory_reservation = true;
        container->memory_reservation = override->memory_reservation;
    }
    if (override->resource_requirements.count > 0) {
        container->resource_requirements = override->resource_requirements;
    }
}

static void merge_task(const struct ecs_task_override *overrides,
                       struct ecs_task_definition *definition)
{
    if (!text_empty(overrides->cpu)) {
        definition->cpu = overrides->cpu;
    }
    if (!text_empty(overrides->memory)) {
        definition->memory = overrides->memory;
    }
    if (!text_empty(overrides->task_role_arn)) {
        definition->task_role_arn = overrides->task_role_arn;
    }
    if (!text_empty(overrides->execution_role_arn)) {
        definition->execution_role_arn = overrides->execution_role_arn;
    }
    if (overrides->ephemeral_storage != NULL) {
        definition->ephemeral_storage = overrides->ephemeral_storage;
    }
}

void task_merge(struct core_call *call, const struct ecs_task_override *overrides,
                struct ecs_task_definition *definition)
{
    merge_task(overrides, definition);
    size_t count = definition->container_definitions.count;
    struct ecs_container_definition *containers =
        arena_array(call->arena, count, sizeof(*containers));
    memcpy(containers, definition->container_definitions.items, count * sizeof(*containers));
    for (size_t i = 0; i < count; i++) {
        const struct ecs_container_override *override =
            task_override(overrides, containers[i].name);
        if (override != NULL) {
            merge_container(call, override, &containers[i]);
        }
    }
    definition->container_definitions.items = containers;
}

// The definition of a task with its overrides, in the arena. What placement or listings need only
// is left out: a node has no use for it.
static struct ecs_task_definition *merged_definition(struct core_call *call,
                                                     const struct task_record_task *record)
{
    const struct ecs_record_definition *stored =
        core_get(call->core, &ecs_definition_kind, record->definition);
    struct ecs_task_definition *merged = ARENA_NEW(call->arena, struct ecs_task_definition);
    *merged = *stored->definition;
    merged->task_definition_arn = task_definition_arn(call, record->definition);
    merged->family = ecs_definition_family(call->core, record->definition);
    merged->has_revision = true;
    merged->revision = stored->revision;
    merged->requires_attributes.items = NULL;
    merged->requires_attributes.count = 0;
    merged->compatibilities.items = NULL;
    merged->compatibilities.count = 0;
    if (record->extra != NULL && record->extra->overrides != NULL) {
        task_merge(call, record->extra->overrides, merged);
    }
    return merged;
}

void task_spec(struct core_call *call, int64_t key, const struct task_record_task *record,
               struct session_task_spec *out_spec)
{
    struct session_task_spec spec = {
        .task_arn = task_arn(call, record),
        .cluster_arn = task_cluster_arn(call, record->cluster),
        .desired_status = task_status_name(record->desired_status),
    };
    // To stop a task a node needs its name only.
    if (record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        *out_spec = spec;
        return;
    }
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    struct ecs_realm_scope scope = ecs_scope(call->core, cluster->realm);
    struct task_sizes sizes = {0};
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    int rc =
        task_sizes(definition, record->extra == NULL ? NULL : record->extra->overrides, &sizes);
    ASSERT(rc == 0); // RunTask refused what is no size
    spec.definition = merged_definition(call, record);
    spec.has_cpu_units = true;
    spec.cpu_units = sizes.has_cpu ? sizes.cpu_units : 0;
    spec.has_memory_mib = true;
    spec.memory_mib = sizes.has_memory ? sizes.memory_mib : 0;
    if (record->has_eni) {
        spec.eni = ARENA_NEW(call->arena, struct session_eni);
        vpc_eni_spec(call, record->eni, scope.region, spec.eni);
        spec.eni->attachment_arn = task_attachment_arn(call, record);
        spec.has_security_groups_told = true;
        spec.security_groups_told = true;
    }
    spec.containers.count = record->containers.count;
    spec.containers.items =
        arena_array(call->arena, spec.containers.count, sizeof(*spec.containers.items));
    for (size_t i = 0; i < spec.containers.count; i++) {
        spec.containers.items[i].name = definition->container_definitions.items[i].name;
        spec.containers.items[i].container_arn = task_container_arn(call, record, i);
        spec.containers.items[i].gpu_ids = record->containers.items[i].gpu_ids;
        spec.containers.items[i].image_digest =
            service_pinned_image(call->core, record, &definition->container_definitions.items[i]);
    }
    spec.launch_type =
        record->launch_type == ECS_LAUNCH_TYPE_FARGATE ? TEXT("FARGATE") : TEXT("EC2");
    const struct task_entry *entry = task_entry(task_state(call->core), key);
    spec.availability_zone = arena_text(call->arena, entry->zone->name); // volatile state
    spec.group = task_group_name(call, record);
    spec.region = scope.region;
    spec.account = scope.account;
    spec.enable_execute_command = record->extra != NULL && record->extra->enable_execute_command;
    spec.has_enable_execute_command = spec.enable_execute_command; // most have none
    *out_spec = spec;
}
