#pragma once

#include "core/core.h"
#include "store/store.h"

#include <pthread.h>

/*
 * A thread that writes batches of the engine, as the server's host has one: while it writes, the
 * next batch gathers.
 */

/** The thread and what is between it and the engine's. */
struct writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct store *store;
    struct core_batch *batch; ///< to write; NULL when idle
    bool written;
    bool stop;
    size_t batch_count;
};

/** Write a batch here and now. A failure ends the program. */
void writer_rows(struct store *store, const struct core_batch *batch);

/** Start the thread; the store is its own until writer_stop. */
void writer_start(struct writer *writer, struct store *store);

/** Hand over what gathered when the writer is free; wait says to wait until it is. */
void writer_hand_over(struct writer *writer, struct core *core, bool wait);

/** End the thread once it has written what it has. */
void writer_stop(struct writer *writer);
