#include "base/alloc.h"
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

/*
 * What a namespace is connected to its router by: a namespace out of the pool, one request for the
 * pair of links, one system call for what is inside, one mount.
 */

// ---- requests ----------------------------------------------------------------------------

// Both ends at once, each in its namespace. The kernel can set only the router's up in this step.
static struct nl_msg *message_pair(const struct net_plug *plug, int space_fd)
{
    const struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    const struct ifinfomsg any = {0};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof(up));
    nla_put_string(message, IFLA_IFNAME, plug->link);
    if (plug->bridge_index != 0) {
        nla_put_u32(message, IFLA_MASTER, plug->bridge_index);
    }
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, (void *)(uintptr_t)&any, sizeof(any), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, NET_PLUG_LINK);
    nla_put(message, IFLA_ADDRESS, 6, plug->mac);
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

// ---- making ------------------------------------------------------------------------------

static int delete_by_name(int socket_fd, const char *name, struct err *err)
{
    struct net_link link;
    int rc = net_link_get(socket_fd, name, 0, &link, err);
    if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    return rc == 0 ? net_link_delete(socket_fd, link.index, err) : rc;
}

static int make_pair(const struct net_plug *plug, struct net_router *router, int space_fd,
                     struct err *err)
{
    for (int attempt = 0;; attempt++) {
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, message_pair(plug, space_fd), "making a pair of links");
        if (plug->bridge_index != 0) {
            // The router's memory of who had this address before.
            net_batch_add(
                &batch,
                message_neighbour(plug->bridge_index, plug->address, 0, NUD_STALE, plug->mac),
                "telling the router the hardware address");
        }
        int rc = net_batch_commit(router->space.socket_fd, &batch, 0, err);
        if (rc != ERR_EXISTS || attempt > 0) {
            return rc;
        }
        // Its predecessor's namespace is still held by a process; take the link from it.
        rc = delete_by_name(router->space.socket_fd, plug->link, err);
        if (rc != 0) {
            return rc;
        }
    }
}

// "Use" makes the kernel ask for the gateway now, by broadcast: every neighbour that remembers an
// earlier owner of the address learns the new one, and the first packet need not wait.
static int announce(const struct net_plug *plug, const struct net_router *router,
                    const struct net_space *space, const struct net_link *link, struct err *err)
{
    // First the port, then the bridge, whose carrier depends on it.
    net_link_await(router->space.socket_fd, link->peer_index);
    if (plug->bridge_index != 0) {
        net_link_await(router->space.socket_fd, plug->bridge_index);
    }
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, message_neighbour(link->index, plug->gateway, NTF_USE, NUD_NONE, NULL),
                  "announcing the address");
    return net_batch_commit(space->socket_fd, &batch, 0, err);
}

// Without a bridge the router has a route to this one address. Its hardware address is fixed: the
// namespace cannot answer for another.
static int route_to(const struct net_plug *plug, const struct net_router *router,
                    uint32_t outer_index, struct err *err)
{
    const struct net_route_options route = {
        .range = {plug->address, 32}, .link_index = outer_index, .type = RTN_UNICAST};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch,
                  message_neighbour(outer_index, plug->address, 0, NUD_PERMANENT, plug->mac),
                  "telling the router the hardware address");
    net_batch_add(&batch, net_message_route(&route), "setting the router's route");
    return net_batch_commit(router->space.socket_fd, &batch, 0, err);
}

static int configure(const struct net_plug *plug, const struct net_router *router,
                     const struct net_space *space, struct err *err)
{
    struct net_link link;
    int rc = net_link_get(space->socket_fd, NET_PLUG_LINK, 0, &link, err);
    if (rc != 0) {
        return rc;
    }
    const struct net_route_options gateway = {
        .range = {plug->gateway, 32}, .link_index = link.index, .type = RTN_UNICAST};
    const struct net_route_options outward = {
        .gateway = plug->gateway, .link_index = link.index, .type = RTN_UNICAST};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_arp_eager(link.index), "setting up ARP");
    net_batch_add(&batch, net_message_up(link.index), "setting the link up");
    net_batch_add(&batch, net_message_address(link.index, plug->address, plug->prefix),
                  "adding the address");
    if (plug->prefix == 32) {
        net_batch_add(&batch, net_message_route(&gateway), "setting the route to the gateway");
    }
    net_batch_add(&batch, net_message_route(&outward), "setting the default route");
    rc = net_batch_commit(space->socket_fd, &batch, 0, err);
    if (rc == 0 && plug->bridge_index == 0) {
        rc = route_to(plug, router, link.peer_index, err);
    }
    return rc == 0 ? announce(plug, router, space, &link, err) : rc;
}

int net_plug_make(struct net *net, const struct net_plug *plug, struct net_router *router,
                  struct err *err)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    int rc = net_pool_take(&net->pool, &space, err);
    if (rc == 0) {
        rc = make_pair(plug, router, space.fd, err);
    }
    if (rc == 0) {
        rc = configure(plug, router, &space, err);
    }
    if (rc == 0) {
        rc = net_space_mount(&space, net->netns_dir, plug->id, err);
    }
    if (rc != 0) {
        struct err ignored;
        IGNORE(delete_by_name(router->space.socket_fd, plug->link, &ignored),
               "it goes with its namespace, too");
    }
    return rc;
}
