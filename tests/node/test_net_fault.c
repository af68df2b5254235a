#include "net/net_fault.h"

#include "net_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

// Faults in real namespaces: a task's interface, a host, and the world that both send to.

#define WORLD "203.0.113.2"
#define PORT 7100
#define OTHER_PORT 7200
#define TASK TEXT("0123456789abcdef0123456789abcdef")
#define OTHER_TASK TEXT("fedcba9876543210fedcba9876543210")
#define MANY 300 // conversations: twice as many datagrams fit into a queue

static const struct net_fault_range world_net = {.prefix = 24, .address = {203, 0, 113, 0}};
static const struct net_fault_range world_alone = {.prefix = 32, .address = {203, 0, 113, 2}};
static const struct net_fault_range all = {.prefix = 0};

/** A task with an interface, and where its faults go. */
struct setting {
    struct host *host;
    struct net *net;
    int eni_fd;
    struct net_fault_place place; ///< in the interface's namespace
    struct net_fault_place host_place;
};

static int make_task(struct setting *setting, unsigned n, struct text *out_path)
{
    struct host *host = setting->host;
    const struct net_eni eni = {
        .id = arena_format(&host->arena, "eni-%u", n),
        .mac_address = arena_format(&host->arena, "02:00:00:00:00:%02x", n),
        .address = arena_format(&host->arena, "172.31.0.%u", 10 + n),
        .prefix_length = 20,
        .gateway = TEXT("172.31.0.1"),
        .subnet_id = TEXT("subnet-1"),
        .vpc = {.id = TEXT("vpc-1"), .cidr = TEXT("172.31.0.0/16")},
    };
    OK(net_eni_create(setting->net, &eni, &host->arena, out_path, &host->err));
    int fd = open(out_path->data, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void set_up(struct setting *setting, struct host *host)
{
    cpu_set_t here;
    int cpu = sched_getcpu();
    CHECK(cpu >= 0);
    CPU_ZERO(&here);
    CPU_SET((size_t)cpu, &here);
    CHECK(sched_setaffinity(0, sizeof(here), &here) == 0);
    make_world(host);
    AUTO(fd_close) int socket_fd = -1;
    OK(net_socket_open(&socket_fd, &host->err));
    add_route(host, socket_fd, "0.0.0.0/0", WORLD);
    *setting = (struct setting){.host = host, .net = open_instance(host, "1a2b3c4d", 0)};
    setting->eni_fd = make_task(setting, 1, &setting->place.path);
    setting->place.task_id = TASK;
    setting->host_place.task_id = TASK;
}

static void tear_down(struct setting *setting)
{
    close(setting->eni_fd);
    net_close(setting->net);
}

static int begin_at(struct setting *setting, const struct net_fault_place *place,
                    const struct net_fault *fault)
{
    enum net_fault_kind running = NET_FAULT_BLACKHOLE;
    return net_fault_start(setting->net, place, fault, &running, &setting->host->err);
}

static void begin(struct setting *setting, const struct net_fault *fault)
{
    struct host *host = setting->host;
    OK(begin_at(setting, &setting->place, fault));
}

static void stop_at(struct setting *setting, const struct net_fault_place *place,
                    const struct net_fault *fault)
{
    struct host *host = setting->host;
    OK(net_fault_stop(setting->net, place, fault, &host->err));
}

static bool runs_at(struct setting *setting, const struct net_fault_place *place,
                    const struct net_fault *fault)
{
    struct host *host = setting->host;
    bool running = false;
    OK(net_fault_running(setting->net, place, fault, &running, &host->err));
    return running;
}

/* ---- datagrams and connections */

static int listener_in(struct host *host, int namespace_fd, int type, const char *address,
                       uint16_t port)
{
    const int on = 1;
    const int bytes = 8 << 20;
    int fd = open_in(host, namespace_fd, type, 0);
    struct sockaddr_in at = address_of(address, port);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    CHECK(type != SOCK_STREAM || listen(fd, 8) == 0);
    return fd;
}

// @return 0 or errno
static int send_to(int fd, const char *address, uint16_t port)
{
    struct sockaddr_in to = address_of(address, port);
    return sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1 ? 0 : errno;
}

static void take(int fd)
{
    char byte = 0;
    CHECK(readable(fd, WAIT_MS));
    CHECK(recv(fd, &byte, 1, 0) == 1);
}

// A datagram with a number, of the n-th conversation: each has a port of its own.
static void send_nth(struct setting *setting, uint16_t n)
{
    AUTO(fd_close) int fd = open_in(setting->host, setting->eni_fd, SOCK_DGRAM, 0);
    struct sockaddr_in from = address_of("0.0.0.0", (uint16_t)(20000 + n));
    struct sockaddr_in to = address_of(WORLD, PORT);
    CHECK(bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0);
    CHECK(sendto(fd, &n, sizeof(n), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(n));
}

// How often each of them came. The last one is sent when the fault is over, and comes last: the
// test stays on one processor, whose queues keep order.
static void count_each(struct setting *setting, int far_fd, size_t out_counts[MANY])
{
    uint16_t n = 0;
    memset(out_counts, 0, MANY * sizeof(out_counts[0]));
    send_nth(setting, MANY);
    while (n != MANY) {
        CHECK(readable(far_fd, WAIT_MS));
        CHECK(recv(far_fd, &n, sizeof(n), 0) == sizeof(n));
        CHECK(n <= MANY);
        if (n < MANY) {
            out_counts[n]++;
        }
    }
}

// A connection on its way.
static int connect_to(struct host *host, int namespace_fd, const char *address, uint16_t port)
{
    int fd = open_in(host, namespace_fd, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in to = address_of(address, port);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS);
    return fd;
}

static bool is_connected(int fd, int wait_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int number = 0;
    socklen_t size = sizeof(number);
    return poll(&poll_fd, 1, wait_ms) == 1 &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 && number == 0;
}

/* ---- blackholes */

static void swallows_outgoing(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    struct net_fault fault = {
        .kind = NET_FAULT_BLACKHOLE, .egress = true, .udp = true, .port = PORT};
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    AUTO(fd_close) int near = open_in(host, setting.eni_fd, SOCK_DGRAM, 0);
    CHECK(!runs_at(&setting, &setting.place, &fault));
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);

    begin(&setting, &fault);
    CHECK(runs_at(&setting, &setting.place, &fault));
    CHECK(send_to(near, WORLD, PORT) == EPERM);
    CHECK(send_to(near, WORLD, OTHER_PORT) == 0);
    // The same again changes nothing; other protocols and directions are other faults.
    enum net_fault_kind running = NET_FAULT_LOSS;
    CHECK(net_fault_start(setting.net, &setting.place, &fault, &running, &host->err) == ERR_EXISTS);
    CHECK(running == NET_FAULT_BLACKHOLE);
    struct net_fault tcp = fault;
    tcp.udp = false;
    CHECK(!runs_at(&setting, &setting.place, &tcp));
    // Neither the host nor another task notices.
    AUTO(fd_close) int host_fd = open_in(host, -1, SOCK_DGRAM, 0);
    CHECK(send_to(host_fd, WORLD, PORT) == 0);
    take(far);
    struct text path;
    AUTO(fd_close) int other = make_task(&setting, 2, &path);
    AUTO(fd_close) int other_fd = open_in(host, other, SOCK_DGRAM, 0);
    CHECK(send_to(other_fd, WORLD, PORT) == 0);
    take(far);

    stop_at(&setting, &setting.place, &fault);
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);

    // What the kernel has outlives who asked for it.
    begin(&setting, &fault);
    net_close(setting.net);
    setting.net = open_instance(host, "1a2b3c4d", 0);
    CHECK(runs_at(&setting, &setting.place, &fault));
    stop_at(&setting, &setting.place, &fault);
    stop_at(&setting, &setting.place, &fault);
    CHECK(!runs_at(&setting, &setting.place, &fault));
    CHECK(send_to(near, WORLD, PORT) == 0);
    tear_down(&setting);
}

static void a_blackhole_swallows_outgoing_datagrams(void **state)
{
    (void)state;
    in_own_host(swallows_outgoing);
}

static void swallows_incoming(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    struct text path;
    AUTO(fd_close) int other = make_task(&setting, 2, &path);
    AUTO(fd_close) int deaf = listener_in(host, setting.eni_fd, SOCK_DGRAM, "0.0.0.0", PORT);
    AUTO(fd_close) int open = listener_in(host, setting.eni_fd, SOCK_DGRAM, "0.0.0.0", OTHER_PORT);
    AUTO(fd_close) int sender = open_in(host, other, SOCK_DGRAM, 0);
    struct net_fault fault = {.kind = NET_FAULT_BLACKHOLE, .udp = true, .port = PORT};
    begin(&setting, &fault);
    // On the same way, so what was not swallowed would be there before the second.
    CHECK(send_to(sender, "172.31.0.11", PORT) == 0);
    CHECK(send_to(sender, "172.31.0.11", OTHER_PORT) == 0);
    take(open);
    CHECK(!readable(deaf, 0));
    // Its own way out, from that port, is as it was.
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    CHECK(send_to(deaf, WORLD, PORT) == 0);
    take(far);
    stop_at(&setting, &setting.place, &fault);

    // Who is spared is heard: by where it sends from, or what it sends to.
    const struct net_fault_range spared[] = {{.prefix = 32, .address = {172, 31, 0, 12}},
                                             {.prefix = 31, .address = {172, 31, 0, 11}}};
    for (size_t i = 0; i < ARRAY_LEN(spared); i++) {
        fault.spared = &spared[i];
        fault.spared_count = 1;
        begin(&setting, &fault);
        CHECK(send_to(sender, "172.31.0.11", PORT) == 0);
        take(deaf);
        stop_at(&setting, &setting.place, &fault);
    }
    tear_down(&setting);
}

static void a_blackhole_swallows_incoming_datagrams(void **state)
{
    (void)state;
    in_own_host(swallows_incoming);
}

static void spares_sources(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int near = open_in(host, setting.eni_fd, SOCK_DGRAM, 0);
    static const struct {
        const char *name;
        struct net_fault_range range;
        int want;
    } cases[] = {
        {"the address", {.prefix = 32, .address = {203, 0, 113, 2}}, 0},
        {"its network, with bits behind the prefix",
         {.prefix = 24, .address = {203, 0, 113, 77}},
         0},
        {"a range that ends inside a byte", {.prefix = 30, .address = {203, 0, 113, 0}}, 0},
        {"everything", {.prefix = 0}, 0},
        {"another address", {.prefix = 32, .address = {203, 0, 113, 3}}, EPERM},
        {"another range that ends inside a byte",
         {.prefix = 30, .address = {203, 0, 113, 4}},
         EPERM},
        {"all of IPv6", {.ipv6 = true}, EPERM},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        printf("%s\n", cases[i].name);
        const struct net_fault fault = {.kind = NET_FAULT_BLACKHOLE,
                                        .egress = true,
                                        .udp = true,
                                        .port = PORT,
                                        .spared = &cases[i].range,
                                        .spared_count = 1};
        begin(&setting, &fault);
        CHECK(send_to(near, WORLD, PORT) == cases[i].want);
        stop_at(&setting, &setting.place, &fault);
    }
    // Many are looked at one by one: the last one counts, too.
    struct net_fault_range many[300] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = (struct net_fault_range){
            .prefix = 32, .address = {10, 0, (uint8_t)(i / 200), (uint8_t)(i % 200)}};
    }
    many[ARRAY_LEN(many) - 1] = world_alone;
    const struct net_fault fault = {.kind = NET_FAULT_BLACKHOLE,
                                    .egress = true,
                                    .udp = true,
                                    .port = PORT,
                                    .spared = many,
                                    .spared_count = ARRAY_LEN(many)};
    begin(&setting, &fault);
    CHECK(send_to(near, WORLD, PORT) == 0);
    CHECK(send_to(near, "203.0.113.3", PORT) == EPERM);
    tear_down(&setting);
}

