#include "task/supervisor_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "task/frame.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Processes of ECS Exec. Each is started by a helper (join.h), on a terminal whose other end the
 * agent gets, and is our child. It belongs to the agent's connection that asked for
 * it: without that nobody holds its terminal.
 */

// From the hang-up to SIGKILL: a shell ends at once, an editor saves what it has.
#define KILL_AFTER_MS 3000

// What a start may still take when its container has ended.
#define START_END_MS 20000

#define NAME_BYTES 64

struct supervised_exec {
    struct supervised_exec *next;
    char *session;
    char *process; ///< path of its record
    char *console; ///< path of the socket
    uint64_t number;
    size_t link;
    pid_t start_pid; ///< the helper, while it starts the process; or 0
    pid_t pid;       ///< or 0
    bool ending;
    int64_t kill_at_ms; ///< with ending; monotonic
};

static void report_name(const struct supervised_exec *exec, char out_name[NAME_BYTES])
{
    snprintf(out_name, NAME_BYTES, "exec-%llu.report", (unsigned long long)exec->number);
}

static void forget_files(const struct supervisor *supervisor, const struct supervised_exec *exec)
{
    char name[NAME_BYTES];
    report_name(exec, name);
    IGNORE(unlinkat(supervisor->dir_fd, name, 0) != 0, "it need not exist");
    // The agent that made these may be gone.
    IGNORE(unlink(exec->process) != 0, "it need not exist");
    IGNORE(unlink(exec->console) != 0, "it need not exist");
}

static void exec_free(struct supervised_exec *exec)
{
    alloc_free(exec->session);
    alloc_free(exec->process);
    alloc_free(exec->console);
    alloc_free(exec);
}

static void tell_ended(struct supervisor *supervisor, size_t link, struct text session, int status,
                       const char *reason)
{
    struct supervisor_exec_ended ended = {.session = session, .reason = text_of(reason)};
    if (reason == NULL) {
        ended.has_exit_code = true;
        ended.exit_code = supervisor_exit_code(status);
    }
    supervisor_link_tell(supervisor, link, &(struct supervisor_frame){.exec_ended = &ended});
}

// It is over: tell, and forget.
static void finish(struct supervisor *supervisor, struct supervised_exec *exec, int status,
                   const char *reason)
{
    struct supervised_exec **at = &supervisor->execs;
    while (*at != exec) {
        at = &(*at)->next;
    }
    *at = exec->next;
    supervisor->exec_count--;
    forget_files(supervisor, exec);
    tell_ended(supervisor, exec->link, text_of(exec->session), status, reason);
    exec_free(exec);
}

static size_t find_container(const struct supervisor *supervisor, struct text name)
{
    size_t index = 0;
    while (index < supervisor->count &&
           !text_equal(supervisor->containers[index].plan->name, name)) {
        index++;
    }
    return index;
}

static const char *why_not(const struct supervisor *supervisor, size_t container)
{
    if (container == supervisor->count) {
        return "The task has no such container.";
    }
    if (supervisor->containers[container].pid == 0) {
        return "The container is not running.";
    }
    return supervisor->exec_count > SUPERVISOR_EXEC_MAX
               ? "Too many commands run in the containers of this task."
               : NULL;
}

void supervisor_exec_begin(struct supervisor *supervisor, size_t link,
                           const struct supervisor_exec *request)
{
    struct supervised_exec *exec = ALLOC(struct supervised_exec);
    exec->session = alloc_format("%.*s", TEXT_FMT(request->session));
    exec->process = alloc_format("%.*s", TEXT_FMT(request->process));
    exec->console = alloc_format("%.*s", TEXT_FMT(request->console));
    exec->number = supervisor->exec_number++;
    exec->link = link;
    exec->next = supervisor->execs;
    supervisor->execs = exec;
    supervisor->exec_count++;
    size_t container = find_container(supervisor, request->container);
    const char *refusal = why_not(supervisor, container);
    if (refusal != NULL) {
        finish(supervisor, exec, 0, refusal);
        return;
    }
    char name[NAME_BYTES];
    report_name(exec, name);
    const struct supervisor_runtime_join join = {
        .process = exec->process, .report = name, .console = exec->console};
    struct err err = {0};
    if (supervisor_runtime_join(supervisor, container, &join, &exec->start_pid, &err) != 0) {
        finish(supervisor, exec, 0, err.text);
    }
}

// ---- its end --------------------------------------------------------------------------------

static void hang_up(const struct supervised_exec *exec)
{
    // A stopped one takes its signals only once it goes on.
    if (supervisor_signal_child(exec->pid, SIGHUP)) {
        IGNORE(supervisor_signal_child(exec->pid, SIGCONT), "it has just ended");
    }
}

static void begin_end(struct supervised_exec *exec)
{
    if (!exec->ending) {
        exec->ending = true;
        exec->kill_at_ms = supervisor_time().monotonic_ms + KILL_AFTER_MS;
        hang_up(exec);
    }
}

