#include "net/net_internal.h"
#include "net/net_nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <stdio.h>
#include <string.h>

/*
 * What leaves an interface bears its own addresses, as on AWS: a task has CAP_NET_RAW as it has on
 * Docker, and could otherwise speak as its neighbours, and get what is sent to them. net_filter.c
 * makes the table with a map of ports; each interface has a chain in it, by the name of its link.
 *
 *   table bridge berth-INSTANCE {
 *     map ports { type ifname : verdict; elements = { v-0123456789ab : jump v-0123456789ab } }
 *     chain prerouting { type filter hook prerouting priority -300; iifname vmap @ports }
 *     chain v-0123456789ab {
 *       ether saddr != 0a:... drop
 *       ether type ip ip saddr 172.31.0.11 accept
 *       ether type arp arp saddr ether 0a:... arp saddr ip 172.31.0.11 accept
 *       drop
 *     }
 *   }
 */

static const struct nft_field ether_source = {NFT_PAYLOAD_LL_HEADER, 6, 6};
static const struct nft_field ether_type = {NFT_PAYLOAD_LL_HEADER, 12, 2};
static const struct nft_field ip_source = {NFT_PAYLOAD_NETWORK_HEADER, 12, 4};
static const struct nft_field arp_hardware = {NFT_PAYLOAD_NETWORK_HEADER, 8, 6};
static const struct nft_field arp_address = {NFT_PAYLOAD_NETWORK_HEADER, 14, 4};

/** The names that every message bears. */
struct port {
    char table[NET_LINK_NAME_SIZE];
    const char *link;
};

static struct nl_msg *about(struct nft_batch *batch, const struct port *port, uint8_t type,
                            uint16_t flags)
{
    struct nl_msg *made = nft_batch_message(batch, type, flags);
    bool chain = type == NFT_MSG_NEWCHAIN || type == NFT_MSG_DELCHAIN;
    nla_put_string(made, chain ? NFTA_CHAIN_TABLE : NFTA_RULE_TABLE, port->table);
    nla_put_string(made, chain ? NFTA_CHAIN_NAME : NFTA_RULE_CHAIN, port->link);
    return made;
}

static void add_about(struct nft_batch *batch, const struct port *port, uint8_t type,
                      uint16_t flags)
{
    nft_batch_add(batch, about(batch, port, type, flags));
}

static void add_rule(struct nft_batch *batch, const struct port *port, const struct net_plug *plug,
                     uint16_t type)
{
    const uint32_t address = htonl(plug->address);
    const uint16_t wire_type = htons(type);
    struct nl_msg *rule =
        about(batch, port, NFT_MSG_NEWRULE, (uint16_t)(NLM_F_CREATE | NLM_F_APPEND));
    struct nlattr *expressions = nla_nest_start(rule, NFTA_RULE_EXPRESSIONS);
    nft_match(rule, &ether_type, &wire_type);
    if (type == ETHERTYPE_ARP) {
        nft_match(rule, &arp_hardware, plug->mac);
    }
    nft_match(rule, type == ETHERTYPE_ARP ? &arp_address : &ip_source, &address);
    nft_end_with(rule, NF_ACCEPT);
    nla_nest_end(rule, expressions);
    nft_batch_add(batch, rule);
}

static void add_drop(struct nft_batch *batch, const struct port *port, const uint8_t *unless_mac)
{
    struct nl_msg *rule =
        about(batch, port, NFT_MSG_NEWRULE, (uint16_t)(NLM_F_CREATE | NLM_F_APPEND));
    struct nlattr *expressions = nla_nest_start(rule, NFTA_RULE_EXPRESSIONS);
    if (unless_mac != NULL) {
        nft_match_other(rule, &ether_source, unless_mac);
    }
    nft_end_with(rule, NF_DROP);
    nla_nest_end(rule, expressions);
    nft_batch_add(batch, rule);
}

// The key is the link's name, as long as the kernel has them; without a verdict for removing it.
static void add_element(struct nft_batch *batch, const struct port *port, bool remove)
{
    char name[IFNAMSIZ] = "";
    IGNORE(text_copy(text_of(port->link), name, sizeof(name)), "names of links are no longer");
    struct nl_msg *made = nft_batch_message(batch, remove ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM,
                                            (uint16_t)(remove ? 0 : NLM_F_CREATE));
    nla_put_string(made, NFTA_SET_ELEM_LIST_TABLE, port->table);
    nla_put_string(made, NFTA_SET_ELEM_LIST_SET, NET_GUARD_MAP);
    struct nlattr *elements = nla_nest_start(made, NFTA_SET_ELEM_LIST_ELEMENTS);
    struct nlattr *element = nla_nest_start(made, NFTA_LIST_ELEM);
    struct nlattr *key = nla_nest_start(made, NFTA_SET_ELEM_KEY);
    nla_put(made, NFTA_DATA_VALUE, sizeof(name), name);
    nla_nest_end(made, key);
    if (!remove) {
        nft_put_verdict(made, NFTA_SET_ELEM_DATA, NFT_JUMP, port->link);
    }
    nla_nest_end(made, element);
    nla_nest_end(made, elements);
    nft_batch_add(batch, made);
}

static int commit(const struct net_router *router, struct nft_batch *batch, int ignored,
                  struct err *err)
{
    int back = -1;
    int number = 0;
    int rc = net_namespace_enter(router->space.fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    rc = nft_batch_commit(batch, &number, err);
    net_namespace_leave(back);
    if (rc == 0 && number != 0 && number != ignored) {
        rc = err_sys(err, number, "setting the packet filter of a port");
    }
    return rc;
}

static struct port port_of(const char *instance, const char *link)
{
    struct port port = {.link = link};
    int size = snprintf(port.table, sizeof(port.table), "berth-%s", instance);
    ASSERT(size > 0 && (size_t)size < sizeof(port.table));
    return port;
}

int net_guard_add(const char *instance, const struct net_router *router,
                  const struct net_plug *plug, struct err *err)
{
    const struct port port = port_of(instance, plug->link);
    AUTO(nft_batch_deinit) struct nft_batch batch = {.family = NFPROTO_BRIDGE};
    add_about(&batch, &port, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    add_about(&batch, &port, NFT_MSG_DELRULE, 0); // all that it has
    add_drop(&batch, &port, plug->mac);
    add_rule(&batch, &port, plug, ETHERTYPE_IP);
    add_rule(&batch, &port, plug, ETHERTYPE_ARP);
    add_drop(&batch, &port, NULL);
    add_element(&batch, &port, false);
    return commit(router, &batch, 0, err);
}

int net_guard_remove(const char *instance, const struct net_router *router, const char *link,
                     struct err *err)
{
    const struct port port = port_of(instance, link);
    AUTO(nft_batch_deinit) struct nft_batch batch = {.family = NFPROTO_BRIDGE};
    add_element(&batch, &port, true);
    add_about(&batch, &port, NFT_MSG_DELRULE, 0);
    add_about(&batch, &port, NFT_MSG_DELCHAIN, 0);
    return commit(router, &batch, ENOENT, err);
}
