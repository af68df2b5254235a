#include "sim.h"

#include "api/task_record.h"
#include "base/text.h"
#include "shape/json.h"
#include "shape/shape.h"

#include <stdio.h>
#include <string.h>

/*
 * The person: makes a cluster and definitions, then runs, stops and looks at tasks, and asks again
 * when there was no answer.
 */

#define RETRY_MS 700
#define ATTEMPT_MAX 6

// An apostrophe stands for a quotation mark.
static const char *const definitions[] = {
    "{'family':'web','cpu':'256','memory':'512','containerDefinitions':[{'name':'app','image':"
    "'app:1','essential':true,'healthCheck':{'command':['CMD-SHELL','true'],'interval':5,'retries'"
    ":2}},{'name':'side','image':'stubborn:1','essential':false,'stopTimeout':3}]}",
    "{'family':'job','cpu':'256','memory':'512','containerDefinitions':[{'name':'job','image':"
    "'job:1','essential':true,'stopTimeout':5}]}",
    "{'family':'stubborn','cpu':'512','memory':'1024','containerDefinitions':[{'name':'app',"
    "'image':'stubborn:1','essential':true,'stopTimeout':2}]}",
    "{'family':'broken','cpu':'256','memory':'512','containerDefinitions':[{'name':'app','image':"
    "'broken:1','essential':true},{'name':'side','image':'broken:2','essential':false}]}",
    "{'family':'missing','cpu':'256','memory':'512','containerDefinitions':[{'name':'app','image':"
    "'app:1','essential':true},{'name':'gone','image':'missing:1','essential':false}]}",
    "{'family':'chain','cpu':'512','memory':'1024','containerDefinitions':[{'name':'init','image':"
    "'job:ok','essential':false},{'name':'app','image':'app:1','essential':true,'dependsOn':["
    "{'containerName':'init','condition':'SUCCESS'}],'stopTimeout':10}]}",
    "{'family':'sick','cpu':'256','memory':'512','containerDefinitions':[{'name':'app','image':"
    "'sick:1','essential':true,'healthCheck':{'command':['CMD-SHELL','true'],'interval':5,"
    "'retries':1}}]}",
    "{'family':'again','cpu':'256','memory':'512','containerDefinitions':[{'name':'app','image':"
    "'again:1','essential':true,'stopTimeout':2,'restartPolicy':{'enabled':true,'ignoredExitCodes':"
    "[3],'restartAttemptPeriod':60}},{'name':'side','image':'again:2','essential':false,"
    "'stopTimeout':2,'restartPolicy':{'enabled':true,'restartAttemptPeriod':60}},{'name':'third',"
    "'image':'app:1','essential':false,'stopTimeout':2}]}",
    "{'family':'plain','containerDefinitions':[{'name':'app','image':'app:1','cpu':300,'memory':"
    "200,'stopTimeout':2}]}",
    "{'family':'port','containerDefinitions':[{'name':'app','image':'app:1','cpu':64,'memory':"
    "64,'portMappings':[{'containerPort':80,'hostPort':8080}]}]}",
    "{'family':'ports','containerDefinitions':[{'name':'app','image':'app:1','cpu':64,'memory':"
    "64,'portMappings':[{'containerPort':53,'hostPort':8080,'protocol':'udp'},"
    "{'containerPort':53,'hostPort':9090}]}]}",
    "{'family':'gpu','containerDefinitions':[{'name':'app','image':'job:1','cpu':64,'memory':"
    "64,'resourceRequirements':[{'type':'GPU','value':'1'}]}]}",
    "{'family':'picky','placementConstraints':[{'type':'memberOf','expression':"
    "'attribute:rack in [r1, r2]'}],'containerDefinitions':[{'name':'app','image':'job:1',"
    "'cpu':64,'memory':64}]}",
};

// ---- setting up -----------------------------------------------------------------------------

struct setup {
    bool done;
};

