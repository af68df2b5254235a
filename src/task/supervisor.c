#include "task/supervisor.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "shape/cbor.h"
#include "task/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

// A definition is at most 64 KiB of JSON; paths of layers and bundles come on top.
#define PLAN_BYTES_MAX (1u << 20)
#define EVENTS_MAX 16
#define GOODBYE_MS 2000

struct order_time supervisor_time(void)
{
    return (struct order_time){
        .monotonic_ms = clock_monotonic_ns() / 1000000,
        .wall_ms = clock_wall_ms(),
    };
}

int supervisor_watch(struct supervisor *supervisor, int fd, uint32_t events,
                     enum supervisor_source source, size_t index, struct err *err)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)source << 32 | index};
    if (epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return err_sys(err, errno, "watching a descriptor");
    }
    return 0;
}

static int take_lock(struct supervisor *supervisor, struct err *err)
{
    supervisor->dir_fd = open(supervisor->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (supervisor->dir_fd < 0) {
        return err_sys(err, errno, "opening '%s'", supervisor->directory);
    }
    supervisor->lock_fd = openat(supervisor->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (supervisor->lock_fd < 0) {
        return err_sys(err, errno, "opening '%s/lock'", supervisor->directory);
    }
    // A lock that others can look at without taking it, and that no child can release.
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(supervisor->lock_fd, F_OFD_SETLK, &lock) != 0) {
        return errno == EAGAIN || errno == EACCES
                   ? err_set(err, ERR_BUSY, "the task has a supervisor already")
                   : err_sys(err, errno, "locking '%s/lock'", supervisor->directory);
    }
    if (faccessat(supervisor->dir_fd, SUPERVISOR_STATE_NAME, F_OK, 0) == 0) {
        return err_set(err, ERR_EXISTS, "the task has run before; a task runs once");
    }
    return 0;
}

// Looked at in the task's cgroup: whoever makes the file kills all that is there afterwards.
static int check_killed(const struct supervisor *supervisor, struct err *err)
{
    return faccessat(supervisor->dir_fd, SUPERVISOR_KILLED_NAME, F_OK, 0) != 0
               ? 0
               : err_set(err, ERR_EXISTS, "the task was killed before it started");
}

static bool has_documents(const struct supervisor_plan_container *container)
{
    const struct supervisor_health_check *checks[] = {container->health_check,
                                                      container->readiness};
    const struct supervisor_hook *hooks[] = {container->post_start, container->pre_stop};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if ((checks[i] != NULL && text_empty(checks[i]->process)) ||
            (hooks[i] != NULL && text_empty(hooks[i]->process))) {
            return false;
        }
    }
    return true;
}

static int check_plan(const struct supervisor_plan *plan, struct err *err)
{
    if (plan->runtime.count == 0) {
        return err_set(err, ERR_INVALID, "the plan names no runtime");
    }
    for (size_t i = 0; i < plan->containers.count; i++) {
        const struct supervisor_plan_container *container = &plan->containers.items[i];
        if (text_empty(container->id) || text_empty(container->bundle) ||
            text_empty(container->output) || text_empty(container->cgroup)) {
            return err_set(err, ERR_INVALID, "container '%.*s' lacks an id or a path",
                           TEXT_FMT(container->name));
        }
        if (!has_documents(container)) {
            return err_set(err, ERR_INVALID, "a command of '%.*s' has no process document",
                           TEXT_FMT(container->name));
        }
    }
    return 0;
}

static int read_plan(struct supervisor *supervisor, struct err *err)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    int rc = file_read(supervisor->dir_fd, "plan", PLAN_BYTES_MAX, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    struct shape_error error = {0};
    rc = cbor_decode(&supervisor_plan_shape, buf_view(&bytes), &supervisor->arena,
                     &supervisor->plan, NULL, NULL, &error);
    if (rc != 0) {
        return err_set(err, rc, "the plan: %s %s", error.path, error.text);
    }
    rc = check_plan(&supervisor->plan, err);
    if (rc != 0) {
        return rc;
    }
    rc = order_new(&supervisor->plan, &supervisor->order, err);
    if (rc != 0) {
        return rc;
    }
    supervisor->count = supervisor->plan.containers.count;
    supervisor->containers = alloc_array(supervisor->count, sizeof(*supervisor->containers));
    for (size_t i = 0; i < supervisor->count; i++) {
        supervisor->containers[i].plan = &supervisor->plan.containers.items[i];
        supervisor->containers[i].output.pipe_fd = -1;
        supervisor->containers[i].output.file_fd = -1;
        supervisor->containers[i].console_fd = -1;
    }
    return 0;
}

