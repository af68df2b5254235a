#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime_fixture.h"
#include "shape/json.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// What enters a container is what the runtime's own exec would have made of it: the same rights,
// limits, namespaces, cgroups, descriptors and environment.

#define STEP_MS 5
#define REPORT_BYTES_MAX (64u << 10)

// The process that is looked at: it only waits, so that its descriptors are those it was given.
static const char wait_for_it[] = "sh -c \"$0\" \"$1\"; exit $?";

// Tells all of its parent, or what it has from there. $0 is the file.
static const char tell[] =
    "{ grep -E '^(Umask|Uid|Gid|Groups|SigBlk|SigIgn|Cap|NoNew|Secc|Spec|Cpus_allowed_l|Mems_a)' "
    "/proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; "
    // Of the hierarchy beside v1 the runtime takes no notice.
    "if [ $(busybox wc -l </proc/self/cgroup) -gt 1 ]; then grep -v ^0:: /proc/self/cgroup; "
    "else cat /proc/self/cgroup; fi; cat /proc/self/attr/current; "
    "for i in /proc/self/ns/*; do busybox readlink $i; done; "
    "for i in /proc/$PPID/fd/*; do echo ${i##*/} $(busybox readlink $i); done; pwd; "
    "test -t 0 && busybox tty; "
    // The session, and its terminal.
    "S=$(cat /proc/$PPID/stat); S=${S##*) }; set -- $S; test $4 = $PPID && echo leads; "
    "test $5 = 0 || echo controlled; env | busybox sort; } >$0.new 2>&1; "
    "busybox mv $0.new $0";

struct join_case {
    const char *name;
    const char *user;
    const char *add; ///< a capability
    const char *option;
    enum ecs_pid_mode pid_mode;
    bool privileged;
    bool readonly;
    bool limits;
    bool host_network;
    bool terminal; ///< by ECS Exec, else by a health check
};

static const struct join_case cases[] = {
    {.name = "default"},
    {.name = "user", .user = "app"},
    {.name = "user by numbers", .user = "1234:1235"},
    {.name = "tracing", .add = "SYS_PTRACE"},
    {.name = "no new privileges", .user = "app", .option = "no-new-privileges:true"},
    {.name = "no new privileges, root", .option = "no-new-privileges:true"},
    {.name = "no filter", .option = "seccomp=unconfined"},
    {.name = "privileged", .privileged = true},
    {.name = "read-only", .readonly = true, .limits = true},
    {.name = "processes of the task", .pid_mode = ECS_PID_MODE_TASK},
    {.name = "processes of the host", .pid_mode = ECS_PID_MODE_HOST},
    {.name = "network of the host", .host_network = true},
    {.name = "terminal", .terminal = true},
};

static int process_of(const struct fixture_task *task)
{
    return task->state.containers.items[0].pid;
}

// The file's text once it is there.
static struct text wait_report(struct fixture_task *task, const char *name)
{
    struct err err = {0};
    struct pollfd nothing = {.fd = -1};
    AUTO(buf_deinit) struct buf content = {0};
    AUTO(alloc_string)
    char *path = alloc_format("/proc/%d/root/dev/shm/%s", process_of(task), name);
    for (int i = 0; i < fixture_wait_ms() / STEP_MS && access(path, F_OK) != 0; i++) {
        poll(&nothing, 1, STEP_MS);
    }
    if (file_read(AT_FDCWD, path, REPORT_BYTES_MAX, &content, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return arena_text(&task->fixture->arena, buf_view(&content));
}

static void run(char *const arguments[])
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all;
    pid_t pid = 0;
    int status = 0;
    sigfillset(&all);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawnattr_init(&attributes), 0);
    assert_int_equal(posix_spawnattr_setsigdefault(&attributes, &all), 0);
    assert_int_equal(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF), 0);
    for (int fd = 0; fd < 3; fd++) {
        assert_int_equal(posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0), 0);
    }
    assert_int_equal(
        posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

// The container's first process, of its config.json, with the arguments of this one instead.
static char *write_document(struct fixture_task *task, bool terminal)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf config = {0};
    AUTO(buf_deinit) struct buf document = {0};
    AUTO(alloc_string)
    char *directory = alloc_format("%s/tasks/%.*s/c/0", task->fixture->run_dir, TEXT_FMT(task->id));
    AUTO(alloc_string) char *path = alloc_format("%s/config.json", directory);
    assert_int_equal(file_read(AT_FDCWD, path, REPORT_BYTES_MAX, &config, &err), 0);
    buf_byte(&config, '\0');
    char *process = strstr(config.data, "\"process\":");
    assert_non_null(process);
    process += strlen("\"process\":");
    char *arguments = strstr(process, "\"args\":[");
    char *environment = strstr(process, "\"env\":[");
    assert_true(arguments != NULL && environment != NULL && environment < arguments);
    *arguments = '\0';
    if (terminal) {
        static const char without[] = "{\"terminal\":false";
        assert_memory_equal(process, without, strlen(without));
        buf_string(&document, "{\"terminal\":true");
        process += strlen(without);
        environment += strlen("\"env\":[");
        buf_text(&document, (struct text){process, (size_t)(environment - process)});
        buf_string(&document, "\"TERM=xterm-256color\",");
        process = environment;
    }
    buf_string(&document, process);
    buf_string(&document, "\"args\":[\"sh\",\"-c\",");
    json_quote(text_of(wait_for_it), &document);
    buf_byte(&document, ',');
    json_quote(text_of(tell), &document);
    buf_string(&document, ",\"/dev/shm/entered\"]}");
    char *written = alloc_format("%s/entered.json", directory);
    assert_int_equal(file_replace(AT_FDCWD, written, 0600, buf_view(&document), &err), 0);
    return written;
}

