#include "ecs/definition_internal.h"

#include "base/text.h"

#include <string.h>

#define CAPABILITY "com.amazonaws.ecs.capability."
#define ATTRIBUTES_MAX 64 ///< of one definition; drivers of docker volumes beyond it are left out

/** Names that are collected, each once. */
struct attribute_set {
    struct ecs_attribute items[ATTRIBUTES_MAX];
    size_t count;
};

static void add_name(struct attribute_set *set, struct text name)
{
    for (size_t i = 0; i < set->count; i++) {
        if (text_equal(set->items[i].name, name)) {
            return;
        }
    }
    if (set->count < ATTRIBUTES_MAX) {
        set->items[set->count] = (struct ecs_attribute){.name = name};
        set->count++;
    }
}

static void add_if(struct attribute_set *set, bool condition, const char *name)
{
    if (condition) {
        add_name(set, text_of(name));
    }
}

/** Where a secret comes from: an ARN of Secrets Manager, else the parameter store. */
static bool secret_is_asm(struct text value_from)
{
    return text_starts(value_from, TEXT("arn:aws:secretsmanager:"));
}

static void add_secrets(struct attribute_set *set, const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < container->secrets.count; i++) {
        bool is_asm = secret_is_asm(container->secrets.items[i].value_from);
        add_if(set, is_asm, "ecs.capability.secrets.asm.environment-variables");
        add_if(set, !is_asm, "ecs.capability.secrets.ssm.environment-variables");
    }
    const struct ecs_log_configuration *logs = container->log_configuration;
    for (size_t i = 0; logs != NULL && i < logs->secret_options.count; i++) {
        bool is_asm = secret_is_asm(logs->secret_options.items[i].value_from);
        add_if(set, is_asm, "ecs.capability.secrets.asm.bootstrap.log-driver");
        add_if(set, !is_asm, "ecs.capability.secrets.ssm.bootstrap.log-driver");
    }
}

static void add_container(struct core_call *call, struct attribute_set *set,
                          const struct ecs_container_definition *container, bool execution_role)
{
    const struct ecs_log_configuration *logs = container->log_configuration;
    if (logs != NULL) {
        bool awslogs = logs->log_driver == ECS_LOG_DRIVER_AWSLOGS;
        add_name(set,
                 arena_format(call->arena, CAPABILITY "logging-driver.%s",
                              shape_enum_name(&ecs_log_driver_shape, (int32_t)logs->log_driver)));
        add_if(set, awslogs && execution_role, "ecs.capability.execution-role-awslogs");
        add_if(set, awslogs, CAPABILITY "docker-remote-api.1.19");
    }
    bool ecr = definition_image_is_ecr(container->image);
    add_if(set, ecr, CAPABILITY "ecr-auth");
    add_if(set, ecr && execution_role, "ecs.capability.execution-role-ecr-pull");
    add_if(set, ecr, CAPABILITY "docker-remote-api.1.21");
    add_if(set, container->privileged, CAPABILITY "privileged-container");
    add_if(set, container->repository_credentials != NULL,
           "ecs.capability.private-registry-authentication.secretsmanager");
    add_if(set, container->depends_on.count > 0, "ecs.capability.container-ordering");
    add_if(set, container->health_check != NULL, "ecs.capability.container-health-check");
    add_if(set, container->health_check != NULL, CAPABILITY "docker-remote-api.1.24");
    add_if(set,
           container->linux_parameters != NULL && container->linux_parameters->init_process_enabled,
           CAPABILITY "docker-remote-api.1.25");
    add_if(set, container->environment_files.count > 0, "ecs.capability.env-files.s3");
    add_if(set, container->restart_policy != NULL && container->restart_policy->enabled,
           "ecs.capability.container-restart-policy");
    const struct ecs_firelens_configuration *router = container->firelens_configuration;
    add_if(set, router != NULL && router->type == ECS_FIRELENS_CONFIGURATION_TYPE_FLUENTD,
           "ecs.capability.firelens.fluentd");
    add_if(set, router != NULL && router->type == ECS_FIRELENS_CONFIGURATION_TYPE_FLUENTBIT,
           "ecs.capability.firelens.fluentbit");
    for (size_t i = 0; i < container->port_mappings.count; i++) {
        add_if(set, !text_empty(container->port_mappings.items[i].container_port_range),
               "ecs.capability.network.container-port-range");
    }
    add_secrets(set, container);
}

