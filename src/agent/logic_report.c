#include "agent/logic_internal.h"

#include "runtime/runtime.h"

#include <stdio.h>

/*
 * Telling the server: one SubmitTaskStateChange at a time for each task, built from the newest
 * facts, and container health on the telemetry session.
 */

void agent_task_facts(struct turn *turn, struct agent_task *task)
{
    task->facts++;
    if (task->change_at_ms == 0) {
        task->change_at_ms =
            turn->now.monotonic_ms + (task->ran ? CHANGE_DELAY_MS : PENDING_DELAY_MS);
    }
}

bool agent_task_stopped_accepted(const struct agent_task *task)
{
    return task->stage_accepted == STAGE_STOPPED;
}

// The status that the next report would tell.
static enum stage stage_due(const struct agent_task *task)
{
    if (!task->ended) {
        return task->ran ? STAGE_RUNNING : task->prepare == STEP_TODO ? STAGE_NONE : STAGE_PENDING;
    }
    // A task that ran, however shortly, is told to have run: startedAt and the stop code depend on
    // it.
    if (task->ran && task->stage_accepted < STAGE_RUNNING) {
        return STAGE_RUNNING;
    }
    return agent_task_may_report_stopped(task) ? STAGE_STOPPED : STAGE_NONE;
}

static const struct supervisor_container_state *find_state(const struct agent_task *task,
                                                           struct text name)
{
    for (size_t i = 0; task->state != NULL && i < task->state->containers.count; i++) {
        if (text_equal(task->state->containers.items[i].name, name)) {
            return &task->state->containers.items[i];
        }
    }
    return NULL;
}

static struct text find_digest(const struct agent_task *task, struct text name)
{
    const struct journal_task *kept = agent_task_kept(task);
    for (size_t i = 0; kept != NULL && i < kept->images.count; i++) {
        if (text_equal(kept->images.items[i].name, name)) {
            return kept->images.items[i].digest;
        }
    }
    return (struct text){0};
}

// In network mode host a container's ports are the host's, as they are.
static struct ecs_network_binding_list own_ports(const struct ecs_port_mapping_list *mappings,
                                                 struct arena *arena)
{
    struct ecs_network_binding_list list = {
        .items = arena_array(arena, mappings->count, sizeof(*list.items)),
        .count = mappings->count,
    };
    for (size_t i = 0; i < mappings->count; i++) {
        const struct ecs_port_mapping *mapping = &mappings->items[i];
        list.items[i] = (struct ecs_network_binding){
            .bind_ip = TEXT("0.0.0.0"),
            .has_container_port = true,
            .container_port = mapping->container_port,
            .has_host_port = true,
            .host_port = mapping->container_port,
            .protocol = mapping->protocol == ECS_TRANSPORT_PROTOCOL_UDP
                            ? ECS_TRANSPORT_PROTOCOL_UDP
                            : ECS_TRANSPORT_PROTOCOL_TCP,
        };
    }
    return list;
}

static struct ecs_network_binding_list find_ports(const struct agent_task *task,
                                                  const struct ecs_container_definition *definition,
                                                  struct arena *arena)
{
    if (task->spec->definition->network_mode == ECS_NETWORK_MODE_HOST) {
        return own_ports(&definition->port_mappings, arena);
    }
    const struct journal_task *kept = agent_task_kept(task);
    for (size_t i = 0; kept != NULL && i < kept->ports.count; i++) {
        if (text_equal(kept->ports.items[i].name, definition->name)) {
            return (struct ecs_network_binding_list){
                .items = kept->ports.items[i].bindings.items,
                .count = kept->ports.items[i].bindings.count,
            };
        }
    }
    return (struct ecs_network_binding_list){0};
}

static struct text container_status(const struct agent_task *task, enum stage stage,
                                    const struct supervisor_container_state *state)
{
    if (stage == STAGE_STOPPED) {
        return TEXT("STOPPED");
    }
    // After the end, a report of RUNNING tells of the time before it.
    if (!task->ended && state != NULL && state->status == SUPERVISOR_STATUS_STOPPED) {
        return TEXT("STOPPED");
    }
    // One that is being stopped may never have come to run.
    return state != NULL && state->started_at != 0 ? TEXT("RUNNING") : TEXT("PENDING");
}

