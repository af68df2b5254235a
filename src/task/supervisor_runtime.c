#include "task/supervisor_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// Runs of the OCI runtime, and of what enters a container: each is a child that ends soon, with its
// word in a file.

#define NAME_BYTES 64
#define ARGUMENTS_MAX 64

/** The command line of one run of the runtime; strings are borrowed from the arena. */
struct command {
    struct arena arena;
    char *arguments[ARGUMENTS_MAX + 1];
    size_t count;
};

static void command_deinit(struct command *command)
{
    arena_deinit(&command->arena);
}

AUTO_VALUE(struct command, command_deinit)

static void add_text(struct command *command, struct text text)
{
    ASSERT(command->count < ARGUMENTS_MAX);
    char *copy = arena_alloc(&command->arena, text.size + 1);
    memcpy(copy, text.data, text.size);
    command->arguments[command->count++] = copy;
}

static void add(struct command *command, const char *string)
{
    add_text(command, text_of(string));
}

static void add_named(struct command *command, const struct supervisor *supervisor,
                      const char *name)
{
    add_text(command, arena_format(&command->arena, "%s/%s", supervisor->directory, name));
}

static void add_path(struct command *command, const struct supervisor *supervisor, size_t index,
                     const char *suffix)
{
    add_text(command,
             arena_format(&command->arena, "%s/%zu.%s", supervisor->directory, index, suffix));
}

static void begin_command(struct command *command, const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->plan.runtime.count; i++) {
        add_text(command, supervisor->plan.runtime.items[i]);
    }
}

// A child inherits our protection from the OOM killer; until it sets the container's own value,
// it must not use it.
static void make_ordinary(pid_t pid)
{
    char path[NAME_BYTES];
    struct err ignored = {0};
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    IGNORE(file_write(AT_FDCWD, path, TEXT("0"), &ignored), "it may have ended already");
}

// proc_fd becomes JOIN_PROC_FD; -1 for none.
static int spawn(struct command *command, const char *program, int input_fd, int output_fd,
                 int proc_fd, pid_t *out_pid, struct err *err)
{
    static char path_variable[] =
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {path_variable, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "preparing to run '%s'", command->arguments[0]);
    }
    rc = posix_spawnattr_init(&attributes);
    // Ignored signals stay ignored over exec, and would be so in the container.
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attributes, &none);
    rc = rc != 0 ? rc : posix_spawnattr_setsigdefault(&attributes, &all);
    rc = rc != 0 ? rc
                 : posix_spawnattr_setflags(&attributes,
                                            POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, input_fd, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output_fd, 1);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output_fd, 2);
    if (proc_fd >= 0) {
        rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, proc_fd, JOIN_PROC_FD);
    }
    rc = rc != 0 ? rc
                 : posix_spawn(out_pid, program, &actions, &attributes, command->arguments,
                               environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc != 0) {
        return err_sys(err, rc, "running '%s'", command->arguments[0]);
    }
    make_ordinary(*out_pid);
    return 0;
}

static void forget_file(const struct supervisor *supervisor, size_t index, const char *suffix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%zu.%s", index, suffix);
    IGNORE(unlinkat(supervisor->dir_fd, name, 0) != 0, "it need not exist");
}

// A terminal's other end comes to this socket: the runtime has sent it by the time it ends.
static int open_console(struct supervisor *supervisor, size_t index, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    forget_file(supervisor, index, "console");
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%zu.console",
             supervisor->dir_fd, index);
    fd_close(container->console_fd);
    container->console_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (container->console_fd < 0 ||
        bind(container->console_fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(container->console_fd, 1) != 0) {
        return err_sys(err, errno, "making the socket for a terminal");
    }
    return 0;
}

