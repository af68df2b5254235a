#include "agent/agent_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "net/net_task.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define TRIM_PERIOD_NS INT64_C(200000000) // it takes half a millisecond

/*
 * Blocking calls, each in one of libuv's workers. The agent has no more of them under way than
 * leaves workers for others; the rest wait in order.
 */

// ---- the queue ----------------------------------------------------------------------------

struct job *agent_job_new(struct agent *agent, struct text task_id, void (*run)(struct job *job),
                          void (*done)(struct job *job))
{
    struct job *job = ALLOC(struct job);
    job->agent = agent;
    job->run = run;
    job->done = done;
    job->fd = -1;
    if (task_id.data != NULL) {
        agent_copy_id(task_id, job->task_id);
    }
    return job;
}

static void job_free(struct job *job)
{
    fd_close(job->fd);
    agent_endpoint_drop(job);
    alloc_free(job->spec_kept);
    arena_deinit(&job->arena);
    alloc_free(job);
}

// Jobs take much for a moment, between what is there to stay, and the C library gives back only
// what is at the end. Without this a burst of tasks would leave the agent twice as large.
static void trim_at_times(struct agent *agent)
{
    int64_t now_ns = clock_monotonic_ns();
    int64_t last_ns = atomic_load(&agent->trimmed_ns);
    if (now_ns - last_ns >= TRIM_PERIOD_NS &&
        atomic_compare_exchange_strong(&agent->trimmed_ns, &last_ns, now_ns)) {
        alloc_trim();
    }
}

static void run_job(uv_work_t *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    if (job->run != NULL) {
        job->run(job);
    }
    trim_at_times(job->agent);
    alloc_trim_stack();
}

static void start_jobs(struct agent *agent);

static void after_job(uv_work_t *work, int status)
{
    (void)status; // jobs are never cancelled
    struct job *job = CONTAINER_OF(work, struct job, work);
    struct agent *agent = job->agent;
    ASSERT(agent->job_busy > 0);
    agent->job_busy--;
    if (!agent->closed) {
        job->done(job);
    }
    job_free(job);
    start_jobs(agent);
    if (agent->job_busy == 0) {
        trim_at_times(agent); // a wave of them is over
    }
    agent_check_stopped(agent);
}

static void start_jobs(struct agent *agent)
{
    while (agent->job_first != NULL && agent->job_busy < agent->job_max && !agent->closed) {
        struct job *job = agent->job_first;
        agent->job_first = job->next;
        if (agent->job_first == NULL) {
            agent->job_last = NULL;
        }
        agent->job_waiting--;
        agent->job_busy++;
        if (job->begin != NULL) {
            job->begin(job);
        }
        int rc = uv_queue_work(agent->options.loop, &job->work, run_job, after_job);
        ASSERT(rc == 0);
    }
}

void agent_job_submit(struct job *job)
{
    struct agent *agent = job->agent;
    if (agent->job_last == NULL) {
        agent->job_first = job;
    } else {
        agent->job_last->next = job;
    }
    agent->job_last = job;
    agent->job_waiting++;
    start_jobs(agent);
}

void agent_job_drop_waiting(struct agent *agent)
{
    struct job *next = NULL;
    for (struct job *job = agent->job_first; job != NULL; job = next) {
        next = job->next;
        job_free(job);
    }
    agent->job_first = NULL;
    agent->job_last = NULL;
    agent->job_waiting = 0;
}

static struct text job_id(const struct job *job)
{
    return text_of(job->task_id);
}

int agent_job_fail(struct job *job, const char *name, const struct err *err)
{
    job->reason = arena_format(&job->arena, "%s: %s", name, err->text);
    return err->code;
}

static struct agent_event answer(const struct job *job, enum agent_event_kind kind)
{
    return (struct agent_event){
        .kind = kind, .task_id = job_id(job), .rc = job->rc, .reason = job->reason};
}

// ---- PREPARE ------------------------------------------------------------------------------

// The digest that a container's image is to have; absent for what its tag points to.
static struct text pinned_digest(const struct session_task_spec *spec, struct text container)
{
    for (size_t i = 0; i < spec->containers.count; i++) {
        if (text_equal(spec->containers.items[i].name, container)) {
            return spec->containers.items[i].image_digest;
        }
    }
    return (struct text){0};
}

