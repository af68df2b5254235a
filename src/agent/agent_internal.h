#pragma once

#include "agent/agent.h"
#include "agent/garbage.h"
#include "agent/logic.h"
#include "agent/rules.h"
#include "agent/session.h"
#include "api/berth.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "client/client.h"
#include "endpoint/endpoint.h"
#include "journal/journal.h"

/*
 * What the parts of the agent share. agent.c starts, stops and carries effects out; agent_job.c
 * runs blocking calls in workers; agent_journal.c writes the journal; agent_link.c talks to
 * supervisors; agent_server.c registers and keeps the sessions, agent_frame.c says and hears what
 * goes over these, agent_report.c reports tasks; agent_logs.c reads output; agent_endpoint.c and
 * what agent_endpoint.h names answer tasks; agent_stats.c looks at what they take; agent_exec.c and
 * what agent_exec.h names run commands in containers.
 */

#define ID_CHARS 33 ///< of a task's id, with its terminator

/** A blocking call in a worker. Inputs are copied or immutable; results are the worker's until
 *  done is called on the loop's thread, which frees the job afterwards. */
struct job {
    uv_work_t work;
    struct agent *agent;
    struct job *next;               ///< waiting for a worker
    void (*begin)(struct job *job); ///< on the loop, when there is a worker; or NULL
    void (*run)(struct job *job);   ///< in the worker
    void (*done)(struct job *job);  ///< on the loop
    struct arena arena;
    char task_id[ID_CHARS];
    const struct session_task_spec *spec; ///< the logic's; it stays until the job is answered
    struct session_task_spec *spec_kept;  ///< the job's own, where nothing is answered; or NULL
    int rc;
    struct text reason; ///< `Name: text`, in the arena
    struct text failed_container;
    const struct berth_get_task_secrets_response *secrets; ///< prepare: in the arena, or NULL
    struct journal_container_image_list images;
    struct journal_container_ports_list ports;
    int64_t pull_started_at;
    int64_t pull_stopped_at;
    int64_t network_ready_at;
    int64_t prepared_at;
    struct text note; ///< prepare: what the host gives less of; in the arena, or absent
    int fd;           ///< of a supervisor, or -1
    struct supervisor_state *state; ///< in the arena, or NULL
    struct session_logs_request *logs_request;
    struct session_logs_reply *logs_reply;
    char *container;                    ///< logs: in the arena, or NULL
    bool ended;                         ///< logs: nothing more will be written
    struct text_list task_ids;          ///< sweep
    struct text_list eni_ids;           ///< sweep
    int endpoint_fds[LIMIT_CONTAINERS]; ///< prepare, attach: where the task reaches its agent
    size_t endpoint_count;
    struct text *endpoint_addresses;           ///< of containers on the bridge network; or NULL
    struct agent_looks *looks;                 ///< of agent_stats.c, in the arena
    struct text_list net_ids;                  ///< sweep: tasks on the bridge network
    bool check_route;                          ///< prepare: see whether this host reaches the VPC
    struct exec_start *exec;                   ///< of agent_exec.c, in the arena
    struct text unreachable;                   ///< prepare: why it does not, or absent
    struct session_security_group_list groups; ///< prepare, groups: rules that are known
    struct text message_id;                    ///< groups: to acknowledge; empty for none
    struct text refusal;          ///< prepare: why no new task is taken, in the arena; or absent
    struct garbage_look *garbage; ///< of agent_garbage.c, in the arena
    struct agent_fault *fault;    ///< of agent_fault.c, in the arena
    struct text_list fault_ids;   ///< sweep: tasks with faults in the host's namespace
    bool can_fault;               ///< sweep: this host can do all faults
};

/** Records on their way to the disk. */
struct journal_batch {
    struct journal_change *changes; ///< ids and bytes are owned
    int64_t *versions;
    size_t count;
    size_t capacity;
};

struct agent_journal {
    struct journal *journal;
    struct journal_batch waiting;
    struct journal_batch writing;
    uv_work_t work;
    bool busy;
    int rc; ///< of the write under way
    struct err err;
    uint64_t write_count;
    uint64_t record_count;
};

