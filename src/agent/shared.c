#include "agent/shared.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/text.h"
#include "shape/cbor.h"

static uint64_t hash_value(const struct shape_type *type, const void *value)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(type, value, 0, NULL, &bytes);
    return text_hash(buf_view(&bytes));
}

struct shared_value *shared_take(struct shared_values *values, const struct shape_type *type,
                                 const void *value)
{
    uint64_t hash = hash_value(type, value);
    struct shared_value *found = map_get_u64(&values->by_hash, hash);
    if (found != NULL && found->type == type && shape_equal(type, found->value, value)) {
        found->holders++;
        return found;
    }
    struct shared_value *made = ALLOC(struct shared_value);
    *made = (struct shared_value){
        .value = shape_clone(type, value, NULL),
        .hash = hash,
        .holders = 1,
        .type = type,
        // Of two with the same hash, which chance will not bring, the second stays its holder's.
        .listed = found == NULL,
    };
    if (made->listed) {
        map_put_u64(&values->by_hash, hash, made);
    }
    return made;
}

void shared_release(struct shared_values *values, struct shared_value *shared)
{
    if (shared == NULL) {
        return;
    }
    ASSERT(shared->holders > 0);
    shared->holders--;
    if (shared->holders > 0) {
        return;
    }
    if (shared->listed) {
        map_remove_u64(&values->by_hash, shared->hash);
    }
    alloc_free((void *)(uintptr_t)shared->value);
    alloc_free(shared);
}

void shared_deinit(struct shared_values *values)
{
    ASSERT(values->by_hash.count == 0);
    map_deinit(&values->by_hash);
}
