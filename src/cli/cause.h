#pragma once

#include "api/report.h"
#include "cli/diagnose.h"
#include "cli/look.h"

/*
 * Why tasks of a service do not run: which of its tasks failed alike, and what is known of one of
 * each. What happened most often comes first: it is what somebody has to mend.
 */

#define CAUSES_MAX 4 ///< told of one service

/** Tasks that failed alike. */
struct cause_group {
    const struct ecs_task *newest;
    size_t times;
};

/** @return whether a task failed: it ended by itself or for its health, or runs and is UNHEALTHY */
bool cause_failed(const struct ecs_task *task);

/** @return the container that a failure is about, or NULL */
const struct ecs_container *cause_container(const struct ecs_task *task);

/**
 * Group the tasks that failed, of those that were made at a moment or later: by stop code,
 * container, exit code and the first word of its reason. Groups come in descending size, then the
 * one with the newest task first.
 *
 * @param groups  room for max; what is beyond is not told
 * @return how many
 */
size_t cause_group(const struct ecs_task_list *tasks, int64_t since_ms, struct cause_group *groups,
                   size_t max);

/** What is asked about. */
struct cause_question {
    const struct ecs_service *service;
    struct text deployment; ///< its id, or absent: any deployment of the service
    int64_t since_ms;       ///< tasks made then or later
};

/** Ask the server. The list is empty when nothing is known to be wrong. */
MUST_CHECK int cause_find(struct cli_context *context, const struct diagnose_style *style,
                          const struct cause_question *question,
                          struct report_cause_list *out_causes, struct err *err);

/** When nothing failed: what the oldest task that is to run and does not yet waits for. The list is
 *  empty when there is none. */
MUST_CHECK int cause_find_slow(struct cli_context *context, const struct diagnose_style *style,
                               const struct ecs_service *service,
                               struct report_cause_list *out_causes, struct err *err);

/** @return whether what the server says of a deployment is more than the cause says already */
bool cause_adds(const struct report_cause *cause, struct text reason);

/** Print one with its evidence. */
void cause_print(const struct report_cause *cause);

/** Print commands to try. */
void cause_print_next(const struct text_list *next);
