#include "base/alloc.h"
#include "base/text.h"
#include "channel/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define FRAMES_MAX 8192
#define STREAM_BYTES 200000

/** A frame on its way. */
struct flight {
    struct buf frame;
    int64_t at_ms;
};

/** One end, and what the other one sends to it. */
struct end {
    struct world *world;
    struct channel *channel;
    struct flight flights[FRAMES_MAX]; // to this end
    size_t flight_count;
    struct buf received;
    size_t sent;
    bool ready;
    bool closed;
    struct buf output; // what the other end said when it closed
};

struct world {
    uint64_t seed;
    int64_t now_ms;
    uint32_t loss; // of 100
    uint32_t twice;
    uint32_t delay_ms;
    struct end ends[2];
};

static uint64_t next_random(struct world *world)
{
    world->seed = world->seed * 6364136223846793005u + 1442695040888963407u;
    return world->seed >> 33;
}

static struct end *other(struct end *end)
{
    return &end->world->ends[end == &end->world->ends[0]];
}

static void on_send(void *context, struct text frame)
{
    struct end *from = context;
    struct world *world = from->world;
    struct end *to = other(from);
    size_t copies = next_random(world) % 100 < world->loss    ? 0
                    : next_random(world) % 100 < world->twice ? 2
                                                              : 1;
    for (size_t i = 0; i < copies; i++) {
        assert_true(to->flight_count < FRAMES_MAX);
        struct flight *flight = &to->flights[to->flight_count++];
        *flight = (struct flight){0};
        buf_text(&flight->frame, frame);
        flight->at_ms = world->now_ms + 1 + (int64_t)(next_random(world) % (world->delay_ms + 1));
    }
}

static void on_data(void *context, uint32_t payload_type, struct text payload)
{
    struct end *end = context;
    if (payload_type == MESSAGE_PAYLOAD_OUTPUT) {
        buf_text(&end->received, payload);
    }
}

static void on_ready(void *context)
{
    struct end *end = context;
    assert_false(end->ready);
    end->ready = true;
}

static void on_closed(void *context, struct text output)
{
    struct end *end = context;
    end->closed = true;
    buf_text(&end->output, output);
}

static void on_random(void *context, void *bytes, size_t size)
{
    struct end *end = context;
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *)bytes)[i] = (unsigned char)next_random(end->world);
    }
}

static struct world *world_new(uint64_t seed)
{
    struct world *world = ALLOC(struct world);
    world->seed = seed;
    world->now_ms = 1700000000000;
    for (size_t i = 0; i < 2; i++) {
        struct end *end = &world->ends[i];
        end->world = world;
        const struct channel_handlers handlers = {.send = on_send,
                                                  .data = on_data,
                                                  .ready = on_ready,
                                                  .closed = on_closed,
                                                  .random = on_random,
                                                  .context = end};
        end->channel = channel_new(i == 0 ? CHANNEL_NODE : CHANNEL_CLIENT, TEXT("s"), &handlers);
    }
    return world;
}

static void drop_flights(struct end *end)
{
    for (size_t i = 0; i < end->flight_count; i++) {
        buf_deinit(&end->flights[i].frame);
    }
    end->flight_count = 0;
}

static void world_free(struct world *world)
{
    for (size_t i = 0; i < 2; i++) {
        drop_flights(&world->ends[i]);
        channel_free(world->ends[i].channel);
        buf_deinit(&world->ends[i].received);
        buf_deinit(&world->ends[i].output);
    }
    alloc_free(world);
}

static void arrive(struct end *end)
{
    for (size_t i = 0; i < end->flight_count;) {
        if (end->flights[i].at_ms > end->world->now_ms) {
            i++;
            continue;
        }
        struct buf frame = end->flights[i].frame;
        end->flights[i] = end->flights[--end->flight_count];
        struct err err = {0};
        int rc = channel_receive(end->channel, end->world->now_ms, buf_view(&frame), &err);
        if (rc != 0) {
            fail_msg("%s", err.text);
        }
        buf_deinit(&frame);
    }
}

static char stream_byte(size_t at)
{
    return (char)(unsigned char)(at * 31 + (at >> 8) * 7);
}

// Say more of the stream, as far as there is room.
static void speak(struct end *end)
{
    char bytes[5000];
    size_t wanted = (size_t)(next_random(end->world) % sizeof(bytes));
    size_t size = MIN(MIN(channel_room(end->channel), STREAM_BYTES - end->sent), wanted);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = stream_byte(end->sent + i);
    }
    channel_send(end->channel, end->world->now_ms, MESSAGE_PAYLOAD_OUTPUT,
                 (struct text){bytes, size});
    end->sent += size;
}

