#include "service_world.h"

#include <stdio.h>

#define PERCENTS(minimum, maximum)                                                                 \
    ",'deploymentConfiguration':{'minimumHealthyPercent':" #minimum ",'maximumPercent':" #maximum  \
    "}"

static int64_t nth(struct world *world, int64_t service, size_t index)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    assert_in_range(index, 0, count - 1);
    return tasks[index].key;
}

// ---- a rolling update and its bounds --------------------------------------------------------

// The reference's table (services §2.1): the first step of a deployment.
static void bounds_round_as_ecs_does(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        int desired;
        const char *percents;
        const char *want;
        const char *event; ///< NULL for none
    } cases[] = {
        {"D=4, minimum 50: two may stop first", 4, PERCENTS(50, 100), "- | xxhh", NULL},
        {"D=2, minimum 75: none may stop", 2, PERCENTS(75, 100), "- | hh", "was unable to stop or"},
        {"D=4, maximum 200: eight at a time", 4, PERCENTS(100, 200), ".... | hhhh", NULL},
        {"D=3, maximum 125: none may start", 3, PERCENTS(100, 125), "- | hhh",
         "was unable to stop or start tasks during a deployment because of the service deployment "
         "configuration. Update the minimumHealthyPercent or maximumPercent value and try again."},
        {"D=3, maximum 134: one may start", 3, PERCENTS(100, 134), ". | hhh", NULL},
        {"D=4, both ways", 4, PERCENTS(50, 150), ".. | xxhh", NULL},
        {"D=3, minimum 0: all stop", 3, PERCENTS(0, 100), "- | xxx", NULL},
        {"D=1 by default", 1, "", ". | h", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        char name[8];
        snprintf(name, sizeof(name), "s%zu", i);
        int64_t service = svc_create(world, name, "web", cases[i].desired, cases[i].percents);
        svc_settle(world, service);
        svc_update(world, name, "'forceNewDeployment':true");
        svc_stands(world, service, cases[i].want);
        if (cases[i].event != NULL) {
            svc_told(world, name, cases[i].event);
        } else {
            svc_not_told(world, name, "was unable to");
        }
        harness_contains(&world->harness, "DeleteService",
                         world_text("{'cluster':'c','service':'%s','force':true}", name),
                         "'status':'DRAINING'");
        harness_advance(&world->harness, 0);
        svc_stop(world, service);
        svc_settle(world, service);
    }
}

// Old tasks stop as new ones are HEALTHY, never more of them, and RUNNING alone is not enough.
static void an_update_goes_by_health(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 3, "");
    svc_settle(world, service);
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, "... | hhh");
    svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
    svc_run(world, service);
    svc_stands(world, service, "rrr | hhh");
    harness_advance(&world->harness,
                    100 * SERVICE_SETTLE_MS); // the 40 s are of tasks without check
    svc_stands(world, service, "rrr | hhh");
    svc_health(world, nth(world, service, 4), "HEALTHY");
    svc_stands(world, service, "rhr | xhh"); // the oldest
    svc_health(world, nth(world, service, 3), "HEALTHY");
    svc_health(world, nth(world, service, 5), "HEALTHY");
    svc_stands(world, service, "hhh | xxx");
    svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
    svc_stop(world, service);
    svc_stands(world, service, "hhh");
    svc_has(world, "s", "'rolloutState':'COMPLETED','rolloutStateReason':'ECS deployment ecs-svc/");
    svc_told(world, "s", "deployment completed.");
    svc_told(world, "s", "has stopped 1 running tasks: (task ");
}

// Without a check a task counts as healthy when it was RUNNING for 40 s.
static void without_a_check_forty_seconds_count(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "bare", 2, "");
    svc_run(world, service);
    harness_advance(&world->harness, 39999);
    svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
    harness_advance(&world->harness, 1);
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_run(world, service);
    harness_advance(&world->harness, 39999);
    svc_stands(world, service, "rr | rr");
    harness_advance(&world->harness, 1);
    svc_stands(world, service, "rr | xx");
}

