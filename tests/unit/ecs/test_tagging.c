#include "task_world.h"

#include "base/text.h"
#include "ecs/ecs.h"

#include <stdio.h>
#include <string.h>

#define BASE "arn:aws:ecs:eu-west-1:123456789012:"

/** Tag, list, replace, untag: the same for everything that has tags. */
static void walk(struct world *world, const char *arn)
{
    struct harness *harness = &world->harness;
    harness_expect(harness, "ListTagsForResource", world_text("{'resourceArn':'%s'}", arn),
                   "{'tags':[]}");
    harness_expect(harness, "TagResource",
                   world_text("{'resourceArn':'%s','tags':[{'key':'a','value':'1'},{'key':'b',"
                              "'value':''}]}",
                              arn),
                   "{}");
    harness_expect(harness, "TagResource",
                   world_text("{'resourceArn':'%s','tags':[{'key':'a','value':'2'},{'key':'c',"
                              "'value':'x y'}]}",
                              arn),
                   "{}");
    harness_restart(harness);
    harness_expect(harness, "ListTagsForResource", world_text("{'resourceArn':'%s'}", arn),
                   "{'tags':[{'key':'a','value':'2'},{'key':'b','value':''},{'key':'c',"
                   "'value':'x y'}]}");
    harness_expect(harness, "UntagResource",
                   world_text("{'resourceArn':'%s','tagKeys':['b','none','a']}", arn), "{}");
    harness_expect(harness, "ListTagsForResource", world_text("{'resourceArn':'%s'}", arn),
                   "{'tags':[{'key':'c','value':'x y'}]}");
    harness_expect(harness, "UntagResource",
                   world_text("{'resourceArn':'%s','tagKeys':['c']}", arn), "{}");
    harness_expect(harness, "ListTagsForResource", world_text("{'resourceArn':'%s'}", arn),
                   "{'tags':[]}");
}

static void clusters_and_definitions(void **state)
{
    struct world *world = *state;
    walk(world, BASE "cluster/c");
    walk(world, BASE "task-definition/web:1");
    harness_call(&world->harness, "TagResource",
                 "{'resourceArn':'" BASE "cluster/c','tags':[{'key':'a','value':'1'}]}");
    harness_contains(&world->harness, "DescribeClusters", "{'clusters':['c'],'include':['TAGS']}",
                     "'tags':[{'key':'a','value':'1'}]");
    harness_call(&world->harness, "TagResource",
                 "{'resourceArn':'" BASE "task-definition/web:1','tags':[{'key':'a'}]}");
    harness_contains(&world->harness, "DescribeTaskDefinition",
                     "{'taskDefinition':'web','include':['TAGS']}", "'tags':[{'key':'a'}]");
}

static void tasks_until_they_stop(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_forget(world);
    walk(world, world->task);
    world_no_effect(world, "Task State Change");
    const char *tag =
        world_text("{'resourceArn':'%s','tags':[{'key':'a','value':'1'}]}", world->task);
    harness_expect(&world->harness, "TagResource", tag, "{}");
    world_task_has(world, "'tags':[{'key':'a','value':'1'}]");
    world_connect(world, node);
    world_submit(world, node, "STOPPED", "");
    harness_advance(&world->harness, 0);
    tag = world_text("{'resourceArn':'%s','tags':[{'key':'a','value':'2'}]}", world->task);
    harness_expect(&world->harness, "TagResource", tag,
                   "InvalidParameterException: The specified task is stopped. Specify a running "
                   "task and try again.");
    harness_expect(&world->harness, "ListTagsForResource",
                   world_text("{'resourceArn':'%s'}", world->task),
                   "{'tags':[{'key':'a','value':'1'}]}");
}

