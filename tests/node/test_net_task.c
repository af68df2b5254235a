#include "net_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <cmocka.h>

// Network mode bridge: who reaches whom, ports of the host, and what crashes leave.

#define INSTANCE "1a2b3c4d"
#define RUN "/run/berth-test/" INSTANCE
#define CONTAINERS_MAX 4
#define MAPPINGS_MAX 4

static struct net *open_bridge(struct host *host, const char *instance, const char *cidr)
{
    char *run_dir = alloc_format("/run/berth-test/%s", instance);
    const struct net_options options = {
        .instance = instance,
        .run_dir = run_dir,
        .bridge_cidr = text_of(cidr),
        .port_first = 40000,
        .port_last = 40099,
    };
    struct net *net = NULL;
    OK(net_open(&options, &net, &host->err));
    alloc_free(run_dir);
    return net;
}

/** A task of a test. */
struct made {
    char id[33];
    size_t count;
    struct net_container containers[CONTAINERS_MAX];
    struct net_connection connections[CONTAINERS_MAX];
    int fds[CONTAINERS_MAX]; ///< of the namespaces
};

// Tasks have ids that end in their number.
static void describe(struct made *made, unsigned number, size_t count)
{
    *made = (struct made){.count = count};
    snprintf(made->id, sizeof(made->id), "%032u", number);
}

static int try_to_make(struct host *host, struct net *net, struct made *made)
{
    const struct net_task task = {
        .id = text_of(made->id), .containers = made->containers, .container_count = made->count};
    size_t failed = 0;
    return net_task_create(net, &task, &host->arena, made->connections, &failed, &host->err);
}

static void make(struct host *host, struct net *net, struct made *made)
{
    OK(try_to_make(host, net, made));
    for (size_t i = 0; i < made->count; i++) {
        made->fds[i] = open(made->connections[i].path.data, O_RDONLY | O_CLOEXEC);
        CHECK(made->fds[i] >= 0);
    }
}

static void let_go(struct made *made)
{
    for (size_t i = 0; i < made->count; i++) {
        fd_close(made->fds[i]);
    }
}

static const char *address(const struct made *made, size_t index)
{
    return made->connections[index].address.data;
}

/* ---- who reaches whom */

static void reaches(struct host *host)
{
    make_world(host);
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    struct made one;
    struct made two;
    describe(&one, 1, 2);
    describe(&two, 2, 1);
    make(host, net, &one);
    make(host, net, &two);
    CHECK(text_is(one.connections[0].address, "172.17.0.16"));
    CHECK(text_is(one.connections[1].address, "172.17.0.17"));
    CHECK(text_is(two.connections[0].address, "172.17.0.32"));
    // Its own task's, with the true address.
    CHECK(ping(host, one.fds[0], address(&one, 1), WAIT_MS));
    CHECK(exchange(host, one.fds[0], one.fds[1], address(&one, 1)).s_addr ==
          inet_addr(address(&one, 0)));
    // Not another's, in either direction.
    CHECK(!ping(host, one.fds[0], address(&two, 0), SILENCE_MS));
    CHECK(!ping(host, two.fds[0], address(&one, 1), SILENCE_MS));
    // The world, as the host; the gateway, which is the host; and the host reaches each.
    CHECK(exchange(host, one.fds[0], host->world_fd, "203.0.113.2").s_addr ==
          inet_addr("203.0.113.1"));
    CHECK(ping(host, two.fds[0], "172.17.0.1", WAIT_MS));
    CHECK(ping(host, -1, address(&two, 0), WAIT_MS));
    // Nobody from outside, knowing the way.
    CHECK(!ping(host, host->world_fd, address(&two, 0), SILENCE_MS));
    // An address of the network that nobody has goes nowhere.
    CHECK(!ping(host, one.fds[0], "172.17.9.9", SILENCE_MS));
    net_close(net);
}

static void containers_reach_their_own_task(void **state)
{
    (void)state;
    in_own_host(reaches);
}

// A raw packet of a container with an address that is not its own.
static void send_forged(struct host *host, int fd, const char *from, const char *to, uint16_t port)
{
    AUTO(fd_close) int raw = open_in(host, fd, SOCK_RAW, IPPROTO_RAW);
    struct {
        struct iphdr ip;
        struct udphdr udp;
    } packet = {
        .ip = {.version = 4,
               .ihl = 5,
               .ttl = 9,
               .protocol = IPPROTO_UDP,
               .tot_len = htons(sizeof(packet)),
               .saddr = inet_addr(from),
               .daddr = inet_addr(to)},
        .udp = {.source = htons(999), .dest = htons(port), .len = htons(sizeof(struct udphdr))},
    };
    struct sockaddr_in target = address_of(to, 0);
    CHECK(sendto(raw, &packet, sizeof(packet), 0, (struct sockaddr *)&target, sizeof(target)) ==
          (ssize_t)sizeof(packet));
}

