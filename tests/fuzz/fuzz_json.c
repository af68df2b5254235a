#include "api/ecs.h"
#include "api/kinds.h"
#include "fuzz.h"
#include "shape/json.h"

#include <string.h>

/*
 * What json_decode accepts must survive writing: the text of the value decodes again, and to the
 * same text. (Not always to the same value: unrecognized enum values are written as null.)
 */
static void try_shape(const struct shape_type *type, struct text body)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf first = {0};
    AUTO(buf_deinit) struct buf second = {0};
    AUTO(buf_deinit) struct buf masked = {0};
    struct shape_error error = {0};
    void *value = arena_alloc(&arena, type->size_bytes);
    if (json_decode(type, body, &arena, value, &error) != 0) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    struct shape_error refusal = {0};
    bool valid = shape_validate(type, value, &refusal) == 0;
    ASSERT(valid == (refusal.text[0] == '\0'));
    void *clone = shape_clone(type, value, NULL);
    ASSERT(shape_equal(type, value, clone));
    ASSERT(shape_diff(type, value, clone, &arena).count == 0);
    alloc_free(clone);

    json_encode(type, value, &first);
    json_encode_masked(type, value, &masked);
    void *again = arena_alloc(&arena, type->size_bytes);
    int rc = json_decode(type, buf_view(&first), &arena, again, &error);
    if (rc != 0) {
        // Only the null of an unrecognized value inside a list or map may be refused.
        ASSERT(strcmp(error.text, "must not be null") == 0);
        ASSERT(!valid);
        return;
    }
    json_encode(type, again, &second);
    ASSERT(!valid || shape_equal(type, value, again));
    ASSERT(!valid || first.size == second.size);
    ASSERT(!valid || memcmp(first.data, second.data, first.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text body = {(const char *)data, size};
    try_shape(&kinds_everything_shape, body);
    try_shape(&kinds_rules_shape, body);
    try_shape(&ecs_register_task_definition_request_shape, body);
    return 0;
}
