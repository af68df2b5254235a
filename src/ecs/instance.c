#include "ecs/page.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * Container instances: the membership of a node in a cluster, in the words of the API.
 */

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- showing ------------------------------------------------------------------------------

static struct ecs_resource integer_resource(const char *name, int64_t value)
{
    return (struct ecs_resource){
        .name = text_of(name),
        .type = TEXT("INTEGER"),
        .has_double_value = true,
        .has_long_value = true,
        .has_integer_value = true,
        .integer_value = (int32_t)MAX(INT64_C(0), value),
    };
}

// Every number of a resource is shown, also those that its type does not use.
static struct ecs_resource whole_resource(struct ecs_resource resource)
{
    resource.has_double_value = true;
    resource.has_long_value = true;
    resource.has_integer_value = true;
    return resource;
}

// PORTS of remainingResources lists those in use: the reserved ones, then those of tasks.
static void add_ports(struct core_call *call, const struct task_node *node, bool udp,
                      struct ecs_resource *resource)
{
    size_t count = resource->string_set_value.count;
    struct text *ports = arena_array(call->arena, count + node->port_count, sizeof(*ports));
    if (count > 0) {
        memcpy(ports, resource->string_set_value.items, count * sizeof(*ports));
    }
    for (size_t i = 0; i < node->port_count; i++) {
        if ((node->ports[i] % 2 != 0) == udp) {
            ports[count] = task_number(call, node->ports[i] / 2);
            count++;
        }
    }
    resource->string_set_value.items = ports;
    resource->string_set_value.count = count;
}

static struct ecs_resource gpu_resource(struct core_call *call, const struct task_node *node,
                                        const struct task_record_membership *membership,
                                        bool free_only)
{
    struct text *ids = arena_array(call->arena, TASK_GPUS_MAX, sizeof(*ids));
    struct ecs_resource resource = {.name = TEXT("GPU"), .type = TEXT("STRINGSET")};
    resource.string_set_value.count = task_gpus(call->core, node, membership, free_only, ids);
    resource.string_set_value.items = resource.string_set_value.count > 0 ? ids : SHAPE_EMPTY;
    return whole_resource(resource);
}

// GPUs come as platformDevices and are shown as a resource; what remains of them are the free ones.
static void fill_resources(struct core_call *call, const struct task_node *node,
                           const struct task_record_node *record,
                           const struct task_record_membership *membership,
                           struct ecs_container_instance *instance)
{
    size_t count = record->resources.count;
    struct ecs_resource *registered = arena_array(call->arena, count + 1, sizeof(*registered));
    struct ecs_resource *remaining = arena_array(call->arena, count + 1, sizeof(*remaining));
    for (size_t i = 0; i < count; i++) {
        registered[i] = whole_resource(record->resources.items[i]);
        remaining[i] = registered[i];
        if (text_is(registered[i].name, "CPU")) {
            remaining[i] = integer_resource("CPU", node->cpu_units - node->cpu_used);
        } else if (text_is(registered[i].name, "MEMORY")) {
            remaining[i] = integer_resource("MEMORY", node->memory_mib - node->memory_used);
        } else if (text_is(registered[i].name, "PORTS")) {
            add_ports(call, node, false, &remaining[i]);
        } else if (text_is(registered[i].name, "PORTS_UDP")) {
            add_ports(call, node, true, &remaining[i]);
        }
    }
    registered[count] = gpu_resource(call, node, membership, false);
    if (registered[count].string_set_value.count > 0) {
        remaining[count] = gpu_resource(call, node, membership, true);
        count++;
    }
    instance->registered_resources.items = registered;
    instance->registered_resources.count = count;
    instance->remaining_resources.items = remaining;
    instance->remaining_resources.count = count;
}

static struct ecs_version_info *version_info(struct core_call *call, const struct task_node *node,
                                             const struct task_record_node *record)
{
    if (record->version_info != NULL) {
        return record->version_info;
    }
    struct ecs_version_info *info = ARENA_NEW(call->arena, struct ecs_version_info);
    info->agent_version = text_empty(node->agent_version) ? (struct text){0} : node->agent_version;
    return info;
}

