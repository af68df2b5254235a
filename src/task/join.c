#include "task/join.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "shape/cbor.h"
#include "task/join_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PROCESS_BYTES_MAX (1u << 20)
#define PATH_BYTES 4096
#define UMASK 022 // the runtimes' default

// As a shell tells of a program that it cannot run; the page says more.
#define STATUS_NOT_RUN 127

/** What one run is about. */
struct join {
    struct arena arena;
    struct supervisor_process process;
    char **arguments;
    char **environment;
    struct join_report *report; ///< mapped here only
    _Atomic int *number;        ///< shared with the child: the errno of execve
    int console_fd;             ///< -1 for none
    int master_fd;              ///< of the terminal; -1 for none
    char program[PATH_BYTES];
};

// ---- on the host ----------------------------------------------------------------------------

// The file's blocks are there before it is mapped: a full disk is an error, not a signal.
static int map_report(struct join *join, const char *path, struct err *err)
{
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "making '%s'", path);
    }
    int number = posix_fallocate(fd, 0, sizeof(*join->report));
    if (number != 0) {
        return err_sys(err, number, "making '%s'", path);
    }
    void *report = mmap(NULL, sizeof(*join->report), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *page = mmap(NULL, sizeof(*join->number), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED || page == MAP_FAILED ||
        madvise(report, sizeof(*join->report), MADV_DONTFORK) != 0) {
        return err_sys(err, errno, "mapping '%s'", path);
    }
    join->report = report;
    join->number = page;
    // Here, as later it counts against the container.
    *join->report = (struct join_report){0};
    return 0;
}

static char **strings_of(struct text_list list)
{
    char **strings = alloc_array(list.count + 1, sizeof(*strings));
    for (size_t i = 0; i < list.count; i++) {
        strings[i] = (char *)(uintptr_t)list.items[i].data; // terminated, and execve writes nothing
    }
    return strings;
}

static int read_process(struct join *join, const char *path, struct err *err)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    struct shape_error error = {0};
    int rc = file_read(AT_FDCWD, path, PROCESS_BYTES_MAX, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    rc = cbor_decode(&supervisor_process_shape, buf_view(&bytes), &join->arena, &join->process,
                     NULL, NULL, &error);
    if (rc != 0) {
        return err_set(err, rc, "'%s': %s %s", path, error.path, error.text);
    }
    if (join->process.arguments.count == 0) {
        return err_set(err, ERR_INVALID, "'%s' names no program", path);
    }
    join->arguments = strings_of(join->process.arguments);
    join->environment = strings_of(join->process.environment);
    return 0;
}

// By a descriptor, as an address holds 108 bytes only.
static int connect_console(struct join *join, const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO(fd_close) int path_fd = open(path, O_PATH | O_CLOEXEC);
    if (path_fd < 0) {
        return err_sys(err, errno, "opening '%s'", path);
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", path_fd);
    join->console_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (join->console_fd < 0 ||
        connect(join->console_fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        return err_sys(err, errno, "connecting to '%s'", path);
    }
    return 0;
}

// With CAP_SYS_RESOURCE still, so that it becomes the least that the container can set as well.
static int set_oom_score(const struct join *join, struct err *err)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", (int)join->process.oom_score_adj);
    return file_write(AT_FDCWD, "/proc/self/oom_score_adj", text_of(text), err);
}

// The one that this process has is of whoever has started the agent. A kernel without keyrings, or
// one that does not let us near them, lets nobody there who comes after us.
static int leave_keyring(struct err *err)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
        errno != EPERM) {
        return err_sys(err, errno, "making a session keyring");
    }
    return 0;
}

// ---- in the container, not in its pid namespace ---------------------------------------------

static int try_program(struct join *join, struct text directory, struct text name)
{
    struct stat status;
    int length = directory.data == NULL
                     ? snprintf(join->program, PATH_BYTES, "%.*s", TEXT_FMT(name))
                     : snprintf(join->program, PATH_BYTES, "%.*s/%.*s",
                                text_empty(directory) ? 1 : (int)directory.size,
                                text_empty(directory) ? "." : directory.data, TEXT_FMT(name));
    if (length >= PATH_BYTES) {
        return ENAMETOOLONG;
    }
    if (access(join->program, X_OK) != 0 || stat(join->program, &status) != 0) {
        return errno;
    }
    return S_ISREG(status.st_mode) ? 0 : EPERM;
}

static struct text search_path(const struct join *join)
{
    static const char variable[] = "PATH=";
    for (size_t i = 0; i < join->process.environment.count; i++) {
        struct text one = join->process.environment.items[i];
        if (text_starts(one, text_of(variable))) {
            return text_slice(one, sizeof(variable) - 1, SIZE_MAX);
        }
    }
    return (struct text){0};
}

