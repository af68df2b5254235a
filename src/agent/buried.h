#pragma once

#include "base/base.h"

/*
 * The ids of the last tasks that ended, in little room: an id takes 20 bytes, where a map would
 * take 150.
 */

#define BURIED_MAX 4096
#define BURIED_BUCKETS 1024
#define BURIED_ID_BYTES 16 ///< of the 32 hex digits that a task's id is

/** Zero-initialise. */
struct buried {
    unsigned char ids[BURIED_MAX][BURIED_ID_BYTES];
    uint16_t next[BURIED_MAX];      ///< in the same bucket: a place and one, 0 for none
    uint16_t heads[BURIED_BUCKETS]; ///< likewise
    size_t count;                   ///< of those remembered
    size_t place;                   ///< where the next goes, over the oldest
};

/** Remember an id of 32 hex digits; the oldest is forgotten when there are too many. */
void buried_add(struct buried *buried, struct text id);

/** @return whether the id is remembered */
bool buried_has(const struct buried *buried, struct text id);
