#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime_fixture.h"
#include "task/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

// Real containers through the OCI driver: crun or runc, cgroups, overlay mounts, signals. Each test
// has an instance of its own, and checks at its end that nothing of it is left on the host.

#define SKIPPED 77

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

static const struct supervisor_container_state *container(const struct fixture_task *task,
                                                          size_t index)
{
    assert_true(index < task->state.containers.count);
    return &task->state.containers.items[index];
}

static struct text_list texts(struct fixture_task *task, const char *const *items, size_t count)
{
    struct text_list list = {.items =
                                 arena_array(&task->fixture->arena, count, sizeof(struct text))};
    for (size_t i = 0; i < count; i++) {
        list.items[list.count++] = text_of(items[i]);
    }
    return list;
}

static void depend(struct fixture_task *task, size_t index, const char *on,
                   enum ecs_container_condition condition)
{
    struct ecs_container_definition *definition = &task->definitions[index];
    definition->depends_on.items =
        arena_array(&task->fixture->arena, 1, sizeof(*definition->depends_on.items));
    definition->depends_on.count = 1;
    definition->depends_on.items[0] = (struct ecs_container_dependency){text_of(on), condition};
}

// The exit code is the process's own, both streams are kept in order, and the environment, user,
// directory, host name and hosts file are those that ECS and Docker give.
static void container_gets_what_its_definition_says(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition =
        fixture_add(task, "web",
                    "echo first; echo second >&2; echo $A-$B-$C; echo home=$HOME; id; pwd; "
                    "hostname; cat /etc/hosts /etc/resolv.conf; ls -ld .; exit 7");
    static const char *const image_environment[] = {"A=image", "B=image", "C=image"};
    static const char *const task_environment[] = {"B=task", "C=task"};
    static const char *const servers[] = {"10.0.0.2"};
    struct ecs_key_value_pair own[] = {{TEXT("C"), TEXT("own")}};
    task->image.environment = texts(task, image_environment, 3);
    task->environment = texts(task, task_environment, 2);
    task->eni.domain_name_servers = texts(task, servers, 1);
    definition->environment.items = own;
    definition->environment.count = 1;
    definition->user = TEXT("app");
    definition->working_directory = TEXT("/srv/new/./place");
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    struct text output = fixture_output(task, "web");
    print_message("%.*s", TEXT_FMT(output));
    assert_true(text_starts(output, TEXT("first\nsecond\nimage-task-own\nhome=/home/app\n")));
    assert_true(fixture_holds(output, "uid=1000(app) gid=1000(app) groups=2000(extra)"));
    assert_true(fixture_holds(output, "\n/srv/new/place\n"));
    assert_true(fixture_holds(output, "10.0.0.5\tip-10-0-0-5.eu-west-1.compute.internal\n"));
    assert_true(fixture_holds(output, "nameserver 10.0.0.2\n"));
    assert_true(container(task, 0)->has_exit_code);
    assert_int_equal(container(task, 0)->exit_code, 7);
    assert_true(container(task, 0)->started_at > 0);
    assert_true(container(task, 0)->finished_at >= container(task, 0)->started_at);
    assert_true(task->state.essential_exited);
    assert_true(task->state.execution_stopped_at > 0);
    fixture_end(task);
}

// A container that ends before its pid file is read still has its exit code and output.
static void short_lives_are_not_lost(void **state)
{
    for (size_t i = 0; i < 5; i++) {
        struct fixture_task *task = fixture_task(*state);
        fixture_add(task, "quick", "echo done; exit 42");
        fixture_start(task);
        fixture_wait(task, fixture_finished);
        assert_int_equal(container(task, 0)->exit_code, 42);
        assert_true(text_is(fixture_output(task, "quick"), "done\n"));
        fixture_end(task);
    }
}

