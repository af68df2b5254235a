#include "../ecs/harness.h"

#include "base/text.h"
#include "identity/identity.h"
#include "secrets/secrets.h"
#include "server/seal_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_MS (24 * 3600 * INT64_C(1000))
#define TOKEN_1 "11111111-1111-1111-1111-111111111111"
#define TOKEN_2 "22222222-2222-2222-2222-222222222222"
#define TOKEN_3 "33333333-3333-3333-3333-333333333333"
#define NOT_FOUND "ResourceNotFoundException: Secrets Manager can't find the specified secret."

static const struct core_module *const modules[] = {&identity_module, &secrets_module};

struct world {
    struct harness harness;
    struct seal_key *key;
    char dir[32];
};

static struct seal_key *open_key(const struct world *world, const char *name, bool want_made)
{
    struct err err = {0};
    char path[64];
    bool made = false;
    struct seal_key *key = NULL;
    snprintf(path, sizeof(path), "%s/%s", world->dir, name);
    assert_int_equal(seal_key_open(path, &key, &made, &err), 0);
    assert_int_equal(made, want_made);
    return key;
}

static int setup(void **state)
{
    struct world *world = ALLOC(struct world);
    memcpy(world->dir, "/tmp/berth-secrets-XXXXXX", sizeof("/tmp/berth-secrets-XXXXXX"));
    assert_non_null(mkdtemp(world->dir));
    world->key = open_key(world, "key", true);
    harness_init(&world->harness, modules, ARRAY_LEN(modules));
    secrets_set_cipher(world->harness.core, seal_key_cipher(world->key));
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    static const char *const names[] = {"key", "other"};
    harness_deinit(&world->harness);
    seal_key_free(world->key);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/%s", world->dir, names[i]);
        unlink(path);
    }
    rmdir(world->dir);
    alloc_free(world);
    return 0;
}

static void restart(struct world *world)
{
    harness_restart(&world->harness);
    secrets_set_cipher(world->harness.core, seal_key_cipher(world->key));
}

static void create(struct harness *harness, const char *name, const char *value)
{
    char request[512];
    snprintf(request, sizeof(request), "{'Name':'%s','SecretString':'%s'}", name, value);
    harness_contains(harness, "CreateSecret", request,
                     "\"ARN\":\"arn:aws:secretsmanager:eu-west-1:"
                     "123456789012:secret:");
}

// ---- names --------------------------------------------------------------------------------------

static void secrets_are_found_by_name_and_both_arns(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    char arn[256];
    char request[512];
    create(harness, "db/password", "hunter2");
    harness_member(harness, "ARN", arn, sizeof(arn));
    assert_int_equal(strlen(arn), strlen("arn:aws:secretsmanager:eu-west-1:123456789012:secret:"
                                         "db/password-") +
                                      6);
    harness_contains(harness, "GetSecretValue", "{'SecretId':'db/password'}",
                     "\"SecretString\":\"hunter2\"");
    snprintf(request, sizeof(request), "{'SecretId':'%s'}", arn);
    harness_contains(harness, "GetSecretValue", request, "\"SecretString\":\"hunter2\"");
    arn[strlen(arn) - 7] = '\0';
    snprintf(request, sizeof(request), "{'SecretId':'%s'}", arn);
    harness_contains(harness, "GetSecretValue", request, "\"SecretString\":\"hunter2\"");

    static const char *const strangers[] = {
        "db",
        "db/password-",
        "arn:aws:secretsmanager:eu-west-2:123456789012:secret:db/password",
        "arn:aws:secretsmanager:eu-west-1:123456789013:secret:db/password",
        "arn:aws:ssm:eu-west-1:123456789012:secret:db/password",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db/password-abcdef",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:",
        "arn:",
    };
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        print_message("%s\n", strangers[i]);
        snprintf(request, sizeof(request), "{'SecretId':'%s'}", strangers[i]);
        harness_expect(harness, "GetSecretValue", request, NOT_FOUND);
    }
}

// The six characters of a name that looks like an ARN's end belong to the name.
static void a_name_that_ends_like_an_arn_is_a_name(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    create(harness, "app-abcdef", "long");
    create(harness, "app", "short");
    harness_contains(
        harness, "GetSecretValue",
        "{'SecretId':'arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-abcdef'}",
        "\"SecretString\":\"long\"");
    harness_contains(harness, "GetSecretValue",
                     "{'SecretId':'arn:aws:secretsmanager:eu-west-1:123456789012:secret:app'}",
                     "\"SecretString\":\"short\"");
}

