#include "task/init.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// A program that is not there, and one that cannot be run: as a shell tells them.
#define STATUS_NOT_FOUND 127
#define STATUS_NOT_RUN 126

// Signals that tell of a fault of our own; they are not passed on.
static const int own_faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

static int run(char **arguments, const sigset_t *mask)
{
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(arguments[0], arguments);
    LOG(ERROR, "the container's program cannot be run", LOG_STR("program", arguments[0]),
        LOG_STR("error", strerror(errno)));
    return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN;
}

// Takes the statuses of all that have ended. @return whether the program is among them
static bool reap(pid_t program, int *out_status)
{
    bool ended = false;
    int status = 0;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == program) {
            *out_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            ended = true;
        }
    }
    return ended;
}

int init_run(char **arguments)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(own_faults); i++) {
        sigdelset(&all, own_faults[i]);
    }
    sigprocmask(SIG_BLOCK, &all, &before);
    // Where it is not the first of its pid namespace, orphans would go to one that is.
    IGNORE(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0, "then they go there");
    pid_t program = fork();
    if (program < 0) {
        LOG(ERROR, "the container's program cannot be started", LOG_STR("error", strerror(errno)));
        return STATUS_NOT_RUN;
    }
    if (program == 0) {
        return run(arguments, &before);
    }
    int status = 0;
    for (;;) {
        int number = sigwaitinfo(&all, NULL);
        if (number == SIGCHLD && reap(program, &status)) {
            return status; // with the first process the kernel ends all that are left
        }
        if (number > 0 && number != SIGCHLD) {
            IGNORE(kill(program, number) != 0, "it has just ended, which SIGCHLD will tell");
        }
    }
}
