#include "base/log.h"
#include "base/text.h"
#include "client/client.h"
#include "server/server_internal.h"
#include "shape/json.h"

#define CALL_MS (15 * 60 * 1000) // ECS: of one call
#define CALLS_MAX 1000           // more at a time are dropped: the engine asks again

/*
 * Lifecycle hooks that are endpoints. The engine asks again while it has no answer, so a call that
 * is dropped or cut off is made good, and one that is under way already is not made twice.
 */

struct hook_under_way {
    struct server *server;
    struct hook_under_way *next;
    int64_t rollout;
    struct text hook_id; // in the texts
    struct arena texts;
};

static void forget(struct hook_under_way *call)
{
    struct server *server = call->server;
    struct hook_under_way **at = &server->hooks;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    server->hook_count--;
    arena_deinit(&call->texts);
    alloc_free(call);
}

static void tell(struct hook_under_way *call, const struct hook_report_hook_request *request)
{
    struct server *server = call->server;
    const struct core_caller caller = {.account = TEXT("000000000000"),
                                       .region = text_of(server->options.region),
                                       .arn = TEXT("berth")};
    struct core_call core_call = {.arena = &call->texts};
    struct hook_empty response = {0};
    int rc = host_request(server->options.host, &caller, &hook_operations[HOOK_OP_REPORT_HOOK],
                          &core_call, request, &response);
    if (rc != 0) {
        LOG(WARN, "the engine did not take a lifecycle hook's answer and will ask again",
            LOG_TXT("hook", call->hook_id), LOG_STR("reason", err_name(rc)));
    }
}

static void on_answer(void *context, const struct client_result *result)
{
    struct hook_under_way *call = context;
    struct hook_report_hook_request request = {
        .has_rollout = true, .rollout = call->rollout, .hook_id = call->hook_id};
    struct hook_answer answer = {0};
    struct shape_error problem = {{0}, {0}};
    if (result->rc != 0) {
        request.failure = result->message;
    } else if (json_decode(&hook_answer_shape, result->body, &call->texts, &answer, &problem) !=
               0) {
        request.failure = arena_format(&call->texts, "its answer cannot be read: %s %s",
                                       problem.path, problem.text);
    } else {
        request.answer = &answer;
    }
    tell(call, &request);
    forget(call);
}

void server_hook(struct server *server, const struct hook_call *message)
{
    for (const struct hook_under_way *call = server->hooks; call != NULL; call = call->next) {
        if (text_equal(call->hook_id, message->hook_id)) {
            return;
        }
    }
    if (server->stopping || server->hook_count == CALLS_MAX) {
        return;
    }
    if (server->hook_client == NULL) {
        const struct client_options options = {.loop = server->options.loop};
        struct err err = {0};
        int rc = client_new(&options, &server->hook_client, &err);
        ASSERT(rc == 0); // there is nothing in the options that it could refuse
    }
    struct hook_under_way *call = ALLOC(struct hook_under_way);
    call->server = server;
    call->rollout = message->rollout;
    call->hook_id = arena_text(&call->texts, message->hook_id);
    call->next = server->hooks;
    server->hooks = call;
    server->hook_count++;
    client_post(server->hook_client, message->url, message->payload, CALL_MS, on_answer, call);
}

void server_hooks_stop(struct server *server)
{
    client_free(server->hook_client);
    server->hook_client = NULL;
    while (server->hooks != NULL) {
        forget(server->hooks);
    }
}
