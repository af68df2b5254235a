#include "runtime/fake.h"

#include "base/file.h"
#include "base/map.h"
#include "base/text.h"
#include "runtime/spec.h"
#include "task/frame.h"
#include "task/order.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_MAX 8
#define READ_BYTES 4096
#define EVENTS_MAX 64 // read at once
#define EXIT_KILLED 137
#define EXIT_TERMINATED 143
#define PID_FIRST 100000

/** What an invented container will do, in fake milliseconds; ORDER_NEVER for nothing. */
struct fake_container {
    struct runtime_fake_script script;
    int64_t started_ms;
    int64_t start_at_ms;
    int64_t exit_at_ms;
    int32_t exit_code;
    bool commands[ORDER_COMMAND_COUNT]; ///< under way
};

struct fake_task {
    struct arena arena;
    char *id;
    struct supervisor_plan plan;
    struct order *order; ///< NULL before launch and after the end
    struct fake_container *containers;
    int links[LINK_MAX];
    struct buf in[LINK_MAX];
    struct buf state; ///< the last frame, empty before launch
    int64_t version;
    int64_t wake_ms; ///< when it moves on by itself
    bool moved;      ///< it was launched, or sent a command: move it on at once
    bool launched;
};

struct fake {
    struct runtime runtime;
    pthread_mutex_t mutex;
    struct map tasks;   ///< id to fake_task
    struct map scripts; ///< container name to runtime_fake_script
    int failures[RUNTIME_FAKE_STEP_COUNT];
    size_t failure_counts[RUNTIME_FAKE_STEP_COUNT];
    int epoll_fd;
    int launch_fd; ///< readable once a task was launched
    int32_t next_pid;
    int64_t now_ms;
    uint64_t looks; ///< at containers, see fake_sample
};

static struct fake *fake_of(struct runtime *runtime)
{
    return CONTAINER_OF(runtime, struct fake, runtime);
}

static void fake_lock(struct fake *fake)
{
    int rc = pthread_mutex_lock(&fake->mutex);
    ASSERT(rc == 0);
}

static void fake_unlock(struct fake *fake)
{
    int rc = pthread_mutex_unlock(&fake->mutex);
    ASSERT(rc == 0);
}

static void close_links(struct fake_task *task)
{
    for (size_t i = 0; i < LINK_MAX; i++) {
        fd_close(task->links[i]);
        task->links[i] = -1;
        buf_deinit(&task->in[i]);
    }
}

static void end_supervisor(struct fake_task *task)
{
    order_free(task->order);
    task->order = NULL;
    close_links(task);
}

static void fake_task_free(struct fake_task *task)
{
    if (task == NULL) {
        return;
    }
    end_supervisor(task);
    buf_deinit(&task->state);
    alloc_free(task->containers);
    alloc_free(task->id);
    arena_deinit(&task->arena);
    alloc_free(task);
}

AUTO_POINTER(struct fake_task, fake_task_free)

// @return the code that the test wants of this call, 0 for none
static int injected(struct fake *fake, enum runtime_fake_step step, struct err *err)
{
    if (fake->failure_counts[step] == 0) {
        return 0;
    }
    fake->failure_counts[step]--;
    return err_set(err, fake->failures[step], "a failure that the test asked for");
}

static int make_plan(struct fake_task *fake_task, const struct runtime_task *task, struct err *err)
{
    struct supervisor_plan_container *containers =
        arena_array(&fake_task->arena, task->container_count, sizeof(*containers));
    for (size_t i = 0; i < task->container_count; i++) {
        struct supervisor_plan_container plan = {0};
        int rc = spec_plan(task->containers[i].definition, task->containers[i].image,
                           &fake_task->arena, &plan, err);
        if (rc != 0) {
            return rc;
        }
        // The definition is the caller's: keep a copy.
        const struct supervisor_plan_container *copy =
            shape_copy(&supervisor_plan_container_shape, &plan, &fake_task->arena);
        containers[i] = *copy;
    }
    fake_task->plan.containers.items = containers;
    fake_task->plan.containers.count = task->container_count;
    return order_new(&fake_task->plan, &fake_task->order, err);
}

