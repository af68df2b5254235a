#include "task/pause.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define PROGRAM "/pause"

static bool mount_root(const char *directory)
{
    char program[PATH_BYTES];
    char own[PATH_BYTES];
    if (snprintf(program, sizeof(program), "%s" PROGRAM, directory) >= (int)sizeof(program)) {
        errno = ENAMETOOLONG;
        return false;
    }
    // By its name: what /proc/self/exe leads to is in the mount namespace that it was started in.
    ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (size < 0) {
        return false;
    }
    own[size] = '\0';
    // Whoever may look into this process finds /proc/1/exe; behind a read-only mount it cannot be
    // opened for writing, as the host's own file could be.
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,mode=755") != 0) {
        return false;
    }
    return mknod(program, S_IFREG | 0755, 0) == 0 &&
           mount(own, program, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, program, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
                 NULL) == 0 &&
           mount(NULL, directory, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0;
}

static bool enter_root(const char *directory)
{
    return chdir(directory) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 &&
           umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
}

static bool drop_capabilities(void)
{
    for (unsigned long i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) {
            return false;
        }
    }
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    return syscall(SYS_capset, &header, none) == 0;
}

int pause_enter(const char *directory)
{
    static char name[] = PROGRAM;
    static char option[] = "--pause";
    char *arguments[] = {name, option, NULL};
    char *environment[] = {NULL};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWCGROUP) != 0 ||
        !mount_root(directory) || !enter_root(directory) || !drop_capabilities()) {
        return errno;
    }
    // Also the lock that says whether the supervisor lives.
    syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_CLOEXEC);
    execve(PROGRAM, arguments, environment);
    return errno;
}

int pause_run(void)
{
    sigset_t none;
    sigemptyset(&none);
    // Only who may trace anything may look into it. Ended orphans leave nothing behind.
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || signal(SIGCHLD, SIG_IGN) == SIG_ERR ||
        sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        return 1;
    }
    for (;;) {
        pause();
    }
}
