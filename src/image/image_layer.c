#include "base/alloc.h"
#include "base/file.h"
#include "image/image_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/*
 * Unpacking. A layer's tar comes from strangers, so every path is taken apart first, and the
 * kernel resolves directories with the layer as their root: neither `..` nor a link, whether made
 * by this layer or absolute, can name anything outside.
 */

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define OPAQUE_XATTR "trusted.overlay.opaque"

/** A cleaned path, cut before its last component. */
struct place {
    int parent_fd;    ///< borrowed from the unpacker
    const char *base; ///< last component; NULL for the root itself
    const char *path; ///< the whole, for messages
};

struct unpacker {
    struct image_tar tar;
    int root_fd;
    uint64_t entry_count;
    struct buf path;        ///< of the entry
    struct buf parent;      ///< of the directory behind parent_fd
    int parent_fd;          ///< last parent, as entries come grouped by directory; -1 for none
    struct buf directories; ///< those met, with times that are set when nothing changes any more
    struct image_layer_info info;
};

/** Precedes the terminated path of each directory in `directories`. */
struct directory_time {
    int64_t seconds;
    int64_t nanoseconds;
};

static int clean_component(struct text part, struct buf *out, size_t *depth, struct err *err)
{
    if (part.size == 0 || text_is(part, ".")) {
        return 0;
    }
    if (text_is(part, "..")) {
        return err_set(err, ERR_INVALID, "a path has '..' in it");
    }
    if (part.size > 255 || *depth == IMAGE_DEPTH_MAX ||
        out->size + 1 + part.size > IMAGE_PATH_MAX) {
        return err_set(err, ERR_INVALID, "a path is too long: '%.*s...'",
                       (int)MIN(part.size, (size_t)64), part.data);
    }
    if (out->size > 0) {
        buf_byte(out, '/');
    }
    buf_text(out, part);
    (*depth)++;
    return 0;
}

