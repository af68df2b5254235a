#include "ecs/service_internal.h"
#include "ecs/task_run.h"

#include <string.h>

/*
 * What CreateService and UpdateService ask for: read over what the service was, filled with ECS's
 * defaults, refused in ECS's words. Nothing is put here.
 */

#define STRATEGIES_MAX 5
#define DESIRED_MAX 5000 // ECS: tasks of a service
#define TOKEN_MAX 36     // ECS: of a service, a task's may have 64
#define TARGET_GROUPS_MAX 5

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- what must hold, whoever asked ----------------------------------------------------------

static int check_launch_choice(struct core_call *call,
                               const struct service_record_revision *revision)
{
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

static int check_percents(struct core_call *call, const struct service_record_service *service)
{
    const struct ecs_deployment_configuration *configuration = service->configuration;
    bool daemon = service->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
    int32_t maximum = configuration->maximum_percent;
    int32_t minimum = configuration->minimum_healthy_percent;
    if (daemon && maximum != 100) {
        return refuse(call, "The daemon scheduling strategy does not support values above 100 for "
                            "maximumPercent. Specify 100 and try again.");
    }
    if (minimum < 0 || minimum > 100) {
        return refuse(call, "minimumHealthyPercent must be between 0 and 100.");
    }
    if (maximum < 100 || maximum > 200) {
        return refuse(call, "maximumPercent must be between 100 and 200.");
    }
    if (maximum == 100 && minimum == 100 && !daemon && service->desired_count > 0 &&
        service->controller != ECS_DEPLOYMENT_CONTROLLER_TYPE_ECS) {
        return refuse(call, "maximumPercent and minimumHealthyPercent cannot both be 100.");
    }
    return 0;
}

static int check_counts(struct core_call *call, const struct service_record_service *service)
{
    if (service->desired_count < 0) {
        return refuse(call, "desiredCount cannot be negative.");
    }
    if (service->desired_count > DESIRED_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "desiredCount can be at most %d.", DESIRED_MAX);
    }
    if (service->health_check_grace_period_seconds < 0) {
        return refuse(call, "healthCheckGracePeriodSeconds must be between 0 and 2147483647.");
    }
    return 0;
}

static int check_balancers(struct core_call *call, const struct service_record_revision *revision)
{
    if (revision->load_balancers.count > TARGET_GROUPS_MAX) {
        return refuse(call, "load balancers can have at most 5 items.");
    }
    if (revision->service_registries.count > 1) {
        return refuse(call, "service registries can have at most 1 items.");
    }
    const struct ecs_task_definition *definition =
        task_definition(call->core, revision->definition);
    for (size_t i = 0; i < revision->load_balancers.count; i++) {
        const struct ecs_load_balancer *balancer = &revision->load_balancers.items[i];
        bool found = false;
        bool port = false;
        for (size_t j = 0; j < definition->container_definitions.count; j++) {
            const struct ecs_container_definition *container =
                &definition->container_definitions.items[j];
            found = found || text_equal(container->name, balancer->container_name);
            for (size_t k = 0; k < container->port_mappings.count; k++) {
                port = port || (text_equal(container->name, balancer->container_name) &&
                                container->port_mappings.items[k].container_port ==
                                    balancer->container_port);
            }
        }
        if (!found) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The container %.*s does not exist in the task definition.",
                              TEXT_FMT(balancer->container_name));
        }
        if (!port) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The container %.*s did not have a container port %d defined.",
                              TEXT_FMT(balancer->container_name), (int)balancer->container_port);
        }
    }
    return 0;
}

