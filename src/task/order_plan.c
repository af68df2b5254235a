#include "task/order_internal.h"

#include "base/alloc.h"
#include "base/text.h"

// Whether a plan is one that can be followed.

// Bounds what a plan may ask for, so that sums of times cannot overflow: thirty days.
#define ORDER_MS_MAX (INT64_C(30) * 24 * 3600 * 1000)
#define ORDER_SIGNAL_MAX 64

static size_t find_container(const struct supervisor_plan *plan, struct text name)
{
    for (size_t i = 0; i < plan->containers.count; i++) {
        if (text_equal(plan->containers.items[i].name, name)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static bool in_range(int64_t value, int64_t min, int64_t max)
{
    return value >= min && value <= max;
}

static int check_check(const struct supervisor_plan_container *container,
                       const struct supervisor_health_check *check, const char *name,
                       struct err *err)
{
    if (check != NULL && (!in_range(check->interval_ms, 1, ORDER_MS_MAX) ||
                          !in_range(check->timeout_ms, 1, ORDER_MS_MAX) ||
                          !in_range(check->start_period_ms, 0, ORDER_MS_MAX) ||
                          !in_range(check->retries, 1, INT32_MAX))) {
        return err_set(err, ERR_INVALID, "container '%.*s': its %s check is out of range",
                       TEXT_FMT(container->name), name);
    }
    return 0;
}

static int check_container(const struct supervisor_plan_container *container, struct err *err)
{
    if (text_empty(container->name)) {
        return err_set(err, ERR_INVALID, "a container has no name");
    }
    if (!in_range(container->stop_timeout_ms, 0, ORDER_MS_MAX) ||
        !in_range(container->start_timeout_ms, 0, ORDER_MS_MAX)) {
        return err_set(err, ERR_INVALID, "container '%.*s': a timeout is out of range",
                       TEXT_FMT(container->name));
    }
    if (!in_range(container->stop_signal, 1, ORDER_SIGNAL_MAX)) {
        return err_set(err, ERR_INVALID, "container '%.*s': %d is no signal",
                       TEXT_FMT(container->name), container->stop_signal);
    }
    if (container->restart_policy != NULL &&
        !in_range(container->restart_policy->attempt_period_ms, 0, ORDER_MS_MAX)) {
        return err_set(err, ERR_INVALID, "container '%.*s': its restart policy is out of range",
                       TEXT_FMT(container->name));
    }
    int rc = check_check(container, container->health_check, "health", err);
    return rc != 0 ? rc : check_check(container, container->readiness, "readiness", err);
}

static int resolve_dependencies(struct order *order, struct err *err)
{
    size_t *next = order->depends_on;
    for (size_t i = 0; i < order->count; i++) {
        const struct supervisor_plan_container *plan = order->containers[i].plan;
        order->containers[i].depends_on = next;
        for (size_t k = 0; k < plan->depends_on.count; k++) {
            const struct supervisor_dependency *dependency = &plan->depends_on.items[k];
            *next = find_container(order->plan, dependency->container);
            if (*next == SIZE_MAX) {
                return err_set(err, ERR_INVALID,
                               "container '%.*s' depends on '%.*s', which does not exist",
                               TEXT_FMT(plan->name), TEXT_FMT(dependency->container));
            }
            if (dependency->condition < SUPERVISOR_CONDITION_START) {
                return err_set(err, ERR_INVALID,
                               "container '%.*s' depends on '%.*s' by an unknown condition",
                               TEXT_FMT(plan->name), TEXT_FMT(dependency->container));
            }
            if (dependency->condition == SUPERVISOR_CONDITION_HEALTHY &&
                order->containers[*next].plan->health_check == NULL &&
                order->containers[*next].plan->readiness == NULL) {
                return err_set(
                    err, ERR_INVALID,
                    "container '%.*s' waits for '%.*s' to be HEALTHY, which has no health "
                    "check",
                    TEXT_FMT(plan->name), TEXT_FMT(dependency->container));
            }
            next++;
        }
    }
    return 0;
}

static bool settled(const struct order *order, const bool *done, size_t i)
{
    const struct order_container *container = &order->containers[i];
    for (size_t k = 0; k < container->plan->depends_on.count; k++) {
        if (!done[container->depends_on[k]]) {
            return false;
        }
    }
    return true;
}

// Peels off containers whose dependencies are all peeled off; what is left is a circle.
static int check_circles(const struct order *order, struct err *err)
{
    AUTO(alloc_free) void *memory = alloc_array(order->count, sizeof(bool));
    bool *done = memory;
    bool progress = true;
    while (progress) {
        progress = false;
        for (size_t i = 0; i < order->count; i++) {
            if (!done[i] && settled(order, done, i)) {
                done[i] = true;
                progress = true;
            }
        }
    }
    for (size_t i = 0; i < order->count; i++) {
        if (!done[i]) {
            return err_set(err, ERR_INVALID, "container '%.*s' depends on itself through others",
                           TEXT_FMT(order->containers[i].plan->name));
        }
    }
    return 0;
}

int order_plan_check(struct order *order, struct err *err)
{
    for (size_t i = 0; i < order->count; i++) {
        const struct supervisor_plan_container *container = order->containers[i].plan;
        int rc = check_container(container, err);
        if (rc != 0) {
            return rc;
        }
        if (find_container(order->plan, container->name) != i) {
            return err_set(err, ERR_INVALID, "two containers are named '%.*s'",
                           TEXT_FMT(container->name));
        }
    }
    int rc = resolve_dependencies(order, err);
    return rc != 0 ? rc : check_circles(order, err);
}
