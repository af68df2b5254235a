#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "server/http_internal.h"

#include <string.h>

/*
 * A request as the library gives it, piece by piece, and its reply.
 *
 * A request whose reply must wait for the disk is suspended and resumed. After a resume the
 * library must run twice, or it may miss the wake-up; http_kick does that once per turn of the
 * loop for all that became ready in it.
 */

// A body that is too large is read up to here, so that its sender sees the answer and not a reset.
#define DROP_BYTES_MAX ((size_t)32 << 20)
#define SPARE_EXCHANGES_MAX 256
#define SPARE_REPLY_BYTES 65536
#define BODY_BYTES_START 4096
#define STREAM_BYTES 16384 // handed to the library at once

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

// ---- reading a request ------------------------------------------------------------------------

void *http_on_request_line(void *context, const char *uri, struct MHD_Connection *handle)
{
    const struct http_daemon *daemon = context;
    const struct http_listener *listener = daemon->listener;
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

// ---- the reply --------------------------------------------------------------------------------

void http_reply_ready(struct exchange *exchange)
{
    ASSERT(exchange->suspended);
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
    http_kick(exchange->server->http);
}

// The library has room for more of a stream. A stream that has nothing to say waits on our account;
// one whose client does not read is cut off as any reply is.
static ssize_t on_stream(void *context, uint64_t position, char *out, size_t most)
{
    (void)position;
    struct exchange *exchange = context;
    struct http_connection *connection = http_connection_of(exchange->connection);
    ssize_t size = events_stream_read(exchange, out, most);
    if (connection != NULL) {
        http_connection_phase(connection, size == 0);
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
        http_kick(exchange->server->http);
    }
}

// The bytes stay the exchange's, which lives until the library says it is done with them.
static struct MHD_Response *make_response(struct exchange *exchange)
{
    if (exchange->event_stream != NULL) {
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, on_stream,
                                                 exchange, NULL);
    }
    void *bytes = exchange->reply.data == NULL ? (void *)(uintptr_t) "" : exchange->reply.data;
    return MHD_create_response_from_buffer(exchange->reply.size, bytes, MHD_RESPMEM_PERSISTENT);
}

// A connection ends with its reply where the request was broken, where the server stops, and where
// the certificate it was opened with was renewed: a client that kept it in use would keep the
// library's daemon of that certificate for ever.
static bool last_reply(const struct exchange *exchange, const struct http_connection *connection)
{
    return exchange->closing || exchange->server->stopping ||
           (connection != NULL && connection->daemon->retired);
}

static enum MHD_Result send_reply(struct exchange *exchange)
{
    struct MHD_Connection *handle = exchange->connection;
    struct http_connection *connection = http_connection_of(handle);
    if (connection != NULL) {
        http_connection_phase(connection, false);
    }
    struct MHD_Response *response = make_response(exchange);
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", exchange->content_type);
    MHD_add_response_header(response, "x-amzn-RequestId", exchange->request_id);
    // Some SDKs look for the error's name here before they look into the body.
    if (exchange->status >= 400 && exchange->protocol == API_JSON_1_1) {
        MHD_add_response_header(response, "x-amzn-ErrorType", exchange->code);
    }
    if (last_reply(exchange, connection)) {
        MHD_add_response_header(response, "Connection", "close");
    }
    enum MHD_Result result = MHD_queue_response(handle, (unsigned int)exchange->status, response);
    MHD_destroy_response(response);
    return result;
}

// ---- what the library calls -------------------------------------------------------------------

static void handle_request(struct exchange *exchange)
{
    struct http *http = exchange->server->http;
    struct http_connection *connection = http_connection_of(exchange->connection);
    exchange->dispatched = true;
    http->busy_count++;
    if (connection != NULL) {
        connection->exchange = exchange;
        http_connection_phase(connection, true);
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

enum MHD_Result http_on_request(void *context, struct MHD_Connection *handle, const char *url,
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

void http_on_completed(void *context, struct MHD_Connection *handle, void **slot,
                       enum MHD_RequestTerminationCode code)
{
    (void)code;
    const struct http_daemon *daemon = context;
    struct http *http = daemon->listener->http;
    struct exchange *exchange = *slot;
    if (exchange == NULL) {
        return;
    }
    *slot = NULL;
    struct http_connection *connection = http_connection_of(handle);
    if (connection != NULL) {
        connection->exchange = NULL;
        http_connection_phase(connection, false);
    }
    if (exchange->dispatched) {
        http->busy_count--;
    }
    dispatch_cancel(exchange);
    exchange_give(http, exchange);
}

void http_request_abandon(struct exchange *exchange)
{
    dispatch_cancel(exchange);
    refuse(exchange, FRONT_UNAVAILABLE, TEXT("The server is stopping."));
}

void http_free_spare(struct http *http)
{
    while (http->spare != NULL) {
        struct exchange *exchange = http->spare;
        http->spare = exchange->next_free;
        exchange_free(exchange);
    }
}
