#include "net/net_guard.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>
#include <linux/netfilter_ipv4.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 32
#define CHAIN_SIZE 24

#define MAP_GATE "gate"
#define MAP_IN "in"
#define MAP_OUT "out"
#define CHAIN_GATE "gate"
#define CHAIN_FORWARD "forward"

// In front of everything that looks at bridged packets; behind the router's own rules.
#define PRIORITY_GATE (-300)
#define PRIORITY_GROUPS 10

// Offsets within the headers of Ethernet, ARP for Ethernet and IPv4, and IPv4.
#define ETHER_DESTINATION 0
#define ETHER_SOURCE 6
#define ARP_SENDER_MAC 8
#define ARP_SENDER_ADDRESS 14
#define IP_SOURCE 12
#define IP_DESTINATION 16

// Bits of a connection's state: established, and related to an established one.
#define CT_GOES_ON (2u | 4u)

/** A key of the gate, in whole registers. */
struct gate_key {
    char link[NET_LINK_NAME_SIZE];
    uint8_t mac[8]; // six, and two of nothing
    uint8_t address[4];
};
_Static_assert(sizeof(struct gate_key) == 28, "seven registers");
#define GATE_MAC NET_NFT_REGISTER(4)
#define GATE_ADDRESS NET_NFT_REGISTER(6)
#define GATE_FOUND NET_NFT_REGISTER(8)

/** Names of the two tables. */
struct tables {
    char gate_name[NAME_SIZE];
    char groups_name[NAME_SIZE];
    struct net_nft_table gate;
    struct net_nft_table groups;
};

static void tables_init(struct tables *tables, const char *instance)
{
    snprintf(tables->gate_name, sizeof(tables->gate_name), "berth-%s", instance);
    snprintf(tables->groups_name, sizeof(tables->groups_name), "berth-groups-%s", instance);
    tables->gate = (struct net_nft_table){NFPROTO_BRIDGE, tables->gate_name};
    tables->groups = (struct net_nft_table){NFPROTO_IPV4, tables->groups_name};
}

// ---- the gate -----------------------------------------------------------------------------

static void load_ethertype(struct net_nft_rule *rule, uint16_t type)
{
    uint32_t at = NET_NFT_REGISTER(0);
    const uint16_t wire = htons(type);
    net_nft_meta(rule, at, NFT_META_PROTOCOL);
    net_nft_compare(rule, at, NFT_CMP_EQ, &wire, sizeof(wire));
}

static void load_gate_key(struct net_nft_rule *rule, struct net_nft_payload mac,
                          struct net_nft_payload address)
{
    net_nft_meta(rule, NET_NFT_REGISTER(0), NFT_META_IIFNAME);
    net_nft_load(rule, GATE_MAC, mac);
    net_nft_load(rule, GATE_ADDRESS, address);
}

static const struct net_nft_payload ether_source = {NFT_PAYLOAD_LL_HEADER, ETHER_SOURCE, 6};
static const struct net_nft_payload ether_destination = {NFT_PAYLOAD_LL_HEADER, ETHER_DESTINATION,
                                                         6};
static const struct net_nft_payload arp_mac = {NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER_MAC, 6};
static const struct net_nft_payload arp_address = {NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER_ADDRESS,
                                                   4};
static const struct net_nft_payload ip_source = {NFT_PAYLOAD_NETWORK_HEADER, IP_SOURCE, 4};
static const struct net_nft_payload ip_destination = {NFT_PAYLOAD_NETWORK_HEADER, IP_DESTINATION,
                                                      4};

