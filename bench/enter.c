#include "enter.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "task/join.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 100
#define WARM_UP 5

/** One way in. */
struct way {
    const char *name;
    char *const *arguments;
    const char *report; ///< what names the command's pid, a child of ours; NULL: it is no child
    double wall_ms[ROUNDS];
    double processor_ms; ///< of all rounds
};

static void check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static int open_of(int pid, const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0, path);
    return fd;
}

static int parent_of(int pid)
{
    char text[512] = "";
    AUTO(fd_close) int fd = open_of(pid, "stat");
    check(read(fd, text, sizeof(text) - 1) > 0, "reading who started the container");
    const char *behind_name = strrchr(text, ')');
    check(behind_name != NULL && strlen(behind_name) > 4, "reading who started the container");
    return atoi(behind_name + 4); // ") S PPID"
}

static double processor_ms(void)
{
    struct rusage usage;
    check(getrusage(RUSAGE_CHILDREN, &usage) == 0, "getrusage");
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static void wait_for(pid_t pid, const char *what)
{
    int status = 0;
    check(waitpid(pid, &status, 0) == pid, what);
    if (status != 0) {
        fprintf(stderr, "bench: %s ended with status %d\n", what, status);
        exit(1);
    }
}

// In the supervisor's mount namespace, where the runtime's program cannot be written: elsewhere
// crun copies itself first.
static void run(const struct way *way, int mounts_fd, int proc_fd)
{
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
        if (setns(mounts_fd, CLONE_NEWNS) == 0 && dup2(proc_fd, JOIN_PROC_FD) >= 0) {
            execvp(way->arguments[0], way->arguments);
        }
        _exit(127);
    }
    wait_for(pid, way->name);
    if (way->report != NULL) {
        struct join_report report;
        AUTO(fd_close) int fd = open(way->report, O_RDONLY | O_CLOEXEC);
        check(fd >= 0 && read(fd, &report, sizeof(report)) == sizeof(report), way->report);
        wait_for(report.pid, "the command");
    }
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median(struct way *way)
{
    qsort(way->wall_ms, ROUNDS, sizeof(*way->wall_ms), compare);
    return way->wall_ms[ROUNDS / 2];
}

void enter_measure(const struct enter_target *target)
{
    static struct way ours = {.name = "berth-task --join"};
    static struct way peer = {.name = "crun exec"};
    AUTO(fd_close) int mounts_fd = open_of(parent_of(target->pid), "ns/mnt");
    AUTO(fd_close) int proc_fd = open_of(target->pid, ".");
    char program[PATH_MAX]; // whole, as another mount namespace has another working directory
    check(realpath(target->supervisor, program) != NULL, target->supervisor);
    AUTO(alloc_string) char *record = alloc_format("%s/c/0/health.process", target->directory);
    AUTO(alloc_string) char *report = alloc_format("%s/bench.report", target->directory);
    AUTO(alloc_string) char *root = alloc_format("--root=%s/oci", target->directory);
    AUTO(alloc_string) char *id = alloc_string(target->id);
    char words[][16] = {"--join", "crun", "exec", "/bin/busybox", "true"};
    char *const join[] = {program, words[0], record, report, NULL};
    char *const exec[] = {words[1], root, words[2], id, words[3], words[4], NULL};
    ours.arguments = join;
    ours.report = report;
    peer.arguments = exec;
    struct way *const ways[] = {&peer, &ours};
    // Taking turns, both see the same noise; the first rounds warm the caches.
    for (size_t i = 0; i < ARRAY_LEN(ways) * (WARM_UP + ROUNDS); i++) {
        struct way *way = ways[i % ARRAY_LEN(ways)];
        size_t round = i / ARRAY_LEN(ways);
        double before_ms = processor_ms();
        int64_t begin_ns = clock_monotonic_ns();
        run(way, mounts_fd, proc_fd);
        if (round >= WARM_UP) {
            way->wall_ms[round - WARM_UP] = (double)(clock_monotonic_ns() - begin_ns) / 1e6;
            way->processor_ms += processor_ms() - before_ms;
        }
    }
    double ours_ms = median(&ours);
    double peer_ms = median(&peer);
    printf("a command in a running container: p50 %.1f ms and %.1f ms of processor time; by crun "
           "exec %.1f and %.1f ms; ratio %.2f and %.2f\n",
           ours_ms, ours.processor_ms / ROUNDS, peer_ms, peer.processor_ms / ROUNDS,
           ours_ms / peer_ms, ours.processor_ms / peer.processor_ms);
}
