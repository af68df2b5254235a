#include "ecs/service_internal.h"

/*
 * What a service has beside its tasks: load balancers, registries, Service Connect, volumes and VPC
 * Lattice. The parts that act on them are not there yet, but what contradicts the task definition
 * is refused now, so that it is not found out by a deployment later.
 */

#define TARGET_GROUPS_MAX 5 // ECS
#define DISCOVERY_NAME_MAX 64
#define DNS_NAME_MAX 127
#define PORT_MAX 65535
#define VOLUME_GIB_MAX 16384 // EBS

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- what the definition has ----------------------------------------------------------------

static int check_port(struct core_call *call, const struct ecs_task_definition *definition,
                      struct text name, int32_t port)
{
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        if (!text_equal(container->name, name)) {
            continue;
        }
        for (size_t j = 0; j < container->port_mappings.count; j++) {
            if (container->port_mappings.items[j].container_port == port) {
                return 0;
            }
        }
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The container %.*s did not have a container port %d defined.",
                          TEXT_FMT(name), (int)port);
    }
    return core_fault(call, &ecs_error_invalid_parameter_exception,
                      "The container %.*s does not exist in the task definition.", TEXT_FMT(name));
}

static bool has_port_name(const struct ecs_task_definition *definition, struct text name)
{
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        for (size_t j = 0; j < container->port_mappings.count; j++) {
            if (!text_empty(name) && text_equal(container->port_mappings.items[j].name, name)) {
                return true;
            }
        }
    }
    return false;
}

static int check_port_name(struct core_call *call, const struct ecs_task_definition *definition,
                           struct text name)
{
    return has_port_name(definition, name)
               ? 0
               : core_fault(call, &ecs_error_invalid_parameter_exception,
                            "portName(%.*s) does not refer to any named PortMapping in the task "
                            "definition.",
                            TEXT_FMT(name));
}

// `arn:PARTITION:SERVICE:REGION:ACCOUNT:PATH...`
static bool is_arn(struct text arn, const char *service, const char *path)
{
    struct text rest = arn;
    bool named = text_is(text_cut(&rest, ':'), "arn");
    (void)text_cut(&rest, ':');
    named = named && text_is(text_cut(&rest, ':'), service);
    (void)text_cut(&rest, ':');
    (void)text_cut(&rest, ':');
    return named && text_starts(rest, text_of(path));
}

// ---- load balancers -------------------------------------------------------------------------

static int check_advanced(struct core_call *call, const struct service_ask *ask,
                          const struct ecs_advanced_configuration *advanced)
{
    if (advanced == NULL) {
        return 0;
    }
    if (ask->service.configuration->strategy == ECS_DEPLOYMENT_STRATEGY_ROLLING) {
        return refuse(call, "The advancedConfiguration of a load balancer can be specified only "
                            "with the BLUE_GREEN, LINEAR and CANARY strategies.");
    }
    if (text_empty(advanced->alternate_target_group_arn) ||
        text_empty(advanced->production_listener_rule) || text_empty(advanced->role_arn)) {
        return refuse(call, "The advancedConfiguration of a load balancer needs "
                            "alternateTargetGroupArn, productionListenerRule and roleArn.");
    }
    return 0;
}

static int check_balancer(struct core_call *call, const struct service_ask *ask,
                          const struct ecs_task_definition *definition,
                          const struct ecs_load_balancer *balancer)
{
    bool classic = !text_empty(balancer->load_balancer_name);
    bool group = !text_empty(balancer->target_group_arn);
    if (classic == group) {
        return refuse(call,
                      "Specify either targetGroupArn or loadBalancerName of a load balancer.");
    }
    if (group && !is_arn(balancer->target_group_arn, "elasticloadbalancing", "targetgroup/")) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The target group %.*s does not exist.",
                          TEXT_FMT(balancer->target_group_arn));
    }
    if (classic && definition->network_mode == ECS_NETWORK_MODE_AWSVPC) {
        return refuse(call, "Classic Load Balancers are not supported with networkMode 'awsvpc'.");
    }
    int rc = check_port(call, definition, balancer->container_name, balancer->container_port);
    return rc == 0 ? check_advanced(call, ask, balancer->advanced_configuration) : rc;
}

