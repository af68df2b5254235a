#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service.h"
#include "ecs/task_internal.h"
#include "shape/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * People who make, change and delete services. Nothing is asked again when there was no answer:
 * what came of it is looked at in the engine.
 */

#define NAMES 5

// An apostrophe stands for a quotation mark. Sizes are small, so that several fit a host.
static const char *const definitions[] = {
    "{'family':'s-app','cpu':'256','memory':'512','networkMode':'awsvpc','requiresCompatibilities':"
    "['FARGATE','EC2'],'containerDefinitions':[{'name':'app','image':'app:1','essential':true,"
    "'stopTimeout':3}]}",
    "{'family':'s-check','cpu':'256','memory':'512','networkMode':'awsvpc',"
    "'requiresCompatibilities':['FARGATE','EC2'],'containerDefinitions':[{'name':'app','image':"
    "'app:1','essential':true,'stopTimeout':2,'healthCheck':{'command':['CMD-SHELL','true'],"
    "'interval':5,'retries':2}},{'name':'side','image':'stubborn:1','essential':false,"
    "'stopTimeout':2}]}",
    "{'family':'s-sick','cpu':'256','memory':'512','networkMode':'awsvpc',"
    "'requiresCompatibilities':['FARGATE','EC2'],'containerDefinitions':[{'name':'app','image':"
    "'sick:1','essential':true,'stopTimeout':2,'healthCheck':{'command':['CMD-SHELL','true'],"
    "'interval':5,'retries':1}}]}",
    "{'family':'s-plain','containerDefinitions':[{'name':'app','image':'app:1','cpu':100,'memory':"
    "100,'stopTimeout':2}]}",
    "{'family':'s-check-plain','containerDefinitions':[{'name':'app','image':'app:1','cpu':100,"
    "'memory':100,'stopTimeout':2,'healthCheck':{'command':['CMD-SHELL','true'],'interval':5,"
    "'retries':1}}]}",
    "{'family':'s-slow','cpu':'256','memory':'512','networkMode':'awsvpc',"
    "'requiresCompatibilities':['FARGATE','EC2'],'containerDefinitions':[{'name':'app','image':"
    "'stubborn:1','essential':true,'stopTimeout':120}]}",
    "{'family':'s-crash','containerDefinitions':[{'name':'app','image':'job:1','cpu':64,'memory':"
    "64}]}",
    "{'family':'s-missing','containerDefinitions':[{'name':'app','image':'missing:1','cpu':64,"
    "'memory':64}]}",
};

// Those that are for Fargate too, then those of instances alone; the last two never work.
static const char *const families[] = {"s-app",         "s-check", "s-sick",   "s-plain",
                                       "s-check-plain", "s-crash", "s-missing"};
#define WITH_NETWORK 3
#define WORKING 5

bool services_restless(const struct core *core, int64_t definition)
{
    struct text family = ecs_definition_family(core, definition);
    return text_is(family, "s-crash") || text_is(family, "s-missing");
}

// ---- asking -------------------------------------------------------------------------------------

// What may be refused, as somebody else was faster.
static void on_answer(struct call *call)
{
    static const char *const texts[] = {
        "Creation of service was not idempotent.",
        "Service not found.",
        "Service was not ACTIVE.",
        "Cluster not found.",
        "The service cannot be stopped while it is scaled above 0.",
        "The service cannot be stopped while deployments are active.",
        // It was deleted and made anew, with another network:
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        "Network Configuration is not valid for the given networkMode of this task definition.",
        "Task definition does not support launch_type FARGATE.", // or another launch type
        "TaskSet not found.",
        // A cluster that was made anew has none:
        ("The specified capacity provider strategy contains a capacity provider that is not "
         "associated with the cluster. Associate the capacity provider with the cluster and try "
         "again."),
        "Service deployment not found.",
        "The service deployment has ended and cannot be stopped.",
        "The service deployment has no lifecycle hook with that hookId that is awaiting an action.",
        ("5 deployments exist on the service. Unable to create new TaskSet since this exceeds the "
         "maximum limit."),
        "The task set is DRAINING. Create another one and try again.",
    };
    bool gone = call->fault == &ecs_error_target_not_found_exception; // deregistered meanwhile
    for (size_t i = 0; call->rc == ERR_FAULT && i < ARRAY_LEN(texts); i++) {
        if (gone || strcmp(call->fault_text, texts[i]) == 0) {
            call->sim->churn.counts[ACT_SERVICE_REFUSED]++;
            return;
        }
    }
    if (call->rc == ERR_FAULT) {
        world_fail(&call->sim->world, "%s is refused: %s", call->operation->name, call->fault_text);
    }
}

