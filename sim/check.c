#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"
#include "shape/cbor.h"

#include <stdio.h>
#include <string.h>

/*
 * What must hold after every step: what was shown or acknowledged is never lost, statuses only go
 * forward, what is reported is true, and hosts hold no more than they can.
 */

#define LOST_MS 5000    // a lease and some ticks
#define COMING_MS 17000 // the first lease after a start, and some ticks
#define SILENT_MS 1000  // below half a lease, after which a node counts as silent
#define RETURN_MS 1000
#define LOST_REASON "The host of the task lost contact"
#define FORCED_REASON "Container instance deregistration forced by user"
#define CHECK_ALL_MS 200
#define CHECK_ALL_HOURS_MS 15000
#define CHECK_QUIET_HOURS_MS 60000 // when no record changed
#define HOSTS_MS 200               // hosts are looked at so often, when nothing changed
#define HOLD_MS 61000              // mass silence is held against the server that long

// ---- what became durable ------------------------------------------------------------------

static void note_cluster(struct sim *sim, struct fact *fact, int64_t key)
{
    const struct ecs_record_cluster *cluster = core_get(sim->server.core, &ecs_cluster_kind, key);
    snprintf(fact->cluster, sizeof(fact->cluster), "%.*s", TEXT_FMT(cluster->name));
    fact->stranger = text_is(ecs_scope(sim->server.core, cluster->realm).account, SIM_STRANGER);
}

static void check_row(struct sim *sim, const struct core_row *row)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct task_record_task record = {0};
    struct shape_error error = {0};
    if (cbor_decode(&task_record_task_shape, row->bytes, &arena, &record, NULL, NULL, &error) !=
        0) {
        world_fail(&sim->world, "a task's row cannot be read: %s %s", error.path, error.text);
        return;
    }
    struct fact *fact = fact_of(sim, record.task_id);
    if (fact->durable &&
        (record.version < fact->durable_version || (int)record.last_status < fact->durable_status ||
         (int)record.desired_status < fact->durable_desired)) {
        world_fail(&sim->world, "task %s goes back: version %d to %d, status %d to %d", fact->id,
                   fact->durable_version, record.version, fact->durable_status,
                   (int)record.last_status);
    }
    if (!fact->durable) {
        note_cluster(sim, fact, record.cluster);
    }
    fact->key = row->key;
    fact->durable = true;
    fact->durable_version = record.version;
    fact->durable_status = (int)record.last_status;
    fact->durable_desired = (int)record.desired_status;
    fact_changed(sim, fact);
}

static int64_t retention_ms(const struct sim *sim)
{
    return sim->server.retention_ms == 0 ? TASK_RETENTION_MS : sim->server.retention_ms;
}

// A task is let go of when it has been STOPPED for long enough.
static void check_gone(struct sim *sim, int64_t key)
{
    for (size_t i = 0; i < sim->facts.count; i++) {
        struct fact *fact = sim->facts.items[i];
        if (fact->key != key) {
            continue;
        }
        if (fact->stopped_at == 0 || sim->server.input_ms < fact->stopped_at + retention_ms(sim)) {
            world_fail(&sim->world, "task %s is let go of before its time", fact->id);
        }
        fact->durable = false;
        fact->reaped = true;
        sim->churn.counts[ACT_TASK_REAPED]++;
    }
}

void check_durable(struct sim *sim, const struct core_batch *batch)
{
    for (size_t i = 0; i < batch->row_count; i++) {
        const struct core_row *row = &batch->rows[i];
        if (row->kind == task_kind.number && row->bytes.data != NULL) {
            check_row(sim, row);
        } else if (row->kind == task_kind.number) {
            check_gone(sim, row->key);
        }
    }
    groups_durable(sim, batch);
}

static const struct task_record_task *record_of(struct sim *sim, const struct fact *fact)
{
    const struct core *core = sim->server.core;
    if (fact->key != 0) {
        return core_get(core, &task_kind, fact->key); // a key that was durable never means another
    }
    const struct task_entry *entry = task_entry_by_id(task_state(core), text_of(fact->id));
    return entry == NULL ? NULL : core_get(core, &task_kind, entry->key);
}

