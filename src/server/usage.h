#pragma once

#include "api/berth.h"
#include "api/session.h"
#include "base/buf.h"

/*
 * What tasks take of their hosts, as nodes published it last. In memory only: it is old after a
 * minute and nothing is decided by it.
 */

#define USAGE_TASKS_MAX 100000   ///< beyond that nothing new is kept
#define USAGE_CONTAINERS_MAX 100 ///< of one task; ECS allows ten
#define USAGE_KEPT_MS 70000      ///< nodes publish every 20 s: three were missed then

struct usage;

/** Make an empty one. */
struct usage *usage_new(void);

/** Free; NULL is allowed. */
void usage_free(struct usage *usage);

/** Keep what a node published of a task that it is known to have. */
void usage_put(struct usage *usage, struct text task_id, const struct session_task_metric *metric,
               int64_t now_ms);

/** @return whether a task's usage is known and recent; then it is filled in, in the arena */
bool usage_get(const struct usage *usage, struct text task_id, int64_t now_ms, struct arena *arena,
               struct berth_task_usage *out_usage);

/** Append totals for /metrics. */
void usage_write(struct usage *usage, int64_t now_ms, struct buf *out);