static void a_blackhole_spares_sources(void **state)
{
    (void)state;
    in_own_host(spares_sources);
}

static void swallows_connections(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_STREAM, WORLD, PORT);
    UNUSED AUTO(fd_close) int far_other =
        listener_in(host, host->world_fd, SOCK_STREAM, WORLD, OTHER_PORT);
    // What was connected before is cut, too.
    AUTO(fd_close) int before = connect_to(host, setting.eni_fd, WORLD, PORT);
    CHECK(is_connected(before, WAIT_MS));
    AUTO(fd_close) int accepted = accept4(far, NULL, NULL, SOCK_CLOEXEC);
    const struct net_fault out = {.kind = NET_FAULT_BLACKHOLE, .egress = true, .port = PORT};
    begin(&setting, &out);
    AUTO(fd_close) int swallowed = connect_to(host, setting.eni_fd, WORLD, PORT);
    AUTO(fd_close) int passed = connect_to(host, setting.eni_fd, WORLD, OTHER_PORT);
    CHECK(is_connected(passed, WAIT_MS));
    CHECK(!is_connected(swallowed, 0));
    CHECK(send(before, "x", 1, 0) == 1);
    CHECK(!readable(accepted, SILENCE_MS));
    // It was on its way all the time: TCP sends again.
    stop_at(&setting, &setting.place, &out);
    CHECK(is_connected(swallowed, 10 * WAIT_MS));
    CHECK(readable(accepted, 10 * WAIT_MS));
    tear_down(&setting);
}

