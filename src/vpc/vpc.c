#include "vpc/vpc_internal.h"

#include "api/berth.h"
#include "base/limits.h"
#include "base/text.h"
#include "identity/identity.h"
#include "vpc/ec2_internal.h"

#include <string.h>

#define DEFAULT_CIDR "172.31.0.0/16"
#define SUBNET_PREFIX_MORE 4 ///< a subnet is a sixteenth of its VPC, as AWS makes default ones
#define ID_DIGITS 17         ///< of ids as EC2 makes them

// ---- volatile state -----------------------------------------------------------------------

static void *state_new(struct core *core)
{
    (void)core;
    struct vpc_state *state = ALLOC(struct vpc_state);
    memcpy(state->default_cidr, DEFAULT_CIDR, sizeof(DEFAULT_CIDR));
    state->vpcs = index_new();
    state->subnets = index_new();
    state->of_vpc = index_new();
    state->vpc_enis = index_new();
    state->eni_ids = index_new();
    state->vpc_groups = index_new();
    state->groups = index_new();
    state->rule_ids = index_new();
    state->group_names = index_new();
    state->group_members = index_new();
    state->group_users = index_new();
    return state;
}

static void state_free(void *pointer)
{
    struct vpc_state *state = pointer;
    if (state == NULL) {
        return;
    }
    size_t cursor = 0;
    for (struct subnet_addresses *addresses = map_next(&state->addresses, &cursor, NULL);
         addresses != NULL; addresses = map_next(&state->addresses, &cursor, NULL)) {
        addresses_free(addresses);
    }
    map_deinit(&state->addresses);
    index_free(state->vpcs);
    index_free(state->subnets);
    index_free(state->of_vpc);
    index_free(state->vpc_enis);
    index_free(state->eni_ids);
    index_free(state->vpc_groups);
    index_free(state->groups);
    index_free(state->rule_ids);
    index_free(state->group_names);
    index_free(state->group_members);
    index_free(state->group_users);
    alloc_free(state);
}

struct vpc_state *vpc_state(const struct core *core)
{
    return core_module_state(core, &vpc_module);
}

void vpc_set_default_cidr(struct core *core, struct text cidr)
{
    ASSERT(vpc_cidr_valid(cidr));
    struct vpc_state *state = vpc_state(core);
    int rc = text_copy(cidr, state->default_cidr, sizeof(state->default_cidr));
    ASSERT(rc == 0);
}

static void number_key(struct index_key *out_key, int64_t number)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)number);
}

static void subnet_key(struct index_key *out_key, int64_t realm, struct text subnet_id)
{
    number_key(out_key, realm);
    index_key_text(out_key, subnet_id);
}

static void vpc_changed(struct vpc_state *state, int64_t key, const struct vpc_record_vpc *before,
                        const struct vpc_record_vpc *after)
{
    struct index_key at;
    if (before != NULL && before->is_default) {
        number_key(&at, before->realm);
        index_remove(state->vpcs, &at, key);
    }
    if (after != NULL && after->is_default) {
        number_key(&at, after->realm);
        index_add(state->vpcs, &at, key);
    }
}

// Neither VPC, id nor range of a subnet ever changes, and its VPC outlives it.
static void subnet_changed(struct vpc_state *state, const struct core *core, int64_t key,
                           const struct vpc_record_subnet *before,
                           const struct vpc_record_subnet *after)
{
    const struct vpc_record_subnet *subnet = before == NULL ? after : before;
    const struct vpc_record_vpc *vpc = core_get(core, &vpc_kind, subnet->vpc);
    ASSERT(vpc != NULL);
    struct index_key by_id;
    struct index_key by_vpc;
    subnet_key(&by_id, vpc->realm, subnet->subnet_id);
    number_key(&by_vpc, subnet->vpc);
    if (before == NULL) {
        index_add(state->subnets, &by_id, key);
        index_add(state->of_vpc, &by_vpc, key);
        map_put_u64(&state->addresses, (uint64_t)key, addresses_new(range_of(subnet->cidr)));
    } else if (after == NULL) {
        index_remove(state->subnets, &by_id, key);
        index_remove(state->of_vpc, &by_vpc, key);
        addresses_free(map_remove_u64(&state->addresses, (uint64_t)key));
    }
}