static void write_gate(const struct net_nft_table *table, struct net_nft *nft)
{
    const struct net_nft_hook hook = {NF_BR_PRE_ROUTING, PRIORITY_GATE, true};
    const struct net_nft_set map = {
        .name = MAP_GATE,
        .key_type = NET_NFT_CONCAT(NET_NFT_IFNAME, NET_NFT_ETHER, NET_NFT_IPV4),
        .key_size = sizeof(struct gate_key),
        .data_type = NET_NFT_ETHER,
        .data_size = 6,
    };
    net_nft_set(nft, table, &map);
    net_nft_chain(nft, table, CHAIN_GATE, &hook);

    // An ARP packet tells of the sender alone, in both its headers.
    struct net_nft_rule rule;
    net_nft_rule(nft, table, CHAIN_GATE, &rule);
    load_ethertype(&rule, ETHERTYPE_ARP);
    load_gate_key(&rule, ether_source, arp_address);
    net_nft_map(&rule, NET_NFT_REGISTER(0), MAP_GATE, GATE_FOUND);
    net_nft_load(&rule, GATE_MAC, arp_mac);
    net_nft_map(&rule, NET_NFT_REGISTER(0), MAP_GATE, GATE_FOUND);
    net_nft_verdict(&rule, NF_ACCEPT);
    net_nft_rule_end(nft, &rule);

    // A packet with the sender's own addresses goes to the router, whoever it was sent to.
    const uint8_t to_us = PACKET_HOST;
    net_nft_rule(nft, table, CHAIN_GATE, &rule);
    load_ethertype(&rule, ETHERTYPE_IP);
    load_gate_key(&rule, ether_source, ip_source);
    net_nft_map(&rule, NET_NFT_REGISTER(0), MAP_GATE, GATE_FOUND);
    net_nft_store(&rule, GATE_FOUND, ether_destination, 0);
    net_nft_immediate(&rule, NET_NFT_REGISTER(0), &to_us, sizeof(to_us));
    net_nft_meta_set(&rule, NET_NFT_REGISTER(0), NFT_META_PKTTYPE);
    net_nft_verdict(&rule, NF_ACCEPT);
    net_nft_rule_end(nft, &rule);
}

// ---- the groups ---------------------------------------------------------------------------

static void class_chain(const struct guard_class *class, bool in, char out_name[CHAIN_SIZE])
{
    snprintf(out_name, CHAIN_SIZE, "%s-%u", in ? "in" : "out", class->number);
}

// By address straight to a chain: listing what goes through two maps is more than the nft of Debian
// 12 can do, which ends with an assertion.
static void write_maps(const struct net_nft_table *table, struct net_nft *nft)
{
    static const char *const names[] = {MAP_IN, MAP_OUT};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct net_nft_set jump = {
            .name = names[i],
            .key_type = NET_NFT_IPV4,
            .key_size = sizeof(uint32_t),
            .data_type = NET_NFT_VERDICT,
        };
        net_nft_set(nft, table, &jump);
    }
}

static void jump_by_address(const struct net_nft_table *table, struct net_nft_payload address,
                            const char *map, struct net_nft *nft)
{
    uint32_t at = NET_NFT_REGISTER(0);
    struct net_nft_rule rule;
    net_nft_rule(nft, table, CHAIN_FORWARD, &rule);
    net_nft_load(&rule, at, address);
    net_nft_map(&rule, at, map, NFT_REG_VERDICT);
    net_nft_rule_end(nft, &rule);
}

static void write_forward(const struct net_nft_table *table, struct net_range cidr,
                          struct net_nft *nft)
{
    const struct net_nft_hook hook = {NF_INET_FORWARD, PRIORITY_GROUPS, false};
    uint32_t at = NET_NFT_REGISTER(0);
    net_nft_chain(nft, table, CHAIN_FORWARD, &hook);

    const uint32_t goes_on = CT_GOES_ON;
    const uint32_t none = 0;
    struct net_nft_rule rule;
    net_nft_rule(nft, table, CHAIN_FORWARD, &rule);
    net_nft_ct_state(&rule, at);
    net_nft_mask(&rule, at, &goes_on, sizeof(goes_on));
    net_nft_compare(&rule, at, NFT_CMP_NEQ, &none, sizeof(none));
    net_nft_verdict(&rule, NF_ACCEPT);
    net_nft_rule_end(nft, &rule);

    jump_by_address(table, ip_source, MAP_OUT, nft);
    jump_by_address(table, ip_destination, MAP_IN, nft);

    // What is in the VPC and no interface here hears nothing.
    const uint32_t wire = htonl(cidr.address);
    const uint32_t mask = htonl(cidr.prefix == 0 ? 0 : UINT32_MAX << (32 - cidr.prefix));
    net_nft_rule(nft, table, CHAIN_FORWARD, &rule);
    net_nft_load(&rule, at, ip_destination);
    net_nft_mask(&rule, at, &mask, sizeof(mask));
    net_nft_compare(&rule, at, NFT_CMP_EQ, &wire, sizeof(wire));
    net_nft_verdict(&rule, NF_DROP);
    net_nft_rule_end(nft, &rule);
}

void net_guard_write_set(const struct guard_group *group, const char *instance, struct net_nft *nft)
{
    struct tables tables;
    tables_init(&tables, instance);
    const struct net_nft_set set = {
        .name = group->id, .key_type = NET_NFT_IPV4, .key_size = sizeof(uint32_t)};
    net_nft_set(nft, &tables.groups, &set);
}

