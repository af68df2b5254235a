#include "../ecs/harness.h"

#include "base/text.h"
#include "identity/identity.h"
#include "secrets/parameter.h"
#include "secrets/secrets.h"
#include "server/seal_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct core_module *const modules[] = {&identity_module, &secrets_module,
                                                    &parameter_module};

struct world {
    struct harness harness;
    struct seal_key *key;
};

static int setup(void **state)
{
    struct world *world = ALLOC(struct world);
    char path[] = "/tmp/berth-parameters-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    struct err err = {0};
    bool made = false;
    assert_int_equal(seal_key_open(path, &world->key, &made, &err), 0);
    unlink(path);
    harness_init(&world->harness, modules, ARRAY_LEN(modules));
    secrets_set_cipher(world->harness.core, seal_key_cipher(world->key));
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    harness_deinit(&world->harness);
    seal_key_free(world->key);
    alloc_free(world);
    return 0;
}

static void put(struct harness *harness, const char *name, const char *type, const char *value)
{
    char request[9000];
    snprintf(request, sizeof(request), "{'Name':'%s','Type':'%s','Value':'%s','Overwrite':true}",
             name, type, value);
    harness_contains(harness, "PutParameter", request, "\"Version\":");
}

// ---- names --------------------------------------------------------------------------------------

