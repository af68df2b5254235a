#include "sim.h"

#include "api/ecs.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/*
 * The agent's process on a host: the real task logic, and what src/agent puts around it to
 * register, keep sessions and carry out effects.
 */

#define RETRY_FIRST_MS 50
#define RETRY_LAST_MS 5000
#define REFUSED_MS 30000
#define WATCH_MS 2000
#define SILENCE_MS 10000

enum { STEP_REGISTER, STEP_DISCOVER, STEP_SESSION };

static struct world *world_of(const struct node *node)
{
    return &node->sim->world;
}

struct agent_time node_time(const struct node *node)
{
    int64_t now_ms = world_of(node)->now_ms;
    return (struct agent_time){
        .monotonic_ms = now_ms - node->booted_ms,
        .wall_ms = SIM_EPOCH_MS + now_ms + node->offset_ms,
    };
}

// ---- effects ------------------------------------------------------------------------------

static void on_reported(struct call *call)
{
    struct node *node = call->context;
    enum agent_outcome outcome = AGENT_REPORT_ACCEPTED;
    if (call->rc != 0) {
        outcome = call->rc == ERR_FAULT && call->fault->http_status < 500 ? AGENT_REPORT_REFUSED
                                                                          : AGENT_REPORT_TRY_AGAIN;
    }
    node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_REPORTED,
                                           .task_id = text_of(call->id),
                                           .report_id = call->number,
                                           .outcome = outcome});
}

static void report(struct node *node, const struct agent_effect *effect)
{
    world_trace(world_of(node), "%s reports %.8s %.*s [%.*s]", node->name, effect->task_id.data,
                TEXT_FMT(effect->report->status), TEXT_FMT(effect->report->reason));
    call_begin(node->sim, &(struct call_options){
                              .node = node,
                              .operation = &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE],
                              .request = effect->report,
                              .life = &node->life,
                              .done = on_reported,
                              .context = node,
                              .number = effect->report_id,
                              .id = effect->task_id,
                          });
}

static void on_wake(void *context, void *payload)
{
    (void)payload;
    node_apply(context, &(struct agent_event){.kind = AGENT_EVENT_TIME});
}

static void wake_at(struct node *node, int64_t at_ms)
{
    node->wake_life++;
    if (at_ms >= 0) {
        world_post(world_of(node),
                   &(struct world_event){
                       .delay_ms = MAX(at_ms - node_time(node).monotonic_ms, INT64_C(0)),
                       .life = &node->wake_life,
                       .run = on_wake,
                       .context = node,
                   });
    }
}

static void carry_out(struct node *node, const struct agent_effect *effect)
{
    switch (effect->kind) {
    case AGENT_EFFECT_JOURNAL_PUT:
    case AGENT_EFFECT_JOURNAL_DELETE:
        node_journal_add(node, effect);
        return;
    case AGENT_EFFECT_PREPARE:
    case AGENT_EFFECT_LAUNCH:
    case AGENT_EFFECT_ATTACH:
    case AGENT_EFFECT_STOP:
    case AGENT_EFFECT_KILL:
    case AGENT_EFFECT_CLEAN:
        host_effect(node, effect);
        return;
    case AGENT_EFFECT_REPORT:
        report(node, effect);
        return;
    case AGENT_EFFECT_SEND:
        if (node->acs != NULL) {
            session_send(node->acs, effect->frame_type, effect->frame_shape, effect->frame);
        }
        return;
    case AGENT_EFFECT_HEALTH:
        if (node->tcs != NULL) {
            session_send(node->tcs, effect->frame_type, effect->frame_shape, effect->frame);
        }
        return;
    case AGENT_EFFECT_WAKE_AT:
        wake_at(node, effect->at_ms);
        return;
    }
}

static void carry_all_out(struct node *node)
{
    for (size_t i = 0; i < node->effects.count; i++) {
        carry_out(node, &node->effects.items[i]);
    }
    node_journal_flush(node);
}

void node_apply(struct node *node, const struct agent_event *event)
{
    ASSERT(node->logic != NULL);
    agent_effects_reset(&node->effects);
    agent_logic_apply(node->logic, node_time(node), event, &node->effects);
    carry_all_out(node);
}

