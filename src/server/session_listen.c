#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "server/exec.h"
#include "server/listen.h"
#include "server/session_internal.h"
#include "server/session_upgrade.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * The websocket library and the listeners for sessions.
 */

#define UPGRADE_SECONDS 10
#define KEEPALIVE_SECONDS 30
#define RECEIVE_BYTES 4096
#define FILES_MAX 65536  // sessions of 10,000 nodes, and all else that is open
#define FILES_SPARED 256 // at most; a quarter where there are few
#define LOG_PAUSE_NS (INT64_C(1000) * 1000000)

static int on_upgrade(struct sessions *sessions, struct lws *wsi)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text path = session_upgrade_path(wsi, &arena);
    if (exec_path(path) && !sessions->server->stopping) {
        return exec_upgrade(sessions->server->exec, wsi, path, &arena);
    }
    return session_upgrade(sessions, wsi);
}

// Says it once a second: what goes wrong with one connection may go wrong with all at once.
static void complain(struct text line)
{
    static int64_t told_ns;
    static uint64_t left_out;
    int64_t now_ns = clock_monotonic_ns();
    if (told_ns != 0 && now_ns - told_ns < LOG_PAUSE_NS) {
        left_out++;
        return;
    }
    LOG(WARN, "websocket library", LOG_TXT("line", line), LOG_U64("left_out_before", left_out));
    told_ns = now_ns;
    left_out = 0;
}

// The library gives its log no context. What it finds wrong it may find again at once, and write
// megabytes a second of it.
static void on_log(int level, const char *line)
{
    (void)level;
    complain(text_trim(text_of(line)));
}

// Its refusal of a descriptor above its table writes behind the table (4.1.6), so it must not come
// to that. @return whether to hang up
static bool is_one_too_many(struct lws *wsi, const void *descriptor)
{
    const struct sessions *sessions = lws_context_user(lws_get_context(wsi));
    if ((uintptr_t)descriptor < sessions->file_limit) {
        return false;
    }
    complain(TEXT("too many connections: one more is closed, as other files need room, too; raise "
                  "the limit of open files"));
    return true;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *bytes,
                    size_t size)
{
    (void)user;
    if (reason == LWS_CALLBACK_FILTER_NETWORK_CONNECTION) {
        return is_one_too_many(wsi, bytes);
    }
    // Some events come before a connection has its context set up.
    const struct lws_protocols *protocol = wsi == NULL ? NULL : lws_get_protocol(wsi);
    struct sessions *sessions = protocol == NULL ? NULL : protocol->user;
    struct session_peer *peer = wsi == NULL ? NULL : lws_get_opaque_user_data(wsi);
    // Of the library's hundred events few concern us.
    if (reason == LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION && sessions != NULL) {
        return on_upgrade(sessions, wsi);
    }
    if (reason == LWS_CALLBACK_HTTP) {
        lws_return_http_status(wsi, HTTP_STATUS_NOT_FOUND, "Only websockets are here.");
        return -1;
    }
    return peer == NULL ? 0 : peer->event(peer, reason, bytes, size);
}

// The library takes memory for every descriptor that the process may open, used or not; where that
// is a million, it would be most of the server. Below the limit some are left to the API and the
// store, whoever connects to the sessions' port and says nothing.
static struct lws_context *create_limited(struct sessions *sessions,
                                          const struct lws_context_creation_info *info)
{
    struct rlimit limit = {0};
    sessions->file_limit = FILES_MAX;
    bool lowered = getrlimit(RLIMIT_NOFILE, &limit) == 0;
    if (lowered) {
        rlim_t spared = MIN(limit.rlim_cur / 4, (rlim_t)FILES_SPARED);
        sessions->file_limit = MIN(limit.rlim_cur - spared, (rlim_t)FILES_MAX);
        const struct rlimit lower = {.rlim_cur = sessions->file_limit, .rlim_max = limit.rlim_max};
        lowered = setrlimit(RLIMIT_NOFILE, &lower) == 0; // else the library takes more memory
    }
    struct lws_context *context = lws_create_context(info);
    if (lowered) {
        // Programs that are started later must find the limit as it was.
        int rc = setrlimit(RLIMIT_NOFILE, &limit);
        ASSERT(rc == 0);
    }
    return context;
}

static int create_context(struct sessions *sessions, struct err *err)
{
    lws_set_log_level(LLL_ERR, on_log);
    sessions->protocols[0] = (struct lws_protocols){
        .name = "berth", .callback = on_event, .rx_buffer_size = RECEIVE_BYTES, .user = sessions};
    void *loops[] = {sessions->server->options.loop};
    const struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .foreign_loops = loops,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
                   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .gid = -1,
        .uid = -1,
        .max_http_header_data = LIMIT_HEADER_BYTES,
        .timeout_secs = UPGRADE_SECONDS,
        .user = sessions,
    };
    sessions->context = create_limited(sessions, &info);
    if (sessions->context == NULL) {
        return err_set(err, ERR_SYS,
                       "the websocket library does not start: is libwebsockets-evlib-uv there?");
    }
    return 0;
}

