#include "core/clock.h"

int64_t core_clock_peek(const struct core_clock *clock, int64_t wall_ms, int64_t monotonic_ms)
{
    if (!clock->begun) {
        return wall_ms;
    }
    int64_t passed_ms = MAX(monotonic_ms - clock->monotonic_ms, INT64_C(0));
    return MAX(wall_ms, clock->now_ms + passed_ms);
}

int64_t core_clock_take(struct core_clock *clock, int64_t wall_ms, int64_t monotonic_ms)
{
    int64_t now_ms = core_clock_peek(clock, wall_ms, monotonic_ms);
    *clock = (struct core_clock){.now_ms = now_ms, .monotonic_ms = monotonic_ms, .begun = true};
    return now_ms;
}
