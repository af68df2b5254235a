#include "agent/agent_internal.h"

#include "base/log.h"
#include "base/text.h"

/*
 * How this host is: the runtime is asked now and then, in a worker, and the server is told on the
 * telemetry session. Tasks that run are not touched by what comes out.
 */

#define CHECK_PERIOD_MS 30000 // a session's health is as old as this at most
#define WHY_CHARS 200

static void send_status(struct agent *agent)
{
    const struct agent_status *status = &agent->status;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text refusal = agent_disk_refusal(agent, &arena);
    const char *known = status->known == NULL ? "INITIALIZING" : status->known;
    struct session_instance_status said = {
        .type = TEXT("CONTAINER_RUNTIME"),
        .status = text_of(text_empty(refusal) ? known : "IMPAIRED"),
        .refusal = refusal,
        .last_updated = status->updated_ms,
        .last_status_change = status->changed_ms,
    };
    struct session_health_metadata metadata = {
        .cluster = text_of(agent->server.cluster),
        .container_instance = text_of(agent->server.container_instance),
    };
    const struct session_publish_instance_status_request frame = {
        .metadata = &metadata,
        .statuses = {.items = &said, .count = 1},
        .timestamp = agent_now().wall_ms,
    };
    agent_frame_send_telemetry(agent, "PublishInstanceStatusRequest",
                               &session_publish_instance_status_request_shape, &frame);
}

// In a worker.
static void run_check(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct err err = {0};
    job->rc = runtime->ops->check(runtime, &err);
    if (job->rc != 0) {
        job->reason = arena_text(&job->arena, text_slice(text_of(err.text), 0, WHY_CHARS));
    }
}

static void done_check(struct job *job)
{
    struct agent *agent = job->agent;
    struct agent_status *status = &agent->status;
    const char *now = job->rc == 0 ? "OK" : "IMPAIRED";
    struct agent_time time = agent_now();
    bool changed = status->known == NULL || !text_is(text_of(now), status->known);
    if (changed && job->rc != 0) {
        LOG(ERROR, "this host cannot run containers", LOG_TXT("reason", job->reason));
    } else if (changed && status->known != NULL) {
        LOG(INFO, "this host can run containers again");
    }
    status->known = now;
    status->updated_ms = time.wall_ms;
    status->changed_ms = changed ? time.wall_ms : status->changed_ms;
    status->checking = false;
    status->check_at_ms = time.monotonic_ms + CHECK_PERIOD_MS;
    send_status(agent);
}

void agent_status_connected(struct agent *agent)
{
    if (agent->status.changed_ms == 0) {
        agent->status.changed_ms = agent_now().wall_ms;
        agent->status.updated_ms = agent->status.changed_ms;
    }
    send_status(agent);
    agent_status_watch(agent);
}

void agent_status_changed(struct agent *agent)
{
    agent->status.changed_ms = agent_now().wall_ms;
    agent->status.updated_ms = agent->status.changed_ms;
    if (agent->server.tcs_connected && !agent->closed) {
        send_status(agent);
    }
}

void agent_status_watch(struct agent *agent)
{
    struct agent_status *status = &agent->status;
    if (!agent->server.tcs_connected || agent->closed || status->checking ||
        status->check_at_ms > agent_now().monotonic_ms) {
        return;
    }
    status->checking = true;
    agent_job_submit(agent_job_new(agent, (struct text){0}, run_check, done_check));
}
