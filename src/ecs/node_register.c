#include "ecs/registration.h"

#include "base/limits.h"
#include "shape/cbor.h"

#include <string.h>

/*
 * RegisterContainerInstance: the node that it is about, and the membership that a host becomes.
 */

#define MEMBERSHIPS_MAX 64 // one for each cluster it is in, and former ones with tasks
// PutAttributes and UpdateContainerInstancesState change ten records at once, which with the
// attributes and tags that people add have to fit LIMIT_TX_BYTES.
#define RECORD_BYTES_MAX (64u << 10)

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- registering --------------------------------------------------------------------------

static void add_attribute(struct ecs_attribute *items, size_t *count, const char *name,
                          struct text value)
{
    for (size_t i = 0; i < *count; i++) {
        if (text_is(items[i].name, name)) {
            return;
        }
    }
    items[*count].name = text_of(name);
    items[*count].value = value;
    (*count)++;
}

// An agent that registers again does not know what PutAttributes gave: that stays as far as there
// is room for it. @return how many there are then
static size_t keep_attributes(const struct task_record_ecs_attribute_list *old,
                              struct ecs_attribute *items, size_t count)
{
    size_t sent = count;
    size_t custom = 0;
    for (size_t i = 0; i < sent; i++) {
        custom += task_attribute_own(items[i].name) ? 0 : 1;
    }
    for (size_t i = 0;
         i < old->count && !MUTANT("register-forgets") && custom < TASK_CUSTOM_ATTRIBUTES_MAX;
         i++) {
        bool again = task_attribute_own(old->items[i].name);
        for (size_t j = 0; j < sent && !again; j++) {
            again = text_equal(items[j].name, old->items[i].name);
        }
        if (!again) {
            items[count] = old->items[i];
            count++;
            custom++;
        }
    }
    return count;
}

// What was sent, with identical values as the agent insists, and what ECS adds.
static void fill_attributes(struct core_call *call, const struct task_registration *registration,
                            struct task_record_membership *membership)
{
    const struct ecs_register_container_instance_request *request = registration->request;
    size_t count = request->attributes.count;
    struct ecs_attribute *items =
        arena_array(call->arena, count + TASK_CUSTOM_ATTRIBUTES_MAX + 6, sizeof(*items));
    if (count > 0) {
        memcpy(items, request->attributes.items, count * sizeof(*items));
    }
    count = keep_attributes(&membership->attributes, items, count);
    add_attribute(items, &count, "ecs.availability-zone", registration->zones[0]);
    add_attribute(items, &count, "ecs.os-type", TEXT("linux"));
    add_attribute(items, &count, "ecs.os-family", TEXT("LINUX"));
    add_attribute(items, &count, "ecs.cpu-architecture",
                  text_empty(registration->architecture) ? TEXT("x86_64")
                                                         : registration->architecture);
    add_attribute(items, &count, "ecs.instance-type", task_registration_type(registration));
    if (!text_empty(registration->identity.image_id)) {
        add_attribute(items, &count, "ecs.ami-id", registration->identity.image_id);
    }
    membership->attributes.items = items;
    membership->attributes.count = count;
}

static struct text *copy_zones(struct core_call *call, const struct task_registration *registration)
{
    struct text *zones = arena_array(call->arena, registration->zone_count, sizeof(*zones));
    memcpy(zones, registration->zones, registration->zone_count * sizeof(*zones));
    return zones;
}

// The place of the membership in the record's list: one that is updated, or a new one at its end.
static size_t find_membership(const struct task_record_node *record,
                              const struct task_registration *registration, bool stock)
{
    struct text arn = registration->request->container_instance_arn;
    size_t slash = text_find_last(arn, '/');
    struct text id = slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
    for (size_t i = 0; i < record->memberships.count; i++) {
        const struct task_record_membership *membership = &record->memberships.items[i];
        if (membership->deregistered_at != 0) {
            continue; // the host registers anew, as another instance
        }
        bool same = stock || text_empty(arn) ? membership->cluster == registration->cluster
                                             : text_equal(membership->instance_id, id);
        if (same && membership->cluster == registration->cluster) {
            return i;
        }
    }
    return record->memberships.count;
}

