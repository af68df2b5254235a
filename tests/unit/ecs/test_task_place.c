#include "task_world.h"

#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

#define JOB "'cluster':'c','taskDefinition':'job'"

static size_t instance(struct world *world, const char *zone, int cpu_units, int memory_mib)
{
    size_t node = world_join(world);
    world_register(world, node, "c", zone, cpu_units, memory_mib);
    world_connect(world, node);
    return node;
}

static size_t occurrences(const char *text, const char *needle)
{
    size_t count = 0;
    for (const char *at = strstr(text, needle); at != NULL; at = strstr(at + 1, needle)) {
        count++;
    }
    return count;
}

// How many tasks of the last answer went to an instance.
static size_t went_to(struct world *world, const char *answer, size_t node)
{
    return occurrences(answer,
                       world_text("\"containerInstanceArn\":\"%s\"", world->nodes[node].instance));
}

static void binpack_fills_the_fullest(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 1000, 8000);
    size_t small = instance(world, "eu-west-1b", 900, 900);
    const char *answer =
        harness_call(&world->harness, "RunTask",
                     "{" JOB ",'count':10,'placementStrategy':[{'type':'binpack','field':'CPU'}]}");
    assert_int_equal(went_to(world, answer, small), 9); // 900 units are nine tasks
    assert_int_equal(went_to(world, answer, 0), 1);
}

static void spread_goes_over_values_first(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 3; i++) {
        instance(world, i == 0 ? "eu-west-1a" : "eu-west-1b", 4000, 4000);
    }
    const char *answer =
        harness_call(&world->harness, "RunTask",
                     "{" JOB ",'count':6,'placementStrategy':[{'type':'spread','field':"
                     "'attribute:ecs.availability-zone'},{'type':'binpack','field':'memory'}]}");
    assert_int_equal(went_to(world, answer, 0), 3);
    assert_int_equal(went_to(world, answer, 1), 3); // of the zone's two, always the fuller one
    answer = harness_call(&world->harness, "RunTask",
                          "{" JOB ",'count':3,'group':'other','placementStrategy':[{'type':"
                          "'spread','field':'instanceId'}]}");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(went_to(world, answer, i), 1);
    }
}

// Drawn from the input's entropy: all of them come up, and the same input draws the same.
static void random_uses_every_instance(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 3; i++) {
        instance(world, "eu-west-1a", 100000, 100000);
    }
    size_t counts[3] = {0};
    for (size_t i = 0; i < 6; i++) {
        const char *answer =
            harness_call(&world->harness, "RunTask",
                         "{" JOB ",'count':10,'placementStrategy':[{'type':'random'}]}");
        for (size_t j = 0; j < 3; j++) {
            counts[j] += went_to(world, answer, j);
        }
    }
    assert_int_equal(counts[0] + counts[1] + counts[2], 60);
    for (size_t j = 0; j < 3; j++) {
        assert_in_range(counts[j], 8, 36);
    }
}

static void constraints_limit_and_explain(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 4000, 4000);
    instance(world, "eu-west-1b", 4000, 4000);
    const char *answer =
        harness_call(&world->harness, "RunTask",
                     "{" JOB ",'count':3,'placementConstraints':[{'type':'memberOf','expression':"
                     "'attribute:ecs.availability-zone == eu-west-1b'}]}");
    assert_int_equal(went_to(world, answer, 1), 3);
    harness_contains(&world->harness, "RunTask",
                     "{" JOB ",'placementConstraints':[{'type':'memberOf','expression':"
                     "'attribute:none exists'}]}",
                     "'reason':'MemberOf placement constraint unsatisfied.'}");
    // One each, then the reason for both: what is placed counts at once.
    answer = harness_call(&world->harness, "RunTask",
                          "{" JOB ",'group':'d','count':3,'placementConstraints':[{'type':"
                          "'distinctInstance'}]}");
    assert_int_equal(went_to(world, answer, 0), 1);
    assert_int_equal(went_to(world, answer, 1), 1);
    assert_int_equal(occurrences(answer, "DistinctInstance placement constraint unsatisfied."), 2);
    harness_contains(&world->harness, "RunTask",
                     "{" JOB ",'placementConstraints':[{'type':'memberOf','expression':"
                     "'not(task:group == d)'}]}",
                     "'tasks':[],'failures':[{");
}

