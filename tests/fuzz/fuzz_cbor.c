#include "api/ecs.h"
#include "api/kinds.h"
#include "fuzz.h"
#include "shape/cbor.h"

#include <string.h>

/*
 * A record has one encoding: whatever cbor_decode accepts is written back byte for byte, but for
 * what it may drop (unknown members inside members, unknown enum values); then the second encoding
 * is the fixed point.
 */
static void try_shape(const struct shape_type *type, struct text bytes)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf first = {0};
    AUTO(buf_deinit) struct buf second = {0};
    struct shape_error error = {0};
    struct cbor_unknown unknown = {0};
    uint32_t version = 0;
    void *value = arena_alloc(&arena, type->size_bytes);
    if (cbor_decode(type, bytes, &arena, value, &version, &unknown, &error) != 0) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    cbor_encode(type, value, version, &unknown, &first);
    // The version, always written, takes up to six bytes more; all else can only shrink.
    ASSERT(first.size <= bytes.size + 6);

    struct cbor_unknown unknown_again = {0};
    void *again = arena_alloc(&arena, type->size_bytes);
    int rc = cbor_decode(type, buf_view(&first), &arena, again, &version, &unknown_again, &error);
    ASSERT(rc == 0);
    ASSERT(unknown.count == unknown_again.count);
    cbor_encode(type, again, version, &unknown_again, &second);
    ASSERT(first.size == second.size);
    ASSERT(memcmp(first.data, second.data, first.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text bytes = {(const char *)data, size};
    try_shape(&kinds_everything_shape, bytes);
    try_shape(&kinds_older_shape, bytes);
    try_shape(&ecs_task_definition_shape, bytes);
    return 0;
}
