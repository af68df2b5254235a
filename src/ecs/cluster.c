#include "ecs/ecs_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "ecs/page.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"

#include <string.h>

#define CLUSTERS_MAX 10000                          ///< ECS: clusters of a region
#define PROVIDERS_MAX 20                            ///< ECS: capacity providers of a cluster
#define STRATEGY_ITEMS_MAX 20                       ///< ECS
#define INACTIVE_MS (7 * 24 * 3600 * INT64_C(1000)) ///< how long a deleted cluster is described
#define INACTIVE_RETRY_MS (3600 * INT64_C(1000))    ///< while its tasks are kept
#define KMS_KEY_MAX 2048                            ///< KMS: id, alias or ARN of a key
#define LOG_GROUP_MAX 512                           ///< CloudWatch Logs
#define BUCKET_MAX 255                              ///< S3: of the oldest buckets
#define OBJECT_KEY_MAX 1024                         ///< S3
#define NAMESPACE_MAX 1024 ///< Cloud Map: the name; an ARN of one is shorter

// ---- checks -------------------------------------------------------------------------------

/** Refuse a bad name. Absent or empty means `default`. */
static int check_name(struct core_call *call, struct text name)
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

/** Find the cluster of an operation that demands to be told which. */
static int resolve_named(struct core_call *call, struct text reference, int64_t *out_cluster)
{
    if (text_empty(reference)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Cluster can not be blank.");
    }
    return ecs_cluster_resolve(call, reference, out_cluster);
}

static int check_settings(struct core_call *call, const struct ecs_cluster_setting_list *settings)
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

/** Where the output of ExecuteCommand goes: a destination of its own exactly when OVERRIDE says so.
 */
static int check_configuration(struct core_call *call,
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

static int check_namespace(struct core_call *call,
                           const struct ecs_cluster_service_connect_defaults_request *defaults)
{
    if (defaults != NULL && defaults->namespace.size > NAMESPACE_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The namespace cannot be longer than %d characters.", NAMESPACE_MAX);
    }
    return 0;
}

static bool text_list_has(const struct text_list *list, struct text text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (text_equal(list->items[i], text)) {
            return true;
        }
    }
    return false;
}

/** Providers that a cluster can name: the two that always exist, and those of groups. */
static int check_providers(struct core_call *call, const struct text_list *providers)
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

// ---- showing ------------------------------------------------------------------------------

/** Which parts of a cluster a caller wants to see. */
struct cluster_view {
    bool settings;
    bool configuration;
    bool statistics;
    bool tags;
    bool attachments;
};

static void add_statistic(struct core_call *call, struct ecs_cluster *cluster, const char *name,
                          int32_t value)
{
    cluster->statistics.items[cluster->statistics.count] = (struct ecs_key_value_pair){
        .name = text_of(name), .value = arena_format(call->arena, "%d", (int)value)};
    cluster->statistics.count++;
}

