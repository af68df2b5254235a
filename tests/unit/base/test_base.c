// Unit tests of src/base: errors, arenas, text, buffers, maps, files.

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void err_keeps_code_and_builds_one_sentence(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(err_sys(&err, ENOENT, "opening '%s'", "x"), ERR_NOT_FOUND);
    assert_string_equal(err.text, "opening 'x': No such file or directory");
    assert_int_equal(err_wrap(&err, "reading the plan of task %d", 7), ERR_NOT_FOUND);
    assert_string_equal(err.text,
                        "reading the plan of task 7: opening 'x': No such file or directory");
    assert_int_equal(err_sys(&err, ENOSPC, "x"), ERR_FULL_DISK);
    assert_string_equal(err_name(ERR_BUSY), "in use");
    assert_string_equal(err_name(12345), "unknown error");
}

static void err_never_overflows(void **state)
{
    (void)state;
    char *text = alloc_zero(5000);
    memset(text, 'a', 4999);
    struct err err;
    assert_int_equal(err_set(&err, ERR_INVALID, "%s", text), ERR_INVALID);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_int_equal(err_wrap(&err, "%s", text), ERR_INVALID);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    alloc_free(text);
}

static void arena_memory_is_zero_aligned_and_reusable(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 9000; size = size * 2 + 1) {
            unsigned char *bytes = arena_alloc(&arena, size);
            assert_int_equal((uintptr_t)bytes % 16, 0);
            for (size_t i = 0; i < size; i++) {
                assert_int_equal(bytes[i], 0);
            }
            memset(bytes, 0xff, size);
        }
        arena_reset(&arena);
        assert_int_equal(arena.total_bytes, 0);
    }
    assert_true(text_is(arena_format(&arena, "%s-%d", "a", 1), "a-1"));
    assert_null(arena_text(&arena, (struct text){0}).data);
    assert_non_null(arena_text(&arena, TEXT("")).data);
}

static void text_parses_numbers_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        int64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"-1", 0, -1},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9223372036854775808", ERR_INVALID, 0},
        {"-9223372036854775809", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"-", ERR_INVALID, 0},
        {"+1", ERR_INVALID, 0},
        {" 1", ERR_INVALID, 0},
        {"1a", ERR_INVALID, 0},
        {"99999999999999999999999999", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].text);
        int64_t value = 0;
        assert_int_equal(text_to_i64(text_of(cases[i].text), &value), cases[i].rc);
        assert_int_equal(value, cases[i].value);
    }
}

static void text_knows_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool valid;
    } cases[] = {
        {"plain", 5, true},
        {"\xc3\xa9", 2, true},
        {"\xe2\x82\xac", 3, true},
        {"\xf0\x9f\x90\xb3", 4, true},
        {"\xf4\x8f\xbf\xbf", 4, true},
        {"\xc0\x80", 2, false},         // overlong NUL
        {"\xe0\x80\xaf", 3, false},     // overlong slash
        {"\xed\xa0\x80", 3, false},     // a surrogate
        {"\xf4\x90\x80\x80", 4, false}, // over U+10FFFF
        {"\xf5\x80\x80\x80", 4, false},
        {"\xc3", 1, false}, // cut off
        {"\x80", 1, false}, // a continuation alone
        {"\xc3\x28", 2, false},
        {"\xff", 1, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("case %zu\n", i);
        assert_int_equal(text_is_utf8((struct text){cases[i].bytes, cases[i].size}),
                         cases[i].valid);
    }
}

static void text_cuts_and_compares(void **state)
{
    (void)state;
    struct text rest = TEXT("a,,b");
    assert_true(text_is(text_cut(&rest, ','), "a"));
    assert_true(text_is(text_cut(&rest, ','), ""));
    assert_true(text_is(text_cut(&rest, ','), "b"));
    assert_null(rest.data);
    assert_true(text_equal((struct text){0}, (struct text){0}));
    assert_false(text_equal((struct text){0}, TEXT("")));
    assert_true(text_equal_nocase(TEXT("Host"), TEXT("hOST")));
    assert_true(text_compare(TEXT("ab"), TEXT("abc")) < 0);
    assert_true(text_compare(TEXT("b"), TEXT("abc")) > 0);
    assert_true(text_starts(TEXT("abc"), TEXT("ab")));
    assert_false(text_starts(TEXT("a"), TEXT("ab")));
    assert_true(text_ends(TEXT("abc"), TEXT("bc")));
    assert_true(text_is(text_trim(TEXT(" \t x y\r\n")), "x y"));
    assert_int_equal(text_find_last(TEXT("a/b/c"), '/'), 3);
    assert_int_equal(text_find(TEXT("abc"), '/'), SIZE_MAX);
    assert_true(text_made_of(TEXT("azAZ09-_"), "-_"));
    assert_true(text_made_of(TEXT(""), ""));
    assert_false(text_made_of(TEXT("a/b"), "-_"));
    assert_false(text_made_of(TEXT("a\0b"), "-_"));
    assert_false(text_made_of(TEXT("\xe4"), "-_"));
    unsigned char bytes[2];
    assert_int_equal(text_unhex(TEXT("0aFf"), bytes, 2), 0);
    assert_int_equal(bytes[1], 0xff);
    assert_int_equal(text_unhex(TEXT("0aFg"), bytes, 2), ERR_INVALID);
    assert_int_equal(text_unhex(TEXT("0a"), bytes, 2), ERR_INVALID);
    char small[4];
    assert_int_equal(text_copy(TEXT("abc"), small, sizeof(small)), 0);
    assert_int_equal(text_copy(TEXT("abcd"), small, sizeof(small)), ERR_NO_ROOM);
}

