#include "ecs/service_internal.h"
#include "ecs/stage.h"

/*
 * What is filled in where a CreateService or UpdateService says nothing.
 */

// What a strategy that is asked for says of its steps, with ECS's defaults; what belongs to another
// strategy than the one in force goes.
static void fill_shifts(struct core_call *call, const struct ecs_deployment_configuration *asked,
                        struct ecs_deployment_configuration *out)
{
    if (out->strategy == ECS_DEPLOYMENT_STRATEGY_LINEAR) {
        struct ecs_linear_configuration *linear =
            ARENA_NEW(call->arena, struct ecs_linear_configuration);
        if (out->linear_configuration != NULL) {
            *linear = *out->linear_configuration;
        }
        linear->step_percent = linear->has_step_percent ? linear->step_percent : 10;
        linear->has_step_percent = true;
        linear->step_bake_time_in_minutes =
            linear->has_step_bake_time_in_minutes ? linear->step_bake_time_in_minutes : 6;
        linear->has_step_bake_time_in_minutes = true;
        out->linear_configuration = linear;
    } else if (asked->linear_configuration == NULL) {
        out->linear_configuration = NULL;
    }
    if (out->strategy == ECS_DEPLOYMENT_STRATEGY_CANARY) {
        struct ecs_canary_configuration *canary =
            ARENA_NEW(call->arena, struct ecs_canary_configuration);
        if (out->canary_configuration != NULL) {
            *canary = *out->canary_configuration;
        }
        canary->canary_percent = canary->has_canary_percent ? canary->canary_percent : 5;
        canary->has_canary_percent = true;
        canary->canary_bake_time_in_minutes =
            canary->has_canary_bake_time_in_minutes ? canary->canary_bake_time_in_minutes : 10;
        canary->has_canary_bake_time_in_minutes = true;
        out->canary_configuration = canary;
    } else if (asked->canary_configuration == NULL) {
        out->canary_configuration = NULL;
    }
}

struct ecs_deployment_configuration *
service_fill_configuration(struct core_call *call, const struct ecs_deployment_configuration *asked,
                           const struct ecs_deployment_configuration *before, bool daemon)
{
    struct ecs_deployment_configuration *out =
        ARENA_NEW(call->arena, struct ecs_deployment_configuration);
    *out = (struct ecs_deployment_configuration){
        .maximum_percent = daemon ? 100 : 200,
        .minimum_healthy_percent = daemon ? 0 : 100,
        .strategy = ECS_DEPLOYMENT_STRATEGY_ROLLING,
        .has_bake_time_in_minutes = true,
    };
    if (before != NULL) {
        *out = *before;
    }
    out->has_maximum_percent = true;
    out->has_minimum_healthy_percent = true;
    if (out->deployment_circuit_breaker == NULL) {
        out->deployment_circuit_breaker =
            ARENA_NEW(call->arena, struct ecs_deployment_circuit_breaker);
        out->deployment_circuit_breaker->has_enable = true;
        out->deployment_circuit_breaker->has_rollback = true;
    }
    if (asked == NULL) {
        return out;
    }
    if (asked->has_maximum_percent) {
        out->maximum_percent = asked->maximum_percent;
    }
    if (asked->has_minimum_healthy_percent) {
        out->minimum_healthy_percent = asked->minimum_healthy_percent;
    }
    if (asked->deployment_circuit_breaker != NULL) {
        out->deployment_circuit_breaker = asked->deployment_circuit_breaker;
    }
    if (asked->alarms != NULL) {
        out->alarms = asked->alarms;
    }
    if (asked->strategy != ECS_DEPLOYMENT_STRATEGY_ABSENT) {
        out->strategy = asked->strategy;
    }
    if (asked->has_bake_time_in_minutes) {
        out->bake_time_in_minutes = asked->bake_time_in_minutes;
    }
    if (asked->lifecycle_hooks.items != NULL) {
        out->lifecycle_hooks = asked->lifecycle_hooks;
    }
    if (asked->linear_configuration != NULL) {
        out->linear_configuration = asked->linear_configuration;
    }
    if (asked->canary_configuration != NULL) {
        out->canary_configuration = asked->canary_configuration;
    }
    fill_shifts(call, asked, out);
    if (!stage_applies(out) && asked->lifecycle_hooks.items == NULL) {
        out->lifecycle_hooks.items = NULL; // of the strategy that was in force
        out->lifecycle_hooks.count = 0;
    }
    return out;
}

struct ecs_capacity_provider_strategy_item *
service_fill_strategy(struct core_call *call,
                      const struct ecs_capacity_provider_strategy_item *items, size_t count)
{
    if (count == 0) {
        return NULL; // shown as absent, beside a launch type
    }
    struct ecs_capacity_provider_strategy_item *copy =
        arena_array(call->arena, count, sizeof(*copy));
    for (size_t i = 0; i < count; i++) {
        copy[i] = items[i];
        copy[i].has_weight = true;
        copy[i].has_base = true;
    }
    return copy;
}

void service_fill_launch_type(struct core_call *call, int64_t cluster,
                              struct service_record_revision *revision)
{
    if (revision->launch_type != ECS_LAUNCH_TYPE_ABSENT ||
        revision->capacity_provider_strategy.count > 0) {
        return;
    }
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
    if (record->default_capacity_provider_strategy.count > 0) {
        revision->capacity_provider_strategy.items =
            record->default_capacity_provider_strategy.items;
        revision->capacity_provider_strategy.count =
            record->default_capacity_provider_strategy.count;
    } else {
        revision->launch_type = ECS_LAUNCH_TYPE_EC2;
    }
}

int service_fill_definition(struct core_call *call, struct text reference,
                            struct service_record_revision *revision)
{
    int64_t definition = 0;
    int rc = ecs_definition_resolve(call, reference, ECS_DEFINITION_RUN, &definition);
    if (rc == 0) {
        revision->has_definition = true;
        revision->definition = definition;
    }
    return rc;
}

struct ecs_service_connect_configuration *
service_fill_connect(struct core_call *call, int64_t cluster,
                     struct ecs_service_connect_configuration *asked)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
    if (asked == NULL || !asked->enabled || !text_empty(asked->namespace) ||
        record->service_connect_defaults == NULL) {
        return asked;
    }
    struct ecs_service_connect_configuration *out =
        ARENA_NEW(call->arena, struct ecs_service_connect_configuration);
    *out = *asked;
    out->namespace = record->service_connect_defaults->namespace;
    return out;
}

int service_fill_zones(struct core_call *call, enum ecs_availability_zone_rebalancing asked,
                       bool is_new, struct service_ask *ask)
{
    const char *refusal = service_zones_refusal(call->core, ask);
    if (asked == ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED && refusal != NULL) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Availability Zone rebalancing is not supported with %s.", refusal);
    }
    if (asked != ECS_AVAILABILITY_ZONE_REBALANCING_ABSENT) {
        ask->service.zone_rebalancing = asked;
    } else if (ask->service.zone_rebalancing == ECS_AVAILABILITY_ZONE_REBALANCING_ABSENT) {
        ask->service.zone_rebalancing = is_new && refusal == NULL
                                            ? ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED
                                            : ECS_AVAILABILITY_ZONE_REBALANCING_DISABLED;
    }
    return 0;
}
