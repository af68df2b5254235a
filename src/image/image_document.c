#include "base/alloc.h"
#include "image/image_internal.h"

#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

/*
 * The JSON of images. Unknown members are ignored, as the OCI specification wants; members that
 * are there must have the right type. Everything is copied into the arena.
 */

#define NAME_ANNOTATION "io.containerd.image.name"
#define REFERENCE_ANNOTATION "org.opencontainers.image.ref.name"

static json_t *parse(struct text text, const char *what, struct err *err)
{
    json_error_t error;
    json_t *json = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        IGNORE(err_set(err, ERR_INVALID, "%s is not valid JSON: line %d: %s", what, error.line,
                       error.text),
               "the caller sees NULL");
    }
    return json;
}

static bool absent(const json_t *json)
{
    return json == NULL || json_is_null(json);
}

static struct text copy_string(const json_t *json, struct arena *arena)
{
    return arena_text(arena, (struct text){json_string_value(json), json_string_length(json)});
}

// A member that is a string, or is not there.
static int get_string(const json_t *object, const char *name, struct arena *arena, struct text *out,
                      struct err *err)
{
    const json_t *member = json_object_get(object, name);
    if (absent(member)) {
        *out = (struct text){0};
        return 0;
    }
    if (!json_is_string(member)) {
        return err_set(err, ERR_INVALID, "'%s' is not a string", name);
    }
    *out = copy_string(member, arena);
    return 0;
}

static int get_strings(const json_t *object, const char *name, struct arena *arena,
                       struct text_list *out, struct err *err)
{
    const json_t *member = json_object_get(object, name);
    *out = (struct text_list){0};
    if (absent(member)) {
        return 0;
    }
    if (!json_is_array(member) || json_array_size(member) > IMAGE_STRINGS_MAX) {
        return err_set(err, ERR_INVALID, "'%s' is not a list, or too long", name);
    }
    size_t count = json_array_size(member);
    out->items = count == 0 ? SHAPE_EMPTY : arena_array(arena, count, sizeof(*out->items));
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(member, i);
        if (!json_is_string(item)) {
            return err_set(err, ERR_INVALID, "'%s' has something that is not a string", name);
        }
        out->items[out->count++] = copy_string(item, arena);
    }
    return 0;
}

static int get_digest(const json_t *object, const char *name, struct arena *arena, struct text *out,
                      struct err *err)
{
    int rc = get_string(object, name, arena, out, err);
    if (rc != 0) {
        return rc;
    }
    if (!image_is_digest(*out)) {
        return err_set(err, ERR_INVALID, "'%s' is not a sha256 digest: '%.*s'", name,
                       (int)MIN(out->size, (size_t)80), out->data == NULL ? "" : out->data);
    }
    return 0;
}

/* ---- indexes and manifests */

// A name in the annotations. Tools that put only a tag there leave the name to whoever loads.
static int get_name(const json_t *descriptor, struct arena *arena, struct image_descriptor *out,
                    struct err *err)
{
    const json_t *annotations = json_object_get(descriptor, "annotations");
    if (absent(annotations)) {
        return 0;
    }
    int rc = get_string(annotations, NAME_ANNOTATION, arena, &out->name, err);
    if (rc != 0 || !text_empty(out->name)) {
        return rc;
    }
    struct text name;
    rc = get_string(annotations, REFERENCE_ANNOTATION, arena, &name, err);
    if (rc != 0 || text_empty(name)) {
        return rc;
    }
    if (text_find(name, ':') == SIZE_MAX && text_find(name, '/') == SIZE_MAX) {
        out->has_bare_tag = true;
        return 0;
    }
    out->name = name;
    return 0;
}

static int get_platform(const json_t *descriptor, struct arena *arena, struct image_descriptor *out,
                        struct err *err)
{
    const json_t *platform = json_object_get(descriptor, "platform");
    if (absent(platform)) {
        return 0;
    }
    int rc = get_string(platform, "architecture", arena, &out->architecture, err);
    if (rc == 0) {
        rc = get_string(platform, "os", arena, &out->os, err);
    }
    return rc == 0 ? get_string(platform, "variant", arena, &out->variant, err) : rc;
}

