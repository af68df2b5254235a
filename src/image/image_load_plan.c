#include "base/alloc.h"
#include "image/image_load_internal.h"

/*
 * What an archive holds: its images for this machine, their names, and the files of their layers.
 */

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
                                             TEXT_FMT(image_digest_hex(manifest.items[i].digest)));
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
    if (text_unhex(stem, bytes, sizeof(bytes)) == 0 &&
        !text_equal(stem, image_digest_hex(digest))) {
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
static int find_images(struct load *load, struct err *err)
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

int image_load_plan(struct load *load, const char *rename_to, struct err *err)
{
    int rc = find_images(load, err);
    if (rc == 0) {
        rc = apply_rename(load, rename_to, err);
    }
    return rc == 0 ? check_names(load, err) : rc;
}
