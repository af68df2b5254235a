#include "bin/node.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "bin/anew.h"
#include "bin/pin.h"
#include "bin/reserve.h"
#include "image/image.h"
#include "net/net.h"
#include "runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// A container's output: two files of this size at most.
#define OUTPUT_MAX_BYTES (64u << 20)
// Ready network namespaces: enough for a burst, cheap to keep.
#define NAMESPACE_POOL 16
// Of the C library, for all threads of the process. Measured with 40 tasks: 5.9 MiB with one, 6.8
// with two, 7.8 with as many as it likes.
#define HEAPS_MAX 1
// What is as large as this is mapped, and unmapped when it is freed. Left alone, the C library
// takes ever larger pieces from the heap, and what stays between them keeps it from shrinking: the
// first thing an agent does takes 2 MiB.
#define MAPPED_BYTES (64 << 10)

// See malloc's tunables in the C library's manual.
#define TUNABLES "GLIBC_TUNABLES"
#define TUNABLE_NAME "glibc.malloc.tcache_count"

struct node {
    struct arena arena;
    const char *run_dir;
    struct image_store *images;
    struct net *net;
    struct runtime *runtime;
    struct agent *agent;
    int cidr_fd; ///< holds the reservation of the bridge network's range; -1 for none
};

const char *node_data_dir(struct data_dir *data)
{
    return data_path(data, "node");
}

void node_keep_small(char *const *words)
{
    const char *set = getenv(TUNABLES);
    if (set != NULL && strstr(set, TUNABLE_NAME) != NULL) {
        return;
    }
    AUTO(alloc_string)
    char *tunables = alloc_format("%s%s" TUNABLE_NAME "=0", set == NULL ? "" : set,
                                  set == NULL || set[0] == '\0' ? "" : ":");
    setenv(TUNABLES, tunables, 1);
    anew(words);
    // It is larger then, no more.
}

void node_process_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        IGNORE(setrlimit(RLIMIT_NOFILE, &limit), "the old limit stays, which also works");
    }
    // The agent's blocking calls share libuv's workers; its default of 4 would queue a burst.
    setenv("UV_THREADPOOL_SIZE", "16", 0);
    // Each of them would keep what it once needed in a heap of its own: a third more memory, for
    // work that waits for the kernel anyway.
    IGNORE(mallopt(M_ARENA_MAX, HEAPS_MAX) != 1, "it then takes more memory");
    IGNORE(mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES) != 1, "likewise");
    signal(SIGPIPE, SIG_IGN);
}

// berth-task lies beside this program, installed or just built.
static int find_supervisor(struct arena *arena, struct text *out_path, struct err *err)
{
    char self[4096];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self));
    if (size < 0 || (size_t)size >= sizeof(self)) {
        return err_sys(err, errno, "finding this program's own path");
    }
    struct text path = {self, (size_t)size};
    path = text_slice(path, 0, text_find_last(path, '/'));
    *out_path = arena_format(arena, "%.*s/berth-task", TEXT_FMT(path));
    if (access(out_path->data, X_OK) != 0) {
        return err_sys(err, errno, "the supervisor '%s' cannot be run", out_path->data);
    }
    return 0;
}

static bool has_tasks(const struct node *node)
{
    AUTO(alloc_string) char *path = alloc_format("%s/tasks", node->run_dir);
    DIR *dir = opendir(path);
    size_t count = 0;
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count > 2; // besides itself and its parent
}

// The supervisors of this agent's tasks stay what they are when the program is upgraded.
static void pin_supervisor(struct node *node, struct data_dir *data, struct text *path)
{
    struct err err = {0};
    if (pin_program(path->data, data_path(data, "node/bin"), has_tasks(node), &node->arena, path,
                    &err) != 0) {
        LOG(WARN, "the supervisor runs from where it was installed; do not replace it meanwhile",
            LOG_STR("reason", err.text));
    }
}

// Without a free range a node does all but network mode bridge, which says so.
static int choose_bridge(struct node *node, const struct node_options *options,
                         struct text *out_cidr, struct err *err)
{
    int rc = reserve_cidr(options->data->instance, NET_USE_BRIDGE, text_of(options->bridge_cidr),
                          &node->arena, out_cidr, &node->cidr_fd, err);
    if (rc == ERR_NO_ROOM && options->bridge_cidr == NULL) {
        LOG(WARN, "tasks in network mode bridge cannot run here; name a range with --bridge-cidr",
            LOG_STR("reason", err->text));
        rc = 0;
    }
    return rc;
}

