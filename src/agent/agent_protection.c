#include "agent/agent_endpoint.h"

#include "base/text.h"
#include "shape/json.h"

/*
 * Task protection through ECS_AGENT_URI: the task asks its agent, which asks ECS with the
 * credentials of the task's role, as Amazon's agent does.
 */

#define CALL_TIMEOUT_MS 5000 // as long as Amazon's agent waits
#define CALLS_MAX 8          // at once on this node: each has a connection to the server

/** One question to ECS for a task. */
struct protection_call {
    struct protection_call *next;
    struct agent *agent;
    struct client *client;
    struct endpoint_call *asked;
    struct text task_arn; ///< in the arena of what was asked
};

static void refuse(struct endpoint_call *call, int status, const char *code, struct text message,
                   struct text arn)
{
    struct endpoint_protection_error error = {
        .arn = arn, .code = text_of(code), .message = message};
    const struct endpoint_protection_reply reply = {.error = &error};
    agent_endpoint_answer(call, status, &endpoint_protection_reply_shape, &reply);
}

static void free_call(struct protection_call *call)
{
    struct protection_call **at = &call->agent->protection_calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    call->agent->protection_count--;
    client_free(call->client);
    alloc_free(call);
}

void agent_protection_end(struct agent *agent)
{
    while (agent->protection_calls != NULL) {
        free_call(agent->protection_calls);
    }
}

static void answer_failed(struct endpoint_call *asked, const struct client_result *result,
                          struct text task_arn)
{
    if (result->rc == ERR_FAULT) {
        const char *code = arena_text(&asked->arena, result->fault_code).data;
        refuse(asked, result->http_status, code, result->message, task_arn);
        return;
    }
    if (result->rc == ERR_TIMEOUT) {
        refuse(asked, 504, "RequestCanceled", TEXT("Timed out calling ECS Task Protection API"),
               task_arn);
        return;
    }
    refuse(asked, 500, "ServerException", result->message, task_arn);
}

static void on_answer(void *context, const struct client_result *result)
{
    struct protection_call *call = context;
    struct endpoint_call *asked = call->asked;
    struct text task_arn = call->task_arn;
    if (result->rc != 0) {
        answer_failed(asked, result, task_arn);
        free_call(call);
        return;
    }
    // Both operations answer with the same members.
    const struct ecs_get_task_protection_response *response = result->response;
    struct endpoint_protection protection = {0};
    struct endpoint_protection_failure failure = {0};
    struct endpoint_protection_reply reply = {0};
    if (response->failures.count > 0) {
        const struct ecs_failure *first = &response->failures.items[0];
        failure = (struct endpoint_protection_failure){
            .arn = first->arn, .reason = first->reason, .detail = first->detail};
        reply.failure = &failure;
    } else if (response->protected_tasks.count > 0) {
        const struct ecs_protected_task *first = &response->protected_tasks.items[0];
        protection = (struct endpoint_protection){
            .expiration_date = first->expiration_date,
            .has_protection_enabled = true,
            .protection_enabled = first->protection_enabled,
            .task_arn = first->task_arn,
        };
        reply.protection = &protection;
    }
    agent_endpoint_answer(asked, 200, &endpoint_protection_reply_shape, &reply);
    free_call(call);
}

_Static_assert(sizeof(struct ecs_get_task_protection_response) ==
                   sizeof(struct ecs_update_task_protection_response),
               "on_answer reads both");

// Read a body of PUT. @return whether it can be used; else what was asked is answered
static bool read_body(struct endpoint_call *asked, struct endpoint_protection_request *out_request)
{
    struct shape_error why = {0};
    struct endpoint_protection_fields known = {0};
    struct text envelope = arena_format(&asked->arena, "{\"fields\":%.*s}", TEXT_FMT(asked->body));
    bool good = json_decode(&endpoint_protection_fields_shape, envelope, &asked->arena, &known,
                            &why) == 0 &&
                json_decode(&endpoint_protection_request_shape, asked->body, &asked->arena,
                            out_request, &why) == 0;
    for (size_t i = 0; good && i < known.fields.count; i++) {
        struct text name = known.fields.items[i].key;
        good = text_is(name, "ProtectionEnabled") || text_is(name, "ExpiresInMinutes");
    }
    if (!good) {
        refuse(asked, 400, "InvalidParameterException",
               TEXT("UpdateTaskProtection: failed to decode request"), (struct text){0});
        return false;
    }
    if (!out_request->has_protection_enabled) {
        refuse(asked, 400, "InvalidParameterException",
               TEXT("Invalid request: does not contain 'ProtectionEnabled' field"),
               (struct text){0});
        return false;
    }
    return true;
}