// STOP: whoever depends goes first; one that handles SIGTERM ends by its own code, one that does
// not is killed after its stopTimeout.
static void stop_goes_in_reverse_order(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "base",
                "trap 'echo term; exit 3' TERM; echo up; while true; do sleep 0.1; done");
    fixture_add(task, "deaf", "trap '' TERM; while true; do sleep 0.1; done");
    depend(task, 1, "base", ECS_CONTAINER_CONDITION_START);
    task->definitions[0].stop_timeout = FIXTURE_PATIENCE_S;
    task->definitions[1].stop_timeout = 1;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_wait_output(task, "base", "up\n"); // until then the signal would be lost
    assert_true(container(task, 1)->started_at >= container(task, 0)->started_at);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 3);
    assert_int_equal(container(task, 1)->exit_code, 137);
    assert_true(container(task, 0)->finished_at >= container(task, 1)->finished_at);
    assert_true(text_is(fixture_output(task, "base"), "up\nterm\n"));
    assert_false(task->state.essential_exited);
    fixture_end(task);
}

// KILL does not wait for anything.
static void kill_is_at_once(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "base", "trap '' TERM; while true; do sleep 0.1; done");
    task->definitions[0].stop_timeout = 10000; // far longer than is waited here
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 137);
    fixture_end(task);
}

// Whatever moment a KILL comes at, the start included, the task ends and nothing is left running.
// A runtime tells of a process before that is the supervisor's child: a signal then must not be
// lost.
static void kill_meets_a_start_at_any_moment(void **state)
{
    for (int64_t delay_ms = 0; delay_ms < 24; delay_ms += 2) {
        struct fixture_task *task = fixture_task(*state);
        fixture_add(task, "web", "trap '' TERM; while true; do sleep 0.1; done");
        fixture_start(task);
        struct pollfd nothing = {.fd = -1};
        poll(&nothing, 1, (int)delay_ms);
        fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
        fixture_wait(task, fixture_finished);
        const struct supervisor_container_state *ended = container(task, 0);
        assert_true(!ended->has_exit_code || ended->exit_code == 137);
        fixture_end(task);
    }
    for (size_t i = 0; i < 10; i++) {
        struct fixture_task *task = fixture_task(*state);
        fixture_add(task, "web", "trap '' TERM; while true; do sleep 0.1; done");
        fixture_start(task);
        fixture_wait(task, fixture_running);
        fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
        fixture_wait(task, fixture_finished);
        assert_int_equal(container(task, 0)->exit_code, 137);
        fixture_end(task);
    }
}

// The same for the supervisor's own death: kill finds all there is, the start under way included.
static void supervisor_may_die_at_any_moment(void **state)
{
    struct err err = {0};
    for (int64_t delay_ms = 0; delay_ms < 24; delay_ms += 2) {
        struct fixture_task *task = fixture_task(*state);
        fixture_add(task, "web", "while true; do sleep 0.1; done");
        assert_int_equal(fixture_prepare(task, &err), 0);
        struct runtime *runtime = task->fixture->runtime;
        assert_int_equal(runtime->ops->launch(runtime, task->id, &err), 0);
        pid_t supervisor = fixture_supervisor(task);
        struct pollfd nothing = {.fd = -1};
        poll(&nothing, 1, (int)delay_ms);
        assert_int_equal(kill(supervisor, SIGKILL), 0);
        fixture_end(task);
    }
}

#define WORKERS 4
#define WORKER_TASKS 3

struct worker {
    pthread_t thread;
    struct fixture_task *tasks[WORKER_TASKS];
    struct err err;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (size_t i = 0; i < WORKER_TASKS && worker->err.code == 0; i++) {
        struct fixture_task *task = worker->tasks[i];
        struct runtime *runtime = task->fixture->runtime;
        IGNORE(fixture_prepare(task, &worker->err) != 0 ||
                   runtime->ops->launch(runtime, task->id, &worker->err) != 0 ||
                   runtime->ops->kill(runtime, task->id, &worker->err) != 0 ||
                   runtime->ops->clean(runtime, task->id, &worker->err) != 0,
               "the error tells");
    }
    return NULL;
}

