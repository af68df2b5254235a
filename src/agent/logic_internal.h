#pragma once

#include "agent/buried.h"
#include "agent/logic.h"
#include "agent/shared.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mutant.h"
#include "base/text.h"

#include <string.h>

/*
 * What the parts of the task logic share. logic.c takes events of the session, logic_task.c moves
 * one task forward, logic_end.c takes it to its end, logic_report.c tells the server.
 *
 * A task is a set of facts. Events change facts and then call agent_task_step, which looks at the
 * facts alone and asks for whatever can be done now. So no order of events can leave a task stuck.
 */

#define CHANGE_DELAY_MS 100   ///< see agent_task_report
#define PENDING_DELAY_MS 1000 ///< likewise, before all containers were started
#define RETRY_FIRST_MS 100    ///< of reports; doubles
#define RETRY_LAST_MS 30000
#define HOST_RETRY_FIRST_MS 500 ///< of kill, clean and journal; doubles
#define HOST_RETRY_LAST_MS 60000
#define START_TIMEOUT_MS 60000    ///< from LAUNCHED to the supervisor's first state
#define STOP_TIMEOUT_DEFAULT_S 30 ///< ECS's for a container without one
#define STOP_GRACE_MS 60000       ///< beyond all stop timeouts, before the agent kills
#define HEX_ID_SIZE 32

#define NEVER INT64_MAX

/** A step on the host that is asked for once and answered once. */
enum step {
    STEP_TODO,
    STEP_BUSY,
    STEP_DONE,
    STEP_SKIPPED, ///< failed, or not wanted any more
};

enum stage { STAGE_NONE, STAGE_PENDING, STAGE_RUNNING, STAGE_STOPPED };

/** A message of the session to acknowledge once all its tasks are safe. */
struct ack {
    size_t waiting;  ///< tasks of it that are not
    int64_t session; ///< acknowledged in this one only
    char *message_id;
};

/** A task is safe once its record of this version is durable, or the task is gone. */
struct ack_wait {
    struct ack *ack;
    int64_t version;
};

struct agent_task {
    struct agent_task *next;
    struct agent_task *previous;
    struct agent_task *queue_next;   ///< waiting to be prepared
    struct session_task_spec *spec;  ///< owned; never changes; its definition is shared
    struct shared_value *definition; ///< NULL for a task without
    struct text id;                  ///< in spec

    bool stop_requested;
    bool unconfirmed;         ///< found unstarted: the server must say again that it wants it
    bool relaunch;            ///< found LAUNCHED, but nothing of it had been started
    bool queued;              ///< to be prepared
    bool journaled;           ///< false: known only to tell the server that it is over
    enum journal_phase phase; ///< as in the newest record, durable or not
    int64_t put_version;      ///< of the newest record
    int64_t durable_version;
    int64_t launch_version;  ///< of the first record in phase LAUNCHED
    int64_t stopped_version; ///< of the first record in phase STOPPED

    enum step prepare;
    enum step launch;
    bool attached; ///< a state came from the supervisor now connected
    bool stop_sent;
    int64_t stop_deadline_ms;  ///< NEVER, or when to kill
    int64_t start_deadline_ms; ///< NEVER, or when to give up waiting for a state

    struct supervisor_state *state; ///< owned; the newest, or NULL
    struct shared_value *kept;      ///< NULL, or a journal_task with images and ports only
    int64_t pull_started_at;
    int64_t pull_stopped_at;
    int64_t network_ready_at;
    int64_t prepared_at;

    bool ended;
    char *reason;           ///< owned, or NULL
    char *failed_container; ///< owned, or NULL
    char *note;             ///< owned, or NULL: of PREPARED, for its timeline
    enum step kill;
    enum step clean;
    bool clean_failed;        ///< at least once
    bool stop_put_failed;     ///< the journal could not take the end
    enum step erase;          ///< of the record
    int64_t host_retry_at_ms; ///< of kill, clean and erase
    uint32_t host_attempts;

    bool ran; ///< every container was started: RUNNING is to be told
    enum stage stage_accepted;
    enum stage stage_sent;
    int64_t facts; ///< grows when the content of a report does
    int64_t facts_accepted;
    int64_t facts_sent;
    int64_t report_id;    ///< of the one under way, or 0
    int64_t report_at_ms; ///< not before: back-off
    int64_t change_at_ms; ///< not before, for a change within a stage; 0 for none
    uint32_t report_attempts;

    bool health_changed;
    bool timeline_changed;
    int64_t healthy_at[LIMIT_CONTAINERS]; ///< for the first time, by place in the state
    int64_t timeline_message;             ///< the number of the last that told its timeline, or 0
    struct ack_wait *waits;               ///< owned
    size_t wait_count;
};

/** What a task did that is forgotten otherwise, until the server has it. */
struct parting {
    struct session_task_timeline *timeline; ///< owned
    int64_t message;                        ///< the number of the last that told it
};

struct agent_logic {
    char *boot_id;
    uint32_t prepare_max;
    uint32_t prepare_busy;
    bool recovered;
    bool connected;
    int64_t session;  ///< counts CONNECTED
    int64_t sequence; ///< highest seqNum or timeline of this session
    char *container_instance;
    char *cluster;
    char *manifest_id; ///< of the last manifest that was answered with candidates

    struct map tasks; ///< by id
    struct agent_task *first;
    struct agent_task *last;
    struct agent_task *queue_first;
    struct agent_task *queue_last;

    struct shared_values shared; ///< what tasks have in common
    struct buried buried;        ///< tasks that ended, see agent_logic_bury

