#include "ecs/task_run.h"

#include "acs/acs.h"
#include "ecs/definition_internal.h"
#include "shape/json.h"
#include "vpc/vpc.h"

/*
 * What RunTask and StartTask are asked for: read, checked, refused in ECS's words. Nothing is put
 * here.
 */

#define SECURITY_GROUPS_MAX 5 // ECS
#define OVERRIDE_CHARS_MAX 8192
#define TOKEN_MAX 64
#define GROUP_MAX 255

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- what was asked for -------------------------------------------------------------------

static bool compatible(const struct ecs_task_definition *definition,
                       enum ecs_compatibility compatibility)
{
    for (size_t i = 0; i < definition->compatibilities.count; i++) {
        if (definition->compatibilities.items[i] == compatibility) {
            return true;
        }
    }
    return false;
}

void task_run_items(const struct task_run *run, struct capacity_item *out_items)
{
    for (size_t i = 0; i < run->strategy_count; i++) {
        out_items[i] = (struct capacity_item){
            .weight = run->strategy[i].weight,
            .base = run->strategy[i].base,
        };
    }
}

// Until a caller chooses, tasks go where the first one does.
static int read_strategy(struct core_call *call, struct task_run *run,
                         const struct ecs_capacity_provider_strategy_item *items, size_t count)
{
    int rc = ecs_strategy_check(call, &run->cluster_record->capacity_providers, items, count);
    if (rc != 0) {
        return rc;
    }
    run->launch_type = ecs_provider_predefined(items[0].capacity_provider) ? ECS_LAUNCH_TYPE_FARGATE
                                                                           : ECS_LAUNCH_TYPE_EC2;
    run->strategy = items;
    run->strategy_count = count;
    struct capacity_item shares[CAPACITY_ITEMS_MAX];
    task_run_items(run, shares);
    size_t first = capacity_next(shares, count);
    ASSERT(first != SIZE_MAX); // the check saw a weight
    task_run_provider(call, run, first);
    return 0;
}

static int read_launch_type(struct core_call *call, struct task_run *run)
{
    const struct ecs_run_task_request *request = run->request;
    if (request->capacity_provider_strategy.count > 0) {
        if (request->launch_type != ECS_LAUNCH_TYPE_ABSENT) {
            return refuse(
                call, "Specify either Launch Type or Capacity Provider Strategy, but not both.");
        }
        return read_strategy(call, run, request->capacity_provider_strategy.items,
                             request->capacity_provider_strategy.count);
    }
    switch (request->launch_type) {
    case ECS_LAUNCH_TYPE_ABSENT:
        run->launch_type = ECS_LAUNCH_TYPE_EC2;
        if (run->cluster_record->default_capacity_provider_strategy.count > 0) {
            return read_strategy(call, run,
                                 run->cluster_record->default_capacity_provider_strategy.items,
                                 run->cluster_record->default_capacity_provider_strategy.count);
        }
        return 0;
    case ECS_LAUNCH_TYPE_EC2:
    case ECS_LAUNCH_TYPE_FARGATE:
        run->launch_type = request->launch_type;
        return 0;
    case ECS_LAUNCH_TYPE_EXTERNAL:
        return core_fault(call, &ecs_error_unsupported_feature_exception,
                          "Launch type EXTERNAL is not supported by this version of Berth.");
    case ECS_LAUNCH_TYPE_MANAGED_INSTANCES:
    case ECS_LAUNCH_TYPE_UNRECOGNIZED:
        break;
    }
    return refuse(call, "launch type should be one of [EC2,FARGATE,EXTERNAL]");
}

// What came with 1.4.0, as AWS lists it for Fargate's platform versions.
static bool needs_newer_platform(const struct task_run *run)
{
    const struct ecs_task_definition *definition = run->definition;
    const struct ecs_task_override *overrides = run->request->overrides;
    const struct ecs_runtime_platform *platform = definition->runtime_platform;
    bool newer = definition->ephemeral_storage != NULL || run->request->enable_execute_command ||
                 (overrides != NULL && overrides->ephemeral_storage != NULL) ||
                 (platform != NULL && platform->cpu_architecture == ECS_CPU_ARCHITECTURE_ARM64);
    for (size_t i = 0; i < definition->volumes.count; i++) {
        newer = newer || definition->volumes.items[i].efs_volume_configuration != NULL;
    }
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_linux_parameters *linux_parameters =
            definition->container_definitions.items[i].linux_parameters;
        newer = newer || (linux_parameters != NULL && linux_parameters->capabilities != NULL &&
                          linux_parameters->capabilities->add.count > 0);
    }
    return newer;
}

