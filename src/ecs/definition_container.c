#include "ecs/definition_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "shape/shape_extension.h"

#define MEMORY_MIB_MIN 6 ///< ECS: a container cannot start with less
#define IMAGE_CHARS_MAX 255
#define ENVIRONMENT_FILES_MAX 10
#define EXIT_CODES_MAX 50
#define TIMEOUT_SECONDS_MAX (24 * 60 * 60) ///< nothing that waits longer for a container is sane

int definition_invalid_setting(const struct definition_draft *draft,
                               const struct ecs_container_definition *container,
                               const char *setting)
{
    return core_fault(draft->call, &ecs_error_client_exception,
                      "Invalid '%s' setting for container '%.*s'.", setting,
                      TEXT_FMT(container->name));
}

bool definition_image_is_ecr(struct text image)
{
    struct text rest = image;
    struct text host = text_cut(&rest, '/');
    struct text parts = host;
    struct text account = text_cut(&parts, '.');
    uint64_t number = 0;
    return rest.data != NULL && account.size == 12 && text_to_u64(account, &number) == 0 &&
           text_starts(parts, TEXT("dkr.ecr.")) &&
           (text_ends(parts, TEXT(".amazonaws.com")) ||
            text_ends(parts, TEXT(".amazonaws.com.cn")));
}

static int check_name(const struct definition_draft *draft,
                      const struct ecs_container_definition *container)
{
    if (text_empty(container->name)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.name should not be null or empty.");
    }
    if (container->name.size > LIMIT_NAME_CHARS) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.name should not be longer than %d characters.",
                          LIMIT_NAME_CHARS);
    }
    if (!ecs_name_valid(container->name)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.name contains invalid characters.");
    }
    return 0;
}

static bool digest_valid(struct text digest)
{
    unsigned char bytes[32];
    return text_starts(digest, TEXT("sha256:")) &&
           text_unhex(text_slice(digest, 7, digest.size), bytes, sizeof(bytes)) == 0;
}

static int check_image(const struct definition_draft *draft,
                       const struct ecs_container_definition *container)
{
    if (text_empty(container->image)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.image should not be null or empty.");
    }
    struct text digest = container->image;
    struct text name = text_cut(&digest, '@');
    if (name.size > IMAGE_CHARS_MAX) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.image should not be longer than %d characters.",
                          IMAGE_CHARS_MAX);
    }
    if (text_empty(name) || name.data[0] == ':') {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.image repository should not be null or empty.");
    }
    bool valid = digest.data == NULL || digest_valid(digest);
    for (size_t i = 0; i < name.size && valid; i++) {
        const struct text byte = {&name.data[i], 1};
        valid = ecs_name_valid(byte) || text_find(TEXT(":./#"), name.data[i]) != SIZE_MAX;
    }
    if (!valid) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container.image contains invalid characters.");
    }
    return 0;
}

static int check_sizes(const struct definition_draft *draft,
                       const struct ecs_container_definition *container)
{
    if (container->cpu < 0) {
        return definition_invalid_setting(draft, container, "cpu");
    }
    if (container->has_memory && container->memory < MEMORY_MIB_MIN) {
        return definition_invalid_setting(draft, container, "memory");
    }
    if (container->has_memory_reservation && container->memory_reservation < MEMORY_MIB_MIN) {
        return definition_invalid_setting(draft, container, "memoryReservation");
    }
    if (container->has_memory && container->has_memory_reservation &&
        container->memory < container->memory_reservation) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid setting for container '%.*s'. 'memoryReservation' cannot be "
                          "greater than 'memory'.",
                          TEXT_FMT(container->name));
    }
    if (!container->has_memory && !container->has_memory_reservation && draft->memory_mib == 0) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid setting for container '%.*s'. At least one of 'memory' or "
                          "'memoryReservation' must be specified.",
                          TEXT_FMT(container->name));
    }
    if (draft->memory_mib > 0 && container->memory > draft->memory_mib) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "The 'memory' setting for container is greater than for the task.");
    }
    return 0;
}

static int check_health(const struct definition_draft *draft,
                        const struct ecs_container_definition *container)
{
    const struct ecs_health_check *check = container->health_check;
    if (check == NULL) {
        return 0;
    }
    if (check->command.count == 0 || text_empty(check->command.items[0])) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid 'healthCheck' setting for container '%.*s'. The command cannot "
                          "be empty.",
                          TEXT_FMT(container->name));
    }
    const struct {
        const char *name;
        bool present;
        int32_t value;
        int32_t min;
        int32_t max;
    } ranges[] = {
        {"interval", check->has_interval, check->interval, 5, 300},
        {"timeout", check->has_timeout, check->timeout, 2, 60},
        {"retries", check->has_retries, check->retries, 1, 10},
        {"startPeriod", check->has_start_period, check->start_period, 0, 300},
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (ranges[i].present &&
            (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'healthCheck' setting for container '%.*s'. '%s' must be "
                              "between %d and %d.",
                              TEXT_FMT(container->name), ranges[i].name, (int)ranges[i].min,
                              (int)ranges[i].max);
        }
    }
    return 0;
}

