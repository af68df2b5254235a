#include "agent/exec.h"
#include "base/buf.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void commands_are_split_as_by_a_shell(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *words; // each in brackets; NULL: refused
        const char *error;
    } cases[] = {
        {"/bin/sh", "[/bin/sh]", NULL},
        {"  sh\t-c \n 'echo  hi' ", "[sh][-c][echo  hi]", NULL},
        {"sh -c \"echo 'a b'\"", "[sh][-c][echo 'a b']", NULL},
        {"a\\ b c\\\\d \\'e", "[a b][c\\d]['e]", NULL},
        {"'a'\"b\"c", "[abc]", NULL},
        {"a '' \"\"", "[a][][]", NULL},
        {"a 'b\\n'", "[a][b\\n]", NULL},
        {"a \"b\\n\\\"\\$\\`\\\\\"", "[a][b\\n\"$`\\]", NULL},
        {"a\\\nb \"c\\\nd\"", "[ab][cd]", NULL},
        {"a $HOME * ; b | c > d &", "[a][$HOME][*][;][b][|][c][>][d][&]", NULL},
        {"a #b", "[a][#b]", NULL},
        {"caf\xc3\xa9 \xff", "[caf\xc3\xa9][\xff]", NULL},
        {"", NULL, "The command names no program."},
        {" \t ", NULL, "The command names no program."},
        {"'' a", NULL, "The command names no program."},
        {"a 'b", NULL, "The command has a ' without its end."},
        {"a \"b\\\"", NULL, "The command has a \" without its end."},
        {"a \"b\\", NULL, "The command has a \" without its end."},
        {"a \\", NULL, "The command ends with a \\ that escapes nothing."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf shown = {0};
        struct text_list words = {0};
        struct err err = {0};
        print_message("%s\n", cases[i].command);
        int rc = exec_split(text_of(cases[i].command), &arena, &words, &err);
        assert_int_equal(rc, cases[i].words == NULL ? ERR_INVALID : 0);
        for (size_t k = 0; k < words.count; k++) {
            buf_format(&shown, "[%.*s]", TEXT_FMT(words.items[k]));
        }
        if (cases[i].words != NULL) {
            assert_string_equal(shown.data, cases[i].words);
        } else {
            assert_string_equal(err.text, cases[i].error);
        }
    }
}

static void commands_are_bounded(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf command = {0};
    struct text_list words = {0};
    struct err err = {0};
    for (size_t i = 0; i < EXEC_WORDS_MAX; i++) {
        buf_string(&command, "a ");
    }
    assert_int_equal(exec_split(buf_view(&command), &arena, &words, &err), 0);
    assert_int_equal(words.count, EXEC_WORDS_MAX);
    buf_string(&command, "a");
    assert_int_equal(exec_split(buf_view(&command), &arena, &words, &err), ERR_INVALID);
    assert_string_equal(err.text, "The command has more than 1024 words.");
    buf_reset(&command);
    for (size_t i = 0; i <= EXEC_COMMAND_BYTES_MAX; i++) {
        buf_byte(&command, 'a');
    }
    assert_int_equal(exec_split(buf_view(&command), &arena, &words, &err), ERR_INVALID);
    assert_string_equal(err.text, "The command is longer than 16384 bytes.");
    static const char zero[] = "sh\0-c";
    assert_int_equal(exec_split((struct text){zero, sizeof(zero) - 1}, &arena, &words, &err),
                     ERR_INVALID);
    assert_string_equal(err.text, "The command holds a zero byte.");
}

/** A task with two containers. */
struct house {
    struct ecs_container_definition definitions[2];
    struct ecs_task_definition definition;
    struct session_task_spec spec;
    struct supervisor_container_state containers[2];
    struct supervisor_state state;
    struct agent_task_view view;
};

static void house_init(struct house *house)
{
    *house = (struct house){
        .definitions = {{.name = TEXT("web")}, {.name = TEXT("log")}},
        .containers = {{.name = TEXT("web"), .status = SUPERVISOR_STATUS_RUNNING},
                       {.name = TEXT("log"), .status = SUPERVISOR_STATUS_RUNNING}},
        .spec = {.has_enable_execute_command = true, .enable_execute_command = true},
    };
    house->definition.container_definitions.items = house->definitions;
    house->definition.container_definitions.count = 2;
    house->spec.definition = &house->definition;
    house->state.containers.items = house->containers;
    house->state.containers.count = 2;
    house->view = (struct agent_task_view){.spec = &house->spec, .state = &house->state};
}

