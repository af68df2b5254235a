#include "base/map.h"

#include "base/alloc.h"
#include "base/text.h"

#include <string.h>

// Open addressing with linear probing; a slot with a key but no value was deleted.
struct map_slot {
    char *key; ///< owned
    void *value;
    uint32_t key_size;
    uint32_t hash;
};

static size_t find_slot(const struct map *map, struct text key, uint32_t hash)
{
    size_t mask = map->capacity - 1;
    size_t free_slot = SIZE_MAX;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        const struct map_slot *slot = &map->slots[i];
        if (slot->key == NULL && slot->value == NULL && slot->hash == 0) {
            return free_slot != SIZE_MAX ? free_slot : i;
        }
        if (slot->value == NULL) {
            free_slot = free_slot == SIZE_MAX ? i : free_slot;
        } else if (slot->hash == hash && slot->key_size == key.size &&
                   memcmp(slot->key, key.data, key.size) == 0) {
            return i;
        }
    }
}

// A hash of 0 marks a slot that was never used.
static uint32_t hash_of(struct text key)
{
    uint64_t wide = text_hash(key);
    uint32_t hash = (uint32_t)(wide ^ wide >> 29);
    return hash == 0 ? 1 : hash;
}

static void rehash(struct map *map)
{
    struct map old = *map;
    map->capacity = MAX((size_t)16, old.count * 4);
    while ((map->capacity & (map->capacity - 1)) != 0) {
        map->capacity &= map->capacity - 1;
    }
    map->slots = alloc_array(map->capacity, sizeof(*map->slots));
    map->used = map->count;
    for (size_t i = 0; i < old.capacity; i++) {
        struct map_slot *slot = &old.slots[i];
        if (slot->value != NULL) {
            struct text key = {slot->key, slot->key_size};
            map->slots[find_slot(map, key, slot->hash)] = *slot;
        }
    }
    alloc_free(old.slots);
}

void *map_get(const struct map *map, struct text key)
{
    if (map->count == 0) {
        return NULL;
    }
    return map->slots[find_slot(map, key, hash_of(key))].value;
}

void *map_put(struct map *map, struct text key, void *value)
{
    ASSERT(value != NULL);
    ASSERT(key.size < UINT32_MAX);
    if (map->used * 4 >= map->capacity * 3) {
        rehash(map);
    }
    uint32_t hash = hash_of(key);
    struct map_slot *slot = &map->slots[find_slot(map, key, hash)];
    void *old = slot->value;
    if (old == NULL) {
        map->used += slot->hash == 0 ? 1 : 0;
        map->count++;
        slot->key = alloc_zero(key.size + 1);
        if (key.size > 0) {
            memcpy(slot->key, key.data, key.size);
        }
        slot->key_size = (uint32_t)key.size;
        slot->hash = hash;
    }
    slot->value = value;
    return old;
}

void *map_remove(struct map *map, struct text key)
{
    if (map->count == 0) {
        return NULL;
    }
    struct map_slot *slot = &map->slots[find_slot(map, key, hash_of(key))];
    void *old = slot->value;
    if (old != NULL) {
        alloc_free(slot->key);
        slot->key = NULL;
        slot->value = NULL;
        map->count--;
    }
    return old;
}

static struct text number_key(const uint64_t *key)
{
    return (struct text){(const char *)key, sizeof(*key)};
}

void *map_get_u64(const struct map *map, uint64_t key)
{
    return map_get(map, number_key(&key));
}

void *map_put_u64(struct map *map, uint64_t key, void *value)
{
    return map_put(map, number_key(&key), value);
}

void *map_remove_u64(struct map *map, uint64_t key)
{
    return map_remove(map, number_key(&key));
}

void *map_next(const struct map *map, size_t *cursor, struct text *out_key)
{
    while (*cursor < map->capacity) {
        const struct map_slot *slot = &map->slots[(*cursor)++];
        if (slot->value != NULL) {
            if (out_key != NULL) {
                *out_key = (struct text){slot->key, slot->key_size};
            }
            return slot->value;
        }
    }
    return NULL;
}

void map_deinit(struct map *map)
{
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].value != NULL) {
            alloc_free(map->slots[i].key);
        }
    }
    alloc_free(map->slots);
    *map = (struct map){0};
}
