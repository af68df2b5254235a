#include "agent/logic.h"

#include "base/buf.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * Scenarios are written as steps: an event and the effects it must yield. Effects read as below;
 * WAKE_AT is left out unless the event is "wake?".
 */

#define ID "0123456789abcdef0123456789abcdef"
#define ARN "arn:aws:ecs:eu-west-1:000000000000:task/c/" ID
#define CLUSTER "arn:aws:ecs:eu-west-1:000000000000:cluster/c"
#define STEP_MAX 24

/** What a scenario's events need to know of what came before. */
struct world {
    struct agent_logic *logic;
    struct agent_effects effects;
    struct agent_time now;
    int64_t put_told; ///< highest version of a put or delete
    int64_t put_answered;
    int64_t report_id;
    int64_t sequence; ///< of messages
    int64_t state_sequence;
    int64_t wake_at_ms;
    char told_by[32];   ///< the id of the last message with a timeline
    char timeline[256]; ///< as told last; it is no part of what steps want
};

// ---- effects as text ----------------------------------------------------------------------

static void describe_bindings(const struct ecs_network_binding_list *bindings, struct buf *out)
{
    for (size_t i = 0; i < bindings->count; i++) {
        const struct ecs_network_binding *binding = &bindings->items[i];
        assert_true(text_is(binding->bind_ip, "0.0.0.0"));
        buf_format(out, " %d>%d%s", binding->host_port, binding->container_port,
                   binding->protocol == ECS_TRANSPORT_PROTOCOL_UDP ? "/udp" : "");
    }
}

static void describe_report(const struct ecs_submit_task_state_change_request *report,
                            struct buf *out)
{
    buf_format(out, "report %.*s", TEXT_FMT(report->status));
    for (size_t i = 0; i < report->containers.count; i++) {
        const struct ecs_container_state_change *container = &report->containers.items[i];
        buf_format(out, " %.*s=%.*s", TEXT_FMT(container->container_name),
                   TEXT_FMT(container->status));
        // What runs has an id by which the runtime knows it: the task's and its place.
        if (text_is(container->status, "RUNNING") || text_is(container->status, "PENDING")) {
            const struct text parts = text_slice(container->runtime_id, 32, 34);
            const char digits[] = {'-', (char)('0' + i), '\0'};
            assert_int_equal(text_is(container->status, "RUNNING"), text_is(parts, digits));
        }
        if (container->has_exit_code) {
            buf_format(out, ":%d", container->exit_code);
        }
        if (container->reason.data != NULL) {
            buf_format(out, "(%.*s)", TEXT_FMT(container->reason));
        }
        if (container->image_digest.data != NULL) {
            buf_format(out, "@%.*s", TEXT_FMT(container->image_digest));
        }
        describe_bindings(&container->network_bindings, out);
    }
    if (!text_empty(report->reason)) {
        buf_format(out, " [%.*s]", TEXT_FMT(report->reason));
    }
}

static void describe_frame(const struct agent_effect *effect, struct buf *out)
{
    if (effect->frame_shape == &session_ack_request_shape) {
        const struct session_ack_request *ack = effect->frame;
        buf_format(out, "ack %.*s", TEXT_FMT(ack->message_id));
    } else if (effect->frame_shape == &session_task_stop_verification_message_shape) {
        const struct session_task_stop_verification_message *message = effect->frame;
        buf_format(out, "verify %.*s %zu", TEXT_FMT(message->message_id),
                   message->stop_candidates.count);
    } else {
        const struct session_publish_health_request *health = effect->frame;
        buf_string(out, "health");
        for (size_t i = 0; i < health->tasks.count; i++) {
            for (size_t k = 0; k < health->tasks.items[i].containers.count; k++) {
                buf_format(out, " %.*s",
                           TEXT_FMT(health->tasks.items[i].containers.items[k].health_status));
            }
        }
    }
}

static void keep_timeline(struct world *world, const struct session_publish_timeline_request *frame)
{
    AUTO(buf_deinit) struct buf text = {0};
    IGNORE(text_copy(frame->metadata->message_id, world->told_by, sizeof(world->told_by)),
           "a shorter one is not taken for it");
    for (size_t i = 0; i < frame->tasks.count; i++) {
        const struct session_task_timeline *task = &frame->tasks.items[i];
        assert_true(agent_task_id(task->task_arn).size == 32);
        buf_format(&text, "%lld %lld", (long long)task->network_ready_at,
                   (long long)task->prepared_at);
        for (size_t k = 0; k < task->containers.count; k++) {
            const struct session_container_timeline *container = &task->containers.items[k];
            buf_format(&text, " %.*s:%lld,%lld,%lld,%d", TEXT_FMT(container->container_name),
                       (long long)container->started_at, (long long)container->healthy_at,
                       (long long)container->finished_at, (int)container->restart_count);
        }
    }
    assert_int_equal(text_copy(buf_view(&text), world->timeline, sizeof(world->timeline)), 0);
}

static const char *phase_name(enum journal_phase phase)
{
    return shape_enum_name(&journal_phase_shape, phase);
}

static void describe(struct world *world, const struct agent_effect *effect, struct buf *out)
{
    static const char *const plain[] = {
        [AGENT_EFFECT_PREPARE] = "prepare", [AGENT_EFFECT_LAUNCH] = "launch",
        [AGENT_EFFECT_ATTACH] = "attach",   [AGENT_EFFECT_STOP] = "stop",
        [AGENT_EFFECT_KILL] = "kill",       [AGENT_EFFECT_CLEAN] = "clean",
    };
    if (effect->kind == AGENT_EFFECT_WAKE_AT) {
        world->wake_at_ms = effect->at_ms;
        return;
    }
    buf_string(out, out->size == 0 ? "" : "; ");
    switch (effect->kind) {
    case AGENT_EFFECT_JOURNAL_PUT:
        assert_true(effect->version > world->put_told);
        world->put_told = effect->version;
        buf_format(out, "put %s%s%s", phase_name(effect->record->phase),
                   effect->record->stop_requested ? "+stop" : "",
                   effect->record->ports.count > 0 ? "+ports" : "");
        break;
    case AGENT_EFFECT_JOURNAL_DELETE:
        assert_true(effect->version > world->put_told);
        world->put_told = effect->version;
        buf_string(out, "delete");
        break;
    case AGENT_EFFECT_PREPARE:
    case AGENT_EFFECT_CLEAN:
        assert_non_null(effect->spec);
        buf_string(out, plain[effect->kind]);
        break;
    case AGENT_EFFECT_LAUNCH:
    case AGENT_EFFECT_ATTACH:
    case AGENT_EFFECT_STOP:
    case AGENT_EFFECT_KILL:
        buf_string(out, plain[effect->kind]);
        break;
    case AGENT_EFFECT_REPORT:
        world->report_id = effect->report_id;
        describe_report(effect->report, out);
        break;
    case AGENT_EFFECT_SEND:
    case AGENT_EFFECT_HEALTH:
        describe_frame(effect, out);
        break;
    case AGENT_EFFECT_WAKE_AT:
        break;
    }
}