static void a_reference_names_a_version(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    put(harness, "/app/db", "String", "one");
    put(harness, "/app/db", "String", "two");
    put(harness, "plain", "String", "three");
    harness_expect(harness, "LabelParameterVersion",
                   "{'Name':'/app/db','ParameterVersion':1,'Labels':['stable']}",
                   "{'InvalidLabels':[],'ParameterVersion':1}");
    static const struct {
        const char *name;
        const char *want;
    } cases[] = {
        {"/app/db", "\"Value\":\"two\",\"Version\":2,"},
        {"/app/db:1", "\"Value\":\"one\",\"Version\":1,\"Selector\":\":1\""},
        {"/app/db:stable", "\"Value\":\"one\",\"Version\":1,\"Selector\":\":stable\""},
        {"arn:aws:ssm:eu-west-1:123456789012:parameter/app/db", "\"Name\":\"/app/db\""},
        {"arn:aws:ssm:eu-west-1:123456789012:parameter/app/db:1", "\"Value\":\"one\""},
        {"arn:aws:ssm:eu-west-1:123456789012:parameter/plain", "\"Name\":\"plain\""},
        {"plain", "\"ARN\":\"arn:aws:ssm:eu-west-1:123456789012:parameter/plain\""},
        {"/app/db:3", "ParameterVersionNotFound: Systems Manager could not find version 3 of "
                      "/app/db. Verify the version and try again."},
        {"/app/db:0", "ParameterVersionNotFound: "},
        {"/app/db:", "ParameterVersionNotFound: Systems Manager could not find label "},
        {"/app/db:nothing", "ParameterVersionNotFound: Systems Manager could not find label "
                            "nothing of /app/db. Verify the label and try again."},
        {"/app", "ParameterNotFound: Parameter /app not found."},
        {"db", "ParameterNotFound: "},
        {"arn:aws:ssm:eu-west-2:123456789012:parameter/app/db", "ParameterNotFound: "},
        {"arn:aws:ssm:eu-west-1:123456789013:parameter/app/db", "ParameterNotFound: "},
        {"arn:aws:ssm:eu-west-1:123456789012:parameters/app/db", "ParameterNotFound: "},
        {"arn:aws:ssm:eu-west-1:123456789012:parameter/", "ParameterNotFound: "},
        {"arn:aws:ssm:", "ParameterNotFound: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        char request[256];
        snprintf(request, sizeof(request), "{'Name':'%s'}", cases[i].name);
        harness_contains(harness, "GetParameter", request, cases[i].want);
    }
    harness_contains(harness, "GetParameters",
                     "{'Names':['/app/db:1','nowhere','/app/db:9','plain','plain']}",
                     "\"InvalidParameters\":[\"nowhere\",\"/app/db:9\"]");
    assert_non_null(strstr(harness->answer.data, "\"Value\":\"one\""));
    assert_non_null(strstr(harness->answer.data, "\"Value\":\"three\""));
}

static void refusals_are_aws_own(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    put(harness, "there", "String", "x");
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"PutParameter", "{'Name':'there','Type':'String','Value':'y'}",
         "ParameterAlreadyExists: The parameter already exists. To overwrite this value, set the "
         "overwrite option in the request to true."},
        {"PutParameter", "{'Name':'new','Value':'y'}",
         "ValidationException: A parameter type is required when you create a parameter."},
        {"PutParameter", "{'Name':'new','Type':'String','Value':''}",
         "ValidationException: 1 validation error detected: Value '' at 'value' failed to satisfy "
         "constraint: Member must have length greater than or equal to 1."},
        {"PutParameter",
         "{'Name':'there','Value':'y','Overwrite':true,'Tags':[{'Key':'k','Value':'v'}]}",
         "ValidationException: Invalid request: tags and overwrite can't be used together. To "
         "create a parameter with tags, please remove overwrite flag. To update tags for an "
         "existing parameter, please use AddTagsToResource or RemoveTagsFromResource."},
        {"PutParameter", "{'Name':'awsome','Type':'String','Value':'y'}",
         "ValidationException: Parameter name: can't be prefixed with \"aws\" or \"ssm\" "
         "(case-insensitive)."},
        {"PutParameter", "{'Name':'a/b','Type':'String','Value':'y'}",
         "ValidationException: Parameter name must be a fully qualified name."},
        {"PutParameter",
         "{'Name':'/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16','Type':'String','Value':'y'}",
         "HierarchyLevelLimitExceededException: A hierarchy can have a maximum of 15 levels."},
        {"PutParameter", "{'Name':'n','Type':'String','Value':'y','AllowedPattern':'a+'}",
         "InvalidAllowedPatternException: Values are not held against patterns here. Leave "
         "AllowedPattern out."},
        {"PutParameter", "{'Name':'n','Type':'String','Value':'y','Policies':'[{}]'}",
         "InvalidPolicyTypeException: Parameter policies are not built in Berth. Leave Policies "
         "out."},
        {"PutParameter", "{'Name':'n','Type':'String','Value':'y','DataType':'aws:ec2:image'}",
         "ValidationException: The following data type is not supported: aws:ec2:image (Data type "
         "names are all lowercase.)"},
        {"PutParameter", "{'Name':'n','Type':'String','Value':'y','KeyId':'alias/mine'}",
         "ValidationException: KeyId can be used with parameters of the type SecureString only."},
        {"DeleteParameter", "{'Name':'nowhere'}",
         "ParameterNotFound: Parameter nowhere not found."},
        {"GetParametersByPath", "{'Path':'app'}",
         "ValidationException: The parameter doesn't meet the parameter name requirements. The "
         "parameter name must begin with a forward slash \"/\". It can't be prefixed with \"aws\" "
         "or \"ssm\" (case-insensitive). It must use only letters, numbers, or the following "
         "symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All "
         "sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: "
         "/get/parameters2-/by1./path0_."},
        {"GetParametersByPath", "{'Path':'/','NextToken':'x'}",
         "InvalidNextToken: The specified token isn't valid."},
        {"GetParametersByPath", "{'Path':'/','ParameterFilters':[{'Key':'Name','Values':['x']}]}",
         "InvalidFilterKey: The following filter key is not valid: Name. Valid filter keys "
         "include: [Type, KeyId]."},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'Label','Values':['x']}]}",
         "InvalidFilterKey: The following filter key is not valid: Label. Valid filter keys "
         "include: [Path, Name, Type, KeyId, Tier]."},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'Type'}]}",
         "InvalidFilterValue: The following filter values are missing : null for filter key Type."},
        {"DescribeParameters",
         "{'ParameterFilters':[{'Key':'Type','Option':'Contains','Values':['x']}]}",
         "InvalidFilterOption: The following filter option is not valid: Contains. Valid options "
         "include: [BeginsWith, Equals]."},
        {"DescribeParameters",
         "{'ParameterFilters':[{'Key':'Path','Option':'Equals','Values':['/x']}]}",
         "InvalidFilterOption: The following filter option is not valid: Equals. Valid options "
         "include: [Recursive, OneLevel]."},
        {"DescribeParameters",
         "{'ParameterFilters':[{'Key':'Name','Values':['x']},{'Key':'Name','Values':['y']}]}",
         "InvalidFilterKey: The following filter is duplicated in the request: Name. A request can "
         "contain only one occurrence of a specific filter."},
        {"DescribeParameters",
         "{'ParameterFilters':[{'Key':'Name','Values':['x']}],"
         "'Filters':[{'Key':'Name','Values':['x']}]}",
         "ValidationException: You can use either Filters or ParameterFilters in a single "
         "request."},
        {"LabelParameterVersion", "{'Name':'there','ParameterVersion':2,'Labels':['a']}",
         "ParameterVersionNotFound: Systems Manager could not find version 2 of there. Verify the "
         "version and try again."},
        {"AddTagsToResource",
         "{'ResourceType':'Document','ResourceId':'there','Tags':[{'Key':'a','Value':'b'}]}",
         "InvalidResourceType: Invalid Resource Type"},
        {"AddTagsToResource",
         "{'ResourceType':'Parameter','ResourceId':'nowhere','Tags':[{'Key':'a','Value':'b'}]}",
         "InvalidResourceId: Invalid Resource Id"},
        {"AddTagsToResource",
         "{'ResourceType':'Parameter','ResourceId':'there','Tags':[{'Key':'aws:a','Value':'b'}]}",
         "ValidationException: Tag keys that begin with 'aws:' are reserved. Key: aws:a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].operation, cases[i].request);
        assert_string_equal(harness_call(harness, cases[i].operation, cases[i].request),
                            cases[i].want);
    }
}

