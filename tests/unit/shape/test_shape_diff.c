#include "api/ecs.h"
#include "api/kinds.h"
#include "base/text.h"
#include "fixture.h"
#include "shape/api.h"
#include "shape/json.h"
#include "test.h"

static void *decode(const struct shape_type *type, const char *body, struct arena *arena)
{
    struct shape_error error = {0};
    void *value = arena_alloc(arena, type->size_bytes);
    assert_int_equal(json_decode(type, text_of(body), arena, value, &error), 0);
    return value;
}

// One line per difference: `path: before -> after`.
static void list_changes(const struct shape_changes *changes, struct buf *out)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct shape_change *change = &changes->items[i];
        buf_text(out, change->path);
        buf_string(out, ": ");
        buf_text(out, change->before.data == NULL ? TEXT("-") : change->before);
        buf_string(out, " -> ");
        buf_text(out, change->after.data == NULL ? TEXT("-") : change->after);
        buf_byte(out, '\n');
    }
}

static void shape_diff_finds(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *before;
        const char *after;
        const char *want;
    } cases[] = {
        {"nothing", "{\"small\":1,\"texts\":[\"a\"]}", "{\"small\":1,\"texts\":[\"a\"]}", ""},
        {"a changed value", "{\"small\":1}", "{\"small\":2}", "small: 1 -> 2\n"},
        {"a new value", "{}", "{\"text\":\"a\"}", "text: - -> \"a\"\n"},
        {"a value that is gone", "{\"flag\":false}", "{}", "flag: false -> -\n"},
        {"members in order of numbers", "{}", "{\"text\":\"a\",\"small\":1}",
         "small: - -> 1\ntext: - -> \"a\"\n"},
        {"inside a struct", "{\"leaf\":{\"size\":1,\"name\":\"a\"}}", "{\"leaf\":{\"size\":2}}",
         "leaf.name: \"a\" -> -\nleaf.size: 1 -> 2\n"},
        {"a whole struct", "{}", "{\"leaf\":{\"size\":2}}", "leaf: - -> {\"size\":2}\n"},
        {"a list by position", "{\"texts\":[\"a\",\"b\"]}", "{\"texts\":[\"a\",\"c\",\"d\"]}",
         "texts[1]: \"b\" -> \"c\"\ntexts[2]: - -> \"d\"\n"},
        {"a list that becomes empty", "{\"texts\":[\"a\"]}", "{\"texts\":[]}",
         "texts[0]: \"a\" -> -\n"},
        {"an empty list that goes", "{\"texts\":[]}", "{}", "texts: [] -> -\n"},
        {"structs by name", "{\"leaves\":[{\"name\":\"a\",\"size\":1},{\"name\":\"b\"}]}",
         "{\"leaves\":[{\"name\":\"c\"},{\"name\":\"a\",\"size\":2}]}",
         "leaves[a].size: 1 -> 2\nleaves[b]: {\"name\":\"b\"} -> -\n"
         "leaves[c]: - -> {\"name\":\"c\"}\n"},
        {"named structs that change places", "{\"leaves\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
         "{\"leaves\":[{\"name\":\"b\"},{\"name\":\"a\"}]}",
         "leaves: [{\"name\":\"a\"},{\"name\":\"b\"}] -> [{\"name\":\"b\"},{\"name\":\"a\"}]\n"},
        {"equal names fall back to position",
         "{\"leaves\":[{\"name\":\"a\",\"size\":1},{\"name\":\"a\",\"size\":2}]}",
         "{\"leaves\":[{\"name\":\"a\",\"size\":1},{\"name\":\"a\",\"size\":3}]}",
         "leaves[1].size: 2 -> 3\n"},
        {"missing names fall back to position", "{\"leaves\":[{\"size\":1}]}",
         "{\"leaves\":[{\"size\":2}]}", "leaves[0].size: 1 -> 2\n"},
        {"maps by key, in any order", "{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}",
         "{\"labels\":{\"c\":\"3\",\"b\":\"2\",\"a\":\"0\"}}",
         "labels[a]: \"1\" -> \"0\"\nlabels[c]: - -> \"3\"\n"},
        {"maps of structs", "{\"byName\":{\"a\":{\"size\":1}}}",
         "{\"byName\":{\"a\":{\"size\":2}}}", "byName[a].size: 1 -> 2\n"},
        {"lists in lists", "{\"grid\":[[\"a\"],[\"b\"]]}", "{\"grid\":[[\"a\"],[\"c\"]]}",
         "grid[1][0]: \"b\" -> \"c\"\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf found = {0};
        const struct shape_type *type = &kinds_everything_shape;
        struct shape_changes changes = shape_diff(type, decode(type, cases[i].before, &arena),
                                                  decode(type, cases[i].after, &arena), &arena);
        list_changes(&changes, &found);
        assert_string_equal(buf_view(&found).data, cases[i].want);
    }
}

// A difference tells that a secret changed, never what it was.
static void shape_diff_masks_secrets(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf found = {0};
    const struct shape_type *type = &kinds_rules_shape;
    struct shape_changes changes = shape_diff(
        type,
        decode(type, "{\"secret\":{\"password\":\"old\",\"environment\":[{\"size\":1}]}}", &arena),
        decode(type, "{\"secret\":{\"password\":\"new\"}}", &arena), &arena);
    list_changes(&changes, &found);
    assert_string_equal(found.data, "secret.password: \"***\" -> \"***\"\n"
                                    "secret.environment: \"***\" -> -\n");
    changes = shape_diff(type, decode(type, "{}", &arena),
                         decode(type, "{\"secret\":{\"password\":\"new\"}}", &arena), &arena);
    buf_reset(&found);
    list_changes(&changes, &found);
    assert_string_equal(found.data, "secret: - -> {\"password\":\"***\"}\n");
}

// No value differs from its clone; every value differs from none at each of its members.
static void shape_diff_agrees_with_shape_equal(void **state)
{
    (void)state;
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        const struct shape_type *type = ecs_service.operations[i].output;
        const void *value = fixture_value(type, &arena);
        const void *copy = shape_copy(type, value, &arena);
        const void *none = arena_alloc(&arena, type->size_bytes);
        assert_int_equal(shape_diff(type, value, copy, &arena).count, 0);
        assert_int_equal(shape_diff(type, none, value, &arena).count, type->member_count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_diff_finds),
        cmocka_unit_test(shape_diff_masks_secrets),
        cmocka_unit_test(shape_diff_agrees_with_shape_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
