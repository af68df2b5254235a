#include "fixture.h"

#include "api/berth.h"
#include "api/node.h"
#include "api/sts.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "identity/identity.h"
#include "sigv4/sigv4.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 240000

/** Rows in memory, whose writes can be held. */
struct slow_store {
    struct store store; // first
    struct store *rows;
};

struct fixture {
    uv_loop_t loop;
    uv_thread_t thread;
    uv_async_t stop;
    uv_timer_t look; // copies numbers out for the test's thread
    struct core *core;
    struct slow_store slow;
    struct host *host;
    struct pki *pki;
    char directory[64];
    struct server *server;
    char url[128];
    char session_url[128];
    uv_mutex_t lock; // guards what follows
    char log[FIXTURE_LOG_CHARS];
    struct server_stats stats;
    bool check_certificate; // asked for, and not yet done
    bool held;              // the store
    uv_cond_t released;
};

// The engine's modules have no context of their own; tests run one server at a time.
static struct fixture *current;

// ---- what the engine hears of nodes -----------------------------------------------------------

static void note(const char *format, ...)
{
    uv_mutex_lock(&current->lock);
    size_t used = strlen(current->log);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(current->log + used, sizeof(current->log) - used, format, arguments);
    va_end(arguments);
    uv_mutex_unlock(&current->lock);
}

static int node_admit(struct core_call *call, void *state, const void *body, void *response)
{
    (void)state;
    (void)response;
    const struct node_node_admit_request *request = body;
    return text_ends(request->container_instance_arn, TEXT("/alien"))
               ? core_fault(call, &node_error_resource_not_found_exception, "no stock agent's")
               : 0;
}

static int node_instance_status(struct core_call *call, void *state, const void *body,
                                void *response)
{
    (void)call;
    (void)state;
    (void)response;
    const struct node_node_instance_status_request *request = body;
    note("%.*s %.*s;", TEXT_FMT(request->statuses.items[0].type),
         TEXT_FMT(request->statuses.items[0].status));
    return 0;
}

static int node_connect(struct core_call *call, void *state, const void *body, void *response)
{
    (void)state;
    const struct node_node_connect_request *request = body;
    struct node_node_connect_response *out = response;
    if (text_is(request->container_instance_arn, "arn:not-mine")) {
        return core_fault(call, &node_error_resource_not_found_exception,
                          "that instance is not yours");
    }
    note("connect %.*s %.*s %s;", TEXT_FMT(call->caller->node_id),
         TEXT_FMT(request->container_instance_arn), request->berth_agent ? "berth" : "stock");
    out->has_lease_ms = true;
    out->lease_ms = 3000;
    const struct session_task_manifest_message manifest = {
        .message_id = TEXT("m1"),
        .container_instance_arn = request->container_instance_arn,
        .has_timeline = true,
        .timeline = 1,
        .tasks = {.items = SHAPE_EMPTY},
    };
    core_effect(call, CORE_EFFECT_NODE, call->caller->node_id, "TaskManifestMessage",
                &session_task_manifest_message_shape, &manifest);
    return 0;
}

static int node_disconnect(struct core_call *call, void *state, const void *body, void *response)
{
    (void)state;
    (void)body;
    (void)response;
    note("disconnect %.*s;", TEXT_FMT(call->caller->node_id));
    return 0;
}

static int node_beat(struct core_call *call, void *state, const void *body, void *response)
{
    (void)call;
    (void)state;
    (void)body;
    (void)response;
    return 0;
}

static int node_ack(struct core_call *call, void *state, const void *body, void *response)
{
    (void)state;
    (void)response;
    const struct node_node_ack_request *request = body;
    note("ack %.*s %.*s;", TEXT_FMT(call->caller->node_id), TEXT_FMT(request->message_id));
    return 0;
}

static int node_candidates(struct core_call *call, void *state, const void *body, void *response)
{
    (void)call;
    (void)state;
    (void)response;
    const struct node_node_stop_candidates_request *request = body;
    note("candidates %zu;", request->stop_candidates.count);
    return 0;
}

static int node_health(struct core_call *call, void *state, const void *body, void *response)
{
    (void)call;
    (void)state;
    (void)response;
    const struct node_node_health_request *request = body;
    note("health %.*s;", TEXT_FMT(request->tasks.items[0].containers.items[0].health_status));
    return 0;
}

