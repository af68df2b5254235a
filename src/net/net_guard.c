#include "net/net_guard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CLASSES_IDLE_MAX                                                                           \
    64 ///< classes without members that stay, as the next task is like the last
#define PAST_ADDRESSES 65536  ///< of the largest VPC
#define GROUPS_PER_ENI_MAX 16 ///< AWS allows 5, 16 when asked

// ---- what is known -----------------------------------------------------------------------

void net_guard_deinit(struct net_guard *guard)
{
    while (guard->members != NULL) {
        struct guard_member *member = guard->members;
        guard->members = member->next;
        alloc_free(member);
    }
    while (guard->classes != NULL) {
        struct guard_class *class = guard->classes;
        guard->classes = class->next;
        alloc_free(class->groups);
        alloc_free(class);
    }
    while (guard->groups != NULL) {
        struct guard_group *group = guard->groups;
        guard->groups = group->next;
        alloc_free(group->rules);
        alloc_free(group);
    }
    if (guard->fd > 0) {
        fd_close(guard->fd);
    }
    alloc_free(guard->past);
    *guard = (struct net_guard){0};
}

static struct guard_group *find_group(struct net_guard *guard, struct text id)
{
    for (struct guard_group *group = guard->groups; group != NULL; group = group->next) {
        if (text_is(id, group->id)) {
            return group;
        }
    }
    return NULL;
}

static struct guard_group *ensure_group(struct net_guard *guard, struct text id)
{
    struct guard_group *group = find_group(guard, id);
    if (group == NULL) {
        group = ALLOC(struct guard_group);
        IGNORE(text_copy(id, group->id, sizeof(group->id)), "ids are checked");
        group->next = guard->groups;
        guard->groups = group;
    }
    return group;
}

/** Take a group's rules unless newer ones are known. @return whether they are new */
static bool learn(struct net_guard *guard, const struct session_security_group *from)
{
    if (!net_id_valid(from->group_id)) {
        return false;
    }
    struct guard_group *group = ensure_group(guard, from->group_id);
    if (group->rules != NULL && group->rules->version >= from->version) {
        return false;
    }
    alloc_free(group->rules);
    group->rules = shape_clone(&session_security_group_shape, from, NULL);
    for (size_t i = 0; i < from->rules.count; i++) {
        struct text named = from->rules.items[i].group;
        if (!text_empty(named) && net_id_valid(named)) {
            ensure_group(guard, named);
        }
    }
    return true;
}

struct guard_member *net_guard_member(const struct net_router *router, struct text eni_id)
{
    for (struct guard_member *member = router->guard->members; member != NULL;
         member = member->next) {
        if (text_is(eni_id, member->id)) {
            return member;
        }
    }
    return NULL;
}

// The groups of an interface in one order, each once.
static size_t sort_groups(struct net_guard *guard, const struct text_list *ids,
                          struct guard_group **out_groups)
{
    size_t count = 0;
    for (size_t i = 0; i < ids->count && count < GROUPS_PER_ENI_MAX; i++) {
        if (!net_id_valid(ids->items[i])) {
            continue;
        }
        struct guard_group *group = ensure_group(guard, ids->items[i]);
        size_t at = 0;
        while (at < count && strcmp(out_groups[at]->id, group->id) < 0) {
            at++;
        }
        if (at < count && out_groups[at] == group) {
            continue;
        }
        memmove(&out_groups[at + 1], &out_groups[at], (count - at) * sizeof(struct guard_group *));
        out_groups[at] = group;
        count++;
    }
    return count;
}

static struct guard_class *ensure_class(struct net_guard *guard, const struct text_list *ids)
{
    struct guard_group *groups[GROUPS_PER_ENI_MAX + 1];
    size_t count = sort_groups(guard, ids, groups);
    for (struct guard_class *class = guard->classes; class != NULL; class = class->next) {
        if (class->group_count == count &&
            memcmp(class->groups, groups, count * sizeof(struct guard_group *)) == 0) {
            return class;
        }
    }
    struct guard_class *class = ALLOC(struct guard_class);
    class->number = ++guard->class_last;
    class->groups = alloc_array(count + 1, sizeof(struct guard_group *));
    memcpy(class->groups, groups, count * sizeof(struct guard_group *));
    class->group_count = count;
    class->next = guard->classes;
    guard->classes = class;
    return class;
}

