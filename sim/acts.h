#pragma once

#include "api/berth.h"
#include "api/ecs.h"
#include "base/map.h"
#include "core/core.h"

/*
 * What people do to the API of clusters, definitions, instances and tasks, and what must come of
 * it. Each act is counted when the engine applied it, so that one sees that it really happens.
 */

struct sim;
struct call;
struct node;

/** What is counted; names in acts.c. */
enum act {
    ACT_DRAIN,
    ACT_ACTIVATE,
    ACT_DEREGISTER,
    ACT_DEREGISTER_REFUSED,
    ACT_DEREGISTER_FORCED,
    ACT_REGISTER_AGAIN,
    ACT_PUT_ATTRIBUTES,
    ACT_DELETE_ATTRIBUTES,
    ACT_DISTINCT,
    ACT_DISTINCT_REFUSED,
    ACT_MEMBER_OF,
    ACT_MEMBER_OF_REFUSED,
    ACT_TASK_GROUP,
    ACT_SPREAD_ZONE,
    ACT_SPREAD_INSTANCE,
    ACT_SPREAD_ATTRIBUTE,
    ACT_BINPACK_CPU,
    ACT_BINPACK_MEMORY,
    ACT_RANDOM,
    ACT_PORT,
    ACT_PORT_REFUSED,
    ACT_GPU,
    ACT_GPU_REFUSED,
    ACT_START_TASK,
    ACT_START_TASK_REFUSED,
    ACT_TOKEN_AGAIN,
    ACT_TOKEN_CONFLICT,
    ACT_TAG,
    ACT_UNTAG,
    ACT_SETTING,
    ACT_CLUSTER_SETTING,
    ACT_REGISTER_DEFINITION,
    ACT_DEREGISTER_DEFINITION,
    ACT_DELETE_DEFINITION,
    ACT_DELETE_DEFINITION_USED,
    ACT_DEFINITION_GONE,
    ACT_CREATE_CLUSTER,
    ACT_DELETE_CLUSTER,
    ACT_DELETE_CLUSTER_REFUSED,
    ACT_PAGES_TASKS,
    ACT_PAGES_INSTANCES,
    ACT_PAGES_DEFINITIONS,
    ACT_PAGES_FAMILIES,
    ACT_PAGES_CLUSTERS,
    ACT_PAGES_ATTRIBUTES,
    ACT_TASK_REAPED,
    ACT_RESTART,
    ACT_STRANGER_TASK,
    ACT_STRANGER_REFUSED,
    ACT_DISK_KILLED,
    ACT_DISK_POWER,
    ACT_DISK_CUT,
    ACT_DISK_WRITTEN,
    ACT_SERVICE_CREATE,
    ACT_SERVICE_UPDATE,
    ACT_SERVICE_DELETE,
    ACT_SERVICE_REFUSED,
    ACT_SERVICE_PROTECT,
    ACT_SERVICE_START,
    ACT_SERVICE_STOP,
    ACT_SERVICE_SCALE_IN,
    ACT_SERVICE_MOVE,
    ACT_SERVICE_HEALTH,
    ACT_SERVICE_LOST,
    ACT_SERVICE_RETURN,
    ACT_SERVICE_COMPLETED,
    ACT_SERVICE_FAILED,
    ACT_SERVICE_ROLLED_BACK,
    ACT_SERVICE_CONVERGED,
    ACT_SERVICE_RESTLESS,
    ACT_SERVICE_STAYS_FAILED,
    ACT_SERVICE_STUCK,
    ACT_SERVICE_UNPLACED,
    ACT_DAEMON_START,
    ACT_DAEMON_REPLACE,
    ACT_DAEMON_LAST,
    ACT_DAEMON_MISPLACED,
    ACT_SET_START,
    ACT_SET_CHANGE,
    ACT_STAGE_NEXT,
    ACT_STAGE_STEP,
    ACT_STAGE_BAKED,
    ACT_STAGE_BACK,
    ACT_STAGE_START,
    ACT_HOOK_PASSED,
    ACT_HOOK_FAILED,
    ACT_HOOK_PAUSED,
    ACT_HOOK_TIMED_OUT,
    ACT_SPOT_WAVE,
    ACT_SPOT_START,
    ACT_SPOT_INTERRUPTED,
    ACT_SPOT_DIVIDED,
    ACT_GROUP_CREATE,
    ACT_GROUP_ALLOW,
    ACT_GROUP_REVOKE,
    ACT_GROUP_MODIFY,
    ACT_GROUP_DELETE,
    ACT_GROUP_DELETE_USED,
    ACT_GROUP_TASK,
    ACT_GROUP_GONE,
    ACT_GROUP_LISTED,
    ACT_GROUP_NOT_APPLIED,
    ACT_GROUP_NEWER,
    ACT_GROUP_PASSES,
    ACT_GROUP_DROPS,
    ACT_COUNT,
};

