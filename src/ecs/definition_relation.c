#include "ecs/definition_internal.h"

#include "base/limits.h"
#include "base/text.h"

/** One bit per container. */
_Static_assert(LIMIT_CONTAINERS <= 16, "a set of containers is 16 bits");

static int check_unique(const struct definition_draft *draft)
{
    const struct ecs_container_definition_list *containers =
        &draft->definition->container_definitions;
    bool essential = false;
    for (size_t i = 0; i < containers->count; i++) {
        if (definition_container_index(draft->definition, containers->items[i].name) != i) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Container names must be unique within a Task Definition.");
        }
        essential =
            essential || !containers->items[i].has_essential || containers->items[i].essential;
    }
    if (!essential) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Task definition doesn't have any essential container.");
    }
    return 0;
}

static int check_sums(const struct definition_draft *draft)
{
    int64_t cpu_units = 0;
    int64_t reserved_mib = 0;
    for (size_t i = 0; i < draft->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        cpu_units += container->cpu;
        reserved_mib += container->memory_reservation;
    }
    if (draft->cpu_units > 0 && cpu_units > draft->cpu_units) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "The sum of all container 'cpu' values cannot be greater than the value "
                          "of the task 'cpu'.");
    }
    if (draft->memory_mib > 0 && reserved_mib > draft->memory_mib) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "The sum of all container 'memoryReservation' values cannot be greater "
                          "than the value of the task 'memory'.");
    }
    return 0;
}

/** @return whether containers that wait for others, as bits, wait in a circle */
static bool has_cycle(const uint16_t *waits_for, size_t count)
{
    uint16_t done = 0;
    for (size_t round = 0; round < count; round++) {
        for (size_t i = 0; i < count; i++) {
            if ((waits_for[i] & ~done) == 0) {
                done = (uint16_t)(done | 1U << i);
            }
        }
    }
    return done != (uint16_t)((1U << count) - 1);
}

static int check_dependency(const struct definition_draft *draft,
                            const struct ecs_container_dependency *dependency, size_t *out_index)
{
    size_t index = definition_container_index(draft->definition, dependency->container_name);
    if (index == SIZE_MAX) {
        // The stray plus is ECS's own; tools look for this sentence.
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Cannot depend on container + '%.*s' because it does not exist",
                          TEXT_FMT(dependency->container_name));
    }
    const struct ecs_container_definition *target =
        &draft->definition->container_definitions.items[index];
    bool ends = dependency->condition == ECS_CONTAINER_CONDITION_SUCCESS ||
                dependency->condition == ECS_CONTAINER_CONDITION_COMPLETE;
    if (ends && (!target->has_essential || target->essential)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "A dependency container with SUCCESS or COMPLETE condition cannot be an "
                          "essential container");
    }
    if (dependency->condition == ECS_CONTAINER_CONDITION_HEALTHY && target->health_check == NULL) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Cannot depend on container '%.*s' with HEALTHY condition because it has "
                          "no health check",
                          TEXT_FMT(dependency->container_name));
    }
    *out_index = index;
    return 0;
}

static int check_dependencies(const struct definition_draft *draft)
{
    const struct ecs_container_definition_list *containers =
        &draft->definition->container_definitions;
    uint16_t waits_for[LIMIT_CONTAINERS] = {0};
    for (size_t i = 0; i < containers->count; i++) {
        for (size_t j = 0; j < containers->items[i].depends_on.count; j++) {
            size_t index = 0;
            int rc = check_dependency(draft, &containers->items[i].depends_on.items[j], &index);
            if (rc != 0) {
                return rc;
            }
            waits_for[i] = (uint16_t)(waits_for[i] | 1U << index);
        }
    }
    if (has_cycle(waits_for, containers->count)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container dependencies should not have a cycle");
    }
    return 0;
}

/** Links, `name` or `name:alias`, and volumesFrom: both lead to other containers. */
static int check_links(const struct definition_draft *draft)
{
    const struct ecs_container_definition_list *containers =
        &draft->definition->container_definitions;
    uint16_t links[LIMIT_CONTAINERS] = {0};
    uint16_t sources[LIMIT_CONTAINERS] = {0};
    for (size_t i = 0; i < containers->count; i++) {
        const struct ecs_container_definition *container = &containers->items[i];
        for (size_t j = 0; j < container->links.count; j++) {
            struct text rest = container->links.items[j];
            struct text name = text_cut(&rest, ':');
            size_t index = definition_container_index(draft->definition, name);
            if (index == SIZE_MAX) {
                return core_fault(draft->call, &ecs_error_client_exception,
                                  "Container '%.*s' links to '%.*s', which does not exist.",
                                  TEXT_FMT(container->name), TEXT_FMT(name));
            }
            links[i] = (uint16_t)(links[i] | 1U << index);
        }
        for (size_t j = 0; j < container->volumes_from.count; j++) {
            struct text name = container->volumes_from.items[j].source_container;
            size_t index = definition_container_index(draft->definition, name);
            if (index == SIZE_MAX) {
                return core_fault(draft->call, &ecs_error_client_exception,
                                  "Container '%.*s' takes volumes from '%.*s', which does not "
                                  "exist.",
                                  TEXT_FMT(container->name), TEXT_FMT(name));
            }
            sources[i] = (uint16_t)(sources[i] | 1U << index);
        }
    }
    if (has_cycle(links, containers->count)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container links should not have a cycle");
    }
    if (has_cycle(sources, containers->count)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container volumesFrom should not have a cycle");
    }
    return 0;
}

