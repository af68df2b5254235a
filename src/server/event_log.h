#pragma once

#include "base/buf.h"
#include "core/core.h"

#include <uv.h>

/*
 * The event log: what happened, in the shape of Amazon's events, for people and the console.
 *
 * A projection of committed effects. It is bounded: the newest events are in memory and in files
 * (event_file.h), the older ones go. Files are written by a worker, never by the loop, and what the
 * disk does not take is left out of them: nothing here makes the engine wait, and nothing ends the
 * process.
 *
 * Every event has a sequence number. They ascend, also over restarts and over events that never
 * reached the disk, so whoever remembers the last one misses nothing that is still there: a process
 * begins behind the last number on disk and behind the microseconds of the wall clock.
 */

struct event_log;

/** An event. All texts lie behind it. */
struct event_entry {
    uint64_t sequence;
    int64_t at_ms;
    struct text type;     ///< the detail-type
    struct text resource; ///< ARN of what it is about
    struct text account;  ///< of the resource, as the next
    struct text region;
    struct text cluster; ///< name; absent when it is of none
    struct text service; ///< name; absent likewise
    struct text task;    ///< id; absent likewise
    struct text event;   ///< JSON
};

/** Which events are meant; absent texts mean all. Cluster, service and task may be ARNs. */
struct event_query {
    struct text account; ///< always given
    struct text region;  ///< likewise
    struct text type;
    struct text cluster;
    struct text service;
    struct text task;
    int64_t since_ms; ///< 0 for all
};

struct event_log_options {
    uv_loop_t *loop;
    const char *dir;        ///< NULL: in memory only
    uint64_t segment_bytes; ///< 0 for EVENT_SEGMENT_BYTES; memory holds twice that
    int64_t start_ms;       ///< wall clock, for the first number; 0: now
};

/** Two of them hold some 10,000 events. */
#define EVENT_SEGMENT_BYTES (8u << 20)

/** Numbers for /metrics. */
struct event_log_stats {
    uint64_t told;      ///< events since the start
    uint64_t unwritten; ///< of those, how many never reached the disk
    uint64_t refused;   ///< lines of the files that could not be read
    size_t kept;        ///< in memory now
};

/** Open, and read what the files hold. Files that cannot be had are logged; the log is then in
 *  memory only. */
struct event_log *event_log_open(const struct event_log_options *options);

/** Write what is outstanding, turning the loop for that, and free. NULL is allowed. Not inside a
 *  callback. */
void event_log_close(struct event_log *log);

/** Take a line of the files in, whatever it holds. @return the event, borrowed until the next one
 *  comes; NULL when the line is no event, or not newer than those before it */
const struct event_entry *event_log_restore(struct event_log *log, struct text line);

/** Take a durable CORE_EFFECT_EVENT effect in. */
void event_log_effect(struct event_log *log, const struct core_effect *effect);

/** Have a function called whenever an event came; it must only remember that. NULL takes it away.
 */
void event_log_watch(struct event_log *log, void (*on_event)(void *context), void *context);

/**
 * Find the first event that is meant behind a sequence number.
 *
 * @param after     looked at from behind here; afterwards, up to where: the event's number, or the
 *                  newest when there is none
 * @return borrowed until the next event comes; NULL when there is none
 */
const struct event_entry *event_log_next(const struct event_log *log,
                                         const struct event_query *query, uint64_t *after);

/** @return whether events behind this number were there and are gone; of 0 none are missed */
bool event_log_missed(const struct event_log *log, uint64_t after);

/** Fill in numbers. */
void event_log_stats(const struct event_log *log, struct event_log_stats *out_stats);
