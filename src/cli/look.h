#pragma once

#include "api/ecs.h"
#include "api/report.h"
#include "cli/cli.h"

/*
 * What the commands about services ask the server: a service with how its deployments stand, and
 * its tasks. Answers are in the context's arena.
 */

#define LOOK_TASKS_MAX 400      ///< tasks looked at, of a status: more say nothing else
#define LOOK_CHECKED_MAX 16     ///< definitions remembered
#define LOOK_LOG_LINES 10       ///< shown of a container that failed
#define LOOK_LOG_BYTES 8192     ///< and looked at
#define LOOK_LOG_LINE_BYTES 400 ///< of one line

/** Which definitions have a health check: asked once. Names are in the arena. */
struct look_checks {
    struct arena arena;
    struct text definitions[LOOK_CHECKED_MAX];
    bool checked[LOOK_CHECKED_MAX];
    size_t count;
};

/** Release it. */
void look_checks_deinit(struct look_checks *checks);

AUTO_VALUE(struct look_checks, look_checks_deinit)

/** Find a service that is not INACTIVE. @return 0; ERR_NOT_FOUND with a sentence */
MUST_CHECK int look_service(struct cli_context *context, struct text cluster, struct text name,
                            const struct ecs_service **out_service, struct err *err);

/** Find a definition by its ARN, family or family:revision. */
MUST_CHECK int look_definition(struct cli_context *context, struct text reference,
                               const struct ecs_task_definition **out_definition, struct err *err);

/** Find a service deployment by its ARN; NULL when the ARN is absent or it is forgotten. */
MUST_CHECK int look_rollout(struct cli_context *context, struct text arn,
                            const struct ecs_service_deployment **out_rollout, struct err *err);

/** Which tasks. */
struct look_filter {
    struct text cluster;
    struct text service;    ///< its name; or
    struct text started_by; ///< the id of a deployment
    enum ecs_desired_status desired;
};

/** Find tasks: the newest, at most LOOK_TASKS_MAX, in no order. */
MUST_CHECK int look_tasks(struct cli_context *context, const struct look_filter *filter,
                          struct ecs_task_list *out_tasks, struct err *err);

/** How each deployment of a service stands. Health is counted of services up to LOOK_TASKS_MAX. */
MUST_CHECK int look_standings(struct cli_context *context, const struct ecs_service *service,
                              struct look_checks *checks, int64_t now_ms,
                              struct report_standing_list *out_standings, struct err *err);

/** The last lines of what a container wrote, at most LOOK_LOG_LINES; none when it never ran or its
 *  host does not answer. */
void look_logs(struct cli_context *context, struct text cluster, struct text task,
               struct text container, struct text_list *out_lines);

/** Cut the last lines out of what was written, without control characters. first says whether the
 *  data begins where the log does. In the arena. */
struct text_list look_last_lines(struct text data, bool first, struct arena *arena);
