#pragma once

#include "api/hook.h"
#include "api/scaling.h"
#include "api/session.h"
#include "server/metrics.h"
#include "server/server.h"
#include "sigv4/sigv4.h"

/*
 * What the parts of the front share. An exchange is one request with its reply; it goes from
 * http.c (bytes) to dispatch.c (meaning) and back.
 */

#define EXCHANGE_HEADERS_MAX 100
#define REQUEST_ID_CHARS 36

struct http;
struct sessions;
struct hook_under_way;
struct scale_run;
struct log_question;
struct exec_hub;
struct event_wait;
struct event_stream;

/** The names of errors that the front itself answers with; see error.c. */
enum front_error {
    FRONT_OK,
    FRONT_UNKNOWN_OPERATION,
    FRONT_MISSING_AUTHENTICATION,
    FRONT_INCOMPLETE_SIGNATURE,
    FRONT_INVALID_SIGNATURE,
    FRONT_UNRECOGNIZED_CLIENT,
    FRONT_EXPIRED_TOKEN,
    FRONT_ACCESS_DENIED,
    FRONT_SERIALIZATION,
    FRONT_VALIDATION,
    FRONT_THROTTLING,
    FRONT_NOT_IMPLEMENTED,
    FRONT_NOT_FOUND,
    FRONT_METHOD_NOT_ALLOWED,
    FRONT_BODY_TOO_LARGE,
    FRONT_HEADERS_TOO_LARGE,
    FRONT_BAD_REQUEST,
    FRONT_UNAVAILABLE,
    FRONT_INTERNAL,
    FRONT_COUNT,
};

/** A refusal in the words of each protocol. */
struct refusal {
    const char *code;         ///< in JSON's __type; constant text
    const char *query_code;   ///< in XML
    const char *ec2_code;     ///< in EC2's
    const char *ec2_text;     ///< in front of the message there; constant text
    const char *message_name; ///< of JSON's member for the text; NULL for `message`
    int json_status;
    int query_status;
    int ec2_status;
    struct text message;
    struct text_list resource_ids; ///< ConflictException's second member; may be absent
};

/** @return the names and statuses of an error, with a message that must outlive the refusal */
struct refusal refusal_front(enum front_error error, struct text message);

/** @return what an engine's fault looks like: modelled names keep their status */
struct refusal refusal_modelled(const struct api_error *error, struct text message);

/** @return the code of an error in a protocol */
const char *refusal_code(const struct refusal *refusal, enum api_protocol protocol);

/** @return its HTTP status */
int refusal_status(const struct refusal *refusal, enum api_protocol protocol);

/** Append the body of an error. */
void refusal_write(const struct refusal *refusal, const struct api_service *service,
                   enum api_protocol protocol, struct text request_id, struct buf *out);

struct exchange {
    struct server *server;
    struct exchange *next_free;
    struct arena arena;

    // the request
    struct sigv4_request request; // method, path, query, headers, body: borrowed
    struct sigv4_header headers[EXCHANGE_HEADERS_MAX];
    size_t header_bytes;
    bool headers_overflow;
    char *body;
    size_t body_capacity;
    size_t body_dropped; // bytes of a body that is too large, read and thrown away
    int64_t begin_ns;
    char request_id[REQUEST_ID_CHARS + 1];

    // what it asks for
    enum api_protocol protocol; // of errors before the operation is known, too
    const struct server_service *service;
    const struct api_operation *operation;
    struct core_caller caller;

    // the reply
    int status;
    const char *code; // for metrics; constant text
    const char *content_type;
    struct buf reply;
    bool replied; // the reply is complete and may go out
    bool closing; // close the connection behind it
    struct host_wait wait;
    bool waiting;                      // in the host's list
    struct log_question *question;     // to a node, whose answer this waits for
    struct event_wait *event_wait;     // for events
    struct event_stream *event_stream; // the reply is this, and never complete

