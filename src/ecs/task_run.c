#include "ecs/task_run.h"

#include "ecs/diagnose.h"

#include "ecs/page.h"
#include "shape/cbor.h"
#include "vpc/vpc.h"

#include <string.h>

#define RUN_STARTED_BY_MAX 128

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

// ---- what was not placed ------------------------------------------------------------------

// What a host of the pool has not that the tasks need.
static struct text pool_lacks(const struct core *core, const struct task_run *run,
                              const struct task_node *node)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
    size_t index = task_instance_in(record, 0);
    return index == SIZE_MAX ? (struct text){0} : task_run_lacks(run, record, index, 0);
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
        out_keys[placed] = task_run_make_waiting(call, run, &out_tasks[placed]);
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
