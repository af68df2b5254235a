#include "ecs/diagnose.h"

#include "vpc/vpc.h"

/*
 * ExplainPlacement: a rehearsal of RunTask. Placement runs as it always does and makes the tasks;
 * then they are taken back.
 */

#define HOSTS_DEFAULT 100

// Where each task would go, while it is there.
struct places {
    struct berth_task_place *items;
    const struct task_node **nodes;
    size_t count;
};

static void note_places(struct core_call *call, const int64_t *keys, size_t count,
                        struct places *out_places)
{
    struct places places = {
        .items = arena_array(call->arena, count, sizeof(*places.items)),
        .nodes = arena_array(call->arena, count, sizeof(*places.nodes)),
        .count = count,
    };
    for (size_t i = 0; i < count; i++) {
        const struct task_record_task *task = core_get(call->core, &task_kind, keys[i]);
        const struct task_record_node *node = core_get(call->core, &task_node_kind, task->node);
        const struct task_record_membership *membership = task_membership(node, task);
        struct berth_task_place *place = &places.items[i];
        places.nodes[i] = task_node(task_state(call->core), task->node);
        place->node_id = node->node_id;
        place->name = node->name;
        if (task->launch_type != ECS_LAUNCH_TYPE_FARGATE && membership != NULL) {
            place->container_instance_arn = task_instance_arn(call, node, membership);
            place->availability_zone = membership->zones.items[0];
        }
        if (task->has_subnet) {
            const struct vpc_record_subnet *subnet =
                core_get(call->core, &vpc_subnet_kind, task->subnet);
            place->availability_zone = subnet->availability_zone;
            place->subnet_id = subnet->subnet_id;
        }
    }
    *out_places = places;
}

static void survey_now(struct core_call *call, const struct task_run *run, int64_t rehearsed,
                       int64_t after, size_t max, struct diagnose_survey *out_survey)
{
    const struct diagnose_view view = {.run = run, .placed = true, .rehearsed = rehearsed};
    struct task_spots spots = {0};
    if (diagnose_has_hosts(run)) {
        task_spots_find(call, run, true, &spots);
    }
    diagnose_survey(call, &view, &spots, spots.count, after, max, out_survey);
}

static void count_tasks(const struct task_state *state, const struct places *places,
                        const struct diagnose_survey *survey)
{
    for (size_t i = 0; i < survey->shown_count; i++) {
        const struct task_node *node = task_node_of(state, survey->hosts[i].node_id);
        survey->hosts[i].has_task_count = true;
        for (size_t j = 0; j < places->count; j++) {
            survey->hosts[i].task_count += places->nodes[j] == node;
        }
    }
}

// The survey is of what else there is room for when some find no place, and of things as they are
// when all do.
static void place_all(struct core_call *call, const struct task_run *run, int64_t after, size_t max,
                      struct places *out_places, struct diagnose_survey *out_survey)
{
    // First, while there is nothing of them yet; what stands in their way when some find no place
    // is looked at beside those that do.
    survey_now(call, run, INT64_MAX, after, max, out_survey);
    int64_t *keys = arena_array(call->arena, run->count, sizeof(*keys));
    struct ecs_task *tasks = arena_array(call->arena, run->count, sizeof(*tasks));
    struct task_spots spots;
    size_t placed = task_run_place(call, run, &spots, keys, tasks);
    note_places(call, keys, placed, out_places);
    if (placed < run->count) {
        survey_now(call, run, placed > 0 ? keys[0] : INT64_MAX, after, max, out_survey);
    }
}

static struct ecs_run_task_request as_run_task(const struct berth_explain_placement_request *asked)
{
    return (struct ecs_run_task_request){
        .capacity_provider_strategy = {asked->capacity_provider_strategy.items,
                                       asked->capacity_provider_strategy.count},
        .cluster = asked->cluster,
        .has_count = asked->has_count,
        .count = asked->count,
        .has_enable_execute_command = asked->has_enable_execute_command,
        .enable_execute_command = asked->enable_execute_command,
        .group = asked->group,
        .launch_type = asked->launch_type,
        .network_configuration = asked->network_configuration,
        .overrides = asked->overrides,
        .placement_constraints = {asked->placement_constraints.items,
                                  asked->placement_constraints.count},
        .placement_strategy = {asked->placement_strategy.items, asked->placement_strategy.count},
        .platform_version = asked->platform_version,
        .task_definition = asked->task_definition,
    };
}

