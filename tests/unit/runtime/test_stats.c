#include "base/buf.h"
#include "base/text.h"
#include "runtime/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void numbers_are_found_by_name(void **state)
{
    (void)state;
    struct text lines =
        TEXT("user 12\nsystem  7\nuser_more 9\nbroken x\n\nlast 18446744073709551615");
    assert_int_equal(stats_find(lines, "user"), 12);
    assert_int_equal(stats_find(lines, "system"), 7);
    assert_int_equal(stats_find(lines, "broken"), 0);
    assert_int_equal(stats_find(lines, "missing"), 0);
    assert_true(stats_find(lines, "last") == UINT64_MAX);
    assert_int_equal(stats_find((struct text){0}, "user"), 0);
}

static void memory_lines_are_bounded(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf lines = {0};
    struct container_sample sample = {0};
    for (int i = 0; i < STATS_MEMORY_MAX + 10; i++) {
        buf_format(&lines, "name%d %d\n", i, i);
    }
    stats_read_memory(buf_view(&lines), &arena, &sample);
    assert_int_equal(sample.memory_count, STATS_MEMORY_MAX);
    assert_true(text_is(sample.memory[3].name, "name3"));
    assert_int_equal(sample.memory[3].value, 3);
}

static void devices_are_read_in_both_layouts(void **state)
{
    (void)state;
    struct container_sample sample = {0};
    size_t count =
        stats_read_blkio(TEXT("8:0 Read 4096\n8:0 Write 512\n8:0 Sync 1\n8:0 Total 4608\n"
                              "254:1 Read 7\nTotal 4615\n"),
                         sample.bytes);
    assert_int_equal(count, 3);
    assert_int_equal(sample.bytes[1].value, 512);
    assert_true(text_is(sample.bytes[1].operation, "write"));
    assert_int_equal(sample.bytes[2].major, 254);
    assert_int_equal(sample.bytes[2].minor, 1);

    struct container_sample v2 = {0};
    stats_read_io(TEXT("8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n8:16 \n"), &v2);
    assert_int_equal(v2.bytes_count, 2);
    assert_int_equal(v2.operations_count, 2);
    assert_int_equal(v2.bytes[0].value, 4096);
    assert_int_equal(v2.operations[1].value, 1);
    assert_true(text_is(v2.operations[1].operation, "write"));
}

static void links_are_summed_without_loopback(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct container_sample sample = {0};
    stats_read_links(
        TEXT(
            "Inter-|   Receive                                                |  Transmit\n"
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
            "    lo:     900      9    0    0    0     0          0         0      900       9 0 0 "
            "0 0 0 0\n"
            "  eth0:    1234      5    1    2    0     0          0         0     4321       6 3 4 "
            "0 0 0 0\n"),
        &arena, &sample);
    assert_int_equal(sample.link_count, 1);
    assert_true(text_is(sample.links[0].name, "eth0"));
    assert_int_equal(sample.links[0].rx_bytes, 1234);
    assert_int_equal(sample.links[0].rx_dropped, 2);
    assert_int_equal(sample.links[0].tx_bytes, 4321);
    assert_int_equal(sample.links[0].tx_errors, 3);
    assert_int_equal(sample.links[0].tx_dropped, 4);
    assert_int_equal(sample.counters.rx_bytes, 1234);
    assert_int_equal(sample.counters.tx_bytes, 4321);
}

static void host_time_is_what_docker_adds(void **state)
{
    (void)state;
    struct container_sample sample = {0};
    stats_read_host(TEXT("cpu  1 2 3 4 5 6 7 1000 1000 1000\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n"
                         "cpu9 1"),
                    100, &sample);
    assert_int_equal(sample.counters.host_cpu_ns, 280000000);
    assert_int_equal(sample.counters.host_cpus, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_found_by_name),
        cmocka_unit_test(memory_lines_are_bounded),
        cmocka_unit_test(devices_are_read_in_both_layouts),
        cmocka_unit_test(links_are_summed_without_loopback),
        cmocka_unit_test(host_time_is_what_docker_adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