// Tasks begin and end at the same time on several threads; the last to go takes the instance's
// group with it, whoever makes it again does not stumble.
static void tasks_are_handled_at_the_same_time(void **state)
{
    struct worker workers[WORKERS] = {0};
    for (size_t i = 0; i < WORKERS; i++) {
        for (size_t k = 0; k < WORKER_TASKS; k++) {
            workers[i].tasks[k] = fixture_task(*state);
            fixture_add(workers[i].tasks[k], "web", "while true; do sleep 0.1; done");
        }
    }
    for (size_t i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        if (workers[i].err.code != 0) {
            fail_msg("%s", workers[i].err.text);
        }
    }
}

static bool sidecar_ended(const struct fixture_task *task)
{
    // The sidecar may end before the other one has started.
    return task->state.containers.count == 2 &&
           task->state.containers.items[0].status != SUPERVISOR_STATUS_STARTING &&
           task->state.containers.items[1].status == SUPERVISOR_STATUS_STOPPED;
}

// A sidecar's end leaves the task running; an essential container's end stops the others.
static void essential_decides(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "while ! test -e /shared/go; do sleep 0.05; done; exit 5");
    fixture_add(task, "side", "exit 1");
    task->definitions[1].essential = false;
    struct ecs_volume volume = {.name = TEXT("shared")};
    struct ecs_mount_point point = {.source_volume = TEXT("shared"),
                                    .container_path = TEXT("/shared")};
    task->definition.volumes.items = &volume;
    task->definition.volumes.count = 1;
    for (size_t i = 0; i < 2; i++) {
        task->definitions[i].mount_points.items = &point;
        task->definitions[i].mount_points.count = 1;
    }
    fixture_start(task);
    fixture_wait(task, sidecar_ended);
    assert_int_equal(container(task, 0)->status, SUPERVISOR_STATUS_RUNNING);
    assert_false(task->state.essential_exited);
    struct arena *arena = &task->fixture->arena;
    struct text go =
        arena_format(arena, "%s/tasks/%.*s/v/0/go", task->fixture->data_dir, TEXT_FMT(task->id));
    int fd = open(go.data, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 5);
    assert_true(task->state.essential_exited);
    fixture_end(task);
}

// The others get SIGTERM when the essential one ends.
static void essential_exit_stops_the_others(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "while ! test -e /go; do sleep 0.05; done; exit 9");
    fixture_add(task, "side", "trap 'exit 143' TERM; echo up; while true; do sleep 0.1; done");
    task->definitions[1].essential = false;
    task->definitions[1].stop_timeout = FIXTURE_PATIENCE_S;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_wait_output(task, "side", "up\n");
    fixture_touch(task, 0, "go");
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 9);
    assert_int_equal(container(task, 1)->exit_code, 143);
    assert_true(task->state.essential_exited);
    fixture_end(task);
}

// SUCCESS waits for an exit with 0; a failure keeps the dependent from ever starting.
static void dependencies_hold_back(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "init", "sleep 0.3; exit 0");
    fixture_add(task, "web", "exit 0");
    task->definitions[0].essential = false;
    depend(task, 1, "init", ECS_CONTAINER_CONDITION_SUCCESS);
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_true(container(task, 1)->started_at >= container(task, 0)->finished_at);
    assert_int_equal(container(task, 1)->exit_code, 0);
    fixture_end(task);

    task = fixture_task(*state);
    fixture_add(task, "init", "exit 4");
    fixture_add(task, "web", "exit 0");
    task->definitions[0].essential = false;
    depend(task, 1, "init", ECS_CONTAINER_CONDITION_SUCCESS);
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_false(container(task, 1)->has_exit_code);
    assert_true(text_starts(container(task, 1)->reason, TEXT("CannotStartContainerError: ")));
    assert_int_equal(container(task, 1)->started_at, 0);
    fixture_end(task);
}

static bool healthy(const struct fixture_task *task)
{
    return task->state.containers.count > 0 &&
           task->state.containers.items[0].health == SUPERVISOR_HEALTH_HEALTHY;
}

static bool unhealthy(const struct fixture_task *task)
{
    return task->state.containers.items[0].health == SUPERVISOR_HEALTH_UNHEALTHY;
}

