#include "image/image_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// image_normalise() must give what Docker gives, as task definitions are written for it.
static void image_normalise_follows_docker(void **state)
{
    (void)state;
    static const struct {
        const char *reference;
        const char *want; ///< NULL when it is refused
    } cases[] = {
        {"redis", "docker.io/library/redis:latest"},
        {"redis:6-alpine", "docker.io/library/redis:6-alpine"},
        {"pinterest/processor:v2.0", "docker.io/pinterest/processor:v2.0"},
        {"docker.io/redis", "docker.io/library/redis:latest"},
        {"index.docker.io/redis", "docker.io/library/redis:latest"},
        {"docker.io/a/b", "docker.io/a/b:latest"},
        {"quay.io/a/b/c:1", "quay.io/a/b/c:1"},
        {"localhost/x", "localhost/x:latest"},
        {"localhost:5000/x:y", "localhost:5000/x:y"},
        {"[::1]:5000/x", "[::1]:5000/x:latest"},
        {"Registry/x", "Registry/x:latest"},
        {"1.dkr.ecr.eu-west-1.amazonaws.com/a:B_c.d-e",
         "1.dkr.ecr.eu-west-1.amazonaws.com/a:B_c.d-e"},
        {"redis@sha256:" HEX64, "docker.io/library/redis@sha256:" HEX64},
        {"redis:6@sha256:" HEX64, "docker.io/library/redis:6@sha256:" HEX64},
        {"a--b__c/d.e", "docker.io/a--b__c/d.e:latest"},
        {"localhost:5000", "docker.io/library/localhost:5000"},
        {"", NULL},
        {"Redis", NULL},
        {"a//b", NULL},
        {"/a", NULL},
        {"a/", NULL},
        {"-a", NULL},
        {"a-", NULL},
        {"a..b", NULL},
        {"a___b", NULL},
        {"a:", NULL},
        {"a:-b", NULL},
        {"a:b c", NULL},
        {"a@sha256:abc", NULL},
        {"a@md5:" HEX64, NULL},
        {"a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", NULL},
        {HEX64, NULL},
        {"a.b-/c", NULL},
        {"a.b:port/c", NULL},
        {"../etc/passwd", NULL},
        {A50 A50 "/" A50 A50 "/" A50 A50, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].reference);
        AUTO(arena_deinit) struct arena arena = {0};
        struct text name;
        int rc = image_normalise(text_of(cases[i].reference), &arena, &name);
        if (cases[i].want == NULL) {
            assert_int_equal(rc, ERR_INVALID);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(name.data, cases[i].want);
        // What is normal stays as it is.
        struct text again;
        assert_int_equal(image_normalise(name, &arena, &again), 0);
        assert_string_equal(again.data, name.data);
    }
}

// Names become files: two names must never share one, and none may leave the directory.
static void image_name_file_is_one_to_one(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text file = image_name_file(TEXT("docker.io/library/redis:6"), &arena);
    assert_string_equal(file.data, "docker.io+library+redis=6");
    assert_true(image_name_file(TEXT("a.b/c:d"), &arena).size > 0);

    char name[256];
    memset(name, 'a', sizeof(name));
    struct text one = image_name_file((struct text){name, 255}, &arena);
    struct text two = image_name_file((struct text){name, 254}, &arena);
    assert_true(one.size < 255);
    assert_string_not_equal(one.data, two.data);
    assert_int_equal(one.data[0], '=');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_normalise_follows_docker),
        cmocka_unit_test(image_name_file_is_one_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
