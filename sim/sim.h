#pragma once

#include "acts.h"
#include "agent/logic.h"
#include "api/berth.h"
#include "api/node.h"
#include "base/map.h"
#include "core/clock.h"
#include "core/core.h"
#include "disk.h"
#include "guard.h"
#include "journal/journal.h"
#include "services.h"
#include "store/store.h"
#include "task/order.h"
#include "world.h"

/*
 * One simulated Berth: a server with the real engine, hosts with the real task logic of the agent
 * and the real decisions of the supervisor, a network between them, a person who runs and stops
 * tasks, and faults. What really happened is written down in facts, and invariants compare it with
 * what the engine says.
 *
 * Things that may be named by events under way (calls, sessions, supervisors) are kept until the
 * end of the run: runs are short. Each has a life, a number that changes when it ends, so that
 * events meant for it are dropped.
 */

#define SIM_ACCOUNT "123456789012"
#define SIM_STRANGER "210987654321" ///< an account that shares the server and nothing else
#define SIM_NODE_MAX 10
#define SIM_CONTAINER_MAX 10
#define SIM_ID_CHARS 33
#define SIM_EPOCH_MS INT64_C(1800000000000) ///< wall clock at time zero

struct sim;
struct node;
struct session;
struct supervisor;

// ---- facts: what really happened --------------------------------------------------------------

/** What really became of a container. */
struct container_fact {
    bool started;
    bool exited;
    int32_t exit_code; ///< 128 + number for a signal, also when nobody saw it
};

/** What is known of a task from outside the engine. */
struct fact {
    char id[SIM_ID_CHARS];
    char cluster[32];
    bool stranger; ///< it is the other account's
    int64_t key;
    int64_t stopped_at; ///< as the engine says
    bool reaped;        ///< it was let go of after its time
    bool durable;       ///< the store has it
    int32_t durable_version;
    int durable_status;
    int durable_desired;
    bool shown; ///< an effect or a reply showed it, with at least this:
    int32_t shown_version;
    int shown_status;
    bool shown_stop;
    bool run_acknowledged;
    bool stop_acknowledged;
    bool written_off; ///< its node was removed by force
    bool listed;      ///< it is among those to look at
    int launch_count;
    bool end_exempt; ///< its host could not clean or remember: its remains may outlive it
    struct container_fact containers[SIM_CONTAINER_MAX];
};

/** A clientToken and what it was used for. */
struct token_fact {
    char token[24];
    struct run_spec spec;
    size_t task_count; ///< of an acknowledged answer that had any
    char ids[10][SIM_ID_CHARS];
};

struct facts {
    struct fact **items; ///< in the order in which they came
    size_t count;
    size_t capacity;
    struct map by_id;
    struct fact **changed; ///< since they were looked at
    size_t changed_count;
    size_t changed_capacity;
    struct token_fact *tokens;
    size_t token_count;
};

// ---- calls --------------------------------------------------------------------------------

/** A request over HTTP, from a node or from the person. */
struct call {
    struct call *next;
    struct sim *sim;
    struct node *node; ///< NULL: the person
    const struct api_operation *operation;
    void *request;  ///< owned
    void *response; ///< owned; NULL unless it succeeded
    int rc;         ///< 0, ERR_FAULT, or that there is no answer
    const struct api_error *fault;
    char fault_text[1024];
    bool stranger; ///< the other account asks
    struct walk *walk;
    char *snapshot; ///< owned; see pages_snapshot
    bool at_server; ///< being handled or waiting to be durable
    bool closed;    ///< the caller has its answer or has given up
    bool reply_lost;
    const uint64_t *life; ///< of the caller
    uint64_t life_number;
    void (*done)(struct call *call);
    void *context;
    int64_t number; ///< the caller's: report id, attempt
    char id[SIM_ID_CHARS];
};

/** What to call. */
struct call_options {
    struct node *node;
    const struct api_operation *operation;
    const void *request; ///< borrowed
    const uint64_t *life;
    void (*done)(struct call *call); ///< the outcome; not called when the caller's life is over
    void *context;
    int64_t number;
    struct text id;
    bool stranger; ///< the other account asks
    struct walk *walk;
};

