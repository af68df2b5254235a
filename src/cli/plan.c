#include "cli/plan.h"

#include "api/berth.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"
#include "shape/json.h"

#include <stdio.h>

/*
 * Exit status of `berth plan`: 0 all is well, 1 a task would find no place, 2 it could not be found
 * out.
 */

#define HOSTS_SHOWN 20
#define RESOURCES "RESOURCE:"

// ---- where tasks would go -----------------------------------------------------------------

// The scheduler places as it places tasks of the service now: in its network, with its strategies.
static void fill_of_service(const struct ecs_service *service, struct arena *arena,
                            struct berth_explain_placement_request *request)
{
    request->capacity_provider_strategy.items = service->capacity_provider_strategy.items;
    request->capacity_provider_strategy.count = service->capacity_provider_strategy.count;
    if (service->capacity_provider_strategy.count == 0) {
        request->launch_type = service->launch_type;
    }
    request->network_configuration = service->network_configuration;
    request->placement_constraints.items = service->placement_constraints.items;
    request->placement_constraints.count = service->placement_constraints.count;
    request->placement_strategy.items = service->placement_strategy.items;
    request->placement_strategy.count = service->placement_strategy.count;
    request->platform_version = service->platform_version;
    request->has_enable_execute_command = service->has_enable_execute_command;
    request->enable_execute_command = service->enable_execute_command;
    request->group = arena_format(arena, "service:%.*s", TEXT_FMT(service->service_name));
}

// The same of a service that `berth deploy --create` would make.
static int fill_of_new(struct cli_context *context, const struct change_options *options,
                       const struct change *change, struct berth_explain_placement_request *request,
                       struct err *err)
{
    bool given = change->after != NULL;
    request->launch_type = change_launch_type(given ? &change->after->requires_compatibilities
                                                    : &change->registers->requires_compatibilities);
    request->group = arena_format(&context->arena, "service:%.*s", TEXT_FMT(options->service));
    enum ecs_network_mode mode =
        given ? change->after->network_mode : change->registers->network_mode;
    return mode == ECS_NETWORK_MODE_AWSVPC
               ? change_default_network(context, &request->network_configuration, err)
               : 0;
}

static int ask_places(struct cli_context *context, const struct change_options *options,
                      const struct change *change, int32_t count,
                      struct berth_explain_placement_response *out, struct err *err)
{
    struct berth_explain_placement_request request = {
        .cluster = options->cluster,
        .has_count = true,
        .count = MIN(MAX(count, 1), 1000),
        .has_max_hosts = !options->json,
        .max_hosts = HOSTS_SHOWN,
        .definition = change->registers,
    };
    if (change->registers == NULL) {
        request.task_definition = change->after->task_definition_arn;
    }
    int rc = 0;
    if (change->service == NULL) {
        rc = fill_of_new(context, options, change, &request, err);
    } else {
        fill_of_service(change->service, &context->arena, &request);
    }
    return rc != 0 ? rc
                   : cli_call(context, &berth_operations[BERTH_OP_EXPLAIN_PLACEMENT], &request, out,
                              err);
}

// Whether some host would take the task if others gave it room.
static bool may_fit(const struct berth_explain_placement_response *placement)
{
    if (placement->placed_count == placement->asked_count) {
        return true;
    }
    for (size_t i = 0; i < placement->hosts.count; i++) {
        const struct berth_placement_host *host = &placement->hosts.items[i];
        bool may = true;
        for (size_t j = 0; j < host->reasons.count; j++) {
            const struct berth_placement_reason *reason = &host->reasons.items[j];
            may = may && text_starts(reason->reason, TEXT(RESOURCES)) &&
                  (!reason->has_total || reason->asked <= reason->total);
        }
        if (may) {
            return true;
        }
    }
    return false;
}

// ---- the plan -----------------------------------------------------------------------------

static int work_out(struct cli_context *context, const struct change_options *options,
                    const struct change *change, struct report_plan *out, struct err *err)
{
    const struct ecs_service *service = change->service;
    struct arena *arena = &context->arena;
    int32_t desired = options->has_count ? options->count
                      : service != NULL  ? service->desired_count
                                         : 1;
    bool same = service != NULL && change->after != NULL &&
                text_equal(change->after->task_definition_arn, service->task_definition);
    bool deploys = !same || options->force;
    struct plan_order order = plan_order(service, desired, deploys, arena);
    // The definition that would be registered is known from the answer, so one is always asked.
    struct berth_explain_placement_response *placement =
        ARENA_NEW(arena, struct berth_explain_placement_response);
    int rc = ask_places(context, options, change, order.starts, placement, err);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_task_definition *after =
        change->after != NULL ? change->after : placement->task_definition;
    // Told by what changes, where values of environments are masked.
    placement->task_definition = NULL;
    bool asked = order.starts > 0 || order.blocked;
    *out = (struct report_plan){
        .service_arn = service == NULL ? (struct text){0} : service->service_arn,
        .task_definition_arn = after->task_definition_arn,
        .has_registers = true,
        .registers = change->registers != NULL,
        .definition_changes = plan_definition_changes(change->before, after, arena),
        .service_changes =
            plan_service_changes(service, after->task_definition_arn, desired, arena),
        .has_deploys = true,
        .deploys = deploys,
        .has_desired_count = true,
        .desired_count = desired,
        .has_minimum_healthy_tasks = true,
        .minimum_healthy_tasks = order.lower,
        .has_maximum_tasks = true,
        .maximum_tasks = order.upper,
        .has_starts_at_first = true,
        .starts_at_first = order.starts,
        .has_stops = true,
        .stops = order.stops,
        .order = order.text,
        .placement = asked ? placement : NULL,
        .has_placement_is_of_now = order.blocked,
        .placement_is_of_now = order.blocked,
        .has_fine = true,
        .fine = !asked || (order.blocked ? may_fit(placement)
                                         : placement->placed_count == placement->asked_count),
    };
    return 0;
}

static void print_json(const struct report_plan *plan)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&report_plan_shape, plan, &json);
    printf("%.*s\n", (int)json.size, json.data);
}

int cli_plan(int argc, char **argv)
{
    struct change_options options;
    if (change_read(argc, argv, "plan", &options) != 0) {
        return CLI_USAGE;
    }
    const struct diagnose_style style = {.data_dir = options.data_dir, .now_ms = clock_wall_ms()};
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    struct change change = {0};
    struct report_plan plan = {0};
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = change_work_out(&context, &options, &change, &err);
    }
    if (rc == 0) {
        rc = work_out(&context, &options, &change, &plan, &err);
    }
    if (rc != 0) {
        cli_fail(&err);
        return CLI_OTHER;
    }
    if (options.json) {
        print_json(&plan);
    } else {
        plan_print(&style, &options, &change, &plan);
    }
    return plan.fine ? 0 : CLI_FAILED;
}
