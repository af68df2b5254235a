#include "runtime/oci_internal.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Whether this host can run containers right now, without running one.
 */

#define VERSION_TIMEOUT_MS 10000 // a runtime that takes longer to say its version is of no use

// It may be gone, of another architecture, or lack a library: only running it tells.
static int run_binary(const struct oci *oci, struct err *err)
{
    char version[] = "--version";
    char *const arguments[] = {oci->binary, version, NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "starting '%s'", oci->binary);
    }
    for (int fd = 0; fd < 3 && rc == 0; fd++) {
        rc = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    }
    if (rc == 0) {
        rc = posix_spawn(&pid, oci->binary, &actions, NULL, arguments, environment);
    }
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "starting '%s'", oci->binary);
    }
    AUTO(fd_close) int pidfd = pidfd_open(pid, 0);
    struct pollfd poller = {.fd = pidfd, .events = POLLIN};
    bool ended = pidfd >= 0 && poll(&poller, 1, VERSION_TIMEOUT_MS) == 1;
    if (!ended) {
        kill(pid, SIGKILL); // our own child, not waited for yet: the number is still its
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (!ended) {
        return err_set(err, ERR_TIMEOUT, "'%s --version' does not end", oci->binary);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(err, ERR_SYS, "'%s --version' fails with status %d", oci->binary, status);
}

int oci_check(struct runtime *runtime, struct err *err)
{
    const struct oci *oci = oci_of(runtime);
    struct cgroup_host cgroups = {0};
    if (access(oci->supervisor, X_OK) != 0) {
        return err_sys(err, errno, "the supervisor '%s' cannot be run", oci->supervisor);
    }
    if (access(oci->data_dir, W_OK) != 0 && errno != ENOENT) {
        return err_sys(err, errno, "'%s' cannot be written", oci->data_dir);
    }
    int rc = cgroup_host_read(&cgroups, err);
    return rc != 0 ? rc : run_binary(oci, err);
}
