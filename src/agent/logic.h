#pragma once

#include "api/ecs.h"
#include "api/journal.h"
#include "api/session.h"
#include "api/supervisor.h"
#include "base/alloc.h"

/*
 * What a node does with the tasks it is given: pure logic, events in, effects out.
 *
 * There is no I/O here, no clock and no randomness: time comes with each event, so the simulator
 * runs exactly this code. Events are facts ("the record is durable", "the supervisor is gone");
 * each changes what is known of a task, and then the logic does the next step that is possible.
 * An effect is asked for once and answered by one event. What goes missing with a crash is made
 * good by recovery, which starts from the journal and from what is found on the host.
 *
 * What always holds:
 *   - A task runs at most once in its life, over crashes, reboots and repeated messages: it is
 *     launched only after a record in phase LAUNCHED is durable, and a task found in that phase is
 *     launched only when the host can tell that nothing of it was ever started, and the server
 *     still wants it.
 *   - Desired status STOPPED is final. A task that is to stop before it was launched never is.
 *   - STOPPED is reported after nothing of the task runs any more and, where that is possible,
 *     nothing of it is left on the host, so its address may be used again.
 *   - A record leaves the journal only after the server took the STOPPED report and the task's
 *     remains are gone. Nothing of a task is removed before the record that holds its exit codes is
 *     durable.
 *   - Exit codes are only ever those that a supervisor saw.
 *   - Reports of a task are sent one at a time, in order, and again until the server took them.
 *     Those not yet sent are merged into the newest, but RUNNING is never skipped.
 */

#define AGENT_TASK_MAX 10000         ///< tasks a node knows at once; a host runs far fewer
#define AGENT_PREPARE_MAX 32         ///< tasks prepared at once: more would only queue for the disk
#define AGENT_REASON_MAX 1024        ///< ECS's agent cuts reasons there as well
#define AGENT_HEALTH_PERIOD_MS 20000 ///< ECS's agent publishes health that often
#define AGENT_HEALTH_FRAME_MAX 100   ///< tasks in one health message; keeps it far below a frame
#define AGENT_TIMELINE_DELAY_MS 500  ///< in which a quick start is told as a whole, with its like
#define AGENT_TIMELINE_KEPT_MAX 200  ///< of forgotten tasks, while there is nobody to tell; 100 KB

struct agent_logic;

struct agent_logic_options {
    struct text boot_id;  ///< of this boot of the host; copied
    uint32_t prepare_max; ///< 0 for AGENT_PREPARE_MAX
};

/** The two clocks, read once for each event. */
struct agent_time {
    int64_t monotonic_ms; ///< for deadlines; not negative
    int64_t wall_ms;      ///< for the times in messages; since 1970
};

enum agent_event_kind {
    AGENT_EVENT_RECOVERED,     ///< at start, once for each record of the journal
    AGENT_EVENT_RECOVERY_DONE, ///< all were given; from here on the others may come
    AGENT_EVENT_CONNECTED,     ///< a session is open; messages of older ones must not come now
    AGENT_EVENT_DISCONNECTED,
    AGENT_EVENT_TELEMETRY_CONNECTED,
    AGENT_EVENT_TIMELINE_TAKEN, ///< a frame with timelines arrived at the server
    AGENT_EVENT_PAYLOAD,
    AGENT_EVENT_MANIFEST,
    AGENT_EVENT_STOP_VERIFICATION_ACK,
    AGENT_EVENT_JOURNALED,       ///< answers JOURNAL_PUT and JOURNAL_DELETE, in their order
    AGENT_EVENT_PREPARED,        ///< answers PREPARE
    AGENT_EVENT_LAUNCHED,        ///< answers LAUNCH; then STATE or SUPERVISOR_LOST follow
    AGENT_EVENT_STATE,           ///< from the supervisor, or from the state it left behind
    AGENT_EVENT_SUPERVISOR_LOST, ///< its stream ended; a state it left behind was given before
    AGENT_EVENT_KILLED,          ///< answers KILL
    AGENT_EVENT_CLEANED,         ///< answers CLEAN
    AGENT_EVENT_REPORTED,        ///< answers REPORT
    AGENT_EVENT_TIME,            ///< WAKE_AT is due; may come at any time
};

enum agent_outcome {
    AGENT_REPORT_ACCEPTED,
    AGENT_REPORT_TRY_AGAIN, ///< no answer, throttled, or the server's own failure
    AGENT_REPORT_REFUSED,   ///< it will never be taken
};