int supervisor_runtime_start(struct supervisor *supervisor, size_t index, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    AUTO(fd_close) int output_fd = -1;
    int rc = container->plan->terminal ? open_console(supervisor, index, err)
                                       : supervisor_output_open(supervisor, index, &output_fd, err);
    if (rc != 0) {
        return rc;
    }
    forget_file(supervisor, index, "pid");
    forget_file(supervisor, index, "log");
    AUTO(command_deinit) struct command command = {0};
    begin_command(&command, supervisor);
    add(&command, "--log");
    add_path(&command, supervisor, index, "log");
    add(&command, "--log-format");
    add(&command, "json");
    add(&command, "run");
    add(&command, "--detach");
    add(&command, "--pid-file");
    add_path(&command, supervisor, index, "pid");
    if (container->plan->terminal) {
        add(&command, "--console-socket");
        add_path(&command, supervisor, index, "console");
    }
    add(&command, "--bundle");
    add_text(&command, container->plan->bundle);
    add_text(&command, container->plan->id);
    int input_fd = container->plan->interactive && !container->plan->terminal
                       ? supervisor->silence_fds[0]
                       : supervisor->null_fd;
    rc = supervisor_freeze(supervisor, index, err);
    if (rc != 0) {
        return rc;
    }
    rc = spawn(&command, command.arguments[0], input_fd,
               output_fd < 0 ? supervisor->null_fd : output_fd, -1, &container->start_pid, err);
    if (rc != 0) {
        supervisor_thaw(supervisor);
    }
    return rc;
}

int supervisor_runtime_delete(struct supervisor *supervisor, size_t index, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    AUTO(command_deinit) struct command command = {0};
    begin_command(&command, supervisor);
    add(&command, "--log");
    add(&command, "/dev/null");
    add(&command, "delete");
    add(&command, "--force");
    add_text(&command, container->plan->id);
    return spawn(&command, command.arguments[0], supervisor->null_fd, supervisor->null_fd, -1,
                 &container->delete_pid, err);
}

static struct text process_of(const struct supervisor_plan_container *plan,
                              enum order_command command)
{
    switch (command) {
    case ORDER_HEALTH:
        return plan->health_check->process;
    case ORDER_READINESS:
        return plan->readiness->process;
    case ORDER_POST_START:
        return plan->post_start->process;
    case ORDER_PRE_STOP:
        return plan->pre_stop->process;
    }
    ASSERT(false);
    return (struct text){0};
}

const char *supervisor_runtime_suffix(enum order_command command)
{
    static const char *const names[] = {"health", "readiness", "post-start", "pre-stop"};
    return names[command];
}

int supervisor_runtime_join(struct supervisor *supervisor, size_t index,
                            const struct supervisor_runtime_join *join, pid_t *out_pid,
                            struct err *err)
{
    char path[NAME_BYTES];
    AUTO(command_deinit) struct command command = {0};
    // Of our child that is not reaped: the number is its own still, and the descriptor stays so.
    snprintf(path, sizeof(path), "/proc/%d", (int)supervisor->containers[index].pid);
    AUTO(fd_close) int proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (supervisor->containers[index].pid == 0 || proc_fd < 0) {
        return err_set(err, ERR_NOT_FOUND, "the container is not running");
    }
    IGNORE(unlinkat(supervisor->dir_fd, join->report, 0) != 0, "it need not exist");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", supervisor->program_fd);
    add(&command, "berth-task");
    add(&command, "--join");
    add(&command, join->process);
    add_named(&command, supervisor, join->report);
    if (join->console != NULL) {
        add(&command, join->console);
    }
    return spawn(&command, path, supervisor->null_fd, supervisor->null_fd, proc_fd, out_pid, err);
}

int supervisor_runtime_command(struct supervisor *supervisor, size_t index,
                               enum order_command which, struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    AUTO(alloc_string)
    char *process = alloc_format("%.*s", TEXT_FMT(process_of(container->plan, which)));
    char report[NAME_BYTES];
    snprintf(report, sizeof(report), "%zu.%s", index, supervisor_runtime_suffix(which));
    return supervisor_runtime_join(
        supervisor, index, &(struct supervisor_runtime_join){.process = process, .report = report},
        &container->commands[which].start_pid, err);
}
