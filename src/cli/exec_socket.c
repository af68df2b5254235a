#include "cli/exec_socket.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#define OPEN_TIMEOUT_S 10
#define KEEPALIVE_S 15 // a server whose host is gone is noticed, though all is quiet
#define RECEIVE_BYTES 16384
#define FRAME_MAX (256u << 10)
#define CLOSE_TURNS 20 // of the loop, for handles that the library closes one after the other
#define WHY_CHARS 200

struct frame {
    struct frame *next;
    size_t size;
    bool binary;
    unsigned char bytes[]; // LWS_PRE free ones, then the frame
};

struct exec_sockets {
    uv_loop_t *loop;
    struct lws_context *context;
    SSL_CTX *tls;
    struct exec_socket *socket; // at most one at a time
    bool closing;
};

struct exec_socket {
    struct exec_sockets *sockets;
    struct exec_socket_handlers handlers;
    struct lws *wsi;
    char *host; // without brackets and port
    bool tls;
    bool is_open;
    bool finishing;
    bool said_goodbye;
    bool dropped;
    uint16_t code;
    char why[WHY_CHARS];
    struct frame *first;
    struct frame *last;
    size_t queued;
    struct buf received;
};

static void socket_free(struct exec_socket *socket)
{
    while (socket->first != NULL) {
        struct frame *frame = socket->first;
        socket->first = frame->next;
        alloc_free(frame);
    }
    socket->sockets->socket = NULL;
    buf_deinit(&socket->received);
    alloc_free(socket->host);
    alloc_free(socket);
}

static void finish(struct exec_socket *socket, const char *why)
{
    if (socket->wsi != NULL) {
        lws_set_wsi_user(socket->wsi, NULL);
    }
    if (socket->why[0] == '\0') {
        IGNORE(text_copy(text_slice(text_of(why), 0, WHY_CHARS - 1), socket->why, WHY_CHARS),
               "it was cut to fit");
    }
    if (!socket->sockets->closing) {
        socket->handlers.closed(socket->handlers.context, socket->code, socket->why);
    }
    socket_free(socket);
}

// The library checks that the certificate names the host, but not when that is an address.
static bool is_address(const char *host)
{
    unsigned char ignored[16];
    return uv_inet_pton(AF_INET, host, ignored) == 0 || uv_inet_pton(AF_INET6, host, ignored) == 0;
}

static bool certificate_names(const struct exec_socket *socket, struct lws *wsi)
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

// @return what the library's callback returns: not 0 closes
static int on_writable(struct exec_socket *socket)
{
    while (socket->first != NULL && !lws_send_pipe_choked(socket->wsi)) {
        struct frame *frame = socket->first;
        if (lws_write(socket->wsi, frame->bytes + LWS_PRE, frame->size,
                      frame->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT) < 0) {
            return -1;
        }
        socket->first = frame->next;
        socket->last = socket->first == NULL ? NULL : socket->last;
        socket->queued -= frame->size;
        alloc_free(frame);
    }
    if (socket->first != NULL) {
        lws_callback_on_writable(socket->wsi);
    }
    return 0;
}

// @return what the library's callback returns: not 0 closes
static int on_receive(struct exec_socket *socket, const void *bytes, size_t size)
{
    if (socket->dropped) {
        return -1;
    }
    if (socket->received.size + size > FRAME_MAX) {
        exec_socket_drop(socket);
        return -1;
    }
    buf_add(&socket->received, bytes, size);
    if (lws_is_final_fragment(socket->wsi) && lws_remaining_packet_payload(socket->wsi) == 0) {
        if (lws_frame_is_binary(socket->wsi) != 0) {
            socket->handlers.frame(socket->handlers.context, buf_view(&socket->received));
        }
        buf_reset(&socket->received);
    }
    return socket->dropped ? -1 : 0;
}

static void open_failed(struct exec_socket *socket, struct lws *wsi, const char *why, size_t size)
{
    unsigned status = wsi == NULL ? 0 : lws_http_client_http_response(wsi);
    AUTO(alloc_string)
    char *text = status >= 400 ? alloc_format("refused with HTTP status %u", status)
                               : alloc_format("%.*s", (int)size, why == NULL ? "" : why);
    finish(socket, text);
}

