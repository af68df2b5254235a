#include "base/alloc.h"
#include "net/net_guard.h"

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
 * Routers: namespace, transit link, its addresses, routes, forwarding and NAT, bridges. Each step
 * looks at what the kernel has and does what is missing, so that after a crash anywhere the same
 * calls complete it.
 */

void net_router_free(struct net_router *router)
{
    if (router == NULL) {
        return;
    }
    for (uint32_t i = 0; i < router->bridge_count; i++) {
        alloc_free(router->bridges[i].subnet_id);
    }
    net_space_deinit(&router->space);
    if (router->guard != NULL) {
        net_guard_deinit(router->guard);
    }
    alloc_free(router->guard);
    alloc_free(router->vpc_id);
    alloc_free(router);
}

/* ---- addresses of a link */

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

// Make the link have this address and no other.
static int set_address(int socket_fd, uint32_t link_index, uint32_t address, uint32_t prefix,
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

/* ---- the transit link */

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

static int ensure_transit(struct net *net, struct net_router *router, struct net_link *out_uplink,
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

/* ---- its addresses */

static const struct net_range link_local = {169u << 24 | 254u << 16, 16};

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
        if (routes[i].range.prefix > link_local.prefix &&
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
        rc = set_address(net->host.socket_fd, router->host_link_index, candidate, 31, err);
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

// The router's own address tells which range it has, on a first look as after a restart.
static int find_transit(struct net_router *router, uint32_t uplink_index, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_address *addresses = NULL;
    size_t count = 0;
    int rc = list_addresses(router->space.socket_fd, uplink_index, &arena, &addresses, &count, err);
    router->transit = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct net_range range = addresses[i].range;
        if (range.prefix == 31 && (range.address & 1) == 1 &&
            net_range_has(link_local, range.address)) {
            router->transit = range.address - 1;
        }
    }
    return rc;
}

static int ensure_addresses(struct net *net, struct net_router *router, uint32_t uplink_index,
                            struct err *err)
{
    int rc = find_transit(router, uplink_index, err);
    if (rc == 0 && router->transit == 0) {
        rc = choose_transit(net, router, err);
    }
    if (rc == 0) {
        rc = set_address(net->host.socket_fd, router->host_link_index, router->transit, 31, err);
    }
    if (rc == 0) {
        rc = set_address(router->space.socket_fd, uplink_index, router->transit + 1, 31, err);
    }
    return rc;
}

/* ---- routes, forwarding, filter */

static int ensure_routes(struct net_router *router, uint32_t uplink_index, struct err *err)
{
    const struct net_route_options outward = {
        .gateway = router->transit, .link_index = uplink_index, .type = RTN_UNICAST};
    // What belongs to the VPC but to no subnet here must not leave by the default route.
    const struct net_route_options inside = {.range = router->cidr, .type = RTN_UNREACHABLE};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_route(&outward), "setting a router's default route");
    net_batch_add(&batch, net_message_route(&inside), "setting a router's inner route");
    return net_batch_commit(router->space.socket_fd, &batch, 0, err);
}

int net_bridge_filter(struct net *net, const struct net_router *router, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_peers *peers = NULL;
    size_t count = net_tasks_peers(&net->tasks, &arena, &peers);
    // A container sends with its own address only: what would not be answered on the same link is
    // dropped.
    int rc = net_sysctl("ipv4/conf/all/rp_filter", "1", err);
    return rc == 0
               ? net_filter_bridge(net->instance, router->cidr, router->transit, peers, count, err)
               : rc;
}

static int ensure_filter(struct net *net, struct net_router *router, struct err *err)
{
    int back = -1;
    int rc = net_namespace_enter(router->space.fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    rc = net_sysctl("ipv4/ip_forward", "1", err);
    if (rc == 0 && strcmp(router->vpc_id, NET_BRIDGE_ID) == 0) {
        rc = net_bridge_filter(net, router, err);
    } else if (rc == 0) {
        rc = net_filter_router(net->instance, router->cidr, err);
    }
    net_namespace_leave(back);
    return rc == 0 ? net_host_filter(net, err) : rc;
}

int net_host_filter(struct net *net, struct err *err)
{
    size_t count = 0;
    for (struct net_router *at = net->routers; at != NULL; at = at->next) {
        count++;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    uint32_t *transit = arena_array(&arena, count, sizeof(*transit));
    count = 0;
    for (struct net_router *at = net->routers; at != NULL; at = at->next) {
        if (at->transit != 0) {
            transit[count++] = at->transit + 1;
        }
    }
    struct net_forward *forwards = NULL;
    size_t forward_count = net_tasks_forwards(&net->tasks, &arena, &forwards);
    const struct net_filter_host host = {
        .instance = net->instance,
        .transit = transit,
        .transit_count = count,
        .forwards = forwards,
        .forward_count = forward_count,
    };
    int back = -1;
    int rc = net_namespace_enter(net->host.fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    rc = net_filter_host(&host, err);
    net_namespace_leave(back);
    return rc;
}

// Something else that routes part of the range, but for the widest routes, which every more
// specific one is meant to override.
static int check_host_route(struct net *net, const struct net_router *router, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_route *routes = NULL;
    size_t count = 0;
    int rc = net_routes(net->host.socket_fd, &arena, &routes, &count, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        if (routes[i].range.prefix <= 1 || routes[i].link_index == router->host_link_index ||
            !net_ranges_overlap(routes[i].range, router->cidr)) {
            continue;
        }
        struct net_link link = {0};
        struct err ignored;
        IGNORE(net_link_get(net->host.socket_fd, NULL, routes[i].link_index, &link, &ignored),
               "the name is for the message only");
        char ours[16];
        char theirs[16];
        net_format_address(router->cidr.address, ours);
        net_format_address(routes[i].range.address, theirs);
        return err_set(err, ERR_EXISTS,
                       "the host cannot reach VPC %s at %s/%u: it has a route for %s/%u%s%s",
                       router->vpc_id, ours, router->cidr.prefix, theirs, routes[i].range.prefix,
                       link.name[0] == '\0' ? "" : " through ", link.name);
    }
    return 0;
}

static int ensure_host_route(struct net *net, struct net_router *router, bool wanted,
                             struct err *err)
{
    // The source is named because the transit link is not where the host would look for one.
    const struct net_route_options route = {
        .range = router->cidr,
        .gateway = router->transit + 1,
        .source = router->transit,
        .link_index = router->host_link_index,
        .type = RTN_UNICAST,
    };
    int rc = wanted ? check_host_route(net, router, err) : 0;
    if (rc != 0) {
        return rc;
    }
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, wanted ? net_message_route(&route) : net_message_route_delete(&route),
                  "setting the host's route to a VPC");
    rc = net_batch_commit(net->host.socket_fd, &batch, wanted ? 0 : ESRCH, err);
    if (rc == 0) {
        router->host_route = wanted;
    }
    return rc;
}

/* ---- the whole */

static struct net_router *find_router(struct net *net, struct text vpc_id)
{
    for (struct net_router *at = net->routers; at != NULL; at = at->next) {
        if (text_is(vpc_id, at->vpc_id)) {
            return at;
        }
    }
    return NULL;
}

static struct net_router *add_router(struct net *net, const char *vpc_id, struct net_space *space)
{
    struct net_router *router = ALLOC(struct net_router);
    router->vpc_id = alloc_string(vpc_id);
    router->guard = ALLOC(struct net_guard);
    router->space = *space;
    *space = (struct net_space){-1, -1};
    router->next = net->routers;
    net->routers = router;
    return router;
}

int net_router_adopt(struct net *net, const char *vpc_id, struct net_router **out_router,
                     struct err *err)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    int rc = net_space_open(net->netns_dir_fd, vpc_id, &space, err);
    if (rc != 0) {
        return rc;
    }
    struct net_router *router = add_router(net, vpc_id, &space);
    struct net_link uplink;
    struct err ignored;
    if (net_link_get(router->space.socket_fd, NET_UPLINK, 0, &uplink, &ignored) == 0) {
        IGNORE(find_transit(router, uplink.index, &ignored), "ensuring the router will report it");
    }
    *out_router = router;
    return 0;
}

static int create_router(struct net *net, const char *vpc_id, struct net_router **out_router,
                         struct err *err)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    int rc = net_space_create(&space, err);
    if (rc == 0) {
        rc = net_space_mount(&space, net->netns_dir, vpc_id, err);
    }
    if (rc == 0) {
        *out_router = add_router(net, vpc_id, &space);
    }
    return rc;
}

static int complete_router(struct net *net, struct net_router *router, struct err *err)
{
    struct net_link uplink;
    int rc = ensure_transit(net, router, &uplink, err);
    if (rc == 0) {
        rc = ensure_addresses(net, router, uplink.index, err);
    }
    if (rc == 0) {
        rc = ensure_routes(router, uplink.index, err);
    }
    if (rc == 0) {
        rc = ensure_filter(net, router, err);
    }
    router->ready = rc == 0;
    return rc;
}

static int check_vpc(const struct net_vpc *vpc, struct net_range *out_cidr, struct err *err)
{
    if (!net_id_valid(vpc->id) || text_starts(vpc->id, TEXT("eni-"))) {
        return err_set(err, ERR_INVALID, "'%.*s' is not the id of a VPC", TEXT_FMT(vpc->id));
    }
    if (net_parse_range(vpc->cidr, out_cidr) != 0 || out_cidr->prefix < 8 ||
        out_cidr->prefix > 28 || net_ranges_overlap(*out_cidr, link_local) ||
        out_cidr->address >> 24 == 127 || out_cidr->address >> 28 >= 14) {
        return err_set(err, ERR_INVALID, "'%.*s' is not a range a VPC can have",
                       TEXT_FMT(vpc->cidr));
    }
    return 0;
}

int net_router_ensure(struct net *net, const struct net_vpc *vpc, bool verify,
                      struct net_router **out_router, struct err *err)
{
    struct net_range cidr;
    int rc = check_vpc(vpc, &cidr, err);
    if (rc == 0 && !net->prepared) {
        rc = net_prepare(net, err);
    }
    if (rc != 0) {
        return rc;
    }
    char id[NET_ID_MAX + 1];
    IGNORE(text_copy(vpc->id, id, sizeof(id)), "its size was checked");
    struct net_router *router = find_router(net, vpc->id);
    if (router == NULL) {
        rc = net_router_adopt(net, id, &router, err);
        if (rc == ERR_NOT_FOUND) {
            rc = create_router(net, id, &router, err);
        }
        if (rc != 0) {
            return err_wrap(err, "VPC %s", id);
        }
    }
    bool same = router->cidr.address == cidr.address && router->cidr.prefix == cidr.prefix;
    if (!router->ready || verify || !same) {
        router->cidr = cidr;
        rc = complete_router(net, router, err);
        if (rc != 0) {
            return err_wrap(err, "VPC %s", id);
        }
    }
    *out_router = router;
    if (verify || router->host_route != vpc->host_route) {
        return ensure_host_route(net, router, vpc->host_route, err);
    }
    return 0;
}

/* ---- bridges */

static struct nl_msg *message_bridge(const char *name, const uint8_t mac[6])
{
    const struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof(up));
    nla_put_string(message, IFLA_IFNAME, name);
    nla_put(message, IFLA_ADDRESS, 6, mac);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    nla_put_u32(message, IFLA_BR_FORWARD_DELAY, 0);
    nla_put_u8(message, IFLA_BR_MCAST_SNOOPING, 0);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    return message;
}