void check_loaded(struct sim *sim)
{
    for (size_t i = 0; i < sim->facts.count; i++) {
        const struct fact *fact = sim->facts.items[i];
        const struct task_record_task *record = record_of(sim, fact);
        if (fact->durable != (record != NULL) ||
            (record != NULL && record->version != fact->durable_version)) {
            world_fail(&sim->world, "after a restart task %s is not what was durable", fact->id);
        }
    }
}

// ---- what was shown -------------------------------------------------------------------------

static void show(struct sim *sim, struct text id, int32_t version, int status, bool stop)
{
    struct fact *fact = fact_of(sim, id);
    fact->shown = true;
    fact->shown_version = MAX(fact->shown_version, version);
    fact->shown_status = MAX(fact->shown_status, status);
    fact->shown_stop = fact->shown_stop || stop;
    fact_changed(sim, fact);
}

static void show_task(struct sim *sim, const struct ecs_task *task)
{
    int status = 0;
    for (int i = TASK_RECORD_TASK_STATUS_PROVISIONING; i <= TASK_RECORD_TASK_STATUS_STOPPED; i++) {
        if (text_equal(task->last_status, task_status_name((enum task_record_task_status)i))) {
            status = i;
        }
    }
    show(sim, sim_task_id(task->task_arn), (int32_t)task->version, status,
         text_is(task->desired_status, "STOPPED"));
}

void check_effect(struct sim *sim, const struct core_effect *effect)
{
    if (effect->shape == &ecs_task_shape) {
        show_task(sim, effect->message);
    } else if (effect->shape == &session_payload_message_shape) {
        const struct session_payload_message *payload = effect->message;
        for (size_t i = 0; i < payload->tasks.count; i++) {
            const struct session_task_spec *spec = &payload->tasks.items[i];
            show(sim, sim_task_id(spec->task_arn), 0, 0, text_is(spec->desired_status, "STOPPED"));
        }
    } else if (effect->shape == &session_task_manifest_message_shape) {
        const struct session_task_manifest_message *manifest = effect->message;
        for (size_t i = 0; i < manifest->tasks.count; i++) {
            const struct session_manifest_task *task = &manifest->tasks.items[i];
            show(sim, sim_task_id(task->task_arn), 0, 0, text_is(task->desired_status, "STOPPED"));
        }
    }
}

static void check_token(struct sim *sim, const struct call *call)
{
    const struct ecs_run_task_response *response = call->response;
    struct token_fact *token = NULL;
    for (size_t i = 0; i < sim->facts.token_count && call->number > 0; i++) {
        if (call->number == (int64_t)i + 1) {
            token = &sim->facts.tokens[i];
        }
    }
    if (token == NULL || response->tasks.count == 0) {
        return;
    }
    for (size_t i = 0; i < token->task_count; i++) {
        if (fact_of(sim, text_of(token->ids[i]))->reaped) {
            token->task_count = 0; // the token means nothing any more
        }
    }
    bool same = token->task_count == 0 || token->task_count == response->tasks.count;
    for (size_t i = 0; i < response->tasks.count && same; i++) {
        struct text id = sim_task_id(response->tasks.items[i].task_arn);
        same = token->task_count == 0 || text_is(id, token->ids[i]);
    }
    if (!same) {
        world_fail(&sim->world, "the token %s runs its tasks twice", token->token);
    }
    token->task_count = response->tasks.count;
    for (size_t i = 0; i < response->tasks.count; i++) {
        snprintf(token->ids[i], SIM_ID_CHARS, "%.*s",
                 TEXT_FMT(sim_task_id(response->tasks.items[i].task_arn)));
    }
}