/** The stream of one supervisor. */
struct link {
    uv_poll_t poll;
    struct agent *agent;
    char task_id[ID_CHARS];
    int fd;
    struct buf in;
    struct buf out;
    bool closing;
};

enum server_step { SERVER_REGISTER, SERVER_DISCOVER, SERVER_SESSION };

/** How it stands with the server. */
struct agent_server {
    struct client *client; ///< registers, asks for sessions
    struct sessions *sessions;
    enum server_step step;
    bool calling;      ///< a registration or discovery is under way
    uint32_t failures; ///< since the last session that worked
    uv_timer_t retry;
    uv_timer_t watch; ///< looks after silent sessions
    struct websocket *acs;
    struct websocket *tcs;
    char *acs_url;
    char *tcs_url;
    uint32_t tcs_failures;
    uv_timer_t tcs_retry;
    char *container_instance;
    char *cluster;
    bool connected; ///< the ACS session is open
    bool tcs_connected;
    bool ready; ///< on_ready was called
};

/** Reports of tasks to the server: agent_report.c. */
struct agent_reports {
    struct client *client; ///< also asks for tasks' secrets
    struct report_call *under_way;
    size_t call_count;         ///< under way
    struct report_call *first; ///< waiting
    struct report_call *last;
};

/** What the runtime's check told last. */
struct agent_status {
    const char *known; ///< OK or IMPAIRED; NULL before the first check
    int64_t updated_ms;
    int64_t changed_ms;
    int64_t check_at_ms; ///< monotonic
    bool checking;
};

/** What is let go of, and how full the disk is: agent_garbage.c. */
struct agent_garbage {
    struct garbage state;
    bool busy;            ///< a cycle is under way
    int64_t cycle_at_ms;  ///< monotonic; 0 before the first look
    int64_t urgent_at_ms; ///< not before: for the sake of a full disk
    uint64_t cycle_count;
    bool disk_busy;
    int64_t disk_at_ms;
    struct garbage_disk disk; ///< as it was last
    bool pressed;             ///< it is too full: no new tasks are taken
};

struct agent {
    bool route_checked; ///< that this host reaches its VPC: looked at once, as it takes 20 ms
    struct agent_options options;
    struct arena arena; ///< of copies
    struct agent_identity identity;
    struct agent_logic *logic;
    struct agent_effects effects;
    bool applying;
    uv_timer_t wake;
    int64_t wake_at_ms; ///< monotonic, -1 for none
    uv_timer_t soon;    ///< looks whether a stop is done
    int handle_count;   ///< of ours, open on the loop

    struct job *job_first; ///< waiting for a worker
    struct job *job_last;
    _Atomic int64_t trimmed_ns; ///< when a worker last gave memory back
    size_t job_busy;
    size_t job_waiting;
    size_t job_max; ///< at once

    struct agent_journal journal;
    struct map links;            ///< by task id
    struct endpoints *endpoints; ///< NULL without networks
    struct map addresses;        ///< task id to what agent_socket.c keeps
    struct map credentials;      ///< task id to what agent_credentials.c keeps
    struct agent_rules rules;    ///< of security groups
    uv_timer_t rules_again;      ///< when they could not be applied
    struct map stats;            ///< task id to what agent_stats.c keeps
    struct map faults;           ///< task id to what agent_fault.c keeps
    bool can_fault;              ///< this host can do all faults
    uv_timer_t look;             ///< at what containers take
    uint32_t look_count;
    struct look_round *round; ///< of looks that nobody asked for, under way; or NULL
    struct exec *execs;       ///< sessions of ECS Exec: agent_exec.c
    struct protection_call *protection_calls;
    size_t protection_count;
    struct tags_call *tags_calls;
    size_t tags_count;
    struct secrets_call *secrets_calls;
    uv_timer_t secrets_retry;
    struct agent_server server;
    struct agent_reports reports;
    struct agent_status status;
    struct agent_garbage garbage;
    uint64_t report_count;

    bool stopping;
    bool stop_tasks;
    bool stop_told;
    bool closed;            ///< agent_free runs: start nothing
    int64_t quiet_since_ms; ///< when all tasks were gone from the host, 0 before
    void (*stopped)(void *context);
    void *stopped_context;
};

