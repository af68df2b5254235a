#include "agent/agent_endpoint.h"

#include "base/text.h"

/*
 * Metadata with tags: the task's and its container instance's, which the server is asked for each
 * time, as Amazon's agent does. What cannot be had is named in Errors; the rest is told all the
 * same.
 */

#define CALL_TIMEOUT_MS 5000
#define CALLS_MAX 16 // at once on this node

/** One request for metadata with tags. */
struct tags_call {
    struct tags_call *next;
    struct agent *agent;
    struct endpoint_call *asked;
    int version;
    size_t waiting; ///< answers that are still to come
    struct tags_part {
        struct tags_call *call;
        const char *field;
        struct text arn;
        struct text_map tags;
        struct endpoint_metadata_error *error; ///< NULL when there are tags
    } parts[2];
};

enum { PART_TASK, PART_INSTANCE };

static void free_call(struct tags_call *call)
{
    struct tags_call **at = &call->agent->tags_calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    call->agent->tags_count--;
    alloc_free(call);
}

void agent_tags_end(struct agent *agent)
{
    while (agent->tags_calls != NULL) {
        free_call(agent->tags_calls);
    }
}

static void add_errors(struct tags_call *call, struct endpoint_task *task)
{
    struct arena *arena = &call->asked->arena;
    for (size_t i = 0; i < ARRAY_LEN(call->parts); i++) {
        if (call->parts[i].error != NULL) {
            if (task->errors.items == NULL) {
                task->errors.items =
                    arena_array(arena, ARRAY_LEN(call->parts), sizeof(*task->errors.items));
            }
            task->errors.items[task->errors.count++] = *call->parts[i].error;
        }
    }
}

static void answer(struct tags_call *call)
{
    struct endpoint_call *asked = call->asked;
    struct agent *agent = call->agent;
    struct text task_id = agent_endpoint_task(asked);
    int version = call->version;
    struct agent_task_view view;
    struct endpoint_task task;
    if (!agent_logic_task(agent->logic, task_id, &view)) {
        free_call(call);
        agent_endpoint_refuse(asked, 404, TEXT("the task is gone"));
        return;
    }
    agent_endpoint_metadata(agent, task_id, &view, version, &asked->arena, &task);
    task.task_tags = call->parts[PART_TASK].tags;
    task.container_instance_tags = call->parts[PART_INSTANCE].tags;
    add_errors(call, &task);
    free_call(call);
    agent_endpoint_answer(asked, 200, &endpoint_task_shape, &task);
}

static void keep_error(struct tags_part *part, const struct client_result *result)
{
    struct arena *arena = &part->call->asked->arena;
    part->error = ARENA_NEW(arena, struct endpoint_metadata_error);
    *part->error = (struct endpoint_metadata_error){
        .error_field = text_of(part->field),
        .error_code =
            result->rc == ERR_FAULT ? arena_text(arena, result->fault_code) : TEXT("RequestError"),
        .error_message = arena_text(arena, result->message),
        .has_status_code = true,
        .status_code = result->http_status,
        .resource_arn = part->arn,
    };
}

static void on_tags(void *context, const struct client_result *result)
{
    struct tags_part *part = context;
    struct arena *arena = &part->call->asked->arena;
    if (result->rc != 0) {
        keep_error(part, result);
    } else {
        const struct ecs_list_tags_for_resource_response *response = result->response;
        part->tags.items = arena_array(arena, response->tags.count, sizeof(*part->tags.items));
        part->tags.count = response->tags.count;
        for (size_t i = 0; i < response->tags.count; i++) {
            part->tags.items[i].key = arena_text(arena, response->tags.items[i].key);
            part->tags.items[i].value = arena_text(arena, response->tags.items[i].value);
        }
    }
    part->call->waiting--;
    if (part->call->waiting == 0) {
        answer(part->call);
    }
}

void agent_tags_serve(struct agent *agent, struct endpoint_call *asked, const struct route *route)
{
    struct agent_task_view view;
    bool known = agent_logic_task(agent->logic, agent_endpoint_task(asked), &view);
    ASSERT(known); // it was looked up just now
    if (agent->tags_count >= CALLS_MAX) {
        agent_endpoint_refuse(asked, 429, TEXT("You have reached maximum request limit."));
        return;
    }
    struct tags_call *call = ALLOC(struct tags_call);
    call->agent = agent;
    call->asked = asked;
    call->version = route->version;
    call->next = agent->tags_calls;
    agent->tags_calls = call;
    agent->tags_count++;
    call->parts[PART_TASK] = (struct tags_part){
        .call = call,
        .field = "TaskTags",
        .arn = arena_text(&asked->arena, view.spec->task_arn),
    };
    // A host of the pool is nobody's container instance.
    bool instance = !metadata_is_fargate(view.spec) && agent->server.container_instance != NULL;
    call->parts[PART_INSTANCE] = (struct tags_part){
        .call = call,
        .field = "ContainerInstanceTags",
        .arn = arena_text(&asked->arena, text_of(agent->server.container_instance)),
    };
    call->waiting = instance ? 2 : 1;
    for (size_t i = 0; i < (instance ? 2u : 1u); i++) {
        const struct ecs_list_tags_for_resource_request request = {.resource_arn =
                                                                       call->parts[i].arn};
        client_call(agent->server.client, &ecs_operations[ECS_OP_LIST_TAGS_FOR_RESOURCE], &request,
                    CALL_TIMEOUT_MS, on_tags, &call->parts[i]);
    }
}
