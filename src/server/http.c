#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "server/listen.h"
#include "server/server_internal.h"

#include <microhttpd.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * libmicrohttpd without threads: its epoll descriptor is polled by the loop.
 *
 * A request whose reply must wait for the disk is suspended and resumed. After a resume the
 * library must run twice, or it may miss the wake-up; `kick` does that once per turn of the loop
 * for all that became ready in it.
 */

// Silence of a connection, in or between requests, after which it is closed.
#define IDLE_SECONDS 60u
// See request_timeout_ms.
#define PHASE_MS 75000u
#define SWEEP_MS 1000u
// Headers, the library's own bookkeeping of them, and a piece of the body.
#define CONNECTION_BYTES (LIMIT_HEADER_BYTES + 24576)
// A body that is too large is read up to here, so that its sender sees the answer and not a reset.
#define DROP_BYTES_MAX ((size_t)32 << 20)
#define CONNECTIONS_MAX 20000u // 10,000 nodes and their tasks' clients, with room
#define FILES_RESERVED 256u    // store, logs, sessions' listeners
#define SPARE_EXCHANGES_MAX 256
#define SPARE_REPLY_BYTES 65536
#define BODY_BYTES_START 4096
#define STREAM_BYTES 16384 // handed to the library at once

struct listener {
    struct http *http;
    struct MHD_Daemon *daemon;
    bool tls;
    char *url;
    uv_poll_t poll;
    uv_timer_t timer;
};

// An open connection, for what the library does not watch itself.
struct connection {
    struct connection *next;
    struct connection *previous;
    struct http *http;
    struct exchange *exchange; // being handled, else NULL
    uint64_t phase_since_ms;   // since when it is idle, receiving or sending
    int fd;
    bool handling; // the request is complete, the reply not ready: our time, not its
    bool ended;    // shut down by us; the library notices
};

struct http {
    struct server *server;
    struct listener listeners[SERVER_LISTEN_MAX];
    size_t listener_count;
    struct connection *first;
    size_t connection_count;
    size_t connection_limit; // of each listener
    size_t busy_count;
    struct exchange *spare;
    size_t spare_count;
    uv_idle_t kick;
    bool kicking;
    uv_timer_t sweep;
    uint32_t phase_ms;
    bool handles_open;
    bool closing;
};

// ---- exchanges --------------------------------------------------------------------------------

static struct exchange *exchange_take(struct http *http)
{
    struct exchange *exchange = http->spare;
    if (exchange == NULL) {
        exchange = ALLOC(struct exchange);
    } else {
        http->spare = exchange->next_free;
        http->spare_count--;
        exchange->next_free = NULL;
    }
    exchange->server = http->server;
    return exchange;
}

// The headers are most of the struct and need no clearing: header_count says how many there are.
static void exchange_clear(struct exchange *exchange)
{
    struct arena arena = exchange->arena;
    struct buf reply = exchange->reply;
    arena_reset(&arena);
    buf_reset(&reply);
    size_t headers_end = offsetof(struct exchange, headers) + sizeof(exchange->headers);
    memset(exchange, 0, offsetof(struct exchange, headers));
    memset((char *)exchange + headers_end, 0, sizeof(*exchange) - headers_end);
    exchange->arena = arena;
    exchange->reply = reply;
}

static void exchange_free(struct exchange *exchange)
{
    arena_deinit(&exchange->arena);
    buf_deinit(&exchange->reply);
    alloc_free(exchange);
}

static void exchange_give(struct http *http, struct exchange *exchange)
{
    if (http->spare_count == SPARE_EXCHANGES_MAX || exchange->reply.capacity > SPARE_REPLY_BYTES ||
        exchange->arena.total_bytes > SPARE_REPLY_BYTES) {
        exchange_free(exchange);
        return;
    }
    exchange_clear(exchange);
    exchange->next_free = http->spare;
    http->spare = exchange;
    http->spare_count++;
}

// ---- running the library ----------------------------------------------------------------------

static void on_timer(uv_timer_t *timer);

// The library asks to be run again at once while it has work left, which a few turns do, and also
// for as long as a TLS handshake waits for its peer. So after some turns the loop polls first: the
// peer may be a client of this very process, and libuv runs timers of 0 without polling in between.
#define RUN_AGAIN_MAX 4
#define RUN_LATER_MS 1

