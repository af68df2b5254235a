#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "fixture.h"
#include "sigv4/sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ARN "arn:aws:ecs:eu-west-1:111122223333:container-instance/default/0123"
#define ARN_ENCODED                                                                                \
    "arn%3Aaws%3Aecs%3Aeu-west-1%3A111122223333%3Acontainer-instance%2Fdefault%2F0123"
#define ACS                                                                                        \
    "/acs/ws?agentVersion=1.2&clusterArn=default&containerInstanceArn=" ARN_ENCODED "&seqNum=1"
#define ACS_BERTH ACS "&berthAgent=true"
#define TCS "/tcs/ws?cluster=default&containerInstance=" ARN_ENCODED

static const struct fixture_options plain;

static uint16_t session_port(const struct fixture *fixture)
{
    struct text url = text_of(fixture_session_url(fixture));
    uint64_t port = 0;
    assert_int_equal(text_to_u64(text_slice(url, text_find_last(url, ':') + 1, url.size), &port),
                     0);
    return (uint16_t)port;
}

// ---- a websocket client that can do it wrong --------------------------------------------------

struct upgrade {
    const char *target;
    const char *key_id;
    const char *secret;
    bool unsigned_;
    int64_t skew_ms;
};

static struct wire_answer upgrade(struct wire *wire, const struct upgrade *options)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text target = text_of(options->target);
    size_t mark = text_find(target, '?');
    const struct sigv4_header headers[] = {{TEXT("Host"), TEXT("h:1")},
                                           {TEXT("X-Odd"), TEXT("two  words")},
                                           {TEXT("User-Agent"), TEXT("test/1")}};
    const struct sigv4_request request = {
        .method = TEXT("GET"),
        .path = text_slice(target, 0, mark),
        .query = mark == SIZE_MAX ? (struct text){0} : text_slice(target, mark + 1, target.size),
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body = TEXT("")};
    const struct sigv4_identity identity = {
        .key_id = text_of(options->key_id == NULL ? FIXTURE_NODE_KEY : options->key_id),
        .secret = text_of(options->secret == NULL ? FIXTURE_NODE_SECRET : options->secret),
        .region = TEXT("eu-west-1"),
        .service = TEXT("ecs")};
    struct sigv4_signature signature;
    sigv4_sign(&request, &identity, clock_wall_ms() + options->skew_ms, &arena, &signature);
    AUTO(buf_deinit) struct buf bytes = {0};
    buf_format(&bytes, "GET %s HTTP/1.1\r\n", options->target);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        buf_format(&bytes, "%.*s: %.*s\r\n", TEXT_FMT(headers[i].name), TEXT_FMT(headers[i].value));
    }
    if (!options->unsigned_) {
        buf_format(&bytes,
                   "X-Amz-Date: %.*s\r\nX-Amz-Content-Sha256: %.*s\r\nAuthorization: %.*s\r\n",
                   TEXT_FMT(signature.amz_date), TEXT_FMT(signature.content_sha256),
                   TEXT_FMT(signature.authorization));
    }
    buf_string(&bytes, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    wire_send(wire, buf_view(&bytes));
    return wire_read(wire);
}

static void connect_session(struct wire *wire, const struct fixture *fixture, const char *target)
{
    wire_open(wire, session_port(fixture));
    const struct upgrade options = {.target = target};
    struct wire_answer answer = upgrade(wire, &options);
    if (answer.status != 101) {
        print_message("%.*s%.*s\n", TEXT_FMT(answer.head), TEXT_FMT(answer.body));
    }
    assert_int_equal(answer.status, 101);
}

// A frame as a client sends it; the mask is zero, which is as good as any.
static void put_frame(struct buf *out, unsigned char first, struct text payload)
{
    unsigned char head[14] = {first};
    size_t size = 2;
    if (payload.size < 126) {
        head[1] = (unsigned char)(0x80 | payload.size);
    } else {
        head[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++) {
            head[2 + i] = (unsigned char)((uint64_t)payload.size >> (56 - 8 * i));
        }
        size = 10;
    }
    buf_add(out, head, size + 4);
    buf_text(out, payload);
}

