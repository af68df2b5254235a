#include "image/image_layer_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * Unpacking. A layer's tar comes from strangers; where each entry goes is decided in
 * image_layer_place.c, what owner, mode, time and attributes it gets in image_layer_attributes.c.
 */

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"

static int unpack_file(struct image_unpacker *unpacker, struct archive_entry *entry,
                       struct image_place *place, struct err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    AUTO(fd_close) int fd = openat(place->parent_fd, place->base, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        int rc = image_place_clear(place, err);
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
    rc = image_set_attributes(entry, fd, place->path, err);
    if (rc != 0) {
        return rc;
    }
    const struct timespec times[2] = {image_entry_time(entry), image_entry_time(entry)};
    if (futimens(fd, times) != 0) {
        return err_sys(err, errno, "setting the time of '%s'", place->path);
    }
    return 0;
}

static int unpack_directory(struct image_unpacker *unpacker, struct archive_entry *entry,
                            struct image_place *place, struct err *err)
{
    struct stat status;
    bool opaque = false;
    bool there = fstatat(place->parent_fd, place->base, &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(status.st_mode)) {
        opaque = image_is_whiteout(&status);
        there = false;
        int rc = image_place_clear(place, err);
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
    int rc = opaque ? image_set_opaque(unpacker, fd, false, err) : 0;
    if (rc == 0) {
        rc = image_set_attributes(entry, fd, place->path, err);
    }
    return rc == 0 ? image_note_time(unpacker, entry, place->path, err) : rc;
}

static int unpack_root(struct image_unpacker *unpacker, struct archive_entry *entry,
                       struct err *err)
{
    if (archive_entry_filetype(entry) != AE_IFDIR) {
        return err_set(err, ERR_INVALID, "the root of the layer is not a directory");
    }
    int rc = image_set_attributes(entry, unpacker->root_fd, "/", err);
    return rc == 0 ? image_note_time(unpacker, entry, "", err) : rc;
}

static int unpack_symlink(struct image_unpacker *unpacker, struct archive_entry *entry,
                          struct image_place *place, struct err *err)
{
    const char *target = archive_entry_symlink(entry);
    if (target == NULL || *target == '\0' || strlen(target) > IMAGE_PATH_MAX) {
        return err_set(err, ERR_INVALID, "the link '%s' points nowhere", place->path);
    }
    // The target is kept as it is: it means something only inside a container's root.
    int rc = image_place_clear(place, err);
    if (rc != 0) {
        return rc;
    }
    if (symlinkat(target, place->parent_fd, place->base) != 0) {
        return err_sys(err, errno, "making link '%s'", place->path);
    }
    return image_set_attributes_at(entry, place, true, err);
}

static int unpack_hard_link(struct image_unpacker *unpacker, const char *target,
                            struct image_place *place, struct err *err)
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
    AUTO(fd_close) int fd = image_layer_open(unpacker->root_fd, slash == NULL ? "" : path.data, 0);
    if (fd < 0) {
        return err_set(err, ERR_INVALID, "'%s' links to '%s', which is not in the layer",
                       place->path, target);
    }
    rc = image_place_clear(place, err);
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

static int unpack_node(struct image_unpacker *unpacker, struct archive_entry *entry,
                       struct image_place *place, struct err *err)
{
    mode_t kind = archive_entry_filetype(entry);
    dev_t device = kind == S_IFIFO ? 0
                                   : makedev((unsigned)archive_entry_rdevmajor(entry),
                                             (unsigned)archive_entry_rdevminor(entry));
    int rc = image_place_clear(place, err);
    if (rc != 0) {
        return rc;
    }
    if (mknodat(place->parent_fd, place->base, kind | 0600, device) != 0) {
        // Containers get their devices from the runtime; a host that forbids making them can
        // still run nearly every image.
        return errno == EPERM ? 0 : err_sys(err, errno, "making device '%s'", place->path);
    }
    return image_set_attributes_at(entry, place, false, err);
}

static int unpack_whiteout(struct image_unpacker *unpacker, struct image_place *place,
                           struct err *err)
{
    const char *name = place->base + strlen(WHITEOUT);
    if (strcmp(place->base, OPAQUE) == 0) {
        return image_set_opaque(unpacker, place->parent_fd, unpacker->parent.size == 0, err);
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
    return image_set_opaque(unpacker, fd, false, err);
}

static int unpack_entry(struct image_unpacker *unpacker, struct archive_entry *entry,
                        struct err *err)
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
    struct image_place place;
    int rc = image_place_find(unpacker, path, &place, err);
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

static int unpack_all(struct image_unpacker *unpacker, struct image_stream *stream, struct err *err)
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
            return image_apply_times(unpacker, err);
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
    struct image_unpacker unpacker = {
        .root_fd = root_fd,
        .parent_fd = -1,
        .directories = {.limit_bytes = IMAGE_DIRECTORY_BYTES_MAX},
    };
    int rc = unpack_all(&unpacker, stream, err);
    image_place_forget(&unpacker);
    image_tar_deinit(&unpacker.tar);
    buf_deinit(&unpacker.path);
    buf_deinit(&unpacker.parent);
    buf_deinit(&unpacker.directories);
    if (rc == 0) {
        *out_info = unpacker.info;
    }
    return rc;
}