static void forges(struct host *host)
{
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    struct made one;
    struct made two;
    describe(&one, 1, 2);
    describe(&two, 2, 1);
    make(host, net, &one);
    make(host, net, &two);
    AUTO(fd_close) int victim = open_in(host, one.fds[0], SOCK_DGRAM, 0);
    struct sockaddr_in at = address_of(address(&one, 0), 5555);
    CHECK(bind(victim, (struct sockaddr *)&at, sizeof(at)) == 0);
    // The second container of the task may speak to it, with its own address.
    send_forged(host, one.fds[1], address(&one, 1), address(&one, 0), 5555);
    CHECK(readable(victim, WAIT_MS));
    char byte = 0;
    CHECK(recv(victim, &byte, 1, 0) == 0);
    // Another task's may not by saying that it is the second one.
    send_forged(host, two.fds[0], address(&one, 1), address(&one, 0), 5555);
    CHECK(!readable(victim, SILENCE_MS));
    // Nor does what is sent as from the world come through.
    send_forged(host, two.fds[0], "203.0.113.9", address(&one, 0), 5555);
    CHECK(!readable(victim, SILENCE_MS));
    net_close(net);
}

static void containers_have_one_address(void **state)
{
    (void)state;
    in_own_host(forges);
}

/* ---- ports of the host */

/** A TCP listener of a container, and who came to it. */
static int listen_at(struct host *host, int fd, const char *where, uint16_t port)
{
    int listener = open_in(host, fd, SOCK_STREAM, 0);
    struct sockaddr_in at = address_of(where, port);
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0);
    CHECK(listen(listener, 8) == 0);
    return listener;
}

static bool connects(struct host *host, int fd, const char *to, uint16_t port)
{
    AUTO(fd_close) int client = open_in(host, fd, SOCK_STREAM, 0);
    const struct timeval patience = {.tv_usec = 700 * 1000};
    CHECK(setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0);
    struct sockaddr_in at = address_of(to, port);
    return connect(client, (struct sockaddr *)&at, sizeof(at)) == 0;
}

// Connect and accept. @return who it came from
static struct in_addr came_from(struct host *host, int fd, const char *to, uint16_t port,
                                int listener)
{
    CHECK(connects(host, fd, to, port));
    struct sockaddr_in from = {0};
    socklen_t size = sizeof(from);
    AUTO(fd_close) int accepted = accept(listener, (struct sockaddr *)&from, &size);
    CHECK(accepted >= 0);
    return from.sin_addr;
}

static void publishes(struct host *host)
{
    make_world(host);
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    static const struct net_mapping mappings[] = {
        {.container_port = 80, .host_port = 8080, .count = 1},
        {.container_port = 80, .count = 1},
        {.container_port = 9000, .count = 10},
        {.udp = true, .container_port = 53, .host_port = 8080, .count = 1},
    };
    struct made one;
    struct made two;
    describe(&one, 1, 1);
    describe(&two, 2, 1);
    one.containers[0] = (struct net_container){mappings, ARRAY_LEN(mappings)};
    make(host, net, &one);
    make(host, net, &two);
    const uint16_t *ports = one.connections[0].host_ports;
    CHECK(ports[0] == 8080 && ports[3] == 8080);
    CHECK(ports[1] >= 40000 && ports[1] <= 40099);
    CHECK(ports[2] >= 40000 && ports[2] + 9 <= 40099 && ports[2] != ports[1]);
    AUTO(fd_close) int web = listen_at(host, one.fds[0], "0.0.0.0", 80);
    AUTO(fd_close) int ranged = listen_at(host, one.fds[0], "0.0.0.0", 9007);
    // From outside with the true address, from the host by any of its addresses.
    CHECK(came_from(host, host->world_fd, "203.0.113.1", 8080, web).s_addr ==
          inet_addr("203.0.113.2"));
    came_from(host, -1, "127.0.0.1", 8080, web);
    came_from(host, -1, "127.0.0.1", ports[1], web);
    came_from(host, -1, "203.0.113.1", 8080, web);
    came_from(host, -1, "127.0.0.1", (uint16_t)(ports[2] + 7), ranged);
    // From another task, from the container itself, and by the gateway.
    came_from(host, two.fds[0], "203.0.113.1", 8080, web);
    came_from(host, one.fds[0], "203.0.113.1", 8080, web);
    came_from(host, two.fds[0], "172.17.0.1", 8080, web);
    // The world's own port of that number is not the host's.
    CHECK(!connects(host, one.fds[0], "203.0.113.2", 8080));
    CHECK(!connects(host, -1, "127.0.0.1", (uint16_t)(ports[2] + 3)));
    OK(net_task_destroy(net, text_of(one.id), &host->err));
    CHECK(!connects(host, -1, "127.0.0.1", 8080));
    CHECK(!connects(host, host->world_fd, "203.0.113.1", 8080));
    net_close(net);
}

