#include "base/alloc.h"
#include "net/net_internal.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

/*
 * A router's bridges, one for each subnet that has interfaces on this host.
 */

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
        rc = net_set_address(socket_fd, link.index, gateway, eni->prefix_length, err);
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