static void a_blackhole_swallows_connections(void **state)
{
    (void)state;
    in_own_host(swallows_connections);
}

static void spares_endpoint(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int agent = -1;
    OK(net_endpoint_listen(setting.place.path, &agent, &host->err));
    for (int i = 0; i < 4; i++) {
        const struct net_fault fault = {.kind = NET_FAULT_BLACKHOLE,
                                        .egress = i < 2,
                                        .port = i % 2 == 0 ? 80 : NET_ENDPOINT_PORT};
        begin(&setting, &fault);
    }
    const struct net_fault loss = {.kind = NET_FAULT_LOSS,
                                   .loss_percent = 100,
                                   .flows_percent = 100,
                                   .sources = &all,
                                   .source_count = 1};
    begin(&setting, &loss);
    AUTO(fd_close) int asking = connect_to(host, setting.eni_fd, NET_ENDPOINT_ADDRESS, 80);
    CHECK(is_connected(asking, WAIT_MS));
    CHECK(readable(agent, WAIT_MS));
    AUTO(fd_close) int asked = accept4(agent, NULL, NULL, SOCK_CLOEXEC);
    CHECK(send(asking, "q", 1, 0) == 1);
    take(asked);
    CHECK(send(asked, "a", 1, 0) == 1);
    take(asking);
    tear_down(&setting);
}

