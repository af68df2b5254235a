#include "ecs/page.h"
#include "ecs/task_internal.h"

// ---- DescribeTasks ------------------------------------------------------------------------

static bool has_field(const struct ecs_task_field_list *fields, enum ecs_task_field field)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->items[i] == field) {
            return true;
        }
    }
    return false;
}

int task_describe_tasks(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_describe_tasks_request *request = input;
    struct ecs_describe_tasks_response *response = output;
    size_t count = request->tasks.count;
    int64_t cluster = 0;
    int rc = ecs_batch_open(call, request->cluster, count, &cluster);
    if (rc != 0) {
        return rc;
    }
    unsigned flags = has_field(&request->include, ECS_TASK_FIELD_TAGS) ? TASK_SHOW_TAGS : 0;
    response->tasks.items = arena_array(call->arena, count, sizeof(*response->tasks.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        const struct task_entry *entry = task_find(call->core, cluster, request->tasks.items[i]);
        if (entry == NULL) {
            response->failures.items[response->failures.count] = (struct ecs_failure){
                .arn = task_reference_arn(call, cluster, "task", request->tasks.items[i]),
                .reason = TEXT("MISSING"),
            };
            response->failures.count++;
            continue;
        }
        task_show(call, entry->key, core_get(call->core, &task_kind, entry->key), flags,
                  &response->tasks.items[response->tasks.count]);
        response->tasks.count++;
    }
    return 0;
}

// ---- ListTasks ----------------------------------------------------------------------------

struct filter {
    int64_t service; ///< 0 for any
    int64_t cluster;
    enum task_record_task_status desired;
    int64_t family; // key; 0 for any
    struct text started_by;
    const struct task_node *node; // NULL for any
    struct text instance;         // of that node: it may have had several in the cluster
    enum ecs_launch_type launch_type;
};

static bool matches(const struct core *core, const struct filter *filter, int64_t key)
{
    const struct task_record_task *record = core_get(core, &task_kind, key);
    if (record->cluster != filter->cluster || record->desired_status != filter->desired) {
        return false;
    }
    if (filter->launch_type != ECS_LAUNCH_TYPE_ABSENT &&
        record->launch_type != filter->launch_type) {
        return false;
    }
    if (filter->node != NULL) {
        const struct task_record_node *node = core_get(core, &task_node_kind, filter->node->key);
        if (record->node != filter->node->key || record->launch_type == ECS_LAUNCH_TYPE_FARGATE ||
            !text_equal(task_membership(node, record)->instance_id, filter->instance)) {
            return false;
        }
    }
    if (filter->service != 0 &&
        (!record->has_deployment || service_of(core, record->deployment) != filter->service)) {
        return false;
    }
    if (filter->started_by.data != NULL && !text_equal(record->started_by, filter->started_by)) {
        return false;
    }
    if (filter->family != 0) {
        const struct ecs_record_definition *definition =
            core_get(core, &ecs_definition_kind, record->definition);
        return definition->family == filter->family;
    }
    return true;
}

// A walk in ascending key over the shortest list that holds all that can match.
struct walk {
    const struct task_entry *entry; // of a node
    struct index_cursor cursor;
    bool of_node;
};

static void walk_begin(const struct task_state *state, const struct filter *filter, int64_t after,
                       struct walk *out_walk)
{
    out_walk->of_node = filter->node != NULL;
    if (out_walk->of_node) {
        out_walk->entry = filter->node->first;
        while (out_walk->entry != NULL && out_walk->entry->key <= after) {
            out_walk->entry = out_walk->entry->next;
        }
        return;
    }
    struct index_key key;
    const struct index *index = state->by_cluster;
    task_list_key(&key, filter->cluster, filter->desired);
    if (filter->started_by.data != NULL) {
        index = state->by_starter;
        index_key_text(&key, filter->started_by);
    } else if (filter->family != 0) {
        index = state->by_family;
        index_key_u64(&key, (uint64_t)filter->family);
    }
    index_walk(index, &key, false, &out_walk->cursor);
    if (after != 0) {
        index_walk_after(&out_walk->cursor, &key, after);
    }
}

static int64_t walk_step(struct walk *walk)
{
    if (!walk->of_node) {
        return index_step(&walk->cursor);
    }
    if (walk->entry == NULL) {
        return 0;
    }
    int64_t key = walk->entry->key;
    walk->entry = walk->entry->next;
    return key;
}

// ECS: who asks for startedBy may narrow it down by desiredStatus only.
static bool filters_besides_starter(const struct ecs_list_tasks_request *request)
{
    return !text_empty(request->family) || !text_empty(request->service_name) ||
           !text_empty(request->container_instance) || !text_empty(request->daemon_name) ||
           request->launch_type != ECS_LAUNCH_TYPE_ABSENT;
}

static int read_filter(struct core_call *call, const struct task_state *state,
                       const struct ecs_list_tasks_request *request, struct filter *out_filter,
                       bool *out_none)
{
    struct filter filter = {.desired = TASK_RECORD_TASK_STATUS_RUNNING,
                            .launch_type = request->launch_type};
    int rc = ecs_cluster_resolve(call, request->cluster, &filter.cluster);
    if (rc != 0) {
        return rc;
    }
    if (!text_empty(request->started_by) && filters_besides_starter(request)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "startedBy must be the only filter.");
    }
    if (!text_empty(request->service_name)) {
        filter.service = service_find(call->core, filter.cluster, request->service_name);
        if (filter.service == 0) {
            return core_fault(call, &ecs_error_service_not_found_exception, "Service not found.");
        }
    }
    if (request->started_by.size > 128) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "startedBy can have at most 128 characters.");
    }
    filter.started_by = text_empty(request->started_by) ? (struct text){0} : request->started_by;
    bool none = false;
    switch (request->desired_status) {
    case ECS_DESIRED_STATUS_ABSENT:
    case ECS_DESIRED_STATUS_UNRECOGNIZED:
    case ECS_DESIRED_STATUS_RUNNING:
        break;
    case ECS_DESIRED_STATUS_PENDING:
        none = true; // legal, but no task ever has it
        break;
    case ECS_DESIRED_STATUS_STOPPED:
        filter.desired = TASK_RECORD_TASK_STATUS_STOPPED;
        break;
    }
    if (!text_empty(request->family)) {
        filter.family = ecs_family_lookup(call->core, ecs_caller_realm(call), request->family);
        none = none || filter.family == 0;
    }
    if (!text_empty(request->daemon_name)) {
        none = true; // there are no daemons
    }
    if (!text_empty(request->container_instance)) {
        struct text id = request->container_instance;
        size_t slash = text_find_last(id, '/');
        id = slash == SIZE_MAX ? id : text_slice(id, slash + 1, id.size);
        filter.instance = id;
        filter.node = map_get(&state->nodes_by_instance, id);
        none = none || filter.node == NULL;
    }
    *out_filter = filter;
    *out_none = none;
    return 0;
}

