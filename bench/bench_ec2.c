/*
 * What looking at networks costs: 10,000 security groups in five accounts (a VPC has 2,500 at most)
 * and 10,000 interfaces of the first of them, in the engine alone, without HTTP and a store.
 *
 * A page and a look-up by id are to cost what they answer, whatever else there is.
 */
#include "api/berth.h"
#include "api/ec2.h"
#include "base/clock.h"
#include "base/text.h"
#include "identity/identity.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_OF_VPC 2490 // and the two that it begins with
#define VPCS 4
#define INTERFACES 10000
#define IN_GROUP 20 // interfaces in each group that has any
#define NOW_MS INT64_C(1700000000000)
#define ROUNDS 5 // the best counts: others may use the machine meanwhile
#define ROUND_NS INT64_C(50000000)

struct bench {
    struct core *core;
    struct arena arena;
    uint64_t serial;
    char account[13];
    struct text group; // of the first account, with interfaces
    struct text rule;  // of that group
    struct text interface;
    struct arena kept;
};

// Interfaces come with tasks, which are not here: they are made inside an input of their own.
static void (*make)(struct core_call *call);

static int run_make(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)request;
    struct berth_list_nodes_response *out = response;
    out->nodes.items = SHAPE_EMPTY;
    make(call);
    return 0;
}

static const struct core_handler make_handlers[] = {
    {&berth_operations[BERTH_OP_LIST_NODES], run_make},
};
static const struct core_module make_module = {
    .name = "make", .handlers = make_handlers, .handler_count = 1};
static const struct core_module *const modules[] = {&identity_module, &vpc_module, &make_module};

static struct bench bench;

static void *ask(const struct api_operation *operation, const void *request)
{
    const struct core_caller caller = {.account = text_of(bench.account),
                                       .region = TEXT("eu-west-1"),
                                       .arn = TEXT("arn:aws:iam::000000000000:root")};
    struct core_input input = {.now_ms = NOW_MS};
    bench.serial++;
    memcpy(input.entropy, &bench.serial, sizeof(bench.serial));
    arena_reset(&bench.arena);
    struct core_call call = {.arena = &bench.arena};
    void *response = arena_alloc(&bench.arena, operation->output->size_bytes);
    if (core_request(bench.core, &input, &caller, operation, &call, request, response) != 0) {
        fprintf(stderr, "bench_ec2: %s: %s\n", operation->name, call.fault_text);
        exit(1);
    }
    return response;
}

static void commit(void)
{
    core_batch_free(core_batch_take(bench.core));
}

static void account(int number)
{
    snprintf(bench.account, sizeof(bench.account), "%012d", number);
}

static struct text groups[GROUPS_OF_VPC];
static struct text subnets[3];
static size_t made;

static void make_interfaces(struct core_call *call)
{
    const struct vpc_record_subnet *any =
        core_get(call->core, &vpc_subnet_kind, core_next(call->core, &vpc_subnet_kind, 0));
    const struct vpc_record_vpc *vpc = core_get(call->core, &vpc_kind, any->vpc);
    for (size_t i = 0; i < 50; i++, made++) {
        int64_t subnet = vpc_subnet_find(call->core, vpc->realm, subnets[made % 3]);
        struct text_list in = {&groups[made / IN_GROUP % GROUPS_OF_VPC], 1};
        int64_t key = vpc_eni_create(call, subnet, &in, 1);
        const struct vpc_record_eni *eni = core_get(call->core, &vpc_eni_kind, key);
        if (made == INTERFACES / 2) {
            bench.interface = arena_text(&bench.kept, eni->eni_id);
            bench.group = in.items[0];
        }
    }
}

