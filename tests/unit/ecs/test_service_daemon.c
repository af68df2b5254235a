#include "service_world.h"

#include <stdio.h>
#include <string.h>

#define CHECKED                                                                                    \
    "{'family':'checked','containerDefinitions':[{'name':'app','image':'app:1','cpu':100,"         \
    "'memory':64,'essential':true,'healthCheck':{'command':['CMD','x']}}]}"

// DAEMON services on instances of the cluster `c`: the nodes 3 and up of the world.
static int setup(void **state)
{
    int rc = svc_setup(state);
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition", CHECKED, "checked:1");
    return rc;
}

static size_t instance(struct world *world, int cpu_units)
{
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", cpu_units, 4096);
    harness_advance(&world->harness, 0); // what follows is not of the registration any more
    world_connect(world, node);
    harness_advance(&world->harness, 0);
    return node;
}

static int64_t create(struct world *world, const char *members)
{
    harness_contains(&world->harness, "CreateService",
                     world_text("{'cluster':'c','serviceName':'d','taskDefinition':'checked',"
                                "'schedulingStrategy':'DAEMON','launchType':'EC2'%s}",
                                members),
                     "'schedulingStrategy':'DAEMON'");
    harness_advance(&world->harness, 0);
    return service_find(world->harness.core, core_next(world->harness.core, &ecs_cluster_kind, 0),
                        TEXT("d"));
}

static void attribute(struct world *world, size_t node, const char *value)
{
    harness_call(&world->harness, "PutAttributes",
                 world_text("{'cluster':'c','attributes':[{'name':'role','value':'%s',"
                            "'targetId':'%s'}]}",
                            value, world->nodes[node].instance));
    harness_advance(&world->harness, 0);
}

static void drain(struct world *world, size_t node, const char *status)
{
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','containerInstances':['%s'],'status':'%s'}",
                                world->nodes[node].instance, status),
                     world_text("'status':'%s'", status));
    harness_advance(&world->harness, 0);
}

static void desires(struct world *world, int count)
{
    svc_has(world, "d", world_text("'desiredCount':%d,", count));
}

// ---- one task on each instance --------------------------------------------------------------

static void a_daemon_follows_its_instances(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, "");
    svc_stands(world, service, "-");
    desires(world, 0);
    size_t first = instance(world, 1024);
    size_t second = instance(world, 1024);
    svc_stands(world, service, "..");
    assert_int_equal(svc_on_node(world, service, first), 1);
    assert_int_equal(svc_on_node(world, service, second), 1);
    desires(world, 2);
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    svc_has(world, "d", "'rolloutState':'COMPLETED'");
    size_t third = instance(world, 1024);
    svc_stands(world, service, "hh.");
    assert_int_equal(svc_on_node(world, service, third), 1);
    desires(world, 3);
}

// The pool of Fargate is no instance, and neither is one of another cluster.
static void only_instances_of_the_cluster_count(void **state)
{
    struct world *world = *state;
    harness_call(&world->harness, "CreateCluster", "{'clusterName':'other'}");
    size_t node = world_join(world);
    world_register(world, node, "other", "eu-west-1a", 1024, 4096);
    world_connect(world, node);
    int64_t service = create(world, "");
    svc_stands(world, service, "-");
    desires(world, 0);
}

static void a_task_that_ends_is_replaced_where_it_was(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, "");
    size_t first = instance(world, 1024);
    instance(world, 1024);
    svc_settle(world, service);
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_report(world, tasks[0].key, "STOPPED",
               ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':1}]");
    svc_stands(world, service, "h.");
    assert_int_equal(svc_on_node(world, service, first), 1);
}

// An instance that is to have a task but has no room is desired, and the event names it.
static void want_of_room_is_told(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, "");
    size_t node = instance(world, 50);
    svc_stands(world, service, "-");
    desires(world, 1);
    const char *arn = world->nodes[node].instance;
    svc_told(world, "d",
             world_text("was unable to place a task because no container instance met all of its "
                        "requirements. The closest matching (container-instance %s) has "
                        "insufficient CPU units available.",
                        strrchr(arn, '/') + 1));
}

// One whose disk is too full is in contact all the same: the event does not say otherwise, and with
// room again the daemon is started there.
static void an_instance_that_takes_no_tasks_is_told(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1024);
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeInstanceStatus",
                   "{'statuses':[{'type':'CONTAINER_RUNTIME','status':'IMPAIRED','refusal':"
                   "'the disk is full'}]}",
                   "{}");
    world_as_root(world);
    int64_t replica = svc_create(world, "r", "job", 1, ",'launchType':'EC2'");
    svc_stands(world, replica, "-");
    const char *arn = world->nodes[node].instance;
    svc_told(world, "r",
             world_text("was unable to place a task because no container instance met all of its "
                        "requirements. The closest matching (container-instance %s) takes no new "
                        "tasks at the moment.",
                        strrchr(arn, '/') + 1));
    int64_t service = create(world, "");
    svc_stands(world, service, "-");
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeInstanceStatus",
                   "{'statuses':[{'type':'CONTAINER_RUNTIME','status':'OK'}]}", "{}");
    world_as_root(world);
    svc_settle(world, service);
    assert_int_equal(svc_on_node(world, service, node), 1);
}

