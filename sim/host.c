#include "sim.h"

#include "api/ecs.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/*
 * What the agent's blocking calls do to a host. Each takes time and is done in steps, so that a
 * crash of the agent leaves some of them behind.
 */

struct job {
    struct node *node;
    enum agent_effect_kind kind;
    char id[SIM_ID_CHARS];
    const struct session_task_spec *spec; // the logic's; it stays until the job is answered
    int stage;
    int rc;
    const char *reason;
    int64_t begun_ms;
    struct known_group *given; // owned: what was known of the interface's groups
};

static void job_free(void *payload)
{
    struct job *job = payload;
    guard_free(job->given);
    alloc_free(job);
}

static struct world *world_of(const struct node *node)
{
    return &node->sim->world;
}

struct host_task *host_find(struct node *node, struct text id)
{
    struct host_task *task = node->tasks;
    while (task != NULL && !text_is(id, task->id)) {
        task = task->next;
    }
    return task;
}

static void note_ports(const struct ecs_task_definition *definition, struct host_task *task)
{
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        const struct ecs_port_mapping_list *list =
            &definition->container_definitions.items[i].port_mappings;
        for (size_t j = 0; j < list->count && task->port_count < ARRAY_LEN(task->ports); j++) {
            bool udp = list->items[j].protocol == ECS_TRANSPORT_PROTOCOL_UDP;
            if (list->items[j].host_port > 0) {
                task->ports[task->port_count++] =
                    2 * (uint32_t)list->items[j].host_port + (udp ? 1 : 0);
            }
        }
    }
}

static struct host_task *host_ensure(struct node *node, const struct job *job)
{
    struct host_task *task = host_find(node, text_of(job->id));
    if (task == NULL) {
        task = ALLOC(struct host_task);
        memcpy(task->id, job->id, sizeof(task->id));
        task->next = node->tasks;
        task->cpu_units = job->spec->cpu_units;
        task->memory_mib = job->spec->memory_mib;
        note_ports(job->spec->definition, task);
        node->tasks = task;
    }
    return task;
}

static void host_task_free(struct host_task *task)
{
    alloc_free((void *)(uintptr_t)task->address.data);
    alloc_free((void *)(uintptr_t)task->vpc.data);
    alloc_free(task->eni);
    alloc_free(task->left);
    alloc_free(task);
}

static void remove_task(struct node *node, struct host_task *gone)
{
    struct host_task **at = &node->tasks;
    while (*at != gone) {
        at = &(*at)->next;
    }
    *at = gone->next;
    host_task_free(gone);
    node->sim->hosts_touched = true;
}

static void answer(const struct job *job, enum agent_event_kind kind)
{
    struct agent_event event = {
        .kind = kind, .task_id = text_of(job->id), .rc = job->rc, .reason = text_of(job->reason)};
    if (job->rc != 0) {
        world_trace(world_of(job->node), "%s %.8s fails: %s", job->node->name, job->id,
                    job->reason);
    }
    node_apply(job->node, &event);
}

static void post(const struct job *job, int64_t low_ms, int64_t high_ms, world_fn run)
{
    struct job *copy = ALLOC(struct job);
    *copy = *job;
    struct world *world = world_of(job->node);
    world_post(world, &(struct world_event){
                          .delay_ms = world_between(world, low_ms, high_ms),
                          .life = &job->node->life,
                          .run = run,
                          .context = job->node,
                          .payload = copy,
                          .release = job_free,
                      });
}

// ---- PREPARE ------------------------------------------------------------------------------

static const struct ecs_container_definition *missing_image(const struct session_task_spec *spec)
{
    for (size_t i = 0; i < spec->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &spec->definition->container_definitions.items[i];
        if (text_starts(container->image, TEXT("missing"))) {
            return container;
        }
    }
    return NULL;
}