static int node_timeline(struct core_call *call, void *state, const void *body, void *response)
{
    (void)call;
    (void)state;
    (void)response;
    const struct node_node_timeline_request *request = body;
    note("timeline %.*s;", TEXT_FMT(request->tasks.items[0].task_arn));
    return 0;
}

static const struct core_handler node_handlers[] = {
    {&node_operations[NODE_OP_NODE_CONNECT], node_connect},
    {&node_operations[NODE_OP_NODE_DISCONNECT], node_disconnect},
    {&node_operations[NODE_OP_NODE_BEAT], node_beat},
    {&node_operations[NODE_OP_NODE_ACK], node_ack},
    {&node_operations[NODE_OP_NODE_STOP_CANDIDATES], node_candidates},
    {&node_operations[NODE_OP_NODE_HEALTH], node_health},
    {&node_operations[NODE_OP_NODE_TIMELINE], node_timeline},
    {&node_operations[NODE_OP_NODE_ADMIT], node_admit},
    {&node_operations[NODE_OP_NODE_INSTANCE_STATUS], node_instance_status},
};

static const struct core_module node_module = {
    .name = "nodes", .handlers = node_handlers, .handler_count = ARRAY_LEN(node_handlers)};

// ---- the store --------------------------------------------------------------------------------

static int slow_load(struct store *store, store_visit_fn visit, void *context,
                     uint64_t *out_version, struct err *err)
{
    struct slow_store *slow = CONTAINER_OF(store, struct slow_store, store);
    return store_load(slow->rows, visit, context, out_version, err);
}

static int slow_write(struct store *store, uint64_t version, const struct store_row *rows,
                      size_t row_count, struct err *err)
{
    struct slow_store *slow = CONTAINER_OF(store, struct slow_store, store);
    uv_mutex_lock(&current->lock);
    bool held = current->held;
    uv_mutex_unlock(&current->lock);
    if (held) {
        note("writing;");
    }
    uv_mutex_lock(&current->lock);
    while (current->held) {
        uv_cond_wait(&current->released, &current->lock);
    }
    uv_mutex_unlock(&current->lock);
    return store_write(slow->rows, version, rows, row_count, err);
}

static const struct store_ops slow_ops = {.name = "slow", .load = slow_load, .write = slow_write};

void fixture_hold_store(struct fixture *fixture, bool hold)
{
    uv_mutex_lock(&fixture->lock);
    fixture->held = hold;
    uv_cond_signal(&fixture->released);
    uv_mutex_unlock(&fixture->lock);
}

// ---- the server -------------------------------------------------------------------------------

static const struct core_module *const modules[] = {&identity_module, &toy_module, &node_module};

static const char *const unsigned_operations[] = {"JoinNode", NULL};
static const char *const node_allowed[] = {"ShowItem", NULL};
static const struct server_service services[] = {
    {.api = &toy_service, .node_operations = node_allowed},
    {.api = &sts_service},
    {.api = &berth_service, .unsigned_operations = unsigned_operations},
};

static bool find_key(void *context, struct text key_id, struct server_key *out_key)
{
    (void)context;
    if (text_is(key_id, FIXTURE_KEY)) {
        *out_key = (struct server_key){.secret = TEXT(FIXTURE_SECRET),
                                       .account = TEXT(FIXTURE_ACCOUNT),
                                       .arn = TEXT("arn:aws:iam::" FIXTURE_ACCOUNT ":root")};
        return true;
    }
    if (text_is(key_id, FIXTURE_NODE_KEY)) {
        *out_key = (struct server_key){.secret = TEXT(FIXTURE_NODE_SECRET),
                                       .account = TEXT(FIXTURE_ACCOUNT),
                                       .arn = TEXT("arn:aws:iam::" FIXTURE_ACCOUNT ":node/node-1"),
                                       .node_id = TEXT(FIXTURE_NODE)};
        return true;
    }
    return false;
}

static int locate(const struct core *core, struct text account, struct text region,
                  struct text cluster, struct text task, struct text *out_node_id,
                  struct text *out_task_arn, bool *out_stopped)
{
    (void)core;
    (void)account;
    (void)region;
    (void)cluster;
    if (text_is(task, "nowhere")) {
        return ERR_NOT_FOUND;
    }
    *out_node_id = text_is(task, "away") ? TEXT("node-2") : TEXT(FIXTURE_NODE);
    *out_task_arn = TEXT("arn:task");
    *out_stopped = false;
    return 0;
}

