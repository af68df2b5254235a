#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include <cmocka.h>

// Members that keep the supervisor busy after the start: restarts, commands in containers, shared
// namespaces, terminals.

#define RESTARTS 12

static struct supervisor_container_state *container(struct fixture_task *task, size_t index)
{
    assert_true(index < task->state.containers.count);
    return &task->state.containers.items[index];
}

static size_t entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t count = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static size_t descriptors(pid_t pid)
{
    AUTO(alloc_string) char *path = alloc_format("/proc/%d/fd", (int)pid);
    return entries(path);
}

static struct ecs_container_restart_policy always = {
    .has_enabled = true,
    .enabled = true,
    .has_restart_attempt_period =
        true, // absent would be ECS's 300 s, and its API takes 60 at least
};

static int32_t wanted_restarts;

static bool has_restarted(const struct fixture_task *task)
{
    const struct supervisor_container_state *state = &task->state.containers.items[0];
    return task->state.containers.count > 0 && state->restart_count >= wanted_restarts &&
           state->has_pid;
}

static void wait_restarts(struct fixture_task *task, int32_t count)
{
    wanted_restarts = count;
    fixture_wait(task, has_restarted);
}

// A container that is killed again and again comes up again each time: the same files, one output,
// and the supervisor holds no more than before.
static void restarts_leave_nothing_behind(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition =
        fixture_add(task, "web", "echo x >>/runs; echo run $(grep -c x /runs); exec sleep 1000");
    definition->restart_policy = &always;
    fixture_start(task);
    wait_restarts(task, 0);
    pid_t supervisor = fixture_supervisor(task);
    AUTO(alloc_string)
    char *runtime = alloc_format("%s/tasks/%.*s/oci", task->fixture->run_dir, TEXT_FMT(task->id));
    size_t fds = 0;
    size_t known = 0;
    for (int32_t i = 1; i <= RESTARTS; i++) {
        AUTO(alloc_string) char *line = alloc_format("run %d\n", i);
        fixture_wait_output(task, "web", line);
        pid_t before = container(task, 0)->pid;
        assert_int_equal(kill(before, SIGKILL), 0);
        wait_restarts(task, i);
        assert_int_equal(container(task, 0)->status, SUPERVISOR_STATUS_RUNNING);
        assert_int_equal(container(task, 0)->restart_count, i);
        assert_int_not_equal(container(task, 0)->pid, before);
        fds = i == 1 ? descriptors(supervisor) : fds;
        known = i == 1 ? entries(runtime) : known;
    }
    assert_int_equal(descriptors(supervisor), fds);
    assert_int_equal(entries(runtime), known);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_wait(task, fixture_finished);
    struct text output = fixture_output(task, "web");
    assert_true(text_starts(output, TEXT("run 1\nrun 2\nrun 3\n")));
    fixture_end(task);
}

// What the kernel killed for want of memory is started again, with a fresh account of it.
static void oom_is_followed_by_a_restart(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition =
        fixture_add(task, "web",
                    "test -e /again && exit 3; touch /again; "
                    "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done");
    int32_t ignored[] = {3};
    struct ecs_container_restart_policy policy = always;
    policy.ignored_exit_codes.items = ignored;
    policy.ignored_exit_codes.count = 1;
    definition->restart_policy = &policy;
    definition->memory = 16;
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 3);
    assert_int_equal(container(task, 0)->restart_count, 1);
    assert_false(container(task, 0)->oom_killed);
    assert_true(text_empty(container(task, 0)->reason));
    fixture_end(task);
}

// No agent is needed: one that comes back finds that it has happened.
static void restarts_need_no_agent(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct ecs_container_definition *definition = fixture_add(task, "web", "exec sleep 1000");
    definition->restart_policy = &always;
    fixture_start(task);
    wait_restarts(task, 0);
    close(task->fd);
    task->fd = -1;
    assert_int_equal(kill(container(task, 0)->pid, SIGKILL), 0);
    fixture_attach(task);
    wait_restarts(task, 1);
    // A stop in the middle of a restart, at whatever moment, ends the container all the same.
    assert_int_equal(kill(container(task, 0)->pid, SIGKILL), 0);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_wait(task, fixture_finished);
    assert_true(container(task, 0)->has_exit_code);
    fixture_end(task);
}

