#include "ecs/task_internal.h"

#include "base/limits.h"
#include "vpc/vpc.h"

#include <string.h>

// In state->groups; no record ever has these keys.
#define POOL_KEY 1
#define SPOT_POOL_KEY 2

// ---- entries -----------------------------------------------------------------------------

struct task_entry *task_entry(const struct task_state *state, int64_t key)
{
    return task_table_find(&state->by_key, (uint64_t)key);
}

static bool id_hash(struct text task_id, uint64_t *out_hash)
{
    unsigned char bytes[16];
    if (task_id.size != 2 * sizeof(bytes) || text_unhex(task_id, bytes, sizeof(bytes)) != 0) {
        return false;
    }
    memcpy(out_hash, bytes, sizeof(*out_hash)); // ids are random: their first half is a hash
    return true;
}

struct task_entry *task_entry_by_id(const struct task_state *state, struct text task_id)
{
    uint64_t hash = 0;
    if (!id_hash(task_id, &hash)) {
        return NULL;
    }
    struct task_entry *entry = task_table_find(&state->by_id, hash);
    if (entry == NULL) {
        return NULL;
    }
    const struct task_record_task *record = core_get(state->core, &task_kind, entry->key);
    return record != NULL && text_equal(record->task_id, task_id) ? entry : NULL;
}

// ---- groups and zones ---------------------------------------------------------------------

struct task_group *task_group(const struct task_state *state, int64_t cluster)
{
    return map_get_u64(&state->groups, cluster == 0 ? POOL_KEY : (uint64_t)cluster);
}

struct task_group *task_pool(const struct task_state *state, bool spot)
{
    return map_get_u64(&state->groups, spot ? SPOT_POOL_KEY : POOL_KEY);
}

static struct task_group *need_group(struct task_state *state, int64_t cluster)
{
    struct task_group *group = task_group(state, cluster);
    if (group == NULL) {
        group = ALLOC(struct task_group);
        group->cluster = cluster;
        map_put_u64(&state->groups, cluster == 0 ? POOL_KEY : (uint64_t)cluster, group);
    }
    return group;
}

static struct task_group *need_pool(struct task_state *state, bool spot)
{
    struct task_group *group = task_pool(state, spot);
    if (group == NULL) {
        group = ALLOC(struct task_group);
        group->spot = spot;
        map_put_u64(&state->groups, spot ? SPOT_POOL_KEY : POOL_KEY, group);
    }
    return group;
}

struct task_zone *task_group_zone(const struct task_group *group, struct text name)
{
    for (size_t i = 0; i < group->zone_count; i++) {
        if (text_equal(group->zones[i]->name, name)) {
            return group->zones[i];
        }
    }
    return NULL;
}

