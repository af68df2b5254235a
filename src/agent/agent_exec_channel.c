#include "agent/agent_exec.h"

#include "api/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "shape/json.h"

#include <arpa/inet.h>
#include <string.h>

/*
 * The data channel of a session: a websocket to where the node's other sessions are, opened again
 * when it is lost. What was not acknowledged goes out again on the next one.
 */

#define SCHEMA_VERSION "1.0"
#define DIAL_FIRST_MS 100
#define DIAL_LAST_MS 2000
#define LOST_MAX_MS 30000 // the server waits as long for the node to come back
#define SILENT_MS 15000   // nothing comes, though something should: the connection is dead
#define TICK_LAST_MS 1000

int64_t agent_exec_wall(void)
{
    return clock_wall_ms();
}

// ---- the channel's handlers -----------------------------------------------------------------

static void on_send(void *context, struct text frame)
{
    struct exec *exec = context;
    if (exec->open) {
        websocket_send_binary(exec->session, frame);
    }
}

static void take_size(struct exec *exec, struct text payload)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_size size = {0};
    struct shape_error why = {0};
    if (json_decode(&channel_size_shape, payload, &arena, &size, &why) == 0) {
        agent_exec_terminal_resize(exec, &size);
    }
}

static void take_flag(struct exec *exec, struct text payload)
{
    uint32_t flag = 0;
    if (payload.size == sizeof(flag)) {
        memcpy(&flag, payload.data, sizeof(flag));
        exec->terminate = exec->terminate || ntohl(flag) == MESSAGE_TERMINATE_SESSION;
    }
}

static void on_data(void *context, uint32_t payload_type, struct text payload)
{
    struct exec *exec = context;
    if (payload_type == MESSAGE_PAYLOAD_OUTPUT) {
        agent_exec_terminal_input(exec, payload);
    } else if (payload_type == MESSAGE_PAYLOAD_SIZE) {
        take_size(exec, payload);
    } else if (payload_type == MESSAGE_PAYLOAD_FLAG) {
        take_flag(exec, payload);
    }
}

static void on_ready(void *context)
{
    struct exec *exec = context;
    exec->ready = true;
}

static void on_client_closed(void *context, struct text output)
{
    struct exec *exec = context;
    (void)output;
    exec->terminate = true;
    exec->deserted = true;
}

static void on_random(void *context, void *bytes, size_t size)
{
    (void)context;
    clock_entropy(bytes, size);
}

// ---- the websocket --------------------------------------------------------------------------

static void make_uuid(char out_uuid[TEXT_UUID_CHARS + 1])
{
    unsigned char bytes[16];
    clock_entropy(bytes, sizeof(bytes));
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    text_uuid(bytes, out_uuid);
}

static void on_open(void *context, struct websocket *session)
{
    struct exec *exec = context;
    char request_id[TEXT_UUID_CHARS + 1];
    make_uuid(request_id);
    const struct channel_open_data_channel_input hello = {
        .message_schema_version = TEXT(SCHEMA_VERSION),
        .request_id = text_of(request_id),
        .token_value = exec->token,
        .client_id = exec->agent->identity.node_id,
        .client_version = text_of(exec->agent->options.version),
    };
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&channel_open_data_channel_input_shape, &hello, &json);
    websocket_send_text(session, buf_view(&json));
    exec->open = true;
    exec->dial_failures = 0;
    exec->anew = false;
    channel_open(exec->channel, agent_exec_wall());
    agent_exec_turn(exec);
}

static void on_text(void *context, struct websocket *session, struct text frame)
{
    struct exec *exec = context;
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_server_word word = {0};
    struct shape_error why = {0};
    (void)session;
    if (json_decode(&channel_server_word_shape, frame, &arena, &word, &why) == 0 &&
        word.client_connected_anew) {
        exec->anew = true;
        agent_exec_turn(exec);
    }
}

// What cannot be understood cannot be answered: there is nothing to go on with.
static void fail(struct exec *exec, const struct err *err)
{
    LOG(WARN, "a session's channel is broken", LOG_STR("session", exec->session_id),
        LOG_STR("reason", err->text));
    agent_exec_channel_drop(exec);
    exec->phase = EXEC_OVER;
}

static void on_binary(void *context, struct websocket *session, struct text frame)
{
    struct exec *exec = context;
    struct err err = {0};
    (void)session;
    if (channel_receive(exec->channel, agent_exec_wall(), frame, &err) != 0) {
        fail(exec, &err);
    }
    agent_exec_turn(exec);
}

