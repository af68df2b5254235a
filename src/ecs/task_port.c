#include "ecs/task_internal.h"

#include <string.h>

/*
 * Ports of the host that tasks fix: which a definition asks for, and which of a node are taken.
 */

uint32_t task_port(int32_t port, bool udp)
{
    return (uint32_t)port * 2 + (udp ? 1 : 0);
}

static bool port_among(const uint32_t *ports, size_t count, uint32_t port)
{
    for (size_t i = 0; i < count; i++) {
        if (ports[i] == port) {
            return true;
        }
    }
    return false;
}

size_t task_definition_ports(const struct ecs_task_definition *definition, uint32_t *out_ports,
                             size_t max)
{
    if (definition->network_mode == ECS_NETWORK_MODE_AWSVPC) {
        return 0; // those are ports of the task's own interface
    }
    size_t count = 0;
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_port_mapping_list *mappings =
            &definition->container_definitions.items[i].port_mappings;
        for (size_t j = 0; j < mappings->count && count < max; j++) {
            const struct ecs_port_mapping *mapping = &mappings->items[j];
            uint32_t port =
                task_port(mapping->host_port, mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP);
            if (mapping->host_port > 0 && !port_among(out_ports, count, port)) {
                out_ports[count] = port;
                count++;
            }
        }
    }
    return count;
}

// The first place whose port is not below the given one.
static size_t port_place(const struct task_node *node, uint32_t port)
{
    size_t low = 0;
    size_t high = node->port_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (node->ports[middle] < port) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool task_node_has_port(const struct task_node *node, uint32_t port)
{
    size_t place = port_place(node, port);
    return place < node->port_count && node->ports[place] == port;
}

void task_node_hold_ports(const struct core *core, struct task_node *node,
                          const struct task_record_task *record, bool holds)
{
    uint32_t ports[TASK_PORTS_MAX];
    size_t count =
        task_definition_ports(task_definition(core, record->definition), ports, ARRAY_LEN(ports));
    for (size_t i = 0; i < count; i++) {
        size_t place = port_place(node, ports[i]);
        if (holds) {
            node->ports = alloc_resize(node->ports, node->port_count + 1, sizeof(*node->ports));
            memmove(node->ports + place + 1, node->ports + place,
                    (node->port_count - place) * sizeof(*node->ports));
            node->ports[place] = ports[i];
            node->port_count++;
        } else {
            ASSERT(place < node->port_count);
            node->port_count--;
            memmove(node->ports + place, node->ports + place + 1,
                    (node->port_count - place) * sizeof(*node->ports));
        }
    }
}
