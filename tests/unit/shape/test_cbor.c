#include "api/ecs.h"
#include "api/kinds.h"
#include "base/text.h"
#include "fixture.h"
#include "shape/api.h"
#include "shape/cbor.h"
#include "test.h"

#include <cbor.h>
#include <string.h>

#define HEX(literal) (literal), sizeof(literal) - 1

// libcbor, written by others, must find exactly one well-formed item.
static void check_well_formed(const struct buf *bytes)
{
    struct cbor_load_result result;
    cbor_item_t *item = cbor_load((cbor_data)bytes->data, bytes->size, &result);
    assert_non_null(item);
    assert_int_equal(result.read, bytes->size);
    cbor_decref(&item);
}

static void check_round_trip(const struct shape_type *type)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    AUTO(buf_deinit) struct buf again = {0};
    struct shape_error error = {0};
    uint32_t version = 0;
    const void *value = fixture_value(type, &arena);
    cbor_encode(type, value, 70000, NULL, &bytes);
    check_well_formed(&bytes);
    void *decoded = arena_alloc(&arena, type->size_bytes);
    assert_int_equal(cbor_decode(type, buf_view(&bytes), &arena, decoded, &version, NULL, &error),
                     0);
    assert_int_equal(version, 70000);
    assert_true(shape_equal(type, value, decoded));
    cbor_encode(type, decoded, 70000, NULL, &again);
    assert_int_equal(bytes.size, again.size);
    assert_memory_equal(bytes.data, again.data, bytes.size);
}

static void cbor_round_trips_every_shape(void **state)
{
    (void)state;
    check_round_trip(&kinds_everything_shape);
    check_round_trip(&kinds_nothing_shape);
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        check_round_trip(ecs_service.operations[i].input);
        check_round_trip(ecs_service.operations[i].output);
    }
}