    // how to get it out; http.c's
    void *connection;
    bool suspended;
    bool stream_idle; // suspended, for want of something to send
    bool dispatched;
    bool tls; // came in over TLS
};

struct server {
    struct server_options options; // its strings are copies
    struct arena texts;            // of those
    struct core *core;
    struct sigv4_cache *sigv4_cache;
    struct metrics *metrics;
    struct usage *usage;
    struct http *http;
    struct sessions *sessions;
    struct exec_hub *exec;
    char *advertise;                // host part of URLs for nodes; NULL when there is no TLS
    char *token_endpoint;           // https URL in join tokens; NULL when there is none
    struct log_question *questions; // not yet answered
    uint64_t question_id;
    struct client *hook_client;   // NULL until a hook is called
    struct hook_under_way *hooks; // called, and not answered
    size_t hook_count;
    struct scale_run *scale_runs; // scale commands that run
    size_t scale_count;
    struct event_wait *event_waits;
    struct event_stream *event_streams;
    uv_idle_t event_fresh; // active while events came in this turn of the loop
    bool events_open;
    uv_timer_t certificate_timer;
    bool certificate_open;    // the timer
    bool certificate_pending; // renewed, and not yet served by all listeners
    bool stopping;
    unsigned char id_entropy[16 * 256];
    size_t id_used;
    int64_t start_ms;
};

/** Write a random UUID. */
void server_request_id(struct server *server, char out_id[REQUEST_ID_CHARS + 1]);

// ---- dispatch.c -------------------------------------------------------------------------------

/** Handle a complete request. When it returns, exchange->replied says whether the reply is there;
 *  else exchange_done is called later. */
void dispatch(struct exchange *exchange);

/** Refuse a request; makes the reply. */
void dispatch_refuse(struct exchange *exchange, const struct refusal *refusal);

/** Encode an operation's response as the reply, and hold it until the state is durable. */
void dispatch_respond(struct exchange *exchange, const void *response);

/** @return URL of the sessions' listener for whoever sent a request; NULL when there is none */
const char *dispatch_session_url(const struct exchange *exchange);

/** Reply with a page that needs no engine; exchange->reply holds it, or the exchange has a stream.
 */
void dispatch_page(struct exchange *exchange, const char *content_type);

/** Release what the engine or a node still holds of an exchange whose owner goes away. */
void dispatch_cancel(struct exchange *exchange);

// ---- auth.c -----------------------------------------------------------------------------------

/** Who sent a request; texts in the arena. */
struct auth_result {
    enum front_error error;
    struct text message;
    struct core_caller caller;
    bool role; ///< it signed with credentials of a role
};

/** Verify a signed request for a service by its signing name. */
void auth_check(struct server *server, const struct sigv4_request *request,
                struct text signing_name, struct arena *arena, struct auth_result *out_result);

// ---- http.c (its parts: http_internal.h) ------------------------------------------------------

/** Open the API's listeners. */
MUST_CHECK int http_new(struct server *server, struct http **out_http, struct err *err);

/** @return URL of a listener */
const char *http_url(const struct http *http, size_t index);

/** A reply that was not ready when dispatch returned is ready now. */
void http_reply_ready(struct exchange *exchange);

/** A stream has something to send, or ends. */
void http_stream_ready(struct exchange *exchange);

/** @return open connections */
size_t http_connection_count(const struct http *http);

/** Have connections that come from now on see the certificate as it is now. On failure some may see
 *  the one before. */
MUST_CHECK int http_renew(struct http *http, struct err *err);

/** Accept nothing new. */
void http_quiesce(struct http *http);

/** @return whether any request is being handled or its reply is on its way */
bool http_busy(const struct http *http);

/** Close everything and let go of the loop; free once the loop has turned. */
void http_close(struct http *http);

/** Free; after http_close and a turn of the loop. NULL is allowed. */
void http_free(struct http *http);