void supervisor_exec_end(struct supervisor *supervisor, size_t link, struct text session)
{
    for (struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        if (exec->link == link && text_is(session, exec->session)) {
            begin_end(exec);
        }
    }
}

void supervisor_exec_link_closed(struct supervisor *supervisor, size_t link)
{
    for (struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        if (exec->link == link) {
            exec->link = SUPERVISOR_LINK_MAX;
            begin_end(exec);
        }
    }
}

int64_t supervisor_exec_wake_ms(const struct supervisor *supervisor)
{
    int64_t wake_ms = ORDER_NEVER;
    for (const struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        wake_ms = exec->ending ? MIN(wake_ms, exec->kill_at_ms) : wake_ms;
    }
    return wake_ms;
}

void supervisor_exec_tick(struct supervisor *supervisor)
{
    int64_t now_ms = supervisor_time().monotonic_ms;
    for (struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        if (!exec->ending || now_ms < exec->kill_at_ms) {
            continue;
        }
        // Once more, should it not be our child yet, or not gone.
        exec->kill_at_ms = now_ms + KILL_AFTER_MS;
        IGNORE(supervisor_signal_child(exec->pid, SIGKILL), "it has just ended");
        if (supervisor_signal_child(exec->start_pid, SIGKILL)) {
            supervisor->has_strays = true;
        }
    }
}

// ---- children -------------------------------------------------------------------------------

// Why it was not started, in the helper's words.
static void start_failed(struct supervisor *supervisor, struct supervised_exec *exec, int status,
                         struct join_report *report)
{
    if (report->reason[0] == '\0') {
        snprintf(report->reason, sizeof(report->reason),
                 "what starts it ended with code %d and no message", supervisor_exit_code(status));
    }
    // Killed half-way, it can leave a child of ours.
    IGNORE(supervisor_signal_child(report->pid, SIGKILL), "there is none, or it has just ended");
    supervisor->has_strays = true;
    finish(supervisor, exec, 0, report->reason);
}

static void started(struct supervisor *supervisor, struct supervised_exec *exec, int status)
{
    char name[NAME_BYTES];
    struct join_report report;
    int ended = 0;
    report_name(exec, name);
    supervisor_read_report(supervisor, name, &report);
    exec->start_pid = 0;
    exec->pid = supervisor_exit_code(status) == 0 ? report.pid : 0;
    if (exec->pid == 0) {
        start_failed(supervisor, exec, status, &report);
    } else if (supervisor_claim(supervisor, exec->pid, &ended)) {
        finish(supervisor, exec, ended, NULL);
    } else if (exec->ending) {
        hang_up(exec);
    }
}

bool supervisor_exec_took_child(struct supervisor *supervisor, pid_t pid, int status)
{
    for (struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        if (pid == exec->start_pid) {
            started(supervisor, exec, status);
            return true;
        }
        if (pid == exec->pid) {
            finish(supervisor, exec, status, NULL);
            return true;
        }
    }
    return false;
}

bool supervisor_exec_knows(const struct supervisor *supervisor, pid_t pid)
{
    for (const struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        if (pid == exec->start_pid || pid == exec->pid) {
            return true;
        }
    }
    return false;
}

bool supervisor_exec_starting(const struct supervisor *supervisor)
{
    for (const struct supervised_exec *exec = supervisor->execs; exec != NULL; exec = exec->next) {
        if (exec->start_pid != 0) {
            return true;
        }
    }
    return false;
}

// With its container the runtime that starts a command ends by itself; only then it is known what
// became of the command. One that hangs is not waited for.
static void end_start(struct supervisor *supervisor, struct supervised_exec *exec)
{
    struct pollfd poll_fd = {.fd = pidfd_open(exec->start_pid, 0), .events = POLLIN};
    int status = 0;
    if (poll_fd.fd < 0 || poll(&poll_fd, 1, START_END_MS) != 1) {
        kill(exec->start_pid, SIGKILL);
    }
    fd_close(poll_fd.fd);
    IGNORE(waitpid(exec->start_pid, &status, 0) < 0, "nobody else takes our children");
    started(supervisor, exec, status);
}

// A container's end reaches its commands, too, but not always before the task is over.
void supervisor_exec_finish(struct supervisor *supervisor)
{
    while (supervisor->execs != NULL) {
        struct supervised_exec *exec = supervisor->execs;
        if (exec->start_pid != 0) {
            end_start(supervisor, exec); // it is finished by that, or has its pid
            continue;
        }
        IGNORE(supervisor_signal_child(exec->pid, SIGKILL), "it ended with its container");
        int status = 0;
        bool ended = exec->pid != 0 && waitpid(exec->pid, &status, 0) == exec->pid;
        finish(supervisor, exec, status, ended ? NULL : "The container has ended.");
    }
}
