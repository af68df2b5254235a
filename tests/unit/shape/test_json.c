#include "api/ecs.h"
#include "api/kinds.h"
#include "base/limits.h"
#include "base/text.h"
#include "fixture.h"
#include "shape/api.h"
#include "shape/json.h"
#include "test.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>

static void check_round_trip(const struct shape_type *type)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf json = {0};
    AUTO(buf_deinit) struct buf again = {0};
    struct shape_error error = {0};
    const void *value = fixture_value(type, &arena);
    json_encode(type, value, &json);
    void *decoded = arena_alloc(&arena, type->size_bytes);
    assert_int_equal(json_decode(type, buf_view(&json), &arena, decoded, &error), 0);
    assert_true(shape_equal(type, value, decoded));
    json_encode(type, decoded, &again);
    assert_string_equal(json.data, again.data);
}

static void json_round_trips_every_shape(void **state)
{
    (void)state;
    check_round_trip(&kinds_everything_shape);
    check_round_trip(&kinds_nothing_shape);
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        check_round_trip(ecs_service.operations[i].input);
        check_round_trip(ecs_service.operations[i].output);
    }
}

// What json_decode() takes for one body, written back by json_encode().
static void json_decode_reads(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *body;
        const char *want;
    } cases[] = {
        {"an empty object", "{}", "{}"},
        {"space around everything", " \t\r\n{ \"small\" : 1 } \n", "{\"small\":1}"},
        {"unknown members are ignored", "{\"x\":{\"y\":[1,{}]},\"small\":1}", "{\"small\":1}"},
        {"names are case-sensitive", "{\"Small\":1}", "{}"},
        {"null is absence", "{\"small\":null,\"leaf\":null,\"texts\":null,\"raw\":null}", "{}"},
        {"zero and false are present", "{\"flag\":false,\"small\":0}",
         "{\"flag\":false,\"small\":0}"},
        {"empty is present", "{\"text\":\"\",\"leaf\":{},\"texts\":[],\"labels\":{}}",
         "{\"text\":\"\",\"leaf\":{},\"texts\":[],\"labels\":{}}"},
        {"the ends of 32 bits", "{\"smalls\":[-2147483648,2147483647]}",
         "{\"smalls\":[-2147483648,2147483647]}"},
        {"the ends of 64 bits", "{\"bigs\":[-9223372036854775808,9223372036854775807]}",
         "{\"bigs\":[-9223372036854775808,9223372036854775807]}"},
        {"a double from an integer", "{\"ratio\":3}", "{\"ratio\":3.0}"},
        {"named doubles", "{\"ratios\":[\"NaN\",\"Infinity\",\"-Infinity\"]}",
         "{\"ratios\":[\"NaN\",\"Infinity\",\"-Infinity\"]}"},
        {"whole seconds", "{\"at\":1700000000}", "{\"at\":1700000000}"},
        {"milliseconds", "{\"at\":1700000000.007}", "{\"at\":1700000000.007}"},
        {"an exponent, as Java prints", "{\"at\":1.700000000123E9}", "{\"at\":1700000000.123}"},
        {"finer than milliseconds is rounded", "{\"at\":1.0006}", "{\"at\":1.001}"},
        {"before 1970", "{\"at\":-1.5}", "{\"at\":-1.500}"},
        {"escapes", "{\"text\":\"\\u00e9\\ud83d\\ude80\\/\\b\\f\\u001f\"}",
         "{\"text\":\"\xC3\xA9\xF0\x9F\x9A\x80/\\u0008\\u000c\\u001f\"}"},
        {"base64", "{\"bytes\":\"AP+/\"}", "{\"bytes\":\"AP+/\"}"},
        {"base64 with padding", "{\"blobs\":[\"\",\"AA==\",\"AAE=\"]}",
         "{\"blobs\":[\"\",\"AA==\",\"AAE=\"]}"},
        {"a document keeps its order", "{\"raw\":{\"b\": [1.5, \"\\u00e9\"], \"a\": null}}",
         "{\"raw\":{\"b\":[1.5,\"\xC3\xA9\"],\"a\":null}}"},
        {"a plain document", "{\"raw\":\"x\"}", "{\"raw\":\"x\"}"},
        {"an enum", "{\"color\":\"dark-green\"}", "{\"color\":\"dark-green\"}"},
        {"an unknown enum is null to write", "{\"color\":\"pink\"}", "{\"color\":null}"},
        {"members in order of numbers", "{\"text\":\"t\",\"small\":1}",
         "{\"small\":1,\"text\":\"t\"}"},
        {"maps keep the sender's order", "{\"labels\":{\"b\":\"1\",\"a\":\"2\"}}",
         "{\"labels\":{\"b\":\"1\",\"a\":\"2\"}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf out = {0};
        struct shape_error error = {0};
        struct kinds_everything value;
        int rc =
            json_decode(&kinds_everything_shape, text_of(cases[i].body), &arena, &value, &error);
        assert_string_equal(error.text, "");
        assert_int_equal(rc, 0);
        json_encode(&kinds_everything_shape, &value, &out);
        assert_string_equal(out.data, cases[i].want);
    }
}

