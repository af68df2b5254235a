#include "acs/acs_internal.h"

#include "base/text.h"

#include <string.h>

#define EXEC_SESSIONS "2" // at a time, in a container: ECS's own limit
#define EXECUTION_ENV "AWS_EXECUTION_ENV"

struct text acs_map_get(const struct text_map *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++) {
        if (text_is(map->items[i].key, key)) {
            return map->items[i].value;
        }
    }
    return (struct text){0};
}

void *acs_list(struct arena *arena, size_t count, size_t size_bytes)
{
    return count == 0 ? NULL : arena_array(arena, count, size_bytes);
}

// ---- environment ------------------------------------------------------------------------------

// A name that is there already gets the new value: a map has each once.
static void put_variable(struct text_map *map, struct text name, struct text value)
{
    size_t place = 0;
    while (place < map->count && !text_equal(map->items[place].key, name)) {
        place++;
    }
    map->items[place] =
        (struct text_entry){.key = name, .value = value.data == NULL ? TEXT("") : value};
    map->count = MAX(map->count, place + 1);
}

// The agent adds its endpoints itself; where a container runs is for the control plane to say.
static void fill_environment(const struct acs_source *source, struct acs_container *out)
{
    const struct ecs_key_value_pair_list *own = &source->definition->environment;
    struct text launch_type = source->spec->launch_type;
    struct text region = source->spec->region;
    const struct berth_task_secret_list *secrets = &source->given->secrets;
    out->environment.items =
        acs_list(source->arena, own->count + secrets->count + 3, sizeof(*out->environment.items));
    if (!text_empty(launch_type)) {
        put_variable(&out->environment, TEXT(EXECUTION_ENV),
                     arena_format(source->arena, "AWS_ECS_%.*s", TEXT_FMT(launch_type)));
    }
    if (text_is(launch_type, "FARGATE") && !text_empty(region)) {
        put_variable(&out->environment, TEXT("AWS_DEFAULT_REGION"), region);
        put_variable(&out->environment, TEXT("AWS_REGION"), region);
    }
    for (size_t i = 0; i < own->count; i++) {
        put_variable(&out->environment, own->items[i].name, own->items[i].value);
    }
    for (size_t i = 0; i < secrets->count; i++) {
        if (text_equal(secrets->items[i].container, source->definition->name)) {
            put_variable(&out->environment, secrets->items[i].name, secrets->items[i].value);
        }
    }
}

// ---- lists ------------------------------------------------------------------------------------

static void fill_ports(const struct acs_source *source, struct acs_container *out)
{
    size_t count = source->definition->port_mappings.count;
    struct acs_port_mapping *ports = acs_list(source->arena, count, sizeof(*ports));
    for (size_t i = 0; i < count; i++) {
        const struct ecs_port_mapping *from = &source->definition->port_mappings.items[i];
        ports[i].protocol =
            from->protocol == ECS_TRANSPORT_PROTOCOL_UDP ? TEXT("udp") : TEXT("tcp");
        if (!text_empty(from->container_port_range)) {
            ports[i].container_port_range = from->container_port_range;
            continue;
        }
        ports[i].has_container_port = true;
        ports[i].container_port = from->container_port;
        ports[i].has_host_port = true;
        ports[i].host_port = from->host_port;
    }
    out->port_mappings.items = ports;
    out->port_mappings.count = count;
}

static void fill_mounts(const struct acs_source *source, struct acs_container *out)
{
    size_t count = source->definition->mount_points.count;
    out->mount_points.items = acs_list(source->arena, count, sizeof(*out->mount_points.items));
    out->mount_points.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_mount_point *from = &source->definition->mount_points.items[i];
        out->mount_points.items[i] = (struct acs_mount_point){
            .source_volume = from->source_volume,
            .container_path = from->container_path,
            .has_read_only = true,
            .read_only = from->read_only,
        };
    }
    count = source->definition->volumes_from.count;
    out->volumes_from.items = acs_list(source->arena, count, sizeof(*out->volumes_from.items));
    out->volumes_from.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_volume_from *from = &source->definition->volumes_from.items[i];
        out->volumes_from.items[i] = (struct acs_volume_from){
            .source_container = from->source_container,
            .has_read_only = true,
            .read_only = from->read_only,
        };
    }
}

