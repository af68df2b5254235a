#include "api/channel.h"
#include "base/log.h"
#include "base/text.h"
#include "channel/message.h"
#include "server/exec_internal.h"
#include "server/session_upgrade.h"
#include "shape/json.h"

#include <openssl/crypto.h>
#include <string.h>

/*
 * The sockets of ECS Exec, and the frames that go from one to the other.
 *
 * A socket belongs to libwebsockets' connection. It stands for its side of the session once it
 * showed the side's token; a newer one takes its place.
 */

#define PATH "/v1/data-channel/"
#define FRAME_MAX (MESSAGE_PAYLOAD_MAX + 1024u) // a message with its header
#define WAY_HIGH_BYTES ((size_t)64 << 10)       // above: nothing more is read for it
#define WAY_LOW_BYTES ((size_t)16 << 10)        // below: it is read again
#define OPEN_MS 10000                           // until a socket showed its token
#define STALL_MS 60000                          // a reader that takes nothing
#define PENDING_MAX 4 // sockets of one side that did not show their token yet
#define ROLE_CHARS 32
#define ALIVE_MS 5000 // a node that hears nothing for three times as long opens its channel anew

struct exec_socket {
    struct session_peer peer; // first
    struct exec_socket *next;
    struct exec_socket *previous;
    struct exec_hub *hub;
    struct lws *wsi;
    struct exec_session *session; // NULL when it is of none any more
    enum exec_role role;
    bool open;                // it showed the token: it is its side's socket
    bool held;                // not read from, as what it says has nowhere to go
    bool ending;              // nothing more is listened to
    int close_status;         // not 0: still to be said
    const char *close_reason; // constant text
    bool binary;              // the frame that comes in
    struct buf received;
    uint64_t since_ms;
    uint64_t alive_ms; // when it last was sent anything
    bool alive_due;
};

static enum exec_role other(enum exec_role role)
{
    return role == EXEC_CLIENT ? EXEC_NODE : EXEC_CLIENT;
}

static struct exec_side *side_of(const struct exec_socket *socket)
{
    return &socket->session->sides[socket->role];
}

// ---- ways -------------------------------------------------------------------------------------

static void hold(struct exec_socket *socket, bool held)
{
    if (socket != NULL && socket->held != held) {
        socket->held = held;
        lws_rx_flow_control(socket->wsi, held ? 0 : 1);
    }
}

static void put(struct exec_session *session, enum exec_role to, struct text frame, bool word)
{
    struct exec_side *side = &session->sides[to];
    struct exec_frame *queued = alloc_zero(sizeof(*queued) + LWS_PRE + frame.size);
    queued->size = frame.size;
    queued->word = word;
    memcpy(queued->bytes + LWS_PRE, frame.data, frame.size);
    if (side->way.last == NULL) {
        side->way.first = queued;
        side->way.moved_ms = exec_now_ms(session->hub);
    } else {
        side->way.last->next = queued;
    }
    side->way.last = queued;
    side->way.bytes += queued->size;
    if (side->socket != NULL) {
        lws_callback_on_writable(side->socket->wsi);
    }
    if (side->way.bytes > WAY_HIGH_BYTES) {
        hold(session->sides[other(to)].socket, true);
    }
}

void exec_put(struct exec_session *session, enum exec_role to, struct text frame)
{
    session->hub->relayed_bytes += frame.size;
    put(session, to, frame, false);
}

// What went out on a line that was cut may be lost, as nobody tells us what arrived. The node keeps
// what was not acknowledged: it hears, in the order of the client's frames, that the client is on a
// new line, and sends that again.
static void say_connected_anew(struct exec_session *session)
{
    const struct exec_frame *last = session->sides[EXEC_NODE].way.last;
    if (last != NULL && last->word) {
        return; // it is about to be told
    }
    const struct channel_server_word word = {.has_client_connected_anew = true,
                                             .client_connected_anew = true};
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&channel_server_word_shape, &word, &json);
    put(session, EXEC_NODE, buf_view(&json), true);
}

static void way_pop(struct exec_way *way)
{
    struct exec_frame *frame = way->first;
    way->first = frame->next;
    way->last = way->first == NULL ? NULL : way->last;
    way->bytes -= frame->size;
    alloc_free(frame);
}

void exec_way_clear(struct exec_way *way)
{
    while (way->first != NULL) {
        way_pop(way);
    }
}

