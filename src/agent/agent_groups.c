#include "agent/agent_internal.h"

#include "base/log.h"
#include "base/text.h"
#include "net/net.h"

/*
 * Security groups on this node: what the server said of them, given to the network.
 *
 * Rules come with the tasks whose interfaces are in the group, and by themselves when they change.
 * The network keeps them over a restart of the agent; here are those of tasks that are still to be
 * prepared.
 */

#define AGAIN_MS 2000 // as often as the server sends what was not acknowledged

static void run_put(struct job *job)
{
    struct err err = {0};
    job->rc = net_groups_put(job->agent->options.net, job->groups.items, job->groups.count, &err);
    if (job->rc != 0) {
        job->reason = arena_text(&job->arena, text_of(err.text));
    }
}

static void on_again(uv_timer_t *timer);

static void done_put(struct job *job)
{
    struct agent *agent = job->agent;
    if (job->rc != 0) {
        LOG(ERROR, "the rules of security groups cannot be applied",
            LOG_TXT("reason", job->reason));
        // What came with a task the server does not send again, nor what a new session knows of.
        if (!agent->closed && !uv_is_active((uv_handle_t *)&agent->rules_again)) {
            uv_timer_start(&agent->rules_again, on_again, AGAIN_MS, 0);
        }
        return;
    }
    if (!text_empty(job->message_id)) {
        const struct session_ack_request ack = {
            .message_id = job->message_id,
            .cluster = text_of(job->agent->server.cluster),
            .container_instance = text_of(job->agent->server.container_instance),
        };
        agent_frame_send_session(job->agent, "AckRequest", &session_ack_request_shape, &ack);
    }
}

/** Have the network take groups, then acknowledge a message unless its id is absent. */
static void put(struct agent *agent, const struct session_security_group *items, size_t count,
                struct text message_id)
{
    struct job *job = agent_job_new(agent, (struct text){0}, run_put, done_put);
    struct session_security_groups_message message = {
        .message_id = message_id.data == NULL ? TEXT("") : message_id,
        .security_groups = {(void *)(uintptr_t)items, count}};
    const struct session_security_groups_message *copy =
        shape_copy(&session_security_groups_message_shape, &message, &job->arena);
    job->groups = copy->security_groups;
    job->message_id = copy->message_id;
    agent_job_submit(job);
}

static void on_again(uv_timer_t *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, rules_again);
    AUTO(arena_deinit) struct arena arena = {0};
    const struct session_security_group_list all = agent_rules_all(&agent->rules, &arena);
    put(agent, all.items, all.count, (struct text){0});
}

void agent_groups_begin(struct agent *agent)
{
    int rc = uv_timer_init(agent->options.loop, &agent->rules_again);
    ASSERT(rc == 0);
    agent->handle_count++;
}

void agent_groups_end(struct agent *agent)
{
    agent_close_handle(agent, (uv_handle_t *)&agent->rules_again);
}

void agent_groups_take(struct agent *agent, const struct session_security_groups_message *in)
{
    for (size_t i = 0; i < in->security_groups.count; i++) {
        agent_rules_keep(&agent->rules, &in->security_groups.items[i]);
    }
    if (agent->options.net != NULL) {
        put(agent, in->security_groups.items, in->security_groups.count, in->message_id);
    }
}

void agent_groups_payload(struct agent *agent, const struct session_payload_message *in)
{
    AUTO(arena_deinit) struct arena arena = {0};
    size_t news = 0;
    struct session_security_group *items =
        arena_array(&arena, in->security_groups.count, sizeof(*items));
    for (size_t i = 0; i < in->security_groups.count; i++) {
        if (agent_rules_keep(&agent->rules, &in->security_groups.items[i])) {
            items[news++] = in->security_groups.items[i];
        }
    }
    // A new task's own come to the network with it. Others' interfaces may be in them, too. Kept
    // before the task is: an agent that comes after must not start it with older rules.
    if (news > 0 && agent->options.net != NULL) {
        net_groups_keep(agent->options.net, items, news);
        put(agent, items, news, (struct text){0});
    }
}

void agent_groups_give(struct agent *agent, struct job *job)
{
    const struct session_eni *eni = job->spec->eni;
    if (eni == NULL) {
        return;
    }
    job->groups.items =
        arena_array(&job->arena, eni->security_groups.count, sizeof(*job->groups.items));
    for (size_t i = 0; i < eni->security_groups.count; i++) {
        const struct session_security_group *known =
            agent_rules_of(&agent->rules, eni->security_groups.items[i]);
        if (known != NULL) {
            const struct session_security_group *copy =
                shape_copy(&session_security_group_shape, known, &job->arena);
            job->groups.items[job->groups.count++] = *copy;
        }
    }
}

void agent_groups_adopt(struct agent *agent, const struct session_task_spec *spec)
{
    if (agent->options.net == NULL || spec->eni == NULL) {
        return;
    }
    struct err err = {0};
    const struct net_eni eni = agent_network_interface(agent, spec);
    if (net_eni_adopt(agent->options.net, &eni, &err) != 0) {
        LOG(WARN, "an interface's security groups cannot be applied until the server tells of them",
            LOG_TXT("interface", eni.id), LOG_STR("reason", err.text));
    }
}
