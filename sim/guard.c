#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

/*
 * Security groups on a host. The packet filter itself is not simulated: what it would let through
 * is worked out from the rules that it was given. They are applied by jobs that take time and may
 * fail; what the filter has and what lies in RUN/groups outlives the agent, not the host's boot.
 *
 * What should pass is worked out a second time, from the region's records alone.
 */

#define AGAIN_MS 2000 // src/agent/agent_groups.c
#define STALE_MS 1000 // a walk over members, a commit, a message and a job

static struct world *world_of(const struct node *node)
{
    return &node->sim->world;
}

// ---- lists ------------------------------------------------------------------------------------

void guard_free(struct known_group *list)
{
    while (list != NULL) {
        struct known_group *known = list;
        list = known->next;
        alloc_free(known->group);
        alloc_free(known);
    }
}

static struct session_security_group *find(const struct known_group *list, struct text id)
{
    while (list != NULL && !text_equal(list->group->group_id, id)) {
        list = list->next;
    }
    return list == NULL ? NULL : list->group;
}

// Takes a group over unless a newer one is there. @return whether it did
static bool learn(struct known_group **list, const struct session_security_group *from)
{
    struct known_group *known = *list;
    while (known != NULL && !text_equal(known->group->group_id, from->group_id)) {
        known = known->next;
    }
    if (known != NULL && known->group->version >= from->version) {
        return false;
    }
    if (known == NULL) {
        known = ALLOC(struct known_group);
        known->next = *list;
        *list = known;
    }
    alloc_free(known->group);
    known->group = shape_clone(&session_security_group_shape, from, NULL);
    return true;
}

static struct guard_router *router_of(const struct node *node, struct text vpc)
{
    struct guard_router *router = node->guard.routers;
    while (router != NULL && !text_equal(router->vpc, vpc)) {
        router = router->next;
    }
    return router;
}

// ---- the agent --------------------------------------------------------------------------------

static void post_put(struct node *node, const struct session_security_groups_message *message,
                     bool acknowledge);

/** Groups on their way into the filter. */
struct put {
    struct session_security_groups_message *message; // owned
    bool acknowledge;
};

static void put_free(void *payload)
{
    struct put *put = payload;
    alloc_free(put->message);
    alloc_free(put);
}

// All that the agent was told, as it does not remember what could not be applied.
static void on_again(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    AUTO(arena_deinit) struct arena arena = {0};
    const struct session_security_groups_message all = {
        .message_id = TEXT(""), .security_groups = agent_rules_all(&node->guard.told, &arena)};
    post_put(node, &all, false);
}

static void on_put(void *context, void *payload)
{
    struct node *node = context;
    const struct put *put = payload;
    // More often than other things fail, as it is seldom done.
    if (node->sim->faults.active && node->sim->faults.host_permille > 0 &&
        world_chance(world_of(node), 250)) {
        world_trace(world_of(node), "%s cannot apply rules", node->name);
        node->sim->churn.counts[ACT_GROUP_NOT_APPLIED]++;
        world_post(world_of(node), &(struct world_event){.delay_ms = AGAIN_MS,
                                                         .life = &node->life,
                                                         .run = on_again,
                                                         .context = node});
        return; // not acknowledged
    }
    for (size_t i = 0; i < put->message->security_groups.count; i++) {
        const struct session_security_group *group = &put->message->security_groups.items[i];
        struct guard_router *router = router_of(node, group->vpc_id);
        learn(&node->guard.files, group);
        if (router != NULL && learn(&router->known, group)) {
            world_trace(world_of(node), "%s applies %.*s in version %lld", node->name,
                        TEXT_FMT(group->group_id), (long long)group->version);
        }
    }
    node->sim->hosts_touched = true;
    if (put->acknowledge && node->acs != NULL) {
        const struct session_ack_request ack = {.message_id = put->message->message_id};
        session_send(node->acs, "AckRequest", &session_ack_request_shape, &ack);
    }
}

static void post_put(struct node *node, const struct session_security_groups_message *message,
                     bool acknowledge)
{
    struct put *put = ALLOC(struct put);
    put->message = shape_clone(&session_security_groups_message_shape, message, NULL);
    put->acknowledge = acknowledge;
    world_post(world_of(node), &(struct world_event){
                                   .delay_ms = world_between(world_of(node), 0, 30),
                                   .life = &node->life,
                                   .run = on_put,
                                   .context = node,
                                   .payload = put,
                                   .release = put_free,
                               });
}

void guard_take(struct node *node, const struct session_security_groups_message *message)
{
    for (size_t i = 0; i < message->security_groups.count; i++) {
        agent_rules_keep(&node->guard.told, &message->security_groups.items[i]);
    }
    post_put(node, message, true);
}

