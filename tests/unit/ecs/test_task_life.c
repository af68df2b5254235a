#include "task_world.h"

#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <string.h>

// Every pair of statuses is either in this table or must be refused: a life only goes forward.
static void moves_only_go_forward(void **state)
{
    (void)state;
    for (int from = TASK_RECORD_TASK_STATUS_PROVISIONING; from <= TASK_RECORD_TASK_STATUS_STOPPED;
         from++) {
        for (int to = TASK_RECORD_TASK_STATUS_PROVISIONING; to <= TASK_RECORD_TASK_STATUS_STOPPED;
             to++) {
            bool may =
                task_may_move((enum task_record_task_status)from, (enum task_record_task_status)to);
            assert_false(may && to <= from);
            assert_true(may || to != TASK_RECORD_TASK_STATUS_STOPPED || from == to);
        }
    }
    assert_false(task_may_move(TASK_RECORD_TASK_STATUS_STOPPING, TASK_RECORD_TASK_STATUS_RUNNING));
}

#define APP_RUNS                                                                                   \
    ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1','imageDigest':"     \
    "'sha256:1'},{'containerName':'side','status':'RUNNING','runtimeId':'r2'}]"
#define APP_ENDED                                                                                  \
    ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':3},"                      \
    "{'containerName':'side','status':'STOPPED','exitCode':143}]"

// The whole life as measured on AWS: versions 1 PROVISIONING, 2 PENDING, 3 RUNNING, 4 desired
// STOPPED, 5 DEPROVISIONING, 6 STOPPED, each told to watchers.
static void a_fargate_task_lives_as_on_aws(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_forget(world);
    world_run(world, 0, "");
    world_task_has(world, "'lastStatus':'PROVISIONING'");
    world_task_has(world, "'status':'PRECREATED','details':[{'name':'subnetId'");
    world_effect(world, "PayloadMessage");
    world_effect(world, "'desiredStatus':'RUNNING','definition':{");
    world_effect(world, "'cpuUnits':256,'memoryMib':512,'eni':{'attachmentArn':'arn:aws:ecs:"
                        "eu-west-1:123456789012:attachment/");
    world_effect(world, "'type':'eni','status':'PRECREATED'");

    world_ack(world, node);
    world_task_has(world, "'lastStatus':'PENDING'");
    world_task_has(world, "'status':'ATTACHING'");
    world_task_has(world, "'name':'privateIPv4Address'");
    world_task_has(world, "'connectivity':'CONNECTED'");

    harness_advance(&world->harness, 1000);
    world_submit(world, node, "RUNNING",
                 APP_RUNS ",'pullStartedAt':1800000000.5,'pullStoppedAt':1800000000.75");
    world_task_has(world, "'startedAt':1800000001,");
    world_task_has(world, "'pullStartedAt':1800000000.500,'pullStoppedAt':1800000000.750");
    world_task_has(world, "'imageDigest':'sha256:1','runtimeId':'r1','lastStatus':'RUNNING'");
    world_task_has(world, "'status':'ATTACHED'");
    world_task_has(world, "'version':3,");

    world_forget(world);
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s','reason':'enough'}", world->task),
                     "'desiredStatus':'STOPPED'");
    world_task_has(world, "'lastStatus':'RUNNING'");
    world_task_has(world, "'stopCode':'UserInitiated','stoppedReason':'enough'");
    world_effect(world, "'desiredStatus':'STOPPED'}],");
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s','reason':'again'}", world->task),
                     "'stoppedReason':'enough'");
    world_task_has(world, "'version':4,");

    world_submit(world, node, "STOPPED", APP_ENDED ",'executionStoppedAt':1800000001.5");
    world_task_has(world, "'lastStatus':'DEPROVISIONING'");
    harness_restart(&world->harness);
    harness_advance(&world->harness, 0);
    world_task_has(world, "'lastStatus':'STOPPED'");
    world_task_has(world, "'status':'DELETED'");
    world_task_has(world, "'name':'privateIPv4Address'");
    world_task_has(world, "'exitCode':143");
    world_task_has(world, "'executionStoppedAt':1800000001.500");
    world_task_has(world, "'version':6,");
    world_task_has(world, "'stopCode':'UserInitiated'");
    world_task_has(world, "'stoppedReason':'enough'");
    assert_int_equal(core_count(world->harness.core, &vpc_eni_kind), 0);
}

