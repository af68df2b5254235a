#include "sim.h"

#include "base/text.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * The rules of placement, written a second time and as plainly as can be: over records alone, all
 * of them for every question. Each task that RunTask or StartTask made is looked at as of the
 * moment when it was placed: with the tasks whose keys are below its own.
 */

enum expression {
    EXPRESSION_RACK,
    EXPRESSION_RACKS,
    EXPRESSION_NOT_RACK,
    EXPRESSION_ZONE,
    EXPRESSION_EXISTS,
    EXPRESSION_EITHER,
    EXPRESSION_FEW_TASKS,
    EXPRESSION_WITH_GROUP,
    EXPRESSION_WITHOUT_GROUP,
    EXPRESSION_COUNT,
};

const char *const placement_expressions[] = {
    [EXPRESSION_RACK] = "attribute:rack == r1",
    [EXPRESSION_RACKS] = "attribute:rack in [r1, r2]",
    [EXPRESSION_NOT_RACK] = "not(attribute:rack == r1)",
    [EXPRESSION_ZONE] = "attribute:ecs.availability-zone == eu-west-1a",
    [EXPRESSION_EXISTS] = "attribute:color exists",
    [EXPRESSION_EITHER] = "attribute:rack == r2 or attribute:color == red",
    [EXPRESSION_FEW_TASKS] = "runningTasksCount < 2",
    [EXPRESSION_WITH_GROUP] = "task:group == tier-a",
    [EXPRESSION_WITHOUT_GROUP] = "not(task:group == tier-a)",
};
const size_t placement_expression_count = ARRAY_LEN(placement_expressions);

const struct ecs_placement_strategy placement_strategies[] = {
    {ECS_PLACEMENT_STRATEGY_TYPE_SPREAD, {"attribute:ecs.availability-zone", 31}},
    {ECS_PLACEMENT_STRATEGY_TYPE_SPREAD, {"instanceId", 10}},
    {ECS_PLACEMENT_STRATEGY_TYPE_SPREAD, {"attribute:rack", 14}},
    {ECS_PLACEMENT_STRATEGY_TYPE_BINPACK, {"cpu", 3}},
    {ECS_PLACEMENT_STRATEGY_TYPE_BINPACK, {"memory", 6}},
    {ECS_PLACEMENT_STRATEGY_TYPE_RANDOM, {NULL, 0}},
};
const size_t placement_strategy_count = ARRAY_LEN(placement_strategies);

/** What was asked for, and as of when it is looked at. */
struct question {
    struct sim *sim;
    const struct core *core;
    const struct ecs_run_task_request *request; ///< of a StartTask NULL
    const struct ecs_task_definition *definition;
    struct text group;
    int64_t cluster;
    int64_t before; ///< tasks below this key count
    int32_t cpu_units;
    int32_t memory_mib;
};

/** An instance of the cluster. */
struct place {
    int64_t node;
    const struct task_record_node *record;
    const struct task_record_membership *membership;
    bool candidate;
};

#define PLACES_MAX (2 * SIM_NODE_MAX)

// ---- plain facts ------------------------------------------------------------------------------

static struct text value_of(const struct task_record_membership *membership, const char *name)
{
    for (size_t i = 0; i < membership->attributes.count; i++) {
        if (text_is(membership->attributes.items[i].name, name)) {
            struct text value = membership->attributes.items[i].value;
            return value.data == NULL ? TEXT("") : value;
        }
    }
    return (struct text){0};
}

static const struct ecs_task_definition *definition_of(const struct core *core, int64_t key)
{
    const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, key);
    return record->definition;
}

static bool group_is(const struct core *core, const struct task_record_task *task,
                     struct text group)
{
    if (task->extra != NULL && task->extra->group.data != NULL) {
        return text_equal(task->extra->group, group);
    }
    if (task->has_deployment) {
        char name[300];
        snprintf(name, sizeof(name), "service:%.*s",
                 TEXT_FMT(service_name(core, task->deployment)));
        return text_is(group, name);
    }
    const struct ecs_record_definition *definition =
        core_get(core, &ecs_definition_kind, task->definition);
    const struct ecs_record_family *family = core_get(core, &ecs_family_kind, definition->family);
    return text_starts(group, TEXT("family:")) &&
           text_equal(text_slice(group, strlen("family:"), group.size), family->name);
}

/** A step over the tasks that hold something of a node. */
static const struct task_record_task *next_holder(const struct question *question, int64_t node,
                                                  int64_t *key)
{
    for (*key = core_next(question->core, &task_kind, *key); *key != 0 && *key < question->before;
         *key = core_next(question->core, &task_kind, *key)) {
        const struct task_record_task *task = core_get(question->core, &task_kind, *key);
        if (task->node == node && task->last_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            return task;
        }
    }
    return NULL;
}

