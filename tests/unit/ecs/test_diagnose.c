#include "task_world.h"

#include "ecs/diagnose.h"
#include "shape/json.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

#define JOB "'cluster':'c','taskDefinition':'job'"

static size_t instance(struct world *world, const char *zone, int cpu_units, int memory_mib)
{
    size_t node = world_join(world);
    world_register(world, node, "c", zone, cpu_units, memory_mib);
    world_connect(world, node);
    return node;
}

static void define(struct world *world, const char *family, const char *container)
{
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     world_text("{'family':'%s','containerDefinitions':[{'name':'a','image':'i:1'%s"
                                "}]}",
                                family, container),
                     "'revision':1");
}

static void read_answer(struct world *world, const struct shape_type *type, struct arena *arena,
                        void *out)
{
    struct shape_error error = {0};
    if (json_decode(type, buf_view(&world->harness.answer), arena, out, &error) != 0) {
        fail_msg("%s %s in %s", error.path, error.text, world->harness.answer.data);
    }
}

static void explain(struct world *world, const char *members, struct arena *arena,
                    struct berth_explain_placement_response *out)
{
    harness_contains(&world->harness, "ExplainPlacement", world_text("{%s}", members), "summary");
    *out = (struct berth_explain_placement_response){0};
    read_answer(world, &berth_explain_placement_response_shape, arena, out);
}

static const struct berth_placement_host *
host_of(const struct berth_explain_placement_response *answer, const struct world *world,
        size_t node)
{
    for (size_t i = 0; i < answer->hosts.count; i++) {
        if (text_is(answer->hosts.items[i].node_id, world->nodes[node].node_id)) {
            return &answer->hosts.items[i];
        }
    }
    fail_msg("no host %s", world->nodes[node].node_id);
    return NULL;
}

// What stands against a host, as `REASON subject asked/free of total; ...`.
static const char *against(const struct berth_placement_host *host)
{
    static char text[1024];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < host->reasons.count; i++) {
        const struct berth_placement_reason *reason = &host->reasons.items[i];
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.*s", i == 0 ? "" : "; ",
                                 TEXT_FMT(reason->reason));
        if (reason->subject.data != NULL) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, " %.*s",
                                     TEXT_FMT(reason->subject));
        }
        if (reason->has_asked) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, " %lld/%lld of %lld",
                                     (long long)reason->asked, (long long)reason->free,
                                     (long long)reason->total);
        }
        assert_in_range(used, 0, sizeof(text) - 1);
        assert_false(text_empty(reason->detail));
    }
    return text;
}

