#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service.h"
#include "ecs/task_internal.h"

#include <stdio.h>

/*
 * What people do to services that are not of the usual kind: DAEMON services, those of which
 * somebody else makes the deployments, with task sets, and those that are deployed by stages.
 */

enum service_sort service_sort(const struct service_record_service *record)
{
    return (enum service_sort)record->name.data[0];
}

static const char *choose_cluster(struct sim *sim)
{
    return world_chance(&sim->world, 60) ? "edge" : "default";
}

// ---- DAEMON -----------------------------------------------------------------------------------

static int choose_minimum(struct sim *sim)
{
    static const int minimums[] = {0, 0, 25, 50, 75};
    return minimums[world_between(&sim->world, 0, ARRAY_LEN(minimums) - 1)];
}

static void daemon_configuration(struct sim *sim, char *out, size_t size_bytes)
{
    struct world *world = &sim->world;
    snprintf(out, size_bytes,
             "'deploymentConfiguration':{'minimumHealthyPercent':%d,'maximumPercent':100,"
             "'deploymentCircuitBreaker':{'enable':%s,'rollback':%s}}",
             choose_minimum(sim), world_chance(world, 500) ? "true" : "false",
             world_chance(world, 600) ? "true" : "false");
}

void kinds_create_daemon(struct sim *sim)
{
    struct world *world = &sim->world;
    char settings[300];
    daemon_configuration(sim, settings, sizeof(settings));
    services_ask(
        sim, ECS_OP_CREATE_SERVICE,
        "{'serviceName':'d%d','cluster':'%s','taskDefinition':'%s','launchType':'EC2',"
        "'schedulingStrategy':'DAEMON',%s%s}",
        (int)world_between(world, 0, 1), choose_cluster(sim), services_family(sim, false), settings,
        world_chance(world, 600) ? ",'placementConstraints':[{'type':'memberOf','expression':"
                                   "'attribute:rack in [r1, r2]'}]"
                                 : "");
}

// Each instance of a cluster gets a rack, or another one: most satisfy the constraints then.
static void put_racks(struct sim *sim, const struct chosen *chosen)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count; i++) {
            const struct task_record_membership *membership = &node->memberships.items[i];
            if (membership->cluster != chosen->record->cluster ||
                membership->deregistered_at != 0) {
                continue;
            }
            services_ask(sim, ECS_OP_PUT_ATTRIBUTES,
                         "{'cluster':'%s','attributes':[{'name':'rack','value':'%s','targetType':"
                         "'container-instance','targetId':'%.*s'}]}",
                         chosen->cluster, world_chance(&sim->world, 750) ? "r1" : "r3",
                         TEXT_FMT(membership->instance_id));
        }
    }
}

void kinds_change_daemon(struct sim *sim, enum change change, const struct chosen *chosen)
{
    char settings[300];
    switch (change) {
    case CHANGE_COUNT:
        put_racks(sim, chosen);
        return;
    case CHANGE_DEFINITION:
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','taskDefinition':'%s'}", chosen->name,
                     chosen->cluster, services_family(sim, false));
        return;
    case CHANGE_CONFIGURATION:
        daemon_configuration(sim, settings, sizeof(settings));
        services_ask(sim, ECS_OP_UPDATE_SERVICE, "{'service':'%s','cluster':'%s',%s}", chosen->name,
                     chosen->cluster, settings);
        return;
    case CHANGE_FORCE:
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','forceNewDeployment':true}", chosen->name,
                     chosen->cluster);
        return;
    case CHANGE_DELETE:
        services_ask(sim, ECS_OP_DELETE_SERVICE, "{'service':'%s','cluster':'%s'}", chosen->name,
                     chosen->cluster);
        return;
    case CHANGE_CREATE:
    case CHANGE_PROTECT:
    case CHANGE_SPOT:
    case CHANGE_COUNT_OF:
        return;
    }
}

// ---- task sets --------------------------------------------------------------------------------

void kinds_create_sets(struct sim *sim)
{
    static const int bounds[][2] = {{0, 100}, {50, 100}, {50, 150}, {100, 200}};
    struct world *world = &sim->world;
    const int *chosen = bounds[world_between(world, 0, ARRAY_LEN(bounds) - 1)];
    services_ask(sim, ECS_OP_CREATE_SERVICE,
                 "{'serviceName':'e%d','cluster':'%s','desiredCount':%d,"
                 "'deploymentController':{'type':'EXTERNAL'},"
                 "'deploymentConfiguration':{'minimumHealthyPercent':%d,'maximumPercent':%d}}",
                 (int)world_between(world, 0, 1), choose_cluster(sim),
                 (int)world_between(world, 0, 5), chosen[0], chosen[1]);
}