static struct text own_text(struct text text)
{
    char *copy = alloc_zero(text.size + 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return (struct text){copy, text.size};
}

static void free_text(struct text text)
{
    alloc_free((void *)(uintptr_t)text.data);
}

static struct task_zone *need_zone(struct task_group *group, struct text name)
{
    struct task_zone *zone = task_group_zone(group, name);
    if (zone != NULL) {
        return zone;
    }
    zone = ALLOC(struct task_zone);
    zone->name = own_text(name);
    zone->group = group;
    group->zones = alloc_resize(group->zones, group->zone_count + 1, sizeof(struct task_zone *));
    size_t place = group->zone_count;
    while (place > 0 && text_compare(group->zones[place - 1]->name, name) > 0) {
        group->zones[place] = group->zones[place - 1];
        place--;
    }
    group->zones[place] = zone;
    group->zone_count++;
    return zone;
}

static void free_group(struct task_group *group)
{
    task_roster_free(group->roster);
    for (size_t i = 0; i < group->zone_count; i++) {
        place_set_deinit(&group->zones[i]->nodes);
        free_text(group->zones[i]->name);
        alloc_free(group->zones[i]);
    }
    alloc_free(group->zones);
    alloc_free(group);
}

// ---- nodes --------------------------------------------------------------------------------

static size_t node_place(const struct task_state *state, int64_t key)
{
    size_t low = 0;
    size_t high = state->node_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (state->nodes[middle]->key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct task_node *task_node(const struct task_state *state, int64_t key)
{
    size_t place = node_place(state, key);
    bool found = place < state->node_count && state->nodes[place]->key == key;
    return found ? state->nodes[place] : NULL;
}

static int32_t clamp_i32(int64_t value)
{
    return (int32_t)MAX((int64_t)INT32_MIN + 1, MIN((int64_t)INT32_MAX, value));
}

struct place_node task_node_place(const struct task_node *node)
{
    int64_t used = MUTANT("overcommit") ? 0 : 1;
    return (struct place_node){
        .usable = !node->removed && task_node_live(node),
        .architecture = node->architecture,
        .cpu_units_free = clamp_i32(node->cpu_units - used * node->cpu_used),
        .memory_mib_free = clamp_i32(node->memory_mib - used * node->memory_used),
        .eni_free = node->eni_slots - node->eni_used,
        .task_count = node->task_count,
    };
}

struct place_node task_zone_place(const struct task_node *node, const struct task_zone *zone)
{
    struct place_node place = task_node_place(node);
    for (size_t i = 0; i < node->zone_count; i++) {
        if (node->zones[i] == zone) {
            place.usable = place.usable && !node->draining[i];
            place.capabilities = node->capabilities[i];
        }
    }
    return place;
}

void task_node_told(struct task_state *state, struct task_node *node)
{
    task_node_tasks_told(state, node);
    node->told = state->stamp;
}

void task_node_tasks_told(struct task_state *state, struct task_node *node)
{
    state->stamp++;
    node->tasks_told = state->stamp;
    state->changes[state->change_count % TASK_CHANGES_KEPT] = node->key;
    state->change_count++;
}

void task_node_refresh(struct task_node *node)
{
    const struct place_node whole = task_node_place(node);
    for (size_t i = 0; i < node->zone_count; i++) {
        struct place_node place = whole;
        place.usable = whole.usable && !node->draining[i];
        place.capabilities = node->capabilities[i];
        place_set_put(&node->zones[i]->nodes, node->key, &place);
    }
}

static void node_leave(struct task_state *state, struct task_node *node)
{
    for (size_t i = 0; i < node->zone_count; i++) {
        place_set_remove(&node->zones[i]->nodes, node->key);
    }
    for (size_t i = 0; i < node->cluster_count; i++) {
        struct task_group *group = need_group(state, node->clusters[i]);
        group->counts.registered_instances--;
    }
    for (size_t i = 0; i < node->instance_count; i++) {
        map_remove(&state->nodes_by_instance, node->instances[i]);
        free_text(node->instances[i]);
    }
    node->zone_count = 0;
    node->cluster_count = 0;
    node->instance_count = 0;
    if (!text_empty(node->node_id) && map_get(&state->nodes_by_id, node->node_id) == node) {
        map_remove(&state->nodes_by_id, node->node_id);
    }
}

static void node_enter_zone(struct task_node *node, struct task_zone *zone, bool draining,
                            uint32_t capabilities)
{
    for (size_t i = 0; i < node->zone_count; i++) {
        if (node->zones[i] == zone) {
            return;
        }
    }
    node->zones = alloc_resize(node->zones, node->zone_count + 1, sizeof(struct task_zone *));
    node->draining = alloc_resize(node->draining, node->zone_count + 1, sizeof(bool));
    node->capabilities =
        alloc_resize(node->capabilities, node->zone_count + 1, sizeof(*node->capabilities));
    node->zones[node->zone_count] = zone;
    node->draining[node->zone_count] = draining;
    node->capabilities[node->zone_count] = capabilities;
    node->zone_count++;
}

static void node_enter_membership(struct task_state *state, struct task_node *node,
                                  const struct task_record_membership *membership)
{
    uint32_t capabilities =
        capability_had(membership->attributes.items, membership->attributes.count);
    struct task_group *groups[2];
    size_t group_count = 0;
    if (membership->cluster != 0) {
        groups[group_count++] = need_group(state, membership->cluster);
    }
    for (int spot = 0; spot < 2; spot++) {
        if (task_membership_pooled(membership, spot != 0)) {
            groups[group_count++] = need_pool(state, spot != 0);
        }
    }
    for (size_t i = 0; i < group_count; i++) {
        for (size_t j = 0; j < membership->zones.count; j++) {
            node_enter_zone(node, need_zone(groups[i], membership->zones.items[j]),
                            membership->draining, capabilities);
        }
    }
    if (membership->cluster != 0) {
        struct task_group *group = groups[0];
        node->clusters =
            alloc_resize(node->clusters, node->cluster_count + 1, sizeof(*node->clusters));
        node->clusters[node->cluster_count] = membership->cluster;
        node->cluster_count++;
        group->counts.registered_instances++;
    }
}

static void node_enter(struct task_state *state, struct task_node *node,
                       const struct task_record_node *record)
{
    for (size_t i = 0; i < record->memberships.count; i++) {
        const struct task_record_membership *membership = &record->memberships.items[i];
        if (membership->deregistered_at == 0) {
            node_enter_membership(state, node, membership);
        }
        node->instances =
            alloc_resize(node->instances, node->instance_count + 1, sizeof(struct text));
        node->instances[node->instance_count] = own_text(membership->instance_id);
        map_put(&state->nodes_by_instance, node->instances[node->instance_count], node);
        node->instance_count++;
    }
    map_put(&state->nodes_by_id, node->node_id, node);
}

static struct task_node *node_add(struct task_state *state, int64_t key,
                                  const struct task_record_node *record)
{
    if (state->node_count == state->node_capacity) {
        state->node_capacity = MAX((size_t)16, state->node_capacity * 2);
        state->nodes = alloc_resize(state->nodes, state->node_capacity, sizeof(struct task_node *));
    }
    struct task_node *node = ALLOC(struct task_node);
    node->key = key;
    node->node_id = own_text(record->node_id);
    node->lease_ms = record->berth_agent ? NODE_LEASE_MS : NODE_LEASE_STOCK_MS;
    size_t place = node_place(state, key);
    memmove(state->nodes + place + 1, state->nodes + place,
            (state->node_count - place) * sizeof(struct task_node *));
    state->nodes[place] = node;
    state->node_count++;
    return node;
}

static void node_free(struct task_node *node)
{
    for (size_t i = 0; i < node->instance_count; i++) {
        free_text(node->instances[i]);
    }
    free_text(node->node_id);
    free_text(node->agent_version);
    alloc_free(node->zones);
    alloc_free(node->draining);
    alloc_free(node->capabilities);
    alloc_free(node->ports);
    alloc_free(node->clusters);
    alloc_free(node->instances);
    alloc_free(node);
}

static uint8_t architecture_bits(struct text architecture)
{
    if (text_is(architecture, "arm64")) {
        return PLACE_ARM64;
    }
    return text_is(architecture, "x86_64") ? PLACE_X86_64 : PLACE_ANY;
}

// A stock agent is one container instance; once that is deregistered, nothing is left of it.
static bool stock_retired(const struct task_record_node *record)
{
    return record->memberships.count > 0 && record->memberships.items[0].deregistered_at != 0 &&
           text_equal(record->memberships.items[0].instance_id, record->node_id);
}

// Whether a node is an instance of the same clusters and hosts of the same pools as before.
static bool same_memberships(const struct task_record_node *a, const struct task_record_node *b)
{
    if (a == NULL || b == NULL || (a->removed_at != 0) != (b->removed_at != 0) ||
        a->memberships.count != b->memberships.count) {
        return false;
    }
    for (size_t i = 0; i < a->memberships.count; i++) {
        const struct task_record_membership *left = &a->memberships.items[i];
        const struct task_record_membership *right = &b->memberships.items[i];
        if (left->cluster != right->cluster ||
            (left->deregistered_at != 0) != (right->deregistered_at != 0) ||
            task_membership_pooled(left, false) != task_membership_pooled(right, false) ||
            task_membership_pooled(left, true) != task_membership_pooled(right, true)) {
            return false;
        }
    }
    return true;
}

static void node_changed(struct task_state *state, int64_t key,
                         const struct task_record_node *before,
                         const struct task_record_node *after)
{
    struct task_node *node = task_node(state, key);
    if (!same_memberships(before, after)) {
        state->stamp++;
        state->membership_stamp = state->stamp;
    }
    if (after == NULL) {
        ASSERT(node != NULL);
        ASSERT(node->entry_count == 0);
        node_leave(state, node);
        size_t place = node_place(state, key);
        memmove(state->nodes + place, state->nodes + place + 1,
                (state->node_count - place - 1) * sizeof(struct task_node *));
        state->node_count--;
        node_free(node);
        return;
    }
    if (node == NULL) {
        node = node_add(state, key, after);
    } else {
        node_leave(state, node);
    }
    node->parting = false;
    for (size_t i = 0; i < after->memberships.count; i++) {
        const struct task_record_membership *membership = &after->memberships.items[i];
        node->parting = node->parting || membership->draining || membership->deregistered_at != 0;
    }
    node->removed = after->removed_at != 0;
    node->retired = stock_retired(after);
    node->architecture = architecture_bits(after->architecture);
    node->cpu_units = after->cpu_units;
    node->memory_mib = after->memory_mib;
    node->eni_slots = after->eni_slots;
    node->connection = after->connections;
    if (!node->removed) {
        node_enter(state, node, after);
    }
    task_node_told(state, node);
    task_node_refresh(node);
}

// ---- tasks --------------------------------------------------------------------------------

void task_list_key(struct index_key *out_key, int64_t cluster, enum task_record_task_status desired)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)cluster);
    index_key_u64(out_key, (uint64_t)desired);
}

