#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The rules that lead a task to its endpoints, straight over netlink: every task gets them, and the
 * library that reads rules as text would take a megabyte in each thread that ever used it.
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
#define ANSWER_BYTES 8192
#define ANSWER_SECONDS 5

// Offsets within the headers of IPv4 and TCP.
#define IP_SOURCE 12
#define IP_DESTINATION 16
#define TCP_SOURCE 0
#define TCP_DESTINATION 2
#define TCP_CHECKSUM 16

/** Messages that the kernel takes or refuses as a whole. */
struct batch {
    struct buf bytes;
    uint32_t sequence;
};

static void batch_deinit(struct batch *batch)
{
    buf_deinit(&batch->bytes);
}

AUTO_VALUE(struct batch, batch_deinit)

static struct nl_msg *message(struct batch *batch, uint16_t type, uint16_t flags, uint8_t family)
{
    const struct nfgenmsg header = {
        .nfgen_family = family,
        .version = NFNETLINK_V0,
        .res_id = htons(
            type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END ? NFNL_SUBSYS_NFTABLES : 0),
    };
    struct nl_msg *made = net_message(type, flags, &header, sizeof(header));
    struct nlmsghdr *envelope = nlmsg_hdr(made);
    envelope->nlmsg_seq = ++batch->sequence;
    envelope->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return made;
}

static void add(struct batch *batch, struct nl_msg *made)
{
    const struct nlmsghdr *envelope = nlmsg_hdr(made);
    buf_add(&batch->bytes, envelope, NLMSG_ALIGN(envelope->nlmsg_len));
    nlmsg_free(made);
}

static struct nl_msg *nft_message(struct batch *batch, uint8_t type, uint16_t flags)
{
    return message(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_IPV4);
}

static void put_be32(struct nl_msg *to, int attribute, uint32_t value)
{
    nla_put_u32(to, attribute, htonl(value));
}

// ---- expressions --------------------------------------------------------------------------

static struct nlattr *begin_expression(struct nl_msg *rule, const char *name,
                                       struct nlattr **out_element)
{
    *out_element = nla_nest_start(rule, NFTA_LIST_ELEM);
    nla_put_string(rule, NFTA_EXPR_NAME, name);
    return nla_nest_start(rule, NFTA_EXPR_DATA);
}

static void end_expression(struct nl_msg *rule, struct nlattr *data, struct nlattr *element)
{
    nla_nest_end(rule, data);
    nla_nest_end(rule, element);
}

static void put_payload(struct nl_msg *rule, uint32_t base, uint32_t offset, uint32_t size)
{
    put_be32(rule, NFTA_PAYLOAD_BASE, base);
    put_be32(rule, NFTA_PAYLOAD_OFFSET, offset);
    put_be32(rule, NFTA_PAYLOAD_LEN, size);
}

static void load(struct nl_msg *rule, uint32_t base, uint32_t offset, uint32_t size)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "payload", &element);
    put_be32(rule, NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_payload(rule, base, offset, size);
    end_expression(rule, data, element);
}

static void load_protocol(struct nl_msg *rule)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "meta", &element);
    put_be32(rule, NFTA_META_DREG, NFT_REG_1);
    put_be32(rule, NFTA_META_KEY, NFT_META_L4PROTO);
    end_expression(rule, data, element);
}

static void put_value(struct nl_msg *rule, int attribute, const void *value, size_t size)
{
    struct nlattr *nest = nla_nest_start(rule, attribute);
    nla_put(rule, NFTA_DATA_VALUE, (int)size, value);
    nla_nest_end(rule, nest);
}

static void must_equal(struct nl_msg *rule, const void *value, size_t size)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "cmp", &element);
    put_be32(rule, NFTA_CMP_SREG, NFT_REG_1);
    put_be32(rule, NFTA_CMP_OP, NFT_CMP_EQ);
    put_value(rule, NFTA_CMP_DATA, value, size);
    end_expression(rule, data, element);
}

static void set_port(struct nl_msg *rule, uint32_t offset, uint16_t port)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "immediate", &element);
    put_be32(rule, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    put_value(rule, NFTA_IMMEDIATE_DATA, &port, sizeof(port));
    end_expression(rule, data, element);
    data = begin_expression(rule, "payload", &element);
    put_be32(rule, NFTA_PAYLOAD_SREG, NFT_REG_1);
    put_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof(port));
    put_be32(rule, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
    put_be32(rule, NFTA_PAYLOAD_CSUM_OFFSET, TCP_CHECKSUM);
    end_expression(rule, data, element);
}

// ---- the table ----------------------------------------------------------------------------

