#include "net/net_nft.h"

#include "base/alloc.h"
#include "base/file.h"
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MESSAGE_BYTES 4096 // a rule of ten expressions has a quarter of it
#define ANSWER_BYTES 8192
#define LISTING_BYTES 32768 // the kernel fills at most this much of one at a time
#define ANSWER_SECONDS 5
// A transaction is one datagram, and the kernel refuses one that is larger than this buffer. The
// largest has all rules of a node's groups; memory is taken for what is sent only.
#define SEND_BYTES (32 << 20)

#define HUNDRED 100u
#define LISTING_ATTEMPTS 10 // it is read again when tables came or went meanwhile

// What libnftnl keeps beside a set so that listings show keys the right way round.
#define UDATA_KEY_ORDER 0
#define UDATA_DATA_ORDER 1
#define ORDER_BIG 2u

void net_nft_deinit(struct net_nft *nft)
{
    buf_deinit(&nft->bytes);
}

// ---- messages -----------------------------------------------------------------------------

static struct nl_msg *message(struct net_nft *nft, uint16_t type, uint16_t flags, uint8_t family)
{
    const struct nfgenmsg header = {
        .nfgen_family = family,
        .version = NFNETLINK_V0,
        .res_id = htons(
            type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END ? NFNL_SUBSYS_NFTABLES : 0),
    };
    struct nl_msg *made = nlmsg_alloc_size(MESSAGE_BYTES);
    if (made == NULL || nlmsg_put(made, 0, 0, type, 0, 0) == NULL ||
        nlmsg_append(made, (void *)(uintptr_t)&header, sizeof(header), NLMSG_ALIGNTO) != 0) {
        base_out_of_memory(MESSAGE_BYTES);
    }
    struct nlmsghdr *envelope = nlmsg_hdr(made);
    envelope->nlmsg_seq = ++nft->sequence;
    envelope->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return made;
}

void net_nft_add(struct net_nft *nft, struct nl_msg *made)
{
    const struct nlmsghdr *envelope = nlmsg_hdr(made);
    nft->last = nft->bytes.size;
    buf_add(&nft->bytes, envelope, NLMSG_ALIGN(envelope->nlmsg_len));
    nlmsg_free(made);
}

struct nl_msg *net_nft_message(struct net_nft *nft, uint8_t type, uint16_t flags, uint8_t family)
{
    if (nft->bytes.size == 0) {
        net_nft_add(nft, message(nft, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC));
    }
    return message(nft, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, family);
}

// ---- the conversation ---------------------------------------------------------------------

int net_nft_open(int *out_fd, struct err *err)
{
    AUTO(fd_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    const int send_bytes = SEND_BYTES;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &send_bytes, sizeof(send_bytes)) != 0 ||
        connect(fd, (const struct sockaddr *)(const void *)&kernel, sizeof(kernel)) != 0) {
        return err_sys(err, errno, "opening a socket to the packet filter");
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

// What was refused has several answers, of which one was read. They are all there when the kernel
// has taken a transaction.
static void drop_answers(int fd)
{
    char bytes[ANSWER_BYTES];
    while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {}
}

// Until the answer to the last message, which asked for one. The first refusal is the one that
// tells.
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

int net_nft_commit(int fd, struct net_nft *nft, int *out_number, struct err *err)
{
    *out_number = 0;
    if (nft->bytes.size == 0) {
        return 0;
    }
    // Kernels do not acknowledge the end of a transaction, but what is in it, once all is done.
    struct nlmsghdr *envelope = (void *)(nft->bytes.data + nft->last);
    envelope->nlmsg_flags |= NLM_F_ACK;
    uint32_t last = nft->sequence;
    net_nft_add(nft, message(nft, NFNL_MSG_BATCH_END, 0, AF_UNSPEC));
    drop_answers(fd);
    if (send(fd, nft->bytes.data, nft->bytes.size, 0) != (ssize_t)nft->bytes.size) {
        return err_sys(err, errno, "asking the packet filter");
    }
    return read_answers(fd, last, out_number, err);
}

static void put_be32(struct nl_msg *to, int attribute, uint32_t value)
{
    nla_put_u32(to, attribute, htonl(value));
}

static void put_value(struct nl_msg *to, int attribute, const void *value, size_t size)
{
    struct nlattr *nest = nla_nest_start(to, attribute);
    nla_put(to, NFTA_DATA_VALUE, (int)size, value);
    nla_nest_end(to, nest);
}

static void put_verdict(struct nl_msg *to, int attribute, int32_t code, const char *chain)
{
    struct nlattr *data = nla_nest_start(to, attribute);
    struct nlattr *verdict = nla_nest_start(to, NFTA_DATA_VERDICT);
    put_be32(to, NFTA_VERDICT_CODE, (uint32_t)code);
    if (chain != NULL) {
        nla_put_string(to, NFTA_VERDICT_CHAIN, chain);
    }
    nla_nest_end(to, verdict);
    nla_nest_end(to, data);
}

// ---- tables and chains --------------------------------------------------------------------

void net_nft_table(struct net_nft *nft, const struct net_nft_table *table, bool exclusive)
{
    struct nl_msg *made =
        net_nft_message(nft, NFT_MSG_NEWTABLE,
                        (uint16_t)(NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0)), table->family);
    nla_put_string(made, NFTA_TABLE_NAME, table->name);
    put_be32(made, NFTA_TABLE_FLAGS, 0);
    net_nft_add(nft, made);
}