static void faults_spare_the_way_to_the_agent(void **state)
{
    (void)state;
    in_own_host(spares_endpoint);
}

/* ---- loss */

static void loses(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    struct text path;
    AUTO(fd_close) int other = make_task(&setting, 2, &path);
    AUTO(fd_close) int beside = listener_in(host, other, SOCK_DGRAM, "172.31.0.12", PORT);
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    AUTO(fd_close) int near = listener_in(host, setting.eni_fd, SOCK_DGRAM, "0.0.0.0", PORT);
    const int on = 1;
    CHECK(setsockopt(near, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)) == 0);
    struct net_fault fault = {.kind = NET_FAULT_LOSS,
                              .loss_percent = 100,
                              .flows_percent = 100,
                              .sources = &world_net,
                              .source_count = 1};
    begin(&setting, &fault);
    CHECK(runs_at(&setting, &setting.place, &fault));
    // A network never tells what it has lost.
    for (int i = 0; i < 10; i++) {
        CHECK(send_to(near, WORLD, PORT) == 0);
    }
    // Whom it is not meant for; what comes in; what stays inside.
    CHECK(send_to(near, "172.31.0.12", PORT) == 0);
    take(beside);
    CHECK(send_to(beside, "172.31.0.11", PORT) == 0);
    take(near);
    CHECK(send_to(near, "127.0.0.1", PORT) == 0);
    take(near);
    stop_at(&setting, &setting.place, &fault);
    CHECK(!runs_at(&setting, &setting.place, &fault));
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);
    CHECK(!readable(far, 0));

    fault.spared = &world_alone;
    fault.spared_count = 1;
    begin(&setting, &fault);
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);
    CHECK(send_to(near, "203.0.113.3", PORT) == 0);
    tear_down(&setting);
}