static struct client *role_client(struct agent *agent, const struct session_role_credentials *keys,
                                  struct err *err)
{
    const struct client_options options = {
        .loop = agent->options.loop,
        .endpoint = agent->identity.endpoint.data,
        .ca_file = agent->identity.ca_file.data,
        .key_id = keys->access_key_id.data,
        .secret = keys->secret_access_key.data,
        .session_token = keys->session_token.data,
        .region = agent->identity.region.data,
    };
    struct client *client = NULL;
    return client_new(&options, &client, err) == 0 ? client : NULL;
}

static void ask(struct agent *agent, struct endpoint_call *asked,
                const struct session_task_spec *spec,
                const struct endpoint_protection_request *change)
{
    const struct session_role_credentials *keys =
        agent_credentials_of(agent, agent_endpoint_task(asked));
    struct err err = {0};
    if (agent->protection_count >= CALLS_MAX) {
        refuse(asked, 429, "ThrottlingException", TEXT("Rate exceeded"), spec->task_arn);
        return;
    }
    struct client *client = role_client(agent, keys, &err);
    if (client == NULL) {
        refuse(asked, 500, "ServerException", text_of(err.text), spec->task_arn);
        return;
    }
    struct protection_call *call = ALLOC(struct protection_call);
    call->agent = agent;
    call->client = client;
    call->asked = asked;
    call->task_arn = arena_text(&asked->arena, spec->task_arn);
    call->next = agent->protection_calls;
    agent->protection_calls = call;
    agent->protection_count++;
    struct text_list tasks = {.items = &call->task_arn, .count = 1};
    if (change == NULL) {
        const struct ecs_get_task_protection_request request = {.cluster = spec->cluster_arn,
                                                                .tasks = tasks};
        client_call(client, &ecs_operations[ECS_OP_GET_TASK_PROTECTION], &request, CALL_TIMEOUT_MS,
                    on_answer, call);
        return;
    }
    const struct ecs_update_task_protection_request request = {
        .cluster = spec->cluster_arn,
        .tasks = tasks,
        .has_protection_enabled = true,
        .protection_enabled = change->protection_enabled,
        .has_expires_in_minutes = change->has_expires_in_minutes,
        .expires_in_minutes = change->expires_in_minutes,
    };
    client_call(client, &ecs_operations[ECS_OP_UPDATE_TASK_PROTECTION], &request, CALL_TIMEOUT_MS,
                on_answer, call);
}

void agent_protection_serve(struct agent *agent, struct endpoint_call *call,
                            const struct route *route)
{
    struct agent_task_view view;
    size_t index = 0;
    struct endpoint_protection_request change = {0};
    bool known = agent_logic_task(agent->logic, agent_endpoint_task(call), &view) &&
                 agent_endpoint_find(agent, view.spec, route->id, &index);
    bool put = text_is(call->method, "PUT");
    if (!put && !text_is(call->method, "GET")) {
        agent_endpoint_refuse(call, 405, TEXT("task protection answers GET and PUT only"));
        return;
    }
    if (!known) {
        refuse(call, 404, "ResourceNotFoundException",
               TEXT("Failed to find a task for the request"), (struct text){0});
        return;
    }
    if (put && !read_body(call, &change)) {
        return;
    }
    if (agent_credentials_of(agent, agent_endpoint_task(call)) == NULL) {
        refuse(call, 403, "AccessDeniedException",
               TEXT("Invalid Request: no task IAM role credentials available for task"),
               view.spec->task_arn);
        return;
    }
    ask(agent, call, view.spec, put ? &change : NULL);
}