// Tasks of one request count for the next of them: two instances take one each.
static void a_count_of_tasks_counts_at_once(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 4000, 4000);
    instance(world, "eu-west-1b", 4000, 4000);
    const char *answer =
        harness_call(&world->harness, "RunTask",
                     "{" JOB ",'count':3,'placementConstraints':[{'type':'memberOf','expression':"
                     "'runningTasksCount < 1'}]}");
    assert_int_equal(went_to(world, answer, 0), 1);
    assert_int_equal(went_to(world, answer, 1), 1);
    assert_int_equal(occurrences(answer, "MemberOf placement constraint unsatisfied."), 2);
}

// A task without a group is in that of its family, whether that is said or not.
static void the_group_is_that_of_the_family(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 4000, 4000);
    instance(world, "eu-west-1b", 4000, 4000);
    static const char *const groups[] = {"", ",'group':'family:job'", ""};
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        harness_contains(&world->harness, "RunTask",
                         world_text("{" JOB "%s,'placementConstraints':[{'type':"
                                    "'distinctInstance'}]}",
                                    groups[i]),
                         i < 2 ? "'failures':[]" : "'tasks':[]");
    }
}

static void constraints_of_the_definition_count(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 4000, 4000);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'tied','containerDefinitions':[{'name':'a','image':'i','memory':6}"
                     "],'placementConstraints':[{'type':'memberOf','expression':'agentVersion "
                     "> 0 and attribute:rack == 7'}]}",
                     "'revision':1");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'tied'}",
                     "'reason':'MemberOf placement constraint unsatisfied.'");
}

static void ports_of_the_host_are_had_once(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 4000, 4000);
    instance(world, "eu-west-1a", 4000, 4000);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'port','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'portMappings':[{'containerPort':80,'hostPort':8080}]}]}",
                     "'revision':1");
    const char *answer = harness_call(&world->harness, "RunTask",
                                      "{'cluster':'c','taskDefinition':'port','count':3}");
    assert_int_equal(went_to(world, answer, 0), 1);
    assert_int_equal(went_to(world, answer, 1), 1);
    assert_int_equal(occurrences(answer, "\"reason\":\"RESOURCE:PORTS\""), 2);
    // A definition that names a port twice would have no host.
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'twice','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'portMappings':[{'containerPort':80,'hostPort':9},{'containerPort':81,"
                     "'hostPort':9}]}]}",
                     "ClientException: TCP host port '9' is mapped multiple times in task.");
    // Another protocol is another port.
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'udp','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'portMappings':[{'containerPort':80,'hostPort':8080,'protocol':'udp'}]}]}",
                     "'revision':1");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'udp'}",
                     "'failures':[]");
}

static void gpus_are_counted(void **state)
{
    struct world *world = *state;
    size_t node = world_join(world);
    world_as_node(world, node);
    harness_contains(&world->harness, "RegisterContainerInstance",
                     "{'cluster':'c','attributes':[" WORLD_CAPABILITIES
                     "],'platformDevices':[{'id':'g0','type':'GPU'},{'id':'g1','type':'GPU'}],'"
                     "totalResources':[{'name':'CPU','type':'INTEGER','integerValue':1000}"
                     ",{'name':'MEMORY','type':'INTEGER','integerValue':1000}]}",
                     "containerInstanceArn");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_connect(world, node);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'gpu','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'resourceRequirements':[{'type':'GPU','value':'1'}]}]}",
                     "'revision':1");
    const char *answer = harness_call(&world->harness, "RunTask",
                                      "{'cluster':'c','taskDefinition':'gpu','count':3}");
    assert_int_equal(went_to(world, answer, node), 2);
    assert_int_equal(occurrences(answer, "\"reason\":\"RESOURCE:GPU\""), 1);
    harness_contains(&world->harness, "RunTask", "{" JOB "}", "'failures':[]");
}

