#include "task/supervisor_internal.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "task/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

// A mount table of ten thousand lines of 200 bytes fits.
#define MOUNTINFO_BYTES_MAX (4u << 20)
#define PATH_BYTES 4096

// Undoes the octal escapes of the kernel's mount table, in place.
static void unescape(char *path)
{
    char *to = path;
    for (const char *from = path; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != '\0' &&
            from[3] != '\0') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

static bool is_kept(const struct supervisor_plan *plan, const char *path)
{
    bool kept = text_is(plan->network_namespace, path);
    for (size_t i = 0; i < plan->network_namespaces.count; i++) {
        kept = kept || text_is(plan->network_namespaces.items[i], path);
    }
    return kept;
}

// What a task writes can be a file system of its own, beside those of others.
static bool is_storage_of_another(const struct supervisor_plan *plan, const char *path)
{
    size_t slash = text_find_last(plan->storage, '/');
    return slash != SIZE_MAX &&
           text_starts(text_of(path), text_slice(plan->storage, 0, slash + 1)) &&
           !text_starts(text_of(path), plan->storage);
}

static void let_go(struct text line, const struct supervisor_plan *plan)
{
    struct text rest = line;
    struct text path = {0};
    for (size_t field = 0; field < 5; field++) {
        path = text_cut(&rest, ' ');
    }
    struct text word = {0};
    while (rest.data != NULL && !text_is(word, "-")) {
        word = text_cut(&rest, ' ');
    }
    char mount_point[PATH_BYTES];
    bool namespace = text_is(text_cut(&rest, ' '), "nsfs");
    if (text_copy(path, mount_point, sizeof(mount_point)) != 0) {
        return;
    }
    unescape(mount_point);
    if (namespace ? !is_kept(plan, mount_point) : is_storage_of_another(plan, mount_point)) {
        IGNORE(umount2(mount_point, MNT_DETACH) != 0, "it may just have gone");
    }
}

/** A mounted namespace of the task's own, apart from where it was. */
struct own_namespace {
    struct text path;
    int fd; ///< of the mount; -1 when it was not there
};

static void take_up(struct text path, struct text directory, struct own_namespace *out)
{
    *out = (struct own_namespace){path, -1};
    if (path.data != NULL && text_starts(path, directory)) {
        AUTO(alloc_string) char *name = alloc_format("%.*s", TEXT_FMT(path));
        out->fd = open_tree(AT_FDCWD, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    }
}

static int put_back(const struct own_namespace *own, struct err *err)
{
    AUTO(alloc_string) char *name = alloc_format("%.*s", TEXT_FMT(own->path));
    if (own->fd >= 0 && move_mount(own->fd, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH) != 0) {
        return err_sys(err, errno, "keeping the namespace '%s'", name);
    }
    return 0;
}

// All of this node's namespaces at once, and those that are to come: each unmount makes the kernel
// wait, and there may be hundreds. The directory below has the same files.
static int leave_namespaces(const struct supervisor_plan *plan, struct err *err)
{
    char directory[PATH_BYTES];
    size_t count = 1 + plan->network_namespaces.count;
    if (text_empty(plan->namespaces) ||
        text_copy(plan->namespaces, directory, sizeof(directory)) != 0) {
        return 0;
    }
    struct own_namespace *own = alloc_array(count, sizeof(*own));
    take_up(plan->network_namespace, plan->namespaces, &own[0]);
    for (size_t i = 1; i < count; i++) {
        take_up(plan->network_namespaces.items[i - 1], plan->namespaces, &own[i]);
    }
    int rc = 0;
    bool left = umount2(directory, MNT_DETACH) == 0;
    for (size_t i = 0; i < count; i++) {
        rc = left && rc == 0 ? put_back(&own[i], err) : rc;
        fd_close(own[i].fd);
    }
    alloc_free(own);
    return rc;
}

// Our copy of a mounted network namespace would keep it alive, with its link and address, for as
// long as this task runs, even after its own task has ended and the host has unmounted it. So would
// that of another task's storage keep its disk.
static int let_others_go(const struct supervisor_plan *plan, struct err *err)
{
    AUTO(buf_deinit) struct buf table = {0};
    int rc = leave_namespaces(plan, err);
    if (rc == 0) {
        rc = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_BYTES_MAX, &table, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct text rest = buf_view(&table);
    while (rest.data != NULL) {
        let_go(text_cut(&rest, '\n'), plan);
    }
    return 0;
}

static int mount_root(const struct supervisor_plan_container *container, struct err *err)
{
    const struct overlay overlay = {
        .layers = container->layers,
        .upper = container->upper,
        .work = container->work,
    };
    AUTO(alloc_string) char *target = alloc_format("%.*s/rootfs", TEXT_FMT(container->bundle));
    return overlay_mount(&overlay, target, err);
}

static int mount_extra(const struct supervisor_mount *extra, struct err *err)
{
    AUTO(alloc_string) char *target = alloc_format("%.*s", TEXT_FMT(extra->target));
    AUTO(alloc_string) char *type = alloc_format("%.*s", TEXT_FMT(extra->type));
    AUTO(alloc_string) char *options = alloc_format("%.*s", TEXT_FMT(extra->options));
    int rc = file_make_dirs(target, 0755, err);
    if (rc != 0) {
        return rc;
    }
    if (mount(type, target, type, MS_NOSUID | MS_NODEV, options) != 0) {
        return err_sys(err, errno, "mounting a %s with '%s' on '%s'", type, options, target);
    }
    return 0;
}

// Covered, not unmounted: that would wait for a grace period of the kernel. And by a file system of
// its own: crun makes directories and files there as if it were a hierarchy, and never removes
// them.
static int hide(struct text what, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s", TEXT_FMT(what));
    if (mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700") != 0 &&
        errno != ENOENT) {
        return err_sys(err, errno, "hiding '%s'", path);
    }
    return 0;
}

static bool protect(const char *path)
{
    return mount(path, path, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

// So that no container can change the program of its runtime, crun copies itself at each start and
// begins again from the copy, unless its file is on a mount that cannot be written. Here it is:
// that is as safe, and saves most of the time that crun takes before it does anything.
static void protect_runtime(const struct supervisor_plan *plan)
{
    char path[PATH_BYTES];
    if (text_copy(plan->runtime.items[0], path, sizeof(path)) != 0 || !protect(path)) {
        LOG(WARN, "the runtime's program cannot be protected: it will copy itself at each start",
            LOG_STR("error", strerror(errno)));
    }
}

// A file of the host's that processes in containers hold: where it cannot be written, nor its mode
// and owner be changed. Kept open, as another can take its place at any time.
static int open_protected(const char *path, int flags, int *out_fd, struct err *err)
{
    struct statvfs system;
    AUTO(fd_close) int fd = -1;
    if (!protect(path) || (fd = open(path, flags | O_CLOEXEC)) < 0 || fstatvfs(fd, &system) != 0) {
        return err_sys(err, errno, "protecting '%s' from containers", path);
    }
    if ((system.f_flag & ST_RDONLY) == 0) {
        return err_set(err, ERR_BUSY, "'%s' was replaced while it was protected from containers",
                       path);
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

// What has just entered a container runs our program still.
static int protect_own(int *out_fd, struct err *err)
{
    static const char own[] = "/proc/self/exe";
    char path[PATH_BYTES];
    ssize_t length = readlink(own, path, sizeof(path) - 1);
    path[MAX(length, 0)] = '\0';
    return length < 0 ? err_sys(err, errno, "reading '%s'", own)
                      : open_protected(path, O_PATH, out_fd, err);
}

int supervisor_mounts_make(const struct supervisor_plan *plan, int *out_program_fd,
                           int *out_null_fd, struct err *err)
{
    if (unshare(CLONE_NEWNS) != 0) {
        return err_sys(err, errno, "making a mount namespace");
    }
    // Unmounts on the host are to reach us, ours are not to reach the host.
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) {
        return err_sys(err, errno, "parting from the host's mounts");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < plan->unmount.count; i++) {
        rc = hide(plan->unmount.items[i], err);
    }
    if (rc == 0) {
        rc = let_others_go(plan, err);
    }
    if (rc == 0) {
        rc = protect_own(out_program_fd, err);
    }
    // The streams of health checks and hooks.
    if (rc == 0) {
        rc = open_protected("/dev/null", O_RDWR, out_null_fd, err);
    }
    if (rc != 0) {
        return rc;
    }
    protect_runtime(plan);
    for (size_t i = 0; i < plan->mounts.count; i++) {
        rc = mount_extra(&plan->mounts.items[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    for (size_t i = 0; i < plan->containers.count; i++) {
        const struct supervisor_plan_container *container = &plan->containers.items[i];
        if (container->layers.count == 0) {
            continue;
        }
        rc = mount_root(container, err);
        if (rc != 0) {
            return err_wrap(err, "container '%.*s'", TEXT_FMT(container->name));
        }
    }
    return 0;
}
