#include "ecs/definition_internal.h"

#include "base/text.h"

#define TIMEOUT_SECONDS_MIN 2
#define TIMEOUT_SECONDS_MAX 120

/** The sentence ECS says of most members that Fargate does not have. */
static struct text unsupported(const struct definition_draft *draft, const char *what)
{
    return arena_format(draft->call->arena, "Fargate compatible task definitions do not support %s",
                        what);
}

/** The sentence ECS says when the execution role is missing. */
static struct text role_missing(const struct definition_draft *draft, const char *what)
{
    return arena_format(draft->call->arena,
                        "Fargate requires task definition to have execution role ARN to support "
                        "%s.",
                        what);
}

static struct text sizes_refusal(const struct definition_draft *draft)
{
    if (draft->cpu_units == 0) {
        return TEXT("Fargate requires that 'cpu' be defined at the task level.");
    }
    if (draft->memory_mib == 0) {
        return TEXT("Fargate requires that 'memory' be defined at the task level.");
    }
    bool windows_cpu = draft->cpu_units >= 1024 && draft->cpu_units <= 4096;
    if (!ecs_fargate_size_valid(draft->cpu_units, draft->memory_mib) ||
        (draft->windows && !windows_cpu)) {
        return TEXT("No Fargate configuration exists for given values.");
    }
    return (struct text){0};
}

static struct text task_refusal(const struct definition_draft *draft)
{
    const struct ecs_task_definition *definition = draft->definition;
    if (definition->network_mode != ECS_NETWORK_MODE_AWSVPC) {
        return TEXT("Fargate only supports network mode ‘awsvpc’.");
    }
    if (definition->ipc_mode != ECS_IPC_MODE_ABSENT) {
        return TEXT("Tasks using the Fargate launch type do not support ipcMode.");
    }
    if (definition->pid_mode == ECS_PID_MODE_HOST) {
        return TEXT("Tasks using the Fargate launch type do not support pidMode 'host'. The "
                    "supported value for pidMode is 'task'.");
    }
    if (definition->placement_constraints.count > 0) {
        return unsupported(draft, "placementConstraints");
    }
    for (size_t i = 0; i < definition->volumes.count; i++) {
        const struct ecs_volume *volume = &definition->volumes.items[i];
        if (volume->host != NULL && !text_empty(volume->host->source_path)) {
            return unsupported(draft, "sourcePath");
        }
        if (volume->docker_volume_configuration != NULL) {
            return unsupported(draft, "dockerVolumeConfiguration");
        }
        if (volume->fsx_windows_file_server_volume_configuration != NULL) {
            return unsupported(draft, "fsxWindowsFileServerVolumeConfiguration");
        }
    }
    return sizes_refusal(draft);
}

// A file of the host is no more for a Fargate task than a folder of it.
static bool has_host_file(const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < container->environment_files.count; i++) {
        if (text_starts(container->environment_files.items[i].value, TEXT("file:"))) {
            return true;
        }
    }
    return false;
}

static struct text linux_refusal(const struct definition_draft *draft,
                                 const struct ecs_linux_parameters *linux_parameters)
{
    if (linux_parameters->devices.count > 0) {
        return unsupported(draft, "devices");
    }
    if (linux_parameters->has_shared_memory_size) {
        return unsupported(draft, "sharedMemorySize");
    }
    if (linux_parameters->has_max_swap) {
        return unsupported(draft, "maxSwap");
    }
    if (linux_parameters->has_swappiness) {
        return unsupported(draft, "swappiness");
    }
    const struct ecs_kernel_capabilities *capabilities = linux_parameters->capabilities;
    for (size_t i = 0; capabilities != NULL && i < capabilities->add.count; i++) {
        if (!text_is(capabilities->add.items[i], "SYS_PTRACE")) {
            return arena_format(draft->call->arena,
                                "Fargate compatible task definitions do not support adding the "
                                "capability %.*s",
                                TEXT_FMT(capabilities->add.items[i]));
        }
    }
    return (struct text){0};
}

