#include "sim.h"

#include "base/text.h"
#include "shape/shape.h"

#include <stdio.h>
#include <string.h>

/*
 * Sessions between agents and the server. Within a session frames keep their order and none is
 * lost; when the network cuts it, everything on its way is. Each end then learns of it soon, or
 * late by silence, so the two may disagree for long, and a newer session may overtake an older
 * one. The server's end does as src/server/session.c.
 */

#define HEARTBEAT_MS 1000
#define TELEMETRY_HEARTBEAT_MS 20000
#define SILENCE_MS 30000
#define TELEMETRY_SILENCE_MS 180000
#define BEAT_MS 200

struct frame {
    struct session *session;
    const char *type;
    const struct shape_type *shape;
    void *message; // owned
};

static struct world *world_of(const struct session *session)
{
    return &session->sim->world;
}

static void frame_free(void *payload)
{
    struct frame *frame = payload;
    alloc_free(frame->message);
    alloc_free(frame);
}

static struct frame *frame_new(struct session *session, const char *type,
                               const struct shape_type *shape, const void *message)
{
    struct frame *frame = ALLOC(struct frame);
    frame->session = session;
    frame->type = type;
    frame->shape = shape;
    frame->message = shape_clone(shape, message, NULL);
    return frame;
}

// When what is sent now arrives: never before what was sent earlier.
static int64_t passage_ms(struct session *session, int64_t *newest_ms)
{
    struct world *world = world_of(session);
    int64_t delay_ms = world_between(world, 0, 3);
    if (faults_network(session->sim)) {
        delay_ms = world_between(world, 5, 2500);
    }
    *newest_ms = MAX(*newest_ms, world->now_ms + delay_ms);
    return *newest_ms - world->now_ms;
}

static bool dead_line(const struct session *session)
{
    return session->cut || session->node->partitioned || session->node->gone;
}

// ---- the agent's end ------------------------------------------------------------------------

// The agent's end is over.
static void client_end(struct session *session, bool refused)
{
    if (session->client_gone) {
        return;
    }
    session->client_gone = true;
    session->client_open = false;
    session->life++;
    node_session_closed(session->node, session, refused);
}

static void on_client_closed(void *context, void *payload)
{
    (void)payload;
    client_end(context, false);
}

static void on_client_refused(void *context, void *payload)
{
    (void)payload;
    client_end(context, true);
}

static void on_client_open(void *context, void *payload)
{
    (void)payload;
    struct session *session = context;
    if (session->client_gone) {
        return;
    }
    if (dead_line(session)) {
        session->cut = true;
        return; // the agent's watch finds out
    }
    session->client_open = true;
    session->client_heard_ms = world_of(session)->now_ms;
    node_session_opened(session->node, session);
}

static void on_client_frame(void *context, void *payload)
{
    struct session *session = context;
    const struct frame *frame = payload;
    if (session->client_gone) {
        return;
    }
    if (dead_line(session)) {
        session->cut = true; // nothing that follows may arrive either
        return;
    }
    session->client_heard_ms = world_of(session)->now_ms;
    node_frame(session->node, session, frame->type, frame->message);
}

static void server_send(struct session *session, const char *type, const struct shape_type *shape,
                        const void *message)
{
    if (!session->server_open || session->cut) {
        return;
    }
    world_post(world_of(session), &(struct world_event){
                                      .delay_ms = passage_ms(session, &session->to_client_ms),
                                      .life = &session->life,
                                      .run = on_client_frame,
                                      .context = session,
                                      .payload = frame_new(session, type, shape, message),
                                      .release = frame_free,
                                  });
}

// ---- the server's end -----------------------------------------------------------------------

static int tell(struct session *session, enum node_operation operation, const void *request)
{
    struct server *server = &session->sim->server;
    struct core_caller caller;
    if (server->core == NULL || !server_caller(server, session->node, false, &caller)) {
        return ERR_DENIED;
    }
    arena_reset(&server->scratch);
    struct core_call call = {.arena = &server->scratch};
    const struct api_operation *described = &node_operations[operation];
    void *response = arena_alloc(&server->scratch, described->output->size_bytes);
    return server_request(server, &caller, described, &call, request, response);
}

// The server's end is over; the agent learns it when the line still carries that.
static void server_end(struct session *session, bool tell_client)
{
    if (!session->server_open) {
        return;
    }
    session->server_open = false;
    session->server_life++;
    if (session->attached) {
        session->attached = false;
        if (!session->telemetry) {
            const struct node_node_disconnect_request request = {.has_session = true,
                                                                 .session = session->id};
            IGNORE(tell(session, NODE_OP_NODE_DISCONNECT, &request), "nothing depends on it");
        }
    }
    if (tell_client && !dead_line(session)) {
        world_post(world_of(session), &(struct world_event){
                                          .delay_ms = passage_ms(session, &session->to_client_ms),
                                          .life = &session->life,
                                          .run = on_client_closed,
                                          .context = session,
                                      });
    }
}

