#include "vpc/ec2_internal.h"

#include "base/text.h"

#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMPV6 58

// ---- protocols and ports ------------------------------------------------------------------

static const struct {
    const char *name;
    const char *told; // in messages
    int32_t number;
} protocols[] = {
    {"tcp", "TCP", PROTOCOL_TCP},    {"udp", "UDP", PROTOCOL_UDP},
    {"icmp", "ICMP", PROTOCOL_ICMP}, {"icmpv6", "ICMPV6", PROTOCOL_ICMPV6},
    {"-1", "ALL", RULE_ANY},
};

struct text ec2_protocol_name(struct core_call *call, int32_t protocol)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        if (protocols[i].number == protocol) {
            return text_of(protocols[i].name);
        }
    }
    return arena_format(call->arena, "%d", protocol);
}

static int read_protocol(struct core_call *call, struct text name, int32_t *out_protocol)
{
    if (text_empty(name)) {
        return ec2_missing(call, "ipProtocol");
    }
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        if (text_equal_nocase(name, text_of(protocols[i].name))) {
            *out_protocol = protocols[i].number;
            return 0;
        }
    }
    int64_t number = 0;
    if (text_equal_nocase(name, TEXT("all"))) {
        number = RULE_ANY;
    } else if (name.size > 3 || text_to_i64(name, &number) != 0 || number < 0 || number > 255) {
        return core_fault(call, &ec2_error_invalid_permission_malformed,
                          "Unsupported IP protocol \"%.*s\" -- supported: [tcp, udp, icmp, "
                          "icmpv6, -1, 0 to 255]",
                          TEXT_FMT(text_slice(name, 0, EC2_TEXT_MAX)));
    }
    *out_protocol = (int32_t)number;
    return 0;
}

static int check_ports(struct core_call *call, const struct vpc_record_security_group_rule *rule)
{
    if (!rule->has_from_port || !rule->has_to_port) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Invalid value 'Must specify both from and to ports with TCP/UDP.' for "
                          "portRange.");
    }
    const int32_t ports[] = {rule->from_port, rule->to_port};
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        if (ports[i] < 0 || ports[i] > 65535) {
            return core_fault(call, &ec2_error_invalid_permission_malformed,
                              "TCP/UDP port (%d) out of range", ports[i]);
        }
    }
    if (rule->from_port > rule->to_port) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Invalid TCP/UDP port range (%d:%d)", rule->from_port, rule->to_port);
    }
    return 0;
}

static int check_icmp(struct core_call *call, struct vpc_record_security_group_rule *rule)
{
    rule->from_port = rule->has_from_port ? rule->from_port : -1;
    rule->to_port = rule->has_to_port ? rule->to_port : -1;
    rule->has_from_port = true;
    rule->has_to_port = true;
    if (rule->from_port < -1 || rule->from_port > 255) {
        return core_fault(call, &ec2_error_invalid_permission_malformed,
                          "ICMP type (%d) out of range", rule->from_port);
    }
    if (rule->to_port < -1 || rule->to_port > 255 ||
        (rule->from_port == -1 && rule->to_port != -1)) {
        return core_fault(call, &ec2_error_invalid_permission_malformed,
                          "ICMP code (%d) out of range", rule->to_port);
    }
    return 0;
}

/** Protocol and ports of a rule. Those of protocols without ports are dropped, as EC2 does. */
static int read_traffic(struct core_call *call, struct text protocol,
                        struct vpc_record_security_group_rule *rule)
{
    rule->has_protocol = true;
    int rc = read_protocol(call, protocol, &rule->protocol);
    if (rc != 0) {
        return rc;
    }
    if (rule->protocol == PROTOCOL_TCP || rule->protocol == PROTOCOL_UDP) {
        return check_ports(call, rule);
    }
    if (rule->protocol == PROTOCOL_ICMP || rule->protocol == PROTOCOL_ICMPV6) {
        return check_icmp(call, rule);
    }
    rule->has_from_port = false;
    rule->from_port = 0;
    rule->has_to_port = false;
    rule->to_port = 0;
    return 0;
}

// ---- peers --------------------------------------------------------------------------------

static int read_description(struct core_call *call, struct text description, struct text *out)
{
    if (description.size > EC2_TEXT_MAX || !ec2_text_valid(description)) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Invalid rule description. Valid descriptions are strings less than 256 "
                          "characters from the following set:  a-zA-Z0-9. "
                          "_-:/()#,@[]+=&;{}!$*");
    }
    *out = text_empty(description) ? (struct text){0} : description;
    return 0;
}