static void on_setup(struct call *call)
{
    struct setup *setup = call->context;
    setup->done = true;
    if (call->rc != 0) {
        world_fail(&call->sim->world, "%s is refused: %s", call->operation->name, call->fault_text);
    }
}

// Call and wait; there are no faults yet. @return the response, NULL after a failure
static const void *ask(struct sim *sim, const struct api_operation *operation, const void *request,
                       bool stranger)
{
    struct setup setup = {false};
    call_begin(sim, &(struct call_options){.operation = operation,
                                           .request = request,
                                           .done = on_setup,
                                           .context = &setup,
                                           .stranger = stranger});
    const struct call *call = sim->calls;
    while (!setup.done && world_step(&sim->world)) {
        check_step(sim);
    }
    return call->response;
}

const void *workload_ask(struct sim *sim, const struct api_operation *operation, const char *json,
                         bool stranger)
{
    AUTO(arena_deinit) struct arena arena = {0};
    size_t size = strlen(json);
    char *text = arena_alloc(&arena, size + 1);
    for (size_t i = 0; i < size; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    void *request = arena_alloc(&arena, operation->input->size_bytes);
    struct shape_error error = {0};
    if (json_decode(operation->input, (struct text){text, size}, &arena, request, &error) != 0) {
        world_fail(&sim->world, "%s: %s %s", operation->name, error.path, error.text);
        return NULL;
    }
    return ask(sim, operation, request, stranger);
}

static void define(struct sim *sim, const char *json, bool stranger)
{
    const struct api_operation *operation = &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION];
    AUTO(buf_deinit) struct buf full = {0};
    // Those that say nothing of a network are for instances only.
    bool plain = strstr(json, "'cpu':'") == NULL;
    buf_format(&full, "{%s%s",
               plain ? "" : "'networkMode':'awsvpc','requiresCompatibilities':['FARGATE','EC2'],",
               json + 1);
    workload_ask(sim, operation, full.data, stranger);
}

void workload_setup(struct sim *sim, bool hours)
{
    const struct api_operation *create = &ecs_operations[ECS_OP_CREATE_CLUSTER];
    workload_ask(sim, create,
                 "{'clusterName':'default','capacityProviders':['FARGATE','FARGATE_SPOT']}", false);
    workload_ask(sim, create,
                 "{'clusterName':'edge','capacityProviders':['FARGATE','FARGATE_SPOT']}", false);
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        define(sim, definitions[i], false);
    }
    const struct berth_describe_network_response *network =
        workload_ask(sim, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], "{}", false);
    snprintf(sim->workload.group, sizeof(sim->workload.group), "%.*s",
             TEXT_FMT(network == NULL ? TEXT("") : network->security_group_id));
    for (size_t i = 0; network != NULL && i < network->subnets.count && i < 3; i++) {
        snprintf(sim->workload.subnets[i], sizeof(sim->workload.subnets[i]), "%.*s",
                 TEXT_FMT(network->subnets.items[i].subnet_id));
    }
    churn_setup(sim);
    services_setup(sim, hours);
    if (sim->churn.stranger) {
        define(sim, definitions[1], true);
    }
    int64_t count = world_between(&sim->world, 2, 5);
    for (int64_t i = 0; i < count; i++) {
        workload_join(sim, &sim->nodes[sim->node_count]);
    }
}

// ---- hosts that come and go -----------------------------------------------------------------

static void begin_join(struct node *node);

static void on_join_again(void *context, void *payload)
{
    (void)payload;
    begin_join(context);
}

static void join_again(struct node *node)
{
    world_post(&node->sim->world,
               &(struct world_event){.delay_ms = RETRY_MS, .run = on_join_again, .context = node});
}