// ---- session.c --------------------------------------------------------------------------------

/** Open the sessions' listeners. */
MUST_CHECK int server_sessions_new(struct server *server, struct sessions **out_sessions,
                                   struct err *err);

/** @return URL of a listener, without a path */
const char *server_sessions_url(const struct sessions *sessions, size_t index);

/** @return ACS sessions, or TCS sessions */
size_t server_sessions_count(const struct sessions *sessions, bool telemetry);

/** Send a frame to a node. @return whether it has a session that takes it */
bool server_sessions_send(struct sessions *sessions, struct text node_id, const char *type,
                          const struct shape_type *shape, const void *message);

/** @return whether a node's session is that of Amazon's agent, not of Berth's */
bool server_sessions_stock(const struct sessions *sessions, struct text node_id);

/** Have connections that come from now on see the certificate as it is now. */
MUST_CHECK int server_sessions_renew(struct sessions *sessions, struct err *err);

/** Close all sessions and listeners. */
void server_sessions_close(struct sessions *sessions);

/** Free; after server_sessions_close and some turns of the loop. NULL is allowed. */
void server_sessions_free(struct sessions *sessions);

// ---- logs.c -----------------------------------------------------------------------------------

/** Handle GetTaskLogs: ask the node, reply when it answers. request is in the exchange's arena. */
void logs_request(struct exchange *exchange, const void *request);

/** A node answered. */
void logs_reply(struct server *server, struct text node_id, const struct session_logs_reply *reply);

/** Time passed: ask again what is due, give up what takes too long. Called some times a second. */
void logs_tick(struct server *server);

/** The exchange goes away: forget its question. */
void logs_cancel(struct exchange *exchange);

/** A node's session ended: questions it had not answered fail. */
void logs_node_gone(struct server *server, struct text node_id);

/** The server stops: no question will be answered. */
void logs_stop(struct server *server);

// ---- hook.c -----------------------------------------------------------------------------------

/** Call the endpoint of a lifecycle hook, a struct hook_call, unless that is under way; the engine
 *  is told of the answer. */
void server_hook(struct server *server, const struct hook_call *call);

/** Give up all calls under way. */
void server_hooks_stop(struct server *server);

// ---- scale.c ----------------------------------------------------------------------------------

/** Run the scale command for a group, unless it runs; the engine is told how it ended. */
void server_scale(struct server *server, const struct scaling_call *call);

/** End all that run. Turns the loop. */
void server_scale_stop(struct server *server);

// ---- certificate.c ----------------------------------------------------------------------------

/** Begin to look after the certificate, when there is one. */
void certificate_start(struct server *server);

/** No longer. */
void certificate_stop(struct server *server);

// ---- events.c ---------------------------------------------------------------------------------

struct event_query;

/** Begin to watch the event log, when there is one. */
void events_start(struct server *server);

/** Handle ListEvents; request is in the exchange's arena. */
void events_list(struct exchange *exchange, const void *request);

/** The events that a caller may see. */
void events_query(const struct core_caller *caller, struct event_query *out_query);

/** Time passed. Called some times a second. */
void events_tick(struct server *server);

/** The exchange goes away. */
void events_cancel(struct exchange *exchange);

/** The server stops: those that wait are refused, streams end. */
void events_stop(struct server *server);

// ---- events_stream.c --------------------------------------------------------------------------

/** Serve GET /events. @return whether the request was for that */
bool events_serve_stream(struct exchange *exchange);

/** Take bytes of a stream. @return how many, 0 when there are none now, -1 at its end */
ssize_t events_stream_read(struct exchange *exchange, char *out, size_t most);

/** Have all streams look for events. */
void events_streams_wake(struct server *server);

/** Have streams that were quiet for long show that they are there. */
void events_streams_tick(struct server *server);

/** Forget the stream of an exchange that goes away, if it has one. */
void events_stream_end(struct exchange *exchange);
