#include "task/order_internal.h"

#include <stdio.h>

// What runs inside containers: the checks of health and readiness, and the commands at a start and
// before a stop.

// One health is told of two checks. What fails its health check is UNHEALTHY, and is replaced; what
// lives but is not ready is UNKNOWN, as before its first check: it is left alone and given no work.
static void tell_health(struct order *order, size_t i, struct order_time now)
{
    const struct order_container *container = &order->containers[i];
    struct supervisor_container_state *state = &order->states[i];
    enum supervisor_health health = container->alive;
    bool has_readiness = container->checks[ORDER_READINESS].plan != NULL;
    if (has_readiness && health != SUPERVISOR_HEALTH_UNHEALTHY) {
        bool alive =
            container->checks[ORDER_HEALTH].plan == NULL || health == SUPERVISOR_HEALTH_HEALTHY;
        health = alive && container->ready ? SUPERVISOR_HEALTH_HEALTHY : SUPERVISOR_HEALTH_UNKNOWN;
    }
    if (has_readiness && (!state->has_ready || state->ready != container->ready)) {
        state->has_ready = true;
        state->ready = container->ready;
        order->version++;
    }
    if (state->health != health) {
        state->health = health;
        state->health_since = now.wall_ms;
        order->version++;
    }
}

void order_commands_end(struct order *order, size_t i, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    for (size_t command = 0; command < ORDER_COMMAND_COUNT; command++) {
        container->running[command] = false;
        container->ran[command] = false;
    }
    if (container->restarting) {
        container->ready = false;
        if (container->alive != SUPERVISOR_HEALTH_ABSENT) {
            container->alive = SUPERVISOR_HEALTH_UNKNOWN;
        }
        tell_health(order, i, now);
    }
}

void order_commands_reset(struct order *order, size_t i, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    for (size_t k = 0; k < ORDER_CHECK_COUNT; k++) {
        struct order_check *check = &container->checks[k];
        check->failures = 0;
        check->next_ms =
            check->plan == NULL ? ORDER_NEVER : now.monotonic_ms + check->plan->interval_ms;
    }
    container->greeted = container->plan->post_start == NULL;
    container->parted = container->plan->pre_stop == NULL;
}

// A failure counts unless the check began within the start period of a container of which nothing
// was known yet.
static void count_failure(struct order *order, size_t i, enum order_command command,
                          struct order_time now)
{
    struct order_container *container = &order->containers[i];
    struct order_check *check = &container->checks[command];
    bool unknown =
        command == ORDER_HEALTH ? container->alive == SUPERVISOR_HEALTH_UNKNOWN : !container->ready;
    bool starting = unknown && container->command_begun_ms[command] - container->started_ms <
                                   check->plan->start_period_ms;
    if (starting || check->failures == INT32_MAX) {
        return;
    }
    check->failures++;
    if (check->failures < check->plan->retries) {
        return;
    }
    if (command == ORDER_HEALTH) {
        container->alive = SUPERVISOR_HEALTH_UNHEALTHY;
    } else {
        container->ready = false;
    }
    tell_health(order, i, now);
}

static void end_check(struct order *order, size_t i, enum order_command command, bool well,
                      struct order_time now)
{
    struct order_container *container = &order->containers[i];
    struct order_check *check = &container->checks[command];
    check->next_ms = now.monotonic_ms + check->plan->interval_ms;
    if (!well) {
        count_failure(order, i, command, now);
        return;
    }
    check->failures = 0;
    if (command == ORDER_HEALTH) {
        container->alive = SUPERVISOR_HEALTH_HEALTHY;
    } else {
        container->ready = true;
    }
    tell_health(order, i, now);
}

static void end_post_start(struct order *order, size_t i, bool well, bool timed_out)
{
    struct order_container *container = &order->containers[i];
    order->version++;
    if (well) {
        container->greeted = true;
        return;
    }
    container->failed = true;
    container->parted = true;
    snprintf(container->reason, sizeof(container->reason),
             "CannotStartContainerError: its post-start command %s",
             timed_out ? "took longer than its startTimeout" : "failed");
}