// In the words of Amazon's agent, which clients know, and with what helps here.
static int no_image(struct job *job, const struct ecs_container_definition *container, int rc,
                    const struct err *err)
{
    struct text name = container->image;
    struct text pinned = pinned_digest(job->spec, container->name);
    IGNORE(image_normalise(container->image, &job->arena, &name), "the name as it was given, then");
    if (!text_empty(pinned)) {
        name = arena_format(&job->arena, "%.*s@%.*s", TEXT_FMT(name), TEXT_FMT(pinned));
    }
    job->failed_container = container->name;
    if (rc == ERR_NOT_FOUND) {
        job->reason = arena_format(
            &job->arena,
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to "
            "resolve ref %.*s: not found; put it on the node with: berth image load FILE",
            TEXT_FMT(name));
    } else {
        job->reason = arena_format(&job->arena, "CannotPullContainerError: %s", err->text);
    }
    return rc;
}

static int resolve_images(struct job *job, struct runtime_container *containers)
{
    const struct ecs_container_definition_list *definitions =
        &job->spec->definition->container_definitions;
    struct image_store *store = job->agent->options.images;
    struct journal_container_image *images =
        arena_array(&job->arena, definitions->count, sizeof(*images));
    for (size_t i = 0; i < definitions->count; i++) {
        const struct ecs_container_definition *definition = &definitions->items[i];
        struct image *image = ARENA_NEW(&job->arena, struct image);
        containers[i] = (struct runtime_container){
            .definition = definition,
            .image = image,
            .environment = agent_endpoint_environment(job->agent, job->spec, i, &job->arena),
        };
        if (store == NULL) {
            continue;
        }
        struct err err = {0};
        struct text pinned = pinned_digest(job->spec, definition->name);
        int rc =
            text_empty(pinned)
                ? image_resolve(store, definition->image, &job->arena, image, &err)
                : image_resolve_pinned(store, definition->image, pinned, &job->arena, image, &err);
        if (rc != 0) {
            return no_image(job, definition, rc, &err);
        }
        images[job->images.count++] =
            (struct journal_container_image){.name = definition->name, .digest = image->digest};
    }
    job->images.items = images;
    return 0;
}

// What Fargate puts into every container's environment.
static struct text_list base_environment(struct job *job)
{
    const struct session_task_spec *spec = job->spec;
    struct text *items = arena_array(&job->arena, 3, sizeof(*items));
    size_t count = 0;
    if (!text_empty(spec->launch_type)) {
        items[count++] = arena_format(&job->arena, "AWS_EXECUTION_ENV=AWS_ECS_%.*s",
                                      TEXT_FMT(spec->launch_type));
    }
    if (!text_empty(spec->region)) {
        items[count++] =
            arena_format(&job->arena, "AWS_DEFAULT_REGION=%.*s", TEXT_FMT(spec->region));
        items[count++] = arena_format(&job->arena, "AWS_REGION=%.*s", TEXT_FMT(spec->region));
    }
    return (struct text_list){.items = items, .count = count};
}

static int prepare(struct job *job)
{
    const struct ecs_container_definition_list *definitions =
        &job->spec->definition->container_definitions;
    struct runtime_container *containers =
        arena_array(&job->arena, definitions->count, sizeof(*containers));
    if (job->refusal.data != NULL) {
        job->reason =
            arena_format(&job->arena, "CannotCreateContainerError: no space left on device: %.*s",
                         TEXT_FMT(job->refusal));
        return ERR_FULL_DISK;
    }
    job->pull_started_at = clock_wall_ms();
    int rc = resolve_images(job, containers);
    job->pull_stopped_at = clock_wall_ms();
    if (rc != 0) {
        return rc;
    }
    struct runtime_task task = {
        .id = job_id(job),
        .spec = job->spec,
        .containers = containers,
        .container_count = definitions->count,
        .environment = base_environment(job),
    };
    rc = agent_env_files(job, containers);
    if (rc != 0) {
        return rc;
    }
    agent_secrets_add(job, containers);
    rc = agent_network_make(job, &task, containers);
    if (rc != 0) {
        return rc;
    }
    job->network_ready_at = clock_wall_ms();
    struct err err = {0};
    struct runtime *runtime = job->agent->options.runtime;
    rc = runtime->ops->prepare(runtime, &task, &err);
    if (rc != 0) {
        return agent_job_fail(job, "ResourceInitializationError", &err);
    }
    job->prepared_at = clock_wall_ms();
    job->note = runtime_note(job->spec->definition, &job->arena);
    return 0;
}

static void run_prepare(struct job *job)
{
    job->rc = prepare(job);
}