// ---- events from text ---------------------------------------------------------------------

static struct ecs_container_definition containers_of_two[] = {
    {.name = TEXT("web"), .image = TEXT("web:1"), .has_essential = true, .essential = true},
    {.name = TEXT("log"), .image = TEXT("log:1"), .has_essential = true},
};
static struct ecs_task_definition definition_of_two = {
    .container_definitions = {.items = containers_of_two, .count = 2},
    .family = TEXT("f"),
    .has_revision = true,
    .revision = 3,
};
static struct ecs_task_definition definition_of_one = {
    .container_definitions = {.items = containers_of_two, .count = 1},
    .family = TEXT("f"),
    .has_revision = true,
    .revision = 3,
};

static struct ecs_port_mapping ports_of_web[] = {
    {.has_container_port = true, .container_port = 80, .protocol = ECS_TRANSPORT_PROTOCOL_TCP},
    {.has_container_port = true, .container_port = 53, .protocol = ECS_TRANSPORT_PROTOCOL_UDP},
};
static struct ecs_container_definition containers_with_ports[] = {
    {.name = TEXT("web"),
     .image = TEXT("web:1"),
     .port_mappings = {.items = ports_of_web, .count = 2}},
};
static struct ecs_task_definition definition_on_host = {
    .container_definitions = {.items = containers_with_ports, .count = 1},
    .family = TEXT("f"),
    .has_revision = true,
    .revision = 3,
    .network_mode = ECS_NETWORK_MODE_HOST,
};

// What an agent chose for the first container of a task in network mode bridge.
static struct ecs_network_binding chosen_bindings[] = {
    {.bind_ip = TEXT("0.0.0.0"),
     .has_container_port = true,
     .container_port = 80,
     .has_host_port = true,
     .host_port = 32768,
     .protocol = ECS_TRANSPORT_PROTOCOL_TCP},
};
static struct journal_container_ports chosen_ports[] = {
    {.name = TEXT("web"), .bindings = {.items = chosen_bindings, .count = 1}},
};

static struct session_task_spec make_spec(const char *status,
                                          struct ecs_task_definition *definition)
{
    return (struct session_task_spec){
        .task_arn = TEXT(ARN),
        .cluster_arn = TEXT(CLUSTER),
        .desired_status = text_of(status),
        .definition = definition,
    };
}

// The wall clock is set by hours at each event.
static bool clock_steps;

static void step_clock(struct world *world)
{
    static const int64_t hours[] = {5, -12, 30, -23, 1};
    static size_t events;
    world->now.wall_ms += hours[events++ % ARRAY_LEN(hours)] * 3600000;
}

static void apply(struct world *world, const struct agent_event *event)
{
    if (clock_steps) {
        step_clock(world);
    }
    agent_logic_apply(world->logic, world->now, event, &world->effects);
}

static void payload(struct world *world, const char *status, struct ecs_task_definition *definition)
{
    struct session_task_spec spec = make_spec(status, definition);
    char id[32];
    snprintf(id, sizeof(id), "m%d", (int)++world->sequence);
    struct session_payload_message message = {
        .message_id = text_of(id),
        .tasks = {.items = &spec, .count = 1},
        .has_seq_num = true,
        .seq_num = world->sequence,
    };
    apply(world, &(struct agent_event){.kind = AGENT_EVENT_PAYLOAD, .payload = &message});
}

static void manifest(struct world *world, bool listed, bool stale)
{
    struct session_manifest_task task = {TEXT(ARN), TEXT("RUNNING")};
    struct session_task_manifest_message message = {
        .message_id = TEXT("manifest"),
        .has_timeline = true,
        .timeline = stale ? world->sequence : ++world->sequence,
        .tasks = {.items = &task, .count = listed ? 1 : 0},
    };
    apply(world, &(struct agent_event){.kind = AGENT_EVENT_MANIFEST, .manifest = &message});
}

static void stop_ack(struct world *world, const char *message_id)
{
    struct session_manifest_task task = {TEXT(ARN), TEXT("STOPPED")};
    struct session_task_stop_verification_ack ack = {.message_id = text_of(message_id),
                                                     .stop_tasks = {.items = &task, .count = 1}};
    apply(world,
          &(struct agent_event){.kind = AGENT_EVENT_STOP_VERIFICATION_ACK, .stop_ack = &ack});
}

