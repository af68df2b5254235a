#include "ecs/reservation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// ---- what waits ---------------------------------------------------------------------------

#define SMALL                                                                                      \
    {                                                                                              \
        .cpu_units = 1000, .memory_mib = 1000, .eni_slots = 2                                      \
    }
#define LARGE                                                                                      \
    {                                                                                              \
        .cpu_units = 4000, .memory_mib = 8000, .eni_slots = 4, .gpus = 2                           \
    }

static const struct {
    const char *name;
    struct reservation_kind kinds[3];
    size_t count;
    bool unknown;
    int64_t want;
} needs[] = {
    {.name = "nothing waits", .want = 0},
    {.name = "one task needs one instance", .kinds = {{{500, 100, 0, 0}, false, 1}}, 1, .want = 1},
    {.name = "they are packed on the largest",
     .kinds = {{{1000, 100, 0, 0}, false, 4}},
     1,
     .want = 1},
    {.name = "one more begins another", .kinds = {{{1000, 100, 0, 0}, false, 5}}, 1, .want = 2},
    {.name = "memory decides when it is short",
     .kinds = {{{100, 1000, 0, 0}, false, 17}},
     1,
     .want = 3},
    {.name = "so do interfaces", .kinds = {{{1, 1, 1, 0}, false, 9}}, 1, .want = 3},
    {.name = "the kind that needs most decides",
     .kinds = {{{1000, 1, 0, 0}, false, 5}, {{1, 1000, 0, 0}, false, 32}},
     2,
     .want = 4},
    {.name = "what does not fit the smallest counts for nothing",
     .kinds = {{{1001, 1, 0, 0}, false, 5}, {{1, 1, 0, 0}, false, 1}},
     2,
     .want = 1},
    {.name = "nor what fits neither", .kinds = {{{1, 1, 0, 3}, false, 5}}, 1, .want = 0},
    {.name = "what stands alone needs one each", .kinds = {{{1, 1, 0, 0}, true, 7}}, 1, .want = 7},
    {.name = "a task may take nothing that is counted",
     .kinds = {{{0, 0, 0, 0}, false, 7}},
     1,
     .want = 1},
    {.name = "of unknown sizes one is needed",
     .kinds = {{{9000, 1, 0, 0}, false, 70}},
     1,
     .unknown = true,
     .want = 1},
};

static void what_waits_needs_instances(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
        const struct reservation_sizes sizes = {
            .known = !needs[i].unknown, .smallest = SMALL, .largest = LARGE};
        int64_t needed = reservation_needed(needs[i].kinds, needs[i].count, &sizes);
        if (needed != needs[i].want) {
            fail_msg("%s: %lld, wanted %lld", needs[i].name, (long long)needed,
                     (long long)needs[i].want);
        }
    }
}

// ---- the reservation ----------------------------------------------------------------------

static const struct {
    const char *name;
    struct reservation_ask ask; // size, busy, needed, target, steps
    int64_t needed;
    double percent;
    int sign; // above 1, below -1
    int64_t desired;
} cases[] = {
    {"nothing there and nothing needed", {0, 0, 0, 100, 1, 10000}, 0, 100, 0, 0},
    {"nothing there and something needed", {0, 0, 1, 100, 1, 10000}, 1, 200, 1, 2},
    {"whatever its number", {0, 0, 70, 100, 1, 10000}, 70, 200, 1, 2},
    {"the first step is no smaller than the smallest", {0, 0, 1, 100, 5, 10000}, 5, 200, 1, 5},
    {"nor larger than the largest", {0, 0, 1, 100, 1, 1}, 1, 200, 1, 1},
    {"all busy, none waits", {4, 4, 0, 100, 1, 10000}, 4, 100, 0, 4},
    {"two more are needed", {4, 4, 2, 100, 1, 10000}, 6, 150, 1, 6},
    {"but one at a time", {4, 4, 2, 100, 1, 1}, 5, 125, 1, 5},
    {"or three", {4, 4, 2, 100, 3, 10}, 7, 175, 1, 7},
    {"those on their way are enough", {6, 4, 2, 100, 1, 10000}, 6, 100, 0, 6},
    {"a target below 100 keeps some free", {8, 8, 0, 80, 1, 10000}, 8, 100, 1, 10},
    {"which is enough then", {10, 8, 0, 80, 1, 10000}, 8, 80, 0, 10},
    {"one is not needed", {4, 3, 0, 100, 1, 10000}, 3, 75, -1, 3},
    {"a group shrinks by less than half", {10, 0, 0, 100, 1, 10000}, 0, 0, -1, 6},
    {"so does an odd one", {9, 0, 0, 100, 1, 10000}, 0, 0, -1, 5},
    {"but by one at least", {2, 0, 0, 100, 1, 10000}, 0, 0, -1, 1},
    {"to nothing in the end", {1, 0, 0, 100, 1, 10000}, 0, 0, -1, 0},
    {"steps are for growing", {10, 9, 0, 100, 5, 5}, 9, 90, -1, 9},
    {"below its target, but no whole instance", {9, 8, 0, 90, 1, 10000}, 8, 800.0 / 9, -1, 9},
};

static void the_group_follows_its_reservation(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct reservation result = reservation_compute(&cases[i].ask);
        double off = result.percent - cases[i].percent;
        int sign = result.above ? 1 : result.below ? -1 : 0;
        if (result.needed != cases[i].needed || off > 0.001 || off < -0.001 ||
            sign != cases[i].sign || result.desired != cases[i].desired) {
            fail_msg("%s: needed %lld, %g %%, sign %d, desired %lld; wanted %lld, %g %%, %d, %lld",
                     cases[i].name, (long long)result.needed, result.percent, sign,
                     (long long)result.desired, (long long)cases[i].needed, cases[i].percent,
                     cases[i].sign, (long long)cases[i].desired);
        }
    }
}

// From any state, with nothing that changes but the group itself, it comes to rest at its target.
static void every_group_comes_to_rest(void **state)
{
    (void)state;
    for (int64_t size = 0; size <= 40; size++) {
        for (int64_t busy = 0; busy <= size; busy += 3) {
            for (int64_t target = 50; target <= 100; target += 10) {
                struct reservation_ask ask = {size, busy, 0, target, 1, 7};
                struct reservation result = reservation_compute(&ask);
                for (int turn = 0; turn < 100 && result.desired != ask.size; turn++) {
                    assert_true(result.desired >= busy);
                    ask.size = result.desired;
                    result = reservation_compute(&ask);
                }
                if (result.desired != ask.size) {
                    fail_msg("size %lld, busy %lld, target %lld: no rest", (long long)size,
                             (long long)busy, (long long)target);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_needs_instances),
        cmocka_unit_test(the_group_follows_its_reservation),
        cmocka_unit_test(every_group_comes_to_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
