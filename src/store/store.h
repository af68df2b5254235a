#pragma once

#include "base/err.h"

/*
 * Where rows are kept: bytes under ascending keys. A store never learns what a row means.
 *
 * Calls are blocking and come from one thread at a time (the engine's host calls write from a
 * worker, never two at once).
 */

/** One changed row. */
struct store_row {
    int64_t key; ///< from 1
    uint16_t kind;
    struct text bytes; ///< absent: delete; deleting what is not there is no error
};

struct store;

/** Called for every row in ascending key. Bytes are borrowed for the call. @return 0 to go on */
typedef int (*store_visit_fn)(void *context, int64_t key, uint16_t kind, struct text bytes,
                              struct err *err);

/** What a backend does. */
struct store_ops {
    const char *name;
    /** Visit all rows, and tell the version of the last write (0 for an empty store). */
    int (*load)(struct store *store, store_visit_fn visit, void *context, uint64_t *out_version,
                struct err *err);
    /**
     * Make all rows durable at once: after 0 they survive a power loss, after an error or a crash
     * either all or none are there. version must be greater than the last one. Of several rows
     * with one key the last one counts.
     */
    int (*write)(struct store *store, uint64_t version, const struct store_row *rows,
                 size_t row_count, struct err *err);
    /** See store_has_room. May be NULL: always. */
    bool (*has_room)(struct store *store);
    void (*close)(struct store *store);
};

/** Embed as the first member of a backend. */
struct store {
    const struct store_ops *ops;
};

/**
 * See store_ops.load.
 *
 * @return 0; what visit returned; ERR_CORRUPT when rows are damaged; ERR_SYS
 */
MUST_CHECK int store_load(struct store *store, store_visit_fn visit, void *context,
                          uint64_t *out_version, struct err *err);

/**
 * See store_ops.write.
 *
 * @return 0; ERR_FULL_DISK; ERR_SYS; ERR_CORRUPT; ERR_INVALID when the version does not grow or a
 *         key is not above 0. The process must end on any error
 */
MUST_CHECK int store_write(struct store *store, uint64_t version, const struct store_row *rows,
                           size_t row_count, struct err *err);

/**
 * Whether there is room to go on writing. Where a reserve is held back, this makes it when it is
 * missing; without it, or with next to nothing beside it, there is no room. Blocking, some system
 * calls; not while a write is under way.
 */
MUST_CHECK bool store_has_room(struct store *store);

/** Close and free; NULL is allowed. */
void store_close(struct store *store);
AUTO_POINTER(struct store, store_close)

/** Rows in memory: for tests and the simulator. Survives nothing. */
struct store *store_memory_new(void);

/**
 * Rows in an SQLite database, in WAL mode with synchronous=FULL. The file and its companions
 * PATH-wal and PATH-reserve are 0600; the directory must exist. A foreign file is left as it is.
 *
 * PATH-reserve holds disk space back: when the disk is full at opening, it is given up to bring
 * the write-ahead log into the file, and made again by an opening that finds room.
 *
 * @return 0; ERR_BUSY when another process has it open; ERR_CORRUPT when the file is damaged or not
 *         Berth's; ERR_VERSION when a newer Berth wrote it; ERR_FULL_DISK; ERR_NOT_FOUND without
 *         the directory; ERR_DENIED; ERR_SYS
 */
MUST_CHECK int store_sqlite_open(const char *path, struct store **out_store, struct err *err);
