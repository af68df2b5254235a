#include "base/alloc.h"
#include "base/file.h"
#include "image/image_layer_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/*
 * Where an entry of a layer goes. Every path is taken apart first, and the kernel resolves
 * directories with the layer as their root: neither `..` nor a link, whether made by this layer or
 * absolute, can name anything outside.
 */

#define OPAQUE_XATTR "trusted.overlay.opaque"

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

int image_layer_open(int root_fd, const char *path, uint64_t extra_resolve)
{
    return file_open_inside(root_fd, *path == '\0' ? "." : path, O_RDONLY | O_DIRECTORY,
                            RESOLVE_IN_ROOT | extra_resolve);
}

void image_place_forget(struct image_unpacker *unpacker)
{
    fd_close(unpacker->parent_fd);
    unpacker->parent_fd = -1;
}

bool image_is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

int image_set_opaque(struct image_unpacker *unpacker, int fd, bool is_root, struct err *err)
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
static int make_step(struct image_unpacker *unpacker, int at_fd, const char *name, int *out_fd,
                     struct err *err)
{
    bool opaque = false;
    struct stat status;
    if (fstatat(at_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && image_is_whiteout(&status)) {
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
    int rc = opaque ? image_set_opaque(unpacker, fd, false, err) : 0;
    if (rc != 0) {
        fd_close(fd);
        return rc;
    }
    *out_fd = fd;
    return 0;
}

// Archives may leave parents out. Walk down from the root, making what is missing.
static int make_parents(struct image_unpacker *unpacker, const char *path, int *out_fd,
                        struct err *err)
{
    AUTO(alloc_string) char *prefix = alloc_string(path);
    AUTO(fd_close) int at_fd = image_layer_open(unpacker->root_fd, "", 0);
    if (at_fd < 0) {
        return err_sys(err, errno, "opening the layer");
    }
    for (char *start = prefix, *end = prefix; end != NULL; start = end + 1) {
        end = strchr(start, '/');
        if (end != NULL) {
            *end = '\0';
        }
        int next = image_layer_open(unpacker->root_fd, prefix, 0);
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

static int open_parent(struct image_unpacker *unpacker, struct text parent, struct err *err)
{
    if (unpacker->parent_fd >= 0 && text_equal(parent, buf_view(&unpacker->parent))) {
        return 0;
    }
    image_place_forget(unpacker);
    buf_reset(&unpacker->parent);
    buf_text(&unpacker->parent, parent);
    int fd = image_layer_open(unpacker->root_fd, unpacker->parent.data, 0);
    if (fd < 0) {
        int rc = make_parents(unpacker, unpacker->parent.data, &fd, err);
        if (rc != 0) {
            return rc;
        }
    }
    unpacker->parent_fd = fd;
    return 0;
}

int image_place_find(struct image_unpacker *unpacker, const char *path,
                     struct image_place *out_place, struct err *err)
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
    *out_place = (struct image_place){
        .parent_fd = unpacker->parent_fd,
        .base = whole.size == 0 ? NULL : whole.data + base,
        .path = whole.size == 0 ? "/" : whole.data,
    };
    return 0;
}

int image_place_clear(const struct image_place *place, struct err *err)
{
    if (unlinkat(place->parent_fd, place->base, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return err_sys(err, errno, "replacing '%s'", place->path);
    }
    return file_remove_tree(place->parent_fd, place->base, err);
}
