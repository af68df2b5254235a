#include "ecs/service_internal.h"

/*
 * What CreateService and CreateTaskSet ask for: read, filled with ECS's defaults, refused in ECS's
 * words. Nothing is put here.
 */

#define TOKEN_MAX 36 // ECS: of a service, a task's may have 64

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- CreateService --------------------------------------------------------------------------

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
        .configuration =
            service_fill_configuration(call, in->deployment_configuration, NULL, daemon),
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
            service_fill_connect(call, cluster, in->service_connect_configuration),
    };
    size_t count = in->capacity_provider_strategy.count;
    out->capacity_provider_strategy.items =
        service_fill_strategy(call, in->capacity_provider_strategy.items, count);
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
        rc = service_fill_definition(call, request->task_definition, &out_ask->revision);
        if (rc != 0) {
            return rc;
        }
        service_fill_launch_type(call, cluster, &out_ask->revision);
    }
    out_ask->service.launch_type = out_ask->revision.launch_type;
    out_ask->deploy = !external;
    rc = service_check(call, out_ask);
    if (rc == 0) {
        rc = service_check_execute(call, out_ask, "created");
    }
    return rc == 0 ? service_fill_zones(call, request->availability_zone_rebalancing, true, out_ask)
                   : rc;
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
    int rc = service_fill_definition(call, request->task_definition, &out_ask->revision);
    if (rc != 0) {
        return rc;
    }
    service_fill_launch_type(call, record->cluster, &out_ask->revision);
    return service_check(call, out_ask);
}