// ---- agent.c

/** Both clocks. */
struct agent_time agent_now(void);

/** Apply an event and carry its effects out. */
void agent_apply(struct agent *agent, const struct agent_event *event);

/** See whether a stop under way is done. */
void agent_check_stopped(struct agent *agent);

/** Copy a task's id into an array of ID_CHARS. */
void agent_copy_id(struct text id, char *out_id);

/** Close one of the agent's own timers and count it out. */
void agent_close_handle(struct agent *agent, uv_handle_t *handle);

// ---- agent_groups.c

/** Make the timer. */
void agent_groups_begin(struct agent *agent);

/** Begin to close it. */
void agent_groups_end(struct agent *agent);

/** Rules of security groups that changed. */
void agent_groups_take(struct agent *agent, const struct session_security_groups_message *in);

/** Those that came with tasks, before the tasks are looked at. */
void agent_groups_payload(struct agent *agent, const struct session_payload_message *in);

/** Give the job that prepares a task what is known of its groups. */
void agent_groups_give(struct agent *agent, struct job *job);

/** Apply groups to the interface of a task that runs from before they were enforced. */
void agent_groups_adopt(struct agent *agent, const struct session_task_spec *spec);

// ---- agent_job.c

/** Make a job for a task; task_id may be absent. */
struct job *agent_job_new(struct agent *agent, struct text task_id, void (*run)(struct job *job),
                          void (*done)(struct job *job));

/** Have it run as soon as a worker is free. */
void agent_job_submit(struct job *job);

/** Drop all that wait. */
void agent_job_drop_waiting(struct agent *agent);

/**
 * Answer PREPARE, LAUNCH, ATTACH, KILL, CLEAN.
 *
 * @param secrets  what the containers' secrets hold; copied; NULL for a task without
 */
void agent_job_prepare(struct agent *agent, const struct agent_effect *effect,
                       const struct berth_get_task_secrets_response *secrets);
/** See agent_job_prepare. */
void agent_job_launch(struct agent *agent, const struct agent_effect *effect);
/** See agent_job_prepare. */
void agent_job_attach(struct agent *agent, const struct agent_effect *effect);
/** See agent_job_prepare. */
void agent_job_kill(struct agent *agent, const struct agent_effect *effect);
/** See agent_job_prepare. */
void agent_job_clean(struct agent *agent, const struct agent_effect *effect);

/** A supervisor's stream ended: read what it left, tell the logic, then that it is gone. */
void agent_job_read_last(struct agent *agent, struct text task_id);

/** What is on the host and belongs to no task of the journal. */
struct agent_leftovers {
    struct text_list tasks;
    struct text_list enis;
    struct text_list nets;   ///< tasks on the bridge network
    struct text_list faults; ///< tasks with faults in the host's namespace
};

/** Remove it, and see whether this host can do faults, then go on with done. */
void agent_job_sweep(struct agent *agent, const struct agent_leftovers *leftovers,
                     void (*done)(struct job *job));

/** A job fails: its reason is `name: text`. @return the error's code */
int agent_job_fail(struct job *job, const char *name, const struct err *err);

// ---- agent_env_file.c

/**
 * Read the environment files of a task's containers, in a worker, and put their variables into the
 * definitions that are to be prepared.
 *
 * @return 0, or the code with the job's reason and container set
 */
MUST_CHECK int agent_env_files(struct job *job, struct runtime_container *containers);

/**
 * Where an environment file is.
 *
 * @param base  as environment_files of agent_options; NULL for none
 * @return 0 with a path or a URL in the arena; ERR_INVALID with what is wrong with it, or with the
 *         node
 */
MUST_CHECK int agent_env_file_locate(struct text value, const char *base, struct arena *arena,
                                     struct text *out_place, struct err *err);

// ---- agent_secrets.c

/** Answer PREPARE: of a task with secrets once the server told what they hold. */
void agent_secrets_prepare(struct agent *agent, const struct agent_effect *effect);

/** In a worker: put what secrets hold into the definitions that are to be prepared. */
void agent_secrets_add(struct job *job, struct runtime_container *containers);

