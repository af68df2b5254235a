#include "agent/agent_internal.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "shape/json.h"

#include <stdio.h>
#include <string.h>

/*
 * How the node stands with its server: it registers, asks where sessions are, and keeps an ACS and
 * a TCS session open. When the ACS session ends it begins anew with asking, because a server that
 * was started again may listen elsewhere; when the server does not know the node, with registering.
 */

#define CALL_TIMEOUT_MS 10000
#define RETRY_FIRST_MS 50 // a restart of the server takes about as long
#define RETRY_LAST_MS 5000
#define REFUSED_MS 30000 // what was refused is not asked again at once
#define WATCH_MS 2000
#define SILENCE_MS 10000           // the server sends a heartbeat every second
#define TELEMETRY_SILENCE_MS 50000 // there it sends one every 20 s
#define URL_BYTES_MAX 2048

static void server_step(struct agent *agent);

// ---- trying again -------------------------------------------------------------------------

static uint64_t random_below(uint64_t limit)
{
    uint64_t number = 0;
    clock_entropy(&number, sizeof(number));
    return limit == 0 ? 0 : number % limit;
}

// Half of the delay is random, so that nodes that lost their server together do not all come back
// in the same moment.
static uint64_t retry_delay_ms(uint32_t failures)
{
    uint64_t delay = RETRY_FIRST_MS;
    for (uint32_t i = 1; i < failures && delay < RETRY_LAST_MS; i++) {
        delay *= 2;
    }
    delay = MIN(delay, (uint64_t)RETRY_LAST_MS);
    return delay / 2 + random_below(delay);
}

static void on_retry(uv_timer_t *timer)
{
    struct agent_server *server = CONTAINER_OF(timer, struct agent_server, retry);
    server_step(CONTAINER_OF(server, struct agent, server));
}

static void try_again(struct agent *agent, uint64_t delay_ms)
{
    if (!agent->closed) {
        uv_timer_start(&agent->server.retry, on_retry, delay_ms, 0);
    }
}

static void step_failed(struct agent *agent, const char *what, struct text why)
{
    struct agent_server *server = &agent->server;
    server->failures++;
    uint64_t delay_ms = retry_delay_ms(server->failures);
    // The first failures are those of a server that is being restarted.
    if (server->failures == 3 || server->failures % 20 == 0) {
        LOG(WARN, "the server cannot be reached, trying again", LOG_STR("step", what),
            LOG_TXT("endpoint", agent->identity.endpoint), LOG_TXT("reason", why),
            LOG_U64("attempt", server->failures));
    }
    try_again(agent, delay_ms);
}

static void refused(struct agent *agent, const char *what, struct text why)
{
    LOG(ERROR, "the server refuses this node", LOG_STR("step", what),
        LOG_TXT("node", agent->identity.node_id), LOG_TXT("reason", why));
    if (agent->options.on_refused != NULL) {
        struct err err = {0};
        err_set(&err, ERR_FAULT, "the server refuses node %.*s: %.*s",
                TEXT_FMT(agent->identity.node_id), TEXT_FMT(why));
        agent->options.on_refused(agent->options.context, &err);
    }
    agent->server.step = SERVER_REGISTER;
    try_again(agent, REFUSED_MS);
}

// Some refusals pass: a clock that is off, a server that is busy or has not all in place yet.
bool agent_server_may_pass(const struct client_result *result)
{
    static const char *const for_good[] = {
        "AccessDeniedException",  "UnrecognizedClientException", "InvalidParameterException",
        "ClientException",        "ClusterNotFoundException",    "ValidationException",
        "SerializationException", "UnknownOperationException",   "ResourceNotFoundException",
    };
    if (result->rc != ERR_FAULT || result->http_status >= 500) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(for_good); i++) {
        if (text_is(result->fault_code, for_good[i])) {
            return false;
        }
    }
    return true;
}

// ---- sessions -----------------------------------------------------------------------------

static void add_parameter(struct buf *url, const char *name, struct text value)
{
    buf_byte(url, text_find(buf_view(url), '?') == SIZE_MAX ? '?' : '&');
    buf_format(url, "%s=", name);
    buf_percent(url, value);
}

static void on_open(void *context, struct websocket *session)
{
    struct agent *agent = context;
    struct agent_server *server = &agent->server;
    if (session == server->tcs) {
        server->tcs_failures = 0;
        server->tcs_connected = true;
        agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_TELEMETRY_CONNECTED});
        agent_status_connected(agent);
        return;
    }
    server->connected = true;
    LOG(INFO, "session with the server is open", LOG_TXT("node", agent->identity.node_id),
        LOG_STR("server", websocket_host(session)));
    agent_apply(agent,
                &(struct agent_event){.kind = AGENT_EVENT_CONNECTED,
                                      .container_instance = text_of(server->container_instance),
                                      .cluster = text_of(server->cluster)});
    if (!server->ready) {
        server->ready = true;
        if (agent->options.on_ready != NULL) {
            agent->options.on_ready(agent->options.context);
        }
    }
}

