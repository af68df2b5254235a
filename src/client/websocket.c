#include "base/clock.h"
#include "base/text.h"
#include "client/websocket_internal.h"
#include "client/websocket_url.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

static int64_t now_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

// ---- life of a socket ---------------------------------------------------------------------

static void drop_first_frame(struct websocket *socket)
{
    struct websocket_frame *frame = socket->out_first;
    socket->out_first = frame->next;
    socket->out_last = socket->out_first == NULL ? NULL : socket->out_last;
    socket->out_bytes -= frame->size;
    alloc_free(frame);
}

void websocket_free(struct websocket *socket)
{
    while (socket->out_first != NULL) {
        drop_first_frame(socket);
    }
    struct websocket **at = &socket->sockets->first;
    while (*at != socket) {
        at = &(*at)->next;
    }
    *at = socket->next;
    buf_deinit(&socket->in);
    uv_freeaddrinfo(socket->addresses);
    alloc_free(socket->host);
    alloc_free(socket->host_header);
    alloc_free(socket->path);
    alloc_free(socket);
}

// The first reason is the one that counts.
static void keep_why(struct websocket *socket, struct text why)
{
    if (socket->why[0] == '\0') {
        IGNORE(text_copy(text_slice(why, 0, WEBSOCKET_WHY_CHARS - 1), socket->why,
                         WEBSOCKET_WHY_CHARS),
               "it was cut to fit");
    }
}

// The socket is over: tell, and free. The connection, when there is one still, is told of no more.
static void finish(struct websocket *socket, struct lws *wsi, const char *why)
{
    if (wsi != NULL) {
        lws_set_wsi_user(wsi, NULL);
    }
    socket->wsi = NULL;
    keep_why(socket, text_of(why));
    if (!socket->sockets->closing) {
        socket->handlers.closed(socket->handlers.context, socket, text_of(socket->why),
                                socket->refused);
    }
    websocket_free(socket);
}

// ---- opening ------------------------------------------------------------------------------

static bool is_address(const char *host)
{
    unsigned char ignored[16];
    return uv_inet_pton(AF_INET, host, ignored) == 0 || uv_inet_pton(AF_INET6, host, ignored) == 0;
}