// What a node reports must give the stopCode and the reason that ECS would give.
static void ends_are_explained_as_ecs_does(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 65536, 131072);
    static const struct {
        const char *name;
        bool running;
        const char *members;
        const char *want;
    } cases[] = {
        {"an essential container that exits", true, APP_ENDED,
         "'stopCode':'EssentialContainerExited','stoppedAt':1800000000,'stoppedReason':'Essential "
         "container in task exited'"},
        {"one that exits before RUNNING was ever reported", false, APP_ENDED,
         "'stopCode':'EssentialContainerExited'"},
        {"an image that cannot be pulled", false, ",'reason':'CannotPullContainerError: not found'",
         "'stopCode':'TaskFailedToStart','stoppedAt':1800000000,'stoppedReason':"
         "'CannotPullContainerError: not found'"},
        {"no word at all", false, "",
         "'stopCode':'TaskFailedToStart','stoppedAt':1800000000,'stoppedReason':'Task failed to "
         "start'"},
        {"a supervisor that died", true, ",'reason':'TaskStateError: the supervisor died'",
         "'stoppedReason':'TaskStateError: the supervisor died'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        world_run(world, 0, "");
        if (cases[i].running) {
            world_submit(world, node, "RUNNING", APP_RUNS);
        }
        world_submit(world, node, "STOPPED", cases[i].members);
        harness_advance(&world->harness, 0);
        world_task_has(world, cases[i].want);
        world_task_has(world, "'lastStatus':'STOPPED'");
    }
}

static void an_essential_exit_stops_the_task_and_another_does_not(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_submit(world, node, "RUNNING", APP_RUNS);
    world_as_node(world, node);
    const char *change = "{'task':'%s','containerName':'%s','status':'STOPPED','exitCode':1}";
    harness_expect(&world->harness, "SubmitContainerStateChange",
                   world_text(change, world->task, "side"), "{'acknowledgment':'ACCEPT'}");
    world_task_has(world, "'desiredStatus':'RUNNING'");
    world_task_has(world, "'exitCode':1");
    world_forget(world);
    world_as_node(world, node);
    harness_expect(&world->harness, "SubmitContainerStateChange",
                   world_text(change, world->task, "app"), "{'acknowledgment':'ACCEPT'}");
    world_as_root(world);
    world_task_has(world, "'stopCode':'EssentialContainerExited'");
    world_task_has(world, "'lastStatus':'RUNNING'");
    world_effect(world, "'desiredStatus':'STOPPED'}],");
}

// Reports may come late, twice and in any order; a stopped task is never touched again.
static void late_and_repeated_reports_change_nothing(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_submit(world, node, "RUNNING", APP_RUNS);
    world_submit(world, node, "STOPPED", APP_ENDED);
    world_submit(world, node, "STOPPED", APP_ENDED);
    harness_advance(&world->harness, 0);
    world_task_has(world, "'version':4,");
    static const char *const late[][2] = {
        {"RUNNING", APP_RUNS}, {"PENDING", ""}, {"STOPPED", APP_ENDED}, {"NONSENSE", ""}};
    AUTO(buf_deinit) struct buf before = {0};
    buf_string(&before, world->harness.answer.data);
    world_forget(world);
    for (size_t i = 0; i < ARRAY_LEN(late); i++) {
        world_submit(world, node, late[i][0], late[i][1]);
        world_task_has(world, "'lastStatus':'STOPPED'");
        assert_string_equal(world->harness.answer.data, before.data);
    }
    world_no_effect(world, "EVENT");
    // Who still runs what is over is told to stop it.
    world_forget(world);
    world_submit(world, node, "STOPPED", APP_ENDED);
    world_no_effect(world, "PayloadMessage");
    world_submit(world, node, "RUNNING", APP_RUNS);
    world_effect(world, "PayloadMessage");
    world_effect(world, "'desiredStatus':'STOPPED'");
}

static void reports_are_taken_from_the_owner_only(void **state)
{
    struct world *world = *state;
    size_t owner = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    size_t other = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_as_node(world, other);
    harness_expect(&world->harness, "SubmitTaskStateChange",
                   world_text("{'task':'%s','status':'STOPPED'}", world->task),
                   "AccessDeniedException: The task was not given to this node.");
    harness_expect(&world->harness, "SubmitTaskStateChange",
                   "{'task':'arn:aws:ecs:eu-west-1:123456789012:task/c/"
                   "00000000000000000000000000000000','status':'STOPPED'}",
                   "{'acknowledgment':'ACCEPT'}");
    harness_expect(&world->harness, "SubmitTaskStateChange", "{}", "{'acknowledgment':'ACCEPT'}");
    world_task_has(world, "'lastStatus':'PROVISIONING'");
    world_submit(world, owner, "RUNNING", APP_RUNS);
    world_task_has(world, "'lastStatus':'RUNNING'");
}

