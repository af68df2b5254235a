// cmocka wants these in front of its own header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/text.h"
#include "ecs/constraint.h"

#include <string.h>

// An instance with attributes zone=a1, size=10, bare (no value), and tasks of the groups g and
// service:web.
static bool value(void *context, enum constraint_subject subject, struct text name, size_t index,
                  struct text *out_value)
{
    (void)context;
    static const char *const groups[] = {"g", "service:web"};
    if (subject == CONSTRAINT_TASK_GROUP) {
        *out_value = index < 2 ? text_of(groups[index]) : (struct text){0};
        return index < 2;
    }
    const char *found = NULL;
    switch (subject) {
    case CONSTRAINT_AGENT_CONNECTED:
        found = "true";
        break;
    case CONSTRAINT_AGENT_VERSION:
        found = "1.9.2";
        break;
    case CONSTRAINT_ATTRIBUTE:
        found = text_is(name, "zone")   ? "a1"
                : text_is(name, "size") ? "10"
                : text_is(name, "bare") ? ""
                                        : NULL;
        break;
    case CONSTRAINT_EC2_INSTANCE_ID:
        found = "i-0123";
        break;
    case CONSTRAINT_REGISTERED_AT:
        found = "1800000000000"; // 2027-01-15T08:00:00Z
        break;
    case CONSTRAINT_RUNNING_TASKS:
        found = "9";
        break;
    case CONSTRAINT_TASK_GROUP:
        break;
    }
    *out_value = text_of(found);
    return index == 0 && found != NULL;
}

static void expressions_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {"attribute:zone == a1", true},
        {"attribute:zone==a1", true},
        {"attribute:zone equals 'a1'", true},
        {"attribute:zone != a1", false},
        {"attribute:none != a1", true},
        {"attribute:none not_equals a1", true},
        {"attribute:size > 9", true}, // as numbers, not as text
        {"attribute:size >= 10", true},
        {"attribute:size < 10", false},
        {"attribute:size less_than_equal 10", true},
        {"attribute:none > 1", false},
        {"attribute:bare exists", true},
        {"attribute:bare !exists", false},
        {"attribute:none !exists", true},
        {"attribute:none not_exists", true},
        {"attribute:zone in [b, a1]", true},
        {"attribute:zone in ['b','c']", false},
        {"attribute:zone !in [b, c]", true},
        {"attribute:zone not_in [\"a1\"]", false},
        {"attribute:zone =~ a.*", true},
        {"attribute:zone =~ a", false}, // the whole value
        {"attribute:zone matches [ab][0-9]", true},
        {"attribute:zone =~ 'b|a\\d'", true},
        {"attribute:zone =~ ^a1$", true},
        {"attribute:zone =~ a1?1?", true},
        {"attribute:zone =~ [^a].", false},
        {"attribute:zone =~ a+1+", true},
        {"attribute:zone !~ b.*", true},
        {"agentConnected == true", true},
        {"ec2InstanceId in [i-0123]", true},
        {"runningTasksCount == 9", true},
        {"runningTasksCount < 10", true},
        {"registeredAt > 2027-01-15T07:59:59Z", true},
        {"registeredAt >= 2027-01-15T08:00:00Z", true},
        {"registeredAt < 2027-01-15", false},
        {"registeredAt == 1800000000", true},
        {"task:group == service:web", true},
        {"task:group == g", true},
        {"task:group == h", false},
        {"task:group != g", false}, // none of its tasks may be
        {"not(task:group == h)", true},
        {"not task:group == h", true},
        {"!(task:group == g)", false},
        {"attribute:zone == a1 and attribute:size == 11 or attribute:bare exists", true},
        {"attribute:bare exists or attribute:zone == a1 and attribute:size == 11", true},
        {"(attribute:bare exists || attribute:zone == a1) && attribute:size == 11", false},
        {"not attribute:zone == a1 or attribute:size == 10", true},
        {"NOT (attribute:zone == b OR attribute:size == 1) AND attribute:bare exists", true},
        {"  ( ( attribute:zone == a1 ) )  ", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].text);
        AUTO(arena_deinit) struct arena arena = {0};
        struct constraint constraint = {0};
        struct err err = {0};
        int rc = constraint_parse(text_of(cases[i].text), &arena, &constraint, &err);
        if (rc != 0) {
            fail_msg("%s", err.text);
        }
        const struct constraint_view view = {value, NULL};
        assert_int_equal(constraint_holds(&constraint, &view), cases[i].want);
    }
}