// An empty word in text, which means nothing, to a node whose client has nothing to say.
static int say_alive(struct exec_socket *socket)
{
    unsigned char frame[LWS_PRE + 2] = {0};
    frame[LWS_PRE] = '{';
    frame[LWS_PRE + 1] = '}';
    socket->alive_due = false;
    socket->alive_ms = exec_now_ms(socket->hub);
    return lws_write(socket->wsi, frame + LWS_PRE, 2, LWS_WRITE_TEXT) < 0 ? -1 : 0;
}

// @return what the library's callback returns: not 0 closes
static int on_writable(struct exec_socket *socket)
{
    if (socket->session == NULL || !socket->open) {
        return 0;
    }
    struct exec_session *session = socket->session;
    struct exec_way *way = &side_of(socket)->way;
    if (socket->alive_due && way->first == NULL) {
        return say_alive(socket);
    }
    while (way->first != NULL && !lws_send_pipe_choked(socket->wsi)) {
        struct exec_frame *frame = way->first;
        if (lws_write(socket->wsi, frame->bytes + LWS_PRE, frame->size,
                      frame->word ? LWS_WRITE_TEXT : LWS_WRITE_BINARY) < 0) {
            return -1;
        }
        way_pop(way);
        way->moved_ms = exec_now_ms(socket->hub);
        socket->alive_ms = way->moved_ms;
    }
    if (way->first != NULL) {
        lws_callback_on_writable(socket->wsi);
    }
    if (way->bytes < WAY_LOW_BYTES) {
        hold(session->sides[other(socket->role)].socket, false);
    }
    return 0;
}

// ---- a socket's life --------------------------------------------------------------------------

// Close with a status and a reason at the next tick, as session_end does.
static void socket_end(struct exec_socket *socket, int status, const char *reason)
{
    if (!socket->ending) {
        socket->ending = true;
        socket->close_status = status;
        socket->close_reason = reason;
    }
}

// The socket is no longer its side's.
static void leave(struct exec_socket *socket)
{
    struct exec_session *session = socket->session;
    if (session == NULL) {
        return;
    }
    struct exec_side *side = side_of(socket);
    if (side->socket == socket) {
        side->socket = NULL;
        side->gone_ms = exec_now_ms(socket->hub);
    }
    socket->session = NULL;
}

void exec_detach(struct exec_session *session)
{
    for (struct exec_socket *at = session->hub->sockets; at != NULL; at = at->next) {
        if (at->session == session) {
            leave(at);
            socket_end(at, LWS_CLOSE_STATUS_NORMAL, "the session is over");
        }
    }
}

static void socket_free(struct exec_socket *socket)
{
    leave(socket);
    if (socket->previous != NULL) {
        socket->previous->next = socket->next;
    } else {
        socket->hub->sockets = socket->next;
    }
    if (socket->next != NULL) {
        socket->next->previous = socket->previous;
    }
    buf_deinit(&socket->received);
    alloc_free(socket);
}

// ---- what a socket says -----------------------------------------------------------------------

static bool token_good(const struct exec_side *side, uint64_t now, struct text token)
{
    return now < side->token_until_ms && token.size == EXEC_TOKEN_CHARS &&
           CRYPTO_memcmp(token.data, side->token, EXEC_TOKEN_CHARS) == 0;
}

static void take_place(struct exec_socket *socket)
{
    struct exec_session *session = socket->session;
    struct exec_side *side = side_of(socket);
    struct exec_socket *older = side->socket;
    if (older != NULL) {
        older->session = NULL;
        socket_end(older, LWS_CLOSE_STATUS_POLICY_VIOLATION, "replaced by a newer connection");
    }
    if (socket->role == EXEC_CLIENT) {
        side->token_until_ms = 0; // for the next one ResumeSession has another
        if (side->seen) {
            say_connected_anew(session);
        }
    }
    side->socket = socket;
    side->seen = true;
    socket->open = true;
    side->way.moved_ms = exec_now_ms(socket->hub);
    socket->alive_ms = side->way.moved_ms;
    hold(socket, session->sides[other(socket->role)].way.bytes > WAY_HIGH_BYTES);
    lws_callback_on_writable(socket->wsi);
}

