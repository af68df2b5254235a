#include "base/err.h"
#include "shape/shape_internal.h"

// RFC 4648 section 4, with padding.
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void put_base64(struct buf *buf, struct text bytes)
{
    size_t size = (bytes.size + 2) / 3 * 4;
    char *to = put_room(buf, size);
    if (to == NULL) {
        return;
    }
    const unsigned char *from = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.size; i += 3, to += 4) {
        size_t count = MIN(bytes.size - i, (size_t)3);
        uint32_t group = (uint32_t)from[i] << 16 | (count > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                         (count > 2 ? from[i + 2] : 0);
        to[0] = alphabet[group >> 18];
        to[1] = alphabet[group >> 12 & 63];
        to[2] = count > 1 ? alphabet[group >> 6 & 63] : '=';
        to[3] = count > 2 ? alphabet[group & 63] : '=';
    }
    buf->size += size;
}

static int digit_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z') {
        return digit - 'A';
    }
    if (digit >= 'a' && digit <= 'z') {
        return digit - 'a' + 26;
    }
    if (digit >= '0' && digit <= '9') {
        return digit - '0' + 52;
    }
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

// The six bits of each of four digits; padded ones count as zero.
static int group_read(const char *digits, size_t padding, uint32_t *out_group)
{
    uint32_t group = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i + padding >= 4 ? 0 : digit_value(digits[i]);
        if (value < 0) {
            return ERR_INVALID;
        }
        group = group << 6 | (uint32_t)value;
    }
    // Bits that no byte takes must be zero, so that bytes have one encoding only.
    uint32_t unused = padding == 2 ? 0xFFFF : padding == 1 ? 0xFF : 0;
    if ((group & unused) != 0) {
        return ERR_INVALID;
    }
    *out_group = group;
    return 0;
}

int base64_decode(struct text text, struct arena *arena, struct text *out_bytes)
{
    if (text.size % 4 != 0) {
        return ERR_INVALID;
    }
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=') {
        padding++;
    }
    size_t size = text.size / 4 * 3 - padding;
    char *bytes = arena_alloc(arena, size + 1);
    size_t used = 0;
    for (size_t i = 0; i < text.size; i += 4) {
        bool last = i + 4 == text.size;
        uint32_t group = 0;
        if (group_read(text.data + i, last ? padding : 0, &group) != 0) {
            return ERR_INVALID;
        }
        for (int shift = 16; shift >= 0 && used < size; shift -= 8) {
            bytes[used++] = (char)(group >> shift);
        }
    }
    *out_bytes = (struct text){bytes, size};
    return 0;
}