static void loss_is_silent_and_for_whom_it_is_meant(void **state)
{
    (void)state;
    in_own_host(loses);
}

// Out of 300 with a chance of one half, fewer than 75 or more than 225 come once in 10^17 runs.
static bool about_half(size_t count)
{
    return count >= MANY / 4 && count <= MANY * 3 / 4;
}

static void loses_some(struct host *host)
{
    struct setting setting;
    size_t counts[MANY];
    set_up(&setting, host);
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    struct net_fault fault = {.kind = NET_FAULT_LOSS,
                              .loss_percent = 50,
                              .flows_percent = 100,
                              .sources = &all,
                              .source_count = 1};
    begin(&setting, &fault);
    for (uint16_t n = 0; n < MANY; n++) {
        send_nth(&setting, n);
    }
    stop_at(&setting, &setting.place, &fault);
    count_each(&setting, far, counts);
    size_t received = 0;
    for (size_t n = 0; n < MANY; n++) {
        received += counts[n];
    }
    printf("%zu of %d came through\n", received, MANY);
    CHECK(about_half(received));

    // Half of the conversations, of which each loses all or nothing.
    fault.loss_percent = 100;
    fault.flows_percent = 50;
    begin(&setting, &fault);
    for (uint16_t n = 0; n < MANY; n++) {
        send_nth(&setting, n);
        send_nth(&setting, n);
    }
    stop_at(&setting, &setting.place, &fault);
    count_each(&setting, far, counts);
    size_t whole = 0;
    for (size_t n = 0; n < MANY; n++) {
        CHECK(counts[n] == 0 || counts[n] == 2);
        whole += counts[n] / 2;
    }
    printf("%zu of %d conversations were whole\n", whole, MANY);
    CHECK(about_half(whole));
    tear_down(&setting);
}

static void loss_of_a_part(void **state)
{
    (void)state;
    in_own_host(loses_some);
}

/* ---- the host's namespace */

static void meets_host(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    AUTO(fd_close) int own = open_in(host, -1, SOCK_DGRAM, 0);
    AUTO(fd_close) int task = open_in(host, setting.eni_fd, SOCK_DGRAM, 0);
    const struct net_fault hole = {
        .kind = NET_FAULT_BLACKHOLE, .egress = true, .udp = true, .port = PORT};
    const struct net_fault loss = {.kind = NET_FAULT_LOSS,
                                   .loss_percent = 100,
                                   .flows_percent = 100,
                                   .sources = &all,
                                   .source_count = 1};
    OK(begin_at(&setting, &setting.host_place, &hole));
    CHECK(send_to(own, WORLD, PORT) == EPERM);
    CHECK(send_to(task, WORLD, PORT) == 0);
    take(far);
    // One for all tasks of the host: another sees it, and may end it.
    const struct net_fault_place others = {.task_id = OTHER_TASK};
    CHECK(runs_at(&setting, &others, &hole));
    CHECK(begin_at(&setting, &others, &hole) == ERR_EXISTS);
    stop_at(&setting, &others, &hole);
    CHECK(send_to(own, WORLD, PORT) == 0);
    take(far);

    // What the host passes on for tasks is not its own.
    OK(begin_at(&setting, &setting.host_place, &loss));
    CHECK(send_to(own, WORLD, PORT) == 0);
    CHECK(send_to(task, WORLD, PORT) == 0);
    take(far);
    CHECK(!readable(far, 0));

    // Each ends with its task; nothing is left.
    OK(begin_at(&setting, &others, &hole));
    struct text_list ids;
    OK(net_fault_list(setting.net, &host->arena, &ids, &host->err));
    CHECK(ids.count == 2);
    OK(net_fault_end(setting.net, TASK, &host->err));
    CHECK(!runs_at(&setting, &others, &loss) && runs_at(&setting, &others, &hole));
    OK(net_fault_list(setting.net, &host->arena, &ids, &host->err));
    CHECK(ids.count == 1 && text_equal(ids.items[0], OTHER_TASK));
    // Another instance has its own.
    struct net *second = open_instance(host, "2b3c4d5e", 0);
    bool running = true;
    OK(net_fault_running(second, &others, &hole, &running, &host->err));
    CHECK(!running);
    OK(net_destroy_all(second, &host->err));
    net_close(second);
    CHECK(runs_at(&setting, &others, &hole));
    OK(net_destroy_all(setting.net, &host->err));
    CHECK(!ruleset_names("berth-fault"));
    CHECK(send_to(own, WORLD, PORT) == 0);
    take(far);
    tear_down(&setting);
}