static int64_t gpus_of(const struct ecs_task_definition *definition)
{
    int64_t sum = 0;
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_resource_requirement_list *list =
            &definition->container_definitions.items[i].resource_requirements;
        for (size_t j = 0; j < list->count; j++) {
            int64_t count = 0;
            if (list->items[j].type == ECS_RESOURCE_TYPE_GPU &&
                text_to_i64(list->items[j].value, &count) == 0) {
                sum += count;
            }
        }
    }
    return sum;
}

/** @return whether a definition takes a port of its host */
static bool takes_port(const struct ecs_task_definition *definition, int32_t port, bool udp)
{
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_port_mapping_list *list =
            &definition->container_definitions.items[i].port_mappings;
        for (size_t j = 0; j < list->count; j++) {
            if (list->items[j].host_port == port &&
                (list->items[j].protocol == ECS_TRANSPORT_PROTOCOL_UDP) == udp) {
                return true;
            }
        }
    }
    return false;
}

static bool share_port(const struct ecs_task_definition *a, const struct ecs_task_definition *b)
{
    for (size_t i = 0; i < a->container_definitions.count; i++) {
        const struct ecs_port_mapping_list *list = &a->container_definitions.items[i].port_mappings;
        for (size_t j = 0; j < list->count; j++) {
            if (list->items[j].host_port > 0 &&
                takes_port(b, list->items[j].host_port,
                           list->items[j].protocol == ECS_TRANSPORT_PROTOCOL_UDP)) {
                return true;
            }
        }
    }
    return false;
}

// ---- expressions ------------------------------------------------------------------------------

static bool has_group(const struct question *question, const struct place *place, struct text group)
{
    int64_t key = 0;
    for (const struct task_record_task *task = next_holder(question, place->node, &key);
         task != NULL; task = next_holder(question, place->node, &key)) {
        if (task_membership(place->record, task) == place->membership &&
            group_is(question->core, task, group)) {
            return true;
        }
    }
    return false;
}

static int64_t running(const struct question *question, const struct place *place)
{
    int64_t count = 0;
    int64_t key = 0;
    for (const struct task_record_task *task = next_holder(question, place->node, &key);
         task != NULL; task = next_holder(question, place->node, &key)) {
        count += task_membership(place->record, task) == place->membership &&
                 task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
    }
    return count;
}

static bool holds(const struct question *question, const struct place *place, struct text text)
{
    size_t which = 0;
    while (which < EXPRESSION_COUNT && !text_is(text, placement_expressions[which])) {
        which++;
    }
    struct text rack = value_of(place->membership, "rack");
    switch ((enum expression)which) {
    case EXPRESSION_RACK:
        return text_is(rack, "r1");
    case EXPRESSION_RACKS:
        return text_is(rack, "r1") || text_is(rack, "r2");
    case EXPRESSION_NOT_RACK:
        return !text_is(rack, "r1");
    case EXPRESSION_ZONE:
        return text_is(value_of(place->membership, "ecs.availability-zone"), "eu-west-1a");
    case EXPRESSION_EXISTS:
        return value_of(place->membership, "color").data != NULL;
    case EXPRESSION_EITHER:
        return text_is(rack, "r2") || text_is(value_of(place->membership, "color"), "red");
    case EXPRESSION_FEW_TASKS:
        return running(question, place) < 2;
    case EXPRESSION_WITH_GROUP:
        return has_group(question, place, TEXT("tier-a"));
    case EXPRESSION_WITHOUT_GROUP:
        return !has_group(question, place, TEXT("tier-a"));
    case EXPRESSION_COUNT:
        break;
    }
    world_fail(&question->sim->world, "the expression '%.*s' has no rule here", TEXT_FMT(text));
    return false;
}

// ---- one instance -----------------------------------------------------------------------------

static int32_t group_count(const struct question *question, int64_t node)
{
    int32_t count = 0;
    int64_t key = 0;
    for (const struct task_record_task *task = next_holder(question, node, &key); task != NULL;
         task = next_holder(question, node, &key)) {
        count += task->cluster == question->cluster &&
                 task->launch_type != ECS_LAUNCH_TYPE_FARGATE &&
                 task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING &&
                 group_is(question->core, task, question->group);
    }
    return count;
}