static void other_realms_have_their_own(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    create(harness, "a", "one");
    harness->caller.region = TEXT("eu-west-2");
    harness_expect(harness, "GetSecretValue", "{'SecretId':'a'}", NOT_FOUND);
    harness_expect(harness, "ListSecrets", "{}", "{'SecretList':[]}");
    harness_contains(harness, "CreateSecret", "{'Name':'a','SecretString':'two'}", "eu-west-2");
    harness->caller.region = TEXT("eu-west-1");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'a'}", "\"SecretString\":\"one\"");
}

// ---- refusals -----------------------------------------------------------------------------------

static void refusals_are_aws_own(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    create(harness, "there", "x");
    harness_contains(harness, "CreateSecret", "{'Name':'empty'}", "\"Name\":\"empty\"");
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"CreateSecret", "{'Name':'there','SecretString':'y'}",
         "ResourceExistsException: The operation failed because the secret there already exists."},
        {"CreateSecret", "{'Name':'a b'}",
         "ValidationException: Invalid name. Must be a valid name containing alphanumeric "
         "characters, or any of the following: -/_+=.@!"},
        {"CreateSecret", "{'Name':'x','SecretString':'a','SecretBinary':'YQ=='}",
         "InvalidParameterException: You can't specify both a binary secret value and a string "
         "secret value in the same secret."},
        {"CreateSecret", "{'Name':'x','AddReplicaRegions':[{'Region':'eu-west-2'}]}",
         "InvalidParameterException: Secrets are not replicated to other regions here. Leave "
         "AddReplicaRegions out and create the secret in each region."},
        {"CreateSecret", "{'Name':'x','Tags':[{'Key':'k','Value':'1'},{'Key':'k','Value':'2'}]}",
         "InvalidParameterException: Duplicate tag keys found. Key: k"},
        {"CreateSecret", "{'Name':'x','Tags':[{'Value':'1'}]}",
         "InvalidParameterException: A tag needs a key."},
        {"CreateSecret", "{'Name':'x','Tags':[{'Key':'AWS:k'}]}",
         "InvalidParameterException: Tag keys that begin with 'aws:' are reserved. Key: AWS:k"},
        {"GetSecretValue", "{'SecretId':'empty'}",
         "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "
         "staging label: AWSCURRENT"},
        {"GetSecretValue", "{'SecretId':'there','VersionStage':'AWSPENDING'}",
         "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "
         "staging label: AWSPENDING"},
        {"GetSecretValue", "{'SecretId':'there','VersionId':'" TOKEN_1 "'}",
         "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "
         "VersionId: " TOKEN_1},
        {"PutSecretValue", "{'SecretId':'there'}",
         "InvalidRequestException: You must provide either SecretString or SecretBinary."},
        {"PutSecretValue", "{'SecretId':'nowhere','SecretString':'x'}", NOT_FOUND},
        {"PutSecretValue", "{'SecretId':'there','SecretString':'x','VersionStages':['A','A']}",
         "InvalidParameterException: The staging label A is there twice."},
        {"DeleteSecret", "{'SecretId':'there','RecoveryWindowInDays':6}",
         "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days "
         "(inclusive)."},
        {"DeleteSecret", "{'SecretId':'there','RecoveryWindowInDays':31}",
         "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days "
         "(inclusive)."},
        {"DeleteSecret",
         "{'SecretId':'there','RecoveryWindowInDays':7,'ForceDeleteWithoutRecovery':true}",
         "InvalidParameterException: You can't use ForceDeleteWithoutRecovery in conjunction with "
         "RecoveryWindowInDays."},
        {"DeleteSecret", "{'SecretId':'nowhere'}", NOT_FOUND},
        {"RestoreSecret", "{'SecretId':'nowhere'}", NOT_FOUND},
        {"GetResourcePolicy", "{'SecretId':'nowhere'}", NOT_FOUND},
        {"DeleteResourcePolicy", "{'SecretId':'nowhere'}", NOT_FOUND},
        {"DescribeSecret", "{'SecretId':'nowhere'}", NOT_FOUND},
        {"ListSecretVersionIds", "{'SecretId':'nowhere'}", NOT_FOUND},
        {"ListSecrets", "{'NextToken':'none'}",
         "InvalidNextTokenException: The NextToken value is invalid."},
        {"ListSecrets", "{'NextToken':'secrets-ffffffffffffffff'}",
         "InvalidNextTokenException: The NextToken value is invalid."},
        {"ListSecrets", "{'Filters':[{'Values':['x']}]}",
         "InvalidParameterException: Invalid filter key"},
        {"ListSecrets", "{'Filters':[{'Key':'name'}]}",
         "InvalidParameterException: Invalid filter values for key: name"},
        {"UpdateSecretVersionStage", "{'SecretId':'there','VersionStage':'AWSCURRENT'}",
         "InvalidParameterException: You can't remove the staging label AWSCURRENT from a version "
         "without moving it to another one: name that in MoveToVersionId."},
        {"GetRandomPassword", "{'PasswordLength':3}",
         "InvalidParameterException: A password of 3 characters cannot have one of each of the 4 "
         "included types."},
        {"GetRandomPassword",
         "{'ExcludeLowercase':true,'ExcludeUppercase':true,'ExcludeNumbers':true,"
         "'ExcludePunctuation':true}",
         "InvalidParameterException: Nothing is left to make a password of: all characters are "
         "excluded."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].operation, cases[i].request);
        assert_string_equal(harness_call(harness, cases[i].operation, cases[i].request),
                            cases[i].want);
    }
}

