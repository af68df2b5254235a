#include "vpc/ec2_internal.h"

#include "base/text.h"

#include <string.h>

#define NAMES_MAX 1000 ///< ids and names in one request, EC2's largest page

// ---- finding ------------------------------------------------------------------------------

int ec2_group_id_check(struct core_call *call, struct text id)
{
    return text_starts(id, TEXT("sg-")) ? 0
                                        : core_fault(call, &ec2_error_invalid_group_id_malformed,
                                                     "Invalid id: \"%.*s\" (expecting \"sg-...\")",
                                                     TEXT_FMT(text_slice(id, 0, EC2_TEXT_MAX)));
}

int ec2_group_find(struct core_call *call, const struct ec2_scope *scope, struct text group_id,
                   struct text group_name, int64_t *out_group)
{
    if (text_empty(group_id) && text_empty(group_name)) {
        return core_fault(call, &ec2_error_missing_parameter,
                          "The request must contain the parameter groupName or groupId");
    }
    if (text_empty(group_id)) {
        int64_t found = group_find_name(call->core, scope->vpc, group_name);
        if (found == 0) {
            return core_fault(call, &ec2_error_invalid_group_not_found,
                              "The security group '%.*s' does not exist in default VPC '%.*s'",
                              TEXT_FMT(text_slice(group_name, 0, EC2_TEXT_MAX)),
                              TEXT_FMT(scope->record->vpc_id));
        }
        *out_group = found;
        return 0;
    }
    int rc = ec2_group_id_check(call, group_id);
    if (rc != 0) {
        return rc;
    }
    int64_t found = vpc_group_find(call->core, scope->vpc, group_id);
    if (found == 0) {
        return core_fault(call, &ec2_error_invalid_group_not_found,
                          "The security group '%.*s' does not exist",
                          TEXT_FMT(text_slice(group_id, 0, EC2_TEXT_MAX)));
    }
    *out_group = found;
    return 0;
}

// ---- making and removing ------------------------------------------------------------------

bool ec2_text_valid(struct text text)
{
    static const char others[] = " ._-:/()#,@[]+=&;{}!$*";
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || strchr(others, c) == NULL)) {
            return false;
        }
    }
    return true;
}

int ec2_group_size_check(struct core_call *call, const struct vpc_record_security_group *group)
{
    size_t bytes = 0;
    for (size_t i = 0; i < group->tags.count; i++) {
        bytes += group->tags.items[i].key.size + group->tags.items[i].value.size;
    }
    for (size_t i = 0; i < group->rules.count; i++) {
        const struct vpc_record_security_group_rule *rule = &group->rules.items[i];
        bytes += rule->description.size;
        for (size_t k = 0; k < rule->tags.count; k++) {
            bytes += rule->tags.items[k].key.size + rule->tags.items[k].value.size;
        }
    }
    return bytes <= EC2_GROUP_BYTES_MAX
               ? 0
               : core_fault(call, &ec2_error_tag_limit_exceeded,
                            "The tags of a security group and its rules can have at most %d bytes "
                            "together.",
                            EC2_GROUP_BYTES_MAX);
}

static int check_new(struct core_call *call, const struct ec2_scope *scope,
                     const struct ec2_create_security_group_request *request)
{
    struct text name = request->group_name;
    if (text_empty(name)) {
        return ec2_missing(call, "groupName");
    }
    if (text_empty(request->group_description)) {
        return ec2_missing(call, "groupDescription");
    }
    if (name.size > EC2_TEXT_MAX || !ec2_text_valid(name)) {
        return core_fault(
            call, &ec2_error_invalid_parameter_value,
            "Value (%.*s) for parameter GroupName is invalid. Valid names are strings "
            "less than 256 characters from the following set:  a-zA-Z0-9. "
            "_-:/()#,@[]+=&;{}!$*",
            TEXT_FMT(text_slice(name, 0, EC2_TEXT_MAX)));
    }
    if (text_starts(name, TEXT("sg-"))) {
        return core_fault(
            call, &ec2_error_invalid_parameter_value,
            "Invalid value '%.*s' for groupName. Group names may not be in the format "
            "sg-*.",
            TEXT_FMT(name));
    }
    if (text_equal_nocase(name, TEXT(GROUP_DEFAULT_NAME))) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Cannot use reserved security group name: %.*s", TEXT_FMT(name));
    }
    if (request->group_description.size > EC2_TEXT_MAX ||
        !ec2_text_valid(request->group_description)) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Invalid security group description. Valid descriptions are strings less "
                          "than 256 characters from the following set:  a-zA-Z0-9. "
                          "_-:/()#,@[]+=&;{}!$*");
    }
    if (!text_empty(request->vpc_id) && !text_equal(request->vpc_id, scope->record->vpc_id)) {
        return core_fault(call, &ec2_error_invalid_vpc_id_not_found,
                          "The vpc ID '%.*s' does not exist",
                          TEXT_FMT(text_slice(request->vpc_id, 0, EC2_TEXT_MAX)));
    }
    if (group_find_name(call->core, scope->vpc, name) != 0) {
        return core_fault(call, &ec2_error_invalid_group_duplicate,
                          "The security group '%.*s' already exists for VPC '%.*s'", TEXT_FMT(name),
                          TEXT_FMT(scope->record->vpc_id));
    }
    if (group_count(call->core, scope->vpc) >= EC2_GROUPS_MAX) {
        return core_fault(call, &ec2_error_security_group_limit_exceeded,
                          "The maximum number of security groups for VPC '%.*s' has been reached.",
                          TEXT_FMT(scope->record->vpc_id));
    }
    return 0;
}

