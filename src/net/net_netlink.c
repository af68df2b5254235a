#include "base/alloc.h"
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * Libnl builds and parses messages; sending is ours, so that several requests share a system call
 * and a socket is one descriptor in a known namespace.
 */

#define RECEIVE_BYTES 32768 // the kernel fills at most this much of a dump at a time
#define DUMP_ATTEMPTS 10    // a dump is repeated when something changed under it
#define DUMP_ENTRIES_MAX 65536

int net_socket_open(int *out_fd, struct err *err)
{
    AUTO(fd_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) {
        return err_sys(err, errno, "opening a netlink socket");
    }
    // The reason in words, and no copy of the request, with every refusal.
    const int on = 1;
    if (setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) != 0) {
        return err_sys(err, errno, "setting up a netlink socket");
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

struct nl_msg *net_message(int type, int flags, const void *header, size_t size)
{
    struct nl_msg *message = nlmsg_alloc_size(1024);
    if (message == NULL || nlmsg_put(message, 0, 0, type, 0, NLM_F_REQUEST | flags) == NULL ||
        nlmsg_append(message, (void *)(uintptr_t)header, size, NLMSG_ALIGNTO) != 0) {
        base_out_of_memory(size);
    }
    return message;
}

// ---- batches -----------------------------------------------------------------------------

void net_batch_add(struct net_batch *batch, struct nl_msg *message, const char *what)
{
    ASSERT(batch->count < NET_BATCH_MAX);
    struct nlmsghdr *header = nlmsg_hdr(message);
    header->nlmsg_flags |= NLM_F_ACK;
    header->nlmsg_seq = batch->count + 1;
    buf_add(&batch->bytes, header, NLMSG_ALIGN(header->nlmsg_len));
    nlmsg_free(message);
    batch->what[batch->count] = what;
    batch->number[batch->count] = EINPROGRESS;
    batch->count++;
}

static int send_all(int socket_fd, const void *bytes, size_t size, struct err *err)
{
    for (;;) {
        ssize_t done = send(socket_fd, bytes, size, 0);
        if (done >= 0) {
            ASSERT((size_t)done == size); // netlink sends whole datagrams
            return 0;
        }
        if (errno != EINTR) {
            return err_sys(err, errno, "asking the kernel");
        }
    }
}

static int receive(int socket_fd, char *buffer, size_t size, size_t *out_got, struct err *err)
{
    for (;;) {
        ssize_t got = recv(socket_fd, buffer, size, MSG_TRUNC);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "hearing from the kernel");
        }
        if ((size_t)got > size) {
            return err_set(err, ERR_SYS, "an answer of the kernel of %zd bytes", got);
        }
        *out_got = (size_t)got;
        return 0;
    }
}

// The sentence the kernel gave with an error, or NULL.
static const char *error_sentence(const struct nlmsghdr *header)
{
    struct nlattr *attributes[NLMSGERR_ATTR_MAX + 1] = {NULL};
    int offset = (int)sizeof(struct nlmsgerr);
    int left = (int)header->nlmsg_len - (int)NLMSG_HDRLEN - offset;
    if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0 || left <= 0) {
        return NULL;
    }
    struct nlattr *first = (struct nlattr *)((char *)nlmsg_data(header) + offset);
    if (nla_parse(attributes, NLMSGERR_ATTR_MAX, first, left, NULL) < 0 ||
        attributes[NLMSGERR_ATTR_MSG] == NULL) {
        return NULL;
    }
    return nla_get_string(attributes[NLMSGERR_ATTR_MSG]);
}

static void take_ack(struct net_batch *batch, const struct nlmsghdr *header, struct err *err)
{
    const struct nlmsgerr *ack = nlmsg_data(header);
    uint32_t at = header->nlmsg_seq - 1;
    if (at >= batch->count || batch->number[at] != EINPROGRESS) {
        return;
    }
    batch->number[at] = -ack->error;
    const char *sentence = error_sentence(header);
    if (ack->error != 0 && sentence != NULL) {
        IGNORE(err_set(err, ERR_SYS, "%s", sentence), "kept for whoever reports it");
    }
}

int net_batch_run(int socket_fd, struct net_batch *batch, struct err *err)
{
    ASSERT(batch->count > 0);
    int rc = send_all(socket_fd, batch->bytes.data, batch->bytes.size, err);
    if (rc != 0) {
        return rc;
    }
    err->text[0] = '\0';
    _Alignas(struct nlmsghdr) char buffer[RECEIVE_BYTES];
    for (uint32_t seen = 0; seen < batch->count;) {
        size_t got = 0;
        rc = receive(socket_fd, buffer, sizeof(buffer), &got, err);
        if (rc != 0) {
            return rc;
        }
        int left = (int)got;
        struct nlmsghdr *header = (struct nlmsghdr *)buffer;
        for (; nlmsg_ok(header, left) != 0; header = nlmsg_next(header, &left)) {
            if (header->nlmsg_type == NLMSG_ERROR) {
                take_ack(batch, header, err);
                seen++;
            }
        }
    }
    return 0;
}

