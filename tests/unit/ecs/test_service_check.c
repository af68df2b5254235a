#include "service_world.h"

#define INVALID "InvalidParameterException: "
#define GROUP "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/g/1"
#define BALANCER "{'targetGroupArn':'" GROUP "','containerName':'app','containerPort':80}"
#define ZONES "Availability Zone rebalancing is not supported with "
#define NO_COUNT "'schedulingStrategy':'DAEMON'"

// One container `app` with the port 80, on instances.
static int setup(void **state)
{
    int rc = svc_setup(state);
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'port','containerDefinitions':[{'name':'app','image':'i','memory':"
                     "64,'portMappings':[{'containerPort':80,'name':'http'}]}]}",
                     "port:1");
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'zoned','containerDefinitions':[{'name':'app','image':'i','memory':"
                     "64}],'placementConstraints':[{'type':'memberOf','expression':"
                     "'attribute:ecs.availability-zone == a'}]}",
                     "zoned:1");
    return rc;
}

static void expect(struct world *world, const char *members, const char *want)
{
    print_message("%s\n", members);
    harness_expect(&world->harness, "CreateService",
                   world_text("{'cluster':'c','serviceName':'s',%s}", members), want);
}

static void accept(struct world *world, const char *members)
{
    print_message("%s\n", members);
    harness_contains(&world->harness, "CreateService",
                     world_text("{'cluster':'c','serviceName':'s',%s}", members), "ACTIVE");
    harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'s','force':true}",
                     "DRAINING");
    harness_advance(&world->harness, 0);
}

#define CONFIGURED(members)                                                                        \
    "'taskDefinition':'port','desiredCount':0,'deploymentConfiguration':{" members "}"

static void numbers_have_bounds(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *members;
        const char *refusal; ///< NULL for none
    } cases[] = {
        {"'taskDefinition':'port','desiredCount':-1", "desiredCount cannot be negative."},
        {"'taskDefinition':'port','desiredCount':5001", "desiredCount can be at most 5000."},
        {"'taskDefinition':'port','desiredCount':0,'healthCheckGracePeriodSeconds':-1",
         "healthCheckGracePeriodSeconds must be between 0 and 2147483647."},
        {"'taskDefinition':'port','desiredCount':0,'healthCheckGracePeriodSeconds':2147483647",
         NULL},
        {CONFIGURED("'minimumHealthyPercent':-1"),
         "minimumHealthyPercent must be between 0 and 100."},
        {CONFIGURED("'minimumHealthyPercent':0"), NULL},
        {CONFIGURED("'minimumHealthyPercent':101"),
         "minimumHealthyPercent must be between 0 and 100."},
        {CONFIGURED("'maximumPercent':99"), "maximumPercent must be between 100 and 200."},
        {CONFIGURED("'maximumPercent':200"), NULL},
        {CONFIGURED("'maximumPercent':201"), "maximumPercent must be between 100 and 200."},
        {CONFIGURED("'strategy':'BLUE_GREEN','bakeTimeInMinutes':1440"), NULL},
        {CONFIGURED("'strategy':'BLUE_GREEN','bakeTimeInMinutes':1441"),
         "bakeTimeInMinutes must be between 0 and 1440."},
        {CONFIGURED("'strategy':'LINEAR','linearConfiguration':{'stepPercent':3.0}"), NULL},
        {CONFIGURED("'strategy':'LINEAR','linearConfiguration':{'stepPercent':99.9}"), NULL},
        {CONFIGURED("'strategy':'LINEAR','linearConfiguration':{'stepPercent':2.9}"),
         "stepPercent must be between 3.0 and 100.0, in steps of 0.1."},
        {CONFIGURED("'strategy':'LINEAR','linearConfiguration':{'stepPercent':33.33}"),
         "stepPercent must be between 3.0 and 100.0, in steps of 0.1."},
        {CONFIGURED("'strategy':'CANARY','canaryConfiguration':{'canaryPercent':0.1}"), NULL},
        {CONFIGURED("'strategy':'CANARY','canaryConfiguration':{'canaryPercent':0.0}"),
         "canaryPercent must be between 0.1 and 100.0, in steps of 0.1."},
        {CONFIGURED("'strategy':'CANARY','canaryConfiguration':{'canaryBakeTimeInMinutes':-1}"),
         "canaryBakeTimeInMinutes must be between 0 and 1440."},
        {CONFIGURED("'strategy':'CANARY','linearConfiguration':{}"),
         "linearConfiguration can be specified only with the LINEAR strategy."},
        {CONFIGURED("'strategy':'LINEAR','canaryConfiguration':{}"),
         "canaryConfiguration can be specified only with the CANARY strategy."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].refusal == NULL) {
            accept(world, cases[i].members);
        } else {
            char want[256];
            const char *text = world_text(INVALID "%s", cases[i].refusal);
            assert_int_equal(text_copy(text_of(text), want, sizeof(want)), 0);
            expect(world, cases[i].members, want);
        }
    }
}

