#include "ecs/registration.h"

#include "shape/json.h"

/*
 * Reading a RegisterContainerInstance: what a host says it is and has, refused where it cannot be.
 */

#define ATTRIBUTES_MAX 500 // a stock agent sends some 60; this bounds a record
#define RESOURCES_MAX 32
#define INVENTORY_MAX 100000000 // units or MiB: sums over 10,000 nodes stay far from overflow

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

struct text
task_registration_attribute(const struct ecs_register_container_instance_request *request,
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
                    text_made_of(attribute->name, "-_/\\.");
        if (!name ||
            (!task_attribute_own(attribute->name) &&
             (attribute->value.size > 128 || !text_made_of(attribute->value, "-_/\\.@: ")))) {
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
    if (custom > TASK_CUSTOM_ATTRIBUTES_MAX || request->attributes.count > ATTRIBUTES_MAX) {
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
static int read_identity(struct core_call *call, struct task_registration *registration)
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

struct text task_registration_type(const struct task_registration *registration)
{
    struct text type = task_registration_attribute(registration->request, "ecs.instance-type");
    if (text_empty(type)) {
        type = registration->identity.instance_type;
    }
    return text_empty(type) ? TEXT("berth") : type;
}

// One zone, or several separated by commas: a single host may stand for all zones of its region.
static int read_zones(struct core_call *call, struct task_registration *registration)
{
    struct text rest = task_registration_attribute(registration->request, "ecs.availability-zone");
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
        if (zone.size < 1 || zone.size > 64 || !text_made_of(zone, "-") ||
            registration->zone_count == TASK_ZONES_MAX) {
            return refuse(call, "Attribute ecs.availability-zone must name a zone, or several "
                                "separated by commas.");
        }
        registration->zones[registration->zone_count] = zone;
        registration->zone_count++;
    }
    return 0;
}

static int read_inventory(struct core_call *call, struct task_registration *registration)
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
    bool joined = !text_empty(call->caller->node_id);
    registration->eni_slots = joined ? TASK_ENI_SLOTS : 0;
    struct text slots = task_registration_attribute(request, "berth.eni-slots");
    int64_t count = 0;
    if (slots.data != NULL && joined) {
        if (text_to_i64(slots, &count) != 0 || count < 0 || count > 100000) {
            return refuse(call, "Attribute berth.eni-slots must be a number up to 100000.");
        }
        registration->eni_slots = (int32_t)count;
    }
    registration->architecture = task_registration_attribute(request, "ecs.cpu-architecture");
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
static int read_capacity(struct core_call *call, struct task_registration *registration)
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

int task_registration_read(struct core_call *call, struct task_registration *registration)
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
    registration->capacity = task_registration_attribute(request, "berth.capacity");
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
