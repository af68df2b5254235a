#include "ecs/page.h"
#include "ecs/task_internal.h"

/*
 * Container instances: the membership of a node in a cluster, in the words of the API. How they are
 * found, DescribeContainerInstances, ListContainerInstances.
 */

// ---- which --------------------------------------------------------------------------------

size_t task_instance_in(const struct task_record_node *record, int64_t cluster)
{
    for (size_t i = 0; i < record->memberships.count; i++) {
        const struct task_record_membership *membership = &record->memberships.items[i];
        if (membership->cluster == cluster && membership->deregistered_at == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

bool task_node_parted(const struct core *core, const struct task_node *node)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
    for (size_t i = 0; i < record->memberships.count; i++) {
        if (record->memberships.items[i].deregistered_at != 0) {
            return true;
        }
    }
    return false;
}

static bool has_tasks(const struct core *core, const struct task_node *node,
                      const struct task_record_node *record,
                      const struct task_record_membership *membership)
{
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        if (task_membership(record, core_get(core, &task_kind, entry->key)) == membership) {
            return true;
        }
    }
    return false;
}

void task_instances_prune(struct core_call *call, const struct task_node *node,
                          struct task_record_node *record)
{
    const struct task_record_node *stored = core_get(call->core, &task_node_kind, node->key);
    size_t count = stored->memberships.count;
    struct task_record_membership *kept = arena_array(call->arena, count, sizeof(*kept));
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct task_record_membership *membership = &stored->memberships.items[i];
        if (membership->deregistered_at == 0 || has_tasks(call->core, node, stored, membership)) {
            kept[kept_count] = *membership;
            kept_count++;
        }
    }
    record->memberships.items = kept;
    record->memberships.count = kept_count;
}

struct task_node *task_instance_find(const struct core *core, int64_t cluster,
                                     struct text reference, size_t *out_index)
{
    const struct ecs_record_cluster *names = core_get(core, &ecs_cluster_kind, cluster);
    struct text id = reference;
    if (!ecs_reference_path(reference, "container-instance", ecs_scope(core, names->realm), &id)) {
        return NULL;
    }
    if (text_starts(reference, TEXT("arn:")) && text_find(id, '/') != SIZE_MAX &&
        !text_equal(text_cut(&id, '/'), names->name)) {
        return NULL;
    }
    struct task_node *node = map_get(&task_state(core)->nodes_by_instance, id);
    const struct task_record_node *record =
        node == NULL ? NULL : core_get(core, &task_node_kind, node->key);
    for (size_t i = 0; record != NULL && i < record->memberships.count; i++) {
        const struct task_record_membership *membership = &record->memberships.items[i];
        if (membership->cluster == cluster && text_equal(membership->instance_id, id)) {
            *out_index = i;
            return node;
        }
    }
    return NULL;
}

struct ecs_failure task_instance_missing(struct core_call *call, int64_t cluster,
                                         struct text reference)
{
    return (struct ecs_failure){
        .arn = task_reference_arn(call, cluster, "container-instance", reference),
        .reason = TEXT("MISSING"),
    };
}

int task_instance_resolve(struct core_call *call, struct text cluster_name, struct text reference,
                          struct task_node **out_node, size_t *out_index)
{
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, cluster_name, &cluster);
    if (rc != 0) {
        return rc;
    }
    if (text_empty(reference)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Container instance cannot be empty.");
    }
    struct task_node *node = task_instance_find(call->core, cluster, reference, out_index);
    const struct task_record_node *record =
        node == NULL ? NULL : core_get(call->core, &task_node_kind, node->key);
    if (record == NULL || record->memberships.items[*out_index].deregistered_at != 0) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Referenced container instance %.*s not found.",
                          TEXT_FMT(text_slice(reference, 0, 300)));
    }
    *out_node = node;
    return 0;
}

// ---- DescribeContainerInstances -----------------------------------------------------------

static bool has_field(const struct ecs_container_instance_field_list *fields,
                      enum ecs_container_instance_field field)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->items[i] == field) {
            return true;
        }
    }
    return false;
}

