#include "task_world.h"

#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * Services over FARGATE and FARGATE_SPOT: how their tasks are divided, spread and taken back.
 */

#define STRATEGY                                                                                   \
    "'capacityProviderStrategy':[{'capacityProvider':'FARGATE','base':2,'weight':1},"              \
    "{'capacityProvider':'FARGATE_SPOT','weight':4}]"

static size_t host(struct world *world, const char *zone, const char *capacity)
{
    size_t node = world_join(world);
    world_as_node(world, node);
    harness_contains(&world->harness, "RegisterContainerInstance",
                     world_text("{'totalResources':[{'name':'CPU','type':'INTEGER','integerValue':"
                                "65536},{'name':'MEMORY','type':'INTEGER','integerValue':131072}],"
                                "'attributes':[{'name':'ecs.availability-zone','value':'%s'},"
                                "{'name':'berth.capacity','value':'%s'}," WORLD_CAPABILITIES "]}",
                                zone, capacity),
                     "'containerInstanceArn'");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_connect(world, node);
    return node;
}

static void providers(struct world *world)
{
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "FARGATE_SPOT");
}

static void create(struct world *world, const char *name, int desired)
{
    harness_contains(
        &world->harness, "CreateService",
        world_text("{'cluster':'c','serviceName':'%s','taskDefinition':'web','desiredCount':%d,"
                   "'deploymentConfiguration':{'maximumPercent':200,'minimumHealthyPercent':100,"
                   "'deploymentCircuitBreaker':{'enable':true,'rollback':true}}," STRATEGY
                   ",'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s','%s','%s']}}}",
                   name, desired, world->subnets[0], world->subnets[1], world->subnets[2]),
        "'serviceArn'");
    harness_advance(&world->harness, 0);
}

static void scale(struct world *world, const char *name, int desired)
{
    harness_contains(&world->harness, "UpdateService",
                     world_text("{'cluster':'c','service':'%s','desiredCount':%d}", name, desired),
                     "'serviceArn'");
    harness_advance(&world->harness, 0);
}

struct counts {
    int fargate;
    int spot;
    int zones[3];
};

// Tasks that are to run, of a service or of all.
static struct counts count(struct world *world)
{
    const struct core *core = world->harness.core;
    struct counts counts = {0};
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->desired_status != TASK_RECORD_TASK_STATUS_RUNNING) {
            continue;
        }
        counts.spot += task_is_spot(task) ? 1 : 0;
        counts.fargate += task_is_spot(task) ? 0 : 1;
        const struct task_zone *zone = task_entry(task_state(core), key)->zone;
        counts.zones[zone->name.data[zone->name.size - 1] - 'a']++;
    }
    return counts;
}

static void expect(struct world *world, int desired, int fargate, int spot)
{
    struct counts now = count(world);
    if (now.fargate != fargate || now.spot != spot) {
        fail_msg("%d tasks desired: %d FARGATE and %d FARGATE_SPOT, wanted %d and %d", desired,
                 now.fargate, now.spot, fargate, spot);
    }
    int least = now.zones[0];
    int most = now.zones[0];
    for (int i = 1; i < 3; i++) {
        least = now.zones[i] < least ? now.zones[i] : least;
        most = now.zones[i] > most ? now.zones[i] : most;
    }
    if (most - least > 1) {
        fail_msg("%d tasks desired: %d, %d and %d in the zones", desired, now.zones[0],
                 now.zones[1], now.zones[2]);
    }
}

// Every task reports RUNNING, or STOPPED when it is to stop.
static void report(struct world *world)
{
    const struct core *core = world->harness.core;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        bool stop = task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
        if (task->last_status == TASK_RECORD_TASK_STATUS_STOPPED ||
            (!stop && task->last_status == TASK_RECORD_TASK_STATUS_RUNNING)) {
            continue;
        }
        snprintf(world->task, sizeof(world->task), "arn:aws:ecs:eu-west-1:123456789012:task/c/%.*s",
                 TEXT_FMT(task->task_id));
        const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
        size_t index = 0;
        while (!text_is(node->node_id, world->nodes[index].node_id)) {
            index++;
        }
        world_submit(
            world, index, stop ? "STOPPED" : "RUNNING",
            stop ? ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':143}]"
                 : ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r'},"
                   "{'containerName':'side','status':'RUNNING','runtimeId':'s'}]");
        if (!stop) {
            world_as_node(world, index);
            harness_expect(&world->harness, "NodeHealth",
                           world_text("{'tasks':[{'taskArn':'%s','containers':[{'containerName':"
                                      "'app','healthStatus':'HEALTHY'}]}]}",
                                      world->task),
                           "{}");
            world_as_root(world);
        }
    }
    harness_advance(&world->harness, 0);
}