// ---- tiers --------------------------------------------------------------------------------------

static const char *put_sized(struct harness *harness, const char *tier, int size)
{
    static char request[10000];
    char value[9001];
    memset(value, 'x', sizeof(value));
    snprintf(request, sizeof(request),
             "{'Name':'sized','Type':'String','Overwrite':true%s%s%s,'Value':'%.*s'}",
             tier == NULL ? "" : ",'Tier':'", tier == NULL ? "" : tier, tier == NULL ? "" : "'",
             size, value);
    return harness_call(harness, "PutParameter", request);
}

static void tiers_bound_values(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    assert_non_null(strstr(put_sized(harness, NULL, 4096), "\"Tier\":\"Standard\""));
    assert_non_null(strstr(put_sized(harness, NULL, 4097),
                           "ValidationException: Standard tier parameters support a maximum "
                           "parameter value of 4096 characters."));
    assert_non_null(
        strstr(put_sized(harness, "Intelligent-Tiering", 4096), "\"Tier\":\"Standard\""));
    assert_non_null(
        strstr(put_sized(harness, "Intelligent-Tiering", 4097), "\"Tier\":\"Advanced\""));
    assert_non_null(strstr(put_sized(harness, NULL, 8192), "\"Tier\":\"Advanced\""));
    assert_non_null(strstr(put_sized(harness, "Advanced", 8193), "8192 characters."));
    assert_non_null(
        strstr(put_sized(harness, "Standard", 1), "You can't downgrade a parameter from the"));
}

// ---- versions -----------------------------------------------------------------------------------

