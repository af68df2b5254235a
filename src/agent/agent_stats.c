#include "agent/agent_endpoint.h"

#include "base/log.h"
#include "base/text.h"
#include "endpoint/stats.h"
#include "shape/json.h"

#include <float.h>

/*
 * What containers take of the host: a look at each every five seconds, in workers, and every twenty
 * seconds what came out of them to the server. A task that asks gets a look of its own.
 *
 * Kept of a container are its counters at the last look and the sums since the last publication: a
 * few hundred bytes.
 */

#define LOOK_MS 5000
#define LOOKS_PER_PUBLICATION 4
#define TASKS_PER_JOB 16   // so that looks keep no worker for long
#define TASKS_PER_FRAME 10 // Amazon's agent's
#define MIB (1024.0 * 1024.0)
#define NO_STATS TEXT("null")

/** Smallest, largest and sum of some values. */
struct range {
    double min;
    double max;
    double sum;
};

struct container_stats {
    bool seen;
    int32_t count;      ///< of values in each range
    int32_t rate_count; ///< likewise, of those that take two looks: CPU and rates
    struct container_counters last;
    struct range cpu;
    struct range memory;
    struct range received;
    struct range sent;
    struct range rx_rate;
    struct range tx_rate;
    struct range read;
    struct range written;
};

/** A task that was looked at. */
struct task_stats {
    size_t count;
    struct container_stats containers[]; ///< in the definition's order
};

/** A container to look at, and what was seen. */
struct look {
    struct runtime_sample which;
    bool seen;
    struct container_sample *sample; ///< whole; NULL in those that are only summed up
    struct container_counters counters;
    double memory_mib;
    uint64_t read_bytes;
    uint64_t written_bytes;
};

/** The looks of one job, in its arena. */
struct agent_looks {
    struct look *items;
    size_t count;
    struct endpoint_call *asked; ///< NULL in those that nobody asked for
    bool whole_task;
};

// ---- looking, in a worker ---------------------------------------------------------------------

static uint64_t device_sum(const struct stats_device *devices, size_t count, const char *operation)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += text_is(devices[i].operation, operation) ? devices[i].value : 0;
    }
    return sum;
}

static void take(struct look *look, const struct container_sample *sample)
{
    uint64_t cache = MIN(sample->memory_cache_bytes, sample->memory_bytes);
    look->counters = sample->counters;
    look->memory_mib = (double)(sample->memory_bytes - cache) / MIB;
    look->read_bytes = device_sum(sample->bytes, sample->bytes_count, "read");
    look->written_bytes = device_sum(sample->bytes, sample->bytes_count, "write");
}

static void run_looks(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct agent_looks *looks = job->looks;
    for (size_t i = 0; i < looks->count; i++) {
        AUTO(arena_deinit) struct arena scratch = {0};
        bool keep = looks->asked != NULL;
        struct arena *arena = keep ? &job->arena : &scratch;
        struct container_sample *sample = ARENA_NEW(arena, struct container_sample);
        struct err ignored; // it does not run yet, or no more
        struct look *look = &looks->items[i];
        look->seen = runtime->ops->sample(runtime, &look->which, arena, sample, &ignored) == 0;
        if (look->seen) {
            take(look, sample);
            look->sample = keep ? sample : NULL;
        }
    }
}

// ---- what is remembered -----------------------------------------------------------------------

// @param count  of values that are in the range already
static void add(struct range *range, int32_t count, double value)
{
    range->min = count == 0 ? value : MIN(range->min, value);
    range->max = count == 0 ? value : MAX(range->max, value);
    range->sum += value;
}

static struct task_stats *stats_of(struct agent *agent, struct text task_id, size_t count)
{
    struct task_stats *stats = map_get(&agent->stats, task_id);
    if (stats == NULL) {
        stats = alloc_zero(sizeof(*stats) + count * sizeof(stats->containers[0]));
        stats->count = count;
        map_put(&agent->stats, task_id, stats);
    }
    return stats;
}

static void sum_up(struct container_stats *stats, const struct look *look)
{
    const struct container_counters *now = &look->counters;
    add(&stats->memory, stats->count, look->memory_mib);
    if (stats->seen) {
        double received = 0;
        double sent = 0;
        stats_network_rate(now, &stats->last, &received, &sent);
        add(&stats->cpu, stats->rate_count, stats_cpu_percent(now, &stats->last));
        add(&stats->rx_rate, stats->rate_count, received);
        add(&stats->tx_rate, stats->rate_count, sent);
        stats->rate_count++;
    }
    add(&stats->received, stats->count, (double)now->rx_bytes);
    add(&stats->sent, stats->count, (double)now->tx_bytes);
    add(&stats->read, stats->count, (double)look->read_bytes);
    add(&stats->written, stats->count, (double)look->written_bytes);
    stats->count++;
    stats->last = *now;
    stats->seen = true;
}

