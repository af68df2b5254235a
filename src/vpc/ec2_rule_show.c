#include "vpc/ec2_internal.h"

#include "base/text.h"

#define RULE_IDS_MAX 100 ///< in one request, so that its answer is not without bounds

// ---- as permissions -----------------------------------------------------------------------

static bool same_traffic(const struct vpc_record_security_group_rule *a,
                         const struct vpc_record_security_group_rule *b)
{
    return a->protocol == b->protocol && a->has_from_port == b->has_from_port &&
           a->from_port == b->from_port && a->to_port == b->to_port;
}

/** Whether no rule in front of this one, of the same way, is in the same permission. */
static bool begins_permission(const struct vpc_record_security_group *group, size_t place)
{
    const struct vpc_record_security_group_rule *rule = &group->rules.items[place];
    for (size_t i = 0; i < place; i++) {
        const struct vpc_record_security_group_rule *other = &group->rules.items[i];
        if (other->egress == rule->egress && same_traffic(other, rule)) {
            return false;
        }
    }
    return true;
}

static void add_peer(const struct ec2_scope *scope,
                     const struct vpc_record_security_group_rule *rule,
                     struct ec2_ip_permission *permission)
{
    if (!text_empty(rule->cidr)) {
        permission->ip_ranges.items[permission->ip_ranges.count++] =
            (struct ec2_ip_range){.cidr_ip = rule->cidr, .description = rule->description};
    } else if (!text_empty(rule->cidr6)) {
        permission->ipv6_ranges.items[permission->ipv6_ranges.count++] =
            (struct ec2_ipv6_range){.cidr_ipv6 = rule->cidr6, .description = rule->description};
    } else {
        permission->groups.items[permission->groups.count++] = (struct ec2_user_id_group_pair){
            .group_id = rule->group, .user_id = scope->account, .description = rule->description};
    }
}

static void show_permission(struct core_call *call, const struct ec2_scope *scope,
                            const struct vpc_record_security_group *group, size_t first,
                            struct ec2_ip_permission *out)
{
    const struct vpc_record_security_group_rule *begin = &group->rules.items[first];
    size_t most = group->rules.count - first;
    *out = (struct ec2_ip_permission){
        .ip_protocol = ec2_protocol_name(call, begin->protocol),
        .has_from_port = begin->has_from_port,
        .from_port = begin->from_port,
        .has_to_port = begin->has_to_port,
        .to_port = begin->to_port,
        .groups = {.items = arena_array(call->arena, most, sizeof(*out->groups.items))},
        .ip_ranges = {.items = arena_array(call->arena, most, sizeof(*out->ip_ranges.items))},
        .ipv6_ranges = {.items = arena_array(call->arena, most, sizeof(*out->ipv6_ranges.items))},
        .prefix_list_ids = {.items = SHAPE_EMPTY},
    };
    for (size_t i = first; i < group->rules.count; i++) {
        const struct vpc_record_security_group_rule *rule = &group->rules.items[i];
        if (rule->egress == begin->egress && same_traffic(rule, begin)) {
            add_peer(scope, rule, out);
        }
    }
}

void ec2_permissions_show(struct core_call *call, const struct ec2_scope *scope,
                          const struct vpc_record_security_group *group, bool egress,
                          struct ec2_ip_permission **out_items, size_t *out_count)
{
    size_t count = 0;
    struct ec2_ip_permission *items =
        arena_array(call->arena, group->rules.count + 1, sizeof(*items));
    for (size_t i = 0; i < group->rules.count; i++) {
        if (group->rules.items[i].egress == egress && begins_permission(group, i)) {
            show_permission(call, scope, group, i, &items[count]);
            count++;
        }
    }
    *out_items = items;
    *out_count = count;
}

// ---- one by one ---------------------------------------------------------------------------

void ec2_rule_show(struct core_call *call, const struct ec2_scope *scope,
                   const struct vpc_record_security_group *group,
                   const struct vpc_record_security_group_rule *rule,
                   struct ec2_security_group_rule *out)
{
    *out = (struct ec2_security_group_rule){
        .security_group_rule_id = rule->rule_id,
        .group_id = group->group_id,
        .group_owner_id = scope->account,
        .has_is_egress = true,
        .is_egress = rule->egress,
        .ip_protocol = ec2_protocol_name(call, rule->protocol),
        .has_from_port = true,
        .from_port = rule->has_from_port ? rule->from_port : -1,
        .has_to_port = true,
        .to_port = rule->has_to_port ? rule->to_port : -1,
        .cidr_ipv4 = rule->cidr,
        .cidr_ipv6 = rule->cidr6,
        .description = rule->description,
        .tag_set = {.items = ec2_tags_show(call, rule->tags.items, rule->tags.count),
                    .count = rule->tags.count},
        .security_group_rule_arn = ec2_arn(call, scope, "security-group-rule", rule->rule_id),
    };
    if (out->tag_set.count == 0) {
        out->tag_set.items = SHAPE_EMPTY;
    }
    if (!text_empty(rule->group)) {
        out->referenced_group_info = ARENA_NEW(call->arena, struct ec2_referenced_security_group);
        *out->referenced_group_info = (struct ec2_referenced_security_group){
            .group_id = rule->group, .user_id = scope->account};
    }
}

