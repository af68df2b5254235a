#include "ecs/cluster_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "ecs/page.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"

#define CLUSTERS_MAX 10000                          ///< ECS: clusters of a region
#define INACTIVE_MS (7 * 24 * 3600 * INT64_C(1000)) ///< how long a deleted cluster is described
#define INACTIVE_RETRY_MS (3600 * INT64_C(1000))    ///< while its tasks are kept

// ---- CreateCluster ------------------------------------------------------------------------

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
    cluster_copy_strategy(call, &in->default_capacity_provider_strategy, record);
    cluster_copy_namespace(call, in->service_connect_defaults, record);
    record->tags.items = in->tags.items;
    record->tags.count = in->tags.count;
}

static int check_create(struct core_call *call, const struct ecs_create_cluster_request *in)
{
    int rc = cluster_check_name(call, in->cluster_name);
    if (rc == 0) {
        rc = ecs_tags_check(call, in->tags.items, in->tags.count);
    }
    if (rc == 0) {
        rc = cluster_check_settings(call, &in->settings);
    }
    if (rc == 0) {
        rc = cluster_check_configuration(call, in->configuration);
    }
    if (rc == 0) {
        rc = cluster_check_namespace(call, in->service_connect_defaults);
    }
    if (rc == 0) {
        rc = cluster_check_providers(call, &in->capacity_providers);
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
        out->cluster = cluster_shown(call, key);
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
    out->cluster = cluster_shown(call, key);
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
            cluster_show(call, key, &view, &out->clusters.items[out->clusters.count]);
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
    int rc = cluster_resolve_named(call, in->cluster, &key);
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
    out->cluster = cluster_shown(call, key);
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
