#include "agent/logic_internal.h"

// ---- the journal --------------------------------------------------------------------------

void agent_task_put(struct turn *turn, struct agent_task *task)
{
    if (!task->journaled) {
        return;
    }
    struct journal_task *record = ARENA_NEW(&turn->effects->arena, struct journal_task);
    record->spec = task->spec;
    record->phase = task->phase;
    record->has_stop_requested = task->stop_requested;
    record->stop_requested = task->stop_requested;
    if (task->phase != JOURNAL_PHASE_ACCEPTED) {
        record->boot_id = text_of(turn->logic->boot_id);
    }
    if (task->ended) {
        record->last = task->state;
        record->reason = text_of(task->reason);
        record->failed_container = text_of(task->failed_container);
    }
    record->pull_started_at = task->pull_started_at;
    record->pull_stopped_at = task->pull_stopped_at;
    record->network_ready_at = task->network_ready_at;
    record->prepared_at = task->prepared_at;
    const struct journal_task *kept = agent_task_kept(task);
    if (kept != NULL) {
        record->images = kept->images;
        record->ports = kept->ports;
    }
    task->put_version++;
    struct agent_effect *effect = agent_turn_effect(turn, AGENT_EFFECT_JOURNAL_PUT, task);
    effect->version = task->put_version;
    effect->record = record;
}

void agent_task_journaled(struct turn *turn, struct agent_task *task,
                          const struct agent_event *event)
{
    bool erased = task->erase == STEP_BUSY && event->version == task->put_version;
    if (event->rc == 0) {
        task->durable_version = MAX(task->durable_version, event->version);
        if (erased) {
            agent_task_forget(turn, task);
            return;
        }
        agent_task_resolve_acks(turn, task, false);
    } else if (erased) {
        task->erase = STEP_TODO;
        task->host_attempts++;
        task->host_retry_at_ms =
            turn->now.monotonic_ms +
            agent_backoff_ms(task->host_attempts, HOST_RETRY_FIRST_MS, HOST_RETRY_LAST_MS);
    } else if (task->ended) {
        task->stop_put_failed = task->stop_put_failed || event->version >= task->stopped_version;
    } else if (task->launch == STEP_TODO) {
        // It must not be launched without a durable record, so it cannot run here at all.
        agent_task_end(turn, task, event->reason);
    }
    agent_task_step(turn, task);
}

// ---- helpers ------------------------------------------------------------------------------

int64_t agent_backoff_ms(uint32_t failures, int64_t first_ms, int64_t last_ms)
{
    int64_t delay = first_ms;
    for (uint32_t i = 1; i < failures && delay < last_ms; i++) {
        delay *= 2;
    }
    return MIN(delay, last_ms);
}

const struct journal_task *agent_task_kept(const struct agent_task *task)
{
    return task->kept == NULL ? NULL : task->kept->value;
}

void agent_task_keep(struct turn *turn, struct agent_task *task,
                     const struct journal_container_image_list *images,
                     const struct journal_container_ports_list *ports)
{
    if (images->count > 0 || ports->count > 0) {
        const struct journal_task kept = {.images = *images, .ports = *ports};
        struct shared_values *shared = &turn->logic->shared;
        struct shared_value *before = task->kept;
        task->kept = shared_take(shared, &journal_task_shape, &kept);
        shared_release(shared, before); // only now: what was given may lie in it
    }
}

// How long an orderly stop may take: containers stop one after the other, each in its own time.
static int64_t stop_patience_ms(const struct agent_task *task)
{
    int64_t seconds = 0;
    const struct ecs_container_definition_list *containers =
        &task->spec->definition->container_definitions;
    for (size_t i = 0; i < containers->count; i++) {
        const struct ecs_container_definition *container = &containers->items[i];
        seconds +=
            container->has_stop_timeout ? MAX(container->stop_timeout, 0) : STOP_TIMEOUT_DEFAULT_S;
    }
    return seconds * 1000 + STOP_GRACE_MS;
}

static void expect_stop(struct turn *turn, struct agent_task *task)
{
    if (task->stop_deadline_ms == NEVER) {
        task->stop_deadline_ms = turn->now.monotonic_ms + stop_patience_ms(task);
    }
}

// ---- preparing ----------------------------------------------------------------------------

