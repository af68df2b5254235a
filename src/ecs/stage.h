#pragma once

#include "api/hook.h"
#include "ecs/service_internal.h"

/*
 * Deployments by stages: BLUE_GREEN, LINEAR and CANARY (reference, services §2.5).
 *
 * The new deployment, green, is scaled up beside the old one, blue, which keeps all its tasks until
 * CLEAN_UP. Between them traffic is shifted by weights. There is no load balancer yet: the weights
 * are kept in the rollout, shown, and read by whoever shifts traffic through stage_weights.
 *
 * stage.c        which stage comes next, and when
 * stage_keep.c   how many tasks of green and blue run in each
 * stage_check.c  hooks that a service may ask for
 * stage_show.c   what is shown, and the weights
 * hook.c         calling lifecycle hooks
 * hook_task.c    hooks that are task definitions
 * hook_answer.c  answers of people and endpoints
 *
 * All of it is level-triggered: a stage is left when what it waits for is there, whoever looks.
 */

#define STAGE_LIMIT_MS (24 * 3600 * INT64_C(1000))          ///< ECS: of one stage, bakes aside
#define STAGE_ALL_LIMIT_MS (30 * 24 * 3600 * INT64_C(1000)) ///< ECS: of a service deployment
#define STAGE_HOOKS_MAX 20          ///< of a service: each is kept in its rollout's record
#define STAGE_HOOK_DETAILS_MAX 4096 ///< bytes of hookDetails

/** A rollout that goes by stages, as it stands. */
struct stage_view {
    int64_t key; ///< of the rollout
    const struct service_record_rollout *record;
    struct service_standing *green; ///< where it goes; NULL when nothing of it is left
    struct service_standing *blue;  ///< what it comes from or goes back to; NULL for none
    bool back;                      ///< it is rolling back: blue is PRIMARY
    bool stalled;                   ///< it failed and has no way back: blue goes on
};

// ---- stage.c --------------------------------------------------------------------------------

/** @return whether a configuration's deployments go by stages */
bool stage_applies(const struct ecs_deployment_configuration *configuration);
/** Fill in where a new rollout begins; its sources, deployment and configuration are there. */
void stage_begin(struct core_call *call, const struct service_record_service *service,
                 struct service_record_rollout *rollout);
/** @return whether the service's rollout goes by stages now */
bool stage_open(const struct core *core, const struct service_survey *survey,
                struct stage_view *out_view);
/** Do the next step. @return whether something changed, and the survey is old */
bool stage_step(struct core_call *call, struct service_survey *survey, struct stage_view *view);
/** The rollout fails: on its record, which is being edited, the way back begins. back is the key of
 *  the deployment that it goes back to, or 0. */
void stage_turn_back(struct core_call *call, const struct service_survey *survey,
                     struct service_record_rollout *edit, int64_t back);
/** @return the name of a stage */
const char *stage_name(enum service_record_stage stage);

// ---- stage_keep.c ---------------------------------------------------------------------------

/** Start and stop tasks as the stage has it. */
void stage_keep(struct core_call *call, struct service_survey *survey,
                const struct stage_view *view);
/** @return whether a deployment stays although it has no tasks: traffic goes to it */
bool stage_keeps(const struct core *core, const struct service_survey *survey, int64_t deployment);
/** @return whether blue has the healthy tasks that the service needs at least */
bool stage_blue_ready(const struct service_survey *survey, const struct service_standing *blue);

// ---- stage_check.c --------------------------------------------------------------------------

/** Refuse hooks that break ECS's rules or lead nowhere, and stages where there can be none.
 *  Numbers are checked with the rest of the configuration. @return 0 or ERR_FAULT */
MUST_CHECK int stage_check(struct core_call *call, const struct service_ask *ask);

// ---- stage_show.c ---------------------------------------------------------------------------

/** How the traffic of a service is to be shared. */
struct stage_weights {
    int64_t green;     ///< key of the newer deployment; 0 when no rollout by stages is under way
    int64_t blue;      ///< key of the older one, which gets the rest; 0 without one
    double production; ///< percent of production traffic for green
    double test;       ///< percent of test traffic for green
};

/** For whoever shifts traffic: how it is shared now. Without a rollout by stages, all tasks of the
 *  service get it. */
void stage_weights(const struct core *core, int64_t service, struct stage_weights *out_weights);
/** Add stage, hooks and weights to a service deployment that is shown already. */
void stage_show(struct core_call *call, int64_t rollout, struct ecs_service_deployment *out);
/** The two shares as hooks are told them: percent by revision ARN. */
void stage_shares(struct core_call *call, const struct service_record_rollout *rollout,
                  double weight, struct hook_double_map *out);

// ---- hook.c ---------------------------------------------------------------------------------

/** What hooks of a stage came to. */
enum hook_outcome {
    HOOK_PASSED,
    HOOK_WAITS,
    HOOK_CHANGED, ///< the rollout's record was put: look again
    HOOK_FAILED,
};

/** A stage began: its hooks are to be called. Changes hooks of a record that is being edited. */
void hook_enter(struct core_call *call, struct service_record_rollout *edit);
/** Call hooks of the stage, look whether they are done. out_reason is set with HOOK_FAILED. */
enum hook_outcome hook_step(struct core_call *call, struct service_survey *survey,
                            const struct stage_view *view, struct text *out_reason);
/** The stage ends early: nothing of it is awaited any more, and its tasks stop. */
void hook_cut(struct core_call *call, struct service_record_rollout *edit);
/** What a hook is told, as JSON in the arena. */
struct text hook_payload_json(struct core_call *call, int64_t rollout,
                              const struct service_record_hook *hook);
/** @return the hook's configuration */
const struct ecs_deployment_lifecycle_hook *
hook_configuration(const struct service_record_rollout *rollout,
                   const struct service_record_hook *hook);
/** A rollout's record in the arena with hooks that may be changed. */
struct service_record_rollout *hook_edit(struct core_call *call, int64_t rollout);
/** Move a hook that is being edited. */
void hook_end(struct service_record_hook *hook, enum ecs_deployment_lifecycle_hook_status status,
              struct text reason);

/** Where a hook's target leads. */
enum hook_target {
    HOOK_TARGET_PAUSE,
    HOOK_TARGET_URL,
    HOOK_TARGET_TASK,
    HOOK_TARGET_LAMBDA,
    HOOK_TARGET_UNKNOWN,
};
/** @return where it leads */
enum hook_target hook_target(const struct ecs_deployment_lifecycle_hook *hook);

// ---- hook_task.c ----------------------------------------------------------------------------

/** Start the task of a hook that is being edited, or look how it goes. @return whether the hook
 *  changed */
bool hook_task_step(struct core_call *call, struct service_survey *survey,
                    const struct stage_view *view, struct service_record_hook *hook);
/** Stop the task of a hook, if it has one. */
void hook_task_stop(struct core_call *call, const struct service_record_hook *hook);
/** Refuse a task definition that the service could not run. @return 0 or ERR_FAULT */
MUST_CHECK int hook_task_check(struct core_call *call, const struct service_ask *ask,
                               struct text definition);

// ---- hook_answer.c --------------------------------------------------------------------------

/** Handler of ContinueServiceDeployment. */
int hook_continue(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ReportHook. */
int hook_report(struct core_call *call, void *state, const void *request, void *response);
