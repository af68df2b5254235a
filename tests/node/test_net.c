#include "net_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

// The node's networks of VPCs: routers, interfaces, and what crashes leave of them.

/* ---- things to make */

static const struct net_vpc vpc = {.id = {"vpc-1", 5}, .cidr = {"172.31.0.0/16", 13}};

// The n-th interface of a subnet: 172.31.<16 * subnet>.<10 + n>.
static void eni_in(struct host *host, const struct net_vpc *of, unsigned subnet, unsigned n,
                   struct net_eni *out)
{
    *out = (struct net_eni){
        .id = arena_format(&host->arena, "eni-%u%04u", subnet, n),
        .mac_address =
            arena_format(&host->arena, "02:00:00:%02x:%02x:%02x", subnet, n >> 8, n & 255),
        .address = arena_format(&host->arena, "172.31.%u.%u", 16 * subnet + n / 200, 10 + n % 200),
        .prefix_length = 20,
        .gateway = arena_format(&host->arena, "172.31.%u.1", 16 * subnet),
        .subnet_id = arena_format(&host->arena, "subnet-%u", subnet),
        .vpc = *of,
    };
}

// Make it, and give a descriptor of its namespace.
static int make_eni(struct host *host, struct net *net, const struct net_eni *eni)
{
    struct text path;
    OK(net_eni_create(net, eni, &host->arena, &path, &host->err));
    int fd = open(path.data, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static int make_nth(struct host *host, struct net *net, unsigned subnet, unsigned n)
{
    struct net_eni eni;
    eni_in(host, &vpc, subnet, n, &eni);
    return make_eni(host, net, &eni);
}

/* ---- connections */

static void connects(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 4);
    int one = make_nth(host, net, 0, 1);
    int two = make_nth(host, net, 0, 2);
    int far = make_nth(host, net, 1, 1);
    CHECK(ping(host, one, "172.31.0.1", WAIT_MS));
    CHECK(ping(host, one, "172.31.0.12", WAIT_MS));
    CHECK(ping(host, two, "172.31.0.11", WAIT_MS));
    CHECK(ping(host, one, "172.31.16.11", WAIT_MS));
    CHECK(ping(host, far, "172.31.0.12", WAIT_MS));
    CHECK(ping(host, one, "127.0.0.1", WAIT_MS));
    // Inside a VPC both ends see each other's true address.
    CHECK(exchange(host, one, far, "172.31.16.11").s_addr == inet_addr("172.31.0.11"));
    // Without host_route the host has no way in.
    CHECK(!ping(host, -1, "172.31.0.11", SILENCE_MS));
    net_close(net);
}

static void net_eni_connects_its_vpc(void **state)
{
    (void)state;
    in_own_host(connects);
}

static void goes_outward(struct host *host)
{
    make_world(host);
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    int eni = make_nth(host, net, 0, 1);
    CHECK(ping(host, eni, "203.0.113.2", WAIT_MS));
    CHECK(exchange(host, eni, host->world_fd, "203.0.113.2").s_addr == inet_addr("203.0.113.1"));
    // What belongs to the VPC and is nowhere stays inside instead of leaving by the uplink.
    AUTO(fd_close) int world = open_in(host, host->world_fd, SOCK_RAW, IPPROTO_ICMP);
    CHECK(!ping(host, eni, "172.31.99.9", SILENCE_MS));
    CHECK(!readable(world, 0));
    net_close(net);
}

static void net_translates_outward(void **state)
{
    (void)state;
    in_own_host(goes_outward);
}

static void host_reaches(struct host *host)
{
    make_world(host);
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    struct net_vpc open_vpc = vpc;
    open_vpc.host_route = true;
    struct net_eni from;
    eni_in(host, &open_vpc, 0, 1, &from);
    int eni = make_eni(host, net, &from);
    CHECK(ping(host, -1, "172.31.0.11", WAIT_MS));
    exchange(host, -1, eni, "172.31.0.11");
    CHECK(exchange(host, eni, host->world_fd, "203.0.113.2").s_addr == inet_addr("203.0.113.1"));
    // Who is beyond the host has no business inside, even knowing the way.
    CHECK(!ping(host, host->world_fd, "172.31.0.11", SILENCE_MS));
    // Taking the route away again.
    OK(net_vpc_ensure(net, &vpc, &host->err));
    CHECK(!ping(host, -1, "172.31.0.11", SILENCE_MS));
    CHECK(ping(host, eni, "203.0.113.2", WAIT_MS));
    net_close(net);
}

static void net_vpc_host_route_is_answered(void **state)
{
    (void)state;
    in_own_host(host_reaches);
}

static void route_is_taken(struct host *host)
{
    make_world(host);
    AUTO(fd_close) int socket_fd = -1;
    OK(net_socket_open(&socket_fd, &host->err));
    add_route(host, socket_fd, "172.31.128.0/17", "203.0.113.2");
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    struct net_vpc open_vpc = vpc;
    open_vpc.host_route = true;
    CHECK(net_vpc_ensure(net, &open_vpc, &host->err) == ERR_EXISTS);
    fprintf(stderr, "  %s\n", host->err.text);
    CHECK(strstr(host->err.text, "uplink") != NULL);
    // Tasks do not need the host's way in.
    struct net_eni from;
    eni_in(host, &open_vpc, 0, 1, &from);
    int eni = make_eni(host, net, &from);
    CHECK(ping(host, eni, "203.0.113.2", WAIT_MS));
    struct text cidr;
    OK(net_free_cidr(NET_USE_VPC, &(struct text_list){0}, &host->arena, &cidr, &host->err));
    CHECK(text_is(cidr, "172.30.0.0/16"));
    net_close(net);
}

static void net_vpc_host_route_yields(void **state)
{
    (void)state;
    in_own_host(route_is_taken);
}

// Docker and firewalls drop what is forwarded; an accept of our own table would not help.
static void firewall_drops(struct host *host)
{
    make_world(host);
    run_filter("table ip filter { chain FORWARD { type filter hook forward priority 0; "
               "policy drop; }; }\n");
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    int eni = make_nth(host, net, 0, 1);
    CHECK(ping(host, eni, "203.0.113.2", WAIT_MS));
    CHECK(ruleset_names("comment \"berth-1a2b3c4d\""));
    net_close(net);
    net = open_instance(host, "1a2b3c4d", 0); // does not add its rules a second time
    OK(net_destroy_all(net, &host->err));
    CHECK(!ruleset_names("berth"));
    CHECK(ruleset_names("policy drop"));
    net_close(net);
}

static void net_open_passes_firewalls(void **state)
{
    (void)state;
    in_own_host(firewall_drops);
}

static void instances_apart(struct host *host)
{
    make_world(host);
    struct net *first = open_instance(host, "11111111", 0);
    struct net *second = open_instance(host, "22222222", 0);
    struct net_vpc open_vpc = vpc;
    open_vpc.host_route = true;
    struct net_eni from;
    eni_in(host, &open_vpc, 0, 1, &from);
    int one = make_eni(host, first, &from);
    int two = make_eni(host, second, &from); // the same ids and addresses
    int only_second = make_nth(host, second, 0, 2);
    CHECK(ping(host, one, "203.0.113.2", WAIT_MS));
    CHECK(ping(host, two, "203.0.113.2", WAIT_MS));
    CHECK(ping(host, only_second, "172.31.0.11", WAIT_MS));
    CHECK(!ping(host, one, "172.31.0.12", SILENCE_MS));

    // Another VPC of the same instance with a range of its own, which the host routes: no task of
    // the other VPC gets there through the host.
    const struct net_vpc third = {
        .id = {"vpc-3", 5}, .cidr = {"10.3.0.0/16", 11}, .host_route = true};
    const struct net_eni apart = {.id = {"eni-apart", 9},
                                  .mac_address = {"02:00:00:00:00:09", 17},
                                  .address = {"10.3.0.9", 8},
                                  .prefix_length = 24,
                                  .gateway = {"10.3.0.1", 8},
                                  .subnet_id = {"subnet-3", 8},
                                  .vpc = third};
    int apart_fd = make_eni(host, first, &apart);
    CHECK(ping(host, -1, "10.3.0.9", WAIT_MS));
    CHECK(!ping(host, one, "10.3.0.9", SILENCE_MS));
    CHECK(!ping(host, two, "10.3.0.9", SILENCE_MS));
    CHECK(!ping(host, apart_fd, "172.31.0.11", SILENCE_MS));

    // Cleaning one up leaves the other as it is.
    OK(net_destroy_all(first, &host->err));
    CHECK(!ruleset_names("berth-11111111"));
    CHECK(ruleset_names("berth-22222222"));
    CHECK(ping(host, two, "203.0.113.2", WAIT_MS));
    net_close(first);
    net_close(second);
}

static void instances_never_meet(void **state)
{
    (void)state;
    in_own_host(instances_apart);
}

// An address passes to the next task at once: nobody goes on sending to the former owner.
static void address_moves(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 8);
    int asker = make_nth(host, net, 0, 1);
    struct net_eni owner;
    eni_in(host, &vpc, 0, 2, &owner);
    for (unsigned i = 0; i < 5; i++) {
        owner.id = arena_format(&host->arena, "eni-owner%u", i);
        owner.mac_address = arena_format(&host->arena, "02:00:00:00:ff:%02u", i);
        int fd = make_eni(host, net, &owner);
        CHECK(ping(host, asker, "172.31.0.12", WAIT_MS));
        // The former's namespace lives on, as a process that does not end would have it.
        OK(net_eni_destroy(net, owner.id, &host->err));
        CHECK(!ping(host, fd, "172.31.0.1", SILENCE_MS));
    }
    net_close(net);
}

