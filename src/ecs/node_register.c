#include "ecs/task_internal.h"

#include "base/limits.h"
#include "shape/cbor.h"
#include "shape/json.h"

#include <string.h>

/*
 * RegisterContainerInstance: what a host says it is and has, and the membership that it becomes.
 */

#define ATTRIBUTES_MAX 500       // a stock agent sends some 60; this bounds a record
#define CUSTOM_ATTRIBUTES_MAX 10 // ECS: besides those of ECS itself
#define RESOURCES_MAX 32
#define MEMBERSHIPS_MAX 64 // one for each cluster it is in, and former ones with tasks
// PutAttributes and UpdateContainerInstancesState change ten records at once, which with the
// attributes and tags that people add have to fit LIMIT_TX_BYTES.
#define RECORD_BYTES_MAX (64u << 10)
#define ZONES_MAX 26            // letters of a region's zones
#define INVENTORY_MAX 100000000 // units or MiB: sums over 10,000 nodes stay far from overflow

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- reading a registration ---------------------------------------------------------------

struct registration {
    const struct ecs_register_container_instance_request *request;
    int64_t cluster; // 0 for a host of the pool
    struct text capacity;
    struct text architecture;
    int32_t cpu_units;
    int32_t memory_mib;
    int32_t eni_slots;
    struct text zones[ZONES_MAX];
    size_t zone_count;
    struct task_record_identity_document identity; // of a stock agent on EC2; else empty
};

static struct text attribute_value(const struct ecs_register_container_instance_request *request,
                                   const char *name)
{
    for (size_t i = 0; i < request->attributes.count; i++) {
        if (text_is(request->attributes.items[i].name, name)) {
            struct text value = request->attributes.items[i].value;
            return value.data == NULL ? TEXT("") : value;
        }
    }
    return (struct text){0};
}

static int check_attributes(struct core_call *call,
                            const struct ecs_register_container_instance_request *request)
{
    size_t custom = 0;
    for (size_t i = 0; i < request->attributes.count; i++) {
        const struct ecs_attribute *attribute = &request->attributes.items[i];
        bool name = attribute->name.size >= 1 && attribute->name.size <= 128 &&
                    task_attribute_text(attribute->name, "-_/\\.");
        if (!name || (!task_attribute_own(attribute->name) &&
                      (attribute->value.size > 128 ||
                       !task_attribute_text(attribute->value, "-_/\\.@: ")))) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Attribute '%.*s' is not valid: a name has 1 to 128 letters, numbers "
                              "and -_/\\. and a value up to 128, with @ : and spaces as well.",
                              TEXT_FMT(text_slice(attribute->name, 0, 200)));
        }
        if (attribute->value.size > 4096) {
            return refuse(call, "An attribute's value is too long.");
        }
        custom += task_attribute_own(attribute->name) ? 0 : 1;
    }
    if (custom > CUSTOM_ATTRIBUTES_MAX || request->attributes.count > ATTRIBUTES_MAX) {
        return refuse(call, "Too many attributes: a container instance can have 10 of its own.");
    }
    return 0;
}

static int read_resource(struct core_call *call,
                         const struct ecs_register_container_instance_request *request,
                         const char *name, int32_t *out_value)
{
    for (size_t i = 0; i < request->total_resources.count; i++) {
        const struct ecs_resource *resource = &request->total_resources.items[i];
        if (!text_is(resource->name, name)) {
            continue;
        }
        if (resource->integer_value < 0 || resource->integer_value > INVENTORY_MAX) {
            break;
        }
        *out_value = resource->integer_value;
        return 0;
    }
    return core_fault(call, &ecs_error_invalid_parameter_exception,
                      "totalResources must hold an INTEGER resource %s between 0 and %d.", name,
                      INVENTORY_MAX);
}

