#include "ecs/cluster_internal.h"

#include "base/limits.h"
#include "base/text.h"

/*
 * What must hold of what is asked for a cluster, and of every capacity provider strategy.
 */

#define PROVIDERS_MAX 20      ///< ECS: capacity providers of a cluster
#define STRATEGY_ITEMS_MAX 20 ///< ECS
#define KMS_KEY_MAX 2048      ///< KMS: id, alias or ARN of a key
#define LOG_GROUP_MAX 512     ///< CloudWatch Logs
#define BUCKET_MAX 255        ///< S3: of the oldest buckets
#define OBJECT_KEY_MAX 1024   ///< S3
#define NAMESPACE_MAX 1024    ///< Cloud Map: the name; an ARN of one is shorter

int cluster_check_name(struct core_call *call, struct text name)
{
    if (text_empty(name)) {
        return 0;
    }
    if (name.size > LIMIT_NAME_CHARS) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Cluster name cannot be longer than %d characters.", LIMIT_NAME_CHARS);
    }
    if (!ecs_name_valid(name)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Cluster name contains invalid characters.");
    }
    return 0;
}

int cluster_resolve_named(struct core_call *call, struct text reference, int64_t *out_cluster)
{
    if (text_empty(reference)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Cluster can not be blank.");
    }
    return ecs_cluster_resolve(call, reference, out_cluster);
}

int cluster_check_settings(struct core_call *call, const struct ecs_cluster_setting_list *settings)
{
    for (size_t i = 0; i < settings->count; i++) {
        const struct ecs_cluster_setting *setting = &settings->items[i];
        bool known = text_is(setting->value, "enabled") || text_is(setting->value, "disabled") ||
                     text_is(setting->value, "enhanced");
        if (setting->name != ECS_CLUSTER_SETTING_NAME_CONTAINER_INSIGHTS || !known) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Invalid cluster setting: containerInsights must be one of "
                              "[enabled,disabled,enhanced].");
        }
        if (i > 0) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Invalid cluster setting: containerInsights is given twice.");
        }
    }
    return 0;
}

/** The texts of a configuration are kept with the cluster, so they have a limit. */
static int check_configuration_texts(struct core_call *call,
                                     const struct ecs_cluster_configuration *configuration)
{
    static const struct ecs_managed_storage_configuration no_storage = {0};
    static const struct ecs_execute_command_configuration no_exec = {0};
    static const struct ecs_execute_command_log_configuration no_logs = {0};
    const struct ecs_managed_storage_configuration *storage =
        configuration->managed_storage_configuration == NULL
            ? &no_storage
            : configuration->managed_storage_configuration;
    const struct ecs_execute_command_configuration *exec =
        configuration->execute_command_configuration == NULL
            ? &no_exec
            : configuration->execute_command_configuration;
    const struct ecs_execute_command_log_configuration *logs =
        exec->log_configuration == NULL ? &no_logs : exec->log_configuration;
    const struct {
        const char *name;
        struct text text;
        size_t size_max;
    } texts[] = {
        {"kmsKeyId", exec->kms_key_id, KMS_KEY_MAX},
        {"kmsKeyId", storage->kms_key_id, KMS_KEY_MAX},
        {"fargateEphemeralStorageKmsKeyId", storage->fargate_ephemeral_storage_kms_key_id,
         KMS_KEY_MAX},
        {"cloudWatchLogGroupName", logs->cloud_watch_log_group_name, LOG_GROUP_MAX},
        {"s3BucketName", logs->s3_bucket_name, BUCKET_MAX},
        {"s3KeyPrefix", logs->s3_key_prefix, OBJECT_KEY_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].text.size > texts[i].size_max) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "%s cannot be longer than %zu characters.", texts[i].name,
                              texts[i].size_max);
        }
    }
    return 0;
}

int cluster_check_configuration(struct core_call *call,
                                const struct ecs_cluster_configuration *configuration)
{
    int rc = configuration == NULL ? 0 : check_configuration_texts(call, configuration);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_execute_command_configuration *exec =
        configuration == NULL ? NULL : configuration->execute_command_configuration;
    if (exec == NULL) {
        return 0;
    }
    bool override = exec->logging == ECS_EXECUTE_COMMAND_LOGGING_OVERRIDE;
    if (override && exec->log_configuration == NULL) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Log configuration must be specified when logging is OVERRIDE.");
    }
    if (!override && exec->log_configuration != NULL) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Log configuration can only be specified when logging is OVERRIDE.");
    }
    return 0;
}

int cluster_check_namespace(struct core_call *call,
                            const struct ecs_cluster_service_connect_defaults_request *defaults)
{
    if (defaults != NULL && defaults->namespace.size > NAMESPACE_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The namespace cannot be longer than %d characters.", NAMESPACE_MAX);
    }
    return 0;
}

int cluster_check_providers(struct core_call *call, const struct text_list *providers)
{
    if (providers->count > PROVIDERS_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "A cluster can have at most %d capacity providers.", PROVIDERS_MAX);
    }
    for (size_t i = 0; i < providers->count; i++) {
        struct text name = providers->items[i];
        const struct text_list before = {.items = providers->items, .count = i};
        int64_t realm = ecs_caller_realm(call);
        if (!ecs_provider_predefined(name) &&
            (realm == 0 || ecs_provider_find(call->core, realm, name) == 0)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The specified capacity provider '%.*s' was not found. Specify a "
                              "valid capacity provider and try again.",
                              TEXT_FMT(name));
        }
        if (text_list_has(&before, name)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The capacity provider '%.*s' is specified twice.", TEXT_FMT(name));
        }
    }
    return 0;
}

int ecs_strategy_check(struct core_call *call, const struct text_list *providers,
                       const struct ecs_capacity_provider_strategy_item *items, size_t count)
{
    if (count > STRATEGY_ITEMS_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "A capacity provider strategy can have at most %d items.",
                          STRATEGY_ITEMS_MAX);
    }
    size_t base_count = 0;
    size_t weight_count = 0;
    size_t fargate_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_capacity_provider_strategy_item *item = &items[i];
        if (!text_list_has(providers, item->capacity_provider)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The specified capacity provider strategy contains a capacity "
                              "provider that is not associated with the cluster. Associate the "
                              "capacity provider with the cluster and try again.");
        }
        fargate_count += ecs_provider_predefined(item->capacity_provider) ? 1 : 0;
        base_count += item->base > 0 ? 1 : 0;
        weight_count += item->weight > 0 ? 1 : 0;
    }
    if (fargate_count > 0 && fargate_count < count) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "A capacity provider strategy cannot contain a mix of capacity providers "
                          "using Auto Scaling groups and Fargate providers. Specify one or the "
                          "other and try again.");
    }
    if (base_count > 1) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Only one capacity provider of a strategy can have a base.");
    }
    if (count > 1 && weight_count == 0) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "At least one capacity provider of a strategy must have a weight greater "
                          "than 0.");
    }
    return 0;
}