static const int split[][2] = {{1, 0},  {2, 0},  {2, 1},  {2, 2},  {3, 2},  {3, 3}, {3, 4},
                               {3, 5},  {3, 6},  {4, 6},  {4, 7},  {4, 8},  {4, 9}, {4, 10},
                               {5, 10}, {5, 11}, {5, 12}, {5, 13}, {5, 14}, {6, 14}};

static void three_hosts(struct world *world)
{
    for (int i = 0; i < 3; i++) {
        host(world, world_text("eu-west-1%c", 'a' + i), "FARGATE,FARGATE_SPOT");
    }
    providers(world);
}

static void every_count_has_its_split(void **state)
{
    struct world *world = *state;
    three_hosts(world);
    create(world, "up", 0);
    for (int desired = 1; desired <= 20; desired++) {
        scale(world, "up", desired);
        expect(world, desired, split[desired - 1][0], split[desired - 1][1]);
    }
    for (int desired = 20; desired >= 1; desired--) {
        scale(world, "up", desired);
        report(world);
        expect(world, desired, split[desired - 1][0], split[desired - 1][1]);
    }
    static const int walk[] = {20, 3, 17, 8, 12, 5, 10, 1, 14};
    for (size_t i = 0; i < ARRAY_LEN(walk); i++) {
        scale(world, "up", walk[i]);
        report(world);
        expect(world, walk[i], split[walk[i] - 1][0], split[walk[i] - 1][1]);
    }
}

// A rolling update makes the split anew: the base is not what older tasks have.
static void a_deployment_has_a_split_of_its_own(void **state)
{
    struct world *world = *state;
    three_hosts(world);
    service_set_settle_ms(world->harness.core, 0);
    create(world, "web", 10);
    report(world);
    harness_contains(&world->harness, "UpdateService",
                     "{'cluster':'c','service':'web','forceNewDeployment':true}", "'serviceArn'");
    harness_advance(&world->harness, 0);
    expect(world, 20, 8, 12);
    report(world);
    harness_advance(&world->harness, 1000);
    report(world);
    expect(world, 10, 4, 6);
}

static void a_task_is_shown_with_its_provider(void **state)
{
    struct world *world = *state;
    three_hosts(world);
    harness_contains(&world->harness, "RunTask",
                     world_text("{'cluster':'c','taskDefinition':'web','count':10," STRATEGY
                                "," WORLD_NETWORK "}",
                                world->subnets[0]),
                     "'capacityProviderName':'FARGATE_SPOT'");
    struct counts now = count(world);
    assert_int_equal(now.fargate, 4);
    assert_int_equal(now.spot, 6);
    harness_contains(&world->harness, "RunTask",
                     world_text("{'cluster':'c','taskDefinition':'web','capacityProviderStrategy':["
                                "{'capacityProvider':'FARGATE_SPOT'}]," WORLD_NETWORK "}",
                                world->subnets[0]),
                     "'launchType':'FARGATE'");
}

// Without a host of Spot its share waits; the others start. With the fallback they go to FARGATE.
static void a_short_pool_holds_up_its_own_share_only(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < 3; i++) {
        host(world, world_text("eu-west-1%c", 'a' + i), "FARGATE");
    }
    providers(world);
    create(world, "web", 10);
    struct counts now = count(world);
    assert_int_equal(now.fargate, 4);
    assert_int_equal(now.spot, 0);
    harness_contains(&world->harness, "DescribeServices", "{'cluster':'c','services':['web']}",
                     "(service web) was unable to place a task. Reason: Capacity is unavailable at "
                     "this time. Please try again later or in a different availability zone.");
    harness_contains(&world->harness, "RunTask",
                     world_text("{'cluster':'c','taskDefinition':'web','count':5," STRATEGY
                                "," WORLD_NETWORK "}",
                                world->subnets[0]),
                     "'reason':'Capacity is unavailable at this time. Please try again later or in "
                     "a different availability zone'");
    assert_int_equal(count(world).fargate, 4 + 3);

    service_set_spot_fallback(world->harness.core, true);
    scale(world, "web", 11);
    assert_int_equal(count(world).fargate, 11 + 3);
    // Spot comes back: what is scaled in is what it stood in for.
    for (int i = 0; i < 3; i++) {
        host(world, world_text("eu-west-1%c", 'a' + i), "FARGATE_SPOT");
    }
    scale(world, "web", 20);
    assert_int_equal(count(world).spot, 9);
    scale(world, "web", 12);
    assert_int_equal(count(world).spot, 8);
}