// As the user, by the container's PATH. The words are crun's.
static int find_program(struct join *join, struct err *err)
{
    struct text name = join->process.arguments.items[0];
    int number = ENOENT;
    if (text_find(name, '/') != SIZE_MAX) {
        number = try_program(join, (struct text){0}, name);
    } else if (!text_empty(name)) {
        struct text rest = search_path(join);
        while (rest.data != NULL && number != 0) {
            int tried = try_program(join, text_cut(&rest, ':'), name);
            number = tried == ENOENT || tried == ENOTDIR ? number : tried;
        }
    }
    if (number == 0) {
        return 0;
    }
    return number == ENOENT || number == ENOTDIR
               ? err_sys(err, ENOENT, "executable file `%.*s` not found in $PATH", TEXT_FMT(name))
               : err_sys(err, number, "open executable");
}

static int send_master(struct join *join, struct err *err)
{
    return join->console_fd < 0 || fd_send(join->console_fd, join->master_fd) == 0
               ? 0
               : err_sys(err, errno, "sending the terminal away");
}

// ---- in the container -----------------------------------------------------------------------

// Whatever happens from here on can be seen and changed by a container that may trace.
static void run_child(const struct join *join)
{
    if (setsid() >= 0 && (!join->process.terminal || ioctl(STDIN_FILENO, TIOCSCTTY, 0) == 0)) {
        execve(join->program, join->arguments, join->environment);
    }
    atomic_store(join->number, errno);
    _exit(STATUS_NOT_RUN);
}

static int start_child(struct join *join, struct err *err)
{
    // Changing the user has set it to what the host's administrator wants.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || syscall(SYS_close_range, 3u, ~0u, 0u) != 0) {
        return err_sys(err, errno, "closing what is the host's");
    }
    long pid = syscall(SYS_clone,
                       CLONE_PARENT | CLONE_VFORK | CLONE_PARENT_SETTID | (unsigned long)SIGCHLD,
                       NULL, &join->report->pid, NULL, NULL);
    if (pid == 0) {
        run_child(join);
    }
    if (pid < 0) {
        // A pid namespace whose first process has ended takes no more: that error is the kernel's.
        return errno == ENOMEM ? err_set(err, ERR_NOT_FOUND,
                                         "the container is not running, or has no memory left")
                               : err_sys(err, errno, "starting a process in the container");
    }
    int number = atomic_load(join->number);
    return number == 0 ? 0 : err_sys(err, number, "exec");
}

static int enter(struct join *join, struct err *err)
{
    int rc = join_cgroups(err);
    rc = rc != 0 ? rc : set_oom_score(join, err);
    rc = rc != 0 ? rc : leave_keyring(err);
    rc = rc != 0 ? rc : join_namespaces(err);
    if (rc == 0 && join->process.terminal) {
        rc = join_terminal((uint32_t)join->process.uid, &join->master_fd, err);
    }
    return rc != 0 ? rc : join_limits(&join->process, err);
}

static int run(struct join *join, struct err *err)
{
    AUTO(alloc_string) char *directory = alloc_format("%.*s", TEXT_FMT(join->process.directory));
    struct err ignored = {0};
    int rc = enter(join, err);
    if (rc != 0) {
        return rc;
    }
    // As whoever sets up the container, where that may; else as the user.
    bool there = join_directory(directory, &ignored) == 0;
    umask(UMASK);
    rc = join_rights(&join->process, err);
    if (rc == 0 && !there) {
        rc = join_directory(directory, err);
    }
    rc = rc != 0 ? rc : find_program(join, err);
    rc = rc != 0 ? rc : send_master(join, err);
    return rc != 0 ? rc : start_child(join, err);
}

int join_run(int argument_count, char **arguments)
{
    struct err err = {0};
    struct join join = {.console_fd = -1, .master_fd = -1};
    prctl(PR_SET_NAME, "berth-task");
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (map_report(&join, arguments[1], &err) != 0) {
        return 1;
    }
    int rc = read_process(&join, arguments[0], &err);
    if (rc == 0 && argument_count > 2) {
        rc = connect_console(&join, arguments[2], &err);
    }
    if (rc == 0 && join.process.terminal != (join.console_fd >= 0)) {
        rc = err_set(&err, ERR_INVALID, "a terminal takes a socket to send it to");
    }
    rc = rc != 0 ? rc : run(&join, &err);
    if (rc != 0) {
        memcpy(join.report->reason, err.text, sizeof(err.text));
    }
    return rc == 0 ? 0 : 1;
}
