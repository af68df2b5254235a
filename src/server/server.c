#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "identity/identity.h"
#include "server/exec.h"
#include "server/listen.h"
#include "server/role.h"
#include "server/server_internal.h"
#include "server/usage.h"

#include <signal.h>
#include <string.h>

#define STOP_MS 5000 // replies wait for one commit; a slow client's time ends here
#define STOP_TURN_MS 50
// The websocket library lets go of the loop over some turns.
#define CLOSE_TURNS 20

// ---- request ids ------------------------------------------------------------------------------

// One system call serves 256 requests.
void server_request_id(struct server *server, char out_id[REQUEST_ID_CHARS + 1])
{
    if (server->id_used == sizeof(server->id_entropy)) {
        clock_entropy(server->id_entropy, sizeof(server->id_entropy));
        server->id_used = 0;
    }
    text_uuid(server->id_entropy + server->id_used, out_id);
    server->id_used += 16;
}

// ---- start ------------------------------------------------------------------------------------

static int check_listen(const struct server_options *options, const struct server_listen *listen,
                        struct err *err)
{
    bool loopback = listen_is_loopback(listen->address);
    if (!loopback && !listen->tls) {
        return err_set(err, ERR_DENIED,
                       "listening on %s needs TLS: without it, only addresses of the loopback "
                       "such as 127.0.0.1 are allowed",
                       listen->address);
    }
    if (!loopback && options->any_credentials) {
        return err_set(err, ERR_DENIED,
                       "--any-credentials accepts every signature, so it is allowed on the "
                       "loopback only, not on %s",
                       listen->address);
    }
    if (listen->tls && options->pki == NULL) {
        return err_set(err, ERR_INVALID, "listening on %s with TLS needs a certificate",
                       listen->address);
    }
    return 0;
}

static int check_options(const struct server_options *options, struct err *err)
{
    ASSERT(options->api_count <= SERVER_LISTEN_MAX);
    ASSERT(options->session_count <= SERVER_LISTEN_MAX);
    ASSERT(options->region != NULL);
    if (options->api_count == 0) {
        return err_set(err, ERR_INVALID, "the server has no address to listen on");
    }
    int rc = 0;
    for (size_t i = 0; i < options->api_count && rc == 0; i++) {
        rc = check_listen(options, &options->api[i], err);
    }
    for (size_t i = 0; i < options->session_count && rc == 0; i++) {
        rc = check_listen(options, &options->sessions[i], err);
    }
    return rc;
}

// Where nodes reach this host: told, or the address of the listener, or one of the host's.
static char *advertised(const struct server_options *options)
{
    if (options->advertise != NULL) {
        return alloc_string(options->advertise);
    }
    for (size_t i = 0; i < options->api_count; i++) {
        if (options->api[i].tls && !listen_is_any(options->api[i].address)) {
            return alloc_string(options->api[i].address);
        }
    }
    return listen_outer_address();
}

static struct metrics *make_metrics(const struct server_options *options)
{
    const struct api_service **services = alloc_array(options->service_count, sizeof(*services));
    for (size_t i = 0; i < options->service_count; i++) {
        services[i] = options->services[i].api;
    }
    struct metrics *metrics = metrics_new(services, options->service_count);
    alloc_free(services);
    return metrics;
}

static void set_token_endpoint(struct server *server)
{
    for (size_t i = 0; i < server->options.api_count; i++) {
        if (server->options.api[i].tls) {
            server->token_endpoint = alloc_string(http_url(server->http, i));
            return;
        }
    }
}

// The websocket library keeps addresses, and callers may drop theirs.
static const char *keep(struct server *server, const char *string)
{
    return string == NULL ? NULL : arena_text(&server->texts, text_of(string)).data;
}

static void copy_options(struct server *server, const struct server_options *options)
{
    server->options = *options;
    server->options.region = keep(server, options->region);
    server->options.advertise = keep(server, options->advertise);
    server->options.scale_command = keep(server, options->scale_command);
    server->options.scale_dir = keep(server, options->scale_dir);
    server->options.data_dir = keep(server, options->data_dir);
    server->options.exec_dir = keep(server, options->exec_dir);
    for (size_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        server->options.api[i].address = keep(server, options->api[i].address);
        server->options.sessions[i].address = keep(server, options->sessions[i].address);
    }
}

