#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service_internal.h"

/*
 * Deployments by stages: each step of a rollout is judged when its record changes.
 *
 * Forwards a stage is left only when its hooks have passed, its bake time is over and, after
 * SCALE_UP, green is as many as are desired; traffic is shifted in the steps that were asked for.
 * On the way back blue has all traffic before green goes.
 */

#define MINUTE_MS 60000

// ---- how a service stands that is on such a way -------------------------------------------------

static bool over(const struct service_record_rollout *rollout)
{
    return rollout->finished_at != 0;
}

const struct service_record_rollout *stages_rollout(struct sim *sim,
                                                    const struct service_record_service *service)
{
    const struct service_record_rollout *rollout =
        service->rollout == 0 ? NULL
                              : core_get(sim->server.core, &service_rollout_kind, service->rollout);
    return rollout == NULL || rollout->stage == SERVICE_RECORD_STAGE_ABSENT ? NULL : rollout;
}

static bool back_of(const struct service_record_service *service,
                    const struct service_record_rollout *rollout)
{
    return service->primary != rollout->deployment;
}

// It failed and has no way back: blue goes on as it is.
static bool stalled(struct sim *sim, const struct service_record_service *service,
                    const struct service_record_rollout *rollout)
{
    const struct service_record_deployment *primary = standing_primary(sim, service);
    return over(rollout) && !back_of(service, rollout) && primary != NULL &&
           primary->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
}

// Blue, when it is there; else 0.
static int64_t blue_of(struct sim *sim, const struct service_record_service *service,
                       const struct service_record_rollout *rollout)
{
    int64_t key = back_of(service, rollout) ? service->primary : rollout->blue;
    const struct service_record_deployment *blue =
        key == 0 ? NULL : core_get(sim->server.core, &service_deployment_kind, key);
    return blue == NULL || blue->status == SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE ? 0 : key;
}

bool stages_open(struct sim *sim, const struct service_record_service *service)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    return rollout != NULL && (!over(rollout) || stalled(sim, service, rollout));
}

bool stages_moving(struct sim *sim, const struct service_record_service *service)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    return rollout != NULL && !over(rollout);
}

bool stages_apart(struct sim *sim, const struct service_record_service *service)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    if (rollout == NULL || !stages_open(sim, service)) {
        return false;
    }
    bool gathers = rollout->stage == SERVICE_RECORD_STAGE_RECONCILE_SERVICE &&
                   blue_of(sim, service, rollout) != 0;
    bool cleans = rollout->stage == SERVICE_RECORD_STAGE_CLEAN_UP;
    return stalled(sim, service, rollout) || (!gathers && !cleans);
}

bool stages_gathers(struct sim *sim, const struct service_record_service *service,
                    int64_t deployment)
{
    return stages_moving(sim, service) && !stages_apart(sim, service) &&
           deployment == stages_primary(sim, service);
}

int64_t stages_primary(struct sim *sim, const struct service_record_service *service)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    bool gathers = rollout != NULL && stages_moving(sim, service) &&
                   rollout->stage == SERVICE_RECORD_STAGE_RECONCILE_SERVICE;
    int64_t blue = gathers ? blue_of(sim, service, rollout) : 0;
    return blue != 0 ? blue : service->primary;
}

bool stages_may_start(struct sim *sim, const struct service_record_service *service,
                      int64_t deployment)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    if (rollout == NULL || !stages_open(sim, service)) {
        return deployment == service->primary;
    }
    if (deployment == blue_of(sim, service, rollout)) {
        return true;
    }
    bool early = rollout->stage == SERVICE_RECORD_STAGE_RECONCILE_SERVICE ||
                 rollout->stage == SERVICE_RECORD_STAGE_PRE_SCALE_UP;
    return deployment == rollout->deployment && !early && !back_of(service, rollout) &&
           !stalled(sim, service, rollout);
}

bool stages_restless(struct sim *sim, const struct service_record_service *service)
{
    const struct core *core = sim->server.core;
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    int64_t key = rollout == NULL || over(rollout) ? 0 : blue_of(sim, service, rollout);
    const struct service_record_deployment *blue =
        key == 0 ? NULL : core_get(core, &service_deployment_kind, key);
    const struct service_record_revision *revision =
        blue == NULL ? NULL : core_get(core, &service_revision_kind, blue->revision);
    return revision != NULL && services_restless(core, revision->definition);
}

