#include "vpc/ec2_internal.h"

#include "base/text.h"

#define INTERFACE_IDS_MAX 100 ///< in one request, so that its answer is not without bounds

/* VPCs, subnets, network interfaces and zones: a node's owner looks, nobody changes them. */

// ---- what the listings share --------------------------------------------------------------

/** A resource of any kind, for filters. */
struct resource {
    const struct ec2_scope *scope;
    const struct vpc_record_subnet *subnet; ///< of an interface, too
    int64_t subnet_key;
    const struct vpc_record_eni *eni;
    struct text zone;
};

// Without any, all are.
static bool named(const struct text_list *names, struct text name)
{
    return names->count == 0 || text_list_has(names, name);
}

static int not_found(struct core_call *call, const struct api_error *error, const char *what,
                     struct text id)
{
    return core_fault(call, error, "The %s '%.*s' does not exist", what,
                      TEXT_FMT(text_slice(id, 0, EC2_TEXT_MAX)));
}

static struct text address_of(struct core_call *call, const struct resource *at)
{
    return address_format(call->arena, (uint32_t)at->eni->address);
}

// Zones have the same letters in ids as in names here: <region>a is <short>1, in AWS's manner.
static struct text zone_id(struct core_call *call, const struct ec2_scope *scope, struct text zone)
{
    struct text region = scope->region;
    struct text short_name = TEXT("");
    for (struct text rest = region; rest.data != NULL;) {
        struct text word = text_cut(&rest, '-');
        bool first = short_name.size == 0;
        size_t take = first ? word.size : 1;
        struct text middle = text_slice(word, 0, take);
        // northeast and its like are ne, se, nw, sw.
        if (!first && word.size > 5 && text_ends(word, TEXT("east"))) {
            middle = arena_format(call->arena, "%.1se", word.data);
        } else if (!first && word.size > 5 && text_ends(word, TEXT("west"))) {
            middle = arena_format(call->arena, "%.1sw", word.data);
        }
        short_name = arena_format(call->arena, "%.*s%.*s", TEXT_FMT(short_name), TEXT_FMT(middle));
    }
    char letter = zone.size > 0 ? zone.data[zone.size - 1] : 'a';
    return arena_format(call->arena, "%.*s-az%d", TEXT_FMT(short_name), letter - 'a' + 1);
}

static void resource_value(struct core_call *call, const void *pointer, struct text name,
                           struct ec2_values *values)
{
    const struct resource *at = pointer;
    const struct ec2_scope *scope = at->scope;
    if (text_is(name, "vpc-id")) {
        ec2_value(values, scope->record->vpc_id);
    } else if (text_is(name, "owner-id")) {
        ec2_value(values, scope->account);
    } else if (text_is(name, "state")) {
        ec2_value(values, TEXT("available"));
    } else if (text_is(name, "cidr") || text_is(name, "cidr-block") || text_is(name, "cidrBlock") ||
               text_is(name, "cidr-block-association.cidr-block")) {
        ec2_value(values, at->subnet == NULL ? scope->record->cidr : at->subnet->cidr);
    } else if (text_is(name, "is-default") || text_is(name, "isDefault") ||
               text_is(name, "default-for-az") || text_is(name, "defaultForAz")) {
        ec2_value(values, scope->record->is_default ? TEXT("true") : TEXT("false"));
    } else if (text_is(name, "subnet-id")) {
        ec2_value(values, at->subnet->subnet_id);
    } else if (text_is(name, "availability-zone") || text_is(name, "availabilityZone")) {
        ec2_value(values, at->subnet->availability_zone);
    } else if (text_is(name, "availability-zone-id") || text_is(name, "availabilityZoneId")) {
        ec2_value(values, zone_id(call, scope, at->subnet->availability_zone));
    } else if (text_is(name, "available-ip-address-count")) {
        ec2_value_number(values, vpc_subnet_free(call->core, at->subnet_key));
    } else if (text_is(name, "region-name")) {
        ec2_value(values, scope->region);
    } else if (text_is(name, "zone-name")) {
        ec2_value(values, at->zone);
    } else if (text_is(name, "zone-id")) {
        ec2_value(values, zone_id(call, scope, at->zone));
    } else if (text_is(name, "zone-type")) {
        ec2_value(values, TEXT("availability-zone"));
    } else if (text_is(name, "network-interface-id")) {
        ec2_value(values, at->eni->eni_id);
    } else if (text_is(name, "mac-address")) {
        ec2_value(values, at->eni->mac_address);
    } else if (text_is(name, "private-ip-address") ||
               text_is(name, "addresses.private-ip-address")) {
        ec2_value(values, address_of(call, at));
    } else if (text_is(name, "private-dns-name")) {
        ec2_value(values, vpc_private_name(call, address_of(call, at), scope->region));
    } else if (text_is(name, "status")) {
        ec2_value(values, TEXT("in-use"));
    } else if (text_is(name, "interface-type")) {
        ec2_value(values, TEXT("interface"));
    } else if (text_is(name, "group-id")) {
        for (size_t i = 0; i < at->eni->security_groups.count; i++) {
            ec2_value(values, at->eni->security_groups.items[i]);
        }
    } else if (text_is(name, "group-name")) {
        for (size_t i = 0; i < at->eni->security_groups.count; i++) {
            const struct vpc_record_security_group *group =
                core_get(call->core, &vpc_group_kind,
                         vpc_group_find(call->core, scope->vpc, at->eni->security_groups.items[i]));
            ec2_value(values, group == NULL ? (struct text){0} : group->name);
        }
    }
}

