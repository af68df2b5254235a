#include "service_world.h"

#include "base/text.h"

#include <string.h>

#define INSTANCES                                                                                  \
    "{'family':'inst','networkMode':'awsvpc','requiresCompatibilities':['EC2'],"                   \
    "'containerDefinitions':[{'name':'app','image':'app:1','cpu':10,'memory':10}]}"

static const char *three_subnets(struct world *world)
{
    return world_text("'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s','%s','%s']}}",
                      world->subnets[0], world->subnets[1], world->subnets[2]);
}

static int64_t spread_service(struct world *world, const char *name, int desired,
                              const char *members)
{
    return svc_create(world, name, "web", desired,
                      world_text(",%s%s", three_subnets(world), members));
}

static void in_zones(struct world *world, int64_t service, size_t a, size_t b, size_t c)
{
    size_t found[] = {svc_on_node(world, service, 0), svc_on_node(world, service, 1),
                      svc_on_node(world, service, 2)};
    print_message("zones have %zu, %zu, %zu\n", found[0], found[1], found[2]);
    assert_int_equal(found[0], a);
    assert_int_equal(found[1], b);
    assert_int_equal(found[2], c);
}

static int64_t newest(struct world *world, int64_t service, size_t back)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    return tasks[count - 1 - back].key;
}

// How often a text is told.
static int times_told(struct world *world, const char *name, const char *want)
{
    const char *answer = harness_call(&world->harness, "DescribeServices",
                                      world_text("{'cluster':'c','services':['%s']}", name));
    int times = 0;
    for (const char *at = strstr(answer, want); at != NULL; at = strstr(at + 1, want)) {
        times++;
    }
    return times;
}

// The third zone is lost, so its tasks are made up for in the others; it comes back.
static int64_t lose_a_zone(struct world *world, const char *members)
{
    int64_t service = spread_service(world, "s", 6, members);
    svc_settle(world, service);
    in_zones(world, service, 2, 2, 2);
    svc_pass(world, 3500, 2);
    svc_run(world, service);
    svc_health(world, newest(world, service, 1), "HEALTHY");
    svc_health(world, newest(world, service, 0), "HEALTHY");
    svc_has(world, "s", "'runningCount':6");
    world_connect(world, 2);
    harness_advance(&world->harness, 0);
    return service;
}

static void a_zone_that_is_back_gets_its_share(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, "");
    svc_not_told(world, "s", "AZ balanced");
    svc_stop(world, service); // the superseded copies end: the service rests
    in_zones(world, service, 3, 3, 1);
    svc_stands(world, service, "hhhhhh.");
    svc_told(world, "s",
             "(service s) is not AZ balanced with 3 tasks in eu-west-1a, 3 tasks in eu-west-1b, 0 "
             "tasks in eu-west-1c. AZ Rebalancing in progress.");
    svc_told(world, "s", "(service s) has started 1 tasks in eu-west-1c to AZ Rebalance: (task ");
    world_effect(world, "'eventType':'INFO','eventName':'SERVICE_REBALANCING_STARTED'");
    world_effect(world, "'eventType':'INFO','eventName':'TASKS_STARTED'");
    // Only when it is healthy does one in the fattest zone stop.
    svc_run(world, service);
    svc_stands(world, service, "hhhhhhr");
    harness_restart(&world->harness);
    harness_advance(&world->harness, 0);
    svc_stands(world, service, "hhhhhhr");
    svc_health(world, newest(world, service, 0), "HEALTHY");
    svc_stands(world, service, "hhhhxhh");
    svc_told(world, "s",
             "(service s) has stopped 1 running tasks in eu-west-1a due to AZ rebalancing: (task ");
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_task_has(
        world, tasks[4].key,
        "'stoppedReason':'Availability-zone rebalancing initiated by (deployment ecs-svc/");
    // Another move follows in the same operation, which is told of once.
    svc_settle(world, service);
    in_zones(world, service, 2, 2, 2);
    assert_int_equal(times_told(world, "s", "is not AZ balanced"), 1);
    assert_int_equal(times_told(world, "s", "to AZ Rebalance: (task "), 2);
    assert_int_equal(times_told(world, "s", "is AZ balanced"), 1);
    svc_told(
        world, "s",
        "(service s) is AZ balanced with 2 tasks in eu-west-1a, 2 tasks in eu-west-1b, 2 tasks "
        "in eu-west-1c.");
    world_effect(world, "'eventName':'SERVICE_REBALANCING_COMPLETED'");
    world_no_effect(world, "'eventName':'SERVICE_REBALANCING_STOPPED'");
    svc_stands(world, service, "hhhhhh");
}

