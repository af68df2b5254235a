#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "fixture.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TOY "Toy_20240101."
#define HEAD "POST / HTTP/1.1\r\nHost: h\r\n"

static const struct fixture_options plain;

static bool contains(struct text text, const char *part)
{
    return part[0] == '\0' || memmem(text.data, text.size, part, strlen(part)) != NULL;
}

static void expect(const struct wire_answer *answer, int status, const char *part)
{
    if (answer->status != status || !contains(answer->body, part)) {
        print_message("wanted %d '%s', got %d '%.*s'\n", status, part, answer->status,
                      TEXT_FMT(answer->body));
        fail();
    }
}

// One connection carries many requests: writes, reads, refusals.
static void connections_are_kept(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    char id[64] = {0};
    for (int i = 0; i < 50; i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"name\":\"item-%d\"}", i);
        struct wire_answer answer = wire_call(&wire, TOY "CreateItem", body, NULL);
        expect(&answer, 200, "\"key\":");
        assert_true(text_is(wire_header(&answer, "content-type"), "application/x-amz-json-1.1"));
        struct text request_id = wire_header(&answer, "x-amzn-RequestId");
        assert_int_equal(request_id.size, 36);
        assert_false(text_is(request_id, id));
        assert_int_equal(text_copy(request_id, id, sizeof(id)), 0);
        answer = wire_call(&wire, TOY "CreateItem", body, NULL);
        expect(&answer, 400, "{\"__type\":\"ToyException\",\"message\":\"there is an item named");
    }
    fixture_expect_connections(fixture, 1);
}

static void requests_are_answered_in_order(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    AUTO(buf_deinit) struct buf bytes = {0};
    for (int i = 0; i < 20; i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"name\":\"item-%d\"}", i);
        wire_request(&bytes, i % 3 == 2 ? TOY "Unbuilt" : TOY "CreateItem", text_of(body), NULL);
    }
    wire_send(&wire, buf_view(&bytes));
    for (int i = 0; i < 20; i++) {
        char part[32];
        snprintf(part, sizeof(part), "\"item-%d\"", i);
        struct wire_answer answer = wire_read(&wire);
        expect(&answer, i % 3 == 2 ? 501 : 200, i % 3 == 2 ? "Unbuilt" : part);
    }
}

