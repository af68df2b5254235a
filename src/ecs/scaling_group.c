#include "ecs/scaling.h"

#include <stdlib.h>
#include <string.h>

// ---- instances ----------------------------------------------------------------------------

static bool of_daemon(const struct core *core, const struct task_record_task *task)
{
    return task->has_deployment && service_is_daemon(core, task->deployment);
}

// Tasks of an instance that its group must keep it for. Of a host that is silent nobody will hear
// how those end that are to stop.
static int32_t count_tasks(const struct core *core, const struct task_node *node)
{
    int32_t count = 0;
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        bool gone = node->lost && task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
        count += entry->holds && !gone && !of_daemon(core, task);
    }
    return count;
}

static void add_instance(struct core_call *call, struct scaling_view *view, struct task_node *node,
                         const struct task_record_node *record,
                         const struct task_record_membership *membership)
{
    struct scaling_instance instance = {
        .node = node,
        .record = record,
        .membership = membership,
        .tasks = count_tasks(call->core, node),
        .lost = node->lost && call->now_ms - node->contact_ms >= SCALING_LOST_MS,
    };
    bool given_up = membership->terminate_at != 0;
    view->active += !membership->draining && !given_up;
    view->draining += membership->draining || given_up;
    view->terminating += given_up;
    view->lost += instance.lost;
    if (!given_up && !instance.lost) {
        view->ask.size++;
        view->busy += instance.tasks > 0;
    }
    view->instances[view->instance_count] = instance;
    view->instance_count++;
}

static void find_instances(struct core_call *call, struct scaling_view *view)
{
    const struct task_state *state = task_state(call->core);
    view->instances = arena_array(call->arena, state->node_count, sizeof(*view->instances));
    for (size_t i = 0; i < state->node_count; i++) {
        struct task_node *node = state->nodes[i];
        bool member = false;
        for (size_t j = 0; j < node->cluster_count; j++) {
            member = member || node->clusters[j] == view->cluster;
        }
        if (!member || node->removed) {
            continue;
        }
        const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
        size_t index = task_instance_in(record, view->cluster);
        if (index != SIZE_MAX &&
            text_equal(record->memberships.items[index].scaling_group, view->group)) {
            add_instance(call, view, node, record, &record->memberships.items[index]);
        }
    }
}

// ---- sizes --------------------------------------------------------------------------------

static struct reservation_size size_of(const struct core *core,
                                       const struct scaling_instance *instance)
{
    struct text ids[TASK_GPUS_MAX];
    return (struct reservation_size){
        .cpu_units = instance->node->cpu_units,
        .memory_mib = instance->node->memory_mib,
        .eni_slots = instance->node->eni_slots,
        .gpus = (int64_t)task_gpus(core, instance->node, instance->membership, false, ids),
    };
}

static bool larger(const struct reservation_size *a, const struct reservation_size *b)
{
    return a->cpu_units != b->cpu_units ? a->cpu_units > b->cpu_units
                                        : a->memory_mib > b->memory_mib;
}

static struct reservation_size read_size(const struct scaling_size *size)
{
    return (struct reservation_size){size->cpu_units, size->memory_mib, size->eni_slots,
                                     size->gpus};
}

// Of the instances that there are, else of those that were there last.
static void find_sizes(struct core_call *call, struct scaling_view *view)
{
    for (size_t i = 0; i < view->instance_count; i++) {
        struct reservation_size size = size_of(call->core, &view->instances[i]);
        if (!view->sizes.known || larger(&size, &view->sizes.largest)) {
            view->sizes.largest = size;
        }
        if (!view->sizes.known || larger(&view->sizes.smallest, &size)) {
            view->sizes.smallest = size;
        }
        view->sizes.known = true;
    }
    if (!view->sizes.known && view->record.largest != NULL && view->record.smallest != NULL) {
        view->sizes = (struct reservation_sizes){
            .known = true,
            .smallest = read_size(view->record.smallest),
            .largest = read_size(view->record.largest),
        };
    }
}

// ---- what waits ---------------------------------------------------------------------------

