#include "toy_service.h"

#include "base/limits.h"
#include "base/text.h"
#include "shape/cbor.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct core_caller caller;

// ---- driving an engine --------------------------------------------------------------------

struct engine {
    struct core *core;
    struct arena arena;
    int64_t now_ms;
    uint64_t serial;
    struct core_call call; // of the last request
    struct toy_item_response response;
};

static void engine_init(struct engine *engine)
{
    *engine = (struct engine){.core = core_new(toy_modules, 1), .now_ms = 1000};
}

static void engine_recover(struct engine *engine)
{
    const struct core_input input = toy_input(engine->now_ms, engine->serial++);
    core_recover(engine->core, &input);
    toy_settle(engine->core, engine->now_ms, engine->serial++);
}

static void engine_deinit(struct engine *engine)
{
    core_free(engine->core);
    arena_deinit(&engine->arena);
}

AUTO_VALUE(struct engine, engine_deinit)

static int ask(struct engine *engine, int operation, const void *request)
{
    arena_reset(&engine->arena);
    engine->call = (struct core_call){.arena = &engine->arena};
    engine->response = (struct toy_item_response){0};
    const struct core_input input = toy_input(engine->now_ms, engine->serial++);
    return core_request(engine->core, &input, &caller, &toy_operations[operation], &engine->call,
                        request, &engine->response);
}

static int64_t create(struct engine *engine, const char *name, int64_t size, int64_t expires_at)
{
    const struct toy_create_item_request request = {
        .name = text_of(name), .has_size = true, .size = size, .expires_at = expires_at};
    return ask(engine, TOY_OP_CREATE_ITEM, &request) == 0 ? engine->response.key : 0;
}

static int delete_key(struct engine *engine, int64_t key)
{
    const struct toy_item_request request = {.has_key = true, .key = key};
    return ask(engine, TOY_OP_DELETE_ITEM, &request);
}

static const struct toy_item *item_at(const struct engine *engine, int64_t key)
{
    return core_get(engine->core, &toy_kinds[TOY_ITEM], key);
}

static void assert_sound(struct engine *engine)
{
    AUTO(buf_deinit) struct buf violations = {0};
    core_check(engine->core, &violations);
    if (violations.size > 0) {
        print_error("%s", violations.data);
    }
    assert_int_equal(violations.size, 0);
}

// Write the next batch to a store, as the host does. @return whether there was one
static bool commit(struct engine *engine, struct store *store)
{
    struct core_batch *batch = core_batch_take(engine->core);
    if (batch == NULL) {
        return false;
    }
    AUTO(alloc_free) void *block = alloc_array(batch->row_count, sizeof(struct store_row));
    struct store_row *rows = block;
    for (size_t i = 0; i < batch->row_count; i++) {
        rows[i] = (struct store_row){batch->rows[i].key, batch->rows[i].kind, batch->rows[i].bytes};
    }
    struct err err = {0};
    if (batch->row_count > 0) {
        assert_int_equal(store_write(store, batch->version, rows, batch->row_count, &err), 0);
    }
    core_batch_free(batch);
    return true;
}

static int load_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    return core_load(context, key, kind, bytes, err);
}

static void engine_load(struct engine *engine, struct store *store)
{
    uint64_t version = 0;
    struct err err = {0};
    assert_int_equal(store_load(store, load_row, engine->core, &version, &err), 0);
    core_set_version(engine->core, version);
}

static void dump_record(void *context, const struct core_kind *kind, int64_t key,
                        const void *record)
{
    struct buf *out = context;
    buf_format(out, "%s %lld ", kind->name, (long long)key);
    cbor_encode(kind->type, record, kind->version, NULL, out);
    buf_byte(out, '\n');
}

static void assert_same_dump(struct core *left, struct core *right)
{
    AUTO(buf_deinit) struct buf first = {0};
    AUTO(buf_deinit) struct buf second = {0};
    core_dump(left, dump_record, &first);
    core_dump(right, dump_record, &second);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
}

// ---- records ------------------------------------------------------------------------------

