#include "ecs/task_state.h"

#include "ecs/scaling.h"

#include "vpc/vpc.h"

#include <string.h>

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
    struct task_cluster_counts *counts = &task_group_need(state, record->cluster)->counts;
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
    if (!record->has_subnet && node != state->nowhere) {
        task_node_hold_ports(state->core, node, record, holds);
    }
    use_definition(state, record->definition, sign);
    task_node_refresh(node);
}

// Where a task is: its subnet tells, as a host may stand for several zones; else what its host says
// first.
static struct task_zone *zone_of(struct task_state *state, const struct task_entry *entry,
                                 const struct task_record_task *record)
{
    if (entry->node == state->nowhere) {
        return &state->nowhere_zone;
    }
    bool fargate = record->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    struct task_group *group = fargate ? task_pool_need(state, task_is_spot(record))
                                       : task_group_need(state, record->cluster);
    if (record->has_subnet && (fargate || !MUTANT("zone-of-host"))) {
        const struct vpc_record_subnet *subnet =
            core_get(state->core, &vpc_subnet_kind, record->subnet);
        ASSERT(subnet != NULL);
        return task_zone_need(group, subnet->availability_zone);
    }
    const struct task_record_node *node = core_get(state->core, &task_node_kind, record->node);
    ASSERT(node != NULL);
    const struct task_record_membership *membership = task_membership(node, record);
    ASSERT(membership != NULL);
    return task_zone_need(group, membership->zones.items[0]);
}

// Put an entry into its node's list, which is ascending by key: nearly always at its end, because
// only a task that waited for its place can be older than what is there.
static void link_entry(struct task_entry *entry)
{
    struct task_node *node = entry->node;
    struct task_entry *before = node->last;
    while (before != NULL && before->key > entry->key) {
        before = before->previous;
    }
    entry->previous = before;
    entry->next = before == NULL ? node->first : before->next;
    if (before == NULL) {
        node->first = entry;
    } else {
        before->next = entry;
    }
    if (entry->next == NULL) {
        node->last = entry;
    } else {
        entry->next->previous = entry;
    }
    node->entry_count++;
}

static void unlink_entry(struct task_entry *entry)
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
}

static struct task_entry *entry_add(struct task_state *state, int64_t key,
                                    const struct task_record_task *record)
{
    struct task_entry *entry = ALLOC(struct task_entry);
    entry->key = key;
    bool is_id = id_hash(record->task_id, &entry->id_hash);
    ASSERT(is_id);
    entry->node = task_node(state, record->node);
    if (entry->node == NULL) {
        // A task that waited is older than its node, whose row comes later: see task_entries_join.
        entry->node = state->nowhere;
        state->unresolved_count++;
    }
    entry->zone = zone_of(state, entry, record);
    entry->cpu_units = record->cpu_units;
    entry->memory_mib = record->memory_mib;
    entry->eni = record->has_subnet;
    link_entry(entry);
    task_table_add(&state->by_key, entry);
    task_table_add(&state->by_id, entry);
    token_task(state, key, record, true);
    return entry;
}