static bool stands_alone(const struct core *core, const struct task_record_task *task)
{
    uint32_t ports[1];
    const struct ecs_task_definition *definition = task_definition(core, task->definition);
    if (task_definition_ports(definition, ports, ARRAY_LEN(ports)) > 0) {
        return true;
    }
    const struct task_record_placement *placement = task->extra->placement;
    for (size_t i = 0; i < placement->constraints.count; i++) {
        if (placement->constraints.items[i].type ==
            ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE) {
            return true;
        }
    }
    return false;
}

static struct reservation_kind kind_of(const struct core *core, const struct task_record_task *task)
{
    const struct ecs_task_definition *definition = task_definition(core, task->definition);
    return (struct reservation_kind){
        .size = {.cpu_units = task->cpu_units,
                 .memory_mib = task->memory_mib,
                 .eni_slots = definition->network_mode == ECS_NETWORK_MODE_AWSVPC,
                 .gpus = task_gpus_wanted(definition, task->extra->overrides)},
        .alone = stands_alone(core, task),
        .count = 1,
    };
}

static bool same_kind(const struct reservation_kind *a, const struct reservation_kind *b)
{
    return a->size.cpu_units == b->size.cpu_units && a->size.memory_mib == b->size.memory_mib &&
           a->size.eni_slots == b->size.eni_slots && a->size.gpus == b->size.gpus &&
           a->alone == b->alone;
}

static int64_t count_waiting(struct core_call *call, struct scaling_view *view)
{
    const struct task_state *state = task_state(call->core);
    struct reservation_kind *kinds = arena_array(call->arena, TASK_WAITING_MAX, sizeof(*kinds));
    size_t kind_count = 0;
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)view->cluster);
    struct index_cursor cursor;
    index_walk(state->unplaced_by_cluster, &prefix, false, &cursor);
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct task_record_task *task = core_get(call->core, &task_kind, key);
        if (!text_equal(task->extra->capacity_provider, view->provider->name)) {
            continue;
        }
        view->waiting++;
        const struct reservation_kind kind = kind_of(call->core, task);
        size_t place = 0;
        while (place < kind_count && !same_kind(&kinds[place], &kind)) {
            place++;
        }
        if (place < kind_count) {
            kinds[place].count++;
        } else {
            kinds[kind_count] = kind;
            kind_count++;
        }
    }
    return reservation_needed(kinds, kind_count, &view->sizes);
}

// ---- the whole ----------------------------------------------------------------------------

static int64_t find_record(const struct core *core, int64_t provider, int64_t cluster)
{
    struct index_key at = {.size = 0};
    index_key_u64(&at, (uint64_t)provider);
    index_key_u64(&at, (uint64_t)cluster);
    return index_get(task_state(core)->scalings, &at);
}

// Instances that were asked for and did not register yet: until the command ended, and for the
// warm-up after it.
static int64_t coming(const struct core_call *call, const struct scaling_view *view)
{
    const struct scaling_action *under_way = view->record.under_way;
    int64_t size = under_way != NULL && under_way->direction == SCALING_DIRECTION_OUT
                       ? under_way->desired
                   : call->now_ms < view->record.coming_until ? view->record.coming_size
                                                              : 0;
    return MAX(INT64_C(0), size - view->ask.size);
}

void scaling_look(struct core_call *call, int64_t provider, int64_t cluster,
                  struct scaling_view *out_view)
{
    struct scaling_view view = {.provider_key = provider, .cluster = cluster};
    view.provider = core_get(call->core, &ecs_provider_kind, provider);
    view.settings = view.provider->provider;
    view.group = ecs_provider_group(call->core, view.provider->realm, view.provider->name);
    view.key = find_record(call->core, provider, cluster);
    if (view.key != 0) {
        view.record =
            *(const struct scaling_scaling *)core_get(call->core, &task_scaling_kind, view.key);
    }
    find_instances(call, &view);
    find_sizes(call, &view);
    const struct ecs_managed_scaling *scaling = view.settings->managed_scaling;
    view.ask.needed = count_waiting(call, &view);
    view.here = view.ask.size;
    view.ask.size += coming(call, &view);
    view.ask.busy = view.busy;
    view.ask.target_percent = scaling->target_capacity;
    view.ask.step_min = scaling->minimum_scaling_step_size;
    view.ask.step_max = scaling->maximum_scaling_step_size;
    view.reservation = reservation_compute(&view.ask);
    *out_view = view;
}

