#include "api/node.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/text.h"
#include "server/listen.h"
#include "server/server_internal.h"
#include "server/session_frame.h"
#include "server/session_upgrade.h"
#include "server/usage.h"

#include <libwebsockets.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * Websocket sessions of nodes: ACS (work and its acknowledgement) and TCS (telemetry).
 *
 * A session belongs to libwebsockets' connection: it is made when the upgrade request was
 * verified and goes with the connection. A node has one ACS session, the newest; what it says is
 * turned into operations of the engine's node service, and the engine's effects into frames.
 */

// Frames not yet sent. A node that takes less than it is sent loses its session, not its work: the
// engine compares and sends again when it is back.
#define QUEUE_BYTES_MAX ((size_t)2 * LIMIT_FRAME_BYTES)
#define TICK_MS 100
#define BERTH_HEARTBEAT_TICKS 10  // 1 s: three within a lease
#define STOCK_HEARTBEAT_TICKS 200 // 20 s: the agent gives up after 60
#define BERTH_SILENCE_MS 30000    // long after its lease is over
#define STOCK_SILENCE_MS 180000   // as the agent's own read deadline
#define BEAT_MS 200               // several frames in a burst are one sign of life
#define UPGRADE_SECONDS 10
#define RECEIVE_BYTES 4096
#define FILES_MAX 65536      // sessions of 10,000 nodes, and all else that is open
#define REASON_CHARS_MAX 123 // RFC 6455: what fits into a close frame

struct frame {
    struct frame *next;
    size_t size;
    unsigned char bytes[]; // LWS_PRE free ones, then the text
};

struct session {
    struct session *next;
    struct session *previous;
    struct sessions *sessions;
    struct lws *wsi;
    struct arena arena; // of what lives as long as the session
    struct core_caller caller;
    struct text instance_arn;
    struct text agent_version;
    int64_t id;
    bool telemetry;
    bool berth;
    bool attached;    // the upgrade is done; an ACS session stands for its node
    bool ending;      // nothing more is queued or listened to
    int close_status; // not 0: still to be said
    char close_reason[REASON_CHARS_MAX + 1];
    struct frame *first;
    struct frame *last;
    size_t queued_bytes;
    struct buf received;
    uint64_t received_at_ms;
    uint64_t beat_at_ms;
};

struct sessions {
    struct server *server;
    struct lws_context *context;
    char *urls[SERVER_LISTEN_MAX];
    struct session *first;
    struct map nodes; // node id to its attached ACS session
    size_t telemetry_count;
    int64_t next_id;
    uv_timer_t timer;
    bool timer_open;
    uint64_t tick;
    struct arena scratch; // of one frame
    struct lws_protocols protocols[2];
};

