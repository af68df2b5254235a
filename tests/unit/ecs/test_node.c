#include "task_world.h"

#include "base/limits.h"
#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

#define SIZES                                                                                      \
    "'totalResources':[{'name':'CPU','type':'INTEGER','integerValue':4096},{'name':'MEMORY',"      \
    "'type':'INTEGER','integerValue':8192},{'name':'PORTS','type':'STRINGSET','stringSetValue':"   \
    "['22']}]"

// The agent exits unless every attribute comes back with the identical value.
static void registering_echoes_attributes_and_adds_those_of_ecs(void **state)
{
    struct world *world = *state;
    const char *answer = harness_call(
        &world->harness, "RegisterContainerInstance",
        "{'cluster':'c'," SIZES ",'attributes':[{'name':'com.amazonaws.ecs.capability.x'},"
        "{'name':'ecs.os-type','value':'linux'},{'name':'mine','value':'a b'}],'tags':[{'key':'k',"
        "'value':'v'}]}");
    static const char *const wants[] = {
        "\"containerInstanceArn\":\"arn:aws:ecs:eu-west-1:123456789012:container-instance/c/",
        "\"attributes\":[{\"name\":\"com.amazonaws.ecs.capability.x\"},{\"name\":\"ecs.os-type\","
        "\"value\":\"linux\"},{\"name\":\"mine\",\"value\":\"a b\"},{\"name\":"
        "\"ecs.availability-zone\",\"value\":\"eu-west-1a\"}",
        "\"status\":\"ACTIVE\",\"agentConnected\":false,\"runningTasksCount\":0,"
        "\"pendingTasksCount\":0",
        "\"remainingResources\":[{\"name\":\"CPU\",\"type\":\"INTEGER\",\"doubleValue\":0.0,"
        "\"longValue\":0,\"integerValue\":4096}",
        "\"tags\":[{\"key\":\"k\",\"value\":\"v\"}]",
        "\"version\":1",
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        if (strstr(answer, wants[i]) == NULL) {
            fail_msg("lacks %s\n in %s", wants[i], answer);
        }
    }
    char arn[160];
    harness_member(&world->harness, "containerInstanceArn", arn, sizeof(arn));
    harness_contains(&world->harness, "RegisterContainerInstance",
                     world_text("{'cluster':'c','containerInstanceArn':'%s'," SIZES "}", arn),
                     "'version':2");
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 1);
    harness_contains(&world->harness, "RegisterContainerInstance", "{'cluster':'c'," SIZES "}",
                     "'version':1");
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 2);
}

static void registering_refuses_what_is_wrong(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {"{'cluster':'none'," SIZES "}", "ClusterNotFoundException: Cluster not found."},
        {"{'cluster':'c'}", "InvalidParameterException: totalResources must hold an INTEGER "
                            "resource CPU between 0 and 100000000."},
        {"{'cluster':'c'," SIZES ",'attributes':[{'name':'berth.capacity','value':'FARGATE'}]}",
         "InvalidParameterException: Only a node of Berth's own can be a host of the FARGATE "
         "pool."},
        {"{'cluster':'c'," SIZES ",'attributes':[{'name':'berth.capacity','value':'X'}]}",
         "InvalidParameterException: Attribute berth.capacity must be FARGATE, FARGATE_SPOT, or "
         "both "
         "separated by a comma."},
        {"{'cluster':'c','containerInstanceArn':'x/y'," SIZES "}",
         "ClientException: The referenced container instance was not found."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "RegisterContainerInstance", cases[i].request,
                       cases[i].want);
    }
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 0);
}

// Ten such records in one transaction would be more than a store takes.
static void registering_refuses_what_is_too_large(void **state)
{
    struct world *world = *state;
    AUTO(buf_deinit) struct buf request = {0};
    buf_string(&request, "{'cluster':'c'," SIZES ",'attributes':[");
    for (size_t i = 0; i < 20; i++) {
        buf_format(&request, "%s{'name':'ecs.capability.%zu','value':'%04000d'}", i > 0 ? "," : "",
                   i, 0);
    }
    buf_string(&request, "]}");
    buf_byte(&request, '\0');
    harness_contains(&world->harness, "RegisterContainerInstance", request.data,
                     "InvalidParameterException: The attributes, resources and devices");
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 0);
}

