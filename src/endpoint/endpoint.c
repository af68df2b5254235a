#include "endpoint/endpoint.h"

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/text.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/*
 * libmicrohttpd without threads and without a socket of its own: connections are accepted here, so
 * that each is known by the socket it came in by, and given to it. Its epoll descriptor is polled
 * by the loop. After a resume it must run twice, or it may miss the wake-up.
 */

#define CONNECTION_BYTES 8192 // headers and the library's bookkeeping of one connection
#define ACCEPTS_PER_TURN 8    // so that no task keeps the loop from the others
#define PAUSE_MS 250          // until a socket that had to wait is looked at again
#define RUN_AGAIN_MAX 4       // turns while the library has work left; then the loop polls first
#define BODY_DROPPED_MAX (64 << 10) // read so that its sender sees the answer, not a reset

struct caller;

/** A task's listening socket. */
struct owner {
    struct endpoints *endpoints;
    char *name;
    uv_poll_t poll;
    int fd;
    bool closing;
    bool paused; // it has no room, or the process has no descriptors, for more connections
    struct caller *first;
    size_t caller_count;
    int64_t tokens; // thousandths of a request
    uint64_t refilled_ms;
};

/** A connection. */
struct caller {
    struct caller *next; // of the same owner
    struct caller *next_arriving;
    struct owner *owner; // NULL once the socket is closed
    int fd;
};

/** A request; what the handler sees is its first part. */
struct request {
    struct endpoint_call call;
    struct request *next; // of those that the handler has
    struct endpoints *endpoints;
    struct MHD_Connection *connection; // NULL when the caller is gone
    char body[ENDPOINT_BODY_MAX];
    size_t dropped;
    bool dispatched;
    bool done;
    bool suspended;
};

struct endpoints {
    uv_loop_t *loop;
    endpoint_handler_fn handler;
    void *context;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer; // when the library wants to be run
    uv_idle_t kick;
    uv_timer_t pause;
    bool kicking;
    bool closing;
    size_t handles; // open on the loop
    struct map owners;
    struct caller *arriving; // given to the library, which has not said yet that it took them
    size_t caller_count;
    struct request *busy; // with the handler
};

// ---- running the library ----------------------------------------------------------------------

static void on_timer(uv_timer_t *timer);

static void drop_unheard(struct endpoints *endpoints);

static void run(struct endpoints *endpoints, int times)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    enum MHD_Result waiting = MHD_NO;
    for (int i = 0; i < times + RUN_AGAIN_MAX; i++) {
        MHD_run(endpoints->daemon);
        waiting = MHD_get_timeout(endpoints->daemon, &timeout_ms);
        if (i + 1 >= times && (waiting != MHD_YES || timeout_ms > 0)) {
            break;
        }
    }
    drop_unheard(endpoints);
    if (waiting == MHD_YES) {
        uint64_t wait_ms = MAX((uint64_t)timeout_ms, (uint64_t)1);
        uv_timer_start(&endpoints->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&endpoints->timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    run(CONTAINER_OF(timer, struct endpoints, timer), 1);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(CONTAINER_OF(poll, struct endpoints, poll), 1);
}

static void on_kick(uv_idle_t *idle)
{
    struct endpoints *endpoints = CONTAINER_OF(idle, struct endpoints, kick);
    uv_idle_stop(idle);
    endpoints->kicking = false;
    run(endpoints, 2);
}

static void kick(struct endpoints *endpoints)
{
    if (!endpoints->kicking && !endpoints->closing) {
        endpoints->kicking = true;
        uv_idle_start(&endpoints->kick, on_kick);
    }
}

// ---- connections ------------------------------------------------------------------------------

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void listen_on(struct owner *owner)
{
    owner->paused = false;
    int rc = uv_poll_start(&owner->poll, UV_READABLE, on_acceptable);
    ASSERT(rc == 0);
}

static void on_pause(uv_timer_t *timer)
{
    struct endpoints *endpoints = CONTAINER_OF(timer, struct endpoints, pause);
    size_t cursor = 0;
    struct owner *owner = NULL;
    while ((owner = map_next(&endpoints->owners, &cursor, NULL)) != NULL) {
        if (owner->paused) {
            listen_on(owner);
        }
    }
}

static void pause_owner(struct owner *owner)
{
    owner->paused = true;
    uv_poll_stop(&owner->poll);
    if (!uv_is_active((uv_handle_t *)&owner->endpoints->pause)) {
        uv_timer_start(&owner->endpoints->pause, on_pause, PAUSE_MS, 0);
    }
}

static void caller_free(struct endpoints *endpoints, struct caller *caller)
{
    if (caller->owner != NULL) {
        struct caller **at = &caller->owner->first;
        while (*at != caller) {
            at = &(*at)->next;
        }
        *at = caller->next;
        caller->owner->caller_count--;
    }
    endpoints->caller_count--;
    alloc_free(caller);
}

// The library says which connections it took; the others it has closed already.
static void drop_unheard(struct endpoints *endpoints)
{
    while (endpoints->arriving != NULL) {
        struct caller *caller = endpoints->arriving;
        endpoints->arriving = caller->next_arriving;
        caller_free(endpoints, caller);
    }
}

static struct caller *arrived(struct endpoints *endpoints, struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct caller **at = &endpoints->arriving;
    while (*at != NULL && (*at)->fd != info->connect_fd) {
        at = &(*at)->next_arriving;
    }
    struct caller *caller = *at;
    ASSERT(caller != NULL);
    *at = caller->next_arriving;
    return caller;
}

static void on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct endpoints *endpoints = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = arrived(endpoints, handle);
    } else if (*socket_context != NULL) {
        caller_free(endpoints, *socket_context);
        *socket_context = NULL;
    }
}

