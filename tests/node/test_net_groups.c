#include "api/session.h"
#include "net_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// Security groups, told by real packets between real interfaces.

#define INSTANCE "1a2b3c4d"

static const struct net_vpc vpc = {.id = {"vpc-1", 5}, .cidr = {"172.31.0.0/16", 13}};

/* ---- groups and interfaces */

/** A group under construction. */
struct making {
    struct session_security_group group;
    struct session_security_group_rule rules[16];
};

static void begin_group(struct making *making, const char *id, int64_t version)
{
    *making = (struct making){
        .group = {
            .group_id = text_of(id), .vpc_id = vpc.id, .has_version = true, .version = version}};
    making->group.rules.items = making->rules;
}

/** from and to are ports, or type and code; -2 for none. peer is a range or a group. */
static void allow(struct making *making, bool egress, int protocol, int from, int to,
                  const char *peer)
{
    struct session_security_group_rule *rule = &making->rules[making->group.rules.count++];
    *rule = (struct session_security_group_rule){
        .has_egress = true, .egress = egress, .has_protocol = true, .protocol = protocol};
    rule->has_from_port = from != -2;
    rule->from_port = from;
    rule->has_to_port = to != -2;
    rule->to_port = to;
    if (strncmp(peer, "sg-", 3) == 0) {
        rule->group = text_of(peer);
    } else {
        rule->cidr = text_of(peer);
    }
}

#define ALL (-1), -2, -2
#define ANYWHERE "0.0.0.0/0"

