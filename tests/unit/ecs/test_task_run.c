#include "task_world.h"

#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

// What is asked for wrongly must be refused in ECS's words, and change nothing.
static void run_task_refuses_in_the_words_of_ecs(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    char network[160];
    snprintf(network, sizeof(network), WORLD_NETWORK, world->subnets[0]);
    static const struct {
        const char *members; // %s becomes a good network configuration
        const char *want;
    } cases[] = {
        {"'cluster':'none','taskDefinition':'web'", "ClusterNotFoundException: Cluster not found."},
        {"'cluster':'c','taskDefinition':'none'", "ClientException: TaskDefinition not found."},
        {"'cluster':'c','taskDefinition':'web','count':11",
         "InvalidParameterException: Count must be between 1 and 10."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','capacityProviderStrategy':"
         "[{'capacityProvider':'FARGATE'}],%s",
         "InvalidParameterException: Specify either Launch Type or Capacity Provider Strategy, but "
         "not both."},
        {"'cluster':'c','taskDefinition':'web','capacityProviderStrategy':[{'capacityProvider':"
         "'x'}],%s",
         "InvalidParameterException: The specified capacity provider strategy contains a capacity "
         "provider that is not associated with the cluster. Associate the capacity provider with "
         "the cluster and try again."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','platformVersion':'1.3.0',"
         "'enableExecuteCommand':true,%s",
         "PlatformTaskDefinitionIncompatibilityException: The specified platform does not satisfy "
         "the task definition's required capabilities."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','overrides':"
         "{'ephemeralStorage':{'sizeInGiB':20}},%s",
         "ClientException: Invalid setting for ephemeralStorage: 'sizeInGiB' must be between 21 "
         "and 200."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','overrides':"
         "{'containerOverrides':[{'name':'app','memory':5}]},%s",
         "ClientException: Invalid 'memory' setting for container 'app'."},
        {"'cluster':'c','taskDefinition':'job','launchType':'FARGATE'",
         "InvalidParameterException: Task definition does not support launch_type FARGATE."},
        {"'cluster':'c','taskDefinition':'job'",
         "InvalidParameterException: No Container Instances were found in your cluster."},
        {"'cluster':'c','taskDefinition':'job',%s",
         "InvalidParameterException: Network Configuration is not valid for the given networkMode "
         "of this task definition."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE'",
         "InvalidParameterException: Network Configuration must be provided when networkMode "
         "'awsvpc' is specified."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','networkConfiguration':"
         "{'awsvpcConfiguration':{'subnets':[]}}",
         "InvalidParameterException: subnets can not be empty."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','networkConfiguration':"
         "{'awsvpcConfiguration':{'subnets':['subnet-x']}}",
         "InvalidParameterException: Error retrieving subnet information for [subnet-x]: The "
         "subnet "
         "ID 'subnet-x' does not exist (ErrorCode: InvalidSubnetID.NotFound)"},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','platformVersion':'9',%s",
         "PlatformUnknownException: The specified platform does not exist."},
        {"'cluster':'c','taskDefinition':'web','launchType':'EC2','platformVersion':'LATEST',%s",
         "InvalidParameterException: The platform version must be null when specifying an EC2 "
         "launch type."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','overrides':"
         "{'containerOverrides':[{'name':'x'}]},%s",
         "InvalidParameterException: Override for container named x is not a container in the "
         "TaskDefinition."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','overrides':{'cpu':'512',"
         "'memory':'512'},%s",
         "ClientException: No Fargate configuration exists for given values."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','startedBy':'a b',%s",
         "InvalidParameterException: startedBy can have up to 128 characters: letters, numbers, "
         "hyphens, forward slashes and underscores."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE','propagateTags':'SERVICE',%s",
         "InvalidParameterException: Invalid value for propagateTags: a task that no service "
         "starts "
         "has no service to take tags from."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char members[1024];
        snprintf(members, sizeof(members), cases[i].members, network);
        harness_expect(&world->harness, "RunTask", world_text("{%s}", members), cases[i].want);
        assert_int_equal(core_count(world->harness.core, &task_kind), 0);
    }
}