static void attachments_are_reported_by_their_arn(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_forget(world);
    world_run(world, 0, "");
    const char *at = strstr(world->effects.data, "\"attachmentArn\":\"");
    assert_non_null(at);
    struct text rest = text_of(at + strlen("\"attachmentArn\":\""));
    struct text arn = text_cut(&rest, '"');
    const char *request = world_text("{'attachments':[{'attachmentArn':'%.*s','status':"
                                     "'ATTACHED'},{'attachmentArn':'other','status':'ATTACHED'}]}",
                                     TEXT_FMT(arn));
    world_as_node(world, node);
    harness_expect(&world->harness, "SubmitAttachmentStateChanges", request,
                   "{'acknowledgment':'ACCEPT'}");
    world_as_root(world);
    world_task_has(world, "'status':'ATTACHED'");
    world_task_has(world, "'version':1,");
}

static void health_counts_essential_containers_with_a_check(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_submit(world, node, "RUNNING", APP_RUNS);
    static const struct {
        const char *container;
        const char *status;
        const char *want;
    } steps[] = {
        {"side", "UNHEALTHY", "'healthStatus':'UNKNOWN','lastStatus':'RUNNING','launchType'"},
        {"app", "HEALTHY", "'healthStatus':'HEALTHY','lastStatus':'RUNNING','launchType'"},
        {"app", "UNHEALTHY", "'healthStatus':'UNHEALTHY','lastStatus':'RUNNING','launchType'"},
        {"none", "HEALTHY", "'healthStatus':'UNHEALTHY','lastStatus':'RUNNING','launchType'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const char *request = world_text("{'tasks':[{'taskArn':'%s','containers':[{'containerName':"
                                         "'%s','healthStatus':'%s'}]}]}",
                                         world->task, steps[i].container, steps[i].status);
        world_as_node(world, node);
        harness_expect(&world->harness, "NodeHealth", request, "{}");
        world_task_has(world, steps[i].want);
        size_t rows = world->harness.row_count;
        world_forget(world);
        harness_expect(&world->harness, "NodeHealth", request, "{}");
        assert_int_equal(world->harness.row_count, rows);
        world_no_effect(world, "EVENT");
        world_as_root(world);
    }
    world_task_has(world, "'version':4,");
}

static void stopped_tasks_go_after_the_retention(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 65536, 131072);
    task_set_retention_ms(world->harness.core, 10000);
    for (size_t i = 0; i < 60; i++) {
        world_run(world, 0, "");
        world_submit(world, node, "STOPPED", "");
    }
    harness_advance(&world->harness, 0);
    assert_int_equal(core_count(world->harness.core, &task_kind), 60);
    harness_advance(&world->harness, 9999);
    assert_int_equal(core_count(world->harness.core, &task_kind), 60);
    harness_advance(&world->harness, 1);
    assert_int_equal(core_count(world->harness.core, &task_kind), 0);
    harness_contains(&world->harness, "DescribeTasks",
                     world_text("{'cluster':'c','tasks':['%s']}", world->task),
                     "'reason':'MISSING'");
}

static void stop_task_refuses_what_is_not_there(void **state)
{
    struct world *world = *state;
    harness_expect(&world->harness, "StopTask", "{'cluster':'c','task':'x'}",
                   "InvalidParameterException: The referenced task was not found.");
    harness_expect(&world->harness, "StopTask", "{'cluster':'none','task':'x'}",
                   "ClusterNotFoundException: Cluster not found.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_only_go_forward),
        cmocka_unit_test_setup_teardown(a_fargate_task_lives_as_on_aws, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(ends_are_explained_as_ecs_does, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(an_essential_exit_stops_the_task_and_another_does_not,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(late_and_repeated_reports_change_nothing, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(reports_are_taken_from_the_owner_only, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(attachments_are_reported_by_their_arn, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(health_counts_essential_containers_with_a_check,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(stopped_tasks_go_after_the_retention, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(stop_task_refuses_what_is_not_there, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
