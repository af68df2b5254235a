#include "sim.h"

#include "base/text.h"
#include "runtime/spec.h"
#include "shape/shape.h"

#include <stdio.h>
#include <string.h>

/*
 * A supervisor with the real decisions of src/task/order.h, and containers that are invented. What
 * an image is called says how its containers behave:
 *
 *   app       runs until it is told to stop
 *   job       ends by itself, with some exit code
 *   stubborn  does not hear the stop signal
 *   broken    often cannot be started
 *   sick      its health comes and goes
 *   again     ends by itself after the period of its restart policy, more or less; may trace others
 */

#define SIGKILL_CODE 137
#define STOP_TIMEOUT_S 30 // ECS's default
#define STARTING_MS 100   // what is just being started is told when it runs

// The least period of a restart policy is a minute, about as long as a whole run.
#define PERIOD_PART 20

struct probe {
    struct supervisor *supervisor;
    size_t container;
    enum order_command command;
};

static void turn(struct supervisor *supervisor);

static struct world *world_of(const struct supervisor *supervisor)
{
    return &supervisor->node->sim->world;
}

static struct order_time order_now(const struct supervisor *supervisor)
{
    struct agent_time now = node_time(supervisor->node);
    return (struct order_time){.monotonic_ms = now.monotonic_ms, .wall_ms = now.wall_ms};
}

static struct text image_of(const struct supervisor *supervisor, size_t container)
{
    return supervisor->spec->definition->container_definitions.items[container].image;
}

static void tell(struct supervisor *supervisor, const struct order_event *event)
{
    if (supervisor->order != NULL) {
        order_event(supervisor->order, event, order_now(supervisor));
        turn(supervisor);
    }
}

static void post_command(struct supervisor *supervisor, const struct order_action *action,
                         int64_t delay_ms, const uint64_t *life, world_fn run)
{
    struct probe *payload = ALLOC(struct probe);
    *payload = (struct probe){supervisor, action->container, action->command};
    world_post(world_of(supervisor), &(struct world_event){.delay_ms = delay_ms,
                                                           .life = life,
                                                           .run = run,
                                                           .context = supervisor,
                                                           .payload = payload});
}

static void post(struct supervisor *supervisor, size_t container, int64_t delay_ms,
                 const uint64_t *life, world_fn run)
{
    post_command(supervisor, &(struct order_action){.container = container}, delay_ms, life, run);
}

// ---- containers ---------------------------------------------------------------------------

// The process ends; the supervisor hears of it when it still lives.
static void exit_container(struct supervisor *supervisor, size_t index, int32_t code)
{
    struct sim_container *container = &supervisor->containers[index];
    if (!container->running) {
        return;
    }
    container->running = false;
    container->life++;
    struct container_fact *fact = &supervisor->fact->containers[index];
    fact->exited = true;
    fact->exit_code = code;
    supervisor->node->sim->hosts_touched = true;
    world_trace(world_of(supervisor), "%s %.8s container %zu ends with %d", supervisor->node->name,
                supervisor->id, index, code);
    struct faults *faults = &supervisor->node->sim->faults;
    if (faults->active && world_chance(world_of(supervisor), faults->crash_permille)) {
        supervisor_crash(supervisor); // before it told anybody
        return;
    }
    tell(supervisor,
         &(struct order_event){.kind = ORDER_EXITED, .container = index, .exit_code = code});
}

static void on_own_end(void *context, void *payload)
{
    struct supervisor *supervisor = context;
    static const int32_t codes[] = {0, 0, 0, 1, 3, 139};
    size_t index = ((struct probe *)payload)->container;
    // A job that others wait for succeeds mostly; the name of the image says which one must.
    int32_t code = text_is(image_of(supervisor, index), "job:ok")
                       ? 0
                       : codes[world_between(world_of(supervisor), 0, ARRAY_LEN(codes) - 1)];
    exit_container(supervisor, index, code);
}

static void on_signalled(void *context, void *payload)
{
    struct supervisor *supervisor = context;
    int32_t code = world_chance(world_of(supervisor), 500) ? 143 : 0;
    exit_container(supervisor, ((struct probe *)payload)->container, code);
}

static void on_killed(void *context, void *payload)
{
    exit_container(context, ((struct probe *)payload)->container, SIGKILL_CODE);
}

static void on_start_failed(void *context, void *payload)
{
    struct supervisor *supervisor = context;
    size_t index = ((struct probe *)payload)->container;
    supervisor->containers[index].starting = false;
    supervisor->node->sim->hosts_touched = true;
    tell(supervisor, &(struct order_event){.kind = ORDER_START_FAILED,
                                           .container = index,
                                           .reason = TEXT("exec format error")});
}