static int check_launch_type(struct core_call *call, struct task_run *run)
{
    bool fargate = run->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    if (!compatible(run->definition, fargate ? ECS_COMPATIBILITY_FARGATE : ECS_COMPATIBILITY_EC2)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Task definition does not support launch_type %s.",
                          fargate ? "FARGATE" : "EC2");
    }
    struct text version = run->request->platform_version;
    if (!fargate) {
        return text_empty(version)
                   ? 0
                   : refuse(
                         call,
                         "The platform version must be null when specifying an EC2 launch type.");
    }
    if (text_empty(version) || text_is(version, "LATEST") || text_is(version, "1.4.0")) {
        run->platform_version = (struct text){0}; // 1.4.0 is what a record without one means
        return 0;
    }
    if (text_is(version, "1.3.0")) {
        run->platform_version = version;
        return needs_newer_platform(run)
                   ? core_fault(call, &ecs_error_platform_task_definition_incompatibility_exception,
                                "The specified platform does not satisfy the task definition's "
                                "required capabilities.")
                   : 0;
    }
    return core_fault(call, &ecs_error_platform_unknown_exception,
                      "The specified platform does not exist.");
}

int task_run_check_names(struct core_call *call, const struct ecs_run_task_request *request,
                         size_t started_by_max)
{
    if (request->started_by.size > started_by_max || !text_made_of(request->started_by, "-/_")) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "startedBy can have up to %zu characters: letters, numbers, hyphens, "
                          "forward slashes and underscores.",
                          started_by_max);
    }
    if (request->group.size > GROUP_MAX) {
        return refuse(call, "group can have up to 255 characters.");
    }
    if (request->reference_id.size > 1024) {
        return refuse(call, "referenceId can have up to 1024 characters.");
    }
    bool token = request->client_token.size <= TOKEN_MAX;
    for (size_t i = 0; token && i < request->client_token.size; i++) {
        token = request->client_token.data[i] >= 33 && request->client_token.data[i] <= 126;
    }
    return token ? 0 : refuse(call, "clientToken can have up to 64 characters of ASCII 33 to 126.");
}

// Refused rather than passed over in silence: the user would believe that they hold.
static int check_unbuilt(struct core_call *call, struct task_run *run)
{
    if (run->request->volume_configurations.count > 0) {
        return core_fault(call, &ecs_error_unsupported_feature_exception,
                          "Volumes that are configured at launch are not supported by this version "
                          "of Berth.");
    }
    return 0;
}

// ---- overrides, tags ----------------------------------------------------------------------

// A task must be what could have been registered: so the rules of RegisterTaskDefinition hold for
// the definition with its overrides. Roles were looked at when it was registered.
static int check_merged(struct core_call *call, const struct task_run *run,
                        const struct ecs_task_override *overrides)
{
    if (overrides == NULL) {
        return 0;
    }
    struct ecs_task_definition merged = *run->definition;
    task_merge(call, overrides, &merged);
    // Of the rules for launch types only those of the one that was asked for hold now.
    enum ecs_compatibility fargate = ECS_COMPATIBILITY_FARGATE;
    merged.requires_compatibilities.items = &fargate;
    merged.requires_compatibilities.count = run->launch_type == ECS_LAUNCH_TYPE_FARGATE ? 1 : 0;
    struct definition_draft draft = {.call = call, .definition = &merged};
    return definition_check(&draft, false);
}

