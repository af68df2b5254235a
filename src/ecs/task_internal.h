#pragma once

#include "api/berth.h"
#include "api/node.h"
#include "core/index.h"
#include "ecs/capability.h"
#include "ecs/constraint.h"
#include "ecs/ecs_internal.h"
#include "ecs/place.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"

#include "base/map.h"
#include "base/mutant.h"
#include "base/text.h"

/*
 * What the parts of task_module share: volatile state derived from records (task_state.h), how
 * tasks are named, shown and sent (task_name.c, task_show.c, task_spec.c), the life cycle
 * (task_life.c), sessions and leases (node_session.c), and the handlers that task.c registers.
 */

#define TASK_RETENTION_MS (7 * 24 * 3600 * INT64_C(1000)) ///< ECS keeps an hour, people ask later
#define TASK_STOPPED_MAX 200000 ///< stopped tasks kept at most: they are history, not state
#define TASK_TOKEN_MS (24 * 3600 * INT64_C(1000)) ///< a clientToken means the same task that long
#define TASK_RUN_MAX 10                           ///< ECS: tasks of one RunTask
#define TASK_PAYLOAD_MAX 10 ///< tasks of one PayloadMessage: keeps frames small
#define TASK_ENI_SLOTS 1000 ///< of a Berth host that does not say: pairs of virtual links are cheap
#define TASK_PORTS_MAX 100  ///< ECS: ports of the host that one task can fix
#define TASK_INSTANCE_KEPT_MS (3600 * INT64_C(1000)) ///< a deregistered instance is shown that long
#define TASK_WAITING_MAX 500 ///< ECS: tasks of a cluster in PROVISIONING for want of a place
#define TASK_WAITING_MS (15 * 60 * INT64_C(1000)) ///< how long one waits; ECS publishes no figure
#define TASK_CHANGES_KEPT 1024 ///< of nodes; behind by more, looking at each of 10,000 is no worse
#define TASK_REASON_MAX 1024   ///< ECS's agent cuts reasons there as well

#define TASK_ROLES 2 ///< of a task: its own, and the execution role
#define TASK_CREDENTIALS_RENEW_MS (2 * 3600 * INT64_C(1000)) ///< a third of what they live

#define NODE_LEASE_MS 3000         ///< DESIGN §2: a Berth agent renews every second
#define NODE_RETURN_MS 15000       ///< the first lease after a start: all nodes come back at once
#define NODE_LEASE_STOCK_MS 120000 ///< a stock agent is heard from every 15 to 60 seconds
#define NODE_TICK_MS 500           ///< how often leases are looked at while there are any
#define NODE_HOLD_MS 60000         ///< mass silence: none is declared lost that long
#define NODE_RESEND_MS 2000        ///< a payload without an acknowledgement is sent again

struct diagnose_ring;
struct task_group;
struct task_node;
struct task_roster;

/** One zone of a group, and the nodes in it. */
struct task_zone {
    struct text name; ///< owned
    struct task_group *group;
    struct place_set nodes;
    int32_t task_count; ///< tasks placed through it that hold room
};

/** A pool, FARGATE or FARGATE_SPOT, or a cluster: what tasks of it may be placed on. */
struct task_group {
    int64_t cluster;          ///< 0 of a pool
    bool spot;                ///< the pool FARGATE_SPOT
    struct task_zone **zones; ///< ascending by name
    size_t zone_count;
    struct task_cluster_counts counts; ///< of a cluster
    size_t waiting_count;              ///< tasks of a cluster that wait for a place
    struct task_roster *roster;        ///< owned: see task_roster.h; NULL until it is asked for
};

/** A task in memory, beside its record. */
struct task_entry {
    int64_t key;
    uint64_t id_hash;
    struct task_node *node;
    struct task_zone *zone;      ///< through which it was placed
    struct task_entry *previous; ///< of the same node, ascending
    struct task_entry *next;
    struct task_entry *waiting_previous; ///< of the same node, see waiting
    struct task_entry *waiting_next;
    int64_t sent_ms;
    int64_t sent_sequence; ///< of the newest payload that held it; 0 for none in this session
    int32_t cpu_units;
    int32_t memory_mib;
    uint8_t sent_status;  ///< desired status in that payload
    uint8_t acked_status; ///< the newest desired status that the node is known to have
    bool eni;
    bool holds;        ///< room of the node, that is: it is not STOPPED
    bool waiting;      ///< the node is not known to have its desired status
    bool lost_counted; ///< what of its node's contact a version was counted for last
    /// of its role, and of its execution role: see node_credentials.c
    uint8_t credentials[TASK_ROLES];
};

