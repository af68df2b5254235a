#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "secrets/source.h"

#define ARN "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-abcdef"

static void expect_text(struct text got, const char *want)
{
    if (!text_is(got, want) && !(want[0] == '\0' && text_empty(got))) {
        fail_msg("'%.*s' instead of '%s'", TEXT_FMT(got), want);
    }
}

static void value_from_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *value_from;
        int want_rc;
        bool parameter;
        const char *region;
        const char *id;
        const char *json_key;
        const char *version_stage;
        const char *version_id;
    } cases[] = {
        {ARN, 0, false, "eu-west-1", ARN, "", "", ""},
        {ARN ":key::", 0, false, "eu-west-1", ARN, "key", "", ""},
        {ARN "::AWSPREVIOUS:", 0, false, "eu-west-1", ARN, "", "AWSPREVIOUS", ""},
        {ARN ":key:stage:version", 0, false, "eu-west-1", ARN, "key", "stage", "version"},
        {ARN ":::", 0, false, "eu-west-1", ARN, "", "", ""},
        {ARN ":key", ERR_INVALID, false, "", "", "", "", ""},
        {ARN ":key:", ERR_INVALID, false, "", "", "", "", ""},
        {ARN ":key:stage:version:more", ERR_INVALID, false, "", "", "", "", ""},
        {"arn:aws:secretsmanager:eu-west-1:123456789012:secret:", ERR_INVALID, false, "", "", "",
         "", ""},
        {"arn:aws:secretsmanager:eu-west-1", ERR_INVALID, false, "", "", "", "", ""},
        {"arn:aws:secretsmanager:", ERR_INVALID, false, "", "", "", "", ""},
        {"arn:aws:ssm:eu-west-1:123456789012:parameter/a/b:3", 0, true, "eu-west-1",
         "arn:aws:ssm:eu-west-1:123456789012:parameter/a/b:3", "", "", ""},
        {"/a/b:label", 0, true, "", "/a/b:label", "", "", ""},
        {"name", 0, true, "", "name", "", "", ""},
        {"arn", 0, true, "", "arn", "", "", ""},
        {"", 0, true, "", "", "", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].value_from);
        struct secret_source source = {.id = TEXT("untouched")};
        int rc = secret_source_parse(text_of(cases[i].value_from), &source);
        assert_int_equal(rc, cases[i].want_rc);
        if (rc != 0) {
            expect_text(source.id, "untouched");
            continue;
        }
        assert_int_equal(source.parameter, cases[i].parameter);
        expect_text(source.region, cases[i].region);
        expect_text(source.id, cases[i].id);
        expect_text(source.json_key, cases[i].json_key);
        expect_text(source.version_stage, cases[i].version_stage);
        expect_text(source.version_id, cases[i].version_id);
    }
}

static void keys_of_objects_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *key;
        int want_rc;
        const char *want;
    } cases[] = {
        {"{\"a\":\"x\"}", "a", 0, "x"},
        {" {\n \"a\" : \"x\" ,\n \"b\" : 5432 }\n", "b", 0, "5432"},
        {"{\"a\":{\"b\":\"inner\"},\"b\":\"outer\"}", "b", 0, "outer"},
        {"{\"a\":[\"b\",{\"b\":1}],\"b\":true}", "b", 0, "true"},
        {"{\"a\":\"\\\",\\\"b\\\":1\",\"b\":null}", "b", 0, "null"},
        {"{\"a\":[1, \"}\"]}", "a", 0, "[1, \"}\"]"},
        {"{\"\\u0061\":\"\\u00e9\\n\\\\\"}", "a", 0, "\xc3\xa9\n\\"},
        {"{\"a\":-1.50e3}", "a", 0, "-1.50e3"},
        {"{\"\":\"x\"}", "", 0, "x"},
        {"{\"a\":\"\"}", "a", 0, ""},
        {"{}", "a", ERR_NOT_FOUND, NULL},
        {"{\"b\":\"a\"}", "a", ERR_NOT_FOUND, NULL},
        {"{\"b\":{\"a\":1}}", "a", ERR_NOT_FOUND, NULL},
        {"", "a", ERR_INVALID, NULL},
        {"plain", "a", ERR_INVALID, NULL},
        {"\"a\"", "a", ERR_INVALID, NULL},
        {"[{\"a\":1}]", "a", ERR_INVALID, NULL},
        {"{\"a\":1", "a", ERR_INVALID, NULL},
        {"{'a':1}", "a", ERR_INVALID, NULL},
        {"{\"a\":1}}", "a", ERR_INVALID, NULL},
        {"{\"a\":1},\"zzz\":{\"b\":1}", "a", ERR_INVALID, NULL},
        {"{\"a\":1}{\"a\":1}", "a", ERR_INVALID, NULL},
        {"{\"a\":1,\"a\":2}", "a", ERR_INVALID, NULL},
        {"{\"a\":\"\\", "a", ERR_INVALID, NULL},
        {"{\"a\":\"\xff\"}", "a", ERR_INVALID, NULL},
    };
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s of %s\n", cases[i].key, cases[i].json);
        struct text value = {0};
        assert_int_equal(
            secret_json_value(text_of(cases[i].json), text_of(cases[i].key), &arena, &value),
            cases[i].want_rc);
        if (cases[i].want != NULL) {
            assert_true(text_is(value, cases[i].want));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_from_is_taken_apart),
        cmocka_unit_test(keys_of_objects_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
