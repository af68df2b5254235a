#include "service_world.h"

#include <stdio.h>

#define BREAKER(rollback)                                                                          \
    ",'deploymentConfiguration':{'deploymentCircuitBreaker':{'enable':true,'rollback':" #rollback  \
    "}}"

static int64_t nth(struct world *world, int64_t service, size_t index)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    assert_in_range(index, 0, count - 1);
    return tasks[index].key;
}

// ---- the circuit breaker --------------------------------------------------------------------

static void the_threshold_is_half_of_the_desired_count(void **state)
{
    (void)state;
    static const struct {
        int32_t desired;
        int32_t want;
    } cases[] = {{0, 3},   {1, 3},     {6, 3},     {7, 4},    {10, 5},
                 {25, 13}, {399, 200}, {400, 200}, {800, 200}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("desired %d\n", (int)cases[i].desired);
        assert_int_equal(service_breaker_threshold(cases[i].desired), cases[i].want);
    }
}

static void a_crashing_deployment_is_rolled_back(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 4, BREAKER(true));
    svc_settle(world, service);
    int64_t good = svc_primary(world, service)->number;
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, ".... | hhhh");
    // The threshold is 3. The first failures are followed by another start at once.
    svc_report(world, nth(world, service, 4), "STOPPED", SVC_ENDS);
    svc_report(world, nth(world, service, 4), "STOPPED", SVC_ENDS);
    svc_stands(world, service, ".... | hhhh");
    svc_has(world, "s", "'failedTasks':2");
    svc_report(world, nth(world, service, 4), "STOPPED", SVC_ENDS);
    svc_stands(world, service, "hhhh | xxx");
    assert_int_equal(svc_primary(world, service)->number, good);
    svc_has(world, "s",
            world_text("'rolloutState':'IN_PROGRESS','rolloutStateReason':'ECS deployment circuit "
                       "breaker: rolling back to deploymentId ecs-svc/%lld.'",
                       (long long)good));
    svc_has(world, "s",
            "'rolloutState':'FAILED','rolloutStateReason':'ECS deployment circuit breaker: tasks "
            "failed to start.'");
    svc_told(world, "s", "deployment failed: tasks failed to start.");
    svc_told(world, "s", world_text("rolling back to deployment ecs-svc/%lld.", (long long)good));
    svc_stop(world, service);
    svc_stands(world, service, "hhhh");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
    harness_contains(&world->harness, "ListServiceDeployments", "{'cluster':'c','service':'s'}",
                     "'status':'ROLLBACK_SUCCESSFUL','statusReason':'Service deployment ecs-svc/");
    harness_contains(&world->harness, "ListServiceDeployments", "{'cluster':'c','service':'s'}",
                     "failed: 3 tasks in a row failed to start; the last one: Essential container "
                     "in task exited: container app exited with code 3'");
}

static void failing_health_checks_trip_it_too(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 1, BREAKER(true));
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    for (int i = 1; i <= 3; i++) {
        svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
        svc_run(world, service);
        svc_health(world, nth(world, service, 1), "UNHEALTHY");
        svc_stands(world, service, i < 3 ? "x | h" : "h | x");
        svc_stop(world, service);
    }
    svc_stands(world, service, "h");
    svc_told(world, "s", "rolling back to deployment");
}

// While the old tasks carry the service, all new ones that are UNHEALTHY stop at once: they count
// one by one, however long each takes to stop.
static void unhealthy_tasks_of_an_update_stop_together(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 4, BREAKER(true));
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_run(world, service);
    svc_health(world, nth(world, service, 4), "UNHEALTHY");
    svc_stands(world, service, "xrrr | hhhh");
    svc_health(world, nth(world, service, 5), "UNHEALTHY");
    svc_stands(world, service, "xxrr | hhhh");
    svc_health(world, nth(world, service, 6), "UNHEALTHY");
    svc_stands(world, service, "hhhh | xxxx"); // the threshold is 3
}