static uint64_t now_ms(const struct sessions *sessions)
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
static void session_end(struct session *session, int status, struct text reason)
{
    if (session->ending) {
        return;
    }
    session->ending = true;
    frames_free(session);
    session->close_status = status;
    reason.size = MIN(reason.size, (size_t)REASON_CHARS_MAX);
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

static bool session_send(struct session *session, const char *type, const struct shape_type *shape,
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

// @return what the library's callback returns: not 0 closes
static int on_writable(struct session *session)
{
    while (session->first != NULL) {
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
    return session != NULL && session_send(session, type, shape, message);
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

// ---- what a node says -------------------------------------------------------------------------

// Tell the engine. Its answer is empty but for NodeConnect's.
static int tell(struct session *session, enum node_operation operation, const void *request,
                struct core_call *call)
{
    struct sessions *sessions = session->sessions;
    const struct api_operation *described = &node_operations[operation];
    call->arena = &sessions->scratch;
    void *response = arena_alloc(&sessions->scratch, described->output->size_bytes);
    return host_request(sessions->server->options.host, &session->caller, described, call, request,
                        response);
}

// What is lost here because the store is behind, the engine or the node sends again.
static void tell_lightly(struct session *session, enum node_operation operation,
                         const void *request)
{
    struct core_call call = {0};
    int rc = tell(session, operation, request, &call);
    if (rc != 0) {
        LOG(DEBUG, "the engine did not take a message of a node",
            LOG_TXT("node", session->caller.node_id),
            LOG_STR("operation", node_operations[operation].name),
            LOG_STR("reason", rc == ERR_FAULT ? call.fault_text : err_name(rc)));
    }
}

static int read_message(struct session *session, const struct session_frame *frame,
                        const struct shape_type *shape, void *out_message,
                        struct shape_error *error)
{
    return session_frame_message(frame, shape, &session->sessions->scratch, out_message, error);
}

static int on_ack(struct session *session, const struct session_frame *frame,
                  struct shape_error *error)
{
    struct session_ack_request message = {0};
    int rc = read_message(session, frame, &session_ack_request_shape, &message, error);
    if (rc == 0) {
        const struct node_node_ack_request request = {.message_id = message.message_id};
        tell_lightly(session, NODE_OP_NODE_ACK, &request);
    }
    return rc;
}

static int on_stop_candidates(struct session *session, const struct session_frame *frame,
                              struct shape_error *error)
{
    struct session_task_stop_verification_message message = {0};
    int rc = read_message(session, frame, &session_task_stop_verification_message_shape, &message,
                          error);
    if (rc == 0) {
        const struct node_node_stop_candidates_request request = {
            .message_id = message.message_id,
            .stop_candidates = {.items = message.stop_candidates.items,
                                .count = message.stop_candidates.count}};
        tell_lightly(session, NODE_OP_NODE_STOP_CANDIDATES, &request);
    }
    return rc;
}

static int on_logs(struct session *session, const struct session_frame *frame,
                   struct shape_error *error)
{
    struct session_logs_reply message = {0};
    int rc = read_message(session, frame, &session_logs_reply_shape, &message, error);
    if (rc == 0) {
        logs_reply(session->sessions->server, session->caller.node_id, &message);
    }
    return rc;
}

static int on_credentials_ack(struct session *session, const struct session_frame *frame,
                              struct shape_error *error)
{
    struct session_iam_role_credentials_ack_request message = {0};
    int rc = read_message(session, frame, &session_iam_role_credentials_ack_request_shape, &message,
                          error);
    if (rc == 0) {
        const struct node_node_credentials_ack_request request = {.credentials_id =
                                                                      message.credentials_id};
        tell_lightly(session, NODE_OP_NODE_CREDENTIALS_ACK, &request);
    }
    return rc;
}

static int on_health(struct session *session, const struct session_frame *frame,
                     struct shape_error *error)
{
    struct session_publish_health_request message = {0};
    int rc = read_message(session, frame, &session_publish_health_request_shape, &message, error);
    if (rc == 0) {
        const struct node_node_health_request request = {
            .tasks = {.items = message.tasks.items, .count = message.tasks.count}};
        tell_lightly(session, NODE_OP_NODE_HEALTH, &request);
    }
    return rc;
}

// A part of a task's ARN, `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
static struct text arn_part(struct text arn, size_t index)
{
    struct text part = {0};
    for (size_t i = 0; i <= index && arn.data != NULL; i++) {
        part = text_cut(&arn, ':');
    }
    return part;
}

// @return whether a node has the task that it tells about
static bool has_task(const struct session *session, const struct session_task_metric *metric)
{
    const struct server *server = session->sessions->server;
    struct text node_id = {0};
    struct text task_arn = {0};
    bool stopped = false;
    return server->options.locate != NULL &&
           server->options.locate(server->core, arn_part(metric->task_arn, 4),
                                  arn_part(metric->task_arn, 3), metric->cluster_arn,
                                  metric->task_arn, &node_id, &task_arn, &stopped) == 0 &&
           text_equal(node_id, session->caller.node_id) && !stopped;
}

static int on_metrics(struct session *session, const struct session_frame *frame,
                      struct shape_error *error)
{
    struct session_publish_metrics_request message = {0};
    int rc = read_message(session, frame, &session_publish_metrics_request_shape, &message, error);
    for (size_t i = 0; rc == 0 && i < message.task_metrics.count; i++) {
        const struct session_task_metric *metric = &message.task_metrics.items[i];
        if (has_task(session, metric)) {
            size_t slash = text_find_last(metric->task_arn, '/');
            usage_put(session->sessions->server->usage,
                      text_slice(metric->task_arn, slash + 1, metric->task_arn.size), metric,
                      clock_wall_ms());
        }
    }
    return rc;
}

static int on_instance_status(struct session *session, const struct session_frame *frame,
                              struct shape_error *error)
{
    struct session_publish_instance_status_request message = {0};
    int rc = read_message(session, frame, &session_publish_instance_status_request_shape, &message,
                          error);
    if (rc == 0) {
        const struct node_node_instance_status_request request = {
            .statuses = {.items = message.statuses.items, .count = message.statuses.count}};
        tell_lightly(session, NODE_OP_NODE_INSTANCE_STATUS, &request);
    }
    return rc;
}

// Frames that a node sends: on which session, who handles them, and how they are acknowledged.
static const struct {
    const char *type;
    bool telemetry;
    int (*handle)(struct session *session, const struct session_frame *frame,
                  struct shape_error *error);
    const char *acknowledgement;
} incoming[] = {
    {"AckRequest", false, on_ack, NULL},
    {"HeartbeatAckRequest", false, NULL, NULL},
    {"TaskStopVerificationMessage", false, on_stop_candidates, NULL},
    {"LogsReply", false, on_logs, NULL},
    {"IAMRoleCredentialsAckRequest", false, on_credentials_ack, NULL},
    {"NackRequest", false, NULL, NULL},
    {"PublishHealthRequest", true, on_health, "AckPublishHealth"},
    {"PublishMetricsRequest", true, on_metrics, "AckPublishMetric"},
    {"PublishInstanceStatusRequest", true, on_instance_status, "AckPublishInstanceStatus"},
};

static void beat(struct session *session)
{
    uint64_t now = now_ms(session->sessions);
    session->received_at_ms = now;
    if (session->telemetry || now - session->beat_at_ms < BEAT_MS) {
        return;
    }
    session->beat_at_ms = now;
    const struct node_node_empty request = {0};
    tell_lightly(session, NODE_OP_NODE_BEAT, &request);
}

static int handle_frame(struct session *session, const struct session_frame *frame,
                        struct shape_error *error)
{
    for (size_t i = 0; i < ARRAY_LEN(incoming); i++) {
        if (incoming[i].telemetry != session->telemetry ||
            !text_is(frame->type, incoming[i].type)) {
            continue;
        }
        int rc = incoming[i].handle == NULL ? 0 : incoming[i].handle(session, frame, error);
        if (rc == 0 && incoming[i].acknowledgement != NULL) {
            const struct session_ack_publish_health message = {.message = TEXT("ok")};
            session_send(session, incoming[i].acknowledgement, &session_ack_publish_health_shape,
                         &message);
        }
        return rc;
    }
    // Newer agents may say what we do not know; the protocol has such frames dropped.
    LOG(DEBUG, "a node sent a frame of a type that is not known",
        LOG_TXT("node", session->caller.node_id), LOG_TXT("type", frame->type));
    return 0;
}

static void on_frame(struct session *session)
{
    struct sessions *sessions = session->sessions;
    struct session_frame frame = {0};
    struct shape_error error = {0};
    beat(session);
    int rc = session_frame_read(buf_view(&session->received), &sessions->scratch, &frame, &error);
    if (rc == 0) {
        rc = handle_frame(session, &frame, &error);
    }
    if (rc != 0) {
        LOG(WARN, "a node sent a frame that cannot be read",
            LOG_TXT("node", session->caller.node_id), LOG_TXT("type", frame.type),
            LOG_STR("member", error.path), LOG_STR("reason", error.text));
        session_end(session, LWS_CLOSE_STATUS_INVALID_PAYLOAD,
                    arena_format(&sessions->scratch, "%s %s", error.path, error.text));
    }
    arena_reset(&sessions->scratch);
    buf_reset(&session->received);
}

static int on_receive(struct session *session, const void *bytes, size_t size)
{
    if (session->ending) {
        return 0;
    }
    if (session->received.size + size > LIMIT_FRAME_BYTES) {
        session_end(session, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, TEXT("a frame may have 4 MiB"));
        return 0;
    }
    buf_add(&session->received, bytes, size);
    if (lws_is_final_fragment(session->wsi) && lws_remaining_packet_payload(session->wsi) == 0) {
        on_frame(session);
    }
    return 0;
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
    session->received_at_ms = now_ms(sessions);
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
        .has_berth_agent = true,
        .berth_agent = session->berth,
    };
    struct core_call call = {0};
    int rc = tell(session, NODE_OP_NODE_CONNECT, &request, &call);
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
    tell_lightly(session, NODE_OP_NODE_DISCONNECT, &request);
    arena_reset(&sessions->scratch);
}

static void on_tick(uv_timer_t *timer)
{
    struct sessions *sessions = CONTAINER_OF(timer, struct sessions, timer);
    uint64_t now = now_ms(sessions);
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
    logs_tick(sessions->server);
    events_tick(sessions->server);
}

// ---- the library ------------------------------------------------------------------------------

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
        // The agent looks for the name in the text: after InactiveInstanceException it waits long.
        *out_refusal =
            refusal_front(FRONT_ACCESS_DENIED, arena_format(&sessions->scratch, "%s: %s",
                                                            call.fault->name, call.fault_text));
    } else if (rc != 0) {
        *out_refusal = refusal_front(FRONT_THROTTLING, text_of(err_name(rc)));
    }
    return rc;
}

// @return what the library's callback returns: not 0 refuses
static int on_upgrade(struct sessions *sessions, struct lws *wsi)
{
    struct session_upgrade upgrade = {0};
    struct refusal refusal = {0};
    int rc = 0;
    if (sessions->server->stopping) {
        rc = -1;
    } else if (session_upgrade_check(sessions->server, wsi, &sessions->scratch, &upgrade,
                                     &refusal) != 0 ||
               admit(sessions, &upgrade, &refusal) != 0) {
        AUTO(buf_deinit) struct buf body = {0};
        refusal_write(&refusal, NULL, API_JSON_1_1, TEXT(""), &body);
        lws_return_http_status(wsi, (unsigned int)refusal.json_status, body.data);
        LOG(WARN, "a session was refused", LOG_STR("code", refusal.code),
            LOG_TXT("reason", refusal.message));
        rc = -1;
    } else {
        lws_set_opaque_user_data(wsi, session_new(sessions, wsi, &upgrade));
    }
    arena_reset(&sessions->scratch);
    return rc;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *bytes,
                    size_t size)
{
    (void)user;
    // Some events come before a connection has its context set up.
    const struct lws_protocols *protocol = wsi == NULL ? NULL : lws_get_protocol(wsi);
    struct sessions *sessions = protocol == NULL ? NULL : protocol->user;
    struct session *session = wsi == NULL ? NULL : lws_get_opaque_user_data(wsi);
    // Of the library's hundred events these concern us.
    if (reason == LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION && sessions != NULL) {
        return on_upgrade(sessions, wsi);
    }
    if (reason == LWS_CALLBACK_HTTP) {
        lws_return_http_status(wsi, HTTP_STATUS_NOT_FOUND, "Only websockets are here.");
        return -1;
    }
    if (session == NULL) {
        return 0;
    }
    if (reason == LWS_CALLBACK_ESTABLISHED) {
        on_established(session);
    } else if (reason == LWS_CALLBACK_RECEIVE) {
        return on_receive(session, bytes, size);
    } else if (reason == LWS_CALLBACK_SERVER_WRITEABLE) {
        return on_writable(session);
    } else if (reason == LWS_CALLBACK_CLOSED) {
        on_closed(session);
    } else if (reason == LWS_CALLBACK_WSI_DESTROY) {
        on_closed(session);
        lws_set_opaque_user_data(wsi, NULL);
        session_free(session);
    }
    return 0;
}

static void on_log(int level, const char *line)
{
    (void)level;
    struct text text = text_trim(text_of(line));
    LOG(WARN, "websocket library", LOG_TXT("line", text));
}

// The library takes memory for every descriptor that the process may open, used or not; where that
// is a million, it would be most of the server. It refuses descriptors above what it saw.
static struct lws_context *create_limited(const struct lws_context_creation_info *info)
{
    struct rlimit limit = {0};
    bool lowered = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > FILES_MAX;
    if (lowered) {
        const struct rlimit lower = {.rlim_cur = FILES_MAX, .rlim_max = limit.rlim_max};
        IGNORE(setrlimit(RLIMIT_NOFILE, &lower), "it then takes more memory");
    }
    struct lws_context *context = lws_create_context(info);
    if (lowered) {
        // Programs that are started later must find the limit as it was.
        int rc = setrlimit(RLIMIT_NOFILE, &limit);
        ASSERT(rc == 0);
    }
    return context;
}

static int create_context(struct sessions *sessions, struct err *err)
{
    lws_set_log_level(LLL_ERR, on_log);
    sessions->protocols[0] = (struct lws_protocols){
        .name = "berth", .callback = on_event, .rx_buffer_size = RECEIVE_BYTES, .user = sessions};
    void *loops[] = {sessions->server->options.loop};
    const struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .foreign_loops = loops,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
                   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .gid = -1,
        .uid = -1,
        .max_http_header_data = LIMIT_HEADER_BYTES,
        .timeout_secs = UPGRADE_SECONDS,
    };
    sessions->context = create_limited(&info);
    if (sessions->context == NULL) {
        return err_set(err, ERR_SYS,
                       "the websocket library does not start: is libwebsockets-evlib-uv there?");
    }
    return 0;
}

