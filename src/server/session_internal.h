#pragma once

#include "api/node.h"
#include "base/buf.h"
#include "base/map.h"
#include "server/server_internal.h"
#include "server/session_frame.h"

#include <libwebsockets.h>

/*
 * What the parts of the nodes' sessions share: session.c (sending, life), session_said.c (what a
 * node says), session_listen.c (the library and its listeners).
 */

#define SESSION_TICK_MS 100
#define SESSION_REASON_CHARS_MAX 123 // RFC 6455: what fits into a close frame

struct frame;

/** What stands behind a websocket of the listeners: the first member of it. */
struct session_peer {
    /** An event of the library. @return what its callback returns: not 0 closes */
    int (*event)(struct session_peer *peer, enum lws_callback_reasons reason, void *bytes,
                 size_t size);
};

/** One websocket of a node; goes with its connection. */
struct session {
    struct session_peer peer; // first
    struct session *next;
    struct session *previous;
    struct sessions *sessions;
    struct lws *wsi;
    struct arena arena; // of what lives as long as the session
    struct core_caller caller;
    struct text instance_arn;
    struct text agent_version;
    struct text agent_hash;
    struct text docker_version;
    int64_t id;
    bool telemetry;
    bool berth;
    bool attached;    // the upgrade is done; an ACS session stands for its node
    bool ending;      // nothing more is queued or listened to
    int close_status; // not 0: still to be said
    char close_reason[SESSION_REASON_CHARS_MAX + 1];
    struct frame *first;
    struct frame *last;
    struct host_wait wait;   // until what held frames tell of is durable
    bool waiting;            // in the host's list
    int64_t durable_version; // that is known of
    size_t queued_bytes;
    struct buf received;
    uint64_t received_at_ms;
    uint64_t beat_at_ms;
};

/** All of them, and the listeners. */
struct sessions {
    struct server *server;
    struct lws_context *context;
    size_t file_limit; // connections have descriptors below it
    char *urls[SERVER_LISTEN_MAX];
    struct session *first;
    struct map nodes; // node id to its attached ACS session
    size_t telemetry_count;
    int64_t next_id;
    uv_timer_t timer;
    bool timer_open;
    uint64_t tick;
    struct arena scratch; // of one frame
    struct lws_protocols protocols[2];
};

/** @return the loop's time */
uint64_t sessions_now_ms(const struct sessions *sessions);

// ---- session.c --------------------------------------------------------------------------------

/** Queue a frame. @return whether the session takes it */
bool session_send(struct session *session, const char *type, const struct shape_type *shape,
                  const void *message);

/** The same for what the engine was asked just now: it goes out once the state is durable that the
 *  answer came from, and so does what is queued behind it. */
bool session_send_durable(struct session *session, const char *type, const struct shape_type *shape,
                          const void *message);

/** Close with a status and a reason at the next tick; nothing more is queued or listened to. */
void session_end(struct session *session, int status, struct text reason);

/** A websocket asks to be a node's session. @return what the library's callback returns: not 0
 *  refuses */
int session_upgrade(struct sessions *sessions, struct lws *wsi);

/** SESSION_TICK_MS passed. */
void sessions_tick(uv_timer_t *timer);

// ---- session_said.c ---------------------------------------------------------------------------

/** Tell the engine's node service; results as host_request. Its answer is empty but for
 *  NodeConnect's. */
int session_tell(struct session *session, enum node_operation operation, const void *request,
                 struct core_call *call);

/** Tell what the engine or the node says again when it is lost. */
bool session_tell_lightly(struct session *session, enum node_operation operation,
                          const void *request);

/** Bytes of a frame came. @return what the library's callback returns: not 0 closes */
int session_receive(struct session *session, const void *bytes, size_t size);
