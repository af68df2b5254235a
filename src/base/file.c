#include "base/file.h"

#include "base/alloc.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void fd_close(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

int fd_raise(int fd)
{
    if (fd >= FD_HIGH) {
        return fd;
    }
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_HIGH);
    if (high < 0) {
        return fd;
    }
    close(fd);
    return high;
}

#define OPEN_TRIES 1000
#define SMALL_FILE_BYTES 4096
#define LARGE_READ_BYTES 16384

int file_open_inside(int dir_fd, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = resolve | RESOLVE_NO_MAGICLINKS,
    };
    // The kernel gives up with EAGAIN when anything on the host was renamed while it followed a
    // `..` out of a link; trying again is what it asks for.
    int fd = -1;
    for (int i = 0; i < OPEN_TRIES; i++) {
        fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0 || errno != EAGAIN) {
            break;
        }
    }
    return fd;
}

int file_read(int dir_fd, const char *path, size_t limit_bytes, struct buf *out, struct err *err)
{
    AUTO(fd_close) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening '%s'", path);
    }
    // Most files are small, and an agent reads hundreds of them at once: room for a large one is
    // only taken when the file turns out to be one.
    char small[SMALL_FILE_BYTES];
    bool large = false;
    size_t before = out->size;
    for (;;) {
        ssize_t got = large ? read(fd, buf_reserve(out, LARGE_READ_BYTES), LARGE_READ_BYTES)
                            : read(fd, small, sizeof(small));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "reading '%s'", path);
        }
        if (got == 0) {
            break;
        }
        if (!large) {
            memcpy(buf_reserve(out, (size_t)got), small, (size_t)got);
        }
        out->size += (size_t)got;
        large = out->size - before >= sizeof(small);
        if (out->size - before > limit_bytes) {
            return err_set(err, ERR_NO_ROOM, "'%s' is larger than %zu bytes", path, limit_bytes);
        }
    }
    buf_reserve(out, 0);
    out->data[out->size] = '\0';
    return 0;
}

int fd_write_all(int fd, const void *bytes, size_t size, struct err *err)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t done = write(fd, from, size);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return err_sys(err, errno, "writing %zu bytes", size);
        }
        from += done;
        size -= (size_t)done;
    }
    return 0;
}

static int sync_parent(int dir_fd, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO(alloc_string)
    char *parent =
        slash == NULL ? alloc_string(".") : alloc_format("%.*s", (int)MAX(slash - path, 1), path);
    AUTO(fd_close) int fd = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return err_sys(err, errno, "syncing directory '%s'", parent);
    }
    return 0;
}

static int write_synced(int dir_fd, const char *path, mode_t mode, struct text content,
                        struct err *err)
{
    AUTO(fd_close)
    int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s'", path);
    }
    int rc = fd_write_all(fd, content.data, content.size, err);
    if (rc != 0) {
        return err_wrap(err, "writing '%s'", path);
    }
    if (fsync(fd) != 0) {
        return err_sys(err, errno, "syncing '%s'", path);
    }
    return 0;
}

int file_replace(int dir_fd, const char *path, mode_t mode, struct text content, struct err *err)
{
    AUTO(alloc_string) char *temporary = alloc_format("%s.new-%d", path, (int)getpid());
    int rc = write_synced(dir_fd, temporary, mode, content, err);
    if (rc == 0 && renameat(dir_fd, temporary, dir_fd, path) != 0) {
        rc = err_sys(err, errno, "renaming '%s' to '%s'", temporary, path);
    }
    if (rc != 0) {
        unlinkat(dir_fd, temporary, 0);
        return rc;
    }
    return sync_parent(dir_fd, path, err);
}

int file_keep(int dir_fd, const char *path, mode_t mode, struct text content, struct err *err)
{
    AUTO(buf_deinit) struct buf found = {0};
    struct err unread = {0};
    if (file_read(dir_fd, path, content.size, &found, &unread) == 0 &&
        text_equal(buf_view(&found), content)) {
        return 0;
    }
    return file_replace(dir_fd, path, mode, content, err);
}

