#include "task/order.h"

#include "base/alloc.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

// Bounds what a plan may ask for, so that sums of times cannot overflow: thirty days.
#define ORDER_MS_MAX (INT64_C(30) * 24 * 3600 * 1000)
#define ORDER_SIGNAL_MAX 64

// How long a runtime may take to start a container, as ECS's agent gives it. Starts take
// milliseconds; what takes longer is stuck on a disk or a lock.
#define ORDER_START_LIMIT_MS (INT64_C(3) * 60 * 1000)

struct order_container {
    const struct supervisor_plan_container *plan;
    const size_t *depends_on; ///< indexes, one for each of plan->depends_on
    enum supervisor_status status;
    bool started; ///< it has run, or runs
    bool exited;  ///< it has run, and its end was seen
    bool signalled;
    bool killed;
    bool probing;
    int32_t failures; ///< counted probe failures in a row
    int64_t start_begun_ms;
    int64_t started_ms;
    int64_t stop_deadline_ms;
    int64_t probe_begun_ms;
    int64_t probe_next_ms;
    char reason[ORDER_REASON_MAX];
};

struct order {
    const struct supervisor_plan *plan;
    struct order_container *containers;
    struct supervisor_container_state *states; ///< beside containers
    size_t *depends_on;                        ///< storage of the indexes
    size_t count;
    struct supervisor_state state;
    int64_t version;
    bool ending;
    bool killing;
};

// What the dependencies of a waiting container say.
enum order_verdict { ORDER_READY, ORDER_WAIT, ORDER_IMPOSSIBLE };

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

static int check_container(const struct supervisor_plan_container *container, struct err *err)
{
    const struct supervisor_health_check *check = container->health_check;
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
    if (check != NULL && (!in_range(check->interval_ms, 1, ORDER_MS_MAX) ||
                          !in_range(check->timeout_ms, 1, ORDER_MS_MAX) ||
                          !in_range(check->start_period_ms, 0, ORDER_MS_MAX) ||
                          !in_range(check->retries, 1, INT32_MAX))) {
        return err_set(err, ERR_INVALID, "container '%.*s': its health check is out of range",
                       TEXT_FMT(container->name));
    }
    return 0;
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
                order->containers[*next].plan->health_check == NULL) {
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
        const struct supervisor_plan_container *container = &plan->containers.items[i];
        int rc = check_container(container, err);
        if (rc != 0) {
            return rc;
        }
        if (find_container(plan, container->name) != i) {
            return err_set(err, ERR_INVALID, "two containers are named '%.*s'",
                           TEXT_FMT(container->name));
        }
        total += container->depends_on.count;
        order->containers[i].plan = container;
        order->containers[i].status = SUPERVISOR_STATUS_WAITING;
        order->states[i].name = container->name;
        order->states[i].health =
            container->health_check == NULL ? SUPERVISOR_HEALTH_ABSENT : SUPERVISOR_HEALTH_UNKNOWN;
    }
    order->depends_on = alloc_array(total, sizeof(*order->depends_on));
    int rc = resolve_dependencies(order, err);
    if (rc != 0) {
        return rc;
    }
    rc = check_circles(order, err);
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

static void set_health(struct order *order, size_t i, enum supervisor_health health,
                       struct order_time now)
{
    if (order->states[i].health != health) {
        order->states[i].health = health;
        order->states[i].health_since = now.wall_ms;
        order->version++;
    }
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
    if (container->started || (container->status != SUPERVISOR_STATUS_STARTING &&
                               container->status != SUPERVISOR_STATUS_STOPPING)) {
        return;
    }
    container->started = true;
    container->started_ms = now.monotonic_ms;
    // A kill that came while it started may have missed the process that now exists.
    container->killed = false;
    if (container->plan->health_check != NULL) {
        container->probe_next_ms = now.monotonic_ms + container->plan->health_check->interval_ms;
    }
    order->states[i].has_pid = true;
    order->states[i].pid = event->pid;
    order->states[i].started_at = now.wall_ms;
    order->version++;
    if (container->status == SUPERVISOR_STATUS_STARTING) {
        set_status(order, i, SUPERVISOR_STATUS_RUNNING);
    }
}

static void on_start_failed(struct order *order, const struct order_event *event,
                            struct order_time now)
{
    const struct order_container *container = &order->containers[event->container];
    if (container->started) {
        return;
    }
    if (container->status == SUPERVISOR_STATUS_STARTING) {
        bool late = container->killed;
        fail_container(order, event->container, event->reason, now);
        if (late) {
            snprintf(order->containers[event->container].reason, ORDER_REASON_MAX,
                     "ContainerRuntimeTimeoutError: Could not transition to started; timed out "
                     "after waiting 3m0s");
        }
    } else if (container->status == SUPERVISOR_STATUS_STOPPING) {
        // It was given up because the task ends: there is nothing wrong with the container.
        end_container(order, event->container, now);
    }
}

static void on_exited(struct order *order, const struct order_event *event, struct order_time now)
{
    size_t i = event->container;
    struct order_container *container = &order->containers[i];
    if (!container->started || container->exited) {
        return;
    }
    container->exited = true;
    container->probing = false;
    order->states[i].has_pid = false;
    order->states[i].pid = 0;
    order->states[i].has_exit_code = true;
    order->states[i].exit_code = event->exit_code;
    if (event->oom_killed) {
        order->states[i].has_oom_killed = true;
        order->states[i].oom_killed = true;
        // A server that lost a child long ago and ended well did not fail for want of memory.
        if (event->exit_code != 0) {
            snprintf(container->reason, sizeof(container->reason),
                     "OutOfMemoryError: Container killed due to memory usage");
        }
    }
    end_container(order, i, now);
}

