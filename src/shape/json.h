#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * JSON in both directions, after AWS JSON 1.1: unknown members are ignored, null is absence,
 * timestamps are epoch seconds with a fraction, blobs are base64.
 *
 * Refused: broken UTF-8, duplicate keys, numbers that do not fit, a wrong type, nesting deeper
 * than LIMIT_JSON_DEPTH, more containers than any real request has, anything behind the document.
 * A double also reads and writes the strings "NaN", "Infinity" and "-Infinity", as Smithy's JSON
 * protocols do. A null inside a list or map is refused.
 */

/**
 * Decode a struct. Everything in out borrows from the arena; nothing borrows from body.
 *
 * An enum value that the schema does not know becomes -1; shape_validate tells.
 *
 * @return 0; ERR_INVALID when body is not JSON (error->path is empty) or a member has the wrong
 *         type (error->path names it)
 */
MUST_CHECK int json_decode(const struct shape_type *type, struct text body, struct arena *arena,
                           void *out, struct shape_error *error);

/**
 * Append a struct as one line of JSON; absent members are left out.
 *
 * Times are epoch seconds with three decimals unless they are whole. Doubles are the shortest that
 * read back the same. An enum value that the schema does not know becomes null.
 */
void json_encode(const struct shape_type *type, const void *value, struct buf *out);

/** The same, with sensitive members replaced by "***": for people and for dumps. */
void json_encode_masked(const struct shape_type *type, const void *value, struct buf *out);

/** The same as json_encode, but times are strings of ISO 8601 in UTC with milliseconds, as events
 *  have them: `2026-01-31T23:59:59.042Z`. Years are 0000 to 9999. */
void json_encode_iso(const struct shape_type *type, const void *value, struct buf *out);

/** Append a text as a JSON string literal; bytes that are not UTF-8 become U+FFFD. */
void json_quote(struct text text, struct buf *out);

/** Append bytes as JSON has blobs: a string literal of base64, with padding. */
void json_quote_bytes(struct text bytes, struct buf *out);