static void enqueue(struct agent_logic *logic, struct agent_task *task)
{
    ASSERT(!task->queued);
    task->queued = true;
    task->queue_next = NULL;
    if (logic->queue_last == NULL) {
        logic->queue_first = task;
    } else {
        logic->queue_last->queue_next = task;
    }
    logic->queue_last = task;
}

void agent_logic_start_prepares(struct turn *turn)
{
    struct agent_logic *logic = turn->logic;
    while (logic->queue_first != NULL && logic->prepare_busy < logic->prepare_max) {
        struct agent_task *task = logic->queue_first;
        logic->queue_first = task->queue_next;
        if (logic->queue_first == NULL) {
            logic->queue_last = NULL;
        }
        task->queued = false;
        ASSERT(task->prepare == STEP_TODO);
        task->prepare = STEP_BUSY;
        logic->prepare_busy++;
        agent_turn_effect(turn, AGENT_EFFECT_PREPARE, task)->spec = task->spec;
        agent_task_facts(turn, task);
        agent_task_report(turn, task);
    }
}

void agent_task_prepared(struct turn *turn, struct agent_task *task,
                         const struct agent_event *event)
{
    if (task->prepare != STEP_BUSY) {
        return;
    }
    ASSERT(turn->logic->prepare_busy > 0);
    turn->logic->prepare_busy--;
    task->prepare = event->rc == 0 ? STEP_DONE : STEP_SKIPPED;
    task->pull_started_at = event->pull_started_at;
    task->pull_stopped_at = event->pull_stopped_at;
    task->network_ready_at = event->network_ready_at;
    task->prepared_at = event->prepared_at;
    task->note = event->note.data == NULL ? NULL : alloc_format("%.*s", TEXT_FMT(event->note));
    agent_task_timeline(turn, task);
    agent_task_keep(turn, task, &event->images, &event->ports);
    agent_task_facts(turn, task);
    if (event->rc != 0 && !task->ended) {
        if (!text_empty(event->failed_container)) {
            task->failed_container = alloc_format("%.*s", TEXT_FMT(event->failed_container));
        }
        agent_task_end(turn, task, event->reason);
    }
}

// ---- launching ----------------------------------------------------------------------------

void agent_task_launched(struct turn *turn, struct agent_task *task,
                         const struct agent_event *event)
{
    if (task->launch != STEP_BUSY) {
        return;
    }
    task->launch = STEP_DONE;
    if (event->rc == 0) {
        task->start_deadline_ms = turn->now.monotonic_ms + START_TIMEOUT_MS;
    } else if (!task->ended) {
        agent_task_end(turn, task, event->reason);
    }
}

static bool may_launch(const struct agent_task *task)
{
    bool durable = task->durable_version >= task->launch_version;
    return task->prepare == STEP_DONE && task->phase == JOURNAL_PHASE_LAUNCHED &&
           (durable || MUTANT("launch-before-journal"));
}

static void step_start(struct turn *turn, struct agent_task *task)
{
    bool stop = task->stop_requested && !MUTANT("launch-after-stop");
    if (stop && task->launch == STEP_TODO) {
        agent_task_end(turn, task, (struct text){0});
        return;
    }
    if (task->prepare == STEP_TODO && !task->queued && !task->unconfirmed) {
        enqueue(turn->logic, task);
    }
    if (task->prepare == STEP_DONE && task->phase == JOURNAL_PHASE_ACCEPTED) {
        task->phase = JOURNAL_PHASE_LAUNCHED;
        agent_task_put(turn, task);
        task->launch_version = task->put_version;
    }
    if (task->launch == STEP_TODO && !task->unconfirmed && may_launch(task)) {
        task->launch = STEP_BUSY;
        agent_turn_effect(turn, AGENT_EFFECT_LAUNCH, task)->spec =
            task->relaunch ? task->spec : NULL;
    }
}

// ---- running ------------------------------------------------------------------------------

static const struct supervisor_container_state *state_find(const struct supervisor_state *state,
                                                           struct text name)
{
    for (size_t i = 0; state != NULL && i < state->containers.count; i++) {
        if (text_equal(state->containers.items[i].name, name)) {
            return &state->containers.items[i];
        }
    }
    return NULL;
}

// WAITING and STARTING read alike in a report, and so do RUNNING and STOPPING.
static int report_status(enum supervisor_status status)
{
    return status == SUPERVISOR_STATUS_STOPPED ? 2 : status >= SUPERVISOR_STATUS_RUNNING ? 1 : 0;
}