static void check_stream(const struct end *end)
{
    assert_int_equal(end->received.size, STREAM_BYTES);
    for (size_t i = 0; i < STREAM_BYTES; i++) {
        assert_int_equal(end->received.data[i], stream_byte(i));
    }
}

static bool all_said(const struct world *world)
{
    for (size_t i = 0; i < 2; i++) {
        const struct end *end = &world->ends[i];
        if (end->sent < STREAM_BYTES || !channel_idle(end->channel)) {
            return false;
        }
    }
    return true;
}

static void run(struct world *world, bool cuts)
{
    for (size_t i = 0; i < 2; i++) {
        channel_open(world->ends[i].channel, world->now_ms);
    }
    size_t steps = 0;
    while (!all_said(world)) {
        if (++steps >= 20000) {
            fail_msg("not done: sent %zu and %zu, idle %d and %d, room %zu and %zu",
                     world->ends[0].sent, world->ends[1].sent, channel_idle(world->ends[0].channel),
                     channel_idle(world->ends[1].channel), channel_room(world->ends[0].channel),
                     channel_room(world->ends[1].channel));
        }
        world->now_ms += 5;
        for (size_t i = 0; i < 2; i++) {
            struct end *end = &world->ends[i];
            arrive(end);
            if (end->ready) {
                speak(end);
            }
            channel_tick(end->channel, world->now_ms);
        }
        if (cuts && next_random(world) % 200 == 0) {
            // A connection ends with all that is on its way, and a new one is made.
            drop_flights(&world->ends[0]);
            drop_flights(&world->ends[1]);
            channel_open(world->ends[0].channel, world->now_ms);
            channel_open(world->ends[1].channel, world->now_ms);
        }
    }
    check_stream(&world->ends[0]);
    check_stream(&world->ends[1]);
}

static void streams_arrive_whole(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    run(world, false);
    world_free(world);
}

// Whatever is lost, comes twice, late, or in another order.
static void nothing_is_lost_on_bad_ways(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *world = world_new(seed);
        world->loss = (uint32_t)(seed * 3);
        world->twice = 20;
        world->delay_ms = 50;
        run(world, true);
        world_free(world);
    }
}

static void room_is_bounded_until_acknowledged(void **state)
{
    (void)state;
    struct world *world = world_new(2);
    struct end *node = &world->ends[0];
    channel_open(node->channel, world->now_ms);
    size_t room = channel_room(node->channel);
    AUTO(alloc_free) void *bytes = alloc_zero(room);
    channel_send(node->channel, world->now_ms, MESSAGE_PAYLOAD_OUTPUT, (struct text){bytes, room});
    assert_int_equal(channel_room(node->channel), 0);
    assert_int_equal(channel_stale(node->channel), world->now_ms);
    channel_open(world->ends[1].channel, world->now_ms);
    world->now_ms += 10;
    arrive(&world->ends[1]);
    world->now_ms += 10;
    arrive(node);
    assert_true(channel_room(node->channel) > 0);
    world_free(world);
}

static void acknowledge(struct world *world, int64_t sequence)
{
    AUTO(buf_deinit) struct buf content = {0};
    buf_format(&content,
               "{\"AcknowledgedMessageType\":\"output_stream_data\",\"AcknowledgedMessageId\":"
               "\"00000000-0000-0000-0000-000000000000\","
               "\"AcknowledgedMessageSequenceNumber\":%lld,\"IsSequentialMessage\":true}",
               (long long)sequence);
    const struct message message = {.type = TEXT(MESSAGE_TYPE_ACKNOWLEDGE),
                                    .payload = buf_view(&content)};
    AUTO(buf_deinit) struct buf frame = {0};
    message_encode(&message, &frame);
    struct err err = {0};
    int rc = channel_receive(world->ends[0].channel, world->now_ms, buf_view(&frame), &err);
    assert_int_equal(rc, 0);
}