int ec2_create_security_group(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_create_security_group_request *request = in;
    struct ec2_create_security_group_result *result = out;
    struct ec2_scope scope;
    struct ec2_tags tags = {0};
    int rc = ec2_open(call, &scope);
    rc = rc == 0 ? check_new(call, &scope, request) : rc;
    rc = rc == 0 ? ec2_tags_new(call, request->tag_specification.items,
                                request->tag_specification.count, "security-group", &tags)
                 : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    struct vpc_record_security_group_rule all_out = {
        .rule_id = vpc_random_id(call, "sgr"),
        .has_egress = true,
        .egress = true,
        .has_protocol = true,
        .protocol = RULE_ANY,
        .cidr = TEXT("0.0.0.0/0"),
    };
    struct vpc_record_security_group group = {
        .has_vpc = true,
        .vpc = scope.vpc,
        .group_id = vpc_random_id(call, "sg"),
        .name = request->group_name,
        .description = request->group_description,
        .rules = {.items = &all_out, .count = 1},
        .tags = {.items = tags.items, .count = tags.count},
    };
    group_put_rules(call, core_new_key(call), &group);
    result->group_id = group.group_id;
    result->security_group_arn = ec2_arn(call, &scope, "security-group", group.group_id);
    result->tag_set.items = ec2_tags_show(call, tags.items, tags.count);
    result->tag_set.count = tags.count;
    return 0;
}

int ec2_delete_security_group(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_delete_security_group_request *request = in;
    struct ec2_delete_security_group_result *result = out;
    struct ec2_scope scope;
    int64_t key = 0;
    int rc = ec2_open(call, &scope);
    rc = rc == 0 ? ec2_group_find(call, &scope, request->group_id, request->group_name, &key) : rc;
    if (rc != 0) {
        return rc;
    }
    const struct vpc_record_security_group *group = core_get(call->core, &vpc_group_kind, key);
    if (text_equal(group->group_id, scope.record->default_security_group_id)) {
        return core_fault(
            call, &ec2_error_cannot_delete,
            "the specified group: \"%.*s\" name: \"%.*s\" cannot be deleted by a user",
            TEXT_FMT(group->group_id), TEXT_FMT(group->name));
    }
    if (group_in_use(call->core, key)) {
        return core_fault(call, &ec2_error_dependency_violation,
                          "resource %.*s has a dependent object", TEXT_FMT(group->group_id));
    }
    rc = ec2_dry_run(call, request->dry_run);
    if (rc == 0) {
        result->has_return_ = true;
        result->return_ = true;
        result->group_id = group->group_id;
        core_delete(call, &vpc_group_kind, key);
    }
    return rc;
}

// ---- describing ---------------------------------------------------------------------------

/** A group, for filters. */
struct group_resource {
    const struct ec2_scope *scope;
    const struct vpc_record_security_group *group;
};

static const char *const group_filters[] = {
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.group-name",
    "egress.ip-permission.ipv6-cidr",
    "egress.ip-permission.prefix-list-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "egress.ip-permission.user-id",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.group-name",
    "ip-permission.ipv6-cidr",
    "ip-permission.prefix-list-id",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "ip-permission.user-id",
    "owner-id",
    "vpc-id",
    NULL,
};

static struct text name_of(struct core_call *call, const struct group_resource *at, struct text id)
{
    const struct vpc_record_security_group *named =
        core_get(call->core, &vpc_group_kind, vpc_group_find(call->core, at->scope->vpc, id));
    return named == NULL ? (struct text){0} : named->name;
}

static void rule_values(struct core_call *call, const struct group_resource *at,
                        const struct vpc_record_security_group_rule *rule, struct text what,
                        struct ec2_values *values)
{
    if (text_is(what, "cidr")) {
        ec2_value(values, rule->cidr);
    } else if (text_is(what, "ipv6-cidr")) {
        ec2_value(values, rule->cidr6);
    } else if (text_is(what, "protocol")) {
        ec2_value(values, ec2_protocol_name(call, rule->protocol));
    } else if (text_is(what, "from-port") && rule->has_from_port) {
        ec2_value_number(values, rule->from_port);
    } else if (text_is(what, "to-port") && rule->has_to_port) {
        ec2_value_number(values, rule->to_port);
    } else if (text_is(what, "group-id")) {
        ec2_value(values, rule->group);
    } else if (text_is(what, "group-name") && !text_empty(rule->group)) {
        ec2_value(values, name_of(call, at, rule->group));
    } else if (text_is(what, "user-id") && !text_empty(rule->group)) {
        ec2_value(values, at->scope->account);
    }
}