// ---- versions -----------------------------------------------------------------------------------

static void put(struct harness *harness, const char *token, const char *value, const char *stages)
{
    char request[512];
    snprintf(request, sizeof(request),
             "{'SecretId':'s','ClientRequestToken':'%s','SecretString':'%s'%s%s}", token, value,
             stages[0] == '\0' ? "" : ",'VersionStages':", stages);
    harness_contains(harness, "PutSecretValue", request, token);
}

static void labels_move_as_values_are_put(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    harness_contains(harness, "CreateSecret", "{'Name':'s'}", "\"Name\":\"s\"");
    put(harness, TOKEN_1, "one", "");
    put(harness, TOKEN_2, "two", "");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"SecretString\":\"two\"");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s','VersionStage':'AWSPREVIOUS'}",
                     "\"SecretString\":\"one\"");
    put(harness, TOKEN_3, "three", "['AWSPENDING','mine']");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"SecretString\":\"two\"");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s','VersionStage':'AWSPENDING'}",
                     "\"SecretString\":\"three\"");
    harness_expect(harness, "GetSecretValue",
                   "{'SecretId':'s','VersionId':'" TOKEN_1 "','VersionStage':'AWSCURRENT'}",
                   "InvalidRequestException: You provided a VersionStage that is not associated to "
                   "the provided VersionId.");

    // The end of a rotation: the pending one becomes current.
    harness_expect(
        harness, "UpdateSecretVersionStage",
        "{'SecretId':'s','VersionStage':'AWSCURRENT','MoveToVersionId':'" TOKEN_3 "'}",
        "InvalidParameterException: The parameter RemoveFromVersionId can't be empty. Staging "
        "label AWSCURRENT is currently attached to version " TOKEN_2 ", so you must explicitly "
        "reference that version in RemoveFromVersionId.");
    harness_contains(harness, "UpdateSecretVersionStage",
                     "{'SecretId':'s','VersionStage':'AWSCURRENT','MoveToVersionId':'" TOKEN_3
                     "','RemoveFromVersionId':'" TOKEN_1 "'}",
                     "InvalidParameterException: The parameter RemoveFromVersionId is not valid.");
    harness_contains(harness, "UpdateSecretVersionStage",
                     "{'SecretId':'s','VersionStage':'AWSCURRENT','MoveToVersionId':'" TOKEN_3
                     "','RemoveFromVersionId':'" TOKEN_2 "'}",
                     "\"Name\":\"s\"");
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}",
                     "\"VersionIdsToStages\":{\"" TOKEN_2 "\":[\"AWSPREVIOUS\"],\"" TOKEN_3
                     "\":[\"AWSPENDING\",\"mine\",\"AWSCURRENT\"]}");
    harness_contains(harness, "UpdateSecretVersionStage",
                     "{'SecretId':'s','VersionStage':'mine','RemoveFromVersionId':'" TOKEN_3 "'}",
                     "\"Name\":\"s\"");
    // Back again: the two labels change places.
    harness_contains(harness, "UpdateSecretVersionStage",
                     "{'SecretId':'s','VersionStage':'AWSCURRENT','MoveToVersionId':'" TOKEN_2
                     "','RemoveFromVersionId':'" TOKEN_3 "'}",
                     "\"Name\":\"s\"");
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}",
                     "\"VersionIdsToStages\":{\"" TOKEN_2 "\":[\"AWSCURRENT\"],\"" TOKEN_3
                     "\":[\"AWSPENDING\",\"AWSPREVIOUS\"]}");
    harness_contains(harness, "ListSecretVersionIds", "{'SecretId':'s'}",
                     "\"Versions\":[{\"VersionId\":\"" TOKEN_2);
    harness_contains(harness, "ListSecretVersionIds",
                     "{'SecretId':'s','IncludeDeprecated':true,'MaxResults':1}",
                     "\"Versions\":[{\"VersionId\":\"" TOKEN_1);
}