static void add_volumes(struct core_call *call, struct attribute_set *set,
                        const struct ecs_task_definition *definition)
{
    for (size_t i = 0; i < definition->volumes.count; i++) {
        const struct ecs_volume *volume = &definition->volumes.items[i];
        add_if(set, volume->efs_volume_configuration != NULL, "ecs.capability.efsAuth");
        add_if(set, volume->s3files_volume_configuration != NULL,
               "ecs.capability.storage.s3-files");
        add_if(set, volume->configured_at_launch, "ecs.capability.storage.ebs-task-volume-attach");
        const struct ecs_docker_volume_configuration *docker = volume->docker_volume_configuration;
        if (docker != NULL) {
            struct text driver = text_empty(docker->driver) ? TEXT("local") : docker->driver;
            add_name(set, arena_format(call->arena, "ecs.capability.docker-plugin.%.*s",
                                       TEXT_FMT(driver)));
        }
    }
}

static void add_task(struct attribute_set *set, const struct ecs_task_definition *definition)
{
    bool host = definition->network_mode == ECS_NETWORK_MODE_HOST;
    bool role = !text_empty(definition->task_role_arn);
    add_if(set, definition->network_mode == ECS_NETWORK_MODE_AWSVPC, "ecs.capability.task-eni");
    add_if(set, role && !host, CAPABILITY "task-iam-role");
    add_if(set, role && host, CAPABILITY "task-iam-role-network-host");
    add_if(set,
           definition->pid_mode != ECS_PID_MODE_ABSENT ||
               definition->ipc_mode != ECS_IPC_MODE_ABSENT,
           "ecs.capability.pid-ipc-namespace-sharing");
    add_if(set, definition->enable_fault_injection, "ecs.capability.fault-injection");
    add_if(set, !text_empty(definition->cpu) || !text_empty(definition->memory),
           "ecs.capability.task-cpu-mem-limit");
    add_if(set, true, CAPABILITY "docker-remote-api.1.18");
}

static void add_compatibility(struct ecs_task_definition *definition,
                              enum ecs_compatibility compatibility)
{
    definition->compatibilities.items[definition->compatibilities.count] = compatibility;
    definition->compatibilities.count++;
}

void definition_fill_attributes(const struct definition_draft *draft, bool strict)
{
    struct core_call *call = draft->call;
    struct ecs_task_definition *definition = draft->definition;
    definition->compatibilities.items =
        arena_array(call->arena, 4, sizeof(*definition->compatibilities.items));
    if (definition_external_refusal(draft).data == NULL) {
        add_compatibility(definition, ECS_COMPATIBILITY_EXTERNAL);
    }
    add_compatibility(definition, ECS_COMPATIBILITY_EC2);
    if (definition_fargate_refusal(draft, strict).data == NULL) {
        add_compatibility(definition, ECS_COMPATIBILITY_FARGATE);
    }
    // Berth has no managed instances; who asks for them by name is shown what was asked.
    if (definition_requires(definition, ECS_COMPATIBILITY_MANAGED_INSTANCES)) {
        add_compatibility(definition, ECS_COMPATIBILITY_MANAGED_INSTANCES);
    }

    struct attribute_set *set = ARENA_NEW(call->arena, struct attribute_set);
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        add_container(call, set, &definition->container_definitions.items[i],
                      !text_empty(definition->execution_role_arn));
    }
    add_task(set, definition);
    add_volumes(call, set, definition);
    definition->requires_attributes.items = set->items;
    definition->requires_attributes.count = set->count;
}
