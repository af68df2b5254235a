#include "base/log.h"
#include "base/text.h"
#include "client/websocket_internal.h"

#include <openssl/ssl.h>

/*
 * What all websockets of a process share: the library's context, whom TLS trusts, and their end.
 */

#define RECEIVE_BYTES 4096 // handed over at once by the library; frames are put together from it
#define CLOSE_TURNS 8      // of the loop, for handles that the library closes one after the other
#define PINGS 3            // that may be without an answer

static void log_library(int level, const char *line)
{
    struct text text = text_trim(text_of(line));
    LOG(WARN, "from the websocket library", LOG_TXT("text", text));
}

static const struct lws_protocols protocols[] = {
    {.name = "berth", .callback = websocket_event, .rx_buffer_size = RECEIVE_BYTES},
    {0},
};

// Our own context: the library's would trust every CA of the system beside the server's, takes
// 700 KB for them, and is not given back.
static int make_tls(struct websockets *sockets, struct err *err)
{
    const char *ca_file = sockets->options.ca_file;
    if (!sockets->options.tls) {
        return 0;
    }
    sockets->tls = SSL_CTX_new(TLS_client_method());
    if (sockets->tls == NULL) {
        base_out_of_memory(0);
    }
    SSL_CTX_set_verify(sockets->tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(sockets->tls, SSL_MODE_RELEASE_BUFFERS); // sockets are idle most of the time
    int trusted = ca_file == NULL ? SSL_CTX_set_default_verify_paths(sockets->tls)
                                  : SSL_CTX_load_verify_locations(sockets->tls, ca_file, NULL);
    if (SSL_CTX_set_min_proto_version(sockets->tls, TLS1_2_VERSION) != 1 || trusted != 1) {
        return err_set(err, ERR_CORRUPT, "'%s' holds no certificate that can be trusted",
                       ca_file == NULL ? "the system's store" : ca_file);
    }
    return 0;
}

static int make_context(struct websockets *sockets, struct err *err)
{
    const struct websockets_options *options = &sockets->options;
    void *foreign_loops[] = {options->loop};
    int rc = make_tls(sockets, err);
    if (rc != 0) {
        return rc;
    }
    lws_set_log_level(options->quiet ? 0 : LLL_ERR, options->quiet ? NULL : log_library);
    sockets->pings.secs_since_valid_ping = (uint16_t)(options->silent_s / PINGS);
    sockets->pings.secs_since_valid_hangup = (uint16_t)options->silent_s;
    const struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_LIBUV |
                   (sockets->tls == NULL ? 0 : LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT),
        .foreign_loops = foreign_loops,
        .timeout_secs = options->open_s,
        .provided_client_ssl_ctx = sockets->tls,
        .fd_limit_per_thread = options->socket_max,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
    };
    sockets->context = lws_create_context(&info);
    if (sockets->context == NULL) {
        return err_set(err, ERR_SYS,
                       "the websocket library does not start: is libwebsockets-evlib-uv there?");
    }
    return 0;
}

int websockets_new(const struct websockets_options *options, struct websockets **out_sockets,
                   struct err *err)
{
    struct websockets *sockets = ALLOC(struct websockets);
    sockets->options = *options;
    int rc = make_context(sockets, err);
    if (rc != 0) {
        SSL_CTX_free(sockets->tls);
        alloc_free(sockets);
        return rc;
    }
    rc = uv_idle_init(options->loop, &sockets->turns);
    ASSERT(rc == 0);
    *out_sockets = sockets;
    return 0;
}

static void on_turns_closed(uv_handle_t *handle)
{
    struct websockets *sockets = CONTAINER_OF((uv_idle_t *)handle, struct websockets, turns);
    sockets->closed = true;
}

// The library closes its handles one after the other as the loop turns, and does not tell when it
// is done: a few turns are enough.
static void on_turn(uv_idle_t *turns)
{
    struct websockets *sockets = CONTAINER_OF(turns, struct websockets, turns);
    sockets->turns_left = MAX(sockets->turns_left - 1, 0);
    if (sockets->turns_left == 0 && sockets->resolving == 0) {
        uv_close((uv_handle_t *)turns, on_turns_closed);
    }
}

void websockets_close(struct websockets *sockets)
{
    if (sockets->closing) {
        return;
    }
    sockets->closing = true;
    for (struct websocket *socket = sockets->first; socket != NULL; socket = socket->next) {
        if (socket->resolving) {
            uv_cancel((uv_req_t *)&socket->resolve);
        }
    }
    lws_context_destroy(sockets->context);
    sockets->turns_left = CLOSE_TURNS;
    uv_idle_start(&sockets->turns, on_turn);
}

bool websockets_closed(const struct websockets *sockets)
{
    return sockets->closed;
}

void websockets_free(struct websockets *sockets)
{
    if (sockets == NULL) {
        return;
    }
    ASSERT(sockets->closed);
    lws_context_destroy(sockets->context); // the second call frees
    SSL_CTX_free(sockets->tls);
    while (sockets->first != NULL) {
        websocket_free(sockets->first);
    }
    alloc_free(sockets);
}
