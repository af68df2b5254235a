#include "server/session_frame.h"

#include "base/text.h"
#include "shape/json.h"

void session_frame_write(const char *type, const struct shape_type *shape, const void *message,
                         struct buf *out)
{
    buf_string(out, "{\"type\":\"");
    buf_string(out, type);
    buf_string(out, "\",\"message\":");
    json_encode(shape, message, out);
    buf_byte(out, '}');
}

static struct text without_head(struct text bytes)
{
    struct text rest = text_trim(bytes);
    if (text_starts(rest, TEXT("{"))) {
        return rest;
    }
    while (rest.data != NULL) {
        if (text_trim(text_cut(&rest, '\n')).size == 0) {
            return rest.data == NULL ? TEXT("") : rest;
        }
    }
    return TEXT("");
}

int session_frame_read(struct text bytes, struct arena *arena, struct session_frame *out_frame,
                       struct shape_error *error)
{
    struct session_frame frame = {0};
    int rc = json_decode(&session_frame_shape, without_head(bytes), arena, &frame, error);
    if (rc == 0) {
        rc = shape_validate(&session_frame_shape, &frame, error);
    }
    if (rc == 0) {
        *out_frame = frame;
    }
    return rc;
}

int session_frame_message(const struct session_frame *frame, const struct shape_type *shape,
                          struct arena *arena, void *out_message, struct shape_error *error)
{
    int rc = json_decode(shape, frame->message, arena, out_message, error);
    return rc != 0 ? rc : shape_validate(shape, out_message, error);
}
