#include "service_world.h"

#include <string.h>

#define CREATE(members) "{'cluster':'c','serviceName':'s'" members "}"
#define JOB ",'taskDefinition':'job','desiredCount':0"
#define STRATEGY(provider) "[{'capacityProvider':'" provider "','weight':1}]"

static int setup(void **state)
{
    int rc = svc_setup(state);
    struct world *world = *state;
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "FARGATE_SPOT");
    return rc;
}

static void end(struct world *world, const char *name)
{
    harness_contains(&world->harness, "DeleteService",
                     world_text("{'cluster':'c','service':'%s','force':true}", name), "DRAINING");
    harness_advance(&world->harness, 0);
}

// ---- CreateService --------------------------------------------------------------------------

// What is filled in where nothing is said.
static void a_new_service_has_defaults(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        const char *members;
        const char *want;
    } cases[] = {
        {"percents of a REPLICA", JOB, "'maximumPercent':200,'minimumHealthyPercent':100"},
        {"percents of a DAEMON", ",'taskDefinition':'job','schedulingStrategy':'DAEMON'",
         "'maximumPercent':100,'minimumHealthyPercent':0"},
        {"one percent alone", JOB ",'deploymentConfiguration':{'maximumPercent':150}",
         "'maximumPercent':150,'minimumHealthyPercent':100"},
        {"no circuit breaker", JOB, "'deploymentCircuitBreaker':{'enable':false,'rollback':false}"},
        {"ROLLING without a bake time", JOB, "'strategy':'ROLLING','bakeTimeInMinutes':0"},
        {"steps of LINEAR", JOB ",'deploymentConfiguration':{'strategy':'LINEAR'}",
         "'linearConfiguration':{'stepPercent':10.0,'stepBakeTimeInMinutes':6}"},
        {"one step of LINEAR alone",
         JOB ",'deploymentConfiguration':{'strategy':'LINEAR','linearConfiguration':"
             "{'stepPercent':50}}",
         "'linearConfiguration':{'stepPercent':50.0,'stepBakeTimeInMinutes':6}"},
        {"the slice of CANARY", JOB ",'deploymentConfiguration':{'strategy':'CANARY'}",
         "'canaryConfiguration':{'canaryPercent':5.0,'canaryBakeTimeInMinutes':10}"},
        {"weight and base",
         ",'taskDefinition':'web','desiredCount':0,'capacityProviderStrategy':"
         "[{'capacityProvider':'FARGATE'}],'networkConfiguration':"
         "{'awsvpcConfiguration':{'subnets':['SUBNET']}}",
         "'capacityProviderStrategy':[{'capacityProvider':'FARGATE','weight':0,'base':0}]"},
        {"EC2 without a default strategy", JOB, "'launchType':'EC2'"},
        {"the controller", JOB, "'deploymentController':{'type':'ECS'}"},
        {"tags of tasks", JOB, "'propagateTags':'NONE'"},
        {"zones that can be evened out", JOB, "'availabilityZoneRebalancing':'ENABLED'"},
        {"zones that cannot", JOB ",'deploymentConfiguration':{'maximumPercent':100}",
         "'availabilityZoneRebalancing':'DISABLED'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        char request[1024];
        const char *subnet = strstr(cases[i].members, "SUBNET");
        int before =
            subnet == NULL ? (int)strlen(cases[i].members) : (int)(subnet - cases[i].members);
        const char *text = world_text(CREATE("%.*s%s%s"), before, cases[i].members,
                                      subnet == NULL ? "" : world->subnets[0],
                                      subnet == NULL ? "" : subnet + strlen("SUBNET"));
        assert_int_equal(text_copy(text_of(text), request, sizeof(request)), 0);
        harness_contains(&world->harness, "CreateService", request, cases[i].want);
        end(world, "s");
    }
}