// As the runtime does it, where the supervisor would call it.
static void enter_by_runtime(struct fixture_task *task, bool terminal)
{
    struct arena *arena = &task->fixture->arena;
    char *words[12];
    size_t count = 0;
    AUTO(alloc_string) char *console = alloc_format("%s/console", task->fixture->directory);
    AUTO(fd_close) int console_fd = terminal ? listen_at(console) : -1;
    AUTO(fd_close) int peer = -1;
    const char *const before[] = {"nsenter", "-m"};
    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        words[count++] = alloc_string(before[i]);
    }
    words[count++] = alloc_format("--target=%d", (int)fixture_supervisor(task));
    words[count++] = alloc_string("crun");
    words[count++] =
        alloc_format("--root=%s/tasks/%.*s/oci", task->fixture->run_dir, TEXT_FMT(task->id));
    words[count++] = alloc_string("exec");
    words[count++] = alloc_string("--detach");
    words[count++] = alloc_string("--process");
    words[count++] = write_document(task, terminal);
    if (terminal) {
        words[count++] = alloc_format("--console-socket=%s", console);
    }
    struct text id = runtime_container_id(task->id, 0, arena);
    words[count++] = alloc_format("%.*s", TEXT_FMT(id));
    words[count] = NULL;
    run(words);
    if (terminal) {
        peer = accept4(console_fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(peer >= 0);
        wait_report(task, "entered"); // with its terminal open
        unlink(console);
    }
    for (size_t i = 0; i < count; i++) {
        alloc_free(words[i]);
    }
}

// By the supervisor, on a terminal.
static void join_on_terminal(struct fixture_task *task)
{
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    struct text words[] = {TEXT("sh"), TEXT("-c"), text_of(wait_for_it), text_of(tell),
                           TEXT("/dev/shm/joined")};
    const struct runtime_exec exec = {
        .task_id = task->id, .number = 1, .arguments = {words, ARRAY_LEN(words)}};
    struct runtime_exec_ready ready = {0};
    if (runtime->ops->exec(runtime, &exec, &task->fixture->arena, &ready, &err) != 0) {
        fail_msg("%s", err.text);
    }
    struct supervisor_exec request = {.session = TEXT("terminal"),
                                      .container = TEXT("web"),
                                      .process = ready.process,
                                      .console = ready.console};
    fixture_send(
        task, &(struct supervisor_command){.kind = SUPERVISOR_COMMAND_KIND_EXEC, .exec = &request});
    wait_report(task, "joined");
    fd_close(ready.console_fd);
}

// Terminals are counted, and each of the two has its own. Without a terminal crun leaves a process
// in the session of whoever runs crun; what enters by berth-task leads one, to be ended as a whole.
static struct text comparable(struct text report, struct arena *arena)
{
    static const char name[] = "/dev/pts/";
    struct text rest = report;
    struct text result = {0};
    while (rest.data != NULL) {
        struct text line = text_cut(&rest, '\n');
        if (text_is(line, "leads")) {
            continue;
        }
        const char *at = memmem(line.data, line.size, name, sizeof(name) - 1);
        line = at == NULL ? line : text_slice(line, 0, (size_t)(at - line.data) + sizeof(name) - 1);
        result = arena_format(arena, "%.*s%.*s\n", TEXT_FMT(result), TEXT_FMT(line));
    }
    return result;
}

