#include "api/ecs.h"
#include "api/kinds.h"
#include "base/text.h"
#include "fixture.h"
#include "shape/api.h"
#include "test.h"

#include <string.h>

// shape_find() searches by name, so every member of every shape must be found by its own.
static void shape_find_finds_every_member(void **state)
{
    (void)state;
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        const struct shape_type *type = ecs_service.operations[i].input;
        for (size_t k = 0; k < type->member_count; k++) {
            const struct shape_member *member = &type->members[k];
            assert_ptr_equal(shape_find(type, text_of(member->name)), member);
            assert_ptr_equal(shape_find_number(type, member->number), member);
        }
    }
    const struct shape_type *type = &kinds_everything_shape;
    assert_null(shape_find(type, TEXT("smal")));
    assert_null(shape_find(type, TEXT("smalls ")));
    assert_null(shape_find(type, TEXT("")));
    assert_null(shape_find(&kinds_nothing_shape, TEXT("flag")));
    assert_string_equal(shape_find_number(type, 300)->name, "far");
    assert_null(shape_find_number(type, 0));
    assert_null(shape_find_number(type, 26));
    assert_null(shape_find_number(type, UINT32_MAX));
}

// Presence follows from the kind: a flag, a pointer, or a value that is not zero.
static void shape_present_tells_absence(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    const struct shape_type *type = &kinds_everything_shape;
    const struct kinds_everything *full = fixture_value(type, &arena);
    struct kinds_everything none = {0};
    for (size_t i = 0; i < type->member_count; i++) {
        assert_true(shape_present(&type->members[i], full));
        assert_false(shape_present(&type->members[i], &none));
    }
    struct kinds_everything zeros = {
        .has_flag = true,
        .has_small = true,
        .text = TEXT(""),
        .texts = {SHAPE_EMPTY, 0},
        .labels = {SHAPE_EMPTY, 0},
    };
    static const char *const present[] = {"flag", "small", "text", "texts", "labels"};
    for (size_t i = 0; i < ARRAY_LEN(present); i++) {
        assert_true(shape_present(shape_find(type, text_of(present[i])), &zeros));
    }
}

static void shape_enum_maps_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int32_t number;
    } cases[] = {{"RED", 1}, {"dark-green", 2}, {"BLUE", 5}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(shape_enum_name(&kinds_color_shape, cases[i].number), cases[i].name);
        assert_int_equal(shape_enum_number(&kinds_color_shape, text_of(cases[i].name)),
                         cases[i].number);
    }
    assert_null(shape_enum_name(&kinds_color_shape, 0));
    assert_null(shape_enum_name(&kinds_color_shape, 3));
    assert_null(shape_enum_name(&kinds_color_shape, -1));
    assert_int_equal(shape_enum_number(&kinds_color_shape, TEXT("red")), -1);
}

// A clone shares nothing with its original: it survives the original's end, and freeing its one
// block leaks nothing (the address sanitizer watches both).
static void shape_clone_owns_all_it_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        for (int side = 0; side < 2; side++) {
            const struct api_operation *operation = &ecs_service.operations[i];
            const struct shape_type *type = side == 0 ? operation->input : operation->output;
            struct arena arena = {0};
            AUTO(arena_deinit) struct arena other = {0};
            const void *value = fixture_value(type, &arena);
            size_t size_bytes = 0;
            void *clone = shape_clone(type, value, &size_bytes);
            const void *copy = shape_copy(type, value, &other);
            assert_true(size_bytes >= type->size_bytes);
            assert_true(shape_equal(type, value, clone));
            arena_deinit(&arena);
            assert_true(shape_equal(type, copy, clone));
            alloc_free(clone);
        }
    }
}