static void a_service_that_does_not_want_it_is_left_alone(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, ",'availabilityZoneRebalancing':'DISABLED'");
    svc_stop(world, service);
    svc_settle(world, service);
    in_zones(world, service, 3, 3, 0);
    svc_not_told(world, "s", "AZ ");
    svc_update(world, "s", "'availabilityZoneRebalancing':'ENABLED'");
    svc_settle(world, service);
    in_zones(world, service, 2, 2, 2);
}

// Whatever the service was before, it may have been changed so that zones are not to be evened out.
static void a_service_that_was_changed_is_left_alone(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, "");
    svc_update(world, "s",
               "'deploymentConfiguration':{'maximumPercent':100,'minimumHealthyPercent':50}");
    svc_has(world, "s", "'availabilityZoneRebalancing':'ENABLED'");
    svc_stop(world, service);
    svc_settle(world, service);
    in_zones(world, service, 3, 3, 0);
    svc_not_told(world, "s", "AZ ");
}

// Other business of the service comes first.
static void a_deployment_ends_it(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, "");
    svc_stop(world, service);
    svc_stands(world, service, "hhhhhh.");
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_told(world, "s", "(service s) stopped AZ Rebalancing.");
    world_effect(world, "'eventName':'SERVICE_REBALANCING_STOPPED'");
    svc_settle(world, service);
    in_zones(world, service, 2, 2, 2);
    svc_stands(world, service, "hhhhhh");
}

static void a_smaller_desired_count_ends_it(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, "");
    svc_stop(world, service);
    svc_update(world, "s", "'desiredCount':4");
    svc_told(world, "s", "(service s) stopped AZ Rebalancing.");
    svc_settle(world, service);
    svc_has(world, "s", "'runningCount':4");
    size_t least = MIN(MIN(svc_on_node(world, service, 0), svc_on_node(world, service, 1)),
                       svc_on_node(world, service, 2));
    assert_int_equal(least, 1);
}

// What was started to even out zones ends: nothing has stopped for it.
static void a_task_that_crashes_ends_it(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, "");
    svc_stop(world, service);
    svc_stands(world, service, "hhhhhh.");
    assert_int_equal(svc_crash(world, service), 1);
    size_t crashes = 1;
    while (crashes < 10 && svc_crash(world, service) > 0) {
        crashes++; // it is tried again as any task that failed: after a while
    }
    print_message("%zu tasks crashed\n", crashes);
    assert_in_range(crashes, 1, 5);
    svc_told(world, "s", "(service s) stopped AZ Rebalancing.");
    svc_stands(world, service, "hhhhhh");
    svc_pass(world, 60000, WORLD_NODES);
    svc_stands(world, service, "hhhhhh.");
    svc_settle(world, service);
    in_zones(world, service, 2, 2, 2);
}

static void protect(struct world *world, int64_t service, const char *on)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    for (size_t i = 0; i < count; i++) {
        const struct task_record_task *record =
            core_get(world->harness.core, &task_kind, tasks[i].key);
        if (tasks[i].desired_status == TASK_RECORD_TASK_STATUS_RUNNING) {
            harness_contains(&world->harness, "UpdateTaskProtection",
                             world_text("{'cluster':'c','tasks':['%.*s'],'protectionEnabled':%s}",
                                        TEXT_FMT(record->task_id), on),
                             "'failures':[]");
        }
    }
    harness_advance(&world->harness, 0);
}