static bool report_differs(const struct supervisor_state *before,
                           const struct supervisor_state *after)
{
    if (before == NULL || before->essential_exited != after->essential_exited) {
        return true;
    }
    for (size_t i = 0; i < after->containers.count; i++) {
        const struct supervisor_container_state *now = &after->containers.items[i];
        const struct supervisor_container_state *then = state_find(before, now->name);
        if (then == NULL || report_status(then->status) != report_status(now->status) ||
            then->has_exit_code != now->has_exit_code || then->exit_code != now->exit_code ||
            !text_equal(then->reason, now->reason)) {
            return true;
        }
    }
    return false;
}

static bool health_differs(const struct supervisor_state *before,
                           const struct supervisor_state *after)
{
    for (size_t i = 0; i < after->containers.count; i++) {
        const struct supervisor_container_state *now = &after->containers.items[i];
        const struct supervisor_container_state *then = state_find(before, now->name);
        enum supervisor_health health = then == NULL ? SUPERVISOR_HEALTH_ABSENT : then->health;
        if (now->health != health) {
            return true;
        }
    }
    return false;
}

static bool timeline_differs(const struct supervisor_state *before,
                             const struct supervisor_state *after)
{
    for (size_t i = 0; i < after->containers.count; i++) {
        const struct supervisor_container_state *now = &after->containers.items[i];
        const struct supervisor_container_state *then = state_find(before, now->name);
        if (then == NULL || then->started_at != now->started_at ||
            then->finished_at != now->finished_at || then->restart_count != now->restart_count ||
            (now->health == SUPERVISOR_HEALTH_HEALTHY && then->health != now->health)) {
            return true;
        }
    }
    return false;
}

/*
 * ECS calls a task RUNNING once each container has come at least as far as running. One that is
 * not essential and failed to start counts as having come further, as long as nothing stops the
 * task: a container that never started because the task was ending has not run.
 */
static bool all_started(const struct agent_task *task)
{
    const struct ecs_container_definition_list *containers =
        &task->spec->definition->container_definitions;
    bool ending = task->stop_requested || task->state->essential_exited || task->state->finished;
    bool any = false;
    for (size_t i = 0; i < containers->count; i++) {
        const struct supervisor_container_state *container =
            state_find(task->state, containers->items[i].name);
        if (container == NULL) {
            return false;
        }
        bool started = container->started_at != 0;
        bool essential = !containers->items[i].has_essential || containers->items[i].essential;
        bool failed = container->status == SUPERVISOR_STATUS_STOPPED && !essential && !ending;
        if (!started && !failed) {
            return false;
        }
        any = any || started;
    }
    return any;
}

static void take_state(struct turn *turn, struct agent_task *task,
                       const struct supervisor_state *state)
{
    bool report = report_differs(task->state, state);
    bool health = health_differs(task->state, state);
    bool timeline = timeline_differs(task->state, state);
    alloc_free(task->state);
    task->state = shape_clone(&supervisor_state_shape, state, NULL);
    task->ran = task->ran || all_started(task);
    if (report) {
        agent_task_facts(turn, task);
    }
    if (timeline) {
        agent_task_timeline(turn, task);
    }
    if (health) {
        task->health_changed = true;
        turn->logic->health_changed = true;
    }
}

void agent_task_state(struct turn *turn, struct agent_task *task,
                      const struct supervisor_state *state)
{
    if (task->ended || task->launch != STEP_DONE) {
        return;
    }
    task->attached = true;
    task->start_deadline_ms = NEVER;
    if (task->state != NULL && state->sequence <= task->state->sequence) {
        return;
    }
    take_state(turn, task, state);
    if (task->state->essential_exited) {
        expect_stop(turn, task);
    }
    if (task->state->finished) {
        agent_task_end(turn, task, (struct text){0});
    }
}

static void step_running(struct turn *turn, struct agent_task *task)
{
    if (task->stop_requested && task->attached && !task->stop_sent) {
        task->stop_sent = true;
        expect_stop(turn, task);
        agent_turn_effect(turn, AGENT_EFFECT_STOP, task);
    }
    int64_t now_ms = turn->now.monotonic_ms;
    if (task->start_deadline_ms <= now_ms) {
        agent_task_end(
            turn, task,
            TEXT("ContainerRuntimeTimeoutError: the task's supervisor did not answer; timed "
                 "out after waiting 1m0s"));
    } else if (task->stop_deadline_ms <= now_ms) {
        agent_task_end(turn, task,
                       TEXT("TaskStateError: Agent could not progress task's state to stopped"));
    } else {
        agent_turn_due(turn, MIN(task->start_deadline_ms, task->stop_deadline_ms));
    }
}

