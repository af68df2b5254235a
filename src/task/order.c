#include "task/order_internal.h"

#include "base/alloc.h"
#include "base/text.h"

#include <stdio.h>

static void init_container(struct order *order, size_t i)
{
    struct order_container *container = &order->containers[i];
    const struct supervisor_plan_container *plan = &order->plan->containers.items[i];
    bool checked = plan->health_check != NULL || plan->readiness != NULL;
    *container = (struct order_container){
        .plan = plan,
        .status = SUPERVISOR_STATUS_WAITING,
        .alive = plan->health_check == NULL ? SUPERVISOR_HEALTH_ABSENT : SUPERVISOR_HEALTH_UNKNOWN,
        .checks[ORDER_HEALTH].plan = plan->health_check,
        .checks[ORDER_READINESS].plan = plan->readiness,
    };
    order->states[i] = (struct supervisor_container_state){
        .name = plan->name,
        .health = checked ? SUPERVISOR_HEALTH_UNKNOWN : SUPERVISOR_HEALTH_ABSENT,
        .has_ready = plan->readiness != NULL,
        .has_restart_count = plan->restart_policy != NULL,
    };
}

int order_new(const struct supervisor_plan *plan, struct order **out_order, struct err *err)
{
    if (plan->containers.count == 0) {
        return err_set(err, ERR_INVALID, "the plan has no containers");
    }
    AUTO(order_free) struct order *order = ALLOC(struct order);
    order->plan = plan;
    order->count = plan->containers.count;
    order->version = 1;
    order->containers = alloc_array(order->count, sizeof(*order->containers));
    order->states = alloc_array(order->count, sizeof(*order->states));
    size_t total = 0;
    for (size_t i = 0; i < order->count; i++) {
        init_container(order, i);
        total += plan->containers.items[i].depends_on.count;
        // One that is being started cannot be stopped for the sake of another.
        order->one_by_one = order->one_by_one || !text_empty(plan->containers.items[i].freezer);
    }
    order->depends_on = alloc_array(total, sizeof(*order->depends_on));
    int rc = order_plan_check(order, err);
    if (rc != 0) {
        return rc;
    }
    *out_order = order;
    order = NULL;
    return 0;
}

void order_free(struct order *order)
{
    if (order == NULL) {
        return;
    }
    alloc_free(order->containers);
    alloc_free(order->states);
    alloc_free(order->depends_on);
    alloc_free(order);
}

static void set_status(struct order *order, size_t i, enum supervisor_status status)
{
    // Statuses only go forward: an ended container never comes back.
    ASSERT(status > order->containers[i].status);
    order->containers[i].status = status;
    order->version++;
}

// A container is over, whether it ran or not. The end of an essential one ends the task.
static void end_container(struct order *order, size_t i, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    set_status(order, i, SUPERVISOR_STATUS_STOPPED);
    if (container->started) {
        order->states[i].finished_at = now.wall_ms;
    }
    if (!container->plan->essential) {
        return;
    }
    if (order->state.execution_stopped_at == 0) {
        order->state.execution_stopped_at = now.wall_ms;
    }
    if (!order->ending) {
        order->ending = true;
        order->state.has_essential_exited = true;
        order->state.essential_exited = container->exited;
    }
}

static void fail_container(struct order *order, size_t i, struct text reason, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    snprintf(container->reason, sizeof(container->reason), "CannotStartContainerError: %.*s",
             TEXT_FMT(reason));
    end_container(order, i, now);
}

static void on_started(struct order *order, const struct order_event *event, struct order_time now)
{
    size_t i = event->container;
    struct order_container *container = &order->containers[i];
    struct supervisor_container_state *state = &order->states[i];
    if (!container->starting) {
        return;
    }
    container->starting = false;
    container->started_ms = now.monotonic_ms;
    // A kill that came while it started may have missed the process that now exists.
    container->killed = false;
    if (container->restarting) {
        container->restarting = false;
        state->restart_count++;
        state->restarted_at = now.wall_ms;
    } else {
        container->started = true;
        state->started_at = now.wall_ms;
    }
    order_commands_reset(order, i, now);
    state->has_pid = true;
    state->pid = event->pid;
    order->version++;
    if (container->status == SUPERVISOR_STATUS_STARTING) {
        set_status(order, i, SUPERVISOR_STATUS_RUNNING);
    }
}

// One that was about to run again does not: the end that it has had is the one to be told.
static void keep_last_exit(struct order *order, size_t i)
{
    struct order_container *container = &order->containers[i];
    container->restarting = false;
    container->exited = true;
    order->states[i].has_exit_code = true;
    order->states[i].exit_code = container->last_exit_code;
}

