#include "vpc/vpc_internal.h"

#include "base/text.h"

#define WORD_BITS 64

// ---- ranges -------------------------------------------------------------------------------

/** A decimal number of at most three digits, without leading zeros. */
static int parse_small(struct text text, uint64_t max, uint32_t *out_value)
{
    uint64_t value = 0;
    if (text.size == 0 || text.size > 3 || (text.size > 1 && text.data[0] == '0') ||
        text_to_u64(text, &value) != 0 || value > max) {
        return ERR_INVALID;
    }
    *out_value = (uint32_t)value;
    return 0;
}

uint32_t range_size(struct vpc_range range)
{
    ASSERT(range.prefix_length >= 16);
    ASSERT(range.prefix_length <= 32);
    return UINT32_C(1) << (32 - range.prefix_length);
}

int vpc_parse_cidr(struct text cidr, struct vpc_range *out_range)
{
    struct text rest = cidr;
    struct text dotted = text_cut(&rest, '/');
    uint32_t prefix_length = 0;
    if (rest.data == NULL || parse_small(rest, 32, &prefix_length) != 0) {
        return ERR_INVALID;
    }
    uint32_t base = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t part = 0;
        if (dotted.data == NULL || parse_small(text_cut(&dotted, '.'), 255, &part) != 0) {
            return ERR_INVALID;
        }
        base = base << 8 | part;
    }
    uint64_t host_mask = (UINT64_C(1) << (32 - prefix_length)) - 1;
    if (dotted.data != NULL || (base & host_mask) != 0) {
        return ERR_INVALID;
    }
    *out_range = (struct vpc_range){.base = base, .prefix_length = (uint8_t)prefix_length};
    return 0;
}

bool vpc_cidr_valid(struct text cidr)
{
    struct vpc_range range;
    return vpc_parse_cidr(cidr, &range) == 0 && range.prefix_length >= 16 &&
           range.prefix_length <= 24;
}

struct vpc_range range_of(struct text cidr)
{
    struct vpc_range range = {0};
    int rc = vpc_parse_cidr(cidr, &range);
    ASSERT(rc == 0);
    return range;
}

struct text address_format(struct arena *arena, uint32_t address)
{
    char digits[4][3];
    struct text parts[7];
    for (size_t i = 0; i < 4; i++) {
        uint32_t octet = address >> (24 - 8 * i) & 255;
        size_t at = sizeof(digits[i]);
        do {
            at--;
            digits[i][at] = (char)('0' + octet % 10);
            octet /= 10;
        } while (octet > 0);
        parts[2 * i] = (struct text){digits[i] + at, sizeof(digits[i]) - at};
        if (i > 0) {
            parts[2 * i - 1] = TEXT(".");
        }
    }
    return arena_join(arena, parts, ARRAY_LEN(parts));
}

// ---- addresses of a subnet ----------------------------------------------------------------

static bool is_taken(const struct subnet_addresses *addresses, uint32_t offset)
{
    return (addresses->taken[offset / WORD_BITS] >> (offset % WORD_BITS) & 1) != 0;
}

static void set_taken(struct subnet_addresses *addresses, uint32_t offset)
{
    addresses->taken[offset / WORD_BITS] |= UINT64_C(1) << (offset % WORD_BITS);
}

struct subnet_addresses *addresses_new(struct vpc_range range)
{
    struct subnet_addresses *addresses = ALLOC(struct subnet_addresses);
    addresses->range = range;
    addresses->size = range_size(range);
    ASSERT(addresses->size > SUBNET_RESERVED_FIRST + SUBNET_RESERVED_LAST);
    size_t words = (addresses->size + WORD_BITS - 1) / WORD_BITS;
    addresses->taken = alloc_array(words, sizeof(*addresses->taken));
    for (uint32_t i = 0; i < SUBNET_RESERVED_FIRST; i++) {
        set_taken(addresses, i);
    }
    // The bits behind a small subnet's end count as taken, so that no search leaves it.
    for (uint32_t i = addresses->size - SUBNET_RESERVED_LAST; i < words * WORD_BITS; i++) {
        set_taken(addresses, i);
    }
    addresses->free = addresses->size - SUBNET_RESERVED_FIRST - SUBNET_RESERVED_LAST;
    addresses->next = SUBNET_RESERVED_FIRST;
    return addresses;
}

void addresses_free(struct subnet_addresses *addresses)
{
    if (addresses == NULL) {
        return;
    }
    alloc_free(addresses->taken);
    alloc_free(addresses);
}

uint32_t addresses_find(const struct subnet_addresses *addresses)
{
    if (addresses->free == 0) {
        return 0;
    }
    size_t words = (addresses->size + WORD_BITS - 1) / WORD_BITS;
    size_t first = addresses->next / WORD_BITS;
    for (size_t i = 0; i <= words; i++) {
        size_t word = (first + i) % words;
        uint64_t open = ~addresses->taken[word];
        // The first word is looked at twice: from where the search starts, and at last its front.
        if (i == 0) {
            open &= ~UINT64_C(0) << (addresses->next % WORD_BITS);
        }
        if (open != 0) {
            return (uint32_t)(word * WORD_BITS) + (uint32_t)__builtin_ctzll(open);
        }
    }
    return 0;
}

bool addresses_take(struct subnet_addresses *addresses, uint32_t address)
{
    uint32_t offset = address - addresses->range.base;
    if (offset >= addresses->size || is_taken(addresses, offset)) {
        return false;
    }
    set_taken(addresses, offset);
    addresses->free--;
    addresses->next = (offset + 1) % addresses->size;
    return true;
}

void addresses_release(struct subnet_addresses *addresses, uint32_t address)
{
    uint32_t offset = address - addresses->range.base;
    ASSERT(offset < addresses->size);
    ASSERT(is_taken(addresses, offset));
    addresses->taken[offset / WORD_BITS] &= ~(UINT64_C(1) << (offset % WORD_BITS));
    addresses->free++;
}
