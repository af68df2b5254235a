#include "fuzz.h"
#include "image/image_internal.h"

#include <string.h>

/*
 * The JSON of images, and references: parsed ones hold only checked digests, and a normal reference
 * stays as it is and becomes one harmless file name.
 */

static void check_descriptor(const struct image_descriptor *descriptor)
{
    ASSERT(image_is_digest(descriptor->digest));
    int score = image_platform_score(descriptor);
    ASSERT(score >= 0);
    ASSERT(score <= 2);
}

static void try_documents(struct text text, struct arena *arena)
{
    struct err err = {0};
    struct image_document document;
    struct image_config config;
    struct image_docker_manifest docker;
    struct image_record record;
    struct image_layer_info info;
    if (image_document_parse(text, arena, &document, &err) == 0) {
        for (size_t i = 0; i < document.count; i++) {
            check_descriptor(&document.items[i]);
        }
        ASSERT(document.is_index || image_is_digest(document.config.digest));
    }
    if (image_config_parse(text, arena, &config, &err) == 0) {
        ASSERT(config.diff_ids.count <= IMAGE_LAYERS_MAX);
        for (size_t i = 0; i < config.diff_ids.count; i++) {
            ASSERT(image_is_digest(config.diff_ids.items[i]));
        }
    }
    if (image_docker_parse(text, arena, &docker, &err) == 0) {
        for (size_t i = 0; i < docker.count; i++) {
            ASSERT(docker.items[i].config.size > 0);
        }
    }
    if (image_record_parse(text, arena, &record, &err) == 0) {
        struct image_record again;
        int rc = image_record_parse(image_record_format(&record, arena), arena, &again, &err);
        ASSERT(rc == 0);
        ASSERT(text_equal(record.name, again.name));
        ASSERT(text_equal(record.manifest, again.manifest));
    }
    IGNORE(image_layer_info_parse(text, &info, &err), "any number is fine");
}

static void try_reference(struct text text, struct arena *arena)
{
    struct text name;
    struct text again;
    if (image_normalise(text, arena, &name) != 0) {
        return;
    }
    int rc = image_normalise(name, arena, &again);
    ASSERT(rc == 0);
    ASSERT(text_equal(name, again));
    struct text file = image_name_file(name, arena);
    ASSERT(file.size > 0);
    ASSERT(file.size < 255);
    ASSERT(file.data[0] != '.');
    ASSERT(memchr(file.data, '/', file.size) == NULL);
}

static void try_path(struct text text, struct arena *arena)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf clean = {0};
    if (image_path_clean(arena_text(arena, text).data, &clean, &err) != 0) {
        return;
    }
    for (struct text rest = buf_view(&clean); rest.data != NULL;) {
        struct text part = text_cut(&rest, '/');
        ASSERT(!text_is(part, ".."));
        ASSERT(!text_is(part, "."));
    }
    ASSERT(clean.size == 0 || clean.data[0] != '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text text = {(const char *)data, size};
    try_documents(text, &arena);
    try_reference(text, &arena);
    try_path(text, &arena);
    return 0;
}