// Every subject with every operator: ECS's table, and what each of those that it has says.
static void subjects_have_their_operators(void **state)
{
    (void)state;
    enum outcome { REFUSED, NO, YES };
    static const char *const operators[] = {
        "==", "!=", ">", ">=", "<", "<=", "in", "!in", "exists", "!exists", "=~", "!~"};
    static const struct {
        const char *subject;
        const char *value;
        const char *pattern; // the value itself when absent
        enum outcome want[ARRAY_LEN(operators)];
    } rows[] = {
#define R REFUSED
        // ==, !=, >, >=, <, <=, in, !in, exists, !exists, =~, !~
        {"agentConnected", "true", "tr.*", {YES, NO, R, R, R, R, YES, NO, R, R, YES, NO}},
        {"agentConnected", "false", NULL, {NO, YES, R, R, R, R, NO, YES, R, R, NO, YES}},
        {"ec2InstanceId", "i-0123", "i-[0-9]+", {YES, NO, R, R, R, R, YES, NO, R, R, YES, NO}},
        {"ec2InstanceId", "i-0", NULL, {NO, YES, R, R, R, R, NO, YES, R, R, NO, YES}},
        {"agentVersion", "1.9.2", NULL, {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"agentVersion", "1.9.2.0", NULL, {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"agentVersion", "1.10", NULL, {NO, YES, NO, NO, YES, YES, R, R, R, R, R, R}},
        {"agentVersion", "1.9.2.1", NULL, {NO, YES, NO, NO, YES, YES, R, R, R, R, R, R}},
        {"agentVersion", "1.9", NULL, {NO, YES, YES, YES, NO, NO, R, R, R, R, R, R}},
        {"agentVersion", "0.99.9", NULL, {NO, YES, YES, YES, NO, NO, R, R, R, R, R, R}},
        {"registeredAt",
         "2027-01-15T08:00:00+00:00",
         NULL,
         {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"registeredAt",
         "2027-01-15T08:00:00Z",
         NULL,
         {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"registeredAt",
         "2027-01-15T08:00:00",
         NULL,
         {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"registeredAt",
         "2027-01-15T09:30:00+01:30",
         NULL,
         {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"registeredAt",
         "2027-01-15T08:00:00-00:01",
         NULL,
         {NO, YES, NO, NO, YES, YES, R, R, R, R, R, R}},
        {"registeredAt", "2027-01-15", NULL, {NO, YES, YES, YES, NO, NO, R, R, R, R, R, R}},
        {"runningTasksCount", "9", NULL, {YES, NO, NO, YES, NO, YES, R, R, R, R, R, R}},
        {"runningTasksCount", "10", NULL, {NO, YES, NO, NO, YES, YES, R, R, R, R, R, R}},
        {"runningTasksCount", "8", NULL, {NO, YES, YES, YES, NO, NO, R, R, R, R, R, R}},
        // A negated test holds when none of the tasks passes the plain one.
        {"task:group", "service:web", "service:.*", {YES, NO, R, R, R, R, YES, NO, R, R, YES, NO}},
        {"task:group", "g", "g|h", {YES, NO, R, R, R, R, YES, NO, R, R, YES, NO}},
        {"task:group", "family:web", NULL, {NO, YES, R, R, R, R, NO, YES, R, R, NO, YES}},
        {"attribute:zone", "a1", "a.", {YES, NO, NO, YES, NO, YES, YES, NO, YES, NO, YES, NO}},
        {"attribute:zone", "b", NULL, {NO, YES, NO, NO, YES, YES, NO, YES, YES, NO, NO, YES}},
        {"attribute:none", "a", NULL, {NO, YES, NO, NO, NO, NO, NO, YES, NO, YES, NO, YES}},
#undef R
    };
    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
            const char *word = operators[i];
            bool set = strstr(word, "in") != NULL;
            bool alone = strstr(word, "exists") != NULL;
            bool pattern = strchr(word, '~') != NULL && rows[row].pattern != NULL;
            AUTO(buf_deinit) struct buf text = {0};
            buf_format(&text, "%s %s %s%s%s", rows[row].subject, word, set ? "[no," : "",
                       alone     ? ""
                       : pattern ? rows[row].pattern
                                 : rows[row].value,
                       set ? "]" : "");
            AUTO(arena_deinit) struct arena arena = {0};
            struct constraint constraint = {0};
            struct err err = {0};
            enum outcome got = REFUSED;
            if (constraint_parse(buf_view(&text), &arena, &constraint, &err) == 0) {
                const struct constraint_view view = {value, NULL};
                got = constraint_holds(&constraint, &view) ? YES : NO;
            }
            if (got != rows[row].want[i]) {
                fail_msg("%s: %d, not %d (%s)", text.data, (int)got, (int)rows[row].want[i],
                         err.text);
            }
        }
    }
}

static void errors_say_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"", "expected a subject such as attribute:name or task:group at character 1"},
        {"zone == a", "expected a subject such as attribute:name or task:group at character 1"},
        {"attribute: == a", "expected a subject such as attribute:name or task:group at character "
                            "1"},
        {"attribute:a", "expected an operator such as ==, in or exists at character 12"},
        {"attribute:a = b", "expected an operator such as ==, in or exists at character 13"},
        {"attribute:a ==", "expected a value at character 15"},
        {"attribute:a == 'b", "a quotation mark without its second at character 16"},
        {"attribute:a in b", "expected a list in brackets at character 16"},
        {"attribute:a in [b", "expected , or ] at character 18"},
        {"attribute:a == b c", "expected and, or, or the end at character 18"},
        {"(attribute:a == b", "a parenthesis that is not closed at character 18"},
        {"attribute:a == b)", "a parenthesis that was never opened at character 17"},
        {"attribute:a == b and",
         "expected a subject such as attribute:name or task:group at character 21"},
        {"attribute:a =~ 'a(b)'", "pattern 'a(b)' has something other than characters, classes, "
                                  "'.', '*', '+', '?' and '|'"},
        {"runningTasksCount > many", "expected a number before here, at character 25"},
        {"agentVersion > new", "expected a version such as 1.70.0 before here, at character 19"},
        {"agentVersion exists", "an operator that this subject does not have, before here, at "
                                "character 20"},
        {"registeredAt > yesterday", "expected a date such as 2026-01-31T12:00:00Z before here, at "
                                     "character 25"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].text);
        AUTO(arena_deinit) struct arena arena = {0};
        struct constraint constraint = {0};
        struct err err = {0};
        assert_int_equal(constraint_parse(text_of(cases[i].text), &arena, &constraint, &err),
                         ERR_INVALID);
        assert_string_equal(err.text, cases[i].want);
    }
}

// Depth, length and patterns have limits; what is within them takes no time to speak of.
static void input_is_bounded(void **state)
{
    (void)state;
    static const char *const units[] = {"(", "not ", "attribute:a == b and ",
                                        "!(attribute:a == b or "};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        AUTO(buf_deinit) struct buf text = {0};
        for (size_t j = 0; j < 200; j++) {
            buf_string(&text, units[i]);
        }
        AUTO(arena_deinit) struct arena arena = {0};
        struct constraint constraint = {0};
        struct err err = {0};
        assert_int_equal(constraint_parse(buf_view(&text), &arena, &constraint, &err), ERR_INVALID);
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct constraint constraint = {0};
    struct err err = {0};
    assert_int_equal(constraint_parse(TEXT("attribute:zone =~ a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"),
                                      &arena, &constraint, &err),
                     0);
    const struct constraint_view view = {value, NULL};
    assert_false(constraint_holds(&constraint, &view));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_mean_what_they_say),
        cmocka_unit_test(subjects_have_their_operators),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(input_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
