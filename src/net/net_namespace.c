#include "base/alloc.h"
#include "net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#ifndef NSFS_MAGIC
#define NSFS_MAGIC 0x6e736673
#endif

#define OWN_NAMESPACE "/proc/thread-self/ns/net"

int net_namespace_enter(int fd, int *out_back, struct err *err)
{
    AUTO(fd_close) int back = open(OWN_NAMESPACE, O_RDONLY | O_CLOEXEC);
    if (back < 0) {
        return err_sys(err, errno, "opening " OWN_NAMESPACE);
    }
    if (setns(fd, CLONE_NEWNET) != 0) {
        return err_sys(err, errno, "entering a network namespace");
    }
    *out_back = back;
    back = -1;
    return 0;
}

void net_namespace_leave(int back)
{
    int rc = setns(back, CLONE_NEWNET);
    ASSERT(rc == 0); // everything the thread did from here on would go to the wrong network
    close(back);
}

int net_sysctl(const char *name, const char *value, struct err *err)
{
    char path[128];
    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    return file_write(AT_FDCWD, path, text_of(value), err);
}

// In a fresh namespace, which the thread is in.
static int fill_space(struct net_space *space, struct err *err)
{
    space->fd = open(OWN_NAMESPACE, O_RDONLY | O_CLOEXEC);
    if (space->fd < 0) {
        return err_sys(err, errno, "opening " OWN_NAMESPACE);
    }
    int rc = net_socket_open(&space->socket_fd, err);
    if (rc != 0) {
        return rc;
    }
    struct err ignored;
    // Before there is a link: VPCs have IPv4 only, and duplicate address detection takes a second.
    IGNORE(net_sysctl("ipv6/conf/default/disable_ipv6", "1", &ignored),
           "a kernel without IPv6 has no such file");
    // What containers have on other engines: any port, and ping, without privileges.
    IGNORE(net_sysctl("ipv4/ip_unprivileged_port_start", "0", &ignored), "a convenience");
    IGNORE(net_sysctl("ipv4/ping_group_range", "0 2147483647", &ignored), "a convenience");

    const uint32_t loopback_index = 1; // of every namespace
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_up(loopback_index), "setting loopback up");
    return net_batch_commit(space->socket_fd, &batch, 0, err);
}

int net_space_create(struct net_space *out_space, struct err *err)
{
    AUTO(fd_close) int back = open(OWN_NAMESPACE, O_RDONLY | O_CLOEXEC);
    if (back < 0) {
        return err_sys(err, errno, "opening " OWN_NAMESPACE);
    }
    if (unshare(CLONE_NEWNET) != 0) {
        return err_sys(err, errno, "making a network namespace");
    }
    struct net_space space = {-1, -1};
    int rc = fill_space(&space, err);
    net_namespace_leave(back);
    back = -1;
    if (rc != 0) {
        net_space_deinit(&space);
        return rc;
    }
    *out_space = space;
    return 0;
}

void net_space_deinit(struct net_space *space)
{
    fd_close(space->socket_fd);
    fd_close(space->fd);
    *space = (struct net_space){-1, -1};
}

static bool is_namespace(int fd)
{
    struct statfs status;
    return fstatfs(fd, &status) == 0 && status.f_type == NSFS_MAGIC;
}

int net_space_open(int dir_fd, const char *name, struct net_space *out_space, struct err *err)
{
    AUTO(net_space_deinit) struct net_space space = {-1, -1};
    space.fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (space.fd < 0) {
        return err_sys(err, errno, "opening namespace '%s'", name);
    }
    if (!is_namespace(space.fd)) {
        return err_set(err, ERR_NOT_FOUND, "no namespace is mounted on '%s'", name);
    }
    int back = -1;
    int rc = net_namespace_enter(space.fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    rc = net_socket_open(&space.socket_fd, err);
    net_namespace_leave(back);
    if (rc != 0) {
        return rc;
    }
    *out_space = space;
    space = (struct net_space){-1, -1};
    return 0;
}

bool net_space_mounted(int dir_fd, const char *name)
{
    AUTO(fd_close) int fd = openat(dir_fd, name, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && is_namespace(fd);
}

int net_space_mount(const struct net_space *space, const char *dir, const char *name,
                    struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", dir, name);
    char from[64];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", space->fd);
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s'", path);
    }
    close(fd);
    if (mount(from, path, NULL, MS_BIND, NULL) != 0) {
        int rc = err_sys(err, errno, "mounting a namespace on '%s'", path);
        unlink(path);
        return rc;
    }
    return 0;
}

int net_space_unmount(const char *dir, const char *name, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", dir, name);
    // Mounts may lie on one another when a step ran twice.
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {}
    if (errno != EINVAL && errno != ENOENT) {
        return err_sys(err, errno, "unmounting '%s'", path);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return err_sys(err, errno, "removing '%s'", path);
    }
    return 0;
}

static bool is_mount_point(const char *path)
{
    struct statx status;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status) == 0 &&
           (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int net_mount_directory(const char *dir, struct err *err)
{
    int rc = file_make_dirs(dir, 0755, err);
    if (rc != 0) {
        return rc;
    }
    if (!is_mount_point(dir)) {
        if (mount(dir, dir, NULL, MS_BIND, NULL) != 0) {
            return err_sys(err, errno, "mounting '%s' on itself", dir);
        }
        // It starts in the peer group of its parent, where what is mounted in it would show up a
        // second time; leave that before making a group of its own.
        if (mount(NULL, dir, NULL, MS_PRIVATE, NULL) != 0) {
            return err_sys(err, errno, "separating the mounts of '%s'", dir);
        }
    }
    if (mount(NULL, dir, NULL, MS_SHARED, NULL) != 0) {
        return err_sys(err, errno, "sharing the mounts of '%s'", dir);
    }
    return 0;
}

int net_unmount_directory(const char *dir, struct err *err)
{
    while (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {}
    if (errno != EINVAL && errno != ENOENT) {
        return err_sys(err, errno, "unmounting '%s'", dir);
    }
    if (rmdir(dir) != 0 && errno != ENOENT) {
        return err_sys(err, errno, "removing '%s'", dir);
    }
    return 0;
}