static void on_effect(void *context, const struct core_effect *effect)
{
    struct fixture *fixture = context;
    if (fixture->server != NULL) {
        server_effect(fixture->server, effect);
    }
}

static void on_fatal(void *context, const struct err *err)
{
    (void)context;
    fprintf(stderr, "the store failed: %s\n", err->text);
    abort();
}

static void on_stop(uv_async_t *async)
{
    uv_stop(async->loop);
}

static void on_look(uv_timer_t *timer)
{
    struct fixture *fixture = CONTAINER_OF(timer, struct fixture, look);
    struct server_stats stats;
    server_stats(fixture->server, &stats);
    uv_mutex_lock(&fixture->lock);
    fixture->stats = stats;
    bool check = fixture->check_certificate;
    uv_mutex_unlock(&fixture->lock);
    if (check) {
        server_check_certificate(fixture->server);
        uv_mutex_lock(&fixture->lock);
        fixture->check_certificate = false;
        uv_mutex_unlock(&fixture->lock);
    }
}

static void run(void *context)
{
    struct fixture *fixture = context;
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&fixture->stop, NULL);
    uv_close((uv_handle_t *)&fixture->look, NULL);
    server_stop(fixture->server);
    fixture->server = NULL;
    host_stop(fixture->host);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
}

static void start_host(struct fixture *fixture)
{
    struct err err;
    fixture->core = core_new(modules, ARRAY_LEN(modules));
    fixture->slow = (struct slow_store){.store.ops = &slow_ops, .rows = store_memory_new()};
    const struct host_options options = {.loop = &fixture->loop,
                                         .core = fixture->core,
                                         .store = &fixture->slow.store,
                                         .on_effect = on_effect,
                                         .on_fatal = on_fatal,
                                         .context = fixture};
    assert_int_equal(host_start(&options, &fixture->host, &err), 0);
}

struct fixture *fixture_new(const struct fixture_options *options)
{
    struct fixture *fixture = ALLOC(struct fixture);
    struct err err = {0};
    current = fixture;
    uv_mutex_init(&fixture->lock);
    uv_cond_init(&fixture->released);
    uv_loop_init(&fixture->loop);
    uv_async_init(&fixture->loop, &fixture->stop, on_stop);
    uv_timer_init(&fixture->loop, &fixture->look);
    uv_timer_start(&fixture->look, on_look, 10, 10);
    start_host(fixture);
    if (options->tls) {
        snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/berth-pki-XXXXXX");
        assert_non_null(mkdtemp(fixture->directory));
        const struct pki_names names = {NULL, 0};
        int64_t age_ms = options->certificate_age_days * INT64_C(86400000);
        int64_t made_ms = clock_wall_ms() - age_ms;
        assert_int_equal(pki_open(fixture->directory, &names, made_ms, &fixture->pki, &err), 0);
    }
    const struct server_options server = {
        .loop = &fixture->loop,
        .host = fixture->host,
        .services = services,
        .service_count = ARRAY_LEN(services),
        .api = {{.address = "127.0.0.1", .tls = options->tls}},
        .api_count = 1,
        .sessions = {{.address = "127.0.0.1", .tls = options->tls}},
        .session_count = 1,
        .pki = fixture->pki,
        .certificate_check_ms = options->certificate_check_ms,
        .any_credentials = options->any_credentials,
        .request_timeout_ms = options->request_timeout_ms,
        .region = "us-east-1",
        .find_key = find_key,
        .locate = locate,
        .context = fixture,
    };
    if (server_start(&server, &fixture->server, &err) != 0) {
        print_message("%s\n", err.text);
        fail();
    }
    snprintf(fixture->url, sizeof(fixture->url), "%s", server_url(fixture->server, 0));
    snprintf(fixture->session_url, sizeof(fixture->session_url), "%s",
             server_session_url(fixture->server, 0));
    assert_int_equal(uv_thread_create(&fixture->thread, run, fixture), 0);
    return fixture;
}

