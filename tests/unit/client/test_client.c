#include "api/berth.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "client/client.h"
#include "client/token.h"
#include "fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 240000
#define CALLS 50

static const struct fixture_options plain;
static const struct fixture_options tls = {.tls = true};

static struct client_options options_for(const struct fixture *fixture)
{
    return (struct client_options){.endpoint = fixture_url(fixture),
                                   .key_id = FIXTURE_KEY,
                                   .secret = FIXTURE_SECRET,
                                   .region = "eu-west-1"};
}

static struct client *client_for(const struct client_options *options)
{
    struct client *client = NULL;
    struct err err = {0};
    if (client_new(options, &client, &err) != 0) {
        print_message("%s\n", err.text);
        fail();
    }
    return client;
}

static int create(struct client *client, const char *name, struct arena *arena,
                  struct toy_item_response *out, struct err *err)
{
    const struct toy_create_item_request request = {.name = text_of(name)};
    return client_call_wait(client, &toy_operations[TOY_OP_CREATE_ITEM], &request, TIMEOUT_MS,
                            arena, out, err);
}

static void calls_wait_for_answers(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    const struct client_options options = options_for(fixture);
    AUTO(client_free) struct client *client = client_for(&options);
    AUTO(arena_deinit) struct arena arena = {0};
    struct toy_item_response response = {0};
    struct err err = {0};
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof(name), "item-%d", i);
        assert_int_equal(create(client, name, &arena, &response, &err), 0);
        assert_true(response.has_key);
        assert_true(text_is(response.name, name));
    }
    fixture_expect_connections(fixture, 1);
    assert_int_equal(create(client, "item-1", &arena, &response, &err), ERR_FAULT);
    assert_string_equal(err.text, "ToyException: there is an item named item-1");

    const struct toy_item_request item = {.has_key = true, .key = 1};
    assert_int_equal(client_call_wait(client, &toy_operations[TOY_OP_UNBUILT], &item, TIMEOUT_MS,
                                      &arena, &response, &err),
                     ERR_FAULT);
    assert_true(text_starts(text_of(err.text), TEXT("NotImplementedException: ")));
}

static void refusals_and_absence_differ(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(&plain);
    struct client_options options = options_for(fixture);
    AUTO(arena_deinit) struct arena arena = {0};
    struct toy_item_response response = {0};
    struct err err = {0};
    options.secret = "wrong";
    AUTO(client_free) struct client *wrong = client_for(&options);
    assert_int_equal(create(wrong, "x", &arena, &response, &err), ERR_FAULT);
    assert_true(text_starts(text_of(err.text), TEXT("InvalidSignatureException: ")));
    options.key_id = NULL;
    AUTO(client_free) struct client *unsigned_client = client_for(&options);
    assert_int_equal(create(unsigned_client, "x", &arena, &response, &err), ERR_FAULT);
    assert_true(text_starts(text_of(err.text), TEXT("MissingAuthenticationTokenException: ")));
    fixture_free(fixture);
    assert_int_equal(create(wrong, "x", &arena, &response, &err), ERR_CLOSED);

    struct client *none = NULL;
    static const char *const endpoints[] = {"",        "localhost:1", "ftp://h",
                                            "http://", "http://h/x",  "http://u@h"};
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        options.endpoint = endpoints[i];
        assert_int_equal(client_new(&options, &none, &err), ERR_INVALID);
    }
}

// ---- another's clock --------------------------------------------------------------------------

/** A server that refuses all, with a clock that is off. */
struct off_server {
    int fd;
    pthread_t thread;
    int hours[4];        ///< that its clock is off, for each answer
    int64_t signed_s[4]; ///< the time of each request
};

static int64_t read_amz_date(const char *request)
{
    const char *at = strcasestr(request, "x-amz-date:");
    struct tm parts = {0};
    assert_non_null(at);
    assert_non_null(strptime(at + strlen("x-amz-date:"), " %Y%m%dT%H%M%SZ", &parts));
    return (int64_t)timegm(&parts);
}