static void say(struct wire *wire, const char *text)
{
    AUTO(buf_deinit) struct buf frame = {0};
    put_frame(&frame, 0x81, text_of(text));
    wire_send(wire, buf_view(&frame));
}

// The next frame of the server: its opcode, and its payload as a terminated string to free. More
// bytes come through an answer that is never complete.
static int hear(struct wire *wire, char **out_payload)
{
    for (;;) {
        const unsigned char *bytes = (const unsigned char *)wire->received.data;
        size_t size = wire->received.size;
        size_t head = 2;
        if (size >= 2) {
            uint64_t length = bytes[1] & 127;
            if (length == 126 && size >= 4) {
                length = (uint64_t)bytes[2] << 8 | bytes[3];
                head = 4;
            } else if (length == 127 && size >= 10) {
                length = 0;
                for (int i = 0; i < 8; i++) {
                    length = length << 8 | bytes[2 + i];
                }
                head = 10;
            }
            if (size >= head + length && ((bytes[1] & 127) < 126 || head > 2)) {
                *out_payload = alloc_zero(length + 1);
                memcpy(*out_payload, bytes + head, length);
                int opcode = bytes[0] & 15;
                buf_consume(&wire->received, head + length);
                return opcode;
            }
        }
        if (!wire_more(wire)) {
            *out_payload = alloc_string("");
            return -1;
        }
    }
}

// Skip frames until a text that holds a part comes; the caller frees it.
static char *expect(struct wire *wire, const char *part)
{
    for (;;) {
        char *payload = NULL;
        int opcode = hear(wire, &payload);
        if (opcode == 1 && strstr(payload, part) != NULL) {
            return payload;
        }
        if (opcode != 1 && opcode != 9 && opcode != 10) {
            print_message("closed (%d, '%s') while waiting for '%s'\n", opcode,
                          opcode == 8 ? payload + 2 : "", part);
            fail();
        }
        alloc_free(payload);
    }
}

static void expect_close(struct wire *wire, int status, const char *reason)
{
    for (;;) {
        AUTO(alloc_string) char *payload = NULL;
        int opcode = hear(wire, &payload);
        if (opcode == 1 || opcode == 9 || opcode == 10) {
            continue;
        }
        assert_int_equal(opcode, 8);
        int got = (unsigned char)payload[0] << 8 | (unsigned char)payload[1];
        if (got != status || strstr(payload + 2, reason) == NULL) {
            print_message("closed with %d '%s'\n", got, payload + 2);
            fail();
        }
        return;
    }
}

static void frames_go_both_ways(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    connect_session(&wire, fixture, ACS_BERTH);
    fixture_expect(fixture, "connect node-1 " ARN " berth;");
    alloc_free(
        expect(&wire, "{\"type\":\"TaskManifestMessage\",\"message\":{\"messageId\":\"m1\""));
    say(&wire, "{\"type\":\"AckRequest\",\"message\":{\"messageId\":\"m1\",\"more\":[1]}}");
    fixture_expect(fixture, "ack node-1 m1;");
    say(&wire, "{\"type\":\"TaskStopVerificationMessage\",\"message\":{\"messageId\":\"m1\","
               "\"stopCandidates\":[{\"taskArn\":\"a\",\"desiredStatus\":\"STOPPED\"}]}}");
    fixture_expect(fixture, "candidates 1;");
    say(&wire, "{\"type\":\"SomethingNew\",\"message\":{}}");
    say(&wire, "{\"type\":\"HeartbeatAckRequest\",\"message\":{\"messageId\":\"h\"}}");

    // In fragments, with a ping between them, as the RFC allows.
    AUTO(buf_deinit) struct buf frames = {0};
    put_frame(&frames, 0x01, TEXT("{\"type\":\"AckRequest\",\"mess"));
    put_frame(&frames, 0x89, TEXT("ping"));
    put_frame(&frames, 0x00, TEXT("age\":{\"messageId\":"));
    put_frame(&frames, 0x80, TEXT("\"m2\"}}"));
    wire_send(&wire, buf_view(&frames));
    fixture_expect(fixture, "ack node-1 m2;");

    // Effects of others find the node: the toy sends one to a node with the item's name.
    AUTO(wire_close) struct wire api = {0};
    wire_open(&api, fixture_port(fixture));
    wire_call(&api, "Toy_20240101.CreateItem", "{\"name\":\"node-1\",\"announce\":true}", NULL);
    alloc_free(expect(&wire, "{\"type\":\"NoticeMessage\",\"message\":{\"key\":"));
    wire_call(&api, "Toy_20240101.CreateItem", "{\"name\":\"node-9\",\"announce\":true}", NULL);

    wire_close(&wire);
    fixture_expect(fixture, "disconnect node-1;");
}

