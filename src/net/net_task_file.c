#include "base/alloc.h"
#include "net/net_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * What is remembered of a task on the bridge network, as lines of words:
 *
 *   address 172.17.0.16 2               of the first container, and how many there are
 *   tcp 0 32768 80 1                    container, first port of the host, of the container, count
 */

// A task of many ranges has many lines, but each holds a port at least.
#define LINES_MAX (NET_TASK_PORTS_MAX + 1)

void net_task_file_write(const struct net_task_entry *entry, struct buf *out)
{
    char address[16];
    net_format_address(entry->address, address);
    buf_format(out, "address %s %u\n", address, entry->container_count);
    for (size_t i = 0; i < entry->binding_count; i++) {
        const struct net_binding *binding = &entry->bindings[i];
        buf_format(out, "%s %u %u %u %u\n", binding->forward.udp ? "udp" : "tcp",
                   binding->container, binding->forward.host_port, binding->forward.container_port,
                   binding->forward.count);
    }
}

static int read_number(struct text *rest, uint32_t max, uint32_t *out_number)
{
    uint64_t number = 0;
    if (text_to_u64(text_cut(rest, ' '), &number) != 0 || number > max) {
        return ERR_CORRUPT;
    }
    *out_number = (uint32_t)number;
    return 0;
}

static int read_binding(struct text line, struct net_task_entry *entry)
{
    struct text rest = line;
    struct text protocol = text_cut(&rest, ' ');
    uint32_t container = 0;
    uint32_t host_port = 0;
    uint32_t container_port = 0;
    uint32_t count = 0;
    bool udp = text_is(protocol, "udp");
    if ((!udp && !text_is(protocol, "tcp")) ||
        read_number(&rest, entry->container_count - 1, &container) != 0 ||
        read_number(&rest, UINT16_MAX, &host_port) != 0 ||
        read_number(&rest, UINT16_MAX, &container_port) != 0 ||
        read_number(&rest, NET_TASK_PORTS_MAX, &count) != 0 || rest.data != NULL ||
        host_port == 0 || container_port == 0 || count == 0 || host_port + count - 1 > UINT16_MAX ||
        container_port + count - 1 > UINT16_MAX) {
        return ERR_CORRUPT;
    }
    entry->bindings[entry->binding_count++] = (struct net_binding){
        .container = container,
        .forward = {.udp = udp,
                    .host_port = (uint16_t)host_port,
                    .container_port = (uint16_t)container_port,
                    .count = (uint16_t)count,
                    .address = entry->address + container},
    };
    return 0;
}

static size_t count_lines(struct text content)
{
    size_t count = 0;
    for (size_t i = 0; i < content.size; i++) {
        count += content.data[i] == '\n' ? 1 : 0;
    }
    return count;
}

int net_task_file_read(struct text id, struct text content, struct net_task_entry **out_entry)
{
    AUTO(net_task_entry_free) struct net_task_entry *entry = ALLOC(struct net_task_entry);
    struct text rest = content;
    struct text line = text_cut(&rest, '\n');
    size_t lines = count_lines(content);
    if (text_copy(id, entry->id, sizeof(entry->id)) != 0 || lines > LINES_MAX ||
        !text_is(text_cut(&line, ' '), "address") ||
        net_parse_address(text_cut(&line, ' '), &entry->address) != 0 ||
        read_number(&line, NET_TASK_CONTAINERS_MAX, &entry->container_count) != 0 ||
        entry->container_count == 0) {
        return ERR_CORRUPT;
    }
    entry->bindings = alloc_array(lines, sizeof(*entry->bindings));
    while (!text_empty(rest)) {
        if (read_binding(text_cut(&rest, '\n'), entry) != 0) {
            return ERR_CORRUPT;
        }
    }
    *out_entry = entry;
    entry = NULL;
    return 0;
}