static void shape_clone_keeps_empty_and_absent_apart(void **state)
{
    (void)state;
    struct kinds_everything value = {
        .text = TEXT(""),
        .texts = {SHAPE_EMPTY, 0},
        .labels = {SHAPE_EMPTY, 0},
        .leaf = &(struct kinds_leaf){.has_size = false},
    };
    size_t size_bytes = 0;
    struct kinds_everything *clone = shape_clone(&kinds_everything_shape, &value, &size_bytes);
    assert_true(shape_equal(&kinds_everything_shape, &value, clone));
    assert_non_null(clone->text.data);
    assert_ptr_equal(clone->texts.items, SHAPE_EMPTY);
    assert_null(clone->bytes.data);
    assert_null(clone->leaves.items);
    assert_int_equal(size_bytes, sizeof(value) + sizeof(struct kinds_leaf));
    alloc_free(clone);
}

// shape_equal() must see a change of every single member.
static void shape_equal_sees_every_member(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    const struct shape_type *type = &kinds_everything_shape;
    const struct kinds_everything *full = fixture_value(type, &arena);
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        struct kinds_everything other = *full;
        struct kinds_everything *none = shape_copy(type, full, &arena);
        memset((char *)none + member->offset, 0,
               member->type->kind == SHAPE_STRUCT ? sizeof(void *) : member->type->size_bytes);
        if (member->has_offset != SHAPE_NO_OFFSET) {
            *((bool *)none + member->has_offset) = false;
        }
        assert_true(shape_equal(type, full, &other));
        assert_false(shape_equal(type, full, none));
        assert_false(shape_equal(type, none, full));
    }
}

static void shape_equal_compares_parts(void **state)
{
    (void)state;
    struct text_entry ab[] = {{TEXT("a"), TEXT("1")}, {TEXT("b"), TEXT("2")}};
    struct text_entry ba[] = {{TEXT("b"), TEXT("2")}, {TEXT("a"), TEXT("1")}};
    struct text_entry ac[] = {{TEXT("a"), TEXT("1")}, {TEXT("b"), TEXT("3")}};
    struct text forward[] = {TEXT("a"), TEXT("b")};
    struct text backward[] = {TEXT("b"), TEXT("a")};
    const struct {
        const char *name;
        struct kinds_everything a;
        struct kinds_everything b;
        bool want;
    } cases[] = {
        {"order of entries means nothing", {.labels = {ab, 2}}, {.labels = {ba, 2}}, true},
        {"values of entries count", {.labels = {ab, 2}}, {.labels = {ac, 2}}, false},
        {"sizes of maps count", {.labels = {ab, 2}}, {.labels = {ab, 1}}, false},
        {"order in lists counts", {.texts = {forward, 2}}, {.texts = {backward, 2}}, false},
        {"absent is not empty", {.texts = {SHAPE_EMPTY, 0}}, {0}, false},
        {"a value without its flag is absent", {.small = 7}, {.small = 8}, true},
        {"zero is not absent", {.has_small = true}, {0}, false},
        {"absent inner is not an empty inner",
         {.leaf = &(struct kinds_leaf){.has_size = false}},
         {0},
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(shape_equal(&kinds_everything_shape, &cases[i].a, &cases[i].b),
                         cases[i].want);
    }
}

static void api_find_knows_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        const struct api_operation *operation = &ecs_service.operations[i];
        assert_ptr_equal(api_find(&ecs_service, text_of(operation->name)), operation);
        assert_int_equal(operation->index, i);
    }
    assert_null(api_find(&ecs_service, TEXT("runTask")));
    assert_null(api_find(&ecs_service, TEXT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_find_finds_every_member),
        cmocka_unit_test(shape_present_tells_absence),
        cmocka_unit_test(shape_enum_maps_both_ways),
        cmocka_unit_test(shape_clone_owns_all_it_needs),
        cmocka_unit_test(shape_clone_keeps_empty_and_absent_apart),
        cmocka_unit_test(shape_equal_sees_every_member),
        cmocka_unit_test(shape_equal_compares_parts),
        cmocka_unit_test(api_find_knows_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
