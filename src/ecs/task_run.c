#include "ecs/task_run.h"

#include "ecs/diagnose.h"

#include "ecs/page.h"
#include "shape/cbor.h"
#include "vpc/vpc.h"

#include <string.h>

#define RUN_STARTED_BY_MAX 128
#define START_STARTED_BY_MAX 36

#define CAPACITY_UNAVAILABLE                                                                       \
    "Capacity is unavailable at this time. Please try again later or in a different availability " \
    "zone"

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- the same request again ---------------------------------------------------------------

static void hash_request(struct task_run *run)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(&ecs_run_task_request_shape, run->request, 1, NULL, &bytes);
    run->request_hash = (int64_t)(text_hash(buf_view(&bytes)) >> 1);
}

// Tasks that the same clientToken made. They decide while they are kept, for a day at most.
static int find_repeated(struct core_call *call, const struct task_state *state,
                         struct task_run *run, struct ecs_run_task_response *response,
                         bool *out_found)
{
    *out_found = false;
    if (text_empty(run->request->client_token) || MUTANT("forget-token")) {
        return 0;
    }
    hash_request(run);
    struct index_key prefix;
    prefix.size = 0;
    index_key_u64(&prefix, (uint64_t)run->cluster_record->realm);
    index_key_text(&prefix, run->request->client_token);
    struct index_cursor cursor;
    index_walk(state->by_token, &prefix, false, &cursor);
    struct text *arns = arena_array(call->arena, TASK_RUN_MAX, sizeof(*arns));
    struct ecs_task *tasks = arena_array(call->arena, TASK_RUN_MAX, sizeof(*tasks));
    size_t count = 0;
    bool same = true;
    for (int64_t key = index_step(&cursor); key != 0 && count < TASK_RUN_MAX;
         key = index_step(&cursor)) {
        const struct task_record_task *record = core_get(call->core, &task_kind, key);
        if (record->created_at + TASK_TOKEN_MS <= call->now_ms) {
            continue;
        }
        same = same && record->extra->request_hash == run->request_hash;
        arns[count] = task_arn(call, record);
        task_show(call, key, record, TASK_SHOW_TAGS, &tasks[count]);
        count++;
    }
    if (count == 0) {
        return 0;
    }
    if (!same) {
        call->fault_resource_ids = (struct text_list){arns, count};
        return core_fault(call, &ecs_error_conflict_exception,
                          "The clientToken was used before for a request with other parameters.");
    }
    response->tasks.items = tasks;
    response->tasks.count = count;
    response->failures.items = SHAPE_EMPTY;
    *out_found = true;
    return 0;
}

// ---- placing ------------------------------------------------------------------------------

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

// A task that found no place, and waits for one with what it was asked for.
static int64_t make_waiting(struct core_call *call, const struct task_run *run,
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

// ---- what was not placed ------------------------------------------------------------------

// What a host of the pool has not that the tasks need.
static struct text pool_lacks(const struct core *core, const struct task_run *run,
                              const struct task_node *node)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
    size_t index = task_instance_in(record, 0);
    return index == SIZE_MAX ? (struct text){0}
                             : task_run_lacks(run, &record->memberships.items[index], 0);
}

// Why no host of the pool took a task: how many for which reason, by zone.
static struct text explain_pool(struct core_call *call, const struct task_state *state,
                                const struct task_run *run)
{
    AUTO(buf_deinit) struct buf text = {.limit_bytes = 1024};
    for (size_t i = 0; i < run->subnet_count; i++) {
        const struct vpc_record_subnet *subnet =
            core_get(call->core, &vpc_subnet_kind, run->subnets[i]);
        const struct task_zone *zone =
            run->group == NULL ? NULL : task_group_zone(run->group, subnet->availability_zone);
        buf_format(&text, "%s%.*s:", i == 0 ? "" : "; ", TEXT_FMT(subnet->availability_zone));
        if (vpc_subnet_free(call->core, run->subnets[i]) == 0) {
            buf_format(&text, " subnet %.*s has no free address", TEXT_FMT(subnet->subnet_id));
            continue;
        }
        if (zone == NULL || zone->nodes.count == 0) {
            buf_string(&text, " no host");
            continue;
        }
        size_t counts[PLACE_ENI + 1] = {0};
        struct text lacks = {0};
        for (size_t j = 0; j < zone->nodes.count; j++) {
            const struct task_node *node = task_node(state, zone->nodes.nodes[j]);
            struct place_node place = task_zone_place(node, zone);
            enum place_reason reason = place_explain(&place, &run->need);
            counts[reason]++;
            if (reason == PLACE_ATTRIBUTE && text_empty(lacks)) {
                lacks = pool_lacks(call->core, run, node);
            }
        }
        for (size_t reason = PLACE_AGENT; reason <= PLACE_ENI; reason++) {
            if (counts[reason] > 0) {
                buf_format(&text, " %s on %zu of %zu", place_reason_name((enum place_reason)reason),
                           counts[reason], zone->nodes.count);
            }
        }
        if (!text_empty(lacks)) {
            buf_format(&text, " (%.*s)", TEXT_FMT(lacks));
        }
    }
    return arena_text(call->arena, buf_view(&text));
}

