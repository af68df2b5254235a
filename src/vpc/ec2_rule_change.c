#include "vpc/ec2_internal.h"

#include "base/text.h"

/*
 * AuthorizeSecurityGroup*, RevokeSecurityGroup*, ModifySecurityGroupRules and
 * UpdateSecurityGroupRuleDescriptions*: all of them put the group once, whole.
 */

// ---- requests in one form -----------------------------------------------------------------

static void take_one(struct ec2_rule_request *request, struct text group_name)
{
    if (!text_empty(group_name)) {
        request->pair.group_name = group_name;
        request->one.groups.items = &request->pair;
        request->one.groups.count = 1;
    }
    if (!text_empty(request->range.cidr_ip)) {
        request->one.ip_ranges.items = &request->range;
        request->one.ip_ranges.count = 1;
    }
    // A group alone stands for all that it sends.
    if (text_empty(request->one.ip_protocol) && request->one.groups.count > 0) {
        request->one.ip_protocol = TEXT("-1");
    }
    if (request->count == 0 && !text_empty(request->one.ip_protocol)) {
        request->items = &request->one;
        request->count = 1;
    }
}

// Requests of the two ways have the same members under other numbers.
#define TAKE_COMMON(out, in)                                                                       \
    ((out)->group_id = (in)->group_id, (out)->items = (in)->ip_permissions.items,                  \
     (out)->count = (in)->ip_permissions.count, (out)->range.cidr_ip = (in)->cidr_ip,              \
     (out)->pair.user_id = (in)->source_security_group_owner_id,                                   \
     (out)->one.ip_protocol = (in)->ip_protocol, (out)->one.has_from_port = (in)->has_from_port,   \
     (out)->one.from_port = (in)->from_port, (out)->one.has_to_port = (in)->has_to_port,           \
     (out)->one.to_port = (in)->to_port, (out)->dry_run = (in)->dry_run,                           \
     take_one((out), (in)->source_security_group_name))

static int open_group(struct core_call *call, struct ec2_scope *scope, struct text group_id,
                      struct text group_name, int64_t *out_group)
{
    int rc = ec2_open(call, scope);
    return rc == 0 ? ec2_group_find(call, scope, group_id, group_name, out_group) : rc;
}

// ---- authorize ----------------------------------------------------------------------------

static const struct vpc_record_security_group_rule *
find_same(const struct vpc_record_security_group *group,
          const struct vpc_record_security_group_rule *rule)
{
    for (size_t i = 0; i < group->rules.count; i++) {
        if (ec2_rule_same(&group->rules.items[i], rule)) {
            return &group->rules.items[i];
        }
    }
    return NULL;
}

static int check_new(struct core_call *call, const struct vpc_record_security_group *group,
                     const struct ec2_rules *rules, bool egress)
{
    size_t count = rules->count;
    for (size_t i = 0; i < group->rules.count; i++) {
        count += group->rules.items[i].egress == egress;
    }
    if (count > EC2_RULES_MAX) {
        return core_fault(call, &ec2_error_rules_per_security_group_limit_exceeded,
                          "The maximum number of rules per security group has been reached.");
    }
    for (size_t i = 0; i < rules->count; i++) {
        if (find_same(group, &rules->items[i]) != NULL) {
            struct text told = ec2_rule_told(call, &rules->items[i]);
            return core_fault(call, &ec2_error_invalid_permission_duplicate,
                              "the specified rule \"%.*s\" already exists", TEXT_FMT(told));
        }
    }
    return 0;
}

/** A copy of the group's rules with room for more. */
static struct vpc_record_security_group_rule *
copy_rules(struct core_call *call, const struct vpc_record_security_group *group, size_t more)
{
    struct vpc_record_security_group_rule *items =
        arena_array(call->arena, group->rules.count + more, sizeof(*items));
    for (size_t i = 0; i < group->rules.count; i++) {
        items[i] = group->rules.items[i];
    }
    return items;
}

