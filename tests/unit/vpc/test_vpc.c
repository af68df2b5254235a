#include "../ecs/harness.h"

#include "api/berth.h"
#include "base/limits.h"
#include "base/text.h"
#include "identity/identity.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

// What other modules ask of this one happens inside an input. An operation that no module under
// test handles runs it.
static void (*probe)(struct core_call *call);

static int run_probe(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)request;
    struct berth_list_nodes_response *out = response;
    out->nodes.items = SHAPE_EMPTY;
    probe(call);
    return 0;
}

static const struct core_handler probe_handlers[] = {
    {&berth_operations[BERTH_OP_LIST_NODES], run_probe},
};
static const struct core_module probe_module = {
    .name = "probe", .handlers = probe_handlers, .handler_count = 1};
static const struct core_module *const modules[] = {&identity_module, &vpc_module, &probe_module};

static void in_call(struct harness *harness, void (*function)(struct core_call *))
{
    probe = function;
    struct core_call call = {.arena = &harness->arena};
    struct core_input input = {.now_ms = harness->now_ms};
    struct berth_list_nodes_request request = {0};
    struct berth_list_nodes_response response = {0};
    arena_reset(&harness->arena);
    assert_int_equal(core_request(harness->core, &input, &harness->caller,
                                  &berth_operations[BERTH_OP_LIST_NODES], &call, &request,
                                  &response),
                     0);
    harness_call(harness, "GetCallerIdentity", "{}"); // commits and checks
}

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

static void parse_cidr_takes_networks_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want_rc;
        uint32_t want_base;
        uint8_t want_length;
        bool want_valid;
    } cases[] = {
        {"172.31.0.0/16", 0, 0xac1f0000, 16, true},
        {"10.1.2.0/24", 0, 0x0a010200, 24, true},
        {"10.0.0.0/8", 0, 0x0a000000, 8, false},
        {"10.1.2.0/25", 0, 0x0a010200, 25, false},
        {"0.0.0.0/0", 0, 0, 0, false},
        {"255.255.255.255/32", 0, 0xffffffff, 32, false},
        {"10.1.2.1/24", ERR_INVALID, 0, 0, false},
        {"10.1.2.0", ERR_INVALID, 0, 0, false},
        {"10.1.2/24", ERR_INVALID, 0, 0, false},
        {"10.1.2.0.0/24", ERR_INVALID, 0, 0, false},
        {"10.01.2.0/24", ERR_INVALID, 0, 0, false},
        {"256.1.2.0/24", ERR_INVALID, 0, 0, false},
        {"10.1.2.0/33", ERR_INVALID, 0, 0, false},
        {"10.1.2.0/-1", ERR_INVALID, 0, 0, false},
        {"", ERR_INVALID, 0, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].text);
        struct vpc_range range = {0};
        assert_int_equal(vpc_parse_cidr(text_of(cases[i].text), &range), cases[i].want_rc);
        assert_int_equal(range.base, cases[i].want_base);
        assert_int_equal(range.prefix_length, cases[i].want_length);
        assert_int_equal(vpc_cidr_valid(text_of(cases[i].text)), cases[i].want_valid);
    }
}

// Examples name these ids: they follow from account, region and zone and never change.
static const char network[] =
    "{'vpcId':'vpc-a010c8e80489c81ee','cidrBlock':'172.31.0.0/16','subnets':["
    "{'subnetId':'subnet-6ad4c4b0712d1a55f','availabilityZone':'eu-west-1a','cidrBlock':'172.31.0."
    "0/20',"
    "'freeAddressCount':4091},"
    "{'subnetId':'subnet-5a3752e23b522b68a','availabilityZone':'eu-west-1b','cidrBlock':'172.31.16."
    "0/20',"
    "'freeAddressCount':4091},"
    "{'subnetId':'subnet-b47c4d894a90738e8','availabilityZone':'eu-west-1c','cidrBlock':'172.31.32."
    "0/20',"
    "'freeAddressCount':4091}],'securityGroupId':'sg-7b8f65090de880ced'}";

static void describe_network_makes_it_once(void **state)
{
    struct harness *harness = *state;
    harness_expect(harness, "DescribeNetwork", "{}", network);
    uint64_t version = core_version(harness->core);
    harness_expect(harness, "DescribeNetwork", "{}", network);
    assert_int_equal(core_version(harness->core), version);
    harness_restart(harness);
    harness_expect(harness, "DescribeNetwork", "{}", network);

    harness->caller.account = TEXT("000000000000");
    harness_contains(harness, "DescribeNetwork", "{}", "'cidrBlock':'172.31.0.0/16'");
    char id[40];
    harness_member(harness, "vpcId", id, sizeof(id));
    assert_null(strstr(network, id));
}