static void count_failure(struct order *order, size_t i, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    const struct supervisor_health_check *check = container->plan->health_check;
    bool starting = order->states[i].health == SUPERVISOR_HEALTH_UNKNOWN &&
                    container->probe_begun_ms - container->started_ms < check->start_period_ms;
    if (starting || container->failures == INT32_MAX) {
        return;
    }
    container->failures++;
    if (container->failures >= check->retries) {
        set_health(order, i, SUPERVISOR_HEALTH_UNHEALTHY, now);
    }
}

static void end_probe(struct order *order, size_t i, bool healthy, struct order_time now)
{
    struct order_container *container = &order->containers[i];
    container->probing = false;
    container->probe_next_ms = now.monotonic_ms + container->plan->health_check->interval_ms;
    if (healthy) {
        container->failures = 0;
        set_health(order, i, SUPERVISOR_HEALTH_HEALTHY, now);
    } else {
        count_failure(order, i, now);
    }
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
    case ORDER_PROBED:
        break;
    }
    ASSERT(event->container < order->count);
    if (event->kind == ORDER_STARTED) {
        on_started(order, event, now);
    } else if (event->kind == ORDER_START_FAILED) {
        on_start_failed(order, event, now);
    } else if (event->kind == ORDER_EXITED) {
        on_exited(order, event, now);
    } else if (order->containers[event->container].probing) {
        end_probe(order, event->container, event->healthy, now);
    }
}

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
        return container->started;
    case SUPERVISOR_CONDITION_COMPLETE:
        return container->exited;
    case SUPERVISOR_CONDITION_SUCCESS:
        return container->exited && state->exit_code == 0;
    case SUPERVISOR_CONDITION_HEALTHY:
        return !container->exited && state->health == SUPERVISOR_HEALTH_HEALTHY;
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

static enum order_verdict judge(const struct order *order, size_t i, struct order_time now,
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

static bool next_waiting(struct order *order, size_t i, struct order_time now,
                         struct order_action *out_action)
{
    if (order->ending) {
        end_container(order, i, now);
        return false;
    }
    char reason[ORDER_REASON_MAX];
    switch (judge(order, i, now, reason)) {
    case ORDER_WAIT:
        return false;
    case ORDER_IMPOSSIBLE:
        fail_container(order, i, text_of(reason), now);
        return false;
    case ORDER_READY:
        break;
    }
    order->containers[i].start_begun_ms = now.monotonic_ms;
    set_status(order, i, SUPERVISOR_STATUS_STARTING);
    *out_action = (struct order_action){.kind = ORDER_START, .container = i};
    return true;
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
    const struct supervisor_health_check *check = container->plan->health_check;
    if (!container->started) {
        if (container->killed ||
            now.monotonic_ms < container->start_begun_ms + ORDER_START_LIMIT_MS) {
            return false;
        }
        container->killed = true;
        *out_action = (struct order_action){.kind = ORDER_KILL, .container = i};
        return true;
    }
    if (check == NULL) {
        return false;
    }
    if (container->probing && now.monotonic_ms >= container->probe_begun_ms + check->timeout_ms) {
        end_probe(order, i, false, now);
        *out_action = (struct order_action){.kind = ORDER_CANCEL_PROBE, .container = i};
        return true;
    }
    if (!container->probing && now.monotonic_ms >= container->probe_next_ms) {
        container->probing = true;
        container->probe_begun_ms = now.monotonic_ms;
        *out_action = (struct order_action){.kind = ORDER_PROBE, .container = i};
        return true;
    }
    return false;
}

static bool next_stopping(struct order *order, size_t i, struct order_time now,
                          struct order_action *out_action)
{
    struct order_container *container = &order->containers[i];
    if (container->probing) {
        container->probing = false;
        *out_action = (struct order_action){.kind = ORDER_CANCEL_PROBE, .container = i};
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
    if (container->started && !container->signalled) {
        container->signalled = true;
        *out_action = (struct order_action){
            .kind = ORDER_SIGNAL, .container = i, .signal = container->plan->stop_signal};
        return true;
    }
    return false;
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
        if (!order->ending || !may_stop(order, i)) {
            return next_running(order, i, now, out_action);
        }
        container->stop_deadline_ms = now.monotonic_ms + container->plan->stop_timeout_ms;
        set_status(order, i, SUPERVISOR_STATUS_STOPPING);
        return next_stopping(order, i, now, out_action);
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

static int64_t waiting_wake_ms(const struct order *order, size_t i)
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

static int64_t container_wake_ms(const struct order *order, size_t i)
{
    const struct order_container *container = &order->containers[i];
    switch (container->status) {
    case SUPERVISOR_STATUS_WAITING:
        return waiting_wake_ms(order, i);
    case SUPERVISOR_STATUS_RUNNING:
        if (container->plan->health_check == NULL) {
            return ORDER_NEVER;
        }
        return container->probing
                   ? container->probe_begun_ms + container->plan->health_check->timeout_ms
                   : container->probe_next_ms;
    case SUPERVISOR_STATUS_STOPPING:
        return container->killed ? ORDER_NEVER : container->stop_deadline_ms;
    case SUPERVISOR_STATUS_STARTING:
        return container->killed ? ORDER_NEVER : container->start_begun_ms + ORDER_START_LIMIT_MS;
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