    int64_t next_report_id;
    int64_t next_message;
    bool health_changed;
    int64_t health_at_ms;     ///< NEVER without tasks that have health
    int64_t timeline_at_ms;   ///< NEVER, or when to tell what changed
    int64_t timeline_acked;   ///< the number of the last that the server said it has
    struct parting *partings; ///< owned, oldest first
    size_t parting_count;
    int64_t due_ms;      ///< no task's timer is earlier
    int64_t told_due_ms; ///< of the last WAKE_AT
};

/** One event being applied. */
struct turn {
    struct agent_logic *logic;
    struct agent_time now;
    struct agent_effects *effects;
};

// ---- logic.c

/** Append an effect of this kind for the task (NULL for none). Valid until the next is added. */
struct agent_effect *agent_turn_effect(struct turn *turn, enum agent_effect_kind kind,
                                       struct agent_task *task);

/** Append a frame for the session. */
void agent_turn_send(struct turn *turn, enum agent_effect_kind kind, const char *type,
                     const struct shape_type *shape, const void *frame);

/** See to it that time is given at at_ms or before. */
void agent_turn_due(struct turn *turn, int64_t at_ms);

/** Resolve those acknowledgements that waited for this task; gone: all of them. */
void agent_task_resolve_acks(struct turn *turn, struct agent_task *task, bool gone);

/** Add a task; spec is cloned. */
struct agent_task *agent_task_new(struct agent_logic *logic, const struct session_task_spec *spec);

/** Remember that a task ended and forget the task. */
void agent_task_forget(struct turn *turn, struct agent_task *task);

// ---- logic_task.c

/** Do what can be done now. The task may be gone afterwards. */
void agent_task_step(struct turn *turn, struct agent_task *task);

/** Prepare tasks that wait, as far as there is room. */
void agent_logic_start_prepares(struct turn *turn);

/** Make the newest facts durable. */
void agent_task_put(struct turn *turn, struct agent_task *task);

/** The milliseconds until an attempt that follows this many failures. */
int64_t agent_backoff_ms(uint32_t failures, int64_t first_ms, int64_t last_ms);

/** Take in what a supervisor says. */
void agent_task_state(struct turn *turn, struct agent_task *task,
                      const struct supervisor_state *state);

/** @return what the task's containers run and which ports they have, or NULL before it is known */
const struct journal_task *agent_task_kept(const struct agent_task *task);

/** Copy what the containers run, and which ports of the host they have. */
void agent_task_keep(struct turn *turn, struct agent_task *task,
                     const struct journal_container_image_list *images,
                     const struct journal_container_ports_list *ports);

/** Events that answer effects. */
void agent_task_journaled(struct turn *turn, struct agent_task *task,
                          const struct agent_event *event);
/** See agent_task_journaled. */
void agent_task_prepared(struct turn *turn, struct agent_task *task,
                         const struct agent_event *event);
/** See agent_task_journaled. */
void agent_task_launched(struct turn *turn, struct agent_task *task,
                         const struct agent_event *event);

/** Take over a task from the journal. */
void agent_task_recover(struct turn *turn, const struct agent_event *event);

// ---- logic_end.c

/** The task is over, for a reason or none: from here on nothing is started. */
void agent_task_end(struct turn *turn, struct agent_task *task, struct text reason);

/** What agent_task_step does once a task has ended. @return false when the task is gone */
bool agent_task_step_end(struct turn *turn, struct agent_task *task);

/** Why a lost supervisor ended the task. */
void agent_task_supervisor_lost(struct turn *turn, struct agent_task *task);

/** See agent_task_journaled. */
void agent_task_killed(struct turn *turn, struct agent_task *task, int rc);
/** See agent_task_journaled. */
void agent_task_cleaned(struct turn *turn, struct agent_task *task, int rc);

// ---- logic_report.c

/** Something that a report tells has changed. */
void agent_task_facts(struct turn *turn, struct agent_task *task);

/** Send a report when one is due. */
void agent_task_report(struct turn *turn, struct agent_task *task);

/** Take the answer. */
void agent_task_reported(struct turn *turn, struct agent_task *task, enum agent_outcome outcome);

/** @return whether the server took the STOPPED report */
bool agent_task_stopped_accepted(const struct agent_task *task);

/** @return whether nothing stands against telling the server that the task is STOPPED */
bool agent_task_may_report_stopped(const struct agent_task *task);

// ---- logic_timeline.c

/** The timeline of a task has changed. */
void agent_task_timeline(struct turn *turn, struct agent_task *task);

/** The task is about to be forgotten: tell what was not told yet, and keep it until it arrived. */
void agent_task_timeline_last(struct turn *turn, struct agent_task *task);

/** The server has what a message told, by the id of the message. */
void agent_logic_timeline_taken(struct turn *turn, struct text message_id);

/** Free what is kept. */
void agent_logic_timeline_deinit(struct agent_logic *logic);

/** A session is new: all that is known is to be told, as what was told before may be lost. */
void agent_logic_timeline_again(struct turn *turn);

/** Tell what is due. */
void agent_logic_timeline(struct turn *turn);

// ---- logic_report.c

/** Describe a frame for the telemetry session; logic->next_message is the number in its id.
 *  @param fin it is the last of its kind for now */
struct session_health_metadata *agent_turn_metadata(struct turn *turn, const char *prefix,
                                                    bool fin);

/** Publish health: what changed, or all of it when the period is over. */
void agent_logic_health(struct turn *turn);
