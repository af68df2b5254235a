#include "service_world.h"

#include <stdio.h>
#include <string.h>

// Services whose deployments somebody else makes: task sets of the Fargate definition `web`.

static char sets[8][160]; // ids that were made, in order
static size_t set_count;

static int setup(void **state)
{
    set_count = 0;
    return svc_setup(state);
}

static int64_t create(struct world *world, const char *members)
{
    harness_contains(&world->harness, "CreateService",
                     world_text("{'cluster':'c','serviceName':'e','deploymentController':{'type':"
                                "'EXTERNAL'}%s}",
                                members),
                     "'taskSets':[]");
    harness_advance(&world->harness, 0);
    return service_find(world->harness.core, core_next(world->harness.core, &ecs_cluster_kind, 0),
                        TEXT("e"));
}

static const char *create_set(struct world *world, const char *members)
{
    const char *answer = harness_call(
        &world->harness, "CreateTaskSet",
        world_text("{'cluster':'c','service':'e','taskDefinition':'web','launchType':'FARGATE',"
                   "'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s']}}%s}",
                   world->subnets[0], members));
    const char *id = strstr(answer, "\"id\":\"");
    if (id == NULL) {
        fail_msg("no task set: %s", answer);
    }
    id += strlen("\"id\":\"");
    struct text text = {id, (size_t)(strchr(id, '"') - id)};
    assert_in_range(set_count, 0, ARRAY_LEN(sets) - 1);
    assert_int_equal(text_copy(text, sets[set_count], sizeof(sets[0])), 0);
    set_count++;
    harness_advance(&world->harness, 0);
    return sets[set_count - 1];
}

#define HALF ",'scale':{'value':50,'unit':'PERCENT'}"
#define WHOLE ",'scale':{'value':100,'unit':'PERCENT'}"

static void scale(struct world *world, const char *set, const char *value)
{
    harness_contains(&world->harness, "UpdateTaskSet",
                     world_text("{'cluster':'c','service':'e','taskSet':'%s','scale':{'value':%s,"
                                "'unit':'PERCENT'}}",
                                set, value),
                     "'taskSet':{'id':'ecs-svc/");
    harness_advance(&world->harness, 0);
}

static void delete_set(struct world *world, const char *set, const char *members)
{
    harness_contains(&world->harness, "DeleteTaskSet",
                     world_text("{'cluster':'c','service':'e','taskSet':'%s'%s}", set, members),
                     "'status':'DRAINING'");
    harness_advance(&world->harness, 0);
}

static void set_has(struct world *world, const char *set, const char *want)
{
    harness_contains(
        &world->harness, "DescribeTaskSets",
        world_text("{'cluster':'c','service':'e','taskSets':['%s'],'include':['TAGS']}", set),
        want);
}

static const char *refused(struct world *world, const char *operation, const char *set,
                           const char *members)
{
    return harness_call(&world->harness, operation,
                        world_text("{'cluster':'c','service':'e','taskSet':'%s'%s}", set, members));
}

static void contains(const char *answer, const char *want)
{
    if (strstr(answer, want) == NULL) {
        fail_msg("the answer has no %s:\n%s", want, answer);
    }
}

// ---- counts ---------------------------------------------------------------------------------

static void the_count_is_rounded_up(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        int desired;
        double percent;
        int want;
    } cases[] = {
        {"all", 4, 100, 4},
        {"none", 4, 0, 0},
        {"half of four", 4, 50, 2},
        {"half of three is two", 3, 50, 2},
        {"the least part of one is one", 1, 0.1, 1},
        {"a third of ten", 10, 33.4, 4},
        {"14 hundredths of a percent of 5000 are 7, though binary has a bit more", 5000, 0.14, 7},
        {"of no task", 0, 100, 0},
    };
    (void)world;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        const struct service_record_service service = {.desired_count = cases[i].desired};
        struct service_record_deployment set = {.scale = cases[i].percent};
        assert_int_equal(service_task_set_desired(&service, &set), cases[i].want);
        set.status = SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING;
        assert_int_equal(service_task_set_desired(&service, &set), 0);
    }
}

