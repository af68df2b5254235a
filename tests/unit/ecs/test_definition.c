#include "harness.h"
#include "task_fake.h"

#include "base/text.h"
#include "ecs/ecs.h"
#include "identity/identity.h"

#include <stdio.h>
#include <string.h>

static const struct core_module *const modules[] = {&identity_module, &ecs_module};

static int setup(void **state)
{
    struct harness *harness = ALLOC(struct harness);
    harness_init(harness, modules, ARRAY_LEN(modules));
    task_fake_in_use(0);
    *state = harness;
    return 0;
}

static int teardown(void **state)
{
    harness_deinit(*state);
    alloc_free(*state);
    return 0;
}

#define ARN "arn:aws:ecs:eu-west-1:123456789012:task-definition/"

/** The smallest definition that ECS takes. */
static void register_plain(struct harness *harness, const char *family)
{
    char request[400];
    snprintf(request, sizeof(request),
             "{'family':'%s','containerDefinitions':[{'name':'a','image':'b','memory':64}]}",
             family);
    harness_contains(harness, "RegisterTaskDefinition", request, "'status':'ACTIVE'");
}

static void change(struct harness *harness, const char *operation, const char *reference)
{
    char request[400];
    snprintf(request, sizeof(request), "{'taskDefinition':'%s'}", reference);
    harness_contains(harness, operation, request, "taskDefinitionArn");
}

// The task definition that people know, without an execution role.
static const char seed[] =
    "{'family':'pinterest-image-processor','networkMode':'awsvpc',"
    "'requiresCompatibilities':['FARGATE'],'cpu':'2048','memory':'4096',"
    "'containerDefinitions':[{'name':'image-processor','image':'pinterest/processor:v2.0',"
    "'cpu':1024,'memory':2048,'portMappings':[{'containerPort':8080,'protocol':'tcp'}],"
    "'environment':[{'name':'REDIS_ENDPOINT','value':'cache.pinterest.internal'}],"
    "'healthCheck':{'command':['CMD-SHELL','curl -f http://localhost:8080/health'],"
    "'interval':30,'timeout':5,'retries':3,'startPeriod':60},"
    "'logConfiguration':{'logDriver':'awslogs','options':{'awslogs-group':'/ecs/pinterest',"
    "'awslogs-region':'us-west-2','awslogs-stream-prefix':'processor'}}},"
    "{'name':'sidecar-cache','image':'redis:6-alpine','cpu':512,'memory':1024,"
    "'essential':false}]}";

static const char seed_shown[] =
    "{'taskDefinition':{'taskDefinitionArn':'" ARN "pinterest-image-processor:1',"
    "'containerDefinitions':[{'name':'image-processor','image':'pinterest/processor:v2.0',"
    "'cpu':1024,'memory':2048,"
    "'portMappings':[{'containerPort':8080,'hostPort':8080,'protocol':'tcp'}],"
    "'essential':true,"
    "'environment':[{'name':'REDIS_ENDPOINT','value':'cache.pinterest.internal'}],"
    "'mountPoints':[],'volumesFrom':[],"
    "'logConfiguration':{'logDriver':'awslogs','options':{'awslogs-group':'/ecs/pinterest',"
    "'awslogs-region':'us-west-2','awslogs-stream-prefix':'processor'}},"
    "'healthCheck':{'command':['CMD-SHELL','curl -f http://localhost:8080/health'],"
    "'interval':30,'timeout':5,'retries':3,'startPeriod':60},'systemControls':[]},"
    "{'name':'sidecar-cache','image':'redis:6-alpine','cpu':512,'memory':1024,"
    "'portMappings':[],'essential':false,'environment':[],'mountPoints':[],'volumesFrom':[],"
    "'systemControls':[]}],"
    "'family':'pinterest-image-processor','networkMode':'awsvpc','revision':1,'volumes':[],"
    "'status':'ACTIVE','requiresAttributes':["
    "{'name':'com.amazonaws.ecs.capability.logging-driver.awslogs'},"
    "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.19'},"
    "{'name':'ecs.capability.container-health-check'},"
    "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.24'},"
    "{'name':'ecs.capability.task-eni'},"
    "{'name':'ecs.capability.task-cpu-mem-limit'},"
    "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.18'}],"
    "'placementConstraints':[],'compatibilities':['EC2','FARGATE'],"
    "'requiresCompatibilities':['FARGATE'],'cpu':'2048','memory':'4096',"
    "'registeredAt':1800000000,'registeredBy':'arn:aws:iam::123456789012:root',"
    "'enableFaultInjection':false}";

