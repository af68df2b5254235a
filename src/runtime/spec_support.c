#include "base/text.h"
#include "runtime/spec.h"

// What this driver honours, and what it refuses by name.

// The first parameter that is set and not built, or NULL.
static const char *unsupported_parameter(const struct ecs_container_definition *definition)
{
    const struct {
        bool set;
        const char *name;
    } checks[] = {
        {definition->resource_requirements.count > 0, "resourceRequirements"},
        {definition->credential_specs.count > 0, "credentialSpecs"},
        {definition->firelens_configuration != NULL, "firelensConfiguration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (checks[i].set) {
            return checks[i].name;
        }
    }
    return NULL;
}

static const char *unsupported_volume(const struct ecs_volume *volume)
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

// After Docker, `=` may stand for `:`. What is not confined by AppArmor or SELinux here may be
// asked to be unconfined.
static bool security_option_known(struct text option)
{
    static const char *const names[] = {"no-new-privileges", "seccomp", "apparmor", "label"};
    static const char *const values[][2] = {
        {"true", "false"}, {"unconfined", NULL}, {"unconfined", NULL}, {"disable", NULL}};
    size_t at = MIN(text_find(option, ':'), text_find(option, '='));
    struct text name = text_slice(option, 0, MIN(at, option.size));
    struct text value = at == SIZE_MAX ? TEXT("true") : text_slice(option, at + 1, option.size);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t k = 0; k < 2 && values[i][k] != NULL; k++) {
            if (text_is(name, names[i]) && text_is(value, values[i][k])) {
                return true;
            }
        }
    }
    return false;
}

bool spec_confined(const struct ecs_container_definition *definition)
{
    for (size_t i = 0; i < definition->docker_security_options.count; i++) {
        if (text_starts(definition->docker_security_options.items[i], TEXT("seccomp"))) {
            return false; // the one value that spec_supported lets through
        }
    }
    return !definition->privileged;
}

bool spec_no_new_privileges(const struct ecs_container_definition *definition)
{
    bool set = false;
    for (size_t i = 0; i < definition->docker_security_options.count; i++) {
        struct text option = definition->docker_security_options.items[i];
        if (text_starts(option, TEXT("no-new-privileges"))) {
            set = !text_ends(option, TEXT("false"));
        }
    }
    return set;
}

static int check_security_options(const struct ecs_container_definition *definition,
                                  struct err *err)
{
    for (size_t i = 0; i < definition->docker_security_options.count; i++) {
        struct text option = definition->docker_security_options.items[i];
        if (!security_option_known(option)) {
            return err_set(err, ERR_UNSUPPORTED,
                           "container '%.*s' asks for '%.*s' of dockerSecurityOptions, which this "
                           "version of Berth does not have; remove it from the task definition",
                           TEXT_FMT(definition->name), TEXT_FMT(option));
        }
    }
    return 0;
}

int spec_supported(const struct ecs_task_definition *task,
                   const struct ecs_container_definition *definition, struct err *err)
{
    const char *name = unsupported_parameter(definition);
    if (name != NULL) {
        return err_set(err, ERR_UNSUPPORTED,
                       "container '%.*s' asks for %s, which this version of Berth does not have; "
                       "remove it from the task definition",
                       TEXT_FMT(definition->name), name);
    }
    int rc = check_security_options(definition, err);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_runtime_platform *platform = task->runtime_platform;
    if (platform != NULL && platform->operating_system_family != ECS_OS_FAMILY_ABSENT &&
        platform->operating_system_family != ECS_OS_FAMILY_LINUX) {
        return err_set(err, ERR_UNSUPPORTED,
                       "the task asks for another operatingSystemFamily of runtimePlatform than "
                       "LINUX, which this version of Berth does not have");
    }
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < task->volumes.count; i++) {
        struct spec_docker_volume ignored;
        if (task->volumes.items[i].docker_volume_configuration != NULL) {
            rc = spec_docker_volume(&task->volumes.items[i], &arena, &ignored, err);
            if (rc != 0) {
                return rc;
            }
        }
        name = unsupported_volume(&task->volumes.items[i]);
        if (name != NULL) {
            return err_set(err, ERR_UNSUPPORTED,
                           "volume '%.*s' asks for %s, which this version of Berth does not have",
                           TEXT_FMT(task->volumes.items[i].name), name);
        }
    }
    return 0;
}
