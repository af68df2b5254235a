#include "acs/acs_internal.h"

#include "base/text.h"
#include "shape/json.h"

/*
 * Docker's Config and HostConfig of a container: all that the agent has no member of its own for.
 * It reads them over what it made of its own members.
 */

#define MIB (INT64_C(1) << 20)
#define SECOND_NS INT64_C(1000000000)

// ---- Config -----------------------------------------------------------------------------------

// A bare command is run as it is, as behind CMD.
static struct text_list health_test(struct text_list command, struct arena *arena)
{
    static const char *const words[] = {"CMD", "CMD-SHELL", "NONE"};
    for (size_t i = 0; i < ARRAY_LEN(words) && command.count > 0; i++) {
        if (text_is(command.items[0], words[i])) {
            return command;
        }
    }
    struct text_list test = {.items = acs_list(arena, command.count + 1, sizeof(struct text)),
                             .count = command.count + 1};
    test.items[0] = TEXT("CMD");
    for (size_t i = 0; i < command.count; i++) {
        test.items[i + 1] = command.items[i];
    }
    return test;
}

static struct docker_health_config *health(const struct ecs_health_check *from, struct arena *arena)
{
    struct docker_health_config *to = ARENA_NEW(arena, struct docker_health_config);
    *to = (struct docker_health_config){
        .test = health_test(from->command, arena),
        .has_interval = from->has_interval,
        .interval = from->interval * SECOND_NS,
        .has_timeout = from->has_timeout,
        .timeout = from->timeout * SECOND_NS,
        .has_start_period = from->has_start_period,
        .start_period = from->start_period * SECOND_NS,
        .has_retries = from->has_retries,
        .retries = from->retries,
    };
    return to;
}

static void fill_config(const struct acs_source *source, struct docker_config *out)
{
    const struct ecs_container_definition *definition = source->definition;
    *out = (struct docker_config){
        .hostname = definition->hostname,
        .user = definition->user,
        .has_tty = definition->has_pseudo_terminal,
        .tty = definition->pseudo_terminal,
        .has_open_stdin = definition->has_interactive,
        .open_stdin = definition->interactive,
        .has_network_disabled = definition->has_disable_networking,
        .network_disabled = definition->disable_networking,
        .working_dir = definition->working_directory,
        .labels = definition->docker_labels,
    };
    if (definition->health_check != NULL) {
        out->healthcheck = health(definition->health_check, source->arena);
    }
}

// ---- HostConfig -------------------------------------------------------------------------------

// Streams of awslogs have names that people find again: PREFIX/CONTAINER/TASK.
static struct text_map awslogs_options(const struct acs_source *source,
                                       const struct text_map *options)
{
    struct text_map out = {.items =
                               acs_list(source->arena, options->count + 1, sizeof(*out.items))};
    for (size_t i = 0; i < options->count; i++) {
        if (!text_is(options->items[i].key, "awslogs-stream-prefix")) {
            out.items[out.count] = options->items[i];
            out.count++;
        }
    }
    struct text prefix = acs_map_get(options, "awslogs-stream-prefix");
    if (!text_empty(prefix)) {
        struct text arn = source->spec->task_arn;
        size_t slash = text_find_last(arn, '/');
        out.items[out.count] = (struct text_entry){
            .key = TEXT("awslogs-stream"),
            .value = arena_format(source->arena, "%.*s/%.*s/%.*s", TEXT_FMT(prefix),
                                  TEXT_FMT(source->definition->name),
                                  TEXT_FMT(text_slice(arn, slash + 1, arn.size)))};
        out.count++;
    }
    return out;
}

static void fill_logs(const struct acs_source *source, struct docker_host_config *out)
{
    const struct ecs_log_configuration *from = source->definition->log_configuration;
    if (from == NULL) {
        return; // the daemon's default
    }
    out->log_config = ARENA_NEW(source->arena, struct docker_log_config);
    out->log_config->type =
        text_of(shape_enum_name(&ecs_log_driver_shape, (int32_t)from->log_driver));
    out->log_config->config = from->log_driver == ECS_LOG_DRIVER_AWSLOGS
                                  ? awslogs_options(source, &from->options)
                                  : from->options;
}

