#include "server/http_internal.h"
#include "server/listen.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/*
 * libmicrohttpd without threads: its epoll descriptor is polled by the loop.
 *
 * The library reads a certificate once, when a daemon starts. So a renewed one gets a daemon of
 * its own, on the same socket: connections that wait in the socket's queue are not lost.
 */

// Silence of a connection, in or between requests, after which it is closed.
#define IDLE_SECONDS 60u
// Headers, the library's own bookkeeping of them, and a piece of the body.
#define CONNECTION_BYTES (LIMIT_HEADER_BYTES + 24576)

// ---- running the library ----------------------------------------------------------------------

static void on_timer(uv_timer_t *timer);

// The library asks to be run again at once while it has work left, which a few turns do, and also
// for as long as a TLS handshake waits for its peer. So after some turns the loop polls first: the
// peer may be a client of this very process, and libuv runs timers of 0 without polling in between.
#define RUN_AGAIN_MAX 4
#define RUN_LATER_MS 1

static void daemon_run(struct http_daemon *daemon, int times)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    enum MHD_Result waiting = MHD_NO;
    for (int i = 0; i < times + RUN_AGAIN_MAX; i++) {
        MHD_run(daemon->handle);
        waiting = MHD_get_timeout(daemon->handle, &timeout_ms);
        if (i + 1 >= times && (waiting != MHD_YES || timeout_ms > 0)) {
            break;
        }
    }
    if (waiting == MHD_YES) {
        uint64_t wait_ms = MAX((uint64_t)timeout_ms, (uint64_t)RUN_LATER_MS);
        uv_timer_start(&daemon->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&daemon->timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    daemon_run(CONTAINER_OF(timer, struct http_daemon, timer), 1);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    daemon_run(CONTAINER_OF(poll, struct http_daemon, poll), 1);
}

// ---- daemons ----------------------------------------------------------------------------------

static struct MHD_Daemon *library_start(struct http_daemon *daemon, int fd)
{
    const struct http *http = daemon->listener->http;
    const struct pki *pki = http->server->options.pki;
    unsigned int flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)http->connection_limit, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_on_completed, daemon},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)http_on_connection, daemon},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_on_request_line, daemon},
        {MHD_OPTION_END, 0, NULL},
    };
    if (!daemon->listener->tls) {
        return MHD_start_daemon(flags, 0, NULL, NULL, http_on_request, NULL, MHD_OPTION_ARRAY,
                                options, MHD_OPTION_END);
    }
    return MHD_start_daemon(flags | MHD_USE_TLS, 0, NULL, NULL, http_on_request, NULL,
                            MHD_OPTION_ARRAY, options, MHD_OPTION_HTTPS_MEM_CERT,
                            pki_certificate(pki), MHD_OPTION_HTTPS_MEM_KEY, pki_key(pki),
                            MHD_OPTION_HTTPS_PRIORITIES,
                            "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_END);
}

// On success the socket is the daemon's, and the daemon is the listener's newest.
static int daemon_start(struct http_listener *listener, int fd)
{
    struct http_daemon *daemon = ALLOC(struct http_daemon);
    daemon->listener = listener;
    daemon->handle = library_start(daemon, fd);
    if (daemon->handle == NULL) {
        alloc_free(daemon);
        return ERR_SYS;
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(daemon->handle, MHD_DAEMON_INFO_EPOLL_FD);
    ASSERT(info != NULL);
    uv_loop_t *loop = listener->http->server->options.loop;
    int rc = uv_poll_init(loop, &daemon->poll, info->epoll_fd);
    ASSERT(rc == 0);
    rc = uv_timer_init(loop, &daemon->timer);
    ASSERT(rc == 0);
    daemon->handles_open = 2;
    rc = uv_poll_start(&daemon->poll, UV_READABLE, on_poll);
    ASSERT(rc == 0);
    daemon->older = listener->newest;
    listener->newest = daemon;
    return 0;
}

static void daemon_closed(struct http_daemon *daemon)
{
    daemon->handles_open--;
    if (daemon->handles_open == 0) {
        alloc_free(daemon);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    daemon_closed(CONTAINER_OF((uv_poll_t *)handle, struct http_daemon, poll));
}

static void on_timer_closed(uv_handle_t *handle)
{
    daemon_closed(CONTAINER_OF((uv_timer_t *)handle, struct http_daemon, timer));
}

// The loop lets go of the library's descriptor before the library closes it.
static void daemon_close(struct http_daemon *daemon)
{
    uv_close((uv_handle_t *)&daemon->poll, on_poll_closed);
    uv_close((uv_handle_t *)&daemon->timer, on_timer_closed);
    MHD_stop_daemon(daemon->handle);
}

static void daemon_quiesce(struct http_daemon *daemon)
{
    MHD_socket fd = MHD_quiesce_daemon(daemon->handle);
    if (fd != MHD_INVALID_SOCKET) {
        close(fd);
    }
}

static void close_finished(struct http_daemon *newest)
{
    struct http_daemon **link = &newest->older;
    while (*link != NULL) {
        struct http_daemon *daemon = *link;
        if (daemon->connection_count > 0) {
            link = &daemon->older;
            continue;
        }
        *link = daemon->older;
        daemon_close(daemon);
    }
}

// ---- the listener -----------------------------------------------------------------------------

int http_listener_start(struct http *http, const struct server_listen *listen, struct err *err)
{
    struct http_listener *listener = &http->listeners[http->listener_count];
    int fd = -1;
    int rc = listen_open(listen, &fd, err);
    if (rc != 0) {
        return rc;
    }
    listener->http = http;
    listener->tls = listen->tls;
    rc = daemon_start(listener, fd);
    if (rc != 0) {
        close(fd);
        return err_set(err, rc, "the HTTP server cannot start on %s port %u", listen->address,
                       listen->port);
    }
    listener->url = listen_url(listen, fd, http->server->advertise);
    http->listener_count++;
    return 0;
}

int http_listener_renew(struct http_listener *listener, struct err *err)
{
    if (!listener->tls) {
        return 0;
    }
    struct http_daemon *before = listener->newest;
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(before->handle, MHD_DAEMON_INFO_LISTEN_FD);
    ASSERT(info != NULL);
    int fd = fcntl(info->listen_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(err, errno, "sharing the socket of %s", listener->url);
    }
    int rc = daemon_start(listener, fd);
    if (rc != 0) {
        close(fd);
        return err_set(err, rc, "the HTTP server cannot start anew on %s", listener->url);
    }
    daemon_quiesce(before);
    before->retired = true;
    http_kick(listener->http);
    return 0;
}

void http_listener_run(struct http_listener *listener, int times)
{
    for (struct http_daemon *daemon = listener->newest; daemon != NULL; daemon = daemon->older) {
        daemon_run(daemon, times);
    }
    close_finished(listener->newest);
}

void http_listener_quiesce(struct http_listener *listener)
{
    daemon_quiesce(listener->newest);
}

void http_listener_close(struct http_listener *listener)
{
    while (listener->newest != NULL) {
        struct http_daemon *daemon = listener->newest;
        listener->newest = daemon->older;
        MHD_run(daemon->handle);
        MHD_run(daemon->handle);
        daemon_close(daemon);
    }
}
