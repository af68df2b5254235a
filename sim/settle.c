#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * What must hold at rest: what is desired is so, and nothing is left of what is over.
 */

static bool node_settled(struct sim *sim, struct node *node, char *why, size_t size_bytes)
{
    if (node->gone) {
        return true;
    }
    bool connected = node->logic != NULL && node->acs != NULL && node->acs->client_open &&
                     node->acs->attached && !node->acs->cut;
    if (!connected) {
        snprintf(why, size_bytes, "%s is not connected", node->name);
        return false;
    }
    size_t live = 0;
    const struct task_node *known =
        task_node_of(task_state(sim->server.core), text_of(node->node_id));
    for (const struct task_entry *entry = known == NULL ? NULL : known->first; entry != NULL;
         entry = entry->next) {
        live += entry->holds ? 1 : 0;
        if (entry->waiting) {
            snprintf(why, size_bytes, "%s is not known to have a task's desired status",
                     node->name);
            return false;
        }
    }
    size_t there = 0;
    for (const struct host_task *task = node->tasks; task != NULL; task = task->next) {
        there++;
    }
    if (agent_logic_count(node->logic) != live || there != live ||
        sim_journal_count(node->journal) != live) {
        snprintf(why, size_bytes,
                 "%s should have %zu tasks; its agent has %zu, its host %zu, its journal %zu",
                 node->name, live, agent_logic_count(node->logic), there,
                 sim_journal_count(node->journal));
        return false;
    }
    return true;
}

static bool task_settled(const struct task_record_task *record, char *why, size_t size_bytes)
{
    bool stop = record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
    enum task_record_task_status want =
        stop ? TASK_RECORD_TASK_STATUS_STOPPED : TASK_RECORD_TASK_STATUS_RUNNING;
    if (record->last_status != want) {
        snprintf(why, size_bytes, "task %.*s is desired %s and %.*s", TEXT_FMT(record->task_id),
                 stop ? "STOPPED" : "RUNNING", TEXT_FMT(task_status_name(record->last_status)));
        return false;
    }
    return true;
}

static bool used(const struct core *core, int64_t definition)
{
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->definition == definition &&
            task->last_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            return true;
        }
    }
    return false;
}

// Forced deregistration ends tasks; a definition whose deletion was asked for goes with the last.
static bool ended_settled(struct sim *sim, char *why, size_t size_bytes)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
        const struct task_record_membership *membership =
            task->launch_type == ECS_LAUNCH_TYPE_FARGATE ? NULL : task_membership(node, task);
        if (membership != NULL && membership->deregistered_at != 0 &&
            task->last_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            snprintf(why, size_bytes, "task %.*s is left on a deregistered instance",
                     TEXT_FMT(task->task_id));
            return false;
        }
    }
    for (int64_t key = core_next(core, &ecs_definition_kind, 0); key != 0;
         key = core_next(core, &ecs_definition_kind, key)) {
        const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, key);
        if (text_is(record->status, "DELETE_IN_PROGRESS") && !used(core, key)) {
            snprintf(why, size_bytes, "revision %d of a family is still being deleted",
                     record->revision);
            return false;
        }
    }
    return true;
}

bool check_settled(struct sim *sim, char *why, size_t size_bytes)
{
    const struct core *core = sim->server.core;
    if (core == NULL) {
        snprintf(why, size_bytes, "the server is down");
        return false;
    }
    for (size_t i = 0; i < sim->node_count; i++) {
        struct node *node = &sim->nodes[i];
        if (node->joined && !node_settled(sim, node, why, size_bytes)) {
            return false;
        }
        if (node->joined && node->gone && !node->removed) {
            snprintf(why, size_bytes, "%s is not removed yet", node->name);
            return false;
        }
    }
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        bool restless = task->has_deployment && services_restless(core, task->definition);
        if (!restless && !task_settled(task, why, size_bytes)) {
            return false;
        }
    }
    return ended_settled(sim, why, size_bytes) && spot_settled(sim, why, size_bytes) &&
           standing_settled(sim, why, size_bytes) && guard_settled(sim, why, size_bytes);
}

// Why a task is STOPPED must be true.
static void check_reason(struct sim *sim, const struct fact *fact,
                         const struct task_record_task *record)
{
    struct text reason = record->extra == NULL ? (struct text){0} : record->extra->stopped_reason;
    bool exited = false;
    bool started = false;
    for (size_t i = 0; i < record->containers.count; i++) {
        exited = exited || fact->containers[i].exited;
        started = started || fact->containers[i].started;
    }
    if (text_empty(reason)) {
        world_fail(&sim->world, "task %s stopped without a reason", fact->id);
    }
    if (text_is(reason, "Essential container in task exited") && !exited) {
        world_fail(&sim->world, "task %s stopped as a container exited, and none did", fact->id);
    }
    if (record->started_at != 0 && !started) {
        world_fail(&sim->world, "task %s has a start, and nothing of it ever ran", fact->id);
    }
}

static void check_tokens(struct sim *sim)
{
    const struct core *core = sim->server.core;
    for (size_t i = 0; i < sim->facts.token_count; i++) {
        const struct token_fact *token = &sim->facts.tokens[i];
        int32_t count = 0;
        for (int64_t key = core_next(core, &task_kind, 0); key != 0;
             key = core_next(core, &task_kind, key)) {
            const struct task_record_task *record = core_get(core, &task_kind, key);
            count += record->extra != NULL && text_is(record->extra->client_token, token->token);
        }
        if (count > token->spec.count) {
            world_fail(&sim->world, "the token %s made %d tasks in place of %d", token->token,
                       count, token->spec.count);
        }
    }
}

void check_end(struct sim *sim)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *record = core_get(core, &task_kind, key);
        if (record->last_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            world_fail(&sim->world, "task %.*s is not STOPPED at the end",
                       TEXT_FMT(record->task_id));
            continue;
        }
        check_reason(sim, fact_of(sim, record->task_id), record);
    }
    check_tokens(sim);
    ledger_check(sim, "at the end");
    for (int64_t key = core_next(core, &ecs_definition_kind, 0); key != 0;
         key = core_next(core, &ecs_definition_kind, key)) {
        const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, key);
        sim->churn.counts[ACT_DEFINITION_GONE] += text_is(record->status, "DELETED");
    }
}