void fixture_free(struct fixture *fixture)
{
    if (fixture == NULL) {
        return;
    }
    uv_async_send(&fixture->stop);
    uv_thread_join(&fixture->thread);
    // Nothing may be left in the loop.
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    core_free(fixture->core);
    store_close(fixture->slow.rows);
    pki_free(fixture->pki);
    if (fixture->directory[0] != '\0') {
        struct err err;
        assert_int_equal(file_remove_tree(AT_FDCWD, fixture->directory, &err), 0);
    }
    uv_cond_destroy(&fixture->released);
    uv_mutex_destroy(&fixture->lock);
    alloc_free(fixture);
}

uint16_t fixture_port(const struct fixture *fixture)
{
    struct text url = text_of(fixture->url);
    uint64_t port = 0;
    assert_int_equal(text_to_u64(text_slice(url, text_find_last(url, ':') + 1, url.size), &port),
                     0);
    return (uint16_t)port;
}

const char *fixture_url(const struct fixture *fixture)
{
    return fixture->url;
}

const char *fixture_session_url(const struct fixture *fixture)
{
    return fixture->session_url;
}

const struct pki *fixture_pki(const struct fixture *fixture)
{
    return fixture->pki;
}

void fixture_check_certificate(struct fixture *fixture)
{
    uv_mutex_lock(&fixture->lock);
    fixture->check_certificate = true;
    uv_mutex_unlock(&fixture->lock);
    for (int64_t end_ns = clock_monotonic_ns() + DEADLINE_MS * INT64_C(1000000);;) {
        uv_mutex_lock(&fixture->lock);
        bool done = !fixture->check_certificate;
        uv_mutex_unlock(&fixture->lock);
        if (done) {
            return;
        }
        assert_true(clock_monotonic_ns() < end_ns);
        poll(NULL, 0, 5);
    }
}

void fixture_expect(struct fixture *fixture, const char *text)
{
    for (int64_t end_ns = clock_monotonic_ns() + DEADLINE_MS * INT64_C(1000000);;) {
        uv_mutex_lock(&fixture->lock);
        bool found = strstr(fixture->log, text) != NULL;
        uv_mutex_unlock(&fixture->lock);
        if (found) {
            return;
        }
        if (clock_monotonic_ns() > end_ns) {
            print_message("the engine heard '%s', not '%s'\n", fixture->log, text);
            fail();
        }
        poll(NULL, 0, 5);
    }
}

void fixture_expect_connections(struct fixture *fixture, size_t count)
{
    for (int64_t end_ns = clock_monotonic_ns() + DEADLINE_MS * INT64_C(1000000);;) {
        uv_mutex_lock(&fixture->lock);
        size_t now = fixture->stats.connection_count;
        uv_mutex_unlock(&fixture->lock);
        if (now == count) {
            return;
        }
        if (clock_monotonic_ns() > end_ns) {
            print_message("%zu connections, not %zu\n", now, count);
            fail();
        }
        poll(NULL, 0, 5);
    }
}

// ---- the wire ---------------------------------------------------------------------------------

