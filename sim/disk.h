#pragma once

#include "world.h"

#include <stdbool.h>

/*
 * A disk for SQLite: files in memory, of which a loss of power takes what was not synchronised,
 * each sector of 512 bytes by its own chance. A process that dies leaves everything, also what it
 * had not synchronised yet; the next loss of power may still take it.
 *
 * It stands under SQLite as its default VFS, so the store runs as it is. One disk at a time.
 */

struct disk;

/** Make an empty disk, and have SQLite use it. */
struct disk *disk_new(struct world *world);

/** Free it. All databases on it must be closed. */
void disk_free(struct disk *disk);

/** @return where a database may be: a path in a directory that exists */
const char *disk_path(const struct disk *disk);

/** Let so many writes, truncations and synchronisations through; the next one and all that follow
 *  fail, and the last one is cut off. Negative: all are let through. */
void disk_fail_after(struct disk *disk, int count);

/** Every operation fails from now on, until disk_fail_after. */
void disk_stop(struct disk *disk);

/** Power is lost and comes back. */
void disk_lose_power(struct disk *disk);
