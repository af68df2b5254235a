#include "base/text.h"
#include "client/token.h"
#include "fuzz.h"
#include "server/protocol.h"
#include "server/session_frame.h"

/* Frames that nodes send: what is accepted can be written again and reads the same. */

static void try_message(const struct session_frame *frame, const struct shape_type *shape)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf written = {0};
    struct shape_error error = {0};
    void *message = arena_alloc(&arena, shape->size_bytes);
    if (session_frame_message(frame, shape, &arena, message, &error) != 0) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    session_frame_write("Again", shape, message, &written);
    struct session_frame again = {0};
    ASSERT(session_frame_read(buf_view(&written), &arena, &again, &error) == 0);
    ASSERT(text_is(again.type, "Again"));
    void *second = arena_alloc(&arena, shape->size_bytes);
    ASSERT(session_frame_message(&again, shape, &arena, second, &error) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shape_type *const shapes[] = {
        &session_ack_request_shape,
        &session_heartbeat_ack_request_shape,
        &session_task_stop_verification_message_shape,
        &session_logs_reply_shape,
        &session_publish_health_request_shape,
    };
    AUTO(arena_deinit) struct arena arena = {0};
    struct text bytes = {(const char *)data, size};
    struct session_frame frame = {0};
    struct shape_error error = {0};
    if (session_frame_read(bytes, &arena, &frame, &error) == 0) {
        ASSERT(frame.type.data != NULL);
        ASSERT(frame.message.data != NULL);
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
            try_message(&frame, shapes[i]);
        }
    } else {
        ASSERT(error.text[0] != '\0');
    }

    // The other small parsers of this folder take any text, too.
    struct client_token token = {0};
    struct err err = {0};
    if (client_token_parse(bytes, &arena, &token, &err) == 0) {
        struct text composed = client_token_compose(&token, &arena);
        ASSERT(composed.size > 0);
    }
    struct text prefix = {0};
    struct text operation = {0};
    if (protocol_target(bytes, &prefix, &operation)) {
        ASSERT(prefix.size + 1 + operation.size == bytes.size);
    }
    return 0;
}
