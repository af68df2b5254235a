#include "enter.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime/runtime.h"
#include "task/frame.h"
#include "task/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The floor for starting a container: a network namespace with a veth pair, an overlay mount and
 * `crun run` of the bundle that the driver makes, with nothing else around. With --driver it starts
 * the same container through the driver and its supervisor too, up to the state RUNNING, and prints
 * the ratio, and brings commands into it, beside `crun exec`. Root only; in network and mount
 * namespaces of its own.
 *
 *   bench_crun_floor [--driver BERTH_TASK]
 */

#define ROUNDS 40
#define WARM_UP 3
#define SKIPPED 77
#define WAIT_MS 10000

struct bench {
    char directory[64];
    char *network; ///< file on which the namespace is mounted
    struct runtime *runtime;
    struct arena arena;
    struct image image;
    int host_fd; ///< our own network namespace
    double net_ms[ROUNDS];
    double floor_ms[ROUNDS];
    double driver_ms[ROUNDS];
    double prepare_ms[ROUNDS];
    double launch_ms[ROUNDS];
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_crun_floor: %s: %s\n", what, why);
    exit(1);
}

static void check(int rc, const struct err *err)
{
    if (rc != 0) {
        die("failed", err->text);
    }
}

static void check_sys(bool ok, const char *what)
{
    if (!ok) {
        die(what, strerror(errno));
    }
}

static double now_ms(void)
{
    return (double)clock_monotonic_ns() / 1e6;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double percentile(double *values, size_t percent)
{
    qsort(values, ROUNDS, sizeof(*values), compare);
    return values[(ROUNDS - 1) * percent / 100];
}

static void link_up(struct nl_sock *socket, const char *name, const char *address)
{
    int index = (int)if_nametoindex(name);
    struct rtnl_link *before = rtnl_link_alloc();
    struct rtnl_link *change = rtnl_link_alloc();
    rtnl_link_set_ifindex(before, index);
    rtnl_link_set_flags(change, IFF_UP);
    int rc = rtnl_link_change(socket, before, change, 0);
    rtnl_link_put(before);
    rtnl_link_put(change);
    if (rc == 0 && address != NULL) {
        struct nl_addr *local = NULL;
        struct rtnl_addr *add = rtnl_addr_alloc();
        rc = nl_addr_parse(address, AF_INET, &local);
        rtnl_addr_set_ifindex(add, index);
        rtnl_addr_set_local(add, local);
        rc = rc == 0 ? rtnl_addr_add(socket, add, 0) : rc;
        rtnl_addr_put(add);
        nl_addr_put(local);
    }
    if (rc != 0) {
        die("configuring a link", nl_geterror(rc));
    }
}

static struct nl_sock *open_netlink(void)
{
    struct nl_sock *socket = nl_socket_alloc();
    if (socket == NULL || nl_connect(socket, NETLINK_ROUTE) != 0) {
        die("netlink", "cannot connect");
    }
    return socket;
}

// A namespace on a file, and a veth pair from it to here, up and with an address.
static void make_network(const struct bench *bench)
{
    struct nl_sock *host = open_netlink();
    check_sys(unshare(CLONE_NEWNET) == 0, "making a network namespace");
    check_sys(mount("/proc/self/ns/net", bench->network, NULL, MS_BIND, NULL) == 0,
              "keeping a network namespace");
    struct nl_sock *inside = open_netlink();
    AUTO(fd_close) int inside_fd = open(bench->network, O_RDONLY | O_CLOEXEC);
    struct rtnl_link *pair = rtnl_link_veth_alloc();
    struct rtnl_link *peer = rtnl_link_veth_get_peer(pair);
    rtnl_link_set_name(pair, "veth0");
    rtnl_link_set_name(peer, "eth0");
    rtnl_link_set_ns_fd(peer, inside_fd);
    int rc = rtnl_link_add(host, pair, NLM_F_CREATE | NLM_F_EXCL);
    if (rc != 0) {
        die("making a veth pair", nl_geterror(rc));
    }
    rtnl_link_put(peer);
    rtnl_link_put(pair);
    link_up(inside, "lo", NULL);
    link_up(inside, "eth0", "10.9.0.2/24");
    check_sys(setns(bench->host_fd, CLONE_NEWNET) == 0, "going back");
    link_up(host, "veth0", NULL);
    nl_socket_free(inside);
    nl_socket_free(host);
}

static void destroy_network(const struct bench *bench)
{
    struct nl_sock *host = open_netlink();
    struct rtnl_link *link = rtnl_link_alloc();
    rtnl_link_set_name(link, "veth0");
    IGNORE(rtnl_link_delete(host, link) != 0, "it goes with its namespace as well");
    rtnl_link_put(link);
    nl_socket_free(host);
    check_sys(umount2(bench->network, MNT_DETACH) == 0, "letting a network namespace go");
}

static void write_bytes(const char *path, mode_t mode, struct text content)
{
    struct err err = {0};
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    check_sys(fd >= 0, path);
    check(fd_write_all(fd, content.data, content.size, &err), &err);
}

static void make_image(struct bench *bench)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf busybox = {0};
    AUTO(alloc_string) char *bin = alloc_format("%s/layer/bin", bench->directory);
    AUTO(alloc_string) char *program = alloc_format("%s/busybox", bin);
    AUTO(alloc_string) char *shell = alloc_format("%s/sh", bin);
    check(file_make_dirs(bin, 0755, &err), &err);
    check(file_read(AT_FDCWD, "/bin/busybox", 16u << 20, &busybox, &err), &err);
    write_bytes(program, 0755, buf_view(&busybox));
    check_sys(symlink("busybox", shell) == 0, shell);
    struct text *layer = arena_array(&bench->arena, 1, sizeof(struct text));
    layer[0] = arena_format(&bench->arena, "%s/layer", bench->directory);
    bench->image = (struct image){.name = TEXT("bench"), .layers = {layer, 1}};
}

