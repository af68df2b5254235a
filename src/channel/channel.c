#include "channel/channel.h"

#include "api/channel.h"
#include "base/alloc.h"
#include "base/text.h"
#include "shape/json.h"
#include "shape/shape.h"

#include <string.h>

#define RESEND_FIRST_MS 200 // as clients do
#define RESEND_MOST_MS 1000
#define EARLY_MAX 1024 // frames that came before their turn; the other end sends no more at once
#define EARLY_BYTES_MAX (1u << 20) // of their payloads, which are 1 KiB
#define VERSION "1.2.0.0" // of the protocol's programs; clients look that it is not too old
#define ID_MAX 128
#define EXIT_CODE_ACTION "ExitCode" // what our own clients say that they do, unasked

/** A frame that was sent and not acknowledged. */
struct pending {
    struct pending *next;
    int64_t sequence;
    int64_t due_ms;
    int64_t wait_ms;
    int64_t first_ms;
    struct buf frame;
};

/** Stream data that came before what goes in front of it. */
struct early {
    struct early *next; // by sequence
    int64_t sequence;
    uint32_t payload_type;
    struct buf payload;
};

struct channel {
    enum channel_side side;
    struct channel_handlers handlers;
    char session_id[ID_MAX + 1];
    bool opened;
    bool ready;
    bool closed; // either end said so
    bool takes_exit_code;
    bool held; // hands out no stream data
    int64_t opened_ms;
    int64_t next_out;
    struct pending *first;
    struct pending *last;
    int64_t next_in;
    struct early *early;
    size_t early_count;
    size_t early_bytes;
};

struct channel *channel_new(enum channel_side side, struct text session_id,
                            const struct channel_handlers *handlers)
{
    struct channel *channel = ALLOC(struct channel);
    channel->side = side;
    channel->handlers = *handlers;
    IGNORE(text_copy(text_slice(session_id, 0, ID_MAX), channel->session_id,
                     sizeof(channel->session_id)),
           "it was cut to fit");
    return channel;
}

static void pending_drop_first(struct channel *channel)
{
    struct pending *pending = channel->first;
    channel->first = pending->next;
    channel->last = channel->first == NULL ? NULL : channel->last;
    buf_deinit(&pending->frame);
    alloc_free(pending);
}

static void early_drop_first(struct channel *channel)
{
    struct early *early = channel->early;
    channel->early = early->next;
    channel->early_count--;
    channel->early_bytes -= early->payload.size;
    buf_deinit(&early->payload);
    alloc_free(early);
}

void channel_free(struct channel *channel)
{
    if (channel == NULL) {
        return;
    }
    while (channel->first != NULL) {
        pending_drop_first(channel);
    }
    while (channel->early != NULL) {
        early_drop_first(channel);
    }
    alloc_free(channel);
}

// ---- sending ------------------------------------------------------------------------------

static struct message new_message(struct channel *channel, const char *type, int64_t now_ms)
{
    struct message message = {.type = text_of(type), .created_ms = now_ms};
    channel->handlers.random(channel->handlers.context, message.id, sizeof(message.id));
    return message;
}

static void send_frame(struct channel *channel, const struct buf *frame)
{
    channel->handlers.send(channel->handlers.context, buf_view(frame));
}

static void send_stream(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                        struct text payload)
{
    struct message message = new_message(
        channel, channel->side == CHANNEL_NODE ? MESSAGE_TYPE_OUTPUT : MESSAGE_TYPE_INPUT, now_ms);
    message.sequence = channel->next_out;
    message.flags = channel->next_out == 0 ? MESSAGE_FLAG_SYN : 0;
    message.payload_type = payload_type;
    message.payload = payload;
    struct pending *pending = ALLOC(struct pending);
    pending->sequence = channel->next_out++;
    pending->wait_ms = RESEND_FIRST_MS;
    pending->due_ms = now_ms + RESEND_FIRST_MS;
    pending->first_ms = now_ms;
    message_encode(&message, &pending->frame);
    if (channel->last == NULL) {
        channel->first = pending;
    } else {
        channel->last->next = pending;
    }
    channel->last = pending;
    if (channel->opened) {
        send_frame(channel, &pending->frame);
    }
}

static void send_shape(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                       const struct shape_type *shape, const void *value)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(shape, value, &json);
    send_stream(channel, now_ms, payload_type, buf_view(&json));
}