static void count_tasks(const struct core *core, const struct task_node *node,
                        const struct task_record_node *record,
                        const struct task_record_membership *membership,
                        struct task_instance_counts *out_counts)
{
    *out_counts = (struct task_instance_counts){0};
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        if (!entry->holds) {
            continue;
        }
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        if (task_membership(record, task) == membership) {
            out_counts->held++;
            out_counts->running += task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
            out_counts->pending += task->last_status == TASK_RECORD_TASK_STATUS_PENDING;
        }
    }
}

void task_instance_count(const struct core *core, const struct task_node *node,
                         const struct task_record_node *record, size_t index,
                         struct task_instance_counts *out_counts)
{
    count_tasks(core, node, record, &record->memberships.items[index], out_counts);
}

struct text task_instance_status(const struct task_record_membership *membership)
{
    if (membership->deregistered_at != 0) {
        return TEXT("INACTIVE");
    }
    return membership->draining ? TEXT("DRAINING") : TEXT("ACTIVE");
}

struct text task_instance_ec2_id(struct arena *arena,
                                 const struct task_record_membership *membership)
{
    return membership->ec2_instance_id.data != NULL
               ? membership->ec2_instance_id
               : arena_format(arena, "i-%.17s", membership->instance_id.data);
}

void task_show_instance(struct core_call *call, const struct task_node *node,
                        const struct task_record_node *record, size_t index, unsigned flags,
                        struct ecs_container_instance *out_instance)
{
    const struct task_record_membership *membership = &record->memberships.items[index];
    bool gone = membership->deregistered_at != 0;
    struct task_instance_counts counts;
    count_tasks(call->core, node, record, membership, &counts);
    struct ecs_container_instance instance = {
        .container_instance_arn = task_instance_arn(call, record, membership),
        .ec2_instance_id = task_instance_ec2_id(call->arena, membership),
        .has_version = true,
        .version = membership->version,
        .version_info = version_info(call, node, record),
        .status = task_instance_status(membership),
        .has_agent_connected = true,
        .agent_connected = !gone && task_node_agent_connected(node),
        .has_running_tasks_count = true,
        .running_tasks_count = counts.running,
        .has_pending_tasks_count = true,
        .pending_tasks_count = counts.pending,
        .attributes = {membership->attributes.items, membership->attributes.count},
        .registered_at = membership->registered_at,
        .capacity_provider_name = gone ? (struct text){0}
                                       : ecs_provider_of_group(call->core, membership->cluster,
                                                               membership->scaling_group),
        .attachments = {.items = SHAPE_EMPTY},
        .tags = {.items = SHAPE_EMPTY},
    };
    if ((flags & TASK_SHOW_TAGS) != 0 && membership->tags.count > 0) {
        instance.tags.items = membership->tags.items;
        instance.tags.count = membership->tags.count;
    }
    fill_resources(call, node, record, membership, &instance);
    *out_instance = instance;
}

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

