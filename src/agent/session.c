#include "agent/session.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "sigv4/sigv4.h"

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#define OPEN_TIMEOUT_S 5   // a server that is there answers an upgrade within milliseconds
#define RECEIVE_BYTES 4096 // handed over at once by the library; frames are put together from it
// ACS, TCS, and those of ECS Exec: two for each container that somebody is in. The library takes
// room for all of them at once, and for every descriptor that the process may open when it is not
// told.
#define CONNECTIONS_MAX 1024
#define CLOSE_TURNS 8 // of the loop, for handles that the library closes one after the other
#define WHY_CHARS 200
#define SERVICE "ecs" // signing name: the sessions are part of ECS

struct message {
    struct message *next;
    bool binary;
    size_t size;
    unsigned char data[]; // LWS_PRE bytes for the library come first
};

struct sessions {
    uv_loop_t *loop;
    struct lws_context *context;
    SSL_CTX *tls; // NULL for a server without TLS
    struct arena arena;
    struct agent_identity identity;
    struct session *first;
    size_t resolving; // look-ups under way
    uv_idle_t turns;
    int turns_left;
    bool closing;
    bool closed;
    int64_t clock_offset_ms;
};

struct session {
    struct sessions *sessions;
    struct session *next;
    struct session_handlers handlers;
    struct lws *wsi;
    uv_getaddrinfo_t resolve;
    bool resolving;
    bool tls;
    bool is_open;
    bool ending;    // end at the next chance
    bool finishing; // end once all is sent
    bool said_goodbye;
    bool refused;
    uint16_t code; // of the server's closing
    char *host;    // without brackets and port
    char *host_header;
    uint16_t port;
    char *path; // with the query
    char why[WHY_CHARS];
    struct buf in;
    struct message *out_first;
    struct message *out_last;
    size_t out_bytes;
    int64_t heard_ms;
};

static int64_t now_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

// ---- life of a session --------------------------------------------------------------------

static void session_free(struct session *session)
{
    struct message *next = NULL;
    for (struct message *message = session->out_first; message != NULL; message = next) {
        next = message->next;
        alloc_free(message);
    }
    struct session **at = &session->sessions->first;
    while (*at != session) {
        at = &(*at)->next;
    }
    *at = session->next;
    buf_deinit(&session->in);
    alloc_free(session->host);
    alloc_free(session->host_header);
    alloc_free(session->path);
    alloc_free(session);
}

// The session is over: tell, and free. The connection, when there is one still, is told of no more.
static void finish(struct session *session, struct lws *wsi, const char *why)
{
    if (wsi != NULL) {
        lws_set_wsi_user(wsi, NULL);
    }
    session->wsi = NULL;
    if (session->why[0] == '\0') {
        IGNORE(text_copy(text_slice(text_of(why), 0, WHY_CHARS - 1), session->why, WHY_CHARS),
               "it was cut to fit");
    }
    if (!session->sessions->closing) {
        session->handlers.closed(session->handlers.context, session, text_of(session->why),
                                 session->refused);
    }
    session_free(session);
}

// ---- the URL ------------------------------------------------------------------------------

static bool cut_scheme(struct text *url, bool *out_tls)
{
    static const struct {
        struct text scheme;
        bool tls;
    } schemes[] = {{{"http://", 7}, false},
                   {{"ws://", 5}, false},
                   {{"https://", 8}, true},
                   {{"wss://", 6}, true}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (text_starts(*url, schemes[i].scheme)) {
            *url = text_slice(*url, schemes[i].scheme.size, url->size);
            *out_tls = schemes[i].tls;
            return true;
        }
    }
    return false;
}

