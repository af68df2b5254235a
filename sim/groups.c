#include "sim.h"

#include "api/ec2.h"
#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"
#include "shape/cbor.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

/*
 * People who make security groups, change their rules while tasks are in them, and delete them.
 * Nothing is asked again when there was no answer: what came of it is looked at in the engine.
 */

#define NAMES 5
#define PAGE 5
#define GONE "Error retrieving security group information for ["

// ---- asking -----------------------------------------------------------------------------------

// What may be refused, as somebody else was faster.
static void on_answer(struct call *call)
{
    const struct api_error *const fine[] = {
        &ec2_error_cannot_delete,
        &ec2_error_dependency_violation,
        &ec2_error_invalid_group_duplicate,
        &ec2_error_invalid_group_not_found,
        &ec2_error_invalid_permission_duplicate,
        &ec2_error_invalid_security_group_rule_id_not_found,
        &ec2_error_rules_per_security_group_limit_exceeded,
    };
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        if (call->fault == fine[i]) {
            return;
        }
    }
    if (call->rc == ERR_FAULT) {
        world_fail(&call->sim->world, "%s is refused: %s", call->operation->name, call->fault_text);
    }
}

static void ask(struct sim *sim, enum ec2_operation operation, const void *request)
{
    call_begin(sim, &(struct call_options){
                        .operation = &ec2_operations[operation],
                        .request = request,
                        .done = on_answer,
                    });
}

static bool in_account(const struct core *core, int64_t vpc, struct text account)
{
    const struct vpc_record_vpc *record = core_get(core, &vpc_kind, vpc);
    return record != NULL && text_equal(ecs_scope(core, record->realm).account, account);
}

// One of this account's; own: that was made by a person.
static const struct vpc_record_security_group *choose(struct sim *sim, bool own)
{
    const struct core *core = sim->server.core;
    const struct vpc_record_security_group *chosen = NULL;
    int64_t count = 0;
    for (int64_t key = core_next(core, &vpc_group_kind, 0); key != 0;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        bool fits = in_account(core, group->vpc, TEXT(SIM_ACCOUNT)) &&
                    (!own || text_starts(group->name, TEXT("g")));
        count += fits;
        chosen = fits && world_between(&sim->world, 1, count) == 1 ? group : chosen;
    }
    return chosen;
}

// ---- changing ---------------------------------------------------------------------------------

static void create(struct sim *sim)
{
    char name[8];
    snprintf(name, sizeof(name), "g%d", (int)world_between(&sim->world, 0, NAMES - 1));
    const struct ec2_create_security_group_request request = {.group_name = text_of(name),
                                                              .group_description = TEXT("a trial")};
    ask(sim, EC2_OP_CREATE_SECURITY_GROUP, &request);
}

static const struct {
    const char *protocol;
    int32_t first;
    int32_t last;
} traffic[] = {
    {"tcp", 80, 80}, {"tcp", 80, 443}, {"tcp", 0, 65535}, {"udp", 53, 53},
    {"icmp", 8, -1}, {"icmp", -1, -1}, {"-1", -1, -1},
};

static const char *const ranges[] = {
    "0.0.0.0/0", "172.31.0.0/24", "172.31.0.0/28", "172.31.0.32/28", "169.254.0.0/16",
};

static void allow_in(struct sim *sim, const struct vpc_record_security_group *group)
{
    struct world *world = &sim->world;
    const struct vpc_record_security_group *other = choose(sim, false);
    if (group == NULL || other == NULL) {
        return;
    }
    size_t what = (size_t)world_between(world, 0, ARRAY_LEN(traffic) - 1);
    bool ports = traffic[what].protocol[0] != '-';
    struct ec2_ip_range range = {
        .cidr_ip = text_of(ranges[world_between(world, 0, ARRAY_LEN(ranges) - 1)])};
    struct ec2_user_id_group_pair pair = {.group_id = other->group_id};
    bool named = world_chance(world, 400);
    struct ec2_ip_permission permission = {
        .ip_protocol = text_of(traffic[what].protocol),
        .has_from_port = ports,
        .from_port = traffic[what].first,
        .has_to_port = ports,
        .to_port = traffic[what].last,
        .groups = {&pair, named ? 1 : 0},
        .ip_ranges = {&range, named ? 0 : 1},
    };
    const struct ec2_authorize_security_group_ingress_request in = {
        .group_id = group->group_id, .ip_permissions = {&permission, 1}};
    const struct ec2_authorize_security_group_egress_request out = {
        .group_id = group->group_id, .ip_permissions = {&permission, 1}};
    bool egress = world_chance(world, 250);
    ask(sim,
        egress ? EC2_OP_AUTHORIZE_SECURITY_GROUP_EGRESS : EC2_OP_AUTHORIZE_SECURITY_GROUP_INGRESS,
        egress ? (const void *)&out : (const void *)&in);
}

