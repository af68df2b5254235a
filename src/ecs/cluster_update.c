#include "ecs/cluster_internal.h"

#include "base/text.h"
#include "ecs/service.h"
#include "ecs/task.h"

#include <string.h>

/*
 * UpdateCluster, UpdateClusterSettings, PutClusterCapacityProviders.
 */

void cluster_copy_strategy(struct core_call *call,
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

void cluster_copy_namespace(struct core_call *call,
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

int ecs_update_cluster(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_update_cluster_request *in = request;
    struct ecs_update_cluster_response *out = response;
    int64_t key = 0;
    int rc = cluster_resolve_named(call, in->cluster, &key);
    if (rc == 0) {
        rc = cluster_check_settings(call, &in->settings);
    }
    if (rc == 0) {
        rc = cluster_check_configuration(call, in->configuration);
    }
    if (rc == 0) {
        rc = cluster_check_namespace(call, in->service_connect_defaults);
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
    cluster_copy_namespace(call, in->service_connect_defaults, record);
    core_put(call, &ecs_cluster_kind, key, record);
    out->cluster = cluster_shown(call, key);
    return 0;
}

int ecs_update_cluster_settings(struct core_call *call, void *state, const void *request,
                                void *response)
{
    (void)state;
    const struct ecs_update_cluster_settings_request *in = request;
    struct ecs_update_cluster_settings_response *out = response;
    int64_t key = 0;
    int rc = cluster_resolve_named(call, in->cluster, &key);
    if (rc == 0 && in->settings.count == 0) {
        rc = core_fault(call, &ecs_error_invalid_parameter_exception,
                        "Cluster settings can not be blank.");
    }
    if (rc == 0) {
        rc = cluster_check_settings(call, &in->settings);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_record_cluster *record = core_edit(call, &ecs_cluster_kind, key);
    record->settings.items = in->settings.items;
    record->settings.count = in->settings.count;
    core_put(call, &ecs_cluster_kind, key, record);
    out->cluster = cluster_shown(call, key);
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
    int rc = cluster_resolve_named(call, in->cluster, &key);
    if (rc == 0) {
        rc = cluster_check_providers(call, &in->capacity_providers);
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
    cluster_copy_strategy(call, &in->default_capacity_provider_strategy, record);
    core_put(call, &ecs_cluster_kind, key, record);
    out->cluster = cluster_shown(call, key);
    return 0;
}