static void on_joined(struct call *call)
{
    struct node *node = call->context;
    if (call->rc != 0) {
        join_again(node); // with a new token: the old one may be used up
        return;
    }
    const struct berth_join_node_response *response = call->response;
    snprintf(node->node_id, sizeof(node->node_id), "%.*s", TEXT_FMT(response->node_id));
    snprintf(node->key_id, sizeof(node->key_id), "%.*s", TEXT_FMT(response->access_key_id));
    world_trace(&node->sim->world, "%s has joined as %s", node->name, node->node_id);
    node->joined = true;
    node_boot(node);
}

static void on_token(struct call *call)
{
    struct node *node = call->context;
    if (call->rc != 0) {
        join_again(node);
        return;
    }
    const struct berth_create_join_token_response *response = call->response;
    struct text secret = response->token;
    struct text id = text_cut(&secret, '.');
    const struct berth_join_node_request request = {
        .token_id = id, .token_secret = secret, .name = text_of(node->name)};
    call_begin(node->sim, &(struct call_options){
                              .operation = &berth_operations[BERTH_OP_JOIN_NODE],
                              .request = &request,
                              .done = on_joined,
                              .context = node,
                          });
}

static void begin_join(struct node *node)
{
    const struct berth_create_join_token_request request = {0};
    call_begin(node->sim, &(struct call_options){
                              .operation = &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN],
                              .request = &request,
                              .done = on_token,
                              .context = node,
                          });
}

void workload_join(struct sim *sim, struct node *node)
{
    static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "eu-west-1c",
                                        "eu-west-1a,eu-west-1b,eu-west-1c"};
    static const int32_t sizes[] = {1024, 2048, 4096, 8192};
    ASSERT(sim->node_count < SIM_NODE_MAX);
    node->sim = sim;
    node->index = sim->node_count++;
    snprintf(node->name, sizeof(node->name), "node%zu", node->index);
    node->zone = zones[world_between(&sim->world, 0, ARRAY_LEN(zones) - 1)];
    node->cpu_units = sizes[world_between(&sim->world, 0, ARRAY_LEN(sizes) - 1)];
    node->memory_mib = 2 * node->cpu_units;
    node->gpu_count = world_chance(&sim->world, 400) ? 2 : 0;
    node->reserves = world_chance(&sim->world, 200);
    static const int permille[] = {1000, 1000, 0, 500};
    node->pool_permille = permille[world_between(&sim->world, 0, ARRAY_LEN(permille) - 1)];
    if (sim->services.spot && world_chance(&sim->world, 600)) {
        node->pool_permille = 1000;
    }
    static const enum spot spots[] = {SPOT_NONE, SPOT_NONE, SPOT_BOTH, SPOT_BOTH, SPOT_ONLY};
    node->spot = spots[world_between(&sim->world, 0, ARRAY_LEN(spots) - 1)];
    node->journal = sim_journal_new();
    begin_join(node);
}

static void on_remove_again(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    workload_remove(node->sim, node);
}

static void on_removed(struct call *call)
{
    struct node *node = call->context;
    // What was not found was removed by an attempt whose answer got lost.
    node->removed = call->rc == 0 || call->rc == ERR_FAULT;
    if (!node->removed) {
        world_post(
            &node->sim->world,
            &(struct world_event){.delay_ms = RETRY_MS, .run = on_remove_again, .context = node});
    }
}

void workload_remove(struct sim *sim, struct node *node)
{
    if (node->removed) {
        return;
    }
    const struct berth_remove_node_request request = {
        .node_id = text_of(node->node_id), .has_force = true, .force = true};
    call_begin(sim, &(struct call_options){
                        .operation = &berth_operations[BERTH_OP_REMOVE_NODE],
                        .request = &request,
                        .done = on_removed,
                        .context = node,
                    });
}

// ---- stopping and looking ------------------------------------------------------------------

static void stop(struct sim *sim, const char *id, int64_t attempt);

struct stop_again {
    char id[SIM_ID_CHARS];
    int64_t attempt;
};

static void on_stop_again(void *context, void *payload)
{
    const struct stop_again *again = payload;
    stop(context, again->id, again->attempt);
}