static void the_first_answer_is_that_of_ecs(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0,
              "'startedBy':'me','group':'g','enableECSManagedTags':true,'tags':[{'key':'k','value':"
              "'v'}],");
    char copy[8192];
    snprintf(copy, sizeof(copy), "%s", world->harness.answer.data);
    static const char *const wants[] = {
        "\"type\":\"ElasticNetworkInterface\",\"status\":\"PRECREATED\",\"details\":[{\"name\":"
        "\"subnetId\",",
        "\"attributes\":[{\"name\":\"ecs.cpu-architecture\",\"value\":\"x86_64\"}]",
        "\"availabilityZone\":\"eu-west-1a\"",
        "\"name\":\"app\",\"image\":\"app:1\",\"lastStatus\":\"PENDING\",\"networkInterfaces\":[],"
        "\"cpu\":\"0\"}",
        "\"cpu\":\"256\",\"createdAt\":1800000000,\"desiredStatus\":\"RUNNING\","
        "\"enableExecuteCommand\":false,\"group\":\"g\",\"healthStatus\":\"UNKNOWN\","
        "\"lastStatus\":\"PROVISIONING\",\"launchType\":\"FARGATE\",\"memory\":\"512\","
        "\"overrides\":{\"containerOverrides\":[{\"name\":\"app\"},{\"name\":\"side\"}],"
        "\"inferenceAcceleratorOverrides\":[]},\"platformVersion\":\"1.4.0\","
        "\"platformFamily\":\"Linux\",\"startedBy\":\"me\",\"tags\":[{\"key\":\"k\",\"value\":"
        "\"v\"},{\"key\":\"aws:ecs:clusterName\",\"value\":\"c\"}]",
        "\"version\":1,\"ephemeralStorage\":{\"sizeInGiB\":20},\"fargateEphemeralStorage\":{"
        "\"sizeInGiB\":20}}],\"failures\":[]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        if (strstr(copy, wants[i]) == NULL) {
            fail_msg("lacks %s\n in %s", wants[i], copy);
        }
    }
}

static void overrides_reach_the_node_merged(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_forget(world);
    world_run(world, 0,
              "'overrides':{'cpu':'512','memory':'1024','taskRoleArn':'r','containerOverrides':[{"
              "'name':'app','command':['x'],'environment':[{'name':'B','value':'9'},{'name':'C',"
              "'value':'3'}]}]},");
    world_effect(world, "'environment':[{'name':'A','value':'1'},{'name':'B','value':'9'},{'name':"
                        "'C','value':'3'}]");
    world_effect(world, "'command':['x']");
    world_effect(world, "'taskRoleArn':'r'");
    world_effect(world, "'cpuUnits':512,'memoryMib':1024");
    world_task_has(world, "'cpu':'512'");
    world_task_has(world, "'overrides':{'containerOverrides':[{'name':'app','command':['x']");
}

static void a_client_token_gives_the_same_tasks(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "'clientToken':'t','count':2,");
    char first[160];
    snprintf(first, sizeof(first), "%s", world->task);
    harness_restart(&world->harness);
    world_run(world, 0, "'clientToken':'t','count':2,");
    assert_string_equal(first, world->task);
    assert_int_equal(core_count(world->harness.core, &task_kind), 2);
    harness_contains(
        &world->harness, "RunTask",
        world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE','clientToken':"
                   "'t'," WORLD_NETWORK "}",
                   world->subnets[0]),
        "ConflictException: ");
    harness_advance(&world->harness, TASK_TOKEN_MS);
    world_beat(world, 0);
    world_run(world, 0, "'clientToken':'t',");
    assert_string_not_equal(first, world->task);
}