static bool parse_url(struct session *session, struct text url)
{
    if (!cut_scheme(&url, &session->tls)) {
        return false;
    }
    size_t slash = text_find(url, '/');
    struct text authority = text_slice(url, 0, slash);
    struct text path = slash == SIZE_MAX ? TEXT("/") : text_slice(url, slash, url.size);
    struct text host = authority;
    uint64_t port = session->tls ? 443 : 80;
    size_t colon = text_find_last(authority, ':');
    size_t bracket = text_find_last(authority, ']');
    if (colon != SIZE_MAX && (bracket == SIZE_MAX || colon > bracket)) {
        host = text_slice(authority, 0, colon);
        if (text_to_u64(text_slice(authority, colon + 1, authority.size), &port) != 0) {
            return false;
        }
    }
    if (text_starts(host, TEXT("[")) && text_ends(host, TEXT("]"))) {
        host = text_slice(host, 1, host.size - 1);
    }
    if (text_empty(host) || port == 0 || port > UINT16_MAX) {
        return false;
    }
    session->host = alloc_format("%.*s", TEXT_FMT(host));
    session->host_header = alloc_format("%.*s", TEXT_FMT(authority));
    session->path = alloc_format("%.*s", TEXT_FMT(path));
    session->port = (uint16_t)port;
    return true;
}

// ---- opening ------------------------------------------------------------------------------

static bool add_header(struct lws *wsi, const char *name, struct text value, unsigned char **at,
                       const unsigned char *end)
{
    // The library wants names in lower case with their colon.
    return lws_add_http_header_by_name(wsi, (const unsigned char *)name,
                                       (const unsigned char *)value.data, (int)value.size, at,
                                       (unsigned char *)(uintptr_t)end) == 0;
}

static bool sign(struct session *session, struct lws *wsi, unsigned char **at, size_t room)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct agent_identity *identity = &session->sessions->identity;
    struct text path = text_of(session->path);
    struct text query = path;
    path = text_cut(&query, '?');
    const struct sigv4_header host = {TEXT("host"), text_of(session->host_header)};
    const struct sigv4_request request = {
        .method = TEXT("GET"),
        .path = path,
        .query = query,
        .headers = &host,
        .header_count = 1,
        .body = TEXT(""),
    };
    const struct sigv4_identity signer = {
        .key_id = identity->key_id,
        .secret = identity->secret,
        .region = identity->region,
        .service = TEXT(SERVICE),
    };
    struct sigv4_signature signature = {0};
    int64_t now_ms = clock_wall_ms() + session->sessions->clock_offset_ms;
    sigv4_sign(&request, &signer, now_ms, &arena, &signature);
    const unsigned char *end = *at + room;
    return add_header(wsi, "authorization:", signature.authorization, at, end) &&
           add_header(wsi, "x-amz-date:", signature.amz_date, at, end) &&
           add_header(wsi, "x-amz-content-sha256:", signature.content_sha256, at, end);
}

// The library checks that the certificate names the host, but not when that is an address.
static bool certificate_names(const struct session *session, struct lws *wsi)
{
    unsigned char address[16];
    bool numeric = uv_inet_pton(AF_INET, session->host, address) == 0 ||
                   uv_inet_pton(AF_INET6, session->host, address) == 0;
    if (!session->tls || !numeric) {
        return true;
    }
    SSL *ssl = lws_get_ssl(wsi);
    X509 *certificate = ssl == NULL ? NULL : SSL_get1_peer_certificate(ssl);
    bool named = certificate != NULL && X509_check_ip_asc(certificate, session->host, 0) == 1;
    X509_free(certificate);
    return named;
}

static void connect_to(struct session *session, const char *address, bool numeric_host)
{
    int flags = 0;
    if (session->tls) {
        flags = LCCSCF_USE_SSL | (numeric_host ? LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK : 0);
    }
    const struct lws_client_connect_info info = {
        .context = session->sessions->context,
        .address = address,
        .port = session->port,
        .path = session->path,
        .host = session->host_header,
        .origin = session->host_header,
        .ssl_connection = flags,
        .local_protocol_name = "berth",
        .ietf_version_or_minus_one = -1,
        .userdata = session,
        .pwsi = &session->wsi,
    };
    // When this fails at once, the callback was called, which freed the session.
    IGNORE(lws_client_connect_via_info(&info) == NULL, "the callback tells");
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct session *session = CONTAINER_OF(request, struct session, resolve);
    struct sessions *sessions = session->sessions;
    char address[INET6_ADDRSTRLEN] = {0};
    if (addresses != NULL && addresses->ai_family == AF_INET) {
        uv_ip4_name((const struct sockaddr_in *)(const void *)addresses->ai_addr, address,
                    sizeof(address));
    } else if (addresses != NULL) {
        uv_ip6_name((const struct sockaddr_in6 *)(const void *)addresses->ai_addr, address,
                    sizeof(address));
    }
    uv_freeaddrinfo(addresses);
    sessions->resolving--;
    session->resolving = false;
    if (status != 0 || session->ending || sessions->closing) {
        finish(session, NULL, status != 0 ? uv_strerror(status) : "closed");
        return;
    }
    unsigned char ignored[16];
    bool numeric = uv_inet_pton(AF_INET, session->host, ignored) == 0 ||
                   uv_inet_pton(AF_INET6, session->host, ignored) == 0;
    connect_to(session, address, numeric);
}

