#include "agent/logic.h"
#include "base/buf.h"
#include "base/text.h"
#include "fuzz.h"
#include "shape/json.h"

#include <stdio.h>
#include <string.h>

/*
 * The agent's task logic under any order of messages, answers, failures and crashes.
 *
 * Each input byte is an event, some take the next byte as an argument; around the logic stands the
 * simplest host, journal and server that can tell whether a promise of agent/logic.h is broken. The
 * last event takes the rest of the input as the JSON of a message.
 */

#define TASK_COUNT 3
#define QUEUE_MAX 64

enum asked { ASKED_PREPARE, ASKED_LAUNCH, ASKED_KILL, ASKED_CLEAN, ASKED_COUNT };

/** What the world knows of a task. */
struct fate {
    bool asked[ASKED_COUNT]; ///< and not answered yet
    bool launched;           ///< by this agent
    bool started;            ///< ever, in all lives of the agent
    bool killed;             ///< and not cleaned since
    bool supervisor;         ///< is alive
    bool told_stopped;       ///< the server took it
    bool remains;            ///< something is left on the host
    bool over_before;        ///< the server had it as STOPPED before this agent began
    bool stop_sent;          ///< to this agent
    bool clean_failed;       ///< in this agent, as did a write of the end
    int64_t report_id;       ///< under way
    bool report_stopped;
    int64_t sequence;           ///< of states
    enum journal_phase durable; ///< in the journal; 0 when there is no record
    bool durable_stop;
};

/** A write that the journal has not answered. */
struct put {
    size_t task;
    int64_t version;
    enum journal_phase phase; ///< 0: deletion
    bool stop;
};

struct world {
    struct agent_logic *logic;
    struct agent_effects effects;
    struct agent_time now;
    struct fate fates[TASK_COUNT];
    struct put puts[QUEUE_MAX];
    size_t put_count;
    int64_t sequence;
};

static struct ecs_container_definition containers[] = {
    {.name = TEXT("web"), .image = TEXT("web"), .has_essential = true, .essential = true}};
static struct ecs_task_definition definition = {
    .container_definitions = {.items = containers, .count = 1}};

static const char *const arns[TASK_COUNT] = {
    "arn:aws:ecs:eu-west-1:0:task/c/00000000000000000000000000000000",
    "arn:aws:ecs:eu-west-1:0:task/c/00000000000000000000000000000001",
    "arn:aws:ecs:eu-west-1:0:task/c/00000000000000000000000000000002",
};

static struct text id_of(size_t task)
{
    return agent_task_id(text_of(arns[task]));
}

static struct session_task_spec spec_of(size_t task, const char *status)
{
    return (struct session_task_spec){.task_arn = text_of(arns[task]),
                                      .desired_status = text_of(status),
                                      .definition = &definition};
}

// ---- effects ------------------------------------------------------------------------------

static size_t task_of(struct text id)
{
    for (size_t i = 0; i < TASK_COUNT; i++) {
        if (text_equal(id, id_of(i))) {
            return i;
        }
    }
    return TASK_COUNT;
}

static void ask(struct fate *fate, enum asked what)
{
    ASSERT(!fate->asked[what]);
    fate->asked[what] = true;
}

static void take_put(struct world *world, size_t task, const struct agent_effect *effect)
{
    // A queue that is full is a journal that hangs; the answers of those before still come.
    ASSERT(world->put_count < QUEUE_MAX);
    world->puts[world->put_count++] = (struct put){
        .task = task,
        .version = effect->version,
        .phase = effect->record == NULL ? 0 : effect->record->phase,
        .stop = effect->record != NULL && effect->record->stop_requested,
    };
    if (effect->record == NULL) {
        ASSERT(world->fates[task].told_stopped);
        ASSERT(!world->fates[task].remains);
    }
}

static void take_report(struct fate *fate, const struct agent_effect *effect)
{
    ASSERT(fate->report_id == 0);
    fate->report_id = effect->report_id;
    fate->report_stopped = text_is(effect->report->status, "STOPPED");
    if (fate->report_stopped) {
        ASSERT(!fate->supervisor);
        ASSERT(!fate->remains || fate->clean_failed);
    }
}