static void every_reason_is_told(void **state)
{
    struct world *world = *state;
    enum { ROOMY, SMALL, ELSEWHERE, DRAINING, SILENT };
    instance(world, "eu-west-1a", 4000, 4000);
    instance(world, "eu-west-1a", 50, 32);
    instance(world, "eu-west-1b", 4000, 4000);
    instance(world, "eu-west-1a", 4000, 4000);
    size_t silent = world_join(world);
    world_register(world, silent, "c", "eu-west-1a", 4000, 4000);
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','containerInstances':['%s'],'status':'DRAINING'}",
                                world->nodes[DRAINING].instance),
                     "DRAINING");
    define(world, "port",
           ",'memory':6,'portMappings':[{'containerPort':80,'hostPort':8080},{"
           "'containerPort':53,'hostPort':53,'protocol':'udp'}]");
    define(world, "gpu", ",'memory':6,'resourceRequirements':[{'type':'GPU','value':'2'}]");
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'arm','runtimePlatform':{'cpuArchitecture':'ARM64',"
                     "'operatingSystemFamily':'LINUX'},'containerDefinitions':[{'name':'a','image':"
                     "'i:1','memory':6}]}",
                     "'revision':1");
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'own','networkMode':'awsvpc','containerDefinitions':[{'name':'a',"
                     "'image':'i:1','memory':6}]}",
                     "'revision':1");
    harness_contains(&world->harness, "StartTask",
                     world_text("{'cluster':'c','taskDefinition':'port','containerInstances':['%s'"
                                "]}",
                                world->nodes[ROOMY].instance),
                     "'failures':[]");
    static const struct {
        const char *name;
        const char *members;
        size_t node;
        const char *want;
    } cases[] = {
        {"room", JOB, ROOMY, ""},
        {"both resources", JOB, SMALL, "RESOURCE:CPU 100/50 of 50; RESOURCE:MEMORY 64/32 of 32"},
        {"draining", JOB, DRAINING, "INACTIVE"},
        {"never connected", JOB, SILENT, "AGENT"},
        {"ports, by protocol", "'cluster':'c','taskDefinition':'port'", ROOMY,
         "RESOURCE:PORTS 8080/tcp; RESOURCE:PORTS 53/udp"},
        {"ports elsewhere", "'cluster':'c','taskDefinition':'port'", ELSEWHERE, ""},
        {"GPUs", "'cluster':'c','taskDefinition':'gpu'", ROOMY, "RESOURCE:GPU 2/0 of 0"},
        {"architecture may be any when the host did not say",
         "'cluster':'c','taskDefinition':'arm'", ROOMY, ""},
        {"the expression",
         JOB ",'placementConstraints':[{'type':'memberOf','expression':'attribute:rack == 7'},{"
             "'type':'memberOf','expression':'agentConnected == true'}]",
         ROOMY, "MemberOf placement constraint unsatisfied. attribute:rack == 7"},
        {"a group's constraint comes last",
         JOB ",'placementConstraints':[{'type':'memberOf','expression':'not(task:group == "
             "family:port)'},{'type':'memberOf','expression':'attribute:rack exists'}]",
         ROOMY,
         "MemberOf placement constraint unsatisfied. attribute:rack exists; MemberOf placement "
         "constraint unsatisfied. not(task:group == family:port)"},
        {"distinct",
         JOB ",'group':'family:port','placementConstraints':[{'type':'distinctInstance'}]", ROOMY,
         "DistinctInstance placement constraint unsatisfied."},
    };
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct berth_explain_placement_response answer;
        explain(world, cases[i].members, &arena, &answer);
        const struct berth_placement_host *host = host_of(&answer, world, cases[i].node);
        assert_string_equal(against(host), cases[i].want);
        assert_int_equal(host->fits, cases[i].want[0] == '\0');
        assert_int_equal(answer.host_count, 5);
    }
    struct berth_explain_placement_response answer;
    explain(world,
            world_text("'cluster':'c','taskDefinition':'own','launchType':'EC2'," WORLD_NETWORK,
                       world->subnets[0]),
            &arena, &answer);
    assert_string_equal(against(host_of(&answer, world, ELSEWHERE)), "LOCATION eu-west-1b");
    assert_string_equal(against(host_of(&answer, world, ROOMY)), "");
}