// What goes to Amazon's agent is in the words of its protocol: times are whole numbers, and what it
// has no word for it does not hear.
static void amazons_agent_hears_its_own_protocol(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    connect_session(&wire, fixture, ACS);
    fixture_expect(fixture, "connect node-1 " ARN " stock;");
    char *manifest = expect(&wire, "{\"type\":\"TaskManifestMessage\",\"message\":{");
    assert_non_null(strstr(manifest, "\"generatedAt\":1"));
    assert_null(strchr(strstr(manifest, "\"generatedAt\":"), '.'));
    alloc_free(manifest);
    AUTO(wire_close) struct wire api = {0};
    wire_open(&api, fixture_port(fixture));
    wire_call(&api, "Toy_20240101.CreateItem", "{\"name\":\"node-1\",\"announce\":true}", NULL);
    say(&wire, "{\"type\":\"AckRequest\",\"message\":{\"messageId\":\"m1\"}}");
    fixture_expect(fixture, "ack node-1 m1;");
    assert_null(memmem(wire.received.data, wire.received.size, "NoticeMessage", 13));
}

static void berth_agents_hear_every_second(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    connect_session(&wire, fixture, ACS_BERTH);
    fixture_expect(fixture, " berth;");
    int64_t begin_ns = clock_monotonic_ns();
    for (int i = 0; i < 3; i++) {
        alloc_free(expect(&wire, "{\"type\":\"HeartbeatMessage\",\"message\":{\"messageId\":"));
    }
    // Two seconds and what a busy machine adds; Amazon's would not have heard the second by then.
    assert_true(clock_monotonic_ns() - begin_ns < INT64_C(39000000000));
}

static void newer_sessions_replace_older(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire older = {0};
    AUTO(wire_close) struct wire newer = {0};
    connect_session(&older, fixture, ACS);
    fixture_expect(fixture, "connect");
    connect_session(&newer, fixture, ACS_BERTH);
    expect_close(&older, 1008, "replaced by a newer session");
    wire_close(&older);
    say(&newer, "{\"type\":\"AckRequest\",\"message\":{\"messageId\":\"m1\"}}");
    // No disconnect between: to the engine the node was never away.
    fixture_expect(fixture,
                   "connect node-1 " ARN " stock;connect node-1 " ARN " berth;ack node-1 m1;");
}

static void telemetry_has_header_lines(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    connect_session(&wire, fixture, TCS);
    say(&wire,
        "GET /ws HTTP/1.1\r\nHost: h\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n\r\n"
        "{\"type\":\"PublishHealthRequest\",\"message\":{\"metadata\":{\"fin\":true},\"tasks\":[{"
        "\"taskArn\":\"a\",\"containers\":[{\"containerName\":\"c\",\"healthStatus\":"
        "\"HEALTHY\",\"statusSince\":1700000000.5}]}],\"timestamp\":1700000000}}");
    fixture_expect(fixture, "health HEALTHY;");
    alloc_free(expect(&wire, "{\"type\":\"AckPublishHealth\",\"message\":{\"message\":\"ok\"}}"));
    say(&wire, "{\"type\":\"PublishMetricsRequest\",\"message\":{}}");
    alloc_free(expect(&wire, "\"AckPublishMetric\""));
    say(&wire, "{\"type\":\"PublishInstanceStatusRequest\",\"message\":{\"statuses\":[{\"type\":"
               "\"CONTAINER_RUNTIME\",\"status\":\"OK\",\"lastUpdated\":1700000000}]}}");
    fixture_expect(fixture, "CONTAINER_RUNTIME OK;");
    alloc_free(expect(&wire, "\"AckPublishInstanceStatus\""));
}