int64_t scaling_next_cluster(const struct core *core, int64_t provider, int64_t after)
{
    const struct ecs_record_capacity_provider *record =
        core_get(core, &ecs_provider_kind, provider);
    for (int64_t cluster = core_next(core, &ecs_cluster_kind, after); cluster != 0;
         cluster = core_next(core, &ecs_cluster_kind, cluster)) {
        const struct ecs_record_cluster *user = core_get(core, &ecs_cluster_kind, cluster);
        if (user->realm != record->realm || !text_is(user->status, "ACTIVE")) {
            continue;
        }
        for (size_t i = 0; i < user->capacity_providers.count; i++) {
            if (text_equal(user->capacity_providers.items[i], record->name)) {
                return cluster;
            }
        }
    }
    return 0;
}

// ---- instances that go --------------------------------------------------------------------

bool scaling_protects(const struct scaling_view *view)
{
    return view->settings->managed_termination_protection ==
           ECS_MANAGED_TERMINATION_PROTECTION_ENABLED;
}

static bool drains(const struct scaling_view *view)
{
    return view->settings->managed_draining == ECS_MANAGED_DRAINING_ENABLED;
}

bool scaling_may_go(const struct core_call *call, const struct scaling_view *view,
                    const struct scaling_instance *instance)
{
    if (instance->tasks == 0) {
        return true;
    }
    bool late = call->now_ms >= instance->membership->terminate_at + SCALING_DRAIN_MS;
    return !scaling_protects(view) && (!drains(view) || late);
}

void scaling_give_up(struct core_call *call, struct scaling_view *view,
                     const struct scaling_instance *instance, struct text reason)
{
    struct task_record_node *record = task_node_edit(call, instance->node->key);
    size_t index = task_instance_in(record, view->cluster);
    struct task_record_membership *membership = &record->memberships.items[index];
    view->record.coming_size = MAX(INT64_C(0), view->record.coming_size - 1);
    membership->terminate_at = call->now_ms;
    membership->terminate_reason = reason;
    if (!membership->draining && (drains(view) || instance->tasks == 0)) {
        membership->has_draining = true;
        membership->draining = true;
        membership->version++;
    }
    core_put(call, &task_node_kind, instance->node->key, record);
    task_instance_tell(call, instance->node, record, index);
    service_node_changed(call, instance->node->key);
    core_work(call, &task_managers[TASK_MANAGER_SCALING], view->provider_key);
}

// Which of two instances a group misses less: one that drains, that is out of contact, the newer.
static int compare(const void *left, const void *right)
{
    const struct scaling_instance *a = *(const struct scaling_instance *const *)left;
    const struct scaling_instance *b = *(const struct scaling_instance *const *)right;
    if (a->membership->draining != b->membership->draining) {
        return a->membership->draining ? -1 : 1;
    }
    bool a_live = task_node_live(a->node);
    bool b_live = task_node_live(b->node);
    if (a_live != b_live) {
        return a_live ? 1 : -1;
    }
    return a->node->key > b->node->key ? -1 : 1;
}

size_t scaling_pick(const struct scaling_view *view, size_t count,
                    const struct scaling_instance **out_instances)
{
    size_t found = 0;
    for (size_t i = 0; i < view->instance_count; i++) {
        const struct scaling_instance *instance = &view->instances[i];
        if (instance->tasks == 0 && instance->membership->terminate_at == 0 && !instance->lost) {
            out_instances[found] = instance;
            found++;
        }
    }
    if (found > 1) {
        qsort(out_instances, found, sizeof(*out_instances), compare);
    }
    return MIN(found, count);
}