static bool class_has(const struct guard_class *class, const struct guard_group *group)
{
    for (size_t i = 0; i < class->group_count; i++) {
        if (class->groups[i] == group) {
            return true;
        }
    }
    return false;
}

// ---- the kernel --------------------------------------------------------------------------

static int open_filter(struct net_router *router, struct err *err)
{
    if (router->guard->fd > 0) {
        return 0;
    }
    int back = -1;
    int rc = net_namespace_enter(router->space.fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    // What is routed back to where it came from is no reason to tell the sender of a shorter way.
    rc = net_sysctl("ipv4/conf/all/send_redirects", "0", err);
    rc = rc == 0 ? net_sysctl("ipv4/conf/default/send_redirects", "0", err) : rc;
    rc = rc == 0 ? net_nft_open(&router->guard->fd, err) : rc;
    net_namespace_leave(back);
    return rc;
}

static void mark_made(struct net_guard *guard)
{
    guard->made = true;
    for (struct guard_group *group = guard->groups; group != NULL; group = group->next) {
        group->set = true;
    }
    for (struct guard_class *class = guard->classes; class != NULL; class = class->next) {
        class->made = true;
    }
}

// A redirect of a bridge that was made before is turned off for itself.
static void quiet_bridges(struct net_router *router)
{
    int back = -1;
    struct err ignored;
    if (net_namespace_enter(router->space.fd, &back, &ignored) != 0) {
        return;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct net_link *links = NULL;
    size_t count = 0;
    if (net_links(router->space.socket_fd, &arena, &links, &count, &ignored) == 0) {
        for (size_t i = 0; i < count; i++) {
            char name[64];
            snprintf(name, sizeof(name), "ipv4/conf/%s/send_redirects", links[i].name);
            if (strncmp(links[i].name, "br-", 3) == 0) {
                IGNORE(net_sysctl(name, "0", &ignored), "redirects only cost packets");
            }
        }
    }
    net_namespace_leave(back);
}

int net_guard_restore(struct net *net, struct net_router *router, struct err *err)
{
    struct net_guard *guard = router->guard;
    if (guard->members == NULL) {
        guard->made = false;
        return 0;
    }
    int rc = open_filter(router, err);
    if (rc != 0) {
        return rc;
    }
    quiet_bridges(router);
    AUTO(net_nft_deinit) struct net_nft nft = {0};
    int number = 0;
    net_guard_write(guard, net->instance, &nft);
    rc = net_nft_commit(guard->fd, &nft, &number, err);
    if (rc == 0 && number != 0) {
        rc = err_sys(err, number, "writing the rules of security groups");
    }
    guard->behind = rc != 0;
    if (rc == 0) {
        mark_made(guard);
    }
    return rc;
}

// What is not there yet, and the classes of groups whose rules changed.
static void write_changes(struct net_guard *guard, const char *instance,
                          struct guard_group *const *changed, size_t changed_count,
                          struct net_nft *nft)
{
    for (struct guard_group *group = guard->groups; group != NULL; group = group->next) {
        if (!group->set) {
            net_guard_write_set(group, instance, nft);
        }
    }
    for (struct guard_class *class = guard->classes; class != NULL; class = class->next) {
        bool stale = !class->made;
        for (size_t i = 0; i < changed_count && !stale; i++) {
            stale = class_has(class, changed[i]);
        }
        if (stale) {
            net_guard_write_class(class, class->made, instance, nft);
        }
    }
}

// Refused, because the kernel has something else than is known here: all is made anew.
static int commit(struct net *net, struct net_router *router, struct net_nft *nft, struct err *err)
{
    struct net_guard *guard = router->guard;
    int number = 0;
    int rc = net_nft_commit(guard->fd, nft, &number, err);
    if (rc != 0 || number != 0) {
        return net_guard_restore(net, router, err);
    }
    mark_made(guard);
    return 0;
}

// ---- classes that nobody is in -----------------------------------------------------------

static void drop_idle_classes(struct net_guard *guard, const char *instance, struct net_nft *nft)
{
    size_t idle = 0;
    for (struct guard_class *class = guard->classes; class != NULL; class = class->next) {
        idle += class->members == 0;
    }
    if (idle <= CLASSES_IDLE_MAX) {
        return;
    }
    struct guard_class **at = &guard->classes;
    while (*at != NULL) {
        struct guard_class *class = *at;
        if (class->members > 0) {
            at = &class->next;
            continue;
        }
        if (class->made) {
            net_guard_write_class_gone(class, instance, nft);
        }
        *at = class->next;
        alloc_free(class->groups);
        alloc_free(class);
    }
}

// ---- interfaces --------------------------------------------------------------------------

static size_t learn_all(struct net_guard *guard, const struct session_security_group *groups,
                        size_t count, struct guard_group **out_changed)
{
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
        if (learn(guard, &groups[i])) {
            out_changed[changed++] = find_group(guard, groups[i].group_id);
        }
    }
    return changed;
}

// What is kept of groups that are not known here: an earlier agent was told of it, or this one when
// the router was not there yet. @return how many changed, in out_changed
static size_t recall(struct net *net, struct net_guard *guard, const struct text_list *ids,
                     struct guard_group **out_changed)
{
    size_t changed = 0;
    for (size_t i = 0; i < ids->count; i++) {
        struct guard_group *group = find_group(guard, ids->items[i]);
        if (group != NULL && group->rules != NULL) {
            continue;
        }
        AUTO(arena_deinit) struct arena arena = {0};
        const struct session_security_group *kept =
            net_guard_kept_group(net, ids->items[i], &arena);
        if (kept != NULL && learn(guard, kept)) {
            out_changed[changed++] = find_group(guard, ids->items[i]);
        }
    }
    return changed;
}

static void open_unknown(struct net_guard *guard, const struct text_list *ids)
{
    for (size_t i = 0; i < ids->count; i++) {
        if (net_id_valid(ids->items[i])) {
            ensure_group(guard, ids->items[i])->open = true;
        }
    }
}

static struct guard_member *member_new(struct net_guard *guard, const struct net_plug *plug,
                                       struct guard_class *class)
{
    struct guard_member *member = ALLOC(struct guard_member);
    snprintf(member->id, sizeof(member->id), "%s", plug->id);
    snprintf(member->link, sizeof(member->link), "%s", plug->link);
    memcpy(member->mac, plug->mac, sizeof(member->mac));
    member->address = plug->address;
    member->gateway = plug->gateway;
    member->class = class;
    class->members++;
    member->next = guard->members;
    guard->members = member;
    return member;
}

static uint64_t *past_of(struct net_guard *guard, uint32_t address, uint64_t *out_bit)
{
    uint32_t at = address - guard->cidr.address;
    if (!net_range_has(guard->cidr, address) || at >= PAST_ADDRESSES) {
        return NULL;
    }
    if (guard->past == NULL) {
        guard->past = alloc_array(PAST_ADDRESSES / 64, sizeof(*guard->past));
    }
    *out_bit = UINT64_C(1) << (at % 64);
    return &guard->past[at / 64];
}

static void give_up(struct net_guard *guard, uint32_t address)
{
    uint64_t bit = 0;
    uint64_t *word = past_of(guard, address, &bit);
    if (word != NULL) {
        *word |= bit;
    }
}

static bool has_member(const void *context, uint32_t address)
{
    const struct net_guard *guard = context;
    for (const struct guard_member *member = guard->members; member != NULL;
         member = member->next) {
        if (member->address == address) {
            return true;
        }
    }
    return false;
}

// Who gets an address goes on with no conversation of whoever had it. Looking for them takes long,
// and addresses rest as long as possible before they are used again, so it is done only then, and
// for all that were given up.
static void forget_past(struct net_guard *guard, uint32_t address)
{
    uint64_t bit = 0;
    const uint64_t *word = past_of(guard, address, &bit);
    if (!guard->past_unknown && (word == NULL || (*word & bit) == 0)) {
        return;
    }
    const struct net_address_alive alive = {
        .range = guard->cidr, .is_alive = has_member, .context = guard};
    if (net_conntrack_forget_gone(guard->fd, &alive)) {
        guard->past_unknown = false;
        alloc_free(guard->past);
        guard->past = NULL;
    }
}

// Takes out whoever has the id or the address.
static void take_members(struct net_guard *guard, const char *id, uint32_t address,
                         const char *instance, struct net_nft *nft)
{
    struct guard_member **at = &guard->members;
    while (*at != NULL) {
        struct guard_member *member = *at;
        if (strcmp(member->id, id) != 0 && (address == 0 || member->address != address)) {
            at = &member->next;
            continue;
        }
        net_guard_write_member(member, false, instance, nft);
        give_up(guard, member->address);
        *at = member->next;
        member->class->members--;
        alloc_free(member);
    }
}

// An interface without groups, of whom nothing was told, is as one from before there were any.
static const struct text_list *groups_of(const struct net_eni *from)
{
    static struct text open = {"open", 4};
    static const struct text_list all = {&open, 1};
    return from->groups.count == 0 && !from->groups_told ? &all : &from->groups;
}

int net_guard_add(struct net *net, struct net_router *router, const struct net_eni *from,
                  const struct net_plug *plug, struct err *err)
{
    struct net_guard *guard = router->guard;
    guard->cidr = router->cidr;
    int rc = open_filter(router, err);
    if (rc != 0) {
        return rc;
    }
    const struct text_list *ids = groups_of(from);
    AUTO(arena_deinit) struct arena arena = {0};
    struct guard_group **changed =
        arena_array(&arena, from->known_count + ids->count + 1, sizeof(struct guard_group *));
    // What is kept may be newer than what this task came with.
    size_t count = recall(net, guard, ids, changed);
    count += learn_all(guard, from->known, from->known_count, &changed[count]);
    net_groups_keep(net, from->known, from->known_count);
    if (!from->groups_told) {
        open_unknown(guard, ids);
    }
    struct guard_class *class = ensure_class(guard, ids);
    AUTO(net_nft_deinit) struct net_nft nft = {0};
    const struct guard_member *there = net_guard_member(router, from->id);
    bool same = there != NULL && there->class == class && there->address == plug->address &&
                there->gateway == plug->gateway && memcmp(there->mac, plug->mac, 6) == 0;
    if (!same) {
        take_members(guard, plug->id, plug->address, net->instance, &nft);
        net_guard_keep_member(net, from);
        forget_past(guard, plug->address);
    }
    struct guard_member *member = same ? NULL : member_new(guard, plug, class);
    if (!guard->made || guard->behind) {
        return net_guard_restore(net, router, err);
    }
    write_changes(guard, net->instance, changed, count, &nft);
    if (member != NULL) {
        net_guard_write_member(member, true, net->instance, &nft);
    }
    return commit(net, router, &nft, err);
}

void net_guard_remove(struct net *net, const char *eni_id)
{
    net_guard_drop_member(net, eni_id);
    for (struct net_router *router = net->routers; router != NULL; router = router->next) {
        struct net_guard *guard = router->guard;
        AUTO(net_nft_deinit) struct net_nft nft = {0};
        struct err ignored;
        take_members(guard, eni_id, 0, net->instance, &nft);
        if (nft.bytes.size > 0 && guard->made) {
            drop_idle_classes(guard, net->instance, &nft);
            IGNORE(commit(net, router, &nft, &ignored), "the next change makes all anew");
        }
    }
}

// ---- after a start -----------------------------------------------------------------------

static int adopt_member(struct net *net, struct net_router *router, const struct session_eni *eni,
                        struct err *err)
{
    const struct net_eni from = {
        .id = eni->eni_id,
        .mac_address = eni->mac_address,
        .address = eni->address,
        .prefix_length = (uint32_t)eni->prefix_length,
        .gateway = eni->gateway,
        .subnet_id = eni->subnet_id,
        .vpc = {.id = eni->vpc_id, .cidr = eni->vpc_cidr},
    };
    struct net_plug plug;
    int rc = net_eni_parse(&from, &plug, err);
    if (rc == 0) {
        rc = net_parse_range(eni->vpc_cidr, &router->guard->cidr);
    }
    if (rc == 0) {
        AUTO(arena_deinit) struct arena arena = {0};
        // All of the router is written when its interfaces are there.
        recall(net, router->guard, &eni->security_groups,
               arena_array(&arena, eni->security_groups.count + 1, sizeof(struct guard_group *)));
        member_new(router->guard, &plug, ensure_class(router->guard, &eni->security_groups));
    }
    return rc;
}

int net_guard_adopt(struct net *net, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list ids = {0};
    int rc = net_eni_list(net, &arena, &ids, err);
    for (size_t i = 0; rc == 0 && i < ids.count; i++) {
        const struct session_eni *eni = net_guard_kept_member(net, ids.items[i].data, &arena);
        for (struct net_router *router = net->routers; eni != NULL && router != NULL;
             router = router->next) {
            struct err ignored;
            if (text_is(eni->vpc_id, router->vpc_id)) {
                IGNORE(adopt_member(net, router, eni, &ignored),
                       "what cannot be read is told anew by the server");
            }
        }
    }
    for (struct net_router *router = net->routers; rc == 0 && router != NULL;
         router = router->next) {
        router->guard->past_unknown = true;
        rc = net_guard_restore(net, router, err);
    }
    return rc;
}

// ---- the interface of this module --------------------------------------------------------

void net_groups_keep(struct net *net, const struct session_security_group *groups, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        net_guard_keep_group(net, &groups[i]);
    }
}

