#include "base/text.h"
#include "runtime/stats.h"
#include "runtime_fixture.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

// What binds a container, and what it is said to take, in the groups of whichever layout this host
// has: v1, hybrid, or v2 in the guest.

static struct supervisor_container_state *container(struct fixture_task *task, size_t index)
{
    assert_true(index < task->state.containers.count);
    return &task->state.containers.items[index];
}

// A file of the container's group, by its name in either version.
static struct text control_of(struct fixture_task *task, const char *controller, const char *v1,
                              const char *v2)
{
    struct text found = fixture_control(task, controller, "0-web", v1);
    return found.data != NULL ? found : fixture_control(task, controller, "0-web", v2);
}

static uint64_t number_of(struct text text)
{
    uint64_t number = 0;
    assert_int_equal(text_to_u64(text, &number), 0);
    return number;
}

// What forks without end comes to the limit and is told so; the kill takes all of it.
static void processes_are_bounded(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web",
                "(while :; do sleep 1000 & done) 2>/dev/null; echo end; exec sleep 1000");
    fixture_start(task);
    fixture_wait_output(task, "web", "end\n");
    struct text most = fixture_control(task, "pids", "0-web", "pids.max");
    assert_int_equal(number_of(most), FIXTURE_PIDS_MAX);
    uint64_t now = number_of(fixture_control(task, "pids", "0-web", "pids.current"));
    assert_in_range(now, FIXTURE_PIDS_MAX / 2, FIXTURE_PIDS_MAX);
    struct text events = fixture_control(task, "pids", "0-web", "pids.events");
    assert_true(text_starts(events, TEXT("max ")));
    assert_false(text_starts(events, TEXT("max 0")));
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 137);
    assert_false(container(task, 0)->oom_killed);
    fixture_end(task);
}

// Nodes of devices can be made, and opened only where the definition lists the device.
static void devices_are_denied(void **state)
{
    for (int listed = 0; listed < 2; listed++) {
        struct fixture_task *task = fixture_task(*state);
        struct ecs_container_definition *definition =
            fixture_add(task, "web",
                        "mknod /loop c 10 237 && (exec 3<>/loop) 2>/dev/null && echo open; "
                        "mknod /kmsg c 1 11 && (exec 3>/kmsg) 2>/dev/null && echo write; "
                        "test -c /loop && test -c /kmsg && echo end");
        struct ecs_device devices[] = {{.host_path = TEXT("/dev/kmsg")}};
        struct ecs_linux_parameters parameters = {.devices = {devices, 1}};
        definition->linux_parameters = listed == 1 ? &parameters : NULL;
        fixture_start(task);
        fixture_wait(task, fixture_finished);
        struct text output = fixture_output(task, "web");
        assert_false(fixture_holds(output, "open"));
        assert_int_equal(fixture_holds(output, "write"), listed == 1);
        assert_true(fixture_holds(output, "end"));
        fixture_end(task);
    }
}

// Hard and soft limits and swap are the group's own.
static void memory_is_as_asked(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition =
        fixture_add(task, "web", "echo end; exec sleep 1000");
    definition->has_memory = true;
    definition->memory = 32;
    definition->has_memory_reservation = true;
    definition->memory_reservation = 16;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct text hard = control_of(task, "memory", "memory.limit_in_bytes", "memory.max");
    struct text soft = control_of(task, "memory", "memory.soft_limit_in_bytes", "memory.low");
    struct text swap = fixture_control(task, "memory", "0-web", "memory.swap.max");
    struct text both = fixture_control(task, "memory", "0-web", "memory.memsw.limit_in_bytes");
    assert_int_equal(number_of(hard), 32u << 20);
    assert_int_equal(number_of(soft), 16u << 20);
    // v2 counts swap by itself, v1 together with memory; a kernel may count none.
    assert_true(swap.data == NULL || text_is(swap, "0"));
    assert_true(both.data == NULL || number_of(both) == 32u << 20);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(task);
}

// The figures are those of the container that was asked for.
static void figures_are_the_containers(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct fixture *fixture = task->fixture;
    struct ecs_container_definition *definition =
        fixture_add(task, "web",
                    "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; "
                    "dd if=/dev/zero of=/dev/shm/file bs=1M count=8 2>/dev/null; sleep 1000 & "
                    "echo end; wait");
    definition->has_memory = true;
    definition->memory = 64;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_wait_output(task, "web", "end\n");
    const struct runtime_sample which = {
        .task_id = task->id, .index = 0, .container = TEXT("web"), .pid = container(task, 0)->pid};
    struct container_sample sample = {0};
    struct err err = {0};
    assert_int_equal(
        fixture->runtime->ops->sample(fixture->runtime, &which, &fixture->arena, &sample, &err), 0);
    assert_int_equal(sample.memory_limit_bytes, 64u << 20);
    assert_in_range(sample.memory_bytes, 8u << 20, 64u << 20);
    assert_int_equal(sample.pids, 2);
    assert_int_equal(sample.pids_limit, FIXTURE_PIDS_MAX);
    assert_true(sample.counters.cpu_ns > 0);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(task);
}

static bool runs_again(const struct fixture_task *task)
{
    return task->state.containers.count > 0 && task->state.containers.items[0].restart_count > 0 &&
           task->state.containers.items[0].has_pid;
}

// Each run has a terminal of its own, and all that each of them wrote is kept.
static void terminals_come_again(void **state)
{
    struct ecs_container_restart_policy always = {
        .has_enabled = true, .enabled = true, .has_restart_attempt_period = true};
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition = fixture_add(
        task, "web", "test -t 0 && test -t 1 && echo run $$ on $(tty); exec sleep 1000");
    definition->pseudo_terminal = true;
    definition->restart_policy = &always;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct pollfd nothing = {.fd = -1};
    for (int run = 1; run <= 2; run++) {
        size_t lines = 0;
        for (size_t i = 0; i < 12000 && lines < (size_t)run; i++) {
            struct text rest = fixture_output(task, "web");
            lines = 0;
            while (rest.data != NULL) {
                lines += text_starts(text_cut(&rest, '\n'), TEXT("run 1 on /dev/")) ? 1 : 0;
            }
            poll(&nothing, 1, 5);
        }
        assert_int_equal(lines, run);
        if (run == 1) {
            assert_int_equal(kill(container(task, 0)->pid, SIGKILL), 0);
            fixture_wait(task, runs_again);
        }
    }
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_wait(task, fixture_finished);
    fixture_end(task);
}

static int set_up(void **state)
{
    *state = fixture_new(NULL);
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

#define NODE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int limits_run(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(processes_are_bounded), NODE_TEST(devices_are_denied),
        NODE_TEST(memory_is_as_asked),    NODE_TEST(figures_are_the_containers),
        NODE_TEST(terminals_come_again),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
