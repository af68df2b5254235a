#include "../ecs/harness.h"

#include "base/text.h"
#include "identity/identity.h"

#include <stdio.h>
#include <string.h>

static const struct core_module *const modules[] = {&identity_module};

static int setup(void **state)
{
    struct harness *harness = ALLOC(struct harness);
    harness_init(harness, modules, ARRAY_LEN(modules));
    *state = harness;
    return 0;
}

static int teardown(void **state)
{
    harness_deinit(*state);
    alloc_free(*state);
    return 0;
}

static void region_known_is_what_aws_has(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool want;
    } cases[] = {
        {"af-south-1", true}, {"eu-west-1", true},   {"us-west-2", true},   {"us-east-1", true},
        {"eu-west-9", false}, {"EU-WEST-1", false},  {"eu-west-1a", false}, {"eu-west", false},
        {"", false},          {"aws-global", false}, {"zz", false},         {"cn-north-1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(identity_region_known(text_of(cases[i].name)), cases[i].want);
    }
    assert_false(identity_region_known((struct text){0}));
}

// EnsureRootKey runs at every start: it must change nothing when the key is there.
static void root_key_ensure_is_idempotent(void **state)
{
    struct harness *harness = *state;
    const char *request = "{'account':'123456789012','accessKeyId':'BERTHROOT',"
                          "'secretAccessKey':'hush'}";
    harness_expect(harness, "EnsureRootKey", request, "{'changed':true}");
    harness_expect(harness, "EnsureRootKey", request, "{'changed':false}");
    harness_restart(harness);
    harness_expect(harness, "EnsureRootKey", request, "{'changed':false}");
    const struct identity_record_access_key *key = identity_key(harness->core, TEXT("BERTHROOT"));
    assert_non_null(key);
    assert_true(text_is(key->arn, "arn:aws:iam::123456789012:root"));
    assert_true(text_is(key->secret_access_key, "hush"));
    harness_expect(harness, "EnsureRootKey",
                   "{'account':'123456789012','accessKeyId':'BERTHROOT',"
                   "'secretAccessKey':'other'}",
                   "{'changed':true}");
    assert_true(
        text_is(identity_key(harness->core, TEXT("BERTHROOT"))->secret_access_key, "other"));
    assert_null(identity_key(harness->core, TEXT("BERTHOTHER")));
    assert_null(identity_key(harness->core, (struct text){0}));
}

static void caller_identity_tells_root_and_node(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "GetCallerIdentity", "{}",
                   "{'UserId':'123456789012','Account':'123456789012',"
                   "'Arn':'arn:aws:iam::123456789012:root'}");
    harness->caller.node_id = TEXT("n-1");
    harness->caller.arn = TEXT("arn:aws:sts::123456789012:assumed-role/berth-node/n-1");
    harness_expect(harness, "GetCallerIdentity", "{}",
                   "{'UserId':'berth-node:n-1','Account':'123456789012',"
                   "'Arn':'arn:aws:sts::123456789012:assumed-role/berth-node/n-1'}");
}

/** A request of JoinNode for the token in the last answer. */
static void join_request(const struct harness *harness, char *out_request, size_t size_bytes)
{
    char token[200];
    harness_member(harness, "token", token, sizeof(token));
    struct text secret = text_of(token);
    struct text id = text_cut(&secret, '.');
    snprintf(out_request, size_bytes, "{'tokenId':'%.*s','tokenSecret':'%.*s','name':'host-1'}",
             TEXT_FMT(id), TEXT_FMT(secret));
}

#define REFUSED                                                                                    \
    "AccessDeniedException: The join token is unknown, expired or used up. Make a new one."

static void token_lets_in_as_often_as_it_says(void **state)
{
    struct harness *harness = *state;
    char request[400];
    harness_contains(harness, "CreateJoinToken", "{'uses':2}", "'expiresAt':1800086400,'uses':2}");
    join_request(harness, request, sizeof(request));
    harness_contains(harness, "JoinNode", request, "'region':'eu-west-1'");
    char node_id[40];
    char key_id[40];
    harness_member(harness, "nodeId", node_id, sizeof(node_id));
    harness_member(harness, "accessKeyId", key_id, sizeof(key_id));
    assert_int_equal(strlen(node_id), 2 + 17);
    assert_int_equal(strlen(key_id), 20);
    harness_restart(harness);
    const struct identity_record_access_key *key = identity_key(harness->core, text_of(key_id));
    assert_non_null(key);
    assert_true(text_is(key->node_id, node_id));
    harness_contains(harness, "JoinNode", request, "nodeId");
    harness_expect(harness, "JoinNode", request, REFUSED);
}