void guard_payload(struct node *node, const struct session_payload_message *payload)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct session_security_groups_message news = {.message_id = TEXT("")};
    news.security_groups.items =
        arena_array(&arena, payload->security_groups.count, sizeof(*news.security_groups.items));
    for (size_t i = 0; i < payload->security_groups.count; i++) {
        if (agent_rules_keep(&node->guard.told, &payload->security_groups.items[i])) {
            news.security_groups.items[news.security_groups.count++] =
                payload->security_groups.items[i];
        }
    }
    for (size_t i = 0; i < news.security_groups.count; i++) {
        learn(&node->guard.files, &news.security_groups.items[i]);
    }
    if (news.security_groups.count > 0) {
        post_put(node, &news, false);
    }
}

struct known_group *guard_give(const struct node *node, const struct session_eni *eni)
{
    struct known_group *given = NULL;
    for (size_t i = 0; eni != NULL && i < eni->security_groups.count; i++) {
        const struct session_security_group *known =
            agent_rules_of(&node->guard.told, eni->security_groups.items[i]);
        if (known != NULL) {
            learn(&given, known);
        }
    }
    return given;
}

// ---- the network ------------------------------------------------------------------------------

// What an earlier agent was told, for what this one was not.
static void recall(struct node *node, struct guard_router *router, const struct session_eni *eni)
{
    for (size_t i = 0; i < eni->security_groups.count; i++) {
        struct text id = eni->security_groups.items[i];
        const struct session_security_group *kept = find(node->guard.files, id);
        if (kept != NULL && find(router->known, id) == NULL) {
            learn(&router->known, kept);
        }
    }
}

void guard_add(struct node *node, const struct host_task *task, const struct known_group *given)
{
    struct guard_router *router = router_of(node, task->vpc);
    if (router == NULL) {
        router = ALLOC(struct guard_router);
        router->vpc = text_of(alloc_format("%.*s", TEXT_FMT(task->vpc)));
        router->next = node->guard.routers;
        node->guard.routers = router;
    }
    recall(node, router, task->eni);
    for (; given != NULL; given = given->next) {
        if (learn(&router->known, given->group)) {
            learn(&node->guard.files, given->group);
        }
        const struct session_security_group *known = find(router->known, given->group->group_id);
        node->sim->churn.counts[ACT_GROUP_NEWER] += known->version > given->group->version;
    }
}

void guard_agent_start(struct node *node)
{
    agent_rules_deinit(&node->guard.told);
    for (struct guard_router *router = node->guard.routers; router != NULL; router = router->next) {
        guard_free(router->known);
        router->known = NULL;
        for (const struct host_task *task = node->tasks; task != NULL; task = task->next) {
            if (task->interface && text_equal(task->vpc, router->vpc)) {
                recall(node, router, task->eni);
            }
        }
    }
}

void guard_reset(struct node *node)
{
    agent_rules_deinit(&node->guard.told);
    guard_free(node->guard.files);
    node->guard.files = NULL;
    while (node->guard.routers != NULL) {
        struct guard_router *router = node->guard.routers;
        node->guard.routers = router->next;
        guard_free(router->known);
        alloc_free((void *)(uintptr_t)router->vpc.data);
        alloc_free(router);
    }
}

// ---- what passes on a host --------------------------------------------------------------------

/** Two ends of a packet: interfaces here or not, as the host and as the region have them. */
struct pair {
    const struct node *node;
    const struct host_task *sender;   ///< NULL: it is no interface here
    const struct host_task *receiver; ///< likewise
    const struct vpc_record_eni *sender_record;
    const struct vpc_record_eni *receiver_record;
    struct text vpc_id;
    int64_t vpc;
    uint32_t from;
    uint32_t to;
};

/** A packet that is not part of a conversation. */
struct probe {
    int32_t protocol;
    int32_t port; ///< or the type of ICMP
};

static bool in_range(struct text cidr, uint32_t address)
{
    struct vpc_range range = {0};
    if (vpc_parse_cidr(cidr, &range) != 0) {
        return false;
    }
    uint32_t mask = range.prefix_length == 0 ? 0 : UINT32_MAX << (32 - range.prefix_length);
    return (address & mask) == range.base;
}

static uint32_t address_of(const struct host_task *task)
{
    struct vpc_range range = {0};
    char text[32];
    int size = snprintf(text, sizeof(text), "%.*s/32", TEXT_FMT(task->address));
    int rc = vpc_parse_cidr((struct text){text, (size_t)size}, &range);
    ASSERT(rc == 0);
    return range.base;
}

