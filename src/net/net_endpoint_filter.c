#include "net/net_internal.h"
#include "net/net_nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>

/*
 * The rules that lead a task to its endpoints:
 *
 *   table ip berth-endpoint {
 *     chain output {
 *       type filter hook output priority -300; policy accept;
 *       ip daddr 169.254.170.2 tcp dport 80 tcp dport set 51679
 *       ip saddr 169.254.170.2 tcp sport 51679 tcp sport set 80
 *     }
 *   }
 *
 * Both ways of a connection leave here, the agent's answers too, so both are rewritten on their way
 * out.
 */

#define CHAIN "output"
#define PRIORITY_BEFORE_ALL (-300)
#define PORT_OF_TASKS 80
#define TCP_CHECKSUM 16

static const struct net_nft_table table = {NFPROTO_IPV4, "berth-endpoint"};
static const struct net_nft_payload ip_source = {NFT_PAYLOAD_NETWORK_HEADER, 12, 4};
static const struct net_nft_payload ip_destination = {NFT_PAYLOAD_NETWORK_HEADER, 16, 4};
static const struct net_nft_payload tcp_source = {NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2};
static const struct net_nft_payload tcp_destination = {NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2};

/** What a rule looks for and what it puts in its place. */
struct exchange {
    const struct net_nft_payload *address;
    const struct net_nft_payload *port;
    uint16_t from;
    uint16_t to;
};

static void add_rule(struct net_nft *nft, uint32_t address, const struct exchange *exchange)
{
    uint32_t at = NET_NFT_REGISTER(0);
    const uint32_t wire_address = htonl(address);
    const uint16_t from = htons(exchange->from);
    const uint16_t to = htons(exchange->to);
    const uint8_t tcp = IPPROTO_TCP;
    struct net_nft_rule rule;
    net_nft_rule(nft, &table, CHAIN, &rule);
    net_nft_load(&rule, at, *exchange->address);
    net_nft_compare(&rule, at, NFT_CMP_EQ, &wire_address, sizeof(wire_address));
    net_nft_meta(&rule, at, NFT_META_L4PROTO);
    net_nft_compare(&rule, at, NFT_CMP_EQ, &tcp, sizeof(tcp));
    net_nft_load(&rule, at, *exchange->port);
    net_nft_compare(&rule, at, NFT_CMP_EQ, &from, sizeof(from));
    net_nft_immediate(&rule, at, &to, sizeof(to));
    net_nft_store(&rule, at, *exchange->port, TCP_CHECKSUM);
    net_nft_rule_end(nft, &rule);
}

int net_filter_endpoint(uint32_t address, struct err *err)
{
    const struct exchange ways[] = {
        {&ip_destination, &tcp_destination, PORT_OF_TASKS, NET_ENDPOINT_PORT},
        {&ip_source, &tcp_source, NET_ENDPOINT_PORT, PORT_OF_TASKS},
    };
    const struct net_nft_hook hook = {NF_INET_LOCAL_OUT, PRIORITY_BEFORE_ALL, false};
    AUTO(net_nft_deinit) struct net_nft nft = {0};
    AUTO(fd_close) int fd = -1;
    int number = 0;
    // Refused when it is there, and then the rest with it: all is taken as a whole, so the rest is
    // there, too.
    net_nft_table(&nft, &table, true);
    net_nft_chain(&nft, &table, CHAIN, &hook);
    add_rule(&nft, address, &ways[0]);
    add_rule(&nft, address, &ways[1]);
    int rc = net_nft_open(&fd, err);
    rc = rc == 0 ? net_nft_commit(fd, &nft, &number, err) : rc;
    if (rc == 0 && number != 0 && number != EEXIST) {
        rc = err_sys(err, number, "leading a task to its endpoints");
    }
    return rc;
}
