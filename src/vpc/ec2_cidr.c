#include "vpc/ec2_internal.h"

#include "base/text.h"

/*
 * Ranges of addresses. EC2 takes bits behind the prefix and drops them: 100.68.0.18/18 becomes
 * 100.68.0.0/18.
 */

#define PARTS6 8

static bool read_number(struct text text, uint64_t max, uint64_t *out_value)
{
    return !text_empty(text) && text.size <= 3 && !(text.size > 1 && text.data[0] == '0') &&
           text_to_u64(text, out_value) == 0 && *out_value <= max;
}

struct text ec2_cidr4(struct core_call *call, struct text cidr)
{
    struct text rest = cidr;
    struct text dotted = text_cut(&rest, '/');
    uint64_t prefix = 0;
    uint32_t address = 0;
    if (!read_number(rest, 32, &prefix)) {
        return (struct text){0};
    }
    for (int i = 0; i < 4; i++) {
        uint64_t part = 0;
        if (dotted.data == NULL || !read_number(text_cut(&dotted, '.'), 255, &part)) {
            return (struct text){0};
        }
        address = address << 8 | (uint32_t)part;
    }
    if (dotted.data != NULL) {
        return (struct text){0};
    }
    uint64_t mask = UINT64_C(0xffffffff) << (32 - prefix);
    struct text base = address_format(call->arena, address & (uint32_t)mask);
    return arena_format(call->arena, "%.*s/%u", TEXT_FMT(base), (unsigned)prefix);
}

static bool read_hex(struct text text, uint16_t *out_value)
{
    uint32_t value = 0;
    if (text.size == 0 || text.size > 4) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        char digit = (char)(text.data[i] | 0x20);
        if (text.data[i] >= '0' && text.data[i] <= '9') {
            value = value << 4 | (uint32_t)(text.data[i] - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            value = value << 4 | (uint32_t)(digit - 'a' + 10);
        } else {
            return false;
        }
    }
    *out_value = (uint16_t)value;
    return true;
}

// Parts between colons; an empty text has none.
static bool read_parts(struct text text, uint16_t *parts, size_t most, size_t *out_count)
{
    size_t count = 0;
    while (!text_empty(text)) {
        struct text part = text_cut(&text, ':');
        if (count == most || !read_hex(part, &parts[count])) {
            return false;
        }
        count++;
        if (text.data != NULL && text.size == 0) {
            return false; // it ended in a colon
        }
    }
    *out_count = count;
    return true;
}

static size_t find_gap(struct text text)
{
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] == ':' && text.data[i + 1] == ':') {
            return i;
        }
    }
    return SIZE_MAX;
}

static bool read_address6(struct text text, uint16_t parts[PARTS6])
{
    size_t gap = find_gap(text);
    size_t count = 0;
    if (gap == SIZE_MAX) {
        return read_parts(text, parts, PARTS6, &count) && count == PARTS6;
    }
    uint16_t back[PARTS6] = {0};
    size_t back_count = 0;
    if (!read_parts(text_slice(text, 0, gap), parts, PARTS6, &count) ||
        !read_parts(text_slice(text, gap + 2, text.size), back, PARTS6, &back_count) ||
        count + back_count >= PARTS6) {
        return false;
    }
    for (size_t i = 0; i < back_count; i++) {
        parts[PARTS6 - back_count + i] = back[i];
    }
    return true;
}

// RFC 5952: the longest run of zeros, of two at least, is left out.
static void longest_zeros(const uint16_t parts[PARTS6], size_t *out_at, size_t *out_count)
{
    *out_at = PARTS6;
    *out_count = 1;
    for (size_t i = 0; i < PARTS6; i++) {
        size_t count = 0;
        while (i + count < PARTS6 && parts[i + count] == 0) {
            count++;
        }
        if (count > *out_count) {
            *out_at = i;
            *out_count = count;
        }
    }
}

struct text ec2_cidr6(struct core_call *call, struct text cidr)
{
    struct text rest = cidr;
    struct text address = text_cut(&rest, '/');
    uint16_t parts[PARTS6] = {0};
    uint64_t prefix = 0;
    if (!read_number(rest, 128, &prefix) || !read_address6(address, parts)) {
        return (struct text){0};
    }
    for (size_t i = 0; i < PARTS6; i++) {
        size_t kept = prefix > 16 * i ? prefix - 16 * i : 0;
        parts[i] &= (uint16_t)(kept >= 16 ? 0xffff : 0xffff << (16 - kept));
    }
    size_t gap = 0;
    size_t gap_count = 0;
    longest_zeros(parts, &gap, &gap_count);
    struct text out = TEXT("");
    for (size_t i = 0; i < PARTS6; i++) {
        if (i == gap) {
            out = arena_format(call->arena, "%.*s::", TEXT_FMT(out));
            i += gap_count - 1;
            continue;
        }
        bool first = out.size == 0 || out.data[out.size - 1] == ':';
        out = arena_format(call->arena, "%.*s%s%x", TEXT_FMT(out), first ? "" : ":", parts[i]);
    }
    return arena_format(call->arena, "%.*s/%u", TEXT_FMT(out), (unsigned)prefix);
}