// @return whether a text is in what has come so far
static bool has_come(const struct wire *wire, const char *text)
{
    char bytes[65536];
    ssize_t size = recv(wire->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    return memmem(wire->received.data, wire->received.size, text, strlen(text)) != NULL ||
           (size > 0 && memmem(bytes, (size_t)size, text, strlen(text)) != NULL);
}

// A node forgets what was acknowledged: a server that is killed must not, which comes back with
// what it wrote.
static void timelines_are_acknowledged_once_written(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire told = {0};
    AUTO(wire_close) struct wire beside = {0};
    AUTO(wire_close) struct wire api = {0};
    connect_session(&told, fixture, TCS);
    connect_session(&beside, fixture, ACS_BERTH);
    fixture_hold_store(fixture, true);
    wire_open(&api, fixture_port(fixture));
    const struct wire_sign sign = {0};
    AUTO(buf_deinit) struct buf change = {0};
    wire_request(&change, "Toy_20240101.CreateItem", TEXT("{\"name\":\"a\"}"), &sign);
    wire_send(&api, buf_view(&change));
    fixture_expect(fixture, "writing;");
    say(&told, "{\"type\":\"PublishTimelineRequest\",\"message\":{\"metadata\":{\"messageId\":"
               "\"timeline-7\"},\"tasks\":[{\"taskArn\":\"a\",\"containers\":[]}],\"timestamp\":"
               "1700000000}}");
    fixture_expect(fixture, "timeline a;");
    // The loop turns: what would come has come with the second.
    for (int i = 0; i < 2; i++) {
        alloc_free(expect(&beside, "HeartbeatMessage"));
    }
    bool early = has_come(&told, "AckPublishTimeline");
    fixture_hold_store(fixture, false);
    assert_false(early);
    alloc_free(expect(
        &told, "{\"type\":\"AckPublishTimeline\",\"message\":{\"messageId\":\"timeline-7\"}"));
}

static void strangers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct upgrade upgrade;
        int want_status;
        const char *want;
    } cases[] = {
        {"unsigned",
         {.target = ACS, .unsigned_ = true},
         400,
         "{\"AccessDeniedException\":\"Missing Authentication Token\"}"},
        {"wrong secret",
         {.target = ACS, .secret = "x"},
         400,
         "{\"AccessDeniedException\":\"The request signature"},
        {"unknown key",
         {.target = ACS, .key_id = "AKIDNOBODY"},
         400,
         "{\"AccessDeniedException\":\"The security token"},
        {"a key of no node, for an instance that is not a stock agent's",
         {.target = "/acs/ws?containerInstanceArn=c%2Falien",
          .key_id = FIXTURE_KEY,
          .secret = FIXTURE_SECRET},
         400,
         "{\"InvalidInstanceException\":\"no stock agent's"},
        {"the same for telemetry",
         {.target = "/tcs/ws?containerInstance=c%2Falien",
          .key_id = FIXTURE_KEY,
          .secret = FIXTURE_SECRET},
         400,
         "{\"InvalidInstanceException\":\"no stock agent's"},
        {"a key of no node, for none",
         {.target = "/tcs/ws", .key_id = FIXTURE_KEY, .secret = FIXTURE_SECRET},
         400,
         "names no container instance"},
        {"an hour ago", {.target = ACS, .skew_ms = -3600000}, 400, "Signature expired"},
        {"another path",
         {.target = "/ws"},
         404,
         "{\"BadRequestException\":\"Sessions of nodes are at"},
        {"no instance", {.target = "/acs/ws"}, 400, "containerInstanceArn"},
    };
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(wire_close) struct wire wire = {0};
        wire_open(&wire, session_port(fixture));
        struct wire_answer answer = upgrade(&wire, &cases[i].upgrade);
        assert_int_equal(answer.status, cases[i].want_status);
        assert_non_null(
            memmem(answer.body.data, answer.body.size, cases[i].want, strlen(cases[i].want)));
        wire_expect_closed(&wire);
    }
    AUTO(wire_close) struct wire other = {0};
    connect_session(&other, fixture, "/acs/ws?containerInstanceArn=arn%3Anot-mine");
    expect_close(&other, 1008, "ResourceNotFoundException: that instance is not yours");
}