static void token_refuses_what_is_wrong(void **state)
{
    struct harness *harness = *state;
    char request[400];
    harness_contains(harness, "CreateJoinToken", "{'expiresInSeconds':60}", "'uses':1}");
    join_request(harness, request, sizeof(request));
    harness_expect(harness, "JoinNode", "{'tokenId':'no','tokenSecret':'no','name':'x'}", REFUSED);

    char wrong[400];
    memcpy(wrong, request, sizeof(wrong));
    char *last = strstr(wrong, "','name'");
    last[-1] = last[-1] == 'a' ? 'b' : 'a';
    harness_expect(harness, "JoinNode", wrong, REFUSED);

    harness->now_ms += 60 * 1000;
    harness_expect(harness, "JoinNode", request, REFUSED);
}

static void tokens_go_when_they_expire(void **state)
{
    struct harness *harness = *state;
    harness_contains(harness, "CreateJoinToken", "{'expiresInSeconds':60}", "token");
    harness_contains(harness, "CreateJoinToken", "{'expiresInSeconds':120}", "token");
    assert_int_equal(core_count(harness->core, &identity_join_token_kind), 2);
    harness_advance(harness, 60 * 1000);
    assert_int_equal(core_count(harness->core, &identity_join_token_kind), 1);
    harness_restart(harness);
    harness_advance(harness, 60 * 1000);
    assert_int_equal(core_count(harness->core, &identity_join_token_kind), 0);
}

static void tokens_are_few_and_not_for_nodes(void **state)
{
    struct harness *harness = *state;
    for (int i = 0; i < IDENTITY_TOKENS_MAX; i++) {
        harness_contains(harness, "CreateJoinToken", "{}", "token");
    }
    harness_contains(harness, "CreateJoinToken", "{}", "LimitExceededException: ");
    harness->caller.node_id = TEXT("n-1");
    harness_expect(harness, "CreateJoinToken", "{}",
                   "AccessDeniedException: The key of a node cannot make join tokens.");
}

static char joined_name[64];

static void remember_joined(struct core_call *call, const struct identity_node *node)
{
    assert_non_null(call->core);
    assert_int_equal(text_copy(node->name, joined_name, sizeof(joined_name)), 0);
    assert_true(text_is(node->account, "123456789012"));
    assert_true(text_is(node->region, "eu-west-1"));
}

static void join_tells_the_keeper_of_nodes(void **state)
{
    struct harness *harness = *state;
    char request[400];
    identity_on_join(harness->core, remember_joined);
    harness_call(harness, "CreateJoinToken", "{}");
    join_request(harness, request, sizeof(request));
    harness_contains(harness, "JoinNode", request, "nodeId");
    assert_string_equal(joined_name, "host-1");
}

static void take_keys_away(struct core_call *call, const struct identity_node *node)
{
    identity_node_key_create(call, node->account, TEXT("n-other"));
    identity_node_key_create(call, node->account, node->node_id);
    identity_node_keys_delete(call, node->node_id);
}

static void node_keys_delete_takes_all_of_one_node(void **state)
{
    struct harness *harness = *state;
    char request[400];
    char key_id[40];
    identity_on_join(harness->core, take_keys_away);
    harness_call(harness, "CreateJoinToken", "{}");
    join_request(harness, request, sizeof(request));
    harness_contains(harness, "JoinNode", request, "nodeId");
    harness_member(harness, "accessKeyId", key_id, sizeof(key_id));
    assert_null(identity_key(harness->core, text_of(key_id)));
    assert_int_equal(core_count(harness->core, &identity_access_key_kind), 1);
}

// There is one key, over restarts, and none is made unasked.
static void signing_key_ensure_is_idempotent(void **state)
{
    struct harness *harness = *state;
    char first[80] = "";
    assert_null(identity_signing_key(harness->core).data);
    harness_expect(harness, "EnsureSigningKey", "{}", "{'changed':true}");
    assert_int_equal(identity_signing_key(harness->core).size, 64);
    IGNORE(text_copy(identity_signing_key(harness->core), first, sizeof(first)), "it fits");
    harness_expect(harness, "EnsureSigningKey", "{}", "{'changed':false}");
    harness_restart(harness);
    harness_expect(harness, "EnsureSigningKey", "{}", "{'changed':false}");
    assert_true(text_is(identity_signing_key(harness->core), first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(signing_key_ensure_is_idempotent, setup, teardown),
        cmocka_unit_test(region_known_is_what_aws_has),
        cmocka_unit_test_setup_teardown(root_key_ensure_is_idempotent, setup, teardown),
        cmocka_unit_test_setup_teardown(caller_identity_tells_root_and_node, setup, teardown),
        cmocka_unit_test_setup_teardown(token_lets_in_as_often_as_it_says, setup, teardown),
        cmocka_unit_test_setup_teardown(token_refuses_what_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_go_when_they_expire, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_are_few_and_not_for_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(join_tells_the_keeper_of_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(node_keys_delete_takes_all_of_one_node, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