static int check_balancers(struct core_call *call, const struct service_ask *ask,
                           const struct ecs_task_definition *definition)
{
    const struct service_record_revision *revision = &ask->revision;
    if (revision->load_balancers.count > TARGET_GROUPS_MAX) {
        return refuse(call, "load balancers can have at most 5 items.");
    }
    size_t classic = 0;
    for (size_t i = 0; i < revision->load_balancers.count; i++) {
        classic += !text_empty(revision->load_balancers.items[i].load_balancer_name);
    }
    if (classic > 1) {
        return refuse(call, "A service can have at most one Classic Load Balancer.");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < revision->load_balancers.count; i++) {
        rc = check_balancer(call, ask, definition, &revision->load_balancers.items[i]);
    }
    return rc;
}

// ---- service discovery ----------------------------------------------------------------------

static int check_registries(struct core_call *call, const struct service_ask *ask,
                            const struct ecs_task_definition *definition)
{
    const struct service_record_revision *revision = &ask->revision;
    if (revision->service_registries.count > 1) {
        return refuse(call, "service registries can have at most 1 items.");
    }
    if (revision->service_registries.count == 0) {
        return 0;
    }
    const struct ecs_service_registry *registry = &revision->service_registries.items[0];
    if (!is_arn(registry->registry_arn, "servicediscovery", "service/")) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The service registry %.*s does not exist.",
                          TEXT_FMT(registry->registry_arn));
    }
    bool container = !text_empty(registry->container_name);
    if (container != registry->has_container_port || (container && registry->has_port)) {
        return refuse(call,
                      "Specify either port, or containerName and containerPort together, of a "
                      "service registry.");
    }
    if (registry->has_port && (registry->port < 1 || registry->port > PORT_MAX)) {
        return refuse(call, "The port of a service registry must be between 1 and 65535.");
    }
    return container
               ? check_port(call, definition, registry->container_name, registry->container_port)
               : 0;
}

// ---- Service Connect ------------------------------------------------------------------------

static struct text discovery_name(const struct ecs_service_connect_service *service)
{
    return text_empty(service->discovery_name) ? service->port_name : service->discovery_name;
}

static bool discovery_name_valid(struct text name)
{
    bool valid = name.size <= DISCOVERY_NAME_MAX && name.data[0] != '-';
    for (size_t i = 0; valid && i < name.size; i++) {
        char byte = name.data[i];
        valid = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
                byte == '_';
    }
    return valid;
}

static int check_alias(struct core_call *call, const struct ecs_service_connect_service *service)
{
    if (service->client_aliases.count > 1) {
        return refuse(call, "clientAliases can have at most 1 items.");
    }
    if (service->client_aliases.count == 0) {
        return 0;
    }
    const struct ecs_service_connect_client_alias *alias = &service->client_aliases.items[0];
    if (alias->port < 1) {
        return refuse(call, "The port of a client alias must be between 1 and 65535.");
    }
    return alias->dns_name.size <= DNS_NAME_MAX
               ? 0
               : refuse(call, "The dnsName of a client alias can have up to 127 characters.");
}

static int check_connect_service(struct core_call *call,
                                 const struct ecs_task_definition *definition,
                                 const struct ecs_service_connect_configuration *connect,
                                 size_t place)
{
    const struct ecs_service_connect_service *service = &connect->services.items[place];
    int rc = check_port_name(call, definition, service->port_name);
    if (rc != 0) {
        return rc;
    }
    if (!discovery_name_valid(discovery_name(service))) {
        return refuse(call, "discoveryName can have up to 64 characters: lowercase letters, "
                            "numbers, underscores and hyphens, and cannot begin with a hyphen.");
    }
    for (size_t i = 0; i < place; i++) {
        const struct ecs_service_connect_service *other = &connect->services.items[i];
        if (text_equal(other->port_name, service->port_name)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Duplicate portName in Service Connect services: %.*s",
                              TEXT_FMT(service->port_name));
        }
        if (text_equal(discovery_name(other), discovery_name(service))) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Duplicate discoveryName in Service Connect services: %.*s",
                              TEXT_FMT(discovery_name(service)));
        }
    }
    return check_alias(call, service);
}

