#include "task_world.h"

#include <string.h>

// No service started it, so it cannot be protected; what does not exist is missing.
static void a_standalone_task_is_not_valid(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 1024, 1024);
    world_run(world, 0, "");
    const char *want =
        world_text("{'protectedTasks':[],'failures':[{'arn':'%s','reason':'TASK_NOT_VALID',"
                   "'detail':'The task was not started by a service and cannot be protected.'},"
                   "{'arn':'arn:aws:ecs:eu-west-1:123456789012:task/c/nope','reason':'MISSING'}]}",
                   world->task);
    harness_expect(&world->harness, "UpdateTaskProtection",
                   world_text("{'cluster':'c','tasks':['%s','nope'],'protectionEnabled':true,"
                              "'expiresInMinutes':60}",
                              strrchr(world->task, '/') + 1),
                   want);
    harness_expect(&world->harness, "GetTaskProtection",
                   world_text("{'cluster':'c','tasks':['%s','nope']}", world->task), want);
    harness_expect(&world->harness, "GetTaskProtection", "{'cluster':'c'}",
                   "{'protectedTasks':[],'failures':[]}");
}

static void limits_are_those_of_ecs(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *request;
        const char *want;
    } cases[] = {
        {"{'cluster':'c','protectionEnabled':true,'tasks':[]}",
         "InvalidParameterException: Tasks cannot be empty."},
        {"{'cluster':'c','protectionEnabled':true,'tasks':['1','2','3','4','5','6','7','8','9',"
         "'10','11']}",
         "InvalidParameterException: taskIds can have at most 10 items."},
        {"{'cluster':'c','protectionEnabled':true,'tasks':['1'],'expiresInMinutes':0}",
         "InvalidParameterException: expiresInMinutes must be between 1 and 2880."},
        {"{'cluster':'c','protectionEnabled':true,'tasks':['1'],'expiresInMinutes':2881}",
         "InvalidParameterException: expiresInMinutes must be between 1 and 2880."},
        {"{'cluster':'none','protectionEnabled':true,'tasks':['1']}",
         "ClusterNotFoundException: Cluster not found."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "UpdateTaskProtection", cases[i].request, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_standalone_task_is_not_valid, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(limits_are_those_of_ecs, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
