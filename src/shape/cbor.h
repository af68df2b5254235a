#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * Records in CBOR (RFC 8949): a map from permanent member numbers to values, in ascending order.
 * The same struct always gives the same bytes. Times are integers in milliseconds, enums their
 * numbers.
 *
 * Only that encoding is read: lengths and numbers in their shortest form, doubles always in eight
 * bytes, keys ascending, nothing indefinite, no tags. Texts that are not UTF-8 are refused, and
 * cbor_encode writes U+FFFD for each broken byte instead. An enum's number that the schema does not
 * know reads as -1. Needs base and libc only.
 *
 * A record opens with its version under key 0. Members whose number the schema does not know are
 * kept: cbor_decode returns them, cbor_encode writes them back.
 */

/** Unknown members of a record's top level, as they were: encoded key-value pairs. */
struct cbor_unknown {
    struct text pairs; ///< borrowed from the arena; absent when there are none
    uint32_t count;
};

/** Append a record. unknown may be NULL, or what cbor_decode gave for a record of the same type. */
void cbor_encode(const struct shape_type *type, const void *value, uint32_t version,
                 const struct cbor_unknown *unknown, struct buf *out);

/**
 * Decode a record. Strings borrow from the arena, never from bytes, and are terminated. Unknown
 * members inside of members are skipped. out is written only on success.
 *
 * @param out_version  key 0, 0 when there is none; may be NULL
 * @param out_unknown  may be NULL: unknown members are skipped then
 * @return 0, or ERR_CORRUPT with where and why
 */
MUST_CHECK int cbor_decode(const struct shape_type *type, struct text bytes, struct arena *arena,
                           void *out, uint32_t *out_version, struct cbor_unknown *out_unknown,
                           struct shape_error *error);
