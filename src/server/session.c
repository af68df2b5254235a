#include "api/node.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "server/acs_compat.h"
#include "server/exec.h"
#include "server/session_internal.h"
#include "server/session_upgrade.h"

#include <string.h>

/*
 * Websocket sessions of nodes: ACS (work and its acknowledgement) and TCS (telemetry).
 *
 * A session belongs to libwebsockets' connection: it is made when the upgrade request was
 * verified and goes with the connection. A node has one ACS session, the newest; what it says is
 * turned into operations of the engine's node service, and the engine's effects into frames.
 */

// Frames not yet sent. A node that takes less than it is sent loses its session, not its work: the
// engine compares and sends again when it is back.
#define HEAD_BYTES 1024 // of a refusal
#define QUEUE_BYTES_MAX ((size_t)2 * LIMIT_FRAME_BYTES)
#define BERTH_HEARTBEAT_TICKS 10  // 1 s: three within a lease
#define STOCK_HEARTBEAT_TICKS 200 // 20 s: the agent gives up after 60
#define BERTH_SILENCE_MS 30000    // long after its lease is over
#define STOCK_SILENCE_MS 180000   // as the agent's own read deadline

struct frame {
    struct frame *next;
    int64_t version; // of the state that must be durable before it goes out; 0 for none
    size_t size;
    unsigned char bytes[]; // LWS_PRE free ones, then the text
};

uint64_t sessions_now_ms(const struct sessions *sessions)
{
    return uv_now(sessions->server->options.loop);
}

// ---- sending ----------------------------------------------------------------------------------

static void frames_free(struct session *session)
{
    while (session->first != NULL) {
        struct frame *frame = session->first;
        session->first = frame->next;
        alloc_free(frame);
    }
    session->last = NULL;
    session->queued_bytes = 0;
}

// Close with a status and a reason, at the next tick: the library says why only when it is told to
// close from outside of its callbacks.
void session_end(struct session *session, int status, struct text reason)
{
    if (session->ending) {
        return;
    }
    session->ending = true;
    frames_free(session);
    session->close_status = status;
    reason.size = MIN(reason.size, (size_t)SESSION_REASON_CHARS_MAX);
    if (reason.size > 0) {
        memcpy(session->close_reason, reason.data, reason.size);
    }
}