// An ingress rule that fits ends the way of the packet through this table; one of egress leads back
// to where the receiver has a say.
static void write_chain(const struct guard_class *class, bool in, const struct net_nft_table *table,
                        const char *chain, struct net_nft *nft)
{
    int32_t pass = in ? NF_ACCEPT : NFT_RETURN;
    struct net_nft_rule rule;
    for (size_t i = 0; i < class->group_count; i++) {
        const struct guard_group *group = class->groups[i];
        if (group->rules == NULL && group->open) {
            net_nft_rule(nft, table, chain, &rule);
            net_nft_verdict(&rule, pass);
            net_nft_rule_end(nft, &rule);
        }
        for (size_t k = 0; group->rules != NULL && k < group->rules->rules.count; k++) {
            if (group->rules->rules.items[k].egress != in) {
                net_guard_write_rule(&group->rules->rules.items[k], table, chain, pass, nft);
            }
        }
    }
    net_nft_rule(nft, table, chain, &rule);
    net_nft_verdict(&rule, NF_DROP);
    net_nft_rule_end(nft, &rule);
}

void net_guard_write_class(const struct guard_class *class, bool anew, const char *instance,
                           struct net_nft *nft)
{
    struct tables tables;
    tables_init(&tables, instance);
    for (int in = 0; in < 2; in++) {
        char chain[CHAIN_SIZE];
        class_chain(class, in == 1, chain);
        if (anew) {
            net_nft_chain_flush(nft, &tables.groups, chain);
        } else {
            net_nft_chain(nft, &tables.groups, chain, NULL);
        }
        write_chain(class, in == 1, &tables.groups, chain, nft);
    }
}

void net_guard_write_class_gone(const struct guard_class *class, const char *instance,
                                struct net_nft *nft)
{
    struct tables tables;
    tables_init(&tables, instance);
    for (int in = 0; in < 2; in++) {
        char chain[CHAIN_SIZE];
        class_chain(class, in == 1, chain);
        net_nft_chain_flush(nft, &tables.groups, chain);
        net_nft_chain_delete(nft, &tables.groups, chain);
    }
}

// ---- interfaces ---------------------------------------------------------------------------

void net_guard_write_member(const struct guard_member *member, bool add, const char *instance,
                            struct net_nft *nft)
{
    struct tables tables;
    tables_init(&tables, instance);
    const uint32_t address = htonl(member->address);
    uint8_t bridge[6];
    net_bridge_mac(member->gateway, bridge);
    struct gate_key key = {0};
    snprintf(key.link, sizeof(key.link), "%s", member->link);
    memcpy(key.mac, member->mac, sizeof(member->mac));
    memcpy(key.address, &address, sizeof(address));
    const struct net_nft_element gate = {
        .key = &key, .key_size = sizeof(key), .data = bridge, .data_size = sizeof(bridge)};
    const struct net_nft_element plain = {.key = &address, .key_size = sizeof(address)};
    net_nft_element(nft, &tables.gate, MAP_GATE, add, &gate);
    for (int in = 0; in < 2; in++) {
        char chain[CHAIN_SIZE];
        class_chain(member->class, in == 1, chain);
        const struct net_nft_element jump = {
            .key = &address, .key_size = sizeof(address), .chain = chain};
        net_nft_element(nft, &tables.groups, in == 1 ? MAP_IN : MAP_OUT, add, &jump);
    }
    for (size_t i = 0; i < member->class->group_count; i++) {
        net_nft_element(nft, &tables.groups, member->class->groups[i]->id, add, &plain);
    }
}

// ---- all ----------------------------------------------------------------------------------

static void replace(const struct net_nft_table *table, struct net_nft *nft)
{
    // Made before it is deleted, so that deleting succeeds whether or not it was there.
    net_nft_table(nft, table, false);
    net_nft_table_delete(nft, table);
    net_nft_table(nft, table, false);
}

void net_guard_write(const struct net_guard *guard, const char *instance, struct net_nft *nft)
{
    struct tables tables;
    tables_init(&tables, instance);
    replace(&tables.gate, nft);
    write_gate(&tables.gate, nft);
    replace(&tables.groups, nft);
    write_maps(&tables.groups, nft);
    for (const struct guard_group *group = guard->groups; group != NULL; group = group->next) {
        net_guard_write_set(group, instance, nft);
    }
    for (const struct guard_class *class = guard->classes; class != NULL; class = class->next) {
        net_guard_write_class(class, false, instance, nft);
    }
    write_forward(&tables.groups, guard->cidr, nft);
    for (const struct guard_member *member = guard->members; member != NULL;
         member = member->next) {
        net_guard_write_member(member, true, instance, nft);
    }
}
