#include "task/supervisor_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define NAME_BYTES 64
#define ARGUMENTS_MAX 64
#define LOG_BYTES_MAX (64u << 10)

// Children of ours that no table knows, at the end: a few helpers of the runtime.
#define STRAY_ROUNDS_MAX 64

/** The command line of one run of the runtime; strings are borrowed from the arena. */
struct command {
    struct arena arena;
    char *arguments[ARGUMENTS_MAX + 1];
    size_t count;
};

static void command_deinit(struct command *command)
{
    arena_deinit(&command->arena);
}

AUTO_VALUE(struct command, command_deinit)

static void add_text(struct command *command, struct text text)
{
    ASSERT(command->count < ARGUMENTS_MAX);
    char *copy = arena_alloc(&command->arena, text.size + 1);
    memcpy(copy, text.data, text.size);
    command->arguments[command->count++] = copy;
}

static void add(struct command *command, const char *string)
{
    add_text(command, text_of(string));
}

static void add_path(struct command *command, const struct supervisor *supervisor, size_t index,
                     const char *suffix)
{
    add_text(command,
             arena_format(&command->arena, "%s/%zu.%s", supervisor->directory, index, suffix));
}

static void begin_command(struct command *command, const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->plan.runtime.count; i++) {
        add_text(command, supervisor->plan.runtime.items[i]);
    }
}

// The runtime inherits our protection from the OOM killer; until it sets the container's own value,
// it must not use it.
static void make_ordinary(pid_t pid)
{
    char path[NAME_BYTES];
    struct err ignored = {0};
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    IGNORE(file_write(AT_FDCWD, path, TEXT("0"), &ignored), "it may have ended already");
}

static int spawn(struct command *command, int input_fd, int output_fd, pid_t *out_pid,
                 struct err *err)
{
    static char path_variable[] =
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {path_variable, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "preparing to run the runtime");
    }
    rc = posix_spawnattr_init(&attributes);
    // Ignored signals stay ignored over exec, and would be so in the container.
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attributes, &none);
    rc = rc != 0 ? rc : posix_spawnattr_setsigdefault(&attributes, &all);
    rc = rc != 0 ? rc
                 : posix_spawnattr_setflags(&attributes,
                                            POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, input_fd, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output_fd, 1);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output_fd, 2);
    rc = rc != 0 ? rc
                 : posix_spawn(out_pid, command->arguments[0], &actions, &attributes,
                               command->arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc != 0) {
        return err_sys(err, rc, "running '%s'", command->arguments[0]);
    }
    make_ordinary(*out_pid);
    return 0;
}

static void forget_file(const struct supervisor *supervisor, size_t index, const char *suffix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%zu.%s", index, suffix);
    IGNORE(unlinkat(supervisor->dir_fd, name, 0) != 0, "it need not exist");
}

static int start(struct supervisor *supervisor, size_t index, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    AUTO(fd_close) int output_fd = -1;
    int rc = supervisor_output_open(supervisor, index, &output_fd, err);
    if (rc != 0) {
        return rc;
    }
    forget_file(supervisor, index, "pid");
    forget_file(supervisor, index, "log");
    AUTO(command_deinit) struct command command = {0};
    begin_command(&command, supervisor);
    add(&command, "--log");
    add_path(&command, supervisor, index, "log");
    add(&command, "--log-format");
    add(&command, "json");
    add(&command, "run");
    add(&command, "--detach");
    add(&command, "--pid-file");
    add_path(&command, supervisor, index, "pid");
    add(&command, "--bundle");
    add_text(&command, container->plan->bundle);
    add_text(&command, container->plan->id);
    int input_fd = container->plan->interactive ? supervisor->silence_fds[0] : supervisor->null_fd;
    return spawn(&command, input_fd, output_fd, &container->start_pid, err);
}

static int probe(struct supervisor *supervisor, size_t index, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    if (container->probe_start_pid != 0 || container->probe_pid != 0) {
        return err_set(err, ERR_BUSY, "the probe before has not ended yet");
    }
    forget_file(supervisor, index, "probe");
    container->probe_cancelled = false;
    AUTO(command_deinit) struct command command = {0};
    begin_command(&command, supervisor);
    add(&command, "--log");
    add(&command, "/dev/null");
    add(&command, "exec");
    add(&command, "--detach");
    add(&command, "--pid-file");
    add_path(&command, supervisor, index, "probe");
    add(&command, "--process");
    add_text(&command, container->plan->health_check->process);
    add_text(&command, container->plan->id);
    return spawn(&command, supervisor->null_fd, supervisor->null_fd, &container->probe_start_pid,
                 err);
}

