#include "task_world.h"

#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "secrets/parameter.h"
#include "secrets/secrets.h"
#include "shape/json.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

static const struct core_module *const modules[] = {&identity_module,  &vpc_module, &secrets_module,
                                                    &parameter_module, &ecs_module, &task_module,
                                                    &service_module};

#define WEB                                                                                        \
    "{'family':'web','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256',"    \
    "'memory':'512','containerDefinitions':[{'name':'app','image':'app:1','essential':true,"       \
    "'environment':[{'name':'A','value':'1'},{'name':'B','value':'2'}],'healthCheck':{'command':"  \
    "['CMD-SHELL','true']}},{'name':'side','image':'side:1','essential':false}]}"
#define JOB                                                                                        \
    "{'family':'job','containerDefinitions':[{'name':'app','image':'app:1','cpu':100,'memory':64}" \
    "]}"

const char *world_text(const char *format, ...)
{
    static char texts[8][4096];
    static size_t next;
    char *text = texts[next % 8];
    next++;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(texts[0]), format, arguments);
    va_end(arguments);
    assert_in_range(size, 0, sizeof(texts[0]) - 1);
    return text;
}

static void write_down(void *context, const struct core_effect *effect)
{
    struct world *world = context;
    buf_format(&world->effects, "%s %.*s %s ",
               effect->kind == CORE_EFFECT_NODE    ? "NODE"
               : effect->kind == CORE_EFFECT_HOOK  ? "HOOK"
               : effect->kind == CORE_EFFECT_SCALE ? "SCALE"
                                                   : "EVENT",
               TEXT_FMT(effect->target), effect->type);
    json_encode(effect->shape, effect->message, &world->effects);
    buf_byte(&world->effects, '\n');
}

int world_setup(void **state)
{
    struct world *world = ALLOC(struct world);
    harness_init(&world->harness, modules, ARRAY_LEN(modules));
    world->harness.on_effect = write_down;
    world->harness.context = world;
    harness_contains(&world->harness, "CreateCluster", "{'clusterName':'c'}", "ACTIVE");
    harness_contains(&world->harness, "RegisterTaskDefinition", WEB, "web:1");
    harness_contains(&world->harness, "RegisterTaskDefinition", JOB, "job:1");
    harness_contains(&world->harness, "DescribeNetwork", "{}", "subnets");
    const char *at = world->harness.answer.data;
    for (size_t i = 0; i < 3; i++) {
        at = strstr(at, "\"subnetId\":\"");
        assert_non_null(at);
        at += strlen("\"subnetId\":\"");
        struct text rest = text_of(at);
        assert_int_equal(
            text_copy(text_cut(&rest, '"'), world->subnets[i], sizeof(world->subnets[i])), 0);
    }
    task_set_endpoints(world->harness.core, TEXT("http://127.0.0.1:1/"),
                       TEXT("http://127.0.0.1:2/"));
    *state = world;
    return 0;
}

int world_teardown(void **state)
{
    struct world *world = *state;
    harness_deinit(&world->harness);
    buf_deinit(&world->effects);
    alloc_free(world);
    return 0;
}

void world_as_root(struct world *world)
{
    world->harness.caller.node_id = (struct text){0};
}

void world_as_node(struct world *world, size_t node)
{
    world->harness.caller.node_id = text_of(world->nodes[node].node_id);
}

size_t world_join(struct world *world)
{
    world_as_root(world);
    size_t node = world->node_count;
    assert_in_range(node, 0, WORLD_NODES - 1);
    world->node_count++;
    harness_contains(&world->harness, "CreateJoinToken", "{}", "token");
    char token[200];
    harness_member(&world->harness, "token", token, sizeof(token));
    struct text secret = text_of(token);
    struct text id = text_cut(&secret, '.');
    harness_contains(&world->harness, "JoinNode",
                     world_text("{'tokenId':'%.*s','tokenSecret':'%.*s','name':'host-%zu'}",
                                TEXT_FMT(id), TEXT_FMT(secret), node),
                     "nodeId");
    harness_member(&world->harness, "nodeId", world->nodes[node].node_id,
                   sizeof(world->nodes[node].node_id));
    return node;
}