// States as the supervisor would send them, by name.
static bool make_state(struct world *world, const char *name, struct supervisor_state *out,
                       struct supervisor_container_state *containers)
{
    static const struct {
        const char *name;
        enum supervisor_status web;
        enum supervisor_status log;
        int web_exit; ///< -1: none
        int log_exit;
        enum supervisor_health health;
        bool finished;
    } states[] = {
        {"starting", SUPERVISOR_STATUS_STARTING, SUPERVISOR_STATUS_WAITING, -1, -1, 0, false},
        {"web-started", SUPERVISOR_STATUS_RUNNING, SUPERVISOR_STATUS_WAITING, -1, -1, 0, false},
        {"running", SUPERVISOR_STATUS_RUNNING, SUPERVISOR_STATUS_RUNNING, -1, -1, 0, false},
        {"healthy", SUPERVISOR_STATUS_RUNNING, SUPERVISOR_STATUS_RUNNING, -1, -1,
         SUPERVISOR_HEALTH_HEALTHY, false},
        {"log-ended", SUPERVISOR_STATUS_RUNNING, SUPERVISOR_STATUS_STOPPED, -1, 5, 0, false},
        {"ending", SUPERVISOR_STATUS_STOPPED, SUPERVISOR_STATUS_STOPPING, 7, -1, 0, false},
        {"finished", SUPERVISOR_STATUS_STOPPED, SUPERVISOR_STATUS_STOPPED, 7, 143, 0, true},
        {"never-started", SUPERVISOR_STATUS_STOPPED, SUPERVISOR_STATUS_STOPPED, -1, -1, 0, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        if (strcmp(states[i].name, name) != 0) {
            continue;
        }
        bool never = strcmp(name, "never-started") == 0;
        containers[0] = (struct supervisor_container_state){
            .name = TEXT("web"),
            .status = states[i].web,
            .has_exit_code = states[i].web_exit >= 0,
            .exit_code = MAX(states[i].web_exit, 0),
            .reason = never ? TEXT("CannotStartContainerError: no") : (struct text){0},
            .started_at = states[i].web >= SUPERVISOR_STATUS_RUNNING && !never ? 100 : 0,
            .health = states[i].health,
            .health_since = states[i].health == SUPERVISOR_HEALTH_HEALTHY ? 150 : 0,
            .finished_at = states[i].web == SUPERVISOR_STATUS_STOPPED && !never ? 200 : 0,
        };
        containers[1] = (struct supervisor_container_state){
            .name = TEXT("log"),
            .status = states[i].log,
            .has_exit_code = states[i].log_exit >= 0,
            .exit_code = MAX(states[i].log_exit, 0),
            .started_at = states[i].log >= SUPERVISOR_STATUS_RUNNING && !never ? 100 : 0,
        };
        *out = (struct supervisor_state){
            .has_sequence = true,
            .sequence = ++world->state_sequence,
            .containers = {.items = containers, .count = 2},
            .finished = states[i].finished,
            .essential_exited = states[i].web == SUPERVISOR_STATUS_STOPPED,
        };
        return true;
    }
    return false;
}

// An event about the task, which answers what was asked for.
static void answer(struct world *world, struct agent_event event)
{
    event.task_id = TEXT(ID);
    apply(world, &event);
}

static void recover(struct world *world, const char *what)
{
    // PHASE[+stop][@BOOT][ STATE][ alive|unstarted][ ports]
    struct supervisor_container_state containers[2];
    struct supervisor_state state = {0};
    char *text = alloc_string(what);
    char *words[4] = {text, NULL, NULL, NULL};
    for (int i = 1; i < 4 && words[i - 1] != NULL; i++) {
        words[i] = strchr(words[i - 1], ' ');
        if (words[i] != NULL) {
            *words[i]++ = '\0';
        }
    }
    char *boot = strchr(words[0], '@');
    if (boot != NULL) {
        *boot++ = '\0';
    }
    char *stop = strchr(words[0], '+');
    if (stop != NULL) {
        *stop = '\0';
    }
    struct session_task_spec spec = make_spec("RUNNING", &definition_of_two);
    struct journal_task record = {
        .spec = &spec,
        .phase = (enum journal_phase)shape_enum_number(&journal_phase_shape, text_of(words[0])),
        .stop_requested = stop != NULL,
        .boot_id = text_of(boot != NULL ? boot : "boot-1"),
    };
    assert_true(record.phase > 0);
    struct agent_event event = {.kind = AGENT_EVENT_RECOVERED, .record = &record};
    for (int i = 1; i < 4; i++) {
        if (words[i] != NULL && strcmp(words[i], "alive") == 0) {
            event.supervisor_alive = true;
        } else if (words[i] != NULL && strcmp(words[i], "unstarted") == 0) {
            event.unstarted = true;
        } else if (words[i] != NULL && strcmp(words[i], "ports") == 0) {
            record.ports.items = chosen_ports;
            record.ports.count = 1;
        } else if (words[i] != NULL) {
            assert_true(make_state(world, words[i], &state, containers));
            event.state = &state;
        }
    }
    if (record.phase == JOURNAL_PHASE_STOPPED) {
        record.last = event.state == NULL ? NULL : &state;
        event.state = NULL;
    }
    world->put_told = 1;
    world->put_answered = 1;
    apply(world, &event);
    assert_int_equal(world->effects.count, event.supervisor_alive ? 1 : world->effects.count);
    alloc_free(text);
}

static void answer_report(struct world *world, enum agent_outcome outcome)
{
    answer(world, (struct agent_event){.kind = AGENT_EVENT_REPORTED,
                                       .report_id = world->report_id,
                                       .outcome = outcome});
}

static void connect_session(struct world *world)
{
    world->sequence = 0;
    apply(world, &(struct agent_event){.kind = AGENT_EVENT_CONNECTED,
                                       .container_instance = TEXT("ci"),
                                       .cluster = TEXT("c")});
}

static void answer_prepare(struct world *world, bool fails, bool with_ports)
{
    struct journal_container_image images[] = {{TEXT("web"), TEXT("sha256:1")}};
    struct agent_event event = {.kind = AGENT_EVENT_PREPARED};
    if (fails) {
        event.rc = ERR_NOT_FOUND;
        event.reason = TEXT("CannotPullContainerError: not found");
        event.failed_container = TEXT("log");
    } else {
        event.images.items = images;
        event.images.count = 1;
        event.ports.items = chosen_ports;
        event.ports.count = with_ports ? 1 : 0;
        event.network_ready_at = 50;
        event.prepared_at = 60;
    }
    answer(world, event);
}

// Events about the session and the messages of it. @return whether it was one
static bool session_event(struct world *world, const char *name)
{
    if (strcmp(name, "connected") == 0) {
        connect_session(world);
    } else if (strcmp(name, "disconnected") == 0) {
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_DISCONNECTED});
    } else if (strcmp(name, "telemetry") == 0) {
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_TELEMETRY_CONNECTED});
    } else if (strcmp(name, "taken") == 0) {
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_TIMELINE_TAKEN,
                                           .message_id = text_of(world->told_by)});
    } else if (strcmp(name, "taken-before") == 0) {
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_TIMELINE_TAKEN,
                                           .message_id = TEXT("timeline-1")});
    } else if (strcmp(name, "forget-told") == 0) {
        world->timeline[0] = '\0';
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_TIME});
    } else if (strcmp(name, "run") == 0) {
        payload(world, "RUNNING", &definition_of_two);
    } else if (strcmp(name, "run-on-host") == 0) {
        payload(world, "RUNNING", &definition_on_host);
    } else if (strcmp(name, "run-broken") == 0) {
        payload(world, "RUNNING", NULL);
    } else if (strcmp(name, "run-odd") == 0) {
        payload(world, "PAUSED", &definition_of_two);
    } else if (strcmp(name, "stop") == 0) {
        payload(world, "STOPPED", NULL);
    } else if (strcmp(name, "manifest-with") == 0) {
        manifest(world, true, false);
    } else if (strcmp(name, "manifest-without") == 0) {
        manifest(world, false, false);
    } else if (strcmp(name, "manifest-stale") == 0) {
        manifest(world, false, true);
    } else if (strcmp(name, "verified") == 0) {
        stop_ack(world, "manifest");
    } else if (strcmp(name, "verified-other") == 0) {
        stop_ack(world, "another");
    } else if (strncmp(name, "recover ", 8) == 0) {
        recover(world, name + 8);
    } else if (strcmp(name, "recovered") == 0) {
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_RECOVERY_DONE});
    } else {
        return false;
    }
    return true;
}

