#include "ecs/service_internal.h"

/*
 * What an UpdateService asks for: read over what the service was, refused in ECS's words, and
 * whether it begins a deployment. Nothing is put here.
 */

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

static void update_service(struct core_call *call, const struct ecs_update_service_request *in,
                           struct service_record_service *out)
{
    bool daemon = out->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON;
    out->configuration =
        service_fill_configuration(call, in->deployment_configuration, out->configuration, daemon);
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
        service_fill_strategy(call, in->capacity_provider_strategy.items, count);
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
            service_fill_connect(call, cluster, in->service_connect_configuration);
    }
    return text_empty(in->task_definition)
               ? 0
               : service_fill_definition(call, in->task_definition, out);
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
            out_ask->revision.images_from = (struct text){0};
        }
    }
    rc = service_check(call, out_ask);
    if (rc == 0) {
        rc = service_check_execute(call, out_ask, "updated");
    }
    return rc == 0
               ? service_fill_zones(call, request->availability_zone_rebalancing, false, out_ask)
               : rc;
}
