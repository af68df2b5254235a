#include "runtime/fake_internal.h"

#include "base/file.h"
#include "task/frame.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Time passes for invented containers: the real order of a task is told what its script says that
 * its containers do.
 */

#define READ_BYTES 4096
#define EVENTS_MAX 64 // read at once
#define EXIT_KILLED 137
#define EXIT_TERMINATED 143

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
    fake_publish(task);
    if (order_finished(task->order)) {
        fake_end_supervisor(task);
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