#define ALARMS(names) "'alarms':{'alarmNames':[" names "],'enable':true,'rollback':false}"
#define ELEVEN "'a','a','a','a','a','a','a','a','a','a','a'"
#define DEPLOYED "'deploymentController':{'type':'CODE_DEPLOY'},"

static void alarms_and_breakers(void **state)
{
    struct world *world = *state;
    expect(world, CONFIGURED(ALARMS("")),
           INVALID "alarmNames can not be empty when deployment alarms are enabled.");
    expect(world, CONFIGURED(ALARMS("''")), INVALID "An alarm name can not be blank.");
    expect(world, CONFIGURED(ALARMS(ELEVEN)), INVALID "alarmNames can have at most 10 items.");
    accept(world, CONFIGURED("'alarms':{'alarmNames':[],'enable':false,'rollback':false}"));
    accept(world, CONFIGURED(ALARMS("'a'")));
    expect(world, DEPLOYED CONFIGURED(ALARMS("'a'")),
           INVALID "Deployment alarms are supported only with the ECS deployment controller.");
    expect(world,
           DEPLOYED CONFIGURED("'deploymentCircuitBreaker':{'enable':true,'rollback':false}"),
           INVALID
           "The deployment circuit breaker is supported only with the ECS deployment controller.");
    accept(world,
           DEPLOYED CONFIGURED("'deploymentCircuitBreaker':{'enable':false,'rollback':true}"));
    expect(world, DEPLOYED CONFIGURED("'strategy':'BLUE_GREEN'"),
           INVALID "A deployment strategy is supported only with the ECS deployment controller.");
}

static void daemons(void **state)
{
    struct world *world = *state;
    accept(world, "'taskDefinition':'port'," NO_COUNT);
    expect(world, "'taskDefinition':'port'," NO_COUNT ",'placementStrategy':[{'type':'random'}]",
           INVALID "The daemon scheduling strategy does not support placement strategies. Remove "
                   "the placement strategy and try again");
    expect(world,
           "'taskDefinition':'port'," NO_COUNT ",'deploymentConfiguration':{'maximumPercent':150}",
           INVALID "The daemon scheduling strategy does not support values above 100 for "
                   "maximumPercent. Specify 100 and try again.");
    expect(world, "'taskDefinition':'port'," DEPLOYED NO_COUNT,
           INVALID
           "The daemon scheduling strategy is not supported with the CODE_DEPLOY deployment "
           "controller.");
    char members[512];
    const char *text =
        world_text("'taskDefinition':'web','launchType':'FARGATE'," NO_COUNT "," WORLD_NETWORK,
                   world->subnets[0]);
    assert_int_equal(text_copy(text_of(text), members, sizeof(members)), 0);
    expect(world, members,
           INVALID
           "The daemon scheduling strategy does not support the FARGATE launch type. Change "
           "the launch type and try again");
}

