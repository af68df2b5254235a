#pragma once

#include "base/buf.h"
#include "base/err.h"

/*
 * Messages of a data channel: the binary frames of AWS Session Manager, which carry an ECS Exec
 * session between a client and the node. Pure; knows no socket.
 *
 * A message is a header of 120 bytes, big-endian, and a payload (reference/ecs-tasks.md 4.4):
 *
 *   0 length of the header up to the payload's length: 116   64 id, its low 8 bytes first
 *   4 type, 32 bytes, padded with spaces                      80 SHA-256 of the payload
 *  36 version of the schema: 1                               112 kind of payload
 *  40 when it was made, ms since 1970                        116 size of the payload
 *  48 sequence number                                        120 payload
 *  56 flags
 */

#define MESSAGE_TYPE_INPUT "input_stream_data"   ///< client to node
#define MESSAGE_TYPE_OUTPUT "output_stream_data" ///< node to client
#define MESSAGE_TYPE_ACKNOWLEDGE "acknowledge"
#define MESSAGE_TYPE_CLOSED "channel_closed"
#define MESSAGE_TYPE_START "start_publication"
#define MESSAGE_TYPE_PAUSE "pause_publication"

#define MESSAGE_FLAG_SYN 1u
#define MESSAGE_FLAG_FIN 2u

/** Larger payloads than any client sends; stream data come in pieces of 1 KiB. */
#define MESSAGE_PAYLOAD_MAX (64u << 10)

/** What a payload of stream data is. Numbers are the wire's. */
enum message_payload {
    MESSAGE_PAYLOAD_NONE = 0,
    MESSAGE_PAYLOAD_OUTPUT = 1, ///< bytes of the terminal, in both directions
    MESSAGE_PAYLOAD_ERROR = 2,
    MESSAGE_PAYLOAD_SIZE = 3, ///< channel.Size
    MESSAGE_PAYLOAD_PARAMETER = 4,
    MESSAGE_PAYLOAD_HANDSHAKE_REQUEST = 5,
    MESSAGE_PAYLOAD_HANDSHAKE_RESPONSE = 6,
    MESSAGE_PAYLOAD_HANDSHAKE_COMPLETE = 7,
    MESSAGE_PAYLOAD_FLAG = 10, ///< 4 bytes: see message_flag
    MESSAGE_PAYLOAD_STDERR = 11,
    MESSAGE_PAYLOAD_EXIT_CODE = 12, ///< decimal digits
};

/** Values of MESSAGE_PAYLOAD_FLAG. */
enum message_flag { MESSAGE_TERMINATE_SESSION = 2 };

struct message {
    struct text type;
    int64_t created_ms;
    int64_t sequence;
    uint64_t flags;
    unsigned char id[16]; ///< of a UUID, in its own order
    uint32_t payload_type;
    struct text payload;
};

/** Append a message. Its payload is not longer than MESSAGE_PAYLOAD_MAX. */
void message_encode(const struct message *message, struct buf *out);

/**
 * Read a frame.
 *
 * @param out_message  borrows from frame; the type is without its padding
 * @return 0, or ERR_INVALID with what is wrong
 */
MUST_CHECK int message_decode(struct text frame, struct message *out_message, struct err *err);