static void entry_remove(struct task_state *state, struct task_entry *entry,
                         const struct task_record_task *record)
{
    unlink_entry(entry);
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

// A task that waited got its place: it holds room there.
static void entry_move(struct task_state *state, struct task_entry *entry, struct task_node *node,
                       const struct task_record_task *before, const struct task_record_task *after)
{
    ASSERT(entry->node == state->nowhere);
    bool holds = entry->holds;
    task_entry_wait(entry, false);
    hold(state, entry, before, false);
    unlink_entry(entry);
    entry->node = node;
    entry->zone = zone_of(state, entry, after);
    entry->eni = after->has_subnet;
    link_entry(entry);
    hold(state, entry, after, holds);
    task_node_tasks_told(state, node);
}

static void wait_as_stored(struct task_entry *entry, const struct task_record_task *record)
{
    task_entry_wait(entry, record->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING &&
                               entry->acked_status < (uint8_t)record->desired_status);
}

void task_entries_join(struct task_state *state, struct task_node *node)
{
    struct task_entry *next = NULL;
    for (struct task_entry *entry = state->unresolved_count == 0 ? NULL : state->nowhere->first;
         entry != NULL; entry = next) {
        next = entry->next;
        const struct task_record_task *record = core_get(state->core, &task_kind, entry->key);
        if (record->node == node->key) {
            entry_move(state, entry, node, record, record);
            wait_as_stored(entry, record);
            state->unresolved_count--;
        }
    }
}

static void list_waiting(struct task_state *state, int64_t key,
                         const struct task_record_task *record, bool add)
{
    if (record == NULL || !task_waits(record)) {
        return;
    }
    struct index_key at = {.size = 0};
    index_key_u64(&at, (uint64_t)record->cluster);
    change_index(state->unplaced_by_cluster, &at, key, add);
    struct task_group *group = task_group_need(state, record->cluster);
    group->waiting_count = add ? group->waiting_count + 1 : group->waiting_count - 1;
}

static void task_changed(struct task_state *state, int64_t key,
                         const struct task_record_task *before,
                         const struct task_record_task *after)
{
    struct task_entry *entry =
        before == NULL ? entry_add(state, key, after) : task_entry(state, key);
    ASSERT(entry != NULL);
    list_waiting(state, key, before, false);
    list_waiting(state, key, after, true);
    if (before != NULL && after != NULL && before->node != after->node) {
        struct task_node *node = task_node(state, after->node);
        ASSERT(node != NULL); // placement found it
        entry_move(state, entry, node, before, after);
    }
    bool relist =
        before == NULL || after == NULL || before->desired_status != after->desired_status;
    if (entry->node != state->nowhere && (relist || before->last_status != after->last_status)) {
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
    wait_as_stored(entry, after);
}

void task_state_changed(void *pointer, struct core *core, const struct core_kind *kind, int64_t key,
                        const void *before, const void *after)
{
    (void)core;
    if (kind == &task_kind) {
        task_changed(pointer, key, before, after);
    } else if (kind == &task_node_kind) {
        task_node_changed(pointer, key, before, after);
    } else if (kind == &task_scaling_kind && (before == NULL || after == NULL)) {
        const struct scaling_scaling *record = after == NULL ? before : after;
        struct index_key at = {.size = 0};
        index_key_u64(&at, (uint64_t)record->provider);
        index_key_u64(&at, (uint64_t)record->cluster);
        change_index(((struct task_state *)pointer)->scalings, &at, key, after != NULL);
    }
}

// ---- the whole ----------------------------------------------------------------------------

struct text task_text_own(struct text text)
{
    char *copy = alloc_zero(text.size + 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return (struct text){copy, text.size};
}

void task_text_free(struct text text)
{
    alloc_free((void *)(uintptr_t)text.data);
}

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
    state->unplaced_by_cluster = index_new();
    state->scalings = index_new();
    state->scaling_period_ms = SCALING_PERIOD_MS;
    state->waiting_ms = TASK_WAITING_MS;
    state->nowhere = ALLOC(struct task_node);
    state->nowhere_zone.group = &state->nowhere_group;
    identity_on_join(core, task_node_joined);
    vpc_on_group_changed(core, task_groups_changed);
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
        task_node_free(state->nodes[i]);
    }
    alloc_free(state->nodes);
    size_t cursor = 0;
    for (struct task_group *group = map_next(&state->groups, &cursor, NULL); group != NULL;
         group = map_next(&state->groups, &cursor, NULL)) {
        task_group_free(group);
    }
    map_deinit(&state->groups);
    map_deinit(&state->nodes_by_id);
    map_deinit(&state->nodes_by_instance);
    map_deinit(&state->definition_uses);
    map_deinit(&state->group_walks);
    index_free(state->by_cluster);
    index_free(state->by_family);
    index_free(state->by_starter);
    index_free(state->by_token);
    index_free(state->stopped);
    index_free(state->unplaced_by_cluster);
    index_free(state->scalings);
    task_node_free(state->nowhere);
    task_text_free(state->acs_url);
    task_text_free(state->tcs_url);
    diagnose_ring_free(state->unplaced);
    alloc_free(state);
}

void task_set_endpoints(struct core *core, struct text acs_url, struct text tcs_url)
{
    struct task_state *state = task_state(core);
    task_text_free(state->acs_url);
    task_text_free(state->tcs_url);
    state->acs_url = task_text_own(acs_url);
    state->tcs_url = task_text_own(tcs_url);
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