/** Begin a call. */
void call_begin(struct sim *sim, const struct call_options *options);

/** The server is gone: whoever waits for an answer learns it, soon or by its timeout. */
void call_server_gone(struct sim *sim);

/** Free a call. */
void call_free(struct call *call);

// ---- the server -------------------------------------------------------------------------------

/** Something to do once a version is durable. */
struct server_wait {
    uint64_t version;
    void (*done)(struct call *call);
    struct call *call;
};

struct server {
    struct sim *sim;
    struct core *core; ///< NULL while it is down
    struct store *store;
    uint64_t life;
    int64_t offset_ms;  ///< of its wall clock
    int64_t started_ms; ///< its process
    int64_t steady_ms;  ///< since when its process runs and its clock has not jumped
    struct core_clock clock;
    uint64_t version_durable;
    struct core_batch *batch; ///< being written
    struct disk *disk;        ///< of seeds with a database; else NULL
    struct store *twin;       ///< rows in memory, that it must have as well
    struct core_batch *doubt; ///< whether it was written nobody knows
    bool flush_posted;
    int64_t armed_ms; ///< true time of the timer, or -1
    uint64_t arm_life;
    struct server_wait *waits;
    size_t wait_count;
    size_t wait_capacity;
    int64_t session_count;
    bool touched;            ///< since the invariants were looked at
    int64_t retention_ms;    ///< of stopped tasks
    int64_t input_ms;        ///< engine time of the newest input
    uint64_t before_version; ///< of the engine, before the newest request
    int64_t task_key;        ///< highest of all tasks there were
    struct arena scratch;
    uint32_t crash_count;
};

/** Start a server: the first time on an empty store, later on what is durable. */
void server_start(struct sim *sim);

/** It ends at once; what is being written is written or not. */
void server_crash(struct sim *sim);

/** Free. */
void server_deinit(struct server *server);

/** Apply an operation as the engine's host does. The response is in scratch until the next. */
int server_request(struct server *server, const struct core_caller *caller,
                   const struct api_operation *operation, struct core_call *call,
                   const void *request, void *response);

/** Have done called when all that is in memory now is durable. */
void server_wait(struct server *server, struct call *call, void (*done)(struct call *call));

/** @return the caller that a key of a node stands for; false when the key is not known any more */
bool server_caller(const struct server *server, const struct node *node, bool stranger,
                   struct core_caller *out_caller);

// ---- sessions -----------------------------------------------------------------------------

/** A websocket session, both ends. */
struct session {
    struct session *next;
    struct sim *sim;
    struct node *node;
    int64_t id; ///< of the server's process
    bool telemetry;
    bool cut;         ///< the network carries nothing any more
    bool client_open; ///< as the agent believes; false while it opens
    bool client_gone; ///< the agent's end is over
    bool server_open; ///< as the server believes
    bool attached;    ///< the server uses it for the node
    uint64_t life;    ///< of the agent's end
    uint64_t server_life;
    int64_t to_client_ms; ///< when the newest frame on its way arrives
    int64_t to_server_ms;
    int64_t client_heard_ms;
    int64_t server_heard_ms;
    int64_t beat_ms;
    int64_t heartbeat_count;
};

/** The agent begins to open a session. */
struct session *session_open(struct node *node, bool telemetry);

/** The agent sends; the message is copied. */
void session_send(struct session *session, const char *type, const struct shape_type *shape,
                  const void *message);

/** The agent's end closes; the other end learns it when told so. */
void session_client_close(struct session *session, bool tell);

/** The network stops carrying it. Each end learns it soon, or by the other's silence. */
void session_cut(struct session *session);

/** The server's process is gone, and with it its ends. */
void session_server_gone(struct sim *sim, bool tell);

/** The engine's effect for a node. Lost when there is no session. */
void session_effect(struct sim *sim, const struct core_effect *effect);