static void net_eni_addresses_move_at_once(void **state)
{
    (void)state;
    in_own_host(address_moves);
}

/* ---- making and removing */

static void runs_twice(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    struct net_eni eni;
    struct text path;
    eni_in(host, &vpc, 0, 1, &eni);
    int fd = make_eni(host, net, &eni);
    struct stat before;
    struct stat after;
    CHECK(fstat(fd, &before) == 0);
    OK(net_eni_create(net, &eni, &host->arena, &path, &host->err));
    CHECK(stat(path.data, &after) == 0);
    CHECK(before.st_ino == after.st_ino); // the same namespace: tasks in it are undisturbed
    OK(net_vpc_ensure(net, &vpc, &host->err));
    OK(net_vpc_ensure(net, &vpc, &host->err));
    CHECK(ping(host, fd, "172.31.0.1", WAIT_MS));

    // What is there but is not what is wanted is replaced.
    eni.address = TEXT("172.31.0.99");
    int replaced = make_eni(host, net, &eni);
    CHECK(stat(path.data, &after) == 0);
    CHECK(before.st_ino != after.st_ino);
    int other = make_nth(host, net, 0, 2);
    CHECK(ping(host, other, "172.31.0.99", WAIT_MS));
    CHECK(ping(host, replaced, "172.31.0.1", WAIT_MS));

    struct text_list ids;
    OK(net_eni_list(net, &host->arena, &ids, &host->err));
    CHECK(ids.count == 2);
    OK(net_eni_destroy(net, eni.id, &host->err));
    OK(net_eni_destroy(net, eni.id, &host->err));
    OK(net_eni_destroy(net, TEXT("eni-never-made"), &host->err));
    OK(net_eni_list(net, &host->arena, &ids, &host->err));
    CHECK(ids.count == 1);
    CHECK(text_is(ids.items[0], "eni-00002"));
    net_close(net);
}