// One of a service's that is not being deleted; 0 when it has none.
static int64_t choose_set(struct sim *sim, int64_t service)
{
    const struct core *core = sim->server.core;
    int64_t chosen = 0;
    int64_t count = 0;
    for (int64_t key = core_next(core, &service_deployment_kind, 0); key != 0;
         key = core_next(core, &service_deployment_kind, key)) {
        const struct service_record_deployment *record =
            core_get(core, &service_deployment_kind, key);
        bool there = record->service == service &&
                     record->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE &&
                     record->status != SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING;
        if (there && world_between(&sim->world, 1, ++count) == 1) {
            chosen = record->number;
        }
    }
    return chosen;
}

static const char *choose_scale(struct sim *sim)
{
    static const char *const scales[] = {"0", "12.5", "25", "33.4", "50", "100", "100"};
    return scales[world_between(&sim->world, 0, ARRAY_LEN(scales) - 1)];
}

static void create_set(struct sim *sim, const struct chosen *chosen)
{
    static const char *const working[] = {"s-plain", "s-check-plain"};
    struct world *world = &sim->world;
    char network[400] = "";
    bool awsvpc = world_chance(world, 300);
    if (awsvpc) {
        services_network(sim, network, sizeof(network));
    }
    services_ask(sim, ECS_OP_CREATE_TASK_SET,
                 "{'service':'%s','cluster':'%s','taskDefinition':'%s','launchType':'%s',"
                 "'scale':{'value':%s,'unit':'PERCENT'}%s}",
                 chosen->name, chosen->cluster,
                 awsvpc ? services_family(sim, true) : working[world_between(world, 0, 1)],
                 awsvpc && world_chance(world, 600) ? "FARGATE" : "EC2", choose_scale(sim),
                 network);
}

static void change_set(struct sim *sim, const struct chosen *chosen, int64_t set)
{
    struct world *world = &sim->world;
    int64_t what = world_between(world, 0, 9);
    if (what < 5) {
        services_ask(sim, ECS_OP_UPDATE_TASK_SET,
                     "{'service':'%s','cluster':'%s','taskSet':'ecs-svc/%lld','scale':{"
                     "'value':%s,'unit':'PERCENT'}}",
                     chosen->name, chosen->cluster, (long long)set, choose_scale(sim));
    } else if (what < 8) {
        services_ask(sim, ECS_OP_UPDATE_SERVICE_PRIMARY_TASK_SET,
                     "{'service':'%s','cluster':'%s','primaryTaskSet':'ecs-svc/%lld'}",
                     chosen->name, chosen->cluster, (long long)set);
    } else {
        services_ask(sim, ECS_OP_DELETE_TASK_SET,
                     "{'service':'%s','cluster':'%s','taskSet':'ecs-svc/%lld','force':true}",
                     chosen->name, chosen->cluster, (long long)set);
    }
}

void kinds_change_sets(struct sim *sim, enum change change, const struct chosen *chosen)
{
    int64_t set = choose_set(sim, chosen->key);
    switch (change) {
    case CHANGE_DEFINITION:
        create_set(sim, chosen);
        return;
    case CHANGE_COUNT:
        services_ask(sim, ECS_OP_UPDATE_SERVICE,
                     "{'service':'%s','cluster':'%s','desiredCount':%d}", chosen->name,
                     chosen->cluster, (int)world_between(&sim->world, 0, 5));
        return;
    case CHANGE_CONFIGURATION:
    case CHANGE_FORCE:
        if (set == 0) {
            create_set(sim, chosen);
        } else {
            change_set(sim, chosen, set);
        }
        return;
    case CHANGE_DELETE:
        services_ask(sim, ECS_OP_DELETE_SERVICE, "{'service':'%s','cluster':'%s','force':%s}",
                     chosen->name, chosen->cluster,
                     world_chance(&sim->world, 700) ? "true" : "false");
        return;
    case CHANGE_CREATE:
    case CHANGE_PROTECT:
    case CHANGE_SPOT:
    case CHANGE_COUNT_OF:
        return;
    }
}

// ---- stages -----------------------------------------------------------------------------------

