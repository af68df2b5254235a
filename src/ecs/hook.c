#include "ecs/stage.h"
#include "shape/json.h"

#include <string.h>

#define ASK_AGAIN_MS 30000 // a call that may have been lost is made again; its host knows it by id
#define PAUSE_MINUTES 1440 // of a PAUSE hook without a timeoutConfiguration
#define MINUTE_MS (60 * INT64_C(1000))
#define ID_CHARS 43

// ---- what it is -----------------------------------------------------------------------------

const struct ecs_deployment_lifecycle_hook *
hook_configuration(const struct service_record_rollout *rollout,
                   const struct service_record_hook *hook)
{
    ASSERT((size_t)hook->index < rollout->configuration->lifecycle_hooks.count);
    return &rollout->configuration->lifecycle_hooks.items[hook->index];
}

enum hook_target hook_target(const struct ecs_deployment_lifecycle_hook *hook)
{
    struct text target = hook->hook_target_arn;
    if (hook->target_type == ECS_DEPLOYMENT_LIFECYCLE_HOOK_TARGET_TYPE_PAUSE) {
        return HOOK_TARGET_PAUSE;
    }
    if (text_starts(target, TEXT("http://")) || text_starts(target, TEXT("https://"))) {
        return HOOK_TARGET_URL;
    }
    struct ecs_arn arn;
    if (!ecs_arn_parse(target, &arn)) {
        return text_starts(target, TEXT("arn:aws:lambda:")) ? HOOK_TARGET_LAMBDA
                                                            : HOOK_TARGET_UNKNOWN;
    }
    return text_is(arn.type, "task-definition") ? HOOK_TARGET_TASK : HOOK_TARGET_UNKNOWN;
}

// The stage as hooks name it; absent for one that calls none.
static enum ecs_deployment_lifecycle_hook_stage hook_stage(enum service_record_stage stage)
{
    switch (stage) {
    case SERVICE_RECORD_STAGE_RECONCILE_SERVICE:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_RECONCILE_SERVICE;
    case SERVICE_RECORD_STAGE_PRE_SCALE_UP:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_PRE_SCALE_UP;
    case SERVICE_RECORD_STAGE_POST_SCALE_UP:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_POST_SCALE_UP;
    case SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_TEST_TRAFFIC_SHIFT;
    case SERVICE_RECORD_STAGE_POST_TEST_TRAFFIC_SHIFT:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_POST_TEST_TRAFFIC_SHIFT;
    case SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT;
    case SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_PRODUCTION_TRAFFIC_SHIFT;
    case SERVICE_RECORD_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT:
        return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT;
    case SERVICE_RECORD_STAGE_ABSENT:
    case SERVICE_RECORD_STAGE_UNRECOGNIZED:
    case SERVICE_RECORD_STAGE_SCALE_UP:
    case SERVICE_RECORD_STAGE_BAKE_TIME:
    case SERVICE_RECORD_STAGE_CLEAN_UP:
        break;
    }
    return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_ABSENT;
}

static bool called_in(const struct ecs_deployment_lifecycle_hook *hook,
                      enum ecs_deployment_lifecycle_hook_stage stage)
{
    for (size_t i = 0; i < hook->lifecycle_stages.count; i++) {
        if (hook->lifecycle_stages.items[i] == stage) {
            return true;
        }
    }
    return false;
}

static struct text fresh_id(struct core_call *call, const char *prefix)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char id[ID_CHARS];
    for (size_t i = 0; i < ID_CHARS; i++) {
        id[i] = digits[core_random(call) % (sizeof(digits) - 1)];
    }
    return arena_format(call->arena, "%s%.*s", prefix, ID_CHARS, id);
}

// ---- from stage to stage --------------------------------------------------------------------

struct service_record_rollout *hook_edit(struct core_call *call, int64_t rollout)
{
    struct service_record_rollout *edit = core_edit(call, &service_rollout_kind, rollout);
    size_t count = edit->hooks.count;
    struct service_record_hook *items = arena_array(call->arena, count, sizeof(*items));
    if (count > 0) {
        memcpy(items, edit->hooks.items, count * sizeof(*items));
        edit->hooks.items = items;
    }
    return edit;
}

void hook_end(struct service_record_hook *hook, enum ecs_deployment_lifecycle_hook_status status,
              struct text reason)
{
    hook->status = status;
    hook->status_reason = reason;
    hook->due_at = 0;
    hook->has_asked = false;
    hook->asked = false;
}