// The first frame: {"TokenValue": ..}.
static void on_token(struct exec_socket *socket)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_open_data_channel_input input = {0};
    struct shape_error error = {0};
    if (socket->binary || json_decode(&channel_open_data_channel_input_shape,
                                      buf_view(&socket->received), &arena, &input, &error) != 0) {
        socket_end(socket, LWS_CLOSE_STATUS_INVALID_PAYLOAD,
                   "the first frame must be OpenDataChannelInput as text");
    } else if (!token_good(side_of(socket), exec_now_ms(socket->hub), input.token_value)) {
        LOG(WARN, "a data channel was refused: its token is wrong, expired or was used",
            LOG_STR("session", socket->session->id));
        socket_end(socket, LWS_CLOSE_STATUS_POLICY_VIOLATION,
                   "the token is wrong, expired or was used");
    } else {
        take_place(socket);
    }
}

// A node's last word: what comes behind it is the end, in whatever way the connection goes.
static bool is_farewell(const struct exec_socket *socket)
{
    struct message message;
    struct err err;
    return socket->role == EXEC_NODE &&
           message_decode(buf_view(&socket->received), &message, &err) == 0 &&
           text_is(message.type, MESSAGE_TYPE_CLOSED);
}

static void on_frame(struct exec_socket *socket)
{
    struct exec_session *session = socket->session;
    if (!socket->open) {
        on_token(socket);
        return;
    }
    if (!socket->binary) {
        socket_end(socket, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE,
                   "frames of a data channel are binary");
        return;
    }
    if (session->over || side_of(socket)->done || socket->received.size == 0) {
        return;
    }
    if (socket->role == EXEC_NODE && session->log != NULL) {
        exec_log_frame(session->log, buf_view(&socket->received));
    }
    exec_put(session, other(socket->role), buf_view(&socket->received));
    side_of(socket)->done = side_of(socket)->done || is_farewell(socket);
}

static void on_receive(struct exec_socket *socket, const void *bytes, size_t size)
{
    if (socket->ending || socket->session == NULL) {
        return;
    }
    if (lws_is_first_fragment(socket->wsi)) {
        socket->binary = lws_frame_is_binary(socket->wsi) != 0;
    }
    if (socket->received.size + size > FRAME_MAX) {
        socket_end(socket, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "a frame may have 65 KiB");
        buf_reset(&socket->received);
        return;
    }
    buf_add(&socket->received, bytes, size);
    if (lws_is_final_fragment(socket->wsi) && lws_remaining_packet_payload(socket->wsi) == 0) {
        on_frame(socket);
        buf_reset(&socket->received);
    }
}

// A side that closes as one that is done ends the session; any other end may be followed by a new
// connection.
static void on_peer_close(struct exec_socket *socket, const unsigned char *bytes, size_t size)
{
    int status = size < 2 ? LWS_CLOSE_STATUS_NO_STATUS : bytes[0] << 8 | bytes[1];
    if (socket->session != NULL && socket->open && !socket->ending &&
        status == LWS_CLOSE_STATUS_NORMAL) {
        side_of(socket)->done = true;
    }
}

static int on_event(struct session_peer *peer, enum lws_callback_reasons reason, void *bytes,
                    size_t size)
{
    struct exec_socket *socket = CONTAINER_OF(peer, struct exec_socket, peer);
    if (reason == LWS_CALLBACK_RECEIVE) {
        on_receive(socket, bytes, size);
    } else if (reason == LWS_CALLBACK_SERVER_WRITEABLE) {
        return on_writable(socket);
    } else if (reason == LWS_CALLBACK_WS_PEER_INITIATED_CLOSE) {
        on_peer_close(socket, bytes, size);
    } else if (reason == LWS_CALLBACK_CLOSED) {
        leave(socket);
    } else if (reason == LWS_CALLBACK_WSI_DESTROY) {
        lws_set_opaque_user_data(socket->wsi, NULL);
        socket_free(socket);
    }
    return 0;
}

// ---- time -------------------------------------------------------------------------------------

// A session that is over sends what is on its way, then closes.
static void see_off(struct exec_socket *socket)
{
    struct exec_session *session = socket->session;
    if (session != NULL && session->over && side_of(socket)->way.first == NULL) {
        leave(socket);
        socket_end(socket, LWS_CLOSE_STATUS_NORMAL, "the session is over");
    }
}

static bool stalled(const struct exec_socket *socket, uint64_t now)
{
    if (socket->session == NULL || !socket->open) {
        return now - socket->since_ms > OPEN_MS;
    }
    const struct exec_way *way = &side_of(socket)->way;
    return way->first != NULL && now - way->moved_ms > STALL_MS;
}