static void the_first_version_is_current_whatever_it_is_called(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    harness_contains(harness, "CreateSecret", "{'Name':'s'}", "\"Name\":\"s\"");
    put(harness, TOKEN_1, "one", "['AWSPENDING']");
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}",
                     "\"VersionIdsToStages\":{\"" TOKEN_1 "\":[\"AWSPENDING\",\"AWSCURRENT\"]}");
}

static void a_token_stands_for_one_value(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    static const char first[] =
        "{'Name':'s','ClientRequestToken':'" TOKEN_1 "','SecretString':'one'}";
    char arn[256];
    char again[256];
    harness_call(harness, "CreateSecret", first);
    harness_member(harness, "ARN", arn, sizeof(arn));
    harness_call(harness, "CreateSecret", first);
    harness_member(harness, "ARN", again, sizeof(again));
    assert_string_equal(arn, again);
    put(harness, TOKEN_1, "one", "");
    harness_contains(harness, "PutSecretValue",
                     "{'SecretId':'s','ClientRequestToken':'" TOKEN_1 "','SecretString':'two'}",
                     "ResourceExistsException: You can't use ClientRequestToken " TOKEN_1
                     " because that value is already in use for a version of secret arn:aws:"
                     "secretsmanager:eu-west-1:123456789012:secret:s-");
    harness_contains(harness, "UpdateSecret",
                     "{'SecretId':'s','ClientRequestToken':'" TOKEN_1 "','SecretBinary':'b25l'}",
                     "ResourceExistsException");
    harness_contains(harness, "UpdateSecret",
                     "{'SecretId':'s','ClientRequestToken':'" TOKEN_2 "','SecretBinary':'b25l'}",
                     "\"VersionId\":\"" TOKEN_2);
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"SecretBinary\":\"b25l\"");
    harness_expect(harness, "UpdateSecret", "{'SecretId':'s','Description':'what'}",
                   harness_call(harness, "UpdateSecret", "{'SecretId':'s','Description':'x'}"));
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}", "\"Description\":\"what\"");
}

// Versions without a label make room; those with one are never taken.
static void old_versions_go_when_there_are_many(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    create(harness, "s", "first");
    for (int i = 0; i < 200; i++) {
        char token[64];
        char value[32];
        snprintf(token, sizeof(token), "00000000-0000-0000-0000-%012d", i);
        snprintf(value, sizeof(value), "value %d", i);
        put(harness, token, value, "");
    }
    assert_int_equal(core_count(harness->core, &secrets_version_kind), 90);
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"value 199\"");
    harness_contains(harness, "DeleteSecret", "{'SecretId':'s','ForceDeleteWithoutRecovery':true}",
                     "\"Name\":\"s\"");
    assert_int_equal(core_count(harness->core, &secrets_version_kind), 0);
}

// ---- deleting -----------------------------------------------------------------------------------