static void task_event(struct world *world, const char *name)
{
    struct supervisor_container_state containers[2];
    struct supervisor_state state;
    if (strcmp(name, "journaled") == 0) {
        assert_true(world->put_answered < world->put_told);
        answer(world, (struct agent_event){.kind = AGENT_EVENT_JOURNALED,
                                           .version = ++world->put_answered});
    } else if (strcmp(name, "journal-fails") == 0) {
        assert_true(world->put_answered < world->put_told);
        answer(world,
               (struct agent_event){.kind = AGENT_EVENT_JOURNALED,
                                    .version = ++world->put_answered,
                                    .rc = ERR_FULL_DISK,
                                    .reason = TEXT("ResourceInitializationError: disk full")});
    } else if (strcmp(name, "prepared") == 0) {
        answer_prepare(world, false, false);
    } else if (strcmp(name, "prepared-ports") == 0) {
        answer_prepare(world, false, true);
    } else if (strcmp(name, "prepare-fails") == 0) {
        answer_prepare(world, true, false);
    } else if (strcmp(name, "launched") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_LAUNCHED});
    } else if (strcmp(name, "launch-fails") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_LAUNCHED,
                                           .rc = ERR_SYS,
                                           .reason = TEXT("ContainerRuntimeError: no")});
    } else if (strcmp(name, "lost") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_SUPERVISOR_LOST});
    } else if (strcmp(name, "killed") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_KILLED});
    } else if (strcmp(name, "kill-fails") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_KILLED, .rc = ERR_SYS});
    } else if (strcmp(name, "cleaned") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_CLEANED});
    } else if (strcmp(name, "clean-fails") == 0) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_CLEANED, .rc = ERR_BUSY});
    } else if (strcmp(name, "accepted") == 0) {
        answer_report(world, AGENT_REPORT_ACCEPTED);
    } else if (strcmp(name, "try-again") == 0) {
        answer_report(world, AGENT_REPORT_TRY_AGAIN);
    } else if (strcmp(name, "refused") == 0) {
        answer_report(world, AGENT_REPORT_REFUSED);
    } else if (name[0] == '+') {
        world->now.monotonic_ms += atoll(name + 1);
        apply(world, &(struct agent_event){.kind = AGENT_EVENT_TIME});
    } else if (make_state(world, name, &state, containers)) {
        answer(world, (struct agent_event){.kind = AGENT_EVENT_STATE, .state = &state});
    } else {
        fail_msg("no event '%s'", name);
    }
}

static void step(struct world *world, const char *name, const char *want)
{
    if (!session_event(world, name)) {
        task_event(world, name);
    }
    AUTO(buf_deinit) struct buf got = {0};
    for (size_t i = 0; i < world->effects.count; i++) {
        const struct agent_effect *effect = &world->effects.items[i];
        if (effect->frame_shape == &session_publish_timeline_request_shape) {
            keep_timeline(world, effect->frame);
        } else {
            describe(world, effect, &got);
        }
    }
    agent_effects_reset(&world->effects);
    if (!text_is(buf_view(&got), want)) {
        fail_msg("after '%s':\n  want: %s\n  got:  %.*s", name, want, TEXT_FMT(buf_view(&got)));
    }
}

static void world_begin(struct world *world)
{
    const struct agent_logic_options options = {.boot_id = TEXT("boot-1")};
    *world = (struct world){
        .logic = agent_logic_new(&options),
        .now = {.monotonic_ms = 1000, .wall_ms = 1700000000000},
        .wake_at_ms = -1,
    };
}

static void world_end(struct world *world)
{
    agent_logic_free(world->logic);
    agent_effects_deinit(&world->effects);
}

// ---- scenarios ----------------------------------------------------------------------------

#define PLAIN_START                                                                                \
    {"recovered", ""}, {"connected", ""}, {"run", "put ACCEPTED; prepare"},                        \
        {"journaled", "ack m1"}, {"prepared", "put LAUNCHED"}, {"journaled", "launch"},            \
        {"launched", ""}, {"starting", ""},                                                        \
    {                                                                                              \
        "running", "report RUNNING web=RUNNING@sha256:1 log=RUNNING"                               \
    }

struct scenario {
    const char *name;
    struct {
        const char *event;
        const char *want;
    } steps[STEP_MAX];
};

