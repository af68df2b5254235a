#include "base/alloc.h"
#include "net/net_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/*
 * The list of tasks on the bridge network, and how a process finds what an earlier one left.
 */

#define FILE_BYTES_MAX (256u << 10)

// ---- the list ----------------------------------------------------------------------------

void net_task_entry_free(struct net_task_entry *entry)
{
    if (entry == NULL) {
        return;
    }
    for (size_t i = 0; i < entry->binding_count; i++) {
        net_port_release(&entry->bindings[i]);
    }
    alloc_free(entry->bindings);
    alloc_free(entry);
}

struct net_task_entry *net_tasks_find(const struct net_tasks *tasks, struct text id)
{
    struct net_task_entry *entry = tasks->first;
    while (entry != NULL && !text_is(id, entry->id)) {
        entry = entry->next;
    }
    return entry;
}

void net_tasks_add(struct net_tasks *tasks, struct net_task_entry *entry)
{
    entry->next = tasks->first;
    tasks->first = entry;
}

void net_tasks_take(struct net_tasks *tasks, const struct net_task_entry *entry)
{
    struct net_task_entry **at = &tasks->first;
    while (*at != entry) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = entry->next;
}

int net_tasks_init(struct net_tasks *tasks, const struct net_options *options, struct err *err)
{
    if (!text_empty(options->bridge_cidr) &&
        (net_parse_range(options->bridge_cidr, &tasks->range) != 0 || tasks->range.prefix < 16 ||
         tasks->range.prefix > 26)) {
        return err_set(err, ERR_INVALID,
                       "'%.*s' is no range for the bridge network: give a private IPv4 range of "
                       "/16 to /26, such as 172.17.0.0/16",
                       TEXT_FMT(options->bridge_cidr));
    }
    tasks->dir = alloc_format("%s/bridge", options->run_dir);
    tasks->first_port = options->port_first;
    tasks->last_port = options->port_last;
    if (tasks->first_port == 0) {
        net_port_range(&tasks->first_port, &tasks->last_port);
    }
    tasks->next_port = tasks->first_port;
    tasks->next_block = 1;
    return 0;
}

static void free_entries(struct net_tasks *tasks)
{
    while (tasks->first != NULL) {
        struct net_task_entry *entry = tasks->first;
        tasks->first = entry->next;
        net_task_entry_free(entry);
    }
}

void net_tasks_deinit(struct net_tasks *tasks)
{
    free_entries(tasks);
    alloc_free(tasks->dir);
    *tasks = (struct net_tasks){0};
}

// Names are task-<id>-<n>.
bool net_tasks_has(const struct net_tasks *tasks, const char *name)
{
    size_t from = strlen(NET_TASK_PREFIX);
    struct text id = text_slice(text_of(name), from, from + NET_TASK_ID_CHARS);
    return net_tasks_find(tasks, id) != NULL;
}

size_t net_tasks_forwards(const struct net_tasks *tasks, struct arena *arena,
                          struct net_forward **out_forwards)
{
    size_t count = 0;
    for (const struct net_task_entry *at = tasks->first; at != NULL; at = at->next) {
        count += at->binding_count;
    }
    struct net_forward *forwards = arena_array(arena, count, sizeof(*forwards));
    count = 0;
    for (const struct net_task_entry *at = tasks->first; at != NULL; at = at->next) {
        for (size_t i = 0; i < at->binding_count; i++) {
            forwards[count++] = at->bindings[i].forward;
        }
    }
    *out_forwards = forwards;
    return count;
}

struct net_peers net_task_peers(const struct net_task_entry *entry)
{
    return (struct net_peers){.first = entry->address, .count = entry->container_count};
}

size_t net_tasks_peers(const struct net_tasks *tasks, struct arena *arena,
                       struct net_peers **out_peers)
{
    size_t count = 0;
    for (const struct net_task_entry *at = tasks->first; at != NULL; at = at->next) {
        count++;
    }
    struct net_peers *peers = arena_array(arena, count, sizeof(*peers));
    count = 0;
    for (const struct net_task_entry *at = tasks->first; at != NULL; at = at->next) {
        peers[count++] = net_task_peers(at);
    }
    *out_peers = peers;
    return count;
}

// ---- what an earlier process left --------------------------------------------------------

bool net_task_id_valid(struct text id)
{
    unsigned char bytes[NET_TASK_ID_CHARS / 2];
    return text_unhex(id, bytes, sizeof(bytes)) == 0;
}

// A file that cannot be read is of a task that was never connected: it is replaced as a whole.
static int adopt_file(struct net *net, const char *name, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", net->tasks.dir, name);
    AUTO(buf_deinit) struct buf content = {0};
    struct net_task_entry *entry = NULL;
    if (!net_task_id_valid(text_of(name)) ||
        file_read(AT_FDCWD, path, FILE_BYTES_MAX, &content, err) != 0 ||
        net_task_file_read(text_of(name), buf_view(&content), &entry) != 0) {
        return unlink(path) == 0 || errno == ENOENT ? 0
                                                    : err_sys(err, errno, "removing '%s'", path);
    }
    for (size_t i = 0; i < entry->binding_count; i++) {
        struct err ignored;
        IGNORE(net_port_hold(&entry->bindings[i], &ignored),
               "somebody took it meanwhile; what comes from outside goes to the container");
    }
    net_tasks_add(&net->tasks, entry);
    return 0;
}

static int adopt_files(struct net *net, struct err *err)
{
    DIR *dir = opendir(net->tasks.dir);
    if (dir == NULL) {
        return err_sys(err, errno, "opening '%s'", net->tasks.dir);
    }
    int rc = 0;
    const struct dirent *entry = NULL;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            rc = adopt_file(net, entry->d_name, err);
        }
    }
    closedir(dir);
    return rc;
}

int net_tasks_adopt(struct net *net, struct err *err)
{
    if (net->tasks.first != NULL) {
        return 0;
    }
    int rc = file_make_dirs(net->tasks.dir, 0700, err);
    int back = -1;
    if (rc == 0) {
        rc = net_namespace_enter(net->host.fd, &back, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = adopt_files(net, err);
    net_namespace_leave(back);
    return rc;
}

int net_tasks_forget(struct net *net, struct err *err)
{
    free_entries(&net->tasks);
    net->tasks.ready = false;
    return file_remove_tree(AT_FDCWD, net->tasks.dir, err);
}