static void every_step_runs_twice(void **state)
{
    (void)state;
    in_own_host(runs_twice);
}

static void refuses(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    struct net_eni good;
    eni_in(host, &vpc, 0, 1, &good);
    struct net_eni cases[10];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cases[i] = good;
    }
    cases[0].id = TEXT("eni-../../x");
    cases[1].id = TEXT("vpc-1");
    cases[2].mac_address = TEXT("ff:ff:ff:ff:ff:ff");
    cases[3].address = TEXT("10.0.0.1");
    cases[4].address = TEXT("172.31.0.1"); // the gateway's
    cases[5].prefix_length = 8;
    cases[6].gateway = TEXT("172.31.200.1");
    cases[7].subnet_id = TEXT("");
    cases[8].vpc.cidr = TEXT("172.31.0.1/16");
    cases[9].vpc.id = TEXT("eni-00001");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text path;
        CHECK(net_eni_create(net, &cases[i], &host->arena, &path, &host->err) == ERR_INVALID);
        fprintf(stderr, "  %s\n", host->err.text);
    }
    CHECK(count_entries("/run/berth-test/1a2b3c4d/netns") == 0);
    net_close(net);
}

static void net_eni_create_refuses(void **state)
{
    (void)state;
    in_own_host(refuses);
}

// Libnftables would end this process: it watches its sockets with select().
static void needs_low_descriptors(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    struct net_eni eni;
    eni_in(host, &vpc, 0, 4, &eni);
    int first = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int last = first;
    while (last < FD_HIGH) {
        last = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK(last >= 0);
    }
    struct text path;
    CHECK(net_eni_create(net, &eni, &host->arena, &path, &host->err) == ERR_BUSY);
    CHECK(strstr(host->err.text, "descriptors below 1024") != NULL);
    CHECK(close_range((unsigned)first, (unsigned)last, 0) == 0);
    close(make_eni(host, net, &eni));
    OK(net_destroy_all(net, &host->err));
    net_close(net);
}