static void fill_container(const struct agent_task *task, enum stage stage, size_t index,
                           struct arena *arena, struct ecs_container_state_change *out)
{
    const struct ecs_container_definition *definition =
        &task->spec->definition->container_definitions.items[index];
    const struct supervisor_container_state *state = find_state(task, definition->name);
    if (state != NULL && state->started_at != 0) {
        out->runtime_id = runtime_container_id(task->id, index, arena);
        const struct ecs_network_binding_list ports = find_ports(task, definition, arena);
        out->network_bindings.items = ports.items;
        out->network_bindings.count = ports.count;
    }
    out->container_name = definition->name;
    out->image_digest = find_digest(task, definition->name);
    out->status = container_status(task, stage, state);
    if (!text_is(out->status, "STOPPED")) {
        return;
    }
    if (state != NULL && state->status == SUPERVISOR_STATUS_STOPPED) {
        out->has_exit_code = state->has_exit_code;
        out->exit_code = state->exit_code;
        out->reason = text_slice(state->reason, 0, AGENT_REASON_MAX);
    }
    bool invent = MUTANT("invent-exit-code") && !out->has_exit_code;
    if (invent) {
        out->has_exit_code = true;
        out->exit_code = 0;
    }
    if (task->failed_container != NULL && text_is(definition->name, task->failed_container)) {
        out->reason = text_of(task->reason);
    }
}

static struct text stage_name(enum stage stage)
{
    switch (stage) {
    case STAGE_NONE:
        break;
    case STAGE_PENDING:
        return TEXT("PENDING");
    case STAGE_RUNNING:
        return TEXT("RUNNING");
    case STAGE_STOPPED:
        return TEXT("STOPPED");
    }
    ASSERT(false);
    return (struct text){0};
}

static void send_report(struct turn *turn, struct agent_task *task, enum stage stage)
{
    struct arena *arena = &turn->effects->arena;
    struct ecs_submit_task_state_change_request *report =
        ARENA_NEW(arena, struct ecs_submit_task_state_change_request);
    report->cluster = task->spec->cluster_arn;
    report->task = task->spec->task_arn;
    report->status = stage_name(stage);
    report->pull_started_at = task->pull_started_at;
    report->pull_stopped_at = task->pull_stopped_at;
    if (stage == STAGE_STOPPED) {
        report->reason = text_of(task->reason);
        report->execution_stopped_at = task->state == NULL ? 0 : task->state->execution_stopped_at;
    }
    if (task->spec->definition != NULL) {
        const struct ecs_container_definition_list *definitions =
            &task->spec->definition->container_definitions;
        report->containers.items =
            arena_array(arena, definitions->count, sizeof(*report->containers.items));
        report->containers.count = definitions->count;
        for (size_t i = 0; i < definitions->count; i++) {
            fill_container(task, stage, i, arena, &report->containers.items[i]);
        }
    }
    task->report_id = ++turn->logic->next_report_id;
    task->stage_sent = stage;
    task->facts_sent = task->facts;
    task->change_at_ms = 0;
    struct agent_effect *effect = agent_turn_effect(turn, AGENT_EFFECT_REPORT, task);
    effect->report_id = task->report_id;
    effect->report = report;
}

/*
 * A new status is told at once. A change within a status, such as one container of several that
 * started, waits a little: in a quick start the next status comes first and tells it as well, and
 * does not have to wait for the answer to a report that says little. Before RUNNING it waits
 * longer: while many tasks start at once each takes its time, and to tell of every step of all of
 * them would be most of the work.
 */
void agent_task_report(struct turn *turn, struct agent_task *task)
{
    enum stage stage = stage_due(task);
    bool rises = stage > task->stage_accepted && stage != STAGE_PENDING;
    bool changes = task->facts > task->facts_accepted && !task->ended;
    if (task->report_id != 0 || stage == STAGE_NONE || !(rises || changes)) {
        return;
    }
    int64_t at_ms = rises ? task->report_at_ms : MAX(task->report_at_ms, task->change_at_ms);
    if (at_ms > turn->now.monotonic_ms) {
        agent_turn_due(turn, at_ms);
        return;
    }
    send_report(turn, task, stage);
}

void agent_task_reported(struct turn *turn, struct agent_task *task, enum agent_outcome outcome)
{
    ASSERT(task->report_id != 0);
    task->report_id = 0;
    if (outcome == AGENT_REPORT_TRY_AGAIN && !MUTANT("report-once")) {
        task->report_attempts++;
        int64_t delay = agent_backoff_ms(task->report_attempts, RETRY_FIRST_MS, RETRY_LAST_MS);
        // Spread by the id, so that all tasks of all nodes do not come back at once.
        delay += (int64_t)(text_hash(task->id) % (uint64_t)delay) / 2;
        task->report_at_ms = turn->now.monotonic_ms + delay;
        return;
    }
    // What the server refused for good it would refuse again.
    task->report_attempts = 0;
    task->report_at_ms = 0;
    task->stage_accepted = MAX(task->stage_accepted, task->stage_sent);
    task->facts_accepted = task->facts_sent;
}

