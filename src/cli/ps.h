#pragma once

#include "api/berth.h"
#include "api/ecs.h"
#include "cli/cli.h"

/*
 * `berth ps`: the list of tasks (ps.c) and one of them (ps_task.c), which share what their columns
 * show.
 */

struct ps_options {
    const char *data_dir;
    struct text cluster;
    struct text task; ///< absent for the list
    bool all;
    bool json;
};

/** @return the private address of a task; absent without one */
struct text ps_address(const struct ecs_task *task);

/** @return the word for a value of an enum */
struct text ps_enum(const struct shape_type *type, int32_t number);

/** Ask what tasks take, as their nodes said last; an older server leaves out empty. */
void ps_ask_usage(struct cli_context *context, struct text cluster, struct text_list tasks,
                  struct berth_get_task_usage_response *out);

/** @return what a task takes, or NULL */
const struct berth_task_usage *ps_usage_of(const struct berth_get_task_usage_response *usage,
                                           struct text task_arn);

/** Append the columns CPU and MEMORY. */
void ps_add_usage(struct cli_table *table, bool known, double cpu_percent, double memory_mib);

/** Show one task: its containers, and when it came how far. */
MUST_CHECK int ps_show_task(struct cli_context *context, const struct ps_options *options,
                            struct err *err);