static int get_descriptor(const json_t *json, struct arena *arena, struct image_descriptor *out,
                          struct err *err)
{
    if (!json_is_object(json)) {
        return err_set(err, ERR_INVALID, "a descriptor is not an object");
    }
    int rc = get_digest(json, "digest", arena, &out->digest, err);
    if (rc == 0) {
        rc = get_string(json, "mediaType", arena, &out->media_type, err);
    }
    if (rc == 0) {
        rc = get_platform(json, arena, out, err);
    }
    return rc == 0 ? get_name(json, arena, out, err) : rc;
}

static int get_descriptors(const json_t *list, size_t count_max, struct arena *arena,
                           struct image_document *out, struct err *err)
{
    if (!json_is_array(list) || json_array_size(list) > count_max) {
        return err_set(err, ERR_INVALID, "more than %zu descriptors, or no list of them",
                       count_max);
    }
    out->count = json_array_size(list);
    out->items = arena_array(arena, out->count, sizeof(*out->items));
    for (size_t i = 0; i < out->count; i++) {
        int rc = get_descriptor(json_array_get(list, i), arena, &out->items[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int image_document_parse(struct text text, struct arena *arena, struct image_document *out,
                         struct err *err)
{
    json_auto_t *json = parse(text, "the manifest", err);
    if (json == NULL) {
        return err->code;
    }
    const json_t *manifests = json_object_get(json, "manifests");
    const json_t *layers = json_object_get(json, "layers");
    const json_t *config = json_object_get(json, "config");
    struct image_document document = {.is_index = !absent(manifests)};

    // A document that can be read both ways would be verified as one and run as the other.
    if (document.is_index && (!absent(layers) || !absent(config))) {
        return err_set(err, ERR_INVALID, "a manifest that is an index, too");
    }
    if (!document.is_index && (absent(layers) || absent(config))) {
        return err_set(err, ERR_INVALID,
                       "neither an index nor a manifest that names a config and layers");
    }
    int rc = document.is_index ? get_descriptors(manifests, IMAGE_IMAGES_MAX, arena, &document, err)
                               : get_descriptors(layers, IMAGE_LAYERS_MAX, arena, &document, err);
    if (rc == 0 && !document.is_index) {
        rc = get_descriptor(config, arena, &document.config, err);
    }
    if (rc != 0) {
        return err_wrap(err, document.is_index ? "reading an index" : "reading a manifest");
    }
    *out = document;
    return 0;
}

/* ---- configurations */

static int get_volumes(const json_t *settings, struct arena *arena, struct text_list *out,
                       struct err *err)
{
    json_t *volumes = json_object_get(settings, "Volumes");
    if (absent(volumes)) {
        return 0;
    }
    if (!json_is_object(volumes) || json_object_size(volumes) > IMAGE_STRINGS_MAX) {
        return err_set(err, ERR_INVALID, "'Volumes' is not an object, or too large");
    }
    out->items = arena_array(arena, json_object_size(volumes), sizeof(*out->items));
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(volumes, key, value)
    {
        out->items[out->count++] = arena_text(arena, text_of(key));
    }
    return 0;
}

static int get_settings(const json_t *settings, struct arena *arena, struct image *image,
                        struct err *err)
{
    if (absent(settings)) {
        return 0;
    }
    int rc = get_strings(settings, "Env", arena, &image->environment, err);
    if (rc == 0) {
        rc = get_strings(settings, "Entrypoint", arena, &image->entry_point, err);
    }
    if (rc == 0) {
        rc = get_strings(settings, "Cmd", arena, &image->command, err);
    }
    if (rc == 0) {
        rc = get_string(settings, "User", arena, &image->user, err);
    }
    if (rc == 0) {
        rc = get_string(settings, "WorkingDir", arena, &image->working_directory, err);
    }
    if (rc == 0) {
        rc = get_string(settings, "StopSignal", arena, &image->stop_signal, err);
    }
    return rc == 0 ? get_volumes(settings, arena, &image->volumes, err) : rc;
}

static int get_diff_ids(const json_t *config, struct arena *arena, struct text_list *out,
                        struct err *err)
{
    const json_t *rootfs = json_object_get(config, "rootfs");
    int rc = get_strings(rootfs, "diff_ids", arena, out, err);
    if (rc != 0) {
        return rc;
    }
    if (out->count > IMAGE_LAYERS_MAX) {
        return err_set(err, ERR_INVALID, "more than %d layers", IMAGE_LAYERS_MAX);
    }
    for (size_t i = 0; i < out->count; i++) {
        if (!image_is_digest(out->items[i])) {
            return err_set(err, ERR_INVALID, "a diff id is not a sha256 digest");
        }
    }
    return 0;
}

int image_config_parse(struct text text, struct arena *arena, struct image_config *out,
                       struct err *err)
{
    json_auto_t *json = parse(text, "the image's configuration", err);
    if (json == NULL) {
        return err->code;
    }
    struct image_config config = {0};
    int rc = json_is_object(json) ? 0 : err_set(err, ERR_INVALID, "not an object");
    if (rc == 0) {
        rc = get_string(json, "architecture", arena, &config.image.architecture, err);
    }
    if (rc == 0) {
        rc = get_settings(json_object_get(json, "config"), arena, &config.image, err);
    }
    if (rc == 0) {
        rc = get_diff_ids(json, arena, &config.diff_ids, err);
    }
    if (rc != 0) {
        return err_wrap(err, "reading the image's configuration");
    }
    *out = config;
    return 0;
}

/* ---- docker save */

static int get_docker_entry(const json_t *json, struct arena *arena, struct image_docker_entry *out,
                            struct err *err)
{
    int rc = get_string(json, "Config", arena, &out->config, err);
    if (rc == 0) {
        rc = get_strings(json, "Layers", arena, &out->layers, err);
    }
    if (rc == 0) {
        rc = get_strings(json, "RepoTags", arena, &out->tags, err);
    }
    if (rc == 0 && text_empty(out->config)) {
        rc = err_set(err, ERR_INVALID, "an image has no 'Config'");
    }
    if (rc == 0 && out->layers.count > IMAGE_LAYERS_MAX) {
        rc = err_set(err, ERR_INVALID, "more than %d layers", IMAGE_LAYERS_MAX);
    }
    return rc;
}

int image_docker_parse(struct text text, struct arena *arena, struct image_docker_manifest *out,
                       struct err *err)
{
    json_auto_t *json = parse(text, "manifest.json", err);
    if (json == NULL) {
        return err->code;
    }
    if (!json_is_array(json) || json_array_size(json) > IMAGE_IMAGES_MAX) {
        return err_set(err, ERR_INVALID, "manifest.json is not a list of at most %d images",
                       IMAGE_IMAGES_MAX);
    }
    struct image_docker_manifest manifest = {.count = json_array_size(json)};
    manifest.items = arena_array(arena, manifest.count, sizeof(*manifest.items));
    for (size_t i = 0; i < manifest.count; i++) {
        int rc = get_docker_entry(json_array_get(json, i), arena, &manifest.items[i], err);
        if (rc != 0) {
            return err_wrap(err, "reading manifest.json");
        }
    }
    *out = manifest;
    return 0;
}

/* ---- our own files */

static struct text dump(json_t *json, struct arena *arena)
{
    char *bytes = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(json);
    if (bytes == NULL) {
        base_out_of_memory(0);
    }
    struct text text = arena_text(arena, text_of(bytes));
    free(bytes);
    return text;
}

static json_t *string_of(struct text text)
{
    return json_stringn(text.data, text.size);
}

static void set(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) != 0) {
        base_out_of_memory(0);
    }
}

int image_record_parse(struct text text, struct arena *arena, struct image_record *out,
                       struct err *err)
{
    json_auto_t *json = parse(text, "a name of the image store", err);
    struct image_record record = {0};
    if (json == NULL || get_string(json, "name", arena, &record.name, err) != 0 ||
        get_digest(json, "manifest", arena, &record.manifest, err) != 0 ||
        get_string(json, "index", arena, &record.index, err) != 0 || text_empty(record.name)) {
        return err_set(err, ERR_CORRUPT, "a name of the image store is damaged");
    }
    *out = record;
    return 0;
}

struct text image_record_format(const struct image_record *record, struct arena *arena)
{
    json_t *json = json_object();
    set(json, "name", string_of(record->name));
    set(json, "manifest", string_of(record->manifest));
    if (record->index.data != NULL) {
        set(json, "index", string_of(record->index));
    }
    return dump(json, arena);
}

int image_layer_info_parse(struct text text, struct image_layer_info *out, struct err *err)
{
    json_auto_t *json = parse(text, "layer.json", err);
    const json_t *size = json_object_get(json, "size");
    const json_t *tar = json_object_get(json, "tar");
    if (json == NULL || !json_is_integer(size) || !json_is_integer(tar)) {
        return err_set(err, ERR_CORRUPT, "a layer of the image store is damaged");
    }
    *out = (struct image_layer_info){
        .size_bytes = (uint64_t)json_integer_value(size),
        .tar_bytes = (uint64_t)json_integer_value(tar),
        .opaque = json_is_true(json_object_get(json, "opaque")),
    };
    return 0;
}

struct text image_layer_info_format(const struct image_layer_info *info, struct arena *arena)
{
    json_t *json = json_object();
    set(json, "size", json_integer((json_int_t)info->size_bytes));
    set(json, "tar", json_integer((json_int_t)info->tar_bytes));
    set(json, "opaque", json_boolean(info->opaque));
    return dump(json, arena);
}

static json_t *descriptor_of(const char *media_type, struct text digest, uint64_t size_bytes)
{
    json_t *json = json_object();
    set(json, "mediaType", json_stringn(media_type, strlen(media_type)));
    set(json, "digest", string_of(digest));
    set(json, "size", json_integer((json_int_t)size_bytes));
    return json;
}

struct text image_manifest_format(struct text config_digest, size_t config_bytes,
                                  const struct text_list *diff_ids,
                                  const struct image_layer_info *infos, struct arena *arena)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < diff_ids->count; i++) {
        json_t *layer = descriptor_of("application/vnd.oci.image.layer.v1.tar", diff_ids->items[i],
                                      infos[i].tar_bytes);
        if (json_array_append_new(layers, layer) != 0) {
            base_out_of_memory(0);
        }
    }
    json_t *json = json_object();
    set(json, "schemaVersion", json_integer(2));
    set(json, "mediaType", string_of(TEXT("application/vnd.oci.image.manifest.v1+json")));
    set(json, "config",
        descriptor_of("application/vnd.oci.image.config.v1+json", config_digest, config_bytes));
    set(json, "layers", layers);
    return dump(json, arena);
}

