#include "task_world.h"

#include "base/text.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) {
        count++;
    }
    return count;
}

static void every_filter_selects(void **state)
{
    struct world *world = *state;
    size_t host = world_pool_node(world, "eu-west-1a", 65536, 131072);
    size_t instance = world_join(world);
    world_register(world, instance, "c", "eu-west-1a", 4096, 4096);
    world_connect(world, instance);
    world_run(world, 0, "'startedBy':'me','count':3,");
    world_run(world, 0, "");
    world_submit(world, host, "STOPPED", "");
    harness_contains(&world->harness, "RunTask",
                     "{'cluster':'c','taskDefinition':'job','count':2,'startedBy':'me'}",
                     "'failures':[]");
    static const struct {
        const char *filter;
        size_t want;
    } cases[] = {
        {"", 5},
        {",'desiredStatus':'STOPPED'", 1},
        {",'desiredStatus':'PENDING'", 0},
        {",'family':'web'", 3},
        {",'family':'none'", 0},
        {",'startedBy':'me'", 5},
        {",'startedBy':'m'", 0},
        {",'startedBy':'','family':'job'", 2},
        {",'startedBy':'me','desiredStatus':'STOPPED'", 0},
        {",'launchType':'EC2'", 2},
        {",'launchType':'FARGATE'", 3},
        {",'containerInstance':'%s'", 2},
        {",'containerInstance':'none'", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char filter[300];
        snprintf(filter, sizeof(filter), cases[i].filter, world->nodes[instance].instance);
        const char *answer =
            harness_call(&world->harness, "ListTasks", world_text("{'cluster':'c'%s}", filter));
        if (count_of(answer, "arn:") != cases[i].want) {
            fail_msg("%s gave %s", filter, answer);
        }
    }
    static const char *const others[] = {"'family':'job'", "'serviceName':'x'",
                                         "'launchType':'EC2'", "'containerInstance':'x'",
                                         "'daemonName':'x'"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        harness_expect(&world->harness, "ListTasks",
                       world_text("{'cluster':'c','startedBy':'me',%s}", others[i]),
                       "InvalidParameterException: startedBy must be the only filter.");
    }
    harness_expect(&world->harness, "ListTasks", "{'cluster':'c','serviceName':'x'}",
                   "ServiceNotFoundException: Service not found.");
    harness_expect(&world->harness, "ListTasks", "{'cluster':'none'}",
                   "ClusterNotFoundException: Cluster not found.");
    harness_expect(&world->harness, "ListTasks", "{'cluster':'c','nextToken':'x'}",
                   "InvalidParameterException: Invalid token");
}

// Pages walk every task once, also while shown ones stop and new ones come.
static void pages_skip_and_repeat_nothing(void **state)
{
    struct world *world = *state;
    size_t host = world_pool_node(world, "eu-west-1a", 65536, 131072);
    for (size_t i = 0; i < 5; i++) {
        world_run(world, 0, "'count':5,");
    }
    char seen[64][40];
    size_t seen_count = 0;
    char token[200] = "";
    do {
        char request[300];
        snprintf(request, sizeof(request), "{'cluster':'c','maxResults':3%s%s%s}",
                 token[0] == '\0' ? "" : ",'nextToken':'", token, token[0] == '\0' ? "" : "'");
        char answer[4096];
        snprintf(answer, sizeof(answer), "%s", harness_call(&world->harness, "ListTasks", request));
        for (const char *at = strstr(answer, "task/c/"); at != NULL;
             at = strstr(at + 1, "task/c/")) {
            snprintf(seen[seen_count], sizeof(seen[0]), "%.32s", at + strlen("task/c/"));
            for (size_t i = 0; i < seen_count; i++) {
                assert_string_not_equal(seen[i], seen[seen_count]);
            }
            seen_count++;
            assert_in_range(seen_count, 1, 63);
        }
        token[0] = '\0';
        if (strstr(answer, "nextToken") != NULL) {
            harness_member(&world->harness, "nextToken", token, sizeof(token));
        }
        // The last shown one stops, so that the token names one that is no longer listed.
        snprintf(world->task, sizeof(world->task), "arn:aws:ecs:eu-west-1:123456789012:task/c/%s",
                 seen[seen_count - 1]);
        world_submit(world, host, "STOPPED", "");
    } while (token[0] != '\0');
    assert_int_equal(seen_count, 25);
}

static void describe_finds_ids_and_arns(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "'tags':[{'key':'k','value':'v'}],");
    const char *id = strrchr(world->task, '/') + 1;
    harness_contains(&world->harness, "DescribeTasks",
                     world_text("{'cluster':'c','tasks':['%s']}", id), "'tags':[],");
    harness_contains(&world->harness, "DescribeTasks",
                     world_text("{'cluster':'c','tasks':['%s'],'include':['TAGS']}", world->task),
                     "'tags':[{'key':'k','value':'v'}]");
    harness_contains(&world->harness, "CreateCluster", "{'clusterName':'other'}", "ACTIVE");
    harness_contains(&world->harness, "DescribeTasks",
                     world_text("{'cluster':'other','tasks':['%s','x']}", world->task),
                     "{'tasks':[],'failures':[{'arn':'arn:aws:ecs:eu-west-1:123456789012:task/c/");
    harness_contains(
        &world->harness, "DescribeTasks", "{'cluster':'other','tasks':['x']}",
        "{'arn':'arn:aws:ecs:eu-west-1:123456789012:task/other/x','reason':'MISSING'}");
    harness_expect(&world->harness, "DescribeTasks", "{'cluster':'c','tasks':[]}",
                   "InvalidParameterException: Tasks cannot be empty.");
}

