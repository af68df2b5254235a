#include "ecs/stage.h"

void stage_weights(const struct core *core, int64_t service, struct stage_weights *out_weights)
{
    *out_weights = (struct stage_weights){.production = 100, .test = 100};
    const struct service_record_service *record = core_get(core, &service_kind, service);
    const struct service_record_rollout *rollout =
        record == NULL || record->rollout == 0
            ? NULL
            : core_get(core, &service_rollout_kind, record->rollout);
    if (rollout == NULL || rollout->stage == SERVICE_RECORD_STAGE_ABSENT) {
        return;
    }
    bool ended = service_rollout_over(rollout->status) &&
                 rollout->status != ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED;
    if (ended) {
        return;
    }
    out_weights->green = rollout->deployment;
    out_weights->blue = record->primary != rollout->deployment ? record->primary : rollout->blue;
    out_weights->production = rollout->weight;
    out_weights->test = rollout->test_weight;
}

// The revision that the rest of the traffic goes to; 0 for none.
static int64_t blue_revision(struct core_call *call, const struct service_record_rollout *rollout)
{
    const struct service_record_deployment *blue =
        rollout->blue == 0 ? NULL : core_get(call->core, &service_deployment_kind, rollout->blue);
    return blue == NULL ? 0 : blue->revision;
}

void stage_shares(struct core_call *call, const struct service_record_rollout *rollout,
                  double weight, struct hook_double_map *out)
{
    int64_t blue = blue_revision(call, rollout);
    out->items = arena_array(call->arena, 2, sizeof(*out->items));
    out->items[0] = (struct hook_double_entry){.key = service_revision_arn(call, rollout->target),
                                               .value = weight};
    out->count = 1;
    if (blue != 0 && blue != rollout->target) {
        out->items[1] = (struct hook_double_entry){.key = service_revision_arn(call, blue),
                                                   .value = 100 - weight};
        out->count = 2;
    }
}

static void show_hooks(struct core_call *call, const struct service_record_rollout *record,
                       struct ecs_service_deployment *out)
{
    size_t count = record->hooks.count;
    if (count == 0) {
        return;
    }
    out->lifecycle_hook_details.items =
        arena_array(call->arena, count, sizeof(*out->lifecycle_hook_details.items));
    out->lifecycle_hook_details.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct service_record_hook *hook = &record->hooks.items[i];
        const struct ecs_deployment_lifecycle_hook *asked = hook_configuration(record, hook);
        bool pause = hook_target(asked) == HOOK_TARGET_PAUSE;
        struct ecs_deployment_lifecycle_hook_detail *shown = &out->lifecycle_hook_details.items[i];
        *shown = (struct ecs_deployment_lifecycle_hook_detail){
            .hook_id = hook->id,
            .target_type = pause ? ECS_DEPLOYMENT_LIFECYCLE_HOOK_TARGET_TYPE_PAUSE
                                 : ECS_DEPLOYMENT_LIFECYCLE_HOOK_TARGET_TYPE_AWS_LAMBDA,
            .target_arn = asked->hook_target_arn,
            .status = hook->status,
        };
        if (pause) {
            bool awaits = hook->status == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_AWAITING_ACTION;
            bool continues = asked->timeout_configuration != NULL &&
                             asked->timeout_configuration->action ==
                                 ECS_DEPLOYMENT_LIFECYCLE_HOOK_ACTION_CONTINUE;
            shown->expires_at = awaits ? hook->due_at : 0;
            shown->timeout_action = continues ? ECS_DEPLOYMENT_LIFECYCLE_HOOK_ACTION_CONTINUE
                                              : ECS_DEPLOYMENT_LIFECYCLE_HOOK_ACTION_ROLLBACK;
        }
    }
}

static void show_weights(struct ecs_service_revision_summary *summary, double production,
                         double test)
{
    summary->has_requested_production_traffic_weight = true;
    summary->requested_production_traffic_weight = production;
    summary->has_requested_test_traffic_weight = true;
    summary->requested_test_traffic_weight = test;
}

// The API's enum has no name for what comes before a shift: it counts to it.
static enum ecs_service_deployment_lifecycle_stage shown_stage(enum service_record_stage stage)
{
    return stage == SERVICE_RECORD_STAGE_PRE_PRODUCTION_TRAFFIC_SHIFT
               ? ECS_SERVICE_DEPLOYMENT_LIFECYCLE_STAGE_PRODUCTION_TRAFFIC_SHIFT
               : (enum ecs_service_deployment_lifecycle_stage)stage;
}
_Static_assert((int)SERVICE_RECORD_STAGE_CLEAN_UP ==
                   (int)ECS_SERVICE_DEPLOYMENT_LIFECYCLE_STAGE_CLEAN_UP,
               "the other stages have the API's numbers");

void stage_show(struct core_call *call, int64_t rollout, struct ecs_service_deployment *out)
{
    const struct service_record_rollout *record =
        core_get(call->core, &service_rollout_kind, rollout);
    if (record->stage == SERVICE_RECORD_STAGE_ABSENT) {
        return;
    }
    out->lifecycle_stage = shown_stage(record->stage);
    show_hooks(call, record, out);
    show_weights(out->target_service_revision, record->weight, record->test_weight);
    int64_t blue = blue_revision(call, record);
    for (size_t i = 0; i < record->sources.count; i++) {
        bool is_blue = record->sources.items[i] == blue;
        show_weights(&out->source_service_revisions.items[i], is_blue ? 100 - record->weight : 0,
                     is_blue ? 100 - record->test_weight : 0);
    }
}