int server_start(const struct server_options *options, struct server **out_server, struct err *err)
{
    int rc = check_options(options, err);
    if (rc != 0) {
        return rc;
    }
    signal(SIGPIPE, SIG_IGN);
    struct server *server = ALLOC(struct server);
    copy_options(server, options);
    server->core = host_core(options->host);
    server->sigv4_cache = sigv4_cache_new();
    server->metrics = make_metrics(options);
    server->usage = usage_new();
    server->advertise = advertised(options);
    server->id_used = sizeof(server->id_entropy);
    server->start_ms = clock_wall_ms();
    server->exec = exec_hub_new(server);
    rc = server_sessions_new(server, &server->sessions, err);
    if (rc == 0) {
        rc = http_new(server, &server->http, err);
    }
    if (rc != 0) {
        server_stop(server);
        return rc;
    }
    set_token_endpoint(server);
    events_start(server);
    certificate_start(server);
    *out_server = server;
    return 0;
}

const char *server_url(const struct server *server, size_t index)
{
    return http_url(server->http, index);
}

const char *server_session_url(const struct server *server, size_t index)
{
    return server_sessions_url(server->sessions, index);
}

// ---- while it runs ----------------------------------------------------------------------------

// The engine says whose credentials are due; what they are is made on the way out, so that no key
// is ever part of its state.
static void server_send_role(struct server *server, const struct core_effect *effect)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct session_iam_role_credentials_message *asked = effect->message;
    struct session_iam_role_credentials_message message = *asked;
    struct text signing_key = identity_signing_key(server->core);
    if (text_empty(signing_key)) {
        return; // a front without the start that makes one, in tests
    }
    message.role_credentials = role_mint(signing_key, asked, clock_wall_ms(), &arena);
    IGNORE(server_sessions_send(server->sessions, effect->target, effect->type, effect->shape,
                                &message),
           "a node without a session gets what it missed when it connects");
}

void server_effect(struct server *server, const struct core_effect *effect)
{
    switch ((enum core_effect_kind)effect->kind) {
    case CORE_EFFECT_NODE:
        // The engine sends what is missing when the node connects again.
        if (strcmp(effect->type, ROLE_MESSAGE) == 0) {
            server_send_role(server, effect);
            break;
        }
        IGNORE(server_sessions_send(server->sessions, effect->target, effect->type, effect->shape,
                                    effect->message),
               "a node without a session gets what it missed when it connects");
        break;
    case CORE_EFFECT_HOOK:
        server_hook(server, effect->message);
        break;
    case CORE_EFFECT_SCALE:
        server_scale(server, effect->message);
        break;
    case CORE_EFFECT_EVENT:
        break; // the wiring gives them to the event log, which outlives the front
    }
}

void server_stats(const struct server *server, struct server_stats *out_stats)
{
    *out_stats = (struct server_stats){
        .connection_count = http_connection_count(server->http),
        .session_count = server_sessions_count(server->sessions, false),
        .request_count = metrics_total(server->metrics),
    };
}

// ---- stop -------------------------------------------------------------------------------------

static void on_turn(uv_timer_t *timer)
{
    (void)timer;
}

// Let replies out that wait for the store. The timer bounds how long a turn may sleep.
static void finish_replies(struct server *server)
{
    uv_loop_t *loop = server->options.loop;
    uv_timer_t timer;
    int rc = uv_timer_init(loop, &timer);
    ASSERT(rc == 0);
    uv_timer_start(&timer, on_turn, STOP_TURN_MS, STOP_TURN_MS);
    uint64_t end_ns = uv_hrtime() + (uint64_t)STOP_MS * 1000000;
    while (http_busy(server->http) && uv_hrtime() < end_ns) {
        uv_run(loop, UV_RUN_ONCE);
    }
    if (http_busy(server->http)) {
        LOG(WARN, "requests were cut off at the stop");
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
}

void server_stop(struct server *server)
{
    if (server == NULL) {
        return;
    }
    server->stopping = true;
    certificate_stop(server);
    if (server->http != NULL) {
        http_quiesce(server->http);
        logs_stop(server);
        events_stop(server);
        finish_replies(server);
        http_close(server->http);
    }
    server_hooks_stop(server);
    server_scale_stop(server);
    if (server->sessions != NULL) {
        server_sessions_close(server->sessions);
    }
    for (int i = 0; i < CLOSE_TURNS; i++) {
        uv_run(server->options.loop, UV_RUN_NOWAIT);
    }
    http_free(server->http);
    server_sessions_free(server->sessions);
    exec_hub_free(server->exec);
    metrics_free(server->metrics);
    usage_free(server->usage);
    sigv4_cache_free(server->sigv4_cache);
    alloc_free(server->advertise);
    alloc_free(server->token_endpoint);
    arena_deinit(&server->texts);
    alloc_free(server);
}