static void history_keeps_a_hundred_unless_the_oldest_is_labelled(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    for (int i = 0; i < 105; i++) {
        char value[16];
        snprintf(value, sizeof(value), "v%d", i + 1);
        put(harness, "p", "String", value);
    }
    assert_int_equal(core_count(harness->core, &parameter_version_kind), 100);
    harness_contains(harness, "GetParameterHistory", "{'Name':'p','MaxResults':2}",
                     "\"Value\":\"v6\"");
    char token[128];
    char request[256];
    harness_member(harness, "NextToken", token, sizeof(token));
    snprintf(request, sizeof(request), "{'Name':'p','MaxResults':2,'NextToken':'%s'}", token);
    harness_contains(harness, "GetParameterHistory", request, "\"Value\":\"v8\"");
    harness_contains(harness, "LabelParameterVersion",
                     "{'Name':'p','ParameterVersion':6,'Labels':['keep']}",
                     "\"ParameterVersion\":6");
    harness_contains(harness, "PutParameter", "{'Name':'p','Value':'x','Overwrite':true}",
                     "ParameterMaxVersionLimitExceeded: You attempted to create a new version of p "
                     "by calling the PutParameter API with the overwrite flag. Version 6, the "
                     "oldest version, can't be deleted because it has a label");
    harness_contains(harness, "UnlabelParameterVersion",
                     "{'Name':'p','ParameterVersion':6,'Labels':['keep','other']}",
                     "{'RemovedLabels':['keep'],'InvalidLabels':['other']}");
    put(harness, "p", "String", "last");

    // Deleted at once for who asks, in steps for the store.
    harness_expect(harness, "DeleteParameters", "{'Names':['p','q']}",
                   "{'DeletedParameters':['p'],'InvalidParameters':['q']}");
    harness_contains(harness, "GetParameter", "{'Name':'p'}", "ParameterNotFound");
    put(harness, "p", "String", "again");
    harness_contains(harness, "GetParameter", "{'Name':'p'}", "\"Version\":1");
    harness_restart(harness);
    harness_advance(harness, 0);
    assert_int_equal(core_count(harness->core, &parameter_version_kind), 1);
    assert_int_equal(core_count(harness->core, &parameter_kind), 1);
}

static void a_label_is_on_one_version(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    put(harness, "p", "String", "one");
    put(harness, "p", "String", "two");
    harness_expect(harness, "LabelParameterVersion",
                   "{'Name':'p','ParameterVersion':1,'Labels':['live','1st','aws-x','good']}",
                   "{'InvalidLabels':['1st','aws-x'],'ParameterVersion':1}");
    harness_expect(harness, "LabelParameterVersion", "{'Name':'p','Labels':['live']}",
                   "{'InvalidLabels':[],'ParameterVersion':2}");
    harness_contains(harness, "GetParameter", "{'Name':'p:live'}", "\"Value\":\"two\"");
    harness_contains(harness, "GetParameter", "{'Name':'p:good'}", "\"Value\":\"one\"");
    harness_contains(
        harness, "LabelParameterVersion",
        "{'Name':'p','Labels':['a','b','c','d','e','f','g','h','i','j']}",
        "ParameterVersionLabelLimitExceeded: A parameter version can have maximum 10 labels.");
}

// ---- listing ------------------------------------------------------------------------------------

static void expect_names(struct harness *harness, const char *operation, const char *request,
                         const char *want)
{
    print_message("%s %s\n", operation, request);
    const char *at = harness_call(harness, operation, request);
    char names[512] = "";
    while ((at = strstr(at, "\"Name\":\"")) != NULL) {
        at += strlen("\"Name\":\"");
        size_t have = strlen(names);
        snprintf(names + have, sizeof(names) - have, "%s%.*s", have == 0 ? "" : " ",
                 (int)(strchr(at, '"') - at), at);
    }
    assert_string_equal(names, want);
}