static void on_started(void *context, void *payload)
{
    struct supervisor *supervisor = context;
    struct world *world = world_of(supervisor);
    size_t index = ((struct probe *)payload)->container;
    struct sim_container *container = &supervisor->containers[index];
    struct container_fact *fact = &supervisor->fact->containers[index];
    const struct ecs_container_restart_policy *policy =
        supervisor->spec->definition->container_definitions.items[index].restart_policy;
    if (fact->started && (policy == NULL || !policy->enabled || !fact->exited)) {
        world_fail(world, "container %zu of %s starts twice", index, supervisor->id);
    }
    supervisor->node->sim->churn.counts[ACT_RESTART] += fact->started;
    fact->exited = false;
    container->starting = false;
    container->running = true;
    fact->started = true;
    world_trace(world, "%s %.8s container %zu runs", supervisor->node->name, supervisor->id, index);
    if (text_starts(image_of(supervisor, index), TEXT("job"))) {
        post(supervisor, index, world_between(world, 20, 12000), &container->life, on_own_end);
    } else if (text_starts(image_of(supervisor, index), TEXT("again"))) {
        post(supervisor, index, world_between(world, 55000 / PERIOD_PART, 75000 / PERIOD_PART),
             &container->life, on_own_end);
    } else if (!supervisor->node->sim->calm && world_chance(world, 40)) {
        post(supervisor, index, world_between(world, 20, 40000), &container->life, on_own_end);
    }
    tell(supervisor, &(struct order_event){.kind = ORDER_STARTED,
                                           .container = index,
                                           .pid = (int32_t)(1000 + index)});
}

static void on_commanded(void *context, void *payload)
{
    struct supervisor *supervisor = context;
    size_t index = ((struct probe *)payload)->container;
    bool sick = text_starts(image_of(supervisor, index), TEXT("sick"));
    int permille = supervisor->node->sim->calm ? 0 : sick ? 500 : 20;
    tell(supervisor,
         &(struct order_event){.kind = ORDER_COMMANDED,
                               .container = index,
                               .command = ((struct probe *)payload)->command,
                               .healthy = !world_chance(world_of(supervisor), permille)});
}

// ---- the supervisor -------------------------------------------------------------------------

static bool may_trace(const struct supervisor *supervisor, size_t index)
{
    return text_starts(image_of(supervisor, index), TEXT("again"));
}

// What may trace is stopped while another starts: that it cannot be while it is being started.
static void check_alone(struct supervisor *supervisor, size_t index)
{
    bool traced = false;
    for (size_t i = 0; i < supervisor->plan.containers.count; i++) {
        traced = traced || may_trace(supervisor, i);
    }
    for (size_t i = 0; traced && i < supervisor->plan.containers.count; i++) {
        if (supervisor->containers[i].starting) {
            world_fail(world_of(supervisor), "containers %zu and %zu of %s start at once", i, index,
                       supervisor->id);
        }
    }
}

static void start_container(struct supervisor *supervisor, size_t index)
{
    struct world *world = world_of(supervisor);
    struct sim_container *container = &supervisor->containers[index];
    check_alone(supervisor, index);
    container->starting = true;
    bool broken = text_starts(image_of(supervisor, index), TEXT("broken"));
    bool fails = world_chance(world, broken ? 500 : supervisor->node->sim->calm ? 0 : 10);
    post(supervisor, index, world_between(world, 3, 60), &container->start_life,
         fails ? on_start_failed : on_started);
}

// What was told to stop has its stopTimeout to do so: of an interrupted Spot task up to two
// minutes.
static void check_grace(struct supervisor *supervisor, size_t index)
{
    const struct ecs_container_definition *container =
        &supervisor->spec->definition->container_definitions.items[index];
    int64_t grace_ms =
        (container->has_stop_timeout ? container->stop_timeout : STOP_TIMEOUT_S) * 1000;
    int64_t since_ms = supervisor->containers[index].signalled_ms;
    int64_t now_ms = order_now(supervisor).monotonic_ms;
    if (since_ms != 0 && now_ms - since_ms + STARTING_MS < grace_ms) {
        world_fail(world_of(supervisor),
                   "container %zu of %s is killed %lld ms after it was told to stop", index,
                   supervisor->id, (long long)(now_ms - since_ms));
    }
}