// A cluster's default strategy takes the place of the launch type, but not of one that is given.
static void the_clusters_strategy_is_the_default(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':" STRATEGY("FARGATE_SPOT") "}",
                     "FARGATE_SPOT");
    const char *network = world_text(WORLD_NETWORK, world->subnets[0]);
    harness_contains(&world->harness, "CreateService",
                     world_text(CREATE(",'taskDefinition':'web','desiredCount':0,%s"), network),
                     "'capacityProviderStrategy':[{'capacityProvider':'FARGATE_SPOT','weight':1,"
                     "'base':0}]");
    svc_has(world, "s", "'platformFamily':'Linux'");
    end(world, "s");
    harness_contains(&world->harness, "CreateService", CREATE(JOB ",'launchType':'EC2'"),
                     "'launchType':'EC2'");
}

static void what_is_asked_for_is_refused(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *members;
        const char *want;
    } cases[] = {
        {",'taskDefinition':'job'", "InvalidParameterException: desiredCount is required for the "
                                    "REPLICA scheduling strategy."},
        {",'desiredCount':1", "ClientException: TaskDefinition can not be blank."},
        {",'taskDefinition':'none','desiredCount':1", "ClientException: TaskDefinition not found."},
        {JOB ",'schedulingStrategy':'DAEMON'",
         "InvalidParameterException: The daemon scheduling strategy does not support a desired "
         "count for services. Remove the desired count value and try again"},
        {JOB ",'clientToken':'a b'", "InvalidParameterException: clientToken can have up to 36 "
                                     "characters of ASCII 33 to 126."},
        {",'taskDefinition':'job','deploymentController':{'type':'EXTERNAL'}",
         "InvalidParameterException: taskDefinition cannot be specified for a service with the "
         "EXTERNAL deployment controller. Specify it for a task set."},
        {",'launchType':'EC2','deploymentController':{'type':'EXTERNAL'}",
         "InvalidParameterException: launchType cannot be specified for a service with the "
         "EXTERNAL "
         "deployment controller. Specify it for a task set."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "CreateService", world_text(CREATE("%s"), cases[i].members),
                       cases[i].want);
    }
    harness_expect(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}",
                   "{'services':[],'failures':[{'arn':'arn:aws:ecs:eu-west-1:123456789012:service/"
                   "c/s','reason':'MISSING'}]}");
}

// ---- UpdateService --------------------------------------------------------------------------

// Which members begin a deployment, though nothing of them changes, and which never do.
static void some_members_begin_a_deployment(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *members;
        bool deploys;
    } cases[] = {
        {"'taskDefinition':'job:1'", false}, // the same one
        {"'taskDefinition':'job:2'", true},
        {"'forceNewDeployment':true", true},
        {"'forceNewDeployment':false", false},
        {"'loadBalancers':[]", true},
        {"'serviceRegistries':[]", true},
        {"'volumeConfigurations':[]", true},
        {"'vpcLatticeConfigurations':[]", true},
        {"'serviceConnectConfiguration':{'enabled':false}", true},
        {"'desiredCount':0", false},
        {"'deploymentConfiguration':{'maximumPercent':150}", false},
        {"'placementConstraints':[]", false},
        {"'placementStrategy':[{'type':'random'}]", false},
        {"'healthCheckGracePeriodSeconds':5", false},
        {"'enableExecuteCommand':true", false},
        {"'enableECSManagedTags':true", false},
        {"'propagateTags':'SERVICE'", false},
        {"'availabilityZoneRebalancing':'DISABLED'", false},
        {"'capacityProviderStrategy':[]", false}, // as it was
        {"'deploymentController':{'type':'ECS'}", false},
    };
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'job','containerDefinitions':[{'name':'app','image':'i',"
                     "'memory':64}]}",
                     "job:2");
    int64_t service = svc_create(world, "s", "job:1", 0, ",'launchType':'EC2'");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].members);
        int64_t before = svc_primary(world, service)->number;
        svc_update(world, "s", cases[i].members);
        assert_true((svc_primary(world, service)->number != before) == cases[i].deploys);
    }
}

