#include "task_world.h"

#include "ecs/scaling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Managed scaling: what the scale command is asked for and when, and instances that go. The tests
 * play the command: they read what is asked and tell how it ended.
 */

#define STRATEGY "'capacityProviderStrategy':[{'capacityProvider':'grow','weight':1}]"
#define MINUTE_MS (60 * 1000)

static void provider(struct world *world, const char *members)
{
    harness_contains(&world->harness, "CreateCapacityProvider",
                     world_text("{'name':'grow','autoScalingGroupProvider':{'autoScalingGroupArn':"
                                "'pool',%s}}",
                                members),
                     "CREATE_COMPLETE");
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['grow'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "'grow'");
    harness_advance(&world->harness, 0);
    world_forget(world);
}

static int setup(void **state)
{
    int rc = world_setup(state);
    struct world *world = *state;
    task_set_scaling(world->harness.core, true, 0);
    return rc;
}

static void restart(struct world *world)
{
    harness_restart(&world->harness);
    task_set_scaling(world->harness.core, true, 0);
}

static size_t host(struct world *world, int cpu)
{
    size_t node = world_join(world);
    world_as_node(world, node);
    harness_contains(&world->harness, "RegisterContainerInstance",
                     world_text("{'cluster':'c','totalResources':[{'name':'CPU','type':'INTEGER',"
                                "'integerValue':%d},{'name':'MEMORY','type':'INTEGER',"
                                "'integerValue':131072}],'attributes':[{'name':"
                                "'ecs.availability-zone','value':'eu-west-1a'},{'name':"
                                "'berth.auto-scaling-group','value':'pool'}," WORLD_CAPABILITIES
                                "]}",
                                cpu),
                     "'containerInstanceArn'");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_connect(world, node);
    world_as_root(world);
    harness_advance(&world->harness, 0);
    return node;
}

// Time passes while every host but one beats.
static void pass_without(struct world *world, int64_t passed_ms, size_t silent)
{
    // Larger steps count as jumps of the clock, after which no lease ends.
    int64_t step_ms = silent == SIZE_MAX ? 2000 : 500;
    for (int64_t ms = 0; ms < passed_ms; ms += step_ms) {
        for (size_t i = 0; i < world->node_count; i++) {
            const struct task_node *node =
                task_node_of(task_state(world->harness.core), text_of(world->nodes[i].node_id));
            if (i != silent && node != NULL && !node->removed) {
                world_beat(world, i);
            }
        }
        harness_advance(&world->harness, step_ms);
    }
}

static void pass(struct world *world, int64_t passed_ms)
{
    pass_without(world, passed_ms, SIZE_MAX);
}

static void run(struct world *world, const char *definition, int count)
{
    harness_contains(&world->harness, "RunTask",
                     world_text("{'cluster':'c','taskDefinition':'%s','count':%d," STRATEGY "}",
                                definition, count),
                     "'failures':[]");
    harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
}

static void capacity_has(struct world *world, const char *want)
{
    harness_contains(&world->harness, "ListCapacity", "{'cluster':'c'}", want);
}

// The call of the command that was asked for last: key and id.
static void asked(const struct world *world, long long *out_scaling, char out_id[32])
{
    const char *last = NULL;
    const char *data = world->effects.data == NULL ? "" : world->effects.data;
    for (const char *at = strstr(data, "SCALE "); at != NULL; at = strstr(at + 1, "SCALE ")) {
        last = at;
    }
    if (last == NULL) {
        fail_msg("the scale command was not asked for:\n%s", data);
    }
    int read = sscanf(strstr(last, "\"scaling\":"), "\"scaling\":%lld,\"actionId\":\"%31[0-9a-f]",
                      out_scaling, out_id);
    assert_int_equal(read, 2);
}

static size_t times_asked(const struct world *world)
{
    size_t count = 0;
    for (const char *at = world->effects.data == NULL ? NULL
                                                      : strstr(world->effects.data, "SCALE ");
         at != NULL; at = strstr(at + 1, "SCALE ")) {
        count++;
    }
    return count;
}