static void prepare(struct bench *bench, struct text id)
{
    static struct text command[] = {{"/bin/sh", 7}, {"-c", 2}, {"exec sleep 1000", 15}};
    struct err err = {0};
    static struct text nothing[] = {{"CMD", 3}, {"/bin/busybox", 12}, {"true", 4}};
    // Never due here, but written down.
    struct ecs_health_check check_later = {
        .command = {nothing, 3}, .has_interval = true, .interval = 300};
    struct ecs_container_definition container = {
        .name = TEXT("web"), .command = {command, 3}, .health_check = &check_later};
    struct ecs_task_definition definition = {.container_definitions = {&container, 1}};
    struct session_task_spec spec = {
        .task_arn = TEXT("arn"), .definition = &definition, .cpu_units = 256, .memory_mib = 512};
    const struct runtime_container containers[] = {{&container, &bench->image}};
    const struct runtime_task task = {
        .id = id,
        .spec = &spec,
        .containers = containers,
        .container_count = 1,
        .network_namespace = text_of(bench->network),
    };
    check(bench->runtime->ops->prepare(bench->runtime, &task, &err), &err);
}

static struct text new_id(struct bench *bench)
{
    unsigned char random[16];
    char hex[33];
    clock_entropy(random, sizeof(random));
    text_hex(random, sizeof(random), hex);
    return arena_text(&bench->arena, text_of(hex));
}

static void run_crun(const char *bundle, struct text id, const char *root)
{
    AUTO(alloc_string) char *name = alloc_format("%.*s", TEXT_FMT(id));
    const char *const arguments[] = {"crun",     "--root", root, "run", "--detach",
                                     "--bundle", bundle,   name, NULL};
    char *const environment[] = {NULL};
    pid_t pid = 0;
    int status = 0;
    int rc =
        posix_spawnp(&pid, "crun", NULL, NULL, (char *const *)(uintptr_t)arguments, environment);
    check_sys(rc == 0, "running crun");
    check_sys(waitpid(pid, &status, 0) == pid, "waiting for crun");
    if (status != 0) {
        die("crun", "it failed; see above");
    }
}

