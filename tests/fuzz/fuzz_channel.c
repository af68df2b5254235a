#include "base/text.h"
#include "channel/channel.h"
#include "fuzz.h"

#include <string.h>

/*
 * Frames that a client of an exec session sends to a node. Each frame stands behind its size, two
 * bytes; the size of its payload and its digest are put right, so that what is inside is reached.
 */

static void on_send(void *context, struct text frame)
{
    (void)context;
    struct message message;
    struct err err = {0};
    ASSERT(message_decode(frame, &message, &err) == 0);
}

static void on_data(void *context, uint32_t payload_type, struct text payload)
{
    (void)context;
    (void)payload_type;
    ASSERT(payload.size <= MESSAGE_PAYLOAD_MAX);
}

static void on_ready(void *context)
{
    (void)context;
}

static void on_closed(void *context, struct text output)
{
    (void)context;
    (void)output;
}

static void on_random(void *context, void *bytes, size_t size)
{
    (void)context;
    memset(bytes, 7, size);
}

// The same message with sizes and digest that fit.
static void repair(struct text frame, struct buf *out)
{
    static const char *const types[] = {MESSAGE_TYPE_INPUT, MESSAGE_TYPE_ACKNOWLEDGE,
                                        MESSAGE_TYPE_CLOSED, MESSAGE_TYPE_OUTPUT};
    unsigned char first = (unsigned char)frame.data[0];
    const struct message message = {
        .type = text_of(types[first & 3]),
        .sequence = frame.size > 1 ? (unsigned char)frame.data[1] : 0,
        .payload_type = (uint32_t)(first >> 4),
        .payload = text_slice(frame, 2, 2 + MESSAGE_PAYLOAD_MAX),
    };
    message_encode(&message, out);
}

static void run(enum channel_side side, struct text bytes)
{
    const struct channel_handlers handlers = {.send = on_send,
                                              .data = on_data,
                                              .ready = on_ready,
                                              .closed = on_closed,
                                              .random = on_random};
    AUTO(channel_free) struct channel *channel = channel_new(side, TEXT("s"), &handlers);
    int64_t now_ms = 1;
    channel_open(channel, now_ms);
    while (bytes.size > 2) {
        size_t size = (size_t)(unsigned char)bytes.data[0] << 8 | (unsigned char)bytes.data[1];
        struct text frame = text_slice(bytes, 2, 2 + size);
        bytes = text_slice(bytes, 2 + frame.size, bytes.size);
        struct err err = {0};
        IGNORE(channel_receive(channel, now_ms, frame, &err) != 0, "it may be refused");
        if (frame.size > 0) {
            AUTO(buf_deinit) struct buf whole = {0};
            repair(frame, &whole);
            int rc = channel_receive(channel, now_ms, buf_view(&whole), &err);
            ASSERT(rc == 0 || err.text[0] != '\0');
        }
        now_ms += 300;
        channel_tick(channel, now_ms);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text bytes = {(const char *)data, size};
    run(CHANNEL_NODE, bytes);
    run(CHANNEL_CLIENT, bytes);
    return 0;
}
