#include "net/net_fault.h"

#include "base/alloc.h"
#include "base/text.h"
#include "net/net_fault_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#define NAME_PREFIX "berth-fault-"
#define INSTANCE_CHARS 8
#define TASK_CHARS 32 // of an id; the last part of a table's name
#define LOOPBACK_NAME "lo"
#define PROBE_TASK "00000000000000000000000000000000"

/** A namespace that the thread is in, and what is there. */
struct site {
    struct net *net;
    bool on_host;
    bool probing; // on loopback, the only link of a new namespace
    int back;
    int filter_fd;
    int socket_fd;
    struct arena arena;
    struct text_list tables; // of this instance, by name; their list is owned
};

// ---- names ------------------------------------------------------------------------------------

// Such as `egress-tcp-443`.
static void key_of(const struct net_fault *fault, char out_key[FAULT_KEY_SIZE])
{
    switch (fault->kind) {
    case NET_FAULT_BLACKHOLE:
        snprintf(out_key, FAULT_KEY_SIZE, "%s-%s-%u", fault->egress ? "egress" : "ingress",
                 fault->udp ? "udp" : "tcp", fault->port);
        return;
    case NET_FAULT_LOSS:
        snprintf(out_key, FAULT_KEY_SIZE, "loss");
        return;
    case NET_FAULT_LATENCY:
        snprintf(out_key, FAULT_KEY_SIZE, "latency");
        return;
    }
}

// `berth-fault-INSTANCE-KEY-TASK`. @return its key; empty when it is no fault of this instance
static struct text key_in(const struct net *net, struct text name)
{
    size_t before = strlen(NAME_PREFIX) + INSTANCE_CHARS + 1;
    if (name.size <= before + 1 + TASK_CHARS || !text_starts(name, TEXT(NAME_PREFIX)) ||
        memcmp(name.data + strlen(NAME_PREFIX), net->instance, INSTANCE_CHARS) != 0) {
        return TEXT("");
    }
    return text_slice(name, before, name.size - TASK_CHARS - 1);
}

static struct text task_in(struct text name)
{
    return text_slice(name, name.size - TASK_CHARS, name.size);
}

// @return how many tables there are with this key, and the first of them
static size_t count_key(const struct site *site, const char *key, struct text *out_first)
{
    size_t count = 0;
    for (size_t i = 0; i < site->tables.count; i++) {
        if (text_is(key_in(site->net, site->tables.items[i]), key)) {
            *out_first = count == 0 ? site->tables.items[i] : *out_first;
            count++;
        }
    }
    return count;
}

// ---- places -----------------------------------------------------------------------------------

static void collect(void *context, const char *name)
{
    struct site *site = context;
    struct text found = text_of(name);
    if (text_empty(key_in(site->net, found))) {
        return;
    }
    for (size_t i = 0; i < site->tables.count; i++) {
        if (text_equal(site->tables.items[i], found)) {
            return;
        }
    }
    // All of them, however many: what cannot be listed could never be ended.
    struct text_list *tables = &site->tables;
    tables->items = alloc_resize(tables->items, tables->count + 1, sizeof(struct text));
    tables->items[tables->count++] = arena_text(&site->arena, found);
}

static void site_leave(struct site *site)
{
    fd_close(site->filter_fd);
    fd_close(site->socket_fd);
    if (site->back >= 0) {
        net_namespace_leave(site->back);
    }
    alloc_free(site->tables.items);
    arena_deinit(&site->arena);
    pthread_mutex_unlock(&site->net->fault_lock);
}

AUTO_VALUE(struct site, site_leave)

static int enter(struct site *site, int namespace_fd, struct err *err)
{
    int rc = net_namespace_enter(namespace_fd, &site->back, err);
    rc = rc == 0 ? net_nft_open(&site->filter_fd, err) : rc;
    rc = rc == 0 ? net_socket_open(&site->socket_fd, err) : rc;
    return rc == 0 ? net_nft_tables(site->filter_fd, NFPROTO_INET, collect, site, err) : rc;
}

// Until site_leave, which is to be called whatever this returns, the thread is there.
static int site_enter(struct site *site, struct net *net, struct text path, struct err *err)
{
    pthread_mutex_lock(&net->fault_lock);
    *site = (struct site){
        .net = net, .on_host = path.data == NULL, .back = -1, .filter_fd = -1, .socket_fd = -1};
    if (site->on_host) {
        return enter(site, net->host.fd, err);
    }
    AUTO(alloc_string) char *name = alloc_format("%.*s", TEXT_FMT(path));
    AUTO(fd_close) int fd = open(name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "opening namespace '%s'", name) : enter(site, fd, err);
}

