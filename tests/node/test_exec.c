#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// Commands of ECS Exec: a supervisor runs them in containers, on terminals that a test holds as an
// agent does.

#define RUNS 12
#define WORDS_MAX 4
#define TRIES 5
#define LOOK_MS 5

/** One command. */
struct command {
    struct fixture_task *task;
    char session[16];
    struct runtime_exec_ready ready;
    int tty; ///< the terminal's master; -1 before it came
    struct buf output;
};

static uint32_t next_number = 1;

static void begin(struct fixture_task *task, struct command *command, const char *container,
                  const char *const words[WORDS_MAX])
{
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    struct arena *arena = &task->fixture->arena;
    struct text arguments[WORDS_MAX];
    struct runtime_exec exec = {.task_id = task->id, .number = next_number++};
    for (size_t i = 0; i < WORDS_MAX && words[i] != NULL; i++) {
        arguments[exec.arguments.count++] = text_of(words[i]);
    }
    exec.arguments.items = arguments;
    *command = (struct command){.task = task, .tty = -1};
    snprintf(command->session, sizeof(command->session), "s-%u", exec.number);
    if (runtime->ops->exec(runtime, &exec, arena, &command->ready, &err) != 0) {
        fail_msg("%s", err.text);
    }
    struct supervisor_exec request = {.session = text_of(command->session),
                                      .container = text_of(container),
                                      .process = command->ready.process,
                                      .console = command->ready.console};
    fixture_send(
        task, &(struct supervisor_command){.kind = SUPERVISOR_COMMAND_KIND_EXEC, .exec = &request});
}

static void wait_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (poll(&poll_fd, 1, fixture_wait_ms()) != 1) {
        fail_msg("nothing came in time");
    }
}