static void change_index(struct index *index, const struct index_key *at, int64_t key, bool add)
{
    if (add) {
        index_add(index, at, key);
    } else {
        index_remove(index, at, key);
    }
}

static void list_task(struct task_state *state, int64_t key, const struct task_record_task *record,
                      bool add)
{
    struct index_key at;
    task_list_key(&at, record->cluster, record->desired_status);
    size_t prefix = at.size;
    change_index(state->by_cluster, &at, key, add);
    const struct ecs_record_definition *definition =
        core_get(state->core, &ecs_definition_kind, record->definition);
    ASSERT(definition != NULL);
    index_key_u64(&at, (uint64_t)definition->family);
    change_index(state->by_family, &at, key, add);
    if (!text_empty(record->started_by)) {
        at.size = prefix;
        index_key_text(&at, record->started_by);
        change_index(state->by_starter, &at, key, add);
    }
}

static void token_task(struct task_state *state, int64_t key, const struct task_record_task *record,
                       bool add)
{
    if (record->extra == NULL || text_empty(record->extra->client_token)) {
        return;
    }
    const struct ecs_record_cluster *cluster =
        core_get(state->core, &ecs_cluster_kind, record->cluster);
    ASSERT(cluster != NULL);
    struct index_key at;
    at.size = 0;
    index_key_u64(&at, (uint64_t)cluster->realm);
    index_key_text(&at, record->extra->client_token);
    change_index(state->by_token, &at, key, add);
}

