#include "image/image_layer_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/*
 * Owner, mode, extended attributes and times of what was unpacked.
 */

/** Precedes the terminated path of each directory in `directories`. */
struct directory_time {
    int64_t seconds;
    int64_t nanoseconds;
};

// Labels are for the host's own policy to set, and `trusted.` would let a layer steer overlayfs.
static bool xattr_wanted(const char *name)
{
    return strcmp(name, "security.capability") == 0 || strncmp(name, "user.", 5) == 0 ||
           strncmp(name, "system.posix_acl_", 17) == 0;
}

static int set_xattrs(struct archive_entry *entry, int fd, const char *path, struct err *err)
{
    const char *name = NULL;
    const void *value = NULL;
    size_t size = 0;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        if (name == NULL || !xattr_wanted(name)) {
            continue;
        }
        if (fsetxattr(fd, name, value, size, 0) == 0) {
            continue;
        }
        // Without its capabilities a program fails in ways nobody would trace back to here; the
        // others are hints that a file system need not keep.
        if (errno == ENOSPC || errno == EDQUOT || strncmp(name, "security.", 9) == 0) {
            return err_sys(err, errno, "setting attribute '%s' of '%s'", name, path);
        }
    }
    return 0;
}

struct timespec image_entry_time(struct archive_entry *entry)
{
    long nanoseconds = archive_entry_mtime_nsec(entry);
    return (struct timespec){
        .tv_sec = archive_entry_mtime(entry),
        .tv_nsec = nanoseconds >= 0 && nanoseconds < 1000000000 ? nanoseconds : 0,
    };
}

// Order matters: a change of owner clears set-user-id bits and capabilities.
int image_set_attributes(struct archive_entry *entry, int fd, const char *path, struct err *err)
{
    if (fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) != 0) {
        return err_sys(err, errno, "setting the owner of '%s'", path);
    }
    if (fchmod(fd, archive_entry_perm(entry) & 07777) != 0) {
        return err_sys(err, errno, "setting the mode of '%s'", path);
    }
    return set_xattrs(entry, fd, path, err);
}

int image_set_attributes_at(struct archive_entry *entry, const struct image_place *place,
                            bool is_link, struct err *err)
{
    const struct timespec times[2] = {image_entry_time(entry), image_entry_time(entry)};
    if (fchownat(place->parent_fd, place->base, (uid_t)archive_entry_uid(entry),
                 (gid_t)archive_entry_gid(entry), AT_SYMLINK_NOFOLLOW) != 0) {
        return err_sys(err, errno, "setting the owner of '%s'", place->path);
    }
    if (!is_link &&
        fchmodat(place->parent_fd, place->base, archive_entry_perm(entry) & 07777, 0) != 0) {
        return err_sys(err, errno, "setting the mode of '%s'", place->path);
    }
    if (utimensat(place->parent_fd, place->base, times, AT_SYMLINK_NOFOLLOW) != 0) {
        return err_sys(err, errno, "setting the time of '%s'", place->path);
    }
    return 0;
}

int image_note_time(struct image_unpacker *unpacker, struct archive_entry *entry, const char *path,
                    struct err *err)
{
    const struct timespec when = image_entry_time(entry);
    const struct directory_time time = {when.tv_sec, when.tv_nsec};
    buf_add(&unpacker->directories, &time, sizeof(time));
    buf_add(&unpacker->directories, path, strlen(path) + 1);
    return unpacker->directories.full
               ? err_set(err, ERR_INVALID, "the layer has too many directories")
               : 0;
}

int image_apply_times(struct image_unpacker *unpacker, struct err *err)
{
    struct text all = buf_view(&unpacker->directories);
    const char *at = all.data;
    const char *end = all.data + all.size;
    while (at < end) {
        struct directory_time time;
        memcpy(&time, at, sizeof(time));
        const char *path = at + sizeof(time);
        at = path + strlen(path) + 1;
        // A directory that a later entry replaced is not found this way, which is right.
        AUTO(fd_close) int fd = image_layer_open(unpacker->root_fd, path, RESOLVE_NO_SYMLINKS);
        const struct timespec when = {.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
        const struct timespec times[2] = {when, when};
        if (fd >= 0 && futimens(fd, times) != 0) {
            return err_sys(err, errno, "setting the time of '%s'", path);
        }
    }
    return 0;
}