static void respond(struct core_call *call, const struct task_run *run, const struct places *places,
                    const struct diagnose_survey *survey,
                    struct berth_explain_placement_response *response)
{
    const struct diagnose_attempt attempt = {TEXT("ExplainPlacement"), run->count, places->count};
    *response = (struct berth_explain_placement_response){
        .cluster_arn = ecs_cluster_arn(call, run->cluster),
        .task_definition_arn = ecs_definition_arn(call, run->definition_key),
        .launch_type = run->launch_type,
        .has_cpu_units = true,
        .cpu_units = run->sizes.cpu_units,
        .has_memory_mib = true,
        .memory_mib = run->sizes.memory_mib,
        .has_asked_count = true,
        .asked_count = (int32_t)run->count,
        .has_placed_count = true,
        .placed_count = (int32_t)places->count,
        .tasks = {places->count > 0 ? places->items : SHAPE_EMPTY, places->count},
        .summary = diagnose_summary(call, run, &attempt, survey),
        .has_host_count = true,
        .host_count = (int32_t)survey->host_count,
        .has_fit_count = true,
        .fit_count = (int32_t)survey->fit_count,
        .reason_counts = {survey->count_count > 0 ? survey->counts : SHAPE_EMPTY,
                          survey->count_count},
        .hosts = {survey->shown_count > 0 ? survey->hosts : SHAPE_EMPTY, survey->shown_count},
    };
    if (survey->next_after != 0) {
        response->next_token = arena_format(call->arena, "%lld", (long long)survey->next_after);
    }
}

// The part of it that is taken back.
static int rehearse(struct core_call *call, const struct berth_explain_placement_request *request,
                    struct task_run *run, int64_t after,
                    struct berth_explain_placement_response *response)
{
    const struct task_state *state = task_state(call->core);
    int rc = task_run_read(call, run);
    if (rc != 0) {
        return rc;
    }
    size_t max = request->has_max_hosts ? (size_t)request->max_hosts : HOSTS_DEFAULT;
    task_run_group(call, run);
    struct places places = {0};
    struct diagnose_survey survey = {0};
    if (diagnose_has_hosts(run)) {
        place_all(call, run, after, max, &places, &survey);
        count_tasks(state, &places, &survey);
    }
    respond(call, run, &places, &survey, response);
    if (request->definition != NULL) {
        response->task_definition = ecs_definition_show(call, run->definition_key);
    }
    return 0;
}

// A definition that is not registered is checked as if it were to be.
static int read_inline(struct core_call *call,
                       const struct berth_explain_placement_request *request,
                       struct ecs_task_definition **out_definition)
{
    if (request->definition == NULL) {
        return 0;
    }
    if (request->task_definition.data != NULL) {
        return core_fault(call, &berth_error_invalid_parameter_exception,
                          "Specify either taskDefinition or definition, but not both.");
    }
    return definition_accept(call, request->definition, out_definition);
}

int task_explain_placement(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)pointer;
    const struct berth_explain_placement_request *request = input;
    int64_t after = 0;
    if (!text_empty(request->next_token) &&
        (text_to_i64(request->next_token, &after) != 0 || after < 0)) {
        return core_fault(call, &berth_error_invalid_parameter_exception, "Invalid token");
    }
    const struct ecs_run_task_request common = as_run_task(request);
    struct task_run run = {.request = &common,
                           .count = common.has_count ? (size_t)common.count : 1};
    int rc = ecs_cluster_resolve(call, common.cluster, &run.cluster);
    if (rc != 0) {
        return rc;
    }
    run.cluster_record = core_get(call->core, &ecs_cluster_kind, run.cluster);
    struct ecs_task_definition *definition = NULL;
    rc = read_inline(call, request, &definition);
    if (rc != 0) {
        return rc;
    }
    core_rehearse_begin(call);
    if (definition != NULL) {
        run.definition_key =
            definition_rehearse(call, run.cluster_record->realm, request->definition, definition);
    }
    rc = rehearse(call, request, &run, after, output);
    core_rehearse_end(call);
    return rc;
}