static void seed_registers_unedited(void **state)
{
    struct harness *harness = *state;
    char want[sizeof(seed_shown) + 20];
    snprintf(want, sizeof(want), "%s}", seed_shown);
    harness_expect(harness, "RegisterTaskDefinition", seed, want);
    snprintf(want, sizeof(want), "%s,'tags':[]}", seed_shown);
    harness_expect(harness, "DescribeTaskDefinition",
                   "{'taskDefinition':'pinterest-image-processor'}", want);
    harness_restart(harness);
    harness_expect(harness, "DescribeTaskDefinition",
                   "{'taskDefinition':'pinterest-image-processor:1'}", want);
    harness_expect(harness, "DescribeTaskDefinition",
                   "{'taskDefinition':'" ARN "pinterest-image-processor:1'}", want);
}

// --strict refuses for want of the role as ECS does.
static void strict_wants_roles(void **state)
{
    struct harness *harness = *state;
    ecs_set_strict(harness->core, true);
    harness_expect(harness, "RegisterTaskDefinition", seed,
                   "ClientException: Fargate requires task definition to have execution role ARN "
                   "to support log driver awslogs.");
    static const struct {
        const char *container;
        const char *want;
    } cases[] = {
        {"'image':'123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:1'",
         "ClientException: Fargate requires task definition to have execution role ARN to support "
         "ECR images."},
        {"'image':'a','secrets':[{'name':'A','valueFrom':'b'}]",
         "ClientException: When you are specifying container secrets, you must also specify a "
         "value "
         "for 'executionRoleArn'."},
        {"'image':'a','repositoryCredentials':{'credentialsParameter':'b'}",
         "ClientException: Private repository authentication requires that the task definition "
         "specify a value for executionRoleArn."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[500];
        snprintf(request, sizeof(request),
                 "{'family':'f','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],"
                 "'cpu':'256','memory':'512','containerDefinitions':[{'name':'a',%s}]}",
                 cases[i].container);
        harness_expect(harness, "RegisterTaskDefinition", request, cases[i].want);
        ecs_set_strict(harness->core, false);
        harness_contains(harness, "RegisterTaskDefinition", request,
                         "'compatibilities':['EC2','FARGATE']");
        ecs_set_strict(harness->core, true);
    }
}

static void revisions_are_never_used_again(void **state)
{
    struct harness *harness = *state;
    register_plain(harness, "web");
    register_plain(harness, "web");
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web'}", "'revision':2");
    change(harness, "DeregisterTaskDefinition", "web:2");
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web'}", "'revision':1");
    change(harness, "DeregisterTaskDefinition", "web:1");
    harness_contains(harness, "DeleteTaskDefinitions", "{'taskDefinitions':['web:1','web:2']}",
                     "DELETE_IN_PROGRESS");
    harness_advance(harness, 0);
    harness_restart(harness);
    register_plain(harness, "web");
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web'}", "'revision':3");
    // Realms count for themselves.
    harness->caller.account = TEXT("000000000000");
    register_plain(harness, "web");
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web'}", "'revision':1");
}

static void deregister_makes_inactive(void **state)
{
    struct harness *harness = *state;
    register_plain(harness, "web");
    harness->now_ms += 1500;
    harness_contains(harness, "DeregisterTaskDefinition", "{'taskDefinition':'web:1'}",
                     "'status':'INACTIVE'");
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web:1'}",
                     "'deregisteredAt':1800000001.5");
    // Doing it again keeps the date.
    harness->now_ms += 1000;
    harness_contains(harness, "DeregisterTaskDefinition", "{'taskDefinition':'web:1'}",
                     "'deregisteredAt':1800000001.5");
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"DeregisterTaskDefinition", "{'taskDefinition':'web'}",
         "ClientException: Revision is missing."},
        {"DeregisterTaskDefinition", "{'taskDefinition':'web:one'}",
         "InvalidParameterException: Invalid revision number. Number: one"},
        {"DeregisterTaskDefinition", "{'taskDefinition':'web:9'}",
         "ClientException: The specified task definition does not exist."},
        {"DeregisterTaskDefinition", "{'taskDefinition':''}",
         "ClientException: TaskDefinition can not be blank."},
        {"DescribeTaskDefinition", "{'taskDefinition':'web'}",
         "ClientException: Unable to describe task definition."},
        {"DescribeTaskDefinition", "{'taskDefinition':'web:2'}",
         "ClientException: Unable to describe task definition."},
        {"DescribeTaskDefinition", "{'taskDefinition':'web:0'}",
         "ClientException: Unable to describe task definition."},
        {"DescribeTaskDefinition", "{'taskDefinition':'nothing'}",
         "ClientException: Unable to describe task definition."},
        {"DescribeTaskDefinition",
         "{'taskDefinition':'arn:aws:ecs:us-east-1:123456789012:task-definition/web:1'}",
         "ClientException: Unable to describe task definition."},
        {"DescribeTaskDefinition",
         "{'taskDefinition':'arn:aws:ecs:eu-west-1:123456789012:cluster/web:1'}",
         "ClientException: Unable to describe task definition."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].operation, cases[i].request);
        harness_expect(harness, cases[i].operation, cases[i].request, cases[i].want);
    }
}

