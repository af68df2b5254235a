#pragma once

#include "base/base.h"

/*
 * A growable byte buffer with an optional limit.
 *
 * Appending past the limit sets `full` and drops the bytes: check once at the end instead of at
 * every append. Zero-initialised storage is a valid empty buffer without a limit.
 */
struct buf {
    char *data;         ///< owned; terminated with a zero byte that is not counted, once not NULL
    size_t size;        ///< bytes in use
    size_t capacity;    ///< bytes allocated
    size_t limit_bytes; ///< 0 for none
    bool full;          ///< something was dropped
};

/** Append bytes. */
void buf_add(struct buf *buf, const void *bytes, size_t size);

/** Append one byte. */
void buf_byte(struct buf *buf, char byte);

/** Append a text percent-encoded: all but the unreserved characters of RFC 3986. */
void buf_percent(struct buf *buf, struct text text);

/** Append a text. */
void buf_text(struct buf *buf, struct text text);

/** Append a terminated string. */
void buf_string(struct buf *buf, const char *string);

/** Append formatted text. */
void buf_format(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/** Make room for size more bytes and return where they go; add to buf->size what was used. */
char *buf_reserve(struct buf *buf, size_t size);

/** Drop the first size bytes and move the rest to the front. */
void buf_consume(struct buf *buf, size_t size);

/** View the content; valid until the buffer changes. Never absent. */
struct text buf_view(const struct buf *buf);

/** Empty, keeping the memory. */
void buf_reset(struct buf *buf);

/** Free the memory. */
void buf_deinit(struct buf *buf);

AUTO_VALUE(struct buf, buf_deinit)
