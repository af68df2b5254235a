#pragma once

#include "api/supervisor.h"
#include "base/err.h"

/*
 * Which container of a task to start, check, signal or kill next.
 *
 * Pure: what happened goes in as events, what to do comes out as actions, time is an argument.
 * The supervisor berth-task runs it with real processes, the simulator with invented ones. The same
 * plan, events and times always give the same actions and states.
 *
 * Use: feed events with order_event, then call order_next until it returns false, carry out what it
 * gave, and come back at order_wake_ms at the latest.
 *
 *   WAITING --dependencies met--> STARTING --started--> RUNNING --exited--> STOPPED
 *      |                             |                     |
 *      | task ends                   | failed              | task ends: STOPPING --exited-->
 * STOPPED
 *      +--> STOPPED                  +--> STOPPED
 *
 * The task ends when an essential container does, or by command. Then each container gets its stop
 * signal once every container that depends on it is gone, and SIGKILL when its stop timeout is
 * over; its pre-stop command runs before the signal, within the same timeout. One whose post-start
 * command fails is stopped in the same way; until that command has ended, START is not met.
 *
 * A container with a restart policy that ends on its own stays RUNNING, without a process, and is
 * started again; its checks begin anew.
 *
 * Health follows Docker: the first check runs one interval after the start; a success makes
 * HEALTHY at once; a failure counts unless the check began within the start period of a container
 * that was neither healthy nor unhealthy yet; as many counted failures in a row as retries make
 * UNHEALTHY.
 */

#define ORDER_REASON_MAX 1024 ///< ECS's agent cuts reasons there as well

struct order;

/** The two clocks, read once for each turn. */
struct order_time {
    int64_t monotonic_ms; ///< for deadlines
    int64_t wall_ms;      ///< for the times in the state; since 1970
};

/** What runs inside a container besides its own program. Each at most once at a time. */
enum order_command {
    ORDER_HEALTH,
    ORDER_READINESS,
    ORDER_POST_START,
    ORDER_PRE_STOP,
};

#define ORDER_CHECK_COUNT 2 ///< the first of them come again and again
#define ORDER_COMMAND_COUNT 4

enum order_event_kind {
    ORDER_STARTED,      ///< pid
    ORDER_START_FAILED, ///< reason: the runtime's message
    ORDER_EXITED,       ///< exit_code, oom_killed
    ORDER_COMMANDED,    ///< command, healthy
    ORDER_STOP,         ///< command; no container
    ORDER_KILL_ALL,     ///< command; no container
};

/** Something that happened. Events that do not fit a container's state are ignored. */
struct order_event {
    enum order_event_kind kind;
    size_t container; ///< index in the plan
    int32_t pid;
    int32_t exit_code; ///< 128 + number for a signal
    bool oom_killed;
    enum order_command command;
    bool healthy;       ///< whether the command ended with 0
    struct text reason; ///< borrowed for the call
};

enum order_action_kind {
    ORDER_START,          ///< answer with ORDER_STARTED or ORDER_START_FAILED
    ORDER_SIGNAL,         ///< send signal to the first process
    ORDER_KILL,           ///< SIGKILL; also gives up a start that is under way
    ORDER_COMMAND,        ///< run one of its commands; answer with ORDER_COMMANDED
    ORDER_CANCEL_COMMAND, ///< end it; no answer is expected any more
};

/** Something to do. */
struct order_action {
    enum order_action_kind kind;
    size_t container;
    int signal;
    enum order_command command;
};

#define ORDER_NEVER INT64_MAX

/**
 * Begin with every container waiting.
 *
 * @param plan       borrowed until order_free
 * @param out_order  owned by the caller
 * @return 0, or ERR_INVALID for a plan without containers, with unknown or circular dependencies,
 * or with numbers out of range
 */
MUST_CHECK int order_new(const struct supervisor_plan *plan, struct order **out_order,
                         struct err *err);

/** Free; NULL is allowed. */
void order_free(struct order *order);

AUTO_POINTER(struct order, order_free)

/** Take note of an event. */
void order_event(struct order *order, const struct order_event *event, struct order_time now);

/**
 * Take the next thing to do; the order assumes that it is being done.
 *
 * @param out_action  set when true is returned
 * @return false when there is nothing to do before order_wake_ms or the next event
 */
bool order_next(struct order *order, struct order_time now, struct order_action *out_action);

/** @return the monotonic time to call order_next again, ORDER_NEVER when only an event can help */
int64_t order_wake_ms(const struct order *order);

/** @return whether every container is STOPPED */
bool order_finished(const struct order *order);

/** @return a number that grows whenever the state does; it is the state's sequence */
int64_t order_version(const struct order *order);

/** @return the state; valid until the next call for this order */
const struct supervisor_state *order_state(struct order *order);