// What a definition requires is asked of every host, Berth's own included, of one that can be
// placed by scan and of one whose attributes are looked at.
static void a_host_needs_the_capabilities(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, "eu-west-1a", 4000, 4000);
    static const struct {
        const char *family;
        const char *member;
        const char *lacks;
    } cases[] = {
        {"scan", "'linuxParameters':{'initProcessEnabled':true}",
         "com.amazonaws.ecs.capability.docker-remote-api.1.25"},
        {"look", "'privileged':true", "com.amazonaws.ecs.capability.privileged-container"},
        {"files", "'environmentFiles':[{'type':'s3','value':'arn:aws:s3:::b/a.env'}]",
         "ecs.capability.env-files.s3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].family);
        harness_contains(&world->harness, "RegisterTaskDefinition",
                         world_text("{'family':'%s','containerDefinitions':[{'name':'a','image':"
                                    "'i','memory':6,%s}]}",
                                    cases[i].family, cases[i].member),
                         world_text("{'name':'%s'}", cases[i].lacks));
        const char *want = world_text("'tasks':[],'failures':[{'arn':'%s','reason':'ATTRIBUTE',"
                                      "'detail':'The container instance has no attribute %s.'}]",
                                      world->nodes[node].instance, cases[i].lacks);
        harness_contains(&world->harness, "RunTask",
                         world_text("{'cluster':'c','taskDefinition':'%s'}", cases[i].family),
                         want);
        harness_contains(&world->harness, "StartTask",
                         world_text("{'cluster':'c','taskDefinition':'%s','containerInstances':["
                                    "'%s']}",
                                    cases[i].family, world->nodes[node].instance),
                         want);
    }
    // One that registers with them gets the tasks.
    size_t able = world_join(world);
    world_as_node(world, able);
    harness_contains(&world->harness, "RegisterContainerInstance",
                     "{'cluster':'c','attributes':[" WORLD_CAPABILITIES
                     ",{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.25'},{'name':"
                     "'com.amazonaws.ecs.capability.privileged-container'},{'name':"
                     "'ecs.capability.env-files.s3'}],'totalResources':[{'name':'CPU','type':"
                     "'INTEGER','integerValue':1000},{'name':'MEMORY','type':'INTEGER',"
                     "'integerValue':1000}]}",
                     "containerInstanceArn");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[able].instance,
                   sizeof(world->nodes[able].instance));
    world_connect(world, able);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *answer =
            harness_call(&world->harness, "RunTask",
                         world_text("{'cluster':'c','taskDefinition':'%s'}", cases[i].family));
        assert_int_equal(went_to(world, answer, able), 1);
    }
}

static void a_host_of_the_pool_needs_them_too(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'secret','networkMode':'awsvpc','requiresCompatibilities':["
                     "'FARGATE'],'cpu':'256','memory':'512','containerDefinitions':[{'name':'a',"
                     "'image':'i','secrets':[{'name':'S','valueFrom':'p'}]}]}",
                     "'revision':1");
    harness_contains(
        &world->harness, "RunTask",
        world_text("{'cluster':'c','taskDefinition':'secret','launchType':'FARGATE'," WORLD_NETWORK
                   "}",
                   world->subnets[0]),
        "eu-west-1a: ATTRIBUTE on 1 of 1 (ecs.capability.secrets.ssm.environment-variables)");
}

// What only some hosts can: a pool's host that says so gets the tasks that ask for it.
static void faults_go_to_a_host_of_the_pool_that_can(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'faults','networkMode':'awsvpc','requiresCompatibilities':["
                     "'FARGATE'],'cpu':'256','memory':'512','enableFaultInjection':true,"
                     "'containerDefinitions':[{'name':'a','image':'i'}]}",
                     "'revision':1");
    const char *run = world_text(
        "{'cluster':'c','taskDefinition':'faults','launchType':'FARGATE'," WORLD_NETWORK "}",
        world->subnets[0]);
    harness_contains(&world->harness, "RunTask", run,
                     "eu-west-1a: ATTRIBUTE on 1 of 1 (ecs.capability.fault-injection)");
    size_t able = world_join(world);
    world_as_node(world, able);
    harness_contains(&world->harness, "RegisterContainerInstance",
                     "{'attributes':[{'name':'ecs.availability-zone','value':'eu-west-1a'},"
                     "{'name':'berth.capacity','value':'FARGATE'}," WORLD_CAPABILITIES
                     ",{'name':'ecs.capability.fault-injection'}],'totalResources':[{'name':'CPU',"
                     "'type':'INTEGER','integerValue':4096},{'name':'MEMORY','type':'INTEGER',"
                     "'integerValue':8192}]}",
                     "containerInstanceArn");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[able].instance,
                   sizeof(world->nodes[able].instance));
    world_connect(world, able);
    world_as_root(world);
    const char *answer = harness_call(&world->harness, "RunTask", run);
    assert_non_null(strstr(answer, "\"failures\":[]"));
}