static void on_server_closed(void *context, void *payload)
{
    (void)payload;
    server_end(context, false);
}

static void on_heartbeat(void *context, void *payload)
{
    (void)payload;
    struct session *session = context;
    struct world *world = world_of(session);
    int64_t limit_ms = session->telemetry ? TELEMETRY_SILENCE_MS : SILENCE_MS;
    if (world->now_ms - session->server_heard_ms > limit_ms) {
        world_trace(world, "server ends the silent session %lld of %s", (long long)session->id,
                    session->node->name);
        server_end(session, true);
        return;
    }
    char id[32];
    int size = snprintf(id, sizeof(id), "%lld-%lld", (long long)session->id,
                        (long long)++session->heartbeat_count);
    const struct session_heartbeat_message message = {
        .message_id = {id, (size_t)size}, .has_healthy = true, .healthy = true};
    server_send(session, "HeartbeatMessage", &session_heartbeat_message_shape, &message);
    world_post(world, &(struct world_event){
                          .delay_ms = session->telemetry ? TELEMETRY_HEARTBEAT_MS : HEARTBEAT_MS,
                          .life = &session->server_life,
                          .run = on_heartbeat,
                          .context = session,
                      });
}

static void take_frame(struct session *session, const struct frame *frame)
{
    if (frame->shape == &session_ack_request_shape) {
        const struct session_ack_request *ack = frame->message;
        const struct node_node_ack_request request = {.message_id = ack->message_id};
        IGNORE(tell(session, NODE_OP_NODE_ACK, &request), "it is sent again");
    } else if (frame->shape == &session_task_stop_verification_message_shape) {
        const struct session_task_stop_verification_message *message = frame->message;
        const struct node_node_stop_candidates_request request = {
            .message_id = message->message_id,
            .stop_candidates = {.items = message->stop_candidates.items,
                                .count = message->stop_candidates.count}};
        IGNORE(tell(session, NODE_OP_NODE_STOP_CANDIDATES, &request), "it is sent again");
    } else if (frame->shape == &session_publish_health_request_shape) {
        const struct session_publish_health_request *message = frame->message;
        const struct node_node_health_request request = {
            .tasks = {.items = message->tasks.items, .count = message->tasks.count}};
        IGNORE(tell(session, NODE_OP_NODE_HEALTH, &request), "it is sent again");
    } else if (frame->shape == &session_publish_timeline_request_shape) {
        const struct session_publish_timeline_request *message = frame->message;
        const struct node_node_timeline_request request = {
            .tasks = {.items = message->tasks.items, .count = message->tasks.count}};
        IGNORE(tell(session, NODE_OP_NODE_TIMELINE, &request), "it is for people only");
    }
}

static void on_server_frame(void *context, void *payload)
{
    struct session *session = context;
    const struct frame *frame = payload;
    if (dead_line(session)) {
        session->cut = true;
        return;
    }
    int64_t now_ms = world_of(session)->now_ms;
    session->server_heard_ms = now_ms;
    session->node->heard_ms = now_ms;
    session->node->beat_ms = session->telemetry ? session->node->beat_ms : now_ms;
    if (!session->telemetry && now_ms - session->beat_ms >= BEAT_MS) {
        session->beat_ms = now_ms;
        const struct node_node_empty request = {0};
        IGNORE(tell(session, NODE_OP_NODE_BEAT, &request), "never stored");
    }
    take_frame(session, frame);
}

static bool attach(struct session *session)
{
    struct sim *sim = session->sim;
    for (struct session *older = sim->sessions; older != NULL; older = older->next) {
        if (older != session && older->attached && !older->telemetry &&
            older->node == session->node && !session->telemetry) {
            older->attached = false; // replaced: it does not disconnect the node
            server_end(older, true);
        }
    }
    session->server_open = true;
    session->attached = true;
    session->node->heard_ms = sim->world.now_ms;
    if (session->telemetry) {
        return true;
    }
    session->node->beat_ms = sim->world.now_ms;
    const struct node_node_connect_request request = {
        .has_session = true,
        .session = session->id,
        .container_instance_arn = text_of(session->node->instance),
        .agent_version = TEXT("sim"),
        .has_berth_agent = true,
        .berth_agent = true,
    };
    return tell(session, NODE_OP_NODE_CONNECT, &request) == 0;
}

