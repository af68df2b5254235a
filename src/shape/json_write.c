#include "shape/json.h"
#include "shape/shape_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ONES 0x0101010101010101u
#define HIGHS 0x8080808080808080u

// Some byte of the word is zero.
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - ONES) & ~word & HIGHS;
}

// Some byte must be looked at: a control character, `"`, `\`, or one that is not ASCII. May be
// true without reason behind such a byte, never false with one.
static inline bool special(uint64_t word)
{
    uint64_t control = (word - ONES * 0x20) & ~word;
    return ((control | word) & HIGHS) != 0 || zero_bytes(word ^ ONES * '"') != 0 ||
           zero_bytes(word ^ ONES * '\\') != 0;
}

static inline bool plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

// How many bytes at the front go out as they are.
static size_t plain_run(const char *data, size_t size)
{
    size_t i = 0;
    while (size - i >= sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, data + i, sizeof(word));
        if (special(word)) {
            break;
        }
        i += sizeof(word);
    }
    while (i < size && plain((unsigned char)data[i])) {
        i++;
    }
    return i;
}

static void put_escape(struct buf *out, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
    switch (byte) {
    case '"':
        PUT(out, "\\\"");
        break;
    case '\\':
        PUT(out, "\\\\");
        break;
    case '\n':
        PUT(out, "\\n");
        break;
    case '\r':
        PUT(out, "\\r");
        break;
    case '\t':
        PUT(out, "\\t");
        break;
    default:
        put(out, escape, sizeof(escape));
        break;
    }
}

// Behind a plain run: escapes, characters that are not ASCII, and what is not UTF-8.
static void put_rest(struct buf *out, struct text text, size_t from)
{
    size_t start = 0; // of what is not yet out
    size_t i = from;
    while (i < text.size) {
        unsigned char byte = (unsigned char)text.data[i];
        size_t sequence = byte < 0x80 ? 0 : shape_utf8_size(text.data + i, text.size - i);
        if (sequence > 0) {
            i += sequence;
        } else {
            put(out, text.data + start, i - start);
            if (byte < 0x80) {
                put_escape(out, byte);
            } else {
                PUT(out, "\xEF\xBF\xBD");
            }
            start = ++i;
        }
        i += plain_run(text.data + i, text.size - i);
    }
    put(out, text.data + start, text.size - start);
}

static void put_string(struct buf *out, struct text text)
{
    size_t run = plain_run(text.data, text.size);
    if (run == text.size) {
        char *to = put_room(out, text.size + 2);
        if (to != NULL) {
            to[0] = '"';
            if (run > 0) {
                memcpy(to + 1, text.data, run);
            }
            to[run + 1] = '"';
            out->size += run + 2;
        }
        return;
    }
    put_byte(out, '"');
    put_rest(out, text, run);
    put_byte(out, '"');
}

void json_quote(struct text text, struct buf *out)
{
    put_string(out, text);
    put_end(out);
}

void json_quote_bytes(struct text bytes, struct buf *out)
{
    buf_byte(out, '"');
    put_base64(out, bytes);
    buf_byte(out, '"');
}

// Digits in front of end; returns where they begin.
static char *digits_before(char *end, uint64_t value)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    while (value >= 100) {
        end -= 2;
        memcpy(end, pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, pairs + 2 * value, 2);
    } else {
        *--end = (char)('0' + value);
    }
    return end;
}

void put_i64(struct buf *buf, int64_t value)
{
    char text[24];
    char *end = text + sizeof(text);
    char *start = digits_before(end, value < 0 ? ~(uint64_t)value + 1 : (uint64_t)value);
    if (value < 0) {
        *--start = '-';
    }
    put(buf, start, (size_t)(end - start));
}