/** The n-th interface of a subnet, in one or two groups; groups that are known come with it. */
static int make_in(struct host *host, struct net *net, unsigned subnet, unsigned n,
                   const char *group, const char *second, const struct making *known)
{
    struct text ids[] = {text_of(group), text_of(second)};
    const struct net_eni eni = {
        .id = arena_format(&host->arena, "eni-%u%04u", subnet, n),
        .mac_address = arena_format(&host->arena, "02:00:00:%02x:00:%02x", subnet, n),
        .address = arena_format(&host->arena, "172.31.%u.%u", 16 * subnet, 10 + n),
        .prefix_length = 20,
        .gateway = arena_format(&host->arena, "172.31.%u.1", 16 * subnet),
        .subnet_id = arena_format(&host->arena, "subnet-%u", subnet),
        .vpc = vpc,
        .groups = {.items = ids, .count = second == NULL ? 1 : 2},
        .groups_told = true,
        .known = known == NULL ? NULL : &known->group,
        .known_count = known != NULL,
    };
    struct text path;
    OK(net_eni_create(net, &eni, &host->arena, &path, &host->err));
    int fd = open(path.data, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void put(struct host *host, struct net *net, const struct making *making)
{
    OK(net_groups_put(net, &making->group, 1, &host->err));
}

/** A group that lets all out. */
static void begin_open(struct making *making, const char *id, int64_t version)
{
    begin_group(making, id, version);
    allow(making, true, ALL, ANYWHERE);
}

/* ---- traffic */

static int listen_in(struct host *host, int namespace_fd, int type, const char *address,
                     uint16_t port)
{
    int fd = open_in(host, namespace_fd, type, 0);
    struct sockaddr_in at = address_of(address, port);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    CHECK(type != SOCK_STREAM || listen(fd, 8) == 0);
    return fd;
}

/** @return a connection, or -1 when there was none in time */
static int connect_from(struct host *host, int namespace_fd, const char *address, uint16_t port,
                        int wait_ms)
{
    int fd = open_in(host, namespace_fd, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in to = address_of(address, port);
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof(error);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    if (poll(&writable, 1, wait_ms) != 1 ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool connects(struct host *host, int namespace_fd, const char *address, uint16_t port,
                     bool expected)
{
    int fd = connect_from(host, namespace_fd, address, port, expected ? WAIT_MS : SILENCE_MS);
    fd_close(fd);
    return fd >= 0;
}

/** @return whether a datagram to a listener arrives */
static bool datagram(struct host *host, int from_fd, int listener, const char *address,
                     uint16_t port, bool expected)
{
    AUTO(fd_close) int sender = open_in(host, from_fd, SOCK_DGRAM, 0);
    struct sockaddr_in to = address_of(address, port);
    char byte = 0;
    CHECK(sendto(sender, "q", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1 || !expected);
    if (!readable(listener, expected ? WAIT_MS : SILENCE_MS)) {
        return false;
    }
    CHECK(recv(listener, &byte, 1, 0) == 1);
    return true;
}

/** Datagrams to a listener on port 53 and back, from a port of its own that is always the same. */
static bool talks(struct host *host, int from_fd, const char *from, int listener, const char *to,
                  bool expected)
{
    AUTO(fd_close) int sender = listen_in(host, from_fd, SOCK_DGRAM, from, 4711);
    struct sockaddr_in there = address_of(to, 53);
    struct sockaddr_in back = {0};
    socklen_t size = sizeof(back);
    char byte = 0;
    CHECK(sendto(sender, "q", 1, 0, (struct sockaddr *)&there, sizeof(there)) == 1);
    if (!readable(listener, expected ? WAIT_MS : SILENCE_MS)) {
        return false;
    }
    CHECK(recvfrom(listener, &byte, 1, 0, (struct sockaddr *)&back, &size) == 1);
    CHECK(sendto(listener, "a", 1, 0, (struct sockaddr *)&back, size) == 1);
    return readable(sender, WAIT_MS);
}

/* ---- the tests */

static void protocols(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making client;
    begin_open(&client, "sg-client", 1);
    struct making server;
    begin_open(&server, "sg-server", 2);
    int one = make_in(host, net, 0, 1, "sg-client", NULL, &client);
    int two = make_in(host, net, 0, 2, "sg-server", NULL, &server);
    int far = make_in(host, net, 1, 1, "sg-client", NULL, NULL);
    AUTO(fd_close) int web = listen_in(host, two, SOCK_STREAM, "172.31.0.12", 80);
    AUTO(fd_close) int web81 = listen_in(host, two, SOCK_STREAM, "172.31.0.12", 81);
    CHECK(web >= 0 && web81 >= 0);
    AUTO(fd_close) int names = listen_in(host, two, SOCK_DGRAM, "172.31.0.12", 53);
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    CHECK(!connects(host, one, "172.31.0.12", 80, false));
    CHECK(!datagram(host, one, names, "172.31.0.12", 53, false));
    // Itself, its gateway and its own addresses need no rule.
    CHECK(ping(host, two, "127.0.0.1", WAIT_MS));
    CHECK(ping(host, two, "172.31.0.12", WAIT_MS));
    CHECK(ping(host, two, "172.31.0.1", WAIT_MS));

    begin_group(&server, "sg-server", 3);
    allow(&server, false, IPPROTO_TCP, 79, 80, ANYWHERE);
    put(host, net, &server);
    CHECK(connects(host, one, "172.31.0.12", 80, true));
    CHECK(connects(host, far, "172.31.0.12", 80, true));
    CHECK(!connects(host, one, "172.31.0.12", 81, false));
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));

    begin_group(&server, "sg-server", 4);
    allow(&server, false, IPPROTO_UDP, 53, 53, "172.31.0.0/20");
    allow(&server, false, IPPROTO_ICMP, 8, -1, "172.31.0.11/32");
    put(host, net, &server);
    CHECK(datagram(host, one, names, "172.31.0.12", 53, true));
    CHECK(!datagram(host, far, names, "172.31.0.12", 53, false));
    CHECK(ping(host, one, "172.31.0.12", WAIT_MS));
    CHECK(!ping(host, far, "172.31.0.12", SILENCE_MS));
    CHECK(!connects(host, one, "172.31.0.12", 80, false));

    // An older word changes nothing.
    begin_group(&server, "sg-server", 3);
    allow(&server, false, ALL, ANYWHERE);
    put(host, net, &server);
    CHECK(!connects(host, one, "172.31.0.12", 80, false));
    net_close(net);
}

static void groups_let_through_what_rules_say(void **state)
{
    (void)state;
    in_own_host(protocols);
}

static void members(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making client;
    begin_open(&client, "sg-client", 1);
    struct making server;
    begin_open(&server, "sg-server", 2);
    allow(&server, false, ALL, "sg-client");
    int friend = make_in(host, net, 0, 1, "sg-client", NULL, &client);
    int two = make_in(host, net, 0, 2, "sg-server", NULL, &server);
    int other = make_in(host, net, 0, 3, "sg-server", NULL, NULL);
    CHECK(two >= 0);
    CHECK(ping(host, friend, "172.31.0.12", WAIT_MS));
    CHECK(!ping(host, other, "172.31.0.12", SILENCE_MS));
    // One that comes later, in another subnet and in both groups.
    int late = make_in(host, net, 1, 4, "sg-server", "sg-client", NULL);
    CHECK(ping(host, late, "172.31.0.12", WAIT_MS));
    CHECK(ping(host, friend, "172.31.16.14", WAIT_MS));
    CHECK(!ping(host, other, "172.31.16.14", SILENCE_MS));
    // Its address is nobody's any more: who gets it next is in the groups that it is in, and goes
    // on with no conversation of its predecessor.
    AUTO(fd_close) int names = listen_in(host, two, SOCK_DGRAM, "172.31.0.12", 53);
    CHECK(talks(host, late, "172.31.16.14", names, "172.31.0.12", true));
    OK(net_eni_destroy(net, TEXT("eni-10004"), &host->err));
    int heir = make_in(host, net, 1, 4, "sg-server", NULL, NULL);
    CHECK(!talks(host, heir, "172.31.16.14", names, "172.31.0.12", false));
    CHECK(!ping(host, heir, "172.31.0.12", SILENCE_MS));
    // Its own group.
    begin_group(&server, "sg-server", 5);
    allow(&server, true, ALL, ANYWHERE);
    allow(&server, false, IPPROTO_ICMP, -1, -1, "sg-server");
    put(host, net, &server);
    CHECK(ping(host, heir, "172.31.0.12", WAIT_MS));
    CHECK(!ping(host, friend, "172.31.0.12", SILENCE_MS));
    net_close(net);
}

static void groups_know_their_members(void **state)
{
    (void)state;
    in_own_host(members);
}

static void connections(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making client;
    begin_open(&client, "sg-client", 1);
    struct making server;
    begin_open(&server, "sg-server", 2);
    allow(&server, false, IPPROTO_TCP, 80, 80, "172.31.0.0/16");
    int one = make_in(host, net, 0, 1, "sg-client", NULL, &client);
    int two = make_in(host, net, 0, 2, "sg-server", NULL, &server);
    AUTO(fd_close) int web = listen_in(host, two, SOCK_STREAM, "172.31.0.12", 80);
    AUTO(fd_close) int near_end = connect_from(host, one, "172.31.0.12", 80, WAIT_MS);
    CHECK(near_end >= 0);
    AUTO(fd_close) int far_end = accept(web, NULL, NULL);
    char byte = 0;
    begin_group(&server, "sg-server", 3);
    put(host, net, &server);
    CHECK(!connects(host, one, "172.31.0.12", 80, false));
    CHECK(send(near_end, "a", 1, 0) == 1 && readable(far_end, WAIT_MS));
    CHECK(recv(far_end, &byte, 1, 0) == 1 && byte == 'a');
    CHECK(send(far_end, "b", 1, 0) == 1 && readable(near_end, WAIT_MS));
    net_close(net);
}

static void connections_outlive_their_rule(void **state)
{
    (void)state;
    in_own_host(connections);
}

static void outward(struct host *host)
{
    make_world(host);
    struct net *net = open_instance(host, INSTANCE, 0);
    struct making group;
    begin_group(&group, "sg-1", 1);
    allow(&group, false, ALL, ANYWHERE);
    allow(&group, true, IPPROTO_TCP, 443, 443, ANYWHERE);
    int one = make_in(host, net, 0, 1, "sg-1", NULL, &group);
    int two = make_in(host, net, 0, 2, "sg-1", NULL, NULL);
    AUTO(fd_close) int tls = listen_in(host, host->world_fd, SOCK_STREAM, "203.0.113.2", 443);
    AUTO(fd_close) int web = listen_in(host, host->world_fd, SOCK_STREAM, "203.0.113.2", 80);
    CHECK(tls >= 0 && web >= 0);
    CHECK(connects(host, one, "203.0.113.2", 443, true));
    CHECK(!connects(host, one, "203.0.113.2", 80, false));
    CHECK(!ping(host, one, "203.0.113.2", SILENCE_MS));
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    begin_group(&group, "sg-1", 2);
    allow(&group, false, ALL, ANYWHERE);
    allow(&group, true, IPPROTO_ICMP, -1, -1, "sg-1");
    put(host, net, &group);
    CHECK(ping(host, one, "172.31.0.12", WAIT_MS));
    CHECK(!ping(host, two, "203.0.113.2", SILENCE_MS));
    CHECK(!connects(host, two, "203.0.113.2", 443, false));
    net_close(net);
}

static void egress_has_rules_of_its_own(void **state)
{
    (void)state;
    in_own_host(outward);
}

/* ---- forged packets */

static void send_frame(struct host *host, int namespace_fd, const uint8_t *frame, size_t size)
{
    int back = -1;
    OK(net_namespace_enter(namespace_fd, &back, &host->err));
    AUTO(fd_close) int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    const struct sockaddr_ll to = {.sll_family = AF_PACKET,
                                   .sll_ifindex = (int)if_nametoindex("eth0")};
    net_namespace_leave(back);
    CHECK(fd >= 0);
    CHECK(sendto(fd, frame, size, 0, (const struct sockaddr *)(const void *)&to, sizeof(to)) ==
          (ssize_t)size);
}

static uint16_t checksum(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i += 2) {
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    }
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t) ~(sum + (sum >> 16));
}

// A datagram of one byte to 172.31.0.12, port 53, in a frame to its interface.
static void forge(uint8_t frame[64], uint8_t mac_last, uint8_t address_last)
{
    static const uint8_t begin[] = {
        0x02, 0,  0, 0,  0, 2,   0x02, 0,  0,  0,  0, 0, 0x08, 0x00,       // Ethernet
        0x45, 0,  0, 29, 0, 0,   0,    0,  64, 17, 0, 0, 172,  31,   0, 0, // IPv4
        172,  31, 0, 12, 4, 210, 0,    53, 0,  9,  0, 0, 'x'};             // UDP
    memset(frame, 0, 64);
    memcpy(frame, begin, sizeof(begin));
    frame[11] = mac_last;
    frame[29] = address_last;
    uint16_t sum = checksum(frame + 14, 20);
    frame[24] = (uint8_t)(sum >> 8);
    frame[25] = (uint8_t)sum;
}

static void forged(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making group;
    begin_group(&group, "sg-1", 1);
    allow(&group, true, ALL, ANYWHERE);
    allow(&group, false, ALL, "172.31.0.13/32");
    allow(&group, false, ALL, "172.31.0.11/32");
    int one = make_in(host, net, 0, 1, "sg-1", NULL, &group);
    int two = make_in(host, net, 0, 2, "sg-1", NULL, NULL);
    CHECK(make_in(host, net, 0, 3, "sg-1", NULL, NULL) >= 0);
    AUTO(fd_close) int listener = listen_in(host, two, SOCK_DGRAM, "172.31.0.12", 53);
    uint8_t frame[64];
    char byte = 0;
    // Its own: made by hand it passes, so the others are not stopped for their form.
    forge(frame, 1, 11);
    send_frame(host, one, frame, 60);
    CHECK(readable(listener, WAIT_MS) && recv(listener, &byte, 1, 0) == 1 && byte == 'x');
    static const struct {
        const char *name;
        uint8_t mac;
        uint8_t address;
    } others[] = {{"a neighbour's address", 1, 13},
                  {"a neighbour's hardware address", 3, 11},
                  {"both", 3, 13},
                  {"an address of nobody", 1, 99}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        fprintf(stderr, "  %s\n", others[i].name);
        forge(frame, others[i].mac, others[i].address);
        send_frame(host, one, frame, 60);
        CHECK(!readable(listener, SILENCE_MS));
    }
    // ARP that claims the neighbour's address, and IPv6, which nothing here speaks.
    static const uint8_t claim[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0,  0, 0,  0,
                                    1,    0x08, 0x06, 0,    1,    0x08, 0x00, 6,  4, 0,  2,
                                    0x02, 0,    0,    0,    0,    1,    172,  31, 0, 13, 0x02,
                                    0,    0,    0,    0,    2,    172,  31,   0,  12};
    memset(frame, 0, sizeof(frame));
    memcpy(frame, claim, sizeof(claim));
    send_frame(host, one, frame, 60);
    CHECK(ping(host, two, "172.31.0.13", WAIT_MS) == false); // no rule for .12
    begin_group(&group, "sg-1", 2);
    allow(&group, true, ALL, ANYWHERE);
    allow(&group, false, ALL, "sg-1");
    put(host, net, &group);
    CHECK(ping(host, two, "172.31.0.13", WAIT_MS));
    net_close(net);
}

static void forged_packets_go_nowhere(void **state)
{
    (void)state;
    in_own_host(forged);
}

/* ---- what a restart finds */

static void restarts(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making client;
    begin_open(&client, "sg-client", 1);
    struct making server;
    begin_open(&server, "sg-server", 2);
    allow(&server, false, IPPROTO_TCP, 80, 80, "sg-client");
    int one = make_in(host, net, 0, 1, "sg-client", NULL, &client);
    int two = make_in(host, net, 0, 2, "sg-server", NULL, &server);
    AUTO(fd_close) int web = listen_in(host, two, SOCK_STREAM, "172.31.0.12", 80);
    AUTO(fd_close) int near_end = connect_from(host, one, "172.31.0.12", 80, WAIT_MS);
    AUTO(fd_close) int far_end = accept(web, NULL, NULL);
    net_close(net);
    // Nobody is there, and all holds.
    CHECK(connects(host, one, "172.31.0.12", 80, true));
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    net = open_instance(host, INSTANCE, 2);
    CHECK(connects(host, one, "172.31.0.12", 80, true));
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    CHECK(send(near_end, "a", 1, 0) == 1 && readable(far_end, WAIT_MS));
    // A member that comes now meets those of before, by rules that were told before.
    int three = make_in(host, net, 0, 3, "sg-client", NULL, NULL);
    CHECK(connects(host, three, "172.31.0.12", 80, true));
    begin_group(&server, "sg-server", 3);
    put(host, net, &server);
    CHECK(!connects(host, three, "172.31.0.12", 80, false));

    // Somebody flushed it all; the next change makes it anew.
    int back = -1;
    int router = open("/run/berth-test/" INSTANCE "/netns/vpc-1", O_RDONLY | O_CLOEXEC);
    OK(net_namespace_enter(router, &back, &host->err));
    run_filter("flush ruleset\n");
    net_namespace_leave(back);
    CHECK(connects(host, three, "172.31.0.12", 80, true));
    begin_group(&server, "sg-server", 4);
    allow(&server, false, IPPROTO_ICMP, -1, -1, "sg-client");
    put(host, net, &server);
    CHECK(!connects(host, three, "172.31.0.12", 80, false));
    CHECK(ping(host, three, "172.31.0.12", WAIT_MS));
    OK(net_destroy_all(net, &host->err));
    CHECK(count_entries("/run/berth-test/" INSTANCE "/groups") == 0);
    net_close(net);
}

static void groups_outlive_the_agent(void **state)
{
    (void)state;
    in_own_host(restarts);
}

static void from_before(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making group;
    begin_open(&group, "sg-1", 1);
    int one = make_in(host, net, 0, 1, "sg-1", NULL, &group);
    int two = make_in(host, net, 0, 2, "sg-1", NULL, NULL);
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    net_close(net);
    // An older program kept nothing of groups.
    OK(file_remove_tree(AT_FDCWD, "/run/berth-test/" INSTANCE "/groups", &host->err));
    int back = -1;
    int router = open("/run/berth-test/" INSTANCE "/netns/vpc-1", O_RDONLY | O_CLOEXEC);
    OK(net_namespace_enter(router, &back, &host->err));
    run_filter("delete table ip berth-groups-" INSTANCE "\ndelete table bridge berth-" INSTANCE
               "\n");
    net_namespace_leave(back);
    net = open_instance(host, INSTANCE, 2);
    struct text id = TEXT("sg-1");
    struct net_eni eni = {.id = TEXT("eni-00001"),
                          .mac_address = TEXT("02:00:00:00:00:01"),
                          .address = TEXT("172.31.0.11"),
                          .prefix_length = 20,
                          .gateway = TEXT("172.31.0.1"),
                          .subnet_id = TEXT("subnet-0"),
                          .vpc = vpc,
                          .groups = {&id, 1}};
    OK(net_eni_adopt(net, &eni, &host->err));
    eni.id = TEXT("eni-00002");
    eni.mac_address = TEXT("02:00:00:00:00:02");
    eni.address = TEXT("172.31.0.12");
    OK(net_eni_adopt(net, &eni, &host->err));
    OK(net_eni_adopt(net, &eni, &host->err)); // again is fine
    CHECK(ping(host, one, "172.31.0.12", WAIT_MS));
    CHECK(ping(host, two, "172.31.0.11", WAIT_MS));
    put(host, net, &group);
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    net_close(net);
}

static void interfaces_from_before_stay_open_until_told(void **state)
{
    (void)state;
    in_own_host(from_before);
}

// Rules change while the first task of a VPC is prepared, before there is a router: what the task
// came with is older by then. So is what it came with after its agent was told and ended.
static void changed_before(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    struct making old;
    begin_open(&old, "sg-1", 1);
    allow(&old, false, ALL, ANYWHERE);
    struct making closed;
    begin_open(&closed, "sg-1", 2);
    put(host, net, &closed);
    put(host, net, &old); // late
    int one = make_in(host, net, 0, 1, "sg-1", NULL, &old);
    int two = make_in(host, net, 0, 2, "sg-1", NULL, NULL);
    CHECK(two >= 0);
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));

    begin_open(&closed, "sg-2", 4);
    net_groups_keep(net, &closed.group, 1);
    net_close(net);
    net = open_instance(host, INSTANCE, 2);
    begin_open(&old, "sg-2", 3);
    allow(&old, false, ALL, ANYWHERE);
    int three = make_in(host, net, 0, 3, "sg-2", NULL, &old);
    CHECK(three >= 0);
    CHECK(!ping(host, one, "172.31.0.13", SILENCE_MS));
    begin_open(&old, "sg-2", 5);
    allow(&old, false, ALL, ANYWHERE);
    put(host, net, &old);
    CHECK(ping(host, one, "172.31.0.13", WAIT_MS));
    net_close(net);
}

