#include "task_world.h"

#include "ecs/service_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * Tasks that wait in PROVISIONING for an instance of an Auto Scaling group with managed scaling.
 */

#define STRATEGY(name) "'capacityProviderStrategy':[{'capacityProvider':'" name "','weight':1}]"
#define MINUTE_MS (60 * 1000)

static void provider(struct world *world, const char *name, const char *status)
{
    harness_contains(&world->harness, "CreateCapacityProvider",
                     world_text("{'name':'%s','autoScalingGroupProvider':{'autoScalingGroupArn':"
                                "'%s','managedScaling':{'status':'%s'}}}",
                                name, name, status),
                     "CREATE_COMPLETE");
}

// The cluster `c` with the providers `grow` and `still`.
static int setup(void **state)
{
    int rc = world_setup(state);
    struct world *world = *state;
    provider(world, "grow", "ENABLED");
    provider(world, "still", "DISABLED");
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['grow','still'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "'grow'");
    return rc;
}

static size_t host(struct world *world, const char *group, int cpu)
{
    size_t node = world_join(world);
    world_as_node(world, node);
    harness_contains(&world->harness, "RegisterContainerInstance",
                     world_text("{'cluster':'c','totalResources':[{'name':'CPU','type':'INTEGER',"
                                "'integerValue':%d},{'name':'MEMORY','type':'INTEGER',"
                                "'integerValue':131072}],'attributes':[{'name':"
                                "'ecs.availability-zone','value':'eu-west-1a'},{'name':"
                                "'berth.auto-scaling-group','value':'%s'}," WORLD_CAPABILITIES "]}",
                                cpu, group),
                     "'containerInstanceArn'");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_connect(world, node);
    world_as_root(world);
    harness_advance(&world->harness, 0);
    return node;
}

static void run(struct world *world, const char *definition, int count, const char *members)
{
    harness_contains(&world->harness, "RunTask",
                     world_text("{'cluster':'c','taskDefinition':'%s','count':%d,%s}", definition,
                                count, members),
                     "'failures':[]");
    harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
}

static size_t waiting(struct world *world)
{
    size_t count = 0;
    const struct core *core = world->harness.core;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        count += task_waits(core_get(core, &task_kind, key));
    }
    const struct task_group *group =
        task_group(task_state(core), core_next(core, &ecs_cluster_kind, 0));
    assert_int_equal(group == NULL ? 0 : group->waiting_count, count);
    return count;
}

static void a_task_without_room_waits(void **state)
{
    struct world *world = *state;
    run(world, "job", 1, STRATEGY("grow"));
    world_task_has(world, "'lastStatus':'PROVISIONING'");
    world_task_has(world, "'desiredStatus':'RUNNING'");
    world_task_has(world, "'capacityProviderName':'grow'");
    const char *shown = harness_call(&world->harness, "DescribeTasks",
                                     world_text("{'cluster':'c','tasks':['%s']}", world->task));
    assert_null(strstr(shown, "containerInstanceArn"));
    harness_contains(&world->harness, "DescribeClusters", "{'clusters':['c']}",
                     "'pendingTasksCount':1");
    harness_contains(&world->harness, "ExplainTask", world_text("{'task':'%s'}", world->task),
                     "'cause':'WaitingForCapacity'");
    assert_int_equal(waiting(world), 1);
}

static void without_managed_scaling_it_fails(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RunTask",
                     "{'cluster':'c','taskDefinition':'job'," STRATEGY("still") "}",
                     "'reason':'EMPTY CAPACITY PROVIDER'");
    assert_int_equal(waiting(world), 0);
}

static void it_is_placed_when_a_host_comes(void **state)
{
    struct world *world = *state;
    run(world, "job", 3, STRATEGY("grow"));
    size_t other = host(world, "elsewhere", 1000);
    assert_int_equal(waiting(world), 3);
    world_forget(world);
    size_t node = host(world, "grow", 250); // room for two of the three, of 100 units each
    assert_int_equal(waiting(world), 1);
    world_task_has(world, world->nodes[node].instance);
    world_task_has(world, "'lastStatus':'PENDING'");
    world_effect(world, "PayloadMessage");
    world_effect(world, "ECS Task State Change");
    (void)other;
}