static void add_caller(struct owner *owner, int fd)
{
    struct endpoints *endpoints = owner->endpoints;
    struct caller *caller = ALLOC(struct caller);
    caller->owner = owner;
    caller->fd = fd;
    caller->next = owner->first;
    owner->first = caller;
    owner->caller_count++;
    caller->next_arriving = endpoints->arriving;
    endpoints->arriving = caller;
    endpoints->caller_count++;
    const struct sockaddr_in from = {.sin_family = AF_INET};
    // What it does not take it closes; drop_unheard does the rest.
    IGNORE(MHD_add_connection(endpoints->daemon, fd, (const struct sockaddr *)(const void *)&from,
                              sizeof(from)) != MHD_YES,
           "run finds out");
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct owner *owner = CONTAINER_OF(poll, struct owner, poll);
    struct endpoints *endpoints = owner->endpoints;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (status != 0 || owner->caller_count >= ENDPOINT_CALLERS_MAX ||
            endpoints->caller_count >= ENDPOINT_CONNECTIONS_MAX) {
            pause_owner(owner);
            break;
        }
        int fd = accept4(owner->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (fd < 0) {
            // Without descriptors left it would be told again at once, for ever.
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                pause_owner(owner);
            }
            break;
        }
        add_caller(owner, fd_raise(fd));
    }
    run(endpoints, 1);
}

// ---- requests ---------------------------------------------------------------------------------

static struct caller *caller_of(struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void request_free(struct request *request)
{
    arena_deinit(&request->call.arena);
    buf_deinit(&request->call.reply);
    alloc_free(request);
}

static void *on_request_line(void *context, const char *uri, struct MHD_Connection *handle)
{
    struct request *request = ALLOC(struct request);
    request->endpoints = context;
    request->connection = handle;
    struct text target = arena_text(&request->call.arena, text_of(uri));
    size_t mark = text_find(target, '?');
    if (mark != SIZE_MAX) {
        request->call.query = text_slice(target, mark + 1, target.size);
    }
    return request;
}

static enum MHD_Result send_reply(struct request *request)
{
    struct endpoint_call *call = &request->call;
    // The bytes are the request's, which lives until the library says it is done with them.
    struct MHD_Response *response = MHD_create_response_from_buffer(
        call->reply.size, call->reply.data == NULL ? (void *)(uintptr_t) "" : call->reply.data,
        MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }
    const char *type = call->content_type == NULL ? "application/json" : call->content_type;
    MHD_add_response_header(response, "Content-Type", type);
    if (request->dropped > 0) {
        MHD_add_response_header(response, "Connection", "close");
    }
    enum MHD_Result result =
        MHD_queue_response(request->connection, (unsigned int)call->status, response);
    MHD_destroy_response(response);
    return result;
}

static void refuse(struct request *request, int status, const char *text)
{
    request->call.status = status;
    request->call.content_type = "text/plain; charset=utf-8";
    buf_string(&request->call.reply, text);
    request->done = true;
}

// A bucket of ENDPOINT_BURST requests that fills at ENDPOINT_RATE a second.
static bool take_token(struct owner *owner)
{
    uint64_t now_ms = uv_now(owner->endpoints->loop);
    uint64_t passed_ms = MIN(now_ms - owner->refilled_ms, (uint64_t)60000);
    owner->refilled_ms = now_ms;
    owner->tokens =
        MIN(owner->tokens + (int64_t)passed_ms * ENDPOINT_RATE, (int64_t)ENDPOINT_BURST * 1000);
    if (owner->tokens < 1000) {
        return false;
    }
    owner->tokens -= 1000;
    return true;
}

static void dispatch(struct request *request)
{
    struct endpoints *endpoints = request->endpoints;
    struct endpoint_call *call = &request->call;
    struct caller *caller = caller_of(request->connection);
    request->dispatched = true;
    if (request->dropped > 0) {
        refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "a body may have 4096 bytes");
        return;
    }
    if (caller == NULL || caller->owner == NULL) {
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "the task is gone");
        return;
    }
    if (!take_token(caller->owner)) {
        refuse(request, MHD_HTTP_TOO_MANY_REQUESTS, "You have reached maximum request limit.");
        return;
    }
    call->owner = arena_text(&call->arena, text_of(caller->owner->name));
    request->next = endpoints->busy;
    endpoints->busy = request;
    endpoints->handler(endpoints->context, call);
    if (!request->done) {
        request->suspended = true;
        MHD_suspend_connection(request->connection);
    }
}

