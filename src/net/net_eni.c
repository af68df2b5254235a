#include "base/alloc.h"
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

/*
 * Network interfaces of tasks: a namespace out of the pool, one request for the pair of links, one
 * system call for what is inside, one mount.
 */

#define ENI_LINK "eth0"

/** A net_eni, parsed. */
struct eni {
    const struct net_eni *from;
    char id[NET_ID_MAX + 1];
    char link[NET_LINK_NAME_SIZE]; ///< the router's end
    uint8_t mac[6];
    uint32_t address;
    uint32_t gateway;
    uint32_t bridge_index;
};

static int parse_eni(const struct net_eni *from, struct eni *out, struct err *err)
{
    struct eni eni = {.from = from};
    if (!net_id_valid(from->id) || !text_starts(from->id, TEXT("eni-"))) {
        return err_set(err, ERR_INVALID, "'%.*s' is not the id of a network interface",
                       TEXT_FMT(from->id));
    }
    IGNORE(text_copy(from->id, eni.id, sizeof(eni.id)), "its size was checked");
    if (net_parse_mac(from->mac_address, eni.mac) != 0) {
        return err_set(err, ERR_INVALID, "%s: '%.*s' is not a hardware address", eni.id,
                       TEXT_FMT(from->mac_address));
    }
    if (net_parse_address(from->address, &eni.address) != 0 ||
        net_parse_address(from->gateway, &eni.gateway) != 0 || from->prefix_length < 8 ||
        from->prefix_length > 30) {
        return err_set(err, ERR_INVALID, "%s: '%.*s/%u' behind '%.*s' is not an address", eni.id,
                       TEXT_FMT(from->address), from->prefix_length, TEXT_FMT(from->gateway));
    }
    struct net_range subnet = {eni.gateway, from->prefix_length};
    struct net_range vpc;
    if (!net_range_has(subnet, eni.address) || eni.address == eni.gateway ||
        net_parse_range(from->vpc.cidr, &vpc) != 0 || vpc.prefix > subnet.prefix ||
        !net_range_has(vpc, eni.address)) {
        return err_set(err, ERR_INVALID,
                       "%s: %.*s/%u, its gateway %.*s and the VPC %.*s do not fit together", eni.id,
                       TEXT_FMT(from->address), from->prefix_length, TEXT_FMT(from->gateway),
                       TEXT_FMT(from->vpc.cidr));
    }
    if (!net_id_valid(from->subnet_id)) {
        return err_set(err, ERR_INVALID, "%s: '%.*s' is not the id of a subnet", eni.id,
                       TEXT_FMT(from->subnet_id));
    }
    net_eni_link_name(from->id, eni.link);
    *out = eni;
    return 0;
}

/* ---- requests */

// Both ends at once, each in its namespace. The kernel can set only the router's up in this step.
static struct nl_msg *message_pair(const struct eni *eni, int space_fd)
{
    const struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    const struct ifinfomsg any = {0};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof(up));
    nla_put_string(message, IFLA_IFNAME, eni->link);
    nla_put_u32(message, IFLA_MASTER, eni->bridge_index);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, (void *)(uintptr_t)&any, sizeof(any), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, ENI_LINK);
    nla_put(message, IFLA_ADDRESS, 6, eni->mac);
    nla_put_u32(message, IFLA_NET_NS_FD, (uint32_t)space_fd);
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    return message;
}

static struct nl_msg *message_neighbour(uint32_t link_index, uint32_t address, uint8_t flags,
                                        uint16_t state, const uint8_t *mac)
{
    const struct ndmsg info = {.ndm_family = AF_INET,
                               .ndm_ifindex = (int)link_index,
                               .ndm_state = state,
                               .ndm_flags = flags,
                               .ndm_type = RTN_UNICAST};
    struct nl_msg *message =
        net_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof(info));
    nla_put_u32(message, NDA_DST, htonl(address));
    if (mac != NULL) {
        nla_put(message, NDA_LLADDR, 6, mac);
    }
    return message;
}