static void prepared(struct job *job, const struct ecs_container_definition *missing)
{
    struct node *node = job->node;
    size_t count = job->spec->definition->container_definitions.count;
    struct journal_container_image images[SIM_CONTAINER_MAX];
    for (size_t i = 0; i < count; i++) {
        images[i] = (struct journal_container_image){
            .name = job->spec->definition->container_definitions.items[i].name,
            .digest = TEXT("sha256:0123456789abcdef")};
    }
    struct agent_event event = {
        .kind = AGENT_EVENT_PREPARED,
        .task_id = text_of(job->id),
        .rc = job->rc,
        .reason = text_of(job->reason),
        .pull_started_at = node_time(node).wall_ms - (world_of(node)->now_ms - job->begun_ms),
        .pull_stopped_at = node_time(node).wall_ms,
    };
    if (missing != NULL) {
        event.failed_container = missing->name;
    } else {
        event.images.items = images;
        event.images.count = count;
    }
    world_trace(world_of(node), "%s prepared %.8s%s", node->name, job->id,
                job->rc == 0 ? "" : ": failed");
    node_apply(node, &event);
}

static void on_prepare(void *context, void *payload)
{
    struct node *node = context;
    struct job *job = payload;
    if (job->stage == 0) {
        const struct ecs_container_definition *missing = missing_image(job->spec);
        if (missing != NULL) {
            job->rc = ERR_NOT_FOUND;
            job->reason = "CannotPullContainerError: not found";
            prepared(job, missing);
            return;
        }
        struct host_task *task = host_ensure(node, job);
        if (job->spec->eni != NULL && !task->interface) {
            task->interface = true;
            alloc_free((void *)(uintptr_t)task->address.data);
            alloc_free((void *)(uintptr_t)task->vpc.data);
            task->vpc = text_of(alloc_format("%.*s", TEXT_FMT(job->spec->eni->vpc_id)));
            task->address = text_of(alloc_format("%.*s", TEXT_FMT(job->spec->eni->address)));
            alloc_free(task->eni);
            task->eni = shape_clone(&session_eni_shape, job->spec->eni, NULL);
            guard_add(node, task, job->given);
            node->sim->hosts_touched = true;
        }
        guard_free(job->given);
        job->given = NULL;
        job->stage = 1;
        post(job, 0, 30, on_prepare);
        return;
    }
    if (faults_host(node->sim) || node->full_ms > world_of(node)->now_ms) {
        job->rc = ERR_SYS;
        job->reason = "ResourceInitializationError: no space left on device";
    } else {
        host_ensure(node, job)->files = true;
    }
    prepared(job, NULL);
}

// ---- LAUNCH and ATTACH --------------------------------------------------------------------

static void connect_supervisor(struct node *node, const struct job *job)
{
    struct host_task *task = host_find(node, text_of(job->id));
    if (task != NULL && task->supervisor != NULL && task->supervisor->order != NULL) {
        supervisor_link(task->supervisor);
        return;
    }
    if (task != NULL && task->left != NULL) {
        node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_STATE,
                                               .task_id = text_of(job->id),
                                               .state = task->left});
    }
    node_apply(node, &(struct agent_event){.kind = AGENT_EVENT_SUPERVISOR_LOST,
                                           .task_id = text_of(job->id)});
}

/** A supervisor's process on its way up; the agent that began it may be gone by then. */
struct starter {
    char id[SIM_ID_CHARS];
    struct session_task_spec *spec; // owned
};

static void starter_free(void *payload)
{
    struct starter *starter = payload;
    alloc_free(starter->spec);
    alloc_free(starter);
}

// It gives up where the task has one, had one, was killed, or is gone.
static void on_start(void *context, void *payload)
{
    struct node *node = context;
    const struct starter *starter = payload;
    struct host_task *task = host_find(node, text_of(starter->id));
    bool taken = task != NULL && ((task->supervisor != NULL && task->supervisor->order != NULL) ||
                                  task->left != NULL);
    if (task != NULL && task->files && !taken && !task->killed) {
        task->supervisor = supervisor_start(node, task, starter->spec);
    } else {
        world_trace(world_of(node), "%s a supervisor of %.8s gives up", node->name, starter->id);
    }
}