static void a_deleted_secret_can_be_restored_until_its_window_ends(void **state)
{
    struct world *world = *state;
    struct harness *harness = &world->harness;
    create(harness, "s", "x");
    harness_contains(harness, "DeleteSecret", "{'SecretId':'s','RecoveryWindowInDays':7}",
                     "\"DeletionDate\":1800604800");
    harness_expect(harness, "GetSecretValue", "{'SecretId':'s'}",
                   "InvalidRequestException: You can't perform this operation on the secret "
                   "because it was marked for deletion.");
    harness_expect(harness, "DeleteSecret", "{'SecretId':'s'}",
                   "InvalidRequestException: You can't perform this operation on the secret "
                   "because it was already scheduled for deletion.");
    harness_expect(harness, "CreateSecret", "{'Name':'s'}",
                   "InvalidRequestException: You can't create this secret because a secret with "
                   "this name is already scheduled for deletion.");
    harness_expect(harness, "ListSecrets", "{}", "{'SecretList':[]}");
    harness_contains(harness, "ListSecrets", "{'IncludePlannedDeletion':true}",
                     "\"DeletedDate\":1800604800");
    harness_contains(harness, "RestoreSecret", "{'SecretId':'s'}", "\"Name\":\"s\"");
    harness_advance(harness, 8 * DAY_MS);
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"x\"");

    harness_contains(harness, "DeleteSecret", "{'SecretId':'s'}", "\"DeletionDate\"");
    restart(world);
    harness_advance(harness, 30 * DAY_MS - 1000);
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}", "\"DeletedDate\"");
    harness_advance(harness, 1000);
    harness_expect(harness, "DescribeSecret", "{'SecretId':'s'}", NOT_FOUND);
    assert_int_equal(core_count(harness->core, &secrets_version_kind), 0);
}

static void a_forced_deletion_is_at_once_and_twice(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    create(harness, "s", "x");
    static const char force[] = "{'SecretId':'s','ForceDeleteWithoutRecovery':true}";
    harness_contains(harness, "DeleteSecret", force, "\"DeletionDate\":1800000000");
    harness_contains(harness, "DeleteSecret", force, "secret:s-");
    create(harness, "s", "y");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"y\"");
}

// ---- listing ------------------------------------------------------------------------------------

static void lists_filter_sort_and_page(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    static const char *const requests[] = {
        "{'Name':'prod/db','Description':'The database','Tags':[{'Key':'Team','Value':'Blue'}]}",
        "{'Name':'prod/api','Tags':[{'Key':'Team','Value':'Red'}]}",
        "{'Name':'dev/db','Description':'the other database'}",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        harness->now_ms += 1000;
        harness_contains(harness, "CreateSecret", requests[i], "\"ARN\"");
    }
    static const struct {
        const char *request;
        const char *want; // in order
    } cases[] = {
        {"{}", "prod/db prod/api dev/db"},
        {"{'SortOrder':'desc'}", "dev/db prod/api prod/db"},
        {"{'SortBy':'name'}", "dev/db prod/api prod/db"},
        {"{'SortBy':'name','SortOrder':'desc'}", "prod/db prod/api dev/db"},
        {"{'SortBy':'last-changed-date','SortOrder':'desc'}", "dev/db prod/api prod/db"},
        {"{'Filters':[{'Key':'name','Values':['prod/']}]}", "prod/db prod/api"},
        {"{'Filters':[{'Key':'name','Values':['PROD']}]}", ""},
        {"{'Filters':[{'Key':'name','Values':['!prod/']}]}", "dev/db"},
        {"{'Filters':[{'Key':'name','Values':['dev','prod/a']}]}", "prod/api dev/db"},
        {"{'Filters':[{'Key':'description','Values':['the']}]}", "prod/db dev/db"},
        {"{'Filters':[{'Key':'tag-key','Values':['Team']}]}", "prod/db prod/api"},
        {"{'Filters':[{'Key':'tag-value','Values':['Blue']}]}", "prod/db"},
        {"{'Filters':[{'Key':'tag-value','Values':['blue']}]}", ""},
        {"{'Filters':[{'Key':'all','Values':['DB']}]}", "prod/db dev/db"},
        {"{'Filters':[{'Key':'all','Values':['other data']}]}", "dev/db"},
        {"{'Filters':[{'Key':'all','Values':['tab']}]}", ""},
        {"{'Filters':[{'Key':'owning-service','Values':['rds']}]}", ""},
        {"{'Filters':[{'Key':'name','Values':['prod']},{'Key':'all','Values':['red']}]}",
         "prod/api"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].request);
        const char *at = harness_call(harness, "ListSecrets", cases[i].request);
        char names[256] = "";
        while ((at = strstr(at, "\"Name\":\"")) != NULL) {
            at += strlen("\"Name\":\"");
            size_t have = strlen(names);
            snprintf(names + have, sizeof(names) - have, "%s%.*s", have == 0 ? "" : " ",
                     (int)(strchr(at, '"') - at), at);
        }
        assert_string_equal(names, cases[i].want);
    }
    char token[64];
    char request[256];
    harness_contains(harness, "ListSecrets", "{'MaxResults':2,'SortBy':'name'}", "prod/api");
    harness_member(harness, "NextToken", token, sizeof(token));
    snprintf(request, sizeof(request), "{'MaxResults':2,'SortBy':'name','NextToken':'%s'}", token);
    harness_contains(harness, "ListSecrets", request, "\"Name\":\"prod/db\"");
    assert_null(strstr(harness->answer.data, "NextToken"));
    assert_null(strstr(harness->answer.data, "prod/api"));
}