static void take_effect(struct world *world, const struct agent_effect *effect)
{
    size_t task = effect->task_id.data == NULL ? TASK_COUNT : task_of(effect->task_id);
    if (task == TASK_COUNT) {
        return; // of no task, or of one that the JSON named
    }
    struct fate *fate = &world->fates[task];
    switch (effect->kind) {
    case AGENT_EFFECT_JOURNAL_PUT:
    case AGENT_EFFECT_JOURNAL_DELETE:
        take_put(world, task, effect);
        break;
    case AGENT_EFFECT_PREPARE:
        ask(fate, ASKED_PREPARE);
        fate->remains = true;
        break;
    case AGENT_EFFECT_LAUNCH:
        ask(fate, ASKED_LAUNCH);
        ASSERT(!fate->launched);
        ASSERT(!fate->started);
        ASSERT(!fate->stop_sent);
        ASSERT(fate->durable == JOURNAL_PHASE_LAUNCHED);
        fate->launched = true;
        break;
    case AGENT_EFFECT_KILL:
        ask(fate, ASKED_KILL);
        break;
    case AGENT_EFFECT_CLEAN:
        ask(fate, ASKED_CLEAN);
        ASSERT(!fate->supervisor);
        ASSERT(fate->durable == JOURNAL_PHASE_STOPPED || fate->told_stopped);
        break;
    case AGENT_EFFECT_REPORT:
        take_report(fate, effect);
        break;
    case AGENT_EFFECT_STOP:
    case AGENT_EFFECT_ATTACH:
        ASSERT(fate->launched || fate->started);
        break;
    case AGENT_EFFECT_SEND:
    case AGENT_EFFECT_HEALTH:
    case AGENT_EFFECT_WAKE_AT:
        break;
    }
}

static void apply(struct world *world, struct agent_event event)
{
    agent_logic_apply(world->logic, world->now, &event, &world->effects);
    for (size_t i = 0; i < world->effects.count; i++) {
        take_effect(world, &world->effects.items[i]);
    }
    agent_effects_reset(&world->effects);
}

// ---- events -------------------------------------------------------------------------------

static void send_payload(struct world *world, size_t task, const char *status)
{
    struct session_task_spec spec = spec_of(task, status);
    struct session_payload_message message = {
        .message_id = TEXT("m"),
        .tasks = {.items = &spec, .count = 1},
        .seq_num = ++world->sequence,
    };
    apply(world, (struct agent_event){.kind = AGENT_EVENT_PAYLOAD, .payload = &message});
}

static void answer_put(struct world *world, bool fails)
{
    if (world->put_count == 0) {
        return;
    }
    struct put put = world->puts[0];
    struct fate *fate = &world->fates[put.task];
    world->put_count--;
    memmove(world->puts, world->puts + 1, world->put_count * sizeof(put));
    if (!fails) {
        fate->durable = put.phase;
        fate->durable_stop = put.stop;
    } else {
        fate->clean_failed = true;
    }
    apply(world, (struct agent_event){.kind = AGENT_EVENT_JOURNALED,
                                      .task_id = id_of(put.task),
                                      .version = put.version,
                                      .rc = fails ? ERR_FULL_DISK : 0,
                                      .reason = TEXT("ResourceInitializationError: full")});
}

static void answer(struct world *world, size_t task, enum asked what, enum agent_event_kind kind,
                   bool fails)
{
    struct fate *fate = &world->fates[task];
    if (!fate->asked[what]) {
        return;
    }
    fate->asked[what] = false;
    if (what == ASKED_LAUNCH) {
        fate->supervisor = !fails;
        fate->started = true;
    } else if (what == ASKED_KILL && !fails) {
        fate->killed = true;
        fate->supervisor = false;
    } else if (what == ASKED_CLEAN) {
        fate->remains = fails;
        fate->killed = fate->killed && fails;
        fate->clean_failed = fate->clean_failed || fails;
    }
    apply(world, (struct agent_event){.kind = kind,
                                      .task_id = id_of(task),
                                      .rc = fails ? ERR_SYS : 0,
                                      .reason = TEXT("Failure: the input says so")});
}