// Called with the headers, with each piece of the body, at its end, and after a resume.
static enum MHD_Result on_request(void *context, struct MHD_Connection *handle, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *size, void **slot)
{
    (void)context;
    (void)handle;
    (void)version;
    struct request *request = *slot;
    struct endpoint_call *call = &request->call;
    if (call->method.data == NULL) {
        call->method = arena_text(&call->arena, text_of(method));
        call->path = arena_text(&call->arena, text_of(url));
        call->body = (struct text){request->body, 0};
        return MHD_YES;
    }
    if (*size > 0) {
        size_t room = sizeof(request->body) - call->body.size;
        if (*size <= room && request->dropped == 0) {
            memcpy(request->body + call->body.size, bytes, *size);
            call->body.size += *size;
        } else {
            request->dropped += *size;
        }
        *size = 0;
        return request->dropped > BODY_DROPPED_MAX ? MHD_NO : MHD_YES;
    }
    if (!request->dispatched) {
        dispatch(request);
    }
    return request->done ? send_reply(request) : MHD_YES;
}

static void on_completed(void *context, struct MHD_Connection *handle, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)handle;
    (void)code;
    if (*slot != NULL) {
        // One that the handler has is suspended, so the library has not let go of it.
        request_free(*slot);
        *slot = NULL;
    }
}

static void unlink_busy(struct request *request)
{
    struct request **at = &request->endpoints->busy;
    while (*at != request) {
        at = &(*at)->next;
    }
    *at = request->next;
}

void endpoint_done(struct endpoint_call *call)
{
    struct request *request = CONTAINER_OF(call, struct request, call);
    ASSERT(!request->done);
    ASSERT(call->status >= 200);
    unlink_busy(request);
    request->done = true;
    if (request->suspended) {
        request->suspended = false;
        MHD_resume_connection(request->connection);
        kick(request->endpoints);
    }
}

// ---- sockets ----------------------------------------------------------------------------------

static void on_owner_closed(uv_handle_t *handle)
{
    struct owner *owner = CONTAINER_OF((uv_poll_t *)handle, struct owner, poll);
    owner->endpoints->handles--;
    fd_close(owner->fd);
    alloc_free(owner->name);
    alloc_free(owner);
}

static void close_owner(struct owner *owner)
{
    map_remove(&owner->endpoints->owners, text_of(owner->name));
    // Connections end on their own: the library notices, and calls back.
    for (struct caller *caller = owner->first; caller != NULL; caller = caller->next) {
        caller->owner = NULL;
        shutdown(caller->fd, SHUT_RDWR);
    }
    owner->first = NULL;
    uv_close((uv_handle_t *)&owner->poll, on_owner_closed);
}