static void fargate_spreads_over_zones_and_hosts(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 6; i++) {
        world_pool_node(world, world_text("eu-west-1%c", "abc"[i % 3]), 1024, 4096);
    }
    // 24 tasks of a quarter each fill all hosts: 4 on each, never more.
    const char *request =
        world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE','count':6,"
                   "'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s','%s','%s']}}}",
                   world->subnets[0], world->subnets[1], world->subnets[2]);
    const struct task_state *tasks = task_state(world->harness.core);
    for (size_t i = 1; i <= 4; i++) {
        harness_contains(&world->harness, "RunTask", request, "'failures':[]");
        for (size_t j = 0; j < tasks->node_count; j++) {
            assert_int_equal(tasks->nodes[j]->task_count, i);
        }
    }
    harness_contains(&world->harness, "RunTask", request,
                     "{'tasks':[],'failures':[{'reason':'Capacity is unavailable at this time. "
                     "Please try again later or in a different availability zone','detail':"
                     "'eu-west-1a: RESOURCE:CPU on 2 of 2; eu-west-1b: RESOURCE:CPU on 2 of 2; "
                     "eu-west-1c: RESOURCE:CPU on 2 of 2'}");
    harness_restart(&world->harness);
    harness_contains(&world->harness, "RunTask", request, "{'tasks':[],'failures':[");
}

static void one_host_may_stand_for_all_zones(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a,eu-west-1b,eu-west-1c", 4096, 8192);
    for (size_t i = 0; i < 3; i++) {
        world_run(world, i, "");
        world_task_has(world, world_text("'availabilityZone':'eu-west-1%c'", "abc"[i]));
    }
    assert_int_equal(task_state(world->harness.core)->nodes[0]->task_count, 3);
}

static void instances_fail_with_a_reason_each(void **state)
{
    struct world *world = *state;
    size_t small = world_join(world);
    world_register(world, small, "c", "eu-west-1a", 99, 4096);
    world_connect(world, small);
    size_t full = world_join(world);
    world_register(world, full, "c", "eu-west-1b", 4096, 100);
    world_connect(world, full);
    size_t away = world_join(world);
    world_register(world, away, "c", "eu-west-1c", 4096, 4096);
    const char *request = "{'cluster':'c','taskDefinition':'job','count':2}";
    harness_contains(&world->harness, "RunTask", request, "'reason':'RESOURCE:CPU'");
    harness_contains(&world->harness, "RunTask", request, "'reason':'RESOURCE:MEMORY'");
    harness_contains(&world->harness, "RunTask", request, "'reason':'AGENT'");
    harness_contains(&world->harness, "RunTask", request, world->nodes[small].instance);
    assert_int_equal(core_count(world->harness.core, &task_kind), 1);
    // The first call placed the one task that fits; it starts PENDING, as nothing is provisioned.
    harness_contains(&world->harness, "DescribeClusters", "{'clusters':['c']}",
                     "'registeredContainerInstancesCount':3,'runningTasksCount':0,"
                     "'pendingTasksCount':1");
}

static void an_execute_command_agent_is_shown(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "'enableExecuteCommand':true,");
    world_task_has(world,
                   "'managedAgents':[{'name':'ExecuteCommandAgent','lastStatus':'PENDING'}]");
    world_submit(world, node, "RUNNING",
                 ",'managedAgents':[{'containerName':'app','managedAgentName':"
                 "'ExecuteCommandAgent','status':'RUNNING'}]");
    world_task_has(world, "'managedAgents':[{'lastStartedAt':1800000000,'name':"
                          "'ExecuteCommandAgent','lastStatus':'RUNNING'}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(run_task_refuses_in_the_words_of_ecs, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(the_first_answer_is_that_of_ecs, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(overrides_reach_the_node_merged, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_client_token_gives_the_same_tasks, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(fargate_spreads_over_zones_and_hosts, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(one_host_may_stand_for_all_zones, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(instances_fail_with_a_reason_each, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(an_execute_command_agent_is_shown, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