/** Counts by launch type. */
static void show_statistics(struct core_call *call, int64_t key,
                            const struct task_cluster_counts *counts, struct ecs_cluster *cluster)
{
    const struct {
        const char *name;
        enum ecs_launch_type type;
        bool draining;
    } services[] = {
        {"activeEC2ServiceCount", ECS_LAUNCH_TYPE_EC2, false},
        {"activeFargateServiceCount", ECS_LAUNCH_TYPE_FARGATE, false},
        {"drainingEC2ServiceCount", ECS_LAUNCH_TYPE_EC2, true},
        {"drainingFargateServiceCount", ECS_LAUNCH_TYPE_FARGATE, true},
        {"activeExternalServiceCount", ECS_LAUNCH_TYPE_EXTERNAL, false},
        {"drainingExternalServiceCount", ECS_LAUNCH_TYPE_EXTERNAL, true},
    };
    const struct {
        const char *name;
        int32_t value;
    } tasks[] = {
        {"runningEC2TasksCount", counts->running_ec2_tasks},
        {"pendingEC2TasksCount", counts->pending_ec2_tasks},
        {"runningFargateTasksCount",
         counts->running_tasks - counts->running_ec2_tasks - counts->running_external_tasks},
        {"pendingFargateTasksCount",
         counts->pending_tasks - counts->pending_ec2_tasks - counts->pending_external_tasks},
        {"runningExternalTasksCount", counts->running_external_tasks},
        {"pendingExternalTasksCount", counts->pending_external_tasks},
    };
    cluster->statistics.items = arena_array(call->arena, ARRAY_LEN(services) + ARRAY_LEN(tasks),
                                            sizeof(*cluster->statistics.items));
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
        add_statistic(call, cluster, tasks[i].name, tasks[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        struct service_counts of_type = service_count(call->core, key, services[i].type);
        add_statistic(call, cluster, services[i].name,
                      services[i].draining ? of_type.draining : of_type.active);
    }
}

/** Fill what the API shows of a cluster. Lists are never absent. */
static void show_cluster(struct core_call *call, int64_t key, const struct cluster_view *view,
                         struct ecs_cluster *out)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
    ASSERT(record != NULL);
    struct task_cluster_counts counts = {0};
    task_cluster_counts(call->core, key, &counts);
    *out = (struct ecs_cluster){
        .cluster_arn = ecs_cluster_arn(call, key),
        .cluster_name = record->name,
        .status = record->status,
        .has_registered_container_instances_count = true,
        .registered_container_instances_count = counts.registered_instances,
        .has_running_tasks_count = true,
        .running_tasks_count = counts.running_tasks,
        .has_pending_tasks_count = true,
        .pending_tasks_count = counts.pending_tasks,
        .has_active_services_count = true,
        .active_services_count = service_count(call->core, key, ECS_LAUNCH_TYPE_ABSENT).active,
        .statistics = {.items = SHAPE_EMPTY},
        .tags = {.items = SHAPE_EMPTY},
        .settings = {.items = SHAPE_EMPTY},
        .capacity_providers = {.items = SHAPE_EMPTY},
        .default_capacity_provider_strategy = {.items = SHAPE_EMPTY},
        .service_connect_defaults = record->service_connect_defaults,
    };
    if (record->capacity_providers.count > 0) {
        out->capacity_providers = record->capacity_providers;
    }
    if (record->default_capacity_provider_strategy.count > 0) {
        out->default_capacity_provider_strategy.items =
            record->default_capacity_provider_strategy.items;
        out->default_capacity_provider_strategy.count =
            record->default_capacity_provider_strategy.count;
    }
    if (view->settings && record->settings.count > 0) {
        out->settings.items = record->settings.items;
        out->settings.count = record->settings.count;
    }
    if (view->tags && record->tags.count > 0) {
        out->tags.items = record->tags.items;
        out->tags.count = record->tags.count;
    }
    if (view->configuration) {
        out->configuration = record->configuration;
    }
    if (view->attachments) {
        out->attachments.items = SHAPE_EMPTY;
    }
    if (view->statistics) {
        show_statistics(call, key, &counts, out);
    }
}

static struct ecs_cluster *shown_cluster(struct core_call *call, int64_t key)
{
    static const struct cluster_view view = {.settings = true, .configuration = true, .tags = true};
    struct ecs_cluster *cluster = ARENA_NEW(call->arena, struct ecs_cluster);
    show_cluster(call, key, &view, cluster);
    return cluster;
}

// ---- CreateCluster ------------------------------------------------------------------------

/** Strategy items as ECS echoes them: weight and base are never absent. */
static void copy_strategy(struct core_call *call,
                          const struct ecs_capacity_provider_strategy_item_list *from,
                          struct ecs_record_cluster *record)
{
    record->default_capacity_provider_strategy.items = NULL;
    record->default_capacity_provider_strategy.count = 0;
    if (from->count == 0) {
        return;
    }
    struct ecs_capacity_provider_strategy_item *items =
        arena_array(call->arena, from->count, sizeof(*items));
    memcpy(items, from->items, from->count * sizeof(*items));
    for (size_t i = 0; i < from->count; i++) {
        items[i].has_weight = true;
        items[i].has_base = true;
    }
    record->default_capacity_provider_strategy.items = items;
    record->default_capacity_provider_strategy.count = from->count;
}

/** An empty namespace takes the default away. */
static void copy_namespace(struct core_call *call,
                           const struct ecs_cluster_service_connect_defaults_request *from,
                           struct ecs_record_cluster *record)
{
    if (from == NULL) {
        return;
    }
    record->service_connect_defaults = NULL;
    if (!text_empty(from->namespace)) {
        record->service_connect_defaults =
            ARENA_NEW(call->arena, struct ecs_cluster_service_connect_defaults);
        record->service_connect_defaults->namespace = from->namespace;
    }
}

