#include "ecs/page.h"
#include "ecs/service_internal.h"

#include "base/limits.h"
// ---- DescribeServices -----------------------------------------------------------------------

// The failure of a reference that leads nowhere names it in full, whatever form it had.
static struct ecs_failure missing(struct core_call *call, int64_t cluster, struct text reference)
{
    struct text arn = reference;
    if (!text_starts(reference, TEXT("arn:"))) {
        const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
        struct ecs_realm_scope scope = ecs_scope(call->core, record->realm);
        arn = arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:service/%.*s/%.*s",
                           TEXT_FMT(scope.region), TEXT_FMT(scope.account), TEXT_FMT(record->name),
                           TEXT_FMT(reference));
    }
    return (struct ecs_failure){.arn = arn, .reason = TEXT("MISSING")};
}

int service_describe(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_describe_services_request *request = input;
    struct ecs_describe_services_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_batch_open(call, request->cluster, request->services.count, &cluster);
    if (rc != 0) {
        return rc;
    }
    bool tags = false;
    for (size_t i = 0; i < request->include.count; i++) {
        tags = tags || request->include.items[i] == ECS_SERVICE_FIELD_TAGS;
    }
    size_t count = request->services.count;
    response->services.items = arena_array(call->arena, count, sizeof(*response->services.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        int64_t key = service_find_any(call->core, cluster, request->services.items[i]);
        if (key == 0) {
            response->failures.items[response->failures.count] =
                missing(call, cluster, request->services.items[i]);
            response->failures.count++;
        } else {
            service_show(call, key, tags, &response->services.items[response->services.count]);
            response->services.count++;
        }
    }
    return 0;
}

// ---- ListServices ---------------------------------------------------------------------------

static bool listed(const struct service_record_service *record,
                   const struct ecs_list_services_request *request)
{
    bool type = request->launch_type == ECS_LAUNCH_TYPE_ABSENT ||
                request->launch_type == record->launch_type;
    bool strategy = request->scheduling_strategy == ECS_SCHEDULING_STRATEGY_ABSENT ||
                    request->scheduling_strategy == record->scheduling_strategy;
    // Nothing here is managed by an express gateway.
    bool managed = request->resource_management_type != ECS_RESOURCE_MANAGEMENT_TYPE_ECS;
    return type && strategy && managed;
}

int service_list(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct service_state *state = pointer;
    const struct ecs_list_services_request *request = input;
    struct ecs_list_services_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    struct ecs_page page;
    rc = ecs_page_open(call, request->next_token, request->has_max_results, request->max_results,
                       &page);
    if (rc == 0 && page.after.size > LIMIT_NAME_CHARS) {
        rc = ecs_page_refuse(call);
    }
    if (rc != 0) {
        return rc;
    }
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)cluster);
    struct index_cursor cursor;
    index_walk(state->active, &prefix, false, &cursor);
    if (page.after.data != NULL) {
        struct index_key after = prefix;
        index_key_text(&after, page.after);
        index_walk_after(&cursor, &after, INT64_MAX);
    }
    response->service_arns.items = arena_array(call->arena, page.size, sizeof(struct text));
    struct text last = {0};
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct service_record_service *record = core_get(call->core, &service_kind, key);
        if (!listed(record, request)) {
            continue;
        }
        if (response->service_arns.count == page.size) {
            response->next_token = ecs_page_token(call, last);
            break;
        }
        response->service_arns.items[response->service_arns.count] = service_arn(call, key);
        response->service_arns.count++;
        last = record->name;
    }
    return 0;
}

// ---- ListServicesByNamespace ----------------------------------------------------------------

// Whether the service of a caller's is in a namespace by Service Connect.
static bool in_namespace(struct core_call *call, int64_t key, struct text name)
{
    const struct service_record_service *record = core_get(call->core, &service_kind, key);
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    if (record->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE || record->primary == 0 ||
        cluster->realm != ecs_caller_realm(call)) {
        return false;
    }
    const struct service_record_deployment *primary =
        core_get(call->core, &service_deployment_kind, record->primary);
    const struct service_record_revision *revision =
        core_get(call->core, &service_revision_kind, primary->revision);
    const struct ecs_service_connect_configuration *connect =
        revision->service_connect_configuration;
    return connect != NULL && connect->enabled && text_equal(connect->namespace, name);
}

