#include "api/berth.h"
#include "base/text.h"
#include "server/event_log.h"
#include "server/server_internal.h"

#include <string.h>

/*
 * GET /events: the events of the caller's account and region, as lines of JSON, for as long as the
 * client stays. docs/events.md tells what a client sees.
 *
 * A stream has no queue of its own. It remembers how far it is and reads on in the log when its
 * socket takes more, so a slow one costs nothing; one that is so slow that the log moved on is told
 * so and ended.
 */

#define STREAMS_MAX 100     // consoles and scripts; each is a connection
#define QUIET_MS 15000      // after which an empty line shows that both sides are there
#define PARAMETER_CHARS 512 // of a query parameter: an ARN, with escapes

struct event_stream {
    struct event_stream *next;
    struct exchange *exchange;
    struct event_query query;
    uint64_t after;
    uint64_t sent_ms;   // when something was sent last
    struct buf line;    // being sent
    size_t line_offset; // how much of it is sent
    bool ending;        // the line is the last one
};

// ---- the request --------------------------------------------------------------------------

static void refuse(struct exchange *exchange, enum front_error error, struct text message)
{
    struct refusal refusal = refusal_front(error, message);
    dispatch_refuse(exchange, &refusal);
}

static struct text unescape(struct text value, struct arena *arena)
{
    char *out = arena_alloc(arena, value.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < value.size; i++) {
        unsigned char byte = (unsigned char)value.data[i];
        if (byte == '%' && i + 2 < value.size &&
            text_unhex(text_slice(value, i + 1, i + 3), &byte, 1) == 0) {
            i += 2;
        } else if (byte == '+') {
            byte = ' ';
        }
        out[size] = (char)byte;
        size++;
    }
    return (struct text){out, size};
}

// @return false when the parameter is none of ours, or no number
static bool take_parameter(struct event_stream *stream, struct text name, struct text value)
{
    uint64_t number = 0;
    if (text_is(name, "after")) {
        return text_to_u64(value, &stream->after) == 0;
    }
    if (text_is(name, "since")) {
        bool good = text_to_u64(value, &number) == 0 && number < INT64_MAX / 1000;
        stream->query.since_ms = good ? (int64_t)number * 1000 : 0;
        return good;
    }
    struct text *const fields[] = {&stream->query.type, &stream->query.cluster,
                                   &stream->query.service, &stream->query.task};
    static const char *const names[] = {"detailType", "cluster", "service", "task"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (text_is(name, names[i])) {
            *fields[i] = value;
            return value.size <= PARAMETER_CHARS;
        }
    }
    return false;
}

static bool take_parameters(struct exchange *exchange, struct event_stream *stream)
{
    struct text rest = exchange->request.query;
    while (!text_empty(rest)) {
        struct text value = text_cut(&rest, '&');
        struct text name = text_cut(&value, '=');
        if (text_starts(name, TEXT("X-Amz-"))) {
            continue; // a signature in the query
        }
        if (!take_parameter(stream, name, unescape(value, &exchange->arena))) {
            refuse(exchange, FRONT_VALIDATION,
                   arena_format(&exchange->arena,
                                "The parameter '%.*s' is not known, or its value is not good. "
                                "There are after (a sequence number), since (epoch seconds), "
                                "detailType, cluster, service and task.",
                                TEXT_FMT(text_slice(name, 0, 100))));
            return false;
        }
    }
    return true;
}

static bool authenticate(struct exchange *exchange)
{
    struct auth_result result;
    auth_check(exchange->server, &exchange->request, text_of(berth_service.signing_name),
               &exchange->arena, &result);
    if (result.error != FRONT_OK) {
        refuse(exchange, result.error, result.message);
        return false;
    }
    exchange->caller = result.caller;
    if (result.caller.node_id.data != NULL || result.role) {
        refuse(exchange, FRONT_ACCESS_DENIED,
               arena_format(&exchange->arena, "User: %.*s is not authorized to read events. %s",
                            TEXT_FMT(result.caller.arn),
                            result.role ? "Tasks' roles may not manage Berth itself."
                                        : "The key of a node may only be used by that node's "
                                          "agent."));
        return false;
    }
    return true;
}