static void done_prepare(struct job *job)
{
    struct agent_event event = answer(job, AGENT_EVENT_PREPARED);
    event.failed_container = job->failed_container;
    event.images = job->images;
    event.ports = job->ports;
    event.pull_started_at = job->pull_started_at;
    event.pull_stopped_at = job->pull_stopped_at;
    event.network_ready_at = job->network_ready_at;
    event.prepared_at = job->prepared_at;
    event.note = job->note;
    if (job->unreachable.data != NULL) {
        LOG(WARN, "this host itself does not reach the task's address",
            LOG_STR("task", job->task_id), LOG_TXT("reason", job->unreachable));
    }
    if (job->note.data != NULL) {
        LOG(WARN, "a task gets less than it asks for", LOG_STR("task", job->task_id),
            LOG_TXT("note", job->note));
    }
    if (job->rc != 0) {
        LOG(WARN, "a task cannot be prepared", LOG_STR("task", job->task_id),
            LOG_TXT("reason", job->reason));
    } else {
        agent_endpoint_take(job);
    }
    agent_apply(job->agent, &event);
}

void agent_job_prepare(struct agent *agent, const struct agent_effect *effect,
                       const struct berth_get_task_secrets_response *secrets)
{
    struct job *job = agent_job_new(agent, effect->task_id, run_prepare, done_prepare);
    job->spec = effect->spec;
    job->refusal = agent_disk_refusal(agent, &job->arena);
    if (secrets != NULL) {
        job->secrets = shape_copy(&berth_get_task_secrets_response_shape, secrets, &job->arena);
    }
    job->check_route = agent->options.host_route && !agent->route_checked;
    agent->route_checked = true;
    agent_groups_give(agent, job);
    agent_job_submit(job);
}

// ---- LAUNCH and ATTACH --------------------------------------------------------------------

// The last state that a supervisor left, for when it cannot be asked any more.
static void read_state(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct supervisor_state *state = ARENA_NEW(&job->arena, struct supervisor_state);
    struct err err = {0};
    if (runtime->ops->read_state(runtime, job_id(job), &job->arena, state, &err) == 0) {
        job->state = state;
    }
}

static void connect_supervisor(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct err err = {0};
    if (runtime->ops->attach(runtime, job_id(job), &job->fd, &err) != 0) {
        // It may have ended already; what it left tells how.
        job->fd = -1;
        read_state(job);
    }
}

static void take_connection(struct job *job)
{
    if (job->fd >= 0) {
        agent_link_open(job->agent, job_id(job), job->fd);
        job->fd = -1; // the link owns it now
        return;
    }
    if (job->state != NULL) {
        agent_apply(job->agent, &(struct agent_event){.kind = AGENT_EVENT_STATE,
                                                      .task_id = job_id(job),
                                                      .state = job->state});
    }
    agent_apply(job->agent,
                &(struct agent_event){.kind = AGENT_EVENT_SUPERVISOR_LOST, .task_id = job_id(job)});
}

// The sockets in the task's namespaces went with the agent that was here before.
static void open_endpoint(struct job *job)
{
    struct err err = {0};
    if (agent_endpoint_open(job, &err) != 0) {
        LOG(WARN, "a task that was taken over cannot reach its agent",
            LOG_STR("task", job->task_id), LOG_STR("reason", err.text));
    }
}

static void run_launch(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct err err = {0};
    if (job->spec != NULL) {
        open_endpoint(job);
    }
    job->rc = runtime->ops->launch(runtime, job_id(job), &err);
    // What the agent before this one began came up meanwhile, and is over: its state tells how.
    bool over = job->spec != NULL && job->rc == ERR_EXISTS;
    if (job->rc != 0 && !over) {
        job->rc = agent_job_fail(job, "ContainerRuntimeError", &err);
        return;
    }
    job->rc = 0;
    connect_supervisor(job);
}

static void done_launch(struct job *job)
{
    if (job->rc != 0) {
        LOG(WARN, "a task cannot be launched", LOG_STR("task", job->task_id),
            LOG_TXT("reason", job->reason));
    }
    struct agent_event event = answer(job, AGENT_EVENT_LAUNCHED);
    if (job->rc == 0) {
        agent_endpoint_take(job);
    }
    agent_apply(job->agent, &event);
    if (job->rc == 0) {
        take_connection(job);
    }
}

void agent_job_launch(struct agent *agent, const struct agent_effect *effect)
{
    struct job *job = agent_job_new(agent, effect->task_id, run_launch, done_launch);
    job->spec = effect->spec;
    agent_job_submit(job);
}

static void run_attach(struct job *job)
{
    if (job->spec != NULL) {
        open_endpoint(job);
    }
    connect_supervisor(job);
}

static void done_attach(struct job *job)
{
    struct agent_task_view view;
    if (agent_logic_task(job->agent->logic, job_id(job), &view)) {
        agent_endpoint_take(job);
    }
    take_connection(job);
}

// A copy: the task may be forgotten before this is answered. Only now, as hundreds may wait.
static void begin_attach(struct job *job)
{
    struct agent_task_view view;
    if (agent_logic_task(job->agent->logic, job_id(job), &view) && view.spec->definition != NULL) {
        job->spec_kept = shape_clone(&session_task_spec_shape, view.spec, NULL);
        job->spec = job->spec_kept;
    }
}

