#include "services.h"
#include "sim.h"

#include "api/hook.h"
#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * What lifecycle hooks lead to: endpoints that are called and answer, and people who let a paused
 * deployment go on or send it back. Calls get lost like others, and an answer is lost when the
 * server ends before it came.
 */

/** A call of an endpoint that is under way. */
struct visit {
    struct hook_fact *fact;
    int64_t rollout;
    char status[16]; ///< empty: it could not be asked
    int32_t delay_s; ///< of IN_PROGRESS
};

struct hook_fact *hook_fact(struct sim *sim, struct text id)
{
    struct services *services = &sim->services;
    for (size_t i = services->hook_count; i > 0; i--) {
        if (text_is(id, services->hooks[i - 1]->id)) {
            return services->hooks[i - 1];
        }
    }
    struct hook_fact *fact = ALLOC(struct hook_fact);
    snprintf(fact->id, sizeof(fact->id), "%.*s", TEXT_FMT(id));
    if (services->hook_count == services->hook_capacity) {
        services->hook_capacity = MAX(services->hook_capacity * 2, (size_t)16);
        services->hooks =
            alloc_resize(services->hooks, services->hook_capacity, sizeof(*services->hooks));
    }
    services->hooks[services->hook_count++] = fact;
    return fact;
}

void hooks_deinit(struct services *services)
{
    for (size_t i = 0; i < services->hook_count; i++) {
        alloc_free(services->hooks[i]);
    }
    alloc_free(services->hooks);
}

// ---- endpoints --------------------------------------------------------------------------------

static void on_answered(void *context, void *payload)
{
    struct sim *sim = context;
    const struct visit *visit = payload;
    struct server *server = &sim->server;
    struct core_caller caller;
    visit->fact->under_way = false;
    if (server->core == NULL || !server_caller(server, NULL, false, &caller)) {
        return;
    }
    struct hook_answer answer = {.hook_status = text_of(visit->status),
                                 .has_call_back_delay = true,
                                 .call_back_delay = visit->delay_s};
    bool asked = visit->status[0] != '\0';
    const struct hook_report_hook_request request = {
        .has_rollout = true,
        .rollout = visit->rollout,
        .hook_id = text_of(visit->fact->id),
        .answer = asked ? &answer : NULL,
        .failure = asked ? (struct text){0} : TEXT("connection refused"),
    };
    visit->fact->succeeded = visit->fact->succeeded || strcmp(visit->status, "SUCCEEDED") == 0;
    visit->fact->failed = visit->fact->failed || !asked || strcmp(visit->status, "FAILED") == 0 ||
                          strcmp(visit->status, "PERHAPS") == 0;
    world_trace(&sim->world, "endpoint answers %.16s: %s", visit->fact->id,
                asked ? visit->status : "nothing");
    arena_reset(&server->scratch);
    struct core_call call = {.arena = &server->scratch};
    struct hook_empty response = {0};
    if (server_request(server, &caller, &hook_operations[HOOK_OP_REPORT_HOOK], &call, &request,
                       &response) != 0) {
        world_fail(&sim->world, "the answer of a hook is refused: %s", call.fault_text);
    }
}

void hooks_effect(struct sim *sim, const struct core_effect *effect)
{
    struct world *world = &sim->world;
    if (effect->kind != CORE_EFFECT_HOOK) {
        return;
    }
    const struct hook_call *message = effect->message;
    struct hook_fact *fact = hook_fact(sim, message->hook_id);
    bool again = fact->under_way && fact->server_life == sim->server.life;
    if (again || faults_network(sim)) {
        return; // one that is under way is not made twice; this one got lost
    }
    fact->under_way = true;
    fact->server_life = sim->server.life;
    struct visit *visit = ALLOC(struct visit);
    *visit = (struct visit){.fact = fact, .rollout = message->rollout};
    int64_t what = sim->calm ? 0 : world_between(world, 0, 99);
    const char *status = what < 65   ? "SUCCEEDED"
                         : what < 80 ? "IN_PROGRESS"
                         : what < 93 ? "FAILED"
                         : what < 96 ? "PERHAPS" // which means nothing
                                     : "";
    snprintf(visit->status, sizeof(visit->status), "%s", status);
    visit->delay_s = (int32_t)world_between(world, 1, 8);
    world_post(world,
               &(struct world_event){
                   .delay_ms = world_between(world, 1, world_chance(world, 50) ? 40000 : 900),
                   .life = &sim->server.life,
                   .run = on_answered,
                   .context = sim,
                   .payload = visit,
               });
}

// ---- people -----------------------------------------------------------------------------------

static void decide(struct sim *sim, int64_t key, const struct service_record_rollout *rollout,
                   const struct service_record_hook *hook)
{
    const struct core *core = sim->server.core;
    const struct service_record_service *service = core_get(core, &service_kind, rollout->service);
    const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, service->cluster);
    bool back = !sim->calm && world_chance(&sim->world, 250);
    (void)key;
    services_ask(sim, ECS_OP_CONTINUE_SERVICE_DEPLOYMENT,
                 "{'serviceDeploymentArn':'arn:aws:ecs:eu-west-1:" SIM_ACCOUNT
                 ":service-deployment/%.*s/%.*s/%.*s','hookId':'%.*s','action':'%s'}",
                 TEXT_FMT(cluster->name), TEXT_FMT(service->name), TEXT_FMT(rollout->id),
                 TEXT_FMT(hook->id), back ? "ROLLBACK" : "CONTINUE");
}

static void on_look(void *context, void *payload)
{
    (void)payload;
    struct sim *sim = context;
    const struct core *core = sim->server.core;
    struct world *world = &sim->world;
    for (int64_t key = core == NULL ? 0 : core_next(core, &service_rollout_kind, 0); key != 0;
         key = core_next(core, &service_rollout_kind, key)) {
        const struct service_record_rollout *rollout = core_get(core, &service_rollout_kind, key);
        for (size_t i = 0; i < rollout->hooks.count; i++) {
            if (rollout->hooks.items[i].status ==
                    ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_AWAITING_ACTION &&
                (sim->calm || world_chance(world, 400))) {
                decide(sim, key, rollout, &rollout->hooks.items[i]);
            }
        }
    }
    int64_t most_ms = sim->services.hours && !sim->calm ? 90000 : 12000;
    world_post(world, &(struct world_event){.delay_ms = world_between(world, 1000, most_ms),
                                            .life = &sim->services.hooks_life,
                                            .run = on_look,
                                            .context = sim});
}

void hooks_begin(struct sim *sim)
{
    world_post(&sim->world, &(struct world_event){.delay_ms = 2000,
                                                  .life = &sim->services.hooks_life,
                                                  .run = on_look,
                                                  .context = sim});
}