static void each_set_keeps_its_own_count(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':4");
    svc_stands(world, service, "-");
    const char *blue = create_set(world, WHOLE ",'externalId':'blue','tags':[{'key':'a','value':"
                                               "'b'}]");
    svc_stands(world, service, "- | ....");
    set_has(world, blue, "'computedDesiredCount':4,'pendingCount':4,'runningCount':0");
    set_has(world, blue, "'stabilityStatus':'STABILIZING'");
    set_has(world, blue, "'externalId':'blue'");
    set_has(world, blue, "'tags':[{'key':'a','value':'b'}]");
    svc_told(world, "e",
             world_text("(service e) updated computedDesiredCount for taskSet %s to 4.", blue));
    svc_told(world, "e", world_text("(service e, taskSet %s) has started 4 tasks: (task ", blue));
    svc_settle(world, service);
    svc_stands(world, service, "- | hhhh");
    set_has(world, blue, "'stabilityStatus':'STEADY_STATE'");
    svc_told(world, "e",
             world_text("(service e, taskSet %s) updated state to STEADY_STATE.", blue));
    world_effect(world, "TASKSET_STEADY_STATE");
    const char *green = create_set(world, HALF);
    svc_stands(world, service, "- | .. | hhhh");
    set_has(world, green, "'computedDesiredCount':2");
    scale(world, blue, "25");
    svc_stands(world, service, "- | .. | hxxx");
    svc_stop(world, service);
    svc_update(world, "e", "'desiredCount':8");
    svc_stands(world, service, "- | .... | h.");
    svc_told(world, "e", world_text("updated computedDesiredCount for taskSet %s to 2.", blue));
    svc_has(world, "e", "'deployments':[]");
    svc_has(world, "e", world_text("'taskSets':[{'id':'%s'", green)); // the newest first
}

// Its tasks tell which task set made them.
static void tasks_name_their_set(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':1");
    const char *set = create_set(world, WHOLE);
    struct service_task tasks[SVC_TASKS];
    assert_int_equal(svc_tasks(world, service, tasks), 1);
    svc_task_has(world, tasks[0].key, world_text("'startedBy':'%s'", set));
    svc_task_has(world, tasks[0].key, "'group':'service:e'");
}

// ---- keeping it -----------------------------------------------------------------------------

