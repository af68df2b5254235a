#include "task/supervisor_internal.h"

#include "base/file.h"
#include "task/pause.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Namespaces that all containers of the task share. The configurations of the containers name them
// by files of the task's directory, on which they are mounted, in this mount namespace only.

#define PATH_BYTES 4096

static int bind_namespace(const struct supervisor *supervisor, const char *name, struct err *err)
{
    char from[PATH_BYTES];
    char to[PATH_BYTES];
    snprintf(from, sizeof(from), "/proc/%d/ns/%s", (int)supervisor->holder_pid, name);
    if (snprintf(to, sizeof(to), "%s/ns/%s", supervisor->directory, name) >= (int)sizeof(to)) {
        return err_set(err, ERR_INVALID, "the task's directory has too long a path");
    }
    AUTO(fd_close) int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "making '%s'", to);
    }
    if (mount(from, to, NULL, MS_BIND, NULL) != 0) {
        return err_sys(err, errno, "keeping the %s namespace at '%s'", name, to);
    }
    return 0;
}

// The child goes on as another program, which tells by the end of the pipe that it is there.
static int start_holder(struct supervisor *supervisor, const char *directory, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe");
    }
    AUTO(fd_close) int read_fd = ends[0];
    pid_t pid =
        (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWIPC | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        int number = pause_enter(directory);
        IGNORE(write(ends[1], &number, sizeof(number)) < 0, "the end of the pipe tells as much");
        _exit(1);
    }
    int number = errno;
    close(ends[1]);
    if (pid < 0) {
        return err_sys(err, number, "making the namespaces that containers share");
    }
    supervisor->holder_pid = pid;
    ssize_t got = 0;
    do {
        got = read(read_fd, &number, sizeof(number));
    } while (got < 0 && errno == EINTR);
    return got == 0 ? 0
                    : err_sys(err, got < 0 ? errno : number,
                              "starting what holds the namespaces that containers share");
}

int supervisor_namespaces_make(struct supervisor *supervisor, struct err *err)
{
    if (!supervisor->plan.shares_pids && !supervisor->plan.shares_ipc) {
        return 0;
    }
    char directory[PATH_BYTES];
    if (snprintf(directory, sizeof(directory), "%s/ns", supervisor->directory) >=
        (int)sizeof(directory)) {
        return err_set(err, ERR_INVALID, "the task's directory has too long a path");
    }
    if (mkdirat(supervisor->dir_fd, "ns", 0700) != 0 && errno != EEXIST) {
        return err_sys(err, errno, "making '%s'", directory);
    }
    int rc = start_holder(supervisor, directory, err);
    if (rc == 0 && supervisor->plan.shares_pids) {
        rc = bind_namespace(supervisor, "pid", err);
    }
    if (rc == 0 && supervisor->plan.shares_ipc) {
        rc = bind_namespace(supervisor, "ipc", err);
    }
    return rc;
}
