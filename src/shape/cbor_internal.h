#pragma once

#include "shape/cbor.h"
#include "shape/shape_internal.h"

/*
 * CBOR's items: what cbor_write.c and cbor_read.c share.
 *
 * The heads of items are read and written here rather than by libcbor: Debian ships that library
 * shared only, and the supervisor, which speaks these records, is a static program. The tests
 * check what is written against libcbor's own decoder.
 */

enum major {
    MAJOR_UINT = 0,
    MAJOR_NEGATIVE = 1,
    MAJOR_BYTES = 2,
    MAJOR_TEXT = 3,
    MAJOR_ARRAY = 4,
    MAJOR_MAP = 5,
    MAJOR_TAG = 6,
    MAJOR_SIMPLE = 7,
};

#define SIMPLE_FALSE 20
#define SIMPLE_TRUE 21
#define INFO_DOUBLE 27
#define VERSION_KEY 0

/** Bytes still to be read. */
struct reader {
    const unsigned char *at;
    const unsigned char *end;
};

/** What an item begins with. */
struct head {
    enum major major;
    unsigned info;   ///< the low five bits
    uint64_t number; ///< what they and the bytes behind them say
};

static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/**
 * Read a head. Refuses indefinite lengths and numbers not in their shortest form: nobody writes
 * them here, and without them a record has only one encoding.
 *
 * @return 0 or ERR_CORRUPT
 */
MUST_CHECK static inline int read_head(struct reader *reader, struct head *out)
{
    if (reader_left(reader) == 0) {
        return ERR_CORRUPT;
    }
    struct head head = {.major = reader->at[0] >> 5, .info = reader->at[0] & 31};
    size_t size = head.info < 24 ? 0 : (size_t)1 << (head.info - 24);
    if (head.info > 27 || reader_left(reader) < 1 + size) {
        return ERR_CORRUPT;
    }
    head.number = size == 0 ? head.info : 0;
    for (size_t i = 0; i < size; i++) {
        head.number = head.number << 8 | reader->at[1 + i];
    }
    static const uint64_t smallest[] = {24, 0x100, 0x10000, (uint64_t)UINT32_MAX + 1};
    if (size > 0 && head.major != MAJOR_SIMPLE && head.number < smallest[head.info - 24]) {
        return ERR_CORRUPT;
    }
    reader->at += 1 + size;
    *out = head;
    return 0;
}

/** Move behind one item of any kind. @return 0 or ERR_CORRUPT */
MUST_CHECK int cbor_skip(struct reader *reader);
