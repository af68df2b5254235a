#include "task/supervisor_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define NAME_BYTES 64
#define LOG_BYTES_MAX (64u << 10)
#define PROCS_BYTES_MAX (4u << 20) // half a million processes

// Children of ours that no table knows, at the end: a few helpers of the runtime.
#define STRAY_ROUNDS_MAX 64

// Where the kernel cannot kill a cgroup: what forks meanwhile is found in the next round.
#define KILL_ROUNDS_MAX 64

// Of a container's first process, in the runtime's file; or 0.
static pid_t read_pid(const struct supervisor *supervisor, size_t index)
{
    char name[NAME_BYTES];
    AUTO(buf_deinit) struct buf content = {0};
    struct err ignored = {0};
    int64_t pid = 0;
    snprintf(name, sizeof(name), "%zu.pid", index);
    if (file_read(supervisor->dir_fd, name, NAME_BYTES, &content, &ignored) != 0 ||
        text_to_i64(text_trim(buf_view(&content)), &pid) != 0 || pid <= 1 || pid > INT32_MAX) {
        return 0;
    }
    return (pid_t)pid;
}

void supervisor_read_report(const struct supervisor *supervisor, const char *name,
                            struct join_report *out_report)
{
    AUTO(buf_deinit) struct buf content = {0};
    struct err ignored = {0};
    *out_report = (struct join_report){0};
    if (file_read(supervisor->dir_fd, name, sizeof(*out_report), &content, &ignored) == 0 &&
        content.size == sizeof(*out_report)) {
        memcpy(out_report, content.data, sizeof(*out_report));
        out_report->reason[sizeof(out_report->reason) - 1] = '\0';
    }
}

// While a child is not reaped, its number belongs to it: then it is safe to signal by number.
static bool child_of_ours(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool supervisor_signal_child(pid_t pid, int signal)
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
    bool sent = container->pid == 0 || supervisor_signal_child(container->pid, signal);
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
        for (size_t k = 0; k < ORDER_COMMAND_COUNT; k++) {
            if (container->commands[k].cancelled) {
                IGNORE(supervisor_signal_child(container->commands[k].pid, SIGKILL),
                       "it has ended, or is tried again");
            }
        }
    }
}

// @return whether there was anything to kill
static bool kill_listed(struct text directory)
{
    char path[PATH_BYTES];
    struct err ignored = {0};
    AUTO(buf_deinit) struct buf list = {0};
    bool found = false;
    if (snprintf(path, sizeof(path), "%.*s/cgroup.procs", TEXT_FMT(directory)) >= PATH_BYTES ||
        file_read(AT_FDCWD, path, PROCS_BYTES_MAX, &list, &ignored) != 0) {
        return false;
    }
    struct text rest = buf_view(&list);
    while (rest.data != NULL) {
        int64_t pid = 0;
        if (text_to_i64(text_cut(&rest, '\n'), &pid) == 0 && pid > 1) {
            found = kill((pid_t)pid, SIGKILL) == 0 || found;
        }
    }
    return found;
}

// What is left of a container in its cgroup: after a start that was given up, or after the end of a
// container that shares its pid namespace, where the kernel does not end the others.
void supervisor_kill_cgroup(struct text directory)
{
    char path[PATH_BYTES];
    struct err ignored = {0};
    if (snprintf(path, sizeof(path), "%.*s/cgroup.kill", TEXT_FMT(directory)) < PATH_BYTES &&
        file_write(AT_FDCWD, path, TEXT("1"), &ignored) == 0) {
        return;
    }
    for (size_t i = 0; i < KILL_ROUNDS_MAX && kill_listed(directory); i++) {}
}

static void cancel_command(struct supervised *container, enum order_command which)
{
    struct supervised_command *command = &container->commands[which];
    command->cancelled = true;
    IGNORE(supervisor_signal_child(command->start_pid, SIGKILL), "it has just ended");
    IGNORE(supervisor_signal_child(command->pid, SIGKILL),
           "it has ended, or pay_signals tries again");
}

static void tell(struct supervisor *supervisor, const struct order_event *event)
{
    order_event(supervisor->order, event, supervisor_time());
}

// One that has run before leaves the runtime's word of it, which has to go first.
static int start(struct supervisor *supervisor, size_t index, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    if (container->ran) {
        supervisor_output_close(&container->output);
        return supervisor_runtime_delete(supervisor, index, err);
    }
    container->ran = true;
    return supervisor_runtime_start(supervisor, index, err);
}

