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
    task_fake_counts(0, 0, 0);
    *state = harness;
    return 0;
}

static int teardown(void **state)
{
    harness_deinit(*state);
    alloc_free(*state);
    return 0;
}

#define ARN "arn:aws:ecs:eu-west-1:123456789012:cluster/"
#define INSIGHTS_OFF "'settings':[{'name':'containerInsights','value':'disabled'}]"

/** A cluster as the API shows it, from `status` on, with what include adds. */
#define SHOWN(name, statistics, tags, settings)                                                    \
    "{'clusterArn':'" ARN name "','clusterName':'" name "','status':'ACTIVE',"                     \
    "'registeredContainerInstancesCount':0,'runningTasksCount':0,'pendingTasksCount':0,"           \
    "'activeServicesCount':0,'statistics':[" statistics "],'tags':[" tags "]," settings            \
    ",'capacityProviders':[],'defaultCapacityProviderStrategy':[]}"

static void create_makes_default_and_named(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "CreateCluster", "{}",
                   "{'cluster':" SHOWN("default", "", "", INSIGHTS_OFF) "}");
    harness_expect(harness, "CreateCluster", "{'clusterName':'web'}",
                   "{'cluster':" SHOWN("web", "", "", INSIGHTS_OFF) "}");
    // Calling again changes nothing, whatever else it says.
    uint64_t version = core_version(harness->core);
    harness_expect(harness, "CreateCluster",
                   "{'clusterName':'web','tags':[{'key':'a','value':'b'}]}",
                   "{'cluster':" SHOWN("web", "", "", INSIGHTS_OFF) "}");
    assert_int_equal(core_version(harness->core), version);
}

static void create_refuses(void **state)
{
    struct harness *harness = *state;
    static const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {"{'clusterName':'no spaces'}",
         "InvalidParameterException: Cluster name contains invalid characters."},
        {"{'clusterName':'ä'}",
         "InvalidParameterException: Cluster name contains invalid characters."},
        {"{'settings':[{'name':'containerInsights','value':'on'}]}",
         "InvalidParameterException: Invalid cluster setting: containerInsights must be one of "
         "[enabled,disabled,enhanced]."},
        {"{'capacityProviders':['mine']}",
         "InvalidParameterException: The specified capacity provider 'mine' was not found. Specify "
         "a valid capacity provider and try again."},
        {"{'capacityProviders':['FARGATE','FARGATE']}",
         "InvalidParameterException: The capacity provider 'FARGATE' is specified twice."},
        {"{'defaultCapacityProviderStrategy':[{'capacityProvider':'FARGATE','weight':1}]}",
         "InvalidParameterException: The specified capacity provider strategy contains a capacity "
         "provider that is not associated with the cluster. Associate the capacity provider with "
         "the cluster and try again."},
        {"{'capacityProviders':['FARGATE','FARGATE_SPOT'],'defaultCapacityProviderStrategy':["
         "{'capacityProvider':'FARGATE','base':1,'weight':1},"
         "{'capacityProvider':'FARGATE_SPOT','base':1}]}",
         "InvalidParameterException: Only one capacity provider of a strategy can have a base."},
        {"{'capacityProviders':['FARGATE','FARGATE_SPOT'],'defaultCapacityProviderStrategy':["
         "{'capacityProvider':'FARGATE'},{'capacityProvider':'FARGATE_SPOT'}]}",
         "InvalidParameterException: At least one capacity provider of a strategy must have a "
         "weight greater than 0."},
        {"{'tags':[{'key':'aws:x','value':'b'}]}",
         "InvalidParameterException: Tag keys that begin with 'aws:' are reserved. Key: aws:x"},
        {"{'tags':[{'key':'x','value':'b'},{'key':'x','value':'c'}]}",
         "InvalidParameterException: Duplicate tag keys found. Key: x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].request);
        harness_expect(harness, "CreateCluster", cases[i].request, cases[i].want);
    }
    char request[400] = "{'clusterName':'";
    memset(request + strlen(request), 'a', 256);
    strncat(request, "'}", sizeof(request) - strlen(request) - 1);
    harness_expect(harness, "CreateCluster", request,
                   "InvalidParameterException: Cluster name cannot be longer than 255 characters.");
    // Nothing was made on the way, not even a realm.
    assert_int_equal(core_count(harness->core, &identity_realm_kind), 0);
}

