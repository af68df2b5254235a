#include "base/alloc.h"
#include "fixture.h"
#include "image/image_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/** A store in a folder of its own. */
struct place {
    char *folder;
    char *path; ///< of the store
    struct image_store *store;
    struct arena arena;
    struct err err;
};

static void place_open(struct place *place)
{
    assert_int_equal(image_open(place->path, &place->store, &place->err), 0);
    place->store->sync = false; // flushing the whole file system has nothing to do with the cases
}

static int set_up(void **state)
{
    if (geteuid() != 0) {
        print_message("SKIPPED: owners and whiteouts need root\n");
        return 0;
    }
    struct place *place = ALLOC(struct place);
    place->folder = fixture_folder_create();
    place->path = alloc_format("%s/store", place->folder);
    place_open(place);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    if (place != NULL) {
        image_close(place->store);
        arena_deinit(&place->arena);
        fixture_folder_destroy(place->folder);
        alloc_free(place->path);
        alloc_free(place);
    }
    return 0;
}

static struct place *need(void **state)
{
    if (*state == NULL) {
        skip();
    }
    return *state;
}

static void add_layer(struct fixture_image *image, const struct fixture_entry *entries,
                      size_t count)
{
    fixture_tar(entries, count, &image->layers[image->layer_count++]);
}

static const struct fixture_entry lower[] = {
    {"etc", FIXTURE_DIRECTORY}, {"etc/a", FIXTURE_FILE, "lower"}, {"etc/b", FIXTURE_FILE, "lower"}};
static const struct fixture_entry upper[] = {{"etc/.wh.a", FIXTURE_FILE},
                                             {"etc/c", FIXTURE_FILE, "upper"}};

static struct fixture_image two_layers(const char *name, int compression)
{
    struct fixture_image image = {.name = name, .compression = compression};
    add_layer(&image, lower, ARRAY_LEN(lower));
    add_layer(&image, upper, ARRAY_LEN(upper));
    return image;
}

// Count entries of a directory of the store, dots left out.
static size_t count(const struct place *place, const char *directory)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", place->path, directory);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t found = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        found += entry->d_name[0] == '.' ? 0 : 1;
    }
    closedir(dir);
    return found;
}

static void assert_empty(const struct place *place)
{
    assert_int_equal(count(place, "names"), 0);
    assert_int_equal(count(place, "layers"), 0);
    assert_int_equal(count(place, "blobs/sha256"), 0);
    assert_int_equal(count(place, "tmp"), 0);
}

static int load_bytes(struct place *place, struct text bytes, const char *rename_to)
{
    struct text_list names;
    const char *path = fixture_put(place->folder, "archive", bytes);
    return image_load(place->store, path, rename_to, NULL, NULL, &place->arena, &names,
                      &place->err);
}

static int load_files(struct place *place, const struct fixture_files *files, const char *rename_to)
{
    AUTO(buf_deinit) struct buf tar = {0};
    fixture_write(files, false, &tar);
    int rc = load_bytes(place, buf_view(&tar), rename_to);
    if (rc != 0) {
        print_message("  %s\n", place->err.text);
    }
    return rc;
}

static void load_named(struct place *place, const char *name, int compression)
{
    AUTO(fixture_image_deinit) struct fixture_image image = two_layers(name, compression);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&image, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
}

static void check_image(struct place *place, const char *reference)
{
    struct image image;
    assert_int_equal(
        image_resolve(place->store, text_of(reference), &place->arena, &image, &place->err), 0);
    assert_int_equal(image.layers.count, 2);
    assert_int_equal(image.size_bytes, 15);
    assert_string_equal(image.architecture.data, image_architecture(NULL));
    assert_int_equal(image.environment.count, 2);
    assert_string_equal(image.environment.items[1].data, "A=b");
    assert_string_equal(image.entry_point.items[0].data, "/bin/sh");
    assert_string_equal(image.command.items[1].data, "true");
    assert_string_equal(image.user.data, "7:8");
    assert_string_equal(image.working_directory.data, "/srv");
    assert_string_equal(image.stop_signal.data, "SIGINT");
    assert_string_equal(image.volumes.items[0].data, "/data");
    assert_true(image_is_digest(image.digest));
    AUTO(buf_deinit) struct buf content = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/etc/a", image.layers.items[0].data);
    assert_int_equal(file_read(AT_FDCWD, path, 16, &content, &place->err), 0);
    assert_true(text_is(buf_view(&content), "lower"));
}

