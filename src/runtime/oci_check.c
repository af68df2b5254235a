#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Whether this host can run containers right now, without running one.
 */

#define VERSION_TIMEOUT_MS 60000 // a runtime that takes longer to say its version is of no use
#define VERSION_BYTES 256
#define CRUN_VERSION "crun version "
#define CRUN_TAKES_PROGRAMS 18 // from 0.18 on

// Its first words are all that is wanted; the rest of a long answer is dropped with the pipe.
static void read_version(int fd, struct buf *out)
{
    ssize_t got = read(fd, buf_reserve(out, VERSION_BYTES), VERSION_BYTES);
    out->size += got > 0 ? (size_t)got : 0;
}

static int spawn_binary(const struct oci *oci, int output_fd, pid_t *out_pid, struct err *err)
{
    char version[] = "--version";
    char *const arguments[] = {oci->binary, version, NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        for (int fd = 0; fd < 3 && rc == 0; fd++) {
            rc = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
        }
        rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output_fd, 1);
        rc = rc != 0 ? rc
                     : posix_spawn(out_pid, oci->binary, &actions, NULL, arguments, environment);
        posix_spawn_file_actions_destroy(&actions);
    }
    return rc == 0 ? 0 : err_sys(err, rc, "starting '%s'", oci->binary);
}

// It may be gone, of another architecture, or lack a library: only running it tells.
static int run_binary(const struct oci *oci, struct buf *out_version, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe");
    }
    AUTO(fd_close) int read_fd = ends[0];
    pid_t pid = -1;
    int rc = spawn_binary(oci, ends[1], &pid, err);
    close(ends[1]);
    if (rc != 0) {
        return rc;
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
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return err_set(err, ERR_SYS, "'%s --version' fails with status %d", oci->binary, status);
    }
    read_version(read_fd, out_version);
    return 0;
}

bool oci_takes_programs(struct text version)
{
    struct text number = text_cut(&version, '\n');
    if (!text_starts(number, TEXT(CRUN_VERSION))) {
        return false;
    }
    number = text_slice(number, strlen(CRUN_VERSION), number.size);
    uint64_t major = 0;
    uint64_t minor = 0;
    if (text_to_u64(text_cut(&number, '.'), &major) != 0) {
        return false;
    }
    return major > 0 ||
           (text_to_u64(text_cut(&number, '.'), &minor) == 0 && minor >= CRUN_TAKES_PROGRAMS);
}

int oci_check_binary(struct oci *oci, struct err *err)
{
    AUTO(buf_deinit) struct buf version = {0};
    int rc = run_binary(oci, &version, err);
    atomic_store(&oci->takes_programs, rc == 0 && oci_takes_programs(buf_view(&version)));
    return rc;
}

int oci_check(struct runtime *runtime, struct err *err)
{
    struct oci *oci = oci_of(runtime);
    struct cgroup_host cgroups = {0};
    if (access(oci->supervisor, X_OK) != 0) {
        return err_sys(err, errno, "the supervisor '%s' cannot be run", oci->supervisor);
    }
    if (access(oci->data_dir, W_OK) != 0 && errno != ENOENT) {
        return err_sys(err, errno, "'%s' cannot be written", oci->data_dir);
    }
    int rc = cgroup_host_read(&cgroups, err);
    return rc != 0 ? rc : oci_check_binary(oci, err);
}