static void fail_pool(struct core_call *call, const struct task_state *state,
                      const struct task_run *run, size_t missing,
                      struct ecs_failure_list *out_failures)
{
    struct ecs_failure failure = {
        .reason = TEXT(CAPACITY_UNAVAILABLE),
        .detail = explain_pool(call, state, run),
    };
    out_failures->items = arena_array(call->arena, missing, sizeof(failure));
    out_failures->count = missing;
    for (size_t i = 0; i < missing; i++) {
        out_failures->items[i] = failure;
    }
}

// ---- RunTask ------------------------------------------------------------------------------

void task_run_group(const struct core_call *call, struct task_run *run)
{
    const struct task_state *state = task_state(call->core);
    bool fargate = run->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    run->group = fargate ? task_pool(state, run->spot) : task_group(state, run->cluster);
}

void task_run_provider(const struct core_call *call, struct task_run *run, size_t item)
{
    run->provider = run->strategy[item].capacity_provider;
    run->spot = text_is(run->provider, "FARGATE_SPOT");
    run->scaling_group = ecs_provider_group(call->core, run->cluster_record->realm, run->provider);
    task_run_group(call, run);
}

size_t task_run_place(struct core_call *call, const struct task_run *run,
                      struct task_spots *out_spots, int64_t *out_keys, struct ecs_task *out_tasks)
{
    bool special = task_placement_special(run);
    struct task_spots spots = {0};
    struct task_spot room = {0};
    if (special && run->group != NULL) {
        task_spots_find(call, run, true, &spots);
    }
    size_t placed = 0;
    while (placed < run->count && run->group != NULL) { // NULL: nothing ever joined there
        struct task_spot *spot = &room;
        if (special) {
            spot = task_spots_choose(call, run, &spots);
        } else if (!task_place_short(call->core, run, &room)) {
            spot = NULL;
        }
        if (spot == NULL) {
            break;
        }
        out_keys[placed] = task_run_make(call, run, spot, &out_tasks[placed]);
        if (special) {
            task_spots_taken(call, run, &spots, spot);
        }
        placed++;
    }
    for (; placed < run->count && task_run_may_wait(call, run); placed++) {
        out_keys[placed] = make_waiting(call, run, &out_tasks[placed]);
    }
    *out_spots = spots;
    return placed;
}

static void append_failures(struct core_call *call, const struct ecs_failure_list *more,
                            struct ecs_failure_list *failures)
{
    size_t count = failures->count + more->count;
    struct ecs_failure *items = arena_array(call->arena, count, sizeof(*items));
    if (failures->count > 0) {
        memcpy(items, failures->items, failures->count * sizeof(*items));
    }
    memcpy(items + failures->count, more->items, more->count * sizeof(*items));
    failures->items = items;
    failures->count = count;
}

const char *task_run_group_refusal(struct core_call *call, const struct task_run *run)
{
    if (text_empty(run->scaling_group)) {
        return NULL;
    }
    size_t registered = 0;
    size_t active = 0;
    struct task_spots spots = {0};
    if (run->group != NULL) {
        task_spots_find(call, run, true, &spots);
    }
    for (size_t i = 0; i < spots.count; i++) {
        registered += spots.spots[i].outside ? 0 : 1;
        active += spots.spots[i].outside || spots.spots[i].draining ? 0 : 1;
    }
    return active > 0 ? NULL : registered == 0 ? "EMPTY CAPACITY PROVIDER" : "NO ACTIVE INSTANCES";
}