static void delete_waits_for_tasks(void **state)
{
    struct harness *harness = *state;
    register_plain(harness, "web");
    register_plain(harness, "web");
    harness_expect(harness, "DeleteTaskDefinitions", "{'taskDefinitions':['web:1','web','gone:1']}",
                   "{'taskDefinitions':[],'failures':[{'arn':'web:1','reason':'The specified task "
                   "definition is still in ACTIVE status. Please deregister the target and try "
                   "again.'},{'arn':'web','reason':'The specified task definition does not exist. "
                   "Specify a valid account, family, revision and try again.'},{'arn':'gone:1',"
                   "'reason':'The specified task definition does not exist. Specify a valid "
                   "account, family, revision and try again.'}]}");
    change(harness, "DeregisterTaskDefinition", "web:1");
    task_fake_in_use(1);
    harness_contains(harness, "DeleteTaskDefinitions", "{'taskDefinitions':['" ARN "web:1']}",
                     "'deleteRequestedAt':1800000000");
    harness_advance(harness, 60 * 1000);
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web:1'}",
                     "'status':'DELETE_IN_PROGRESS'");
    task_fake_in_use(0);
    harness_restart(harness);
    harness_advance(harness, 0);
    harness_expect(harness, "DescribeTaskDefinition", "{'taskDefinition':'web:1'}",
                   "ClientException: Unable to describe task definition.");
    harness_expect(harness, "DeleteTaskDefinitions", "{'taskDefinitions':[]}",
                   "InvalidParameterException: size of TaskDefinition references list must be "
                   "greater than 0");
    harness_expect(harness, "DeleteTaskDefinitions",
                   "{'taskDefinitions':['1','2','3','4','5','6','7','8','9','10','11']}",
                   "InvalidParameterException: Size of TaskDefinition references list cannot "
                   "exceed 10");
}

static void delete_looks_again_by_itself(void **state)
{
    struct harness *harness = *state;
    register_plain(harness, "web");
    change(harness, "DeregisterTaskDefinition", "web:1");
    task_fake_in_use(1);
    harness_contains(harness, "DeleteTaskDefinitions", "{'taskDefinitions':['web:1']}", "web:1");
    harness_advance(harness, 0);
    task_fake_in_use(0);
    harness_advance(harness, 59 * 1000);
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web:1'}", "web:1");
    harness_advance(harness, 1000);
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web:1'}", "Unable");
}

static void tags_are_beside_the_definition(void **state)
{
    struct harness *harness = *state;
    harness_contains(harness, "RegisterTaskDefinition",
                     "{'family':'web','tags':[{'key':'a','value':'b'}],"
                     "'containerDefinitions':[{'name':'a','image':'b','memory':64}]}",
                     "},'tags':[{'key':'a','value':'b'}]}");
    harness_contains(harness, "DescribeTaskDefinition", "{'taskDefinition':'web'}", "},'tags':[]}");
    harness_contains(harness, "DescribeTaskDefinition",
                     "{'taskDefinition':'web','include':['TAGS']}",
                     "},'tags':[{'key':'a','value':'b'}]}");
}

