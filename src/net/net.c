#include "base/alloc.h"
#include "net/net_fault_internal.h"
#include "net/net_guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- opening -----------------------------------------------------------------------------

// Linux forwards per namespace; the host's must forward between transit links and whatever it
// reaches the world by. Others may rely on it once it is on, so it is never turned off.
static int ensure_forwarding(struct err *err)
{
    AUTO(buf_deinit) struct buf value = {0};
    int rc = file_read(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", 16, &value, err);
    if (rc != 0 || (value.size > 0 && value.data[0] == '1')) {
        return rc;
    }
    return net_sysctl("ipv4/ip_forward", "1", err);
}

/** Called for every file of the directory of namespaces. */
typedef int (*visit_fn)(struct net *net, const char *name, void *context, struct err *err);

static int visit(struct net *net, visit_fn function, void *context, struct err *err)
{
    int list_fd = openat(net->netns_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (dir == NULL) {
        int number = errno;
        fd_close(list_fd);
        return err_sys(err, number, "listing '%s'", net->netns_dir);
    }
    int rc = 0;
    for (;;) {
        struct dirent *entry = rc == 0 ? readdir(dir) : NULL;
        if (entry == NULL) {
            break;
        }
        if (net_id_valid(text_of(entry->d_name))) {
            rc = function(net, entry->d_name, context, err);
        }
    }
    closedir(dir);
    return rc;
}

static bool is_eni(const char *name)
{
    return strncmp(name, "eni-", 4) == 0;
}

// Files that a crash left without a mount go, and containers that no task has; routers that are
// there are taken over.
static int adopt(struct net *net, const char *name, void *context, struct err *err)
{
    (void)context;
    bool container = strncmp(name, NET_TASK_PREFIX, strlen(NET_TASK_PREFIX)) == 0;
    if (!net_space_mounted(net->netns_dir_fd, name) ||
        (container && !net_tasks_has(&net->tasks, name))) {
        return net_space_unmount(net->netns_dir, name, err);
    }
    struct net_router *router = NULL;
    return is_eni(name) || container ? 0 : net_router_adopt(net, name, &router, err);
}

int net_prepare(struct net *net, struct err *err)
{
    int rc = net_mount_directory(net->netns_dir, err);
    if (rc != 0) {
        return rc;
    }
    fd_close(net->netns_dir_fd);
    net->netns_dir_fd = open(net->netns_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (net->netns_dir_fd < 0) {
        return err_sys(err, errno, "opening '%s'", net->netns_dir);
    }
    rc = ensure_forwarding(err);
    if (rc == 0) {
        rc = net_tasks_adopt(net, err);
    }
    if (rc == 0) {
        rc = visit(net, adopt, NULL, err);
    }
    if (rc == 0) {
        rc = net_guard_adopt(net, err);
    }
    if (rc == 0) {
        rc = net_host_filter(net, err);
    }
    net->prepared = rc == 0;
    return rc;
}

static int open_host(struct net *net, struct err *err)
{
    net->host.fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (net->host.fd < 0) {
        return err_sys(err, errno, "opening the host's network namespace");
    }
    return net_socket_open(&net->host.socket_fd, err);
}

static int check_options(const struct net_options *options, struct err *err)
{
    uint8_t bytes[4];
    if (text_unhex(text_of(options->instance), bytes, sizeof(bytes)) != 0) {
        return err_set(err, ERR_INVALID, "'%s' is not an instance's id", options->instance);
    }
    if (options->run_dir[0] != '/') {
        return err_set(err, ERR_INVALID, "the run directory '%s' is not absolute",
                       options->run_dir);
    }
    return 0;
}

static struct net *net_new(const struct net_options *options)
{
    struct net *net = ALLOC(struct net);
    snprintf(net->instance, sizeof(net->instance), "%s", options->instance);
    net->run_dir = alloc_string(options->run_dir);
    net->netns_dir = alloc_format("%s/netns", options->run_dir);
    net->netns_dir_fd = -1;
    net->host = (struct net_space){-1, -1};
    pthread_mutex_init(&net->lock, NULL);
    pthread_mutex_init(&net->fault_lock, NULL);
    pthread_mutex_init(&net->files, NULL);
    return net;
}

AUTO_POINTER(struct net, net_close)

int net_open(const struct net_options *options, struct net **out_net, struct err *err)
{
    int rc = check_options(options, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(net_close) struct net *net = net_new(options);
    rc = open_host(net, err);
    if (rc == 0) {
        rc = net_tasks_init(&net->tasks, options, err);
    }
    if (rc == 0) {
        rc = net_prepare(net, err);
    }
    if (rc == 0) {
        rc = net_pool_init(&net->pool, options->pool_size, err);
    }
    if (rc != 0) {
        return err_wrap(err, "preparing the network");
    }
    *out_net = net;
    net = NULL;
    return 0;
}

static void free_routers(struct net *net)
{
    while (net->routers != NULL) {
        struct net_router *router = net->routers;
        net->routers = router->next;
        net_router_free(router);
    }
}

void net_close(struct net *net)
{
    if (net == NULL) {
        return;
    }
    net_pool_deinit(&net->pool);
    free_routers(net);
    net_tasks_deinit(&net->tasks);
    net_space_deinit(&net->host);
    fd_close(net->netns_dir_fd);
    pthread_mutex_destroy(&net->lock);
    pthread_mutex_destroy(&net->fault_lock);
    pthread_mutex_destroy(&net->files);
    alloc_free(net->netns_dir);
    alloc_free(net->run_dir);
    alloc_free(net);
}

// ---- the rest of the interface -----------------------------------------------------------

int net_vpc_ensure(struct net *net, const struct net_vpc *vpc, struct err *err)
{
    pthread_mutex_lock(&net->lock);
    struct net_router *router = NULL;
    int rc = net_router_ensure(net, vpc, true, &router, err);
    pthread_mutex_unlock(&net->lock);
    return rc;
}

struct eni_names {
    struct arena *arena;
    struct buf found; ///< of struct text
};

static int list_eni(struct net *net, const char *name, void *context, struct err *err)
{
    struct eni_names *names = context;
    (void)err;
    if (is_eni(name) && net_space_mounted(net->netns_dir_fd, name)) {
        const struct text id = arena_text(names->arena, text_of(name));
        buf_add(&names->found, &id, sizeof(id));
    }
    return 0;
}

int net_eni_list(struct net *net, struct arena *arena, struct text_list *out_ids, struct err *err)
{
    struct eni_names names = {.arena = arena};
    int rc = visit(net, list_eni, &names, err);
    if (rc == 0) {
        size_t count = names.found.size / sizeof(struct text);
        out_ids->items = arena_array(arena, count, sizeof(*out_ids->items));
        out_ids->count = count;
        if (count > 0) {
            memcpy(out_ids->items, names.found.data, names.found.size);
        }
    }
    buf_deinit(&names.found);
    return rc;
}

static int remove_space(struct net *net, const char *name, void *context, struct err *err)
{
    (void)context;
    return net_space_unmount(net->netns_dir, name, err);
}

static int delete_host_links(struct net *net, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_link *links = NULL;
    size_t count = 0;
    char prefix[NET_LINK_NAME_SIZE];
    snprintf(prefix, sizeof(prefix), "bt%s", net->instance);
    int rc = net_links(net->host.socket_fd, &arena, &links, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (strncmp(links[i].name, prefix, strlen(prefix)) == 0) {
            rc = net_link_delete(net->host.socket_fd, links[i].index, err);
        }
    }
    return rc;
}

static int remove_filter(struct net *net, struct err *err)
{
    int back = -1;
    int rc = net_namespace_enter(net->host.fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    rc = net_filter_remove(net->instance, err);
    net_namespace_leave(back);
    return rc;
}

int net_destroy_all(struct net *net, struct err *err)
{
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    net->prepared = false;
    free_routers(locked);
    int rc = net->netns_dir_fd < 0 ? 0 : visit(net, remove_space, NULL, err);
    if (rc == 0) {
        rc = net_tasks_forget(locked, err);
    }
    if (rc == 0) {
        rc = net_guard_forget(net, err);
    }
    if (rc == 0) {
        rc = net_fault_forget(net, err);
    }
    if (rc == 0) {
        rc = delete_host_links(net, err);
    }
    if (rc == 0) {
        rc = remove_filter(net, err);
    }
    fd_close(net->netns_dir_fd);
    net->netns_dir_fd = -1;
    if (rc == 0) {
        rc = net_unmount_directory(net->netns_dir, err);
    }
    return rc == 0 ? 0 : err_wrap(err, "removing the network");
}

// ---- a free range ------------------------------------------------------------------------

static bool is_taken(const struct text_list *taken, struct net_range candidate)
{
    for (size_t i = 0; i < taken->count; i++) {
        struct net_range range;
        if (net_parse_range(taken->items[i], &range) == 0 && net_ranges_overlap(range, candidate)) {
            return true;
        }
    }
    return false;
}

static int find_free(int socket_fd, enum net_use use, const struct text_list *reserved,
                     struct net_range *out_range, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_route *routes = NULL;
    struct net_address *addresses = NULL;
    size_t route_count = 0;
    size_t address_count = 0;
    int rc = net_routes(socket_fd, &arena, &routes, &route_count, err);
    if (rc == 0) {
        rc = net_addresses(socket_fd, &arena, &addresses, &address_count, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct net_range candidate;
    for (uint32_t n = 0; net_candidate(use, n, &candidate) == 0; n++) {
        bool taken = is_taken(reserved, candidate);
        for (size_t i = 0; i < route_count; i++) {
            // A default route, or the halves that some VPNs make of it, covers everything.
            taken = taken ||
                    (routes[i].range.prefix > 1 && net_ranges_overlap(routes[i].range, candidate));
        }
        for (size_t i = 0; i < address_count; i++) {
            taken = taken || net_ranges_overlap(addresses[i].range, candidate);
        }
        if (!taken) {
            *out_range = candidate;
            return 0;
        }
    }
    return err_set(err, ERR_NO_ROOM,
                   "the host has routes to every private range of 65,536 "
                   "addresses; name one to use with --vpc-cidr or --bridge-cidr");
}

int net_free_cidr(enum net_use use, const struct text_list *taken, struct arena *arena,
                  struct text *out_cidr, struct err *err)
{
    AUTO(fd_close) int socket_fd = -1;
    struct net_range range = {0};
    int rc = net_socket_open(&socket_fd, err);
    if (rc == 0) {
        rc = find_free(socket_fd, use, taken, &range, err);
    }
    if (rc != 0) {
        return err_wrap(err, "choosing a range of addresses");
    }
    char address[16];
    net_format_address(range.address, address);
    *out_cidr = arena_format(arena, "%s/%u", address, range.prefix);
    return 0;
}