// Others wait for room on the new instance as well: the daemon is there first.
static void a_daemon_starts_before_replicas(void **state)
{
    struct world *world = *state;
    int64_t replica = svc_create(world, "r", "job", 30, ",'launchType':'EC2'");
    svc_stands(world, replica, "-");
    int64_t service = create(world, "");
    size_t node = instance(world, 1024);
    assert_int_equal(svc_on_node(world, service, node), 1);
    harness_advance(&world->harness, SERVICE_UNPLACED_MS);
    assert_int_equal(svc_on_node(world, replica, node), 9); // what 924 units give
    assert_int_equal(svc_on_node(world, service, node), 1);
}

// ---- constraints ----------------------------------------------------------------------------

static void constraints_choose_the_instances(void **state)
{
    struct world *world = *state;
    size_t first = instance(world, 1024);
    size_t second = instance(world, 1024);
    attribute(world, first, "web");
    int64_t service = create(world, ",'placementConstraints':[{'type':'memberOf','expression':"
                                    "'attribute:role == web'}]");
    svc_stands(world, service, ".");
    assert_int_equal(svc_on_node(world, service, first), 1);
    desires(world, 1);
    svc_settle(world, service);
    attribute(world, second, "web");
    svc_stands(world, service, "h.");
    svc_settle(world, service);
    world_forget(world);
    attribute(world, first, "db");
    svc_stands(world, service, "xh");
    desires(world, 1);
    world_effect(world, "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED");
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_task_has(world, tasks[0].key,
                 "'stoppedReason':'The container instance of the task does not satisfy the "
                 "placement constraints of the service any more.'");
    svc_told(world, "d", "has stopped 1 running tasks: (task ");
}

// What a constraint says of tasks decides where one starts; the daemon's own task must not turn
// it out again.
static void a_constraint_on_tasks_does_not_flap(void **state)
{
    struct world *world = *state;
    instance(world, 1024);
    int64_t service = create(world, ",'placementConstraints':[{'type':'memberOf','expression':"
                                    "'runningTasksCount == 0'}]");
    svc_stands(world, service, ".");
    svc_settle(world, service);
    svc_stands(world, service, "h");
    desires(world, 1);
}

// ---- draining and contact -------------------------------------------------------------------

static void a_daemon_is_the_last_to_leave(void **state)
{
    struct world *world = *state;
    size_t first = instance(world, 1024);
    int64_t service = create(world, "");
    int64_t replica = svc_create(world, "r", "job", 1, ",'launchType':'EC2'");
    svc_settle(world, service);
    svc_settle(world, replica);
    instance(world, 1024);
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    drain(world, first, "DRAINING");
    desires(world, 1);
    svc_stands(world, service, "hh");
    svc_stands(world, replica, "r.");
    svc_run(world, replica);
    harness_advance(&world->harness, SERVICE_SETTLE_MS);
    svc_stands(world, replica, "xr");
    svc_stands(world, service, "hh"); // the other still ends
    svc_stop(world, replica);
    svc_stands(world, service, "xh");
    svc_stop(world, service);
    svc_stands(world, service, "h");
    drain(world, first, "ACTIVE");
    desires(world, 2);
    svc_stands(world, service, "h.");
}

// A task that has not begun to run leaves at once.
static void what_starts_leaves_a_draining_instance_at_once(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1024);
    int64_t service = create(world, "");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'lastStatus':'PENDING'");
    svc_stands(world, service, ".");
    drain(world, node, "DRAINING");
    svc_stands(world, service, "x");
}

// Nobody stands in for the daemon of a lost instance, and it goes on when that comes back.
static void a_lost_instance_keeps_its_task(void **state)
{
    struct world *world = *state;
    size_t first = instance(world, 1024);
    instance(world, 1024);
    int64_t service = create(world, "");
    svc_settle(world, service);
    svc_pass(world, 120000, first);
    svc_stands(world, service, "?h");
    desires(world, 1);
    world_connect(world, first);
    world_beat(world, first);
    harness_advance(&world->harness, 0);
    svc_stands(world, service, "hh");
    desires(world, 2);
}

// ---- deployments ----------------------------------------------------------------------------

