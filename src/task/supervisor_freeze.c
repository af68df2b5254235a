#include "task/supervisor_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

/*
 * What the runtime makes a container's first process of is in the container's pid namespace before
 * it has given up its rights. Where other containers share that namespace, those that may trace are
 * stopped until it runs a program of its own: by the freezer of cgroups, which they cannot reach.
 */

#define PATH_BYTES 4096
#define FILE_BYTES_MAX 4096

// Freezing takes a millisecond or two. What takes longer waits in the kernel for a disk or a
// network file system, and such a wait can be made on purpose.
#define FREEZE_LIMIT_NS INT64_C(5000000000)
#define LOOK_NS 500000L

// What is killed ends at once, unless the kernel waits for a disk in its stead.
#define END_LIMIT_NS INT64_C(30000000000)

/** How a kind of cgroup is told to stop and to go on, and how it says that it has stopped. */
static const struct freezer {
    const char *control;
    const char *stop;
    const char *go_on;
    const char *state;
    const char *stopped; ///< a line of state
} freezers[] = {
    {"cgroup.freeze", "1", "0", "cgroup.events", "frozen 1"}, // v2
    {"freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN"},
};

static int write_control(struct text directory, const char *name, const char *value,
                         struct err *err)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof(path), "%.*s/%s", TEXT_FMT(directory), name) >= PATH_BYTES) {
        return err_set(err, ERR_INVALID, "the cgroup has too long a path");
    }
    return file_write(AT_FDCWD, path, text_of(value), err);
}

// @return 0, or ERR_NOT_FOUND when there is no such group
static int control(struct text directory, bool stop, struct err *err)
{
    int rc = ERR_NOT_FOUND;
    for (size_t i = 0; i < ARRAY_LEN(freezers) && rc == ERR_NOT_FOUND; i++) {
        rc = write_control(directory, freezers[i].control,
                           stop ? freezers[i].stop : freezers[i].go_on, err);
    }
    return rc;
}

static bool has_stopped(struct text directory)
{
    for (size_t i = 0; i < ARRAY_LEN(freezers); i++) {
        char path[PATH_BYTES];
        struct err ignored = {0};
        AUTO(buf_deinit) struct buf state = {0};
        int length =
            snprintf(path, sizeof(path), "%.*s/%s", TEXT_FMT(directory), freezers[i].state);
        if (length >= PATH_BYTES ||
            file_read(AT_FDCWD, path, FILE_BYTES_MAX, &state, &ignored) != 0) {
            continue;
        }
        struct text rest = buf_view(&state);
        while (rest.data != NULL) {
            if (text_is(text_cut(&rest, '\n'), freezers[i].stopped)) {
                return true;
            }
        }
    }
    return false;
}

// The kernel's PF_FORKNOEXEC: a process that has not run another program since it was forked.
#define NO_PROGRAM_YET 0x40u
#define FLAGS_FIELD 7 // of /proc/PID/stat, behind the name in parentheses

// A process that has ended has no more than a program has.
static bool is_program(pid_t pid)
{
    char path[64];
    struct err ignored = {0};
    AUTO(buf_deinit) struct buf stat = {0};
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (file_read(AT_FDCWD, path, FILE_BYTES_MAX, &stat, &ignored) != 0) {
        return true;
    }
    size_t name_end = text_find_last(buf_view(&stat), ')');
    struct text rest = text_slice(buf_view(&stat), MIN(name_end, stat.size), SIZE_MAX);
    text_cut(&rest, ' ');
    uint64_t flags = 0;
    for (int i = 0; i < FLAGS_FIELD; i++) {
        struct text field = text_cut(&rest, ' ');
        if (i == 0 && (text_is(field, "Z") || text_is(field, "X"))) {
            return true;
        }
        IGNORE(text_to_u64(field, &flags) != 0, "the last is a number");
    }
    return (flags & NO_PROGRAM_YET) == 0;
}