// The document's signature is AWS's and cannot be checked here: it is the word of whoever signed
// the request, as the attributes are.
static int read_identity(struct core_call *call, struct registration *registration)
{
    struct text document = text_trim(registration->request->instance_identity_document);
    struct shape_error error = {0};
    if (text_empty(document)) {
        return 0; // as of a host that is not on EC2
    }
    int rc = json_decode(&task_record_identity_document_shape, document, call->arena,
                         &registration->identity, &error);
    if (rc == 0 && registration->identity.instance_id.size <= 128 &&
        registration->identity.instance_type.size <= 128 &&
        registration->identity.image_id.size <= 128) {
        return 0;
    }
    registration->identity = (struct task_record_identity_document){0};
    return core_fault(call, &ecs_error_client_exception,
                      "The instance identity document cannot be read: %s %s.", error.path,
                      rc == 0 ? "a member is too long" : error.text);
}

static struct text instance_type(const struct registration *registration)
{
    struct text type = attribute_value(registration->request, "ecs.instance-type");
    if (text_empty(type)) {
        type = registration->identity.instance_type;
    }
    return text_empty(type) ? TEXT("berth") : type;
}

// One zone, or several separated by commas: a single host may stand for all zones of its region.
static int read_zones(struct core_call *call, struct registration *registration)
{
    struct text rest = attribute_value(registration->request, "ecs.availability-zone");
    if (text_empty(rest)) {
        rest = registration->identity.availability_zone;
    }
    if (text_empty(rest)) {
        registration->zones[0] = arena_format(call->arena, "%.*sa", TEXT_FMT(call->caller->region));
        registration->zone_count = 1;
        return 0;
    }
    while (rest.data != NULL) {
        struct text zone = text_trim(text_cut(&rest, ','));
        if (zone.size < 1 || zone.size > 64 || !task_attribute_text(zone, "-") ||
            registration->zone_count == ZONES_MAX) {
            return refuse(call, "Attribute ecs.availability-zone must name a zone, or several "
                                "separated by commas.");
        }
        registration->zones[registration->zone_count] = zone;
        registration->zone_count++;
    }
    return 0;
}

static int read_inventory(struct core_call *call, struct registration *registration)
{
    const struct ecs_register_container_instance_request *request = registration->request;
    if (request->total_resources.count > RESOURCES_MAX) {
        return refuse(call, "totalResources has too many entries.");
    }
    int rc = read_resource(call, request, "CPU", &registration->cpu_units);
    if (rc != 0) {
        return rc;
    }
    rc = read_resource(call, request, "MEMORY", &registration->memory_mib);
    if (rc != 0) {
        return rc;
    }
    // A stock agent attaches interfaces that EC2 has put into its host, whatever the size of that
    // is said to be. Here is no EC2 to do so, so it has none to give.
    registration->eni_slots = text_empty(call->caller->node_id) ? 0 : TASK_ENI_SLOTS;
    struct text slots = attribute_value(request, "berth.eni-slots");
    int64_t count = 0;
    if (slots.data != NULL) {
        if (text_to_i64(slots, &count) != 0 || count < 0 || count > 100000) {
            return refuse(call, "Attribute berth.eni-slots must be a number up to 100000.");
        }
        registration->eni_slots = (int32_t)count;
    }
    registration->architecture = attribute_value(request, "ecs.cpu-architecture");
    if (text_empty(registration->architecture)) {
        registration->architecture = registration->identity.architecture;
    }
    return 0;
}

// Two devices of one name could not be told apart when they are handed out.
static int check_devices(struct core_call *call,
                         const struct ecs_register_container_instance_request *request)
{
    const struct ecs_platform_device_list *devices = &request->platform_devices;
    if (devices->count > TASK_GPUS_MAX) {
        return refuse(call, "platformDevices can have at most 64 entries.");
    }
    for (size_t i = 0; i < devices->count; i++) {
        bool bad = devices->items[i].id.size < 1 || devices->items[i].id.size > 128;
        for (size_t j = 0; j < i; j++) {
            bad = bad || text_equal(devices->items[i].id, devices->items[j].id);
        }
        if (bad) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Platform device id '%.*s' is not valid: ids have 1 to 128 "
                              "characters and each device has its own.",
                              TEXT_FMT(text_slice(devices->items[i].id, 0, 200)));
        }
    }
    return 0;
}