struct session *agent_session_open(struct sessions *sessions, const char *url,
                                   const struct session_handlers *handlers)
{
    ASSERT(!sessions->closing);
    struct session *session = ALLOC(struct session);
    session->sessions = sessions;
    session->handlers = *handlers;
    session->next = sessions->first;
    sessions->first = session;
    session->heard_ms = now_ms();
    session->in.limit_bytes = LIMIT_FRAME_BYTES;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (!parse_url(session, text_of(url)) || (session->tls && sessions->tls == NULL) ||
        uv_getaddrinfo(sessions->loop, &session->resolve, on_resolved, session->host, NULL,
                       &hints) != 0) {
        session_free(session);
        return NULL;
    }
    session->resolving = true;
    sessions->resolving++;
    return session;
}

// ---- frames -------------------------------------------------------------------------------

static void queue(struct session *session, struct text frame, bool binary)
{
    if (session->ending || session->finishing || !session->is_open) {
        return;
    }
    if (session->out_bytes + frame.size > LIMIT_FRAME_BYTES) {
        agent_session_end(session, "the server does not take what is sent");
        return;
    }
    struct message *message = alloc_zero(sizeof(*message) + LWS_PRE + frame.size);
    message->size = frame.size;
    message->binary = binary;
    memcpy(message->data + LWS_PRE, frame.data, frame.size);
    if (session->out_last == NULL) {
        session->out_first = message;
    } else {
        session->out_last->next = message;
    }
    session->out_last = message;
    session->out_bytes += frame.size;
    lws_callback_on_writable(session->wsi);
}

void agent_sessions_set_clock(struct sessions *sessions, int64_t offset_ms)
{
    sessions->clock_offset_ms = offset_ms;
}

void agent_session_send(struct session *session, struct text frame)
{
    queue(session, frame, false);
}

void agent_session_send_binary(struct session *session, struct text frame)
{
    queue(session, frame, true);
}

size_t agent_session_queued(const struct session *session)
{
    return session->out_bytes;
}

// @return false when the connection must be closed
static bool write_next(struct session *session)
{
    struct message *message = session->out_first;
    if (session->ending) {
        return false;
    }
    if (message == NULL) {
        return true;
    }
    session->out_first = message->next;
    if (session->out_first == NULL) {
        session->out_last = NULL;
    }
    session->out_bytes -= message->size;
    int wrote = lws_write(session->wsi, message->data + LWS_PRE, message->size,
                          message->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT);
    bool sent = wrote >= (int)message->size;
    alloc_free(message);
    if (session->out_first != NULL) {
        lws_callback_on_writable(session->wsi);
    }
    return sent;
}

// @return false when the connection must be closed
static bool receive(struct session *session, const char *bytes, size_t size)
{
    session->heard_ms = now_ms();
    if (session->ending) {
        return false;
    }
    bool binary = lws_frame_is_binary(session->wsi) != 0;
    if (binary && session->handlers.binary == NULL) {
        agent_session_end(session, "the server sent a binary frame");
        return false;
    }
    buf_add(&session->in, bytes, size);
    if (session->in.full) {
        agent_session_end(session, "the server sent a frame that is too long");
        return false;
    }
    if (!lws_is_final_fragment(session->wsi) || lws_remaining_packet_payload(session->wsi) > 0) {
        return true;
    }
    if (binary) {
        session->handlers.binary(session->handlers.context, session, buf_view(&session->in));
    } else {
        session->handlers.frame(session->handlers.context, session, buf_view(&session->in));
    }
    // Frames come seldom: a large one leaves no room behind.
    buf_deinit(&session->in);
    return !session->ending;
}

