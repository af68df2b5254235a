#include "vpc/vpc_internal.h"

#include "base/text.h"

// The low four bytes are the address, which is unique in its VPC; 02 marks an address that no
// vendor gave out.
static struct text mac_address(struct core_call *call, uint32_t address)
{
    const unsigned char bytes[] = {2,
                                   0,
                                   (unsigned char)(address >> 24),
                                   (unsigned char)(address >> 16),
                                   (unsigned char)(address >> 8),
                                   (unsigned char)address};
    char hex[2 * sizeof(bytes) + 1];
    text_hex(bytes, sizeof(bytes), hex);
    const struct text parts[] = {
        {hex, 2},     TEXT(":"), {hex + 2, 2}, TEXT(":"), {hex + 4, 2},  TEXT(":"),
        {hex + 6, 2}, TEXT(":"), {hex + 8, 2}, TEXT(":"), {hex + 10, 2},
    };
    return arena_join(call->arena, parts, ARRAY_LEN(parts));
}

// A group that is named twice counts once.
static struct text_list each_once(struct core_call *call, const struct text_list *ids)
{
    struct text_list once = {.items = arena_array(call->arena, ids->count, sizeof(*once.items))};
    for (size_t i = 0; i < ids->count; i++) {
        if (!text_list_has(&once, ids->items[i])) {
            once.items[once.count++] = ids->items[i];
        }
    }
    return once;
}

int64_t vpc_eni_create(struct core_call *call, int64_t subnet, const struct text_list *groups,
                       int64_t owner)
{
    const struct vpc_record_subnet *in = core_get(call->core, &vpc_subnet_kind, subnet);
    ASSERT(in != NULL);
    const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, in->vpc);
    ASSERT(vpc != NULL);
    const struct subnet_addresses *addresses =
        map_get_u64(&vpc_state(call->core)->addresses, (uint64_t)subnet);
    uint32_t offset = addresses_find(addresses);
    if (offset == 0) {
        return 0;
    }
    uint32_t address = addresses->range.base + offset;
    struct text default_group = vpc->default_security_group_id;
    struct vpc_record_eni record = {
        .has_subnet = true,
        .subnet = subnet,
        .eni_id = vpc_random_id(call, "eni"),
        .has_address = true,
        .address = address,
        .mac_address = mac_address(call, address),
        .security_groups = {.items = &default_group, .count = 1},
        .has_owner = true,
        .owner = owner,
    };
    if (groups != NULL && groups->count > 0) {
        record.security_groups = each_once(call, groups);
    }
    int64_t key = core_new_key(call);
    core_put(call, &vpc_eni_kind, key, &record);
    return key;
}

void vpc_eni_delete(struct core_call *call, int64_t eni)
{
    if (core_get(call->core, &vpc_eni_kind, eni) != NULL) {
        core_delete(call, &vpc_eni_kind, eni);
    }
}

struct text vpc_private_name(struct core_call *call, struct text address, struct text region)
{
    bool first = text_is(region, "us-east-1");
    struct text dashed = arena_text(call->arena, address);
    char *at = (char *)(uintptr_t)dashed.data;
    for (size_t i = 0; i < dashed.size; i++) {
        at[i] = at[i] == '.' ? '-' : at[i];
    }
    const struct text parts[] = {
        TEXT("ip-"),
        dashed,
        first ? TEXT(".ec2.internal") : TEXT("."),
        first ? (struct text){0} : region,
        first ? (struct text){0} : TEXT(".compute.internal"),
    };
    return arena_join(call->arena, parts, ARRAY_LEN(parts));
}

void vpc_eni_spec(struct core_call *call, int64_t eni, struct text region,
                  struct session_eni *out_spec)
{
    const struct vpc_record_eni *record = core_get(call->core, &vpc_eni_kind, eni);
    ASSERT(record != NULL);
    const struct vpc_record_subnet *subnet = core_get(call->core, &vpc_subnet_kind, record->subnet);
    ASSERT(subnet != NULL);
    const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, subnet->vpc);
    ASSERT(vpc != NULL);
    const struct subnet_addresses *addresses =
        map_get_u64(&vpc_state(call->core)->addresses, (uint64_t)record->subnet);
    struct vpc_range subnet_range = addresses->range;
    struct text address = address_format(call->arena, (uint32_t)record->address);

    struct text *resolver = ARENA_NEW(call->arena, struct text);
    *resolver = address_format(call->arena, range_of(vpc->cidr).base + 2);
    *out_spec = (struct session_eni){
        .eni_id = record->eni_id,
        .mac_address = record->mac_address,
        .address = address,
        .has_prefix_length = true,
        .prefix_length = subnet_range.prefix_length,
        .gateway = address_format(call->arena, subnet_range.base + 1),
        .vpc_id = vpc->vpc_id,
        .vpc_cidr = vpc->cidr,
        .subnet_id = subnet->subnet_id,
        .subnet_cidr = subnet->cidr,
        .security_groups = record->security_groups,
        .hostname = vpc_private_name(call, address, region),
        .domain_name_servers = {.items = resolver, .count = 1},
    };
}