static void the_pool_is_explained_by_host(void **state)
{
    struct world *world = *state;
    size_t here = world_pool_node(world, "eu-west-1a", 512, 1024);
    size_t there = world_pool_node(world, "eu-west-1b", 4096, 8192);
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_explain_placement_response answer;
    const char *one_zone = world_text(
        "'cluster':'c','taskDefinition':'web','launchType':'FARGATE','count':3," WORLD_NETWORK,
        world->subnets[0]);
    explain(world, one_zone, &arena, &answer);
    assert_int_equal(answer.placed_count, 2);
    assert_int_equal(answer.tasks.count, 2);
    assert_true(text_is(answer.tasks.items[0].node_id, world->nodes[here].node_id));
    assert_true(text_is(answer.tasks.items[0].subnet_id, world->subnets[0]));
    assert_int_equal(host_of(&answer, world, here)->task_count, 2);
    assert_null(host_of(&answer, world, here)->container_instance_arn.data);
    assert_string_equal(against(host_of(&answer, world, here)),
                        "RESOURCE:CPU 256/0 of 512; RESOURCE:MEMORY 512/0 of 1024");
    assert_string_equal(against(host_of(&answer, world, there)), "LOCATION eu-west-1b");
    assert_true(text_is(answer.summary,
                        "2 of 3 tasks find a place: RESOURCE:CPU on 1 of 2, RESOURCE:MEMORY on 1 "
                        "of 2, LOCATION on 1 of 2 hosts."));
    // The size of a task is that after overrides.
    explain(world,
            world_text("'cluster':'c','taskDefinition':'web','launchType':'FARGATE','overrides':{"
                       "'cpu':'1024','memory':'2048'}," WORLD_NETWORK,
                       world->subnets[0]),
            &arena, &answer);
    assert_int_equal(answer.cpu_units, 1024);
    assert_string_equal(against(host_of(&answer, world, here)),
                        "RESOURCE:CPU 1024/512 of 512; RESOURCE:MEMORY 2048/1024 of 1024");
    harness_contains(&world->harness, "PutClusterCapacityProviders",
                     "{'cluster':'c','capacityProviders':['FARGATE_SPOT'],"
                     "'defaultCapacityProviderStrategy':[]}",
                     "FARGATE_SPOT");
    harness_contains(&world->harness, "ExplainPlacement",
                     world_text("{'cluster':'c','taskDefinition':'web','capacityProviderStrategy':["
                                "{'capacityProvider':'FARGATE_SPOT'}]," WORLD_NETWORK "}",
                                world->subnets[0]),
                     "'summary':'The task finds no place: the FARGATE_SPOT pool has no "
                     "host.'");
}

// A subnet without a free address is no wrong place: placement calls it RESOURCE:ENI.
static void a_full_subnet_is_told(void **state)
{
    struct world *world = *state;
    vpc_set_default_cidr(world->harness.core, TEXT("10.0.0.0/24"));
    world->harness.caller.account = TEXT("210987654321");
    harness_contains(&world->harness, "CreateCluster", "{'clusterName':'c'}", "ACTIVE");
    harness_contains(&world->harness, "DescribeNetwork", "{}", "subnets");
    char subnet[40];
    harness_member(&world->harness, "subnetId", subnet, sizeof(subnet));
    harness_contains(
        &world->harness, "RegisterTaskDefinition",
        "{'family':'web','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],"
        "'cpu':'256','memory':'512','containerDefinitions':[{'name':'a','image':'i'}]}",
        "'revision':1");
    size_t node = world_pool_node(world, "eu-west-1a", 65536, 131072);
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_explain_placement_response answer;
    explain(
        world,
        world_text(
            "'cluster':'c','taskDefinition':'web','launchType':'FARGATE','count':12," WORLD_NETWORK,
            subnet),
        &arena, &answer);
    assert_int_equal(answer.placed_count, 11); // a /28 less the five that are reserved
    const struct berth_placement_host *host = host_of(&answer, world, node);
    assert_int_equal(host->reasons.count, 1);
    assert_true(text_is(host->reasons.items[0].reason, "RESOURCE:ENI"));
    assert_true(text_is(host->reasons.items[0].subject, subnet));
}

// The rehearsal must leave nothing: neither records nor what is free, nor the address that the next
// task gets; and what it says must be what then happens.
static void asking_changes_nothing(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    define(world, "port", ",'memory':6,'portMappings':[{'containerPort':80,'hostPort':8080}]");
    instance(world, "eu-west-1a", 1000, 1000);
    world_run(world, 0, "");
    world_forget(world);
    uint64_t version = core_version(world->harness.core);
    size_t tasks = core_count(world->harness.core, &task_kind);
    char nodes[8192];
    snprintf(nodes, sizeof(nodes), "%s", harness_call(&world->harness, "ListNodes", "{}"));
    for (size_t i = 0; i < 3; i++) {
        harness_contains(&world->harness, "ExplainPlacement",
                         world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE',"
                                    "'count':1000," WORLD_NETWORK "}",
                                    world->subnets[0]),
                         "'placedCount':15,");
        harness_contains(&world->harness, "ExplainPlacement",
                         "{'cluster':'c','taskDefinition':'port','count':2}",
                         "Port 8080/tcp goes to another of these tasks.");
    }
    assert_int_equal(core_version(world->harness.core), version);
    assert_int_equal(core_count(world->harness.core, &task_kind), tasks);
    harness_expect(&world->harness, "ListNodes", "{}", nodes);
    assert_int_equal(world->effects.size, 0);
    harness_expect(&world->harness, "ListUnplacedTasks", "{}", "{'unplaced':[]}");
    world_run(world, 0, "");
    world_effect(world, "'address':'172.31.0.5'"); // the one behind that of the first task
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'port'}",
                     "'failures':[]");
}

