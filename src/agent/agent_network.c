#include "agent/agent_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "net/net_fault.h"
#include "net/net_task.h"
#include "runtime/spec.h"

/*
 * The networks of tasks, in workers: an interface in mode awsvpc, a namespace for each container
 * and ports of the host in mode bridge. Modes host and none need nothing, but faults that a task
 * has put into the host's namespace end with it.
 */

// ---- awsvpc -------------------------------------------------------------------------------

struct net_eni agent_network_interface(const struct agent *agent,
                                       const struct session_task_spec *task)
{
    const struct session_eni *spec = task->eni;
    return (struct net_eni){
        .id = spec->eni_id,
        .mac_address = spec->mac_address,
        .address = spec->address,
        .prefix_length = (uint32_t)spec->prefix_length,
        .gateway = spec->gateway,
        .subnet_id = spec->subnet_id,
        .vpc = {.id = spec->vpc_id,
                .cidr = spec->vpc_cidr,
                .host_route = agent->options.host_route},
        .groups = spec->security_groups,
        .groups_told = task->security_groups_told,
    };
}

static int make_interface(struct job *job, struct text *out_namespace, struct err *err)
{
    const struct agent_options *options = &job->agent->options;
    struct net_eni eni = agent_network_interface(job->agent, job->spec);
    eni.known = job->groups.items;
    eni.known_count = job->groups.count;
    // A task does without the host's own way to it; people are told why curl does not answer.
    struct err route;
    if (job->check_route && net_vpc_ensure(options->net, &eni.vpc, &route) == ERR_EXISTS) {
        job->unreachable = arena_text(&job->arena, text_of(route.text));
    }
    return net_eni_create(options->net, &eni, &job->arena, out_namespace, err);
}

// ---- bridge -------------------------------------------------------------------------------

static bool is_bridge(const struct job *job)
{
    return job->spec->definition->network_mode == ECS_NETWORK_MODE_BRIDGE;
}

static int read_mapping(const struct ecs_port_mapping *mapping, struct net_mapping *out,
                        struct err *err)
{
    uint16_t first = (uint16_t)mapping->container_port;
    uint16_t last = first;
    if (!text_empty(mapping->container_port_range) &&
        spec_port_range(mapping->container_port_range, &first, &last) != 0) {
        return err_set(err, ERR_INVALID, "'%.*s' is no range of ports",
                       TEXT_FMT(mapping->container_port_range));
    }
    *out = (struct net_mapping){
        .udp = mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP,
        .container_port = first,
        .host_port = (uint16_t)mapping->host_port,
        .count = (uint16_t)(last - first + 1),
    };
    return 0;
}

static struct ecs_network_binding binding_of(const struct net_mapping *mapping, uint16_t host_port,
                                             struct arena *arena)
{
    struct ecs_network_binding binding = {
        .bind_ip = TEXT("0.0.0.0"),
        .protocol = mapping->udp ? ECS_TRANSPORT_PROTOCOL_UDP : ECS_TRANSPORT_PROTOCOL_TCP,
    };
    if (mapping->count > 1) {
        binding.container_port_range =
            arena_format(arena, "%u-%u", mapping->container_port,
                         (unsigned)mapping->container_port + mapping->count - 1);
        binding.host_port_range =
            arena_format(arena, "%u-%u", host_port, (unsigned)host_port + mapping->count - 1);
    } else {
        binding.has_container_port = true;
        binding.container_port = mapping->container_port;
        binding.has_host_port = true;
        binding.host_port = host_port;
    }
    return binding;
}

// @param index  of the container in the definition
static void keep_ports(struct job *job, size_t index, const struct net_container *container,
                       const struct net_connection *connection)
{
    struct journal_container_ports *ports = &job->ports.items[job->ports.count++];
    ports->name = job->spec->definition->container_definitions.items[index].name;
    ports->bindings.items =
        arena_array(&job->arena, container->mapping_count, sizeof(*ports->bindings.items));
    ports->bindings.count = container->mapping_count;
    for (size_t i = 0; i < container->mapping_count; i++) {
        ports->bindings.items[i] =
            binding_of(&container->mappings[i], connection->host_ports[i], &job->arena);
    }
}