/** Variables and the secrets that share their name space. */
static int check_environment(const struct definition_draft *draft,
                             const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < container->environment.count; i++) {
        struct text name = container->environment.items[i].name;
        if (text_empty(name) || text_find(name, '=') != SIZE_MAX) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'environment' setting for container '%.*s'. A name cannot "
                              "be empty or contain '='.",
                              TEXT_FMT(container->name));
        }
    }
    for (size_t i = 0; i < container->secrets.count; i++) {
        const struct ecs_secret *secret = &container->secrets.items[i];
        bool taken = false;
        for (size_t j = 0; j < container->environment.count; j++) {
            taken = taken || text_equal(container->environment.items[j].name, secret->name);
        }
        for (size_t j = 0; j < i; j++) {
            taken = taken || text_equal(container->secrets.items[j].name, secret->name);
        }
        if (taken) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "The secret name must be unique and not shared with any new or "
                              "existing environment variables set on the container, such as "
                              "'%.*s'.",
                              TEXT_FMT(secret->name));
        }
        if (text_empty(secret->name) || text_find(secret->name, '=') != SIZE_MAX ||
            text_empty(secret->value_from)) {
            return definition_invalid_setting(draft, container, "secrets");
        }
    }
    return 0;
}

bool definition_env_file_here(struct text value)
{
    return text_starts(value, TEXT("file:///")) || text_starts(value, TEXT("http://")) ||
           text_starts(value, TEXT("https://"));
}

static int check_environment_files(const struct definition_draft *draft,
                                   const struct ecs_container_definition *container)
{
    if (container->environment_files.count > ENVIRONMENT_FILES_MAX) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Container '%.*s' has more than %d environmentFiles.",
                          TEXT_FMT(container->name), ENVIRONMENT_FILES_MAX);
    }
    for (size_t i = 0; i < container->environment_files.count; i++) {
        struct text value = container->environment_files.items[i].value;
        bool here = definition_env_file_here(value);
        if ((!here && !text_starts(value, TEXT("arn:"))) || !text_ends(value, TEXT(".env"))) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'environmentFiles' setting for container '%.*s'. The value "
                              "must be the ARN of an S3 object that ends with '.env'.",
                              TEXT_FMT(container->name));
        }
    }
    return 0;
}

static int check_labels(const struct definition_draft *draft,
                        const struct ecs_container_definition *container)
{
    struct shape_extension extension = {0};
    struct shape_error error = {0};
    if (shape_extension_read(&container->docker_labels, draft->call->arena, &extension, &error) !=
        0) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid 'dockerLabels' setting for container '%.*s'. '%s' %s.",
                          TEXT_FMT(container->name), error.path, error.text);
    }
    return 0;
}

bool definition_has_health(const struct ecs_container_definition *container)
{
    return container->health_check != NULL ||
           shape_extension_has_readiness(&container->docker_labels);
}

static int check_restart(const struct definition_draft *draft,
                         const struct ecs_container_definition *container)
{
    const struct ecs_container_restart_policy *policy = container->restart_policy;
    if (policy == NULL) {
        return 0;
    }
    if (policy->ignored_exit_codes.count > EXIT_CODES_MAX ||
        (policy->has_restart_attempt_period &&
         (policy->restart_attempt_period < 60 || policy->restart_attempt_period > 1800))) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid 'restartPolicy' setting for container '%.*s'. "
                          "'restartAttemptPeriod' must be between 60 and 1800, and there can be at "
                          "most %d 'ignoredExitCodes'.",
                          TEXT_FMT(container->name), EXIT_CODES_MAX);
    }
    return 0;
}

/** What a network mode does not let a container have. */
static int check_mode(const struct definition_draft *draft,
                      const struct ecs_container_definition *container)
{
    enum ecs_network_mode mode = draft->definition->network_mode;
    if (mode == ECS_NETWORK_MODE_AWSVPC) {
        if (!text_empty(container->hostname)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "hostname is not supported on container when networkMode=awsvpc.");
        }
        if (container->extra_hosts.count > 0) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Extra hosts are not supported on container when "
                              "networkMode=awsvpc.");
        }
    }
    bool bridge = mode == ECS_NETWORK_MODE_BRIDGE || mode == ECS_NETWORK_MODE_ABSENT;
    if (!bridge && container->links.count > 0) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Links are not supported when networkMode=%s.",
                          shape_enum_name(&ecs_network_mode_shape, (int32_t)mode));
    }
    return 0;
}

static int check_timeouts(const struct definition_draft *draft,
                          const struct ecs_container_definition *container)
{
    if (container->has_start_timeout &&
        (container->start_timeout < 0 || container->start_timeout > TIMEOUT_SECONDS_MAX)) {
        return definition_invalid_setting(draft, container, "startTimeout");
    }
    if (container->has_stop_timeout &&
        (container->stop_timeout < 0 || container->stop_timeout > TIMEOUT_SECONDS_MAX)) {
        return definition_invalid_setting(draft, container, "stopTimeout");
    }
    return 0;
}

int definition_check_container(const struct definition_draft *draft,
                               const struct ecs_container_definition *container)
{
    static int (*const checks[])(const struct definition_draft *,
                                 const struct ecs_container_definition *) = {
        check_name,
        check_image,
        check_sizes,
        check_mode,
        definition_check_ports,
        check_environment,
        check_environment_files,
        check_health,
        definition_check_logs,
        check_timeouts,
        check_restart,
        check_labels,
        definition_check_kernel,
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int rc = checks[i](draft, container);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