static void add_link(struct fault_links *links, const struct net_link *link)
{
    for (size_t i = 0; i < links->count; i++) {
        if (links->items[i].index == link->index) {
            return;
        }
    }
    if (links->count < ARRAY_LEN(links->items)) {
        links->items[links->count++] = *link;
    }
}

// The links of default routes: more than one where the host has more.
static int find_default_links(int socket_fd, struct fault_links *links, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_route *routes = NULL;
    size_t count = 0;
    int rc = net_routes(socket_fd, &arena, &routes, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct net_link link;
        if (routes[i].range.prefix == 0 && routes[i].table == RT_TABLE_MAIN &&
            routes[i].link_index != 0 && routes[i].type == RTN_UNICAST) {
            rc = net_link_get(socket_fd, NULL, routes[i].link_index, &link, err);
            if (rc == 0) {
                add_link(links, &link);
            }
        }
    }
    return rc == 0 && links->count == 0
               ? err_set(err, ERR_NOT_FOUND, "failed to resolve default host network interface")
               : rc;
}

static int find_links(const struct site *site, struct fault_links *links, struct err *err)
{
    if (site->on_host && !site->probing) {
        return find_default_links(site->socket_fd, links, err);
    }
    links->count = 1;
    return net_link_get(site->socket_fd, site->probing ? LOOPBACK_NAME : NET_PLUG_LINK, 0,
                        &links->items[0], err);
}

// A handle of queueing disciplines that no other instance has: two may have tasks in mode host.
static uint32_t handle_of(const struct net *net)
{
    uint8_t bytes[4] = {0};
    IGNORE(text_unhex(text_of(net->instance), bytes, sizeof(bytes)), "net_open has checked it");
    uint32_t mixed = (uint32_t)(bytes[0] ^ bytes[2]) << 8 | (bytes[1] ^ bytes[3]);
    return FAULT_HANDLE_FIRST | (mixed & (FAULT_HANDLE_FIRST - 1));
}

// ---- start, stop, status ----------------------------------------------------------------------

static bool is_there(const struct site *site, enum net_fault_kind kind)
{
    const struct net_fault fault = {.kind = kind};
    char key[FAULT_KEY_SIZE];
    struct text first;
    key_of(&fault, key);
    return count_key(site, key, &first) > 0;
}

// Only one of loss and latency at a time, and never two blackholes for the same port.
static bool find_running(const struct site *site, const struct net_fault *fault,
                         enum net_fault_kind *out_running)
{
    char key[FAULT_KEY_SIZE];
    struct text first;
    key_of(fault, key);
    if (fault->kind == NET_FAULT_BLACKHOLE) {
        *out_running = NET_FAULT_BLACKHOLE;
        return count_key(site, key, &first) > 0;
    }
    *out_running = is_there(site, NET_FAULT_LATENCY) ? NET_FAULT_LATENCY : NET_FAULT_LOSS;
    return is_there(site, *out_running);
}

static int start(struct site *site, const struct net_fault_place *place,
                 const struct net_fault *fault, struct err *err)
{
    char key[FAULT_KEY_SIZE];
    struct fault_links links = {0};
    key_of(fault, key);
    struct text table = arena_format(&site->arena, NAME_PREFIX "%s-%s-%.*s", site->net->instance,
                                     key, TEXT_FMT(place->task_id));
    struct fault_rules rules = {
        .table = table.data,
        .on_host = site->on_host,
        .place = place,
        .fault = fault,
        .links = &links,
        .handle = handle_of(site->net),
    };
    if (fault->kind != NET_FAULT_BLACKHOLE) {
        int rc = find_links(site, &links, err);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = fault->kind == NET_FAULT_LATENCY ? fault_queue_add(site->socket_fd, &rules, err) : 0;
    // The table comes last and goes first: where it is, all is.
    if (rc == 0) {
        rc = fault_rules_add(site->filter_fd, &rules, err);
        if (rc != 0 && fault->kind == NET_FAULT_LATENCY) {
            struct err ignored;
            IGNORE(fault_queue_remove(site->socket_fd, &links, rules.handle, &ignored),
                   "the first error tells; the next start begins with removing it");
        }
    }
    return rc;
}

// Remove the tables that are chosen, and what is behind them.
static int remove_tables(struct site *site, bool (*chosen)(struct text name, const void *context),
                         const void *context, struct err *err)
{
    bool latency = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < site->tables.count; i++) {
        struct text name = site->tables.items[i];
        struct text key = key_in(site->net, name);
        if (chosen(name, context)) {
            latency = latency || text_is(key, "latency");
            rc = fault_rules_remove(site->filter_fd, name.data, text_is(key, "loss"), err);
        }
    }
    if (rc == 0 && latency) {
        struct fault_links links = {0};
        struct err ignored;
        // A link that is gone took its queueing discipline along.
        if (find_links(site, &links, &ignored) == 0) {
            rc = fault_queue_remove(site->socket_fd, &links, handle_of(site->net), err);
        }
    }
    return rc;
}

