#pragma once

#include "base/base.h"

/*
 * An ordered set of record keys: what makes tables walk in ascending key.
 *
 * A sorted directory of sorted blocks. Keys mostly arrive in ascending order, which fills blocks
 * to the last place; 8 bytes per key and no allocation of its own for each. Zero-initialised
 * storage is a valid empty set.
 */

struct key_block;

struct key_set {
    struct key_block **blocks; ///< ascending; none is empty
    size_t block_count;
    size_t capacity;
    size_t count;
};

/** Add a key that is not there. Keys are above 0. */
void key_set_add(struct key_set *set, int64_t key);

/** Remove a key that is there. */
void key_set_remove(struct key_set *set, int64_t key);

/** @return the least key above `after`, or 0 */
int64_t key_set_next(const struct key_set *set, int64_t after);

/** @return whether blocks are in order and none is empty; for core_check */
bool key_set_valid(const struct key_set *set);

/** Free the memory. */
void key_set_deinit(struct key_set *set);
