#pragma once

#include "ecs/task_run.h"

/*
 * Why tasks are where they are, or nowhere: what stands against each host (diagnose.c), where tasks
 * would go (diagnose_placement.c), what found no place lately (diagnose_ring.c), and what became of
 * one task (diagnose_task.c, diagnose_reason.c).
 *
 * Placement itself stops at the first reason against a host, and says only that one. Here all are
 * collected, by the same checks in the same order, so that the first is the one that RunTask says.
 */

#define DIAGNOSE_FINDINGS_MAX 32   ///< reasons against one host: enough for any that a person reads
#define DIAGNOSE_REASONS_MAX 16    ///< different words for them
#define DIAGNOSE_NOTES_REALM 100   ///< unplaced tasks remembered of one realm
#define DIAGNOSE_NOTES_MAX 1000    ///< and of all: each may take some 20 KB
#define DIAGNOSE_NOTE_HOSTS 64     ///< hosts told of each in detail
#define DIAGNOSE_NOTE_LOOK 1000    ///< hosts looked at for each: it must cost no more than placing
#define DIAGNOSE_NOTE_REST_MS 1000 ///< attempts that follow so closely are counted, not looked at

/** What a reason is about. */
enum diagnose_matter {
    DIAGNOSE_AGENT,
    DIAGNOSE_DRAINING,
    DIAGNOSE_ATTRIBUTE,    ///< subject: its name
    DIAGNOSE_ARCHITECTURE, ///< subject: the attribute that names it
    DIAGNOSE_MEMBER_OF,    ///< subject: the expression
    DIAGNOSE_CPU,
    DIAGNOSE_MEMORY,
    DIAGNOSE_ENI,
    DIAGNOSE_PORT, ///< asked: the port as of task_port
    DIAGNOSE_GPU,
    DIAGNOSE_ZONE,    ///< no subnet is in a zone of the host
    DIAGNOSE_ADDRESS, ///< those that are have no address left
    DIAGNOSE_DISTINCT,
    DIAGNOSE_OTHER, ///< known to placement only
};

/** One reason against a host. */
struct diagnose_finding {
    enum diagnose_matter matter;
    const char *reason;  ///< ECS's word
    struct text subject; ///< borrows from records or the run
    int64_t asked;
    int64_t free;
    int64_t total;
};

/** What is looked at. */
struct diagnose_view {
    const struct task_run *run;
    bool placed;       ///< by placement, so that constraints count; not by StartTask
    int64_t rehearsed; ///< tasks from this key on are part of the question; INT64_MAX for none
};

/** What stands against all hosts together, and against some of them in detail. */
struct diagnose_survey {
    size_t host_count; ///< that were looked at
    size_t total_count;
    size_t fit_count;
    struct berth_reason_count *counts; ///< in the order in which they were met
    size_t count_count;
    struct berth_placement_host *hosts;
    size_t shown_count;
    int64_t next_after; ///< key of the last host shown when more follow, else 0
};

/**
 * Find everything that stands against a host.
 *
 * @param findings  room for DIAGNOSE_FINDINGS_MAX
 * @return how many; 0 when placement would take it
 */
size_t diagnose_spot(const struct core *core, const struct diagnose_view *view,
                     struct task_spot *spot, struct diagnose_finding *findings);

/** Show a host with its reasons; texts are in the call's arena or borrow from records. */
void diagnose_show(struct core_call *call, const struct diagnose_view *view, struct task_spot *spot,
                   struct berth_placement_host *out_host);

/** Look at hosts, of which there are total, and show at most max of those above a key. */
void diagnose_survey(struct core_call *call, const struct diagnose_view *view,
                     struct task_spots *spots, size_t total, int64_t after, size_t max,
                     struct diagnose_survey *out_survey);

/** Count a reason in a survey that has room for it; what is beyond DIAGNOSE_REASONS_MAX is not. */
void diagnose_count(struct diagnose_survey *survey, struct text reason);

/** @return whether there is any host that the tasks could go to at all */
bool diagnose_has_hosts(const struct task_run *run);

/** An attempt to place tasks. */
struct diagnose_attempt {
    struct text operation; ///< such as `RunTask`: who asked
    size_t asked;
    size_t placed;
};

/** @return a sentence on what became of the tasks asked for */
struct text diagnose_summary(struct core_call *call, const struct task_run *run,
                             const struct diagnose_attempt *attempt,
                             const struct diagnose_survey *survey);

/**
 * Remember that placement found no place for some tasks, for ListUnplacedTasks. An attempt like one
 * that is remembered (same operation, cluster, definition, group and startedBy) takes its place and
 * counts on, so that somebody who tries again and again pushes nothing else out.
 *
 * Any scheduler may call it, in a manager too: all that it needs of a run is what task_run_place
 * needs. Changes no record.
 *
 * @param spots  as task_run_place left them; may be none
 */
void diagnose_note(struct core_call *call, const struct task_run *run,
                   const struct diagnose_attempt *attempt, struct task_spots *spots);

/** The same for a StartTask, whose hosts were named. spots are all of the cluster. */
void diagnose_note_named(struct core_call *call, const struct task_run *run,
                         struct task_spots *spots, const struct ecs_start_task_response *response);

// ---- one task

/** The task that is explained, and the answer. */
struct diagnose_subject {
    const struct task_record_task *record;
    const struct task_entry *entry;
    const struct ecs_task_definition *definition;
    const struct task_node *node;
    struct text host; ///< the node's name
    struct berth_explain_task_response *response;
};

/** Say what became of it. @param failed  somebody has to do something */
void diagnose_conclude(const struct diagnose_subject *subject, enum berth_task_cause cause,
                       bool failed, struct text summary);

/** Say which container it is about, by its place in the definition. */
void diagnose_point_at(const struct diagnose_subject *subject, size_t container);

/** Conclude from what a node reported as the reason of a container or of the task. @return whether
 *  it says anything that is known */
bool diagnose_reason(struct core_call *call, const struct diagnose_subject *subject,
                     struct text reason);
