#include "client/client.h"

#include "base/clock.h"
#include "base/text.h"
#include "client/client_internal.h"
#include "shape/json.h"

#include <pthread.h>
#include <string.h>

// The largest answer is a page of descriptions or a megabyte of a container's output.
#define REPLY_BYTES_MAX ((size_t)16 << 20)
// What an endpoint of somebody else may answer to a client_post.
#define POST_REPLY_BYTES_MAX ((size_t)64 << 10)
// Of the server's clock to ours, before its time is taken for signatures.
#define CLOCK_OFF_MS 60000
// Handles of finished calls kept for the next ones.
#define IDLE_HANDLES_MAX 4

struct client {
    uv_loop_t *loop;
    char *url;
    struct text authority; // host:port, part of url
    char *ca_file;
    char *key_id;
    char *secret;
    char *session_token;
    char *region;
    bool pinned;
    struct client_pin pin;
    CURLM *multi; // NULL without a loop, and once it is being freed
    uv_timer_t timer;
    CURL *easy_wait; // of blocking calls
    CURL *idle[IDLE_HANDLES_MAX];
    size_t idle_count;
    struct client_request *first;
    bool closing;
    int open_handles;
    int64_t clock_offset_ms; // of the server's clock to ours, see note_clock
};

// A socket of libcurl's that the loop watches.
struct watch {
    uv_poll_t poll;
    struct client *client;
    curl_socket_t socket;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
    ASSERT(rc == CURLE_OK);
}

// ---- one request ------------------------------------------------------------------------------

static size_t on_reply(char *bytes, size_t size, size_t count, void *context)
{
    struct client_request *request = context;
    buf_add(&request->reply, bytes, size * count);
    return request->reply.full ? 0 : size * count;
}

static void add_header(struct client_request *request, const char *name, struct text value)
{
    AUTO(alloc_string) char *line = alloc_format("%s: %.*s", name, TEXT_FMT(value));
    struct curl_slist *headers = curl_slist_append(request->headers, line);
    if (headers == NULL) {
        base_out_of_memory(strlen(line));
    }
    request->headers = headers;
}

static void add_signed_headers(struct client_request *request)
{
    struct client *client = request->client;
    const struct api_service *service = request->operation->service;
    struct text target =
        arena_format(&request->arena, "%s.%s", service->target_prefix, request->operation->name);
    const struct sigv4_header headers[] = {
        {TEXT("Host"), client->authority},
        {TEXT("Content-Type"), TEXT("application/x-amz-json-1.1")},
        {TEXT("X-Amz-Target"), target},
    };
    add_header(request, "Host", headers[0].value);
    add_header(request, "Content-Type", headers[1].value);
    add_header(request, "X-Amz-Target", headers[2].value);
    // libcurl would wait for `100 Continue` before a larger body.
    add_header(request, "Expect", TEXT(""));
    if (client->key_id == NULL) {
        return;
    }
    const struct sigv4_request to_sign = {.method = TEXT("POST"),
                                          .path = TEXT("/"),
                                          .headers = headers,
                                          .header_count = ARRAY_LEN(headers),
                                          .body = buf_view(&request->body)};
    const struct sigv4_identity identity = {.key_id = text_of(client->key_id),
                                            .secret = text_of(client->secret),
                                            .session_token = text_of(client->session_token),
                                            .region = text_of(client->region),
                                            .service = text_of(service->signing_name)};
    struct sigv4_signature signature;
    sigv4_sign(&to_sign, &identity, clock_wall_ms() + client->clock_offset_ms, &request->arena,
               &signature);
    add_header(request, "X-Amz-Date", signature.amz_date);
    add_header(request, "X-Amz-Content-Sha256", signature.content_sha256);
    add_header(request, "Authorization", signature.authorization);
    if (client->session_token != NULL) {
        add_header(request, "X-Amz-Security-Token", identity.session_token);
    }
}

static const char *request_url(const struct client_request *request)
{
    return request->url != NULL ? request->url : request->client->url;
}

