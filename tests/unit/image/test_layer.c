#include "base/alloc.h"
#include "fixture.h"
#include "image/image_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * Every case unpacks into FOLDER/layer, beside FOLDER/outside, which must stay as it is.
 */

struct box {
    char *folder;
    int root_fd;
    struct image_layer_info info;
    struct err err;
};

static void box_init(struct box *box)
{
    *box = (struct box){.folder = fixture_folder_create()};
    fixture_put(box->folder, "outside/secret", TEXT("untouched"));
    AUTO(alloc_string) char *layer = alloc_format("%s/layer", box->folder);
    assert_int_equal(mkdir(layer, 0755), 0);
    box->root_fd = open(layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(box->root_fd >= 0);
}

static size_t count_outside(const struct box *box)
{
    AUTO(alloc_string) char *path = alloc_format("%s/outside", box->folder);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    size_t entries = 0;
    AUTO(buf_deinit) struct buf secret = {0};
    struct err err;
    AUTO(alloc_string) char *file = alloc_format("%s/secret", path);
    assert_int_equal(file_read(AT_FDCWD, file, 64, &secret, &err), 0);
    assert_true(text_is(buf_view(&secret), "untouched"));
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
    assert_int_equal(status.st_nlink, 1);
    AUTO(alloc_string) char *new_file = alloc_format("%s/new", path);
    entries += access(new_file, F_OK) == 0 ? 1 : 0;
    return entries;
}

static void box_deinit(struct box *box)
{
    assert_int_equal(count_outside(box), 0);
    close(box->root_fd);
    fixture_folder_destroy(box->folder);
}

static int unpack_bytes(struct box *box, struct text bytes)
{
    int fd = memfd_create("layer", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, bytes.data, bytes.size, &box->err), 0);
    lseek(fd, 0, SEEK_SET);
    struct image_stream stream = {0};
    int rc = image_stream_init(&stream, fd, true, &box->err);
    if (rc == 0) {
        rc = image_layer_unpack(&stream, box->root_fd, &box->info, &box->err);
    }
    char raw[IMAGE_HEX_SIZE];
    char data[IMAGE_HEX_SIZE];
    if (rc == 0) {
        rc = image_stream_finish(&stream, raw, data, &box->err);
    }
    image_stream_deinit(&stream);
    close(fd);
    return rc;
}

static int unpack(struct box *box, const struct fixture_entry *entries, size_t count)
{
    AUTO(buf_deinit) struct buf tar = {0};
    fixture_tar(entries, count, &tar);
    return unpack_bytes(box, buf_view(&tar));
}

static void assert_content(const struct box *box, const char *path, const char *want)
{
    AUTO(buf_deinit) struct buf content = {0};
    struct err err;
    assert_int_equal(file_read(box->root_fd, path, 1024, &content, &err), 0);
    assert_true(text_is(buf_view(&content), want));
}

static struct stat status_of(const struct box *box, const char *path)
{
    struct stat status;
    assert_int_equal(fstatat(box->root_fd, path, &status, AT_SYMLINK_NOFOLLOW), 0);
    return status;
}

static bool is_opaque(const struct box *box, const char *path)
{
    char value = 0;
    int fd = openat(box->root_fd, path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    ssize_t size = fgetxattr(fd, "trusted.overlay.opaque", &value, 1);
    close(fd);
    return size == 1 && value == 'y';
}

static int root_only(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("SKIPPED: owners and whiteouts need root\n");
        skip();
    }
    return 0;
}