static void managed_tags_stay(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "'enableECSManagedTags':true,");
    harness_expect(
        &world->harness, "UntagResource",
        world_text("{'resourceArn':'%s','tagKeys':['aws:ecs:clusterName']}", world->task),
        "InvalidParameterException: Tag keys that begin with 'aws:' are reserved. Key: "
        "aws:ecs:clusterName");
    // It does not count: 50 of one's own fit beside it.
    struct buf request = {0};
    buf_format(&request, "{'resourceArn':'%s','tags':[", world->task);
    for (int i = 0; i < 50; i++) {
        buf_format(&request, "%s{'key':'k%d','value':'v'}", i == 0 ? "" : ",", i);
    }
    buf_string(&request, "]}");
    harness_expect(&world->harness, "TagResource", request.data, "{}");
    buf_deinit(&request);
    harness_expect(
        &world->harness, "TagResource",
        world_text("{'resourceArn':'%s','tags':[{'key':'more','value':'v'}]}", world->task),
        "LimitExceededException: The maximum number of tags is 50.");
    harness_expect(
        &world->harness, "TagResource",
        world_text("{'resourceArn':'%s','tags':[{'key':'k7','value':'w'}]}", world->task), "{}");
}

// What TagResource gave outlasts a new registration without tags.
static void container_instances(void **state)
{
    struct world *world = *state;
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    const char *arn = world->nodes[node].instance;
    walk(world, arn);
    harness_call(&world->harness, "TagResource",
                 world_text("{'resourceArn':'%s','tags':[{'key':'a','value':'1'}]}", arn));
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    harness_contains(
        &world->harness, "DescribeContainerInstances",
        world_text("{'cluster':'c','containerInstances':['%s'],'include':['TAGS']}", arn),
        "'tags':[{'key':'a','value':'1'}]");
}

// A deleted cluster is kept for as long as anything names it, then it goes.
static void deleted_clusters_outlast_what_names_them(void **state)
{
    struct world *world = *state;
    const int64_t day_ms = 24 * 3600 * INT64_C(1000);
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_submit(world, node, "STOPPED", "");
    harness_advance(&world->harness, 0);
    size_t member = world_join(world);
    world_register(world, member, "c", "eu-west-1a", 1000, 1000);
    harness_contains(
        &world->harness, "DeregisterContainerInstance",
        world_text("{'cluster':'c','containerInstance':'%s'}", world->nodes[member].instance),
        "INACTIVE");
    harness_contains(&world->harness, "DeleteCluster", "{'cluster':'c'}", "'status':'INACTIVE'");
    harness_advance(&world->harness, 6 * day_ms);
    harness_contains(&world->harness, "DescribeClusters", "{'clusters':['c']}", "INACTIVE");
    harness_expect(&world->harness, "ListTagsForResource",
                   world_text("{'resourceArn':'%s'}", world->task), "{'tags':[]}");
    harness_advance(&world->harness, 2 * day_ms);
    // The tasks are gone, the host still says that it was an instance of it.
    harness_contains(&world->harness, "DescribeClusters", "{'clusters':['c']}", "INACTIVE");
    world_register(world, member, NULL, "eu-west-1a", 1000, 1000);
    harness_advance(&world->harness, day_ms);
    harness_contains(&world->harness, "DescribeClusters", "{'clusters':['c']}", "MISSING");
    harness_restart(&world->harness);
    harness_contains(&world->harness, "CreateCluster", "{'clusterName':'c'}", "ACTIVE");
}

