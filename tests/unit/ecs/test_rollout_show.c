#include "service_world.h"

#include <stdio.h>
#include <string.h>

#define ARN "arn:aws:ecs:eu-west-1:123456789012:"

static struct text rollout_id(struct world *world, int64_t service)
{
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    const struct service_record_rollout *rollout =
        core_get(world->harness.core, &service_rollout_kind, record->rollout);
    return rollout->id;
}

static void rollout_has(struct world *world, int64_t service, const char *want)
{
    struct text id = rollout_id(world, service);
    harness_contains(&world->harness, "DescribeServiceDeployments",
                     world_text("{'serviceDeploymentArns':['" ARN "service-deployment/c/s/%.*s']}",
                                TEXT_FMT(id)),
                     want);
}

// Counts of both ends are those of now.
static void the_two_ends_of_a_deployment(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    rollout_has(world, service, "'sourceServiceRevisions':[]");
    rollout_has(world, service, "'requestedTaskCount':2,'runningTaskCount':0,'pendingTaskCount':2");
    svc_settle(world, service);
    rollout_has(world, service, "'status':'SUCCESSFUL'");
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, ".. | hh");
    rollout_has(world, service,
                "'requestedTaskCount':2,'runningTaskCount':2,'pendingTaskCount':0}],");
    rollout_has(world, service, "'status':'IN_PROGRESS'");
    svc_settle(world, service);
    rollout_has(world, service,
                "'requestedTaskCount':0,'runningTaskCount':0,'pendingTaskCount':0}],");
}

// The configuration is that with which it began, whatever the service has now.
static void a_deployment_keeps_its_configuration(void **state)
{
    struct world *world = *state;
    int64_t service =
        svc_create(world, "s", "web", 2, ",'deploymentConfiguration':{'maximumPercent':150}");
    svc_update(world, "s", "'deploymentConfiguration':{'maximumPercent':120}");
    rollout_has(world, service, "'maximumPercent':150");
    svc_has(world, "s", "'maximumPercent':120");
}

// While it is under way the threshold follows the desired count; then it stays.
static void the_threshold_is_read_live(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2,
                                 ",'deploymentConfiguration':{'deploymentCircuitBreaker':"
                                 "{'enable':true,'rollback':false}}");
    rollout_has(world, service, "'status':'MONITORING','failureCount':0,'threshold':3");
    svc_update(world, "s", "'desiredCount':20");
    rollout_has(world, service, "'status':'MONITORING','failureCount':0,'threshold':10");
    svc_settle(world, service);
    svc_update(world, "s", "'desiredCount':2");
    rollout_has(world, service, "'status':'MONITORING_COMPLETE','failureCount':0,'threshold':10");
}

// Deployments and revisions are found by ARN alone; every part of it must be right.
static void what_no_arn_leads_to(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 0, "");
    char id[64];
    assert_int_equal(text_copy(rollout_id(world, service), id, sizeof(id)), 0);
    static const struct {
        const char *before;
        const char *after;
        const char *want; ///< NULL: it is missing
    } cases[] = {
        {ARN "service-deployment/c/s/", "", "'failures':[]"},
        {ARN "service-deployment/c/t/", "", NULL},
        {ARN "service-deployment/d/s/", "", NULL},
        {ARN "service-deployment/c/s/", "x", NULL},
        {ARN "service-deployment/c/s/", "/x",
         "InvalidParameterException: Invalid service deployment"},
        {ARN "service-deployment/c/", "", "InvalidParameterException: Invalid service deployment"},
        {ARN "service-revision/c/s/", "", "InvalidParameterException: Invalid service deployment"},
        {"arn:aws:ecs:eu-west-1:999999999999:service-deployment/c/s/", "",
         "InvalidParameterException: Invalid service deployment"},
        {"arn:aws:ecs:us-east-1:123456789012:service-deployment/c/s/", "",
         "InvalidParameterException: Invalid service deployment"},
        {"", "", "InvalidParameterException: Invalid service deployment"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s...%s\n", cases[i].before, cases[i].after);
        harness_contains(
            &world->harness, "DescribeServiceDeployments",
            world_text("{'serviceDeploymentArns':['%s%s%s']}", cases[i].before, id, cases[i].after),
            cases[i].want == NULL ? "'reason':'MISSING'" : cases[i].want);
    }
    static const char *const numbers[] = {"0", "-1", "x", "99999999999999999999", ""};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        harness_contains(
            &world->harness, "DescribeServiceRevisions",
            world_text("{'serviceRevisionArns':['" ARN "service-revision/c/s/%s']}", numbers[i]),
            numbers[i][0] == '\0' ? "Invalid service revision ARN" : "MISSING");
    }
}

// A service that is deleted and made again has another past; that of the first is still described.
static void deployments_of_a_service_that_is_gone(void **state)
{
    struct world *world = *state;
    int64_t first = svc_create(world, "s", "web", 0, "");
    char id[64];
    assert_int_equal(text_copy(rollout_id(world, first), id, sizeof(id)), 0);
    harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'s'}", "DRAINING");
    harness_advance(&world->harness, 0);
    svc_create(world, "s", "web", 0, "");
    harness_contains(
        &world->harness, "DescribeServiceDeployments",
        world_text("{'serviceDeploymentArns':['" ARN "service-deployment/c/s/%s']}", id),
        "'failures':[]");
    const char *listed =
        harness_call(&world->harness, "ListServiceDeployments", "{'cluster':'c','service':'s'}");
    assert_null(strstr(listed, id));
}

// Newest first, filtered before it is cut into pages.
static void lists_are_filtered_and_cut(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 0, "");
    harness_advance(&world->harness, 1000);
    int64_t middle_ms = 0;
    for (int i = 0; i < 4; i++) {
        svc_update(world, "s",
                   i < 2 ? "'forceNewDeployment':true"
                         : "'desiredCount':1,'forceNewDeployment':true");
        harness_advance(&world->harness, 1000);
        middle_ms = i == 1 ? world->harness.now_ms : middle_ms;
    }
    svc_stands(world, service, ". | x");
    static const struct {
        const char *members;
        size_t count;
        bool more;
    } cases[] = {
        {"", 5, false},
        {",'status':['SUCCESSFUL']", 3, false},
        {",'status':['STOPPED','IN_PROGRESS']", 2, false},
        {",'status':['SUCCESSFUL'],'maxResults':2", 2, true},
        {",'status':['SUCCESSFUL'],'maxResults':3", 3, false},
        {",'createdAt':{'after':%lld.5}", 2, false},
        {",'createdAt':{'before':%lld.5}", 3, false},
        {",'createdAt':{'before':%lld.5},'maxResults':1", 1, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].members);
        char members[128];
        snprintf(members, sizeof(members), cases[i].members, (long long)(middle_ms / 1000 - 1));
        const char *answer = harness_call(&world->harness, "ListServiceDeployments",
                                          world_text("{'cluster':'c','service':'s'%s}", members));
        size_t count = 0;
        for (const char *at = strstr(answer, "\"serviceDeploymentArn\""); at != NULL;
             at = strstr(at + 1, "\"serviceDeploymentArn\"")) {
            count++;
        }
        assert_int_equal(count, cases[i].count);
        assert_true((strstr(answer, "nextToken") != NULL) == cases[i].more);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_two_ends_of_a_deployment, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_deployment_keeps_its_configuration, svc_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(the_threshold_is_read_live, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_no_arn_leads_to, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(deployments_of_a_service_that_is_gone, svc_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(lists_are_filtered_and_cut, svc_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