static int64_t left_of(const struct question *question, const struct place *place, bool cpu)
{
    int64_t left = cpu ? place->record->cpu_units : place->record->memory_mib;
    int64_t key = 0;
    for (const struct task_record_task *task = next_holder(question, place->node, &key);
         task != NULL; task = next_holder(question, place->node, &key)) {
        left -= cpu ? task->cpu_units : task->memory_mib;
    }
    return left;
}

static const char *devices_refusal(const struct question *question, const struct place *place)
{
    int64_t gpus = gpus_of(question->definition);
    int64_t left = 0;
    for (size_t i = 0; i < place->membership->platform_devices.count; i++) {
        left += place->membership->platform_devices.items[i].type == ECS_PLATFORM_DEVICE_TYPE_GPU;
    }
    int64_t key = 0;
    for (const struct task_record_task *task = next_holder(question, place->node, &key);
         task != NULL; task = next_holder(question, place->node, &key)) {
        const struct ecs_task_definition *other = definition_of(question->core, task->definition);
        left -= gpus_of(other);
        if (!task->has_subnet && share_port(question->definition, other)) {
            return "a port of the host is taken";
        }
    }
    for (size_t i = 0; i < place->record->resources.count; i++) {
        const struct ecs_resource *resource = &place->record->resources.items[i];
        for (size_t j = 0; j < resource->string_set_value.count; j++) {
            int64_t port = 0;
            if (text_to_i64(resource->string_set_value.items[j], &port) == 0 &&
                takes_port(question->definition, (int32_t)port,
                           text_is(resource->name, "PORTS_UDP"))) {
                return "a port of the host is reserved";
            }
        }
    }
    return gpus > 0 && left < gpus ? "there are not enough GPUs" : NULL;
}

static const char *constraints_refusal(const struct question *question, const struct place *place)
{
    const struct ecs_task_definition_placement_constraint_list *defined =
        &question->definition->placement_constraints;
    for (size_t i = 0; i < defined->count; i++) {
        if (!holds(question, place, defined->items[i].expression)) {
            return "memberOf of the definition does not hold";
        }
    }
    const struct ecs_placement_constraint_list *asked = &question->request->placement_constraints;
    for (size_t i = 0; i < asked->count; i++) {
        bool distinct = asked->items[i].type == ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE;
        if (distinct && group_count(question, place->node) > 0) {
            return "distinctInstance does not hold";
        }
        if (!distinct && !holds(question, place, asked->items[i].expression)) {
            return "memberOf does not hold";
        }
    }
    return NULL;
}

/** @return why a task may not go there, or NULL. Lease and addresses are not looked at */
static const char *refusal(const struct question *question, const struct place *place)
{
    if (place->record->removed_at != 0) {
        return "the node is removed";
    }
    if (place->membership->deregistered_at != 0) {
        return "it is deregistered";
    }
    if (place->membership->draining) {
        return "it drains";
    }
    if (left_of(question, place, true) < question->cpu_units ||
        left_of(question, place, false) < question->memory_mib) {
        return "it has no room";
    }
    const char *why = devices_refusal(question, place);
    if (why == NULL && question->request != NULL) {
        why = constraints_refusal(question, place);
    }
    return why;
}

// ---- all instances ----------------------------------------------------------------------------

static size_t find_places(const struct question *question, struct place *places)
{
    size_t count = 0;
    for (int64_t key = core_next(question->core, &task_node_kind, 0); key != 0;
         key = core_next(question->core, &task_node_kind, key)) {
        const struct task_record_node *record = core_get(question->core, &task_node_kind, key);
        for (size_t i = 0; i < record->memberships.count && count < PLACES_MAX; i++) {
            const struct task_record_membership *membership = &record->memberships.items[i];
            if (record->removed_at == 0 && membership->cluster == question->cluster &&
                membership->deregistered_at == 0) {
                places[count++] =
                    (struct place){.node = key, .record = record, .membership = membership};
            }
        }
    }
    return count;
}

static bool live(const struct question *question, const struct place *place)
{
    return task_node_live(task_node(task_state(question->core), place->node));
}

static struct text bucket(const struct place *place, struct text field)
{
    if (!text_starts(field, TEXT("attribute:"))) {
        return place->membership->instance_id;
    }
    char name[128];
    snprintf(name, sizeof(name), "%.*s",
             TEXT_FMT(text_slice(field, strlen("attribute:"), field.size)));
    struct text value = value_of(place->membership, name);
    return value.data == NULL ? TEXT("") : value;
}