// The library reports a port in use late or not at all, so try first.
static int probe(const struct server_listen *listen, struct err *err)
{
    int fd = -1;
    int rc = listen_open(listen, &fd, err);
    if (rc == 0) {
        close(fd);
    }
    return rc;
}

static int listener_start(struct sessions *sessions, size_t index, struct err *err)
{
    const struct server *server = sessions->server;
    const struct server_listen *listen = &server->options.sessions[index];
    int rc = probe(listen, err);
    if (rc != 0) {
        return rc;
    }
    bool any = listen_is_any(listen->address);
    bool ipv6 = strchr(listen->address, ':') != NULL;
    // The library keeps the pointer.
    static const char *const names[SERVER_LISTEN_MAX] = {"sessions-0", "sessions-1", "sessions-2",
                                                         "sessions-3"};
    const struct lws_context_creation_info info = {
        .port = listen->port,
        .iface = any ? NULL : listen->address,
        .vhost_name = names[index],
        .protocols = sessions->protocols,
        // Without the first option the library serves plain text, whatever certificate it has.
        .options =
            LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
            (ipv6 ? LWS_SERVER_OPTION_IPV6_V6ONLY_MODIFY | LWS_SERVER_OPTION_IPV6_V6ONLY_VALUE
                  : LWS_SERVER_OPTION_DISABLE_IPV6),
        .ssl_cert_filepath = listen->tls ? pki_certificate_file(server->options.pki) : NULL,
        .ssl_private_key_filepath = listen->tls ? pki_key_file(server->options.pki) : NULL,
        .ka_time = KEEPALIVE_SECONDS, // a client whose host is gone is noticed, though all is quiet
        .ka_probes = 3,
        .ka_interval = KEEPALIVE_SECONDS / 3,
        .ssl_options_set = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1,
    };
    struct lws_vhost *vhost = lws_create_vhost(sessions->context, &info);
    int port = vhost == NULL ? -1 : lws_get_vhost_listen_port(vhost);
    if (port <= 0) {
        return err_set(err, ERR_SYS, "the websocket server cannot listen on %s port %u",
                       listen->address, listen->port);
    }
    const char *host = any && server->advertise != NULL ? server->advertise : listen->address;
    bool brackets = strchr(host, ':') != NULL;
    sessions->urls[index] = alloc_format("%s://%s%s%s:%d", listen->tls ? "https" : "http",
                                         brackets ? "[" : "", host, brackets ? "]" : "", port);
    return 0;
}

int server_sessions_renew(struct sessions *sessions, struct err *err)
{
    // The library finds its listeners by the names of the files, and reads the files.
    const struct pki *pki = sessions->server->options.pki;
    if (sessions->context != NULL &&
        lws_tls_cert_updated(sessions->context, pki_certificate_file(pki), pki_key_file(pki), NULL,
                             0, NULL, 0) != 0) {
        return err_set(err, ERR_SYS, "the websocket server cannot take the certificate '%s'",
                       pki_certificate_file(pki));
    }
    return 0;
}

int server_sessions_new(struct server *server, struct sessions **out_sessions, struct err *err)
{
    struct sessions *sessions = ALLOC(struct sessions);
    sessions->server = server;
    *out_sessions = sessions;
    int rc = uv_timer_init(server->options.loop, &sessions->timer);
    ASSERT(rc == 0);
    sessions->timer_open = true;
    if (server->options.session_count == 0) {
        return 0;
    }
    rc = create_context(sessions, err);
    for (size_t i = 0; i < server->options.session_count && rc == 0; i++) {
        rc = listener_start(sessions, i, err);
    }
    if (rc == 0) {
        uv_timer_start(&sessions->timer, sessions_tick, SESSION_TICK_MS, SESSION_TICK_MS);
    }
    return rc;
}

const char *server_sessions_url(const struct sessions *sessions, size_t index)
{
    ASSERT(index < SERVER_LISTEN_MAX);
    return sessions->urls[index];
}

size_t server_sessions_count(const struct sessions *sessions, bool telemetry)
{
    return telemetry ? sessions->telemetry_count : sessions->nodes.count;
}

void server_sessions_close(struct sessions *sessions)
{
    if (sessions->timer_open) {
        sessions->timer_open = false;
        uv_close((uv_handle_t *)&sessions->timer, NULL);
    }
    if (sessions->context != NULL) {
        lws_context_destroy(sessions->context);
    }
}

void server_sessions_free(struct sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    ASSERT(sessions->first == NULL);
    if (sessions->context != NULL) {
        // On a loop that is not its own, the library asks to be told twice: to let go of the loop,
        // and, once the loop has closed its handles, to free the rest.
        lws_context_destroy(sessions->context);
    }
    for (size_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        alloc_free(sessions->urls[i]);
    }
    map_deinit(&sessions->nodes);
    arena_deinit(&sessions->scratch);
    alloc_free(sessions);
}