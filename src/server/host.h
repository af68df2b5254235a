#pragma once

#include "core/core.h"
#include "store/store.h"

#include <uv.h>

/*
 * The engine's host: gives it time and entropy, makes its batches durable in a worker, and lets
 * replies and effects out only then (commit, then speak).
 *
 * One write is under way at a time, on a thread of the host's own; what happens meanwhile forms the
 * next batch by itself. All calls and callbacks are on the loop's thread. A failed write ends the
 * process through on_fatal: memory may never be ahead of what was promised.
 *
 * Each turn of the loop does a bounded piece of the managers' work behind the requests that came in
 * with it, so that both share a batch and neither starves the other. A host keeps the loop alive
 * while something is to be done or written, not while it only waits for a timer.
 */

struct host;

struct host_options {
    uv_loop_t *loop;
    struct core *core;   ///< borrowed; loaded and recovered by host_start
    struct store *store; ///< borrowed
    /** The store has no room: operations that change something are refused, and managers do
     *  nothing, so that nothing is ever to be written. Of no use with a store never used. */
    bool read_only;
    /** A durable effect, in order. Borrowed for the call. */
    void (*on_effect)(void *context, const struct core_effect *effect);
    /** The store failed: report and end the process at once. */
    void (*on_fatal)(void *context, const struct err *err);
    void *context;
};

/** Numbers for /metrics. */
struct host_stats {
    uint64_t version_applied;
    uint64_t version_durable;
    uint64_t batch_count;
    uint64_t row_count;
    uint64_t write_ns_total;
    size_t waiting_count;
};

/**
 * Load all rows from the store into the engine, recover, and begin to serve.
 *
 * @return 0, or what store_load and core_load return; the engine is of no use then
 */
MUST_CHECK int host_start(const struct host_options *options, struct host **out_host,
                          struct err *err);

/**
 * Write what is outstanding, wait for it, release what waited for it, stop timers, free. NULL is
 * allowed. Not from one of the host's own callbacks. The loop must run once more afterwards, which
 * closes handles; the engine and the store may be freed before that.
 */
void host_stop(struct host *host);

/**
 * Apply an operation now. The reply may be encoded at once but must be held back with host_wait.
 * Results as core_request; ERR_BUSY when too much is waiting to become durable (tell the client
 * ThrottlingException), always after a write failed; ERR_FULL_DISK for a change while read_only.
 */
MUST_CHECK int host_request(struct host *host, const struct core_caller *caller,
                            const struct api_operation *operation, struct core_call *call,
                            const void *request, void *response);

/** Something that waits for a version; embedded in its owner, which keeps it alive. */
struct host_wait {
    uint64_t version;
    void (*done)(struct host_wait *wait);
    struct host_wait *next; ///< private to the host
};

/**
 * Call wait->done once the state as of now is durable: right away when it is already. Waits end in
 * the order they began. None ends after a write failed.
 */
void host_wait(struct host *host, struct host_wait *wait);

/** Take back a wait whose owner goes away; nothing happens when it is over already. */
void host_wait_cancel(struct host *host, struct host_wait *wait);

/** @return whether changes are refused: host_options.read_only */
bool host_is_read_only(const struct host *host);

/** The engine, for reads on the loop's thread. */
struct core *host_core(struct host *host);

/** Fill in numbers. */
void host_stats(const struct host *host, struct host_stats *out_stats);