static void net_eni_create_without_low_descriptors(void **state)
{
    (void)state;
    in_own_host(needs_low_descriptors);
}

static void leaves_nothing(struct host *host)
{
    make_world(host);
    size_t links = count_links(host);
    size_t mounts = count_mounts("berth-test");
    size_t fds = count_entries("/proc/self/fd");
    struct net *net = open_instance(host, "1a2b3c4d", 4);
    struct net_vpc open_vpc = vpc;
    open_vpc.host_route = true;
    OK(net_vpc_ensure(net, &open_vpc, &host->err));
    for (unsigned n = 0; n < 5; n++) {
        close(make_nth(host, net, n % 2, n));
    }
    CHECK(count_links(host) == links + 1);
    CHECK(ruleset_names("berth-1a2b3c4d"));
    OK(net_destroy_all(net, &host->err));
    OK(net_destroy_all(net, &host->err));
    CHECK(gone_soon(host, links));
    CHECK(count_mounts("berth-test") == mounts);
    CHECK(count_entries("/run/berth-test/1a2b3c4d") == 0);
    CHECK(!ruleset_names("berth"));
    // It can begin again.
    int eni = make_nth(host, net, 0, 1);
    CHECK(ping(host, eni, "203.0.113.2", WAIT_MS));
    close(eni);
    OK(net_destroy_all(net, &host->err));
    net_close(net);
    CHECK(count_entries("/proc/self/fd") == fds);
    CHECK(count_mounts("berth-test") == mounts);
}

static void net_destroy_all_leaves_nothing(void **state)
{
    (void)state;
    in_own_host(leaves_nothing);
}

#define MANY 200

static void makes_many(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 16);
    close(make_nth(host, net, 0, MANY)); // the router and the bridge stay
    size_t fds = count_entries("/proc/self/fd");
    size_t mounts = count_mounts("berth-test");
    for (unsigned n = 0; n < MANY; n++) {
        close(make_nth(host, net, 0, n));
    }
    CHECK(count_mounts("berth-test") == mounts + MANY);
    int one = make_nth(host, net, 0, 7);
    CHECK(ping(host, one, "172.31.0.199", WAIT_MS));
    close(one);
    for (unsigned n = 0; n < MANY; n++) {
        struct net_eni eni;
        eni_in(host, &vpc, 0, n, &eni);
        OK(net_eni_destroy(net, eni.id, &host->err));
    }
    CHECK(count_mounts("berth-test") == mounts);
    // Of the pool's descriptors there are as many as it is full.
    CHECK(count_entries("/proc/self/fd") <= fds + 2 * 16);
    CHECK(count_entries("/run/berth-test/1a2b3c4d/netns") == 2);
    OK(net_destroy_all(net, &host->err));
    net_close(net);
    CHECK(count_entries("/proc/self/fd") + 6 <= fds + 2 * 16);
}