static bool is_healthy(const struct fixture_task *task)
{
    return task->state.containers.count > 0 &&
           task->state.containers.items[0].health == SUPERVISOR_HEALTH_HEALTHY;
}

static bool is_unknown(const struct fixture_task *task)
{
    return task->state.containers.items[0].health == SUPERVISOR_HEALTH_UNKNOWN;
}

// Labels: a command after the start, for which dependants wait; one before the stop, which comes
// before the signal; readiness, which comes and goes with a file.
static void labels_run_commands(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct text_entry labels[] = {
        {TEXT("berth.post-start"),
         TEXT("while ! test -e /up; do sleep 0.05; done; sleep 0.2; echo greeted >/greeting")},
        {TEXT("berth.pre-stop"), TEXT("echo parted >/proc/1/fd/1")},
        {TEXT("berth.readiness"), TEXT("CMD /bin/test -e /ready")},
        {TEXT("berth.readiness.interval"), TEXT("1")},
        {TEXT("berth.readiness.timeout"), TEXT("60")},
        {TEXT("berth.readiness.retries"), TEXT("1")},
    };
    struct ecs_container_definition *definition =
        fixture_add(task, "web",
                    "trap 'echo asked; cat /greeting; exit 0' TERM; touch /up; "
                    "while true; do sleep 0.05; done");
    definition->docker_labels = (struct text_map){labels, ARRAY_LEN(labels)};
    definition->stop_timeout = FIXTURE_PATIENCE_S;
    fixture_add(task, "after", "exec sleep 1000");
    struct ecs_container_dependency start = {TEXT("web"), ECS_CONTAINER_CONDITION_START};
    task->definitions[1].depends_on.items = &start;
    task->definitions[1].depends_on.count = 1;
    task->definitions[1].has_stop_timeout = true;
    task->definitions[1].stop_timeout = 0;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    assert_true(container(task, 1)->started_at >= container(task, 0)->started_at + 200);
    assert_int_equal(container(task, 0)->health, SUPERVISOR_HEALTH_UNKNOWN);
    assert_true(container(task, 0)->has_ready);
    AUTO(alloc_string)
    char *ready = alloc_format("/proc/%d/root/ready", (int)container(task, 0)->pid);
    fixture_touch(task, 0, "ready");
    fixture_wait(task, is_healthy);
    assert_true(container(task, 0)->ready);
    assert_int_equal(unlink(ready), 0);
    fixture_wait(task, is_unknown);
    assert_false(container(task, 0)->ready);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_wait(task, fixture_finished);
    assert_true(text_is(fixture_output(task, "web"), "parted\nasked\ngreeted\n"));
    fixture_end(task);
}

static void failed_post_start_is_told(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    struct text_entry label = {TEXT("berth.post-start"),
                               TEXT("while ! test -e /up; do sleep 0.05; done; exit 4")};
    struct ecs_container_definition *definition =
        fixture_add(task, "web", "trap 'exit 5' TERM; touch /up; while true; do sleep 0.05; done");
    definition->docker_labels = (struct text_map){&label, 1};
    definition->stop_timeout = FIXTURE_PATIENCE_S;
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_int_equal(container(task, 0)->exit_code, 5);
    assert_true(text_is(container(task, 0)->reason,
                        "CannotStartContainerError: its post-start command failed"));
    fixture_end(task);
}

static bool second_ended(const struct fixture_task *task)
{
    return task->state.containers.items[1].status == SUPERVISOR_STATUS_STOPPED;
}