/** What a node said last of one of its own parts. */
struct task_node_status {
    enum ecs_instance_health_check_state state; ///< ABSENT when it said nothing
    int64_t updated_ms;
    int64_t changed_ms;
};

#define TASK_NODE_PARTS 3 ///< ECS's types of checks: runtime, accelerators, daemons

/** A node in memory, beside its record. */
struct task_node {
    // What a look at thousands of nodes reads lies together.
    int64_t key;
    uint64_t told;       ///< stamp of the last change of its record or its contact
    uint64_t tasks_told; ///< stamp of the last change of its tasks, record or contact
    uint8_t architecture;
    bool parting; ///< through some membership it drains, or was deregistered
    bool removed;
    bool seen; ///< it was connected, or registered before the last start of the server
    bool lost;
    int32_t cpu_units;
    int32_t memory_mib;
    int32_t eni_slots;
    int64_t cpu_used;
    int64_t memory_used;
    int32_t eni_used;
    int32_t task_count;  ///< that hold room
    size_t entry_count;  ///< stopped ones included
    struct text node_id; ///< owned
    struct task_entry *first;
    struct task_entry *last;
    struct task_entry *waiting_first;
    struct task_entry *waiting_last;
    struct task_zone **zones; ///< of its memberships
    bool *draining;           ///< for each zone: it gets no new tasks through it
    uint32_t *capabilities;   ///< for each zone: of the membership, see ecs/capability.h
    size_t zone_count;
    uint32_t *ports; ///< of the host that its tasks have, ascending: see task_port
    size_t port_count;
    int64_t *clusters; ///< of its memberships
    size_t cluster_count;
    struct text *instances; ///< owned: instance ids of its memberships
    size_t instance_count;

    bool retired;           ///< a stock agent's, and its container instance was deregistered
    bool connected;         ///< its session is open
    bool connected_counted; ///< agentConnected when a version was counted last
    int64_t session;
    int64_t beat_ms; ///< when it was heard of last
    int64_t lease_ms;
    int64_t contact_ms;           ///< since when it is in contact or lost
    int64_t connection;           ///< number of its session, as in the record
    uint32_t sequence;            ///< of the newest message of this session
    int64_t resend_due_ms;        ///< of the timer that looks at what waits, 0 when it is not set
    int64_t credentials_due_ms;   ///< of the timer that looks at credentials, 0 when it is not set
    int64_t credentials_round_ms; ///< when all of its tasks' credentials were due last
    int64_t groups_wanted;        ///< newest version of a group that it is to know
    int64_t groups_sent;          ///< of the last message about groups
    int64_t groups_acked;         ///< it has all that is not newer
    int64_t groups_sequence;      ///< number of that message
    struct text agent_version;    ///< owned, as the next two
    struct text agent_hash;
    struct text docker_version;
    struct text refusal; ///< owned: why it takes no new tasks; empty when it does
    struct task_node_status status[TASK_NODE_PARTS]; ///< by type of check, from 1 on
};

/** Entries by a number; see task_table.c. */
struct task_table {
    struct task_entry **slots;
    size_t capacity;
    size_t count;
    bool by_id;
};

/** Derived from records, never stored. */
struct task_state {
    struct core *core;
    struct text acs_url; ///< owned
    struct text tcs_url; ///< owned
    int64_t retention_ms;
    uint32_t spot_permille; ///< see task_set_spot_rate
    int64_t waiting_ms;     ///< see task_set_waiting_ms
    bool scaling_command;   ///< see task_set_scaling
    int64_t scaling_period_ms;
    struct map group_walks; ///< key of a security group to the interface its walk has come to
    char locate_arn[512];

    struct task_node *nowhere; ///< has the tasks that have no place: its key is 0, nothing joins it
    size_t unresolved_count; ///< of its tasks: while rows are loaded, those whose node comes later
    struct task_group nowhere_group;
    struct task_zone nowhere_zone;
    struct task_node **nodes; ///< ascending by key
    size_t node_count;
    size_t node_capacity;
    struct map nodes_by_id;       ///< of those that are not removed
    struct map nodes_by_instance; ///< likewise
    struct map groups;            ///< by cluster's key; the pools have keys of their own
    struct map definition_uses;   ///< by definition's key: count as a pointer
    struct task_table by_key;
    struct task_table by_id;
    struct index *by_cluster; ///< cluster, desired status
    struct index *by_family;  ///< cluster, desired status, family
    struct index *by_starter; ///< cluster, desired status, startedBy; of those that have one
    struct index *by_token;   ///< realm, clientToken; of those that have one
    struct index *stopped;    ///< stoppedAt
    struct index *scalings;   ///< provider, cluster
    struct index *unplaced_by_cluster; ///< cluster; of those that wait for a place