static void fill_cluster(struct core_call *call, const struct ecs_create_cluster_request *in,
                         struct ecs_record_cluster *record)
{
    struct ecs_cluster_setting *insights = ARENA_NEW(call->arena, struct ecs_cluster_setting);
    *insights = (struct ecs_cluster_setting){
        .name = ECS_CLUSTER_SETTING_NAME_CONTAINER_INSIGHTS,
        .value = ecs_setting_value(call, ECS_SETTING_NAME_CONTAINER_INSIGHTS)};
    record->settings.items = in->settings.count > 0 ? in->settings.items : insights;
    record->settings.count = 1;
    record->configuration = in->configuration;
    record->capacity_providers = in->capacity_providers;
    copy_strategy(call, &in->default_capacity_provider_strategy, record);
    copy_namespace(call, in->service_connect_defaults, record);
    record->tags.items = in->tags.items;
    record->tags.count = in->tags.count;
}

static int check_create(struct core_call *call, const struct ecs_create_cluster_request *in)
{
    int rc = check_name(call, in->cluster_name);
    if (rc == 0) {
        rc = ecs_tags_check(call, in->tags.items, in->tags.count);
    }
    if (rc == 0) {
        rc = check_settings(call, &in->settings);
    }
    if (rc == 0) {
        rc = check_configuration(call, in->configuration);
    }
    if (rc == 0) {
        rc = check_namespace(call, in->service_connect_defaults);
    }
    if (rc == 0) {
        rc = check_providers(call, &in->capacity_providers);
    }
    if (rc == 0) {
        rc = ecs_strategy_check(call, &in->capacity_providers,
                                in->default_capacity_provider_strategy.items,
                                in->default_capacity_provider_strategy.count);
    }
    return rc;
}

int ecs_create_cluster(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_create_cluster_request *in = request;
    struct ecs_create_cluster_response *out = response;
    int rc = check_create(call, in);
    if (rc != 0) {
        return rc;
    }
    struct text name = text_empty(in->cluster_name) ? TEXT("default") : in->cluster_name;
    int64_t realm = ecs_caller_realm(call);
    int64_t key = ecs_cluster_lookup(call->core, realm, name);
    const struct ecs_record_cluster *old =
        key == 0 ? NULL : core_get(call->core, &ecs_cluster_kind, key);
    if (old != NULL && text_is(old->status, "ACTIVE")) {
        out->cluster = shown_cluster(call, key);
        return 0;
    }
    if (key == 0 && realm != 0 && ecs_cluster_count(call->core, realm) >= CLUSTERS_MAX) {
        return core_fault(call, &ecs_error_client_exception,
                          "The limit of %d clusters is reached. Delete some that are not used.",
                          CLUSTERS_MAX);
    }
    realm = identity_realm_ensure(call, &ecs_error_client_exception);
    if (realm == 0) {
        return ERR_FAULT;
    }
    // A cluster that was deleted comes back under its key: its stopped tasks may still be shown.
    struct ecs_record_cluster record = {
        .has_realm = true,
        .realm = realm,
        .name = name,
        .status = TEXT("ACTIVE"),
        .created_at = call->now_ms,
    };
    fill_cluster(call, in, &record);
    key = key == 0 ? core_new_key(call) : key;
    core_put(call, &ecs_cluster_kind, key, &record);
    out->cluster = shown_cluster(call, key);
    return 0;
}

// ---- DescribeClusters, ListClusters, DeleteCluster ----------------------------------------

/** A cluster of any status by name or ARN. @return its key, or 0 */
static int64_t find_any(const struct core_call *call, struct text reference)
{
    const struct ecs_realm_scope scope = {.region = call->caller->region,
                                          .account = call->caller->account};
    struct text name = {0};
    if (!ecs_reference_path(reference, "cluster", scope, &name)) {
        return 0;
    }
    return ecs_cluster_lookup(call->core, ecs_caller_realm(call), name);
}

static void add_missing(struct core_call *call, struct text reference,
                        struct ecs_failure_list *failures)
{
    struct text arn = reference;
    if (!text_starts(reference, TEXT("arn:"))) {
        arn = arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:cluster/%.*s",
                           TEXT_FMT(call->caller->region), TEXT_FMT(call->caller->account),
                           TEXT_FMT(reference));
    }
    failures->items[failures->count] = (struct ecs_failure){.arn = arn, .reason = TEXT("MISSING")};
    failures->count++;
}

