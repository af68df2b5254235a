#include "base/text.h"
#include "runtime_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// The filter of system calls in real containers: crun takes it as a program, runc as a part of
// config.json, and both let and refuse the same.

static const char runc[] = "/usr/sbin/runc";

// Each line tells what became of a call that the kernel allows to root in a container. A user
// namespace of its own would give it all capabilities in there.
static const char probe[] =
    "grep Seccomp: /proc/self/status; "
    "chroot / /bin/true 2>/dev/null && echo chroot; "    // CAP_SYS_CHROOT, which it has
    "unshare -U /bin/true 2>/dev/null && echo unshare; " // CAP_SYS_ADMIN
    "dmesg -s 1 >/dev/null 2>&1 && echo syslog; "        // CAP_SYSLOG
    "echo end";

struct probe_case {
    const char *name;
    const char *add[2]; ///< capabilities
    const char *drop;
    const char *option; ///< of dockerSecurityOptions
    bool privileged;
    const char *want;
};

static const struct probe_case cases[] = {
    {.name = "default", .want = "Seccomp:\t2\nchroot\nend\n"},
    {.name = "SYS_ADMIN and SYSLOG",
     .add = {"SYS_ADMIN", "SYSLOG"},
     .want = "Seccomp:\t2\nchroot\nunshare\nsyslog\nend\n"},
    {.name = "SYSLOG", .add = {"SYSLOG"}, .want = "Seccomp:\t2\nchroot\nsyslog\nend\n"},
    {.name = "no SYS_CHROOT", .drop = "SYS_CHROOT", .want = "Seccomp:\t2\nend\n"},
    {.name = "unconfined",
     .option = "seccomp=unconfined",
     .add = {"SYSLOG"},
     .want = "Seccomp:\t0\nchroot\nunshare\nsyslog\nend\n"},
    {.name = "privileged",
     .privileged = true,
     .want = "Seccomp:\t0\nchroot\nunshare\nsyslog\nend\n"},
};

static void run_case(struct fixture *fixture, const struct probe_case *test)
{
    struct fixture_task *task = fixture_task(fixture);
    struct ecs_container_definition *definition = fixture_add(task, "main", probe);
    struct text add[] = {text_of(test->add[0]), text_of(test->add[1])};
    struct text drop = text_of(test->drop);
    struct text option = text_of(test->option);
    struct ecs_kernel_capabilities capabilities = {
        .add = {add, test->add[0] == NULL   ? 0
                     : test->add[1] == NULL ? 1
                                            : 2},
        .drop = {&drop, test->drop == NULL ? 0 : 1},
    };
    struct ecs_linux_parameters parameters = {.capabilities = &capabilities};
    definition->linux_parameters = &parameters;
    definition->privileged = test->privileged;
    definition->docker_security_options = (struct text_list){&option, test->option == NULL ? 0 : 1};
    print_message("%s\n", test->name);
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    struct text output = fixture_output(task, "main");
    if (!text_is(output, test->want)) {
        fail_msg("%s: %.*s", test->name, TEXT_FMT(output));
    }
    fixture_end(task);
}

static void run_cases(const char *runtime)
{
    struct fixture *fixture = fixture_new(runtime);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run_case(fixture, &cases[i]);
    }
    fixture_free(fixture);
}

static void crun_sets_the_program(void **state)
{
    (void)state;
    run_cases(NULL);
}

static void runc_compiles_the_same(void **state)
{
    (void)state;
    if (access(runc, X_OK) != 0) {
        print_message("SKIP: %s is not installed\n", runc);
        skip();
    }
    run_cases(runc);
}

static bool healthy(const struct fixture_task *task)
{
    return task->state.containers.count > 0 &&
           task->state.containers.items[0].health == SUPERVISOR_HEALTH_HEALTHY;
}

// Commands that are run in a container later, and the container's next run after a restart, are
// filtered as its first process is.
static void later_processes_are_filtered(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(NULL);
    struct fixture_task *task = fixture_task(fixture);
    struct ecs_container_definition *definition = fixture_add(
        task, "main",
        "grep Seccomp: /proc/self/status; if test ! -e /again; then touch /again; exit 1; fi; "
        "touch /second; while true; do sleep 0.1; done");
    struct text command[] = {
        TEXT("CMD-SHELL"),
        TEXT("test -e /second && grep -q 'Seccomp:.2' /proc/self/status && "
             "! unshare -U /bin/true"),
    };
    struct ecs_health_check check = {
        .command = {command, 2},
        .has_interval = true,
        .interval = 1,
        .has_timeout = true,
        .timeout = FIXTURE_PATIENCE_S,
        .has_retries = true,
        .retries = 3,
    };
    struct ecs_container_restart_policy policy = {
        .has_enabled = true, .enabled = true, .has_restart_attempt_period = true};
    definition->health_check = &check;
    definition->restart_policy = &policy;
    fixture_start(task);
    fixture_wait(task, healthy);
    assert_int_equal(task->state.containers.items[0].restart_count, 1);
    fixture_wait_output(task, "main", "Seccomp:\t2\nSeccomp:\t2\n");
    assert_true(text_is(fixture_output(task, "main"), "Seccomp:\t2\nSeccomp:\t2\n"));
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(task);
    fixture_free(fixture);
}

int filter_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crun_sets_the_program),
        cmocka_unit_test(runc_compiles_the_same),
        cmocka_unit_test(later_processes_are_filtered),
    };
    return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