static void tags_are_merged_and_taken(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    harness_contains(harness, "CreateSecret", "{'Name':'s','Tags':[{'Key':'a','Value':'1'}]}",
                     "\"ARN\"");
    harness_expect(harness, "secretsmanager.TagResource",
                   "{'SecretId':'s','Tags':[{'Key':'b','Value':'2'},{'Key':'a','Value':'3'}]}",
                   "{}");
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}",
                     "\"Tags\":[{\"Key\":\"b\",\"Value\":\"2\"},{\"Key\":\"a\",\"Value\":\"3\"}]");
    harness_expect(harness, "secretsmanager.UntagResource", "{'SecretId':'s','TagKeys':['a','x']}",
                   "{}");
    harness_contains(harness, "DescribeSecret", "{'SecretId':'s'}",
                     "\"Tags\":[{\"Key\":\"b\",\"Value\":\"2\"}]");
}

// ---- passwords ----------------------------------------------------------------------------------

static void passwords_have_what_is_asked(void **state)
{
    struct harness *harness = &((struct world *)*state)->harness;
    char password[5000];
    for (int i = 0; i < 50; i++) {
        harness_call(harness, "GetRandomPassword",
                     "{'PasswordLength':4,'ExcludePunctuation':true,'IncludeSpace':true}");
        harness_member(harness, "RandomPassword", password, sizeof(password));
        assert_int_equal(strlen(password), 4);
        assert_true(strpbrk(password, "abcdefghijklmnopqrstuvwxyz") != NULL);
        assert_true(strpbrk(password, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL);
        assert_true(strpbrk(password, "0123456789") != NULL);
        assert_true(strchr(password, ' ') != NULL);
    }
    harness_call(harness, "GetRandomPassword",
                 "{'PasswordLength':4096,'ExcludeLowercase':true,'ExcludeUppercase':true,"
                 "'ExcludePunctuation':true,'ExcludeCharacters':'3456789'}");
    harness_member(harness, "RandomPassword", password, sizeof(password));
    assert_int_equal(strlen(password), 4096);
    assert_int_equal(strspn(password, "012"), 4096);
    harness_call(harness, "GetRandomPassword", "{}");
    harness_member(harness, "RandomPassword", password, sizeof(password));
    assert_true(strlen(password) >= 31); // a quotation mark is escaped and ends it early
}

// ---- sealing ------------------------------------------------------------------------------------

static bool rows_hold(const struct harness *harness, const char *what)
{
    for (int64_t key = core_next(harness->core, &secrets_version_kind, 0); key != 0;
         key = core_next(harness->core, &secrets_version_kind, key)) {
        const struct secrets_record_version *version =
            core_get(harness->core, &secrets_version_kind, key);
        if (memmem(version->sealed.data, version->sealed.size, what, strlen(what)) != NULL) {
            return true;
        }
    }
    return false;
}

static void values_are_stored_sealed_and_survive(void **state)
{
    struct world *world = *state;
    struct harness *harness = &world->harness;
    create(harness, "s", "correct horse battery staple");
    create(harness, "t", "correct horse battery staple");
    assert_false(rows_hold(harness, "horse"));
    restart(world);
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "correct horse battery staple");

    // The same value twice is sealed differently.
    int64_t first = core_next(harness->core, &secrets_version_kind, 0);
    int64_t second = core_next(harness->core, &secrets_version_kind, first);
    const struct secrets_record_version *a = core_get(harness->core, &secrets_version_kind, first);
    const struct secrets_record_version *b = core_get(harness->core, &secrets_version_kind, second);
    assert_int_equal(a->sealed.size, b->sealed.size);
    assert_memory_not_equal(a->sealed.data + SEAL_HEAD_BYTES, b->sealed.data + SEAL_HEAD_BYTES, 28);
}

