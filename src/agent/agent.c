#include "agent/agent_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "net/net_fault.h"
#include "net/net_task.h"

#include <stdlib.h>
#include <string.h>

#define POOL_SIZE_DEFAULT 4 // libuv's own, unless UV_THREADPOOL_SIZE is set
#define POOL_SIZE_FREE 2    // workers left for the journal, look-ups and the rest of the process
#define SOON_MS 500  // between looks whether a server that does not answer was waited for enough
#define TELL_MS 3000 // how long a stop waits for a server that does not answer

struct agent_time agent_now(void)
{
    return (struct agent_time){.monotonic_ms = clock_monotonic_ns() / 1000000,
                               .wall_ms = clock_wall_ms()};
}

void agent_copy_id(struct text id, char *out_id)
{
    int rc = text_copy(id, out_id, ID_CHARS);
    ASSERT(rc == 0);
}

// ---- effects ------------------------------------------------------------------------------

static void on_wake(uv_timer_t *timer);

static void set_wake(struct agent *agent, int64_t at_ms)
{
    agent->wake_at_ms = at_ms;
    if (at_ms < 0) {
        uv_timer_stop(&agent->wake);
        return;
    }
    // The loop's own idea of now may be behind, and would let the timer run out early.
    uv_update_time(agent->options.loop);
    int64_t delay_ms = MAX(at_ms - agent_now().monotonic_ms, (int64_t)0);
    uv_timer_start(&agent->wake, on_wake, (uint64_t)delay_ms, 0);
}

static void on_wake(uv_timer_t *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, wake);
    if (agent_now().monotonic_ms < agent->wake_at_ms) {
        uv_timer_start(timer, on_wake, 1, 0);
        return;
    }
    agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_TIME});
}

static void carry_out(struct agent *agent, const struct agent_effect *effect)
{
    switch (effect->kind) {
    case AGENT_EFFECT_JOURNAL_PUT:
    case AGENT_EFFECT_JOURNAL_DELETE:
        agent_journal_add(agent, effect);
        break;
    case AGENT_EFFECT_PREPARE:
        agent_secrets_prepare(agent, effect);
        break;
    case AGENT_EFFECT_LAUNCH:
        agent_job_launch(agent, effect);
        break;
    case AGENT_EFFECT_ATTACH:
        agent_job_attach(agent, effect);
        break;
    case AGENT_EFFECT_STOP:
        agent_link_command(agent, effect->task_id, SUPERVISOR_COMMAND_KIND_STOP);
        break;
    case AGENT_EFFECT_KILL:
        agent_link_close(agent, effect->task_id);
        agent_job_kill(agent, effect);
        break;
    case AGENT_EFFECT_CLEAN:
        agent_job_clean(agent, effect);
        break;
    case AGENT_EFFECT_REPORT:
        agent_report(agent, effect);
        break;
    case AGENT_EFFECT_SEND:
        agent_frame_send(agent, effect, false);
        break;
    case AGENT_EFFECT_HEALTH:
        agent_frame_send(agent, effect, true);
        break;
    case AGENT_EFFECT_WAKE_AT:
        set_wake(agent, effect->at_ms);
        break;
    }
}

static void carry_out_all(struct agent *agent)
{
    for (size_t i = 0; i < agent->effects.count; i++) {
        carry_out(agent, &agent->effects.items[i]);
    }
    agent_effects_reset(&agent->effects);
    agent_journal_flush(agent);
}

void agent_apply(struct agent *agent, const struct agent_event *event)
{
    // Nothing that carries an effect out answers it at once: answers come with later turns.
    ASSERT(!agent->applying);
    if (agent->closed) {
        return;
    }
    agent->applying = true;
    agent_logic_apply(agent->logic, agent_now(), event, &agent->effects);
    carry_out_all(agent);
    agent->applying = false;
}

// ---- taking over --------------------------------------------------------------------------

/** What is there at the start. */
struct takeover {
    struct agent *agent;
    struct arena arena;
    struct runtime_found *found;
    size_t found_count;
    struct text_list enis;
    struct text_list nets;   ///< tasks on the bridge network
    struct text_list faults; ///< tasks with faults in the host's namespace
    struct map known_tasks;  ///< ids that the journal has
    struct map known_enis;
};