static void records_come_change_and_go(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    const struct core_kind *kind = &toy_kinds[TOY_ITEM];
    int64_t one = create(&engine, "one", 10, 0);
    int64_t two = create(&engine, "two", 20, 0);
    int64_t three = create(&engine, "three", 30, 0);
    assert_true(one > 0);
    assert_true(one < two);
    assert_true(two < three);
    assert_int_equal(core_count(engine.core, kind), 3);
    assert_true(text_is(item_at(&engine, two)->name, "two"));
    assert_int_equal(item_at(&engine, two)->id.size, 36);
    assert_null(core_get(engine.core, &toy_kinds[TOY_TOTAL], two));
    assert_null(item_at(&engine, toy_total_key(engine.core)));
    assert_null(item_at(&engine, 0));
    assert_int_equal(delete_key(&engine, two), 0);
    assert_null(item_at(&engine, two));
    assert_int_equal(core_next(engine.core, kind, 0), one);
    assert_int_equal(core_next(engine.core, kind, one), three);
    assert_int_equal(core_next(engine.core, kind, three), 0);

    toy_settle(engine.core, engine.now_ms, 77);
    const struct toy_total *total =
        core_get(engine.core, &toy_kinds[TOY_TOTAL], toy_total_key(engine.core));
    assert_int_equal(total->items, 2);
    assert_int_equal(total->size, 40);
    assert_sound(&engine);
}

// What core_get returned must stay readable and the same until the next input, and the response
// may borrow from it.
static void records_stay_until_the_next_input(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    int64_t key = create(&engine, "old", 1, 0);
    const struct toy_item *before = item_at(&engine, key);
    const struct toy_change_item_request change = {
        .has_key = true, .key = key, .name = TEXT("new")};
    assert_int_equal(ask(&engine, TOY_OP_CHANGE_ITEM, &change), 0);
    assert_true(text_is(before->name, "old"));
    assert_true(text_is(item_at(&engine, key)->name, "new"));
    assert_int_equal(delete_key(&engine, key), 0);
    assert_true(text_is(engine.response.name, "new"));
}

static void refusals_change_nothing(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    create(&engine, "one", 10, 0);
    core_batch_free(core_batch_take(engine.core));
    uint64_t version = core_version(engine.core);
    assert_int_equal(create(&engine, "one", 10, 0), 0);
    assert_ptr_equal(engine.call.fault, &toy_error_toy_exception);
    assert_string_equal(engine.call.fault_text, "there is an item named one");
    assert_int_equal(core_version(engine.core), version);
    assert_null(core_batch_take(engine.core));
    const struct toy_item_request request = {.has_key = true, .key = 1};
    assert_int_equal(ask(&engine, TOY_OP_UNBUILT, &request), ERR_UNSUPPORTED);
    assert_false(core_handles(engine.core, &toy_operations[TOY_OP_UNBUILT]));
    assert_true(core_handles(engine.core, &toy_operations[TOY_OP_SHOW_ITEM]));
}

// What a rehearsal did must be seen by its own input only: neither records, keys, work and timers
// nor effects of it are left, and its response may still borrow from what went.
static void rehearsals_leave_nothing(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    int64_t first = create(&engine, "one", 10, 0);
    toy_settle(engine.core, engine.now_ms, engine.serial++);
    core_batch_free(core_batch_take(engine.core));
    uint64_t version = core_version(engine.core);
    int64_t due = core_next_due(engine.core);
    for (size_t round = 0; round < 3; round++) {
        const struct toy_create_item_request request = {.name = TEXT("two"),
                                                        .has_size = true,
                                                        .size = 5,
                                                        .expires_at = 5000,
                                                        .has_announce = true,
                                                        .announce = true};
        assert_int_equal(ask(&engine, TOY_OP_REHEARSE_ITEM, &request), 0);
        assert_int_equal(engine.response.key, first + 1);
        assert_true(text_is(engine.response.name, "two"));
        assert_null(item_at(&engine, first + 1));
        assert_int_equal(toy_find(engine.core, TEXT("two")), 0);
        assert_int_equal(core_version(engine.core), version);
        assert_int_equal(core_next_due(engine.core), due);
        assert_int_equal(core_pending_bytes(engine.core), 0);
        assert_null(core_batch_take(engine.core));
        assert_sound(&engine);
    }
    // A refusal within one, and the same for real.
    const struct toy_create_item_request again = {.name = TEXT("one")};
    assert_int_equal(ask(&engine, TOY_OP_REHEARSE_ITEM, &again), ERR_FAULT);
    assert_int_equal(create(&engine, "two", 5, 0), first + 1);
    assert_int_equal(item_at(&engine, first + 1)->size, 5);
}