static void paths_and_filters_choose(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    put(harness, "/app/prod/db", "SecureString", "1");
    put(harness, "/app/prod/api", "String", "2");
    put(harness, "/app/dev/db", "StringList", "3,4");
    put(harness, "/app/top", "String", "5");
    put(harness, "/application", "String", "6");
    put(harness, "plain", "String", "7");
    harness_expect(harness, "AddTagsToResource",
                   "{'ResourceType':'Parameter','ResourceId':'plain','Tags':[{'Key':'k','Value':"
                   "'blue'}]}",
                   "{}");
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"GetParametersByPath", "{'Path':'/app'}", "/app/top"},
        {"GetParametersByPath", "{'Path':'/app/'}", "/app/top"},
        {"GetParametersByPath", "{'Path':'/app','Recursive':true}",
         "/app/dev/db /app/prod/api /app/prod/db /app/top"},
        {"GetParametersByPath", "{'Path':'/'}", "/application"},
        {"GetParametersByPath",
         "{'Path':'/','Recursive':true,'ParameterFilters':[{'Key':'Type','Values':['String']}]}",
         "/app/prod/api /app/top /application"},
        {"DescribeParameters", "{}",
         "/app/dev/db /app/prod/api /app/prod/db /app/top /application plain"},
        {"DescribeParameters", "{'Filters':[{'Key':'Name','Values':['/app/p']}]}",
         "/app/prod/api /app/prod/db"},
        {"DescribeParameters", "{'Filters':[{'Key':'Type','Values':['SecureString']}]}",
         "/app/prod/db"},
        {"DescribeParameters",
         "{'ParameterFilters':[{'Key':'Name','Option':'Contains','Values':['db']}]}",
         "/app/dev/db /app/prod/db"},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'Name','Values':['/plain']}]}",
         "plain"},
        {"DescribeParameters",
         "{'ParameterFilters':[{'Key':'Path','Option':'Recursive','Values':['/app/prod']}]}",
         "/app/prod/api /app/prod/db"},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'Path','Values':['/app']}]}",
         "/app/top"},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'KeyId','Values':['alias/aws/ssm']}]}",
         "/app/prod/db"},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'Tier','Values':['Advanced']}]}", ""},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'tag:k','Values':['blue']}]}", "plain"},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'tag:k'}]}", "plain"},
        {"DescribeParameters", "{'ParameterFilters':[{'Key':'tag:k','Values':['red']}]}", ""},
        {"DescribeParameters", "{'Shared':true}", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_names(harness, cases[i].operation, cases[i].request, cases[i].want);
    }
    char token[256];
    char request[512];
    expect_names(harness, "GetParametersByPath", "{'Path':'/app','Recursive':true,'MaxResults':3}",
                 "/app/dev/db /app/prod/api /app/prod/db");
    harness_member(harness, "NextToken", token, sizeof(token));
    harness_contains(harness, "DeleteParameter", "{'Name':'/app/prod/db'}", "{}");
    snprintf(request, sizeof(request),
             "{'Path':'/app','Recursive':true,'MaxResults':3,'NextToken':'%s'}", token);
    expect_names(harness, "GetParametersByPath", request, "/app/top");
    harness_expect(harness, "ssm.ListTagsForResource",
                   "{'ResourceType':'Parameter','ResourceId':'plain'}",
                   "{'TagList':[{'Key':'k','Value':'blue'}]}");
    harness_expect(harness, "RemoveTagsFromResource",
                   "{'ResourceType':'Parameter','ResourceId':'plain','TagKeys':['k']}", "{}");
    harness_expect(harness, "ssm.ListTagsForResource",
                   "{'ResourceType':'Parameter','ResourceId':'plain'}", "{'TagList':[]}");
}

// ---- sealing ------------------------------------------------------------------------------------

static void values_are_sealed_whatever_their_type(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    put(harness, "a", "String", "correct horse");
    put(harness, "b", "SecureString", "correct horse");
    for (int64_t key = core_next(harness->core, &parameter_version_kind, 0); key != 0;
         key = core_next(harness->core, &parameter_version_kind, key)) {
        const struct secrets_record_parameter_version *version =
            core_get(harness->core, &parameter_version_kind, key);
        assert_null(memmem(version->sealed.data, version->sealed.size, "horse", 5));
    }
    harness_contains(harness, "GetParameter", "{'Name':'a'}", "\"Value\":\"correct horse\"");
    harness_contains(harness, "GetParameter", "{'Name':'b','WithDecryption':true}",
                     "\"Value\":\"correct horse\"");
    assert_null(strstr(harness_call(harness, "GetParameter", "{'Name':'b'}"), "horse"));
    assert_null(strstr(harness_call(harness, "GetParameterHistory", "{'Name':'b'}"), "horse"));
    assert_int_equal(parameter_count_foreign(harness->core), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reference_names_a_version, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_aws_own, setup, teardown),
        cmocka_unit_test_setup_teardown(tiers_bound_values, setup, teardown),
        cmocka_unit_test_setup_teardown(history_keeps_a_hundred_unless_the_oldest_is_labelled,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_label_is_on_one_version, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_and_filters_choose, setup, teardown),
        cmocka_unit_test_setup_teardown(values_are_sealed_whatever_their_type, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