void services_ask(struct sim *sim, enum ecs_operation number, const char *format, ...)
{
    const struct api_operation *operation = &ecs_operations[number];
    AUTO(arena_deinit) struct arena arena = {0};
    va_list arguments;
    char json[2048];
    va_start(arguments, format);
    vsnprintf(json, sizeof(json), format, arguments);
    va_end(arguments);
    for (char *at = json; *at != '\0'; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    void *request = arena_alloc(&arena, operation->input->size_bytes);
    struct shape_error error = {0};
    if (json_decode(operation->input, text_of(json), &arena, request, &error) != 0) {
        world_fail(&sim->world, "%s: %s %s", operation->name, error.path, error.text);
        return;
    }
    call_begin(
        sim, &(struct call_options){.operation = operation, .request = request, .done = on_answer});
}

static void choose_key(struct sim *sim, int64_t key, struct chosen *out_chosen)
{
    const struct core *core = sim->server.core;
    const struct service_record_service *record = core_get(core, &service_kind, key);
    const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, record->cluster);
    const struct service_record_deployment *primary =
        core_get(core, &service_deployment_kind, record->primary);
    const struct service_record_revision *revision =
        primary == NULL ? NULL : core_get(core, &service_revision_kind, primary->revision);
    *out_chosen = (struct chosen){.key = key, .record = record};
    out_chosen->network = revision != NULL && revision->network_configuration != NULL;
    snprintf(out_chosen->name, sizeof(out_chosen->name), "%.*s", TEXT_FMT(record->name));
    snprintf(out_chosen->cluster, sizeof(out_chosen->cluster), "%.*s", TEXT_FMT(cluster->name));
}

// One that is ACTIVE; now and then one that was deleted.
static bool choose(struct sim *sim, struct chosen *out_chosen)
{
    const struct core *core = sim->server.core;
    int64_t count = 0;
    for (int64_t key = core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        const struct service_record_service *record = core_get(core, &service_kind, key);
        bool active = record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE;
        if (!active && !world_chance(&sim->world, 50)) {
            continue;
        }
        count++;
        if (world_between(&sim->world, 1, count) == 1) {
            choose_key(sim, key, out_chosen);
        }
    }
    return count > 0;
}

const char *services_family(struct sim *sim, bool network)
{
    struct world *world = &sim->world;
    int64_t first = network ? 0 : WITH_NETWORK;
    int64_t last = network ? WITH_NETWORK - 1 : WORKING - 1;
    if (!network && world_chance(world, 350)) {
        return families[world_between(world, WORKING, ARRAY_LEN(families) - 1)];
    }
    bool slow = network && sim->services.spot && world_chance(world, 250);
    return slow ? "s-slow" : families[world_between(world, first, last)];
}

// ---- what is asked ------------------------------------------------------------------------------

static void configuration(struct sim *sim, char *out, size_t size_bytes)
{
    static const struct {
        int minimum;
        int maximum;
    } percents[] = {{0, 100},  {0, 200},   {50, 100},  {50, 150},
                    {25, 125}, {100, 150}, {100, 200}, {100, 200}};
    struct world *world = &sim->world;
    size_t i = (size_t)world_between(world, 0, ARRAY_LEN(percents) - 1);
    snprintf(out, size_bytes,
             "'deploymentConfiguration':{'minimumHealthyPercent':%d,'maximumPercent':%d,"
             "'deploymentCircuitBreaker':{'enable':%s,'rollback':%s}}",
             percents[i].minimum, percents[i].maximum, world_chance(world, 600) ? "true" : "false",
             world_chance(world, 600) ? "true" : "false");
}

void services_network(struct sim *sim, char *out, size_t size_bytes)
{
    bool group = sim->groups.active && world_chance(&sim->world, 500);
    snprintf(out, size_bytes,
             ",'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s','%s','%s']%s%s%s}}",
             sim->workload.subnets[0], sim->workload.subnets[1], sim->workload.subnets[2],
             group ? ",'securityGroups':['" : "", group ? sim->workload.group : "",
             group ? "']" : "");
}

