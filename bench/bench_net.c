/*
 * Making and removing a task's network interface: ours, with a warm pool and in a burst, beside the
 * floor in the same run: a namespace, a pair of links into a bridge, address, default route and
 * mount by the shortest sequence of system calls, with nothing checked, waited for or announced.
 *
 * Runs in network and mount namespaces of its own.
 */

#include "base/alloc.h"
#include "base/clock.h"
#include "net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 100
#define POOL 16
#define GOAL_MS 3.0
#define RUN_DIR "/run/berth-bench"

/** Nanoseconds of each round. */
struct series {
    int64_t create[ROUNDS];
    int64_t destroy[ROUNDS];
};

static void check(int rc, const struct err *err)
{
    if (rc != 0) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

static double percentile(int64_t *values, size_t percent)
{
    qsort(values, ROUNDS, sizeof(*values), compare);
    return (double)values[ROUNDS * percent / 100] / 1e6;
}

// What the pool does in the background between two tasks.
static void pause_ms(long ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

/* ---- the floor */

/** A bridge in a namespace, as a router has it. */
struct floor {
    struct net_space router;
    uint32_t bridge_index;
};

static void floor_open(struct floor *floor, struct err *err)
{
    check(net_space_create(&floor->router, err), err);
    const struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE, &up, sizeof(up));
    nla_put_string(message, IFLA_IFNAME, "bridge");
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "bridge");
    nla_nest_end(message, info);
    struct net_batch batch = {0};
    net_batch_add(&batch, message, "bridge");
    check(net_batch_commit(floor->router.socket_fd, &batch, 0, err), err);
    net_batch_deinit(&batch);
    struct net_link link;
    check(net_link_get(floor->router.socket_fd, "bridge", 0, &link, err), err);
    floor->bridge_index = link.index;
}

static struct nl_msg *floor_pair(const struct floor *floor, int space_fd, const char *name)
{
    const struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    const struct ifinfomsg any = {0};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE, &up, sizeof(up));
    nla_put_string(message, IFLA_IFNAME, name);
    nla_put_u32(message, IFLA_MASTER, floor->bridge_index);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, (void *)(uintptr_t)&any, sizeof(any), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, "eth0");
    nla_put_u32(message, IFLA_NET_NS_FD, (uint32_t)space_fd);
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    return message;
}

static void floor_round(const struct floor *floor, unsigned n, struct series *series,
                        struct err *err)
{
    char name[16];
    char path[64];
    snprintf(name, sizeof(name), "floor%u", n);
    snprintf(path, sizeof(path), RUN_DIR "/floor%u", n);
    int64_t start = clock_monotonic_ns();

    int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int socket_fd = -1;
    if (back < 0 || unshare(CLONE_NEWNET) != 0) {
        check(err_sys(err, errno, "making a namespace"), err);
    }
    int space_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    check(net_socket_open(&socket_fd, err), err);
    net_namespace_leave(back);

    struct net_batch pair = {0};
    net_batch_add(&pair, floor_pair(floor, space_fd, name), "pair");
    check(net_batch_commit(floor->router.socket_fd, &pair, 0, err), err);
    const struct net_route_options outward = {
        .gateway = 10u << 24 | 1, .link_index = 2, .type = RTN_UNICAST};
    struct net_batch inside = {0};
    net_batch_add(&inside, net_message_up(1), "loopback");
    net_batch_add(&inside, net_message_up(2), "up");
    net_batch_add(&inside, net_message_address(2, (10u << 24) + 10 + n, 16), "address");
    net_batch_add(&inside, net_message_route(&outward), "route");
    check(net_batch_commit(socket_fd, &inside, 0, err), err);
    net_batch_deinit(&pair);
    net_batch_deinit(&inside);

    char from[64];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", space_fd);
    int file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
    if (file < 0 || mount(from, path, NULL, MS_BIND, NULL) != 0) {
        check(err_sys(err, errno, "mounting"), err);
    }
    close(file);
    close(socket_fd);
    close(space_fd);
    int64_t made = clock_monotonic_ns();
    pause_ms(2);