static int check_efs(const struct definition_draft *draft, const struct ecs_volume *volume)
{
    const struct ecs_efs_volume_configuration *efs = volume->efs_volume_configuration;
    if (efs == NULL || efs->authorization_config == NULL) {
        return 0;
    }
    bool point = !text_empty(efs->authorization_config->access_point_id);
    bool iam = efs->authorization_config->iam == ECS_EFS_AUTHORIZATION_CONFIG_IAM_ENABLED;
    if ((point || iam) && efs->transit_encryption != ECS_EFS_TRANSIT_ENCRYPTION_ENABLED) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Volume '%.*s': transitEncryption must be ENABLED when an access point "
                          "or IAM authorization is used.",
                          TEXT_FMT(volume->name));
    }
    if (point && !text_empty(efs->root_directory) && !text_is(efs->root_directory, "/")) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Volume '%.*s': rootDirectory must be / or absent when an access point "
                          "is used.",
                          TEXT_FMT(volume->name));
    }
    return 0;
}

static int check_volume(const struct definition_draft *draft, size_t index)
{
    const struct ecs_volume *volume = &draft->definition->volumes.items[index];
    if (text_empty(volume->name) || volume->name.size > LIMIT_NAME_CHARS ||
        !ecs_name_valid(volume->name)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid volume name '%.*s'. Up to %d letters, digits, underscores and "
                          "hyphens are allowed.",
                          TEXT_FMT(text_slice(volume->name, 0, LIMIT_NAME_CHARS)),
                          LIMIT_NAME_CHARS);
    }
    for (size_t i = 0; i < index; i++) {
        if (text_equal(draft->definition->volumes.items[i].name, volume->name)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "The volume name '%.*s' is used more than once.",
                              TEXT_FMT(volume->name));
        }
    }
    const bool kinds[] = {
        volume->host != NULL,
        volume->docker_volume_configuration != NULL,
        volume->efs_volume_configuration != NULL,
        volume->s3files_volume_configuration != NULL,
        volume->fsx_windows_file_server_volume_configuration != NULL,
        volume->configured_at_launch,
    };
    int count = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        count += kinds[i] ? 1 : 0;
    }
    if (count > 1) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Volume '%.*s' can have one kind of configuration only.",
                          TEXT_FMT(volume->name));
    }
    const struct ecs_docker_volume_configuration *docker = volume->docker_volume_configuration;
    if (docker != NULL && docker->autoprovision && docker->scope != ECS_SCOPE_SHARED) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Volume '%.*s': autoprovision needs the scope shared.",
                          TEXT_FMT(volume->name));
    }
    return check_efs(draft, volume);
}

static int check_volumes(const struct definition_draft *draft)
{
    size_t at_launch_count = 0;
    for (size_t i = 0; i < draft->definition->volumes.count; i++) {
        int rc = check_volume(draft, i);
        if (rc != 0) {
            return rc;
        }
        at_launch_count += draft->definition->volumes.items[i].configured_at_launch ? 1 : 0;
    }
    if (at_launch_count > 1) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Only one volume of a task definition can be configured at launch.");
    }
    return 0;
}

static bool volume_exists(const struct definition_draft *draft, struct text name)
{
    for (size_t i = 0; i < draft->definition->volumes.count; i++) {
        if (text_equal(draft->definition->volumes.items[i].name, name)) {
            return true;
        }
    }
    return false;
}

static int check_mounts(const struct definition_draft *draft)
{
    for (size_t i = 0; i < draft->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        for (size_t j = 0; j < container->mount_points.count; j++) {
            const struct ecs_mount_point *mount = &container->mount_points.items[j];
            if (!volume_exists(draft, mount->source_volume)) {
                return core_fault(draft->call, &ecs_error_client_exception,
                                  "Unknown volume '%.*s'.", TEXT_FMT(mount->source_volume));
            }
            bool absolute = text_starts(mount->container_path, TEXT("/"));
            if (text_empty(mount->container_path) || (!absolute && !draft->windows)) {
                return definition_invalid_setting(draft, container, "containerPath");
            }
        }
    }
    return 0;
}

/** At most one container routes the logs of the others. */
static int check_routers(const struct definition_draft *draft)
{
    size_t count = 0;
    for (size_t i = 0; i < draft->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        count += container->firelens_configuration == NULL ? 0 : 1;
    }
    if (count > 1) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Only one container of a task definition can have a "
                          "firelensConfiguration.");
    }
    return 0;
}

int definition_check_relations(const struct definition_draft *draft)
{
    static int (*const checks[])(const struct definition_draft *) = {
        check_unique,  check_sums,   check_dependencies, check_links,
        check_volumes, check_mounts, check_routers,
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int rc = checks[i](draft);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