// Time passes for the node. Its client is as Amazon's: what has a number below `first` it had, and
// does not acknowledge once more.
static void pass(struct world *world, int64_t ms, int64_t first)
{
    struct end *client = &world->ends[1];
    for (int64_t i = 0; i <= ms; i += 100) {
        for (size_t j = 0; j < client->flight_count; j++) {
            struct message message;
            struct err err = {0};
            struct text frame = buf_view(&client->flights[j].frame);
            assert_int_equal(message_decode(frame, &message, &err), 0);
            if (message.sequence >= first) {
                acknowledge(world, message.sequence);
            }
        }
        drop_flights(client);
        world->now_ms += 100;
        channel_tick(world->ends[0].channel, world->now_ms);
    }
}

static struct channel *say_some(struct world *world, size_t messages)
{
    struct channel *node = world->ends[0].channel;
    channel_open(node, world->now_ms);
    acknowledge(world, 0); // the handshake's request
    drop_flights(&world->ends[1]);
    for (size_t i = 0; i < messages; i++) {
        channel_send(node, world->now_ms, MESSAGE_PAYLOAD_OUTPUT, TEXT("x"));
    }
    return node;
}

// All acknowledgements of a full window are lost with a connection. What the client has, the node
// sees from what comes behind it.
static void lost_acknowledgements_do_not_stall(void **state)
{
    (void)state;
    static const struct {
        size_t said;
        int64_t first; // that the client did not have
    } cases[] = {{1, 2}, {1, 1}, {CHANNEL_WINDOW, CHANNEL_WINDOW + 1}, {CHANNEL_WINDOW, 3}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world *world = world_new(8);
        struct channel *node = say_some(world, cases[i].said);
        assert_true(cases[i].said < CHANNEL_WINDOW || channel_room(node) == 0);
        drop_flights(&world->ends[1]);
        world->now_ms += 30000; // the client was away
        channel_open(node, world->now_ms);
        pass(world, 6000, cases[i].first);
        assert_true(channel_idle(node));
        assert_int_equal(channel_room(node), (size_t)CHANNEL_WINDOW * CHANNEL_PIECE_BYTES);
        world_free(world);
    }
}

// Nothing is taken for had that may be lost: not on the first connection, where acknowledgements
// are missing of what the client did not take yet; and not when nothing behind it is acknowledged.
static void what_may_be_lost_is_kept(void **state)
{
    (void)state;
    struct world *world = world_new(9);
    struct channel *node = say_some(world, 4);
    drop_flights(&world->ends[1]);
    acknowledge(world, 4);
    pass(world, 60000, INT64_MAX);
    assert_false(channel_idle(node));
    channel_open(node, world->now_ms);
    pass(world, 60000, INT64_MAX);
    assert_false(channel_idle(node));
    world_free(world);
}

// What comes while an end takes nothing is not lost, and what it says is still acknowledged.
static void held_streams_go_on_later(void **state)
{
    (void)state;
    struct world *world = world_new(7);
    struct end *node = &world->ends[0];
    struct end *client = &world->ends[1];
    channel_open(node->channel, world->now_ms);
    channel_open(client->channel, world->now_ms);
    struct err err = {0};
    for (size_t i = 0; i < 100; i++) {
        world->now_ms += 5;
        arrive(node);
        arrive(client);
        channel_tick(node->channel, world->now_ms);
        channel_tick(client->channel, world->now_ms);
        if (i == 20) {
            assert_true(node->ready && client->ready);
            assert_int_equal(channel_allow(node->channel, world->now_ms, 0, &err), 0);
            channel_send(client->channel, world->now_ms, MESSAGE_PAYLOAD_OUTPUT, TEXT("in"));
            channel_send(node->channel, world->now_ms, MESSAGE_PAYLOAD_OUTPUT, TEXT("out"));
        } else if (i == 60) {
            assert_int_equal(node->received.size, 0);
            assert_true(text_is(buf_view(&client->received), "out"));
            assert_true(channel_idle(node->channel));
            assert_true(channel_idle(client->channel)); // it is kept
            assert_int_equal(channel_allow(node->channel, world->now_ms, 1, &err), 0);
            assert_true(text_is(buf_view(&node->received), "in"));
        }
    }
    world_free(world);
}