// Moving a process by cgroup.procs makes the kernel wait for a grace period, some ten milliseconds.
// A thread that moves itself does not wait, and this process has one; v1 has a file for it. On v2
// the process is cloned into its group.
static int join_cgroups(const struct supervisor_plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->cgroups.count; i++) {
        AUTO(alloc_string)
        char *tasks = alloc_format("%.*s/tasks", TEXT_FMT(plan->cgroups.items[i]));
        AUTO(alloc_string)
        char *procs = alloc_format("%.*s/cgroup.procs", TEXT_FMT(plan->cgroups.items[i]));
        int rc = file_write(AT_FDCWD, tasks, TEXT("0"), err);
        if (rc == ERR_NOT_FOUND) {
            rc = file_write(AT_FDCWD, procs, TEXT("0"), err);
        }
        if (rc != 0) {
            return err_wrap(err, "joining the task's cgroup");
        }
    }
    return 0;
}

// The runtime is going to move the container's first process into its group, and the kernel waits
// for a grace period before the first such move in a while: most of a container's start. A helper
// moves itself to where it is, so that the wait overlaps with mounting and with the runtime's own
// start.
static void hasten(const struct supervisor_plan *plan)
{
    if (plan->cgroups.count == 0) {
        return;
    }
    pid_t pid = fork();
    if (pid != 0) {
        return;
    }
    struct err ignored = {0};
    char path[4096];
    if (snprintf(path, sizeof(path), "%.*s/cgroup.procs", TEXT_FMT(plan->cgroups.items[0])) <
        (int)sizeof(path)) {
        IGNORE(file_write(AT_FDCWD, path, TEXT("0"), &ignored), "the wait is the purpose");
    }
    _exit(0);
}

static int prepare_process(struct supervisor *supervisor, struct err *err)
{
    supervisor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    supervisor->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (supervisor->epoll_fd < 0 || supervisor->signal_fd < 0 ||
        pipe2(supervisor->silence_fds, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "preparing the event loop");
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        return err_sys(err, errno, "becoming a subreaper");
    }
    // Without a supervisor the task is lost, and killing it frees next to nothing.
    struct err ignored = {0};
    IGNORE(file_write(AT_FDCWD, "/proc/self/oom_score_adj", TEXT("-999"), &ignored),
           "not allowed in some containers; the task runs as well without");
    return supervisor_watch(supervisor, supervisor->signal_fd, EPOLLIN, SOURCE_SIGNAL, 0, err);
}

static void take_signals(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCHLD) {
            // The host shuts down, or a person asks: as if the agent had said so.
            order_event(supervisor->order, &(struct order_event){.kind = ORDER_STOP},
                        supervisor_time());
        }
    }
    supervisor_children_reap(supervisor);
}

static void handle(struct supervisor *supervisor, const struct epoll_event *event)
{
    size_t index = (uint32_t)event->data.u64;
    switch ((enum supervisor_source)(event->data.u64 >> 32)) {
    case SOURCE_SIGNAL:
        take_signals(supervisor);
        break;
    case SOURCE_LISTEN:
        supervisor_links_accept(supervisor);
        break;
    case SOURCE_LINK:
        supervisor_link_event(supervisor, index, event->events);
        break;
    case SOURCE_OUTPUT:
        if (supervisor->containers[index].output.pipe_fd >= 0) {
            supervisor_output_copy(supervisor, index);
        }
        break;
    }
}

