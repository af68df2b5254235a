#include "task_world.h"

#include "base/text.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE "SecurityGroupsMessage {"
#define ALLOW                                                                                      \
    "{'GroupName':'default','IpPermissions':[{'ipProtocol':'tcp','fromPort':%d,'toPort':%d,"       \
    "'ipRanges':[{'cidrIp':'10.0.0.0/8'}]}]}"

static size_t count(const struct world *world, const char *what)
{
    size_t found = 0;
    const char *at = world->effects.size == 0 ? NULL : strstr(world->effects.data, what);
    for (; at != NULL; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

static void allow(struct world *world, int port)
{
    harness_contains(&world->harness, "AuthorizeSecurityGroupIngress",
                     world_text(ALLOW, port, port), "'return':true");
    harness_advance(&world->harness, 0);
}

// Acknowledges the newest message about groups.
static void acknowledge(struct world *world, size_t node)
{
    const char *at = NULL;
    for (const char *next = strstr(world->effects.data, MESSAGE); next != NULL;
         next = strstr(next + 1, MESSAGE)) {
        at = next;
    }
    assert_non_null(at);
    at = strstr(at, "messageId\":\"") + strlen("messageId\":\"");
    char id[40] = "";
    IGNORE(text_copy((struct text){at, strcspn(at, "\"")}, id, sizeof(id)), "numbers are short");
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeAck", world_text("{'messageId':'%s'}", id), "{}");
    world_as_root(world);
}

static void live(struct world *world, size_t node, int64_t passed_ms)
{
    for (int64_t at_ms = 0; at_ms < passed_ms; at_ms += 500) {
        world_beat(world, node);
        harness_advance(&world->harness, 500);
    }
}

static void rules_come_with_the_task(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_effect(world, "'securityGroupsTold':true");
    world_effect(world, "'securityGroups':[{'groupId':'sg-");
    world_effect(world, "'rules':[{'egress':true,'protocol':-1,'cidr':'0.0.0.0/0'},"
                        "{'egress':false,'protocol':-1,'group':'sg-");
    world_no_effect(world, MESSAGE);
}

static void changes_go_to_the_nodes_of_members(void **state)
{
    struct world *world = *state;
    size_t first = world_pool_node(world, "eu-west-1a", 4096, 8192);
    size_t second = world_pool_node(world, "eu-west-1b", 4096, 8192);
    world_run(world, 0, "");
    world_ack(world, first);
    world_forget(world);
    allow(world, 80);
    assert_int_equal(count(world, MESSAGE), 1);
    world_effect(world, world_text("NODE %s %s", world->nodes[first].node_id, MESSAGE));
    world_effect(world, "{'egress':false,'protocol':6,'fromPort':80,'toPort':80,"
                        "'cidr':'10.0.0.0/8'}");
    acknowledge(world, first);

    // Now both have a member, and each is told once, also of two changes.
    world_run(world, 1, "");
    world_ack(world, second);
    world_forget(world);
    allow(world, 81);
    assert_int_equal(count(world, MESSAGE), 2);
    world_effect(world, world_text("NODE %s %s", world->nodes[second].node_id, MESSAGE));
}

static void they_are_sent_until_acknowledged(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_ack(world, node);
    allow(world, 80);
    world_forget(world);
    live(world, node, 2 * NODE_RESEND_MS);
    assert_true(count(world, MESSAGE) >= 1);
    acknowledge(world, node);
    world_forget(world);
    live(world, node, 3 * NODE_RESEND_MS);
    assert_int_equal(count(world, MESSAGE), 0);
}

static void a_late_acknowledgement_is_not_for_the_newest(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_ack(world, node);
    world_forget(world);
    allow(world, 80);
    allow(world, 81);
    assert_int_equal(count(world, MESSAGE), 2);
    // That of the first, told by its own number.
    const char *at = strstr(world->effects.data, MESSAGE);
    at = strstr(at, "messageId\":\"") + strlen("messageId\":\"");
    char id[40] = "";
    IGNORE(text_copy((struct text){at, strcspn(at, "\"")}, id, sizeof(id)), "numbers are short");
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeAck", world_text("{'messageId':'%s'}", id), "{}");
    world_as_root(world);
    world_forget(world);
    live(world, node, 2 * NODE_RESEND_MS);
    assert_true(count(world, MESSAGE) >= 1);
    world_effect(world, "'fromPort':81");
}

static void a_new_session_has_them_with_its_tasks(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_ack(world, node);
    allow(world, 80);
    world_forget(world);
    world_connect(world, node);
    world_effect(world, "PayloadMessage");
    world_effect(world, "'fromPort':80");
    assert_int_equal(count(world, MESSAGE), 0);
    harness_restart(&world->harness);
    world_forget(world);
    world_connect(world, node);
    world_effect(world, "'fromPort':80");
    allow(world, 82);
    assert_int_equal(count(world, MESSAGE), 1);
}

// It may run on for minutes, and its node was away when the rules changed.
static void a_task_that_is_to_stop_has_them_too(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_ack(world, node);
    world_forget(world);
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "'STOPPED'");
    world_effect(world, "PayloadMessage");
    world_no_effect(world, "'rules'"); // it has them
    allow(world, 80);
    world_forget(world);
    world_connect(world, node);
    world_effect(world, "'desiredStatus':'STOPPED'");
    world_effect(world, "'fromPort':80");
}

static void who_has_no_member_hears_nothing(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_ack(world, node);
    world_forget(world);
    harness_call(&world->harness, "CreateSecurityGroup",
                 "{'GroupName':'other','GroupDescription':'x'}");
    harness_call(&world->harness, "AuthorizeSecurityGroupIngress",
                 "{'GroupName':'other','IpPermissions':[{'ipProtocol':'-1','ipRanges':[{'cidrIp':"
                 "'0.0.0.0/0'}]}]}");
    harness_advance(&world->harness, 0);
    assert_int_equal(count(world, MESSAGE), 0);
    // Nor is anybody told of what only people read.
    allow(world, 80);
    acknowledge(world, node);
    world_forget(world);
    harness_contains(&world->harness, "UpdateSecurityGroupRuleDescriptionsIngress",
                     "{'GroupName':'default','IpPermissions':[{'ipProtocol':'tcp','fromPort':80,"
                     "'toPort':80,'ipRanges':[{'cidrIp':'10.0.0.0/8','description':'x'}]}]}",
                     "'return':true");
    harness_advance(&world->harness, 0);
    assert_int_equal(count(world, MESSAGE), 0);
}

static void a_group_of_an_interface_stays(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    harness_call(&world->harness, "CreateSecurityGroup",
                 "{'GroupName':'used','GroupDescription':'x'}");
    char id[40];
    harness_member(&world->harness, "groupId", id, sizeof(id));
    harness_contains(&world->harness, "RunTask",
                     world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE',"
                                "'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s'],"
                                "'securityGroups':['%s']}}}",
                                world->subnets[0], id),
                     "'taskArn'");
    world_effect(world, world_text("'securityGroups':['%s']", id));
    harness_expect(&world->harness, "DeleteSecurityGroup", "{'GroupName':'used'}",
                   world_text("DependencyViolation: resource %s has a dependent object", id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rules_come_with_the_task, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(changes_go_to_the_nodes_of_members, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(they_are_sent_until_acknowledged, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_late_acknowledgement_is_not_for_the_newest, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_new_session_has_them_with_its_tasks, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_task_that_is_to_stop_has_them_too, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(who_has_no_member_hears_nothing, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_group_of_an_interface_stays, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
