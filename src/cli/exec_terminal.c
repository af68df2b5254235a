#include "cli/exec_terminal.h"

#include "base/base.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

// Read by a signal's handler.
static struct termios saved;
static volatile sig_atomic_t is_raw;

void exec_terminal_restore(void)
{
    if (is_raw != 0) {
        is_raw = 0;
        IGNORE(tcsetattr(STDIN_FILENO, TCSADRAIN, &saved), "the terminal is gone");
    }
}

static void on_fatal(int signal_number)
{
    if (is_raw != 0) {
        is_raw = 0;
        IGNORE(tcsetattr(STDIN_FILENO, TCSANOW, &saved), "the terminal is gone");
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int exec_terminal_raw(struct err *err)
{
    if (isatty(STDIN_FILENO) == 0) {
        return 0;
    }
    if (tcgetattr(STDIN_FILENO, &saved) != 0) {
        return err_sys(err, errno, "reading the modes of the terminal");
    }
    // Signals that are of use to the session are the event loop's; these are what is left.
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++) {
        signal(fatal[i], on_fatal);
    }
    atexit(exec_terminal_restore);
    struct termios raw = saved;
    cfmakeraw(&raw);
    is_raw = 1;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0) {
        is_raw = 0;
        return err_sys(err, errno, "setting the modes of the terminal");
    }
    return 0;
}

bool exec_terminal_size(unsigned *out_columns, unsigned *out_rows)
{
    static const int files[] = {STDOUT_FILENO, STDIN_FILENO};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct winsize size = {0};
        if (ioctl(files[i], TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
            *out_columns = size.ws_col;
            *out_rows = size.ws_row;
            return true;
        }
    }
    return false;
}