static void json_decode_marks_unknown_enums(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct kinds_everything value;
    assert_int_equal(
        json_decode(&kinds_everything_shape, TEXT("{\"color\":\"pink\"}"), &arena, &value, &error),
        0);
    assert_int_equal(value.color, KINDS_COLOR_UNRECOGNIZED);
}

// A wrong type names the member; what is no JSON names none. The output stays untouched.
static void json_decode_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *body;
        const char *want_path;
        const char *want_text; // NULL for the parser's own
    } cases[] = {
        {"a string for an integer", "{\"small\":\"1\"}", "small", "expected an integer"},
        {"a fraction for an integer", "{\"small\":1.0}", "small", "expected an integer"},
        {"an exponent for an integer", "{\"big\":1e3}", "big", "expected an integer"},
        {"a bool for an integer", "{\"small\":true}", "small", "expected an integer"},
        {"an integer for a bool", "{\"flag\":1}", "flag", "expected true or false"},
        {"33 bits", "{\"small\":2147483648}", "small", "expected an integer of 32 bits"},
        {"an integer for a string", "{\"text\":1}", "text", "expected a string"},
        {"a string for a number", "{\"ratio\":\"1\"}", "ratio", "expected a number"},
        {"a string for a time", "{\"at\":\"2026-01-01\"}", "at",
         "expected a time in seconds since 1970"},
        {"a time too far", "{\"at\":1e300}", "at", "expected a time before the year 10000"},
        {"an object for a list", "{\"texts\":{}}", "texts", "expected a list"},
        {"a list for a map", "{\"labels\":[]}", "labels", "expected a map"},
        {"a list for a struct", "{\"leaf\":[]}", "leaf", "expected an object"},
        {"a null element", "{\"texts\":[\"a\",null]}", "texts[1]", "must not be null"},
        {"a null entry", "{\"labels\":{\"k\":null}}", "labels[k]", "must not be null"},
        {"a member of an element", "{\"leaves\":[{},{\"size\":\"\"}]}", "leaves[1].size",
         "expected an integer"},
        {"a member of an entry", "{\"byName\":{\"web\":{\"size\":[]}}}", "byName[web].size",
         "expected an integer"},
        {"an element of an element", "{\"grid\":[[],[1]]}", "grid[1][0]", "expected a string"},
        {"base64 of the wrong length", "{\"bytes\":\"AAA\"}", "bytes", "expected base64"},
        {"base64 of wrong digits", "{\"bytes\":\"A-A=\"}", "bytes", "expected base64"},
        {"base64 padded inside", "{\"bytes\":\"AA==AAAA\"}", "bytes", "expected base64"},
        {"base64 of padding alone", "{\"bytes\":\"====\"}", "bytes", "expected base64"},
        {"base64 with leftover bits", "{\"bytes\":\"AB==\"}", "bytes", "expected base64"},
        {"nothing", "", "", NULL},
        {"a list", "[]", "", "expected an object"},
        {"a bare number", "1", "", NULL},
        {"null", "null", "", NULL},
        {"something behind the document", "{} {}", "", NULL},
        {"duplicate keys", "{\"small\":1,\"small\":2}", "", NULL},
        {"duplicate unknown keys", "{\"x\":1,\"x\":2}", "", NULL},
        {"duplicate keys by escape", "{\"a\":1,\"\\u0061\":2}", "", NULL},
        {"broken UTF-8", "{\"text\":\"\xFF\"}", "", NULL},
        {"overlong UTF-8", "{\"text\":\"\xC0\xAF\"}", "", NULL},
        {"a surrogate in UTF-8", "{\"text\":\"\xED\xA0\x80\"}", "", NULL},
        {"over U+10FFFF", "{\"text\":\"\xF4\x90\x80\x80\"}", "", NULL},
        {"a lone high surrogate", "{\"text\":\"\\ud800\"}", "", NULL},
        {"a lone low surrogate", "{\"text\":\"\\udc00x\"}", "", NULL},
        {"a zero character", "{\"text\":\"\\u0000\"}", "", NULL},
        {"a control character", "{\"text\":\"\n\"}", "", NULL},
        {"65 bits", "{\"big\":9223372036854775808}", "", NULL},
        {"65 bits in an unknown member", "{\"x\":-9223372036854775809}", "", NULL},
        {"a double out of range", "{\"ratio\":1e400}", "", NULL},
        {"NaN without quotes", "{\"ratio\":NaN}", "", NULL},
        {"a comment", "{/**/}", "", NULL},
        {"a trailing comma", "{\"small\":1,}", "", NULL},
        {"single quotes", "{'small':1}", "", NULL},
        {"a byte order mark", "\xEF\xBB\xBF{}", "", NULL},
        {"only brackets that close", "]]]]", "", NULL},
        {"a string that ends in its escape", "{\"text\":\"\\", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct text body = fixture_exact(cases[i].body, strlen(cases[i].body));
        struct shape_error error = {0};
        struct kinds_everything value = {.small = 77};
        int rc = json_decode(&kinds_everything_shape, body, &arena, &value, &error);
        assert_int_equal(rc, ERR_INVALID);
        assert_string_equal(error.path, cases[i].want_path);
        if (cases[i].want_text != NULL) {
            assert_string_equal(error.text, cases[i].want_text);
        }
        assert_true(strlen(error.text) > 0);
        assert_int_equal(value.small, 77);
        alloc_free((void *)(uintptr_t)body.data);
    }
}

