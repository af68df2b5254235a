#include "acs/acs_internal.h"

#include "base/text.h"

/*
 * What Amazon's agent does by asking AWS (S3, Systems Manager, Secrets Manager, EFS, EBS) cannot
 * work where the control plane is Berth's: it signs with credentials that AWS does not know. Only
 * secrets of environments are read here and sent as variables. And some of what Berth's agent does,
 * Amazon's has never had.
 */

static bool has_extension(const struct text_map *labels)
{
    for (size_t i = 0; i < labels->count; i++) {
        if (text_starts(labels->items[i].key, TEXT("berth."))) {
            return true;
        }
    }
    return false;
}

static bool has_accelerator(const struct ecs_resource_requirement_list *requirements)
{
    for (size_t i = 0; i < requirements->count; i++) {
        if (requirements->items[i].type != ECS_RESOURCE_TYPE_GPU) {
            return true;
        }
    }
    return false;
}

static const char *of_container(const struct ecs_container_definition *container)
{
    const struct ecs_log_configuration *logs = container->log_configuration;
    const struct ecs_firelens_configuration *router = container->firelens_configuration;
    const struct {
        bool asked;
        const char *name;
    } checks[] = {
        {logs != NULL && logs->secret_options.count > 0, "logConfiguration.secretOptions"},
        {container->repository_credentials != NULL, "repositoryCredentials"},
        {container->environment_files.count > 0, "environmentFiles"},
        {router != NULL && text_is(acs_map_get(&router->options, "config-file-type"), "s3"),
         "firelensConfiguration.options of config-file-type s3"},
        {container->credential_specs.count > 0, "credentialSpecs"},
        {has_accelerator(&container->resource_requirements),
         "resourceRequirements of type InferenceAccelerator"},
        {has_extension(&container->docker_labels), "dockerLabels of Berth's"},
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (checks[i].asked) {
            return checks[i].name;
        }
    }
    return NULL;
}

static const char *of_volume(const struct ecs_volume *volume)
{
    if (volume->efs_volume_configuration != NULL) {
        return "efsVolumeConfiguration";
    }
    if (volume->s3files_volume_configuration != NULL) {
        return "s3filesVolumeConfiguration";
    }
    if (volume->fsx_windows_file_server_volume_configuration != NULL) {
        return "fsxWindowsFileServerVolumeConfiguration";
    }
    return volume->configured_at_launch ? "configuredAtLaunch" : NULL;
}

const char *acs_unsupported(const struct ecs_task_definition *definition)
{
    const char *name = NULL;
    for (size_t i = 0; i < definition->container_definitions.count && name == NULL; i++) {
        name = of_container(&definition->container_definitions.items[i]);
    }
    for (size_t i = 0; i < definition->volumes.count && name == NULL; i++) {
        name = of_volume(&definition->volumes.items[i]);
    }
    const struct ecs_runtime_platform *platform = definition->runtime_platform;
    if (name == NULL && platform != NULL && platform->operating_system_family > 0 &&
        platform->operating_system_family != ECS_OS_FAMILY_LINUX) {
        name = "operatingSystemFamily";
    }
    return name == NULL && definition->ephemeral_storage != NULL ? "ephemeralStorage" : name;
}
