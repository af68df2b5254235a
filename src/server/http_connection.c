#include "server/http_internal.h"

#include <sys/socket.h>

/*
 * Open connections. The library closes those that are silent; those that send or take a byte now
 * and then are ours to end.
 */

#define SWEEP_MS 1000u

struct http_connection *http_connection_of(struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

void http_connection_phase(struct http_connection *connection, bool handling)
{
    connection->handling = handling;
    const struct http *http = connection->daemon->listener->http;
    connection->phase_since_ms = uv_now(http->server->options.loop);
}

// The library misses the end of a stream that comes together with the last bytes before it: it
// reads less than it asked for, and waits for an event that was already there.
static bool stream_ended(const struct http_connection *connection)
{
    char byte = 0;
    return connection->exchange == NULL &&
           recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

// Closing the socket is the library's; ending it makes the library do so.
void http_on_sweep(uv_timer_t *timer)
{
    struct http *http = CONTAINER_OF(timer, struct http, sweep);
    uint64_t now_ms = uv_now(http->server->options.loop);
    for (struct http_connection *connection = http->first; connection != NULL;
         connection = connection->next) {
        if (connection->handling || connection->ended) {
            continue;
        }
        if (now_ms - connection->phase_since_ms > http->phase_ms || stream_ended(connection)) {
            connection->ended = true;
            shutdown(connection->fd, SHUT_RDWR);
        }
    }
}

static void connection_open(struct http_daemon *daemon, struct MHD_Connection *handle,
                            void **context)
{
    struct http *http = daemon->listener->http;
    struct http_connection *connection = ALLOC(struct http_connection);
    connection->daemon = daemon;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    connection->fd = info->connect_fd;
    http_connection_phase(connection, false);
    connection->next = http->first;
    if (http->first != NULL) {
        http->first->previous = connection;
    } else {
        uint32_t period_ms = MIN(SWEEP_MS, http->phase_ms / 4 + 1);
        uv_timer_start(&http->sweep, http_on_sweep, period_ms, period_ms);
    }
    http->first = connection;
    http->connection_count++;
    daemon->connection_count++;
    *context = connection;
}

static void connection_close(struct http_connection *connection)
{
    struct http_daemon *daemon = connection->daemon;
    struct http *http = daemon->listener->http;
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        http->first = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    // At its limit, and when the process has no descriptors left, the library stops to accept, and
    // begins again when it runs after a connection went: which nothing else would make it do. A
    // retired daemon goes with its last connection.
    if (!http->closing) {
        http_kick(http);
    }
    http->connection_count--;
    daemon->connection_count--;
    if (http->first == NULL && !http->closing) {
        uv_timer_stop(&http->sweep);
    }
    alloc_free(connection);
}

void http_on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
                        enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_open(context, handle, socket_context);
    } else if (*socket_context != NULL) {
        connection_close(*socket_context);
        *socket_context = NULL;
    }
}