static int open_parts(struct node *node, const struct node_options *options, struct err *err)
{
    struct data_dir *data = options->data;
    const char *directory = node_data_dir(data);
    struct text supervisor;
    node->run_dir = arena_format(&node->arena, "/run/berth/%s", data->instance).data;
    int rc = find_supervisor(&node->arena, &supervisor, err);
    if (rc == 0) {
        rc = file_make_dirs(data_path(data, "node/images"), 0700, err);
    }
    if (rc == 0) {
        rc = file_make_dirs(node->run_dir, 0711, err);
    }
    if (rc == 0) {
        pin_supervisor(node, data, &supervisor);
        rc = image_open(data_path(data, "node/images"), &node->images, err);
    }
    struct text bridge_cidr = {0};
    if (rc == 0) {
        rc = choose_bridge(node, options, &bridge_cidr, err);
    }
    if (rc == 0) {
        const struct net_options net = {
            .instance = data->instance,
            .run_dir = node->run_dir,
            .pool_size = NAMESPACE_POOL,
            .bridge_cidr = bridge_cidr,
            .port_first = options->port_first,
            .port_last = options->port_last,
        };
        rc = net_open(&net, &node->net, err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct runtime_options runtime = {
        .instance = data->instance,
        .run_dir = node->run_dir,
        .data_dir = directory,
        .supervisor = supervisor.data,
        .output_max_bytes = OUTPUT_MAX_BYTES,
        .pids_max = options->pids_max == 0 ? NODE_PIDS_MAX : options->pids_max,
    };
    return runtime_oci_open(&runtime, &node->runtime, err);
}

int node_start(const struct node_options *options, struct node **out_node, struct err *err)
{
    struct node *node = ALLOC(struct node);
    node->cidr_fd = -1;
    int rc = open_parts(node, options, err);
    if (rc == 0) {
        LOG(INFO, "tasks are isolated by namespaces and cgroups; there is no microVM driver yet",
            LOG_STR("runtime", node->runtime->ops->name));
        const struct agent_options agent = {
            .loop = options->loop,
            .identity = options->identity,
            .zone = options->zone,
            .cluster = options->cluster,
            .capacity = options->capacity,
            .scaling_group = options->scaling_group,
            .version = BERTH_VERSION,
            .data_dir = node_data_dir(options->data),
            .runtime = node->runtime,
            .net = node->net,
            .images = node->images,
            .environment_files = options->environment_files,
            .host_route = options->host_route,
            .cpu_units = options->cpu_units,
            .memory_mib = options->memory_mib,
            .keep_output_ms = options->keep_output_ms,
            .output_limit_bytes = options->output_limit_bytes,
            .remove_images_ms = options->remove_images_ms,
            .disk_reserve_bytes = options->disk_reserve_bytes,
            .garbage_ms = options->garbage_ms,
            .on_ready = options->on_ready,
            .on_refused = options->on_refused,
            .context = options->context,
        };
        rc = agent_start(&agent, &node->agent, err);
    }
    if (rc != 0) {
        node_free(node, false);
        return rc;
    }
    *out_node = node;
    return 0;
}

void node_stop(struct node *node, enum agent_stop_mode mode, void (*stopped)(void *context),
               void *context)
{
    agent_stop(node->agent, mode, stopped, context);
}

void node_free(struct node *node, bool remove_networks)
{
    if (node == NULL) {
        return;
    }
    agent_free(node->agent);
    runtime_close(node->runtime);
    struct err err;
    if (remove_networks && node->net != NULL) {
        int rc = net_destroy_all(node->net, &err);
        if (rc == 0) {
            rc = file_remove_tree(AT_FDCWD, node->run_dir, &err);
        }
        if (rc != 0) {
            LOG(WARN, "something of this Berth is left in the kernel; the next start cleans it",
                LOG_STR("reason", err.text));
        }
    }
    net_close(node->net);
    image_close(node->images);
    fd_close(node->cidr_fd);
    arena_deinit(&node->arena);
    alloc_free(node);
}
