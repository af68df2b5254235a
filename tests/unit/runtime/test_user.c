#include "base/file.h"
#include "base/text.h"
#include "runtime/oci_internal.h"
#include "runtime/user.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// A root directory of an image, and beside it what no image may reach.
struct root {
    char directory[32];
    int fd;
};

static void write_text(const struct root *root, const char *name, const char *text)
{
    struct err err = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/%s", root->directory, name);
    assert_int_equal(file_replace(AT_FDCWD, path, 0644, text_of(text), &err), 0);
}

static int set_up(void **state)
{
    struct err err = {0};
    struct root *root = ALLOC(struct root);
    assert_int_equal(
        text_copy(TEXT("/tmp/berth-user-XXXXXX"), root->directory, sizeof(root->directory)), 0);
    assert_non_null(mkdtemp(root->directory));
    AUTO(alloc_string) char *etc = alloc_format("%s/root/etc", root->directory);
    assert_int_equal(file_make_dirs(etc, 0755, &err), 0);
    write_text(root, "root/etc/passwd",
               "root:x:0:0:root:/root:/bin/sh\n"
               "broken line\n"
               "app:x:1000:1001:App:/home/app:/bin/sh\n"
               "1234:x:77:78::/seventy:/bin/sh\n"
               "bare:x:5:6");
    write_text(root, "root/etc/group", "root:x:0:\nstaff:x:50:app,bare\nother:x:60:x,app\n");
    AUTO(alloc_string) char *path = alloc_format("%s/root", root->directory);
    root->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root->fd >= 0);
    *state = root;
    return 0;
}

static int tear_down(void **state)
{
    struct err err = {0};
    struct root *root = *state;
    fd_close(root->fd);
    assert_int_equal(file_remove_tree(AT_FDCWD, root->directory, &err), 0);
    alloc_free(root);
    return 0;
}

static void users_resolve_as_in_docker(void **state)
{
    const struct root *root = *state;
    static const struct {
        const char *user;
        int want_rc;
        uint32_t uid;
        uint32_t gid;
        size_t group_count;
        const char *home;
    } cases[] = {
        {NULL, 0, 0, 0, 0, "/root"},
        {"", 0, 0, 0, 0, "/root"},
        {"root", 0, 0, 0, 0, "/root"},
        {"app", 0, 1000, 1001, 2, "/home/app"},
        {"1000", 0, 1000, 1001, 2, "/home/app"},
        {"app:staff", 0, 1000, 50, 0, "/home/app"},
        {"app:99", 0, 1000, 99, 0, "/home/app"},
        {"4242", 0, 4242, 0, 0, "/"},
        {"4242:4343", 0, 4242, 4343, 0, "/"},
        {"1234", 0, 77, 78, 0, "/seventy"},
        {"bare", 0, 5, 6, 1, "/"},
        {"nobody", ERR_NOT_FOUND, 0, 0, 0, NULL},
        {"app:nogroup", ERR_NOT_FOUND, 0, 0, 0, NULL},
        {":staff", 0, 0, 50, 0, "/root"},
        {"99999999999", ERR_NOT_FOUND, 0, 0, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err = {0};
        struct user user = {0};
        print_message("%s\n", cases[i].user == NULL ? "(absent)" : cases[i].user);
        assert_int_equal(user_resolve(root->fd, text_of(cases[i].user), &arena, &user, &err),
                         cases[i].want_rc);
        if (cases[i].want_rc == 0) {
            assert_int_equal(user.uid, cases[i].uid);
            assert_int_equal(user.gid, cases[i].gid);
            assert_int_equal(user.group_count, cases[i].group_count);
            assert_true(text_is(user.home, cases[i].home));
        }
    }
}

// Links in an image, absolute or upwards, end in the image.
static void links_stay_inside(void **state)
{
    const struct root *root = *state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(alloc_string) char *passwd = alloc_format("%s/root/etc/passwd", root->directory);
    AUTO(alloc_string) char *outside = alloc_format("%s/passwd", root->directory);
    AUTO(alloc_string) char *evil = alloc_format("%s/root/evil", root->directory);
    struct err err = {0};
    struct user user = {0};
    write_text(root, "passwd", "secret:x:666:666::/:/bin/sh\n");
    assert_int_equal(unlink(passwd), 0);
    assert_int_equal(symlink(outside, passwd), 0);
    assert_int_equal(user_resolve(root->fd, TEXT("secret"), &arena, &user, &err), ERR_NOT_FOUND);
    assert_int_equal(unlink(passwd), 0);
    assert_int_equal(symlink("../../passwd", passwd), 0);
    assert_int_equal(user_resolve(root->fd, TEXT("secret"), &arena, &user, &err), ERR_NOT_FOUND);
    assert_int_equal(unlink(passwd), 0);
    assert_int_equal(mkfifo(passwd, 0644), 0);
    assert_int_equal(user_resolve(root->fd, TEXT("7"), &arena, &user, &err), 0);
    assert_int_equal(symlink("../..", evil), 0);
    assert_int_equal(user_make_directory(root->fd, TEXT("/evil/made/here"), &err), 0);
    AUTO(alloc_string) char *made = alloc_format("%s/root/made/here", root->directory);
    assert_int_equal(access(made, F_OK), 0);
}

static void directories_are_made(void **state)
{
    const struct root *root = *state;
    struct err err = {0};
    assert_int_equal(user_make_directory(root->fd, TEXT("/"), &err), 0);
    assert_int_equal(user_make_directory(root->fd, TEXT("/a/b"), &err), 0);
    assert_int_equal(user_make_directory(root->fd, TEXT("/a/b"), &err), 0);
    struct stat status;
    assert_int_equal(fstatat(root->fd, "a/b", &status, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(status.st_mode, S_IFDIR | 0755);
    assert_true(user_make_directory(root->fd, TEXT("/etc/passwd/x"), &err) != 0);
}

static void resolv_conf_loses_loopback(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list servers = {0};
    oci_resolv_servers(TEXT("# nameserver 9.9.9.9\nsearch x\nnameserver 127.0.0.53\n"
                            "nameserver\t10.0.0.2 \nnameserver ::1\nnameserver fd00::2\n"
                            "nameserver 1.1.1.1\nnameserver 1.1.1.2\n"),
                       &servers, &arena);
    assert_int_equal(servers.count, 3);
    assert_true(text_is(servers.items[0], "10.0.0.2"));
    assert_true(text_is(servers.items[1], "fd00::2"));
    assert_true(text_is(servers.items[2], "1.1.1.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(users_resolve_as_in_docker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_stay_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(directories_are_made, set_up, tear_down),
        cmocka_unit_test(resolv_conf_loses_loopback),
    };
    return cmocka_run_group_tests_name("user", tests, NULL, NULL);
}
