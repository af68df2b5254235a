#include "harness.h"
#include "task_fake.h"

#include "base/text.h"
#include "ecs/ecs.h"
#include "identity/identity.h"

#include <stdio.h>
#include <string.h>

#define ROOT "arn:aws:iam::123456789012:root"
#define ANNA "arn:aws:iam::123456789012:user/anna"
#define ROLE "arn:aws:iam::123456789012:role/web"
#define SETTING(name, value, principal)                                                            \
    "{'name':'" name "','value':'" value "','principalArn':'" principal "','type':'user'}"

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

static void put_and_delete_are_of_the_caller(void **state)
{
    struct harness *harness = *state;
    harness->caller.arn = TEXT(ANNA);
    harness_expect(harness, "PutAccountSetting", "{'name':'awsvpcTrunking','value':'enabled'}",
                   "{'setting':" SETTING("awsvpcTrunking", "enabled", ANNA) "}");
    harness_expect(harness, "PutAccountSetting", "{'name':'awsvpcTrunking','value':'disabled'}",
                   "{'setting':" SETTING("awsvpcTrunking", "disabled", ANNA) "}");
    assert_int_equal(core_count(harness->core, &ecs_setting_kind), 1);
    harness_restart(harness);
    harness_expect(harness, "ListAccountSettings", "{}",
                   "{'settings':[" SETTING("awsvpcTrunking", "disabled", ANNA) "]}");
    // What holds after it went is the account's.
    harness_call(harness, "PutAccountSettingDefault",
                 "{'name':'awsvpcTrunking','value':'enabled'}");
    harness_expect(harness, "DeleteAccountSetting", "{'name':'awsvpcTrunking'}",
                   "{'setting':" SETTING("awsvpcTrunking", "enabled", ANNA) "}");
    harness_expect(harness, "DeleteAccountSetting", "{'name':'awsvpcTrunking'}",
                   "{'setting':" SETTING("awsvpcTrunking", "enabled", ANNA) "}");
    harness_expect(harness, "ListAccountSettings", "{}", "{'settings':[]}");
    // Another region has settings of its own.
    harness->caller.region = TEXT("us-east-1");
    harness_expect(harness, "ListAccountSettings",
                   "{'name':'awsvpcTrunking','effectiveSettings':true}",
                   "{'settings':[" SETTING("awsvpcTrunking", "disabled", ANNA) "]}");
}

static void root_speaks_for_all(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "PutAccountSettingDefault",
                   "{'name':'containerInsights','value':'enhanced'}",
                   "{'setting':" SETTING("containerInsights", "enhanced", ROOT) "}");
    harness_expect(harness, "PutAccountSetting",
                   "{'name':'containerInsights','value':'disabled','principalArn':'" ANNA "'}",
                   "{'setting':" SETTING("containerInsights", "disabled", ANNA) "}");
    harness_expect(harness, "ListAccountSettings", "{'principalArn':'" ANNA "'}",
                   "{'settings':[" SETTING("containerInsights", "disabled", ANNA) "]}");
    harness_expect(harness, "ListAccountSettings", "{}",
                   "{'settings':[" SETTING("containerInsights", "enhanced", ROOT) "]}");
    harness->caller.arn = TEXT(ANNA);
    harness_expect(harness, "ListAccountSettings", "{'principalArn':'" ROOT "'}",
                   "AccessDeniedException: You must be the root user, or the principal itself, to "
                   "use principalArn.");
}

