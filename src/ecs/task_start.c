#include "ecs/task_run.h"

#include "ecs/diagnose.h"
#include "ecs/page.h"

#define START_STARTED_BY_MAX 36 // ECS

// Where on a named instance a task goes. @return a reason why it goes nowhere, or NULL
static const char *find_named(struct core_call *call, const struct task_run *run,
                              const struct task_spots *spots, const struct task_node *node,
                              struct task_spot **out_spot)
{
    for (size_t i = 0; i < spots->count; i++) {
        if (spots->spots[i].node == node) {
            *out_spot = &spots->spots[i];
            return task_spot_refusal(call->core, run, *out_spot);
        }
    }
    return "INACTIVE";
}

static void start_on(struct core_call *call, const struct task_run *run,
                     const struct task_spots *spots, struct text reference,
                     struct ecs_start_task_response *response, int64_t *keys)
{
    size_t index = 0;
    struct task_node *node = task_instance_find(call->core, run->cluster, reference, &index);
    struct ecs_failure *failure = &response->failures.items[response->failures.count];
    if (node == NULL) {
        *failure = task_instance_missing(call, run->cluster, reference);
        response->failures.count++;
        return;
    }
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    struct task_spot *spot = NULL;
    const char *reason = record->memberships.items[index].deregistered_at != 0
                             ? "INACTIVE"
                             : find_named(call, run, spots, node, &spot);
    if (reason != NULL) {
        *failure =
            spot != NULL
                ? task_spot_failure(call, run, spot, reason)
                : (struct ecs_failure){
                      .arn = task_instance_arn(call, record, &record->memberships.items[index]),
                      .reason = text_of(reason),
                  };
        response->failures.count++;
        return;
    }
    keys[response->tasks.count] =
        task_run_make(call, run, spot, &response->tasks.items[response->tasks.count]);
    response->tasks.count++;
}

int task_start_task(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct ecs_start_task_request *request = input;
    struct ecs_start_task_response *response = output;
    // Instances are named, so nothing of the request is about placement.
    const struct ecs_run_task_request common = {
        .cluster = request->cluster,
        .has_enable_ecs_managed_tags = request->has_enable_ecs_managed_tags,
        .enable_ecs_managed_tags = request->enable_ecs_managed_tags,
        .has_enable_execute_command = request->has_enable_execute_command,
        .enable_execute_command = request->enable_execute_command,
        .group = request->group,
        .launch_type = ECS_LAUNCH_TYPE_EC2,
        .network_configuration = request->network_configuration,
        .overrides = request->overrides,
        .propagate_tags = request->propagate_tags,
        .reference_id = request->reference_id,
        .started_by = request->started_by,
        .tags = request->tags,
        .task_definition = request->task_definition,
        .volume_configurations = request->volume_configurations,
    };
    struct task_run run = {.request = &common};
    size_t count = request->container_instances.count;
    int rc = ecs_batch_open(call, request->cluster, count, &run.cluster);
    if (rc != 0) {
        return rc;
    }
    run.cluster_record = core_get(call->core, &ecs_cluster_kind, run.cluster);
    rc = task_run_check_names(call, &common, START_STARTED_BY_MAX);
    if (rc == 0) {
        rc = task_run_read(call, &run);
    }
    if (rc != 0) {
        return rc;
    }
    run.group = task_group(state, run.cluster);

    // Nothing is refused from here on.
    int64_t keys[TASK_RUN_MAX];
    struct task_spots spots = {0};
    if (run.group != NULL) {
        task_spots_find(call, &run, false, &spots);
    }
    response->tasks.items = arena_array(call->arena, count, sizeof(*response->tasks.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        start_on(call, &run, &spots, request->container_instances.items[i], response, keys);
    }
    task_run_send(call, keys, response->tasks.count);
    if (response->failures.count > 0) {
        diagnose_note_named(call, &run, &spots, response);
    }
    return 0;
}
