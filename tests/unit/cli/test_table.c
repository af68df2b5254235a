// Unit tests of what the commands print: ages, short names, tables.

#include "cli/cli.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void ages_show_their_largest_unit(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *want;
    } cases[] = {
        {0, "0s"}, {59, "59s"}, {60, "1m"}, {3599, "59m"}, {3600, "1h"}, {86400 * 3, "3d"},
        {-5, "0s"},  // a clock that was set back
    };
    AUTO(arena_deinit) struct arena arena = {0};
    const int64_t now_ms = 1000000000000;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text age = cli_age(now_ms - cases[i].seconds * 1000, now_ms, &arena);
        assert_true(text_is(age, cases[i].want));
    }
    assert_null(cli_age(0, now_ms, &arena).data);
}

static void short_name_is_behind_the_last_slash(void **state)
{
    (void)state;
    assert_true(text_is(cli_short(TEXT("arn:aws:ecs:r:a:task/c/id")), "id"));
    assert_true(text_is(cli_short(TEXT("id")), "id"));
    assert_true(text_empty(cli_short((struct text){0})));
}

// Print a table into a pipe and read it back.
static void table_is_as_wide_as_its_cells(void **state)
{
    (void)state;
    static const char *const headings[] = {"A", "LONGER"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    cli_table_cell(&table, TEXT("value"));
    cli_table_cell(&table, (struct text){0});
    cli_table_number(&table, -7);
    cli_table_cell(&table, TEXT("x"));
    cli_table_cell(&table, TEXT("an incomplete row is not shown"));
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(pipes[1], STDOUT_FILENO);
    cli_table_print(&table);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(pipes[1]);
    char got[256] = {0};
    assert_true(read(pipes[0], got, sizeof(got) - 1) > 0);
    close(pipes[0]);
    assert_string_equal(got, "A      LONGER\n"
                             "value  -\n"
                             "-7     x\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages_show_their_largest_unit),
        cmocka_unit_test(short_name_is_behind_the_last_slash),
        cmocka_unit_test(table_is_as_wide_as_its_cells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
