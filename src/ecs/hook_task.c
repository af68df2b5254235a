#include "ecs/stage.h"
#include "ecs/task_run.h"

/*
 * A lifecycle hook that is a task definition: one task of it runs in the service's cluster and
 * network, and its first essential container's exit code is the answer. What a Lambda function
 * would be told is in an environment variable of each container.
 */

#define PAYLOAD_VARIABLE "ECS_LIFECYCLE_HOOK"
#define PLACE_AGAIN_MS 5000

// ---- what to run ----------------------------------------------------------------------------

static void fill_request(const struct service_record_revision *revision, struct text definition,
                         bool awsvpc, struct ecs_run_task_request *out_request)
{
    *out_request = (struct ecs_run_task_request){
        .task_definition = definition,
        .launch_type = revision->launch_type,
        .platform_version = revision->platform_version,
        // A definition of another network mode takes none.
        .network_configuration = awsvpc ? revision->network_configuration : NULL,
    };
    out_request->capacity_provider_strategy.items = revision->capacity_provider_strategy.items;
    out_request->capacity_provider_strategy.count = revision->capacity_provider_strategy.count;
}

static void add_payload(struct core_call *call, const struct ecs_task_definition *definition,
                        struct text payload, struct ecs_run_task_request *request)
{
    size_t count = definition->container_definitions.count;
    struct ecs_task_override *override = ARENA_NEW(call->arena, struct ecs_task_override);
    override->container_overrides.items =
        arena_array(call->arena, count, sizeof(*override->container_overrides.items));
    override->container_overrides.count = count;
    struct ecs_key_value_pair *variable = ARENA_NEW(call->arena, struct ecs_key_value_pair);
    *variable = (struct ecs_key_value_pair){.name = TEXT(PAYLOAD_VARIABLE), .value = payload};
    for (size_t i = 0; i < count; i++) {
        struct ecs_container_override *one = &override->container_overrides.items[i];
        *one = (struct ecs_container_override){.name =
                                                   definition->container_definitions.items[i].name};
        one->environment.items = variable;
        one->environment.count = 1;
    }
    request->overrides = override;
}

int hook_task_check(struct core_call *call, const struct service_ask *ask, struct text definition)
{
    int64_t key = 0;
    int rc = ecs_definition_resolve(call, definition, ECS_DEFINITION_RUN, &key);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_task_definition *record = task_definition(call->core, key);
    struct ecs_run_task_request request;
    fill_request(&ask->revision, definition, record->network_mode == ECS_NETWORK_MODE_AWSVPC,
                 &request);
    struct task_run run = {
        .request = &request,
        .cluster = ask->service.cluster,
        .cluster_record = core_get(call->core, &ecs_cluster_kind, ask->service.cluster),
        .definition_key = key,
        .count = 1,
    };
    return task_run_read(call, &run);
}

// ---- running it -----------------------------------------------------------------------------

// The definition of an ARN that was checked when the service was given it. A manager has no caller,
// whose realm the ARN would be looked for in: it is the cluster's.
static int64_t find_definition(const struct core_call *call, int64_t cluster, struct text reference)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
    struct ecs_arn arn;
    if (!ecs_arn_parse(reference, &arn)) {
        return 0;
    }
    struct text revision = arn.path;
    struct text family = text_cut(&revision, ':');
    int64_t number = 0;
    int64_t key = 0;
    if (revision.data == NULL) {
        return ecs_definition_latest(call->core, record->realm, family);
    }
    if (text_to_i64(revision, &number) == 0) {
        key = ecs_definition_lookup(call->core,
                                    ecs_family_lookup(call->core, record->realm, family), number);
    }
    bool active = key != 0 && text_is(ecs_definition_record(call->core, key)->status, "ACTIVE");
    return active ? key : 0;
}

static bool fail(struct core_call *call, struct service_record_hook *hook, const char *reason)
{
    hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED,
             arena_format(call->arena, "%s", reason));
    return true;
}

