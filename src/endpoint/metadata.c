#include "endpoint/metadata.h"

#include "base/text.h"
#include "runtime/runtime.h"

#define MIN_CPU_UNITS 2 // what a container without `cpu` has: the kernel's least share
#define UNITS_PER_CPU 1024.0
#define OWN_LABELS 5
#define NAME_DIGITS 20 // at the end of a Docker name

static struct text after_last(struct text text, char separator)
{
    size_t at = text_find_last(text, separator);
    return at == SIZE_MAX ? text : text_slice(text, at + 1, text.size);
}

bool metadata_is_fargate(const struct session_task_spec *spec)
{
    return text_is(spec->launch_type, "FARGATE");
}

struct text metadata_container_id(const struct metadata_source *source, size_t index,
                                  struct arena *arena)
{
    return runtime_container_id(source->task_id, index, arena);
}

static struct text revision(const struct session_task_spec *spec, struct arena *arena)
{
    return arena_format(arena, "%d", spec->definition->revision);
}

// In the words of Amazon's agent, which the endpoint shows as they are.
static struct text known_status(const struct supervisor_container_state *state)
{
    switch (state->status) {
    case SUPERVISOR_STATUS_RUNNING:
    case SUPERVISOR_STATUS_STOPPING:
        return TEXT("RUNNING");
    case SUPERVISOR_STATUS_STOPPED:
        return TEXT("STOPPED");
    case SUPERVISOR_STATUS_WAITING:
    case SUPERVISOR_STATUS_STARTING:
    case SUPERVISOR_STATUS_ABSENT:
    case SUPERVISOR_STATUS_UNRECOGNIZED:
        break;
    }
    return TEXT("CREATED");
}

static const struct supervisor_container_state *state_of(const struct metadata_source *source,
                                                         struct text name)
{
    for (size_t i = 0; source->state != NULL && i < source->state->containers.count; i++) {
        if (text_equal(source->state->containers.items[i].name, name)) {
            return &source->state->containers.items[i];
        }
    }
    return NULL;
}

static struct text task_status(const struct metadata_source *source)
{
    if (source->ended) {
        return TEXT("STOPPED");
    }
    if (source->state == NULL) {
        return source->pull_stopped_at == 0 ? TEXT("NONE") : TEXT("CREATED");
    }
    for (size_t i = 0; i < source->state->containers.count; i++) {
        if (source->state->containers.items[i].started_at == 0) {
            return TEXT("CREATED");
        }
    }
    return TEXT("RUNNING");
}

// ---- parts of a container ---------------------------------------------------------------------

static void put_label(struct text_map *labels, const char *name, struct text value)
{
    labels->items[labels->count].key = text_of(name);
    labels->items[labels->count].value = value;
    labels->count++;
}

static struct text_map labels_of(const struct metadata_source *source,
                                 const struct ecs_container_definition *container,
                                 struct arena *arena)
{
    const struct session_task_spec *spec = source->spec;
    const struct text_map *own = &container->docker_labels;
    struct text_map labels = {
        .items = arena_array(arena, own->count + OWN_LABELS, sizeof(*labels.items))};
    put_label(&labels, "com.amazonaws.ecs.cluster",
              metadata_is_fargate(spec) ? spec->cluster_arn : after_last(spec->cluster_arn, '/'));
    put_label(&labels, "com.amazonaws.ecs.container-name", container->name);
    put_label(&labels, "com.amazonaws.ecs.task-arn", spec->task_arn);
    put_label(&labels, "com.amazonaws.ecs.task-definition-family", spec->definition->family);
    put_label(&labels, "com.amazonaws.ecs.task-definition-version", revision(spec, arena));
    for (size_t i = 0; i < own->count; i++) {
        // Amazon's are put over the definition's.
        if (!text_starts(own->items[i].key, TEXT("com.amazonaws.ecs."))) {
            labels.items[labels.count++] = own->items[i];
        }
    }
    return labels;
}

// The ports of the host that a container on the bridge network got.
static const struct journal_container_ports *
bound_ports(const struct metadata_source *source, const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < source->ports.count; i++) {
        if (text_equal(source->ports.items[i].name, container->name)) {
            return &source->ports.items[i];
        }
    }
    return NULL;
}

static int32_t bound_port(const struct journal_container_ports *bound,
                          const struct ecs_port_mapping *mapping)
{
    bool udp = mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP;
    for (size_t i = 0; bound != NULL && i < bound->bindings.count; i++) {
        const struct ecs_network_binding *binding = &bound->bindings.items[i];
        if (binding->container_port == mapping->container_port &&
            (binding->protocol == ECS_TRANSPORT_PROTOCOL_UDP) == udp) {
            return binding->host_port;
        }
    }
    return mapping->host_port;
}