// A reader that takes 4 KB every 5 ms sets the pace, however much the other end has to say: nothing
// is dropped, and nothing waits until it is sent again.
static void a_slow_reader_sets_the_pace(void **state)
{
    (void)state;
    struct world *world = world_new(11);
    struct end *node = &world->ends[0];
    struct end *client = &world->ends[1];
    channel_open(node->channel, world->now_ms);
    channel_open(client->channel, world->now_ms);
    struct err err = {0};
    const size_t total = 3u << 20;
    int64_t began_ms = world->now_ms;
    while (node->received.size < total) {
        world->now_ms += 5;
        assert_true(world->now_ms - began_ms < 60000);
        size_t allowed = world->now_ms - began_ms < 5000 ? 0 : 4096; // at first it takes nothing
        assert_int_equal(channel_allow(node->channel, world->now_ms, allowed, &err), 0);
        arrive(node);
        arrive(client);
        char bytes[CHANNEL_PIECE_BYTES] = {0};
        while (client->ready && client->sent < total && channel_room(client->channel) > 0) {
            channel_send(client->channel, world->now_ms, MESSAGE_PAYLOAD_OUTPUT,
                         (struct text){bytes, sizeof(bytes)});
            client->sent += sizeof(bytes);
        }
        channel_tick(node->channel, world->now_ms);
        channel_tick(client->channel, world->now_ms);
    }
    assert_true(world->now_ms - began_ms < 5000 + 5 * (int64_t)(total / 4096) + 1000);
    world_free(world);
}

// Amazon's client goes on without a window: what is not kept it must send again.
static void what_is_kept_can_be_more(void **state)
{
    (void)state;
    struct world *world = world_new(12);
    struct channel *node = world->ends[0].channel;
    channel_open(node, world->now_ms);
    channel_keep(node, (size_t)4 << 20);
    struct err err = {0};
    AUTO(alloc_free) void *payload = alloc_zero(CHANNEL_PIECE_BYTES);
    assert_int_equal(channel_allow(node, world->now_ms, 0, &err), 0);
    for (int64_t sequence = 0; sequence < 5000; sequence++) {
        AUTO(buf_deinit) struct buf frame = {0};
        const struct message message = {.type = TEXT(MESSAGE_TYPE_INPUT),
                                        .sequence = sequence,
                                        .payload_type = MESSAGE_PAYLOAD_OUTPUT,
                                        .payload = {payload, CHANNEL_PIECE_BYTES}};
        message_encode(&message, &frame);
        assert_int_equal(channel_receive(node, world->now_ms, buf_view(&frame), &err), 0);
        drop_flights(&world->ends[1]);
    }
    assert_int_equal(world->ends[0].received.size, 0);
    assert_int_equal(channel_allow(node, world->now_ms, SIZE_MAX, &err), 0);
    assert_int_equal(world->ends[0].received.size, 4u << 20);
    assert_int_equal(world->ends[1].flight_count, CHANNEL_WINDOW); // acknowledged only now
    world_free(world);
}

static void closing_says_why(void **state)
{
    (void)state;
    struct world *world = world_new(3);
    channel_open(world->ends[0].channel, world->now_ms);
    channel_close(world->ends[0].channel, world->now_ms, TEXT("The task \"a\" ended."));
    world->now_ms += 10;
    arrive(&world->ends[1]);
    assert_true(world->ends[1].closed);
    assert_string_equal(world->ends[1].output.data, "The task \"a\" ended.");
    assert_int_equal(channel_room(world->ends[1].channel), 0);
    world_free(world);
}