static void stop_task(struct task_state *state, int64_t key, const struct task_record_task *record,
                      bool add)
{
    struct index_key at;
    at.size = 0;
    index_key_u64(&at, (uint64_t)record->stopped_at);
    change_index(state->stopped, &at, key, add);
}

static void count_task(struct task_state *state, const struct task_record_task *record,
                       int32_t sign)
{
    struct task_cluster_counts *counts = &need_group(state, record->cluster)->counts;
    bool pending = record->last_status < TASK_RECORD_TASK_STATUS_RUNNING;
    bool running = !pending && record->last_status < TASK_RECORD_TASK_STATUS_STOPPED;
    bool ec2 = record->launch_type == ECS_LAUNCH_TYPE_EC2;
    bool external = record->launch_type == ECS_LAUNCH_TYPE_EXTERNAL;
    counts->pending_tasks += pending ? sign : 0;
    counts->running_tasks += running ? sign : 0;
    counts->pending_ec2_tasks += pending && ec2 ? sign : 0;
    counts->running_ec2_tasks += running && ec2 ? sign : 0;
    counts->pending_external_tasks += pending && external ? sign : 0;
    counts->running_external_tasks += running && external ? sign : 0;
}

static void use_definition(struct task_state *state, int64_t definition, int sign)
{
    uintptr_t count = (uintptr_t)map_get_u64(&state->definition_uses, (uint64_t)definition);
    ASSERT(sign > 0 || count > 0);
    count = sign > 0 ? count + 1 : count - 1;
    if (count == 0) {
        map_remove_u64(&state->definition_uses, (uint64_t)definition);
    } else {
        map_put_u64(&state->definition_uses, (uint64_t)definition, (void *)count);
    }
}