static bool has_line(struct text lines, struct text wanted)
{
    while (lines.data != NULL) {
        if (text_equal(text_cut(&lines, '\n'), wanted)) {
            return true;
        }
    }
    return false;
}

static void print_differences(const char *whose, struct text report, struct text other)
{
    while (report.data != NULL) {
        struct text line = text_cut(&report, '\n');
        if (!has_line(other, line)) {
            print_message("%s: %.*s\n", whose, TEXT_FMT(line));
        }
    }
}

static void assert_same(const struct join_case *test, struct text entered, struct text joined,
                        struct arena *arena)
{
    struct text wanted = comparable(entered, arena);
    struct text found = comparable(joined, arena);
    if (!text_equal(wanted, found)) {
        print_differences("by the runtime", wanted, found);
        print_differences("by berth-task", found, wanted);
        fail_msg("%s", test->name);
    }
    // Both tell something.
    assert_true(fixture_holds(joined, "CapEff:"));
    assert_true(fixture_holds(joined, "Max open files"));
    assert_true(fixture_holds(joined, "mnt:["));
    assert_true(fixture_holds(joined, "leads\n"));
    assert_int_equal(fixture_holds(joined, "controlled\n"), test->terminal);
    assert_true(fixture_holds(joined, test->terminal ? "\n2 /dev/pts/" : "\n2 /dev/null\n"));
    assert_false(fixture_holds(joined, "\n3 "));
}

static struct fixture_task *start_case(struct fixture *fixture, const struct join_case *test)
{
    struct fixture_task *task = fixture_task(fixture);
    struct ecs_container_definition *definition = fixture_add(task, "web", "exec sleep 1000");
    struct text words[] = {TEXT("CMD"),          TEXT("sh"),    TEXT("-c"),
                           text_of(wait_for_it), text_of(tell), TEXT("/dev/shm/joined")};
    struct ecs_health_check check = {
        .command = {words, ARRAY_LEN(words)},
        .has_interval = true,
        .interval = 5,
        .has_timeout = true,
        .timeout = 60,
    };
    struct text add = text_of(test->add);
    struct text option = text_of(test->option);
    struct ecs_kernel_capabilities capabilities = {.add = {&add, test->add == NULL ? 0 : 1}};
    struct ecs_linux_parameters parameters = {.capabilities = &capabilities};
    struct ecs_ulimit limits[] = {{ECS_ULIMIT_NAME_NPROC, true, 88, true, 99},
                                  {ECS_ULIMIT_NAME_CORE, true, 0, true, 0},
                                  {ECS_ULIMIT_NAME_NOFILE, true, 666, true, 777}};
    definition->linux_parameters = &parameters;
    definition->user = text_of(test->user);
    definition->working_directory = TEXT("/home/app");
    definition->privileged = test->privileged;
    definition->readonly_root_filesystem = test->readonly;
    definition->docker_security_options = (struct text_list){&option, test->option == NULL ? 0 : 1};
    definition->ulimits.items = limits;
    definition->ulimits.count = test->limits ? ARRAY_LEN(limits) : 0;
    definition->health_check = test->terminal ? NULL : &check;
    task->definition.pid_mode = test->pid_mode;
    task->spec.has_enable_execute_command = true;
    task->spec.enable_execute_command = test->terminal;
    task->host_network = test->host_network;
    fixture_start(task);
    return task;
}

static void look_at_case(struct fixture_task *task, const struct join_case *test)
{
    print_message("%s\n", test->name);
    fixture_wait(task, fixture_running);
    if (test->terminal) {
        join_on_terminal(task);
    }
    struct text joined = wait_report(task, "joined");
    enter_by_runtime(task, test->terminal);
    struct text entered = wait_report(task, "entered");
    assert_same(test, entered, joined, &task->fixture->arena);
    fixture_command(task, SUPERVISOR_COMMAND_KIND_KILL);
}

static void processes_are_as_the_runtime_makes_them(void **state)
{
    if (access("/usr/bin/crun", X_OK) != 0) {
        print_message("SKIP: /usr/bin/crun is not installed\n");
        skip();
    }
    // All at once, as the first health check comes after some seconds.
    struct fixture_task *tasks[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tasks[i] = start_case(*state, &cases[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        look_at_case(tasks[i], &cases[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fixture_end(tasks[i]);
    }
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

int join_run_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(processes_are_as_the_runtime_makes_them, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("join", tests, NULL, NULL);
}