#define ON_EC2                                                                                     \
    "'instanceIdentityDocument':'{\\\"instanceId\\\":\\\"i-0a\\\",\\\"instanceType\\\":\\\"%"      \
    "s\\\","                                                                                       \
    "\\\"imageId\\\":\\\"ami-1\\\",\\\"availabilityZone\\\":\\\"eu-west-1b\\\","                   \
    "\\\"architecture\\\":"                                                                        \
    "\\\"arm64\\\",\\\"pendingTime\\\":\\\"2026-01-01T00:00:00Z\\\",\\\"billingProducts\\\":null}" \
    "'"

static void a_host_on_ec2_is_named_by_its_identity(void **state)
{
    struct world *world = *state;
    const char *answer =
        harness_call(&world->harness, "RegisterContainerInstance",
                     world_text("{'cluster':'c'," SIZES "," ON_EC2 "}", "m5.large"));
    static const char *const wants[] = {
        "\"ec2InstanceId\":\"i-0a\"",
        "{\"name\":\"ecs.availability-zone\",\"value\":\"eu-west-1b\"}",
        "{\"name\":\"ecs.cpu-architecture\",\"value\":\"arm64\"}",
        "{\"name\":\"ecs.instance-type\",\"value\":\"m5.large\"}",
        "{\"name\":\"ecs.ami-id\",\"value\":\"ami-1\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        if (strstr(answer, wants[i]) == NULL) {
            fail_msg("lacks %s\n in %s", wants[i], answer);
        }
    }
    char arn[160];
    harness_member(&world->harness, "containerInstanceArn", arn, sizeof(arn));
    harness_contains(&world->harness, "ListContainerInstances",
                     "{'cluster':'c','filter':'ec2InstanceId == i-0a'}", arn);
    const char *again = "{'cluster':'c','containerInstanceArn':'%s'," SIZES "," ON_EC2 "}";
    harness_contains(&world->harness, "RegisterContainerInstance",
                     world_text(again, arn, "m5.large"), "'version':2");
    harness_expect(&world->harness, "RegisterContainerInstance",
                   world_text(again, arn, "m5.xlarge"),
                   world_text("InvalidParameterException: Container instance type changes are not "
                              "supported. Container instance %s was previously registered as "
                              "m5.large.",
                              arn));
    harness_contains(&world->harness, "RegisterContainerInstance",
                     "{'cluster':'c'," SIZES ",'instanceIdentityDocument':'x'}",
                     "ClientException: The instance identity document cannot be read: ");
    // Interfaces of its own EC2 cannot be had here, whatever its type.
    char *slash = strrchr(arn, '/');
    world->harness.caller.node_id = text_of(slash + 1);
    harness_contains(&world->harness, "NodeConnect",
                     world_text("{'session':1,'containerInstanceArn':'%s'}", arn), "120000");
    assert_int_equal(task_node_of(task_state(world->harness.core), text_of(slash + 1))->eni_slots,
                     0);
}

// The answer to a registration may be lost: the agent asks again with the same token.
static void a_registration_is_repeated_by_its_token(void **state)
{
    struct world *world = *state;
    const char *request = "{'cluster':'c','clientToken':'%s'," SIZES "}";
    char first[160];
    char second[160];
    for (size_t i = 0; i < 2; i++) {
        harness_contains(&world->harness, "RegisterContainerInstance", world_text(request, "t-1"),
                         "containerInstanceArn");
        harness_member(&world->harness, "containerInstanceArn", i == 0 ? first : second,
                       sizeof(first));
        harness_restart(&world->harness);
    }
    assert_string_equal(first, second);
    harness_contains(&world->harness, "RegisterContainerInstance", world_text(request, "t-2"),
                     "'version':1,");
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 2);
    // Of an instance that was deregistered no token is left.
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s'}", first), "INACTIVE");
    harness_contains(&world->harness, "RegisterContainerInstance", world_text(request, "t-1"),
                     "'version':1,");
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 3);
}