int ecs_describe_clusters(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_describe_clusters_request *in = request;
    struct ecs_describe_clusters_response *out = response;
    int rc = ecs_batch_check(call, in->clusters.count);
    if (rc != 0) {
        return rc;
    }
    struct cluster_view view = {0};
    for (size_t i = 0; i < in->include.count; i++) {
        enum ecs_cluster_field field = in->include.items[i];
        view.attachments = view.attachments || field == ECS_CLUSTER_FIELD_ATTACHMENTS;
        view.configuration = view.configuration || field == ECS_CLUSTER_FIELD_CONFIGURATIONS;
        view.settings = view.settings || field == ECS_CLUSTER_FIELD_SETTINGS;
        view.statistics = view.statistics || field == ECS_CLUSTER_FIELD_STATISTICS;
        view.tags = view.tags || field == ECS_CLUSTER_FIELD_TAGS;
    }
    struct text fallback = TEXT("default");
    const struct text_list references =
        in->clusters.count > 0 ? in->clusters : (struct text_list){&fallback, 1};
    out->clusters.items = arena_array(call->arena, references.count, sizeof(*out->clusters.items));
    out->failures.items = arena_array(call->arena, references.count, sizeof(*out->failures.items));
    for (size_t i = 0; i < references.count; i++) {
        int64_t key = find_any(call, references.items[i]);
        if (key == 0) {
            add_missing(call, references.items[i], &out->failures);
        } else {
            show_cluster(call, key, &view, &out->clusters.items[out->clusters.count]);
            out->clusters.count++;
        }
    }
    return 0;
}

int ecs_list_clusters(struct core_call *call, void *pointer, const void *request, void *response)
{
    struct ecs_state *state = pointer;
    const struct ecs_list_clusters_request *in = request;
    struct ecs_list_clusters_response *out = response;
    struct ecs_page page;
    int rc = ecs_page_open(call, in->next_token, in->has_max_results, in->max_results, &page);
    if (rc == 0 && page.after.size > LIMIT_NAME_CHARS) {
        rc = ecs_page_refuse(call);
    }
    if (rc != 0) {
        return rc;
    }
    out->cluster_arns.items = arena_array(call->arena, page.size, sizeof(struct text));
    int64_t realm = ecs_caller_realm(call);
    if (realm == 0) {
        return 0;
    }
    struct index_key at = {0};
    struct index_cursor cursor;
    index_key_u64(&at, (uint64_t)realm);
    index_walk(state->clusters, &at, false, &cursor);
    if (page.after.data != NULL) {
        index_key_text(&at, page.after);
        index_walk_after(&cursor, &at, INT64_MAX);
    }
    struct text last = {0};
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
        if (!text_is(record->status, "ACTIVE")) {
            continue;
        }
        if (out->cluster_arns.count == page.size) {
            out->next_token = ecs_page_token(call, last);
            break;
        }
        out->cluster_arns.items[out->cluster_arns.count] = ecs_cluster_arn(call, key);
        out->cluster_arns.count++;
        last = record->name;
    }
    return 0;
}

int ecs_delete_cluster(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_delete_cluster_request *in = request;
    struct ecs_delete_cluster_response *out = response;
    int64_t key = 0;
    int rc = resolve_named(call, in->cluster, &key);
    if (rc != 0) {
        return rc;
    }
    struct task_cluster_counts counts = {0};
    task_cluster_counts(call->core, key, &counts);
    if (counts.registered_instances > 0) {
        return core_fault(call, &ecs_error_cluster_contains_container_instances_exception,
                          "The Cluster cannot be deleted while Container Instances are active or "
                          "draining.");
    }
    struct service_counts services = service_count(call->core, key, ECS_LAUNCH_TYPE_ABSENT);
    if (services.active + services.draining > 0) {
        return core_fault(call, &ecs_error_cluster_contains_services_exception,
                          "The Cluster cannot be deleted while Services are active.");
    }
    if (counts.running_tasks + counts.pending_tasks > 0 && !MUTANT("delete-full-cluster")) {
        return core_fault(call, &ecs_error_cluster_contains_tasks_exception,
                          "The Cluster cannot be deleted while Tasks are active.");
    }
    struct ecs_record_cluster *record = core_edit(call, &ecs_cluster_kind, key);
    record->status = TEXT("INACTIVE");
    record->deleted_at = call->now_ms;
    core_put(call, &ecs_cluster_kind, key, record);
    core_timer(call, &ecs_cluster_manager, key, call->now_ms + INACTIVE_MS);
    out->cluster = shown_cluster(call, key);
    return 0;
}

