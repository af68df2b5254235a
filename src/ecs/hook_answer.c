#include "ecs/stage.h"

#define CALL_BACK_S 30              // when an answer of IN_PROGRESS names no time
#define CALL_BACK_MAX_S (24 * 3600) // later than the stage's end would be never

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- people ---------------------------------------------------------------------------------

int hook_continue(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_continue_service_deployment_request *request = input;
    struct ecs_continue_service_deployment_response *response = output;
    int64_t key = 0;
    int rc = service_rollout_named(call, request->service_deployment_arn, &key);
    if (rc != 0) {
        return rc;
    }
    const struct service_record_rollout *stored = core_get(call->core, &service_rollout_kind, key);
    size_t place = 0;
    while (place < stored->hooks.count &&
           !text_equal(stored->hooks.items[place].id, request->hook_id)) {
        place++;
    }
    if (place == stored->hooks.count ||
        stored->hooks.items[place].status != ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_AWAITING_ACTION) {
        return refuse(call, "The service deployment has no lifecycle hook with that hookId that is "
                            "awaiting an action.");
    }
    bool back = request->action == ECS_DEPLOYMENT_LIFECYCLE_HOOK_ACTION_ROLLBACK;
    struct service_record_rollout *edit = hook_edit(call, key);
    hook_end(&edit->hooks.items[place],
             back ? ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED
                  : ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_SUCCEEDED,
             back ? TEXT("A rollback was requested with ContinueServiceDeployment.")
                  : (struct text){0});
    edit->updated_at = call->now_ms;
    core_put(call, &service_rollout_kind, key, edit);
    service_queue(call, edit->service);
    response->service_deployment_arn = service_rollout_arn(call, key);
    return 0;
}

// ---- endpoints ------------------------------------------------------------------------------

static void answered(struct core_call *call, const struct hook_answer *answer,
                     struct service_record_hook *hook)
{
    struct text status = answer->hook_status;
    if (answer->hook_details.size > STAGE_HOOK_DETAILS_MAX) {
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED,
                 TEXT("It answered with more than 4096 bytes of hookDetails."));
    } else if (text_is(status, "SUCCEEDED")) {
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_SUCCEEDED, (struct text){0});
    } else if (text_is(status, "IN_PROGRESS")) {
        int64_t delay_s = answer->has_call_back_delay ? answer->call_back_delay : CALL_BACK_S;
        hook->has_asked = false;
        hook->asked = false;
        hook->due_at = call->now_ms + MIN(MAX(delay_s, 1), CALL_BACK_MAX_S) * 1000;
        if (answer->hook_details.data != NULL) {
            hook->details = answer->hook_details;
        }
    } else if (text_is(status, "FAILED")) {
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED, TEXT("It answered FAILED."));
    } else {
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED,
                 TEXT("It answered without a hookStatus of SUCCEEDED, FAILED or IN_PROGRESS."));
    }
}

int hook_report(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    (void)output;
    const struct hook_report_hook_request *request = input;
    const struct service_record_rollout *stored =
        core_get(call->core, &service_rollout_kind, request->rollout);
    size_t place = 0;
    while (stored != NULL && place < stored->hooks.count &&
           !text_equal(stored->hooks.items[place].id, request->hook_id)) {
        place++;
    }
    if (stored == NULL || place == stored->hooks.count ||
        stored->hooks.items[place].status != ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_IN_PROGRESS ||
        !stored->hooks.items[place].asked) {
        return 0; // of an older stage, or an answer that came twice
    }
    struct service_record_rollout *edit = hook_edit(call, request->rollout);
    struct service_record_hook *hook = &edit->hooks.items[place];
    if (request->answer != NULL) {
        answered(call, request->answer, hook);
    } else {
        hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED, request->failure);
    }
    edit->updated_at = call->now_ms;
    core_put(call, &service_rollout_kind, request->rollout, edit);
    service_queue(call, edit->service);
    return 0;
}