static bool rule_fits(const struct session_security_group_rule *rule, const struct pair *pair,
                      const struct probe *probe)
{
    const struct host_task *peer = rule->egress ? pair->receiver : pair->sender;
    bool heard = text_empty(rule->group)
                     ? in_range(rule->cidr, rule->egress ? pair->to : pair->from)
                     : peer != NULL && text_list_has(&peer->eni->security_groups, rule->group);
    bool any = !rule->has_from_port || rule->from_port == -1;
    int32_t last = rule->protocol == 1 ? rule->from_port : rule->to_port;
    return heard && (rule->protocol == -1 ||
                     (rule->protocol == probe->protocol &&
                      (any || (rule->from_port <= probe->port && probe->port <= last))));
}

// Whether a member's rules of one way let a packet through; those that are not known let none.
static bool member_lets(const struct host_task *member, bool egress, const struct pair *pair,
                        const struct probe *probe)
{
    const struct guard_router *router = router_of(pair->node, pair->vpc_id);
    for (size_t i = 0; i < member->eni->security_groups.count; i++) {
        const struct session_security_group *group =
            find(router->known, member->eni->security_groups.items[i]);
        for (size_t k = 0; group != NULL && k < group->rules.count; k++) {
            if (group->rules.items[k].egress == egress &&
                rule_fits(&group->rules.items[k], pair, probe)) {
                return true;
            }
        }
    }
    return false;
}

// ---- what should pass -------------------------------------------------------------------------

static const struct vpc_record_security_group *group_record(const struct core *core, int64_t vpc,
                                                            struct text id)
{
    for (int64_t key = core_next(core, &vpc_group_kind, 0); key != 0;
         key = core_next(core, &vpc_group_kind, key)) {
        const struct vpc_record_security_group *group = core_get(core, &vpc_group_kind, key);
        if (group->vpc == vpc && text_equal(group->group_id, id)) {
            return group;
        }
    }
    return NULL;
}

static bool traffic_fits(const struct vpc_record_security_group_rule *rule,
                         const struct probe *probe)
{
    if (rule->protocol == -1) {
        return true;
    }
    if (rule->protocol != probe->protocol) {
        return false;
    }
    if (rule->protocol == 1) {
        return rule->from_port == -1 || rule->from_port == probe->port;
    }
    return rule->from_port <= probe->port && probe->port <= rule->to_port;
}

static bool record_lets(const struct core *core, bool egress, const struct pair *pair,
                        const struct probe *probe)
{
    const struct vpc_record_eni *eni = egress ? pair->sender_record : pair->receiver_record;
    const struct vpc_record_eni *peer = egress ? pair->receiver_record : pair->sender_record;
    for (size_t i = 0; i < eni->security_groups.count; i++) {
        const struct vpc_record_security_group *group =
            group_record(core, pair->vpc, eni->security_groups.items[i]);
        for (size_t k = 0; group != NULL && k < group->rules.count; k++) {
            const struct vpc_record_security_group_rule *rule = &group->rules.items[k];
            bool heard = text_empty(rule->group)
                             ? in_range(rule->cidr, egress ? pair->to : pair->from)
                             : peer != NULL && text_list_has(&peer->security_groups, rule->group);
            if (rule->egress == egress && heard && traffic_fits(rule, probe)) {
                return true;
            }
        }
    }
    return false;
}

// ---- what must hold ---------------------------------------------------------------------------

static const uint32_t strangers[] = {0xa9fe0301u, 0xc6336407u}; // the host, the world

static const struct probe probes[] = {{6, 80}, {6, 443}, {17, 53}, {1, 8}};

// The interface of a task as the region has it, when that has it on this host.
static const struct vpc_record_eni *record_of(const struct core *core, const struct node *node,
                                              const struct host_task *task)
{
    const struct task_record_task *record =
        task->fact == NULL ? NULL : core_get(core, &task_kind, task->fact->key);
    const struct task_record_node *host =
        record == NULL ? NULL : core_get(core, &task_node_kind, record->node);
    return host == NULL || !text_is(host->node_id, node->node_id)
               ? NULL
               : core_get(core, &vpc_eni_kind, record->eni);
}

static int64_t vpc_of(const struct core *core, const struct vpc_record_eni *eni)
{
    const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, eni->subnet);
    return subnet->vpc;
}

// Each packet is worked out twice. @return whether both say the same
static bool pair_agrees(struct sim *sim, const struct pair *pair, char *why, size_t size_bytes)
{
    const struct core *core = sim->server.core;
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        bool passes =
            (pair->sender == NULL || member_lets(pair->sender, true, pair, &probes[i])) &&
            (pair->receiver == NULL || member_lets(pair->receiver, false, pair, &probes[i]));
        bool should = (pair->sender_record == NULL || record_lets(core, true, pair, &probes[i])) &&
                      (pair->receiver_record == NULL || record_lets(core, false, pair, &probes[i]));
        sim->churn.counts[passes ? ACT_GROUP_PASSES : ACT_GROUP_DROPS]++;
        if (passes != should) {
            snprintf(why, size_bytes,
                     "%s %s what it should not: protocol %d, port %d, %08x to %08x",
                     pair->node->name, passes ? "lets through" : "drops", probes[i].protocol,
                     probes[i].port, pair->from, pair->to);
            return false;
        }
    }
    return true;
}