static void buf_stops_at_its_limit_and_says_so(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf buf = {.limit_bytes = 10};
    buf_string(&buf, "12345");
    buf_format(&buf, "%s", "67890");
    assert_false(buf.full);
    buf_byte(&buf, 'x');
    assert_true(buf.full);
    buf_byte(&buf, 'y');
    assert_true(text_is(buf_view(&buf), "1234567890"));
    buf_consume(&buf, 3);
    assert_true(text_is(buf_view(&buf), "4567890"));
    buf_reset(&buf);
    assert_false(buf.full);
    assert_true(text_is(buf_view(&buf), ""));
}

static void buf_percent_encodes_what_is_reserved(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf buf = {0};
    buf_percent(&buf, TEXT("aZ0-_.~ /?\xe4\0%"));
    assert_string_equal(buf.data, "aZ0-_.~%20%2F%3F%E4%00%25");
}

static void map_finds_what_a_naive_list_finds(void **state)
{
    (void)state;
    AUTO(map_deinit) struct map map = {0};
    enum { KEYS = 500 };
    void *naive[KEYS] = {0};
    uint32_t dice = 12345;
    for (int step = 0; step < 20000; step++) {
        dice = dice * 1664525u + 1013904223u;
        uint64_t key = (dice >> 8) % KEYS;
        if (dice >> 31) {
            void *value = (void *)(uintptr_t)(step + 1);
            assert_ptr_equal(map_put_u64(&map, key, value), naive[key]);
            naive[key] = value;
        } else {
            assert_ptr_equal(map_remove_u64(&map, key), naive[key]);
            naive[key] = NULL;
        }
    }
    size_t alive = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        assert_ptr_equal(map_get_u64(&map, key), naive[key]);
        alive += naive[key] != NULL ? 1 : 0;
    }
    size_t cursor = 0;
    size_t walked = 0;
    while (map_next(&map, &cursor, NULL) != NULL) {
        walked++;
    }
    assert_int_equal(walked, alive);
    assert_int_equal(map.count, alive);
}

static char *make_folder(void)
{
    char *folder = alloc_string("/tmp/berth-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void file_replace_is_whole_or_nothing(void **state)
{
    (void)state;
    AUTO(alloc_string) char *folder = make_folder();
    AUTO(alloc_string) char *path = alloc_format("%s/file", folder);
    struct err err;
    assert_int_equal(file_replace(AT_FDCWD, path, 0600, TEXT("one"), &err), 0);
    assert_int_equal(file_replace(AT_FDCWD, path, 0600, TEXT("two"), &err), 0);
    AUTO(buf_deinit) struct buf content = {0};
    assert_int_equal(file_read(AT_FDCWD, path, 100, &content, &err), 0);
    assert_true(text_is(buf_view(&content), "two"));
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    buf_reset(&content);
    assert_int_equal(file_read(AT_FDCWD, path, 2, &content, &err), ERR_NO_ROOM);
    // What is kept is the file itself, not another one of its content.
    ino_t inode = about.st_ino;
    assert_int_equal(file_keep(AT_FDCWD, path, 0600, TEXT("two"), &err), 0);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_ino, inode);
    static const char *const others[] = {"tw", "twos", ""};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(file_keep(AT_FDCWD, path, 0600, text_of(others[i]), &err), 0);
        buf_reset(&content);
        assert_int_equal(file_read(AT_FDCWD, path, 100, &content, &err), 0);
        assert_true(text_is(buf_view(&content), others[i]));
    }
    AUTO(alloc_string) char *missing = alloc_format("%s/none/file", folder);
    assert_int_equal(file_replace(AT_FDCWD, missing, 0600, TEXT("x"), &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, missing));
    assert_int_equal(file_remove_tree(AT_FDCWD, folder, &err), 0);
}