void check_answer(struct sim *sim, const struct call *call)
{
    if (call->operation == &ecs_operations[ECS_OP_RUN_TASK]) {
        const struct ecs_run_task_response *response = call->response;
        for (size_t i = 0; i < response->tasks.count; i++) {
            show_task(sim, &response->tasks.items[i]);
            fact_of(sim, sim_task_id(response->tasks.items[i].task_arn))->run_acknowledged = true;
        }
        check_token(sim, call);
    } else if (call->operation == &ecs_operations[ECS_OP_STOP_TASK]) {
        const struct ecs_stop_task_response *response = call->response;
        show_task(sim, response->task);
        fact_of(sim, sim_task_id(response->task->task_arn))->stop_acknowledged = true;
    } else if (call->operation == &ecs_operations[ECS_OP_DESCRIBE_TASKS]) {
        const struct ecs_describe_tasks_response *response = call->response;
        for (size_t i = 0; i < response->tasks.count; i++) {
            show_task(sim, &response->tasks.items[i]);
        }
    }
}

// ---- the engine's view against what happened --------------------------------------------------

static void check_truth(struct sim *sim, const struct fact *fact,
                        const struct task_record_task *record)
{
    for (size_t i = 0; i < record->containers.count && i < SIM_CONTAINER_MAX; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        const struct container_fact *truth = &fact->containers[i];
        if (container->has_exit_code &&
            !(truth->exited && truth->exit_code == container->exit_code)) {
            world_fail(&sim->world,
                       "task %s: container %zu is said to have ended with %d, which "
                       "is not so",
                       fact->id, i, container->exit_code);
        }
        if (container->status == TASK_RECORD_TASK_STATUS_RUNNING && !truth->started) {
            world_fail(&sim->world, "task %s: container %zu is said to run and never did", fact->id,
                       i);
        }
    }
    if (record->last_status == TASK_RECORD_TASK_STATUS_RUNNING && fact->launch_count == 0) {
        world_fail(&sim->world, "task %s is said to run and was never launched", fact->id);
    }
}

static void check_fact(struct sim *sim, struct fact *fact)
{
    const struct task_record_task *record = record_of(sim, fact);
    if (record == NULL) {
        // Not in memory any more, and soon not in the store either: see check_gone.
        bool let_go =
            fact->reaped ||
            (fact->stopped_at != 0 && sim->server.input_ms >= fact->stopped_at + retention_ms(sim));
        if (!let_go && (fact->run_acknowledged || fact->shown)) {
            world_fail(&sim->world, "task %s was %s and is lost", fact->id,
                       fact->run_acknowledged ? "acknowledged" : "shown");
        }
        return;
    }
    bool stop = record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
    if (record->version < fact->shown_version || (int)record->last_status < fact->shown_status) {
        world_fail(&sim->world, "task %s was shown in version %d, status %d, and is in %d, %d",
                   fact->id, fact->shown_version, fact->shown_status, record->version,
                   (int)record->last_status);
    }
    if (!stop && (fact->stop_acknowledged || fact->shown_stop)) {
        world_fail(&sim->world, "task %s was to stop and that is lost", fact->id);
    }
    const struct task_record_node *node = core_get(sim->server.core, &task_node_kind, record->node);
    fact->written_off = fact->written_off || node == NULL || node->removed_at != 0;
    // Of a deregistered instance that was not in contact, too: its host may still run it.
    for (size_t i = 0; i < record->containers.count; i++) {
        fact->written_off =
            fact->written_off || text_is(record->containers.items[i].reason, FORCED_REASON);
    }
    fact->stopped_at = record->stopped_at;
    check_truth(sim, fact, record);
}

// A node that is silent is known to be lost, and gets no more tasks, after its lease; or, when
// several fell silent at once, after the time for which that is held against the server.
static void check_leases(struct sim *sim)
{
    int64_t now_ms = sim->world.now_ms;
    int silent = 0;
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->nodes[i];
        silent += node->joined && !node->removed && now_ms - node->beat_ms > SILENT_MS ? 1 : 0;
    }
    if (silent >= 2) {
        sim->hold_ms = now_ms + HOLD_MS;
    }
    int64_t since_ms = MAX(sim->server.steady_ms, sim->hold_ms);
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->nodes[i];
        int64_t silent_ms = now_ms - MAX(node->heard_ms, since_ms);
        bool coming = node->beat_ms < sim->server.started_ms;
        if (silent_ms <= (coming ? COMING_MS : LOST_MS)) {
            continue;
        }
        const struct task_node *known =
            task_node_of(task_state(sim->server.core), text_of(node->node_id));
        if (known != NULL && known->seen && !known->lost) {
            world_fail(&sim->world, "%s is silent for %lld ms and not lost", node->name,
                       (long long)silent_ms);
        }
    }
}

