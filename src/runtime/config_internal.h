#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * The parts of config.c: how members of JSON are appended, and the filter of system calls.
 */

/** Append a comma, unless it is the first in its list or object. */
void config_comma(struct buf *out);

/** Append the name of a member, behind a comma if there is one before. */
void config_key(struct buf *out, const char *name);

/**
 * Append the member `seccomp`: Docker's default profile for a container with these capabilities.
 *
 * @param capabilities  such as CAP_CHOWN
 */
void config_write_seccomp(struct text_list capabilities, struct buf *out);