// ---- a host ---------------------------------------------------------------------------------

/** What lies on a host of a task. */
struct host_task {
    struct host_task *next;
    char id[SIM_ID_CHARS];
    bool interface; ///< it has the address
    bool files;     ///< bundle, writable layers
    bool clean_failed;
    struct text address;     ///< owned
    struct text vpc;         ///< owned
    struct session_eni *eni; ///< owned: as it was made, or NULL
    int64_t stale_ms;        ///< since when its rules are not the newest, or 0
    uint32_t ports[4]; ///< of the host, that its definition fixes: twice the number, UDP is odd
    size_t port_count;
    int32_t cpu_units;
    int32_t memory_mib;
    struct supervisor *supervisor; ///< NULL: never started in this boot
    int64_t superseded_ms;         ///< since when it should be told to stop, 0, or -1 when it was
    struct supervisor_state *left; ///< owned; the state file, or NULL
    bool killed;                   ///< before a supervisor that starts looks
    bool found_started;            ///< an agent was told so when it began
    struct fact *fact;             ///< NULL until it is looked for
};

/** Of which pools a host is. */
enum spot {
    SPOT_NONE, ///< FARGATE
    SPOT_ONLY, ///< FARGATE_SPOT
    SPOT_BOTH,
};

/** A host, and the agent on it. */
struct node {
    struct sim *sim;
    size_t index;
    char name[16];
    char node_id[64];
    char key_id[64];
    const char *zone;
    int32_t cpu_units; ///< that it has; its agent may offer less
    int32_t memory_mib;
    int gpu_count;
    bool reserves;        ///< it keeps a port for itself
    enum spot spot;       ///< of which pools it is a host, when it is one
    int64_t reclaimed_ms; ///< since when its Spot capacity is known to be taken back; 0: it is not
    int pool_permille;    ///< how often its agent is a host of the pool, else an instance
    int64_t full_ms;      ///< its disk is full until then
    bool joined;
    bool gone; ///< the host is off for ever
    bool removed;
    bool powered;
    int64_t booted_ms;
    int64_t offset_ms; ///< of its wall clock
    uint32_t boot_count;
    uint64_t power_life; ///< of what runs without an agent
    int64_t heard_ms;    ///< when the server heard of it last
    int64_t beat_ms;     ///< the same on the session that renews its lease
    bool partitioned;
    uint64_t partition_life;

    struct journal *journal;
    struct host_task *tasks;
    struct guard guard;

    // the agent's process
    struct agent_logic *logic; ///< NULL while it is down
    struct agent_effects effects;
    uint64_t life;
    uint64_t wake_life;
    struct session *acs;
    struct session *tcs;
    bool calling;
    int step; ///< 0 register, 1 discover, 2 open
    uint32_t failures;
    char instance[256];
    struct journal_queue *waiting;
    struct journal_queue *writing;
};

/** The host starts. */
void node_boot(struct node *node);

/** Power is gone: all processes end, nobody is told. */
void node_power_off(struct node *node);

/** The agent starts, on what it finds. */
void node_agent_start(struct node *node);

/** The agent ends at once. tell: the kernel closes its connections. */
void node_agent_crash(struct node *node, bool tell);

/** Free. */
void node_deinit(struct node *node);

/** Apply an event to the agent's logic and carry its effects out. */
void node_apply(struct node *node, const struct agent_event *event);

/** Somebody ends the agent in order: all its tasks stop. */
void node_stop_all(struct node *node);

/** @return both clocks of a host */
struct agent_time node_time(const struct node *node);

/** A session is open, or closed, or a frame came. */
void node_session_opened(struct node *node, struct session *session);
/** See node_session_opened. */
void node_session_closed(struct node *node, struct session *session, bool refused);
/** See node_session_opened. The frame is borrowed. */
void node_frame(struct node *node, struct session *session, const char *type, const void *message);

/** Try the next step towards a session. */
void node_server_step(struct node *node);