void agent_exec_channel_allow(struct exec *exec, size_t bytes)
{
    struct err err = {0};
    if (channel_allow(exec->channel, agent_exec_wall(), bytes, &err) != 0) {
        fail(exec, &err);
    }
}

// A server that goes away (1001) or has a trouble of its own (1011 to 1014) may be back; what it
// ended, or does not want, it will not want the next time.
static bool is_final(uint16_t code)
{
    return code == 1000 || (code >= 1002 && code <= 1010);
}

static void on_closed(void *context, struct websocket *session, struct text why, bool refused)
{
    struct exec *exec = context;
    bool final = refused || is_final(websocket_code(session));
    exec->session = NULL;
    exec->open = false;
    if (final && exec->phase != EXEC_OVER) {
        LOG(INFO, "the server ended a session of ECS Exec", LOG_STR("session", exec->session_id),
            LOG_TXT("reason", why));
        exec->phase = EXEC_OVER;
    }
    int64_t delay_ms = DIAL_FIRST_MS << MIN(exec->dial_failures, 10u);
    exec->dial_failures++;
    exec->lost_ms = exec->lost_ms < 0 ? agent_exec_now() : exec->lost_ms;
    exec->dial_ms = agent_exec_now() + MIN(delay_ms, (int64_t)DIAL_LAST_MS);
    agent_exec_turn(exec);
}

// The host of the other sessions, another path.
static void make_url(const struct exec *exec, struct buf *out)
{
    struct text base = text_of(exec->agent->server.acs_url);
    size_t scheme = text_find(base, ':');
    size_t host = scheme == SIZE_MAX ? 0 : scheme + 3; // behind ://
    size_t slash = text_find(text_slice(base, host, base.size), '/');
    buf_text(out, slash == SIZE_MAX ? base : text_slice(base, 0, host + slash));
    buf_format(out, "/v1/data-channel/%s?role=agent", exec->session_id);
}

static void dial(struct exec *exec)
{
    const struct websocket_handlers handlers = {.open = on_open,
                                                .text = on_text,
                                                .binary = on_binary,
                                                .closed = on_closed,
                                                .context = exec};
    AUTO(buf_deinit) struct buf url = {0};
    make_url(exec, &url);
    exec->session = agent_session_open(exec->agent->server.sessions, buf_view(&url), &handlers);
    if (exec->session == NULL) {
        exec->phase = EXEC_OVER;
    }
}

void agent_exec_channel_begin(struct exec *exec)
{
    const struct channel_handlers handlers = {.send = on_send,
                                              .data = on_data,
                                              .ready = on_ready,
                                              .closed = on_client_closed,
                                              .random = on_random,
                                              .context = exec};
    exec->channel = channel_new(CHANNEL_NODE, text_of(exec->session_id), &handlers);
    exec->lost_ms = agent_exec_now();
}

int64_t agent_exec_channel_turn(struct exec *exec)
{
    int64_t now_ms = agent_exec_now();
    if (exec->session == NULL) {
        if (now_ms - exec->lost_ms > LOST_MAX_MS) {
            LOG(INFO, "a session of ECS Exec was lost", LOG_STR("session", exec->session_id));
            exec->phase = EXEC_OVER;
        } else if (now_ms >= exec->dial_ms) {
            dial(exec);
        }
        return exec->session == NULL ? exec->dial_ms : now_ms + TICK_LAST_MS;
    }
    if (!exec->open) {
        return now_ms + TICK_LAST_MS;
    }
    exec->lost_ms = -1;
    if (!channel_idle(exec->channel) && websocket_heard_ms(exec->session) < now_ms - SILENT_MS) {
        websocket_end(exec->session, "the server is silent");
    }
    // What is queued already need not be queued again.
    if (websocket_queued(exec->session) > 0) {
        return now_ms + TICK_LAST_MS;
    }
    if (exec->anew) {
        exec->anew = false;
        channel_open(exec->channel, agent_exec_wall());
    }
    int64_t next_ms = channel_tick(exec->channel, agent_exec_wall());
    return next_ms < 0 ? now_ms + TICK_LAST_MS : now_ms + next_ms - agent_exec_wall();
}

void agent_exec_channel_drop(struct exec *exec)
{
    if (exec->session != NULL) {
        websocket_end(exec->session, "the session is over");
    }
}