static void take_terminal(struct command *command)
{
    wait_readable(command->ready.console_fd);
    AUTO(fd_close) int peer = accept4(command->ready.console_fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    wait_readable(peer);
    command->tty = fd_receive(peer);
    assert_true(command->tty >= 0);
}

static void drop(struct command *command)
{
    fd_close(command->ready.console_fd);
    fd_close(command->tty);
    buf_deinit(&command->output);
    command->ready.console_fd = -1;
    command->tty = -1;
}

// Read until the output holds a string, or to its end.
static void read_until(struct command *command, const char *wanted)
{
    for (;;) {
        wait_readable(command->tty);
        ssize_t got = read(command->tty, buf_reserve(&command->output, 4096), 4096);
        if (got <= 0) {
            assert_true(got == 0 || errno == EIO);
            break;
        }
        command->output.size += (size_t)got;
        if (wanted != NULL && fixture_holds(buf_view(&command->output), wanted)) {
            return;
        }
    }
    if (wanted != NULL) {
        fail_msg("'%s' is not in: %.*s", wanted, (int)command->output.size, command->output.data);
    }
}

static size_t wanted_ends;

static bool has_ended(const struct fixture_task *task)
{
    return task->ended_count >= wanted_ends;
}

static void wait_end(struct command *command, size_t count)
{
    wanted_ends = count;
    fixture_wait(command->task, has_ended);
    assert_int_equal(command->task->ended_count, count);
    assert_true(text_is(command->task->ended.session, command->session));
}

static void assert_holds(const struct command *command, const char *wanted)
{
    if (!fixture_holds(buf_view(&command->output), wanted)) {
        fail_msg("'%s' is not in: %.*s", wanted, (int)command->output.size, command->output.data);
    }
}

static struct fixture_task *start(struct fixture *fixture)
{
    struct fixture_task *task = fixture_task(fixture);
    struct ecs_container_definition *definition =
        fixture_add(task, "web", "trap 'exit 0' TERM; while true; do sleep 0.05; done");
    static struct ecs_key_value_pair variables[] = {{TEXT("GREETING"), TEXT("hello")}};
    definition->environment.items = variables;
    definition->environment.count = 1;
    definition->user = TEXT("app");
    definition->working_directory = TEXT("/home/app");
    task->spec.has_enable_execute_command = true;
    task->spec.enable_execute_command = true;
    return task;
}

static void finish(struct fixture_task *task)
{
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
    fixture_end(task);
}

// The processes of the container's cgroup, by their numbers on the host.
static size_t processes(struct fixture_task *task)
{
    struct text list = fixture_control(task, "memory", "0-web", "cgroup.procs");
    size_t count = 0;
    while (list.data != NULL && !text_empty(text_cut(&list, '\n'))) {
        count++;
    }
    return count;
}

// A helper of the runtime or a process that is about to end can be there for a moment.
static void wait_processes(struct fixture_task *task, size_t wanted)
{
    struct pollfd nothing = {.fd = -1};
    for (int i = 0; i < fixture_wait_ms() / LOOK_MS && processes(task) != wanted; i++) {
        poll(&nothing, 1, LOOK_MS);
    }
    assert_int_equal(processes(task), wanted);
}

static void command_is_root_on_a_terminal(void **state)
{
    struct fixture_task *task = start(*state);
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct command command;
    begin(task, &command, "web",
          (const char *const[WORDS_MAX]){
              "sh", "-c",
              "id -u; id -g; test -t 0 && test -t 1 && echo terminal; pwd; env; "
              "grep -E 'Seccomp:|NoNewPrivs|CapBnd' /proc/self/status; exit 7"});
    take_terminal(&command);
    read_until(&command, NULL);
    wait_end(&command, 1);
    assert_true(task->ended.has_exit_code);
    assert_int_equal(task->ended.exit_code, 7);
    assert_holds(&command, "0\r\n0\r\nterminal\r\n/home/app\r\n");
    assert_holds(&command, "GREETING=hello\r\n");
    assert_holds(&command, "TERM=xterm-256color\r\n");
    assert_holds(&command, "HOME=/root\r\n");
    assert_holds(&command, "CapBnd:\t00000000a80425fb\r\n");
    assert_holds(&command, "Seccomp:\t2\r\n"); // the container's filter
    drop(&command);
    finish(task);
}

// What it takes counts against the container.
static void command_is_in_the_containers_cgroup(void **state)
{
    struct fixture_task *task = start(*state);
    task->definitions[0].command.items[2] = TEXT("exec sleep 1000");
    fixture_start(task);
    fixture_wait(task, fixture_running);
    wait_processes(task, 1);
    struct command command;
    begin(task, &command, "web",
          (const char *const[WORDS_MAX]){"sh", "-c", "echo here; exec sleep 1000"});
    take_terminal(&command);
    read_until(&command, "here");
    wait_processes(task, 2);
    drop(&command); // its terminal is gone
    wait_end(&command, 1);
    assert_int_equal(task->ended.exit_code, 128 + SIGHUP);
    wait_processes(task, 1);
    finish(task);
}

static bool second_has_ended(const struct fixture_task *task)
{
    const struct supervisor_container_state_list *list = &task->state.containers;
    return list->count == 2 && list->items[0].status == SUPERVISOR_STATUS_RUNNING &&
           list->items[1].status == SUPERVISOR_STATUS_STOPPED;
}

static void failures_are_told(void **state)
{
    struct fixture_task *task = start(*state);
    struct ecs_container_definition *second = fixture_add(task, "short", "exit 0");
    second->essential = false;
    fixture_start(task);
    static const struct {
        const char *container;
        const char *program;
        const char *reason;
    } cases[] = {
        {"web", "no-such-program", "no-such-program"},
        {"short", "true", "The container is not running."},
        {"other", "true", "The task has no such container."},
    };
    fixture_wait(task, second_has_ended);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct command command;
        begin(task, &command, cases[i].container, (const char *const[WORDS_MAX]){cases[i].program});
        wait_end(&command, i + 1);
        assert_false(task->ended.has_exit_code);
        if (!fixture_holds(task->ended.reason, cases[i].reason)) {
            fail_msg("'%s' is not in: %.*s", cases[i].reason, TEXT_FMT(task->ended.reason));
        }
        assert_int_not_equal(access(command.ready.process.data, F_OK), 0);
        assert_int_not_equal(access(command.ready.console.data, F_OK), 0);
        drop(&command);
    }
    finish(task);
}

// Run a script, ask for its end once it is here, and wait for that. @return the exit code
static int32_t asked_to_end(struct fixture_task *task, const char *script)
{
    struct command command;
    begin(task, &command, "web", (const char *const[WORDS_MAX]){"sh", "-c", script});
    take_terminal(&command);
    read_until(&command, "here");
    fixture_send(task, &(struct supervisor_command){.kind = SUPERVISOR_COMMAND_KIND_END_EXEC,
                                                    .exec_session = text_of(command.session)});
    wait_end(&command, task->ended_count + 1);
    drop(&command);
    return task->ended.exit_code;
}

