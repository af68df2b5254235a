#include "base/text.h"
#include "shape/shape_extension.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void joined(struct text_list list, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < list.count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%.*s", i == 0 ? "" : "|", TEXT_FMT(list.items[i]));
    }
}

// A line is the shell's, unless it begins with CMD; numbers have the defaults of health checks.
static void labels_are_read(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_entry labels[] = {
        {TEXT("com.example.berth.x"), TEXT("theirs")},
        {TEXT("berth.post-start"), TEXT("a  'b'; c")},
        {TEXT("berth.pre-stop"), TEXT("CMD /bin/drain  --now ")},
        {TEXT("berth.readiness"), TEXT("CMD /check")},
        {TEXT("berth.readiness.retries"), TEXT("1")},
    };
    const struct text_map map = {labels, ARRAY_LEN(labels)};
    struct shape_extension extension = {0};
    struct shape_error error = {0};
    char words[128];
    assert_int_equal(shape_extension_read(&map, &arena, &extension, &error), 0);
    joined(extension.post_start, words, sizeof(words));
    assert_string_equal(words, "/bin/sh|-c|a  'b'; c");
    joined(extension.pre_stop, words, sizeof(words));
    assert_string_equal(words, "/bin/drain|--now");
    joined(extension.readiness.command, words, sizeof(words));
    assert_string_equal(words, "/check");
    assert_int_equal(extension.readiness.interval, 30);
    assert_int_equal(extension.readiness.timeout, 5);
    assert_int_equal(extension.readiness.retries, 1);
    assert_int_equal(extension.readiness.start_period, 0);
    assert_true(shape_extension_has_readiness(&map));
}

static void nothing_is_read_of_others(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_entry label = {TEXT("berthing"), TEXT("")};
    const struct text_map map = {&label, 1};
    struct shape_extension extension = {0};
    struct shape_error error = {0};
    assert_int_equal(shape_extension_read(&map, &arena, &extension, &error), 0);
    assert_int_equal(extension.post_start.count, 0);
    assert_int_equal(extension.pre_stop.count, 0);
    assert_int_equal(extension.readiness.command.count, 0);
    assert_false(shape_extension_has_readiness(&map));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        struct text_entry labels[2];
        const char *want_path;
        const char *want_text;
    } cases[] = {
        {{{TEXT("berth.poststart"), TEXT("a")}}, "berth.poststart", "no label"},
        {{{TEXT("berth.post-start"), TEXT("")}}, "berth.post-start", "a command"},
        {{{TEXT("berth.pre-stop"), TEXT("CMD  ")}}, "berth.pre-stop", "a command"},
        {{{TEXT("berth.readiness.interval"), TEXT("5")}}, "berth.readiness.interval", "needs"},
        {{{TEXT("berth.readiness"), TEXT("a")}, {TEXT("berth.readiness.interval"), TEXT("0")}},
         "berth.readiness.interval",
         "between 1 and 300"},
        {{{TEXT("berth.readiness"), TEXT("a")}, {TEXT("berth.readiness.timeout"), TEXT("soon")}},
         "berth.readiness.timeout",
         "between 1 and 60"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct text_entry labels[2] = {cases[i].labels[0], cases[i].labels[1]};
        const struct text_map map = {labels, labels[1].key.data == NULL ? 1 : 2};
        struct shape_extension extension = {0};
        struct shape_error error = {0};
        print_message("%s\n", cases[i].want_path);
        assert_int_equal(shape_extension_read(&map, &arena, &extension, &error), ERR_INVALID);
        assert_string_equal(error.path, cases[i].want_path);
        assert_non_null(strstr(error.text, cases[i].want_text));
        assert_int_equal(extension.readiness.command.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_read),
        cmocka_unit_test(nothing_is_read_of_others),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests_name("extension", tests, NULL, NULL);
}
