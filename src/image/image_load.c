#include "base/alloc.h"
#include "image/image_load_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Loading: find out what the archive holds (image_load_plan.c), unpack the layers that the store
 * lacks into a scratch directory and bring all of it to the disk (image_load_stage.c), and rename
 * it into place under the store's lock.
 */

// A removal at the same time may take a layer that was there when we looked; it is then unpacked
// after all.
#define COMMIT_ATTEMPTS 3

/* ---- making it visible */

static bool all_layers_there(const struct load *load)
{
    for (size_t i = 0; i < load->image_count; i++) {
        const struct text_list *diff_ids = &load->images[i].diff_ids;
        for (size_t k = 0; k < diff_ids->count; k++) {
            struct text hex = image_digest_hex(diff_ids->items[k]);
            if (!image_load_has_layer(load->store->layers_fd, hex) &&
                !image_load_has_layer(load->scratch.fd, hex)) {
                return false;
            }
        }
    }
    return true;
}

static int sync_directory(const struct load *load, int fd, struct err *err)
{
    if (load->store->sync && fsync(fd) != 0) {
        return err_sys(err, errno, "bringing a directory of the store to the disk");
    }
    return 0;
}

static int publish_layers(struct load *load, const struct load_image *image, struct err *err)
{
    for (size_t i = 0; i < image->diff_ids.count; i++) {
        char hex[IMAGE_HEX_SIZE];
        IGNORE(text_copy(image_digest_hex(image->diff_ids.items[i]), hex, sizeof(hex)),
               "a digest has this size");
        // ENOENT: shared with an image that was there. The others: a load at the same time was
        // faster, and its content is the same by digest.
        if (renameat(load->scratch.fd, hex, load->store->layers_fd, hex) != 0 && errno != ENOENT &&
            errno != EEXIST && errno != ENOTEMPTY) {
            return err_sys(err, errno, "adding layer %s", hex);
        }
    }
    return 0;
}

static int publish_blob(struct load *load, struct text digest, struct err *err)
{
    char from[IMAGE_HEX_SIZE + 8];
    snprintf(from, sizeof(from), "blob-%.*s", TEXT_FMT(image_digest_hex(digest)));
    // ENOENT: two images of the archive share it.
    if (renameat(load->scratch.fd, from, load->store->blobs_fd, from + strlen("blob-")) != 0 &&
        errno != ENOENT) {
        return err_sys(err, errno, "adding blob %.*s", TEXT_FMT(digest));
    }
    return 0;
}

static int publish_names(struct load *load, const struct load_image *image, size_t number,
                         struct err *err)
{
    for (size_t i = 0; i < image->names.count; i++) {
        char from[48];
        snprintf(from, sizeof(from), "name-%zu-%zu", number, i);
        struct text to = image_name_file(image->names.items[i], &load->arena);
        if (renameat(load->scratch.fd, from, load->store->names_fd, to.data) != 0) {
            return err_sys(err, errno, "adding name '%.*s'", TEXT_FMT(image->names.items[i]));
        }
    }
    return 0;
}

static int publish(struct load *load, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < load->image_count; i++) {
        rc = publish_layers(load, &load->images[i], err);
        if (rc == 0) {
            rc = publish_blob(load, load->images[i].config_digest, err);
        }
        if (rc == 0) {
            rc = publish_blob(load, load->images[i].manifest_digest, err);
        }
    }
    if (rc == 0) {
        rc = sync_directory(load, load->store->layers_fd, err);
    }
    if (rc == 0) {
        rc = sync_directory(load, load->store->blobs_fd, err);
    }
    for (size_t i = 0; rc == 0 && i < load->image_count; i++) {
        rc = publish_names(load, &load->images[i], i, err);
    }
    return rc == 0 ? sync_directory(load, load->store->names_fd, err) : rc;
}

static int commit(struct load *load, struct err *err)
{
    for (int i = 0; i < COMMIT_ATTEMPTS; i++) {
        int rc = image_load_stage(load, err);
        if (rc != 0 && rc != ERR_NOT_FOUND) {
            return rc;
        }
        AUTO(fd_close) int lock_fd = -1;
        int lock_rc = image_lock(load->store, true, &lock_fd, err);
        if (lock_rc != 0) {
            return lock_rc;
        }
        if (rc == 0 && all_layers_there(load)) {
            return publish(load, err);
        }
    }
    return err_set(err, ERR_BUSY, "layers are removed as fast as they are added: try again");
}

/* ---- the whole */

static void copy_names(const struct load *load, struct arena *arena, struct text_list *out_names)
{
    size_t count = 0;
    for (size_t i = 0; i < load->image_count; i++) {
        count += load->images[i].names.count;
    }
    struct text_list names = {.items = arena_array(arena, count, sizeof(*names.items))};
    for (size_t i = 0; i < load->image_count; i++) {
        for (size_t k = 0; k < load->images[i].names.count; k++) {
            names.items[names.count++] = arena_text(arena, load->images[i].names.items[k]);
        }
    }
    *out_names = names;
}

static int run(struct load *load, const char *path, const char *rename_to, struct err *err)
{
    int rc = image_scratch_create(load->store, false, &load->scratch, err);
    if (rc != 0) {
        return rc;
    }
    const struct image_source_options options = {
        .path = path,
        .spool_fd = load->scratch.fd,
        .progress = load->progress,
        .progress_context = load->progress_context,
    };
    rc = image_source_new(&options, &load->source, err);
    if (rc == 0) {
        rc = image_load_plan(load, rename_to, err);
    }
    if (rc == 0) {
        rc = image_load_measure(load, err);
    }
    if (rc == 0) {
        rc = commit(load, err);
    }
    if (rc == 0) {
        load->unpack_done = load->unpack_total;
        image_load_progress(load, 0, 0);
    }
    return rc;
}

int image_load(struct image_store *store, const char *path, const char *rename_to,
               image_progress_fn progress, void *context, struct arena *arena,
               struct text_list *out_names, struct err *err)
{
    struct load load = {
        .store = store,
        .scratch = {.fd = -1},
        .progress = progress,
        .progress_context = context,
    };
    int rc = run(&load, path, rename_to, err);
    if (rc == 0) {
        copy_names(&load, arena, out_names);
    }
    image_source_free(load.source);
    image_scratch_destroy(&load.scratch);
    arena_deinit(&load.arena);
    return rc == 0
               ? 0
               : err_wrap(err, "loading '%s'", strcmp(path, "-") == 0 ? "standard input" : path);
}
