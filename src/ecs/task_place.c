#include "ecs/task_run.h"

#include "vpc/vpc.h"

#include <string.h>

#define FAILURES_MAX 100 // one for each instance that was looked at, but never thousands

#define MEMBER_OF "MemberOf placement constraint unsatisfied."
#define DISTINCT "DistinctInstance placement constraint unsatisfied."
#define DRAINING "INACTIVE"
#define ATTRIBUTE "ATTRIBUTE"

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- reading ------------------------------------------------------------------------------

static int add_member_of(struct core_call *call, struct task_run *run, struct text expression)
{
    int rc = task_constraint_parse(call, expression, &run->constraints[run->constraint_count]);
    run->expressions[run->constraint_count] = expression;
    run->constraint_count += rc == 0 ? 1 : 0;
    return rc;
}

static int read_constraints(struct core_call *call, struct task_run *run)
{
    const struct ecs_placement_constraint_list *asked = &run->request->placement_constraints;
    const struct ecs_task_definition_placement_constraint_list *defined =
        &run->definition->placement_constraints;
    if (asked->count + defined->count > TASK_CONSTRAINTS_MAX) {
        return refuse(call, "A task can have at most 10 placement constraints, those of its task "
                            "definition included.");
    }
    for (size_t i = 0; i < defined->count; i++) {
        int rc = add_member_of(call, run, defined->items[i].expression);
        if (rc != 0) {
            return rc;
        }
    }
    for (size_t i = 0; i < asked->count; i++) {
        const struct ecs_placement_constraint *constraint = &asked->items[i];
        bool distinct = constraint->type == ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE;
        if (!distinct && constraint->type != ECS_PLACEMENT_CONSTRAINT_TYPE_MEMBER_OF) {
            return refuse(call, "Placement constraint type should be one of [distinctInstance, "
                                "memberOf].");
        }
        if (distinct && !text_empty(constraint->expression)) {
            return refuse(call, "A distinctInstance placement constraint has no expression.");
        }
        if (!distinct && text_empty(constraint->expression)) {
            return refuse(call,
                          "The expression of a memberOf placement constraint cannot be empty.");
        }
        run->distinct = run->distinct || distinct;
        int rc = distinct ? 0 : add_member_of(call, run, constraint->expression);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static bool spread_field(struct text field)
{
    return text_is(field, "instanceId") || text_is(field, "host") ||
           (text_starts(field, TEXT("attribute:")) && field.size > strlen("attribute:"));
}

static int check_strategies(struct core_call *call, const struct task_run *run)
{
    const struct ecs_placement_strategy_list *strategies = &run->request->placement_strategy;
    if (strategies->count > TASK_STRATEGIES_MAX) {
        return refuse(call, "A task can have at most 5 placement strategies.");
    }
    for (size_t i = 0; i < strategies->count; i++) {
        struct text field = strategies->items[i].field;
        switch (strategies->items[i].type) {
        case ECS_PLACEMENT_STRATEGY_TYPE_RANDOM:
            if (!text_empty(field)) {
                return refuse(call, "A random placement strategy has no field.");
            }
            break;
        case ECS_PLACEMENT_STRATEGY_TYPE_SPREAD:
            if (!spread_field(field)) {
                return refuse(call, "The field of a spread placement strategy should be "
                                    "instanceId, host or attribute:name.");
            }
            break;
        case ECS_PLACEMENT_STRATEGY_TYPE_BINPACK:
            if (!text_equal_nocase(field, TEXT("cpu")) &&
                !text_equal_nocase(field, TEXT("memory"))) {
                return refuse(call, "The field of a binpack placement strategy should be one of "
                                    "[cpu, memory].");
            }
            break;
        case ECS_PLACEMENT_STRATEGY_TYPE_ABSENT:
        case ECS_PLACEMENT_STRATEGY_TYPE_UNRECOGNIZED:
            return refuse(call, "Placement strategy type should be one of [random, spread, "
                                "binpack].");
        }
    }
    return 0;
}

int task_placement_read(struct core_call *call, struct task_run *run)
{
    if (run->launch_type == ECS_LAUNCH_TYPE_FARGATE) {
        if (run->request->placement_constraints.count > 0) {
            return refuse(call, "Placement constraints are not supported with FARGATE launch "
                                "type.");
        }
        if (run->request->placement_strategy.count > 0) {
            return refuse(call, "Placement strategies are not supported with FARGATE launch "
                                "type.");
        }
        return 0;
    }
    int rc = read_constraints(call, run);
    if (rc == 0) {
        rc = check_strategies(call, run);
    }
    run->port_count = task_definition_ports(run->definition, run->ports, TASK_PORTS_MAX + 1);
    if (rc == 0 && run->port_count > TASK_PORTS_MAX) {
        return refuse(call, "A task can fix at most 100 ports of its host.");
    }
    run->gpus = task_gpus_wanted(run->definition, run->request->overrides);
    return rc;
}

bool task_placement_special(const struct task_run *run)
{
    return run->launch_type != ECS_LAUNCH_TYPE_FARGATE &&
           (run->constraint_count > 0 || run->distinct || run->port_count > 0 || run->gpus > 0 ||
            run->request->placement_strategy.count > 0 ||
            (run->need.capabilities & CAPABILITY_OTHER) != 0);
}

// ---- the short way ------------------------------------------------------------------------

// The subnet of a zone with the most free addresses, the first among equals; 0 when none has any.
static int64_t best_subnet(const struct core *core, const struct task_run *run, struct text zone)
{
    int64_t best = 0;
    uint32_t most = 0;
    for (size_t i = 0; i < run->subnet_count; i++) {
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, run->subnets[i]);
        uint32_t free_count = vpc_subnet_free(core, run->subnets[i]);
        if (text_equal(subnet->availability_zone, zone) && free_count > most) {
            best = run->subnets[i];
            most = free_count;
        }
    }
    return best;
}

// Zones in the order of their tasks, so that tasks spread over them; each is tried until one has
// room. A zone's name breaks ties, because a group keeps its zones in that order.
bool task_place_short(const struct core *core, const struct task_run *run,
                      struct task_spot *out_spot)
{
    size_t zone_count = run->group == NULL || run->spot ? 0 : run->group->zone_count;
    int64_t below = -1;
    for (size_t tried = 0; tried < zone_count;) {
        const struct task_zone *next = NULL;
        for (size_t i = 0; i < zone_count; i++) {
            const struct task_zone *zone = run->group->zones[i];
            if (zone->task_count > below && (next == NULL || zone->task_count < next->task_count)) {
                next = zone;
            }
        }
        if (next == NULL) {
            return false;
        }
        below = next->task_count;
        for (size_t i = 0; i < zone_count; i++) {
            const struct task_zone *zone = run->group->zones[i];
            if (zone->task_count != below) {
                continue;
            }
            tried++;
            int64_t subnet = run->awsvpc ? best_subnet(core, run, zone->name) : 0;
            int64_t node = 0;
            if ((!run->awsvpc || subnet != 0) &&
                place_spread(&zone->nodes, &run->need, &node, NULL) == 0) {
                *out_spot = (struct task_spot){
                    .node = task_node(task_state(core), node), .zone = zone, .subnet = subnet};
                return true;
            }
        }
    }
    return false;
}

// ---- looking at instances -----------------------------------------------------------------

struct text task_run_lacks(const struct task_run *run,
                           const struct task_record_membership *membership, size_t place)
{
    const struct ecs_attribute *attributes = membership->attributes.items;
    size_t count = membership->attributes.count;
    for (size_t i = 0; i < run->definition->requires_attributes.count; i++) {
        const struct ecs_attribute *wanted = &run->definition->requires_attributes.items[i];
        if (capability_has(attributes, count, wanted)) {
            continue;
        }
        if (place == 0) {
            return wanted->name;
        }
        place--;
    }
    const struct ecs_attribute execute = {.name = TEXT(CAPABILITY_EXECUTE_COMMAND)};
    bool lacks =
        run->request->enable_execute_command && !capability_has(attributes, count, &execute);
    return lacks && place == 0 ? execute.name : (struct text){0};
}

struct text task_spot_lacks(const struct task_run *run, const struct task_spot *spot, size_t place)
{
    return task_run_lacks(run, &spot->record->memberships.items[spot->index], place);
}

static bool has_attributes(const struct task_run *run, const struct task_spot *spot)
{
    return text_empty(task_spot_lacks(run, spot, 0));
}

bool task_constraint_changes(const struct constraint *constraint)
{
    if (MUTANT("look-once")) {
        return false;
    }
    return constraint_asks(constraint, CONSTRAINT_TASK_GROUP) ||
           constraint_asks(constraint, CONSTRAINT_RUNNING_TASKS);
}

bool task_spot_meant(const struct core *core, const struct task_spot *spot,
                     const struct constraint *constraint)
{
    struct task_instance_view view = {core, spot->node, spot->record, spot->index, NULL, ""};
    return task_instance_meant(constraint, &view);
}

static struct text run_group(struct core_call *call, const struct task_run *run)
{
    if (!text_empty(run->request->group)) {
        return run->request->group;
    }
    const struct text parts[] = {TEXT("family:"),
                                 ecs_definition_family(call->core, run->definition_key)};
    return task_join(call->arena, parts, ARRAY_LEN(parts));
}

// Both are compared by family where neither is named, which is the rule and needs no text.
static bool in_group(struct core_call *call, const struct task_run *run,
                     const struct task_record_task *task)
{
    bool named = task->extra != NULL && task->extra->group.data != NULL;
    if (named || !text_empty(run->request->group)) {
        return text_equal(task_group_name(call, task), run_group(call, run));
    }
    const struct ecs_record_definition *definition =
        core_get(call->core, &ecs_definition_kind, task->definition);
    return definition->family == run->definition_record->family;
}

static int32_t count_group(struct core_call *call, const struct task_run *run,
                           const struct task_spot *spot)
{
    int32_t count = 0;
    for (const struct task_entry *entry = spot->node->first; entry != NULL; entry = entry->next) {
        if (!entry->holds) {
            continue;
        }
        const struct task_record_task *task = core_get(call->core, &task_kind, entry->key);
        count += task->cluster == run->cluster && task->launch_type != ECS_LAUNCH_TYPE_FARGATE &&
                 task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING &&
                 in_group(call, run, task);
    }
    return count;
}

// Number the values of a spread's field in the order of the instances, and add up their tasks.
static void number_values(struct core_call *call, const struct task_run *run, size_t strategy,
                          struct task_spots *spots)
{
    struct text field = run->request->placement_strategy.items[strategy].field;
    bool attribute = text_starts(field, TEXT("attribute:"));
    struct text name = text_slice(field, strlen("attribute:"), field.size);
    AUTO(map_deinit) struct map numbers = {0};
    uintptr_t count = 0;
    spots->totals[strategy] = arena_array(call->arena, spots->count + 1, sizeof(int32_t));
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        uintptr_t number = i;
        if (attribute) {
            // Instances without the attribute, or with an empty one, are a place of their own.
            const struct task_record_membership *membership =
                &spot->record->memberships.items[spot->index];
            struct text value = TEXT("");
            for (size_t j = 0; j < membership->attributes.count; j++) {
                if (text_equal(membership->attributes.items[j].name, name) &&
                    membership->attributes.items[j].value.data != NULL) {
                    value = membership->attributes.items[j].value;
                }
            }
            number = (uintptr_t)map_get(&numbers, value);
            if (number == 0) {
                count++;
                number = count;
                map_put(&numbers, value, (void *)number);
            }
        }
        spot->values[strategy] = (uint32_t)number;
        spots->totals[strategy][number] += spot->group_tasks;
    }
}