static const struct runtime_found *find_found(const struct takeover *takeover, struct text id)
{
    for (size_t i = 0; i < takeover->found_count; i++) {
        if (text_equal(takeover->found[i].id, id)) {
            return &takeover->found[i];
        }
    }
    return NULL;
}

static int take_over_task(void *context, struct text task_id, const struct journal_task *task,
                          struct err *err)
{
    struct takeover *takeover = context;
    struct text own_id = agent_task_id(task->spec->task_arn);
    if (!text_equal(own_id, task_id)) {
        LOG(WARN, "a record of the journal is not the task it says", LOG_TXT("task", task_id));
        return 0;
    }
    const struct runtime_found *found = find_found(takeover, task_id);
    map_put(&takeover->known_tasks, task_id, takeover);
    if (task->spec->eni != NULL) {
        map_put(&takeover->known_enis, task->spec->eni->eni_id, takeover);
    }
    const struct agent_event event = {
        .kind = AGENT_EVENT_RECOVERED,
        .task_id = task_id,
        .record = task,
        .state = found != NULL && found->has_state ? &found->state : NULL,
        .supervisor_alive = found != NULL && found->supervisor_alive,
        .unstarted = found != NULL && found->unstarted,
    };
    agent_apply(takeover->agent, &event);
    agent_groups_adopt(takeover->agent, task->spec);
    return 0;
}

static void on_swept(struct job *job)
{
    job->agent->can_fault = job->can_fault;
    agent_server_go(job->agent);
}

static void add_unknown(const struct map *known, struct text id, struct text_list *list)
{
    if (map_get(known, id) == NULL) {
        list->items[list->count++] = id;
    }
}

// What belongs to no task of the journal was being prepared when an agent ended; it goes before the
// server can send the same task again.
static void sweep(struct takeover *takeover)
{
    struct arena *arena = &takeover->arena;
    struct agent_leftovers left = {
        .tasks.items = arena_array(arena, takeover->found_count, sizeof(struct text)),
        .enis.items = arena_array(arena, takeover->enis.count, sizeof(struct text)),
        .nets.items = arena_array(arena, takeover->nets.count, sizeof(struct text)),
        .faults.items = arena_array(arena, takeover->faults.count, sizeof(struct text)),
    };
    for (size_t i = 0; i < takeover->found_count; i++) {
        add_unknown(&takeover->known_tasks, takeover->found[i].id, &left.tasks);
    }
    for (size_t i = 0; i < takeover->enis.count; i++) {
        add_unknown(&takeover->known_enis, takeover->enis.items[i], &left.enis);
    }
    for (size_t i = 0; i < takeover->nets.count; i++) {
        add_unknown(&takeover->known_tasks, takeover->nets.items[i], &left.nets);
    }
    for (size_t i = 0; i < takeover->faults.count; i++) {
        add_unknown(&takeover->known_tasks, takeover->faults.items[i], &left.faults);
    }
    bool clean = left.tasks.count == 0 && left.enis.count == 0 && left.nets.count == 0 &&
                 left.faults.count == 0;
    if (clean && takeover->agent->options.net == NULL) {
        agent_server_go(takeover->agent);
        return;
    }
    if (!clean) {
        LOG(INFO, "removing what belongs to no task", LOG_U64("tasks", left.tasks.count),
            LOG_U64("interfaces", left.enis.count), LOG_U64("networks", left.nets.count),
            LOG_U64("faults", left.faults.count));
    }
    agent_job_sweep(takeover->agent, &left, on_swept);
}

static int take_over(struct agent *agent, struct takeover *takeover, struct err *err)
{
    struct runtime *runtime = agent->options.runtime;
    struct net *net = agent->options.net;
    struct journal_loss loss = {0};
    int rc = runtime->ops->list(runtime, &takeover->arena, &takeover->found, &takeover->found_count,
                                err);
    if (rc == 0 && net != NULL) {
        rc = net_eni_list(net, &takeover->arena, &takeover->enis, err);
        net_task_list(net, &takeover->arena, &takeover->nets);
    }
    if (rc == 0 && net != NULL) {
        rc = net_fault_list(net, &takeover->arena, &takeover->faults, err);
    }
    if (rc == 0) {
        rc = journal_load(agent->journal.journal, take_over_task, takeover, &loss, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (loss.gaps > 0) {
        LOG_LINE(loss.inside ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN,
                 "part of the node's journal was damaged and is left out",
                 LOG_U64("bytes", loss.bytes), LOG_U64("places", loss.gaps), (struct log_field){0});
    }
    size_t count = agent_logic_count(agent->logic);
    if (count > 0) {
        LOG(INFO, "took over tasks", LOG_U64("count", count));
    }
    agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_RECOVERY_DONE});
    sweep(takeover);
    return 0;
}

