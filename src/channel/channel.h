#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "channel/message.h"

/*
 * One end of a data channel: sequence numbers, acknowledgements, sending again, the order of what
 * comes in, and the handshake. Pure: frames, time and randomness come in with the calls, what is
 * to be done goes out through handlers, which are called before the call returns and must not call
 * the channel.
 *
 * Frames may be lost, come twice or in another order, as when a client connects anew.
 */

/** Not yet acknowledged: a sender with more to say waits until the other end has taken some. */
#define CHANNEL_WINDOW 256

/** How much of a stream goes into one message. */
#define CHANNEL_PIECE_BYTES 1024u

/** How much is kept of what comes before its turn, or before it may be handed out. */
#define CHANNEL_KEEP_BYTES ((size_t)1 << 20)

enum channel_side { CHANNEL_NODE, CHANNEL_CLIENT };

struct channel_handlers {
    /** Send a frame. Borrowed for the call. */
    void (*send)(void *context, struct text frame);
    /** The other end said something, in order, each once. Handshakes are the channel's own. */
    void (*data)(void *context, uint32_t payload_type, struct text payload);
    /** Both ends are ready: the handshake is done, or the other end began without one. */
    void (*ready)(void *context);
    /** The other end closed, with the sentence it gave. */
    void (*closed)(void *context, struct text output);
    /** Fill in random bytes. */
    void (*random)(void *context, void *bytes, size_t size);
    void *context;
};

struct channel;

/** Make an end. session_id is copied; handlers too. */
struct channel *channel_new(enum channel_side side, struct text session_id,
                            const struct channel_handlers *handlers);

/** Free; NULL is allowed. */
void channel_free(struct channel *channel);
AUTO_POINTER(struct channel, channel_free)

/**
 * The way to the other end is open, for the first time or anew: the node begins the handshake,
 * and what was not acknowledged goes out again, also that the channel is closed. Between two calls
 * frames come in order, and only the last of them may be lost.
 */
void channel_open(struct channel *channel, int64_t now_ms);

/** Take a frame. @return 0, or ERR_INVALID or ERR_NO_ROOM with why: close the connection */
MUST_CHECK int channel_receive(struct channel *channel, int64_t now_ms, struct text frame,
                               struct err *err);

/**
 * Hand out so many bytes of stream data from now on, and the rest of the message in which they end;
 * SIZE_MAX for all that comes. What comes meanwhile is kept, up to a bound. The last
 * CHANNEL_WINDOW messages of that are acknowledged only when they are handed out, so that an end
 * which stops there waits; what another sends beyond the bound is dropped, and sent again.
 *
 * @return 0, or as channel_receive, for what was kept
 */
MUST_CHECK int channel_allow(struct channel *channel, int64_t now_ms, size_t bytes,
                             struct err *err);

/** Keep at most so many bytes; it begins with CHANNEL_KEEP_BYTES, and half of that is the least. */
void channel_keep(struct channel *channel, size_t bytes);

/** @return how many bytes channel_send takes now */
size_t channel_room(const struct channel *channel);

/** Send stream data, in pieces; at most channel_room bytes. */
void channel_send(struct channel *channel, int64_t now_ms, uint32_t payload_type,
                  struct text payload);

/** Say that the channel is closed, with a sentence for the person at the other end. */
void channel_close(struct channel *channel, int64_t now_ms, struct text output);

/**
 * @return whether the client knows what to do with MESSAGE_PAYLOAD_EXIT_CODE. Amazon's prints any
 *         payload, digits of an exit code as well, so that only those get one which say in their
 *         handshake, unasked, that they did the action "ExitCode"; CHANNEL_CLIENT does.
 */
bool channel_takes_exit_code(const struct channel *channel);

/** @return whether all that was sent is acknowledged */
bool channel_idle(const struct channel *channel);

/**
 * Send again what is due. A client that had a message already need not acknowledge it again: the
 * node takes for acknowledged, after some seconds, what was sent again on a new way in front of
 * something that is.
 *
 * @return when to call again, ms, or -1 when nothing is under way
 */
int64_t channel_tick(struct channel *channel, int64_t now_ms);

/** @return since when messages wait without that any is acknowledged, ms; -1 for none waits */
int64_t channel_stale(const struct channel *channel);
