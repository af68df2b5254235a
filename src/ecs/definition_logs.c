#include "ecs/definition_internal.h"

#include "base/text.h"

struct text definition_option(const struct text_map *options, const char *name)
{
    for (size_t i = 0; i < options->count; i++) {
        if (text_is(options->items[i].key, name)) {
            return options->items[i].value;
        }
    }
    return (struct text){0};
}

static bool awslogs_knows(struct text option)
{
    static const char *const known[] = {
        "awslogs-group",
        "awslogs-region",
        "awslogs-stream-prefix",
        "awslogs-create-group",
        "awslogs-datetime-format",
        "awslogs-multiline-pattern",
        "awslogs-endpoint",
        "awslogs-force-flush-interval-seconds",
        "awslogs-max-buffered-events",
        "mode",
        "max-buffer-size",
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (text_is(option, known[i])) {
            return true;
        }
    }
    return false;
}

static int check_awslogs(const struct definition_draft *draft,
                         const struct ecs_log_configuration *logs)
{
    bool region = !text_empty(definition_option(&logs->options, "awslogs-region"));
    bool group = !text_empty(definition_option(&logs->options, "awslogs-group"));
    if (!region || !group) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Log driver awslogs requires options: %s%s%s",
                          region ? "" : "awslogs-region", region || group ? "" : ", ",
                          group ? "" : "awslogs-group");
    }
    for (size_t i = 0; i < logs->options.count; i++) {
        if (!awslogs_knows(logs->options.items[i].key)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Log driver awslogs disallows options: %.*s",
                              TEXT_FMT(logs->options.items[i].key));
        }
    }
    if (!text_empty(definition_option(&logs->options, "awslogs-datetime-format")) &&
        !text_empty(definition_option(&logs->options, "awslogs-multiline-pattern"))) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Log driver awslogs takes awslogs-datetime-format or "
                          "awslogs-multiline-pattern, but not both.");
    }
    return 0;
}

/** Options of a log router. ECS's words for a wrong one are not known; these say what is wrong. */
static int check_router(const struct definition_draft *draft,
                        const struct ecs_container_definition *container)
{
    const struct ecs_firelens_configuration *router = container->firelens_configuration;
    static const char *const known[] = {"enable-ecs-log-metadata", "config-file-type",
                                        "config-file-value"};
    for (size_t i = 0; router != NULL && i < router->options.count; i++) {
        bool found = false;
        for (size_t j = 0; j < ARRAY_LEN(known); j++) {
            found = found || text_is(router->options.items[i].key, known[j]);
        }
        if (!found) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'firelensConfiguration' setting for container '%.*s': "
                              "unknown option '%.*s'.",
                              TEXT_FMT(container->name), TEXT_FMT(router->options.items[i].key));
        }
    }
    struct text type = {0};
    struct text value = {0};
    if (router != NULL) {
        type = definition_option(&router->options, "config-file-type");
        value = definition_option(&router->options, "config-file-value");
    }
    bool valid = type.data == NULL
                     ? value.data == NULL
                     : !text_empty(value) && (text_is(type, "s3") || text_is(type, "file"));
    if (!valid) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid 'firelensConfiguration' setting for container '%.*s': "
                          "config-file-type must be s3 or file, and comes with a "
                          "config-file-value.",
                          TEXT_FMT(container->name));
    }
    return 0;
}

/** awsfirelens hands output to another container, which must be there. */
static int check_firelens(const struct definition_draft *draft)
{
    for (size_t i = 0; i < draft->definition->container_definitions.count; i++) {
        if (draft->definition->container_definitions.items[i].firelens_configuration != NULL) {
            return 0;
        }
    }
    return core_fault(draft->call, &ecs_error_client_exception,
                      "When a container uses the log driver awsfirelens, one container must have a "
                      "firelensConfiguration.");
}

int definition_check_logs(const struct definition_draft *draft,
                          const struct ecs_container_definition *container)
{
    const struct ecs_log_configuration *logs = container->log_configuration;
    int rc = check_router(draft, container);
    if (rc != 0 || logs == NULL) {
        return rc;
    }
    struct text mode = definition_option(&logs->options, "mode");
    if (mode.data != NULL && !text_is(mode, "blocking") && !text_is(mode, "non-blocking")) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid log mode '%.*s' for container '%.*s'. It must be blocking or "
                          "non-blocking.",
                          TEXT_FMT(mode), TEXT_FMT(container->name));
    }
    for (size_t i = 0; i < logs->secret_options.count; i++) {
        const struct ecs_secret *secret = &logs->secret_options.items[i];
        if (text_empty(secret->name) || text_empty(secret->value_from)) {
            return definition_invalid_setting(draft, container, "secretOptions");
        }
    }
    if (logs->log_driver == ECS_LOG_DRIVER_AWSLOGS) {
        return check_awslogs(draft, logs);
    }
    if (logs->log_driver == ECS_LOG_DRIVER_AWSFIRELENS) {
        return check_firelens(draft);
    }
    return 0;
}
