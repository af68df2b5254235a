#pragma once

#include "api/report.h"
#include "cli/look.h"

/*
 * A deployment shown while it goes on: where it stands, and what the service tells. On a terminal a
 * table that is drawn anew in its place; elsewhere a line for whatever changed.
 */

#define WATCH_EVENTS_MAX 200 ///< remembered; a service keeps 100

enum watch_manner {
    WATCH_QUIET, ///< nothing is shown
    WATCH_LINES,
    WATCH_SCREEN,
};

/** One deployment that is watched. */
struct watch {
    struct cli_context *context;
    enum watch_manner manner;
    struct text cluster;
    struct text service;
    struct text rollout;    ///< ARN; absent when no deployment was started
    struct text last_event; ///< id of the newest event that was there before
    int64_t until_ms;       ///< of the wall clock
    int64_t began_ms;

    struct arena arena; ///< of what follows
    struct look_checks checks;
    struct text events[WATCH_EVENTS_MAX]; ///< oldest first
    size_t event_count;
    size_t lines;     ///< on the screen
    struct text told; ///< the lines shown last
};

/** Release what it remembers. */
void watch_deinit(struct watch *watch);

AUTO_VALUE(struct watch, watch_deinit)

/** How it ended. Borrows from the context's arena. */
struct watch_end {
    enum report_outcome outcome;
    const struct ecs_service *service;
    const struct ecs_service_deployment *rollout; ///< NULL without one
    struct report_standing_list standings;
};

/**
 * Show it until it is over, the time is up, or Ctrl-C is pressed. A server that does not answer is
 * asked again until the time is up.
 */
MUST_CHECK int watch_run(struct watch *watch, struct watch_end *out_end, struct err *err);

/**
 * Judge whether a deployment is over.
 *
 * @param rollout  NULL when only the number of tasks changes
 * @param asked    ARN of the deployment that was started; absent likewise
 * @return what became of it; REPORT_OUTCOME_ABSENT while it goes on
 */
enum report_outcome watch_judge(const struct ecs_service *service,
                                const struct ecs_service_deployment *rollout, struct text asked);

/** Append a table of deployments. */
void watch_write_table(const struct report_standing_list *standings, struct buf *out);

/** Append a line for each deployment. */
void watch_write_lines(const struct report_standing_list *standings, struct buf *out);

/** Append content with every line cut to a width in characters. @return how many lines */
size_t watch_write_cut(struct text content, size_t width, struct buf *out);