// What an update does not name stays, an empty list clears.
static void what_is_not_named_stays(void **state)
{
    struct world *world = *state;
    svc_create(world, "s", "job", 0,
               ",'launchType':'EC2','placementStrategy':[{'type':'random'}],'placementConstraints':"
               "[{'type':'distinctInstance'}],'healthCheckGracePeriodSeconds':9,'propagateTags':"
               "'SERVICE','deploymentConfiguration':{'maximumPercent':120,'alarms':{'alarmNames':"
               "['a'],'enable':true,'rollback':false}}");
    static const char *const kept[] = {
        "'placementStrategy':[{'type':'random'}]",
        "'placementConstraints':[{'type':'distinctInstance'}]",
        "'healthCheckGracePeriodSeconds':9",
        "'propagateTags':'SERVICE'",
        "'maximumPercent':120",
        "'alarms':{'alarmNames':['a'],'rollback':false,'enable':true}",
    };
    svc_update(world, "s", "'desiredCount':0");
    svc_update(world, "s", "'deploymentConfiguration':{'minimumHealthyPercent':40}");
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        svc_has(world, "s", kept[i]);
    }
    svc_update(world, "s", "'placementStrategy':[],'placementConstraints':[]");
    svc_has(world, "s", "'placementConstraints':[],'placementStrategy':[]");
    svc_has(world, "s", "'minimumHealthyPercent':40");
}

// Steps belong to their strategy, hooks to those that go by stages.
static void a_strategy_takes_its_own_along(void **state)
{
    struct world *world = *state;
    svc_create(
        world, "s", "job", 0,
        ",'launchType':'EC2','deploymentConfiguration':{'strategy':'LINEAR','lifecycleHooks':"
        "[{'targetType':'PAUSE','lifecycleStages':['PRE_SCALE_UP']}]}");
    svc_has(world, "s", "'linearConfiguration':{'stepPercent':10.0");
    svc_update(world, "s", "'deploymentConfiguration':{'strategy':'CANARY'}");
    svc_has(world, "s", "'canaryConfiguration':{'canaryPercent':5.0");
    svc_has(world, "s", "'targetType':'PAUSE'");
    const char *shown =
        harness_call(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}");
    assert_null(strstr(shown, "linearConfiguration"));
    svc_update(world, "s", "'deploymentConfiguration':{'strategy':'ROLLING'}");
    shown = harness_call(&world->harness, "DescribeServices", "{'cluster':'c','services':['s']}");
    assert_null(strstr(shown, "canaryConfiguration"));
    assert_null(strstr(shown, "lifecycleHooks"));
}

// A strategy takes the place of a launch type of the same kind, and only by a new deployment.
static void strategies_and_launch_types(void **state)
{
    struct world *world = *state;
    const char *forced = "InvalidParameterException: When switching from launch type to capacity "
                         "provider strategy on an existing service, or making a change to a "
                         "capacity provider strategy on a service that is already using one, you "
                         "must force a new deployment.";
    svc_create(world, "s", "web", 0, "");
    harness_expect(
        &world->harness, "UpdateService",
        "{'cluster':'c','service':'s','capacityProviderStrategy':" STRATEGY("FARGATE") "}", forced);
    svc_update(world, "s",
               "'forceNewDeployment':true,'capacityProviderStrategy':" STRATEGY("FARGATE"));
    svc_has(world, "s",
            "'capacityProviderStrategy':[{'capacityProvider':'FARGATE','weight':1,"
            "'base':0}]");
    svc_update(world, "s", "'capacityProviderStrategy':" STRATEGY("FARGATE")); // the same
    harness_expect(
        &world->harness, "UpdateService",
        "{'cluster':'c','service':'s','capacityProviderStrategy':" STRATEGY("FARGATE_SPOT") "}",
        forced);
    svc_update(world, "s", "'forceNewDeployment':true,'capacityProviderStrategy':[]");
    svc_has(world, "s", "'launchType':'FARGATE'");
    svc_create(world, "t", "job", 0, ",'launchType':'EC2'");
    harness_expect(&world->harness, "UpdateService",
                   "{'cluster':'c','service':'t','forceNewDeployment':true,"
                   "'capacityProviderStrategy':" STRATEGY("FARGATE") "}",
                   "InvalidParameterException: A service that uses container instances cannot be "
                   "updated to use Fargate.");
}