static struct ecs_health_check check_of(struct fixture_task *task, const char *const command[2],
                                        int32_t timeout_s)
{
    return (struct ecs_health_check){
        .command = texts(task, command, 2),
        .has_interval = true,
        .interval = 1,
        .has_timeout = true,
        .timeout = timeout_s,
        .has_retries = true,
        .retries = 1,
    };
}

// HEALTHY by the command's exit code inside the container, then UNHEALTHY. HEALTHY releases who
// waits for it.
static void health_follows_the_command(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "touch /tmp-ok; while true; do sleep 1; done");
    fixture_add(task, "after", "while true; do sleep 1; done");
    static const char *const command[] = {
        "CMD-SHELL",
        "while ! test -e /tmp-ok; do sleep 0.05; done; ! test -e /sick && test $A = b"};
    struct ecs_health_check check = check_of(task, command, FIXTURE_PATIENCE_S);
    struct ecs_key_value_pair own[] = {{TEXT("A"), TEXT("b")}};
    task->definitions[0].health_check = &check;
    task->definitions[0].environment.items = own;
    task->definitions[0].environment.count = 1;
    depend(task, 1, "web", ECS_CONTAINER_CONDITION_HEALTHY);
    fixture_start(task);
    fixture_wait(task, healthy);
    fixture_wait(task, fixture_running);
    assert_true(container(task, 1)->started_at >= container(task, 0)->health_since);
    fixture_touch(task, 0, "sick");
    fixture_wait(task, unhealthy);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(task);
}

// A health command that hangs is killed at its timeout and counts as a failure.
static void health_commands_have_their_time(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "while true; do sleep 1; done");
    static const char *const command[] = {"CMD-SHELL", "sleep 10000"};
    struct ecs_health_check check = check_of(task, command, 1);
    task->definitions[0].health_check = &check;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_wait(task, unhealthy);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(task);
}

// A container's own limit binds, and the OOM killer's work is told from other kills.
static void memory_limit_binds(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition = fixture_add(task, "eater", "exec tail /dev/zero");
    definition->has_memory = true;
    definition->memory = 16;
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 137);
    assert_true(container(task, 0)->oom_killed);
    assert_true(text_is(container(task, 0)->reason,
                        "OutOfMemoryError: Container killed due to memory usage"));
    fixture_end(task);
}

// So does the task's, for all containers together; CPU is a quota that the kernel shows.
static void task_limits_bind(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "eater", "while ! test -e /go; do sleep 0.05; done; exec tail /dev/zero");
    task->definitions[0].has_cpu = true;
    task->definitions[0].cpu = 128;
    task->spec.has_cpu_units = true;
    task->spec.cpu_units = 256;
    task->spec.has_memory_mib = true;
    task->spec.memory_mib = 24;
    fixture_start(task);
    struct text quota = fixture_control(task, "cpu", ".", "cpu.cfs_quota_us");
    struct text max = fixture_control(task, "cpu", ".", "cpu.max");
    struct text bytes = fixture_control(task, "memory", ".", "memory.limit_in_bytes");
    struct text memory_max = fixture_control(task, "memory", ".", "memory.max");
    assert_true(text_is(quota, "25000") || text_is(max, "25000 100000"));
    assert_true(text_is(bytes, "25165824") || text_is(memory_max, "25165824"));
    fixture_wait(task, fixture_running);
    struct text shares = fixture_control(task, "cpu", "0-eater", "cpu.shares");
    struct text weight = fixture_control(task, "cpu", "0-eater", "cpu.weight");
    assert_true(text_is(shares, "128") || text_is(weight, "5"));
    fixture_touch(task, 0, "go");
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 137);
    assert_true(container(task, 0)->oom_killed);
    fixture_end(task);
}

