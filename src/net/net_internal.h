#pragma once

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"
#include "net/net.h"
#include "net/net_task.h"

#include <linux/netlink.h>
#include <pthread.h>

/*
 * What the parts of the node's network share.
 *
 * Names, all at most 15 bytes where the kernel wants that:
 *
 *   RUN/netns                on itself mounted, and shared, so that mounts below reach every
 *   RUN/netns/eni-...        mount namespace
 *   RUN/netns/vpc-...        routers
 *   RUN/netns/bridge         the router of the bridge network
 *   RUN/netns/task-<id>-<n>  a container's in bridge mode
 *   RUN/bridge/<id>          what a task has of the bridge network: see net_task_file.c
 *   RUN/groups/<id>          interfaces of VPCs and security groups: see net_guard_file.c
 *   bt<instance><5>          host's end of a transit link; its alias is the VPC's id
 *   up0                      router's end of it
 *   br-<12>                  a subnet's bridge in the router
 *   v-<12>                   router's end of an ENI's link; eth0 is the other
 *   table ip berth-<instance>  on the host, and in each router
 *   table ip berth-groups-<instance>, bridge berth-<instance>  in VPCs' routers: see net_guard.h
 *   table inet berth-fault-<instance>-<what>-<task>  where a fault is: see net_fault.h
 */

#define NET_LINK_NAME_SIZE 16
#define NET_ID_MAX 64 ///< of VPCs, subnets and ENIs; AWS's have 24
#define NET_UPLINK "up0"
#define NET_TRANSIT_TRIES 64 ///< candidates for a transit range; all taken means thousands of VPCs
#define NET_LINK_TRIES 8     ///< names for a transit link, should their hashes collide
#define NET_SUBNETS_MAX 256  ///< bridges of a VPC; AWS allows 200 subnets
#define NET_POOL_MAX 256     ///< each idle namespace costs about 100 KiB of kernel memory

// ---- addresses and names: net_address.c. Pure. Addresses are in host byte order ----------

/** A range of addresses. */
struct net_range {
    uint32_t address; ///< first one, unless parsed as a host's address
    uint32_t prefix;  ///< 0 to 32
};

/** What no VPC may overlap: 169.254.0.0/16, of which the transit links have theirs. */
#define NET_LINK_LOCAL ((struct net_range){169u << 24 | 254u << 16, 16})

/** Parse dotted decimal: four numbers without leading zeros. @return 0 or ERR_INVALID */
MUST_CHECK int net_parse_address(struct text text, uint32_t *out_address);

/** Parse a range such as 10.0.0.0/16; bits behind the prefix must be zero. @return 0 or ERR_INVALID
 */
MUST_CHECK int net_parse_range(struct text text, struct net_range *out_range);

/** Parse a hardware address of one host. @return 0, or ERR_INVALID also for group addresses */
MUST_CHECK int net_parse_mac(struct text text, uint8_t out_mac[6]);

/** Write dotted decimal. */
void net_format_address(uint32_t address, char out_text[16]);

/** @return whether the ranges have an address in common */
bool net_ranges_overlap(struct net_range a, struct net_range b);

/** @return whether a range contains an address */
bool net_range_has(struct net_range range, uint32_t address);

/** The n-th candidate for a VPC's transit range: two addresses, the host's first. */
uint32_t net_transit_candidate(const char *instance, struct text vpc_id, uint32_t n);

/** The n-th candidate for the name of a VPC's transit link. */
void net_transit_link_name(const char *instance, struct text vpc_id, uint32_t n,
                           char out_name[NET_LINK_NAME_SIZE]);

/** Name of a subnet's bridge. */
void net_bridge_name(struct text subnet_id, char out_name[NET_LINK_NAME_SIZE]);

/** Hardware address of a subnet's bridge. */
void net_bridge_mac(uint32_t gateway, uint8_t out_mac[6]);

