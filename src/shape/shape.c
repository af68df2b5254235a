#include "shape/shape.h"

#include "base/text.h"
#include "shape/shape_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// Aligned for any element, because lists point at it.
_Alignas(16) const char shape_empty = '\0';

#define PLAIN(symbol, plain_kind, type)                                                            \
    const struct shape_type symbol = {                                                             \
        .kind = plain_kind,                                                                        \
        .name = #symbol,                                                                           \
        .size_bytes = sizeof(type),                                                                \
        .align_bytes = _Alignof(type),                                                             \
    }

PLAIN(shape_bool, SHAPE_BOOL, bool);
PLAIN(shape_int, SHAPE_INT, int32_t);
PLAIN(shape_long, SHAPE_LONG, int64_t);
PLAIN(shape_double, SHAPE_DOUBLE, double);
PLAIN(shape_time, SHAPE_TIME, int64_t);
PLAIN(shape_text, SHAPE_TEXT, struct text);
PLAIN(shape_blob, SHAPE_BLOB, struct text);
PLAIN(shape_document, SHAPE_DOCUMENT, struct text);

#define PLAIN_LIST(symbol, type, element_shape)                                                    \
    const struct shape_type symbol = {                                                             \
        .kind = SHAPE_LIST,                                                                        \
        .name = "list",                                                                            \
        .size_bytes = sizeof(type),                                                                \
        .align_bytes = _Alignof(type),                                                             \
        .element = &element_shape,                                                                 \
    }

PLAIN_LIST(shape_text_list, struct text_list, shape_text);
PLAIN_LIST(shape_int_list, struct int_list, shape_int);
PLAIN_LIST(shape_long_list, struct long_list, shape_long);
PLAIN_LIST(shape_double_list, struct double_list, shape_double);

const struct shape_type shape_text_map = {
    .kind = SHAPE_MAP,
    .name = "map",
    .size_bytes = sizeof(struct text_map),
    .align_bytes = _Alignof(struct text_map),
    .element = &shape_text,
    .value_offset = offsetof(struct text_entry, value),
    .entry_size_bytes = sizeof(struct text_entry),
};

_Static_assert(sizeof(enum shape_kind) == sizeof(int32_t), "enums are read as int32_t");
_Static_assert(sizeof(struct text_list) == sizeof(struct shape_list), "lists share one layout");

const struct shape_member *shape_find(const struct shape_type *type, struct text name)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    size_t low = 0;
    size_t high = type->member_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct shape_member *member = &type->members[type->by_name[middle]];
        int order = text_compare(name, text_of(member->name));
        if (order == 0) {
            return member;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct shape_member *shape_find_number(const struct shape_type *type, uint32_t number)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    // Numbers rarely have gaps, so the member is nearly always at its own number.
    if (number >= 1 && number <= type->member_count && type->members[number - 1].number == number) {
        return &type->members[number - 1];
    }
    size_t low = 0;
    size_t high = type->member_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        uint32_t found = type->members[middle].number;
        if (found == number) {
            return &type->members[middle];
        }
        if (number < found) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

bool shape_present(const struct shape_member *member, const void *value)
{
    return shape_has(member, value);
}

const char *shape_enum_name(const struct shape_type *type, int32_t number)
{
    ASSERT(type->kind == SHAPE_ENUM);
    if (number >= 1 && number <= type->value_count && type->values[number - 1].number == number) {
        return type->values[number - 1].name;
    }
    for (size_t i = 0; i < type->value_count; i++) {
        if (type->values[i].number == number) {
            return type->values[i].name;
        }
    }
    return NULL;
}

int32_t shape_enum_number(const struct shape_type *type, struct text name)
{
    ASSERT(type->kind == SHAPE_ENUM);
    for (size_t i = 0; i < type->value_count; i++) {
        if (text_is(name, type->values[i].name)) {
            return type->values[i].number;
        }
    }
    return -1;
}

// A block being filled: structs and arrays, which need alignment, lie in front of all texts.
struct block {
    char *data;        // NULL while measuring
    size_t part_bytes; // of structs and arrays so far
    size_t text_bytes; // of texts so far
    size_t text_start; // where texts begin in data
};

#define BLOCK_ALIGN 8

// Copies what is at `from` to a new part; while measuring, gives back what is there.
static void *block_copy(struct block *block, const void *from, size_t size_bytes)
{
    char *part = block->data == NULL ? NULL : block->data + block->part_bytes;
    block->part_bytes += (size_bytes + BLOCK_ALIGN - 1) & ~(size_t)(BLOCK_ALIGN - 1);
    if (part == NULL) {
        return (void *)(uintptr_t)from;
    }
    memcpy(part, from, size_bytes);
    return part;
}

static void block_text(struct block *block, struct text *text)
{
    if (text->data == NULL) {
        return;
    }
    if (block->data != NULL && text->size == 0) {
        text->data = &shape_empty;
    } else if (block->data != NULL) {
        char *to = block->data + block->text_start + block->text_bytes;
        memcpy(to, text->data, text->size);
        text->data = to;
    }
    block->text_bytes += text->size;
}

// Whether values of a kind hold pointers.
static bool refers(enum shape_kind kind)
{
    const unsigned with = 1u << SHAPE_TEXT | 1u << SHAPE_BLOB | 1u << SHAPE_DOCUMENT |
                          1u << SHAPE_LIST | 1u << SHAPE_MAP | 1u << SHAPE_STRUCT;
    return (with >> kind & 1) != 0;
}

static void block_value(struct block *block, const struct shape_type *type, void *value);

static void block_list(struct block *block, const struct shape_type *type, struct shape_list *list)
{
    if (list->items == NULL) {
        return;
    }
    if (list->count == 0) {
        if (block->data != NULL) {
            list->items = SHAPE_EMPTY;
        }
        return;
    }
    size_t stride = shape_stride(type);
    char *items = block_copy(block, list->items, list->count * stride);
    if (block->data != NULL) {
        list->items = items;
    }
    for (size_t i = 0; i < list->count; i++) {
        void *item = items + i * stride;
        if (type->kind == SHAPE_MAP) {
            block_text(block, item);
            item = items + i * stride + type->value_offset;
        }
        block_value(block, type->element, item);
    }
}

static void block_struct(struct block *block, const struct shape_type *type, void *value)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        char *at = (char *)value + member->offset;
        if (!refers(member->type->kind)) {
            continue; // most members, here without a call for each
        }
        if (member->type->kind != SHAPE_STRUCT) {
            block_value(block, member->type, at);
            continue;
        }
        const void *from = shape_pointee(at);
        if (from != NULL) {
            void *to = block_copy(block, from, member->type->size_bytes);
            if (block->data != NULL) {
                memcpy(at, &to, sizeof(to));
            }
            block_struct(block, member->type, to);
        }
    }
}

