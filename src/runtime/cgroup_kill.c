#include "runtime/cgroup_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define PROCS_BYTES_MAX (4u << 20)

// Killed and waited for together; more take another round.
#define BATCH_MAX 128

// A round that waits for processes looks again at what is left this often: new ones may have come.
#define ROUND_MS 200

struct batch {
    int64_t pids[BATCH_MAX];
    int fds[BATCH_MAX];
    size_t count;
};

static void batch_deinit(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        fd_close(batch->fds[i]);
    }
    batch->count = 0;
}

AUTO_VALUE(struct batch, batch_deinit)

static int64_t left_ms(int64_t deadline_ns)
{
    return MAX((deadline_ns - clock_monotonic_ns()) / 1000000, INT64_C(0));
}

static int read_procs(struct text directory, struct buf *out, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s/cgroup.procs", TEXT_FMT(directory));
    int rc = file_read(AT_FDCWD, path, PROCS_BYTES_MAX, out, err);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

// All process numbers of a tree of groups, one a line.
static int read_all(struct text directory, struct buf *out, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list list = {0};
    int rc = cgroup_tree(directory, &arena, &list, err);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        rc = read_procs(list.items[i], out, err);
    }
    return rc;
}

static bool listed(struct text procs, int64_t pid)
{
    while (procs.data != NULL) {
        int64_t other = 0;
        if (text_to_i64(text_cut(&procs, '\n'), &other) == 0 && other == pid) {
            return true;
        }
    }
    return false;
}

static void open_batch(struct text procs, struct batch *batch)
{
    while (procs.data != NULL && batch->count < BATCH_MAX) {
        int64_t pid = 0;
        if (text_to_i64(text_cut(&procs, '\n'), &pid) != 0 || pid <= 1) {
            continue;
        }
        int fd = pidfd_open((pid_t)pid, 0);
        if (fd >= 0) {
            batch->pids[batch->count] = pid;
            batch->fds[batch->count++] = fd;
        }
    }
}

// A number could have passed to a stranger between the listing and the opening of its descriptor.
// If it is listed still, the descriptor is that of a process in the group.
static int kill_batch(struct text directory, const struct batch *batch, struct err *err)
{
    AUTO(buf_deinit) struct buf procs = {0};
    int rc = read_all(directory, &procs, err);
    for (size_t i = 0; rc == 0 && i < batch->count; i++) {
        if (listed(buf_view(&procs), batch->pids[i])) {
            IGNORE(pidfd_send_signal(batch->fds[i], SIGKILL, NULL, 0) != 0, "it has just ended");
        }
    }
    return rc;
}

static void wait_batch(const struct batch *batch, int64_t deadline_ns)
{
    int64_t until_ns = MIN(deadline_ns, clock_monotonic_ns() + INT64_C(1000000) * ROUND_MS);
    for (size_t i = 0; i < batch->count; i++) {
        struct pollfd poll_fd = {.fd = batch->fds[i], .events = POLLIN};
        IGNORE(poll(&poll_fd, 1, (int)left_ms(until_ns)) < 0, "the next round looks again");
    }
}

static void freeze(struct text directory, const char *state)
{
    struct err ignored = {0};
    AUTO(alloc_string) char *path = alloc_format("%.*s/freezer.state", TEXT_FMT(directory));
    IGNORE(file_write(AT_FDCWD, path, text_of(state), &ignored),
           "only the freezer's hierarchy has it; without, rounds go on until nothing is left");
}

// Also groups below that were frozen on their own, by a supervisor that has ended.
static void thaw_tree(struct text directory)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list list = {0};
    struct err ignored = {0};
    IGNORE(cgroup_tree(directory, &arena, &list, &ignored) != 0, "what was found thaws");
    for (size_t i = 0; i < list.count; i++) {
        freeze(list.items[i], "THAWED");
    }
    freeze(directory, "THAWED");
}

// A frozen group cannot fork while it is killed; its processes die when it thaws.
static int kill_by_rounds(struct text directory, int64_t deadline_ns, struct err *err)
{
    for (;;) {
        AUTO(buf_deinit) struct buf procs = {0};
        freeze(directory, "FROZEN");
        int rc = read_all(directory, &procs, err);
        AUTO(batch_deinit) struct batch batch = {.count = 0};
        if (rc == 0) {
            open_batch(buf_view(&procs), &batch);
            rc = kill_batch(directory, &batch, err);
        }
        thaw_tree(directory);
        if (rc != 0 || procs.size == 0) {
            return rc;
        }
        wait_batch(&batch, deadline_ns);
        if (left_ms(deadline_ns) == 0) {
            return err_set(err, ERR_TIMEOUT, "processes of '%.*s' do not end", TEXT_FMT(directory));
        }
    }
}

static bool populated(int events_fd)
{
    char content[256];
    ssize_t got = pread(events_fd, content, sizeof(content), 0);
    struct text rest = {content, got > 0 ? (size_t)got : 0};
    while (rest.data != NULL) {
        if (text_is(text_cut(&rest, '\n'), "populated 1")) {
            return true;
        }
    }
    return false;
}

// @return 0 when the group is empty; ERR_UNSUPPORTED before Linux 5.14
static int kill_at_once(struct text directory, int64_t deadline_ns, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s/cgroup.kill", TEXT_FMT(directory));
    AUTO(alloc_string) char *events = alloc_format("%.*s/cgroup.events", TEXT_FMT(directory));
    int rc = file_write(AT_FDCWD, path, TEXT("1"), err);
    if (rc != 0) {
        return rc == ERR_NOT_FOUND ? ERR_UNSUPPORTED : rc;
    }
    AUTO(fd_close) int fd = open(events, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "opening '%s'", events);
    }
    while (populated(fd)) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLPRI};
        int64_t left = left_ms(deadline_ns);
        if (left == 0) {
            return err_set(err, ERR_TIMEOUT, "processes of '%.*s' do not end", TEXT_FMT(directory));
        }
        IGNORE(poll(&poll_fd, 1, (int)MIN(left, (int64_t)ROUND_MS)) < 0, "it is looked at again");
    }
    return 0;
}

int cgroup_kill(const struct cgroup_task *task, int64_t timeout_ms, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text directory = cgroup_directory(task, cgroup_finder(task->host), &arena);
    int64_t deadline_ns = clock_monotonic_ns() + timeout_ms * 1000000;
    if (access(directory.data, F_OK) != 0) {
        return 0;
    }
    int rc = task->host->layout == CGROUP_V2 ? kill_at_once(directory, deadline_ns, err)
                                             : ERR_UNSUPPORTED;
    return rc == ERR_UNSUPPORTED ? kill_by_rounds(directory, deadline_ns, err) : rc;
}