void put_double(struct buf *buf, double value)
{
    if (isnan(value)) {
        PUT(buf, "NaN");
        return;
    }
    if (isinf(value)) {
        put(buf, value < 0 ? "-Infinity" : "Infinity", value < 0 ? 9 : 8);
        return;
    }
    // Fifteen digits always survive, seventeen always suffice (IEEE 754 binary64).
    char text[40];
    int size = 0;
    for (int digits = 15; digits <= 17; digits++) {
        size = snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    ASSERT(size > 0);
    put(buf, text, (size_t)size);
    if (strpbrk(text, ".e") == NULL) {
        PUT(buf, ".0");
    }
}

// Epoch seconds; the fraction only when there is one.
static void put_time(struct buf *buf, int64_t time_ms)
{
    char text[32];
    char *end = text + sizeof(text);
    char *start = end;
    uint64_t magnitude = time_ms < 0 ? ~(uint64_t)time_ms + 1 : (uint64_t)time_ms;
    if (magnitude % 1000 != 0) {
        start = digits_before(end, magnitude % 1000 + 1000);
        *start = '.'; // over the 1 that kept the zeros
    }
    start = digits_before(start, magnitude / 1000);
    if (time_ms < 0) {
        *--start = '-';
    }
    put(buf, start, (size_t)(end - start));
}

// Digits with zeros in front, in the place given.
static void put_padded(char *to, size_t digits, uint64_t value)
{
    for (size_t i = digits; i > 0; i--) {
        to[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
}

#define DAY_MS INT64_C(86400000)
#define ISO_DAY_MIN (-719528) // 0000-01-01 and 9999-12-31, in days since 1970
#define ISO_DAY_MAX 2932896

// ISO 8601 in UTC with milliseconds, quoted. Out of the years that it can name, the nearest one.
static void put_iso_time(struct buf *buf, int64_t time_ms)
{
    int64_t low_ms = ISO_DAY_MIN * DAY_MS;
    int64_t high_ms = ISO_DAY_MAX * DAY_MS + DAY_MS - 1;
    uint64_t since_ms = (uint64_t)(MIN(MAX(time_ms, low_ms), high_ms) - low_ms);
    uint64_t in_day = since_ms % (uint64_t)DAY_MS;
    // Days since 1 March of the year 0, so that a leap day is the last of its year; the calendar
    // repeats every 400 years of 146,097 days. The 60 days before that are of a year that leads.
    uint64_t days = since_ms / (uint64_t)DAY_MS + 146097 - 60;
    uint64_t era = days / 146097;
    uint64_t of_era = days % 146097;
    uint64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month_from_march = (5 * of_year + 2) / 153;
    uint64_t day = of_year - (153 * month_from_march + 2) / 5 + 1;
    uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    uint64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0) - 400;
    char text[] = "\"0000-00-00T00:00:00.000Z\"";
    put_padded(text + 1, 4, year);
    put_padded(text + 6, 2, month);
    put_padded(text + 9, 2, day);
    put_padded(text + 12, 2, in_day / 3600000);
    put_padded(text + 15, 2, in_day / 60000 % 60);
    put_padded(text + 18, 2, in_day / 1000 % 60);
    put_padded(text + 21, 3, in_day % 1000);
    put(buf, text, sizeof(text) - 1);
}

static void put_enum(struct buf *out, const struct shape_type *type, int32_t number)
{
    const char *name = shape_enum_name(type, number);
    // A number that the schema does not know has no name to send; null is the nearest to that.
    if (name == NULL) {
        PUT(out, "null");
        return;
    }
    put_string(out, (struct text){name, strlen(name)});
}

// `"name":`, behind a comma but for the first. Names in a schema need no escapes.
static void put_name(struct buf *out, const char *name, bool first)
{
    size_t size = strlen(name);
    char *to = put_room(out, size + 4);
    if (to == NULL) {
        return;
    }
    char *start = to;
    if (!first) {
        *to++ = ',';
    }
    *to++ = '"';
    memcpy(to, name, size);
    to += size;
    *to++ = '"';
    *to++ = ':';
    out->size += (size_t)(to - start);
}

static void put_struct(struct buf *out, const struct shape_type *type, const void *value,
                       enum json_style style)
{
    bool first = true;
    put_byte(out, '{');
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        if (!shape_has(member, value)) {
            continue;
        }
        put_name(out, member->name, first);
        first = false;
        if (style == JSON_MASKED && (member->flags & SHAPE_SENSITIVE) != 0) {
            PUT(out, "\"***\"");
        } else {
            json_put_value(member->type, shape_value(member, value), style, out);
        }
    }
    put_byte(out, '}');
}

static void put_list(struct buf *out, const struct shape_type *type, const struct shape_list *list,
                     enum json_style style)
{
    bool map = type->kind == SHAPE_MAP;
    size_t stride = shape_stride(type);
    const char *item = list->items;
    put_byte(out, map ? '{' : '[');
    for (size_t i = 0; i < list->count; i++, item += stride) {
        if (i > 0) {
            put_byte(out, ',');
        }
        if (map) {
            put_string(out, *(const struct text *)(const void *)item);
            put_byte(out, ':');
        }
        json_put_value(type->element, item + (map ? type->value_offset : 0), style, out);
    }
    put_byte(out, map ? '}' : ']');
}

static void put_json_double(struct buf *out, double value)
{
    // Smithy's JSON protocols send what JSON has no number for as these strings.
    bool quoted = isnan(value) || isinf(value);
    if (quoted) {
        put_byte(out, '"');
    }
    put_double(out, value);
    if (quoted) {
        put_byte(out, '"');
    }
}

void json_put_value(const struct shape_type *type, const void *value, enum json_style style,
                    struct buf *out)
{
    switch (type->kind) {
    case SHAPE_BOOL:
        put(out, *(const bool *)value ? "true" : "false", *(const bool *)value ? 4 : 5);
        break;
    case SHAPE_INT:
        put_i64(out, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
        put_i64(out, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        put_json_double(out, *(const double *)value);
        break;
    case SHAPE_TIME:
        if (style == JSON_ISO_TIMES) {
            put_iso_time(out, *(const int64_t *)value);
        } else {
            put_time(out, *(const int64_t *)value);
        }
        break;
    case SHAPE_TEXT:
        put_string(out, *(const struct text *)value);
        break;
    case SHAPE_BLOB:
        put_byte(out, '"');
        put_base64(out, *(const struct text *)value);
        put_byte(out, '"');
        break;
    case SHAPE_DOCUMENT:
        put(out, ((const struct text *)value)->data, ((const struct text *)value)->size);
        break;
    case SHAPE_ENUM:
        put_enum(out, type, *(const int32_t *)value);
        break;
    case SHAPE_STRUCT:
        put_struct(out, type, value, style);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        put_list(out, type, value, style);
        break;
    }
}

void json_encode(const struct shape_type *type, const void *value, struct buf *out)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    put_struct(out, type, value, JSON_PLAIN);
    put_end(out);
}

void json_encode_masked(const struct shape_type *type, const void *value, struct buf *out)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    put_struct(out, type, value, JSON_MASKED);
    put_end(out);
}

void json_encode_iso(const struct shape_type *type, const void *value, struct buf *out)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    put_struct(out, type, value, JSON_ISO_TIMES);
    put_end(out);
}