// The pools that a host is of, always written in the same way.
static int read_capacity(struct core_call *call, struct registration *registration)
{
    bool pools[2] = {false, false}; // FARGATE, FARGATE_SPOT
    struct text rest = registration->capacity;
    bool known = !text_empty(rest);
    while (known && rest.data != NULL) {
        struct text name = text_trim(text_cut(&rest, ','));
        size_t place = text_is(name, "FARGATE_SPOT") ? 1 : 0;
        known = (place == 1 || text_is(name, "FARGATE")) && !pools[place];
        pools[place] = true;
    }
    if (!known) {
        return refuse(call, "Attribute berth.capacity must be FARGATE, FARGATE_SPOT, or both "
                            "separated by a comma.");
    }
    if (text_empty(call->caller->node_id)) {
        return refuse(call, "Only a node of Berth's own can be a host of the FARGATE pool.");
    }
    registration->capacity = pools[0] && pools[1] ? TEXT("FARGATE,FARGATE_SPOT")
                             : pools[1]           ? TEXT("FARGATE_SPOT")
                                                  : TEXT("FARGATE");
    return 0;
}

static int read_registration(struct core_call *call, struct registration *registration)
{
    const struct ecs_register_container_instance_request *request = registration->request;
    int rc = check_attributes(call, request);
    if (rc == 0) {
        rc = check_devices(call, request);
    }
    if (rc == 0) {
        rc = read_identity(call, registration);
    }
    if (rc != 0) {
        return rc;
    }
    registration->capacity = attribute_value(request, "berth.capacity");
    if (registration->capacity.data != NULL) {
        rc = read_capacity(call, registration);
        if (rc != 0) {
            return rc;
        }
    } else {
        rc = ecs_cluster_resolve(call, request->cluster, &registration->cluster);
        if (rc != 0) {
            return rc;
        }
    }
    rc = read_zones(call, registration);
    if (rc != 0) {
        return rc;
    }
    rc = ecs_tags_check(call, request->tags.items, request->tags.count);
    return rc != 0 ? rc : read_inventory(call, registration);
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
         i < old->count && !MUTANT("register-forgets") && custom < CUSTOM_ATTRIBUTES_MAX; i++) {
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
static void fill_attributes(struct core_call *call, const struct registration *registration,
                            struct task_record_membership *membership)
{
    const struct ecs_register_container_instance_request *request = registration->request;
    size_t count = request->attributes.count;
    struct ecs_attribute *items =
        arena_array(call->arena, count + CUSTOM_ATTRIBUTES_MAX + 6, sizeof(*items));
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
    add_attribute(items, &count, "ecs.instance-type", instance_type(registration));
    if (!text_empty(registration->identity.image_id)) {
        add_attribute(items, &count, "ecs.ami-id", registration->identity.image_id);
    }
    membership->attributes.items = items;
    membership->attributes.count = count;
}

static struct text *copy_zones(struct core_call *call, const struct registration *registration)
{
    struct text *zones = arena_array(call->arena, registration->zone_count, sizeof(*zones));
    memcpy(zones, registration->zones, registration->zone_count * sizeof(*zones));
    return zones;
}

// The place of the membership in the record's list: one that is updated, or a new one at its end.
static size_t find_membership(const struct task_record_node *record,
                              const struct registration *registration, bool stock)
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

static void fill_membership(struct core_call *call, const struct registration *registration,
                            struct task_record_membership *membership)
{
    membership->has_cluster = registration->cluster != 0;
    membership->cluster = registration->cluster;
    membership->capacity = registration->capacity;
    struct text group = attribute_value(registration->request, "berth.auto-scaling-group");
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

static void fill_node(const struct registration *registration, const struct task_node *node,
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
                                    const struct registration *registration)
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
                     const struct registration *registration, struct task_node **out_node)
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
static int check_type(struct core_call *call, const struct registration *registration,
                      const struct task_record_node *record,
                      const struct task_record_membership *membership)
{
    struct text now = instance_type(registration);
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
    struct registration registration = {.request = input};
    struct ecs_register_container_instance_response *response = output;
    int rc = read_registration(call, &registration);
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