static pid_t read_pid(const struct supervisor *supervisor, size_t index, const char *suffix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%zu.%s", index, suffix);
    AUTO(buf_deinit) struct buf content = {0};
    struct err ignored = {0};
    int64_t pid = 0;
    if (file_read(supervisor->dir_fd, name, NAME_BYTES, &content, &ignored) != 0 ||
        text_to_i64(text_trim(buf_view(&content)), &pid) != 0 || pid <= 1 || pid > INT32_MAX) {
        return 0;
    }
    return (pid_t)pid;
}

// While a child is not reaped, its number belongs to it: then it is safe to signal by number.
static bool child_of_ours(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// @return false when the process is not our child, and so nothing was sent
static bool kill_child(pid_t pid, int signal)
{
    if (pid == 0 || !child_of_ours(pid)) {
        return false;
    }
    // What a health command has started goes with it, as far as it stayed in its group.
    if (signal == SIGKILL && getpgid(pid) == pid) {
        kill(-pid, signal);
    }
    kill(pid, signal);
    return true;
}

// The runtime can tell of a process while a helper of its own, about to end, is still the parent.
// When that ends, the process becomes our child, and gets what it is owed.
static void signal_container(struct supervised *container, int signal)
{
    bool sent = container->pid == 0 || kill_child(container->pid, signal);
    if (sent) {
        container->owed_signal = 0;
    } else if (container->owed_signal != SIGKILL) {
        container->owed_signal = signal;
    }
}

static void pay_signals(struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        struct supervised *container = &supervisor->containers[i];
        if (container->owed_signal != 0) {
            signal_container(container, container->owed_signal);
        }
        if (container->probe_cancelled) {
            IGNORE(kill_child(container->probe_pid, SIGKILL), "it has ended, or is tried again");
        }
    }
}

// A start that is given up may have left processes in the container's cgroup.
static void kill_cgroup(struct text directory)
{
    char path[PATH_BYTES];
    struct err ignored = {0};
    if (snprintf(path, sizeof(path), "%.*s/cgroup.kill", TEXT_FMT(directory)) >= PATH_BYTES ||
        file_write(AT_FDCWD, path, TEXT("1"), &ignored) == 0) {
        return;
    }
    AUTO(buf_deinit) struct buf list = {0};
    snprintf(path, sizeof(path), "%.*s/cgroup.procs", TEXT_FMT(directory));
    if (file_read(AT_FDCWD, path, LOG_BYTES_MAX, &list, &ignored) != 0) {
        return;
    }
    struct text rest = buf_view(&list);
    while (rest.data != NULL) {
        int64_t pid = 0;
        if (text_to_i64(text_cut(&rest, '\n'), &pid) == 0 && pid > 1) {
            kill((pid_t)pid, SIGKILL);
        }
    }
}

static void cancel_probe(struct supervised *container)
{
    container->probe_cancelled = true;
    IGNORE(kill_child(container->probe_start_pid, SIGKILL), "it has just ended");
    IGNORE(kill_child(container->probe_pid, SIGKILL), "it has ended, or pay_signals tries again");
}

static void tell(struct supervisor *supervisor, const struct order_event *event)
{
    order_event(supervisor->order, event, supervisor_time());
}

void supervisor_children_act(struct supervisor *supervisor, const struct order_action *action)
{
    struct supervised *container = &supervisor->containers[action->container];
    struct err err = {0};
    switch (action->kind) {
    case ORDER_START:
        if (start(supervisor, action->container, &err) != 0) {
            supervisor_output_close(&container->output);
            tell(supervisor, &(struct order_event){.kind = ORDER_START_FAILED,
                                                   .container = action->container,
                                                   .reason = text_of(err.text)});
        }
        return;
    case ORDER_PROBE:
        if (probe(supervisor, action->container, &err) != 0) {
            tell(supervisor,
                 &(struct order_event){.kind = ORDER_PROBED, .container = action->container});
        }
        return;
    case ORDER_SIGNAL:
        signal_container(container, action->signal);
        return;
    case ORDER_KILL:
        signal_container(container, SIGKILL);
        if (container->start_pid != 0) {
            IGNORE(kill_child(container->start_pid, SIGKILL), "it has just ended");
            kill_cgroup(container->plan->cgroup);
        }
        return;
    case ORDER_CANCEL_PROBE:
        cancel_probe(container);
        return;
    }
}