static void on_stopped(struct call *call)
{
    struct sim *sim = call->sim;
    if (call->rc == ERR_FAULT) {
        const struct fact *fact = fact_find(sim, text_of(call->id));
        if (fact != NULL && fact->run_acknowledged && !fact->reaped &&
            strcmp(fact->cluster, "edge") != 0) {
            world_fail(&sim->world, "StopTask is refused: %s", call->fault_text);
        }
        return;
    }
    if (call->rc != 0 && call->number < ATTEMPT_MAX) {
        struct stop_again *again = ALLOC(struct stop_again);
        memcpy(again->id, call->id, sizeof(again->id));
        again->attempt = call->number + 1;
        world_post(&sim->world, &(struct world_event){.delay_ms = RETRY_MS,
                                                      .run = on_stop_again,
                                                      .context = sim,
                                                      .payload = again});
    }
}

static void stop(struct sim *sim, const char *id, int64_t attempt)
{
    const struct fact *fact = fact_find(sim, text_of(id));
    const struct ecs_stop_task_request request = {
        .task = text_of(id), .cluster = text_of(fact->cluster), .reason = TEXT("enough of it")};
    call_begin(sim, &(struct call_options){
                        .operation = &ecs_operations[ECS_OP_STOP_TASK],
                        .stranger = fact->stranger,
                        .request = &request,
                        .done = on_stopped,
                        .context = sim,
                        .number = attempt,
                        .id = text_of(id),
                    });
}

static void on_described(struct call *call)
{
    (void)call; // what it showed is in the facts
}

static void describe(struct sim *sim, const char *id)
{
    struct text tasks[] = {text_of(id)};
    const struct fact *fact = fact_find(sim, text_of(id));
    const struct ecs_describe_tasks_request request = {.tasks = {.items = tasks, .count = 1},
                                                       .cluster = text_of(fact->cluster)};
    call_begin(sim, &(struct call_options){
                        .operation = &ecs_operations[ECS_OP_DESCRIBE_TASKS],
                        .stranger = fact->stranger,
                        .request = &request,
                        .done = on_described,
                        .context = sim,
                        .id = text_of(id),
                    });
}

// Mostly a young task: those are in transition.
static const struct fact *choose(struct sim *sim)
{
    size_t count = sim->facts.count;
    if (count == 0) {
        return NULL;
    }
    size_t window = world_chance(&sim->world, 600) ? MIN(count, (size_t)4) : count;
    size_t back = (size_t)world_between(&sim->world, 1, (int64_t)window);
    return sim->facts.items[count - back];
}

static void on_turn(void *context, void *payload)
{
    (void)payload;
    struct sim *sim = context;
    struct world *world = &sim->world;
    const struct fact *fact = choose(sim);
    int64_t what = world_between(world, 0, 99);
    if (what < 45 || fact == NULL) {
        if (!sim->services.alone) {
            runs_new(sim);
        }
    } else if (what < 85) {
        stop(sim, fact->id, 1);
        groups_touch(sim, fact);
    } else {
        describe(sim, fact->id);
    }
    int64_t most_ms = world_chance(world, 400) ? 60 : 3000;
    world_post(world, &(struct world_event){
                          .delay_ms = world_between(world, 0,
                                                    sim->services.hours ? 100 * most_ms : most_ms),
                          .life = &sim->workload.life,
                          .run = on_turn,
                          .context = sim,
                      });
}

void workload_begin(struct sim *sim)
{
    world_post(&sim->world,
               &(struct world_event){
                   .delay_ms = 100, .life = &sim->workload.life, .run = on_turn, .context = sim});
}

void workload_stop_all(struct sim *sim)
{
    world_trace(&sim->world, "everything is to stop");
    for (size_t i = 0; i < sim->facts.count; i++) {
        const struct fact *fact = sim->facts.items[i];
        if (fact->durable && fact->durable_desired == (int)TASK_RECORD_TASK_STATUS_RUNNING) {
            stop(sim, fact->id, 1);
        }
    }
}