static int check_overrides(struct core_call *call, struct task_run *run)
{
    const struct ecs_task_override *overrides = run->request->overrides;
    for (size_t i = 0; overrides != NULL && i < overrides->container_overrides.count; i++) {
        struct text name = overrides->container_overrides.items[i].name;
        size_t place = 0;
        size_t count = run->definition->container_definitions.count;
        while (place < count &&
               !text_equal(run->definition->container_definitions.items[place].name, name)) {
            place++;
        }
        if (place == count) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Override for container named %.*s is not a container in the "
                              "TaskDefinition.",
                              TEXT_FMT(name));
        }
    }
    if (overrides != NULL) {
        AUTO(buf_deinit) struct buf json = {0};
        json_encode(&ecs_task_override_shape, overrides, &json);
        if (json.size > OVERRIDE_CHARS_MAX) {
            return refuse(call, "Container Overrides length must be at most 8192");
        }
    }
    int rc = check_merged(call, run, overrides);
    if (rc != 0) {
        return rc;
    }
    if (task_sizes(run->definition, overrides, &run->sizes) != 0) {
        return core_fault(call, &ecs_error_client_exception,
                          "Invalid 'cpu' or 'memory' setting for task.");
    }
    if (run->launch_type == ECS_LAUNCH_TYPE_FARGATE &&
        !ecs_fargate_size_valid(run->sizes.cpu_units, run->sizes.memory_mib)) {
        return core_fault(call, &ecs_error_client_exception,
                          "No Fargate configuration exists for given values.");
    }
    return 0;
}

static void add_tag(struct task_run *run, struct ecs_tag tag)
{
    for (size_t i = 0; i < run->tag_count; i++) {
        if (text_equal(run->tags[i].key, tag.key)) {
            return; // the request's own come first and win
        }
    }
    run->tags[run->tag_count] = tag;
    run->tag_count++;
}

static int read_tags(struct core_call *call, struct task_run *run)
{
    const struct ecs_run_task_request *request = run->request;
    if (request->propagate_tags == ECS_PROPAGATE_TAGS_SERVICE) {
        return refuse(call, "Invalid value for propagateTags: a task that no service starts has no "
                            "service to take tags from.");
    }
    int rc = ecs_tags_check(call, request->tags.items, request->tags.count);
    if (rc != 0) {
        return rc;
    }
    size_t inherited = request->propagate_tags == ECS_PROPAGATE_TAGS_TASK_DEFINITION
                           ? run->definition_record->tags.count
                           : 0;
    run->tags = arena_array(call->arena, request->tags.count + inherited + 2, sizeof(*run->tags));
    for (size_t i = 0; i < request->tags.count; i++) {
        add_tag(run, request->tags.items[i]);
    }
    for (size_t i = 0; i < inherited; i++) {
        add_tag(run, run->definition_record->tags.items[i]);
    }
    if (request->has_enable_ecs_managed_tags && request->enable_ecs_managed_tags) {
        add_tag(run, (struct ecs_tag){TEXT("aws:ecs:clusterName"), run->cluster_record->name});
        if (run->deployment != 0) {
            add_tag(run, (struct ecs_tag){TEXT("aws:ecs:serviceName"),
                                          service_name(call->core, run->deployment)});
        }
    }
    return 0;
}

// ---- network ------------------------------------------------------------------------------

static int read_subnets(struct core_call *call, struct task_run *run,
                        const struct ecs_aws_vpc_configuration *config, int64_t *out_vpc)
{
    if (config->subnets.count == 0) {
        return refuse(call, "subnets can not be empty.");
    }
    if (config->subnets.count > TASK_SUBNETS_MAX) {
        return refuse(call, "subnets can have at most 16 items.");
    }
    int64_t vpc = 0;
    for (size_t i = 0; i < config->subnets.count; i++) {
        struct text id = config->subnets.items[i];
        int64_t key = vpc_subnet_find(call->core, run->cluster_record->realm, id);
        if (key == 0) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Error retrieving subnet information for [%.*s]: The subnet ID "
                              "'%.*s' does not exist (ErrorCode: InvalidSubnetID.NotFound)",
                              TEXT_FMT(id), TEXT_FMT(id));
        }
        const struct vpc_record_subnet *subnet = core_get(call->core, &vpc_subnet_kind, key);
        if (vpc != 0 && subnet->vpc != vpc) {
            return refuse(call, "subnets must all be in the same VPC.");
        }
        vpc = subnet->vpc;
        run->subnets[run->subnet_count] = key;
        run->subnet_count++;
    }
    *out_vpc = vpc;
    return 0;
}

