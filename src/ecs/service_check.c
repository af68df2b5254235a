#include "ecs/service_internal.h"
#include "ecs/stage.h"
#include "ecs/task_run.h"

/*
 * What must hold of a service, whether CreateService or UpdateService asked for it. What it has
 * beside its tasks (load balancers and the like) is looked at in service_attached.c.
 */

#define DESIRED_MAX 5000       // ECS: tasks of a service
#define DESIRED_NAMED_MAX 1000 // ECS: with service discovery or Service Connect
#define BAKE_MINUTES_MAX 1440  // ECS: a day
#define ALARMS_MAX 10          // ECS

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

static bool is_daemon(const struct service_ask *ask)
{
    return ask->service.scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
}

static const char *controller_name(enum ecs_deployment_controller_type controller)
{
    return controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_CODE_DEPLOY ? "CODE_DEPLOY"
           : controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL  ? "EXTERNAL"
                                                                    : "ECS";
}

// ---- launch type, scheduling strategy, controller -------------------------------------------

static int check_launch_choice(struct core_call *call, const struct service_ask *ask)
{
    const struct service_record_revision *revision = &ask->revision;
    if (revision->launch_type != ECS_LAUNCH_TYPE_ABSENT &&
        revision->capacity_provider_strategy.count > 0) {
        return refuse(call,
                      "Specify either Launch Type or Capacity Provider Strategy, but not both.");
    }
    if (revision->launch_type == ECS_LAUNCH_TYPE_UNRECOGNIZED ||
        revision->launch_type == ECS_LAUNCH_TYPE_MANAGED_INSTANCES) {
        return refuse(call, "launch type should be one of [EC2,FARGATE,EXTERNAL]");
    }
    return 0;
}

static int check_daemon(struct core_call *call, const struct service_ask *ask)
{
    const struct service_record_service *service = &ask->service;
    if (!is_daemon(ask)) {
        return 0;
    }
    if (service_on_fargate(&ask->revision)) {
        return refuse(call, "The daemon scheduling strategy does not support the FARGATE launch "
                            "type. Change the launch type and try again");
    }
    if (ask->revision.capacity_provider_strategy.count > 0) {
        return refuse(call, "Specifying a capacity provider strategy is not supported when you "
                            "create a service using the DAEMON scheduling strategy.");
    }
    if (service->controller != ECS_DEPLOYMENT_CONTROLLER_TYPE_ECS) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The daemon scheduling strategy is not supported with the %s deployment "
                          "controller.",
                          controller_name(service->controller));
    }
    if (service->placement_strategy.count > 0) {
        return refuse(call, "The daemon scheduling strategy does not support placement strategies. "
                            "Remove the placement strategy and try again");
    }
    return 0;
}

static int check_role(struct core_call *call, const struct service_ask *ask)
{
    if (text_empty(ask->service.role)) {
        return 0;
    }
    const struct ecs_task_definition *definition =
        task_definition(call->core, ask->revision.definition);
    if (definition->network_mode == ECS_NETWORK_MODE_AWSVPC ||
        ask->revision.load_balancers.count > 1 || ask->revision.service_registries.count > 0) {
        return refuse(call, "You cannot specify an IAM role for services that require a service "
                            "linked role.");
    }
    return ask->revision.load_balancers.count == 1
               ? 0
               : refuse(call, "You can specify an IAM role only for services that use a load "
                              "balancer.");
}

int service_check_execute(struct core_call *call, const struct service_ask *ask, const char *done)
{
    if (!ask->service.enable_execute_command || ask->revision.definition == 0 ||
        !ecs_state(call->core)->strict ||
        !text_empty(task_definition(call->core, ask->revision.definition)->task_role_arn)) {
        return 0;
    }
    return core_fault(call, &ecs_error_invalid_parameter_exception,
                      "The service couldn't be %s because a valid taskRoleArn is not being used. "
                      "Specify a valid task role in your task definition and try again.",
                      done);
}

// ---- numbers --------------------------------------------------------------------------------

static int check_percents(struct core_call *call, const struct service_ask *ask)
{
    int32_t maximum = ask->service.configuration->maximum_percent;
    int32_t minimum = ask->service.configuration->minimum_healthy_percent;
    if (is_daemon(ask) && maximum != 100) {
        return refuse(call, "The daemon scheduling strategy does not support values above 100 for "
                            "maximumPercent. Specify 100 and try again.");
    }
    if (minimum < 0 || minimum > 100) {
        return refuse(call, "minimumHealthyPercent must be between 0 and 100.");
    }
    if (maximum < 100 || maximum > 200) {
        return refuse(call, "maximumPercent must be between 100 and 200.");
    }
    return 0;
}