// A handler that breaks the engine's rules is our mistake, and ends the process.
static void misbehaviour_ends_the_process(void **state)
{
    (void)state;
    for (int64_t rule = 0; rule <= 7; rule++) {
        pid_t child = fork();
        if (child == 0) {
            const struct rlimit none = {0};
            setrlimit(RLIMIT_CORE, &none);
            IGNORE(freopen("/dev/null", "w", stderr) == NULL, "only keeps the output short");
            struct engine engine;
            engine_init(&engine);
            engine_recover(&engine);
            const struct toy_item_request request = {.has_key = true, .key = rule};
            int rc = ask(&engine, TOY_OP_MISBEHAVE, &request);
            _exit(rc == 0 ? 0 : 1);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (rule == 0) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        } else {
            assert_true(WIFSIGNALED(status));
            assert_int_equal(WTERMSIG(status), SIGABRT);
        }
    }
}

// ---- batches ------------------------------------------------------------------------------

static void batches_hold_the_newest_once(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    int64_t one = create(&engine, "one", 10, 0);
    int64_t two = create(&engine, "two", 20, 0);
    core_batch_free(core_batch_take(engine.core));
    assert_null(core_batch_take(engine.core));

    const struct toy_change_item_request first = {.has_key = true, .key = two, .name = TEXT("2")};
    const struct toy_change_item_request second = {.has_key = true, .key = two, .name = TEXT("II")};
    int64_t three = create(&engine, "three", 30, 0);
    assert_int_equal(ask(&engine, TOY_OP_CHANGE_ITEM, &first), 0);
    assert_int_equal(delete_key(&engine, one), 0);
    assert_int_equal(ask(&engine, TOY_OP_CHANGE_ITEM, &second), 0);
    assert_true(core_pending_bytes(engine.core) > 0);
    struct core_batch *batch = core_batch_take(engine.core);
    assert_int_equal(core_pending_bytes(engine.core), 0);
    assert_int_equal(batch->version, core_version(engine.core));
    assert_int_equal(batch->row_count, 3);
    assert_int_equal(batch->rows[0].key, one);
    assert_null(batch->rows[0].bytes.data);
    assert_int_equal(batch->rows[1].key, two);
    assert_int_equal(batch->rows[2].key, three);
    assert_int_equal(batch->rows[1].kind, toy_kinds[TOY_ITEM].number);

    struct toy_item item = {0};
    uint32_t version = 0;
    struct shape_error error = {0};
    assert_int_equal(cbor_decode(&toy_item_shape, batch->rows[1].bytes, &engine.arena, &item,
                                 &version, NULL, &error),
                     0);
    assert_int_equal(version, 2);
    assert_true(text_is(item.name, "II"));
    core_batch_free(batch);

    // A record that came and went between two batches leaves a row that goes.
    int64_t four = create(&engine, "four", 1, 0);
    assert_int_equal(delete_key(&engine, four), 0);
    batch = core_batch_take(engine.core);
    assert_int_equal(batch->row_count, 1);
    assert_int_equal(batch->rows[0].key, four);
    assert_null(batch->rows[0].bytes.data);
    core_batch_free(batch);
    assert_sound(&engine);
}