static int64_t score(const struct question *question, const struct ecs_placement_strategy *strategy,
                     const struct place *places, size_t count, const struct place *place)
{
    if (strategy->type == ECS_PLACEMENT_STRATEGY_TYPE_BINPACK) {
        return left_of(question, place, text_is(strategy->field, "cpu"));
    }
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (text_equal(bucket(&places[i], strategy->field), bucket(place, strategy->field))) {
            sum += group_count(question, places[i].node);
        }
    }
    return sum;
}

// Every strategy keeps the best of what the one before it kept; the chosen one must be among them.
static void check_strategies(const struct question *question, const struct task_record_task *task)
{
    struct place places[PLACES_MAX];
    size_t count = find_places(question, places);
    const struct place *chosen = NULL;
    for (size_t i = 0; i < count; i++) {
        places[i].candidate = live(question, &places[i]) && refusal(question, &places[i]) == NULL;
        chosen = places[i].node == task->node ? &places[i] : chosen;
    }
    const struct ecs_placement_strategy_list *list = &question->request->placement_strategy;
    for (size_t i = 0; i < list->count && chosen != NULL; i++) {
        if (list->items[i].type == ECS_PLACEMENT_STRATEGY_TYPE_RANDOM) {
            return; // any will do
        }
        int64_t best = INT64_MAX;
        int64_t scores[PLACES_MAX];
        for (size_t j = 0; j < count; j++) {
            scores[j] = score(question, &list->items[i], places, count, &places[j]);
            best = places[j].candidate ? MIN(best, scores[j]) : best;
        }
        for (size_t j = 0; j < count; j++) {
            places[j].candidate = places[j].candidate && scores[j] == best;
        }
        if (scores[chosen - places] != best) {
            world_fail(&question->sim->world,
                       "task %.*s: the strategy '%.*s' has %lld for where it was placed, and %lld "
                       "elsewhere",
                       TEXT_FMT(task->task_id), TEXT_FMT(list->items[i].field),
                       (long long)scores[chosen - places], (long long)best);
        }
    }
}

// What was not placed had no place.
static void check_refused(const struct question *question)
{
    struct place places[PLACES_MAX];
    size_t count = find_places(question, places);
    for (size_t i = 0; i < count; i++) {
        if (live(question, &places[i]) && refusal(question, &places[i]) == NULL) {
            world_fail(&question->sim->world,
                       "a task was not placed, though the instance %.*s takes it",
                       TEXT_FMT(places[i].membership->instance_id));
        }
    }
}

static const struct task_record_membership *pool_of(const struct task_record_node *record)
{
    for (size_t i = 0; i < record->memberships.count; i++) {
        if (record->memberships.items[i].cluster == 0) {
            return &record->memberships.items[i];
        }
    }
    return NULL;
}

static void check_task(struct question *question, const struct task_record_task *task)
{
    bool pool = task->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    const struct task_record_node *record = core_get(question->core, &task_node_kind, task->node);
    const struct place place = {
        .node = task->node,
        .record = record,
        .membership = pool ? pool_of(record) : task_membership(record, task),
    };
    if (place.membership == NULL) {
        world_fail(&question->sim->world, "task %.*s is on a node that is none of its cluster",
                   TEXT_FMT(task->task_id));
        return;
    }
    const char *why = refusal(question, &place);
    if (why != NULL) {
        world_fail(&question->sim->world, "task %.*s was placed on %.*s, and %s",
                   TEXT_FMT(task->task_id), TEXT_FMT(record->name), why);
    } else if (question->request != NULL && !pool && !task->has_subnet) {
        check_strategies(question, task);
    }
}

// ---- what was asked ---------------------------------------------------------------------------

static void count_acts(struct sim *sim, const struct question *question, bool placed)
{
    uint64_t *counts = sim->churn.counts;
    const struct ecs_run_task_request *request = question->request;
    bool port = share_port(question->definition, question->definition);
    counts[ACT_PORT] += placed && port;
    counts[ACT_PORT_REFUSED] += !placed && port;
    counts[ACT_GPU] += placed && gpus_of(question->definition) > 0;
    counts[ACT_GPU_REFUSED] += !placed && gpus_of(question->definition) > 0;
    for (size_t i = 0; i < request->placement_constraints.count; i++) {
        struct text expression = request->placement_constraints.items[i].expression;
        bool distinct = expression.data == NULL;
        counts[ACT_DISTINCT] += placed && distinct;
        counts[ACT_DISTINCT_REFUSED] += !placed && distinct;
        counts[ACT_MEMBER_OF] += placed && !distinct;
        counts[ACT_MEMBER_OF_REFUSED] += !placed && !distinct;
        counts[ACT_TASK_GROUP] +=
            placed && (text_is(expression, placement_expressions[EXPRESSION_WITH_GROUP]) ||
                       text_is(expression, placement_expressions[EXPRESSION_WITHOUT_GROUP]));
    }
    for (size_t i = 0; placed && i < request->placement_strategy.count; i++) {
        for (size_t j = 0; j < placement_strategy_count; j++) {
            const struct ecs_placement_strategy *strategy = &request->placement_strategy.items[i];
            bool same = strategy->type == placement_strategies[j].type &&
                        text_equal(strategy->field, placement_strategies[j].field);
            counts[(size_t)ACT_SPREAD_ZONE + j] += same;
        }
    }
}