static int authorize(struct core_call *call, const struct ec2_rule_request *request,
                     struct ec2_security_group_rule **out_items, size_t *out_count)
{
    struct ec2_scope scope;
    struct ec2_rules rules = {0};
    struct ec2_tags tags = {0};
    int64_t key = 0;
    int rc = open_group(call, &scope, request->group_id, request->group_name, &key);
    if (rc == 0 && request->count == 0) {
        return ec2_missing(call, "ipPermissions");
    }
    rc = rc == 0 ? ec2_rules_read(call, &scope, request, &rules) : rc;
    rc = rc == 0
             ? ec2_tags_new(call, request->tags, request->tag_count, "security-group-rule", &tags)
             : rc;
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group *group = core_edit(call, &vpc_group_kind, key);
    rc = check_new(call, group, &rules, request->egress);
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group_rule *items = copy_rules(call, group, rules.count);
    struct ec2_security_group_rule *shown = arena_array(call->arena, rules.count, sizeof(*shown));
    for (size_t i = 0; i < rules.count; i++) {
        struct vpc_record_security_group_rule *rule = &items[group->rules.count + i];
        *rule = rules.items[i];
        rule->rule_id = vpc_random_id(call, "sgr");
        rule->tags.items = tags.items;
        rule->tags.count = tags.count;
        ec2_rule_show(call, &scope, group, rule, &shown[i]);
    }
    group->rules.items = items;
    group->rules.count += rules.count;
    rc = ec2_group_size_check(call, group);
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc == 0) {
        group_put_rules(call, key, group);
        *out_items = shown;
        *out_count = rules.count;
    }
    return rc;
}

#define AUTHORIZE(out, in, result)                                                                 \
    (TAKE_COMMON(out, in), (out)->tags = (in)->tag_specification.items,                            \
     (out)->tag_count = (in)->tag_specification.count, (result)->has_return_ = true,               \
     (result)->return_ = true,                                                                     \
     authorize(call, out, &(result)->security_group_rule_set.items,                                \
               &(result)->security_group_rule_set.count))

int ec2_authorize_ingress(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_authorize_security_group_ingress_request *from = in;
    struct ec2_authorize_security_group_ingress_result *result = out;
    struct ec2_rule_request request = {.group_name = from->group_name};
    return AUTHORIZE(&request, from, result);
}

int ec2_authorize_egress(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_authorize_security_group_egress_request *from = in;
    struct ec2_authorize_security_group_egress_result *result = out;
    struct ec2_rule_request request = {.egress = true};
    return AUTHORIZE(&request, from, result);
}

// ---- revoke -------------------------------------------------------------------------------

static struct vpc_record_security_group_rule *find_id(struct vpc_record_security_group_rule *items,
                                                      size_t count, struct text id, bool egress)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].egress == egress && text_equal(items[i].rule_id, id)) {
            return &items[i];
        }
    }
    return NULL;
}

/** Mark the rules of the group that a request names. */
static int mark(struct core_call *call, const struct vpc_record_security_group *group,
                const struct ec2_rules *rules, const struct ec2_rule_request *request, bool *marked)
{
    for (size_t i = 0; i < request->rule_id_count; i++) {
        const struct vpc_record_security_group_rule *found =
            find_id(group->rules.items, group->rules.count, request->rule_ids[i], request->egress);
        if (found == NULL) {
            return ec2_rule_missing(call, request->rule_ids[i]);
        }
        marked[found - group->rules.items] = true;
    }
    for (size_t i = 0; i < rules->count; i++) {
        const struct vpc_record_security_group_rule *found = find_same(group, &rules->items[i]);
        if (found == NULL) {
            return core_fault(call, &ec2_error_invalid_permission_not_found,
                              "The specified rule does not exist in this security group.");
        }
        marked[found - group->rules.items] = true;
    }
    return 0;
}

static struct ec2_revoked_security_group_rule
show_revoked(struct core_call *call, struct text group_id,
             const struct vpc_record_security_group_rule *rule)
{
    return (struct ec2_revoked_security_group_rule){
        .security_group_rule_id = rule->rule_id,
        .group_id = group_id,
        .has_is_egress = true,
        .is_egress = rule->egress,
        .ip_protocol = ec2_protocol_name(call, rule->protocol),
        .has_from_port = true,
        .from_port = rule->has_from_port ? rule->from_port : -1,
        .has_to_port = true,
        .to_port = rule->has_to_port ? rule->to_port : -1,
        .cidr_ipv4 = rule->cidr,
        .cidr_ipv6 = rule->cidr6,
        .referenced_group_id = rule->group,
        .description = rule->description,
    };
}