static const struct vpc_record_tag *vpc_tags(const void *pointer, size_t *out_count)
{
    const struct resource *at = pointer;
    *out_count = at->scope->record->tags.count;
    return at->scope->record->tags.items;
}

static const struct vpc_record_tag *subnet_tags(const void *pointer, size_t *out_count)
{
    const struct resource *at = pointer;
    *out_count = at->subnet->tags.count;
    return at->subnet->tags.items;
}

static const struct vpc_record_tag *eni_tags(const void *pointer, size_t *out_count)
{
    const struct resource *at = pointer;
    *out_count = at->eni->tags.count;
    return at->eni->tags.items;
}

// ---- VPCs ---------------------------------------------------------------------------------

static const char *const vpc_filters[] = {
    "cidr",       "cidr-block-association.cidr-block",
    "is-default", "isDefault",
    "owner-id",   "state",
    "vpc-id",     NULL,
};

static void show_vpc(struct core_call *call, const struct ec2_scope *scope, struct ec2_vpc *out)
{
    const struct vpc_record_vpc *vpc = scope->record;
    struct ec2_vpc_cidr_block_state *state =
        ARENA_NEW(call->arena, struct ec2_vpc_cidr_block_state);
    state->state = TEXT("associated");
    struct ec2_vpc_cidr_block_association *association =
        ARENA_NEW(call->arena, struct ec2_vpc_cidr_block_association);
    *association = (struct ec2_vpc_cidr_block_association){
        .association_id = arena_format(call->arena, "vpc-cidr-assoc-%.*s",
                                       TEXT_FMT(text_slice(vpc->vpc_id, 4, vpc->vpc_id.size))),
        .cidr_block = vpc->cidr,
        .cidr_block_state = state,
    };
    *out = (struct ec2_vpc){
        .vpc_id = vpc->vpc_id,
        .owner_id = scope->account,
        .state = TEXT("available"),
        .cidr_block = vpc->cidr,
        .dhcp_options_id = TEXT("default"),
        .instance_tenancy = TEXT("default"),
        .has_is_default = true,
        .is_default = vpc->is_default,
        .cidr_block_association_set = {.items = association, .count = 1},
        .tag_set = {.items = ec2_tags_show(call, vpc->tags.items, vpc->tags.count),
                    .count = vpc->tags.count},
    };
}