static void set_options(struct client_request *request, int timeout_ms)
{
    struct client *client = request->client;
    CURL *easy = request->easy;
    curl_easy_setopt(easy, CURLOPT_URL, request_url(request));
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "berth");
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.data);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"); // Berth's servers are never behind one
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (client->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    }
    if (client->pinned) {
        client_pin_install(easy, &client->pin);
    }
}

static CURL *easy_take(struct client *client)
{
    if (client->idle_count > 0) {
        return client->idle[--client->idle_count];
    }
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        base_out_of_memory(sizeof(void *));
    }
    return easy;
}

static void easy_give(struct client *client, CURL *easy)
{
    if (client->closing || client->idle_count == IDLE_HANDLES_MAX) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    client->idle[client->idle_count++] = easy;
}

static void request_init(struct client_request *request, struct client *client,
                         const struct api_operation *operation, const void *input)
{
    ASSERT(operation->service->protocol == API_JSON_1_1);
    *request = (struct client_request){.client = client, .operation = operation};
    request->reply.limit_bytes = REPLY_BYTES_MAX;
    json_encode(operation->input, input, &request->body);
    add_signed_headers(request);
}

static void request_deinit(struct client_request *request)
{
    curl_slist_free_all(request->headers);
    buf_deinit(&request->body);
    buf_deinit(&request->reply);
    arena_deinit(&request->arena);
}
AUTO_VALUE(struct client_request, request_deinit)

// ---- results ----------------------------------------------------------------------------------

// The body of a refusal: {"__type": "prefix#Code", "message": ".."}.
struct fault {
    struct text type;
    struct text message;
    struct text message_capital;
};

static const struct shape_member fault_members[] = {
    {.name = "__type",
     .type = &shape_text,
     .number = 1,
     .offset = offsetof(struct fault, type),
     .has_offset = SHAPE_NO_OFFSET,
     .min = SHAPE_NO_MIN,
     .max = SHAPE_NO_MAX},
    {.name = "message",
     .type = &shape_text,
     .number = 2,
     .offset = offsetof(struct fault, message),
     .has_offset = SHAPE_NO_OFFSET,
     .min = SHAPE_NO_MIN,
     .max = SHAPE_NO_MAX},
    {.name = "Message",
     .type = &shape_text,
     .number = 3,
     .offset = offsetof(struct fault, message_capital),
     .has_offset = SHAPE_NO_OFFSET,
     .min = SHAPE_NO_MIN,
     .max = SHAPE_NO_MAX},
};
static const uint16_t fault_by_name[] = {2, 0, 1};
static const struct shape_type fault_type = {
    .kind = SHAPE_STRUCT,
    .name = "Fault",
    .size_bytes = sizeof(struct fault),
    .align_bytes = _Alignof(struct fault),
    .members = fault_members,
    .by_name = fault_by_name,
    .member_count = ARRAY_LEN(fault_members),
};

static void read_fault(struct client_request *request, struct client_result *result)
{
    struct fault fault = {0};
    struct shape_error problem;
    if (json_decode(&fault_type, buf_view(&request->reply), &request->arena, &fault, &problem) !=
            0 ||
        fault.type.data == NULL) {
        result->fault_code = TEXT("UnknownError");
        result->message =
            arena_format(&request->arena, "HTTP status %d without an error that we know from %s",
                         result->http_status, request->client->url);
        return;
    }
    size_t hash = text_find_last(fault.type, '#');
    result->fault_code =
        hash == SIZE_MAX ? fault.type : text_slice(fault.type, hash + 1, fault.type.size);
    result->message = fault.message.data != NULL           ? fault.message
                      : fault.message_capital.data != NULL ? fault.message_capital
                                                           : TEXT("");
}

