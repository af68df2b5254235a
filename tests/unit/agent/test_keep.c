#include "agent/buried.h"
#include "agent/shared.h"

#include "api/journal.h"
#include "base/alloc.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// What the logic keeps of many tasks: values that they have in common, and ids of those that ended.

// ---- values that are held together ------------------------------------------------------------

static struct shared_value *take(struct shared_values *values, const char *image)
{
    struct journal_container_image images[] = {{.name = text_of("web"), .digest = text_of(image)}};
    const struct journal_task task = {.images = {.items = images, .count = 1}};
    return shared_take(values, &journal_task_shape, &task);
}

static void equal_values_are_held_once(void **state)
{
    (void)state;
    struct shared_values values = {0};
    struct shared_value *first = take(&values, "sha256:1");
    struct shared_value *second = take(&values, "sha256:1");
    struct shared_value *other = take(&values, "sha256:2");
    assert_ptr_equal(first, second);
    assert_int_equal(first->holders, 2);
    assert_ptr_not_equal(first, other);
    assert_int_equal(values.by_hash.count, 2);
    const struct journal_task *task = other->value;
    assert_true(text_is(task->images.items[0].digest, "sha256:2"));

    shared_release(&values, first);
    assert_int_equal(values.by_hash.count, 2); // the second holder has it still
    task = second->value;
    assert_true(text_is(task->images.items[0].digest, "sha256:1"));
    shared_release(&values, second);
    assert_int_equal(values.by_hash.count, 1);
    shared_release(&values, other);
    shared_release(&values, NULL);
    shared_deinit(&values);
}

static void a_value_that_went_comes_anew(void **state)
{
    (void)state;
    struct shared_values values = {0};
    shared_release(&values, take(&values, "sha256:1"));
    struct shared_value *again = take(&values, "sha256:1");
    assert_int_equal(again->holders, 1);
    shared_release(&values, again);
    shared_deinit(&values);
}

// As if two values had one hash: they are told apart by what they are, and both can be let go of in
// any order.
static void values_of_one_hash_are_not_mixed_up(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct shared_values values = {0};
        struct shared_value *first = take(&values, "sha256:1");
        struct shared_value *probe = take(&values, "sha256:2");
        uint64_t hash = probe->hash;
        shared_release(&values, probe);
        map_remove_u64(&values.by_hash, first->hash);
        first->hash = hash;
        map_put_u64(&values.by_hash, hash, first);

        struct shared_value *second = take(&values, "sha256:2");
        assert_ptr_not_equal(first, second);
        const struct journal_task *task = second->value;
        assert_true(text_is(task->images.items[0].digest, "sha256:2"));
        shared_release(&values, order == 0 ? first : second);
        shared_release(&values, order == 0 ? second : first);
        shared_deinit(&values);
    }
}

// ---- ids of tasks that ended ------------------------------------------------------------------

static struct text id_of(unsigned number, char out_id[33])
{
    // As of random ids, the first digits differ; several lie in one bucket.
    int size = snprintf(out_id, 33, "%08x%024x", number * 2654435761u, number);
    assert_int_equal(size, 32);
    return text_of(out_id);
}

static void the_last_ids_are_remembered(void **state)
{
    (void)state;
    char id[33];
    const unsigned rounds = 3;
    struct buried *buried = ALLOC(struct buried);
    assert_false(buried_has(buried, id_of(0, id)));
    for (unsigned i = 0; i < BURIED_MAX * rounds; i++) {
        buried_add(buried, id_of(i, id));
        buried_add(buried, id_of(i, id)); // told twice: takes no second place
        assert_true(buried_has(buried, id_of(i, id)));
        unsigned oldest = i < BURIED_MAX ? 0 : i - BURIED_MAX + 1;
        assert_true(buried_has(buried, id_of(oldest, id)));
        if (oldest > 0) {
            assert_false(buried_has(buried, id_of(oldest - 1, id)));
        }
        assert_int_equal(buried->count, i - oldest + 1);
    }
    for (unsigned i = 0; i < BURIED_MAX * rounds; i++) {
        bool kept = i >= BURIED_MAX * (rounds - 1);
        assert_int_equal(buried_has(buried, id_of(i, id)), kept);
    }
    alloc_free(buried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_values_are_held_once),
        cmocka_unit_test(a_value_that_went_comes_anew),
        cmocka_unit_test(values_of_one_hash_are_not_mixed_up),
        cmocka_unit_test(the_last_ids_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