// ---- the library's events -----------------------------------------------------------------

static int open_failed(struct session *session, struct lws *wsi, const char *why, size_t size)
{
    unsigned status = wsi == NULL ? 0 : lws_http_client_http_response(wsi);
    session->refused = status >= 400 && status < 500;
    AUTO(alloc_string)
    char *text = status >= 400 ? alloc_format("refused with HTTP status %u", status)
                               : alloc_format("%.*s", (int)size, why == NULL ? "" : why);
    finish(session, wsi, text);
    return 0;
}

// 0 to go on, -1 to close the connection; the type is the library's.
static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size)
{
    struct session *session = user;
    // The reasons are the library's, some eighty of them; those that are not listed need nothing.
    if (reason == LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER) {
        bool named = certificate_names(session, wsi);
        if (!named) {
            agent_session_end(session, "the server's certificate does not name its address");
        }
        return named && sign(session, wsi, in, size) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_ESTABLISHED) {
        session->is_open = true;
        session->heard_ms = now_ms();
        session->handlers.open(session->handlers.context, session);
        return session->ending ? -1 : 0;
    }
    if (reason == LWS_CALLBACK_CLIENT_RECEIVE) {
        return receive(session, in, size) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_RECEIVE_PONG) {
        session->heard_ms = now_ms();
        return 0;
    }
    if (reason == LWS_CALLBACK_CLIENT_WRITEABLE) {
        return write_next(session) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_CONNECTION_ERROR && session != NULL) {
        return open_failed(session, wsi, in, size);
    }
    if (reason == LWS_CALLBACK_WS_PEER_INITIATED_CLOSE && session != NULL) {
        const unsigned char *code = in;
        session->code = size >= 2 ? (uint16_t)(code[0] << 8 | code[1]) : 0;
        return 0;
    }
    if (reason == LWS_CALLBACK_CLIENT_CLOSED) {
        finish(session, wsi, "the connection was closed");
        return 0;
    }
    // A server that goes between a request's sending and its answer ends a connection with neither
    // of these two events; only that it is gone is always told.
    if (reason == LWS_CALLBACK_WSI_DESTROY && session != NULL && session->wsi == wsi) {
        finish(session, wsi, "the connection was closed");
    }
    return 0;
}

