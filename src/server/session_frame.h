#pragma once

#include "api/session.h"
#include "base/buf.h"

/*
 * Frames of node sessions as text: {"type": .., "message": {..}}. Pure; knows no socket.
 */

/** Append a frame. */
void session_frame_write(const char *type, const struct shape_type *shape, const void *message,
                         struct buf *out);

/**
 * Read a frame. Stock agents put header lines in front of what they send on the telemetry
 * session (a signed request, as it were); they are skipped up to the first empty line.
 *
 * @param out_frame  borrows from the arena
 * @return 0, or ERR_INVALID with where and why
 */
MUST_CHECK int session_frame_read(struct text bytes, struct arena *arena,
                                  struct session_frame *out_frame, struct shape_error *error);

/** Decode and validate a frame's message. @return 0, or ERR_INVALID with where and why */
MUST_CHECK int session_frame_message(const struct session_frame *frame,
                                     const struct shape_type *shape, struct arena *arena,
                                     void *out_message, struct shape_error *error);
