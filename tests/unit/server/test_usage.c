#include "base/text.h"
#include "server/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state)
{
    *state = usage_new();
    return 0;
}

static int tear_down(void **state)
{
    usage_free(*state);
    return 0;
}

// Two containers; what the second took in memory was not measured.
static void put(struct usage *usage, const char *id, double cpu_sum, int64_t now_ms)
{
    struct session_stats_set cpu = {.sum = cpu_sum, .sample_count = 2};
    struct session_stats_set memory = {.sum = 30, .sample_count = 3};
    struct session_container_metric containers[] = {
        {.container_name = TEXT("web"), .cpu_stats_set = &cpu, .memory_stats_set = &memory},
        {.container_name = TEXT("side"), .cpu_stats_set = &cpu}};
    const struct session_task_metric metric = {.container_metrics = {containers, 2}};
    usage_put(usage, text_of(id), &metric, now_ms);
}

static void the_newest_is_kept_as_means(void **state)
{
    struct usage *usage = *state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_task_usage found = {0};
    assert_false(usage_get(usage, TEXT("a"), 1000, &arena, &found));
    put(usage, "a", 10, 1000);
    put(usage, "a", 50, 2000);
    assert_true(usage_get(usage, TEXT("a"), 3000, &arena, &found));
    assert_true(found.cpu_percent == 50);
    assert_true(found.memory_mib == 10);
    assert_int_equal(found.measured_at, 2000);
    assert_int_equal(found.containers.count, 2);
    assert_true(text_is(found.containers.items[1].name, "side"));
    assert_true(found.containers.items[1].cpu_percent == 25);
    assert_true(found.containers.items[1].memory_mib == 0);
}

static void what_is_old_is_not_shown_and_goes(void **state)
{
    struct usage *usage = *state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf text = {0};
    struct berth_task_usage found = {0};
    put(usage, "a", 10, 1000);
    assert_true(usage_get(usage, TEXT("a"), 1000 + USAGE_KEPT_MS, &arena, &found));
    assert_false(usage_get(usage, TEXT("a"), 1001 + USAGE_KEPT_MS, &arena, &found));
    put(usage, "b", 200, 2000 + USAGE_KEPT_MS);
    usage_write(usage, 2000 + USAGE_KEPT_MS, &text);
    assert_non_null(strstr(text.data, "\nberth_tasks_measured 1\n"));
    assert_non_null(strstr(text.data, "\nberth_tasks_cpu_cores 2\n"));
    assert_non_null(strstr(text.data, "\nberth_tasks_memory_bytes 10485760\n"));
}

static void no_more_are_kept_than_fit(void **state)
{
    struct usage *usage = *state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_task_usage found = {0};
    char id[20];
    for (int i = 0; i <= USAGE_TASKS_MAX; i++) {
        snprintf(id, sizeof(id), "%d", i);
        put(usage, id, 10, 1000);
    }
    assert_false(usage_get(usage, text_of(id), 1000, &arena, &found));
    put(usage, "7", 70, 2000); // those that are known go on
    assert_true(usage_get(usage, TEXT("7"), 2000, &arena, &found));
    assert_int_equal(found.measured_at, 2000);
    put(usage, id, 10, 2000 + USAGE_KEPT_MS); // the old ones go
    assert_true(usage_get(usage, text_of(id), 2000 + USAGE_KEPT_MS, &arena, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_is_kept_as_means, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_old_is_not_shown_and_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_more_are_kept_than_fit, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