static void refuse_start(struct supervisor *supervisor, size_t index, const struct err *err)
{
    supervisor_output_close(&supervisor->containers[index].output);
    tell(supervisor, &(struct order_event){.kind = ORDER_START_FAILED,
                                           .container = index,
                                           .reason = text_of(err->text)});
}

static int run_command(struct supervisor *supervisor, size_t index, enum order_command which,
                       struct err *err)
{
    struct supervised_command *command = &supervisor->containers[index].commands[which];
    if (command->start_pid != 0 || command->pid != 0) {
        return err_set(err, ERR_BUSY, "the one before has not ended yet");
    }
    command->cancelled = false;
    return supervisor_runtime_command(supervisor, index, which, err);
}

void supervisor_children_act(struct supervisor *supervisor, const struct order_action *action)
{
    struct supervised *container = &supervisor->containers[action->container];
    struct err err = {0};
    switch (action->kind) {
    case ORDER_START:
        if (start(supervisor, action->container, &err) != 0) {
            refuse_start(supervisor, action->container, &err);
        }
        return;
    case ORDER_COMMAND:
        if (run_command(supervisor, action->container, action->command, &err) != 0) {
            tell(supervisor, &(struct order_event){.kind = ORDER_COMMANDED,
                                                   .container = action->container,
                                                   .command = action->command});
        }
        return;
    case ORDER_SIGNAL:
        signal_container(container, action->signal);
        return;
    case ORDER_KILL:
        signal_container(container, SIGKILL);
        if (container->start_pid != 0) {
            IGNORE(supervisor_signal_child(container->start_pid, SIGKILL), "it has just ended");
            supervisor_kill_cgroup(container->plan->cgroup);
        }
        return;
    case ORDER_CANCEL_COMMAND:
        cancel_command(container, action->command);
        return;
    }
}

static bool starting(const struct supervised *container)
{
    for (size_t i = 0; i < ORDER_COMMAND_COUNT; i++) {
        if (container->commands[i].start_pid != 0) {
            return true;
        }
    }
    return container->start_pid != 0 || container->delete_pid != 0;
}

static bool starting_anything(const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        if (starting(&supervisor->containers[i])) {
            return true;
        }
    }
    return supervisor_exec_starting(supervisor);
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

bool supervisor_claim(struct supervisor *supervisor, pid_t pid, int *out_status)
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

int32_t supervisor_exit_code(int status)
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
    bool oom = oom_killed(container->plan->cgroup);
    container->pid = 0;
    container->owed_signal = 0;
    for (size_t i = 0; i < ORDER_COMMAND_COUNT; i++) {
        cancel_command(container, (enum order_command)i);
    }
    if (container->plan->shares_pids) {
        supervisor_kill_cgroup(container->plan->cgroup);
    }
    // With its first process all others of the container's pid namespace are gone: what they wrote
    // is in the pipe.
    supervisor_output_drain(supervisor, index);
    tell(supervisor, &(struct order_event){.kind = ORDER_EXITED,
                                           .container = index,
                                           .exit_code = supervisor_exit_code(status),
                                           .oom_killed = oom});
}