static void clean(struct bench *bench, struct text id)
{
    struct err err = {0};
    check(bench->runtime->ops->kill(bench->runtime, id, &err), &err);
    check(bench->runtime->ops->clean(bench->runtime, id, &err), &err);
    destroy_network(bench);
}

static void run_floor(struct bench *bench, size_t round)
{
    struct err err = {0};
    struct text id = new_id(bench);
    prepare(bench, id);
    AUTO(alloc_string)
    char *task = alloc_format("%s/run/tasks/%.*s", bench->directory, TEXT_FMT(id));
    AUTO(alloc_string) char *bundle = alloc_format("%s/c/0", task);
    AUTO(alloc_string) char *rootfs = alloc_format("%s/rootfs", bundle);
    AUTO(alloc_string) char *root = alloc_format("%s/oci", task);
    AUTO(alloc_string)
    char *data = alloc_format("%s/data/tasks/%.*s/c/0", bench->directory, TEXT_FMT(id));
    const struct overlay overlay = {
        .layers = bench->image.layers,
        .upper = arena_format(&bench->arena, "%s/upper", data),
        .work = arena_format(&bench->arena, "%s/work", data),
    };
    double begin_ms = now_ms();
    make_network(bench);
    bench->net_ms[round] = now_ms() - begin_ms;
    check(overlay_mount(&overlay, rootfs, &err), &err);
    run_crun(bundle, id, root);
    bench->floor_ms[round] = now_ms() - begin_ms;
    clean(bench, id);
}

// @return the first process of the container once it runs, else 0
static int runs(struct bench *bench, struct buf *in)
{
    struct err err = {0};
    struct supervisor_frame frame = {0};
    int rc = 0;
    while ((rc = frame_next(in, &bench->arena, &frame, &err)) == 1) {
        const struct supervisor_container_state *container = &frame.state->containers.items[0];
        if (container->status == SUPERVISOR_STATUS_RUNNING) {
            return container->pid;
        }
        if (container->status == SUPERVISOR_STATUS_STOPPED) {
            die("the container ended", "it must run");
        }
    }
    check(rc, &err);
    return 0;
}

static int wait_running(struct bench *bench, struct text id)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf in = {0};
    AUTO(fd_close) int fd = -1;
    int pid = 0;
    check(bench->runtime->ops->attach(bench->runtime, id, &fd, &err), &err);
    while ((pid = runs(bench, &in)) == 0) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        check_sys(poll(&ready, 1, WAIT_MS) == 1, "waiting for RUNNING");
        ssize_t got = read(fd, buf_reserve(&in, 4096), 4096);
        check_sys(got > 0, "reading the state");
        in.size += (size_t)got;
    }
    return pid;
}

static void run_driver(struct bench *bench, size_t round)
{
    struct err err = {0};
    struct text id = new_id(bench);
    double begin_ms = now_ms();
    make_network(bench);
    double network_ms = now_ms();
    prepare(bench, id);
    double prepared_ms = now_ms();
    check(bench->runtime->ops->launch(bench->runtime, id, &err), &err);
    bench->prepare_ms[round] = prepared_ms - network_ms;
    bench->launch_ms[round] = now_ms() - prepared_ms;
    IGNORE(wait_running(bench, id) == 0, "it runs");
    bench->driver_ms[round] = now_ms() - begin_ms;
    clean(bench, id);
}