// A definition that is not registered is placed as if it were, of a family that is there or not,
// and is not there afterwards.
static void a_definition_may_come_along(void **state)
{
    struct world *world = *state;
    instance(world, "eu-west-1a", 1000, 1000);
    uint64_t version = core_version(world->harness.core);
    size_t definitions = core_count(world->harness.core, &ecs_definition_kind);
    size_t families = core_count(world->harness.core, &ecs_family_kind);
    static const struct {
        const char *family;
        const char *reference;
    } cases[] = {{"job", "job:2"}, {"fresh", "fresh:1"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct berth_explain_placement_response answer;
        explain(
            world,
            world_text("'cluster':'c','count':3,'definition':{'family':'%s',"
                       "'containerDefinitions':[{'name':'a','image':'i','cpu':400,'memory':9}]}",
                       cases[i].family),
            &arena, &answer);
        assert_int_equal(answer.placed_count, 2);
        assert_int_equal(answer.cpu_units, 400);
        assert_true(text_ends(answer.task_definition_arn, text_of(cases[i].reference)));
        assert_int_equal(answer.task_definition->container_definitions.count, 1);
        assert_true(answer.task_definition->container_definitions.items[0].essential);
    }
    assert_int_equal(core_version(world->harness.core), version);
    assert_int_equal(core_count(world->harness.core, &ecs_definition_kind), definitions);
    assert_int_equal(core_count(world->harness.core, &ecs_family_kind), families);
    harness_expect(&world->harness, "ExplainPlacement", "{'cluster':'c','taskDefinition':'job:2'}",
                   "ClientException: TaskDefinition not found.");
    harness_contains(
        &world->harness, "RegisterTaskDefinition",
        "{'family':'job','containerDefinitions':[{'name':'a','image':'i','memory':9}]}",
        "'revision':2");
}

static void refusals_are_those_of_run_task(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *members;
        const char *want;
    } cases[] = {
        {"'cluster':'none','taskDefinition':'job'", "ClusterNotFoundException: Cluster not found."},
        {"'cluster':'c','taskDefinition':'none'", "ClientException: TaskDefinition not found."},
        {"'cluster':'c','taskDefinition':'web','launchType':'FARGATE'",
         "InvalidParameterException: Network Configuration must be provided when networkMode "
         "'awsvpc' is specified."},
        {JOB ",'nextToken':'x'", "InvalidParameterException: Invalid token"},
        {JOB ",'definition':{'family':'f','containerDefinitions':[]}",
         "InvalidParameterException: Specify either taskDefinition or definition, but not both."},
        {"'cluster':'c','definition':{'family':'f','containerDefinitions':[]}",
         "ClientException: Container list cannot be empty."},
        {"'cluster':'c'", "ClientException: TaskDefinition can not be blank."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "ExplainPlacement", world_text("{%s}", cases[i].members),
                       cases[i].want);
    }
    // No instance is no mistake of the question: the answer is that nothing takes the task.
    harness_contains(&world->harness, "ExplainPlacement", "{" JOB "}",
                     "'summary':'The task finds no place: the cluster has no container "
                     "instances.'");
}

static void hosts_come_in_pages(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 5; i++) {
        instance(world, "eu-west-1a", 10, 10);
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_explain_placement_response answer = {0};
    size_t seen = 0;
    do {
        const char *next = answer.next_token.data == NULL
                               ? ""
                               : world_text(",'nextToken':'%.*s'", TEXT_FMT(answer.next_token));
        explain(world, world_text(JOB ",'maxHosts':2%s", next), &arena, &answer);
        assert_int_equal(answer.host_count, 5);
        assert_int_equal(answer.fit_count, 0);
        for (size_t i = 0; i < answer.hosts.count; i++) {
            assert_true(text_is(answer.hosts.items[i].node_id, world->nodes[seen].node_id));
            seen++;
        }
    } while (answer.next_token.data != NULL);
    assert_int_equal(seen, 5);
}

