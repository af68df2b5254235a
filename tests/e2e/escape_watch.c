// Who comes into the container from outside, for a health check or a command: it is stopped as soon
// as it is seen, and looked at with each system call that it makes.

#include "escape.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIDS_MAX 4096
#define FDS_MAX 64
#define CALLS_MAX 2000
#define SECONDS 120 // in which somebody comes
#define WANTED 1    // that are looked at

#define RACE_SECONDS 100 // for all of them

// What every process of the container has, and what none of them may have more of.
static const char *const sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};

static bool leads_out(int pid, const char *what)
{
    char path[4096];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/%d/%s/../../../../../../../../..%s", pid, what,
             argument("HOST_FILE"));
    bool out = stat(path, &status) == 0;
    snprintf(path, sizeof(path), "/proc/%d/%s%s", pid, what, argument("HOST_FILE"));
    out = out || stat(path, &status) == 0;
    if (out) {
        fprintf(stderr, "escape: %s leads out\n", path);
    }
    return out;
}

// The runtime's own program, which could be written by whoever finds it here.
static bool program_can_be_written(int pid)
{
    char path[64];
    char target[4096];
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    ssize_t size = readlink(path, target, sizeof(target) - 1);
    target[size < 0 ? 0 : size] = '\0';
    struct stat theirs;
    struct stat here;
    if (stat(path, &theirs) != 0 || (stat(target, &here) == 0 && here.st_ino == theirs.st_ino &&
                                     here.st_dev == theirs.st_dev)) {
        return false; // a program of the container
    }
    int fd = open(path, O_WRONLY);
    close(fd);
    if (fd >= 0) {
        fprintf(stderr, "escape: '%s' could be written\n", target);
    }
    return fd >= 0;
}

static bool read_status(int pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    close(fd);
    text[got < 0 ? 0 : got] = '\0';
    return got > 0;
}

static unsigned long long number_of(const char *status, const char *name, int base)
{
    const char *line = strstr(status, name);
    return line == NULL ? 0 : strtoull(line + strlen(name), NULL, base);
}

// More capabilities than this container has, or fewer bounds on system calls.
static bool may_more(int pid)
{
    char own[8192];
    char theirs[8192];
    if (!read_status(getpid(), own, sizeof(own)) || !read_status(pid, theirs, sizeof(theirs))) {
        return false;
    }
    unsigned long long most = number_of(own, "CapBnd:", 16);
    bool more = number_of(theirs, "Seccomp:", 10) < number_of(own, "Seccomp:", 10) ||
                number_of(theirs, "NoNewPrivs:", 10) < number_of(own, "NoNewPrivs:", 10);
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        more = more || (number_of(theirs, sets[i], 16) & ~most) != 0;
    }
    if (more) {
        fprintf(stderr, "escape: this one may do more:\n%s", theirs);
    }
    return more;
}

static bool look(int pid)
{
    bool out = may_more(pid) || leads_out(pid, "root") || leads_out(pid, "cwd") ||
               program_can_be_written(pid);
    for (int fd = 0; fd < FDS_MAX && !out; fd++) {
        char name[32];
        snprintf(name, sizeof(name), "fd/%d", fd);
        out = leads_out(pid, name);
    }
    return out;
}

// One that has ended cannot be held either, with the same error as one that must not be.
static bool lives(int pid)
{
    char path[64];
    char text[256];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    close(fd);
    text[size < 0 ? 0 : size] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && strlen(name_end) > 2 && strchr("ZX", name_end[2]) == NULL;
}

// @return 1 when nothing of it led out, -1 when something did, 0 when it was gone before it was
// held
static int follow(int pid, int *calls)
{
    bool out = false;
    if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) != 0) {
        return look(pid) ? -1 : lives(pid) ? 1 : 0;
    }
    int status = 0;
    int before = *calls;
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        out = out || look(pid);
        int number =
            WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status);
        if (++*calls >= CALLS_MAX) {
            ptrace(PTRACE_DETACH, pid, NULL, (long)number);
            break;
        }
        ptrace(PTRACE_SYSCALL, pid, NULL, (long)number);
    }
    return out ? -1 : *calls > before ? 1 : 0;
}

