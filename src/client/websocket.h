#pragma once

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

#include <uv.h>

/*
 * Websockets to a server: those of a node's sessions, and data channels of ECS Exec at both of
 * their ends.
 *
 * Opening is asynchronous; frames go both ways, whole. All calls and callbacks are on the loop's
 * thread. A socket never comes back: open another.
 */

#define WEBSOCKET_HEADERS_MAX 4

struct websockets;
struct websocket;

/** A header of the request that opens a socket: the name in lower case, with its colon. */
struct websocket_header {
    const char *name;
    struct text value;
};

struct websockets_options {
    uv_loop_t *loop;
    bool tls;            ///< sockets may ask for it
    const char *ca_file; ///< PEM to trust then; NULL for the system's
    uint32_t open_s;     ///< a server that is there answers within it
    uint32_t silent_s;   ///< one that does not answer pings as long is gone; 0: it is not pinged
    size_t frame_max;    ///< bytes of a frame that comes, and of frames queued
    uint32_t socket_max; ///< sockets at once, for which the library takes room
    bool quiet;          ///< do not log what the library has to say
    /** Make headers for a request, in the arena. NULL for none. @return how many */
    size_t (*headers)(void *context, struct text host, struct text path, struct arena *arena,
                      struct websocket_header out_headers[WEBSOCKET_HEADERS_MAX]);
    void *context;
};

struct websocket_handlers {
    /** It is open. */
    void (*open)(void *context, struct websocket *socket);
    /** A whole text frame. Borrowed for the call. NULL: they are passed over. */
    void (*text)(void *context, struct websocket *socket, struct text frame);
    /** A whole binary frame. NULL: a socket on which one comes ends. */
    void (*binary)(void *context, struct websocket *socket, struct text frame);
    /** It could not be opened, or was closed, by whomever: it is gone after the call. refused: with
     *  a status of HTTP that says that it is our fault. Not called for those that websockets_close
     *  ends. */
    void (*closed)(void *context, struct websocket *socket, struct text why, bool refused);
    void *context;
};

/** Prepare for sockets. ca_file is read at once, other options are copied. */
MUST_CHECK int websockets_new(const struct websockets_options *options,
                              struct websockets **out_sockets, struct err *err);

/** End all sockets without calling their handlers, and let go of the loop. */
void websockets_close(struct websockets *sockets);

/** @return whether websockets_close has done its work: turn the loop until then */
bool websockets_closed(const struct websockets *sockets);

/** Free; after websockets_closed. NULL is allowed. */
void websockets_free(struct websockets *sockets);

/**
 * Begin to open a socket.
 *
 * @param url  http, https, ws or wss, with path and query
 * @return the socket; NULL when the URL is none, or asks for TLS when there is none
 */
struct websocket *websocket_open(struct websockets *sockets, struct text url,
                                 const struct websocket_handlers *handlers);

/** Queue a text frame. A socket whose queue gets longer than frame_max ends; one that is not open,
 *  or ends, drops what it is given. */
void websocket_send_text(struct websocket *socket, struct text frame);

/** Queue a binary frame; as websocket_send_text. */
void websocket_send_binary(struct websocket *socket, struct text frame);

/** @return bytes of frames that are queued */
size_t websocket_queued(const struct websocket *socket);

/** End a socket at once; its closed handler is called, later, with why. */
void websocket_end(struct websocket *socket, const char *why);

/**
 * End a socket once all that is queued was sent, with the code of a regular end, 1000. Call it
 * again until the closed handler was called, and never in a handler; that may be called before it
 * returns.
 */
void websocket_finish(struct websocket *socket);

/** @return the code with which the server closed; 0 when it gave none */
uint16_t websocket_code(const struct websocket *socket);

/** @return when the last frame or the answer to a ping came, monotonic ms */
int64_t websocket_heard_ms(const struct websocket *socket);

/** @return host and port of the server, as in the Host header */
const char *websocket_host(const struct websocket *socket);
