#include "base/text.h"
#include "endpoint/stats.h"
#include "shape/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void rates_are_over_the_time_between(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct container_counters before;
        struct container_counters now;
        double want_cpu;
        double want_received;
    } cases[] = {
        {.name = "a quarter of a CPU, a kilobyte a second",
         .before = {.monotonic_ms = 1000, .cpu_ns = 500, .rx_bytes = 100},
         .now = {.monotonic_ms = 3000, .cpu_ns = 500000500, .rx_bytes = 2100},
         .want_cpu = 25,
         .want_received = 1000},
        {.name = "two CPUs", .now = {.monotonic_ms = 1000, .cpu_ns = 2000000000u}, .want_cpu = 200},
        {.name = "one that was started again counts anew",
         .before = {.monotonic_ms = 1000, .cpu_ns = 500, .rx_bytes = 100},
         .now = {.monotonic_ms = 3000, .cpu_ns = 400, .rx_bytes = 50}},
        {.name = "no time has passed",
         .before = {.monotonic_ms = 1000},
         .now = {.monotonic_ms = 1000, .cpu_ns = 400, .rx_bytes = 50}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        double received = -1;
        double sent = -1;
        stats_network_rate(&cases[i].now, &cases[i].before, &received, &sent);
        assert_true(received == cases[i].want_received);
        assert_true(sent == 0);
        assert_true(stats_cpu_percent(&cases[i].now, &cases[i].before) == cases[i].want_cpu);
    }
}

static void stats_read_as_dockers(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf json = {0};
    struct container_sample sample = {
        .counters = {.at_ms = 2000,
                     .monotonic_ms = 2000,
                     .cpu_ns = 7,
                     .host_cpu_ns = 70,
                     .host_cpus = 2,
                     .rx_bytes = 300},
        .memory_bytes = 4096,
        .memory_limit_bytes = 8192,
        .pids = 3,
        .memory = {{TEXT("cache"), 12}},
        .memory_count = 1,
        .bytes = {{8, 0, TEXT("read"), 512}},
        .bytes_count = 1,
        .links = {{.name = TEXT("eth0"), .rx_bytes = 300}},
        .link_count = 1,
    };
    const struct container_counters before = {.at_ms = 1000, .monotonic_ms = 1000, .cpu_ns = 4};
    struct endpoint_container_stats stats;
    stats_describe(&sample, &before, TEXT("id"), TEXT("name"), &arena, &stats);
    json_encode_iso(&endpoint_container_stats_shape, &stats, &json);
    static const char *const wanted[] = {
        "\"read\":\"1970-01-01T00:00:02.000Z\"",
        "\"preread\":\"1970-01-01T00:00:01.000Z\"",
        "\"pids_stats\":{\"current\":3}",
        "\"io_service_bytes_recursive\":[{\"major\":8,\"minor\":0,\"op\":\"read\",\"value\":512}]",
        "\"io_serviced_recursive\":[]",
        "\"cpu_stats\":{\"cpu_usage\":{\"total_usage\":7,",
        "\"system_cpu_usage\":70,\"online_cpus\":2,",
        "\"precpu_stats\":{\"cpu_usage\":{\"total_usage\":4,",
        "\"memory_stats\":{\"usage\":4096,\"stats\":{\"cache\":12},\"limit\":8192}",
        "\"networks\":{\"eth0\":{\"rx_bytes\":300,",
        "\"network_rate_stats\":{\"rx_bytes_per_sec\":300",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        print_message("%s\n", wanted[i]);
        assert_non_null(strstr(json.data, wanted[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_over_the_time_between),
        cmocka_unit_test(stats_read_as_dockers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