bool stages_breaks(struct sim *sim, const struct service_record_service *service)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    return rollout == NULL || over(rollout) ||
           (rollout->stage == SERVICE_RECORD_STAGE_SCALE_UP && !back_of(service, rollout));
}

// ---- hooks --------------------------------------------------------------------------------------

static enum ecs_deployment_lifecycle_hook_stage hook_stage(enum service_record_stage stage)
{
    const char *name = shape_enum_name(&service_record_stage_shape, (int32_t)stage);
    for (int32_t i = ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_RECONCILE_SERVICE;
         i <= ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT; i++) {
        if (text_is(text_of(shape_enum_name(&ecs_deployment_lifecycle_hook_stage_shape, i)),
                    name)) {
            return (enum ecs_deployment_lifecycle_hook_stage)i;
        }
    }
    return ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_ABSENT;
}

static bool names(const struct ecs_deployment_lifecycle_hook *asked,
                  enum ecs_deployment_lifecycle_hook_stage stage)
{
    for (size_t i = 0; i < asked->lifecycle_stages.count; i++) {
        if (asked->lifecycle_stages.items[i] == stage) {
            return true;
        }
    }
    return false;
}

static bool passed(const struct ecs_deployment_lifecycle_hook *asked,
                   const struct service_record_hook *hook)
{
    return hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_SUCCEEDED ||
           (hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_TIMED_OUT &&
            asked->timeout_configuration != NULL &&
            asked->timeout_configuration->action == ECS_DEPLOYMENT_LIFECYCLE_HOOK_ACTION_CONTINUE);
}