    struct diagnose_ring *unplaced; ///< see diagnose.h; NULL until there is something

    uint64_t stamp;            ///< the last one given out: see task_node_told
    uint64_t layout;           ///< another one whenever a node comes to or goes from a zone
    uint64_t membership_stamp; ///< when an instance came or went last
    /// Keys of the nodes that were stamped last, so that a roster need not ask all of them: change
    /// number n is at n % TASK_CHANGES_KEPT.
    int64_t changes[TASK_CHANGES_KEPT];
    uint64_t change_count;

    int64_t tick_due_ms;   ///< 0 when no tick is set
    int64_t hold_start_ms; ///< of the mass silence under way, or 0
};

/** Numbers of the managers in task_module. */
enum task_manager {
    TASK_MANAGER_DELIVER,     ///< node: send what it is not known to have
    TASK_MANAGER_FINISH,      ///< task: give its interface back, then STOPPED
    TASK_MANAGER_LEASES,      ///< 1: look at leases
    TASK_MANAGER_REAP,        ///< 1: let old stopped tasks go
    TASK_MANAGER_REMOVE,      ///< node: stop its tasks in steps
    TASK_MANAGER_EMPTY,       ///< node: the same for those of deregistered instances
    TASK_MANAGER_CONTACT,     ///< node: count and tell a change of agentConnected
    TASK_MANAGER_SPOT,        ///< node: interrupt the Spot tasks of a host that was taken back
    TASK_MANAGER_SPOT_RATE,   ///< 1: interrupt Spot tasks by chance
    TASK_MANAGER_WAITING,     ///< cluster: place what waits, and let what waited too long go
    TASK_MANAGER_SCALING,     ///< capacity provider: the next step of its Auto Scaling group
    TASK_MANAGER_CREDENTIALS, ///< node: send credentials of roles that are due
    TASK_MANAGER_GROUPS_WALK, ///< security group: look for the nodes of its members
    TASK_MANAGER_GROUPS_TELL, ///< node: send the rules of groups that changed
    TASK_MANAGER_COUNT,
};
extern const struct core_manager task_managers[];

// ---- task_table.c -------------------------------------------------------------------------

/** @return the entry of a number, or NULL */
struct task_entry *task_table_find(const struct task_table *table, uint64_t number);
/** Add an entry whose number is not in the table; both keep to their places otherwise. */
void task_table_add(struct task_table *table, struct task_entry *entry);
/** Take an entry out, which must be in the table. */
void task_table_remove(struct task_table *table, const struct task_entry *entry);

// ---- task_port.c --------------------------------------------------------------------------

/** @return a port of the host and its protocol as one number */
uint32_t task_port(int32_t port, bool udp);
/** Collect the ports of the host that a definition fixes. @return how many, at most max */
size_t task_definition_ports(const struct ecs_task_definition *definition, uint32_t *out_ports,
                             size_t max);
/** @return whether a task of the node has that port */
bool task_node_has_port(const struct task_node *node, uint32_t port);
/** Take or give back the ports that a task of the node fixes. */
void task_node_hold_ports(const struct core *core, struct task_node *node,
                          const struct task_record_task *record, bool holds);

// ---- task_state.c, task_node.c, task_group.c ------------------------------------------------

/** Make the volatile state. */
void *task_state_new(struct core *core);
/** Free it. */
void task_state_free(void *pointer);
/** Keep it up to date; see core_module. */
void task_state_changed(void *pointer, struct core *core, const struct core_kind *kind, int64_t key,
                        const void *before, const void *after);