// Stop what the port lets through, at once. The link itself goes when its namespace does. Asked of
// the bridge, because the same asked of the link ends with an event that enables the port again.
static struct nl_msg *message_port_off(uint32_t link_index)
{
    const struct ifinfomsg info = {.ifi_family = AF_BRIDGE, .ifi_index = (int)link_index};
    struct nl_msg *message = net_message(RTM_SETLINK, 0, &info, sizeof(info));
    struct nlattr *port = nla_nest_start(message, IFLA_PROTINFO | NLA_F_NESTED);
    nla_put_u8(message, IFLA_BRPORT_STATE, BR_STATE_DISABLED);
    nla_nest_end(message, port);
    return message;
}

/* ---- making */

static int delete_by_name(int socket_fd, const char *name, struct err *err)
{
    struct net_link link;
    int rc = net_link_get(socket_fd, name, 0, &link, err);
    if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    return rc == 0 ? net_link_delete(socket_fd, link.index, err) : rc;
}

static int make_pair(const struct eni *eni, struct net_router *router, int space_fd,
                     struct err *err)
{
    for (int attempt = 0;; attempt++) {
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, message_pair(eni, space_fd), "making a pair of links");
        // The router's memory of who had this address before.
        net_batch_add(&batch,
                      message_neighbour(eni->bridge_index, eni->address, 0, NUD_STALE, eni->mac),
                      "telling the router the hardware address");
        int rc = net_batch_commit(router->space.socket_fd, &batch, 0, err);
        if (rc != ERR_EXISTS || attempt > 0) {
            return rc;
        }
        // Its predecessor's namespace is still held by a process; take the link from it.
        rc = delete_by_name(router->space.socket_fd, eni->link, err);
        if (rc != 0) {
            return rc;
        }
    }
}

// "Use" makes the kernel ask for the gateway now, by broadcast: every neighbour that remembers an
// earlier owner of the address learns the new one, and the first packet need not wait.
static int announce(const struct eni *eni, const struct net_router *router,
                    const struct net_space *space, const struct net_link *link, struct err *err)
{
    // First the port, then the bridge, whose carrier depends on it.
    net_link_await(router->space.socket_fd, link->peer_index);
    net_link_await(router->space.socket_fd, eni->bridge_index);
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, message_neighbour(link->index, eni->gateway, NTF_USE, NUD_NONE, NULL),
                  "announcing the address");
    return net_batch_commit(space->socket_fd, &batch, 0, err);
}

static int configure(const struct eni *eni, const struct net_router *router,
                     const struct net_space *space, struct err *err)
{
    struct net_link link;
    int rc = net_link_get(space->socket_fd, ENI_LINK, 0, &link, err);
    if (rc != 0) {
        return rc;
    }
    const struct net_route_options outward = {
        .gateway = eni->gateway, .link_index = link.index, .type = RTN_UNICAST};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_arp_eager(link.index), "setting up ARP");
    net_batch_add(&batch, net_message_up(link.index), "setting the link up");
    net_batch_add(&batch, net_message_address(link.index, eni->address, eni->from->prefix_length),
                  "adding the address");
    net_batch_add(&batch, net_message_route(&outward), "setting the default route");
    rc = net_batch_commit(space->socket_fd, &batch, 0, err);
    return rc == 0 ? announce(eni, router, space, &link, err) : rc;
}

static int build(struct net *net, const struct eni *eni, struct net_router *router, struct err *err)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    int rc = net_pool_take(&net->pool, &space, err);
    if (rc == 0) {
        rc = make_pair(eni, router, space.fd, err);
    }
    if (rc == 0) {
        rc = configure(eni, router, &space, err);
    }
    if (rc == 0) {
        rc = net_space_mount(&space, net->netns_dir, eni->id, err);
    }
    if (rc != 0) {
        struct err ignored;
        IGNORE(delete_by_name(router->space.socket_fd, eni->link, &ignored),
               "it goes with its namespace, too");
    }
    return rc;
}

/* ---- looking at what is there */

static bool has_address(const struct eni *eni, int socket_fd, uint32_t link_index)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_address *addresses = NULL;
    size_t count = 0;
    size_t right = 0;
    size_t wrong = 0;
    struct err ignored;
    if (net_addresses(socket_fd, &arena, &addresses, &count, &ignored) != 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (addresses[i].link_index != link_index) {
            continue;
        }
        bool same = addresses[i].range.address == eni->address &&
                    addresses[i].range.prefix == eni->from->prefix_length;
        right += same ? 1 : 0;
        wrong += same ? 0 : 1;
    }
    return right == 1 && wrong == 0;
}