static void fill_membership(struct core_call *call, const struct task_registration *registration,
                            struct task_record_membership *membership)
{
    membership->has_cluster = registration->cluster != 0;
    membership->cluster = registration->cluster;
    membership->capacity = registration->capacity;
    struct text group =
        task_registration_attribute(registration->request, "berth.auto-scaling-group");
    membership->scaling_group = text_empty(group) ? (struct text){0} : group;
    membership->zones.items = copy_zones(call, registration);
    membership->zones.count = registration->zone_count;
    // An agent that registers again without tags leaves those that TagResource gave.
    if (registration->request->tags.count > 0) {
        membership->tags.items = registration->request->tags.items;
        membership->tags.count = registration->request->tags.count;
    }
    membership->platform_devices.items = registration->request->platform_devices.items;
    membership->platform_devices.count = registration->request->platform_devices.count;
    membership->ec2_instance_id = text_empty(registration->identity.instance_id)
                                      ? (struct text){0}
                                      : registration->identity.instance_id;
    if (!text_empty(registration->request->client_token)) {
        membership->client_token = registration->request->client_token;
    }
    membership->draining = membership->draining && !MUTANT("register-undrains");
    membership->has_version = true;
    membership->version++;
    fill_attributes(call, registration, membership);
}

static void fill_node(const struct task_registration *registration, const struct task_node *node,
                      struct task_record_node *record)
{
    record->has_cpu_units = true;
    record->cpu_units = registration->cpu_units;
    record->has_memory_mib = true;
    record->memory_mib = registration->memory_mib;
    record->has_eni_slots = true;
    record->eni_slots = registration->eni_slots;
    record->resources.items = registration->request->total_resources.items;
    record->resources.count = registration->request->total_resources.count;
    record->architecture =
        text_empty(registration->architecture) ? (struct text){0} : registration->architecture;
    if (registration->request->version_info != NULL) {
        record->version_info = registration->request->version_info;
    }
    // A host that came back smaller keeps its tasks; it just gets no more.
    record->has_shrunk = node != NULL && (registration->cpu_units < node->cpu_used ||
                                          registration->memory_mib < node->memory_used ||
                                          registration->eni_slots < node->eni_used);
    record->shrunk = record->has_shrunk;
}

// A stock agent asks again with the token of an answer that it did not get.
static struct task_node *find_token(const struct core *core, const struct task_state *state,
                                    const struct core_caller *caller,
                                    const struct task_registration *registration)
{
    struct text token = registration->request->client_token;
    for (size_t i = 0; !text_empty(token) && i < state->node_count; i++) {
        struct task_node *node = state->nodes[i];
        const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
        if (record->memberships.count == 0 || node->retired || node->removed) {
            continue;
        }
        const struct task_record_membership *membership = &record->memberships.items[0];
        if (text_equal(membership->client_token, token) &&
            text_equal(membership->instance_id, record->node_id) &&
            membership->cluster == registration->cluster &&
            text_equal(record->account, caller->account) &&
            text_equal(record->region, caller->region)) {
            return node;
        }
    }
    return NULL;
}

// The node that a registration is about: the caller's own, or that of the ARN it names; NULL for
// a stock agent that registers for the first time.
static int find_node(struct core_call *call, const struct task_state *state,
                     const struct task_registration *registration, struct task_node **out_node)
{
    struct text node_id = call->caller->node_id;
    struct text arn = registration->request->container_instance_arn;
    struct task_node *node = task_node_of(state, node_id);
    if (text_empty(node_id) && !text_empty(arn)) {
        size_t slash = text_find_last(arn, '/');
        struct text id = slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
        node = map_get(&state->nodes_by_instance, id);
        const struct task_record_node *record =
            node == NULL ? NULL : core_get(call->core, &task_node_kind, node->key);
        // A node with an identity is its own business; so is one of another account.
        if (record == NULL || node->retired || !text_equal(record->node_id, id) ||
            !text_equal(record->account, call->caller->account) ||
            !text_equal(record->region, call->caller->region) ||
            record->memberships.items[0].cluster != registration->cluster) {
            return core_fault(call, &ecs_error_client_exception,
                              "The referenced container instance was not found.");
        }
    } else if (!text_empty(node_id) && node == NULL) {
        return core_fault(
            call, &ecs_error_client_exception,
            "Node %.*s is not known here: it was removed. Join it again with a token.",
            TEXT_FMT(node_id));
    }
    if (text_empty(node_id) && text_empty(arn)) {
        node = find_token(call->core, state, call->caller, registration);
    }
    if (node == NULL && state->node_count >= LIMIT_NODES) {
        return core_fault(call, &ecs_error_client_exception,
                          "There are %d nodes already, which is the limit.", LIMIT_NODES);
    }
    *out_node = node;
    return 0;
}

// ---- RegisterContainerInstance ------------------------------------------------------------

