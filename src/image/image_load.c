#include "base/alloc.h"
#include "image/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Loading: find out what the archive holds, unpack the layers that the store lacks into a scratch
 * directory, bring all of it to the disk, and rename it into place under the store's lock.
 */

// A removal at the same time may take a layer that was there when we looked; it is then unpacked
// after all.
#define COMMIT_ATTEMPTS 3

/** One image on its way into the store. */
struct load_image {
    struct text_list names;      ///< normalised; empty when the archive tells none
    struct text index_digest;    ///< of the index it was chosen from; absent when none
    struct text manifest_digest; ///< absent until made, for docker save
    struct text manifest_json;
    struct text config_digest;
    struct text config_json;
    struct text_list diff_ids;
    struct text *layer_paths;   ///< in the archive
    struct text *layer_digests; ///< of those files; absent where the archive tells none
};

struct load {
    struct image_store *store;
    struct arena arena;
    struct image_scratch scratch;
    struct image_source *source;
    struct load_image *images;
    size_t image_count;
    bool bare_tag; ///< a descriptor had a tag where a name belongs
    image_progress_fn progress;
    void *progress_context;
    uint64_t unpack_total; ///< bytes of the layers to unpack
    uint64_t unpack_done;
};

/* ---- what the archive holds */

static struct text hex_of(struct text digest)
{
    ASSERT(image_is_digest(digest));
    return text_slice(digest, 7, digest.size);
}

static int add_name(struct load *load, struct load_image *image, struct text name, struct err *err)
{
    struct text normal;
    if (image_normalise(name, &load->arena, &normal) != 0) {
        return err_set(err, ERR_INVALID, "the archive names an image '%.*s', which is no reference",
                       (int)MIN(name.size, (size_t)100), name.data);
    }
    struct text *items =
        arena_array(&load->arena, image->names.count + 1, sizeof(*image->names.items));
    for (size_t i = 0; i < image->names.count; i++) {
        items[i] = image->names.items[i];
    }
    items[image->names.count++] = normal;
    image->names.items = items;
    return 0;
}

static int take_config(struct load *load, struct load_image *image, struct buf *json,
                       size_t layer_count, struct err *err)
{
    struct image_config config;
    int rc = image_config_parse(buf_view(json), &load->arena, &config, err);
    if (rc != 0) {
        return rc;
    }
    if (config.diff_ids.count != layer_count) {
        return err_set(err, ERR_INVALID, "the manifest has %zu layers, the configuration %zu",
                       layer_count, config.diff_ids.count);
    }
    image->config_json = arena_text(&load->arena, buf_view(json));
    image->diff_ids = config.diff_ids;
    image->layer_paths = arena_array(&load->arena, layer_count, sizeof(*image->layer_paths));
    image->layer_digests = arena_array(&load->arena, layer_count, sizeof(*image->layer_digests));
    return 0;
}

static const struct image_descriptor *choose(const struct image_document *index)
{
    const struct image_descriptor *best = NULL;
    int best_score = 0;
    for (size_t i = 0; i < index->count; i++) {
        int score = image_platform_score(&index->items[i]);
        if (score > best_score) {
            best = &index->items[i];
            best_score = score;
        }
    }
    return best;
}

// Follow a descriptor through indexes to a manifest for this machine.
static int find_manifest(struct load *load, const struct image_descriptor *from,
                         struct load_image *image, struct image_document *out_manifest,
                         struct err *err)
{
    const struct image_descriptor *at = from;
    for (int depth = 0; depth < IMAGE_INDEX_DEPTH_MAX; depth++) {
        AUTO(buf_deinit) struct buf json = {0};
        int rc = image_source_read_blob(load->source, at->digest, &json, err);
        if (rc == 0) {
            rc = image_document_parse(buf_view(&json), &load->arena, out_manifest, err);
        }
        if (rc != 0) {
            return rc;
        }
        if (!out_manifest->is_index) {
            image->manifest_digest = at->digest;
            image->manifest_json = arena_text(&load->arena, buf_view(&json));
            return 0;
        }
        if (image->index_digest.data == NULL) {
            image->index_digest = at->digest;
        }
        at = choose(out_manifest);
        if (at == NULL) {
            return err_set(err, ERR_UNSUPPORTED,
                           "the index %.*s has no image for this machine (linux/%s)",
                           TEXT_FMT(from->digest), image_architecture(NULL));
        }
    }
    return err_set(err, ERR_INVALID, "indexes are nested deeper than %d", IMAGE_INDEX_DEPTH_MAX);
}

