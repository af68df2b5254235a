#include "ecs/task_internal.h"

#include "vpc/vpc.h"

/*
 * Invariants of nodes and tasks, recounted from the records alone and compared with what memory
 * says. The simulator and the tests ask after every input.
 */

// What the tasks of one node hold.
struct sums {
    int64_t cpu;
    int64_t memory;
    int32_t eni;
    int32_t tasks;
    size_t entries;
    size_t waiting;
};

static void check_ended(const struct core *core, int64_t key, const struct task_record_task *record,
                        struct buf *violations)
{
    bool stopped = record->last_status == TASK_RECORD_TASK_STATUS_STOPPED;
    if (stopped != (record->stopped_at != 0)) {
        buf_format(violations, "task %lld: stoppedAt and lastStatus disagree\n", (long long)key);
    }
    if (stopped && record->has_eni) {
        buf_format(violations, "task %lld is STOPPED and has an interface\n", (long long)key);
    }
    bool ending = record->last_status >= TASK_RECORD_TASK_STATUS_STOPPING;
    bool wanted = record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
    if (ending && !wanted) {
        buf_format(violations, "task %lld ends but is desired RUNNING\n", (long long)key);
    }
    if (wanted && record->stop_code == ECS_TASK_STOP_CODE_ABSENT) {
        buf_format(violations, "task %lld is to stop without a stopCode\n", (long long)key);
    }
    if (stopped && record->started_at > record->stopped_at) {
        buf_format(violations, "task %lld stopped before it started\n", (long long)key);
    }
    (void)core;
}

static void check_parts(const struct core *core, int64_t key, const struct task_record_task *record,
                        struct buf *violations)
{
    if (record->has_eni) {
        const struct vpc_record_eni *eni = core_get(core, &vpc_eni_kind, record->eni);
        if (eni == NULL || eni->owner != key || eni->subnet != record->subnet) {
            buf_format(violations, "task %lld: its interface is not its own\n", (long long)key);
        }
    }
    const struct ecs_record_definition *definition =
        core_get(core, &ecs_definition_kind, record->definition);
    if (definition == NULL ||
        definition->definition->container_definitions.count != record->containers.count) {
        buf_format(violations, "task %lld does not fit its definition\n", (long long)key);
    }
    if (core_get(core, &ecs_cluster_kind, record->cluster) == NULL) {
        buf_format(violations, "task %lld has no cluster\n", (long long)key);
    }
    if (record->version < 1) {
        buf_format(violations, "task %lld has no version\n", (long long)key);
    }
}

static void check_memory(const struct task_state *state, int64_t key,
                         const struct task_record_task *record, struct buf *violations)
{
    const struct task_entry *entry = task_entry(state, key);
    if (entry == NULL || task_entry_by_id(state, record->task_id) != entry ||
        entry->node->key != record->node) {
        buf_format(violations, "task %lld is not in memory as stored\n", (long long)key);
        return;
    }
    bool holds = record->last_status != TASK_RECORD_TASK_STATUS_STOPPED;
    if (entry->holds != holds) {
        buf_format(violations, "task %lld: what it holds is counted wrongly\n", (long long)key);
    }
    struct index_key at;
    task_list_key(&at, record->cluster, record->desired_status);
    struct index_cursor cursor;
    index_walk(state->by_cluster, &at, false, &cursor);
    index_walk_after(&cursor, &at, key - 1);
    if (index_step(&cursor) != key) {
        buf_format(violations, "task %lld is not listed\n", (long long)key);
    }
}

static struct sums sum_node(const struct core *core, const struct task_node *node,
                            struct buf *violations)
{
    struct sums sums = {0};
    int64_t previous = 0;
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *record = core_get(core, &task_kind, entry->key);
        sums.entries++;
        if (record == NULL || entry->key <= previous || entry->node != node) {
            buf_format(violations, "node %lld: its list of tasks is broken\n",
                       (long long)node->key);
            break;
        }
        previous = entry->key;
        if (record->last_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            sums.cpu += record->cpu_units;
            sums.memory += record->memory_mib;
            sums.eni += record->has_subnet ? 1 : 0;
            sums.tasks++;
        }
    }
    for (const struct task_entry *entry = node->waiting_first; entry != NULL;
         entry = entry->waiting_next) {
        sums.waiting++;
        if (!entry->waiting || entry->node != node || sums.waiting > sums.entries) {
            buf_format(violations, "node %lld: its list of waiting tasks is broken\n",
                       (long long)node->key);
            break;
        }
    }
    return sums;
}

