#include "agent/agent_internal.h"

#include "base/log.h"
#include "base/text.h"
#include "shape/json.h"

/*
 * What is said on the sessions with the server: each frame is JSON, its type and a message of it.
 */

static void send_frame(struct websocket *session, const char *type, const struct shape_type *shape,
                       const void *message)
{
    AUTO(buf_deinit) struct buf frame = {0};
    buf_format(&frame, "{\"type\":\"%s\",\"message\":", type);
    json_encode(shape, message, &frame);
    buf_byte(&frame, '}');
    websocket_send_text(session, buf_view(&frame));
}

void agent_frame_send(struct agent *agent, const struct agent_effect *effect, bool telemetry)
{
    struct websocket *session = telemetry ? agent->server.tcs : agent->server.acs;
    if (session != NULL) {
        send_frame(session, effect->frame_type, effect->frame_shape, effect->frame);
    }
}

void agent_frame_send_telemetry(struct agent *agent, const char *type,
                                const struct shape_type *shape, const void *message)
{
    if (agent->server.tcs != NULL) {
        send_frame(agent->server.tcs, type, shape, message);
    }
}

void agent_frame_send_session(struct agent *agent, const char *type, const struct shape_type *shape,
                              const void *message)
{
    if (agent->server.acs != NULL) {
        send_frame(agent->server.acs, type, shape, message);
    }
}

static void take_payload(struct agent *agent, const void *message)
{
    // An agent that is about to stop takes no more; the server keeps what is not acknowledged.
    if (!agent->stopping) {
        agent_groups_payload(agent, message);
        agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_PAYLOAD, .payload = message});
    }
}

static void take_manifest(struct agent *agent, const void *message)
{
    agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_MANIFEST, .manifest = message});
}

static void take_stop_ack(struct agent *agent, const void *message)
{
    agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_STOP_VERIFICATION_ACK,
                                             .stop_ack = message});
}

static void take_logs(struct agent *agent, const void *message)
{
    agent_logs_answer(agent, message);
}

static void take_credentials(struct agent *agent, const void *message)
{
    agent_credentials_take(agent, message);
}

static void take_groups(struct agent *agent, const void *message)
{
    agent_groups_take(agent, message);
}

static void take_command(struct agent *agent, const void *message)
{
    agent_exec_take(agent, message);
}

static const struct {
    const char *type;
    const struct shape_type *shape;
    void (*take)(struct agent *agent, const void *message);
} acs_frames[] = {
    {"PayloadMessage", &session_payload_message_shape, take_payload},
    {"TaskManifestMessage", &session_task_manifest_message_shape, take_manifest},
    {"TaskStopVerificationAck", &session_task_stop_verification_ack_shape, take_stop_ack},
    {"LogsRequest", &session_logs_request_shape, take_logs},
    {"ExecuteCommandMessage", &session_execute_command_message_shape, take_command},
    {"SecurityGroupsMessage", &session_security_groups_message_shape, take_groups},
    {"IAMRoleCredentialsMessage", &session_iam_role_credentials_message_shape, take_credentials},
};

static int read_message(const struct shape_type *shape, struct text json, struct arena *arena,
                        void *out, struct shape_error *why)
{
    int rc = json_decode(shape, json, arena, out, why);
    return rc == 0 ? shape_validate(shape, out, why) : rc;
}

// The lease that the server gave is short, so this goes before anything else.
static int take_heartbeat(struct websocket *session, const struct session_frame *frame,
                          struct arena *arena, struct shape_error *why)
{
    struct session_heartbeat_message heartbeat = {0};
    int rc = read_message(&session_heartbeat_message_shape, frame->message, arena, &heartbeat, why);
    if (rc == 0) {
        const struct session_heartbeat_ack_request ack = {.message_id = heartbeat.message_id};
        send_frame(session, "HeartbeatAckRequest", &session_heartbeat_ack_request_shape, &ack);
    }
    return rc;
}

static int take_tcs(struct agent *agent, struct websocket *session,
                    const struct session_frame *frame, struct arena *arena, struct shape_error *why)
{
    if (text_is(frame->type, "HeartbeatMessage")) {
        return take_heartbeat(session, frame, arena, why);
    }
    if (!text_is(frame->type, "AckPublishTimeline")) {
        return 0;
    }
    struct session_ack_publish_timeline ack = {0};
    int rc = read_message(&session_ack_publish_timeline_shape, frame->message, arena, &ack, why);
    if (rc == 0) {
        agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_TIMELINE_TAKEN,
                                                 .message_id = ack.message_id});
    }
    return rc;
}

static int take_acs(struct agent *agent, struct websocket *session,
                    const struct session_frame *frame, struct arena *arena, struct shape_error *why)
{
    if (text_is(frame->type, "HeartbeatMessage")) {
        return take_heartbeat(session, frame, arena, why);
    }
    for (size_t i = 0; i < ARRAY_LEN(acs_frames); i++) {
        if (text_is(frame->type, acs_frames[i].type)) {
            void *message = arena_alloc(arena, acs_frames[i].shape->size_bytes);
            int rc = read_message(acs_frames[i].shape, frame->message, arena, message, why);
            if (rc == 0) {
                acs_frames[i].take(agent, message);
            }
            return rc;
        }
    }
    LOG(DEBUG, "the server sent a frame of a type that is not known", LOG_TXT("type", frame->type));
    return 0;
}

void agent_frame_take(void *context, struct websocket *session, struct text bytes)
{
    struct agent *agent = context;
    AUTO(arena_deinit) struct arena arena = {0};
    struct session_frame frame = {0};
    struct shape_error why = {0};
    agent->server.failures = 0;
    int rc = read_message(&session_frame_shape, bytes, &arena, &frame, &why);
    if (rc == 0 && session == agent->server.acs) {
        rc = take_acs(agent, session, &frame, &arena, &why);
    } else if (rc == 0 && session == agent->server.tcs) {
        rc = take_tcs(agent, session, &frame, &arena, &why);
    }
    if (rc != 0) {
        // Dropped, as Amazon's agent does: it is not acknowledged, so the server sends it again.
        LOG(WARN, "the server sent a frame that cannot be read", LOG_TXT("type", frame.type),
            LOG_STR("member", why.path), LOG_STR("reason", why.text));
    }
}