static struct text fresh_instance(struct core_call *call, const struct task_state *state)
{
    struct text id = core_random_hex(call, 32);
    while (map_get(&state->nodes_by_instance, id) != NULL) {
        id = core_random_hex(call, 32);
    }
    return id;
}

// Resources of a host may change, its type may not: an agent that finds itself on another host is
// to register anew. The agent looks for the first sentence.
static int check_type(struct core_call *call, const struct task_registration *registration,
                      const struct task_record_node *record,
                      const struct task_record_membership *membership)
{
    struct text now = task_registration_type(registration);
    for (size_t i = 0; i < membership->attributes.count; i++) {
        const struct ecs_attribute *attribute = &membership->attributes.items[i];
        if (text_is(attribute->name, "ecs.instance-type") && !text_equal(attribute->value, now)) {
            return core_fault(
                call, &ecs_error_invalid_parameter_exception,
                "Container instance type changes are not supported. Container instance %.*s was "
                "previously registered as %.*s.",
                TEXT_FMT(task_instance_arn(call, record, membership)), TEXT_FMT(attribute->value));
        }
    }
    return 0;
}

// When a new instance of a host begins: now, but after all tasks that its former ones were given,
// even if the wall clock was set back since. task_membership tells them apart by that.
static int64_t begins_at(const struct core_call *call, const struct task_node *node)
{
    int64_t at_ms = call->now_ms;
    for (const struct task_entry *entry = node == NULL ? NULL : node->first; entry != NULL;
         entry = entry->next) {
        const struct task_record_task *task = core_get(call->core, &task_kind, entry->key);
        at_ms = MAX(at_ms, task->created_at + 1);
    }
    return at_ms;
}

static bool too_large(const struct task_record_node *record)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(&task_record_node_shape, record, 1, NULL, &bytes);
    return bytes.size > RECORD_BYTES_MAX;
}

int task_register_instance(struct core_call *call, void *pointer, const void *input, void *output)
{
    struct task_state *state = pointer;
    struct task_registration registration = {.request = input};
    struct ecs_register_container_instance_response *response = output;
    int rc = task_registration_read(call, &registration);
    if (rc != 0) {
        return rc;
    }
    struct task_node *node = NULL;
    rc = find_node(call, state, &registration, &node);
    if (rc != 0) {
        return rc;
    }
    bool stock = text_empty(call->caller->node_id);
    struct task_record_node *record;
    int64_t key;
    if (node != NULL) {
        key = node->key;
        record = core_edit(call, &task_node_kind, key);
        task_instances_prune(call, node, record);
        if (record->memberships.count >= MEMBERSHIPS_MAX) {
            return refuse(call, "The node was registered and deregistered too often while tasks of "
                                "its former container instances are still shown.");
        }
    } else {
        key = core_new_key(call);
        record = ARENA_NEW(call->arena, struct task_record_node);
        record->account = call->caller->account;
        record->region = call->caller->region;
        record->joined_at = call->now_ms;
        record->has_connections = true;
    }
    size_t index = find_membership(record, &registration, stock);
    if (index < record->memberships.count) {
        rc = check_type(call, &registration, record, &record->memberships.items[index]);
        if (rc != 0) {
            return rc;
        }
    }
    fill_node(&registration, node, record);
    size_t count = MAX(record->memberships.count, index + 1);
    struct task_record_membership *memberships =
        arena_array(call->arena, count, sizeof(*memberships));
    if (record->memberships.count > 0) {
        memcpy(memberships, record->memberships.items,
               record->memberships.count * sizeof(*memberships));
    }
    if (index == record->memberships.count) {
        memberships[index].instance_id = fresh_instance(call, state);
        memberships[index].registered_at = begins_at(call, node);
    }
    fill_membership(call, &registration, &memberships[index]);
    record->memberships.items = memberships;
    record->memberships.count = count;
    if (record->node_id.data == NULL) {
        record->node_id = memberships[index].instance_id;
        record->name = record->node_id;
    }
    if (too_large(record)) {
        return refuse(call, "The attributes, resources and devices that the container instance "
                            "registers are too large: a host can have 64 KiB of them.");
    }
    core_put(call, &task_node_kind, key, record);
    service_node_changed(call, key);
    task_instance_tell(call, task_node(state, key), record, index);

    response->container_instance = ARENA_NEW(call->arena, struct ecs_container_instance);
    task_show_instance(call, task_node(state, key), record, index, TASK_SHOW_TAGS,
                       response->container_instance);
    return 0;
}
