#include "api/berth.h"
#include "base/text.h"
#include "server/event_log.h"
#include "server/server_internal.h"

/*
 * ListEvents: a look into the event log, and a wait for what comes. Those that wait are asked anew
 * whenever events came, at most once in a turn of the loop.
 */

#define PAGE_DEFAULT 100
#define PAGE_BYTES (1u << 20) // an answer is about as large as a request may be
#define WAITERS_MAX 1000      // people who follow events at the same time

struct event_wait {
    struct event_wait *next;
    struct exchange *exchange;
    const struct berth_list_events_request *request;
    struct event_query query;
    uint64_t after;
    uint64_t deadline_ms;
};

static uint64_t now_ms(const struct server *server)
{
    return uv_now(server->options.loop);
}

void events_query(const struct core_caller *caller, struct event_query *out_query)
{
    *out_query = (struct event_query){.account = caller->account, .region = caller->region};
}

static void refuse(struct exchange *exchange, struct text message)
{
    struct refusal refusal = refusal_modelled(&berth_error_invalid_parameter_exception, message);
    dispatch_refuse(exchange, &refusal);
}

// The first page that follows. @return how many events are in it
static size_t collect(struct event_wait *wait, struct berth_list_events_response *out)
{
    const struct event_log *log = wait->exchange->server->options.events;
    const struct berth_list_events_request *in = wait->request;
    struct arena *arena = &wait->exchange->arena;
    size_t most = in->has_max_results ? (size_t)in->max_results : PAGE_DEFAULT;
    uint64_t begin = wait->after;
    uint64_t after = begin;
    size_t capacity = 1; // a list is shown when it has a place in memory
    struct berth_logged_event *events = arena_array(arena, capacity, sizeof(*events));
    size_t count = 0;
    size_t bytes = 0;
    const struct event_entry *entry = event_log_next(log, &wait->query, &after);
    for (; entry != NULL && count < most && bytes < PAGE_BYTES;
         entry = event_log_next(log, &wait->query, &after)) {
        if (count == capacity) {
            size_t larger = MIN(capacity * 8, most);
            struct berth_logged_event *items = arena_array(arena, larger, sizeof(*items));
            for (size_t i = 0; i < count; i++) {
                items[i] = events[i];
            }
            events = items;
            capacity = larger;
        }
        events[count] = (struct berth_logged_event){
            .has_sequence = true,
            .sequence = (int64_t)entry->sequence,
            .event = entry->event,
            .at = entry->at_ms,
            .detail_type = entry->type,
        };
        count++;
        bytes += entry->event.size;
        wait->after = entry->sequence;
    }
    bool more = entry != NULL;
    wait->after = more ? wait->after : after;
    *out = (struct berth_list_events_response){
        .events = {events, count},
        .has_last_sequence = true,
        .last_sequence = (int64_t)wait->after,
        .has_missed = true,
        .missed = event_log_missed(log, begin),
    };
    if (more) {
        out->next_token = arena_format(arena, "%llu", (unsigned long long)wait->after);
    }
    return count;
}

// Look once more. @return whether that is to be answered: there is something, or nothing is waited
// for any longer
static bool look(struct event_wait *wait, struct berth_list_events_response *out)
{
    size_t count = collect(wait, out);
    return count > 0 || out->missed || now_ms(wait->exchange->server) >= wait->deadline_ms;
}

static void unlink_wait(struct event_wait *wait)
{
    struct event_wait **at = &wait->exchange->server->event_waits;
    while (*at != wait) {
        at = &(*at)->next;
    }
    *at = wait->next;
    wait->exchange->event_wait = NULL;
}

static size_t wait_count(const struct server *server)
{
    size_t count = 0;
    for (const struct event_wait *at = server->event_waits; at != NULL; at = at->next) {
        count++;
    }
    return count;
}

void events_list(struct exchange *exchange, const void *request)
{
    const struct berth_list_events_request *in = request;
    struct server *server = exchange->server;
    uint64_t after = in->has_after ? (uint64_t)in->after : 0;
    if (!text_empty(in->next_token) && text_to_u64(in->next_token, &after) != 0) {
        refuse(exchange, TEXT("Invalid token."));
        return;
    }
    struct event_wait *wait = ARENA_NEW(&exchange->arena, struct event_wait);
    *wait = (struct event_wait){
        .exchange = exchange,
        .request = in,
        .after = after,
        .deadline_ms = now_ms(server) + (in->has_wait_ms ? (uint64_t)in->wait_ms : 0),
    };
    events_query(&exchange->caller, &wait->query);
    wait->query.type = in->detail_type;
    wait->query.cluster = in->cluster;
    wait->query.service = in->service;
    wait->query.task = in->task;
    wait->query.since_ms = in->since;
    struct berth_list_events_response response;
    if (look(wait, &response)) {
        dispatch_respond(exchange, &response);
        return;
    }
    if (wait_count(server) >= WAITERS_MAX) {
        struct refusal refusal = refusal_front(
            FRONT_THROTTLING, TEXT("Rate exceeded: too many requests wait for events."));
        dispatch_refuse(exchange, &refusal);
        return;
    }
    wait->next = server->event_waits;
    server->event_waits = wait;
    exchange->event_wait = wait;
}

// The wait lives in the exchange's arena, so the reply is the last thing done with it.
static void try_waits(struct server *server)
{
    struct event_wait *next = NULL;
    for (struct event_wait *at = server->event_waits; at != NULL; at = next) {
        next = at->next;
        struct berth_list_events_response response;
        if (look(at, &response)) {
            unlink_wait(at);
            dispatch_respond(at->exchange, &response);
        }
    }
}

void events_cancel(struct exchange *exchange)
{
    if (exchange->event_wait != NULL) {
        unlink_wait(exchange->event_wait);
    }
    events_stream_end(exchange);
}

void events_tick(struct server *server)
{
    try_waits(server);
    events_streams_tick(server);
}

// ---- when events come ---------------------------------------------------------------------

static void on_fresh(uv_idle_t *idle)
{
    struct server *server = CONTAINER_OF(idle, struct server, event_fresh);
    uv_idle_stop(idle);
    try_waits(server);
    events_streams_wake(server);
}

static void on_event(void *context)
{
    struct server *server = context;
    if (server->event_waits != NULL || server->event_streams != NULL) {
        uv_idle_start(&server->event_fresh, on_fresh);
    }
}

void events_start(struct server *server)
{
    if (server->options.events == NULL) {
        return;
    }
    int rc = uv_idle_init(server->options.loop, &server->event_fresh);
    ASSERT(rc == 0);
    server->events_open = true;
    event_log_watch(server->options.events, on_event, server);
}

void events_stop(struct server *server)
{
    if (!server->events_open) {
        return;
    }
    server->events_open = false;
    event_log_watch(server->options.events, NULL, NULL);
    uv_close((uv_handle_t *)&server->event_fresh, NULL);
    while (server->event_waits != NULL) {
        struct exchange *exchange = server->event_waits->exchange;
        unlink_wait(server->event_waits);
        struct refusal refusal = refusal_front(FRONT_UNAVAILABLE, TEXT("The server is stopping."));
        dispatch_refuse(exchange, &refusal);
    }
    events_streams_wake(server);
}