// ---- a random region: what is said is what happens ----------------------------------------

static uint32_t draw(uint32_t *random, uint32_t below)
{
    *random = *random * 1664525u + 1013904223u;
    return (*random >> 8) % below;
}

static void compare(struct world *world, const char *members, struct arena *arena)
{
    struct berth_explain_placement_response told;
    explain(world, members, arena, &told);
    harness_contains(&world->harness, "RunTask", world_text("{%s}", members), "failures");
    struct ecs_run_task_response done = {0};
    read_answer(world, &ecs_run_task_response_shape, arena, &done);
    assert_int_equal(told.placed_count, done.tasks.count);
    assert_int_equal(told.tasks.count, done.tasks.count);
    for (size_t i = 0; i < done.tasks.count; i++) {
        assert_true(text_equal(told.tasks.items[i].container_instance_arn,
                               done.tasks.items[i].container_instance_arn));
    }
    if (told.placed_count == told.asked_count) {
        return;
    }
    // Every host of the answer has a failure, and it is the first that was told of it.
    assert_int_equal(told.hosts.count, done.failures.count);
    for (size_t i = 0; i < done.failures.count; i++) {
        const struct berth_placement_host *host = &told.hosts.items[i];
        assert_false(host->fits);
        assert_true(text_equal(host->container_instance_arn, done.failures.items[i].arn));
        if (!text_equal(host->reasons.items[0].reason, done.failures.items[i].reason)) {
            fail_msg("%s\ntold %.*s, done %.*s", members, TEXT_FMT(host->reasons.items[0].reason),
                     TEXT_FMT(done.failures.items[i].reason));
        }
    }
}

static void what_is_told_is_what_happens(void **state)
{
    struct world *world = *state;
    define(world, "port", ",'memory':6,'portMappings':[{'containerPort':80,'hostPort':8080}]");
    define(world, "big", ",'memory':700,'cpu':700");
    static const char *const definitions[] = {"job", "port", "big"};
    static const char *const wishes[] = {
        "",
        ",'placementStrategy':[{'type':'binpack','field':'memory'}]",
        ",'placementStrategy':[{'type':'spread','field':'attribute:ecs.availability-zone'},{'type':"
        "'binpack','field':'cpu'}]",
        ",'placementConstraints':[{'type':'distinctInstance'}]",
        ",'placementConstraints':[{'type':'memberOf','expression':'attribute:ecs.availability-zone "
        "== eu-west-1a'}]",
        ",'group':'g','placementConstraints':[{'type':'memberOf','expression':'task:group == g or "
        "not(task:group == family:big)'}]",
    };
    uint32_t random = 7;
    for (size_t i = 0; i < 6; i++) {
        size_t node = instance(world, i % 2 == 0 ? "eu-west-1a" : "eu-west-1b",
                               500 + (int)draw(&random, 2000), 500 + (int)draw(&random, 2000));
        if (i == 4) {
            harness_contains(&world->harness, "UpdateContainerInstancesState",
                             world_text("{'cluster':'c','containerInstances':['%s'],'status':"
                                        "'DRAINING'}",
                                        world->nodes[node].instance),
                             "DRAINING");
        }
    }
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < 60; i++) {
        compare(world,
                world_text("'cluster':'c','taskDefinition':'%s','count':%u%s",
                           definitions[draw(&random, ARRAY_LEN(definitions))], draw(&random, 4) + 1,
                           wishes[draw(&random, ARRAY_LEN(wishes))]),
                &arena);
        arena_reset(&arena);
    }
}

// ---- what found no place ------------------------------------------------------------------