static int visit(const bool *known, bool *out_known, int *calls)
{
    int found = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry = NULL; folder != NULL && (entry = readdir(folder)) != NULL;) {
        int pid = atoi(entry->d_name);
        if (pid <= 0 || pid >= PIDS_MAX || pid == getpid()) {
            continue;
        }
        if (known == NULL) {
            out_known[pid] = true;
        } else if (!known[pid]) {
            out_known[pid] = true;
            found = follow(pid, calls);
            break;
        }
    }
    closedir(folder);
    return found;
}

int try_watch(void)
{
    static bool known[PIDS_MAX];
    int seen = 0;
    int calls = 0;
    time_t end = time(NULL) + SECONDS;
    visit(NULL, known, &calls);
    while (time(NULL) < end && seen < WANTED) {
        int found = visit(known, known, &calls);
        if (found < 0) {
            return 0;
        }
        seen += found;
    }
    fprintf(stderr, "escape: %d came in and made %d system calls\n", seen, calls);
    // Nobody came: nothing was tried.
    return seen == 0 ? ETIMEDOUT : calls == 0 ? ECHILD : EACCES;
}

// ---- a race with many of them ---------------------------------------------------------------

static int newest(void)
{
    char text[128] = "";
    int fd = open("/proc/loadavg", O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    close(fd);
    const char *last = got > 0 ? strrchr(text, ' ') : NULL;
    return last == NULL ? 0 : atoi(last);
}

// The numbers of processes follow one another, so that the next to come is known beforehand: it is
// asked for until it is there. From time to time, whether some have come and gone.
static int seize(int next, time_t end)
{
    for (unsigned i = 1; i % 65536 != 0 || time(NULL) < end; i++) {
        if (ptrace(PTRACE_SEIZE, next, NULL, PTRACE_O_TRACEEXEC) == 0) {
            return next;
        }
        int last = i % 256 == 0 ? newest() : 0;
        next = last > next ? last : next;
    }
    return 0;
}

// @return whether it was looked at before it was another program
static bool meet(int pid, bool *out_more)
{
    int status = 0;
    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    bool early = false;
    bool first = true;
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        char path[64];
        char target[4096] = "";
        snprintf(path, sizeof(path), "/proc/%d/exe", pid);
        ssize_t size = readlink(path, target, sizeof(target) - 1);
        early = early || (first && size > 0 && strstr(target, "busybox") == NULL);
        first = false;
        *out_more = *out_more || look(pid);
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
            ptrace(PTRACE_DETACH, pid, NULL, NULL);
            return early;
        }
        int number = status >> 16 != 0 || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        ptrace(PTRACE_CONT, pid, NULL, (long)number);
    }
    return early;
}

// Hold up whoever runs this program: a lease makes the kernel wait in the middle of its execve.
static void hold_up(const char *program)
{
    char mark[4096];
    signal(SIGIO, SIG_IGN);
    int fd = open(program, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) != 0) {
        perror(program);
        exit(1);
    }
    snprintf(mark, sizeof(mark), "%s.held", program);
    close(open(mark, O_WRONLY | O_CREAT, 0644));
}

/** Meets WANTED processes, one by one; says how many were met before they ran a program. With LEASE,
 *  who runs that program is held up in the middle. */
int try_race(void)
{
    if (getenv("LEASE") != NULL) {
        hold_up(getenv("LEASE"));
    }
    int wanted = atoi(argument("WANTED"));
    int early = 0;
    int met = 0;
    bool more = false;
    time_t end = time(NULL) + RACE_SECONDS;
    int next = getpid() + 1;
    printf("ready\n");
    fflush(stdout);
    while (met < wanted && !more && (next = seize(next, end)) != 0) {
        early += meet(next++, &more) ? 1 : 0;
        met++;
    }
    printf("met %d, %d of them early\n", met, early);
    fflush(stdout);
    return more ? 0 : met < wanted ? ETIMEDOUT : EACCES;
}