static void check_run(struct sim *sim, const struct applied *applied, int64_t after)
{
    const struct core *core = sim->server.core;
    const struct ecs_run_task_request *request = applied->request;
    const struct ecs_run_task_response *response = applied->response;
    struct question question = {.sim = sim, .core = core, .request = request};
    const struct task_record_task *last = NULL;
    char group[300];
    for (int64_t key = core_next(core, &task_kind, after); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->has_deployment) {
            continue;
        }
        snprintf(group, sizeof(group), "%.*s", TEXT_FMT(request->group));
        if (text_empty(request->group)) {
            struct text family = ecs_definition_family(core, task->definition);
            snprintf(group, sizeof(group), "family:%.*s", TEXT_FMT(family));
        }
        question.definition = definition_of(core, task->definition);
        question.group = text_of(group);
        question.cluster = task->cluster;
        question.before = key;
        question.cpu_units = task->cpu_units;
        question.memory_mib = task->memory_mib;
        check_task(&question, task);
        count_acts(sim, &question, true);
        last = task;
    }
    bool pool = request->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    bool repeated = last == NULL && response->tasks.count > 0;
    sim->churn.counts[ACT_TOKEN_AGAIN] += repeated;
    if (pool || repeated || request->network_configuration != NULL ||
        (int32_t)response->tasks.count == request->count) {
        return;
    }
    // A request that placed nothing tells nothing of sizes here: its failures say what they were.
    if (last == NULL) {
        struct core_call call = {.core = sim->server.core, .caller = applied->caller};
        AUTO(arena_deinit) struct arena arena = {0};
        call.arena = &arena;
        int64_t key = 0;
        struct task_sizes sizes;
        if (ecs_definition_resolve(&call, request->task_definition, ECS_DEFINITION_RUN, &key) !=
                0 ||
            ecs_cluster_resolve(&call, request->cluster, &question.cluster) != 0) {
            return;
        }
        question.definition = definition_of(core, key);
        if (task_sizes(question.definition, request->overrides, &sizes) != 0) {
            return;
        }
        question.cpu_units = sizes.cpu_units;
        question.memory_mib = sizes.memory_mib;
        struct text family = ecs_definition_family(core, key);
        snprintf(group, sizeof(group), text_empty(request->group) ? "family:%.*s" : "%.*s",
                 TEXT_FMT(text_empty(request->group) ? family : request->group));
        question.group = text_of(group);
    }
    question.before = INT64_MAX;
    check_refused(&question);
    count_acts(sim, &question, false);
}

void check_placed(struct sim *sim, const struct applied *applied, int64_t after)
{
    if (applied->operation == &ecs_operations[ECS_OP_RUN_TASK]) {
        check_run(sim, applied, after);
        return;
    }
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_kind, after); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->has_deployment) {
            continue;
        }
        struct question question = {
            .sim = sim,
            .core = core,
            .definition = definition_of(core, task->definition),
            .cluster = task->cluster,
            .before = key,
            .cpu_units = task->cpu_units,
            .memory_mib = task->memory_mib,
        };
        check_task(&question, task);
    }
}

// ---- choosing ---------------------------------------------------------------------------------

void placement_choose(struct sim *sim, struct run_spec *spec)
{
    static const char *const groups[] = {NULL, NULL, "tier-a", "tier-b"};
    struct world *world = &sim->world;
    spec->group = groups[world_between(world, 0, ARRAY_LEN(groups) - 1)];
    spec->distinct = world_chance(world, 300);
    for (size_t i = 0; i < RUN_EXPRESSIONS && world_chance(world, 400); i++) {
        spec->expressions[i] = (size_t)world_between(world, 1, EXPRESSION_COUNT);
    }
    for (size_t i = 0; i < RUN_STRATEGIES && world_chance(world, 600); i++) {
        spec->strategies[i] = (size_t)world_between(world, 1, (int64_t)placement_strategy_count);
    }
}