/** Name of the router's end of an ENI. */
void net_eni_link_name(struct text eni_id, char out_name[NET_LINK_NAME_SIZE]);

/** An id that may become a file name: letters, digits and dashes, not too long. */
bool net_id_valid(struct text id);

/** The n-th candidate for a range. @return 0, or ERR_NOT_FOUND behind the last */
MUST_CHECK int net_candidate(enum net_use use, uint32_t n, struct net_range *out_range);

// ---- netlink: net_netlink.c. A socket belongs to the namespace it was opened in ----------

struct nl_msg;

#define NET_BATCH_MAX 8

/** Requests that the kernel gets with one system call and answers one by one. */
struct net_batch {
    struct buf bytes;
    uint32_t count;
    const char *what[NET_BATCH_MAX]; ///< for messages
    int number[NET_BATCH_MAX];       ///< errno of each once it ran, 0 for success
};

/** What is known of a link. */
struct net_link {
    uint32_t index;
    uint32_t master;     ///< 0 for none
    uint32_t peer_index; ///< of a veth, in the peer's namespace
    bool up;
    bool operational; ///< up, with carrier, and whoever watches its state knows it
    uint8_t mac[6];
    char name[NET_LINK_NAME_SIZE];
    char alias[NET_ID_MAX + 1];
};

/** An address of a link. */
struct net_address {
    uint32_t link_index;
    struct net_range range; ///< its address is the host's own
};

/** A unicast or local route. */
struct net_route {
    struct net_range range;
    uint32_t gateway;    ///< 0 for none
    uint32_t link_index; ///< 0 for none
    uint8_t table;       ///< RT_TABLE_UNSPEC when larger than a byte
    uint8_t type;
};

/** Open a socket in the namespace of the calling thread. */
MUST_CHECK int net_socket_open(int *out_fd, struct err *err);

/** Start a message; the family-specific header follows. Never NULL. */
struct nl_msg *net_message(int type, int flags, const void *header, size_t size);

/** Put a message into a batch; takes the message. */
void net_batch_add(struct net_batch *batch, struct nl_msg *message, const char *what);

/** Send and collect. Fails only when the conversation itself does; see batch->number. */
MUST_CHECK int net_batch_run(int socket_fd, struct net_batch *batch, struct err *err);

/** The same, and fail when a request failed, except with errno `allowed` (0 for none). */
MUST_CHECK int net_batch_commit(int socket_fd, struct net_batch *batch, int allowed,
                                struct err *err);

/** Empty it. */
void net_batch_deinit(struct net_batch *batch);

AUTO_VALUE(struct net_batch, net_batch_deinit)

/** Find a link by name, or by index when name is NULL. @return 0, ERR_NOT_FOUND, ERR_SYS */
MUST_CHECK int net_link_get(int socket_fd, const char *name, uint32_t index,
                            struct net_link *out_link, struct err *err);

/**
 * Wait until a link carries packets, for 20 ms at most.
 *
 * A link that was up before it had carrier drops everything until the kernel's link watch has
 * looked at it in the background, usually within a tenth of a millisecond; a bridge forwards
 * through a port only from then on. From 6.8 on the kernel catches up when asked. Going on early
 * costs a lost packet, so nothing fails here.
 */
void net_link_await(int socket_fd, uint32_t index);

/** Delete a link; none is fine, too. */
MUST_CHECK int net_link_delete(int socket_fd, uint32_t index, struct err *err);

/** All links of the namespace, in the arena. */
MUST_CHECK int net_links(int socket_fd, struct arena *arena, struct net_link **out_links,
                         size_t *out_count, struct err *err);

/** All IPv4 addresses of the namespace, in the arena. */
MUST_CHECK int net_addresses(int socket_fd, struct arena *arena, struct net_address **out_addresses,
                             size_t *out_count, struct err *err);

/** All IPv4 routes of the namespace but those of multicast and broadcast, in the arena. */
MUST_CHECK int net_routes(int socket_fd, struct arena *arena, struct net_route **out_routes,
                          size_t *out_count, struct err *err);

