#pragma once

#include "base/base.h"

/*
 * Clocks and randomness of the host, for adapters only: the deterministic core receives time and
 * entropy with its inputs and may not link these.
 */

/** Wall clock in milliseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ms(void);

/** Monotonic clock in nanoseconds; only differences mean anything. */
int64_t clock_monotonic_ns(void);

/** Fill with bytes of the kernel's random generator. Ends the process when there are none. */
void clock_entropy(void *out_bytes, size_t size);
