#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/task.h"
#include "task_world.h"

#include <string.h>

#define NOT_ENABLED                                                                                \
    "InvalidParameterException: The execute command failed because execute command was not "       \
    "enabled when the task was run or the execute command agent isn\u2019t running. Wait and try " \
    "again or run a new task with execute command enabled and try again."
#define BOTH_RUN                                                                                   \
    ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1'},"                  \
    "{'containerName':'side','status':'RUNNING','runtimeId':'r2'}]"
#define STOCK_AGENT                                                                                \
    "{'session':9,'containerInstanceArn':'%s','berthAgent':false,'agentVersion':'1.2'}"

static const char *id(const struct world *world)
{
    return strrchr(world->task, '/') + 1;
}

static const char *execute(const struct world *world, const char *container)
{
    return world_text("{'cluster':'c','task':'%s',%s'command':'sh','interactive':true}", id(world),
                      container);
}

static void refused(struct world *world, const char *request, const char *want)
{
    uint64_t version = core_version(world->harness.core);
    harness_expect(&world->harness, "ExecuteCommand", request, want);
    assert_int_equal(core_version(world->harness.core), version);
}

// A world with a task of containers app and side that run and may be entered. @return its node
static size_t running(struct world *world)
{
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "'enableExecuteCommand':true,");
    world_submit(world, node, "RUNNING", BOTH_RUN);
    return node;
}

static void requests_are_refused_in_the_words_of_ecs(void **state)
{
    struct world *world = *state;
    running(world);
    const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {world_text("{'cluster':'no','task':'%s','command':'sh','interactive':true}", id(world)),
         "ClusterNotFoundException: Cluster not found."},
        {"{'cluster':'c','task':'','command':'sh','interactive':true}",
         "InvalidParameterException: Task cannot be empty."},
        {world_text("{'cluster':'c','task':'%s','command':'','interactive':true}", id(world)),
         "InvalidParameterException: Command cannot be empty."},
        {world_text("{'cluster':'c','task':'%s','command':' ','interactive':true}", id(world)),
         "InvalidParameterException: Command cannot be empty."},
        {world_text("{'cluster':'c','task':'%s','command':'sh','interactive':false}", id(world)),
         "InvalidParameterException: Interactive is the only mode supported currently."},
        {"{'cluster':'c','task':'0123','command':'sh','interactive':true}",
         "InvalidParameterException: The referenced task was not found."},
        {execute(world, ""), "InvalidParameterException: A container name must be specified for a "
                             "task with multiple containers."},
        {execute(world, "'container':'other',"),
         "InvalidParameterException: The container other does not exist in the task."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        refused(world, cases[i].request, cases[i].want);
    }
}

static void an_accepted_command_names_all_and_writes_nothing(void **state)
{
    struct world *world = *state;
    size_t node = running(world);
    uint64_t version = core_version(world->harness.core);
    harness_contains(&world->harness, "ExecuteCommand", execute(world, "'container':'side',"),
                     "'containerName':'side','interactive':true");
    harness_contains(
        &world->harness, "ExecuteCommand", execute(world, "'container':'side',"),
        world_text("'clusterArn':'arn:aws:ecs:eu-west-1:123456789012:cluster/c','containerArn':"
                   "'arn:aws:ecs:eu-west-1:123456789012:container/c/%s/",
                   id(world)));
    assert_int_equal(core_version(world->harness.core), version);

    struct text node_id = {0};
    bool logged = true;
    assert_int_equal(task_execute_plan(world->harness.core, text_of(world->task), TEXT("side"),
                                       &node_id, &logged),
                     0);
    assert_true(text_is(node_id, world->nodes[node].node_id));
    assert_false(logged);
    assert_int_equal(task_execute_plan(world->harness.core, text_of(world->task), TEXT("other"),
                                       &node_id, &logged),
                     ERR_NOT_FOUND);
    assert_int_equal(
        task_execute_plan(world->harness.core, TEXT("nothing"), TEXT("side"), &node_id, &logged),
        ERR_NOT_FOUND);
}

// The agent that ECS speaks of is there with the container, and goes with it.
static void the_agent_follows_its_container(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "'enableExecuteCommand':true,");
    world_effect(world, "'enableExecuteCommand':true");
    refused(world, execute(world, "'container':'app',"), NOT_ENABLED);
    world_submit(world, node, "PENDING",
                 ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1'}]");
    world_task_has(world, "'managedAgents':[{'lastStartedAt':1800000000,'name':"
                          "'ExecuteCommandAgent','lastStatus':'RUNNING'}]");
    world_task_has(world,
                   "'managedAgents':[{'name':'ExecuteCommandAgent','lastStatus':'PENDING'}]");
    refused(world, execute(world, "'container':'app',"), NOT_ENABLED); // the task is PENDING
    world_submit(world, node, "RUNNING", BOTH_RUN);
    harness_contains(&world->harness, "ExecuteCommand", execute(world, "'container':'app',"),
                     "'containerName':'app'");
    world_submit(world, node, "RUNNING",
                 ",'containers':[{'containerName':'side','status':'STOPPED','exitCode':0}]");
    world_task_has(world, "'managedAgents':[{'lastStartedAt':1800000000,'name':"
                          "'ExecuteCommandAgent','reason':'Received Container Stopped event',"
                          "'lastStatus':'STOPPED'}]");
    refused(world, execute(world, "'container':'side',"), NOT_ENABLED);
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", id(world)), "'taskArn'");
    refused(world, execute(world, "'container':'app',"),
            "InvalidParameterException: The execute command failed because the task is not "
            "running. Run a new task with execute command enabled and try again.");
}