void node_stop_all(struct node *node)
{
    world_trace(world_of(node), "%s stops all its tasks", node->name);
    agent_effects_reset(&node->effects);
    agent_logic_stop_all(node->logic, node_time(node), &node->effects);
    carry_all_out(node);
}

// ---- the way to a session -------------------------------------------------------------------

static void on_retry(void *context, void *payload)
{
    (void)payload;
    node_server_step(context);
}

static void try_again(struct node *node, int64_t delay_ms)
{
    world_post(world_of(node),
               &(struct world_event){
                   .delay_ms = delay_ms, .life = &node->life, .run = on_retry, .context = node});
}

static void step_failed(struct node *node)
{
    node->failures++;
    int64_t delay_ms = RETRY_FIRST_MS;
    for (uint32_t i = 1; i < node->failures && delay_ms < RETRY_LAST_MS; i++) {
        delay_ms *= 2;
    }
    delay_ms = MIN(delay_ms, RETRY_LAST_MS);
    try_again(node, delay_ms / 2 + world_between(world_of(node), 0, delay_ms - 1));
}

static bool call_succeeded(struct node *node, const struct call *call)
{
    node->calling = false;
    if (call->rc == 0) {
        return true;
    }
    if (call->rc != ERR_FAULT || call->fault->http_status >= 500) {
        step_failed(node);
    } else if (node->step == STEP_DISCOVER) {
        node->step = STEP_REGISTER;
        step_failed(node);
    } else {
        world_trace(world_of(node), "%s is refused: %s", node->name, call->fault_text);
        try_again(node, REFUSED_MS);
    }
    return false;
}

static void on_registered(struct call *call)
{
    struct node *node = call->context;
    if (!call_succeeded(node, call)) {
        return;
    }
    const struct ecs_register_container_instance_response *response = call->response;
    snprintf(node->instance, sizeof(node->instance), "%.*s",
             TEXT_FMT(response->container_instance->container_instance_arn));
    node->step = STEP_DISCOVER;
    node_server_step(node);
}

static void on_discovered(struct call *call)
{
    struct node *node = call->context;
    if (call_succeeded(node, call)) {
        node->step = STEP_SESSION;
        node_server_step(node);
    }
}

static void begin_call(struct node *node, enum ecs_operation operation, const void *request,
                       void (*done)(struct call *call))
{
    node->calling = true;
    call_begin(node->sim, &(struct call_options){
                              .node = node,
                              .operation = &ecs_operations[operation],
                              .request = request,
                              .life = &node->life,
                              .done = done,
                              .context = node,
                          });
}

