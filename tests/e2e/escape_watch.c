// Who comes into the container from outside: what the runtime starts for a health check or a
// command is a process of the host for a moment. It is stopped as soon as it is seen, and looked at
// with each system call that it makes.

#include "escape.h"

#include <dirent.h>
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
#define WANTED 1   // that are looked at

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

static bool look(int pid)
{
    bool out = leads_out(pid, "root") || leads_out(pid, "cwd") || program_can_be_written(pid);
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