static void on_upgrade(void *context, void *payload)
{
    (void)payload;
    struct session *session = context;
    struct server *server = &session->sim->server;
    struct world *world = world_of(session);
    if (dead_line(session)) {
        session->cut = true;
        return;
    }
    struct core_caller caller;
    bool up = server->core != NULL;
    if (!up || !server_caller(server, session->node, false, &caller)) {
        world_post(world, &(struct world_event){
                              .delay_ms = 1,
                              .life = &session->life,
                              .run = up ? on_client_refused : on_client_closed,
                              .context = session,
                          });
        return;
    }
    session->id = ++server->session_count;
    session->server_heard_ms = world->now_ms;
    // The answer to the upgrade goes ahead of all frames.
    session->to_client_ms = world->now_ms + world_between(world, 0, 3);
    world_post(world, &(struct world_event){.delay_ms = session->to_client_ms - world->now_ms,
                                            .life = &session->life,
                                            .run = on_client_open,
                                            .context = session});
    bool taken = attach(session);
    world_trace(world, "server has session %lld of %s%s%s", (long long)session->id,
                session->node->name, session->telemetry ? " (telemetry)" : "",
                taken ? "" : ", and refuses it");
    if (!taken) {
        session->attached = false;
        server_end(session, true);
        return;
    }
    on_heartbeat(session, NULL);
}

// ---- for the node ---------------------------------------------------------------------------

struct session *session_open(struct node *node, bool telemetry)
{
    struct sim *sim = node->sim;
    struct session *session = ALLOC(struct session);
    *session = (struct session){
        .next = sim->sessions,
        .sim = sim,
        .node = node,
        .telemetry = telemetry,
        .client_heard_ms = sim->world.now_ms,
        .cut = faults_network(sim),
    };
    sim->sessions = session;
    world_post(&sim->world, &(struct world_event){.delay_ms = world_between(&sim->world, 0, 4),
                                                  .life = &session->life,
                                                  .run = on_upgrade,
                                                  .context = session});
    return session;
}

void session_send(struct session *session, const char *type, const struct shape_type *shape,
                  const void *message)
{
    if (!session->client_open || session->cut) {
        return;
    }
    world_post(world_of(session), &(struct world_event){
                                      .delay_ms = passage_ms(session, &session->to_server_ms),
                                      .life = &session->server_life,
                                      .run = on_server_frame,
                                      .context = session,
                                      .payload = frame_new(session, type, shape, message),
                                      .release = frame_free,
                                  });
}

void session_client_close(struct session *session, bool tell_server)
{
    session->client_open = false;
    session->client_gone = true;
    session->life++;
    if (tell_server && !dead_line(session) && session->server_open) {
        world_post(world_of(session), &(struct world_event){
                                          .delay_ms = passage_ms(session, &session->to_server_ms),
                                          .life = &session->server_life,
                                          .run = on_server_closed,
                                          .context = session,
                                      });
    }
    session->cut = session->cut || !tell_server;
}

void session_cut(struct session *session)
{
    struct world *world = world_of(session);
    session->cut = true;
    if (world_chance(world, 500)) {
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 0, 3000),
                                                .life = &session->life,
                                                .run = on_client_closed,
                                                .context = session});
    }
    if (world_chance(world, 500)) {
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 0, 3000),
                                                .life = &session->server_life,
                                                .run = on_server_closed,
                                                .context = session});
    }
}

void session_server_gone(struct sim *sim, bool tell_client)
{
    for (struct session *session = sim->sessions; session != NULL; session = session->next) {
        if (!session->server_open) {
            continue;
        }
        session->server_open = false;
        session->attached = false;
        session->server_life++;
        if (tell_client && !dead_line(session)) {
            world_post(&sim->world,
                       &(struct world_event){.delay_ms = world_between(&sim->world, 1, 50),
                                             .life = &session->life,
                                             .run = on_client_closed,
                                             .context = session});
        }
        session->cut = session->cut || !tell_client;
    }
}

// ---- for the engine -------------------------------------------------------------------------

void session_effect(struct sim *sim, const struct core_effect *effect)
{
    if (effect->kind != CORE_EFFECT_NODE) {
        return;
    }
    for (struct session *session = sim->sessions; session != NULL; session = session->next) {
        if (session->attached && !session->telemetry &&
            text_is(effect->target, session->node->node_id)) {
            world_trace(&sim->world, "server sends %s to %s", effect->type, session->node->name);
            server_send(session, effect->type, effect->shape, effect->message);
            return;
        }
    }
}