// Take or give back the room that a task holds of its node.
static void hold(struct task_state *state, struct task_entry *entry,
                 const struct task_record_task *record, bool holds)
{
    if (entry->holds == holds) {
        return;
    }
    entry->holds = holds;
    int32_t sign = holds ? 1 : -1;
    struct task_node *node = entry->node;
    node->cpu_used += sign * entry->cpu_units;
    node->memory_used += sign * entry->memory_mib;
    node->eni_used += entry->eni ? sign : 0;
    node->task_count += sign;
    entry->zone->task_count += sign;
    if (!record->has_subnet) {
        task_node_hold_ports(state->core, node, record, holds);
    }
    use_definition(state, record->definition, sign);
    task_node_refresh(node);
}

static struct task_zone *zone_of(struct task_state *state, const struct task_record_task *record)
{
    if (record->launch_type == ECS_LAUNCH_TYPE_FARGATE) {
        const struct vpc_record_subnet *subnet =
            core_get(state->core, &vpc_subnet_kind, record->subnet);
        ASSERT(subnet != NULL);
        return need_zone(need_pool(state, task_is_spot(record)), subnet->availability_zone);
    }
    struct task_group *group = need_group(state, record->cluster);
    const struct task_record_node *node = core_get(state->core, &task_node_kind, record->node);
    ASSERT(node != NULL);
    const struct task_record_membership *membership = task_membership(node, record);
    ASSERT(membership != NULL);
    return need_zone(group, membership->zones.items[0]);
}

static struct task_entry *entry_add(struct task_state *state, int64_t key,
                                    const struct task_record_task *record)
{
    struct task_entry *entry = ALLOC(struct task_entry);
    entry->key = key;
    bool is_id = id_hash(record->task_id, &entry->id_hash);
    ASSERT(is_id);
    entry->node = task_node(state, record->node);
    ASSERT(entry->node != NULL);
    entry->zone = zone_of(state, record);
    entry->cpu_units = record->cpu_units;
    entry->memory_mib = record->memory_mib;
    entry->eni = record->has_subnet;
    entry->previous = entry->node->last;
    if (entry->previous == NULL) {
        entry->node->first = entry;
    } else {
        ASSERT(entry->previous->key < key);
        entry->previous->next = entry;
    }
    entry->node->last = entry;
    entry->node->entry_count++;
    task_table_add(&state->by_key, entry);
    task_table_add(&state->by_id, entry);
    token_task(state, key, record, true);
    return entry;
}

static void entry_remove(struct task_state *state, struct task_entry *entry,
                         const struct task_record_task *record)
{
    struct task_node *node = entry->node;
    if (entry->previous == NULL) {
        node->first = entry->next;
    } else {
        entry->previous->next = entry->next;
    }
    if (entry->next == NULL) {
        node->last = entry->previous;
    } else {
        entry->next->previous = entry->previous;
    }
    node->entry_count--;
    token_task(state, entry->key, record, false);
    task_table_remove(&state->by_key, entry);
    task_table_remove(&state->by_id, entry);
    alloc_free(entry);
}

void task_entry_wait(struct task_entry *entry, bool waiting)
{
    if (entry->waiting == waiting) {
        return;
    }
    entry->waiting = waiting;
    struct task_node *node = entry->node;
    if (waiting) {
        entry->waiting_next = NULL;
        entry->waiting_previous = node->waiting_last;
        if (node->waiting_last == NULL) {
            node->waiting_first = entry;
        } else {
            node->waiting_last->waiting_next = entry;
        }
        node->waiting_last = entry;
        return;
    }
    if (entry->waiting_previous == NULL) {
        node->waiting_first = entry->waiting_next;
    } else {
        entry->waiting_previous->waiting_next = entry->waiting_next;
    }
    if (entry->waiting_next == NULL) {
        node->waiting_last = entry->waiting_previous;
    } else {
        entry->waiting_next->waiting_previous = entry->waiting_previous;
    }
}