int ec2_describe_vpcs(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_describe_vpcs_request *request = in;
    struct ec2_describe_vpcs_result *result = out;
    const struct ec2_filters filters = {request->filter.items, request->filter.count, vpc_filters,
                                        resource_value, vpc_tags};
    const struct ec2_paging paging = {request->has_max_results, request->max_results,
                                      request->next_token};
    struct ec2_scope scope;
    struct ec2_page page = {0};
    int rc = ec2_describe_open(call, &filters, &paging, &scope, &page);
    for (size_t i = 0; rc == 0 && i < request->vpc_id.count; i++) {
        if (!text_equal(request->vpc_id.items[i], scope.record->vpc_id)) {
            rc = not_found(call, &ec2_error_invalid_vpc_id_not_found, "vpc ID",
                           request->vpc_id.items[i]);
        }
    }
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    const struct resource resource = {.scope = &scope};
    result->vpc_set.items = ARENA_NEW(call->arena, struct ec2_vpc);
    if (page.after < scope.vpc && ec2_filters_pass(call, &filters, &resource)) {
        show_vpc(call, &scope, result->vpc_set.items);
        result->vpc_set.count = 1;
    }
    return 0;
}

// ---- subnets ------------------------------------------------------------------------------

static const char *const subnet_filters[] = {
    "availability-zone",
    "availability-zone-id",
    "availabilityZone",
    "availabilityZoneId",
    "available-ip-address-count",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "owner-id",
    "state",
    "subnet-id",
    "vpc-id",
    NULL,
};

static void open_subnet(struct core_call *call, const struct ec2_scope *scope, int64_t key,
                        void *resource)
{
    struct resource *at = resource;
    *at = (struct resource){
        .scope = scope, .subnet = core_get(call->core, &vpc_subnet_kind, key), .subnet_key = key};
}

static void show_subnet(struct core_call *call, const void *resource, void *item)
{
    const struct resource *at = resource;
    const struct vpc_record_subnet *subnet = at->subnet;
    struct ec2_subnet *out = item;
    *out = (struct ec2_subnet){
        .subnet_id = subnet->subnet_id,
        .subnet_arn = ec2_arn(call, at->scope, "subnet", subnet->subnet_id),
        .owner_id = at->scope->account,
        .vpc_id = at->scope->record->vpc_id,
        .state = TEXT("available"),
        .cidr_block = subnet->cidr,
        .availability_zone = subnet->availability_zone,
        .availability_zone_id = zone_id(call, at->scope, subnet->availability_zone),
        .has_available_ip_address_count = true,
        .available_ip_address_count = (int32_t)vpc_subnet_free(call->core, at->subnet_key),
        .has_default_for_az = true,
        .default_for_az = at->scope->record->is_default,
        .has_map_public_ip_on_launch = true,
        .has_assign_ipv6_address_on_creation = true,
        .tag_set = {.items = ec2_tags_show(call, subnet->tags.items, subnet->tags.count),
                    .count = subnet->tags.count},
    };
}

int ec2_describe_subnets(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_describe_subnets_request *request = in;
    struct ec2_describe_subnets_result *result = out;
    const struct ec2_filters filters = {request->filter.items, request->filter.count,
                                        subnet_filters, resource_value, subnet_tags};
    const struct ec2_paging paging = {request->has_max_results, request->max_results,
                                      request->next_token};
    const struct ec2_listed listed = {&filters, sizeof(struct resource), sizeof(struct ec2_subnet),
                                      open_subnet, show_subnet};
    struct ec2_scope scope;
    struct ec2_page page = {0};
    struct ec2_walk walk;
    struct ec2_list list;
    int rc = ec2_describe_open(call, &filters, &paging, &scope, &page);
    ec2_walk_named(call, MAX(request->subnet_id.count, (size_t)VPC_ZONE_COUNT), page.after, &walk);
    for (size_t i = 0; rc == 0 && i < request->subnet_id.count; i++) {
        struct text id = request->subnet_id.items[i];
        int64_t key = vpc_subnet_find(call->core, scope.realm, id);
        if (key == 0) {
            rc = not_found(call, &ec2_error_invalid_subnet_id_not_found, "subnet ID", id);
        } else {
            ec2_walk_add(&walk, key);
        }
    }
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    if (request->subnet_id.count == 0) {
        const struct ec2_finder finder = {.all = vpc_state(call->core)->of_vpc};
        ec2_walk_open(&scope, &finder, &filters, page.after, &walk);
    }
    ec2_list(call, &scope, &walk, &listed, &page, &list);
    result->subnet_set.items = list.items;
    result->subnet_set.count = list.count;
    result->next_token = list.next_token;
    return 0;
}

