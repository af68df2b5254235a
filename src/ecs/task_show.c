#include "ecs/task_internal.h"

#include "vpc/vpc.h"

#include <endian.h>
#include <string.h>

// ---- names --------------------------------------------------------------------------------

struct text task_number(struct core_call *call, int64_t number)
{
    ASSERT(number >= 0);
    char digits[20];
    size_t at = sizeof(digits);
    uint64_t rest = (uint64_t)number;
    do {
        at--;
        digits[at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    return arena_text(call->arena, (struct text){digits + at, sizeof(digits) - at});
}

static char *put(char *at, struct text text)
{
    if (text.size > 0) {
        memcpy(at, text.data, text.size);
    }
    return at + text.size;
}

// arn:aws:ecs:REGION:ACCOUNT:TYPE/NAME, or with /TAIL behind it, or /TAIL/LAST. A task needs some
// ten of them when it is made, so this is written out: constants become single moves.
static struct text make_arn(struct core_call *call, struct ecs_realm_scope scope, struct text type,
                            struct text name, struct text tail, struct text last)
{
    static const char prefix[] = "arn:aws:ecs:";
    size_t most = sizeof(prefix) + scope.region.size + scope.account.size + type.size + name.size +
                  tail.size + last.size + sizeof("::///");
    char *data = arena_alloc(call->arena, most);
    memcpy(data, prefix, sizeof(prefix) - 1);
    char *at = put(data + sizeof(prefix) - 1, scope.region);
    *at++ = ':';
    at = put(at, scope.account);
    *at++ = ':';
    at = put(at, type);
    *at++ = '/';
    at = put(at, name);
    const struct text behind[] = {tail, last};
    for (size_t i = 0; i < ARRAY_LEN(behind) && behind[i].size > 0; i++) {
        *at++ = '/';
        at = put(at, behind[i]);
    }
    return (struct text){data, (size_t)(at - data)};
}

// A cluster as the names of what is in it need it.
struct cluster_names {
    struct ecs_realm_scope scope;
    struct text name;
};

static struct cluster_names cluster_names(const struct core *core, int64_t cluster)
{
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    ASSERT(record != NULL);
    return (struct cluster_names){ecs_scope(core, record->realm), record->name};
}

struct text task_cluster_arn(struct core_call *call, int64_t cluster)
{
    struct cluster_names names = cluster_names(call->core, cluster);
    return make_arn(call, names.scope, TEXT("cluster"), names.name, (struct text){0},
                    (struct text){0});
}

struct text task_definition_arn(struct core_call *call, int64_t definition)
{
    const struct ecs_record_definition *record =
        core_get(call->core, &ecs_definition_kind, definition);
    const struct ecs_record_family *family = core_get(call->core, &ecs_family_kind, record->family);
    const struct text parts[] = {family->name, TEXT(":"), task_number(call, record->revision)};
    return make_arn(call, ecs_scope(call->core, family->realm), TEXT("task-definition"),
                    arena_join(call->arena, parts, ARRAY_LEN(parts)), (struct text){0},
                    (struct text){0});
}

struct text task_arn(struct core_call *call, const struct task_record_task *record)
{
    struct cluster_names names = cluster_names(call->core, record->cluster);
    return make_arn(call, names.scope, TEXT("task"), names.name, record->task_id, (struct text){0});
}

struct text task_instance_arn(struct core_call *call, const struct task_record_node *node,
                              const struct task_record_membership *membership)
{
    if (membership->cluster != 0) {
        struct cluster_names names = cluster_names(call->core, membership->cluster);
        return make_arn(call, names.scope, TEXT("container-instance"), names.name,
                        membership->instance_id, (struct text){0});
    }
    struct ecs_realm_scope scope = {.region = node->region, .account = node->account};
    // One instance, whichever pools it is of.
    return make_arn(call, scope, TEXT("container-instance"), TEXT("FARGATE"),
                    membership->instance_id, (struct text){0});
}

const struct task_record_membership *task_membership(const struct task_record_node *node,
                                                     const struct task_record_task *task)
{
    int64_t cluster = task->launch_type == ECS_LAUNCH_TYPE_FARGATE ? 0 : task->cluster;
    const struct task_record_membership *found = NULL;
    // A host that was deregistered and registered anew has two of them for the same cluster: the
    // task belongs to the newer one that was there when it was made, or got its place.
    int64_t placed_ms = task->extra != NULL && task->extra->placed_at != 0 ? task->extra->placed_at
                                                                           : task->created_at;
    for (size_t i = 0; i < node->memberships.count; i++) {
        const struct task_record_membership *membership = &node->memberships.items[i];
        if (membership->cluster == cluster &&
            (found == NULL || membership->registered_at <= placed_ms)) {
            found = membership;
        }
    }
    return found;
}

static uint64_t mix(uint64_t value)
{
    value ^= value >> 30;
    value *= UINT64_C(0xBF58476D1CE4E5B9);
    value ^= value >> 27;
    value *= UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

// The UUID of a part of a task. It follows from the task's id, so that it needs no room in its
// record; the id is random, and mixing keeps the UUIDs of different parts apart.
static struct text part_uuid(struct core_call *call, struct text task_id, uint64_t part)
{
    unsigned char bytes[16];
    int rc = text_unhex(task_id, bytes, sizeof(bytes));
    ASSERT(rc == 0);
    uint64_t halves[2];
    memcpy(halves, bytes, sizeof(halves));
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        uint64_t bits = htole64(mix(halves[i] + (part + 1) * UINT64_C(0x9E3779B97F4A7C15)));
        memcpy(bytes + i * sizeof(bits), &bits, sizeof(bits));
    }
    char uuid[TEXT_UUID_CHARS + 1];
    text_uuid(bytes, uuid);
    return arena_text(call->arena, (struct text){uuid, TEXT_UUID_CHARS});
}

#define PART_ATTACHMENT UINT64_C(1000) // above every container's index

struct text task_attachment_arn(struct core_call *call, const struct task_record_task *record)
{
    struct cluster_names names = cluster_names(call->core, record->cluster);
    return make_arn(call, names.scope, TEXT("attachment"),
                    part_uuid(call, record->task_id, PART_ATTACHMENT), (struct text){0},
                    (struct text){0});
}

static struct text container_arn(struct core_call *call, const struct cluster_names *names,
                                 struct text task_id, size_t index)
{
    return make_arn(call, names->scope, TEXT("container"), names->name, task_id,
                    part_uuid(call, task_id, index));
}

struct text task_container_arn(struct core_call *call, const struct task_record_task *record,
                               size_t index)
{
    struct cluster_names names = cluster_names(call->core, record->cluster);
    return container_arn(call, &names, record->task_id, index);
}

struct text task_status_name(enum task_record_task_status status)
{
    switch (status) {
    case TASK_RECORD_TASK_STATUS_PROVISIONING:
        return TEXT("PROVISIONING");
    case TASK_RECORD_TASK_STATUS_PENDING:
        return TEXT("PENDING");
    case TASK_RECORD_TASK_STATUS_ACTIVATING:
        return TEXT("ACTIVATING");
    case TASK_RECORD_TASK_STATUS_RUNNING:
        return TEXT("RUNNING");
    case TASK_RECORD_TASK_STATUS_DEACTIVATING:
        return TEXT("DEACTIVATING");
    case TASK_RECORD_TASK_STATUS_STOPPING:
        return TEXT("STOPPING");
    case TASK_RECORD_TASK_STATUS_DEPROVISIONING:
        return TEXT("DEPROVISIONING");
    case TASK_RECORD_TASK_STATUS_STOPPED:
        return TEXT("STOPPED");
    case TASK_RECORD_TASK_STATUS_UNRECOGNIZED:
    case TASK_RECORD_TASK_STATUS_ABSENT:
        break;
    }
    return TEXT("UNKNOWN");
}

static struct text eni_status_name(enum task_record_eni_status status)
{
    switch (status) {
    case TASK_RECORD_ENI_STATUS_PRECREATED:
        return TEXT("PRECREATED");
    case TASK_RECORD_ENI_STATUS_ATTACHING:
        return TEXT("ATTACHING");
    case TASK_RECORD_ENI_STATUS_ATTACHED:
        return TEXT("ATTACHED");
    case TASK_RECORD_ENI_STATUS_DETACHED:
        return TEXT("DETACHED");
    case TASK_RECORD_ENI_STATUS_DELETED:
        return TEXT("DELETED");
    case TASK_RECORD_ENI_STATUS_UNRECOGNIZED:
    case TASK_RECORD_ENI_STATUS_ABSENT:
        break;
    }
    return TEXT("UNKNOWN");
}

struct text task_group_name(struct core_call *call, const struct task_record_task *record)
{
    if (record->extra != NULL && record->extra->group.data != NULL) {
        return record->extra->group;
    }
    if (record->has_deployment) {
        return service_group_name(call, record->deployment);
    }
    const struct text parts[] = {TEXT("family:"),
                                 ecs_definition_family(call->core, record->definition)};
    return arena_join(call->arena, parts, ARRAY_LEN(parts));
}

// ---- references ---------------------------------------------------------------------------

struct task_entry *task_find(const struct core *core, int64_t cluster, struct text reference)
{
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    struct text id = reference;
    if (!ecs_reference_path(reference, "task", ecs_scope(core, record->realm), &id)) {
        return NULL;
    }
    if (text_starts(reference, TEXT("arn:")) && text_find(id, '/') != SIZE_MAX &&
        !text_equal(text_cut(&id, '/'), record->name)) {
        return NULL;
    }
    const struct task_state *state = task_state(core);
    struct task_entry *entry = task_entry_by_id(state, id);
    if (entry == NULL) {
        return NULL;
    }
    const struct task_record_task *task = core_get(core, &task_kind, entry->key);
    return task->cluster == cluster || MUTANT("any-account") ? entry : NULL;
}

struct text task_reference_arn(struct core_call *call, int64_t cluster, const char *type,
                               struct text reference)
{
    if (text_starts(reference, TEXT("arn:"))) {
        return reference;
    }
    struct cluster_names names = cluster_names(call->core, cluster);
    return make_arn(call, names.scope, text_of(type), names.name, reference, (struct text){0});
}

// ---- a task in the words of ECS -----------------------------------------------------------

// The interface's texts, whether it is there still or not.
struct eni_view {
    struct text subnet_id;
    struct text eni_id;
    struct text mac_address;
    struct text address;
    struct text hostname;
};

static bool view_eni(struct core_call *call, const struct task_record_task *record,
                     struct text region, struct eni_view *out_view)
{
    if (!record->has_subnet) {
        return false;
    }
    struct eni_view view = {0};
    const struct vpc_record_subnet *subnet = core_get(call->core, &vpc_subnet_kind, record->subnet);
    view.subnet_id = subnet->subnet_id;
    const struct task_record_past_eni *past =
        record->extra == NULL ? NULL : record->extra->past_eni;
    if (past != NULL) {
        view.eni_id = past->eni_id;
        view.mac_address = past->mac_address;
        view.address = past->address;
        view.hostname = vpc_private_name(call, past->address, region);
    } else if (record->has_eni && record->eni_status != TASK_RECORD_ENI_STATUS_PRECREATED) {
        struct session_eni spec;
        vpc_eni_spec(call, record->eni, region, &spec);
        view.eni_id = spec.eni_id;
        view.mac_address = spec.mac_address;
        view.address = spec.address;
        view.hostname = spec.hostname;
    }
    *out_view = view;
    return true;
}

static void show_attachment(struct core_call *call, const struct task_record_task *record,
                            const struct eni_view *view, unsigned flags, struct ecs_task *task)
{
    const struct ecs_key_value_pair details[] = {
        {TEXT("subnetId"), view->subnet_id},         {TEXT("networkInterfaceId"), view->eni_id},
        {TEXT("macAddress"), view->mac_address},     {TEXT("privateDnsName"), view->hostname},
        {TEXT("privateIPv4Address"), view->address},
    };
    struct ecs_attachment *attachment = ARENA_NEW(call->arena, struct ecs_attachment);
    attachment->id = part_uuid(call, record->task_id, PART_ATTACHMENT);
    attachment->type =
        (flags & TASK_SHOW_EVENT) != 0 ? TEXT("eni") : TEXT("ElasticNetworkInterface");
    attachment->status = eni_status_name(record->eni_status);
    attachment->details.items = arena_array(call->arena, ARRAY_LEN(details), sizeof(details[0]));
    for (size_t i = 0; i < ARRAY_LEN(details); i++) {
        if (details[i].value.data != NULL) {
            attachment->details.items[attachment->details.count] = details[i];
            attachment->details.count++;
        }
    }
    task->attachments.items = attachment;
    task->attachments.count = 1;
}

static void show_sizes(struct core_call *call, const struct ecs_container_definition *definition,
                       const struct ecs_container_override *override, struct ecs_container *out)
{
    bool cpu = override != NULL && override->has_cpu;
    bool memory = override != NULL && override->has_memory;
    bool reservation = override != NULL && override->has_memory_reservation;
    out->cpu = task_number(call, cpu ? override->cpu : definition->has_cpu ? definition->cpu : 0);
    if (memory || definition->has_memory) {
        out->memory = task_number(call, memory ? override->memory : definition->memory);
    }
    if (reservation || definition->has_memory_reservation) {
        out->memory_reservation = task_number(call, reservation ? override->memory_reservation
                                                                : definition->memory_reservation);
    }
}

static void show_containers(struct core_call *call, const struct task_record_task *record,
                            const struct ecs_task_definition *definition,
                            const struct eni_view *view, struct ecs_task *task)
{
    size_t count = record->containers.count;
    ASSERT(count == definition->container_definitions.count);
    struct cluster_names names = cluster_names(call->core, record->cluster);
    struct ecs_container *shown = arena_array(call->arena, count, sizeof(*shown));
    struct ecs_network_interface *interface = SHAPE_EMPTY;
    if (view != NULL && view->address.data != NULL) {
        interface = ARENA_NEW(call->arena, struct ecs_network_interface);
        interface->attachment_id = task->attachments.items[0].id;
        interface->private_ipv4_address = view->address;
    }
    for (size_t i = 0; i < count; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        const struct ecs_container_definition *from = &definition->container_definitions.items[i];
        struct ecs_container *to = &shown[i];
        to->container_arn = container_arn(call, &names, record->task_id, i);
        to->task_arn = task->task_arn;
        to->name = from->name;
        to->image = from->image;
        to->image_digest = container->image_digest;
        to->runtime_id = container->runtime_id;
        to->last_status = task_status_name(container->status);
        to->has_exit_code = container->has_exit_code;
        to->exit_code = container->exit_code;
        to->reason = container->reason;
        to->network_bindings.items = container->network_bindings.items;
        to->network_bindings.count = container->network_bindings.count;
        if (to->network_bindings.items == NULL &&
            container->status != TASK_RECORD_TASK_STATUS_PENDING) {
            to->network_bindings.items = SHAPE_EMPTY;
        }
        to->network_interfaces.items = interface;
        to->network_interfaces.count = interface == SHAPE_EMPTY ? 0 : 1;
        to->health_status = container->health;
        if (to->health_status == ECS_HEALTH_STATUS_ABSENT &&
            container->status != TASK_RECORD_TASK_STATUS_PENDING) {
            to->health_status = ECS_HEALTH_STATUS_UNKNOWN; // ECS tells nothing before it ran
        }
        to->gpu_ids = container->gpu_ids;
        to->managed_agents.items = container->managed_agents.items;
        to->managed_agents.count = container->managed_agents.count;
        show_sizes(
            call, from,
            task_override(record->extra == NULL ? NULL : record->extra->overrides, from->name), to);
    }
    task->containers.items = shown;
    task->containers.count = count;
}

// Overrides as ECS shows them: every container is listed, also without any.
static void show_overrides(struct core_call *call, const struct task_record_task *record,
                           const struct ecs_task_definition *definition, struct ecs_task *task)
{
    const struct ecs_task_override *from = record->extra == NULL ? NULL : record->extra->overrides;
    struct ecs_task_override *to = ARENA_NEW(call->arena, struct ecs_task_override);
    if (from != NULL) {
        *to = *from;
    }
    size_t count = definition->container_definitions.count;
    struct ecs_container_override *items = arena_array(call->arena, count, sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        struct text name = definition->container_definitions.items[i].name;
        const struct ecs_container_override *override = task_override(from, name);
        items[i] = override != NULL ? *override : (struct ecs_container_override){.name = name};
    }
    to->container_overrides.items = items;
    to->container_overrides.count = count;
    if (to->inference_accelerator_overrides.items == NULL) {
        to->inference_accelerator_overrides.items = SHAPE_EMPTY;
    }
    task->overrides = to;
}

static void show_fargate(struct core_call *call, const struct task_record_task *record,
                         const struct ecs_task_definition *definition, struct ecs_task *task)
{
    const struct task_record_task_extra *extra = record->extra;
    task->platform_version = extra != NULL && extra->platform_version.data != NULL
                                 ? extra->platform_version
                                 : TEXT("1.4.0");
    task->platform_family = TEXT("Linux");
    int32_t gib = 20; // what Fargate gives when nothing is asked for
    if (definition->ephemeral_storage != NULL) {
        gib = definition->ephemeral_storage->size_in_gib;
    }
    if (extra != NULL && extra->overrides != NULL && extra->overrides->ephemeral_storage != NULL) {
        gib = extra->overrides->ephemeral_storage->size_in_gib;
    }
    task->ephemeral_storage = ARENA_NEW(call->arena, struct ecs_ephemeral_storage);
    task->ephemeral_storage->has_size_in_gib = true;
    task->ephemeral_storage->size_in_gib = gib;
    task->fargate_ephemeral_storage = ARENA_NEW(call->arena, struct ecs_task_ephemeral_storage);
    task->fargate_ephemeral_storage->has_size_in_gib = true;
    task->fargate_ephemeral_storage->size_in_gib = gib;
}

// Contact is the node's and lives in memory; that it changed counts as a version of the task.
static void show_connectivity(const struct task_entry *entry, const struct task_record_task *record,
                              struct ecs_task *task)
{
    if (record->connectivity_at == 0) {
        return;
    }
    bool stopped = record->last_status == TASK_RECORD_TASK_STATUS_STOPPED;
    bool lost = entry != NULL && entry->node->lost && !stopped;
    task->connectivity = lost ? ECS_CONNECTIVITY_DISCONNECTED : ECS_CONNECTIVITY_CONNECTED;
    task->connectivity_at =
        lost ? MAX(entry->node->contact_ms, record->connectivity_at) : record->connectivity_at;
}

static void show_architecture(struct core_call *call, struct text architecture,
                              struct ecs_task *task)
{
    struct ecs_attribute *attribute = ARENA_NEW(call->arena, struct ecs_attribute);
    attribute->name = TEXT("ecs.cpu-architecture");
    attribute->value = architecture;
    task->attributes.items = attribute;
    task->attributes.count = 1;
}

static void show_where(struct core_call *call, const struct task_record_task *record,
                       const struct ecs_task_definition *definition, struct ecs_task *task)
{
    const struct task_record_node *node = core_get(call->core, &task_node_kind, record->node);
    const struct task_record_membership *membership =
        node == NULL ? NULL : task_membership(node, record);
    if (record->launch_type != ECS_LAUNCH_TYPE_FARGATE && membership != NULL) {
        task->container_instance_arn = task_instance_arn(call, node, membership);
        task->availability_zone = membership->zones.items[0];
    }
    if (record->has_subnet) {
        const struct vpc_record_subnet *subnet =
            core_get(call->core, &vpc_subnet_kind, record->subnet);
        task->availability_zone = subnet->availability_zone;
    }
    if (definition->runtime_platform == NULL && node == NULL) {
        task->attributes.items = SHAPE_EMPTY; // the architecture will be that of its host
        return;
    }
    bool arm = definition->runtime_platform != NULL
                   ? definition->runtime_platform->cpu_architecture == ECS_CPU_ARCHITECTURE_ARM64
                   : text_is(node->architecture, "arm64");
    show_architecture(call, arm ? TEXT("arm64") : TEXT("x86_64"), task);
}

static void show_extra(const struct task_record_task *record, unsigned flags, struct ecs_task *task)
{
    const struct task_record_task_extra *extra = record->extra;
    task->has_enable_execute_command = true;
    task->enable_execute_command = extra != NULL && extra->enable_execute_command;
    task->tags.items = SHAPE_EMPTY;
    if (extra == NULL) {
        return;
    }
    task->stopped_reason = extra->stopped_reason;
    task->capacity_provider_name = extra->capacity_provider;
    if ((flags & TASK_SHOW_TAGS) != 0 && extra->tags.count > 0) {
        task->tags.items = extra->tags.items;
        task->tags.count = extra->tags.count;
    }
}

void task_show(struct core_call *call, int64_t key, const struct task_record_task *record,
               unsigned flags, struct ecs_task *out_task)
{
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    const struct task_entry *entry = task_entry(task_state(call->core), key);
    struct ecs_task task = {
        .cluster_arn = task_cluster_arn(call, record->cluster),
        .created_at = record->created_at,
        .desired_status = task_status_name(record->desired_status),
        .execution_stopped_at = record->execution_stopped_at,
        .group = task_group_name(call, record),
        .health_status =
            record->health != ECS_HEALTH_STATUS_ABSENT ? record->health : ECS_HEALTH_STATUS_UNKNOWN,
        .last_status = task_status_name(record->last_status),
        .launch_type = record->launch_type,
        .cpu = task_number(call, record->cpu_units),
        .memory = task_number(call, record->memory_mib),
        .pull_started_at = record->pull_started_at,
        .pull_stopped_at = record->pull_stopped_at,
        .started_at = record->started_at,
        .started_by = record->started_by,
        .stop_code = record->stop_code,
        .stopped_at = record->stopped_at,
        .stopping_at = record->stopping_at,
        .task_arn = task_arn(call, record),
        .task_definition_arn = task_definition_arn(call, record->definition),
        .has_version = true,
        .version = record->version,
    };
    show_extra(record, flags, &task);
    show_where(call, record, definition, &task);
    show_connectivity(entry, record, &task);
    task.attachments.items = SHAPE_EMPTY;
    struct eni_view view = {0};
    struct cluster_names names = cluster_names(call->core, record->cluster);
    bool has_eni = view_eni(call, record, names.scope.region, &view);
    if (has_eni) {
        show_attachment(call, record, &view, flags, &task);
    }
    show_containers(call, record, definition, has_eni ? &view : NULL, &task);
    show_overrides(call, record, definition, &task);
    if (record->launch_type == ECS_LAUNCH_TYPE_FARGATE) {
        show_fargate(call, record, definition, &task);
    }
    *out_task = task;
}
