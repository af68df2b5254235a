#include "core/index.h"

#include "base/alloc.h"

#include <string.h>

/*
 * A sorted directory of sorted leaves. A leaf is one block of memory: the entries lie one behind
 * the other, each its record, the size of its key, and the key's bytes; offsets tell where each
 * begins, for binary search. So an entry costs 12 bytes besides its key and no allocation of its
 * own. A million entries make a directory of some 250 KB, which moves once per split.
 */

#define LEAF_ENTRIES_MAX 64
#define LEAF_BYTES_MAX 8192 // keeps what an insert moves small when keys are long
#define LEAF_ENTRIES_FEW 16 // at or below it, a leaf looks for a neighbour to join
#define LEAF_BYTES_STEP 256 // leaves grow by steps, not by doubling: memory matters more
#define ENTRY_HEAD_BYTES (sizeof(int64_t) + sizeof(uint16_t))

_Static_assert(LEAF_BYTES_MAX + INDEX_KEY_MAX + ENTRY_HEAD_BYTES < UINT16_MAX, "offsets fit");

struct leaf {
    uint32_t used_bytes;
    uint32_t capacity_bytes;
    uint16_t count;
    uint16_t offsets[LEAF_ENTRIES_MAX];
    unsigned char data[];
};

struct index {
    struct leaf **leaves; // ascending; none is empty
    size_t leaf_count;
    size_t capacity;
    size_t count;
    uint64_t change; // grows with every change, so that cursors know whether their place holds
};

// ---- keys ---------------------------------------------------------------------------------

// Texts end with a zero byte, so that a shorter one sorts first and a whole part is no prefix of a
// longer one. A zero or one inside is written as one followed by itself plus one: order stays.
enum { PART_END = 0, PART_ESCAPE = 1 };

static bool needs_escape(struct text text)
{
    unsigned char low = 0;
    for (size_t i = 0; i < text.size; i++) {
        low |= (unsigned char)text.data[i] <= PART_ESCAPE ? 1 : 0;
    }
    return low != 0;
}

void index_key_text_begin(struct index_key *key, struct text beginning)
{
    if (!needs_escape(beginning)) {
        ASSERT(beginning.size <= INDEX_KEY_MAX - key->size);
        if (beginning.size > 0) {
            memcpy(key->bytes + key->size, beginning.data, beginning.size);
            key->size += beginning.size;
        }
        return;
    }
    for (size_t i = 0; i < beginning.size; i++) {
        unsigned char byte = (unsigned char)beginning.data[i];
        ASSERT(key->size + 2 <= INDEX_KEY_MAX);
        if (byte <= PART_ESCAPE) {
            key->bytes[key->size] = PART_ESCAPE;
            key->size++;
            byte++;
        }
        key->bytes[key->size] = byte;
        key->size++;
    }
}

void index_key_text(struct index_key *key, struct text part)
{
    index_key_text_begin(key, part);
    ASSERT(key->size < INDEX_KEY_MAX);
    key->bytes[key->size] = PART_END;
    key->size++;
}

void index_key_u64(struct index_key *key, uint64_t part)
{
    ASSERT(key->size + sizeof(part) <= INDEX_KEY_MAX);
    for (size_t i = 0; i < sizeof(part); i++) {
        key->bytes[key->size + i] = (unsigned char)(part >> (56 - 8 * i));
    }
    key->size += sizeof(part);
}

// ---- entries and leaves -------------------------------------------------------------------

struct entry {
    int64_t record;
    size_t size;
    const unsigned char *bytes;
};

static struct entry entry_at(const struct leaf *leaf, size_t place)
{
    ASSERT(place < leaf->count);
    const unsigned char *at = leaf->data + leaf->offsets[place];
    struct entry entry = {.bytes = at + ENTRY_HEAD_BYTES};
    uint16_t size = 0;
    memcpy(&entry.record, at, sizeof(entry.record));
    memcpy(&size, at + sizeof(entry.record), sizeof(size));
    entry.size = size;
    return entry;
}

// What to look for: where an entry goes, or where those with a prefix begin or end.
struct target {
    const unsigned char *bytes;
    size_t size;
    int64_t record;     // 0 is before all records with these bytes, INT64_MAX behind them
    bool behind_prefix; // behind every entry that begins with the bytes
};

static bool is_below(struct entry entry, const struct target *target)
{
    int order = memcmp(entry.bytes, target->bytes, MIN(entry.size, target->size));
    if (order != 0) {
        return order < 0;
    }
    if (entry.size != target->size) {
        return entry.size < target->size || target->behind_prefix;
    }
    return target->behind_prefix || entry.record < target->record;
}