// A batch that was begun holds the records as they were, whatever becomes of them before it is
// encoded: it is what a batch that is encoded at once would hold.
static void a_batch_may_be_encoded_later(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    core_batch_free(core_batch_take(engine.core));
    int64_t kept = create(&engine, "kept", 10, 0);
    int64_t changed = create(&engine, "before", 20, 0);
    int64_t gone = create(&engine, "gone", 30, 0);
    struct core_batch *batch = core_batch_begin(engine.core);
    assert_int_equal(batch->row_count, 3);
    assert_null(batch->rows);
    assert_null(core_batch_begin(engine.core));

    const struct toy_change_item_request change = {
        .has_key = true, .key = changed, .name = TEXT("after")};
    assert_int_equal(ask(&engine, TOY_OP_CHANGE_ITEM, &change), 0);
    assert_int_equal(delete_key(&engine, gone), 0);
    create(&engine, "later", 40, 0);
    struct core_batch *next = core_batch_begin(engine.core);
    core_batch_encode(batch);
    const struct {
        int64_t key;
        const char *name;
    } rows[] = {{kept, "kept"}, {changed, "before"}, {gone, "gone"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct toy_item item = {0};
        uint32_t version = 0;
        struct shape_error error = {0};
        assert_int_equal(batch->rows[i].key, rows[i].key);
        assert_int_equal(cbor_decode(&toy_item_shape, batch->rows[i].bytes, &engine.arena, &item,
                                     &version, NULL, &error),
                         0);
        assert_true(text_is(item.name, rows[i].name));
    }
    core_batch_free(batch);
    core_batch_encode(next);
    assert_int_equal(next->row_count, 3);
    assert_int_equal(next->rows[1].key, gone);
    assert_null(next->rows[1].bytes.data);
    core_batch_free(next);
    assert_sound(&engine);
}

static void effects_leave_with_their_batch(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    char name[] = "one";
    const struct toy_create_item_request request = {
        .name = text_of(name), .has_announce = true, .announce = true, .expires_at = 2000};
    assert_int_equal(ask(&engine, TOY_OP_CREATE_ITEM, &request), 0);
    memset(name, 'x', sizeof(name) - 1); // the effect has its own copy
    engine.now_ms = 2000;
    toy_settle(engine.core, engine.now_ms, 5);
    struct core_batch *batch = core_batch_take(engine.core);
    assert_int_equal(batch->effect_count, 2);
    assert_int_equal(batch->effects[0].kind, CORE_EFFECT_NODE);
    assert_true(text_is(batch->effects[0].target, "one"));
    assert_string_equal(batch->effects[0].type, "NoticeMessage");
    const struct toy_notice *notice = batch->effects[0].message;
    assert_true(text_is(notice->name, "one"));
    assert_int_equal(batch->effects[1].kind, CORE_EFFECT_EVENT);
    assert_null(batch->effects[1].message);
    core_batch_free(batch);
}

// ---- time and work ------------------------------------------------------------------------

static void time_never_goes_back(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    int64_t key = create(&engine, "one", 1, 5000);
    assert_int_equal(core_next_due(engine.core), 1000); // the total is queued
    toy_settle(engine.core, 1000, 1);
    assert_int_equal(core_next_due(engine.core), 5000);
    toy_settle(engine.core, 4999, 1);
    assert_non_null(item_at(&engine, key));
    toy_settle(engine.core, 5000, 1);
    assert_null(item_at(&engine, key));
    engine.now_ms = 10;
    assert_true(create(&engine, "two", 1, 0) > 0);
    assert_int_equal(engine.call.now_ms, 5000);
    toy_settle(engine.core, 10, 1);
    assert_int_equal(core_next_due(engine.core), -1);
}

static void work_is_done_once_and_within_budget(void **state)
{
    (void)state;
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    uint64_t before = toy_work_count(engine.core);
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof(name), "item %d", i);
        create(&engine, name, 1, 3000);
    }
    toy_settle(engine.core, 1000, 1);
    assert_int_equal(toy_work_count(engine.core), before + 1);
    const struct core_input input = toy_input(3000, 1);
    assert_true(core_advance(engine.core, &input, 4));
    assert_int_equal(core_count(engine.core, &toy_kinds[TOY_ITEM]), 6);
    assert_true(core_advance(engine.core, &input, 6));
    assert_int_equal(core_count(engine.core, &toy_kinds[TOY_ITEM]), 0);
    assert_int_equal(core_next_due(engine.core), 3000);
    assert_false(core_advance(engine.core, &input, 1));
    assert_int_equal(toy_work_count(engine.core), before + 2);
}

// ---- determinism and recovery -------------------------------------------------------------