static const char *lasting_refusal(const struct core *core, const struct task_run *run,
                                   const struct task_spot *spot)
{
    if (!has_attributes(run, spot)) {
        return ATTRIBUTE;
    }
    for (size_t i = 0; i < run->constraint_count; i++) {
        if (!task_constraint_changes(&run->constraints[i]) &&
            !task_spot_meant(core, spot, &run->constraints[i])) {
            return MEMBER_OF;
        }
    }
    return NULL;
}

void task_spots_find(struct core_call *call, const struct task_run *run, bool placed,
                     struct task_spots *out_spots)
{
    const struct task_state *state = task_state(call->core);
    const struct ecs_placement_strategy_list *strategies = &run->request->placement_strategy;
    struct task_spots found = {
        .spots = arena_array(call->arena, state->node_count, sizeof(*found.spots)),
    };
    bool grouped = placed && (run->distinct || strategies->count > 0);
    for (size_t i = 0; i < state->node_count; i++) {
        struct task_node *node = state->nodes[i];
        const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
        size_t index = node->removed ? SIZE_MAX : task_instance_in(record, run->group->cluster);
        if (index == SIZE_MAX) {
            continue;
        }
        struct task_spot *spot = &found.spots[found.count];
        *spot = (struct task_spot){.node = node, .record = record, .index = index};
        spot->zone = task_group_zone(run->group, record->memberships.items[index].zones.items[0]);
        spot->refusal = placed                      ? lasting_refusal(call->core, run, spot)
                        : has_attributes(run, spot) ? NULL
                                                    : ATTRIBUTE;
        spot->group_tasks = grouped ? count_group(call, run, spot) : 0;
        found.count++;
    }
    for (size_t i = 0; placed && i < strategies->count; i++) {
        if (strategies->items[i].type == ECS_PLACEMENT_STRATEGY_TYPE_SPREAD) {
            number_values(call, run, i, &found);
        }
    }
    *out_spots = found;
}

