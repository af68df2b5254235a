#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// ephemeralStorage: a file system of that size for all that a task writes, its containers' layers
// and its scratch volumes. Quotas of projects would need a mount option that a stock Debian's root
// does not have; a file behind a loop device works on whatever the data directory is on. The file
// has no name and the device goes with its last use: a crash leaves a mount at most, which clean
// takes away. It takes disk only as the task writes, and gives it back as the task removes.

#define LOOP_TRIES 64 ///< others may take the free device first
#define MAKE_FD 3     ///< where the program that makes the file system finds the file

static bool is_mounted(const char *directory)
{
    struct stat own;
    struct stat parent;
    AUTO(alloc_string) char *above = alloc_format("%s/..", directory);
    return stat(directory, &own) == 0 && stat(above, &parent) == 0 && own.st_dev != parent.st_dev;
}

static int run_mkfs(int file_fd, struct err *err)
{
    static char program[] = "/sbin/mkfs.ext4";
    static char file[] = "/proc/self/fd/3";
    // Nothing of it outlives the task, so that a journal would cost and give nothing. What fills in
    // tables later would do so for longer than most tasks live.
    char *arguments[] = {program,
                         (char[]){"-q"},
                         (char[]){"-F"},
                         (char[]){"-m"},
                         (char[]){"0"},
                         (char[]){"-O"},
                         (char[]){"^has_journal"},
                         (char[]){"-E"},
                         (char[]){"lazy_itable_init=1,nodiscard"},
                         file,
                         NULL};
    char *environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "preparing to run '%s'", program);
    }
    pid_t pid = 0;
    rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, 0, 1);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, 0, 2);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, file_fd, MAKE_FD);
    rc = rc != 0 ? rc : posix_spawn(&pid, program, &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "running '%s' (package e2fsprogs)", program);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(err, ERR_SYS, "'%s' ended with status %d", program, status);
}

static int make_file(const struct oci_task *task, uint64_t gib, int *out_fd, struct err *err)
{
    AUTO(fd_close)
    int fd = open(task->oci->data_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)(gib << 30)) != 0) {
        return err_sys(err, errno, "making a file of %llu GiB in '%s'", (unsigned long long)gib,
                       task->oci->data_dir);
    }
    int rc = run_mkfs(fd, err);
    if (rc == 0) {
        *out_fd = fd;
        fd = -1;
    }
    return rc;
}

// @param out_fd  keeps the device until something is mounted of it
static int attach(int file_fd, char out_path[64], int *out_fd, struct err *err)
{
    AUTO(fd_close) int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control_fd < 0) {
        return err_sys(err, errno, "opening /dev/loop-control (kernel module loop)");
    }
    const struct loop_config config = {.fd = (uint32_t)file_fd,
                                       .info.lo_flags = LO_FLAGS_AUTOCLEAR};
    for (int i = 0; i < LOOP_TRIES; i++) {
        int number = ioctl(control_fd, LOOP_CTL_GET_FREE);
        if (number < 0) {
            return err_sys(err, errno, "finding a free loop device");
        }
        snprintf(out_path, 64, "/dev/loop%d", number);
        AUTO(fd_close) int fd = open(out_path, O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            return err_sys(err, errno, "opening '%s'", out_path);
        }
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *out_fd = fd;
            fd = -1;
            return 0;
        }
        if (errno != EBUSY) {
            return err_sys(err, errno, "setting up '%s'", out_path);
        }
    }
    return err_set(err, ERR_BUSY, "others take every free loop device");
}

int oci_storage_make(const struct oci_task *task, struct err *err)
{
    const struct ecs_ephemeral_storage *storage = task->definition->ephemeral_storage;
    if (storage == NULL || storage->size_in_gib <= 0 || is_mounted(task->data.data)) {
        return 0;
    }
    AUTO(fd_close) int file_fd = -1;
    AUTO(fd_close) int loop_fd = -1;
    char device[64];
    int rc = make_file(task, (uint64_t)storage->size_in_gib, &file_fd, err);
    if (rc == 0) {
        rc = attach(file_fd, device, &loop_fd, err);
    }
    if (rc == 0 && (mount(device, task->data.data, "ext4", 0, "discard") != 0 ||
                    chmod(task->data.data, 0711) != 0)) {
        rc = err_sys(err, errno, "mounting '%s' on '%s'", device, task->data.data);
    }
    return rc == 0 ? 0
                   : err_wrap(err, "ephemeralStorage of %d GiB cannot be had on this node",
                              (int)storage->size_in_gib);
}

void oci_storage_remove(struct text data)
{
    while (umount2(data.data, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {}
}