struct position {
    size_t leaf;
    size_t place;
};

// The first entry that is not below the target; behind the last leaf's last entry when all are.
static struct position find(const struct index *index, const struct target *target)
{
    size_t low = 0;
    size_t high = index->leaf_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_below(entry_at(index->leaves[middle], 0), target)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return (struct position){0};
    }
    const struct leaf *leaf = index->leaves[low - 1];
    size_t first = 1;
    size_t last = leaf->count;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        if (is_below(entry_at(leaf, middle), target)) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return (struct position){.leaf = low - 1, .place = first};
}

static struct leaf *leaf_insert(struct index *index, size_t at)
{
    if (index->leaf_count == index->capacity) {
        index->capacity = MAX((size_t)4, index->capacity * 2);
        index->leaves = alloc_resize(index->leaves, index->capacity, sizeof(*index->leaves));
    }
    memmove(&index->leaves[at + 1], &index->leaves[at],
            (index->leaf_count - at) * sizeof(*index->leaves));
    index->leaves[at] = alloc_zero(sizeof(struct leaf) + LEAF_BYTES_STEP);
    index->leaves[at]->capacity_bytes = LEAF_BYTES_STEP;
    index->leaf_count++;
    return index->leaves[at];
}

static void leaf_drop(struct index *index, size_t at)
{
    alloc_free(index->leaves[at]);
    index->leaf_count--;
    memmove(&index->leaves[at], &index->leaves[at + 1],
            (index->leaf_count - at) * sizeof(*index->leaves));
}

// Give a leaf the room it needs, or take away what it needs no more.
static struct leaf *leaf_fit(struct index *index, size_t at, size_t bytes)
{
    struct leaf *leaf = index->leaves[at];
    size_t want = (bytes + LEAF_BYTES_STEP - 1) / LEAF_BYTES_STEP * LEAF_BYTES_STEP;
    if (want > leaf->capacity_bytes || want + 2 * (size_t)LEAF_BYTES_STEP < leaf->capacity_bytes) {
        leaf = alloc_resize(leaf, 1, sizeof(*leaf) + want);
        leaf->capacity_bytes = (uint32_t)want;
        index->leaves[at] = leaf;
    }
    return leaf;
}

// Move the entries from place on to the front of the next leaf, which is empty.
static void leaf_move_tail(struct index *index, size_t at, size_t place)
{
    struct leaf *from = index->leaves[at];
    size_t begin = from->offsets[place];
    size_t bytes = from->used_bytes - begin;
    struct leaf *to = leaf_fit(index, at + 1, bytes);
    memcpy(to->data, from->data + begin, bytes);
    to->used_bytes = (uint32_t)bytes;
    to->count = (uint16_t)(from->count - place);
    for (size_t i = 0; i < to->count; i++) {
        to->offsets[i] = (uint16_t)(from->offsets[place + i] - begin);
    }
    from->count = (uint16_t)place;
    from->used_bytes = (uint32_t)begin;
    leaf_fit(index, at, begin);
}

// Make room for one more entry at the position, which moves to the new leaf if its place does.
static void leaf_split(struct index *index, struct position *position)
{
    size_t at = position->leaf;
    leaf_insert(index, at + 1);
    if (position->place == index->leaves[at]->count) {
        // Ascending arrival leaves full leaves behind.
        *position = (struct position){.leaf = at + 1, .place = 0};
        return;
    }
    size_t keep = index->leaves[at]->count / 2;
    leaf_move_tail(index, at, keep);
    if (position->place > keep) {
        *position = (struct position){.leaf = at + 1, .place = position->place - keep};
    }
}

// Join a leaf with the next one when both together are far from full.
static void leaf_join_next(struct index *index, size_t at)
{
    if (at + 1 >= index->leaf_count) {
        return;
    }
    const struct leaf *from = index->leaves[at + 1];
    struct leaf *to = index->leaves[at];
    size_t bytes = (size_t)to->used_bytes + from->used_bytes;
    if (to->count + from->count > LEAF_ENTRIES_MAX * 3 / 4 || bytes > LEAF_BYTES_MAX / 2) {
        return;
    }
    to = leaf_fit(index, at, bytes);
    memcpy(to->data + to->used_bytes, from->data, from->used_bytes);
    for (size_t i = 0; i < from->count; i++) {
        to->offsets[to->count + i] = (uint16_t)(to->used_bytes + from->offsets[i]);
    }
    to->count = (uint16_t)(to->count + from->count);
    to->used_bytes = (uint32_t)bytes;
    leaf_drop(index, at + 1);
}

