#pragma once

#include "base/buf.h"
#include "base/err.h"

/*
 * The files of the event log: lines in two segments of bounded size, `current` and `previous`, in a
 * directory. When `current` is full it takes the place of `previous`.
 *
 * Nothing is forced to disk: events tell of state that is stored elsewhere. After the process was
 * killed all lines that were written are there; after a power failure some may be gone or torn. A
 * line that does not end, or that the reader refuses, is left out.
 */

struct event_file;

struct event_file_options {
    const char *dir;        ///< made when it is missing
    uint64_t segment_bytes; ///< of each of the two
    /** Sees each line, oldest first, without its end. */
    void (*on_line)(void *context, struct text line);
    void *context;
};

/**
 * Read what is there and open for writing.
 *
 * @param out_gone  whether older lines were there once and are gone
 * @return 0, or what opening and reading files returns; nothing is open then
 */
MUST_CHECK int event_file_open(const struct event_file_options *options,
                               struct event_file **out_file, bool *out_gone, struct err *err);

/**
 * Append whole lines, each with its end. May be called on another thread, one call at a time. No
 * segment becomes larger than it may, but by a line that is larger alone.
 *
 * @param out_written  bytes of the lines that were written, whole ones; set on failure, too
 * @return 0; ERR_FULL_DISK or ERR_SYS
 */
MUST_CHECK int event_file_write(struct event_file *file, struct text lines, size_t *out_written,
                                struct err *err);

/** Close; NULL is allowed. */
void event_file_close(struct event_file *file);