/** Request: set a link up. */
struct nl_msg *net_message_up(uint32_t index);

/** Request: add an address. It is fine when it is there (EEXIST). */
struct nl_msg *net_message_address(uint32_t index, uint32_t address, uint32_t prefix);

/** Request: let an announcement change what this link's ARP cache learned a moment ago. */
struct nl_msg *net_message_arp_eager(uint32_t index);

/** A route to make or remove. */
struct net_route_options {
    struct net_range range;
    uint32_t gateway;    ///< 0 for none
    uint32_t source;     ///< preferred source, 0 for none
    uint32_t link_index; ///< 0 for none
    uint8_t type;        ///< RTN_...
};

/** Request: add or replace a route. */
struct nl_msg *net_message_route(const struct net_route_options *options);

/** Request: remove a route (ESRCH when there is none). */
struct nl_msg *net_message_route_delete(const struct net_route_options *options);

// ---- namespaces: net_namespace.c ---------------------------------------------------------

/** A network namespace with a socket in it. */
struct net_space {
    int fd;        ///< of the namespace
    int socket_fd; ///< netlink
};

/** Enter a namespace. @param out_back for net_namespace_leave */
MUST_CHECK int net_namespace_enter(int fd, int *out_back, struct err *err);

/** Return the thread to where it was. Ends the process when that fails: it must not go on there. */
void net_namespace_leave(int back);

/** Make a namespace: loopback up, no IPv6 on later links. The caller's thread stays where it is. */
MUST_CHECK int net_space_create(struct net_space *out_space, struct err *err);

/** Open a mounted namespace. @return 0, ERR_NOT_FOUND when nothing is mounted there */
MUST_CHECK int net_space_open(int dir_fd, const char *name, struct net_space *out_space,
                              struct err *err);

/** Close both descriptors; the kernel removes the namespace when nothing else holds it. */
void net_space_deinit(struct net_space *space);

AUTO_VALUE(struct net_space, net_space_deinit)

/** @return whether a namespace is mounted on that name */
bool net_space_mounted(int dir_fd, const char *name);

/** Mount a namespace on a file, which is made. */
MUST_CHECK int net_space_mount(const struct net_space *space, const char *dir, const char *name,
                               struct err *err);

/** Unmount and remove the file; nothing there is fine. */
MUST_CHECK int net_space_unmount(const char *dir, const char *name, struct err *err);

/** Write a file below /proc/sys/net as the thread's namespace sees it. */
MUST_CHECK int net_sysctl(const char *name, const char *value, struct err *err);

/** Make the directory and mount it on itself, shared. */
MUST_CHECK int net_mount_directory(const char *dir, struct err *err);

/** Undo net_mount_directory; nothing there is fine. */
MUST_CHECK int net_unmount_directory(const char *dir, struct err *err);

// ---- the pool: net_pool.c ----------------------------------------------------------------

/** Namespaces for tasks, made ahead by a thread of the pool's own. */
struct net_pool {
    pthread_mutex_t lock;
    pthread_cond_t wanted; ///< there is room, or it is to stop
    pthread_t thread;
    bool running;
    bool stopping;
    uint32_t size;  ///< wanted
    uint32_t count; ///< ready
    struct net_space *ready;
};

/** Start filling in the namespace of the calling thread. size may be 0. */
MUST_CHECK int net_pool_init(struct net_pool *pool, uint32_t size, struct err *err);

/** Stop, and drop what is ready. */
void net_pool_deinit(struct net_pool *pool);

/** A ready namespace with the address of the task's endpoints, or a new one when there is none. */
MUST_CHECK int net_pool_take(struct net_pool *pool, struct net_space *out_space, struct err *err);

// ---- plugs: net_plug.c -------------------------------------------------------------------

#define NET_PLUG_LINK "eth0"

