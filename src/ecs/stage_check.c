#include "ecs/stage.h"

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

static int check_target(struct core_call *call, const struct service_ask *ask,
                        const struct ecs_deployment_lifecycle_hook *hook)
{
    switch (hook_target(hook)) {
    case HOOK_TARGET_PAUSE:
        return text_empty(hook->hook_target_arn)
                   ? 0
                   : refuse(call, "hookTargetArn is not valid for a lifecycle hook with the target "
                                  "type PAUSE.");
    case HOOK_TARGET_LAMBDA:
        return core_fault(call, &ecs_error_unsupported_feature_exception,
                          "The lifecycle hook %.*s is a Lambda function, and there is no Lambda "
                          "here. Specify an http:// or https:// URL or the ARN of a task "
                          "definition and try again.",
                          TEXT_FMT(text_slice(hook->hook_target_arn, 0,
                                              MIN(hook->hook_target_arn.size, (size_t)300))));
    case HOOK_TARGET_TASK:
        return ask->revision.definition == 0 ? 0
                                             : hook_task_check(call, ask, hook->hook_target_arn);
    case HOOK_TARGET_URL:
        return hook->hook_target_arn.size <= 2048 ? 0
                                                  : refuse(call, "hookTargetArn is too long: a URL "
                                                                 "can have up to 2048 characters.");
    case HOOK_TARGET_UNKNOWN:
        break;
    }
    return refuse(call, "hookTargetArn must be the ARN of a Lambda function or of a task "
                        "definition, or an http:// or https:// URL.");
}

static int check_hook(struct core_call *call, const struct service_ask *ask,
                      const struct ecs_deployment_lifecycle_hook *hook)
{
    bool pause = hook_target(hook) == HOOK_TARGET_PAUSE;
    if (hook->lifecycle_stages.count == 0) {
        return refuse(call, "lifecycleStages can not be empty.");
    }
    for (size_t i = 0; pause && i < hook->lifecycle_stages.count; i++) {
        enum ecs_deployment_lifecycle_hook_stage stage = hook->lifecycle_stages.items[i];
        if (stage == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_TEST_TRAFFIC_SHIFT ||
            stage == ECS_DEPLOYMENT_LIFECYCLE_HOOK_STAGE_PRODUCTION_TRAFFIC_SHIFT) {
            return core_fault(
                call, &ecs_error_invalid_parameter_exception,
                "A lifecycle hook with the target type PAUSE is not valid for the stage %s.",
                shape_enum_name(&ecs_deployment_lifecycle_hook_stage_shape, stage));
        }
    }
    if (!pause && hook->timeout_configuration != NULL) {
        return refuse(call, "timeoutConfiguration is only valid for a lifecycle hook with the "
                            "target type PAUSE.");
    }
    if (hook->hook_details.size > STAGE_HOOK_DETAILS_MAX) {
        return refuse(call, "hookDetails can have up to 4096 bytes.");
    }
    return check_target(call, ask, hook);
}

int stage_check(struct core_call *call, const struct service_ask *ask)
{
    const struct ecs_deployment_configuration *configuration = ask->service.configuration;
    bool staged = stage_applies(configuration);
    if (staged && ask->service.scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The daemon scheduling strategy is not supported with the %s deployment "
                          "strategy.",
                          shape_enum_name(&ecs_deployment_strategy_shape, configuration->strategy));
    }
    int rc = 0;
    size_t count = configuration->lifecycle_hooks.count;
    if (rc == 0 && count > 0 && !staged) {
        rc = refuse(call, "lifecycleHooks are only valid with the BLUE_GREEN, LINEAR and CANARY "
                          "deployment strategies.");
    }
    if (rc == 0 && count > STAGE_HOOKS_MAX) {
        rc = refuse(call, "lifecycleHooks can have at most 20 items.");
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = check_hook(call, ask, &configuration->lifecycle_hooks.items[i]);
    }
    return rc;
}
