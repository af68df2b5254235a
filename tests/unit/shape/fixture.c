#include "fixture.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct filler {
    struct arena *arena;
    uint32_t serial; // makes every value different
};

static void fill_struct(struct filler *filler, const struct shape_type *type, void *out,
                        unsigned depth);

static struct text serial_text(struct filler *filler)
{
    // Escapes, an accent and a character outside the basic plane in every text.
    return arena_format(filler->arena, "a&\"<\\\n\xC3\xA9\xF0\x9F\x9A\x80 %" PRIu32,
                        filler->serial++);
}

static void fill_value(struct filler *filler, const struct shape_type *type, void *out,
                       unsigned depth);

static void fill_list(struct filler *filler, const struct shape_type *type, struct shape_list *out,
                      unsigned depth)
{
    bool map = type->kind == SHAPE_MAP;
    size_t stride = map ? type->entry_size_bytes : type->element->size_bytes;
    size_t count = depth < 3 ? 2 : 1;
    char *items = arena_array(filler->arena, count, stride);
    for (size_t i = 0; i < count; i++) {
        if (map) {
            *(struct text *)(void *)(items + i * stride) = serial_text(filler);
        }
        fill_value(filler, type->element, items + i * stride + (map ? type->value_offset : 0),
                   depth + 1);
    }
    *out = (struct shape_list){items, count};
}

static void fill_value(struct filler *filler, const struct shape_type *type, void *out,
                       unsigned depth)
{
    uint32_t serial = filler->serial++;
    switch (type->kind) {
    case SHAPE_BOOL:
        *(bool *)out = serial % 2 == 0;
        break;
    case SHAPE_INT:
        *(int32_t *)out = serial % 2 == 0 ? (int32_t)serial : INT32_MIN + (int32_t)serial;
        break;
    case SHAPE_LONG:
        *(int64_t *)out = serial % 2 == 0 ? INT64_MAX - serial : INT64_MIN + serial;
        break;
    case SHAPE_DOUBLE:
        *(double *)out = (serial + 1) / 3.0;
        break;
    case SHAPE_TIME:
        *(int64_t *)out = 1700000000001 + serial * 977;
        break;
    case SHAPE_TEXT:
        *(struct text *)out = serial_text(filler);
        break;
    case SHAPE_BLOB:
        *(struct text *)out = (struct text){"\0\xFF\x80 blob", 3 + serial % 5};
        break;
    case SHAPE_DOCUMENT:
        *(struct text *)out = TEXT("{\"z\":[1,null,\"\xC3\xA9\"],\"a\":{}}");
        break;
    case SHAPE_ENUM:
        *(int32_t *)out = type->values[serial % type->value_count].number;
        break;
    case SHAPE_STRUCT:
        fill_struct(filler, type, out, depth);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        fill_list(filler, type, out, depth);
        break;
    }
}

static void fill_struct(struct filler *filler, const struct shape_type *type, void *out,
                        unsigned depth)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        char *at = (char *)out + member->offset;
        if (member->has_offset != SHAPE_NO_OFFSET) {
            *((bool *)out + member->has_offset) = true;
        }
        if (member->type->kind == SHAPE_STRUCT) {
            void *inner = arena_alloc(filler->arena, member->type->size_bytes);
            fill_struct(filler, member->type, inner, depth + 1);
            memcpy(at, &inner, sizeof(inner));
        } else {
            fill_value(filler, member->type, at, depth);
        }
    }
}

void *fixture_value(const struct shape_type *type, struct arena *arena)
{
    struct filler filler = {.arena = arena, .serial = 1};
    void *value = arena_alloc(arena, type->size_bytes);
    fill_struct(&filler, type, value, 0);
    return value;
}

static void form_escape(struct text text, struct buf *out)
{
    for (size_t i = 0; i < text.size; i++) {
        buf_format(out, "%%%02x", (unsigned char)text.data[i]);
    }
}