static void list_sorts_filters_and_walks(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "ListTaskDefinitions", "{}", "{'taskDefinitionArns':[]}");
    static const char *const families[] = {"web", "api", "web", "web-2", "web"};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        register_plain(harness, families[i]);
    }
    change(harness, "DeregisterTaskDefinition", "web:2");
    static const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {"{}", "['" ARN "api:1','" ARN "web:1','" ARN "web:3','" ARN "web-2:1']"},
        {"{'sort':'DESC'}", "['" ARN "web-2:1','" ARN "web:3','" ARN "web:1','" ARN "api:1']"},
        {"{'familyPrefix':'web'}", "['" ARN "web:1','" ARN "web:3']"},
        {"{'familyPrefix':'we'}", "[]"},
        {"{'status':'INACTIVE'}", "['" ARN "web:2']"},
        {"{'status':'DELETE_IN_PROGRESS'}", "[]"},
        {"{'familyPrefix':'web','sort':'DESC','status':'ACTIVE'}",
         "['" ARN "web:3','" ARN "web:1']"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[600];
        print_message("%s\n", cases[i].request);
        snprintf(want, sizeof(want), "{'taskDefinitionArns':%s}", cases[i].want);
        harness_expect(harness, "ListTaskDefinitions", cases[i].request, want);
    }
}

/** Walk all pages of one entry, and write the revisions seen as digits. */
static void walk(struct harness *harness, const char *sort, char *out_seen)
{
    char request[300];
    char token[200] = "";
    size_t count = 0;
    do {
        snprintf(request, sizeof(request), "{'maxResults':1,'sort':'%s','nextToken':'%s'}", sort,
                 token);
        const char *answer = harness_call(harness, "ListTaskDefinitions", request);
        const char *arn = strstr(answer, "web:");
        if (arn != NULL) {
            out_seen[count] = arn[4];
            count++;
        }
        bool more = strstr(answer, "nextToken") != NULL;
        token[0] = '\0';
        if (more) {
            harness_member(harness, "nextToken", token, sizeof(token));
        }
        assert_true(count < 20);
    } while (token[0] != '\0');
    out_seen[count] = '\0';
}

static void list_pages_lead_through_all(void **state)
{
    struct harness *harness = *state;
    for (int i = 0; i < 5; i++) {
        register_plain(harness, "web");
    }
    char seen[24];
    walk(harness, "ASC", seen);
    assert_string_equal(seen, "12345");
    walk(harness, "DESC", seen);
    assert_string_equal(seen, "54321");
    harness_expect(harness, "ListTaskDefinitions", "{'nextToken':'x'}",
                   "InvalidParameterException: Invalid token");
}

static void families_are_listed_by_prefix_and_status(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "ListTaskDefinitionFamilies", "{}", "{'families':[]}");
    static const char *const families[] = {"web", "api", "web-2", "gone"};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        register_plain(harness, families[i]);
    }
    change(harness, "DeregisterTaskDefinition", "web-2:1");
    change(harness, "DeregisterTaskDefinition", "gone:1");
    harness_call(harness, "DeleteTaskDefinitions", "{'taskDefinitions':['gone:1']}");
    harness_advance(harness, 0);
    static const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {"{}", "{'families':['api','web','web-2']}"},
        {"{'status':'ALL'}", "{'families':['api','web','web-2']}"},
        {"{'status':'ACTIVE'}", "{'families':['api','web']}"},
        {"{'status':'INACTIVE'}", "{'families':['web-2']}"},
        {"{'familyPrefix':'we'}", "{'families':['web','web-2']}"},
        {"{'familyPrefix':'web-'}", "{'families':['web-2']}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].request);
        harness_expect(harness, "ListTaskDefinitionFamilies", cases[i].request, cases[i].want);
    }
    char token[200];
    char request[300];
    harness_contains(harness, "ListTaskDefinitionFamilies", "{'maxResults':1,'familyPrefix':'w'}",
                     "{'families':['web'],");
    harness_member(harness, "nextToken", token, sizeof(token));
    snprintf(request, sizeof(request), "{'familyPrefix':'w','nextToken':'%s'}", token);
    harness_expect(harness, "ListTaskDefinitionFamilies", request, "{'families':['web-2']}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(seed_registers_unedited, setup, teardown),
        cmocka_unit_test_setup_teardown(strict_wants_roles, setup, teardown),
        cmocka_unit_test_setup_teardown(revisions_are_never_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(deregister_makes_inactive, setup, teardown),
        cmocka_unit_test_setup_teardown(delete_waits_for_tasks, setup, teardown),
        cmocka_unit_test_setup_teardown(delete_looks_again_by_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(tags_are_beside_the_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(list_sorts_filters_and_walks, setup, teardown),
        cmocka_unit_test_setup_teardown(list_pages_lead_through_all, setup, teardown),
        cmocka_unit_test_setup_teardown(families_are_listed_by_prefix_and_status, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