// Asked to end: a hang-up, and what does not mind is killed.
static void end_hangs_up_then_kills(void **state)
{
    struct fixture_task *task = start(*state);
    fixture_start(task);
    fixture_wait(task, fixture_running);
    static const struct {
        const char *script;
        int32_t exit_code;
    } cases[] = {
        {"echo here; exec sleep 1000", 128 + SIGHUP},
        {"trap 'exit 5' HUP; echo here; while true; do sleep 0.05; done", 5},
        {"trap '' HUP; echo here; while true; do sleep 0.05; done", 128 + SIGKILL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t exit_code = asked_to_end(task, cases[i].script);
        // A command has seconds to hear the hang-up, and a machine may stand still for longer.
        for (size_t k = 1; k < TRIES && exit_code != cases[i].exit_code; k++) {
            assert_int_equal(exit_code, 128 + SIGKILL);
            exit_code = asked_to_end(task, cases[i].script);
        }
        assert_int_equal(exit_code, cases[i].exit_code);
    }
    finish(task);
}

// An agent that dies leaves nothing: not even what ignores the hang-up of its terminal.
static void commands_end_with_the_connection(void **state)
{
    struct fixture_task *task = start(*state);
    task->definitions[0].command.items[2] = TEXT("exec sleep 1000");
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct command command;
    begin(task, &command, "web",
          (const char *const[WORDS_MAX]){
              "sh", "-c", "trap '' HUP; echo here; while true; do sleep 0.05; done"});
    take_terminal(&command);
    read_until(&command, "here");
    assert_true(processes(task) >= 2);
    fixture_attach(task); // closes the connection that there was
    wait_processes(task, 1);
    // Its files go once the supervisor has seen its end.
    struct pollfd nothing = {.fd = -1};
    const char *document = command.ready.process.data;
    for (int i = 0; i < fixture_wait_ms() / LOOK_MS && access(document, F_OK) == 0; i++) {
        poll(&nothing, 1, LOOK_MS);
    }
    assert_int_not_equal(access(document, F_OK), 0);
    drop(&command);
    // And the next agent can run some more.
    begin(task, &command, "web", (const char *const[WORDS_MAX]){"true"});
    wait_end(&command, 1);
    assert_int_equal(task->ended.exit_code, 0);
    drop(&command);
    finish(task);
}

static void commands_end_with_the_container(void **state)
{
    struct fixture_task *task = start(*state);
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct command command;
    begin(task, &command, "web",
          (const char *const[WORDS_MAX]){"sh", "-c", "echo here; exec sleep 1000"});
    take_terminal(&command);
    read_until(&command, "here");
    fixture_command(task, SUPERVISOR_COMMAND_KIND_STOP);
    wait_end(&command, 1);
    assert_int_equal(task->ended.exit_code, 128 + SIGKILL);
    drop(&command);
    fixture_end(task);
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

// Of a process, in KiB.
static int64_t resident(pid_t pid)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf content = {0};
    AUTO(alloc_string) char *path = alloc_format("/proc/%d/statm", (int)pid);
    assert_int_equal(file_read(AT_FDCWD, path, 4096, &content, &err), 0);
    struct text rest = buf_view(&content);
    int64_t pages = 0;
    text_cut(&rest, ' '); // the size
    assert_int_equal(text_to_i64(text_cut(&rest, ' '), &pages), 0);
    return pages * sysconf(_SC_PAGESIZE) / 1024;
}

static void commands_leave_nothing_behind(void **state)
{
    struct fixture_task *task = start(*state);
    fixture_start(task);
    fixture_wait(task, fixture_running);
    pid_t supervisor = fixture_supervisor(task);
    AUTO(alloc_string) char *fds = alloc_format("/proc/%d/fd", (int)supervisor);
    AUTO(alloc_string)
    char *files = alloc_format("%s/tasks/%.*s", task->fixture->run_dir, TEXT_FMT(task->id));
    size_t counts[2] = {entries(fds), entries(files)};
    for (size_t i = 1; i <= RUNS; i++) {
        struct command command;
        begin(task, &command, "web", (const char *const[WORDS_MAX]){"sh", "-c", "echo here"});
        take_terminal(&command);
        read_until(&command, NULL);
        assert_holds(&command, "here");
        wait_end(&command, i);
        assert_int_equal(task->ended.exit_code, 0);
        drop(&command);
    }
    print_message("supervisor after %d commands: %lld KiB resident\n", RUNS,
                  (long long)resident(supervisor));
    assert_true(resident(supervisor) < 1024);
    assert_int_equal(entries(fds), counts[0]);
    assert_int_equal(entries(files), counts[1]);
    finish(task);
}

// With shared processes a command sees those of the other containers, and ends with its own.
static void commands_share_the_tasks_processes(void **state)
{
    struct fixture_task *task = start(*state);
    task->definition.pid_mode = ECS_PID_MODE_TASK;
    struct ecs_container_definition *second = fixture_add(
        task, "second", "touch /ready; while ! test -e /go; do sleep 0.05; done; exit 3");
    second->essential = false;
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct runtime *runtime = task->fixture->runtime;
    struct err err = {0};
    struct command command = {.task = task, .tty = -1, .session = "second"};
    struct text words[] = {TEXT("sh"), TEXT("-c"),
                           TEXT("while ! cat /proc/[0-9]*/cmdline 2>/dev/null | "
                                "busybox tr '\\0' ' ' | grep 'e[x]it 0'; do sleep 0.05; done; "
                                "sleep 1000")};
    const struct runtime_exec exec = {
        .task_id = task->id, .index = 1, .number = next_number++, .arguments = {words, 3}};
    assert_int_equal(
        runtime->ops->exec(runtime, &exec, &task->fixture->arena, &command.ready, &err), 0);
    struct supervisor_exec request = {.session = TEXT("second"),
                                      .container = TEXT("second"),
                                      .process = command.ready.process,
                                      .console = command.ready.console};
    fixture_send(
        task, &(struct supervisor_command){.kind = SUPERVISOR_COMMAND_KIND_EXEC, .exec = &request});
    take_terminal(&command);
    read_until(&command, "trap 'exit 0' TERM"); // the first container's
    fixture_touch(task, 1, "go");
    wait_end(&command, 1);
    assert_int_equal(task->ended.exit_code, 128 + SIGKILL);
    drop(&command);
    finish(task);
}

static void add_program(struct fixture *fixture, const char *variable, const char *name)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf content = {0};
    const char *from = getenv(variable);
    AUTO(alloc_string) char *to = alloc_format("%s/layers/1/%s", fixture->directory, name);
    assert_int_equal(file_read(AT_FDCWD, from, 16u << 20, &content, &err), 0);
    assert_int_equal(file_replace(AT_FDCWD, to, 0755, buf_view(&content), &err), 0);
}