static void act(struct supervisor *supervisor, const struct order_action *action)
{
    struct world *world = world_of(supervisor);
    size_t index = action->container;
    struct sim_container *container = &supervisor->containers[index];
    bool deaf = text_starts(image_of(supervisor, index), TEXT("stubborn"));
    switch (action->kind) {
    case ORDER_START:
        start_container(supervisor, index);
        return;
    case ORDER_SIGNAL:
        container->signalled_ms = order_now(supervisor).monotonic_ms;
        if (container->running && !deaf) {
            post(supervisor, index, world_between(world, 1, 1500), &container->life, on_signalled);
        }
        return;
    case ORDER_KILL:
        if (container->running) {
            check_grace(supervisor, index);
            post(supervisor, index, world_between(world, 0, 3), &container->life, on_killed);
        } else if (container->starting) {
            container->start_life++;
            post(supervisor, index, world_between(world, 0, 3), &container->start_life,
                 on_start_failed);
        }
        return;
    case ORDER_COMMAND:
        post_command(supervisor, action, world_between(world, 5, 200),
                     &container->command_lives[action->command], on_commanded);
        return;
    case ORDER_CANCEL_COMMAND:
        container->command_lives[action->command]++;
        return;
    }
}

// What is on its way to the agent.
struct news {
    char id[SIM_ID_CHARS];
    struct supervisor_state *state; // owned; NULL: the stream ended
    bool lost;
};

static void news_free(void *payload)
{
    struct news *news = payload;
    alloc_free(news->state);
    alloc_free(news);
}

static void on_news(void *context, void *payload)
{
    struct supervisor *supervisor = context;
    struct node *node = supervisor->node;
    const struct news *news = payload;
    if (supervisor->link_life != node->life || node->logic == NULL) {
        return; // the agent that was connected is gone
    }
    struct agent_event event = {.kind = AGENT_EVENT_STATE, .task_id = text_of(news->id)};
    const struct supervisor_state *state = news->state;
    if (news->lost) {
        const struct host_task *task = host_find(node, text_of(news->id));
        state = task == NULL ? NULL : task->left;
    }
    if (state != NULL) {
        event.state = state;
        node_apply(node, &event);
    }
    if (news->lost) {
        event =
            (struct agent_event){.kind = AGENT_EVENT_SUPERVISOR_LOST, .task_id = text_of(news->id)};
        node_apply(node, &event);
    }
}

static void send_news(struct supervisor *supervisor, const struct supervisor_state *state)
{
    if (supervisor->link_life == 0) {
        return;
    }
    struct world *world = world_of(supervisor);
    struct news *news = ALLOC(struct news);
    memcpy(news->id, supervisor->id, sizeof(news->id));
    news->lost = state == NULL;
    news->state = state == NULL ? NULL : shape_clone(&supervisor_state_shape, state, NULL);
    supervisor->deliver_ms =
        MAX(supervisor->deliver_ms, world->now_ms + world_between(world, 0, 2));
    world_post(world, &(struct world_event){.delay_ms = supervisor->deliver_ms - world->now_ms,
                                            .run = on_news,
                                            .context = supervisor,
                                            .payload = news,
                                            .release = news_free});
}

static void publish(struct supervisor *supervisor)
{
    if (order_version(supervisor->order) == supervisor->published) {
        return;
    }
    const struct supervisor_state *state = order_state(supervisor->order);
    supervisor->published = state->sequence;
    struct host_task *task = host_find(supervisor->node, text_of(supervisor->id));
    if (task != NULL) {
        alloc_free(task->left);
        task->left = shape_clone(&supervisor_state_shape, state, NULL);
    }
    send_news(supervisor, state);
}

// The process is gone, in order or not: the stream ends.
static void end(struct supervisor *supervisor)
{
    order_free(supervisor->order);
    supervisor->order = NULL;
    supervisor->life++;
    supervisor->wake_life++;
    for (size_t i = 0; i < SIM_CONTAINER_MAX; i++) {
        for (size_t k = 0; k < ORDER_COMMAND_COUNT; k++) {
            supervisor->containers[i].command_lives[k]++;
        }
        if (supervisor->containers[i].starting) {
            // What the runtime began, it may finish or not; without its parent it does not.
            supervisor->containers[i].starting = false;
            supervisor->containers[i].start_life++;
        }
    }
    send_news(supervisor, NULL);
}

static void on_turn(void *context, void *payload)
{
    (void)payload;
    turn(context);
}

