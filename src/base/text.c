#include "base/text.h"

#include "base/err.h"

#include <string.h>

struct text text_of(const char *string)
{
    return (struct text){string, string == NULL ? 0 : strlen(string)};
}

bool text_equal(struct text a, struct text b)
{
    if (a.data == NULL || b.data == NULL) {
        return a.data == b.data;
    }
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

bool text_is(struct text text, const char *string)
{
    return text_equal(text, text_of(string));
}

bool text_equal_nocase(struct text a, struct text b)
{
    if (a.data == NULL || b.data == NULL) {
        return a.data == b.data;
    }
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (text_lower(a.data[i]) != text_lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool text_made_of(struct text text, const char *more)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!text_plain(text.data[i]) && text_find(text_of(more), text.data[i]) == SIZE_MAX) {
            return false;
        }
    }
    return true;
}

int text_compare(struct text a, struct text b)
{
    size_t shared = MIN(a.size, b.size);
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

bool text_starts(struct text text, struct text prefix)
{
    return text.size >= prefix.size &&
           (prefix.size == 0 || memcmp(text.data, prefix.data, prefix.size) == 0);
}

bool text_ends(struct text text, struct text suffix)
{
    return text.size >= suffix.size &&
           (suffix.size == 0 ||
            memcmp(text.data + text.size - suffix.size, suffix.data, suffix.size) == 0);
}

bool text_empty(struct text text)
{
    return text.size == 0;
}

struct text text_slice(struct text text, size_t from, size_t to)
{
    if (text.data == NULL) {
        return text;
    }
    to = MIN(to, text.size);
    from = MIN(from, to);
    return (struct text){text.data + from, to - from};
}

size_t text_find(struct text text, char byte)
{
    const char *found = text.size == 0 ? NULL : memchr(text.data, byte, text.size);
    return found == NULL ? SIZE_MAX : (size_t)(found - text.data);
}

size_t text_find_last(struct text text, char byte)
{
    const char *found = text.size == 0 ? NULL : memrchr(text.data, byte, text.size);
    return found == NULL ? SIZE_MAX : (size_t)(found - text.data);
}

static bool blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

struct text text_trim(struct text text)
{
    while (text.size > 0 && blank(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

struct text text_cut(struct text *rest, char separator)
{
    struct text all = *rest;
    size_t at = text_find(all, separator);
    if (at == SIZE_MAX) {
        *rest = (struct text){0};
        return all;
    }
    *rest = (struct text){all.data + at + 1, all.size - at - 1};
    return (struct text){all.data, at};
}

int text_to_u64(struct text text, uint64_t *out_value)
{
    if (text.size == 0) {
        return ERR_INVALID;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        char digit = text.data[i];
        if (digit < '0' || digit > '9') {
            return ERR_INVALID;
        }
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(digit - '0'), &value)) {
            return ERR_INVALID;
        }
    }
    *out_value = value;
    return 0;
}

int text_to_i64(struct text text, int64_t *out_value)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t magnitude = 0;
    int rc = text_to_u64(negative ? text_slice(text, 1, text.size) : text, &magnitude);
    if (rc != 0) {
        return rc;
    }
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > limit) {
        return ERR_INVALID;
    }
    *out_value = negative ? (int64_t)(~magnitude + 1) : (int64_t)magnitude;
    return 0;
}

// Length of the sequence that starts with this byte, 0 when none can.
static size_t utf8_length(unsigned char first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        return 2;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        return 3;
    }
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

bool text_is_utf8(struct text text)
{
    const unsigned char *bytes = (const unsigned char *)text.data;
    size_t i = 0;
    while (i < text.size) {
        size_t length = utf8_length(bytes[i]);
        if (length == 0 || text.size - i < length) {
            return false;
        }
        for (size_t k = 1; k < length; k++) {
            if ((bytes[i + k] & 0xC0) != 0x80) {
                return false;
            }
        }
        // The second byte alone tells overlong forms, surrogates and values over U+10FFFF.
        unsigned char second = length > 1 ? bytes[i + 1] : 0;
        if ((bytes[i] == 0xE0 && second < 0xA0) || (bytes[i] == 0xED && second > 0x9F) ||
            (bytes[i] == 0xF0 && second < 0x90) || (bytes[i] == 0xF4 && second > 0x8F)) {
            return false;
        }
        i += length;
    }
    return true;
}

int text_copy(struct text text, char *out_string, size_t size_bytes)
{
    if (text.size >= size_bytes) {
        return ERR_NO_ROOM;
    }
    if (text.size > 0) {
        memcpy(out_string, text.data, text.size);
    }
    out_string[text.size] = '\0';
    return 0;
}

void text_hex(const void *bytes, size_t size, char *out_string)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    for (size_t i = 0; i < size; i++) {
        out_string[2 * i] = digits[from[i] >> 4];
        out_string[2 * i + 1] = digits[from[i] & 15];
    }
    out_string[2 * size] = '\0';
}

void text_uuid(const unsigned char bytes[16], char out_string[TEXT_UUID_CHARS + 1])
{
    static const size_t groups[] = {4, 2, 2, 2, 6};
    unsigned char id[16];
    memcpy(id, bytes, sizeof(id));
    id[6] = (unsigned char)((id[6] & 0x0f) | 0x40); // RFC 4122, section 4.4
    id[8] = (unsigned char)((id[8] & 0x3f) | 0x80);
    const unsigned char *from = id;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        if (i > 0) {
            *out_string++ = '-';
        }
        text_hex(from, groups[i], out_string);
        out_string += 2 * groups[i];
        from += groups[i];
    }
}

// One more than the value of a digit, 0 for what is none: ids are read so often that a choice for
// each digit showed.
static const unsigned char hex_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

int text_unhex(struct text text, void *out_bytes, size_t size)
{
    if (text.size != 2 * size) {
        return ERR_INVALID;
    }
    unsigned char *to = out_bytes;
    for (size_t i = 0; i < size; i++) {
        unsigned high = hex_values[(unsigned char)text.data[2 * i]];
        unsigned low = hex_values[(unsigned char)text.data[2 * i + 1]];
        if (high == 0 || low == 0) {
            return ERR_INVALID;
        }
        to[i] = (unsigned char)((high - 1) * 16 + (low - 1));
    }
    return 0;
}

uint64_t text_hash(struct text text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.size; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    }
    return hash;
}