static int malformed_cidr(struct core_call *call, struct text cidr)
{
    return core_fault(call, &ec2_error_invalid_parameter_value, "CIDR block %.*s is malformed",
                      TEXT_FMT(text_slice(cidr, 0, EC2_TEXT_MAX)));
}

static int no_prefix_list(struct core_call *call, struct text id)
{
    // EC2 has lists of its own and of its customers; here there are none.
    return core_fault(call, &ec2_error_invalid_prefix_list_id_not_found,
                      "The prefix list ID '%.*s' does not exist",
                      TEXT_FMT(text_slice(id, 0, EC2_TEXT_MAX)));
}

static int read_pair(struct core_call *call, const struct ec2_scope *scope,
                     const struct ec2_user_id_group_pair *pair, struct text *out_group)
{
    if (!text_empty(pair->user_id) && !text_equal(pair->user_id, scope->account)) {
        return core_fault(call, &ec2_error_invalid_group_not_found,
                          "You have specified two resources that belong to different networks.");
    }
    int64_t group = 0;
    int rc = ec2_group_find(call, scope, pair->group_id, pair->group_name, &group);
    if (rc == 0) {
        const struct vpc_record_security_group *record =
            core_get(call->core, &vpc_group_kind, group);
        *out_group = record->group_id;
    }
    return rc;
}

// ---- permissions --------------------------------------------------------------------------

static size_t peers_of(const struct ec2_ip_permission *permission)
{
    return permission->ip_ranges.count + permission->ipv6_ranges.count + permission->groups.count;
}

/** The rules of one permission, behind those that there are. */
static int read_permission(struct core_call *call, const struct ec2_scope *scope,
                           const struct ec2_ip_permission *permission, bool egress,
                           struct ec2_rules *rules)
{
    struct vpc_record_security_group_rule rule = {
        .has_egress = true,
        .egress = egress,
        .has_from_port = permission->has_from_port,
        .from_port = permission->from_port,
        .has_to_port = permission->has_to_port,
        .to_port = permission->to_port,
    };
    int rc = read_traffic(call, permission->ip_protocol, &rule);
    if (rc == 0 && permission->prefix_list_ids.count > 0) {
        return no_prefix_list(call, permission->prefix_list_ids.items[0].prefix_list_id);
    }
    if (rc == 0 && peers_of(permission) == 0) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Each permission must have an IP range or a security group");
    }
    for (size_t i = 0; rc == 0 && i < permission->ip_ranges.count; i++) {
        const struct ec2_ip_range *range = &permission->ip_ranges.items[i];
        struct vpc_record_security_group_rule *out = &rules->items[rules->count++];
        *out = rule;
        out->cidr = ec2_cidr4(call, range->cidr_ip);
        rc = out->cidr.data == NULL ? malformed_cidr(call, range->cidr_ip)
                                    : read_description(call, range->description, &out->description);
    }
    for (size_t i = 0; rc == 0 && i < permission->ipv6_ranges.count; i++) {
        const struct ec2_ipv6_range *range = &permission->ipv6_ranges.items[i];
        struct vpc_record_security_group_rule *out = &rules->items[rules->count++];
        *out = rule;
        out->cidr6 = ec2_cidr6(call, range->cidr_ipv6);
        rc = out->cidr6.data == NULL
                 ? malformed_cidr(call, range->cidr_ipv6)
                 : read_description(call, range->description, &out->description);
    }
    for (size_t i = 0; rc == 0 && i < permission->groups.count; i++) {
        const struct ec2_user_id_group_pair *pair = &permission->groups.items[i];
        struct vpc_record_security_group_rule *out = &rules->items[rules->count++];
        *out = rule;
        rc = read_pair(call, scope, pair, &out->group);
        rc = rc == 0 ? read_description(call, pair->description, &out->description) : rc;
    }
    return rc;
}

int ec2_rules_read(struct core_call *call, const struct ec2_scope *scope,
                   const struct ec2_rule_request *request, struct ec2_rules *out_rules)
{
    size_t total = 0;
    for (size_t i = 0; i < request->count; i++) {
        total += peers_of(&request->items[i]);
    }
    struct ec2_rules rules = {.items = arena_array(call->arena, total, sizeof(*rules.items))};
    for (size_t i = 0; i < request->count; i++) {
        int rc = read_permission(call, scope, &request->items[i], request->egress, &rules);
        if (rc != 0) {
            return rc;
        }
    }
    // What is more than a group may have is refused anyway, before this takes long.
    size_t compared = MIN(rules.count, (size_t)EC2_RULES_MAX + 1);
    for (size_t i = 0; i < compared; i++) {
        for (size_t k = 0; k < i; k++) {
            if (ec2_rule_same(&rules.items[i], &rules.items[k])) {
                return core_fault(call, &ec2_error_invalid_parameter_value,
                                  "The same permission must not appear multiple times");
            }
        }
    }
    *out_rules = rules;
    return 0;
}