static void create_replica(struct sim *sim)
{
    static const char *const placements[] = {
        "",
        ",'placementConstraints':[{'type':'distinctInstance'}]",
        ",'placementStrategy':[{'type':'spread','field':'attribute:ecs.availability-zone'}]",
        ",'placementStrategy':[{'type':'binpack','field':'cpu'}]",
        ",'placementStrategy':[{'type':'random'}]",
    };
    struct world *world = &sim->world;
    char network[400] = "";
    char settings[300];
    char grace[64] = "";
    configuration(sim, settings, sizeof(settings));
    bool awsvpc = sim->services.spot || world_chance(world, 400);
    bool fargate = awsvpc && world_chance(world, sim->services.spot ? 900 : 700);
    if (awsvpc) {
        services_network(sim, network, sizeof(network));
    }
    if (world_chance(world, 300)) {
        snprintf(grace, sizeof(grace), ",'healthCheckGracePeriodSeconds':%d",
                 (int)world_between(world, 1, 30));
    }
    char capacity[200];
    snprintf(capacity, sizeof(capacity), "'launchType':'%s'", fargate ? "FARGATE" : "EC2");
    if (fargate && world_chance(world, 500)) {
        spot_strategy(sim, capacity, sizeof(capacity));
    }
    size_t placement = fargate || world_chance(world, 500) ? 0 : (size_t)world_between(world, 1, 4);
    services_ask(sim, ECS_OP_CREATE_SERVICE,
                 "{'serviceName':'s%d','cluster':'%s','taskDefinition':'%s','desiredCount':%d,"
                 "%s,%s%s%s%s}",
                 (int)world_between(world, 0, NAMES - 1),
                 world_chance(world, 60) ? "edge" : "default", services_family(sim, awsvpc),
                 (int)world_between(world, 0, world_chance(world, 150) ? 8 : 4), capacity, settings,
                 network, grace, placements[placement]);
}

static void create(struct sim *sim)
{
    int64_t which = world_between(&sim->world, 0, 99);
    enum service_sort sort = which < 12   ? SORT_DAEMON
                             : which < 24 ? SORT_SETS
                             : which < 40 ? SORT_STAGED
                                          : SORT_REPLICA;
    switch (world_chance(&sim->world, 700) ? sim->services.favourite : sort) {
    case SORT_DAEMON:
        kinds_create_daemon(sim);
        return;
    case SORT_SETS:
        kinds_create_sets(sim);
        return;
    case SORT_STAGED:
        kinds_create_staged(sim);
        return;
    case SORT_REPLICA:
        create_replica(sim);
        return;
    }
}

static void change_definition(struct sim *sim, const struct chosen *chosen)
{
    struct world *world = &sim->world;
    int times = world_chance(world, 200) ? 3 : 1; // several in a row
    for (int i = 0; i < times; i++) {
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','taskDefinition':'%s'}", chosen->name,
                     chosen->cluster, services_family(sim, chosen->network));
    }
}

// A task of a service, by which it is protected or freed.
static void protect(struct sim *sim)
{
    const struct core *core = sim->server.core;
    const struct task_record_task *task = NULL;
    int64_t count = 0;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *record = core_get(core, &task_kind, key);
        if (record->has_deployment && record->last_status <= TASK_RECORD_TASK_STATUS_RUNNING &&
            world_between(&sim->world, 1, ++count) == 1) {
            task = record;
        }
    }
    if (task == NULL) {
        return;
    }
    const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, task->cluster);
    services_ask(sim, ECS_OP_UPDATE_TASK_PROTECTION,
                 "{'cluster':'%.*s','tasks':['%.*s'],'protectionEnabled':%s,'expiresInMinutes':%d}",
                 TEXT_FMT(cluster->name), TEXT_FMT(task->task_id),
                 world_chance(&sim->world, 800) ? "true" : "false",
                 (int)world_between(&sim->world, 1, 2));
}