// Reserved ports and capabilities are what a stock agent says of its host.
static void a_stock_agent_needs_the_capabilities(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *attributes;
        const char *want;
    } cases[] = {
        {"", "'reason':'ATTRIBUTE'"},
        {"{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.18'}", "'failures':[]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_contains(
            &world->harness, "RegisterContainerInstance",
            world_text("{'cluster':'c','attributes':[%s],'totalResources':[{'name':'CPU','type':"
                       "'INTEGER','integerValue':1000},{'name':'MEMORY','type':'INTEGER',"
                       "'integerValue':1000},{'name':'PORTS','type':'STRINGSET','stringSetValue':"
                       "['22']}]}",
                       cases[i].attributes),
            "containerInstanceArn");
        struct world_node *node = &world->nodes[world->node_count];
        harness_member(&world->harness, "containerInstanceArn", node->instance,
                       sizeof(node->instance));
        snprintf(node->node_id, sizeof(node->node_id), "%s", strrchr(node->instance, '/') + 1);
        world->node_count++;
        harness_contains(&world->harness, "RunTask", "{" JOB "}", "'reason':'AGENT'");
        world_as_node(world, i);
        harness_contains(&world->harness, "NodeConnect",
                         world_text("{'session':1,'containerInstanceArn':'%s'}", node->instance),
                         "leaseMs");
        world_as_root(world);
        harness_contains(&world->harness, "RunTask", "{" JOB "}", cases[i].want);
    }
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'ssh','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'portMappings':[{'containerPort':22,'hostPort':22}]}]}",
                     "'revision':1");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'ssh'}",
                     "'reason':'RESOURCE:PORTS'");
    // What that agent does only with AWS needs an agent of Berth's.
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'big','ephemeralStorage':{'sizeInGiB':30},'containerDefinitions':"
                     "[{'name':'a','image':'i','memory':6}]}",
                     "'revision':1");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'big'}",
                     "s container agent, which does not do ephemeralStorage here.'");
    size_t berth = world_join(world);
    world_register(world, berth, "c", "eu-west-1a", 1000, 1000);
    world_connect(world, berth);
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'big'}",
                     "'failures':[]");
}

static void what_is_wrong_is_refused(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 4000, 4000);
    static const struct {
        const char *members;
        const char *want;
    } cases[] = {
        {"'placementStrategy':[{'type':'spread'}]",
         "The field of a spread placement strategy should be instanceId, host or attribute:name."},
        {"'placementStrategy':[{'type':'binpack','field':'disk'}]",
         "The field of a binpack placement strategy should be one of [cpu, memory]."},
        {"'placementStrategy':[{'type':'random','field':'x'}]",
         "A random placement strategy has no field."},
        {"'placementStrategy':[{}]",
         "Placement strategy type should be one of [random, spread, binpack]."},
        {"'placementStrategy':[{'type':'random'},{'type':'random'},{'type':'random'},{'type':"
         "'random'},{'type':'random'},{'type':'random'}]",
         "A task can have at most 5 placement strategies."},
        {"'placementConstraints':[{}]",
         "Placement constraint type should be one of [distinctInstance, memberOf]."},
        {"'placementConstraints':[{'type':'memberOf'}]",
         "The expression of a memberOf placement constraint cannot be empty."},
        {"'placementConstraints':[{'type':'distinctInstance','expression':'x'}]",
         "A distinctInstance placement constraint has no expression."},
        {"'placementConstraints':[{'type':'memberOf','expression':'x'}]",
         "Invalid cluster query expression: expected a subject such as attribute:name or "
         "task:group "
         "at character 1."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "RunTask", world_text("{" JOB ",%s}", cases[i].members),
                       world_text("InvalidParameterException: %s", cases[i].want));
    }
    const char *fargate = "{'cluster':'c','taskDefinition':'web','launchType':'FARGATE',"
                          "'placement%s':[{'type':'%s'}]," WORLD_NETWORK "}";
    static const char *const kinds[][3] = {{"Strategy", "random", "strategies"},
                                           {"Constraints", "distinctInstance", "constraints"}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char request[400];
        snprintf(request, sizeof(request), fargate, kinds[i][0], kinds[i][1], world->subnets[0]);
        harness_expect(&world->harness, "RunTask", request,
                       world_text("InvalidParameterException: Placement %s are not supported with "
                                  "FARGATE launch type.",
                                  kinds[i][2]));
    }
}