static void acknowledge(struct channel *channel, int64_t now_ms, const struct message *received)
{
    char id[TEXT_UUID_CHARS + 1];
    text_uuid(received->id, id);
    const struct channel_acknowledge content = {
        .acknowledged_message_type = received->type,
        .acknowledged_message_id = text_of(id),
        .has_acknowledged_message_sequence_number = true,
        .acknowledged_message_sequence_number = received->sequence,
        .has_is_sequential_message = true,
        .is_sequential_message = true,
    };
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&channel_acknowledge_shape, &content, &json);
    struct message message = new_message(channel, MESSAGE_TYPE_ACKNOWLEDGE, now_ms);
    message.flags = MESSAGE_FLAG_SYN | MESSAGE_FLAG_FIN;
    message.payload = buf_view(&json);
    AUTO(buf_deinit) struct buf frame = {0};
    message_encode(&message, &frame);
    send_frame(channel, &frame);
}

bool channel_takes_exit_code(const struct channel *channel)
{
    return channel->takes_exit_code;
}

size_t channel_room(const struct channel *channel)
{
    // Counted from the oldest that is missing there: what is behind it is kept until it comes.
    int64_t begun = channel->first == NULL ? 0 : channel->next_out - channel->first->sequence;
    if (channel->closed || begun >= CHANNEL_WINDOW) {
        return 0;
    }
    return (size_t)(CHANNEL_WINDOW - begun) * CHANNEL_PIECE_BYTES;
}

void channel_send(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                  struct text payload)
{
    size_t from = 0;
    while (from < payload.size && !channel->closed) {
        struct text piece = text_slice(payload, from, from + CHANNEL_PIECE_BYTES);
        send_stream(channel, now_ms, payload_type, piece);
        from += piece.size;
    }
}

void channel_close(struct channel *channel, int64_t now_ms, struct text output)
{
    if (channel->closed) {
        return;
    }
    channel->closed = true;
    struct message message = new_message(channel, MESSAGE_TYPE_CLOSED, now_ms);
    char id[TEXT_UUID_CHARS + 1];
    text_uuid(message.id, id);
    char created[32];
    AUTO(arena_deinit) struct arena arena = {0};
    IGNORE(text_copy(arena_format(&arena, "%lld", (long long)now_ms), created, sizeof(created)),
           "digits fit");
    const struct channel_channel_closed content = {
        .message_id = text_of(id),
        .created_date = text_of(created),
        .destination_id = text_of(channel->session_id),
        .session_id = text_of(channel->session_id),
        .message_type = TEXT(MESSAGE_TYPE_CLOSED),
        .has_schema_version = true,
        .schema_version = 1,
        .output = output.data == NULL ? TEXT("") : output,
    };
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&channel_channel_closed_shape, &content, &json);
    message.payload = buf_view(&json);
    AUTO(buf_deinit) struct buf frame = {0};
    message_encode(&message, &frame);
    send_frame(channel, &frame);
}

// ---- the handshake ------------------------------------------------------------------------

static void ask_handshake(struct channel *channel, int64_t now_ms)
{
    struct channel_client_action action = {
        .action_type = TEXT("SessionType"),
        .action_parameters = TEXT("{\"SessionType\":\"InteractiveCommands\",\"Properties\":{}}"),
    };
    const struct channel_handshake_request request = {
        .agent_version = TEXT(VERSION),
        .requested_client_actions = {.items = &action, .count = 1},
    };
    send_shape(channel, now_ms, MESSAGE_PAYLOAD_HANDSHAKE_REQUEST, &channel_handshake_request_shape,
               &request);
}

static void become_ready(struct channel *channel)
{
    if (!channel->ready) {
        channel->ready = true;
        channel->handlers.ready(channel->handlers.context);
    }
}