// Keys must never come twice, also when the newest rows are gone when the store is read again.
static void keys_are_never_reused(void **state)
{
    (void)state;
    AUTO(store_close) struct store *store = store_memory_new();
    int64_t newest = 0;
    for (int round = 0; round < 5; round++) {
        AUTO(engine_deinit) struct engine engine;
        engine_init(&engine);
        engine_load(&engine, store);
        engine_recover(&engine);
        for (int i = 0; i < 3000; i++) {
            char name[16];
            snprintf(name, sizeof(name), "item %d", i);
            int64_t key = create(&engine, name, 1, 0);
            assert_true(key > newest);
            newest = key;
            assert_int_equal(delete_key(&engine, key), 0);
            if (i % 100 == 0) {
                commit(&engine, store);
            }
        }
        commit(&engine, store);
        assert_sound(&engine);
    }
}

// A newer program's members must survive that this one changes the record, also over restarts.
static void unknown_members_are_kept(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    const struct toy_newer_item newer = {
        .name = TEXT("one"),
        .id = TEXT("id"),
        .colour = TEXT("green"),
        .has_weight = true,
        .weight = 2.5,
    };
    cbor_encode(&toy_newer_item_shape, &newer, 2, NULL, &bytes);
    struct engine engine;
    engine_init(&engine);
    struct err err = {0};
    assert_int_equal(core_load(engine.core, 50, 7, buf_view(&bytes), &err), 0);
    engine_recover(&engine);
    AUTO(store_close) struct store *store = store_memory_new();
    const struct toy_change_item_request change = {.has_key = true, .key = 50, .name = TEXT("two")};
    assert_int_equal(ask(&engine, TOY_OP_CHANGE_ITEM, &change), 0);
    assert_true(commit(&engine, store));
    assert_sound(&engine);
    engine_deinit(&engine);

    engine_init(&engine);
    engine_load(&engine, store);
    engine_recover(&engine);
    const struct toy_change_item_request again = {.has_key = true, .key = 50, .name = TEXT("six")};
    assert_int_equal(ask(&engine, TOY_OP_CHANGE_ITEM, &again), 0);
    struct core_batch *batch = core_batch_take(engine.core);
    const struct core_row *row = &batch->rows[batch->row_count - 1];
    assert_int_equal(row->key, 50);
    struct toy_newer_item found = {0};
    uint32_t version = 0;
    struct shape_error error = {0};
    assert_int_equal(
        cbor_decode(&toy_newer_item_shape, row->bytes, &arena, &found, &version, NULL, &error), 0);
    assert_true(text_is(found.name, "six"));
    assert_true(text_is(found.colour, "green"));
    assert_true(found.weight == 2.5);
    core_batch_free(batch);
    assert_int_equal(delete_key(&engine, 50), 0);
    assert_sound(&engine);
    engine_deinit(&engine);
}

// A record that no transaction could hold is told by core_check, once inputs are measured.
static void inputs_are_measured(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf text = {0};
    for (size_t i = 0; i <= LIMIT_RECORD_BYTES; i++) {
        buf_byte(&text, 'n');
    }
    static const char *const wants[] = {"", "core: a record has "};
    for (size_t size = 0; size < ARRAY_LEN(wants); size++) {
        AUTO(engine_deinit) struct engine engine;
        engine_init(&engine);
        engine_recover(&engine);
        core_measure(engine.core);
        struct toy_tag tag = {.key = TEXT("k"),
                              .value = text_slice(buf_view(&text), 0, size == 0 ? 9 : text.size)};
        const struct toy_create_item_request request = {.name = TEXT("n"), .tags = {&tag, 1}};
        assert_int_equal(ask(&engine, TOY_OP_CREATE_ITEM, &request), 0);
        AUTO(buf_deinit) struct buf violations = {0};
        core_check(engine.core, &violations);
        assert_true(text_starts(buf_view(&violations), text_of(wants[size])));
        assert_int_equal(violations.size == 0, size == 0);
    }
}