static void listener_run(struct listener *listener, int times)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    enum MHD_Result waiting = MHD_NO;
    for (int i = 0; i < times + RUN_AGAIN_MAX; i++) {
        MHD_run(listener->daemon);
        waiting = MHD_get_timeout(listener->daemon, &timeout_ms);
        if (i + 1 >= times && (waiting != MHD_YES || timeout_ms > 0)) {
            break;
        }
    }
    if (waiting == MHD_YES) {
        uint64_t wait_ms = MAX((uint64_t)timeout_ms, (uint64_t)RUN_LATER_MS);
        uv_timer_start(&listener->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&listener->timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    listener_run(CONTAINER_OF(timer, struct listener, timer), 1);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    listener_run(CONTAINER_OF(poll, struct listener, poll), 1);
}

static void on_kick(uv_idle_t *idle)
{
    struct http *http = CONTAINER_OF(idle, struct http, kick);
    uv_idle_stop(idle);
    http->kicking = false;
    for (size_t i = 0; i < http->listener_count; i++) {
        listener_run(&http->listeners[i], 2);
    }
}

static void kick(struct http *http)
{
    if (!http->kicking) {
        http->kicking = true;
        uv_idle_start(&http->kick, on_kick);
    }
}

void http_reply_ready(struct exchange *exchange)
{
    ASSERT(exchange->suspended);
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
    kick(exchange->server->http);
}

// ---- connections ------------------------------------------------------------------------------

static struct connection *connection_of(struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void begin_phase(struct connection *connection, bool handling)
{
    connection->handling = handling;
    connection->phase_since_ms = uv_now(connection->http->server->options.loop);
}

// The library misses the end of a stream that comes together with the last bytes before it: it
// reads less than it asked for, and waits for an event that was already there.
static bool stream_ended(const struct connection *connection)
{
    char byte = 0;
    return connection->exchange == NULL &&
           recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

// Closing the socket is the library's; ending it makes the library do so.
static void on_sweep(uv_timer_t *timer)
{
    struct http *http = CONTAINER_OF(timer, struct http, sweep);
    uint64_t now_ms = uv_now(http->server->options.loop);
    for (struct connection *connection = http->first; connection != NULL;
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

static void connection_open(struct listener *listener, struct MHD_Connection *handle,
                            void **context)
{
    struct http *http = listener->http;
    struct connection *connection = ALLOC(struct connection);
    connection->http = http;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    connection->fd = info->connect_fd;
    begin_phase(connection, false);
    connection->next = http->first;
    if (http->first != NULL) {
        http->first->previous = connection;
    } else {
        uint32_t period_ms = MIN(SWEEP_MS, http->phase_ms / 4 + 1);
        uv_timer_start(&http->sweep, on_sweep, period_ms, period_ms);
    }
    http->first = connection;
    http->connection_count++;
    *context = connection;
}

static void connection_close(struct http *http, struct connection *connection)
{
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        http->first = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    // At its limit the library stops to accept, and begins again when it runs after a connection
    // went: which nothing else would make it do.
    if (http->connection_count >= http->connection_limit && !http->closing) {
        kick(http);
    }
    http->connection_count--;
    if (http->first == NULL && !http->closing) {
        uv_timer_stop(&http->sweep);
    }
    alloc_free(connection);
}

static void on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct listener *listener = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_open(listener, handle, socket_context);
    } else if (*socket_context != NULL) {
        connection_close(listener->http, *socket_context);
        *socket_context = NULL;
    }
}

// ---- requests ---------------------------------------------------------------------------------

// The first that is heard of a request: its line was read. What it returns comes back as the
// request's slot in the calls below.
static void *on_request_line(void *context, const char *uri, struct MHD_Connection *handle)
{
    struct listener *listener = context;
    struct exchange *exchange = exchange_take(listener->http);
    exchange->tls = listener->tls;
    exchange->connection = handle;
    struct text target = arena_text(&exchange->arena, text_of(uri));
    size_t mark = text_find(target, '?');
    exchange->request.path = text_slice(target, 0, mark);
    if (mark != SIZE_MAX) {
        exchange->request.query = text_slice(target, mark + 1, target.size);
    }
    return exchange;
}

static enum MHD_Result on_header(void *context, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    struct exchange *exchange = context;
    struct text name_text = text_of(name);
    struct text value_text = value == NULL ? TEXT("") : text_of(value);
    exchange->header_bytes += name_text.size + value_text.size + 4;
    if (exchange->request.header_count == EXCHANGE_HEADERS_MAX) {
        exchange->headers_overflow = true;
        return MHD_NO;
    }
    exchange->headers[exchange->request.header_count++] =
        (struct sigv4_header){name_text, value_text};
    return MHD_YES;
}

static struct text header(const struct exchange *exchange, struct text name)
{
    for (size_t i = 0; i < exchange->request.header_count; i++) {
        if (text_equal_nocase(exchange->headers[i].name, name)) {
            return exchange->headers[i].value;
        }
    }
    return (struct text){0};
}

static size_t count_headers(const struct exchange *exchange, struct text name)
{
    size_t count = 0;
    for (size_t i = 0; i < exchange->request.header_count; i++) {
        count += text_equal_nocase(exchange->headers[i].name, name) ? 1 : 0;
    }
    return count;
}

static void refuse(struct exchange *exchange, enum front_error error, struct text message)
{
    exchange->closing = true;
    struct refusal refusal = refusal_front(error, message);
    dispatch_refuse(exchange, &refusal);
}

static void refuse_large(struct exchange *exchange)
{
    refuse(exchange, FRONT_BODY_TOO_LARGE,
           arena_format(&exchange->arena, "The body of a request may have %u bytes.",
                        LIMIT_BODY_BYTES));
}

// What the headers alone decide.
static void check_headers(struct exchange *exchange)
{
    if (exchange->headers_overflow || exchange->header_bytes > LIMIT_HEADER_BYTES ||
        exchange->request.path.size + exchange->request.query.size > LIMIT_HEADER_BYTES) {
        refuse(exchange, FRONT_HEADERS_TOO_LARGE,
               arena_format(&exchange->arena,
                            "All headers of a request may have %d bytes, and be %d.",
                            LIMIT_HEADER_BYTES, EXCHANGE_HEADERS_MAX));
        return;
    }
    if (count_headers(exchange, TEXT("content-length")) +
            count_headers(exchange, TEXT("transfer-encoding")) >
        1) {
        // Which of them says where the next request begins is how requests are smuggled.
        refuse(exchange, FRONT_BAD_REQUEST,
               TEXT("A request has one Content-Length or one Transfer-Encoding, not both."));
        return;
    }
    struct text length = header(exchange, TEXT("content-length"));
    uint64_t size = 0;
    if (length.data != NULL && text_to_u64(text_trim(length), &size) != 0) {
        refuse(exchange, FRONT_BAD_REQUEST, TEXT("Content-Length must be a number."));
        return;
    }
    bool waits = header(exchange, TEXT("expect")).data != NULL;
    if (size > DROP_BYTES_MAX || (size > LIMIT_BODY_BYTES && waits)) {
        refuse_large(exchange);
        return;
    }
    if (size > 0 && size <= LIMIT_BODY_BYTES) {
        exchange->body = arena_alloc(&exchange->arena, size);
        exchange->body_capacity = size;
    }
}

static void begin(struct exchange *exchange, const char *method)
{
    exchange->request.method = text_of(method);
    exchange->request.headers = exchange->headers;
    exchange->request.body = TEXT("");
    exchange->begin_ns = clock_monotonic_ns();
    server_request_id(exchange->server, exchange->request_id);
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, on_header, exchange);
    check_headers(exchange);
}

// @return false when the connection must end: the sender does not stop
static bool take_body(struct exchange *exchange, const char *bytes, size_t size)
{
    struct text *body = &exchange->request.body;
    if (exchange->replied || exchange->body_dropped > 0 || body->size + size > LIMIT_BODY_BYTES) {
        exchange->body_dropped += size;
        return exchange->body_dropped <= DROP_BYTES_MAX;
    }
    if (body->size + size > exchange->body_capacity) {
        size_t capacity = MAX((size_t)BODY_BYTES_START, exchange->body_capacity * 2);
        capacity = MIN(MAX(capacity, body->size + size), (size_t)LIMIT_BODY_BYTES);
        char *larger = arena_alloc(&exchange->arena, capacity);
        memcpy(larger, body->data, body->size);
        exchange->body = larger;
        exchange->body_capacity = capacity;
    }
    memcpy(exchange->body + body->size, bytes, size);
    *body = (struct text){exchange->body, body->size + size};
    return true;
}

// The library has room for more of a stream. A stream that has nothing to say waits on our account;
// one whose client does not read is cut off as any reply is.
static ssize_t on_stream(void *context, uint64_t position, char *out, size_t most)
{
    (void)position;
    struct exchange *exchange = context;
    struct connection *connection = connection_of(exchange->connection);
    ssize_t size = events_stream_read(exchange, out, most);
    if (connection != NULL) {
        begin_phase(connection, size == 0);
    }
    if (size == 0) {
        exchange->stream_idle = true;
        MHD_suspend_connection(exchange->connection);
    }
    return size < 0 ? MHD_CONTENT_READER_END_OF_STREAM : size;
}

void http_stream_ready(struct exchange *exchange)
{
    if (exchange->stream_idle) {
        exchange->stream_idle = false;
        MHD_resume_connection(exchange->connection);
        kick(exchange->server->http);
    }
}

static enum MHD_Result send_reply(struct exchange *exchange)
{
    struct MHD_Connection *handle = exchange->connection;
    struct connection *connection = connection_of(handle);
    if (connection != NULL) {
        begin_phase(connection, false);
    }
    // The bytes stay the exchange's, which lives until the library says it is done with them.
    struct MHD_Response *response =
        exchange->event_stream != NULL
            ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, on_stream, exchange,
                                                NULL)
            : MHD_create_response_from_buffer(exchange->reply.size,
                                              exchange->reply.data == NULL ? (void *)(uintptr_t) ""
                                                                           : exchange->reply.data,
                                              MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", exchange->content_type);
    MHD_add_response_header(response, "x-amzn-RequestId", exchange->request_id);
    // Some SDKs look for the error's name here before they look into the body.
    if (exchange->status >= 400 && exchange->protocol == API_JSON_1_1) {
        MHD_add_response_header(response, "x-amzn-ErrorType", exchange->code);
    }
    if (exchange->closing || exchange->server->stopping) {
        MHD_add_response_header(response, "Connection", "close");
    }
    enum MHD_Result result = MHD_queue_response(handle, (unsigned int)exchange->status, response);
    MHD_destroy_response(response);
    return result;
}

static void handle_request(struct exchange *exchange)
{
    struct http *http = exchange->server->http;
    struct connection *connection = connection_of(exchange->connection);
    exchange->dispatched = true;
    http->busy_count++;
    if (connection != NULL) {
        connection->exchange = exchange;
        begin_phase(connection, true);
    }
    if (exchange->body_dropped > 0) {
        refuse_large(exchange);
    } else {
        dispatch(exchange);
    }
    if (!exchange->replied) {
        exchange->suspended = true;
        MHD_suspend_connection(exchange->connection);
    }
}

// Called with the headers, with each piece of the body, at its end, and after a resume.
static enum MHD_Result on_request(void *context, struct MHD_Connection *handle, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *size, void **slot)
{
    (void)context;
    (void)url;
    (void)version;
    struct exchange *exchange = *slot;
    ASSERT(exchange != NULL);
    ASSERT(exchange->connection == handle);
    if (exchange->request.method.data == NULL) {
        begin(exchange, method);
        return exchange->replied ? send_reply(exchange) : MHD_YES;
    }
    if (*size > 0) {
        bool more = take_body(exchange, bytes, *size);
        *size = 0;
        return more ? MHD_YES : MHD_NO;
    }
    if (!exchange->dispatched) {
        handle_request(exchange);
    }
    return exchange->replied ? send_reply(exchange) : MHD_YES;
}

static void on_completed(void *context, struct MHD_Connection *handle, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    (void)code;
    struct listener *listener = context;
    struct http *http = listener->http;
    struct exchange *exchange = *slot;
    if (exchange == NULL) {
        return;
    }
    *slot = NULL;
    struct connection *connection = connection_of(handle);
    if (connection != NULL) {
        connection->exchange = NULL;
        begin_phase(connection, false);
    }
    if (exchange->dispatched) {
        http->busy_count--;
    }
    dispatch_cancel(exchange);
    exchange_give(http, exchange);
}

// ---- life -------------------------------------------------------------------------------------

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

static struct MHD_Daemon *start_daemon(struct listener *listener, int fd, const struct pki *pki,
                                       unsigned int connections)
{
    unsigned int flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, listener},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, listener},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_request_line, listener},
        {MHD_OPTION_END, 0, NULL},
    };
    if (!listener->tls) {
        return MHD_start_daemon(flags, 0, NULL, NULL, on_request, NULL, MHD_OPTION_ARRAY, options,
                                MHD_OPTION_END);
    }
    return MHD_start_daemon(flags | MHD_USE_TLS, 0, NULL, NULL, on_request, NULL, MHD_OPTION_ARRAY,
                            options, MHD_OPTION_HTTPS_MEM_CERT, pki_certificate(pki),
                            MHD_OPTION_HTTPS_MEM_KEY, pki_key(pki), MHD_OPTION_HTTPS_PRIORITIES,
                            "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_END);
}

