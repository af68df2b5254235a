#include "base/text.h"
#include "server/role.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define KEY TEXT("0011223344556677001122334455667700112233445566770011223344556677")
#define NOW INT64_C(1700000000123)

static struct session_role_credentials *mint(struct arena *arena)
{
    struct session_role_credentials asked = {.credentials_id = TEXT("id"),
                                             .role_arn =
                                                 TEXT("arn:aws:iam::999999999999:role/app/reader")};
    const struct session_iam_role_credentials_message message = {
        .task_arn = TEXT("arn:aws:ecs:eu-west-1:000000000001:task/c/d64d"),
        .role_credentials = &asked};
    return role_mint(KEY, &message, NOW, arena);
}

static void what_was_minted_is_known(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    const struct session_role_credentials *keys = mint(&arena);
    struct identity_record_role_session session = {0};
    struct text secret = {0};
    assert_int_equal(role_verify(KEY, keys->session_token, &arena, &session, &secret), 0);
    // The account is the task's: a role's ARN may say anything.
    assert_true(text_is(session.account, "000000000001"));
    assert_true(text_is(session.role, "reader"));
    assert_true(text_is(session.session, "d64d"));
    assert_true(text_equal(session.access_key_id, keys->access_key_id));
    assert_true(text_equal(secret, keys->secret_access_key));
    assert_int_equal(secret.size, 40);
    assert_int_equal(session.expires_at, (NOW + ROLE_LIFE_MS) / 1000 * 1000);
    assert_true(text_is(keys->expiration, "2023-11-15T04:13:20Z"));
    assert_true(text_is(keys->role_arn, "arn:aws:iam::999999999999:role/app/reader"));
}

static void each_has_keys_of_its_own(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    const struct session_role_credentials *one = mint(&arena);
    const struct session_role_credentials *two = mint(&arena);
    assert_false(text_equal(one->access_key_id, two->access_key_id));
    assert_false(text_equal(one->secret_access_key, two->secret_access_key));
    assert_false(text_equal(one->session_token, two->session_token));
}

// Every character counts, and so does the key.
static void what_was_changed_is_refused(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct identity_record_role_session session = {0};
    struct text secret = {0};
    struct text token = mint(&arena)->session_token;
    assert_int_equal(role_verify(TEXT("another"), token, &arena, &session, &secret), ERR_DENIED);
    char *changed = arena_alloc(&arena, token.size);
    size_t refused = 0;
    for (size_t i = 0; i < token.size && token.data[i] != '='; i++) {
        memcpy(changed, token.data, token.size);
        // The bit that is changed is none of those that padding leaves unused.
        changed[i] = token.data[i] == 'Q' ? 'g' : 'Q';
        refused += role_verify(KEY, (struct text){changed, token.size}, &arena, &session,
                               &secret) == ERR_DENIED;
        refused += changed[i] == token.data[i];
    }
    assert_true(refused + 2 >= token.size);
}

static void what_is_no_token_is_refused(void **state)
{
    (void)state;
    static char longest[4096];
    memset(longest, 'A', sizeof(longest));
    const struct text cases[] = {
        TEXT(""),
        {0},
        TEXT("AAAA"),
        TEXT("===="),
        TEXT("AAA"),
        TEXT("\xff\xff\xff\xff"),
        TEXT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        {longest, sizeof(longest)},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct identity_record_role_session session = {0};
        struct text secret = {0};
        print_message("%zu: %.40s\n", i, cases[i].data == NULL ? "(none)" : cases[i].data);
        assert_int_equal(role_verify(KEY, cases[i], &arena, &session, &secret), ERR_DENIED);
    }
}

// An agent that hands credentials to whoever names them must have names that nobody can work out,
// and what it acknowledges must lead back to the task.
static void names_lead_back_and_tell_nothing(void **state)
{
    (void)state;
    const struct text task = TEXT("0123456789abcdef0123456789abcdef");
    char first[ROLE_ID_CHARS + 1];
    char again[ROLE_ID_CHARS + 1];
    char execution[ROLE_ID_CHARS + 1];
    char found[ROLE_TASK_CHARS + 1];
    role_credentials_id(KEY, task, TEXT("TaskApplication"), first);
    role_credentials_id(KEY, task, TEXT("TaskApplication"), again);
    role_credentials_id(KEY, task, TEXT("TaskExecution"), execution);
    assert_string_equal(first, again); // containers keep it for as long as they run
    assert_string_not_equal(first, execution);
    assert_int_equal(strlen(first), ROLE_ID_CHARS);
    assert_true(first[8] == '-' && first[13] == '-' && first[18] == '-' && first[23] == '-');
    assert_memory_not_equal(first, task.data, 8);
    assert_int_equal(role_credentials_task(KEY, text_of(first), TEXT("TaskApplication"), found), 0);
    assert_string_equal(found, task.data);
    // With another type or key it is the id of no task.
    assert_int_equal(role_credentials_task(KEY, text_of(first), TEXT("TaskExecution"), found), 0);
    assert_string_not_equal(found, task.data);
    assert_int_equal(
        role_credentials_task(TEXT("another"), text_of(first), TEXT("TaskApplication"), found), 0);
    assert_string_not_equal(found, task.data);
}

static void what_is_no_name_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        "-",
                                        "zz",
                                        "0123456789abcdef0123456789abcde",
                                        "0123456789abcdef0123456789abcdef0",
                                        "0123456789abcdef0123456789abcdeg"};
    char found[ROLE_TASK_CHARS + 1] = "untouched";
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        print_message("'%s'\n", names[i]);
        assert_int_equal(
            role_credentials_task(KEY, text_of(names[i]), TEXT("TaskApplication"), found),
            ERR_INVALID);
        assert_string_equal(found, "untouched");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_lead_back_and_tell_nothing),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(what_was_minted_is_known),
        cmocka_unit_test(each_has_keys_of_its_own),
        cmocka_unit_test(what_was_changed_is_refused),
        cmocka_unit_test(what_is_no_token_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