static int revoke(struct core_call *call, const struct ec2_rule_request *request,
                  struct ec2_revoked_security_group_rule **out_items, size_t *out_count)
{
    struct ec2_scope scope;
    struct ec2_rules rules = {0};
    int64_t key = 0;
    int rc = open_group(call, &scope, request->group_id, request->group_name, &key);
    if (rc == 0 && request->count == 0 && request->rule_id_count == 0) {
        return ec2_missing(call, "ipPermissions");
    }
    rc = rc == 0 ? ec2_rules_read(call, &scope, request, &rules) : rc;
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group *group = core_edit(call, &vpc_group_kind, key);
    bool *marked = arena_array(call->arena, group->rules.count, sizeof(*marked));
    rc = mark(call, group, &rules, request, marked);
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group_rule *items =
        arena_array(call->arena, group->rules.count, sizeof(*items));
    struct ec2_revoked_security_group_rule *shown =
        arena_array(call->arena, group->rules.count, sizeof(*shown));
    size_t kept = 0;
    size_t gone = 0;
    for (size_t i = 0; i < group->rules.count; i++) {
        if (marked[i]) {
            shown[gone++] = show_revoked(call, group->group_id, &group->rules.items[i]);
        } else {
            items[kept++] = group->rules.items[i];
        }
    }
    group->rules.items = items;
    group->rules.count = kept;
    group_put_rules(call, key, group);
    *out_items = shown;
    *out_count = gone;
    return 0;
}

#define REVOKE(out, in, result)                                                                    \
    (TAKE_COMMON(out, in), (out)->rule_ids = (in)->security_group_rule_id.items,                   \
     (out)->rule_id_count = (in)->security_group_rule_id.count, (result)->has_return_ = true,      \
     (result)->return_ = true,                                                                     \
     revoke(call, out, &(result)->revoked_security_group_rule_set.items,                           \
            &(result)->revoked_security_group_rule_set.count))

int ec2_revoke_ingress(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_revoke_security_group_ingress_request *from = in;
    struct ec2_revoke_security_group_ingress_result *result = out;
    struct ec2_rule_request request = {.group_name = from->group_name};
    return REVOKE(&request, from, result);
}

int ec2_revoke_egress(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_revoke_security_group_egress_request *from = in;
    struct ec2_revoke_security_group_egress_result *result = out;
    struct ec2_rule_request request = {.egress = true};
    return REVOKE(&request, from, result);
}

// ---- modify -------------------------------------------------------------------------------

static int modify_one(struct core_call *call, const struct ec2_scope *scope,
                      const struct ec2_security_group_rule_update *update,
                      struct vpc_record_security_group_rule *items, size_t count)
{
    struct text id = update->security_group_rule_id;
    struct vpc_record_security_group_rule *rule = find_id(items, count, id, false);
    rule = rule == NULL ? find_id(items, count, id, true) : rule;
    if (rule == NULL) {
        return ec2_rule_missing(call, id);
    }
    if (update->security_group_rule == NULL) {
        return ec2_missing(call, "SecurityGroupRule");
    }
    struct vpc_record_security_group_rule wanted = {0};
    int rc = ec2_rule_read(call, scope, update->security_group_rule, rule->egress, &wanted);
    if (rc != 0) {
        return rc;
    }
    wanted.rule_id = rule->rule_id;
    wanted.tags = rule->tags;
    *rule = wanted;
    for (size_t i = 0; i < count; i++) {
        if (&items[i] != rule && ec2_rule_same(&items[i], rule)) {
            struct text told = ec2_rule_told(call, rule);
            return core_fault(call, &ec2_error_invalid_permission_duplicate,
                              "the specified rule \"%.*s\" already exists", TEXT_FMT(told));
        }
    }
    return 0;
}

