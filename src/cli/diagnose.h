#pragma once

#include "api/berth.h"
#include "cli/cli.h"

/*
 * What `berth diagnose` prints: answers of the server in words, tables, and commands to try next.
 * Everything here is a function of an answer; diagnose.c reads the command line and asks.
 */

#define DIAGNOSE_NEXT_MAX 3 ///< commands to try: more would be a manual

/** How answers are shown. */
struct diagnose_style {
    const char *data_dir; ///< as given by --data, for the commands to try; or NULL
    int64_t now_ms;
};

/** Commands to try next. Texts are in the arena of whoever asked. */
struct diagnose_next {
    struct text lines[DIAGNOSE_NEXT_MAX];
    size_t count;
};

/** @return what to try when hosts do not take tasks of a cluster, by their most frequent reasons */
struct diagnose_next diagnose_next_of_hosts(const struct diagnose_style *style, struct text cluster,
                                            const struct berth_reason_count_list *counts,
                                            const struct berth_placement_host_list *hosts,
                                            struct arena *arena);

/** @return what to try about a task */
struct diagnose_next diagnose_next_of_task(const struct diagnose_style *style,
                                           const struct berth_explain_task_response *answer,
                                           struct arena *arena);

/** Print what found no place lately. */
void diagnose_print_unplaced(const struct diagnose_style *style,
                             const struct berth_list_unplaced_tasks_response *answer);

/** Print the hosts of an attempt to place tasks, each with what stands against it. */
void diagnose_print_hosts(const struct berth_unplaced_task *one);

/** Print where tasks would go. */
void diagnose_print_placement(const struct diagnose_style *style,
                              const struct berth_explain_placement_response *answer);

/** Print what became of a task. @param wrote  the last lines of the container at fault, or none */
void diagnose_print_task(const struct diagnose_style *style,
                         const struct berth_explain_task_response *answer,
                         const struct text_list *wrote);
