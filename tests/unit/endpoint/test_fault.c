#include "base/err.h"
#include "endpoint/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOLE "'Port':80,'Protocol':'tcp','TrafficType':'egress'"
#define LATE "'DelayMilliseconds':5,'JitterMilliseconds':0,'Sources':['10.0.0.1']"
#define LOST "'LossPercent':5,'Sources':['10.0.0.1']"

// Bodies are written with single quotes.
static struct text body_of(const char *quoted, struct arena *arena)
{
    struct text copy = arena_text(arena, text_of(quoted));
    char *bytes = (char *)(uintptr_t)copy.data;
    for (size_t i = 0; i < copy.size; i++) {
        bytes[i] = bytes[i] == '\'' ? '"' : bytes[i];
    }
    return copy;
}

static void requests_are_refused_in_amazons_words(void **state)
{
    (void)state;
    static const struct {
        enum fault_kind kind;
        const char *body;
        const char *want;
    } cases[] = {
        {FAULT_BLACKHOLE, "", "required request body is missing"},
        {FAULT_BLACKHOLE, " \r\n\t", "required request body is missing"},
        {FAULT_BLACKHOLE, "null", "required parameter Port is missing"},
        {FAULT_BLACKHOLE, "{}", "required parameter Port is missing"},
        {FAULT_BLACKHOLE, "{'Port':null,'Protocol':'tcp','TrafficType':'egress'}",
         "required parameter Port is missing"},
        {FAULT_BLACKHOLE, "{'Port':80}", "required parameter Protocol is missing"},
        {FAULT_BLACKHOLE, "{'Port':80,'Protocol':''}", "required parameter Protocol is missing"},
        {FAULT_BLACKHOLE, "{'Port':80,'Protocol':'icmp'}",
         "required parameter TrafficType is missing"},
        {FAULT_BLACKHOLE, "{'Port':80,'Protocol':'icmp','TrafficType':'both'}",
         "invalid value icmp for parameter Protocol"},
        {FAULT_BLACKHOLE, "{'Port':80,'Protocol':'TCP','TrafficType':'egress'}",
         "invalid value TCP for parameter Protocol"},
        {FAULT_BLACKHOLE, "{'Port':80,'Protocol':'udp','TrafficType':'both'}",
         "invalid value both for parameter TrafficType"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['10.0.0.1','example.com']}",
         "invalid value example.com for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['10.0.0.0/33']}",
         "invalid value 10.0.0.0/33 for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['::/129']}",
         "invalid value ::/129 for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['10.0.0.0/']}",
         "invalid value 10.0.0.0/ for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['10.0.0.0/8/8']}",
         "invalid value 10.0.0.0/8/8 for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['10.0.0.01']}",
         "invalid value 10.0.0.01 for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['fe80::1%eth0']}",
         "invalid value fe80::1%eth0 for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['']}",
         "invalid value  for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':[null]}",
         "invalid value  for parameter SourcesToFilter"},
        {FAULT_BLACKHOLE, "{'Port':'80','Protocol':'tcp','TrafficType':'egress'}",
         "json: cannot unmarshal string into Go struct field NetworkBlackholePortRequest.Port of "
         "type uint16"},
        {FAULT_BLACKHOLE, "{'Port':65536}",
         "json: cannot unmarshal number 65536 into Go struct field "
         "NetworkBlackholePortRequest.Port of type uint16"},
        {FAULT_BLACKHOLE, "{'Port':-1}",
         "json: cannot unmarshal number -1 into Go struct field NetworkBlackholePortRequest.Port "
         "of type uint16"},
        {FAULT_BLACKHOLE, "{'Port':1.5}",
         "json: cannot unmarshal number 1.5 into Go struct field NetworkBlackholePortRequest.Port "
         "of type uint16"},
        // A wrong kind is told before anything that is missing.
        {FAULT_BLACKHOLE, "{'Protocol':6}",
         "json: cannot unmarshal number into Go struct field NetworkBlackholePortRequest.Protocol "
         "of type string"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':'10.0.0.1'}",
         "json: cannot unmarshal string into Go struct field "
         "NetworkBlackholePortRequest.SourcesToFilter of type []*string"},
        {FAULT_BLACKHOLE, "{" HOLE ",'SourcesToFilter':['10.0.0.1',{}]}",
         "json: cannot unmarshal object into Go struct field "
         "NetworkBlackholePortRequest.SourcesToFilter of type string"},
        {FAULT_BLACKHOLE, "[]",
         "json: cannot unmarshal array into Go value of type types.NetworkBlackholePortRequest"},
        {FAULT_LATENCY, "{}", "required parameter DelayMilliseconds is missing"},
        {FAULT_LATENCY, "{'DelayMilliseconds':1}",
         "required parameter JitterMilliseconds is missing"},
        {FAULT_LATENCY, "{'DelayMilliseconds':0,'JitterMilliseconds':0}",
         "required either DelayMilliseconds or JitterMilliseconds to be non-zero"},
        {FAULT_LATENCY, "{'DelayMilliseconds':1,'JitterMilliseconds':0}",
         "required parameter Sources is missing"},
        {FAULT_LATENCY, "{'DelayMilliseconds':1,'JitterMilliseconds':0,'Sources':[]}",
         "required parameter Sources is missing"},
        {FAULT_LATENCY, "{'DelayMilliseconds':1,'JitterMilliseconds':0,'Sources':['x']}",
         "invalid value x for parameter Sources"},
        {FAULT_LATENCY, "{" LATE ",'SourcesToFilter':['y']}",
         "invalid value y for parameter SourcesToFilter"},
        {FAULT_LATENCY, "{" LATE ",'FlowsPercent':0}",
         "invalid value 0 for parameter flowsPercent"},
        {FAULT_LATENCY, "{" LATE ",'FlowsPercent':-1}",
         "invalid value -1 for parameter flowsPercent"},
        {FAULT_LATENCY, "{" LATE ",'FlowsPercent':101}",
         "invalid value 101 for parameter flowsPercent"},
        {FAULT_LATENCY, "{" LATE ",'FlowsPercent':0.5}",
         "json: cannot unmarshal number 0.5 into Go struct field "
         "NetworkLatencyRequest.FlowsPercent of type int"},
        {FAULT_LATENCY, "{'DelayMilliseconds':true}",
         "json: cannot unmarshal bool into Go struct field "
         "NetworkLatencyRequest.DelayMilliseconds of type uint64"},
        {FAULT_LATENCY,
         "{'DelayMilliseconds':2147483648,'JitterMilliseconds':0,'Sources':['10.0.0.1']}",
         "invalid value 2147483648 for parameter DelayMilliseconds"},
        {FAULT_LOSS, "{}", "required parameter LossPercent is missing"},
        {FAULT_LOSS, "{'LossPercent':0}", "invalid value 0 for parameter LossPercent"},
        {FAULT_LOSS, "{'LossPercent':101}", "invalid value 101 for parameter LossPercent"},
        {FAULT_LOSS, "{'LossPercent':-1}",
         "json: cannot unmarshal number -1 into Go struct field "
         "NetworkPacketLossRequest.LossPercent of type uint64"},
        {FAULT_LOSS, "{'LossPercent':5}", "required parameter Sources is missing"},
        {FAULT_LOSS, "{" LOST ",'FlowsPercent':101}",
         "invalid value 101 for parameter flowsPercent"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct fault_request request;
        struct text refusal = TEXT("");
        print_message("%s\n", cases[i].body);
        assert_int_equal(fault_read(cases[i].kind, FAULT_START, body_of(cases[i].body, &arena),
                                    &arena, &request, &refusal),
                         ERR_INVALID);
        assert_string_equal(arena_text(&arena, refusal).data, cases[i].want);
    }
}