// Sends the close frame and waits for the other side's, or a short while. May free the session.
static void session_close(struct session *session)
{
    lws_close_reason(session->wsi, (enum lws_close_status)session->close_status,
                     (unsigned char *)session->close_reason, strlen(session->close_reason));
    session->close_status = 0;
    lws_set_timeout(session->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

// Close at once: the other side takes nothing.
static void session_kill(struct session *session, const char *why)
{
    LOG(WARN, "closing the session of a node", LOG_TXT("node", session->caller.node_id),
        LOG_STR("reason", why));
    frames_free(session);
    session->ending = true;
    lws_set_timeout(session->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
}

bool session_send(struct session *session, const char *type, const struct shape_type *shape,
                  const void *message)
{
    if (session->ending) {
        return false;
    }
    AUTO(buf_deinit) struct buf text = {0};
    session_frame_write(type, shape, message, &text);
    if (session->queued_bytes + text.size > QUEUE_BYTES_MAX) {
        session_kill(session, "it does not take what it is sent");
        return false;
    }
    struct frame *frame = alloc_zero(sizeof(*frame) + LWS_PRE + text.size);
    frame->size = text.size;
    memcpy(frame->bytes + LWS_PRE, text.data, text.size);
    if (session->last == NULL) {
        session->first = frame;
    } else {
        session->last->next = frame;
    }
    session->last = frame;
    session->queued_bytes += frame->size;
    lws_callback_on_writable(session->wsi);
    return true;
}

bool session_send_durable(struct session *session, const char *type, const struct shape_type *shape,
                          const void *message)
{
    bool sent = session_send(session, type, shape, message);
    if (sent) {
        session->last->version = core_version(session->sessions->server->core);
    }
    return sent;
}

static void on_durable(struct host_wait *wait)
{
    struct session *session = CONTAINER_OF(wait, struct session, wait);
    session->waiting = false;
    session->durable_version = wait->version;
    lws_callback_on_writable(session->wsi);
}

// @return whether a frame has to wait; then the session is told when it has no longer to
static bool is_held(struct session *session, const struct frame *frame)
{
    if (frame->version <= session->durable_version) {
        return false;
    }
    if (!session->waiting) {
        session->waiting = true;
        session->wait.done = on_durable;
        host_wait(session->sessions->server->options.host, &session->wait);
    }
    return frame->version > session->durable_version;
}

// @return what the library's callback returns: not 0 closes
static int on_writable(struct session *session)
{
    while (session->first != NULL && !is_held(session, session->first)) {
        struct frame *frame = session->first;
        if (lws_write(session->wsi, frame->bytes + LWS_PRE, frame->size, LWS_WRITE_TEXT) < 0) {
            return -1;
        }
        session->first = frame->next;
        session->last = session->first == NULL ? NULL : session->last;
        session->queued_bytes -= frame->size;
        alloc_free(frame);
        if (session->first != NULL && lws_send_pipe_choked(session->wsi)) {
            lws_callback_on_writable(session->wsi);
            break;
        }
    }
    return 0;
}

bool server_sessions_send(struct sessions *sessions, struct text node_id, const char *type,
                          const struct shape_type *shape, const void *message)
{
    struct session *session = map_get(&sessions->nodes, node_id);
    if (session == NULL) {
        return false;
    }
    return session->berth ? session_send(session, type, shape, message)
                          : acs_compat_send(session, type, shape, message);
}

bool server_sessions_stock(const struct sessions *sessions, struct text node_id)
{
    const struct session *session = map_get(&sessions->nodes, node_id);
    return session != NULL && !session->berth;
}

static void send_heartbeat(struct session *session)
{
    char id[32];
    int size = lws_snprintf(id, sizeof(id), "%lld-%llu", (long long)session->id,
                            (unsigned long long)session->sessions->tick);
    const struct session_heartbeat_message message = {
        .message_id = {id, (size_t)size}, .has_healthy = true, .healthy = true};
    session_send(session, "HeartbeatMessage", &session_heartbeat_message_shape, &message);
}
// ---- life of a session ------------------------------------------------------------------------

static struct session *session_new(struct sessions *sessions, struct lws *wsi,
                                   const struct session_upgrade *upgrade)
{
    struct session *session = ALLOC(struct session);
    session->sessions = sessions;
    session->wsi = wsi;
    session->id = ++sessions->next_id;
    session->telemetry = upgrade->telemetry;
    session->berth = upgrade->berth;
    struct arena *arena = &session->arena;
    session->caller = (struct core_caller){
        .account = arena_text(arena, upgrade->caller.account),
        .region = arena_text(arena, upgrade->caller.region),
        .arn = arena_text(arena, upgrade->caller.arn),
        .node_id = arena_text(arena, upgrade->caller.node_id),
        .key_id = arena_text(arena, upgrade->caller.key_id),
    };
    session->instance_arn = arena_text(arena, upgrade->instance_arn);
    session->agent_version = arena_text(arena, upgrade->agent_version);
    session->agent_hash = arena_text(arena, upgrade->agent_hash);
    session->docker_version = arena_text(arena, upgrade->docker_version);
    session->received_at_ms = sessions_now_ms(sessions);
    session->next = sessions->first;
    if (sessions->first != NULL) {
        sessions->first->previous = session;
    }
    sessions->first = session;
    return session;
}

static void session_free(struct session *session)
{
    struct sessions *sessions = session->sessions;
    if (session->previous != NULL) {
        session->previous->next = session->next;
    } else {
        sessions->first = session->next;
    }
    if (session->next != NULL) {
        session->next->previous = session->previous;
    }
    frames_free(session);
    if (session->waiting) {
        host_wait_cancel(sessions->server->options.host, &session->wait);
    }
    buf_deinit(&session->received);
    arena_deinit(&session->arena);
    alloc_free(session);
}

// The engine answers with effects: a manifest, payloads.
static void connect_node(struct session *session)
{
    const struct node_node_connect_request request = {
        .has_session = true,
        .session = session->id,
        .container_instance_arn = session->instance_arn,
        .agent_version = session->agent_version,
        .agent_hash = session->agent_hash,
        .docker_version = session->docker_version,
        .has_berth_agent = true,
        .berth_agent = session->berth,
    };
    struct core_call call = {0};
    int rc = session_tell(session, NODE_OP_NODE_CONNECT, &request, &call);
    if (rc == ERR_FAULT) {
        session_end(
            session, LWS_CLOSE_STATUS_POLICY_VIOLATION,
            arena_format(&session->sessions->scratch, "%s: %s", call.fault->name, call.fault_text));
    } else if (rc != 0) {
        // 1011 has agents come back at once; the store may have caught up by then.
        session_end(session, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, text_of(err_name(rc)));
    }
    arena_reset(&session->sessions->scratch);
}

static void on_established(struct session *session)
{
    struct sessions *sessions = session->sessions;
    session->attached = true;
    if (session->telemetry) {
        sessions->telemetry_count++;
    } else {
        struct session *older = map_put(&sessions->nodes, session->caller.node_id, session);
        if (older != NULL) {
            older->attached = false;
            session_end(older, LWS_CLOSE_STATUS_POLICY_VIOLATION,
                        TEXT("replaced by a newer session of the node"));
        }
        connect_node(session);
        LOG(INFO, "a node connected", LOG_TXT("node", session->caller.node_id),
            LOG_TXT("version", session->agent_version));
    }
    send_heartbeat(session);
}

static void on_closed(struct session *session)
{
    struct sessions *sessions = session->sessions;
    if (!session->attached) {
        return;
    }
    session->attached = false;
    if (session->telemetry) {
        sessions->telemetry_count--;
        return;
    }
    map_remove(&sessions->nodes, session->caller.node_id);
    LOG(INFO, "a node disconnected", LOG_TXT("node", session->caller.node_id));
    if (!sessions->server->stopping) {
        logs_node_gone(sessions->server, session->caller.node_id);
    }
    const struct node_node_disconnect_request request = {.has_session = true,
                                                         .session = session->id};
    session_tell_lightly(session, NODE_OP_NODE_DISCONNECT, &request);
    arena_reset(&sessions->scratch);
}

void sessions_tick(uv_timer_t *timer)
{
    struct sessions *sessions = CONTAINER_OF(timer, struct sessions, timer);
    uint64_t now = sessions_now_ms(sessions);
    sessions->tick++;
    struct session *next = NULL;
    for (struct session *session = sessions->first; session != NULL; session = next) {
        next = session->next;
        if (session->close_status != 0) {
            session_close(session);
            continue;
        }
        if (!session->attached || session->ending) {
            continue;
        }
        bool often = session->berth && !session->telemetry;
        uint64_t period = often ? BERTH_HEARTBEAT_TICKS : STOCK_HEARTBEAT_TICKS;
        // The id spreads sessions over the ticks of a period.
        if (sessions->tick % period == (uint64_t)session->id % period) {
            send_heartbeat(session);
        }
        if (now - session->received_at_ms > (often ? BERTH_SILENCE_MS : STOCK_SILENCE_MS)) {
            session_kill(session, "it is silent");
        }
    }
    exec_tick(sessions->server->exec);
    logs_tick(sessions->server);
    events_tick(sessions->server);
}
static int on_event(struct session_peer *peer, enum lws_callback_reasons reason, void *bytes,
                    size_t size)
{
    struct session *session = CONTAINER_OF(peer, struct session, peer);
    if (reason == LWS_CALLBACK_ESTABLISHED) {
        on_established(session);
    } else if (reason == LWS_CALLBACK_RECEIVE) {
        return session_receive(session, bytes, size);
    } else if (reason == LWS_CALLBACK_SERVER_WRITEABLE) {
        return on_writable(session);
    } else if (reason == LWS_CALLBACK_CLOSED) {
        on_closed(session);
    } else if (reason == LWS_CALLBACK_WSI_DESTROY) {
        on_closed(session);
        lws_set_opaque_user_data(session->wsi, NULL);
        session_free(session);
    }
    return 0;
}

// ---- the upgrade ------------------------------------------------------------------------------

// A stock agent names its instance itself; nothing is done for it before the engine agrees.
static int admit(struct sessions *sessions, const struct session_upgrade *upgrade,
                 struct refusal *out_refusal)
{
    if (!upgrade->keyless) {
        return 0;
    }
    const struct api_operation *described = &node_operations[NODE_OP_NODE_ADMIT];
    const struct node_node_admit_request request = {.container_instance_arn =
                                                        upgrade->instance_arn};
    struct core_call call = {.arena = &sessions->scratch};
    void *response = arena_alloc(&sessions->scratch, described->output->size_bytes);
    int rc = host_request(sessions->server->options.host, &upgrade->caller, described, &call,
                          &request, response);
    if (rc == ERR_FAULT) {
        // The agent looks for the name: after InactiveInstanceException it waits long.
        *out_refusal =
            refusal_modelled(call.fault, arena_text(&sessions->scratch, text_of(call.fault_text)));
    } else if (rc != 0) {
        *out_refusal = refusal_front(FRONT_THROTTLING, text_of(err_name(rc)));
    }
    return rc;
}

// As Amazon's agent reads it; Berth's own looks at the status alone.
static void refuse(struct lws *wsi, const struct refusal *refusal)
{
    AUTO(buf_deinit) struct buf body = {0};
    AUTO(buf_deinit) struct buf out = {0};
    acs_compat_refusal(refusal, &body);
    unsigned char *head = (unsigned char *)buf_reserve(&out, LWS_PRE + HEAD_BYTES + body.size);
    unsigned char *at = head + LWS_PRE;
    unsigned char *end = at + HEAD_BYTES;
    if (lws_add_http_common_headers(wsi, (unsigned int)refusal->json_status, "application/json",
                                    body.size, &at, end) != 0 ||
        lws_finalize_http_header(wsi, &at, end) != 0) {
        return; // the connection is closed without a word
    }
    memcpy(at, body.data, body.size);
    at += body.size;
    // Both in one piece: the connection goes as soon as the library has the refusal.
    IGNORE(lws_write(wsi, head + LWS_PRE, (size_t)(at - head - LWS_PRE), LWS_WRITE_HTTP_HEADERS),
           "who is refused may be gone");
}

int session_upgrade(struct sessions *sessions, struct lws *wsi)
{
    struct session_upgrade upgrade = {0};
    struct refusal refusal = {0};
    int rc = 0;
    if (sessions->server->stopping) {
        rc = -1;
    } else if (host_is_read_only(sessions->server->options.host)) {
        refusal = refusal_front(FRONT_UNAVAILABLE, TEXT("the server's disk is full"));
        refuse(wsi, &refusal);
        rc = -1;
    } else if (session_upgrade_check(sessions->server, wsi, &sessions->scratch, &upgrade,
                                     &refusal) != 0 ||
               admit(sessions, &upgrade, &refusal) != 0) {
        refuse(wsi, &refusal);
        LOG(WARN, "a session was refused", LOG_STR("code", refusal.code),
            LOG_TXT("reason", refusal.message));
        rc = -1;
    } else {
        struct session *session = session_new(sessions, wsi, &upgrade);
        session->peer.event = on_event;
        lws_set_opaque_user_data(wsi, &session->peer);
    }
    arena_reset(&sessions->scratch);
    return rc;
}