static void draining_is_a_reason(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, "eu-west-1a", 4000, 4000);
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','containerInstances':['%s'],'status':'DRAINING'}",
                                world->nodes[node].instance),
                     "DRAINING");
    harness_contains(&world->harness, "RunTask",
                     "{" JOB ",'placementStrategy':[{'type':'random'}]}",
                     "'reason':'INACTIVE','detail':'The container instance is DRAINING.'");
}

static void starting_takes_the_named_instances(void **state)
{
    struct world *world = *state;
    size_t big = instance(world, "eu-west-1a", 4000, 4000);
    size_t small = instance(world, "eu-west-1a", 50, 4000);
    world_register(world, world_join(world), "c", "eu-west-1a", 4000, 4000);
    world_forget(world);
    const char *answer = harness_call(
        &world->harness, "StartTask",
        world_text("{" JOB ",'containerInstances':['%s','%s','%s','nope'],'startedBy':'me',"
                   "'tags':[{'key':'k','value':'v'}]}",
                   world->nodes[big].instance, world->nodes[small].instance,
                   world->nodes[2].instance));
    assert_int_equal(
        occurrences(answer, "\"taskArn\":\"arn:aws:ecs:eu-west-1:123456789012:task/c/"),
        2); // the task, and its one container
    assert_int_equal(went_to(world, answer, big), 1);
    static const char *const wants[] = {"\"reason\":\"RESOURCE:CPU\"", "\"reason\":\"AGENT\"",
                                        "\"reason\":\"MISSING\"", "\"startedBy\":\"me\"",
                                        "\"tags\":[{\"key\":\"k\",\"value\":\"v\"}]"};
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        if (strstr(answer, wants[i]) == NULL) {
            fail_msg("lacks %s in %s", wants[i], answer);
        }
    }
    world_effect(world, "PayloadMessage");
    static const struct {
        const char *members;
        const char *want;
    } cases[] = {
        {"'containerInstances':[]", "Container instances cannot be empty."},
        {"'containerInstances':['1','2','3','4','5','6','7','8','9','10','11']",
         "instanceIds can have at most 10 items."},
        {"'containerInstances':['a'],'startedBy':'1234567890123456789012345678901234567'",
         "startedBy can have up to 36 characters: letters, numbers, hyphens, forward slashes and "
         "underscores."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "StartTask", world_text("{" JOB ",%s}", cases[i].members),
                       world_text("InvalidParameterException: %s", cases[i].want));
    }
    harness_contains(
        &world->harness, "ListTasks",
        world_text("{'cluster':'c','containerInstance':'%s'}", world->nodes[big].instance),
        ":task/c/");
    harness_expect(
        &world->harness, "ListTasks",
        world_text("{'cluster':'c','containerInstance':'%s'}", world->nodes[small].instance),
        "{'taskArns':[]}");
}

// Zones of awsvpc: an instance that no subnet reaches says so.
static void starting_needs_a_subnet_of_the_zone(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, "eu-west-1a", 4000, 4000);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'eni','networkMode':'awsvpc','containerDefinitions':[{'name':'a',"
                     "'image':'i','memory':6}]}",
                     "'revision':1");
    for (size_t i = 0; i < 2; i++) {
        harness_contains(&world->harness, "StartTask",
                         world_text("{'cluster':'c','taskDefinition':'eni','containerInstances':["
                                    "'%s']," WORLD_NETWORK "}",
                                    world->nodes[node].instance, world->subnets[i]),
                         i == 0 ? "'failures':[]" : "'reason':'LOCATION'");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(binpack_fills_the_fullest, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(spread_goes_over_values_first, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(random_uses_every_instance, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(constraints_limit_and_explain, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_count_of_tasks_counts_at_once, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(the_group_is_that_of_the_family, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(constraints_of_the_definition_count, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(ports_of_the_host_are_had_once, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_host_needs_the_capabilities, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_host_of_the_pool_needs_them_too, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(faults_go_to_a_host_of_the_pool_that_can, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(gpus_are_counted, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_stock_agent_needs_the_capabilities, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_refused, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(draining_is_a_reason, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(starting_takes_the_named_instances, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(starting_needs_a_subnet_of_the_zone, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
