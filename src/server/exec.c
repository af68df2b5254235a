#include "api/channel.h"
#include "api/ecs.h"
#include "api/session.h"
#include "api/ssm.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "channel/channel.h"
#include "server/exec_internal.h"
#include "server/protocol.h"

#include <openssl/crypto.h>
#include <string.h>

/*
 * Sessions of ECS Exec: how they begin, are resumed, and end.
 */

#define SESSIONS_MAX 256                  // each holds at most some 400 KB
#define SESSIONS_TASK_MAX 20              // of one task
#define IDLE_MS (20 * 60 * INT64_C(1000)) // ECS: without input and output
#define NOT_CONNECTED "The execute command failed due to an internal error. Try again later."

uint64_t exec_now_ms(const struct exec_hub *hub)
{
    return uv_now(hub->server->options.loop);
}

struct exec_hub *exec_hub_new(struct server *server)
{
    struct exec_hub *hub = ALLOC(struct exec_hub);
    hub->server = server;
    return hub;
}

static void session_free(struct exec_session *session)
{
    struct exec_hub *hub = session->hub;
    if (session->previous != NULL) {
        session->previous->next = session->next;
    } else {
        hub->first = session->next;
    }
    if (session->next != NULL) {
        session->next->previous = session->previous;
    }
    if (session->over) {
        hub->over_count--;
    } else {
        map_remove(&hub->by_id, text_of(session->id));
    }
    exec_detach(session);
    exec_way_clear(&session->sides[EXEC_CLIENT].way);
    exec_way_clear(&session->sides[EXEC_NODE].way);
    exec_log_close(session->log);
    OPENSSL_cleanse(session->sides, sizeof(session->sides));
    arena_deinit(&session->arena);
    alloc_free(session);
}

void exec_hub_free(struct exec_hub *hub)
{
    if (hub == NULL) {
        return;
    }
    while (hub->first != NULL) {
        session_free(hub->first);
    }
    ASSERT(hub->sockets == NULL);
    map_deinit(&hub->by_id);
    alloc_free(hub);
}

size_t exec_count(const struct exec_hub *hub)
{
    return hub->by_id.count;
}

void exec_write_metrics(const struct exec_hub *hub, struct buf *out)
{
    metrics_write_number(out, "berth_exec_sessions", "gauge", "Open sessions of ECS Exec.",
                         (double)exec_count(hub));
    metrics_write_number(out, "berth_exec_sessions_total", "counter",
                         "Sessions of ECS Exec that were begun.", (double)hub->begun);
    metrics_write_number(out, "berth_exec_relayed_bytes_total", "counter",
                         "Bytes of frames handed on in sessions of ECS Exec.",
                         (double)hub->relayed_bytes);
}

// ---- names and tokens -------------------------------------------------------------------------

static void make_id(const struct exec_hub *hub, char out_id[EXEC_ID_SIZE + 1])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    size_t prefix = sizeof(EXEC_ID_PREFIX) - 1;
    memcpy(out_id, EXEC_ID_PREFIX, prefix);
    out_id[EXEC_ID_SIZE] = '\0';
    do {
        for (size_t i = 0; i < EXEC_ID_CHARS;) {
            unsigned char byte = 0;
            clock_entropy(&byte, 1);
            if (byte < 252) { // the largest multiple of 36: every digit is as likely
                out_id[prefix + i++] = digits[byte % 36];
            }
        }
    } while (map_get(&hub->by_id, text_of(out_id)) != NULL);
}

static bool is_id(struct text id)
{
    if (id.size != EXEC_ID_SIZE || !text_starts(id, TEXT(EXEC_ID_PREFIX))) {
        return false;
    }
    for (size_t i = sizeof(EXEC_ID_PREFIX) - 1; i < id.size; i++) {
        char byte = id.data[i];
        if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9')) {
            return false;
        }
    }
    return true;
}

static void make_token(struct exec_side *side, uint64_t until_ms)
{
    unsigned char bytes[EXEC_TOKEN_BYTES];
    clock_entropy(bytes, sizeof(bytes));
    text_hex(bytes, sizeof(bytes), side->token);
    side->token_until_ms = until_ms;
}