int net_groups_put(struct net *net, const struct session_security_group *groups, size_t count,
                   struct err *err)
{
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    AUTO(arena_deinit) struct arena arena = {0};
    struct guard_group **changed = arena_array(&arena, count + 1, sizeof(struct guard_group *));
    int rc = 0;
    net_groups_keep(net, groups, count); // also when their router is only to be made
    for (struct net_router *router = locked->routers; rc == 0 && router != NULL;
         router = router->next) {
        struct net_guard *guard = router->guard;
        size_t changed_count = 0;
        for (size_t i = 0; i < count; i++) {
            if (text_is(groups[i].vpc_id, router->vpc_id)) {
                changed_count += learn_all(guard, &groups[i], 1, &changed[changed_count]);
            }
        }
        if (guard->behind) {
            rc = net_guard_restore(locked, router, err);
        } else if (changed_count > 0 && guard->made) {
            AUTO(net_nft_deinit) struct net_nft nft = {0};
            write_changes(guard, net->instance, changed, changed_count, &nft);
            rc = commit(locked, router, &nft, err);
        }
    }
    return rc;
}

int net_eni_adopt(struct net *net, const struct net_eni *eni, struct err *err)
{
    struct net_plug plug;
    int rc = net_eni_parse(eni, &plug, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&net->lock);
    AUTO(net_unlock) struct net *locked = net;
    for (struct net_router *router = locked->routers; router != NULL; router = router->next) {
        if (!text_is(eni->vpc.id, router->vpc_id) || net_guard_member(router, eni->id) != NULL ||
            !net_space_mounted(net->netns_dir_fd, plug.id)) {
            continue;
        }
        rc = net_parse_range(eni->vpc.cidr, &router->cidr);
        rc = rc == 0 ? net_guard_add(locked, router, eni, &plug, err) : rc;
    }
    return rc;
}
