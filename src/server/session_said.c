#include "api/node.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "server/acs_compat.h"
#include "server/session_internal.h"
#include "server/usage.h"

/*
 * What nodes say on their sessions, turned into operations of the engine's node service.
 */

#define BEAT_MS 200 // several frames in a burst are one sign of life

// Tell the engine. Its answer is empty but for NodeConnect's.
int session_tell(struct session *session, enum node_operation operation, const void *request,
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
bool session_tell_lightly(struct session *session, enum node_operation operation,
                          const void *request)
{
    struct core_call call = {0};
    int rc = session_tell(session, operation, request, &call);
    if (rc != 0) {
        LOG(DEBUG, "the engine did not take a message of a node",
            LOG_TXT("node", session->caller.node_id),
            LOG_STR("operation", node_operations[operation].name),
            LOG_STR("reason", rc == ERR_FAULT ? call.fault_text : err_name(rc)));
    }
    return rc == 0;
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
        session_tell_lightly(session, NODE_OP_NODE_ACK, &request);
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
        session_tell_lightly(session, NODE_OP_NODE_STOP_CANDIDATES, &request);
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
    if (rc == 0 && !session->berth) {
        acs_compat_credentials_ack(session, message.credentials_id);
    } else if (rc == 0) {
        const struct node_node_credentials_ack_request request = {.credentials_id =
                                                                      message.credentials_id};
        session_tell_lightly(session, NODE_OP_NODE_CREDENTIALS_ACK, &request);
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
        session_tell_lightly(session, NODE_OP_NODE_HEALTH, &request);
    }
    return rc;
}

static int on_timeline(struct session *session, const struct session_frame *frame,
                       struct shape_error *error)
{
    struct session_publish_timeline_request message = {0};
    int rc = read_message(session, frame, &session_publish_timeline_request_shape, &message, error);
    if (rc == 0) {
        const struct node_node_timeline_request request = {
            .tasks = {.items = message.tasks.items, .count = message.tasks.count}};
        if (session_tell_lightly(session, NODE_OP_NODE_TIMELINE, &request) &&
            message.metadata != NULL && !text_empty(message.metadata->message_id)) {
            const struct session_ack_publish_timeline ack = {.message_id =
                                                                 message.metadata->message_id};
            // The node then forgets it.
            session_send_durable(session, "AckPublishTimeline", &session_ack_publish_timeline_shape,
                                 &ack);
        }
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
        session_tell_lightly(session, NODE_OP_NODE_INSTANCE_STATUS, &request);
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
    {"PublishTimelineRequest", true, on_timeline, NULL},
    {"PublishMetricsRequest", true, on_metrics, "AckPublishMetric"},
    {"PublishInstanceStatusRequest", true, on_instance_status, "AckPublishInstanceStatus"},
};

static void beat(struct session *session)
{
    uint64_t now = sessions_now_ms(session->sessions);
    session->received_at_ms = now;
    if (session->telemetry || now - session->beat_at_ms < BEAT_MS) {
        return;
    }
    session->beat_at_ms = now;
    const struct node_node_empty request = {0};
    struct core_call call = {0};
    if (session_tell(session, NODE_OP_NODE_BEAT, &request, &call) == ERR_FAULT) {
        // The agent looks for the name of the fault in the reason, and then waits long.
        session_end(
            session, LWS_CLOSE_STATUS_POLICY_VIOLATION,
            arena_format(&session->sessions->scratch, "%s: %s", call.fault->name, call.fault_text));
    }
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

int session_receive(struct session *session, const void *bytes, size_t size)
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