static void commands_run_where_they_may(void **state)
{
    (void)state;
    struct house house;
    struct err err = {0};
    size_t index = 9;
    house_init(&house);
    assert_int_equal(exec_admit(&house.view, TEXT("log"), 1, &index, &err), 0);
    assert_int_equal(index, 1);
    house.containers[1].status = SUPERVISOR_STATUS_STOPPING;
    assert_int_equal(exec_admit(&house.view, TEXT("log"), 0, &index, &err), 0);
    assert_int_equal(exec_admit(&house.view, TEXT("log"), 2, &index, &err), ERR_NO_ROOM);
    assert_string_equal(err.text, "The container log has 2 sessions already, which is the limit. "
                                  "Exit one of them and try again.");
    house.containers[1].status = SUPERVISOR_STATUS_STOPPED;
    assert_int_equal(exec_admit(&house.view, TEXT("log"), 0, &index, &err), ERR_NOT_FOUND);
    assert_string_equal(err.text, "The container log is not running.");
    assert_int_equal(exec_admit(&house.view, TEXT("other"), 0, &index, &err), ERR_NOT_FOUND);
    assert_string_equal(err.text, "The container other does not exist in the task.");
    house.spec.enable_execute_command = false;
    assert_int_equal(exec_admit(&house.view, TEXT("web"), 0, &index, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.text, "The task was started without enableExecuteCommand.");
    house_init(&house);
    house.view.state = NULL;
    assert_int_equal(exec_admit(&house.view, TEXT("web"), 0, &index, &err), ERR_NOT_FOUND);
    house_init(&house);
    house.view.ended = true;
    assert_int_equal(exec_admit(&house.view, TEXT("web"), 0, &index, &err), ERR_NOT_FOUND);
    assert_string_equal(err.text, "The task is not running.");
    assert_int_equal(exec_admit(NULL, TEXT("web"), 0, &index, &err), ERR_NOT_FOUND);
}

static void ends_are_explained(void **state)
{
    (void)state;
    static const struct {
        struct exec_end end;
        const char *want;
    } cases[] = {
        {{.has_exit_code = true}, ""},
        {{.has_exit_code = true, .exit_code = 7}, ""},
        {{.has_exit_code = true, .exit_code = 130}, ""},
        {{.has_exit_code = true, .exit_code = 255}, ""},
        {{.has_exit_code = true, .exit_code = 139},
         "The command ended with exit code 139 (signal 11)."},
        {{.has_exit_code = true, .exit_code = 137, .container_ended = true},
         "The container has stopped."},
        {{.reason = {"no such file", 12}}, "Unable to start command: no such file"},
        {{.container_ended = true}, "The container has stopped."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct text said = exec_farewell(&cases[i].end, &arena);
        if (!text_is(said, cases[i].want)) {
            fail_msg("case %zu: '%.*s'", i, TEXT_FMT(said));
        }
    }
}

static void session_ids_are_plain(void **state)
{
    (void)state;
    assert_true(exec_id_valid(TEXT("ecs-execute-command-0123456789abcdefg")));
    assert_false(exec_id_valid(TEXT("")));
    assert_false(exec_id_valid(TEXT("../x")));
    assert_false(exec_id_valid(TEXT("a?b")));
    assert_false(exec_id_valid(TEXT("a b")));
    char longest[EXEC_ID_CHARS_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    assert_true(exec_id_valid((struct text){longest, EXEC_ID_CHARS_MAX}));
    assert_false(exec_id_valid((struct text){longest, EXEC_ID_CHARS_MAX + 1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_split_as_by_a_shell),
        cmocka_unit_test(commands_are_bounded),
        cmocka_unit_test(commands_run_where_they_may),
        cmocka_unit_test(ends_are_explained),
        cmocka_unit_test(session_ids_are_plain),
    };
    return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