static const struct scenario scenarios[] = {
    {"a task runs and ends by itself",
     {PLAIN_START,
      {"accepted", ""},
      {"ending", ""},
      {"finished", "put STOPPED; kill"},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"},
      {"accepted", "delete"},
      {"journaled", ""}}},
    {"nothing is launched before the record is durable",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "ack m1"},
      {"+1000", "report PENDING web=PENDING@sha256:1 log=PENDING"},
      {"journaled", "launch"}}},
    {"a repeated message changes nothing and is acknowledged",
     {PLAIN_START, {"run", "ack m2"}, {"accepted", ""}, {"run", "ack m3"}}},
    {"a message repeated before the record is durable waits with the first",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"run", ""},
      {"journaled", "ack m1; ack m2"}}},
    {"stopped before launch is never launched",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"stop", "put ACCEPTED+stop; put STOPPED+stop"},
      {"prepared", ""},
      {"journaled", "ack m2"},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED@sha256:1 log=STOPPED"},
      {"accepted", "delete"},
      {"journaled", ""}}},
    {"stopped while the record of the launch is written is never launched",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared", "put LAUNCHED"},
      {"stop", "put LAUNCHED+stop; put STOPPED+stop"},
      {"journaled", ""},
      {"journaled", "ack m2"},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED@sha256:1 log=STOPPED"}}},
    {"stopped during the launch: told as soon as there is a supervisor",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "launch"},
      {"stop", "put LAUNCHED+stop"},
      {"journaled", "ack m2"},
      {"launched", ""},
      {"starting", "stop"},
      {"never-started", "put STOPPED+stop; kill"},
      {"journaled", ""},
      {"killed", "clean"},
      {"cleaned",
       "report STOPPED web=STOPPED(CannotStartContainerError: no)@sha256:1 log=STOPPED"}}},
    {"stopping a running task, exit codes are told",
     {PLAIN_START,
      {"accepted", ""},
      {"stop", "put LAUNCHED+stop; stop"},
      {"journaled", "ack m2"},
      {"stop", "ack m3"},
      {"finished", "put STOPPED+stop; kill"},
      {"journaled", ""},
      {"killed", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"},
      {"run", "ack m4"},
      {"accepted", "delete"},
      {"run", ""},
      {"journaled", "ack m5"}}},
    {"a task that ended is not run again, the server is told once more",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepare-fails", "put STOPPED"},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED log=STOPPED(CannotPullContainerError: not found) "
                  "[CannotPullContainerError: not found]"},
      {"accepted", "delete"},
      {"journaled", ""},
      {"run", "report STOPPED web=STOPPED log=STOPPED [TaskStateError: the task has ended on this "
              "host before]"},
      {"accepted", "ack m2"}}},
    {"a stop for a task never heard of is answered, and it never runs",
     {{"recovered", ""},
      {"connected", ""},
      {"stop", "report STOPPED"},
      {"run", ""},
      {"accepted", "ack m1; ack m2"},
      {"run", "report STOPPED web=STOPPED log=STOPPED [TaskStateError: the task has ended on this "
              "host before]"}}},
    {"a task that cannot be understood is refused to the server",
     {{"recovered", ""},
      {"connected", ""},
      {"run-broken", "report STOPPED [UnrecognizedTaskError: the task cannot be run: it has no "
                     "definition]"},
      {"accepted", "ack m1"},
      {"run-odd", ""}}},
    {"a full journal: the task is told to have failed, not lost",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journal-fails", "put STOPPED"},
      {"prepared", ""},
      {"journal-fails", "report STOPPED web=STOPPED@sha256:1 log=STOPPED "
                        "[ResourceInitializationError: disk full]"},
      {"accepted", "clean"},
      {"cleaned", "delete"},
      {"journal-fails", ""},
      {"+500", "delete"},
      {"journaled", "ack m1"}}},
    {"a journal that fails at the end of a task: the server first, then the remains",
     {PLAIN_START,
      {"accepted", ""},
      {"finished", "put STOPPED; kill"},
      {"journal-fails", ""},
      {"killed", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"},
      {"try-again", ""},
      {"+200", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"},
      {"accepted", "clean"},
      {"cleaned", "delete"},
      {"journaled", ""}}},
    {"launching fails: kill, clean, told why",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "launch"},
      {"launch-fails", "put STOPPED; kill"},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED@sha256:1 log=STOPPED [ContainerRuntimeError: no]"}}},
    {"a lost supervisor: exit codes of what had ended, none invented",
     {PLAIN_START,
      {"accepted", ""},
      {"ending", ""},
      {"lost", "put STOPPED; kill"},
      {"journaled", ""},
      {"killed", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED [ContainerRuntimeError: the "
                  "task's supervisor ended unexpectedly]"}}},
    {"ports that were chosen are told once a container runs, and stay with its end",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared-ports", "put LAUNCHED+ports"},
      {"journaled", "launch"},
      {"launched", ""},
      {"web-started", ""},
      {"+1000", "report PENDING web=RUNNING@sha256:1 32768>80 log=PENDING"},
      {"running", ""},
      {"accepted", "report RUNNING web=RUNNING@sha256:1 32768>80 log=RUNNING"},
      {"accepted", ""},
      {"finished", "put STOPPED+ports; kill"},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 32768>80 log=STOPPED:143"}}},
    {"ports that were chosen come back from the journal",
     {{"recover LAUNCHED running alive ports", "attach"},
      {"recovered", "report RUNNING web=RUNNING 32768>80 log=RUNNING"}}},
    {"ports of a container that never ran are not told",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared-ports", "put LAUNCHED+ports"},
      {"journaled", "launch"},
      {"launched", ""},
      {"never-started", "put STOPPED+ports; kill"},
      {"journaled", ""},
      {"killed", "clean"},
      {"cleaned",
       "report STOPPED web=STOPPED(CannotStartContainerError: no)@sha256:1 log=STOPPED"}}},
    {"on the host's network a container's ports are the host's",
     {{"recovered", ""},
      {"connected", ""},
      {"run-on-host", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "launch"},
      {"launched", ""},
      {"running", "report RUNNING web=RUNNING@sha256:1 80>80 53>53/udp"}}},
    {"a supervisor that goes after it told the end is not lost",
     {PLAIN_START,
      {"accepted", ""},
      {"finished", "put STOPPED; kill"},
      {"lost", ""},
      {"running", ""},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"}}},
    {"a short life: RUNNING is told before STOPPED",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "launch"},
      {"launched", ""},
      {"finished", "put STOPPED; kill; report RUNNING web=RUNNING@sha256:1 log=RUNNING"},
      {"journaled", ""},
      {"killed", "clean"},
      {"cleaned", ""},
      {"accepted", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"}}},
    {"a container that ends while the task runs is told a little later",
     {PLAIN_START,
      {"log-ended", ""},
      {"accepted", ""},
      {"+99", ""},
      {"+1", "report RUNNING web=RUNNING@sha256:1 log=STOPPED:5"},
      {"accepted", ""},
      {"+60000", ""}}},
    {"a slow start: PENDING is told, with what is known",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"+999", ""},
      {"+1", "report PENDING web=PENDING log=PENDING"},
      {"prepared", "put LAUNCHED"},
      {"accepted", ""},
      {"journaled", "launch"},
      {"launched", ""},
      {"web-started", ""},
      {"+999", ""},
      {"+1", "report PENDING web=RUNNING@sha256:1 log=PENDING"},
      {"running", ""},
      {"accepted", "report RUNNING web=RUNNING@sha256:1 log=RUNNING"}}},
    {"reports are repeated with growing delays, and at once when the session is back",
     {PLAIN_START,
      {"try-again", ""},
      {"+150", "report RUNNING web=RUNNING@sha256:1 log=RUNNING"},
      {"try-again", ""},
      {"+190", ""},
      {"disconnected", ""},
      {"connected", "report RUNNING web=RUNNING@sha256:1 log=RUNNING"},
      {"accepted", ""}}},
    {"a refused report is not repeated",
     {PLAIN_START, {"refused", ""}, {"+60000", ""}, {"finished", "put STOPPED; kill"}}},
    {"cleaning that fails is repeated, and does not hold the truth back",
     {PLAIN_START,
      {"accepted", ""},
      {"finished", "put STOPPED; kill"},
      {"kill-fails", ""},
      {"journaled", ""},
      {"+500", "kill"},
      {"killed", "clean"},
      {"clean-fails", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143"},
      {"accepted", ""},
      {"+500", "clean"},
      {"cleaned", "delete"},
      {"journaled", ""}}},
    {"an acknowledgement is only for the session of its message",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"disconnected", ""},
      {"connected", ""},
      {"journaled", ""},
      {"run", "ack m1"}}},
    {"a manifest that lists what runs",
     {PLAIN_START, {"accepted", ""}, {"manifest-with", "ack manifest"}}},
    {"a manifest that does not list what runs: asked, then stopped",
     {PLAIN_START,
      {"accepted", ""},
      {"manifest-without", "ack manifest; verify manifest 1"},
      {"verified-other", ""},
      {"verified", "put LAUNCHED+stop; stop"},
      {"manifest-without", "ack manifest"}}},
    {"a manifest older than the newest payload says nothing",
     {PLAIN_START, {"manifest-stale", ""}}},
    {"stopping takes too long: killed",
     {PLAIN_START,
      {"accepted", ""},
      {"stop", "put LAUNCHED+stop; stop"},
      {"journaled", "ack m2"},
      {"+119999", ""},
      {"+1", "put STOPPED+stop; kill"},
      {"journaled", ""},
      {"killed", "clean"},
      {"cleaned", "report STOPPED web=STOPPED@sha256:1 log=STOPPED [TaskStateError: Agent could "
                  "not progress task's state to stopped]"}}},
    {"a supervisor that does not answer",
     {{"recovered", ""},
      {"connected", ""},
      {"run", "put ACCEPTED; prepare"},
      {"journaled", "ack m1"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "launch"},
      {"launched", ""},
      {"+1000", "report PENDING web=PENDING@sha256:1 log=PENDING"},
      {"accepted", ""},
      {"+60000", "put STOPPED; kill"}}},
    {"health is told on change and every 20 seconds",
     {PLAIN_START,
      {"accepted", ""},
      {"telemetry", ""},
      {"healthy", "health HEALTHY"},
      {"+19999", ""},
      {"+1", "health HEALTHY"},
      {"telemetry", "health HEALTHY"},
      {"finished", "put STOPPED; kill"},
      {"+20000", ""}}},
    {"recovery: accepted is begun anew once the server says that it still wants it",
     {{"recover ACCEPTED", ""},
      {"recovered", ""},
      {"connected", ""},
      {"run", "ack m1; prepare"},
      {"prepared", "put LAUNCHED"},
      {"journaled", "launch"}}},
    {"recovery: accepted, but the server has let go of it",
     {{"recover ACCEPTED", ""},
      {"recovered", ""},
      {"connected", ""},
      {"stop", "put ACCEPTED+stop; put STOPPED+stop"},
      {"journaled", "ack m1"},
      {"journaled", "clean"}}},
    {"recovery: accepted and to be stopped",
     {{"recover ACCEPTED+stop", ""},
      {"recovered", "put STOPPED+stop"},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED log=STOPPED"}}},
    {"recovery: the supervisor is alive",
     {{"recover LAUNCHED running alive", "attach"},
      {"recovered", "report RUNNING web=RUNNING log=RUNNING"},
      {"accepted", ""},
      {"finished", "put STOPPED; kill"}}},
    {"recovery: alive and to be stopped",
     {{"recover LAUNCHED+stop running alive", "attach"},
      {"recovered", "report RUNNING web=RUNNING log=RUNNING"},
      {"running", "stop"}}},
    {"recovery: it ended meanwhile, exit codes are true",
     {{"recover LAUNCHED finished", "put STOPPED"},
      {"recovered", "kill; report RUNNING web=RUNNING log=RUNNING"},
      {"accepted", ""},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7 log=STOPPED:143"}}},
    {"recovery: launched, but nothing is there",
     {{"recover LAUNCHED", "put STOPPED"},
      {"recovered", "kill"},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED log=STOPPED [ContainerRuntimeError: the node's agent "
                  "was interrupted while it started the task]"}}},
    {"recovery: launched, but nothing was started",
     {{"recover LAUNCHED unstarted", ""},
      {"recovered", ""},
      {"connected", ""},
      {"run", "launch; ack m1"},
      {"launched", ""},
      {"running", "report RUNNING web=RUNNING log=RUNNING"}}},
    {"recovery: launched, nothing was started, and the server does not want it any more",
     {{"recover LAUNCHED unstarted", ""},
      {"recovered", ""},
      {"connected", ""},
      {"stop", "put LAUNCHED+stop; put STOPPED+stop; kill"},
      {"killed", ""},
      {"journaled", "ack m1"},
      {"journaled", "clean"}}},
    {"recovery: launched in another boot, and prepared by whatever chance",
     {{"recover LAUNCHED@boot-0 unstarted", "put STOPPED"},
      {"recovered", "kill"},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED log=STOPPED [ContainerRuntimeError: the host was "
                  "restarted]"}}},
    {"recovery: a supervisor that died unseen",
     {{"recover LAUNCHED ending", "put STOPPED"},
      {"recovered", "kill; report RUNNING web=RUNNING log=RUNNING"},
      {"accepted", ""},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED:7 log=STOPPED [ContainerRuntimeError: the task's "
                  "supervisor ended unexpectedly]"}}},
    {"recovery: another boot",
     {{"recover LAUNCHED@boot-0 running", "put STOPPED"},
      {"recovered", "kill; report RUNNING web=RUNNING log=RUNNING"},
      {"accepted", ""},
      {"killed", ""},
      {"journaled", "clean"},
      {"cleaned", "report STOPPED web=STOPPED log=STOPPED [ContainerRuntimeError: the host was "
                  "restarted]"}}},
    {"recovery: over, but not told",
     {{"recover STOPPED finished", ""},
      {"recovered", "kill; report RUNNING web=RUNNING log=RUNNING"},
      {"killed", "clean"},
      {"accepted", ""},
      {"cleaned", "report STOPPED web=STOPPED:7 log=STOPPED:143"},
      {"accepted", "delete"},
      {"journaled", ""}}},
};

static void play_scenarios(void)
{
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        print_message("%s\n", scenarios[i].name);
        struct world world;
        world_begin(&world);
        for (size_t k = 0; k < STEP_MAX && scenarios[i].steps[k].want != NULL; k++) {
            step(&world, scenarios[i].steps[k].event, scenarios[i].steps[k].want);
        }
        world_end(&world);
    }
}

static void scenarios_hold(void **state)
{
    (void)state;
    play_scenarios();
}

// Delays, back-off, deadlines and periods are the monotonic clock's.
static void scenarios_hold_when_the_clock_is_set(void **state)
{
    (void)state;
    clock_steps = true;
    play_scenarios();
    clock_steps = false;
}

// ---- what is no scenario ------------------------------------------------------------------

static void task_ids(void **state)
{
    (void)state;
    static const struct {
        const char *arn;
        bool valid;
    } cases[] = {
        {ARN, true},
        {"arn:aws:ecs:eu-west-1:000000000000:task/" ID, true},
        {ID, false},
        {"x/0123456789abcdef0123456789abcde", false},
        {"x/0123456789abcdef0123456789abcdeff", false},
        {"x/0123456789abcdef0123456789abcdeG", false},
        {"x/0123456789ABCDEF0123456789ABCDEF", false},
        {"x/..", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text id = agent_task_id(text_of(cases[i].arn));
        assert_int_equal(id.data != NULL, cases[i].valid);
        assert_true(!cases[i].valid || text_is(id, ID));
    }
    assert_null(agent_task_id((struct text){0}).data);
}

// At most prepare_max tasks are prepared at once, in the order in which they came, and a task that
// is to stop while it waits gives up its place.
static void prepares_are_bounded(void **state)
{
    (void)state;
    const struct agent_logic_options options = {.boot_id = TEXT("b"), .prepare_max = 2};
    AUTO(agent_logic_free) struct agent_logic *logic = agent_logic_new(&options);
    AUTO(agent_effects_deinit) struct agent_effects effects = {0};
    const struct agent_time now = {.monotonic_ms = 5};
    agent_logic_apply(logic, now, &(struct agent_event){.kind = AGENT_EVENT_RECOVERY_DONE},
                      &effects);
    struct session_task_spec specs[5];
    char arns[5][64];
    for (int i = 0; i < 5; i++) {
        snprintf(arns[i], sizeof(arns[i]), "x/%032d", i);
        specs[i] = make_spec("RUNNING", &definition_of_one);
        specs[i].task_arn = text_of(arns[i]);
    }
    struct session_payload_message message = {.message_id = TEXT("m"),
                                              .tasks = {.items = specs, .count = 5}};
    agent_logic_apply(logic, now,
                      &(struct agent_event){.kind = AGENT_EVENT_PAYLOAD, .payload = &message},
                      &effects);
    assert_int_equal(agent_logic_count(logic), 5);

    specs[2].desired_status = TEXT("STOPPED");
    message.tasks.items = &specs[2];
    message.tasks.count = 1;
    size_t order[5];
    size_t prepared = 0;
    for (int round = 0; round < 8; round++) {
        size_t now_prepared = 0;
        for (size_t i = 0; i < effects.count; i++) {
            if (effects.items[i].kind == AGENT_EFFECT_PREPARE) {
                order[prepared++] = (size_t)(effects.items[i].task_id.data[31] - '0');
                now_prepared++;
            }
        }
        assert_int_equal(now_prepared, round == 0   ? 2
                                       : round == 1 ? 0
                                                    : prepared <= 4 && now_prepared);
        agent_effects_reset(&effects);
        if (round == 0) {
            agent_logic_apply(
                logic, now, &(struct agent_event){.kind = AGENT_EVENT_PAYLOAD, .payload = &message},
                &effects);
        } else if ((size_t)round - 1 < prepared) {
            char id[33];
            snprintf(id, sizeof(id), "%032d", (int)order[round - 1]);
            agent_logic_apply(
                logic, now,
                &(struct agent_event){.kind = AGENT_EVENT_PREPARED, .task_id = text_of(id)},
                &effects);
        }
    }
    assert_int_equal(prepared, 4);
    const size_t want[] = {0, 1, 3, 4};
    assert_memory_equal(order, want, sizeof(want));
}

// stop_all is a stop for each task; a wake-up is asked for while something is due.
static void all_tasks_stop(void **state)
{
    (void)state;
    struct world world;
    world_begin(&world);
    static const struct {
        const char *event;
        const char *want;
    } start[] = {PLAIN_START, {"accepted", ""}, {"+1000", ""}};
    for (size_t i = 0; i < ARRAY_LEN(start); i++) {
        step(&world, start[i].event, start[i].want);
    }
    assert_int_equal(world.wake_at_ms, -1);
    agent_logic_stop_all(world.logic, world.now, &world.effects);
    assert_int_equal(world.effects.count, 3);
    assert_int_equal(world.effects.items[0].kind, AGENT_EFFECT_JOURNAL_PUT);
    assert_int_equal(world.effects.items[1].kind, AGENT_EFFECT_STOP);
    assert_int_equal(world.effects.items[2].kind, AGENT_EFFECT_WAKE_AT);
    assert_int_equal(world.effects.items[2].at_ms, world.now.monotonic_ms + 120000);
    struct agent_task_view view;
    assert_true(agent_logic_task(world.logic, TEXT(ID), &view));
    assert_true(view.launched);
    assert_true(view.stop_requested);
    assert_false(view.ended);
    world_end(&world);
}

/** As STEPS, with the timeline that was told last. */
struct timeline_step {
    const char *event;
    const char *want;
    const char *timeline;
};

static void take_timeline_steps(struct world *world, const struct timeline_step *steps,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        step(world, steps[i].event, steps[i].want);
        if (strcmp(world->timeline, steps[i].timeline) != 0) {
            fail_msg("after '%s' (%zu):\n  want: %s\n  told: %s", steps[i].event, i,
                     steps[i].timeline, world->timeline);
        }
    }
}

// What is known of a timeline is told half a second after it changed, once more with a new session,
// and at the latest before the task is forgotten.
static void timelines_are_told(void **state)
{
    (void)state;
    struct world world;
    world_begin(&world);
    static const struct timeline_step steps[] = {
        {"recovered", "", ""},
        {"connected", "", ""},
        {"run", "put ACCEPTED; prepare", ""},
        {"journaled", "ack m1", ""},
        {"prepared", "put LAUNCHED", ""},
        {"+499", "", ""},
        {"+1", "", "50 60"},
        {"journaled", "launch", "50 60"},
        {"launched", "", "50 60"},
        {"running", "report RUNNING web=RUNNING@sha256:1 log=RUNNING", "50 60"},
        {"accepted", "", "50 60"},
        {"+500", "", "50 60 web:100,0,0,0 log:100,0,0,0"},
        {"healthy", "health HEALTHY", "50 60 web:100,0,0,0 log:100,0,0,0"},
        {"+500", "", "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"telemetry", "health HEALTHY", "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"finished", "put STOPPED; kill", "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"killed", "", "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"journaled", "clean", "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143",
         "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"accepted", "delete", "50 60 web:100,150,0,0 log:100,0,0,0"},
        {"journaled", "", "50 60 web:100,150,200,0 log:100,0,0,0"},
    };
    take_timeline_steps(&world, steps, ARRAY_LEN(steps));
    world_end(&world);
}

// What a task did last is kept until the server says that it has it, over sessions.
static void timelines_of_forgotten_tasks_are_kept(void **state)
{
    (void)state;
    struct world world;
    world_begin(&world);
    static const struct timeline_step steps[] = {
        {"recovered", "", ""},
        {"connected", "", ""},
        {"run", "put ACCEPTED; prepare", ""},
        {"journaled", "ack m1", ""},
        {"prepared", "put LAUNCHED", ""},
        {"journaled", "launch", ""},
        {"launched", "", ""},
        {"running", "report RUNNING web=RUNNING@sha256:1 log=RUNNING", ""},
        {"accepted", "", ""},
        {"finished", "put STOPPED; kill", ""},
        {"+500", "", "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"killed", "", "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"journaled", "clean", "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143",
         "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"accepted", "delete", "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"journaled", "", "50 60 web:100,0,200,0 log:100,0,0,0"},
    };
    take_timeline_steps(&world, steps, ARRAY_LEN(steps));
    assert_int_equal(agent_logic_count(world.logic), 0);
    const char *all = "50 60 web:100,0,200,0 log:100,0,0,0";
    const struct timeline_step again[] = {
        // The line was dead when it was sent; and once more.
        {"forget-told", "", ""}, {"telemetry", "", all},    {"forget-told", "", ""},
        {"telemetry", "", all},  {"taken-before", "", all}, {"forget-told", "", ""},
        {"telemetry", "", all},  {"taken", "", all},        {"forget-told", "", ""},
        {"telemetry", "", ""},
    };
    take_timeline_steps(&world, again, ARRAY_LEN(again));
    world_end(&world);
}

// One that the server has is not told again when the task is forgotten.
static void timelines_that_arrived_are_not_kept(void **state)
{
    (void)state;
    struct world world;
    world_begin(&world);
    static const struct timeline_step steps[] = {
        {"recovered", "", ""},
        {"connected", "", ""},
        {"run", "put ACCEPTED; prepare", ""},
        {"journaled", "ack m1", ""},
        {"prepared", "put LAUNCHED", ""},
        {"journaled", "launch", ""},
        {"launched", "", ""},
        {"running", "report RUNNING web=RUNNING@sha256:1 log=RUNNING", ""},
        {"accepted", "", ""},
        {"finished", "put STOPPED; kill", ""},
        {"+500", "", "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"taken", "", "50 60 web:100,0,200,0 log:100,0,0,0"},
        {"forget-told", "", ""},
        {"killed", "", ""},
        {"journaled", "clean", ""},
        {"cleaned", "report STOPPED web=STOPPED:7@sha256:1 log=STOPPED:143", ""},
        {"accepted", "delete", ""},
        {"journaled", "", ""},
        {"telemetry", "", ""},
    };
    take_timeline_steps(&world, steps, ARRAY_LEN(steps));
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenarios_hold),
        cmocka_unit_test(scenarios_hold_when_the_clock_is_set),
        cmocka_unit_test(task_ids),
        cmocka_unit_test(prepares_are_bounded),
        cmocka_unit_test(all_tasks_stop),
        cmocka_unit_test(timelines_are_told),
        cmocka_unit_test(timelines_of_forgotten_tasks_are_kept),
        cmocka_unit_test(timelines_that_arrived_are_not_kept),
    };
    return cmocka_run_group_tests_name("logic", tests, NULL, NULL);
}