// Moves what a value refers to into the block. While measuring, value is the original and is only
// read; afterwards it is the copy, and its references are changed.
static void block_value(struct block *block, const struct shape_type *type, void *value)
{
    switch (type->kind) {
    case SHAPE_TEXT:
    case SHAPE_BLOB:
    case SHAPE_DOCUMENT:
        block_text(block, value);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        block_list(block, type, value);
        break;
    case SHAPE_STRUCT:
        block_struct(block, type, value);
        break;
    case SHAPE_BOOL:
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_DOUBLE:
    case SHAPE_TIME:
    case SHAPE_ENUM:
        break;
    }
}

// Copies into one block of the measured size: of the arena, or of the heap when arena is NULL.
static void *copy(const struct shape_type *type, const void *value, struct arena *arena,
                  size_t *out_size_bytes)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    ASSERT(value != NULL);
    struct block measure = {0};
    block_struct(&measure, type, block_copy(&measure, value, type->size_bytes));

    size_t size_bytes = measure.part_bytes + measure.text_bytes;
    struct block block = {
        .data = arena == NULL ? alloc_zero(size_bytes) : arena_alloc(arena, size_bytes),
        .text_start = measure.part_bytes,
    };
    void *root = block_copy(&block, value, type->size_bytes);
    block_struct(&block, type, root);
    ASSERT(block.part_bytes == measure.part_bytes);
    ASSERT(block.text_bytes == measure.text_bytes);
    if (out_size_bytes != NULL) {
        *out_size_bytes = size_bytes;
    }
    return root;
}

void *shape_copy(const struct shape_type *type, const void *value, struct arena *arena)
{
    ASSERT(arena != NULL);
    return copy(type, value, arena, NULL);
}

void *shape_clone(const struct shape_type *type, const void *value, size_t *out_size_bytes)
{
    return copy(type, value, NULL, out_size_bytes);
}

// An entry begins with its key.
static int entry_compare(const void *a, const void *b)
{
    const struct text *const *left = a;
    const struct text *const *right = b;
    return text_compare(**left, **right);
}

// Pointers to the entries in key order; the caller frees the array.
static const struct text **entries_sorted(const struct shape_type *type,
                                          const struct shape_list *map)
{
    const struct text **sorted = alloc_array(map->count, sizeof(*sorted));
    for (size_t i = 0; i < map->count; i++) {
        sorted[i] = (const void *)((const char *)map->items + i * type->entry_size_bytes);
    }
    qsort(sorted, map->count, sizeof(*sorted), entry_compare);
    return sorted;
}

bool shape_map_unique(const struct shape_type *type, const struct shape_list *map)
{
    if (map->count < 2) {
        return true;
    }
    const struct text **sorted = entries_sorted(type, map);
    bool unique = true;
    for (size_t i = 1; i < map->count && unique; i++) {
        unique = !text_equal(*sorted[i - 1], *sorted[i]);
    }
    alloc_free(sorted);
    return unique;
}

static bool entry_equal(const struct shape_type *type, const void *a, const void *b)
{
    const struct text *left = a;
    const struct text *right = b;
    return text_equal(*left, *right) &&
           shape_value_equal(type->element, (const char *)a + type->value_offset,
                             (const char *)b + type->value_offset);
}