static int check_connect(struct core_call *call, const struct service_ask *ask,
                         const struct ecs_task_definition *definition)
{
    const struct ecs_service_connect_configuration *connect =
        ask->revision.service_connect_configuration;
    if (connect == NULL || !connect->enabled) {
        return 0;
    }
    if (text_empty(connect->namespace)) {
        return refuse(call, "Service Connect needs a namespace: specify one, or a default of the "
                            "cluster.");
    }
    if (definition->network_mode != ECS_NETWORK_MODE_AWSVPC &&
        definition->network_mode != ECS_NETWORK_MODE_BRIDGE) {
        return refuse(call, "Service Connect is supported only with the network modes 'awsvpc' and "
                            "'bridge'.");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < connect->services.count; i++) {
        rc = check_connect_service(call, definition, connect, i);
    }
    return rc;
}

// ---- volumes and VPC Lattice ----------------------------------------------------------------

static int check_ebs(struct core_call *call,
                     const struct ecs_service_managed_ebs_volume_configuration *volume)
{
    static const char *const types[] = {"gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"};
    if (volume == NULL) {
        return refuse(call, "A volume configuration needs managedEBSVolume.");
    }
    if (!volume->has_size_in_gib && text_empty(volume->snapshot_id)) {
        return refuse(call, "A managedEBSVolume needs sizeInGiB or snapshotId.");
    }
    if (volume->has_size_in_gib &&
        (volume->size_in_gib < 1 || volume->size_in_gib > VOLUME_GIB_MAX)) {
        return refuse(call, "sizeInGiB must be between 1 and 16384.");
    }
    bool known = text_empty(volume->volume_type);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        known = known || text_is(volume->volume_type, types[i]);
    }
    return known ? 0
                 : refuse(call, "volumeType should be one of [gp2,gp3,io1,io2,sc1,st1,standard]");
}

static int check_volumes(struct core_call *call, const struct service_ask *ask,
                         const struct ecs_task_definition *definition)
{
    const struct service_record_revision *revision = &ask->revision;
    if (revision->volume_configurations.count > 1) {
        return refuse(call, "volume configurations can have at most 1 items.");
    }
    struct text wanted = {0};
    for (size_t i = 0; i < definition->volumes.count; i++) {
        if (definition->volumes.items[i].configured_at_launch) {
            wanted = definition->volumes.items[i].name;
        }
    }
    if (revision->volume_configurations.count == 0) {
        return wanted.data == NULL
                   ? 0
                   : core_fault(call, &ecs_error_invalid_parameter_exception,
                                "The volume %.*s of the task definition is configured at launch. "
                                "Specify volumeConfigurations and try again.",
                                TEXT_FMT(wanted));
    }
    const struct ecs_service_volume_configuration *volume =
        &revision->volume_configurations.items[0];
    if (wanted.data == NULL || !text_equal(wanted, volume->name)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The volume %.*s is not a volume of the task definition that is "
                          "configured at launch.",
                          TEXT_FMT(volume->name));
    }
    return check_ebs(call, volume->managed_ebs_volume);
}

static int check_lattice(struct core_call *call, const struct service_ask *ask,
                         const struct ecs_task_definition *definition)
{
    const struct service_record_revision *revision = &ask->revision;
    if (revision->vpc_lattice_configurations.count > TARGET_GROUPS_MAX) {
        return refuse(call, "VPC Lattice configurations can have at most 5 items.");
    }
    for (size_t i = 0; i < revision->vpc_lattice_configurations.count; i++) {
        const struct ecs_vpc_lattice_configuration *lattice =
            &revision->vpc_lattice_configurations.items[i];
        if (!is_arn(lattice->target_group_arn, "vpc-lattice", "targetgroup/")) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The target group %.*s does not exist.",
                              TEXT_FMT(lattice->target_group_arn));
        }
        int rc = check_port_name(call, definition, lattice->port_name);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int service_check_attached(struct core_call *call, const struct service_ask *ask)
{
    static int (*const checks[])(struct core_call *, const struct service_ask *,
                                 const struct ecs_task_definition *) = {
        check_balancers, check_registries, check_connect, check_volumes, check_lattice,
    };
    const struct ecs_task_definition *definition =
        task_definition(call->core, ask->revision.definition);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(checks); i++) {
        rc = checks[i](call, ask, definition);
    }
    return rc;
}
