#include "server/http_internal.h"

#include <sys/resource.h>

/*
 * The front's life.
 */

// See request_timeout_ms.
#define PHASE_MS 75000u
#define CONNECTIONS_MAX 20000u // 10,000 nodes and their tasks' clients, with room
#define FILES_RESERVED 256u    // store, logs, sessions' listeners

static void on_kick(uv_idle_t *idle)
{
    struct http *http = CONTAINER_OF(idle, struct http, kick);
    uv_idle_stop(idle);
    http->kicking = false;
    for (size_t i = 0; i < http->listener_count; i++) {
        http_listener_run(&http->listeners[i], 2);
    }
}

void http_kick(struct http *http)
{
    if (!http->kicking) {
        http->kicking = true;
        uv_idle_start(&http->kick, on_kick);
    }
}

static unsigned int connection_limit(size_t listener_count)
{
    struct rlimit limit = {0};
    rlim_t files = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        files = limit.rlim_cur;
    }
    // Half for the API, the rest for the sessions.
    rlim_t room = files > 2 * FILES_RESERVED ? (files - FILES_RESERVED) / 2 : files / 4;
    return (unsigned int)MAX(MIN(room, (rlim_t)CONNECTIONS_MAX) / listener_count, (rlim_t)4);
}

int http_new(struct server *server, struct http **out_http, struct err *err)
{
    struct http *http = ALLOC(struct http);
    http->server = server;
    uint32_t given_ms = server->options.request_timeout_ms;
    http->phase_ms = given_ms == 0 ? PHASE_MS : given_ms;
    int rc = uv_idle_init(server->options.loop, &http->kick);
    ASSERT(rc == 0);
    rc = uv_timer_init(server->options.loop, &http->sweep);
    ASSERT(rc == 0);
    http->handles_open = true;
    *out_http = http;
    const struct server_options *options = &server->options;
    http->connection_limit = connection_limit(options->api_count);
    for (size_t i = 0; i < options->api_count; i++) {
        rc = http_listener_start(http, &options->api[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

const char *http_url(const struct http *http, size_t index)
{
    ASSERT(index < http->listener_count);
    return http->listeners[index].url;
}

size_t http_connection_count(const struct http *http)
{
    return http->connection_count;
}

bool http_busy(const struct http *http)
{
    return http->busy_count > 0;
}

int http_renew(struct http *http, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < http->listener_count && rc == 0; i++) {
        rc = http_listener_renew(&http->listeners[i], err);
    }
    return rc;
}

void http_quiesce(struct http *http)
{
    for (size_t i = 0; i < http->listener_count; i++) {
        http_listener_quiesce(&http->listeners[i]);
    }
}

// The library must not be stopped while a connection is suspended.
static void abandon_suspended(struct http *http)
{
    for (struct http_connection *connection = http->first; connection != NULL;
         connection = connection->next) {
        struct exchange *exchange = connection->exchange;
        if (exchange != NULL && exchange->suspended) {
            http_request_abandon(exchange);
        }
    }
}

void http_close(struct http *http)
{
    http->closing = true;
    abandon_suspended(http);
    for (size_t i = 0; i < http->listener_count; i++) {
        http_listener_close(&http->listeners[i]);
    }
    if (http->handles_open) {
        uv_close((uv_handle_t *)&http->kick, NULL);
        uv_close((uv_handle_t *)&http->sweep, NULL);
    }
}

void http_free(struct http *http)
{
    if (http == NULL) {
        return;
    }
    ASSERT(http->first == NULL);
    http_free_spare(http);
    for (size_t i = 0; i < http->listener_count; i++) {
        alloc_free(http->listeners[i].url);
    }
    alloc_free(http);
}
