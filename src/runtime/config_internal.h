#pragma once

#include "base/buf.h"

/*
 * How members of JSON are appended: for config.c and what writes parts of its documents.
 */

/** Append a comma, unless it is the first in its list or object. */
void config_comma(struct buf *out);

/** Append the name of a member, behind a comma if there is one before. */
void config_key(struct buf *out, const char *name);
