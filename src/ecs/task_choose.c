#include "acs/acs.h"
#include "ecs/spread.h"
#include "ecs/task_run.h"

#include "vpc/vpc.h"

#include <string.h>

/*
 * Which of the instances that were looked at takes a task, and why the others do not.
 */

#define FAILURES_MAX 100 // one for each instance that was looked at, but never thousands

#define MEMBER_OF "MemberOf placement constraint unsatisfied."
#define DISTINCT "DistinctInstance placement constraint unsatisfied."
#define DRAINING "INACTIVE"
#define ATTRIBUTE "ATTRIBUTE"

// ---- room ---------------------------------------------------------------------------------

static bool has_attributes(const struct task_run *run, const struct task_spot *spot)
{
    return text_empty(task_spot_lacks(run, spot, 0));
}

// A host may stand for several zones: any of them with a free address will do.
int64_t task_spot_subnet(const struct core *core, const struct task_run *run,
                         const struct task_spot *spot)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    for (size_t i = 0; i < membership->zones.count; i++) {
        int64_t subnet = task_run_subnet(core, run, membership->zones.items[i]);
        if (subnet != 0) {
            return subnet;
        }
    }
    return 0;
}

bool task_spot_port_taken(const struct task_spot *spot, uint32_t port)
{
    if (task_node_has_port(spot->node, port) && !MUTANT("share-ports")) {
        return true;
    }
    const char *kind = port % 2 != 0 ? "PORTS_UDP" : "PORTS";
    for (size_t i = 0; i < spot->record->resources.count; i++) {
        const struct ecs_resource *resource = &spot->record->resources.items[i];
        for (size_t j = 0; text_is(resource->name, kind) && j < resource->string_set_value.count;
             j++) {
            int64_t reserved = 0;
            if (text_to_i64(resource->string_set_value.items[j], &reserved) == 0 &&
                reserved == port / 2) {
                return true;
            }
        }
    }
    return false;
}

static bool any_port_taken(const struct task_run *run, const struct task_spot *spot)
{
    for (size_t i = 0; i < run->port_count; i++) {
        if (task_spot_port_taken(spot, run->ports[i])) {
            return true;
        }
    }
    return false;
}

// GPUs that an instance registered and no task of the host has.
int64_t task_spot_gpus(const struct core *core, const struct task_spot *spot)
{
    struct text ids[TASK_GPUS_MAX];
    return (int64_t)task_gpus(core, spot->node, &spot->record->memberships.items[spot->index], true,
                              ids);
}

// Whether a subnet is in a zone of the spot, so that only a free address is missing.
static bool any_subnet_near(const struct core *core, const struct task_run *run,
                            const struct task_spot *spot)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    for (size_t i = 0; i < run->subnet_count; i++) {
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, run->subnets[i]);
        for (size_t j = 0; j < membership->zones.count; j++) {
            if (text_equal(subnet->availability_zone, membership->zones.items[j])) {
                return true;
            }
        }
    }
    return false;
}

static bool drains(const struct task_spot *spot)
{
    return spot->draining && !MUTANT("place-on-draining");
}

static bool taken_by_group(const struct task_run *run, const struct task_spot *spot)
{
    return run->distinct && spot->group_tasks > 0 && !MUTANT("forget-distinct");
}

const char *task_spot_refusal(const struct core *core, const struct task_run *run,
                              struct task_spot *spot)
{
    struct place_node place = task_node_place(spot->node);
    place.capabilities = run->need.capabilities; // has_attributes looks at them
    if (!place.usable) {
        return place_reason_name(PLACE_AGENT);
    }
    if (drains(spot)) {
        return DRAINING;
    }
    if (!has_attributes(run, spot)) {
        return ATTRIBUTE;
    }
    if (!spot->meant || spot->outside) {
        return MEMBER_OF;
    }
    const char *reason = place_reason_name(place_explain(&place, &run->need));
    if (reason != NULL) {
        return reason;
    }
    if (any_port_taken(run, spot)) {
        return "RESOURCE:PORTS";
    }
    if (run->gpus > 0 && task_spot_gpus(core, spot) < run->gpus) {
        return "RESOURCE:GPU";
    }
    spot->subnet = run->awsvpc ? task_spot_subnet(core, run, spot) : 0;
    if (!run->awsvpc || spot->subnet != 0) {
        return NULL;
    }
    return any_subnet_near(core, run, spot) ? place_reason_name(PLACE_ENI) : "LOCATION";
}

// The same, with what only placement looks at.
const char *task_spot_placed_refusal(const struct core *core, const struct task_run *run,
                                     struct task_spot *spot)
{
    const char *reason = task_spot_refusal(core, run, spot);
    if (reason != NULL) {
        return reason;
    }
    if (taken_by_group(run, spot)) {
        return DISTINCT;
    }
    return spot->meant_now ? NULL : MEMBER_OF;
}

// ---- choosing -----------------------------------------------------------------------------

// What a strategy wants to be small.
static int64_t score(const struct ecs_placement_strategy *strategy, size_t number,
                     const struct task_spots *spots, const struct task_spot *spot)
{
    if (strategy->type == ECS_PLACEMENT_STRATEGY_TYPE_SPREAD) {
        const int32_t *totals = spots->totals[number];
        return totals == NULL ? spot->group_tasks : totals[spot->values[number]];
    }
    // The fields are cpu and memory, in letters of either case.
    bool cpu = strategy->field.data[0] == 'c' || strategy->field.data[0] == 'C';
    return cpu ? spot->room.cpu_units_free : spot->room.memory_mib_free;
}