/* ---- forms of archives */

enum form { LAYOUT, NESTED, DOCKER };

// Every form, compressed or not, in any order of its files, must give the same image.
static void image_load_reads_every_form(void **state)
{
    struct place *place = need(state);
    static const struct {
        const char *name;
        enum form form;
        int layer_compression;
        int archive_compression;
        bool reverse;
    } cases[] = {
        {"layout, gzip layers", LAYOUT, 1, 0, false},
        {"layout, zstd layers, index first", LAYOUT, 2, 0, true},
        {"layout, plain layers, gzip'ed as a whole", LAYOUT, 0, 1, false},
        {"nested index, zstd'ed as a whole", NESTED, 1, 2, true},
        {"docker save", DOCKER, 0, 0, false},
        {"docker save, manifest first, gzip'ed", DOCKER, 0, 1, true},
        {"docker save, gzip layers", DOCKER, 1, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(fixture_image_deinit)
        struct fixture_image image = two_layers("team/app:1", cases[i].layer_compression);
        AUTO(fixture_files_deinit) struct fixture_files files = {0};
        if (cases[i].form == DOCKER) {
            fixture_docker(&image, &files);
        } else {
            fixture_layout(&image, 1, cases[i].form == NESTED, &files);
        }
        AUTO(buf_deinit) struct buf tar = {0};
        AUTO(buf_deinit) struct buf packed = {0};
        fixture_write(&files, cases[i].reverse, &tar);
        if (cases[i].archive_compression == 1) {
            fixture_gzip(buf_view(&tar), &packed);
        } else if (cases[i].archive_compression == 2) {
            fixture_zstd(buf_view(&tar), &packed);
        } else {
            buf_text(&packed, buf_view(&tar));
        }
        int rc = load_bytes(place, buf_view(&packed), NULL);
        if (rc != 0) {
            print_message("  %s\n", place->err.text);
        }
        assert_int_equal(rc, 0);
        check_image(place, "team/app:1");
        assert_int_equal(image_remove(place->store, TEXT("docker.io/team/app:1"), &place->err), 0);
        assert_empty(place);
    }
}

static void image_load_reads_directories(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_image_deinit) struct fixture_image image = two_layers(NULL, 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&image, 1, false, &files);
    AUTO(alloc_string) char *layout = alloc_format("%s/layout", place->folder);
    for (size_t i = 0; i < files.count; i++) {
        fixture_put(layout, files.items[i].path, buf_view(&files.items[i].content));
    }
    struct text_list names;
    assert_int_equal(
        image_load(place->store, layout, "app", NULL, NULL, &place->arena, &names, &place->err), 0);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.items[0].data, "docker.io/library/app:latest");
    check_image(place, "app");
}

/* ---- names */

static void image_load_names_images(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_image_deinit) struct fixture_image nameless = two_layers(NULL, 1);
    AUTO(fixture_image_deinit) struct fixture_image tag_only = two_layers("v1", 1);
    tag_only.bare_tag = true;
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&nameless, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), ERR_INVALID);
    assert_empty(place);
    assert_int_equal(load_files(place, &files, "Not Valid"), ERR_INVALID);
    assert_int_equal(load_files(place, &files, "mine:2"), 0);
    check_image(place, "mine:2");

    fixture_files_deinit(&files);
    fixture_layout(&tag_only, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), ERR_INVALID);
    assert_non_null(strstr(place->err.text, "only a tag"));

    AUTO(fixture_image_deinit) struct fixture_image other = {.name = "other"};
    add_layer(&other, upper, ARRAY_LEN(upper));
    struct fixture_image both[] = {two_layers("first", 1), other};
    fixture_files_deinit(&files);
    fixture_layout(both, 2, false, &files);
    assert_int_equal(load_files(place, &files, "only-one"), ERR_INVALID);
    assert_int_equal(load_files(place, &files, NULL), 0);
    check_image(place, "first");
    struct image image;
    assert_int_equal(image_resolve(place->store, TEXT("other"), &place->arena, &image, &place->err),
                     0);
    assert_int_equal(image.layers.count, 1);
    fixture_image_deinit(&both[0]);
}