int net_batch_commit(int socket_fd, struct net_batch *batch, int allowed, struct err *err)
{
    struct err sentence = {0};
    int rc = net_batch_run(socket_fd, batch, &sentence);
    if (rc != 0) {
        *err = sentence;
        return rc;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        int number = batch->number[i];
        if (number != 0 && number != allowed) {
            return sentence.text[0] == '\0'
                       ? err_sys(err, number, "%s", batch->what[i])
                       : err_sys(err, number, "%s (%s)", batch->what[i], sentence.text);
        }
    }
    return 0;
}

void net_batch_deinit(struct net_batch *batch)
{
    buf_deinit(&batch->bytes);
    *batch = (struct net_batch){0};
}

// ---- questions ---------------------------------------------------------------------------

typedef void (*answer_fn)(const struct nlmsghdr *header, void *context);

// Ask, and hand every answer to the function. @return 0, or a code with *out_number set to errno
static int converse(int socket_fd, struct nl_msg *message, answer_fn answer, void *context,
                    int *out_number, struct err *err)
{
    struct nlmsghdr *request = nlmsg_hdr(message);
    bool is_dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    request->nlmsg_flags |= is_dump ? 0 : NLM_F_ACK;
    request->nlmsg_seq = 1;
    int rc = send_all(socket_fd, request, request->nlmsg_len, err);
    _Alignas(struct nlmsghdr) char buffer[RECEIVE_BYTES];
    bool interrupted = false;
    *out_number = 0;
    while (rc == 0) {
        size_t got = 0;
        rc = receive(socket_fd, buffer, sizeof(buffer), &got, err);
        int left = (int)got;
        struct nlmsghdr *header = (struct nlmsghdr *)buffer;
        for (; rc == 0 && nlmsg_ok(header, left) != 0; header = nlmsg_next(header, &left)) {
            interrupted = interrupted || (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE) {
                const int *number = nlmsg_data(header);
                *out_number = interrupted ? EINTR : -*number;
                return 0;
            }
            answer(header, context);
        }
    }
    return rc;
}

static int ask(int socket_fd, struct nl_msg *message, answer_fn answer, void *context,
               int *out_number, struct err *err)
{
    int rc = converse(socket_fd, message, answer, context, out_number, err);
    nlmsg_free(message);
    return rc;
}

static void copy_name(const struct nlattr *attribute, char *out, size_t size)
{
    if (attribute != NULL) {
        snprintf(out, size, "%.*s", nla_len(attribute), (const char *)nla_data(attribute));
    }
}

static void parse_link(const struct nlmsghdr *header, struct net_link *out)
{
    const struct ifinfomsg *info = nlmsg_data(header);
    struct nlattr *attributes[IFLA_MAX + 1] = {NULL};
    struct net_link link = {.index = (uint32_t)info->ifi_index, .up = (info->ifi_flags & IFF_UP)};
    if (nlmsg_parse((struct nlmsghdr *)(uintptr_t)header, sizeof(*info), attributes, IFLA_MAX,
                    NULL) == 0) {
        copy_name(attributes[IFLA_IFNAME], link.name, sizeof(link.name));
        copy_name(attributes[IFLA_IFALIAS], link.alias, sizeof(link.alias));
        if (attributes[IFLA_OPERSTATE] != NULL) {
            link.operational = nla_get_u8(attributes[IFLA_OPERSTATE]) == IF_OPER_UP;
        }
        if (attributes[IFLA_MASTER] != NULL) {
            link.master = nla_get_u32(attributes[IFLA_MASTER]);
        }
        if (attributes[IFLA_LINK] != NULL) {
            link.peer_index = nla_get_u32(attributes[IFLA_LINK]);
        }
        if (attributes[IFLA_ADDRESS] != NULL && nla_len(attributes[IFLA_ADDRESS]) == 6) {
            memcpy(link.mac, nla_data(attributes[IFLA_ADDRESS]), 6);
        }
    }
    *out = link;
}

static void answer_link(const struct nlmsghdr *header, void *context)
{
    if (header->nlmsg_type == RTM_NEWLINK) {
        parse_link(header, context);
    }
}