static void refusals_have_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *target;
        const char *body;
        struct wire_sign sign;
        int want_status;
        const char *want_body;
    } cases[] = {
        {.name = "unknown operation",
         .target = TOY "MakeCoffee",
         .body = "{}",
         .want_status = 400,
         .want_body = "\"UnknownOperationException\""},
        {.name = "unknown service",
         .target = "Coffee.CreateItem",
         .body = "{}",
         .want_status = 400,
         .want_body = "\"UnknownOperationException\""},
        {.name = "no dot",
         .target = "CreateItem",
         .body = "{}",
         .want_status = 400,
         .want_body = "\"UnknownOperationException\""},
        {.name = "known, not built",
         .target = TOY "Unbuilt",
         .body = "{}",
         .want_status = 501,
         .want_body = "{\"__type\":\"NotImplementedException\",\"message\":\"The operation Unbuilt "
                      "of toy is not built"},
        {.name = "unknown key",
         .target = TOY "ShowItem",
         .body = "{}",
         .sign = {.key_id = "AKIDNOBODY"},
         .want_status = 400,
         .want_body =
             "{\"__type\":\"UnrecognizedClientException\",\"message\":\"The security token "
             "included in the request is invalid.\"}"},
        {.name = "wrong secret",
         .target = TOY "ShowItem",
         .body = "{}",
         .sign = {.secret = "another"},
         .want_status = 400,
         .want_body = "{\"__type\":\"InvalidSignatureException\",\"message\":\"The request "
                      "signature we calculated does not match"},
        {.name = "signed long ago",
         .target = TOY "ShowItem",
         .body = "{}",
         .sign = {.skew_ms = -3600000},
         .want_status = 400,
         .want_body = "Signature expired"},
        {.name = "signed in the future",
         .target = TOY "ShowItem",
         .body = "{}",
         .sign = {.skew_ms = 3600000},
         .want_status = 400,
         .want_body = "Signature not yet current"},
        {.name = "another service",
         .target = TOY "ShowItem",
         .body = "{}",
         .sign = {.service = "s3"},
         .want_status = 400,
         .want_body = "Credential should be scoped to correct service: 'toy'"},
        {.name = "a region that is none",
         .target = TOY "ShowItem",
         .body = "{}",
         .sign = {.region = "atlantis-1"},
         .want_status = 400,
         .want_body = "Credential should be scoped to a valid region"},
        {.name = "a node does what is not its own",
         .target = TOY "CreateItem",
         .body = "{\"name\":\"x\"}",
         .sign = {.key_id = FIXTURE_NODE_KEY, .secret = FIXTURE_NODE_SECRET},
         .want_status = 400,
         .want_body = "\"AccessDeniedException\",\"message\":\"User: arn:aws:iam::111122223333:node"
                      "/node-1 is not authorized to perform: toy:CreateItem"},
        {.name = "a node does what it may",
         .target = TOY "ShowItem",
         .body = "{\"key\":99}",
         .sign = {.key_id = FIXTURE_NODE_KEY, .secret = FIXTURE_NODE_SECRET},
         .want_status = 400,
         .want_body = "no such item"},
        {.name = "broken JSON",
         .target = TOY "ShowItem",
         .body = "{\"key\":",
         .want_status = 400,
         .want_body = "\"SerializationException\""},
        {.name = "not an object",
         .target = TOY "ShowItem",
         .body = "[]",
         .want_status = 400,
         .want_body = "\"SerializationException\""},
        {.name = "a wrong type",
         .target = TOY "ShowItem",
         .body = "{\"key\":\"x\"}",
         .want_status = 400,
         .want_body = "\"SerializationException\",\"message\":\"key "},
        {.name = "broken UTF-8",
         .target = TOY "CreateItem",
         .body = "{\"name\":\"\xff\"}",
         .want_status = 400,
         .want_body = "\"SerializationException\""},
        {.name = "a member is missing",
         .target = TOY "ShowItem",
         .body = "",
         .want_status = 400,
         .want_body = "\"ValidationException\",\"message\":\"1 validation error detected: Value "},
        {.name = "pre-signed",
         .target = TOY "ShowItem",
         .body = "{\"key\":99}",
         .sign = {.presign = true},
         .want_status = 400,
         .want_body = "no such item"},
        {.name = "pre-signed with a wrong secret",
         .target = TOY "ShowItem",
         .body = "{\"key\":99}",
         .sign = {.presign = true, .secret = "another"},
         .want_status = 400,
         .want_body = "\"InvalidSignatureException\""},
    };
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct wire_answer answer =
            wire_call(&wire, cases[i].target, cases[i].body, &cases[i].sign);
        expect(&answer, cases[i].want_status, cases[i].want_body);
    }
}