// ---- starting -----------------------------------------------------------------------------

static size_t job_limit(void)
{
    const char *setting = getenv("UV_THREADPOOL_SIZE");
    uint64_t size = POOL_SIZE_DEFAULT;
    IGNORE(setting != NULL && text_to_u64(text_of(setting), &size) != 0, "the default, then");
    return size > POOL_SIZE_FREE ? (size_t)MIN(size, (uint64_t)1024) - POOL_SIZE_FREE : 1;
}

static const char *copy_string(struct agent *agent, const char *string)
{
    return arena_text(&agent->arena, text_of(string)).data;
}

static void copy_options(struct agent *agent, const struct agent_options *options)
{
    struct arena *arena = &agent->arena;
    const struct agent_identity *identity = options->identity;
    agent->options = *options;
    agent->identity = (struct agent_identity){
        .node_id = arena_text(arena, identity->node_id),
        .key_id = arena_text(arena, identity->key_id),
        .secret = arena_text(arena, identity->secret),
        .region = arena_text(arena, identity->region),
        .endpoint = arena_text(arena, identity->endpoint),
        .ca_file = arena_text(arena, identity->ca_file),
    };
    agent->options.identity = &agent->identity;
    agent->options.zone = copy_string(agent, options->zone);
    agent->options.cluster = copy_string(agent, options->cluster);
    agent->options.version = copy_string(agent, options->version == NULL ? "0" : options->version);
    agent->options.data_dir = copy_string(agent, options->data_dir);
}

int agent_start(const struct agent_options *options, struct agent **out_agent, struct err *err)
{
    ASSERT(options->runtime != NULL);
    ASSERT(options->data_dir[0] == '/');
    AUTO(alloc_string) char *journal_dir = alloc_format("%s/journal", options->data_dir);
    struct journal *journal = NULL;
    int rc = journal_file_open(journal_dir, &journal, err);
    if (rc != 0) {
        return rc;
    }
    struct agent *agent = ALLOC(struct agent);
    copy_options(agent, options);
    agent->journal.journal = journal;
    agent->job_max = job_limit();
    agent->wake_at_ms = -1;
    rc = uv_timer_init(options->loop, &agent->wake);
    ASSERT(rc == 0);
    rc = uv_timer_init(options->loop, &agent->soon);
    ASSERT(rc == 0);
    agent->handle_count += 2;
    agent_secrets_begin(agent);
    agent_groups_begin(agent);
    const struct agent_logic_options logic_options = {.boot_id = agent_host_boot_id(&agent->arena)};
    agent->logic = agent_logic_new(&logic_options);

    struct takeover takeover = {.agent = agent};
    agent_stats_begin(agent);
    rc = agent_endpoints_begin(agent, err);
    rc = rc == 0 ? agent_server_begin(agent, err) : rc;
    if (rc == 0) {
        rc = take_over(agent, &takeover, err);
    }
    map_deinit(&takeover.known_tasks);
    map_deinit(&takeover.known_enis);
    arena_deinit(&takeover.arena);
    if (rc != 0) {
        agent_free(agent);
        return err_wrap(err, "starting the agent");
    }
    *out_agent = agent;
    return 0;
}

// ---- stopping -----------------------------------------------------------------------------

/** Whether anything of any task is left on the host. */
static void look_for_remains(void *context, struct text task_id, const struct agent_task_view *view)
{
    bool *out_remains = context;
    *out_remains = *out_remains || !view->cleaned;
}