// The client: say to each action that it was done, or that there is none of that name.
static int answer_handshake(struct channel *channel, int64_t now_ms, struct text payload,
                            struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_handshake_request request = {0};
    struct shape_error error = {0};
    if (json_decode(&channel_handshake_request_shape, payload, &arena, &request, &error) != 0) {
        return err_set(err, ERR_INVALID, "the handshake cannot be read: %s", error.text);
    }
    size_t count = request.requested_client_actions.count;
    struct channel_processed_client_action *done = arena_array(&arena, count + 1, sizeof(*done));
    for (size_t i = 0; i < count; i++) {
        struct text type = request.requested_client_actions.items[i].action_type;
        bool known = text_is(type, "SessionType");
        done[i] = (struct channel_processed_client_action){
            .action_type = type,
            .has_action_status = true,
            .action_status = known ? 1 : 3,
            .error = known ? (struct text){0} : TEXT("This client cannot do that."),
        };
    }
    done[count] = (struct channel_processed_client_action){
        .action_type = TEXT(EXIT_CODE_ACTION), .has_action_status = true, .action_status = 1};
    const struct channel_handshake_response response = {
        .client_version = TEXT(VERSION),
        .processed_client_actions = {.items = done, .count = count + 1},
    };
    send_shape(channel, now_ms, MESSAGE_PAYLOAD_HANDSHAKE_RESPONSE,
               &channel_handshake_response_shape, &response);
    return 0;
}

// The node: see that the client does what it was asked for.
static int finish_handshake(struct channel *channel, int64_t now_ms, struct text payload,
                            struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_handshake_response response = {0};
    struct shape_error error = {0};
    if (json_decode(&channel_handshake_response_shape, payload, &arena, &response, &error) != 0) {
        return err_set(err, ERR_INVALID, "the client's handshake cannot be read: %s", error.text);
    }
    for (size_t i = 0; i < response.processed_client_actions.count; i++) {
        const struct channel_processed_client_action *action =
            &response.processed_client_actions.items[i];
        if (action->action_status != 1) {
            return err_set(err, ERR_INVALID, "the client refused the action '%.*s': %.*s",
                           TEXT_FMT(action->action_type), TEXT_FMT(action->error));
        }
        channel->takes_exit_code |= text_is(action->action_type, EXIT_CODE_ACTION);
    }
    const struct channel_handshake_complete complete = {
        .has_handshake_time_to_complete = true,
        .handshake_time_to_complete = MAX(now_ms - channel->opened_ms, (int64_t)0) * 1000000,
        .customer_message = TEXT(""),
    };
    send_shape(channel, now_ms, MESSAGE_PAYLOAD_HANDSHAKE_COMPLETE,
               &channel_handshake_complete_shape, &complete);
    become_ready(channel);
    return 0;
}

void channel_open(struct channel *channel, int64_t now_ms)
{
    bool first = !channel->opened;
    channel->opened = true;
    if (first) {
        channel->opened_ms = now_ms;
    }
    for (struct pending *at = channel->first; at != NULL; at = at->next) {
        at->due_ms = now_ms + at->wait_ms;
        send_frame(channel, &at->frame);
    }
    if (first && channel->side == CHANNEL_NODE) {
        ask_handshake(channel, now_ms);
    }
}

// ---- receiving ----------------------------------------------------------------------------

static int on_acknowledge(struct channel *channel, const struct message *message, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_acknowledge content = {0};
    struct shape_error error = {0};
    if (json_decode(&channel_acknowledge_shape, message->payload, &arena, &content, &error) != 0) {
        return err_set(err, ERR_INVALID, "an acknowledgement cannot be read: %s", error.text);
    }
    struct pending **at = &channel->first;
    struct pending *before = NULL;
    while (*at != NULL && (*at)->sequence != content.acknowledged_message_sequence_number) {
        before = *at;
        at = &(*at)->next;
    }
    struct pending *found = *at;
    if (found != NULL) {
        *at = found->next;
        channel->last = channel->last == found ? before : channel->last;
        buf_deinit(&found->frame);
        alloc_free(found);
    }
    return 0;
}

static int deliver(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                   struct text payload, struct err *err)
{
    bool client = channel->side == CHANNEL_CLIENT;
    switch (payload_type) {
    case MESSAGE_PAYLOAD_HANDSHAKE_REQUEST:
        return client ? answer_handshake(channel, now_ms, payload, err) : 0;
    case MESSAGE_PAYLOAD_HANDSHAKE_RESPONSE:
        return client ? 0 : finish_handshake(channel, now_ms, payload, err);
    case MESSAGE_PAYLOAD_HANDSHAKE_COMPLETE:
        if (client) {
            become_ready(channel);
        }
        return 0;
    default:
        if (client) {
            become_ready(channel); // a node that begins without a handshake
        }
        channel->handlers.data(channel->handlers.context, payload_type, payload);
        return 0;
    }
}

