#include "ecs/scaling.h"

#include <string.h>

static struct scaling_action *copy_action(struct core_call *call,
                                          const struct scaling_action *action)
{
    struct scaling_action *copy = ARENA_NEW(call->arena, struct scaling_action);
    *copy = *action;
    return copy;
}

static bool enabled(const struct scaling_view *view)
{
    return view->settings->managed_scaling->status == ECS_MANAGED_SCALING_STATUS_ENABLED;
}

// ---- asking the server --------------------------------------------------------------------

static void tell_instances(struct core_call *call, const struct scaling_view *view,
                           const struct scaling_action *action, struct scaling_call *out_message)
{
    size_t count = action->instances.count;
    out_message->instances.items =
        arena_array(call->arena, count, sizeof(*out_message->instances.items));
    for (size_t i = 0; i < view->instance_count; i++) {
        const struct scaling_instance *instance = &view->instances[i];
        for (size_t j = 0; j < count; j++) {
            if (text_equal(action->instances.items[j], instance->membership->instance_id)) {
                out_message->instances.items[out_message->instances.count] = (struct scaling_host){
                    .container_instance_arn =
                        task_instance_arn(call, instance->record, instance->membership),
                    .ec2_instance_id = task_instance_ec2_id(call->arena, instance->membership),
                    .node_id = instance->record->node_id,
                    .name = instance->record->name,
                };
                out_message->instances.count++;
            }
        }
    }
}

// An effect may be lost with the server: what is under way is told again every period, and the
// server does not run twice what runs.
static void tell(struct core_call *call, const struct scaling_view *view, int64_t key,
                 const struct scaling_action *action)
{
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, view->cluster);
    struct ecs_realm_scope scope = ecs_scope(call->core, cluster->realm);
    struct scaling_call message = {
        .has_scaling = true,
        .scaling = key,
        .action_id = action->id,
        .direction = action->direction,
        .account = scope.account,
        .region = scope.region,
        .cluster = cluster->name,
        .provider = view->provider->name,
        .group = view->group,
        .has_current = true,
        .current = action->current,
        .has_desired = true,
        .desired = action->desired,
        .reason = action->reason,
    };
    tell_instances(call, view, action, &message);
    core_effect(call, CORE_EFFECT_SCALE, view->group, "Scale", &scaling_call_shape, &message);
}

static struct scaling_action *begin(struct core_call *call, struct scaling_view *view,
                                    enum scaling_direction direction, int64_t desired)
{
    struct scaling_action *action = ARENA_NEW(call->arena, struct scaling_action);
    *action = (struct scaling_action){
        .id = core_random_hex(call, 16),
        .direction = direction,
        .has_current = true,
        .current = view->ask.size,
        .has_desired = true,
        .desired = desired,
        .asked_at = call->now_ms,
        .has_attempt = true,
        .attempt = view->record.attempts + 1,
    };
    view->record.under_way = action;
    return action;
}

// ---- growing ------------------------------------------------------------------------------

static void grow(struct core_call *call, struct scaling_view *view)
{
    struct scaling_action *action =
        begin(call, view, SCALING_DIRECTION_OUT, view->reservation.desired);
    action->reason = arena_format(
        call->arena,
        "%lld %s for an instance, %lld of %lld instances %s tasks: CapacityProviderReservation is "
        "%lld, its target %lld.",
        (long long)view->waiting, view->waiting == 1 ? "task waits" : "tasks wait",
        (long long)view->busy, (long long)view->ask.size, view->busy == 1 ? "has" : "have",
        (long long)view->reservation.percent, (long long)view->ask.target_percent);
}

// ---- shrinking ----------------------------------------------------------------------------

// What the group does not need is given up; a later step names it to the command.
static void shrink(struct core_call *call, struct scaling_view *view)
{
    int64_t surplus = view->ask.size - view->reservation.desired;
    view->record.shrunk_at = call->now_ms;
    const struct scaling_instance **picked =
        arena_array(call->arena, view->instance_count, sizeof(struct scaling_instance *));
    size_t count = surplus <= 0 ? 0 : scaling_pick(view, (size_t)surplus, picked);
    for (size_t i = 0; i < MIN(count, (size_t)SCALING_STEP_INSTANCES); i++) {
        scaling_give_up(call, view, picked[i],
                        arena_format(call->arena,
                                     "CapacityProviderReservation is %lld, its target %lld.",
                                     (long long)view->reservation.percent,
                                     (long long)view->ask.target_percent));
    }
}