void net_nft_table_delete(struct net_nft *nft, const struct net_nft_table *table)
{
    struct nl_msg *made = net_nft_message(nft, NFT_MSG_DELTABLE, 0, table->family);
    nla_put_string(made, NFTA_TABLE_NAME, table->name);
    net_nft_add(nft, made);
}

void net_nft_chain(struct net_nft *nft, const struct net_nft_table *table, const char *name,
                   const struct net_nft_hook *hook)
{
    struct nl_msg *made = net_nft_message(nft, NFT_MSG_NEWCHAIN, NLM_F_CREATE, table->family);
    nla_put_string(made, NFTA_CHAIN_TABLE, table->name);
    nla_put_string(made, NFTA_CHAIN_NAME, name);
    if (hook != NULL) {
        struct nlattr *nest = nla_nest_start(made, NFTA_CHAIN_HOOK);
        put_be32(made, NFTA_HOOK_HOOKNUM, hook->number);
        put_be32(made, NFTA_HOOK_PRIORITY, (uint32_t)hook->priority);
        if (hook->device != NULL) {
            nla_put_string(made, NFTA_HOOK_DEV, hook->device);
        }
        nla_nest_end(made, nest);
        put_be32(made, NFTA_CHAIN_POLICY, hook->drop ? NF_DROP : NF_ACCEPT);
        nla_put_string(made, NFTA_CHAIN_TYPE, "filter");
    }
    net_nft_add(nft, made);
}

void net_nft_chain_flush(struct net_nft *nft, const struct net_nft_table *table, const char *name)
{
    struct nl_msg *made = net_nft_message(nft, NFT_MSG_DELRULE, 0, table->family);
    nla_put_string(made, NFTA_RULE_TABLE, table->name);
    nla_put_string(made, NFTA_RULE_CHAIN, name);
    net_nft_add(nft, made);
}

void net_nft_chain_delete(struct net_nft *nft, const struct net_nft_table *table, const char *name)
{
    struct nl_msg *made = net_nft_message(nft, NFT_MSG_DELCHAIN, 0, table->family);
    nla_put_string(made, NFTA_CHAIN_TABLE, table->name);
    nla_put_string(made, NFTA_CHAIN_NAME, name);
    net_nft_add(nft, made);
}

/** Names that a listing has brought. */
struct listing {
    void (*visit)(void *context, const char *name);
    void *context;
    bool over;
    int number; // errno that ended it
};