static bool start(struct core_call *call, struct service_survey *survey,
                  const struct stage_view *view, struct service_record_hook *hook)
{
    const struct ecs_deployment_lifecycle_hook *asked = hook_configuration(view->record, hook);
    int64_t cluster = survey->record->cluster;
    int64_t key = find_definition(call, cluster, asked->hook_target_arn);
    if (key == 0) {
        return fail(call, hook, "Its task definition is gone or INACTIVE.");
    }
    const struct ecs_task_definition *definition = task_definition(call->core, key);
    const struct service_record_revision *revision =
        core_get(call->core, &service_revision_kind, view->record->target);
    struct ecs_run_task_request request;
    fill_request(revision, asked->hook_target_arn,
                 definition->network_mode == ECS_NETWORK_MODE_AWSVPC, &request);
    request.started_by = hook->id;
    add_payload(call, definition, hook_payload_json(call, view->key, hook), &request);
    struct task_run run = {
        .request = &request,
        .cluster = cluster,
        .cluster_record = core_get(call->core, &ecs_cluster_kind, cluster),
        .definition_key = key,
        .count = 1,
    };
    if (task_run_read(call, &run) != 0) {
        fail(call, hook, call->fault_text);
        call->fault = NULL;
        call->fault_text[0] = '\0';
        return true;
    }
    task_run_group(call, &run);
    struct task_spots spots = {0};
    int64_t task = 0;
    struct ecs_task shown;
    if (task_run_place(call, &run, &spots, &task, &shown) == 0) {
        service_tell_once(call, survey->entry,
                          "was unable to place the task of lifecycle hook %.*s. It is tried again.",
                          TEXT_FMT(hook->id));
        service_due(survey, call->now_ms + PLACE_AGAIN_MS);
        return false;
    }
    task_run_send(call, &task, 1);
    hook->has_task = true;
    hook->task = task;
    return true;
}

// ---- how it ended ---------------------------------------------------------------------------

static bool end(struct core_call *call, struct service_record_hook *hook,
                const struct task_record_task *task)
{
    const struct ecs_task_definition *definition = task_definition(call->core, task->definition);
    struct text reason = task->extra == NULL ? (struct text){0} : task->extra->stopped_reason;
    for (size_t i = 0; i < task->containers.count; i++) {
        if (!definition->container_definitions.items[i].essential) {
            continue;
        }
        const struct task_record_container *container = &task->containers.items[i];
        struct text name = definition->container_definitions.items[i].name;
        if (container->has_exit_code && container->exit_code == 0) {
            hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_SUCCEEDED, (struct text){0});
            return true;
        }
        if (container->has_exit_code) {
            struct text why =
                arena_format(call->arena, "task %.*s: container %.*s exited with %d.",
                             TEXT_FMT(task->task_id), TEXT_FMT(name), (int)container->exit_code);
            hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED, why);
            return true;
        }
        break;
    }
    hook_end(hook, ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_FAILED,
             arena_format(call->arena, "task %.*s: %.*s", TEXT_FMT(task->task_id),
                          TEXT_FMT(text_empty(reason) ? TEXT("it did not run") : reason)));
    return true;
}

bool hook_task_step(struct core_call *call, struct service_survey *survey,
                    const struct stage_view *view, struct service_record_hook *hook)
{
    if (hook->task == 0) {
        return start(call, survey, view, hook);
    }
    const struct task_record_task *task = core_get(call->core, &task_kind, hook->task);
    if (task == NULL) {
        return fail(call, hook, "Its task is gone.");
    }
    return task->last_status == TASK_RECORD_TASK_STATUS_STOPPED && end(call, hook, task);
}

void hook_task_stop(struct core_call *call, const struct service_record_hook *hook)
{
    const struct task_record_task *task =
        hook->task == 0 ? NULL : core_get(call->core, &task_kind, hook->task);
    if (task == NULL || task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        return;
    }
    struct task_record_task *record = task_edit(call, hook->task);
    task_want_stopped(call, record, ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED,
                      TEXT("The lifecycle hook is no longer awaited."));
    task_put(call, hook->task, record);
    struct task_entry *entry = task_entry(task_state(call->core), hook->task);
    task_send(call, entry->node, &entry, 1);
}

void service_hook_task_ended(struct core_call *call, int64_t task)
{
    const struct service_state *state = service_state(call->core);
    uintptr_t service =
        state == NULL ? 0 : (uintptr_t)map_get_u64(&state->hook_tasks, (uint64_t)task);
    if (service != 0) {
        service_queue(call, (int64_t)service);
    }
}