// Written bit by bit, unlike the one under test.
static void form_base64(struct text bytes, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t bit = 0; bit < bytes.size * 8; bit += 6) {
        unsigned value = 0;
        for (size_t k = bit; k < bit + 6; k++) {
            unsigned byte = k < bytes.size * 8 ? (unsigned char)bytes.data[k / 8] : 0;
            value = value << 1 | (byte >> (7 - k % 8) & 1);
        }
        form_escape((struct text){&digits[value], 1}, out);
    }
    for (size_t i = bytes.size; i % 3 != 0; i++) {
        buf_string(out, "%3D");
    }
}

static void form_value(const struct shape_type *type, const void *value, const char *key,
                       struct buf *out);

static void form_members(const struct shape_type *type, const void *value, const char *prefix,
                         struct buf *out)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        if (!shape_present(member, value)) {
            continue;
        }
        const void *at = (const char *)value + member->offset;
        if (member->type->kind == SHAPE_STRUCT) {
            memcpy(&at, at, sizeof(at));
        }
        AUTO(alloc_string) char *key = alloc_format("%s%s", prefix, member->name);
        form_value(member->type, at, key, out);
    }
}

static void form_list(const struct shape_type *type, const struct shape_list *list, const char *key,
                      struct buf *out)
{
    if (list->count == 0) {
        buf_format(out, "&%s=", key);
        return;
    }
    // Last first: order on the wire means nothing.
    for (size_t i = list->count; i > 0; i--) {
        if (type->kind == SHAPE_LIST) {
            AUTO(alloc_string) char *item = alloc_format("%s.member.%zu", key, i);
            form_value(type->element,
                       (const char *)list->items + (i - 1) * type->element->size_bytes, item, out);
            continue;
        }
        const char *entry = (const char *)list->items + (i - 1) * type->entry_size_bytes;
        AUTO(alloc_string) char *name = alloc_format("%s.entry.%zu.key", key, i);
        AUTO(alloc_string) char *item = alloc_format("%s.entry.%zu.value", key, i);
        form_value(&shape_text, entry, name, out);
        form_value(type->element, entry + type->value_offset, item, out);
    }
}

static void form_value(const struct shape_type *type, const void *value, const char *key,
                       struct buf *out)
{
    if (type->kind == SHAPE_LIST || type->kind == SHAPE_MAP) {
        form_list(type, value, key, out);
        return;
    }
    if (type->kind == SHAPE_STRUCT) {
        AUTO(alloc_string) char *prefix = alloc_format("%s.", key);
        form_members(type, value, prefix, out);
        return;
    }
    buf_format(out, "&%s=", key);
    switch (type->kind) {
    case SHAPE_BOOL:
        buf_string(out, *(const bool *)value ? "true" : "false");
        break;
    case SHAPE_INT:
        buf_format(out, "%" PRId32, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
        buf_format(out, "%" PRId64, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        buf_format(out, "%.17g", *(const double *)value);
        break;
    case SHAPE_TIME:
        // The fixture's times all lie within the first weeks after this one.
        buf_format(out, "2023-11-14T22:%02d:%02d.%03dZ",
                   (int)(13 + (*(const int64_t *)value - 1699999980000) / 60000),
                   (int)((*(const int64_t *)value - 1699999980000) / 1000 % 60),
                   (int)(*(const int64_t *)value % 1000));
        break;
    case SHAPE_TEXT:
        form_escape(*(const struct text *)value, out);
        break;
    case SHAPE_BLOB:
        form_base64(*(const struct text *)value, out);
        break;
    case SHAPE_ENUM:
        buf_string(out, shape_enum_name(type, *(const int32_t *)value));
        break;
    case SHAPE_DOCUMENT:
    case SHAPE_STRUCT:
    case SHAPE_LIST:
    case SHAPE_MAP:
        ASSERT(!"not sent in forms");
    }
}

void fixture_form(const struct shape_type *type, const void *value, struct buf *out)
{
    form_members(type, value, "", out);
}

struct text fixture_exact(const char *bytes, size_t size)
{
    char *copy = alloc_array(size, 1);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    return (struct text){copy, size};
}