void world_register(struct world *world, size_t node, const char *cluster, const char *zone,
                    int cpu_units, int memory_mib)
{
    world_as_node(world, node);
    const char *target = cluster != NULL ? world_text("'cluster':'%s',", cluster) : "";
    const char *pool = cluster != NULL ? "" : ",{'name':'berth.capacity','value':'FARGATE'}";
    harness_contains(&world->harness, "RegisterContainerInstance",
                     world_text("{%s'totalResources':[{'name':'CPU','type':'INTEGER',"
                                "'integerValue':%d},{'name':'MEMORY','type':'INTEGER',"
                                "'integerValue':%d}],'attributes':[{'name':"
                                "'ecs.availability-zone','value':'%s'}," WORLD_CAPABILITIES "%s]}",
                                target, cpu_units, memory_mib, zone, pool),
                     "'containerInstanceArn'");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_as_root(world);
}

void world_connect(struct world *world, size_t node)
{
    world_as_node(world, node);
    world->nodes[node].session++;
    harness_expect(&world->harness, "NodeConnect",
                   world_text("{'session':%lld,'containerInstanceArn':'%s','berthAgent':true,"
                              "'agentVersion':'0.1.0'}",
                              (long long)world->nodes[node].session, world->nodes[node].instance),
                   "{'leaseMs':3000}");
    world_as_root(world);
}

size_t world_pool_node(struct world *world, const char *zone, int cpu_units, int memory_mib)
{
    size_t node = world_join(world);
    world_register(world, node, NULL, zone, cpu_units, memory_mib);
    world_connect(world, node);
    return node;
}

void world_beat(struct world *world, size_t node)
{
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeBeat", "{}", "{}");
    world_as_root(world);
}

void world_run(struct world *world, size_t subnet, const char *members)
{
    harness_contains(
        &world->harness, "RunTask",
        world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE',%s" WORLD_NETWORK
                   "}",
                   members, world->subnets[subnet]),
        "'taskArn'");
    harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
}

void world_submit(struct world *world, size_t node, const char *status, const char *members)
{
    world_as_node(world, node);
    harness_expect(&world->harness, "SubmitTaskStateChange",
                   world_text("{'task':'%s','status':'%s'%s}", world->task, status, members),
                   "{'acknowledgment':'ACCEPT'}");
    world_as_root(world);
}

void world_ack(struct world *world, size_t node)
{
    world_as_node(world, node);
    char needle[80];
    snprintf(needle, sizeof(needle), "NODE %s PayloadMessage {\"messageId\":\"",
             world->nodes[node].node_id);
    char *copy = alloc_format("%s", world->effects.data == NULL ? "" : world->effects.data);
    for (const char *at = strstr(copy, needle); at != NULL; at = strstr(at, needle)) {
        at += strlen(needle);
        struct text rest = text_of(at);
        struct text id = text_cut(&rest, '"');
        harness_expect(&world->harness, "NodeAck", world_text("{'messageId':'%.*s'}", TEXT_FMT(id)),
                       "{}");
    }
    alloc_free(copy);
    world_as_root(world);
}

void world_task_has(struct world *world, const char *want)
{
    harness_contains(&world->harness, "DescribeTasks",
                     world_text("{'cluster':'c','tasks':['%s'],'include':['TAGS']}", world->task),
                     want);
}

static bool effect_has(const struct world *world, const char *want)
{
    char quoted[2048];
    size_t size = strlen(want);
    assert_in_range(size, 1, sizeof(quoted) - 1);
    for (size_t i = 0; i <= size; i++) {
        quoted[i] = want[i] == '\'' ? '"' : want[i];
    }
    return world->effects.data != NULL && strstr(world->effects.data, quoted) != NULL;
}

void world_effect(struct world *world, const char *want)
{
    if (!effect_has(world, want)) {
        fail_msg("no effect has %s:\n%s", want,
                 world->effects.data == NULL ? "" : world->effects.data);
    }
}

void world_no_effect(struct world *world, const char *unwanted)
{
    if (effect_has(world, unwanted)) {
        fail_msg("an effect has %s:\n%s", unwanted, world->effects.data);
    }
}

void world_forget(struct world *world)
{
    buf_reset(&world->effects);
    if (world->effects.data != NULL) {
        world->effects.data[0] = '\0';
    }
}