/** @return the state of an engine */
struct task_state *task_state(const struct core *core);
/** @return the entry of a task's key, or NULL */
struct task_entry *task_entry(const struct task_state *state, int64_t key);
/** @return the entry of a task's id, or NULL */
struct task_entry *task_entry_by_id(const struct task_state *state, struct text task_id);
/** @return the node of a key, or NULL; 0 is that of tasks without a place */
struct task_node *task_node(const struct task_state *state, int64_t key);
/** @return the group of a cluster, or of the FARGATE pool for 0; NULL when nothing is in it */
struct task_group *task_group(const struct task_state *state, int64_t cluster);
/** @return one of the two pools; NULL when nothing is in it */
struct task_group *task_pool(const struct task_state *state, bool spot);
/** @return the zone of that name in a group, or NULL */
struct task_zone *task_group_zone(const struct task_group *group, struct text name);
/** Tell placement anew what is free on a node and whether it can be used. */
void task_node_refresh(struct task_node *node);
/** Stamp a change of a node's record or contact, on which what was worked out of it depends. */
void task_node_told(struct task_state *state, struct task_node *node);
/** The same of a change of its tasks. */
void task_node_tasks_told(struct task_state *state, struct task_node *node);
/** What placement is told of a node. */
struct place_node task_node_place(const struct task_node *node);
/** The same, through one of the node's zones: through some of them it may be draining. */
struct place_node task_zone_place(const struct task_node *node, const struct task_zone *zone);
/** @return whether Berth's agent is there: in the pools of FARGATE there is no other */
bool task_membership_berth(const struct task_record_node *record, size_t index);
/** @return what a membership can do, see ecs/capability.h: what its agent says, and which it is */
uint32_t task_membership_capabilities(const struct task_record_node *record, size_t index);
/** @return whether tasks of the node that have no subnet are in that zone, of those of its group */
bool task_zone_home(const struct task_node *node, const struct task_zone *zone);
/** Note whether the node is known to have a task's desired status. */
void task_entry_wait(struct task_entry *entry, bool waiting);
/** Compose a key of one of the indexes over cluster, desired status and one thing more. */
void task_list_key(struct index_key *out_key, int64_t cluster,
                   enum task_record_task_status desired);

// ---- task_roster.c ------------------------------------------------------------------------

/** Free a roster; NULL is allowed. */
void task_roster_free(struct task_roster *roster);

// ---- task_check.c -------------------------------------------------------------------------

/** See core_module. */
void task_check(void *pointer, struct core *core, struct buf *violations);

// ---- task_name.c --------------------------------------------------------------------------

/** @return a number that is not negative, in digits. Names are made for every task that is shown or
 *  sent, so these here do without printf, which took a tenth of a placement. */
struct text task_number(struct core_call *call, int64_t number);
/** @return the ARN of a cluster, as ecs_cluster_arn */
struct text task_cluster_arn(struct core_call *call, int64_t cluster);
/** @return the ARN of a definition, as ecs_definition_arn */
struct text task_definition_arn(struct core_call *call, int64_t definition);
/** @return the ARN of a task */
struct text task_arn(struct core_call *call, const struct task_record_task *record);
/** @return the ARN of a node's membership */
struct text task_instance_arn(struct core_call *call, const struct task_record_node *node,
                              const struct task_record_membership *membership);
/** @return the membership through which a node runs a task, or NULL */
const struct task_record_membership *task_membership(const struct task_record_node *node,
                                                     const struct task_record_task *task);
/** @return the id of a task's network interface attachment */
struct text task_attachment_id(struct core_call *call, const struct task_record_task *record);
/** @return the ARN of a task's network interface attachment */
struct text task_attachment_arn(struct core_call *call, const struct task_record_task *record);
/** @return the ARN of a container of a task */
struct text task_container_arn(struct core_call *call, const struct task_record_task *record,
                               size_t index);
/** @return the wire name of a status */
struct text task_status_name(enum task_record_task_status status);
/** @return the group a task is in */
struct text task_group_name(struct core_call *call, const struct task_record_task *record);
/** The ARN that a failure names: the reference as given, or made of an id that leads nowhere. */
struct text task_reference_arn(struct core_call *call, int64_t cluster, const char *type,
                               struct text reference);
/** Parse a reference to a task of a cluster: id or ARN. @return its entry, or NULL */
struct task_entry *task_find(const struct core *core, int64_t cluster, struct text reference);

// ---- task_show.c --------------------------------------------------------------------------

/** How a task is shown. */
enum task_show {
    TASK_SHOW_TAGS = 1,  ///< with its tags
    TASK_SHOW_EVENT = 2, ///< in the words of EventBridge
};