int net_fault_start(struct net *net, const struct net_fault_place *place,
                    const struct net_fault *fault, enum net_fault_kind *out_running,
                    struct err *err)
{
    AUTO(site_leave) struct site site;
    int rc = site_enter(&site, net, place->path, err);
    if (rc != 0) {
        return rc;
    }
    if (find_running(&site, fault, out_running)) {
        return err_set(err, ERR_EXISTS, "the fault is there already");
    }
    if (site.tables.count >= FAULTS_MAX) {
        return err_set(err, ERR_NO_ROOM, "there are %zu faults already, no more can be: stop one",
                       site.tables.count);
    }
    return start(&site, place, fault, err);
}

/** What to remove: a key, or all of a task. */
struct choice {
    const struct net *net;
    const char *key;
    struct text task_id;
};

static bool has_key(struct text name, const void *context)
{
    const struct choice *choice = context;
    return text_is(key_in(choice->net, name), choice->key);
}

static bool is_of_task(struct text name, const void *context)
{
    const struct choice *choice = context;
    return text_equal(task_in(name), choice->task_id);
}

int net_fault_stop(struct net *net, const struct net_fault_place *place,
                   const struct net_fault *fault, struct err *err)
{
    AUTO(site_leave) struct site site;
    char key[FAULT_KEY_SIZE];
    key_of(fault, key);
    const struct choice choice = {.net = net, .key = key};
    int rc = site_enter(&site, net, place->path, err);
    return rc == 0 ? remove_tables(&site, has_key, &choice, err) : rc;
}

int net_fault_running(struct net *net, const struct net_fault_place *place,
                      const struct net_fault *fault, bool *out_running, struct err *err)
{
    AUTO(site_leave) struct site site;
    char key[FAULT_KEY_SIZE];
    struct text first;
    key_of(fault, key);
    int rc = site_enter(&site, net, place->path, err);
    if (rc == 0) {
        *out_running = count_key(&site, key, &first) > 0;
    }
    return rc;
}

int net_fault_end(struct net *net, struct text task_id, struct err *err)
{
    AUTO(site_leave) struct site site;
    const struct choice choice = {.net = net, .task_id = task_id};
    int rc = site_enter(&site, net, (struct text){0}, err);
    return rc == 0 ? remove_tables(&site, is_of_task, &choice, err) : rc;
}

static bool is_any(struct text name, const void *context)
{
    (void)name;
    (void)context;
    return true;
}

int net_fault_forget(struct net *net, struct err *err)
{
    AUTO(site_leave) struct site site;
    int rc = site_enter(&site, net, (struct text){0}, err);
    return rc == 0 ? remove_tables(&site, is_any, NULL, err) : rc;
}

int net_fault_list(struct net *net, struct arena *arena, struct text_list *out_ids, struct err *err)
{
    AUTO(site_leave) struct site site;
    int rc = site_enter(&site, net, (struct text){0}, err);
    if (rc != 0) {
        return rc;
    }
    struct text *items = arena_array(arena, site.tables.count, sizeof(*items));
    for (size_t i = 0; i < site.tables.count; i++) {
        items[i] = arena_text(arena, task_in(site.tables.items[i]));
    }
    *out_ids = (struct text_list){.items = items, .count = site.tables.count};
    return 0;
}

int net_fault_probe(struct net *net, struct err *err)
{
    static const struct net_fault_range somewhere = {.prefix = 32, .address = {203, 0, 113, 1}};
    static const struct net_fault faults[] = {
        {.kind = NET_FAULT_BLACKHOLE, .egress = true, .port = 1},
        {.kind = NET_FAULT_LOSS,
         .loss_percent = 1,
         .flows_percent = 1,
         .sources = &somewhere,
         .source_count = 1},
        {.kind = NET_FAULT_LATENCY,
         .delay_ms = 1,
         .flows_percent = 1,
         .sources = &somewhere,
         .source_count = 1},
    };
    const struct net_fault_place place = {.task_id = TEXT(PROBE_TASK)};
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    int rc = net_space_create(&space, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&net->fault_lock);
    AUTO(site_leave)
    struct site site = {.net = net, .probing = true, .back = -1, .filter_fd = -1, .socket_fd = -1};
    rc = enter(&site, space.fd, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(faults); i++) {
        rc = start(&site, &place, &faults[i], err);
    }
    return rc;
}
