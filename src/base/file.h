#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

/*
 * Small files, whole: read, replace atomically, make and remove trees. Every descriptor is
 * opened with O_CLOEXEC. Directory descriptors may be AT_FDCWD.
 */

/** Close a descriptor unless it is negative; for AUTO locals: `AUTO(fd_close) int fd = -1;` */
void fd_close(int fd);
UNUSED static inline void fd_close_auto(int *fd)
{
    fd_close(*fd);
}

/** Descriptors from here on are beyond what select() can watch. */
#define FD_HIGH 1024

/**
 * Move a descriptor to FD_HIGH or above. libnftables watches its own sockets with select(), and the
 * process ends when it is given a higher one: what there are hundreds of leaves it the lower ones.
 *
 * @param fd  this function's from here on
 * @return the descriptor: where it was, when the process may not have one as high
 */
int fd_raise(int fd);

/** Append a whole file to out. @return 0, ERR_NOT_FOUND, ERR_NO_ROOM past limit_bytes, ERR_SYS */
MUST_CHECK int file_read(int dir_fd, const char *path, size_t limit_bytes, struct buf *out,
                         struct err *err);

/**
 * Replace a file so that after a crash either the old or the new content is there: temporary
 * file beside it, fsync, rename, fsync of the directory.
 */
MUST_CHECK int file_replace(int dir_fd, const char *path, mode_t mode, struct text content,
                            struct err *err);

/** As file_replace, but a file that has this content already is left alone: that needs no room on
 *  the disk. */
MUST_CHECK int file_keep(int dir_fd, const char *path, mode_t mode, struct text content,
                         struct err *err);

/** Write all bytes to an existing file such as one of /proc, /sys or a cgroup; no fsync. */
MUST_CHECK int file_write(int dir_fd, const char *path, struct text content, struct err *err);

/** Write all bytes to a descriptor, retrying after signals and short writes. */
MUST_CHECK int fd_write_all(int fd, const void *bytes, size_t size, struct err *err);

/** Send a descriptor over a unix socket; it stays the caller's, too. @return 0, or -1 with errno */
MUST_CHECK int fd_send(int socket_fd, int fd);

/** Take a descriptor that was sent over a unix socket, without waiting for it. @return it, or -1
 *  with errno: EAGAIN when there is no message yet, 0 when one brought none, or at the end */
int fd_receive(int socket_fd);

/**
 * Open a path that somebody else wrote, seen from a directory, with openat2's ways of resolving.
 *
 * @param flags    of open; close-on-exec is added
 * @param resolve  RESOLVE_* of linux/openat2.h; RESOLVE_NO_MAGICLINKS is added
 * @return the descriptor, or -1 with errno set
 */
int file_open_inside(int dir_fd, const char *path, int flags, uint64_t resolve);

/** Make a directory and its parents; those that exist are left as they are. */
MUST_CHECK int file_make_dirs(const char *path, mode_t mode, struct err *err);

/**
 * Remove a tree without following links or leaving its file system.
 *
 * @return 0 also when it does not exist; ERR_BUSY when something is mounted in it
 */
MUST_CHECK int file_remove_tree(int dir_fd, const char *path, struct err *err);