// The command ended; failure NULL: well.
static void ended(struct world *world, const char *failure)
{
    long long scaling = 0;
    char id[32];
    asked(world, &scaling, id);
    harness_expect(&world->harness, "ReportScaling",
                   failure == NULL ? world_text("{'scaling':%lld,'actionId':'%s'}", scaling, id)
                                   : world_text("{'scaling':%lld,'actionId':'%s','failure':'%s'}",
                                                scaling, id, failure),
                   "{}");
    world_forget(world);
    harness_advance(&world->harness, 0);
}

static void run_on(struct world *world, size_t node)
{
    world_submit(world, node, "RUNNING",
                 ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1'}]");
}

// ---- growing ------------------------------------------------------------------------------

static void a_group_grows_from_nothing(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    capacity_has(world, "'reservation':100.0,'desired':0");
    run(world, "job", 3);
    capacity_has(world, "'waitingTaskCount':3");
    capacity_has(world, "'reservation':200.0,'desired':2");
    pass(world, MINUTE_MS);
    world_effect(world, "SCALE pool Scale");
    world_effect(world, "'direction':'Out'");
    world_effect(world, "'cluster':'c','provider':'grow','group':'pool','current':0,'desired':2");
    world_effect(world, "3 tasks wait for an instance");
    capacity_has(world, "'underWay':{'direction':'Out'");
    ended(world, NULL);
    // Those on their way count, so nothing more is asked for.
    capacity_has(world, "'size':2,'needed':1,'reservation':50.0");
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    host(world, 1000);
    world_task_has(world, "'lastStatus':'PENDING'");
    capacity_has(world, "'waitingTaskCount':0");
    capacity_has(world, "'last':{'direction':'Out'");
}

static void it_grows_by_what_waits(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    size_t node = host(world, 250); // two of 100 units
    run(world, "job", 9);
    pass(world, MINUTE_MS);
    // Seven wait, two on each instance: four more.
    world_effect(world, "'current':1,'desired':5");
    (void)node;
}

static void steps_bound_the_growth(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED','minimumScalingStepSize':2,"
                    "'maximumScalingStepSize':3}");
    host(world, 100);
    run(world, "job", 10);
    pass(world, MINUTE_MS);
    world_effect(world, "'current':1,'desired':4");
}

static void a_target_below_100_keeps_some_free(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED','targetCapacity':50}");
    host(world, 100);
    host(world, 100);
    run(world, "job", 2);
    pass(world, MINUTE_MS);
    world_effect(world, "'current':2,'desired':4");
}