// A task that pins a digest gets that content, or nothing.
static void image_resolve_takes_digests(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_image_deinit) struct fixture_image image = two_layers("a/b:1", 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&image, 1, true, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
    struct image found;
    assert_int_equal(image_resolve(place->store, TEXT("a/b:1"), &place->arena, &found, &place->err),
                     0);
    struct text pinned = arena_format(&place->arena, "a/b@%s", found.digest.data);
    check_image(place, pinned.data);
    pinned = arena_format(&place->arena, "a/b:9@%s", found.digest.data);
    check_image(place, pinned.data);

    struct image_record record;
    assert_int_equal(
        image_record_find(place->store, TEXT("a/b:1"), &place->arena, &record, &place->err), 0);
    pinned = arena_format(&place->arena, "a/b@%s", record.index.data);
    check_image(place, pinned.data);
    pinned = arena_format(&place->arena, "a/c@%s", found.digest.data);
    assert_int_equal(image_resolve(place->store, pinned, &place->arena, &found, &place->err),
                     ERR_NOT_FOUND);
    assert_int_equal(image_resolve(place->store, TEXT("a/b:2"), &place->arena, &found, &place->err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(place->err.text, "a/b:2"));
    assert_int_equal(image_resolve(place->store, TEXT("../x"), &place->arena, &found, &place->err),
                     ERR_INVALID);
}

// overlayfs refuses the same directory twice, and looks at no root's opaque mark.
static void image_resolve_stacks_layers_for_overlayfs(void **state)
{
    struct place *place = need(state);
    static const struct fixture_entry opaque[] = {{".wh..wh..opq", FIXTURE_FILE},
                                                  {"new", FIXTURE_FILE, "n"}};
    AUTO(fixture_image_deinit) struct fixture_image twice = {.name = "twice"};
    add_layer(&twice, lower, ARRAY_LEN(lower));
    add_layer(&twice, upper, ARRAY_LEN(upper));
    add_layer(&twice, lower, ARRAY_LEN(lower));
    AUTO(fixture_image_deinit) struct fixture_image hidden = {.name = "hidden"};
    add_layer(&hidden, lower, ARRAY_LEN(lower));
    add_layer(&hidden, opaque, ARRAY_LEN(opaque));
    add_layer(&hidden, upper, ARRAY_LEN(upper));
    struct fixture_image both[] = {twice, hidden};
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(both, 2, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
    assert_int_equal(count(place, "layers"), 3);

    struct image image;
    assert_int_equal(image_resolve(place->store, TEXT("twice"), &place->arena, &image, &place->err),
                     0);
    assert_int_equal(image.layers.count, 2);
    AUTO(alloc_string) char *top = alloc_format("%s/etc/a", image.layers.items[1].data);
    struct stat status;
    assert_int_equal(stat(top, &status), 0);
    assert_true(S_ISREG(status.st_mode));

    assert_int_equal(
        image_resolve(place->store, TEXT("hidden"), &place->arena, &image, &place->err), 0);
    assert_int_equal(image.layers.count, 2);
    AUTO(alloc_string) char *bottom = alloc_format("%s/new", image.layers.items[0].data);
    assert_int_equal(access(bottom, F_OK), 0);
}

/* ---- refusals */

static void image_load_verifies(void **state)
{
    struct place *place = need(state);
    // A byte of each file in turn: whatever is damaged, nothing becomes visible.
    AUTO(fixture_image_deinit) struct fixture_image image = two_layers("app", 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&image, 1, true, &files);
    for (size_t i = 0; i < files.count; i++) {
        if (strncmp(files.items[i].path, "blobs/", 6) != 0) {
            continue;
        }
        print_message("damaged: %s\n", files.items[i].path);
        files.items[i].content.data[files.items[i].content.size / 2] ^= 1;
        assert_int_equal(load_files(place, &files, NULL), ERR_INVALID);
        files.items[i].content.data[files.items[i].content.size / 2] ^= 1;
        assert_empty(place);
    }
    // Any file missing.
    for (size_t i = 0; i < files.count; i++) {
        if (strcmp(files.items[i].path, "oci-layout") == 0) {
            continue;
        }
        print_message("missing: %s\n", files.items[i].path);
        struct fixture_files fewer = {0};
        for (size_t k = 0; k < files.count; k++) {
            if (k != i) {
                fixture_add(&fewer, files.items[k].path, buf_view(&files.items[k].content));
            }
        }
        assert_int_equal(load_files(place, &fewer, NULL), ERR_INVALID);
        fixture_files_deinit(&fewer);
        assert_empty(place);
    }
    assert_int_equal(load_files(place, &files, NULL), 0);
}

static void image_load_verifies_diff_ids(void **state)
{
    struct place *place = need(state);
    for (int docker = 0; docker < 2; docker++) {
        AUTO(fixture_image_deinit) struct fixture_image image = two_layers("app", 0);
        image.wrong_diff_id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        AUTO(fixture_files_deinit) struct fixture_files files = {0};
        if (docker == 1) {
            fixture_docker(&image, &files);
        } else {
            fixture_layout(&image, 1, false, &files);
        }
        assert_int_equal(load_files(place, &files, NULL), ERR_INVALID);
        assert_non_null(strstr(place->err.text, "diff id"));
        assert_empty(place);
    }
}

static void image_load_refuses_what_is_no_image(void **state)
{
    struct place *place = need(state);
    static const struct {
        const char *name;
        const char *path;
        const char *content;
    } cases[] = {
        {"an empty tar", NULL, NULL},
        {"some other tar", "README", "hello"},
        {"an index that is no JSON", "index.json", "{"},
        {"an index without images", "index.json", "{\"manifests\":[]}"},
        {"a manifest.json without images", "manifest.json", "[]"},
        {"a manifest.json that climbs out", "manifest.json",
         "[{\"Config\":\"../../../../etc/passwd\",\"RepoTags\":[\"a\"],\"Layers\":[]}]"},
        {"a manifest.json that names nothing", "manifest.json",
         "[{\"Config\":\"x.json\",\"RepoTags\":[\"a\"],\"Layers\":[]}]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(fixture_files_deinit) struct fixture_files files = {0};
        if (cases[i].path != NULL) {
            fixture_add(&files, cases[i].path, text_of(cases[i].content));
        }
        assert_int_equal(load_files(place, &files, NULL), ERR_INVALID);
        assert_empty(place);
    }
    assert_int_equal(load_bytes(place, TEXT("not an archive at all"), NULL), ERR_INVALID);
    struct text_list names;
    assert_int_equal(image_load(place->store, "/nowhere/at/all", NULL, NULL, NULL, &place->arena,
                                &names, &place->err),
                     ERR_NOT_FOUND);
}

static void image_load_wants_this_machine(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_add(&files, "index.json",
                TEXT("{\"manifests\":[{\"digest\":\"sha256:"
                     "4cc67e1ed52d1a3d6b8a8a4ab6f5d2a9c4fd2a1ae6b1d9a6a4dd9a7bd6c1e3f0\"}]}"));
    // A true index for another architecture only.
    AUTO(buf_deinit) struct buf index = {0};
    buf_format(
        &index,
        "{\"manifests\":[{\"digest\":\"sha256:%064d\",\"platform\":{\"architecture\":\"pdp11\","
        "\"os\":\"linux\"}}]}",
        0);
    char hex[IMAGE_HEX_SIZE];
    char path[128];
    image_hash(buf_view(&index), hex);
    snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
    fixture_add(&files, path, buf_view(&index));
    buf_reset(&files.items[0].content);
    buf_format(&files.items[0].content, "{\"manifests\":[{\"digest\":\"sha256:%s\"}]}", hex);
    assert_int_equal(load_files(place, &files, "app"), ERR_UNSUPPORTED);
    assert_non_null(strstr(place->err.text, image_architecture(NULL)));
    assert_empty(place);
}

/* ---- sharing and removing */

static void image_remove_keeps_what_is_shared(void **state)
{
    struct place *place = need(state);
    load_named(place, "one", 1);
    load_named(place, "two", 0); // other blobs, same layers
    assert_int_equal(count(place, "layers"), 2);
    assert_int_equal(count(place, "blobs/sha256"), 3);

    assert_int_equal(image_remove(place->store, TEXT("one"), &place->err), 0);
    assert_int_equal(count(place, "layers"), 2);
    check_image(place, "two");
    struct image image;
    assert_int_equal(image_resolve(place->store, TEXT("one"), &place->arena, &image, &place->err),
                     ERR_NOT_FOUND);
    assert_int_equal(image_remove(place->store, TEXT("one"), &place->err), ERR_NOT_FOUND);
    assert_int_equal(image_remove(place->store, TEXT("two"), &place->err), 0);
    assert_empty(place);
}

// A name that moves on to new content keeps the old until something is removed.
static void image_load_moves_names(void **state)
{
    struct place *place = need(state);
    load_named(place, "app", 1);
    AUTO(fixture_image_deinit) struct fixture_image next = {.name = "app"};
    add_layer(&next, upper, ARRAY_LEN(upper));
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&next, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
    struct image image;
    assert_int_equal(image_resolve(place->store, TEXT("app"), &place->arena, &image, &place->err),
                     0);
    assert_int_equal(image.layers.count, 1);
    assert_int_equal(count(place, "layers"), 2);
    assert_int_equal(image_remove(place->store, TEXT("app"), &place->err), 0);
    assert_empty(place);
}

static struct image_content *contents(struct place *place, size_t want)
{
    struct image_content *found = NULL;
    size_t count_found = 0;
    assert_int_equal(image_contents(place->store, &place->arena, &found, &count_found, &place->err),
                     0);
    assert_int_equal(count_found, want);
    return found;
}

static void put_directory(const struct place *place, const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", place->path, name);
    assert_int_equal(file_make_dirs(path, 0700, &(struct err){0}), 0);
}

// What is chosen goes with its names unless it is in use; what belongs to no image goes in any
// case; all else stays, also what has lost its names.
static void image_collect_takes_what_is_chosen(void **state)
{
    struct place *place = need(state);
    static const char orphan[] = "layers/"
                                 "abababababababababababababababababababababababababababababababab";
    load_named(place, "app", 1);
    AUTO(fixture_image_deinit) struct fixture_image next = {.name = "app"};
    add_layer(&next, upper, ARRAY_LEN(upper));
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&next, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
    load_named(place, "other", 0);
    put_directory(place, orphan);
    put_directory(place, "tmp/1-0123456789abcdef/half");

    struct image_content *found = contents(place, 3);
    struct text unnamed = {0};
    struct text app = {0};
    struct text other = {0};
    for (size_t i = 0; i < 3; i++) {
        assert_false(found[i].in_use);
        assert_true(found[i].size_bytes > 0);
        if (found[i].names.count == 0) {
            unnamed = found[i].digest;
        } else if (text_is(found[i].names.items[0], "docker.io/library/app:latest")) {
            app = found[i].digest;
        } else {
            other = found[i].digest;
        }
    }
    assert_true(unnamed.size > 0 && app.size > 0 && other.size > 0);

    struct text_list none = {0};
    assert_int_equal(image_collect(place->store, &none, &place->err), 0);
    contents(place, 3);
    assert_int_equal(count(place, "layers"), 2);
    assert_int_equal(count(place, "tmp"), 0);

    struct text_list chosen = {.items = &unnamed, .count = 1};
    assert_int_equal(image_collect(place->store, &chosen, &place->err), 0);
    contents(place, 2);
    assert_int_equal(count(place, "layers"), 2); // shared with the other
    check_image(place, "other");

    // It has been looked up just now: a container is going to show it.
    struct text both[] = {other, app};
    chosen = (struct text_list){.items = both, .count = 2};
    assert_int_equal(image_collect(place->store, &chosen, &place->err), 0);
    found = contents(place, 1);
    assert_true(text_equal(found[0].digest, other));
    assert_true(found[0].in_use);
    assert_int_equal(count(place, "names"), 1);
    check_image(place, "other");
    assert_int_equal(image_remove(place->store, TEXT("other"), &place->err), 0);
    assert_empty(place);
}

static struct text digest_of(struct place *place, const char *name)
{
    struct image image;
    assert_int_equal(image_resolve(place->store, text_of(name), &place->arena, &image, &place->err),
                     0);
    return image.digest;
}

// What a name pointed to is found by its digest, until something is removed.
static void image_resolve_pinned_finds_what_a_name_left(void **state)
{
    struct place *place = need(state);
    load_named(place, "app", 1);
    struct text old = digest_of(place, "app");
    AUTO(fixture_image_deinit) struct fixture_image next = {.name = "app"};
    add_layer(&next, upper, ARRAY_LEN(upper));
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&next, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
    struct text now = digest_of(place, "app");
    assert_false(text_equal(old, now));

    struct image image;
    assert_int_equal(
        image_resolve_pinned(place->store, TEXT("app"), old, &place->arena, &image, &place->err),
        0);
    assert_string_equal(image.name.data, "docker.io/library/app:latest");
    assert_true(text_equal(image.digest, old));
    assert_int_equal(image.layers.count, 2);
    assert_int_equal(
        image_resolve_pinned(place->store, TEXT("app"), now, &place->arena, &image, &place->err),
        0);
    assert_int_equal(image.layers.count, 1);

    static const struct {
        const char *reference;
        const char *digest;
        int want;
    } cases[] = {
        {"../x", NULL, ERR_INVALID},
        {"app", "sha256:12", ERR_INVALID},
        {"app", "sha256:" HEX64, ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].reference,
                      cases[i].digest == NULL ? "" : cases[i].digest);
        struct text digest = cases[i].digest == NULL ? old : text_of(cases[i].digest);
        assert_int_equal(image_resolve_pinned(place->store, text_of(cases[i].reference), digest,
                                              &place->arena, &image, &place->err),
                         cases[i].want);
    }
    assert_string_equal(place->err.text, "image 'docker.io/library/app:latest@sha256:" HEX64
                                         "' is not on this node");
    load_named(place, "other", 1);
    assert_int_equal(image_remove(place->store, TEXT("other"), &place->err), 0);
    assert_int_equal(
        image_resolve_pinned(place->store, TEXT("app"), old, &place->arena, &image, &place->err),
        ERR_NOT_FOUND);
}

static void image_list_is_ordered(void **state)
{
    struct place *place = need(state);
    load_named(place, "b", 1);
    load_named(place, "a:2", 1);
    load_named(place, "quay.io/c", 1);
    struct image *images = NULL;
    size_t found = 0;
    assert_int_equal(image_list(place->store, &place->arena, &images, &found, &place->err), 0);
    assert_int_equal(found, 3);
    assert_string_equal(images[0].name.data, "docker.io/library/a:2");
    assert_string_equal(images[1].name.data, "docker.io/library/b:latest");
    assert_string_equal(images[2].name.data, "quay.io/c:latest");
}

static void image_resolve_notices_damage(void **state)
{
    struct place *place = need(state);
    load_named(place, "app", 1);
    struct image image;
    assert_int_equal(image_resolve(place->store, TEXT("app"), &place->arena, &image, &place->err),
                     0);
    AUTO(alloc_string)
    char *blob = alloc_format("%s/blobs/sha256/%s", place->path, image.digest.data + 7);
    int fd = open(blob, O_WRONLY | O_APPEND);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, " ", 1), 1);
    close(fd);
    assert_int_equal(image_resolve(place->store, TEXT("app"), &place->arena, &image, &place->err),
                     ERR_CORRUPT);
    // It is still listed, and loading again mends it.
    struct image *images = NULL;
    size_t found = 0;
    assert_int_equal(image_list(place->store, &place->arena, &images, &found, &place->err), 0);
    assert_int_equal(found, 1);
    load_named(place, "app", 1);
    check_image(place, "app");
}