static void net_eni_makes_many(void **state)
{
    (void)state;
    in_own_host(makes_many);
}

#define THREADS 4
#define PER_THREAD 20

struct worker {
    struct net *net;
    unsigned first;
    struct host own; ///< an arena and an error of its own
};

static void *make_and_remove(void *context)
{
    struct worker *worker = context;
    struct host *host = &worker->own;
    for (unsigned n = 0; n < PER_THREAD; n++) {
        close(make_nth(host, worker->net, n % 3, worker->first + n));
    }
    for (unsigned n = 0; n < PER_THREAD; n += 2) {
        struct net_eni eni;
        eni_in(host, &vpc, n % 3, worker->first + n, &eni);
        OK(net_eni_destroy(worker->net, eni.id, &host->err));
    }
    arena_deinit(&host->arena);
    return NULL;
}

static void many_threads(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 4);
    struct worker workers[THREADS] = {0};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.net = net, .first = i * PER_THREAD};
        CHECK(pthread_create(&threads[i], NULL, make_and_remove, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    struct text_list ids;
    OK(net_eni_list(net, &host->arena, &ids, &host->err));
    CHECK(ids.count == THREADS * PER_THREAD / 2);
    int one = make_nth(host, net, 1, 1);
    CHECK(ping(host, one, "172.31.16.71", WAIT_MS));
    OK(net_destroy_all(net, &host->err));
    net_close(net);
}

static void net_serves_many_threads(void **state)
{
    (void)state;
    in_own_host(many_threads);
}

/* ---- crashes: what any of them may leave behind */

struct crash {
    const char *name;
    void (*damage)(struct host *host);
};

static const char netns[] = "/run/berth-test/1a2b3c4d/netns";

static int open_mounted(const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", netns, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void delete_link(struct host *host, const char *space, const char *name)
{
    AUTO(fd_close) int fd = open_mounted(space);
    AUTO(fd_close) int socket_fd = socket_in(host, fd);
    struct net_link link;
    OK(net_link_get(socket_fd, name, 0, &link, &host->err));
    OK(net_link_delete(socket_fd, link.index, &host->err));
}

static void damage_nothing(struct host *host)
{
    (void)host;
}

static void damage_transit(struct host *host)
{
    delete_link(host, "vpc-1", "up0");
}

static void damage_transit_address(struct host *host)
{
    AUTO(fd_close) int fd = open_mounted("vpc-1");
    AUTO(fd_close) int socket_fd = socket_in(host, fd);
    struct net_address *addresses = NULL;
    size_t count = 0;
    OK(net_addresses(socket_fd, &host->arena, &addresses, &count, &host->err));
    for (size_t i = 0; i < count; i++) {
        if (addresses[i].range.prefix != 31) {
            continue;
        }
        struct nl_msg *message = net_message_address(
            addresses[i].link_index, addresses[i].range.address, addresses[i].range.prefix);
        nlmsg_hdr(message)->nlmsg_type = RTM_DELADDR;
        nlmsg_hdr(message)->nlmsg_flags = NLM_F_REQUEST;
        struct net_batch batch = {0};
        net_batch_add(&batch, message, "address");
        OK(net_batch_commit(socket_fd, &batch, 0, &host->err));
        net_batch_deinit(&batch);
    }
}

static void damage_bridge(struct host *host)
{
    char name[NET_LINK_NAME_SIZE];
    net_bridge_name(TEXT("subnet-0"), name);
    delete_link(host, "vpc-1", name);
}

static void damage_eni_link(struct host *host)
{
    delete_link(host, "eni-00001", "eth0");
}

static void damage_eni_mount(struct host *host)
{
    (void)host;
    AUTO(alloc_string) char *path = alloc_format("%s/eni-00001", netns);
    CHECK(umount2(path, MNT_DETACH) == 0); // the file stays
}

static void damage_router_mount(struct host *host)
{
    (void)host;
    AUTO(alloc_string) char *path = alloc_format("%s/vpc-1", netns);
    CHECK(umount2(path, MNT_DETACH) == 0);
}

static void damage_filters(struct host *host)
{
    run_filter("delete table ip berth-1a2b3c4d");
    AUTO(fd_close) int fd = open_mounted("vpc-1");
    int back = -1;
    OK(net_namespace_enter(fd, &back, &host->err));
    run_filter("delete table ip berth-1a2b3c4d");
    net_namespace_leave(back);
}

static void damage_forwarding(struct host *host)
{
    OK(net_sysctl("ipv4/ip_forward", "0", &host->err));
    AUTO(fd_close) int fd = open_mounted("vpc-1");
    int back = -1;
    OK(net_namespace_enter(fd, &back, &host->err));
    OK(net_sysctl("ipv4/ip_forward", "0", &host->err));
    net_namespace_leave(back);
}

// A link of the right name that nobody came to mark, as a crash right after making it leaves.
static void damage_unmarked(struct host *host)
{
    damage_transit(host);
    char name[NET_LINK_NAME_SIZE];
    net_transit_link_name("1a2b3c4d", vpc.id, 0, name);
    const struct ifinfomsg any = {0};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE, &any, sizeof(any));
    nla_put_string(message, IFLA_IFNAME, name);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "bridge");
    nla_nest_end(message, info);
    AUTO(fd_close) int socket_fd = -1;
    OK(net_socket_open(&socket_fd, &host->err));
    struct net_batch batch = {0};
    net_batch_add(&batch, message, "link");
    OK(net_batch_commit(socket_fd, &batch, 0, &host->err));
    net_batch_deinit(&batch);
}

