#pragma once

#include "base/base.h"

/*
 * What starting tasks on many hosts would cost if nobody thought about it: the same frames over a
 * bare connection, the same journals written and synchronised, the same rows put into SQLite, all
 * three at once.
 */

/** How much of each. */
struct floor_load {
    const char *folder;     ///< where files are made
    const char *store;      ///< database whose rows are written again
    size_t tasks;           ///< frames of each go back and forth
    size_t journals;        ///< files
    size_t journal_writes;  ///< over all files; each is synchronised
    uint64_t journal_bytes; ///< over all files
};

/** How long each took while all were under way. */
struct floor_times {
    double wire_seconds;
    double journal_seconds;
    double store_seconds;
    size_t rows;
    double seconds; ///< until the last was done
};

/** Do it all and measure. A failure ends the program. */
void floor_measure(const struct floor_load *load, struct floor_times *out_times);