static void ports_lead_to_containers(void **state)
{
    (void)state;
    in_own_host(publishes);
}

// A frame on the network's link to the host, with a loopback address of the host as its target.
static void send_to_loopback(struct host *host, int router, const char *from, uint16_t port)
{
    AUTO(fd_close) int socket_fd = socket_in(host, router);
    struct net_link uplink;
    struct net_link behind;
    OK(net_link_get(socket_fd, NET_UPLINK, 0, &uplink, &host->err));
    AUTO(fd_close) int host_fd = -1;
    OK(net_socket_open(&host_fd, &host->err));
    OK(net_link_get(host_fd, NULL, uplink.peer_index, &behind, &host->err));
    struct {
        struct iphdr ip;
        struct udphdr udp;
    } packet = {
        .ip = {.version = 4,
               .ihl = 5,
               .ttl = 9,
               .protocol = IPPROTO_UDP,
               .tot_len = htons(sizeof(packet)),
               .saddr = inet_addr(from),
               .daddr = inet_addr("127.0.0.1")},
        .udp = {.source = htons(999), .dest = htons(port), .len = htons(sizeof(struct udphdr))},
    };
    uint16_t words[sizeof(packet.ip) / 2];
    uint32_t sum = 0;
    memcpy(words, &packet.ip, sizeof(words));
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        sum += words[i];
    }
    sum = (sum >> 16) + (sum & 0xffff);
    packet.ip.check = (uint16_t) ~(sum + (sum >> 16));
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_IP),
                             .sll_ifindex = (int)uplink.index,
                             .sll_halen = 6};
    memcpy(to.sll_addr, behind.mac, 6);
    int back = -1;
    OK(net_namespace_enter(router, &back, &host->err));
    AUTO(fd_close) int raw = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    net_namespace_leave(back);
    CHECK(raw >= 0);
    CHECK(sendto(raw, &packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) ==
          (ssize_t)sizeof(packet));
}

// Loopback of the host is nobody's but the host's, though its link routes such addresses.
static void keeps_loopback(struct host *host)
{
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    struct made one;
    describe(&one, 1, 1);
    make(host, net, &one);
    AUTO(fd_close) int own = open_in(host, -1, SOCK_DGRAM, 0);
    struct sockaddr_in at = address_of("127.0.0.1", 5555);
    CHECK(bind(own, (struct sockaddr *)&at, sizeof(at)) == 0);
    AUTO(fd_close) int router = open(RUN "/netns/bridge", O_RDONLY | O_CLOEXEC);
    send_to_loopback(host, router, address(&one, 0), 5555);
    CHECK(!readable(own, SILENCE_MS));
    // It is the guard that keeps it out: without, the link would let it through.
    run_filter("flush chain ip berth-" INSTANCE " guard");
    send_to_loopback(host, router, address(&one, 0), 5555);
    CHECK(readable(own, WAIT_MS));
    net_close(net);
}

static void loopback_is_the_hosts(void **state)
{
    (void)state;
    in_own_host(keeps_loopback);
}

