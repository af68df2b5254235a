#include "task_world.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define REFUSED "InvalidParameterException: Invalid token"
#define TOKEN_CHARS 200

// Every listing has the sizes of ECS, and says what they are.
static void sizes_are_those_of_ecs(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *operation;
        const char *members; // in front of maxResults
        int most;
    } cases[] = {
        {"ListAccountSettings", "", 10},
        {"ListAttributes", "'cluster':'c','targetType':'container-instance',", 100},
        {"ListClusters", "", 100},
        {"ListContainerInstances", "'cluster':'c',", 100},
        {"ListServices", "'cluster':'c',", 100},
        {"ListTaskDefinitionFamilies", "", 100},
        {"ListTaskDefinitions", "", 100},
        {"ListTasks", "'cluster':'c',", 100},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *want = world_text(
            "InvalidParameterException: maxResults must be between 1 and %d.", cases[i].most);
        const int wrong[] = {-1, 0, cases[i].most + 1};
        for (size_t j = 0; j < ARRAY_LEN(wrong); j++) {
            harness_expect(&world->harness, cases[i].operation,
                           world_text("{%s'maxResults':%d}", cases[i].members, wrong[j]), want);
        }
        harness_contains(&world->harness, cases[i].operation,
                         world_text("{%s'maxResults':%d}", cases[i].members, cases[i].most), "s':");
    }
}

// What names too much, or nothing, is refused before anything of it is looked at.
static void batches_are_bounded(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *operation;
        const char *members;
        const char *list;
        const char *item;
        int most;
        const char *none; // NULL when the operation may name none
        const char *many;
    } cases[] = {
        {"DescribeClusters", "", "clusters", "'x'", 100, NULL, "clusters"},
        {"DescribeServices", "'cluster':'c',", "services", "'x'", 10, "Services", "service names"},
        {"DescribeTasks", "'cluster':'c',", "tasks", "'x'", 100, "Tasks", "taskIds"},
        {"DescribeContainerInstances", "'cluster':'c',", "containerInstances", "'x'", 100,
         "Container instances", "instanceIds"},
        {"UpdateContainerInstancesState", "'cluster':'c','status':'DRAINING',",
         "containerInstances", "'x'", 10, "Container instances", "instanceIds"},
        {"StartTask", "'cluster':'c','taskDefinition':'job',", "containerInstances", "'x'", 10,
         "Container instances", "instanceIds"},
        {"GetTaskProtection", "'cluster':'c',", "tasks", "'x'", 100, NULL, "taskIds"},
        {"UpdateTaskProtection", "'cluster':'c','protectionEnabled':true,", "tasks", "'x'", 10,
         "Tasks", "taskIds"},
        {"PutAttributes", "'cluster':'c',", "attributes", "{'name':'a','targetId':'x'}", 10,
         "Attributes", "attributes"},
        {"DeleteAttributes", "'cluster':'c',", "attributes", "{'name':'a','targetId':'x'}", 10,
         "Attributes", "attributes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].operation);
        AUTO(buf_deinit) struct buf request = {0};
        buf_format(&request, "{%s'%s':[%s", cases[i].members, cases[i].list, cases[i].item);
        for (int n = 0; n < cases[i].most; n++) {
            buf_format(&request, ",%s", cases[i].item);
        }
        buf_string(&request, "]}");
        harness_expect(&world->harness, cases[i].operation, request.data,
                       world_text("InvalidParameterException: %s can have at most %d items.",
                                  cases[i].many, cases[i].most));
        if (cases[i].none != NULL) {
            harness_expect(
                &world->harness, cases[i].operation,
                world_text("{%s'%s':[]}", cases[i].members, cases[i].list),
                world_text("InvalidParameterException: %s cannot be empty.", cases[i].none));
        }
    }
}