static void in_mode_host_it_meets_the_host_alone(void **state)
{
    (void)state;
    in_own_host(meets_host);
}

static void spares_host_ways(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int agent = -1;
    OK(net_endpoint_listen_here(UINT32_C(0x7f010203), &agent, &host->err));
    UNUSED AUTO(fd_close) int near = listener_in(host, -1, SOCK_STREAM, "0.0.0.0", PORT);
    UNUSED AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_STREAM, WORLD, PORT);
    const struct net_fault_server servers[] = {{{.prefix = 32, .address = {127, 0, 0, 1}}, PORT},
                                               {world_alone, PORT}};
    setting.host_place.servers = servers;
    setting.host_place.server_count = ARRAY_LEN(servers);
    for (int i = 0; i < 4; i++) {
        const struct net_fault fault = {.kind = NET_FAULT_BLACKHOLE,
                                        .egress = i < 2,
                                        .port = i % 2 == 0 ? PORT : NET_ENDPOINT_PORT};
        OK(begin_at(&setting, &setting.host_place, &fault));
    }
    const struct net_fault loss = {.kind = NET_FAULT_LOSS,
                                   .loss_percent = 100,
                                   .flows_percent = 100,
                                   .sources = &all,
                                   .source_count = 1};
    OK(begin_at(&setting, &setting.host_place, &loss));
    AUTO(fd_close) int cut = connect_to(host, -1, "127.0.0.2", PORT);
    AUTO(fd_close) int asking = connect_to(host, -1, "127.1.2.3", NET_ENDPOINT_PORT);
    CHECK(is_connected(asking, WAIT_MS));
    AUTO(fd_close) int reporting = connect_to(host, -1, "127.0.0.1", PORT);
    CHECK(is_connected(reporting, WAIT_MS));
    AUTO(fd_close) int remote = connect_to(host, -1, WORLD, PORT);
    CHECK(is_connected(remote, WAIT_MS));
    CHECK(!is_connected(cut, 0));
    tear_down(&setting);
}

static void in_mode_host_the_agents_ways_are_spared(void **state)
{
    (void)state;
    in_own_host(spares_host_ways);
}

static void finds_no_way_out(struct host *host)
{
    struct setting setting = {.host = host, .net = open_instance(host, "1a2b3c4d", 0)};
    const struct net_fault loss = {.kind = NET_FAULT_LOSS,
                                   .loss_percent = 1,
                                   .flows_percent = 1,
                                   .sources = &all,
                                   .source_count = 1};
    CHECK(begin_at(&setting, &(struct net_fault_place){.task_id = TASK}, &loss) == ERR_NOT_FOUND);
    const struct net_fault_place nowhere = {.path = TEXT("/run/nowhere"), .task_id = TASK};
    CHECK(begin_at(&setting, &nowhere, &loss) == ERR_NOT_FOUND);
    net_close(setting.net);
}

static void a_place_that_is_not_there(void **state)
{
    (void)state;
    in_own_host(finds_no_way_out);
}

