#pragma once

#include "task/order.h"

/*
 * The parts of the order: plan (is it one that can be followed), wait (dependencies), command (what
 * runs inside containers), order.c (the life of a container).
 */

/** A check that comes again and again: one of a container's commands. */
struct order_check {
    const struct supervisor_health_check *plan; ///< NULL for none
    int32_t failures;                           ///< counted failures in a row
    int64_t next_ms;
};

struct order_container {
    const struct supervisor_plan_container *plan;
    const size_t *depends_on; ///< indexes, one for each of plan->depends_on
    enum supervisor_status status;
    bool started;    ///< it has run, or runs
    bool exited;     ///< it has run, its end was seen, and it is not started again
    bool restarting; ///< it has run, and no process is there until it runs again
    bool starting;   ///< a start is under way
    bool greeted;    ///< its post-start command has ended well, or it has none
    bool parted;     ///< its pre-stop command has ended, or it has none
    bool failed;     ///< it is to stop, whatever the task does; reason says why
    bool signalled;
    bool killed;
    bool running[ORDER_COMMAND_COUNT]; ///< the command is under way
    bool ran[ORDER_COMMAND_COUNT];     ///< it was begun since the last start
    int64_t command_begun_ms[ORDER_COMMAND_COUNT];
    struct order_check checks[ORDER_CHECK_COUNT]; ///< by ORDER_HEALTH and ORDER_READINESS
    enum supervisor_health alive;                 ///< what the health check says
    bool ready;                                   ///< what the readiness check says
    int32_t last_exit_code;                       ///< of the run before, while it is restarting
    int64_t start_begun_ms;
    int64_t started_ms; ///< last
    int64_t stop_deadline_ms;
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
    bool one_by_one; ///< no two containers start at once
    bool ending;
    bool killing;
};

/** How long a runtime may take to start a container, as ECS's agent gives it. Starts take
 *  milliseconds; what takes longer is stuck on a disk or a lock. */
#define ORDER_START_LIMIT_MS (INT64_C(3) * 60 * 1000)

/** What the dependencies of a waiting container say. */
enum order_verdict { ORDER_READY, ORDER_WAIT, ORDER_IMPOSSIBLE };

/** Check the plan and resolve names; containers and states are there. @return 0 or ERR_INVALID */
MUST_CHECK int order_plan_check(struct order *order, struct err *err);

/** @return whether container i may start; when it never can, why */
enum order_verdict order_judge(const struct order *order, size_t i, struct order_time now,
                               char reason[ORDER_REASON_MAX]);

/** @return when order_judge may change its mind without an event */
int64_t order_wait_wake_ms(const struct order *order, size_t i);

/** Begin anew with the commands of a container that has just started. */
void order_commands_reset(struct order *order, size_t i, struct order_time now);

/** Take note that no command of a container runs any more. */
void order_commands_end(struct order *order, size_t i, struct order_time now);

/** A command has ended. */
void order_commands_event(struct order *order, const struct order_event *event,
                          struct order_time now);

/** @return whether out_action is the next command to run, or to give up, in a running container */
bool order_commands_next(struct order *order, size_t i, struct order_time now,
                         struct order_action *out_action);

/** The same in a container that stops: what runs is given up, then its pre-stop command runs. */
bool order_commands_next_stopping(struct order *order, size_t i, struct order_time now,
                                  struct order_action *out_action);

/** @return when a command of a running container is due, or takes too long */
int64_t order_commands_wake_ms(const struct order *order, size_t i);
