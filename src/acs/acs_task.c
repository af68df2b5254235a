#include "acs/acs_internal.h"

#include "base/text.h"

#define UNITS_PER_CPU 1024.0
#define NO_OVERRIDES TEXT("{}") // they are merged into what is sent

// ---- volumes ----------------------------------------------------------------------------------

static struct acs_docker_volume_configuration *
docker_volume(const struct ecs_docker_volume_configuration *from, struct arena *arena)
{
    struct acs_docker_volume_configuration *to =
        ARENA_NEW(arena, struct acs_docker_volume_configuration);
    // The agent creates a volume of scope task for the task, and takes any other as shared.
    bool shared = from->scope == ECS_SCOPE_SHARED;
    *to = (struct acs_docker_volume_configuration){
        .scope = shared ? TEXT("shared") : TEXT("task"),
        .has_autoprovision = from->has_autoprovision,
        .autoprovision = from->autoprovision,
        .driver = text_empty(from->driver) ? TEXT("local") : from->driver,
        .driver_opts = from->driver_opts,
        .labels = from->labels,
    };
    return to;
}

static void fill_volumes(const struct ecs_task_definition *definition, struct arena *arena,
                         struct acs_task *out)
{
    size_t count = definition->volumes.count;
    struct acs_volume *volumes = acs_list(arena, count, sizeof(*volumes));
    for (size_t i = 0; i < count; i++) {
        const struct ecs_volume *from = &definition->volumes.items[i];
        volumes[i].name = from->name;
        if (from->docker_volume_configuration != NULL) {
            volumes[i].type = TEXT("docker");
            volumes[i].docker_volume_configuration =
                docker_volume(from->docker_volume_configuration, arena);
            continue;
        }
        // Without a path the agent makes a volume that goes with the task.
        volumes[i].type = TEXT("host");
        volumes[i].host = ARENA_NEW(arena, struct acs_host_volume_properties);
        if (from->host != NULL && !text_empty(from->host->source_path)) {
            volumes[i].host->source_path = from->host->source_path;
        }
    }
    out->volumes.items = volumes;
    out->volumes.count = count;
}

// ---- interfaces and devices -------------------------------------------------------------------

static void fill_interface(const struct session_eni *eni, struct arena *arena,
                           struct acs_elastic_network_interface *out)
{
    struct acs_ipv4_address_assignment *address =
        ARENA_NEW(arena, struct acs_ipv4_address_assignment);
    *address = (struct acs_ipv4_address_assignment){
        .private_address = eni->address, .has_primary = true, .primary = true};
    *out = (struct acs_elastic_network_interface){
        .attachment_arn = eni->attachment_arn,
        .ec2_id = eni->eni_id,
        .mac_address = eni->mac_address,
        .ipv4_addresses = {.items = address, .count = 1},
        .subnet_gateway_ipv4_address =
            arena_format(arena, "%.*s/%d", TEXT_FMT(eni->gateway), (int)eni->prefix_length),
        .private_dns_name = text_empty(eni->hostname) ? (struct text){0} : eni->hostname,
        .domain_name_servers = eni->domain_name_servers,
    };
}

static void fill_interfaces(const struct session_eni *eni, struct arena *arena,
                            struct acs_task *out)
{
    if (eni != NULL) {
        out->elastic_network_interfaces.items =
            ARENA_NEW(arena, struct acs_elastic_network_interface);
        out->elastic_network_interfaces.count = 1;
        fill_interface(eni, arena, &out->elastic_network_interfaces.items[0]);
    }
}

// GPUs belong to one container each; the agent looks for them among the task's associations.
static void fill_associations(const struct session_task_spec *spec, struct arena *arena,
                              struct acs_task *out)
{
    size_t count = 0;
    for (size_t i = 0; i < spec->containers.count; i++) {
        count += spec->containers.items[i].gpu_ids.count;
    }
    struct acs_association *associations = acs_list(arena, count, sizeof(*associations));
    size_t filled = 0;
    for (size_t i = 0; i < spec->containers.count; i++) {
        const struct session_container_identity *container = &spec->containers.items[i];
        for (size_t j = 0; j < container->gpu_ids.count; j++) {
            struct acs_association *to = &associations[filled];
            struct text *name = ARENA_NEW(arena, struct text);
            filled++;
            *name = container->name;
            to->name = container->gpu_ids.items[j];
            to->type = TEXT("gpu");
            to->containers = (struct text_list){.items = name, .count = 1};
            to->content = ARENA_NEW(arena, struct acs_encoded_string);
            *to->content =
                (struct acs_encoded_string){.encoding = TEXT("base64"), .value = TEXT("")};
        }
    }
    out->associations.items = associations;
    out->associations.count = count;
}