/** Take over records into the journal's queue, and write. */
void node_journal_add(struct node *node, const struct agent_effect *effect);
/** Begin a write unless one is under way. */
void node_journal_flush(struct node *node);
/** The process or the host is gone in the middle of a write. */
void node_journal_crash(struct node *node);

/** A journal in memory that may be inspected: `struct journal` of journal/journal.h. */
struct journal *sim_journal_new(void);
/** @return whether there is a record of the task; its phase is in out_phase */
bool sim_journal_find(struct journal *journal, const char *id, enum journal_phase *out_phase);
/** @return how many records there are */
size_t sim_journal_count(const struct journal *journal);

/** Carry out PREPARE, LAUNCH, ATTACH, KILL, CLEAN, STOP. */
void host_effect(struct node *node, const struct agent_effect *effect);

/** @return what lies on the host of a task, or NULL */
struct host_task *host_find(struct node *node, struct text id);

/** Kill and remove what is not in the journal. */
void host_sweep(struct node *node);

/** All processes of the host end; what is in memory is gone. */
void host_reset(struct node *node);

/** Free what lies on the host. */
void host_deinit(struct node *node);

// ---- supervisors --------------------------------------------------------------------------

struct sim_container {
    uint64_t life; ///< of its process
    uint64_t command_lives[ORDER_COMMAND_COUNT];
    uint64_t start_life;
    int64_t signalled_ms; ///< monotonic time of the host when it was told to stop, or 0
    bool starting;
    bool running;
};

/** A supervisor and the containers below it. */
struct supervisor {
    struct supervisor *next;
    struct node *node;
    char id[SIM_ID_CHARS];
    struct fact *fact;
    struct session_task_spec *spec; ///< owned
    struct arena arena;
    struct supervisor_plan plan;
    struct order *order; ///< NULL once it is gone
    uint64_t life;
    uint64_t wake_life;
    int64_t published;  ///< version
    int64_t deliver_ms; ///< when the newest state on its way arrives
    uint64_t link_life; ///< of the agent that is connected; 0 for none
    bool stop_told;
    struct sim_container containers[SIM_CONTAINER_MAX];
};

/** Start one for a task. */
struct supervisor *supervisor_start(struct node *node, struct host_task *task,
                                    const struct session_task_spec *spec);

/** The agent connects: it gets the newest state. */
void supervisor_link(struct supervisor *supervisor);

/** The agent tells it to stop the task. */
void supervisor_stop(struct supervisor *supervisor);

/** It ends at once. Its containers go on. */
void supervisor_crash(struct supervisor *supervisor);

/** Kill it and its containers. */
void supervisor_kill(struct supervisor *supervisor);

/** @return whether any container runs or starts */
bool supervisor_runs(const struct supervisor *supervisor);

/** Free; its order and its states. */
void supervisor_free(struct supervisor *supervisor);

// ---- the person, and faults -----------------------------------------------------------------

struct workload {
    uint64_t life;
    char subnets[3][64];
    char group[64]; ///< that `berth env` names: nobody here deletes it
    uint32_t run_count;
    uint32_t answer_count;
    uint32_t placed_count;
};

/** Make tokens, nodes, the cluster and the definitions; without faults. hours: see services_setup
 */
void workload_setup(struct sim *sim, bool hours);
/** Call and wait, while there are no faults. An apostrophe in json stands for a quotation mark.
 *  @return the response, NULL after a failure */
const void *workload_ask(struct sim *sim, const struct api_operation *operation, const char *json,
                         bool stranger);
/** Run something. */
void runs_new(struct sim *sim);
/** Run something with constraints or strategies. */
void runs_placed(struct sim *sim);
/** Run something of a family whose revisions come and go. */
void runs_family(struct sim *sim, const char *family);
/** Run a task again with a token that was used for another request: it must be refused. */
void runs_conflict(struct sim *sim);
/** Begin to run and stop tasks. */
void workload_begin(struct sim *sim);
/** Stop all that is desired to run. */
void workload_stop_all(struct sim *sim);
/** Have a host join, as when a new one is bought. */
void workload_join(struct sim *sim, struct node *node);
/** Have a node that is off for ever removed by force, again until it is. */
void workload_remove(struct sim *sim, struct node *node);