/* ---- this machine */

static const struct {
    const char *machine;
    const char *architecture;
    const char *variant;
} machines[] = {
    {"x86_64", "amd64", NULL},    {"aarch64", "arm64", "v8"}, {"armv7l", "arm", "v7"},
    {"armv6l", "arm", "v6"},      {"i686", "386", NULL},      {"riscv64", "riscv64", NULL},
    {"ppc64le", "ppc64le", NULL}, {"s390x", "s390x", NULL},   {"loongarch64", "loong64", NULL},
    {"mips64", "mips64le", NULL},
};

const char *image_architecture(const char **out_variant)
{
    struct utsname name;
    const char *architecture = "unknown";
    const char *variant = NULL;
    if (uname(&name) == 0) {
        for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
            if (strcmp(machines[i].machine, name.machine) == 0) {
                architecture = machines[i].architecture;
                variant = machines[i].variant;
            }
        }
    }
    if (out_variant != NULL) {
        *out_variant = variant;
    }
    return architecture;
}

int image_platform_score(const struct image_descriptor *descriptor)
{
    if (text_empty(descriptor->architecture)) {
        return 1;
    }
    const char *variant = NULL;
    const char *architecture = image_architecture(&variant);
    bool os_fits = text_empty(descriptor->os) || text_is(descriptor->os, "linux");
    bool variant_fits =
        text_empty(descriptor->variant) || variant == NULL || text_is(descriptor->variant, variant);
    return os_fits && variant_fits && text_is(descriptor->architecture, architecture) ? 2 : 0;
}
