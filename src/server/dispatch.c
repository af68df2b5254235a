#include "api/berth.h"
#include "api/ecs.h"
#include "api/ssm.h"
#include "base/clock.h"
#include "base/text.h"
#include "client/token.h"
#include "server/exec.h"
#include "server/protocol.h"
#include "server/server_internal.h"
#include "server/usage.h"

#include <string.h>

#define NODE_OPERATIONS_HINT "The key of a node may only be used by that node's agent."

// ---- replies ----------------------------------------------------------------------------------

static void ready(struct exchange *exchange)
{
    exchange->replied = true;
    metrics_count(exchange->server->metrics, exchange->operation, exchange->code,
                  (uint64_t)(clock_monotonic_ns() - exchange->begin_ns));
    if (exchange->suspended) {
        http_reply_ready(exchange);
    }
}

static void on_durable(struct host_wait *wait)
{
    struct exchange *exchange = CONTAINER_OF(wait, struct exchange, wait);
    exchange->waiting = false;
    ready(exchange);
}

// Refusals, too, tell of state that may not be durable yet.
static void hold(struct exchange *exchange)
{
    exchange->waiting = true;
    exchange->wait.done = on_durable;
    host_wait(exchange->server->options.host, &exchange->wait);
}

static void write_refusal(struct exchange *exchange, const struct refusal *refusal)
{
    if (exchange->operation == NULL) {
        exchange->protocol = exchange->service == NULL ? protocol_of(exchange)->id
                                                       : exchange->service->api->protocol;
    }
    buf_reset(&exchange->reply);
    refusal_write(refusal, exchange->service == NULL ? NULL : exchange->service->api,
                  exchange->protocol, text_of(exchange->request_id), &exchange->reply);
    exchange->status = refusal_status(refusal, exchange->protocol);
    exchange->code = refusal_code(refusal, exchange->protocol);
    exchange->content_type = protocol_get(exchange->protocol)->content_type;
}

void dispatch_refuse(struct exchange *exchange, const struct refusal *refusal)
{
    write_refusal(exchange, refusal);
    ready(exchange);
}

static void refuse(struct exchange *exchange, enum front_error error, struct text message)
{
    struct refusal refusal = refusal_front(error, message);
    dispatch_refuse(exchange, &refusal);
}

void dispatch_respond(struct exchange *exchange, const void *response)
{
    const struct protocol *protocol = protocol_get(exchange->protocol);
    protocol->encode(exchange, response);
    exchange->status = 200;
    exchange->code = "OK";
    exchange->content_type = protocol->content_type;
    hold(exchange);
}

void dispatch_cancel(struct exchange *exchange)
{
    if (exchange->waiting) {
        host_wait_cancel(exchange->server->options.host, &exchange->wait);
        exchange->waiting = false;
    }
    logs_cancel(exchange);
    events_cancel(exchange);
}

// ---- pages ------------------------------------------------------------------------------------

static void write_event_metrics(const struct event_log *log, struct buf *out)
{
    struct event_log_stats stats = {0};
    event_log_stats(log, &stats);
    metrics_write_number(out, "berth_events_total", "counter", "Events since the start.",
                         (double)stats.told);
    metrics_write_number(out, "berth_events_unwritten_total", "counter",
                         "Events that were not written to disk.", (double)stats.unwritten);
    metrics_write_number(out, "berth_events_kept", "gauge", "Events that can be read.",
                         (double)stats.kept);
}

static void write_metrics(struct server *server, struct buf *out)
{
    metrics_write(server->metrics, out);
    struct host_stats stats = {0};
    host_stats(server->options.host, &stats);
    metrics_write_number(out, "berth_state_version", "gauge", "Version of the state in memory.",
                         (double)stats.version_applied);
    metrics_write_number(out, "berth_state_version_durable", "gauge",
                         "Version of the state that is durable.", (double)stats.version_durable);
    metrics_write_number(out, "berth_store_batches_total", "counter",
                         "Batches written to the store.", (double)stats.batch_count);
    metrics_write_number(out, "berth_store_rows_total", "counter", "Rows written to the store.",
                         (double)stats.row_count);
    metrics_write_number(out, "berth_store_write_seconds_total", "counter",
                         "Time that writes to the store took.", (double)stats.write_ns_total / 1e9);
    metrics_write_number(out, "berth_replies_waiting", "gauge", "Replies that wait for the store.",
                         (double)stats.waiting_count);
    metrics_write_number(out, "berth_http_connections", "gauge", "Open HTTP connections.",
                         (double)http_connection_count(server->http));
    metrics_write_number(out, "berth_node_sessions", "gauge", "Nodes with an open session (ACS).",
                         (double)server_sessions_count(server->sessions, false));
    metrics_write_number(out, "berth_telemetry_sessions", "gauge",
                         "Nodes with an open telemetry session (TCS).",
                         (double)server_sessions_count(server->sessions, true));
    if (server->options.write_metrics != NULL) {
        server->options.write_metrics(server->core, clock_wall_ms(), out);
    }
    if (server->options.events != NULL) {
        write_event_metrics(server->options.events, out);
    }
    exec_write_metrics(server->exec, out);
    usage_write(server->usage, clock_wall_ms(), out);
    metrics_write_process(out, server->start_ms);
}