static int fake_prepare(struct runtime *runtime, const struct runtime_task *task, struct err *err)
{
    struct fake *fake = fake_of(runtime);
    AUTO(fake_task_free) struct fake_task *made = ALLOC(struct fake_task);
    made->id = alloc_format("%.*s", TEXT_FMT(task->id));
    for (size_t i = 0; i < LINK_MAX; i++) {
        made->links[i] = -1;
    }
    int rc = make_plan(made, task, err);
    if (rc != 0) {
        return rc;
    }
    order_free(made->order);
    made->order = NULL;
    made->containers = alloc_array(task->container_count, sizeof(*made->containers));
    fake_lock(fake);
    rc = injected(fake, RUNTIME_FAKE_PREPARE, err);
    struct fake_task *before = map_get(&fake->tasks, task->id);
    if (rc == 0 && before != NULL && before->order != NULL) {
        rc = err_set(err, ERR_BUSY, "the task runs already");
    }
    if (rc == 0) {
        fake_task_free(before);
        map_put(&fake->tasks, task->id, made);
        made = NULL;
    }
    fake_unlock(fake);
    return rc;
}

static int launch(struct fake *fake, struct text task_id, struct err *err)
{
    struct fake_task *task = map_get(&fake->tasks, task_id);
    if (task == NULL) {
        return err_set(err, ERR_NOT_FOUND, "the task is not prepared");
    }
    if (task->order != NULL) {
        return 0;
    }
    if (task->launched) {
        return err_set(err, ERR_EXISTS, "the task has run before; a task runs once");
    }
    int rc = order_new(&task->plan, &task->order, err);
    task->launched = rc == 0;
    task->moved = rc == 0;
    if (rc == 0) {
        eventfd_write(fake->launch_fd, 1);
    }
    return rc;
}

static void send_state(struct fake_task *task, size_t link)
{
    // A test that does not read its states has a mistake, and a full socket tells no one.
    ssize_t done = send(task->links[link], task->state.data, task->state.size, MSG_NOSIGNAL);
    IGNORE(done < 0, "the agent is gone");
}

static void publish(struct fake_task *task)
{
    if (order_version(task->order) == task->version) {
        return;
    }
    struct supervisor_state state = *order_state(task->order);
    buf_reset(&task->state);
    frame_encode(&(struct supervisor_frame){.state = &state}, &task->state);
    task->version = state.sequence;
    for (size_t i = 0; i < LINK_MAX; i++) {
        if (task->links[i] >= 0) {
            send_state(task, i);
        }
    }
}

static int fake_launch(struct runtime *runtime, struct text task_id, struct err *err)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    int rc = injected(fake, RUNTIME_FAKE_LAUNCH, err);
    if (rc == 0) {
        rc = launch(fake, task_id, err);
    }
    if (rc == 0) {
        publish(map_get(&fake->tasks, task_id));
    }
    fake_unlock(fake);
    return rc;
}

static int attach(struct fake *fake, struct text task_id, int *out_fd, struct err *err)
{
    struct fake_task *task = map_get(&fake->tasks, task_id);
    if (task == NULL || task->order == NULL) {
        return err_set(err, ERR_NOT_FOUND, "the task has no supervisor");
    }
    size_t link = 0;
    while (link < LINK_MAX && task->links[link] >= 0) {
        link++;
    }
    int ends[2];
    if (link == LINK_MAX) {
        return err_set(err, ERR_NO_ROOM, "too many agents are connected");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        return err_sys(err, errno, "making a socket pair");
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = task};
    if (epoll_ctl(fake->epoll_fd, EPOLL_CTL_ADD, ends[0], &event) != 0) {
        int number = errno;
        close(ends[0]);
        close(ends[1]);
        return err_sys(err, number, "watching a socket");
    }
    task->links[link] = ends[0];
    send_state(task, link);
    *out_fd = ends[1];
    return 0;
}

static int fake_attach(struct runtime *runtime, struct text task_id, int *out_fd, struct err *err)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    int rc = attach(fake, task_id, out_fd, err);
    fake_unlock(fake);
    return rc;
}

static bool last_state(const struct fake_task *task, struct arena *arena,
                       struct supervisor_state *out_state)
{
    AUTO(buf_deinit) struct buf copy = {0};
    struct supervisor_frame frame = {0};
    struct err ignored = {0};
    buf_text(&copy, buf_view(&task->state));
    if (frame_next(&copy, arena, &frame, &ignored) != 1) {
        return false;
    }
    *out_state = *frame.state;
    return true;
}

static int fake_read_state(struct runtime *runtime, struct text task_id, struct arena *arena,
                           struct supervisor_state *out_state, struct err *err)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    const struct fake_task *task = map_get(&fake->tasks, task_id);
    bool has = task != NULL && last_state(task, arena, out_state);
    fake_unlock(fake);
    return has ? 0 : err_set(err, ERR_NOT_FOUND, "the task has no state");
}

