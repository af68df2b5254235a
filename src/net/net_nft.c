#include "net/net_nft.h"

#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <sys/socket.h>

#define ANSWER_BYTES 8192
#define ANSWER_SECONDS 5

void nft_batch_deinit(struct nft_batch *batch)
{
    buf_deinit(&batch->bytes);
}

static void add(struct nft_batch *batch, struct nl_msg *made)
{
    const struct nlmsghdr *envelope = nlmsg_hdr(made);
    buf_add(&batch->bytes, envelope, NLMSG_ALIGN(envelope->nlmsg_len));
    nlmsg_free(made);
}

static struct nl_msg *message(struct nft_batch *batch, uint16_t type, uint16_t flags,
                              uint8_t family, uint16_t resource)
{
    const struct nfgenmsg header = {
        .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
    struct nl_msg *made = net_message(type, flags, &header, sizeof(header));
    struct nlmsghdr *envelope = nlmsg_hdr(made);
    envelope->nlmsg_seq = ++batch->sequence;
    envelope->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return made;
}

struct nl_msg *nft_batch_message(struct nft_batch *batch, uint8_t type, uint16_t flags)
{
    if (batch->sequence == 0) {
        add(batch, message(batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    }
    return message(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, batch->family, 0);
}

void nft_batch_add(struct nft_batch *batch, struct nl_msg *made)
{
    batch->last = batch->bytes.size;
    add(batch, made);
}

// ---- expressions --------------------------------------------------------------------------

void nft_put_be32(struct nl_msg *to, int attribute, uint32_t value)
{
    nla_put_u32(to, attribute, htonl(value));
}

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
    nft_put_be32(rule, NFTA_PAYLOAD_BASE, base);
    nft_put_be32(rule, NFTA_PAYLOAD_OFFSET, offset);
    nft_put_be32(rule, NFTA_PAYLOAD_LEN, size);
}

static void put_value(struct nl_msg *rule, int attribute, const void *value, size_t size)
{
    struct nlattr *nest = nla_nest_start(rule, attribute);
    nla_put(rule, NFTA_DATA_VALUE, (int)size, value);
    nla_nest_end(rule, nest);
}

static void compare(struct nl_msg *rule, const void *value, size_t size, uint32_t operation)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "cmp", &element);
    nft_put_be32(rule, NFTA_CMP_SREG, NFT_REG_1);
    nft_put_be32(rule, NFTA_CMP_OP, operation);
    put_value(rule, NFTA_CMP_DATA, value, size);
    end_expression(rule, data, element);
}

static void load(struct nl_msg *rule, const struct nft_field *field)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "payload", &element);
    nft_put_be32(rule, NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_payload(rule, field->base, field->offset, field->size);
    end_expression(rule, data, element);
}

void nft_match(struct nl_msg *rule, const struct nft_field *field, const void *value)
{
    load(rule, field);
    compare(rule, value, field->size, NFT_CMP_EQ);
}

void nft_match_other(struct nl_msg *rule, const struct nft_field *field, const void *value)
{
    load(rule, field);
    compare(rule, value, field->size, NFT_CMP_NEQ);
}

void nft_match_protocol(struct nl_msg *rule, uint8_t protocol)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "meta", &element);
    nft_put_be32(rule, NFTA_META_DREG, NFT_REG_1);
    nft_put_be32(rule, NFTA_META_KEY, NFT_META_L4PROTO);
    end_expression(rule, data, element);
    compare(rule, &protocol, sizeof(protocol), NFT_CMP_EQ);
}

void nft_replace(struct nl_msg *rule, const struct nft_field *field, uint32_t checksum_offset,
                 const void *value)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "immediate", &element);
    nft_put_be32(rule, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    put_value(rule, NFTA_IMMEDIATE_DATA, value, field->size);
    end_expression(rule, data, element);
    data = begin_expression(rule, "payload", &element);
    nft_put_be32(rule, NFTA_PAYLOAD_SREG, NFT_REG_1);
    put_payload(rule, field->base, field->offset, field->size);
    nft_put_be32(rule, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
    nft_put_be32(rule, NFTA_PAYLOAD_CSUM_OFFSET, checksum_offset);
    end_expression(rule, data, element);
}

void nft_put_verdict(struct nl_msg *to, int attribute, int32_t code, const char *chain)
{
    struct nlattr *value = nla_nest_start(to, attribute);
    struct nlattr *verdict = nla_nest_start(to, NFTA_DATA_VERDICT);
    nft_put_be32(to, NFTA_VERDICT_CODE, (uint32_t)code);
    if (chain != NULL) {
        nla_put_string(to, NFTA_VERDICT_CHAIN, chain);
    }
    nla_nest_end(to, verdict);
    nla_nest_end(to, value);
}

void nft_end_with(struct nl_msg *rule, int32_t code)
{
    struct nlattr *element = NULL;
    struct nlattr *data = begin_expression(rule, "immediate", &element);
    nft_put_be32(rule, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    nft_put_verdict(rule, NFTA_IMMEDIATE_DATA, code, NULL);
    end_expression(rule, data, element);
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

int nft_batch_commit(struct nft_batch *batch, int *out_number, struct err *err)
{
    ASSERT(batch->last > 0);
    // Kernels do not acknowledge the end of a batch, but what is in it, once all of it is done.
    struct nlmsghdr *last = (void *)(batch->bytes.data + batch->last);
    last->nlmsg_flags |= NLM_F_ACK;
    uint32_t sequence = last->nlmsg_seq;
    add(batch, message(batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    AUTO(fd_close) int fd = -1;
    int rc = open_netfilter(&fd, err);
    if (rc == 0 &&
        send(fd, batch->bytes.data, batch->bytes.size, 0) != (ssize_t)batch->bytes.size) {
        rc = err_sys(err, errno, "asking the packet filter");
    }
    return rc == 0 ? read_answers(fd, sequence, out_number, err) : rc;
}
