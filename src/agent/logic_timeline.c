#include "agent/logic_internal.h"

/*
 * When tasks came how far, for people: told apart from their states, a little later and many at
 * once, so that nothing waits for it. What is lost with a session is told again with the next: of
 * tasks that are forgotten it is kept until the server says that it has it.
 */

#define MESSAGE_PREFIX "timeline"

// How many containers its state tells of.
static size_t places(const struct agent_task *task)
{
    return task->state == NULL ? 0 : MIN(task->state->containers.count, (size_t)LIMIT_CONTAINERS);
}

void agent_task_timeline(struct turn *turn, struct agent_task *task)
{
    struct agent_logic *logic = turn->logic;
    task->timeline_changed = true;
    for (size_t i = 0; i < places(task); i++) {
        const struct supervisor_container_state *state = &task->state->containers.items[i];
        if (task->healthy_at[i] == 0 && state->health == SUPERVISOR_HEALTH_HEALTHY) {
            task->healthy_at[i] = state->health_since;
        }
    }
    if (logic->timeline_at_ms == NEVER) {
        logic->timeline_at_ms = turn->now.monotonic_ms + AGENT_TIMELINE_DELAY_MS;
    }
}

static void fill(const struct agent_task *task, struct arena *arena,
                 struct session_task_timeline *out)
{
    size_t count = places(task);
    struct session_container_timeline *containers = arena_array(arena, count, sizeof(*containers));
    for (size_t i = 0; i < count; i++) {
        const struct supervisor_container_state *state = &task->state->containers.items[i];
        containers[i] = (struct session_container_timeline){
            .container_name = state->name,
            .started_at = state->started_at,
            .healthy_at = task->healthy_at[i],
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
        .note = text_of(task->note),
        .containers = {.items = containers, .count = count},
    };
}

// @return the number of the message
static int64_t send(struct turn *turn, struct session_task_timeline *tasks, size_t count, bool fin)
{
    struct session_publish_timeline_request *frame =
        ARENA_NEW(&turn->effects->arena, struct session_publish_timeline_request);
    frame->metadata = agent_turn_metadata(turn, MESSAGE_PREFIX, fin);
    frame->tasks.items = tasks;
    frame->tasks.count = count;
    frame->timestamp = turn->now.wall_ms;
    agent_turn_send(turn, AGENT_EFFECT_HEALTH, "PublishTimelineRequest",
                    &session_publish_timeline_request_shape, frame);
    return turn->logic->next_message;
}

// ---- of tasks that are forgotten ----------------------------------------------------------

static void drop(struct agent_logic *logic, size_t index)
{
    alloc_free(logic->partings[index].timeline);
    logic->parting_count--;
    memmove(&logic->partings[index], &logic->partings[index + 1],
            (logic->parting_count - index) * sizeof(*logic->partings));
}

// Of more than a few hundred tasks that ended while nobody heard it, the oldest go untold.
static void keep(struct agent_logic *logic, const struct session_task_timeline *timeline,
                 int64_t message)
{
    if (logic->parting_count == AGENT_TIMELINE_KEPT_MAX) {
        drop(logic, 0);
    }
    logic->partings =
        alloc_resize(logic->partings, logic->parting_count + 1, sizeof(*logic->partings));
    logic->partings[logic->parting_count++] = (struct parting){
        .timeline = shape_clone(&session_task_timeline_shape, timeline, NULL),
        .message = message,
    };
}

void agent_logic_timeline_taken(struct turn *turn, struct text message_id)
{
    struct agent_logic *logic = turn->logic;
    int64_t number = 0;
    // Messages arrive in their order.
    if (!text_starts(message_id, TEXT(MESSAGE_PREFIX "-")) ||
        text_to_i64(text_slice(message_id, sizeof(MESSAGE_PREFIX), message_id.size), &number) !=
            0 ||
        number > logic->next_message) {
        return;
    }
    logic->timeline_acked = MAX(logic->timeline_acked, number);
    for (size_t i = logic->parting_count; i > 0; i--) {
        if (logic->partings[i - 1].message <= number) {
            drop(logic, i - 1);
        }
    }
}

void agent_logic_timeline_deinit(struct agent_logic *logic)
{
    while (logic->parting_count > 0) {
        drop(logic, logic->parting_count - 1);
    }
    alloc_free(logic->partings);
}

static void send_partings(struct turn *turn)
{
    struct agent_logic *logic = turn->logic;
    for (size_t sent = 0; sent < logic->parting_count; sent += AGENT_HEALTH_FRAME_MAX) {
        size_t part = MIN(logic->parting_count - sent, (size_t)AGENT_HEALTH_FRAME_MAX);
        struct session_task_timeline *tasks =
            arena_array(&turn->effects->arena, part, sizeof(*tasks));
        for (size_t i = 0; i < part; i++) {
            tasks[i] = *logic->partings[sent + i].timeline;
        }
        int64_t message = send(turn, tasks, part, true);
        for (size_t i = 0; i < part; i++) {
            logic->partings[sent + i].message = message;
        }
    }
}

void agent_task_timeline_last(struct turn *turn, struct agent_task *task)
{
    bool arrived = task->timeline_message <= turn->logic->timeline_acked;
    if (!task->timeline_changed && arrived) {
        return;
    }
    // The task and its texts go before its effects are carried out.
    struct arena *arena = &turn->effects->arena;
    struct session_task_timeline *timeline = ARENA_NEW(arena, struct session_task_timeline);
    fill(task, arena, timeline);
    timeline->task_arn = arena_text(arena, timeline->task_arn);
    timeline->note = task->note == NULL ? (struct text){0} : arena_text(arena, timeline->note);
    for (size_t i = 0; i < timeline->containers.count; i++) {
        struct text *name = &timeline->containers.items[i].container_name;
        *name = arena_text(arena, *name);
    }
    int64_t message =
        task->timeline_changed ? send(turn, timeline, 1, true) : task->timeline_message;
    keep(turn->logic, timeline, message);
}

// ---- of the others ------------------------------------------------------------------------

void agent_logic_timeline_again(struct turn *turn)
{
    for (struct agent_task *task = turn->logic->first; task != NULL; task = task->next) {
        if (task->prepared_at != 0 || task->state != NULL) {
            agent_task_timeline(turn, task);
        }
    }
    send_partings(turn);
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
            // The number of the message that it will be in.
            task->timeline_message =
                logic->next_message + 1 + (int64_t)(count / AGENT_HEALTH_FRAME_MAX);
            fill(task, arena, &tasks[count++]);
            task->timeline_changed = false;
        }
    }
    for (size_t sent = 0; sent < count; sent += AGENT_HEALTH_FRAME_MAX) {
        size_t part = MIN(count - sent, (size_t)AGENT_HEALTH_FRAME_MAX);
        send(turn, &tasks[sent], part, sent + part == count);
    }
}
