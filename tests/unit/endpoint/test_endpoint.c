#include "base/file.h"
#include "base/text.h"
#include "endpoint/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * The server with sockets on loopback and a client of the same thread: the loop turns between what
 * the client does.
 */

#define TURNS_MAX 20000

struct fixture {
    uv_loop_t loop;
    struct endpoints *endpoints;
    struct endpoint_call *kept; ///< not answered yet
    bool keep;
    size_t calls;
};

static void answer(struct endpoint_call *call)
{
    call->status = 200;
    buf_format(&call->reply, "%.*s %.*s %.*s %.*s %.*s", TEXT_FMT(call->owner),
               TEXT_FMT(call->method), TEXT_FMT(call->path), TEXT_FMT(call->query),
               TEXT_FMT(call->body));
    endpoint_done(call);
}

static void on_call(void *context, struct endpoint_call *call)
{
    struct fixture *f = context;
    f->calls++;
    if (f->keep) {
        f->kept = call;
    } else {
        answer(call);
    }
}

static int set_up(void **state)
{
    struct fixture *f = ALLOC(struct fixture);
    struct err err = {0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(endpoints_new(&f->loop, on_call, f, &f->endpoints, &err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    endpoints_close(f->endpoints);
    while (!endpoints_closed(f->endpoints)) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    endpoints_free(f->endpoints);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    alloc_free(f);
    return 0;
}

// @return the port on which an owner is served
static in_port_t serve(struct fixture *f, const char *owner)
{
    struct err err = {0};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&at, &size), 0);
    assert_int_equal(endpoints_add(f->endpoints, text_of(owner), fd, &err), 0);
    return at.sin_port;
}

static int call(in_port_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&at, sizeof(at)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

// Turn the loop until something can be read. @return it, as a string; empty at the end of stream
static const char *hear(struct fixture *f, int fd)
{
    static char reply[4096];
    struct pollfd arrived = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < TURNS_MAX && poll(&arrived, 1, 0) == 0; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        poll(&arrived, 1, 1);
    }
    ssize_t size = recv(fd, reply, sizeof(reply) - 1, MSG_DONTWAIT);
    reply[size > 0 ? size : 0] = '\0';
    return reply;
}

// Turn the loop until a call is with the handler.
static void until_kept(struct fixture *f)
{
    for (int i = 0; i < TURNS_MAX && f->kept == NULL; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        poll(NULL, 0, 1);
    }
    assert_non_null(f->kept);
}

#define GET "GET /v4/x?y=z HTTP/1.1\r\nHost: a\r\n\r\n"

static void assert_starts(const char *reply, const char *start)
{
    if (strncmp(reply, start, strlen(start)) != 0) {
        print_error("%s\n", reply);
        fail();
    }
}

static void a_caller_is_known_by_its_socket(void **state)
{
    struct fixture *f = *state;
    in_port_t one = serve(f, "one");
    in_port_t two = serve(f, "two");
    int a = call(one);
    int b = call(two);
    say(a, GET);
    say(b, GET);
    assert_non_null(strstr(hear(f, a), "\r\n\r\none GET /v4/x y=z "));
    assert_non_null(strstr(hear(f, b), "\r\n\r\ntwo GET /v4/x y=z "));
    say(a, "PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_non_null(strstr(hear(f, a), "\r\n\r\none PUT /p  body"));
    close(a);
    close(b);
}

static void an_answer_may_come_later(void **state)
{
    struct fixture *f = *state;
    int fd = call(serve(f, "one"));
    f->keep = true;
    say(fd, GET);
    until_kept(f);
    answer(f->kept);
    assert_starts(hear(f, fd), "HTTP/1.1 200");
    close(fd);
}

// A caller that hangs up, an owner that goes, a server that closes: each while a call is with the
// handler.
static void calls_outlive_their_callers(void **state)
{
    struct fixture *f = *state;
    f->keep = true;
    for (int way = 0; way < 3; way++) {
        f->kept = NULL;
        int fd = call(serve(f, "one"));
        say(fd, GET);
        until_kept(f);
        if (way == 0) {
            close(fd);
        }
        if (way == 1) {
            endpoints_remove(f->endpoints, TEXT("one"));
        }
        if (way < 2) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
            answer(f->kept);
        }
        if (way == 1) {
            close(fd);
        }
        if (way == 2) {
            close(fd); // and tear_down closes the server
        }
    }
}

static void requests_beyond_the_burst_are_refused(void **state)
{
    struct fixture *f = *state;
    int fd = call(serve(f, "one"));
    int other = call(serve(f, "two"));
    // The loop's clock stands still while only these turns are made without waiting.
    size_t refused = 0;
    for (int i = 0; i < ENDPOINT_BURST * 3; i++) {
        say(fd, GET);
        refused += strncmp(hear(f, fd), "HTTP/1.1 429", 12) == 0 ? 1 : 0;
    }
    assert_true(refused > 0);
    assert_true(f->calls >= ENDPOINT_BURST);
    assert_int_equal(f->calls + refused, ENDPOINT_BURST * 3);
    say(other, GET);
    assert_starts(hear(f, other), "HTTP/1.1 200");
    close(fd);
    close(other);
}

static void what_is_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    in_port_t port = serve(f, "one");
    char body[ENDPOINT_BODY_MAX + 1];
    char head[128];
    memset(body, 'b', sizeof(body));
    snprintf(head, sizeof(head), "PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
             sizeof(body));
    int fd = call(port);
    say(fd, head);
    assert_int_equal(send(fd, body, sizeof(body), MSG_NOSIGNAL), sizeof(body));
    assert_starts(hear(f, fd), "HTTP/1.1 413");
    close(fd);

    static char path[20000] = "GET /";
    memset(path + 5, 'a', sizeof(path) - 6);
    fd = call(port);
    say(fd, path);
    assert_starts(hear(f, fd), "HTTP/1.1 414");
    close(fd);
    assert_int_equal(f->calls, 0);

    fd = call(port);
    say(fd, "\x16\x03\x01 this is no HTTP\r\n\r\n");
    assert_starts(hear(f, fd), "HTTP/1.1 400");
    close(fd);
    assert_int_equal(f->calls, 0);
}

