// cmocka wants these in front of its own header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/agent_internal.h"

#include "base/text.h"
#include "runtime/spec.h"

static bool advertised(const char *name)
{
    struct text names[AGENT_CAPABILITIES_MAX];
    size_t count = agent_capabilities(names, ARRAY_LEN(names));
    assert_in_range(count, 1, ARRAY_LEN(names) - 1);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += text_is(names[i], name);
    }
    assert_in_range(found, 0, 1);
    return found == 1;
}

static void what_every_node_does_is_advertised(void **state)
{
    (void)state;
    static const char *const names[] = {
        "com.amazonaws.ecs.capability.docker-remote-api.1.18",
        "com.amazonaws.ecs.capability.logging-driver.awslogs",
        "ecs.capability.container-health-check",
        "ecs.capability.container-ordering",
        "ecs.capability.task-cpu-mem-limit",
        "ecs.capability.task-eni",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        print_message("%s\n", names[i]);
        assert_true(advertised(names[i]));
    }
}

// A node must not be given a task that its runtime would refuse, nor be kept from one that it
// would run.
static void the_runtime_is_believed(void **state)
{
    (void)state;
    struct ecs_container_restart_policy restart = {.has_enabled = true, .enabled = true};
    struct ecs_secret secret = {.name = TEXT("A"), .value_from = TEXT("parameter")};
    struct ecs_efs_volume_configuration efs = {.file_system_id = TEXT("fs-1")};
    struct ecs_volume volume = {.name = TEXT("v"), .efs_volume_configuration = &efs};
    const struct {
        const char *name;
        struct ecs_task_definition task;
        struct ecs_container_definition container;
    } cases[] = {
        {"com.amazonaws.ecs.capability.privileged-container",
         {.family = TEXT("f")},
         {.has_privileged = true, .privileged = true}},
        {"ecs.capability.container-restart-policy",
         {.family = TEXT("f")},
         {.restart_policy = &restart}},
        {"ecs.capability.secrets.ssm.environment-variables",
         {.family = TEXT("f")},
         {.secrets = {.items = &secret, .count = 1}}},
        {"ecs.capability.efsAuth",
         {.volumes = {.items = &volume, .count = 1}},
         {.name = TEXT("c")}},
        {"ecs.capability.pid-ipc-namespace-sharing",
         {.pid_mode = ECS_PID_MODE_TASK},
         {.name = TEXT("c")}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct err err = {0};
        assert_int_equal(advertised(cases[i].name),
                         spec_supported(&cases[i].task, &cases[i].container, &err) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_every_node_does_is_advertised),
        cmocka_unit_test(the_runtime_is_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