static void describe_shows_what_include_asks(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster",
                 "{'clusterName':'web','tags':[{'key':'a','value':'b'}],"
                 "'configuration':{'executeCommandConfiguration':{'logging':'NONE'}}}");
    harness_restart(harness);
    harness_expect(harness, "DescribeClusters", "{'clusters':['web','" ARN "gone','gone']}",
                   "{'clusters':[" SHOWN(
                       "web", "", "", "'settings':[]") "],'failures':["
                                                       "{'arn':'" ARN "gone','reason':'MISSING'},"
                                                       "{'arn':'" ARN
                                                       "gone','reason':'MISSING'}]}");
    harness_contains(harness, "DescribeClusters", "{'clusters':['" ARN "web'],'include':['TAGS']}",
                     "'tags':[{'key':'a','value':'b'}],'settings':[]");
    harness_contains(harness, "DescribeClusters", "{'clusters':['web'],'include':['SETTINGS']}",
                     "'tags':[]," INSIGHTS_OFF);
    harness_contains(harness, "DescribeClusters",
                     "{'clusters':['web'],'include':['CONFIGURATIONS']}",
                     "'configuration':{'executeCommandConfiguration':{'logging':'NONE'}}");
    harness_contains(harness, "DescribeClusters", "{'clusters':['web'],'include':['ATTACHMENTS']}",
                     "'attachments':[]");
    harness_contains(harness, "DescribeClusters", "{'clusters':['web'],'include':['STATISTICS']}",
                     "{'name':'runningFargateTasksCount','value':'0'}");
    // Without names it is about `default`, which does not exist by itself.
    harness_expect(harness, "DescribeClusters", "{}",
                   "{'clusters':[],'failures':[{'arn':'" ARN "default','reason':'MISSING'}]}");
    // An ARN of another account or region names nothing here.
    harness_contains(harness, "DescribeClusters",
                     "{'clusters':['arn:aws:ecs:eu-west-1:000000000000:cluster/web']}",
                     "'clusters':[]");
    harness->caller.region = TEXT("us-east-1");
    harness_contains(harness, "DescribeClusters", "{'clusters':['web']}", "'clusters':[]");
}

static void describe_counts(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{}");
    task_fake_counts(1, 2, 3);
    harness_contains(harness, "DescribeClusters", "{}",
                     "'registeredContainerInstancesCount':1,'runningTasksCount':2,"
                     "'pendingTasksCount':3");
}

static void strategy_is_echoed_in_full(void **state)
{
    struct harness *harness = *state;
    harness_contains(harness, "CreateCluster",
                     "{'capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[{'capacityProvider':'FARGATE_SPOT',"
                     "'weight':1}],'serviceConnectDefaults':{'namespace':'local'}}",
                     "'capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[{'capacityProvider':'FARGATE_SPOT',"
                     "'weight':1,'base':0}],'serviceConnectDefaults':{'namespace':'local'}");
}

static void describe_is_bounded(void **state)
{
    struct harness *harness = *state;
    struct buf request = {0};
    buf_string(&request, "{'clusters':['a'");
    for (int i = 0; i < 100; i++) {
        buf_string(&request, ",'a'");
    }
    buf_string(&request, "]}");
    harness_expect(harness, "DescribeClusters", request.data,
                   "InvalidParameterException: clusters can have at most 100 items.");
    buf_deinit(&request);
}

static void delete_needs_an_empty_cluster(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{'clusterName':'web'}");
    harness_expect(harness, "DeleteCluster", "{'cluster':'none'}",
                   "ClusterNotFoundException: Cluster not found.");
    task_fake_counts(1, 1, 0);
    harness_expect(harness, "DeleteCluster", "{'cluster':'web'}",
                   "ClusterContainsContainerInstancesException: The Cluster cannot be deleted "
                   "while Container Instances are active or draining.");
    task_fake_counts(0, 0, 1);
    harness_expect(harness, "DeleteCluster", "{'cluster':'web'}",
                   "ClusterContainsTasksException: The Cluster cannot be deleted while Tasks are "
                   "active.");
    task_fake_counts(0, 0, 0);
    harness_contains(harness, "DeleteCluster", "{'cluster':'" ARN "web'}", "'status':'INACTIVE'");
    // It can still be described, but it is in no list and nothing else finds it.
    harness_contains(harness, "DescribeClusters", "{'clusters':['web']}", "'status':'INACTIVE'");
    harness_expect(harness, "ListClusters", "{}", "{'clusterArns':[]}");
    harness_expect(harness, "DeleteCluster", "{'cluster':'web'}",
                   "ClusterNotFoundException: Cluster not found.");
    harness_contains(harness, "CreateCluster", "{'clusterName':'web'}", "'status':'ACTIVE'");
    harness_expect(harness, "ListClusters", "{}", "{'clusterArns':['" ARN "web']}");
}

