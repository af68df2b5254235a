#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "task/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * berth-task: the supervisor of one task as a program.
 *
 *   berth-task [--detach] DIRECTORY
 *
 * With --detach it returns once agents can connect, and goes on in a session of its own that writes
 * its log to DIRECTORY/log; what keeps it from starting is told on standard error, status 1.
 */

#define READY_BYTE 'R'

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

static int supervise(const char *directory, struct ready *ready)
{
    struct err err = {0};
    int rc = supervisor_run(directory, tell_ready, ready, &err);
    if (rc == 0) {
        return 0;
    }
    LOG(ERROR, "the task cannot be supervised", LOG_STR("directory", directory),
        LOG_STR("error", err.text));
    if (ready->fd >= 0) {
        IGNORE(write(ready->fd, err.text, strlen(err.text)) < 0, "it is in the log as well");
    }
    return 1;
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

static int detach(const char *directory)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        LOG(ERROR, "cannot detach", LOG_STR("error", strerror(errno)));
        return 1;
    }
    pid_t pid = fork();
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
    return supervise(directory, &ready);
}

int main(int argument_count, char **arguments)
{
    bool detached = argument_count == 3 && strcmp(arguments[1], "--detach") == 0;
    if (argument_count != (detached ? 3 : 2) || arguments[argument_count - 1][0] == '-') {
        LOG(ERROR, "usage: berth-task [--detach] DIRECTORY");
        return 2;
    }
    umask(022);
    // Paths go to the runtime, which runs elsewhere.
    char *directory = realpath(arguments[argument_count - 1], NULL);
    if (directory == NULL) {
        LOG(ERROR, "no such task", LOG_STR("directory", arguments[argument_count - 1]),
            LOG_STR("error", strerror(errno)));
        return 1;
    }
    int status = 0;
    if (detached) {
        status = detach(directory);
    } else {
        struct ready ready = {.fd = -1};
        status = supervise(directory, &ready);
    }
    free(directory);
    return status;
}