int image_path_clean(const char *path, struct buf *out, struct err *err)
{
    buf_reset(out);
    buf_add(out, "", 0);
    struct text rest = text_of(path);
    size_t depth = 0;
    while (rest.data != NULL) {
        int rc = clean_component(text_cut(&rest, '/'), out, &depth, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int open_inside(int root_fd, const char *path, uint64_t extra_resolve)
{
    return file_open_inside(root_fd, *path == '\0' ? "." : path, O_RDONLY | O_DIRECTORY,
                            RESOLVE_IN_ROOT | extra_resolve);
}

static void forget_parent(struct unpacker *unpacker)
{
    fd_close(unpacker->parent_fd);
    unpacker->parent_fd = -1;
}

static bool is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

static int set_opaque(struct unpacker *unpacker, int fd, bool is_root, struct err *err)
{
    if (is_root) {
        unpacker->info.opaque = true; // overlayfs does not look at the root's own attribute
        return 0;
    }
    if (fsetxattr(fd, OPAQUE_XATTR, "y", 1, 0) != 0) {
        return err_sys(err, errno, "marking a directory opaque");
    }
    return 0;
}

// Make one missing directory of a path and open it. A whiteout in its place meant that the
// directory below is gone, so the new one is opaque.
static int make_step(struct unpacker *unpacker, int at_fd, const char *name, int *out_fd,
                     struct err *err)
{
    bool opaque = false;
    struct stat status;
    if (fstatat(at_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && is_whiteout(&status)) {
        if (unlinkat(at_fd, name, 0) != 0) {
            return err_sys(err, errno, "replacing a whiteout");
        }
        opaque = true;
    }
    if (mkdirat(at_fd, name, 0755) != 0) {
        if (errno == EEXIST) {
            return err_set(err, ERR_INVALID, "'%s' lies below what is not a directory of the layer",
                           unpacker->path.data);
        }
        return err_sys(err, errno, "making directory '%s'", name);
    }
    int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0755) != 0) {
        int number = errno;
        fd_close(fd);
        return err_sys(err, number, "opening directory '%s'", name);
    }
    int rc = opaque ? set_opaque(unpacker, fd, false, err) : 0;
    if (rc != 0) {
        fd_close(fd);
        return rc;
    }
    *out_fd = fd;
    return 0;
}

// Archives may leave parents out. Walk down from the root, making what is missing.
static int make_parents(struct unpacker *unpacker, const char *path, int *out_fd, struct err *err)
{
    AUTO(alloc_string) char *prefix = alloc_string(path);
    AUTO(fd_close) int at_fd = open_inside(unpacker->root_fd, "", 0);
    if (at_fd < 0) {
        return err_sys(err, errno, "opening the layer");
    }
    for (char *start = prefix, *end = prefix; end != NULL; start = end + 1) {
        end = strchr(start, '/');
        if (end != NULL) {
            *end = '\0';
        }
        int next = open_inside(unpacker->root_fd, prefix, 0);
        if (next < 0) {
            int rc = make_step(unpacker, at_fd, start, &next, err);
            if (rc != 0) {
                return rc;
            }
        }
        close(at_fd);
        at_fd = next;
        if (end != NULL) {
            *end = '/';
        } else {
            break;
        }
    }
    *out_fd = at_fd;
    at_fd = -1;
    return 0;
}

static int open_parent(struct unpacker *unpacker, struct text parent, struct err *err)
{
    if (unpacker->parent_fd >= 0 && text_equal(parent, buf_view(&unpacker->parent))) {
        return 0;
    }
    forget_parent(unpacker);
    buf_reset(&unpacker->parent);
    buf_text(&unpacker->parent, parent);
    int fd = open_inside(unpacker->root_fd, unpacker->parent.data, 0);
    if (fd < 0) {
        int rc = make_parents(unpacker, unpacker->parent.data, &fd, err);
        if (rc != 0) {
            return rc;
        }
    }
    unpacker->parent_fd = fd;
    return 0;
}

// Clean an entry's path and open the directory it belongs into.
static int find_place(struct unpacker *unpacker, const char *path, struct place *out_place,
                      struct err *err)
{
    int rc = image_path_clean(path, &unpacker->path, err);
    if (rc != 0) {
        return rc;
    }
    struct text whole = buf_view(&unpacker->path);
    size_t slash = text_find_last(whole, '/');
    size_t base = slash == SIZE_MAX ? 0 : slash + 1;
    rc = open_parent(unpacker, text_slice(whole, 0, slash == SIZE_MAX ? 0 : slash), err);
    if (rc != 0) {
        return rc;
    }
    *out_place = (struct place){
        .parent_fd = unpacker->parent_fd,
        .base = whole.size == 0 ? NULL : whole.data + base,
        .path = whole.size == 0 ? "/" : whole.data,
    };
    return 0;
}

// Make room for an entry: a later one of the same name replaces the earlier.
static int clear_place(const struct place *place, struct err *err)
{
    if (unlinkat(place->parent_fd, place->base, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return err_sys(err, errno, "replacing '%s'", place->path);
    }
    return file_remove_tree(place->parent_fd, place->base, err);
}

/* ---- attributes */

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

static struct timespec entry_time(struct archive_entry *entry)
{
    long nanoseconds = archive_entry_mtime_nsec(entry);
    return (struct timespec){
        .tv_sec = archive_entry_mtime(entry),
        .tv_nsec = nanoseconds >= 0 && nanoseconds < 1000000000 ? nanoseconds : 0,
    };
}

// Order matters: a change of owner clears set-user-id bits and capabilities.
static int set_attributes(struct archive_entry *entry, int fd, const char *path, struct err *err)
{
    if (fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) != 0) {
        return err_sys(err, errno, "setting the owner of '%s'", path);
    }
    if (fchmod(fd, archive_entry_perm(entry) & 07777) != 0) {
        return err_sys(err, errno, "setting the mode of '%s'", path);
    }
    return set_xattrs(entry, fd, path, err);
}

// For what cannot be opened without side effects: links, devices, pipes.
static int set_attributes_at(struct archive_entry *entry, const struct place *place, bool is_link,
                             struct err *err)
{
    const struct timespec times[2] = {entry_time(entry), entry_time(entry)};
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

static int remember_time(struct unpacker *unpacker, struct archive_entry *entry, const char *path,
                         struct err *err)
{
    const struct timespec when = entry_time(entry);
    const struct directory_time time = {when.tv_sec, when.tv_nsec};
    buf_add(&unpacker->directories, &time, sizeof(time));
    buf_add(&unpacker->directories, path, strlen(path) + 1);
    return unpacker->directories.full
               ? err_set(err, ERR_INVALID, "the layer has too many directories")
               : 0;
}

static int apply_times(struct unpacker *unpacker, struct err *err)
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
        AUTO(fd_close) int fd = open_inside(unpacker->root_fd, path, RESOLVE_NO_SYMLINKS);
        const struct timespec when = {.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
        const struct timespec times[2] = {when, when};
        if (fd >= 0 && futimens(fd, times) != 0) {
            return err_sys(err, errno, "setting the time of '%s'", path);
        }
    }
    return 0;
}

/* ---- kinds of entries */

static int unpack_file(struct unpacker *unpacker, struct archive_entry *entry, struct place *place,
                       struct err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    AUTO(fd_close) int fd = openat(place->parent_fd, place->base, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        int rc = clear_place(place, err);
        if (rc != 0) {
            return rc;
        }
        fd = openat(place->parent_fd, place->base, flags, 0600);
    }
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s'", place->path);
    }
    uint64_t written = 0;
    int rc = image_tar_copy(&unpacker->tar, entry, fd, &written, err);
    if (rc != 0) {
        return err_wrap(err, "unpacking '%s'", place->path);
    }
    unpacker->info.size_bytes += written;
    rc = set_attributes(entry, fd, place->path, err);
    if (rc != 0) {
        return rc;
    }
    const struct timespec times[2] = {entry_time(entry), entry_time(entry)};
    if (futimens(fd, times) != 0) {
        return err_sys(err, errno, "setting the time of '%s'", place->path);
    }
    return 0;
}

static int unpack_directory(struct unpacker *unpacker, struct archive_entry *entry,
                            struct place *place, struct err *err)
{
    struct stat status;
    bool opaque = false;
    bool there = fstatat(place->parent_fd, place->base, &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(status.st_mode)) {
        opaque = is_whiteout(&status);
        there = false;
        int rc = clear_place(place, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (!there && mkdirat(place->parent_fd, place->base, 0700) != 0) {
        return err_sys(err, errno, "making directory '%s'", place->path);
    }
    AUTO(fd_close)
    int fd = openat(place->parent_fd, place->base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening directory '%s'", place->path);
    }
    int rc = opaque ? set_opaque(unpacker, fd, false, err) : 0;
    if (rc == 0) {
        rc = set_attributes(entry, fd, place->path, err);
    }
    return rc == 0 ? remember_time(unpacker, entry, place->path, err) : rc;
}

static int unpack_root(struct unpacker *unpacker, struct archive_entry *entry, struct err *err)
{
    if (archive_entry_filetype(entry) != AE_IFDIR) {
        return err_set(err, ERR_INVALID, "the root of the layer is not a directory");
    }
    int rc = set_attributes(entry, unpacker->root_fd, "/", err);
    return rc == 0 ? remember_time(unpacker, entry, "", err) : rc;
}

static int unpack_symlink(struct unpacker *unpacker, struct archive_entry *entry,
                          struct place *place, struct err *err)
{
    const char *target = archive_entry_symlink(entry);
    if (target == NULL || *target == '\0' || strlen(target) > IMAGE_PATH_MAX) {
        return err_set(err, ERR_INVALID, "the link '%s' points nowhere", place->path);
    }
    // The target is kept as it is: it means something only inside a container's root.
    int rc = clear_place(place, err);
    if (rc != 0) {
        return rc;
    }
    if (symlinkat(target, place->parent_fd, place->base) != 0) {
        return err_sys(err, errno, "making link '%s'", place->path);
    }
    return set_attributes_at(entry, place, true, err);
}

static int unpack_hard_link(struct unpacker *unpacker, const char *target, struct place *place,
                            struct err *err)
{
    AUTO(buf_deinit) struct buf path = {0};
    int rc = image_path_clean(target, &path, err);
    if (rc != 0) {
        return rc;
    }
    char *slash = strrchr(path.data, '/');
    const char *base = slash == NULL ? path.data : slash + 1;
    if (*base == '\0') {
        return err_set(err, ERR_INVALID, "'%s' links to the root", place->path);
    }
    if (strcmp(path.data, place->path) == 0) {
        return 0; // a link to itself changes nothing; clearing the place would lose the file
    }
    if (slash != NULL) {
        *slash = '\0';
    }
    AUTO(fd_close) int fd = open_inside(unpacker->root_fd, slash == NULL ? "" : path.data, 0);
    if (fd < 0) {
        return err_set(err, ERR_INVALID, "'%s' links to '%s', which is not in the layer",
                       place->path, target);
    }
    rc = clear_place(place, err);
    if (rc != 0) {
        return rc;
    }
    if (linkat(fd, base, place->parent_fd, place->base, 0) == 0) {
        return 0;
    }
    if (errno == ENOENT || errno == EPERM) {
        return err_set(err, ERR_INVALID, "'%s' links to '%s', which is not a file of the layer",
                       place->path, target);
    }
    return err_sys(err, errno, "linking '%s' to '%s'", place->path, target);
}

static int unpack_node(struct unpacker *unpacker, struct archive_entry *entry, struct place *place,
                       struct err *err)
{
    mode_t kind = archive_entry_filetype(entry);
    dev_t device = kind == S_IFIFO ? 0
                                   : makedev((unsigned)archive_entry_rdevmajor(entry),
                                             (unsigned)archive_entry_rdevminor(entry));
    int rc = clear_place(place, err);
    if (rc != 0) {
        return rc;
    }
    if (mknodat(place->parent_fd, place->base, kind | 0600, device) != 0) {
        // Containers get their devices from the runtime; a host that forbids making them can
        // still run nearly every image.
        return errno == EPERM ? 0 : err_sys(err, errno, "making device '%s'", place->path);
    }
    return set_attributes_at(entry, place, false, err);
}

static int unpack_whiteout(struct unpacker *unpacker, struct place *place, struct err *err)
{
    const char *name = place->base + strlen(WHITEOUT);
    if (strcmp(place->base, OPAQUE) == 0) {
        return set_opaque(unpacker, place->parent_fd, unpacker->parent.size == 0, err);
    }
    if (strncmp(name, WHITEOUT, strlen(WHITEOUT)) == 0) {
        return 0; // bookkeeping of aufs, which older engines left in layers
    }
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return err_set(err, ERR_INVALID, "'%s' is not a valid whiteout", place->path);
    }
    struct stat status;
    if (fstatat(place->parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (mknodat(place->parent_fd, name, S_IFCHR, makedev(0, 0)) != 0) {
            return err_sys(err, errno, "making the whiteout '%s'", place->path);
        }
        return 0;
    }
    // A whiteout speaks of the layers below only. What this layer has of the same name stays, but
    // a directory must not merge with theirs.
    if (!S_ISDIR(status.st_mode)) {
        return 0;
    }
    AUTO(fd_close)
    int fd = openat(place->parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening '%s'", name);
    }
    return set_opaque(unpacker, fd, false, err);
}

static int unpack_entry(struct unpacker *unpacker, struct archive_entry *entry, struct err *err)
{
    const char *path = archive_entry_pathname(entry);
    if (path == NULL) {
        return err_set(err, ERR_INVALID, "an entry has no name");
    }
    la_int64_t uid = archive_entry_uid(entry);
    la_int64_t gid = archive_entry_gid(entry);
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX) {
        return err_set(err, ERR_INVALID, "an entry has an impossible owner");
    }
    struct place place;
    int rc = find_place(unpacker, path, &place, err);
    if (rc != 0) {
        return rc;
    }
    if (place.base == NULL) {
        return unpack_root(unpacker, entry, err);
    }
    if (strncmp(place.base, WHITEOUT, strlen(WHITEOUT)) == 0) {
        return unpack_whiteout(unpacker, &place, err);
    }
    const char *hard_link = archive_entry_hardlink(entry);
    if (hard_link != NULL) {
        return unpack_hard_link(unpacker, hard_link, &place, err);
    }
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return unpack_file(unpacker, entry, &place, err);
    case AE_IFDIR:
        return unpack_directory(unpacker, entry, &place, err);
    case AE_IFLNK:
        return unpack_symlink(unpacker, entry, &place, err);
    case AE_IFCHR:
    case AE_IFBLK:
    case AE_IFIFO:
        return unpack_node(unpacker, entry, &place, err);
    default:
        return err_set(err, ERR_INVALID, "'%s' is of an unknown kind", place.path);
    }
}

static int unpack_all(struct unpacker *unpacker, struct image_stream *stream, struct err *err)
{
    int rc = image_tar_init(&unpacker->tar, stream, err);
    if (rc != 0) {
        return rc;
    }
    for (;;) {
        struct archive_entry *entry = NULL;
        rc = image_tar_next(&unpacker->tar, &entry, err);
        if (rc != 0) {
            return rc;
        }
        if (entry == NULL) {
            return apply_times(unpacker, err);
        }
        if (++unpacker->entry_count > IMAGE_ENTRIES_MAX) {
            return err_set(err, ERR_INVALID, "the layer has more than %d entries",
                           IMAGE_ENTRIES_MAX);
        }
        rc = unpack_entry(unpacker, entry, err);
        if (rc != 0) {
            return rc;
        }
    }
}

int image_layer_unpack(struct image_stream *stream, int root_fd, struct image_layer_info *out_info,
                       struct err *err)
{
    ASSERT(root_fd >= 0);
    struct unpacker unpacker = {
        .root_fd = root_fd,
        .parent_fd = -1,
        .directories = {.limit_bytes = IMAGE_DIRECTORY_BYTES_MAX},
    };
    int rc = unpack_all(&unpacker, stream, err);
    forget_parent(&unpacker);
    image_tar_deinit(&unpacker.tar);
    buf_deinit(&unpacker.path);
    buf_deinit(&unpacker.parent);
    buf_deinit(&unpacker.directories);
    if (rc == 0) {
        *out_info = unpacker.info;
    }
    return rc;
}