void dispatch_page(struct exchange *exchange, const char *content_type)
{
    exchange->status = 200;
    exchange->code = "OK";
    exchange->content_type = content_type;
    ready(exchange);
}

static bool reading(struct text method)
{
    return text_is(method, "GET") || text_is(method, "HEAD");
}

// Pages that are no operations; they need no signature and tell nothing of any account.
static bool serve_page(struct exchange *exchange)
{
    bool health = text_is(exchange->request.path, "/healthz");
    if (!health && !text_is(exchange->request.path, "/metrics")) {
        return false;
    }
    if (!reading(exchange->request.method)) {
        refuse(exchange, FRONT_METHOD_NOT_ALLOWED, TEXT("This page can only be read with GET."));
        return true;
    }
    if (health) {
        buf_string(&exchange->reply, "{\"status\":\"ok\"}\n");
    } else {
        write_metrics(exchange->server, &exchange->reply);
    }
    dispatch_page(exchange, health ? "application/json" : "text/plain; version=0.0.4");
    return true;
}

// ---- what the server adds to operations -------------------------------------------------------

// A token is of use only when there is an address that other hosts can reach, over TLS.
static bool join_possible(struct exchange *exchange)
{
    if (exchange->operation != &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN] ||
        exchange->server->token_endpoint != NULL) {
        return true;
    }
    struct refusal refusal = refusal_modelled(
        &berth_error_invalid_parameter_exception,
        TEXT("No other host can join this server: it listens on loopback only, without TLS. Start "
             "it with --listen ADDRESS:PORT, where ADDRESS is one that the other hosts can "
             "reach."));
    dispatch_refuse(exchange, &refusal);
    return false;
}

// The engine knows id and secret; where the server is and which CA it has is known here.
static void complete_token(struct exchange *exchange, struct berth_create_join_token_response *out)
{
    struct text rest = out->token;
    struct client_token token = {.token_id = text_cut(&rest, '.'),
                                 .secret = rest,
                                 .ca_sha256 = pki_ca_sha256(exchange->server->options.pki),
                                 .endpoint = text_of(exchange->server->token_endpoint)};
    ASSERT(token.secret.data != NULL);
    out->token = client_token_compose(&token, &exchange->arena);
}

// A node that came over TLS is sent to a session listener with TLS, one on this host to the other.
const char *dispatch_session_url(const struct exchange *exchange)
{
    const struct server_options *options = &exchange->server->options;
    for (size_t i = 0; i < options->session_count; i++) {
        if (options->sessions[i].tls == exchange->tls) {
            return server_session_url(exchange->server, i);
        }
    }
    return options->session_count == 0 ? NULL : server_session_url(exchange->server, 0);
}

static void complete_endpoints(struct exchange *exchange,
                               struct ecs_discover_poll_endpoint_response *out)
{
    const char *url = dispatch_session_url(exchange);
    if (url != NULL) {
        out->endpoint = arena_format(&exchange->arena, "%s/acs/", url);
        out->telemetry_endpoint = arena_format(&exchange->arena, "%s/tcs/", url);
    }
}

// @return false when the exchange was refused instead
static bool complete(struct exchange *exchange, const void *request, void *response)
{
    if (exchange->operation == &ecs_operations[ECS_OP_EXECUTE_COMMAND]) {
        return exec_begin(exchange, request, response);
    }
    if (exchange->operation == &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN]) {
        complete_token(exchange, response);
    } else if (exchange->operation == &ecs_operations[ECS_OP_DISCOVER_POLL_ENDPOINT]) {
        complete_endpoints(exchange, response);
    }
    return true;
}

// ---- operations -------------------------------------------------------------------------------

