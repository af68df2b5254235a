#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * Records in CBOR (RFC 8949): a map from permanent member numbers to values, in ascending order.
 * The same struct always gives the same bytes. Times are integers in milliseconds, enums their
 * numbers.
 *
 * A record opens with its version under key 0. Members whose number the schema does not know are
 * kept: cbor_decode returns them, cbor_encode writes them back.
 */

/** Unknown members of a record's top level, as they were: encoded key-value pairs. */
struct cbor_unknown {
    struct text pairs;  ///< borrowed from the arena; absent when there are none
    uint32_t count;
};

/** Append a record. unknown may be NULL. */
void cbor_encode(const struct shape_type *type, const void *value, uint32_t version,
                 const struct cbor_unknown *unknown, struct buf *out);

/**
 * Decode a record. Strings borrow from the arena, never from bytes.
 *
 * @param out_version  key 0, 0 when there is none; may be NULL
 * @param out_unknown  may be NULL: unknown members are skipped then
 * @return 0, or ERR_CORRUPT with where and why
 */
MUST_CHECK int cbor_decode(const struct shape_type *type, struct text bytes, struct arena *arena,
                           void *out, uint32_t *out_version, struct cbor_unknown *out_unknown,
                           struct shape_error *error);
