#include "base/alloc.h"
#include "net/net_internal.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

/*
 * The link between a router's namespace and the host's, and its addresses: a range of two for each
 * router, chosen so that no other on this host has it.
 */

// ---- addresses of a link -----------------------------------------------------------------

static int list_addresses(int socket_fd, uint32_t link_index, struct arena *arena,
                          struct net_address **out_addresses, size_t *out_count, struct err *err)
{
    struct net_address *all = NULL;
    size_t count = 0;
    int rc = net_addresses(socket_fd, arena, &all, &count, err);
    if (rc != 0) {
        return rc;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].link_index == link_index) {
            all[kept++] = all[i];
        }
    }
    *out_addresses = all;
    *out_count = kept;
    return 0;
}

static struct nl_msg *message_address_delete(const struct net_address *address)
{
    struct nl_msg *message =
        net_message_address(address->link_index, address->range.address, address->range.prefix);
    nlmsg_hdr(message)->nlmsg_type = RTM_DELADDR;
    nlmsg_hdr(message)->nlmsg_flags = NLM_F_REQUEST;
    return message;
}

int net_set_address(int socket_fd, uint32_t link_index, uint32_t address, uint32_t prefix,
                    struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_address *have = NULL;
    size_t count = 0;
    int rc = list_addresses(socket_fd, link_index, &arena, &have, &count, err);
    if (rc != 0) {
        return rc;
    }
    bool there = false;
    for (size_t i = 0; i < count; i++) {
        if (have[i].range.address == address && have[i].range.prefix == prefix) {
            there = true;
            continue;
        }
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, message_address_delete(&have[i]), "removing a stray address");
        rc = net_batch_commit(socket_fd, &batch, EADDRNOTAVAIL, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (there) {
        return 0;
    }
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_address(link_index, address, prefix), "adding an address");
    return net_batch_commit(socket_fd, &batch, EEXIST, err);
}

// ---- the link ----------------------------------------------------------------------------

static struct nl_msg *message_transit(const char *host_name, int router_fd)
{
    const struct ifinfomsg any = {0};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &any, sizeof(any));
    nla_put_string(message, IFLA_IFNAME, host_name);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, (void *)(uintptr_t)&any, sizeof(any), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, NET_UPLINK);
    nla_put_u32(message, IFLA_NET_NS_FD, (uint32_t)router_fd);
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    return message;
}

static struct nl_msg *message_alias(uint32_t index, const char *alias)
{
    const struct ifinfomsg info = {.ifi_index = (int)index};
    struct nl_msg *message = net_message(RTM_NEWLINK, 0, &info, sizeof(info));
    nla_put(message, IFLA_IFALIAS, (int)strlen(alias), alias);
    return message;
}

// A free name on the host. A link of that name that is this VPC's, or that nobody came to mark, is
// what a crash left behind.
static int choose_link_name(struct net *net, const struct net_router *router,
                            char out_name[NET_LINK_NAME_SIZE], struct err *err)
{
    for (uint32_t n = 0; n < NET_LINK_TRIES; n++) {
        struct net_link link;
        net_transit_link_name(net->instance, text_of(router->vpc_id), n, out_name);
        int rc = net_link_get(net->host.socket_fd, out_name, 0, &link, err);
        if (rc == ERR_NOT_FOUND) {
            return 0;
        }
        if (rc != 0) {
            return rc;
        }
        if (link.alias[0] == '\0' || strcmp(link.alias, router->vpc_id) == 0) {
            return net_link_delete(net->host.socket_fd, link.index, err);
        }
    }
    return err_set(err, ERR_EXISTS, "no name is free for the link of VPC %s", router->vpc_id);
}