// Links must be removed, never followed: their targets belong to somebody else.
static void file_remove_tree_follows_no_link(void **state)
{
    (void)state;
    struct err err;
    AUTO(alloc_string) char *kept = make_folder();
    AUTO(alloc_string) char *kept_file = alloc_format("%s/keep", kept);
    assert_int_equal(file_replace(AT_FDCWD, kept_file, 0600, TEXT("x"), &err), 0);
    AUTO(alloc_string) char *folder = make_folder();
    AUTO(alloc_string) char *deep = alloc_format("%s/a/b/c/d", folder);
    AUTO(alloc_string) char *link = alloc_format("%s/a/b/link", folder);
    assert_int_equal(file_make_dirs(deep, 0700, &err), 0);
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, folder, &err), 0);
    assert_int_equal(access(folder, F_OK), -1);
    assert_int_equal(access(kept_file, F_OK), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, folder, &err), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, kept, &err), 0);
}

// A tree that is named by an absolute path has a file system of its own, wherever the process is:
// /run is one, and daemons start in another folder.
static void file_remove_tree_works_from_anywhere(void **state)
{
    (void)state;
    struct err err;
    AUTO(alloc_string) char *folder = make_folder();
    AUTO(alloc_string) char *deep = alloc_format("%s/a/b", folder);
    AUTO(fd_close) int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(file_make_dirs(deep, 0700, &err), 0);
    assert_int_equal(chdir("/proc"), 0);
    int rc = file_remove_tree(AT_FDCWD, folder, &err);
    assert_int_equal(fchdir(before), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(access(folder, F_OK), -1);
}

static void file_read_takes_files_of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 20479, 20480, 20481, 100000};
    AUTO(alloc_string) char *folder = make_folder();
    AUTO(alloc_string) char *path = alloc_format("%s/file", folder);
    AUTO(alloc_string) char *bytes = alloc_zero(100000);
    struct err err;
    for (size_t i = 0; i < 100000; i++) {
        bytes[i] = (char)('a' + i % 23);
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTO(buf_deinit) struct buf content = {0};
        struct text want = {bytes, sizes[i]};
        buf_string(&content, "before:");
        assert_int_equal(file_replace(AT_FDCWD, path, 0600, want, &err), 0);
        assert_int_equal(file_read(AT_FDCWD, path, sizes[i], &content, &err), 0);
        assert_int_equal(content.size, 7 + sizes[i]);
        assert_memory_equal(content.data, "before:", 7);
        assert_memory_equal(content.data + 7, bytes, sizes[i]);
        assert_int_equal(content.data[content.size], 0);
        buf_reset(&content);
        if (sizes[i] > 0) {
            assert_int_equal(file_read(AT_FDCWD, path, sizes[i] - 1, &content, &err), ERR_NO_ROOM);
        }
    }
    assert_int_equal(file_remove_tree(AT_FDCWD, folder, &err), 0);
}

static void fd_raise_leaves_the_lower_ones(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit few = {FD_HIGH, limit.rlim_max};
    const struct rlimit many = {limit.rlim_max, limit.rlim_max};
    int low = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_in_range(low, 0, FD_HIGH - 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(fd_raise(low), low);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
    if (limit.rlim_max > FD_HIGH) {
        AUTO(fd_close) int high = fd_raise(low);
        assert_true(high >= FD_HIGH);
        assert_int_equal(fcntl(high, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fd_raise(high), high);
        assert_int_equal(fcntl(low, F_GETFD), -1); // it was moved, not copied
    } else {
        fd_close(low);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void descriptors_go_over_a_socket(void **state)
{
    (void)state;
    int ends[2];
    int pipe_fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(fd_receive(ends[1]), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fd_send(ends[0], pipe_fds[1]), 0);
    int got = fd_receive(ends[1]);
    char byte = 0;
    assert_true(got >= 0 && got != pipe_fds[1]);
    assert_int_equal(write(got, "x", 1), 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    fd_close(ends[1]);
    assert_int_equal(fd_send(ends[0], got), -1);
    assert_int_equal(errno, EPIPE);
    fd_close(ends[0]);
    fd_close(got);
    fd_close(pipe_fds[0]);
    fd_close(pipe_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_go_over_a_socket),
        cmocka_unit_test(err_keeps_code_and_builds_one_sentence),
        cmocka_unit_test(err_never_overflows),
        cmocka_unit_test(arena_memory_is_zero_aligned_and_reusable),
        cmocka_unit_test(text_parses_numbers_strictly),
        cmocka_unit_test(text_knows_utf8),
        cmocka_unit_test(text_cuts_and_compares),
        cmocka_unit_test(buf_stops_at_its_limit_and_says_so),
        cmocka_unit_test(buf_percent_encodes_what_is_reserved),
        cmocka_unit_test(map_finds_what_a_naive_list_finds),
        cmocka_unit_test(file_replace_is_whole_or_nothing),
        cmocka_unit_test(file_remove_tree_follows_no_link),
        cmocka_unit_test(file_remove_tree_works_from_anywhere),
        cmocka_unit_test(file_read_takes_files_of_any_size),
        cmocka_unit_test(fd_raise_leaves_the_lower_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