static int fake_kill(struct runtime *runtime, struct text task_id, struct err *err)
{
    (void)err;
    struct fake *fake = fake_of(runtime);
    runtime_fake_crash(runtime, task_id);
    fake_lock(fake);
    struct fake_task *task = map_get(&fake->tasks, task_id);
    if (task != NULL) {
        task->launched = true; // or it never will be
    }
    fake_unlock(fake);
    return 0;
}

static int fake_clean(struct runtime *runtime, struct text task_id, struct err *err)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    struct fake_task *task = map_get(&fake->tasks, task_id);
    int rc = 0;
    if (task != NULL && task->order != NULL) {
        rc = err_set(err, ERR_BUSY, "the task's supervisor still runs");
    } else if (task != NULL) {
        map_remove(&fake->tasks, task_id);
        fake_task_free(task);
    }
    fake_unlock(fake);
    return rc;
}

static int fake_list(struct runtime *runtime, struct arena *arena, struct runtime_found **out_found,
                     size_t *out_count, struct err *err)
{
    (void)err;
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    struct runtime_found *found = arena_array(arena, fake->tasks.count, sizeof(*found));
    size_t count = 0;
    size_t cursor = 0;
    const struct fake_task *task = NULL;
    while ((task = map_next(&fake->tasks, &cursor, NULL)) != NULL) {
        found[count].id = arena_text(arena, text_of(task->id));
        found[count].supervisor_alive = task->order != NULL;
        found[count].unstarted = !task->launched;
        found[count].has_state = last_state(task, arena, &found[count].state);
        count++;
    }
    fake_unlock(fake);
    *out_found = found;
    *out_count = count;
    return 0;
}

static int fake_exec(struct runtime *runtime, const struct runtime_exec *exec, struct arena *arena,
                     struct runtime_exec_ready *out_ready, struct err *err)
{
    (void)runtime;
    (void)exec;
    (void)arena;
    (void)out_ready;
    return err_set(err, ERR_UNSUPPORTED, "invented containers have no processes to run a command");
}

// Each look finds another second of a CPU, and the same memory.
static int fake_sample(struct runtime *runtime, const struct runtime_sample *which,
                       struct arena *arena, struct container_sample *out_sample, struct err *err)
{
    (void)arena;
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    bool known = map_get(&fake->tasks, which->task_id) != NULL;
    uint64_t looks = known ? ++fake->looks : 0;
    int64_t now_ms = fake->now_ms;
    fake_unlock(fake);
    if (!known) {
        return err_set(err, ERR_NOT_FOUND, "task '%.*s' is not there", TEXT_FMT(which->task_id));
    }
    *out_sample = (struct container_sample){
        .counters = {.at_ms = now_ms,
                     .monotonic_ms = (int64_t)looks * 2000,
                     .cpu_ns = looks * 1000000000u},
        .memory_bytes = (uint64_t)24 << 20,
        .memory_cache_bytes = (uint64_t)8 << 20,
        .memory_limit_bytes = (uint64_t)64 << 20,
    };
    return 0;
}

static int fake_check(struct runtime *runtime, struct err *err)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    int rc = injected(fake, RUNTIME_FAKE_CHECK, err);
    fake_unlock(fake);
    return rc;
}

static void fake_close(struct runtime *runtime)
{
    struct fake *fake = fake_of(runtime);
    size_t cursor = 0;
    struct fake_task *task = NULL;
    while ((task = map_next(&fake->tasks, &cursor, NULL)) != NULL) {
        fake_task_free(task);
    }
    struct runtime_fake_script *script = NULL;
    cursor = 0;
    while ((script = map_next(&fake->scripts, &cursor, NULL)) != NULL) {
        alloc_free(script);
    }
    map_deinit(&fake->tasks);
    map_deinit(&fake->scripts);
    fd_close(fake->launch_fd);
    fd_close(fake->epoll_fd);
    pthread_mutex_destroy(&fake->mutex);
    alloc_free(fake);
}

static const struct runtime_ops fake_ops = {
    .name = "fake",
    .prepare = fake_prepare,
    .launch = fake_launch,
    .attach = fake_attach,
    .read_state = fake_read_state,
    .kill = fake_kill,
    .clean = fake_clean,
    .list = fake_list,
    .sample = fake_sample,
    .exec = fake_exec,
    .check = fake_check,
    .close = fake_close,
};