static bool starting_anything(const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        if (supervisor->containers[i].start_pid != 0 ||
            supervisor->containers[i].probe_start_pid != 0) {
            return true;
        }
    }
    return false;
}

// A short-lived container can be reaped before the runtime that started it: its end is kept until
// the pid file tells whose it was. The oldest give way; they are the runtime's own helpers.
static void keep_unclaimed(struct supervisor *supervisor, pid_t pid, int status)
{
    if (!starting_anything(supervisor)) {
        return;
    }
    if (supervisor->unclaimed_count == SUPERVISOR_UNCLAIMED_MAX) {
        supervisor->unclaimed_count--;
        memmove(supervisor->unclaimed, supervisor->unclaimed + 1,
                supervisor->unclaimed_count * sizeof(*supervisor->unclaimed));
    }
    supervisor->unclaimed[supervisor->unclaimed_count++] =
        (struct supervisor_unclaimed){.pid = pid, .status = status};
}

static bool claim(struct supervisor *supervisor, pid_t pid, int *out_status)
{
    for (size_t i = 0; i < supervisor->unclaimed_count; i++) {
        if (supervisor->unclaimed[i].pid == pid) {
            *out_status = supervisor->unclaimed[i].status;
            supervisor->unclaimed[i] = supervisor->unclaimed[--supervisor->unclaimed_count];
            return true;
        }
    }
    return false;
}

static int32_t exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Both versions of cgroups count the processes of a group that the OOM killer took: v2 in
// memory.events, v1 in memory.oom_control, both on a line `oom_kill N`.
static bool oom_killed(struct text cgroup)
{
    static const char *const names[] = {"memory.events", "memory.oom_control"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[PATH_BYTES];
        AUTO(buf_deinit) struct buf content = {0};
        struct err ignored = {0};
        if (snprintf(path, sizeof(path), "%.*s/%s", TEXT_FMT(cgroup), names[i]) >= PATH_BYTES ||
            file_read(AT_FDCWD, path, LOG_BYTES_MAX, &content, &ignored) != 0) {
            continue;
        }
        struct text rest = buf_view(&content);
        while (rest.data != NULL) {
            struct text line = text_cut(&rest, '\n');
            uint64_t count = 0;
            if (text_is(text_cut(&line, ' '), "oom_kill")) {
                return text_to_u64(line, &count) == 0 && count > 0;
            }
        }
    }
    return false;
}

static void container_ended(struct supervisor *supervisor, size_t index, int status)
{
    struct supervised *container = &supervisor->containers[index];
    container->pid = 0;
    // With its first process all others of the container's pid namespace are gone: what they wrote
    // is in the pipe.
    supervisor_output_drain(supervisor, index);
    tell(supervisor, &(struct order_event){.kind = ORDER_EXITED,
                                           .container = index,
                                           .exit_code = exit_code(status),
                                           .oom_killed = oom_killed(container->plan->cgroup)});
}

// The text behind the last `"msg":"` of a runtime's log in JSON, without its escapes.
static void last_message(struct text log, char out_message[ORDER_REASON_MAX])
{
    static const char mark[] = "\"msg\":\"";
    const char *found = NULL;
    const char *at = log.data;
    while ((at = memmem(at, log.size - (size_t)(at - log.data), mark, sizeof(mark) - 1)) != NULL) {
        at += sizeof(mark) - 1;
        found = at;
    }
    size_t used = 0;
    const char *end = log.data + log.size;
    while (found != NULL && found < end && *found != '"' && used + 1 < ORDER_REASON_MAX) {
        if (*found == '\\' && found + 1 < end) {
            found++;
        }
        unsigned char byte = (unsigned char)*found++;
        out_message[used++] = byte < ' ' ? ' ' : (char)byte;
    }
    out_message[used] = '\0';
}