// A stock agent has a key of its account and acts for the instance that it names.
static void a_stock_agent_acts_for_its_instance(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire wire = {0};
    wire_open(&wire, session_port(fixture));
    const struct upgrade options = {
        .target = ACS_BERTH, .key_id = FIXTURE_KEY, .secret = FIXTURE_SECRET};
    assert_int_equal(upgrade(&wire, &options).status, 101);
    fixture_expect(fixture, "connect 0123 " ARN " stock;"); // whatever it calls itself
    alloc_free(expect(&wire, "HeartbeatMessage"));
}

static void bad_frames_end_the_session(void **state)
{
    (void)state;
    static const struct {
        const char *frame;
        int want;
    } cases[] = {
        {"", 1007},
        {"nonsense", 1007},
        {"{\"type\":\"AckRequest\"}", 1007},
        {"{\"type\":\"AckRequest\",\"message\":{}}", 1007},
        {"{\"type\":\"AckRequest\",\"message\":{\"messageId\":7}}", 1007},
        {"{\"type\":\"LogsReply\",\"message\":{\"requestId\":\"1\",\"data\":\"###\"}}", 1007},
    };
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].frame);
        AUTO(wire_close) struct wire wire = {0};
        connect_session(&wire, fixture, ACS);
        say(&wire, cases[i].frame);
        expect_close(&wire, cases[i].want, "");
    }
    AUTO(wire_close) struct wire wire = {0};
    connect_session(&wire, fixture, ACS);
    AUTO(buf_deinit) struct buf large = {0};
    AUTO(buf_deinit) struct buf frame = {0};
    while (large.size <= LIMIT_FRAME_BYTES) {
        buf_string(&large, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    }
    put_frame(&frame, 0x81, buf_view(&large));
    wire_send(&wire, buf_view(&frame));
    expect_close(&wire, 1009, "4 MiB");
}

// ---- output of containers ---------------------------------------------------------------------

static const struct wire_sign berth = {.service = "berth"};

static void ask_logs(struct wire *api, const char *body)
{
    AUTO(buf_deinit) struct buf request = {0};
    wire_request(&request, "Berth.GetTaskLogs", text_of(body), &berth);
    wire_send(api, buf_view(&request));
}

// The id in a LogsRequest is made by the server; answer with it.
static void reply_logs(struct wire *node, const char *part, const char *members)
{
    AUTO(alloc_string) char *asked = expect(node, "\"LogsRequest\"");
    if (strstr(asked, part) == NULL) {
        print_message("asked: %s\n", asked);
        fail();
    }
    const char *id = strstr(asked, "\"requestId\":\"") + 13;
    AUTO(alloc_string)
    char *reply = alloc_format("{\"type\":\"LogsReply\",\"message\":{\"requestId\":\"%.*s\",%s}}",
                               (int)strcspn(id, "\""), id, members);
    say(node, reply);
}

static void expect_answer(struct wire *api, int status, const char *part)
{
    struct wire_answer answer = wire_read(api);
    if (answer.status != status ||
        memmem(answer.body.data, answer.body.size, part, strlen(part)) == NULL) {
        print_message("got %d '%.*s'\n", answer.status, TEXT_FMT(answer.body));
        fail();
    }
}