static void on_start_failed(struct order *order, const struct order_event *event,
                            struct order_time now)
{
    struct order_container *container = &order->containers[event->container];
    if (!container->starting) {
        return;
    }
    container->starting = false;
    if (container->restarting) {
        keep_last_exit(order, event->container);
    }
    if (container->status == SUPERVISOR_STATUS_STOPPING) {
        // It was given up because the task ends: there is nothing wrong with the container.
        end_container(order, event->container, now);
        return;
    }
    bool late = container->killed;
    fail_container(order, event->container, event->reason, now);
    if (late) {
        snprintf(container->reason, ORDER_REASON_MAX,
                 "ContainerRuntimeTimeoutError: Could not transition to started; timed out after "
                 "waiting 3m0s");
    }
}

static bool exit_code_ignored(const struct supervisor_restart_policy *policy, int32_t exit_code)
{
    for (size_t i = 0; i < policy->ignored_exit_codes.count; i++) {
        if (policy->ignored_exit_codes.items[i] == exit_code) {
            return true;
        }
    }
    return false;
}

// After ECS's agent: only what ended on its own, with a code that is not ignored, and only if it
// ran for the whole period since it was started last.
static bool may_restart(const struct order *order, size_t i, int32_t exit_code,
                        struct order_time now)
{
    const struct order_container *container = &order->containers[i];
    const struct supervisor_restart_policy *policy = container->plan->restart_policy;
    return policy != NULL && !order->ending && container->status == SUPERVISOR_STATUS_RUNNING &&
           !container->failed && !exit_code_ignored(policy, exit_code) &&
           now.monotonic_ms - container->started_ms >= policy->attempt_period_ms;
}

static void on_exited(struct order *order, const struct order_event *event, struct order_time now)
{
    size_t i = event->container;
    struct order_container *container = &order->containers[i];
    struct supervisor_container_state *state = &order->states[i];
    if (!container->started || container->exited || container->restarting) {
        return;
    }
    state->has_pid = false;
    state->pid = 0;
    container->restarting = may_restart(order, i, event->exit_code, now);
    order_commands_end(order, i, now);
    order->version++;
    if (container->restarting) {
        container->last_exit_code = event->exit_code;
        return;
    }
    container->exited = true;
    state->has_exit_code = true;
    state->exit_code = event->exit_code;
    if (event->oom_killed) {
        state->has_oom_killed = true;
        state->oom_killed = true;
        // A server that lost a child long ago and ended well did not fail for want of memory.
        if (event->exit_code != 0) {
            snprintf(container->reason, sizeof(container->reason),
                     "OutOfMemoryError: Container killed due to memory usage");
        }
    }
    end_container(order, i, now);
}

void order_event(struct order *order, const struct order_event *event, struct order_time now)
{
    switch (event->kind) {
    case ORDER_STOP:
        order->ending = true;
        return;
    case ORDER_KILL_ALL:
        order->ending = true;
        order->killing = true;
        return;
    case ORDER_STARTED:
    case ORDER_START_FAILED:
    case ORDER_EXITED:
    case ORDER_COMMANDED:
        break;
    }
    ASSERT(event->container < order->count);
    ASSERT(event->command < ORDER_COMMAND_COUNT);
    if (event->kind == ORDER_STARTED) {
        on_started(order, event, now);
    } else if (event->kind == ORDER_START_FAILED) {
        on_start_failed(order, event, now);
    } else if (event->kind == ORDER_EXITED) {
        on_exited(order, event, now);
    } else {
        order_commands_event(order, event, now);
    }
}

// The end of the other start is an event.
static bool must_wait(const struct order *order)
{
    for (size_t i = 0; order->one_by_one && i < order->count; i++) {
        if (order->containers[i].starting) {
            return true;
        }
    }
    return false;
}

static bool begin_start(struct order *order, size_t i, struct order_time now,
                        struct order_action *out_action)
{
    order->containers[i].starting = true;
    order->containers[i].start_begun_ms = now.monotonic_ms;
    *out_action = (struct order_action){.kind = ORDER_START, .container = i};
    return true;
}

static bool next_waiting(struct order *order, size_t i, struct order_time now,
                         struct order_action *out_action)
{
    if (order->ending) {
        end_container(order, i, now);
        return false;
    }
    char reason[ORDER_REASON_MAX];
    switch (order_judge(order, i, now, reason)) {
    case ORDER_WAIT:
        return false;
    case ORDER_IMPOSSIBLE:
        fail_container(order, i, text_of(reason), now);
        return false;
    case ORDER_READY:
        break;
    }
    if (must_wait(order)) {
        return false;
    }
    set_status(order, i, SUPERVISOR_STATUS_STARTING);
    return begin_start(order, i, now, out_action);
}

// Whether everything that depends on this container is gone, so that it may go, too.
static bool may_stop(const struct order *order, size_t i)
{
    if (order->killing) {
        return true;
    }
    for (size_t other = 0; other < order->count; other++) {
        const struct order_container *container = &order->containers[other];
        if (container->status == SUPERVISOR_STATUS_STOPPED) {
            continue;
        }
        for (size_t k = 0; k < container->plan->depends_on.count; k++) {
            if (container->depends_on[k] == i) {
                return false;
            }
        }
    }
    return true;
}