static void task_changed(struct task_state *state, int64_t key,
                         const struct task_record_task *before,
                         const struct task_record_task *after)
{
    struct task_entry *entry =
        before == NULL ? entry_add(state, key, after) : task_entry(state, key);
    ASSERT(entry != NULL);
    bool relist =
        before == NULL || after == NULL || before->desired_status != after->desired_status;
    if (relist || before->last_status != after->last_status) {
        task_node_tasks_told(state, entry->node);
    }
    if (before != NULL) {
        count_task(state, before, -1);
        if (relist) {
            list_task(state, key, before, false);
        }
        if (before->stopped_at != 0) {
            stop_task(state, key, before, false);
        }
    }
    if (after == NULL) {
        task_entry_wait(entry, false);
        hold(state, entry, before, false);
        entry_remove(state, entry, before);
        return;
    }
    count_task(state, after, 1);
    if (relist) {
        list_task(state, key, after, true);
    }
    if (after->stopped_at != 0) {
        stop_task(state, key, after, true);
    }
    hold(state, entry, after, after->last_status != TASK_RECORD_TASK_STATUS_STOPPED);
    task_entry_wait(entry, after->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING &&
                               entry->acked_status < (uint8_t)after->desired_status);
}

void task_state_changed(void *pointer, struct core *core, const struct core_kind *kind, int64_t key,
                        const void *before, const void *after)
{
    (void)core;
    if (kind == &task_kind) {
        task_changed(pointer, key, before, after);
    } else if (kind == &task_node_kind) {
        node_changed(pointer, key, before, after);
    }
}

// ---- the whole ----------------------------------------------------------------------------

struct task_state *task_state(const struct core *core)
{
    return core_module_state(core, &task_module);
}

void *task_state_new(struct core *core)
{
    struct task_state *state = ALLOC(struct task_state);
    state->core = core;
    state->retention_ms = TASK_RETENTION_MS;
    state->by_id.by_id = true;
    state->by_cluster = index_new();
    state->by_family = index_new();
    state->by_starter = index_new();
    state->by_token = index_new();
    state->stopped = index_new();
    identity_on_join(core, task_node_joined);
    return state;
}

void task_state_free(void *pointer)
{
    struct task_state *state = pointer;
    if (state == NULL) {
        return;
    }
    for (size_t i = 0; i < state->by_key.capacity; i++) {
        alloc_free(state->by_key.slots[i]);
    }
    alloc_free(state->by_key.slots);
    alloc_free(state->by_id.slots);
    for (size_t i = 0; i < state->node_count; i++) {
        node_free(state->nodes[i]);
    }
    alloc_free(state->nodes);
    size_t cursor = 0;
    for (struct task_group *group = map_next(&state->groups, &cursor, NULL); group != NULL;
         group = map_next(&state->groups, &cursor, NULL)) {
        free_group(group);
    }
    map_deinit(&state->groups);
    map_deinit(&state->nodes_by_id);
    map_deinit(&state->nodes_by_instance);
    map_deinit(&state->definition_uses);
    index_free(state->by_cluster);
    index_free(state->by_family);
    index_free(state->by_starter);
    index_free(state->by_token);
    index_free(state->stopped);
    free_text(state->acs_url);
    free_text(state->tcs_url);
    diagnose_ring_free(state->unplaced);
    alloc_free(state);
}

void task_set_endpoints(struct core *core, struct text acs_url, struct text tcs_url)
{
    struct task_state *state = task_state(core);
    free_text(state->acs_url);
    free_text(state->tcs_url);
    state->acs_url = own_text(acs_url);
    state->tcs_url = own_text(tcs_url);
}

void task_set_retention_ms(struct core *core, int64_t retention_ms)
{
    ASSERT(retention_ms >= 0);
    task_state(core)->retention_ms = retention_ms;
}

// ---- what other modules ask ---------------------------------------------------------------

void task_cluster_counts(const struct core *core, int64_t cluster,
                         struct task_cluster_counts *out_counts)
{
    const struct task_group *group = task_group(task_state(core), cluster);
    *out_counts = group == NULL ? (struct task_cluster_counts){0} : group->counts;
}

bool task_definition_in_use(const struct core *core, int64_t definition)
{
    return map_get_u64(&task_state(core)->definition_uses, (uint64_t)definition) != NULL;
}