// Neither subnet nor address of an interface ever changes.
static void eni_changed(struct vpc_state *state, const struct core *core, int64_t key,
                        const struct vpc_record_eni *before, const struct vpc_record_eni *after)
{
    const struct vpc_record_eni *eni = before == NULL ? after : before;
    const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, eni->subnet);
    ASSERT(subnet != NULL);
    group_member_changed(state, subnet->vpc, key, before, after);
    struct subnet_addresses *addresses = map_get_u64(&state->addresses, (uint64_t)eni->subnet);
    ASSERT(addresses != NULL);
    if (before == NULL || after == NULL) {
        vpc_keep(state->vpc_enis, subnet->vpc, key, after != NULL);
        vpc_named_keep(state->eni_ids, subnet->vpc, eni->eni_id, key, after != NULL);
    }
    if (before == NULL) {
        // A stored address that is taken twice is a violation that `check` reports.
        IGNORE(addresses_take(addresses, (uint32_t)eni->address), "see above");
    } else if (after == NULL) {
        addresses_release(addresses, (uint32_t)eni->address);
        if (core_rehearsing(core)) {
            // Nobody had it: the next search finds it first, as if it had not been taken.
            addresses->next = (uint32_t)eni->address - addresses->range.base;
        }
    }
}

static void changed(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after)
{
    if (kind == &vpc_kind) {
        vpc_changed(state, key, before, after);
    } else if (kind == &vpc_subnet_kind) {
        subnet_changed(state, core, key, before, after);
    } else if (kind == &vpc_eni_kind) {
        eni_changed(state, core, key, before, after);
    } else if (kind == &vpc_group_kind) {
        group_changed(state, key, before, after);
    }
}

// ---- invariants ---------------------------------------------------------------------------

static void check_enis(const struct core *core, const struct vpc_state *state,
                       struct buf *violations)
{
    struct index *seen = index_new();
    for (int64_t key = core_next(core, &vpc_eni_kind, 0); key != 0;
         key = core_next(core, &vpc_eni_kind, key)) {
        const struct vpc_record_eni *eni = core_get(core, &vpc_eni_kind, key);
        struct index_key at;
        number_key(&at, eni->subnet);
        index_key_u64(&at, (uint64_t)eni->address);
        if (index_get(seen, &at) != 0) {
            buf_format(violations, "vpc: interface %lld has the address of %lld\n", (long long)key,
                       (long long)index_get(seen, &at));
        } else {
            index_add(seen, &at, key);
        }
        const struct subnet_addresses *addresses =
            map_get_u64(&state->addresses, (uint64_t)eni->subnet);
        uint32_t offset = (uint32_t)eni->address - addresses->range.base;
        if (offset < SUBNET_RESERVED_FIRST || offset >= addresses->size - SUBNET_RESERVED_LAST) {
            buf_format(violations, "vpc: interface %lld has an address it may not have\n",
                       (long long)key);
        }
    }
    index_free(seen);
}

static void check(void *pointer, struct core *core, struct buf *violations)
{
    const struct vpc_state *state = pointer;
    uint64_t taken = 0;
    for (int64_t key = core_next(core, &vpc_subnet_kind, 0); key != 0;
         key = core_next(core, &vpc_subnet_kind, key)) {
        const struct subnet_addresses *addresses = map_get_u64(&state->addresses, (uint64_t)key);
        taken += addresses->size - SUBNET_RESERVED_FIRST - SUBNET_RESERVED_LAST - addresses->free;
    }
    if (taken != core_count(core, &vpc_eni_kind)) {
        buf_format(violations, "vpc: %llu addresses are taken by %zu interfaces\n",
                   (unsigned long long)taken, core_count(core, &vpc_eni_kind));
    }
    check_enis(core, state, violations);
    group_check(core, violations);
}

// ---- the default VPC ----------------------------------------------------------------------

// FNV-1a with a seed and a last mix. Its results are names that people paste: it never changes.
static uint64_t id_hash(uint64_t seed, struct text text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < text.size; i++) {
        hash ^= (unsigned char)text.data[i];
        hash *= UINT64_C(0x100000001b3);
    }
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    return hash;
}