// A container that shares its pid namespace takes all of its own with it, and no other's.
static void shared_pids_end_with_their_container(void **state)
{
    struct fixture_task *task = fixture_task(*state);
    task->definition.pid_mode = ECS_PID_MODE_TASK;
    fixture_add(task, "web", "echo here; exec sleep 1000");
    struct ecs_container_definition *definition = fixture_add(
        task, "helper",
        "(sleep 1001 &); (sleep 1002 &); while ! test -e /go; do sleep 0.05; done; exit 3");
    definition->essential = false;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    pid_t web = container(task, 0)->pid;
    AUTO(alloc_string) char *web_ns = alloc_format("/proc/%d/ns/pid", (int)web);
    AUTO(alloc_string)
    char *helper_ns = alloc_format("/proc/%d/ns/pid", (int)container(task, 1)->pid);
    char names[2][64] = {"", "-"};
    assert_true(readlink(web_ns, names[0], sizeof(names[0]) - 1) > 0);
    assert_true(readlink(helper_ns, names[1], sizeof(names[1]) - 1) > 0);
    assert_string_equal(names[0], names[1]);
    fixture_touch(task, 1, "go");
    fixture_wait(task, second_ended);
    assert_int_equal(container(task, 1)->exit_code, 3);
    struct pollfd nothing = {.fd = -1};
    struct text left = fixture_control(task, "memory", "1-helper", "cgroup.procs");
    for (size_t i = 0; i < 12000 && !text_empty(left); i++) {
        poll(&nothing, 1, 5); // they are killed, and die in their own time
        left = fixture_control(task, "memory", "1-helper", "cgroup.procs");
    }
    assert_true(text_empty(left));
    assert_int_equal(kill(web, 0), 0);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    fixture_end(task);
}

// With its supervisor killed, what held the shared namespaces goes, and all that is in them.
static void shared_namespaces_end_with_the_supervisor(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    struct runtime *runtime = task->fixture->runtime;
    task->definition.pid_mode = ECS_PID_MODE_TASK;
    task->definition.ipc_mode = ECS_IPC_MODE_TASK;
    fixture_add(task, "web", "exec sleep 1000");
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct pollfd gone = {.fd = pidfd_open(container(task, 0)->pid, 0), .events = POLLIN};
    assert_true(gone.fd >= 0);
    assert_int_equal(kill(fixture_supervisor(task), SIGKILL), 0);
    assert_int_equal(poll(&gone, 1, fixture_wait_ms()), 1);
    close(gone.fd);
    close(task->fd);
    task->fd = -1;
    assert_int_equal(runtime->ops->kill(runtime, task->id, &err), 0);
    fixture_end(task);
}

// A terminal: the output of all that a short life wrote, however it ended.
static void terminals_lose_nothing(void **state)
{
    for (size_t i = 0; i < 5; i++) {
        struct fixture_task *task = fixture_task(*state);
        struct ecs_container_definition *definition =
            fixture_add(task, "web", "test -t 1 && echo terminal; head -c 60000 /dev/zero; exit 4");
        definition->pseudo_terminal = true;
        fixture_start(task);
        fixture_wait(task, fixture_finished);
        assert_int_equal(container(task, 0)->exit_code, 4);
        struct text output = fixture_output(task, "web");
        assert_true(text_starts(output, TEXT("terminal\r\n")));
        fixture_end(task);
    }
}

// VOLUME of an image: a fresh folder with what the image has there, writable also where the root is
// not, and to be had from others.
static void image_volumes_are_made(void **state)
{
    struct err err = {0};
    struct fixture_task *task = fixture_task(*state);
    struct fixture *fixture = task->fixture;
    AUTO(alloc_string) char *home = alloc_format("%s/layers/1/home/app", fixture->directory);
    AUTO(alloc_string) char *deep = alloc_format("%s/deep/er", home);
    AUTO(alloc_string) char *seed = alloc_format("%s/seed", deep);
    AUTO(alloc_string) char *link = alloc_format("%s/link", home);
    assert_int_equal(file_make_dirs(deep, 0750, &err), 0);
    assert_int_equal(file_replace(AT_FDCWD, seed, 0640, TEXT("seed\n"), &err), 0);
    assert_int_equal(chown(seed, 1000, 2000), 0);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    struct text volumes[] = {TEXT("/home/app"), TEXT("/home/none")};
    task->image.volumes.items = volumes;
    task->image.volumes.count = 2;
    struct ecs_container_definition *definition = fixture_add(
        task, "web",
        "stat -c '%a %u %g' . deep/er deep/er/seed; stat -c %N link; cat deep/er/seed; "
        "touch /no 2>/dev/null || echo readonly; echo theirs >new; touch /home/none/x; sleep 1000");
    definition->readonly_root_filesystem = true;
    definition->user = TEXT("0");
    definition->working_directory = TEXT("/home/app");
    definition = fixture_add(task, "other", "cat /home/app/new; exit 3");
    struct ecs_volume_from from = {.source_container = TEXT("web"), .has_read_only = true};
    definition->volumes_from.items = &from;
    definition->volumes_from.count = 1;
    definition->command.items[2] =
        TEXT("while ! grep theirs /home/app/new; do sleep 0.05; done 2>/dev/null; exit 3");
    fixture_start(task);
    fixture_wait(task, fixture_finished);
    assert_true(text_is(fixture_output(task, "web"), "755 1000 1000\n750 0 0\n640 1000 2000\n"
                                                     "'link' -> '/etc/passwd'\nseed\nreadonly\n"));
    assert_true(text_is(fixture_output(task, "other"), "theirs\n"));
    assert_int_equal(container(task, 1)->exit_code, 3);
    fixture_end(task);
}