static void the_newest_rules_count_before_there_is_an_interface(void **state)
{
    (void)state;
    in_own_host(changed_before);
}

// The default: what no rule was told of lets nothing through.
static void untold(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 2);
    int one = make_in(host, net, 0, 1, "sg-1", NULL, NULL);
    int two = make_in(host, net, 0, 2, "sg-1", NULL, NULL);
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));
    struct making group;
    begin_group(&group, "sg-1", 1);
    allow(&group, true, ALL, ANYWHERE);
    allow(&group, false, ALL, ANYWHERE);
    put(host, net, &group);
    CHECK(ping(host, one, "172.31.0.12", WAIT_MS));
    CHECK(ping(host, two, "172.31.0.11", WAIT_MS));
    net_close(net);
}

static void unknown_groups_are_closed(void **state)
{
    (void)state;
    in_own_host(untold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_let_through_what_rules_say),
        cmocka_unit_test(groups_know_their_members),
        cmocka_unit_test(connections_outlive_their_rule),
        cmocka_unit_test(egress_has_rules_of_its_own),
        cmocka_unit_test(forged_packets_go_nowhere),
        cmocka_unit_test(groups_outlive_the_agent),
        cmocka_unit_test(interfaces_from_before_stay_open_until_told),
        cmocka_unit_test(unknown_groups_are_closed),
        cmocka_unit_test(the_newest_rules_count_before_there_is_an_interface),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