static void a_broken_body_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"{",
                                        "{'Port':80",
                                        "}",
                                        "'x'",
                                        "5",
                                        "{'Port':80,}",
                                        "\xff",
                                        "{'Port':80,'Port':80}",
                                        "{'Port':99999999999999999999}"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct fault_request request;
        struct text refusal = TEXT("");
        print_message("%s\n", cases[i]);
        assert_int_equal(fault_read(FAULT_BLACKHOLE, FAULT_STATUS, body_of(cases[i], &arena),
                                    &arena, &request, &refusal),
                         ERR_INVALID);
        assert_true(refusal.size > 0);
    }
}

static struct fault_request read_good(enum fault_kind kind, enum fault_operation operation,
                                      const char *body, struct arena *arena)
{
    struct fault_request request = {0};
    struct text refusal = TEXT("");
    int rc = fault_read(kind, operation, body_of(body, arena), arena, &request, &refusal);
    print_message("%s %.*s\n", body, TEXT_FMT(refusal));
    assert_int_equal(rc, 0);
    return request;
}

static void requests_are_read(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct fault_request hole = read_good(
        FAULT_BLACKHOLE, FAULT_START,
        "{'Port':65535,'Protocol':'udp','TrafficType':'ingress','Other':{},"
        "'SourcesToFilter':['10.1.2.3','10.1.2.3/8','2001:db8::1','::/0','::ffff:10.0.0.1',"
        "'::ffff:10.0.0.0/104']}",
        &arena);
    assert_true(hole.udp && !hole.egress);
    assert_int_equal(hole.port, 65535);
    static const struct fault_range want[] = {
        {false, 32, {10, 1, 2, 3}},
        {false, 8, {10, 1, 2, 3}},
        {true, 128, {0x20, 0x01, 0x0d, 0xb8, [15] = 1}},
        {true, 0, {0}},
        {false, 32, {10, 0, 0, 1}},
        {false, 8, {10, 0, 0, 0}},
    };
    assert_int_equal(hole.spared.count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(hole.spared.items[i].ipv6, want[i].ipv6);
        assert_int_equal(hole.spared.items[i].prefix, want[i].prefix);
        assert_memory_equal(hole.spared.items[i].address, want[i].address, want[i].ipv6 ? 16 : 4);
    }

    struct fault_request late =
        read_good(FAULT_LATENCY, FAULT_START,
                  "{'DelayMilliseconds':2147483647,'JitterMilliseconds':7,'Sources':['0.0.0.0/0',"
                  "'10.0.0.1'],'SourcesToFilter':null,'FlowsPercent':30}",
                  &arena);
    assert_int_equal(late.delay_ms, INT32_MAX);
    assert_int_equal(late.jitter_ms, 7);
    assert_int_equal(late.flows_percent, 30);
    assert_int_equal(late.sources.count, 2);
    assert_int_equal(late.spared.count, 0);

    struct fault_request lost = read_good(FAULT_LOSS, FAULT_START, "{" LOST "}", &arena);
    assert_int_equal(lost.loss_percent, 5);
    assert_int_equal(lost.flows_percent, 100);

    // Port 0 is one; only a blackhole tells which it is when it is ended or asked for.
    assert_int_equal(read_good(FAULT_BLACKHOLE, FAULT_STOP,
                               "{'Port':0,'Protocol':'tcp','TrafficType':'egress'}", &arena)
                         .port,
                     0);
    IGNORE(read_good(FAULT_LATENCY, FAULT_STOP, "", &arena).port, "nothing is read");
    IGNORE(read_good(FAULT_LOSS, FAULT_STATUS, "not JSON", &arena).port, "nothing is read");
}