// Requests that no SDK sends, each on a connection of its own: a typed refusal, the library's
// plain one, or a closed connection; and the server lives on.
static void raw_requests(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *request;
        int want_status; ///< 0: closed without an answer is as good as any 4xx
        const char *want_body;
    } cases[] = {
        {"health", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 200, "{\"status\":\"ok\"}"},
        {"metrics", "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 200,
         "# TYPE berth_requests_total counter"},
        {"a page is not posted to",
         "POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405, "MethodNotAllowed"},
        {"nothing there", "GET /favicon.ico HTTP/1.1\r\nHost: h\r\n\r\n", 404, "NotFound"},
        {"root without a query", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 404, "NotFound"},
        {"another method", "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", 404, "NotFound"},
        {"unsigned", HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nContent-Length: 2\r\n\r\n{}", 400,
         "{\"__type\":\"MissingAuthenticationTokenException\",\"message\":\"Missing Authentication "
         "Token\"}"},
        {"a scheme of others",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nAuthorization: Basic eA==\r\n"
              "Content-Length: 2\r\n\r\n{}",
         400, "\"IncompleteSignatureException\""},
        {"neither target nor form", HEAD "Content-Length: 2\r\n\r\n{}", 400,
         "\"UnknownOperationException\""},
        {"a form, unsigned",
         HEAD "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
              "Content-Length: 43\r\n\r\nAction=GetCallerIdentity&Version=2011-06-15",
         403, "<Code>MissingAuthenticationToken</Code>"},
        {"a form with an action that nobody knows",
         HEAD "Content-Type: application/x-www-form-urlencoded\r\n"
              "Content-Length: 17\r\n\r\nAction=MakeCoffee",
         400, "<Code>InvalidAction</Code>"},
        {"a form of another version",
         HEAD "Content-Type: application/x-www-form-urlencoded\r\n"
              "Content-Length: 43\r\n\r\nAction=GetCallerIdentity&Version=2001-06-15",
         400, "<Code>InvalidAction</Code>"},
        {"an action in the query", "GET /?Action=GetCallerIdentity HTTP/1.1\r\nHost: h\r\n\r\n",
         403, "<Code>MissingAuthenticationToken</Code>"},
        {"a length that is none",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nContent-Length: many\r\n\r\n", 400, ""},
        {"a negative length",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nContent-Length: -1\r\n\r\n", 400, ""},
        {"two ways to say how long",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nContent-Length: 2\r\n"
              "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         400, ""},
        {"two lengths",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nContent-Length: 2\r\n"
              "Content-Length: 2\r\n\r\n{}",
         400, "BadRequestException"},
        {"garbage", "\x16\x03\x01 this is not HTTP\r\n\r\n", 0, ""},
        {"garbage behind a request", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n\x01\x02\x03\r\n\r\n",
         200, "ok"},
        {"no host", "GET /healthz HTTP/1.1\r\n\r\n", 400, ""},
        {"a body in chunks, unsigned",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nTransfer-Encoding: chunked\r\n\r\n"
              "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
         400, "MissingAuthenticationToken"},
        {"a chunk of a size that is none",
         HEAD "X-Amz-Target: Toy_20240101.ShowItem\r\nTransfer-Encoding: chunked\r\n\r\n"
              "zz\r\n{}\r\n0\r\n\r\n",
         0, ""},
    };
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(wire_close) struct wire wire = {0};
        wire_open(&wire, fixture_port(fixture));
        wire_send(&wire, text_of(cases[i].request));
        shutdown(wire.fd, SHUT_WR);
        struct wire_answer answer = wire_read(&wire);
        if (cases[i].want_status == 0) {
            assert_true(answer.status == 0 || (answer.status >= 400 && answer.status < 500));
        } else {
            expect(&answer, cases[i].want_status, cases[i].want_body);
        }
    }
    fixture_expect_connections(fixture, 0);
}

static void sizes_have_limits(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(buf_deinit) struct buf body = {0};
    buf_string(&body, "{\"name\":\"");
    while (body.size < LIMIT_BODY_BYTES - 2) {
        buf_byte(&body, 'x');
    }
    buf_string(&body, "\"}");
    assert_int_equal(body.size, LIMIT_BODY_BYTES);

    AUTO(wire_close) struct wire wire = {0};
    AUTO(buf_deinit) struct buf request = {0};
    wire_open(&wire, fixture_port(fixture));
    wire_request(&request, TOY "ShowItem", buf_view(&body), NULL);
    wire_send(&wire, buf_view(&request));
    struct wire_answer answer = wire_read(&wire);
    expect(&answer, 400, "ValidationException"); // as large as it may be, and read to its end

    // One byte more, and ten megabytes: the answer comes although the body was sent whole.
    for (size_t size = LIMIT_BODY_BYTES + 1; size < (12u << 20); size += 9u << 20) {
        AUTO(wire_close) struct wire large = {0};
        wire_open(&large, fixture_port(fixture));
        buf_reset(&request);
        buf_format(&request, HEAD "X-Amz-Target: a.b\r\nContent-Length: %zu\r\n\r\n", size);
        for (size_t i = 0; i < size; i++) {
            buf_byte(&request, 'x');
        }
        wire_send(&large, buf_view(&request));
        answer = wire_read(&large);
        expect(&answer, 413, "RequestEntityTooLargeException");
        wire_expect_closed(&large);
    }

    // Who asks first is told before sending anything.
    AUTO(wire_close) struct wire asking = {0};
    wire_open(&asking, fixture_port(fixture));
    wire_send(&asking, TEXT(HEAD "Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n"));
    answer = wire_read(&asking);
    expect(&answer, 413, "RequestEntityTooLargeException");

    // In chunks nobody says before how much it will be.
    AUTO(wire_close) struct wire chunked = {0};
    wire_open(&chunked, fixture_port(fixture));
    buf_reset(&request);
    buf_string(&request, HEAD "X-Amz-Target: a.b\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        buf_string(&request, "10000\r\n");
        for (int j = 0; j < 0x10000; j++) {
            buf_byte(&request, 'x');
        }
        buf_string(&request, "\r\n");
    }
    buf_string(&request, "0\r\n\r\n");
    wire_send(&chunked, buf_view(&request));
    answer = wire_read(&chunked);
    expect(&answer, 413, "RequestEntityTooLargeException");

    // Headers: many, and long ones.
    for (int many = 0; many < 2; many++) {
        AUTO(wire_close) struct wire heads = {0};
        wire_open(&heads, fixture_port(fixture));
        buf_reset(&request);
        buf_string(&request, HEAD);
        for (int i = 0; i < (many == 1 ? 150 : 10); i++) {
            buf_format(&request, "X-Header-%d: %0*d\r\n", i, many == 1 ? 10 : 2000, i);
        }
        buf_string(&request, "Content-Length: 0\r\n\r\n");
        wire_send(&heads, buf_view(&request));
        answer = wire_read(&heads);
        expect(&answer, 431, "");
    }
}

// Slow and half-open clients lose their connection; others are served meanwhile.
static void slow_clients_are_cut_off(void **state)
{
    (void)state;
    enum { TIMEOUT_MS = 1500 };
    const struct fixture_options options = {.request_timeout_ms = TIMEOUT_MS};
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&options);
    AUTO(wire_close) struct wire silent = {0};
    AUTO(wire_close) struct wire header = {0};
    AUTO(wire_close) struct wire body = {0};
    wire_open(&silent, fixture_port(fixture));
    wire_open(&header, fixture_port(fixture));
    wire_open(&body, fixture_port(fixture));
    wire_send(&body, TEXT(HEAD "Content-Length: 100\r\n\r\n{"));
    bool open = true;
    for (int i = 0; i < 3000 && open; i++) {
        wire_send(&header, i == 0 ? TEXT("GET /healthz HTTP/1.1\r\nX-Slow: ") : TEXT("x"));
        wire_send(&body, TEXT(" "));
        struct pollfd ready[] = {{.fd = header.fd, .events = POLLIN},
                                 {.fd = body.fd, .events = POLLIN}};
        open = poll(ready, 2, 20) < 2;
        AUTO(wire_close) struct wire other = {0};
        int64_t begin_ns = clock_monotonic_ns();
        wire_open(&other, fixture_port(fixture));
        struct wire_answer answer = wire_call(&other, TOY "ShowItem", "{\"key\":99}", NULL);
        // On a busy machine this one may have been slow itself.
        if (answer.status != 0 || clock_monotonic_ns() - begin_ns < TIMEOUT_MS * INT64_C(1000000)) {
            expect(&answer, 400, "no such item");
        }
    }
    assert_false(open);
    wire_expect_closed(&silent);
    wire_expect_closed(&header);
    wire_expect_closed(&body);
    fixture_expect_connections(fixture, 0);
}

// A client that goes away in the middle of its request, or while its reply waits for the store,
// leaves nothing behind.
static void clients_may_vanish(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    for (int i = 0; i < 200; i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"name\":\"item-%d\"}", i);
        AUTO(buf_deinit) struct buf request = {0};
        wire_request(&request, TOY "CreateItem", text_of(body), NULL);
        AUTO(wire_close) struct wire wire = {0};
        wire_open(&wire, fixture_port(fixture));
        struct text bytes = buf_view(&request);
        wire_send(&wire, text_slice(bytes, 0, i % 2 == 0 ? bytes.size : bytes.size - 5));
        struct linger hard = {.l_onoff = i % 3 == 0, .l_linger = 0};
        setsockopt(wire.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    }
    fixture_expect_connections(fixture, 0);
}

// Nothing but a handshake gets anything out of a listener with TLS, and no half one keeps it busy.
static void tls_is_not_skipped(void **state)
{
    (void)state;
    const struct fixture_options options = {.tls = true, .request_timeout_ms = 400};
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&options);
    static const char *const openings[] = {"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", "",
                                           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                           "\x16\x03\x01"};
    for (size_t i = 0; i < ARRAY_LEN(openings); i++) {
        AUTO(wire_close) struct wire wire = {0};
        wire_open(&wire, fixture_port(fixture));
        wire_send(&wire, text_of(openings[i]));
        wire_expect_closed(&wire);
        assert_true(wire.received.size == 0 ||
                    memmem(wire.received.data, wire.received.size, "ok", 2) == NULL);
    }
    fixture_expect_connections(fixture, 0);
}