static int wait_until_stopped(struct text directory, int64_t deadline_ns, struct err *err)
{
    while (!has_stopped(directory)) {
        if (clock_monotonic_ns() > deadline_ns) {
            return err_set(err, ERR_TIMEOUT, "some of its processes wait in the kernel");
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return 0;
}

static int stop(struct text directory, struct err *err)
{
    int rc = control(directory, true, err);
    return rc != 0 ? rc
                   : wait_until_stopped(directory, clock_monotonic_ns() + FREEZE_LIMIT_NS, err);
}

static bool is_empty(struct text group)
{
    char path[PATH_BYTES];
    struct err ignored = {0};
    AUTO(buf_deinit) struct buf processes = {0};
    int length = snprintf(path, sizeof(path), "%.*s/cgroup.procs", TEXT_FMT(group));
    int rc = length >= PATH_BYTES ? ERR_INVALID
                                  : file_read(AT_FDCWD, path, FILE_BYTES_MAX, &processes, &ignored);
    return rc == ERR_NOT_FOUND || (rc == 0 && processes.size == 0);
}

// What is left of the container's own last run could trace it as well.
static int end_last_run(const struct supervisor_plan_container *plan, struct err *err)
{
    int64_t deadline_ns = clock_monotonic_ns() + FREEZE_LIMIT_NS;
    while (!text_empty(plan->freezer) && !is_empty(plan->freezer)) {
        supervisor_kill_cgroup(plan->cgroup);
        if (clock_monotonic_ns() > deadline_ns) {
            return err_set(err, ERR_TIMEOUT, "processes of its last run do not end");
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return 0;
}

int supervisor_freeze(struct supervisor *supervisor, size_t index, struct err *err)
{
    int rc = end_last_run(supervisor->containers[index].plan, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < supervisor->count; i++) {
        const struct supervisor_plan_container *plan = supervisor->containers[i].plan;
        struct err cause = {0};
        if (i == index || text_empty(plan->freezer)) {
            continue;
        }
        // One that has not run yet has no group.
        rc = stop(plan->freezer, &cause);
        if (rc != 0 && rc != ERR_NOT_FOUND) {
            supervisor_thaw(supervisor);
            return err_set(err, rc,
                           "container '%.*s' has SYS_PTRACE and cannot be stopped while this one "
                           "starts: %s",
                           TEXT_FMT(plan->name), cause.text);
        }
    }
    return 0;
}

static bool freezes(const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        if (!text_empty(supervisor->containers[i].plan->freezer)) {
            return true;
        }
    }
    return false;
}

// What enters a container runs our own program until it has no more rights than that.
static bool runs_own_program(const struct supervisor *supervisor, pid_t pid)
{
    char path[64];
    struct stat own;
    struct stat theirs;
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return fstat(supervisor->program_fd, &own) == 0 && stat(path, &theirs) == 0 &&
           own.st_dev == theirs.st_dev && own.st_ino == theirs.st_ino;
}

// Children of ours that were forked by a runtime and have not run a program yet: the container that
// was started, or what is left of a start. @return whether there are any
static bool look_for_remains(const struct supervisor *supervisor, pid_t started, bool end)
{
    AUTO(buf_deinit) struct buf list = {0};
    if (supervisor_children_list(&list) != 0) {
        return started > 0 && !is_program(started);
    }
    bool found = false;
    struct text rest = buf_view(&list);
    while (rest.data != NULL) {
        int64_t pid = 0;
        if (text_to_i64(text_cut(&rest, ' '), &pid) != 0 || pid <= 1 || is_program((pid_t)pid) ||
            runs_own_program(supervisor, (pid_t)pid)) {
            continue;
        }
        found = true;
        if (end) {
            kill((pid_t)pid, SIGKILL);
        }
    }
    return found;
}

bool supervisor_await_program(struct supervisor *supervisor, size_t index, pid_t started)
{
    const struct supervisor_plan_container *plan = supervisor->containers[index].plan;
    const int64_t begun_ns = clock_monotonic_ns();
    bool end = started == 0;
    while (freezes(supervisor) && look_for_remains(supervisor, started, end)) {
        int64_t waited_ns = clock_monotonic_ns() - begun_ns;
        if (waited_ns > FREEZE_LIMIT_NS && !end) {
            LOG(WARN, "a container that does not come to run its program is killed",
                LOG_TXT("container", plan->name));
            end = true;
            supervisor_kill_cgroup(plan->cgroup);
        }
        if (waited_ns > END_LIMIT_NS) {
            LOG(ERROR,
                "what is left of a container's start does not end: containers with SYS_PTRACE stay "
                "stopped",
                LOG_TXT("container", plan->name));
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return true;
}

void supervisor_thaw(struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        const struct supervisor_plan_container *plan = supervisor->containers[i].plan;
        struct err err = {0};
        if (text_empty(plan->freezer)) {
            continue;
        }
        int rc = control(plan->freezer, false, &err);
        if (rc != 0 && rc != ERR_NOT_FOUND) {
            LOG(ERROR, "a container that was stopped while another started does not go on",
                LOG_TXT("container", plan->name), LOG_STR("error", err.text));
        }
    }
}