static void allow(struct sim *sim)
{
    allow_in(sim, choose(sim, false));
}

static void revoke_in(struct sim *sim, const struct vpc_record_security_group *group)
{
    if (group == NULL || group->rules.count == 0) {
        return;
    }
    const struct vpc_record_security_group_rule *rule =
        &group->rules.items[world_between(&sim->world, 0, (int64_t)group->rules.count - 1)];
    struct text id = rule->rule_id;
    const struct ec2_revoke_security_group_ingress_request in = {
        .group_id = group->group_id, .security_group_rule_id = {&id, 1}};
    const struct ec2_revoke_security_group_egress_request out = {
        .group_id = group->group_id, .security_group_rule_id = {&id, 1}};
    ask(sim,
        rule->egress ? EC2_OP_REVOKE_SECURITY_GROUP_EGRESS : EC2_OP_REVOKE_SECURITY_GROUP_INGRESS,
        rule->egress ? (const void *)&out : (const void *)&in);
}

static void revoke(struct sim *sim)
{
    revoke_in(sim, choose(sim, false));
}

static void modify(struct sim *sim)
{
    const struct vpc_record_security_group *group = choose(sim, false);
    if (group == NULL || group->rules.count == 0) {
        return;
    }
    struct ec2_security_group_rule_request wanted = {
        .ip_protocol = TEXT("tcp"),
        .has_from_port = true,
        .from_port = 80,
        .has_to_port = true,
        .to_port = (int32_t)world_between(&sim->world, 80, 90),
        .cidr_ipv4 = text_of(ranges[world_between(&sim->world, 0, ARRAY_LEN(ranges) - 1)]),
    };
    struct ec2_security_group_rule_update update = {
        .security_group_rule_id =
            group->rules.items[world_between(&sim->world, 0, (int64_t)group->rules.count - 1)]
                .rule_id,
        .security_group_rule = &wanted,
    };
    const struct ec2_modify_security_group_rules_request request = {
        .group_id = group->group_id, .security_group_rule = {&update, 1}};
    ask(sim, EC2_OP_MODIFY_SECURITY_GROUP_RULES, &request);
}

static void delete (struct sim *sim)
{
    const struct vpc_record_security_group *group = choose(sim, true);
    if (group != NULL) {
        const struct ec2_delete_security_group_request request = {.group_id = group->group_id};
        ask(sim, EC2_OP_DELETE_SECURITY_GROUP, &request);
    }
}

static void look(struct sim *sim)
{
    const struct vpc_record_security_group *group = choose(sim, false);
    if (group == NULL) {
        return;
    }
    struct text id = group->group_id;
    struct ec2_filter filter = {.name = TEXT("group-id"), .value = {&id, 1}};
    bool filtered = world_chance(&sim->world, 500);
    const struct ec2_describe_security_groups_request groups = {
        .group_id = {&id, filtered ? 0 : 1},
        .has_max_results = filtered,
        .max_results = PAGE,
    };
    const struct ec2_describe_network_interfaces_request interfaces = {
        .filter = {&filter, filtered ? 1 : 0},
        .has_max_results = true,
        .max_results = PAGE,
    };
    bool which = world_chance(&sim->world, 500);
    ask(sim, which ? EC2_OP_DESCRIBE_SECURITY_GROUPS : EC2_OP_DESCRIBE_NETWORK_INTERFACES,
        which ? (const void *)&groups : (const void *)&interfaces);
}