// Both may free the socket.
static void socket_close(struct exec_socket *socket)
{
    size_t size = strlen(socket->close_reason);
    unsigned char reason[SESSION_REASON_CHARS_MAX];
    ASSERT(size <= sizeof(reason));
    memcpy(reason, socket->close_reason, size);
    hold(socket, false);
    lws_close_reason(socket->wsi, (enum lws_close_status)socket->close_status, reason, size);
    socket->close_status = 0;
    lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

static void socket_kill(struct exec_socket *socket)
{
    LOG(WARN, "closing a data channel that does not go on",
        LOG_STR("session", socket->session == NULL ? "" : socket->session->id),
        LOG_STR("reason", socket->open ? "it does not take what it is sent" : "it shows no token"));
    socket->ending = true;
    lws_set_timeout(socket->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
}

static void keep_alive(struct exec_socket *socket, uint64_t now)
{
    if (socket->role == EXEC_NODE && socket->open && socket->session != NULL && !socket->ending &&
        now - socket->alive_ms > ALIVE_MS) {
        socket->alive_due = true;
        lws_callback_on_writable(socket->wsi);
    }
}

void exec_sockets_tick(struct exec_hub *hub)
{
    uint64_t now = exec_now_ms(hub);
    struct exec_socket *next = NULL;
    for (struct exec_socket *socket = hub->sockets; socket != NULL; socket = next) {
        next = socket->next;
        see_off(socket);
        if (socket->close_status != 0) {
            socket_close(socket);
        } else if (!socket->ending && stalled(socket, now)) {
            socket_kill(socket);
        } else {
            keep_alive(socket, now);
        }
    }
}

// ---- the upgrade ------------------------------------------------------------------------------

bool exec_path(struct text path)
{
    return text_starts(path, TEXT(PATH));
}

static int refuse(struct lws *wsi, unsigned int status, const char *why)
{
    lws_return_http_status(wsi, status, why);
    LOG(WARN, "a data channel was refused", LOG_U64("status", status), LOG_STR("reason", why));
    return -1;
}

static size_t pending(const struct exec_session *session, enum exec_role role)
{
    size_t count = 0;
    for (const struct exec_socket *at = session->hub->sockets; at != NULL; at = at->next) {
        count += at->session == session && at->role == role && !at->open;
    }
    return count;
}

// A node's upgrade is signed by that node; a client has its token only.
static int check_node(struct exec_session *session, struct lws *wsi, struct arena *arena)
{
    struct auth_result auth;
    session_upgrade_auth(session->hub->server, wsi, arena, &auth);
    if (auth.error != FRONT_OK || !text_equal(auth.caller.node_id, session->node_id)) {
        return refuse(wsi, HTTP_STATUS_FORBIDDEN,
                      "This end of a session is the node's that has the task.");
    }
    return 0;
}

int exec_upgrade(struct exec_hub *hub, struct lws *wsi, struct text path, struct arena *arena)
{
    struct text id = text_slice(path, sizeof(PATH) - 1, path.size);
    struct exec_session *session = map_get(&hub->by_id, id);
    if (session == NULL) {
        return refuse(wsi, HTTP_STATUS_NOT_FOUND, "There is no such session, or it is over.");
    }
    char value[ROLE_CHARS];
    const char *role = lws_get_urlarg_by_name(wsi, "role=", value, sizeof(value));
    bool node = role != NULL && strcmp(role, "agent") == 0;
    if (!node && (role == NULL || strcmp(role, "publish_subscribe") != 0)) {
        return refuse(wsi, HTTP_STATUS_BAD_REQUEST,
                      "The parameter role must be publish_subscribe or agent.");
    }
    if (node && check_node(session, wsi, arena) != 0) {
        return -1;
    }
    if (pending(session, node ? EXEC_NODE : EXEC_CLIENT) >= PENDING_MAX) {
        return refuse(wsi, HTTP_STATUS_SERVICE_UNAVAILABLE,
                      "Too many connections of this session did not show their token yet.");
    }
    struct exec_socket *socket = ALLOC(struct exec_socket);
    socket->peer.event = on_event;
    socket->hub = hub;
    socket->wsi = wsi;
    socket->session = session;
    socket->role = node ? EXEC_NODE : EXEC_CLIENT;
    socket->since_ms = exec_now_ms(hub);
    socket->next = hub->sockets;
    if (hub->sockets != NULL) {
        hub->sockets->previous = socket;
    }
    hub->sockets = socket;
    lws_set_opaque_user_data(wsi, &socket->peer);
    return 0;
}