// The library reports a port in use late or not at all, so try first.
static int probe(const struct server_listen *listen, struct err *err)
{
    int fd = -1;
    int rc = listen_open(listen, &fd, err);
    if (rc == 0) {
        close(fd);
    }
    return rc;
}

static int listener_start(struct sessions *sessions, size_t index, struct err *err)
{
    const struct server *server = sessions->server;
    const struct server_listen *listen = &server->options.sessions[index];
    int rc = probe(listen, err);
    if (rc != 0) {
        return rc;
    }
    bool any = listen_is_any(listen->address);
    bool ipv6 = strchr(listen->address, ':') != NULL;
    // The library keeps the pointer.
    static const char *const names[SERVER_LISTEN_MAX] = {"sessions-0", "sessions-1", "sessions-2",
                                                         "sessions-3"};
    const struct lws_context_creation_info info = {
        .port = listen->port,
        .iface = any ? NULL : listen->address,
        .vhost_name = names[index],
        .protocols = sessions->protocols,
        // Without the first option the library serves plain text, whatever certificate it has.
        .options =
            LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
            (ipv6 ? LWS_SERVER_OPTION_IPV6_V6ONLY_MODIFY | LWS_SERVER_OPTION_IPV6_V6ONLY_VALUE
                  : LWS_SERVER_OPTION_DISABLE_IPV6),
        .ssl_cert_filepath = listen->tls ? pki_certificate_file(server->options.pki) : NULL,
        .ssl_private_key_filepath = listen->tls ? pki_key_file(server->options.pki) : NULL,
        .ssl_options_set = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1,
    };
    struct lws_vhost *vhost = lws_create_vhost(sessions->context, &info);
    int port = vhost == NULL ? -1 : lws_get_vhost_listen_port(vhost);
    if (port <= 0) {
        return err_set(err, ERR_SYS, "the websocket server cannot listen on %s port %u",
                       listen->address, listen->port);
    }
    const char *host = any && server->advertise != NULL ? server->advertise : listen->address;
    bool brackets = strchr(host, ':') != NULL;
    sessions->urls[index] = alloc_format("%s://%s%s%s:%d", listen->tls ? "https" : "http",
                                         brackets ? "[" : "", host, brackets ? "]" : "", port);
    return 0;
}

