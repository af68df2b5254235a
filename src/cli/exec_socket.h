#pragma once

#include "base/err.h"
#include "base/text.h"

#include <uv.h>

/*
 * A websocket to the server, for a data channel. Opening is asynchronous; frames go both ways,
 * whole. All calls and callbacks are on the loop's thread.
 */

struct exec_sockets;
struct exec_socket;

struct exec_socket_handlers {
    /** It is open. */
    void (*open)(void *context);
    /** A whole binary frame. Borrowed for the call. */
    void (*frame)(void *context, struct text frame);
    /** It could not be opened, or was closed: it is gone after the call. code is that of the other
     *  end's close frame, 0 when there was none. */
    void (*closed)(void *context, uint16_t code, const char *why);
    void *context;
};

/** Make what all sockets of a run share. ca_file: PEM to trust; NULL for the system's. */
MUST_CHECK int exec_sockets_new(uv_loop_t *loop, const char *ca_file,
                                struct exec_sockets **out_sockets, struct err *err);

/** End all and free; turns the loop. NULL is allowed. No handler is called. */
void exec_sockets_free(struct exec_sockets *sockets);

/** Begin to open a ws or wss URL. @return NULL when it is none */
struct exec_socket *exec_socket_open(struct exec_sockets *sockets, struct text url,
                                     const struct exec_socket_handlers *handlers);

/** Queue a frame. */
void exec_socket_send(struct exec_socket *socket, struct text frame, bool binary);

/** @return bytes that are queued */
size_t exec_socket_queued(const struct exec_socket *socket);

/** Close regularly, when all that is queued was sent: exec_socket_turn does it then. */
void exec_socket_finish(struct exec_socket *socket);

/** To be called now and then, but not from a handler. It may be gone after the call: the closed
 *  handler tells. */
void exec_socket_turn(struct exec_socket *socket);

/** Drop the connection; the closed handler is called, later. */
void exec_socket_drop(struct exec_socket *socket);