void groups_turn(struct sim *sim)
{
    static void (*const turns[])(struct sim * sim) = {create, create, allow,  allow,  allow,
                                                      revoke, revoke, modify, delete, look};
    turns[world_between(&sim->world, 0, ARRAY_LEN(turns) - 1)](sim);
}

// The rules of a group change while a task in it is on its way.
static void on_soon(void *context, void *payload)
{
    struct sim *sim = context;
    const struct core *core = sim->server.core;
    for (int64_t key = core == NULL ? 0 : core_next(core, &vpc_group_kind, 0); key != 0;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        if (text_is(group->group_id, payload)) {
            (world_chance(&sim->world, 500) ? revoke_in : allow_in)(sim, group);
            return;
        }
    }
}

static void post_soon(struct sim *sim, struct text id)
{
    world_post(&sim->world, &(struct world_event){
                                .delay_ms = world_between(&sim->world, 0, 300),
                                .life = &sim->churn.life,
                                .run = on_soon,
                                .context = sim,
                                .payload = alloc_format("%.*s", TEXT_FMT(id)),
                            });
}

void groups_touch(struct sim *sim, const struct fact *fact)
{
    const struct core *core = sim->server.core;
    if (!sim->groups.active || core == NULL || !world_chance(&sim->world, 300)) {
        return;
    }
    const struct task_record_task *task = core_get(core, &task_kind, fact->key);
    const struct vpc_record_eni *eni =
        task == NULL ? NULL : core_get(core, &vpc_eni_kind, task->eni);
    if (eni != NULL) {
        post_soon(sim, eni->security_groups.items[0]);
    }
}

void groups_choose(struct sim *sim, struct run_spec *spec)
{
    if (!sim->groups.active || sim->server.core == NULL || !world_chance(&sim->world, 600)) {
        return;
    }
    int64_t count = world_between(&sim->world, 1, RUN_GROUPS);
    for (int64_t i = 0; i < count; i++) {
        const struct vpc_record_security_group *group = choose(sim, world_chance(&sim->world, 700));
        struct text id = group == NULL ? TEXT("") : group->group_id;
        if (world_chance(&sim->world, 30)) {
            id = TEXT("sg-0123456789abcdef0"); // nobody's
        }
        snprintf(spec->groups[i], sizeof(spec->groups[i]), "%.*s", TEXT_FMT(id));
        if (text_empty(id)) {
            return;
        }
        if (world_chance(&sim->world, 400)) {
            post_soon(sim, id);
        }
    }
}

// ---- what must come of it ---------------------------------------------------------------------

static void count(struct sim *sim, enum act act)
{
    sim->churn.counts[act]++;
}

static bool exists(const struct core *core, struct text account, struct text id)
{
    for (int64_t key = core_next(core, &vpc_group_kind, 0); key != 0;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        if (text_equal(group->group_id, id) && in_account(core, group->vpc, account)) {
            return true;
        }
    }
    return false;
}

