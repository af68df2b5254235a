#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "task/init.h"
#include "task/join.h"
#include "task/pause.h"
#include "task/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * berth-task: the supervisor of one task as a program.
 *
 *   berth-task [--detach] [--cgroup PATH] DIRECTORY
 *   berth-task --init PROGRAM ARGUMENTS...
 *   berth-task --pause
 *   berth-task --join PROCESS REPORT [CONSOLE]
 *
 * With --detach it returns once agents can connect, and goes on in a session of its own that writes
 * its log to DIRECTORY/log; what keeps it from starting is told on standard error, status 1, or 3
 * when another has the task or had it.
 * --cgroup names the v2 group, out of the plan, in which that process is to be made.
 * --init is the first process of a container that asks for one: see init.h.
 * --pause is the first process of namespaces that containers share: see pause.h.
 * --join starts a process in a container that runs: see join.h.
 */

#define READY_BYTE 'R'
#define TAKEN_BYTE 'T'

struct arguments {
    bool detach;
    const char *cgroup;    ///< NULL for none
    const char *directory; ///< as given
};

struct ready {
    int fd; ///< -1 in the foreground
};

static void tell_ready(void *context)
{
    struct ready *ready = context;
    if (ready->fd >= 0) {
        char byte = READY_BYTE;
        IGNORE(write(ready->fd, &byte, 1) != 1, "whoever started us is gone; the task still runs");
        fd_close(ready->fd);
        ready->fd = -1;
    }
}

static int supervise(const char *directory, bool in_cgroup, struct ready *ready)
{
    struct err err = {0};
    const struct supervisor_options options = {
        .directory = directory,
        .in_cgroup = in_cgroup,
        .ready = tell_ready,
        .context = ready,
    };
    int rc = supervisor_run(&options, &err);
    if (rc == 0) {
        return 0;
    }
    LOG(ERROR, "the task cannot be supervised", LOG_STR("directory", directory),
        LOG_STR("error", err.text));
    bool taken = rc == ERR_BUSY || rc == ERR_EXISTS;
    if (ready->fd >= 0 && taken) {
        char byte = TAKEN_BYTE;
        IGNORE(write(ready->fd, &byte, 1) < 0, "it is in the log as well");
    } else if (ready->fd >= 0) {
        IGNORE(write(ready->fd, err.text, strlen(err.text)) < 0, "it is in the log as well");
    }
    return taken ? SUPERVISOR_EXIT_TAKEN : 1;
}

// Waits for the detached process: its ready byte, or what went wrong and then the end.
static int wait_ready(int fd)
{
    struct err err = {0};
    char text[ERR_TEXT_MAX];
    ssize_t got = 0;
    do {
        got = read(fd, text, sizeof(text));
    } while (got < 0 && errno == EINTR);
    if (got == 1 && text[0] == READY_BYTE) {
        return 0;
    }
    if (got == 1 && text[0] == TAKEN_BYTE) {
        return SUPERVISOR_EXIT_TAKEN;
    }
    static const char unknown[] = "berth-task ended before it was ready";
    if (got > 0) {
        IGNORE(fd_write_all(STDERR_FILENO, text, (size_t)got, &err), "nowhere left to report to");
    } else {
        IGNORE(fd_write_all(STDERR_FILENO, unknown, sizeof(unknown) - 1, &err),
               "nowhere left to report to");
    }
    return 1;
}

// Gives up everything that is the caller's: session, directory, standard streams.
static int leave_caller(const char *directory)
{
    AUTO(alloc_string) char *log = alloc_format("%s/log", directory);
    AUTO(fd_close) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    AUTO(fd_close) int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (null_fd < 0 || log_fd < 0 || setsid() < 0 || chdir("/") != 0 || dup2(null_fd, 0) < 0 ||
        dup2(null_fd, 1) < 0 || dup2(log_fd, 2) < 0) {
        return errno;
    }
    return 0;
}

// A fork whose child begins in a cgroup: it costs nothing there, while a later move would wait for
// a grace period of the kernel. Without the call, or the group, the supervisor moves itself.
static pid_t fork_into(const char *cgroup, bool *out_in_cgroup)
{
    AUTO(fd_close) int fd = cgroup == NULL ? -1 : open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *out_in_cgroup = false;
    if (fd >= 0) {
        struct clone_args arguments = {
            .flags = CLONE_INTO_CGROUP,
            .exit_signal = SIGCHLD,
            .cgroup = (uint64_t)fd,
        };
        pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
        *out_in_cgroup = pid >= 0;
        if (pid >= 0) {
            return pid;
        }
    }
    return fork();
}

static int detach(const char *directory, const char *cgroup)
{
    int ends[2];
    bool in_cgroup = false;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        LOG(ERROR, "cannot detach", LOG_STR("error", strerror(errno)));
        return 1;
    }
    pid_t pid = fork_into(cgroup, &in_cgroup);
    if (pid < 0) {
        LOG(ERROR, "cannot detach", LOG_STR("error", strerror(errno)));
        return 1;
    }
    if (pid > 0) {
        close(ends[1]);
        return wait_ready(ends[0]);
    }
    close(ends[0]);
    struct ready ready = {.fd = ends[1]};
    int number = leave_caller(directory);
    if (number != 0) {
        const char *text = strerror(number);
        IGNORE(write(ready.fd, text, strlen(text)) < 0, "nowhere left to report to");
        return 1;
    }
    return supervise(directory, in_cgroup, &ready);
}

static bool parse(int count, char **strings, struct arguments *out)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(strings[i], "--detach") == 0) {
            out->detach = true;
        } else if (strcmp(strings[i], "--cgroup") == 0 && i + 1 < count) {
            out->cgroup = strings[++i];
        } else if (strings[i][0] != '-' && out->directory == NULL) {
            out->directory = strings[i];
        } else {
            return false;
        }
    }
    return out->directory != NULL;
}

int main(int argument_count, char **argument_strings)
{
    if (argument_count > 2 && strcmp(argument_strings[1], "--init") == 0) {
        return init_run(argument_strings + 2);
    }
    if (argument_count == 2 && strcmp(argument_strings[1], "--pause") == 0) {
        return pause_run();
    }
    if ((argument_count == 4 || argument_count == 5) &&
        strcmp(argument_strings[1], "--join") == 0) {
        return join_run(argument_count - 2, argument_strings + 2);
    }
    struct arguments arguments = {.detach = false};
    if (!parse(argument_count, argument_strings, &arguments)) {
        LOG(ERROR, "usage: berth-task [--detach] [--cgroup PATH] DIRECTORY");
        return 2;
    }
    umask(022);
    // Paths go to the runtime, which runs elsewhere.
    char *directory = realpath(arguments.directory, NULL);
    if (directory == NULL) {
        LOG(ERROR, "no such task", LOG_STR("directory", arguments.directory),
            LOG_STR("error", strerror(errno)));
        return 1;
    }
    struct ready ready = {.fd = -1};
    int status = arguments.detach ? detach(directory, arguments.cgroup)
                                  : supervise(directory, false, &ready);
    free(directory);
    return status;
}
