#include "runtime/fake_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/spec.h"
#include "task/frame.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Invented containers behind the driver's interface; what becomes of them is in fake_advance.c.
 */

#define PID_FIRST 100000

struct fake *fake_of(struct runtime *runtime)
{
    return CONTAINER_OF(runtime, struct fake, runtime);
}

void fake_lock(struct fake *fake)
{
    int rc = pthread_mutex_lock(&fake->mutex);
    ASSERT(rc == 0);
}

void fake_unlock(struct fake *fake)
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

void fake_end_supervisor(struct fake_task *task)
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
    fake_end_supervisor(task);
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

void fake_publish(struct fake_task *task)
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
        fake_publish(map_get(&fake->tasks, task_id));
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
        fake_end_supervisor(task);
    }
    fake_unlock(fake);
}

int runtime_fake_fd(const struct runtime *runtime)
{
    return ((const struct fake *)(const void *)runtime)->epoll_fd;
}