static void start_failed(struct supervisor *supervisor, size_t index, int status)
{
    struct supervised *container = &supervisor->containers[index];
    char name[NAME_BYTES];
    char message[ORDER_REASON_MAX] = "";
    AUTO(buf_deinit) struct buf log = {0};
    struct err ignored = {0};
    snprintf(name, sizeof(name), "%zu.log", index);
    if (file_read(supervisor->dir_fd, name, LOG_BYTES_MAX, &log, &ignored) == 0) {
        last_message(buf_view(&log), message);
    }
    if (message[0] == '\0') {
        snprintf(message, sizeof(message), "the runtime ended with %s %d and no message",
                 WIFSIGNALED(status) ? "signal" : "code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    kill_cgroup(container->plan->cgroup);
    supervisor->has_strays = true;
    supervisor_output_drain(supervisor, index);
    tell(supervisor, &(struct order_event){.kind = ORDER_START_FAILED,
                                           .container = index,
                                           .reason = text_of(message)});
}

static void start_ended(struct supervisor *supervisor, size_t index, int status)
{
    struct supervised *container = &supervisor->containers[index];
    container->start_pid = 0;
    pid_t pid = exit_code(status) == 0 ? read_pid(supervisor, index, "pid") : 0;
    if (pid == 0) {
        start_failed(supervisor, index, status);
        return;
    }
    container->pid = pid;
    tell(supervisor, &(struct order_event){.kind = ORDER_STARTED, .container = index, .pid = pid});
    int ended = 0;
    if (claim(supervisor, pid, &ended)) {
        container_ended(supervisor, index, ended);
    }
}

static void probe_ended(struct supervisor *supervisor, size_t index, int status)
{
    struct supervised *container = &supervisor->containers[index];
    container->probe_pid = 0;
    if (!container->probe_cancelled) {
        tell(supervisor, &(struct order_event){.kind = ORDER_PROBED,
                                               .container = index,
                                               .healthy = exit_code(status) == 0});
    }
}

static void probe_started(struct supervisor *supervisor, size_t index, int status)
{
    struct supervised *container = &supervisor->containers[index];
    container->probe_start_pid = 0;
    pid_t pid = read_pid(supervisor, index, "probe");
    int ended = 0;
    if (container->probe_cancelled && pid != 0 && kill(pid, 0) == 0) {
        // Cancelled half-way; it is ended as soon as it is ours.
        container->probe_pid = pid;
    } else if (exit_code(status) != 0 || pid == 0) {
        probe_ended(supervisor, index, status == 0 ? 1 << 8 : status);
    } else if (claim(supervisor, pid, &ended)) {
        probe_ended(supervisor, index, ended);
    } else {
        container->probe_pid = pid;
    }
}

static void child_ended(struct supervisor *supervisor, pid_t pid, int status)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        struct supervised *container = &supervisor->containers[i];
        if (pid == container->start_pid) {
            start_ended(supervisor, i, status);
        } else if (pid == container->pid) {
            container_ended(supervisor, i, status);
        } else if (pid == container->probe_start_pid) {
            probe_started(supervisor, i, status);
        } else if (pid == container->probe_pid) {
            probe_ended(supervisor, i, status);
        } else {
            continue;
        }
        if (!starting_anything(supervisor)) {
            supervisor->unclaimed_count = 0;
        }
        return;
    }
    keep_unclaimed(supervisor, pid, status);
}

static bool known(const struct supervisor *supervisor, pid_t pid)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        const struct supervised *container = &supervisor->containers[i];
        if (pid == container->pid || pid == container->start_pid || pid == container->probe_pid ||
            pid == container->probe_start_pid) {
            return true;
        }
    }
    return false;
}

// Kills our children that belong to no container. @return whether there were any
static bool kill_strays(const struct supervisor *supervisor)
{
    char path[NAME_BYTES];
    AUTO(buf_deinit) struct buf list = {0};
    struct err ignored = {0};
    bool found = false;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    if (file_read(AT_FDCWD, path, LOG_BYTES_MAX, &list, &ignored) != 0) {
        return false;
    }
    struct text rest = buf_view(&list);
    while (rest.data != NULL) {
        int64_t pid = 0;
        if (text_to_i64(text_cut(&rest, ' '), &pid) == 0 && pid > 1 &&
            !known(supervisor, (pid_t)pid)) {
            kill((pid_t)pid, SIGKILL);
            found = true;
        }
    }
    return found;
}

void supervisor_children_reap(struct supervisor *supervisor)
{
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        child_ended(supervisor, pid, status);
    }
    pay_signals(supervisor);
    // A runtime that failed or was killed can leave a helper, and that a container. While another
    // start is under way its helpers cannot be told apart, so that this waits.
    if (supervisor->has_strays && !starting_anything(supervisor)) {
        supervisor->has_strays = kill_strays(supervisor);
    }
}

void supervisor_children_end(struct supervisor *supervisor)
{
    for (size_t i = 0; i < STRAY_ROUNDS_MAX && kill_strays(supervisor); i++) {
        while (waitpid(-1, NULL, 0) > 0) {}
    }
}