static void default_cidr_cuts_sixteen_subnets(void **state)
{
    struct harness *harness = *state;
    vpc_set_default_cidr(harness->core, TEXT("10.9.8.0/24"));
    harness_contains(harness, "DescribeNetwork", "{}",
                     "'availabilityZone':'eu-west-1c','cidrBlock':'10.9.8.32/28',"
                     "'freeAddressCount':11");
}

static int64_t realm_of(const struct core_call *call)
{
    return identity_realm(call->core, call->caller->account, call->caller->region);
}

static int64_t first_subnet(struct core_call *call)
{
    int64_t vpc = vpc_default_ensure(call, realm_of(call));
    return core_next(call->core, &vpc_subnet_kind, vpc);
}

static void subnet_lookup(struct core_call *call)
{
    int64_t subnet = first_subnet(call);
    const struct vpc_record_subnet *record = core_get(call->core, &vpc_subnet_kind, subnet);
    int64_t realm = realm_of(call);
    assert_int_equal(vpc_subnet_find(call->core, realm, record->subnet_id), subnet);
    assert_int_equal(vpc_subnet_find(call->core, realm + 1, record->subnet_id), 0);
    assert_int_equal(vpc_subnet_find(call->core, realm, TEXT("subnet-0")), 0);
    assert_int_equal(vpc_subnet_find(call->core, realm, (struct text){0}), 0);
    const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, record->vpc);
    assert_int_not_equal(vpc_group_find(call->core, record->vpc, vpc->default_security_group_id),
                         0);
    assert_int_equal(vpc_group_find(call->core, record->vpc, TEXT("sg-0")), 0);
}

static void subnets_and_groups_are_found_by_id(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "DescribeNetwork", "{}");
    in_call(harness, subnet_lookup);
}

static void spec_of_first(struct core_call *call)
{
    int64_t eni = vpc_eni_create(call, first_subnet(call), NULL, 77);
    struct session_eni spec = {0};
    vpc_eni_spec(call, eni, TEXT("eu-west-1"), &spec);
    assert_true(text_is(spec.address, "172.31.0.4"));
    assert_int_equal(spec.prefix_length, 20);
    assert_true(text_is(spec.gateway, "172.31.0.1"));
    assert_true(text_is(spec.subnet_cidr, "172.31.0.0/20"));
    assert_true(text_is(spec.vpc_cidr, "172.31.0.0/16"));
    assert_true(text_is(spec.mac_address, "02:00:ac:1f:00:04"));
    assert_true(text_is(spec.hostname, "ip-172-31-0-4.eu-west-1.compute.internal"));
    assert_int_equal(spec.domain_name_servers.count, 1);
    assert_true(text_is(spec.domain_name_servers.items[0], "172.31.0.2"));
    assert_int_equal(spec.security_groups.count, 1);
    assert_true(text_starts(spec.security_groups.items[0], TEXT("sg-")));
    assert_int_equal(spec.eni_id.size, 4 + 17);
    vpc_eni_spec(call, eni, TEXT("us-east-1"), &spec);
    assert_true(text_is(spec.hostname, "ip-172-31-0-4.ec2.internal"));

    // One that is named twice counts once.
    struct text names[] = {TEXT("sg-1"), TEXT("sg-2"), TEXT("sg-1")};
    const struct text_list groups = {.items = names, .count = 3};
    vpc_eni_spec(call, vpc_eni_create(call, first_subnet(call), &groups, 78), TEXT("eu-west-1"),
                 &spec);
    assert_true(text_is(spec.address, "172.31.0.5"));
    assert_int_equal(spec.security_groups.count, 2);
    assert_true(text_is(spec.security_groups.items[1], "sg-2"));
}

static void eni_spec_is_what_a_node_needs(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "DescribeNetwork", "{}");
    in_call(harness, spec_of_first);
}

static int64_t last_eni;

static void make_one(struct core_call *call)
{
    last_eni = vpc_eni_create(call, first_subnet(call), NULL, 1);
}

static void delete_last(struct core_call *call)
{
    vpc_eni_delete(call, last_eni);
    vpc_eni_delete(call, last_eni);
    vpc_eni_delete(call, 0);
}

static uint32_t last_byte(struct harness *harness)
{
    const struct vpc_record_eni *eni = core_get(harness->core, &vpc_eni_kind, last_eni);
    return eni == NULL ? 0 : (uint32_t)eni->address & 255;
}