// Name instances that were given up and have nothing to be kept for. @return whether there are any
static bool terminate(struct core_call *call, struct scaling_view *view)
{
    struct text *ids = arena_array(call->arena, SCALING_STEP_INSTANCES, sizeof(*ids));
    size_t count = 0;
    struct text reason = {0};
    for (size_t i = 0; i < view->instance_count && count < SCALING_STEP_INSTANCES; i++) {
        const struct scaling_instance *instance = &view->instances[i];
        if (instance->membership->terminate_at != 0 && scaling_may_go(call, view, instance)) {
            ids[count] = instance->membership->instance_id;
            reason = count == 0 ? instance->membership->terminate_reason : reason;
            count++;
        }
    }
    if (count == 0) {
        return false;
    }
    // What is to go and is still there counts as the group's.
    struct scaling_action *action = begin(call, view, SCALING_DIRECTION_IN, view->ask.size);
    action->current = view->ask.size + (int64_t)count;
    action->reason = reason;
    action->instances.items = ids;
    action->instances.count = count;
    return true;
}

// ---- the step -----------------------------------------------------------------------------

static struct scaling_size *keep_size(struct core_call *call, const struct reservation_size *size)
{
    struct scaling_size *kept = ARENA_NEW(call->arena, struct scaling_size);
    *kept = (struct scaling_size){
        .has_cpu_units = true,
        .cpu_units = size->cpu_units,
        .has_memory_mib = true,
        .memory_mib = size->memory_mib,
        .has_eni_slots = true,
        .eni_slots = size->eni_slots,
        .has_gpus = true,
        .gpus = size->gpus,
    };
    return kept;
}

// What the alarm for a group that is too large remembers.
static bool too_large(const struct core_call *call, const struct task_state *state,
                      struct scaling_view *view)
{
    if (!enabled(view) || !view->reservation.below) {
        view->record.below_since = 0;
        return false;
    }
    if (view->record.below_since == 0) {
        view->record.below_since = call->now_ms;
    }
    return call->now_ms - view->record.below_since >=
               (SCALING_LOW_PERIODS - 1) * state->scaling_period_ms &&
           call->now_ms - view->record.shrunk_at >= state->scaling_period_ms;
}

// @return whether records were put
static bool step(struct core_call *call, const struct task_state *state, int64_t provider,
                 int64_t cluster)
{
    struct scaling_view view;
    scaling_look(call, provider, cluster, &view);
    const struct scaling_scaling before = view.record;
    uint32_t puts = call->put_count;
    view.record.has_provider = true;
    view.record.provider = provider;
    view.record.has_cluster = true;
    view.record.cluster = cluster;
    if (view.sizes.known) {
        view.record.smallest = keep_size(call, &view.sizes.smallest);
        view.record.largest = keep_size(call, &view.sizes.largest);
    }
    if (view.here >= view.record.coming_size) {
        view.record.coming_size = 0; // all came: should one go again, it is not on its way
    }
    bool shrinks = too_large(call, state, &view);
    bool told = view.record.under_way != NULL;
    if (!told && state->scaling_command &&
        !ecs_must_wait(call, view.record.retry_at, SCALING_RETRY_MAX_MS)) {
        if (enabled(&view) && view.reservation.above && view.reservation.desired > view.ask.size) {
            grow(call, &view);
        } else if (!terminate(call, &view) && shrinks) {
            shrink(call, &view);
        }
    }
    bool kept = view.key != 0 || enabled(&view) || view.record.under_way != NULL;
    if (kept && !shape_equal(&scaling_scaling_shape, &before, &view.record)) {
        view.key = view.key == 0 ? core_new_key(call) : view.key;
        core_put(call, &task_scaling_kind, view.key, &view.record);
    }
    const struct scaling_action *action = view.record.under_way;
    if (action != NULL && state->scaling_command &&
        (!told || call->now_ms - action->asked_at >= state->scaling_period_ms)) {
        tell(call, &view, view.key, action);
    }
    return call->put_count > puts;
}

// Records of a provider that is gone, or of clusters that it was taken off.
static void forget(struct core_call *call, const struct task_state *state, int64_t provider)
{
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)provider);
    struct index_cursor cursor;
    index_walk(state->scalings, &prefix, false, &cursor);
    size_t count = 0;
    for (int64_t key = index_step(&cursor); key != 0 && count < SCALING_STEP_CLUSTERS;
         key = index_step(&cursor)) {
        const struct scaling_scaling *record = core_get(call->core, &task_scaling_kind, key);
        bool there =
            core_get(call->core, &ecs_provider_kind, provider) != NULL &&
            scaling_next_cluster(call->core, provider, record->cluster - 1) == record->cluster;
        if (!there) {
            core_delete(call, &task_scaling_kind, key);
            count++;
        }
    }
}