static void change_existing(struct sim *sim, enum change change, const struct chosen *chosen)
{
    struct world *world = &sim->world;
    char settings[300];
    if (service_sort(chosen->record) == SORT_DAEMON) {
        kinds_change_daemon(sim, change, chosen);
        return;
    }
    if (service_sort(chosen->record) == SORT_SETS) {
        kinds_change_sets(sim, change, chosen);
        return;
    }
    if (service_sort(chosen->record) == SORT_STAGED && kinds_change_staged(sim, change, chosen)) {
        return;
    }
    switch (change) {
    case CHANGE_DEFINITION:
        change_definition(sim, chosen);
        return;
    case CHANGE_COUNT:
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','desiredCount':%d}", chosen->name,
                     chosen->cluster, (int)world_between(world, 0, 5));
        return;
    case CHANGE_CONFIGURATION:
        configuration(sim, settings, sizeof(settings));
        services_ask(sim, ECS_OP_UPDATE_SERVICE, "{'service':'%s','cluster':'%s',%s}", chosen->name,
                     chosen->cluster, settings);
        return;
    case CHANGE_FORCE:
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','forceNewDeployment':true}", chosen->name,
                     chosen->cluster);
        return;
    case CHANGE_DELETE:
        services_ask(sim, ECS_OP_DELETE_SERVICE, "{'service':'%s','cluster':'%s','force':%s}",
                     chosen->name, chosen->cluster, world_chance(world, 400) ? "true" : "false");
        return;
    case CHANGE_CREATE:
    case CHANGE_PROTECT:
    case CHANGE_SPOT:
    case CHANGE_COUNT_OF:
        return;
    }
}

static enum change next_change(struct sim *sim)
{
    int total = 0;
    for (size_t i = 0; i < CHANGE_COUNT_OF; i++) {
        total += sim->services.weights[i];
    }
    int64_t at = world_between(&sim->world, 0, total - 1);
    size_t change = 0;
    while (at >= sim->services.weights[change]) {
        at -= sim->services.weights[change];
        change++;
    }
    return (enum change)change;
}

static void on_turn(void *context, void *payload)
{
    (void)payload;
    struct sim *sim = context;
    struct chosen chosen;
    bool room = sim->services.watch_count + 2 < SERVICE_WATCH_MAX &&
                sim->services.deployment_count + 20 < DEPLOYMENT_WATCH_MAX;
    if (sim->server.core != NULL && room) {
        enum change change = next_change(sim);
        bool any = choose(sim, &chosen);
        if (change == CHANGE_CREATE || !any) {
            create(sim);
        } else if (change == CHANGE_PROTECT) {
            protect(sim);
        } else if (change == CHANGE_SPOT) {
            spot_wave(sim);
        } else {
            change_existing(sim, change, &chosen);
        }
    }
    world_post(&sim->world, &(struct world_event){
                                .delay_ms = world_between(&sim->world, 0, sim->services.pause_ms),
                                .life = &sim->services.life,
                                .run = on_turn,
                                .context = sim});
}

// ---- when ---------------------------------------------------------------------------------------

// What else there is once in seconds, is there once in minutes.
static void take_hours(struct sim *sim)
{
    struct world *world = &sim->world;
    sim->services.hours = true;
    sim->services.pause_ms = world_between(world, 20000, 240000);
    sim->churn.pause_ms = world_between(world, 60000, 400000);
    sim->faults.pause_ms = world_between(world, 30000, 400000);
    sim->faults.crash_permille /= 20;
    sim->faults.time_ms = world_between(world, 3600000, 2 * 3600000);
    sim->server.retention_ms = world_between(world, 60, 600) * 1000;
    task_set_retention_ms(sim->server.core, sim->server.retention_ms);
}

