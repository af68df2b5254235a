#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

// What an image has at a path, copied to where a fresh volume will cover it. The source is a tree
// that nobody changes: it is looked at through descriptors all the same, so that no link of an
// image leads elsewhere.

#define DEPTH_MAX 128 ///< of folders; paths end at about as many
#define COPY_BYTES (1u << 20)
#define LINK_BYTES 4096
#define NAMES_BYTES 4096
#define VALUE_BYTES 4096

/** A folder that is being copied. */
struct level {
    DIR *from;
    int to_fd;
    struct stat status;
};

/** From the top down to where the copy is. */
struct copy {
    struct level levels[DEPTH_MAX];
    size_t depth;
};

static void close_level(struct level *level)
{
    if (level->from != NULL) {
        closedir(level->from);
    }
    fd_close(level->to_fd);
}

static void copy_deinit(struct copy *copy)
{
    for (size_t i = 0; i < copy->depth; i++) {
        close_level(&copy->levels[i]);
    }
}

AUTO_VALUE(struct copy, copy_deinit)

// Owner first: a change of it takes set-user-id bits away.
static int copy_attributes(int fd, const struct stat *status, struct err *err)
{
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    if (fchown(fd, status->st_uid, status->st_gid) != 0 ||
        fchmod(fd, status->st_mode & 07777u) != 0 || futimens(fd, times) != 0) {
        return err_sys(err, errno, "copying the owner and mode of a file");
    }
    return 0;
}

// File capabilities and the like; those that the target does not take are left out.
static void copy_extended(int from_fd, int to_fd)
{
    char names[NAMES_BYTES];
    char value[VALUE_BYTES];
    ssize_t size = flistxattr(from_fd, names, sizeof(names));
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t got = fgetxattr(from_fd, names + at, value, sizeof(value));
        if (got >= 0) {
            IGNORE(fsetxattr(to_fd, names + at, value, (size_t)got, 0) != 0,
                   "not every file system has every attribute");
        }
    }
}

static int copy_bytes(int from_fd, int to_fd, struct err *err)
{
    AUTO(alloc_free) void *bytes = alloc_array(COPY_BYTES, 1);
    for (;;) {
        ssize_t got = read(from_fd, bytes, COPY_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0 ? 0 : err_sys(err, errno, "reading a file of the image");
        }
        int rc = fd_write_all(to_fd, bytes, (size_t)got, err);
        if (rc != 0) {
            return rc;
        }
    }
}

static int copy_file(const struct level *level, const char *name, const struct stat *status,
                     struct err *err)
{
    AUTO(fd_close)
    int from_fd = openat(dirfd(level->from), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    AUTO(fd_close)
    int to_fd = openat(level->to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (from_fd < 0 || to_fd < 0) {
        return err_sys(err, errno, "copying '%s'", name);
    }
    int rc = copy_bytes(from_fd, to_fd, err);
    rc = rc != 0 ? rc : copy_attributes(to_fd, status, err);
    if (rc == 0) {
        copy_extended(from_fd, to_fd);
    }
    return rc;
}

static int copy_link(const struct level *level, const char *name, const struct stat *status,
                     struct err *err)
{
    char target[LINK_BYTES];
    ssize_t size = readlinkat(dirfd(level->from), name, target, sizeof(target) - 1);
    if (size < 0) {
        return err_sys(err, errno, "reading the link '%s'", name);
    }
    target[size] = '\0';
    if (symlinkat(target, level->to_fd, name) != 0 ||
        fchownat(level->to_fd, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
        return err_sys(err, errno, "copying the link '%s'", name);
    }
    return 0;
}

// Sockets are left out: nobody listens behind a copy.
static int copy_node(const struct level *level, const char *name, const struct stat *status,
                     struct err *err)
{
    if (S_ISSOCK(status->st_mode)) {
        return 0;
    }
    if (mknodat(level->to_fd, name, status->st_mode, status->st_rdev) != 0 ||
        fchownat(level->to_fd, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
        return err_sys(err, errno, "copying '%s'", name);
    }
    return 0;
}

// Takes both descriptors, also on failure.
static int push(struct copy *copy, int from_fd, int to_fd, struct err *err)
{
    if (copy->depth == DEPTH_MAX || from_fd < 0 || to_fd < 0) {
        int number = copy->depth == DEPTH_MAX ? ENAMETOOLONG : errno;
        fd_close(from_fd);
        fd_close(to_fd);
        return err_sys(err, number, "opening a folder of the image");
    }
    struct level *level = &copy->levels[copy->depth++];
    *level = (struct level){.from = fdopendir(from_fd), .to_fd = to_fd};
    if (level->from == NULL || fstat(from_fd, &level->status) != 0) {
        int number = errno;
        if (level->from == NULL) {
            fd_close(from_fd);
        }
        return err_sys(err, number, "reading a folder of the image");
    }
    return 0;
}

static int push_below(struct copy *copy, const char *name, struct err *err)
{
    static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const struct level *level = &copy->levels[copy->depth - 1];
    if (mkdirat(level->to_fd, name, 0700) != 0) {
        return err_sys(err, errno, "copying the folder '%s'", name);
    }
    return push(copy, openat(dirfd(level->from), name, flags), openat(level->to_fd, name, flags),
                err);
}

static int copy_entry(struct copy *copy, const char *name, struct err *err)
{
    const struct level *level = &copy->levels[copy->depth - 1];
    struct stat status;
    if (fstatat(dirfd(level->from), name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return err_sys(err, errno, "looking at '%s'", name);
    }
    if (S_ISDIR(status.st_mode)) {
        return push_below(copy, name, err);
    }
    if (S_ISREG(status.st_mode)) {
        return copy_file(level, name, &status, err);
    }
    return S_ISLNK(status.st_mode) ? copy_link(level, name, &status, err)
                                   : copy_node(level, name, &status, err);
}

static int pop(struct copy *copy, struct err *err)
{
    struct level *level = &copy->levels[--copy->depth];
    // Last: making what is in it changed its time.
    int rc = copy_attributes(level->to_fd, &level->status, err);
    close_level(level);
    return rc;
}

int oci_copy_up(int root_fd, struct text path, const char *target, struct err *err)
{
    AUTO(copy_deinit) struct copy copy = {.depth = 0};
    AUTO(alloc_string) char *name = alloc_format("%.*s", TEXT_FMT(path));
    int from_fd = file_open_inside(root_fd, name, O_RDONLY | O_DIRECTORY, RESOLVE_IN_ROOT);
    if (from_fd < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                   ? 0
                   : err_sys(err, errno, "opening '%s' of the image", name);
    }
    int rc = push(&copy, from_fd, open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err);
    while (rc == 0 && copy.depth > 0) {
        errno = 0;
        const struct dirent *entry = readdir(copy.levels[copy.depth - 1].from);
        if (entry == NULL) {
            rc = errno == 0 ? pop(&copy, err) : err_sys(err, errno, "reading a folder");
        } else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = copy_entry(&copy, entry->d_name, err);
        }
    }
    return rc == 0 ? 0 : err_wrap(err, "filling a volume with what the image has at '%s'", name);
}
