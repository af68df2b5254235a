#include "base/alloc.h"
#include "base/text.h"
#include "client/websocket.h"
#include "client/websocket_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

static void urls_name_where_to_go(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool tls;
        const char *authority;
        const char *host;
        uint16_t port;
        const char *path;
    } cases[] = {
        {"ws://a/b?c=d", false, "a", "a", 80, "/b?c=d"},
        {"wss://a.example", true, "a.example", "a.example", 443, "/"},
        {"http://127.0.0.1:8080/", false, "127.0.0.1:8080", "127.0.0.1", 8080, "/"},
        {"https://[::1]:65535/x", true, "[::1]:65535", "::1", 65535, "/x"},
        {"https://[fd00::2]", true, "[fd00::2]", "fd00::2", 443, "/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct websocket_url url;
        if (!websocket_url_parse(text_of(cases[i].url), &url)) {
            fail_msg("%s is refused", cases[i].url);
        }
        assert_int_equal(url.tls, cases[i].tls);
        assert_true(text_is(url.authority, cases[i].authority));
        assert_true(text_is(url.host, cases[i].host));
        assert_int_equal(url.port, cases[i].port);
        assert_true(text_is(url.path, cases[i].path));
    }
}

static void what_is_no_url_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",           "a",          "ftp://a/",       "ws:/a",     "ws://",      "ws:///b",
        "ws://a:0/b", "ws://a:x/b", "ws://a:65536/b", "ws://a:/b", "ws://:80/b", "ws://[]/b",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct websocket_url url;
        if (websocket_url_parse(text_of(cases[i]), &url)) {
            fail_msg("%s is taken", cases[i]);
        }
    }
}

struct outcome {
    size_t closed;
    char why[200];
    bool refused;
};

static void on_open(void *context, struct websocket *socket)
{
    (void)context;
    (void)socket;
    fail_msg("it opened");
}

static void on_closed(void *context, struct websocket *socket, struct text why, bool refused)
{
    struct outcome *outcome = context;
    (void)socket;
    outcome->closed++;
    outcome->refused = refused;
    assert_int_equal(text_copy(why, outcome->why, sizeof(outcome->why)), 0);
}

static void end(uv_loop_t *loop, struct websockets *sockets)
{
    websockets_close(sockets);
    while (!websockets_closed(sockets)) {
        uv_run(loop, UV_RUN_ONCE);
    }
    websockets_free(sockets);
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static struct websockets *begin(uv_loop_t *loop)
{
    const struct websockets_options options = {
        .loop = loop, .open_s = 5, .frame_max = 1000, .socket_max = 64, .quiet = true};
    struct websockets *sockets = NULL;
    struct err err = {0};
    assert_int_equal(uv_loop_init(loop), 0);
    if (websockets_new(&options, &sockets, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return sockets;
}

// A port that nobody listens on: bound, so that nobody else gets it.
static void where_nobody_is_nothing_opens(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct websockets *sockets = begin(&loop);
    uv_tcp_t taken;
    struct sockaddr_in address;
    int size = sizeof(address);
    assert_int_equal(uv_tcp_init(&loop, &taken), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_bind(&taken, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_tcp_getsockname(&taken, (struct sockaddr *)&address, &size), 0);
    AUTO(alloc_string)
    char *url = alloc_format("ws://127.0.0.1:%u/", (unsigned)ntohs(address.sin_port));
    struct outcome outcome = {0};
    const struct websocket_handlers handlers = {
        .open = on_open, .closed = on_closed, .context = &outcome};
    assert_non_null(websocket_open(sockets, text_of(url), &handlers));
    while (outcome.closed == 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(outcome.closed, 1);
    assert_false(outcome.refused);
    assert_true(outcome.why[0] != '\0');
    uv_close((uv_handle_t *)&taken, NULL);
    end(&loop, sockets);
}

// What the library cannot even begin is told as any other failure: who waits for it tries again.
static void without_descriptors_it_is_told_and_not_lost(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct websockets *sockets = begin(&loop);
    struct rlimit before = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct outcome outcome = {0};
    const struct websocket_handlers handlers = {
        .open = on_open, .closed = on_closed, .context = &outcome};
    assert_non_null(websocket_open(sockets, TEXT("ws://127.0.0.1:9/"), &handlers));
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (outcome.closed == 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(outcome.closed, 1);
    assert_false(outcome.refused);
    assert_non_null(strstr(outcome.why, "files open"));
    end(&loop, sockets);
}

// Without TLS there is none; and what is under way when all ends calls nobody.
static void ends_are_quiet(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct websockets *sockets = begin(&loop);
    struct outcome outcome = {0};
    const struct websocket_handlers handlers = {
        .open = on_open, .closed = on_closed, .context = &outcome};
    assert_null(websocket_open(sockets, TEXT("wss://127.0.0.1/"), &handlers));
    assert_null(websocket_open(sockets, TEXT("nonsense"), &handlers));
    assert_non_null(websocket_open(sockets, TEXT("ws://127.0.0.1:9/"), &handlers));
    end(&loop, sockets);
    assert_int_equal(outcome.closed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_name_where_to_go),
        cmocka_unit_test(what_is_no_url_is_refused),
        cmocka_unit_test(where_nobody_is_nothing_opens),
        cmocka_unit_test(without_descriptors_it_is_told_and_not_lost),
        cmocka_unit_test(ends_are_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