/** Fill a task as DescribeTasks shows it; flags are of enum task_show. */
void task_show(struct core_call *call, int64_t key, const struct task_record_task *record,
               unsigned flags, struct ecs_task *out_task);

// ---- task_spec.c --------------------------------------------------------------------------

/** Sizes of a task after overrides. */
struct task_sizes {
    bool has_cpu; ///< the task has a limit of its own
    bool has_memory;
    int32_t cpu_units; ///< what it holds of a node
    int32_t memory_mib;
};

/** @return the definition of a task, as stored */
const struct ecs_task_definition *task_definition(const struct core *core, int64_t key);
/** Work out sizes. @return 0, or ERR_INVALID when an override is no size */
MUST_CHECK int task_sizes(const struct ecs_task_definition *definition,
                          const struct ecs_task_override *overrides, struct task_sizes *out_sizes);
/** @return the override of a container, or NULL */
const struct ecs_container_override *task_override(const struct ecs_task_override *overrides,
                                                   struct text container);
/** Merge overrides into a copy of a definition, whose containers become the arena's. */
void task_merge(struct core_call *call, const struct ecs_task_override *overrides,
                struct ecs_task_definition *definition);
/** Fill what a node needs to run a task, overrides merged in. */
void task_spec(struct core_call *call, int64_t key, const struct task_record_task *record,
               struct session_task_spec *out_spec);

// ---- gpu.c --------------------------------------------------------------------------------

#define TASK_GPUS_MAX 64 ///< of one host, and what a definition can ask for

/** @return how many GPUs the containers of a task ask for together; an override replaces */
int64_t task_gpus_wanted(const struct ecs_task_definition *definition,
                         const struct ecs_task_override *overrides);
/** List the GPUs of an instance, in the order of its registration, or only those that no task has.
 *  @return how many, at most TASK_GPUS_MAX */
size_t task_gpus(const struct core *core, const struct task_node *node,
                 const struct task_record_membership *membership, bool free_only,
                 struct text *out_ids);
/** Write down which GPUs of a node more than one task has; see core_module. */
void task_gpus_check(const struct core *core, const struct task_node *node, struct buf *violations);
/** Give the containers of a task that is being made their GPUs; there are enough free ones. */
void task_gpus_assign(struct core_call *call, const struct task_node *node,
                      const struct task_record_membership *membership,
                      const struct ecs_task_definition *definition,
                      const struct ecs_task_override *overrides, struct task_record_task *record);

// ---- instance*.c --------------------------------------------------------------------------

/** Tasks of one container instance. */
struct task_instance_counts {
    int32_t running; ///< that are desired RUNNING, whatever they are now: so ECS counts here
    int32_t pending; ///< that are PENDING
    int32_t held;    ///< that are not STOPPED
};

/** Count them: a walk over the node's tasks. */
void task_instance_count(const struct core *core, const struct task_node *node,
                         const struct task_record_node *record, size_t index,
                         struct task_instance_counts *out_counts);
/** A container instance as the query language sees it. */
struct task_instance_view {
    const struct core *core;
    const struct task_node *node;
    const struct task_record_node *record;
    size_t index;
    const struct task_entry *entry; ///< whose group comes next
    char scratch[300];
};

/** Whether an instance is meant by an expression; view is the caller's room for it. */
bool task_instance_meant(const struct constraint *constraint, struct task_instance_view *view);
/** Parse an expression, or refuse with InvalidParameterException. @return 0 or ERR_FAULT */
MUST_CHECK int task_constraint_parse(struct core_call *call, struct text text,
                                     struct constraint *out_constraint);
/** @return whether a node's instances are shown with agentConnected */
bool task_node_agent_connected(const struct task_node *node);
/** Count a version of a node's instances when agentConnected is not what was counted last. */
void task_contact_count(struct core_call *call, struct task_node *node);
/** Manager TASK_MANAGER_CONTACT. */
void task_contact_work(struct core_call *call, void *state, int64_t key);
/** Tell watchers of a change of a container instance. */
void task_instance_tell(struct core_call *call, const struct task_node *node,
                        const struct task_record_node *record, size_t index);
/** Fill healthStatus of a container instance. */
void task_show_instance_health(struct core_call *call, const struct task_node *node,
                               struct ecs_container_instance *instance);
/** A node's record in the arena, whose memberships may be changed, to core_put. */
struct task_record_node *task_node_edit(struct core_call *call, int64_t key);
/** @return ACTIVE, DRAINING or INACTIVE */
struct text task_instance_status(const struct task_record_membership *membership);
/** @return the ec2InstanceId of an instance: made of its id */
struct text task_instance_ec2_id(struct arena *arena,
                                 const struct task_record_membership *membership);