static void image_layer_unpack_keeps_attributes(void **state)
{
    IGNORE(root_only(state), "skips by itself");
    struct box box;
    box_init(&box);
    static const struct fixture_entry entries[] = {
        {"./", FIXTURE_DIRECTORY, .mode = 0711, .mtime = 5},
        {"bin", FIXTURE_DIRECTORY, .mode = 0755, .mtime = 1234},
        {"bin/su", FIXTURE_FILE, "program", .mode = 04755, .uid = 0, .gid = 7},
        {"bin/cap", FIXTURE_FILE, "x", .xattr = "user.note"},
        {"bin/hard", FIXTURE_HARD_LINK, "bin/su"},
        {"lib", FIXTURE_LINK, "/usr/lib", .uid = 3},
        {"home/u", FIXTURE_DIRECTORY, .mode = 01777, .uid = 1000, .gid = 1001},
        {"home/u/h\xc3\xa9", FIXTURE_FILE, "accent"},
        {"dev/null", FIXTURE_CHAR, .mode = 0666},
    };
    assert_int_equal(unpack(&box, entries, ARRAY_LEN(entries)), 0);

    struct stat su = status_of(&box, "bin/su");
    assert_int_equal(su.st_mode & 07777, 04755);
    assert_int_equal(su.st_gid, 7);
    assert_int_equal(su.st_mtime, 1000000000);
    assert_int_equal(status_of(&box, "bin/hard").st_ino, su.st_ino);
    assert_int_equal(status_of(&box, "bin").st_mtime, 1234);
    assert_int_equal(status_of(&box, ".").st_mtime, 5);
    assert_int_equal(status_of(&box, ".").st_mode & 07777, 0711);
    assert_int_equal(status_of(&box, "home").st_mode & 07777, 0755);
    assert_int_equal(status_of(&box, "home/u").st_mode & 07777, 01777);
    assert_int_equal(status_of(&box, "home/u").st_uid, 1000);
    assert_int_equal(status_of(&box, "lib").st_uid, 3);
    assert_content(&box, "home/u/h\xc3\xa9", "accent");
    assert_int_equal(status_of(&box, "dev/null").st_rdev, makedev(1, 3));
    char target[16] = "";
    assert_int_equal(readlinkat(box.root_fd, "lib", target, sizeof(target)), 8);
    assert_memory_equal(target, "/usr/lib", 8);
    assert_int_equal(box.info.size_bytes, 14);
    box_deinit(&box);
}

// overlayfs shows a layer's absences as 0:0 devices and opaque directories.
static void image_layer_unpack_translates_whiteouts(void **state)
{
    IGNORE(root_only(state), "skips by itself");
    struct box box;
    box_init(&box);
    static const struct fixture_entry entries[] = {
        {"etc/.wh.gone", FIXTURE_FILE},
        {"opt/.wh..wh..opq", FIXTURE_FILE},
        {"opt/new", FIXTURE_FILE, "n"},
        {"srv/.wh..wh.plnk", FIXTURE_FILE},
        // A directory that replaces one below, told in both orders.
        {".wh.first", FIXTURE_FILE},
        {"first", FIXTURE_DIRECTORY},
        {"first/a", FIXTURE_FILE, "a"},
        {"second", FIXTURE_DIRECTORY},
        {"second/a", FIXTURE_FILE, "a"},
        {".wh.second", FIXTURE_FILE},
        {".wh.third", FIXTURE_FILE},
        {"third/a", FIXTURE_FILE, "a"},
        // A file that replaces one below.
        {".wh.file", FIXTURE_FILE},
        {"file", FIXTURE_FILE, "f"},
    };
    assert_int_equal(unpack(&box, entries, ARRAY_LEN(entries)), 0);
    struct stat gone = status_of(&box, "etc/gone");
    assert_true(S_ISCHR(gone.st_mode));
    assert_int_equal(gone.st_rdev, makedev(0, 0));
    assert_true(is_opaque(&box, "opt"));
    assert_content(&box, "opt/new", "n");
    assert_false(is_opaque(&box, "etc"));
    assert_int_equal(faccessat(box.root_fd, "srv/plnk", F_OK, 0), -1);
    const char *const opaque[] = {"first", "second", "third"};
    for (size_t i = 0; i < ARRAY_LEN(opaque); i++) {
        assert_true(is_opaque(&box, opaque[i]));
    }
    assert_content(&box, "third/a", "a");
    assert_content(&box, "file", "f");
    assert_false(box.info.opaque);
    box_deinit(&box);

    // overlayfs does not read the attribute of a root, so the store must remember it.
    box_init(&box);
    static const struct fixture_entry root[] = {{".wh..wh..opq", FIXTURE_FILE}};
    assert_int_equal(unpack(&box, root, ARRAY_LEN(root)), 0);
    assert_true(box.info.opaque);
    box_deinit(&box);
}

