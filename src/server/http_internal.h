#pragma once

#include "server/server_internal.h"

#include <microhttpd.h>

/*
 * The parts of the HTTP front, which runs libmicrohttpd without threads:
 *
 *   http.c             the front's life: its listeners, and how many connections they may have
 *   http_listener.c    a socket that accepts, and the library's daemons on it
 *   http_connection.c  open connections, and those that take too long
 *   http_request.c     a request: its headers and body as they come, its reply on its way out
 */

/**
 * One run of the library on a listener's socket, with one certificate. When the certificate is
 * renewed the listener gets another daemon; the one before retires, which is to accept nothing, to
 * finish what it has, and to go when its last connection went.
 */
struct http_daemon {
    struct http_daemon *older; ///< retired
    struct http_listener *listener;
    struct MHD_Daemon *handle;
    size_t connection_count;
    bool retired;
    uv_poll_t poll;
    uv_timer_t timer;
    int handles_open;
};

/** An address to accept on. */
struct http_listener {
    struct http *http;
    bool tls;
    char *url;
    struct http_daemon *newest; ///< accepts; the older ones are behind it
};

/** An open connection, for what the library does not watch itself. */
struct http_connection {
    struct http_connection *next;
    struct http_connection *previous;
    struct http_daemon *daemon;
    struct exchange *exchange; ///< being handled, else NULL
    uint64_t phase_since_ms;   ///< since when it is idle, receiving or sending
    int fd;
    bool handling; ///< the request is complete, the reply not ready: our time, not its
    bool ended;    ///< shut down by us; the library notices
};

struct http {
    struct server *server;
    struct http_listener listeners[SERVER_LISTEN_MAX];
    size_t listener_count;
    struct http_connection *first;
    size_t connection_count;
    unsigned int connection_limit; ///< of each listener
    size_t busy_count;
    struct exchange *spare; ///< exchanges to use again
    size_t spare_count;
    uv_idle_t kick;
    bool kicking;
    uv_timer_t sweep;
    uint32_t phase_ms;
    bool handles_open;
    bool closing;
};

/** Run the library, twice, once per turn of the loop: what a request that was resumed needs, and a
 *  listener that may accept again. */
void http_kick(struct http *http);

// ---- http_listener.c --------------------------------------------------------------------------

/** Begin to accept at an address. On failure the listener counts as never started. */
MUST_CHECK int http_listener_start(struct http *http, const struct server_listen *listen,
                                   struct err *err);

/** Have connections that come from now on see the certificate as it is now. On failure they see
 *  the one before. */
MUST_CHECK int http_listener_renew(struct http_listener *listener, struct err *err);

/** Run the library some times at least; more often while it has work. */
void http_listener_run(struct http_listener *listener, int times);

/** Accept nothing new. */
void http_listener_quiesce(struct http_listener *listener);

/** End all connections, none of which may be suspended, and let go of the loop. */
void http_listener_close(struct http_listener *listener);

// ---- http_connection.c ------------------------------------------------------------------------

/** The library opened or closed a connection; context is its daemon. */
void http_on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);

/** @return ours of the library's connection; NULL once it is closed */
struct http_connection *http_connection_of(struct MHD_Connection *handle);

/** Begin a span whose length is limited, unless it is spent by us, with handling the request. */
void http_connection_phase(struct http_connection *connection, bool handling);

/** End connections that take too long. */
void http_on_sweep(uv_timer_t *timer);

// ---- http_request.c ---------------------------------------------------------------------------

/** The first that is heard of a request: its line was read. What it returns comes back as the
 *  request's slot in the calls below. */
void *http_on_request_line(void *context, const char *uri, struct MHD_Connection *handle);

/** Called with the headers, with each piece of the body, at its end, and after a resume. */
enum MHD_Result http_on_request(void *context, struct MHD_Connection *handle, const char *url,
                                const char *method, const char *version, const char *bytes,
                                size_t *size, void **slot);

/** The library is done with a request. */
void http_on_completed(void *context, struct MHD_Connection *handle, void **slot,
                       enum MHD_RequestTerminationCode code);

/** Refuse what is under way, as the server stops. */
void http_request_abandon(struct exchange *exchange);

/** Free the exchanges that are kept for use again. */
void http_free_spare(struct http *http);
