#include "ecs/spread.h"
#include "ecs/task_roster.h"

#include "vpc/vpc.h"

#include <string.h>

/*
 * Finding places: the short way over all nodes of a zone, and the look at each instance that
 * task_choose.c then chooses from.
 */

// ---- the short way ------------------------------------------------------------------------

int64_t task_run_subnet(const struct core *core, const struct task_run *run, struct text zone)
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
    int64_t subnet = run->awsvpc ? task_run_subnet(core, run, zone->name) : 0;
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

struct text task_run_lacks(const struct task_run *run, const struct task_record_node *record,
                           size_t index, size_t place)
{
    const struct task_record_membership *membership = &record->memberships.items[index];
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
    if (lacks && place == 0) {
        return execute.name;
    }
    place -= lacks ? 1 : 0;
    bool other_agent = (run->need.capabilities & CAPABILITY_BERTH_AGENT) != 0 &&
                       !task_membership_berth(record, index);
    return other_agent && place == 0 ? TEXT(TASK_BERTH_AGENT) : (struct text){0};
}

struct text task_spot_lacks(const struct task_run *run, const struct task_spot *spot, size_t place)
{
    return task_run_lacks(run, spot->record, spot->index, place);
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