// ---- room ---------------------------------------------------------------------------------

// A host may stand for several zones: any of them with a free address will do.
int64_t task_spot_subnet(const struct core *core, const struct task_run *run,
                         const struct task_spot *spot)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    for (size_t i = 0; i < membership->zones.count; i++) {
        int64_t subnet = best_subnet(core, run, membership->zones.items[i]);
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

const char *task_spot_refusal(const struct core *core, const struct task_run *run,
                              struct task_spot *spot)
{
    struct place_node place = task_node_place(spot->node);
    place.capabilities =
        run->need.capabilities; // the attributes were looked at: see has_attributes
    if (!place.usable) {
        return place_reason_name(PLACE_AGENT);
    }
    bool draining = spot->record->memberships.items[spot->index].draining;
    if (draining && !MUTANT("place-on-draining")) {
        return DRAINING;
    }
    if (spot->refusal != NULL) {
        return spot->refusal;
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
    if (run->distinct && spot->group_tasks > 0 && !MUTANT("forget-distinct")) {
        return DISTINCT;
    }
    for (size_t i = 0; i < run->constraint_count; i++) {
        if (task_constraint_changes(&run->constraints[i]) &&
            !task_spot_meant(core, spot, &run->constraints[i])) {
            return MEMBER_OF;
        }
    }
    return NULL;
}

// ---- choosing -----------------------------------------------------------------------------

// What a strategy wants to be small.
static int64_t score(const struct ecs_placement_strategy *strategy, size_t number,
                     const struct task_spots *spots, const struct task_spot *spot)
{
    if (strategy->type == ECS_PLACEMENT_STRATEGY_TYPE_SPREAD) {
        return spots->totals[number][spot->values[number]];
    }
    bool cpu = text_equal_nocase(strategy->field, TEXT("cpu"));
    return cpu ? spot->node->cpu_units - spot->node->cpu_used
               : spot->node->memory_mib - spot->node->memory_used;
}

static void keep_best(const struct ecs_placement_strategy *strategy, size_t number,
                      struct task_spots *spots)
{
    int64_t best = INT64_MAX;
    for (size_t i = 0; i < spots->count; i++) {
        if (spots->spots[i].candidate) {
            best = MIN(best, score(strategy, number, spots, &spots->spots[i]));
        }
    }
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        spot->candidate = spot->candidate && score(strategy, number, spots, spot) == best;
    }
}

static void keep_one(struct core_call *call, struct task_spots *spots)
{
    size_t count = 0;
    for (size_t i = 0; i < spots->count; i++) {
        count += spots->spots[i].candidate;
    }
    if (count == 0) {
        return;
    }
    size_t chosen = (size_t)(core_random(call) % count);
    for (size_t i = 0, place = 0; i < spots->count; i++) {
        if (spots->spots[i].candidate) {
            spots->spots[i].candidate = place == chosen;
            place++;
        }
    }
}

// What no strategy decides: zones with few tasks, then nodes with few tasks, then the lowest key.
static bool better(const struct task_spot *a, const struct task_spot *b)
{
    if (a->zone->task_count != b->zone->task_count) {
        return a->zone->task_count < b->zone->task_count;
    }
    return a->node->task_count < b->node->task_count;
}

struct task_spot *task_spots_choose(struct core_call *call, const struct task_run *run,
                                    struct task_spots *spots)
{
    const struct ecs_placement_strategy_list *strategies = &run->request->placement_strategy;
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        spot->candidate = task_spot_placed_refusal(call->core, run, spot) == NULL;
    }
    for (size_t i = 0; i < strategies->count; i++) {
        if (strategies->items[i].type == ECS_PLACEMENT_STRATEGY_TYPE_RANDOM) {
            keep_one(call, spots);
        } else {
            keep_best(&strategies->items[i], i, spots);
        }
    }
    struct task_spot *best = NULL;
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        if (spot->candidate && (best == NULL || better(spot, best))) {
            best = spot;
        }
    }
    return best;
}

void task_spots_taken(const struct task_run *run, struct task_spots *spots, struct task_spot *spot)
{
    spot->group_tasks++;
    for (size_t i = 0; i < run->request->placement_strategy.count; i++) {
        if (spots->totals[i] != NULL && !MUTANT("spread-once")) {
            spots->totals[i][spot->values[i]]++;
        }
    }
}

// ---- explaining ---------------------------------------------------------------------------

struct ecs_failure task_spot_failure(struct core_call *call, const struct task_run *run,
                                     const struct task_spot *spot, const char *reason)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    struct text detail = {0};
    struct text lacks = task_run_lacks(run, membership, 0);
    if (strcmp(reason, DRAINING) == 0) {
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
        if (reason != NULL) {
            out_failures->items[out_failures->count] =
                task_spot_failure(call, run, &spots->spots[i], reason);
            out_failures->count++;
        }
    }
}
