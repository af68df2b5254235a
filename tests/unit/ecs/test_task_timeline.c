#include "task_world.h"

#include <string.h>

static void tell(struct world *world, size_t node, const char *members)
{
    world_as_node(world, node);
    harness_contains(&world->harness, "NodeTimeline",
                     world_text("{'tasks':[{'taskArn':'%s',%s}]}", world->task, members), "{");
    world_as_root(world);
}

static void has(struct world *world, const char *want)
{
    harness_contains(&world->harness, "GetTaskTimeline", world_text("{'task':'%s'}", world->task),
                     want);
}

// Hosts tell seconds with three digits behind the point.
static void moments_are_taken_once(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    has(world, "'timeline':[{'step':'queued','at':");
    has(world, "'afterMs':0}],'restarts':[]");
    double begin = (double)world->harness.now_ms / 1000;
    tell(world, node,
         world_text("'networkReadyAt':%.3f,'preparedAt':%.3f,'containers':[]", begin + 0.012,
                    begin + 0.02));
    has(world, "'afterMs':12}");
    has(world, "'step':'networkReady'");
    has(world, "'afterMs':20}");
    // A host that was started again knows less, or something else: what is known stays.
    tell(world, node,
         world_text("'networkReadyAt':%.3f,'containers':[{'containerName':'app','startedAt':%.3f,"
                    "'healthyAt':%.3f},{'containerName':'stranger','startedAt':1}]",
                    begin + 9, begin + 0.03, begin + 5));
    has(world, "'afterMs':12}");
    has(world, "'afterMs':30,'container':'app'}");
    has(world, "'afterMs':5000,'container':'app'}],'restarts':[]");
}

static void restarts_only_grow(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    double begin = (double)world->harness.now_ms / 1000;
    for (int count = 3; count > 0; count--) {
        tell(world, node,
             world_text("'containers':[{'containerName':'side','restartCount':%d,'restartedAt':"
                        "%.3f}]",
                        count, begin + count));
        has(world, "'step':'restarted'");
        has(world, "'afterMs':3000,'container':'side'}],'restarts':[{'name':'side','restartCount':"
                   "3}]");
    }
}

// Neither hosts that have not got it, nor accounts whose it is not.
static void others_are_not_believed(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    size_t other = world_pool_node(world, "eu-west-1a", 4096, 8192);
    tell(world, other, "'networkReadyAt':1800000001,'containers':[]");
    has(world, "'afterMs':0}],'restarts':[]");
    harness_expect(&world->harness, "GetTaskTimeline",
                   "{'task':'0123456789abcdef0123456789abcdef'}",
                   "ResourceNotFoundException: There is no task 0123456789abcdef0123456789abcdef. "
                   "Stopped tasks are kept for some days; `berth ps --all` lists those of a "
                   "cluster.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moments_are_taken_once, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(restarts_only_grow, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(others_are_not_believed, world_setup, world_teardown),
    };
    return cmocka_run_group_tests_name("task_timeline", tests, NULL, NULL);
}