/** An event. Everything is borrowed for the call. */
struct agent_event {
    enum agent_event_kind kind;
    struct text task_id; ///< 32 hex digits: JOURNALED .. REPORTED
    int rc;              ///< 0 or an error code: JOURNALED, PREPARED, LAUNCHED, KILLED, CLEANED
    struct text reason;  ///< with an rc: `Name: text`, fit for the task's stoppedReason
    int64_t version;     ///< JOURNALED: of the effect
    int64_t report_id;   ///< REPORTED: of the effect
    enum agent_outcome outcome;
    struct text container_instance; ///< CONNECTED: ARN of this host, for acknowledgements
    struct text cluster;            ///< CONNECTED
    const struct session_payload_message *payload;
    const struct session_task_manifest_message *manifest;
    const struct session_task_stop_verification_ack *stop_ack;
    struct text message_id;               ///< TIMELINE_TAKEN
    const struct supervisor_state *state; ///< STATE; RECOVERED: the last that was left, or NULL
    const struct journal_task *record;    ///< RECOVERED
    bool supervisor_alive;                ///< RECOVERED
    bool unstarted;                       ///< RECOVERED: prepared, and nothing of it ever started
    struct text failed_container;         ///< PREPARED with an rc: the one at fault, or absent
    struct journal_container_image_list images; ///< PREPARED: what the containers run
    struct journal_container_ports_list ports;  ///< PREPARED: which ports of the host they have
    int64_t pull_started_at;                    ///< PREPARED
    int64_t pull_stopped_at;                    ///< PREPARED
    int64_t network_ready_at;                   ///< PREPARED
    int64_t prepared_at;                        ///< PREPARED
    struct text note; ///< PREPARED: what the host gives less of, or absent
};

enum agent_effect_kind {
    AGENT_EFFECT_JOURNAL_PUT, ///< make record durable; puts and deletes keep their order
    AGENT_EFFECT_JOURNAL_DELETE,
    AGENT_EFFECT_PREPARE, ///< images, network interface, bundles
    AGENT_EFFECT_LAUNCH,  ///< start the supervisor, or find that it runs, and connect to it
    AGENT_EFFECT_ATTACH,  ///< connect to a supervisor that runs already; no direct answer
    AGENT_EFFECT_STOP,    ///< tell the supervisor; no answer but its states
    AGENT_EFFECT_KILL,    ///< kill all that runs of the task
    AGENT_EFFECT_CLEAN,   ///< remove all that is left of it
    AGENT_EFFECT_REPORT,  ///< SubmitTaskStateChange
    AGENT_EFFECT_SEND,    ///< a frame for the session; dropped when there is none
    AGENT_EFFECT_HEALTH,  ///< a frame for the telemetry session, health or timelines; likewise
    AGENT_EFFECT_WAKE_AT, ///< give TIME at at_ms; replaces the one before
};

/**
 * An effect. What it points to is valid until the next call for the logic; only spec stays until
 * the effect was answered.
 */
struct agent_effect {
    enum agent_effect_kind kind;
    struct text task_id;
    int64_t version;                      ///< JOURNAL_PUT, JOURNAL_DELETE: for the answer
    const struct journal_task *record;    ///< JOURNAL_PUT
    const struct session_task_spec *spec; ///< PREPARE, CLEAN; LAUNCH of what an agent before this
                                          ///< one prepared
    int64_t report_id;                    ///< REPORT: for the answer
    const struct ecs_submit_task_state_change_request *report;
    const char *frame_type; ///< SEND, HEALTH: constant text
    const struct shape_type *frame_shape;
    const void *frame;
    int64_t at_ms; ///< WAKE_AT: monotonic; -1 for never
};

/** Effects in order. Zero-initialised storage is valid and empty. */
struct agent_effects {
    struct arena arena; ///< of what the effects point to
    struct agent_effect *items;
    size_t count;
    size_t capacity;
};

/** Empty, keeping some memory. Carry out all effects and call this before the next event. */
void agent_effects_reset(struct agent_effects *effects);

/** Free the memory. */
void agent_effects_deinit(struct agent_effects *effects);

AUTO_VALUE(struct agent_effects, agent_effects_deinit)

/** Make the logic of a node that knows of no task. Never fails. */
struct agent_logic *agent_logic_new(const struct agent_logic_options *options);

/** Free; NULL is allowed. Specs of effects that were not answered go with it. */
void agent_logic_free(struct agent_logic *logic);

AUTO_POINTER(struct agent_logic, agent_logic_free)

/** Apply one event and append what is to be done now, in order. effects must be empty. */
void agent_logic_apply(struct agent_logic *logic, struct agent_time now,
                       const struct agent_event *event, struct agent_effects *effects);

/** How a task stands, for the adapter, for people and for tests. Valid until the next event. */
struct agent_task_view {
    const struct session_task_spec *spec;
    enum journal_phase phase;
    bool stop_requested;
    bool launched; ///< LAUNCH was asked for, or it was found launched
    bool ended;
    bool cleaned;
    const struct supervisor_state *state;       ///< NULL when none was seen
    struct journal_container_image_list images; ///< what the containers run, once it is known
    struct journal_container_ports_list ports;  ///< of the host that they have
    int64_t pull_started_at;
    int64_t pull_stopped_at;
};

/** @return whether the task is known, with its view in out_view */
bool agent_logic_task(const struct agent_logic *logic, struct text task_id,
                      struct agent_task_view *out_view);

/** @return how many tasks are known, those included whose end is still to be reported */
size_t agent_logic_count(const struct agent_logic *logic);

/** Visit every task in the order in which they came. */
void agent_logic_each(const struct agent_logic *logic,
                      void (*visit)(void *context, struct text task_id,
                                    const struct agent_task_view *view),
                      void *context);

/** Have every task stop, as if each had been sent with desired status STOPPED. */
void agent_logic_stop_all(struct agent_logic *logic, struct agent_time now,
                          struct agent_effects *effects);

/** The id of a task: what follows the last slash of its ARN. @return absent when it is none */
struct text agent_task_id(struct text task_arn);
