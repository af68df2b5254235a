#include "core/agenda.h"
#include "core/key_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void expect_take(struct agenda *agenda, uint32_t want_manager, int64_t want_key)
{
    uint32_t manager = UINT32_MAX;
    int64_t key = -1;
    assert_true(agenda_take(agenda, &manager, &key));
    assert_int_equal(manager, want_manager);
    assert_int_equal(key, want_key);
    assert_true(agenda_valid(agenda));
}

// First in, first out, and an entity that is queued stays where it is.
static void queue_holds_each_once(void **state)
{
    (void)state;
    struct agenda agenda = {0};
    agenda_queue(&agenda, 1, 5);
    agenda_queue(&agenda, 0, 5);
    agenda_queue(&agenda, 1, 5);
    agenda_queue(&agenda, 1, 4);
    expect_take(&agenda, 1, 5);
    agenda_queue(&agenda, 1, 5);
    expect_take(&agenda, 0, 5);
    expect_take(&agenda, 1, 4);
    expect_take(&agenda, 1, 5);
    uint32_t manager = 0;
    int64_t key = 0;
    assert_false(agenda_take(&agenda, &manager, &key));
    agenda_deinit(&agenda);
}

// Timers that are due together fire in the order of time, manager, key, whatever order they were
// set in; an entity that is queued already is not queued again.
static void timers_fire_in_order(void **state)
{
    (void)state;
    struct agenda agenda = {0};
    assert_int_equal(agenda_next_due(&agenda), -1);
    agenda_timer(&agenda, 1, 3, 100);
    agenda_timer(&agenda, 0, 9, 100);
    agenda_timer(&agenda, 1, 2, 100);
    agenda_timer(&agenda, 2, 1, 50);
    agenda_timer(&agenda, 0, 1, 101);
    agenda_timer(&agenda, 0, 8, 70);
    agenda_timer(&agenda, 0, 8, 0);
    agenda_timer(&agenda, 0, 7, 0);
    agenda_timer(&agenda, 0, 6, 300);
    agenda_timer(&agenda, 0, 6, 90);
    agenda_timer(&agenda, 2, 1, 100);
    agenda_queue(&agenda, 1, 2);
    assert_int_equal(agenda_next_due(&agenda), 90);
    agenda_ring(&agenda, 89);
    assert_int_equal(agenda.queue_count, 1);
    agenda_ring(&agenda, 100);
    expect_take(&agenda, 1, 2);
    expect_take(&agenda, 0, 6);
    expect_take(&agenda, 0, 9);
    expect_take(&agenda, 1, 3);
    expect_take(&agenda, 2, 1);
    assert_int_equal(agenda.queue_count, 0);
    assert_int_equal(agenda_next_due(&agenda), 101);
    agenda_deinit(&agenda);
}

// ---- against plain arrays -----------------------------------------------------------------

#define MANAGERS 3
#define KEYS 200

struct model {
    int64_t timers[MANAGERS][KEYS];
    struct {
        uint32_t manager;
        int64_t key;
    } queue[MANAGERS * KEYS];
    size_t queue_count;
};

static void model_queue(struct model *model, uint32_t manager, int64_t key)
{
    for (size_t i = 0; i < model->queue_count; i++) {
        if (model->queue[i].manager == manager && model->queue[i].key == key) {
            return;
        }
    }
    model->queue[model->queue_count].manager = manager;
    model->queue[model->queue_count].key = key;
    model->queue_count++;
}

// @return the time of the earliest timer, or -1
static int64_t model_earliest(const struct model *model, uint32_t *out_manager, int64_t *out_key)
{
    int64_t at_ms = -1;
    for (uint32_t manager = 0; manager < MANAGERS; manager++) {
        for (int64_t key = 1; key < KEYS; key++) {
            int64_t timer = model->timers[manager][key];
            if (timer != 0 && (at_ms < 0 || timer < at_ms)) {
                at_ms = timer;
                *out_manager = manager;
                *out_key = key;
            }
        }
    }
    return at_ms;
}

