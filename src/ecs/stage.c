#include "ecs/stage.h"

#define MINUTE_MS (60 * INT64_C(1000))

// The stages in ECS's order. The last two of production recur for each step.
static const enum service_record_stage order[] = {
    SERVICE_RECORD_STAGE_RECONCILE_SERVICE,
    SERVICE_RECORD_STAGE_PRE_SCALE_UP,
    SERVICE_RECORD_STAGE_SCALE_UP,
    SERVICE_RECORD_STAGE_POST_SCALE_UP,
    SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT,
    SERVICE_RECORD_STAGE_POST_TEST_TRAFFIC_SHIFT,
    SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT,
    SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT,
    SERVICE_RECORD_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT,
    SERVICE_RECORD_STAGE_BAKE_TIME,
    SERVICE_RECORD_STAGE_CLEAN_UP,
};

const char *stage_name(enum service_record_stage stage)
{
    return shape_enum_name(&service_record_stage_shape, (int32_t)stage);
}

bool stage_applies(const struct ecs_deployment_configuration *configuration)
{
    return configuration->strategy == ECS_DEPLOYMENT_STRATEGY_BLUE_GREEN ||
           configuration->strategy == ECS_DEPLOYMENT_STRATEGY_LINEAR ||
           configuration->strategy == ECS_DEPLOYMENT_STRATEGY_CANARY;
}

// ---- how it stands --------------------------------------------------------------------------

static struct service_standing *standing_of(const struct service_survey *survey, int64_t deployment)
{
    for (size_t i = 0; deployment != 0 && i < survey->count; i++) {
        if (survey->standings[i].key == deployment) {
            return &survey->standings[i];
        }
    }
    return NULL;
}

bool stage_open(const struct core *core, const struct service_survey *survey,
                struct stage_view *out_view)
{
    int64_t key = survey->record->rollout;
    const struct service_record_rollout *record =
        key == 0 ? NULL : core_get(core, &service_rollout_kind, key);
    if (record == NULL || record->stage == SERVICE_RECORD_STAGE_ABSENT || survey->primary == NULL) {
        return false;
    }
    *out_view = (struct stage_view){
        .key = key,
        .record = record,
        .green = standing_of(survey, record->deployment),
        .back = survey->primary->key != record->deployment,
    };
    out_view->blue = out_view->back ? survey->primary : standing_of(survey, record->blue);
    bool over = service_rollout_over(record->status);
    out_view->stalled =
        over && !out_view->back &&
        survey->primary->record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    return !over || out_view->stalled;
}

// ---- production traffic ---------------------------------------------------------------------

// Percent of production traffic behind the next step. Without blue nobody else could have it.
static double next_weight(const struct service_record_rollout *record)
{
    const struct ecs_deployment_configuration *configuration = record->configuration;
    double weight = 100;
    if (record->blue == 0) {
        return weight;
    }
    if (configuration->strategy == ECS_DEPLOYMENT_STRATEGY_LINEAR) {
        // Not weight + step: sums of tenths would drift.
        weight = (record->step + 1) * configuration->linear_configuration->step_percent;
    } else if (configuration->strategy == ECS_DEPLOYMENT_STRATEGY_CANARY && record->step == 0) {
        weight = configuration->canary_configuration->canary_percent;
    }
    return weight > 100 ? 100 : weight;
}

// How long a stage goes on when nothing else of it is left to do.
static int64_t bake_ms(const struct service_record_rollout *record)
{
    const struct ecs_deployment_configuration *configuration = record->configuration;
    if (record->blue == 0) {
        return 0;
    }
    if (record->stage == SERVICE_RECORD_STAGE_BAKE_TIME) {
        return configuration->bake_time_in_minutes * MINUTE_MS;
    }
    if (record->stage != SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT || record->weight >= 100) {
        return 0;
    }
    return configuration->strategy == ECS_DEPLOYMENT_STRATEGY_LINEAR
               ? configuration->linear_configuration->step_bake_time_in_minutes * MINUTE_MS
               : configuration->canary_configuration->canary_bake_time_in_minutes * MINUTE_MS;
}

// ---- from stage to stage --------------------------------------------------------------------