static void protected_tasks_stay_where_they_are(void **state)
{
    struct world *world = *state;
    int64_t service = lose_a_zone(world, "");
    protect(world, service, "true");
    svc_stop(world, service);
    svc_settle(world, service);
    in_zones(world, service, 3, 3, 0);
    svc_told(world, "s", "(service s) was unable to AZ Rebalance because (taskSet ecs-svc/");
    svc_told(world, "s", "was unable to scale in due to (reason 3 tasks under protection).");
    world_effect(world, "'eventName':'TASKSET_SCALE_IN_FAILURE_BY_TASK_PROTECTION'");
    assert_int_equal(times_told(world, "s", "was unable to AZ Rebalance"), 1);
    protect(world, service, "false");
    svc_settle(world, service);
    in_zones(world, service, 2, 2, 2);
}

static size_t instance(struct world *world, const char *zone, int cpu_units)
{
    size_t node = world_join(world);
    world_register(world, node, "c", zone, cpu_units, 8192);
    world_connect(world, node);
    harness_advance(&world->harness, 0);
    return node;
}

// A zone opens, and has no room: it is told once; the next zone that opens gets its share.
static void a_zone_without_room_is_passed_over(void **state)
{
    struct world *world = *state;
    size_t a = instance(world, "eu-west-1a", 4096);
    int64_t service = svc_create(world, "s", "job", 4, ",'launchType':'EC2'");
    svc_settle(world, service);
    assert_int_equal(svc_on_node(world, service, a), 4);
    svc_not_told(world, "s", "AZ");
    instance(world, "eu-west-1b", 50);
    svc_settle(world, service);
    svc_told(world, "s",
             "(service s) is unable to place a task in eu-west-1b because no container instance "
             "met all of its requirements.");
    world_effect(world, "'eventType':'ERROR','eventName':'SERVICE_TASK_PLACEMENT_FAILURE'");
    svc_pass(world, 150000, WORLD_NODES); // it is looked for again, and not told again
    assert_int_equal(times_told(world, "s", "is unable to place a task in eu-west-1b"), 1);
    svc_stands(world, service, "rrrr");
    size_t c = instance(world, "eu-west-1c", 4096);
    svc_settle(world, service);
    assert_int_equal(svc_on_node(world, service, a), 2);
    assert_int_equal(svc_on_node(world, service, c), 2);
}

// A host that stands for three zones: its tasks are where their subnets are, and once they are
// spread over these nothing moves to and fro.
static void a_host_of_three_zones_comes_to_rest(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition", INSTANCES, "inst:1");
    instance(world, "eu-west-1a,eu-west-1b,eu-west-1c", 4096);
    static const char *const placements[] = {
        "", ",'placementStrategy':[{'type':'spread','field':'attribute:ecs.availability-zone'}]"};
    for (size_t i = 0; i < ARRAY_LEN(placements); i++) {
        const char *name = i == 0 ? "plain" : "strategy";
        int64_t service =
            svc_create(world, name, "inst", 6,
                       world_text(",'launchType':'EC2',%s%s", three_subnets(world), placements[i]));
        svc_settle(world, service);
        struct service_task tasks[SVC_TASKS];
        size_t count = svc_tasks(world, service, tasks);
        int in_subnet[3] = {0};
        for (size_t j = 0; j < count; j++) {
            const struct task_entry *entry =
                task_entry(task_state(world->harness.core), tasks[j].key);
            in_subnet[entry->zone->name.data[entry->zone->name.size - 1] - 'a']++;
        }
        print_message("%s: %d, %d, %d\n", name, in_subnet[0], in_subnet[1], in_subnet[2]);
        for (size_t j = 0; j < 3; j++) {
            assert_int_equal(in_subnet[j], 2);
        }
    }
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, svc_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD(a_zone_that_is_back_gets_its_share),
        WORLD(a_service_that_does_not_want_it_is_left_alone),
        WORLD(a_service_that_was_changed_is_left_alone),
        WORLD(a_deployment_ends_it),
        WORLD(a_smaller_desired_count_ends_it),
        WORLD(a_task_that_crashes_ends_it),
        WORLD(protected_tasks_stay_where_they_are),
        WORLD(a_zone_without_room_is_passed_over),
        WORLD(a_host_of_three_zones_comes_to_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