static void add_table(struct batch *batch)
{
    // Refused when it is there, and then the rest with it: the batch is taken as a whole, so they
    // are there, too.
    struct nl_msg *table = nft_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    nla_put_string(table, NFTA_TABLE_NAME, TABLE);
    put_be32(table, NFTA_TABLE_FLAGS, 0);
    add(batch, table);

    struct nl_msg *chain = nft_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    nla_put_string(chain, NFTA_CHAIN_TABLE, TABLE);
    nla_put_string(chain, NFTA_CHAIN_NAME, CHAIN);
    struct nlattr *hook = nla_nest_start(chain, NFTA_CHAIN_HOOK);
    put_be32(chain, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    put_be32(chain, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY_BEFORE_ALL);
    nla_nest_end(chain, hook);
    put_be32(chain, NFTA_CHAIN_POLICY, NF_ACCEPT);
    nla_put_string(chain, NFTA_CHAIN_TYPE, "filter");
    add(batch, chain);
}

/** What a rule looks for and what it puts in its place. */
struct exchange {
    uint32_t address_offset;
    uint32_t port_offset;
    uint16_t from;
    uint16_t to;
};

static void add_rule(struct batch *batch, uint32_t address, const struct exchange *exchange,
                     uint16_t flags)
{
    const uint32_t wire_address = htonl(address);
    const uint8_t tcp = IPPROTO_TCP;
    const uint16_t from = htons(exchange->from);
    struct nl_msg *rule =
        nft_message(batch, NFT_MSG_NEWRULE, (uint16_t)(NLM_F_CREATE | NLM_F_APPEND | flags));
    nla_put_string(rule, NFTA_RULE_TABLE, TABLE);
    nla_put_string(rule, NFTA_RULE_CHAIN, CHAIN);
    struct nlattr *expressions = nla_nest_start(rule, NFTA_RULE_EXPRESSIONS);
    load(rule, NFT_PAYLOAD_NETWORK_HEADER, exchange->address_offset, sizeof(wire_address));
    must_equal(rule, &wire_address, sizeof(wire_address));
    load_protocol(rule);
    must_equal(rule, &tcp, sizeof(tcp));
    load(rule, NFT_PAYLOAD_TRANSPORT_HEADER, exchange->port_offset, sizeof(from));
    must_equal(rule, &from, sizeof(from));
    set_port(rule, exchange->port_offset, htons(exchange->to));
    nla_nest_end(rule, expressions);
    add(batch, rule);
}

// ---- the conversation ---------------------------------------------------------------------

static int open_netfilter(int *out_fd, struct err *err)
{
    AUTO(fd_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
        connect(fd, (const struct sockaddr *)(const void *)&kernel, sizeof(kernel)) != 0) {
        return err_sys(err, errno, "opening a socket to the packet filter");
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

// Until the answer to the last message that asked for one. The first refusal is the one that tells.
static int read_answers(int fd, uint32_t last, int *out_number, struct err *err)
{
    _Alignas(struct nlmsghdr) char bytes[ANSWER_BYTES];
    for (;;) {
        ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            return err_sys(err, size < 0 ? errno : EIO, "hearing from the packet filter");
        }
        int left = (int)size;
        for (struct nlmsghdr *at = (void *)bytes; nlmsg_ok(at, left); at = nlmsg_next(at, &left)) {
            if (at->nlmsg_type != NLMSG_ERROR) {
                continue;
            }
            const struct nlmsgerr *answer = nlmsg_data(at);
            if (answer->error != 0) {
                *out_number = -answer->error;
                return 0;
            }
            if (at->nlmsg_seq == last) {
                return 0;
            }
        }
    }
}

int net_filter_endpoint(uint32_t address, struct err *err)
{
    const struct exchange ways[] = {
        {IP_DESTINATION, TCP_DESTINATION, PORT_OF_TASKS, NET_ENDPOINT_PORT},
        {IP_SOURCE, TCP_SOURCE, NET_ENDPOINT_PORT, PORT_OF_TASKS},
    };
    AUTO(batch_deinit) struct batch batch = {0};
    add(&batch, message(&batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC));
    add_table(&batch);
    add_rule(&batch, address, &ways[0], 0);
    // Kernels do not acknowledge the end of a batch, but what is in it, once all of it is done.
    add_rule(&batch, address, &ways[1], NLM_F_ACK);
    uint32_t last = batch.sequence;
    add(&batch, message(&batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC));
    AUTO(fd_close) int fd = -1;
    int number = 0;
    int rc = open_netfilter(&fd, err);
    if (rc == 0 && send(fd, batch.bytes.data, batch.bytes.size, 0) != (ssize_t)batch.bytes.size) {
        rc = err_sys(err, errno, "asking the packet filter");
    }
    rc = rc == 0 ? read_answers(fd, last, &number, err) : rc;
    if (rc == 0 && number != 0 && number != EEXIST) {
        rc = err_sys(err, number, "leading a task to its endpoints");
    }
    return rc;
}
