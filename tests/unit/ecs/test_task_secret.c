#include "task_world.h"

#include "base/text.h"
#include "secrets/secrets.h"

#include <stdio.h>
#include <string.h>

/* Who is told the secrets of which task. What `valueFrom` may be is told in tests/e2e. */

// No cipher at all: what is sealed is not what is tested here.
static void encrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                    struct text bound, struct text plain, char *out)
{
    memcpy(out, plain.data, plain.size);
    memset(out + plain.size, 0, SEAL_TAG_BYTES);
}

static int decrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                   struct text bound, struct text cipher, char *out)
{
    memcpy(out, cipher.data, cipher.size - SEAL_TAG_BYTES);
    return 0;
}

static const struct seal_cipher cipher = {.encrypt = encrypt, .decrypt = decrypt};

#define ARN "arn:aws:secretsmanager:%s:%s:secret:s"

static int setup(void **state)
{
    int rc = world_setup(state);
    struct world *world = *state;
    secrets_set_cipher(world->harness.core, &cipher);
    harness_contains(&world->harness, "CreateSecret",
                     "{'Name':'s','SecretString':'{\\'k\\':\\'here\\'}'}", "\"ARN\"");
    harness_contains(&world->harness, "PutParameter",
                     "{'Name':'/p','Type':'SecureString','Value':'parameter'}", "\"Version\":1");
    world->harness.caller.region = TEXT("eu-west-2");
    harness_contains(&world->harness, "CreateSecret", "{'Name':'s','SecretString':'elsewhere'}",
                     "\"ARN\"");
    world->harness.caller.region = TEXT("eu-west-1");
    return rc;
}

// A host of the pool that can do secrets, unlike the world's own.
static size_t able_node(struct world *world, const char *zone)
{
    size_t node = world_join(world);
    world_as_node(world, node);
    harness_contains(
        &world->harness, "RegisterContainerInstance",
        world_text("{'totalResources':[{'name':'CPU','type':'INTEGER','integerValue':4096},"
                   "{'name':'MEMORY','type':'INTEGER','integerValue':8192}],'attributes':["
                   "{'name':'ecs.availability-zone','value':'%s'}," WORLD_CAPABILITIES
                   ",{'name':'ecs.capability.secrets.asm.environment-variables'},"
                   "{'name':'ecs.capability.secrets.ssm.environment-variables'},"
                   "{'name':'berth.capacity','value':'FARGATE'}]}",
                   zone),
        "'containerInstanceArn'");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_connect(world, node);
    return node;
}

// Run a task whose first container has these secrets; it is placed on the node.
static void run(struct world *world, const char *secrets)
{
    harness_contains(
        &world->harness, "RegisterTaskDefinition",
        world_text("{'family':'web','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],"
                   "'cpu':'256','memory':'512','executionRoleArn':'r','containerDefinitions':["
                   "{'name':'app','image':'a','secrets':[%s]},"
                   "{'name':'side','image':'a','secrets':[{'name':'A','valueFrom':'/p'}]}]}",
                   secrets),
        "'revision'");
    world_run(world, 0, "");
}

static void expect(struct world *world, size_t node, const char *want)
{
    world_as_node(world, node);
    harness_contains(&world->harness, "GetTaskSecrets", world_text("{'task':'%s'}", world->task),
                     want);
    world_as_root(world);
}

static const char *secret(const char *name, const char *region, const char *account,
                          const char *more)
{
    return world_text("{'name':'%s','valueFrom':'" ARN "%s'}", name, region, account, more);
}

