#include "net/net_internal.h"
#include "net/net_nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netlink/attr.h>

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

#define TABLE "berth-endpoint"
#define CHAIN "output"
#define PRIORITY_BEFORE_ALL (-300)
#define PORT_OF_TASKS 80
#define TCP_CHECKSUM 16

static const struct nft_field ip_source = {NFT_PAYLOAD_NETWORK_HEADER, 12, 4};
static const struct nft_field ip_destination = {NFT_PAYLOAD_NETWORK_HEADER, 16, 4};
static const struct nft_field tcp_source = {NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2};
static const struct nft_field tcp_destination = {NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2};

static void add_table(struct nft_batch *batch)
{
    // Refused when it is there, and then the rest with it: the batch is taken as a whole, so they
    // are there, too.
    struct nl_msg *table = nft_batch_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    nla_put_string(table, NFTA_TABLE_NAME, TABLE);
    nft_put_be32(table, NFTA_TABLE_FLAGS, 0);
    nft_batch_add(batch, table);

    struct nl_msg *chain = nft_batch_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    nla_put_string(chain, NFTA_CHAIN_TABLE, TABLE);
    nla_put_string(chain, NFTA_CHAIN_NAME, CHAIN);
    struct nlattr *hook = nla_nest_start(chain, NFTA_CHAIN_HOOK);
    nft_put_be32(chain, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    nft_put_be32(chain, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY_BEFORE_ALL);
    nla_nest_end(chain, hook);
    nft_put_be32(chain, NFTA_CHAIN_POLICY, NF_ACCEPT);
    nla_put_string(chain, NFTA_CHAIN_TYPE, "filter");
    nft_batch_add(batch, chain);
}

/** What a rule looks for and what it puts in its place. */
struct exchange {
    const struct nft_field *address;
    const struct nft_field *port;
    uint16_t from;
    uint16_t to;
};

static void add_rule(struct nft_batch *batch, uint32_t address, const struct exchange *exchange)
{
    const uint32_t wire_address = htonl(address);
    const uint16_t from = htons(exchange->from);
    const uint16_t to = htons(exchange->to);
    struct nl_msg *rule =
        nft_batch_message(batch, NFT_MSG_NEWRULE, (uint16_t)(NLM_F_CREATE | NLM_F_APPEND));
    nla_put_string(rule, NFTA_RULE_TABLE, TABLE);
    nla_put_string(rule, NFTA_RULE_CHAIN, CHAIN);
    struct nlattr *expressions = nla_nest_start(rule, NFTA_RULE_EXPRESSIONS);
    nft_match(rule, exchange->address, &wire_address);
    nft_match_protocol(rule, IPPROTO_TCP);
    nft_match(rule, exchange->port, &from);
    nft_replace(rule, exchange->port, TCP_CHECKSUM, &to);
    nla_nest_end(rule, expressions);
    nft_batch_add(batch, rule);
}

int net_filter_endpoint(uint32_t address, struct err *err)
{
    const struct exchange ways[] = {
        {&ip_destination, &tcp_destination, PORT_OF_TASKS, NET_ENDPOINT_PORT},
        {&ip_source, &tcp_source, NET_ENDPOINT_PORT, PORT_OF_TASKS},
    };
    AUTO(nft_batch_deinit) struct nft_batch batch = {.family = NFPROTO_IPV4};
    int number = 0;
    add_table(&batch);
    add_rule(&batch, address, &ways[0]);
    add_rule(&batch, address, &ways[1]);
    int rc = nft_batch_commit(&batch, &number, err);
    if (rc == 0 && number != 0 && number != EEXIST) {
        rc = err_sys(err, number, "leading a task to its endpoints");
    }
    return rc;
}
