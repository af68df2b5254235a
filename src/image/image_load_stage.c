#include "image/image_load_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What the store lacks of an archive's images, made in a scratch directory: layers unpacked and
 * verified, documents, names.
 */

/* ---- layers */

bool image_load_has_layer(int dir_fd, struct text hex)
{
    char path[IMAGE_HEX_SIZE + 16];
    snprintf(path, sizeof(path), "%.*s/layer.json", TEXT_FMT(hex));
    return faccessat(dir_fd, path, F_OK, 0) == 0;
}

void image_load_progress(void *context, uint64_t done, uint64_t unused_total)
{
    struct load *load = context;
    (void)unused_total;
    if (load->progress == NULL) {
        return;
    }
    uint64_t total = image_source_total_bytes(load->source);
    uint64_t unpacked = MIN(load->unpack_done + done, load->unpack_total);
    if (total > 0) {
        double part = load->unpack_total == 0 ? 1.0 : (double)unpacked / (double)load->unpack_total;
        load->progress(load->progress_context, total + (uint64_t)((double)total * part), 2 * total);
    } else {
        uint64_t read_bytes = image_source_read_bytes(load->source);
        load->progress(load->progress_context, read_bytes + unpacked,
                       read_bytes == 0 ? load->unpack_total : 0);
    }
}

static int open_layer_file(struct load *load, const struct load_image *image, size_t i, int *out_fd,
                           struct err *err)
{
    int rc = image_source_open(load->source, image->layer_paths[i], out_fd, err);
    if (rc == ERR_NOT_FOUND) {
        return err_set(err, ERR_INVALID, "the archive lacks a layer: it has no '%.*s'",
                       TEXT_FMT(image->layer_paths[i]));
    }
    return rc;
}

static int verify_layer(struct image_stream *stream, const struct load_image *image, size_t i,
                        struct err *err)
{
    char raw[IMAGE_HEX_SIZE];
    char data[IMAGE_HEX_SIZE];
    int rc = image_stream_finish(stream, raw, data, err);
    if (rc != 0) {
        return rc;
    }
    struct text want_raw = image->layer_digests[i];
    if (want_raw.data != NULL && !text_is(image_digest_hex(want_raw), raw)) {
        return err_set(err, ERR_INVALID, "it is damaged: its content is sha256:%s", raw);
    }
    if (!text_is(image_digest_hex(image->diff_ids.items[i]), data)) {
        return err_set(err, ERR_INVALID,
                       "its content is sha256:%s, not the diff id %.*s of the configuration", data,
                       TEXT_FMT(image->diff_ids.items[i]));
    }
    return 0;
}

