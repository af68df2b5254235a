#include "runtime_fixture.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime/cgroup.h"
#include "task/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 60000
#define LOOK_MS 5 // from one look at a file to the next
#define OUTPUT_MAX_BYTES (256u << 10)

static const char *const applets[] = {"sh",    "cat",      "echo", "env",    "id",      "pwd",
                                      "sleep", "yes",      "head", "tail",   "ls",      "rm",
                                      "touch", "hostname", "kill", "stat",   "test",    "true",
                                      "false", "grep",     "trap", "chroot", "unshare", "dmesg"};

// Network and mount namespaces, cgroups and root are what containers need.
bool fixture_possible(void)
{
    struct cgroup_host host;
    struct err err = {0};
    if (geteuid() != 0) {
        print_message("SKIP: node tests of the runtime need root\n");
        return false;
    }
    if (access("/bin/busybox", X_OK) != 0) {
        print_message("SKIP: /bin/busybox (busybox-static) is not installed\n");
        return false;
    }
    if (cgroup_host_read(&host, &err) != 0) {
        print_message("SKIP: %s\n", err.text);
        return false;
    }
    return true;
}

static void write_text(const char *directory, const char *name, const char *text)
{
    struct err err = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/%s", directory, name);
    assert_int_equal(file_replace(AT_FDCWD, path, 0644, text_of(text), &err), 0);
}

static void copy_busybox(const char *layer)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf content = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/bin/busybox", layer);
    assert_int_equal(file_read(AT_FDCWD, "/bin/busybox", 16u << 20, &content, &err), 0);
    assert_int_equal(file_replace(AT_FDCWD, path, 0755, buf_view(&content), &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(applets); i++) {
        AUTO(alloc_string) char *link = alloc_format("%s/bin/%s", layer, applets[i]);
        assert_int_equal(symlink("busybox", link), 0);
    }
}

static void make_image(struct fixture *fixture)
{
    struct err err = {0};
    struct text *layers = arena_array(&fixture->arena, 2, sizeof(struct text));
    layers[0] = arena_format(&fixture->arena, "%s/layers/0", fixture->directory);
    layers[1] = arena_format(&fixture->arena, "%s/layers/1", fixture->directory);
    AUTO(alloc_string) char *bin = alloc_format("%s/bin", layers[0].data);
    AUTO(alloc_string) char *etc = alloc_format("%s/etc", layers[1].data);
    AUTO(alloc_string) char *home = alloc_format("%s/home/app", layers[1].data);
    assert_int_equal(file_make_dirs(bin, 0755, &err), 0);
    assert_int_equal(file_make_dirs(etc, 0755, &err), 0);
    assert_int_equal(file_make_dirs(home, 0755, &err), 0);
    assert_int_equal(chown(home, 1000, 1000), 0);
    copy_busybox(layers[0].data);
    write_text(etc, "passwd",
               "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n");
    write_text(etc, "group", "root:x:0:\napp:x:1000:\nextra:x:2000:app\n");
    fixture->image = (struct image){
        .name = TEXT("docker.io/library/busybox:latest"),
        .layers = {layers, 2},
    };
}

static void child_of_network(int ready_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET) == 0) {
        struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0 && write(ready_fd, "R", 1) == 1) {
            for (;;) {
                pause();
            }
        }
    }
    _exit(1);
}