static void *serve_off(void *context)
{
    struct off_server *server = context;
    static const char body[] = "{\"__type\":\"InvalidSignatureException\",\"message\":\"off\"}";
    for (size_t i = 0; i < ARRAY_LEN(server->hours); i++) {
        char request[8192] = "";
        char date[64];
        char answer[512];
        int fd = accept(server->fd, NULL, NULL);
        size_t size = 0;
        // Its body is one small object, the last character of which is a brace.
        while (size < sizeof(request) - 1 && (size == 0 || request[size - 1] != '}')) {
            ssize_t got = read(fd, request + size, sizeof(request) - 1 - size);
            if (got <= 0) {
                break;
            }
            size += (size_t)got;
        }
        server->signed_s[i] = read_amz_date(request);
        time_t now_s = (time_t)(clock_wall_ms() / 1000) + server->hours[i] * 3600;
        struct tm parts;
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now_s, &parts));
        int length = snprintf(answer, sizeof(answer),
                              "HTTP/1.1 403 Forbidden\r\nDate: %s\r\nContent-Length: %zu\r\n"
                              "Connection: close\r\n\r\n%s",
                              date, sizeof(body) - 1, body);
        IGNORE(write(fd, answer, (size_t)length) != length, "the client tells");
        close(fd);
    }
    return NULL;
}

// Whichever clock is off: the next request is signed with the time that the answer told.
static void requests_are_signed_with_the_servers_time(void **state)
{
    (void)state;
    struct off_server server = {.hours = {5, 0, -30, 0}};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server.fd, 4), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(pthread_create(&server.thread, NULL, serve_off, &server), 0);
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    const struct client_options options = {
        .endpoint = url, .key_id = FIXTURE_KEY, .secret = FIXTURE_SECRET, .region = "eu-west-1"};
    AUTO(client_free) struct client *client = client_for(&options);
    AUTO(arena_deinit) struct arena arena = {0};
    struct toy_item_response response = {0};
    struct err err = {0};
    static const int want_hours[] = {0, 5, 0, -30};
    for (size_t i = 0; i < ARRAY_LEN(want_hours); i++) {
        assert_int_equal(create(client, "x", &arena, &response, &err), ERR_FAULT);
        int64_t hours =
            (client_clock_offset_ms(client) + (server.hours[i] < 0 ? -1800000 : 1800000)) / 3600000;
        assert_int_equal(hours, server.hours[i]);
    }
    pthread_join(server.thread, NULL);
    close(server.fd);
    for (size_t i = 0; i < ARRAY_LEN(want_hours); i++) {
        int64_t off_s = server.signed_s[i] - clock_wall_ms() / 1000 - want_hours[i] * 3600;
        print_message("request %zu is signed %d h off\n", i, want_hours[i]);
        assert_true(off_s > -600 && off_s < 600);
    }
}

// ---- on a loop --------------------------------------------------------------------------------

struct calls {
    uv_loop_t loop;
    struct client *client;
    int done;
    int refused;
    bool free_inside;
};

static void on_done(void *context, const struct client_result *result)
{
    struct calls *calls = context;
    calls->done++;
    if (result->rc == ERR_FAULT) {
        assert_int_equal(result->http_status, 400);
        assert_true(text_is(result->fault_code, "ToyException"));
        assert_true(text_starts(result->message, TEXT("there is an item named")));
        calls->refused++;
    } else {
        assert_int_equal(result->rc, 0);
        const struct toy_item_response *response = result->response;
        assert_true(text_starts(response->name, TEXT("item-")));
    }
    if (calls->free_inside || calls->done == CALLS) {
        client_free(calls->client);
        calls->client = NULL;
    }
}