int ec2_rule_read(struct core_call *call, const struct ec2_scope *scope,
                  const struct ec2_security_group_rule_request *request, bool egress,
                  struct vpc_record_security_group_rule *out_rule)
{
    struct vpc_record_security_group_rule rule = {
        .has_egress = true,
        .egress = egress,
        .has_from_port = request->has_from_port,
        .from_port = request->from_port,
        .has_to_port = request->has_to_port,
        .to_port = request->to_port,
    };
    int rc = read_traffic(call, request->ip_protocol, &rule);
    rc = rc == 0 ? read_description(call, request->description, &rule.description) : rc;
    if (rc != 0) {
        return rc;
    }
    size_t peers = (size_t)!text_empty(request->cidr_ipv4) + !text_empty(request->cidr_ipv6) +
                   !text_empty(request->prefix_list_id) + !text_empty(request->referenced_group_id);
    if (peers != 1) {
        return core_fault(call, &ec2_error_invalid_parameter_combination,
                          "Specify exactly one of CidrIpv4, CidrIpv6, PrefixListId and "
                          "ReferencedGroupId");
    }
    if (!text_empty(request->prefix_list_id)) {
        return no_prefix_list(call, request->prefix_list_id);
    }
    if (!text_empty(request->referenced_group_id)) {
        const struct ec2_user_id_group_pair pair = {.group_id = request->referenced_group_id};
        rc = read_pair(call, scope, &pair, &rule.group);
    } else if (!text_empty(request->cidr_ipv4)) {
        rule.cidr = ec2_cidr4(call, request->cidr_ipv4);
        rc = rule.cidr.data == NULL ? malformed_cidr(call, request->cidr_ipv4) : 0;
    } else {
        rule.cidr6 = ec2_cidr6(call, request->cidr_ipv6);
        rc = rule.cidr6.data == NULL ? malformed_cidr(call, request->cidr_ipv6) : 0;
    }
    if (rc == 0) {
        *out_rule = rule;
    }
    return rc;
}

// ---- comparing and telling ----------------------------------------------------------------

bool ec2_rule_same(const struct vpc_record_security_group_rule *a,
                   const struct vpc_record_security_group_rule *b)
{
    return a->egress == b->egress && a->protocol == b->protocol &&
           a->has_from_port == b->has_from_port && a->from_port == b->from_port &&
           a->has_to_port == b->has_to_port && a->to_port == b->to_port &&
           text_equal(a->cidr, b->cidr) && text_equal(a->cidr6, b->cidr6) &&
           text_equal(a->group, b->group);
}

struct text ec2_rule_told(struct core_call *call, const struct vpc_record_security_group_rule *rule)
{
    struct text peer = !text_empty(rule->cidr)    ? rule->cidr
                       : !text_empty(rule->cidr6) ? rule->cidr6
                                                  : rule->group;
    struct text protocol = arena_format(call->arena, "%d", rule->protocol);
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        protocol = protocols[i].number == rule->protocol ? text_of(protocols[i].told) : protocol;
    }
    if (!rule->has_from_port) {
        return arena_format(call->arena, "peer: %.*s, %.*s, ALLOW", TEXT_FMT(peer),
                            TEXT_FMT(protocol));
    }
    bool icmp = rule->protocol == PROTOCOL_ICMP || rule->protocol == PROTOCOL_ICMPV6;
    return arena_format(call->arena, "peer: %.*s, %.*s, %s: %d, %s: %d, ALLOW", TEXT_FMT(peer),
                        TEXT_FMT(protocol), icmp ? "type" : "from port", rule->from_port,
                        icmp ? "code" : "to port", rule->to_port);
}

int ec2_rule_missing(struct core_call *call, struct text id)
{
    if (!text_starts(id, TEXT("sgr-"))) {
        return core_fault(call, &ec2_error_invalid_security_group_rule_id_malformed,
                          "Invalid id: \"%.*s\" (expecting \"sgr-...\")",
                          TEXT_FMT(text_slice(id, 0, EC2_TEXT_MAX)));
    }
    return core_fault(call, &ec2_error_invalid_security_group_rule_id_not_found,
                      "The security group rule ID '%.*s' does not exist",
                      TEXT_FMT(text_slice(id, 0, EC2_TEXT_MAX)));
}