static int low_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < FD_HIGH; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static void refuses_ports(struct host *host)
{
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    static const struct net_mapping fixed = {.container_port = 80, .host_port = 8080, .count = 1};
    static const struct net_mapping many = {.container_port = 1000, .count = 101};
    static const struct net_mapping most = {.container_port = 1000, .count = 98};
    static const struct net_mapping any = {.container_port = 80, .count = 1};
    static const struct net_mapping beyond = {.container_port = 65535, .host_port = 1, .count = 2};
    struct made one;
    struct made two;
    describe(&one, 1, 1);
    describe(&two, 2, 1);
    one.containers[0] = (struct net_container){&fixed, 1};
    two.containers[0] = (struct net_container){&fixed, 1};
    make(host, net, &one);
    CHECK(try_to_make(host, net, &two) == ERR_BUSY);
    CHECK(strstr(host->err.text, "Bind for 0.0.0.0:8080 failed: port is already allocated"));
    // The same again, for the same task, is no conflict.
    make(host, net, &one);
    let_go(&one);
    OK(net_task_destroy(net, text_of(one.id), &host->err));
    AUTO(fd_close) int program = listen_at(host, -1, "0.0.0.0", 8080);
    CHECK(try_to_make(host, net, &one) == ERR_BUSY);
    CHECK(strstr(host->err.text, "listen tcp4 0.0.0.0:8080: bind: address already in use"));
    fd_close(program);
    program = -1;
    make(host, net, &one);
    // Of those that are chosen there are a hundred.
    two.containers[0] = (struct net_container){&many, 1};
    CHECK(try_to_make(host, net, &two) == ERR_NO_ROOM);
    two.containers[0] = (struct net_container){&most, 1};
    int low = low_descriptors();
    make(host, net, &two);
    // The sockets that hold ports are hundreds, and leave the low descriptors to who needs these.
    CHECK(low_descriptors() < low + most.count);
    struct made three;
    describe(&three, 3, 1);
    three.containers[0] = (struct net_container){&any, 1};
    make(host, net, &three);
    OK(net_task_destroy(net, text_of(three.id), &host->err));
    three.containers[0] = (struct net_container){&beyond, 1};
    CHECK(try_to_make(host, net, &three) == ERR_INVALID);
    // A failure leaves nothing of the task.
    CHECK(count_entries(RUN "/bridge") == 2);
    CHECK(count_entries(RUN "/netns") == 3);
    net_close(net);
}

static void net_task_create_refuses(void **state)
{
    (void)state;
    in_own_host(refuses_ports);
}

/* ---- two instances */

static void bridges_apart(struct host *host)
{
    struct net *first = open_bridge(host, "11111111", "172.17.0.0/16");
    struct net *second = open_bridge(host, "22222222", "172.18.0.0/16");
    static const struct net_mapping mapping = {.container_port = 80, .count = 1};
    struct made one;
    struct made two;
    describe(&one, 1, 1);
    describe(&two, 1, 1); // the same id
    one.containers[0] = (struct net_container){&mapping, 1};
    two.containers[0] = (struct net_container){&mapping, 1};
    make(host, first, &one);
    make(host, second, &two);
    uint16_t port_one = one.connections[0].host_ports[0];
    uint16_t port_two = two.connections[0].host_ports[0];
    CHECK(port_one != port_two);
    AUTO(fd_close) int web_one = listen_at(host, one.fds[0], "0.0.0.0", 80);
    AUTO(fd_close) int web_two = listen_at(host, two.fds[0], "0.0.0.0", 80);
    came_from(host, -1, "127.0.0.1", port_one, web_one);
    came_from(host, -1, "127.0.0.1", port_two, web_two);
    CHECK(!connects(host, one.fds[0], address(&two, 0), 80));
    CHECK(!connects(host, two.fds[0], address(&one, 0), 80));
    came_from(host, one.fds[0], "172.17.0.1", port_two, web_two);
    OK(net_destroy_all(first, &host->err));
    came_from(host, -1, "127.0.0.1", port_two, web_two);
    CHECK(!connects(host, -1, "127.0.0.1", port_one));
    net_close(first);
    net_close(second);
}

static void bridges_of_instances_never_meet(void **state)
{
    (void)state;
    in_own_host(bridges_apart);
}

/* ---- crashes */

static const struct net_mapping web_mapping = {.container_port = 80, .host_port = 8080, .count = 1};