static void converges(struct host *host)
{
    static const struct crash crashes[] = {
        {"nothing is damaged", damage_nothing},
        {"no transit link", damage_transit},
        {"no transit address", damage_transit_address},
        {"no bridge", damage_bridge},
        {"an ENI without its link", damage_eni_link},
        {"an ENI without its mount", damage_eni_mount},
        {"a router without its mount", damage_router_mount},
        {"no packet filter", damage_filters},
        {"no forwarding", damage_forwarding},
        {"a transit link half made", damage_unmarked},
    };
    make_world(host);
    for (size_t i = 0; i < ARRAY_LEN(crashes); i++) {
        fprintf(stderr, "  %s\n", crashes[i].name);
        struct net *net = open_instance(host, "1a2b3c4d", 2);
        close(make_nth(host, net, 0, 1));
        net_close(net);
        crashes[i].damage(host);
        net = open_instance(host, "1a2b3c4d", 2);
        OK(net_vpc_ensure(net, &vpc, &host->err));
        int one = make_nth(host, net, 0, 1);
        int two = make_nth(host, net, 1, 2);
        CHECK(ping(host, one, "172.31.0.1", WAIT_MS));
        CHECK(ping(host, one, "172.31.16.12", WAIT_MS));
        CHECK(ping(host, one, "203.0.113.2", WAIT_MS));
        close(one);
        close(two);
        net_close(net);
    }
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    OK(net_destroy_all(net, &host->err));
    CHECK(gone_soon(host, 2)); // loopback and the uplink
    net_close(net);
}

static void net_converges_after_crashes(void **state)
{
    (void)state;
    in_own_host(converges);
}

// A thread that calls comes out in the namespace it was in, whatever that is.
static void stays_where_it_was(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    struct net_space elsewhere;
    OK(net_space_create(&elsewhere, &host->err));
    int back = -1;
    struct stat before;
    struct stat after;
    OK(net_namespace_enter(elsewhere.fd, &back, &host->err));
    CHECK(stat("/proc/thread-self/ns/net", &before) == 0);
    close(make_nth(host, net, 0, 1));
    OK(net_vpc_ensure(net, &vpc, &host->err));
    OK(net_eni_destroy(net, TEXT("eni-00001"), &host->err));
    OK(net_destroy_all(net, &host->err));
    CHECK(stat("/proc/thread-self/ns/net", &after) == 0);
    CHECK(before.st_ino == after.st_ino);
    net_namespace_leave(back);
    net_space_deinit(&elsewhere);
    net_close(net);
}

static void callers_stay_in_their_namespace(void **state)
{
    (void)state;
    in_own_host(stays_where_it_was);
}

