#pragma once

#include "server/server_internal.h"

/*
 * Sessions of ECS Exec: a client's websocket and a node's, paired by the session's id, and the
 * frames of a data channel (src/channel) handed from one to the other.
 *
 * A session is made by ExecuteCommand and lives in memory only: a server that starts anew has none,
 * which a client is told as a session that timed out. Each side shows that it belongs to the
 * session with a token, in a text frame that comes first. What follows is not looked at, but for a
 * transcript where the cluster wants one. Each way holds a bounded number of bytes: when it is
 * full, nothing more is read from the side that fills it.
 */

struct lws;
struct sessions;
struct exec_hub;

/** Make the hub; it lives as long as the server. */
struct exec_hub *exec_hub_new(struct server *server);

/** Free; when no socket is open any more. NULL is allowed. */
void exec_hub_free(struct exec_hub *hub);

/** @return sessions that are not over */
size_t exec_count(const struct exec_hub *hub);

/** Append metrics. */
void exec_write_metrics(const struct exec_hub *hub, struct buf *out);

/** Have the node begin a session for an ExecuteCommand that the engine accepted, and complete the
 *  response. @return false when the exchange was refused instead */
bool exec_begin(struct exchange *exchange, const void *request, void *response);

/** Handle AmazonSSM's ResumeSession; request is in the exchange's arena. */
void exec_resume(struct exchange *exchange, const void *request);

/** Handle AmazonSSM's TerminateSession. */
void exec_terminate(struct exchange *exchange, const void *request);

/** @return whether a path is that of a data channel */
bool exec_path(struct text path);

/** A websocket asks for a data channel. @return what the library's callback returns: not 0 refuses
 */
int exec_upgrade(struct exec_hub *hub, struct lws *wsi, struct text path, struct arena *arena);

/** Time passed. Called some times a second. */
void exec_tick(struct exec_hub *hub);