/** @return the name of an act, for people */
const char *act_name(enum act act);

// ---- what is asked for ------------------------------------------------------------------------

#define RUN_EXPRESSIONS 2
#define RUN_STRATEGIES 2
#define RUN_GROUPS 2

/** A RunTask, so that it can be asked again just as it was. Pointers are to constants. */
struct run_spec {
    const char *family;
    const char *cluster; ///< NULL: default
    const char *group;   ///< NULL: that of the family
    int32_t count;
    bool fargate;
    bool overridden;
    bool tagged;
    bool distinct;
    bool may_fail;                       ///< its cluster or definition may be gone
    size_t expressions[RUN_EXPRESSIONS]; ///< place in placement_expressions, from 1; 0 for none
    size_t strategies[RUN_STRATEGIES];   ///< place in placement_strategies, from 1; 0 for none
    char groups[RUN_GROUPS][32];         ///< ids of security groups; empty for none
};

/** Expressions of memberOf that are used, each with a rule of its own in placement.c. */
extern const char *const placement_expressions[];
extern const size_t placement_expression_count;
/** Strategies that are used. */
extern const struct ecs_placement_strategy placement_strategies[];
extern const size_t placement_strategy_count;

/** Choose constraints and strategies. */
void placement_choose(struct sim *sim, struct run_spec *spec);

/** Have one of the churn's acts happen now and then. */
void churn_begin(struct sim *sim);
/** Choose which of them this seed has, and make their definitions and clusters. */
void churn_setup(struct sim *sim);

/** A listing walked page by page while things change. */
struct walk;
/** Begin one. */
void pages_begin(struct sim *sim, bool stranger);
/** What a page could show, as the engine answers it. @return owned text */
char *pages_snapshot(struct sim *sim, const struct walk *walk);
/** Free all walks. */
void pages_deinit(struct sim *sim);

/** Give the stranger's account a cluster and definitions. */
void stranger_setup(struct sim *sim);
/** The stranger runs tasks, or tries what is not theirs. */
void stranger_turn(struct sim *sim);

// ---- what must come of it ---------------------------------------------------------------------

/** An operation that the engine applied. */
struct applied {
    const struct core_caller *caller;
    const struct api_operation *operation;
    const void *request;
    const void *response;
    int rc;
    const struct api_error *fault;
    const char *fault_text;
};

/** Look at what the engine did, at once. */
void check_applied(struct sim *sim, const struct applied *applied);

/** What was told of a RunTask before it was applied. */
struct rehearsed {
    struct arena arena;
    struct berth_explain_placement_response told;
    bool answered;
};
/** Ask where the tasks of a RunTask will go; of other operations nothing. */
void rehearse(struct sim *sim, const struct core_input *input, const struct core_caller *caller,
              const struct api_operation *operation, const void *request,
              struct rehearsed *out_rehearsed);
/** Check that they went there. */
void rehearse_compare(struct sim *sim, const struct rehearsed *rehearsed,
                      const struct applied *applied);
/** Look at the tasks that RunTask or StartTask made: their keys are above after. */
void check_placed(struct sim *sim, const struct applied *applied, int64_t after);

/** What was changed, by version: it holds as soon as that version is durable. */
enum ledger_kind {
    LEDGER_TAG,        ///< subject: ARN; name: key
    LEDGER_ATTRIBUTE,  ///< subject: id of an instance
    LEDGER_INSTANCE,   ///< subject: id of an instance; value: its status
    LEDGER_DEFINITION, ///< subject: ARN; value: its status
    LEDGER_SETTING,    ///< subject: account
    LEDGER_CLUSTER,    ///< subject: ARN; value: of its containerInsights
    LEDGER_SERVICE,    ///< subject: ARN
    LEDGER_END,        ///< subject begins anew
};

struct ledger_entry {
    uint64_t version;
    enum ledger_kind kind;
    bool absent;
    char subject[200];
    char name[80];
    char value[80];
};

struct ledger {
    struct ledger_entry *items;
    size_t count;
    size_t capacity;
};

/** Note a change that was just applied; an absent value means that it is gone. */
void ledger_add(struct sim *sim, enum ledger_kind kind, struct text subject, struct text name,
                struct text value);
/** A server starts with what is durable: what came later never happened. */
void ledger_rollback(struct sim *sim, uint64_t version);
/** Compare with what the engine has. */
void ledger_check(struct sim *sim, const char *when);

/** Acts of a run. */
struct churn {
    uint64_t life;
    int weights[16];
    int64_t pause_ms;
    uint32_t cluster_count;
    uint32_t change_count;
    bool stranger;
    char stranger_subnet[64];
    struct walk *walks;
    uint64_t counts[ACT_COUNT];
    struct ledger ledger;
};