static void image_layer_unpack_lets_later_entries_win(void **state)
{
    IGNORE(root_only(state), "skips by itself");
    struct box box;
    box_init(&box);
    static const struct fixture_entry entries[] = {
        {"a", FIXTURE_FILE, "old"},
        {"a", FIXTURE_FILE, "new"},
        {"d/x", FIXTURE_FILE, "x"},
        {"d", FIXTURE_FILE, "now a file"},
        {"e", FIXTURE_FILE, "was a file"},
        {"e", FIXTURE_DIRECTORY},
        {"e/y", FIXTURE_FILE, "y"},
        {"l", FIXTURE_LINK, "a"},
        {"l", FIXTURE_FILE, "not through the link"},
        {"same", FIXTURE_FILE, "s"},
        {"same", FIXTURE_HARD_LINK, "same"},
        {"/absolute", FIXTURE_FILE, "inside"},
        {"usr/lib/so", FIXTURE_FILE, "1"},
        {"lib", FIXTURE_LINK, "usr/lib"},
        {"lib/so", FIXTURE_FILE, "2"},
    };
    assert_int_equal(unpack(&box, entries, ARRAY_LEN(entries)), 0);
    assert_content(&box, "a", "new");
    assert_content(&box, "d", "now a file");
    assert_content(&box, "e/y", "y");
    assert_content(&box, "l", "not through the link");
    assert_content(&box, "same", "s");
    assert_content(&box, "absolute", "inside");
    assert_content(&box, "usr/lib/so", "2");
    box_deinit(&box);
}

// Nothing in an archive may touch a file outside its layer. box_deinit() looks.
static void image_layer_unpack_stays_inside(void **state)
{
    IGNORE(root_only(state), "skips by itself");
    static const struct {
        const char *name;
        struct fixture_entry entries[3];
        size_t count;
        int want_rc;
    } cases[] = {
        {"up and out", {{"../outside/new", FIXTURE_FILE, "x"}}, 1, ERR_INVALID},
        {"up in the middle", {{"a/../../outside/new", FIXTURE_FILE, "x"}}, 1, ERR_INVALID},
        {"up at the end", {{"a/..", FIXTURE_DIRECTORY}}, 1, ERR_INVALID},
        {"through a relative link",
         {{"l", FIXTURE_LINK, "../outside"}, {"l/new", FIXTURE_FILE, "x"}},
         2,
         ERR_INVALID},
        {"through an absolute link",
         {{"l", FIXTURE_LINK, "/tmp"}, {"l/berth-escape", FIXTURE_FILE, "x"}},
         2,
         ERR_INVALID},
        {"through two links",
         {{"a", FIXTURE_LINK, "."},
          {"a/b", FIXTURE_LINK, "../outside"},
          {"b/new", FIXTURE_FILE, "x"}},
         3,
         ERR_INVALID},
        {"onto a link",
         {{"l", FIXTURE_LINK, "../outside/secret"}, {"l", FIXTURE_FILE, "overwritten"}},
         2,
         0},
        {"a mode through a link",
         {{"l", FIXTURE_LINK, "../outside/secret"}, {"l", FIXTURE_CHAR, .mode = 0777}},
         2,
         0},
        {"a hard link out", {{"h", FIXTURE_HARD_LINK, "../outside/secret"}}, 1, ERR_INVALID},
        {"a hard link to an absolute path",
         {{"h", FIXTURE_HARD_LINK, "/etc/passwd"}},
         1,
         ERR_INVALID},
        {"a hard link through a link",
         {{"l", FIXTURE_LINK, "../outside"}, {"h", FIXTURE_HARD_LINK, "l/secret"}},
         2,
         ERR_INVALID},
        {"a hard link to a link, then through it",
         {{"l", FIXTURE_LINK, "../outside/secret"},
          {"h", FIXTURE_HARD_LINK, "l"},
          {"h", FIXTURE_FILE, "overwritten"}},
         3,
         0},
        {"a hard link to nothing", {{"h", FIXTURE_HARD_LINK, "nothing"}}, 1, ERR_INVALID},
        {"a hard link to the root", {{"h", FIXTURE_HARD_LINK, "/"}}, 1, ERR_INVALID},
        {"a whiteout of the parent", {{"a/.wh...", FIXTURE_FILE}}, 1, ERR_INVALID},
        {"a whiteout of itself", {{"a/.wh..", FIXTURE_FILE}}, 1, ERR_INVALID},
        {"a whiteout of nothing", {{"a/.wh.", FIXTURE_FILE}}, 1, ERR_INVALID},
        {"opaque through a link",
         {{"l", FIXTURE_LINK, "../outside"}, {"l/.wh..wh..opq", FIXTURE_FILE}},
         2,
         ERR_INVALID},
        {"a directory time through a link",
         {{"d", FIXTURE_DIRECTORY, .mtime = 7}, {"d", FIXTURE_LINK, "../outside"}},
         2,
         0},
        {"below a file", {{"f", FIXTURE_FILE, "x"}, {"f/g", FIXTURE_FILE, "y"}}, 2, ERR_INVALID},
        {"a file as the root", {{".", FIXTURE_FILE, ""}}, 1, ERR_INVALID},
        {"steering overlayfs",
         {{"d", FIXTURE_FILE, "x", .xattr = "trusted.overlay.redirect"}},
         1,
         0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct box box;
        box_init(&box);
        int rc = unpack(&box, cases[i].entries, cases[i].count);
        print_message("  %s\n", rc == 0 ? "unpacked" : box.err.text);
        assert_int_equal(rc, cases[i].want_rc);
        assert_int_equal(access("/tmp/berth-escape", F_OK), -1);
        if (rc == 0) {
            int fd = openat(box.root_fd, "d", O_RDONLY | O_NOFOLLOW);
            char value[8];
            assert_true(fd < 0 || fgetxattr(fd, "trusted.overlay.redirect", value, 8) < 0);
            fd_close(fd);
        }
        box_deinit(&box);
    }
}

static void image_layer_unpack_has_limits(void **state)
{
    IGNORE(root_only(state), "skips by itself");
    AUTO(buf_deinit) struct buf deep = {0};
    for (int i = 0; i < IMAGE_DEPTH_MAX; i++) {
        buf_string(&deep, "d/");
    }
    AUTO(buf_deinit) struct buf wide = {0};
    for (int i = 0; i < 256; i++) {
        buf_string(&wide, "w");
    }
    struct {
        const char *path;
        int want_rc;
    } cases[] = {
        {deep.data, 0},
        {NULL, ERR_INVALID},
        {wide.data, ERR_INVALID},
        {wide.data + 1, 0},
    };
    AUTO(alloc_string) char *deeper = alloc_format("%sd", deep.data);
    cases[1].path = deeper;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct box box;
        box_init(&box);
        const struct fixture_entry entry = {cases[i].path, FIXTURE_DIRECTORY};
        assert_int_equal(unpack(&box, &entry, 1), cases[i].want_rc);
        box_deinit(&box);
    }
}