// Compare by the strategies, each of which decides only between equals of those before it; what
// comes behind random has nothing left to decide. @return below 0 when a is better
static int compare(const struct task_run *run, const struct task_spots *spots,
                   const struct task_spot *a, const struct task_spot *b)
{
    const struct ecs_placement_strategy_list *strategies = &run->request->placement_strategy;
    for (size_t i = 0; i < strategies->count; i++) {
        if (strategies->items[i].type == ECS_PLACEMENT_STRATEGY_TYPE_RANDOM) {
            return 0;
        }
        int64_t left = score(&strategies->items[i], i, spots, a);
        int64_t right = score(&strategies->items[i], i, spots, b);
        if (left != right) {
            return left < right ? -1 : 1;
        }
    }
    // What no strategy decides: of a service, zones and nodes with few of its tasks.
    if (run->spread != NULL) {
        int32_t left = task_spread_zone(run->spread, a->zone);
        int32_t right = task_spread_zone(run->spread, b->zone);
        if (left != right) {
            return left < right ? -1 : 1;
        }
        if (a->group_tasks != b->group_tasks) {
            return a->group_tasks < b->group_tasks ? -1 : 1;
        }
    }
    // Then zones with few tasks, nodes with few tasks, and the lowest key, in whose order the spots
    // are.
    if (a->zone->task_count != b->zone->task_count) {
        return a->zone->task_count < b->zone->task_count ? -1 : 1;
    }
    return a->room.task_count < b->room.task_count   ? -1
           : a->room.task_count > b->room.task_count ? 1
                                                     : 0;
}

// What of task_spot_placed_refusal is known without looking anywhere else: nearly all spots that
// refuse a task do so here, and the others are asked only when they are better than the best.
static bool may_take(const struct task_run *run, const struct task_spot *spot)
{
    uint32_t needed = run->need.capabilities & ~CAPABILITY_OTHER;
    struct place_node place = spot->room;
    place.capabilities = run->need.capabilities;
    return !spot->outside && spot->meant && spot->meant_now && !drains(spot) &&
           !taken_by_group(run, spot) && (needed & ~spot->capabilities) == 0 &&
           place_explain(&place, &run->need) == PLACE_FITS;
}

struct task_spot *task_spots_choose(struct core_call *call, const struct task_run *run,
                                    struct task_spots *spots)
{
    struct task_spot *best = NULL;
    size_t tie_count = 0;
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        if (!may_take(run, spot)) {
            continue;
        }
        int order = best == NULL ? -1 : compare(run, spots, spot, best);
        if (order > 0 || (order == 0 && spots->ties == NULL) ||
            task_spot_placed_refusal(call->core, run, spot) != NULL) {
            continue;
        }
        if (order < 0) {
            best = spot;
            tie_count = 0;
        }
        if (spots->ties != NULL) {
            spots->ties[tie_count] = (uint32_t)i;
            tie_count++;
        }
    }
    return tie_count == 0 ? best : &spots->spots[spots->ties[core_random(call) % tie_count]];
}

void task_spots_taken(struct core_call *call, const struct task_run *run, struct task_spots *spots,
                      struct task_spot *spot)
{
    spot->room = task_node_place(spot->node);
    spot->group_tasks++;
    for (size_t i = 0; i < run->request->placement_strategy.count; i++) {
        if (spots->totals[i] != NULL && !MUTANT("spread-once")) {
            spots->totals[i][spot->values[i]]++;
        }
    }
    for (size_t i = 0; i < run->constraint_count; i++) {
        if (task_constraint_changes(&run->constraints[i])) {
            spot->meant_now =
                spot->meant_now && task_spot_meant(call->core, spot, &run->constraints[i]);
        }
    }
}

// ---- explaining ---------------------------------------------------------------------------

struct ecs_failure task_spot_failure(struct core_call *call, const struct task_run *run,
                                     const struct task_spot *spot, const char *reason)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    struct text detail = {0};
    struct text lacks = task_run_lacks(run, spot->record, spot->index, 0);
    if (text_is(lacks, TASK_BERTH_AGENT)) {
        detail = arena_format(call->arena,
                              "The container instance has Amazon's container agent, which does "
                              "not do %s here.",
                              acs_unsupported(run->definition));
    } else if (strcmp(reason, DRAINING) == 0) {
        detail = TEXT("The container instance is DRAINING.");
    } else if (strcmp(reason, ATTRIBUTE) == 0 && !text_empty(lacks)) {
        detail = arena_format(call->arena, "The container instance has no attribute %.*s.",
                              TEXT_FMT(lacks));
    }
    return (struct ecs_failure){
        .arn = task_instance_arn(call, spot->record, membership),
        .reason = text_of(reason),
        .detail = detail,
    };
}

void task_spots_explain(struct core_call *call, const struct task_run *run,
                        struct task_spots *spots, struct ecs_failure_list *out_failures)
{
    size_t count = MIN(spots->count, (size_t)FAILURES_MAX);
    out_failures->items = arena_array(call->arena, count, sizeof(*out_failures->items));
    out_failures->count = 0;
    for (size_t i = 0; i < count; i++) {
        const char *reason = task_spot_placed_refusal(call->core, run, &spots->spots[i]);
        if (reason != NULL && !spots->spots[i].outside) {
            out_failures->items[out_failures->count] =
                task_spot_failure(call, run, &spots->spots[i], reason);
            out_failures->count++;
        }
    }
}