static void it_is_placed_when_there_is_room_again(void **state)
{
    struct world *world = *state;
    size_t node = host(world, "grow", 100);
    run(world, "job", 1, STRATEGY("grow"));
    char first[160];
    memcpy(first, world->task, sizeof(first));
    run(world, "job", 1, STRATEGY("grow"));
    char second[160];
    memcpy(second, world->task, sizeof(second));
    world_task_has(world, "'lastStatus':'PROVISIONING'");
    memcpy(world->task, first, sizeof(first));
    harness_contains(&world->harness, "StopTask", world_text("{'cluster':'c','task':'%s'}", first),
                     "'STOPPED'");
    world_submit(world, node, "STOPPED", "");
    harness_advance(&world->harness, 0);
    memcpy(world->task, second, sizeof(second));
    world_task_has(world, "'lastStatus':'PENDING'");
    world_submit(world, node, "RUNNING",
                 ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1'}]");
    world_task_has(world, "'lastStatus':'RUNNING'");
}

static void one_with_an_interface_gets_it_with_its_place(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'net','networkMode':'awsvpc','containerDefinitions':[{'name':'app',"
                     "'image':'i','cpu':100,'memory':64}]}",
                     "'revision':1");
    run(world, "net", 1, world_text(STRATEGY("grow") "," WORLD_NETWORK, world->subnets[0]));
    const char *shown = harness_call(&world->harness, "DescribeTasks",
                                     world_text("{'cluster':'c','tasks':['%s']}", world->task));
    assert_null(strstr(shown, "subnetId"));
    host(world, "grow", 250);
    world_task_has(world, "'lastStatus':'PROVISIONING'");
    world_task_has(world, world->subnets[0]);
    world_task_has(world, "containerInstanceArn");
    assert_int_equal(waiting(world), 0);
}

static void it_can_be_stopped(void **state)
{
    struct world *world = *state;
    run(world, "job", 1, STRATEGY("grow"));
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s','reason':'no more'}", world->task),
                     "'lastStatus':'STOPPED'");
    world_task_has(world, "'stopCode':'UserInitiated'");
    world_task_has(world, "'stoppedReason':'no more'");
    assert_int_equal(waiting(world), 0);
    host(world, "grow", 250);
    world_task_has(world, "'lastStatus':'STOPPED'");
}

static void beat_for(struct world *world, int64_t passed_ms, size_t node)
{
    for (int64_t ms = 0; ms < passed_ms; ms += 1000) {
        if (node != WORLD_NODES) {
            world_beat(world, node);
        }
        harness_advance(&world->harness, 1000);
    }
}

// What waits too long fails with the reason of that moment.
static void it_waits_for_a_quarter_of_an_hour(void **state)
{
    struct world *world = *state;
    run(world, "job", 1, STRATEGY("grow"));
    harness_advance(&world->harness, 14 * MINUTE_MS);
    world_task_has(world, "'lastStatus':'PROVISIONING'");
    harness_advance(&world->harness, MINUTE_MS);
    world_task_has(world, "'stopCode':'TaskFailedToStart'");
    world_task_has(world, "'stoppedReason':'TaskFailedToStart: EMPTY CAPACITY PROVIDER'");
    world_task_has(world, "'lastStatus':'STOPPED'");

    size_t node = host(world, "grow", 50);
    run(world, "job", 1, STRATEGY("grow"));
    beat_for(world, 15 * MINUTE_MS, node);
    world_task_has(world, "'stoppedReason':'TaskFailedToStart: RESOURCE:CPU'");

    run(world, "job", 1, STRATEGY("grow"));
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','status':'DRAINING','containerInstances':['%s']}",
                                world->nodes[node].instance),
                     "DRAINING");
    beat_for(world, 15 * MINUTE_MS, node);
    world_task_has(world, "'stoppedReason':'TaskFailedToStart: NO ACTIVE INSTANCES'");
}

static void five_hundred_of_a_cluster_wait(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < 50; i++) {
        run(world, "job", 10, STRATEGY("grow"));
    }
    assert_int_equal(waiting(world), 500);
    harness_contains(&world->harness, "RunTask",
                     "{'cluster':'c','taskDefinition':'job'," STRATEGY("grow") "}",
                     "'reason':'EMPTY CAPACITY PROVIDER'");
    host(world, "grow", 100 * 100);
    assert_int_equal(waiting(world), 400);
}

static void it_goes_on_waiting_after_a_restart(void **state)
{
    struct world *world = *state;
    run(world, "job", 2, STRATEGY("grow"));
    harness_restart(&world->harness);
    assert_int_equal(waiting(world), 2);
    harness_advance(&world->harness, 0);
    host(world, "grow", 150);
    assert_int_equal(waiting(world), 1);
    harness_restart(&world->harness);
    assert_int_equal(waiting(world), 1);
    harness_advance(&world->harness, 15 * MINUTE_MS);
    assert_int_equal(waiting(world), 0);
}

