#include "ecs/service_internal.h"
#include "ecs/stage.h"

#include <string.h>

/*
 * What CreateService and UpdateService ask for: read over what the service was, filled with ECS's
 * defaults, refused in ECS's words. Nothing is put here.
 */

#define TOKEN_MAX 36 // ECS: of a service, a task's may have 64

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- filling --------------------------------------------------------------------------------

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
    fill_shifts(call, asked, out);
    if (!stage_applies(out) && asked->lifecycle_hooks.items == NULL) {
        out->lifecycle_hooks.items = NULL; // of the strategy that was in force
        out->lifecycle_hooks.count = 0;
    }
    return out;
}

// Strategy items as ECS echoes them: weight and base are never absent.
static struct ecs_capacity_provider_strategy_item *
fill_strategy(struct core_call *call, const struct ecs_capacity_provider_strategy_item *items,
              size_t count)
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

// Service Connect without a namespace is in the cluster's default one.
static struct ecs_service_connect_configuration *
fill_connect(struct core_call *call, int64_t cluster,
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

// A new service evens out its zones where it can; one that is asked to and cannot is refused.
static int read_zones(struct core_call *call, enum ecs_availability_zone_rebalancing asked,
                      struct service_ask *ask)
{
    const char *refusal = service_zones_refusal(call->core, ask);
    if (asked == ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED && refusal != NULL) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Availability Zone rebalancing is not supported with %s.", refusal);
    }
    if (asked != ECS_AVAILABILITY_ZONE_REBALANCING_ABSENT) {
        ask->service.zone_rebalancing = asked;
    } else if (ask->service.zone_rebalancing == ECS_AVAILABILITY_ZONE_REBALANCING_ABSENT) {
        ask->service.zone_rebalancing = refusal == NULL
                                            ? ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED
                                            : ECS_AVAILABILITY_ZONE_REBALANCING_DISABLED;
    }
    return 0;
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
                          int64_t cluster, struct service_record_revision *out)
{
    *out = (struct service_record_revision){
        .created_at = call->now_ms,
        .launch_type = in->launch_type,
        .platform_version = in->platform_version,
        .network_configuration = in->network_configuration,
        .service_connect_configuration =
            fill_connect(call, cluster, in->service_connect_configuration),
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

static bool is_external(const struct ecs_create_service_request *in)
{
    return in->deployment_controller != NULL &&
           in->deployment_controller->type == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL;
}

static int check_desired(struct core_call *call, const struct ecs_create_service_request *in)
{
    if (in->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
        return in->has_desired_count
                   ? refuse(call, "The daemon scheduling strategy does not support a desired count "
                                  "for services. Remove the desired count value and try again")
                   : 0;
    }
    return in->has_desired_count || is_external(in)
               ? 0
               : refuse(call, "desiredCount is required for the REPLICA scheduling strategy.");
}

// Of a service whose deployments are made elsewhere, each task set says what it runs.
static int check_external(struct core_call *call, const struct ecs_create_service_request *in)
{
    const struct {
        bool given;
        const char *name;
    } members[] = {
        {!text_empty(in->task_definition), "taskDefinition"},
        {in->launch_type != ECS_LAUNCH_TYPE_ABSENT, "launchType"},
        {in->capacity_provider_strategy.count > 0, "capacityProviderStrategy"},
        {!text_empty(in->platform_version), "platformVersion"},
        {in->network_configuration != NULL, "networkConfiguration"},
        {in->load_balancers.count > 0, "loadBalancers"},
        {in->service_registries.count > 0, "serviceRegistries"},
        {in->service_connect_configuration != NULL, "serviceConnectConfiguration"},
        {in->volume_configurations.count > 0, "volumeConfigurations"},
        {in->vpc_lattice_configurations.count > 0, "vpcLatticeConfigurations"},
        {!text_empty(in->role), "role"},
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (members[i].given) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "%s cannot be specified for a service with the EXTERNAL deployment "
                              "controller. Specify it for a task set.",
                              members[i].name);
        }
    }
    return 0;
}