// After the warm-up what did not come is asked for again.
static void what_does_not_come_is_asked_for_again(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED','instanceWarmupPeriod':120}");
    run(world, "job", 1);
    pass(world, MINUTE_MS);
    ended(world, NULL);
    pass(world, MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    pass(world, 2 * MINUTE_MS);
    world_effect(world, "'current':0,'desired':2");
}

// What came and was given up again is not on its way any more.
static void an_instance_that_went_is_not_waited_for(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'},'managedDraining':'DISABLED'");
    run(world, "job", 2);
    pass(world, MINUTE_MS);
    ended(world, NULL);
    size_t first = host(world, 100);
    harness_contains(
        &world->harness, "TerminateInstance",
        world_text("{'cluster':'c','containerInstance':'%s'}", world->nodes[first].instance),
        "'named':true");
    capacity_has(world, "'size':1,"); // the other one of the two
    harness_advance(&world->harness, 0);
    ended(world, NULL);
    host(world, 100);
    pass(world, MINUTE_MS);
    run(world, "job", 1);
    capacity_has(world, "'size':1,'needed':2");
    pass(world, MINUTE_MS);
    world_effect(world, "'current':1,'desired':2");
}

static void tasks_without_a_strategy_scale_nothing(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    host(world, 100);
    harness_contains(&world->harness, "RunTask",
                     "{'cluster':'c','taskDefinition':'job','count':4,'launchType':'EC2'}",
                     "'reason':'RESOURCE:CPU'");
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    capacity_has(world, "'busyCount':1,'waitingTaskCount':0");
}

static void without_a_command_people_are_told(void **state)
{
    struct world *world = *state;
    task_set_scaling(world->harness.core, false, 0);
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    run(world, "job", 1);
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    capacity_has(world, "'desired':2");
    capacity_has(world, "'command':false");
}

static void a_disabled_group_is_left_alone(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    run(world, "job", 1);
    harness_contains(&world->harness, "UpdateCapacityProvider",
                     "{'name':'grow','autoScalingGroupProvider':{'managedScaling':{'status':"
                     "'DISABLED'}}}",
                     "UPDATE_COMPLETE");
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
}

// ---- failures -----------------------------------------------------------------------------

static void a_failed_command_is_run_again_later(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    run(world, "job", 1);
    pass(world, MINUTE_MS);
    // Never two at a time, and no more of one than one a period.
    pass(world, 3 * MINUTE_MS);
    assert_in_range(times_asked(world), 1, 5);
    ended(world, "exit code 3: no quota");
    capacity_has(world, "'failure':'exit code 3: no quota','attempt':1");
    capacity_has(world, "'retryAt':");
    capacity_has(world, "'size':0"); // nothing is on its way
    assert_int_equal(times_asked(world), 0);
    pass(world, MINUTE_MS);
    capacity_has(world, "'attempt':2");
    assert_in_range(times_asked(world), 1, 2);
    ended(world, NULL);
    capacity_has(world, "'attempt':2");
    capacity_has(world, "'size':2");
    // An answer that comes twice, or late, is of nothing.
    harness_expect(&world->harness, "ReportScaling", "{'scaling':1,'actionId':'00','failure':'x'}",
                   "{}");
}

static void waits_between_failures_grow(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    // Nothing is waited for, so that it waits however long the command fails.
    harness_contains(
        &world->harness, "CreateService",
        "{'cluster':'c','serviceName':'s','taskDefinition':'job','desiredCount':1," STRATEGY "}",
        "'serviceArn'");
    harness_advance(&world->harness, 0);
    int64_t last_ms = 0;
    int64_t gap_ms = 0;
    for (int i = 0; i < 8; i++) {
        for (int minute = 0; times_asked(world) == 0 && minute < 40; minute++) {
            harness_advance(&world->harness, MINUTE_MS);
        }
        if (last_ms != 0) {
            assert_true(world->harness.now_ms - last_ms >= gap_ms);
            gap_ms = world->harness.now_ms - last_ms;
        }
        last_ms = world->harness.now_ms;
        ended(world, "exit code 1");
    }
    assert_in_range(gap_ms, 5 * MINUTE_MS, 12 * MINUTE_MS);
}

static void it_goes_on_after_a_restart(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    run(world, "job", 1);
    pass(world, MINUTE_MS);
    char before[32];
    long long scaling = 0;
    asked(world, &scaling, before);
    restart(world);
    world_forget(world);
    harness_advance(&world->harness, MINUTE_MS);
    char after[32];
    asked(world, &scaling, after);
    assert_string_equal(before, after); // so that a server that still runs it does not do so twice
    ended(world, NULL);
    restart(world);
    capacity_has(world, "'size':2");
}

// ---- shrinking ----------------------------------------------------------------------------

static void a_group_shrinks_after_a_quarter_of_an_hour(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    size_t busy = host(world, 1000);
    run(world, "job", 1);
    run_on(world, busy);
    for (int i = 0; i < 4; i++) {
        host(world, 1000);
    }
    capacity_has(world, "'size':5,'needed':1,'reservation':20.0,'desired':3");
    pass(world, 13 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    pass(world, 3 * MINUTE_MS);
    world_effect(world, "'direction':'In'");
    world_effect(world, "'current':5,'desired':3");
    capacity_has(world, "'status':'TERMINATING'");
    // Less than half, the newest first, and never the one with a task.
    long long scaling = 0;
    char id[32];
    asked(world, &scaling, id);
    world_effect(world, world->nodes[4].instance);
    world_effect(world, world->nodes[3].instance);
    world_no_effect(world, world_text("\"instances\":[{\"containerInstanceArn\":\"%s\"",
                                      world->nodes[busy].instance));
    ended(world, NULL);
    harness_contains(&world->harness, "ListContainerInstances", "{'cluster':'c'}",
                     world->nodes[2].instance);
    const char *left = harness_call(&world->harness, "ListContainerInstances", "{'cluster':'c'}");
    assert_null(strstr(left, world->nodes[4].instance));
    // The rest goes a period later, step by step.
    world_effect(world, "'current':3,'desired':2");
    assert_int_equal(times_asked(world), 1);
    ended(world, NULL);
    assert_int_equal(times_asked(world), 0);
    pass(world, 2 * MINUTE_MS);
    ended(world, NULL);
    pass(world, 5 * MINUTE_MS);
    capacity_has(world, "'size':1,'needed':1,'reservation':100.0,'desired':1");
    world_task_has(world, "'lastStatus':'RUNNING'");
}

static void what_is_needed_again_in_time_stays(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    host(world, 100);
    host(world, 100);
    pass(world, 10 * MINUTE_MS);
    run(world, "job", 2);
    pass(world, 2 * MINUTE_MS);
    capacity_has(world, "'reservation':100.0");
    pass(world, 14 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
}

static void daemons_do_not_keep_an_instance(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    host(world, 1000);
    harness_contains(&world->harness, "CreateService",
                     "{'cluster':'c','serviceName':'d','taskDefinition':'job',"
                     "'schedulingStrategy':'DAEMON','launchType':'EC2'}",
                     "'serviceArn'");
    harness_advance(&world->harness, 0);
    capacity_has(world, "'busyCount':0");
    capacity_has(world, "'needed':0");
    pass(world, 16 * MINUTE_MS);
    world_effect(world, "'current':1,'desired':0");
}

static void a_silent_host_does_not_count(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    host(world, 100);
    host(world, 100);
    host(world, 100);
    run(world, "job", 3);
    pass_without(world, 30000, 0);
    capacity_has(world, "'lostCount':0");
    pass_without(world, 2 * MINUTE_MS, 0);
    capacity_has(world, "'lostCount':1");
    capacity_has(world, "'size':2,'needed':2");
}

// ---- giving one up ------------------------------------------------------------------------

static const char *terminate(struct world *world, size_t node)
{
    return harness_call(
        &world->harness, "TerminateInstance",
        world_text("{'cluster':'c','containerInstance':'%s'}", world->nodes[node].instance));
}

static void an_instance_that_goes_is_drained_first(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'},"
                    "'managedTerminationProtection':'ENABLED'");
    size_t first = host(world, 1000);
    harness_contains(
        &world->harness, "CreateService",
        "{'cluster':'c','serviceName':'s','taskDefinition':'job','desiredCount':1," STRATEGY "}",
        "'serviceArn'");
    harness_advance(&world->harness, 0);
    harness_contains(&world->harness, "ListTasks", "{'cluster':'c'}", "task/");
    harness_call(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}");
    size_t second = host(world, 1000);
    const struct core *core = world->harness.core;
    const struct task_record_task *task =
        core_get(core, &task_kind, core_next(core, &task_kind, 0));
    snprintf(world->task, sizeof(world->task), "arn:aws:ecs:eu-west-1:123456789012:task/c/%.*s",
             TEXT_FMT(task->task_id));
    run_on(world, first);
    pass(world, MINUTE_MS);
    world_forget(world);

    const char *answer = terminate(world, first);
    assert_non_null(strstr(answer, "\"taskCount\":1,\"named\":false"));
    harness_advance(&world->harness, 0);
    harness_contains(
        &world->harness, "DescribeContainerInstances",
        world_text("{'cluster':'c','containerInstances':['%s']}", world->nodes[first].instance),
        "'status':'DRAINING'");
    assert_int_equal(times_asked(world), 0); // a task is there
    // Its successor starts on the other, then it is stopped.
    int64_t successor = core_next(core, &task_kind, 0);
    while (core_next(core, &task_kind, successor) != 0) {
        successor = core_next(core, &task_kind, successor);
    }
    const struct task_record_task *other = core_get(core, &task_kind, successor);
    char old[160];
    memcpy(old, world->task, sizeof(old));
    snprintf(world->task, sizeof(world->task), "arn:aws:ecs:eu-west-1:123456789012:task/c/%.*s",
             TEXT_FMT(other->task_id));
    run_on(world, second);
    pass(world, MINUTE_MS);
    memcpy(world->task, old, sizeof(old));
    world_task_has(world, "'desiredStatus':'STOPPED'");
    assert_int_equal(times_asked(world), 0);
    world_submit(world, first, "STOPPED", "");
    harness_advance(&world->harness, 0);
    world_effect(world, "'direction':'In'");
    world_effect(world, world->nodes[first].instance);
    world_effect(world, "TerminateInstance");
    ended(world, NULL);
    harness_contains(&world->harness, "ListNodes", "{}", world->nodes[second].node_id);
    const char *nodes = harness_call(&world->harness, "ListNodes", "{}");
    assert_null(strstr(nodes, world->nodes[first].node_id));
}

static void a_protected_instance_with_tasks_stays(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'},"
                    "'managedTerminationProtection':'ENABLED','managedDraining':'DISABLED'");
    size_t node = host(world, 1000);
    run(world, "job", 1);
    const char *answer = terminate(world, node);
    assert_non_null(strstr(answer, "has 1 tasks and is protected from termination"));
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "'STOPPED'");
    world_submit(world, node, "STOPPED", "");
    assert_non_null(strstr(terminate(world, node), "\"taskCount\":0,\"named\":true"));
    harness_advance(&world->harness, 0);
    world_effect(world, "'direction':'In'");
}