// The text behind the last `"msg":"` in a log of the runtime's, without its escapes; empty when
// there is none.
static void log_message(struct text log, char out_message[ORDER_REASON_MAX])
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
        log_message(buf_view(&log), message);
    }
    if (message[0] == '\0') {
        snprintf(message, sizeof(message), "the runtime ended with %s %d and no message",
                 WIFSIGNALED(status) ? "signal" : "code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    supervisor_kill_cgroup(container->plan->cgroup);
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
    pid_t pid = supervisor_exit_code(status) == 0 ? read_pid(supervisor, index) : 0;
    if (pid == 0) {
        start_failed(supervisor, index, status);
    }
    if (supervisor_await_program(supervisor, index, pid)) {
        supervisor_thaw(supervisor);
    }
    if (pid == 0) {
        return;
    }
    container->pid = pid;
    if (container->plan->terminal) {
        supervisor_output_take(supervisor, index);
    }
    tell(supervisor, &(struct order_event){.kind = ORDER_STARTED, .container = index, .pid = pid});
    int ended = 0;
    if (supervisor_claim(supervisor, pid, &ended)) {
        container_ended(supervisor, index, ended);
    }
}

static void command_ended(struct supervisor *supervisor, size_t index, enum order_command which,
                          int status)
{
    struct supervised_command *command = &supervisor->containers[index].commands[which];
    command->pid = 0;
    if (!command->cancelled) {
        tell(supervisor, &(struct order_event){.kind = ORDER_COMMANDED,
                                               .container = index,
                                               .command = which,
                                               .healthy = supervisor_exit_code(status) == 0});
    }
}

static void command_started(struct supervisor *supervisor, size_t index, enum order_command which,
                            int status)
{
    struct supervised_command *command = &supervisor->containers[index].commands[which];
    char name[NAME_BYTES];
    struct join_report report;
    int ended = 0;
    snprintf(name, sizeof(name), "%zu.%s", index, supervisor_runtime_suffix(which));
    supervisor_read_report(supervisor, name, &report);
    bool failed = supervisor_exit_code(status) != 0 || report.pid == 0;
    command->start_pid = 0;
    if (report.pid == 0 || supervisor_claim(supervisor, report.pid, &ended)) {
        command_ended(supervisor, index, which, failed ? 1 << 8 : ended);
        return;
    }
    command->pid = report.pid;
    if (failed) {
        // The helper was killed half-way; its child is ours all the same.
        IGNORE(supervisor_signal_child(command->pid, SIGKILL), "it has just ended");
    }
}

static void deleted(struct supervisor *supervisor, size_t index)
{
    struct err err = {0};
    supervisor->containers[index].delete_pid = 0;
    if (supervisor_runtime_start(supervisor, index, &err) != 0) {
        refuse_start(supervisor, index, &err);
    }
}

// @return whether the child was one of this container's
static bool took_child(struct supervisor *supervisor, size_t index, pid_t pid, int status)
{
    const struct supervised *container = &supervisor->containers[index];
    for (size_t i = 0; i < ORDER_COMMAND_COUNT; i++) {
        enum order_command which = (enum order_command)i;
        if (pid == container->commands[i].start_pid) {
            command_started(supervisor, index, which, status);
            return true;
        }
        if (pid == container->commands[i].pid) {
            command_ended(supervisor, index, which, status);
            return true;
        }
    }
    if (pid == container->start_pid) {
        start_ended(supervisor, index, status);
    } else if (pid == container->pid) {
        container_ended(supervisor, index, status);
    } else if (pid == container->delete_pid) {
        deleted(supervisor, index);
    } else {
        return false;
    }
    return true;
}

static void child_ended(struct supervisor *supervisor, pid_t pid, int status)
{
    bool taken = supervisor_exec_took_child(supervisor, pid, status);
    for (size_t i = 0; i < supervisor->count && !taken; i++) {
        taken = took_child(supervisor, i, pid, status);
    }
    if (!taken) {
        keep_unclaimed(supervisor, pid, status);
    } else if (!starting_anything(supervisor)) {
        supervisor->unclaimed_count = 0;
    }
}

static bool belongs(const struct supervised *container, pid_t pid)
{
    for (size_t i = 0; i < ORDER_COMMAND_COUNT; i++) {
        if (pid == container->commands[i].start_pid || pid == container->commands[i].pid) {
            return true;
        }
    }
    return pid == container->pid || pid == container->start_pid || pid == container->delete_pid;
}

static bool known(const struct supervisor *supervisor, pid_t pid)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        if (belongs(&supervisor->containers[i], pid)) {
            return true;
        }
    }
    return pid == supervisor->holder_pid || supervisor_exec_knows(supervisor, pid);
}

int supervisor_children_list(struct buf *out)
{
    char path[NAME_BYTES];
    struct err ignored = {0};
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    return file_read(AT_FDCWD, path, PROCS_BYTES_MAX, out, &ignored);
}

// Kills our children that belong to no container. @return whether there were any
static bool kill_strays(const struct supervisor *supervisor)
{
    AUTO(buf_deinit) struct buf list = {0};
    bool found = false;
    if (supervisor_children_list(&list) != 0) {
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
    // What holds the task's namespaces is the last to be needed.
    supervisor->holder_pid = 0;
    // What is stopped does not end.
    supervisor_thaw(supervisor);
    supervisor_exec_finish(supervisor);
    for (size_t i = 0; i < STRAY_ROUNDS_MAX && kill_strays(supervisor); i++) {
        while (waitpid(-1, NULL, 0) > 0) {}
    }
}