// What other modules and the server ask: where a task is, what uses a definition, what counts.
static void others_find_what_they_ask_for(void **state)
{
    struct world *world = *state;
    size_t host = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    const struct core *core = world->harness.core;
    const struct text account = TEXT("123456789012");
    const struct text region = TEXT("eu-west-1");
    struct text node_id = {0};
    struct text arn = {0};
    bool stopped = true;
    assert_int_equal(task_locate(core, account, region, TEXT("c"),
                                 text_of(strrchr(world->task, '/') + 1), &node_id, &arn, &stopped),
                     0);
    assert_true(text_is(node_id, world->nodes[host].node_id));
    assert_true(text_is(arn, world->task));
    assert_false(stopped);
    assert_int_equal(task_locate(core, account, region, TEXT("none"), text_of(world->task),
                                 &node_id, &arn, &stopped),
                     ERR_NOT_FOUND);
    assert_int_equal(
        task_locate(core, account, region, TEXT("c"), TEXT("x"), &node_id, &arn, &stopped),
        ERR_NOT_FOUND);

    int64_t key = task_entry_by_id(task_state(core), text_of(strrchr(world->task, '/') + 1))->key;
    const struct task_record_task *record = core_get(core, &task_kind, key);
    int64_t definition = record->definition;
    int64_t cluster = record->cluster;
    struct task_cluster_counts counts;
    task_cluster_counts(core, cluster, &counts);
    assert_int_equal(counts.pending_tasks, 1);
    assert_true(task_definition_in_use(core, definition));
    world_submit(world, host, "RUNNING", "");
    task_cluster_counts(core, cluster, &counts);
    assert_int_equal(counts.running_tasks, 1);
    world_submit(world, host, "STOPPED", "");
    assert_true(task_definition_in_use(core, definition));
    harness_advance(&world->harness, 0);
    task_cluster_counts(core, cluster, &counts);
    assert_int_equal(counts.running_tasks + counts.pending_tasks, 0);
    assert_false(task_definition_in_use(core, definition));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_filter_selects, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(pages_skip_and_repeat_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(others_find_what_they_ask_for, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(describe_finds_ids_and_arns, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