static void fill_hosts(const struct acs_source *source, struct docker_host_config *out)
{
    const struct ecs_host_entry_list *from = &source->definition->extra_hosts;
    out->extra_hosts.items = acs_list(source->arena, from->count, sizeof(struct text));
    out->extra_hosts.count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        out->extra_hosts.items[i] =
            arena_format(source->arena, "%.*s:%.*s", TEXT_FMT(from->items[i].hostname),
                         TEXT_FMT(from->items[i].ip_address));
    }
}

static void fill_ulimits(const struct acs_source *source, struct docker_host_config *out)
{
    const struct ecs_ulimit_list *from = &source->definition->ulimits;
    out->ulimits.items = acs_list(source->arena, from->count, sizeof(*out->ulimits.items));
    out->ulimits.count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        out->ulimits.items[i] = (struct docker_ulimit){
            .name = text_of(shape_enum_name(&ecs_ulimit_name_shape, (int32_t)from->items[i].name)),
            .has_soft = true,
            .soft = from->items[i].soft_limit,
            .has_hard = true,
            .hard = from->items[i].hard_limit,
        };
    }
}

static void fill_sysctls(const struct acs_source *source, struct docker_host_config *out)
{
    const struct ecs_system_control_list *from = &source->definition->system_controls;
    out->sysctls.items = acs_list(source->arena, from->count, sizeof(*out->sysctls.items));
    out->sysctls.count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        out->sysctls.items[i] =
            (struct text_entry){.key = from->items[i].namespace, .value = from->items[i].value};
    }
}

static struct text permissions(const struct ecs_device *device, struct arena *arena)
{
    bool all = device->permissions.count == 0;
    bool read = all;
    bool write = all;
    bool make = all;
    for (size_t i = 0; i < device->permissions.count; i++) {
        enum ecs_device_cgroup_permission permission = device->permissions.items[i];
        read = read || permission == ECS_DEVICE_CGROUP_PERMISSION_READ;
        write = write || permission == ECS_DEVICE_CGROUP_PERMISSION_WRITE;
        make = make || permission == ECS_DEVICE_CGROUP_PERMISSION_MKNOD;
    }
    return arena_format(arena, "%s%s%s", read ? "r" : "", write ? "w" : "", make ? "m" : "");
}

static void fill_devices(const struct ecs_device_list *from, struct arena *arena,
                         struct docker_host_config *out)
{
    out->devices.items = acs_list(arena, from->count, sizeof(*out->devices.items));
    out->devices.count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        const struct ecs_device *device = &from->items[i];
        out->devices.items[i] = (struct docker_device_mapping){
            .path_on_host = device->host_path,
            .path_in_container =
                text_empty(device->container_path) ? device->host_path : device->container_path,
            .cgroup_permissions = permissions(device, arena),
        };
    }
}

static void fill_tmpfs(const struct ecs_tmpfs_list *from, struct arena *arena,
                       struct docker_host_config *out)
{
    out->tmpfs.items = acs_list(arena, from->count, sizeof(*out->tmpfs.items));
    out->tmpfs.count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        const struct ecs_tmpfs *one = &from->items[i];
        AUTO(buf_deinit) struct buf options = {0};
        for (size_t j = 0; j < one->mount_options.count; j++) {
            buf_text(&options, one->mount_options.items[j]);
            buf_byte(&options, ',');
        }
        buf_format(&options, "size=%dm", (int)one->size);
        out->tmpfs.items[i] = (struct text_entry){.key = one->container_path,
                                                  .value = arena_text(arena, buf_view(&options))};
    }
}

