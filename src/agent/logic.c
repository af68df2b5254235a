#include "agent/logic_internal.h"

#include "base/limits.h"

#include <stdio.h>

#define EFFECTS_KEPT 64
#define EFFECTS_KEPT_BYTES 16384

// ---- effects ------------------------------------------------------------------------------

void agent_effects_reset(struct agent_effects *effects)
{
    if (effects->arena.total_bytes > EFFECTS_KEPT_BYTES || effects->count > EFFECTS_KEPT) {
        agent_effects_deinit(effects); // a wave of them is over
        return;
    }
    arena_reset(&effects->arena);
    effects->count = 0;
}

void agent_effects_deinit(struct agent_effects *effects)
{
    arena_deinit(&effects->arena);
    alloc_free(effects->items);
    *effects = (struct agent_effects){0};
}

struct agent_effect *agent_turn_effect(struct turn *turn, enum agent_effect_kind kind,
                                       struct agent_task *task)
{
    struct agent_effects *effects = turn->effects;
    if (effects->count == effects->capacity) {
        effects->capacity = MAX(effects->capacity * 2, (size_t)16);
        effects->items = alloc_resize(effects->items, effects->capacity, sizeof(*effects->items));
    }
    struct agent_effect *effect = &effects->items[effects->count++];
    *effect = (struct agent_effect){.kind = kind};
    if (task != NULL) {
        effect->task_id = arena_text(&effects->arena, task->id);
    }
    return effect;
}

void agent_turn_send(struct turn *turn, enum agent_effect_kind kind, const char *type,
                     const struct shape_type *shape, const void *frame)
{
    struct agent_effect *effect = agent_turn_effect(turn, kind, NULL);
    effect->frame_type = type;
    effect->frame_shape = shape;
    effect->frame = frame;
}

void agent_turn_due(struct turn *turn, int64_t at_ms)
{
    turn->logic->due_ms = MIN(turn->logic->due_ms, at_ms);
}

// ---- acknowledgements ---------------------------------------------------------------------

static struct ack *ack_new(const struct agent_logic *logic, struct text message_id)
{
    struct ack *ack = ALLOC(struct ack);
    ack->waiting = 1; // the message itself, until all its tasks were looked at
    ack->session = logic->session;
    ack->message_id = alloc_format("%.*s", TEXT_FMT(message_id));
    return ack;
}

static void send_ack(struct turn *turn, const char *message_id)
{
    struct agent_logic *logic = turn->logic;
    struct arena *arena = &turn->effects->arena;
    struct session_ack_request *frame = ARENA_NEW(arena, struct session_ack_request);
    frame->message_id = arena_text(arena, text_of(message_id));
    frame->cluster = text_of(logic->cluster);
    frame->container_instance = text_of(logic->container_instance);
    agent_turn_send(turn, AGENT_EFFECT_SEND, "AckRequest", &session_ack_request_shape, frame);
}

static void ack_step(struct turn *turn, struct ack *ack)
{
    ASSERT(ack->waiting > 0);
    ack->waiting--;
    if (ack->waiting > 0) {
        return;
    }
    // In a later session the server has sent the tasks again, under an id of its own.
    if (turn->logic->connected && ack->session == turn->logic->session) {
        send_ack(turn, ack->message_id);
    }
    alloc_free(ack->message_id);
    alloc_free(ack);
}

static void ack_wait_for(struct ack *ack, struct agent_task *task, int64_t version)
{
    if (task->durable_version >= version) {
        return;
    }
    ack->waiting++;
    task->waits = alloc_resize(task->waits, task->wait_count + 1, sizeof(*task->waits));
    task->waits[task->wait_count++] = (struct ack_wait){.ack = ack, .version = version};
}

void agent_task_resolve_acks(struct turn *turn, struct agent_task *task, bool gone)
{
    size_t kept = 0;
    for (size_t i = 0; i < task->wait_count; i++) {
        if (gone || task->waits[i].version <= task->durable_version) {
            ack_step(turn, task->waits[i].ack);
        } else {
            task->waits[kept++] = task->waits[i];
        }
    }
    task->wait_count = kept;
}