// ---- the index ----------------------------------------------------------------------------

struct index *index_new(void)
{
    return ALLOC(struct index);
}

void index_free(struct index *index)
{
    if (index == NULL) {
        return;
    }
    for (size_t i = 0; i < index->leaf_count; i++) {
        alloc_free(index->leaves[i]);
    }
    alloc_free(index->leaves);
    alloc_free(index);
}

static bool is_there(const struct index *index, struct position at, const struct index_key *key,
                     int64_t record)
{
    if (at.leaf < index->leaf_count && at.place == index->leaves[at.leaf]->count) {
        at = (struct position){.leaf = at.leaf + 1};
    }
    if (at.leaf >= index->leaf_count) {
        return false;
    }
    struct entry entry = entry_at(index->leaves[at.leaf], at.place);
    return entry.record == record && entry.size == key->size &&
           memcmp(entry.bytes, key->bytes, key->size) == 0;
}

void index_add(struct index *index, const struct index_key *key, int64_t record)
{
    ASSERT(record > 0);
    ASSERT(key->size <= INDEX_KEY_MAX);
    const struct target target = {.bytes = key->bytes, .size = key->size, .record = record};
    struct position at = find(index, &target);
    ASSERT(!is_there(index, at, key, record));
    if (index->leaf_count == 0) {
        leaf_insert(index, 0);
    }
    size_t bytes = ENTRY_HEAD_BYTES + key->size;
    const struct leaf *full = index->leaves[at.leaf];
    if (full->count == LEAF_ENTRIES_MAX ||
        (full->count > 1 && full->used_bytes + bytes > LEAF_BYTES_MAX)) {
        leaf_split(index, &at);
    }

    size_t used = index->leaves[at.leaf]->used_bytes;
    struct leaf *leaf = leaf_fit(index, at.leaf, used + bytes);
    size_t begin = at.place < leaf->count ? leaf->offsets[at.place] : used;
    unsigned char *to = leaf->data + begin;
    memmove(to + bytes, to, used - begin);
    uint16_t size = (uint16_t)key->size;
    memcpy(to, &record, sizeof(record));
    memcpy(to + sizeof(record), &size, sizeof(size));
    memcpy(to + ENTRY_HEAD_BYTES, key->bytes, key->size);
    for (size_t i = leaf->count; i > at.place; i--) {
        leaf->offsets[i] = (uint16_t)(leaf->offsets[i - 1] + bytes);
    }
    leaf->offsets[at.place] = (uint16_t)begin;
    leaf->count++;
    leaf->used_bytes = (uint32_t)(used + bytes);
    index->count++;
    index->change++;
}

void index_remove(struct index *index, const struct index_key *key, int64_t record)
{
    const struct target target = {.bytes = key->bytes, .size = key->size, .record = record};
    struct position at = find(index, &target);
    ASSERT(is_there(index, at, key, record));
    if (at.place == index->leaves[at.leaf]->count) {
        at = (struct position){.leaf = at.leaf + 1};
    }
    struct leaf *leaf = index->leaves[at.leaf];
    size_t bytes = ENTRY_HEAD_BYTES + key->size;
    size_t begin = leaf->offsets[at.place];
    memmove(leaf->data + begin, leaf->data + begin + bytes, leaf->used_bytes - begin - bytes);
    leaf->count--;
    leaf->used_bytes -= (uint32_t)bytes;
    for (size_t i = at.place; i < leaf->count; i++) {
        leaf->offsets[i] = (uint16_t)(leaf->offsets[i + 1] - bytes);
    }
    index->count--;
    index->change++;
    if (leaf->count == 0) {
        leaf_drop(index, at.leaf);
        return;
    }
    leaf_fit(index, at.leaf, leaf->used_bytes);
    if (index->leaves[at.leaf]->count <= LEAF_ENTRIES_FEW) {
        leaf_join_next(index, at.leaf);
    }
}

int64_t index_get(const struct index *index, const struct index_key *key)
{
    struct index_cursor cursor;
    index_walk(index, key, false, &cursor);
    int64_t record = index_step(&cursor);
    return cursor.at.size == key->size ? record : 0;
}

size_t index_count(const struct index *index)
{
    return index->count;
}