// A /28 has 16 addresses, of which five are reserved. What was just freed rests while others are
// free, also over a restart.
static void addresses_go_round_and_run_out(void **state)
{
    struct harness *harness = *state;
    vpc_set_default_cidr(harness->core, TEXT("10.0.0.0/24"));
    harness_call(harness, "DescribeNetwork", "{}");
    for (uint32_t want = 4; want <= 8; want++) {
        in_call(harness, make_one);
        assert_int_equal(last_byte(harness), want);
        if (want == 7) {
            in_call(harness, delete_last);
        }
    }
    harness_restart(harness);
    for (uint32_t want = 9; want <= 14; want++) {
        in_call(harness, make_one);
        assert_int_equal(last_byte(harness), want);
    }
    in_call(harness, make_one);
    assert_int_equal(last_byte(harness), 7);
    uint64_t version = core_version(harness->core);
    in_call(harness, make_one);
    assert_int_equal(last_eni, 0);
    assert_int_equal(core_version(harness->core), version);
    harness_contains(harness, "DescribeNetwork", "{}", "'freeAddressCount':0");
}

static size_t made;

static void make_many(struct core_call *call)
{
    int64_t subnet = first_subnet(call);
    for (int i = 0; i < 90; i++) {
        made += vpc_eni_create(call, subnet, NULL, 1) != 0 ? 1 : 0;
    }
}

static void whole_subnet_is_given_out(void **state)
{
    struct harness *harness = *state;
    harness_call(harness, "DescribeNetwork", "{}");
    made = 0;
    for (int i = 0; i < 50; i++) {
        in_call(harness, make_many);
    }
    assert_int_equal(made, 4096 - 5);
    assert_int_equal(core_count(harness->core, &vpc_eni_kind), 4096 - 5);
}

static void realms_are_bounded(void **state)
{
    struct harness *harness = *state;
    char account[13];
    for (int i = 0; i < LIMIT_REALMS; i++) {
        snprintf(account, sizeof(account), "%012d", i);
        harness->caller.account = text_of(account);
        harness_contains(harness, "DescribeNetwork", "{}", "vpc-");
    }
    harness->caller.account = TEXT("999999999999");
    harness_contains(harness, "DescribeNetwork", "{}",
                     "LimitExceededException: There are 1000 pairs of account and region");
    harness->caller.account = TEXT("000000000999");
    harness_contains(harness, "DescribeNetwork", "{}", "vpc-");
}

// A default VPC as it was stored before there were groups.
static void put_old_vpc(struct core_call *call)
{
    int64_t realm = identity_realm_ensure(call, &berth_error_limit_exceeded_exception);
    const struct vpc_record_vpc record = {
        .has_realm = true,
        .realm = realm,
        .vpc_id = TEXT("vpc-old"),
        .cidr = TEXT("172.31.0.0/16"),
        .has_is_default = true,
        .is_default = true,
        .default_security_group_id = TEXT("sg-old"),
    };
    core_put(call, &vpc_kind, core_new_key(call), &record);
}

static void older_vpcs_stay_open(void **state)
{
    struct harness *harness = *state;
    in_call(harness, put_old_vpc);
    harness_restart(harness);
    harness_advance(harness, 0);
    uint64_t version = core_version(harness->core);
    harness_contains(harness, "DescribeSecurityGroups", "{'GroupId':['sg-old']}",
                     "'ipPermissions':[{'ipProtocol':'-1','groups':[{'userId':'123456789012',"
                     "'groupId':'sg-old'}],'ipRanges':[{'description':'From before groups were "
                     "enforced','cidrIp':'0.0.0.0/0'}]");
    harness_contains(harness, "DescribeSecurityGroups", "{'GroupName':['berth']}",
                     "'cidrIp':'169.254.0.0/16'");
    // They were made by themselves, once.
    assert_int_equal(core_version(harness->core), version);
    harness_contains(harness, "RevokeSecurityGroupIngress",
                     "{'GroupId':'sg-old','IpPermissions':[{'ipProtocol':'-1','ipRanges':[{"
                     "'cidrIp':'0.0.0.0/0'}]}]}",
                     "'return':true");
    harness_restart(harness);
    harness_advance(harness, 0);
    assert_null(strstr(harness_call(harness, "DescribeSecurityGroups", "{'GroupId':['sg-old']}"),
                       "From before"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_cidr_takes_networks_only),
        cmocka_unit_test_setup_teardown(describe_network_makes_it_once, setup, teardown),
        cmocka_unit_test_setup_teardown(default_cidr_cuts_sixteen_subnets, setup, teardown),
        cmocka_unit_test_setup_teardown(subnets_and_groups_are_found_by_id, setup, teardown),
        cmocka_unit_test_setup_teardown(eni_spec_is_what_a_node_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_go_round_and_run_out, setup, teardown),
        cmocka_unit_test_setup_teardown(whole_subnet_is_given_out, setup, teardown),
        cmocka_unit_test_setup_teardown(realms_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(older_vpcs_stay_open, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