// More connections than there is room for: those that wait are served when others close.
static void crowds_are_served_in_turn(void **state)
{
    (void)state;
    enum { CROWD = 250 };
    struct rlimit limit = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit lower = {.rlim_cur = 600, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    struct wire *wires = alloc_array(CROWD, sizeof(*wires));
    for (int i = 0; i < CROWD; i++) {
        wire_open(&wires[i], fixture_port(fixture));
    }
    fixture_expect_connections(fixture, (600 - 256) / 2);
    struct wire *waiting = &wires[CROWD - 1];
    wire_send(waiting, TEXT("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"));
    for (int i = 0; i < CROWD - 1; i++) {
        wire_close(&wires[i]);
    }
    struct wire_answer answer = wire_read(waiting);
    expect(&answer, 200, "ok");
    wire_close(waiting);
    alloc_free(wires);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

// Who connects to the sessions' port and says nothing leaves the API its descriptors.
static void idle_sessions_do_not_starve_the_api(void **state)
{
    (void)state;
    enum { CROWD = 290 }; // with both ends of each in this process, all that there are
    struct rlimit limit = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit lower = {.rlim_cur = 600, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    struct text url = text_of(fixture_session_url(fixture));
    uint64_t port = 0;
    assert_int_equal(text_to_u64(text_slice(url, text_find_last(url, ':') + 1, url.size), &port),
                     0);
    struct wire *wires = alloc_array(CROWD, sizeof(*wires));
    for (int i = 0; i < CROWD; i++) {
        wire_open(&wires[i], (uint16_t)port);
    }
    wire_expect_closed(&wires[CROWD - 1]); // by now all that the library takes are taken
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    struct wire_answer answer = wire_call(&wire, TOY "ShowItem", "{\"key\":99}", NULL);
    expect(&answer, 400, "no such item");
    for (int i = 0; i < CROWD; i++) {
        wire_close(&wires[i]);
    }
    alloc_free(wires);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void any_credentials_choose_an_account(void **state)
{
    (void)state;
    const struct fixture_options options = {.any_credentials = true};
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&options);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    static const struct {
        const char *key_id;
        const char *want;
    } cases[] = {
        {"123456789012", "<Account>123456789012</Account>"},
        {"AKIDTEST", "<Account>000000000000</Account>"},
        {"12345678901", "<Account>000000000000</Account>"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf request = {0};
        struct text body = TEXT("Action=GetCallerIdentity&Version=2011-06-15");
        buf_format(&request,
                   HEAD "X-Amz-Date: 20200101T000000Z\r\n"
                        "Content-Type: application/x-www-form-urlencoded\r\n"
                        "Authorization: AWS4-HMAC-SHA256 Credential=%s/20200101/us-east-1/sts/"
                        "aws4_request, SignedHeaders=host, Signature=x\r\n"
                        "Content-Length: %zu\r\n\r\n%.*s",
                   cases[i].key_id, body.size, TEXT_FMT(body));
        wire_send(&wire, buf_view(&request));
        struct wire_answer answer = wire_read(&wire);
        expect(&answer, 200, cases[i].want);
        assert_true(text_is(wire_header(&answer, "content-type"), "text/xml"));
    }
    // A node's word must be its own even so.
    const struct wire_sign forged = {.key_id = FIXTURE_NODE_KEY, .secret = "wrong"};
    struct wire_answer answer = wire_call(&wire, TOY "ShowItem", "{\"key\":1}", &forged);
    expect(&answer, 400, "InvalidSignatureException");
}

static void joining_needs_an_address(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    const struct wire_sign sign = {.service = "berth"};
    struct wire_answer answer = wire_call(&wire, "Berth.CreateJoinToken", "{}", &sign);
    expect(&answer, 400, "No other host can join this server: it listens on loopback only");
}

static void counts_are_shown(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, fixture_port(fixture));
    for (int i = 0; i < 3; i++) {
        wire_call(&wire, TOY "ShowItem", "{\"key\":99}", NULL);
    }
    wire_call(&wire, TOY "CreateItem", "{\"name\":\"x\"}", NULL);
    wire_call(&wire, TOY "Nothing", "{}", NULL);
    wire_send(&wire, TEXT("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct wire_answer answer = wire_read(&wire);
    static const char *const lines[] = {
        "berth_requests_total{service=\"toy\",operation=\"ShowItem\",code=\"ToyException\"} 3\n",
        "berth_requests_total{service=\"toy\",operation=\"CreateItem\",code=\"OK\"} 1\n",
        ("berth_requests_total{service=\"none\",operation=\"none\","
         "code=\"UnknownOperationException\"} 1\n"),
        "berth_request_duration_seconds_count{service=\"toy\",operation=\"ShowItem\"} 3\n",
        "berth_http_connections 1\n",
        "process_resident_memory_bytes ",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        expect(&answer, 200, lines[i]);
    }
}

static int start(const struct server_options *options, struct err *err)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct server_options full = *options;
    full.loop = &loop;
    full.region = "us-east-1";
    struct server *server = NULL;
    int rc = server_start(&full, &server, err);
    assert_int_not_equal(rc, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return rc;
}

static void unsafe_listeners_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    const struct server_options outside = {.api = {{.address = "0.0.0.0"}}, .api_count = 1};
    assert_int_equal(start(&outside, &err), ERR_DENIED);
    assert_non_null(strstr(err.text, "0.0.0.0 needs TLS"));
    const struct server_options sessions = {.api = {{.address = "::1"}},
                                            .api_count = 1,
                                            .sessions = {{.address = "10.1.2.3"}},
                                            .session_count = 1};
    assert_int_equal(start(&sessions, &err), ERR_DENIED);
    const struct server_options any = {
        .api = {{.address = "0.0.0.0", .tls = true}}, .api_count = 1, .any_credentials = true};
    assert_int_equal(start(&any, &err), ERR_DENIED);
    assert_non_null(strstr(err.text, "--any-credentials"));
    const struct server_options name = {.api = {{.address = "localhost"}}, .api_count = 1};
    assert_int_not_equal(start(&name, &err), 0);
    const struct server_options none = {.api_count = 0};
    assert_int_equal(start(&none, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(requests_are_answered_in_order),
        cmocka_unit_test(refusals_have_names),
        cmocka_unit_test(raw_requests),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(slow_clients_are_cut_off),
        cmocka_unit_test(clients_may_vanish),
        cmocka_unit_test(tls_is_not_skipped),
        cmocka_unit_test(crowds_are_served_in_turn),
        cmocka_unit_test(idle_sessions_do_not_starve_the_api),
        cmocka_unit_test(any_credentials_choose_an_account),
        cmocka_unit_test(joining_needs_an_address),
        cmocka_unit_test(counts_are_shown),
        cmocka_unit_test(unsafe_listeners_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