static bool has_default_route(const struct eni *eni, int socket_fd, uint32_t link_index)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_route *routes = NULL;
    size_t count = 0;
    struct err ignored;
    if (net_routes(socket_fd, &arena, &routes, &count, &ignored) != 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (routes[i].range.prefix == 0 && routes[i].gateway == eni->gateway &&
            routes[i].link_index == link_index) {
            return true;
        }
    }
    return false;
}

// What is mounted is the interface that is wanted, whole, and plugged into the right bridge.
static bool is_whole(struct net *net, const struct eni *eni, struct net_router *router)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    struct err ignored;
    struct net_link inner;
    struct net_link outer;
    return net_space_open(net->netns_dir_fd, eni->id, &space, &ignored) == 0 &&
           net_link_get(space.socket_fd, ENI_LINK, 0, &inner, &ignored) == 0 &&
           net_link_get(router->space.socket_fd, eni->link, 0, &outer, &ignored) == 0 && inner.up &&
           outer.up && inner.peer_index == outer.index && outer.master == eni->bridge_index &&
           memcmp(inner.mac, eni->mac, 6) == 0 && has_address(eni, space.socket_fd, inner.index) &&
           has_default_route(eni, space.socket_fd, inner.index);
}

/* ---- the interface of this module */

static void turn_port_off(struct net *net, const char *name)
{
    for (struct net_router *at = net->routers; at != NULL; at = at->next) {
        struct net_link link;
        struct err ignored;
        if (net_link_get(at->space.socket_fd, name, 0, &link, &ignored) != 0) {
            continue; // it is another router's, or gone
        }
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, message_port_off(link.index), "turning a port off");
        IGNORE(net_batch_run(at->space.socket_fd, &batch, &ignored),
               "a link outside of a bridge lets nothing through anyway");
    }
}

static int destroy_locked(struct net *net, const char *id, struct err *err)
{
    char link[NET_LINK_NAME_SIZE];
    net_eni_link_name(text_of(id), link);
    turn_port_off(net, link);
    return net_space_unmount(net->netns_dir, id, err);
}

int net_eni_create(struct net *net, const struct net_eni *from, struct arena *arena,
                   struct text *out_path, struct err *err)
{
    struct eni eni;
    int rc = parse_eni(from, &eni, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    struct net_router *router = NULL;
    rc = net_router_ensure(locked, &from->vpc, false, &router, err);
    if (rc != 0 && !(rc == ERR_EXISTS && router != NULL)) {
        return err_wrap(err, "making %s", eni.id);
    }
    // ERR_EXISTS is about the host's way into the VPC, which a task does not need.
    rc = net_bridge_ensure(router, from, eni.gateway, &eni.bridge_index, err);
    if (rc == 0 && net_space_mounted(net->netns_dir_fd, eni.id)) {
        if (is_whole(net, &eni, router)) {
            *out_path = net_eni_path(net, from->id, arena);
            return 0;
        }
        rc = destroy_locked(net, eni.id, err);
    }
    if (rc == 0) {
        rc = build(net, &eni, router, err);
    }
    if (rc != 0) {
        return err_wrap(err, "making %s", eni.id);
    }
    *out_path = net_eni_path(net, from->id, arena);
    return 0;
}

int net_eni_destroy(struct net *net, struct text eni_id, struct err *err)
{
    char id[NET_ID_MAX + 1];
    if (!net_id_valid(eni_id) || !text_starts(eni_id, TEXT("eni-"))) {
        return err_set(err, ERR_INVALID, "'%.*s' is not the id of a network interface",
                       TEXT_FMT(eni_id));
    }
    IGNORE(text_copy(eni_id, id, sizeof(id)), "its size was checked");
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    int rc = destroy_locked(locked, id, err);
    return rc == 0 ? 0 : err_wrap(err, "removing %s", id);
}

struct text net_eni_path(const struct net *net, struct text eni_id, struct arena *arena)
{
    return arena_format(arena, "%s/%.*s", net->netns_dir, TEXT_FMT(eni_id));
}