static void model_ring(struct model *model, int64_t now_ms)
{
    uint32_t manager = 0;
    int64_t key = 0;
    for (;;) {
        int64_t at_ms = model_earliest(model, &manager, &key);
        if (at_ms < 0 || at_ms > now_ms) {
            return;
        }
        model_queue(model, manager, key);
        model->timers[manager][key] = 0;
    }
}

static void agrees_with_plain_arrays(void **state)
{
    (void)state;
    static struct model model;
    for (uint32_t seed = 1; seed <= 4; seed++) {
        uint32_t random = seed;
        int64_t now_ms = 1;
        memset(&model, 0, sizeof(model));
        struct agenda agenda = {0};
        for (int i = 0; i < 5000; i++) {
            uint32_t manager = draw(&random) % MANAGERS;
            int64_t key = 1 + draw(&random) % (KEYS - 1);
            uint32_t what = draw(&random) % 10;
            if (what < 5) {
                int64_t at_ms = draw(&random) % 5 == 0 ? 0 : now_ms + draw(&random) % 50;
                agenda_timer(&agenda, manager, key, at_ms);
                model.timers[manager][key] = at_ms;
            } else if (what < 7) {
                agenda_queue(&agenda, manager, key);
                model_queue(&model, manager, key);
            } else if (what < 8) {
                now_ms += draw(&random) % 20;
                agenda_ring(&agenda, now_ms);
                model_ring(&model, now_ms);
            } else if (model.queue_count > 0) {
                expect_take(&agenda, model.queue[0].manager, model.queue[0].key);
                model.queue_count--;
                memmove(model.queue, model.queue + 1, model.queue_count * sizeof(model.queue[0]));
            }
            uint32_t ignored = 0;
            assert_int_equal(agenda.queue_count, model.queue_count);
            if (i % 20 == 0) {
                assert_int_equal(agenda_next_due(&agenda), model_earliest(&model, &ignored, &key));
                assert_true(agenda_valid(&agenda));
            }
        }
        agenda_deinit(&agenda);
    }
}

// ---- the ordered set of keys --------------------------------------------------------------

#define SET_KEYS 3000

static void key_set_agrees_with_a_bit_map(void **state)
{
    (void)state;
    static bool there[SET_KEYS + 1];
    for (uint32_t seed = 1; seed <= 4; seed++) {
        uint32_t random = seed;
        struct key_set set = {0};
        memset(there, 0, sizeof(there));
        for (int64_t key = 1; key <= SET_KEYS; key += 2) {
            key_set_add(&set, key);
            there[key] = true;
        }
        for (int i = 0; i < 20000; i++) {
            int64_t key = 1 + draw(&random) % SET_KEYS;
            if (there[key]) {
                key_set_remove(&set, key);
            } else if (i < 10000 || draw(&random) % 4 == 0) {
                key_set_add(&set, key);
            } else {
                continue;
            }
            there[key] = !there[key];
        }
        assert_true(key_set_valid(&set));
        int64_t at = 0;
        for (int64_t key = 1; key <= SET_KEYS; key++) {
            if (there[key]) {
                assert_int_equal(key_set_next(&set, at), key);
                assert_int_equal(key_set_next(&set, key - 1), key);
                at = key;
            }
        }
        assert_int_equal(key_set_next(&set, at), 0);
        assert_int_equal(key_set_next(&set, INT64_MAX), 0);
        for (int64_t key = key_set_next(&set, 0); key != 0; key = key_set_next(&set, 0)) {
            key_set_remove(&set, key);
        }
        assert_int_equal(set.count, 0);
        key_set_deinit(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_holds_each_once),
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(agrees_with_plain_arrays),
        cmocka_unit_test(key_set_agrees_with_a_bit_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
