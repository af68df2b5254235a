#include "api/channel.h"
#include "base/alloc.h"
#include "base/text.h"
#include "channel/channel_internal.h"
#include "shape/json.h"

#include <string.h>

// Of what is kept, so much is not acknowledged until it is handed out: an end that stops at
// CHANNEL_WINDOW then has nothing dropped, and goes on at once.
#define LATE_BYTES ((size_t)CHANNEL_WINDOW * CHANNEL_PIECE_BYTES)

static void early_drop_first(struct channel *channel)
{
    struct channel_early *early = channel->early;
    channel->early = early->next;
    channel->early_last = channel->early == NULL ? NULL : channel->early_last;
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

// What the other end's stream comes as.
static const char *stream_type(const struct channel *channel)
{
    return channel->side == CHANNEL_NODE ? MESSAGE_TYPE_INPUT : MESSAGE_TYPE_OUTPUT;
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
        if (channel->allowance != SIZE_MAX) {
            channel->allowance -= MIN(channel->allowance, payload.size);
        }
        channel->handlers.data(channel->handlers.context, payload_type, payload);
        return 0;
    }
}

// @return whether so much may be kept: in bytes, and in frames as if they were full
static bool fits(const struct channel *channel, size_t bytes, size_t frames)
{
    return bytes <= channel->keep_bytes && frames <= channel->keep_bytes / CHANNEL_PIECE_BYTES;
}

// Keep what came before its turn. @return it; NULL when there is no room
static struct channel_early *keep_early(struct channel *channel, const struct message *message)
{
    // Mostly it comes in order.
    bool last = channel->early_last != NULL && channel->early_last->sequence < message->sequence;
    struct channel_early **at = last ? &channel->early_last->next : &channel->early;
    while (*at != NULL && (*at)->sequence < message->sequence) {
        at = &(*at)->next;
    }
    if (*at != NULL && (*at)->sequence == message->sequence) {
        return *at;
    }
    if (!fits(channel, channel->early_bytes + message->payload.size, channel->early_count + 1)) {
        return NULL;
    }
    struct channel_early *early = ALLOC(struct channel_early);
    early->sequence = message->sequence;
    early->payload_type = message->payload_type;
    memcpy(early->id, message->id, sizeof(early->id));
    buf_text(&early->payload, message->payload);
    early->next = *at;
    *at = early;
    channel->early_last = early->next == NULL ? early : channel->early_last;
    channel->early_count++;
    channel->early_bytes += message->payload.size;
    return early;
}

// Hand out what was kept, as far as its turn has come.
static int deliver_early(struct channel *channel, int64_t now_ms, struct err *err)
{
    int rc = 0;
    while (rc == 0 && channel->allowance > 0 && channel->early != NULL &&
           channel->early->sequence == channel->next_in) {
        struct channel_early *early = channel->early;
        if (!early->acknowledged) {
            struct message message = {.type = text_of(stream_type(channel)),
                                      .sequence = early->sequence};
            memcpy(message.id, early->id, sizeof(message.id));
            acknowledge(channel, now_ms, &message);
        }
        channel->next_in++;
        rc = deliver(channel, now_ms, early->payload_type, buf_view(&early->payload), err);
        early_drop_first(channel);
    }
    return rc;
}

int channel_allow(struct channel *channel, int64_t now_ms, size_t bytes, struct err *err)
{
    channel->allowance = bytes;
    return deliver_early(channel, now_ms, err);
}

void channel_keep(struct channel *channel, size_t bytes)
{
    channel->keep_bytes = MAX(bytes, 2 * LATE_BYTES);
}

static void take_early(struct channel *channel, int64_t now_ms, const struct message *message)
{
    struct channel_early *early = keep_early(channel, message);
    if (early == NULL) {
        return; // it comes again
    }
    early->acknowledged = early->acknowledged || fits(channel, channel->early_bytes + LATE_BYTES,
                                                      channel->early_count + CHANNEL_WINDOW);
    if (early->acknowledged) {
        acknowledge(channel, now_ms, message);
    }
}

static int on_stream(struct channel *channel, int64_t now_ms, const struct message *message,
                     struct err *err)
{
    if (message->sequence > channel->next_in ||
        (message->sequence == channel->next_in && channel->allowance == 0)) {
        take_early(channel, now_ms, message);
        return 0;
    }
    // What was there before is acknowledged again: the other end may not know.
    acknowledge(channel, now_ms, message);
    if (message->sequence < channel->next_in) {
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
    if (text_is(message.type, MESSAGE_TYPE_ACKNOWLEDGE)) {
        return on_acknowledge(channel, now_ms, &message, err);
    }
    if (text_is(message.type, stream_type(channel))) {
        return on_stream(channel, now_ms, &message, err);
    }
    if (text_is(message.type, MESSAGE_TYPE_CLOSED)) {
        on_closed(channel, &message);
    }
    return 0; // newer programs may say what we do not know
}
