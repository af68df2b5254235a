#pragma once

#include "runtime/runtime.h"

/*
 * A driver without processes, for tests of what stands above it: tasks follow the real order of
 * containers (task/order.h) with invented ones, under a clock that the test moves.
 *
 * Nothing happens between calls of runtime_fake_advance: it takes the commands that agents sent,
 * moves every task on, and sends the states. Calls of the vtable may come from any thread.
 */

/** How containers of a name behave. The zero value starts at once and runs until it is stopped. */
struct runtime_fake_script {
    int64_t start_ms; ///< from the start to STARTED
    bool fails_to_start;
    int64_t run_ms;             ///< from STARTED to its exit by itself; 0: never
    int32_t exit_code;          ///< of that exit
    bool deaf;                  ///< the stop signal does nothing
    int64_t stop_ms;            ///< from the stop signal to the exit, with 143
    bool oom_killed;            ///< its exit is the OOM killer's
    int64_t unhealthy_until_ms; ///< probes fail until so long after STARTED
};

/** The steps that can be made to fail. */
enum runtime_fake_step {
    RUNTIME_FAKE_PREPARE,
    RUNTIME_FAKE_LAUNCH,
    RUNTIME_FAKE_CHECK,
    RUNTIME_FAKE_STEP_COUNT
};

/** A fake with nothing in it; runtime_close frees it. */
struct runtime *runtime_fake_new(void);

/** Set how containers of a name behave from their next start on. */
void runtime_fake_set(struct runtime *runtime, const char *container,
                      const struct runtime_fake_script *script);

/** Let the next count calls of a step fail with a code. */
void runtime_fake_fail(struct runtime *runtime, enum runtime_fake_step step, int code,
                       size_t count);

/** The task's supervisor dies as by kill -9: its streams close, its last state stays. */
void runtime_fake_crash(struct runtime *runtime, struct text task_id);

/**
 * Move to a time, never back.
 *
 * @param now_ms  milliseconds since 1970; the fake knows no other clock
 * @return when to call again at the latest, INT64_MAX when only a command can change anything
 */
int64_t runtime_fake_advance(struct runtime *runtime, int64_t now_ms);

/** @return a descriptor, owned by the fake, that polls readable while commands wait, or tasks that
 *  were launched */
int runtime_fake_fd(const struct runtime *runtime);
