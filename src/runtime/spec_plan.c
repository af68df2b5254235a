#include "base/text.h"
#include "runtime/spec.h"

#define STOP_TIMEOUT_DEFAULT_S 30
#define HEALTH_INTERVAL_DEFAULT_S 30
#define HEALTH_TIMEOUT_DEFAULT_S 5
#define HEALTH_RETRIES_DEFAULT 3
#define RESTART_PERIOD_DEFAULT_S 300

static int64_t seconds_ms(bool has, int32_t seconds, int32_t otherwise)
{
    return (int64_t)(has ? seconds : otherwise) * 1000;
}

static struct supervisor_health_check *plan_health(const struct ecs_health_check *check,
                                                   struct arena *arena)
{
    struct text_list command = {0};
    if (check != NULL) {
        command = spec_health_command(check->command, arena);
    }
    if (command.count == 0) {
        return NULL;
    }
    struct supervisor_health_check *plan = ARENA_NEW(arena, struct supervisor_health_check);
    *plan = (struct supervisor_health_check){
        .command = command,
        .has_interval_ms = true,
        .interval_ms = seconds_ms(check->has_interval, check->interval, HEALTH_INTERVAL_DEFAULT_S),
        .has_timeout_ms = true,
        .timeout_ms = seconds_ms(check->has_timeout, check->timeout, HEALTH_TIMEOUT_DEFAULT_S),
        .has_retries = true,
        .retries = check->has_retries ? check->retries : HEALTH_RETRIES_DEFAULT,
        .has_start_period_ms = true,
        .start_period_ms = seconds_ms(check->has_start_period, check->start_period, 0),
    };
    return plan;
}

static struct supervisor_hook *plan_hook(struct text_list command, struct arena *arena)
{
    return command.count == 0 ? NULL : ARENA_NEW(arena, struct supervisor_hook);
}

static struct supervisor_health_check *plan_readiness(const struct shape_extension_check *check,
                                                      struct arena *arena)
{
    if (check->command.count == 0) {
        return NULL;
    }
    struct supervisor_health_check *plan = ARENA_NEW(arena, struct supervisor_health_check);
    *plan = (struct supervisor_health_check){
        .command = check->command,
        .has_interval_ms = true,
        .interval_ms = seconds_ms(true, check->interval, 0),
        .has_timeout_ms = true,
        .timeout_ms = seconds_ms(true, check->timeout, 0),
        .has_retries = true,
        .retries = check->retries,
        .has_start_period_ms = true,
        .start_period_ms = seconds_ms(true, check->start_period, 0),
    };
    return plan;
}

int spec_extension(const struct ecs_container_definition *definition, struct arena *arena,
                   struct shape_extension *out_extension, struct err *err)
{
    struct shape_error error = {0};
    if (shape_extension_read(&definition->docker_labels, arena, out_extension, &error) != 0) {
        return err_set(err, ERR_INVALID, "label '%s' of dockerLabels %s", error.path, error.text);
    }
    return 0;
}

static struct supervisor_restart_policy *
plan_restarts(const struct ecs_container_restart_policy *policy, struct arena *arena)
{
    if (policy == NULL || !policy->enabled) {
        return NULL;
    }
    struct supervisor_restart_policy *plan = ARENA_NEW(arena, struct supervisor_restart_policy);
    *plan = (struct supervisor_restart_policy){
        .ignored_exit_codes = {policy->ignored_exit_codes.items, policy->ignored_exit_codes.count},
        .has_attempt_period_ms = true,
        .attempt_period_ms = seconds_ms(policy->has_restart_attempt_period,
                                        policy->restart_attempt_period, RESTART_PERIOD_DEFAULT_S),
    };
    return plan;
}

static enum supervisor_condition condition_of(enum ecs_container_condition condition)
{
    switch (condition) {
    case ECS_CONTAINER_CONDITION_START:
        return SUPERVISOR_CONDITION_START;
    case ECS_CONTAINER_CONDITION_COMPLETE:
        return SUPERVISOR_CONDITION_COMPLETE;
    case ECS_CONTAINER_CONDITION_SUCCESS:
        return SUPERVISOR_CONDITION_SUCCESS;
    case ECS_CONTAINER_CONDITION_HEALTHY:
        return SUPERVISOR_CONDITION_HEALTHY;
    case ECS_CONTAINER_CONDITION_ABSENT:
    case ECS_CONTAINER_CONDITION_UNRECOGNIZED:
        break;
    }
    return SUPERVISOR_CONDITION_ABSENT;
}

static struct supervisor_dependency_list
plan_dependencies(const struct ecs_container_dependency_list *list, struct arena *arena)
{
    struct supervisor_dependency_list plan = {0};
    if (list->count == 0) {
        return plan;
    }
    plan.items = arena_array(arena, list->count, sizeof(*plan.items));
    for (size_t i = 0; i < list->count; i++) {
        plan.items[plan.count++] = (struct supervisor_dependency){
            .container = list->items[i].container_name,
            .condition = condition_of(list->items[i].condition),
        };
    }
    return plan;
}

int spec_plan(const struct ecs_container_definition *definition, const struct image *image,
              struct arena *arena, struct supervisor_plan_container *out_plan, struct err *err)
{
    int32_t stop_signal = 0;
    if (spec_signal(image->stop_signal, &stop_signal) != 0) {
        return err_set(err, ERR_INVALID, "the image's stop signal '%.*s' does not exist",
                       TEXT_FMT(image->stop_signal));
    }
    struct shape_extension extension = {0};
    int rc = spec_extension(definition, arena, &extension, err);
    if (rc != 0) {
        return rc;
    }
    *out_plan = (struct supervisor_plan_container){
        .name = definition->name,
        .has_essential = true,
        .essential = !definition->has_essential || definition->essential,
        .depends_on = plan_dependencies(&definition->depends_on, arena),
        .health_check = plan_health(definition->health_check, arena),
        .readiness = plan_readiness(&extension.readiness, arena),
        .post_start = plan_hook(extension.post_start, arena),
        .pre_stop = plan_hook(extension.pre_stop, arena),
        .restart_policy = plan_restarts(definition->restart_policy, arena),
        .has_start_timeout_ms = definition->has_start_timeout,
        .start_timeout_ms = seconds_ms(definition->has_start_timeout, definition->start_timeout, 0),
        .has_stop_timeout_ms = true,
        .stop_timeout_ms = seconds_ms(definition->has_stop_timeout, definition->stop_timeout,
                                      STOP_TIMEOUT_DEFAULT_S),
        .has_interactive = definition->interactive,
        .interactive = definition->interactive,
        .has_terminal = definition->pseudo_terminal,
        .terminal = definition->pseudo_terminal,
        .has_stop_signal = true,
        .stop_signal = stop_signal,
    };
    return 0;
}
