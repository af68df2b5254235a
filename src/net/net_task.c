#include "base/alloc.h"
#include "net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Tasks on the bridge network. The file that remembers a task is there before anything of it is in
 * the kernel, and goes after everything has, so that whatever a crash leaves is found again.
 */

_Static_assert(NET_TASK_CONTAINERS_MAX <= NET_TASK_BLOCK, "a block has room for a task");

// ---- the network -------------------------------------------------------------------------

// A program of the host that asks for 127.0.0.1:PORT is passed on with that address until the link
// is chosen; the packet filter sees to it that nothing comes in the same way.
static int route_loopback(struct net *net, const struct net_router *router, struct err *err)
{
    struct net_link link;
    int rc = net_link_get(net->host.socket_fd, NULL, router->host_link_index, &link, err);
    int back = -1;
    if (rc == 0) {
        rc = net_namespace_enter(net->host.fd, &back, err);
    }
    if (rc != 0) {
        return rc;
    }
    char name[64];
    snprintf(name, sizeof(name), "ipv4/conf/%s/route_localnet", link.name);
    rc = net_sysctl(name, "1", err);
    net_namespace_leave(back);
    return rc;
}

static uint32_t gateway_of(const struct net *net)
{
    return net->tasks.range.address + 1;
}

static int ensure_network(struct net *net, struct net_router **out_router, struct err *err)
{
    if (net->tasks.range.prefix == 0) {
        return err_set(err, ERR_UNSUPPORTED, "this node has no range for a bridge network");
    }
    char cidr[32];
    char address[16];
    net_format_address(net->tasks.range.address, address);
    snprintf(cidr, sizeof(cidr), "%s/%u", address, net->tasks.range.prefix);
    const struct net_vpc vpc = {
        .id = TEXT(NET_BRIDGE_ID), .cidr = text_of(cidr), .host_route = true};
    struct net_router *router = NULL;
    int rc = net_router_ensure(net, &vpc, false, &router, err);
    if (rc == 0 && !net->tasks.ready) {
        const uint32_t loopback_index = 1;
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, net_message_address(loopback_index, gateway_of(net), 32),
                      "giving the gateway its address");
        rc = net_batch_commit(router->space.socket_fd, &batch, EEXIST, err);
        if (rc == 0) {
            rc = route_loopback(net, router, err);
        }
        net->tasks.ready = rc == 0;
    }
    if (rc != 0) {
        return err_wrap(err, "making the bridge network");
    }
    *out_router = router;
    return 0;
}

// ---- addresses and ports -----------------------------------------------------------------

static bool address_taken(const struct net_tasks *tasks, uint32_t address)
{
    for (const struct net_task_entry *at = tasks->first; at != NULL; at = at->next) {
        if (at->address == address) {
            return true;
        }
    }
    return false;
}

// The next free block, not the lowest: an address rests before it is somebody else's.
static int choose_address(struct net_tasks *tasks, uint32_t *out_address, struct err *err)
{
    uint32_t count = (UINT32_C(1) << (32 - tasks->range.prefix)) / NET_TASK_BLOCK;
    for (uint32_t tries = 1; tries < count; tries++) {
        uint32_t block = tasks->next_block;
        // The first block has the gateway.
        tasks->next_block = block + 1 >= count ? 1 : block + 1;
        uint32_t address = tasks->range.address + block * NET_TASK_BLOCK;
        if (!address_taken(tasks, address)) {
            *out_address = address;
            return 0;
        }
    }
    return err_set(err, ERR_NO_ROOM, "the bridge network has room for %u tasks, and has them",
                   count - 1);
}

static bool overlap(const struct net_forward *a, const struct net_forward *b)
{
    return a->udp == b->udp && a->host_port < b->host_port + b->count &&
           b->host_port < a->host_port + a->count;
}

// Docker's words for a port that another container has.
static int check_ours(const struct net_tasks *tasks, const struct net_forward *forward,
                      struct err *err)
{
    for (const struct net_task_entry *at = tasks->first; at != NULL; at = at->next) {
        for (size_t i = 0; i < at->binding_count; i++) {
            if (overlap(&at->bindings[i].forward, forward)) {
                return err_set(err, ERR_BUSY,
                               "Bind for 0.0.0.0:%u failed: port is already "
                               "allocated to task %s",
                               forward->host_port, at->id);
            }
        }
    }
    return 0;
}