// A definition disappears when no task refers to it any more.
static void check_definitions(struct sim *sim)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        const struct ecs_record_definition *definition =
            core_get(core, &ecs_definition_kind, task->definition);
        if (task->last_status != TASK_RECORD_TASK_STATUS_STOPPED &&
            text_is(definition->status, "DELETED")) {
            world_fail(&sim->world, "the definition of task %.*s is gone", TEXT_FMT(task->task_id));
        }
    }
}

// All of it.
static void check_all(struct sim *sim)
{
    AUTO(buf_deinit) struct buf violations = {0};
    core_check(sim->server.core, &violations);
    if (violations.size > 0) {
        struct text rest = buf_view(&violations);
        world_fail(&sim->world, "the engine: %.*s", TEXT_FMT(text_cut(&rest, '\n')));
    }
    for (size_t i = 0; i < sim->facts.count; i++) {
        if (!sim->facts.items[i]->reaped) {
            check_fact(sim, sim->facts.items[i]);
        }
    }
    check_definitions(sim);
    spot_check(sim);
    watch_check(sim);
    groups_check(sim);
}

// What changed is looked at after each step; everything, as soon as a record changed, but in runs
// of hours only now and then: what is wrong there stays wrong.
static void check_engine(struct sim *sim)
{
    struct facts *facts = &sim->facts;
    uint64_t version = core_version(sim->server.core);
    bool quiet = sim->services.hours && version == sim->looked_version &&
                 sim->world.now_ms < sim->look_ms + CHECK_QUIET_HOURS_MS;
    bool due = sim->world.now_ms >= sim->look_ms && !quiet;
    if (due || (version != sim->looked_version && !sim->services.hours)) {
        check_all(sim);
        sim->looked_version = version;
        sim->look_ms =
            sim->world.now_ms + (sim->services.hours ? CHECK_ALL_HOURS_MS : CHECK_ALL_MS);
    }
    for (size_t i = 0; i < facts->changed_count; i++) {
        struct fact *fact = facts->changed[i];
        fact->listed = false;
        if (!fact->reaped) {
            check_fact(sim, fact);
        }
    }
    facts->changed_count = 0;
    check_leases(sim);
}

// ---- hosts ----------------------------------------------------------------------------------

// What is left of such a task may be there although the engine gave its address to another.
static bool exempt(struct sim *sim, const struct host_task *task)
{
    const struct fact *fact = task->fact != NULL ? task->fact : fact_of(sim, text_of(task->id));
    return fact->end_exempt || fact->written_off;
}

static void check_address(struct sim *sim, const struct node *node, const struct host_task *task)
{
    for (size_t i = node->index; i < sim->node_count; i++) {
        const struct host_task *other = i == node->index ? task->next : sim->nodes[i].tasks;
        for (; other != NULL; other = other->next) {
            if (other->interface && text_equal(other->address, task->address) &&
                text_equal(other->vpc, task->vpc) && !exempt(sim, other) && !exempt(sim, task)) {
                world_fail(&sim->world, "tasks %s and %s both have the address %.*s", task->id,
                           other->id, TEXT_FMT(task->address));
            }
        }
    }
}

// Nothing runs of a task that the engine calls STOPPED, and nothing is left, as its address and
// its room are given to others.
static void check_stopped(struct sim *sim, const struct node *node, const struct host_task *task)
{
    const struct fact *fact = task->fact;
    if (fact == NULL || sim->server.core == NULL || fact->written_off) {
        return;
    }
    const struct task_record_task *record = record_of(sim, fact);
    bool stopped = record != NULL && record->last_status >= TASK_RECORD_TASK_STATUS_DEPROVISIONING;
    if (stopped && task->supervisor != NULL && supervisor_runs(task->supervisor)) {
        world_fail(&sim->world, "task %s is STOPPED and runs on %s", task->id, node->name);
    }
    if (stopped && task->interface && !fact->end_exempt) {
        world_fail(&sim->world, "task %s is STOPPED and still has its address on %s", task->id,
                   node->name);
    }
}