static bool waits(const struct service_record_hook *hook)
{
    return hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_AWAITING_ACTION ||
           hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_IN_PROGRESS;
}

static struct service_record_hook open_hook(struct core_call *call, size_t index,
                                            const struct ecs_deployment_lifecycle_hook *asked,
                                            enum ecs_deployment_lifecycle_hook_stage stage)
{
    struct service_record_hook hook = {
        .has_index = true,
        .index = (int32_t)index,
        .stage = stage,
        .status = ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_IN_PROGRESS,
        .called_at = call->now_ms,
        .due_at = call->now_ms,
        .details = asked->hook_details,
    };
    if (hook_target(asked) == HOOK_TARGET_PAUSE) {
        const struct ecs_deployment_lifecycle_hook_timeout_configuration *timeout =
            asked->timeout_configuration;
        int64_t minutes = timeout != NULL && timeout->has_timeout_in_minutes
                              ? timeout->timeout_in_minutes
                              : PAUSE_MINUTES;
        hook.status = ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_AWAITING_ACTION;
        hook.id = fresh_id(call, "ecs-pause-");
        hook.due_at = call->now_ms + minutes * MINUTE_MS;
    } else {
        hook.id = fresh_id(call, "ecs-hook-");
    }
    return hook;
}

void hook_enter(struct core_call *call, struct service_record_rollout *edit)
{
    const struct ecs_deployment_configuration *configuration = edit->configuration;
    enum ecs_deployment_lifecycle_hook_stage stage = hook_stage(edit->stage);
    size_t count = configuration->lifecycle_hooks.count;
    if (count == 0 || stage == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_ABSENT) {
        return;
    }
    struct service_record_hook *items = arena_array(call->arena, count, sizeof(*items));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct ecs_deployment_lifecycle_hook *asked =
            &configuration->lifecycle_hooks.items[i];
        const struct service_record_hook *before = NULL;
        for (size_t j = 0; j < edit->hooks.count; j++) {
            if ((size_t)edit->hooks.items[j].index == i) {
                before = &edit->hooks.items[j];
            }
        }
        if (called_in(asked, stage)) {
            items[kept] = open_hook(call, i, asked, stage);
            kept++;
        } else if (before != NULL) {
            items[kept] = *before;
            kept++;
        }
    }
    edit->hooks.items = items;
    edit->hooks.count = kept;
}

void hook_cut(struct core_call *call, struct service_record_rollout *edit)
{
    for (size_t i = 0; i < edit->hooks.count; i++) {
        struct service_record_hook *hook = &edit->hooks.items[i];
        if (waits(hook)) {
            hook_task_stop(call, hook);
            hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED,
                     TEXT("The stage ended before the hook did."));
        }
    }
}

// ---- calling --------------------------------------------------------------------------------

struct text hook_payload_json(struct core_call *call, int64_t rollout,
                              const struct service_record_hook *hook)
{
    const struct service_record_rollout *record =
        core_get(call->core, &service_rollout_kind, rollout);
    struct hook_execution_details details = {
        .service_arn = service_arn(call, record->service),
        .target_service_revision_arn = service_revision_arn(call, record->target),
    };
    stage_shares(call, record, record->test_weight, &details.test_traffic_weights);
    stage_shares(call, record, record->weight, &details.production_traffic_weights);
    const struct hook_payload payload = {
        .execution_id = hook->id,
        .lifecycle_stage =
            text_of(shape_enum_name(&ecs_deployment_lifecycle_hook_stage_shape, hook->stage)),
        .resource_arn = service_rollout_arn(call, rollout),
        .execution_details = &details,
        .hook_details = hook->details,
    };
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&hook_payload_shape, &payload, &json);
    return arena_text(call->arena, buf_view(&json));
}

static void ask(struct core_call *call, int64_t rollout, const struct service_record_hook *hook,
                struct text url)
{
    const struct hook_call message = {
        .has_rollout = true,
        .rollout = rollout,
        .hook_id = hook->id,
        .url = url,
        .payload = hook_payload_json(call, rollout, hook),
    };
    core_effect(call, CORE_EFFECT_HOOK, url, "LifecycleHook", &hook_call_shape, &message);
}

static struct text named(struct core_call *call, const struct service_record_rollout *record,
                         const struct service_record_hook *hook)
{
    const struct ecs_deployment_lifecycle_hook *asked = hook_configuration(record, hook);
    struct text target =
        hook_target(asked) == HOOK_TARGET_PAUSE ? TEXT("PAUSE") : asked->hook_target_arn;
    return arena_format(call->arena, "Lifecycle hook %.*s (%.*s) of stage %s", TEXT_FMT(hook->id),
                        TEXT_FMT(target),
                        shape_enum_name(&ecs_deployment_lifecycle_hook_stage_shape, hook->stage));
}

