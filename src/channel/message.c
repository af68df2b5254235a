#include "channel/message.h"

#include "base/text.h"

#include <openssl/sha.h>
#include <string.h>

#define HEADER_LENGTH 116u // what the header says of itself: it leaves out the payload's size
#define PAYLOAD_AT 120u
#define TYPE_BYTES 32u
#define SCHEMA_VERSION 1u

static void put(struct buf *out, uint64_t value, size_t bytes)
{
    for (size_t i = bytes; i > 0; i--) {
        buf_byte(out, (char)(unsigned char)(value >> 8 * (i - 1)));
    }
}

static uint64_t get(const char *from, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (unsigned char)from[i];
    }
    return value;
}

static void digest(struct text payload, unsigned char out_digest[SHA256_DIGEST_LENGTH])
{
    SHA256((const unsigned char *)payload.data, payload.size, out_digest);
}

void message_encode(const struct message *message, struct buf *out)
{
    ASSERT(message->type.size <= TYPE_BYTES && message->payload.size <= MESSAGE_PAYLOAD_MAX);
    struct text payload = message->payload.data == NULL ? TEXT("") : message->payload;
    put(out, HEADER_LENGTH, 4);
    buf_text(out, message->type);
    for (size_t i = message->type.size; i < TYPE_BYTES; i++) {
        buf_byte(out, ' ');
    }
    put(out, SCHEMA_VERSION, 4);
    put(out, (uint64_t)message->created_ms, 8);
    put(out, (uint64_t)message->sequence, 8);
    put(out, message->flags, 8);
    buf_add(out, message->id + 8, 8);
    buf_add(out, message->id, 8);
    unsigned char sum[SHA256_DIGEST_LENGTH];
    digest(payload, sum);
    buf_add(out, sum, sizeof(sum));
    put(out, message->payload_type, 4);
    put(out, payload.size, 4);
    buf_text(out, payload);
}

// Some clients pad with zero bytes.
static struct text trim_type(const char *bytes)
{
    struct text type = {bytes, TYPE_BYTES};
    while (type.size > 0 && (type.data[type.size - 1] == ' ' || type.data[type.size - 1] == '\0')) {
        type.size--;
    }
    return type;
}

int message_decode(struct text frame, struct message *out_message, struct err *err)
{
    if (frame.size < PAYLOAD_AT) {
        return err_set(err, ERR_INVALID, "a message of %zu bytes is shorter than its header",
                       frame.size);
    }
    const char *bytes = frame.data;
    uint64_t header = get(bytes, 4);
    uint64_t size = get(bytes + HEADER_LENGTH, 4);
    if (header != HEADER_LENGTH) {
        return err_set(err, ERR_INVALID, "a message has a header of %llu bytes instead of %u",
                       (unsigned long long)header, HEADER_LENGTH);
    }
    if (size != frame.size - PAYLOAD_AT || size > MESSAGE_PAYLOAD_MAX) {
        return err_set(err, ERR_INVALID,
                       "a message says that it has a payload of %llu bytes and has %zu; at most "
                       "%u are taken",
                       (unsigned long long)size, (size_t)(frame.size - PAYLOAD_AT),
                       MESSAGE_PAYLOAD_MAX);
    }
    struct text payload = text_slice(frame, PAYLOAD_AT, frame.size);
    unsigned char sum[SHA256_DIGEST_LENGTH];
    digest(payload, sum);
    // Messages without a payload may come without a digest.
    if (size > 0 && memcmp(sum, bytes + 80, sizeof(sum)) != 0) {
        return err_set(err, ERR_INVALID, "a message's payload does not have the digest it says");
    }
    *out_message = (struct message){
        .type = trim_type(bytes + 4),
        .created_ms = (int64_t)get(bytes + 40, 8),
        .sequence = (int64_t)get(bytes + 48, 8),
        .flags = get(bytes + 56, 8),
        .payload_type = (uint32_t)get(bytes + 112, 4),
        .payload = payload,
    };
    memcpy(out_message->id, bytes + 72, 8);
    memcpy(out_message->id + 8, bytes + 64, 8);
    return 0;
}