// Names longer than any that can be made are just not there: indexes have keys of a bounded size.
static void names_of_any_length_are_looked_for(void **state)
{
    struct world *world = *state;
    char name[3000];
    memset(name, 'x', sizeof(name));
    static const struct {
        const char *operation;
        const char *request;
        const char *want;
    } cases[] = {
        {"DescribeClusters", "{'clusters':['%.*s']}", "MISSING"},
        {"DescribeServices", "{'cluster':'c','services':['%.*s']}", "MISSING"},
        {"DescribeTasks", "{'cluster':'c','tasks':['%.*s']}", "MISSING"},
        {"DescribeContainerInstances", "{'cluster':'c','containerInstances':['%.*s']}", "MISSING"},
        {"DescribeTaskDefinition", "{'taskDefinition':'%.*s'}", "Unable to describe"},
        {"ListServices", "{'cluster':'%.*s'}", "Cluster not found."},
        {"ListTaskDefinitions", "{'familyPrefix':'%.*s'}", "'taskDefinitionArns':[]"},
        {"ListTasks", "{'cluster':'c','family':'%.*s'}", "'taskArns':[]"},
        {"ListTasks", "{'cluster':'c','serviceName':'%.*s'}", "ServiceNotFoundException"},
        {"ListTasks", "{'cluster':'c','containerInstance':'%.*s'}", "'taskArns':[]"},
        {"UpdateService", "{'cluster':'c','service':'%.*s'}", "Service"},
        {"DeleteService", "{'cluster':'c','service':'%.*s'}", "Service"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].operation);
        const int sizes[] = {255, 256, 1000, 1024, 3000};
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
            AUTO(buf_deinit) struct buf request = {0};
            struct text front = text_of(cases[i].request);
            buf_text(&request, text_slice(front, 0, text_find(front, '%')));
            buf_text(&request, (struct text){name, (size_t)sizes[j]});
            buf_text(&request, text_slice(front, text_find(front, '%') + 4, front.size));
            harness_contains(&world->harness, cases[i].operation, request.data, cases[i].want);
        }
    }
}

/** A token of ListClusters. */
static void get_token(struct world *world, char *out_token)
{
    harness_call(&world->harness, "CreateCluster", "{'clusterName':'d'}");
    harness_call(&world->harness, "ListClusters", "{'maxResults':1}");
    harness_member(&world->harness, "nextToken", out_token, TOKEN_CHARS);
}

// A token is good for the listing, account and region that gave it, and for nothing else: the
// entry it names would mean something else there.
static void tokens_are_good_where_they_were_given(void **state)
{
    struct world *world = *state;
    char token[TOKEN_CHARS];
    get_token(world, token);
    const char *request = world_text("{'nextToken':'%s'}", token);
    harness_contains(&world->harness, "ListClusters", request, "cluster/d");
    harness_restart(&world->harness);
    harness_contains(&world->harness, "ListClusters", request, "cluster/d");

    static const char *const others[] = {"ListTaskDefinitions", "ListTaskDefinitionFamilies",
                                         "ListAccountSettings"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        harness_expect(&world->harness, others[i], request, REFUSED);
    }
    static const char *const of_cluster[] = {"ListTasks", "ListContainerInstances"};
    for (size_t i = 0; i < ARRAY_LEN(of_cluster); i++) {
        harness_expect(&world->harness, of_cluster[i],
                       world_text("{'cluster':'c','nextToken':'%s'}", token), REFUSED);
    }
    const struct core_caller caller = world->harness.caller;
    world->harness.caller.account = TEXT("210987654321");
    harness_expect(&world->harness, "ListClusters", request, REFUSED);
    world->harness.caller = caller;
    world->harness.caller.region = TEXT("eu-west-2");
    harness_expect(&world->harness, "ListClusters", request, REFUSED);
    world->harness.caller = caller;
}

static void broken_tokens_are_refused(void **state)
{
    struct world *world = *state;
    char token[TOKEN_CHARS];
    get_token(world, token);
    size_t size = strlen(token);
    for (size_t i = 1; i < size; i++) {
        harness_expect(&world->harness, "ListClusters",
                       world_text("{'nextToken':'%.*s'}", (int)i, token), REFUSED);
    }
    for (size_t i = 0; i < size; i++) {
        char changed[TOKEN_CHARS];
        memcpy(changed, token, size + 1);
        changed[i] = changed[i] == '0' ? '1' : '0';
        harness_expect(&world->harness, "ListClusters", world_text("{'nextToken':'%s'}", changed),
                       REFUSED);
    }
    harness_expect(&world->harness, "ListClusters", world_text("{'nextToken':'%s00'}", token),
                   REFUSED);
    AUTO(buf_deinit) struct buf large = {0};
    buf_string(&large, "{'nextToken':'");
    for (size_t i = 0; i < 5000; i++) {
        buf_string(&large, "00");
    }
    buf_string(&large, "'}");
    harness_expect(&world->harness, "ListClusters", large.data, REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes_are_those_of_ecs, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(batches_are_bounded, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(names_of_any_length_are_looked_for, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(tokens_are_good_where_they_were_given, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(broken_tokens_are_refused, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