static void a_stock_agent_opens_sessions_for_its_own_instance_only(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 1024, 1024);
    harness_contains(&world->harness, "RegisterContainerInstance", "{'cluster':'c'," SIZES "}",
                     "containerInstanceArn");
    char arn[160];
    harness_member(&world->harness, "containerInstanceArn", arn, sizeof(arn));
    const char *admit = "{'containerInstanceArn':'%s'}";
    harness_expect(&world->harness, "NodeAdmit", world_text(admit, arn), "{}");
    const char *keyed[] = {world->nodes[node].instance,
                           world_text("x/%s", world->nodes[node].node_id), "", "x/"};
    for (size_t i = 0; i < ARRAY_LEN(keyed); i++) {
        print_message("%s\n", keyed[i]);
        harness_contains(&world->harness, "NodeAdmit", world_text(admit, keyed[i]),
                         "ResourceNotFoundException: There is no container instance ");
    }
    struct text node_id = text_of(strrchr(arn, '/') + 1);
    world->harness.caller.node_id = node_id;
    harness_contains(&world->harness, "NodeConnect",
                     world_text("{'session':1,'containerInstanceArn':'%s','agentVersion':'1.105.1',"
                                "'agentHash':'abc','dockerVersion':'DockerVersion: 20.10'}",
                                arn),
                     "{'leaseMs':120000}");
    harness_expect(&world->harness, "NodeBeat", "{}", "{}");
    world->harness.caller.node_id = (struct text){0};
    harness_contains(&world->harness, "DescribeContainerInstances",
                     world_text("{'cluster':'c','containerInstances':['%s']}", arn),
                     "'versionInfo':{'agentVersion':'1.105.1','agentHash':'abc','dockerVersion':"
                     "'DockerVersion: 20.10'}");
    struct text account = world->harness.caller.account;
    world->harness.caller.account = TEXT("999999999999");
    harness_contains(&world->harness, "NodeAdmit", world_text(admit, arn),
                     "ResourceNotFoundException: ");
    world->harness.caller.account = account;
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s'}", arn), "INACTIVE");
    harness_expect(
        &world->harness, "NodeAdmit", world_text(admit, arn),
        world_text("InactiveInstanceException: Container instance %s was deregistered.", arn));
    // The session that it has is told with the next sign of life.
    world->harness.caller.node_id = node_id;
    harness_contains(&world->harness, "NodeBeat", "{}", "InactiveInstanceException: ");
    world->harness.caller.node_id = (struct text){0};
}

// A host of the pool and a container instance at once: one inventory, counted once.
static void a_node_has_one_inventory(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 1024, 1024);
    char pool[160];
    snprintf(pool, sizeof(pool), "%s", world->nodes[node].instance);
    assert_non_null(strstr(pool, ":container-instance/FARGATE/"));
    world_register(world, node, "c", "eu-west-1a", 1024, 1024);
    assert_non_null(strstr(world->nodes[node].instance, ":container-instance/c/"));
    world_register(world, node, "c", "eu-west-1a", 1024, 1024);
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 1);
    world_run(world, 0, "");
    world_run(world, 0, "");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'reason':'RESOURCE:MEMORY'");
    harness_restart(&world->harness);
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'reason':'RESOURCE:MEMORY'");
    harness_contains(&world->harness, "ListNodes", "{}", "'memoryMib':1024,'memoryMibFree':0");
}

// A host that comes back smaller keeps its tasks and gets no more.
static void a_smaller_host_is_never_over_committed_further(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 1024, 2048);
    world_run(world, 0, "'count':2,");
    world_register(world, node, NULL, "eu-west-1a", 256, 512);
    harness_contains(
        &world->harness, "RunTask",
        world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE'," WORLD_NETWORK
                   "}",
                   world->subnets[0]),
        "RESOURCE:CPU on 1 of 1");
    harness_contains(&world->harness, "ListNodes", "{}", "'cpuUnits':256,'cpuUnitsFree':0");
}