// Every session of a role has the role's settings: its ARN in the API is that of the role.
static void a_session_is_its_role(void **state)
{
    struct harness *harness = *state;
    harness->caller.arn = TEXT("arn:aws:sts::123456789012:assumed-role/web/session-1");
    harness_expect(harness, "PutAccountSetting", "{'name':'awsvpcTrunking','value':'enabled'}",
                   "{'setting':" SETTING("awsvpcTrunking", "enabled", ROLE) "}");
    harness->caller.arn = TEXT("arn:aws:sts::123456789012:assumed-role/web/session-2");
    harness_expect(harness, "ListAccountSettings", "{'principalArn':'" ROLE "'}",
                   "{'settings':[" SETTING("awsvpcTrunking", "enabled", ROLE) "]}");
    harness_expect(harness, "ListAccountSettings", "{'principalArn':'" ROOT "'}",
                   "AccessDeniedException: You must be the root user, or the principal itself, to "
                   "use principalArn.");
    harness->caller.arn = TEXT("arn:aws:sts::123456789012:assumed-role/other/session-1");
    harness_expect(harness, "ListAccountSettings", "{}", "{'settings':[]}");
}

static void effective_settings_hold_every_default(void **state)
{
    struct harness *harness = *state;
    static const struct {
        const char *name;
        const char *value;
    } defaults[] = {
        {"awsvpcTrunking", "disabled"},
        {"containerInsights", "disabled"},
        {"containerInstanceLongArnFormat", "enabled"},
        {"defaultLogDriverMode", "non-blocking"},
        {"fargateEventWindows", "disabled"},
        {"fargateFIPSMode", "disabled"},
        {"fargateTaskRetirementWaitPeriod", "7"},
        {"guardDutyActivate", "off"},
        {"serviceLongArnFormat", "enabled"},
        {"tagResourceAuthorization", "on"},
    };
    struct buf want = {0};
    buf_string(&want, "{'settings':[");
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++) {
        bool managed = strcmp(defaults[i].name, "guardDutyActivate") == 0;
        buf_format(&want, "%s{'name':'%s','value':'%s','principalArn':'" ROOT "','type':'%s'}",
                   i == 0 ? "" : ",", defaults[i].name, defaults[i].value,
                   managed ? "aws_managed" : "user");
    }
    buf_string(&want, "],'nextToken':'");
    harness_contains(harness, "ListAccountSettings", "{'effectiveSettings':true}", want.data);
    buf_deinit(&want);
    char token[200];
    harness_member(harness, "nextToken", token, sizeof(token));
    char request[300];
    snprintf(request, sizeof(request), "{'effectiveSettings':true,'nextToken':'%s'}", token);
    harness_expect(harness, "ListAccountSettings", request,
                   "{'settings':[" SETTING("taskLongArnFormat", "enabled", ROOT) "]}");
}

static void list_filters_and_pages(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "ListAccountSettings",
                   "{'effectiveSettings':true,'name':'fargateFIPSMode'}",
                   "{'settings':[" SETTING("fargateFIPSMode", "disabled", ROOT) "]}");
    harness_expect(harness, "ListAccountSettings",
                   "{'effectiveSettings':true,'name':'fargateFIPSMode','value':'enabled'}",
                   "{'settings':[]}");
    harness_call(harness, "PutAccountSetting", "{'name':'awsvpcTrunking','value':'enabled'}");
    harness_call(harness, "PutAccountSetting", "{'name':'taskLongArnFormat','value':'enabled'}");
    harness_contains(harness, "ListAccountSettings", "{'maxResults':1}",
                     "{'settings':[" SETTING("awsvpcTrunking", "enabled", ROOT) "],'nextToken':'");
    char token[200];
    harness_member(harness, "nextToken", token, sizeof(token));
    char request[300];
    snprintf(request, sizeof(request), "{'maxResults':1,'nextToken':'%s'}", token);
    harness_expect(harness, "ListAccountSettings", request,
                   "{'settings':[" SETTING("taskLongArnFormat", "enabled", ROOT) "]}");
}