static bool add_headers(const struct websocket *socket, struct lws *wsi, unsigned char **at,
                        size_t room)
{
    const struct websockets_options *options = &socket->sockets->options;
    if (options->headers == NULL) {
        return true;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    unsigned char *end = *at + room;
    struct websocket_header headers[WEBSOCKET_HEADERS_MAX];
    size_t count = options->headers(options->context, text_of(socket->host_header),
                                    text_of(socket->path), &arena, headers);
    for (size_t i = 0; i < count; i++) {
        if (lws_add_http_header_by_name(wsi, (const unsigned char *)headers[i].name,
                                        (const unsigned char *)headers[i].value.data,
                                        (int)headers[i].value.size, at, end) != 0) {
            return false;
        }
    }
    return true;
}

// The library checks that the certificate names the host, but not when that is an address.
static bool certificate_names(const struct websocket *socket, struct lws *wsi)
{
    if (!socket->tls || !is_address(socket->host)) {
        return true;
    }
    SSL *ssl = lws_get_ssl(wsi);
    X509 *certificate = ssl == NULL ? NULL : SSL_get1_peer_certificate(ssl);
    bool named = certificate != NULL && X509_check_ip_asc(certificate, socket->host, 0) == 1;
    X509_free(certificate);
    return named;
}

// @return whether a connection is begun
static bool connect_to(struct websocket *socket, const char *address)
{
    int flags = 0;
    if (socket->tls) {
        flags = LCCSCF_USE_SSL |
                (is_address(socket->host) ? LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK : 0);
    }
    struct websockets *sockets = socket->sockets;
    const struct lws_client_connect_info info = {
        .context = sockets->context,
        .address = address,
        .port = socket->port,
        .path = socket->path,
        .host = socket->host_header,
        .origin = socket->host_header,
        .ssl_connection = flags,
        .local_protocol_name = "berth",
        .ietf_version_or_minus_one = -1,
        .retry_and_idle_policy = sockets->options.silent_s > 0 ? &sockets->pings : NULL,
        .userdata = socket,
        .pwsi = &socket->wsi,
    };
    // What fails at once the library tells its caller alone, and calls nobody.
    return lws_client_connect_via_info(&info) != NULL;
}

// A name can have several addresses, and a server at one of them: one after the other.
// @return whether a connection is begun
static bool connect_next(struct websocket *socket)
{
    bool begun = false;
    while (!begun && socket->untried != NULL) {
        char address[INET6_ADDRSTRLEN] = {0};
        const struct sockaddr *raw = socket->untried->ai_addr;
        if (socket->untried->ai_family == AF_INET) {
            uv_ip4_name((const struct sockaddr_in *)(const void *)raw, address, sizeof(address));
        } else {
            uv_ip6_name((const struct sockaddr_in6 *)(const void *)raw, address, sizeof(address));
        }
        socket->untried = socket->untried->ai_next;
        begun = connect_to(socket, address);
    }
    return begun;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct websocket *socket = CONTAINER_OF(request, struct websocket, resolve);
    struct websockets *sockets = socket->sockets;
    socket->addresses = addresses;
    socket->untried = addresses;
    sockets->resolving--;
    socket->resolving = false;
    if (status != 0 || socket->ending || sockets->closing) {
        finish(socket, NULL, status != 0 ? uv_strerror(status) : "closed");
        return;
    }
    if (!connect_next(socket)) {
        finish(socket, NULL,
               "no connection can be begun: there is no way to the server, or this process has too "
               "many files open");
    }
}

struct websocket *websocket_open(struct websockets *sockets, struct text text,
                                 const struct websocket_handlers *handlers)
{
    ASSERT(!sockets->closing);
    struct websocket_url url;
    if (!websocket_url_parse(text, &url) || (url.tls && sockets->tls == NULL)) {
        return NULL;
    }
    struct websocket *socket = ALLOC(struct websocket);
    socket->sockets = sockets;
    socket->handlers = *handlers;
    socket->next = sockets->first;
    sockets->first = socket;
    socket->tls = url.tls;
    socket->port = url.port;
    socket->host = alloc_format("%.*s", TEXT_FMT(url.host));
    socket->host_header = alloc_format("%.*s", TEXT_FMT(url.authority));
    socket->path = alloc_format("%.*s", TEXT_FMT(url.path));
    socket->heard_ms = now_ms();
    socket->in.limit_bytes = sockets->options.frame_max;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (uv_getaddrinfo(sockets->options.loop, &socket->resolve, on_resolved, socket->host, NULL,
                       &hints) != 0) {
        websocket_free(socket);
        return NULL;
    }
    socket->resolving = true;
    sockets->resolving++;
    return socket;
}

// ---- frames -------------------------------------------------------------------------------

static void queue(struct websocket *socket, struct text bytes, bool binary)
{
    if (socket->ending || socket->finishing || !socket->is_open) {
        return;
    }
    if (socket->out_bytes + bytes.size > socket->sockets->options.frame_max) {
        websocket_end(socket, "the server does not take what is sent");
        return;
    }
    struct websocket_frame *frame = alloc_zero(sizeof(*frame) + LWS_PRE + bytes.size);
    frame->size = bytes.size;
    frame->binary = binary;
    memcpy(frame->data + LWS_PRE, bytes.data, bytes.size);
    if (socket->out_last == NULL) {
        socket->out_first = frame;
    } else {
        socket->out_last->next = frame;
    }
    socket->out_last = frame;
    socket->out_bytes += frame->size;
    lws_callback_on_writable(socket->wsi);
}

void websocket_send_text(struct websocket *socket, struct text frame)
{
    queue(socket, frame, false);
}

void websocket_send_binary(struct websocket *socket, struct text frame)
{
    queue(socket, frame, true);
}

size_t websocket_queued(const struct websocket *socket)
{
    return socket->out_bytes;
}

// @return false when the connection must be closed
static bool write_out(struct websocket *socket)
{
    while (!socket->ending && socket->out_first != NULL && !lws_send_pipe_choked(socket->wsi)) {
        struct websocket_frame *frame = socket->out_first;
        int wrote = lws_write(socket->wsi, frame->data + LWS_PRE, frame->size,
                              frame->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT);
        if (wrote < (int)frame->size) {
            return false;
        }
        drop_first_frame(socket);
    }
    if (socket->out_first != NULL) {
        lws_callback_on_writable(socket->wsi);
    }
    return !socket->ending;
}

static void hand_over(struct websocket *socket, bool binary)
{
    const struct websocket_handlers *handlers = &socket->handlers;
    if (binary) {
        handlers->binary(handlers->context, socket, buf_view(&socket->in));
    } else if (handlers->text != NULL) {
        handlers->text(handlers->context, socket, buf_view(&socket->in));
    }
}

// @return false when the connection must be closed
static bool receive(struct websocket *socket, const char *bytes, size_t size)
{
    socket->heard_ms = now_ms();
    if (socket->ending) {
        return false;
    }
    bool binary = lws_frame_is_binary(socket->wsi) != 0;
    if (binary && socket->handlers.binary == NULL) {
        websocket_end(socket, "the server sent a binary frame");
        return false;
    }
    buf_add(&socket->in, bytes, size);
    if (socket->in.full) {
        websocket_end(socket, "the server sent a frame that is too long");
        return false;
    }
    if (!lws_is_final_fragment(socket->wsi) || lws_remaining_packet_payload(socket->wsi) > 0) {
        return true;
    }
    hand_over(socket, binary);
    // Frames come seldom: a large one leaves no room behind.
    buf_deinit(&socket->in);
    return !socket->ending;
}

// ---- the library's events -----------------------------------------------------------------

static void open_failed(struct websocket *socket, struct lws *wsi, const char *why, size_t size)
{
    unsigned status = wsi == NULL ? 0 : lws_http_client_http_response(wsi);
    if (status == 0 && !socket->ending && !socket->sockets->closing && socket->untried != NULL) {
        lws_set_wsi_user(wsi, NULL);
        socket->wsi = NULL;
        if (connect_next(socket)) {
            return;
        }
        wsi = NULL;
    }
    socket->refused = status >= 400 && status < 500;
    AUTO(alloc_string)
    char *text = status >= 400 ? alloc_format("refused with HTTP status %u", status)
                               : alloc_format("%.*s", (int)size, why == NULL ? "" : why);
    finish(socket, wsi, text);
}

static void on_peer_close(struct websocket *socket, const unsigned char *bytes, size_t size)
{
    if (size >= 2) {
        socket->code = (uint16_t)(bytes[0] << 8 | bytes[1]);
        keep_why(socket, (struct text){(const char *)bytes + 2, size - 2});
    }
}

// Before the upgrade. @return whether to go on
static bool on_handshake(struct websocket *socket, struct lws *wsi, unsigned char **at, size_t room)
{
    bool named = certificate_names(socket, wsi);
    if (!named) {
        websocket_end(socket, "the server's certificate does not name its address");
    }
    return named && add_headers(socket, wsi, at, room);
}

static bool on_open(struct websocket *socket)
{
    socket->is_open = true;
    socket->heard_ms = now_ms();
    socket->handlers.open(socket->handlers.context, socket);
    return !socket->ending;
}

// The reasons are the library's, some eighty of them; those that are not listed need nothing.
int websocket_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size)
{
    struct websocket *socket = user;
    if (socket == NULL) {
        return 0;
    }
    if (reason == LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER) {
        return on_handshake(socket, wsi, in, size) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_ESTABLISHED) {
        return on_open(socket) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_RECEIVE) {
        return receive(socket, in, size) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_RECEIVE_PONG) {
        socket->heard_ms = now_ms();
        return 0;
    }
    if (reason == LWS_CALLBACK_CLIENT_WRITEABLE) {
        return write_out(socket) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_CLIENT_CONNECTION_ERROR) {
        open_failed(socket, wsi, in, size);
    } else if (reason == LWS_CALLBACK_WS_PEER_INITIATED_CLOSE) {
        on_peer_close(socket, in, size);
    } else if (reason == LWS_CALLBACK_CLIENT_CLOSED ||
               (reason == LWS_CALLBACK_WSI_DESTROY && socket->wsi == wsi)) {
        // A server that goes between a request's sending and its answer ends a connection with
        // neither of the two events before; only that it is gone is always told.
        finish(socket, wsi, "the connection was closed");
    }
    return 0;
}

void websocket_end(struct websocket *socket, const char *why)
{
    if (socket->ending) {
        return;
    }
    socket->ending = true;
    keep_why(socket, text_of(why));
    if (socket->wsi != NULL) {
        lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
    }
}

// The library says why it closes only when it is told to in this way, and not in a callback of its.
void websocket_finish(struct websocket *socket)
{
    if (socket->ending || !socket->is_open) {
        websocket_end(socket, "done");
        return;
    }
    bool first = socket->out_first == NULL && !socket->said_goodbye;
    socket->finishing = true;
    if (first) {
        socket->said_goodbye = true;
        lws_close_reason(socket->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    }
}

uint16_t websocket_code(const struct websocket *socket)
{
    return socket->code;
}

int64_t websocket_heard_ms(const struct websocket *socket)
{
    return socket->heard_ms;
}

const char *websocket_host(const struct websocket *socket)
{
    return socket->host_header;
}