struct runtime *runtime_fake_new(void)
{
    struct fake *fake = ALLOC(struct fake);
    fake->runtime.ops = &fake_ops;
    fake->next_pid = PID_FIRST;
    fake->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    ASSERT(fake->epoll_fd >= 0);
    fake->launch_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(fake->launch_fd >= 0);
    struct epoll_event event = {.events = EPOLLIN};
    int rc = epoll_ctl(fake->epoll_fd, EPOLL_CTL_ADD, fake->launch_fd, &event);
    ASSERT(rc == 0);
    rc = pthread_mutex_init(&fake->mutex, NULL);
    ASSERT(rc == 0);
    return &fake->runtime;
}

void runtime_fake_set(struct runtime *runtime, const char *container,
                      const struct runtime_fake_script *script)
{
    struct fake *fake = fake_of(runtime);
    struct runtime_fake_script *copy = ALLOC(struct runtime_fake_script);
    *copy = *script;
    fake_lock(fake);
    alloc_free(map_put(&fake->scripts, text_of(container), copy));
    fake_unlock(fake);
}

void runtime_fake_fail(struct runtime *runtime, enum runtime_fake_step step, int code, size_t count)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    fake->failures[step] = code;
    fake->failure_counts[step] = count;
    fake_unlock(fake);
}

void runtime_fake_crash(struct runtime *runtime, struct text task_id)
{
    struct fake *fake = fake_of(runtime);
    fake_lock(fake);
    struct fake_task *task = map_get(&fake->tasks, task_id);
    if (task != NULL) {
        end_supervisor(task);
    }
    fake_unlock(fake);
}

int runtime_fake_fd(const struct runtime *runtime)
{
    return ((const struct fake *)(const void *)runtime)->epoll_fd;
}

static void obey(struct fake *fake, struct fake_task *task, struct buf *in)
{
    struct order_time now = {fake->now_ms, fake->now_ms};
    for (;;) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct supervisor_frame frame = {0};
        struct err ignored = {0};
        if (frame_next(in, &arena, &frame, &ignored) != 1) {
            return;
        }
        if (frame.command != NULL && frame.command->kind == SUPERVISOR_COMMAND_KIND_STOP) {
            order_event(task->order, &(struct order_event){.kind = ORDER_STOP}, now);
        } else if (frame.command != NULL && frame.command->kind == SUPERVISOR_COMMAND_KIND_KILL) {
            order_event(task->order, &(struct order_event){.kind = ORDER_KILL_ALL}, now);
        }
    }
}

// Note which tasks were launched or were sent something, so that the others need no look.
static void note_moved(struct fake *fake)
{
    struct epoll_event events[EVENTS_MAX];
    eventfd_t count = 0;
    // Level-triggered: what does not fit into one read is there in the next, by when the tasks of
    // these have been read.
    int ready = epoll_wait(fake->epoll_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < ready; i++) {
        struct fake_task *task = events[i].data.ptr;
        if (task != NULL) {
            task->moved = true;
        } else {
            IGNORE(eventfd_read(fake->launch_fd, &count), "tasks know themselves");
        }
    }
}

static void receive(struct fake *fake, struct fake_task *task)
{
    for (size_t i = 0; i < LINK_MAX; i++) {
        ssize_t got = 1;
        while (task->links[i] >= 0 && got > 0) {
            struct buf *in = &task->in[i];
            got = read(task->links[i], buf_reserve(in, READ_BYTES), READ_BYTES);
            if (got > 0) {
                in->size += (size_t)got;
                obey(fake, task, in);
            } else if (got == 0 || errno != EAGAIN) {
                fd_close(task->links[i]);
                task->links[i] = -1;
            }
        }
    }
}

static void start_container(struct fake *fake, struct fake_task *task, size_t index)
{
    struct fake_container *container = &task->containers[index];
    const struct runtime_fake_script *script =
        map_get(&fake->scripts, task->plan.containers.items[index].name);
    *container = (struct fake_container){.exit_at_ms = ORDER_NEVER};
    if (script != NULL) {
        container->script = *script;
    }
    container->start_at_ms = fake->now_ms + container->script.start_ms;
}

static void exit_at(struct fake_container *container, int64_t time_ms, int32_t exit_code)
{
    if (time_ms < container->exit_at_ms) {
        container->exit_at_ms = time_ms;
        container->exit_code = exit_code;
    }
}