static struct sockaddr_in at_port(const char *address, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    CHECK(inet_pton(AF_INET, address, &at.sin_addr) == 1);
    return at;
}

// A connection to port 80 out of a namespace. @return its descriptor, or -1
static int connect_from(struct host *host, int namespace_fd, const char *address)
{
    int back = -1;
    OK(net_namespace_enter(namespace_fd, &back, &host->err));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const struct sockaddr_in at = at_port(address, 80);
    int rc = connect(fd, (const struct sockaddr *)(const void *)&at, sizeof(at));
    struct pollfd connected = {.fd = fd, .events = POLLOUT};
    int number = errno;
    socklen_t size = sizeof(number);
    if (rc != 0 && number == EINPROGRESS && poll(&connected, 1, SILENCE_MS) == 1) {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size);
        rc = number == 0 ? 0 : -1;
    }
    net_namespace_leave(back);
    if (rc != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool accepts(int listen_fd)
{
    struct pollfd arrived = {.fd = listen_fd, .events = POLLIN};
    if (poll(&arrived, 1, SILENCE_MS) != 1) {
        return false;
    }
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(write(fd, "x", 1) == 1);
    close(fd);
    return true;
}

static bool reads(int fd)
{
    char byte = 0;
    struct pollfd arrived = {.fd = fd, .events = POLLIN};
    return poll(&arrived, 1, WAIT_MS) == 1 && read(fd, &byte, 1) == 1 && byte == 'x';
}

// As a privileged container would: through the neighbour's interface, then by its own address.
static void route_endpoint_through(struct host *host, int namespace_fd, const char *neighbour)
{
    int back = -1;
    struct net_link link;
    uint32_t gateway = 0;
    uint32_t address = 0;
    CHECK(net_parse_address(text_of(neighbour), &gateway) == 0);
    CHECK(net_parse_address(TEXT(NET_ENDPOINT_ADDRESS), &address) == 0);
    OK(net_namespace_enter(namespace_fd, &back, &host->err));
    AUTO(fd_close) int socket_fd = -1;
    OK(net_socket_open(&socket_fd, &host->err));
    OK(net_link_get(socket_fd, "eth0", 0, &link, &host->err));
    const struct net_route_options route = {
        .range = {address, 32}, .gateway = gateway, .link_index = link.index, .type = RTN_UNICAST};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_route(&route), "a route to a neighbour's endpoint");
    OK(net_batch_commit(socket_fd, &batch, 0, &host->err));
    net_namespace_leave(back);
}

static int listen_in(struct host *host, struct net *net, const char *eni)
{
    int fd = -1;
    struct text path = net_eni_path(net, text_of(eni), &host->arena);
    OK(net_endpoint_listen(path, &fd, &host->err));
    return fd;
}

// What a container does that serves on port 80 of every address.
static int serve_port_80(struct host *host, int namespace_fd)
{
    int back = -1;
    OK(net_namespace_enter(namespace_fd, &back, &host->err));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in any = at_port("0.0.0.0", 80);
    CHECK(bind(fd, (const struct sockaddr *)(const void *)&any, sizeof(any)) == 0);
    CHECK(listen(fd, 8) == 0);
    net_namespace_leave(back);
    return fd;
}

static void endpoint_is_the_tasks_own(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    int one = make_nth(host, net, 0, 1);
    int two = make_nth(host, net, 0, 2);
    int server = serve_port_80(host, one);
    int endpoint = listen_in(host, net, "eni-00001");

    int client = connect_from(host, one, NET_ENDPOINT_ADDRESS);
    CHECK(client >= 0);
    CHECK(accepts(endpoint));
    CHECK(reads(client));
    close(client);

    // The container's own server is not in the way, nor is anything in its way.
    client = connect_from(host, two, "172.31.0.11");
    CHECK(client >= 0);
    CHECK(accepts(server));
    CHECK(reads(client));
    close(client);

    // A neighbour has none, and cannot reach this one whatever way it takes.
    CHECK(connect_from(host, two, NET_ENDPOINT_ADDRESS) == -1);
    route_endpoint_through(host, two, "172.31.0.11");
    client = connect_from(host, two, NET_ENDPOINT_ADDRESS);
    CHECK(!accepts(endpoint));
    CHECK(client == -1 || accepts(server)); // it may find what the container itself serves
    close(client);
    close(endpoint);

    // An agent that comes back opens it anew.
    endpoint = listen_in(host, net, "eni-00001");
    client = connect_from(host, one, NET_ENDPOINT_ADDRESS);
    CHECK(client >= 0);
    CHECK(accepts(endpoint));
    CHECK(reads(client));
    close(client);
    close(endpoint);
    close(server);
    close(one);
    close(two);
    OK(net_destroy_all(net, &host->err));
    net_close(net);
}