static void survives(struct host *host)
{
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    struct made one;
    describe(&one, 1, 2);
    one.containers[0] = (struct net_container){&web_mapping, 1};
    make(host, net, &one);
    AUTO(fd_close) int web = listen_at(host, one.fds[0], "0.0.0.0", 80);
    net_close(net); // as a kill leaves it: the sockets go, the rules stay
    came_from(host, -1, "127.0.0.1", 8080, web);
    CHECK(ping(host, one.fds[0], address(&one, 1), WAIT_MS));
    net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    came_from(host, -1, "127.0.0.1", 8080, web);
    struct text_list ids;
    net_task_list(net, &host->arena, &ids);
    CHECK(ids.count == 1 && text_is(ids.items[0], one.id));
    // What it has is nobody else's, and another task does not disturb it.
    struct made two;
    describe(&two, 2, 1);
    two.containers[0] = (struct net_container){&web_mapping, 1};
    CHECK(try_to_make(host, net, &two) == ERR_BUSY);
    two.containers[0] = (struct net_container){0};
    make(host, net, &two);
    CHECK(strcmp(address(&two, 0), address(&one, 0)) != 0);
    came_from(host, -1, "127.0.0.1", 8080, web);
    CHECK(ping(host, one.fds[0], address(&one, 1), WAIT_MS));
    OK(net_task_destroy(net, text_of(one.id), &host->err));
    // A process that does not end holds the namespace; nothing passes any more.
    CHECK(!ping(host, one.fds[0], "172.17.0.1", SILENCE_MS));
    CHECK(!ping(host, one.fds[0], address(&one, 1), SILENCE_MS));
    net_close(net);
}

static void tasks_outlive_the_process(void **state)
{
    (void)state;
    in_own_host(survives);
}

struct crash {
    const char *name;
    void (*damage)(struct host *host);
};

static void damage_nothing(struct host *host)
{
    (void)host;
}

static void damage_file(struct host *host)
{
    (void)host;
    CHECK(unlink(RUN "/bridge/00000000000000000000000000000001") == 0);
}

static void damage_file_content(struct host *host)
{
    OK(file_replace(AT_FDCWD, RUN "/bridge/00000000000000000000000000000001", 0600,
                    TEXT("address 172.17.0.16 1\ntcp 0 8080"), &host->err));
}

static void damage_stray_file(struct host *host)
{
    OK(file_replace(AT_FDCWD, RUN "/bridge/stray", 0600, TEXT("x"), &host->err));
}

static void damage_namespace(struct host *host)
{
    (void)host;
    CHECK(umount2(RUN "/netns/task-00000000000000000000000000000001-0", MNT_DETACH) == 0);
}

static void damage_router(struct host *host)
{
    (void)host;
    CHECK(umount2(RUN "/netns/bridge", MNT_DETACH) == 0);
}

static void damage_filters(struct host *host)
{
    run_filter("delete table ip berth-" INSTANCE);
    AUTO(fd_close) int fd = open(RUN "/netns/bridge", O_RDONLY | O_CLOEXEC);
    int back = -1;
    OK(net_namespace_enter(fd, &back, &host->err));
    run_filter("delete table ip berth-" INSTANCE);
    net_namespace_leave(back);
}

static void damage_elements(struct host *host)
{
    (void)host;
    run_filter("flush map ip berth-" INSTANCE " tcp_ports");
}

static void converges(struct host *host)
{
    static const struct crash crashes[] = {
        {"nothing is damaged", damage_nothing},
        {"a task without its file", damage_file},
        {"a file half written", damage_file_content},
        {"a file of nobody", damage_stray_file},
        {"a container without its mount", damage_namespace},
        {"a router without its mount", damage_router},
        {"no packet filter", damage_filters},
        {"no ports in the packet filter", damage_elements},
    };
    size_t links = count_links(host);
    for (size_t i = 0; i < ARRAY_LEN(crashes); i++) {
        fprintf(stderr, "  %s\n", crashes[i].name);
        struct made one;
        struct made two;
        describe(&one, 1, 1);
        describe(&two, 2, 1);
        one.containers[0] = (struct net_container){&web_mapping, 1};
        struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
        make(host, net, &one);
        let_go(&one);
        net_close(net);
        crashes[i].damage(host);
        net = open_bridge(host, INSTANCE, "172.17.0.0/16");
        // The task is prepared again, as after a crash of the agent, and works.
        make(host, net, &one);
        make(host, net, &two);
        AUTO(fd_close) int web = listen_at(host, one.fds[0], "0.0.0.0", 80);
        came_from(host, -1, "127.0.0.1", 8080, web);
        CHECK(ping(host, two.fds[0], "172.17.0.1", WAIT_MS));
        CHECK(!ping(host, two.fds[0], address(&one, 0), SILENCE_MS));
        let_go(&one);
        let_go(&two);
        OK(net_task_destroy(net, text_of(one.id), &host->err));
        OK(net_task_destroy(net, text_of(one.id), &host->err));
        OK(net_task_destroy(net, text_of(two.id), &host->err));
        CHECK(count_entries(RUN "/bridge") == 0);
        CHECK(count_entries(RUN "/netns") == 1);
        net_close(net);
    }
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    OK(net_destroy_all(net, &host->err));
    CHECK(gone_soon(host, links));
    CHECK(count_entries(RUN) == 0);
    CHECK(!ruleset_names("berth"));
    net_close(net);
}

