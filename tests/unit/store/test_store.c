#include "store/store.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// ---- a directory for each test ------------------------------------------------------------

struct place {
    char directory[64];
    char path[96];
};

static void place_init(struct place *place)
{
    snprintf(place->directory, sizeof(place->directory), "/tmp/berth-test-store-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/state.db", place->directory);
}

static void place_deinit(struct place *place)
{
    struct err err = {0};
    assert_int_equal(file_remove_tree(AT_FDCWD, place->directory, &err), 0);
}

AUTO_VALUE(struct place, place_deinit)

// ---- both backends ------------------------------------------------------------------------

/** How to make a backend, and to make it again with what was written. */
struct backend {
    const char *name;
    struct store *(*open)(const struct place *place);
    bool survives; // closing
};

static struct store *open_memory(const struct place *place)
{
    (void)place;
    return store_memory_new();
}

static struct store *open_sqlite(const struct place *place)
{
    struct store *store = NULL;
    struct err err = {0};
    if (store_sqlite_open(place->path, &store, &err) != 0) {
        print_error("%s\n", err.text);
        assert_null("opening failed");
    }
    return store;
}

static const struct backend backends[] = {
    {"memory", open_memory, false},
    {"sqlite", open_sqlite, true},
};

static int describe_row(void *context, int64_t key, uint16_t kind, struct text bytes,
                        struct err *err)
{
    (void)err;
    buf_format(context, "%" PRId64 "/%u=%.*s ", key, kind, TEXT_FMT(bytes));
    return 0;
}

// The whole content as text, the version first.
static void assert_content(struct store *store, const char *want)
{
    AUTO(buf_deinit) struct buf rows = {0};
    AUTO(buf_deinit) struct buf all = {0};
    uint64_t version = UINT64_MAX;
    struct err err = {0};
    assert_int_equal(store_load(store, describe_row, &rows, &version, &err), 0);
    buf_format(&all, "%" PRIu64 ": ", version);
    buf_text(&all, buf_view(&rows));
    assert_string_equal(all.data, want);
}

#define ROW(row_key, row_kind, literal)                                                            \
    {                                                                                              \
        .key = (row_key), .kind = (row_kind), .bytes = {(literal), sizeof(literal) - 1 }           \
    }
#define GONE(row_key)                                                                              \
    {                                                                                              \
        .key = (row_key)                                                                           \
    }

static void stores_conform(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t version;
        struct store_row rows[6];
        size_t row_count;
        int want_rc;
        const char *want;
    } steps[] = {
        {"rows come back in ascending key, in whatever order they were written",
         3,
         {ROW(70, 2, "c"), ROW(5, 1, "a"), ROW(INT64_MAX, 65535, "d"), ROW(6, 0, "b")},
         4,
         0,
         "3: 5/1=a 6/0=b 70/2=c 9223372036854775807/65535=d "},
        {"a row is replaced, its kind too, by a longer one",
         4,
         {ROW(6, 9, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")},
         1,
         0,
         "4: 5/1=a 6/9=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 70/2=c "
         "9223372036854775807/65535=d "},
        {"a row goes; one that is not there may go too",
         9,
         {GONE(5), GONE(1000), GONE(INT64_MAX)},
         3,
         0,
         "9: 6/9=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 70/2=c "},
        {"an empty row is none that goes", 10, {ROW(6, 9, "")}, 1, 0, "10: 6/9= 70/2=c "},
        {"of several rows with one key the last counts",
         11,
         {ROW(6, 9, "x"), GONE(6), ROW(6, 9, "y"), ROW(70, 2, "z"), GONE(70)},
         5,
         0,
         "11: 6/9=y "},
        {"no rows still move the version", 12, {{0}}, 0, 0, "12: 6/9=y "},
        {"a version that stands still is refused, and nothing is written",
         12,
         {ROW(8, 1, "no")},
         1,
         ERR_INVALID,
         "12: 6/9=y "},
        {"one that goes back too", 7, {ROW(8, 1, "no")}, 1, ERR_INVALID, "12: 6/9=y "},
        {"a key that cannot be is refused with all that is with it",
         13,
         {ROW(8, 1, "no"), ROW(0, 1, "no")},
         2,
         ERR_INVALID,
         "12: 6/9=y "},
    };
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        AUTO(place_deinit) struct place place;
        place_init(&place);
        AUTO(store_close) struct store *store = backends[i].open(&place);
        assert_content(store, "0: ");
        for (size_t j = 0; j < ARRAY_LEN(steps); j++) {
            print_message("%s: %s\n", backends[i].name, steps[j].name);
            struct err err = {0};
            assert_int_equal(
                store_write(store, steps[j].version, steps[j].rows, steps[j].row_count, &err),
                steps[j].want_rc);
            assert_content(store, steps[j].want);
            if (backends[i].survives) {
                store_close(store);
                store = backends[i].open(&place);
                assert_content(store, steps[j].want);
            }
        }
    }
}