static int plan_descriptor(struct load *load, const struct image_descriptor *descriptor,
                           struct load_image *image, struct err *err)
{
    struct image_document manifest;
    int rc = find_manifest(load, descriptor, image, &manifest, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(buf_deinit) struct buf json = {0};
    rc = image_source_read_blob(load->source, manifest.config.digest, &json, err);
    if (rc == 0) {
        rc = take_config(load, image, &json, manifest.count, err);
    }
    if (rc != 0) {
        return err_wrap(err, "image %.*s", TEXT_FMT(image->manifest_digest));
    }
    image->config_digest = manifest.config.digest;
    for (size_t i = 0; i < manifest.count; i++) {
        image->layer_digests[i] = manifest.items[i].digest;
        image->layer_paths[i] = arena_format(&load->arena, "blobs/sha256/%.*s",
                                             TEXT_FMT(hex_of(manifest.items[i].digest)));
    }
    return descriptor->name.data == NULL ? 0 : add_name(load, image, descriptor->name, err);
}

// Of the descriptors with the same name, the first that fits this machine best.
static bool is_chosen(const struct image_document *index, size_t at)
{
    const struct image_descriptor *mine = &index->items[at];
    int score = image_platform_score(mine);
    for (size_t i = 0; i < index->count; i++) {
        if (i == at || !text_equal(index->items[i].name, mine->name)) {
            continue;
        }
        int other = image_platform_score(&index->items[i]);
        if (other > score || (other == score && i < at)) {
            return false;
        }
    }
    return true;
}

static int plan_layout(struct load *load, struct text json, struct err *err)
{
    struct image_document index;
    int rc = image_document_parse(json, &load->arena, &index, err);
    if (rc != 0) {
        return err_wrap(err, "index.json");
    }
    if (!index.is_index) {
        return err_set(err, ERR_INVALID, "index.json is not an index");
    }
    bool any_named = false;
    for (size_t i = 0; i < index.count; i++) {
        any_named = any_named || index.items[i].name.data != NULL;
        load->bare_tag = load->bare_tag || index.items[i].has_bare_tag;
    }
    load->images = arena_array(&load->arena, index.count, sizeof(*load->images));
    for (size_t i = 0; i < index.count; i++) {
        bool named = index.items[i].name.data != NULL;
        if (named != any_named || !is_chosen(&index, i)) {
            continue; // what has no name beside what has one is not for people to run
        }
        rc = plan_descriptor(load, &index.items[i], &load->images[load->image_count++], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

// docker save calls a configuration by its digest: HEX.json, or blobs/sha256/HEX.
static int check_config_name(struct text path, struct text digest, struct err *err)
{
    size_t slash = text_find_last(path, '/');
    struct text base = slash == SIZE_MAX ? path : text_slice(path, slash + 1, path.size);
    struct text stem = text_slice(base, 0, 64);
    uint8_t bytes[IMAGE_DIGEST_BYTES];
    if (text_unhex(stem, bytes, sizeof(bytes)) == 0 && !text_equal(stem, hex_of(digest))) {
        return err_set(err, ERR_INVALID, "the configuration '%.*s' is damaged: its content is %.*s",
                       TEXT_FMT(path), TEXT_FMT(digest));
    }
    return 0;
}

static int plan_docker_entry(struct load *load, const struct image_docker_entry *entry,
                             struct load_image *image, struct err *err)
{
    const struct text blob_prefix = TEXT("blobs/sha256/");
    AUTO(buf_deinit) struct buf json = {0};
    int rc = image_source_read(load->source, entry->config, &json, err);
    if (rc == ERR_NOT_FOUND) {
        return err_set(err, ERR_INVALID, "the archive has no '%.*s'", TEXT_FMT(entry->config));
    }
    if (rc != 0) {
        return rc;
    }
    char hex[IMAGE_HEX_SIZE];
    image_hash(buf_view(&json), hex);
    image->config_digest = arena_format(&load->arena, "sha256:%s", hex);
    rc = check_config_name(entry->config, image->config_digest, err);
    if (rc == 0) {
        rc = take_config(load, image, &json, entry->layers.count, err);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < entry->layers.count; i++) {
        struct text path = entry->layers.items[i];
        image->layer_paths[i] = path;
        if (text_starts(path, blob_prefix) && path.size == blob_prefix.size + 64) {
            image->layer_digests[i] =
                arena_format(&load->arena, "sha256:%.*s",
                             TEXT_FMT(text_slice(path, blob_prefix.size, path.size)));
        }
    }
    for (size_t i = 0; i < entry->tags.count; i++) {
        rc = add_name(load, image, entry->tags.items[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int plan_docker(struct load *load, struct text json, struct err *err)
{
    struct image_docker_manifest manifest;
    int rc = image_docker_parse(json, &load->arena, &manifest, err);
    if (rc != 0) {
        return rc;
    }
    load->image_count = 0;
    load->images = arena_array(&load->arena, manifest.count, sizeof(*load->images));
    for (size_t i = 0; i < manifest.count; i++) {
        rc = plan_docker_entry(load, &manifest.items[i], &load->images[load->image_count++], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static bool any_name(const struct load *load)
{
    for (size_t i = 0; i < load->image_count; i++) {
        if (load->images[i].names.count > 0) {
            return true;
        }
    }
    return false;
}

// Newer versions of docker save write both forms. The layout has the true manifests; the other
// may have names that the layout lacks.
static int plan(struct load *load, struct err *err)
{
    AUTO(buf_deinit) struct buf index = {0};
    int rc = image_source_read(load->source, TEXT("index.json"), &index, err);
    bool has_layout = rc == 0;
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        return rc;
    }
    AUTO(buf_deinit) struct buf docker = {0};
    rc = image_source_read(load->source, TEXT("manifest.json"), &docker, err);
    bool has_docker = rc == 0;
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        return rc;
    }
    if (!has_layout && !has_docker) {
        return err_set(err, ERR_INVALID,
                       "neither an OCI image layout (index.json) nor what docker save writes "
                       "(manifest.json)");
    }
    rc = has_layout ? plan_layout(load, buf_view(&index), err) : 0;
    if (rc == 0 && has_docker && !any_name(load)) {
        rc = plan_docker(load, buf_view(&docker), err);
    }
    if (rc == 0 && load->image_count == 0) {
        rc = err_set(err, ERR_INVALID, "there is no image in it");
    }
    return rc;
}

static int apply_rename(struct load *load, const char *rename_to, struct err *err)
{
    if (rename_to == NULL) {
        return 0;
    }
    for (size_t i = 1; i < load->image_count; i++) {
        if (!text_equal(load->images[i].config_digest, load->images[0].config_digest)) {
            return err_set(err, ERR_INVALID,
                           "there are several images in it; only one can be given a name");
        }
    }
    load->image_count = 1;
    load->images[0].names = (struct text_list){0};
    struct text name;
    if (image_normalise(text_of(rename_to), &load->arena, &name) != 0) {
        return err_set(err, ERR_INVALID, "'%s' is not a valid image name", rename_to);
    }
    return add_name(load, &load->images[0], name, err);
}

static int check_names(const struct load *load, struct err *err)
{
    if (any_name(load)) {
        return 0;
    }
    return err_set(err, ERR_INVALID, "the image has no name%s: give it one",
                   load->bare_tag ? ", only a tag" : "");
}

/* ---- layers */

static bool has_layer(int dir_fd, struct text hex)
{
    char path[IMAGE_HEX_SIZE + 16];
    snprintf(path, sizeof(path), "%.*s/layer.json", TEXT_FMT(hex));
    return faccessat(dir_fd, path, F_OK, 0) == 0;
}

static void tell_progress(void *context, uint64_t done, uint64_t unused_total)
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
    if (want_raw.data != NULL && !text_is(hex_of(want_raw), raw)) {
        return err_set(err, ERR_INVALID, "it is damaged: its content is sha256:%s", raw);
    }
    if (!text_is(hex_of(image->diff_ids.items[i]), data)) {
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
    struct image_stream stream = {.progress = tell_progress, .progress_context = load};
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
    struct text hex = hex_of(image->diff_ids.items[i]);
    if (has_layer(load->store->layers_fd, hex) || has_layer(load->scratch.fd, hex)) {
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

// For the progress only: how much there is to unpack.
static int measure(struct load *load, struct err *err)
{
    for (size_t i = 0; i < load->image_count; i++) {
        const struct load_image *image = &load->images[i];
        for (size_t k = 0; k < image->diff_ids.count; k++) {
            if (has_layer(load->store->layers_fd, hex_of(image->diff_ids.items[k]))) {
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
    snprintf(name, sizeof(name), "blob-%.*s", TEXT_FMT(hex_of(digest)));
    return stage_file(load, name, content, err);
}

static int read_layer_info(struct load *load, struct text diff_id,
                           struct image_layer_info *out_info, struct err *err)
{
    char path[IMAGE_HEX_SIZE + 16];
    snprintf(path, sizeof(path), "%.*s/layer.json", TEXT_FMT(hex_of(diff_id)));
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

static int stage(struct load *load, struct err *err)
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

/* ---- making it visible */

static bool all_layers_there(const struct load *load)
{
    for (size_t i = 0; i < load->image_count; i++) {
        const struct text_list *diff_ids = &load->images[i].diff_ids;
        for (size_t k = 0; k < diff_ids->count; k++) {
            struct text hex = hex_of(diff_ids->items[k]);
            if (!has_layer(load->store->layers_fd, hex) && !has_layer(load->scratch.fd, hex)) {
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
        IGNORE(text_copy(hex_of(image->diff_ids.items[i]), hex, sizeof(hex)),
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
    snprintf(from, sizeof(from), "blob-%.*s", TEXT_FMT(hex_of(digest)));
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
        int rc = stage(load, err);
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
        rc = plan(load, err);
    }
    if (rc == 0) {
        rc = apply_rename(load, rename_to, err);
    }
    if (rc == 0) {
        rc = check_names(load, err);
    }
    if (rc == 0) {
        rc = measure(load, err);
    }
    if (rc == 0) {
        rc = commit(load, err);
    }
    if (rc == 0) {
        load->unpack_done = load->unpack_total;
        tell_progress(load, 0, 0);
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
