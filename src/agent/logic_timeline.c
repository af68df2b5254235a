#include "agent/logic_internal.h"

/*
 * When tasks came how far, for people: told apart from their states, a little later and many at
 * once, so that nothing waits for it. What is lost with a session is told again with the next; what
 * a task did last may not be, when there was no session at its end.
 */

void agent_task_timeline(struct turn *turn, struct agent_task *task)
{
    struct agent_logic *logic = turn->logic;
    task->timeline_changed = true;
    if (logic->timeline_at_ms == NEVER) {
        logic->timeline_at_ms = turn->now.monotonic_ms + AGENT_TIMELINE_DELAY_MS;
    }
}

static void fill(const struct agent_task *task, struct arena *arena,
                 struct session_task_timeline *out)
{
    size_t count = task->state == NULL ? 0 : task->state->containers.count;
    struct session_container_timeline *containers = arena_array(arena, count, sizeof(*containers));
    for (size_t i = 0; i < count; i++) {
        const struct supervisor_container_state *state = &task->state->containers.items[i];
        containers[i] = (struct session_container_timeline){
            .container_name = state->name,
            .started_at = state->started_at,
            .healthy_at = state->health == SUPERVISOR_HEALTH_HEALTHY ? state->health_since : 0,
            .finished_at = state->finished_at,
            .has_restart_count = state->restart_count > 0,
            .restart_count = state->restart_count,
            .restarted_at = state->restarted_at,
        };
    }
    *out = (struct session_task_timeline){
        .task_arn = task->spec->task_arn,
        .network_ready_at = task->network_ready_at,
        .prepared_at = task->prepared_at,
        .containers = {.items = containers, .count = count},
    };
}

static void send(struct turn *turn, struct session_task_timeline *tasks, size_t count, bool fin)
{
    struct session_publish_timeline_request *frame =
        ARENA_NEW(&turn->effects->arena, struct session_publish_timeline_request);
    frame->metadata = agent_turn_metadata(turn, "timeline", fin);
    frame->tasks.items = tasks;
    frame->tasks.count = count;
    frame->timestamp = turn->now.wall_ms;
    agent_turn_send(turn, AGENT_EFFECT_HEALTH, "PublishTimelineRequest",
                    &session_publish_timeline_request_shape, frame);
}

void agent_task_timeline_last(struct turn *turn, struct agent_task *task)
{
    if (!task->timeline_changed) {
        return;
    }
    // The task and its texts go before its effects are carried out.
    struct arena *arena = &turn->effects->arena;
    struct session_task_timeline *timeline = ARENA_NEW(arena, struct session_task_timeline);
    fill(task, arena, timeline);
    timeline->task_arn = arena_text(arena, timeline->task_arn);
    for (size_t i = 0; i < timeline->containers.count; i++) {
        struct text *name = &timeline->containers.items[i].container_name;
        *name = arena_text(arena, *name);
    }
    send(turn, timeline, 1, true);
}

void agent_logic_timeline_again(struct turn *turn)
{
    for (struct agent_task *task = turn->logic->first; task != NULL; task = task->next) {
        if (task->prepared_at != 0 || task->state != NULL) {
            agent_task_timeline(turn, task);
        }
    }
}

void agent_logic_timeline(struct turn *turn)
{
    struct agent_logic *logic = turn->logic;
    if (logic->timeline_at_ms > turn->now.monotonic_ms) {
        if (logic->timeline_at_ms != NEVER) {
            agent_turn_due(turn, logic->timeline_at_ms);
        }
        return;
    }
    logic->timeline_at_ms = NEVER;
    struct arena *arena = &turn->effects->arena;
    struct session_task_timeline *tasks = arena_array(arena, logic->tasks.count, sizeof(*tasks));
    size_t count = 0;
    for (struct agent_task *task = logic->first; task != NULL; task = task->next) {
        if (task->timeline_changed) {
            fill(task, arena, &tasks[count++]);
            task->timeline_changed = false;
        }
    }
    for (size_t sent = 0; sent < count; sent += AGENT_HEALTH_FRAME_MAX) {
        size_t part = MIN(count - sent, (size_t)AGENT_HEALTH_FRAME_MAX);
        send(turn, &tasks[sent], part, sent + part == count);
    }
}