static struct text nested(struct buf *out, size_t depth, bool objects, bool closed)
{
    buf_reset(out);
    buf_string(out, "{\"x\":");
    for (size_t i = 1; i < depth; i++) {
        buf_string(out, objects ? "{\"x\":" : "[");
    }
    buf_string(out, "0");
    for (size_t i = 1; closed && i < depth; i++) {
        buf_byte(out, objects ? '}' : ']');
    }
    buf_byte(out, '}');
    return buf_view(out);
}

// The parser recurses, so depth is refused before it sees the body.
static void json_decode_bounds_depth(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t depth;
        bool objects;
        bool closed;
        int want_rc;
    } cases[] = {
        {"lists at the limit", LIMIT_JSON_DEPTH, false, true, 0},
        {"objects at the limit", LIMIT_JSON_DEPTH, true, true, 0},
        {"lists above the limit", LIMIT_JSON_DEPTH + 1, false, true, ERR_INVALID},
        {"objects above the limit", LIMIT_JSON_DEPTH + 1, true, true, ERR_INVALID},
        {"10,000 lists", 10000, false, true, ERR_INVALID},
        {"10,000 objects", 10000, true, true, ERR_INVALID},
        {"a million open lists", 1000000, false, false, ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf body = {0};
        struct shape_error error = {0};
        struct kinds_everything value;
        nested(&body, cases[i].depth, cases[i].objects, cases[i].closed);
        assert_int_equal(
            json_decode(&kinds_everything_shape, buf_view(&body), &arena, &value, &error),
            cases[i].want_rc);
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct kinds_everything value;
    assert_int_equal(
        json_decode(&kinds_everything_shape,
                    TEXT("{\"text\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}"), &arena,
                    &value, &error),
        0);
}

// A body within its limit must not make the decoder take a hundred times as much memory.
static void json_decode_bounds_memory(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf body = {0};
    buf_string(&body, "{\"containerDefinitions\":[{}");
    while (body.size < LIMIT_BODY_BYTES - 16) {
        buf_string(&body, ",{}");
    }
    buf_string(&body, "]}");
    struct shape_error error = {0};
    struct ecs_register_task_definition_request value;
    assert_int_equal(json_decode(&ecs_register_task_definition_request_shape, buf_view(&body),
                                 &arena, &value, &error),
                     ERR_INVALID);
    assert_true(arena.total_bytes < 1 << 20);
}

// A body that was cut off anywhere is refused, and nothing behind its end is read.
static void json_decode_refuses_truncation(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&kinds_everything_shape, fixture_value(&kinds_everything_shape, &arena), &json);
    for (size_t size = 0; size < json.size; size++) {
        AUTO(arena_deinit) struct arena scratch = {0};
        struct text body = fixture_exact(json.data, size);
        struct shape_error error = {0};
        struct kinds_everything value;
        assert_int_equal(json_decode(&kinds_everything_shape, body, &scratch, &value, &error),
                         ERR_INVALID);
        alloc_free((void *)(uintptr_t)body.data);
    }
}