static void enter(struct core_call *call, struct service_record_rollout *edit,
                  enum service_record_stage stage, bool back)
{
    edit->stage = stage;
    edit->stage_at = call->now_ms;
    edit->settled_at = 0;
    edit->updated_at = call->now_ms;
    edit->has_weight = true;
    edit->has_test_weight = true;
    if (stage == SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT) {
        edit->test_weight = back ? 0 : 100;
    } else if (stage == SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT) {
        edit->weight = back ? 0 : next_weight(edit);
        edit->has_step = true;
        edit->step = back ? 0 : edit->step + 1;
    }
    hook_enter(call, edit);
}

void stage_begin(struct core_call *call, const struct service_record_service *service,
                 struct service_record_rollout *rollout)
{
    if (!stage_applies(rollout->configuration)) {
        return;
    }
    const struct service_record_deployment *blue =
        service->completed == 0
            ? NULL
            : core_get(call->core, &service_deployment_kind, service->completed);
    if (blue != NULL && blue->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE) {
        rollout->has_blue = true;
        rollout->blue = service->completed;
    }
    bool several = rollout->sources.count > 1;
    enter(call, rollout,
          several ? SERVICE_RECORD_STAGE_RECONCILE_SERVICE : SERVICE_RECORD_STAGE_PRE_SCALE_UP,
          false);
}

static enum service_record_stage next_stage(const struct service_record_rollout *record)
{
    if (record->stage == SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT && record->weight < 100) {
        return SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT;
    }
    size_t place = 0;
    while (order[place] != record->stage) {
        place++;
    }
    return order[place + 1]; // CLEAN_UP is never left this way
}

// The way back: blue is ready first, then production traffic is blue's, then test traffic; then
// green goes. What green never had is not taken from it.
static enum service_record_stage back_stage(const struct service_record_rollout *record,
                                            bool blue_ready)
{
    return record->weight > 0 && !blue_ready ? SERVICE_RECORD_STAGE_SCALE_UP
           : record->weight > 0              ? SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT
           : record->test_weight > 0         ? SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT
                                             : SERVICE_RECORD_STAGE_CLEAN_UP;
}

void stage_turn_back(struct core_call *call, const struct service_survey *survey,
                     struct service_record_rollout *edit, int64_t back)
{
    if (edit->stage == SERVICE_RECORD_STAGE_ABSENT) {
        return;
    }
    hook_cut(call, edit);
    if (back != 0 && !MUTANT("keep-weight")) {
        enter(call, edit, back_stage(edit, stage_blue_ready(survey, standing_of(survey, back))),
              true);
    }
}

// ---- what a stage waits for -----------------------------------------------------------------

static bool only_blue_is_left(const struct service_survey *survey, const struct stage_view *view)
{
    for (size_t i = 0; i < survey->count; i++) {
        const struct service_standing *standing = &survey->standings[i];
        if (standing != view->blue && standing != view->green && standing->tasks > 0) {
            return false;
        }
    }
    return true;
}

// Whether the tasks are where the stage wants them.
static bool tasks_ready(const struct service_survey *survey, const struct stage_view *view)
{
    switch (view->record->stage) {
    case SERVICE_RECORD_STAGE_RECONCILE_SERVICE:
        // Without a deployment that was completed there is none to reduce them to.
        return view->blue == NULL || only_blue_is_left(survey, view);
    case SERVICE_RECORD_STAGE_SCALE_UP:
        if (view->back) {
            return stage_blue_ready(survey, view->blue);
        }
        return view->green != NULL && (view->green->healthy >= survey->record->desired_count ||
                                       MUTANT("skip-green-health"));
    case SERVICE_RECORD_STAGE_CLEAN_UP:
        return service_rollout_steady(survey);
    case SERVICE_RECORD_STAGE_ABSENT:
    case SERVICE_RECORD_STAGE_UNRECOGNIZED:
    case SERVICE_RECORD_STAGE_PRE_SCALE_UP:
    case SERVICE_RECORD_STAGE_POST_SCALE_UP:
    case SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT:
    case SERVICE_RECORD_STAGE_POST_TEST_TRAFFIC_SHIFT:
    case SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT:
    case SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT:
    case SERVICE_RECORD_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT:
    case SERVICE_RECORD_STAGE_BAKE_TIME:
        break;
    }
    return true;
}