static void fill_order(const struct acs_source *source, struct acs_container *out)
{
    const struct ecs_container_definition *definition = source->definition;
    size_t count = definition->depends_on.count;
    out->depends_on.items = acs_list(source->arena, count, sizeof(*out->depends_on.items));
    out->depends_on.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_container_dependency *from = &definition->depends_on.items[i];
        out->depends_on.items[i] = (struct acs_container_dependency){
            .container_name = from->container_name,
            .condition =
                text_of(shape_enum_name(&ecs_container_condition_shape, (int32_t)from->condition)),
        };
    }
    out->has_start_timeout = definition->has_start_timeout;
    out->start_timeout = definition->start_timeout;
    out->has_stop_timeout = definition->has_stop_timeout;
    out->stop_timeout = definition->stop_timeout;
    const struct ecs_container_restart_policy *policy = definition->restart_policy;
    if (policy != NULL) {
        out->restart_policy = ARENA_NEW(source->arena, struct acs_restart_policy);
        *out->restart_policy = (struct acs_restart_policy){
            .has_enabled = true,
            .enabled = policy->enabled,
            .ignored_exit_codes = policy->ignored_exit_codes,
            .has_restart_attempt_period = policy->has_restart_attempt_period,
            .restart_attempt_period = policy->restart_attempt_period,
        };
    }
}

static void fill_logs(const struct acs_source *source, struct acs_container *out)
{
    const struct ecs_firelens_configuration *router = source->definition->firelens_configuration;
    if (router != NULL) {
        out->firelens_configuration = ARENA_NEW(source->arena, struct acs_firelens_configuration);
        out->firelens_configuration->type =
            text_of(shape_enum_name(&ecs_firelens_configuration_type_shape, (int32_t)router->type));
        out->firelens_configuration->options = router->options;
    }
    const struct ecs_log_configuration *logs = source->definition->log_configuration;
    // Docker's driver then asks the agent for the execution role's credentials.
    if (logs != NULL && logs->log_driver == ECS_LOG_DRIVER_AWSLOGS &&
        !text_empty(source->spec->definition->execution_role_arn)) {
        out->logs_auth_strategy = TEXT("ExecutionRole");
    }
}

// What ECS Exec needs in a container. Without a limit the agent takes its own.
static void fill_agents(const struct acs_source *source, struct acs_container *out)
{
    if (source->spec->enable_execute_command) {
        out->managed_agents.items = ARENA_NEW(source->arena, struct acs_managed_agent);
        out->managed_agents.count = 1;
        out->managed_agents.items[0].name = TEXT("ExecuteCommandAgent");
        struct text_entry *limit = ARENA_NEW(source->arena, struct text_entry);
        *limit = (struct text_entry){.key = TEXT("sessionLimit"), .value = TEXT(EXEC_SESSIONS)};
        out->managed_agents.items[0].properties = (struct text_map){.items = limit, .count = 1};
    }
}

// ---- the container ----------------------------------------------------------------------------

// An image that a deployment is bound to, whatever its tag points to by now.
static struct text image(const struct acs_source *source)
{
    struct text name = source->definition->image;
    struct text digest = source->identity->image_digest;
    if (text_empty(digest) || text_find(name, '@') != SIZE_MAX) {
        return name;
    }
    // A colon behind the last slash begins a tag, one before it a registry's port.
    size_t slash = text_find_last(name, '/');
    size_t colon = text_find_last(name, ':');
    bool tag = colon != SIZE_MAX && (slash == SIZE_MAX || colon > slash);
    return arena_format(source->arena, "%.*s@%.*s",
                        TEXT_FMT(text_slice(name, 0, tag ? colon : name.size)), TEXT_FMT(digest));
}

void acs_container(const struct acs_source *source, struct acs_container *out)
{
    const struct ecs_container_definition *definition = source->definition;
    *out = (struct acs_container){
        .name = definition->name,
        .container_arn = source->identity->container_arn,
        .image = image(source),
        .has_essential = true,
        .essential = !definition->has_essential || definition->essential,
        .has_cpu = true,
        .cpu = definition->has_cpu ? definition->cpu : 0,
        .has_memory = true,
        .memory = definition->has_memory ? definition->memory : 0,
        .command = definition->command,
        .entry_point = definition->entry_point,
        .links = definition->links,
        .has_privileged = definition->has_privileged,
        .privileged = definition->privileged,
        .health_check_type = definition->health_check != NULL ? TEXT("docker") : (struct text){0},
        .overrides = TEXT("{}"),
        .docker_config = acs_docker(source),
    };
    fill_environment(source, out);
    fill_ports(source, out);
    fill_mounts(source, out);
    fill_order(source, out);
    fill_logs(source, out);
    fill_agents(source, out);
}