// A client's answer to the handshake, as Amazon's gives it, or with what ours adds.
static void exit_codes_are_for_those_who_ask(void **state)
{
    (void)state;
    static const struct {
        const char *actions;
        bool takes;
    } cases[] = {
        {"", false},
        {",{\"ActionType\":\"ExitCode\",\"ActionStatus\":1}", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world *world = world_new(5);
        struct end *node = &world->ends[0];
        channel_open(node->channel, world->now_ms);
        AUTO(buf_deinit) struct buf answer = {0};
        buf_format(&answer,
                   "{\"ClientVersion\":\"1.2.0.0\",\"ProcessedClientActions\":[{\"ActionType\":"
                   "\"SessionType\",\"ActionStatus\":1}%s]}",
                   cases[i].actions);
        const struct message message = {.type = TEXT(MESSAGE_TYPE_INPUT),
                                        .payload_type = MESSAGE_PAYLOAD_HANDSHAKE_RESPONSE,
                                        .payload = buf_view(&answer)};
        AUTO(buf_deinit) struct buf frame = {0};
        message_encode(&message, &frame);
        struct err err = {0};
        assert_int_equal(channel_receive(node->channel, world->now_ms, buf_view(&frame), &err), 0);
        assert_true(node->ready);
        assert_int_equal(channel_takes_exit_code(node->channel), cases[i].takes);
        world_free(world);
    }
    struct world *world = world_new(6);
    run(world, false);
    assert_true(channel_takes_exit_code(world->ends[0].channel));
    world_free(world);
}

// The bytes of a message, field by field, as the protocol has them.
static void messages_have_their_bytes(void **state)
{
    (void)state;
    struct message message = {
        .type = TEXT(MESSAGE_TYPE_OUTPUT),
        .created_ms = 0x0102030405060708,
        .sequence = 7,
        .flags = 3,
        .payload_type = 1,
        .payload = TEXT("abc"),
    };
    for (size_t i = 0; i < sizeof(message.id); i++) {
        message.id[i] = (unsigned char)i;
    }
    AUTO(buf_deinit) struct buf frame = {0};
    message_encode(&message, &frame);
    assert_int_equal(frame.size, 123);
    char hex[2 * 123 + 1];
    text_hex(frame.data, frame.size, hex);
    assert_string_equal(hex, "00000074"
                             "6f75747075745f73747265616d5f646174612020202020202020202020202020"
                             "00000001"
                             "0102030405060708"
                             "0000000000000007"
                             "0000000000000003"
                             "08090a0b0c0d0e0f0001020304050607"
                             "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                             "00000001"
                             "00000003"
                             "616263");
    struct message again;
    struct err err = {0};
    assert_int_equal(message_decode(buf_view(&frame), &again, &err), 0);
    assert_memory_equal(again.id, message.id, sizeof(message.id));
    assert_true(text_equal(again.type, message.type));
    assert_true(text_equal(again.payload, message.payload));
    assert_int_equal(again.created_ms, message.created_ms);
    assert_int_equal(again.sequence, 7);
}

static void broken_messages_are_refused(void **state)
{
    (void)state;
    const struct message message = {.type = TEXT(MESSAGE_TYPE_INPUT), .payload = TEXT("abc")};
    for (size_t i = 0; i < 123; i++) {
        AUTO(buf_deinit) struct buf frame = {0};
        message_encode(&message, &frame);
        struct message out;
        struct err err = {0};
        assert_int_equal(message_decode(text_slice(buf_view(&frame), 0, i), &out, &err),
                         ERR_INVALID);
        assert_true(err.text[0] != '\0');
        bool checked = i < 4 || i >= 116 || (i >= 80 && i < 112);
        frame.data[i] ^= 0x40;
        assert_int_equal(message_decode(buf_view(&frame), &out, &err), checked ? ERR_INVALID : 0);
    }
}

// What is kept behind a gap is bounded, and what is acknowledged of it.
static void a_gap_holds_a_bounded_number(void **state)
{
    (void)state;
    static const struct {
        size_t payload_bytes;
        size_t want;
    } cases[] = {{1, 768}, {1024, 768}, {4096, 192}, {MESSAGE_PAYLOAD_MAX, 12}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world *world = world_new(4);
        channel_open(world->ends[0].channel, world->now_ms);
        AUTO(alloc_free) void *payload = alloc_zero(cases[i].payload_bytes);
        size_t taken = 0;
        for (int64_t sequence = 1; sequence < 2000; sequence++) {
            AUTO(buf_deinit) struct buf frame = {0};
            struct err err = {0};
            const struct message message = {.type = TEXT(MESSAGE_TYPE_INPUT),
                                            .sequence = sequence,
                                            .payload_type = MESSAGE_PAYLOAD_OUTPUT,
                                            .payload = {payload, cases[i].payload_bytes}};
            message_encode(&message, &frame);
            drop_flights(&world->ends[1]);
            assert_int_equal(
                channel_receive(world->ends[0].channel, world->now_ms, buf_view(&frame), &err), 0);
            taken += world->ends[1].flight_count;
        }
        assert_int_equal(taken, cases[i].want);
        world_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_arrive_whole),
        cmocka_unit_test(nothing_is_lost_on_bad_ways),
        cmocka_unit_test(room_is_bounded_until_acknowledged),
        cmocka_unit_test(lost_acknowledgements_do_not_stall),
        cmocka_unit_test(what_may_be_lost_is_kept),
        cmocka_unit_test(held_streams_go_on_later),
        cmocka_unit_test(a_slow_reader_sets_the_pace),
        cmocka_unit_test(what_is_kept_can_be_more),
        cmocka_unit_test(closing_says_why),
        cmocka_unit_test(exit_codes_are_for_those_who_ask),
        cmocka_unit_test(messages_have_their_bytes),
        cmocka_unit_test(broken_messages_are_refused),
        cmocka_unit_test(a_gap_holds_a_bounded_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