// Of the old ones those go first that are UNHEALTHY, then those that start, then the oldest.
static void unhealthy_ones_go_first_then_the_oldest(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 4, PERCENTS(75, 150));
    svc_settle(world, service);
    svc_health(world, nth(world, service, 2), "UNHEALTHY");
    svc_stands(world, service, "hhuh.");
    svc_update(world, "s", "'forceNewDeployment':true");
    // Three healthy ones are the least, six tasks the most.
    svc_stands(world, service, ". | hhxhx");
    svc_stop(world, service);
    svc_run(world, service);
    svc_health(world, nth(world, service, 3), "HEALTHY");
    svc_stands(world, service, "hrr | xhh");
}

// ---- scaling in -----------------------------------------------------------------------------

static void scaling_in_takes_what_starts_first(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 3, "");
    svc_settle(world, service);
    svc_update(world, "s", "'desiredCount':5");
    svc_stands(world, service, "hhh..");
    svc_update(world, "s", "'desiredCount':4");
    svc_stands(world, service, "hhh.x");
}

static size_t zone_tasks(struct world *world, int64_t service, size_t zone)
{
    return svc_on_node(world, service, zone);
}

// Then where most tasks are: the fullest zone, in it the fullest node.
static void scaling_in_evens_zones_out(void **state)
{
    struct world *world = *state;
    const char *network =
        world_text(",'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s','%s','%s']}}",
                   world->subnets[0], world->subnets[1], world->subnets[2]);
    int64_t service = svc_create(world, "s", "web", 6, network);
    svc_settle(world, service);
    for (size_t zone = 0; zone < 3; zone++) {
        assert_int_equal(zone_tasks(world, service, zone), 2);
    }
    for (int desired = 5; desired >= 1; desired--) {
        svc_update(world, "s", world_text("'desiredCount':%d", desired));
        svc_settle(world, service);
        size_t least = SIZE_MAX;
        size_t most = 0;
        for (size_t zone = 0; zone < 3; zone++) {
            least = MIN(least, zone_tasks(world, service, zone));
            most = MAX(most, zone_tasks(world, service, zone));
        }
        print_message("%d tasks: between %zu and %zu in a zone\n", desired, least, most);
        assert_in_range(most - least, 0, 1);
    }
}

static void scaling_in_evens_nodes_out(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 3, "");
    svc_settle(world, service);
    world_pool_node(world, "eu-west-1a", 65536, 131072);
    svc_update(world, "s", "'desiredCount':4");
    svc_settle(world, service);
    size_t fuller = svc_on_node(world, service, 0) >= svc_on_node(world, service, 3) ? 0 : 3;
    size_t before = svc_on_node(world, service, fuller);
    if (before == 2) {
        return; // as even as can be: nothing to see
    }
    svc_update(world, "s", "'desiredCount':3");
    svc_settle(world, service);
    assert_int_equal(svc_on_node(world, service, fuller), before - 1);
}

// ---- health ---------------------------------------------------------------------------------

// Where there is room the replacement comes first; the bad one goes when it is healthy.
static void an_unhealthy_task_is_replaced_first(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    int64_t bad = nth(world, service, 0);
    svc_health(world, bad, "UNHEALTHY");
    svc_stands(world, service, "uh.");
    svc_run(world, service);
    svc_stands(world, service, "uhr");
    svc_health(world, nth(world, service, 2), "HEALTHY");
    svc_stands(world, service, "xhh");
    svc_task_has(world, bad, "'stoppedReason':'Task failed container health checks'");
    svc_task_has(world, bad, "'stopCode':'ServiceSchedulerInitiated'");
    svc_stop(world, service);
    svc_stands(world, service, "hh");
}

// Where there is none they go one by one, each replaced before the next.
static void without_room_unhealthy_tasks_go_one_by_one(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 3, PERCENTS(50, 100));
    svc_settle(world, service);
    for (size_t i = 0; i < 3; i++) {
        svc_health(world, nth(world, service, i), "UNHEALTHY");
    }
    svc_stands(world, service, "xuu");
    svc_stop(world, service);
    svc_stands(world, service, "uu.");
    svc_run(world, service);
    svc_stands(world, service, "xur"); // now the next
}