static void open_tcs(struct agent *agent);

static void on_tcs_retry(uv_timer_t *timer)
{
    struct agent_server *server = CONTAINER_OF(timer, struct agent_server, tcs_retry);
    open_tcs(CONTAINER_OF(server, struct agent, server));
}

static void on_session_closed(void *context, struct websocket *session, struct text why,
                              bool was_refused)
{
    struct agent *agent = context;
    struct agent_server *server = &agent->server;
    if (session == server->tcs) {
        server->tcs = NULL;
        server->tcs_connected = false;
        server->tcs_failures++;
        uv_timer_start(&server->tcs_retry, on_tcs_retry, retry_delay_ms(server->tcs_failures), 0);
        return;
    }
    ASSERT(session == server->acs);
    server->acs = NULL;
    server->connected = false;
    agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_DISCONNECTED});
    server->step = was_refused ? SERVER_REGISTER : SERVER_DISCOVER;
    if (server->failures == 0) {
        LOG(INFO, "session with the server ended", LOG_TXT("reason", why));
    }
    step_failed(agent, "session", why);
    agent_check_stopped(agent);
}

static struct websocket *open_session(struct agent *agent, const char *base, bool telemetry)
{
    struct agent_server *server = &agent->server;
    AUTO(buf_deinit) struct buf url = {.limit_bytes = URL_BYTES_MAX};
    struct text version = text_of(agent->options.version);
    buf_string(&url, base);
    buf_string(&url, text_ends(text_of(base), TEXT("/")) ? "ws" : "/ws");
    add_parameter(&url, "agentVersion", version);
    add_parameter(&url, "berthAgent", TEXT("true"));
    if (telemetry) {
        add_parameter(&url, "cluster", text_of(server->cluster));
        add_parameter(&url, "containerInstance", text_of(server->container_instance));
    } else {
        add_parameter(&url, "clusterArn", text_of(server->cluster));
        add_parameter(&url, "containerInstanceArn", text_of(server->container_instance));
        add_parameter(&url, "protocolVersion", TEXT("2"));
        add_parameter(&url, "sendCredentials", TEXT("true"));
        add_parameter(&url, "seqNum", TEXT("1"));
    }
    const struct websocket_handlers handlers = {
        .open = on_open, .text = agent_frame_take, .closed = on_session_closed, .context = agent};
    agent_sessions_set_clock(server->sessions, client_clock_offset_ms(server->client));
    return url.full ? NULL : agent_session_open(server->sessions, buf_view(&url), &handlers);
}

static void open_tcs(struct agent *agent)
{
    struct agent_server *server = &agent->server;
    // Telemetry comes and goes with the ACS session's server.
    if (server->tcs == NULL && server->acs != NULL && server->tcs_url != NULL && !agent->closed) {
        server->tcs = open_session(agent, server->tcs_url, true);
    }
}

static void open_acs(struct agent *agent)
{
    struct agent_server *server = &agent->server;
    if (server->acs != NULL) {
        return;
    }
    server->acs = open_session(agent, server->acs_url, false);
    if (server->acs == NULL) {
        server->step = SERVER_DISCOVER;
        step_failed(agent, "session", TEXT("the server names no usable address for sessions"));
        return;
    }
    open_tcs(agent);
}

// A session on which nothing comes any more is dead, whatever the network says.
static void on_watch(uv_timer_t *timer)
{
    struct agent_server *server = CONTAINER_OF(timer, struct agent_server, watch);
    struct agent *agent = CONTAINER_OF(server, struct agent, server);
    int64_t now_ms = agent_now().monotonic_ms;
    if (server->acs != NULL && websocket_heard_ms(server->acs) < now_ms - SILENCE_MS) {
        websocket_end(server->acs, "the server is silent");
    }
    if (server->tcs != NULL && websocket_heard_ms(server->tcs) < now_ms - TELEMETRY_SILENCE_MS) {
        websocket_end(server->tcs, "the server is silent");
    }
    agent_garbage_watch(agent);
    agent_status_watch(agent);
    agent_check_stopped(agent);
}

// ---- registering --------------------------------------------------------------------------

static void replace_string(char **string, struct text text)
{
    alloc_free(*string);
    *string = text.data == NULL ? NULL : alloc_format("%.*s", TEXT_FMT(text));
}

// @return whether a step's call succeeded; else what comes next is arranged
static bool call_succeeded(struct agent *agent, const char *what,
                           const struct client_result *result)
{
    agent->server.calling = false;
    if (result->rc == 0) {
        return true;
    }
    if (agent_server_may_pass(result)) {
        step_failed(agent, what, result->message);
    } else if (agent->server.step == SERVER_DISCOVER) {
        // The server may have lost what it knew of the node: registering tells.
        agent->server.step = SERVER_REGISTER;
        step_failed(agent, what, result->message);
    } else {
        refused(agent, what, result->message);
    }
    return false;
}