static struct endpoint_port_list ports_of(const struct metadata_source *source,
                                          const struct ecs_container_definition *container,
                                          struct arena *arena)
{
    const struct journal_container_ports *bound = bound_ports(source, container);
    const struct ecs_port_mapping_list *mappings = &container->port_mappings;
    struct endpoint_port_list ports = {
        .items = arena_array(arena, mappings->count, sizeof(*ports.items))};
    for (size_t i = 0; i < mappings->count; i++) {
        const struct ecs_port_mapping *mapping = &mappings->items[i];
        if (!mapping->has_container_port) {
            continue; // a range, which the endpoint does not show
        }
        struct endpoint_port *port = &ports.items[ports.count++];
        port->has_container_port = true;
        port->container_port = mapping->container_port;
        port->protocol =
            mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP ? TEXT("udp") : TEXT("tcp");
        port->host_port = bound_port(bound, mapping);
        port->has_host_port = port->host_port != 0;
        port->host_ip = bound == NULL ? (struct text){0} : TEXT("0.0.0.0");
    }
    return ports;
}

static const struct ecs_volume *volume_of(const struct ecs_task_definition *definition,
                                          struct text name)
{
    for (size_t i = 0; i < definition->volumes.count; i++) {
        if (text_equal(definition->volumes.items[i].name, name)) {
            return &definition->volumes.items[i];
        }
    }
    return NULL;
}

static struct endpoint_volume_list volumes_of(const struct ecs_task_definition *definition,
                                              const struct ecs_container_definition *container,
                                              struct arena *arena)
{
    const struct ecs_mount_point_list *points = &container->mount_points;
    struct endpoint_volume_list volumes = {
        .items = arena_array(arena, points->count, sizeof(*volumes.items)), .count = points->count};
    for (size_t i = 0; i < points->count; i++) {
        const struct ecs_volume *volume = volume_of(definition, points->items[i].source_volume);
        bool on_host =
            volume != NULL && volume->host != NULL && !text_empty(volume->host->source_path);
        volumes.items[i].destination = points->items[i].container_path;
        if (on_host) {
            volumes.items[i].source = volume->host->source_path;
        } else {
            volumes.items[i].docker_name = points->items[i].source_volume;
        }
    }
    return volumes;
}

static void add_state(const struct supervisor_container_state *state, struct arena *arena,
                      struct endpoint_container *out)
{
    out->known_status = known_status(state);
    out->has_exit_code = state->has_exit_code;
    out->exit_code = state->exit_code;
    out->started_at = state->started_at;
    out->finished_at = state->finished_at;
    out->has_restart_count = state->has_restart_count;
    out->restart_count = state->restart_count;
    if (state->health != SUPERVISOR_HEALTH_ABSENT) {
        out->health = ARENA_NEW(arena, struct endpoint_health);
        out->health->status =
            text_of(shape_enum_name(&supervisor_health_shape, (int32_t)state->health));
        out->health->status_since = state->health_since;
    }
}

static struct endpoint_network_list networks_of(const struct metadata_source *source, size_t index,
                                                int version, struct arena *arena)
{
    const struct session_task_spec *spec = source->spec;
    const struct session_eni *eni = spec->eni;
    struct text address = eni != NULL ? eni->address : (struct text){0};
    if (eni == NULL && index < source->addresses.count) {
        address = source->addresses.items[index];
    }
    enum ecs_network_mode mode = spec->definition->network_mode;
    struct endpoint_network *network = ARENA_NEW(arena, struct endpoint_network);
    network->network_mode = mode == ECS_NETWORK_MODE_ABSENT
                                ? TEXT("bridge")
                                : text_of(shape_enum_name(&ecs_network_mode_shape, (int32_t)mode));
    network->ipv4_addresses.items = SHAPE_EMPTY;
    if (!text_empty(address)) {
        network->ipv4_addresses = (struct text_list){arena_alloc(arena, sizeof(struct text)), 1};
        network->ipv4_addresses.items[0] = address;
    }
    if (eni != NULL && version == 4) {
        network->has_attachment_index = true;
        network->mac_address = eni->mac_address;
        network->ipv4_subnet_cidr_block = eni->subnet_cidr;
        network->domain_name_servers = eni->domain_name_servers;
        network->private_dns_name = eni->hostname;
        network->subnet_gateway_ipv4_address =
            arena_format(arena, "%.*s/%d", TEXT_FMT(eni->gateway), eni->prefix_length);
    }
    return (struct endpoint_network_list){.items = network, .count = 1};
}

static void add_version_4(const struct metadata_source *source, size_t index, struct arena *arena,
                          struct endpoint_container *out)
{
    const struct session_task_spec *spec = source->spec;
    const struct ecs_container_definition *container =
        &spec->definition->container_definitions.items[index];
    const struct ecs_log_configuration *log = container->log_configuration;
    if (log != NULL) {
        out->log_driver = text_of(shape_enum_name(&ecs_log_driver_shape, (int32_t)log->log_driver));
        out->log_options = log->options;
    } else {
        out->log_driver = TEXT("json-file");
    }
    if (index < spec->containers.count) {
        out->container_arn = spec->containers.items[index].container_arn;
    }
    out->snapshotter = metadata_is_fargate(spec) ? TEXT("overlayfs") : (struct text){0};
}

