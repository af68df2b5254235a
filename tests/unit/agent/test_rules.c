#include "agent/rules.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static bool told(struct agent_rules *rules, const char *id, int64_t version)
{
    const struct session_security_group group = {
        .group_id = text_of(id), .vpc_id = TEXT("vpc-1"), .has_version = true, .version = version};
    return agent_rules_keep(rules, &group);
}

static int64_t version_of(const struct agent_rules *rules, const char *id)
{
    const struct session_security_group *known = agent_rules_of(rules, text_of(id));
    return known == NULL ? 0 : known->version;
}

static void the_newest_counts_whatever_came_last(void **state)
{
    (void)state;
    struct agent_rules rules = {0};
    assert_int_equal(version_of(&rules, "sg-1"), 0);
    assert_true(told(&rules, "sg-1", 7));
    assert_false(told(&rules, "sg-1", 7));
    assert_false(told(&rules, "sg-1", 3));
    assert_int_equal(version_of(&rules, "sg-1"), 7);
    assert_true(told(&rules, "sg-2", 3));
    assert_true(told(&rules, "sg-1", 8));
    assert_int_equal(version_of(&rules, "sg-1"), 8);
    assert_int_equal(version_of(&rules, "sg-2"), 3);
    agent_rules_deinit(&rules);
}

// Groups that a node never has at once do not gather: what is forgotten is told again.
static void there_is_a_limit(void **state)
{
    (void)state;
    struct agent_rules rules = {0};
    char id[32];
    for (int i = 0; i < AGENT_RULES_MAX; i++) {
        snprintf(id, sizeof(id), "sg-%d", i);
        assert_true(told(&rules, id, 1));
    }
    assert_false(told(&rules, "sg-0", 1));
    assert_true(told(&rules, "sg-0", 2)); // one that is known needs no room
    assert_int_equal(version_of(&rules, "sg-1"), 1);
    assert_true(told(&rules, "sg-more", 1));
    assert_int_equal(version_of(&rules, "sg-1"), 0);
    assert_int_equal(version_of(&rules, "sg-more"), 1);
    agent_rules_deinit(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_counts_whatever_came_last),
        cmocka_unit_test(there_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