// The oldest first; one that asks for more than there is holds up none behind it.
static void each_kind_looks_for_itself(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'big','containerDefinitions':[{'name':'app','image':'i','cpu':900,"
                     "'memory':64}]}",
                     "'revision':1");
    run(world, "big", 2, STRATEGY("grow"));
    run(world, "job", 1, STRATEGY("grow"));
    host(world, "grow", 250);
    world_task_has(world, "'lastStatus':'PENDING'");
    assert_int_equal(waiting(world), 2);
}

static void constraints_and_strategies_go_with_it(void **state)
{
    struct world *world = *state;
    run(world, "job", 2, STRATEGY("grow") ",'placementConstraints':[{'type':'distinctInstance'}]");
    host(world, "grow", 1000);
    assert_int_equal(waiting(world), 1);
    host(world, "grow", 1000);
    assert_int_equal(waiting(world), 0);
    run(world, "job", 1,
        STRATEGY("grow") ",'placementConstraints':[{'type':'memberOf','expression':"
                         "'attribute:rack == r7'}]");
    assert_int_equal(waiting(world), 1);
    harness_contains(&world->harness, "PutAttributes",
                     world_text("{'cluster':'c','attributes':[{'name':'rack','value':'r7',"
                                "'targetId':'%s'}]}",
                                world->nodes[1].instance),
                     "r7");
    harness_advance(&world->harness, 0);
    assert_int_equal(waiting(world), 0);
    world_task_has(world, world->nodes[1].instance);
}

static void tasks_of_a_service_wait_too(void **state)
{
    struct world *world = *state;
    harness_contains(
        &world->harness, "CreateService",
        "{'cluster':'c','serviceName':'s','taskDefinition':'job','desiredCount':3," STRATEGY(
            "grow") "}",
        "'serviceArn'");
    harness_advance(&world->harness, 0);
    assert_int_equal(waiting(world), 3);
    harness_contains(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}",
                     "'pendingCount':3");
    host(world, "grow", 200);
    host(world, "grow", 200);
    assert_int_equal(waiting(world), 0);
    // Scaling in takes what waits before what runs.
    harness_contains(&world->harness, "UpdateService",
                     "{'cluster':'c','service':'s','desiredCount':6}", "'desiredCount':6");
    harness_advance(&world->harness, 0);
    assert_int_equal(waiting(world), 2);
    harness_contains(&world->harness, "UpdateService",
                     "{'cluster':'c','service':'s','desiredCount':4}", "'desiredCount':4");
    harness_advance(&world->harness, 0);
    harness_contains(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}",
                     "'pendingCount':4");
}

static void what_it_names_may_be_gone(void **state)
{
    struct world *world = *state;
    run(world, "job", 1, STRATEGY("grow"));
    harness_expect(&world->harness, "PutClusterCapacityProviders",
                   "{'cluster':'c','capacityProviders':['still'],"
                   "'defaultCapacityProviderStrategy':[]}",
                   "ResourceInUseException: The specified capacity provider is in use and cannot "
                   "be removed.");
    harness_contains(&world->harness, "DeregisterTaskDefinition", "{'taskDefinition':'job:1'}",
                     "INACTIVE");
    host(world, "grow", 250); // what was asked for while it was ACTIVE runs
    world_task_has(world, "'lastStatus':'PENDING'");
}

// Nothing is in the group while the task waits, so it can be deleted. The task never runs in none.
static void its_group_may_be_gone(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'net','networkMode':'awsvpc','containerDefinitions':[{'name':'app',"
                     "'image':'i','cpu':100,'memory':64}]}",
                     "'revision':1");
    harness_call(&world->harness, "CreateSecurityGroup",
                 "{'GroupName':'gone','GroupDescription':'x'}");
    char id[40];
    harness_member(&world->harness, "groupId", id, sizeof(id));
    run(world, "net", 1,
        world_text(STRATEGY("grow") ",'networkConfiguration':{'awsvpcConfiguration':{'subnets':"
                                    "['%s'],'securityGroups':['%s']}}",
                   world->subnets[0], id));
    harness_contains(&world->harness, "DeleteSecurityGroup", "{'GroupName':'gone'}",
                     "'return':true");
    host(world, "grow", 250);
    world_task_has(world, "'lastStatus':'STOPPED'");
    world_task_has(world, "'stopCode':'TaskFailedToStart'");
    world_task_has(world, world_text("'stoppedReason':'TaskFailedToStart: Error retrieving "
                                     "security group information for [%s]: The security group ",
                                     id));
    world_task_has(world, " does not exist (ErrorCode: InvalidGroup.NotFound)'");
    assert_int_equal(waiting(world), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_task_without_room_waits, setup, world_teardown),
        cmocka_unit_test_setup_teardown(without_managed_scaling_it_fails, setup, world_teardown),
        cmocka_unit_test_setup_teardown(it_is_placed_when_a_host_comes, setup, world_teardown),
        cmocka_unit_test_setup_teardown(it_is_placed_when_there_is_room_again, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(one_with_an_interface_gets_it_with_its_place, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(it_can_be_stopped, setup, world_teardown),
        cmocka_unit_test_setup_teardown(it_waits_for_a_quarter_of_an_hour, setup, world_teardown),
        cmocka_unit_test_setup_teardown(five_hundred_of_a_cluster_wait, setup, world_teardown),
        cmocka_unit_test_setup_teardown(it_goes_on_waiting_after_a_restart, setup, world_teardown),
        cmocka_unit_test_setup_teardown(each_kind_looks_for_itself, setup, world_teardown),
        cmocka_unit_test_setup_teardown(constraints_and_strategies_go_with_it, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(tasks_of_a_service_wait_too, setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_it_names_may_be_gone, setup, world_teardown),
        cmocka_unit_test_setup_teardown(its_group_may_be_gone, setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
