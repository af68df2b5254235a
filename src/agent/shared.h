#pragma once

#include "base/map.h"
#include "shape/shape.h"

/*
 * Values that many tasks have in common, held once: the definition of their revision, what its
 * images are. With hundreds of tasks of a few revisions that is most of what an agent knows. By
 * content, because overrides make a task's definition its own.
 */

/** Those of one logic. Zero-initialise. */
struct shared_values {
    struct map by_hash;
};

/** A value and how many have it. */
struct shared_value {
    const void *value; ///< never changes
    uint64_t hash;
    size_t holders;
    const struct shape_type *type;
    bool listed; ///< found by its hash
};

/**
 * Have a value that equals this one, which is copied when nobody has it yet.
 *
 * @return what shared_release takes
 */
struct shared_value *shared_take(struct shared_values *values, const struct shape_type *type,
                                 const void *value);

/** Have it no longer; NULL is allowed. */
void shared_release(struct shared_values *values, struct shared_value *shared);

/** Free; nobody has a value. */
void shared_deinit(struct shared_values *values);