// The reasons are the library's, some eighty of them; those that are not listed need nothing.
static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size)
{
    struct exec_socket *socket = user;
    if (socket == NULL) {
        return 0;
    }
    if (reason == LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER) {
        if (!certificate_names(socket, wsi)) {
            IGNORE(text_copy(TEXT("the server's certificate does not name its address"),
                             socket->why, WHY_CHARS),
                   "it fits");
            return -1;
        }
    } else if (reason == LWS_CALLBACK_CLIENT_ESTABLISHED) {
        socket->wsi = wsi;
        socket->is_open = true;
        socket->handlers.open(socket->handlers.context);
    } else if (reason == LWS_CALLBACK_CLIENT_RECEIVE) {
        return on_receive(socket, in, size);
    } else if (reason == LWS_CALLBACK_CLIENT_WRITEABLE) {
        return socket->dropped ? -1 : on_writable(socket);
    } else if (reason == LWS_CALLBACK_WS_PEER_INITIATED_CLOSE) {
        const unsigned char *bytes = in;
        socket->code = size < 2 ? 0 : (uint16_t)(bytes[0] << 8 | bytes[1]);
        if (size > 2 && !socket->dropped) {
            IGNORE(text_copy(
                       text_slice((struct text){(const char *)in + 2, size - 2}, 0, WHY_CHARS - 1),
                       socket->why, WHY_CHARS),
                   "it was cut to fit");
        }
    } else if (reason == LWS_CALLBACK_CLIENT_CONNECTION_ERROR) {
        open_failed(socket, wsi, in, size);
    } else if (reason == LWS_CALLBACK_CLIENT_CLOSED ||
               (reason == LWS_CALLBACK_WSI_DESTROY && socket->wsi == wsi)) {
        // A server that goes between a request's sending and its answer only destroys.
        finish(socket, "the connection was closed");
    }
    return 0;
}

static const struct lws_protocols protocols[] = {
    {.name = "berth", .callback = on_event, .rx_buffer_size = RECEIVE_BYTES},
    {0},
};

// Our own context, so that exactly the server's CA is trusted where there is one.
static int make_tls(struct exec_sockets *sockets, const char *ca_file, struct err *err)
{
    sockets->tls = SSL_CTX_new(TLS_client_method());
    if (sockets->tls == NULL) {
        base_out_of_memory(0);
    }
    SSL_CTX_set_verify(sockets->tls, SSL_VERIFY_PEER, NULL);
    int trusted = ca_file == NULL ? SSL_CTX_set_default_verify_paths(sockets->tls)
                                  : SSL_CTX_load_verify_locations(sockets->tls, ca_file, NULL);
    if (SSL_CTX_set_min_proto_version(sockets->tls, TLS1_2_VERSION) != 1 || trusted != 1) {
        return err_set(err, ERR_CORRUPT, "'%s' holds no certificate that can be trusted",
                       ca_file == NULL ? "the system's store" : ca_file);
    }
    return 0;
}

int exec_sockets_new(uv_loop_t *loop, const char *ca_file, struct exec_sockets **out_sockets,
                     struct err *err)
{
    struct exec_sockets *sockets = ALLOC(struct exec_sockets);
    sockets->loop = loop;
    int rc = make_tls(sockets, ca_file, err);
    if (rc == 0) {
        lws_set_log_level(0, NULL);
        void *loops[] = {loop};
        const struct lws_context_creation_info info = {
            .port = CONTEXT_PORT_NO_LISTEN,
            .protocols = protocols,
            .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
            .foreign_loops = loops,
            .timeout_secs = OPEN_TIMEOUT_S,
            .provided_client_ssl_ctx = sockets->tls,
            .ka_time = KEEPALIVE_S,
            .ka_probes = 3,
            .ka_interval = KEEPALIVE_S / 3,
            .fd_limit_per_thread = 64,
            .gid = (gid_t)-1,
            .uid = (uid_t)-1,
        };
        sockets->context = lws_create_context(&info);
        if (sockets->context == NULL) {
            rc = err_set(err, ERR_SYS,
                         "the websocket library does not start: is libwebsockets-evlib-uv there?");
        }
    }
    if (rc != 0) {
        SSL_CTX_free(sockets->tls);
        alloc_free(sockets);
        return rc;
    }
    *out_sockets = sockets;
    return 0;
}

void exec_sockets_free(struct exec_sockets *sockets)
{
    if (sockets == NULL) {
        return;
    }
    sockets->closing = true;
    lws_context_destroy(sockets->context);
    for (int i = 0; i < CLOSE_TURNS; i++) {
        uv_run(sockets->loop, UV_RUN_NOWAIT);
    }
    lws_context_destroy(sockets->context); // the second call frees
    if (sockets->socket != NULL) {
        socket_free(sockets->socket);
    }
    SSL_CTX_free(sockets->tls);
    alloc_free(sockets);
}