/* ---- at the same time, and after a crash */

struct racer {
    struct place *place;
    const char *path;
    int rc;
    struct err err;
};

static void *race(void *context)
{
    struct racer *racer = context;
    AUTO(arena_deinit) struct arena arena = {0};
    struct image_store *store = NULL;
    racer->rc = image_open(racer->place->path, &store, &racer->err);
    for (int i = 0; racer->rc == 0 && i < 10; i++) {
        struct text_list names;
        store->sync = false;
        racer->rc = image_load(store, racer->path, NULL, NULL, NULL, &arena, &names, &racer->err);
        struct err ignored;
        IGNORE(image_remove(store, TEXT("app"), &ignored), "the other may have been faster");
    }
    image_close(store);
    return NULL;
}

static void image_load_runs_beside_itself(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_image_deinit) struct fixture_image image = two_layers("app", 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    AUTO(buf_deinit) struct buf tar = {0};
    fixture_layout(&image, 1, false, &files);
    fixture_write(&files, false, &tar);
    const char *path = fixture_put(place->folder, "archive", buf_view(&tar));
    struct racer racers[3];
    pthread_t threads[3];
    for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
        racers[i] = (struct racer){.place = place, .path = path};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
        pthread_join(threads[i], NULL);
        if (racers[i].rc != 0) {
            print_message("%s\n", racers[i].err.text);
        }
        assert_int_equal(racers[i].rc, 0);
    }
    load_named(place, "app", 1);
    check_image(place, "app");
    assert_int_equal(image_remove(place->store, TEXT("app"), &place->err), 0);
    assert_empty(place);
}