static void make_region(void)
{
    bench.core = core_new(modules, ARRAY_LEN(modules));
    const struct core_input begin = {.now_ms = NOW_MS};
    core_recover(bench.core, &begin);
    for (int vpc = 0; vpc < VPCS + 1; vpc++) {
        account(vpc);
        const struct berth_describe_network_request network = {0};
        const struct berth_describe_network_response *there =
            ask(&berth_operations[BERTH_OP_DESCRIBE_NETWORK], &network);
        for (size_t i = 0; vpc == 0 && i < 3; i++) {
            subnets[i] = arena_text(&bench.kept, there->subnets.items[i].subnet_id);
        }
        for (size_t i = 0; i < (vpc == VPCS ? 40 : GROUPS_OF_VPC); i++) {
            char name[32];
            snprintf(name, sizeof(name), "group-%zu", i);
            const struct ec2_create_security_group_request request = {
                .group_name = text_of(name), .group_description = TEXT("one of many")};
            const struct ec2_create_security_group_result *result =
                ask(&ec2_operations[EC2_OP_CREATE_SECURITY_GROUP], &request);
            if (vpc == 0) {
                groups[i] = arena_text(&bench.kept, result->group_id);
            }
            commit();
        }
    }
    account(0);
    make = make_interfaces;
    const struct berth_list_nodes_request request = {0};
    while (made < INTERFACES) {
        ask(&berth_operations[BERTH_OP_LIST_NODES], &request);
        commit();
    }
    struct ec2_filter filter = {.name = TEXT("group-id"), .value = {&bench.group, 1}};
    const struct ec2_describe_security_group_rules_request rules = {.filter = {&filter, 1}};
    const struct ec2_describe_security_group_rules_result *shown =
        ask(&ec2_operations[EC2_OP_DESCRIBE_SECURITY_GROUP_RULES], &rules);
    bench.rule =
        arena_text(&bench.kept, shown->security_group_rule_set.items[0].security_group_rule_id);
}

// The best round's time for one request.
static void measure(const char *what, enum ec2_operation operation, const void *request)
{
    double best_us = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t begin_ns = clock_monotonic_ns();
        int64_t taken_ns = 0;
        size_t count = 0;
        while (taken_ns < ROUND_NS) {
            ask(&ec2_operations[operation], request);
            count++;
            taken_ns = clock_monotonic_ns() - begin_ns;
        }
        double us = (double)taken_ns / 1e3 / (double)count;
        best_us = round == 0 || us < best_us ? us : best_us;
    }
    printf("%-52s %9.1f us\n", what, best_us);
    fflush(stdout);
}

static struct text token_of_groups(void)
{
    const struct ec2_describe_security_groups_request request = {.has_max_results = true,
                                                                 .max_results = 1000};
    const struct ec2_describe_security_groups_result *result =
        ask(&ec2_operations[EC2_OP_DESCRIBE_SECURITY_GROUPS], &request);
    return arena_text(&bench.kept, result->next_token);
}

static void measure_groups(void)
{
    struct text name = TEXT("group-1234");
    struct ec2_filter by_name = {.name = TEXT("group-name"), .value = {&name, 1}};
    const struct ec2_describe_security_groups_request page = {.has_max_results = true,
                                                              .max_results = 5};
    const struct ec2_describe_security_groups_request next = {
        .has_max_results = true, .max_results = 5, .next_token = token_of_groups()};
    const struct ec2_describe_security_groups_request id = {.group_id = {&bench.group, 1}};
    const struct ec2_describe_security_groups_request filter = {.filter = {&by_name, 1}};
    measure("DescribeSecurityGroups, a page of 5", EC2_OP_DESCRIBE_SECURITY_GROUPS, &page);
    measure("DescribeSecurityGroups, 5 in the middle", EC2_OP_DESCRIBE_SECURITY_GROUPS, &next);
    measure("DescribeSecurityGroups, by id", EC2_OP_DESCRIBE_SECURITY_GROUPS, &id);
    measure("DescribeSecurityGroups, filter group-name", EC2_OP_DESCRIBE_SECURITY_GROUPS, &filter);
    account(VPCS);
    measure("DescribeSecurityGroups, an account of 42, page of 5", EC2_OP_DESCRIBE_SECURITY_GROUPS,
            &page);
    account(0);
}