static bool task_agrees(struct sim *sim, const struct node *node, const struct host_task *task,
                        char *why, size_t size_bytes)
{
    const struct core *core = sim->server.core;
    const struct vpc_record_eni *record = record_of(core, node, task);
    if (record == NULL) {
        snprintf(why, size_bytes, "%s has an interface for %s, and the region has none", node->name,
                 task->id);
        return false;
    }
    struct pair out = {
        .node = node,
        .sender = task,
        .sender_record = record,
        .vpc_id = task->vpc,
        .vpc = vpc_of(core, record),
        .from = address_of(task),
    };
    struct pair in = {
        .node = node,
        .receiver = task,
        .receiver_record = record,
        .vpc_id = out.vpc_id,
        .vpc = out.vpc,
        .to = out.from,
    };
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        out.to = strangers[i];
        in.from = strangers[i];
        if (!pair_agrees(sim, &out, why, size_bytes) || !pair_agrees(sim, &in, why, size_bytes)) {
            return false;
        }
    }
    for (const struct host_task *other = node->tasks; other != NULL; other = other->next) {
        if (other == task || !other->interface || !text_equal(other->vpc, task->vpc)) {
            continue;
        }
        out.receiver = other;
        out.receiver_record = record_of(core, node, other);
        out.to = address_of(other);
        if (!pair_agrees(sim, &out, why, size_bytes)) {
            return false;
        }
    }
    return true;
}

bool guard_settled(struct sim *sim, char *why, size_t size_bytes)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->nodes[i];
        for (const struct host_task *task = node->tasks; !node->gone && task != NULL;
             task = task->next) {
            if (task->interface && !task_agrees(sim, node, task, why, size_bytes)) {
                return false;
            }
        }
    }
    return true;
}

void guard_check_launch(struct node *node, const struct host_task *task)
{
    if (task->eni == NULL || !task->interface) {
        return;
    }
    const struct fact *fact = fact_of(node->sim, text_of(task->id));
    const struct guard_router *router = router_of(node, task->vpc);
    for (size_t i = 0; i < task->eni->security_groups.count; i++) {
        struct text id = task->eni->security_groups.items[i];
        const struct session_security_group *known = find(router->known, id);
        // The interface's key is above the task's, which is enough: both were given out together.
        int64_t floor = groups_version_before(node->sim, id, fact->key);
        if (known != NULL && known->version < floor) {
            world_fail(world_of(node),
                       "%s starts %s with rules of %.*s in version %lld, where %lld is older than "
                       "the task",
                       node->name, task->id, TEXT_FMT(id), (long long)known->version,
                       (long long)floor);
        }
    }
}

// The group that is not as the region has it, or NULL.
static const struct text *stale_group(struct sim *sim, const struct node *node,
                                      const struct host_task *task)
{
    const struct core *core = sim->server.core;
    const struct guard_router *router = router_of(node, task->vpc);
    const struct vpc_record_eni *record = record_of(core, node, task);
    for (size_t i = 0; record != NULL && i < task->eni->security_groups.count; i++) {
        const struct text *id = &task->eni->security_groups.items[i];
        const struct session_security_group *known = find(router->known, *id);
        const struct vpc_record_security_group *group =
            group_record(core, vpc_of(core, record), *id);
        if (group != NULL && (known == NULL || known->version != group->version)) {
            return id;
        }
    }
    return NULL;
}

void guard_check(struct sim *sim, const struct node *node, struct host_task *task)
{
    bool touch = node->logic != NULL && node->acs != NULL && node->acs->client_open &&
                 node->acs->attached && !node->acs->cut && !node->partitioned;
    bool runs = task->supervisor != NULL && task->supervisor->order != NULL;
    if (!touch || !runs || !task->interface || task->fact == NULL || sim->server.core == NULL ||
        sim->faults.network_permille > 0 || sim->faults.host_permille > 0 ||
        task->fact->written_off) {
        task->stale_ms = 0;
        return;
    }
    const struct text *id = stale_group(sim, node, task);
    if (id == NULL) {
        task->stale_ms = 0;
    } else if (task->stale_ms == 0) {
        task->stale_ms = sim->world.now_ms;
    } else if (sim->world.now_ms - task->stale_ms > STALE_MS) {
        world_fail(&sim->world,
                   "%s has older rules of %.*s than the region for %lld ms, and %s "
                   "runs with them",
                   node->name, TEXT_FMT(*id), (long long)(sim->world.now_ms - task->stale_ms),
                   task->id);
    }
}