int server_sessions_new(struct server *server, struct sessions **out_sessions, struct err *err)
{
    struct sessions *sessions = ALLOC(struct sessions);
    sessions->server = server;
    *out_sessions = sessions;
    int rc = uv_timer_init(server->options.loop, &sessions->timer);
    ASSERT(rc == 0);
    sessions->timer_open = true;
    if (server->options.session_count == 0) {
        return 0;
    }
    rc = create_context(sessions, err);
    for (size_t i = 0; i < server->options.session_count && rc == 0; i++) {
        rc = listener_start(sessions, i, err);
    }
    if (rc == 0) {
        uv_timer_start(&sessions->timer, on_tick, TICK_MS, TICK_MS);
    }
    return rc;
}

const char *server_sessions_url(const struct sessions *sessions, size_t index)
{
    ASSERT(index < SERVER_LISTEN_MAX);
    return sessions->urls[index];
}

size_t server_sessions_count(const struct sessions *sessions, bool telemetry)
{
    return telemetry ? sessions->telemetry_count : sessions->nodes.count;
}

void server_sessions_close(struct sessions *sessions)
{
    if (sessions->timer_open) {
        sessions->timer_open = false;
        uv_close((uv_handle_t *)&sessions->timer, NULL);
    }
    if (sessions->context != NULL) {
        lws_context_destroy(sessions->context);
    }
}

void server_sessions_free(struct sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    ASSERT(sessions->first == NULL);
    if (sessions->context != NULL) {
        // On a loop that is not its own, the library asks to be told twice: to let go of the loop,
        // and, once the loop has closed its handles, to free the rest.
        lws_context_destroy(sessions->context);
    }
    for (size_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        alloc_free(sessions->urls[i]);
    }
    map_deinit(&sessions->nodes);
    arena_deinit(&sessions->scratch);
    alloc_free(sessions);
}