// One owner with every connection it may have does not keep another from being served.
static void connections_are_each_owners_own(void **state)
{
    struct fixture *f = *state;
    in_port_t greedy = serve(f, "greedy");
    int callers[ENDPOINT_CALLERS_MAX + 8];
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        callers[i] = call(greedy);
    }
    int other = call(serve(f, "other"));
    say(other, GET);
    assert_starts(hear(f, other), "HTTP/1.1 200");
    // One of those that wait is served once another has gone.
    for (size_t i = 0; i < 8; i++) {
        close(callers[i]);
    }
    int last = callers[ARRAY_LEN(callers) - 1];
    say(last, GET);
    assert_starts(hear(f, last), "HTTP/1.1 200");
    for (size_t i = 8; i < ARRAY_LEN(callers); i++) {
        close(callers[i]);
    }
    close(other);
}

static void a_removed_owner_is_served_no_more(void **state)
{
    struct fixture *f = *state;
    in_port_t port = serve(f, "one");
    int fd = call(port);
    say(fd, GET);
    assert_starts(hear(f, fd), "HTTP/1.1 200");
    assert_int_equal(endpoints_count(f->endpoints), 1);
    endpoints_remove(f->endpoints, TEXT("one"));
    assert_int_equal(endpoints_count(f->endpoints), 0);
    assert_string_equal(hear(f, fd), "");
    for (int i = 0; i < 5; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT); // the loop closes the socket
    }
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)(void *)&at, sizeof(at)), -1);
    close(late);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_caller_is_known_by_its_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_may_come_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_outlive_their_callers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(requests_beyond_the_burst_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_large_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connections_are_each_owners_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_removed_owner_is_served_no_more, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
