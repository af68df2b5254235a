#include "base/text.h"
#include "net/net_fault_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <string.h>

/*
 * A fault's table. A blackhole:
 *
 *   table inet berth-fault-INSTANCE-egress-tcp-443-TASK {
 *     chain meet { type filter hook output priority filter;
 *       meta l4proto tcp th dport 443 goto fault }
 *     chain fault { (who is spared) return ... drop }
 *   }
 *
 * Loss and latency:
 *
 *   table inet berth-fault-INSTANCE-loss-TASK {
 *     chain meet { type filter hook output priority filter;
 *       (who is spared) return ... (sources) goto fault ... }
 *     chain fault { symhash mod 100 < FLOWS numgen random mod 100 < LOSS meta priority set CLASS }
 *   }
 *
 * A packet of that class is delayed by the link's queueing discipline. One that is to be lost must
 * not be dropped at this hook, nor at the one where it leaves: its sender would be told, and a
 * network never tells. It is handed to loopback instead, which throws away what is addressed to
 * another's hardware:
 *
 *   table netdev berth-fault-INSTANCE-loss-TASK {
 *     chain by-eth0 { type filter hook egress device eth0 priority filter;
 *       meta priority CLASS fwd to lo }
 *   }
 *
 * Packets are chosen at the hook output so that those of others, which a host passes on, are none.
 */

#define CHAIN_MEET "meet"
#define CHAIN_FAULT "fault"
#define LOOPBACK_INDEX 1u // of every namespace
#define LOST_CLASS 2u     // beside the one that is late
#define LEAVE_PREFIX "by-"

static const struct net_nft_payload source_port = {NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2};
static const struct net_nft_payload destination_port = {NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2};

/** A transaction that writes one fault. */
struct writer {
    struct net_nft nft;
    struct net_nft_table table;
    const struct fault_rules *rules;
};

static void begin(struct writer *writer, const char *chain, struct net_nft_rule *rule)
{
    net_nft_rule(&writer->nft, &writer->table, chain, rule);
}

static void end(struct writer *writer, struct net_nft_rule *rule)
{
    net_nft_rule_end(&writer->nft, rule);
}