static void make_network(struct fixture *fixture)
{
    int ends[2];
    char byte = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fixture->network_pid = fork();
    assert_true(fixture->network_pid >= 0);
    if (fixture->network_pid == 0) {
        child_of_network(ends[1]);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    fixture->network_path = alloc_format("/proc/%d/ns/net", (int)fixture->network_pid);
}

struct fixture *fixture_new(const char *oci_runtime)
{
    struct err err = {0};
    struct fixture *fixture = ALLOC(struct fixture);
    char name[] = "/var/tmp/berth-node-XXXXXX";
    unsigned char random[4];
    assert_non_null(mkdtemp(name));
    fixture->directory = alloc_string(name);
    fixture->run_dir = alloc_format("%s/run", name);
    fixture->data_dir = alloc_format("%s/data", name);
    clock_entropy(random, sizeof(random));
    text_hex(random, sizeof(random), fixture->instance);
    make_image(fixture);
    make_network(fixture);
    const char *supervisor = getenv("BERTH_TASK");
    assert_non_null(supervisor);
    const struct runtime_options options = {
        .instance = fixture->instance,
        .run_dir = fixture->run_dir,
        .data_dir = fixture->data_dir,
        .supervisor = supervisor,
        .output_max_bytes = OUTPUT_MAX_BYTES,
        .pids_max = FIXTURE_PIDS_MAX,
        .oci_runtime = oci_runtime,
    };
    if (runtime_oci_open(&options, &fixture->runtime, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return fixture;
}

// After a test that failed half-way its tasks still run: they end here.
static size_t end_tasks(const struct fixture *fixture)
{
    struct err err = {0};
    AUTO(arena_deinit) struct arena arena = {0};
    struct runtime *runtime = fixture->runtime;
    struct runtime_found *found = NULL;
    size_t count = 0;
    assert_int_equal(runtime->ops->list(runtime, &arena, &found, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        if (runtime->ops->kill(runtime, found[i].id, &err) != 0 ||
            runtime->ops->clean(runtime, found[i].id, &err) != 0) {
            print_message("%s\n", err.text);
        }
    }
    return count;
}

static void check_nothing_left(const struct fixture *fixture)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf mounts = {0};
    struct cgroup_host host;
    assert_int_equal(end_tasks(fixture), 0);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &mounts, &err), 0);
    assert_false(fixture_holds(buf_view(&mounts), fixture->directory));
    assert_int_equal(cgroup_host_read(&host, &err), 0);
    // Beside the hierarchies, too: a runtime takes what is at their place for one.
    for (size_t i = 0; i <= host.count + 1; i++) {
        const char *mount = i < host.count    ? host.mounts[i].path
                            : i == host.count ? host.unified
                                              : "/sys/fs/cgroup";
        AUTO(alloc_string) char *path = alloc_format("%s/berth-%s", mount, fixture->instance);
        assert_int_not_equal(access(path, F_OK), 0);
    }
}

void fixture_free(struct fixture *fixture)
{
    struct err err = {0};
    check_nothing_left(fixture);
    runtime_close(fixture->runtime);
    kill(fixture->network_pid, SIGKILL);
    waitpid(fixture->network_pid, NULL, 0);
    if (file_remove_tree(AT_FDCWD, fixture->directory, &err) != 0) {
        fail_msg("%s", err.text);
    }
    alloc_free(fixture->directory);
    alloc_free(fixture->run_dir);
    alloc_free(fixture->data_dir);
    alloc_free(fixture->network_path);
    arena_deinit(&fixture->arena);
    alloc_free(fixture);
}

struct fixture_task *fixture_task(struct fixture *fixture)
{
    unsigned char random[16];
    char id[33];
    clock_entropy(random, sizeof(random));
    text_hex(random, sizeof(random), id);
    struct fixture_task *task = ARENA_NEW(&fixture->arena, struct fixture_task);
    task->fixture = fixture;
    task->fd = -1;
    task->image = fixture->image;
    task->id = arena_text(&fixture->arena, text_of(id));
    task->eni = (struct session_eni){
        .address = TEXT("10.0.0.5"),
        .hostname = TEXT("ip-10-0-0-5.eu-west-1.compute.internal"),
    };
    task->spec = (struct session_task_spec){
        .task_arn =
            arena_format(&fixture->arena, "arn:aws:ecs:eu-west-1:000000000000:task/c/%s", id),
        .definition = &task->definition,
        .eni = &task->eni,
    };
    task->definition.container_definitions.items = task->definitions;
    return task;
}

struct ecs_container_definition *fixture_add(struct fixture_task *task, const char *name,
                                             const char *script)
{
    assert_true(task->count < FIXTURE_CONTAINERS_MAX);
    struct ecs_container_definition *definition = &task->definitions[task->count++];
    struct text *command = arena_array(&task->fixture->arena, 3, sizeof(struct text));
    command[0] = TEXT("/bin/sh");
    command[1] = TEXT("-c");
    command[2] = text_of(script);
    *definition = (struct ecs_container_definition){
        .name = text_of(name),
        .has_essential = true,
        .essential = true,
        .command = {command, 3},
        .has_stop_timeout = true,
        .stop_timeout = 2,
    };
    task->definition.container_definitions.count = task->count;
    return definition;
}

int fixture_prepare(struct fixture_task *task, struct err *err)
{
    struct runtime *runtime = task->fixture->runtime;
    struct runtime_container containers[FIXTURE_CONTAINERS_MAX];
    for (size_t i = 0; i < task->count; i++) {
        containers[i] = (struct runtime_container){&task->definitions[i], &task->image};
    }
    const struct runtime_task prepared = {
        .id = task->id,
        .spec = &task->spec,
        .containers = containers,
        .container_count = task->count,
        .network_namespace =
            task->host_network ? (struct text){0} : text_of(task->fixture->network_path),
        .environment = task->environment,
    };
    return runtime->ops->prepare(runtime, &prepared, err);
}

// A short task can be over before anybody has attached to it: then its last state is in a file.
// @return whether it is over
static bool take_last_state(struct fixture_task *task)
{
    struct err err = {0};
    struct supervisor_state last = {0};
    struct runtime *runtime = task->fixture->runtime;
    if (runtime->ops->read_state(runtime, task->id, &task->fixture->arena, &last, &err) != 0 ||
        !last.finished) {
        return false;
    }
    task->state = last;
    fd_close(task->fd);
    task->fd = -1;
    return true;
}

void fixture_attach(struct fixture_task *task)
{
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    fd_close(task->fd);
    task->fd = -1;
    buf_reset(&task->in);
    int rc = runtime->ops->attach(runtime, task->id, &task->fd, &err);
    if (rc != 0 && (rc != ERR_NOT_FOUND || !take_last_state(task))) {
        fail_msg("%s", err.text);
    }
}

void fixture_start(struct fixture_task *task)
{
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    if (fixture_prepare(task, &err) != 0 || runtime->ops->launch(runtime, task->id, &err) != 0) {
        fail_msg("%s", err.text);
    }
    fixture_attach(task);
}

bool fixture_finished(const struct fixture_task *task)
{
    return task->state.finished;
}

bool fixture_running(const struct fixture_task *task)
{
    for (size_t i = 0; i < task->state.containers.count; i++) {
        if (task->state.containers.items[i].status != SUPERVISOR_STATUS_RUNNING) {
            return false;
        }
    }
    return task->state.containers.count > 0;
}

static bool take_frame(struct fixture_task *task)
{
    struct err err = {0};
    struct supervisor_frame frame = {0};
    int rc = frame_next(&task->in, &task->fixture->arena, &frame, &err);
    if (rc < 0) {
        fail_msg("%s", err.text);
    }
    if (rc > 0 && frame.exec_ended != NULL) {
        task->ended = *frame.exec_ended;
        task->ended_count++;
    } else if (rc > 0) {
        assert_non_null(frame.state);
        assert_true(frame.state->sequence >= task->state.sequence);
        task->state = *frame.state;
    }
    return rc > 0;
}

int fixture_wait_ms(void)
{
    const char *slow = getenv("BERTH_SLOW");
    return WAIT_MS * (slow == NULL ? 1 : MAX(atoi(slow), 1));
}

void fixture_wait(struct fixture_task *task, fixture_when_fn when)
{
    int64_t deadline_ns = clock_monotonic_ns() + INT64_C(1000000) * fixture_wait_ms();
    while (!when(task)) {
        if (take_frame(task)) {
            continue;
        }
        if (task->fd < 0) {
            fail_msg("the task has ended without getting there");
        }
        struct pollfd poll_fd = {.fd = task->fd, .events = POLLIN};
        int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / 1000000;
        if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) <= 0) {
            for (size_t i = 0; i < task->state.containers.count; i++) {
                const struct supervisor_container_state *state = &task->state.containers.items[i];
                print_message("%.*s: status %d, health %d, exit code %d, restarts %d, %.*s\n",
                              TEXT_FMT(state->name), (int)state->status, (int)state->health,
                              (int)state->exit_code, (int)state->restart_count,
                              TEXT_FMT(state->reason));
            }
            fail_msg("the task did not get there in time");
        }
        ssize_t got = read(task->fd, buf_reserve(&task->in, 4096), 4096);
        if (got > 0) {
            task->in.size += (size_t)got;
        } else if (!take_last_state(task)) {
            fail_msg("the supervisor closed the connection");
        }
    }
}