struct faults {
    bool active;
    uint64_t life;
    int weights[16]; ///< of each kind, for this seed
    int network_permille;
    int host_permille;
    int crash_permille; ///< at a moment that matters
    int64_t pause_ms;   ///< between two of them, at most
    int64_t time_ms;    ///< for how long there are faults
};

/** Choose what kinds of faults this seed has. */
void faults_init(struct sim *sim);
/** Begin. */
void faults_begin(struct sim *sim);
/** End all faults and repair what is broken. */
void faults_end(struct sim *sim);
/** @return true now and then while there are faults in the network */
bool faults_network(struct sim *sim);
/** @return true now and then while there are faults on hosts */
bool faults_host(struct sim *sim);
/** A moment at which a crash would hurt: perhaps the server, or the agent, ends soon. */
void faults_moment(struct sim *sim, struct node *node);

// ---- the whole ------------------------------------------------------------------------------

struct sim {
    struct world world;
    struct server server;
    struct node nodes[SIM_NODE_MAX];
    size_t node_count;
    struct facts facts;
    struct workload workload;
    struct churn churn;
    struct services services;
    struct groups groups;
    struct faults faults;
    struct call *calls;
    struct session *sessions;
    struct supervisor *supervisors;
    uint32_t crash_counts[4]; ///< of servers, agents, supervisors, hosts
    bool hosts_touched;
    bool calm;               ///< images do what they should, but for those that never do
    int64_t hold_ms;         ///< until then silence may be the server's own
    uint64_t looked_version; ///< of the engine, when all of it was looked at
    uint64_t hosts_version;  ///< of the engine, when hosts were looked at
    int64_t hosts_ms;        ///< when they are looked at again at the latest
    int64_t look_ms;         ///< when all is looked at again at the latest
};

/** What to run. */
struct sim_options {
    uint64_t seed;
    uint64_t step_max; ///< events with faults; 0 for the usual
    bool hours;        ///< it has services, and takes hours of virtual time
    bool print;
};

/** What came of a run. */
struct sim_result {
    bool failed;
    char failure[2048];
    uint64_t step_count;
    uint64_t hash;
    uint64_t task_count;
    uint64_t placed_count;
    uint64_t launch_count;
    uint32_t crash_counts[4];
    int64_t virtual_ms;
    uint64_t counts[ACT_COUNT];
};

/** Run a seed. */
void sim_run(const struct sim_options *options, struct sim_result *out_result);

/** Run with a mutant; NULL for none. The name must stay. */
void sim_set_mutant(const char *name);

/** @return whether that mutant runs; see base/mutant.h */
bool mutant_is(const char *name);

/** @return the fact of a task, made when it is new */
struct fact *fact_of(struct sim *sim, struct text id);
/** @return the fact, or NULL */
struct fact *fact_find(struct sim *sim, struct text id);
/** It, or the record of its task, changed: it is looked at after this step. */
void fact_changed(struct sim *sim, struct fact *fact);
/** @return what follows the last slash */
struct text sim_task_id(struct text arn);
/** Free. */
void facts_deinit(struct facts *facts);

/** A batch became durable: its rows follow what was durable before. */
void check_durable(struct sim *sim, const struct core_batch *batch);
/** The engine was loaded: it has exactly what was durable. */
void check_loaded(struct sim *sim);
/** An effect leaves the server. */
void check_effect(struct sim *sim, const struct core_effect *effect);
/** A successful answer leaves the server. */
void check_answer(struct sim *sim, const struct call *call);
/** After each event. */
void check_step(struct sim *sim);
/** @return whether everything is as it should be at rest; else why is a sentence */
bool check_settled(struct sim *sim, char *why, size_t size_bytes);
/** At the end: nothing runs, nothing is left. */
void check_end(struct sim *sim);