static int check_counts(struct core_call *call, const struct service_ask *ask)
{
    const struct service_record_service *service = &ask->service;
    const struct ecs_service_connect_configuration *connect =
        ask->revision.service_connect_configuration;
    if (service->desired_count < 0) {
        return refuse(call, "desiredCount cannot be negative.");
    }
    if (service->desired_count > DESIRED_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "desiredCount can be at most %d.", DESIRED_MAX);
    }
    bool named =
        ask->revision.service_registries.count > 0 || (connect != NULL && connect->enabled);
    if (named && service->desired_count > DESIRED_NAMED_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "desiredCount can be at most %d for a service with service discovery or "
                          "Service Connect.",
                          DESIRED_NAMED_MAX);
    }
    if (service->health_check_grace_period_seconds < 0) {
        return refuse(call, "healthCheckGracePeriodSeconds must be between 0 and 2147483647.");
    }
    return 0;
}

// ---- the deployment configuration -----------------------------------------------------------

static bool bake_valid(bool has, int32_t minutes)
{
    return !has || (minutes >= 0 && minutes <= BAKE_MINUTES_MAX);
}

// A percent in steps of a tenth.
static bool percent_valid(bool has, double percent, double least)
{
    if (!has) {
        return true;
    }
    if (!(percent >= least) || !(percent <= 100)) {
        return false;
    }
    double tenths = percent * 10;
    double off = tenths - (double)(int64_t)(tenths + 0.5);
    return off < 1e-6 && off > -1e-6;
}

static int check_shifts(struct core_call *call, const struct ecs_deployment_configuration *asked)
{
    const struct ecs_linear_configuration *linear = asked->linear_configuration;
    const struct ecs_canary_configuration *canary = asked->canary_configuration;
    if (linear != NULL && asked->strategy != ECS_DEPLOYMENT_STRATEGY_LINEAR) {
        return refuse(call, "linearConfiguration can be specified only with the LINEAR strategy.");
    }
    if (canary != NULL && asked->strategy != ECS_DEPLOYMENT_STRATEGY_CANARY) {
        return refuse(call, "canaryConfiguration can be specified only with the CANARY strategy.");
    }
    if (linear != NULL && !percent_valid(linear->has_step_percent, linear->step_percent, 3)) {
        return refuse(call, "stepPercent must be between 3.0 and 100.0, in steps of 0.1.");
    }
    if (canary != NULL && !percent_valid(canary->has_canary_percent, canary->canary_percent, 0.1)) {
        return refuse(call, "canaryPercent must be between 0.1 and 100.0, in steps of 0.1.");
    }
    if (!bake_valid(asked->has_bake_time_in_minutes, asked->bake_time_in_minutes)) {
        return refuse(call, "bakeTimeInMinutes must be between 0 and 1440.");
    }
    if (linear != NULL &&
        !bake_valid(linear->has_step_bake_time_in_minutes, linear->step_bake_time_in_minutes)) {
        return refuse(call, "stepBakeTimeInMinutes must be between 0 and 1440.");
    }
    if (canary != NULL &&
        !bake_valid(canary->has_canary_bake_time_in_minutes, canary->canary_bake_time_in_minutes)) {
        return refuse(call, "canaryBakeTimeInMinutes must be between 0 and 1440.");
    }
    return 0;
}

static int check_alarms(struct core_call *call, const struct ecs_deployment_alarms *alarms)
{
    if (alarms == NULL) {
        return 0;
    }
    if (alarms->enable && alarms->alarm_names.count == 0) {
        return refuse(call, "alarmNames can not be empty when deployment alarms are enabled.");
    }
    if (alarms->alarm_names.count > ALARMS_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "alarmNames can have at most %d items.", ALARMS_MAX);
    }
    for (size_t i = 0; i < alarms->alarm_names.count; i++) {
        if (text_empty(alarms->alarm_names.items[i])) {
            return refuse(call, "An alarm name can not be blank.");
        }
    }
    return 0;
}

static int check_configuration(struct core_call *call, const struct service_ask *ask)
{
    const struct ecs_deployment_configuration *asked = ask->service.configuration;
    const struct ecs_deployment_circuit_breaker *breaker = asked->deployment_circuit_breaker;
    bool own = ask->service.controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_ECS;
    if (!own && asked->strategy != ECS_DEPLOYMENT_STRATEGY_ROLLING) {
        return refuse(call, "A deployment strategy is supported only with the ECS deployment "
                            "controller.");
    }
    if (breaker != NULL && breaker->enable && !own) {
        return refuse(call, "The deployment circuit breaker is supported only with the ECS "
                            "deployment controller.");
    }
    if (asked->alarms != NULL && asked->alarms->enable && !own) {
        return refuse(call, "Deployment alarms are supported only with the ECS deployment "
                            "controller.");
    }
    int rc = check_shifts(call, asked);
    if (rc == 0) {
        rc = stage_check(call, ask);
    }
    return rc == 0 ? check_alarms(call, asked->alarms) : rc;
}

