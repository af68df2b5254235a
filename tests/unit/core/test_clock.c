#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Engine time must follow the wall clock forwards, and must neither go back nor stand still when
// that is set back: a timer that is due in two seconds is due in two seconds.
static void time_goes_on(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t wall_ms;
        int64_t monotonic_ms;
        int64_t want_ms;
    } steps[] = {
        {"begins with the wall clock", 1000, 50, 1000},
        {"follows it", 1100, 150, 1100},
        {"follows it when it jumps ahead", 5000, 200, 5000},
        {"goes on when it is set back", 1200, 250, 5050},
        {"and on", 1300, 350, 5150},
        {"follows it again once it has caught up", 6000, 400, 6000},
        {"does not go back with a monotonic clock that does", 6000, 390, 6000},
    };
    struct core_clock clock = {0};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        print_message("%s\n", steps[i].name);
        assert_int_equal(core_clock_peek(&clock, steps[i].wall_ms, steps[i].monotonic_ms),
                         steps[i].want_ms);
        assert_int_equal(core_clock_take(&clock, steps[i].wall_ms, steps[i].monotonic_ms),
                         steps[i].want_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(time_goes_on)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