// ---- network interfaces -------------------------------------------------------------------

static const char *const eni_filters[] = {
    "addresses.private-ip-address",
    "availability-zone",
    "availability-zone-id",
    "group-id",
    "group-name",
    "interface-type",
    "mac-address",
    "network-interface-id",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "status",
    "subnet-id",
    "vpc-id",
    NULL,
};

static void show_groups(struct core_call *call, const struct resource *at,
                        struct ec2_network_interface *out)
{
    size_t count = at->eni->security_groups.count;
    out->group_set.items = arena_array(call->arena, count, sizeof(*out->group_set.items));
    out->group_set.count = count;
    for (size_t i = 0; i < count; i++) {
        struct text id = at->eni->security_groups.items[i];
        const struct vpc_record_security_group *group =
            core_get(call->core, &vpc_group_kind, vpc_group_find(call->core, at->scope->vpc, id));
        out->group_set.items[i] = (struct ec2_group_identifier){
            .group_id = id, .group_name = group == NULL ? (struct text){0} : group->name};
    }
}

static void open_eni(struct core_call *call, const struct ec2_scope *scope, int64_t key,
                     void *resource)
{
    struct resource *at = resource;
    const struct vpc_record_eni *eni = core_get(call->core, &vpc_eni_kind, key);
    *at = (struct resource){.scope = scope,
                            .subnet = core_get(call->core, &vpc_subnet_kind, eni->subnet),
                            .subnet_key = eni->subnet,
                            .eni = eni};
}

static void show_eni(struct core_call *call, const void *resource, void *item)
{
    const struct resource *at = resource;
    const struct vpc_record_eni *eni = at->eni;
    struct ec2_network_interface *out = item;
    struct text dotted = address_of(call, at);
    struct text name = vpc_private_name(call, dotted, at->scope->region);
    struct ec2_network_interface_private_ip_address *address =
        ARENA_NEW(call->arena, struct ec2_network_interface_private_ip_address);
    *address = (struct ec2_network_interface_private_ip_address){
        .has_primary = true,
        .primary = true,
        .private_dns_name = name,
        .private_ip_address = dotted,
    };
    *out = (struct ec2_network_interface){
        .network_interface_id = eni->eni_id,
        .interface_type = TEXT("interface"),
        .mac_address = eni->mac_address,
        .owner_id = at->scope->account,
        .private_dns_name = name,
        .private_ip_address = dotted,
        .private_ip_addresses_set = {.items = address, .count = 1},
        .has_requester_managed = true,
        .has_source_dest_check = true,
        .source_dest_check = true,
        .status = TEXT("in-use"),
        .subnet_id = at->subnet->subnet_id,
        .vpc_id = at->scope->record->vpc_id,
        .availability_zone = at->subnet->availability_zone,
        .availability_zone_id = zone_id(call, at->scope, at->subnet->availability_zone),
        .tag_set = {.items = ec2_tags_show(call, eni->tags.items, eni->tags.count),
                    .count = eni->tags.count},
    };
    show_groups(call, at, out);
}