static int listener_start(struct http *http, const struct server_listen *listen,
                          unsigned int connections, struct err *err)
{
    struct listener *listener = &http->listeners[http->listener_count];
    int fd = -1;
    int rc = listen_open(listen, &fd, err);
    if (rc != 0) {
        return rc;
    }
    listener->http = http;
    listener->tls = listen->tls;
    listener->daemon = start_daemon(listener, fd, http->server->options.pki, connections);
    if (listener->daemon == NULL) {
        close(fd);
        return err_set(err, ERR_SYS, "the HTTP server cannot start on %s port %u", listen->address,
                       listen->port);
    }
    listener->url = listen_url(listen, fd, http->server->advertise);
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ASSERT(info != NULL);
    uv_loop_t *loop = http->server->options.loop;
    rc = uv_poll_init(loop, &listener->poll, info->epoll_fd);
    ASSERT(rc == 0);
    rc = uv_timer_init(loop, &listener->timer);
    ASSERT(rc == 0);
    rc = uv_poll_start(&listener->poll, UV_READABLE, on_poll);
    ASSERT(rc == 0);
    http->listener_count++;
    return 0;
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
    unsigned int connections = connection_limit(options->api_count);
    http->connection_limit = connections;
    for (size_t i = 0; i < options->api_count; i++) {
        rc = listener_start(http, &options->api[i], connections, err);
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

void http_quiesce(struct http *http)
{
    for (size_t i = 0; i < http->listener_count; i++) {
        MHD_socket fd = MHD_quiesce_daemon(http->listeners[i].daemon);
        if (fd != MHD_INVALID_SOCKET) {
            close(fd);
        }
    }
}

// The library must not be stopped while a connection is suspended.
static void abandon_suspended(struct http *http)
{
    for (struct connection *connection = http->first; connection != NULL;
         connection = connection->next) {
        struct exchange *exchange = connection->exchange;
        if (exchange != NULL && exchange->suspended) {
            dispatch_cancel(exchange);
            refuse(exchange, FRONT_UNAVAILABLE, TEXT("The server is stopping."));
        }
    }
}

void http_close(struct http *http)
{
    http->closing = true;
    abandon_suspended(http);
    for (size_t i = 0; i < http->listener_count; i++) {
        struct listener *listener = &http->listeners[i];
        MHD_run(listener->daemon);
        MHD_run(listener->daemon);
        // The loop lets go of the library's descriptor before the library closes it.
        uv_close((uv_handle_t *)&listener->poll, NULL);
        uv_close((uv_handle_t *)&listener->timer, NULL);
        MHD_stop_daemon(listener->daemon);
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
    while (http->spare != NULL) {
        struct exchange *exchange = http->spare;
        http->spare = exchange->next_free;
        exchange_free(exchange);
    }
    for (size_t i = 0; i < http->listener_count; i++) {
        alloc_free(http->listeners[i].url);
    }
    alloc_free(http);
}
