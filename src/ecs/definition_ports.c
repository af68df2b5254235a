#include "ecs/definition_internal.h"

#include "base/text.h"

#define PORT_MAX 65535
#define PORT_NAME_MAX 64
#define RANGES_MAX 100 ///< ECS: port ranges of a container

/** Parse `8000-8010`. @return 0 or ERR_INVALID */
static int parse_range(struct text range, int64_t *out_first, int64_t *out_last)
{
    struct text rest = range;
    int64_t first = 0;
    int64_t last = 0;
    if (text_to_i64(text_cut(&rest, '-'), &first) != 0 || rest.data == NULL ||
        text_to_i64(rest, &last) != 0 || first < 1 || first >= last || last > PORT_MAX) {
        return ERR_INVALID;
    }
    *out_first = first;
    *out_last = last;
    return 0;
}

static bool port_name_valid(struct text name)
{
    if (name.size == 0 || name.size > PORT_NAME_MAX || name.data[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] >= 'A' && name.data[i] <= 'Z') {
            return false;
        }
    }
    return ecs_name_valid(name);
}

static int check_range(const struct definition_draft *draft,
                       const struct ecs_container_definition *container, size_t index)
{
    const struct ecs_port_mapping *mapping = &container->port_mappings.items[index];
    enum ecs_network_mode mode = draft->definition->network_mode;
    int64_t first = 0;
    int64_t last = 0;
    bool valid = parse_range(mapping->container_port_range, &first, &last) == 0 &&
                 !mapping->has_container_port && !mapping->has_host_port &&
                 (mode == ECS_NETWORK_MODE_BRIDGE || mode == ECS_NETWORK_MODE_AWSVPC);
    size_t count = 1;
    for (size_t i = 0; i < index && valid; i++) {
        const struct ecs_port_mapping *other = &container->port_mappings.items[i];
        int64_t other_first = 0;
        int64_t other_last = 0;
        if (text_empty(other->container_port_range) ||
            parse_range(other->container_port_range, &other_first, &other_last) != 0) {
            continue;
        }
        count++;
        valid = count <= RANGES_MAX && (other_last < first || other_first > last);
    }
    return valid ? 0 : definition_invalid_setting(draft, container, "containerPortRange");
}

static int check_port(const struct definition_draft *draft,
                      const struct ecs_container_definition *container,
                      const struct ecs_port_mapping *mapping)
{
    if (!mapping->has_container_port || mapping->container_port < 1 ||
        mapping->container_port > PORT_MAX) {
        return definition_invalid_setting(draft, container, "containerPort");
    }
    if (mapping->has_host_port && (mapping->host_port < 0 || mapping->host_port > PORT_MAX)) {
        return definition_invalid_setting(draft, container, "hostPort");
    }
    enum ecs_network_mode mode = draft->definition->network_mode;
    bool same = mapping->host_port == 0 || mapping->host_port == mapping->container_port;
    if (!same && (mode == ECS_NETWORK_MODE_AWSVPC || mode == ECS_NETWORK_MODE_HOST)) {
        return core_fault(
            draft->call, &ecs_error_client_exception,
            "When networkMode=%s, the host ports and container ports in port mappings "
            "must match.",
            mode == ECS_NETWORK_MODE_AWSVPC ? "awsvpc" : "host");
    }
    return 0;
}

/** A port's name is what Service Connect calls it: one of its kind in the task. */
static bool port_name_taken(const struct definition_draft *draft,
                            const struct ecs_port_mapping *mapping)
{
    for (size_t i = 0; i < draft->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        for (size_t j = 0; j < container->port_mappings.count; j++) {
            const struct ecs_port_mapping *other = &container->port_mappings.items[j];
            if (other != mapping && text_equal(other->name, mapping->name)) {
                return true;
            }
        }
    }
    return false;
}

/** The port of the host that a mapping takes for itself; 0 when the host chooses one. */
static int32_t host_port(const struct definition_draft *draft,
                         const struct ecs_port_mapping *mapping)
{
    enum ecs_network_mode mode = draft->definition->network_mode;
    bool own = mode == ECS_NETWORK_MODE_AWSVPC || mode == ECS_NETWORK_MODE_HOST;
    return own ? mapping->container_port : mapping->host_port;
}

/** @return whether a mapping that stands before this one in the task has its host port */
static bool host_port_taken(const struct definition_draft *draft,
                            const struct ecs_port_mapping *mapping)
{
    int32_t port = host_port(draft, mapping);
    bool udp = mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP;
    for (size_t i = 0; port != 0 && i < draft->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        for (size_t j = 0; j < container->port_mappings.count; j++) {
            const struct ecs_port_mapping *other = &container->port_mappings.items[j];
            if (other == mapping) {
                return false;
            }
            if (host_port(draft, other) == port &&
                (other->protocol == ECS_TRANSPORT_PROTOCOL_UDP) == udp) {
                return true;
            }
        }
    }
    return false;
}

int definition_check_ports(const struct definition_draft *draft,
                           const struct ecs_container_definition *container)
{
    if (container->port_mappings.count > 0 &&
        draft->definition->network_mode == ECS_NETWORK_MODE_NONE) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Port mappings are not supported when networkMode=none.");
    }
    for (size_t i = 0; i < container->port_mappings.count; i++) {
        const struct ecs_port_mapping *mapping = &container->port_mappings.items[i];
        int rc = text_empty(mapping->container_port_range) ? check_port(draft, container, mapping)
                                                           : check_range(draft, container, i);
        if (rc != 0) {
            return rc;
        }
        if (host_port_taken(draft, mapping)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "%s host port '%d' is mapped multiple times in task.",
                              mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP ? "UDP" : "TCP",
                              (int)host_port(draft, mapping));
        }
        if (mapping->name.data != NULL && !port_name_valid(mapping->name)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid port mapping name '%.*s' for container '%.*s'. Up to %d "
                              "lowercase letters, digits, underscores and hyphens are allowed, and "
                              "it cannot begin with a hyphen.",
                              TEXT_FMT(mapping->name), TEXT_FMT(container->name), PORT_NAME_MAX);
        }
        if (mapping->name.data != NULL && port_name_taken(draft, mapping)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "The port mapping name '%.*s' is used more than once.",
                              TEXT_FMT(mapping->name));
        }
    }
    return 0;
}