static int refuse_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    (void)kind;
    (void)bytes;
    *(int64_t *)context = key;
    return key == 2 ? err_set(err, ERR_VERSION, "no") : 0;
}

// A visitor's error ends the load and comes back as it is.
static void loads_end_when_told(void **state)
{
    (void)state;
    static const struct store_row rows[] = {ROW(1, 1, "a"), ROW(2, 1, "b"), ROW(3, 1, "c")};
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        AUTO(place_deinit) struct place place;
        place_init(&place);
        AUTO(store_close) struct store *store = backends[i].open(&place);
        struct err err = {0};
        assert_int_equal(store_write(store, 1, rows, 3, &err), 0);
        int64_t last = 0;
        uint64_t version = 77;
        assert_int_equal(store_load(store, refuse_row, &last, &version, &err), ERR_VERSION);
        assert_int_equal(last, 2);
        assert_int_equal(version, 77);
        assert_content(store, "1: 1/1=a 2/1=b 3/1=c ");
    }
}

// ---- against a plain array ----------------------------------------------------------------

#define MODEL_KEYS 300

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

struct model {
    uint32_t size[MODEL_KEYS]; // of the bytes plus one; 0 for no row
    unsigned char fill[MODEL_KEYS];
    size_t seen;
    int64_t last;
};

static int compare_row(void *context, int64_t key, uint16_t kind, struct text bytes,
                       struct err *err)
{
    (void)err;
    struct model *model = context;
    assert_true(key > model->last);
    assert_true(key < MODEL_KEYS);
    model->last = key;
    model->seen++;
    assert_int_equal(bytes.size + 1, model->size[key]);
    assert_int_equal(kind, model->fill[key]);
    for (size_t i = 0; i < bytes.size; i++) {
        assert_int_equal((unsigned char)bytes.data[i], model->fill[key]);
    }
    return 0;
}

static void agrees_with_a_plain_array(void **state)
{
    (void)state;
    static struct model model;
    static char bytes[20000];
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        uint32_t random = 5;
        memset(&model, 0, sizeof(model));
        AUTO(place_deinit) struct place place;
        place_init(&place);
        AUTO(store_close) struct store *store = backends[i].open(&place);
        for (uint64_t version = 1; version <= 200; version++) {
            struct store_row rows[20] = {0};
            AUTO(arena_deinit) struct arena arena = {0};
            for (size_t j = 0; j < ARRAY_LEN(rows); j++) {
                int64_t key = 1 + draw(&random) % (MODEL_KEYS - 1);
                rows[j].key = key;
                model.size[key] = 0;
                if (draw(&random) % 3 > 0) {
                    model.fill[key] = (unsigned char)draw(&random);
                    model.size[key] = 1 + draw(&random) % (j == 0 ? sizeof(bytes) : 300);
                    memset(bytes, model.fill[key], sizeof(bytes));
                    rows[j].kind = model.fill[key];
                    rows[j].bytes = arena_text(&arena, (struct text){bytes, model.size[key] - 1});
                }
            }
            struct err err = {0};
            assert_int_equal(store_write(store, version, rows, ARRAY_LEN(rows), &err), 0);
            if (version % 50 == 0) {
                model.last = 0;
                model.seen = 0;
                uint64_t found = 0;
                assert_int_equal(store_load(store, compare_row, &model, &found, &err), 0);
                assert_true(found == version);
                size_t count = 0;
                for (size_t j = 0; j < MODEL_KEYS; j++) {
                    count += model.size[j] != 0;
                }
                assert_int_equal(model.seen, count);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_conform),
        cmocka_unit_test(loads_end_when_told),
        cmocka_unit_test(agrees_with_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
