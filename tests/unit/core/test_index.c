#include "base/alloc.h"
#include "base/text.h"
#include "core/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

// A small generator, so that every run of a test is the same.
static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static struct index_key text_key(const char *string)
{
    struct index_key key = {0};
    index_key_text(&key, text_of(string));
    return key;
}

// Keys must sort as their parts do, part by part, and no part may run into the next one.
static void keys_sort_by_parts(void **state)
{
    (void)state;
    static const struct {
        struct text left[2];
        struct text right[2];
    } cases[] = {
        {{TEXT("a"), TEXT("b")}, {TEXT("a"), TEXT("c")}},
        {{TEXT("a"), TEXT("z")}, {TEXT("ab"), TEXT("a")}},
        {{TEXT(""), TEXT("z")}, {TEXT("a"), TEXT("")}},
        {{TEXT("a"), TEXT("z")}, {TEXT("a\0"), TEXT("a")}},
        {{TEXT("a\0"), TEXT("z")}, {TEXT("a\1"), TEXT("a")}},
        {{TEXT("a\1"), TEXT("z")}, {TEXT("a\2"), TEXT("a")}},
        {{TEXT("a\0\xff"), TEXT("z")}, {TEXT("a\1\1"), TEXT("a")}},
        {{TEXT("x"), TEXT("\x7f")}, {TEXT("x"), TEXT("\xff")}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct index_key left = {0};
        struct index_key right = {0};
        for (size_t j = 0; j < 2; j++) {
            index_key_text(&left, cases[i].left[j]);
            index_key_text(&right, cases[i].right[j]);
        }
        int order = memcmp(left.bytes, right.bytes, MIN(left.size, right.size));
        assert_true(order < 0);
    }
    struct index_key small = {0};
    struct index_key large = {0};
    index_key_u64(&small, 255);
    index_key_u64(&large, 256);
    assert_int_equal(small.size, large.size);
    assert_true(memcmp(small.bytes, large.bytes, small.size) < 0);
}

static void walks_go_both_ways(void **state)
{
    (void)state;
    struct index *index = index_new();
    static const char *const names[] = {"web", "api", "webhook", "db", "we", "api"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct index_key key = text_key(names[i]);
        index_add(index, &key, (int64_t)(10 - i));
    }
    static const struct {
        const char *name;
        struct text prefix;
        bool begin; // of a text, not a whole one
        int64_t want[7];
    } cases[] = {
        {"everything", {0}, true, {5, 9, 7, 6, 10, 8}},
        {"one name, two records by their keys", TEXT("api"), false, {5, 9}},
        {"a whole name is no prefix of a longer one", TEXT("web"), false, {10}},
        {"a beginning is", TEXT("we"), true, {6, 10, 8}},
        {"nothing", TEXT("x"), true, {0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct index_key prefix = {0};
        if (cases[i].begin) {
            index_key_text_begin(&prefix, cases[i].prefix);
        } else {
            index_key_text(&prefix, cases[i].prefix);
        }
        struct index_cursor cursor;
        index_walk(index, &prefix, false, &cursor);
        size_t count = 0;
        for (; cases[i].want[count] != 0; count++) {
            assert_int_equal(index_step(&cursor), cases[i].want[count]);
        }
        assert_int_equal(index_step(&cursor), 0);
        assert_int_equal(index_step(&cursor), 0);
        index_walk(index, &prefix, true, &cursor);
        while (count > 0) {
            count--;
            assert_int_equal(index_step(&cursor), cases[i].want[count]);
        }
        assert_int_equal(index_step(&cursor), 0);
    }
    struct index_key api = text_key("api");
    assert_int_equal(index_get(index, &api), 5);
    struct index_key ap = text_key("ap");
    assert_int_equal(index_get(index, &ap), 0);
    index_free(index);
}

// A page's token names the entry it ended with, which may be gone when the next page is asked for.
static void walks_resume_behind_what_is_gone(void **state)
{
    (void)state;
    struct index *index = index_new();
    struct index_key prefix = {0};
    index_key_text(&prefix, TEXT("cluster"));
    for (int64_t i = 1; i <= 200; i++) {
        struct index_key key = prefix;
        index_key_u64(&key, (uint64_t)i);
        index_add(index, &key, i);
    }
    struct index_key at = prefix;
    index_key_u64(&at, 70);
    index_remove(index, &at, 70);
    struct index_cursor cursor;
    index_walk(index, &prefix, false, &cursor);
    index_walk_after(&cursor, &at, 70);
    assert_int_equal(index_step(&cursor), 71);
    index_walk(index, &prefix, true, &cursor);
    index_walk_after(&cursor, &at, 70);
    assert_int_equal(index_step(&cursor), 69);

    // Positions outside the prefix resume at its edge or end at once.
    struct index_key before = text_key("a");
    struct index_key behind = text_key("x");
    index_walk(index, &prefix, false, &cursor);
    index_walk_after(&cursor, &before, 5);
    assert_int_equal(index_step(&cursor), 1);
    index_walk_after(&cursor, &behind, 5);
    assert_int_equal(index_step(&cursor), 0);
    index_walk(index, &prefix, true, &cursor);
    index_walk_after(&cursor, &behind, 5);
    assert_int_equal(index_step(&cursor), 200);
    index_walk_after(&cursor, &before, 5);
    assert_int_equal(index_step(&cursor), 0);
    index_free(index);
}

// ---- against a plain sorted array ---------------------------------------------------------

#define MODEL_MAX 4000

struct model_entry {
    struct index_key key;
    int64_t record;
};

struct model {
    struct model_entry *entries[MODEL_MAX];
    size_t count;
};

static int compare(const struct model_entry *a, const struct index_key *key, int64_t record)
{
    int order = memcmp(a->key.bytes, key->bytes, MIN(a->key.size, key->size));
    if (order != 0) {
        return order;
    }
    if (a->key.size != key->size) {
        return a->key.size < key->size ? -1 : 1;
    }
    return a->record < record ? -1 : a->record > record;
}

static size_t model_find(const struct model *model, const struct index_key *key, int64_t record)
{
    size_t at = 0;
    while (at < model->count && compare(model->entries[at], key, record) < 0) {
        at++;
    }
    return at;
}

static void model_key(uint32_t *seed, uint32_t style, struct index_key *out_key)
{
    char name[500]; // twice as long when every byte is escaped
    size_t size = style == 2 ? draw(seed) % sizeof(name) : draw(seed) % 6;
    for (size_t i = 0; i < size; i++) {
        name[i] = (char)(draw(seed) % 3);
    }
    out_key->size = 0;
    index_key_text(out_key, (struct text){name, size});
    if (style == 1) {
        index_key_u64(out_key, draw(seed) % 50);
    }
}

static void compare_walk(const struct index *index, const struct model *model,
                         const struct index_key *prefix, bool descending)
{
    struct index_cursor cursor;
    index_walk(index, prefix, descending, &cursor);
    for (size_t i = 0; i < model->count; i++) {
        const struct model_entry *entry = model->entries[descending ? model->count - 1 - i : i];
        if (entry->key.size < prefix->size ||
            memcmp(entry->key.bytes, prefix->bytes, prefix->size) != 0) {
            continue;
        }
        assert_int_equal(index_step(&cursor), entry->record);
        assert_int_equal(cursor.at.size, entry->key.size);
        assert_memory_equal(cursor.at.bytes, entry->key.bytes, entry->key.size);
    }
    assert_int_equal(index_step(&cursor), 0);
}

static void run_model(uint32_t seed, uint32_t style)
{
    struct model *model = ALLOC(struct model);
    struct index *index = index_new();
    for (int i = 0; i < 6000; i++) {
        struct index_key key;
        model_key(&seed, style, &key);
        int64_t record = 1 + draw(&seed) % 20;
        size_t at = model_find(model, &key, record);
        bool there = at < model->count && compare(model->entries[at], &key, record) == 0;
        // Grows for the first half, shrinks in the second, so that leaves split and join.
        bool grow = draw(&seed) % 100 < (i < 3000 ? 80u : 20u);
        if (grow && !there && model->count < MODEL_MAX) {
            struct model_entry *entry = ALLOC(struct model_entry);
            *entry = (struct model_entry){key, record};
            memmove(&model->entries[at + 1], &model->entries[at],
                    (model->count - at) * sizeof(entry));
            model->entries[at] = entry;
            model->count++;
            index_add(index, &key, record);
        } else if (!grow && model->count > 0) {
            at = there ? at : draw(&seed) % model->count;
            struct model_entry *entry = model->entries[at];
            index_remove(index, &entry->key, entry->record);
            model->count--;
            memmove(&model->entries[at], &model->entries[at + 1],
                    (model->count - at) * sizeof(entry));
            alloc_free(entry);
        }
        if (i % 500 == 0) {
            assert_true(index_valid(index));
            struct index_key prefix = {.size = draw(&seed) % 3};
            memset(prefix.bytes, 1, sizeof(prefix.bytes));
            compare_walk(index, model, &prefix, false);
            compare_walk(index, model, &prefix, true);
        }
    }
    assert_int_equal(index_count(index), model->count);
    for (size_t i = 0; i < model->count; i++) {
        alloc_free(model->entries[i]);
    }
    alloc_free(model);
    index_free(index);
}

static void agrees_with_a_sorted_array(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 3; seed++) {
        for (uint32_t style = 0; style < 3; style++) {
            run_model(seed, style);
        }
    }
}

// A walk over an index that changes meanwhile must visit what is there all the time exactly once,
// in order, whatever comes and goes around it.
static void walks_survive_changes(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        uint32_t random = seed;
        bool descending = seed % 2 == 0;
        struct index *index = index_new();
        struct index_key none = {0};
        bool odd[1001] = {false};
        for (int64_t i = 2; i <= 1000; i += 2) {
            struct index_key key = {0};
            index_key_u64(&key, (uint64_t)i);
            index_add(index, &key, i);
        }
        struct index_cursor cursor;
        index_walk(index, &none, descending, &cursor);
        int64_t want = descending ? 1000 : 2;
        for (int64_t record = index_step(&cursor); record != 0; record = index_step(&cursor)) {
            if (record % 2 == 0) {
                assert_int_equal(record, want);
                want += descending ? -2 : 2;
            }
            int64_t change = draw(&random) % 500 * 2 + 1;
            struct index_key key = {0};
            index_key_u64(&key, (uint64_t)change);
            if (odd[change]) {
                index_remove(index, &key, change);
            } else {
                index_add(index, &key, change);
            }
            odd[change] = !odd[change];
        }
        assert_int_equal(want, descending ? 0 : 1002);
        index_free(index);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_sort_by_parts),
        cmocka_unit_test(walks_go_both_ways),
        cmocka_unit_test(walks_resume_behind_what_is_gone),
        cmocka_unit_test(agrees_with_a_sorted_array),
        cmocka_unit_test(walks_survive_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
