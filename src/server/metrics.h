#pragma once

#include "base/buf.h"
#include "shape/api.h"

/*
 * Counts of requests and their latencies, as Prometheus reads them.
 *
 * Labels are names out of the schema and of our own errors, never text from a request, so their
 * number is bounded.
 */

struct metrics;

/** Make counters for services; they are borrowed. */
struct metrics *metrics_new(const struct api_service *const *services, size_t service_count);

/** Free; NULL is allowed. */
void metrics_free(struct metrics *metrics);

/**
 * Count a request.
 *
 * @param operation  NULL when it was refused before one was known
 * @param code       `OK` or the error's name: constant text
 */
void metrics_count(struct metrics *metrics, const struct api_operation *operation, const char *code,
                   uint64_t duration_ns);

/** @return requests counted */
uint64_t metrics_total(const struct metrics *metrics);

/** Append all counters in the Prometheus text format, version 0.0.4. */
void metrics_write(const struct metrics *metrics, struct buf *out);

/** Append one number with its help and type; kind is `counter` or `gauge`. */
void metrics_write_number(struct buf *out, const char *name, const char *kind, const char *help,
                          double value);

/** Append CPU time, memory and open files of this process. */
void metrics_write_process(struct buf *out, int64_t start_ms);