/* ---- latency */

// Delays are the kernel's own, which a host may lack. Where BERTH_NETEM says it is there, it must.
static bool lacks_netem(struct host *host, int rc)
{
    if (rc != ERR_UNSUPPORTED || getenv("BERTH_NETEM") != NULL) {
        return false;
    }
    CHECK(strstr(host->err.text, "sch_prio") != NULL ||
          strstr(host->err.text, "sch_netem") != NULL);
    fprintf(stderr, "%s\n", host->err.text);
    return true;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void delays(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    AUTO(fd_close) int near = open_in(host, setting.eni_fd, SOCK_DGRAM, 0);
    struct net_fault fault = {.kind = NET_FAULT_LATENCY,
                              .flows_percent = 100,
                              .delay_ms = 60000,
                              .sources = &world_net,
                              .source_count = 1};
    int rc = begin_at(&setting, &setting.place, &fault);
    if (lacks_netem(host, rc)) {
        CHECK(!runs_at(&setting, &setting.place, &fault));
        tear_down(&setting);
        _exit(SKIPPED);
    }
    OK(rc);
    CHECK(runs_at(&setting, &setting.place, &fault));
    CHECK(send_to(near, WORLD, PORT) == 0);
    // Whom it is not meant for goes ahead.
    struct text path;
    AUTO(fd_close) int other = make_task(&setting, 2, &path);
    AUTO(fd_close) int beside = listener_in(host, other, SOCK_DGRAM, "172.31.0.12", PORT);
    CHECK(send_to(near, "172.31.0.12", PORT) == 0);
    take(beside);
    CHECK(!readable(far, 0));
    // Loss and latency exclude each other, whichever is there.
    const struct net_fault loss = {.kind = NET_FAULT_LOSS,
                                   .loss_percent = 100,
                                   .flows_percent = 100,
                                   .sources = &all,
                                   .source_count = 1};
    enum net_fault_kind running = NET_FAULT_BLACKHOLE;
    CHECK(net_fault_start(setting.net, &setting.place, &loss, &running, &host->err) == ERR_EXISTS);
    CHECK(running == NET_FAULT_LATENCY);
    CHECK(begin_at(&setting, &setting.place, &fault) == ERR_EXISTS);
    stop_at(&setting, &setting.place, &loss);
    CHECK(runs_at(&setting, &setting.place, &fault));
    stop_at(&setting, &setting.place, &fault);
    CHECK(!runs_at(&setting, &setting.place, &fault));
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);

    begin(&setting, &loss);
    CHECK(net_fault_start(setting.net, &setting.place, &fault, &running, &host->err) == ERR_EXISTS);
    CHECK(running == NET_FAULT_LOSS);
    stop_at(&setting, &setting.place, &loss);

    // A delay that ends; and who is spared.
    fault.delay_ms = 300;
    fault.jitter_ms = 100;
    begin(&setting, &fault);
    int64_t sent_ms = now_ms();
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);
    CHECK(now_ms() - sent_ms >= 199);
    stop_at(&setting, &setting.place, &fault);
    fault.delay_ms = 60000;
    fault.spared = &world_alone;
    fault.spared_count = 1;
    begin(&setting, &fault);
    CHECK(send_to(near, WORLD, PORT) == 0);
    take(far);
    stop_at(&setting, &setting.place, &fault);

    // Half of the conversations.
    fault.spared_count = 0;
    fault.flows_percent = 50;
    begin(&setting, &fault);
    for (uint16_t n = 0; n < MANY; n++) {
        send_nth(&setting, n);
    }
    stop_at(&setting, &setting.place, &fault); // and those that wait are gone
    size_t counts[MANY];
    size_t prompt = 0;
    count_each(&setting, far, counts);
    for (size_t n = 0; n < MANY; n++) {
        prompt += counts[n];
    }
    printf("%zu of %d conversations were prompt\n", prompt, MANY);
    CHECK(about_half(prompt));
    tear_down(&setting);
}

static void latency_delays_whom_it_is_meant_for(void **state)
{
    (void)state;
    in_own_host(delays);
}

