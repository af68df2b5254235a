#pragma once

#include "api/supervisor.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

/*
 * The byte stream between a supervisor and an agent: each frame is its length in 4 big-endian
 * bytes, then a CBOR record of supervisor.Frame. It needs nothing but an ordered stream, so that it
 * can run over a Unix socket as well as over virtio-serial.
 */

/** Ten containers with the longest names and reasons stay under a tenth of it. */
#define FRAME_BYTES_MAX (256u << 10)

/** Append one frame. */
void frame_encode(const struct supervisor_frame *frame, struct buf *out);

/**
 * Take the next whole frame off the front of in.
 *
 * @param out_frame  in the arena, set when 1 is returned
 * @return 1 for a frame, 0 when in holds no whole one yet, ERR_CORRUPT with why: close the stream
 */
MUST_CHECK int frame_next(struct buf *in, struct arena *arena, struct supervisor_frame *out_frame,
                          struct err *err);