// ---- failing --------------------------------------------------------------------------------

static void fail(struct core_call *call, struct service_survey *survey,
                 const struct stage_view *view, struct text reason, const char *what)
{
    if (view->back) {
        // There is no way back from the way back. The scheduler of rolling updates does the rest:
        // it moves what is left to the PRIMARY deployment within the service's bounds.
        service_rollout_end(call, view->key, ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_FAILED, reason);
        return;
    }
    service_rollout_fail(call, survey, reason, what);
}

// Whether a time limit has passed. Bakes are no part of a stage's limit: ECS allows bakes of 24
// hours. Hooks have limits of their own (hook.c).
static bool time_is_up(struct core_call *call, struct service_survey *survey,
                       const struct stage_view *view, bool waits_for_tasks)
{
    int64_t all_end_ms = view->record->started_at + STAGE_ALL_LIMIT_MS;
    int64_t end_ms = view->record->stage_at + STAGE_LIMIT_MS;
    if (call->now_ms >= all_end_ms && !view->back) {
        fail(call, survey, view, TEXT("The service deployment did not end within 30 days."),
             "it took longer than 30 days");
        return true;
    }
    if (waits_for_tasks && call->now_ms >= end_ms) {
        fail(call, survey, view,
             arena_format(call->arena, "Stage %s did not end within 24 hours.",
                          stage_name(view->record->stage)),
             "a stage took longer than 24 hours");
        return true;
    }
    if (!view->back) {
        service_due(survey, all_end_ms);
    }
    if (waits_for_tasks) {
        service_due(survey, end_ms);
    }
    return false;
}

// ---- the step -------------------------------------------------------------------------------

// Whether the stage's bake time is over. Notes when it began. @return whether the record was put
static bool bake(struct core_call *call, struct service_survey *survey,
                 const struct stage_view *view, bool *out_over)
{
    int64_t length_ms = view->back ? 0 : bake_ms(view->record);
    *out_over = length_ms == 0 || MUTANT("skip-bake");
    if (*out_over) {
        return false;
    }
    // One that lies ahead was noted before the server's clock was set back: it begins anew.
    if (view->record->settled_at == 0 || view->record->settled_at > call->now_ms) {
        struct service_record_rollout *edit = core_edit(call, &service_rollout_kind, view->key);
        edit->settled_at = call->now_ms;
        core_put(call, &service_rollout_kind, view->key, edit);
        return true;
    }
    int64_t end_ms = view->record->settled_at + length_ms;
    *out_over = call->now_ms >= end_ms;
    service_due(survey, end_ms);
    return false;
}

static void advance(struct core_call *call, const struct service_survey *survey,
                    const struct stage_view *view)
{
    struct service_record_rollout *edit = hook_edit(call, view->key);
    enter(call, edit,
          view->back ? back_stage(edit, stage_blue_ready(survey, view->blue)) : next_stage(edit),
          view->back);
    core_put(call, &service_rollout_kind, view->key, edit);
}

bool stage_step(struct core_call *call, struct service_survey *survey, struct stage_view *view)
{
    if (view->stalled) {
        return false;
    }
    struct text reason = {0};
    enum hook_outcome hooks = hook_step(call, survey, view, &reason);
    if (hooks == HOOK_CHANGED) {
        return true;
    }
    if (hooks == HOOK_FAILED) {
        fail(call, survey, view, reason, "a lifecycle hook failed");
        return true;
    }
    bool ready = tasks_ready(survey, view);
    if (time_is_up(call, survey, view, !ready)) {
        return true;
    }
    if (hooks == HOOK_WAITS || !ready) {
        return false;
    }
    if (view->record->stage == SERVICE_RECORD_STAGE_CLEAN_UP) {
        service_rollout_complete(call, survey);
        return true;
    }
    bool over = false;
    if (bake(call, survey, view, &over)) {
        return true;
    }
    if (over) {
        advance(call, survey, view);
    }
    return over;
}