void services_setup(struct sim *sim, bool hours)
{
    static const int usual[CHANGE_COUNT_OF] = {
        [CHANGE_CREATE] = 20,        [CHANGE_DEFINITION] = 30, [CHANGE_COUNT] = 20,
        [CHANGE_CONFIGURATION] = 10, [CHANGE_FORCE] = 15,      [CHANGE_PROTECT] = 10,
        [CHANGE_DELETE] = 6,         [CHANGE_SPOT] = 8,
    };
    struct services *services = &sim->services;
    services->active = world_chance(&sim->world, 400) || hours;
    if (!services->active) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        workload_ask(sim, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], definitions[i], false);
    }
    services->alone = world_chance(&sim->world, 500);
    services->weights[CHANGE_CREATE] = usual[CHANGE_CREATE];
    for (size_t i = CHANGE_CREATE + 1; i < CHANGE_COUNT_OF; i++) {
        services->weights[i] = world_chance(&sim->world, 700) ? usual[i] : 0;
    }
    services->pause_ms = world_chance(&sim->world, 500) ? 4000 : 16000;
    static const enum service_sort sorts[] = {SORT_REPLICA, SORT_REPLICA, SORT_REPLICA,
                                              SORT_DAEMON,  SORT_SETS,    SORT_STAGED};
    services->favourite = sorts[world_between(&sim->world, 0, ARRAY_LEN(sorts) - 1)];
    services->spot = services->favourite == SORT_REPLICA && world_chance(&sim->world, 300);
    if (services->spot) {
        services->weights[CHANGE_SPOT] = 40;
    }
    if (services->favourite == SORT_STAGED) {
        sim->faults.time_ms = world_between(&sim->world, 100000, 300000); // stages take minutes
        services->pause_ms = 16000;
    }
    static const int64_t settles_ms[] = {0, 1000, 3000, 8000};
    services->settle_ms = settles_ms[world_between(&sim->world, 0, ARRAY_LEN(settles_ms) - 1)];
    if (services->settle_ms != 0) {
        service_set_settle_ms(sim->server.core, services->settle_ms);
    }
    if (hours || world_chance(&sim->world, 10)) {
        take_hours(sim);
    }
}

void services_begin(struct sim *sim)
{
    if (sim->services.active) {
        world_post(&sim->world, &(struct world_event){.delay_ms = 120,
                                                      .life = &sim->services.life,
                                                      .run = on_turn,
                                                      .context = sim});
        hooks_begin(sim);
    }
}

// Most of them: of those that go on draining, what services have there must leave.
static void activate_most(struct sim *sim)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count; i++) {
            const struct task_record_membership *membership = &node->memberships.items[i];
            if (world_chance(&sim->world, 400) || !membership->draining ||
                membership->deregistered_at != 0 || !membership->has_cluster) {
                continue;
            }
            const struct ecs_record_cluster *cluster =
                core_get(core, &ecs_cluster_kind, membership->cluster);
            services_ask(sim, ECS_OP_UPDATE_CONTAINER_INSTANCES_STATE,
                         "{'cluster':'%.*s','containerInstances':['%.*s'],'status':'ACTIVE'}",
                         TEXT_FMT(cluster->name), TEXT_FMT(membership->instance_id));
        }
    }
}

static void mend(struct sim *sim, const struct chosen *chosen)
{
    bool counted = service_sort(chosen->record) != SORT_DAEMON;
    if (counted && world_chance(&sim->world, 500)) {
        services_ask(sim, ECS_OP_UPDATE_SERVICE, "{'service':'%s','cluster':'%s','desiredCount':0}",
                     chosen->name, chosen->cluster);
    } else if (world_chance(&sim->world, 700)) {
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','taskDefinition':'s-plain'}", chosen->name,
                     chosen->cluster);
    }
}

void services_calm(struct sim *sim)
{
    const struct core *core = sim->server.core;
    sim->services.life++;
    if (!sim->services.active || core == NULL) {
        return;
    }
    activate_most(sim);
    spot_calm(sim);
    for (int64_t key = core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        struct chosen chosen;
        choose_key(sim, key, &chosen);
        if (chosen.record->status != SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
            continue;
        }
        const struct service_record_deployment *primary =
            core_get(core, &service_deployment_kind, chosen.record->primary);
        if (primary == NULL) {
            continue; // it has task sets, and none of them is
        }
        const struct service_record_revision *revision =
            core_get(core, &service_revision_kind, primary->revision);
        if (services_restless(core, revision->definition)) {
            mend(sim, &chosen);
        }
    }
}

void services_delete_all(struct sim *sim)
{
    const struct core *core = sim->server.core;
    if (core == NULL) {
        return; // it ended for good: the seed failed
    }
    for (int64_t key = core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        struct chosen chosen;
        choose_key(sim, key, &chosen);
        if (chosen.record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
            services_ask(sim, ECS_OP_DELETE_SERVICE, "{'service':'%s','cluster':'%s','force':true}",
                         chosen.name, chosen.cluster);
        }
    }
}