// A flood is rotated once and bounded; what was written last is there.
static void flood_is_bounded(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "flood", "yes 0123456789abcdef | head -c 3000000; echo; echo last");
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    struct text output = fixture_output(task, "flood");
    struct text path = runtime_output_path(task->fixture->data_dir, task->id, TEXT("flood"),
                                           &task->fixture->arena);
    struct text older = arena_format(&task->fixture->arena, "%.*s.1", TEXT_FMT(path));
    struct stat status;
    assert_int_equal(stat(older.data, &status), 0);
    assert_int_equal(status.st_size, 256 << 10);
    assert_true(output.size <= 256u << 10);
    assert_true(text_ends(output, TEXT("\nlast\n")));
    assert_int_equal(container(task, 0)->exit_code, 0);
    fixture_end(task);
}

// What cannot start says why, in the runtime's words, and has no exit code.
static void start_failure_is_explained(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "unused");
    static const char *const command[] = {"/no/such/program"};
    task->definitions[0].command = texts(task, command, 1);
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    print_message("%.*s\n", TEXT_FMT(container(task, 0)->reason));
    assert_true(text_starts(container(task, 0)->reason, TEXT("CannotStartContainerError: ")));
    assert_true(fixture_holds(container(task, 0)->reason, "/no/such/program"));
    assert_false(container(task, 0)->has_exit_code);
    assert_false(task->state.essential_exited);
    fixture_end(task);
}

// What prepare refuses, it names; clean removes what it had made.
static void prepare_refuses_with_a_reason(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "true");
    task->definitions[0].user = TEXT("nobody-here");
    assert_int_equal(fixture_prepare(task, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "nobody-here"));
    task->definitions[0].user = (struct text){0};
    struct ecs_firelens_configuration router = {.type = ECS_FIRELENS_CONFIGURATION_TYPE_FLUENTD};
    task->definitions[0].firelens_configuration = &router;
    assert_int_equal(fixture_prepare(task, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "firelensConfiguration"));
    struct runtime *runtime = task->fixture->runtime;
    assert_int_equal(runtime->ops->launch(runtime, task->id, &err), ERR_NOT_FOUND);
    int fd = -1;
    assert_int_equal(runtime->ops->attach(runtime, task->id, &fd, &err), ERR_NOT_FOUND);
    fixture_end(task);
}

// The root can be read-only, volumes and /dev/shm stay writable; another user than root may write
// into a volume over a directory of its own.
static void files_are_as_asked(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web",
                "touch /x 2>/dev/null && exit 1; touch /dev/shm/x || exit 2; "
                "touch /home/app/x || exit 3; touch /ro/x 2>/dev/null && exit 4; "
                "test $(ulimit -n) = 1024 || exit 5; ulimit -l 1000 || exit 6; exit 0");
    struct ecs_ulimit limits[] = {
        {.name = ECS_ULIMIT_NAME_NOFILE, .soft_limit = 1024, .hard_limit = 4096},
        {.name = ECS_ULIMIT_NAME_MEMLOCK, .soft_limit = -1, .hard_limit = -1},
    };
    task->definitions[0].ulimits.items = limits;
    task->definitions[0].ulimits.count = 2;
    struct ecs_volume volumes[] = {{.name = TEXT("home")}, {.name = TEXT("ro")}};
    struct ecs_mount_point points[] = {
        {.source_volume = TEXT("ro"),
         .container_path = TEXT("/ro"),
         .has_read_only = true,
         .read_only = true},
        {.source_volume = TEXT("home"), .container_path = TEXT("/home/app")},
    };
    task->definition.volumes.items = volumes;
    task->definition.volumes.count = 2;
    task->definitions[0].mount_points.items = points;
    task->definitions[0].mount_points.count = 2;
    task->definitions[0].readonly_root_filesystem = true;
    task->definitions[0].user = TEXT("1000:1000");
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 0);
    fixture_end(task);
}

