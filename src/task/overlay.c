#include "task/overlay.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#define PATH_BYTES 4096

// Open directories: the layers, upper and work.
struct overlay_fds {
    int fds[OVERLAY_LAYERS_MAX + 2];
    size_t count;
};

static void overlay_fds_deinit(struct overlay_fds *open)
{
    for (size_t i = 0; i < open->count; i++) {
        fd_close(open->fds[i]);
    }
}

AUTO_VALUE(struct overlay_fds, overlay_fds_deinit)

// The kernel takes one page of options. Descriptors name many layers in little room, and need no
// escapes for the characters that separate options.
static int add(struct overlay_fds *open_fds, const char *option, struct text path,
               struct buf *options, struct err *err)
{
    char name[PATH_BYTES];
    if (text_copy(path, name, sizeof(name)) != 0) {
        return err_set(err, ERR_INVALID, "the path of a layer is too long");
    }
    int fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening layer '%s'", name);
    }
    open_fds->fds[open_fds->count++] = fd;
    buf_format(options, "%s/proc/self/fd/%d", option, fd);
    return 0;
}

// What mount tables show in the place of a device. Options there tell descriptors, which mean
// nothing to others, so this tells the uppermost layer: its directory is in one named by its
// digest.
static void name_source(const struct overlay *overlay, struct buf *source)
{
    struct text top = overlay->layers.items[overlay->layers.count - 1];
    size_t end = text_find_last(top, '/');
    struct text parent = end == SIZE_MAX ? TEXT("") : text_slice(top, 0, end);
    size_t start = text_find_last(parent, '/');
    buf_format(source, "overlay-%.*s",
               TEXT_FMT(text_slice(parent, start == SIZE_MAX ? 0 : start + 1, parent.size)));
}

int overlay_mount(const struct overlay *overlay, const char *target, struct err *err)
{
    ASSERT(overlay->layers.count > 0);
    if (overlay->layers.count > OVERLAY_LAYERS_MAX) {
        return err_set(err, ERR_UNSUPPORTED, "the image has %zu layers; the limit is %d",
                       overlay->layers.count, OVERLAY_LAYERS_MAX);
    }
    AUTO(overlay_fds_deinit) struct overlay_fds open_fds = {.count = 0};
    AUTO(buf_deinit) struct buf options = {0};
    int rc = 0;
    for (size_t i = overlay->layers.count; rc == 0 && i > 0; i--) {
        const char *option = i == overlay->layers.count ? "lowerdir=" : ":";
        rc = add(&open_fds, option, overlay->layers.items[i - 1], &options, err);
    }
    if (rc == 0) {
        rc = add(&open_fds, ",upperdir=", overlay->upper, &options, err);
    }
    if (rc == 0) {
        rc = add(&open_fds, ",workdir=", overlay->work, &options, err);
    }
    if (rc != 0) {
        return rc;
    }
    AUTO(buf_deinit) struct buf source = {0};
    name_source(overlay, &source);
    if (mount(source.data, target, "overlay", 0, options.data) != 0) {
        return err_sys(err, errno, "mounting %zu layers on '%s'", overlay->layers.count, target);
    }
    return 0;
}