static void rows_that_cannot_be_loaded(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf good = {0};
    AUTO(buf_deinit) struct buf newer = {0};
    const struct toy_item item = {.name = TEXT("one"), .id = TEXT("id")};
    cbor_encode(&toy_item_shape, &item, 2, NULL, &good);
    cbor_encode(&toy_item_shape, &item, 3, NULL, &newer);
    const struct {
        const char *name;
        int64_t key;
        uint16_t kind;
        struct text bytes;
        int want_rc;
    } cases[] = {
        {"good", 50, 7, buf_view(&good), 0},
        {"the same key twice", 50, 300, buf_view(&good), ERR_CORRUPT},
        {"no CBOR", 51, 7, TEXT("\xff\xff"), ERR_CORRUPT},
        {"empty", 51, 7, TEXT(""), ERR_CORRUPT},
        {"cut short", 51, 7, text_slice(buf_view(&good), 0, good.size - 1), ERR_CORRUPT},
        {"of a newer version", 51, 7, buf_view(&newer), ERR_VERSION},
        {"of a kind nobody knows", 51, 8, buf_view(&good), ERR_VERSION},
        {"of a kind above all", 51, 9999, buf_view(&good), ERR_VERSION},
        {"a key of ours", 1, 7, buf_view(&good), ERR_CORRUPT},
        {"a counter that is none", 1, 0xFFFF, TEXT("\xa0"), ERR_CORRUPT},
        {"a counter elsewhere", 60, 0xFFFF, TEXT("\xa1\x01\x18\x64"), ERR_CORRUPT},
    };
    AUTO(engine_deinit) struct engine engine;
    engine_init(&engine);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct err err = {0};
        assert_int_equal(core_load(engine.core, cases[i].key, cases[i].kind, cases[i].bytes, &err),
                         cases[i].want_rc);
        assert_int_equal(err.text[0] != '\0', cases[i].want_rc != 0);
    }
}

// ---- a random run against a naive model ---------------------------------------------------

#define MODEL_NAMES 60

struct model {
    struct {
        int64_t key; // 0 for none
        int64_t size;
        int64_t expires_at;
    } items[MODEL_NAMES];
};

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void model_expire(struct model *model, int64_t now_ms)
{
    for (size_t i = 0; i < MODEL_NAMES; i++) {
        if (model->items[i].expires_at != 0 && model->items[i].expires_at <= now_ms) {
            model->items[i].key = 0;
            model->items[i].expires_at = 0;
        }
    }
}

static void model_compare(const struct model *model, const struct engine *engine, bool settled)
{
    size_t count = 0;
    int64_t size = 0;
    for (size_t i = 0; i < MODEL_NAMES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%zu", i);
        assert_int_equal(toy_find(engine->core, text_of(name)), model->items[i].key);
        if (model->items[i].key != 0) {
            const struct toy_item *item = item_at(engine, model->items[i].key);
            assert_int_equal(item->size, model->items[i].size);
            assert_int_equal(item->expires_at, model->items[i].expires_at);
            count++;
            size += item->size;
        }
    }
    assert_int_equal(core_count(engine->core, &toy_kinds[TOY_ITEM]), count);
    if (settled) {
        const struct toy_total *total =
            core_get(engine->core, &toy_kinds[TOY_TOTAL], toy_total_key(engine->core));
        assert_int_equal(total->items, count);
        assert_int_equal(total->size, size);
    }
}

static void model_step(struct model *model, struct engine *engine, uint32_t *random)
{
    size_t which = draw(random) % MODEL_NAMES;
    char name[16];
    snprintf(name, sizeof(name), "%zu", which);
    int64_t size = draw(random) % 1000;
    int64_t expires_at = draw(random) % 2 == 0 ? 0 : engine->now_ms + 1 + draw(random) % 200;
    int64_t key = model->items[which].key;
    switch (draw(random) % 3) {
    case 0: {
        int64_t made = create(engine, name, size, expires_at);
        assert_int_equal(made == 0, key != 0);
        if (made != 0) {
            model->items[which].key = made;
            model->items[which].size = size;
            model->items[which].expires_at = expires_at;
        }
        break;
    }
    case 1: {
        const struct toy_change_item_request request = {
            .has_key = true, .key = key, .has_size = true, .size = size, .expires_at = expires_at};
        assert_int_equal(ask(engine, TOY_OP_CHANGE_ITEM, &request), key == 0 ? ERR_FAULT : 0);
        if (key != 0) {
            model->items[which].size = size;
            model->items[which].expires_at = expires_at;
        }
        break;
    }
    default:
        assert_int_equal(delete_key(engine, key), key == 0 ? ERR_FAULT : 0);
        model->items[which].key = 0;
        model->items[which].expires_at = 0;
        break;
    }
}