// Standalone tasks are left alone by draining: protected, the instance waits for them for ever.
static void protection_has_no_end(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'},"
                    "'managedTerminationProtection':'ENABLED'");
    size_t node = host(world, 1000);
    run(world, "job", 1);
    run_on(world, node);
    terminate(world, node);
    world->harness.now_ms += 50 * 60 * MINUTE_MS;
    world_beat(world, node);
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    world_task_has(world, "'lastStatus':'RUNNING'");
}

static void draining_ends_after_48_hours(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    size_t node = host(world, 1000);
    run(world, "job", 1);
    run_on(world, node);
    terminate(world, node);
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
    world->harness.now_ms += (int64_t)48 * 60 * MINUTE_MS;
    world_beat(world, node);
    pass(world, 2 * MINUTE_MS);
    world_effect(world, "'direction':'In'");
    ended(world, NULL);
    world_task_has(world, "Auto Scaling group pool terminated host");
}

static void without_draining_it_goes_at_once(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'DISABLED'},'managedDraining':'DISABLED'");
    size_t node = host(world, 1000);
    run(world, "job", 1);
    assert_non_null(strstr(terminate(world, node), "\"taskCount\":1,\"named\":true"));
    harness_advance(&world->harness, 0);
    world_effect(world, "'direction':'In'");
    ended(world, "exit code 1: busy");
    capacity_has(world, "'failure':'exit code 1: busy'");
    pass(world, MINUTE_MS);
    ended(world, NULL);
    world_task_has(world, "'stopCode':'TerminationNotice'");
}