static void refusals(void **state)
{
    struct world *world = *state;
    struct harness *harness = &world->harness;
    harness_call(harness, "CreateCluster", "{'clusterName':'gone'}");
    harness_call(harness, "DeleteCluster", "{'cluster':'gone'}");
    harness_call(harness, "DeregisterTaskDefinition", "{'taskDefinition':'job:1'}");
    static const struct {
        const char *arn;
        const char *want; ///< of TagResource
        const char *list; ///< of ListTagsForResource when it differs
    } cases[] = {
        {"", "InvalidParameterException: resourceArn can not be blank.", NULL},
        {"c", "InvalidParameterException: Invalid resource ARN: c", NULL},
        {"arn:aws:ec2:eu-west-1:123456789012:vpc/v",
         "InvalidParameterException: Invalid resource ARN: "
         "arn:aws:ec2:eu-west-1:123456789012:vpc/v",
         NULL},
        {BASE "cluster", "InvalidParameterException: Invalid resource ARN: " BASE "cluster", NULL},
        {"arn:aws:ecs:us-east-1:123456789012:cluster/c",
         "InvalidParameterException: The resource ARN is of another account or Region: "
         "arn:aws:ecs:us-east-1:123456789012:cluster/c",
         NULL},
        {BASE "cluster/none", "ClusterNotFoundException: Cluster not found.", NULL},
        {BASE "cluster/gone",
         "InvalidParameterException: The specified cluster is inactive. Specify an active cluster "
         "and try again.",
         NULL},
        {BASE "task-definition/web",
         "InvalidParameterException: The ARN of a task definition must hold its revision.", NULL},
        {BASE "task-definition/web:9",
         "ResourceNotFoundException: The specified task definition was not found. Verify the ARN "
         "and try again.",
         "InvalidParameterException: The specified task definition was not found. Verify the ARN "
         "and try again."},
        {BASE "task-definition/job:1",
         "InvalidParameterException: The specified task definition is inactive. Specify an active "
         "task definition and try again.",
         "{'tags':[]}"},
        {BASE "task/0123456789abcdef0123456789abcdef",
         "InvalidParameterException: Long arn format must be used for tagging operations", NULL},
        {BASE "task/none/0123456789abcdef0123456789abcdef",
         "ClusterNotFoundException: Cluster not found.", NULL},
        {BASE "task/c/0123456789abcdef0123456789abcdef",
         "ResourceNotFoundException: The specified task was not found. Verify the ARN and try "
         "again.",
         "InvalidParameterException: The specified task was not found. Verify the ARN and try "
         "again."},
        {BASE "container-instance/c/0123456789abcdef0123456789abcdef",
         "ResourceNotFoundException: The specified container instance was not found. Verify the "
         "ARN and try again.",
         "InvalidParameterException: The specified container instance was not found. Verify the "
         "ARN and try again."},
        {BASE "service/c/web",
         "ResourceNotFoundException: The specified service was not found. Verify the ARN and try "
         "again.",
         "InvalidParameterException: The specified service was not found. Verify the ARN and try "
         "again."},
        {BASE "attachment/a",
         "InvalidParameterException: Resources of the type attachment cannot be tagged.", NULL},
    };
    uint64_t version = core_version(harness->core);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].arn);
        harness_expect(
            harness, "TagResource",
            world_text("{'resourceArn':'%s','tags':[{'key':'a','value':'b'}]}", cases[i].arn),
            cases[i].want);
        harness_expect(harness, "UntagResource",
                       world_text("{'resourceArn':'%s','tagKeys':['a']}", cases[i].arn),
                       cases[i].want);
        harness_expect(harness, "ListTagsForResource",
                       world_text("{'resourceArn':'%s'}", cases[i].arn),
                       cases[i].list != NULL ? cases[i].list : cases[i].want);
    }
    assert_int_equal(core_version(harness->core), version);
}

static void tag_rules(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *tags;
        const char *want;
    } cases[] = {
        {"", "InvalidParameterException: Tags can not be empty."},
        {"{'key':'AWS:x','value':'b'}",
         "InvalidParameterException: Tag keys that begin with 'aws:' are reserved. Key: AWS:x"},
        {"{'key':'x','value':'aws:b'}",
         "InvalidParameterException: Tag values that begin with 'aws:' are reserved. Key: x"},
        {"{'key':'x','value':'b'},{'key':'x','value':'c'}",
         "InvalidParameterException: Duplicate tag keys found. Key: x"},
        {"{'value':'b'}", "InvalidParameterException: Tag keys cannot be empty."},
        {"{'key':'x#','value':'b'}",
         "InvalidParameterException: Tags can only have letters, numbers, spaces and _.:/=+-@. "
         "Key: x#"},
        {"{'key':'x','value':'a|b'}",
         "InvalidParameterException: Tags can only have letters, numbers, spaces and _.:/=+-@. "
         "Key: x"},
        {"{'key':'Größe x_.:/=+-@1','value':'日本'},{'key':'GRöSSE','value':''}", "{}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].tags);
        harness_expect(&world->harness, "TagResource",
                       world_text("{'resourceArn':'" BASE "cluster/c','tags':[%s]}", cases[i].tags),
                       cases[i].want);
    }
    harness_expect(&world->harness, "UntagResource",
                   "{'resourceArn':'" BASE "cluster/c','tagKeys':[]}",
                   "InvalidParameterException: Tag keys cannot be empty.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(clusters_and_definitions, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(tasks_until_they_stop, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(managed_tags_stay, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(container_instances, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(deleted_clusters_outlast_what_names_them, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(refusals, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(tag_rules, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