// Unpack into a directory that has the shape it will have in the store.
static int unpack_into(struct load *load, const struct load_image *image, size_t i, int layer_fd,
                       struct err *err)
{
    if (mkdirat(layer_fd, "fs", 0755) != 0) {
        return err_sys(err, errno, "making a layer's directory");
    }
    AUTO(fd_close) int root_fd = openat(layer_fd, "fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0 || fchmod(root_fd, 0755) != 0) {
        return err_sys(err, errno, "opening a layer's directory");
    }
    AUTO(fd_close) int fd = -1;
    int rc = open_layer_file(load, image, i, &fd, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(image_stream_deinit)
    struct image_stream stream = {.progress = image_load_progress, .progress_context = load};
    rc = image_stream_init(&stream, fd, true, err);
    struct image_layer_info info;
    if (rc == 0) {
        rc = image_layer_unpack(&stream, root_fd, &info, err);
    }
    if (rc == 0) {
        rc = verify_layer(&stream, image, i, err);
    }
    if (rc != 0) {
        return rc;
    }
    info.tar_bytes = stream.data_bytes;
    load->unpack_done += stream.raw_bytes;
    return file_replace(layer_fd, "layer.json", 0600, image_layer_info_format(&info, &load->arena),
                        err);
}

static int stage_layer(struct load *load, const struct load_image *image, size_t i, struct err *err)
{
    struct text hex = image_digest_hex(image->diff_ids.items[i]);
    if (image_load_has_layer(load->store->layers_fd, hex) ||
        image_load_has_layer(load->scratch.fd, hex)) {
        return 0;
    }
    char name[IMAGE_HEX_SIZE];
    IGNORE(text_copy(hex, name, sizeof(name)), "a digest has this size");
    if (mkdirat(load->scratch.fd, name, 0700) != 0) {
        return err_sys(err, errno, "making a layer's directory");
    }
    AUTO(fd_close)
    int layer_fd = openat(load->scratch.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layer_fd < 0) {
        return err_sys(err, errno, "opening a layer's directory");
    }
    int rc = unpack_into(load, image, i, layer_fd, err);
    return rc == 0 ? 0 : err_wrap(err, "layer %zu, '%.*s'", i + 1, TEXT_FMT(image->layer_paths[i]));
}

int image_load_measure(struct load *load, struct err *err)
{
    for (size_t i = 0; i < load->image_count; i++) {
        const struct load_image *image = &load->images[i];
        for (size_t k = 0; k < image->diff_ids.count; k++) {
            if (image_load_has_layer(load->store->layers_fd,
                                     image_digest_hex(image->diff_ids.items[k]))) {
                continue;
            }
            AUTO(fd_close) int fd = -1;
            int rc = open_layer_file(load, image, k, &fd, err);
            if (rc != 0) {
                return rc;
            }
            struct stat status;
            load->unpack_total += fstat(fd, &status) == 0 ? (uint64_t)status.st_size : 0;
        }
    }
    return 0;
}

/* ---- documents */

static int stage_file(struct load *load, const char *name, struct text content, struct err *err)
{
    AUTO(fd_close)
    int fd = openat(load->scratch.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s' in the store", name);
    }
    return fd_write_all(fd, content.data, content.size, err);
}

static int stage_blob(struct load *load, struct text digest, struct text content, struct err *err)
{
    char name[IMAGE_HEX_SIZE + 8];
    snprintf(name, sizeof(name), "blob-%.*s", TEXT_FMT(image_digest_hex(digest)));
    return stage_file(load, name, content, err);
}

static int read_layer_info(struct load *load, struct text diff_id,
                           struct image_layer_info *out_info, struct err *err)
{
    char path[IMAGE_HEX_SIZE + 16];
    snprintf(path, sizeof(path), "%.*s/layer.json", TEXT_FMT(image_digest_hex(diff_id)));
    AUTO(buf_deinit) struct buf json = {0};
    int rc = file_read(load->scratch.fd, path, IMAGE_JSON_MAX, &json, err);
    if (rc == ERR_NOT_FOUND) {
        return image_layer_info_read(load->store, diff_id, out_info, err);
    }
    return rc == 0 ? image_layer_info_parse(buf_view(&json), out_info, err) : rc;
}

// An image of docker save has no manifest; make the one that describes it.
static int make_manifest(struct load *load, struct load_image *image, struct err *err)
{
    struct image_layer_info *infos =
        arena_array(&load->arena, image->diff_ids.count, sizeof(*infos));
    for (size_t i = 0; i < image->diff_ids.count; i++) {
        int rc = read_layer_info(load, image->diff_ids.items[i], &infos[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    image->manifest_json = image_manifest_format(image->config_digest, image->config_json.size,
                                                 &image->diff_ids, infos, &load->arena);
    char hex[IMAGE_HEX_SIZE];
    image_hash(image->manifest_json, hex);
    image->manifest_digest = arena_format(&load->arena, "sha256:%s", hex);
    return 0;
}

static int stage_documents(struct load *load, struct load_image *image, size_t number,
                           struct err *err)
{
    int rc = image->manifest_digest.data == NULL ? make_manifest(load, image, err) : 0;
    if (rc == 0) {
        rc = stage_blob(load, image->config_digest, image->config_json, err);
    }
    if (rc == 0) {
        rc = stage_blob(load, image->manifest_digest, image->manifest_json, err);
    }
    for (size_t i = 0; rc == 0 && i < image->names.count; i++) {
        const struct image_record record = {.name = image->names.items[i],
                                            .manifest = image->manifest_digest,
                                            .index = image->index_digest};
        char name[48];
        snprintf(name, sizeof(name), "name-%zu-%zu", number, i);
        rc = stage_file(load, name, image_record_format(&record, &load->arena), err);
    }
    return rc;
}

int image_load_stage(struct load *load, struct err *err)
{
    for (size_t i = 0; i < load->image_count; i++) {
        for (size_t k = 0; k < load->images[i].diff_ids.count; k++) {
            int rc = stage_layer(load, &load->images[i], k, err);
            if (rc != 0) {
                return rc;
            }
        }
        int rc = stage_documents(load, &load->images[i], i, err);
        if (rc != 0) {
            return rc;
        }
    }
    // One flush of the file system instead of one per file, of which a layer may have 100,000.
    if (load->store->sync && syncfs(load->scratch.fd) != 0) {
        return err_sys(err, errno, "bringing the image to the disk");
    }
    return 0;
}