int endpoints_add(struct endpoints *endpoints, struct text name, int fd, struct err *err)
{
    ASSERT(!endpoints->closing);
    endpoints_remove(endpoints, name);
    fd = fd_raise(fd);
    struct owner *owner = ALLOC(struct owner);
    int rc = uv_poll_init(endpoints->loop, &owner->poll, fd);
    if (rc != 0) {
        fd_close(fd);
        alloc_free(owner);
        return err_set(err, ERR_SYS, "watching a socket: %s", uv_strerror(rc));
    }
    endpoints->handles++;
    owner->endpoints = endpoints;
    owner->name = alloc_format("%.*s", TEXT_FMT(name));
    owner->fd = fd;
    owner->tokens = (int64_t)ENDPOINT_BURST * 1000;
    owner->refilled_ms = uv_now(endpoints->loop);
    map_put(&endpoints->owners, text_of(owner->name), owner);
    listen_on(owner);
    return 0;
}

void endpoints_remove(struct endpoints *endpoints, struct text name)
{
    struct owner *owner = map_get(&endpoints->owners, name);
    if (owner != NULL) {
        close_owner(owner);
    }
}

size_t endpoints_count(const struct endpoints *endpoints)
{
    return endpoints->owners.count;
}

// ---- life -------------------------------------------------------------------------------------

static struct MHD_Daemon *start_daemon(struct endpoints *endpoints)
{
    const unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_CONNECTION_LIMIT, ENDPOINT_CONNECTIONS_MAX, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, ENDPOINT_IDLE_SECONDS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, endpoints},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, endpoints},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_request_line, endpoints},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, NULL, MHD_OPTION_ARRAY, options,
                            MHD_OPTION_END);
}

int endpoints_new(uv_loop_t *loop, endpoint_handler_fn handler, void *context,
                  struct endpoints **out_endpoints, struct err *err)
{
    struct endpoints *endpoints = ALLOC(struct endpoints);
    endpoints->loop = loop;
    endpoints->handler = handler;
    endpoints->context = context;
    endpoints->daemon = start_daemon(endpoints);
    if (endpoints->daemon == NULL) {
        alloc_free(endpoints);
        return err_set(err, ERR_SYS, "the HTTP server for tasks cannot start");
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(endpoints->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ASSERT(info != NULL);
    int rc = uv_poll_init(loop, &endpoints->poll, info->epoll_fd);
    ASSERT(rc == 0);
    rc = uv_timer_init(loop, &endpoints->timer);
    ASSERT(rc == 0);
    rc = uv_timer_init(loop, &endpoints->pause);
    ASSERT(rc == 0);
    rc = uv_idle_init(loop, &endpoints->kick);
    ASSERT(rc == 0);
    endpoints->handles = 4;
    rc = uv_poll_start(&endpoints->poll, UV_READABLE, on_poll);
    ASSERT(rc == 0);
    *out_endpoints = endpoints;
    return 0;
}

// The library must not be stopped while a connection is suspended.
static void abandon_busy(struct endpoints *endpoints)
{
    while (endpoints->busy != NULL) {
        struct request *request = endpoints->busy;
        buf_reset(&request->call.reply);
        request->call.status = MHD_HTTP_SERVICE_UNAVAILABLE;
        endpoint_done(&request->call);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct endpoints *endpoints = handle->data;
    endpoints->handles--;
}

static void close_handle(struct endpoints *endpoints, uv_handle_t *handle)
{
    handle->data = endpoints;
    uv_close(handle, on_handle_closed);
}

void endpoints_close(struct endpoints *endpoints)
{
    if (endpoints == NULL || endpoints->closing) {
        return;
    }
    endpoints->closing = true;
    abandon_busy(endpoints);
    for (;;) {
        size_t cursor = 0;
        struct owner *owner = map_next(&endpoints->owners, &cursor, NULL);
        if (owner == NULL) {
            break;
        }
        close_owner(owner);
    }
    MHD_run(endpoints->daemon);
    MHD_run(endpoints->daemon);
    close_handle(endpoints, (uv_handle_t *)&endpoints->poll);
    close_handle(endpoints, (uv_handle_t *)&endpoints->timer);
    close_handle(endpoints, (uv_handle_t *)&endpoints->pause);
    close_handle(endpoints, (uv_handle_t *)&endpoints->kick);
    MHD_stop_daemon(endpoints->daemon);
    drop_unheard(endpoints);
}

bool endpoints_closed(const struct endpoints *endpoints)
{
    return endpoints->closing && endpoints->handles == 0;
}

void endpoints_free(struct endpoints *endpoints)
{
    if (endpoints == NULL) {
        return;
    }
    ASSERT(endpoints_closed(endpoints));
    ASSERT(endpoints->caller_count == 0);
    map_deinit(&endpoints->owners);
    alloc_free(endpoints);
}