// ---- health -------------------------------------------------------------------------------

static struct text health_name(enum supervisor_health health)
{
    return health == SUPERVISOR_HEALTH_HEALTHY     ? TEXT("HEALTHY")
           : health == SUPERVISOR_HEALTH_UNHEALTHY ? TEXT("UNHEALTHY")
                                                   : TEXT("UNKNOWN");
}

// @return whether the task has containers with health checks, which are in out then
static bool fill_health(const struct agent_task *task, struct arena *arena,
                        struct session_task_health *out)
{
    if (task->ended || task->state == NULL) {
        return false;
    }
    size_t count = 0;
    struct session_container_health *containers =
        arena_array(arena, task->state->containers.count, sizeof(*containers));
    for (size_t i = 0; i < task->state->containers.count; i++) {
        const struct supervisor_container_state *state = &task->state->containers.items[i];
        if (state->health != SUPERVISOR_HEALTH_ABSENT) {
            containers[count++] = (struct session_container_health){
                .container_name = state->name,
                .health_status = health_name(state->health),
                .status_since = state->health_since,
            };
        }
    }
    *out = (struct session_task_health){
        .task_arn = task->spec->task_arn,
        .cluster_arn = task->spec->cluster_arn,
        .task_definition_family = task->spec->definition->family,
        .task_definition_version = arena_format(arena, "%d", (int)task->spec->definition->revision),
        .containers = {.items = containers, .count = count},
    };
    return count > 0;
}

struct session_health_metadata *agent_turn_metadata(struct turn *turn, const char *prefix, bool fin)
{
    struct agent_logic *logic = turn->logic;
    struct arena *arena = &turn->effects->arena;
    struct session_health_metadata *metadata = ARENA_NEW(arena, struct session_health_metadata);
    metadata->cluster = text_of(logic->cluster);
    metadata->container_instance = text_of(logic->container_instance);
    metadata->message_id = arena_format(arena, "%s-%lld", prefix, (long long)++logic->next_message);
    metadata->has_fin = true;
    metadata->fin = fin;
    return metadata;
}

static void send_health(struct turn *turn, struct session_task_health *tasks, size_t count,
                        bool fin)
{
    struct arena *arena = &turn->effects->arena;
    struct session_publish_health_request *frame =
        ARENA_NEW(arena, struct session_publish_health_request);
    frame->metadata = agent_turn_metadata(turn, "health", fin);
    frame->tasks.items = tasks;
    frame->tasks.count = count;
    frame->timestamp = turn->now.wall_ms;
    agent_turn_send(turn, AGENT_EFFECT_HEALTH, "PublishHealthRequest",
                    &session_publish_health_request_shape, frame);
}

void agent_logic_health(struct turn *turn)
{
    struct agent_logic *logic = turn->logic;
    bool all = logic->health_at_ms <= turn->now.monotonic_ms;
    if (!all && !logic->health_changed) {
        if (logic->health_at_ms != NEVER) {
            agent_turn_due(turn, logic->health_at_ms);
        }
        return;
    }
    struct arena *arena = &turn->effects->arena;
    struct session_task_health *tasks = arena_array(arena, logic->tasks.count, sizeof(*tasks));
    size_t count = 0;
    for (struct agent_task *task = logic->first; task != NULL; task = task->next) {
        if ((all || task->health_changed) && fill_health(task, arena, &tasks[count])) {
            count++;
        }
        task->health_changed = false;
    }
    for (size_t sent = 0; sent < count; sent += AGENT_HEALTH_FRAME_MAX) {
        size_t part = MIN(count - sent, (size_t)AGENT_HEALTH_FRAME_MAX);
        send_health(turn, &tasks[sent], part, sent + part == count);
    }
    logic->health_changed = false;
    // Without tasks that have health nothing is due until one gets it.
    if (all || logic->health_at_ms == NEVER) {
        logic->health_at_ms = count == 0 ? NEVER : turn->now.monotonic_ms + AGENT_HEALTH_PERIOD_MS;
    }
    if (logic->health_at_ms != NEVER) {
        agent_turn_due(turn, logic->health_at_ms);
    }
}