/** Make ready. */
void agent_secrets_begin(struct agent *agent);

/** Drop what is under way. */
void agent_secrets_end(struct agent *agent);

// ---- agent_network.c

/**
 * Make what a task's network mode asks for, in a worker: an interface, or a namespace for each
 * container and ports of the host. Fills in the task's and the containers' namespaces, and the
 * job's ports.
 *
 * @return 0, or an error with the job's reason, and its failed container if one is at fault
 */
MUST_CHECK int agent_network_make(struct job *job, struct runtime_task *task,
                                  struct runtime_container *containers);

/** @return a task's interface as the network takes it; texts are the task's. See net/net.h */
struct net_eni agent_network_interface(const struct agent *agent,
                                       const struct session_task_spec *task);

/** Undo it; no error when there is nothing. */
MUST_CHECK int agent_network_remove(struct job *job, struct err *err);

// ---- agent_journal.c

/** Take a record or a deletion along with the next write. */
void agent_journal_add(struct agent *agent, const struct agent_effect *effect);

/** Begin to write what waits, unless a write is under way. */
void agent_journal_flush(struct agent *agent);

/** Free; no write is under way. */
void agent_journal_deinit(struct agent_journal *journal);

// ---- agent_link.c

/** Take over a connection to a supervisor. */
void agent_link_open(struct agent *agent, struct text task_id, int fd);

/** Send a command; nothing when there is no connection. */
void agent_link_command(struct agent *agent, struct text task_id,
                        enum supervisor_command_kind kind);

/** Send any command. @return false when there is no connection, or it takes nothing more */
bool agent_link_send(struct agent *agent, struct text task_id,
                     const struct supervisor_command *command);

/** Close a task's connection without telling the logic. */
void agent_link_close(struct agent *agent, struct text task_id);

/** Close all. */
void agent_link_close_all(struct agent *agent);

// ---- agent_server.c

/** Make ready to register and connect. */
MUST_CHECK int agent_server_begin(struct agent *agent, struct err *err);

/** Register and connect. */
void agent_server_go(struct agent *agent);

/** Close sessions and calls; timers are closed, too. */
void agent_server_end(struct agent *agent);

/** Free; after agent_server_end, once sessions are closed. */
void agent_server_deinit(struct agent_server *server);

/** @return whether what a call failed with may pass, so that it is to be tried again */
bool agent_server_may_pass(const struct client_result *result);

// ---- agent_report.c

/** Make the connections of reports; they are as the options say, but several. */
MUST_CHECK int agent_reports_begin(struct agent *agent, const struct client_options *options,
                                   struct err *err);

/** Submit a report; it may wait for others. The logic is told what became of it. */
void agent_report(struct agent *agent, const struct agent_effect *effect);

/** Forget those that wait and those under way; of these the logic is told nothing any more. */
void agent_reports_end(struct agent *agent);

// ---- agent_frame.c

/** A session's frame came: a websocket_handlers.text whose context is the agent. */
void agent_frame_take(void *context, struct websocket *session, struct text bytes);

/** Send a frame on the ACS session, or the TCS session. */
void agent_frame_send(struct agent *agent, const struct agent_effect *effect, bool telemetry);

/** Send a frame on the TCS session; nothing when there is none. */
void agent_frame_send_telemetry(struct agent *agent, const char *type,
                                const struct shape_type *shape, const void *message);

/** Send a frame on the ACS session; nothing when there is none. */
void agent_frame_send_session(struct agent *agent, const char *type, const struct shape_type *shape,
                              const void *message);

// ---- agent_endpoint.c

/** Make the server of endpoints. */
MUST_CHECK int agent_endpoints_begin(struct agent *agent, struct err *err);

/** @return whether a task is in the host's own network namespace */
bool agent_endpoint_on_host(const struct session_task_spec *spec);

/** @return whether a task reaches this agent */
bool agent_endpoint_served(const struct agent *agent, const struct session_task_spec *spec);

/** What a container's environment says about where its agent is; may run in a worker. */
struct text_list agent_endpoint_environment(const struct agent *agent,
                                            const struct session_task_spec *spec, size_t index,
                                            struct arena *arena);

