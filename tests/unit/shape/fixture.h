#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * Values for the tests of this folder, made from descriptors: the same call always gives the same
 * value, with every member present.
 */

/** A struct with every member present, in the arena. Lists have two elements near the root. */
void *fixture_value(const struct shape_type *type, struct arena *arena);

/** Append a struct as a form, the way clients of the query protocol encode their requests. */
void fixture_form(const struct shape_type *type, const void *value, struct buf *out);

/** The text of a terminated string, copied to a heap block of exactly its size, so that the
 *  address sanitizer sees reads behind it. Give the pointer back with alloc_free. */
struct text fixture_exact(const char *bytes, size_t size);