// Damage of every kind ends in ERR_INVALID, never in half a file that passes for whole.
static void image_layer_unpack_refuses_damage(void **state)
{
    IGNORE(root_only(state), "skips by itself");
    static const struct fixture_entry entries[] = {
        {"a", FIXTURE_FILE,
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}};
    AUTO(buf_deinit) struct buf tar = {0};
    AUTO(buf_deinit) struct buf gzip = {0};
    AUTO(buf_deinit) struct buf zstd = {0};
    fixture_tar(entries, 1, &tar);
    fixture_gzip(buf_view(&tar), &gzip);
    fixture_zstd(buf_view(&tar), &zstd);
    const struct {
        const char *name;
        struct text bytes;
        int want_rc;
    } cases[] = {
        {"nothing at all", TEXT(""), 0},
        {"whole, gzip", buf_view(&gzip), 0},
        {"whole, zstd", buf_view(&zstd), 0},
        {"no tar", TEXT("this is not a tar archive, nor compressed"), ERR_INVALID},
        {"tar cut", text_slice(buf_view(&tar), 0, 530), ERR_INVALID},
        {"gzip cut", text_slice(buf_view(&gzip), 0, gzip.size / 2), ERR_INVALID},
        {"zstd cut", text_slice(buf_view(&zstd), 0, zstd.size / 2), ERR_INVALID},
        {"only gzip's magic", text_slice(buf_view(&gzip), 0, 4), ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct box box;
        box_init(&box);
        assert_int_equal(unpack_bytes(&box, cases[i].bytes), cases[i].want_rc);
        box_deinit(&box);
    }
    for (size_t at = 0; at < gzip.size; at += 7) {
        struct box box;
        box_init(&box);
        gzip.data[at] ^= 0x55;
        int rc = unpack_bytes(&box, buf_view(&gzip));
        gzip.data[at] ^= 0x55;
        assert_true(rc == 0 || rc == ERR_INVALID); // the digest catches what gzip does not
        box_deinit(&box);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_layer_unpack_keeps_attributes),
        cmocka_unit_test(image_layer_unpack_translates_whiteouts),
        cmocka_unit_test(image_layer_unpack_lets_later_entries_win),
        cmocka_unit_test(image_layer_unpack_stays_inside),
        cmocka_unit_test(image_layer_unpack_has_limits),
        cmocka_unit_test(image_layer_unpack_refuses_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