int task_describe_instances(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_describe_container_instances_request *request = input;
    struct ecs_describe_container_instances_response *response = output;
    size_t count = request->container_instances.count;
    int64_t cluster = 0;
    int rc = ecs_batch_open(call, request->cluster, count, &cluster);
    if (rc != 0) {
        return rc;
    }
    unsigned flags =
        has_field(&request->include, ECS_CONTAINER_INSTANCE_FIELD_TAGS) ? TASK_SHOW_TAGS : 0;
    bool health =
        has_field(&request->include, ECS_CONTAINER_INSTANCE_FIELD_CONTAINER_INSTANCE_HEALTH);
    response->container_instances.items =
        arena_array(call->arena, count, sizeof(*response->container_instances.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        struct text reference = request->container_instances.items[i];
        size_t index = 0;
        const struct task_node *node = task_instance_find(call->core, cluster, reference, &index);
        if (node == NULL) {
            response->failures.items[response->failures.count] =
                task_instance_missing(call, cluster, reference);
            response->failures.count++;
            continue;
        }
        struct ecs_container_instance *shown =
            &response->container_instances.items[response->container_instances.count];
        task_show_instance(call, node, core_get(call->core, &task_node_kind, node->key), index,
                           flags, shown);
        if (health) {
            task_show_instance_health(call, node, shown);
        }
        response->container_instances.count++;
    }
    return 0;
}

// ---- ListContainerInstances ---------------------------------------------------------------

static bool status_matches(enum ecs_container_instance_status status,
                           const struct task_record_membership *membership)
{
    switch (status) {
    case ECS_CONTAINER_INSTANCE_STATUS_ABSENT:
        return true;
    case ECS_CONTAINER_INSTANCE_STATUS_ACTIVE:
        return !membership->draining;
    case ECS_CONTAINER_INSTANCE_STATUS_DRAINING:
        return membership->draining;
    case ECS_CONTAINER_INSTANCE_STATUS_REGISTERING:
    case ECS_CONTAINER_INSTANCE_STATUS_DEREGISTERING:
    case ECS_CONTAINER_INSTANCE_STATUS_REGISTRATION_FAILED:
    case ECS_CONTAINER_INSTANCE_STATUS_UNRECOGNIZED:
        break;
    }
    return false; // here an instance is registered or it is not
}

int task_list_instances(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct ecs_list_container_instances_request *request = input;
    struct ecs_list_container_instances_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    struct ecs_page page = {0};
    rc = ecs_page_open(call, request->next_token, request->has_max_results, request->max_results,
                       &page);
    int64_t after = 0;
    if (rc == 0) {
        rc = ecs_page_after_key(call, &page, &after);
    }
    struct constraint filter = {0};
    if (rc == 0 && !text_empty(request->filter)) {
        rc = task_constraint_parse(call, request->filter, &filter);
    }
    if (rc != 0) {
        return rc;
    }
    response->container_instance_arns.items =
        arena_array(call->arena, page.size, sizeof(struct text));
    int64_t last = 0;
    for (size_t i = 0; i < state->node_count; i++) {
        const struct task_node *node = state->nodes[i];
        if (node->key <= after || node->removed) {
            continue;
        }
        const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
        size_t index = task_instance_in(record, cluster);
        if (index == SIZE_MAX ||
            !status_matches(request->status, &record->memberships.items[index])) {
            continue;
        }
        struct task_instance_view view = {call->core, node, record, index, NULL, ""};
        if (filter.count > 0 && !task_instance_meant(&filter, &view)) {
            continue;
        }
        if (response->container_instance_arns.count == page.size) {
            response->next_token = ecs_page_token_of_key(call, last);
            break;
        }
        response->container_instance_arns.items[response->container_instance_arns.count] =
            task_instance_arn(call, record, &record->memberships.items[index]);
        response->container_instance_arns.count++;
        last = node->key;
    }
    return 0;
}