static void run_model(uint32_t seed)
{
    uint32_t random = seed;
    static struct model model;
    memset(&model, 0, sizeof(model));
    AUTO(store_close) struct store *store = store_memory_new();
    struct engine engine;
    engine_init(&engine);
    engine_recover(&engine);
    for (int i = 0; i < 2000; i++) {
        model_step(&model, &engine, &random);
        if (draw(&random) % 8 == 0) {
            engine.now_ms += draw(&random) % 50;
            toy_settle(engine.core, engine.now_ms, engine.serial++);
            model_expire(&model, engine.now_ms);
            model_compare(&model, &engine, true);
        }
        if (draw(&random) % 16 == 0) {
            commit(&engine, store);
        }
        if (draw(&random) % 256 == 0) {
            // What a restart finds is what there was, and work goes on from it.
            commit(&engine, store);
            struct engine next = {
                .core = core_new(toy_modules, 1), .now_ms = engine.now_ms, .serial = engine.serial};
            engine_load(&next, store);
            assert_same_dump(engine.core, next.core);
            assert_true(core_version(engine.core) == core_version(next.core));
            engine_deinit(&engine);
            engine = next;
            engine_recover(&engine);
            model_expire(&model, engine.now_ms);
        }
        model_compare(&model, &engine, false);
        assert_sound(&engine);
    }
    engine_deinit(&engine);
}

static void agrees_with_a_naive_model(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 5; seed++) {
        run_model(seed);
    }
}

// Two engines that get the same inputs must write the same bytes.
static void same_inputs_give_same_batches(void **state)
{
    (void)state;
    struct engine engines[2];
    struct model models[2] = {0};
    uint32_t randoms[2] = {9, 9};
    for (size_t i = 0; i < 2; i++) {
        engine_init(&engines[i]);
        engine_recover(&engines[i]);
    }
    for (int round = 0; round < 200; round++) {
        struct core_batch *batches[2];
        for (size_t i = 0; i < 2; i++) {
            model_step(&models[i], &engines[i], &randoms[i]);
            engines[i].now_ms += 7;
            toy_settle(engines[i].core, engines[i].now_ms, engines[i].serial++);
            model_expire(&models[i], engines[i].now_ms);
            batches[i] = core_batch_take(engines[i].core);
        }
        assert_int_equal(batches[0] == NULL, batches[1] == NULL);
        for (size_t i = 0; batches[0] != NULL && i < batches[0]->row_count; i++) {
            assert_int_equal(batches[0]->row_count, batches[1]->row_count);
            const struct core_row *left = &batches[0]->rows[i];
            const struct core_row *right = &batches[1]->rows[i];
            assert_int_equal(left->key, right->key);
            assert_true(text_equal(left->bytes, right->bytes));
        }
        core_batch_free(batches[0]);
        core_batch_free(batches[1]);
    }
    engine_deinit(&engines[0]);
    engine_deinit(&engines[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_change_and_go),
        cmocka_unit_test(records_stay_until_the_next_input),
        cmocka_unit_test(refusals_change_nothing),
        cmocka_unit_test(rehearsals_leave_nothing),
        cmocka_unit_test(misbehaviour_ends_the_process),
        cmocka_unit_test(batches_hold_the_newest_once),
        cmocka_unit_test(a_batch_may_be_encoded_later),
        cmocka_unit_test(effects_leave_with_their_batch),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(work_is_done_once_and_within_budget),
        cmocka_unit_test(keys_are_never_reused),
        cmocka_unit_test(unknown_members_are_kept),
        cmocka_unit_test(inputs_are_measured),
        cmocka_unit_test(rows_that_cannot_be_loaded),
        cmocka_unit_test(agrees_with_a_naive_model),
        cmocka_unit_test(same_inputs_give_same_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