static void act(struct fake *fake, struct fake_task *task, const struct order_action *action)
{
    struct fake_container *container = &task->containers[action->container];
    switch (action->kind) {
    case ORDER_START:
        start_container(fake, task, action->container);
        return;
    case ORDER_SIGNAL:
        if (!container->script.deaf) {
            exit_at(container, fake->now_ms + container->script.stop_ms, EXIT_TERMINATED);
        }
        return;
    case ORDER_KILL:
        exit_at(container, fake->now_ms, EXIT_KILLED);
        return;
    case ORDER_COMMAND:
        container->commands[action->command] = true;
        return;
    case ORDER_CANCEL_COMMAND:
        container->commands[action->command] = false;
        return;
    }
}

// Commands take no time. @return whether there was one
static bool end_command(struct fake_container *container, struct order_event *event)
{
    for (size_t i = 0; i < ORDER_COMMAND_COUNT; i++) {
        if (container->commands[i]) {
            container->commands[i] = false;
            event->command = (enum order_command)i;
            return true;
        }
    }
    return false;
}

// What the container does by now. @return whether it did anything
static bool live(struct fake *fake, struct fake_task *task, size_t index)
{
    struct fake_container *container = &task->containers[index];
    struct order_time now = {fake->now_ms, fake->now_ms};
    struct order_event event = {.container = index};
    if (container->start_at_ms > 0 && container->start_at_ms <= fake->now_ms) {
        container->start_at_ms = 0;
        container->started_ms = fake->now_ms;
        event.kind = container->script.fails_to_start ? ORDER_START_FAILED : ORDER_STARTED;
        event.reason = TEXT("the script says so");
        event.pid = fake->next_pid++;
        if (container->script.run_ms > 0) {
            exit_at(container, fake->now_ms + container->script.run_ms,
                    container->script.exit_code);
        }
    } else if (container->started_ms > 0 && container->exit_at_ms <= fake->now_ms) {
        container->started_ms = 0;
        event.kind = ORDER_EXITED;
        event.exit_code = container->exit_code;
        event.oom_killed = container->script.oom_killed;
    } else if (!end_command(container, &event)) {
        return false;
    } else {
        event.kind = ORDER_COMMANDED;
        event.healthy = event.command > ORDER_READINESS || fake->now_ms - container->started_ms >=
                                                               container->script.unhealthy_until_ms;
    }
    order_event(task->order, &event, now);
    return true;
}

static int64_t task_wake_ms(const struct fake_task *task)
{
    int64_t wake_ms = order_wake_ms(task->order);
    for (size_t i = 0; i < task->plan.containers.count; i++) {
        const struct fake_container *container = &task->containers[i];
        if (container->start_at_ms > 0) {
            wake_ms = MIN(wake_ms, container->start_at_ms);
        } else if (container->started_ms > 0) {
            wake_ms = MIN(wake_ms, container->exit_at_ms);
        }
    }
    return wake_ms;
}

static void advance_task(struct fake *fake, struct fake_task *task)
{
    struct order_time now = {fake->now_ms, fake->now_ms};
    bool progress = true;
    task->moved = false;
    receive(fake, task);
    while (progress) {
        struct order_action action;
        progress = false;
        while (order_next(task->order, now, &action)) {
            act(fake, task, &action);
            progress = true;
        }
        for (size_t i = 0; i < task->plan.containers.count; i++) {
            progress = live(fake, task, i) || progress;
        }
    }
    publish(task);
    if (order_finished(task->order)) {
        end_supervisor(task);
    } else {
        task->wake_ms = task_wake_ms(task);
    }
}

int64_t runtime_fake_advance(struct runtime *runtime, int64_t now_ms)
{
    struct fake *fake = fake_of(runtime);
    int64_t wake_ms = INT64_MAX;
    ASSERT(now_ms > 0);
    fake_lock(fake);
    fake->now_ms = MAX(fake->now_ms, now_ms);
    note_moved(fake);
    size_t cursor = 0;
    struct fake_task *task = NULL;
    while ((task = map_next(&fake->tasks, &cursor, NULL)) != NULL) {
        if (task->order != NULL && (task->moved || task->wake_ms <= fake->now_ms)) {
            advance_task(fake, task);
        }
        if (task->order != NULL) {
            wake_ms = MIN(wake_ms, task->wake_ms);
        }
    }
    fake_unlock(fake);
    return wake_ms;
}