static void its_node_is_told_while_it_is_to_run(void **state)
{
    struct world *world = *state;
    size_t node = able_node(world, "eu-west-1a");
    run(world, secret("A", "eu-west-1", "123456789012", ""));
    size_t other = able_node(world, "eu-west-1b");
    expect(world, node,
           "{\"secrets\":[{\"container\":\"app\",\"name\":\"A\",\"value\":\"{\\\"k\\\":"
           "\\\"here\\\"}\"},{\"container\":\"side\",\"name\":\"A\",\"value\":\"parameter\"}]}");
    expect(world, other, "ResourceNotFoundException: Node ");
    harness_expect(&world->harness, "GetTaskSecrets", world_text("{'task':'%s'}", world->task),
                   "AccessDeniedException: Only the node that is to start a task is told its "
                   "secrets.");
    world_as_node(world, node);
    harness_contains(&world->harness, "GetTaskSecrets", "{'task':'x'}",
                     "ResourceNotFoundException: Node ");
    world_as_root(world);
    world_submit(world, node, "RUNNING", "");
    expect(world, node, "\"secrets\":[{");
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "\"STOPPED\"");
    expect(world, node, "that is to run.");
}

static void another_region_is_read_and_another_account_is_not(void **state)
{
    struct world *world = *state;
    size_t node = able_node(world, "eu-west-1a");
    run(world, secret("A", "eu-west-2", "123456789012", ""));
    expect(world, node, "\"value\":\"elsewhere\"");
    run(world, secret("A", "eu-west-1", "210987654321", ""));
    expect(world, node,
           "\"reason\":\"ResourceInitializationError: unable to pull secrets or registry auth: "
           "execution resource retrieval failed: unable to retrieve secret from asm: service call "
           "has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-west-1:"
           "210987654321:secret:s from secrets manager: ResourceNotFoundException: Secrets Manager "
           "can");
    assert_non_null(strstr(world->harness.answer.data, "\"secrets\":[]"));
    assert_non_null(strstr(world->harness.answer.data, "\"container\":\"app\""));
    run(world, secret("A", "eu-west-1", "123456789012", ":k::"));
    expect(world, node, "\"value\":\"here\"");
}

static void a_value_that_cannot_be_opened_is_told(void **state)
{
    struct world *world = *state;
    static const struct seal_cipher other = {.key_id = {1}, .encrypt = encrypt, .decrypt = decrypt};
    size_t node = able_node(world, "eu-west-1a");
    run(world, "{'name':'A','valueFrom':'/p'}");
    secrets_set_cipher(world->harness.core, &other);
    expect(world, node,
           "unable to retrieve secrets from ssm: service call has been retried 1 time(s): "
           "InvalidKeyId: The value of /p cannot be opened: it was sealed with another key than "
           "the server");
    run(world, secret("A", "eu-west-1", "123456789012", ""));
    expect(world, node, "DecryptionFailure: Secrets Manager can");
}

// More than one transaction can note: the values are told all the same.
static void many_secrets_are_told(void **state)
{
    struct world *world = *state;
    size_t node = able_node(world, "eu-west-1a");
    AUTO(buf_deinit) struct buf secrets = {0};
    for (int i = 0; i < 70; i++) {
        harness_contains(&world->harness, "CreateSecret",
                         world_text("{'Name':'m%d','SecretString':'x'}", i), "\"ARN\"");
        buf_format(&secrets,
                   "%s{'name':'A%d','valueFrom':'arn:aws:secretsmanager:eu-west-1:123456789012:"
                   "secret:m%d'}",
                   i == 0 ? "" : ",", i, i);
    }
    AUTO(alloc_string)
    char *request = alloc_format(
        "{'family':'web','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256',"
        "'memory':'512','executionRoleArn':'r','containerDefinitions':[{'name':'app','image':'a',"
        "'secrets':[%s]}]}",
        secrets.data);
    harness_contains(&world->harness, "RegisterTaskDefinition", request, "'revision'");
    world_run(world, 0, "");
    expect(world, node, "\"name\":\"A69\",\"value\":\"x\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(its_node_is_told_while_it_is_to_run, setup, world_teardown),
        cmocka_unit_test_setup_teardown(another_region_is_read_and_another_account_is_not, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_value_that_cannot_be_opened_is_told, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(many_secrets_are_told, setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
