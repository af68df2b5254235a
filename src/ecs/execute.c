#include "ecs/cluster_internal.h"
#include "ecs/task_internal.h"

#include <string.h>

/*
 * ExecuteCommand: who may run a command where. A session is no record: the server that was asked
 * makes it and keeps it in memory, so that nothing is written here, and a server that starts again
 * has none. Rules and words as in reference/ecs-tasks.md 4.4; the rest is in docs/exec-clients.md.
 */

// The apostrophe is U+2019, as ECS writes it.
#define NOT_ENABLED                                                                                \
    "The execute command failed because execute command was not enabled when the task was run or " \
    "the execute command agent isn\u2019t running. Wait and try again or run a new task with "     \
    "execute command enabled and try again."
#define NOT_CONNECTED "The execute command failed due to an internal error. Try again later."

static int refuse(struct core_call *call, struct text message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%.*s", TEXT_FMT(message));
}

static int check_request(struct core_call *call, const struct ecs_execute_command_request *request)
{
    if (text_empty(request->task)) {
        return refuse(call, TEXT("Task cannot be empty."));
    }
    if (text_empty(text_trim(request->command))) {
        return refuse(call, TEXT("Command cannot be empty."));
    }
    if (!request->interactive) {
        return refuse(call, TEXT("Interactive is the only mode supported currently."));
    }
    return 0;
}

// @return the place of the container that is meant, or SIZE_MAX with the fault
static size_t find_container(struct core_call *call, const struct ecs_task_definition *definition,
                             struct text name)
{
    size_t count = definition->container_definitions.count;
    if (text_empty(name)) {
        if (count > 1) {
            IGNORE(refuse(call, TEXT("A container name must be specified for a task with multiple "
                                     "containers.")),
                   "the caller refuses");
            return SIZE_MAX;
        }
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (text_equal(definition->container_definitions.items[i].name, name)) {
            return i;
        }
    }
    IGNORE(core_fault(call, &ecs_error_invalid_parameter_exception,
                      "The container %.*s does not exist in the task.", TEXT_FMT(name)),
           "the caller refuses");
    return SIZE_MAX;
}

static bool agent_runs(const struct task_record_container *container)
{
    for (size_t i = 0; i < container->managed_agents.count; i++) {
        const struct ecs_managed_agent *agent = &container->managed_agents.items[i];
        if (agent->name == ECS_MANAGED_AGENT_NAME_EXECUTE_COMMAND_AGENT) {
            return text_is(agent->last_status, "RUNNING");
        }
    }
    return false;
}

static int check_task(struct core_call *call, const struct task_record_task *record,
                      const struct task_record_container *container)
{
    if (record->desired_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        return refuse(call, TEXT("The execute command failed because the task is not running. Run "
                                 "a new task with execute command enabled and try again."));
    }
    bool enabled = record->extra != NULL && record->extra->enable_execute_command;
    if (!enabled || record->last_status != TASK_RECORD_TASK_STATUS_RUNNING ||
        container->status != TASK_RECORD_TASK_STATUS_RUNNING || !agent_runs(container)) {
        return refuse(call, TEXT(NOT_ENABLED));
    }
    return 0;
}

int task_execute_command(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct ecs_execute_command_request *request = input;
    struct ecs_execute_command_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
    if (rc == 0) {
        rc = check_request(call, request);
    }
    if (rc != 0) {
        return rc;
    }
    const struct task_entry *entry = task_find(call->core, cluster, request->task);
    if (entry == NULL) {
        return refuse(call, TEXT("The referenced task was not found."));
    }
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    size_t index = find_container(call, definition, request->container);
    if (index == SIZE_MAX) {
        return ERR_FAULT;
    }
    rc = check_task(call, record, &record->containers.items[index]);
    if (rc != 0) {
        return rc;
    }
    // Sessions of stock agents go by AWS's own servers, wherever the agent's work comes from.
    const struct task_node *node = task_node(state, record->node);
    const struct task_record_node *host = core_get(call->core, &task_node_kind, record->node);
    if (node == NULL || !node->connected || !host->berth_agent) {
        return core_fault(call, &ecs_error_target_not_connected_exception, NOT_CONNECTED);
    }
    *response = (struct ecs_execute_command_response){
        .cluster_arn = task_cluster_arn(call, cluster),
        .container_arn = task_container_arn(call, record, index),
        .container_name = definition->container_definitions.items[index].name,
        .has_interactive = true,
        .interactive = true,
        .task_arn = task_arn(call, record),
    };
    return 0;
}

// ---- the agent in a container -----------------------------------------------------------------