// The bytes are the format of the store: they may never change.
static void cbor_encode_writes_canonical_bytes(void **state)
{
    (void)state;
    struct text texts[] = {TEXT("a"), TEXT("")};
    struct text_entry labels[] = {{TEXT("k"), TEXT("v")}};
    struct kinds_leaf leaves[] = {{.has_size = true, .size = -1}, {.has_size = false}};
    const struct {
        const char *name;
        struct kinds_everything value;
        uint32_t version;
        const char *want;
        size_t want_size;
    } cases[] = {
        {"nothing", {0}, 0, HEX("\xA1\x00\x00")},
        {"the version is first",
         {.has_flag = true, .flag = true},
         300,
         HEX("\xA2\x00\x19\x01\x2C\x01\xF5")},
        {"false", {.has_flag = true}, 1, HEX("\xA2\x00\x01\x01\xF4")},
        {"23 fits its head", {.has_small = true, .small = 23}, 1, HEX("\xA2\x00\x01\x02\x17")},
        {"24 takes a byte", {.has_small = true, .small = 24}, 1, HEX("\xA2\x00\x01\x02\x18\x18")},
        {"-1", {.has_small = true, .small = -1}, 1, HEX("\xA2\x00\x01\x02\x20")},
        {"65536 takes four",
         {.has_small = true, .small = 65536},
         1,
         HEX("\xA2\x00\x01\x02\x1A\x00\x01\x00\x00")},
        {"the smallest",
         {.has_big = true, .big = INT64_MIN},
         1,
         HEX("\xA2\x00\x01\x03\x3B\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF")},
        {"a double is always eight bytes",
         {.has_ratio = true, .ratio = 1.5},
         1,
         HEX("\xA2\x00\x01\x04\xFB\x3F\xF8\x00\x00\x00\x00\x00\x00")},
        {"times are milliseconds", {.at = 1000}, 1, HEX("\xA2\x00\x01\x05\x19\x03\xE8")},
        {"a text", {.text = TEXT("\xC3\xA9")}, 1, HEX("\xA2\x00\x01\x06\x62\xC3\xA9")},
        {"a broken text is mended",
         {.text = TEXT("a\xFF")},
         1,
         HEX("\xA2\x00\x01\x06\x64\x61\xEF\xBF\xBD")},
        {"bytes stay", {.bytes = TEXT("\xFF")}, 1, HEX("\xA2\x00\x01\x07\x41\xFF")},
        {"enums are numbers", {.color = KINDS_COLOR_BLUE}, 1, HEX("\xA2\x00\x01\x09\x05")},
        {"an empty struct",
         {.leaf = &(struct kinds_leaf){.has_size = false}},
         1,
         HEX("\xA2\x00\x01\x0A\xA0")},
        {"a list", {.texts = {texts, 2}}, 1, HEX("\xA2\x00\x01\x0B\x82\x61\x61\x60")},
        {"an empty list", {.texts = {SHAPE_EMPTY, 0}}, 1, HEX("\xA2\x00\x01\x0B\x80")},
        {"structs in a list",
         {.leaves = {leaves, 2}},
         1,
         HEX("\xA2\x00\x01\x14\x82\xA1\x02\x20\xA0")},
        {"a map", {.labels = {labels, 1}}, 1, HEX("\xA2\x00\x01\x15\xA1\x61\x6B\x61\x76")},
        {"a large number of a member", {.far = TEXT("")}, 1, HEX("\xA2\x00\x01\x19\x01\x2C\x60")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(buf_deinit) struct buf out = {0};
        cbor_encode(&kinds_everything_shape, &cases[i].value, cases[i].version, NULL, &out);
        assert_int_equal(out.size, cases[i].want_size);
        assert_memory_equal(out.data, cases[i].want, out.size);
    }
}

// A program that knows fewer members must not lose the others when it writes the record back.
static void cbor_keeps_unknown_members(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    AUTO(buf_deinit) struct buf again = {0};
    struct shape_error error = {0};
    const struct kinds_everything *full = fixture_value(&kinds_everything_shape, &arena);
    cbor_encode(&kinds_everything_shape, full, 3, NULL, &bytes);

    struct kinds_older older;
    struct cbor_unknown unknown;
    uint32_t version = 0;
    assert_int_equal(cbor_decode(&kinds_older_shape, buf_view(&bytes), &arena, &older, &version,
                                 &unknown, &error),
                     0);
    assert_int_equal(unknown.count, kinds_everything_shape.member_count - 3);
    assert_true(text_equal(older.text, full->text));
    cbor_encode(&kinds_older_shape, &older, version, &unknown, &again);
    assert_int_equal(bytes.size, again.size);
    assert_memory_equal(bytes.data, again.data, bytes.size);

    // Members in between may go and come.
    older.text = (struct text){0};
    buf_reset(&again);
    cbor_encode(&kinds_older_shape, &older, version, &unknown, &again);
    struct kinds_everything decoded;
    assert_int_equal(cbor_decode(&kinds_everything_shape, buf_view(&again), &arena, &decoded, NULL,
                                 NULL, &error),
                     0);
    struct kinds_everything want = *full;
    want.text = (struct text){0};
    assert_true(shape_equal(&kinds_everything_shape, &want, &decoded));

    // Whoever does not ask for them skips them.
    assert_int_equal(
        cbor_decode(&kinds_older_shape, buf_view(&bytes), &arena, &older, NULL, NULL, &error), 0);
}

static void cbor_reports_no_unknown_members(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct kinds_leaf leaf;
    struct cbor_unknown unknown = {.count = 7};
    uint32_t version = 7;
    assert_int_equal(
        cbor_decode(&kinds_leaf_shape, TEXT("\xA0"), &arena, &leaf, &version, &unknown, &error), 0);
    assert_int_equal(version, 0);
    assert_int_equal(unknown.count, 0);
    assert_null(unknown.pairs.data);
}

static void cbor_decode_reads_what_others_skip(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *bytes;
        size_t size;
    } cases[] = {
        {"an unknown list of maps", HEX("\xA2\x00\x01\x18\x63\x82\xA1\x01\x02\x60")},
        {"an unknown tag", HEX("\xA2\x00\x01\x18\x63\xC1\x00")},
        {"an unknown float", HEX("\xA2\x00\x01\x18\x63\xF9\x3C\x00")},
        {"an unknown null", HEX("\xA2\x00\x01\x18\x63\xF6")},
        {"an unknown key of 64 bits", HEX("\xA1\x1B\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00")},
        {"an unknown member of an inner struct", HEX("\xA2\x00\x01\x0A\xA1\x03\x82\x00\x40")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct shape_error error = {0};
        struct kinds_everything value;
        assert_int_equal(cbor_decode(&kinds_everything_shape,
                                     (struct text){cases[i].bytes, cases[i].size}, &arena, &value,
                                     NULL, NULL, &error),
                         0);
    }
}

static void cbor_decode_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *bytes;
        size_t size;
        const char *want_path;
    } cases[] = {
        {"nothing", HEX(""), ""},
        {"no map", HEX("\x80"), ""},
        {"something behind the record", HEX("\xA0\x00"), ""},
        {"a text as a key", HEX("\xA1\x61\x61\x00"), ""},
        {"a negative key", HEX("\xA1\x20\x00"), ""},
        {"the same key twice", HEX("\xA2\x02\x01\x02\x01"), ""},
        {"keys that fall", HEX("\xA2\x02\x01\x01\xF5"), ""},
        {"a version that is a text", HEX("\xA1\x00\x60"), ""},
        {"a version of 33 bits", HEX("\xA1\x00\x1B\x00\x00\x00\x01\x00\x00\x00\x00"), ""},
        {"a number not in its shortest form", HEX("\xA1\x02\x18\x17"), "small"},
        {"a length not in its shortest form", HEX("\xA1\x06\x78\x00"), "text"},
        {"a map of indefinite length", HEX("\xBF\xFF"), ""},
        {"a text of indefinite length", HEX("\xA1\x06\x7F\xFF"), "text"},
        {"a reserved head", HEX("\xA1\x02\x1C"), "small"},
        {"a tag", HEX("\xA1\x02\xC1\x00"), "small"},
        {"null", HEX("\xA1\x02\xF6"), "small"},
        {"33 bits for an int", HEX("\xA1\x02\x1A\x80\x00\x00\x00"), "small"},
        {"64 bits for a long", HEX("\xA1\x03\x1B\x80\x00\x00\x00\x00\x00\x00\x00"), "big"},
        {"an integer for a bool", HEX("\xA1\x01\x01"), "flag"},
        {"a half for a double", HEX("\xA1\x04\xF9\x3C\x00"), "ratio"},
        {"bytes for a text", HEX("\xA1\x06\x40"), "text"},
        {"a text for bytes", HEX("\xA1\x07\x60"), "bytes"},
        {"a text that is not UTF-8", HEX("\xA1\x06\x61\xFF"), "text"},
        {"a text over the end", HEX("\xA1\x06\x62\x61"), "text"},
        {"a text of 2^64-1 bytes", HEX("\xA1\x06\x7B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), "text"},
        {"an enum that is 0", HEX("\xA1\x09\x00"), "color"},
        {"a list of 2^64-1", HEX("\xA1\x0B\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), "texts"},
        {"a list longer than the bytes", HEX("\xA1\x0B\x82\x60"), "texts"},
        {"an element of the wrong type", HEX("\xA1\x0B\x82\x60\x00"), "texts[1]"},
        {"an entry of the wrong type", HEX("\xA1\x15\xA1\x61\x6B\x00"), "labels[k]"},
        {"a key twice in a map", HEX("\xA1\x15\xA2\x61\x6B\x60\x61\x6B\x60"), "labels"},
        {"an inner member", HEX("\xA1\x14\x82\xA0\xA1\x02\x60"), "leaves[1].size"},
        {"an unknown list of 2^64-1", HEX("\xA1\x18\x63\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), ""},
        {"an unknown map of 2^63", HEX("\xA1\x18\x63\xBB\x80\x00\x00\x00\x00\x00\x00\x00"), ""},
        {"an unknown break", HEX("\xA1\x18\x63\xFF"), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct text bytes = fixture_exact(cases[i].bytes, cases[i].size);
        struct shape_error error = {0};
        struct cbor_unknown unknown;
        struct kinds_everything value = {.small = 77};
        assert_int_equal(
            cbor_decode(&kinds_everything_shape, bytes, &arena, &value, NULL, &unknown, &error),
            ERR_CORRUPT);
        assert_string_equal(error.path, cases[i].want_path);
        assert_true(strlen(error.text) > 0);
        assert_int_equal(value.small, 77);
        alloc_free((void *)(uintptr_t)bytes.data);
    }
}

// Depth in unknown members costs no stack, and a long list of empty structs no great memory.
static void cbor_decode_bounds_its_work(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf deep = {0};
    struct shape_error error = {0};
    struct kinds_everything value;
    buf_add(&deep, HEX("\xA1\x18\x63"));
    for (size_t i = 0; i < 1000000; i++) {
        buf_byte(&deep, '\x81');
    }
    buf_byte(&deep, '\0');
    assert_int_equal(
        cbor_decode(&kinds_everything_shape, buf_view(&deep), &arena, &value, NULL, NULL, &error),
        0);

    AUTO(buf_deinit) struct buf wide = {0};
    struct ecs_register_task_definition_request request;
    size_t used = arena.total_bytes;
    buf_add(&wide, HEX("\xA1\x06\x9A\x00\x10\x00\x00"));
    for (size_t i = 0; i < 1 << 20; i++) {
        buf_byte(&wide, '\xA0');
    }
    assert_int_equal(cbor_decode(&ecs_register_task_definition_request_shape, buf_view(&wide),
                                 &arena, &request, NULL, NULL, &error),
                     ERR_CORRUPT);
    assert_string_equal(error.path, "volumes");
    assert_true(arena.total_bytes - used < 4 << 20);
}

static void cbor_decode_refuses_truncation(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf record = {0};
    cbor_encode(&kinds_everything_shape, fixture_value(&kinds_everything_shape, &arena), 1, NULL,
                &record);
    static const struct shape_type *const readers[] = {&kinds_everything_shape, &kinds_older_shape};
    for (size_t size = 0; size < record.size; size++) {
        for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
            AUTO(arena_deinit) struct arena scratch = {0};
            struct text bytes = fixture_exact(record.data, size);
            struct shape_error error = {0};
            struct cbor_unknown unknown;
            struct kinds_everything value;
            assert_int_equal(
                cbor_decode(readers[i], bytes, &scratch, &value, NULL, &unknown, &error),
                ERR_CORRUPT);
            alloc_free((void *)(uintptr_t)bytes.data);
        }
    }
}

// Texts are terminated and do not borrow from the record.
static void cbor_decode_copies_texts(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct kinds_everything value;
    struct text bytes = fixture_exact(HEX("\xA2\x06\x62\x61\x62\x0B\x82\x61\x63\x61\x64"));
    assert_int_equal(
        cbor_decode(&kinds_everything_shape, bytes, &arena, &value, NULL, NULL, &error), 0);
    alloc_free((void *)(uintptr_t)bytes.data);
    assert_string_equal(value.text.data, "ab");
    assert_string_equal(value.texts.items[0].data, "c");
    assert_string_equal(value.texts.items[1].data, "d");
}

// An enum's number from a newer release is no value that this one may act on.
static void cbor_decode_marks_unknown_enums(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct kinds_everything value;
    assert_int_equal(cbor_decode(&kinds_everything_shape, (struct text){HEX("\xA1\x09\x03")},
                                 &arena, &value, NULL, NULL, &error),
                     0);
    assert_int_equal(value.color, KINDS_COLOR_UNRECOGNIZED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cbor_round_trips_every_shape),
        cmocka_unit_test(cbor_encode_writes_canonical_bytes),
        cmocka_unit_test(cbor_keeps_unknown_members),
        cmocka_unit_test(cbor_reports_no_unknown_members),
        cmocka_unit_test(cbor_decode_reads_what_others_skip),
        cmocka_unit_test(cbor_decode_refuses),
        cmocka_unit_test(cbor_decode_bounds_its_work),
        cmocka_unit_test(cbor_decode_refuses_truncation),
        cmocka_unit_test(cbor_decode_copies_texts),
        cmocka_unit_test(cbor_decode_marks_unknown_enums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