static bool has_said(struct fixture_task *task, const char *wanted)
{
    return fixture_holds(fixture_output(task, "web"), wanted);
}

// The first container may trace, and takes hold of as many others as it is to, as early as it can.
static struct fixture_task *start_race(struct fixture *fixture, const char *wanted)
{
    static struct text tracing = TEXT("SYS_PTRACE");
    static struct ecs_kernel_capabilities capabilities = {.add = {&tracing, 1}};
    static struct ecs_linux_parameters parameters = {.capabilities = &capabilities};
    if (getenv("ESCAPE") == NULL) {
        print_message("SKIP: ESCAPE names no program of attempts\n");
        skip();
    }
    struct fixture_task *task = start(fixture);
    add_program(fixture, "ESCAPE", "escape");
    struct text *words = arena_array(&fixture->arena, 3, sizeof(*words));
    words[0] = TEXT("sh");
    words[1] = TEXT("-c");
    words[2] = TEXT("/escape race; sleep 1000");
    struct ecs_key_value_pair *variables = arena_array(&fixture->arena, 2, sizeof(*variables));
    variables[0] = (struct ecs_key_value_pair){TEXT("WANTED"), text_of(wanted)};
    variables[1] = (struct ecs_key_value_pair){TEXT("HOST_FILE"), TEXT("/etc/machine-id")};
    struct ecs_container_definition *definition = &task->definitions[0];
    definition->linux_parameters = &parameters;
    definition->user = TEXT("0");
    definition->command = (struct text_list){words, 3};
    definition->environment.items = variables;
    definition->environment.count = 2;
    return task;
}

static void nobody_enters_with_more_rights(void **state)
{
    const char *races = getenv("BERTH_SLOW") == NULL ? "200" : "20";
    AUTO(alloc_string) char *met = alloc_format("met %s,", races);
    struct fixture_task *task = start_race(*state, races);
    fixture_start(task);
    fixture_wait(task, fixture_running);
    fixture_wait_output(task, "web", "ready\n");
    // Until enough of them were met, or it gives up: one that comes while the other has no
    // processor is gone again.
    for (size_t i = 1; !has_said(task, "race "); i++) {
        struct command command;
        begin(task, &command, "web", (const char *const[WORDS_MAX]){"sleep", "0.01"});
        wait_end(&command, i);
        drop(&command);
    }
    struct text output = fixture_output(task, "web");
    print_message("%.*s", TEXT_FMT(output));
    assert_true(fixture_holds(output, met));
    assert_true(fixture_holds(output, "race held EACCES"));
    // It was quick enough to see what it should: against crun's exec nearly every one is.
    assert_false(fixture_holds(output, "met 200, 0 of them"));
    finish(task);
}