// What is named by id. @return 0 or ERR_FAULT
static int walk_enis(struct core_call *call, const struct ec2_scope *scope,
                     const struct text_list *ids, int64_t after, struct ec2_walk *out_walk)
{
    if (ids->count > INTERFACE_IDS_MAX) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "At most %d network interface IDs can be given in one call",
                          INTERFACE_IDS_MAX);
    }
    ec2_walk_named(call, ids->count, after, out_walk);
    for (size_t i = 0; i < ids->count; i++) {
        int64_t key = vpc_named_find(vpc_state(call->core)->eni_ids, scope->vpc, ids->items[i]);
        if (key == 0) {
            return not_found(call, &ec2_error_invalid_network_interface_id_not_found,
                             "networkInterface ID", ids->items[i]);
        }
        ec2_walk_add(out_walk, key);
    }
    return 0;
}

int ec2_describe_network_interfaces(struct core_call *call, void *pointer, const void *in,
                                    void *out)
{
    const struct vpc_state *state = pointer;
    const struct ec2_describe_network_interfaces_request *request = in;
    struct ec2_describe_network_interfaces_result *result = out;
    const struct ec2_filters filters = {request->filter.items, request->filter.count, eni_filters,
                                        resource_value, eni_tags};
    const struct ec2_paging paging = {request->has_max_results, request->max_results,
                                      request->next_token};
    const struct ec2_listed listed = {&filters, sizeof(struct resource),
                                      sizeof(struct ec2_network_interface), open_eni, show_eni};
    const struct ec2_finder finder = {
        .all = state->vpc_enis,
        .filters = {{"network-interface-id", state->eni_ids}, {"group-id", state->group_members}}};
    struct ec2_scope scope;
    struct ec2_page page = {0};
    struct ec2_walk walk;
    struct ec2_list list;
    int rc = ec2_describe_open(call, &filters, &paging, &scope, &page);
    rc = rc == 0 ? walk_enis(call, &scope, &request->network_interface_id, page.after, &walk) : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    if (request->network_interface_id.count == 0) {
        ec2_walk_open(&scope, &finder, &filters, page.after, &walk);
    }
    ec2_list(call, &scope, &walk, &listed, &page, &list);
    result->network_interface_set.items = list.items;
    result->network_interface_set.count = list.count;
    result->next_token = list.next_token;
    return 0;
}

// ---- zones --------------------------------------------------------------------------------

static const char *const zone_filters[] = {
    "region-name", "state", "zone-id", "zone-name", "zone-type", NULL,
};

int ec2_describe_availability_zones(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_describe_availability_zones_request *request = in;
    struct ec2_describe_availability_zones_result *result = out;
    const struct ec2_filters filters = {.items = request->filter.items,
                                        .count = request->filter.count,
                                        .names = zone_filters,
                                        .values = resource_value};
    struct ec2_scope scope;
    int rc = ec2_open(call, &scope);
    rc = rc == 0 ? ec2_filters_check(call, &filters) : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    struct ec2_availability_zone *items = arena_array(call->arena, VPC_ZONE_COUNT, sizeof(*items));
    size_t count = 0;
    size_t found = 0;
    for (int i = 0; i < VPC_ZONE_COUNT; i++) {
        struct text zone =
            arena_format(call->arena, "%.*s%c", TEXT_FMT(scope.region), (int)('a' + i));
        struct text id = zone_id(call, &scope, zone);
        bool by_name = named(&request->zone_name, zone);
        bool by_id = named(&request->zone_id, id);
        found += by_name && by_id;
        const struct resource resource = {.scope = &scope, .zone = zone};
        if (!by_name || !by_id || !ec2_filters_pass(call, &filters, &resource)) {
            continue;
        }
        items[count] = (struct ec2_availability_zone){
            .opt_in_status = TEXT("opt-in-not-required"),
            .region_name = scope.region,
            .zone_name = zone,
            .zone_id = id,
            .group_name = scope.region,
            .network_border_group = scope.region,
            .zone_type = TEXT("availability-zone"),
            .zone_state = TEXT("available"),
        };
        count++;
    }
    if (found < request->zone_name.count || found < request->zone_id.count) {
        return core_fault(call, &ec2_error_invalid_parameter_value, "Invalid availability zone");
    }
    result->availability_zone_info.items = items;
    result->availability_zone_info.count = count;
    return 0;
}