static bool continues(const struct service_record_rollout *record,
                      const struct service_record_hook *hook)
{
    const struct ecs_deployment_lifecycle_hook_timeout_configuration *timeout =
        hook_configuration(record, hook)->timeout_configuration;
    return timeout != NULL && timeout->action == ECS_DEPLOYMENT_LIFECYCLE_HOOK_ACTION_CONTINUE;
}

// What is to be done for a hook that waits: time passed, or it was not asked yet.
static bool work_on(struct core_call *call, struct service_survey *survey,
                    const struct stage_view *view, struct service_record_hook *hook)
{
    const struct ecs_deployment_lifecycle_hook *asked = hook_configuration(view->record, hook);
    bool paused = hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_AWAITING_ACTION;
    if (hook->called_at > call->now_ms) { // the server's clock was set back since
        hook->due_at = paused ? call->now_ms + (hook->due_at - hook->called_at) : call->now_ms;
        hook->called_at = call->now_ms;
        return true;
    }
    if (paused) {
        service_due(survey, hook->due_at);
        if (call->now_ms < hook->due_at) {
            return false;
        }
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_TIMED_OUT,
                 TEXT("Nobody continued the service deployment in time."));
        return true;
    }
    int64_t end_ms = view->record->stage_at + STAGE_LIMIT_MS;
    service_due(survey, end_ms);
    if (call->now_ms >= end_ms) {
        hook_task_stop(call, hook);
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED,
                 TEXT("It did not end within 24 hours."));
        return true;
    }
    if (hook_target(asked) == HOOK_TARGET_TASK) {
        return hook_task_step(call, survey, view, hook);
    }
    // A restart forgets calls under way, and an effect may be lost: so it is asked again.
    bool forgotten = hook->asked && !survey->entry->hooks_asked;
    if (call->now_ms < hook->due_at && !forgotten) {
        service_due(survey, hook->due_at);
        return false;
    }
    hook->has_asked = true;
    hook->asked = true;
    hook->due_at = call->now_ms + ASK_AGAIN_MS;
    ask(call, view->key, hook, asked->hook_target_arn);
    return true;
}

static bool passed(const struct stage_view *view, const struct service_record_hook *hook)
{
    // On the way back a hook is told, but cannot stop it.
    return view->back || hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_SUCCEEDED ||
           (hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_TIMED_OUT &&
            continues(view->record, hook));
}

// What the hooks of the stage that do not wait came to.
static enum hook_outcome judge(struct core_call *call, const struct stage_view *view,
                               struct text *out_reason)
{
    enum hook_outcome outcome = HOOK_PASSED;
    for (size_t i = 0; i < view->record->hooks.count; i++) {
        const struct service_record_hook *hook = &view->record->hooks.items[i];
        if (hook->stage != hook_stage(view->record->stage)) {
            continue;
        }
        if (waits(hook)) {
            outcome = HOOK_WAITS;
        } else if (!passed(view, hook) && !MUTANT("ignore-hook")) {
            bool late = hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_TIMED_OUT;
            *out_reason = arena_format(
                call->arena, "%.*s %s: %.*s", TEXT_FMT(named(call, view->record, hook)),
                late ? "timed out" : "failed", TEXT_FMT(hook->status_reason));
            return HOOK_FAILED;
        }
    }
    return outcome;
}

enum hook_outcome hook_step(struct core_call *call, struct service_survey *survey,
                            const struct stage_view *view, struct text *out_reason)
{
    enum hook_outcome outcome = judge(call, view, out_reason);
    if (outcome != HOOK_WAITS) {
        return outcome;
    }
    struct service_record_rollout *edit = hook_edit(call, view->key);
    bool changed = false;
    for (size_t i = 0; i < edit->hooks.count; i++) {
        struct service_record_hook *hook = &edit->hooks.items[i];
        if (hook->stage == hook_stage(edit->stage) && waits(hook)) {
            changed = work_on(call, survey, view, hook) || changed;
        }
    }
    survey->entry->hooks_asked = true;
    if (!changed) {
        return HOOK_WAITS;
    }
    edit->updated_at = call->now_ms;
    core_put(call, &service_rollout_kind, view->key, edit);
    return HOOK_CHANGED;
}
