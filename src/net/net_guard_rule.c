#include "net/net_guard.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <netinet/in.h>

// Offsets within the headers.
#define IP_SOURCE 12
#define IP_DESTINATION 16
#define PORT_DESTINATION 2
#define ICMP_TYPE 0
#define ICMP_CODE 1

#define ANY (-1)
#define PORT_LAST 65535

// The other side of the conversation: who sends to the interface, or whom it sends to.
static void match_peer(const struct session_security_group_rule *from, struct net_range range,
                       struct net_nft_rule *rule)
{
    uint32_t at = NET_NFT_REGISTER(0);
    bool group = !text_empty(from->group);
    if (!group && range.prefix == 0) {
        return;
    }
    const struct net_nft_payload address = {
        NFT_PAYLOAD_NETWORK_HEADER, from->egress ? IP_DESTINATION : IP_SOURCE, sizeof(uint32_t)};
    net_nft_load(rule, at, address);
    if (group) {
        char name[NET_ID_MAX + 1];
        IGNORE(text_copy(from->group, name, sizeof(name)), "ids were checked");
        net_nft_in_set(rule, at, name, true);
        return;
    }
    const uint32_t wire = htonl(range.address);
    const uint32_t mask = htonl(UINT32_MAX << (32 - range.prefix));
    if (range.prefix < 32) {
        net_nft_mask(rule, at, &mask, sizeof(mask));
    }
    net_nft_compare(rule, at, NFT_CMP_EQ, &wire, sizeof(wire));
}

static void match_protocol(uint8_t protocol, struct net_nft_rule *rule)
{
    uint32_t at = NET_NFT_REGISTER(0);
    net_nft_meta(rule, at, NFT_META_L4PROTO);
    net_nft_compare(rule, at, NFT_CMP_EQ, &protocol, sizeof(protocol));
}

static void match_ports(int32_t first, int32_t last, struct net_nft_rule *rule)
{
    uint32_t at = NET_NFT_REGISTER(0);
    if (first <= 0 && last >= PORT_LAST) {
        return;
    }
    const struct net_nft_payload port = {NFT_PAYLOAD_TRANSPORT_HEADER, PORT_DESTINATION,
                                         sizeof(uint16_t)};
    const uint16_t from = htons((uint16_t)first);
    const uint16_t to = htons((uint16_t)last);
    net_nft_load(rule, at, port);
    if (first == last) {
        net_nft_compare(rule, at, NFT_CMP_EQ, &from, sizeof(from));
        return;
    }
    net_nft_compare(rule, at, NFT_CMP_GTE, &from, sizeof(from));
    net_nft_compare(rule, at, NFT_CMP_LTE, &to, sizeof(to));
}

static void match_byte(uint32_t offset, int32_t value, struct net_nft_rule *rule)
{
    if (value == ANY) {
        return;
    }
    uint32_t at = NET_NFT_REGISTER(0);
    const uint8_t byte = (uint8_t)value;
    const struct net_nft_payload where = {NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof(byte)};
    net_nft_load(rule, at, where);
    net_nft_compare(rule, at, NFT_CMP_EQ, &byte, sizeof(byte));
}

static void match_traffic(const struct session_security_group_rule *from, struct net_nft_rule *rule)
{
    if (from->protocol == ANY) {
        return;
    }
    match_protocol((uint8_t)from->protocol, rule);
    if (from->protocol == IPPROTO_TCP || from->protocol == IPPROTO_UDP) {
        match_ports(from->has_from_port ? from->from_port : 0,
                    from->has_to_port ? from->to_port : PORT_LAST, rule);
    } else if (from->protocol == IPPROTO_ICMP) {
        match_byte(ICMP_TYPE, from->has_from_port ? from->from_port : ANY, rule);
        match_byte(ICMP_CODE, from->has_to_port ? from->to_port : ANY, rule);
    }
}

void net_guard_write_rule(const struct session_security_group_rule *from,
                          const struct net_nft_table *table, const char *chain, int32_t verdict,
                          struct net_nft *nft)
{
    struct net_range range = {0};
    bool group = !text_empty(from->group);
    // What this program does not understand lets nothing through.
    if ((group && !net_id_valid(from->group)) ||
        (!group && net_parse_range(from->cidr, &range) != 0) || from->protocol < ANY ||
        from->protocol > UINT8_MAX) {
        return;
    }
    struct net_nft_rule rule;
    net_nft_rule(nft, table, chain, &rule);
    match_peer(from, range, &rule);
    match_traffic(from, &rule);
    net_nft_verdict(&rule, verdict);
    net_nft_rule_end(nft, &rule);
}