// A load reads standard input; its writer stops in the middle, and kill -9 comes.
static void image_load_leaves_nothing_visible_when_killed(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_image_deinit) struct fixture_image image = {.name = "app"};
    AUTO(buf_deinit) struct buf large = {0};
    for (uint32_t i = 0; i < 200000; i++) {
        buf_format(&large, "%u", i * 2654435761u);
    }
    const struct fixture_entry entry = {"large", FIXTURE_FILE, large.data};
    add_layer(&image, &entry, 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    AUTO(buf_deinit) struct buf tar = {0};
    fixture_layout(&image, 1, false, &files);
    fixture_write(&files, false, &tar);

    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[0], STDIN_FILENO);
        close(ends[1]);
        struct text_list names;
        IGNORE(image_load(place->store, "-", NULL, NULL, NULL, &place->arena, &names, &place->err),
               "it does not come to an end");
        _exit(0);
    }
    close(ends[0]);
    // More than a pipe holds: when this returns, the child is in the middle.
    assert_int_equal(fd_write_all(ends[1], tar.data, tar.size - 4096, &place->err), 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(ends[1]);

    assert_int_equal(count(place, "tmp"), 1);
    assert_int_equal(count(place, "names"), 0);
    assert_int_equal(count(place, "layers"), 0);
    image_close(place->store);
    place_open(place);
    assert_empty(place);
}

