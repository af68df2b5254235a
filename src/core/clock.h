#pragma once

#include "base/base.h"

/*
 * The engine's time: never goes back, never stands still.
 *
 * It follows the wall clock. When that was set back, time goes on from where it was, by the
 * monotonic clock, until the wall clock has caught up: timers and leases, which are kept in engine
 * time, would otherwise wait for hours. Zero-initialised storage is a clock that has not begun.
 */
struct core_clock {
    int64_t now_ms;       ///< as taken last
    int64_t monotonic_ms; ///< when that was
    bool begun;
};

/** @return engine time at these readings of the two clocks; changes nothing */
int64_t core_clock_peek(const struct core_clock *clock, int64_t wall_ms, int64_t monotonic_ms);

/** The same for an input: later times are never less. */
int64_t core_clock_take(struct core_clock *clock, int64_t wall_ms, int64_t monotonic_ms);
