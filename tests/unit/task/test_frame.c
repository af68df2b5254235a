#include "base/text.h"
#include "task/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void add_state(struct buf *out)
{
    struct supervisor_container_state container = {
        .name = TEXT("web"),
        .status = SUPERVISOR_STATUS_STOPPED,
        .has_exit_code = true,
        .exit_code = 137,
        .reason = TEXT("OutOfMemoryError: Container killed due to memory usage"),
        .started_at = 1700000000123,
    };
    struct supervisor_state state = {
        .has_sequence = true,
        .sequence = 9,
        .containers = {&container, 1},
        .has_finished = true,
    };
    frame_encode(&(struct supervisor_frame){.state = &state}, out);
}

// A stream comes in pieces of any size; frames come out whole and in order.
static void frames_survive_any_cut(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf stream = {0};
    struct supervisor_command command = {.kind = SUPERVISOR_COMMAND_KIND_KILL};
    add_state(&stream);
    frame_encode(&(struct supervisor_frame){.command = &command}, &stream);
    for (size_t piece = 1; piece <= stream.size; piece++) {
        AUTO(buf_deinit) struct buf in = {0};
        AUTO(arena_deinit) struct arena arena = {0};
        size_t count = 0;
        for (size_t at = 0; at < stream.size; at += piece) {
            buf_add(&in, stream.data + at, MIN(piece, stream.size - at));
            struct supervisor_frame frame = {0};
            struct err err = {0};
            int rc = 0;
            while ((rc = frame_next(&in, &arena, &frame, &err)) == 1) {
                if (count == 0) {
                    assert_int_equal(frame.state->sequence, 9);
                    assert_int_equal(frame.state->containers.items[0].exit_code, 137);
                    assert_true(text_is(frame.state->containers.items[0].name, "web"));
                } else {
                    assert_int_equal(frame.command->kind, SUPERVISOR_COMMAND_KIND_KILL);
                }
                count++;
            }
            assert_int_equal(rc, 0);
        }
        assert_int_equal(count, 2);
        assert_int_equal(in.size, 0);
    }
}

static void broken_frames_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *bytes;
        size_t size;
    } cases[] = {
        {"longer than the limit", "\x00\x04\x00\x01", 4},
        {"much longer", "\xff\xff\xff\xff", 4},
        {"no CBOR", "\x00\x00\x00\x02\xff\xff", 6},
        {"empty", "\x00\x00\x00\x00", 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf in = {0};
        AUTO(arena_deinit) struct arena arena = {0};
        struct supervisor_frame frame = {0};
        struct err err = {0};
        print_message("%s\n", cases[i].name);
        buf_add(&in, cases[i].bytes, cases[i].size);
        assert_int_equal(frame_next(&in, &arena, &frame, &err), ERR_CORRUPT);
        assert_true(strlen(err.text) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_any_cut),
        cmocka_unit_test(broken_frames_are_refused),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