void agent_stats_forget(struct agent *agent, struct text task_id)
{
    alloc_free(map_remove(&agent->stats, task_id));
}

// ---- which to look at -------------------------------------------------------------------------

static const struct supervisor_container_state *running(const struct agent_task_view *view,
                                                        struct text name)
{
    for (size_t i = 0; view->state != NULL && i < view->state->containers.count; i++) {
        const struct supervisor_container_state *state = &view->state->containers.items[i];
        bool runs = state->status == SUPERVISOR_STATUS_RUNNING ||
                    state->status == SUPERVISOR_STATUS_STOPPING;
        if (text_equal(state->name, name)) {
            return runs ? state : NULL;
        }
    }
    return NULL;
}

// Add the containers of a task that run; one of them, or all for SIZE_MAX.
static void add_looks(struct job *job, struct text task_id, const struct agent_task_view *view,
                      size_t only)
{
    const struct session_task_spec *spec = view->spec;
    const struct ecs_container_definition_list *list = &spec->definition->container_definitions;
    struct text id = arena_text(&job->arena, task_id);
    for (size_t i = 0; i < list->count; i++) {
        const struct supervisor_container_state *state = running(view, list->items[i].name);
        if (state == NULL || (only != SIZE_MAX && only != i)) {
            continue;
        }
        job->looks->items[job->looks->count++].which = (struct runtime_sample){
            .task_id = id,
            .index = i,
            .container = arena_text(&job->arena, list->items[i].name),
            .pid = state->has_pid ? state->pid : 0,
            .host_network = spec->definition->network_mode == ECS_NETWORK_MODE_HOST,
        };
    }
}

static struct job *looks_job(struct agent *agent, size_t most, struct text task_id,
                             void (*done)(struct job *job))
{
    struct job *job = agent_job_new(agent, task_id, run_looks, done);
    job->looks = ARENA_NEW(&job->arena, struct agent_looks);
    job->looks->items = arena_array(&job->arena, most, sizeof(*job->looks->items));
    return job;
}

/** A round over all tasks, one job after the other: what a look needs for a moment is then needed
 *  once, and no more than one worker is away from starting and ending tasks. */
struct look_round {
    size_t count;
    size_t next;
    char ids[][ID_CHARS];
};

static bool is_looked_at(const struct agent_task_view *view)
{
    return view->launched && !view->ended && view->state != NULL && view->spec->definition != NULL;
}

static void add_to_round(void *context, struct text task_id, const struct agent_task_view *view)
{
    struct look_round *round = context;
    if (is_looked_at(view)) {
        agent_copy_id(task_id, round->ids[round->count++]);
    }
}

static struct look_round *round_new(const struct agent *agent)
{
    size_t most = agent_logic_count(agent->logic);
    struct look_round *round = alloc_zero(sizeof(*round) + most * sizeof(round->ids[0]));
    agent_logic_each(agent->logic, add_to_round, round);
    return round;
}

static void done_looks(struct job *job);

// The next tasks of the round under way, or its end.
static void look_on(struct agent *agent)
{
    struct look_round *round = agent->round;
    struct agent_task_view views[TASKS_PER_JOB];
    struct text ids[TASKS_PER_JOB];
    size_t count = 0;
    size_t most = 0;
    while (round->next < round->count && count < TASKS_PER_JOB) {
        ids[count] = text_of(round->ids[round->next++]);
        if (agent_logic_task(agent->logic, ids[count], &views[count]) &&
            is_looked_at(&views[count])) {
            most += views[count].spec->definition->container_definitions.count;
            count++;
        }
    }
    if (count == 0) {
        alloc_free(round);
        agent->round = NULL;
        alloc_trim(); // of what the last waves of work and this round left
        return;
    }
    struct job *job = looks_job(agent, most, (struct text){0}, done_looks);
    for (size_t i = 0; i < count; i++) {
        add_looks(job, ids[i], &views[i], SIZE_MAX);
    }
    agent_job_submit(job);
}

static void done_looks(struct job *job)
{
    struct agent *agent = job->agent;
    for (size_t i = 0; i < job->looks->count; i++) {
        const struct look *look = &job->looks->items[i];
        struct agent_task_view view;
        if (!look->seen || !agent_logic_task(agent->logic, look->which.task_id, &view) ||
            view.ended || view.spec->definition == NULL) {
            continue;
        }
        size_t count = view.spec->definition->container_definitions.count;
        struct task_stats *stats = stats_of(agent, look->which.task_id, count);
        if (look->which.index < stats->count) {
            sum_up(&stats->containers[look->which.index], look);
        }
    }
    look_on(agent);
}