static void start_calls(struct calls *calls, const struct fixture *fixture)
{
    uv_loop_init(&calls->loop);
    struct client_options options = options_for(fixture);
    options.loop = &calls->loop;
    calls->client = client_for(&options);
    for (int i = 0; i < CALLS; i++) {
        char name[32];
        // Every name is used twice.
        snprintf(name, sizeof(name), "item-%d", i / 2);
        const struct toy_create_item_request request = {.name = text_of(name)};
        client_call(calls->client, &toy_operations[TOY_OP_CREATE_ITEM], &request, TIMEOUT_MS,
                    on_done, calls);
    }
}

static void calls_run_on_a_loop(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    struct calls calls = {0};
    start_calls(&calls, fixture);
    assert_int_equal(uv_run(&calls.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(calls.done, CALLS);
    assert_int_equal(calls.refused, CALLS / 2);
    assert_int_equal(uv_loop_close(&calls.loop), 0);
}

// ---- any URL ----------------------------------------------------------------------------------

struct posts {
    uv_loop_t loop;
    struct client *client;
    int left;
};

static void posts_done(struct posts *posts)
{
    posts->left--;
    if (posts->left == 0) {
        client_free(posts->client);
    }
}

static void on_refused(void *context, const struct client_result *result)
{
    assert_int_equal(result->rc, ERR_FAULT);
    assert_int_equal(result->http_status, 404);
    assert_true(text_ends(result->message, TEXT("/nothing/here: HTTP status 404")));
    posts_done(context);
}

static void on_unreached(void *context, const struct client_result *result)
{
    assert_int_equal(result->rc, ERR_CLOSED);
    assert_int_equal(result->http_status, 0);
    assert_true(text_starts(result->message, TEXT("http://127.0.0.1:1/x: ")));
    posts_done(context);
}

// client_post needs no endpoint, and tells what came of each POST.
static void posts_go_to_any_url(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    struct posts posts = {.left = 2};
    uv_loop_init(&posts.loop);
    const struct client_options options = {.loop = &posts.loop};
    posts.client = client_for(&options);
    AUTO(arena_deinit) struct arena arena = {0};
    struct text url = arena_format(&arena, "%s/nothing/here", fixture_url(fixture));
    client_post(posts.client, url, TEXT("{}"), TIMEOUT_MS, on_refused, &posts);
    client_post(posts.client, TEXT("http://127.0.0.1:1/x"), TEXT("{}"), TIMEOUT_MS, on_unreached,
                &posts);
    assert_int_equal(uv_run(&posts.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(posts.left, 0);
    assert_int_equal(uv_loop_close(&posts.loop), 0);
}

// Freed in a callback, with calls under way: their callbacks never come, and nothing is left.
static void clients_may_be_freed_at_any_time(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    struct calls calls = {.free_inside = true};
    start_calls(&calls, fixture);
    assert_int_equal(uv_run(&calls.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(calls.done, 1);
    assert_int_equal(uv_loop_close(&calls.loop), 0);

    struct calls at_once = {0};
    start_calls(&at_once, fixture);
    client_free(at_once.client);
    assert_int_equal(uv_run(&at_once.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(at_once.done, 0);
    assert_int_equal(uv_loop_close(&at_once.loop), 0);
}

// ---- TLS and joining --------------------------------------------------------------------------

static void hosts_join_by_the_hash_of_the_ca(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&tls);
    AUTO(arena_deinit) struct arena arena = {0};
    struct err err = {0};
    struct client_options options = options_for(fixture);
    options.ca_file = pki_ca_file(fixture_pki(fixture));
    AUTO(client_free) struct client *admin = client_for(&options);
    const struct berth_create_join_token_request ask = {0};
    struct berth_create_join_token_response made = {0};
    if (client_call_wait(admin, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &ask, TIMEOUT_MS,
                         &arena, &made, &err) != 0) {
        print_message("%s\n", err.text);
        fail();
    }

    // What a new host has is the token, nothing else.
    struct client_token token = {0};
    assert_int_equal(client_token_parse(made.token, &arena, &token, &err), 0);
    assert_true(text_is(token.endpoint, fixture_url(fixture)));
    struct client_options joining = {.endpoint = token.endpoint.data,
                                     .pinned_ca_sha256 = token.ca_sha256.data};
    AUTO(client_free) struct client *host = client_for(&joining);
    const struct berth_join_node_request join = {
        .token_id = token.token_id, .token_secret = token.secret, .name = TEXT("host-2")};
    struct berth_join_node_response joined = {0};
    if (client_call_wait(host, &berth_operations[BERTH_OP_JOIN_NODE], &join, TIMEOUT_MS, &arena,
                         &joined, &err) != 0) {
        print_message("%s\n", err.text);
        fail();
    }
    assert_true(joined.node_id.size > 0);
    assert_true(joined.secret_access_key.size > 0);

    // The CA it got is the server's, and good for what follows.
    AUTO(buf_deinit) struct buf ca = {0};
    assert_int_equal(file_read(AT_FDCWD, options.ca_file, 65536, &ca, &err), 0);
    assert_true(text_equal(client_server_ca(host, &arena), buf_view(&ca)));

    // The token was good for one host.
    assert_int_equal(client_call_wait(host, &berth_operations[BERTH_OP_JOIN_NODE], &join,
                                      TIMEOUT_MS, &arena, &joined, &err),
                     ERR_FAULT);
    assert_true(text_starts(text_of(err.text), TEXT("AccessDeniedException: ")));
}

static void other_authorities_are_not_trusted(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&tls);
    char directory[] = "/tmp/berth-pki-XXXXXX";
    assert_non_null(mkdtemp(directory));
    AUTO(pki_free) struct pki *other = NULL;
    struct err err = {0};
    const struct pki_names names = {NULL, 0};
    assert_int_equal(pki_open(directory, &names, clock_wall_ms(), &other, &err), 0);

    AUTO(arena_deinit) struct arena arena = {0};
    struct toy_item_response response = {0};
    AUTO(alloc_string) char *other_hash = alloc_format("%.*s", TEXT_FMT(pki_ca_sha256(other)));
    AUTO(alloc_string)
    char *own_hash = alloc_format("%.*s", TEXT_FMT(pki_ca_sha256(fixture_pki(fixture))));
    const struct {
        const char *name;
        const char *endpoint;
        const char *ca_file;
        const char *pin;
        int want;
    } cases[] = {
        {"the system's authorities", fixture_url(fixture), NULL, NULL, ERR_CLOSED},
        {"another CA", fixture_url(fixture), pki_ca_file(other), NULL, ERR_CLOSED},
        {"another pin", fixture_url(fixture), NULL, other_hash, ERR_CLOSED},
        {"its own pin", fixture_url(fixture), NULL, own_hash, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct client_options options = options_for(fixture);
        options.endpoint = cases[i].endpoint;
        options.ca_file = cases[i].ca_file;
        options.pinned_ca_sha256 = cases[i].pin;
        AUTO(client_free) struct client *client = client_for(&options);
        int rc = create(client, cases[i].name, &arena, &response, &err);
        if (rc != cases[i].want) {
            print_message("%d %s\n", rc, err.text);
            fail();
        }
    }
    assert_int_equal(file_remove_tree(AT_FDCWD, directory, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_wait_for_answers),
        cmocka_unit_test(refusals_and_absence_differ),
        cmocka_unit_test(requests_are_signed_with_the_servers_time),
        cmocka_unit_test(calls_run_on_a_loop),
        cmocka_unit_test(posts_go_to_any_url),
        cmocka_unit_test(clients_may_be_freed_at_any_time),
        cmocka_unit_test(hosts_join_by_the_hash_of_the_ca),
        cmocka_unit_test(other_authorities_are_not_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