static size_t stream_count(const struct server *server)
{
    size_t count = 0;
    for (const struct event_stream *at = server->event_streams; at != NULL; at = at->next) {
        count++;
    }
    return count;
}

bool events_serve_stream(struct exchange *exchange)
{
    struct server *server = exchange->server;
    if (!text_is(exchange->request.path, "/events") || server->options.events == NULL) {
        return false;
    }
    if (!text_is(exchange->request.method, "GET")) {
        refuse(exchange, FRONT_METHOD_NOT_ALLOWED, TEXT("This page can only be read with GET."));
        return true;
    }
    if (!authenticate(exchange)) {
        return true;
    }
    struct event_stream *stream = ARENA_NEW(&exchange->arena, struct event_stream);
    *stream = (struct event_stream){.exchange = exchange, .sent_ms = uv_now(server->options.loop)};
    events_query(&exchange->caller, &stream->query);
    if (!take_parameters(exchange, stream)) {
        return true;
    }
    if (stream_count(server) >= STREAMS_MAX) {
        refuse(exchange, FRONT_THROTTLING,
               TEXT("Rate exceeded: there are as many streams of events as may be."));
        return true;
    }
    stream->next = server->event_streams;
    server->event_streams = stream;
    exchange->event_stream = stream;
    dispatch_page(exchange, "application/x-ndjson");
    return true;
}

// ---- lines --------------------------------------------------------------------------------

static void put_end(struct event_stream *stream, const char *why)
{
    buf_format(&stream->line, "{\"end\":\"%s\",\"lastSequence\":%llu}\n", why,
               (unsigned long long)stream->after);
    stream->ending = true;
}

// The next line, if there is one now.
static void next_line(struct event_stream *stream)
{
    struct server *server = stream->exchange->server;
    const struct event_log *log = server->options.events;
    buf_reset(&stream->line);
    stream->line_offset = 0;
    if (server->stopping) {
        put_end(stream, "The server is stopping.");
        return;
    }
    if (event_log_missed(log, stream->after)) {
        put_end(stream, "Events that were not read yet are gone: read faster, or begin anew "
                        "without after.");
        return;
    }
    const struct event_entry *entry = event_log_next(log, &stream->query, &stream->after);
    if (entry != NULL) {
        buf_format(&stream->line,
                   "{\"sequence\":%llu,\"event\":", (unsigned long long)entry->sequence);
        buf_text(&stream->line, entry->event);
        buf_string(&stream->line, "}\n");
    } else if (uv_now(server->options.loop) - stream->sent_ms >= QUIET_MS) {
        buf_byte(&stream->line, '\n');
    }
}

ssize_t events_stream_read(struct exchange *exchange, char *out, size_t most)
{
    struct event_stream *stream = exchange->event_stream;
    size_t size = 0;
    while (size < most) {
        if (stream->line_offset == stream->line.size) {
            if (stream->ending) {
                break;
            }
            next_line(stream);
            if (stream->line.size == 0) {
                break;
            }
        }
        size_t part = MIN(most - size, stream->line.size - stream->line_offset);
        memcpy(out + size, stream->line.data + stream->line_offset, part);
        stream->line_offset += part;
        size += part;
        stream->sent_ms = uv_now(exchange->server->options.loop);
    }
    bool over = size == 0 && stream->ending && stream->line_offset == stream->line.size;
    return over ? -1 : (ssize_t)size;
}

// ---- waking and ending --------------------------------------------------------------------

void events_streams_wake(struct server *server)
{
    for (struct event_stream *at = server->event_streams; at != NULL; at = at->next) {
        http_stream_ready(at->exchange);
    }
}

void events_streams_tick(struct server *server)
{
    uint64_t now = uv_now(server->options.loop);
    for (struct event_stream *at = server->event_streams; at != NULL; at = at->next) {
        if (now - at->sent_ms >= QUIET_MS) {
            http_stream_ready(at->exchange);
        }
    }
}

void events_stream_end(struct exchange *exchange)
{
    struct event_stream *stream = exchange->event_stream;
    if (stream == NULL) {
        return;
    }
    struct event_stream **at = &exchange->server->event_streams;
    while (*at != stream) {
        at = &(*at)->next;
    }
    *at = stream->next;
    exchange->event_stream = NULL;
    buf_deinit(&stream->line);
}
