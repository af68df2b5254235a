#include "base/text.h"
#include "fuzz.h"
#include "journal/journal.h"
#include "task/frame.h"

#include <string.h>

/*
 * What a node reads back from others: the stream of a supervisor, and records of its journal.
 *
 * The first byte says how large the pieces are in which the stream arrives: frames must come out
 * the same whatever the pieces. A frame that was read is written and read again alike.
 */

#define FRAMES_MAX 64

static void check_again(const struct supervisor_frame *frame)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    struct supervisor_frame again = {0};
    struct err err = {0};
    frame_encode(frame, &bytes);
    int got = frame_next(&bytes, &arena, &again, &err);
    ASSERT(got == 1);
    ASSERT(shape_equal(&supervisor_frame_shape, frame, &again));
}

// Read all frames. @return how many, or -1 once the stream is broken; hash tells what they were
static int read_stream(struct text bytes, size_t piece, uint64_t *out_hash)
{
    AUTO(buf_deinit) struct buf in = {0};
    int count = 0;
    *out_hash = 0;
    for (size_t at = 0; at < bytes.size; at += piece) {
        buf_text(&in, text_slice(bytes, at, at + piece));
        for (;;) {
            AUTO(arena_deinit) struct arena arena = {0};
            AUTO(buf_deinit) struct buf again = {0};
            struct supervisor_frame frame = {0};
            struct err err = {0};
            int got = frame_next(&in, &arena, &frame, &err);
            if (got < 0) {
                ASSERT(got == ERR_CORRUPT);
                ASSERT(err.text[0] != '\0');
                return -1;
            }
            if (got == 0 || count == FRAMES_MAX) {
                break;
            }
            check_again(&frame);
            frame_encode(&frame, &again);
            *out_hash = *out_hash * 31 + text_hash(buf_view(&again));
            count++;
        }
    }
    return count;
}

static void try_record(struct text bytes)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf again = {0};
    struct journal_task task = {0};
    struct err err = {0};
    int rc = journal_decode(bytes, &arena, &task, NULL, &err);
    if (rc != 0) {
        ASSERT(rc == ERR_CORRUPT || rc == ERR_VERSION);
        return;
    }
    ASSERT(task.spec != NULL && task.spec->definition != NULL);
    journal_encode(&task, &again);
    struct journal_task second = {0};
    rc = journal_decode(buf_view(&again), &arena, &second, NULL, &err);
    ASSERT(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct text bytes = {(const char *)data + 1, size - 1};
    uint64_t whole_hash = 0;
    uint64_t pieces_hash = 0;
    int whole = read_stream(bytes, MAX(bytes.size, (size_t)1), &whole_hash);
    int pieces = read_stream(bytes, (size_t)data[0] + 1, &pieces_hash);
    ASSERT(whole == pieces);
    ASSERT(whole < 0 || whole_hash == pieces_hash);
    try_record(bytes);
    return 0;
}
