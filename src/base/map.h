#pragma once

#include "base/base.h"

/*
 * Hash maps from text or from a number to a pointer.
 *
 * For look-up only: the order of iteration is not specified and must reach no result of the
 * deterministic core. Keys are copied; values are borrowed and never freed here.
 * Zero-initialised storage is a valid empty map.
 */
struct map {
    struct map_slot *slots;
    size_t capacity; ///< a power of two, or 0
    size_t count;
    size_t used; ///< live and deleted slots
};

/** @return the value, or NULL */
void *map_get(const struct map *map, struct text key);

/** Insert or replace. value must not be NULL. @return the value that was there, or NULL */
void *map_put(struct map *map, struct text key, void *value);

/** Remove. @return the value that was there, or NULL */
void *map_remove(struct map *map, struct text key);

/** The same three for a number as the key. A map holds one kind of key only. */
void *map_get_u64(const struct map *map, uint64_t key);
/** See map_put. */
void *map_put_u64(struct map *map, uint64_t key, void *value);
/** See map_remove. */
void *map_remove_u64(struct map *map, uint64_t key);

/**
 * Walk all entries: start with *cursor = 0, call until it returns NULL. Removing the entry just
 * returned is allowed; inserting is not. out_key may be NULL; it is valid until the entry goes.
 */
void *map_next(const struct map *map, size_t *cursor, struct text *out_key);

/** Free slots and keys; values stay their owners'. */
void map_deinit(struct map *map);

AUTO_VALUE(struct map, map_deinit)