// A copy of a service's task that another stands in for, on a host that is back: it is soon told to
// stop, unless something may hold up what is sent or written.
static void check_superseded(struct sim *sim, const struct node *node, struct host_task *task)
{
    const struct fact *fact = task->fact;
    const struct task_record_task *record =
        fact == NULL || sim->server.core == NULL ? NULL : record_of(sim, fact);
    bool back = node->logic != NULL && node->acs != NULL && node->acs->client_open &&
                node->acs->attached && !node->acs->cut && !node->partitioned &&
                sim->world.now_ms > node->full_ms;
    bool superseded = record != NULL && record->has_deployment && record->extra != NULL &&
                      text_starts(record->extra->stopped_reason, TEXT(LOST_REASON)) &&
                      record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
    bool runs = task->supervisor != NULL && task->supervisor->order != NULL;
    if (!back || !superseded || !runs || sim->faults.network_permille > 0 ||
        sim->faults.host_permille > 0) {
        task->superseded_ms = MIN(task->superseded_ms, INT64_C(0));
    } else if (task->supervisor->stop_told) {
        sim->churn.counts[ACT_SERVICE_RETURN] += task->superseded_ms >= 0;
        task->superseded_ms = -1; // counted
    } else if (task->superseded_ms <= 0) {
        task->superseded_ms = sim->world.now_ms;
    } else if (sim->world.now_ms - task->superseded_ms > RETURN_MS) {
        world_fail(&sim->world, "%s is back for %lld ms, and its superseded task %s goes on",
                   node->name, (long long)(sim->world.now_ms - task->superseded_ms), task->id);
    }
}

static void check_ports(struct sim *sim, const struct node *node, const struct host_task *task)
{
    for (const struct host_task *other = task->next; other != NULL; other = other->next) {
        bool runs = other->supervisor != NULL && supervisor_runs(other->supervisor);
        for (size_t i = 0; runs && i < task->port_count; i++) {
            for (size_t j = 0; j < other->port_count; j++) {
                if (task->ports[i] == other->ports[j] && !exempt(sim, task) &&
                    !exempt(sim, other)) {
                    world_fail(&sim->world, "tasks %s and %s both have port %u of %s", task->id,
                               other->id, task->ports[i] / 2, node->name);
                }
            }
        }
    }
}

static void check_hosts(struct sim *sim)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->nodes[i];
        int64_t cpu_units = 0;
        int64_t memory_mib = 0;
        for (struct host_task *task = node->tasks; task != NULL; task = task->next) {
            task->fact = task->fact != NULL ? task->fact : fact_find(sim, text_of(task->id));
            check_superseded(sim, node, task);
            guard_check(sim, node, task);
            if (task->supervisor != NULL && supervisor_runs(task->supervisor) &&
                (task->fact == NULL || !task->fact->written_off)) {
                cpu_units += task->cpu_units;
                memory_mib += task->memory_mib;
                check_ports(sim, node, task);
            }
            if (task->interface) {
                check_address(sim, node, task);
            }
            check_stopped(sim, node, task);
        }
        if (cpu_units > node->cpu_units || memory_mib > node->memory_mib) {
            world_fail(&sim->world, "%s runs more than it can: %lld of %d units, %lld of %d MiB",
                       node->name, (long long)cpu_units, node->cpu_units, (long long)memory_mib,
                       node->memory_mib);
        }
    }
}

void check_step(struct sim *sim)
{
    if (sim->server.touched && sim->server.core != NULL) {
        check_engine(sim);
        standing_check(sim);
    }
    uint64_t version = sim->server.core == NULL ? 0 : core_version(sim->server.core);
    if (sim->hosts_touched || version != sim->hosts_version || sim->world.now_ms >= sim->hosts_ms) {
        check_hosts(sim);
        sim->hosts_version = version;
        sim->hosts_ms = sim->world.now_ms + HOSTS_MS;
    }
    sim->server.touched = false;
    sim->hosts_touched = false;
}