static void set_agent(struct core_call *call, struct task_record_container *container, size_t index,
                      struct text status, struct text reason)
{
    size_t count = container->managed_agents.count;
    struct ecs_managed_agent *agents = arena_array(call->arena, count, sizeof(*agents));
    memcpy(agents, container->managed_agents.items, count * sizeof(*agents));
    agents[index].last_status = text_slice(status, 0, 64);
    agents[index].reason = text_slice(reason, 0, TASK_REASON_MAX);
    if (text_is(status, "RUNNING")) {
        agents[index].last_started_at = call->now_ms;
    }
    container->managed_agents.items = agents;
}

bool task_execute_report(struct core_call *call,
                         const struct ecs_managed_agent_state_change *report,
                         struct task_record_container *container)
{
    for (size_t i = 0; i < container->managed_agents.count; i++) {
        const struct ecs_managed_agent *known = &container->managed_agents.items[i];
        if (known->name == report->managed_agent_name &&
            !text_equal(known->last_status, report->status)) {
            set_agent(call, container, i, report->status, report->reason);
            return true;
        }
    }
    return false;
}

bool task_execute_follow(struct core_call *call, const struct task_record_task *record,
                         struct task_record_container *container)
{
    const struct task_record_node *node = core_get(call->core, &task_node_kind, record->node);
    if (node == NULL || !node->berth_agent ||
        container->status != TASK_RECORD_TASK_STATUS_RUNNING) {
        return false;
    }
    for (size_t i = 0; i < container->managed_agents.count; i++) {
        if (text_is(container->managed_agents.items[i].last_status, "PENDING")) {
            set_agent(call, container, i, TEXT("RUNNING"), (struct text){0});
            return true;
        }
    }
    return false;
}

void task_execute_show(struct core_call *call, const struct task_record_container *container,
                       struct ecs_container *out)
{
    struct task_record_container shown = *container;
    for (size_t i = 0; i < shown.managed_agents.count; i++) {
        // Nothing in a container outlives it.
        if (container->status == TASK_RECORD_TASK_STATUS_STOPPED &&
            !text_is(shown.managed_agents.items[i].last_status, "STOPPED")) {
            set_agent(call, &shown, i, TEXT("STOPPED"), TEXT("Received Container Stopped event"));
        }
    }
    out->managed_agents.items = shown.managed_agents.items;
    out->managed_agents.count = shown.managed_agents.count;
}

// ---- for the server -------------------------------------------------------------------------

// Whether what is said in a session of a cluster's container is to be kept.
static bool logged(const struct ecs_record_cluster *cluster,
                   const struct ecs_container_definition *container)
{
    const struct ecs_execute_command_configuration *configuration =
        cluster->configuration == NULL ? NULL
                                       : cluster->configuration->execute_command_configuration;
    enum ecs_execute_command_logging logging =
        configuration == NULL ? ECS_EXECUTE_COMMAND_LOGGING_ABSENT : configuration->logging;
    switch (logging) {
    case ECS_EXECUTE_COMMAND_LOGGING_NONE:
    case ECS_EXECUTE_COMMAND_LOGGING_UNRECOGNIZED:
        return false;
    case ECS_EXECUTE_COMMAND_LOGGING_OVERRIDE:
        return configuration->log_configuration != NULL &&
               (!text_empty(configuration->log_configuration->cloud_watch_log_group_name) ||
                !text_empty(configuration->log_configuration->s3_bucket_name));
    case ECS_EXECUTE_COMMAND_LOGGING_DEFAULT:
    case ECS_EXECUTE_COMMAND_LOGGING_ABSENT:
        break;
    }
    return container->log_configuration != NULL &&
           container->log_configuration->log_driver == ECS_LOG_DRIVER_AWSLOGS;
}

int task_execute_plan(const struct core *core, struct text task_arn, struct text container,
                      struct text *out_node_id, bool *out_logged)
{
    const struct task_state *state = task_state(core);
    struct text id = text_slice(task_arn, text_find_last(task_arn, '/') + 1, task_arn.size);
    const struct task_entry *entry = task_entry_by_id(state, id);
    if (entry == NULL || entry->node == NULL || entry->node->key == 0) {
        return ERR_NOT_FOUND;
    }
    const struct task_record_task *record = core_get(core, &task_kind, entry->key);
    const struct ecs_task_definition *definition = task_definition(core, record->definition);
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_container_definition *found = &definition->container_definitions.items[i];
        if (text_equal(found->name, container)) {
            *out_node_id = entry->node->node_id;
            *out_logged = logged(core_get(core, &ecs_cluster_kind, record->cluster), found);
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}