// A group that has no instances, or none that is ACTIVE, is a reason of its own.
static bool fail_group(struct core_call *call, const struct task_run *run, size_t missing,
                       struct ecs_failure_list *out_failures)
{
    const char *reason = task_run_group_refusal(call, run);
    if (reason == NULL) {
        return false;
    }
    struct ecs_failure failure = {
        .reason = text_of(reason),
        .detail = arena_format(call->arena, "Capacity provider %.*s, Auto Scaling group %.*s.%s",
                               TEXT_FMT(run->provider), TEXT_FMT(run->scaling_group),
                               task_run_waits_in_vain(call, run)
                                   ? " As many tasks of the cluster as can be wait in PROVISIONING."
                                   : ""),
    };
    out_failures->items = arena_array(call->arena, missing, sizeof(failure));
    out_failures->count = missing;
    for (size_t i = 0; i < missing; i++) {
        out_failures->items[i] = failure;
    }
    return true;
}

// Run as many tasks as run->count says where its provider has room; the rest become failures.
static void run_share(struct core_call *call, const struct task_state *state, struct task_run *run,
                      struct ecs_run_task_response *response)
{
    int64_t keys[TASK_RUN_MAX];
    struct task_spots spots;
    size_t placed =
        task_run_place(call, run, &spots, keys, &response->tasks.items[response->tasks.count]);
    response->tasks.count += placed;
    task_run_send(call, keys, placed);
    if (placed == run->count) {
        return;
    }
    struct ecs_failure_list failures = {0};
    if (fail_group(call, run, run->count - placed, &failures)) {
        append_failures(call, &failures, &response->failures);
        return;
    }
    if (run->launch_type == ECS_LAUNCH_TYPE_FARGATE) {
        fail_pool(call, state, run, run->count - placed, &failures);
    } else {
        if (spots.spots == NULL) {
            task_spots_find(call, run, true, &spots);
        }
        task_spots_explain(call, run, &spots, &failures);
    }
    append_failures(call, &failures, &response->failures);
    const struct diagnose_attempt attempt = {TEXT("RunTask"), run->count, placed};
    diagnose_note(call, run, &attempt, &spots);
}

// Each provider of the strategy gets its share of the tasks.
static void run_shares(struct core_call *call, const struct task_state *state, struct task_run *run,
                       struct ecs_run_task_response *response)
{
    struct capacity_item items[CAPACITY_ITEMS_MAX];
    size_t shares[CAPACITY_ITEMS_MAX];
    size_t count = run->count;
    task_run_items(run, items);
    capacity_divide(items, run->strategy_count, count, shares);
    for (size_t i = 0; i < run->strategy_count; i++) {
        if (shares[i] > 0) {
            task_run_provider(call, run, i);
            run->count = shares[i];
            run_share(call, state, run, response);
        }
    }
}

int task_run_task(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    struct task_run run = {.request = input};
    struct ecs_run_task_response *response = output;
    int64_t count = run.request->has_count ? run.request->count : 1;
    if (count < 1 || count > TASK_RUN_MAX) {
        return refuse(call, "Count must be between 1 and 10.");
    }
    run.count = (size_t)count;
    int rc = ecs_cluster_resolve(call, run.request->cluster, &run.cluster);
    if (rc != 0) {
        return rc;
    }
    run.cluster_record = core_get(call->core, &ecs_cluster_kind, run.cluster);
    rc = task_run_check_names(call, run.request, RUN_STARTED_BY_MAX);
    if (rc != 0) {
        return rc;
    }
    bool repeated = false;
    rc = find_repeated(call, state, &run, response, &repeated);
    if (rc != 0 || repeated) {
        return rc;
    }
    rc = task_run_read(call, &run);
    if (rc != 0) {
        return rc;
    }
    bool fargate = run.launch_type == ECS_LAUNCH_TYPE_FARGATE;
    task_run_group(call, &run);
    if (!fargate && run.strategy_count == 0 &&
        (run.group == NULL || run.group->counts.registered_instances == 0)) {
        diagnose_note(call, &run, &(struct diagnose_attempt){TEXT("RunTask"), run.count, 0}, NULL);
        return refuse(call, "No Container Instances were found in your cluster.");
    }

    // Nothing is refused from here on.
    response->tasks.items = arena_array(call->arena, run.count, sizeof(*response->tasks.items));
    response->failures.items = SHAPE_EMPTY;
    if (run.strategy_count > 0) {
        run_shares(call, state, &run, response);
    } else {
        run_share(call, state, &run, response);
    }
    return 0;
}

