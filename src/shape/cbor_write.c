#include "shape/cbor_internal.h"

#include "base/text.h"

/*
 * Records written.
 */

#define HEAD_SIZE_MAX 9

#define HEAD_SIZE_MAX 9
#define SIMPLE_FALSE 20
#define SIMPLE_TRUE 21
#define INFO_DOUBLE 27
#define VERSION_KEY 0

static void put_big_endian(char *to, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)(number >> (8 * (size - 1 - i)));
    }
}

// Writes the shortest head, as RFC 8949 section 4.2.1 asks for.
static void put_head(struct buf *out, enum major major, uint64_t number)
{
    if (number < 24) { // nearly all of them
        put_byte(out, (char)((unsigned)major << 5 | (unsigned)number));
        return;
    }
    char head[HEAD_SIZE_MAX];
    size_t size = number <= 0xFF ? 1 : number <= 0xFFFF ? 2 : number <= UINT32_MAX ? 4 : 8;
    unsigned info = size == 1 ? 24u : size == 2 ? 25u : size == 4 ? 26u : 27u;
    head[0] = (char)((unsigned)major << 5 | info);
    put_big_endian(head + 1, number, size);
    put(out, head, size + 1);
}

static void put_integer(struct buf *out, int64_t value)
{
    if (value < 0) {
        // -1 is 0, -2 is 1 and so on: the complement, which fits for INT64_MIN too.
        put_head(out, MAJOR_NEGATIVE, ~(uint64_t)value);
    } else {
        put_head(out, MAJOR_UINT, (uint64_t)value);
    }
}

static void put_number(struct buf *out, double value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    if (value != value) {
        bits = 0x7FF8000000000000u; // one NaN, so that equal structs give equal bytes
    }
    char item[HEAD_SIZE_MAX];
    item[0] = (char)(MAJOR_SIMPLE << 5 | INFO_DOUBLE);
    put_big_endian(item + 1, bits, 8);
    put(out, item, sizeof(item));
}

// A text that is not UTF-8 would make the record unreadable for everyone: every broken byte
// becomes U+FFFD.
static void put_mended(struct buf *out, struct text text)
{
    size_t broken = 0;
    for (size_t i = 0; i < text.size;) {
        size_t size = shape_utf8_size(text.data + i, text.size - i);
        broken += size == 0;
        i += MAX(size, (size_t)1);
    }
    put_head(out, MAJOR_TEXT, text.size + 2 * broken);
    for (size_t i = 0; i < text.size;) {
        size_t size = shape_utf8_size(text.data + i, text.size - i);
        if (size == 0) {
            PUT(out, "\xEF\xBF\xBD");
        } else {
            put(out, text.data + i, size);
        }
        i += MAX(size, (size_t)1);
    }
}

static void put_text(struct buf *out, struct text text)
{
    if (!shape_is_utf8(text)) {
        put_mended(out, text);
        return;
    }
    put_head(out, MAJOR_TEXT, text.size);
    put(out, text.data, text.size);
}

static void put_struct(struct buf *out, const struct shape_type *type, const void *value);

static void put_value(struct buf *out, const struct shape_type *type, const void *value);

static void put_list(struct buf *out, const struct shape_type *type, const struct shape_list *list)
{
    size_t stride = shape_stride(type);
    const char *item = list->items;
    if (type->kind == SHAPE_LIST) {
        put_head(out, MAJOR_ARRAY, list->count);
        for (size_t i = 0; i < list->count; i++, item += stride) {
            put_value(out, type->element, item);
        }
        return;
    }
    put_head(out, MAJOR_MAP, list->count);
    for (size_t i = 0; i < list->count; i++, item += stride) {
        put_text(out, *(const struct text *)(const void *)item);
        put_value(out, type->element, item + type->value_offset);
    }
}

static void put_value(struct buf *out, const struct shape_type *type, const void *value)
{
    switch (type->kind) {
    case SHAPE_BOOL:
        put_head(out, MAJOR_SIMPLE, *(const bool *)value ? SIMPLE_TRUE : SIMPLE_FALSE);
        break;
    case SHAPE_INT:
    case SHAPE_ENUM:
        put_integer(out, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
    case SHAPE_TIME:
        put_integer(out, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        put_number(out, *(const double *)value);
        break;
    case SHAPE_TEXT:
    case SHAPE_DOCUMENT:
        put_text(out, *(const struct text *)value);
        break;
    case SHAPE_BLOB:
        put_head(out, MAJOR_BYTES, ((const struct text *)value)->size);
        put(out, ((const struct text *)value)->data, ((const struct text *)value)->size);
        break;
    case SHAPE_STRUCT:
        put_struct(out, type, value);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        put_list(out, type, value);
        break;
    }
}

static uint64_t present_count(const struct shape_type *type, const void *value)
{
    uint64_t count = 0;
    for (size_t i = 0; i < type->member_count; i++) {
        count += shape_has(&type->members[i], value);
    }
    return count;
}

static void put_member(struct buf *out, const struct shape_member *member, const void *value)
{
    put_head(out, MAJOR_UINT, member->number);
    put_value(out, member->type, shape_value(member, value));
}

static void put_struct(struct buf *out, const struct shape_type *type, const void *value)
{
    put_head(out, MAJOR_MAP, present_count(type, value));
    for (size_t i = 0; i < type->member_count; i++) {
        if (shape_has(&type->members[i], value)) {
            put_member(out, &type->members[i], value);
        }
    }
}

// Copies the unknown pairs with keys below `number`, which keeps the whole in ascending order.
static void put_unknown(struct buf *out, struct reader *unknown, uint64_t number)
{
    while (reader_left(unknown) > 0) {
        struct reader reader = *unknown;
        struct head key;
        int rc = read_head(&reader, &key);
        ASSERT(rc == 0);
        if (key.number >= number) {
            return;
        }
        rc = cbor_skip(&reader);
        ASSERT(rc == 0);
        put(out, (const char *)unknown->at, (size_t)(reader.at - unknown->at));
        *unknown = reader;
    }
}

void cbor_encode(const struct shape_type *type, const void *value, uint32_t version,
                 const struct cbor_unknown *unknown, struct buf *out)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    struct reader pairs = {0};
    uint64_t count = 1 + present_count(type, value);
    if (unknown != NULL && unknown->pairs.data != NULL) {
        pairs.at = (const unsigned char *)unknown->pairs.data;
        pairs.end = pairs.at + unknown->pairs.size;
        count += unknown->count;
    }
    put_head(out, MAJOR_MAP, count);
    put_head(out, MAJOR_UINT, VERSION_KEY);
    put_head(out, MAJOR_UINT, version);
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        if (shape_has(member, value)) {
            put_unknown(out, &pairs, member->number);
            put_member(out, member, value);
        }
    }
    put_unknown(out, &pairs, UINT64_MAX);
    put_end(out);
}