static int read_network(struct core_call *call, struct task_run *run)
{
    const struct ecs_network_configuration *network = run->request->network_configuration;
    const struct ecs_aws_vpc_configuration *config =
        network == NULL ? NULL : network->awsvpc_configuration;
    run->awsvpc = run->definition->network_mode == ECS_NETWORK_MODE_AWSVPC;
    if (!run->awsvpc) {
        return config == NULL ? 0
                              : refuse(call, "Network Configuration is not valid for the given "
                                             "networkMode of this task definition.");
    }
    if (config == NULL) {
        return refuse(call, "Network Configuration must be provided when networkMode 'awsvpc' is "
                            "specified.");
    }
    int64_t vpc = 0;
    int rc = read_subnets(call, run, config, &vpc);
    if (rc != 0) {
        return rc;
    }
    if (config->security_groups.count > SECURITY_GROUPS_MAX) {
        return refuse(call, "securityGroups can have at most 5 items.");
    }
    for (size_t i = 0; i < config->security_groups.count; i++) {
        struct text id = config->security_groups.items[i];
        if (vpc_group_find(call->core, vpc, id) == 0 && !MUTANT("run-in-any-group")) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Error retrieving security group information for [%.*s]: The "
                              "security group '%.*s' does not exist (ErrorCode: "
                              "InvalidGroup.NotFound)",
                              TEXT_FMT(id), TEXT_FMT(id));
        }
    }
    if (config->assign_public_ip == ECS_ASSIGN_PUBLIC_IP_ENABLED &&
        run->launch_type != ECS_LAUNCH_TYPE_FARGATE) {
        return refuse(call, "Assign public IP is not supported for this launch type.");
    }
    run->groups = config->security_groups;
    return 0;
}

// ---- the whole ----------------------------------------------------------------------------

static int read_definition(struct core_call *call, struct task_run *run)
{
    // A deployment goes on with its definition even when that is INACTIVE meanwhile.
    int rc = run->definition_key != 0
                 ? 0
                 : ecs_definition_resolve(call, run->request->task_definition, ECS_DEFINITION_RUN,
                                          &run->definition_key);
    if (rc != 0) {
        return rc;
    }
    run->definition_record = core_get(call->core, &ecs_definition_kind, run->definition_key);
    run->definition = run->definition_record->definition;
    return 0;
}

typedef int (*run_step_fn)(struct core_call *call, struct task_run *run);

static uint32_t needed_capabilities(const struct task_run *run)
{
    const struct ecs_attribute execute = {.name = TEXT(CAPABILITY_EXECUTE_COMMAND)};
    return capability_needed(run->definition->requires_attributes.items,
                             run->definition->requires_attributes.count) |
           (run->request->enable_execute_command ? capability_needed(&execute, 1) : 0) |
           (acs_unsupported(run->definition) != NULL ? CAPABILITY_BERTH_AGENT : 0);
}

int task_run_read(struct core_call *call, struct task_run *run)
{
    static const run_step_fn steps[] = {
        read_definition,     read_launch_type, check_launch_type, check_unbuilt,
        task_placement_read, check_overrides,  read_tags,         read_network,
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int rc = steps[i](call, run);
        if (rc != 0) {
            return rc;
        }
    }
    const struct ecs_runtime_platform *platform = run->definition->runtime_platform;
    bool arm = platform != NULL && platform->cpu_architecture == ECS_CPU_ARCHITECTURE_ARM64;
    bool fargate = run->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    // On instances nothing is implied: what the definition does not ask for may be any.
    bool any =
        !fargate && (platform == NULL || platform->cpu_architecture == ECS_CPU_ARCHITECTURE_ABSENT);
    run->need = (struct place_request){
        .cpu_units = run->sizes.cpu_units,
        .memory_mib = run->sizes.memory_mib,
        .eni = run->awsvpc,
        .architecture = any   ? PLACE_ANY
                        : arm ? PLACE_ARM64
                              : PLACE_X86_64,
        .capabilities = needed_capabilities(run),
    };
    return 0;
}