static void on_registered(void *context, const struct client_result *result)
{
    struct agent *agent = context;
    if (!call_succeeded(agent, "RegisterContainerInstance", result)) {
        return;
    }
    const struct ecs_register_container_instance_response *response = result->response;
    struct text arn = response->container_instance == NULL
                          ? (struct text){0}
                          : response->container_instance->container_instance_arn;
    if (text_empty(arn)) {
        step_failed(agent, "RegisterContainerInstance", TEXT("the answer names no instance"));
        return;
    }
    LOG(INFO, "registered with the server", LOG_TXT("node", agent->identity.node_id),
        LOG_TXT("instance", arn));
    replace_string(&agent->server.container_instance, arn);
    agent->server.step = SERVER_DISCOVER;
    server_step(agent);
}

static void on_discovered(void *context, const struct client_result *result)
{
    struct agent *agent = context;
    if (!call_succeeded(agent, "DiscoverPollEndpoint", result)) {
        return;
    }
    const struct ecs_discover_poll_endpoint_response *response = result->response;
    if (text_empty(response->endpoint)) {
        step_failed(agent, "DiscoverPollEndpoint", TEXT("the answer names no endpoint"));
        return;
    }
    replace_string(&agent->server.acs_url, response->endpoint);
    replace_string(&agent->server.tcs_url, response->telemetry_endpoint);
    agent->server.step = SERVER_SESSION;
    server_step(agent);
}

static void call_register(struct agent *agent)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_register_container_instance_request request;
    agent_host_describe(agent, &arena, &request);
    agent->server.calling = true;
    client_call(agent->server.client, &ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE], &request,
                CALL_TIMEOUT_MS, on_registered, agent);
}

static void call_discover(struct agent *agent)
{
    const struct ecs_discover_poll_endpoint_request request = {
        .container_instance = text_of(agent->server.container_instance),
        .cluster = text_of(agent->options.cluster),
    };
    agent->server.calling = true;
    client_call(agent->server.client, &ecs_operations[ECS_OP_DISCOVER_POLL_ENDPOINT], &request,
                CALL_TIMEOUT_MS, on_discovered, agent);
}

static void server_step(struct agent *agent)
{
    if (agent->closed || agent->server.calling) {
        return;
    }
    switch (agent->server.step) {
    case SERVER_REGISTER:
        call_register(agent);
        break;
    case SERVER_DISCOVER:
        call_discover(agent);
        break;
    case SERVER_SESSION:
        open_acs(agent);
        break;
    }
}

// ---- life ---------------------------------------------------------------------------------

static void open_timer(struct agent *agent, uv_timer_t *timer)
{
    int rc = uv_timer_init(agent->options.loop, timer);
    ASSERT(rc == 0);
    agent->handle_count++;
}

int agent_server_begin(struct agent *agent, struct err *err)
{
    struct agent_server *server = &agent->server;
    struct client_options options = {
        .loop = agent->options.loop,
        .endpoint = agent->identity.endpoint.data,
        .ca_file = agent->identity.ca_file.data,
        .key_id = agent->identity.key_id.data,
        .secret = agent->identity.secret.data,
        .region = agent->identity.region.data,
    };
    int rc = client_new(&options, &server->client, err);
    if (rc == 0) {
        rc = agent_reports_begin(agent, &options, err);
    }
    if (rc == 0) {
        rc = agent_sessions_new(agent->options.loop, &agent->identity, &server->sessions, err);
    }
    if (rc != 0) {
        return rc;
    }
    server->cluster =
        alloc_string(agent->options.cluster == NULL ? "default" : agent->options.cluster);
    open_timer(agent, &server->retry);
    open_timer(agent, &server->watch);
    open_timer(agent, &server->tcs_retry);
    uv_timer_start(&server->watch, on_watch, WATCH_MS, WATCH_MS);
    return 0;
}

void agent_server_go(struct agent *agent)
{
    agent->server.step = SERVER_REGISTER;
    server_step(agent);
}

void agent_server_end(struct agent *agent)
{
    struct agent_server *server = &agent->server;
    if (server->sessions != NULL) {
        agent_sessions_close(server->sessions);
        server->acs = NULL;
        server->tcs = NULL;
        agent_close_handle(agent, (uv_handle_t *)&server->retry);
        agent_close_handle(agent, (uv_handle_t *)&server->watch);
        agent_close_handle(agent, (uv_handle_t *)&server->tcs_retry);
    }
    client_free(server->client); // calls no callbacks any more
    server->client = NULL;
    agent_reports_end(agent);
}

void agent_server_deinit(struct agent_server *server)
{
    agent_sessions_free(server->sessions);
    alloc_free(server->acs_url);
    alloc_free(server->tcs_url);
    alloc_free(server->container_instance);
    alloc_free(server->cluster);
}