static void a_task_that_was_not_enabled_is_closed(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_no_effect(world, "enableExecuteCommand':true");
    world_submit(world, node, "RUNNING", BOTH_RUN);
    refused(world, execute(world, "'container':'app',"), NOT_ENABLED);
}

static void a_node_that_is_away_is_no_target(void **state)
{
    struct world *world = *state;
    size_t node = running(world);
    static const char *const want =
        "TargetNotConnectedException: The execute command failed due to an internal error. Try "
        "again later.";
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeDisconnect",
                   world_text("{'session':%lld}", (long long)world->nodes[node].session), "{}");
    world_as_root(world);
    refused(world, execute(world, "'container':'app',"), want);
    world_connect(world, node);
    harness_contains(&world->harness, "ExecuteCommand", execute(world, "'container':'app',"),
                     "'containerName':'app'");
    // A stock agent's sessions go by servers of AWS.
    world_as_node(world, node);
    harness_contains(&world->harness, "NodeConnect",
                     world_text(STOCK_AGENT, world->nodes[node].instance), "leaseMs");
    world_as_root(world);
    refused(world, execute(world, "'container':'app',"), want);
}

// What a cluster's configuration says of transcripts, with and without awslogs in the container.
static void a_cluster_says_what_is_logged(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'web','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],"
                     "'cpu':'256','memory':'512','containerDefinitions':[{'name':'app',"
                     "'image':'i','logConfiguration':{'logDriver':'awslogs','options':"
                     "{'awslogs-group':'g','awslogs-region':'eu-west-1','awslogs-stream-prefix':"
                     "'p'}}},{'name':'side','image':'i','essential':false}]}",
                     "'revision'");
    world_run(world, 0, "'enableExecuteCommand':true,");
    world_submit(world, node, "RUNNING", BOTH_RUN);
    static const struct {
        const char *configuration;
        bool app;
        bool side;
    } cases[] = {
        {"'logging':'DEFAULT'", true, false},
        {"'kmsKeyId':'k'", true, false},
        {"'logging':'NONE'", false, false},
        {"'logging':'OVERRIDE','logConfiguration':{'cloudWatchLogGroupName':'g'}", true, true},
        {"'logging':'OVERRIDE','logConfiguration':{'s3BucketName':'b'}", true, true},
        {"'logging':'OVERRIDE','logConfiguration':{'s3KeyPrefix':'b'}", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].configuration);
        harness_contains(&world->harness, "UpdateCluster",
                         world_text("{'cluster':'c','configuration':{'executeCommandConfiguration':"
                                    "{%s}}}",
                                    cases[i].configuration),
                         "'clusterName'");
        struct text node_id = {0};
        bool app = !cases[i].app;
        bool side = !cases[i].side;
        assert_int_equal(task_execute_plan(world->harness.core, text_of(world->task), TEXT("app"),
                                           &node_id, &app),
                         0);
        assert_int_equal(task_execute_plan(world->harness.core, text_of(world->task), TEXT("side"),
                                           &node_id, &side),
                         0);
        assert_int_equal(app, cases[i].app);
        assert_int_equal(side, cases[i].side);
    }
}

// --strict refuses services for want of the role as ECS does; without it Berth needs none.
static void strict_wants_a_task_role(void **state)
{
    struct world *world = *state;
    const char *make = world_text("{'cluster':'c','serviceName':'s','taskDefinition':'web',"
                                  "'desiredCount':0,'launchType':'FARGATE',"
                                  "'enableExecuteCommand':true," WORLD_NETWORK "}",
                                  world->subnets[0]);
    ecs_set_strict(world->harness.core, true);
    harness_expect(&world->harness, "CreateService", make,
                   "InvalidParameterException: The service couldn't be created because a valid "
                   "taskRoleArn is not being used. Specify a valid task role in your task "
                   "definition and try again.");
    ecs_set_strict(world->harness.core, false);
    harness_contains(&world->harness, "CreateService", make, "'enableExecuteCommand':true");
    ecs_set_strict(world->harness.core, true);
    harness_expect(&world->harness, "UpdateService",
                   "{'cluster':'c','service':'s','forceNewDeployment':true}",
                   "InvalidParameterException: The service couldn't be updated because a valid "
                   "taskRoleArn is not being used. Specify a valid task role in your task "
                   "definition and try again.");
    harness_contains(&world->harness, "UpdateService",
                     "{'cluster':'c','service':'s','enableExecuteCommand':false}", "'ACTIVE'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_are_refused_in_the_words_of_ecs, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(an_accepted_command_names_all_and_writes_nothing,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_agent_follows_its_container, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_task_that_was_not_enabled_is_closed, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_node_that_is_away_is_no_target, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_cluster_says_what_is_logged, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(strict_wants_a_task_role, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