static int create_transit(struct net *net, struct net_router *router, struct err *err)
{
    char name[NET_LINK_NAME_SIZE];
    int rc = choose_link_name(net, router, name, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(net_batch_deinit) struct net_batch create = {0};
    net_batch_add(&create, message_transit(name, router->space.fd), "making a transit link");
    rc = net_batch_commit(net->host.socket_fd, &create, 0, err);
    struct net_link link;
    if (rc == 0) {
        rc = net_link_get(net->host.socket_fd, name, 0, &link, err);
    }
    if (rc != 0) {
        return rc;
    }
    AUTO(net_batch_deinit) struct net_batch mark = {0};
    net_batch_add(&mark, message_alias(link.index, router->vpc_id), "marking a transit link");
    router->host_link_index = link.index;
    return net_batch_commit(net->host.socket_fd, &mark, 0, err);
}

// Both ends are there, belong together, and bear the right name.
static bool transit_whole(struct net *net, const struct net_router *router,
                          const struct net_link *uplink, struct net_link *out_host)
{
    struct err ignored;
    char prefix[NET_LINK_NAME_SIZE];
    snprintf(prefix, sizeof(prefix), "bt%s", net->instance);
    return net_link_get(net->host.socket_fd, NULL, uplink->peer_index, out_host, &ignored) == 0 &&
           strncmp(out_host->name, prefix, strlen(prefix)) == 0 &&
           strcmp(out_host->alias, router->vpc_id) == 0;
}

int net_transit_ensure(struct net *net, struct net_router *router, struct net_link *out_uplink,
                       struct err *err)
{
    struct net_link host;
    int rc = net_link_get(router->space.socket_fd, NET_UPLINK, 0, out_uplink, err);
    if (rc == 0 && transit_whole(net, router, out_uplink, &host)) {
        router->host_link_index = host.index;
    } else {
        if (rc == 0) {
            rc = net_link_delete(router->space.socket_fd, out_uplink->index, err);
        }
        if (rc == 0 || rc == ERR_NOT_FOUND) {
            rc = create_transit(net, router, err);
        }
        if (rc == 0) {
            rc = net_link_get(router->space.socket_fd, NET_UPLINK, 0, out_uplink, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    AUTO(net_batch_deinit) struct net_batch host_batch = {0};
    AUTO(net_batch_deinit) struct net_batch router_batch = {0};
    net_batch_add(&host_batch, net_message_up(router->host_link_index), "setting a link up");
    net_batch_add(&router_batch, net_message_up(out_uplink->index), "setting a link up");
    rc = net_batch_commit(net->host.socket_fd, &host_batch, 0, err);
    if (rc == 0) {
        rc = net_batch_commit(router->space.socket_fd, &router_batch, 0, err);
    }
    if (rc == 0) {
        net_link_await(net->host.socket_fd, router->host_link_index);
        net_link_await(router->space.socket_fd, out_uplink->index);
    }
    return rc;
}

// ---- its range ---------------------------------------------------------------------------

static int transit_free(struct net *net, uint32_t candidate, bool *out_free, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct net_range range = {candidate, 31};
    struct net_address *addresses = NULL;
    struct net_route *routes = NULL;
    size_t count = 0;
    int rc = net_addresses(net->host.socket_fd, &arena, &addresses, &count, err);
    if (rc != 0) {
        return rc;
    }
    *out_free = true;
    for (size_t i = 0; i < count; i++) {
        if (net_range_has(range, addresses[i].range.address)) {
            *out_free = false;
        }
    }
    rc = net_routes(net->host.socket_fd, &arena, &routes, &count, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        // The whole link-local range, as zeroconf routes it, yields to a more specific route.
        if (routes[i].range.prefix > NET_LINK_LOCAL.prefix &&
            net_ranges_overlap(range, routes[i].range)) {
            *out_free = false;
        }
    }
    return 0;
}

// Another process may have taken the same range between our look and our step. Of the two links
// that then have it, the younger yields.
static int transit_contested(struct net *net, const struct net_router *router, uint32_t address,
                             bool *out_contested, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_address *addresses = NULL;
    size_t count = 0;
    int rc = net_addresses(net->host.socket_fd, &arena, &addresses, &count, err);
    *out_contested = false;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (addresses[i].range.address == address &&
            addresses[i].link_index < router->host_link_index) {
            *out_contested = true;
        }
    }
    return rc;
}

static int choose_transit(struct net *net, struct net_router *router, struct err *err)
{
    for (uint32_t n = 0; n < NET_TRANSIT_TRIES; n++) {
        uint32_t candidate = net_transit_candidate(net->instance, text_of(router->vpc_id), n);
        bool is_free = false;
        int rc = transit_free(net, candidate, &is_free, err);
        if (rc != 0) {
            return rc;
        }
        if (!is_free) {
            continue;
        }
        rc = net_set_address(net->host.socket_fd, router->host_link_index, candidate, 31, err);
        bool contested = false;
        if (rc == 0) {
            rc = transit_contested(net, router, candidate, &contested, err);
        }
        if (rc != 0) {
            return rc;
        }
        if (!contested) {
            router->transit = candidate;
            return 0;
        }
    }
    return err_set(err, ERR_NO_ROOM, "no transit range is free for VPC %s", router->vpc_id);
}

int net_transit_find(struct net_router *router, uint32_t uplink_index, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_address *addresses = NULL;
    size_t count = 0;
    int rc = list_addresses(router->space.socket_fd, uplink_index, &arena, &addresses, &count, err);
    router->transit = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct net_range range = addresses[i].range;
        if (range.prefix == 31 && (range.address & 1) == 1 &&
            net_range_has(NET_LINK_LOCAL, range.address)) {
            router->transit = range.address - 1;
        }
    }
    return rc;
}

int net_transit_ensure_addresses(struct net *net, struct net_router *router, uint32_t uplink_index,
                                 struct err *err)
{
    int rc = net_transit_find(router, uplink_index, err);
    if (rc == 0 && router->transit == 0) {
        rc = choose_transit(net, router, err);
    }
    if (rc == 0) {
        rc =
            net_set_address(net->host.socket_fd, router->host_link_index, router->transit, 31, err);
    }
    if (rc == 0) {
        rc = net_set_address(router->space.socket_fd, uplink_index, router->transit + 1, 31, err);
    }
    return rc;
}
