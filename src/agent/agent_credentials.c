#include "agent/agent_endpoint.h"

#include "base/log.h"
#include "base/text.h"

/*
 * Credentials of tasks' roles: what the server sent last, in memory only. An agent that was started
 * again has none until its session is open, when the server sends all of them.
 */

/** What the server sent for a task. */
struct task_credentials {
    struct arena arena;
    struct session_role_credentials keys;
};

static void credentials_free(struct task_credentials *credentials)
{
    if (credentials != NULL) {
        arena_deinit(&credentials->arena);
        alloc_free(credentials);
    }
}

static void acknowledge(struct agent *agent, const struct session_iam_role_credentials_message *in)
{
    const struct session_iam_role_credentials_ack_request ack = {
        .message_id = in->message_id,
        .credentials_id = in->role_credentials->credentials_id,
        .expiration = in->role_credentials->expiration,
    };
    agent_frame_send_session(agent, "IAMRoleCredentialsAckRequest",
                             &session_iam_role_credentials_ack_request_shape, &ack);
}

void agent_credentials_take(struct agent *agent,
                            const struct session_iam_role_credentials_message *in)
{
    struct text task_id = agent_task_id(in->task_arn);
    struct agent_task_view view;
    if (in->role_credentials == NULL || !text_is(in->role_type, "TaskApplication")) {
        return; // what a node itself does needs no role here
    }
    // Of a task that is not known nothing is kept: the server sends its credentials with it again.
    if (task_id.data == NULL || !agent_logic_task(agent->logic, task_id, &view)) {
        return;
    }
    const struct session_role_credentials *keys = in->role_credentials;
    struct task_credentials *credentials = ALLOC(struct task_credentials);
    struct arena *arena = &credentials->arena;
    credentials->keys = (struct session_role_credentials){
        .credentials_id = arena_text(arena, keys->credentials_id),
        .role_arn = arena_text(arena, keys->role_arn),
        .access_key_id = arena_text(arena, keys->access_key_id),
        .secret_access_key = arena_text(arena, keys->secret_access_key),
        .session_token = arena_text(arena, keys->session_token),
        .expiration = arena_text(arena, keys->expiration),
    };
    credentials_free(map_put(&agent->credentials, task_id, credentials));
    acknowledge(agent, in);
}

const struct session_role_credentials *agent_credentials_of(const struct agent *agent,
                                                            struct text task_id)
{
    const struct task_credentials *credentials = map_get(&agent->credentials, task_id);
    return credentials == NULL ? NULL : &credentials->keys;
}

void agent_credentials_forget(struct agent *agent, struct text task_id)
{
    credentials_free(map_remove(&agent->credentials, task_id));
}

void agent_credentials_deinit(struct agent *agent)
{
    size_t cursor = 0;
    struct task_credentials *credentials = NULL;
    while ((credentials = map_next(&agent->credentials, &cursor, NULL)) != NULL) {
        credentials_free(credentials);
    }
    map_deinit(&agent->credentials);
}

// ---- the endpoint -----------------------------------------------------------------------------

static void refuse(struct endpoint_call *call, const struct route *route, int status,
                   const char *code, const char *text)
{
    const struct endpoint_credentials_error error = {
        .code = text_of(code),
        .message = arena_format(&call->arena, "CredentialsV%dRequest: %s", route->version, text),
        .has_http_error_code = true,
        .http_error_code = status,
    };
    agent_endpoint_answer(call, status, &endpoint_credentials_error_shape, &error);
}

void agent_credentials_serve(struct agent *agent, struct endpoint_call *call,
                             const struct route *route)
{
    struct text task_id = agent_endpoint_task(call);
    struct agent_task_view view;
    char known[ENDPOINT_ID_CHARS];
    agent_credentials_id(agent, task_id, known);
    bool has_role = agent_logic_task(agent->logic, task_id, &view) &&
                    !text_empty(view.spec->definition->task_role_arn);
    if (text_empty(route->id)) {
        refuse(call, route, 400, "NoIdInRequest", "No Credential ID in the request");
        return;
    }
    if (!has_role || !text_is(route->id, known)) {
        refuse(call, route, 400, "InvalidIdInRequest", "Credentials not found");
        return;
    }
    const struct session_role_credentials *keys = agent_credentials_of(agent, task_id);
    if (keys == NULL) {
        refuse(call, route, 503, "CredentialsUninitialized", "Credentials uninitialized for ID");
        return;
    }
    const struct endpoint_credentials found = {
        .role_arn = keys->role_arn,
        .access_key_id = keys->access_key_id,
        .secret_access_key = keys->secret_access_key,
        .token = keys->session_token,
        .expiration = keys->expiration,
    };
    agent_endpoint_answer(call, 200, &endpoint_credentials_shape, &found);
}