#define DAY_MS (24 * 3600 * INT64_C(1000))

static void inactive_clusters_go_after_a_week(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{'clusterName':'web'}");
    harness_call(harness, "CreateCluster", "{'clusterName':'again'}");
    harness_call(harness, "DeleteCluster", "{'cluster':'web'}");
    harness_call(harness, "DeleteCluster", "{'cluster':'again'}");
    harness_call(harness, "CreateCluster", "{'clusterName':'again'}");
    harness_advance(harness, 6 * DAY_MS);
    harness_restart(harness);
    harness_advance(harness, DAY_MS - 1);
    harness_contains(harness, "DescribeClusters", "{'clusters':['web']}", "'status':'INACTIVE'");
    // Its stopped tasks are shown for as long as they are kept, and they name it.
    task_fake_referenced(true);
    harness_advance(harness, 1);
    harness_contains(harness, "DescribeClusters", "{'clusters':['web']}", "'status':'INACTIVE'");
    task_fake_referenced(false);
    harness_advance(harness, DAY_MS);
    harness_contains(harness, "DescribeClusters", "{'clusters':['web']}", "'reason':'MISSING'");
    harness_contains(harness, "DescribeClusters", "{'clusters':['again']}", "'status':'ACTIVE'");
    assert_int_equal(core_count(harness->core, &ecs_cluster_kind), 1);
}

static void list_walks_pages(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "ListClusters", "{}", "{'clusterArns':[]}");
    static const char *const names[] = {"c", "a", "b", "d"};
    char request[300];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(request, sizeof(request), "{'clusterName':'%s'}", names[i]);
        harness_call(harness, "CreateCluster", request);
    }
    harness_contains(harness, "ListClusters", "{'maxResults':2}",
                     "{'clusterArns':['" ARN "a','" ARN "b'],'nextToken':'");
    char token[200];
    harness_member(harness, "nextToken", token, sizeof(token));
    // What the token names may be gone, and something may have come before it.
    harness_call(harness, "DeleteCluster", "{'cluster':'b'}");
    harness_call(harness, "CreateCluster", "{'clusterName':'aa'}");
    snprintf(request, sizeof(request), "{'maxResults':2,'nextToken':'%s'}", token);
    harness_expect(harness, "ListClusters", request, "{'clusterArns':['" ARN "c','" ARN "d']}");
    harness_restart(harness);
    harness_expect(harness, "ListClusters", request, "{'clusterArns':['" ARN "c','" ARN "d']}");
}

// What a configuration names is kept with the cluster as it is: each text of it is bounded.
static void texts_of_a_configuration_are_bounded(void **state)
{
    struct harness *harness = *state;
    static const struct {
        const char *front;
        const char *name;
        const char *back;
        int most;
    } cases[] = {
        {"'executeCommandConfiguration':{", "kmsKeyId", "}", 2048},
        {"'executeCommandConfiguration':{'logging':'OVERRIDE','logConfiguration':{",
         "cloudWatchLogGroupName", "}}", 512},
        {"'executeCommandConfiguration':{'logging':'OVERRIDE','logConfiguration':{", "s3BucketName",
         "}}", 255},
        {"'executeCommandConfiguration':{'logging':'OVERRIDE','logConfiguration':{", "s3KeyPrefix",
         "}}", 1024},
        {"'managedStorageConfiguration':{", "kmsKeyId", "}", 2048},
        {"'managedStorageConfiguration':{", "fargateEphemeralStorageKmsKeyId", "}", 2048},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        for (int more = 0; more < 2; more++) {
            char long_text[2100];
            memset(long_text, 'x', sizeof(long_text));
            AUTO(buf_deinit) struct buf request = {0};
            buf_format(&request, "{'configuration':{%s'%s':'%.*s'%s}}", cases[i].front,
                       cases[i].name, cases[i].most + more, long_text, cases[i].back);
            char want[200];
            snprintf(want, sizeof(want),
                     more == 0 ? "'clusterName':'default'"
                               : "InvalidParameterException: %s cannot be longer than %d "
                                 "characters.",
                     cases[i].name, cases[i].most);
            harness_contains(harness, "CreateCluster", request.data, want);
        }
    }
}

