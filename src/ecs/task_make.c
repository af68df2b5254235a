#include "ecs/task_run.h"

#include "shape/cbor.h"
#include "vpc/vpc.h"

#include <string.h>

/*
 * A new task: its record, with or without a place, and how its node and the caller hear of it.
 */

static void fill_extra(const struct task_run *run, struct task_record_task_extra *extra)
{
    const struct ecs_run_task_request *request = run->request;
    const struct ecs_network_configuration *network = request->network_configuration;
    extra->platform_version = run->platform_version;
    extra->capacity_provider = run->provider;
    extra->client_token =
        text_empty(request->client_token) ? (struct text){0} : request->client_token;
    extra->has_request_hash = extra->client_token.data != NULL;
    extra->request_hash = run->request_hash;
    extra->tags.items = run->tag_count > 0 ? run->tags : NULL;
    extra->tags.count = run->tag_count;
    extra->overrides = request->overrides;
    extra->has_enable_execute_command = request->enable_execute_command;
    extra->enable_execute_command = request->enable_execute_command;
    extra->has_assign_public_ip = run->awsvpc && network->awsvpc_configuration->assign_public_ip ==
                                                     ECS_ASSIGN_PUBLIC_IP_ENABLED;
    extra->assign_public_ip = extra->has_assign_public_ip;
    extra->group = text_empty(request->group) ? (struct text){0} : request->group;
    extra->reference_id = request->reference_id;
}

static bool extra_needed(const struct task_record_task_extra *extra)
{
    static const struct task_record_task_extra none;
    return !shape_equal(&task_record_task_extra_shape, extra, &none);
}

static void fill_containers(struct core_call *call, const struct task_run *run,
                            struct task_record_task *record)
{
    size_t count = run->definition->container_definitions.count;
    record->containers.count = count;
    record->containers.items = arena_array(call->arena, count, sizeof(*record->containers.items));
    struct ecs_managed_agent *agent = NULL;
    if (run->request->enable_execute_command) {
        agent = ARENA_NEW(call->arena, struct ecs_managed_agent);
        agent->name = ECS_MANAGED_AGENT_NAME_EXECUTE_COMMAND_AGENT;
        agent->last_status = TEXT("PENDING");
    }
    for (size_t i = 0; i < count; i++) {
        record->containers.items[i].status = TASK_RECORD_TASK_STATUS_PENDING;
        record->containers.items[i].managed_agents.items = agent;
        record->containers.items[i].managed_agents.count = agent == NULL ? 0 : 1;
    }
}

static struct text fresh_id(struct core_call *call, const struct task_state *state)
{
    struct text id = core_random_hex(call, 32);
    while (task_entry_by_id(state, id) != NULL) {
        id = core_random_hex(call, 32);
    }
    return id;
}

// Show a new task in the response and as an event, which differs in one word: all else is made once
// for both.
static void tell_made(struct core_call *call, int64_t key, struct ecs_task *out_task)
{
    struct arena *own = core_effect_begin(call);
    struct ecs_task *event = ARENA_NEW(call->arena, struct ecs_task);
    task_show(call, key, core_get(call->core, &task_kind, key), TASK_SHOW_TAGS, event);
    *out_task = *event;
    if (event->attachments.count > 0) {
        event->attachments.items = ARENA_NEW(call->arena, struct ecs_attachment);
        event->attachments.items[0] = out_task->attachments.items[0];
        event->attachments.items[0].type = TEXT("eni");
    }
    core_effect_lend(call, CORE_EFFECT_EVENT, event->task_arn, "ECS Task State Change",
                     &ecs_task_shape, event);
    core_effect_end(call, own);
}

int64_t task_run_placed_at(const struct core_call *call, const struct task_run *run,
                           const struct task_spot *spot)
{
    if (run->launch_type == ECS_LAUNCH_TYPE_FARGATE) {
        return call->now_ms;
    }
    const struct task_record_node *node = core_get(call->core, &task_node_kind, spot->node->key);
    size_t index = task_instance_in(node, run->cluster);
    ASSERT(index != SIZE_MAX); // placement found it there
    return MAX(call->now_ms, node->memberships.items[index].registered_at);
}

void task_run_settle(struct core_call *call, const struct task_run *run,
                     const struct task_spot *spot, int64_t key, struct task_record_task *record)
{
    record->has_node = true;
    record->node = spot->node->key;
    if (run->gpus > 0) {
        task_gpus_assign(call, spot->node, &spot->record->memberships.items[spot->index],
                         run->definition, run->request->overrides, record);
    }
    if (run->awsvpc) {
        record->has_subnet = true;
        record->subnet = spot->subnet;
        record->has_eni = true;
        record->eni = vpc_eni_create(call, spot->subnet, &run->groups, key);
        record->eni_status = TASK_RECORD_ENI_STATUS_PRECREATED;
        ASSERT(record->eni != 0); // task_run_subnet saw a free address
    }
}