// A signature is valid for some minutes around the server's clock. One of ours that is off by more
// than requests and whole seconds explain signs with the server's time from then on.
static void note_clock(struct client_request *request)
{
    struct curl_header *header = NULL;
    if (curl_easy_header(request->easy, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
        return;
    }
    time_t server_s = curl_getdate(header->value, NULL);
    int64_t offset_ms = (int64_t)server_s * 1000 - clock_wall_ms();
    if (server_s > 0) {
        bool off = offset_ms > CLOCK_OFF_MS || offset_ms < -CLOCK_OFF_MS;
        request->client->clock_offset_ms = off ? offset_ms : 0;
    }
}

int64_t client_clock_offset_ms(const struct client *client)
{
    return client->clock_offset_ms;
}

// What came of a transfer. A response is decoded into request->arena.
static void read_result(struct client_request *request, CURLcode code, struct client_result *result)
{
    long status = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    result->http_status = (int)status;
    if (code == CURLE_OK && request->url == NULL) {
        note_clock(request);
    }
    if (code != CURLE_OK) {
        const char *why =
            request->error_text[0] != '\0' ? request->error_text : curl_easy_strerror(code);
        result->rc = code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_CLOSED;
        result->http_status = 0;
        result->message = arena_format(&request->arena, "%s: %s", request_url(request), why);
        return;
    }
    if (request->operation == NULL) {
        result->rc = status >= 200 && status <= 299 ? 0 : ERR_FAULT;
        result->body = buf_view(&request->reply);
        result->message = result->rc == 0 ? (struct text){0}
                                          : arena_format(&request->arena, "%s: HTTP status %ld",
                                                         request_url(request), status);
        return;
    }
    if (status != 200) {
        result->rc = ERR_FAULT;
        read_fault(request, result);
        return;
    }
    const struct shape_type *type = request->operation->output;
    void *response = arena_alloc(&request->arena, type->size_bytes);
    struct shape_error problem;
    if (json_decode(type, buf_view(&request->reply), &request->arena, response, &problem) != 0) {
        result->rc = ERR_CLOSED;
        result->message = arena_format(&request->arena, "%s: the answer to %s is damaged: %s %s",
                                       request->client->url, request->operation->name, problem.path,
                                       problem.text);
        return;
    }
    result->response = response;
}

// ---- asynchronous calls -----------------------------------------------------------------------

static void request_unlink(struct client_request *request)
{
    struct client *client = request->client;
    if (request->previous != NULL) {
        request->previous->next = request->next;
    } else {
        client->first = request->next;
    }
    if (request->next != NULL) {
        request->next->previous = request->previous;
    }
}

static void request_free(struct client_request *request)
{
    request_deinit(request);
    alloc_free(request);
}

// The callback may free the client: its memory then stays until the loop closed its timer.
static void collect(struct client *client)
{
    int left = 0;
    CURLMsg *message = NULL;
    while (client->multi != NULL &&
           (message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        struct client_request *request = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
        curl_multi_remove_handle(client->multi, easy);
        request_unlink(request);
        struct client_result result = {0};
        read_result(request, code, &result);
        easy_give(client, easy);
        request->done(request->context, &result);
        request_free(request);
    }
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = CONTAINER_OF(poll, struct watch, poll);
    struct client *client = watch->client;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    int running = 0;
    curl_multi_socket_action(client->multi, watch->socket, flags, &running);
    collect(client);
}

static void on_timer(uv_timer_t *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, timer);
    int running = 0;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(client);
}

static int set_timer(CURLM *multi, long timeout_ms, void *context)
{
    (void)multi;
    struct client *client = context;
    if (client->closing) {
        return 0;
    }
    if (timeout_ms < 0) {
        uv_timer_stop(&client->timer);
    } else {
        uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

static void client_release(struct client *client)
{
    alloc_free(client->url);
    alloc_free(client->ca_file);
    alloc_free(client->key_id);
    if (client->secret != NULL) {
        explicit_bzero(client->secret, strlen(client->secret));
    }
    alloc_free(client->secret);
    alloc_free(client->session_token);
    alloc_free(client->region);
    buf_deinit(&client->pin.ca_pem);
    alloc_free(client);
}

static void handle_closed(struct client *client)
{
    client->open_handles--;
    if (client->closing && client->open_handles == 0) {
        client_release(client);
    }
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = CONTAINER_OF((uv_poll_t *)handle, struct watch, poll);
    struct client *client = watch->client;
    alloc_free(watch);
    handle_closed(client);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(CONTAINER_OF((uv_timer_t *)handle, struct client, timer));
}

static int watch_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *known)
{
    (void)easy;
    struct client *client = context;
    struct watch *watch = known;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            uv_poll_stop(&watch->poll);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
            curl_multi_assign(client->multi, socket, NULL);
        }
        return 0;
    }
    if (watch == NULL) {
        watch = ALLOC(struct watch);
        watch->client = client;
        watch->socket = socket;
        if (uv_poll_init_socket(client->loop, &watch->poll, socket) != 0) {
            alloc_free(watch);
            return -1;
        }
        client->open_handles++;
        curl_multi_assign(client->multi, socket, watch);
    }
    int events = (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    return uv_poll_start(&watch->poll, events, on_socket) == 0 ? 0 : -1;
}

static void send_off(struct client_request *call, int timeout_ms)
{
    struct client *client = call->client;
    call->easy = easy_take(client);
    set_options(call, timeout_ms);
    call->next = client->first;
    if (client->first != NULL) {
        client->first->previous = call;
    }
    client->first = call;
    CURLMcode rc = curl_multi_add_handle(client->multi, call->easy);
    ASSERT(rc == CURLM_OK);
}

void client_call(struct client *client, const struct api_operation *operation, const void *request,
                 int timeout_ms, client_done_fn done, void *context)
{
    ASSERT(client->multi != NULL);
    ASSERT(client->url != NULL);
    struct client_request *call = ALLOC(struct client_request);
    request_init(call, client, operation, request);
    call->done = done;
    call->context = context;
    send_off(call, timeout_ms);
}

void client_post(struct client *client, struct text url, struct text body, int timeout_ms,
                 client_done_fn done, void *context)
{
    ASSERT(client->multi != NULL);
    struct client_request *call = ALLOC(struct client_request);
    *call = (struct client_request){.client = client, .done = done, .context = context};
    call->url = arena_format(&call->arena, "%.*s", TEXT_FMT(url)).data;
    call->reply.limit_bytes = POST_REPLY_BYTES_MAX;
    buf_text(&call->body, body);
    add_header(call, "Content-Type", TEXT("application/json"));
    // libcurl would wait for `100 Continue` before a larger body.
    add_header(call, "Expect", TEXT(""));
    send_off(call, timeout_ms);
}

// ---- blocking calls ---------------------------------------------------------------------------

int client_call_wait(struct client *client, const struct api_operation *operation,
                     const void *request, int timeout_ms, struct arena *arena, void *out_response,
                     struct err *err)
{
    AUTO(request_deinit) struct client_request call = {0};
    request_init(&call, client, operation, request);
    if (client->easy_wait == NULL) {
        client->easy_wait = easy_take(client);
    }
    // Resetting keeps the connection.
    curl_easy_reset(client->easy_wait);
    call.easy = client->easy_wait;
    set_options(&call, timeout_ms);
    CURLcode code = curl_easy_perform(call.easy);

    struct client_result result = {0};
    read_result(&call, code, &result);
    if (result.rc == ERR_FAULT) {
        return err_set(err, ERR_FAULT, "%.*s: %.*s", TEXT_FMT(result.fault_code),
                       TEXT_FMT(result.message));
    }
    if (result.rc != 0) {
        return err_set(err, result.rc, "%.*s", TEXT_FMT(result.message));
    }
    // A shallow copy of a deep copy: the struct is the caller's, what it points to the arena's.
    memcpy(out_response, shape_copy(operation->output, result.response, arena),
           operation->output->size_bytes);
    return 0;
}

// ---- life -------------------------------------------------------------------------------------

static char *copy_or_null(const char *string)
{
    return string == NULL ? NULL : alloc_string(string);
}

static int check_endpoint(const char *endpoint, struct text *out_authority, struct err *err)
{
    struct text text = text_of(endpoint);
    size_t scheme = text_starts(text, TEXT("http://"))    ? 7
                    : text_starts(text, TEXT("https://")) ? 8
                                                          : 0;
    struct text authority = text_slice(text, scheme, text.size);
    while (text_ends(authority, TEXT("/"))) {
        authority.size--;
    }
    if (scheme == 0 || authority.size == 0 || text_find(authority, '/') != SIZE_MAX ||
        text_find(authority, '@') != SIZE_MAX) {
        return err_set(err, ERR_INVALID,
                       "endpoint '%s' is not of the form http://HOST:PORT or https://HOST:PORT",
                       endpoint);
    }
    *out_authority = authority;
    return 0;
}

static void start_multi(struct client *client, long connection_max)
{
    client->multi = curl_multi_init();
    if (client->multi == NULL) {
        base_out_of_memory(sizeof(void *));
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, connection_max);
    int rc = uv_timer_init(client->loop, &client->timer);
    ASSERT(rc == 0);
    client->open_handles++;
}

int client_new(const struct client_options *options, struct client **out_client, struct err *err)
{
    ASSERT(options->endpoint != NULL || options->loop != NULL);
    IGNORE(pthread_once(&curl_once, curl_start), "fails for a broken argument only");
    struct text authority = {0};
    int rc = options->endpoint == NULL ? 0 : check_endpoint(options->endpoint, &authority, err);
    if (rc != 0) {
        return rc;
    }
    struct client_pin pin = {0};
    if (options->pinned_ca_sha256 != NULL &&
        text_unhex(text_of(options->pinned_ca_sha256), pin.sha256, sizeof(pin.sha256)) != 0) {
        return err_set(err, ERR_INVALID, "the hash of the CA is not 64 hex digits");
    }
    if (options->key_id != NULL && (options->secret == NULL || options->region == NULL)) {
        return err_set(err, ERR_INVALID, "a key needs its secret and a region");
    }

    struct client *client = ALLOC(struct client);
    if (options->endpoint != NULL) {
        size_t scheme = (size_t)(authority.data - options->endpoint);
        client->url =
            alloc_format("%.*s%.*s/", (int)scheme, options->endpoint, TEXT_FMT(authority));
        client->authority = (struct text){client->url + scheme, authority.size};
    }
    client->loop = options->loop;
    client->ca_file = copy_or_null(options->ca_file);
    client->pinned = options->pinned_ca_sha256 != NULL;
    client->pin = pin;
    client->key_id = copy_or_null(options->key_id);
    client->secret = copy_or_null(options->secret);
    client->session_token = copy_or_null(options->session_token);
    client->region = copy_or_null(options->region);
    if (client->loop != NULL) {
        start_multi(client, (long)options->connection_max);
    }
    *out_client = client;
    return 0;
}

void client_free(struct client *client)
{
    if (client == NULL) {
        return;
    }
    client->closing = true;
    while (client->first != NULL) {
        struct client_request *request = client->first;
        request_unlink(request);
        curl_multi_remove_handle(client->multi, request->easy);
        curl_easy_cleanup(request->easy);
        request_free(request);
    }
    for (size_t i = 0; i < client->idle_count; i++) {
        curl_easy_cleanup(client->idle[i]);
    }
    client->idle_count = 0;
    if (client->easy_wait != NULL) {
        curl_easy_cleanup(client->easy_wait);
        client->easy_wait = NULL;
    }
    if (client->loop == NULL) {
        client_release(client);
        return;
    }
    // Closes kept connections, each of which closes its watch.
    curl_multi_cleanup(client->multi);
    client->multi = NULL;
    uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}

struct text client_server_ca(struct client *client, struct arena *arena)
{
    if (client->pin.ca_pem.size == 0) {
        return (struct text){0};
    }
    return arena_text(arena, buf_view(&client->pin.ca_pem));
}