static bool second_runs(const struct fixture_task *task)
{
    return task->state.containers.count > 1 &&
           task->state.containers.items[1].status == SUPERVISOR_STATUS_RUNNING;
}

// What the runtime makes a container of, in the pid namespace of one that may trace.
static void nobody_starts_with_more_rights(void **state)
{
    struct fixture_task *task = start_race(*state, "1");
    task->definition.pid_mode = ECS_PID_MODE_TASK;
    struct ecs_container_dependency first = {.container_name = TEXT("web"),
                                             .condition = ECS_CONTAINER_CONDITION_START};
    struct ecs_container_dependency second = {.container_name = TEXT("second"),
                                              .condition = ECS_CONTAINER_CONDITION_COMPLETE};
    // No process of it is newer than the one that watches.
    struct ecs_container_definition *other =
        fixture_add(task, "second", "while ! test -e /go; do :; done");
    other->essential = false;
    other->depends_on.items = &first;
    other->depends_on.count = 1;
    other = fixture_add(task, "third", "sleep 5");
    other->essential = false;
    other->depends_on.items = &second;
    other->depends_on.count = 1;
    fixture_start(task);
    fixture_wait(task, second_runs);
    fixture_wait_output(task, "web", "ready\n");
    fixture_touch(task, 1, "go");
    // The third is met, as a program of its own: no more is to be seen of it.
    fixture_wait_output(task, "web", "race ");
    struct text output = fixture_output(task, "web");
    print_message("%.*s", TEXT_FMT(output));
    assert_true(fixture_holds(output, "met 1, 0 of them early"));
    assert_true(fixture_holds(output, "race held EACCES"));
    finish(task);
}

static void without_the_member_nothing_runs(void **state)
{
    struct fixture_task *task = start(*state);
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    struct text word = TEXT("true");
    struct runtime_exec_ready ready;
    const struct runtime_exec exec = {
        .task_id = task->id, .number = next_number++, .arguments = {&word, 1}};
    task->spec.enable_execute_command = false;
    fixture_start(task);
    assert_int_equal(runtime->ops->exec(runtime, &exec, &task->fixture->arena, &ready, &err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "without enableExecuteCommand"));
    finish(task);
}

static void runc_runs_commands_as_well(void **state)
{
    (void)state;
    static const char runc[] = "/usr/sbin/runc";
    if (access(runc, X_OK) != 0) {
        print_message("SKIP: %s is not installed\n", runc);
        skip();
    }
    struct fixture *fixture = fixture_new(runc);
    struct fixture_task *task = start(fixture);
    fixture_start(task);
    fixture_wait(task, fixture_running);
    struct command command;
    begin(task, &command, "web", (const char *const[WORDS_MAX]){"sh", "-c", "id -u; exit 7"});
    take_terminal(&command);
    read_until(&command, NULL);
    wait_end(&command, 1);
    assert_int_equal(task->ended.exit_code, 7);
    assert_holds(&command, "0\r\n");
    drop(&command);
    begin(task, &command, "web", (const char *const[WORDS_MAX]){"no-such-program"});
    wait_end(&command, 2);
    assert_false(task->ended.has_exit_code);
    assert_true(fixture_holds(task->ended.reason, "no-such-program"));
    drop(&command);
    finish(task);
    fixture_free(fixture);
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

int exec_run(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(command_is_root_on_a_terminal),
        NODE_TEST(command_is_in_the_containers_cgroup),
        NODE_TEST(failures_are_told),
        NODE_TEST(end_hangs_up_then_kills),
        NODE_TEST(commands_end_with_the_connection),
        NODE_TEST(commands_end_with_the_container),
        NODE_TEST(commands_leave_nothing_behind),
        NODE_TEST(commands_share_the_tasks_processes),
        NODE_TEST(nobody_enters_with_more_rights),
        NODE_TEST(nobody_starts_with_more_rights),
        NODE_TEST(without_the_member_nothing_runs),
        cmocka_unit_test(runc_runs_commands_as_well),
    };
    return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