static void each_path_answers_once_in_five_seconds(void **state)
{
    (void)state;
    struct fault_rate rate = {0};
    assert_true(fault_rate_take(&rate, FAULT_LOSS, FAULT_START, 0));
    assert_false(fault_rate_take(&rate, FAULT_LOSS, FAULT_START, 4999));
    // What was refused does not count, and other paths are other paths.
    assert_true(fault_rate_take(&rate, FAULT_LOSS, FAULT_START, 5000));
    assert_true(fault_rate_take(&rate, FAULT_LOSS, FAULT_STOP, 5000));
    assert_true(fault_rate_take(&rate, FAULT_LATENCY, FAULT_START, 5000));
    assert_false(fault_rate_take(&rate, FAULT_LOSS, FAULT_START, 9999));
}

static void requests_have_amazons_names(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    assert_string_equal(fault_name(FAULT_BLACKHOLE, FAULT_START, &arena).data,
                        "start network-blackhole-port");
    assert_string_equal(fault_name(FAULT_LATENCY, FAULT_STOP, &arena).data, "stop network-latency");
    assert_string_equal(fault_name(FAULT_LOSS, FAULT_STATUS, &arena).data,
                        "check status network-packet-loss");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_refused_in_amazons_words),
        cmocka_unit_test(a_broken_body_is_refused),
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(each_path_answers_once_in_five_seconds),
        cmocka_unit_test(requests_have_amazons_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