// Under other controllers ECS scales and places, and what would need a deployment is not its own.
static void other_controllers_deploy_for_themselves(void **state)
{
    struct world *world = *state;
    svc_create(world, "s", "job", 0,
               ",'launchType':'EC2','deploymentController':{'type':'CODE_DEPLOY'}");
    harness_expect(&world->harness, "UpdateService",
                   "{'cluster':'c','service':'s','taskDefinition':'job'}",
                   "InvalidParameterException: Unable to update task definition on services with a "
                   "CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new "
                   "deployment.");
    svc_update(world, "s", "'deploymentConfiguration':{'maximumPercent':150}");
    svc_update(world, "s", "'deploymentController':{'type':'ECS'}");
    svc_update(world, "s", "'taskDefinition':'job'");
    harness_contains(&world->harness, "CreateService",
                     "{'cluster':'c','serviceName':'e','deploymentController':{'type':'EXTERNAL'}}",
                     "'desiredCount':0");
    harness_expect(
        &world->harness, "UpdateService",
        "{'cluster':'c','service':'e','deploymentConfiguration':{'maximumPercent':150}}",
        "InvalidParameterException: Unable to update deployment configuration on "
        "services with an EXTERNAL deployment controller. Use a task set to trigger a new "
        "deployment.");
    harness_expect(&world->harness, "UpdateService",
                   "{'cluster':'c','service':'e','deploymentController':{'type':'ECS'}}",
                   "InvalidParameterException: The deployment controller of a service can be "
                   "updated only from CODE_DEPLOY to ECS.");
}

// A refusal leaves the service as it was.
static void a_refused_update_changes_nothing(void **state)
{
    struct world *world = *state;
    svc_create(world, "s", "job", 0, ",'launchType':'EC2'");
    char before[4096];
    const char *describe = "{'cluster':'c','services':['s']}";
    const char *shown = harness_call(&world->harness, "DescribeServices", describe);
    assert_int_equal(text_copy(text_of(shown), before, sizeof(before)), 0);
    harness_expect(&world->harness, "UpdateService",
                   "{'cluster':'c','service':'s','healthCheckGracePeriodSeconds':7,"
                   "'desiredCount':-1}",
                   "InvalidParameterException: desiredCount cannot be negative.");
    assert_string_equal(harness_call(&world->harness, "DescribeServices", describe), before);
}

// Fargate spreads over zones whether it is asked to or not; ECS refuses to be asked.
static void fargate_may_be_asked_to_spread_over_zones(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *strategies;
        bool strict;
        const char *want;
    } cases[] = {
        {"{'type':'spread','field':'attribute:ecs.availability-zone'}", false, "ACTIVE"},
        {"{'type':'spread','field':'attribute:ecs.availability-zone'}", true,
         "Placement strategies are not supported with FARGATE launch type."},
        {"{'type':'spread','field':'instanceId'}", false,
         "Placement strategies are not supported with FARGATE launch type."},
        {"{'type':'spread','field':'attribute:ecs.availability-zone'},{'type':'random'}", false,
         "Placement strategies are not supported with FARGATE launch type."},
    };
    const char *network = world_text(WORLD_NETWORK, world->subnets[0]);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ecs_set_strict(world->harness.core, cases[i].strict);
        harness_contains(&world->harness, "CreateService",
                         world_text("{'cluster':'c','serviceName':'s%zu','taskDefinition':'web',"
                                    "'desiredCount':0,'launchType':'FARGATE',%s,"
                                    "'placementStrategy':[%s]}",
                                    i, network, cases[i].strategies),
                         cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_service_has_defaults, setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_clusters_strategy_is_the_default, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(what_is_asked_for_is_refused, setup, world_teardown),
        cmocka_unit_test_setup_teardown(some_members_begin_a_deployment, setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_not_named_stays, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_strategy_takes_its_own_along, setup, world_teardown),
        cmocka_unit_test_setup_teardown(strategies_and_launch_types, setup, world_teardown),
        cmocka_unit_test_setup_teardown(other_controllers_deploy_for_themselves, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_refused_update_changes_nothing, setup, world_teardown),
        cmocka_unit_test_setup_teardown(fargate_may_be_asked_to_spread_over_zones, setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