// ---- zones ----------------------------------------------------------------------------------

static bool names_zone(struct text expression)
{
    static const char attribute[] = "ecs.availability-zone";
    for (size_t i = 0; i + sizeof(attribute) - 1 <= expression.size; i++) {
        if (text_is(text_slice(expression, i, i + sizeof(attribute) - 1), attribute)) {
            return true;
        }
    }
    return false;
}

const char *service_zones_refusal(const struct core *core, const struct service_ask *ask)
{
    const struct service_record_service *service = &ask->service;
    if (service->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
        return "the daemon scheduling strategy";
    }
    if (service->controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL) {
        return "the EXTERNAL deployment controller"; // its task sets are spread by their own makers
    }
    if (ask->revision.launch_type == ECS_LAUNCH_TYPE_EXTERNAL) {
        return "the EXTERNAL launch type";
    }
    if (service->configuration->maximum_percent <= 100) {
        return "a maximumPercent of 100";
    }
    for (size_t i = 0; i < ask->revision.load_balancers.count; i++) {
        if (!text_empty(ask->revision.load_balancers.items[i].load_balancer_name)) {
            return "a Classic Load Balancer";
        }
    }
    for (size_t i = 0; i < service->placement_constraints.count; i++) {
        if (names_zone(service->placement_constraints.items[i].expression)) {
            return "a placement constraint on ecs.availability-zone";
        }
    }
    const struct ecs_task_definition *definition =
        ask->revision.definition == 0 ? NULL : task_definition(core, ask->revision.definition);
    for (size_t i = 0; definition != NULL && i < definition->placement_constraints.count; i++) {
        if (names_zone(definition->placement_constraints.items[i].expression)) {
            return "a placement constraint on ecs.availability-zone";
        }
    }
    if (service->placement_strategy.count > 0) {
        const struct ecs_placement_strategy *first = &service->placement_strategy.items[0];
        if (first->type != ECS_PLACEMENT_STRATEGY_TYPE_SPREAD ||
            !text_is(first->field, "attribute:ecs.availability-zone")) {
            return "a placement strategy that does not begin with a spread over "
                   "attribute:ecs.availability-zone";
        }
    }
    return NULL;
}

// ---- the whole ------------------------------------------------------------------------------

// What RunTask would refuse of the tasks, a service refuses when it is made: launch type, network,
// constraints and strategies.
static int check_tasks(struct core_call *call, const struct service_ask *ask)
{
    const struct service_record_revision *revision = &ask->revision;
    struct ecs_run_task_request request = {
        .launch_type = revision->launch_type,
        .network_configuration = revision->network_configuration,
        .platform_version = revision->platform_version,
        .has_enable_execute_command = ask->service.enable_execute_command,
        .enable_execute_command = ask->service.enable_execute_command,
    };
    request.capacity_provider_strategy.items = revision->capacity_provider_strategy.items;
    request.capacity_provider_strategy.count = revision->capacity_provider_strategy.count;
    request.placement_constraints.items = ask->service.placement_constraints.items;
    request.placement_constraints.count = ask->service.placement_constraints.count;
    request.placement_strategy.items = ask->service.placement_strategy.items;
    request.placement_strategy.count = ask->service.placement_strategy.count;
    struct task_run run = {
        .request = &request,
        .cluster = ask->service.cluster,
        .cluster_record = core_get(call->core, &ecs_cluster_kind, ask->service.cluster),
        .definition_key = revision->definition,
        .count = 1,
    };
    return task_run_read(call, &run);
}

int service_check(struct core_call *call, const struct service_ask *ask)
{
    static int (*const always[])(struct core_call *, const struct service_ask *) = {
        check_launch_choice, check_daemon, check_counts, check_percents, check_configuration,
    };
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        int rc = always[i](call, ask);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = ecs_tags_check(call, ask->service.tags.items, ask->service.tags.count);
    if (rc != 0 || ask->revision.definition == 0) {
        return rc;
    }
    rc = check_role(call, ask);
    if (rc == 0) {
        rc = check_tasks(call, ask);
    }
    return rc == 0 ? service_check_attached(call, ask) : rc;
}