void fixture_send(struct fixture_task *task, const struct supervisor_command *command)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf out = {0};
    struct supervisor_command copy = *command;
    frame_encode(&(struct supervisor_frame){.command = &copy}, &out);
    assert_int_equal(fd_write_all(task->fd, out.data, out.size, &err), 0);
}

void fixture_command(struct fixture_task *task, enum supervisor_command_kind kind)
{
    fixture_send(task, &(struct supervisor_command){.kind = kind});
}

void fixture_end(struct fixture_task *task)
{
    struct err err = {0};
    struct runtime *runtime = task->fixture->runtime;
    if (task->fd >= 0) {
        fixture_wait(task, fixture_finished);
        fd_close(task->fd);
        task->fd = -1;
    }
    buf_deinit(&task->in);
    if (runtime->ops->kill(runtime, task->id, &err) != 0 ||
        runtime->ops->kill(runtime, task->id, &err) != 0 ||
        runtime->ops->clean(runtime, task->id, &err) != 0 ||
        runtime->ops->clean(runtime, task->id, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

void fixture_touch(struct fixture_task *task, size_t index, const char *name)
{
    assert_true(index < task->state.containers.count);
    AUTO(alloc_string)
    char *path =
        alloc_format("/proc/%d/root/%s", (int)task->state.containers.items[index].pid, name);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
}

struct text fixture_output(struct fixture_task *task, const char *name)
{
    struct err err = {0};
    struct arena *arena = &task->fixture->arena;
    AUTO(buf_deinit) struct buf content = {0};
    struct text path = runtime_output_path(task->fixture->data_dir, task->id, text_of(name), arena);
    int rc = file_read(AT_FDCWD, path.data, 4u << 20, &content, &err);
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        fail_msg("%s", err.text);
    }
    return arena_text(arena, buf_view(&content));
}

void fixture_wait_output(struct fixture_task *task, const char *name, const char *wanted)
{
    int64_t deadline_ns = clock_monotonic_ns() + INT64_C(1000000) * fixture_wait_ms();
    struct pollfd nothing = {.fd = -1};
    while (!fixture_holds(fixture_output(task, name), wanted)) {
        if (clock_monotonic_ns() >= deadline_ns) {
            fail_msg("'%s' is not in the output of %s: %.*s", wanted, name,
                     TEXT_FMT(fixture_output(task, name)));
        }
        poll(&nothing, 1, LOOK_MS);
    }
}

bool fixture_holds(struct text text, const char *string)
{
    return text.size > 0 && memmem(text.data, text.size, string, strlen(string)) != NULL;
}

static struct text control_directory(struct fixture_task *task, const char *controller)
{
    struct cgroup_host host;
    struct err err = {0};
    struct arena *arena = &task->fixture->arena;
    assert_int_equal(cgroup_host_read(&host, &err), 0);
    const char *mount = host.unified;
    for (size_t i = 0; i < host.count; i++) {
        if (strstr(host.mounts[i].controllers, controller) != NULL) {
            mount = host.mounts[i].path;
            break;
        }
    }
    return arena_format(arena, "%s/berth-%s/%.*s", mount, task->fixture->instance,
                        TEXT_FMT(task->id));
}

struct text fixture_control(struct fixture_task *task, const char *controller, const char *below,
                            const char *file)
{
    struct err err = {0};
    struct arena *arena = &task->fixture->arena;
    struct text directory = control_directory(task, controller);
    struct text path = arena_format(arena, "%.*s/%s/%s", TEXT_FMT(directory), below, file);
    AUTO(buf_deinit) struct buf content = {0};
    if (file_read(AT_FDCWD, path.data, 64u << 10, &content, &err) != 0) {
        return (struct text){0};
    }
    return text_trim(arena_text(arena, buf_view(&content)));
}

void fixture_freeze(struct fixture_task *task, const char *below)
{
    struct err err = {0};
    struct text directory = control_directory(task, "freezer");
    AUTO(alloc_string)
    char *v1 = alloc_format("%.*s/%s/freezer.state", TEXT_FMT(directory), below);
    AUTO(alloc_string)
    char *v2 = alloc_format("%.*s/%s/cgroup.freeze", TEXT_FMT(directory), below);
    bool is_v1 = access(v1, F_OK) == 0;
    if (file_write(AT_FDCWD, is_v1 ? v1 : v2, is_v1 ? TEXT("FROZEN") : TEXT("1"), &err) != 0) {
        fail_msg("%s", err.text);
    }
}

pid_t fixture_supervisor(struct fixture_task *task)
{
    struct text procs = fixture_control(task, "memory", "supervisor", "cgroup.procs");
    int64_t pid = 0;
    assert_int_equal(text_to_i64(text_cut(&procs, '\n'), &pid), 0);
    return (pid_t)pid;
}