struct text vpc_derived_id(struct core_call *call, const char *prefix, struct text realm,
                           struct text part)
{
    struct text of =
        arena_format(call->arena, "%s %.*s %.*s", prefix, TEXT_FMT(realm), TEXT_FMT(part));
    _Static_assert(ID_DIGITS == 17, "sixteen digits of one hash and one of another");
    return arena_format(call->arena, "%s-%016llx%llx", prefix, (unsigned long long)id_hash(0, of),
                        (unsigned long long)(id_hash(1, of) & 15));
}

static void subnet_create(struct core_call *call, int64_t vpc, struct vpc_range vpc_range,
                          struct text realm, uint32_t number, struct text region)
{
    struct vpc_range range = {.prefix_length =
                                  (uint8_t)(vpc_range.prefix_length + SUBNET_PREFIX_MORE)};
    range.base = vpc_range.base + number * range_size(range);
    struct text base = address_format(call->arena, range.base);
    struct vpc_record_subnet record = {
        .has_vpc = true,
        .vpc = vpc,
        .availability_zone =
            arena_format(call->arena, "%.*s%c", TEXT_FMT(region), (int)('a' + number)),
        .cidr = arena_format(call->arena, "%.*s/%u", TEXT_FMT(base), range.prefix_length),
    };
    record.subnet_id = vpc_derived_id(call, "subnet", realm, record.availability_zone);
    core_put(call, &vpc_subnet_kind, core_new_key(call), &record);
}

int64_t vpc_default_ensure(struct core_call *call, int64_t realm)
{
    struct vpc_state *state = vpc_state(call->core);
    struct index_key at;
    number_key(&at, realm);
    int64_t vpc = index_get(state->vpcs, &at);
    if (vpc != 0) {
        group_ensure_first(call, vpc);
        return vpc;
    }
    const struct identity_record_realm *where = core_get(call->core, &identity_realm_kind, realm);
    ASSERT(where != NULL);
    struct text name =
        arena_format(call->arena, "%.*s %.*s", TEXT_FMT(where->account), TEXT_FMT(where->region));
    const struct vpc_record_vpc record = {
        .has_realm = true,
        .realm = realm,
        .vpc_id = vpc_derived_id(call, "vpc", name, TEXT("")),
        .cidr = text_of(state->default_cidr),
        .has_is_default = true,
        .is_default = true,
        .default_security_group_id = vpc_derived_id(call, "sg", name, TEXT("")),
    };
    vpc = core_new_key(call);
    core_put(call, &vpc_kind, vpc, &record);
    for (uint32_t i = 0; i < VPC_ZONE_COUNT; i++) {
        subnet_create(call, vpc, range_of(record.cidr), name, i, where->region);
    }
    group_create_first(call, vpc, name, false);
    return vpc;
}

int64_t vpc_subnet_find(const struct core *core, int64_t realm, struct text subnet_id)
{
    if (subnet_id.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key at;
    subnet_key(&at, realm, subnet_id);
    return index_get(vpc_state(core)->subnets, &at);
}

uint32_t vpc_subnet_free(const struct core *core, int64_t subnet)
{
    const struct subnet_addresses *addresses =
        map_get_u64(&vpc_state(core)->addresses, (uint64_t)subnet);
    ASSERT(addresses != NULL);
    return addresses->free;
}

int vpc_describe_network(struct core_call *call, void *pointer, const void *request, void *response)
{
    struct vpc_state *state = pointer;
    (void)request;
    struct berth_describe_network_response *out = response;
    int64_t realm = identity_realm_ensure(call, &berth_error_limit_exceeded_exception);
    if (realm == 0) {
        return ERR_FAULT;
    }
    int64_t key = vpc_default_ensure(call, realm);
    const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, key);
    out->vpc_id = vpc->vpc_id;
    out->cidr_block = vpc->cidr;
    int64_t group = group_find_name(call->core, key, TEXT(GROUP_BERTH_NAME));
    const struct vpc_record_security_group *berth = core_get(call->core, &vpc_group_kind, group);
    out->security_group_id = berth == NULL ? vpc->default_security_group_id : berth->group_id;
    out->subnets.items = arena_array(call->arena, VPC_ZONE_COUNT, sizeof(*out->subnets.items));

    struct index_key at;
    struct index_cursor cursor;
    number_key(&at, key);
    index_walk(state->of_vpc, &at, false, &cursor);
    for (int64_t subnet = index_step(&cursor); subnet != 0; subnet = index_step(&cursor)) {
        const struct vpc_record_subnet *record = core_get(call->core, &vpc_subnet_kind, subnet);
        ASSERT(out->subnets.count < VPC_ZONE_COUNT);
        out->subnets.items[out->subnets.count] = (struct berth_subnet){
            .subnet_id = record->subnet_id,
            .availability_zone = record->availability_zone,
            .cidr_block = record->cidr,
            .has_free_address_count = true,
            .free_address_count = (int32_t)vpc_subnet_free(call->core, subnet),
        };
        out->subnets.count++;
    }
    return 0;
}