static void what_ends_is_replaced_in_its_set(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':2");
    create_set(world, WHOLE);
    create_set(world, WHOLE);
    svc_settle(world, service);
    svc_stands(world, service, "- | hh | hh");
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_report(world, tasks[0].key, "STOPPED",
               ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':1}]");
    svc_stands(world, service, "- | hh | h.");
    set_has(world, sets[0], "'stabilityStatus':'STABILIZING'");
    set_has(world, sets[1], "'stabilityStatus':'STEADY_STATE'");
    svc_health(world, tasks[3].key, "UNHEALTHY");
    svc_stands(world, service, "- | hu. | h."); // its successor first
    svc_settle(world, service);
    svc_stands(world, service, "- | hh | hh");
}

// The wait after failures is a set's own, and ends with the failures.
static void a_set_that_crashes_waits_alone(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':1");
    create_set(world, WHOLE);
    svc_settle(world, service);
    create_set(world, WHOLE);
    for (int i = 0; i < 5; i++) {
        svc_crash(world, service);
        svc_stands(world, service, i < 2 ? "- | . | h" : "- | - | h");
        harness_advance(&world->harness, i < 2 ? 0 : 1000 << (i - 2));
    }
    scale(world, sets[0], "0");
    scale(world, sets[0], "100");
    svc_stands(world, service, "- | . | x.");
    svc_settle(world, service);
    svc_stands(world, service, "- | h | h");
}

static void protected_tasks_stay_until_the_set_is_deleted(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':1");
    create_set(world, WHOLE);
    svc_settle(world, service);
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_task_has(world, tasks[0].key, "'lastStatus':'RUNNING'");
    harness_contains(
        &world->harness, "UpdateTaskProtection",
        world_text("{'cluster':'c','tasks':['%s'],'protectionEnabled':true}", world->task),
        "'protectionEnabled':true");
    scale(world, sets[0], "0");
    svc_stands(world, service, "- | h");
    svc_told(world, "e",
             world_text("was unable to reach steady state because (taskSet %s) was "
                        "unable to scale in due to (reason 1 tasks under protection)",
                        sets[0]));
    delete_set(world, sets[0], "");
    svc_stands(world, service, "- | x");
}

// A lost host concerns the sets that have tasks there, each by itself.
static void lost_tasks_are_replaced_in_their_set(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':1");
    create_set(world, WHOLE);
    create_set(world, WHOLE);
    svc_settle(world, service);
    svc_stands(world, service, "- | h | h");
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    svc_pass(world, 120000, 0);
    svc_stands(world, service, "- | ?. | ?.");
    assert_int_equal(svc_on_node(world, service, node), 2);
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_report(world, tasks[2].key, "RUNNING",
               ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1'}]");
    svc_tasks(world, service, tasks);
    // Only the set whose successor runs gives its lost copy up.
    size_t given_up = 0;
    for (size_t i = 0; i < 2; i++) {
        given_up += tasks[i].desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
    }
    assert_int_equal(given_up, 1);
}

// ---- the primary one, and the end -----------------------------------------------------------

static void the_primary_one_shows_in_the_service(void **state)
{
    struct world *world = *state;
    create(world, ",'desiredCount':1");
    const char *blue = create_set(world, WHOLE);
    const char *green = create_set(world, WHOLE);
    set_has(world, blue, "'status':'ACTIVE'");
    harness_contains(&world->harness, "UpdateServicePrimaryTaskSet",
                     world_text("{'cluster':'c','service':'e','primaryTaskSet':'%s'}", blue),
                     "'status':'PRIMARY'");
    svc_has(world, "e", "'taskDefinition':'arn:aws:ecs:eu-west-1:123456789012:task-definition/web");
    svc_has(world, "e", "'launchType':'FARGATE'");
    harness_contains(&world->harness, "UpdateServicePrimaryTaskSet",
                     world_text("{'cluster':'c','service':'e','primaryTaskSet':'%s'}", green),
                     "'status':'PRIMARY'");
    set_has(world, blue, "'status':'ACTIVE'");
    contains(refused(world, "DeleteTaskSet", green, ""),
             "The primary task set cannot be deleted. Make another task set the primary one, or "
             "specify force, and try again.");
    delete_set(world, green, ",'force':true");
    harness_contains(&world->harness, "UpdateServicePrimaryTaskSet",
                     world_text("{'cluster':'c','service':'e','primaryTaskSet':'%s'}", green),
                     "The task set is DRAINING.");
    contains(refused(world, "UpdateTaskSet", green, ",'scale':{'value':1}"),
             "The task set is DRAINING.");
}

static void a_deleted_set_drains(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':2");
    const char *set = create_set(world, WHOLE);
    svc_settle(world, service);
    contains(refused(world, "DeleteTaskSet", set, ""),
             "The task set cannot be deleted while it is scaled above 0.");
    delete_set(world, set, ",'force':true");
    svc_stands(world, service, "- | xx");
    set_has(world, set, "'status':'DRAINING'");
    set_has(world, set, "'computedDesiredCount':0");
    delete_set(world, set, ""); // again
    svc_stop(world, service);
    svc_stands(world, service, "-");
    set_has(world, set, "'reason':'MISSING'");
    contains(refused(world, "DeleteTaskSet", set, ""), "TaskSetNotFoundException");
    contains(refused(world, "DeleteTaskSet", set, ""), "TaskSet not found.");
}

static void a_service_goes_with_its_sets_by_force(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, ",'desiredCount':0");
    create_set(world, WHOLE);
    harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'e'}",
                     "The service cannot be stopped while deployments are active.");
    svc_update(world, "e", "'desiredCount':2");
    svc_settle(world, service);
    harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'e','force':true}",
                     "'status':'DRAINING'");
    harness_advance(&world->harness, 0);
    svc_stop(world, service);
    svc_has(world, "e", "'status':'INACTIVE'");
    contains(refused(world, "UpdateTaskSet", sets[0], ",'scale':{'value':1}"),
             "ServiceNotActiveException");
}

