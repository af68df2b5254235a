#pragma once

#include "agent/identity.h"
#include "client/websocket.h"

/*
 * Websockets with the server, signed with the node's key: the ACS and the TCS session of a node,
 * and the data channels of ECS Exec.
 */

struct sessions;

/** Prepare for sessions of a node. */
MUST_CHECK int agent_sessions_new(uv_loop_t *loop, const struct agent_identity *identity,
                                  struct sessions **out_sessions, struct err *err);

/** End all sessions without calling their handlers, and let go of the loop. */
void agent_sessions_close(struct sessions *sessions);

/** @return whether agent_sessions_close has done its work: turn the loop until then */
bool agent_sessions_closed(const struct sessions *sessions);

/** Free; after agent_sessions_closed. NULL is allowed. */
void agent_sessions_free(struct sessions *sessions);

/** Begin to open a session; as websocket_open. */
struct websocket *agent_session_open(struct sessions *sessions, struct text url,
                                     const struct websocket_handlers *handlers);

/** Sign with another time than this host's, for sessions that are opened from now on. */
void agent_sessions_set_clock(struct sessions *sessions, int64_t offset_ms);