/** In a worker, once the task has its network: open its sockets, for agent_endpoint_take. */
MUST_CHECK int agent_endpoint_open(struct job *job, struct err *err);

/** Close sockets that were opened and not taken. */
void agent_endpoint_drop(struct job *job);

/** Serve on the sockets that a job opened. */
void agent_endpoint_take(struct job *job);

/** The task is going: close its sockets, forget its credentials and statistics. */
void agent_endpoint_close(struct agent *agent, struct text task_id);

/** Forget where tasks are. */
void agent_endpoint_deinit(struct agent *agent);

struct endpoint_task;

/** Fill in the metadata of a task. */
void agent_endpoint_metadata(const struct agent *agent, struct text task_id,
                             const struct agent_task_view *view, int version, struct arena *arena,
                             struct endpoint_task *out_task);

// ---- agent_credentials.c

/** Keep what the server sent, and acknowledge it. */
void agent_credentials_take(struct agent *agent,
                            const struct session_iam_role_credentials_message *message);

/** @return a task's credentials until the next are taken, or NULL */
const struct session_role_credentials *agent_credentials_of(const struct agent *agent,
                                                            struct text task_id);

/** Forget a task's; nothing when there are none. */
void agent_credentials_forget(struct agent *agent, struct text task_id);

/** Forget all. */
void agent_credentials_deinit(struct agent *agent);

// ---- agent_protection.c, agent_tags.c

/** Drop what is under way: answers are not given. */
void agent_protection_end(struct agent *agent);
/** See agent_protection_end. */
void agent_tags_end(struct agent *agent);

// ---- agent_fault.c

/** In a worker, at the start: end faults of tasks that are gone, and see what this host can do. */
void agent_fault_sweep(struct job *job);

/** The task is going: forget what it asked for. */
void agent_fault_forget(struct agent *agent, struct text task_id);

/** Forget all. */
void agent_fault_deinit(struct agent *agent);

// ---- agent_exec.c

/** Run a command in a container, as the server asks. */
void agent_exec_take(struct agent *agent, const struct session_execute_command_message *message);

/** A supervisor tells that a command has ended. */
void agent_exec_ended(struct agent *agent, struct text task_id,
                      const struct supervisor_exec_ended *ended);

/** The connection to a task's supervisor is closed: its commands end. */
void agent_exec_lost(struct agent *agent, struct text task_id);

/** End all; after agent_server_end. They are gone once agent->execs is NULL: turn the loop. */
void agent_exec_end(struct agent *agent);

// ---- agent_stats.c

/** Begin to look at what containers take. */
void agent_stats_begin(struct agent *agent);

/** Forget what was seen of a task. */
void agent_stats_forget(struct agent *agent, struct text task_id);

/** Free. */
void agent_stats_deinit(struct agent *agent);

// ---- agent_status.c

/** The TCS session is open: tell how the host is, and look. */
void agent_status_connected(struct agent *agent);

/** Look how the host is when it is time to. */
void agent_status_watch(struct agent *agent);

/** Whether it takes new tasks has changed: tell it. */
void agent_status_changed(struct agent *agent);

// ---- agent_garbage.c

/** Look how full the disk is, and let go of what nothing needs, when it is time to. */
void agent_garbage_watch(struct agent *agent);

/** @return why the disk allows no new task, in the arena; absent when it does */
struct text agent_disk_refusal(const struct agent *agent, struct arena *arena);

// ---- agent_host.c

/** Fill a registration with what this host is and has; texts are in the arena. */
void agent_host_describe(const struct agent *agent, struct arena *arena,
                         struct ecs_register_container_instance_request *out_request);

/** @return the id of this boot of the host, in the arena */
struct text agent_host_boot_id(struct arena *arena);

// ---- agent_capability.c

#define AGENT_CAPABILITIES_MAX 64 ///< more than there are

/** Name what this node can do, as attributes. @return how many, at most max */
size_t agent_capabilities(struct text *out_names, size_t max);

// ---- agent_logs.c

/** Answer a question for output on the ACS session. */
void agent_logs_answer(struct agent *agent, const struct session_logs_request *request);