static void write_hook(struct sim *sim, char *out, size_t size_bytes)
{
    static const char *const stages[] = {
        "'PRE_SCALE_UP'",
        "'POST_SCALE_UP','POST_TEST_TRAFFIC_SHIFT'",
        "'PRE_PRODUCTION_TRAFFIC_SHIFT'",
        "'POST_PRODUCTION_TRAFFIC_SHIFT'",
        "'RECONCILE_SERVICE','POST_PRODUCTION_TRAFFIC_SHIFT'",
        "'TEST_TRAFFIC_SHIFT','PRODUCTION_TRAFFIC_SHIFT'", // not to pause in
    };
    struct world *world = &sim->world;
    if (world_chance(world, 400)) {
        snprintf(out, size_bytes,
                 "{'targetType':'PAUSE','lifecycleStages':[%s],'timeoutConfiguration':{"
                 "'timeoutInMinutes':%d,'action':'%s'}}",
                 stages[world_between(world, 0, ARRAY_LEN(stages) - 2)],
                 (int)world_between(world, 1, 2),
                 world_chance(world, 600) ? "CONTINUE" : "ROLLBACK");
    } else {
        snprintf(out, size_bytes, "{'hookTargetArn':'http://endpoint/hook','lifecycleStages':[%s]}",
                 stages[world_between(world, 0, ARRAY_LEN(stages) - 1)]);
    }
}

static void write_strategy(struct sim *sim, char *out, size_t size_bytes)
{
    struct world *world = &sim->world;
    int percent = (int)world_between(world, 34, 60);
    int minutes = (int)world_between(world, 0, 2);
    int64_t which = world_between(world, 0, 2);
    if (which == 0) {
        snprintf(out, size_bytes, "'strategy':'BLUE_GREEN'");
    } else if (which == 1) {
        snprintf(out, size_bytes,
                 "'strategy':'LINEAR','linearConfiguration':{'stepPercent':%d,"
                 "'stepBakeTimeInMinutes':%d}",
                 percent, minutes);
    } else {
        snprintf(out, size_bytes,
                 "'strategy':'CANARY','canaryConfiguration':{'canaryPercent':%d,"
                 "'canaryBakeTimeInMinutes':%d}",
                 percent, minutes);
    }
}

static void staged_configuration(struct sim *sim, char *out, size_t size_bytes)
{
    static const int bounds[][2] = {{0, 100}, {50, 100}, {50, 150}, {100, 200}, {100, 200}};
    struct world *world = &sim->world;
    const int *chosen = bounds[world_between(world, 0, ARRAY_LEN(bounds) - 1)];
    char hooks[2][300] = {"", ""};
    char strategy[200];
    write_strategy(sim, strategy, sizeof(strategy));
    int count = (int)world_between(world, 0, 2);
    for (int i = 0; i < count; i++) {
        write_hook(sim, hooks[i], sizeof(hooks[i]));
    }
    snprintf(out, size_bytes,
             "'deploymentConfiguration':{%s,'bakeTimeInMinutes':%d,'minimumHealthyPercent':%d,"
             "'maximumPercent':%d,'deploymentCircuitBreaker':{'enable':%s,'rollback':%s},"
             "'lifecycleHooks':[%s%s%s]}",
             strategy, (int)world_between(world, 0, 2), chosen[0], chosen[1],
             world_chance(world, 600) ? "true" : "false",
             world_chance(world, 600) ? "true" : "false", hooks[0], count == 2 ? "," : "",
             hooks[1]);
}

void kinds_create_staged(struct sim *sim)
{
    struct world *world = &sim->world;
    char settings[1200];
    char network[400] = "";
    staged_configuration(sim, settings, sizeof(settings));
    bool awsvpc = world_chance(world, 300);
    if (awsvpc) {
        services_network(sim, network, sizeof(network));
    }
    services_ask(sim, ECS_OP_CREATE_SERVICE,
                 "{'serviceName':'g%d','cluster':'%s','taskDefinition':'%s','desiredCount':%d,"
                 "'launchType':'%s',%s%s}",
                 (int)world_between(world, 0, 1), choose_cluster(sim), services_family(sim, awsvpc),
                 (int)world_between(world, 0, 4),
                 awsvpc && world_chance(world, 600) ? "FARGATE" : "EC2", settings, network);
}

static void stop_rollout(struct sim *sim, const struct chosen *chosen)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, chosen->record);
    if (rollout != NULL) {
        services_ask(sim, ECS_OP_STOP_SERVICE_DEPLOYMENT,
                     "{'serviceDeploymentArn':'arn:aws:ecs:eu-west-1:" SIM_ACCOUNT
                     ":service-deployment/%s/%s/%.*s'}",
                     chosen->cluster, chosen->name, TEXT_FMT(rollout->id));
    }
}

bool kinds_change_staged(struct sim *sim, enum change change, const struct chosen *chosen)
{
    char settings[1200];
    if (stages_moving(sim, chosen->record) && world_chance(&sim->world, 100)) {
        stop_rollout(sim, chosen);
        return true;
    }
    if (change != CHANGE_CONFIGURATION) {
        return false;
    }
    staged_configuration(sim, settings, sizeof(settings));
    services_ask(sim, ECS_OP_UPDATE_SERVICE, "{'service':'%s','cluster':'%s',%s}", chosen->name,
                 chosen->cluster, settings);
    return true;
}