static void run_commands(struct bench *bench, const char *supervisor)
{
    struct err err = {0};
    struct text id = new_id(bench);
    make_network(bench);
    prepare(bench, id);
    check(bench->runtime->ops->launch(bench->runtime, id, &err), &err);
    AUTO(alloc_string)
    char *directory = alloc_format("%s/run/tasks/%.*s", bench->directory, TEXT_FMT(id));
    enter_measure(&(struct enter_target){
        .pid = wait_running(bench, id),
        .directory = directory,
        .id = runtime_container_id(id, 0, &bench->arena).data,
        .supervisor = supervisor,
    });
    clean(bench, id);
}

static void set_up(struct bench *bench, const char *supervisor)
{
    struct err err = {0};
    unsigned char random[4];
    char instance[9];
    clock_entropy(random, sizeof(random));
    text_hex(random, sizeof(random), instance);
    snprintf(bench->directory, sizeof(bench->directory), "/var/tmp/berth-bench-XXXXXX");
    check_sys(mkdtemp(bench->directory) != NULL, bench->directory);
    bench->network = alloc_format("%s/net", bench->directory);
    write_bytes(bench->network, 0600, TEXT(""));
    check_sys(unshare(CLONE_NEWNET | CLONE_NEWNS) == 0, "making namespaces");
    check_sys(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "parting from the mounts");
    // crun wants to see one hierarchy of cgroups or the others, never both.
    IGNORE(umount2("/sys/fs/cgroup/unified", MNT_DETACH) != 0, "most hosts have none");
    bench->host_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    check_sys(bench->host_fd >= 0, "opening the network namespace");
    make_image(bench);
    AUTO(alloc_string) char *run_dir = alloc_format("%s/run", bench->directory);
    AUTO(alloc_string) char *data_dir = alloc_format("%s/data", bench->directory);
    const struct runtime_options options = {
        .instance = instance,
        .run_dir = run_dir,
        .data_dir = data_dir,
        .supervisor = supervisor,
        .output_max_bytes = 1u << 20,
    };
    check(runtime_oci_open(&options, &bench->runtime, &err), &err);
}

static void tear_down(struct bench *bench)
{
    struct err err = {0};
    runtime_close(bench->runtime);
    check(file_remove_tree(AT_FDCWD, bench->directory, &err), &err);
    alloc_free(bench->network);
    arena_deinit(&bench->arena);
    fd_close(bench->host_fd);
}

int main(int argument_count, char **arguments)
{
    static struct bench bench;
    bool driver = argument_count == 3 && strcmp(arguments[1], "--driver") == 0;
    if (geteuid() != 0 || access("/bin/busybox", X_OK) != 0) {
        printf("SKIP: root and /bin/busybox are needed\n");
        return SKIPPED;
    }
    set_up(&bench, driver ? arguments[2] : "/bin/true");
    for (size_t i = 0; i < WARM_UP + ROUNDS; i++) {
        // The first ones warm the caches and are overwritten. Taking turns, both see the same
        // noise.
        size_t round = i < WARM_UP ? 0 : i - WARM_UP;
        run_floor(&bench, round);
        if (driver) {
            run_driver(&bench, round);
        }
    }
    double floor_ms = percentile(bench.floor_ms, 50);
    printf(
        "bare overlay + netns + veth + crun: p50 %.1f ms, p90 %.1f ms; of it netns and veth %.1f "
        "ms\n",
        floor_ms, percentile(bench.floor_ms, 90), percentile(bench.net_ms, 50));
    if (driver) {
        double driver_ms = percentile(bench.driver_ms, 50);
        printf("netns + veth + driver and supervisor to RUNNING: p50 %.1f ms, p90 %.1f ms; "
               "of it prepare %.1f ms, launch %.1f ms\nratio to the floor: %.2f\n",
               driver_ms, percentile(bench.driver_ms, 90), percentile(bench.prepare_ms, 50),
               percentile(bench.launch_ms, 50), driver_ms / floor_ms);
        run_commands(&bench, arguments[2]);
    }
    tear_down(&bench);
    return 0;
}
