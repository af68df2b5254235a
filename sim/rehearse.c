#include "sim.h"

#include "api/berth.h"
#include "base/text.h"

/*
 * Every RunTask is asked about before it is applied, with the same time and chance: what
 * ExplainPlacement says must be what then happens, and asking must leave nothing behind.
 */

#define HOSTS 1000

static struct berth_explain_placement_request question(const struct ecs_run_task_request *request)
{
    return (struct berth_explain_placement_request){
        .cluster = request->cluster,
        .task_definition = request->task_definition,
        .has_count = request->has_count,
        .count = request->count,
        .launch_type = request->launch_type,
        .capacity_provider_strategy = {request->capacity_provider_strategy.items,
                                       request->capacity_provider_strategy.count},
        .network_configuration = request->network_configuration,
        .placement_constraints = {request->placement_constraints.items,
                                  request->placement_constraints.count},
        .placement_strategy = {request->placement_strategy.items,
                               request->placement_strategy.count},
        .group = request->group,
        .overrides = request->overrides,
        .platform_version = request->platform_version,
        .has_enable_execute_command = request->has_enable_execute_command,
        .enable_execute_command = request->enable_execute_command,
        .has_max_hosts = true,
        .max_hosts = HOSTS,
    };
}

void rehearse(struct sim *sim, const struct core_input *input, const struct core_caller *caller,
              const struct api_operation *operation, const void *request,
              struct rehearsed *out_rehearsed)
{
    if (operation != &ecs_operations[ECS_OP_RUN_TASK]) {
        return;
    }
    struct core *core = sim->server.core;
    const struct berth_explain_placement_request asked = question(request);
    struct core_call call = {.arena = &out_rehearsed->arena};
    uint64_t version = core_version(core);
    size_t pending = core_pending_bytes(core);
    int rc = core_request(core, input, caller, &berth_operations[BERTH_OP_EXPLAIN_PLACEMENT], &call,
                          &asked, &out_rehearsed->told);
    out_rehearsed->answered = rc == 0;
    if (core_version(core) != version || core_pending_bytes(core) != pending) {
        world_fail(&sim->world, "ExplainPlacement changed something");
    }
}

static void compare_failures(struct sim *sim, const struct berth_explain_placement_response *told,
                             const struct ecs_failure_list *failures)
{
    for (size_t i = 0; i < failures->count; i++) {
        const struct ecs_failure *failure = &failures->items[i];
        size_t place = 0;
        while (place < told->hosts.count &&
               !text_equal(told->hosts.items[place].container_instance_arn, failure->arn)) {
            place++;
        }
        if (place == told->hosts.count || told->hosts.items[place].fits ||
            !text_equal(told->hosts.items[place].reasons.items[0].reason, failure->reason)) {
            struct text first = place == told->hosts.count ? TEXT("nothing")
                                : told->hosts.items[place].fits
                                    ? TEXT("that it fits")
                                    : told->hosts.items[place].reasons.items[0].detail;
            world_fail(&sim->world, "RunTask fails with %.*s at %.*s, and was told before: %.*s",
                       TEXT_FMT(failure->reason), TEXT_FMT(failure->arn), TEXT_FMT(first));
        }
    }
}

void rehearse_compare(struct sim *sim, const struct rehearsed *rehearsed,
                      const struct applied *applied)
{
    const struct berth_explain_placement_response *told = &rehearsed->told;
    if (!rehearsed->answered || applied->rc != 0) {
        return;
    }
    const struct ecs_run_task_response *done = applied->response;
    if (done->tasks.count > 0 && core_version(sim->server.core) == sim->server.before_version) {
        return; // the tasks of an earlier request with this token
    }
    if ((size_t)told->placed_count != done->tasks.count) {
        world_fail(&sim->world, "RunTask places %zu tasks, and %d was told before",
                   done->tasks.count, (int)told->placed_count);
        return;
    }
    for (size_t i = 0; i < done->tasks.count; i++) {
        const struct ecs_task *task = &done->tasks.items[i];
        const struct berth_task_place *place = &told->tasks.items[i];
        if (!text_equal(task->container_instance_arn, place->container_instance_arn) ||
            !text_equal(task->availability_zone, place->availability_zone)) {
            world_fail(&sim->world, "task %.*s is not where it was told before",
                       TEXT_FMT(task->task_arn));
        }
    }
    if (told->launch_type != ECS_LAUNCH_TYPE_FARGATE) {
        compare_failures(sim, told, &done->failures);
    }
}