static bool has_interface(const struct core *core, struct text id)
{
    for (int64_t key = core_next(core, &vpc_eni_kind, 0); key != 0;
         key = core_next(core, &vpc_eni_kind, key)) {
        const struct vpc_record_eni *eni = core_get(core, &vpc_eni_kind, key);
        for (size_t i = 0; i < eni->security_groups.count; i++) {
            if (text_equal(eni->security_groups.items[i], id)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_named(const struct core *core, struct text id)
{
    for (int64_t key = core_next(core, &vpc_group_kind, 0); key != 0;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        for (size_t i = 0; i < group->rules.count; i++) {
            if (!text_equal(group->group_id, id) && text_equal(group->rules.items[i].group, id)) {
                return true;
            }
        }
    }
    return false;
}

static void on_delete(struct sim *sim, const struct applied *applied)
{
    const struct ec2_delete_security_group_request *request = applied->request;
    const struct core *core = sim->server.core;
    bool used = has_interface(core, request->group_id) || is_named(core, request->group_id);
    bool says_used = applied->fault == &ec2_error_dependency_violation;
    if (applied->rc == 0 && used) {
        world_fail(&sim->world, "group %.*s is deleted while it is in use",
                   TEXT_FMT(request->group_id));
    } else if (says_used && !used) {
        world_fail(&sim->world, "group %.*s is in use, says DeleteSecurityGroup, which is not so",
                   TEXT_FMT(request->group_id));
    }
    sim->churn.counts[ACT_GROUP_DELETE_USED] += says_used;
    sim->churn.counts[ACT_GROUP_DELETE] += applied->rc == 0;
}

static void on_run(struct sim *sim, const struct applied *applied)
{
    const struct ecs_run_task_request *request = applied->request;
    const struct ecs_run_task_response *response = applied->response;
    bool awsvpc = request->network_configuration != NULL;
    // The tasks of an earlier request with this token are in what there was then.
    bool made = applied->rc == 0 && response->tasks.count > 0 &&
                core_version(sim->server.core) > sim->server.before_version;
    bool refused = applied->fault == &ecs_error_invalid_parameter_exception &&
                   applied->fault_text != NULL &&
                   text_starts(text_of(applied->fault_text), TEXT(GONE));
    if (!awsvpc || (!made && !refused)) {
        return;
    }
    const struct text_list *ids =
        &request->network_configuration->awsvpc_configuration->security_groups;
    bool gone = false;
    for (size_t i = 0; i < ids->count; i++) {
        gone = gone || !exists(sim->server.core, applied->caller->account, ids->items[i]);
    }
    if (gone != refused) {
        world_fail(&sim->world, "RunTask %s, and its groups are %s",
                   refused ? "is refused for a group that is gone" : "runs tasks",
                   gone ? "gone" : "there");
    }
    sim->churn.counts[ACT_GROUP_GONE] += refused;
    sim->churn.counts[ACT_GROUP_TASK] += made && ids->count > 0;
}

// Keys of what a first page should have, at most one more than it.
static size_t expect_groups(const struct core *core, const struct applied *applied,
                            struct text *out_ids)
{
    const struct ec2_describe_security_groups_request *request = applied->request;
    size_t found = 0;
    for (int64_t key = core_next(core, &vpc_group_kind, 0); key != 0 && found <= PAGE;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        if (in_account(core, group->vpc, applied->caller->account) &&
            (request->group_id.count == 0 ||
             text_equal(request->group_id.items[0], group->group_id))) {
            out_ids[found++] = group->group_id;
        }
    }
    return found;
}

static size_t expect_interfaces(const struct core *core, const struct applied *applied,
                                struct text *out_ids)
{
    const struct ec2_describe_network_interfaces_request *request = applied->request;
    size_t found = 0;
    for (int64_t key = core_next(core, &vpc_eni_kind, 0); key != 0 && found <= PAGE;
         key = core_next(core, &vpc_eni_kind, key)) {
        const struct vpc_record_eni *eni = core_get(core, &vpc_eni_kind, key);
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, eni->subnet);
        bool fits = request->filter.count == 0;
        for (size_t i = 0; !fits && i < eni->security_groups.count; i++) {
            fits =
                text_equal(eni->security_groups.items[i], request->filter.items[0].value.items[0]);
        }
        if (fits && in_account(core, subnet->vpc, applied->caller->account)) {
            out_ids[found++] = eni->eni_id;
        }
    }
    return found;
}

static void on_look(struct sim *sim, const struct applied *applied)
{
    struct text want[PAGE + 1];
    struct text got[PAGE];
    bool groups = applied->operation == &ec2_operations[EC2_OP_DESCRIBE_SECURITY_GROUPS];
    const struct ec2_describe_security_groups_result *listed = applied->response;
    const struct ec2_describe_network_interfaces_result *interfaces = applied->response;
    size_t wanted = groups ? expect_groups(sim->server.core, applied, want)
                           : expect_interfaces(sim->server.core, applied, want);
    size_t found =
        groups ? listed->security_group_info.count : interfaces->network_interface_set.count;
    bool more = !text_empty(groups ? listed->next_token : interfaces->next_token);
    bool same = found == MIN(wanted, (size_t)PAGE) && more == (wanted > PAGE);
    for (size_t i = 0; same && i < found; i++) {
        got[i] = groups ? listed->security_group_info.items[i].group_id
                        : interfaces->network_interface_set.items[i].network_interface_id;
        same = text_equal(got[i], want[i]);
    }
    if (!same) {
        world_fail(&sim->world, "%s shows %zu, and there are %zu on its first page",
                   applied->operation->name, found, wanted);
    }
    count(sim, ACT_GROUP_LISTED);
}

void groups_applied(struct sim *sim, const struct applied *applied)
{
    static const struct {
        enum ec2_operation operation;
        enum act act;
    } acts[] = {
        {EC2_OP_CREATE_SECURITY_GROUP, ACT_GROUP_CREATE},
        {EC2_OP_AUTHORIZE_SECURITY_GROUP_EGRESS, ACT_GROUP_ALLOW},
        {EC2_OP_AUTHORIZE_SECURITY_GROUP_INGRESS, ACT_GROUP_ALLOW},
        {EC2_OP_REVOKE_SECURITY_GROUP_EGRESS, ACT_GROUP_REVOKE},
        {EC2_OP_REVOKE_SECURITY_GROUP_INGRESS, ACT_GROUP_REVOKE},
        {EC2_OP_MODIFY_SECURITY_GROUP_RULES, ACT_GROUP_MODIFY},
    };
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        bool done = applied->rc == 0 && applied->operation == &ec2_operations[acts[i].operation];
        sim->churn.counts[acts[i].act] += done;
    }
    if (applied->operation == &ec2_operations[EC2_OP_DELETE_SECURITY_GROUP]) {
        on_delete(sim, applied);
    } else if (applied->operation == &ecs_operations[ECS_OP_RUN_TASK]) {
        on_run(sim, applied);
    } else if (applied->rc == 0 &&
               (applied->operation == &ec2_operations[EC2_OP_DESCRIBE_SECURITY_GROUPS] ||
                applied->operation == &ec2_operations[EC2_OP_DESCRIBE_NETWORK_INTERFACES])) {
        on_look(sim, applied);
    }
}

// ---- versions ---------------------------------------------------------------------------------

void groups_durable(struct sim *sim, const struct core_batch *batch)
{
    struct groups *groups = &sim->groups;
    for (size_t i = 0; groups->active && i < batch->row_count; i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct vpc_record_security_group record = {0};
        struct shape_error error = {0};
        if (batch->rows[i].kind != vpc_group_kind.number || batch->rows[i].bytes.data == NULL) {
            continue;
        }
        if (cbor_decode(&vpc_record_security_group_shape, batch->rows[i].bytes, &arena, &record,
                        NULL, NULL, &error) != 0) {
            world_fail(&sim->world, "a group's row cannot be read: %s %s", error.path, error.text);
            return;
        }
        if (groups->version_count == groups->version_capacity) {
            groups->version_capacity = MAX(2 * groups->version_capacity, (size_t)64);
            groups->versions =
                alloc_resize(groups->versions, groups->version_capacity, sizeof(*groups->versions));
        }
        struct group_version *version = &groups->versions[groups->version_count++];
        version->version = record.version;
        snprintf(version->id, sizeof(version->id), "%.*s", TEXT_FMT(record.group_id));
    }
}

int64_t groups_version_before(const struct sim *sim, struct text id, int64_t key)
{
    int64_t newest = 0;
    for (size_t i = 0; i < sim->groups.version_count; i++) {
        const struct group_version *version = &sim->groups.versions[i];
        if (version->version < key && text_is(id, version->id)) {
            newest = MAX(newest, version->version);
        }
    }
    return newest;
}

void groups_deinit(struct groups *groups)
{
    alloc_free(groups->versions);
}

void groups_check(struct sim *sim)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &vpc_eni_kind, 0); sim->groups.active && key != 0;
         key = core_next(core, &vpc_eni_kind, key)) {
        const struct vpc_record_eni *eni = core_get(core, &vpc_eni_kind, key);
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, eni->subnet);
        for (size_t i = 0; i < eni->security_groups.count; i++) {
            if (vpc_group_find(core, subnet->vpc, eni->security_groups.items[i]) == 0) {
                world_fail(&sim->world, "an interface is in group %.*s, which is not there",
                           TEXT_FMT(eni->security_groups.items[i]));
            }
        }
    }
}
