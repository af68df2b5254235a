#include "net/net_internal.h"

#include <stdio.h>
#include <string.h>

static uint64_t hash(struct text a, struct text b, uint32_t n)
{
    char bytes[2 * NET_ID_MAX + 24];
    int size = snprintf(bytes, sizeof(bytes), "%.*s %.*s %u", (int)MIN(a.size, (size_t)NET_ID_MAX),
                        a.data, (int)MIN(b.size, (size_t)NET_ID_MAX), b.data, n);
    uint64_t value = text_hash((struct text){bytes, (size_t)size});
    // FNV's low bits depend on few input bits; mix, because names keep only some of them.
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccdULL;
    value ^= value >> 33;
    value *= 0xc4ceb9fe1a85ec53ULL;
    return value ^ (value >> 33);
}

int net_parse_address(struct text text, uint32_t *out_address)
{
    uint32_t address = 0;
    size_t count = 0;
    for (struct text rest = text; rest.data != NULL; count++) {
        struct text part = text_cut(&rest, '.');
        uint64_t number = 0;
        bool leading_zero = part.size > 1 && part.data[0] == '0';
        if (count == 4 || leading_zero || text_to_u64(part, &number) != 0 || number > 255) {
            return ERR_INVALID;
        }
        address = address << 8 | (uint32_t)number;
    }
    if (count != 4) {
        return ERR_INVALID;
    }
    *out_address = address;
    return 0;
}

static uint32_t mask(uint32_t prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

int net_parse_range(struct text text, struct net_range *out_range)
{
    size_t slash = text_find(text, '/');
    if (slash == SIZE_MAX) {
        return ERR_INVALID;
    }
    struct net_range range;
    uint64_t prefix = 0;
    if (net_parse_address(text_slice(text, 0, slash), &range.address) != 0 ||
        text_to_u64(text_slice(text, slash + 1, text.size), &prefix) != 0 || prefix > 32) {
        return ERR_INVALID;
    }
    range.prefix = (uint32_t)prefix;
    if ((range.address & ~mask(range.prefix)) != 0) {
        return ERR_INVALID;
    }
    *out_range = range;
    return 0;
}

int net_parse_mac(struct text text, uint8_t out_mac[6])
{
    uint8_t mac[6];
    if (text.size != 17) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < 6; i++) {
        if (text_unhex(text_slice(text, i * 3, i * 3 + 2), &mac[i], 1) != 0 ||
            (i < 5 && text.data[i * 3 + 2] != ':')) {
            return ERR_INVALID;
        }
    }
    static const uint8_t zero[6];
    if ((mac[0] & 1) != 0 || memcmp(mac, zero, sizeof(zero)) == 0) {
        return ERR_INVALID;
    }
    memcpy(out_mac, mac, sizeof(mac));
    return 0;
}

void net_format_address(uint32_t address, char out_text[16])
{
    snprintf(out_text, 16, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
             address & 255);
}

bool net_range_has(struct net_range range, uint32_t address)
{
    return ((range.address ^ address) & mask(range.prefix)) == 0;
}

bool net_ranges_overlap(struct net_range a, struct net_range b)
{
    return net_range_has(a.prefix <= b.prefix ? a : b,
                         a.prefix <= b.prefix ? b.address : a.address);
}

// Pairs of 169.254.0.0/16. Not its first and last 256, which RFC 3927 reserves, and not 169 and
// 170, where clouds and ECS itself have their metadata, DNS and time services.
uint32_t net_transit_candidate(const char *instance, struct text vpc_id, uint32_t n)
{
    const uint32_t octet_count = 252;
    uint64_t value = hash(text_of(instance), vpc_id, n);
    uint32_t octet = 1 + (uint32_t)(value % octet_count);
    if (octet >= 169) {
        octet += 2;
    }
    uint32_t pair = (uint32_t)(value / octet_count) & 127;
    return 169u << 24 | 254u << 16 | octet << 8 | pair << 1;
}

static void base32(uint64_t value, size_t count, char *out)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    for (size_t i = 0; i < count; i++) {
        out[i] = digits[value >> (5 * i) & 31];
    }
    out[count] = '\0';
}

void net_transit_link_name(const char *instance, struct text vpc_id, uint32_t n,
                           char out_name[NET_LINK_NAME_SIZE])
{
    ASSERT(strlen(instance) == 8);
    memcpy(out_name, "bt", 2);
    memcpy(out_name + 2, instance, 8);
    base32(hash(TEXT("link"), vpc_id, n), 5, out_name + 10);
}

// 60 bits in base 32: a collision among the few thousand names of one namespace does not
// happen. A bridge is verified by its gateway all the same, an ENI's link is made anew.
void net_bridge_name(struct text subnet_id, char out_name[NET_LINK_NAME_SIZE])
{
    memcpy(out_name, "br-", 3);
    base32(hash(TEXT("bridge"), subnet_id, 0), 12, out_name + 3);
}

void net_eni_link_name(struct text eni_id, char out_name[NET_LINK_NAME_SIZE])
{
    memcpy(out_name, "v-", 2);
    base32(hash(TEXT("eni"), eni_id, 0), 12, out_name + 2);
}

bool net_id_valid(struct text id)
{
    for (size_t i = 0; i < id.size; i++) {
        char byte = id.data[i];
        bool word = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        if (!word && !(byte == '-' && i > 0)) {
            return false;
        }
    }
    return id.size > 0 && id.size <= NET_ID_MAX;
}

// For a VPC AWS's default first, then its neighbours downwards, then ten-dot from the far end,
// which people use least. For the bridge network Docker's first, then upwards, so that the two meet
// late.
int net_candidate(enum net_use use, uint32_t n, struct net_range *out_range)
{
    const uint32_t of_172 = 16;
    bool vpc = use == NET_USE_VPC;
    if (n < of_172) {
        uint32_t second = vpc ? 31 - n : 16 + (n + 1) % of_172;
        *out_range = (struct net_range){172u << 24 | second << 16, 16};
        return 0;
    }
    if (n < of_172 + 256) {
        uint32_t second = vpc ? 255 - (n - of_172) : n - of_172;
        *out_range = (struct net_range){10u << 24 | second << 16, 16};
        return 0;
    }
    return ERR_NOT_FOUND;
}