// What RunTask would refuse of the tasks, a service refuses when it is made: launch type, network,
// constraints and strategies.
static int check_tasks(struct core_call *call, const struct service_ask *ask)
{
    const struct service_record_revision *revision = &ask->revision;
    struct ecs_run_task_request request = {
        .launch_type = revision->launch_type,
        .network_configuration = revision->network_configuration,
        .platform_version = revision->platform_version,
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

static int check_ask(struct core_call *call, const struct service_ask *ask)
{
    int rc = check_launch_choice(call, &ask->revision);
    if (rc == 0) {
        rc = check_counts(call, &ask->service);
    }
    if (rc == 0) {
        rc = check_percents(call, &ask->service);
    }
    if (rc == 0) {
        rc = ecs_tags_check(call, ask->service.tags.items, ask->service.tags.count);
    }
    if (rc == 0 && ask->revision.definition != 0) {
        rc = check_tasks(call, ask);
    }
    if (rc == 0 && ask->revision.definition != 0) {
        rc = check_balancers(call, &ask->revision);
    }
    return rc;
}

// ---- filling --------------------------------------------------------------------------------

// The configuration with its defaults: 200/100 for REPLICA, 100/0 for DAEMON.
static struct ecs_deployment_configuration *
fill_configuration(struct core_call *call, const struct ecs_deployment_configuration *asked,
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
    return out;
}

// Strategy items as ECS echoes them: weight and base are never absent.
static struct ecs_capacity_provider_strategy_item *
fill_strategy(struct core_call *call, const struct ecs_capacity_provider_strategy_item *items,
              size_t count)
{
    struct ecs_capacity_provider_strategy_item *copy =
        arena_array(call->arena, count, sizeof(*copy));
    for (size_t i = 0; i < count; i++) {
        copy[i] = items[i];
        copy[i].has_weight = true;
        copy[i].has_base = true;
    }
    return copy;
}

// Without a launch type, the cluster's default strategy decides, and without one EC2.
static void fill_launch_type(struct core_call *call, int64_t cluster,
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

static int read_definition(struct core_call *call, struct text reference,
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

static int check_name(struct core_call *call, struct text name)
{
    if (text_empty(name)) {
        return refuse(call, "Service name cannot be empty.");
    }
    if (name.size > 255 || !ecs_name_valid(name)) {
        return refuse(call, "Service name can have up to 255 characters: letters, numbers, hyphens "
                            "and underscores.");
    }
    return 0;
}

static int check_token(struct core_call *call, struct text token)
{
    bool fine = token.size <= TOKEN_MAX;
    for (size_t i = 0; fine && i < token.size; i++) {
        fine = token.data[i] >= 33 && token.data[i] <= 126;
    }
    return fine ? 0 : refuse(call, "clientToken can have up to 36 characters of ASCII 33 to 126.");
}

// ---- CreateService --------------------------------------------------------------------------

static void fill_service(struct core_call *call, const struct ecs_create_service_request *in,
                         int64_t cluster, struct service_record_service *out)
{
    bool daemon = in->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
    *out = (struct service_record_service){
        .has_cluster = true,
        .cluster = cluster,
        .name = in->service_name,
        .status = SERVICE_RECORD_SERVICE_STATUS_ACTIVE,
        .created_at = call->now_ms,
        .created_by = call->caller->arn,
        .scheduling_strategy =
            daemon ? ECS_SCHEDULING_STRATEGY_DAEMON : ECS_SCHEDULING_STRATEGY_REPLICA,
        .controller = in->deployment_controller == NULL ? ECS_DEPLOYMENT_CONTROLLER_TYPE_ECS
                                                        : in->deployment_controller->type,
        .has_desired_count = true,
        .desired_count = in->desired_count,
        .configuration = fill_configuration(call, in->deployment_configuration, NULL, daemon),
        .has_health_check_grace_period_seconds = true,
        .health_check_grace_period_seconds = in->health_check_grace_period_seconds,
        .has_enable_ecs_managed_tags = in->enable_ecs_managed_tags,
        .enable_ecs_managed_tags = in->enable_ecs_managed_tags,
        .propagate_tags = in->propagate_tags == ECS_PROPAGATE_TAGS_ABSENT ? ECS_PROPAGATE_TAGS_NONE
                                                                          : in->propagate_tags,
        .has_enable_execute_command = in->enable_execute_command,
        .enable_execute_command = in->enable_execute_command,
        .zone_rebalancing = in->availability_zone_rebalancing,
        .role = in->role,
        .client_token = text_empty(in->client_token) ? (struct text){0} : in->client_token,
    };
    out->placement_constraints.items = in->placement_constraints.items;
    out->placement_constraints.count = in->placement_constraints.count;
    out->placement_strategy.items = in->placement_strategy.items;
    out->placement_strategy.count = in->placement_strategy.count;
    out->tags.items = in->tags.items;
    out->tags.count = in->tags.count;
}

static void fill_revision(struct core_call *call, const struct ecs_create_service_request *in,
                          struct service_record_revision *out)
{
    *out = (struct service_record_revision){
        .created_at = call->now_ms,
        .launch_type = in->launch_type,
        .platform_version = in->platform_version,
        .network_configuration = in->network_configuration,
        .service_connect_configuration = in->service_connect_configuration,
    };
    size_t count = in->capacity_provider_strategy.count;
    out->capacity_provider_strategy.items =
        fill_strategy(call, in->capacity_provider_strategy.items, count);
    out->capacity_provider_strategy.count = count;
    out->load_balancers.items = in->load_balancers.items;
    out->load_balancers.count = in->load_balancers.count;
    out->service_registries.items = in->service_registries.items;
    out->service_registries.count = in->service_registries.count;
    out->volume_configurations.items = in->volume_configurations.items;
    out->volume_configurations.count = in->volume_configurations.count;
    out->vpc_lattice_configurations.items = in->vpc_lattice_configurations.items;
    out->vpc_lattice_configurations.count = in->vpc_lattice_configurations.count;
}

static int check_desired(struct core_call *call, const struct ecs_create_service_request *in)
{
    if (in->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
        return in->has_desired_count
                   ? refuse(call, "The daemon scheduling strategy does not support a desired count "
                                  "for services. Remove the desired count value and try again")
                   : 0;
    }
    bool external = in->deployment_controller != NULL &&
                    in->deployment_controller->type == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL;
    return in->has_desired_count || external
               ? 0
               : refuse(call, "desiredCount is required for the REPLICA scheduling strategy.");
}

int service_ask_create(struct core_call *call, const struct ecs_create_service_request *request,
                       int64_t cluster, struct service_ask *out_ask)
{
    int rc = check_name(call, request->service_name);
    if (rc == 0) {
        rc = check_token(call, request->client_token);
    }
    if (rc == 0) {
        rc = check_desired(call, request);
    }
    if (rc != 0) {
        return rc;
    }
    fill_service(call, request, cluster, &out_ask->service);
    fill_revision(call, request, &out_ask->revision);
    rc = read_definition(call, request->task_definition, &out_ask->revision);
    if (rc != 0) {
        return rc;
    }
    fill_launch_type(call, cluster, &out_ask->revision);
    out_ask->service.launch_type = out_ask->revision.launch_type;
    out_ask->deploy = true;
    return check_ask(call, out_ask);
}

// ---- UpdateService --------------------------------------------------------------------------

static void update_service(struct core_call *call, const struct ecs_update_service_request *in,
                           struct service_record_service *out)
{
    bool daemon = out->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
    out->configuration =
        fill_configuration(call, in->deployment_configuration, out->configuration, daemon);
    if (in->has_desired_count) {
        out->desired_count = in->desired_count;
    }
    if (in->has_health_check_grace_period_seconds) {
        out->health_check_grace_period_seconds = in->health_check_grace_period_seconds;
    }
    if (in->has_enable_ecs_managed_tags) {
        out->has_enable_ecs_managed_tags = true;
        out->enable_ecs_managed_tags = in->enable_ecs_managed_tags;
    }
    if (in->propagate_tags != ECS_PROPAGATE_TAGS_ABSENT) {
        out->propagate_tags = in->propagate_tags;
    }
    if (in->has_enable_execute_command) {
        out->has_enable_execute_command = true;
        out->enable_execute_command = in->enable_execute_command;
    }
    if (in->availability_zone_rebalancing != ECS_AVAILABILITY_ZONE_REBALANCING_ABSENT) {
        out->zone_rebalancing = in->availability_zone_rebalancing;
    }
    if (in->placement_constraints.items != NULL) {
        out->placement_constraints.items = in->placement_constraints.items;
        out->placement_constraints.count = in->placement_constraints.count;
    }
    if (in->placement_strategy.items != NULL) {
        out->placement_strategy.items = in->placement_strategy.items;
        out->placement_strategy.count = in->placement_strategy.count;
    }
}

// Lists: an absent one keeps what was, an empty one clears it.
static void update_lists(struct core_call *call, const struct ecs_update_service_request *in,
                         struct service_record_revision *out)
{
    if (in->capacity_provider_strategy.items != NULL) {
        size_t count = in->capacity_provider_strategy.count;
        out->capacity_provider_strategy.items =
            fill_strategy(call, in->capacity_provider_strategy.items, count);
        out->capacity_provider_strategy.count = count;
        out->launch_type = ECS_LAUNCH_TYPE_ABSENT;
    }
    if (in->load_balancers.items != NULL) {
        out->load_balancers.items = in->load_balancers.items;
        out->load_balancers.count = in->load_balancers.count;
    }
    if (in->service_registries.items != NULL) {
        out->service_registries.items = in->service_registries.items;
        out->service_registries.count = in->service_registries.count;
    }
    if (in->volume_configurations.items != NULL) {
        out->volume_configurations.items = in->volume_configurations.items;
        out->volume_configurations.count = in->volume_configurations.count;
    }
    if (in->vpc_lattice_configurations.items != NULL) {
        out->vpc_lattice_configurations.items = in->vpc_lattice_configurations.items;
        out->vpc_lattice_configurations.count = in->vpc_lattice_configurations.count;
    }
}

static int update_revision(struct core_call *call, const struct ecs_update_service_request *in,
                           struct service_record_revision *out)
{
    update_lists(call, in, out);
    if (!text_empty(in->platform_version)) {
        out->platform_version = in->platform_version;
    }
    if (in->network_configuration != NULL) {
        out->network_configuration = in->network_configuration;
    }
    if (in->service_connect_configuration != NULL) {
        out->service_connect_configuration = in->service_connect_configuration;
    }
    return text_empty(in->task_definition) ? 0 : read_definition(call, in->task_definition, out);
}

// Reference, services §1.2: which members start a deployment.
static bool deploys(const struct ecs_update_service_request *in,
                    const struct service_record_revision *before,
                    const struct service_record_revision *after)
{
    return in->force_new_deployment || before->definition != after->definition ||
           in->network_configuration != NULL || !text_empty(in->platform_version) ||
           in->load_balancers.items != NULL || in->service_registries.items != NULL ||
           in->service_connect_configuration != NULL || in->volume_configurations.items != NULL ||
           in->vpc_lattice_configurations.items != NULL ||
           (in->capacity_provider_strategy.items != NULL && in->force_new_deployment);
}

int service_ask_update(struct core_call *call, const struct ecs_update_service_request *request,
                       int64_t service, struct service_ask *out_ask)
{
    const struct service_record_service *before = core_get(call->core, &service_kind, service);
    if (before->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON &&
        request->has_desired_count) {
        return refuse(call, "The daemon scheduling strategy does not support a desired count for "
                            "services. Remove the desired count value and try again");
    }
    *out_ask = (struct service_ask){.service = *before};
    update_service(call, request, &out_ask->service);
    if (before->primary == 0) {
        return check_ask(call, out_ask);
    }
    const struct service_record_deployment *primary =
        core_get(call->core, &service_deployment_kind, before->primary);
    const struct service_record_revision *revision =
        core_get(call->core, &service_revision_kind, primary->revision);
    out_ask->revision = *revision;
    int rc = update_revision(call, request, &out_ask->revision);
    if (rc != 0) {
        return rc;
    }
    out_ask->revision.created_at = call->now_ms;
    out_ask->service.launch_type = out_ask->revision.launch_type;
    out_ask->deploy = deploys(request, revision, &out_ask->revision);
    return check_ask(call, out_ask);
}