// Whether all hooks that were asked for in the stage of a rollout have passed.
static bool all_passed(const struct service_record_rollout *rollout)
{
    enum ecs_deployment_lifecycle_hook_stage stage = hook_stage(rollout->stage);
    for (size_t i = 0; i < rollout->configuration->lifecycle_hooks.count; i++) {
        const struct ecs_deployment_lifecycle_hook *asked =
            &rollout->configuration->lifecycle_hooks.items[i];
        bool found = stage == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_ABSENT || !names(asked, stage);
        for (size_t j = 0; j < rollout->hooks.count && !found; j++) {
            const struct service_record_hook *hook = &rollout->hooks.items[j];
            found = (size_t)hook->index == i && hook->stage == stage && passed(asked, hook);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool any_failed(const struct service_record_rollout *rollout)
{
    for (size_t i = 0; i < rollout->hooks.count; i++) {
        const struct service_record_hook *hook = &rollout->hooks.items[i];
        const struct ecs_deployment_lifecycle_hook *asked =
            &rollout->configuration->lifecycle_hooks.items[hook->index];
        bool ended = hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED ||
                     hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_TIMED_OUT;
        if (ended && !passed(asked, hook)) {
            return true;
        }
    }
    return false;
}

// What is noted of a hook is what its endpoint said.
static void check_hook(struct sim *sim, const struct service_record_rollout *rollout,
                       const struct service_record_hook *before,
                       const struct service_record_hook *after)
{
    const struct ecs_deployment_lifecycle_hook *asked =
        &rollout->configuration->lifecycle_hooks.items[after->index];
    uint64_t *counts = sim->churn.counts;
    if (before->status == after->status) {
        return;
    }
    bool pause = asked->target_type == ECS_DEPLOYMENT_LIFECYCLE_HOOK_TARGET_TYPE_PAUSE;
    bool good = after->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_SUCCEEDED;
    const struct hook_fact *fact = pause ? NULL : hook_fact(sim, after->id);
    counts[ACT_HOOK_PAUSED] += pause && good;
    counts[ACT_HOOK_TIMED_OUT] += after->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_TIMED_OUT;
    if (fact != NULL && good && !fact->succeeded) {
        world_fail(&sim->world, "a hook SUCCEEDED, and its endpoint never said so");
    }
    if (fact != NULL && text_is(after->status_reason, "It answered FAILED.") && !fact->failed) {
        world_fail(&sim->world, "a hook FAILED, and its endpoint never said so");
    }
    counts[ACT_HOOK_PASSED] += fact != NULL && good;
    counts[ACT_HOOK_FAILED] += fact != NULL && fact->failed &&
                               after->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED;
}

static void check_hooks(struct sim *sim, const struct service_record_rollout *before,
                        const struct service_record_rollout *after)
{
    for (size_t i = 0; i < before->hooks.count; i++) {
        for (size_t j = 0; j < after->hooks.count; j++) {
            if (text_equal(before->hooks.items[i].id, after->hooks.items[j].id)) {
                check_hook(sim, after, &before->hooks.items[i], &after->hooks.items[j]);
            }
        }
    }
}

// ---- stages -------------------------------------------------------------------------------------

static double weight_of(const struct service_record_rollout *rollout)
{
    const struct ecs_deployment_configuration *configuration = rollout->configuration;
    if (rollout->blue == 0 || configuration->strategy == ECS_DEPLOYMENT_STRATEGY_BLUE_GREEN) {
        return 100;
    }
    if (configuration->strategy == ECS_DEPLOYMENT_STRATEGY_LINEAR) {
        double weight = rollout->step * configuration->linear_configuration->step_percent;
        return weight > 100 ? 100 : weight;
    }
    return rollout->step == 1 ? configuration->canary_configuration->canary_percent : 100;
}

static int64_t bake_ms(const struct service_record_rollout *rollout)
{
    const struct ecs_deployment_configuration *configuration = rollout->configuration;
    if (rollout->blue == 0) {
        return 0; // nobody else could have the traffic
    }
    if (rollout->stage == SERVICE_RECORD_STAGE_BAKE_TIME) {
        return (int64_t)configuration->bake_time_in_minutes * MINUTE_MS;
    }
    if (rollout->stage != SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT || rollout->weight >= 100) {
        return 0;
    }
    return configuration->strategy == ECS_DEPLOYMENT_STRATEGY_LINEAR
               ? (int64_t)configuration->linear_configuration->step_bake_time_in_minutes * MINUTE_MS
               : (int64_t)configuration->canary_configuration->canary_bake_time_in_minutes *
                     MINUTE_MS;
}

static enum service_record_stage next_of(const struct service_record_rollout *rollout)
{
    static const enum service_record_stage next[] = {
        [SERVICE_RECORD_STAGE_RECONCILE_SERVICE] = SERVICE_RECORD_STAGE_PRE_SCALE_UP,
        [SERVICE_RECORD_STAGE_PRE_SCALE_UP] = SERVICE_RECORD_STAGE_SCALE_UP,
        [SERVICE_RECORD_STAGE_SCALE_UP] = SERVICE_RECORD_STAGE_POST_SCALE_UP,
        [SERVICE_RECORD_STAGE_POST_SCALE_UP] = SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT,
        [SERVICE_RECORD_STAGE_TEST_TRAFFIC_SHIFT] = SERVICE_RECORD_STAGE_POST_TEST_TRAFFIC_SHIFT,
        [SERVICE_RECORD_STAGE_POST_TEST_TRAFFIC_SHIFT] =
            SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT,
        [SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT] =
            SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT,
        [SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT] =
            SERVICE_RECORD_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT,
        [SERVICE_RECORD_STAGE_POST_PRODUCTION_TRAFFIC_SHIFT] = SERVICE_RECORD_STAGE_BAKE_TIME,
        [SERVICE_RECORD_STAGE_BAKE_TIME] = SERVICE_RECORD_STAGE_CLEAN_UP,
    };
    if (rollout->stage == SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT && rollout->weight < 100) {
        return SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT;
    }
    return (size_t)rollout->stage < ARRAY_LEN(next) ? next[rollout->stage]
                                                    : SERVICE_RECORD_STAGE_ABSENT;
}

static const char *name_of(const struct service_record_rollout *rollout)
{
    return shape_enum_name(&service_record_stage_shape, (int32_t)rollout->stage);
}

void stages_tell(struct sim *sim, const struct service_record_service *service)
{
    const struct service_record_rollout *rollout = stages_rollout(sim, service);
    if (rollout == NULL || over(rollout) || !sim->world.print) {
        return;
    }
    world_trace(&sim->world, "  in stage %s, status %d, weight %d, settled %d", name_of(rollout),
                (int)rollout->status, (int)rollout->weight, rollout->settled_at != 0);
    for (size_t i = 0; i < rollout->hooks.count; i++) {
        const struct service_record_hook *hook = &rollout->hooks.items[i];
        world_trace(&sim->world, "  hook %.16s of stage %d has status %d", hook->id.data,
                    (int)hook->stage, (int)hook->status);
    }
}

// A stage is left for the next one.
static const char *why_not_forward(struct sim *sim, const struct service_record_service *service,
                                   const struct service_record_rollout *before,
                                   const struct service_record_rollout *after)
{
    // Noted before the server's clock was set back, the start of a stage says nothing.
    bool timed =
        bake_ms(before) > 0 && (before->settled_at == 0 || before->settled_at >= before->stage_at);
    if (after->stage != next_of(before)) {
        return "it is not the next one";
    }
    if (!all_passed(before)) {
        return "not all hooks of the stage before have passed";
    }
    if (before->stage == SERVICE_RECORD_STAGE_SCALE_UP) {
        struct standing green =
            standing_of_set(sim, after->service, after->deployment, service->desired_count, 0);
        if (green.primary_healthy < green.desired) {
            return "green is not healthy yet";
        }
    }
    if (timed && sim->server.input_ms < before->stage_at + bake_ms(before)) {
        return "the bake time is not over";
    }
    if (after->stage == SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT &&
        after->weight != weight_of(after)) {
        return "so much traffic was not to be shifted";
    }
    if (after->stage != SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT &&
        after->weight != before->weight) {
        return "traffic is not shifted there";
    }
    return after->stage == SERVICE_RECORD_STAGE_CLEAN_UP && after->weight < 100
               ? "green does not have all traffic"
               : NULL;
}

// It turns back, or is on the way: blue has all traffic before green goes.
static const char *why_not_back(struct sim *sim, const struct service_record_service *service,
                                const struct service_record_rollout *before,
                                const struct service_record_rollout *after)
{
    bool turns = before->status != ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS;
    struct standing blue =
        standing_of_set(sim, after->service, service->completed, service->desired_count, 0);
    const struct service_record_deployment *last =
        core_get(sim->server.core, &service_deployment_kind, service->completed);
    bool there = last != NULL && last->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE;
    bool ready = there && blue.primary_healthy >= blue.lower;
    if (turns && after->weight > 0 && ready) {
        return "it turns back and leaves traffic to green";
    }
    if (!turns && before->weight > 0 && after->weight == 0 && !ready) {
        return "traffic goes back to blue, which is not ready for it";
    }
    return after->stage == SERVICE_RECORD_STAGE_CLEAN_UP &&
                   (after->weight > 0 || after->test_weight > 0)
               ? "green goes with traffic"
               : NULL;
}

void stages_changed(struct sim *sim, const struct service_record_rollout *before,
                    const struct service_record_rollout *after)
{
    if (before == NULL || after == NULL || after->stage == SERVICE_RECORD_STAGE_ABSENT) {
        return;
    }
    const struct service_record_service *service =
        core_get(sim->server.core, &service_kind, after->service);
    struct deployment_watch *watch = watch_deployment(sim, after->deployment);
    watch->refused = watch->refused || any_failed(before) ||
                     before->status == ECS_SERVICE_DEPLOYMENT_STATUS_STOP_REQUESTED;
    check_hooks(sim, before, after);
    bool back = after->status == ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS;
    bool moves = before->stage != after->stage || before->step != after->step;
    const char *why = NULL;
    if (back) {
        why = why_not_back(sim, service, before, after);
        sim->churn.counts[ACT_STAGE_BACK] +=
            before->status != ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS;
    } else if (moves) {
        why = why_not_forward(sim, service, before, after);
        sim->churn.counts[ACT_STAGE_NEXT]++;
        sim->churn.counts[ACT_STAGE_BAKED] += bake_ms(before) > 0;
        sim->churn.counts[ACT_STAGE_STEP] +=
            after->stage == SERVICE_RECORD_STAGE_PRODUCTION_TRAFFIC_SHIFT && after->weight < 100;
    }
    if (moves || back) {
        world_trace(&sim->world, "service %.*s is in stage %s%s", TEXT_FMT(service->name),
                    name_of(after), back ? ", on its way back" : "");
    }
    if (why != NULL) {
        world_fail(&sim->world, "service %.*s goes from stage %s to %s, and %s",
                   TEXT_FMT(service->name), name_of(before), name_of(after), why);
    }
}