static void another_key_opens_nothing_and_is_told(void **state)
{
    struct world *world = *state;
    struct harness *harness = &world->harness;
    create(harness, "s", "x");
    assert_int_equal(secrets_count_foreign(harness->core), 0);
    struct seal_key *other = open_key(world, "other", true);
    secrets_set_cipher(harness->core, seal_key_cipher(other));
    assert_int_equal(secrets_count_foreign(harness->core), 1);
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}",
                     "DecryptionFailure: Secrets Manager can't decrypt the protected secret text "
                     "using the provided KMS key. It was sealed with another key");
    create(harness, "t", "y");
    harness_contains(harness, "GetSecretValue", "{'SecretId':'t'}", "\"y\"");
    seal_key_free(other);

    other = open_key(world, "key", false);
    secrets_set_cipher(harness->core, seal_key_cipher(other));
    harness_contains(harness, "GetSecretValue", "{'SecretId':'s'}", "\"x\"");
    secrets_set_cipher(harness->core, NULL);
    harness_contains(harness, "CreateSecret", "{'Name':'u','SecretString':'z'}",
                     "EncryptionFailure: ");
    seal_key_free(other);
}

// A sealed value belongs to one version: a byte changed, or put elsewhere, it does not open.
static void sealed_values_open_nowhere_else(void **state)
{
    struct world *world = *state;
    const struct seal_cipher *cipher = seal_key_cipher(world->key);
    AUTO(arena_deinit) struct arena arena = {0};
    unsigned char nonce[SEAL_NONCE_BYTES] = {1};
    char sealed[SEAL_MORE_BYTES + 5] = {SEAL_FORM};
    memcpy(sealed + 1, cipher->key_id, SEAL_KEY_ID_BYTES);
    memcpy(sealed + 1 + SEAL_KEY_ID_BYTES, nonce, sizeof(nonce));
    cipher->encrypt(cipher->context, nonce, TEXT("here"), TEXT("value"), sealed + SEAL_HEAD_BYTES);
    struct text whole = {sealed, sizeof(sealed)};
    struct text plain = {0};
    assert_int_equal(seal_open(cipher, TEXT("here"), whole, &arena, &plain), 0);
    assert_memory_equal(plain.data, "value", 5);
    assert_int_equal(seal_open(cipher, TEXT("there"), whole, &arena, &plain), ERR_CORRUPT);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 1;
        int want = i == 0 ? ERR_VERSION : i <= SEAL_KEY_ID_BYTES ? ERR_DENIED : ERR_CORRUPT;
        assert_int_equal(seal_open(cipher, TEXT("here"), whole, &arena, &plain), want);
        sealed[i] ^= 1;
        assert_true(seal_open(cipher, TEXT("here"), text_slice(whole, 0, i), &arena, &plain) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(secrets_are_found_by_name_and_both_arns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_ends_like_an_arn_is_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(other_realms_have_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_aws_own, setup, teardown),
        cmocka_unit_test_setup_teardown(labels_move_as_values_are_put, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_version_is_current_whatever_it_is_called, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_token_stands_for_one_value, setup, teardown),
        cmocka_unit_test_setup_teardown(old_versions_go_when_there_are_many, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_secret_can_be_restored_until_its_window_ends,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_forced_deletion_is_at_once_and_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_filter_sort_and_page, setup, teardown),
        cmocka_unit_test_setup_teardown(tags_are_merged_and_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(passwords_have_what_is_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(values_are_stored_sealed_and_survive, setup, teardown),
        cmocka_unit_test_setup_teardown(another_key_opens_nothing_and_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(sealed_values_open_nowhere_else, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