static bool mounts_hold(pid_t pid, struct text path)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf table = {0};
    AUTO(alloc_string) char *name = alloc_format("/proc/%d/mountinfo", (int)pid);
    AUTO(alloc_string) char *wanted = alloc_format("%.*s", TEXT_FMT(path));
    assert_int_equal(file_read(AT_FDCWD, name, 16u << 20, &table, &err), 0);
    return fixture_holds(buf_view(&table), wanted);
}

// Loop devices whose file is in the fixture's directory; the kernel lets go of them a moment after
// the last use.
static size_t devices_of(const struct fixture *fixture)
{
    struct err err = {0};
    size_t count = 0;
    DIR *dir = opendir("/sys/block");
    const struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        AUTO(buf_deinit) struct buf file = {0};
        AUTO(alloc_string)
        char *path = alloc_format("/sys/block/%s/loop/backing_file", entry->d_name);
        count += file_read(AT_FDCWD, path, 4096, &file, &err) == 0 &&
                 fixture_holds(buf_view(&file), fixture->directory);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

// A task's own file system is as large as it asks, and goes with it, also when others began while
// it was there: their supervisors do not hold it.
static void storage_is_of_one_task(void **state)
{
    if (access("/sbin/mkfs.ext4", X_OK) != 0 || access("/dev/loop-control", F_OK) != 0) {
        print_message("SKIP: mkfs.ext4 or loop devices are missing\n");
        skip();
    }
    struct err err = {0};
    struct fixture_task *first = fixture_task(*state);
    struct fixture *fixture = first->fixture;
    struct ecs_ephemeral_storage storage = {.has_size_in_gib = true, .size_in_gib = 1};
    first->definition.ephemeral_storage = &storage;
    fixture_add(first, "web",
                "busybox fallocate -l 2000000000 /file 2>/dev/null || echo no room; rm /file; "
                "busybox fallocate -l 500000000 /file && echo room; sleep 1000");
    assert_int_equal(fixture_prepare(first, &err), 0);
    fixture_start(first);
    fixture_wait(first, fixture_running);
    struct text path =
        arena_format(&fixture->arena, "%s/tasks/%.*s ", fixture->data_dir, TEXT_FMT(first->id));
    assert_true(mounts_hold(fixture_supervisor(first), path));
    assert_int_equal(devices_of(fixture), 1);
    struct fixture_task *second = fixture_task(*state);
    second->definition.ephemeral_storage = &storage;
    fixture_add(second, "web", "exec sleep 1000");
    fixture_start(second);
    fixture_wait(second, fixture_running);
    assert_false(mounts_hold(fixture_supervisor(second), path));
    fixture_wait_output(first, "web", "\nroom\n");
    assert_true(text_starts(fixture_output(first, "web"), TEXT("no room\n")));
    fixture_command(first, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(first);
    struct pollfd nothing = {.fd = -1};
    for (size_t i = 0; i < 12000 && devices_of(fixture) != 1; i++) {
        poll(&nothing, 1, 5);
    }
    assert_int_equal(devices_of(fixture), 1);
    fixture_command(second, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(second);
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

int members_run(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(restarts_leave_nothing_behind),
        NODE_TEST(oom_is_followed_by_a_restart),
        NODE_TEST(restarts_need_no_agent),
        NODE_TEST(labels_run_commands),
        NODE_TEST(failed_post_start_is_told),
        NODE_TEST(shared_pids_end_with_their_container),
        NODE_TEST(shared_namespaces_end_with_the_supervisor),
        NODE_TEST(terminals_lose_nothing),
        NODE_TEST(image_volumes_are_made),
        NODE_TEST(storage_is_of_one_task),
    };
    return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
