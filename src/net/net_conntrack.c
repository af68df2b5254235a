#include "base/alloc.h"
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

/*
 * The kernel translates what it takes for a conversation as it translated its first packet. For
 * datagrams a conversation is who sends to whom, and lasts while they are sent: after a port has
 * passed from one container to the next, a sender without pauses would go on to the former.
 *
 * Likewise an address of a VPC: its next owner is not to go on with what the former was let.
 */

#define RECEIVE_BYTES 32768
#define FORGET_MAX 1024 // conversations in one go; what is left ends by itself
#define GONE_MAX 65536  // the same of addresses; then it is asked again

struct search {
    const struct net_address_alive *alive; ///< instead of ports; or NULL
    const struct net_forward *forwards;
    size_t forward_count;
    const struct net_address *own;
    size_t own_count;
    struct buf tuples; ///< attributes of those found, each padded
    size_t count;
};

static bool is_own(const struct search *search, uint32_t address)
{
    bool own = address >> 24 == 127;
    for (size_t i = 0; i < search->own_count; i++) {
        own = own || search->own[i].range.address == address;
    }
    return own;
}

static bool has_port(const struct search *search, uint16_t port)
{
    for (size_t i = 0; i < search->forward_count; i++) {
        const struct net_forward *at = &search->forwards[i];
        if (at->udp && port >= at->host_port && port - at->host_port < at->count) {
            return true;
        }
    }
    return false;
}

static struct nlattr *nested(struct nlattr *parent, int type)
{
    return parent == NULL ? NULL : nla_find(nla_data(parent), nla_len(parent), type);
}

// Whether a conversation's first packet went from anywhere to one of the ports.
static bool wanted(const struct search *search, struct nlattr *tuple)
{
    struct nlattr *address = nested(nested(tuple, CTA_TUPLE_IP), CTA_IP_V4_DST);
    struct nlattr *protocol = nested(nested(tuple, CTA_TUPLE_PROTO), CTA_PROTO_NUM);
    struct nlattr *port = nested(nested(tuple, CTA_TUPLE_PROTO), CTA_PROTO_DST_PORT);
    return address != NULL && nla_len(address) == 4 && protocol != NULL && port != NULL &&
           nla_get_u8(protocol) == IPPROTO_UDP && has_port(search, ntohs(nla_get_u16(port))) &&
           is_own(search, ntohl(nla_get_u32(address)));
}

static bool is_gone(const struct net_address_alive *alive, struct nlattr *tuple, int side)
{
    struct nlattr *address = nested(nested(tuple, CTA_TUPLE_IP), side);
    return address != NULL && nla_len(address) == 4 &&
           net_range_has(alive->range, ntohl(nla_get_u32(address))) &&
           !alive->is_alive(alive->context, ntohl(nla_get_u32(address)));
}

static void look_at(struct search *search, struct nlmsghdr *header)
{
    const int head = NLMSG_ALIGN((int)sizeof(struct nfgenmsg));
    struct nlattr *tuple = nlmsg_find_attr(header, head, CTA_TUPLE_ORIG);
    if (search->alive != NULL) {
        if (tuple != NULL && search->count < GONE_MAX &&
            (is_gone(search->alive, tuple, CTA_IP_V4_SRC) ||
             is_gone(search->alive, tuple, CTA_IP_V4_DST))) {
            buf_add(&search->tuples, tuple, (size_t)nla_total_size(nla_len(tuple)));
            search->count++;
        }
        return;
    }
    if (tuple != NULL && search->count < FORGET_MAX && wanted(search, tuple)) {
        buf_add(&search->tuples, tuple, (size_t)nla_total_size(nla_len(tuple)));
        search->count++;
    }
}

static struct nl_msg *message(int type, int flags)
{
    const struct nfgenmsg head = {.nfgen_family = AF_INET, .version = NFNETLINK_V0};
    return net_message(NFNL_SUBSYS_CTNETLINK << 8 | type, flags, &head, sizeof(head));
}

static bool send_message(int fd, struct nl_msg *message)
{
    struct nlmsghdr *header = nlmsg_hdr(message);
    ssize_t sent = send(fd, header, header->nlmsg_len, 0);
    bool whole = sent == (ssize_t)header->nlmsg_len;
    nlmsg_free(message);
    return whole;
}

// Reads one list, or one answer. @return false when there is no such thing
static bool receive(int fd, struct search *search)
{
    _Alignas(struct nlmsghdr) char bytes[RECEIVE_BYTES];
    for (;;) {
        ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            return false;
        }
        int left = (int)size;
        for (struct nlmsghdr *at = (struct nlmsghdr *)bytes; nlmsg_ok(at, left);
             at = nlmsg_next(at, &left)) {
            if (at->nlmsg_type == NLMSG_ERROR || at->nlmsg_type == NLMSG_DONE) {
                return at->nlmsg_type == NLMSG_DONE;
            }
            if (search != NULL) {
                look_at(search, at);
            }
        }
    }
}

static void forget(int fd, const struct buf *tuples)
{
    for (size_t at = 0; at < tuples->size;) {
        const struct nlattr *tuple = (const struct nlattr *)(const void *)(tuples->data + at);
        struct nl_msg *request = message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
        nla_put(request, CTA_TUPLE_ORIG | NLA_F_NESTED, nla_len(tuple), nla_data(tuple));
        if (!send_message(fd, request)) {
            return;
        }
        IGNORE(receive(fd, NULL), "it has just ended by itself");
        at += (size_t)nla_total_size(nla_len(tuple));
    }
}

void net_conntrack_forget(const struct net_forward *forwards, size_t count,
                          const struct net_address *own, size_t own_count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        any = any || forwards[i].udp;
    }
    AUTO(fd_close)
    int fd = any ? socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER) : -1;
    if (fd < 0) {
        return;
    }
    struct search search = {
        .forwards = forwards, .forward_count = count, .own = own, .own_count = own_count};
    if (send_message(fd, message(IPCTNL_MSG_CT_GET, NLM_F_DUMP)) && receive(fd, &search)) {
        forget(fd, &search.tuples);
    }
    buf_deinit(&search.tuples);
}

bool net_conntrack_forget_gone(int fd, const struct net_address_alive *alive)
{
    struct search search = {.alive = alive};
    bool done = send_message(fd, message(IPCTNL_MSG_CT_GET, NLM_F_DUMP)) && receive(fd, &search);
    if (done) {
        forget(fd, &search.tuples);
    }
    done = done && search.count < GONE_MAX;
    buf_deinit(&search.tuples);
    return done;
}