static void it_can_be_taken_back(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    size_t node = host(world, 1000);
    run(world, "job", 1);
    run_on(world, node);
    terminate(world, node);
    capacity_has(world, "'terminatingCount':1");
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','status':'ACTIVE','containerInstances':['%s']}",
                                world->nodes[node].instance),
                     "ACTIVE");
    capacity_has(world, "'terminatingCount':0");
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "'STOPPED'");
    world_submit(world, node, "STOPPED", "");
    pass(world, 2 * MINUTE_MS);
    assert_int_equal(times_asked(world), 0);
}

static void only_instances_of_groups_can_be_given_up(void **state)
{
    struct world *world = *state;
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    world_as_root(world);
    harness_expect(&world->harness, "TerminateInstance",
                   "{'cluster':'c','containerInstance':'nobody'}",
                   "ResourceNotFoundException: There is no container instance nobody in the "
                   "cluster.");
    assert_non_null(strstr(terminate(world, node), "is of no Auto Scaling group"));
    harness_expect(&world->harness, "ListCapacity", "{'cluster':'c'}", "{'capacity':[]}");
    harness_expect(&world->harness, "ListCapacity", "{'nextToken':'x'}",
                   "InvalidParameterException: Invalid token");
}

// ---- what is kept -------------------------------------------------------------------------