// ---- one of them ------------------------------------------------------------------------------

struct url {
    bool tls;
    struct text authority;
    struct text host;
    struct text path;
    uint64_t port;
};

static bool parse_url(struct text text, struct url *url)
{
    url->tls = text_starts(text, TEXT("wss://"));
    if (!url->tls && !text_starts(text, TEXT("ws://"))) {
        return false;
    }
    text = text_slice(text, url->tls ? 6 : 5, text.size);
    size_t slash = text_find(text, '/');
    url->authority = text_slice(text, 0, slash);
    url->path = slash == SIZE_MAX ? TEXT("/") : text_slice(text, slash, text.size);
    url->host = url->authority;
    url->port = url->tls ? 443 : 80;
    size_t colon = text_find_last(url->authority, ':');
    size_t bracket = text_find_last(url->authority, ']');
    if (colon != SIZE_MAX && (bracket == SIZE_MAX || colon > bracket)) {
        url->host = text_slice(url->authority, 0, colon);
        if (text_to_u64(text_slice(url->authority, colon + 1, url->authority.size), &url->port) !=
            0) {
            return false;
        }
    }
    if (text_starts(url->host, TEXT("[")) && text_ends(url->host, TEXT("]"))) {
        url->host = text_slice(url->host, 1, url->host.size - 1);
    }
    return !text_empty(url->host) && url->port > 0 && url->port <= UINT16_MAX;
}

struct exec_socket *exec_socket_open(struct exec_sockets *sockets, struct text text,
                                     const struct exec_socket_handlers *handlers)
{
    ASSERT(sockets->socket == NULL);
    struct url url = {0};
    if (!parse_url(text, &url)) {
        return NULL;
    }
    struct exec_socket *socket = ALLOC(struct exec_socket);
    sockets->socket = socket;
    socket->sockets = sockets;
    socket->handlers = *handlers;
    socket->tls = url.tls;
    socket->host = alloc_format("%.*s", TEXT_FMT(url.host));
    AUTO(alloc_string) char *authority = alloc_format("%.*s", TEXT_FMT(url.authority));
    AUTO(alloc_string) char *path = alloc_format("%.*s", TEXT_FMT(url.path));
    int flags = 0;
    if (url.tls) {
        flags = LCCSCF_USE_SSL |
                (is_address(socket->host) ? LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK : 0);
    }
    const struct lws_client_connect_info info = {
        .context = sockets->context,
        .address = socket->host,
        .port = (int)url.port,
        .path = path,
        .host = authority,
        .origin = authority,
        .ssl_connection = flags,
        .local_protocol_name = "berth",
        .ietf_version_or_minus_one = -1,
        .userdata = socket,
        .pwsi = &socket->wsi,
    };
    // When this fails at once, the callback was called, which freed the socket.
    IGNORE(lws_client_connect_via_info(&info) == NULL, "the callback tells");
    return sockets->socket;
}

void exec_socket_send(struct exec_socket *socket, struct text bytes, bool binary)
{
    if (socket->finishing || socket->dropped) {
        return;
    }
    struct frame *frame = alloc_zero(sizeof(*frame) + LWS_PRE + bytes.size);
    frame->size = bytes.size;
    frame->binary = binary;
    memcpy(frame->bytes + LWS_PRE, bytes.data, bytes.size);
    if (socket->last == NULL) {
        socket->first = frame;
    } else {
        socket->last->next = frame;
    }
    socket->last = frame;
    socket->queued += frame->size;
    lws_callback_on_writable(socket->wsi);
}

size_t exec_socket_queued(const struct exec_socket *socket)
{
    return socket->queued;
}

void exec_socket_finish(struct exec_socket *socket)
{
    socket->finishing = true;
}

// The library says why it closes only when it is told to from outside of its callbacks.
void exec_socket_turn(struct exec_socket *socket)
{
    if (socket->finishing && !socket->said_goodbye && !socket->dropped && socket->is_open &&
        socket->first == NULL) {
        socket->said_goodbye = true;
        lws_close_reason(socket->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    }
}

void exec_socket_drop(struct exec_socket *socket)
{
    socket->dropped = true;
    if (socket->wsi != NULL) {
        lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
    }
}