// A task without a place.
static struct task_record_task new_record(struct core_call *call, const struct task_run *run)
{
    struct task_record_task record = {
        .task_id = fresh_id(call, task_state(call->core)),
        .has_cluster = true,
        .cluster = run->cluster,
        .has_definition = true,
        .definition = run->definition_key,
        .launch_type = run->launch_type,
        .last_status =
            run->awsvpc ? TASK_RECORD_TASK_STATUS_PROVISIONING : TASK_RECORD_TASK_STATUS_PENDING,
        .desired_status = TASK_RECORD_TASK_STATUS_RUNNING,
        .has_version = true,
        .version = 1,
        .has_cpu_units = true,
        .cpu_units = run->sizes.cpu_units,
        .has_memory_mib = true,
        .memory_mib = run->sizes.memory_mib,
        .created_at = call->now_ms,
        .started_by =
            text_empty(run->request->started_by) ? (struct text){0} : run->request->started_by,
        .has_deployment = run->deployment != 0,
        .deployment = run->deployment,
    };
    fill_containers(call, run, &record);
    return record;
}

int64_t task_run_make(struct core_call *call, const struct task_run *run,
                      const struct task_spot *spot, struct ecs_task *out_task)
{
    int64_t key = core_new_key(call);
    struct task_record_task record = new_record(call, run);
    record.created_at = task_run_placed_at(call, run, spot);
    struct task_record_task_extra extra = {0};
    fill_extra(run, &extra);
    record.extra = extra_needed(&extra) ? &extra : NULL;
    task_run_settle(call, run, spot, key, &record);
    core_put(call, &task_kind, key, &record);
    tell_made(call, key, out_task);
    return key;
}

// ---- waiting for a place ------------------------------------------------------------------

static bool would_wait(const struct core_call *call, const struct task_run *run)
{
    return !text_empty(run->scaling_group) &&
           ecs_provider_scales(call->core, run->cluster_record->realm, run->provider);
}

static bool too_many_wait(const struct core_call *call, const struct task_run *run)
{
    const struct task_group *group = task_group(task_state(call->core), run->cluster);
    return group != NULL && group->waiting_count >= TASK_WAITING_MAX;
}

bool task_run_waits_in_vain(const struct core_call *call, const struct task_run *run)
{
    return would_wait(call, run) && too_many_wait(call, run);
}

bool task_run_may_wait(const struct core_call *call, const struct task_run *run)
{
    return text_empty(run->zone) && !core_rehearsing(call->core) && would_wait(call, run) &&
           !too_many_wait(call, run);
}

int64_t task_run_make_waiting(struct core_call *call, const struct task_run *run,
                              struct ecs_task *out_task)
{
    const struct ecs_run_task_request *request = run->request;
    struct task_record_placement placement = {
        .constraints = {request->placement_constraints.items, request->placement_constraints.count},
        .strategy = {request->placement_strategy.items, request->placement_strategy.count},
        .network = request->network_configuration,
    };
    int64_t key = core_new_key(call);
    struct task_record_task record = new_record(call, run);
    record.last_status = TASK_RECORD_TASK_STATUS_PROVISIONING;
    struct task_record_task_extra extra = {0};
    fill_extra(run, &extra);
    extra.placement = &placement;
    record.extra = &extra;
    core_put(call, &task_kind, key, &record);
    tell_made(call, key, out_task);
    core_work(call, &task_managers[TASK_MANAGER_WAITING], run->cluster);
    return key;
}

void task_run_send(struct core_call *call, const int64_t *keys, size_t count)
{
    const struct task_state *state = task_state(call->core);
    bool sent[TASK_RUN_MAX] = {false};
    for (size_t i = 0; i < count; i++) {
        if (sent[i]) {
            continue;
        }
        struct task_entry *entries[TASK_RUN_MAX];
        entries[0] = task_entry(state, keys[i]);
        size_t entry_count = 1;
        for (size_t j = i + 1; j < count; j++) {
            struct task_entry *entry = task_entry(state, keys[j]);
            if (entry->node == entries[0]->node) {
                entries[entry_count] = entry;
                entry_count++;
                sent[j] = true;
            }
        }
        task_send(call, entries[0]->node, entries, entry_count);
    }
}