static bool has_endpoint_address(struct host *host, int namespace_fd)
{
    AUTO(fd_close) int socket_fd = socket_in(host, namespace_fd);
    struct net_address *addresses = NULL;
    size_t count = 0;
    uint32_t wanted = 0;
    bool found = false;
    CHECK(net_parse_address(TEXT(NET_ENDPOINT_ADDRESS), &wanted) == 0);
    OK(net_addresses(socket_fd, &host->arena, &addresses, &count, &host->err));
    for (size_t i = 0; i < count; i++) {
        found = found || addresses[i].range.address == wanted;
    }
    return found;
}

// A namespace that was not made for a task, or by an earlier Berth, is given what it lacks; those
// of tasks have it from the beginning, and routers never, as they pass packets for others on.
static void endpoint_address_is_where_it_belongs(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 2);
    struct net_space bare = {-1, -1};
    OK(net_space_create(&bare, &host->err));
    CHECK(!has_endpoint_address(host, bare.fd));
    int fd = -1;
    struct text path = arena_format(&host->arena, "/proc/self/fd/%d", bare.fd);
    OK(net_endpoint_listen(path, &fd, &host->err));
    CHECK(has_endpoint_address(host, bare.fd));
    int client = connect_from(host, bare.fd, NET_ENDPOINT_ADDRESS);
    CHECK(client >= 0);
    CHECK(accepts(fd));
    close(client);
    close(fd);
    net_space_deinit(&bare);

    for (uint32_t i = 1; i < 5; i++) { // more than the pool has ready
        int one = make_nth(host, net, 0, i);
        CHECK(has_endpoint_address(host, one));
        close(one);
    }
    struct text router =
        arena_format(&host->arena, "/run/berth-test/1a2b3c4d/netns/%.*s", TEXT_FMT(vpc.id));
    int router_fd = open(router.data, O_RDONLY | O_CLOEXEC);
    CHECK(router_fd >= 0);
    CHECK(!has_endpoint_address(host, router_fd));
    close(router_fd);
    OK(net_destroy_all(net, &host->err));
    net_close(net);
}

static void net_endpoint_address_is_where_it_belongs(void **state)
{
    (void)state;
    in_own_host(endpoint_address_is_where_it_belongs);
}

static void net_endpoint_listen_reaches_its_task_only(void **state)
{
    (void)state;
    in_own_host(endpoint_is_the_tasks_own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(net_endpoint_listen_reaches_its_task_only),
        cmocka_unit_test(net_endpoint_address_is_where_it_belongs),
        cmocka_unit_test(net_eni_connects_its_vpc),
        cmocka_unit_test(net_translates_outward),
        cmocka_unit_test(net_vpc_host_route_is_answered),
        cmocka_unit_test(net_vpc_host_route_yields),
        cmocka_unit_test(net_open_passes_firewalls),
        cmocka_unit_test(instances_never_meet),
        cmocka_unit_test(net_eni_addresses_move_at_once),
        cmocka_unit_test(every_step_runs_twice),
        cmocka_unit_test(net_eni_create_refuses),
        cmocka_unit_test(net_eni_create_without_low_descriptors),
        cmocka_unit_test(net_destroy_all_leaves_nothing),
        cmocka_unit_test(net_eni_makes_many),
        cmocka_unit_test(net_serves_many_threads),
        cmocka_unit_test(net_converges_after_crashes),
        cmocka_unit_test(callers_stay_in_their_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