// What failed without rollback stands still: nothing starts, nothing stops, until it is told anew.
static void without_rollback_a_failed_deployment_stands_still(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, BREAKER(false));
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    assert_int_equal(svc_crash(world, service), 2);
    svc_run(world, service);
    svc_report(world, nth(world, service, 2), "STOPPED", SVC_ENDS);
    svc_stands(world, service, "r | hh");
    svc_has(world, "s", "'rolloutState':'FAILED'");
    svc_not_told(world, "s", "rolling back");
    harness_advance(&world->harness, 24 * 3600 * INT64_C(1000));
    svc_stands(world, service, "r | hh");
    svc_report(world, nth(world, service, 0), "STOPPED", SVC_ENDS);
    svc_stands(world, service, "r | h");
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, ".. | r | h");
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
}

static void a_new_service_has_nothing_to_go_back_to(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 3, BREAKER(true));
    assert_int_equal(svc_crash(world, service), 3);
    svc_has(world, "s", "'rolloutState':'FAILED'");
    svc_stands(world, service, ".."); // started after the first two failures; no more are
    svc_crash(world, service);
    svc_stands(world, service, "-");
    svc_not_told(world, "s", "rolling back");
}

// The threshold is read as the desired count is now.
static void the_threshold_follows_the_desired_count(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 10, BREAKER(false));
    for (int i = 0; i < 4; i++) {
        svc_report(world, nth(world, service, 0), "STOPPED", SVC_ENDS);
    }
    svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
    svc_update(world, "s", "'desiredCount':8");
    svc_has(world, "s", "'rolloutState':'FAILED'");
}

static void what_a_person_stops_is_no_failure(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 1, BREAKER(true));
    for (int i = 0; i < 5; i++) {
        svc_task_has(world, nth(world, service, 0), "'desiredStatus':'RUNNING'");
        harness_contains(&world->harness, "StopTask",
                         world_text("{'cluster':'c','task':'%s'}", world->task), "STOPPED");
        harness_advance(&world->harness, 0);
        svc_stop(world, service);
        svc_stands(world, service, ".");
    }
    svc_has(world, "s", "'failedTasks':0");
}

// ---- back-off -------------------------------------------------------------------------------

// Of tasks that never were RUNNING: 0, 0, 1, 2, 4 ... 900 seconds; it never gives up.
static void starts_wait_longer_and_longer(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 1, "");
    static const int seconds[] = {0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900};
    for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
        print_message("after failure %zu: %d s\n", i + 1, seconds[i]);
        assert_int_equal(svc_crash(world, service), 1);
        if (seconds[i] > 0) {
            harness_advance(&world->harness, seconds[i] * INT64_C(1000) - 1);
            svc_stands(world, service, "-");
            harness_advance(&world->harness, 1);
        }
        svc_stands(world, service, ".");
    }
    // A new deployment begins anew.
    svc_crash(world, service);
    svc_stands(world, service, "-");
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, ".");
    svc_crash(world, service);
    svc_stands(world, service, ".");
}

// A task that was RUNNING once waits as well, but never long; one that is healthy resets it.
static void a_crash_loop_waits_thirty_seconds_at_most(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 1, "");
    static const int seconds[] = {0, 0, 1, 2, 4, 8, 16, 30, 30};
    for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
        print_message("after failure %zu: %d s\n", i + 1, seconds[i]);
        svc_run(world, service);
        svc_report(world, nth(world, service, 0), "STOPPED", SVC_ENDS);
        if (seconds[i] > 0) {
            harness_advance(&world->harness, seconds[i] * INT64_C(1000) - 1);
            svc_stands(world, service, "-");
            harness_advance(&world->harness, 1);
        }
        svc_stands(world, service, ".");
    }
    svc_has(world, "s", "'failedTasks':9");
    svc_settle(world, service);
    svc_has(world, "s", "'failedTasks':0");
    svc_report(world, nth(world, service, 0), "STOPPED", SVC_ENDS);
    svc_stands(world, service, ".");
}

// ---- changes in the middle ------------------------------------------------------------------

