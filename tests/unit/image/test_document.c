#include "image/image_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "\"digest\":\"sha256:" HEX64 "\""

// A document is an index or a manifest, and never both: who verifies and who runs it must agree.
static void image_document_parse_tells_kinds_apart(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *json;
        int want_rc;
        bool want_index;
        size_t want_count;
    } cases[] = {
        {"an index", "{\"manifests\":[{" DIGEST "}]}", 0, true, 1},
        {"an empty index", "{\"manifests\":[]}", 0, true, 0},
        {"a manifest", "{\"config\":{" DIGEST "},\"layers\":[{" DIGEST "},{" DIGEST "}]}", 0, false,
         2},
        {"both", "{\"manifests\":[],\"layers\":[],\"config\":{" DIGEST "}}", ERR_INVALID, false, 0},
        {"neither", "{}", ERR_INVALID, false, 0},
        {"a list", "[]", ERR_INVALID, false, 0},
        {"no JSON", "{\"manifests\":[}", ERR_INVALID, false, 0},
        {"trailing bytes", "{\"manifests\":[]} x", ERR_INVALID, false, 0},
        {"a key twice", "{\"manifests\":[],\"manifests\":[]}", ERR_INVALID, false, 0},
        {"no digest", "{\"manifests\":[{}]}", ERR_INVALID, false, 0},
        {"another algorithm", "{\"manifests\":[{\"digest\":\"md5:00\"}]}", ERR_INVALID, false, 0},
        {"a path as digest",
         "{\"manifests\":[{\"digest\":\"sha256:../../../../../../../../../../../../../../../../"
         "../../../../../etc\"}]}",
         ERR_INVALID, false, 0},
        {"a descriptor of the wrong type", "{\"manifests\":[7]}", ERR_INVALID, false, 0},
        {"layers of the wrong type", "{\"config\":{" DIGEST "},\"layers\":{}}", ERR_INVALID, false,
         0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err;
        struct image_document document = {0};
        assert_int_equal(image_document_parse(text_of(cases[i].json), &arena, &document, &err),
                         cases[i].want_rc);
        assert_int_equal(document.is_index, cases[i].want_index);
        assert_int_equal(document.count, cases[i].want_count);
    }
}

// Containerd's annotation is a whole name; OCI's may be a tag only, which names nothing.
static void image_document_parse_finds_names(void **state)
{
    (void)state;
    static const struct {
        const char *annotations;
        const char *want_name;
        bool want_bare_tag;
    } cases[] = {
        {"{\"io.containerd.image.name\":\"a/b:c\",\"org.opencontainers.image.ref.name\":\"c\"}",
         "a/b:c", false},
        {"{\"org.opencontainers.image.ref.name\":\"a/b:c\"}", "a/b:c", false},
        {"{\"org.opencontainers.image.ref.name\":\"b:c\"}", "b:c", false},
        {"{\"org.opencontainers.image.ref.name\":\"c\"}", NULL, true},
        {"{}", NULL, false},
        {"null", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].annotations);
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err;
        struct image_document index;
        struct text json = arena_format(&arena, "{\"manifests\":[{" DIGEST ",\"annotations\":%s}]}",
                                        cases[i].annotations);
        assert_int_equal(image_document_parse(json, &arena, &index, &err), 0);
        assert_true(text_equal(index.items[0].name, text_of(cases[i].want_name)));
        assert_int_equal(index.items[0].has_bare_tag, cases[i].want_bare_tag);
    }
}

static void image_config_parse_reads_what_a_container_needs(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct err err;
    struct image_config config;
    const char *json =
        "{\"architecture\":\"amd64\",\"config\":{\"Env\":[\"A=b\"],\"Entrypoint\":null,"
        "\"Cmd\":[],\"Volumes\":{\"/a\":{},\"/b\":{}},\"Unknown\":7},"
        "\"rootfs\":{\"diff_ids\":[\"sha256:" HEX64 "\"]}}";
    assert_int_equal(image_config_parse(text_of(json), &arena, &config, &err), 0);
    assert_string_equal(config.image.architecture.data, "amd64");
    assert_int_equal(config.image.environment.count, 1);
    assert_null(config.image.entry_point.items);
    assert_non_null(config.image.command.items); // present and empty
    assert_int_equal(config.image.command.count, 0);
    assert_int_equal(config.image.volumes.count, 2);
    assert_int_equal(config.diff_ids.count, 1);
    assert_null(config.image.stop_signal.data);

    const char *const refused[] = {
        "{\"config\":{\"Env\":\"A=b\"}}",
        "{\"config\":{\"Env\":[1]}}",
        "{\"config\":{\"Volumes\":[]}}",
        "{\"rootfs\":{\"diff_ids\":[\"x\"]}}",
        "7",
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        print_message("%s\n", refused[i]);
        assert_int_equal(image_config_parse(text_of(refused[i]), &arena, &config, &err),
                         ERR_INVALID);
    }
}

// An image of docker save gets the same digest whenever and wherever it is loaded.
static void image_manifest_format_is_a_manifest(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct err err;
    struct text id = TEXT("sha256:" HEX64);
    const struct text_list ids = {.items = &id, .count = 1};
    const struct image_layer_info info = {.tar_bytes = 10240};
    struct text json = image_manifest_format(id, 7, &ids, &info, &arena);
    struct image_document manifest;
    assert_int_equal(image_document_parse(json, &arena, &manifest, &err), 0);
    assert_false(manifest.is_index);
    assert_int_equal(manifest.count, 1);
    assert_true(text_equal(manifest.config.digest, id));
    assert_true(text_equal(json, image_manifest_format(id, 7, &ids, &info, &arena)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_document_parse_tells_kinds_apart),
        cmocka_unit_test(image_document_parse_finds_names),
        cmocka_unit_test(image_config_parse_reads_what_a_container_needs),
        cmocka_unit_test(image_manifest_format_is_a_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