static int take_binding(struct net_tasks *tasks, const struct net_mapping *mapping,
                        struct net_binding *binding, struct err *err)
{
    binding->forward.udp = mapping->udp;
    binding->forward.container_port = mapping->container_port;
    binding->forward.host_port = mapping->host_port;
    binding->forward.count = mapping->count;
    if (mapping->host_port == 0) {
        return net_port_choose(tasks, binding, err);
    }
    int rc = check_ours(tasks, &binding->forward, err);
    return rc == 0 ? net_port_hold(binding, err) : rc;
}

static int take_ports(struct net_tasks *tasks, const struct net_task *task,
                      struct net_task_entry *entry, size_t *out_failed, struct err *err)
{
    // Those that were asked for come first, so that none of them is chosen for another.
    for (int chosen = 0; chosen < 2; chosen++) {
        size_t index = 0;
        for (size_t i = 0; i < task->container_count; i++) {
            const struct net_container *container = &task->containers[i];
            for (size_t k = 0; k < container->mapping_count; k++, index++) {
                struct net_binding *binding = &entry->bindings[index];
                if ((container->mappings[k].host_port == 0) != (chosen == 1)) {
                    continue;
                }
                binding->container = (uint32_t)i;
                binding->forward.address = entry->address + (uint32_t)i;
                int rc = take_binding(tasks, &container->mappings[k], binding, err);
                if (rc != 0) {
                    *out_failed = i;
                    return rc;
                }
            }
        }
    }
    return 0;
}

// ---- rules -------------------------------------------------------------------------------