int net_link_get(int socket_fd, const char *name, uint32_t index, struct net_link *out_link,
                 struct err *err)
{
    const struct ifinfomsg info = {.ifi_index = (int)index};
    struct nl_msg *message = net_message(RTM_GETLINK, 0, &info, sizeof(info));
    if (name != NULL) {
        nla_put_string(message, IFLA_IFNAME, name);
    }
    struct net_link link = {0};
    int number = 0;
    int rc = ask(socket_fd, message, answer_link, &link, &number, err);
    if (rc != 0) {
        return rc;
    }
    if (number == ENODEV) {
        return err_set(err, ERR_NOT_FOUND, "there is no link '%s' (%u)", name == NULL ? "" : name,
                       index);
    }
    if (number != 0) {
        return err_sys(err, number, "looking for a link");
    }
    *out_link = link;
    return 0;
}

#define AWAIT_TRIES 200 // of a tenth of a millisecond

void net_link_await(int socket_fd, uint32_t index)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000};
    for (int i = 0; i < AWAIT_TRIES; i++) {
        struct net_link link;
        struct err ignored;
        if (net_link_get(socket_fd, NULL, index, &link, &ignored) != 0 || link.operational) {
            return;
        }
        nanosleep(&pause, NULL);
    }
}

int net_link_delete(int socket_fd, uint32_t index, struct err *err)
{
    const struct ifinfomsg info = {.ifi_index = (int)index};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message(RTM_DELLINK, 0, &info, sizeof(info)), "deleting a link");
    return net_batch_commit(socket_fd, &batch, ENODEV, err);
}

// ---- lists -------------------------------------------------------------------------------

/** Where a dump goes: entries one behind the other. */
struct dump {
    struct buf entries;
    size_t count;
};

static int dump(int socket_fd, int type, const void *header, size_t size, answer_fn answer,
                struct dump *out, struct err *err)
{
    for (int i = 0; i < DUMP_ATTEMPTS; i++) {
        buf_reset(&out->entries);
        out->count = 0;
        int number = 0;
        struct nl_msg *message = net_message(type, NLM_F_DUMP, header, size);
        int rc = ask(socket_fd, message, answer, out, &number, err);
        if (rc != 0) {
            return rc;
        }
        if (out->count > DUMP_ENTRIES_MAX) {
            return err_set(err, ERR_NO_ROOM, "more than %d links, addresses or routes",
                           DUMP_ENTRIES_MAX);
        }
        if (number == 0) {
            return 0;
        }
        if (number != EINTR) {
            return err_sys(err, number, "listing links, addresses or routes");
        }
    }
    return err_set(err, ERR_BUSY, "links, addresses or routes change too fast to be listed");
}

static void add_entry(struct dump *dump, const void *entry, size_t size)
{
    if (dump->count++ < DUMP_ENTRIES_MAX) {
        buf_add(&dump->entries, entry, size);
    }
}

// Move a finished dump into the arena.
static void *take_entries(struct dump *dump, struct arena *arena, size_t size, size_t *out_count)
{
    void *entries = arena_array(arena, dump->count, size);
    if (dump->count > 0) {
        memcpy(entries, dump->entries.data, dump->count * size);
    }
    *out_count = dump->count;
    buf_deinit(&dump->entries);
    return entries;
}

static void answer_links(const struct nlmsghdr *header, void *context)
{
    if (header->nlmsg_type == RTM_NEWLINK) {
        struct net_link link;
        parse_link(header, &link);
        add_entry(context, &link, sizeof(link));
    }
}

int net_links(int socket_fd, struct arena *arena, struct net_link **out_links, size_t *out_count,
              struct err *err)
{
    const struct ifinfomsg info = {0};
    struct dump found = {0};
    int rc = dump(socket_fd, RTM_GETLINK, &info, sizeof(info), answer_links, &found, err);
    struct net_link *links = take_entries(&found, arena, sizeof(*links), out_count);
    if (rc == 0) {
        *out_links = links;
    }
    return rc;
}

static void answer_addresses(const struct nlmsghdr *header, void *context)
{
    const struct ifaddrmsg *info = nlmsg_data(header);
    struct nlattr *attributes[IFA_MAX + 1] = {NULL};
    if (header->nlmsg_type != RTM_NEWADDR || info->ifa_family != AF_INET ||
        nlmsg_parse((struct nlmsghdr *)(uintptr_t)header, sizeof(*info), attributes, IFA_MAX,
                    NULL) != 0) {
        return;
    }
    const struct nlattr *local =
        attributes[IFA_LOCAL] != NULL ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
    if (local != NULL && nla_len(local) == 4) {
        const struct net_address address = {
            .link_index = info->ifa_index,
            .range = {ntohl(nla_get_u32(local)), info->ifa_prefixlen},
        };
        add_entry(context, &address, sizeof(address));
    }
}

int net_addresses(int socket_fd, struct arena *arena, struct net_address **out_addresses,
                  size_t *out_count, struct err *err)
{
    const struct ifaddrmsg info = {.ifa_family = AF_INET};
    struct dump found = {0};
    int rc = dump(socket_fd, RTM_GETADDR, &info, sizeof(info), answer_addresses, &found, err);
    struct net_address *addresses = take_entries(&found, arena, sizeof(*addresses), out_count);
    if (rc == 0) {
        *out_addresses = addresses;
    }
    return rc;
}