void agent_job_attach(struct agent *agent, const struct agent_effect *effect)
{
    struct job *job = agent_job_new(agent, effect->task_id, run_attach, done_attach);
    job->begin = begin_attach;
    agent_job_submit(job);
}

void agent_job_read_last(struct agent *agent, struct text task_id)
{
    agent_job_submit(agent_job_new(agent, task_id, read_state, take_connection));
}

// ---- KILL and CLEAN -----------------------------------------------------------------------

static void run_kill(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct err err = {0};
    int rc = runtime->ops->kill(runtime, job_id(job), &err);
    job->rc =
        rc == 0 || rc == ERR_NOT_FOUND ? 0 : agent_job_fail(job, "ContainerRuntimeError", &err);
}

static void done_kill(struct job *job)
{
    if (job->rc != 0) {
        LOG(WARN, "a task's processes cannot be ended, trying again", LOG_STR("task", job->task_id),
            LOG_TXT("reason", job->reason));
    }
    struct agent_event event = answer(job, AGENT_EVENT_KILLED);
    agent_apply(job->agent, &event);
}

void agent_job_kill(struct agent *agent, const struct agent_effect *effect)
{
    agent_job_submit(agent_job_new(agent, effect->task_id, run_kill, done_kill));
}

static void run_clean(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct err err = {0};
    int rc = runtime->ops->clean(runtime, job_id(job), &err);
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        job->rc = agent_job_fail(job, "ContainerRuntimeError", &err);
    }
    // The network goes even when the rest does not: its addresses will be given to others.
    if (agent_network_remove(job, &err) != 0) {
        job->rc = agent_job_fail(job, "ContainerNetworkingError", &err);
    }
}

static void done_clean(struct job *job)
{
    if (job->rc != 0) {
        LOG(WARN, "what is left of a task cannot be removed, trying again",
            LOG_STR("task", job->task_id), LOG_TXT("reason", job->reason));
    }
    struct agent_event event = answer(job, AGENT_EVENT_CLEANED);
    agent_apply(job->agent, &event);
}

void agent_job_clean(struct agent *agent, const struct agent_effect *effect)
{
    struct job *job = agent_job_new(agent, effect->task_id, run_clean, done_clean);
    job->spec = effect->spec;
    agent_endpoint_close(agent, effect->task_id);
    agent_job_submit(job);
}

// ---- what belongs to nobody ---------------------------------------------------------------

static void run_sweep(struct job *job)
{
    const struct agent_options *options = &job->agent->options;
    struct runtime *runtime = options->runtime;
    for (size_t i = 0; i < job->task_ids.count; i++) {
        struct err err = {0};
        struct text id = job->task_ids.items[i];
        if (runtime->ops->kill(runtime, id, &err) != 0 ||
            runtime->ops->clean(runtime, id, &err) != 0) {
            LOG(WARN, "what is left of an unknown task cannot be removed", LOG_TXT("task", id),
                LOG_STR("reason", err.text));
        }
    }
    for (size_t i = 0; i < job->eni_ids.count; i++) {
        struct err err = {0};
        if (net_eni_destroy(options->net, job->eni_ids.items[i], &err) != 0) {
            LOG(WARN, "an unknown network interface cannot be removed",
                LOG_TXT("eni", job->eni_ids.items[i]), LOG_STR("reason", err.text));
        }
    }
    for (size_t i = 0; i < job->net_ids.count; i++) {
        struct err err = {0};
        if (net_task_destroy(options->net, job->net_ids.items[i], &err) != 0) {
            LOG(WARN, "an unknown task's network cannot be removed",
                LOG_TXT("task", job->net_ids.items[i]), LOG_STR("reason", err.text));
        }
    }
    if (options->net != NULL) {
        agent_fault_sweep(job);
    }
}

static void copy_ids(struct job *job, const struct text_list *from, struct text_list *out)
{
    out->items = arena_array(&job->arena, from->count, sizeof(struct text));
    for (size_t i = 0; i < from->count; i++) {
        out->items[out->count++] = arena_text(&job->arena, from->items[i]);
    }
}

void agent_job_sweep(struct agent *agent, const struct agent_leftovers *leftovers,
                     void (*done)(struct job *job))
{
    struct job *job = agent_job_new(agent, (struct text){0}, run_sweep, done);
    copy_ids(job, &leftovers->tasks, &job->task_ids);
    copy_ids(job, &leftovers->enis, &job->eni_ids);
    copy_ids(job, &leftovers->nets, &job->net_ids);
    copy_ids(job, &leftovers->faults, &job->fault_ids);
    agent_job_submit(job);
}