// ---- requests -------------------------------------------------------------------------------

static void five_sets_are_the_most(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, "");
    for (int i = 0; i < 5; i++) {
        create_set(world, "");
    }
    const char *answer =
        harness_call(&world->harness, "CreateTaskSet",
                     world_text("{'cluster':'c','service':'e','taskDefinition':'web','launchType':"
                                "'FARGATE'," WORLD_NETWORK "}",
                                world->subnets[0]));
    contains(answer, "5 deployments exist on the service. Unable to create new TaskSet since this "
                     "exceeds the maximum limit.");
    delete_set(world, sets[2], "");
    svc_stands(world, service, "- | - | - | - | -");
    create_set(world, "");
}

static void a_token_makes_one_set(void **state)
{
    struct world *world = *state;
    int64_t service = create(world, "");
    char first[160];
    assert_int_equal(
        text_copy(text_of(create_set(world, ",'clientToken':'t'")), first, sizeof(first)), 0);
    assert_string_equal(create_set(world, ",'clientToken':'t'"), first);
    svc_stands(world, service, "- | -");
    const char *answer =
        harness_call(&world->harness, "CreateTaskSet",
                     world_text("{'cluster':'c','service':'e','taskDefinition':'web','launchType':"
                                "'FARGATE','clientToken':'t','externalId':'x'," WORLD_NETWORK "}",
                                world->subnets[0]));
    contains(answer, "The clientToken was used before for a request with other parameters.");
}

static void only_external_services_have_sets(void **state)
{
    struct world *world = *state;
    svc_create(world, "s", "web", 1, "");
    harness_contains(&world->harness, "CreateTaskSet",
                     "{'cluster':'c','service':'s','taskDefinition':'web'}",
                     "Amazon ECS only supports task set management on services configured to use "
                     "external deployment controllers.");
}

static void tags_change(void **state)
{
    struct world *world = *state;
    create(world, "");
    const char *set = create_set(world, "");
    const char *arn = world_text("arn:aws:ecs:eu-west-1:123456789012:task-set/c/e/%s", set);
    set_has(world, set, world_text("'taskSetArn':'%s'", arn));
    harness_expect(&world->harness, "TagResource",
                   world_text("{'resourceArn':'%s','tags':[{'key':'k','value':'v'}]}", arn), "{}");
    harness_contains(&world->harness, "ListTagsForResource",
                     world_text("{'resourceArn':'%s'}", arn), "{'key':'k','value':'v'}");
    set_has(world, arn, "'tags':[{'key':'k','value':'v'}]"); // by its ARN as well
    harness_contains(&world->harness, "ListTagsForResource",
                     world_text("{'resourceArn':'%s1'}", arn),
                     "The specified task set was not found.");
}

int main(void)
{
#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD(the_count_is_rounded_up),
        WORLD(each_set_keeps_its_own_count),
        WORLD(tasks_name_their_set),
        WORLD(what_ends_is_replaced_in_its_set),
        WORLD(a_set_that_crashes_waits_alone),
        WORLD(protected_tasks_stay_until_the_set_is_deleted),
        WORLD(lost_tasks_are_replaced_in_their_set),
        WORLD(the_primary_one_shows_in_the_service),
        WORLD(a_deleted_set_drains),
        WORLD(a_service_goes_with_its_sets_by_force),
        WORLD(five_sets_are_the_most),
        WORLD(a_token_makes_one_set),
        WORLD(only_external_services_have_sets),
        WORLD(tags_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