static void answer_routes(const struct nlmsghdr *header, void *context)
{
    const struct rtmsg *info = nlmsg_data(header);
    struct nlattr *attributes[RTA_MAX + 1] = {NULL};
    if (header->nlmsg_type != RTM_NEWROUTE || info->rtm_family != AF_INET ||
        (info->rtm_flags & RTM_F_CLONED) != 0 || info->rtm_type == RTN_BROADCAST ||
        info->rtm_type == RTN_MULTICAST ||
        nlmsg_parse((struct nlmsghdr *)(uintptr_t)header, sizeof(*info), attributes, RTA_MAX,
                    NULL) != 0) {
        return;
    }
    struct net_route route = {
        .range.prefix = info->rtm_dst_len, .table = info->rtm_table, .type = info->rtm_type};
    if (attributes[RTA_DST] != NULL) {
        route.range.address = ntohl(nla_get_u32(attributes[RTA_DST]));
    }
    if (attributes[RTA_GATEWAY] != NULL) {
        route.gateway = ntohl(nla_get_u32(attributes[RTA_GATEWAY]));
    }
    if (attributes[RTA_OIF] != NULL) {
        route.link_index = nla_get_u32(attributes[RTA_OIF]);
    }
    add_entry(context, &route, sizeof(route));
}

int net_routes(int socket_fd, struct arena *arena, struct net_route **out_routes, size_t *out_count,
               struct err *err)
{
    const struct rtmsg info = {.rtm_family = AF_INET};
    struct dump found = {0};
    int rc = dump(socket_fd, RTM_GETROUTE, &info, sizeof(info), answer_routes, &found, err);
    struct net_route *routes = take_entries(&found, arena, sizeof(*routes), out_count);
    if (rc == 0) {
        *out_routes = routes;
    }
    return rc;
}

// ---- common requests ---------------------------------------------------------------------

struct nl_msg *net_message_up(uint32_t index)
{
    const struct ifinfomsg info = {
        .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    return net_message(RTM_NEWLINK, 0, &info, sizeof(info));
}

struct nl_msg *net_message_address(uint32_t index, uint32_t address, uint32_t prefix)
{
    const struct ifaddrmsg info = {.ifa_family = AF_INET,
                                   .ifa_prefixlen = (uint8_t)prefix,
                                   .ifa_index = index,
                                   .ifa_scope = RT_SCOPE_UNIVERSE};
    struct nl_msg *message =
        net_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    nla_put_u32(message, IFA_LOCAL, htonl(address));
    nla_put_u32(message, IFA_ADDRESS, htonl(address));
    return message;
}

// Linux distrusts an ARP entry's second change within a second. Here addresses pass from one task
// to the next faster than that, and only tasks of one VPC share a link.
struct nl_msg *net_message_arp_eager(uint32_t index)
{
    const struct ndtmsg info = {.ndtm_family = AF_INET};
    struct nl_msg *message = net_message(RTM_SETNEIGHTBL, 0, &info, sizeof(info));
    nla_put_string(message, NDTA_NAME, "arp_cache");
    struct nlattr *parameters = nla_nest_start(message, NDTA_PARMS);
    nla_put_u32(message, NDTPA_IFINDEX, index);
    nla_put_u64(message, NDTPA_LOCKTIME, 0);
    nla_nest_end(message, parameters);
    return message;
}

static struct nl_msg *route_message(int type, int flags, const struct net_route_options *options)
{
    // What is right behind a link can be the gateway of other routes.
    bool behind = options->gateway == 0 && options->link_index != 0;
    const struct rtmsg info = {
        .rtm_family = AF_INET,
        .rtm_dst_len = (uint8_t)options->range.prefix,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE // whatever it has
                     : behind             ? RT_SCOPE_LINK
                                          : RT_SCOPE_UNIVERSE,
        .rtm_type = options->type,
    };
    struct nl_msg *message = net_message(type, flags, &info, sizeof(info));
    if (options->range.prefix > 0) {
        nla_put_u32(message, RTA_DST, htonl(options->range.address));
    }
    if (options->gateway != 0) {
        nla_put_u32(message, RTA_GATEWAY, htonl(options->gateway));
    }
    if (options->source != 0) {
        nla_put_u32(message, RTA_PREFSRC, htonl(options->source));
    }
    if (options->link_index != 0) {
        nla_put_u32(message, RTA_OIF, options->link_index);
    }
    return message;
}

struct nl_msg *net_message_route(const struct net_route_options *options)
{
    return route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, options);
}

struct nl_msg *net_message_route_delete(const struct net_route_options *options)
{
    return route_message(RTM_DELROUTE, 0, options);
}
