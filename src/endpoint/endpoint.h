#pragma once

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "shape/shape.h"

#include <uv.h>

/*
 * The HTTP server that a node's tasks reach at 169.254.170.2: one listening socket for each task,
 * opened in the task's network namespace, all served on the agent's loop.
 *
 * Who asks is who owns the socket: a caller is known before it says anything. Each task may make 40
 * requests a second and 60 at once, as with Amazon's agent, and have ENDPOINT_CALLERS_MAX
 * connections; what it makes beyond that waits, and is in no other task's way. A connection that is
 * silent for five seconds is closed.
 */

#define ENDPOINT_RATE 40
#define ENDPOINT_BURST 60
#define ENDPOINT_CALLERS_MAX 32       ///< connections of one task: SDKs keep one each
#define ENDPOINT_CONNECTIONS_MAX 2048 ///< of all tasks: each takes a descriptor and some 8 KiB
#define ENDPOINT_BODY_MAX 4096        ///< bytes; the only body is a protection of 60
#define ENDPOINT_IDLE_SECONDS 5       ///< Amazon's agent's

struct endpoints;

/** A request, until it is answered. Owned by the server. */
struct endpoint_call {
    struct text owner; ///< whose socket it came in by
    struct text method;
    struct text path; ///< without the query, percent-decoding done
    struct text query;
    struct text body;
    struct arena arena;       ///< of the handler; goes with the call
    int status;               ///< of the reply; the handler sets it
    const char *content_type; ///< constant text; NULL for application/json
    struct buf reply;         ///< the handler fills it
};

/** Take a request: fill the reply and call endpoint_done, at once or later. It is called later also
 *  for a caller that hung up. */
typedef void (*endpoint_handler_fn)(void *context, struct endpoint_call *call);

/** Make a server without sockets. */
MUST_CHECK int endpoints_new(uv_loop_t *loop, endpoint_handler_fn handler, void *context,
                             struct endpoints **out_endpoints, struct err *err);

/**
 * Serve on a socket for an owner, such as a task's id; a socket that it had before is closed.
 *
 * @param fd  listening and not blocking; the server's from here on, also on failure
 */
MUST_CHECK int endpoints_add(struct endpoints *endpoints, struct text owner, int fd,
                             struct err *err);

/** Close an owner's socket and connections; nothing when it has none. */
void endpoints_remove(struct endpoints *endpoints, struct text owner);

/** @return how many sockets are open */
size_t endpoints_count(const struct endpoints *endpoints);

/** The reply is complete. */
void endpoint_done(struct endpoint_call *call);

/** Close everything; calls under way are forgotten, and endpoint_done must not be called for them
 * any more. NULL is allowed. */
void endpoints_close(struct endpoints *endpoints);

/** @return whether the loop has let go of everything: then endpoints_free may be called */
bool endpoints_closed(const struct endpoints *endpoints);

/** Free; NULL is allowed. */
void endpoints_free(struct endpoints *endpoints);