// A role is for the one load balancer of tasks that are not in awsvpc.
static void roles(void **state)
{
    struct world *world = *state;
    accept(world, "'taskDefinition':'port','desiredCount':0,'role':'r','loadBalancers':"
                  "[" BALANCER "]");
    expect(world, "'taskDefinition':'port','desiredCount':0,'role':'r'",
           INVALID "You can specify an IAM role only for services that use a load balancer.");
    expect(world,
           "'taskDefinition':'port','desiredCount':0,'role':'r','loadBalancers':[" BALANCER
           "," BALANCER "]",
           INVALID "You cannot specify an IAM role for services that require a service linked "
                   "role.");
}

// What cannot be evened out is DISABLED unless it is asked for, and then refused.
static void zones(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *members;
        const char *refusal; ///< NULL: it can
    } cases[] = {
        {"'taskDefinition':'port','desiredCount':0", NULL},
        {"'taskDefinition':'port'," NO_COUNT, "the daemon scheduling strategy"},
        {CONFIGURED("'maximumPercent':100"), "a maximumPercent of 100"},
        {CONFIGURED("'maximumPercent':101"), NULL},
        {"'taskDefinition':'port','desiredCount':0,'loadBalancers':[{'loadBalancerName':'l',"
         "'containerName':'app','containerPort':80}]",
         "a Classic Load Balancer"},
        {"'taskDefinition':'zoned','desiredCount':0",
         "a placement constraint on ecs.availability-zone"},
        {"'taskDefinition':'port','desiredCount':0,'placementConstraints':[{'type':'memberOf',"
         "'expression':'attribute:rack == r'}]",
         NULL},
        {"'taskDefinition':'port','desiredCount':0,'placementConstraints':[{'type':'memberOf',"
         "'expression':'attribute:ecs.availability-zone exists'}]",
         "a placement constraint on ecs.availability-zone"},
        {"'taskDefinition':'port','desiredCount':0,'placementStrategy':[{'type':'spread','field':"
         "'attribute:ecs.availability-zone'},{'type':'binpack','field':'cpu'}]",
         NULL},
        {"'taskDefinition':'port','desiredCount':0,'placementStrategy':[{'type':'spread','field':"
         "'instanceId'}]",
         "a placement strategy that does not begin with a spread over "
         "attribute:ecs.availability-zone"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char members[512];
        char want[256];
        const char *text =
            world_text("%s,'availabilityZoneRebalancing':'ENABLED'", cases[i].members);
        assert_int_equal(text_copy(text_of(text), members, sizeof(members)), 0);
        if (cases[i].refusal == NULL) {
            accept(world, members);
        } else {
            text = world_text(INVALID ZONES "%s.", cases[i].refusal);
            assert_int_equal(text_copy(text_of(text), want, sizeof(want)), 0);
            expect(world, members, want);
            accept(world, cases[i].members);
        }
    }
}

// What RunTask refuses of tasks, a service refuses when it is made.
static void tasks_are_checked(void **state)
{
    struct world *world = *state;
    expect(world, "'taskDefinition':'port','desiredCount':0,'launchType':'FARGATE'",
           INVALID "Task definition does not support launch_type FARGATE.");
    expect(world, "'taskDefinition':'web','desiredCount':0,'launchType':'FARGATE'",
           INVALID
           "Network Configuration must be provided when networkMode 'awsvpc' is specified.");
    expect(world, "'taskDefinition':'port','desiredCount':0,'platformVersion':'LATEST'",
           INVALID "The platform version must be null when specifying an EC2 launch type.");
    expect(world,
           "'taskDefinition':'port','desiredCount':0,'placementConstraints':[{'type':'memberOf',"
           "'expression':'attribute:'}]",
           harness_call(&world->harness, "RunTask",
                        "{'cluster':'c','taskDefinition':'port','placementConstraints':[{'type':"
                        "'memberOf','expression':'attribute:'}]}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_have_bounds, setup, world_teardown),
        cmocka_unit_test_setup_teardown(alarms_and_breakers, setup, world_teardown),
        cmocka_unit_test_setup_teardown(daemons, setup, world_teardown),
        cmocka_unit_test_setup_teardown(roles, setup, world_teardown),
        cmocka_unit_test_setup_teardown(zones, setup, world_teardown),
        cmocka_unit_test_setup_teardown(tasks_are_checked, setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
