#include "task_world.h"

#include "base/text.h"
#include "ecs/service.h"

#include <string.h>

#define SERVICE "arn:aws:ecs:eu-west-1:123456789012:service/c/s "
#define DEPLOYMENT "EVENT " SERVICE "ECS Deployment State Change {"
#define ACTION "EVENT " SERVICE "ECS Service Action {"
#define CLUSTER "'clusterArn':'arn:aws:ecs:eu-west-1:123456789012:cluster/c'"

static void begin(struct world *world, const char *members)
{
    service_set_settle_ms(world->harness.core, 1000);
    harness_contains(&world->harness, "CreateService",
                     world_text("{'cluster':'c','serviceName':'s','taskDefinition':'job',"
                                "'launchType':'EC2'%s}",
                                members),
                     "'status':'ACTIVE'");
}

static void update(struct world *world, const char *members)
{
    harness_contains(&world->harness, "UpdateService",
                     world_text("{'cluster':'c','service':'s',%s}", members), "'status':'ACTIVE'");
}

static void instance(struct world *world, int cpu_units)
{
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", cpu_units, 4096);
    world_connect(world, node);
}

// What waits to be placed is looked for again every five seconds; the node stays in contact.
static void pass(struct world *world, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        for (size_t node = 0; node < world->node_count; node++) {
            world_beat(world, node);
        }
        harness_advance(&world->harness, 1000);
    }
}

// The task told of last is world->task from now on.
static void take_task(struct world *world)
{
    static const char mark[] = "EVENT arn:aws:ecs:eu-west-1:123456789012:task/c/";
    const char *last = NULL;
    for (const char *at = strstr(world->effects.data, mark); at != NULL;
         at = strstr(at + 1, mark)) {
        last = at;
    }
    assert_non_null(last);
    struct text rest = text_of(last + strlen("EVENT "));
    assert_int_equal(text_copy(text_cut(&rest, ' '), world->task, sizeof(world->task)), 0);
}

// One task fails to start.
static void fail_task(struct world *world)
{
    take_task(world);
    world_forget(world);
    world_submit(world, 0, "STOPPED", ",'reason':'CannotPullContainerError: no such image'");
    pass(world, 1);
}

static void a_deployment_is_told_from_begin_to_end(void **state)
{
    struct world *world = *state;
    instance(world, 1024);
    begin(world, ",'desiredCount':1");
    world_effect(world, DEPLOYMENT "'eventType':'INFO','eventName':"
                                   "'SERVICE_DEPLOYMENT_IN_PROGRESS','deploymentId':'ecs-svc/");
    world_effect(world, " in progress.'}");
    world_no_effect(world, "SERVICE_STEADY_STATE");
    harness_advance(&world->harness, 0);
    take_task(world);
    world_submit(world, 0, "RUNNING", "");
    world_no_effect(world, "SERVICE_DEPLOYMENT_COMPLETED");
    pass(world, 2);
    world_effect(world, DEPLOYMENT "'eventType':'INFO','eventName':'SERVICE_DEPLOYMENT_COMPLETED',"
                                   "'deploymentId':'ecs-svc/");
    world_effect(world, " completed.'}");
    world_effect(world, ACTION "'eventType':'INFO','eventName':'SERVICE_STEADY_STATE'," CLUSTER
                               ",'createdAt':");
    world_no_effect(world, "TASKS_STOPPED");

    world_forget(world);
    update(world, "'desiredCount':0");
    harness_advance(&world->harness, 0);
    world_effect(world, ACTION "'eventType':'INFO','eventName':'TASKS_STOPPED'," CLUSTER);
    world_effect(world, "'reason':'Scaling activity initiated by (deployment ecs-svc/");
    world_no_effect(world, "Deployment State Change");
}

// The reason is that of the instance that matched closest, once until it changes.
static void want_of_room_is_told_with_its_reason(void **state)
{
    struct world *world = *state;
    instance(world, 90);
    begin(world, ",'desiredCount':1");
    harness_advance(&world->harness, 0);
    world_effect(world,
                 world_text(ACTION "'eventType':'ERROR','eventName':"
                                   "'SERVICE_TASK_PLACEMENT_FAILURE'," CLUSTER ",'createdAt':"));
    world_effect(world, world_text("'reason':'RESOURCE:CPU','containerInstanceArns':['%s']}",
                                   world->nodes[0].instance));
    world_forget(world);
    pass(world, 11);
    world_no_effect(world, "SERVICE_TASK_PLACEMENT_FAILURE");
}

static void want_of_room_on_fargate_names_the_provider(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['FARGATE'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "'cluster'");
    harness_contains(&world->harness, "CreateService",
                     world_text("{'cluster':'c','serviceName':'s','taskDefinition':'web',"
                                "'desiredCount':1,'capacityProviderStrategy':[{'capacityProvider':"
                                "'FARGATE','weight':1}]," WORLD_NETWORK "}",
                                world->subnets[0]),
                     "'status':'ACTIVE'");
    harness_advance(&world->harness, 0);
    world_effect(world, ACTION
                 "'eventType':'ERROR','eventName':'SERVICE_TASK_PLACEMENT_FAILURE'," CLUSTER);
    world_effect(world, "'reason':'RESOURCE:FARGATE','capacityProviderArns':["
                        "'arn:aws:ecs:eu-west-1:123456789012:capacity-provider/FARGATE']}");
}

static void a_failed_deployment_and_its_rollback_are_told(void **state)
{
    struct world *world = *state;
    instance(world, 4096);
    begin(world, ",'desiredCount':1,'deploymentConfiguration':{'deploymentCircuitBreaker':"
                 "{'enable':true,'rollback':true}}");
    harness_advance(&world->harness, 0);
    take_task(world);
    world_submit(world, 0, "RUNNING", "");
    pass(world, 2);
    world_effect(world, "SERVICE_DEPLOYMENT_COMPLETED");
    world_forget(world);

    update(world, "'forceNewDeployment':true");
    harness_advance(&world->harness, 0);
    fail_task(world);
    fail_task(world);
    world_no_effect(world, "SERVICE_TASK_START_IMPAIRED");
    fail_task(world);
    world_effect(world,
                 ACTION "'eventType':'WARN','eventName':'SERVICE_TASK_START_IMPAIRED'," CLUSTER);
    world_effect(world, DEPLOYMENT "'eventType':'ERROR','eventName':'SERVICE_DEPLOYMENT_FAILED',"
                                   "'deploymentId':'ecs-svc/");
    world_effect(world, "'reason':'ECS deployment circuit breaker: task failed to start.'}");
    world_effect(world,
                 DEPLOYMENT "'eventType':'INFO','eventName':'SERVICE_DEPLOYMENT_IN_PROGRESS'");
    world_effect(world, "'reason':'ECS deployment circuit breaker: rolling back to deploymentId "
                        "ecs-svc/");
    world_effect(world, "SERVICE_DEPLOYMENT_COMPLETED"); // the old task runs still
    harness_contains(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}",
                     "(service s) is unable to consistently start tasks successfully. For more "
                     "information, see the Troubleshooting section.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_deployment_is_told_from_begin_to_end, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(want_of_room_is_told_with_its_reason, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(want_of_room_on_fargate_names_the_provider, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_failed_deployment_and_its_rollback_are_told, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
