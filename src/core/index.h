#pragma once

#include "base/base.h"

/*
 * An ordered index in memory: byte strings to record keys, in memcmp order.
 *
 * Modules keep these as volatile state and maintain them from `changed`. Compose keys with
 * index_key_text and index_key_u64: parts are separated so that a prefix of parts is a prefix of
 * bytes, and numbers sort as numbers. Not unique: the record's key is part of the order, so several
 * records may share a byte string.
 */
struct index;

#define INDEX_KEY_MAX 1024

/** A composed key. Zero-initialise, then append parts. */
struct index_key {
    unsigned char bytes[INDEX_KEY_MAX];
    size_t size;
};

/**
 * Append a text part; an absent text counts as an empty one. Longer keys than INDEX_KEY_MAX end
 * the process: names are bounded.
 */
void index_key_text(struct index_key *key, struct text part);

/** Append a number part, ordered as unsigned. */
void index_key_u64(struct index_key *key, uint64_t part);

/**
 * Append the beginning of a text part, to walk over all texts that begin so. Nothing may be
 * appended behind it, and the key is for walks only.
 */
void index_key_text_begin(struct index_key *key, struct text beginning);

/** Make an empty index. */
struct index *index_new(void);

/** Free; NULL is allowed. */
void index_free(struct index *index);

/** Add an entry; it must not be there yet. record is above 0. */
void index_add(struct index *index, const struct index_key *key, int64_t record);

/** Remove an entry; it must be there. */
void index_remove(struct index *index, const struct index_key *key, int64_t record);

/** @return the first record with exactly this key, or 0 */
int64_t index_get(const struct index *index, const struct index_key *key);

/** @return how many entries there are */
size_t index_count(const struct index *index);

/** @return whether entries are in order and counted right; for checks */
bool index_valid(const struct index *index);

/** A walk over entries that begin with a prefix. */
struct index_cursor {
    const struct index *index;
    struct index_key prefix;
    struct index_key at; ///< where the walk stands
    int64_t at_record;
    bool descending;
    bool started;
    uint64_t change; ///< private: of the index when leaf and place were found
    size_t leaf;     ///< private
    size_t place;    ///< private
};

/** Begin a walk over all entries whose key begins with the prefix, in order or against it. */
void index_walk(const struct index *index, const struct index_key *prefix, bool descending,
                struct index_cursor *out_cursor);

/** Continue a walk behind an entry that need not exist any more: for pagination. */
void index_walk_after(struct index_cursor *cursor, const struct index_key *key, int64_t record);

/**
 * Step. The index may have changed since the last step: the walk goes on behind where it stood.
 *
 * @return the record, or 0 at the end; the entry's key is in cursor->at
 */
int64_t index_step(struct index_cursor *cursor);
