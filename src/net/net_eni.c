#include "base/alloc.h"
#include "net/net_guard.h"

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
 * Network interfaces of tasks, each plugged into the bridge of its subnet.
 */

int net_eni_parse(const struct net_eni *from, struct net_plug *out, struct err *err)
{
    struct net_plug eni = {.prefix = from->prefix_length};
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

// ---- looking at what is there ------------------------------------------------------------

static bool has_address(const struct net_plug *eni, int socket_fd, uint32_t link_index)
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
        bool same =
            addresses[i].range.address == eni->address && addresses[i].range.prefix == eni->prefix;
        right += same ? 1 : 0;
        wrong += same ? 0 : 1;
    }
    return right == 1 && wrong == 0;
}

static bool has_default_route(const struct net_plug *eni, int socket_fd, uint32_t link_index)
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
static bool is_whole(struct net *net, const struct net_plug *eni, struct net_router *router)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    struct err ignored;
    struct net_link inner;
    struct net_link outer;
    return net_space_open(net->netns_dir_fd, eni->id, &space, &ignored) == 0 &&
           net_link_get(space.socket_fd, NET_PLUG_LINK, 0, &inner, &ignored) == 0 &&
           net_link_get(router->space.socket_fd, eni->link, 0, &outer, &ignored) == 0 && inner.up &&
           outer.up && inner.peer_index == outer.index && outer.master == eni->bridge_index &&
           memcmp(inner.mac, eni->mac, 6) == 0 && has_address(eni, space.socket_fd, inner.index) &&
           has_default_route(eni, space.socket_fd, inner.index);
}

// ---- the interface of this module --------------------------------------------------------

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
    net_guard_remove(net, id);
    return net_space_unmount(net->netns_dir, id, err);
}

int net_eni_create(struct net *net, const struct net_eni *from, struct arena *arena,
                   struct text *out_path, struct err *err)
{
    struct net_plug eni;
    int rc = net_eni_parse(from, &eni, err);
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
    bool there = rc == 0 && net_space_mounted(net->netns_dir_fd, eni.id);
    bool whole = there && is_whole(net, &eni, router);
    if (there && !whole) {
        rc = destroy_locked(net, eni.id, err);
    }
    // Before its link is there: what it says first is to be heard, and nothing without rules.
    if (rc == 0) {
        rc = net_guard_add(locked, router, from, &eni, err);
    }
    if (rc == 0 && !whole) {
        rc = net_plug_make(net, &eni, router, err);
        if (rc != 0) {
            net_guard_remove(locked, eni.id);
        }
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
