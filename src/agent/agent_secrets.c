#include "agent/agent_internal.h"

#include "base/log.h"
#include "base/text.h"
#include "runtime/spec.h"

/*
 * What the secrets of a task's containers hold: asked of the server before the task is prepared.
 *
 * Values are in memory until the task's bundle is written, which lies in a folder of its own for
 * root only and goes with the task; they are in no journal and no other file. A task keeps those it
 * was started with. A server that cannot be reached is asked again, for as long as a server may
 * need to come back.
 */

#define CALL_TIMEOUT_MS 10000
#define RETRY_MS 500
#define PATIENCE_MS (5 * 60 * INT64_C(1000))

/** A task that waits for its secrets. */
struct secrets_call {
    struct secrets_call *next;
    struct agent *agent;
    char task_id[ID_CHARS];
    const struct session_task_spec *spec; ///< the logic's; it stays until PREPARE is answered
    int64_t give_up_ms;
    uint32_t failures;
    bool waiting; ///< to be asked again
};

static void ask(struct secrets_call *call);

static void unlink_call(struct secrets_call *call)
{
    struct secrets_call **at = &call->agent->secrets_calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
}

static void free_call(struct secrets_call *call)
{
    unlink_call(call);
    alloc_free(call);
}

// ---- answers ------------------------------------------------------------------------------

static void give_up(struct secrets_call *call, int code, struct text reason, struct text container)
{
    struct agent *agent = call->agent;
    struct arena arena = {0};
    const struct agent_event event = {
        .kind = AGENT_EVENT_PREPARED,
        .task_id = arena_text(&arena, text_of(call->task_id)),
        .rc = code,
        .reason = arena_text(&arena, reason),
        .failed_container = arena_text(&arena, container),
    };
    LOG(WARN, "a task's secrets cannot be had", LOG_STR("task", call->task_id),
        LOG_TXT("reason", reason));
    free_call(call);
    agent_apply(agent, &event);
    arena_deinit(&arena);
}

// In the words that ECS has for a service that cannot be reached.
static void no_answer(struct secrets_call *call, const struct client_result *result)
{
    AUTO(arena_deinit) struct arena arena = {0};
    give_up(call, result->rc,
            arena_format(&arena,
                         "ResourceInitializationError: unable to pull secrets or registry auth: "
                         "execution resource retrieval failed: service call has been retried %u "
                         "time(s): %.*s%s%.*s",
                         call->failures, TEXT_FMT(result->fault_code),
                         text_empty(result->fault_code) ? "" : ": ", TEXT_FMT(result->message)),
            (struct text){0});
}

static void on_retry(uv_timer_t *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, secrets_retry);
    for (struct secrets_call *call = agent->secrets_calls; call != NULL; call = call->next) {
        if (call->waiting) {
            ask(call);
        }
    }
}

static void on_failed(struct secrets_call *call, const struct client_result *result)
{
    struct agent *agent = call->agent;
    call->failures++;
    if (!agent_server_may_pass(result) || (agent->stopping && agent->stop_tasks) ||
        agent_now().monotonic_ms >= call->give_up_ms) {
        no_answer(call, result);
        return;
    }
    call->waiting = true;
    if (!uv_is_active((uv_handle_t *)&agent->secrets_retry)) {
        uv_timer_start(&agent->secrets_retry, on_retry, RETRY_MS, 0);
    }
}

static void on_answer(void *context, const struct client_result *result)
{
    struct secrets_call *call = context;
    if (result->rc != 0) {
        on_failed(call, result);
        return;
    }
    const struct berth_get_task_secrets_response *response = result->response;
    if (!text_empty(response->reason)) {
        give_up(call, ERR_NOT_FOUND, response->reason, response->container);
        return;
    }
    const struct agent_effect effect = {
        .kind = AGENT_EFFECT_PREPARE, .task_id = text_of(call->task_id), .spec = call->spec};
    agent_job_prepare(call->agent, &effect, response);
    free_call(call);
}

// ---- asking -------------------------------------------------------------------------------

static void ask(struct secrets_call *call)
{
    call->waiting = false;
    const struct berth_get_task_secrets_request request = {.task = call->spec->task_arn};
    client_call(call->agent->reports.client, &berth_operations[BERTH_OP_GET_TASK_SECRETS], &request,
                CALL_TIMEOUT_MS, on_answer, call);
}

static bool has_secrets(const struct session_task_spec *spec)
{
    const struct ecs_container_definition_list *containers =
        &spec->definition->container_definitions;
    for (size_t i = 0; i < containers->count; i++) {
        if (containers->items[i].secrets.count > 0) {
            return true;
        }
    }
    return false;
}

void agent_secrets_prepare(struct agent *agent, const struct agent_effect *effect)
{
    if (!has_secrets(effect->spec)) {
        agent_job_prepare(agent, effect, NULL);
        return;
    }
    struct secrets_call *call = ALLOC(struct secrets_call);
    call->agent = agent;
    call->spec = effect->spec;
    call->give_up_ms = agent_now().monotonic_ms + PATIENCE_MS;
    agent_copy_id(effect->task_id, call->task_id);
    call->next = agent->secrets_calls;
    agent->secrets_calls = call;
    ask(call);
}

void agent_secrets_add(struct job *job, struct runtime_container *containers)
{
    const struct ecs_container_definition_list *definitions =
        &job->spec->definition->container_definitions;
    for (size_t i = 0; job->secrets != NULL && i < definitions->count; i++) {
        struct ecs_container_definition *copy =
            ARENA_NEW(&job->arena, struct ecs_container_definition);
        *copy = *containers[i].definition;
        for (size_t k = 0; k < job->secrets->secrets.count; k++) {
            const struct berth_task_secret *secret = &job->secrets->secrets.items[k];
            if (text_equal(secret->container, copy->name)) {
                spec_add_secret(&copy->environment, secret->name, secret->value, &job->arena);
            }
        }
        containers[i].definition = copy;
    }
}

void agent_secrets_begin(struct agent *agent)
{
    int rc = uv_timer_init(agent->options.loop, &agent->secrets_retry);
    ASSERT(rc == 0);
    agent->handle_count++;
}

void agent_secrets_end(struct agent *agent)
{
    agent_close_handle(agent, (uv_handle_t *)&agent->secrets_retry);
    while (agent->secrets_calls != NULL) {
        free_call(agent->secrets_calls);
    }
}