static void post_start(struct node *node, const struct job *job,
                       const struct session_task_spec *spec, int64_t delay_ms)
{
    struct starter *starter = ALLOC(struct starter);
    memcpy(starter->id, job->id, sizeof(starter->id));
    starter->spec = shape_clone(&session_task_spec_shape, spec, NULL);
    world_post(world_of(node), &(struct world_event){
                                   .delay_ms = delay_ms,
                                   .life = &node->power_life,
                                   .run = on_start,
                                   .context = node,
                                   .payload = starter,
                                   .release = starter_free,
                               });
}

static void on_launch(void *context, void *payload)
{
    struct node *node = context;
    struct job *job = payload;
    if (job->stage == 1) {
        answer(job, AGENT_EVENT_LAUNCHED);
        if (job->rc == 0) {
            connect_supervisor(node, job);
        }
        return;
    }
    struct host_task *task = host_find(node, text_of(job->id));
    struct agent_task_view view;
    if (!agent_logic_task(node->logic, text_of(job->id), &view)) {
        world_fail(world_of(node), "%s launches %s, which its agent does not know", node->name,
                   job->id);
        return;
    }
    bool failed = faults_host(node->sim);
    bool ready = task != NULL && task->files && (view.spec->eni == NULL || task->interface);
    if (!ready) {
        world_fail(world_of(node), "%s launches %s, which is not prepared", node->name, job->id);
        return;
    }
    guard_check_launch(node, task);
    int64_t start_ms = world_between(world_of(node), 0, 4);
    if (!failed || world_chance(world_of(node), 500)) {
        post_start(node, job, view.spec, start_ms);
    }
    if (failed) {
        job->rc = ERR_SYS;
        job->reason = "ContainerRuntimeError: the supervisor cannot be started";
    }
    job->stage = 1;
    post(job, start_ms, start_ms + 4, on_launch);
}

static void on_attach(void *context, void *payload)
{
    connect_supervisor(context, payload);
}

// A task that is to stop before it was launched must never be.
static void check_launch(struct node *node, const struct agent_effect *effect)
{
    struct agent_task_view view;
    if (agent_logic_task(node->logic, effect->task_id, &view) && view.stop_requested) {
        world_fail(world_of(node), "%s launches %.*s, which is to stop", node->name,
                   TEXT_FMT(effect->task_id));
    }
    const struct host_task *task = host_find(node, effect->task_id);
    if (task != NULL && task->found_started) {
        world_fail(world_of(node), "%s launches %.*s, which it found started", node->name,
                   TEXT_FMT(effect->task_id));
    }
}

// ---- KILL and CLEAN -----------------------------------------------------------------------

static void on_kill(void *context, void *payload)
{
    struct node *node = context;
    struct job *job = payload;
    struct host_task *task = host_find(node, text_of(job->id));
    if (faults_host(node->sim)) {
        job->rc = ERR_SYS;
        job->reason = "ContainerRuntimeError: a process does not end";
    } else if (task != NULL) {
        task->killed = true;
        if (task->supervisor != NULL) {
            supervisor_kill(task->supervisor);
        }
    }
    world_trace(world_of(node), "%s killed %.8s", node->name, job->id);
    answer(job, AGENT_EVENT_KILLED);
}

// What must hold when the remains of a task are removed: nothing runs, and how it ended is known.
static void check_clean(struct node *node, const struct job *job, const struct host_task *task)
{
    if (task != NULL && task->supervisor != NULL && supervisor_runs(task->supervisor)) {
        world_fail(world_of(node), "%s cleans %s while it runs", node->name, job->id);
    }
    enum journal_phase phase = JOURNAL_PHASE_ABSENT;
    const struct fact *fact = fact_of(node->sim, text_of(job->id));
    bool known = sim_journal_find(node->journal, job->id, &phase);
    if (!fact->end_exempt && !(known && phase == JOURNAL_PHASE_STOPPED)) {
        world_fail(world_of(node), "%s cleans %s before its end is in the journal", node->name,
                   job->id);
    }
}

