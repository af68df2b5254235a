#pragma once

#include "api/report.h"
#include "cli/change.h"
#include "cli/diagnose.h"

/*
 * `berth plan`: what `berth deploy` with the same arguments would do. plan.c asks, plan_show.c
 * works out and prints; nothing is changed.
 */

/** How many tasks a deployment may fall to and rise to, and what that means for its beginning. */
struct plan_order {
    int32_t lower;
    int32_t upper;
    int32_t starts;   ///< beside those that are there
    int32_t stops;    ///< in all
    bool blocked;     ///< nothing starts before something stopped
    struct text text; ///< a sentence or two
};

/**
 * Work out in which order tasks would start and stop.
 *
 * @param service  as it is; NULL when it is to be created
 * @param desired  tasks that the service is to have
 * @param deploys  whether a new deployment starts
 */
struct plan_order plan_order(const struct ecs_service *service, int32_t desired, bool deploys,
                             struct arena *arena);

/** Differences of two definitions in what a registration says; before may be NULL. */
struct report_change_list plan_definition_changes(const struct ecs_task_definition *before,
                                                  const struct ecs_task_definition *after,
                                                  struct arena *arena);

/** Differences of a service as it is and with another definition and count. */
struct report_change_list plan_service_changes(const struct ecs_service *service,
                                               struct text definition, int32_t desired,
                                               struct arena *arena);

/** Append one line for each change: `~ path: before → after`, `+ path: after`, `- path: before`. */
void plan_write_changes(const struct report_change_list *changes, struct buf *out);

/** Print all of it. */
void plan_print(const struct diagnose_style *style, const struct change_options *options,
                const struct change *change, const struct report_plan *plan);