static void list_unplaced(struct world *world, const char *members, struct arena *arena,
                          struct berth_list_unplaced_tasks_response *out)
{
    harness_contains(&world->harness, "ListUnplacedTasks", world_text("{%s}", members), "unplaced");
    *out = (struct berth_list_unplaced_tasks_response){0};
    read_answer(world, &berth_list_unplaced_tasks_response_shape, arena, out);
}

static void failures_are_remembered(void **state)
{
    struct world *world = *state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_list_unplaced_tasks_response list;
    harness_contains(&world->harness, "RunTask", "{" JOB "}",
                     "No Container Instances were found in your cluster.");
    instance(world, "eu-west-1a", 150, 400);
    world->harness.now_ms += 1000;
    harness_contains(&world->harness, "RunTask", "{" JOB ",'count':3,'startedBy':'me'}", "CPU");
    list_unplaced(world, "", &arena, &list);
    assert_int_equal(list.unplaced.count, 2);
    const struct berth_unplaced_task *first = &list.unplaced.items[0];
    assert_true(text_is(first->operation, "RunTask"));
    assert_true(text_is(first->started_by, "me"));
    assert_true(text_is(first->group, "family:job"));
    assert_int_equal(first->asked_count, 3);
    assert_int_equal(first->placed_count, 1);
    assert_int_equal(first->times, 1);
    assert_int_equal(first->hosts.count, 1);
    assert_string_equal(against(&first->hosts.items[0]), "RESOURCE:CPU 100/50 of 150");
    assert_true(text_is(list.unplaced.items[1].summary,
                        "The task finds no place: the cluster has no container instances."));
    // The same again counts on, and becomes the newest.
    int64_t first_at = list.unplaced.items[1].first_at;
    world->harness.now_ms += 1000;
    harness_contains(&world->harness, "RunTask", "{" JOB "}", "CPU");
    list_unplaced(world, "'cluster':'c'", &arena, &list);
    assert_int_equal(list.unplaced.count, 2);
    assert_int_equal(list.unplaced.items[0].times, 2);
    assert_int_equal(list.unplaced.items[0].first_at, first_at);
    assert_true(list.unplaced.items[0].last_at > first_at);
    assert_int_equal(list.unplaced.items[0].host_count, 1);
    // Right behind one another they are only counted: hosts are looked at once a second.
    int64_t looked_at = list.unplaced.items[0].looked_at;
    for (size_t i = 0; i < 4; i++) {
        world->harness.now_ms += 300;
        harness_contains(&world->harness, "RunTask", "{" JOB "}", "CPU");
        list_unplaced(world, "", &arena, &list);
        assert_int_equal(list.unplaced.items[0].times, 3 + i);
        assert_int_equal(list.unplaced.items[0].last_at, world->harness.now_ms);
        assert_int_equal(list.unplaced.items[0].looked_at, looked_at + (i < 3 ? 0 : 1200));
    }
    // StartTask names its hosts, also those that are not there.
    harness_contains(
        &world->harness, "StartTask",
        world_text("{" JOB ",'containerInstances':['%s','nope']}", world->nodes[0].instance),
        "MISSING");
    list_unplaced(world, "'maxResults':1", &arena, &list);
    assert_int_equal(list.unplaced.count, 1);
    assert_true(text_is(list.unplaced.items[0].operation, "StartTask"));
    assert_int_equal(list.unplaced.items[0].asked_count, 2);
    assert_string_equal(against(&list.unplaced.items[0].hosts.items[0]),
                        "RESOURCE:CPU 100/50 of 150");
    assert_string_equal(against(&list.unplaced.items[0].hosts.items[1]), "MISSING");
    assert_true(text_is(list.unplaced.items[0].hosts.items[1].name, "nope"));
    // Others do not see it, and a restart forgets it.
    world->harness.caller.region = TEXT("eu-central-1");
    harness_expect(&world->harness, "ListUnplacedTasks", "{}", "{'unplaced':[]}");
    world->harness.caller.region = TEXT("eu-west-1");
    harness_restart(&world->harness);
    harness_expect(&world->harness, "ListUnplacedTasks", "{}", "{'unplaced':[]}");
}