static void nodes_are_listed_by_status(void **state)
{
    struct world *world = *state;
    harness_expect(&world->harness, "ListNodes", "{}", "{'nodes':[]}");
    size_t joined = world_join(world);
    harness_contains(&world->harness, "ListNodes", "{}", "'name':'host-0','status':'NEW'");
    world_register(world, joined, NULL, "eu-west-1a", 1024, 1024);
    harness_contains(&world->harness, "ListNodes", "{}", "'status':'NEW'");
    world_connect(world, joined);
    harness_contains(&world->harness, "ListNodes", "{}",
                     "'status':'ACTIVE','availabilityZone':'eu-west-1a','capacity':'FARGATE',"
                     "'cpuUnits':1024,'cpuUnitsFree':1024,'memoryMib':1024,'memoryMibFree':1024,"
                     "'taskCount':0,'lastSeenAt':1800000000,'agentVersion':'0.1.0'");
    harness_advance(&world->harness, 500);
    for (size_t i = 0; i < 10; i++) {
        harness_advance(&world->harness, 500);
    }
    harness_contains(&world->harness, "ListNodes", "{}", "'status':'LOST'");
    world_join(world);
    harness_contains(&world->harness, "ListNodes", "{'maxResults':1}", "'nextToken':");
    char token[40];
    harness_member(&world->harness, "nextToken", token, sizeof(token));
    harness_contains(&world->harness, "ListNodes", world_text("{'nextToken':'%s'}", token),
                     "{'nodes':[{'nodeId':'");
}

static void removing_by_force_ends_tasks_in_steps(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 65536, 131072);
    for (size_t i = 0; i < 10; i++) {
        world_run(world, 0, "'count':10,");
    }
    const char *id = world->nodes[node].node_id;
    harness_contains(&world->harness, "RemoveNode", world_text("{'nodeId':'%s'}", id),
                     "InvalidParameterException: Node ");
    harness_contains(&world->harness, "RemoveNode", world_text("{'nodeId':'%s','force':true}", id),
                     "'status':'REMOVED'");
    harness_restart(&world->harness);
    harness_advance(&world->harness, 0);
    world_task_has(world, "'lastStatus':'STOPPED'");
    world_task_has(world, "'stopCode':'TerminationNotice'");
    world_task_has(world, "'stoppedReason':'Node host-0 was removed by force while it had this "
                          "task.'");
    assert_int_equal(core_count(world->harness.core, &vpc_eni_kind), 0);
    harness_expect(&world->harness, "ListNodes", "{}", "{'nodes':[]}");
    world_as_node(world, node);
    harness_contains(
        &world->harness, "NodeConnect",
        world_text("{'session':9,'containerInstanceArn':'%s'}", world->nodes[node].instance),
        "ResourceNotFoundException: ");
    world_as_root(world);
    // The record stays for as long as its tasks are shown, and then goes.
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 1);
    harness_advance(&world->harness, TASK_RETENTION_MS);
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 0);
    assert_int_equal(core_count(world->harness.core, &task_kind), 0);
}

static void removing_an_idle_node_takes_it_away(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 1024, 1024);
    harness_contains(&world->harness, "RemoveNode",
                     world_text("{'nodeId':'%s'}", world->nodes[node].node_id), "'REMOVED'");
    harness_advance(&world->harness, 0);
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 0);
    harness_contains(&world->harness, "RemoveNode", "{'nodeId':'x'}",
                     "ResourceNotFoundException: There is no node x.");
}

static void endpoints_are_those_of_the_wiring(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "DiscoverPollEndpoint", "{}",
                     "{'endpoint':'http://127.0.0.1:1/','telemetryEndpoint':'http://127.0.0.1:2/'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(registering_echoes_attributes_and_adds_those_of_ecs,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(registering_refuses_what_is_too_large, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(registering_refuses_what_is_wrong, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_host_on_ec2_is_named_by_its_identity, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_registration_is_repeated_by_its_token, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_stock_agent_opens_sessions_for_its_own_instance_only,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_node_has_one_inventory, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_smaller_host_is_never_over_committed_further, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(nodes_are_listed_by_status, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(removing_by_force_ends_tasks_in_steps, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(removing_an_idle_node_takes_it_away, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(endpoints_are_those_of_the_wiring, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