int ec2_modify_rules(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_modify_security_group_rules_request *request = in;
    struct ec2_modify_security_group_rules_result *result = out;
    struct ec2_scope scope;
    int64_t key = 0;
    int rc = open_group(call, &scope, request->group_id, (struct text){0}, &key);
    if (rc == 0 && request->security_group_rule.count == 0) {
        return ec2_missing(call, "SecurityGroupRule");
    }
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group *group = core_edit(call, &vpc_group_kind, key);
    struct vpc_record_security_group_rule *items = copy_rules(call, group, 0);
    size_t most = MIN(request->security_group_rule.count, (size_t)(2 * EC2_RULES_MAX));
    for (size_t i = 0; rc == 0 && i < most; i++) {
        rc = modify_one(call, &scope, &request->security_group_rule.items[i], items,
                        group->rules.count);
    }
    group->rules.items = items;
    rc = rc == 0 ? ec2_group_size_check(call, group) : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc == 0) {
        group_put_rules(call, key, group);
        result->has_return_ = true;
        result->return_ = true;
    }
    return rc;
}

// ---- descriptions -------------------------------------------------------------------------

/** What an update of descriptions names. */
struct describe_request {
    struct ec2_rule_request rules;
    const struct ec2_security_group_rule_description *items;
    size_t count;
};

static int describe_rules(struct core_call *call, const struct describe_request *request)
{
    struct ec2_scope scope;
    struct ec2_rules rules = {0};
    int64_t key = 0;
    int rc = open_group(call, &scope, request->rules.group_id, request->rules.group_name, &key);
    if (rc == 0 && request->rules.count == 0 && request->count == 0) {
        return ec2_missing(call, "ipPermissions");
    }
    rc = rc == 0 ? ec2_rules_read(call, &scope, &request->rules, &rules) : rc;
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group *group = core_edit(call, &vpc_group_kind, key);
    struct vpc_record_security_group_rule *items = copy_rules(call, group, 0);
    for (size_t i = 0; i < rules.count; i++) {
        const struct vpc_record_security_group_rule *found = find_same(group, &rules.items[i]);
        if (found == NULL) {
            return core_fault(call, &ec2_error_invalid_permission_not_found,
                              "The specified rule does not exist in this security group.");
        }
        items[found - group->rules.items].description = rules.items[i].description;
    }
    for (size_t i = 0; i < request->count; i++) {
        struct text id = request->items[i].security_group_rule_id;
        struct text description = request->items[i].description;
        struct vpc_record_security_group_rule *rule =
            find_id(items, group->rules.count, id, request->rules.egress);
        if (rule == NULL) {
            return ec2_rule_missing(call, id);
        }
        if (description.size > EC2_TEXT_MAX || !ec2_text_valid(description)) {
            return core_fault(call, &ec2_error_invalid_parameter_value,
                              "Invalid rule description. Valid descriptions are strings less than "
                              "256 characters from the following set:  a-zA-Z0-9. "
                              "_-:/()#,@[]+=&;{}!$*");
        }
        rule->description = text_empty(description) ? (struct text){0} : description;
    }
    group->rules.items = items;
    rc = ec2_group_size_check(call, group);
    rc = rc == 0 ? ec2_dry_run(call, request->rules.dry_run) : rc;
    if (rc == 0) {
        core_put(call, &vpc_group_kind, key, group); // nodes do not know descriptions
    }
    return rc;
}

#define DESCRIBE(in, way, result)                                                                  \
    ((result)->has_return_ = true, (result)->return_ = true,                                       \
     describe_rules(call, &(struct describe_request){                                              \
                              .rules = {.group_id = (in)->group_id,                                \
                                        .group_name = (in)->group_name,                            \
                                        .items = (in)->ip_permissions.items,                       \
                                        .count = (in)->ip_permissions.count,                       \
                                        .egress = (way),                                           \
                                        .dry_run = (in)->dry_run},                                 \
                              .items = (in)->security_group_rule_description.items,                \
                              .count = (in)->security_group_rule_description.count,                \
                          }))

int ec2_update_descriptions_ingress(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_update_security_group_rule_descriptions_ingress_request *from = in;
    struct ec2_update_security_group_rule_descriptions_ingress_result *result = out;
    return DESCRIBE(from, false, result);
}

int ec2_update_descriptions_egress(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_update_security_group_rule_descriptions_egress_request *from = in;
    struct ec2_update_security_group_rule_descriptions_egress_result *result = out;
    return DESCRIBE(from, true, result);
}