static void what_is_remembered_is_bounded(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < WORLD_NODES - 1; i++) {
        instance(world, "eu-west-1a", 10, 10);
    }
    for (size_t i = 0; i < DIAGNOSE_NOTES_REALM + 20; i++) {
        harness_contains(&world->harness, "RunTask", world_text("{" JOB ",'startedBy':'n%zu'}", i),
                         "CPU");
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_list_unplaced_tasks_response list = {0};
    size_t seen = 0;
    do {
        const char *next = list.next_token.data == NULL
                               ? ""
                               : world_text(",'nextToken':'%.*s'", TEXT_FMT(list.next_token));
        list_unplaced(world, world_text("'maxResults':30%s", next), &arena, &list);
        for (size_t i = 0; i < list.unplaced.count; i++) {
            const char *want = world_text("n%zu", DIAGNOSE_NOTES_REALM + 19 - seen);
            assert_true(text_is(list.unplaced.items[i].started_by, want));
            seen++;
        }
    } while (list.next_token.data != NULL);
    assert_int_equal(seen, DIAGNOSE_NOTES_REALM);
}

// ---- one task -----------------------------------------------------------------------------

static void task_is(struct world *world, const char *cause, const char *failed, const char *part)
{
    const char *request = world_text("{'task':'%s'}", world->task);
    harness_contains(&world->harness, "ExplainTask", request,
                     world_text("'cause':'%s','failed':%s,", cause, failed));
    harness_contains(&world->harness, "ExplainTask", request, part);
}

static void a_life_is_told(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_forget(world);
    world_run(world, 0, "");
    task_is(world, "NotAcknowledged", "false", "'acknowledged':false");
    world_ack(world, node);
    task_is(world, "Starting", "false", "'acknowledged':true");
    world_submit(world, node, "RUNNING", "");
    task_is(world, "Running", "false", "'nodeName':'host-0'");
    // In steps: a look at the leases that comes late gives all of them a full period.
    for (size_t i = 0; i < 10; i++) {
        harness_advance(&world->harness, 400);
    }
    task_is(world, "AgentLost", "true", "It ran when its host fell silent");
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "STOPPED");
    task_is(world, "AgentLost", "true", "It is to stop, and cannot be told");
    world_beat(world, node);
    task_is(world, "Stopping", "false", "'nodeInContact':true");
    world_submit(world, node, "STOPPED", "");
    task_is(world, "StoppedByUser", "false", "It was stopped on request: Task stopped by user");
}