/** A rule of a group, for filters. */
struct rule_resource {
    const struct vpc_record_security_group *group;
    const struct vpc_record_security_group_rule *rule;
};

static const char *const rule_filters[] = {"group-id", "security-group-rule-id", NULL};

static void rule_values(struct core_call *call, const void *resource, struct text name,
                        struct ec2_values *values)
{
    (void)call;
    const struct rule_resource *at = resource;
    ec2_value(values, text_is(name, "group-id") ? at->group->group_id : at->rule->rule_id);
}

static const struct vpc_record_tag *rule_tags(const void *resource, size_t *out_count)
{
    const struct rule_resource *at = resource;
    *out_count = at->rule->tags.count;
    return at->rule->tags.items;
}

/** The rule of a group with the least id above one. */
static const struct vpc_record_security_group_rule *
rule_behind(const struct vpc_record_security_group *group, struct text after)
{
    const struct vpc_record_security_group_rule *next = NULL;
    for (size_t i = 0; i < group->rules.count; i++) {
        const struct vpc_record_security_group_rule *rule = &group->rules.items[i];
        if (text_compare(rule->rule_id, after) > 0 &&
            (next == NULL || text_compare(rule->rule_id, next->rule_id) < 0)) {
            next = rule;
        }
    }
    return next;
}

// The groups of the rules that are named by id. @return 0 or ERR_FAULT
static int walk_rules(struct core_call *call, const struct ec2_scope *scope,
                      const struct text_list *ids, int64_t after, struct ec2_walk *out_walk)
{
    if (ids->count > RULE_IDS_MAX) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "At most %d security group rule IDs can be given in one call",
                          RULE_IDS_MAX);
    }
    ec2_walk_named(call, ids->count, after, out_walk);
    for (size_t i = 0; i < ids->count; i++) {
        int64_t group = vpc_named_find(vpc_state(call->core)->rule_ids, scope->vpc, ids->items[i]);
        if (group == 0) {
            return ec2_rule_missing(call, ids->items[i]);
        }
        ec2_walk_add(out_walk, group);
    }
    return 0;
}

/** Rules of a page. */
struct rule_list {
    struct ec2_security_group_rule *items;
    size_t count;
    struct text last; ///< id of the last one, of the group that is looked at
};

// The rules of a group behind the last one. @return whether the page has room for all of them
static bool list_rules(struct core_call *call, const struct ec2_scope *scope,
                       const struct vpc_record_security_group *group,
                       const struct ec2_filters *filters, const struct text_list *ids, size_t most,
                       struct rule_list *list)
{
    for (const struct vpc_record_security_group_rule *rule = rule_behind(group, list->last);
         rule != NULL; rule = rule_behind(group, rule->rule_id)) {
        const struct rule_resource resource = {group, rule};
        if ((ids->count > 0 && !text_list_has(ids, rule->rule_id)) ||
            !ec2_filters_pass(call, filters, &resource)) {
            continue;
        }
        if (list->count == most) {
            return false;
        }
        ec2_rule_show(call, scope, group, rule, &list->items[list->count]);
        list->count++;
        list->last = rule->rule_id;
    }
    return true;
}

int ec2_describe_security_group_rules(struct core_call *call, void *pointer, const void *in,
                                      void *out)
{
    const struct vpc_state *state = pointer;
    const struct ec2_describe_security_group_rules_request *request = in;
    struct ec2_describe_security_group_rules_result *result = out;
    const struct ec2_filters filters = {request->filter.items, request->filter.count, rule_filters,
                                        rule_values, rule_tags};
    const struct ec2_paging paging = {request->has_max_results, request->max_results,
                                      request->next_token};
    const struct ec2_finder finder = {
        .all = state->vpc_groups,
        .filters = {{"group-id", state->groups}, {"security-group-rule-id", state->rule_ids}}};
    const struct text_list *ids = &request->security_group_rule_id;
    struct ec2_scope scope;
    struct ec2_page page = {0};
    struct ec2_walk walk;
    int rc = ec2_describe_open(call, &filters, &paging, &scope, &page);
    // The page before may have ended within a group.
    int64_t after = page.after == 0 ? 0 : page.after - 1;
    rc = rc == 0 ? walk_rules(call, &scope, ids, after, &walk) : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    if (ids->count == 0) {
        ec2_walk_open(&scope, &finder, &filters, after, &walk);
    }
    size_t most = ids->count > 0 ? MIN(page.size, ids->count) : page.size;
    struct rule_list list = {.items = arena_array(call->arena, most, sizeof(*list.items))};
    for (int64_t key = ec2_walk_next(&walk); key != 0; key = ec2_walk_next(&walk)) {
        const struct vpc_record_security_group *group = core_get(call->core, &vpc_group_kind, key);
        list.last = key == page.after ? page.rest : TEXT("");
        if (!list_rules(call, &scope, group, &filters, ids, page.size, &list)) {
            result->next_token = ec2_page_token(call, key, list.last);
            break;
        }
    }
    result->security_group_rule_set.items = list.items;
    result->security_group_rule_set.count = list.count;
    return 0;
}