void agent_task_step(struct turn *turn, struct agent_task *task)
{
    if (!task->ended && task->launch == STEP_TODO) {
        step_start(turn, task);
    }
    if (!task->ended && task->launch == STEP_DONE) {
        step_running(turn, task);
    }
    if (task->ended && !agent_task_step_end(turn, task)) {
        return;
    }
    agent_task_report(turn, task);
}

// ---- recovery -----------------------------------------------------------------------------

static void recover_launched(struct turn *turn, struct agent_task *task,
                             const struct agent_event *event)
{
    // Without a boot id it is not known whether, and so in which boot, it was launched.
    bool same_boot =
        text_empty(event->record->boot_id) || text_is(event->record->boot_id, turn->logic->boot_id);
    task->phase = JOURNAL_PHASE_LAUNCHED;
    task->launch_version = task->put_version;
    task->prepare = STEP_DONE;
    // The agent was killed between its record and the supervisor's first state.
    bool unstarted = event->unstarted && text_is(event->record->boot_id, turn->logic->boot_id);
    task->relaunch = unstarted || (MUTANT("relaunch-after-crash") && !event->supervisor_alive);
    task->launch = task->relaunch ? STEP_TODO : STEP_DONE;
    if (event->state != NULL) {
        take_state(turn, task, event->state);
    }
    if (task->relaunch) {
        task->unconfirmed = true; // for the reason that agent_task_recover tells
    } else if (same_boot && event->supervisor_alive) {
        task->start_deadline_ms = turn->now.monotonic_ms + START_TIMEOUT_MS;
        agent_turn_effect(turn, AGENT_EFFECT_ATTACH, task);
    } else if (task->state != NULL && task->state->finished) {
        agent_task_end(turn, task, (struct text){0});
    } else if (!same_boot) {
        agent_task_end(turn, task, TEXT("ContainerRuntimeError: the host was restarted"));
    } else if (task->state != NULL) {
        agent_task_supervisor_lost(turn, task);
    } else {
        agent_task_end(
            turn, task,
            TEXT("ContainerRuntimeError: the node's agent was interrupted while it started "
                 "the task"));
    }
}

static void recover_stopped(struct turn *turn, struct agent_task *task,
                            const struct journal_task *record)
{
    if (record->last != NULL) {
        take_state(turn, task, record->last);
    }
    task->ended = true;
    task->phase = JOURNAL_PHASE_STOPPED;
    task->stopped_version = task->put_version;
    task->prepare = STEP_SKIPPED;
    task->launch = STEP_SKIPPED;
    agent_task_facts(turn, task);
}

void agent_task_recover(struct turn *turn, const struct agent_event *event)
{
    const struct journal_task *record = event->record;
    ASSERT(record->spec != NULL);
    ASSERT(record->spec->definition != NULL);
    struct agent_task *task = agent_task_new(turn->logic, record->spec);
    task->journaled = true;
    task->put_version = 1;
    task->durable_version = 1;
    task->stop_requested = record->stop_requested;
    task->reason =
        text_empty(record->reason) ? NULL : alloc_format("%.*s", TEXT_FMT(record->reason));
    task->failed_container = text_empty(record->failed_container)
                                 ? NULL
                                 : alloc_format("%.*s", TEXT_FMT(record->failed_container));
    task->pull_started_at = record->pull_started_at;
    task->pull_stopped_at = record->pull_stopped_at;
    task->network_ready_at = record->network_ready_at;
    task->prepared_at = record->prepared_at;
    agent_task_keep(turn, task, &record->images, &record->ports);
    bool remains = event->supervisor_alive || event->state != NULL;
    if (record->phase == JOURNAL_PHASE_STOPPED) {
        recover_stopped(turn, task, record);
    } else if (record->phase == JOURNAL_PHASE_LAUNCHED || remains) {
        recover_launched(turn, task, event);
    } else {
        // It may have ended without the journal's knowing, on a full disk, and its address may be
        // somebody else's by now. The server sends all that it still wants with each session.
        task->unconfirmed = true;
    }
}