// An agent may go and come back: the supervisor tells it the whole state, and the file agrees.
static void agents_come_and_go(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    struct runtime *runtime = task->fixture->runtime;
    fixture_add(task, "web", "trap 'exit 0' TERM; while true; do sleep 0.1; done");
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_attach(task);
    task->state = (struct supervisor_state){0};
    fixture_wait(task, fixture_running);
    struct supervisor_state state_file = {0};
    assert_int_equal(
        runtime->ops->read_state(runtime, task->id, &task->fixture->arena, &state_file, &err), 0);
    assert_int_equal(state_file.sequence, task->state.sequence);
    assert_int_equal(state_file.containers.items[0].pid, container(task, 0)->pid);
    assert_int_equal(fixture_prepare(task, &err), ERR_BUSY);
    assert_int_equal(runtime->ops->launch(runtime, task->id, &err), 0);
    assert_int_equal(runtime->ops->clean(runtime, task->id, &err), ERR_BUSY);
    pid_t supervisor = fixture_supervisor(task);
    assert_int_equal(getsid(supervisor), supervisor);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_wait(task, fixture_finished);
    struct pollfd gone = {.fd = pidfd_open(supervisor, 0), .events = POLLIN};
    assert_true(gone.fd < 0 || poll(&gone, 1, fixture_wait_ms()) == 1);
    fd_close(gone.fd);
    assert_int_equal(runtime->ops->launch(runtime, task->id, &err), ERR_EXISTS);
    fixture_end(task);
}

static void set_clock(int64_t hours)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    now.tv_sec += hours * 3600;
    assert_int_equal(clock_settime(CLOCK_REALTIME, &now), 0);
}

// The host's clock is set by hours while a task runs: probes go on, and a container that does not
// hear its stop signal is killed in time. With durations of the wall clock these waits would take
// hours. Only where the clock is the test's own.
static void steps_of_the_clock_stop_nothing(void **state)
{
    if (getenv("BERTH_OWN_CLOCK") == NULL) {
        skip();
    }
    struct fixture_task *task = fixture_task(*state);
    static const char *const command[] = {"CMD-SHELL", "test ! -e /sick"};
    struct ecs_health_check check = check_of(task, command, FIXTURE_PATIENCE_S);
    fixture_add(task, "web", "trap '' TERM; while true; do sleep 0.1; done");
    task->definitions[0].health_check = &check;
    task->definitions[0].has_stop_timeout = true;
    task->definitions[0].stop_timeout = 2;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    set_clock(-7);
    fixture_wait(task, healthy);
    set_clock(30);
    fixture_touch(task, 0, "sick");
    set_clock(-29);
    fixture_wait(task, unhealthy);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    set_clock(-5);
    fixture_wait(task, fixture_finished);
    set_clock(11);
    assert_int_equal(container(task, 0)->exit_code, 137);
    fixture_end(task);
}

static struct runtime_found find_task(struct fixture_task *task)
{
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    struct runtime_found *found = NULL;
    size_t count = 0;
    assert_int_equal(runtime->ops->list(runtime, &task->fixture->arena, &found, &count, &err), 0);
    assert_int_equal(count, 1);
    return found[0];
}

// An agent that was killed at a launch: the next one can tell whether anything was started, and
// what is killed never starts, also when its supervisor comes up later.
static void what_never_started_can_be_told(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    struct runtime *runtime = task->fixture->runtime;
    fixture_add(task, "web", "echo started");
    assert_int_equal(fixture_prepare(task, &err), 0);
    assert_true(find_task(task).unstarted);
    assert_int_equal(runtime->ops->kill(runtime, task->id, &err), 0);
    assert_false(find_task(task).unstarted);
    assert_int_equal(runtime->ops->launch(runtime, task->id, &err), ERR_EXISTS);
    char *directory = alloc_format("%s/tasks/%.*s", task->fixture->run_dir, TEXT_FMT(task->id));
    char detach[] = "--detach";
    char *arguments[] = {getenv("BERTH_TASK"), detach, directory, NULL};
    pid_t pid = 0;
    int status = 0;
    assert_int_equal(posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), SUPERVISOR_EXIT_TAKEN);
    alloc_free(directory);
    // Preparing it anew is the word of somebody who knows that it was never launched.
    assert_int_equal(fixture_prepare(task, &err), 0);
    assert_true(find_task(task).unstarted);
    fixture_start(task);
    assert_false(find_task(task).unstarted);
    fixture_wait(task, fixture_finished);
    assert_string_equal(fixture_output(task, "web").data, "started\n");
    fixture_end(task);
}