// One that is not deregistered, or a refusal.
static int resolve(struct core_call *call, struct text cluster_name, struct text reference,
                   struct task_node **out_node, size_t *out_index)
{
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, cluster_name, &cluster);
    if (rc != 0) {
        return rc;
    }
    if (text_empty(reference)) {
        return refuse(call, "Container instance cannot be empty.");
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

// ---- what the query language asks ---------------------------------------------------------

static bool show_number(struct task_instance_view *view, int64_t number, struct text *out_value)
{
    int size = snprintf(view->scratch, sizeof(view->scratch), "%lld", (long long)number);
    ASSERT(size > 0);
    *out_value = (struct text){view->scratch, (size_t)size};
    return true;
}

// The group of the next task that the instance holds.
static bool next_group(struct task_instance_view *view, struct text *out_value)
{
    const struct task_record_membership *own = &view->record->memberships.items[view->index];
    for (; view->entry != NULL; view->entry = view->entry->next) {
        const struct task_record_task *task = core_get(view->core, &task_kind, view->entry->key);
        if (!view->entry->holds || task_membership(view->record, task) != own) {
            continue;
        }
        view->entry = view->entry->next;
        if (task->extra != NULL && task->extra->group.data != NULL) {
            *out_value = task->extra->group;
            return true;
        }
        struct text family = ecs_definition_family(view->core, task->definition);
        int size = snprintf(view->scratch, sizeof(view->scratch), "family:%.*s", TEXT_FMT(family));
        ASSERT(size > 0);
        ASSERT((size_t)size < sizeof(view->scratch)); // a family has 255 characters at most
        *out_value = (struct text){view->scratch, (size_t)size};
        return true;
    }
    return false;
}

static bool instance_attribute(const struct task_record_membership *membership, struct text name,
                               struct text *out_value)
{
    for (size_t i = 0; i < membership->attributes.count; i++) {
        if (text_equal(membership->attributes.items[i].name, name)) {
            struct text value = membership->attributes.items[i].value;
            *out_value = value.data == NULL ? TEXT("") : value;
            return true;
        }
    }
    return false;
}

static bool view_value(void *context, enum constraint_subject subject, struct text name,
                       size_t index, struct text *out_value)
{
    struct task_instance_view *view = context;
    const struct task_record_membership *membership = &view->record->memberships.items[view->index];
    if (subject == CONSTRAINT_TASK_GROUP) {
        view->entry = index == 0 ? view->node->first : view->entry;
        return next_group(view, out_value);
    }
    if (index > 0) {
        return false; // all other subjects have one value
    }
    switch (subject) {
    case CONSTRAINT_AGENT_CONNECTED:
        *out_value = task_node_agent_connected(view->node) ? TEXT("true") : TEXT("false");
        return true;
    case CONSTRAINT_AGENT_VERSION:
        *out_value = view->record->version_info != NULL ? view->record->version_info->agent_version
                                                        : view->node->agent_version;
        return !text_empty(*out_value);
    case CONSTRAINT_ATTRIBUTE:
        return instance_attribute(membership, name, out_value);
    case CONSTRAINT_EC2_INSTANCE_ID: {
        if (membership->ec2_instance_id.data != NULL) {
            *out_value = membership->ec2_instance_id;
            return true;
        }
        int size =
            snprintf(view->scratch, sizeof(view->scratch), "i-%.17s", membership->instance_id.data);
        ASSERT(size > 0);
        *out_value = (struct text){view->scratch, (size_t)size};
        return true;
    }
    case CONSTRAINT_REGISTERED_AT:
        return show_number(view, membership->registered_at, out_value);
    case CONSTRAINT_RUNNING_TASKS: {
        struct task_instance_counts counts;
        task_instance_count(view->core, view->node, view->record, view->index, &counts);
        return show_number(view, counts.running, out_value);
    }
    case CONSTRAINT_TASK_GROUP:
        break;
    }
    return false;
}

bool task_instance_meant(const struct constraint *constraint, struct task_instance_view *view)
{
    const struct constraint_view values = {view_value, view};
    return constraint_holds(constraint, &values);
}

int task_constraint_parse(struct core_call *call, struct text text,
                          struct constraint *out_constraint)
{
    struct err err = {0};
    if (constraint_parse(text, call->arena, out_constraint, &err) != 0) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Invalid cluster query expression: %s.", err.text);
    }
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

// ---- changes ------------------------------------------------------------------------------

// A record whose memberships may be changed.
static struct task_record_node *edit(struct core_call *call, int64_t key)
{
    struct task_record_node *record = core_edit(call, &task_node_kind, key);
    size_t count = record->memberships.count;
    struct task_record_membership *copy = arena_array(call->arena, count, sizeof(*copy));
    memcpy(copy, record->memberships.items, count * sizeof(*copy));
    record->memberships.items = copy;
    return record;
}

int task_deregister_instance(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    const struct ecs_deregister_container_instance_request *request = input;
    struct ecs_deregister_container_instance_response *response = output;
    struct task_node *node = NULL;
    size_t index = 0;
    int rc = resolve(call, request->cluster, request->container_instance, &node, &index);
    if (rc != 0) {
        return rc;
    }
    struct task_instance_counts counts;
    task_instance_count(call->core, node, core_get(call->core, &task_node_kind, node->key), index,
                        &counts);
    if (counts.held > 0 && !(request->has_force && request->force)) {
        return refuse(call, "Found running tasks on the instance.");
    }
    struct task_record_node *record = edit(call, node->key);
    record->memberships.items[index].deregistered_at = call->now_ms;
    record->memberships.items[index].version++;
    core_put(call, &task_node_kind, node->key, record);
    if (!MUTANT("leave-tasks")) {
        core_work(call, &task_managers[TASK_MANAGER_EMPTY], node->key);
    }
    task_instance_tell(call, node, record, index);
    response->container_instance = ARENA_NEW(call->arena, struct ecs_container_instance);
    task_show_instance(call, node, record, index, TASK_SHOW_TAGS, response->container_instance);
    return 0;
}

static void set_draining(struct core_call *call, struct task_node *node, size_t index,
                         bool draining, struct ecs_container_instance *out_instance)
{
    struct task_record_node *record = edit(call, node->key);
    struct task_record_membership *membership = &record->memberships.items[index];
    if (membership->draining != draining) {
        membership->has_draining = draining;
        membership->draining = draining;
        membership->version++;
        core_put(call, &task_node_kind, node->key, record);
        task_instance_tell(call, node, record, index);
        service_node_changed(call, node->key);
    }
    task_show_instance(call, node, record, index, 0, out_instance);
}

int task_update_instances(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    const struct ecs_update_container_instances_state_request *request = input;
    struct ecs_update_container_instances_state_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc != 0) {
        return rc;
    }
    if (request->status != ECS_CONTAINER_INSTANCE_STATUS_ACTIVE &&
        request->status != ECS_CONTAINER_INSTANCE_STATUS_DRAINING) {
        return refuse(call, "Container instance status should be one of [ACTIVE, DRAINING]");
    }
    size_t count = request->container_instances.count;
    rc = ecs_batch_check(call, count);
    if (rc != 0) {
        return rc;
    }
    response->container_instances.items =
        arena_array(call->arena, count, sizeof(*response->container_instances.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        struct text reference = request->container_instances.items[i];
        size_t index = 0;
        struct task_node *node = task_instance_find(call->core, cluster, reference, &index);
        struct ecs_failure failure = {0};
        if (node == NULL) {
            failure = task_instance_missing(call, cluster, reference);
        } else {
            const struct task_record_node *record =
                core_get(call->core, &task_node_kind, node->key);
            const struct task_record_membership *membership = &record->memberships.items[index];
            if (membership->deregistered_at != 0) {
                failure.arn = task_instance_arn(call, record, membership);
                failure.reason = TEXT("INACTIVE");
            }
        }
        if (failure.reason.data != NULL) {
            response->failures.items[response->failures.count] = failure;
            response->failures.count++;
            continue;
        }
        set_draining(call, node, index, request->status == ECS_CONTAINER_INSTANCE_STATUS_DRAINING,
                     &response->container_instances.items[response->container_instances.count]);
        response->container_instances.count++;
    }
    return 0;
}

// Nothing here can replace an agent, so none ever has an update; of one that never said its
// version not even that much is known.
int task_update_agent(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    (void)output;
    const struct ecs_update_container_agent_request *request = input;
    struct task_node *node = NULL;
    size_t index = 0;
    int rc = resolve(call, request->cluster, request->container_instance, &node, &index);
    if (rc != 0) {
        return rc;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    if (text_empty(version_info(call, node, record)->agent_version)) {
        return core_fault(call, &ecs_error_missing_version_exception,
                          "Unable to determine the current version of the container agent.");
    }
    return core_fault(call, &ecs_error_no_update_available_exception,
                      "There is no update available for your container agent.");
}