// Doubles take the shortest form that reads back as the same bits.
static void json_encode_writes_shortest_doubles(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *want;
    } cases[] = {
        {0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {100, "100.0"},
        {1e22, "1e+22"},
        {5e-324, "4.94065645841247e-324"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {-DBL_MIN, "-2.2250738585072014e-308"},
        {9007199254740993.0, "9007199254740992.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf out = {0};
        struct shape_error error = {0};
        struct kinds_everything value = {.has_ratio = true, .ratio = cases[i].value};
        struct kinds_everything decoded;
        json_encode(&kinds_everything_shape, &value, &out);
        AUTO(alloc_string) char *want = alloc_format("{\"ratio\":%s}", cases[i].want);
        assert_string_equal(out.data, want);
        assert_int_equal(
            json_decode(&kinds_everything_shape, buf_view(&out), &arena, &decoded, &error), 0);
        assert_memory_equal(&decoded.ratio, &value.ratio, sizeof(double));
    }
}

static void json_encode_writes_times(void **state)
{
    (void)state;
    static const struct {
        int64_t time_ms;
        const char *want;
    } cases[] = {
        {1, "0.001"},
        {-1, "-0.001"},
        {999, "0.999"},
        {1000, "1"},
        {-1000, "-1"},
        {-1001, "-1.001"},
        {1700000000120, "1700000000.120"},
        {INT64_MAX, "9223372036854775.807"},
        {INT64_MIN, "-9223372036854775.808"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf out = {0};
        AUTO(alloc_string) char *want = alloc_format("{\"at\":%s}", cases[i].want);
        json_encode(&kinds_everything_shape, &(struct kinds_everything){.at = cases[i].time_ms},
                    &out);
        assert_string_equal(out.data, want);
    }
}

// json_encode_iso() must write times as events have them, leap days and the ends of years included.
static void json_encode_iso_writes_times(void **state)
{
    (void)state;
    static const struct {
        int64_t time_ms;
        const char *want;
    } cases[] = {
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {951868800000, "2000-03-01T00:00:00.000Z"},
        {1709251199999, "2024-02-29T23:59:59.999Z"},
        {1735689599042, "2024-12-31T23:59:59.042Z"},
        {1735689600000, "2025-01-01T00:00:00.000Z"},
        {1767225600000, "2026-01-01T00:00:00.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-62167219200000, "0000-01-01T00:00:00.000Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf out = {0};
        AUTO(alloc_string) char *want = alloc_format("{\"at\":\"%s\"}", cases[i].want);
        json_encode_iso(&kinds_everything_shape, &(struct kinds_everything){.at = cases[i].time_ms},
                        &out);
        assert_string_equal(out.data, want);
    }
    // Every day of 400 years, as the C library has it.
    for (int64_t day = -30000; day < 116097; day++) {
        time_t seconds = (time_t)(day * 86400 + 3661);
        struct tm utc;
        gmtime_r(&seconds, &utc);
        char want[64];
        strftime(want, sizeof(want), "{\"at\":\"%Y-%m-%dT%H:%M:%S.000Z\"}", &utc);
        AUTO(buf_deinit) struct buf out = {0};
        json_encode_iso(&kinds_everything_shape,
                        &(struct kinds_everything){.at = (int64_t)seconds * 1000}, &out);
        assert_string_equal(out.data, want);
    }
}

// json_quote() must give valid JSON for any bytes, at every alignment of what needs care.
static void json_quote_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct text text;
        const char *want;
    } cases[] = {
        {"empty", {"", 0}, "\"\""},
        {"quote and backslash", {"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
        {"a zero byte", {"a\0b", 3}, "\"a\\u0000b\""},
        {"delete and slash go out plain", {"\x7F/", 2}, "\"\x7F/\""},
        {"broken bytes become U+FFFD", {"\xFFz\xC3", 3}, "\"\xEF\xBF\xBDz\xEF\xBF\xBD\""},
        {"a surrogate in UTF-8", {"\xED\xA0\x80", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"characters of 2, 3 and 4 bytes",
         {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x9A\x80", 9},
         "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x9A\x80\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(buf_deinit) struct buf out = {0};
        json_quote(cases[i].text, &out);
        assert_string_equal(out.data, cases[i].want);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 24; at++) {
            char text[24];
            memset(text, 'x', sizeof(text));
            text[at] = (char)byte;
            AUTO(buf_deinit) struct buf out = {0};
            json_quote((struct text){text, sizeof(text)}, &out);
            json_t *json = json_loadb(out.data, out.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            assert_non_null(json);
            if (byte < 0x80) {
                assert_int_equal(json_string_length(json), sizeof(text));
                assert_memory_equal(json_string_value(json), text, sizeof(text));
            }
            json_decref(json);
        }
    }
}

static void json_encode_masks_secrets(void **state)
{
    (void)state;
    struct kinds_leaf leaf = {.name = TEXT("TOKEN")};
    struct kinds_rules value = {
        .id = TEXT("id"),
        .secret = &(struct kinds_secret){.user = TEXT("u"),
                                         .password = TEXT("hunter2"),
                                         .environment = {&leaf, 1}},
    };
    AUTO(buf_deinit) struct buf out = {0};
    json_encode_masked(&kinds_rules_shape, &value, &out);
    assert_string_equal(out.data, "{\"id\":\"id\",\"secret\":{\"user\":\"u\",\"password\":\"***\","
                                  "\"environment\":\"***\"}}");
    buf_reset(&out);
    json_encode(&kinds_rules_shape, &value, &out);
    assert_non_null(strstr(out.data, "hunter2"));
}

// The writer keeps the buffer's promise: what does not fit is dropped and reported by `full`.
static void json_encode_keeps_the_limit(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    const void *value = fixture_value(&kinds_everything_shape, &arena);
    AUTO(buf_deinit) struct buf whole = {0};
    json_encode(&kinds_everything_shape, value, &whole);
    for (size_t limit = 1; limit <= whole.size; limit++) {
        AUTO(buf_deinit) struct buf out = {.limit_bytes = limit};
        json_encode(&kinds_everything_shape, value, &out);
        assert_true(out.size <= limit);
        assert_int_equal(out.full, limit < whole.size);
        assert_memory_equal(buf_view(&out).data, whole.data, out.size);
    }
}

static void json_quote_bytes_is_base64(void **state)
{
    (void)state;
    static const struct {
        struct text bytes;
        const char *want;
    } cases[] = {
        {{"", 0}, "\"\""},
        {{"\0", 1}, "\"AA==\""},
        {{"\xff\xfe", 2}, "\"//4=\""},
        {{"abc", 3}, "\"YWJj\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf out = {0};
        json_quote_bytes(cases[i].bytes, &out);
        assert_true(text_is(buf_view(&out), cases[i].want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_round_trips_every_shape),
        cmocka_unit_test(json_decode_reads),
        cmocka_unit_test(json_decode_marks_unknown_enums),
        cmocka_unit_test(json_decode_refuses),
        cmocka_unit_test(json_decode_bounds_depth),
        cmocka_unit_test(json_decode_bounds_memory),
        cmocka_unit_test(json_decode_refuses_truncation),
        cmocka_unit_test(json_encode_writes_shortest_doubles),
        cmocka_unit_test(json_encode_writes_times),
        cmocka_unit_test(json_encode_iso_writes_times),
        cmocka_unit_test(json_quote_escapes),
        cmocka_unit_test(json_quote_bytes_is_base64),
        cmocka_unit_test(json_encode_masks_secrets),
        cmocka_unit_test(json_encode_keeps_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
