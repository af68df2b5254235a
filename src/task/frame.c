#include "task/frame.h"

#include "shape/cbor.h"

#define FRAME_HEAD_BYTES 4
#define FRAME_VERSION 1

void frame_encode(const struct supervisor_frame *frame, struct buf *out)
{
    size_t at = out->size;
    buf_add(out, "\0\0\0\0", FRAME_HEAD_BYTES);
    cbor_encode(&supervisor_frame_shape, frame, FRAME_VERSION, NULL, out);
    size_t size = out->size - at - FRAME_HEAD_BYTES;
    ASSERT(size <= FRAME_BYTES_MAX);
    for (size_t i = 0; i < FRAME_HEAD_BYTES; i++) {
        out->data[at + i] = (char)(size >> (8 * (FRAME_HEAD_BYTES - 1 - i)));
    }
}

int frame_next(struct buf *in, struct arena *arena, struct supervisor_frame *out_frame,
               struct err *err)
{
    if (in->size < FRAME_HEAD_BYTES) {
        return 0;
    }
    size_t size = 0;
    for (size_t i = 0; i < FRAME_HEAD_BYTES; i++) {
        size = size << 8 | (unsigned char)in->data[i];
    }
    if (size > FRAME_BYTES_MAX) {
        return err_set(err, ERR_CORRUPT, "a frame of %zu bytes; the limit is %u", size,
                       FRAME_BYTES_MAX);
    }
    if (in->size - FRAME_HEAD_BYTES < size) {
        return 0;
    }
    struct shape_error error = {0};
    struct supervisor_frame frame = {0};
    int rc = cbor_decode(&supervisor_frame_shape, (struct text){in->data + FRAME_HEAD_BYTES, size},
                         arena, &frame, NULL, NULL, &error);
    if (rc != 0) {
        return err_set(err, ERR_CORRUPT, "a supervisor frame: %s %s", error.path, error.text);
    }
    buf_consume(in, FRAME_HEAD_BYTES + size);
    *out_frame = frame;
    return 1;
}