struct launcher {
    struct fixture_task *task;
    pthread_t thread;
    int rc;
    struct err err;
};

static void *launch_it(void *context)
{
    struct launcher *launcher = context;
    struct runtime *runtime = launcher->task->fixture->runtime;
    launcher->rc = runtime->ops->launch(runtime, launcher->task->id, &launcher->err);
    return NULL;
}

// However many begin to launch a task, it runs once, and each of them can attach to it.
static void many_launch_a_task_once(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    struct launcher launchers[4];
    fixture_add(task, "web", "echo started; trap 'exit 0' TERM; while true; do sleep 0.1; done");
    assert_int_equal(fixture_prepare(task, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(launchers); i++) {
        launchers[i] = (struct launcher){.task = task};
        assert_int_equal(pthread_create(&launchers[i].thread, NULL, launch_it, &launchers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(launchers); i++) {
        assert_int_equal(pthread_join(launchers[i].thread, NULL), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(launchers); i++) {
        print_message("launcher %zu: %d %s\n", i, launchers[i].rc, launchers[i].err.text);
        assert_int_equal(launchers[i].rc, 0);
    }
    fixture_attach(task);
    fixture_wait(task, fixture_running);
    fixture_wait_output(task, "web", "started\n");
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_wait(task, fixture_finished);
    assert_string_equal(fixture_output(task, "web").data, "started\n");
    fixture_end(task);
}

static size_t status_kib(pid_t pid, const char *name)
{
    struct err err = {0};
    AUTO(alloc_string) char *path = alloc_format("/proc/%d/status", (int)pid);
    AUTO(buf_deinit) struct buf content = {0};
    assert_int_equal(file_read(AT_FDCWD, path, 64u << 10, &content, &err), 0);
    const char *at = strstr(content.data, name);
    assert_non_null(at);
    return (size_t)strtoul(at + strlen(name) + 1, NULL, 10);
}

// A supervisor that is killed takes nothing with it: its containers are found by their cgroup, and
// kill and clean leave no process, mount or cgroup (see fixture_free).
static void killed_supervisor_leaves_nothing_unfound(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    struct runtime *runtime = task->fixture->runtime;
    fixture_add(task, "one", "while true; do sleep 0.1; done");
    fixture_add(task, "two", "(sleep 1000 &) ; while true; do sleep 0.1; done");
    fixture_start(task);
    fixture_wait(task, fixture_running);
    pid_t pid = container(task, 0)->pid;
    pid_t supervisor = fixture_supervisor(task);
    size_t rss_kib = status_kib(supervisor, "VmRSS:");
    print_message("supervisor: VmRSS %zu KiB, RssAnon %zu KiB\n", rss_kib,
                  status_kib(supervisor, "RssAnon:"));
    assert_true(rss_kib < 1024);
    int container_fd = pidfd_open(pid, 0);
    struct pollfd gone = {.fd = pidfd_open(supervisor, 0), .events = POLLIN};
    assert_true(gone.fd >= 0);
    assert_true(container_fd >= 0);
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    assert_int_equal(poll(&gone, 1, fixture_wait_ms()), 1);
    struct runtime_found *found = NULL;
    size_t count = 0;
    assert_int_equal(runtime->ops->list(runtime, &task->fixture->arena, &found, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_true(text_equal(found[0].id, task->id));
    assert_false(found[0].supervisor_alive);
    assert_true(found[0].has_state);
    assert_false(found[0].state.finished);
    int fd = -1;
    assert_int_equal(runtime->ops->attach(runtime, task->id, &fd, &err), ERR_NOT_FOUND);
    assert_int_equal(runtime->ops->launch(runtime, task->id, &err), ERR_EXISTS);
    assert_int_equal(runtime->ops->clean(runtime, task->id, &err), ERR_BUSY);
    // As when the supervisor was in the middle of another container's start.
    fixture_freeze(task, "0-one");
    assert_int_equal(runtime->ops->kill(runtime, task->id, &err), 0);
    struct pollfd container_gone = {.fd = container_fd, .events = POLLIN};
    // The kernel calls a v2 group empty a moment before it tells who waits for its processes.
    assert_int_equal(poll(&container_gone, 1, fixture_wait_ms()), 1);
    close(gone.fd);
    close(container_fd);
    close(task->fd);
    task->fd = -1;
    fixture_end(task);
}

// Two instances on one host do not see each other.
static void instances_are_apart(void **state)
{
    struct err err = {0};
    struct fixture *other = fixture_new(NULL);
    struct fixture_task *task = fixture_task(*state);
    fixture_add(task, "web", "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done");
    task->definitions[0].stop_timeout = FIXTURE_PATIENCE_S;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_wait_output(task, "web", "up\n"); // until then the signal would be lost
    struct runtime_found *found = NULL;
    size_t count = 1;
    assert_int_equal(other->runtime->ops->list(other->runtime, &other->arena, &found, &count, &err),
                     0);
    assert_int_equal(count, 0);
    assert_int_equal(other->runtime->ops->kill(other->runtime, task->id, &err), 0);
    assert_int_equal(other->runtime->ops->clean(other->runtime, task->id, &err), 0);
    fixture_free(other);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 0);
    fixture_end(task);
}

// Where crun is missing, runc does the same.
static void runc_does_as_well(void **state)
{
    (void)state;
    static const char runc[] = "/usr/sbin/runc";
    if (access(runc, X_OK) != 0) {
        print_message("SKIP: %s is not installed\n", runc);
        skip();
    }
    struct fixture *fixture = fixture_new(runc);
    struct fixture_task *task = fixture_task(fixture);
    fixture_add(task, "web", "echo hello; exit 6");
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 6);
    assert_true(text_is(fixture_output(task, "web"), "hello\n"));
    fixture_end(task);
    task = fixture_task(fixture);
    static const char *const command[] = {"/no/such/program"};
    fixture_add(task, "web", "unused");
    task->definitions[0].command = texts(task, command, 1);
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_true(fixture_holds(container(task, 0)->reason, "/no/such/program"));
    fixture_end(task);
    fixture_free(fixture);
}

#define NODE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

// With the name of a group, `members`, `exec`, `join` or `limits`, only that.
int main(int argc, char **argv)
{
    if (!fixture_possible()) {
        return SKIPPED;
    }
    if (argc > 1) {
        return strcmp(argv[1], "exec") == 0     ? exec_run()
               : strcmp(argv[1], "join") == 0   ? join_run_tests()
               : strcmp(argv[1], "limits") == 0 ? limits_run()
                                                : members_run();
    }
    const struct CMUnitTest tests[] = {
        NODE_TEST(container_gets_what_its_definition_says),
        NODE_TEST(short_lives_are_not_lost),
        NODE_TEST(stop_goes_in_reverse_order),
        NODE_TEST(kill_is_at_once),
        NODE_TEST(kill_meets_a_start_at_any_moment),
        NODE_TEST(supervisor_may_die_at_any_moment),
        NODE_TEST(tasks_are_handled_at_the_same_time),
        NODE_TEST(essential_decides),
        NODE_TEST(essential_exit_stops_the_others),
        NODE_TEST(dependencies_hold_back),
        NODE_TEST(health_follows_the_command),
        NODE_TEST(health_commands_have_their_time),
        NODE_TEST(memory_limit_binds),
        NODE_TEST(task_limits_bind),
        NODE_TEST(flood_is_bounded),
        NODE_TEST(start_failure_is_explained),
        NODE_TEST(prepare_refuses_with_a_reason),
        NODE_TEST(files_are_as_asked),
        NODE_TEST(agents_come_and_go),
        NODE_TEST(steps_of_the_clock_stop_nothing),
        NODE_TEST(what_never_started_can_be_told),
        NODE_TEST(many_launch_a_task_once),
        NODE_TEST(killed_supervisor_leaves_nothing_unfound),
        NODE_TEST(instances_are_apart),
        cmocka_unit_test(runc_does_as_well),
    };
    int failed = cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
    return failed + members_run() + limits_run() + exec_run() + join_run_tests() + filter_run();
}