// Without an address of its own a bridge takes one of its ports', and changes it as they come and
// go, which cuts every task off from its gateway until its ARP entry expires.
void net_bridge_mac(uint32_t gateway, uint8_t out_mac[6])
{
    const uint8_t mac[6] = {0x02,
                            0x62,
                            (uint8_t)(gateway >> 24),
                            (uint8_t)(gateway >> 16),
                            (uint8_t)(gateway >> 8),
                            (uint8_t)gateway};
    memcpy(out_mac, mac, sizeof(mac));
}

static struct net_bridge *find_bridge(struct net_router *router, struct text subnet_id)
{
    for (uint32_t i = 0; i < router->bridge_count; i++) {
        if (text_is(subnet_id, router->bridges[i].subnet_id)) {
            return &router->bridges[i];
        }
    }
    return NULL;
}

static int make_bridge(struct net_router *router, const struct net_eni *eni, uint32_t gateway,
                       uint32_t *out_index, struct err *err)
{
    char name[NET_LINK_NAME_SIZE];
    uint8_t mac[6];
    net_bridge_name(eni->subnet_id, name);
    net_bridge_mac(gateway, mac);
    int socket_fd = router->space.socket_fd;
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, message_bridge(name, mac), "making a bridge");
    int rc = net_batch_commit(socket_fd, &batch, EEXIST, err);
    struct net_link link;
    if (rc == 0) {
        rc = net_link_get(socket_fd, name, 0, &link, err);
    }
    if (rc == 0) {
        rc = set_address(socket_fd, link.index, gateway, eni->prefix_length, err);
    }
    AUTO(net_batch_deinit) struct net_batch up = {0};
    if (rc == 0) {
        net_batch_add(&up, net_message_arp_eager(link.index), "setting up ARP");
        net_batch_add(&up, net_message_up(link.index), "setting a bridge up");
        rc = net_batch_commit(socket_fd, &up, 0, err);
    }
    if (rc == 0) {
        *out_index = link.index;
    }
    return rc;
}

int net_bridge_ensure(struct net_router *router, const struct net_eni *eni, uint32_t gateway,
                      uint32_t *out_index, struct err *err)
{
    struct net_bridge *bridge = find_bridge(router, eni->subnet_id);
    if (bridge != NULL && bridge->gateway == gateway && bridge->prefix == eni->prefix_length) {
        *out_index = bridge->index;
        return 0;
    }
    if (bridge == NULL && router->bridge_count == NET_SUBNETS_MAX) {
        return err_set(err, ERR_NO_ROOM, "VPC %s has more than %d subnets here", router->vpc_id,
                       NET_SUBNETS_MAX);
    }
    uint32_t index = 0;
    int rc = make_bridge(router, eni, gateway, &index, err);
    if (rc != 0) {
        return err_wrap(err, "subnet %.*s", TEXT_FMT(eni->subnet_id));
    }
    if (bridge == NULL) {
        bridge = &router->bridges[router->bridge_count++];
        bridge->subnet_id = alloc_format("%.*s", TEXT_FMT(eni->subnet_id));
    }
    bridge->index = index;
    bridge->gateway = gateway;
    bridge->prefix = eni->prefix_length;
    *out_index = index;
    return 0;
}