static void on_clean(void *context, void *payload)
{
    struct node *node = context;
    struct job *job = payload;
    struct host_task *task = host_find(node, text_of(job->id));
    check_clean(node, job, task);
    if (faults_host(node->sim)) {
        job->rc = ERR_SYS;
        job->reason = "ContainerNetworkingError: the interface is busy";
        fact_of(node->sim, text_of(job->id))->end_exempt = true;
    } else if (task != NULL) {
        remove_task(node, task);
    }
    world_trace(world_of(node), "%s cleaned %.8s", node->name, job->id);
    answer(job, AGENT_EVENT_CLEANED);
}

// ---- all ----------------------------------------------------------------------------------

void host_effect(struct node *node, const struct agent_effect *effect)
{
    struct job job = {
        .node = node,
        .kind = effect->kind,
        .spec = effect->spec,
        .begun_ms = world_of(node)->now_ms,
    };
    snprintf(job.id, sizeof(job.id), "%.*s", TEXT_FMT(effect->task_id));
    static const char *const names[] = {
        [AGENT_EFFECT_PREPARE] = "prepares", [AGENT_EFFECT_LAUNCH] = "launches",
        [AGENT_EFFECT_ATTACH] = "attaches",  [AGENT_EFFECT_STOP] = "stops",
        [AGENT_EFFECT_KILL] = "kills",       [AGENT_EFFECT_CLEAN] = "cleans",
    };
    world_trace(world_of(node), "%s %s %.8s", node->name, names[effect->kind], job.id);
    struct host_task *task = host_find(node, effect->task_id);
    switch (effect->kind) {
    case AGENT_EFFECT_PREPARE:
        job.given = guard_give(node, effect->spec->eni);
        // An image may have to be pulled first.
        post(&job, 1, world_chance(world_of(node), 200) ? 3000 : 60, on_prepare);
        break;
    case AGENT_EFFECT_LAUNCH:
        check_launch(node, effect);
        post(&job, 0, 5, on_launch);
        faults_moment(node->sim, node);
        break;
    case AGENT_EFFECT_ATTACH:
        post(&job, 0, 5, on_attach);
        break;
    case AGENT_EFFECT_STOP:
        if (task != NULL && task->supervisor != NULL) {
            supervisor_stop(task->supervisor);
        }
        break;
    case AGENT_EFFECT_KILL:
        post(&job, 0, 10, on_kill);
        break;
    case AGENT_EFFECT_CLEAN:
        post(&job, 0, 40, on_clean);
        break;
    case AGENT_EFFECT_JOURNAL_PUT:
    case AGENT_EFFECT_JOURNAL_DELETE:
    case AGENT_EFFECT_REPORT:
    case AGENT_EFFECT_SEND:
    case AGENT_EFFECT_HEALTH:
    case AGENT_EFFECT_WAKE_AT:
        ASSERT(false);
    }
}

void host_sweep(struct node *node)
{
    struct host_task *next = NULL;
    for (struct host_task *task = node->tasks; task != NULL; task = next) {
        next = task->next;
        struct agent_task_view view;
        if (agent_logic_task(node->logic, text_of(task->id), &view)) {
            continue;
        }
        world_trace(world_of(node), "%s sweeps %.8s away", node->name, task->id);
        if (task->supervisor != NULL) {
            supervisor_kill(task->supervisor);
        }
        remove_task(node, task);
    }
}

void host_reset(struct node *node)
{
    struct host_task *next = NULL;
    for (struct host_task *task = node->tasks; task != NULL; task = next) {
        next = task->next;
        if (task->supervisor != NULL) {
            supervisor_kill(task->supervisor);
            task->supervisor = NULL;
        }
        // Bundles, sockets, states and interfaces do not outlive a boot; writable layers do.
        task->interface = false;
        task->files = false;
        task->killed = false;
        alloc_free(task->left);
        task->left = NULL;
    }
    guard_reset(node);
    node->sim->hosts_touched = true;
}

void host_deinit(struct node *node)
{
    while (node->tasks != NULL) {
        struct host_task *task = node->tasks;
        node->tasks = task->next;
        host_task_free(task);
    }
}