static int timeout_ms(const struct supervisor *supervisor)
{
    int64_t wake_ms = MIN(order_wake_ms(supervisor->order), supervisor_exec_wake_ms(supervisor));
    if (wake_ms == ORDER_NEVER) {
        return -1;
    }
    // Clocks are read in whole milliseconds: one more, so that the time has come when we wake.
    int64_t left_ms = wake_ms - supervisor_time().monotonic_ms + 1;
    return (int)MIN(MAX(left_ms, INT64_C(0)), (int64_t)INT32_MAX);
}

static int run_loop(struct supervisor *supervisor, struct err *err)
{
    for (;;) {
        struct order_action action;
        while (order_next(supervisor->order, supervisor_time(), &action)) {
            supervisor_children_act(supervisor, &action);
        }
        supervisor_exec_tick(supervisor);
        if (supervisor_links_publish(supervisor, err) != 0) {
            LOG(ERROR, "the state of the task cannot be written", LOG_STR("error", err->text));
        }
        if (order_finished(supervisor->order)) {
            return 0;
        }
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(supervisor->epoll_fd, events, EVENTS_MAX, timeout_ms(supervisor));
        if (count < 0 && errno != EINTR) {
            return err_sys(err, errno, "waiting for events");
        }
        for (int i = 0; i < count; i++) {
            handle(supervisor, &events[i]);
        }
    }
}

static int prepare(struct supervisor *supervisor, struct err *err)
{
    int rc = take_lock(supervisor, err);
    if (rc != 0) {
        return rc;
    }
    rc = read_plan(supervisor, err);
    if (rc != 0) {
        return rc;
    }
    rc = supervisor->in_cgroup ? 0 : join_cgroups(&supervisor->plan, err);
    rc = rc == 0 ? check_killed(supervisor, err) : rc;
    if (rc != 0) {
        return rc;
    }
    rc = prepare_process(supervisor, err);
    if (rc != 0) {
        return rc;
    }
    hasten(&supervisor->plan);
    rc = supervisor_mounts_make(&supervisor->plan, &supervisor->program_fd, &supervisor->null_fd,
                                err);
    if (rc != 0) {
        return rc;
    }
    rc = supervisor_namespaces_make(supervisor, err);
    if (rc != 0) {
        return rc;
    }
    return supervisor_links_open(supervisor, err);
}

static void supervisor_deinit(struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        supervisor_output_close(&supervisor->containers[i].output);
        fd_close(supervisor->containers[i].console_fd);
    }
    order_free(supervisor->order);
    alloc_free(supervisor->containers);
    buf_deinit(&supervisor->frame);
    arena_deinit(&supervisor->arena);
    fd_close(supervisor->listen_fd);
    fd_close(supervisor->signal_fd);
    fd_close(supervisor->epoll_fd);
    fd_close(supervisor->null_fd);
    fd_close(supervisor->program_fd);
    fd_close(supervisor->silence_fds[0]);
    fd_close(supervisor->silence_fds[1]);
    fd_close(supervisor->lock_fd);
    fd_close(supervisor->dir_fd);
}

AUTO_VALUE(struct supervisor, supervisor_deinit)

int supervisor_run(const struct supervisor_options *options, struct err *err)
{
    ASSERT(options->directory[0] == '/');
    AUTO(supervisor_deinit)
    struct supervisor supervisor = {
        .directory = options->directory,
        .in_cgroup = options->in_cgroup,
        .dir_fd = -1,
        .lock_fd = -1,
        .null_fd = -1,
        .program_fd = -1,
        .silence_fds = {-1, -1},
        .epoll_fd = -1,
        .signal_fd = -1,
        .listen_fd = -1,
    };
    int rc = prepare(&supervisor, err);
    if (rc != 0) {
        return rc;
    }
    // An agent that connects at once finds a state to be told, and one that comes later knows by it
    // that containers may have been started: without it none may be.
    rc = supervisor_links_publish(&supervisor, err);
    if (rc != 0) {
        return rc;
    }
    options->ready(options->context);
    rc = run_loop(&supervisor, err);
    for (size_t i = 0; i < supervisor.count; i++) {
        supervisor_output_drain(&supervisor, i);
    }
    supervisor_children_end(&supervisor);
    supervisor_links_close(&supervisor, GOODBYE_MS);
    return rc;
}
