#include "ecs/task_run.h"

#include <string.h>

/*
 * What a request says of where its tasks may go: constraints, strategies, ports of the host, GPUs.
 */

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

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

// Fargate spreads over zones by itself, so a strategy that asks for just that changes nothing, and
// templates for both launch types have it. ECS refuses it all the same, and so does --strict.
static bool spreads_zones_alone(const struct core_call *call, const struct task_run *run)
{
    const struct ecs_placement_strategy *first = &run->request->placement_strategy.items[0];
    return run->request->placement_strategy.count == 1 && !ecs_state(call->core)->strict &&
           first->type == ECS_PLACEMENT_STRATEGY_TYPE_SPREAD &&
           text_is(first->field, "attribute:ecs.availability-zone");
}

int task_placement_read(struct core_call *call, struct task_run *run)
{
    if (run->launch_type == ECS_LAUNCH_TYPE_FARGATE) {
        if (run->request->placement_constraints.count > 0) {
            return refuse(call, "Placement constraints are not supported with FARGATE launch "
                                "type.");
        }
        if (run->request->placement_strategy.count > 0 && !spreads_zones_alone(call, run)) {
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