// ---- the module ---------------------------------------------------------------------------

const struct core_kind vpc_kinds[] = {
    {.number = 20, .name = "vpc", .type = &vpc_record_vpc_shape, .version = 1},
    {.number = 21, .name = "subnet", .type = &vpc_record_subnet_shape, .version = 1},
    {.number = 22, .name = "eni", .type = &vpc_record_eni_shape, .version = 1},
    {.number = 23,
     .name = "security_group",
     .type = &vpc_record_security_group_shape,
     .version = 1},
};

static const struct core_handler handlers[] = {
    {&berth_operations[BERTH_OP_DESCRIBE_NETWORK], vpc_describe_network},
    {&ec2_operations[EC2_OP_AUTHORIZE_SECURITY_GROUP_EGRESS], ec2_authorize_egress},
    {&ec2_operations[EC2_OP_AUTHORIZE_SECURITY_GROUP_INGRESS], ec2_authorize_ingress},
    {&ec2_operations[EC2_OP_CREATE_SECURITY_GROUP], ec2_create_security_group},
    {&ec2_operations[EC2_OP_CREATE_TAGS], ec2_create_tags},
    {&ec2_operations[EC2_OP_DELETE_SECURITY_GROUP], ec2_delete_security_group},
    {&ec2_operations[EC2_OP_DELETE_TAGS], ec2_delete_tags},
    {&ec2_operations[EC2_OP_DESCRIBE_AVAILABILITY_ZONES], ec2_describe_availability_zones},
    {&ec2_operations[EC2_OP_DESCRIBE_NETWORK_INTERFACES], ec2_describe_network_interfaces},
    {&ec2_operations[EC2_OP_DESCRIBE_SECURITY_GROUP_RULES], ec2_describe_security_group_rules},
    {&ec2_operations[EC2_OP_DESCRIBE_SECURITY_GROUPS], ec2_describe_security_groups},
    {&ec2_operations[EC2_OP_DESCRIBE_SUBNETS], ec2_describe_subnets},
    {&ec2_operations[EC2_OP_DESCRIBE_TAGS], ec2_describe_tags},
    {&ec2_operations[EC2_OP_DESCRIBE_VPCS], ec2_describe_vpcs},
    {&ec2_operations[EC2_OP_MODIFY_SECURITY_GROUP_RULES], ec2_modify_rules},
    {&ec2_operations[EC2_OP_REVOKE_SECURITY_GROUP_EGRESS], ec2_revoke_egress},
    {&ec2_operations[EC2_OP_REVOKE_SECURITY_GROUP_INGRESS], ec2_revoke_ingress},
    {&ec2_operations[EC2_OP_UPDATE_SECURITY_GROUP_RULE_DESCRIPTIONS_EGRESS],
     ec2_update_descriptions_egress},
    {&ec2_operations[EC2_OP_UPDATE_SECURITY_GROUP_RULE_DESCRIPTIONS_INGRESS],
     ec2_update_descriptions_ingress},
};

const struct core_module vpc_module = {
    .name = "vpc",
    .kinds = vpc_kinds,
    .kind_count = ARRAY_LEN(vpc_kinds),
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = &group_manager,
    .manager_count = 1,
    .state_new = state_new,
    .state_free = state_free,
    .changed = changed,
    .recover = group_recover,
    .check = check,
};