static void fill_capabilities(const struct ecs_kernel_capabilities *from,
                              struct docker_host_config *out)
{
    out->cap_add.items = SHAPE_EMPTY;
    out->cap_drop.items = SHAPE_EMPTY;
    if (from != NULL && from->add.count > 0) {
        out->cap_add = from->add;
    }
    if (from != NULL && from->drop.count > 0) {
        out->cap_drop = from->drop;
    }
}

// Docker counts memory and swap together, and only beside a limit of memory.
static void fill_swap(const struct acs_source *source, const struct ecs_linux_parameters *from,
                      struct docker_host_config *out)
{
    if (!from->has_max_swap || !source->definition->has_memory) {
        return;
    }
    out->has_memory_swap = true;
    out->memory_swap = ((int64_t)source->definition->memory + from->max_swap) * MIB;
    out->has_memory_swappiness = from->has_swappiness;
    out->memory_swappiness = from->swappiness;
}

static void fill_linux(const struct acs_source *source, struct docker_host_config *out)
{
    const struct ecs_linux_parameters *from = source->definition->linux_parameters;
    fill_capabilities(from == NULL ? NULL : from->capabilities, out);
    if (from == NULL) {
        return;
    }
    out->has_init = from->has_init_process_enabled;
    out->init = from->init_process_enabled;
    out->has_shm_size = from->has_shared_memory_size;
    out->shm_size = from->shared_memory_size * MIB;
    fill_devices(&from->devices, source->arena, out);
    fill_tmpfs(&from->tmpfs, source->arena, out);
    fill_swap(source, from, out);
}

static void fill_host_config(const struct acs_source *source, struct docker_host_config *out)
{
    const struct ecs_container_definition *definition = source->definition;
    enum ecs_network_mode mode = source->spec->definition->network_mode;
    *out = (struct docker_host_config){
        .network_mode = mode == ECS_NETWORK_MODE_ABSENT
                            ? TEXT("bridge")
                            : text_of(shape_enum_name(&ecs_network_mode_shape, (int32_t)mode)),
        .dns = definition->dns_servers,
        .dns_search = definition->dns_search_domains,
        .has_privileged = definition->has_privileged,
        .privileged = definition->privileged,
        .has_readonly_rootfs = definition->has_readonly_root_filesystem,
        .readonly_rootfs = definition->readonly_root_filesystem,
        .security_opt = definition->docker_security_options,
        .has_memory_reservation = definition->has_memory_reservation,
        .memory_reservation = definition->memory_reservation * MIB,
    };
    fill_logs(source, out);
    fill_hosts(source, out);
    fill_ulimits(source, out);
    fill_sysctls(source, out);
    fill_linux(source, out);
}

// ---- both -------------------------------------------------------------------------------------

// The oldest API that has what the container asks for. The agent raises it to what the daemon has.
static struct text api_version(const struct ecs_container_definition *definition)
{
    const struct ecs_linux_parameters *linux_parameters = definition->linux_parameters;
    if (linux_parameters != NULL && linux_parameters->init_process_enabled) {
        return TEXT("1.25");
    }
    if (definition->health_check != NULL || definition->system_controls.count > 0) {
        return TEXT("1.24");
    }
    if (linux_parameters != NULL &&
        (linux_parameters->tmpfs.count > 0 || linux_parameters->has_shared_memory_size)) {
        return TEXT("1.22");
    }
    return definition->log_configuration != NULL ? TEXT("1.19") : TEXT("1.18");
}

static struct text json_text(const struct shape_type *shape, const void *value, struct arena *arena)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(shape, value, &json);
    return arena_text(arena, buf_view(&json));
}

struct acs_docker_config *acs_docker(const struct acs_source *source)
{
    struct docker_config config;
    struct docker_host_config host_config;
    fill_config(source, &config);
    fill_host_config(source, &host_config);
    struct acs_docker_config *out = ARENA_NEW(source->arena, struct acs_docker_config);
    *out = (struct acs_docker_config){
        .version = api_version(source->definition),
        .config = json_text(&docker_config_shape, &config, source->arena),
        .host_config = json_text(&docker_host_config_shape, &host_config, source->arena),
    };
    return out;
}