// ---- publishing -------------------------------------------------------------------------------

static struct session_stats_set *set_of(const struct range *range, int32_t count,
                                        struct arena *arena)
{
    if (count == 0) {
        return NULL;
    }
    struct session_stats_set *set = ARENA_NEW(arena, struct session_stats_set);
    *set = (struct session_stats_set){
        .has_min = true,
        .min = range->min,
        .has_max = true,
        .max = range->max,
        .has_sample_count = true,
        .sample_count = count,
        .has_sum = true,
        .sum = range->sum,
    };
    return set;
}

static void describe_container(const struct agent_task_view *view, size_t index,
                               const struct container_stats *stats, struct arena *arena,
                               struct session_container_metric *out)
{
    const struct session_task_spec *spec = view->spec;
    struct text name = spec->definition->container_definitions.items[index].name;
    const struct supervisor_container_state *state = running(view, name);
    *out = (struct session_container_metric){
        .container_name = name,
        .container_arn = index < spec->containers.count
                             ? spec->containers.items[index].container_arn
                             : (struct text){0},
        .cpu_stats_set = set_of(&stats->cpu, stats->rate_count, arena),
        .memory_stats_set = set_of(&stats->memory, stats->count, arena),
        .storage_stats_set = ARENA_NEW(arena, struct session_storage_stats_set),
    };
    out->storage_stats_set->read_size_bytes = set_of(&stats->read, stats->count, arena);
    out->storage_stats_set->write_size_bytes = set_of(&stats->written, stats->count, arena);
    if (spec->definition->network_mode != ECS_NETWORK_MODE_HOST) {
        out->network_stats_set = ARENA_NEW(arena, struct session_network_stats_set);
        out->network_stats_set->rx_bytes = set_of(&stats->received, stats->count, arena);
        out->network_stats_set->tx_bytes = set_of(&stats->sent, stats->count, arena);
        out->network_stats_set->rx_bytes_per_second =
            set_of(&stats->rx_rate, stats->rate_count, arena);
        out->network_stats_set->tx_bytes_per_second =
            set_of(&stats->tx_rate, stats->rate_count, arena);
    }
    if (state != NULL && state->has_restart_count) {
        out->restart_stats_set = ARENA_NEW(arena, struct session_restart_stats_set);
        out->restart_stats_set->has_restart_count = true;
        out->restart_stats_set->restart_count = state->restart_count;
    }
}

static void reset(struct container_stats *stats)
{
    const struct container_stats empty = {.seen = stats->seen, .last = stats->last};
    *stats = empty;
}

/** One publication, in frames. */
struct publication {
    struct agent *agent;
    struct arena arena;
    struct session_task_metric tasks[TASKS_PER_FRAME];
    size_t count;
};

static void send_frame(struct publication *publication, bool last, bool idle)
{
    struct agent *agent = publication->agent;
    struct session_metrics_metadata metadata = {
        .cluster = text_of(agent->server.cluster),
        .container_instance = text_of(agent->server.container_instance),
        .message_id = arena_format(&publication->arena, "%lld", (long long)agent_now().wall_ms),
        .has_idle = true,
        .idle = idle,
        .has_fin = true,
        .fin = last,
    };
    const struct session_publish_metrics_request frame = {
        .metadata = &metadata,
        .task_metrics = {.items = publication->count == 0 ? SHAPE_EMPTY : publication->tasks,
                         .count = publication->count},
        .timestamp = agent_now().wall_ms,
    };
    agent_frame_send_telemetry(agent, "PublishMetricsRequest",
                               &session_publish_metrics_request_shape, &frame);
    publication->count = 0;
    arena_reset(&publication->arena);
}

static void publish_task(void *context, struct text task_id, const struct agent_task_view *view)
{
    struct publication *publication = context;
    struct task_stats *stats = map_get(&publication->agent->stats, task_id);
    if (stats == NULL || view->ended) {
        return;
    }
    if (publication->count == TASKS_PER_FRAME) {
        send_frame(publication, false, false);
    }
    struct arena *arena = &publication->arena;
    struct session_task_metric *metric = &publication->tasks[publication->count++];
    *metric = (struct session_task_metric){
        .task_arn = view->spec->task_arn,
        .cluster_arn = view->spec->cluster_arn,
        .task_definition_family = view->spec->definition->family,
        .task_definition_version = arena_format(arena, "%d", view->spec->definition->revision),
        .container_metrics.items =
            arena_array(arena, stats->count, sizeof(*metric->container_metrics.items)),
    };
    for (size_t i = 0; i < stats->count; i++) {
        if (stats->containers[i].count > 0) {
            describe_container(view, i, &stats->containers[i], arena,
                               &metric->container_metrics.items[metric->container_metrics.count++]);
        }
        reset(&stats->containers[i]);
    }
}