// ---- tasks --------------------------------------------------------------------------------

struct text agent_task_id(struct text task_arn)
{
    size_t slash = text_find_last(task_arn, '/');
    if (slash == SIZE_MAX || task_arn.size - slash - 1 != HEX_ID_SIZE) {
        return (struct text){0};
    }
    struct text id = text_slice(task_arn, slash + 1, task_arn.size);
    for (size_t i = 0; i < id.size; i++) {
        bool digit = id.data[i] >= '0' && id.data[i] <= '9';
        if (!digit && (id.data[i] < 'a' || id.data[i] > 'f')) {
            return (struct text){0};
        }
    }
    return id;
}

struct agent_task *agent_task_new(struct agent_logic *logic, const struct session_task_spec *spec)
{
    struct agent_task *task = ALLOC(struct agent_task);
    struct session_task_spec own = *spec;
    own.definition = NULL;
    task->spec = shape_clone(&session_task_spec_shape, &own, NULL);
    if (spec->definition != NULL) {
        task->definition =
            shared_take(&logic->shared, &ecs_task_definition_shape, spec->definition);
        // Nobody writes through it: a spec never changes.
        task->spec->definition = (void *)(uintptr_t)task->definition->value;
    }
    task->id = agent_task_id(task->spec->task_arn);
    ASSERT(task->id.data != NULL);
    task->phase = JOURNAL_PHASE_ACCEPTED;
    task->stop_deadline_ms = NEVER;
    task->start_deadline_ms = NEVER;
    task->previous = logic->last;
    if (logic->last == NULL) {
        logic->first = task;
    } else {
        logic->last->next = task;
    }
    logic->last = task;
    void *before = map_put(&logic->tasks, task->id, task);
    ASSERT(before == NULL);
    return task;
}

static void agent_task_free(struct agent_logic *logic, struct agent_task *task)
{
    alloc_free(task->spec);
    shared_release(&logic->shared, task->definition);
    alloc_free(task->state);
    shared_release(&logic->shared, task->kept);
    alloc_free(task->reason);
    alloc_free(task->failed_container);
    alloc_free(task->note);
    alloc_free(task->waits);
    alloc_free(task);
}

/*
 * Remember an ended task. A message of the server that was under way while the server took the
 * STOPPED report may name the task once more, and must not start it again. Such messages are of
 * this session or the one that was being opened: messages of an older one are not delivered. So a
 * short memory is enough, and a new agent needs none.
 */
static void agent_logic_bury(struct agent_logic *logic, struct text id)
{
    if (!MUTANT("forget-ended-tasks")) {
        buried_add(&logic->buried, id);
    }
}

void agent_task_forget(struct turn *turn, struct agent_task *task)
{
    struct agent_logic *logic = turn->logic;
    ASSERT(!task->queued);
    ASSERT(task->report_id == 0);
    agent_task_resolve_acks(turn, task, true);
    agent_task_timeline_last(turn, task);
    agent_logic_bury(logic, task->id);
    map_remove(&logic->tasks, task->id);
    if (task->previous == NULL) {
        logic->first = task->next;
    } else {
        task->previous->next = task->next;
    }
    if (task->next == NULL) {
        logic->last = task->previous;
    } else {
        task->next->previous = task->previous;
    }
    agent_task_free(logic, task);
}

// ---- messages of the session --------------------------------------------------------------