// Ports of the host: as many as its tasks fix, each of them there, and none twice.
static void check_ports(const struct core *core, const struct task_node *node,
                        struct buf *violations)
{
    size_t count = 0;
    bool wrong = false;
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *record = core_get(core, &task_kind, entry->key);
        if (record == NULL || record->last_status == TASK_RECORD_TASK_STATUS_STOPPED ||
            record->has_subnet) {
            continue;
        }
        uint32_t ports[TASK_PORTS_MAX];
        size_t own = task_definition_ports(task_definition(core, record->definition), ports,
                                           ARRAY_LEN(ports));
        count += own;
        for (size_t i = 0; i < own; i++) {
            wrong = wrong || !task_node_has_port(node, ports[i]);
        }
    }
    for (size_t i = 1; i < node->port_count; i++) {
        wrong = wrong || node->ports[i - 1] >= node->ports[i];
    }
    if (wrong || count != node->port_count) {
        buf_format(violations, "node %lld: ports of the host are counted wrongly\n",
                   (long long)node->key);
    }
}

static void check_node(const struct core *core, const struct task_node *node,
                       struct buf *violations)
{
    struct sums sums = sum_node(core, node, violations);
    task_gpus_check(core, node, violations);
    if (sums.cpu != node->cpu_used || sums.memory != node->memory_used ||
        sums.eni != node->eni_used || sums.tasks != node->task_count ||
        sums.entries != node->entry_count) {
        buf_format(violations, "node %lld: what its tasks hold is counted wrongly\n",
                   (long long)node->key);
    }
    const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
    if (record == NULL) {
        buf_format(violations, "node %lld has no record\n", (long long)node->key);
        return;
    }
    check_ports(core, node, violations);
    if (!record->shrunk && (sums.cpu > record->cpu_units || sums.memory > record->memory_mib ||
                            sums.eni > record->eni_slots)) {
        buf_format(violations, "node %lld is over-committed\n", (long long)node->key);
    }
}

static void check_groups(const struct task_state *state, struct buf *violations)
{
    size_t cursor = 0;
    for (const struct task_group *group = map_next(&state->groups, &cursor, NULL); group != NULL;
         group = map_next(&state->groups, &cursor, NULL)) {
        for (size_t i = 0; i < group->zone_count; i++) {
            const struct task_zone *zone = group->zones[i];
            if (!place_set_valid(&zone->nodes)) {
                buf_format(violations, "zone %.*s: placement's summaries are wrong\n",
                           TEXT_FMT(zone->name));
            }
            for (size_t j = 0; j < zone->nodes.count; j++) {
                const struct task_node *node = task_node(state, zone->nodes.nodes[j]);
                struct place_node want = {0};
                if (node != NULL) {
                    want = task_zone_place(node, zone);
                }
                int32_t cpu = want.usable ? want.cpu_units_free : PLACE_UNUSABLE;
                if (node == NULL || zone->nodes.cpu[j] != cpu ||
                    zone->nodes.memory[j] != want.memory_mib_free ||
                    zone->nodes.tasks[j] != want.task_count ||
                    zone->nodes.eni[j] != want.eni_free ||
                    zone->nodes.capabilities[j] != want.capabilities) {
                    buf_format(violations, "zone %.*s: placement has an old view of a node\n",
                               TEXT_FMT(zone->name));
                }
            }
        }
    }
}

void task_check(void *pointer, struct core *core, struct buf *violations)
{
    const struct task_state *state = pointer;
    size_t stopped = 0;
    size_t with_eni = 0;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *record = core_get(core, &task_kind, key);
        check_ended(core, key, record, violations);
        check_parts(core, key, record, violations);
        check_memory(state, key, record, violations);
        stopped += record->stopped_at != 0;
        with_eni += record->has_eni;
    }
    const struct sums nowhere = sum_node(core, state->nowhere, violations);
    if ((size_t)nowhere.tasks != index_count(state->unplaced_by_cluster)) {
        buf_string(violations, "task: what waits for a place is listed wrongly\n");
    }
    for (size_t i = 0; i < state->node_count; i++) {
        check_node(core, state->nodes[i], violations);
    }
    check_groups(state, violations);
    size_t count = core_count(core, &task_kind);
    if (state->by_key.count != count || state->by_id.count != count ||
        index_count(state->by_cluster) != count || index_count(state->by_family) != count ||
        index_count(state->stopped) != stopped) {
        buf_string(violations, "task: indexes and records differ in number\n");
    }
    if (state->node_count != core_count(core, &task_node_kind)) {
        buf_string(violations, "task: nodes in memory and records differ in number\n");
    }
    if (with_eni != core_count(core, &vpc_eni_kind)) {
        buf_string(violations, "task: an interface belongs to no task\n");
    }
}
