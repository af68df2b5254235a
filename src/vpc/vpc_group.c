#include "vpc/vpc_internal.h"

#include "base/limits.h"
#include "base/mutant.h"
#include "base/text.h"
#include "identity/identity.h"

/*
 * Security groups as records. Interfaces and rules name groups by id, so the indexes are by the
 * VPC's key and the id: they can be kept in whatever order records are loaded.
 *
 * A VPC begins with two groups, see docs/decisions/security-groups.md.
 */

#define ID_DIGITS 17
#define HOST_CIDR "169.254.0.0/16" // the links between a host and its VPCs

struct text vpc_random_id(struct core_call *call, const char *prefix)
{
    const struct text id[] = {text_of(prefix), TEXT("-"), core_random_hex(call, ID_DIGITS)};
    return arena_join(call->arena, id, ARRAY_LEN(id));
}

// ---- indexes ------------------------------------------------------------------------------

// A group that several rules name counts once; its own rules do not count.
static bool names_first(const struct vpc_record_security_group *group, size_t place)
{
    struct text named = group->rules.items[place].group;
    if (text_empty(named) || text_equal(named, group->group_id)) {
        return false;
    }
    for (size_t i = 0; i < place; i++) {
        if (text_equal(group->rules.items[i].group, named)) {
            return false;
        }
    }
    return true;
}

static void keep_group(struct vpc_state *state, int64_t key,
                       const struct vpc_record_security_group *group, bool add)
{
    vpc_keep(state->vpc_groups, group->vpc, key, add);
    vpc_named_keep(state->groups, group->vpc, group->group_id, key, add);
    vpc_named_keep(state->group_names, group->vpc, group->name, key, add);
    for (size_t i = 0; i < group->rules.count; i++) {
        const struct vpc_record_security_group_rule *rule = &group->rules.items[i];
        vpc_named_keep(state->rule_ids, group->vpc, rule->rule_id, key, add);
        if (names_first(group, i)) {
            vpc_named_keep(state->group_users, group->vpc, rule->group, key, add);
        }
    }
}

void group_changed(struct vpc_state *state, int64_t key,
                   const struct vpc_record_security_group *before,
                   const struct vpc_record_security_group *after)
{
    if (before != NULL) {
        keep_group(state, key, before, false);
    }
    if (after != NULL) {
        keep_group(state, key, after, true);
    }
}

// The groups of an interface never change: ECS has no operation for it.
void group_member_changed(struct vpc_state *state, int64_t vpc, int64_t key,
                          const struct vpc_record_eni *before, const struct vpc_record_eni *after)
{
    if (before != NULL && after != NULL) {
        return;
    }
    const struct vpc_record_eni *eni = before == NULL ? after : before;
    for (size_t i = 0; i < eni->security_groups.count; i++) {
        vpc_named_keep(state->group_members, vpc, eni->security_groups.items[i], key,
                       after != NULL);
    }
}

int64_t vpc_group_find(const struct core *core, int64_t vpc, struct text group_id)
{
    return vpc_named_find(vpc_state(core)->groups, vpc, group_id);
}

int64_t group_find_name(const struct core *core, int64_t vpc, struct text name)
{
    return vpc_named_find(vpc_state(core)->group_names, vpc, name);
}

size_t group_count(const struct core *core, int64_t vpc)
{
    struct index_cursor cursor;
    vpc_walk(vpc_state(core)->vpc_groups, vpc, 0, &cursor);
    size_t count = 0;
    while (index_step(&cursor) != 0) {
        count++;
    }
    return count;
}

bool group_in_use(const struct core *core, int64_t key)
{
    const struct vpc_state *state = vpc_state(core);
    const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
    ASSERT(group != NULL);
    bool member = vpc_named_find(state->group_members, group->vpc, group->group_id) != 0;
    bool named = vpc_named_find(state->group_users, group->vpc, group->group_id) != 0;
    return (member && !MUTANT("delete-used-group")) || (named && !MUTANT("delete-named-group"));
}

int64_t vpc_group_member_next(const struct core *core, int64_t key, int64_t after)
{
    const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
    if (group == NULL) {
        return 0;
    }
    struct index_cursor cursor;
    vpc_named_walk(vpc_state(core)->group_members, group->vpc, group->group_id, after, &cursor);
    return index_step(&cursor);
}

// ---- changes ------------------------------------------------------------------------------

void vpc_on_group_changed(struct core *core, vpc_group_changed_fn changed)
{
    vpc_state(core)->group_changed = changed;
}

void group_put_rules(struct core_call *call, int64_t key, struct vpc_record_security_group *record)
{
    // Keys ascend over all that is ever made, so the newest rules have the highest version.
    record->has_version = true;
    int64_t version = core_new_key(call);
    record->version =
        MUTANT("keep-group-version") && record->version != 0 ? record->version : version;
    core_put(call, &vpc_group_kind, key, record);
    const struct vpc_state *state = vpc_state(call->core);
    // Who becomes a member later is told of its rules then.
    if (state->group_changed != NULL && vpc_group_member_next(call->core, key, 0) != 0 &&
        !MUTANT("forget-group-change")) {
        state->group_changed(call, key);
    }
}

