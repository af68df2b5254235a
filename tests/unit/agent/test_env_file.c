#include "agent/agent_internal.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

// Where an environment file is: below what stands for S3, and nowhere else.
static void files_are_where_the_node_says(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *base;
        const char *want;
        const char *want_error;
    } cases[] = {
        {"arn:aws:s3:::b/k/x.env", "/srv/env", "/srv/env/b/k/x.env", NULL},
        {"arn:aws:s3:::b/x.env", "/srv/env//", "/srv/env/b/x.env", NULL},
        {"arn:aws-cn:s3:::b/x.env", "http://h:1/p", "http://h:1/p/b/x.env", NULL},
        {"arn:aws:s3:::b/x.env", NULL, NULL, "--environment-files"},
        {"arn:aws:s3:::b/../../x.env", "/srv/env", NULL, "no ARN of an object"},
        {"arn:aws:s3:::/x.env", "/srv/env", NULL, "no ARN of an object"},
        {"arn:x.env", "/srv/env", NULL, "no ARN of an object"},
        {"file:///etc/x.env", NULL, "/etc/x.env", NULL},
        {"https://h/p/x.env", "https://h/p", "https://h/p/x.env", NULL},
        {"https://h/p/x.env", "https://h/p/", "https://h/p/x.env", NULL},
        {"https://h/px.env", "https://h/p", NULL, "does not fetch"},
        {"https://h/p/../x.env", "https://h/p", NULL, "does not fetch"},
        {"http://h/p/x.env", "/srv/env", NULL, "does not fetch"},
        {"http://h/p/x.env", NULL, NULL, "does not fetch"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err = {0};
        struct text place = {0};
        print_message("%s\n", cases[i].value);
        int rc =
            agent_env_file_locate(text_of(cases[i].value), cases[i].base, &arena, &place, &err);
        if (cases[i].want_error == NULL) {
            assert_int_equal(rc, 0);
            assert_true(text_is(place, cases[i].want));
        } else {
            assert_int_equal(rc, ERR_INVALID);
            assert_non_null(strstr(err.text, cases[i].want_error));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_are_where_the_node_says)};
    return cmocka_run_group_tests_name("env_file", tests, NULL, NULL);
}