bool index_valid(const struct index *index)
{
    size_t count = 0;
    struct entry before = {0};
    for (size_t i = 0; i < index->leaf_count; i++) {
        const struct leaf *leaf = index->leaves[i];
        if (leaf->count == 0 || leaf->count > LEAF_ENTRIES_MAX ||
            leaf->used_bytes > leaf->capacity_bytes) {
            return false;
        }
        for (size_t j = 0; j < leaf->count; j++) {
            struct entry entry = entry_at(leaf, j);
            const struct target target = {
                .bytes = entry.bytes, .size = entry.size, .record = entry.record};
            if (count > 0 && !is_below(before, &target)) {
                return false;
            }
            before = entry;
            count++;
        }
    }
    return count == index->count;
}

// ---- walks --------------------------------------------------------------------------------

static void copy_key(struct index_key *to, const struct index_key *from)
{
    ASSERT(from->size <= INDEX_KEY_MAX);
    memcpy(to->bytes, from->bytes, from->size);
    to->size = from->size;
}

void index_walk(const struct index *index, const struct index_key *prefix, bool descending,
                struct index_cursor *out_cursor)
{
    out_cursor->index = index;
    copy_key(&out_cursor->prefix, prefix);
    out_cursor->at.size = 0;
    out_cursor->at_record = 0;
    out_cursor->descending = descending;
    out_cursor->started = false;
    out_cursor->change = UINT64_MAX;
    out_cursor->leaf = 0;
    out_cursor->place = 0;
}

void index_walk_after(struct index_cursor *cursor, const struct index_key *key, int64_t record)
{
    copy_key(&cursor->at, key);
    cursor->at_record = record;
    cursor->started = true;
    cursor->change = UINT64_MAX;
}

// Where an ascending walk goes on: the first entry that has not been seen.
static struct position next_ascending(const struct index_cursor *cursor)
{
    const struct target first = {.bytes = cursor->prefix.bytes, .size = cursor->prefix.size};
    struct target behind = {.bytes = cursor->at.bytes, .size = cursor->at.size};
    if (!cursor->started) {
        return find(cursor->index, &first);
    }
    // Where the walk stands may lie before the prefix when a caller resumed it there.
    const struct entry at = {
        .bytes = cursor->at.bytes, .size = cursor->at.size, .record = cursor->at_record};
    if (is_below(at, &first)) {
        return find(cursor->index, &first);
    }
    behind.record = cursor->at_record == INT64_MAX ? INT64_MAX : cursor->at_record + 1;
    return find(cursor->index, &behind);
}

// The same for a descending walk: one behind the entry to take.
static struct position next_descending(const struct index_cursor *cursor)
{
    const struct target end = {
        .bytes = cursor->prefix.bytes, .size = cursor->prefix.size, .behind_prefix = true};
    const struct entry at = {
        .bytes = cursor->at.bytes, .size = cursor->at.size, .record = cursor->at_record};
    if (!cursor->started || !is_below(at, &end)) {
        return find(cursor->index, &end);
    }
    const struct target before = {.bytes = at.bytes, .size = at.size, .record = at.record};
    return find(cursor->index, &before);
}

// Set the cursor's leaf and place to the next entry in the walk's direction, prefix or not.
static bool advance(struct index_cursor *cursor)
{
    const struct index *index = cursor->index;
    bool holds = cursor->started && cursor->change == index->change;
    struct position at = {.leaf = cursor->leaf, .place = cursor->place};
    if (cursor->descending) {
        at = holds ? at : next_descending(cursor);
        if (at.place == 0) {
            if (at.leaf == 0) {
                return false;
            }
            at.leaf--;
            at.place = index->leaves[at.leaf]->count;
        }
        at.place--;
    } else {
        at = holds ? (struct position){.leaf = at.leaf, .place = at.place + 1}
                   : next_ascending(cursor);
        if (at.leaf < index->leaf_count && at.place >= index->leaves[at.leaf]->count) {
            at = (struct position){.leaf = at.leaf + 1};
        }
        if (at.leaf >= index->leaf_count) {
            return false;
        }
    }
    cursor->leaf = at.leaf;
    cursor->place = at.place;
    cursor->change = index->change;
    return true;
}

int64_t index_step(struct index_cursor *cursor)
{
    // At the end the cursor keeps its place by key, so entries that come later are still found.
    if (!advance(cursor)) {
        cursor->change = UINT64_MAX;
        return 0;
    }
    struct entry entry = entry_at(cursor->index->leaves[cursor->leaf], cursor->place);
    if (entry.size < cursor->prefix.size ||
        memcmp(entry.bytes, cursor->prefix.bytes, cursor->prefix.size) != 0) {
        cursor->change = UINT64_MAX;
        return 0;
    }
    memcpy(cursor->at.bytes, entry.bytes, entry.size);
    cursor->at.size = entry.size;
    cursor->at_record = entry.record;
    cursor->started = true;
    return entry.record;
}