// ---- StartTask ----------------------------------------------------------------------------

// Where on a named instance a task goes. @return a reason why it goes nowhere, or NULL
static const char *find_named(struct core_call *call, const struct task_run *run,
                              const struct task_spots *spots, const struct task_node *node,
                              struct task_spot **out_spot)
{
    for (size_t i = 0; i < spots->count; i++) {
        if (spots->spots[i].node == node) {
            *out_spot = &spots->spots[i];
            return task_spot_refusal(call->core, run, *out_spot);
        }
    }
    return "INACTIVE";
}

static void start_on(struct core_call *call, const struct task_run *run,
                     const struct task_spots *spots, struct text reference,
                     struct ecs_start_task_response *response, int64_t *keys)
{
    size_t index = 0;
    struct task_node *node = task_instance_find(call->core, run->cluster, reference, &index);
    struct ecs_failure *failure = &response->failures.items[response->failures.count];
    if (node == NULL) {
        *failure = task_instance_missing(call, run->cluster, reference);
        response->failures.count++;
        return;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    struct task_spot *spot = NULL;
    const char *reason = record->memberships.items[index].deregistered_at != 0
                             ? "INACTIVE"
                             : find_named(call, run, spots, node, &spot);
    if (reason != NULL) {
        *failure =
            spot != NULL
                ? task_spot_failure(call, run, spot, reason)
                : (struct ecs_failure){
                      .arn = task_instance_arn(call, record, &record->memberships.items[index]),
                      .reason = text_of(reason),
                  };
        response->failures.count++;
        return;
    }
    keys[response->tasks.count] =
        task_run_make(call, run, spot, &response->tasks.items[response->tasks.count]);
    response->tasks.count++;
}

int task_start_task(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct ecs_start_task_request *request = input;
    struct ecs_start_task_response *response = output;
    // Instances are named, so nothing of the request is about placement.
    const struct ecs_run_task_request common = {
        .cluster = request->cluster,
        .has_enable_ecs_managed_tags = request->has_enable_ecs_managed_tags,
        .enable_ecs_managed_tags = request->enable_ecs_managed_tags,
        .has_enable_execute_command = request->has_enable_execute_command,
        .enable_execute_command = request->enable_execute_command,
        .group = request->group,
        .launch_type = ECS_LAUNCH_TYPE_EC2,
        .network_configuration = request->network_configuration,
        .overrides = request->overrides,
        .propagate_tags = request->propagate_tags,
        .reference_id = request->reference_id,
        .started_by = request->started_by,
        .tags = request->tags,
        .task_definition = request->task_definition,
        .volume_configurations = request->volume_configurations,
    };
    struct task_run run = {.request = &common};
    size_t count = request->container_instances.count;
    int rc = ecs_batch_open(call, request->cluster, count, &run.cluster);
    if (rc != 0) {
        return rc;
    }
    run.cluster_record = core_get(call->core, &ecs_cluster_kind, run.cluster);
    rc = task_run_check_names(call, &common, START_STARTED_BY_MAX);
    if (rc == 0) {
        rc = task_run_read(call, &run);
    }
    if (rc != 0) {
        return rc;
    }
    run.group = task_group(state, run.cluster);

    // Nothing is refused from here on.
    int64_t keys[TASK_RUN_MAX];
    struct task_spots spots = {0};
    if (run.group != NULL) {
        task_spots_find(call, &run, false, &spots);
    }
    response->tasks.items = arena_array(call->arena, count, sizeof(*response->tasks.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        start_on(call, &run, &spots, request->container_instances.items[i], response, keys);
    }
    task_run_send(call, keys, response->tasks.count);
    if (response->failures.count > 0) {
        diagnose_note_named(call, &run, &spots, response);
    }
    return 0;
}