static void read_listing(struct listing *listing, char *bytes, int left)
{
    for (struct nlmsghdr *at = (void *)bytes; nlmsg_ok(at, left); at = nlmsg_next(at, &left)) {
        if ((at->nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
            listing->number = EINTR;
        }
        if (at->nlmsg_type == NLMSG_DONE || at->nlmsg_type == NLMSG_ERROR) {
            const int *number = nlmsg_data(at);
            listing->over = true;
            listing->number = listing->number == 0 ? -*number : listing->number;
            return;
        }
        struct nlattr *name = nlmsg_find_attr(at, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
        if (name != NULL) {
            listing->visit(listing->context, nla_get_string(name));
        }
    }
}

static int list_once(int fd, uint8_t family, struct listing *listing, struct err *err)
{
    _Alignas(struct nlmsghdr) char bytes[LISTING_BYTES];
    AUTO(net_nft_deinit) struct net_nft nft = {0};
    net_nft_add(&nft,
                message(&nft, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP, family));
    drop_answers(fd);
    if (send(fd, nft.bytes.data, nft.bytes.size, 0) != (ssize_t)nft.bytes.size) {
        return err_sys(err, errno, "asking the packet filter for its tables");
    }
    while (!listing->over) {
        ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            return err_sys(err, size < 0 ? errno : EIO, "hearing of the packet filter's tables");
        }
        read_listing(listing, bytes, (int)size);
    }
    return 0;
}

int net_nft_tables(int fd, uint8_t family, void (*visit)(void *context, const char *name),
                   void *context, struct err *err)
{
    for (int i = 0; i < LISTING_ATTEMPTS; i++) {
        struct listing listing = {.visit = visit, .context = context};
        int rc = list_once(fd, family, &listing, err);
        if (rc != 0 || listing.number == 0) {
            return rc;
        }
        if (listing.number != EINTR) {
            return err_sys(err, listing.number, "listing the packet filter's tables");
        }
    }
    return err_set(err, ERR_BUSY, "the packet filter's tables change all the time");
}

// ---- sets ---------------------------------------------------------------------------------

void net_nft_set(struct net_nft *nft, const struct net_nft_table *table,
                 const struct net_nft_set *set)
{
    struct nl_msg *made = net_nft_message(nft, NFT_MSG_NEWSET, NLM_F_CREATE, table->family);
    nla_put_string(made, NFTA_SET_TABLE, table->name);
    nla_put_string(made, NFTA_SET_NAME, set->name);
    put_be32(made, NFTA_SET_ID, nft->sequence);
    put_be32(made, NFTA_SET_FLAGS, set->data_type != 0 ? NFT_SET_MAP : 0);
    put_be32(made, NFTA_SET_KEY_TYPE, set->key_type);
    put_be32(made, NFTA_SET_KEY_LEN, set->key_size);
    if (set->data_type != 0) {
        put_be32(made, NFTA_SET_DATA_TYPE, set->data_type);
    }
    if (set->data_size != 0) {
        put_be32(made, NFTA_SET_DATA_LEN, set->data_size);
    }
    const uint32_t order = ORDER_BIG;
    uint8_t beside[12] = {UDATA_KEY_ORDER, 4};
    memcpy(beside + 2, &order, 4);
    beside[6] = UDATA_DATA_ORDER;
    beside[7] = 4;
    memcpy(beside + 8, &order, 4);
    nla_put(made, NFTA_SET_USERDATA, set->data_type != 0 ? 12 : 6, beside);
    net_nft_add(nft, made);
}

void net_nft_element(struct net_nft *nft, const struct net_nft_table *table, const char *set,
                     bool add, const struct net_nft_element *element)
{
    struct nl_msg *made = net_nft_message(nft, add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
                                          add ? NLM_F_CREATE : 0, table->family);
    nla_put_string(made, NFTA_SET_ELEM_LIST_TABLE, table->name);
    nla_put_string(made, NFTA_SET_ELEM_LIST_SET, set);
    struct nlattr *list = nla_nest_start(made, NFTA_SET_ELEM_LIST_ELEMENTS);
    struct nlattr *item = nla_nest_start(made, NFTA_LIST_ELEM);
    put_value(made, NFTA_SET_ELEM_KEY, element->key, element->key_size);
    if (add && element->chain != NULL) {
        put_verdict(made, NFTA_SET_ELEM_DATA, NFT_JUMP, element->chain);
    } else if (add && element->data != NULL) {
        put_value(made, NFTA_SET_ELEM_DATA, element->data, element->data_size);
    }
    nla_nest_end(made, item);
    nla_nest_end(made, list);
    net_nft_add(nft, made);
}

// ---- rules --------------------------------------------------------------------------------

void net_nft_rule(struct net_nft *nft, const struct net_nft_table *table, const char *chain,
                  struct net_nft_rule *out_rule)
{
    struct nl_msg *made =
        net_nft_message(nft, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table->family);
    nla_put_string(made, NFTA_RULE_TABLE, table->name);
    nla_put_string(made, NFTA_RULE_CHAIN, chain);
    *out_rule = (struct net_nft_rule){.message = made,
                                      .expressions = nla_nest_start(made, NFTA_RULE_EXPRESSIONS)};
}

void net_nft_rule_end(struct net_nft *nft, struct net_nft_rule *rule)
{
    nla_nest_end(rule->message, rule->expressions);
    net_nft_add(nft, rule->message);
    *rule = (struct net_nft_rule){0};
}

/** An expression that is being written. */
struct expression {
    struct nlattr *element;
    struct nlattr *data;
};

static struct expression begin(struct net_nft_rule *rule, const char *name)
{
    struct expression expression = {.element = nla_nest_start(rule->message, NFTA_LIST_ELEM)};
    nla_put_string(rule->message, NFTA_EXPR_NAME, name);
    expression.data = nla_nest_start(rule->message, NFTA_EXPR_DATA);
    return expression;
}

static void end(struct net_nft_rule *rule, struct expression expression)
{
    nla_nest_end(rule->message, expression.data);
    nla_nest_end(rule->message, expression.element);
}

static void put_payload(struct net_nft_rule *rule, struct net_nft_payload payload)
{
    put_be32(rule->message, NFTA_PAYLOAD_BASE, payload.base);
    put_be32(rule->message, NFTA_PAYLOAD_OFFSET, payload.offset);
    put_be32(rule->message, NFTA_PAYLOAD_LEN, payload.size);
}

void net_nft_load(struct net_nft_rule *rule, uint32_t into, struct net_nft_payload from)
{
    struct expression expression = begin(rule, "payload");
    put_be32(rule->message, NFTA_PAYLOAD_DREG, into);
    put_payload(rule, from);
    end(rule, expression);
}

void net_nft_store(struct net_nft_rule *rule, uint32_t from, struct net_nft_payload into,
                   uint32_t checksum)
{
    struct expression expression = begin(rule, "payload");
    put_be32(rule->message, NFTA_PAYLOAD_SREG, from);
    put_payload(rule, into);
    if (checksum != 0) {
        put_be32(rule->message, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
        put_be32(rule->message, NFTA_PAYLOAD_CSUM_OFFSET, checksum);
    }
    end(rule, expression);
}

void net_nft_meta(struct net_nft_rule *rule, uint32_t into, uint32_t key)
{
    struct expression expression = begin(rule, "meta");
    put_be32(rule->message, NFTA_META_DREG, into);
    put_be32(rule->message, NFTA_META_KEY, key);
    end(rule, expression);
}

void net_nft_meta_set(struct net_nft_rule *rule, uint32_t from, uint32_t key)
{
    struct expression expression = begin(rule, "meta");
    put_be32(rule->message, NFTA_META_SREG, from);
    put_be32(rule->message, NFTA_META_KEY, key);
    end(rule, expression);
}

void net_nft_ct_state(struct net_nft_rule *rule, uint32_t into)
{
    struct expression expression = begin(rule, "ct");
    put_be32(rule->message, NFTA_CT_DREG, into);
    put_be32(rule->message, NFTA_CT_KEY, NFT_CT_STATE);
    end(rule, expression);
}

void net_nft_compare(struct net_nft_rule *rule, uint32_t with, uint32_t how, const void *value,
                     size_t size)
{
    struct expression expression = begin(rule, "cmp");
    put_be32(rule->message, NFTA_CMP_SREG, with);
    put_be32(rule->message, NFTA_CMP_OP, how);
    put_value(rule->message, NFTA_CMP_DATA, value, size);
    end(rule, expression);
}

void net_nft_mask(struct net_nft_rule *rule, uint32_t at, const void *mask, size_t size)
{
    static const uint8_t none[16] = {0};
    ASSERT(size <= sizeof(none));
    struct expression expression = begin(rule, "bitwise");
    put_be32(rule->message, NFTA_BITWISE_SREG, at);
    put_be32(rule->message, NFTA_BITWISE_DREG, at);
    put_be32(rule->message, NFTA_BITWISE_LEN, (uint32_t)size);
    put_value(rule->message, NFTA_BITWISE_MASK, mask, size);
    put_value(rule->message, NFTA_BITWISE_XOR, none, size);
    end(rule, expression);
}

void net_nft_immediate(struct net_nft_rule *rule, uint32_t into, const void *value, size_t size)
{
    struct expression expression = begin(rule, "immediate");
    put_be32(rule->message, NFTA_IMMEDIATE_DREG, into);
    put_value(rule->message, NFTA_IMMEDIATE_DATA, value, size);
    end(rule, expression);
}

void net_nft_in_set(struct net_nft_rule *rule, uint32_t from, const char *set, bool in)
{
    struct expression expression = begin(rule, "lookup");
    nla_put_string(rule->message, NFTA_LOOKUP_SET, set);
    put_be32(rule->message, NFTA_LOOKUP_SREG, from);
    if (!in) {
        put_be32(rule->message, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
    }
    end(rule, expression);
}

void net_nft_map(struct net_nft_rule *rule, uint32_t from, const char *map, uint32_t into)
{
    struct expression expression = begin(rule, "lookup");
    nla_put_string(rule->message, NFTA_LOOKUP_SET, map);
    put_be32(rule->message, NFTA_LOOKUP_SREG, from);
    put_be32(rule->message, NFTA_LOOKUP_DREG, into);
    end(rule, expression);
}

void net_nft_verdict(struct net_nft_rule *rule, int32_t verdict)
{
    struct expression expression = begin(rule, "immediate");
    put_be32(rule->message, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    put_verdict(rule->message, NFTA_IMMEDIATE_DATA, verdict, NULL);
    end(rule, expression);
}

void net_nft_goto(struct net_nft_rule *rule, const char *chain)
{
    struct expression expression = begin(rule, "immediate");
    put_be32(rule->message, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    put_verdict(rule->message, NFTA_IMMEDIATE_DATA, NFT_GOTO, chain);
    end(rule, expression);
}

// Registers compare byte by byte, numbers of the kernel's own lie in them as the host has them.
static void below(struct net_nft_rule *rule, uint32_t at, uint32_t limit)
{
    const uint32_t wire_limit = htonl(limit);
    struct expression expression = begin(rule, "byteorder");
    put_be32(rule->message, NFTA_BYTEORDER_SREG, at);
    put_be32(rule->message, NFTA_BYTEORDER_DREG, at);
    put_be32(rule->message, NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
    put_be32(rule->message, NFTA_BYTEORDER_LEN, sizeof(wire_limit));
    put_be32(rule->message, NFTA_BYTEORDER_SIZE, sizeof(wire_limit));
    end(rule, expression);
    net_nft_compare(rule, at, NFT_CMP_LT, &wire_limit, sizeof(wire_limit));
}

void net_nft_some_packets(struct net_nft_rule *rule, uint32_t at, uint32_t percent)
{
    if (percent >= HUNDRED) {
        return;
    }
    struct expression expression = begin(rule, "numgen");
    put_be32(rule->message, NFTA_NG_DREG, at);
    put_be32(rule->message, NFTA_NG_MODULUS, HUNDRED);
    put_be32(rule->message, NFTA_NG_TYPE, NFT_NG_RANDOM);
    put_be32(rule->message, NFTA_NG_OFFSET, 0);
    end(rule, expression);
    below(rule, at, percent);
}

void net_nft_some_flows(struct net_nft_rule *rule, uint32_t at, uint32_t percent)
{
    if (percent >= HUNDRED) {
        return;
    }
    struct expression expression = begin(rule, "hash");
    put_be32(rule->message, NFTA_HASH_DREG, at);
    put_be32(rule->message, NFTA_HASH_MODULUS, HUNDRED);
    put_be32(rule->message, NFTA_HASH_TYPE, NFT_HASH_SYM);
    put_be32(rule->message, NFTA_HASH_OFFSET, 0);
    end(rule, expression);
    below(rule, at, percent);
}

void net_nft_forward(struct net_nft_rule *rule, uint32_t from)
{
    struct expression expression = begin(rule, "fwd");
    put_be32(rule->message, NFTA_FWD_SREG_DEV, from);
    end(rule, expression);
}