static void end_command(struct order *order, size_t i, enum order_command command, bool well,
                        bool timed_out, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    container->running[command] = false;
    switch (command) {
    case ORDER_HEALTH:
    case ORDER_READINESS:
        end_check(order, i, command, well, now);
        return;
    case ORDER_POST_START:
        end_post_start(order, i, well, timed_out);
        return;
    case ORDER_PRE_STOP:
        // Whatever it came to: what stops does so.
        container->parted = true;
        return;
    }
}

void order_commands_event(struct order *order, const struct order_event *event,
                          struct order_time now)
{
    if (order->containers[event->container].running[event->command]) {
        end_command(order, event->container, event->command, event->healthy, false, now);
    }
}

static bool begin(struct order_container *container, size_t i, enum order_command command,
                  struct order_time now, struct order_action *out_action)
{
    container->running[command] = true;
    container->ran[command] = true;
    container->command_begun_ms[command] = now.monotonic_ms;
    *out_action = (struct order_action){.kind = ORDER_COMMAND, .container = i, .command = command};
    return true;
}

static bool give_up(size_t i, enum order_command command, struct order_action *out_action)
{
    *out_action =
        (struct order_action){.kind = ORDER_CANCEL_COMMAND, .container = i, .command = command};
    return true;
}

// When a command that runs has taken too long.
static int64_t deadline_ms(const struct order_container *container, enum order_command command)
{
    int64_t limit_ms = ORDER_START_LIMIT_MS;
    switch (command) {
    case ORDER_HEALTH:
    case ORDER_READINESS:
        limit_ms = container->checks[command].plan->timeout_ms;
        break;
    case ORDER_POST_START:
        if (container->plan->start_timeout_ms > 0) {
            limit_ms = container->plan->start_timeout_ms;
        }
        break;
    case ORDER_PRE_STOP:
        return container->stop_deadline_ms;
    }
    return container->command_begun_ms[command] + limit_ms;
}

// When a command that does not run is to be begun.
static int64_t due_ms(const struct order_container *container, enum order_command command)
{
    switch (command) {
    case ORDER_HEALTH:
    case ORDER_READINESS:
        return container->checks[command].plan == NULL ? ORDER_NEVER
                                                       : container->checks[command].next_ms;
    case ORDER_POST_START:
        return container->greeted || container->ran[command] ? ORDER_NEVER : container->started_ms;
    case ORDER_PRE_STOP:
        break;
    }
    return ORDER_NEVER;
}

bool order_commands_next(struct order *order, size_t i, struct order_time now,
                         struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    for (enum order_command command = 0; command < ORDER_COMMAND_COUNT; command++) {
        if (!container->running[command] && now.monotonic_ms >= due_ms(container, command)) {
            return begin(container, i, command, now, out_action);
        }
        if (container->running[command] && now.monotonic_ms >= deadline_ms(container, command)) {
            end_command(order, i, command, false, true, now);
            return give_up(i, command, out_action);
        }
    }
    return false;
}

bool order_commands_next_stopping(struct order *order, size_t i, struct order_time now,
                                  struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    bool hurry = order->killing || now.monotonic_ms >= container->stop_deadline_ms;
    for (enum order_command command = 0; command < ORDER_COMMAND_COUNT; command++) {
        if (container->running[command] && (command != ORDER_PRE_STOP || hurry)) {
            container->running[command] = false;
            return give_up(i, command, out_action);
        }
    }
    bool alive = container->started && !container->restarting && !container->starting;
    if (hurry || !alive || container->parted || container->ran[ORDER_PRE_STOP]) {
        return false;
    }
    return begin(container, i, ORDER_PRE_STOP, now, out_action);
}

int64_t order_commands_wake_ms(const struct order *order, size_t i)
{
    const struct order_container *container = &order->containers[i];
    int64_t wake_ms = ORDER_NEVER;
    for (enum order_command command = 0; command < ORDER_COMMAND_COUNT; command++) {
        wake_ms = MIN(wake_ms, container->running[command] ? deadline_ms(container, command)
                                                           : due_ms(container, command));
    }
    return wake_ms;
}