void scaling_work(struct core_call *call, void *pointer, int64_t provider)
{
    const struct task_state *state = pointer;
    const struct core_manager *manager = &task_managers[TASK_MANAGER_SCALING];
    forget(call, state, provider);
    if (core_get(call->core, &ecs_provider_kind, provider) == NULL) {
        core_timer(call, manager, provider, 0);
        return;
    }
    size_t changed = 0;
    for (int64_t cluster = scaling_next_cluster(call->core, provider, 0);
         cluster != 0 && changed < SCALING_STEP_CLUSTERS;
         cluster = scaling_next_cluster(call->core, provider, cluster)) {
        changed += step(call, state, provider, cluster);
        if (call->put_count > SCALING_STEP_INSTANCES) {
            break; // a transaction is bounded, and instances are records with a history
        }
    }
    if (changed > 0) {
        core_work(call, manager, provider); // what follows of it, in a step of its own
    }
    int64_t period_ms = state->scaling_period_ms;
    core_timer(call, manager, provider, (call->now_ms / period_ms + 1) * period_ms);
}

void scaling_node_changed(struct core_call *call, const struct task_node *node)
{
    const struct task_record_node *record =
        node == NULL ? NULL : core_get(call->core, &task_node_kind, node->key);
    for (size_t i = 0; record != NULL && i < record->memberships.count; i++) {
        const struct task_record_membership *membership = &record->memberships.items[i];
        if (membership->terminate_at == 0 || membership->deregistered_at != 0) {
            continue;
        }
        const struct ecs_record_cluster *cluster =
            core_get(call->core, &ecs_cluster_kind, membership->cluster);
        struct text name =
            ecs_provider_of_group(call->core, membership->cluster, membership->scaling_group);
        int64_t provider =
            text_empty(name) ? 0 : ecs_provider_find(call->core, cluster->realm, name);
        if (provider != 0) {
            core_work(call, &task_managers[TASK_MANAGER_SCALING], provider);
        }
    }
}

void task_provider_changed(struct core_call *call, int64_t provider)
{
    core_work(call, &task_managers[TASK_MANAGER_SCALING], provider);
}

void scaling_recover(struct core_call *call)
{
    for (int64_t key = core_next(call->core, &ecs_provider_kind, 0); key != 0;
         key = core_next(call->core, &ecs_provider_kind, key)) {
        core_work(call, &task_managers[TASK_MANAGER_SCALING], key);
    }
}

void task_set_scaling(struct core *core, bool command, int64_t period_ms)
{
    struct task_state *state = task_state(core);
    state->scaling_command = command;
    state->scaling_period_ms = period_ms > 0 ? period_ms : SCALING_PERIOD_MS;
}

// ---- what the server tells ----------------------------------------------------------------

// The command said that these hosts are gone.
static void remove_hosts(struct core_call *call, const struct scaling_view *view,
                         const struct scaling_action *action)
{
    for (size_t i = 0; i < view->instance_count; i++) {
        const struct scaling_instance *instance = &view->instances[i];
        for (size_t j = 0; j < action->instances.count; j++) {
            if (text_equal(action->instances.items[j], instance->membership->instance_id)) {
                task_node_remove(
                    call, instance->node,
                    arena_format(call->arena, "Auto Scaling group %.*s terminated host %.*s.",
                                 TEXT_FMT(view->group), TEXT_FMT(instance->record->name)));
            }
        }
    }
}

static int64_t backoff_ms(int32_t attempts)
{
    int64_t wait_ms = SCALING_RETRY_MS;
    for (int32_t i = 1; i < attempts && wait_ms < SCALING_RETRY_MAX_MS; i++) {
        wait_ms *= 2;
    }
    return MIN(wait_ms, SCALING_RETRY_MAX_MS);
}

int scaling_report(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    (void)output;
    const struct scaling_report_scaling_request *request = input;
    const struct scaling_scaling *stored =
        core_get(call->core, &task_scaling_kind, request->scaling);
    if (stored == NULL || stored->under_way == NULL ||
        !text_equal(stored->under_way->id, request->action_id) ||
        core_get(call->core, &ecs_provider_kind, stored->provider) == NULL) {
        return 0; // of an older call, or told twice
    }
    struct scaling_view view;
    scaling_look(call, stored->provider, stored->cluster, &view);
    struct scaling_scaling record = *stored;
    struct scaling_action *action = copy_action(call, stored->under_way);
    bool failed = !text_empty(request->failure);
    action->ended_at = call->now_ms;
    action->failure = failed ? text_slice(request->failure, 0, TASK_REASON_MAX) : (struct text){0};
    record.under_way = NULL;
    record.last = action;
    record.has_attempts = failed;
    record.attempts = failed ? stored->attempts + 1 : 0;
    record.retry_at = failed ? call->now_ms + backoff_ms(record.attempts) : 0;
    if (!failed && action->direction == SCALING_DIRECTION_OUT) {
        record.has_coming_size = true;
        record.coming_size = action->desired;
        record.coming_until =
            call->now_ms +
            (int64_t)view.settings->managed_scaling->instance_warmup_period * INT64_C(1000);
    }
    core_put(call, &task_scaling_kind, request->scaling, &record);
    if (!failed && action->direction == SCALING_DIRECTION_IN) {
        remove_hosts(call, &view, action);
    }
    core_work(call, &task_managers[TASK_MANAGER_SCALING], stored->provider);
    return 0;
}