// Most hosts are always the same. Some are now a host of the pool and now an instance of the
// cluster, as their configuration is changed, and some come back with less than they had.
static void call_register(struct node *node)
{
    struct world *world = world_of(node);
    int32_t part = world_chance(world, 30) ? 2 : 1;
    bool pool = world_chance(world, node->pool_permille);
    struct text reserved = node->reserves ? TEXT("9090") : TEXT("22");
    struct ecs_resource resources[] = {
        {.name = TEXT("CPU"),
         .type = TEXT("INTEGER"),
         .has_integer_value = true,
         .integer_value = node->cpu_units / part},
        {.name = TEXT("MEMORY"),
         .type = TEXT("INTEGER"),
         .has_integer_value = true,
         .integer_value = node->memory_mib / part},
        {.name = TEXT("PORTS"), .type = TEXT("STRINGSET"), .string_set_value = {&reserved, 1}},
    };
    struct ecs_platform_device gpus[] = {
        {.id = TEXT("gpu-0"), .type = ECS_PLATFORM_DEVICE_TYPE_GPU},
        {.id = TEXT("gpu-1"), .type = ECS_PLATFORM_DEVICE_TYPE_GPU},
    };
    static const char *const pools[] = {
        [SPOT_NONE] = "FARGATE",
        [SPOT_ONLY] = "FARGATE_SPOT",
        [SPOT_BOTH] = "FARGATE,FARGATE_SPOT",
    };
    bool edge = node->sim->faults.active && world_chance(world, 150);
    struct ecs_attribute attributes[] = {
        {.name = TEXT("ecs.availability-zone"), .value = text_of(node->zone)},
        {.name = TEXT("ecs.cpu-architecture"), .value = TEXT("x86_64")},
        {.name = TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.18")},
        {.name = TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.24")},
        {.name = TEXT("ecs.capability.container-health-check")},
        {.name = TEXT("ecs.capability.container-ordering")},
        {.name = TEXT("ecs.capability.container-restart-policy")},
        {.name = TEXT("ecs.capability.task-cpu-mem-limit")},
        {.name = TEXT("ecs.capability.task-eni")},
        {.name = TEXT("berth.capacity"), .value = text_of(pools[node->spot])},
    };
    const struct ecs_register_container_instance_request request = {
        .cluster = pool   ? (struct text){0}
                   : edge ? TEXT("edge")
                          : TEXT("default"),
        .platform_devices = {gpus, pool ? 0 : (size_t)node->gpu_count},
        .total_resources = {.items = resources, .count = ARRAY_LEN(resources)},
        .attributes = {.items = attributes, .count = ARRAY_LEN(attributes) - (pool ? 0 : 1)},
    };
    begin_call(node, ECS_OP_REGISTER_CONTAINER_INSTANCE, &request, on_registered);
}

void node_server_step(struct node *node)
{
    if (node->calling) {
        return;
    }
    if (node->step == STEP_REGISTER) {
        call_register(node);
    } else if (node->step == STEP_DISCOVER) {
        const struct ecs_discover_poll_endpoint_request request = {.container_instance =
                                                                       text_of(node->instance)};
        begin_call(node, ECS_OP_DISCOVER_POLL_ENDPOINT, &request, on_discovered);
    } else if (node->acs == NULL) {
        node->acs = session_open(node, false);
        if (node->tcs == NULL) {
            node->tcs = session_open(node, true);
        }
    }
}

// ---- sessions -----------------------------------------------------------------------------

void node_session_opened(struct node *node, struct session *session)
{
    if (session == node->tcs) {
        node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_TELEMETRY_CONNECTED});
    } else if (session == node->acs) {
        world_trace(world_of(node), "%s is connected", node->name);
        node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_CONNECTED,
                                               .container_instance = text_of(node->instance),
                                               .cluster = TEXT("default")});
    }
}

static void on_tcs_retry(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    if (node->tcs == NULL && node->acs != NULL) {
        node->tcs = session_open(node, true);
    }
}

void node_session_closed(struct node *node, struct session *session, bool refused)
{
    if (session == node->tcs) {
        node->tcs = NULL;
        world_post(world_of(node),
                   &(struct world_event){
                       .delay_ms = 500, .life = &node->life, .run = on_tcs_retry, .context = node});
        return;
    }
    ASSERT(session == node->acs);
    world_trace(world_of(node), "%s is disconnected", node->name);
    node->acs = NULL;
    node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_DISCONNECTED});
    node->step = refused ? STEP_REGISTER : STEP_DISCOVER;
    step_failed(node);
}

static void on_watch(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    int64_t deadline_ms = world_of(node)->now_ms - SILENCE_MS;
    struct session *silent[] = {node->acs, node->tcs};
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        // Telemetry has a heartbeat every 20 s: its own limit is longer.
        int64_t limit_ms = i == 0 ? deadline_ms : deadline_ms - 2 * SILENCE_MS;
        if (silent[i] != NULL && silent[i]->client_heard_ms < limit_ms) {
            session_client_close(silent[i], true);
            node_session_closed(node, silent[i], false);
        }
    }
    world_post(world_of(node),
               &(struct world_event){
                   .delay_ms = WATCH_MS, .life = &node->life, .run = on_watch, .context = node});
}

void node_frame(struct node *node, struct session *session, const char *type, const void *message)
{
    if (strcmp(type, "HeartbeatMessage") == 0) {
        const struct session_heartbeat_message *heartbeat = message;
        const struct session_heartbeat_ack_request ack = {.message_id = heartbeat->message_id};
        node->failures = 0;
        session_send(session, "HeartbeatAckRequest", &session_heartbeat_ack_request_shape, &ack);
        return;
    }
    if (session != node->acs) {
        return;
    }
    node->failures = 0;
    struct agent_event event = {0};
    if (strcmp(type, "PayloadMessage") == 0) {
        event.kind = AGENT_EVENT_PAYLOAD;
        event.payload = message;
        guard_payload(node, message);
        for (size_t i = 0; i < event.payload->tasks.count; i++) {
            const struct session_task_spec *spec = &event.payload->tasks.items[i];
            world_trace(world_of(node), "%s gets payload %.*s: %.8s %.*s", node->name,
                        TEXT_FMT(event.payload->message_id), sim_task_id(spec->task_arn).data,
                        TEXT_FMT(spec->desired_status));
        }
    } else if (strcmp(type, "TaskManifestMessage") == 0) {
        event.kind = AGENT_EVENT_MANIFEST;
        event.manifest = message;
    } else if (strcmp(type, "IAMRoleCredentialsMessage") == 0) {
        return; // credentials are the endpoint's, which is not simulated
    } else if (strcmp(type, "SecurityGroupsMessage") == 0) {
        guard_take(node, message);
        return;
    } else {
        event.kind = AGENT_EVENT_STOP_VERIFICATION_ACK;
        event.stop_ack = message;
    }
    node_apply(node, &event);
}