static void logs_come_from_the_node(void **state)
{
    (void)state;
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire node = {0};
    AUTO(wire_close) struct wire api = {0};
    wire_open(&api, fixture_port(fixture));

    ask_logs(&api, "{\"task\":\"nowhere\"}");
    expect_answer(&api, 400,
                  "ResourceNotFoundException\",\"message\":\"There is no task 'nowhere'");
    ask_logs(&api, "{\"task\":\"t\"}");
    expect_answer(&api, 400,
                  "Node node-1, which holds the output of task arn:task, is not connected");

    AUTO(wire_close) struct wire stock = {0};
    connect_session(&stock, fixture, ACS);
    fixture_expect(fixture, " stock;");
    ask_logs(&api, "{\"task\":\"t\"}");
    expect_answer(&api, 400, "Node node-1 has Amazon's container agent: the output of task");

    connect_session(&node, fixture, ACS_BERTH);
    fixture_expect(fixture, "connect");
    ask_logs(&api, "{\"task\":\"t\",\"container\":\"web\",\"offset\":5,\"limit\":10}");
    reply_logs(&node, "\"taskArn\":\"arn:task\",\"container\":\"web\",\"offset\":5,\"limit\":10",
               "\"data\":\"aGVsbG8=\",\"nextOffset\":10,\"ended\":false,\"container\":\"web\"");
    expect_answer(
        &api, 200,
        "{\"data\":\"aGVsbG8=\",\"nextOffset\":10,\"ended\":false,\"container\":\"web\"}");

    // Waiting: an empty answer is asked again until there is more.
    ask_logs(&api, "{\"task\":\"t\",\"waitMs\":10000}");
    reply_logs(&node, "\"offset\":-1", "\"nextOffset\":7,\"ended\":false");
    reply_logs(&node, "\"offset\":7", "\"nextOffset\":7,\"ended\":false");
    reply_logs(&node, "\"offset\":7", "\"data\":\"eA==\",\"nextOffset\":8,\"ended\":true");
    expect_answer(&api, 200, "\"data\":\"eA==\",\"nextOffset\":8,\"ended\":true");

    ask_logs(&api, "{\"task\":\"t\"}");
    reply_logs(&node, "", "\"error\":\"There is no container 'x'.\"");
    expect_answer(&api, 400, "There is no container 'x'.");

    // Another caller goes away while the node thinks; the next one is served.
    AUTO(wire_close) struct wire gone = {0};
    wire_open(&gone, fixture_port(fixture));
    ask_logs(&gone, "{\"task\":\"t\",\"waitMs\":10000}");
    alloc_free(expect(&node, "LogsRequest"));
    wire_close(&gone);

    ask_logs(&api, "{\"task\":\"t\",\"waitMs\":10000}");
    alloc_free(expect(&node, "LogsRequest"));
    wire_close(&node);
    expect_answer(&api, 400, "is not connected");
    ask_logs(&api, "{\"task\":\"t\",\"waitMs\":30000}");
    expect_answer(&api, 400, "InvalidParameterException");
}

// A stop with sessions open and requests under way must end, and leave nothing.
static void stops_in_the_middle(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(&plain);
    AUTO(wire_close) struct wire node = {0};
    AUTO(wire_close) struct wire api = {0};
    AUTO(wire_close) struct wire idle = {0};
    wire_open(&api, fixture_port(fixture));
    wire_open(&idle, fixture_port(fixture));
    connect_session(&node, fixture, ACS_BERTH);
    ask_logs(&api, "{\"task\":\"t\"}");
    alloc_free(expect(&node, "LogsRequest"));
    fixture_free(fixture);
    expect_answer(&api, 503, "The server is stopping.");
    wire_expect_closed(&node);
    wire_expect_closed(&idle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_both_ways),
        cmocka_unit_test(amazons_agent_hears_its_own_protocol),
        cmocka_unit_test(berth_agents_hear_every_second),
        cmocka_unit_test(newer_sessions_replace_older),
        cmocka_unit_test(telemetry_has_header_lines),
        cmocka_unit_test(timelines_are_acknowledged_once_written),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(a_stock_agent_acts_for_its_instance),
        cmocka_unit_test(bad_frames_end_the_session),
        cmocka_unit_test(logs_come_from_the_node),
        cmocka_unit_test(stops_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