static void delays_host(struct host *host)
{
    struct setting setting;
    set_up(&setting, host);
    AUTO(fd_close) int far = listener_in(host, host->world_fd, SOCK_DGRAM, WORLD, PORT);
    AUTO(fd_close) int own = open_in(host, -1, SOCK_DGRAM, 0);
    AUTO(fd_close) int task = open_in(host, setting.eni_fd, SOCK_DGRAM, 0);
    const struct net_fault fault = {.kind = NET_FAULT_LATENCY,
                                    .flows_percent = 100,
                                    .delay_ms = 60000,
                                    .sources = &all,
                                    .source_count = 1};
    int rc = begin_at(&setting, &setting.host_place, &fault);
    if (lacks_netem(host, rc)) {
        _exit(SKIPPED);
    }
    OK(rc);
    CHECK(send_to(own, WORLD, PORT) == 0);
    CHECK(send_to(task, WORLD, PORT) == 0);
    take(far);
    CHECK(!readable(far, 0));
    OK(net_fault_end(setting.net, TASK, &host->err));
    CHECK(send_to(own, WORLD, PORT) == 0);
    take(far);
    // A crash between the queue and the rules leaves a queue, which is in nobody's way.
    OK(begin_at(&setting, &setting.host_place, &fault));
    run_filter("delete table inet berth-fault-1a2b3c4d-latency-0123456789abcdef0123456789abcdef");
    CHECK(!runs_at(&setting, &setting.host_place, &fault));
    CHECK(send_to(own, WORLD, PORT) == 0);
    take(far);
    OK(begin_at(&setting, &setting.host_place, &fault));
    OK(net_destroy_all(setting.net, &host->err));
    // Another's queue stays another's.
    struct net *second = open_instance(host, "2b3c4d5e", 0);
    struct net *third = open_instance(host, "3c4d5e6f", 0);
    enum net_fault_kind running = NET_FAULT_BLACKHOLE;
    OK(net_fault_start(second, &setting.host_place, &fault, &running, &host->err));
    CHECK(net_fault_start(third, &setting.host_place, &fault, &running, &host->err) == ERR_BUSY);
    bool there = false;
    OK(net_fault_running(second, &setting.host_place, &fault, &there, &host->err));
    CHECK(there);
    CHECK(send_to(own, WORLD, PORT) == 0);
    CHECK(!readable(far, SILENCE_MS));
    net_close(second);
    net_close(third);
    tear_down(&setting);
}

static void latency_in_mode_host(void **state)
{
    (void)state;
    in_own_host(delays_host);
}

static void probes(struct host *host)
{
    struct net *net = open_instance(host, "1a2b3c4d", 0);
    int rc = net_fault_probe(net, &host->err);
    CHECK(rc == 0 || lacks_netem(host, rc));
    CHECK(!ruleset_names("berth-fault"));
    net_close(net);
}

static void a_probe_tells_what_the_kernel_lacks(void **state)
{
    (void)state;
    in_own_host(probes);
}

// With a name, or a pattern such as `latency*`, only those tests.
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blackhole_swallows_outgoing_datagrams),
        cmocka_unit_test(a_blackhole_swallows_incoming_datagrams),
        cmocka_unit_test(a_blackhole_spares_sources),
        cmocka_unit_test(a_blackhole_swallows_connections),
        cmocka_unit_test(faults_spare_the_way_to_the_agent),
        cmocka_unit_test(loss_is_silent_and_for_whom_it_is_meant),
        cmocka_unit_test(loss_of_a_part),
        cmocka_unit_test(in_mode_host_it_meets_the_host_alone),
        cmocka_unit_test(in_mode_host_the_agents_ways_are_spared),
        cmocka_unit_test(a_place_that_is_not_there),
        cmocka_unit_test(latency_delays_whom_it_is_meant_for),
        cmocka_unit_test(latency_in_mode_host),
        cmocka_unit_test(a_probe_tells_what_the_kernel_lacks),
    };
    if (count > 1) {
        cmocka_set_test_filter(arguments[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