static int read_container(struct job *job, const struct ecs_container_definition *definition,
                          struct net_container *out, struct err *err)
{
    size_t count = definition->port_mappings.count;
    struct net_mapping *mappings = arena_array(&job->arena, count, sizeof(*mappings));
    for (size_t i = 0; i < count; i++) {
        int rc = read_mapping(&definition->port_mappings.items[i], &mappings[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    *out = (struct net_container){.mappings = mappings, .mapping_count = count};
    return 0;
}

/** The containers that have a network, in the order of the definition. */
struct connected {
    struct net_container containers[LIMIT_CONTAINERS];
    struct net_connection connections[LIMIT_CONTAINERS];
    size_t indexes[LIMIT_CONTAINERS]; ///< in the definition
    size_t count;
};

static int read_containers(struct job *job, struct connected *connected, struct err *err)
{
    const struct ecs_container_definition_list *definitions =
        &job->spec->definition->container_definitions;
    for (size_t i = 0; i < definitions->count; i++) {
        if (definitions->items[i].disable_networking) {
            continue;
        }
        if (connected->count == LIMIT_CONTAINERS) {
            return err_set(err, ERR_NO_ROOM, "the task has more than %d containers",
                           LIMIT_CONTAINERS);
        }
        int rc = read_container(job, &definitions->items[i],
                                &connected->containers[connected->count], err);
        if (rc != 0) {
            job->failed_container = definitions->items[i].name;
            return rc;
        }
        connected->indexes[connected->count++] = i;
    }
    return 0;
}

static int make_bridge(struct job *job, struct runtime_container *containers, struct err *err)
{
    struct connected *connected = ARENA_NEW(&job->arena, struct connected);
    int rc = read_containers(job, connected, err);
    if (rc != 0 || connected->count == 0) {
        return rc;
    }
    const struct net_task task = {
        .id = text_of(job->task_id),
        .containers = connected->containers,
        .container_count = connected->count,
    };
    size_t failed = 0;
    rc = net_task_create(job->agent->options.net, &task, &job->arena, connected->connections,
                         &failed, err);
    if (rc != 0) {
        if (failed < connected->count) {
            job->failed_container = containers[connected->indexes[failed]].definition->name;
        }
        return rc;
    }
    job->ports.items = arena_array(&job->arena, connected->count, sizeof(*job->ports.items));
    for (size_t i = 0; i < connected->count; i++) {
        struct runtime_container *container = &containers[connected->indexes[i]];
        container->network_namespace = connected->connections[i].path;
        container->address = connected->connections[i].address;
        keep_ports(job, connected->indexes[i], &connected->containers[i],
                   &connected->connections[i]);
    }
    return 0;
}

// ---- all ----------------------------------------------------------------------------------

// In the words of Docker, which clients know, and with what helps.
static int no_port(struct job *job, struct err *err)
{
    AUTO(alloc_string) char *text = alloc_string(err->text);
    err_set(err, err->code,
            "driver failed programming external connectivity on endpoint %.*s: %s; free the port "
            "on the node, or leave hostPort out to have a free one chosen",
            TEXT_FMT(job->failed_container), text);
    return agent_job_fail(job, "CannotStartContainerError", err);
}

int agent_network_make(struct job *job, struct runtime_task *task,
                       struct runtime_container *containers)
{
    struct err err = {0};
    int rc = 0;
    if (job->agent->options.net == NULL) {
        return 0;
    }
    if (job->spec->eni != NULL) {
        rc = make_interface(job, &task->network_namespace, &err);
    } else if (is_bridge(job)) {
        rc = make_bridge(job, containers, &err);
    }
    rc = rc == 0 ? agent_endpoint_open(job, &err) : rc;
    if (rc == ERR_BUSY && job->failed_container.data != NULL) {
        return no_port(job, &err);
    }
    if (rc != 0) {
        err_wrap(&err, "failed to set up the task's network");
        return agent_job_fail(job, "ResourceInitializationError", &err);
    }
    return 0;
}

int agent_network_remove(struct job *job, struct err *err)
{
    struct net *net = job->agent->options.net;
    if (net == NULL || job->spec->definition == NULL) {
        return 0;
    }
    if (job->spec->eni != NULL) {
        return net_eni_destroy(net, job->spec->eni->eni_id, err);
    }
    if (agent_endpoint_on_host(job->spec) && job->spec->definition->enable_fault_injection) {
        return net_fault_end(net, text_of(job->task_id), err);
    }
    return is_bridge(job) ? net_task_destroy(net, text_of(job->task_id), err) : 0;
}