static void publish(struct agent *agent)
{
    if (!agent->server.tcs_connected) {
        return; // the sums go on, and the next publication tells them
    }
    struct publication publication = {.agent = agent};
    agent_logic_each(agent->logic, publish_task, &publication);
    send_frame(&publication, true, agent->stats.count == 0);
    arena_deinit(&publication.arena);
}

static void on_look(uv_timer_t *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, look);
    agent->look_count++;
    if (agent->look_count % LOOKS_PER_PUBLICATION == 0) {
        publish(agent);
    }
    // While workers are behind, looks would only queue.
    if (agent->round == NULL && !agent->closed) {
        agent->round = round_new(agent);
        look_on(agent);
    }
}

void agent_stats_begin(struct agent *agent)
{
    int rc = uv_timer_init(agent->options.loop, &agent->look);
    ASSERT(rc == 0);
    agent->handle_count++;
    uint64_t period_ms = agent->options.look_ms == 0 ? LOOK_MS : agent->options.look_ms;
    uv_timer_start(&agent->look, on_look, period_ms, period_ms);
}

void agent_stats_deinit(struct agent *agent)
{
    alloc_free(agent->round);
    size_t cursor = 0;
    struct task_stats *stats = NULL;
    while ((stats = map_next(&agent->stats, &cursor, NULL)) != NULL) {
        alloc_free(stats);
    }
    map_deinit(&agent->stats);
}

// ---- the endpoint -----------------------------------------------------------------------------

static const struct look *look_at(const struct job *job, size_t index)
{
    for (size_t i = 0; i < job->looks->count; i++) {
        if (job->looks->items[i].which.index == index && job->looks->items[i].seen) {
            return &job->looks->items[i];
        }
    }
    return NULL;
}

static void write_stats(struct agent *agent, const struct job *job,
                        const struct metadata_source *source, size_t index, struct buf *out)
{
    const struct look *look = look_at(job, index);
    if (look == NULL) {
        buf_text(out, NO_STATS);
        return;
    }
    struct endpoint_call *call = job->looks->asked;
    size_t count = source->spec->definition->container_definitions.count;
    struct container_stats *stats = &stats_of(agent, source->task_id, count)->containers[index];
    struct endpoint_container container;
    struct endpoint_container_stats described;
    metadata_container(source, index, 4, &call->arena, &container);
    stats_describe(look->sample, stats->seen ? &stats->last : NULL, container.docker_id,
                   container.docker_name, &call->arena, &described);
    if (!stats->seen) {
        // The next one that asks gets rates.
        stats->seen = true;
        stats->last = look->counters;
    }
    json_encode_iso(&endpoint_container_stats_shape, &described, out);
}

static void write_task_stats(struct agent *agent, const struct job *job,
                             const struct metadata_source *source, struct buf *out)
{
    size_t count = source->spec->definition->container_definitions.count;
    for (size_t i = 0; i < count; i++) {
        buf_byte(out, i == 0 ? '{' : ',');
        json_quote(metadata_container_id(source, i, &job->looks->asked->arena), out);
        buf_byte(out, ':');
        write_stats(agent, job, source, i, out);
    }
    buf_byte(out, '}');
}

static void done_asked(struct job *job)
{
    struct agent *agent = job->agent;
    struct endpoint_call *call = job->looks->asked;
    struct text task_id = text_of(job->task_id);
    struct agent_task_view view;
    if (!agent_logic_task(agent->logic, task_id, &view) || view.ended) {
        agent_endpoint_refuse(call, 404, TEXT("the task has ended"));
        return;
    }
    const struct metadata_source source =
        agent_endpoint_source(agent, task_id, &view, &call->arena);
    call->status = 200;
    if (job->looks->whole_task) {
        write_task_stats(agent, job, &source, &call->reply);
    } else {
        write_stats(agent, job, &source, job->looks->items[0].which.index, &call->reply);
    }
    endpoint_done(call);
}

void agent_stats_serve(struct agent *agent, struct endpoint_call *call, size_t index)
{
    struct agent_task_view view;
    struct text task_id = agent_endpoint_task(call);
    bool known = agent_logic_task(agent->logic, task_id, &view);
    ASSERT(known); // it was looked up just now
    size_t most = view.spec->definition->container_definitions.count;
    struct job *job = looks_job(agent, most, task_id, done_asked);
    job->looks->asked = call;
    job->looks->whole_task = index == SIZE_MAX;
    if (index != SIZE_MAX) {
        job->looks->items[0].which.index = index; // also of one that does not run
    }
    add_looks(job, task_id, &view, index);
    agent_job_submit(job);
}
