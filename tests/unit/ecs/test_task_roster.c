#include "task_world.h"

#include <string.h>

/*
 * What placement remembers of instances from request to request must follow whatever changes: each
 * test asks the same again after a change.
 */

#define JOB "'cluster':'c','taskDefinition':'job'"

static size_t instance(struct world *world, const char *zone)
{
    size_t node = world_join(world);
    world_register(world, node, "c", zone, 4000, 4000);
    world_connect(world, node);
    return node;
}

// Run one task with constraints or strategies. @return the instance it went to, or SIZE_MAX
static size_t run(struct world *world, const char *members)
{
    const char *answer =
        harness_call(&world->harness, "RunTask", world_text("{" JOB ",%s}", members));
    for (size_t i = 0; i < world->node_count; i++) {
        const char *at = world_text("\"containerInstanceArn\":\"%s\"", world->nodes[i].instance);
        if (strstr(answer, at) != NULL) {
            harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
            return i;
        }
    }
    assert_non_null(strstr(answer, "\"tasks\":[],\"failures\":[{"));
    return SIZE_MAX;
}

#define MEMBER_OF(expression)                                                                      \
    "'placementConstraints':[{'type':'memberOf','expression':'" expression "'}]"

static void change_attribute(struct world *world, const char *operation, const char *value,
                             size_t node)
{
    harness_contains(&world->harness, operation,
                     world_text("{'cluster':'c','attributes':[{'name':'stack'%s,'targetType':"
                                "'container-instance','targetId':'%s'}]}",
                                value, strrchr(world->nodes[node].instance, '/') + 1),
                     "{'attributes':[");
}

static void attributes_are_followed(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a");
    size_t second = instance(world, "eu-west-1a");
    const char *members = MEMBER_OF("attribute:stack == prod");
    assert_int_equal(run(world, members), SIZE_MAX);
    change_attribute(world, "PutAttributes", ",'value':'prod'", second);
    assert_int_equal(run(world, members), second);
    assert_int_equal(run(world, members), second);
    change_attribute(world, "PutAttributes", ",'value':'test'", second);
    assert_int_equal(run(world, members), SIZE_MAX);
    change_attribute(world, "PutAttributes", ",'value':'prod'", 0);
    assert_int_equal(run(world, members), 0);
    change_attribute(world, "DeleteAttributes", "", 0);
    assert_int_equal(run(world, members), SIZE_MAX);
}

static void tasks_that_stop_are_followed(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a");
    static const char *const members[] = {
        "'group':'g','placementConstraints':[{'type':'distinctInstance'}]",
        "'group':'g'," MEMBER_OF("not(task:group == g)"),
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        print_message("%s\n", members[i]);
        assert_int_equal(run(world, members[i]), 0);
        assert_int_equal(run(world, members[i]), SIZE_MAX);
        harness_contains(&world->harness, "StopTask",
                         world_text("{'cluster':'c','task':'%s'}", world->task),
                         "'desiredStatus':'STOPPED'");
        world_submit(world, 0, "STOPPED", "");
        world_as_root(world);
        assert_int_equal(run(world, members[i]), 0);
        harness_contains(&world->harness, "StopTask",
                         world_text("{'cluster':'c','task':'%s'}", world->task),
                         "'desiredStatus':'STOPPED'");
        world_submit(world, 0, "STOPPED", "");
        world_as_root(world);
    }
}

static void contact_is_followed(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a");
    const char *members = MEMBER_OF("agentConnected == true");
    assert_int_equal(run(world, members), 0);
    world_as_node(world, 0);
    harness_call(&world->harness, "NodeDisconnect",
                 world_text("{'session':%lld}", (long long)world->nodes[0].session));
    world_as_root(world);
    assert_int_equal(run(world, members), SIZE_MAX);
    world_connect(world, 0);
    world_as_root(world);
    assert_int_equal(run(world, members), 0);
}

static void instances_that_come_and_go_are_followed(void **state)
{
    struct world *world = *state;
    const char *members = "'placementStrategy':[{'type':'spread','field':"
                          "'attribute:ecs.availability-zone'}]";
    instance(world, "eu-west-1b");
    assert_int_equal(run(world, members), 0);
    assert_int_equal(run(world, members), 0);
    size_t second = instance(world, "eu-west-1a");
    world_as_root(world);
    assert_int_equal(run(world, members), second);
    assert_int_equal(run(world, members), second);
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s','force':true}",
                                world->nodes[second].instance),
                     "'status':'INACTIVE'");
    assert_int_equal(run(world, members), 0);
    size_t third = instance(world, "eu-west-1c");
    world_as_root(world);
    assert_int_equal(run(world, members), third);
}

// More is asked for than is remembered: what gave way is worked out again, and is right.
static void what_gave_way_is_worked_out_again(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a");
    size_t second = instance(world, "eu-west-1b");
    change_attribute(world, "PutAttributes", ",'value':'7'", second);
    for (size_t round = 0; round < 2; round++) {
        for (int i = 0; i < 40; i++) {
            const char *expression =
                world_text("'placementConstraints':[{'type':'memberOf','expression':"
                           "'attribute:stack == %d'}]",
                           i);
            assert_int_equal(run(world, expression), i == 7 ? second : SIZE_MAX);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(attributes_are_followed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(tasks_that_stop_are_followed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(contact_is_followed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(instances_that_come_and_go_are_followed, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(what_gave_way_is_worked_out_again, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