int task_list_tasks(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct ecs_list_tasks_request *request = input;
    struct ecs_list_tasks_response *response = output;
    struct filter filter = {0};
    bool none = false;
    int rc = read_filter(call, state, request, &filter, &none);
    struct ecs_page page = {0};
    if (rc == 0) {
        rc = ecs_page_open(call, request->next_token, request->has_max_results,
                           request->max_results, &page);
    }
    int64_t after = 0;
    if (rc == 0) {
        rc = ecs_page_after_key(call, &page, &after);
    }
    if (rc != 0) {
        return rc;
    }
    response->task_arns.items = arena_array(call->arena, page.size, sizeof(struct text));
    if (none) {
        return 0;
    }
    struct walk walk;
    walk_begin(state, &filter, after, &walk);
    int64_t last = 0;
    for (int64_t key = walk_step(&walk); key != 0; key = walk_step(&walk)) {
        if (!matches(call->core, &filter, key)) {
            continue;
        }
        if (response->task_arns.count == page.size) {
            response->next_token =
                ecs_page_token_of_key(call, MUTANT("skip-in-pages") ? key : last);
            break;
        }
        response->task_arns.items[response->task_arns.count] =
            task_arn(call, core_get(call->core, &task_kind, key));
        response->task_arns.count++;
        last = key;
    }
    return 0;
}