static bool name_valid(struct text name)
{
    if (name.size == 0 || name.size > LIMIT_NAME_CHARS) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

// What stands against running a task that the server sent, or NULL. Names become parts of paths on
// this host, so they are looked at here as well.
static const char *spec_problem(const struct session_task_spec *spec)
{
    if (spec->definition == NULL) {
        return "it has no definition";
    }
    const struct ecs_container_definition_list *containers =
        &spec->definition->container_definitions;
    if (containers->count == 0 || containers->count > LIMIT_CONTAINERS) {
        return "it must have 1 to 10 containers";
    }
    for (size_t i = 0; i < containers->count; i++) {
        if (!name_valid(containers->items[i].name)) {
            return "a container has no valid name";
        }
        if (text_empty(containers->items[i].image)) {
            return "a container has no image";
        }
        for (size_t k = 0; k < i; k++) {
            if (text_equal(containers->items[i].name, containers->items[k].name)) {
                return "two containers have the same name";
            }
        }
    }
    return NULL;
}

// A task that is over as far as this node knows: all that is left is to tell the server.
static struct agent_task *ghost_new(struct agent_logic *logic, const struct session_task_spec *spec,
                                    const char *reason)
{
    struct agent_task *task = agent_task_new(logic, spec);
    task->ended = true;
    task->phase = JOURNAL_PHASE_STOPPED;
    task->prepare = STEP_SKIPPED;
    task->launch = STEP_SKIPPED;
    task->kill = STEP_DONE;
    task->clean = STEP_DONE;
    task->reason = reason == NULL ? NULL : alloc_string(reason);
    return task;
}

static void stop_task(struct turn *turn, struct agent_task *task)
{
    if (!task->stop_requested && !task->ended) {
        task->stop_requested = true;
        agent_task_put(turn, task);
    }
}

static struct agent_task *unknown_task(struct turn *turn, const struct session_task_spec *spec,
                                       bool stop)
{
    struct agent_logic *logic = turn->logic;
    const char *problem = spec_problem(spec);
    AUTO(alloc_string) char *reason = NULL;
    if (stop) {
        return ghost_new(logic, spec, NULL);
    }
    if (buried_has(&logic->buried, agent_task_id(spec->task_arn))) {
        return ghost_new(logic, spec, "TaskStateError: the task has ended on this host before");
    }
    if (problem != NULL) {
        reason = alloc_format("UnrecognizedTaskError: the task cannot be run: %s", problem);
        return ghost_new(logic, spec, reason);
    }
    struct agent_task *task = agent_task_new(logic, spec);
    task->journaled = true;
    agent_task_put(turn, task);
    return task;
}

static void payload_task(struct turn *turn, struct ack *ack, const struct session_task_spec *spec)
{
    struct agent_logic *logic = turn->logic;
    struct text id = agent_task_id(spec->task_arn);
    bool stop = text_is(spec->desired_status, "STOPPED");
    bool run = text_is(spec->desired_status, "RUNNING");
    struct agent_task *task = id.data == NULL ? NULL : map_get(&logic->tasks, id);
    bool other = task != NULL && !text_equal(task->spec->task_arn, spec->task_arn);
    bool full = task == NULL && logic->tasks.count >= AGENT_TASK_MAX;
    if (id.data == NULL || !(stop || run) || other || full) {
        ack->session = -1; // never acknowledged: the server knows that it was not taken
        return;
    }
    if (task == NULL) {
        task = unknown_task(turn, spec, stop);
    } else if (stop) {
        stop_task(turn, task);
    } else {
        task->unconfirmed = false;
    }
    ack_wait_for(ack, task, task->journaled ? task->put_version : INT64_MAX);
    agent_task_step(turn, task);
}

static void apply_payload(struct turn *turn, const struct session_payload_message *payload)
{
    struct agent_logic *logic = turn->logic;
    logic->sequence = MAX(logic->sequence, payload->seq_num);
    struct ack *ack = ack_new(logic, payload->message_id);
    for (size_t i = 0; i < payload->tasks.count; i++) {
        payload_task(turn, ack, &payload->tasks.items[i]);
    }
    ack_step(turn, ack);
}

static void apply_manifest(struct turn *turn, const struct session_task_manifest_message *manifest)
{
    struct agent_logic *logic = turn->logic;
    if (manifest->timeline <= logic->sequence) {
        return; // the tasks that came since are not in it
    }
    logic->sequence = manifest->timeline;
    struct arena *arena = &turn->effects->arena;
    AUTO(alloc_string) char *message_id = alloc_format("%.*s", TEXT_FMT(manifest->message_id));
    send_ack(turn, message_id);

    AUTO(map_deinit) struct map wanted = {0};
    for (size_t i = 0; i < manifest->tasks.count; i++) {
        const struct session_manifest_task *listed = &manifest->tasks.items[i];
        if (text_is(listed->desired_status, "RUNNING")) {
            map_put(&wanted, listed->task_arn, logic);
        }
    }
    struct session_manifest_task *candidates =
        arena_array(arena, logic->tasks.count, sizeof(*candidates));
    size_t count = 0;
    for (struct agent_task *task = logic->first; task != NULL; task = task->next) {
        bool runs = !task->ended && !task->stop_requested;
        if (runs && map_get(&wanted, task->spec->task_arn) == NULL) {
            candidates[count++] = (struct session_manifest_task){.task_arn = task->spec->task_arn,
                                                                 .desired_status = TEXT("STOPPED")};
        }
    }
    if (count == 0) {
        return;
    }
    alloc_free(logic->manifest_id);
    logic->manifest_id = message_id;
    message_id = NULL;
    struct session_task_stop_verification_message *frame =
        ARENA_NEW(arena, struct session_task_stop_verification_message);
    frame->message_id = arena_text(arena, text_of(logic->manifest_id));
    frame->stop_candidates.items = candidates;
    frame->stop_candidates.count = count;
    agent_turn_send(turn, AGENT_EFFECT_SEND, "TaskStopVerificationMessage",
                    &session_task_stop_verification_message_shape, frame);
}

static void apply_stop_ack(struct turn *turn, const struct session_task_stop_verification_ack *ack)
{
    struct agent_logic *logic = turn->logic;
    if (logic->manifest_id == NULL || !text_is(ack->message_id, logic->manifest_id)) {
        return;
    }
    for (size_t i = 0; i < ack->stop_tasks.count; i++) {
        struct text id = agent_task_id(ack->stop_tasks.items[i].task_arn);
        struct agent_task *task = id.data == NULL ? NULL : map_get(&logic->tasks, id);
        if (task != NULL && text_equal(task->spec->task_arn, ack->stop_tasks.items[i].task_arn)) {
            stop_task(turn, task);
            agent_task_step(turn, task);
        }
    }
}

// ---- the session itself -------------------------------------------------------------------

static void session_begin(struct turn *turn, const struct agent_event *event)
{
    struct agent_logic *logic = turn->logic;
    logic->session++;
    logic->connected = true;
    logic->sequence = 0; // the server counts anew, and messages of older sessions do not come
    alloc_free(logic->container_instance);
    alloc_free(logic->cluster);
    alloc_free(logic->manifest_id);
    logic->container_instance = alloc_format("%.*s", TEXT_FMT(event->container_instance));
    logic->cluster = alloc_format("%.*s", TEXT_FMT(event->cluster));
    logic->manifest_id = NULL;
    // The server is back: reports need not wait until their next attempt is due.
    for (struct agent_task *task = logic->first; task != NULL; task = task->next) {
        task->report_at_ms = 0;
        task->report_attempts = 0;
    }
    agent_turn_due(turn, turn->now.monotonic_ms);
}

// ---- all events ---------------------------------------------------------------------------

static void step_all(struct turn *turn)
{
    struct agent_task *next = NULL;
    for (struct agent_task *task = turn->logic->first; task != NULL; task = next) {
        next = task->next;
        agent_task_step(turn, task);
    }
}

static void agent_turn_finish(struct turn *turn)
{
    struct agent_logic *logic = turn->logic;
    if (logic->due_ms <= turn->now.monotonic_ms) {
        logic->due_ms = NEVER;
        step_all(turn);
    }
    agent_logic_start_prepares(turn);
    agent_logic_health(turn);
    agent_logic_timeline(turn);
    if (logic->due_ms != logic->told_due_ms) {
        logic->told_due_ms = logic->due_ms;
        agent_turn_effect(turn, AGENT_EFFECT_WAKE_AT, NULL)->at_ms =
            logic->due_ms == NEVER ? -1 : logic->due_ms;
    }
}

// Events that answer an effect for one task. They may come when the task is gone, after a repeated
// kill for example, and mean nothing then.
static void apply_to_task(struct turn *turn, const struct agent_event *event)
{
    struct agent_task *task = map_get(&turn->logic->tasks, event->task_id);
    if (task == NULL) {
        return;
    }
    switch (event->kind) {
    case AGENT_EVENT_JOURNALED:
        agent_task_journaled(turn, task, event);
        return;
    case AGENT_EVENT_PREPARED:
        agent_task_prepared(turn, task, event);
        break;
    case AGENT_EVENT_LAUNCHED:
        agent_task_launched(turn, task, event);
        break;
    case AGENT_EVENT_STATE:
        agent_task_state(turn, task, event->state);
        break;
    case AGENT_EVENT_SUPERVISOR_LOST:
        agent_task_supervisor_lost(turn, task);
        break;
    case AGENT_EVENT_KILLED:
        agent_task_killed(turn, task, event->rc);
        break;
    case AGENT_EVENT_CLEANED:
        agent_task_cleaned(turn, task, event->rc);
        break;
    case AGENT_EVENT_REPORTED:
        if (task->report_id == 0 || task->report_id != event->report_id) {
            return;
        }
        agent_task_reported(turn, task, event->outcome);
        break;
    case AGENT_EVENT_RECOVERED:
    case AGENT_EVENT_RECOVERY_DONE:
    case AGENT_EVENT_CONNECTED:
    case AGENT_EVENT_DISCONNECTED:
    case AGENT_EVENT_TELEMETRY_CONNECTED:
    case AGENT_EVENT_TIMELINE_TAKEN:
    case AGENT_EVENT_PAYLOAD:
    case AGENT_EVENT_MANIFEST:
    case AGENT_EVENT_STOP_VERIFICATION_ACK:
    case AGENT_EVENT_TIME:
        ASSERT(false);
    }
    agent_task_step(turn, task);
}

static void apply_event(struct turn *turn, const struct agent_event *event)
{
    struct agent_logic *logic = turn->logic;
    switch (event->kind) {
    case AGENT_EVENT_RECOVERED:
        ASSERT(!logic->recovered);
        agent_task_recover(turn, event);
        break;
    case AGENT_EVENT_RECOVERY_DONE:
        ASSERT(!logic->recovered);
        logic->recovered = true;
        step_all(turn);
        break;
    case AGENT_EVENT_CONNECTED:
        session_begin(turn, event);
        break;
    case AGENT_EVENT_DISCONNECTED:
        logic->connected = false;
        break;
    case AGENT_EVENT_TELEMETRY_CONNECTED:
        logic->health_at_ms = turn->now.monotonic_ms;
        agent_logic_timeline_again(turn);
        break;
    case AGENT_EVENT_TIMELINE_TAKEN:
        agent_logic_timeline_taken(turn, event->message_id);
        break;
    case AGENT_EVENT_PAYLOAD:
        apply_payload(turn, event->payload);
        break;
    case AGENT_EVENT_MANIFEST:
        apply_manifest(turn, event->manifest);
        break;
    case AGENT_EVENT_STOP_VERIFICATION_ACK:
        apply_stop_ack(turn, event->stop_ack);
        break;
    case AGENT_EVENT_JOURNALED:
    case AGENT_EVENT_PREPARED:
    case AGENT_EVENT_LAUNCHED:
    case AGENT_EVENT_STATE:
    case AGENT_EVENT_SUPERVISOR_LOST:
    case AGENT_EVENT_KILLED:
    case AGENT_EVENT_CLEANED:
    case AGENT_EVENT_REPORTED:
        apply_to_task(turn, event);
        break;
    case AGENT_EVENT_TIME:
        break;
    }
}

void agent_logic_apply(struct agent_logic *logic, struct agent_time now,
                       const struct agent_event *event, struct agent_effects *effects)
{
    ASSERT(now.monotonic_ms >= 0);
    ASSERT(effects->count == 0);
    ASSERT(logic->recovered || event->kind == AGENT_EVENT_RECOVERED ||
           event->kind == AGENT_EVENT_RECOVERY_DONE);
    struct turn turn = {.logic = logic, .now = now, .effects = effects};
    apply_event(&turn, event);
    if (logic->recovered) {
        agent_turn_finish(&turn);
    }
}

void agent_logic_stop_all(struct agent_logic *logic, struct agent_time now,
                          struct agent_effects *effects)
{
    ASSERT(effects->count == 0);
    ASSERT(logic->recovered);
    struct turn turn = {.logic = logic, .now = now, .effects = effects};
    for (struct agent_task *task = logic->first; task != NULL; task = task->next) {
        stop_task(&turn, task);
    }
    step_all(&turn);
    agent_turn_finish(&turn);
}

// ---- life ---------------------------------------------------------------------------------

struct agent_logic *agent_logic_new(const struct agent_logic_options *options)
{
    struct agent_logic *logic = ALLOC(struct agent_logic);
    logic->boot_id = alloc_format("%.*s", TEXT_FMT(options->boot_id));
    logic->prepare_max = options->prepare_max == 0 ? AGENT_PREPARE_MAX : options->prepare_max;
    logic->health_at_ms = NEVER;
    logic->timeline_at_ms = NEVER;
    logic->due_ms = NEVER;
    logic->told_due_ms = NEVER;
    return logic;
}

void agent_logic_free(struct agent_logic *logic)
{
    if (logic == NULL) {
        return;
    }
    struct agent_effects nowhere = {0};
    struct turn turn = {.logic = logic, .effects = &nowhere};
    logic->connected = false;
    struct agent_task *next = NULL;
    for (struct agent_task *task = logic->first; task != NULL; task = next) {
        next = task->next;
        agent_task_resolve_acks(&turn, task, true);
        agent_task_free(logic, task);
    }
    ASSERT(nowhere.count == 0);
    agent_logic_timeline_deinit(logic);
    map_deinit(&logic->tasks);
    shared_deinit(&logic->shared);
    alloc_free(logic->boot_id);
    alloc_free(logic->container_instance);
    alloc_free(logic->cluster);
    alloc_free(logic->manifest_id);
    alloc_free(logic);
}

static struct agent_task_view view_of(const struct agent_task *task)
{
    const struct journal_task *kept = agent_task_kept(task);
    return (struct agent_task_view){
        .spec = task->spec,
        .phase = task->phase,
        .stop_requested = task->stop_requested,
        .launched = task->launch == STEP_BUSY || task->launch == STEP_DONE,
        .ended = task->ended,
        .cleaned = task->clean == STEP_DONE,
        .state = task->state,
        .images = kept == NULL ? (struct journal_container_image_list){0} : kept->images,
        .ports = kept == NULL ? (struct journal_container_ports_list){0} : kept->ports,
        .pull_started_at = task->pull_started_at,
        .pull_stopped_at = task->pull_stopped_at,
    };
}

bool agent_logic_task(const struct agent_logic *logic, struct text task_id,
                      struct agent_task_view *out_view)
{
    const struct agent_task *task = map_get(&logic->tasks, task_id);
    if (task != NULL) {
        *out_view = view_of(task);
    }
    return task != NULL;
}

size_t agent_logic_count(const struct agent_logic *logic)
{
    return logic->tasks.count;
}

void agent_logic_each(const struct agent_logic *logic,
                      void (*visit)(void *context, struct text task_id,
                                    const struct agent_task_view *view),
                      void *context)
{
    for (const struct agent_task *task = logic->first; task != NULL; task = task->next) {
        struct agent_task_view view = view_of(task);
        visit(context, task->id, &view);
    }
}