// Maps in the same order, the usual case, need no sorting.
static bool map_equal(const struct shape_type *type, const struct shape_list *a,
                      const struct shape_list *b)
{
    size_t stride = type->entry_size_bytes;
    size_t same = 0;
    while (same < a->count && entry_equal(type, (const char *)a->items + same * stride,
                                          (const char *)b->items + same * stride)) {
        same++;
    }
    if (same == a->count) {
        return true;
    }
    const struct text **left = entries_sorted(type, a);
    const struct text **right = entries_sorted(type, b);
    bool equal = true;
    for (size_t i = 0; i < a->count && equal; i++) {
        equal = entry_equal(type, left[i], right[i]);
    }
    alloc_free(left);
    alloc_free(right);
    return equal;
}

static bool list_equal(const struct shape_type *type, const struct shape_list *a,
                       const struct shape_list *b)
{
    if (a->items == NULL || b->items == NULL) {
        return a->items == b->items;
    }
    if (a->count != b->count) {
        return false;
    }
    if (type->kind == SHAPE_MAP) {
        return map_equal(type, a, b);
    }
    size_t stride = shape_stride(type);
    for (size_t i = 0; i < a->count; i++) {
        if (!shape_value_equal(type->element, (const char *)a->items + i * stride,
                               (const char *)b->items + i * stride)) {
            return false;
        }
    }
    return true;
}

static bool struct_equal(const struct shape_type *type, const void *a, const void *b)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        bool present = shape_present(member, a);
        if (present != shape_present(member, b)) {
            return false;
        }
        if (present &&
            !shape_value_equal(member->type, shape_value(member, a), shape_value(member, b))) {
            return false;
        }
    }
    return true;
}

bool shape_value_equal(const struct shape_type *type, const void *a, const void *b)
{
    switch (type->kind) {
    case SHAPE_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case SHAPE_INT:
    case SHAPE_ENUM:
        return *(const int32_t *)a == *(const int32_t *)b;
    case SHAPE_LONG:
    case SHAPE_TIME:
        return *(const int64_t *)a == *(const int64_t *)b;
    case SHAPE_DOUBLE:
        // By bits, so that every value equals its own copy.
        return memcmp(a, b, sizeof(double)) == 0;
    case SHAPE_TEXT:
    case SHAPE_BLOB:
    case SHAPE_DOCUMENT:
        return text_equal(*(const struct text *)a, *(const struct text *)b);
    case SHAPE_STRUCT:
        return struct_equal(type, a, b);
    case SHAPE_LIST:
    case SHAPE_MAP:
        return list_equal(type, a, b);
    }
    ASSERT(!"an unknown kind");
    return false;
}

bool shape_equal(const struct shape_type *type, const void *a, const void *b)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    return struct_equal(type, a, b);
}

void shape_path_write(const struct shape_path *path, struct buf *out)
{
    if (path == NULL) {
        return;
    }
    shape_path_write(path->parent, out);
    if (path->name != NULL) {
        if (path->parent != NULL) {
            buf_byte(out, '.');
        }
        buf_string(out, path->name);
    } else if (path->key.data != NULL) {
        buf_byte(out, '[');
        buf_text(out, path->key);
        buf_byte(out, ']');
    } else {
        buf_format(out, "[%zu]", path->index);
    }
}

// Copies what fits of a text, never half a character.
static void text_fit(struct text text, char *out_string, size_t size_bytes)
{
    size_t size = MIN(text.size, size_bytes - 1);
    while (size > 0 && size < text.size && ((unsigned char)text.data[size] & 0xC0) == 0x80) {
        size--;
    }
    memcpy(out_string, text.data, size);
    out_string[size] = '\0';
}

int shape_fail(struct shape_error *error, const struct shape_path *path, int code,
               const char *format, ...)
{
    AUTO(buf_deinit) struct buf written = {0};
    shape_path_write(path, &written);
    text_fit(buf_view(&written), error->path, sizeof(error->path));

    char clause[2 * sizeof(error->text)];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(clause, sizeof(clause), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    text_fit((struct text){clause, MIN((size_t)size, sizeof(clause) - 1)}, error->text,
             sizeof(error->text));
    return code;
}

size_t shape_utf8_size(const char *data, size_t size)
{
    ASSERT(size > 0);
    unsigned char first = (unsigned char)data[0];
    size_t want = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    return want <= size && text_is_utf8((struct text){data, want}) ? want : 0;
}

bool shape_is_utf8(struct text text)
{
    // Most texts are ASCII, which eight bytes at a time tell.
    size_t i = 0;
    while (text.size - i >= sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, text.data + i, sizeof(word));
        if ((word & 0x8080808080808080u) != 0) {
            break;
        }
        i += sizeof(word);
    }
    // The end of a longer one in one more step, which looks at some bytes again.
    if (i > 0 && text.size - i < sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, text.data + text.size - sizeof(word), sizeof(word));
        i = (word & 0x8080808080808080u) == 0 ? text.size : i;
    }
    return i == text.size || text_is_utf8(text_slice(text, i, text.size));
}

bool text_list_has(const struct text_list *list, struct text text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (text_equal(list->items[i], text)) {
            return true;
        }
    }
    return false;
}