/** What a namespace is connected to its router by. */
struct net_plug {
    char id[NET_ID_MAX + 1];       ///< names the namespace's mount
    char link[NET_LINK_NAME_SIZE]; ///< the router's end; the other is eth0
    uint8_t mac[6];                ///< of eth0
    uint32_t address;
    uint32_t prefix; ///< 32: nothing but the gateway is next to it
    uint32_t gateway;
    uint32_t bridge_index; ///< in the router; 0: the router has a route to this address instead
};

struct net;
struct net_router;

/** Make a namespace, mount it, and connect it; packets pass then. The lock of net is held. */
MUST_CHECK int net_plug_make(struct net *net, const struct net_plug *plug,
                             struct net_router *router, struct err *err);

// ---- the way to a task's endpoints: net_endpoint.c, net_endpoint_filter.c ----------------

/** Give the namespace that the calling thread is in the address of endpoints, after the rules that
 *  lead there. What is there stays. */
MUST_CHECK int net_endpoint_prepare(struct err *err);

/** The table in a task's namespace, which the calling thread is in, that leads to the endpoints at
 *  an address. What is there stays. */
MUST_CHECK int net_filter_endpoint(uint32_t address, struct err *err);

// ---- packet filter: net_filter.c. All work in the namespace of the calling thread --------

/** Ports of the host that lead to a container's, one after the other. */
struct net_forward {
    bool udp;
    uint16_t host_port;
    uint16_t container_port;
    uint16_t count;
    uint32_t address; ///< the container's
};

/** What the host's table is made of. */
struct net_filter_host {
    const char *instance;
    const uint32_t *transit; ///< addresses of the routers
    size_t transit_count;
    const struct net_forward *forwards;
    size_t forward_count;
};

/** The instance's table on the host, replaced as a whole. */
MUST_CHECK int net_filter_host(const struct net_filter_host *host, struct err *err);

/** Add ports to the host's table, or take them out of it. */
MUST_CHECK int net_filter_forward(const char *instance, bool add,
                                  const struct net_forward *forwards, size_t count,
                                  struct err *err);

/** The table in a router. */
MUST_CHECK int net_filter_router(const char *instance, struct net_range cidr, struct err *err);

/** Addresses of containers that may meet: those of one task, in pairs. */
struct net_peers {
    uint32_t first; ///< address
    uint32_t count;
};

/** The table in the router of the bridge network; host is the host's address behind it. */
MUST_CHECK int net_filter_bridge(const char *instance, struct net_range cidr, uint32_t host,
                                 const struct net_peers *peers, size_t count, struct err *err);

/** Let the containers of a task meet in the bridge network's router, or no more. */
MUST_CHECK int net_filter_peers(const char *instance, bool add, const struct net_peers *peers,
                                struct err *err);

/** Remove the instance's table, and what was put into others'; none is fine. */
MUST_CHECK int net_filter_remove(const char *instance, struct err *err);

// ---- routers: net_router.c, net_transit.c, net_bridge.c ----------------------------------

struct net_guard;

/** A subnet's bridge that is known to be right. */
struct net_bridge {
    char *subnet_id;
    uint32_t index;
    uint32_t gateway;
    uint32_t prefix;
};

/** A VPC's router. */
struct net_router {
    struct net_router *next;
    char *vpc_id;
    struct net_space space;
    struct net_range cidr;
    bool ready; ///< every step was seen to be done
    bool host_route;
    uint32_t transit; ///< the host's address; the router's is the next. 0 for none yet
    uint32_t host_link_index;
    struct net_bridge bridges[NET_SUBNETS_MAX];
    uint32_t bridge_count;
    struct net_guard *guard; ///< of security groups: see net_guard.h
};

// ---- the bridge network: net_task.c, net_tasks.c, net_task_file.c, net_port.c, net_conntrack.c