static void net_task_converges_after_crashes(void **state)
{
    (void)state;
    in_own_host(converges);
}

// The rules were emptied under a running process.
static void repairs(struct host *host)
{
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/16");
    struct made one;
    struct made two;
    describe(&one, 1, 2);
    describe(&two, 2, 1);
    one.containers[0] = (struct net_container){&web_mapping, 1};
    make(host, net, &one);
    make(host, net, &two);
    damage_filters(host);
    OK(net_task_destroy(net, text_of(one.id), &host->err));
    make(host, net, &one);
    AUTO(fd_close) int web = listen_at(host, one.fds[0], "0.0.0.0", 80);
    came_from(host, two.fds[0], "172.17.0.1", 8080, web);
    CHECK(ping(host, one.fds[0], address(&one, 1), WAIT_MS));
    CHECK(!ping(host, two.fds[0], address(&one, 1), SILENCE_MS));
    net_close(net);
}

static void lost_rules_come_back(void **state)
{
    (void)state;
    in_own_host(repairs);
}

/* ---- many */

#define MANY 100

static void makes_many(struct host *host)
{
    struct net *net = open_bridge(host, INSTANCE, "172.17.0.0/20");
    static const struct net_mapping any = {.container_port = 80, .count = 1};
    struct made made;
    describe(&made, 1, 1);
    make(host, net, &made); // the router stays
    let_go(&made);
    OK(net_task_destroy(net, text_of(made.id), &host->err));
    size_t fds = count_entries("/proc/self/fd");
    size_t mounts = count_mounts("berth-test");
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < MANY; n++) {
            describe(&made, n, 2);
            made.containers[0] = (struct net_container){&any, 1};
            make(host, net, &made);
            let_go(&made);
        }
        CHECK(count_mounts("berth-test") == mounts + 2 * MANY);
        for (unsigned n = 0; n < MANY; n++) {
            describe(&made, n, 2);
            OK(net_task_destroy(net, text_of(made.id), &host->err));
        }
    }
    CHECK(count_mounts("berth-test") == mounts);
    CHECK(count_entries("/proc/self/fd") == fds);
    CHECK(count_entries(RUN "/bridge") == 0);
    CHECK(count_entries(RUN "/netns") == 1);
    CHECK(!ruleset_names("elements = { 40"));
    // A network of 15 blocks, one of which has the gateway.
    net_close(net);
    net = open_bridge(host, "5555aaaa", "172.20.0.0/26");
    for (unsigned n = 0; n < 3; n++) {
        describe(&made, n, 1);
        make(host, net, &made);
    }
    describe(&made, 3, 1);
    CHECK(try_to_make(host, net, &made) == ERR_NO_ROOM);
    net_close(net);
}

static void net_task_makes_many(void **state)
{
    (void)state;
    in_own_host(makes_many);
}

static void without_range(struct host *host)
{
    struct net *net = open_instance(host, INSTANCE, 0);
    struct made one;
    describe(&one, 1, 1);
    CHECK(try_to_make(host, net, &one) == ERR_UNSUPPORTED);
    OK(net_task_destroy(net, text_of(one.id), &host->err));
    net_close(net);
    const struct net_options options = {
        .instance = INSTANCE, .run_dir = RUN, .bridge_cidr = TEXT("10.0.0.0/8")};
    CHECK(net_open(&options, &net, &host->err) == ERR_INVALID);
}

static void net_open_wants_a_fitting_range(void **state)
{
    (void)state;
    in_own_host(without_range);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(containers_reach_their_own_task),
        cmocka_unit_test(containers_have_one_address),
        cmocka_unit_test(ports_lead_to_containers),
        cmocka_unit_test(loopback_is_the_hosts),
        cmocka_unit_test(net_task_create_refuses),
        cmocka_unit_test(bridges_of_instances_never_meet),
        cmocka_unit_test(tasks_outlive_the_process),
        cmocka_unit_test(net_task_converges_after_crashes),
        cmocka_unit_test(lost_rules_come_back),
        cmocka_unit_test(net_task_makes_many),
        cmocka_unit_test(net_open_wants_a_fitting_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
