#pragma once

#include "agent/identity.h"
#include "base/buf.h"

#include <uv.h>

/*
 * Websockets with the server, as a client: the ACS and the TCS session of a node, and the data
 * channels of ECS Exec.
 *
 * Opening is asynchronous and signed with the node's key. Frames go both ways, whole. All calls and
 * callbacks are on the loop's thread. A session never comes back: open another.
 */

struct sessions;
struct session;

struct session_handlers {
    /** The session is open. */
    void (*open)(void *context, struct session *session);
    /** A whole text frame. Borrowed for the call. */
    void (*frame)(void *context, struct session *session, struct text frame);
    /** A whole binary frame. NULL: a session on which one comes ends. */
    void (*binary)(void *context, struct session *session, struct text frame);
    /** It could not be opened, or was closed, by whomever: the session is gone after the call.
     *  Not called for sessions that agent_sessions_close ends. */
    void (*closed)(void *context, struct session *session, struct text why, bool refused);
    void *context;
};

/** Prepare for sessions of a node. */
MUST_CHECK int agent_sessions_new(uv_loop_t *loop, const struct agent_identity *identity,
                                  struct sessions **out_sessions, struct err *err);

/** End all sessions without calling their handlers, and let go of the loop. */
void agent_sessions_close(struct sessions *sessions);

/** @return whether agent_sessions_close has done its work: turn the loop until then */
bool agent_sessions_closed(const struct sessions *sessions);

/** Free; after agent_sessions_closed. NULL is allowed. */
void agent_sessions_free(struct sessions *sessions);

/**
 * Begin to open a session.
 *
 * @param url  http, https, ws or wss, with path and query
 * @return the session; NULL when the URL is none, or asks for TLS when the endpoint has none
 */
struct session *agent_session_open(struct sessions *sessions, const char *url,
                                   const struct session_handlers *handlers);

/** Sign with another time than this host's, for sessions that are opened from now on. */
void agent_sessions_set_clock(struct sessions *sessions, int64_t offset_ms);

/** Queue a text frame. A session whose queue is longer than LIMIT_FRAME_BYTES ends. */
void agent_session_send(struct session *session, struct text frame);

/** Queue a binary frame; as agent_session_send. */
void agent_session_send_binary(struct session *session, struct text frame);

/** @return bytes of frames that are queued */
size_t agent_session_queued(const struct session *session);

/** End a session; its closed handler is called, later. */
void agent_session_end(struct session *session, const char *why);

/**
 * End a session once all that is queued was sent, with the code of a regular end, 1000. Call it
 * again until the closed handler was called, and never in a handler; that may be called before it
 * returns.
 */
void agent_session_finish(struct session *session);

/** @return the code with which the server closed the session; 0 when it gave none */
uint16_t agent_session_code(const struct session *session);

/** @return when the last frame or ping came, monotonic ms */
int64_t agent_session_heard_ms(const struct session *session);

/** @return host and port of the server, as in the Host header */
const char *agent_session_host(const struct session *session);