static void a_deployment_stops_then_starts(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        int minimum;
        const char *first;  // after the update
        const char *second; // when what was told to stop has ended
    } cases[] = {
        {"minimum 0: all stop", 0, "- | xxxx", "...."},
        {"minimum 50: two of four", 50, "- | xxhh", ".. | hh"},
        {"minimum 75: one of four", 75, "- | xhhh", ". | hhh"},
    };
    for (size_t i = 0; i < 4; i++) {
        instance(world, 1024);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        int64_t service =
            create(world, world_text(",'deploymentConfiguration':{'minimumHealthyPercent':%d,"
                                     "'maximumPercent':100}",
                                     cases[i].minimum));
        svc_settle(world, service);
        svc_update(world, "d", "'forceNewDeployment':true");
        svc_stands(world, service, cases[i].first);
        svc_stop(world, service);
        svc_stands(world, service, cases[i].second);
        svc_settle(world, service);
        svc_stands(world, service, "hhhh");
        svc_has(world, "d", "'rolloutState':'COMPLETED'");
        // No force is needed.
        harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'d'}",
                         "'status':'DRAINING'");
        harness_advance(&world->harness, 0);
        svc_stop(world, service);
        svc_has(world, "d", "'status':'INACTIVE'");
    }
}

static void a_minimum_of_all_is_stuck_and_told(void **state)
{
    struct world *world = *state;
    instance(world, 1024);
    int64_t service = create(world, ",'deploymentConfiguration':{'minimumHealthyPercent':100,"
                                    "'maximumPercent':100}");
    svc_settle(world, service);
    svc_update(world, "d", "'forceNewDeployment':true");
    svc_stands(world, service, "- | h");
    svc_told(world, "d",
             "was unable to stop or start tasks during a deployment because of the "
             "service deployment configuration.");
    svc_update(world, "d",
               "'deploymentConfiguration':{'minimumHealthyPercent':0,"
               "'maximumPercent':100}");
    svc_stands(world, service, "- | x");
}

// A check that fails on all instances at once takes no more of them away than a deployment may.
static void unhealthy_daemons_go_by_the_minimum(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 4; i++) {
        instance(world, 1024);
    }
    int64_t service = create(world, ",'deploymentConfiguration':{'minimumHealthyPercent':50,"
                                    "'maximumPercent':100}");
    svc_settle(world, service);
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    for (size_t i = 0; i < count; i++) {
        svc_health(world, tasks[i].key, "UNHEALTHY");
    }
    svc_stands(world, service, "xxuu");
    svc_stop(world, service);
    svc_stands(world, service, "uu..");
    svc_run(world, service);
    svc_stands(world, service, "xxrr");
    svc_task_has(world, tasks[0].key, "'stoppedReason':'Task failed container health checks'");
}

// The circuit breaker goes back to the revision that was there.
static void a_crashing_revision_is_rolled_back(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 4; i++) {
        instance(world, 1024);
    }
    int64_t service = create(world, ",'deploymentConfiguration':{'minimumHealthyPercent':50,"
                                    "'maximumPercent':100,'deploymentCircuitBreaker':{'enable':"
                                    "true,'rollback':true}}");
    svc_settle(world, service);
    svc_update(world, "d", "'forceNewDeployment':true");
    for (int round = 0; round < 3; round++) {
        svc_stop(world, service);
        svc_crash(world, service);
        harness_advance(&world->harness, 2000);
    }
    svc_told(world, "d", "rolling back to deployment ecs-svc/");
    svc_settle(world, service);
    svc_stands(world, service, "hhhh");
    svc_has(world, "d", "'rolloutState':'COMPLETED'");
}

// A back-off that was noted before the server's clock was set back does not last until it is that
// time again.
static void a_clock_that_is_set_back_holds_up_no_retry(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1024);
    int64_t service = create(world, "");
    for (int round = 0; round < 8; round++) {
        svc_crash(world, service);
    }
    svc_stands(world, service, "-");
    int64_t retry_at = svc_primary(world, service)->retry_at;
    assert_true(retry_at > world->harness.now_ms);
    world->harness.now_ms -= INT64_C(3600000);
    harness_restart(&world->harness);
    world_connect(world, node);
    svc_pass(world, 2000, WORLD_NODES);
    assert_true(world->harness.now_ms < retry_at - SERVICE_BACKOFF_MAX_MS);
    svc_stands(world, service, ".");
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD(a_daemon_follows_its_instances),
        WORLD(only_instances_of_the_cluster_count),
        WORLD(a_task_that_ends_is_replaced_where_it_was),
        WORLD(want_of_room_is_told),
        WORLD(an_instance_that_takes_no_tasks_is_told),
        WORLD(a_daemon_starts_before_replicas),
        WORLD(constraints_choose_the_instances),
        WORLD(a_constraint_on_tasks_does_not_flap),
        WORLD(a_daemon_is_the_last_to_leave),
        WORLD(what_starts_leaves_a_draining_instance_at_once),
        WORLD(a_lost_instance_keeps_its_task),
        WORLD(a_deployment_stops_then_starts),
        WORLD(a_minimum_of_all_is_stuck_and_told),
        WORLD(unhealthy_daemons_go_by_the_minimum),
        WORLD(a_crashing_revision_is_rolled_back),
        WORLD(a_clock_that_is_set_back_holds_up_no_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