void agent_session_end(struct session *session, const char *why)
{
    if (session->ending) {
        return;
    }
    session->ending = true;
    IGNORE(text_copy(text_slice(text_of(why), 0, WHY_CHARS - 1), session->why, WHY_CHARS),
           "it was cut to fit");
    if (session->wsi != NULL) {
        lws_set_timeout(session->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
    }
}

// The library says why it closes only when it is told to in this way, and not in a callback of its.
void agent_session_finish(struct session *session)
{
    if (session->ending || !session->is_open) {
        agent_session_end(session, "done");
        return;
    }
    bool first = session->out_first == NULL && !session->said_goodbye;
    session->finishing = true;
    if (first) {
        session->said_goodbye = true;
        lws_close_reason(session->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        lws_set_timeout(session->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    }
}

uint16_t agent_session_code(const struct session *session)
{
    return session->code;
}

int64_t agent_session_heard_ms(const struct session *session)
{
    return session->heard_ms;
}

const char *agent_session_host(const struct session *session)
{
    return session->host_header;
}

// ---- all of them --------------------------------------------------------------------------

static void log_library(int level, const char *line)
{
    struct text text = text_trim(text_of(line));
    LOG(WARN, "from the websocket library", LOG_TXT("text", text));
}

static const struct lws_protocols protocols[] = {
    {.name = "berth", .callback = on_event, .rx_buffer_size = RECEIVE_BYTES},
    {0},
};

// Our own context: the library's would trust every CA of the system beside the server's, takes
// 700 KB for them, and is not given back.
static int make_tls(struct sessions *sessions, struct err *err)
{
    const char *ca_file = sessions->identity.ca_file.data;
    if (!text_starts(sessions->identity.endpoint, TEXT("https://"))) {
        return 0;
    }
    sessions->tls = SSL_CTX_new(TLS_client_method());
    if (sessions->tls == NULL) {
        base_out_of_memory(0);
    }
    SSL_CTX_set_verify(sessions->tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(sessions->tls, SSL_MODE_RELEASE_BUFFERS); // sessions are idle most of the time
    int trusted = ca_file == NULL ? SSL_CTX_set_default_verify_paths(sessions->tls)
                                  : SSL_CTX_load_verify_locations(sessions->tls, ca_file, NULL);
    if (SSL_CTX_set_min_proto_version(sessions->tls, TLS1_2_VERSION) != 1 || trusted != 1) {
        return err_set(err, ERR_CORRUPT, "'%s' holds no certificate that can be trusted",
                       ca_file == NULL ? "the system's store" : ca_file);
    }
    return 0;
}

static int make_context(struct sessions *sessions, struct err *err)
{
    void *foreign_loops[] = {sessions->loop};
    int rc = make_tls(sessions, err);
    if (rc != 0) {
        return rc;
    }
    lws_set_log_level(LLL_ERR, log_library);
    const struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_LIBUV |
                   (sessions->tls == NULL ? 0 : LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT),
        .foreign_loops = foreign_loops,
        .timeout_secs = OPEN_TIMEOUT_S,
        .provided_client_ssl_ctx = sessions->tls,
        .fd_limit_per_thread = CONNECTIONS_MAX,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
    };
    sessions->context = lws_create_context(&info);
    if (sessions->context == NULL) {
        return err_set(err, ERR_SYS,
                       "the websocket library does not start: is libwebsockets-evlib-uv there?");
    }
    return 0;
}

int agent_sessions_new(uv_loop_t *loop, const struct agent_identity *identity,
                       struct sessions **out_sessions, struct err *err)
{
    struct sessions *sessions = ALLOC(struct sessions);
    sessions->loop = loop;
    sessions->identity.key_id = arena_text(&sessions->arena, identity->key_id);
    sessions->identity.secret = arena_text(&sessions->arena, identity->secret);
    sessions->identity.region = arena_text(&sessions->arena, identity->region);
    sessions->identity.endpoint = arena_text(&sessions->arena, identity->endpoint);
    sessions->identity.ca_file = arena_text(&sessions->arena, identity->ca_file);
    int rc = make_context(sessions, err);
    if (rc != 0) {
        SSL_CTX_free(sessions->tls);
        arena_deinit(&sessions->arena);
        alloc_free(sessions);
        return rc;
    }
    rc = uv_idle_init(loop, &sessions->turns);
    ASSERT(rc == 0);
    *out_sessions = sessions;
    return 0;
}

static void on_turns_closed(uv_handle_t *handle)
{
    struct sessions *sessions = CONTAINER_OF(handle, struct sessions, turns);
    sessions->closed = true;
}

// The library closes its handles one after the other as the loop turns, and does not tell when it
// is done: a few turns are enough.
static void on_turn(uv_idle_t *turns)
{
    struct sessions *sessions = CONTAINER_OF(turns, struct sessions, turns);
    sessions->turns_left = MAX(sessions->turns_left - 1, 0);
    if (sessions->turns_left == 0 && sessions->resolving == 0) {
        uv_close((uv_handle_t *)turns, on_turns_closed);
    }
}

void agent_sessions_close(struct sessions *sessions)
{
    if (sessions->closing) {
        return;
    }
    sessions->closing = true;
    for (struct session *session = sessions->first; session != NULL; session = session->next) {
        if (session->resolving) {
            uv_cancel((uv_req_t *)&session->resolve);
        }
    }
    lws_context_destroy(sessions->context);
    sessions->turns_left = CLOSE_TURNS;
    uv_idle_start(&sessions->turns, on_turn);
}

bool agent_sessions_closed(const struct sessions *sessions)
{
    return sessions->closed;
}

void agent_sessions_free(struct sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    ASSERT(sessions->closed);
    lws_context_destroy(sessions->context); // the second call frees
    SSL_CTX_free(sessions->tls);
    while (sessions->first != NULL) {
        session_free(sessions->first);
    }
    arena_deinit(&sessions->arena);
    alloc_free(sessions);
}
