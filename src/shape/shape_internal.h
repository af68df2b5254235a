#pragma once

#include "base/buf.h"
#include "shape/shape.h"

#include <string.h>

/*
 * What the codecs, the validator and the differ share. Nobody outside this folder includes it.
 *
 * Recursion in this folder follows descriptors, which never contain themselves, so its depth is
 * fixed by the schema and not by the input.
 */

/**
 * The most memory that one decoded value may take. Elements of a list are stored inline, so three
 * bytes of input may ask for hundreds; no value within the limits of base/limits.h comes near.
 */
#define DECODE_BYTES_MAX (64u << 20)

/** One step from the root of a value towards a part; lives on the stack of who walks there. */
struct shape_path {
    const struct shape_path *parent; ///< NULL: a member of the root
    const char *name;                ///< of a member; NULL for an element
    struct text key;                 ///< of an entry or a named element; absent: index counts
    size_t index;
};

/** Append a path such as `containerDefinitions[0].image`; NULL is the root and appends nothing. */
void shape_path_write(const struct shape_path *path, struct buf *out);

/** Fill error with a path and a clause. @return code */
int shape_fail(struct shape_error *error, const struct shape_path *path, int code,
               const char *format, ...) PRINTF_LIKE(4, 5);

/** shape_equal for values of any kind. A struct is given by its own address. */
bool shape_value_equal(const struct shape_type *type, const void *a, const void *b);

/** @return whether no two entries of a map have the same key */
bool shape_map_unique(const struct shape_type *type, const struct shape_list *map);

/** Value of a member inside the struct at value. */
static inline const void *shape_at(const struct shape_member *member, const void *value)
{
    return (const char *)value + member->offset;
}

/** The struct behind the pointer that a member of kind struct holds. */
static inline const void *shape_pointee(const void *at)
{
    const void *pointee = NULL;
    memcpy(&pointee, at, sizeof(pointee));
    return pointee;
}

/** A present member's value as the walkers take it: for a struct, the struct itself. */
static inline const void *shape_value(const struct shape_member *member, const void *value)
{
    const void *at = shape_at(member, value);
    return member->type->kind == SHAPE_STRUCT ? shape_pointee(at) : at;
}

/** Bytes from one element of a list, or entry of a map, to the next. */
static inline size_t shape_stride(const struct shape_type *type)
{
    return type->kind == SHAPE_MAP ? type->entry_size_bytes : type->element->size_bytes;
}

/** @return size of the UTF-8 sequence at the front, 0 when it is broken; size is not 0 */
size_t shape_utf8_size(const char *data, size_t size);

/** text_is_utf8, faster for texts that are mostly ASCII. */
bool shape_is_utf8(struct text text);

/** Room for size bytes within the buffer's limit, or NULL (the buffer is full then). */
static inline char *put_room(struct buf *buf, size_t size)
{
    if (buf->limit_bytes != 0 && (buf->full || size > buf->limit_bytes - buf->size)) {
        buf->full = true;
        return NULL;
    }
    if (buf->capacity - buf->size <= size) {
        return buf_reserve(buf, size);
    }
    return buf->data + buf->size;
}

/** As buf_add, without the terminator: put_end writes it once, behind the whole document. */
static inline void put(struct buf *buf, const char *bytes, size_t size)
{
    char *to = put_room(buf, size);
    if (to != NULL && size > 0) {
        memcpy(to, bytes, size);
        buf->size += size;
    }
}

/** put of one byte. */
static inline void put_byte(struct buf *buf, char byte)
{
    put(buf, &byte, 1);
}

/** put of a string literal. */
#define PUT(buf, literal) put((buf), (literal), sizeof(literal) - 1)

/** Terminate what put has appended. */
static inline void put_end(struct buf *buf)
{
    if (buf->data != NULL) {
        buf->data[buf->size] = '\0';
    }
}

/** Append a decimal integer, without terminator. */
void put_i64(struct buf *buf, int64_t value);

/** Append the shortest decimal that reads back as the same double, always with a point or an
 *  exponent; `NaN`, `Infinity` and `-Infinity` for what is no number. Without terminator. */
void put_double(struct buf *buf, double value);

/** Append base64 with padding, without terminator. */
void put_base64(struct buf *buf, struct text bytes);

/** Decode padded base64 into the arena. @return 0 or ERR_INVALID */
MUST_CHECK int base64_decode(struct text text, struct arena *arena, struct text *out_bytes);

/** Ways to write JSON; json.h has a function for each. */
enum json_style {
    JSON_PLAIN,
    JSON_MASKED,
    JSON_ISO_TIMES,
};

/** Append any value as JSON, without terminator. A struct is given by its own address. */
void json_put_value(const struct shape_type *type, const void *value, enum json_style style,
                    struct buf *out);

/** As shape_present, inline: an encoder asks for every member of every record. */
UNUSED static inline bool shape_has(const struct shape_member *member, const void *value)
{
    if (member->has_offset != SHAPE_NO_OFFSET) {
        return *((const bool *)value + member->has_offset);
    }
    const void *at = shape_at(member, value);
    switch (member->type->kind) {
    case SHAPE_TIME:
        return *(const int64_t *)at != 0;
    case SHAPE_TEXT:
    case SHAPE_BLOB:
    case SHAPE_DOCUMENT:
        return ((const struct text *)at)->data != NULL;
    case SHAPE_ENUM:
        return *(const int32_t *)at != 0;
    case SHAPE_STRUCT:
        return shape_pointee(at) != NULL;
    case SHAPE_LIST:
    case SHAPE_MAP:
        return ((const struct shape_list *)at)->items != NULL;
    case SHAPE_BOOL:
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_DOUBLE:
        break;
    }
    ASSERT(!"a number or bool without a presence flag");
    return false;
}