void ecs_cluster_work(struct core_call *call, void *state, int64_t key)
{
    (void)state;
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
    if (record == NULL || text_is(record->status, "ACTIVE")) {
        return; // it was made again
    }
    int64_t due_ms = record->deleted_at + INACTIVE_MS;
    if (call->now_ms < due_ms) {
        core_timer(call, &ecs_cluster_manager, key, due_ms);
    } else if (task_cluster_referenced(call->core, key) ||
               service_cluster_referenced(call->core, key)) {
        core_timer(call, &ecs_cluster_manager, key, call->now_ms + INACTIVE_RETRY_MS);
    } else {
        core_delete(call, &ecs_cluster_kind, key);
    }
}

void ecs_cluster_recover(struct core_call *call)
{
    for (int64_t key = core_next(call->core, &ecs_cluster_kind, 0); key != 0;
         key = core_next(call->core, &ecs_cluster_kind, key)) {
        const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
        if (!text_is(record->status, "ACTIVE")) {
            core_timer(call, &ecs_cluster_manager, key,
                       MAX(call->now_ms, record->deleted_at + INACTIVE_MS));
        }
    }
}

// ---- UpdateCluster, UpdateClusterSettings, PutClusterCapacityProviders ---------------------

int ecs_update_cluster(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_update_cluster_request *in = request;
    struct ecs_update_cluster_response *out = response;
    int64_t key = 0;
    int rc = resolve_named(call, in->cluster, &key);
    if (rc == 0) {
        rc = check_settings(call, &in->settings);
    }
    if (rc == 0) {
        rc = check_configuration(call, in->configuration);
    }
    if (rc == 0) {
        rc = check_namespace(call, in->service_connect_defaults);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_record_cluster *record = core_edit(call, &ecs_cluster_kind, key);
    if (in->settings.count > 0) {
        record->settings.items = in->settings.items;
        record->settings.count = in->settings.count;
    }
    if (in->configuration != NULL) {
        record->configuration = in->configuration;
    }
    copy_namespace(call, in->service_connect_defaults, record);
    core_put(call, &ecs_cluster_kind, key, record);
    out->cluster = shown_cluster(call, key);
    return 0;
}

int ecs_update_cluster_settings(struct core_call *call, void *state, const void *request,
                                void *response)
{
    (void)state;
    const struct ecs_update_cluster_settings_request *in = request;
    struct ecs_update_cluster_settings_response *out = response;
    int64_t key = 0;
    int rc = resolve_named(call, in->cluster, &key);
    if (rc == 0 && in->settings.count == 0) {
        rc = core_fault(call, &ecs_error_invalid_parameter_exception,
                        "Cluster settings can not be blank.");
    }
    if (rc == 0) {
        rc = check_settings(call, &in->settings);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_record_cluster *record = core_edit(call, &ecs_cluster_kind, key);
    record->settings.items = in->settings.items;
    record->settings.count = in->settings.count;
    core_put(call, &ecs_cluster_kind, key, record);
    out->cluster = shown_cluster(call, key);
    return 0;
}

/** A provider that goes may have no tasks. */
static int check_removed(struct core_call *call, int64_t key, const struct text_list *providers)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
    for (size_t i = 0; i < record->capacity_providers.count; i++) {
        struct text name = record->capacity_providers.items[i];
        if (!text_list_has(providers, name) && (task_provider_in_use(call->core, key, name) ||
                                                service_provider_in_use(call->core, key, name))) {
            return core_fault(call, &ecs_error_resource_in_use_exception,
                              "The specified capacity provider is in use and cannot be removed.");
        }
    }
    return 0;
}

int ecs_put_cluster_capacity_providers(struct core_call *call, void *state, const void *request,
                                       void *response)
{
    (void)state;
    const struct ecs_put_cluster_capacity_providers_request *in = request;
    struct ecs_put_cluster_capacity_providers_response *out = response;
    int64_t key = 0;
    int rc = resolve_named(call, in->cluster, &key);
    if (rc == 0) {
        rc = check_providers(call, &in->capacity_providers);
    }
    if (rc == 0) {
        rc = ecs_strategy_check(call, &in->capacity_providers,
                                in->default_capacity_provider_strategy.items,
                                in->default_capacity_provider_strategy.count);
    }
    if (rc == 0) {
        rc = check_removed(call, key, &in->capacity_providers);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_record_cluster *record = core_edit(call, &ecs_cluster_kind, key);
    record->capacity_providers = in->capacity_providers;
    copy_strategy(call, &in->default_capacity_provider_strategy, record);
    core_put(call, &ecs_cluster_kind, key, record);
    out->cluster = shown_cluster(call, key);
    return 0;
}