int service_ask_create(struct core_call *call, const struct ecs_create_service_request *request,
                       int64_t cluster, struct service_ask *out_ask)
{
    bool external = is_external(request);
    int rc = check_name(call, request->service_name);
    if (rc == 0) {
        rc = check_token(call, request->client_token);
    }
    if (rc == 0) {
        rc = check_desired(call, request);
    }
    if (rc == 0 && external) {
        rc = check_external(call, request);
    }
    if (rc != 0) {
        return rc;
    }
    fill_service(call, request, cluster, &out_ask->service);
    fill_revision(call, request, cluster, &out_ask->revision);
    if (!external) {
        rc = read_definition(call, request->task_definition, &out_ask->revision);
        if (rc != 0) {
            return rc;
        }
        fill_launch_type(call, cluster, &out_ask->revision);
    }
    out_ask->service.launch_type = out_ask->revision.launch_type;
    out_ask->deploy = !external;
    rc = service_check(call, out_ask);
    return rc == 0 ? read_zones(call, request->availability_zone_rebalancing, out_ask) : rc;
}

// ---- CreateTaskSet --------------------------------------------------------------------------

int service_ask_task_set(struct core_call *call, const struct ecs_create_task_set_request *request,
                         int64_t service, struct service_ask *out_ask)
{
    const struct service_record_service *record = core_get(call->core, &service_kind, service);
    const struct ecs_create_service_request in = {
        .launch_type = request->launch_type,
        .platform_version = request->platform_version,
        .network_configuration = request->network_configuration,
        .load_balancers = request->load_balancers,
        .service_registries = request->service_registries,
        .capacity_provider_strategy = request->capacity_provider_strategy,
    };
    *out_ask = (struct service_ask){.service = *record, .deploy = true};
    fill_revision(call, &in, record->cluster, &out_ask->revision);
    int rc = read_definition(call, request->task_definition, &out_ask->revision);
    if (rc != 0) {
        return rc;
    }
    fill_launch_type(call, record->cluster, &out_ask->revision);
    return service_check(call, out_ask);
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
    if (in->deployment_controller != NULL) {
        out->controller = in->deployment_controller->type;
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
static void update_lists(const struct ecs_update_service_request *in,
                         struct service_record_revision *out)
{
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

static bool same_strategy(const struct service_record_revision *before,
                          const struct service_record_revision *after)
{
    size_t count = before->capacity_provider_strategy.count;
    bool same = count == after->capacity_provider_strategy.count;
    for (size_t i = 0; same && i < count; i++) {
        const struct ecs_capacity_provider_strategy_item *a =
            &before->capacity_provider_strategy.items[i];
        const struct ecs_capacity_provider_strategy_item *b =
            &after->capacity_provider_strategy.items[i];
        same = text_equal(a->capacity_provider, b->capacity_provider) && a->weight == b->weight &&
               a->base == b->base;
    }
    return same;
}

// A strategy takes the place of the launch type; an empty one gives way to the launch type that
// means the same kind of capacity.
static int update_strategy(struct core_call *call, const struct ecs_update_service_request *in,
                           struct service_record_revision *out)
{
    if (in->capacity_provider_strategy.items == NULL) {
        return 0;
    }
    struct service_record_revision before = *out;
    bool fargate = service_on_fargate(&before);
    size_t count = in->capacity_provider_strategy.count;
    out->capacity_provider_strategy.items =
        fill_strategy(call, in->capacity_provider_strategy.items, count);
    out->capacity_provider_strategy.count = count;
    if (count > 0) {
        out->launch_type = ECS_LAUNCH_TYPE_ABSENT;
    } else if (before.capacity_provider_strategy.count > 0) {
        out->launch_type = fargate ? ECS_LAUNCH_TYPE_FARGATE : ECS_LAUNCH_TYPE_EC2;
    }
    if (same_strategy(&before, out)) {
        return 0;
    }
    if (!in->force_new_deployment) {
        return refuse(call,
                      "When switching from launch type to capacity provider strategy on an "
                      "existing service, or making a change to a capacity provider strategy on a "
                      "service that is already using one, you must force a new deployment.");
    }
    if (service_on_fargate(out) != fargate) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "A service that uses %s cannot be updated to use %s.",
                          fargate ? "Fargate" : "container instances",
                          fargate ? "container instances" : "Fargate");
    }
    return 0;
}

static int update_revision(struct core_call *call, const struct ecs_update_service_request *in,
                           int64_t cluster, struct service_record_revision *out)
{
    int rc = update_strategy(call, in, out);
    if (rc != 0) {
        return rc;
    }
    update_lists(in, out);
    if (!text_empty(in->platform_version)) {
        out->platform_version = in->platform_version;
    }
    if (in->network_configuration != NULL) {
        out->network_configuration = in->network_configuration;
    }
    if (in->service_connect_configuration != NULL) {
        out->service_connect_configuration =
            fill_connect(call, cluster, in->service_connect_configuration);
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
           in->vpc_lattice_configurations.items != NULL;
}

// What another controller than ECS leaves to its own deployments.
static int check_controller(struct core_call *call, const struct ecs_update_service_request *in,
                            const struct service_record_service *before)
{
    enum ecs_deployment_controller_type controller = before->controller;
    bool external = controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL;
    if (in->deployment_controller != NULL && in->deployment_controller->type != controller) {
        // An EXTERNAL service has no deployment of its own to go on from, and no other controller
        // is here that could take one over.
        return !external && in->deployment_controller->type == ECS_DEPLOYMENT_CONTROLLER_TYPE_ECS
                   ? 0
                   : refuse(call, "The deployment controller of a service can be updated only from "
                                  "CODE_DEPLOY to ECS.");
    }
    if (controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_ECS) {
        return 0;
    }
    const struct {
        bool given;
        const char *what;
    } members[] = {
        {!text_empty(in->task_definition), "Unable to update task definition"},
        {in->network_configuration != NULL, "Unable to update network parameters"},
        {!text_empty(in->platform_version), "Unable to update platform version"},
        {in->load_balancers.items != NULL, "Unable to update load balancers"},
        {in->service_registries.items != NULL, "Unable to update service registries"},
        {in->service_connect_configuration != NULL, "Unable to update Service Connect"},
        {in->volume_configurations.items != NULL, "Unable to update volume configurations"},
        {in->vpc_lattice_configurations.items != NULL, "Unable to update VPC Lattice"},
        {in->capacity_provider_strategy.items != NULL,
         "Unable to update capacity provider strategy"},
        {in->force_new_deployment, "Cannot force a new deployment"},
        {external && in->deployment_configuration != NULL,
         "Unable to update deployment configuration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (members[i].given) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "%s on services with %s deployment controller. Use %s to trigger a "
                              "new deployment.",
                              members[i].what, external ? "an EXTERNAL" : "a CODE_DEPLOY",
                              external ? "a task set" : "AWS CodeDeploy");
        }
    }
    return 0;
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
    int rc = check_controller(call, request, before);
    if (rc != 0) {
        return rc;
    }
    *out_ask = (struct service_ask){.service = *before};
    update_service(call, request, &out_ask->service);
    bool external = out_ask->service.controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL;
    if (before->primary != 0 && !external) {
        const struct service_record_deployment *primary =
            core_get(call->core, &service_deployment_kind, before->primary);
        const struct service_record_revision *revision =
            core_get(call->core, &service_revision_kind, primary->revision);
        out_ask->revision = *revision;
        rc = update_revision(call, request, before->cluster, &out_ask->revision);
        if (rc != 0) {
            return rc;
        }
        out_ask->service.launch_type = out_ask->revision.launch_type;
        out_ask->deploy = deploys(request, revision, &out_ask->revision);
        if (out_ask->deploy) { // a revision of its own, whose images are yet to be resolved
            out_ask->revision.created_at = call->now_ms;
            out_ask->revision.container_images.count = 0;
        }
    }
    rc = service_check(call, out_ask);
    return rc == 0 ? read_zones(call, request->availability_zone_rebalancing, out_ask) : rc;
}