static bool listed(const char *const *names, const char *name)
{
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(*names, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool authenticate(struct exchange *exchange)
{
    const struct server_service *service = exchange->service;
    if (listed(service->unsigned_operations, exchange->operation->name)) {
        exchange->caller = (struct core_caller){.account = TEXT("000000000000"),
                                                .region = text_of(exchange->server->options.region),
                                                .arn = TEXT("arn:aws:iam::000000000000:anonymous")};
        return true;
    }
    struct auth_result result;
    auth_check(exchange->server, &exchange->request, text_of(service->api->signing_name),
               &exchange->arena, &result);
    if (result.error != FRONT_OK) {
        refuse(exchange, result.error, result.message);
        return false;
    }
    exchange->caller = result.caller;
    if (result.caller.node_id.data != NULL &&
        !listed(service->node_operations, exchange->operation->name)) {
        refuse(exchange, FRONT_ACCESS_DENIED,
               arena_format(&exchange->arena,
                            "User: %.*s is not authorized to perform: %s:%s. " NODE_OPERATIONS_HINT,
                            TEXT_FMT(result.caller.arn), service->api->signing_name,
                            exchange->operation->name));
        return false;
    }
    if (result.role && service->no_roles) {
        refuse(exchange, FRONT_ACCESS_DENIED,
               arena_format(&exchange->arena,
                            "User: %.*s is not authorized to perform: %s:%s. Tasks' roles may not "
                            "manage Berth itself; use the keys of `berth env`.",
                            TEXT_FMT(result.caller.arn), service->api->signing_name,
                            exchange->operation->name));
        return false;
    }
    return true;
}

// Refuse with an error that the operation declares; with the front's own where it declares none.
static void refuse_declared(struct exchange *exchange, const char *name, enum front_error otherwise,
                            struct text message)
{
    const struct api_operation *operation = exchange->operation;
    for (size_t i = 0; i < operation->error_count; i++) {
        if (strcmp(operation->errors[i]->name, name) == 0) {
            struct refusal refusal = refusal_modelled(operation->errors[i], message);
            dispatch_refuse(exchange, &refusal);
            return;
        }
    }
    refuse(exchange, otherwise, message);
}

// ECS says InvalidParameterException for values that do not fit; services that do not model it say
// ValidationException.
static void refuse_values(struct exchange *exchange, const struct shape_error *error)
{
    struct text message =
        arena_format(&exchange->arena, "1 validation error detected: %s", error->text);
    if (exchange->service->validation_exceptions) {
        refuse(exchange, FRONT_VALIDATION, message);
        return;
    }
    bool client = listed(exchange->service->client_exception_operations, exchange->operation->name);
    refuse_declared(exchange, client ? "ClientException" : "InvalidParameterException",
                    FRONT_VALIDATION, message);
}

static void *decode(struct exchange *exchange)
{
    const struct shape_type *type = exchange->operation->input;
    void *request = arena_alloc(&exchange->arena, type->size_bytes);
    struct shape_error error = {0};
    if (protocol_get(exchange->protocol)->decode(exchange, request, &error) != 0) {
        refuse(exchange, FRONT_SERIALIZATION,
               arena_format(&exchange->arena, "%s%s%s", error.path,
                            error.path[0] == '\0' ? "" : " ", error.text));
        return NULL;
    }
    if (shape_validate(type, request, &error) != 0) {
        refuse_values(exchange, &error);
        return NULL;
    }
    return request;
}

static void refuse_unbuilt(struct exchange *exchange)
{
    refuse(exchange, FRONT_NOT_IMPLEMENTED,
           arena_format(&exchange->arena, "The operation %s of %s is not built in Berth yet.",
                        exchange->operation->name, exchange->operation->service->name));
}

static void refuse_fault(struct exchange *exchange, const struct core_call *call)
{
    ASSERT(call->fault != NULL);
    struct refusal refusal =
        refusal_modelled(call->fault, arena_format(&exchange->arena, "%s", call->fault_text));
    refusal.resource_ids = call->fault_resource_ids;
    write_refusal(exchange, &refusal);
    hold(exchange);
}

static void apply(struct exchange *exchange, const void *request)
{
    void *response = arena_alloc(&exchange->arena, exchange->operation->output->size_bytes);
    struct core_call call = {.arena = &exchange->arena};
    int rc = host_request(exchange->server->options.host, &exchange->caller, exchange->operation,
                          &call, request, response);
    if (rc == 0) {
        if (complete(exchange, request, response)) {
            dispatch_respond(exchange, response);
        }
    } else if (rc == ERR_FAULT) {
        refuse_fault(exchange, &call);
    } else if (rc == ERR_UNSUPPORTED) {
        refuse_unbuilt(exchange);
    } else if (rc == ERR_BUSY) {
        refuse(exchange, FRONT_THROTTLING,
               TEXT("Rate exceeded: the store is behind. Try again in a moment."));
    } else if (rc == ERR_FULL_DISK) {
        refuse_declared(exchange, "ServerException", FRONT_UNAVAILABLE,
                        arena_format(&exchange->arena,
                                     "The server's disk is full: nothing can be changed until "
                                     "there is space again where its data is, in '%s'.",
                                     exchange->server->options.data_dir));
    } else {
        refuse_declared(exchange, "ServerException", FRONT_INTERNAL, text_of(err_name(rc)));
    }
}

static void answer_usage(struct exchange *exchange, const void *request)
{
    const struct berth_get_task_usage_request *in = request;
    struct server *server = exchange->server;
    struct berth_get_task_usage_response response = {0};
    response.tasks.items =
        arena_array(&exchange->arena, in->tasks.count, sizeof(*response.tasks.items));
    for (size_t i = 0; i < in->tasks.count; i++) {
        struct text node_id;
        struct text arn;
        bool stopped = false;
        if (server->options.locate(server->core, exchange->caller.account, exchange->caller.region,
                                   in->cluster, in->tasks.items[i], &node_id, &arn,
                                   &stopped) != 0 ||
            stopped) {
            continue;
        }
        struct berth_task_usage *out = &response.tasks.items[response.tasks.count];
        arn = arena_text(&exchange->arena, arn);
        struct text id = text_slice(arn, text_find_last(arn, '/') + 1, arn.size);
        if (usage_get(server->usage, id, clock_wall_ms(), &exchange->arena, out)) {
            out->task_arn = arn;
            response.tasks.count++;
        }
    }
    dispatch_respond(exchange, &response);
}

// Operations that the front answers by itself.
static const struct own_operation {
    const struct api_operation *operation;
    void (*handle)(struct exchange *exchange, const void *request);
    bool locates; // needs options.locate
    bool events;  // needs options.events
} own_operations[] = {
    {&berth_operations[BERTH_OP_GET_TASK_LOGS], logs_request, true, false},
    {&berth_operations[BERTH_OP_GET_TASK_USAGE], answer_usage, true, false},
    {&berth_operations[BERTH_OP_LIST_EVENTS], events_list, false, true},
    {&ssm_operations[SSM_OP_RESUME_SESSION], exec_resume, false, false},
    {&ssm_operations[SSM_OP_TERMINATE_SESSION], exec_terminate, false, false},
};

static const struct own_operation *find_own(const struct exchange *exchange)
{
    const struct server_options *options = &exchange->server->options;
    for (size_t i = 0; i < ARRAY_LEN(own_operations); i++) {
        const struct own_operation *own = &own_operations[i];
        if (exchange->operation == own->operation && (!own->locates || options->locate != NULL) &&
            (!own->events || options->events != NULL)) {
            return own;
        }
    }
    return NULL;
}

void dispatch(struct exchange *exchange)
{
    if (serve_page(exchange) || events_serve_stream(exchange)) {
        return;
    }
    // The API has one address; a GET of it may carry an operation of the query protocol.
    bool post = text_is(exchange->request.method, "POST");
    bool get = text_is(exchange->request.method, "GET") && !text_empty(exchange->request.query);
    if (!text_is(exchange->request.path, "/") || (!post && !get)) {
        refuse(exchange, FRONT_NOT_FOUND,
               TEXT("Nothing is here. The API takes POST requests to /, and there are /events, "
                    "/healthz and /metrics."));
        return;
    }

    const struct protocol *protocol = protocol_of(exchange);
    struct text message = TEXT("");
    enum front_error error = protocol->route(exchange, &message);
    exchange->protocol =
        exchange->service == NULL ? protocol->id : exchange->service->api->protocol;
    if (error != FRONT_OK) {
        exchange->operation = NULL;
        refuse(exchange, error, message);
        return;
    }
    if (!authenticate(exchange) || !join_possible(exchange)) {
        return;
    }
    const struct own_operation *own = find_own(exchange);
    if (own == NULL && !core_handles(exchange->server->core, exchange->operation)) {
        refuse_unbuilt(exchange);
        return;
    }
    void *request = decode(exchange);
    if (request == NULL) {
        return;
    }
    if (own != NULL) {
        own->handle(exchange, request);
    } else {
        apply(exchange, request);
    }
}