static void group_values(struct core_call *call, const void *resource, struct text name,
                         struct ec2_values *values)
{
    const struct group_resource *at = resource;
    const struct vpc_record_security_group *group = at->group;
    if (text_is(name, "group-id")) {
        ec2_value(values, group->group_id);
    } else if (text_is(name, "group-name")) {
        ec2_value(values, group->name);
    } else if (text_is(name, "description")) {
        ec2_value(values, group->description);
    } else if (text_is(name, "vpc-id")) {
        ec2_value(values, at->scope->record->vpc_id);
    } else if (text_is(name, "owner-id")) {
        ec2_value(values, at->scope->account);
    } else {
        bool egress = text_starts(name, TEXT("egress."));
        struct text what = text_slice(name, text_find_last(name, '.') + 1, name.size);
        for (size_t i = 0; i < group->rules.count; i++) {
            if (group->rules.items[i].egress == egress) {
                rule_values(call, at, &group->rules.items[i], what, values);
            }
        }
    }
}

static const struct vpc_record_tag *group_tags(const void *resource, size_t *out_count)
{
    const struct group_resource *at = resource;
    *out_count = at->group->tags.count;
    return at->group->tags.items;
}

static void open_group(struct core_call *call, const struct ec2_scope *scope, int64_t key,
                       void *resource)
{
    struct group_resource *at = resource;
    *at = (struct group_resource){scope, core_get(call->core, &vpc_group_kind, key)};
}

static void show(struct core_call *call, const void *resource, void *item)
{
    const struct group_resource *at = resource;
    const struct ec2_scope *scope = at->scope;
    const struct vpc_record_security_group *group = at->group;
    struct ec2_security_group *out = item;
    *out = (struct ec2_security_group){
        .group_id = group->group_id,
        .group_name = group->name,
        .group_description = group->description,
        .owner_id = scope->account,
        .vpc_id = scope->record->vpc_id,
        .security_group_arn = ec2_arn(call, scope, "security-group", group->group_id),
        .tag_set = {.items = ec2_tags_show(call, group->tags.items, group->tags.count),
                    .count = group->tags.count},
    };
    ec2_permissions_show(call, scope, group, false, &out->ip_permissions.items,
                         &out->ip_permissions.count);
    ec2_permissions_show(call, scope, group, true, &out->ip_permissions_egress.items,
                         &out->ip_permissions_egress.count);
}

// What is named by id or name. @return 0 or ERR_FAULT
static int walk_named(struct core_call *call, const struct ec2_scope *scope,
                      const struct ec2_describe_security_groups_request *request, int64_t after,
                      struct ec2_walk *out_walk)
{
    size_t count = request->group_id.count + request->group_name.count;
    if (count > NAMES_MAX) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "At most %d security groups can be named in one call", NAMES_MAX);
    }
    ec2_walk_named(call, count, after, out_walk);
    for (size_t i = 0; i < count; i++) {
        bool by_id = i < request->group_id.count;
        struct text id = by_id ? request->group_id.items[i] : (struct text){0};
        struct text name =
            by_id ? (struct text){0} : request->group_name.items[i - request->group_id.count];
        int64_t key = 0;
        int rc = by_id && text_empty(id) ? ec2_group_id_check(call, id)
                                         : ec2_group_find(call, scope, id, name, &key);
        if (rc != 0) {
            return rc;
        }
        ec2_walk_add(out_walk, key);
    }
    return 0;
}

int ec2_describe_security_groups(struct core_call *call, void *pointer, const void *in, void *out)
{
    const struct vpc_state *state = pointer;
    const struct ec2_describe_security_groups_request *request = in;
    struct ec2_describe_security_groups_result *result = out;
    const struct ec2_filters filters = {request->filter.items, request->filter.count, group_filters,
                                        group_values, group_tags};
    const struct ec2_paging paging = {request->has_max_results, request->max_results,
                                      request->next_token};
    const struct ec2_listed listed = {&filters, sizeof(struct group_resource),
                                      sizeof(struct ec2_security_group), open_group, show};
    const struct ec2_finder finder = {
        .all = state->vpc_groups,
        .filters = {{"group-id", state->groups}, {"group-name", state->group_names}}};
    struct ec2_scope scope;
    struct ec2_page page = {0};
    struct ec2_walk walk;
    struct ec2_list list;
    int rc = ec2_describe_open(call, &filters, &paging, &scope, &page);
    rc = rc == 0 ? walk_named(call, &scope, request, page.after, &walk) : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    if (request->group_id.count + request->group_name.count == 0) {
        ec2_walk_open(&scope, &finder, &filters, page.after, &walk);
    }
    ec2_list(call, &scope, &walk, &listed, &page, &list);
    result->security_group_info.items = list.items;
    result->security_group_info.count = list.count;
    result->next_token = list.next_token;
    return 0;
}