static void measure_rules(void)
{
    struct ec2_filter of_group = {.name = TEXT("group-id"), .value = {&bench.group, 1}};
    const struct ec2_describe_security_group_rules_request id = {
        .security_group_rule_id = {&bench.rule, 1}};
    const struct ec2_describe_security_group_rules_request filter = {.filter = {&of_group, 1}};
    measure("DescribeSecurityGroupRules, by id", EC2_OP_DESCRIBE_SECURITY_GROUP_RULES, &id);
    measure("DescribeSecurityGroupRules, filter group-id", EC2_OP_DESCRIBE_SECURITY_GROUP_RULES,
            &filter);
}

static void measure_interfaces(void)
{
    struct text zone = TEXT("eu-west-1b");
    struct ec2_filter of_group = {.name = TEXT("group-id"), .value = {&bench.group, 1}};
    struct ec2_filter of_zone = {.name = TEXT("availability-zone"), .value = {&zone, 1}};
    const struct ec2_describe_network_interfaces_request page = {.has_max_results = true,
                                                                 .max_results = 5};
    const struct ec2_describe_network_interfaces_request id = {
        .network_interface_id = {&bench.interface, 1}};
    const struct ec2_describe_network_interfaces_request filter = {.filter = {&of_group, 1}};
    const struct ec2_describe_network_interfaces_request zones = {
        .filter = {&of_zone, 1}, .has_max_results = true, .max_results = 1000};
    measure("DescribeNetworkInterfaces, a page of 5", EC2_OP_DESCRIBE_NETWORK_INTERFACES, &page);
    measure("DescribeNetworkInterfaces, by id", EC2_OP_DESCRIBE_NETWORK_INTERFACES, &id);
    measure("DescribeNetworkInterfaces, filter group-id, 20", EC2_OP_DESCRIBE_NETWORK_INTERFACES,
            &filter);
    measure("DescribeNetworkInterfaces, filter zone, 1000", EC2_OP_DESCRIBE_NETWORK_INTERFACES,
            &zones);
    account(VPCS);
    measure("DescribeNetworkInterfaces, an account without", EC2_OP_DESCRIBE_NETWORK_INTERFACES,
            &page);
    account(0);
}

static void measure_others(void)
{
    struct ec2_filter of_group = {.name = TEXT("resource-id"), .value = {&bench.group, 1}};
    const struct ec2_describe_subnets_request all = {0};
    const struct ec2_describe_tags_request tags = {.filter = {&of_group, 1}};
    struct ec2_tag tag = {.key = TEXT("a"), .value = TEXT("b")};
    const struct ec2_create_tags_request create = {
        .has_dry_run = false, .resource_id = {&bench.interface, 1}, .tag = {&tag, 1}};
    measure("DescribeSubnets", EC2_OP_DESCRIBE_SUBNETS, &all);
    measure("DescribeTags, filter resource-id", EC2_OP_DESCRIBE_TAGS, &tags);
    int64_t begin_ns = clock_monotonic_ns();
    for (int i = 0; i < 100; i++) {
        ask(&ec2_operations[EC2_OP_CREATE_TAGS], &create);
        commit();
    }
    printf("%-52s %9.1f us\n", "CreateTags of an interface",
           (double)(clock_monotonic_ns() - begin_ns) / 1e3 / 100);
}

int main(void)
{
    make_region();
    printf("%zu groups, %zu interfaces\n", core_count(bench.core, &vpc_group_kind),
           core_count(bench.core, &vpc_eni_kind));
    measure_groups();
    measure_rules();
    measure_interfaces();
    measure_others();
    core_free(bench.core);
    arena_deinit(&bench.arena);
    arena_deinit(&bench.kept);
    return 0;
}