void wire_open(struct wire *wire, uint16_t port)
{
    wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(wire->fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(wire->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void wire_close(struct wire *wire)
{
    if (wire->fd > 0) {
        close(wire->fd);
    }
    buf_deinit(&wire->received);
    *wire = (struct wire){0};
}

// The server may have closed already: what it said before is still to be read.
void wire_send(struct wire *wire, struct text bytes)
{
    size_t sent = 0;
    while (sent < bytes.size) {
        ssize_t size = send(wire->fd, bytes.data + sent, bytes.size - sent, MSG_NOSIGNAL);
        if (size <= 0) {
            return;
        }
        sent += (size_t)size;
    }
}

static ssize_t receive(struct wire *wire)
{
    struct pollfd ready = {.fd = wire->fd, .events = POLLIN};
    if (poll(&ready, 1, DEADLINE_MS) != 1) {
        print_message("no answer; so far: '%.*s'\n", TEXT_FMT(buf_view(&wire->received)));
        fail();
    }
    char bytes[65536];
    ssize_t size = recv(wire->fd, bytes, sizeof(bytes), 0);
    if (size > 0) {
        buf_add(&wire->received, bytes, (size_t)size);
    }
    return size;
}

struct text wire_header(const struct wire_answer *answer, const char *name)
{
    for (struct text rest = answer->head; rest.data != NULL;) {
        struct text value = text_cut(&rest, '\n');
        struct text found = text_cut(&value, ':');
        if (text_equal_nocase(found, text_of(name))) {
            return text_trim(value);
        }
    }
    return (struct text){0};
}

struct wire_answer wire_read(struct wire *wire)
{
    struct wire_answer answer = {0};
    static const char end[] = "\r\n\r\n";
    const char *found = NULL;
    while (wire->received.size == 0 ||
           (found = memmem(wire->received.data, wire->received.size, end, 4)) == NULL) {
        if (receive(wire) <= 0) {
            return answer;
        }
    }
    size_t head_size = (size_t)(found - wire->received.data) + 4;
    answer.head = (struct text){wire->received.data, head_size};
    uint64_t length = 0;
    struct text header = wire_header(&answer, "content-length");
    if (header.data != NULL) {
        assert_int_equal(text_to_u64(header, &length), 0);
    }
    while (wire->received.size < head_size + length) {
        if (receive(wire) <= 0) {
            return (struct wire_answer){0};
        }
    }
    // The answer moves to a copy, so that what came behind it stays.
    static struct arena arena;
    arena_reset(&arena);
    struct text all = arena_text(&arena, (struct text){wire->received.data, head_size + length});
    buf_consume(&wire->received, head_size + length);
    answer.head = text_slice(all, 0, head_size);
    answer.body = text_slice(all, head_size, all.size);
    uint64_t status = 0;
    assert_int_equal(text_to_u64(text_slice(all, 9, 12), &status), 0);
    answer.status = (int)status;
    return answer;
}

bool wire_more(struct wire *wire)
{
    return receive(wire) > 0;
}

void wire_expect_closed(struct wire *wire)
{
    while (receive(wire) > 0) {}
}

void wire_request(struct buf *out, const char *target, struct text body,
                  const struct wire_sign *sign)
{
    static const struct wire_sign usual;
    sign = sign == NULL ? &usual : sign;
    AUTO(arena_deinit) struct arena arena = {0};
    const struct sigv4_header headers[] = {
        {TEXT("Host"), TEXT("localhost")},
        {TEXT("Content-Type"), TEXT("application/x-amz-json-1.1")},
        {TEXT("X-Amz-Target"), text_of(target)},
    };
    const struct sigv4_request request = {.method = TEXT("POST"),
                                          .path = TEXT("/"),
                                          .headers = headers,
                                          .header_count = ARRAY_LEN(headers),
                                          .body = body};
    const struct sigv4_identity identity = {
        .key_id = text_of(sign->key_id == NULL ? FIXTURE_KEY : sign->key_id),
        .secret = text_of(sign->secret == NULL ? FIXTURE_SECRET : sign->secret),
        .region = text_of(sign->region == NULL ? "eu-west-1" : sign->region),
        .service = text_of(sign->service == NULL ? "toy" : sign->service),
    };
    int64_t now_ms = clock_wall_ms() + sign->skew_ms;
    struct text query = TEXT("");
    struct sigv4_signature signature = {0};
    if (sign->presign) {
        query = sigv4_presign(&request, &identity, now_ms, 3600, &arena);
    } else {
        sigv4_sign(&request, &identity, now_ms, &arena, &signature);
    }
    buf_format(out, "POST /%s%.*s HTTP/1.1\r\n", query.size == 0 ? "" : "?", TEXT_FMT(query));
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        buf_format(out, "%.*s: %.*s\r\n", TEXT_FMT(headers[i].name), TEXT_FMT(headers[i].value));
    }
    if (!sign->presign) {
        buf_format(out, "X-Amz-Date: %.*s\r\nX-Amz-Content-Sha256: %.*s\r\nAuthorization: %.*s\r\n",
                   TEXT_FMT(signature.amz_date), TEXT_FMT(signature.content_sha256),
                   TEXT_FMT(signature.authorization));
    }
    buf_format(out, "Content-Length: %zu\r\n\r\n", body.size);
    buf_text(out, body);
}

struct wire_answer wire_call(struct wire *wire, const char *target, const char *body,
                             const struct wire_sign *sign)
{
    AUTO(buf_deinit) struct buf request = {0};
    wire_request(&request, target, text_of(body), sign);
    wire_send(wire, buf_view(&request));
    return wire_read(wire);
}