/** @return the failure MISSING for a reference that leads nowhere */
struct ecs_failure task_instance_missing(struct core_call *call, int64_t cluster,
                                         struct text reference);
/** Fill a container instance as the API shows it; flags are of enum task_show. */
void task_show_instance(struct core_call *call, const struct task_node *node,
                        const struct task_record_node *record, size_t index, unsigned flags,
                        struct ecs_container_instance *out_instance);
/** @return the place of a node's membership in a cluster that is not deregistered, or SIZE_MAX */
size_t task_instance_in(const struct task_record_node *record, int64_t cluster);
/** @return whether one of a node's container instances was deregistered */
bool task_node_parted(const struct core *core, const struct task_node *node);
/** Take deregistered memberships without any task off a record that is being edited. */
void task_instances_prune(struct core_call *call, const struct task_node *node,
                          struct task_record_node *record);
/** Find a container instance of a cluster by id or ARN, also a deregistered one. @return its node,
 *  or NULL */
struct task_node *task_instance_find(const struct core *core, int64_t cluster,
                                     struct text reference, size_t *out_index);
/** Find one that is not deregistered, or refuse. @return 0 or ERR_FAULT */
MUST_CHECK int task_instance_resolve(struct core_call *call, struct text cluster_name,
                                     struct text reference, struct task_node **out_node,
                                     size_t *out_index);
/** @return what an instance's agent said of its version, now or when it registered */
struct ecs_version_info *task_instance_version_info(struct core_call *call,
                                                    const struct task_node *node,
                                                    const struct task_record_node *record);
/** Handler of DescribeContainerInstances. */
int task_describe_instances(struct core_call *call, void *state, const void *request,
                            void *response);