// A host that is taken back loses its Spot tasks only, and gets no more of them.
static void a_host_is_taken_back(void **state)
{
    struct world *world = *state;
    three_hosts(world);
    create(world, "web", 20);
    report(world);
    world_forget(world);
    int on_host = 0;
    const struct core *core = world->harness.core;
    int64_t node = task_node_of(task_state(core), text_of(world->nodes[0].node_id))->key;
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        on_host += task->node == node && task_is_spot(task) ? 1 : 0;
    }
    assert_true(on_host > 0);
    harness_expect(&world->harness, "InterruptSpot",
                   world_text("{'nodeId':'%s'}", world->nodes[0].node_id),
                   world_text("{'taskCount':%d}", on_host));
    harness_advance(&world->harness, 0);
    world_effect(world, "\"stopCode\":\"SpotInterruption\"");
    world_effect(world, "\"stoppedReason\":\"Your Spot Task was interrupted.\"");
    report(world);
    struct counts now = count(world);
    assert_int_equal(now.fargate, 6);
    assert_int_equal(now.spot, 14);
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        bool runs = task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
        assert_false(runs && task->node == node && task_is_spot(task));
    }
    harness_restart(&world->harness);
    harness_advance(&world->harness, 0);
    assert_int_equal(task_pool(task_state(world->harness.core), true)->zone_count, 3);
    harness_expect(&world->harness, "RestoreSpot",
                   world_text("{'nodeId':'%s'}", world->nodes[0].node_id), "{}");
    const struct task_group *pool = task_pool(task_state(world->harness.core), true);
    assert_int_equal(pool->zones[0]->nodes.count, 1);
}

static void one_task_is_taken_back(void **state)
{
    struct world *world = *state;
    three_hosts(world);
    create(world, "web", 3);
    report(world);
    const struct core *core = world->harness.core;
    char spot[40] = "";
    char other[40] = "";
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        snprintf(task_is_spot(task) ? spot : other, sizeof(spot), "%.*s", TEXT_FMT(task->task_id));
    }
    // Protection is against the scheduler, not against the loss of capacity.
    harness_contains(&world->harness, "UpdateTaskProtection",
                     world_text("{'cluster':'c','tasks':['%s'],'protectionEnabled':true}", spot),
                     "'protectionEnabled':true");
    harness_expect(&world->harness, "InterruptSpot",
                   world_text("{'cluster':'c','task':'%s'}", spot), "{'taskCount':1}");
    harness_expect(&world->harness, "InterruptSpot",
                   world_text("{'cluster':'c','task':'%s'}", spot), "{'taskCount':0}");
    harness_contains(&world->harness, "DescribeTasks",
                     world_text("{'cluster':'c','tasks':['%s']}", spot),
                     "'stopCode':'SpotInterruption','stoppedReason':'Your Spot Task was "
                     "interrupted.'");
    harness_expect(&world->harness, "InterruptSpot",
                   world_text("{'cluster':'c','task':'%s'}", other),
                   world_text("InvalidParameterException: Task %s was not placed through "
                              "FARGATE_SPOT, so nobody takes its capacity back.",
                              other));
    harness_expect(&world->harness, "InterruptSpot", "{'cluster':'c','task':'nope'}",
                   "ResourceNotFoundException: There is no task nope in the cluster.");
    harness_expect(&world->harness, "InterruptSpot", "{'nodeId':'nope'}",
                   "ResourceNotFoundException: There is no node nope.");
    harness_expect(&world->harness, "InterruptSpot", "{}",
                   "InvalidParameterException: Give either a task or a node to interrupt.");
    harness_advance(&world->harness, 0);
    expect(world, 3, 2, 1);
}

// With a rate, tasks of Spot are interrupted by chance, and of FARGATE none.
static void chance_interrupts_spot_tasks_only(void **state)
{
    struct world *world = *state;
    three_hosts(world);
    task_set_spot_rate(world->harness.core, 1000);
    create(world, "web", 20);
    report(world);
    harness_restart(&world->harness);
    task_set_spot_rate(world->harness.core, 1000);
    harness_advance(&world->harness, 0);
    int spot = 0;
    int other = 0;
    const struct core *core = world->harness.core;
    for (int i = 0; i < 2000; i++) {
        harness_advance(&world->harness, 1000);
    }
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        bool interrupted = task->stop_code == ECS_TASK_STOP_CODE_SPOT_INTERRUPTION;
        spot += interrupted && task_is_spot(task) ? 1 : 0;
        other += interrupted && !task_is_spot(task) ? 1 : 0;
    }
    assert_true(spot > 0);
    assert_int_equal(other, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_count_has_its_split, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_deployment_has_a_split_of_its_own, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_task_is_shown_with_its_provider, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_short_pool_holds_up_its_own_share_only, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_host_is_taken_back, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(one_task_is_taken_back, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(chance_interrupts_spot_tasks_only, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