// Docker's: ecs-FAMILY-REVISION-NAME-DIGITS. Fargate shows the container's own.
static struct text docker_name(const struct metadata_source *source, struct text name,
                               struct arena *arena)
{
    const struct ecs_task_definition *definition = source->spec->definition;
    struct text id = source->task_id;
    size_t from = id.size > NAME_DIGITS ? id.size - NAME_DIGITS : 0;
    struct text digits = text_slice(id, from, id.size);
    return metadata_is_fargate(source->spec)
               ? name
               : arena_format(arena, "ecs-%.*s-%d-%.*s-%.*s", TEXT_FMT(definition->family),
                              definition->revision, TEXT_FMT(name), TEXT_FMT(digits));
}

void metadata_container(const struct metadata_source *source, size_t index, int version,
                        struct arena *arena, struct endpoint_container *out_container)
{
    const struct session_task_spec *spec = source->spec;
    const struct ecs_container_definition *container =
        &spec->definition->container_definitions.items[index];
    struct endpoint_container out = {
        .docker_id = metadata_container_id(source, index, arena),
        .name = container->name,
        .docker_name = docker_name(source, container->name, arena),
        .image = container->image,
        .ports = ports_of(source, container, arena),
        .labels = labels_of(source, container, arena),
        .desired_status =
            source->stop_requested || source->ended ? TEXT("STOPPED") : TEXT("RUNNING"),
        .known_status = source->pull_stopped_at == 0 ? TEXT("NONE") : TEXT("PULLED"),
        .created_at = source->pull_stopped_at, // bundles are made as soon as images are there
        .type = TEXT("NORMAL"),
        .volumes = volumes_of(spec->definition, container, arena),
        .networks = networks_of(source, index, version, arena),
    };
    for (size_t i = 0; i < source->images.count; i++) {
        if (text_equal(source->images.items[i].name, container->name)) {
            out.image_id = source->images.items[i].digest;
        }
    }
    out.limits = ARENA_NEW(arena, struct endpoint_limits);
    out.limits->has_cpu = true;
    out.limits->cpu = (double)MAX(container->has_cpu ? container->cpu : 0, MIN_CPU_UNITS);
    out.limits->has_memory = true;
    out.limits->memory = container->has_memory ? container->memory : 0;
    const struct supervisor_container_state *state = state_of(source, container->name);
    if (state != NULL) {
        add_state(state, arena, &out);
    }
    if (version == 4) {
        add_version_4(source, index, arena, &out);
    }
    *out_container = out;
}

// ---- the task ---------------------------------------------------------------------------------

static void add_task_version_4(const struct metadata_source *source, struct endpoint_task *out)
{
    const struct session_task_spec *spec = source->spec;
    out->launch_type = spec->launch_type;
    out->vpcid = spec->eni == NULL ? (struct text){0} : spec->eni->vpc_id;
    out->group = spec->group;
    if (text_starts(spec->group, TEXT("service:"))) {
        out->service_name = after_last(spec->group, ':');
    }
    out->has_fault_injection_enabled = true;
    out->fault_injection_enabled = spec->definition->enable_fault_injection;
    if (metadata_is_fargate(spec)) {
        out->clock_drift = (struct endpoint_clock_drift *)(uintptr_t)source->clock;
        out->ephemeral_storage_metrics =
            (struct endpoint_ephemeral_storage *)(uintptr_t)source->storage;
    }
}

static struct endpoint_limits *task_limits(const struct session_task_spec *spec,
                                           struct arena *arena)
{
    if (spec->cpu_units <= 0 && spec->memory_mib <= 0) {
        return NULL;
    }
    struct endpoint_limits *limits = ARENA_NEW(arena, struct endpoint_limits);
    limits->has_cpu = spec->cpu_units > 0;
    limits->cpu = (double)spec->cpu_units / UNITS_PER_CPU;
    limits->has_memory = spec->memory_mib > 0;
    limits->memory = spec->memory_mib;
    return limits;
}

void metadata_task(const struct metadata_source *source, int version, struct arena *arena,
                   struct endpoint_task *out_task)
{
    const struct session_task_spec *spec = source->spec;
    size_t count = spec->definition->container_definitions.count;
    struct endpoint_task out = {
        .cluster =
            metadata_is_fargate(spec) ? spec->cluster_arn : after_last(spec->cluster_arn, '/'),
        .task_arn = spec->task_arn,
        .family = spec->definition->family,
        .revision = revision(spec, arena),
        .desired_status =
            source->stop_requested || source->ended ? TEXT("STOPPED") : TEXT("RUNNING"),
        .known_status = task_status(source),
        .containers = {.items = arena_array(arena, count, sizeof(*out.containers.items)),
                       .count = count},
        .limits = task_limits(spec, arena),
        .pull_started_at = source->pull_started_at,
        .pull_stopped_at = source->pull_stopped_at,
        .execution_stopped_at = source->state == NULL ? 0 : source->state->execution_stopped_at,
        .availability_zone = spec->availability_zone,
    };
    for (size_t i = 0; i < count; i++) {
        metadata_container(source, i, version, arena, &out.containers.items[i]);
    }
    if (version == 4) {
        add_task_version_4(source, &out);
    }
    *out_task = out;
}
