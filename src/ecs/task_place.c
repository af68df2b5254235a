#include "ecs/spread.h"
#include "ecs/task_roster.h"

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
           (run->constraint_count > 0 || !text_empty(run->scaling_group) ||
            (!run->awsvpc && !text_empty(run->zone)) || run->distinct || run->port_count > 0 ||
            run->gpus > 0 || run->request->placement_strategy.count > 0 ||
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

// How soon a zone's turn is: tasks of the service, if there is one, come before all that it has.
static int64_t zone_rank(const struct task_run *run, size_t zone)
{
    int64_t own = run->spread == NULL || MUTANT("spread-all") ? 0 : run->spread->zones[zone];
    return own * ((int64_t)INT32_MAX + 1) + run->group->zones[zone]->task_count;
}

static bool place_in_zone(const struct core *core, const struct task_run *run, size_t index,
                          struct task_spot *out_spot)
{
    const struct task_zone *zone = run->group->zones[index];
    int64_t subnet = run->awsvpc ? best_subnet(core, run, zone->name) : 0;
    if (run->awsvpc && subnet == 0) {
        return false;
    }
    int64_t node = 0;
    int rc = run->spread == NULL
                 ? place_spread(&zone->nodes, &run->need, &node, NULL)
                 : place_spread_own(&zone->nodes, &run->need, run->spread->nodes[index], &node);
    if (rc == 0) {
        *out_spot = (struct task_spot){
            .node = task_node(task_state(core), node), .zone = zone, .subnet = subnet};
    }
    return rc == 0;
}

// Zones in the order of their tasks, so that tasks spread over them; each is tried until one has
// room. A zone's name breaks ties, because a group keeps its zones in that order.
bool task_place_short(const struct core *core, const struct task_run *run,
                      struct task_spot *out_spot)
{
    size_t zone_count = run->group == NULL ? 0 : run->group->zone_count;
    int64_t below = -1;
    for (size_t tried = 0; tried < zone_count;) {
        int64_t next = INT64_MAX;
        for (size_t i = 0; i < zone_count; i++) {
            int64_t rank = zone_rank(run, i);
            next = rank > below ? MIN(next, rank) : next;
        }
        below = next;
        for (size_t i = 0; i < zone_count; i++) {
            if (zone_rank(run, i) != below) {
                continue;
            }
            tried++;
            if (place_in_zone(core, run, i, out_spot)) {
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
    if (run->deployment != 0) {
        return service_group_name(call, run->deployment);
    }
    const struct text parts[] = {TEXT("family:"),
                                 ecs_definition_family(call->core, run->definition_key)};
    return arena_join(call->arena, parts, ARRAY_LEN(parts));
}

// Both are compared by family where neither is named, which is the rule and needs no text.
static bool in_group(struct core_call *call, const struct task_run *run,
                     const struct task_record_task *task)
{
    bool named = (task->extra != NULL && task->extra->group.data != NULL) || task->has_deployment;
    if (named || !text_empty(run->request->group) || run->deployment != 0) {
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

// The value of a spread's attribute. Instances without it, or with an empty one, are a place of
// their own.
static struct text spread_value(const struct task_spot *spot, struct text name)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    struct text value = TEXT("");
    for (size_t i = 0; i < membership->attributes.count; i++) {
        if (text_equal(membership->attributes.items[i].name, name) &&
            membership->attributes.items[i].value.data != NULL) {
            value = membership->attributes.items[i].value;
        }
    }
    return value;
}

// What a column is to tell, for the spots that changed since it was worked out.
struct question {
    const struct task_run *run;
    const struct constraint *constraint; // of TASK_COLUMN_MEANT
    struct text name;
};

static int32_t answer(struct core_call *call, struct task_column *column,
                      const struct question *question, const struct task_spot *spot)
{
    switch (column->kind) {
    case TASK_COLUMN_MEANT:
        return task_spot_meant(call->core, spot, question->constraint) ? 1 : 0;
    case TASK_COLUMN_VALUE:
        return task_column_number(column, spread_value(spot, question->name));
    case TASK_COLUMN_GROUP:
        return count_group(call, question->run, spot);
    }
    return 0;
}

// Bring a column up to date. @return its cells, by spot
static const struct task_cell *work_out(struct core_call *call, struct task_column *column,
                                        const struct question *question,
                                        const struct task_spots *spots)
{
    for (size_t i = 0; i < spots->count; i++) {
        const struct task_spot *spot = &spots->spots[i];
        struct task_cell *cell = &column->cells[i];
        uint64_t stamp = column->by_tasks ? spot->tasks_told : spot->told;
        if (cell->stamp != stamp) {
            cell->value = answer(call, column, question, spot);
            cell->stamp = stamp;
        }
    }
    return column->cells;
}

static void apply_constraint(struct core_call *call, const struct task_run *run, size_t number,
                             struct task_roster *roster, struct task_spots *spots)
{
    const struct constraint *constraint = &run->constraints[number];
    bool by_tasks = constraint_asks(constraint, CONSTRAINT_TASK_GROUP) ||
                    constraint_asks(constraint, CONSTRAINT_RUNNING_TASKS);
    const struct question question = {.run = run, .constraint = constraint};
    struct task_column *column = task_roster_column(
        task_state(call->core), roster, TASK_COLUMN_MEANT, by_tasks, run->expressions[number]);
    const struct task_cell *cells = work_out(call, column, &question, spots);
    for (size_t i = 0; i < spots->count; i++) {
        bool meant = cells[i].value != 0;
        if (task_constraint_changes(constraint)) {
            spots->spots[i].meant_now = spots->spots[i].meant_now && meant;
        } else {
            spots->spots[i].meant = spots->spots[i].meant && meant;
        }
    }
}

static void count_groups(struct core_call *call, const struct task_run *run,
                         struct task_roster *roster, struct task_spots *spots)
{
    struct text group = run_group(call, run);
    const struct question question = {.run = run};
    struct task_column *column =
        task_roster_column(task_state(call->core), roster, TASK_COLUMN_GROUP, true, group);
    const struct task_cell *cells = work_out(call, column, &question, spots);
    for (size_t i = 0; i < spots->count; i++) {
        spots->spots[i].group_tasks = cells[i].value;
    }
}

// Number the values of a spread's field, and add up the tasks of each.
static void number_values(struct core_call *call, const struct task_run *run, size_t strategy,
                          struct task_roster *roster, struct task_spots *spots)
{
    struct text field = run->request->placement_strategy.items[strategy].field;
    if (!text_starts(field, TEXT("attribute:"))) {
        return; // each instance is a place of its own
    }
    const struct question question = {.run = run,
                                      .name = text_slice(field, strlen("attribute:"), field.size)};
    struct task_column *column =
        task_roster_column(task_state(call->core), roster, TASK_COLUMN_VALUE, false, question.name);
    const struct task_cell *cells = work_out(call, column, &question, spots);
    int32_t *totals = arena_array(call->arena, column->number_count + 1, sizeof(*totals));
    for (size_t i = 0; i < spots->count; i++) {
        spots->spots[i].values[strategy] = (uint32_t)cells[i].value;
        totals[cells[i].value] += spots->spots[i].group_tasks;
    }
    spots->totals[strategy] = totals;
}

// Whether an instance is of another Auto Scaling group or zone than the one that is asked for.
static bool outside(const struct task_run *run, const struct task_spot *spot)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    return (!text_empty(run->scaling_group) &&
            !text_equal(membership->scaling_group, run->scaling_group)) ||
           (!run->awsvpc && !text_empty(run->zone) &&
            !text_equal(membership->zones.items[0], run->zone));
}

void task_run_confine(const struct core *core, struct task_run *run, struct text zone)
{
    size_t kept = 0;
    run->zone = zone;
    for (size_t i = 0; i < run->subnet_count; i++) {
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, run->subnets[i]);
        if (text_empty(zone) || text_equal(subnet->availability_zone, zone)) {
            run->subnets[kept] = run->subnets[i];
            kept++;
        }
    }
    run->subnet_count = kept;
}

void task_spots_find(struct core_call *call, const struct task_run *run, bool placed,
                     struct task_spots *out_spots)
{
    struct task_roster *roster = task_roster_look(call, run->group);
    const struct ecs_placement_strategy_list *strategies = &run->request->placement_strategy;
    struct task_spots found = {.spots = roster->spots, .count = roster->count};
    for (size_t i = 0; i < found.count; i++) {
        found.spots[i].outside = outside(run, &found.spots[i]);
        found.spots[i].meant = true;
        found.spots[i].meant_now = true;
        found.spots[i].group_tasks = 0;
    }
    if (placed && (run->distinct || strategies->count > 0 || run->spread != NULL)) {
        count_groups(call, run, roster, &found);
    }
    for (size_t i = 0; placed && i < run->constraint_count; i++) {
        apply_constraint(call, run, i, roster, &found);
    }
    for (size_t i = 0; placed && i < strategies->count; i++) {
        if (strategies->items[i].type == ECS_PLACEMENT_STRATEGY_TYPE_SPREAD) {
            number_values(call, run, i, roster, &found);
        } else if (strategies->items[i].type == ECS_PLACEMENT_STRATEGY_TYPE_RANDOM) {
            found.ties = arena_array(call->arena, found.count, sizeof(*found.ties));
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
        if (reason != NULL && !spots->spots[i].outside) {
            out_failures->items[out_failures->count] =
                task_spot_failure(call, run, &spots->spots[i], reason);
            out_failures->count++;
        }
    }
}