static void turn(struct supervisor *supervisor)
{
    struct order_action action;
    while (order_next(supervisor->order, order_now(supervisor), &action)) {
        act(supervisor, &action);
    }
    publish(supervisor);
    if (order_finished(supervisor->order)) {
        end(supervisor);
        return;
    }
    int64_t wake_ms = order_wake_ms(supervisor->order);
    supervisor->wake_life++;
    if (wake_ms != ORDER_NEVER) {
        int64_t wait_ms = wake_ms - order_now(supervisor).monotonic_ms;
        world_post(world_of(supervisor), &(struct world_event){.delay_ms = MAX(wait_ms, INT64_C(0)),
                                                               .life = &supervisor->wake_life,
                                                               .run = on_turn,
                                                               .context = supervisor});
    }
}

static bool make_plan(struct supervisor *supervisor)
{
    const struct ecs_container_definition_list *definitions =
        &supervisor->spec->definition->container_definitions;
    const struct image image = {0};
    struct supervisor_plan_container *containers =
        arena_array(&supervisor->arena, definitions->count, sizeof(*containers));
    struct err err = {0};
    for (size_t i = 0; i < definitions->count; i++) {
        if (spec_plan(&definitions->items[i], &image, &supervisor->arena, &containers[i], &err) !=
            0) {
            return false;
        }
        if (containers[i].restart_policy != NULL) {
            containers[i].restart_policy->attempt_period_ms /= PERIOD_PART;
        }
        if (may_trace(supervisor, i)) {
            containers[i].freezer = TEXT("/frozen");
        }
    }
    supervisor->plan.task_arn = supervisor->spec->task_arn;
    supervisor->plan.containers.items = containers;
    supervisor->plan.containers.count = definitions->count;
    return order_new(&supervisor->plan, &supervisor->order, &err) == 0;
}

struct supervisor *supervisor_start(struct node *node, struct host_task *task,
                                    const struct session_task_spec *spec)
{
    struct sim *sim = node->sim;
    struct fact *fact = fact_of(sim, text_of(task->id));
    struct supervisor *supervisor = ALLOC(struct supervisor);
    supervisor->next = sim->supervisors;
    sim->supervisors = supervisor;
    supervisor->node = node;
    supervisor->fact = fact;
    memcpy(supervisor->id, task->id, sizeof(supervisor->id));
    supervisor->spec = shape_clone(&session_task_spec_shape, spec, NULL);
    fact->launch_count++;
    if (fact->launch_count > 1) {
        world_fail(&sim->world, "task %s is launched %d times", task->id, fact->launch_count);
    }
    if (!make_plan(supervisor)) {
        world_fail(&sim->world, "task %s has no plan", task->id);
        return supervisor;
    }
    sim->hosts_touched = true;
    // Its first turn comes after the caller knows it.
    world_post(&sim->world, &(struct world_event){
                                .life = &supervisor->life, .run = on_turn, .context = supervisor});
    return supervisor;
}

void supervisor_link(struct supervisor *supervisor)
{
    supervisor->link_life = supervisor->node->life;
    send_news(supervisor, order_state(supervisor->order));
}

static void on_stop(void *context, void *payload)
{
    (void)payload;
    tell(context, &(struct order_event){.kind = ORDER_STOP});
}

void supervisor_stop(struct supervisor *supervisor)
{
    struct world *world = world_of(supervisor);
    if (supervisor->order != NULL && supervisor->link_life == supervisor->node->life) {
        supervisor->stop_told = true;
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 0, 2),
                                                .life = &supervisor->life,
                                                .run = on_stop,
                                                .context = supervisor});
    }
}

void supervisor_crash(struct supervisor *supervisor)
{
    if (supervisor->order != NULL) {
        world_trace(world_of(supervisor), "%s supervisor of %.8s dies", supervisor->node->name,
                    supervisor->id);
        end(supervisor);
    }
}

void supervisor_kill(struct supervisor *supervisor)
{
    if (supervisor->order != NULL) {
        end(supervisor);
    }
    for (size_t i = 0; i < SIM_CONTAINER_MAX; i++) {
        exit_container(supervisor, i, SIGKILL_CODE);
    }
}

bool supervisor_runs(const struct supervisor *supervisor)
{
    bool runs = supervisor->order != NULL;
    for (size_t i = 0; i < SIM_CONTAINER_MAX; i++) {
        runs = runs || supervisor->containers[i].running || supervisor->containers[i].starting;
    }
    return runs;
}

void supervisor_free(struct supervisor *supervisor)
{
    order_free(supervisor->order);
    alloc_free(supervisor->spec);
    arena_deinit(&supervisor->arena);
    alloc_free(supervisor);
}