static void refusals(void **state)
{
    struct harness *harness = *state;
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"PutAccountSetting", "{'name':'awsvpcTrunking','value':'yes'}",
         "InvalidParameterException: The value of the setting awsvpcTrunking should be one of "
         "[disabled,enabled]."},
        {"PutAccountSetting", "{'name':'fargateTaskRetirementWaitPeriod','value':'8'}",
         "InvalidParameterException: The value of the setting fargateTaskRetirementWaitPeriod "
         "should be one of [7,0,14]."},
        {"PutAccountSettingDefault", "{'name':'defaultLogDriverMode','value':'enabled'}",
         "InvalidParameterException: The value of the setting defaultLogDriverMode should be one "
         "of [non-blocking,blocking]."},
        {"PutAccountSetting", "{'name':'taskLongArnFormat','value':'disabled'}",
         "InvalidParameterException: You can no longer disable Long Arn settings"},
        {"PutAccountSettingDefault", "{'name':'serviceLongArnFormat','value':'disabled'}",
         "InvalidParameterException: You can no longer disable Long Arn settings"},
        {"PutAccountSetting", "{'name':'guardDutyActivate','value':'on'}",
         "InvalidParameterException: The setting guardDutyActivate is read-only: it is managed by "
         "another service."},
        {"DeleteAccountSetting", "{'name':'guardDutyActivate'}",
         "InvalidParameterException: The setting guardDutyActivate is read-only: it is managed by "
         "another service."},
        {"PutAccountSetting",
         "{'name':'awsvpcTrunking','value':'enabled',"
         "'principalArn':'arn:aws:iam::000000000000:user/anna'}",
         "InvalidParameterException: Invalid principal ARN: arn:aws:iam::000000000000:user/anna. "
         "Specify the root user, a user or a role of this account."},
        {"ListAccountSettings", "{'principalArn':'anna'}",
         "InvalidParameterException: Invalid principal ARN: anna. Specify the root user, a user "
         "or a role of this account."},
        {"ListAccountSettings", "{'principalArn':'arn:aws:iam::123456789012:user/'}",
         "InvalidParameterException: Invalid principal ARN: arn:aws:iam::123456789012:user/. "
         "Specify the root user, a user or a role of this account."},
        {"ListAccountSettings", "{'value':'enabled'}",
         "InvalidParameterException: You must specify a setting name to filter by value."},
        {"ListAccountSettings", "{'maxResults':11}",
         "InvalidParameterException: maxResults must be between 1 and 10."},
        {"ListAccountSettings", "{'nextToken':'x'}", "InvalidParameterException: Invalid token"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].operation, cases[i].request);
        harness_expect(harness, cases[i].operation, cases[i].request, cases[i].want);
    }
    // The schema refuses names that are none.
    assert_non_null(strstr(harness_call(harness, "PutAccountSetting", "{'name':'x','value':'y'}"),
                           "Member must satisfy enum value set"));
    assert_int_equal(core_count(harness->core, &ecs_setting_kind), 0);
    assert_int_equal(core_count(harness->core, &identity_realm_kind), 0);
}

// Only clusters that come later follow, and what a cluster says itself goes first.
static void container_insights_is_the_default_of_new_clusters(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "CreateCluster", "{'clusterName':'before'}");
    harness_call(harness, "PutAccountSettingDefault",
                 "{'name':'containerInsights','value':'enabled'}");
    harness_contains(harness, "CreateCluster", "{'clusterName':'after'}",
                     "'settings':[{'name':'containerInsights','value':'enabled'}]");
    harness_contains(harness, "CreateCluster",
                     "{'clusterName':'own','settings':[{'name':'containerInsights',"
                     "'value':'enhanced'}]}",
                     "'settings':[{'name':'containerInsights','value':'enhanced'}]");
    harness_contains(harness, "DescribeClusters", "{'clusters':['before'],'include':['SETTINGS']}",
                     "'settings':[{'name':'containerInsights','value':'disabled'}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(put_and_delete_are_of_the_caller, setup, teardown),
        cmocka_unit_test_setup_teardown(root_speaks_for_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_is_its_role, setup, teardown),
        cmocka_unit_test_setup_teardown(effective_settings_hold_every_default, setup, teardown),
        cmocka_unit_test_setup_teardown(list_filters_and_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(container_insights_is_the_default_of_new_clusters, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
