#include "api/channel.h"
#include "base/alloc.h"
#include "base/text.h"
#include "channel/channel_internal.h"
#include "shape/json.h"

#define EARLY_MAX 1024 // frames that came before their turn; the other end sends no more at once
#define EARLY_BYTES_MAX (1u << 20) // of their payloads, which are 1 KiB

static void early_drop_first(struct channel *channel)
{
    struct channel_early *early = channel->early;
    channel->early = early->next;
    channel->early_count--;
    channel->early_bytes -= early->payload.size;
    buf_deinit(&early->payload);
    alloc_free(early);
}

void channel_drop_early(struct channel *channel)
{
    while (channel->early != NULL) {
        early_drop_first(channel);
    }
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
    struct message message = channel_message(channel, MESSAGE_TYPE_ACKNOWLEDGE, now_ms);
    message.flags = MESSAGE_FLAG_SYN | MESSAGE_FLAG_FIN;
    message.payload = buf_view(&json);
    AUTO(buf_deinit) struct buf frame = {0};
    message_encode(&message, &frame);
    channel_put(channel, &frame);
}

static int on_acknowledge(struct channel *channel, int64_t now_ms, const struct message *message,
                          struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_acknowledge content = {0};
    struct shape_error error = {0};
    if (json_decode(&channel_acknowledge_shape, message->payload, &arena, &content, &error) != 0) {
        return err_set(err, ERR_INVALID, "an acknowledgement cannot be read: %s", error.text);
    }
    struct channel_pending *before = NULL;
    struct channel_pending *found = channel->first;
    while (found != NULL && found->sequence != content.acknowledged_message_sequence_number) {
        before = found;
        found = found->next;
    }
    if (found != NULL) {
        for (struct channel_pending *at = channel->first; at != found; at = at->next) {
            at->passed = at->passed || (at->way == found->way && at->turn < found->turn);
        }
        channel->acknowledged_ms = now_ms;
        channel_forget(channel, before);
    }
    return 0;
}

static int deliver(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                   struct text payload, struct err *err)
{
    bool client = channel->side == CHANNEL_CLIENT;
    switch (payload_type) {
    case MESSAGE_PAYLOAD_HANDSHAKE_REQUEST:
        return client ? channel_answer_handshake(channel, now_ms, payload, err) : 0;
    case MESSAGE_PAYLOAD_HANDSHAKE_RESPONSE:
        return client ? 0 : channel_finish_handshake(channel, now_ms, payload, err);
    case MESSAGE_PAYLOAD_HANDSHAKE_COMPLETE:
        if (client) {
            channel_become_ready(channel);
        }
        return 0;
    default:
        if (client) {
            channel_become_ready(channel); // a node that begins without a handshake
        }
        channel->handlers.data(channel->handlers.context, payload_type, payload);
        return 0;
    }
}

// Keep what came before its turn. @return whether there was room
static bool keep_early(struct channel *channel, const struct message *message)
{
    struct channel_early **at = &channel->early;
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
    struct channel_early *early = ALLOC(struct channel_early);
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
        return on_acknowledge(channel, now_ms, &message, err);
    }
    if (text_is(message.type, stream)) {
        return on_stream(channel, now_ms, &message, err);
    }
    if (text_is(message.type, MESSAGE_TYPE_CLOSED)) {
        on_closed(channel, &message);
    }
    return 0; // newer programs may say what we do not know
}