int file_write(int dir_fd, const char *path, struct text content, struct err *err)
{
    AUTO(fd_close) int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening '%s' to write", path);
    }
    // Kernel interface files want everything in one write.
    ssize_t done = write(fd, content.data, content.size);
    if (done < 0 || (size_t)done != content.size) {
        return err_sys(err, done < 0 ? errno : EIO, "writing '%.*s' to '%s'", TEXT_FMT(content),
                       path);
    }
    return 0;
}

int file_make_dirs(const char *path, mode_t mode, struct err *err)
{
    AUTO(alloc_string) char *copy = alloc_string(path);
    for (char *at = copy + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char was = *at;
        *at = '\0';
        if (mkdir(copy, mode) != 0 && errno != EEXIST) {
            return err_sys(err, errno, "making directory '%s'", copy);
        }
        *at = was;
        if (was == '\0') {
            return 0;
        }
    }
}

// Deep enough for any image's tree; the depth is bounded so that a hostile one cannot exhaust
// descriptors or the stack.
#define TREE_DEPTH_MAX 512

struct tree_level {
    DIR *dir;
    char *name; ///< how the parent knows it
};

static int remove_entry(int dir_fd, const char *name, struct tree_level *out_down, struct err *err)
{
    *out_down = (struct tree_level){0};
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return err_sys(err, errno, "removing '%s'", name);
    }
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0) {
        return 0;
    }
    if (errno != ENOTEMPTY && errno != EEXIST) {
        return err_sys(err, errno, "removing directory '%s'", name);
    }
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening directory '%s'", name);
    }
    struct stat above;
    struct stat here;
    if (fstat(fd, &here) != 0 || fstatat(fd, "..", &above, 0) != 0 || here.st_dev != above.st_dev) {
        close(fd);
        return err_set(err, ERR_BUSY, "'%s' is another file system; it is left alone", name);
    }
    out_down->dir = fdopendir(fd);
    out_down->name = alloc_string(name);
    return 0;
}

int file_remove_tree(int dir_fd, const char *path, struct err *err)
{
    struct tree_level levels[TREE_DEPTH_MAX];
    size_t depth = 0;
    int rc = remove_entry(dir_fd, path, &levels[0], err);
    if (rc != 0 || levels[0].dir == NULL) {
        return rc;
    }
    depth = 1;
    while (depth > 0) {
        struct tree_level *level = &levels[depth - 1];
        struct dirent *entry = rc == 0 ? readdir(level->dir) : NULL;
        if (entry == NULL) {
            int parent = depth == 1 ? dir_fd : dirfd(levels[depth - 2].dir);
            if (rc == 0 && unlinkat(parent, level->name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
                rc = err_sys(err, errno, "removing directory '%s'", level->name);
            }
            closedir(level->dir);
            alloc_free(level->name);
            depth--;
            continue;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (depth == TREE_DEPTH_MAX) {
            rc = err_set(err, ERR_NO_ROOM, "'%s' is nested deeper than %d", path, TREE_DEPTH_MAX);
            continue;
        }
        rc = remove_entry(dirfd(level->dir), entry->d_name, &levels[depth], err);
        if (rc == 0 && levels[depth].dir != NULL) {
            depth++;
        }
    }
    return rc == 0 ? 0 : err_wrap(err, "removing tree '%s'", path);
}

/** A message of one byte with room for a descriptor. */
struct fd_message {
    char byte;
    struct iovec part;
    struct msghdr header;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
};

static void make_message(struct fd_message *message)
{
    *message = (struct fd_message){0};
    message->part = (struct iovec){&message->byte, 1};
    message->header = (struct msghdr){.msg_iov = &message->part,
                                      .msg_iovlen = 1,
                                      .msg_control = message->control.bytes,
                                      .msg_controllen = sizeof(message->control.bytes)};
}

int fd_send(int socket_fd, int fd)
{
    struct fd_message message;
    make_message(&message);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message.header);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return sendmsg(socket_fd, &message.header, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

int fd_receive(int socket_fd)
{
    struct fd_message message;
    make_message(&message);
    int fd = -1;
    errno = 0;
    ssize_t got = recvmsg(socket_fd, &message.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    const struct cmsghdr *header = got < 0 ? NULL : CMSG_FIRSTHDR(&message.header);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    }
    return fd;
}