// Opening sweeps what is stale, and only that: here a load is in the middle of its work.
static void image_open_leaves_running_loads_alone(void **state)
{
    struct place *place = need(state);
    AUTO(image_scratch_destroy) struct image_scratch scratch = {.fd = -1};
    assert_int_equal(image_scratch_create(place->store, false, &scratch, &place->err), 0);
    struct image_store *other = NULL;
    assert_int_equal(image_open(place->path, &other, &place->err), 0);
    assert_int_equal(count(place, "tmp"), 1);
    image_close(other);
}

/* ---- cases that mount, in a child with mounts of its own */

static void in_own_mounts(struct place *place, int (*function)(struct place *place))
{
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
            _exit(77);
        }
        _exit(function(place));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("SKIPPED: mounting is not allowed here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int load_onto_small_disk(struct place *place)
{
    AUTO(alloc_string) char *disk = alloc_format("%s/disk", place->folder);
    if (mkdir(disk, 0755) != 0 || mount("none", disk, "tmpfs", 0, "size=256k") != 0) {
        return 77;
    }
    struct image_store *store = NULL;
    AUTO(alloc_string) char *path = alloc_format("%s/store", disk);
    AUTO(alloc_string) char *archive = alloc_format("%s/archive", place->folder);
    struct text_list names;
    if (image_open(path, &store, &place->err) != 0) {
        return 1;
    }
    int rc = image_load(store, archive, NULL, NULL, NULL, &place->arena, &names, &place->err);
    image_close(store);
    struct place there = {.path = path};
    if (rc != ERR_FULL_DISK) {
        fprintf(stderr, "%d: %s\n", rc, place->err.text);
        return 2;
    }
    return count(&there, "names") + count(&there, "layers") + count(&there, "tmp") == 0 ? 0 : 3;
}

static void image_load_reports_a_full_disk(void **state)
{
    struct place *place = need(state);
    AUTO(buf_deinit) struct buf large = {0};
    for (uint32_t i = 0; i < 100000; i++) {
        buf_string(&large, "0123456789");
    }
    AUTO(fixture_image_deinit) struct fixture_image image = {.name = "app", .compression = 1};
    const struct fixture_entry entry = {"large", FIXTURE_FILE, large.data};
    add_layer(&image, &entry, 1); // the archive fits, what is in it does not
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    AUTO(buf_deinit) struct buf tar = {0};
    fixture_layout(&image, 1, false, &files);
    fixture_write(&files, false, &tar);
    fixture_put(place->folder, "archive", buf_view(&tar));
    in_own_mounts(place, load_onto_small_disk);
}

static int remove_while_mounted(struct place *place)
{
    struct image image;
    AUTO(alloc_string) char *target = alloc_format("%s/root", place->folder);
    AUTO(alloc_string) char *work = alloc_format("%s/work", place->folder);
    if (mkdir(target, 0755) != 0 || mkdir(work, 0755) != 0 ||
        mount("none", work, "tmpfs", 0, NULL) != 0) {
        return 77;
    }
    if (image_resolve(place->store, TEXT("app"), &place->arena, &image, &place->err) != 0) {
        return 1;
    }
    AUTO(alloc_string)
    char *options =
        alloc_format("lowerdir=%s:%s", image.layers.items[1].data, image.layers.items[0].data);
    if (mount("overlay", target, "overlay", 0, options) != 0) {
        return 77;
    }
    // The whiteout works: etc/a of the lower layer is gone.
    AUTO(alloc_string) char *gone = alloc_format("%s/etc/a", target);
    AUTO(alloc_string) char *there = alloc_format("%s/etc/b", target);
    if (access(gone, F_OK) == 0 || access(there, F_OK) != 0) {
        return 2;
    }
    struct text digest = image.digest;
    if (image_remove(place->store, TEXT("app"), &place->err) != 0) {
        return 3;
    }
    if (count(place, "names") != 1 || count(place, "layers") != 3 || access(there, F_OK) != 0) {
        return 4;
    }
    // It is whole: another container of it can be started.
    if (image_resolve_pinned(place->store, TEXT("app"), digest, &place->arena, &image,
                             &place->err) != 0) {
        return 7;
    }
    if (umount(target) != 0 || image_remove(place->store, TEXT("other"), &place->err) != 0) {
        return 5;
    }
    return count(place, "layers") == 0 ? 0 : 6;
}

// An image whose layers no other process has: a layer stays that a mount shows anywhere on the
// machine, where the same tests may run twice.
static void load_own(struct place *place)
{
    AUTO(alloc_string) char *own = alloc_format("of-%d", (int)getpid());
    const struct fixture_entry below[] = {lower[0], lower[1], lower[2], {own, FIXTURE_DIRECTORY}};
    const struct fixture_entry above[] = {upper[0], upper[1], {own, FIXTURE_DIRECTORY}};
    AUTO(fixture_image_deinit) struct fixture_image image = {.name = "app", .compression = 1};
    add_layer(&image, below, ARRAY_LEN(below));
    add_layer(&image, above, ARRAY_LEN(above));
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&image, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
}

// A name may move or go while tasks of the old image run: their layers stay.
static void image_remove_keeps_mounted_layers(void **state)
{
    struct place *place = need(state);
    load_own(place);
    static const struct fixture_entry entries[] = {{"x", FIXTURE_FILE, "x"}};
    AUTO(fixture_image_deinit) struct fixture_image other = {.name = "other"};
    add_layer(&other, entries, 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    fixture_layout(&other, 1, false, &files);
    assert_int_equal(load_files(place, &files, NULL), 0);
    in_own_mounts(place, remove_while_mounted);
}

static void count_progress(void *context, uint64_t done, uint64_t total)
{
    uint64_t *last = context;
    assert_true(done >= *last);
    assert_true(total == 0 || done <= total);
    *last = done;
}

static void image_load_tells_progress(void **state)
{
    struct place *place = need(state);
    AUTO(fixture_image_deinit) struct fixture_image image = two_layers("app", 1);
    AUTO(fixture_files_deinit) struct fixture_files files = {0};
    AUTO(buf_deinit) struct buf tar = {0};
    fixture_layout(&image, 1, false, &files);
    fixture_write(&files, false, &tar);
    const char *path = fixture_put(place->folder, "archive", buf_view(&tar));
    uint64_t last = 0;
    struct text_list names;
    assert_int_equal(image_load(place->store, path, NULL, count_progress, &last, &place->arena,
                                &names, &place->err),
                     0);
    assert_int_equal(last, 2 * tar.size);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(image_load_reads_every_form),
        CASE(image_load_reads_directories),
        CASE(image_load_names_images),
        CASE(image_resolve_takes_digests),
        CASE(image_resolve_stacks_layers_for_overlayfs),
        CASE(image_load_verifies),
        CASE(image_load_verifies_diff_ids),
        CASE(image_load_refuses_what_is_no_image),
        CASE(image_load_wants_this_machine),
        CASE(image_remove_keeps_what_is_shared),
        CASE(image_collect_takes_what_is_chosen),
        CASE(image_load_moves_names),
        CASE(image_resolve_pinned_finds_what_a_name_left),
        CASE(image_list_is_ordered),
        CASE(image_resolve_notices_damage),
        CASE(image_load_runs_beside_itself),
        CASE(image_load_leaves_nothing_visible_when_killed),
        CASE(image_open_leaves_running_loads_alone),
        CASE(image_load_reports_a_full_disk),
        CASE(image_remove_keeps_mounted_layers),
        CASE(image_load_tells_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