// Go on with packets from or to a range.
static void match_range(struct net_nft_rule *rule, bool source, const struct net_fault_range *range)
{
    uint32_t at = NET_NFT_REGISTER(0);
    const uint8_t family = range->ipv6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
    const uint32_t size = range->ipv6 ? 16 : 4;
    const uint32_t first = range->ipv6 ? 8 : 12; // of the source in the header
    uint8_t mask[16] = {0};
    uint8_t value[16] = {0};
    for (uint32_t bit = 0; bit < range->prefix && bit < size * 8; bit++) {
        mask[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
    }
    for (uint32_t i = 0; i < size; i++) {
        value[i] = range->address[i] & mask[i];
    }
    net_nft_meta(rule, at, NFT_META_NFPROTO);
    net_nft_compare(rule, at, NFT_CMP_EQ, &family, sizeof(family));
    if (range->prefix == 0) {
        return;
    }
    const struct net_nft_payload address = {NFT_PAYLOAD_NETWORK_HEADER,
                                            source ? first : first + size, size};
    net_nft_load(rule, at, address);
    if (range->prefix < size * 8) {
        net_nft_mask(rule, at, mask, size);
    }
    net_nft_compare(rule, at, NFT_CMP_EQ, value, size);
}

static void match_port(struct net_nft_rule *rule, uint8_t protocol,
                       const struct net_nft_payload *where, uint16_t port)
{
    uint32_t at = NET_NFT_REGISTER(0);
    const uint16_t wire_port = htons(port);
    net_nft_meta(rule, at, NFT_META_L4PROTO);
    net_nft_compare(rule, at, NFT_CMP_EQ, &protocol, sizeof(protocol));
    net_nft_load(rule, at, *where);
    net_nft_compare(rule, at, NFT_CMP_EQ, &wire_port, sizeof(wire_port));
}

static void spare(struct writer *writer, const char *chain, bool source,
                  const struct net_fault_range *range)
{
    struct net_nft_rule rule;
    begin(writer, chain, &rule);
    match_range(&rule, source, range);
    net_nft_verdict(&rule, NFT_RETURN);
    end(writer, &rule);
}

// What goes there, and what comes back.
static void spare_server(struct writer *writer, const char *chain,
                         const struct net_fault_server *server)
{
    for (int source = 0; source < 2; source++) {
        struct net_nft_rule rule;
        begin(writer, chain, &rule);
        match_range(&rule, source == 1, &server->address);
        match_port(&rule, IPPROTO_TCP, source == 1 ? &source_port : &destination_port,
                   server->port);
        net_nft_verdict(&rule, NFT_RETURN);
        end(writer, &rule);
    }
}

// The way of tasks to their agent, and the agent's own to its server.
static void spare_agent(struct writer *writer, const char *chain)
{
    static const struct net_fault_range endpoint = {.prefix = 32, .address = {169, 254, 170, 2}};
    static const struct net_fault_range loopback = {.prefix = 8, .address = {127}};
    if (!writer->rules->on_host) {
        spare(writer, chain, false, &endpoint);
        spare(writer, chain, true, &endpoint);
        return;
    }
    const struct net_fault_server endpoints = {loopback, NET_ENDPOINT_PORT};
    spare_server(writer, chain, &endpoints);
    for (size_t i = 0; i < writer->rules->place->server_count; i++) {
        spare_server(writer, chain, &writer->rules->place->servers[i]);
    }
}

static void spare_all(struct writer *writer, const char *chain)
{
    const struct net_fault *fault = writer->rules->fault;
    bool ingress = fault->kind == NET_FAULT_BLACKHOLE && !fault->egress;
    spare_agent(writer, chain);
    for (size_t i = 0; i < fault->spared_count; i++) {
        spare(writer, chain, false, &fault->spared[i]);
        // ECS's agent looks at where a packet goes even when it comes in; its documentation means
        // who sends it.
        if (ingress) {
            spare(writer, chain, true, &fault->spared[i]);
        }
    }
}

static void write_blackhole(struct writer *writer)
{
    const struct net_fault *fault = writer->rules->fault;
    struct net_nft_rule rule;
    begin(writer, CHAIN_MEET, &rule);
    match_port(&rule, fault->udp ? IPPROTO_UDP : IPPROTO_TCP, &destination_port, fault->port);
    net_nft_goto(&rule, CHAIN_FAULT);
    end(writer, &rule);
    spare_all(writer, CHAIN_FAULT);
    begin(writer, CHAIN_FAULT, &rule);
    net_nft_verdict(&rule, NF_DROP);
    end(writer, &rule);
}

static uint32_t class_of(const struct fault_rules *rules)
{
    return rules->fault->kind == NET_FAULT_LATENCY ? fault_queue_class(rules->handle)
                                                   : rules->handle << 16 | LOST_CLASS;
}

static void write_choice(struct writer *writer)
{
    const struct net_fault *fault = writer->rules->fault;
    const uint32_t class = class_of(writer->rules);
    uint32_t at = NET_NFT_REGISTER(0);
    struct net_nft_rule rule;
    spare_all(writer, CHAIN_MEET);
    for (size_t i = 0; i < fault->source_count; i++) {
        begin(writer, CHAIN_MEET, &rule);
        match_range(&rule, false, &fault->sources[i]);
        net_nft_goto(&rule, CHAIN_FAULT);
        end(writer, &rule);
    }
    begin(writer, CHAIN_FAULT, &rule);
    net_nft_some_flows(&rule, at, fault->flows_percent);
    if (fault->kind == NET_FAULT_LOSS) {
        net_nft_some_packets(&rule, at, fault->loss_percent);
    }
    net_nft_immediate(&rule, at, &class, sizeof(class));
    net_nft_meta_set(&rule, at, NFT_META_PRIORITY);
    end(writer, &rule);
}

// Where they leave, packets that are to be lost.
static void write_loss(struct writer *writer)
{
    const uint32_t class = class_of(writer->rules);
    const uint32_t loopback = LOOPBACK_INDEX;
    uint32_t at = NET_NFT_REGISTER(0);
    writer->table.family = NFPROTO_NETDEV;
    net_nft_table(&writer->nft, &writer->table, true);
    for (size_t i = 0; i < writer->rules->links->count; i++) {
        const char *link = writer->rules->links->items[i].name;
        const struct net_nft_hook hook = {
            .number = NF_NETDEV_EGRESS, .priority = NF_IP_PRI_FILTER, .device = link};
        struct net_nft_rule rule;
        char chain[sizeof(LEAVE_PREFIX) + NET_LINK_NAME_SIZE];
        snprintf(chain, sizeof(chain), LEAVE_PREFIX "%s", link);
        net_nft_chain(&writer->nft, &writer->table, chain, &hook);
        begin(writer, chain, &rule);
        net_nft_meta(&rule, at, NFT_META_PRIORITY);
        net_nft_compare(&rule, at, NFT_CMP_EQ, &class, sizeof(class));
        net_nft_immediate(&rule, at, &loopback, sizeof(loopback));
        net_nft_forward(&rule, at);
        end(writer, &rule);
    }
}

int fault_rules_add(int filter_fd, const struct fault_rules *rules, struct err *err)
{
    struct writer writer = {.table = {NFPROTO_INET, rules->table}, .rules = rules};
    bool ingress = rules->fault->kind == NET_FAULT_BLACKHOLE && !rules->fault->egress;
    const struct net_nft_hook hook = {.number = ingress ? NF_INET_LOCAL_IN : NF_INET_LOCAL_OUT,
                                      .priority = NF_IP_PRI_FILTER};
    int number = 0;
    net_nft_table(&writer.nft, &writer.table, true);
    net_nft_chain(&writer.nft, &writer.table, CHAIN_FAULT, NULL);
    net_nft_chain(&writer.nft, &writer.table, CHAIN_MEET, &hook);
    if (rules->fault->kind == NET_FAULT_BLACKHOLE) {
        write_blackhole(&writer);
    } else {
        write_choice(&writer);
    }
    if (rules->fault->kind == NET_FAULT_LOSS) {
        write_loss(&writer);
    }
    int rc = net_nft_commit(filter_fd, &writer.nft, &number, err);
    net_nft_deinit(&writer.nft);
    if (rc == 0 && (number == ENOENT || number == EOPNOTSUPP)) {
        return err_set(err, ERR_UNSUPPORTED,
                       "this host's kernel lacks a part of the packet filter: nft_numgen, nft_hash "
                       "or nft_fwd_netdev");
    }
    return rc == 0 && number != 0 ? err_sys(err, number, "writing the rules of a fault") : rc;
}

static int remove_table(int filter_fd, const struct net_nft_table *table, struct err *err)
{
    AUTO(net_nft_deinit) struct net_nft nft = {0};
    int number = 0;
    net_nft_table_delete(&nft, table);
    int rc = net_nft_commit(filter_fd, &nft, &number, err);
    return rc == 0 && number != 0 && number != ENOENT
               ? err_sys(err, number, "removing the rules of a fault")
               : rc;
}

// Each by itself: together, one that somebody else has removed would keep the other. The first goes
// last, as net_fault.c looks for it.
int fault_rules_remove(int filter_fd, const char *table, bool loss, struct err *err)
{
    const struct net_nft_table first = {NFPROTO_INET, table};
    const struct net_nft_table second = {NFPROTO_NETDEV, table};
    int rc = loss ? remove_table(filter_fd, &second, err) : 0;
    return rc == 0 ? remove_table(filter_fd, &first, err) : rc;
}