/** Handler of ListContainerInstances. */
int task_list_instances(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeregisterContainerInstance. */
int task_deregister_instance(struct core_call *call, void *state, const void *request,
                             void *response);
/** Handler of UpdateContainerInstancesState. */
int task_update_instances(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateContainerAgent. */
int task_update_agent(struct core_call *call, void *state, const void *request, void *response);

// ---- protection.c -------------------------------------------------------------------------

/** Handler of GetTaskProtection. */
int task_get_protection(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateTaskProtection. */
int task_update_protection(struct core_call *call, void *state, const void *request,
                           void *response);

// ---- task_life.c --------------------------------------------------------------------------

/** @return whether a task may go from one status to another: only ever forward */
bool task_may_move(enum task_record_task_status from, enum task_record_task_status to);
/** A task's record in the arena, to change and task_put. Containers and extra may be changed. */
struct task_record_task *task_edit(struct core_call *call, int64_t key);
/** Move a task; the move must be allowed. Its version grows. */
void task_move(struct task_record_task *record, enum task_record_task_status status);
/** Put a task; when its version grew, watchers are told. */
void task_put(struct core_call *call, int64_t key, const struct task_record_task *record);
/** Have a task stop: desired status, stopCode, reason. Nothing when it is to stop already. */
void task_want_stopped(struct core_call *call, struct task_record_task *record,
                       enum ecs_task_stop_code code, struct text reason);
/** Nothing of a task runs any more: on to DEPROVISIONING or STOPPED. task_put comes after it. */
void task_finish(struct core_call *call, int64_t key, struct task_record_task *record);
/** Manager TASK_MANAGER_FINISH. */
void task_finish_work(struct core_call *call, void *state, int64_t key);
/** Manager TASK_MANAGER_REAP. */
void task_reap_work(struct core_call *call, void *state, int64_t key);
/** Manager TASK_MANAGER_EMPTY. */
void task_empty_work(struct core_call *call, void *state, int64_t key);
/** Manager TASK_MANAGER_REMOVE. */
void task_remove_work(struct core_call *call, void *state, int64_t key);
/** Handler of StopTask; see core_handler_fn. */
int task_stop_task(struct core_call *call, void *state, const void *request, void *response);

// ---- task_run.c, task_list.c, task_submit.c -----------------------------------------------

/** Handler of RunTask. */
int task_run_task(struct core_call *call, void *state, const void *request, void *response);
/** Handler of StartTask. */
int task_start_task(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DescribeTasks. */
int task_describe_tasks(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListTasks. */
int task_list_tasks(struct core_call *call, void *state, const void *request, void *response);
/** Handler of SubmitTaskStateChange. */
int task_submit_task(struct core_call *call, void *state, const void *request, void *response);
/** Handler of SubmitContainerStateChange. */
int task_submit_container(struct core_call *call, void *state, const void *request, void *response);
/** Handler of SubmitAttachmentStateChanges. */
int task_submit_attachments(struct core_call *call, void *state, const void *request,
                            void *response);
/** Handler of NodeHealth. */
int task_node_health(struct core_call *call, void *state, const void *request, void *response);

// ---- task_waiting.c -----------------------------------------------------------------------

/** @return whether a task waits in PROVISIONING for an instance that has room for it */
bool task_waits(const struct task_record_task *record);
/** Manager TASK_MANAGER_WAITING. */
void task_waiting_work(struct core_call *call, void *state, int64_t key);
/** A node came, went or has room: what waits in its clusters looks again. */
void task_waiting_look(struct core_call *call, const struct task_node *node);
/** Go on with what waits after a start. */
void task_waiting_recover(struct core_call *call, struct task_state *state);

// ---- spot.c -------------------------------------------------------------------------------

/** @return whether a membership makes its node a host of a pool, FARGATE or FARGATE_SPOT, now */
bool task_membership_pooled(const struct task_record_membership *membership, bool spot);
/** @return whether a task was placed through FARGATE_SPOT */
bool task_is_spot(const struct task_record_task *record);
/** Manager TASK_MANAGER_SPOT. */
void task_spot_work(struct core_call *call, void *state, int64_t key);
/** Manager TASK_MANAGER_SPOT_RATE. */
void task_spot_rate_work(struct core_call *call, void *state, int64_t key);
/** Go on with what was under way when the server ended. */
void task_spot_recover(struct core_call *call, struct task_state *state);
/** Handler of InterruptSpot. */
int task_interrupt_spot(struct core_call *call, void *state, const void *request, void *response);
/** Handler of RestoreSpot. */
int task_restore_spot(struct core_call *call, void *state, const void *request, void *response);

// ---- execute.c ----------------------------------------------------------------------------

/** Handler of ExecuteCommand; the session is the server's to add. */
int task_execute_command(struct core_call *call, void *state, const void *request, void *response);
/** Take over what a stock agent says of a managed agent. @return whether it changed */
bool task_execute_report(struct core_call *call,
                         const struct ecs_managed_agent_state_change *report,
                         struct task_record_container *container);
/** Berth's nodes run commands themselves: what ECS calls an agent is there when the container of a
 *  task that is being edited runs. @return whether it changed */
bool task_execute_follow(struct core_call *call, const struct task_record_task *record,
                         struct task_record_container *container);
/** Fill managedAgents of a container. */
void task_execute_show(struct core_call *call, const struct task_record_container *container,
                       struct ecs_container *out);

// ---- attribute.c --------------------------------------------------------------------------

/** @return whether only ECS and agents may set an attribute of that name */
bool task_attribute_own(struct text name);
/** Handler of PutAttributes. */
int task_put_attributes(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteAttributes. */
int task_delete_attributes(struct core_call *call, void *state, const void *request,
                           void *response);
/** Handler of ListAttributes. */
int task_list_attributes(struct core_call *call, void *state, const void *request, void *response);

// ---- diagnose*.c --------------------------------------------------------------------------

/** Free what is remembered of unplaced tasks; NULL is allowed. */
void diagnose_ring_free(struct diagnose_ring *ring);
/** Handler of ExplainPlacement. */
int task_explain_placement(struct core_call *call, void *state, const void *request,
                           void *response);
/** Handler of ListUnplacedTasks. */
int task_list_unplaced(struct core_call *call, void *state, const void *request, void *response);
/**
 * A task of the caller's realm by its id or ARN, in a named cluster, or in any (absent).
 *
 * @return 0, or the fault that says that there is none
 */
MUST_CHECK int task_find_anywhere(struct core_call *call, const struct task_state *state,
                                  struct text cluster, struct text task,
                                  const struct task_entry **out_entry);
/** Handler of ExplainTask. */
int task_explain_task(struct core_call *call, void *state, const void *request, void *response);

// ---- task_timeline.c ----------------------------------------------------------------------

/** Handler of NodeTimeline. */
int task_node_timeline(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetTaskTimeline. */
int task_get_timeline(struct core_call *call, void *state, const void *request, void *response);

// ---- node.c -------------------------------------------------------------------------------

/** Told by JoinNode: the node's record begins. */
void task_node_joined(struct core_call *call, const struct identity_node *node);
/** Handler of RegisterContainerInstance. */
int task_register_instance(struct core_call *call, void *state, const void *request,
                           void *response);
/** Handler of DiscoverPollEndpoint. */
int task_discover_endpoint(struct core_call *call, void *state, const void *request,
                           void *response);
/** Handler of ListNodes. */
int task_list_nodes(struct core_call *call, void *state, const void *request, void *response);
/** A host is gone: its tasks end with that reason, its keys are void. */
void task_node_remove(struct core_call *call, struct task_node *node, struct text reason);
/** Handler of RemoveNode. */
int task_remove_node(struct core_call *call, void *state, const void *request, void *response);

// ---- node_session.c -----------------------------------------------------------------------

/** @return the node a caller is or asks about, by its id; NULL when there is none */
struct task_node *task_node_of(const struct task_state *state, struct text node_id);
/** @return whether a node is in contact, as far as its lease tells */
bool task_node_live(const struct task_node *node);
/** Keep a copy of at most limit bytes of what a node said, in the place of the one before. */
void task_node_keep(struct text *field, struct text value, size_t limit);
/** Send a node tasks that it is not known to have; does nothing without a session. */
void task_send(struct core_call *call, struct task_node *node, struct task_entry *const *entries,
               size_t count);
/** Handler of NodeAdmit. */
int task_node_admit(struct core_call *call, void *state, const void *request, void *response);
/** Handler of NodeConnect. */
int task_node_connect(struct core_call *call, void *state, const void *request, void *response);
/** Handler of NodeDisconnect. */
int task_node_disconnect(struct core_call *call, void *state, const void *request, void *response);
/** Handler of NodeInstanceStatus. */
int task_node_instance_status(struct core_call *call, void *state, const void *request,
                              void *response);
/** Handler of NodeBeat. */
int task_node_beat(struct core_call *call, void *state, const void *request, void *response);
/** Handler of NodeAck. */
int task_node_ack(struct core_call *call, void *state, const void *request, void *response);
/** Handler of NodeStopCandidates. */
int task_node_stop_candidates(struct core_call *call, void *state, const void *request,
                              void *response);
/** Send the credentials of a task's role, unless the node has them or there is none. */
void task_credentials_send(struct core_call *call, struct task_node *node,
                           struct task_entry *entry);
/** A node's session is new: all credentials of its tasks are due. */
void task_credentials_connected(struct core_call *call, struct task_node *node);
/** Handler of NodeCredentialsAck. */
int task_credentials_ack(struct core_call *call, void *state, const void *request, void *response);

/** Handler of GetTaskSecrets; see core_handler_fn. */
int task_secrets(struct core_call *call, void *state, const void *request, void *response);
/** Manager TASK_MANAGER_CREDENTIALS. */
void task_credentials_work(struct core_call *call, void *state, int64_t key);

// ---- node_groups.c ------------------------------------------------------------------------

/** Put the security groups of tasks that are handed over into their message. */
void task_groups_spec(struct core_call *call, const struct task_node *node,
                      struct task_entry *const *entries, size_t count,
                      struct session_payload_message *message);
/** The rules of a group changed; see vpc_on_group_changed. */
void task_groups_changed(struct core_call *call, int64_t group);
/** A node acknowledged a message. */
void task_groups_acked(struct core_call *call, struct task_node *node, int64_t sequence);
/** A session began: nothing is known to have arrived. */
void task_groups_connected(struct task_node *node);
/** Manager TASK_MANAGER_GROUPS_WALK. */
void task_groups_walk_work(struct core_call *call, void *state, int64_t key);
/** Manager TASK_MANAGER_GROUPS_TELL. */
void task_groups_tell_work(struct core_call *call, void *state, int64_t key);

/** Number the next message of a node's session. */
int64_t task_next_sequence(struct task_node *node);
/** Manager TASK_MANAGER_DELIVER. */
void task_deliver_work(struct core_call *call, void *state, int64_t key);
/** Manager TASK_MANAGER_LEASES. */
void task_leases_work(struct core_call *call, void *state, int64_t key);
/** Give every lease a full period, as after a start. */
void task_leases_recover(struct core_call *call, struct task_state *state);
