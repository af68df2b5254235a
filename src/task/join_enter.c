#include "task/join_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "task/join.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CGROUP_BYTES_MAX (64u << 10)
#define PATH_BYTES 4096

#define TERMINALS "/dev/pts/ptmx"
#define TERMINALS_MAJOR 5 // of the device that makes terminals
#define TERMINALS_MINOR 2

static const char gone[] = "the container is not running";

// ---- cgroups --------------------------------------------------------------------------------

// Of v1, by the file of threads: a thread that moves itself does not wait for a grace period, and
// this process has one. v2 moves whole processes only.
static int join_group(struct text controllers, struct text path, struct err *err)
{
    static const char named[] = "name=";
    char file[PATH_BYTES];
    int length = 0;
    if (text_empty(controllers)) {
        length = snprintf(file, sizeof(file), CGROUP_ROOT "%.*s/cgroup.procs", TEXT_FMT(path));
    } else {
        if (text_starts(controllers, text_of(named))) {
            controllers = text_slice(controllers, sizeof(named) - 1, SIZE_MAX);
        }
        length = snprintf(file, sizeof(file), CGROUP_ROOT "/%.*s%.*s/tasks", TEXT_FMT(controllers),
                          TEXT_FMT(path));
    }
    if (length >= PATH_BYTES) {
        return err_set(err, ERR_INVALID, "the container's cgroup has too long a path");
    }
    int rc = file_write(AT_FDCWD, file, TEXT("0"), err);
    return rc == 0 ? 0 : err_wrap(err, "joining the container's cgroup");
}

static bool has_line(struct text lines, struct text wanted)
{
    while (lines.data != NULL) {
        if (text_equal(text_cut(&lines, '\n'), wanted)) {
            return true;
        }
    }
    return false;
}

// A line is NUMBER:CONTROLLERS:PATH. Where both are in the same group there is nothing to do: a
// hierarchy beside those that the runtime uses, or one that is not mounted here.
int join_cgroups(struct err *err)
{
    AUTO(buf_deinit) struct buf own = {0};
    AUTO(buf_deinit) struct buf wanted = {0};
    int rc = file_read(AT_FDCWD, "/proc/self/cgroup", CGROUP_BYTES_MAX, &own, err);
    if (rc != 0) {
        return rc;
    }
    if (file_read(JOIN_PROC_FD, "cgroup", CGROUP_BYTES_MAX, &wanted, err) != 0) {
        return err_set(err, ERR_NOT_FOUND, gone);
    }
    struct text rest = buf_view(&wanted);
    while (rc == 0 && rest.data != NULL) {
        struct text line = text_cut(&rest, '\n');
        if (text_empty(line) || has_line(buf_view(&own), line)) {
            continue;
        }
        text_cut(&line, ':');
        struct text controllers = text_cut(&line, ':');
        rc = join_group(controllers, line, err);
    }
    return rc;
}

// ---- namespaces -----------------------------------------------------------------------------

// Of processes: for children. Mounts last, as the others are found by the host's /proc.
static const char *const namespaces[] = {"ns/ipc",    "ns/uts", "ns/net",
                                         "ns/cgroup", "ns/pid", "ns/mnt"};

int join_namespaces(struct err *err)
{
    int fds[ARRAY_LEN(namespaces)];
    for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
        fds[i] = openat(JOIN_PROC_FD, namespaces[i], O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0) {
            return errno == ENOENT || errno == ESRCH
                       ? err_set(err, ERR_NOT_FOUND, gone)
                       : err_sys(err, errno, "opening the container's %s", namespaces[i]);
        }
    }
    close(JOIN_PROC_FD);
    for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
        if (setns(fds[i], 0) != 0) {
            return err_sys(err, errno, "joining the container's %s", namespaces[i]);
        }
        close(fds[i]);
    }
    return 0;
}

// ---- files of the container -----------------------------------------------------------------

int join_directory(const char *path, struct err *err)
{
    // A link of /proc can lead out of the root, where the container sees processes of the host.
    AUTO(fd_close)
    int fd =
        file_open_inside(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_NO_MAGICLINKS);
    return fd >= 0 && fchdir(fd) == 0 ? 0 : err_sys(err, errno, "chdir `%s`", path);
}

// The container may have put anything there.
static bool makes_terminals(int fd)
{
    struct stat status;
    struct statfs system;
    return fstat(fd, &status) == 0 && fstatfs(fd, &system) == 0 && S_ISCHR(status.st_mode) &&
           status.st_rdev == makedev(TERMINALS_MAJOR, TERMINALS_MINOR) &&
           system.f_type == DEVPTS_SUPER_MAGIC;
}

int join_terminal(uint32_t uid, int *out_master_fd, struct err *err)
{
    static const int unlocked = 0;
    AUTO(fd_close)
    int master_fd =
        file_open_inside(AT_FDCWD, TERMINALS, O_RDWR | O_NOCTTY | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
    if (master_fd < 0) {
        return err_sys(err, errno, "open `" TERMINALS "`");
    }
    if (!makes_terminals(master_fd)) {
        return err_set(err, ERR_INVALID, "`" TERMINALS "` of the container makes no terminals");
    }
    if (ioctl(master_fd, TIOCSPTLCK, &unlocked) != 0) {
        return err_sys(err, errno, "making a terminal");
    }
    AUTO(fd_close) int fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fchown(fd, uid, (gid_t)-1) != 0 || dup2(fd, STDIN_FILENO) < 0 ||
        dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0) {
        return err_sys(err, errno, "opening a terminal");
    }
    *out_master_fd = master_fd;
    master_fd = -1;
    return 0;
}