#define NET_TASK_ID_CHARS 32
#define NET_TASK_PREFIX "task-" ///< of names of namespaces
#define NET_BRIDGE_ID "bridge"  ///< of its router, beside those of VPCs
#define NET_TASK_BLOCK 16       ///< addresses of a task, so that its containers are neighbours

/** Ports of a container that the host passes on, and what keeps others off them. */
struct net_binding {
    struct net_forward forward;
    uint32_t container; ///< its place in the task
    int *holders;       ///< a bound socket for each port; -1 for none
};

/** What a task has of the bridge network. */
struct net_task_entry {
    struct net_task_entry *next;
    char id[NET_ID_MAX + 1];
    uint32_t address; ///< of the first container; the others follow
    uint32_t container_count;
    struct net_binding *bindings;
    size_t binding_count;
};

/** All of them. */
struct net_tasks {
    struct net_range range; ///< prefix 0: this node has no bridge network
    char *dir;              ///< RUN/bridge
    struct net_task_entry *first;
    bool ready;          ///< the router was seen to be complete
    uint32_t next_block; ///< where to look for a free one
    uint16_t first_port; ///< of those that are chosen for containers
    uint16_t last_port;
    uint16_t next_port;
};

/** Read what net_options say of the bridge network. */
MUST_CHECK int net_tasks_init(struct net_tasks *tasks, const struct net_options *options,
                              struct err *err);

/** Release memory and sockets. */
void net_tasks_deinit(struct net_tasks *tasks);

/** @return whether a namespace of this name belongs to a task that is known */
bool net_tasks_has(const struct net_tasks *tasks, const char *name);

/** Take over what the directory says is there. The lock is held. */
MUST_CHECK int net_tasks_adopt(struct net *net, struct err *err);

/** Forget all, with what is in the directory. */
MUST_CHECK int net_tasks_forget(struct net *net, struct err *err);

/** All ports that the host passes on, in the arena. */
size_t net_tasks_forwards(const struct net_tasks *tasks, struct arena *arena,
                          struct net_forward **out_forwards);

/** All containers that may meet, in the arena. */
size_t net_tasks_peers(const struct net_tasks *tasks, struct arena *arena,
                       struct net_peers **out_peers);

/** @return the entry of a task, or NULL */
struct net_task_entry *net_tasks_find(const struct net_tasks *tasks, struct text id);

/** Take an entry in. */
void net_tasks_add(struct net_tasks *tasks, struct net_task_entry *entry);

/** Take an entry out, which is the caller's then. */
void net_tasks_take(struct net_tasks *tasks, const struct net_task_entry *entry);

/** @return the containers of a task, which may meet */
struct net_peers net_task_peers(const struct net_task_entry *entry);

/** Ids of tasks become names of files. @return whether it is one */
bool net_task_id_valid(struct text id);

/** Append an entry as the file that remembers it. */
void net_task_file_write(const struct net_task_entry *entry, struct buf *out);

/** Read one; without holders. @return 0, or ERR_CORRUPT */
MUST_CHECK int net_task_file_read(struct text id, struct text content,
                                  struct net_task_entry **out_entry);

/** Release memory and sockets. */
void net_task_entry_free(struct net_task_entry *entry);

AUTO_POINTER(struct net_task_entry, net_task_entry_free)

/** The range that ports are chosen from, as the host's own for outgoing connections; in the
 * namespace of the calling thread. */
void net_port_range(uint16_t *out_first, uint16_t *out_last);

/**
 * Bind sockets to all ports of a binding in the namespace of the calling thread; nobody connects
 * to them, and nobody else gets the ports while they are open.
 *
 * @return 0, or ERR_BUSY with Docker's words when another has one of them
 */
MUST_CHECK int net_port_hold(struct net_binding *binding, struct err *err);

/** The same for ports that are free, chosen from the tasks' range. @return 0 or ERR_NO_ROOM */
MUST_CHECK int net_port_choose(struct net_tasks *tasks, struct net_binding *binding,
                               struct err *err);

/** Close the sockets. */
void net_port_release(struct net_binding *binding);