// Without a directory of namespaces, one is there when a cluster has it as its default.
static bool is_default(struct core_call *call, struct text name)
{
    for (int64_t key = core_next(call->core, &ecs_cluster_kind, 0); key != 0;
         key = core_next(call->core, &ecs_cluster_kind, key)) {
        const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, key);
        if (record->realm == ecs_caller_realm(call) && record->service_connect_defaults != NULL &&
            text_equal(record->service_connect_defaults->namespace, name)) {
            return true;
        }
    }
    return false;
}

int service_list_by_namespace(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_list_services_by_namespace_request *request = input;
    struct ecs_list_services_by_namespace_response *response = output;
    struct ecs_page page;
    int64_t after = 0;
    int rc = ecs_page_open(call, request->next_token, request->has_max_results,
                           request->max_results, &page);
    if (rc == 0) {
        rc = ecs_page_after_key(call, &page, &after);
    }
    if (rc != 0) {
        return rc;
    }
    response->service_arns.items = arena_array(call->arena, page.size, sizeof(struct text));
    int64_t last = 0;
    for (int64_t key = core_next(call->core, &service_kind, after); key != 0;
         key = core_next(call->core, &service_kind, key)) {
        if (!in_namespace(call, key, request->namespace)) {
            continue;
        }
        if (response->service_arns.count == page.size) {
            response->next_token = ecs_page_token_of_key(call, last);
            break;
        }
        response->service_arns.items[response->service_arns.count] = service_arn(call, key);
        response->service_arns.count++;
        last = key;
    }
    if (response->service_arns.count == 0 && after == 0 && !is_default(call, request->namespace)) {
        return core_fault(call, &ecs_error_namespace_not_found_exception, "Namespace not found.");
    }
    return 0;
}

// ---- what others count ----------------------------------------------------------------------

// The launch type that a service's tasks have: that of its strategy's providers, where it has one.
static enum ecs_launch_type kind_of(const struct core *core,
                                    const struct service_record_service *record)
{
    if (record->launch_type != ECS_LAUNCH_TYPE_ABSENT || record->primary == 0) {
        return record->launch_type; // none for one whose task sets have theirs
    }
    const struct service_record_deployment *primary =
        core_get(core, &service_deployment_kind, record->primary);
    const struct service_record_revision *revision =
        core_get(core, &service_revision_kind, primary->revision);
    return service_on_fargate(revision) ? ECS_LAUNCH_TYPE_FARGATE : ECS_LAUNCH_TYPE_EC2;
}

struct service_counts service_count(const struct core *core, int64_t cluster,
                                    enum ecs_launch_type launch_type)
{
    struct service_counts counts = {0};
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)cluster);
    struct index_cursor cursor;
    index_walk(service_state(core)->by_name, &prefix, false, &cursor);
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct service_record_service *record = core_get(core, &service_kind, key);
        // Of one that is INACTIVE, parts may be gone already.
        if (record->status == SERVICE_RECORD_SERVICE_STATUS_INACTIVE ||
            (launch_type != ECS_LAUNCH_TYPE_ABSENT && kind_of(core, record) != launch_type)) {
            continue;
        }
        counts.active += record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE;
        counts.draining += record->status == SERVICE_RECORD_SERVICE_STATUS_DRAINING;
    }
    return counts;
}

bool service_cluster_referenced(const struct core *core, int64_t cluster)
{
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)cluster);
    struct index_cursor cursor;
    index_walk(service_state(core)->by_name, &prefix, false, &cursor);
    return index_step(&cursor) != 0;
}

bool service_definition_in_use(const struct core *core, int64_t definition)
{
    return map_get_u64(&service_state(core)->definition_uses, (uint64_t)definition) != NULL;
}

bool service_provider_in_use(const struct core *core, int64_t cluster, struct text provider)
{
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)cluster);
    struct index_cursor cursor;
    index_walk(service_state(core)->by_name, &prefix, false, &cursor);
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct service_entry *entry = service_entry(service_state(core), key);
        for (size_t i = 0; entry != NULL && i < entry->deployment_count; i++) {
            const struct service_record_deployment *deployment =
                core_get(core, &service_deployment_kind, entry->deployments[i]);
            const struct service_record_revision *revision =
                core_get(core, &service_revision_kind, deployment->revision);
            for (size_t j = 0; j < revision->capacity_provider_strategy.count; j++) {
                if (text_equal(revision->capacity_provider_strategy.items[j].capacity_provider,
                               provider)) {
                    return true;
                }
            }
        }
    }
    return false;
}