static struct supervisor_state make_state(struct fate *fate, uint8_t how,
                                          struct supervisor_container_state *container)
{
    *container = (struct supervisor_container_state){
        .name = TEXT("web"),
        .status = (enum supervisor_status)(1 + how % 5),
        .has_exit_code = (how & 8) != 0,
        .started_at = (how & 16) != 0 ? 5 : 0,
        .health = (enum supervisor_health)(how >> 5 & 3),
    };
    return (struct supervisor_state){
        .sequence = fate->sequence += how & 1,
        .containers = {.items = container, .count = 1},
        .finished = how % 5 == 4,
        .essential_exited = how % 5 == 4,
    };
}

static void send_state(struct world *world, size_t task, uint8_t how)
{
    struct fate *fate = &world->fates[task];
    if (!fate->supervisor || fate->asked[ASKED_LAUNCH]) {
        return;
    }
    struct supervisor_container_state container;
    struct supervisor_state state = make_state(fate, how, &container);
    apply(world,
          (struct agent_event){.kind = AGENT_EVENT_STATE, .task_id = id_of(task), .state = &state});
}

static void lose_supervisor(struct world *world, size_t task)
{
    struct fate *fate = &world->fates[task];
    if (fate->supervisor && !fate->asked[ASKED_LAUNCH]) {
        fate->supervisor = false;
        apply(world,
              (struct agent_event){.kind = AGENT_EVENT_SUPERVISOR_LOST, .task_id = id_of(task)});
    }
}

static void answer_report(struct world *world, size_t task, uint8_t how)
{
    struct fate *fate = &world->fates[task];
    int64_t report_id = fate->report_id;
    if (report_id == 0) {
        return;
    }
    enum agent_outcome outcome = (enum agent_outcome)(how % 3);
    fate->report_id = 0;
    fate->told_stopped =
        fate->told_stopped || (fate->report_stopped && outcome != AGENT_REPORT_TRY_AGAIN);
    apply(world, (struct agent_event){.kind = AGENT_EVENT_REPORTED,
                                      .task_id = id_of(task),
                                      .report_id = report_id,
                                      .outcome = outcome});
}

static void send_manifest(struct world *world, uint8_t how)
{
    struct session_manifest_task tasks[TASK_COUNT];
    struct session_task_manifest_message message = {
        .message_id = TEXT("m"), .timeline = ++world->sequence, .tasks = {.items = tasks}};
    for (size_t i = 0; i < TASK_COUNT; i++) {
        if ((how & 1 << i) != 0) {
            tasks[message.tasks.count++] =
                (struct session_manifest_task){text_of(arns[i]), TEXT("RUNNING")};
        }
    }
    apply(world, (struct agent_event){.kind = AGENT_EVENT_MANIFEST, .manifest = &message});
    struct session_task_stop_verification_ack ack = {
        .message_id = TEXT("m"), .stop_tasks = {.items = tasks, .count = message.tasks.count}};
    if ((how & 128) != 0) {
        apply(world,
              (struct agent_event){.kind = AGENT_EVENT_STOP_VERIFICATION_ACK, .stop_ack = &ack});
    }
}

static void send_json(struct world *world, struct text json)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct session_payload_message payload = {0};
    struct session_task_manifest_message manifest = {0};
    struct shape_error error = {0};
    if (json_decode(&session_payload_message_shape, json, &arena, &payload, &error) == 0 &&
        shape_validate(&session_payload_message_shape, &payload, &error) == 0) {
        apply(world, (struct agent_event){.kind = AGENT_EVENT_PAYLOAD, .payload = &payload});
    } else if (json_decode(&session_task_manifest_message_shape, json, &arena, &manifest, &error) ==
                   0 &&
               shape_validate(&session_task_manifest_message_shape, &manifest, &error) == 0) {
        apply(world, (struct agent_event){.kind = AGENT_EVENT_MANIFEST, .manifest = &manifest});
    }
}

// ---- lives of the agent -------------------------------------------------------------------

static void begin(struct world *world, bool reboot)
{
    const struct agent_logic_options options = {.boot_id = reboot ? TEXT("b") : TEXT("a"),
                                                .prepare_max = 2};
    world->logic = agent_logic_new(&options);
    for (size_t i = 0; i < TASK_COUNT; i++) {
        struct fate *fate = &world->fates[i];
        if (fate->durable == 0) {
            continue;
        }
        struct session_task_spec spec = spec_of(i, "RUNNING");
        const struct journal_task record = {
            .spec = &spec,
            .phase = fate->durable,
            .stop_requested = fate->durable_stop,
            .boot_id = TEXT("a"),
        };
        struct supervisor_container_state container;
        struct supervisor_state state = make_state(fate, 17, &container);
        apply(world, (struct agent_event){.kind = AGENT_EVENT_RECOVERED,
                                          .task_id = id_of(i),
                                          .record = &record,
                                          .state = fate->supervisor ? &state : NULL,
                                          .supervisor_alive = fate->supervisor,
                                          .unstarted = fate->remains && !fate->started &&
                                                       !fate->killed && !reboot});
    }
    apply(world, (struct agent_event){.kind = AGENT_EVENT_RECOVERY_DONE});
}

