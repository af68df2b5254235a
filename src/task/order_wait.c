#include "task/order_internal.h"

#include "base/text.h"

#include <stdio.h>

// What containers wait for before they start.

static const char *condition_name(enum supervisor_condition condition)
{
    switch (condition) {
    case SUPERVISOR_CONDITION_START:
        return "START";
    case SUPERVISOR_CONDITION_COMPLETE:
        return "COMPLETE";
    case SUPERVISOR_CONDITION_SUCCESS:
        return "SUCCESS";
    case SUPERVISOR_CONDITION_HEALTHY:
        return "HEALTHY";
    case SUPERVISOR_CONDITION_ABSENT:
    case SUPERVISOR_CONDITION_UNRECOGNIZED:
        break;
    }
    return "?";
}

static bool condition_met(const struct order *order, size_t other,
                          enum supervisor_condition condition)
{
    const struct order_container *container = &order->containers[other];
    const struct supervisor_container_state *state = &order->states[other];
    switch (condition) {
    case SUPERVISOR_CONDITION_START:
        return container->started && (container->greeted || container->exited);
    case SUPERVISOR_CONDITION_COMPLETE:
        return container->exited;
    case SUPERVISOR_CONDITION_SUCCESS:
        return container->exited && state->exit_code == 0;
    case SUPERVISOR_CONDITION_HEALTHY:
        return container->status == SUPERVISOR_STATUS_RUNNING &&
               state->health == SUPERVISOR_HEALTH_HEALTHY;
    case SUPERVISOR_CONDITION_ABSENT:
    case SUPERVISOR_CONDITION_UNRECOGNIZED:
        break;
    }
    return false;
}

// When a dependency has had its time to reach a condition. A container that starts has no limit
// here: the runtime's own failure ends the wait.
static int64_t dependency_deadline_ms(const struct order_container *other,
                                      enum supervisor_condition condition)
{
    if (condition == SUPERVISOR_CONDITION_START || !other->started ||
        other->plan->start_timeout_ms == 0) {
        return ORDER_NEVER;
    }
    return other->started_ms + other->plan->start_timeout_ms;
}

static void explain(const struct order *order, size_t other, enum supervisor_condition condition,
                    bool timed_out, char reason[ORDER_REASON_MAX])
{
    const struct order_container *container = &order->containers[other];
    int used = snprintf(reason, ORDER_REASON_MAX,
                        "dependency '%.*s' cannot reach %s: ", TEXT_FMT(container->plan->name),
                        condition_name(condition));
    ASSERT(used > 0);
    size_t at = MIN((size_t)used, (size_t)ORDER_REASON_MAX);
    if (timed_out) {
        snprintf(reason + at, ORDER_REASON_MAX - at,
                 "it took longer than its startTimeout of %lld s",
                 (long long)container->plan->start_timeout_ms / 1000);
    } else if (container->exited) {
        snprintf(reason + at, ORDER_REASON_MAX - at, "it exited with code %d",
                 order->states[other].exit_code);
    } else {
        snprintf(reason + at, ORDER_REASON_MAX - at, "it did not start");
    }
}

enum order_verdict order_judge(const struct order *order, size_t i, struct order_time now,
                               char reason[ORDER_REASON_MAX])
{
    const struct order_container *container = &order->containers[i];
    enum order_verdict verdict = ORDER_READY;
    for (size_t k = 0; k < container->plan->depends_on.count; k++) {
        size_t other = container->depends_on[k];
        enum supervisor_condition condition = container->plan->depends_on.items[k].condition;
        if (condition_met(order, other, condition)) {
            continue;
        }
        bool ended = order->containers[other].status == SUPERVISOR_STATUS_STOPPED;
        bool timed_out =
            now.monotonic_ms >= dependency_deadline_ms(&order->containers[other], condition);
        if (ended || timed_out) {
            explain(order, other, condition, !ended, reason);
            return ORDER_IMPOSSIBLE;
        }
        verdict = ORDER_WAIT;
    }
    return verdict;
}

int64_t order_wait_wake_ms(const struct order *order, size_t i)
{
    const struct order_container *container = &order->containers[i];
    int64_t wake_ms = ORDER_NEVER;
    for (size_t k = 0; k < container->plan->depends_on.count; k++) {
        enum supervisor_condition condition = container->plan->depends_on.items[k].condition;
        size_t other = container->depends_on[k];
        if (!condition_met(order, other, condition)) {
            wake_ms = MIN(wake_ms, dependency_deadline_ms(&order->containers[other], condition));
        }
    }
    return wake_ms;
}
