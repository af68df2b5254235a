#include "base/alloc.h"
#include "net/net_guard.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

/*
 * Routers: namespace, transit link (net_transit.c), routes, forwarding and NAT, bridges
 * (net_bridge.c). Each step looks at what the kernel has and does what is missing, so that after a
 * crash anywhere the same calls complete it.
 */

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
        IGNORE(net_transit_find(router, uplink.index, &ignored),
               "ensuring the router will report it");
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
    int rc = net_transit_ensure(net, router, &uplink, err);
    if (rc == 0) {
        rc = net_transit_ensure_addresses(net, router, uplink.index, err);
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
        out_cidr->prefix > 28 || net_ranges_overlap(*out_cidr, NET_LINK_LOCAL) ||
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