static void list_refuses(void **state)
{
    struct harness *harness = *state;
    static const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {"{'nextToken':'x'}", "InvalidParameterException: Invalid token"},
        {"{'nextToken':'0000000061'}", "InvalidParameterException: Invalid token"},
        {"{'nextToken':'zzzzzzzzzz'}", "InvalidParameterException: Invalid token"},
        {"{'maxResults':0}", "InvalidParameterException: maxResults must be between 1 and 100."},
        {"{'maxResults':101}", "InvalidParameterException: maxResults must be between 1 and 100."},
        {"{'nextToken':''}", "{'clusterArns':[]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].request);
        harness_expect(harness, "ListClusters", cases[i].request, cases[i].want);
    }
}

static void find_takes_names_and_arns(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{}");
    harness_call(harness, "CreateCluster", "{'clusterName':'web'}");
    int64_t realm = identity_realm(harness->core, TEXT("123456789012"), TEXT("eu-west-1"));
    static const struct {
        const char *reference;
        bool want;
    } cases[] = {
        {"web", true},
        {"", true},
        {ARN "web", true},
        {"Web", false},
        {ARN, false},
        {"arn:aws:ecs:eu-west-1:123456789012:task/web", false},
        {"arn:aws:ecs:us-east-1:123456789012:cluster/web", false},
        {"arn:aws:ec2:eu-west-1:123456789012:cluster/web", false},
        {"arn:", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].reference);
        int64_t cluster = ecs_cluster_find(harness->core, realm, text_of(cases[i].reference));
        assert_int_equal(cluster != 0, cases[i].want);
    }
    assert_int_not_equal(ecs_cluster_find(harness->core, realm, (struct text){0}), 0);
    assert_int_equal(ecs_cluster_find(harness->core, 0, TEXT("web")), 0);
    char longer[600];
    memset(longer, 'a', sizeof(longer));
    assert_int_equal(ecs_cluster_find(harness->core, realm, (struct text){longer, sizeof(longer)}),
                     0);
}

static void statistics_are_split_by_launch_type(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{}");
    task_fake_counts(0, 9, 8);
    task_fake_launch(2, 1, 3, 4);
    harness_contains(harness, "DescribeClusters", "{'include':['STATISTICS']}",
                     "'statistics':[{'name':'runningEC2TasksCount','value':'2'},"
                     "{'name':'pendingEC2TasksCount','value':'1'},"
                     "{'name':'runningFargateTasksCount','value':'4'},"
                     "{'name':'pendingFargateTasksCount','value':'3'},"
                     "{'name':'runningExternalTasksCount','value':'3'},"
                     "{'name':'pendingExternalTasksCount','value':'4'},"
                     "{'name':'activeEC2ServiceCount','value':'0'}");
}

static void update_changes_what_is_given(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster",
                 "{'clusterName':'web','serviceConnectDefaults':{'namespace':'local'},"
                 "'tags':[{'key':'a','value':'b'}]}");
    harness_contains(harness, "UpdateCluster",
                     "{'cluster':'web','settings':[{'name':'containerInsights',"
                     "'value':'enhanced'}]}",
                     "'settings':[{'name':'containerInsights','value':'enhanced'}]");
    harness_contains(harness, "UpdateCluster",
                     "{'cluster':'" ARN "web','configuration':{'executeCommandConfiguration':"
                     "{'logging':'OVERRIDE','logConfiguration':{'s3BucketName':'b'}}}}",
                     "'configuration':{'executeCommandConfiguration':{'logging':'OVERRIDE',"
                     "'logConfiguration':{'s3BucketName':'b'}}}");
    harness_restart(harness);
    harness_contains(harness, "UpdateClusterSettings",
                     "{'cluster':'web','settings':[{'name':'containerInsights',"
                     "'value':'enabled'}]}",
                     "'tags':[{'key':'a','value':'b'}],'settings':[{'name':'containerInsights',"
                     "'value':'enabled'}],'capacityProviders':[],"
                     "'defaultCapacityProviderStrategy':[],'serviceConnectDefaults':"
                     "{'namespace':'local'}");
    harness_contains(harness, "DescribeClusters",
                     "{'clusters':['web'],'include':['CONFIGURATIONS','SETTINGS']}",
                     "'logging':'OVERRIDE'");
    harness_contains(harness, "UpdateCluster",
                     "{'cluster':'web','serviceConnectDefaults':{'namespace':'other'}}",
                     "'serviceConnectDefaults':{'namespace':'other'}");
    harness_contains(harness, "UpdateCluster",
                     "{'cluster':'web','serviceConnectDefaults':{'namespace':''}}",
                     "'defaultCapacityProviderStrategy':[]}}");
}