// Small changes are made in place; where that fails, because somebody emptied the table for
// example, it is written anew from what is known.
static int set_forwards(struct net *net, const struct net_task_entry *entry, bool add,
                        struct err *err)
{
    if (entry->binding_count == 0) {
        return 0;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_forward *forwards = arena_array(&arena, entry->binding_count, sizeof(*forwards));
    for (size_t i = 0; i < entry->binding_count; i++) {
        forwards[i] = entry->bindings[i].forward;
    }
    struct net_address *own = NULL;
    size_t own_count = 0;
    int rc = net_addresses(net->host.socket_fd, &arena, &own, &own_count, err);
    int back = -1;
    if (rc == 0) {
        rc = net_namespace_enter(net->host.fd, &back, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = net_filter_forward(net->instance, add, forwards, entry->binding_count, err);
    if (rc != 0) {
        rc = net_host_filter(net, err);
    }
    if (rc == 0) {
        net_conntrack_forget(forwards, entry->binding_count, own, own_count);
    }
    net_namespace_leave(back);
    return rc;
}

static int set_peers(struct net *net, const struct net_router *router,
                     const struct net_task_entry *entry, bool add, struct err *err)
{
    struct net_peers peers = net_task_peers(entry);
    int back = -1;
    int rc = peers.count < 2 ? 0 : net_namespace_enter(router->space.fd, &back, err);
    if (rc != 0 || peers.count < 2) {
        return rc;
    }
    rc = net_filter_peers(net->instance, add, &peers, err);
    if (rc != 0) {
        rc = net_bridge_filter(net, router, err);
    }
    net_namespace_leave(back);
    return rc;
}

// ---- connecting --------------------------------------------------------------------------

static void space_name(const struct net_task_entry *entry, uint32_t index,
                       char out_name[NET_ID_MAX + 1])
{
    snprintf(out_name, NET_ID_MAX + 1, NET_TASK_PREFIX "%.32s-%u", entry->id, index);
}

static void fill_plug(const struct net *net, const struct net_task_entry *entry, uint32_t index,
                      struct net_plug *out_plug)
{
    uint32_t address = entry->address + index;
    // Docker's, from the address.
    *out_plug = (struct net_plug){
        .mac = {0x02, 0x42, (uint8_t)(address >> 24), (uint8_t)(address >> 16),
                (uint8_t)(address >> 8), (uint8_t)address},
        .address = address,
        .prefix = 32,
        .gateway = gateway_of(net),
    };
    space_name(entry, index, out_plug->id);
    net_eni_link_name(text_of(out_plug->id), out_plug->link);
}

static int connect_all(struct net *net, struct net_router *router,
                       const struct net_task_entry *entry, struct err *err)
{
    for (uint32_t i = 0; i < entry->container_count; i++) {
        struct net_plug plug;
        fill_plug(net, entry, i, &plug);
        int rc = net_plug_make(net, &plug, router, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int remember(const struct net *net, const struct net_task_entry *entry, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", net->tasks.dir, entry->id);
    AUTO(buf_deinit) struct buf content = {0};
    net_task_file_write(entry, &content);
    return file_replace(AT_FDCWD, path, 0600, buf_view(&content), err);
}

// ---- disconnecting -----------------------------------------------------------------------

static struct net_router *find_bridge_router(const struct net *net)
{
    struct net_router *router = net->routers;
    while (router != NULL && strcmp(router->vpc_id, NET_BRIDGE_ID) != 0) {
        router = router->next;
    }
    return router;
}

// Without its route an address gets nothing, and what it sends is dropped for want of a way back.
static int remove_routes(const struct net_router *router, const struct net_task_entry *entry,
                         struct err *err)
{
    for (uint32_t i = 0; i < entry->container_count; i++) {
        const struct net_route_options route = {.range = {entry->address + i, 32},
                                                .type = RTN_UNICAST};
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, net_message_route_delete(&route), "removing a route");
        int rc = net_batch_commit(router->space.socket_fd, &batch, ESRCH, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int remove_spaces(const struct net *net, const struct net_task_entry *entry, struct err *err)
{
    for (uint32_t i = 0; i < entry->container_count; i++) {
        char name[NET_ID_MAX + 1];
        space_name(entry, i, name);
        int rc = net_space_unmount(net->netns_dir, name, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

// Every step is tried again when a later one failed: the entry stays until all are done.
static int disconnect(struct net *net, struct net_task_entry *entry, struct err *err)
{
    struct net_router *router = NULL;
    struct err ignored;
    if (find_bridge_router(net) != NULL && ensure_network(net, &router, &ignored) != 0) {
        router = NULL; // a network that cannot be completed passes nothing on
    }
    net_tasks_take(&net->tasks, entry);
    int rc = set_forwards(net, entry, false, err);
    if (rc == 0 && router != NULL) {
        rc = set_peers(net, router, entry, false, err);
    }
    if (rc == 0 && router != NULL) {
        rc = remove_routes(router, entry, err);
    }
    if (rc == 0) {
        rc = remove_spaces(net, entry, err);
    }
    AUTO(alloc_string) char *path = alloc_format("%s/%s", net->tasks.dir, entry->id);
    if (rc == 0 && unlink(path) != 0 && errno != ENOENT) {
        rc = err_sys(err, errno, "removing '%s'", path);
    }
    if (rc != 0) {
        net_tasks_add(&net->tasks, entry);
        return rc;
    }
    net_task_entry_free(entry);
    return 0;
}

// ---- the interface of this module --------------------------------------------------------

static int check_mapping(const struct net_mapping *mapping, struct err *err)
{
    uint32_t last = mapping->count == 0 ? UINT32_MAX : mapping->count - 1U;
    if (mapping->container_port == 0 || last > UINT16_MAX ||
        mapping->container_port + last > UINT16_MAX || mapping->host_port + last > UINT16_MAX) {
        return err_set(err, ERR_INVALID, "%u ports from %u, as %u of the host, are not there",
                       mapping->count, mapping->container_port, mapping->host_port);
    }
    return 0;
}

static int check_task(const struct net_task *task, size_t *out_binding_count, size_t *out_failed,
                      struct err *err)
{
    if (!net_task_id_valid(task->id) || task->container_count == 0 ||
        task->container_count > NET_TASK_CONTAINERS_MAX) {
        return err_set(err, ERR_INVALID, "'%.*s' is no task of 1 to %d containers",
                       TEXT_FMT(task->id), NET_TASK_CONTAINERS_MAX);
    }
    size_t bindings = 0;
    size_t ports = 0;
    for (size_t i = 0; i < task->container_count; i++) {
        const struct net_container *container = &task->containers[i];
        bindings += container->mapping_count;
        for (size_t k = 0; k < container->mapping_count; k++) {
            int rc = check_mapping(&container->mappings[k], err);
            ports += container->mappings[k].count;
            if (rc == 0 && ports > NET_TASK_PORTS_MAX) {
                rc = err_set(err, ERR_NO_ROOM,
                             "the task asks for more than %d ports of the host; ask for less",
                             NET_TASK_PORTS_MAX);
            }
            if (rc != 0) {
                *out_failed = i;
                return rc;
            }
        }
    }
    *out_binding_count = bindings;
    return 0;
}

// Without its ports.
static struct net_connection connection_of(const struct net *net,
                                           const struct net_task_entry *entry, uint32_t index,
                                           struct arena *arena)
{
    char name[NET_ID_MAX + 1];
    char address[16];
    space_name(entry, index, name);
    net_format_address(entry->address + index, address);
    return (struct net_connection){
        .path = arena_format(arena, "%s/%s", net->netns_dir, name),
        .address = arena_text(arena, text_of(address)),
    };
}

static void fill_connections(const struct net *net, const struct net_task *task,
                             const struct net_task_entry *entry, struct arena *arena,
                             struct net_connection *out_connections)
{
    size_t index = 0;
    for (uint32_t i = 0; i < entry->container_count; i++) {
        size_t count = task->containers[i].mapping_count;
        uint16_t *ports = arena_array(arena, count, sizeof(*ports));
        for (size_t k = 0; k < count; k++) {
            ports[k] = entry->bindings[index++].forward.host_port;
        }
        out_connections[i] = connection_of(net, entry, i, arena);
        out_connections[i].host_ports = ports;
    }
}

// Everything of a task that is not known to anybody yet.
static int new_entry(struct net *net, const struct net_task *task, size_t binding_count,
                     struct net_task_entry **out_entry, size_t *out_failed, struct err *err)
{
    AUTO(net_task_entry_free) struct net_task_entry *entry = ALLOC(struct net_task_entry);
    IGNORE(text_copy(task->id, entry->id, sizeof(entry->id)), "its size was checked");
    entry->container_count = (uint32_t)task->container_count;
    entry->binding_count = binding_count;
    entry->bindings = alloc_zero(MAX(binding_count, (size_t)1) * sizeof(*entry->bindings));
    int rc = choose_address(&net->tasks, &entry->address, err);
    int back = -1;
    if (rc == 0) {
        rc = net_namespace_enter(net->host.fd, &back, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = take_ports(&net->tasks, task, entry, out_failed, err);
    net_namespace_leave(back);
    if (rc == 0) {
        rc = remember(net, entry, err);
    }
    if (rc == 0) {
        *out_entry = entry;
        entry = NULL;
    }
    return rc;
}

static int create(struct net *net, const struct net_task *task, size_t binding_count,
                  struct net_task_entry **out_entry, size_t *out_failed, struct err *err)
{
    struct net_router *router = NULL;
    int rc = ensure_network(net, &router, err);
    struct net_task_entry *before = net_tasks_find(&net->tasks, task->id);
    if (rc == 0 && before != NULL) {
        rc = disconnect(net, before, err);
    }
    struct net_task_entry *entry = NULL;
    if (rc == 0) {
        rc = new_entry(net, task, binding_count, &entry, out_failed, err);
    }
    if (rc != 0) {
        return rc;
    }
    net_tasks_add(&net->tasks, entry);
    rc = connect_all(net, router, entry, err);
    if (rc == 0) {
        rc = set_peers(net, router, entry, true, err);
    }
    if (rc == 0) {
        rc = set_forwards(net, entry, true, err);
    }
    if (rc != 0) {
        struct err ignored;
        IGNORE(disconnect(net, entry, &ignored), "who asked for it cleans it up");
        return rc;
    }
    *out_entry = entry;
    return 0;
}

int net_task_create(struct net *net, const struct net_task *task, struct arena *arena,
                    struct net_connection *out_connections, size_t *out_failed, struct err *err)
{
    size_t binding_count = 0;
    *out_failed = task->container_count;
    int rc = check_task(task, &binding_count, out_failed, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    struct net_task_entry *entry = NULL;
    rc = create(locked, task, binding_count, &entry, out_failed, err);
    if (rc == 0) {
        fill_connections(net, task, entry, arena, out_connections);
    }
    return rc;
}

int net_task_destroy(struct net *net, struct text task_id, struct err *err)
{
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    struct net_task_entry *entry = net_tasks_find(&locked->tasks, task_id);
    int rc = entry == NULL ? 0 : disconnect(locked, entry, err);
    return rc == 0 ? 0
                   : err_wrap(err, "taking task %.*s off the bridge network", TEXT_FMT(task_id));
}

size_t net_task_find(struct net *net, struct text task_id, struct arena *arena,
                     struct net_connection out_connections[NET_TASK_CONTAINERS_MAX])
{
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    const struct net_task_entry *entry = net_tasks_find(&locked->tasks, task_id);
    uint32_t count = entry == NULL ? 0 : entry->container_count;
    for (uint32_t i = 0; i < count; i++) {
        out_connections[i] = connection_of(net, entry, i, arena);
    }
    return count;
}

void net_task_list(struct net *net, struct arena *arena, struct text_list *out_ids)
{
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    size_t count = 0;
    for (const struct net_task_entry *at = locked->tasks.first; at != NULL; at = at->next) {
        count++;
    }
    struct text_list ids = {.items = arena_array(arena, count, sizeof(*ids.items))};
    for (const struct net_task_entry *at = locked->tasks.first; at != NULL; at = at->next) {
        ids.items[ids.count++] = arena_text(arena, text_of(at->id));
    }
    *out_ids = ids;
}