static void ends_are_told_apart(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 65536, 131072);
    static const struct {
        const char *members;
        const char *cause;
        const char *part;
        bool ran;
    } cases[] = {
        {",'containers':[{'containerName':'app','status':'STOPPED','reason':"
         "'CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to "
         "resolve ref app:1: not found'}]",
         "ImageMissing", "Container app needs the image app:1, which is not on host host-0.",
         false},
        {",'containers':[{'containerName':'side','status':'STOPPED','reason':"
         "'CannotPullContainerError: the layer is damaged'}]",
         "CannotPull", "Container side needs the image side:1", false},
        {",'containers':[{'containerName':'app','status':'STOPPED','reason':"
         "'CannotStartContainerError: executable file `nope` not found in $PATH'}]",
         "CommandMissing", "Container app has a command that is not in its image: executable",
         false},
        {",'containers':[{'containerName':'app','status':'STOPPED','reason':"
         "'CannotStartContainerError: driver failed programming external connectivity on endpoint "
         "app: listen tcp4 0.0.0.0:80: bind: address already in use; free the port'}]",
         "PortTaken",
         "Container app asks for a port of host host-0 that something else has: listen tcp4 "
         "0.0.0.0:80: bind: address already in use.",
         false},
        {",'containers':[{'containerName':'app','status':'STOPPED','reason':"
         "'CannotStartContainerError: bad user'}]",
         "CannotStart", "Container app cannot be started: bad user", false},
        {",'containers':[{'containerName':'app','status':'STOPPED','reason':"
         "'CannotStartContainerError: dependency \\u0027side\\u0027 cannot reach SUCCESS: it "
         "exited "
         "with code 4'}]",
         "DependencyFailed", "Container app was not started, as it depends on another: dependency ",
         false},
        {",'reason':'ResourceInitializationError: container \\u0027side\\u0027: the image has no "
         "user "
         "x'",
         "CannotStart",
         "Container side cannot be made on host host-0 as its definition says: the image has no "
         "user x",
         false},
        {",'reason':'ResourceInitializationError: container \\u0027nobody: open'", "CannotStart",
         "A container cannot be made on host host-0", false},
        {",'reason':'ResourceInitializationError: container \\u0027app\\u0027: writing: No space "
         "left on "
         "device'",
         "DiskFull", "Host host-0 has no room left on its disk: writing: No space left on device",
         false},
        {",'containers':[{'containerName':'app','status':'STOPPED','exitCode':137,'reason':"
         "'OutOfMemoryError: Container killed due to memory usage'}]",
         "OutOfMemory", "Container app was killed because its memory was used up.", true},
        {",'containers':[{'containerName':'app','status':'STOPPED','exitCode':137}]",
         "ContainerExited", "exit code 137: killed (signal 9), and not by its own memory limit.",
         true},
        {",'containers':[{'containerName':'side','status':'STOPPED','exitCode':143},{"
         "'containerName':'app','status':'STOPPED','exitCode':3}]",
         "ContainerExited", "Essential container app ended with exit code 3.", true},
        {",'containers':[{'containerName':'app','status':'STOPPED','exitCode':139}]",
         "ContainerExited", "exit code 139: signal 11.", true},
        {",'reason':'ResourceInitializationError: unable to pull secrets or registry auth: no "
         "store'",
         "SecretMissing", "needs a secret that host"},
        {",'reason':'ResourceInitializationError: failed to download env files: no x.env'",
         "EnvironmentFileMissing", "no x.env"},
        {",'reason':'ResourceInitializationError: container a: shared volume \\u0027v\\u0027 is "
         "not'",
         "VolumeMissing", "needs a volume that host"},
        {",'reason':'ResourceInitializationError: links, which this version of Berth does not "
         "have'",
         "Unsupported", "needs what host"},
        {",'containers':[{'containerName':'app','status':'STOPPED','exitCode':0,'reason':"
         "'CannotStartContainerError: its post-start command failed'}]",
         "HookFailed", "label berth.post-start failed"},
        {",'reason':'ContainerRuntimeError: the host was restarted'", "HostFailed",
         "Something failed on host host-0: ContainerRuntimeError: the host was restarted", true},
        {",'reason':'dependency x did not start'", "FailedToStart", "dependency x did not start",
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].part);
        world_run(world, 0, "");
        world_ack(world, node);
        if (cases[i].ran) {
            world_submit(world, node, "RUNNING", "");
        }
        world_submit(world, node, "STOPPED", cases[i].members);
        task_is(world, cases[i].cause, "true", cases[i].part);
    }
    world_run(world, 0, "");
    world_submit(world, node, "RUNNING", "");
    world_submit(world, node, "STOPPED",
                 ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':0}]");
    task_is(world, "Finished", "false", "Container app ended with exit code 0.");
    harness_contains(&world->harness, "ExplainTask", "{'task':'nope'}",
                     "ResourceNotFoundException: There is no task nope.");
    harness_contains(&world->harness, "ExplainTask",
                     world_text("{'cluster':'none','task':'%s'}", world->task),
                     "ClusterNotFoundException");
    world->harness.caller.account = TEXT("210987654321");
    harness_contains(&world->harness, "ExplainTask", world_text("{'task':'%s'}", world->task),
                     "ResourceNotFoundException");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_reason_is_told, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_pool_is_explained_by_host, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_full_subnet_is_told, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(asking_changes_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_definition_may_come_along, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(refusals_are_those_of_run_task, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(hosts_come_in_pages, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_told_is_what_happens, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(failures_are_remembered, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_remembered_is_bounded, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_life_is_told, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(ends_are_told_apart, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
