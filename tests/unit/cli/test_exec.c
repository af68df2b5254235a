#include "base/text.h"
#include "cli/exec_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_text(const struct buf *got, const char *want)
{
    struct text view = buf_view(got);
    if (!text_is(view, want)) {
        print_error("wanted %s\n   got %.*s\n", want, TEXT_FMT(view));
    }
    assert_true(text_is(view, want));
}

// One word is a command line; of several each stays one word for who splits the line.
static void words_become_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *words[4];
        size_t count;
        const char *want;
    } cases[] = {
        {{"sh"}, 1, "sh"},
        {{"ls -l 'a b'"}, 1, "ls -l 'a b'"},
        {{""}, 1, ""},
        {{"ls", "-l", "/etc/a_b.c"}, 3, "ls -l /etc/a_b.c"},
        {{"sh", "-c", "echo $A"}, 3, "sh -c 'echo $A'"},
        {{"echo", "it's", ""}, 3, "echo 'it'\\''s' ''"},
        {{"echo", "a\nb", "\"", "\\"}, 4, "echo 'a\nb' '\"' '\\'"},
        {{"echo", "~", "*", "{a}"}, 4, "echo '~' '*' '{a}'"},
        {{"env", "A=b:c,d@e%f+g"}, 2, "env A=b:c,d@e%f+g"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf line = {0};
        exec_command_line(cases[i].words, cases[i].count, &line);
        assert_text(&line, cases[i].want);
    }
}

// The terminal at the other end takes its character for an end at the begin of a line only.
static void the_end_of_input(void **state)
{
    (void)state;
    assert_true(text_is(exec_input_end(false, 0), "\x04"));
    assert_true(text_is(exec_input_end(true, '\n'), "\x04"));
    assert_true(text_is(exec_input_end(true, 'x'), "\x04\x04"));
}

// Line ends are those of files, wherever the parts of the output were cut.
static void output_for_files(void **state)
{
    (void)state;
    static const struct {
        const char *parts[4];
        const char *want;
    } cases[] = {
        {{"a\r\nb\r\n"}, "a\nb\n"},
        {{"a\r", "\nb"}, "a\nb"},
        {{"a\r", "b"}, "a\rb"},
        {{"a\r"}, "a\r"},
        {{"\r\r\n\r", "\r", "\n"}, "\r\n\r\n"},
        {{"", "\n"}, "\n"},
        {{"10%\r20%\r\n"}, "10%\r20%\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf_deinit) struct buf out = {0};
        struct exec_plain plain = {0};
        for (size_t part = 0; part < 4 && cases[i].parts[part] != NULL; part++) {
            exec_plain_add(&plain, text_of(cases[i].parts[part]), &out);
        }
        exec_plain_end(&plain, &out);
        assert_text(&out, cases[i].want);
    }
}

static void a_size_is_two_numbers(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf out = {0};
    assert_false(exec_size_json(0, 24, &out));
    assert_false(exec_size_json(80, 0, &out));
    assert_int_equal(out.size, 0);
    assert_true(exec_size_json(80, 24, &out));
    assert_text(&out, "{\"cols\":80,\"rows\":24}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_become_a_line),
        cmocka_unit_test(the_end_of_input),
        cmocka_unit_test(output_for_files),
        cmocka_unit_test(a_size_is_two_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