static struct text members_refusal(const struct definition_draft *draft,
                                   const struct ecs_container_definition *container)
{
    const struct {
        bool present;
        const char *name;
    } members[] = {
        {container->privileged, "privileged"},
        {container->links.count > 0, "links"},
        {has_host_file(container), "environmentFiles of the host"},
        {container->disable_networking, "disableNetworking"},
        {container->dns_servers.count > 0, "dnsServers"},
        {container->dns_search_domains.count > 0, "dnsSearchDomains"},
        {container->docker_security_options.count > 0, "dockerSecurityOptions"},
        {container->extra_hosts.count > 0, "extraHosts"},
        {container->resource_requirements.count > 0, "resourceRequirements"},
        {container->credential_specs.count > 0 && !draft->windows, "credentialSpecs"},
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (members[i].present) {
            return unsupported(draft, members[i].name);
        }
    }
    if (container->linux_parameters != NULL) {
        struct text refusal = linux_refusal(draft, container->linux_parameters);
        if (refusal.data != NULL) {
            return refusal;
        }
    }
    const struct {
        bool present;
        int32_t value;
        const char *name;
    } timeouts[] = {
        {container->has_start_timeout, container->start_timeout, "startTimeout"},
        {container->has_stop_timeout, container->stop_timeout, "stopTimeout"},
    };
    for (size_t i = 0; i < ARRAY_LEN(timeouts); i++) {
        if (timeouts[i].present &&
            (timeouts[i].value < TIMEOUT_SECONDS_MIN || timeouts[i].value > TIMEOUT_SECONDS_MAX)) {
            return arena_format(draft->call->arena,
                                "Invalid '%s' setting for container '%.*s'. Fargate supports "
                                "values between %d and %d.",
                                timeouts[i].name, TEXT_FMT(container->name), TIMEOUT_SECONDS_MIN,
                                TIMEOUT_SECONDS_MAX);
        }
    }
    return (struct text){0};
}

static struct text logs_refusal(const struct definition_draft *draft,
                                const struct ecs_container_definition *container)
{
    const struct ecs_firelens_configuration *router = container->firelens_configuration;
    if (router != NULL && text_is(definition_option(&router->options, "config-file-type"), "s3")) {
        return unsupported(draft, "the config-file-type s3");
    }
    const struct ecs_log_configuration *logs = container->log_configuration;
    if (logs == NULL) {
        return (struct text){0};
    }
    if (logs->log_driver != ECS_LOG_DRIVER_AWSLOGS && logs->log_driver != ECS_LOG_DRIVER_SPLUNK &&
        logs->log_driver != ECS_LOG_DRIVER_AWSFIRELENS) {
        return arena_format(draft->call->arena,
                            "Fargate compatible task definitions do not support the log driver %s",
                            shape_enum_name(&ecs_log_driver_shape, (int32_t)logs->log_driver));
    }
    if (logs->log_driver == ECS_LOG_DRIVER_AWSLOGS &&
        text_empty(definition_option(&logs->options, "awslogs-stream-prefix"))) {
        return TEXT("Log driver awslogs requires options: awslogs-stream-prefix");
    }
    return (struct text){0};
}

/** What ECS does with the execution role and Berth's nodes do without. */
static struct text role_refusal(const struct definition_draft *draft,
                                const struct ecs_container_definition *container)
{
    const struct ecs_log_configuration *logs = container->log_configuration;
    if (logs != NULL && logs->log_driver == ECS_LOG_DRIVER_AWSLOGS) {
        return role_missing(draft, "log driver awslogs");
    }
    if (definition_image_is_ecr(container->image)) {
        return role_missing(draft, "ECR images");
    }
    return (struct text){0};
}

struct text definition_fargate_refusal(const struct definition_draft *draft, bool strict)
{
    struct text refusal = task_refusal(draft);
    bool role = !text_empty(draft->definition->execution_role_arn);
    for (size_t i = 0; i < draft->definition->container_definitions.count && refusal.data == NULL;
         i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        refusal = members_refusal(draft, container);
        if (refusal.data == NULL) {
            refusal = logs_refusal(draft, container);
        }
        if (refusal.data == NULL && strict && !role) {
            refusal = role_refusal(draft, container);
        }
    }
    return refusal;
}

struct text definition_external_refusal(const struct definition_draft *draft)
{
    const struct ecs_task_definition *definition = draft->definition;
    if (definition->network_mode == ECS_NETWORK_MODE_AWSVPC) {
        return TEXT("The EXTERNAL launch type does not support network mode awsvpc.");
    }
    for (size_t i = 0; i < definition->volumes.count; i++) {
        const struct ecs_volume *volume = &definition->volumes.items[i];
        if (volume->efs_volume_configuration != NULL ||
            volume->s3files_volume_configuration != NULL ||
            volume->fsx_windows_file_server_volume_configuration != NULL ||
            volume->configured_at_launch) {
            return arena_format(draft->call->arena,
                                "The EXTERNAL launch type does not support the volume '%.*s'.",
                                TEXT_FMT(volume->name));
        }
    }
    return (struct text){0};
}