// The host as the client knows it, without its port; absent when it says none that is one.
static struct text request_host(const struct exchange *exchange)
{
    struct text host = text_trim(protocol_header(exchange, TEXT("host")));
    size_t colon = text_find_last(host, ':');
    size_t bracket = text_find_last(host, ']');
    if (colon != SIZE_MAX && (bracket == SIZE_MAX || colon > bracket)) {
        host = text_slice(host, 0, colon);
    }
    for (size_t i = 0; i < host.size; i++) {
        char byte = host.data[i];
        bool good = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                    (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' || byte == '_' ||
                    (bracket != SIZE_MAX && (byte == ':' || byte == '[' || byte == ']'));
        if (!good) {
            return (struct text){0};
        }
    }
    return host;
}

// Where a client opens its channel: the listener for sessions, by the name it called us.
static struct text stream_url(struct exchange *exchange, const char *id)
{
    struct text base = text_of(dispatch_session_url(exchange)); // http://HOST:PORT
    bool secure = text_starts(base, TEXT("https:"));
    struct text own = text_slice(base, text_find(base, '/') + 2, base.size);
    size_t colon = text_find_last(own, ':');
    struct text host = request_host(exchange);
    return arena_format(
        &exchange->arena, "%s://%.*s:%.*s/v1/data-channel/%s?role=publish_subscribe",
        secure ? "wss" : "ws", TEXT_FMT(text_empty(host) ? text_slice(own, 0, colon) : host),
        TEXT_FMT(text_slice(own, colon + 1, own.size)), id);
}

// ---- the end ----------------------------------------------------------------------------------

static void send_frame(void *context, struct text frame)
{
    exec_put(context, EXEC_CLIENT, frame);
}

static void random_bytes(void *context, void *bytes, size_t size)
{
    (void)context;
    clock_entropy(bytes, size);
}

// Say the sentence as the node would: clients show it and leave.
static void say_closed(struct exec_session *session, struct text sentence)
{
    const struct channel_handlers handlers = {
        .send = send_frame, .random = random_bytes, .context = session};
    AUTO(channel_free)
    struct channel *channel = channel_new(CHANNEL_NODE, text_of(session->id), &handlers);
    channel_close(channel, clock_wall_ms(), sentence);
}

void exec_end(struct exec_session *session, struct text sentence)
{
    struct exec_hub *hub = session->hub;
    if (session->over) {
        return;
    }
    session->over = true;
    session->over_ms = exec_now_ms(hub);
    hub->over_count++;
    map_remove(&hub->by_id, text_of(session->id));
    session->sides[EXEC_CLIENT].token_until_ms = 0;
    session->sides[EXEC_NODE].token_until_ms = 0;
    if (sentence.data != NULL && !session->sides[EXEC_CLIENT].done) {
        say_closed(session, sentence);
    }
    LOG(INFO, "a session of ECS Exec ended", LOG_STR("session", session->id),
        LOG_TXT("task", session->task_arn),
        LOG_TXT("reason", sentence.data == NULL ? TEXT("it was closed") : sentence));
    exec_log_close(session->log);
    session->log = NULL;
}

// ---- time -------------------------------------------------------------------------------------

static bool away_longer(const struct exec_side *side, uint64_t now, uint64_t most_ms)
{
    return side->socket == NULL && now - side->gone_ms > most_ms;
}

static void session_tick(struct exec_session *session, uint64_t now)
{
    const struct exec_side *client = &session->sides[EXEC_CLIENT];
    const struct exec_side *node = &session->sides[EXEC_NODE];
    AUTO(arena_deinit) struct arena arena = {0};
    if (client->done) {
        if (node->socket == NULL || node->way.first == NULL) {
            exec_end(session, (struct text){0});
        }
    } else if (node->done) {
        // The plugin goes without a word once it has read that the channel is closed.
        if (client->way.first == NULL || away_longer(client, now, EXEC_CLIENT_BACK_MS)) {
            exec_end(session, (struct text){0});
        }
    } else if (away_longer(client, now, client->seen ? EXEC_CLIENT_BACK_MS : EXEC_TOKEN_MS)) {
        exec_end(session, TEXT("the client went away"));
    } else if (away_longer(node, now, node->seen ? EXEC_NODE_BACK_MS : EXEC_NODE_FIRST_MS)) {
        exec_end(session,
                 arena_format(&arena, "Node %.*s %s. Try again later.", TEXT_FMT(session->node_id),
                              node->seen ? "lost its connection to the server"
                                         : "did not begin the session"));
    }
}

void exec_tick(struct exec_hub *hub)
{
    uint64_t now = exec_now_ms(hub);
    struct exec_session *next = NULL;
    for (struct exec_session *session = hub->first; session != NULL; session = next) {
        next = session->next;
        if (!session->over) {
            session_tick(session, now);
        }
    }
    exec_sockets_tick(hub);
    for (struct exec_session *session = hub->first; session != NULL; session = next) {
        next = session->next;
        bool idle =
            session->sides[EXEC_CLIENT].socket == NULL && session->sides[EXEC_NODE].socket == NULL;
        if (session->over && (idle || now - session->over_ms > EXEC_END_MS)) {
            session_free(session);
        }
    }
}

// ---- operations -------------------------------------------------------------------------------

static bool throttled(struct exchange *exchange, const char *what)
{
    struct refusal refusal =
        refusal_front(FRONT_THROTTLING, arena_format(&exchange->arena, "Rate exceeded: %s", what));
    dispatch_refuse(exchange, &refusal);
    return false;
}

static bool not_connected(struct exchange *exchange)
{
    struct refusal refusal =
        refusal_modelled(&ecs_error_target_not_connected_exception, TEXT(NOT_CONNECTED));
    dispatch_refuse(exchange, &refusal);
    return false;
}

static size_t count_of_task(const struct exec_hub *hub, struct text task_arn)
{
    size_t count = 0;
    for (const struct exec_session *at = hub->first; at != NULL; at = at->next) {
        count += !at->over && text_equal(at->task_arn, task_arn);
    }
    return count;
}

static struct exec_session *session_new(struct exchange *exchange, struct text node_id,
                                        struct text task_arn)
{
    struct exec_hub *hub = exchange->server->exec;
    struct exec_session *session = ALLOC(struct exec_session);
    uint64_t now = exec_now_ms(hub);
    session->hub = hub;
    session->account = arena_text(&session->arena, exchange->caller.account);
    session->region = arena_text(&session->arena, exchange->caller.region);
    session->node_id = arena_text(&session->arena, node_id);
    session->task_arn = arena_text(&session->arena, task_arn);
    make_id(hub, session->id);
    make_token(&session->sides[EXEC_CLIENT], now + EXEC_TOKEN_MS);
    make_token(&session->sides[EXEC_NODE], UINT64_MAX);
    session->sides[EXEC_CLIENT].gone_ms = now;
    session->sides[EXEC_NODE].gone_ms = now;
    session->next = hub->first;
    if (hub->first != NULL) {
        hub->first->previous = session;
    }
    hub->first = session;
    map_put(&hub->by_id, text_of(session->id), session);
    hub->begun++;
    return session;
}

static bool tell_node(struct exec_session *session, struct text container, struct text command)
{
    struct server *server = session->hub->server;
    char message_id[REQUEST_ID_CHARS + 1];
    server_request_id(server, message_id);
    const struct session_execute_command_message message = {
        .message_id = text_of(message_id),
        .task_arn = session->task_arn,
        .container_name = container,
        .session_id = text_of(session->id),
        .command = command,
        .has_idle_timeout_ms = true,
        .idle_timeout_ms =
            server->options.exec_idle_ms > 0 ? server->options.exec_idle_ms : IDLE_MS,
        .token = text_of(session->sides[EXEC_NODE].token),
    };
    return server_sessions_send(server->sessions, session->node_id, "ExecuteCommandMessage",
                                &session_execute_command_message_shape, &message);
}

bool exec_begin(struct exchange *exchange, const void *request, void *response)
{
    const struct ecs_execute_command_request *in = request;
    struct ecs_execute_command_response *out = response;
    struct server *server = exchange->server;
    struct exec_hub *hub = server->exec;
    struct text node_id = {0};
    bool logged = false;
    if (server->options.exec_plan == NULL || dispatch_session_url(exchange) == NULL ||
        server->options.exec_plan(server->core, out->task_arn, out->container_name, &node_id,
                                  &logged) != 0) {
        return not_connected(exchange);
    }
    if (exec_count(hub) + hub->over_count >= SESSIONS_MAX) {
        return throttled(exchange, "too many sessions of ECS Exec are open.");
    }
    if (count_of_task(hub, out->task_arn) >= SESSIONS_TASK_MAX) {
        return throttled(exchange, "too many sessions of ECS Exec are open in this task.");
    }
    struct exec_session *session = session_new(exchange, node_id, out->task_arn);
    if (!tell_node(session, out->container_name, in->command)) {
        session_free(session);
        return not_connected(exchange);
    }
    if (logged && server->options.exec_dir != NULL) {
        const struct exec_log_head head = {.session_id = text_of(session->id),
                                           .task_arn = out->task_arn,
                                           .container = out->container_name,
                                           .command = in->command,
                                           .caller_arn = exchange->caller.arn};
        session->log = exec_log_open(server->options.exec_dir, &head);
    }
    LOG(INFO, "a session of ECS Exec began", LOG_STR("session", session->id),
        LOG_TXT("task", out->task_arn), LOG_TXT("container", out->container_name),
        LOG_TXT("caller", exchange->caller.arn));
    out->session = ARENA_NEW(&exchange->arena, struct ecs_session);
    out->session->session_id = arena_text(&exchange->arena, text_of(session->id));
    out->session->stream_url = stream_url(exchange, session->id);
    out->session->token_value =
        arena_text(&exchange->arena, text_of(session->sides[EXEC_CLIENT].token));
    return true;
}

// @return the session, when it is there and the caller's
static struct exec_session *find_session(const struct exchange *exchange, struct text id)
{
    struct exec_session *session = map_get(&exchange->server->exec->by_id, id);
    bool own = session != NULL && text_equal(session->account, exchange->caller.account) &&
               text_equal(session->region, exchange->caller.region);
    return own ? session : NULL;
}

void exec_resume(struct exchange *exchange, const void *request)
{
    const struct ssm_resume_session_request *in = request;
    if (!is_id(in->session_id)) {
        struct refusal refusal = refusal_modelled(
            &ssm_error_does_not_exist_exception,
            arena_format(&exchange->arena,
                         "Session '%.*s' does not exist. Berth has sessions of ECS Exec only.",
                         TEXT_FMT(in->session_id)));
        dispatch_refuse(exchange, &refusal);
        return;
    }
    struct exec_session *session = find_session(exchange, in->session_id);
    struct ssm_resume_session_response response = {
        .session_id = in->session_id,
        .token_value = TEXT(""), // clients then tell that it timed out
    };
    if (session != NULL) {
        struct exec_side *client = &session->sides[EXEC_CLIENT];
        uint64_t now = exec_now_ms(session->hub);
        make_token(client, now + EXEC_TOKEN_MS);
        response.token_value = arena_text(&exchange->arena, text_of(client->token));
        response.stream_url = stream_url(exchange, session->id);
    }
    dispatch_respond(exchange, &response);
}

void exec_terminate(struct exchange *exchange, const void *request)
{
    const struct ssm_terminate_session_request *in = request;
    struct exec_session *session = find_session(exchange, in->session_id);
    if (session != NULL) {
        exec_end(session, TEXT("The session was terminated."));
    }
    const struct ssm_terminate_session_response response = {.session_id = in->session_id};
    dispatch_respond(exchange, &response);
}
