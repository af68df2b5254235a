#pragma once

#include "api/report.h"
#include "cli/diagnose.h"

/*
 * `berth diagnose SERVICE`: how a service stands, and why it is not steady.
 */

/** What is asked. */
struct diagnose_service {
    struct text cluster;
    struct text service;
    bool json;
};

/** @return whether an argument of `berth diagnose` names a task: an ARN of one, or an id */
bool diagnose_names_task(struct text argument);

/**
 * Whether a service is as it is meant to be: one deployment, completed, as many tasks as desired,
 * and all of those healthy that have a health check.
 */
bool diagnose_service_steady(const struct ecs_service *service,
                             const struct report_standing_list *standings);

/** Ask the server about a service, and print it. out_fine says whether it is steady. */
MUST_CHECK int diagnose_service(struct cli_context *context, const struct diagnose_style *style,
                                const struct diagnose_service *asked, bool *out_fine,
                                struct err *err);