static void records_go_with_what_they_are_about(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    harness_advance(&world->harness, 0);
    assert_int_equal(core_count(world->harness.core, &task_scaling_kind), 1);
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':[],'defaultCapacityProviderStrategy':[]}",
                     "'clusterArn'");
    pass(world, MINUTE_MS);
    assert_int_equal(core_count(world->harness.core, &task_scaling_kind), 0);
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['grow'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "'grow'");
    pass(world, MINUTE_MS);
    assert_int_equal(core_count(world->harness.core, &task_scaling_kind), 1);
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':[],'defaultCapacityProviderStrategy':[]}",
                     "'clusterArn'");
    harness_contains(&world->harness, "DeleteCapacityProvider", "{'capacityProvider':'grow'}",
                     "DELETE_COMPLETE");
    harness_advance(&world->harness, 0);
    assert_int_equal(core_count(world->harness.core, &task_scaling_kind), 0);
}

static void the_metric_is_told(void **state)
{
    struct world *world = *state;
    provider(world, "'managedScaling':{'status':'ENABLED'}");
    host(world, 1000);
    AUTO(buf_deinit) struct buf metrics = {0};
    task_write_metrics(world->harness.core, world->harness.now_ms, &metrics);
    assert_non_null(strstr(metrics.data,
                           "berth_capacity_provider_reservation{account=\"123456789012\",region="
                           "\"eu-west-1\",cluster=\"c\",capacity_provider=\"grow\"} 0\n"));
}

#define WORLD(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(a_group_grows_from_nothing),
        WORLD(it_grows_by_what_waits),
        WORLD(steps_bound_the_growth),
        WORLD(a_target_below_100_keeps_some_free),
        WORLD(what_does_not_come_is_asked_for_again),
        WORLD(an_instance_that_went_is_not_waited_for),
        WORLD(tasks_without_a_strategy_scale_nothing),
        WORLD(without_a_command_people_are_told),
        WORLD(a_disabled_group_is_left_alone),
        WORLD(a_failed_command_is_run_again_later),
        WORLD(waits_between_failures_grow),
        WORLD(it_goes_on_after_a_restart),
        WORLD(a_group_shrinks_after_a_quarter_of_an_hour),
        WORLD(what_is_needed_again_in_time_stays),
        WORLD(daemons_do_not_keep_an_instance),
        WORLD(a_silent_host_does_not_count),
        WORLD(an_instance_that_goes_is_drained_first),
        WORLD(a_protected_instance_with_tasks_stays),
        WORLD(protection_has_no_end),
        WORLD(draining_ends_after_48_hours),
        WORLD(without_draining_it_goes_at_once),
        WORLD(it_can_be_taken_back),
        WORLD(only_instances_of_groups_can_be_given_up),
        WORLD(records_go_with_what_they_are_about),
        WORLD(the_metric_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