static bool next_running(struct order *order, size_t i, struct order_time now,
                         struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    if (container->restarting && !container->starting) {
        return !must_wait(order) && begin_start(order, i, now, out_action);
    }
    if (!container->starting) {
        return order_commands_next(order, i, now, out_action);
    }
    if (container->killed || now.monotonic_ms < container->start_begun_ms + ORDER_START_LIMIT_MS) {
        return false;
    }
    container->killed = true;
    *out_action = (struct order_action){.kind = ORDER_KILL, .container = i};
    return true;
}

static bool next_stopping(struct order *order, size_t i, struct order_time now,
                          struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    if (order_commands_next_stopping(order, i, now, out_action)) {
        return true;
    }
    if (container->killed) {
        return false;
    }
    if (order->killing || now.monotonic_ms >= container->stop_deadline_ms) {
        container->killed = true;
        *out_action = (struct order_action){.kind = ORDER_KILL, .container = i};
        return true;
    }
    if (container->starting || container->signalled || container->running[ORDER_PRE_STOP]) {
        return false;
    }
    container->signalled = true;
    *out_action = (struct order_action){
        .kind = ORDER_SIGNAL, .container = i, .signal = container->plan->stop_signal};
    return true;
}

static bool begin_stop(struct order *order, size_t i, struct order_time now,
                       struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    if (container->restarting && !container->starting) {
        keep_last_exit(order, i);
        end_container(order, i, now);
        return false;
    }
    container->stop_deadline_ms = now.monotonic_ms + container->plan->stop_timeout_ms;
    set_status(order, i, SUPERVISOR_STATUS_STOPPING);
    return next_stopping(order, i, now, out_action);
}

static bool next_of(struct order *order, size_t i, struct order_time now,
                    struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    switch (container->status) {
    case SUPERVISOR_STATUS_WAITING:
        return next_waiting(order, i, now, out_action);
    case SUPERVISOR_STATUS_STARTING:
    case SUPERVISOR_STATUS_RUNNING:
        if (container->failed || (order->ending && may_stop(order, i))) {
            return begin_stop(order, i, now, out_action);
        }
        return next_running(order, i, now, out_action);
    case SUPERVISOR_STATUS_STOPPING:
        return next_stopping(order, i, now, out_action);
    case SUPERVISOR_STATUS_STOPPED:
    case SUPERVISOR_STATUS_ABSENT:
    case SUPERVISOR_STATUS_UNRECOGNIZED:
        break;
    }
    return false;
}

bool order_next(struct order *order, struct order_time now, struct order_action *out_action)
{
    // A container that ends without an action, such as one that never started, can free or doom
    // others: go round until nothing changes. Each round ends at least one container.
    int64_t before = 0;
    do {
        before = order->version;
        for (size_t i = 0; i < order->count; i++) {
            if (next_of(order, i, now, out_action)) {
                return true;
            }
        }
    } while (order->version != before);
    return false;
}

static int64_t container_wake_ms(const struct order *order, size_t i)
{
    const struct order_container *container = &order->containers[i];
    switch (container->status) {
    case SUPERVISOR_STATUS_WAITING:
        return order_wait_wake_ms(order, i);
    case SUPERVISOR_STATUS_STARTING:
    case SUPERVISOR_STATUS_RUNNING:
        if (container->starting) {
            return container->killed ? ORDER_NEVER
                                     : container->start_begun_ms + ORDER_START_LIMIT_MS;
        }
        if (container->restarting) {
            return ORDER_NEVER; // another start is to end first
        }
        return order_commands_wake_ms(order, i);
    case SUPERVISOR_STATUS_STOPPING:
        return container->killed ? ORDER_NEVER : container->stop_deadline_ms;
    case SUPERVISOR_STATUS_STOPPED:
    case SUPERVISOR_STATUS_ABSENT:
    case SUPERVISOR_STATUS_UNRECOGNIZED:
        break;
    }
    return ORDER_NEVER;
}

int64_t order_wake_ms(const struct order *order)
{
    int64_t wake_ms = ORDER_NEVER;
    for (size_t i = 0; i < order->count; i++) {
        wake_ms = MIN(wake_ms, container_wake_ms(order, i));
    }
    return wake_ms;
}

bool order_finished(const struct order *order)
{
    for (size_t i = 0; i < order->count; i++) {
        if (order->containers[i].status != SUPERVISOR_STATUS_STOPPED) {
            return false;
        }
    }
    return true;
}

int64_t order_version(const struct order *order)
{
    return order->version;
}

const struct supervisor_state *order_state(struct order *order)
{
    for (size_t i = 0; i < order->count; i++) {
        const struct order_container *container = &order->containers[i];
        order->states[i].status = container->status;
        order->states[i].reason =
            container->reason[0] == '\0' ? (struct text){0} : text_of(container->reason);
    }
    order->state.has_sequence = true;
    order->state.sequence = order->version;
    order->state.containers.items = order->states;
    order->state.containers.count = order->count;
    order->state.has_finished = true;
    order->state.finished = order_finished(order);
    return &order->state;
}