// ---- life ---------------------------------------------------------------------------------

static int recover_task(void *context, struct text task_id, const struct journal_task *record,
                        struct err *err)
{
    (void)err;
    struct node *node = context;
    struct host_task *task = host_find(node, task_id);
    bool alive = task != NULL && task->supervisor != NULL && task->supervisor->order != NULL;
    bool unstarted = task != NULL && task->files && !alive && task->left == NULL && !task->killed;
    if (task != NULL) {
        task->found_started = task->found_started || alive || task->left != NULL;
    }
    world_trace(world_of(node), "%s finds %.8s in phase %d%s", node->name, task_id.data,
                (int)record->phase,
                alive       ? ", its supervisor alive"
                : unstarted ? ", not started"
                            : "");
    node_apply(node, &(struct agent_event){
                         .kind = AGENT_EVENT_RECOVERED,
                         .task_id = task_id,
                         .record = record,
                         .state = task == NULL ? NULL : task->left,
                         .supervisor_alive = alive,
                         .unstarted = unstarted,
                     });
    return 0;
}

static void on_go(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    host_sweep(node);
    node_server_step(node);
}

void node_agent_start(struct node *node)
{
    ASSERT(node->logic == NULL);
    ASSERT(node->powered);
    char boot_id[64];
    snprintf(boot_id, sizeof(boot_id), "%s-boot-%u", node->name, node->boot_count);
    world_trace(world_of(node), "%s agent starts in %s", node->name, boot_id);
    node->life++;
    node->step = STEP_REGISTER;
    node->calling = false;
    node->failures = 0;
    guard_agent_start(node);
    node->logic = agent_logic_new(&(struct agent_logic_options){.boot_id = text_of(boot_id)});
    struct journal_loss loss = {0};
    struct err err = {0};
    if (journal_load(node->journal, recover_task, node, &loss, &err) != 0) {
        world_fail(world_of(node), "%s cannot read its journal: %s", node->name, err.text);
    }
    node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_RECOVERY_DONE});
    world_post(world_of(node), &(struct world_event){
                                   .delay_ms = world_between(world_of(node), 1, 20),
                                   .life = &node->life,
                                   .run = on_go,
                                   .context = node,
                               });
    on_watch(node, NULL);
}

void node_agent_crash(struct node *node, bool tell)
{
    if (node->logic == NULL) {
        return;
    }
    world_trace(world_of(node), "%s agent dies", node->name);
    node->life++;
    node->wake_life++;
    node_journal_crash(node);
    struct session *ends[] = {node->acs, node->tcs};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (ends[i] != NULL) {
            session_client_close(ends[i], tell);
        }
    }
    node->acs = NULL;
    node->tcs = NULL;
    agent_logic_free(node->logic);
    node->logic = NULL;
}

void node_boot(struct node *node)
{
    ASSERT(!node->powered);
    node->powered = true;
    node->boot_count++;
    node->booted_ms = world_of(node)->now_ms;
    node_agent_start(node);
}

void node_power_off(struct node *node)
{
    if (!node->powered) {
        return;
    }
    world_trace(world_of(node), "%s loses power", node->name);
    node_agent_crash(node, false);
    node->power_life++;
    host_reset(node);
    node->powered = false;
}

void node_deinit(struct node *node)
{
    agent_logic_free(node->logic);
    agent_effects_deinit(&node->effects);
    node_journal_crash(node);
    journal_close(node->journal);
    host_deinit(node);
    guard_reset(node);
}