void vpc_group_spec(struct core_call *call, int64_t key, struct session_security_group *out_spec)
{
    const struct vpc_record_security_group *group = core_get(call->core, &vpc_group_kind, key);
    ASSERT(group != NULL);
    const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, group->vpc);
    ASSERT(vpc != NULL);
    *out_spec = (struct session_security_group){
        .group_id = group->group_id,
        .vpc_id = vpc->vpc_id,
        .has_version = true,
        .version = group->version,
    };
    out_spec->rules.items =
        arena_array(call->arena, group->rules.count, sizeof(*out_spec->rules.items));
    for (size_t i = 0; i < group->rules.count; i++) {
        const struct vpc_record_security_group_rule *rule = &group->rules.items[i];
        if (!text_empty(rule->cidr6)) {
            continue; // interfaces have IPv4 only
        }
        out_spec->rules.items[out_spec->rules.count] = (struct session_security_group_rule){
            .has_egress = true,
            .egress = rule->egress,
            .has_protocol = true,
            .protocol = rule->protocol,
            .has_from_port = rule->has_from_port,
            .from_port = rule->from_port,
            .has_to_port = rule->has_to_port,
            .to_port = rule->to_port,
            .cidr = rule->cidr,
            .group = rule->group,
        };
        out_spec->rules.count++;
    }
}

// ---- the groups that a VPC begins with ----------------------------------------------------

/** A rule for all protocols, with an id of its own. */
static struct vpc_record_security_group_rule any_rule(struct core_call *call, bool egress,
                                                      const char *cidr, struct text group)
{
    return (struct vpc_record_security_group_rule){
        .rule_id = vpc_random_id(call, "sgr"),
        .has_egress = true,
        .egress = egress,
        .has_protocol = true,
        .protocol = RULE_ANY,
        .cidr = text_of(cidr),
        .group = group,
    };
}

void group_create_first(struct core_call *call, int64_t vpc, struct text realm, bool old)
{
    const struct vpc_record_vpc *record = core_get(call->core, &vpc_kind, vpc);
    ASSERT(record != NULL);
    struct text id = record->default_security_group_id;
    struct vpc_record_security_group_rule rules[3] = {
        any_rule(call, true, "0.0.0.0/0", (struct text){0}),
        any_rule(call, false, NULL, id),
        any_rule(call, false, "0.0.0.0/0", (struct text){0}),
    };
    rules[2].description = TEXT("From before groups were enforced");
    struct vpc_record_security_group group = {
        .has_vpc = true,
        .vpc = vpc,
        .group_id = id,
        .name = TEXT(GROUP_DEFAULT_NAME),
        .description = TEXT("default VPC security group"),
        .rules = {.items = rules, .count = old ? 3 : 2},
    };
    group_put_rules(call, core_new_key(call), &group);

    group.group_id = vpc_derived_id(call, "sg", realm, TEXT(GROUP_BERTH_NAME));
    group.name = TEXT(GROUP_BERTH_NAME);
    group.description = TEXT("Tasks that reach each other, and that their host reaches");
    rules[0] = any_rule(call, true, "0.0.0.0/0", (struct text){0});
    rules[1] = any_rule(call, false, NULL, group.group_id);
    rules[2] = any_rule(call, false, HOST_CIDR, (struct text){0});
    rules[2].description = TEXT("The host that a task runs on");
    group.rules.count = 3;
    group_put_rules(call, core_new_key(call), &group);
}

void group_ensure_first(struct core_call *call, int64_t vpc)
{
    const struct vpc_record_vpc *record = core_get(call->core, &vpc_kind, vpc);
    if (record == NULL || vpc_group_find(call->core, vpc, record->default_security_group_id) != 0) {
        return;
    }
    const struct identity_record_realm *realm =
        core_get(call->core, &identity_realm_kind, record->realm);
    ASSERT(realm != NULL);
    struct text name =
        arena_format(call->arena, "%.*s %.*s", TEXT_FMT(realm->account), TEXT_FMT(realm->region));
    group_create_first(call, vpc, name, true);
}

static void make_first(struct core_call *call, void *state, int64_t vpc)
{
    (void)state;
    group_ensure_first(call, vpc);
}

const struct core_manager group_manager = {.name = "groups", .work = make_first};

void group_recover(struct core_call *call, void *state)
{
    (void)state;
    for (int64_t key = core_next(call->core, &vpc_kind, 0); key != 0;
         key = core_next(call->core, &vpc_kind, key)) {
        const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, key);
        // The default group is never deleted: where it is missing, there were none.
        if (vpc_group_find(call->core, key, vpc->default_security_group_id) == 0) {
            core_work(call, &group_manager, key);
        }
    }
}

// ---- invariants ---------------------------------------------------------------------------

void group_check(const struct core *core, struct buf *violations)
{
    const struct vpc_state *state = vpc_state(core);
    for (int64_t key = core_next(core, &vpc_group_kind, 0); key != 0;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        if (vpc_named_find(state->groups, group->vpc, group->group_id) != key ||
            vpc_named_find(state->group_names, group->vpc, group->name) != key) {
            buf_format(violations, "vpc: group %lld shares its id or name with another\n",
                       (long long)key);
        }
        for (size_t i = 0; i < group->rules.count; i++) {
            struct text named = group->rules.items[i].group;
            if (!text_empty(named) && vpc_named_find(state->groups, group->vpc, named) == 0) {
                buf_format(violations, "vpc: group %lld has a rule for a group that is not there\n",
                           (long long)key);
            }
        }
    }
}