    int64_t end = clock_monotonic_ns();
    if (umount2(path, MNT_DETACH) != 0 || unlink(path) != 0) {
        check(err_sys(err, errno, "unmounting"), err);
    }
    series->create[n] = made - start;
    series->destroy[n] = clock_monotonic_ns() - end;
}

/* ---- ours */

static void describe(unsigned n, struct arena *arena, struct net_eni *out)
{
    *out = (struct net_eni){
        .id = arena_format(arena, "eni-%017x", n),
        .mac_address = arena_format(arena, "02:00:00:00:00:%02x", n),
        .address = arena_format(arena, "172.31.0.%u", 10 + n),
        .prefix_length = 20,
        .gateway = TEXT("172.31.0.1"),
        .subnet_id = TEXT("subnet-0123456789abcdef0"),
        .vpc = {.id = TEXT("vpc-0123456789abcdef0"), .cidr = TEXT("172.31.0.0/16")},
    };
}

static void create_one(struct net *net, unsigned n, int64_t *out_ns, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_eni eni;
    struct text path;
    describe(n, &arena, &eni);
    int64_t start = clock_monotonic_ns();
    check(net_eni_create(net, &eni, &arena, &path, err), err);
    *out_ns = clock_monotonic_ns() - start;
}

static void destroy_one(struct net *net, unsigned n, int64_t *out_ns, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_eni eni;
    describe(n, &arena, &eni);
    int64_t start = clock_monotonic_ns();
    check(net_eni_destroy(net, eni.id, err), err);
    *out_ns = clock_monotonic_ns() - start;
}

static void print(const char *what, struct series *series)
{
    printf("%-28s %8.3f %8.3f %8.3f %8.3f\n", what, percentile(series->create, 50),
           percentile(series->create, 95), percentile(series->destroy, 50),
           percentile(series->destroy, 95));
}

static int set_up(struct err *err)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/run", "tmpfs", 0, NULL) != 0) {
        return err_sys(err, errno, "making namespaces");
    }
    return file_make_dirs(RUN_DIR, 0755, err);
}

int main(void)
{
    static struct series floor_series;
    static struct series paced;
    static struct series burst;
    struct err err = {0};
    if (set_up(&err) != 0) {
        printf("SKIPPED: needs root (%s)\n", err.text);
        return 77;
    }
    struct floor floor = {.router = {-1, -1}};
    floor_open(&floor, &err);
    const struct net_options options = {
        .instance = "be9c4000", .run_dir = RUN_DIR, .pool_size = POOL};
    struct net *net = NULL;
    check(net_open(&options, &net, &err), &err);
    int64_t ignored = 0;
    create_one(net, ROUNDS, &ignored, &err); // router and bridge
    pause_ms(50);

    // Peers take turns, so that noise of the machine hits both.
    for (unsigned n = 0; n < ROUNDS; n++) {
        floor_round(&floor, n, &floor_series, &err);
        pause_ms(2);
        create_one(net, n, &paced.create[n], &err);
        pause_ms(2);
        destroy_one(net, n, &paced.destroy[n], &err);
    }
    pause_ms(200);
    int64_t start = clock_monotonic_ns();
    for (unsigned n = 0; n < ROUNDS; n++) {
        create_one(net, n, &burst.create[n], &err);
    }
    double burst_ms = (double)(clock_monotonic_ns() - start) / 1e6;
    for (unsigned n = 0; n < ROUNDS; n++) {
        destroy_one(net, n, &burst.destroy[n], &err);
    }

    printf("network interface, ms            create            destroy\n");
    printf("%-28s %8s %8s %8s %8s\n", "", "p50", "p95", "p50", "p95");
    print("floor", &floor_series);
    print("one at a time", &paced);
    print("100 in a burst", &burst);
    double p50 = percentile(paced.create, 50);
    printf("create / floor: %.2f   burst: %.0f per second   goal: p50 under %.1f ms: %s\n",
           p50 / percentile(floor_series.create, 50), ROUNDS / burst_ms * 1000, GOAL_MS,
           p50 < GOAL_MS ? "met" : "MISSED");

    check(net_destroy_all(net, &err), &err);
    net_close(net);
    net_space_deinit(&floor.router);
    return p50 < GOAL_MS ? 0 : 1;
}
