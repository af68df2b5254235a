#include "ecs/task_state.h"

#include <string.h>

/*
 * The nodes in memory, and how they stand in the groups of their memberships.
 */

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
    if (key == 0) {
        return state->nowhere;
    }
    size_t place = node_place(state, key);
    bool found = place < state->node_count && state->nodes[place]->key == key;
    return found ? state->nodes[place] : NULL;
}

static int32_t clamp_i32(int64_t value)
{
    return (int32_t)MAX((int64_t)INT32_MIN + 1, MIN((int64_t)INT32_MAX, value));
}

// A stock agent is given two minutes before it counts as lost, but what is placed on it while its
// session is closed would wait as long: ECS places nothing there. The few seconds of a Berth
// agent's lease are waited for, as a server that restarts would otherwise find no host at all.
static bool away(const struct task_node *node)
{
    return !node->connected && node->lease_ms >= NODE_LEASE_STOCK_MS;
}

struct place_node task_node_place(const struct task_node *node)
{
    int64_t used = MUTANT("overcommit") ? 0 : 1;
    return (struct place_node){
        .usable =
            !node->removed && task_node_live(node) && !away(node) && text_empty(node->refusal),
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

bool task_zone_home(const struct task_node *node, const struct task_zone *zone)
{
    size_t first = 0;
    while (first < node->zone_count && node->zones[first]->group != zone->group) {
        first++;
    }
    return first < node->zone_count && node->zones[first] == zone;
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
        struct task_group *group = task_group_need(state, node->clusters[i]);
        group->counts.registered_instances--;
    }
    for (size_t i = 0; i < node->instance_count; i++) {
        map_remove(&state->nodes_by_instance, node->instances[i]);
        task_text_free(node->instances[i]);
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

bool task_membership_berth(const struct task_record_node *record, size_t index)
{
    return record->berth_agent || record->memberships.items[index].cluster == 0;
}

uint32_t task_membership_capabilities(const struct task_record_node *record, size_t index)
{
    const struct task_record_membership *membership = &record->memberships.items[index];
    return capability_had(membership->attributes.items, membership->attributes.count) |
           (task_membership_berth(record, index) ? CAPABILITY_BERTH_AGENT : 0);
}

static void node_enter_membership(struct task_state *state, struct task_node *node,
                                  const struct task_record_node *record, size_t index)
{
    const struct task_record_membership *membership = &record->memberships.items[index];
    uint32_t capabilities = task_membership_capabilities(record, index);
    struct task_group *groups[2];
    size_t group_count = 0;
    if (membership->cluster != 0) {
        groups[group_count++] = task_group_need(state, membership->cluster);
    }
    for (int spot = 0; spot < 2; spot++) {
        if (task_membership_pooled(membership, spot != 0)) {
            groups[group_count++] = task_pool_need(state, spot != 0);
        }
    }
    for (size_t i = 0; i < group_count; i++) {
        for (size_t j = 0; j < membership->zones.count; j++) {
            node_enter_zone(node, task_zone_need(groups[i], membership->zones.items[j]),
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
            node_enter_membership(state, node, record, i);
        }
        node->instances =
            alloc_resize(node->instances, node->instance_count + 1, sizeof(struct text));
        node->instances[node->instance_count] = task_text_own(membership->instance_id);
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
    node->node_id = task_text_own(record->node_id);
    node->lease_ms = record->berth_agent ? NODE_LEASE_MS : NODE_LEASE_STOCK_MS;
    size_t place = node_place(state, key);
    memmove(state->nodes + place + 1, state->nodes + place,
            (state->node_count - place) * sizeof(struct task_node *));
    state->nodes[place] = node;
    state->node_count++;
    return node;
}

void task_node_free(struct task_node *node)
{
    for (size_t i = 0; i < node->instance_count; i++) {
        task_text_free(node->instances[i]);
    }
    task_text_free(node->node_id);
    task_text_free(node->agent_version);
    task_text_free(node->refusal);
    task_text_free(node->agent_hash);
    task_text_free(node->docker_version);
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

void task_node_changed(struct task_state *state, int64_t key, const struct task_record_node *before,
                       const struct task_record_node *after)
{
    struct task_node *node = task_node(state, key);
    state->layout++;
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
        task_node_free(node);
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
    if (before == NULL) {
        task_entries_join(state, node);
    }
    task_node_told(state, node);
    task_node_refresh(node);
}