static void several_updates_in_a_row(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_run(world, service);
    svc_health(world, nth(world, service, 2), "HEALTHY");
    svc_stands(world, service, "hr | xh");
    svc_stop(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    // Four at most. Of the old three two are healthy, and as many are needed; the third, which only
    // runs, is needed as well until one of the new ones is healthy.
    svc_stands(world, service, ". | hx | h");
    svc_stop(world, service);
    svc_stands(world, service, ".. | h | h");
    svc_update(world, "s", "'forceNewDeployment':true");
    // What has not started for a deployment of the past goes.
    svc_stands(world, service, "- | xx | h | h");
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
    harness_contains(&world->harness, "ListServiceDeployments",
                     "{'cluster':'c','service':'s','status':['STOPPED']}",
                     "A newer service deployment took its place.");
}

static void the_desired_count_changes_in_the_middle(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, ".. | hh");
    svc_update(world, "s", "'desiredCount':4");
    svc_stands(world, service, ".... | hh");
    svc_run(world, service);
    svc_health(world, nth(world, service, 2), "HEALTHY");
    svc_stands(world, service, "hrrr | hh"); // three of four
    svc_update(world, "s", "'desiredCount':1");
    svc_stands(world, service, "hxxx | xx");
    svc_stop(world, service);
    svc_stands(world, service, "h");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
    svc_update(world, "s", "'desiredCount':0,'forceNewDeployment':true");
    svc_settle(world, service);
    svc_stands(world, service, "-");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
}

static void a_service_is_deleted_in_the_middle(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'s','force':true}",
                     "'status':'DRAINING'");
    harness_advance(&world->harness, 0);
    svc_stands(world, service, "xx | xx");
    svc_report(world, nth(world, service, 0), "STOPPED", SVC_ENDS);
    svc_has(world, "s", "'status':'DRAINING'");
    svc_stop(world, service);
    svc_has(world, "s", "'status':'INACTIVE'");
}

// The engine that starts from the records alone does what the one that went on would do.
static void a_restart_changes_no_step(void **state)
{
    struct world *world = *state;
    for (int restart = 0; restart < 2; restart++) {
        char name[8];
        snprintf(name, sizeof(name), "s%d", restart);
        int64_t service = svc_create(world, name, "web", 3, BREAKER(true));
        svc_settle(world, service);
        static const char *const want[] = {"... | hhh", "rrr | hhh", "hrr | xhh", "hrr | hh",
                                           "hxr. | hh"};
        for (size_t step = 0; step < ARRAY_LEN(want); step++) {
            print_message("restarted %d, step %zu\n", restart, step);
            switch (step) {
            case 0:
                svc_update(world, name, "'forceNewDeployment':true");
                break;
            case 1:
                svc_run(world, service);
                break;
            case 2:
                svc_health(world, nth(world, service, 3), "HEALTHY");
                break;
            case 3:
                svc_stop(world, service);
                break;
            case 4:
                svc_task_has(world, nth(world, service, 3), "'desiredStatus':'RUNNING'");
                harness_contains(&world->harness, "StopTask",
                                 world_text("{'cluster':'c','task':'%s'}", world->task), "STOPPED");
                harness_advance(&world->harness, 0);
                break;
            }
            svc_stands(world, service, want[step]);
            if (restart == 1) {
                harness_restart(&world->harness);
                harness_advance(&world->harness, 0);
                svc_stands(world, service, want[step]);
            }
        }
        svc_crash(world, service);
        svc_settle(world, service);
        svc_stands(world, service, "hhh");
    }
}

// ---- nodes ----------------------------------------------------------------------------------

#define PERCENTS(minimum, maximum)                                                                 \
    ",'deploymentConfiguration':{'minimumHealthyPercent':" #minimum ",'maximumPercent':" #maximum  \
    "}"

static size_t instance(struct world *world)
{
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", 4000, 4000);
    world_connect(world, node);
    return node;
}

static void drain(struct world *world, size_t node)
{
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','containerInstances':['%s'],'status':'DRAINING'}",
                                world->nodes[node].instance),
                     "'status':'DRAINING'");
    harness_advance(&world->harness, 0);
}

