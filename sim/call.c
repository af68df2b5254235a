#include "sim.h"

#include "base/text.h"
#include "shape/shape.h"

#include <stdio.h>
#include <string.h>

/*
 * Calls over HTTP. A request may get lost, or arrive late: even after its caller gave up and asked
 * again. A reply may get lost after the request was applied.
 */

#define TIMEOUT_MS 10000 // as src/agent's
#define LATE_MS 14000    // a request may arrive when its caller has long given up

static void close_call(struct call *call)
{
    if (call->closed) {
        return;
    }
    call->closed = true;
    if (call->life == NULL || *call->life == call->life_number) {
        call->done(call);
    }
}

static void on_failed(void *context, void *payload)
{
    (void)payload;
    struct call *call = context;
    if (!call->closed) {
        call->rc = ERR_CLOSED;
        close_call(call);
    }
}

static void on_timeout(void *context, void *payload)
{
    (void)payload;
    struct call *call = context;
    if (!call->closed) {
        call->rc = ERR_TIMEOUT;
        world_trace(&call->sim->world, "%s %s times out",
                    call->node == NULL ? "person" : call->node->name, call->operation->name);
        close_call(call);
    }
}

static void on_answer(void *context, void *payload)
{
    (void)payload;
    close_call(context);
}

static void answer(struct call *call)
{
    struct world *world = &call->sim->world;
    call->at_server = false;
    if (call->rc == 0) {
        check_answer(call->sim, call);
    }
    bool away = call->node != NULL && call->node->partitioned;
    if (!call->reply_lost && !away) {
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 0, 4),
                                                .run = on_answer,
                                                .context = call});
    }
}

// On a full disk an agent tells the server of ends that it cannot write down. When it dies then and
// its report is still on its way, the next agent may have started the task again before it arrives.
// Known, and accepted: the alternative keeps ends from the server for as long as a disk is full. So
// such a report gets lost here.
static bool is_stale_end(const struct call *call)
{
    if (call->operation != &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE] ||
        *call->life == call->life_number) {
        return false;
    }
    const struct ecs_submit_task_state_change_request *request = call->request;
    return text_is(request->status, "STOPPED") &&
           fact_of(call->sim, sim_task_id(request->task))->end_exempt;
}

static void handle(struct call *call, const struct core_caller *caller)
{
    struct server *server = &call->sim->server;
    struct shape_error error = {0};
    arena_reset(&server->scratch);
    call->at_server = true;
    if (shape_validate(call->operation->input, call->request, &error) != 0) {
        world_fail(&call->sim->world, "%s sends a %s that its schema refuses: %s",
                   call->node == NULL ? "person" : call->node->name, call->operation->name,
                   error.text);
    }
    struct core_call core_call = {.arena = &server->scratch};
    void *response = arena_alloc(&server->scratch, call->operation->output->size_bytes);
    call->rc = server_request(server, caller, call->operation, &core_call, call->request, response);
    if (call->rc == 0) {
        call->response = shape_clone(call->operation->output, response, NULL);
        call->snapshot = call->walk == NULL ? NULL : pages_snapshot(call->sim, call->walk);
    } else if (call->rc == ERR_FAULT) {
        call->fault = core_call.fault;
        snprintf(call->fault_text, sizeof(call->fault_text), "%s", core_call.fault_text);
    }
    world_trace(&call->sim->world, "server %s from %s %.8s: %s", call->operation->name,
                call->node == NULL ? "person" : call->node->name, call->id,
                call->rc == 0           ? "ok"
                : call->rc == ERR_FAULT ? call->fault_text
                                        : err_name(call->rc));
    server_wait(server, call, answer);
}

static void on_arrive(void *context, void *payload)
{
    (void)payload;
    struct call *call = context;
    struct world *world = &call->sim->world;
    bool away = call->node != NULL && (call->node->partitioned || call->node->gone);
    if (away || is_stale_end(call)) {
        return;
    }
    if (call->sim->server.core == NULL) {
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 1, 5),
                                                .run = on_failed,
                                                .context = call});
        return;
    }
    struct core_caller caller;
    if (!server_caller(&call->sim->server, call->node, call->stranger, &caller)) {
        call->rc = ERR_FAULT;
        call->fault = &ecs_error_access_denied_exception;
        snprintf(call->fault_text, sizeof(call->fault_text), "The key is not known.");
        answer(call);
        return;
    }
    handle(call, &caller);
}

void call_begin(struct sim *sim, const struct call_options *options)
{
    struct world *world = &sim->world;
    struct call *call = ALLOC(struct call);
    *call = (struct call){
        .next = sim->calls,
        .sim = sim,
        .node = options->node,
        .operation = options->operation,
        .request = shape_clone(options->operation->input, options->request, NULL),
        .life = options->life,
        .life_number = options->life == NULL ? 0 : *options->life,
        .done = options->done,
        .context = options->context,
        .number = options->number,
        .stranger = options->stranger,
        .walk = options->walk,
    };
    snprintf(call->id, sizeof(call->id), "%.*s", TEXT_FMT(options->id));
    sim->calls = call;
    bool lost = faults_network(sim);
    call->reply_lost = faults_network(sim);
    bool late = faults_network(sim);
    world_post(world,
               &(struct world_event){.delay_ms = TIMEOUT_MS, .run = on_timeout, .context = call});
    if (!lost) {
        world_post(
            world,
            &(struct world_event){
                .delay_ms = late ? world_between(world, world_chance(world, 500) ? TIMEOUT_MS : 100,
                                                 LATE_MS)
                                 : world_between(world, 0, 4),
                .run = on_arrive,
                .context = call});
    }
}

void call_server_gone(struct sim *sim)
{
    for (struct call *call = sim->calls; call != NULL; call = call->next) {
        bool away = call->node != NULL && call->node->partitioned;
        if (call->at_server && !call->closed && !away) {
            world_post(&sim->world,
                       &(struct world_event){.delay_ms = world_between(&sim->world, 1, 20),
                                             .run = on_failed,
                                             .context = call});
        }
        call->at_server = false;
    }
}

void call_free(struct call *call)
{
    alloc_free(call->request);
    alloc_free(call->response);
    alloc_free(call->snapshot);
    alloc_free(call);
}