// One that recovers before its replacement is there is kept, and the replacement goes.
static void a_task_that_recovers_is_kept(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    svc_health(world, nth(world, service, 1), "UNHEALTHY");
    svc_stands(world, service, "hu.");
    svc_health(world, nth(world, service, 1), "HEALTHY");
    svc_stands(world, service, "hhx");
    svc_told(world, "s", "stopped 1 pending tasks.");
}

// In its grace period a failing check counts for nothing.
static void the_grace_period_counts_from_the_start(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 1, ",'healthCheckGracePeriodSeconds':60");
    svc_run(world, service);
    svc_health(world, nth(world, service, 0), "UNHEALTHY");
    svc_stands(world, service, "u");
    harness_advance(&world->harness, 59999);
    svc_stands(world, service, "u");
    harness_advance(&world->harness, 1);
    svc_stands(world, service, "u.");
}

// No place for the replacement beside the bad one: the bad one goes first.
static void an_unhealthy_task_makes_room_for_its_successor(void **state)
{
    struct world *world = *state;
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    world_connect(world, node);
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'port','containerDefinitions':[{'name':'app','image':'app:1',"
                     "'memory':64,'portMappings':[{'containerPort':80,'hostPort':80}],"
                     "'healthCheck':{'command':['CMD-SHELL','true']}}]}",
                     "port:1");
    int64_t service = svc_create(world, "s", "port", 1, ",'launchType':'EC2'");
    svc_settle(world, service);
    svc_health(world, nth(world, service, 0), "UNHEALTHY");
    svc_told(world, "s", "is already using a port required by your task");
    svc_stands(world, service, "x");
    svc_stop(world, service);
    svc_stands(world, service, ".");
}

// ---- protection -----------------------------------------------------------------------------

static void protect(struct world *world, int64_t task, int minutes)
{
    svc_task_has(world, task, "taskArn");
    harness_contains(&world->harness, "UpdateTaskProtection",
                     world_text("{'cluster':'c','tasks':['%s'],'protectionEnabled':%s%s}",
                                world->task, minutes > 0 ? "true" : "false",
                                minutes > 0 ? world_text(",'expiresInMinutes':%d", minutes) : ""),
                     "'protectionEnabled'");
    harness_advance(&world->harness, 0);
}

static void a_protected_task_is_not_scaled_in(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    protect(world, nth(world, service, 0), 10);
    protect(world, nth(world, service, 1), 20);
    svc_update(world, "s", "'desiredCount':0");
    svc_stands(world, service, "hh");
    svc_told(world, "s", "was unable to scale in due to (reason 2 tasks under protection)");
    harness_advance(&world->harness, 10 * 60000 - 1);
    svc_stands(world, service, "hh");
    harness_advance(&world->harness, 1); // nothing but the time changed
    svc_stands(world, service, "xh");
    protect(world, nth(world, service, 1), 0);
    svc_stands(world, service, "xx");
}

static void a_protected_task_outlives_a_deployment(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    protect(world, nth(world, service, 0), 5);
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_settle(world, service); // much less than 5 minutes
    svc_stands(world, service, "hh | h");
    svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
    harness_advance(&world->harness, 5 * 60000);
    svc_stands(world, service, "hh | x");
    svc_stop(world, service);
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, svc_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD(bounds_round_as_ecs_does),
        WORLD(an_update_goes_by_health),
        WORLD(without_a_check_forty_seconds_count),
        WORLD(unhealthy_ones_go_first_then_the_oldest),
        WORLD(scaling_in_takes_what_starts_first),
        WORLD(scaling_in_evens_zones_out),
        WORLD(scaling_in_evens_nodes_out),
        WORLD(an_unhealthy_task_is_replaced_first),
        WORLD(without_room_unhealthy_tasks_go_one_by_one),
        WORLD(a_task_that_recovers_is_kept),
        WORLD(the_grace_period_counts_from_the_start),
        WORLD(an_unhealthy_task_makes_room_for_its_successor),
        WORLD(a_protected_task_is_not_scaled_in),
        WORLD(a_protected_task_outlives_a_deployment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