static void update_refuses(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{}");
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"UpdateCluster", "{'cluster':''}", "InvalidParameterException: Cluster can not be blank."},
        {"UpdateCluster", "{'cluster':'none'}", "ClusterNotFoundException: Cluster not found."},
        {"UpdateCluster",
         "{'cluster':'default','settings':[{'name':'containerInsights','value':'on'}]}",
         "InvalidParameterException: Invalid cluster setting: containerInsights must be one of "
         "[enabled,disabled,enhanced]."},
        {"UpdateCluster",
         "{'cluster':'default','settings':[{'name':'containerInsights','value':'enabled'},"
         "{'name':'containerInsights','value':'enabled'}]}",
         "InvalidParameterException: Invalid cluster setting: containerInsights is given twice."},
        {"UpdateCluster",
         "{'cluster':'default','configuration':{'executeCommandConfiguration':"
         "{'logging':'OVERRIDE'}}}",
         "InvalidParameterException: Log configuration must be specified when logging is "
         "OVERRIDE."},
        {"UpdateCluster",
         "{'cluster':'default','configuration':{'executeCommandConfiguration':"
         "{'logConfiguration':{}}}}",
         "InvalidParameterException: Log configuration can only be specified when logging is "
         "OVERRIDE."},
        {"UpdateClusterSettings", "{'cluster':'default','settings':[]}",
         "InvalidParameterException: Cluster settings can not be blank."},
        {"UpdateClusterSettings", "{'cluster':'none','settings':[]}",
         "ClusterNotFoundException: Cluster not found."},
        {"PutClusterCapacityProviders",
         "{'cluster':'none','capacityProviders':[],'defaultCapacityProviderStrategy':[]}",
         "ClusterNotFoundException: Cluster not found."},
        {"PutClusterCapacityProviders",
         "{'cluster':'default','capacityProviders':['mine'],'defaultCapacityProviderStrategy':[]}",
         "InvalidParameterException: The specified capacity provider 'mine' was not found. Specify "
         "a valid capacity provider and try again."},
        {"PutClusterCapacityProviders",
         "{'cluster':'default','capacityProviders':['FARGATE'],'defaultCapacityProviderStrategy':"
         "[{'capacityProvider':'FARGATE_SPOT','weight':1}]}",
         "InvalidParameterException: The specified capacity provider strategy contains a capacity "
         "provider that is not associated with the cluster. Associate the capacity provider with "
         "the cluster and try again."},
        {"DeleteCluster", "{'cluster':''}", "InvalidParameterException: Cluster can not be blank."},
    };
    uint64_t version = core_version(harness->core);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].operation, cases[i].request);
        harness_expect(harness, cases[i].operation, cases[i].request, cases[i].want);
    }
    assert_int_equal(core_version(harness->core), version);
}

static void providers_are_replaced_unless_in_use(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{}");
    harness_contains(harness, "PutClusterCapacityProviders",
                     "{'cluster':'default','capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[{'capacityProvider':'FARGATE'}]}",
                     "'capacityProviders':['FARGATE','FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[{'capacityProvider':'FARGATE','weight':0,"
                     "'base':0}]");
    task_fake_provider("FARGATE_SPOT");
    harness_expect(harness, "PutClusterCapacityProviders",
                   "{'cluster':'default','capacityProviders':['FARGATE'],"
                   "'defaultCapacityProviderStrategy':[]}",
                   "ResourceInUseException: The specified capacity provider is in use and cannot "
                   "be removed.");
    task_fake_provider(NULL);
    harness_contains(harness, "PutClusterCapacityProviders",
                     "{'cluster':'default','capacityProviders':[],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "'capacityProviders':[],'defaultCapacityProviderStrategy':[]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(create_makes_default_and_named, setup, teardown),
        cmocka_unit_test_setup_teardown(create_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(describe_shows_what_include_asks, setup, teardown),
        cmocka_unit_test_setup_teardown(describe_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(statistics_are_split_by_launch_type, setup, teardown),
        cmocka_unit_test_setup_teardown(update_changes_what_is_given, setup, teardown),
        cmocka_unit_test_setup_teardown(update_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(providers_are_replaced_unless_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(strategy_is_echoed_in_full, setup, teardown),
        cmocka_unit_test_setup_teardown(describe_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(delete_needs_an_empty_cluster, setup, teardown),
        cmocka_unit_test_setup_teardown(inactive_clusters_go_after_a_week, setup, teardown),
        cmocka_unit_test_setup_teardown(list_walks_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(list_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_of_a_configuration_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(find_takes_names_and_arns, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
