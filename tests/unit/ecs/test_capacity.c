#include "ecs/capacity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

// The settings of the seed's ServiceWithSpot: base 2 weight 1 FARGATE, weight 4 FARGATE_SPOT.
static const struct capacity_item service_with_spot[] = {{.weight = 1, .base = 2}, {.weight = 4}};

static const struct {
    size_t tasks;
    size_t fargate;
    size_t spot;
} split[] = {
    {1, 1, 0},   {2, 2, 0},   {3, 2, 1},   {4, 2, 2},   {5, 3, 2},   {6, 3, 3},   {7, 3, 4},
    {8, 3, 5},   {9, 3, 6},   {10, 4, 6},  {11, 4, 7},  {12, 4, 8},  {13, 4, 9},  {14, 4, 10},
    {15, 5, 10}, {16, 5, 11}, {17, 5, 12}, {18, 5, 13}, {19, 5, 14}, {20, 6, 14},
};

static void the_split_of_service_with_spot(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(split); i++) {
        size_t tasks[2];
        capacity_split(service_with_spot, 2, split[i].tasks, tasks);
        if (tasks[0] != split[i].fargate || tasks[1] != split[i].spot) {
            fail_msg("%zu tasks: %zu FARGATE and %zu FARGATE_SPOT, wanted %zu and %zu",
                     split[i].tasks, tasks[0], tasks[1], split[i].fargate, split[i].spot);
        }
    }
}

// Whatever there is already, what comes is divided so that the whole is as the table says.
static void the_way_to_a_count_does_not_matter(void **state)
{
    (void)state;
    for (size_t from = 0; from < ARRAY_LEN(split); from++) {
        for (size_t to = from + 1; to < ARRAY_LEN(split); to++) {
            struct capacity_item items[2];
            memcpy(items, service_with_spot, sizeof(items));
            items[0].tasks = (int64_t)split[from].fargate;
            items[1].tasks = (int64_t)split[from].spot;
            size_t shares[2];
            capacity_divide(items, 2, split[to].tasks - split[from].tasks, shares);
            assert_int_equal(split[from].fargate + shares[0], split[to].fargate);
            assert_int_equal(split[from].spot + shares[1], split[to].spot);
        }
    }
}

static void examples_of_ecs(void **state)
{
    (void)state;
    static const struct {
        struct capacity_item items[2];
        size_t tasks;
        size_t want[2];
    } cases[] = {
        {{{.weight = 1}, {.weight = 1}}, 4, {2, 2}},
        {{{.weight = 1}, {.weight = 4}}, 10, {2, 8}},
        {{{.weight = 1, .base = 2}, {.weight = 3}}, 10, {4, 6}},
        {{{.base = 3}, {.weight = 1}}, 5, {3, 2}},
        {{{.weight = 0}, {.weight = 1}}, 5, {0, 5}},
        {{{.weight = 1}, {.weight = 0, .base = 9}}, 5, {0, 5}},
        {{{.weight = 1000}, {.weight = 1, .base = 1}}, 100, {99, 1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t tasks[2];
        capacity_split(cases[i].items, 2, cases[i].tasks, tasks);
        if (memcmp(tasks, cases[i].want, sizeof(tasks)) != 0) {
            fail_msg("case %zu: %zu and %zu, wanted %zu and %zu", i, tasks[0], tasks[1],
                     cases[i].want[0], cases[i].want[1]);
        }
    }
}

// The weight of an only provider says nothing; several without any weight leave what is over.
static void strategies_without_weight(void **state)
{
    (void)state;
    const struct capacity_item only[] = {{.weight = 0}};
    size_t shares[2];
    capacity_split(only, 1, 7, shares);
    assert_int_equal(shares[0], 7);
    const struct capacity_item none[] = {{.base = 2}, {.weight = 0}};
    capacity_split(none, 2, 7, shares);
    assert_int_equal(shares[0], 2);
    assert_int_equal(shares[1], 0);
    assert_true(capacity_next(none, 0) == SIZE_MAX);
}

// Of 1 to 20 providers with any weights, none is a whole task away from its part.
static void no_provider_is_a_task_off(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 200; round++) {
        struct capacity_item items[CAPACITY_ITEMS_MAX] = {0};
        size_t count = 2 + (size_t)round % (CAPACITY_ITEMS_MAX - 1);
        int64_t weights = 0;
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1103515245u + 12345u;
            items[i].weight = (int32_t)(seed >> 16) % 1001;
            weights += items[i].weight;
        }
        items[0].weight += weights == 0 ? 1 : 0;
        weights += weights == 0 ? 1 : 0;
        size_t tasks = 1 + (seed >> 8) % 300;
        size_t shares[CAPACITY_ITEMS_MAX];
        capacity_split(items, count, tasks, shares);
        size_t sum = 0;
        for (size_t i = 0; i < count; i++) {
            sum += shares[i];
            int64_t beyond = (int64_t)shares[i] * weights - items[i].weight * (int64_t)tasks;
            assert_true(beyond < weights);
        }
        assert_int_equal(sum, tasks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_split_of_service_with_spot),
        cmocka_unit_test(the_way_to_a_count_does_not_matter),
        cmocka_unit_test(examples_of_ecs),
        cmocka_unit_test(strategies_without_weight),
        cmocka_unit_test(no_provider_is_a_task_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
