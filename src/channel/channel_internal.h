#pragma once

#include "channel/channel.h"
#include "shape/shape.h"

/*
 * What the parts of a channel share: channel.c (its life, what it sends, time), channel_receive.c
 * (what comes, and its order), channel_handshake.c.
 */

#define CHANNEL_ID_MAX 128

/** A frame that was sent and not acknowledged. */
struct channel_pending {
    struct channel_pending *next;
    int64_t sequence;
    int64_t due_ms;
    int64_t wait_ms;
    int64_t first_ms;
    uint64_t first_way; // on which it was first sent; 0: on none yet
    uint64_t way;       // the last on which it was sent
    uint64_t turn;      // its place among what was first sent on that way
    int64_t way_ms;     // when that was
    bool passed;        // what was sent behind it on that way is acknowledged
    struct buf frame;
};

/** Stream data that came before what goes in front of it. */
struct channel_early {
    struct channel_early *next; // by sequence
    int64_t sequence;
    unsigned char id[16];
    bool acknowledged;
    uint32_t payload_type;
    struct buf payload;
};

struct channel {
    enum channel_side side;
    struct channel_handlers handlers;
    char session_id[CHANNEL_ID_MAX + 1];
    bool opened;
    bool ready;
    bool closed; // either end said so
    bool takes_exit_code;
    int64_t opened_ms;
    uint64_t way;   // counts connections: what was sent on one comes in order or not at all
    uint64_t turns; // counts what was first sent on a way
    int64_t next_out;
    struct channel_pending *first;
    struct channel_pending *last;
    int64_t acknowledged_ms; // when anything last was
    struct buf farewell;     // that it was closed; sent again with what is pending
    int64_t next_in;
    size_t allowance; // of stream data to hand out; SIZE_MAX for any
    size_t keep_bytes;
    struct channel_early *early;
    struct channel_early *early_last;
    size_t early_count;
    size_t early_bytes;
};

// ---- channel.c

/** @return a message of a type, with an id */
struct message channel_message(struct channel *channel, const char *type, int64_t now_ms);

/** Send what is not acknowledged. */
void channel_put(struct channel *channel, const struct buf *frame);

/** Send a shape as stream data. */
void channel_put_shape(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                       const struct shape_type *shape, const void *value);

/** Forget what is pending behind `before`, or the first one. */
void channel_forget(struct channel *channel, struct channel_pending *before);

// ---- channel_receive.c

/** Drop what came before its turn. */
void channel_drop_early(struct channel *channel);

// ---- channel_handshake.c

/** The node: ask for a session of commands. */
void channel_ask_handshake(struct channel *channel, int64_t now_ms);

/** The client: say to each action that it was done, or that there is none of that name. */
MUST_CHECK int channel_answer_handshake(struct channel *channel, int64_t now_ms,
                                        struct text payload, struct err *err);

/** The node: see that the client does what it was asked for. */
MUST_CHECK int channel_finish_handshake(struct channel *channel, int64_t now_ms,
                                        struct text payload, struct err *err);

/** Tell, once, that both ends are ready. */
void channel_become_ready(struct channel *channel);
