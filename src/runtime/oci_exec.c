#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// The supervisor's helper connects once.
#define BACKLOG 1

// The address holds 108 bytes; a path through the directory's descriptor always fits.
static int listen_at(struct text directory, const char *name, int *out_fd, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s", TEXT_FMT(directory));
    AUTO(fd_close) int dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
    if (dir_fd < 0 || fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, BACKLOG) != 0) {
        return err_sys(err, errno, "making the socket for a terminal");
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

int oci_exec(struct runtime *runtime, const struct runtime_exec *exec, struct arena *arena,
             struct runtime_exec_ready *out_ready, struct err *err)
{
    const struct oci *oci = oci_of(runtime);
    int rc = oci_check_id(exec->task_id, err);
    if (rc != 0) {
        return rc;
    }
    struct text directory = oci_run_directory(oci, exec->task_id, arena);
    struct text document = arena_format(arena, "exec-%08x.process", exec->number);
    struct text console = arena_format(arena, "exec-%08x.tty", exec->number);
    struct text how =
        arena_format(arena, "%.*s/c/%zu/%s", TEXT_FMT(directory), exec->index, OCI_EXEC_TEMPLATE);
    rc = oci_command_copy(how.data, exec->arguments, directory, document.data, arena, err);
    if (rc == ERR_NOT_FOUND) {
        return err_set(err, rc,
                       "the task takes no commands: it was started without enableExecuteCommand, "
                       "or by a version of Berth that ran them in another way. Start it anew");
    }
    if (rc != 0) {
        return rc;
    }
    out_ready->process = arena_format(arena, "%.*s/%s", TEXT_FMT(directory), document.data);
    out_ready->console = arena_format(arena, "%.*s/%s", TEXT_FMT(directory), console.data);
    rc = listen_at(directory, console.data, &out_ready->console_fd, err);
    if (rc != 0) {
        IGNORE(unlink(out_ready->process.data) != 0, "it goes with the task");
    }
    return rc;
}
