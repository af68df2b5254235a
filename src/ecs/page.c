#include "ecs/page.h"

#include "base/text.h"
#include "core/page_token.h"
#include "ecs/ecs.h"

#define TOKEN_KEY_BYTES 8

// ---- sizes --------------------------------------------------------------------------------

/** How many entries a listing shows. */
struct page_rule {
    enum ecs_operation operation;
    size_t usual; ///< without maxResults
    size_t most;
};

// ECS, quotas and API reference.
static const struct page_rule page_rules[] = {
    {ECS_OP_LIST_ACCOUNT_SETTINGS, 10, 10},
    {ECS_OP_LIST_ATTRIBUTES, 100, 100},
    {ECS_OP_LIST_CLUSTERS, 100, 100},
    {ECS_OP_LIST_CONTAINER_INSTANCES, 100, 100},
    {ECS_OP_LIST_TASK_DEFINITION_FAMILIES, 100, 100},
    {ECS_OP_LIST_TASK_DEFINITIONS, 100, 100},
    {ECS_OP_LIST_TASKS, 100, 100},
    {ECS_OP_LIST_SERVICES, 10, 100},
    {ECS_OP_LIST_SERVICES_BY_NAMESPACE, 10, 100},
    {ECS_OP_LIST_SERVICE_DEPLOYMENTS, 20, 100},
    {ECS_OP_DESCRIBE_CAPACITY_PROVIDERS, 10, 10},
};

/** How many things a batch operation may name. */
struct batch_rule {
    enum ecs_operation operation;
    size_t most;
    const char *none; ///< what a refusal of none calls them; NULL when there may be none
    const char *many; ///< what a refusal of too many calls them
};

// ECS says "taskIds can have at most 100 items." and "Tasks cannot be empty.": two layers of it.
static const struct batch_rule batch_rules[] = {
    {ECS_OP_DELETE_ATTRIBUTES, 10, "Attributes", "attributes"},
    {ECS_OP_DESCRIBE_CAPACITY_PROVIDERS, 100, NULL, "capacityProviders"},
    {ECS_OP_DESCRIBE_CLUSTERS, 100, NULL, "clusters"},
    {ECS_OP_DESCRIBE_CONTAINER_INSTANCES, 100, "Container instances", "instanceIds"},
    {ECS_OP_DESCRIBE_SERVICES, 10, "Services", "service names"},
    {ECS_OP_DESCRIBE_SERVICE_DEPLOYMENTS, 20, "Service deployments", "service deployment ARNs"},
    {ECS_OP_DESCRIBE_SERVICE_REVISIONS, 20, "Service revisions", "service revision ARNs"},
    {ECS_OP_DESCRIBE_TASK_SETS, 100, NULL, "taskSets"},
    {ECS_OP_DESCRIBE_TASKS, 100, "Tasks", "taskIds"},
    {ECS_OP_GET_TASK_PROTECTION, 100, NULL, "taskIds"},
    {ECS_OP_PUT_ATTRIBUTES, 10, "Attributes", "attributes"},
    {ECS_OP_START_TASK, 10, "Container instances", "instanceIds"},
    {ECS_OP_UPDATE_CONTAINER_INSTANCES_STATE, 10, "Container instances", "instanceIds"},
    {ECS_OP_UPDATE_TASK_PROTECTION, 10, "Tasks", "taskIds"},
};

static const struct page_rule *page_rule(const struct core_call *call)
{
    for (size_t i = 0; i < ARRAY_LEN(page_rules); i++) {
        if (call->operation == &ecs_operations[page_rules[i].operation]) {
            return &page_rules[i];
        }
    }
    ASSERT(!"every listing has a rule");
    return NULL;
}

static const struct batch_rule *batch_rule(const struct core_call *call)
{
    for (size_t i = 0; i < ARRAY_LEN(batch_rules); i++) {
        if (call->operation == &ecs_operations[batch_rules[i].operation]) {
            return &batch_rules[i];
        }
    }
    ASSERT(!"every batch operation has a rule");
    return NULL;
}

// ---- tokens -------------------------------------------------------------------------------

struct text ecs_page_token(struct core_call *call, struct text last_entry)
{
    return page_token_make(call, last_entry);
}

int ecs_page_refuse(struct core_call *call)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "Invalid token");
}

// ---- pages --------------------------------------------------------------------------------

int ecs_page_open(struct core_call *call, struct text next_token, bool has_max_results,
                  int32_t max_results, struct ecs_page *out_page)
{
    const struct page_rule *rule = page_rule(call);
    struct ecs_page page = {.size = rule->usual};
    if (has_max_results) {
        if (max_results < 1 || (size_t)max_results > rule->most) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "maxResults must be between 1 and %zu.", rule->most);
        }
        page.size = (size_t)max_results;
    }
    // SDKs send an empty token for the first page when told to start from nothing.
    if (!text_empty(next_token) && page_token_open(call, next_token, &page.after) != 0) {
        return ecs_page_refuse(call);
    }
    *out_page = page;
    return 0;
}

int ecs_page_after_key(struct core_call *call, const struct ecs_page *page, int64_t *out_after)
{
    if (page->after.data == NULL) {
        *out_after = 0;
        return 0;
    }
    if (page->after.size != TOKEN_KEY_BYTES) {
        return ecs_page_refuse(call);
    }
    uint64_t key = 0;
    for (size_t i = 0; i < TOKEN_KEY_BYTES; i++) {
        key = (key << 8) | (unsigned char)page->after.data[i];
    }
    *out_after = (int64_t)key;
    return 0;
}

struct text ecs_page_token_of_key(struct core_call *call, int64_t last_key)
{
    ASSERT(last_key > 0);
    char bytes[TOKEN_KEY_BYTES];
    for (size_t i = 0; i < TOKEN_KEY_BYTES; i++) {
        bytes[i] = (char)(unsigned char)((uint64_t)last_key >> (56 - 8 * i));
    }
    return ecs_page_token(call, (struct text){bytes, sizeof(bytes)});
}

// ---- batches ------------------------------------------------------------------------------

int ecs_batch_check(struct core_call *call, size_t count)
{
    const struct batch_rule *rule = batch_rule(call);
    if (count == 0 && rule->none != NULL) {
        return core_fault(call, &ecs_error_invalid_parameter_exception, "%s cannot be empty.",
                          rule->none);
    }
    if (count > rule->most) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "%s can have at most %zu items.", rule->many, rule->most);
    }
    return 0;
}

int ecs_batch_open(struct core_call *call, struct text cluster_reference, size_t count,
                   int64_t *out_cluster)
{
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, cluster_reference, &cluster);
    if (rc == 0) {
        rc = ecs_batch_check(call, count);
    }
    if (rc == 0) {
        *out_cluster = cluster;
    }
    return rc;
}