// Tasks leave an instance that drains within the percents; those that have not started, at once.
static void tasks_leave_an_instance_that_drains(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        const char *percents;
        const char *want;
    } cases[] = {
        {"all start before any stops", PERCENTS(100, 200), "rrrrx....."},
        {"two may start, none may stop", PERCENTS(100, 150), "rrrrx.."},
        {"none may start, one may stop", PERCENTS(50, 100), "xrrrx"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        size_t first = instance(world);
        char name[8];
        snprintf(name, sizeof(name), "s%zu", i);
        const char *members = world_text(",'launchType':'EC2'%s", cases[i].percents);
        int64_t service = svc_create(world, name, "job", 4, members);
        svc_settle(world, service);
        svc_update(world, name, "'desiredCount':5");
        svc_stands(world, service, "rrrr.");
        size_t second = instance(world);
        drain(world, first);
        svc_stands(world, service, cases[i].want);
        svc_settle(world, service);
        svc_stands(world, service, "rrrrr");
        assert_int_equal(svc_on_node(world, service, first), 0);
        assert_int_equal(svc_on_node(world, service, second), 5);
        drain(world, second); // the next case has instances of its own
        harness_contains(&world->harness, "DeleteService",
                         world_text("{'cluster':'c','service':'%s','force':true}", name),
                         "'status':'DRAINING'");
        harness_advance(&world->harness, 0);
        svc_stop(world, service);
    }
}

static void a_lost_node_is_made_up_for(void **state)
{
    struct world *world = *state;
    size_t other = world_pool_node(world, "eu-west-1a", 65536, 131072);
    int64_t service = svc_create(world, "s", "web", 4, "");
    svc_settle(world, service);
    assert_int_equal(svc_on_node(world, service, 0), 2);
    assert_int_equal(svc_on_node(world, service, other), 2);
    svc_pass(world, 3500, 0);
    assert_int_equal(svc_on_node(world, service, other), 4);
    svc_has(world, "s", "'pendingCount':2,");
    // It comes back before the new ones run: the old ones never ended, so they stay.
    world_connect(world, 0);
    harness_advance(&world->harness, 0);
    svc_has(world, "s", "'runningCount':4");
    svc_told(world, "s", "stopped 2 pending tasks.");
    svc_stop(world, service);
    svc_settle(world, service);
    assert_int_equal(svc_on_node(world, service, 0), 2);
    // Again, and for longer: what was replaced is superseded.
    svc_pass(world, 3500, 0);
    svc_settle(world, service);
    svc_has(world, "s", "'runningCount':4");
    assert_int_equal(svc_on_node(world, service, 0), 2);
    world_forget(world);
    world_connect(world, 0);
    world_effect(world, "'desiredStatus':'STOPPED'");
    harness_advance(&world->harness, 0);
    svc_settle(world, service);
    svc_has(world, "s", "'runningCount':4");
    assert_int_equal(svc_on_node(world, service, 0), 0);
    assert_int_equal(svc_on_node(world, service, other), 4);
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, svc_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_threshold_is_half_of_the_desired_count),
        WORLD(a_crashing_deployment_is_rolled_back),
        WORLD(failing_health_checks_trip_it_too),
        WORLD(unhealthy_tasks_of_an_update_stop_together),
        WORLD(without_rollback_a_failed_deployment_stands_still),
        WORLD(a_new_service_has_nothing_to_go_back_to),
        WORLD(the_threshold_follows_the_desired_count),
        WORLD(what_a_person_stops_is_no_failure),
        WORLD(starts_wait_longer_and_longer),
        WORLD(a_crash_loop_waits_thirty_seconds_at_most),
        WORLD(several_updates_in_a_row),
        WORLD(the_desired_count_changes_in_the_middle),
        WORLD(a_service_is_deleted_in_the_middle),
        WORLD(a_restart_changes_no_step),
        WORLD(tasks_leave_an_instance_that_drains),
        WORLD(a_lost_node_is_made_up_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