static void fill_proxy(const struct ecs_proxy_configuration *from, struct arena *arena,
                       struct acs_task *out)
{
    if (from == NULL) {
        return;
    }
    size_t count = from->properties.count;
    struct text_entry *properties = acs_list(arena, count, sizeof(*properties));
    for (size_t i = 0; i < count; i++) {
        properties[i] = (struct text_entry){.key = from->properties.items[i].name,
                                            .value = from->properties.items[i].value};
    }
    out->proxy_configuration = ARENA_NEW(arena, struct acs_proxy_configuration);
    *out->proxy_configuration = (struct acs_proxy_configuration){
        .type = TEXT("APPMESH"),
        .container_name = from->container_name,
        .properties = {.items = properties, .count = count},
    };
}

// ---- the task ---------------------------------------------------------------------------------

static struct text enum_text(const struct shape_type *shape, int32_t number)
{
    return number > 0 ? text_of(shape_enum_name(shape, number)) : (struct text){0};
}

static void fill_containers(const struct session_task_spec *spec, const struct acs_private *given,
                            struct arena *arena, struct acs_task *out)
{
    const struct ecs_container_definition_list *definitions =
        &spec->definition->container_definitions;
    ASSERT(spec->containers.count == definitions->count);
    out->containers.items = acs_list(arena, definitions->count, sizeof(*out->containers.items));
    out->containers.count = definitions->count;
    for (size_t i = 0; i < definitions->count; i++) {
        const struct acs_source source = {spec, given, &definitions->items[i],
                                          &spec->containers.items[i], arena};
        acs_container(&source, &out->containers.items[i]);
    }
}

static void fill_sizes(const struct session_task_spec *spec, struct acs_task *out)
{
    if (spec->cpu_units > 0) {
        out->has_cpu = true;
        out->cpu = spec->cpu_units / UNITS_PER_CPU;
    }
    if (spec->memory_mib > 0) {
        out->has_memory = true;
        out->memory = spec->memory_mib;
    }
}

static void fill_definition(const struct session_task_spec *spec, struct arena *arena,
                            struct acs_task *out)
{
    const struct ecs_task_definition *definition = spec->definition;
    out->family = definition->family;
    out->version = arena_format(arena, "%d", (int)definition->revision);
    out->network_mode = definition->network_mode == ECS_NETWORK_MODE_ABSENT
                            ? TEXT("bridge")
                            : enum_text(&ecs_network_mode_shape, (int32_t)definition->network_mode);
    out->pid_mode = enum_text(&ecs_pid_mode_shape, (int32_t)definition->pid_mode);
    out->ipc_mode = enum_text(&ecs_ipc_mode_shape, (int32_t)definition->ipc_mode);
    out->has_enable_fault_injection = definition->has_enable_fault_injection;
    out->enable_fault_injection = definition->enable_fault_injection;
    fill_volumes(definition, arena, out);
    fill_proxy(definition->proxy_configuration, arena, out);
}

void acs_task(const struct session_task_spec *spec, const struct acs_private *given,
              struct arena *arena, struct acs_task *out)
{
    struct acs_task task = {
        .arn = spec->task_arn,
        .task_cluster_arn = spec->cluster_arn,
        .desired_status = spec->desired_status,
        .overrides = NO_OVERRIDES,
    };
    // The agent knows the rest of a task that is to stop.
    if (spec->definition == NULL) {
        task.containers.items = SHAPE_EMPTY;
        *out = task;
        return;
    }
    static const struct text service = {"service:", 8};
    task.launch_type = spec->launch_type;
    task.zone = spec->availability_zone;
    task.group = spec->group;
    task.task_definition_account_id = spec->account;
    if (text_starts(spec->group, service)) {
        task.service_name = text_slice(spec->group, service.size, spec->group.size);
    }
    task.role_credentials = given->task;
    task.execution_role_credentials = given->execution;
    fill_sizes(spec, &task);
    fill_definition(spec, arena, &task);
    fill_interfaces(spec->eni, arena, &task);
    fill_associations(spec, arena, &task);
    fill_containers(spec, given, arena, &task);
    *out = task;
}
