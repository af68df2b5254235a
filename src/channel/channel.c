#include "api/channel.h"
#include "base/alloc.h"
#include "base/text.h"
#include "channel/channel_internal.h"
#include "shape/json.h"

#define RESEND_FIRST_MS 200 // as clients do
#define RESEND_MOST_MS 1000
#define TAKEN_MS 5000 // until what a client passed over is taken for what it had
#define PROBE_MS 2500
#define QUIET_MS 3000 // nothing is acknowledged: only the oldest is sent again

struct channel *channel_new(enum channel_side side, struct text session_id,
                            const struct channel_handlers *handlers)
{
    struct channel *channel = ALLOC(struct channel);
    channel->side = side;
    channel->handlers = *handlers;
    channel->allowance = SIZE_MAX;
    channel->keep_bytes = CHANNEL_KEEP_BYTES;
    IGNORE(text_copy(text_slice(session_id, 0, CHANNEL_ID_MAX), channel->session_id,
                     sizeof(channel->session_id)),
           "it was cut to fit");
    return channel;
}

void channel_forget(struct channel *channel, struct channel_pending *before)
{
    struct channel_pending **at = before == NULL ? &channel->first : &before->next;
    struct channel_pending *pending = *at;
    *at = pending->next;
    channel->last = channel->last == pending ? before : channel->last;
    buf_deinit(&pending->frame);
    alloc_free(pending);
}

void channel_free(struct channel *channel)
{
    if (channel == NULL) {
        return;
    }
    while (channel->first != NULL) {
        channel_forget(channel, NULL);
    }
    channel_drop_early(channel);
    buf_deinit(&channel->farewell);
    alloc_free(channel);
}

// ---- sending ------------------------------------------------------------------------------

struct message channel_message(struct channel *channel, const char *type, int64_t now_ms)
{
    struct message message = {.type = text_of(type), .created_ms = now_ms};
    channel->handlers.random(channel->handlers.context, message.id, sizeof(message.id));
    return message;
}

void channel_put(struct channel *channel, const struct buf *frame)
{
    channel->handlers.send(channel->handlers.context, buf_view(frame));
}

// Send what is pending, for the first time or again.
static void transmit(struct channel *channel, int64_t now_ms, struct channel_pending *pending)
{
    if (pending->way != channel->way) {
        pending->first_way = pending->way == 0 ? channel->way : pending->first_way;
        pending->way = channel->way;
        pending->turn = ++channel->turns;
        pending->way_ms = now_ms;
        pending->passed = false;
    }
    channel_put(channel, &pending->frame);
}

static void send_stream(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                        struct text payload)
{
    struct message message = channel_message(
        channel, channel->side == CHANNEL_NODE ? MESSAGE_TYPE_OUTPUT : MESSAGE_TYPE_INPUT, now_ms);
    message.sequence = channel->next_out;
    message.flags = channel->next_out == 0 ? MESSAGE_FLAG_SYN : 0;
    message.payload_type = payload_type;
    message.payload = payload;
    struct channel_pending *pending = ALLOC(struct channel_pending);
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
        transmit(channel, now_ms, pending);
    }
}

void channel_put_shape(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                       const struct shape_type *shape, const void *value)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(shape, value, &json);
    send_stream(channel, now_ms, payload_type, buf_view(&json));
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
    struct message message = channel_message(channel, MESSAGE_TYPE_CLOSED, now_ms);
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
    message_encode(&message, &channel->farewell);
    channel_put(channel, &channel->farewell);
}

void channel_open(struct channel *channel, int64_t now_ms)
{
    bool first = !channel->opened;
    channel->opened = true;
    if (first) {
        channel->opened_ms = now_ms;
    }
    channel->way++;
    for (struct channel_pending *at = channel->first; at != NULL; at = at->next) {
        at->due_ms = now_ms + at->wait_ms;
        transmit(channel, now_ms, at);
    }
    if (first && channel->side == CHANNEL_NODE) {
        channel_ask_handshake(channel, now_ms);
    }
    if (channel->farewell.size > 0) {
        channel_put(channel, &channel->farewell);
    }
}

// ---- time ---------------------------------------------------------------------------------

bool channel_idle(const struct channel *channel)
{
    return channel->first == NULL;
}

int64_t channel_stale(const struct channel *channel)
{
    return channel->first == NULL ? -1 : MAX(channel->first->first_ms, channel->acknowledged_ms);
}

// Amazon's client does not acknowledge again what it had before. So when its acknowledgement was
// lost with a connection, there is never another: but what was sent behind it on the new one is
// acknowledged, which shows that this came there, too. The wait is for a client that takes nothing
// yet as it is only starting: it acknowledges what comes early, and will take this when it comes
// again.
static bool may_be_taken(const struct channel *channel, const struct channel_pending *pending,
                         int64_t now_ms, int64_t wait_ms)
{
    return channel->side == CHANNEL_NODE && pending->way == channel->way &&
           pending->first_way != channel->way && now_ms - pending->way_ms >= wait_ms;
}

static void forget_taken(struct channel *channel, int64_t now_ms)
{
    const struct channel_pending *last = channel->last;
    if (last != NULL && may_be_taken(channel, last, now_ms, PROBE_MS)) {
        // Nothing was sent behind it: something is, to see.
        send_stream(channel, now_ms, MESSAGE_PAYLOAD_OUTPUT, TEXT(""));
    }
    struct channel_pending *before = NULL;
    for (struct channel_pending *at = channel->first; at != NULL;) {
        struct channel_pending *next = at->next;
        if (at->passed && may_be_taken(channel, at, now_ms, TAKEN_MS)) {
            channel_forget(channel, before);
        } else {
            before = at;
        }
        at = next;
    }
}

int64_t channel_tick(struct channel *channel, int64_t now_ms)
{
    int64_t next = -1;
    if (!channel->opened || channel->closed) {
        return next;
    }
    forget_taken(channel, now_ms);
    // To one that takes nothing for now not all is sent over and over.
    bool quiet = channel->first != NULL && now_ms - channel_stale(channel) > QUIET_MS;
    for (struct channel_pending *at = channel->first;
         at != NULL && (!quiet || at == channel->first); at = at->next) {
        // A clock that was set back must not keep it waiting.
        if (now_ms >= at->due_ms || at->due_ms > now_ms + RESEND_MOST_MS) {
            at->wait_ms = MIN(at->wait_ms * 2, (int64_t)RESEND_MOST_MS);
            at->due_ms = now_ms + at->wait_ms;
            transmit(channel, now_ms, at);
        }
        next = next < 0 ? at->due_ms : MIN(next, at->due_ms);
    }
    return next;
}
