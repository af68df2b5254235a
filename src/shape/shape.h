#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * Descriptors: what the compiler of `.api` files says about a C struct, so that one small set of
 * codecs, validators, copiers and differs serves every operation, record and message.
 *
 * How a shape looks in C:
 *
 *   bool, int, long, double   the value, and `bool has_NAME` beside it
 *   time                      int64_t milliseconds since 1970; 0 is absent
 *   string, blob, document    struct text; absent has no data. A document is raw, valid JSON
 *   enum                      the C enum; 0 (NAME_ABSENT) is absent, -1 (NAME_UNRECOGNIZED) a value
 *                             that the schema does not know
 *   struct                    a pointer, NULL when absent; inline as an element of a list or map
 *   list<T>                   { T *items; size_t count; }; absent has no items. An empty present
 *                             list has SHAPE_EMPTY as its items
 *   map<T>                    { entry *items; size_t count; } of { struct text key; T value; };
 *                             keys are unique, order is that of the sender
 *
 * Values borrow their memory: from an arena after decoding, from one heap block after
 * shape_clone. Nothing in a shape owns anything by itself. Shapes never contain themselves.
 */

enum shape_kind {
    SHAPE_BOOL,
    SHAPE_INT,  ///< int32_t
    SHAPE_LONG, ///< int64_t
    SHAPE_DOUBLE,
    SHAPE_TIME, ///< int64_t milliseconds
    SHAPE_TEXT,
    SHAPE_BLOB,
    SHAPE_DOCUMENT, ///< struct text holding JSON
    SHAPE_ENUM,
    SHAPE_STRUCT,
    SHAPE_LIST,
    SHAPE_MAP,
};

/** For `items` of a list or map that is present and empty. */
#define SHAPE_EMPTY ((void *)(uintptr_t)&shape_empty)
extern const char shape_empty;

/** One value of an enum. */
struct shape_enum_value {
    int32_t number;   ///< permanent; as in the C enum
    const char *name; ///< as on the wire
};

/** A shape. Generated, constant, shared. */
struct shape_type {
    enum shape_kind kind;
    const char *name;    ///< as in the schema; the kind's name for unnamed ones
    uint32_t size_bytes; ///< of one value as an element: sizeof the C type
    uint32_t align_bytes;
    const struct shape_member *members; ///< struct: in ascending number
    const uint16_t *by_name;            ///< struct: indexes of members in name order
    uint16_t member_count;
    const struct shape_type *element;      ///< list, and value of a map
    uint32_t value_offset;                 ///< map: of the value in an entry
    uint32_t entry_size_bytes;             ///< map: sizeof an entry
    const struct shape_enum_value *values; ///< enum: in ascending number
    uint16_t value_count;
};

#define SHAPE_NO_OFFSET UINT32_MAX
#define SHAPE_NO_MIN INT64_MIN
#define SHAPE_NO_MAX INT64_MAX

enum shape_flag {
    SHAPE_REQUIRED = 1,
    SHAPE_SENSITIVE = 2,   ///< never logged, never shown by debug dump
    SHAPE_IDEMPOTENCY = 4, ///< a client token
};

/** A member of a struct. */
struct shape_member {
    const char *name; ///< as on the wire
    const struct shape_type *type;
    uint32_t number;     ///< permanent, from 1
    uint32_t offset;     ///< of the value in the C struct
    uint32_t has_offset; ///< of the presence flag, or SHAPE_NO_OFFSET
    uint32_t flags;      ///< of enum shape_flag
    int64_t min;         ///< value of a number, length of a text, count of a list
    int64_t max;
    const char *pattern; ///< POSIX extended expression over the whole text, or NULL
};

/** Lists and maps of plain values that every schema shares. */
struct text_list {
    struct text *items;
    size_t count;
};

/** @return whether a list has a text */
bool text_list_has(const struct text_list *list, struct text text);

struct int_list {
    int32_t *items;
    size_t count;
};
struct long_list {
    int64_t *items;
    size_t count;
};
struct double_list {
    double *items;
    size_t count;
};
struct text_entry {
    struct text key;
    struct text value;
};
struct text_map {
    struct text_entry *items;
    size_t count;
};

/** The layout all generated list structs share. */
struct shape_list {
    void *items;
    size_t count;
};

extern const struct shape_type shape_bool;
extern const struct shape_type shape_int;
extern const struct shape_type shape_long;
extern const struct shape_type shape_double;
extern const struct shape_type shape_time;
extern const struct shape_type shape_text;
extern const struct shape_type shape_blob;
extern const struct shape_type shape_document;
extern const struct shape_type shape_text_list;
extern const struct shape_type shape_int_list;
extern const struct shape_type shape_long_list;
extern const struct shape_type shape_double_list;
extern const struct shape_type shape_text_map;

/** Where and why decoding or validation refused. */
struct shape_error {
    char path[256]; ///< such as `containerDefinitions[0].image`; empty for the whole
    char text[512]; ///< of a decoder a clause that fits behind the path, such as `expected a
                    ///< string`; of shape_validate a whole sentence as AWS words it
};

/** @return the member of that wire name, or NULL */
const struct shape_member *shape_find(const struct shape_type *type, struct text name);

/** @return the member with that number, or NULL */
const struct shape_member *shape_find_number(const struct shape_type *type, uint32_t number);

/** @return whether the member is present in the struct at value */
bool shape_present(const struct shape_member *member, const void *value);

/** @return the wire name of an enum's number, NULL for 0 and for unknown ones */
const char *shape_enum_name(const struct shape_type *type, int32_t number);

/** @return the number of an enum's wire name, -1 when the schema does not know it */
int32_t shape_enum_number(const struct shape_type *type, struct text name);

/** Deep copy of a struct into an arena. @return the copy, of type->size_bytes */
void *shape_copy(const struct shape_type *type, const void *value, struct arena *arena);

/**
 * Deep copy of a struct into one heap block, as compact as the value allows.
 *
 * @param out_size_bytes  size of the block; may be NULL
 * @return the copy; free the whole with alloc_free
 */
void *shape_clone(const struct shape_type *type, const void *value, size_t *out_size_bytes);

/**
 * Deep equality of two structs: same members present, same values, same order in lists. The order
 * of a map's entries does not matter.
 */
bool shape_equal(const struct shape_type *type, const void *a, const void *b);

/** One difference between two structs. */
struct shape_change {
    struct text path;   ///< such as `containerDefinitions[web].image`
    struct text before; ///< JSON, absent when it was not there
    struct text after;  ///< JSON, absent when it is gone
};

/** Differences in member order. */
struct shape_changes {
    struct shape_change *items;
    size_t count;
};

/**
 * Differences of two structs, down to the smallest parts: texts, numbers, and structs, lists or
 * entries that only one side has. Lists of structs that have a `name` member are matched by it
 * when every element has its own, others by position; named elements that only changed places are
 * one change of the list. Sensitive values read `"***"`.
 */
struct shape_changes shape_diff(const struct shape_type *type, const void *before,
                                const void *after, struct arena *arena);

/**
 * Check required members, known enum values, and every min, max and pattern. Lengths of texts
 * count characters. Elements and map keys have no rules of their own. Patterns are compiled once
 * and kept, without a lock: call this from one thread only.
 *
 * @return 0, or ERR_INVALID with the first violation in member order and AWS's sentence, such as
 *         `Value '0' at 'tags[0].key' failed to satisfy constraint: Member must have ...`. It never
 *         quotes sensitive, long or unrecognized values.
 */
MUST_CHECK int shape_validate(const struct shape_type *type, const void *value,
                              struct shape_error *error);
