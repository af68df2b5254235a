#include "core/key_set.h"

#include "base/alloc.h"

#include <string.h>

// A block is moved by half at most on an insert in the middle, which is rare: 128 keys keep that
// under a microsecond and the directory of a million keys at 64 KB.
#define KEY_BLOCK_MAX 128

struct key_block {
    size_t count;
    int64_t keys[KEY_BLOCK_MAX];
};

// Index of the block that holds the key or would: the last one that begins at or below it.
static size_t find_block(const struct key_set *set, int64_t key)
{
    size_t low = 0;
    size_t high = set->block_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->blocks[middle]->keys[0] <= key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}

// How many keys of the block are below the given one.
static size_t count_below(const struct key_block *block, int64_t key)
{
    size_t low = 0;
    size_t high = block->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (block->keys[middle] < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct key_block *insert_block(struct key_set *set, size_t at)
{
    if (set->block_count == set->capacity) {
        set->capacity = MAX((size_t)4, set->capacity * 2);
        set->blocks = alloc_resize(set->blocks, set->capacity, sizeof(*set->blocks));
    }
    memmove(&set->blocks[at + 1], &set->blocks[at], (set->block_count - at) * sizeof(*set->blocks));
    set->blocks[at] = ALLOC(struct key_block);
    set->block_count++;
    return set->blocks[at];
}

static void remove_block(struct key_set *set, size_t at)
{
    alloc_free(set->blocks[at]);
    set->block_count--;
    memmove(&set->blocks[at], &set->blocks[at + 1], (set->block_count - at) * sizeof(*set->blocks));
}

// Make room in a full block for a key at the place; returns the block and place to use.
static struct key_block *split_block(struct key_set *set, size_t at, size_t *place)
{
    struct key_block *block = set->blocks[at];
    struct key_block *behind = insert_block(set, at + 1);
    if (*place == block->count) {
        *place = 0; // ascending arrival leaves the block full behind it
        return behind;
    }
    size_t keep = block->count / 2;
    behind->count = block->count - keep;
    memcpy(behind->keys, block->keys + keep, behind->count * sizeof(int64_t));
    block->count = keep;
    if (*place <= keep) {
        return block;
    }
    *place -= keep;
    return behind;
}

void key_set_add(struct key_set *set, int64_t key)
{
    ASSERT(key > 0);
    size_t at = find_block(set, key);
    struct key_block *block = set->block_count == 0 ? insert_block(set, 0) : set->blocks[at];
    size_t place = count_below(block, key);
    ASSERT(place == block->count || block->keys[place] != key);
    if (block->count == KEY_BLOCK_MAX) {
        block = split_block(set, at, &place);
    }
    memmove(&block->keys[place + 1], &block->keys[place], (block->count - place) * sizeof(int64_t));
    block->keys[place] = key;
    block->count++;
    set->count++;
}

void key_set_remove(struct key_set *set, int64_t key)
{
    ASSERT(set->count > 0);
    size_t at = find_block(set, key);
    struct key_block *block = set->blocks[at];
    size_t place = count_below(block, key);
    ASSERT(place < block->count);
    ASSERT(block->keys[place] == key);
    block->count--;
    memmove(&block->keys[place], &block->keys[place + 1], (block->count - place) * sizeof(int64_t));
    set->count--;
    if (block->count == 0) {
        remove_block(set, at);
    } else if (at + 1 < set->block_count &&
               block->count + set->blocks[at + 1]->count <= KEY_BLOCK_MAX / 2) {
        struct key_block *behind = set->blocks[at + 1];
        memcpy(&block->keys[block->count], behind->keys, behind->count * sizeof(int64_t));
        block->count += behind->count;
        remove_block(set, at + 1);
    }
}

int64_t key_set_next(const struct key_set *set, int64_t after)
{
    if (set->block_count == 0 || after == INT64_MAX) {
        return 0;
    }
    size_t at = find_block(set, after);
    size_t place = count_below(set->blocks[at], after + 1);
    if (place < set->blocks[at]->count) {
        return set->blocks[at]->keys[place];
    }
    return at + 1 < set->block_count ? set->blocks[at + 1]->keys[0] : 0;
}

bool key_set_valid(const struct key_set *set)
{
    size_t count = 0;
    int64_t last = 0;
    for (size_t i = 0; i < set->block_count; i++) {
        const struct key_block *block = set->blocks[i];
        if (block->count == 0 || block->count > KEY_BLOCK_MAX) {
            return false;
        }
        for (size_t j = 0; j < block->count; j++) {
            if (block->keys[j] <= last) {
                return false;
            }
            last = block->keys[j];
        }
        count += block->count;
    }
    return count == set->count;
}

void key_set_deinit(struct key_set *set)
{
    for (size_t i = 0; i < set->block_count; i++) {
        alloc_free(set->blocks[i]);
    }
    alloc_free(set->blocks);
    *set = (struct key_set){0};
}