// What was asked for may or may not have been done; what was not answered by the journal may or may
// not be there.
static void crash(struct world *world, uint8_t how)
{
    agent_logic_free(world->logic);
    for (size_t i = 0; i < world->put_count && (how & 1) != 0; i++) {
        world->fates[world->puts[i].task].durable = world->puts[i].phase;
        world->fates[world->puts[i].task].durable_stop = world->puts[i].stop;
    }
    world->put_count = 0;
    bool reboot = (how & 2) != 0;
    for (size_t i = 0; i < TASK_COUNT; i++) {
        struct fate *fate = &world->fates[i];
        fate->supervisor = fate->supervisor || (fate->asked[ASKED_LAUNCH] && (how & 4) != 0);
        fate->started = fate->started || fate->supervisor;
        fate->launched = false;
        fate->supervisor = fate->supervisor && !reboot;
        fate->remains = fate->remains || fate->started;
        memset(fate->asked, 0, sizeof(fate->asked));
        fate->report_id = 0;
        fate->stop_sent = fate->durable_stop;
        fate->clean_failed = false;
        fate->over_before = fate->told_stopped && fate->durable == 0;
        if (fate->durable == 0) {
            // Swept at the start.
            fate->supervisor = false;
            fate->remains = false;
        }
    }
    begin(world, reboot);
}

static void event(struct world *world, uint8_t what, uint8_t argument)
{
    size_t task = argument % TASK_COUNT;
    struct fate *fate = &world->fates[task];
    bool fails = argument >= 192;
    switch (what % 16) {
    case 0:
    case 1:
        // A message may be late by a session, but not by an agent.
        if (!fate->over_before) {
            send_payload(world, task, "RUNNING");
        }
        break;
    case 2:
        fate->stop_sent = true;
        send_payload(world, task, "STOPPED");
        break;
    case 3:
        answer_put(world, fails);
        break;
    case 4:
        answer(world, task, ASKED_PREPARE, AGENT_EVENT_PREPARED, fails);
        break;
    case 5:
        answer(world, task, ASKED_LAUNCH, AGENT_EVENT_LAUNCHED, fails);
        break;
    case 6:
    case 7:
        send_state(world, task, argument / TASK_COUNT);
        break;
    case 8:
        lose_supervisor(world, task);
        break;
    case 9:
        answer(world, task, ASKED_KILL, AGENT_EVENT_KILLED, fails);
        break;
    case 10:
        answer(world, task, ASKED_CLEAN, AGENT_EVENT_CLEANED, fails);
        break;
    case 11:
        answer_report(world, task, argument / TASK_COUNT);
        break;
    case 12:
        world->now.monotonic_ms += (int64_t)argument * argument * 4;
        apply(world, (struct agent_event){.kind = AGENT_EVENT_TIME});
        break;
    case 13:
        world->sequence = 0;
        apply(world, (struct agent_event){.kind = (argument & 1) != 0 ? AGENT_EVENT_DISCONNECTED
                                                                      : AGENT_EVENT_CONNECTED});
        break;
    case 14:
        send_manifest(world, argument);
        break;
    case 15:
        crash(world, argument);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.now = {.monotonic_ms = 1, .wall_ms = 1}};
    begin(&world, false);
    size_t at = 0;
    for (; at + 1 < size && data[at] != '{'; at += 2) {
        // Keep the journal's queue short of its end, so that its own limit says nothing.
        while (world.put_count > QUEUE_MAX / 2) {
            answer_put(&world, false);
        }
        event(&world, data[at], data[at + 1]);
    }
    if (at < size) {
        send_json(&world, (struct text){(const char *)data + at, size - at});
    }
    agent_logic_free(world.logic);
    agent_effects_deinit(&world.effects);
    return 0;
}
