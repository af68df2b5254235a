#pragma once

#include "base/base.h"

/*
 * Borrowed text: compare, cut, parse. Nothing here allocates or looks at the locale.
 */

/** View a terminated string; NULL gives an absent text. */
struct text text_of(const char *string);

/** Same bytes. Absent equals absent, and differs from empty. */
bool text_equal(struct text a, struct text b);

/** Same bytes as a terminated string. */
bool text_is(struct text text, const char *string);

/** ASCII case is ignored. */
bool text_equal_nocase(struct text a, struct text b);

/** Order by bytes, then by size: <0, 0, >0. */
int text_compare(struct text a, struct text b);

/** @return whether text begins with prefix */
bool text_starts(struct text text, struct text prefix);

/** @return whether text ends with suffix */
bool text_ends(struct text text, struct text suffix);

/** @return a byte in lower case, where it is an ASCII letter */
static inline char text_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

/** @return whether a byte is an ASCII letter or digit */
static inline bool text_plain(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9');
}

/** @return whether text has nothing but ASCII letters, digits, and bytes of `more` */
bool text_made_of(struct text text, const char *more);

/** Absent or empty. */
bool text_empty(struct text text);

/** Bytes [from, to) with both ends clamped to the size. */
struct text text_slice(struct text text, size_t from, size_t to);

/** @return index of the first such byte, or SIZE_MAX */
size_t text_find(struct text text, char byte);

/** @return index of the last such byte, or SIZE_MAX */
size_t text_find_last(struct text text, char byte);

/** Without spaces, tabs, CR and LF at both ends. */
struct text text_trim(struct text text);

/**
 * Cut the next field off the front: returns what is before the separator and moves rest behind it.
 * When no separator is left, returns all of rest and makes rest absent. Loop while rest is present.
 */
struct text text_cut(struct text *rest, char separator);

/**
 * Parse a decimal integer that fills the text: optional minus, digits, no space, no plus.
 *
 * @return 0, or ERR_INVALID when it is not one or does not fit
 */
MUST_CHECK int text_to_i64(struct text text, int64_t *out_value);

/** Unsigned form of text_to_i64. */
MUST_CHECK int text_to_u64(struct text text, uint64_t *out_value);

/** Every byte is valid UTF-8: no overlong forms, no surrogates, nothing over U+10FFFF. */
bool text_is_utf8(struct text text);

/**
 * Copy into a caller's array and terminate.
 *
 * @return 0, or ERR_NO_ROOM when it does not fit (nothing useful is written then)
 */
MUST_CHECK int text_copy(struct text text, char *out_string, size_t size_bytes);

/** Write 2 * size hex digits and a terminator. */
void text_hex(const void *bytes, size_t size, char *out_string);

#define TEXT_UUID_CHARS 36

/** Write 16 random bytes as a UUID of version 4 and a terminator. */
void text_uuid(const unsigned char bytes[16], char out_string[TEXT_UUID_CHARS + 1]);

/** Parse hex digits of exactly 2 * size. @return 0 or ERR_INVALID */
MUST_CHECK int text_unhex(struct text text, void *out_bytes, size_t size);

/** FNV-1a, for hash tables whose order reaches no result. */
uint64_t text_hash(struct text text);