/**
 * Have the kernel forget where datagrams to these ports of the host went so far: a sender that
 * does not pause would otherwise go on to where the port led before. In the namespace of the
 * calling thread. Never fails: a kernel without the interface keeps its memory for half a minute.
 */
void net_conntrack_forget(const struct net_forward *forwards, size_t count,
                          const struct net_address *own, size_t own_count);

/** Which addresses of a range somebody has. */
struct net_address_alive {
    struct net_range range;
    bool (*is_alive)(const void *context, uint32_t address);
    const void *context;
};

/**
 * Have the kernel forget all conversations of addresses that nobody has any more, in the namespace
 * of a socket to the packet filter. It looks at every conversation of the kernel, which takes some
 * ten milliseconds.
 *
 * @return whether it did; false also where a kernel has no such interface
 */
bool net_conntrack_forget_gone(int fd, const struct net_address_alive *alive);

struct net {
    char instance[9];
    char *run_dir;
    char *netns_dir;
    int netns_dir_fd;
    struct net_space host;
    bool prepared;         ///< directories and the host's table are there
    pthread_mutex_t lock;  ///< guards what comes after files, and the sockets of host and routers
    pthread_mutex_t files; ///< guards RUN/groups; taken last
    struct net_router *routers;
    struct net_tasks tasks;
    struct net_pool pool;
    pthread_mutex_t fault_lock; ///< one fault is begun or ended at a time: net_fault.c
};

/** Find or make the router. The lock is held. @param verify look again although it was ready */
MUST_CHECK int net_router_ensure(struct net *net, const struct net_vpc *vpc, bool verify,
                                 struct net_router **out_router, struct err *err);

/** Find or make the link between a router and the host, and set it up. */
MUST_CHECK int net_transit_ensure(struct net *net, struct net_router *router,
                                  struct net_link *out_uplink, struct err *err);

/** Give both ends of the link their addresses, and choose those when it has none yet. */
MUST_CHECK int net_transit_ensure_addresses(struct net *net, struct net_router *router,
                                            uint32_t uplink_index, struct err *err);

/** Find out which addresses a router has, on a first look as after a restart: its own tells. */
MUST_CHECK int net_transit_find(struct net_router *router, uint32_t uplink_index, struct err *err);

/** Make a link have this address and no other. */
MUST_CHECK int net_set_address(int socket_fd, uint32_t link_index, uint32_t address,
                               uint32_t prefix, struct err *err);

/** Check an interface that is asked for. @return 0 or ERR_INVALID */
MUST_CHECK int net_eni_parse(const struct net_eni *from, struct net_plug *out, struct err *err);

/** Find or make a subnet's bridge. The lock is held. */
MUST_CHECK int net_bridge_ensure(struct net_router *router, const struct net_eni *eni,
                                 uint32_t gateway, uint32_t *out_index, struct err *err);

/** Take over a router that is mounted. The lock is held. */
MUST_CHECK int net_router_adopt(struct net *net, const char *vpc_id, struct net_router **out_router,
                                struct err *err);

/** Release memory and descriptors. */
void net_router_free(struct net_router *router);

AUTO_POINTER(struct net_router, net_router_free)

/** Write the host's table with the transit addresses of all known routers. The lock is held. */
MUST_CHECK int net_host_filter(struct net *net, struct err *err);

/** Write the table of the bridge network's router, in the namespace of which the thread is. The
 * lock is held. */
MUST_CHECK int net_bridge_filter(struct net *net, const struct net_router *router, struct err *err);

/** Directories, forwarding, tables: what net_open does first. The lock is held. */
MUST_CHECK int net_prepare(struct net *net, struct err *err);

/** Release the lock of net at the end of a scope: `AUTO(net_unlock) struct net *locked = net;` */
UNUSED static inline void net_unlock_auto(struct net **net)
{
    pthread_mutex_unlock(&(*net)->lock);
}