static bool tasks_are_gone(struct agent *agent)
{
    bool remains = false;
    agent_logic_each(agent->logic, look_for_remains, &remains);
    if (remains) {
        agent->quiet_since_ms = 0;
        return false;
    }
    // All are gone from the host. The server should know, but it may be gone as well.
    int64_t now_ms = agent_now().monotonic_ms;
    agent->quiet_since_ms = agent->quiet_since_ms == 0 ? now_ms : agent->quiet_since_ms;
    return agent_logic_count(agent->logic) == 0 || now_ms - agent->quiet_since_ms >= TELL_MS;
}

void agent_check_stopped(struct agent *agent)
{
    if (!agent->stopping || agent->stop_told || agent->closed || agent->applying) {
        return;
    }
    if (agent->stop_tasks && !tasks_are_gone(agent)) {
        return;
    }
    agent->stop_told = true;
    agent->stopped(agent->stopped_context);
}

static void on_soon(uv_timer_t *timer)
{
    agent_check_stopped(CONTAINER_OF(timer, struct agent, soon));
}

void agent_stop(struct agent *agent, enum agent_stop_mode mode, void (*stopped)(void *context),
                void *context)
{
    if (agent->stopping) {
        return;
    }
    agent->stopping = true;
    agent->stop_tasks = mode == AGENT_STOP_TASKS;
    agent->stopped = stopped;
    agent->stopped_context = context;
    if (agent->stop_tasks) {
        ASSERT(!agent->applying);
        agent->applying = true;
        agent_logic_stop_all(agent->logic, agent_now(), &agent->effects);
        carry_out_all(agent);
        agent->applying = false;
    }
    // Even when there is nothing to wait for, stopped is called later.
    uv_timer_start(&agent->soon, on_soon, 0, SOON_MS);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct agent *agent = handle->data;
    agent->handle_count--;
}

void agent_close_handle(struct agent *agent, uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        handle->data = agent;
        uv_close(handle, on_handle_closed);
    }
}

static bool is_busy(const struct agent *agent)
{
    bool sessions =
        agent->server.sessions != NULL && !agent_sessions_closed(agent->server.sessions);
    bool endpoints = agent->endpoints != NULL && !endpoints_closed(agent->endpoints);
    return agent->execs != NULL || agent->handle_count > 0 || agent->job_busy > 0 ||
           agent->journal.busy || sessions || endpoints;
}

void agent_free(struct agent *agent)
{
    if (agent == NULL) {
        return;
    }
    ASSERT(!agent->applying);
    agent->closed = true;
    agent_link_close_all(agent);
    agent_server_end(agent);
    agent_exec_end(agent);
    agent_protection_end(agent);
    agent_tags_end(agent);
    agent_secrets_end(agent);
    agent_groups_end(agent);
    endpoints_close(agent->endpoints);
    agent_job_drop_waiting(agent);
    agent_close_handle(agent, (uv_handle_t *)&agent->wake);
    agent_close_handle(agent, (uv_handle_t *)&agent->soon);
    agent_close_handle(agent, (uv_handle_t *)&agent->look);
    while (is_busy(agent)) {
        uv_run(agent->options.loop, UV_RUN_ONCE);
    }
    agent_server_deinit(&agent->server);
    endpoints_free(agent->endpoints);
    agent_endpoint_deinit(agent);
    agent_credentials_deinit(agent);
    agent_rules_deinit(&agent->rules);
    agent_stats_deinit(agent);
    agent_fault_deinit(agent);
    garbage_deinit(&agent->garbage.state);
    // What the logic decided is in the journal, or is decided again.
    agent_journal_deinit(&agent->journal);
    agent_logic_free(agent->logic);
    agent_effects_deinit(&agent->effects);
    map_deinit(&agent->links);
    arena_deinit(&agent->arena);
    alloc_free(agent);
}

static void count_task(void *context, struct text task_id, const struct agent_task_view *view)
{
    size_t *out_count = context;
    *out_count += view->ended ? 0 : 1;
}

void agent_stats(const struct agent *agent, struct agent_stats *out_stats)
{
    *out_stats = (struct agent_stats){
        .job_count = agent->job_busy + agent->job_waiting,
        .registered = agent->server.container_instance != NULL,
        .connected = agent->server.connected,
        .telemetry = agent->server.tcs_connected,
        .report_count = agent->report_count,
        .journal_write_count = agent->journal.write_count,
        .journal_record_count = agent->journal.record_count,
    };
    agent_logic_each(agent->logic, count_task, &out_stats->task_count);
}
