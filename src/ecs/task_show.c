#include "ecs/task_internal.h"

#include "vpc/vpc.h"

#include <string.h>

/*
 * A task in the words of ECS.
 */

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
    attachment->id = task_attachment_id(call, record);
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
        to->container_arn = task_container_arn(call, record, i);
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
        task_execute_show(call, container, to);
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
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    struct text region = ecs_scope(call->core, cluster->realm).region;
    bool has_eni = view_eni(call, record, region, &view);
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