// Keep what came before its turn. @return whether there was room
static bool keep_early(struct channel *channel, const struct message *message)
{
    struct early **at = &channel->early;
    while (*at != NULL && (*at)->sequence < message->sequence) {
        at = &(*at)->next;
    }
    if (*at != NULL && (*at)->sequence == message->sequence) {
        return true;
    }
    if (channel->early_count >= EARLY_MAX ||
        channel->early_bytes + message->payload.size > EARLY_BYTES_MAX) {
        return false;
    }
    struct early *early = ALLOC(struct early);
    early->sequence = message->sequence;
    early->payload_type = message->payload_type;
    buf_text(&early->payload, message->payload);
    early->next = *at;
    *at = early;
    channel->early_count++;
    channel->early_bytes += message->payload.size;
    return true;
}

// Hand out what was kept, as far as its turn has come.
static int deliver_early(struct channel *channel, int64_t now_ms, struct err *err)
{
    int rc = 0;
    while (rc == 0 && !channel->held && channel->early != NULL &&
           channel->early->sequence == channel->next_in) {
        channel->next_in++;
        rc = deliver(channel, now_ms, channel->early->payload_type,
                     buf_view(&channel->early->payload), err);
        early_drop_first(channel);
    }
    return rc;
}

int channel_hold(struct channel *channel, int64_t now_ms, bool hold, struct err *err)
{
    channel->held = hold;
    return deliver_early(channel, now_ms, err);
}

static int on_stream(struct channel *channel, int64_t now_ms, const struct message *message,
                     struct err *err)
{
    bool now = message->sequence == channel->next_in && !channel->held;
    if (message->sequence >= channel->next_in && !now && !keep_early(channel, message)) {
        return 0; // it comes again
    }
    // What was there before is acknowledged again: the other end may not know.
    acknowledge(channel, now_ms, message);
    if (!now) {
        return 0;
    }
    channel->next_in++;
    int rc = deliver(channel, now_ms, message->payload_type, message->payload, err);
    return rc == 0 ? deliver_early(channel, now_ms, err) : rc;
}

static void on_closed(struct channel *channel, const struct message *message)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_channel_closed content = {0};
    struct shape_error error = {0};
    // Closed is closed, whatever it says.
    IGNORE(json_decode(&channel_channel_closed_shape, message->payload, &arena, &content, &error),
           "the sentence is then missing");
    channel->closed = true;
    channel->handlers.closed(channel->handlers.context, content.output);
}

int channel_receive(struct channel *channel, int64_t now_ms, struct text frame, struct err *err)
{
    struct message message;
    int rc = message_decode(frame, &message, err);
    if (rc != 0 || channel->closed) {
        return rc;
    }
    const char *stream = channel->side == CHANNEL_NODE ? MESSAGE_TYPE_INPUT : MESSAGE_TYPE_OUTPUT;
    if (text_is(message.type, MESSAGE_TYPE_ACKNOWLEDGE)) {
        return on_acknowledge(channel, &message, err);
    }
    if (text_is(message.type, stream)) {
        return on_stream(channel, now_ms, &message, err);
    }
    if (text_is(message.type, MESSAGE_TYPE_CLOSED)) {
        on_closed(channel, &message);
    }
    return 0; // newer programs may say what we do not know
}

// ---- time ---------------------------------------------------------------------------------

bool channel_idle(const struct channel *channel)
{
    return channel->first == NULL;
}

int64_t channel_stale(const struct channel *channel)
{
    return channel->first == NULL ? -1 : channel->first->first_ms;
}

int64_t channel_tick(struct channel *channel, int64_t now_ms)
{
    int64_t next = -1;
    if (!channel->opened || channel->closed) {
        return next;
    }
    for (struct pending *at = channel->first; at != NULL; at = at->next) {
        // A clock that was set back must not keep it waiting.
        if (now_ms >= at->due_ms || at->due_ms > now_ms + RESEND_MOST_MS) {
            at->wait_ms = MIN(at->wait_ms * 2, (int64_t)RESEND_MOST_MS);
            at->due_ms = now_ms + at->wait_ms;
            send_frame(channel, &at->frame);
        }
        next = next < 0 ? at->due_ms : MIN(next, at->due_ms);
    }
    return next;
}
