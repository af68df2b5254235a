#include "task/supervisor_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES 16384

// A turn of the loop copies no more of one container, so that a flood starves nobody.
#define COPY_TURNS 4

// A pipe holds at most fs.pipe-max-size, 1 MiB by default. Whoever enlarged it further loses the
// rest of it rather than holds up the task's end.
#define DRAIN_TURNS 256

#define PATH_BYTES 4096

static void report(struct supervisor_output *output, struct text path, int number)
{
    if (!output->failing) {
        LOG(WARN, "output of a container is lost", LOG_TXT("path", path),
            LOG_STR("error", strerror(number)));
    }
    output->failing = true;
}

static int open_file(struct supervisor_output *output, struct text path, struct err *err)
{
    char name[PATH_BYTES];
    if (text_copy(path, name, sizeof(name)) != 0) {
        return err_set(err, ERR_INVALID, "the path of an output file is too long");
    }
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        int number = errno;
        fd_close(fd);
        return err_sys(err, number, "opening '%s'", name);
    }
    output->file_fd = fd;
    output->size_bytes = status.st_size;
    return 0;
}

// One older part is kept: output takes at most twice the limit.
static void rotate(struct supervisor_output *output, struct text path)
{
    char from[PATH_BYTES];
    char to[PATH_BYTES];
    if (text_copy(path, from, sizeof(from)) != 0 ||
        snprintf(to, sizeof(to), "%s.1", from) >= (int)sizeof(to) || rename(from, to) != 0) {
        report(output, path, errno);
        return;
    }
    struct err err = {0};
    fd_close(output->file_fd);
    output->file_fd = -1;
    if (open_file(output, path, &err) != 0) {
        report(output, path, errno);
    }
}

static void write_part(struct supervisor_output *output, struct text path, const char *bytes,
                       size_t size)
{
    while (size > 0 && output->file_fd >= 0) {
        ssize_t done = write(output->file_fd, bytes, size);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            // A full disk must not stop the container: what does not fit is dropped.
            report(output, path, errno);
            return;
        }
        output->failing = false;
        output->size_bytes += done;
        bytes += done;
        size -= (size_t)done;
    }
}

static void keep(struct supervisor *supervisor, size_t index, const char *bytes, size_t size)
{
    struct supervisor_output *output = &supervisor->containers[index].output;
    struct text path = supervisor->containers[index].plan->output;
    int64_t limit = supervisor->plan.output_max_bytes;
    while (size > 0 && output->file_fd >= 0) {
        if (limit > 0 && output->size_bytes >= limit) {
            rotate(output, path);
            if (output->size_bytes >= limit) {
                return;
            }
        }
        size_t part = size;
        if (limit > 0 && (int64_t)part > limit - output->size_bytes) {
            part = (size_t)(limit - output->size_bytes);
        }
        write_part(output, path, bytes, part);
        bytes += part;
        size -= part;
    }
}

// @return whether there may be more
static bool copy_once(struct supervisor *supervisor, size_t index)
{
    static char bytes[COPY_BYTES];
    struct supervisor_output *output = &supervisor->containers[index].output;
    ssize_t size = read(output->pipe_fd, bytes, sizeof(bytes));
    if (size > 0) {
        keep(supervisor, index, bytes, (size_t)size);
        return true;
    }
    if (size < 0 && errno == EINTR) {
        return true;
    }
    if (size == 0 || errno != EAGAIN) {
        fd_close(output->pipe_fd);
        output->pipe_fd = -1;
    }
    return false;
}

static void copy_turns(struct supervisor *supervisor, size_t index, size_t turns)
{
    const struct supervisor_output *output = &supervisor->containers[index].output;
    for (size_t i = 0; i < turns && output->pipe_fd >= 0; i++) {
        if (!copy_once(supervisor, index)) {
            return;
        }
    }
}

void supervisor_output_copy(struct supervisor *supervisor, size_t index)
{
    copy_turns(supervisor, index, COPY_TURNS);
}

void supervisor_output_drain(struct supervisor *supervisor, size_t index)
{
    copy_turns(supervisor, index, DRAIN_TURNS);
}

int supervisor_output_open(struct supervisor *supervisor, size_t index, int *out_write_fd,
                           struct err *err)
{
    struct supervised *container = &supervisor->containers[index];
    int rc = open_file(&container->output, container->plan->output, err);
    if (rc != 0) {
        return rc;
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe");
    }
    container->output.pipe_fd = ends[0];
    // Only our end: the container must get a pipe that blocks, as programs expect.
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        rc = err_sys(err, errno, "preparing a pipe");
    }
    if (rc == 0) {
        rc = supervisor_watch(supervisor, ends[0], EPOLLIN, SOURCE_OUTPUT, index, err);
    }
    if (rc != 0) {
        close(ends[1]);
        return rc;
    }
    *out_write_fd = ends[1];
    return 0;
}

void supervisor_output_take(struct supervisor *supervisor, size_t index)
{
    struct supervised *container = &supervisor->containers[index];
    struct err err = {0};
    AUTO(fd_close) int peer_fd = accept4(container->console_fd, NULL, NULL, SOCK_CLOEXEC);
    AUTO(fd_close) int fd = peer_fd < 0 ? -1 : fd_receive(peer_fd);
    fd_close(container->console_fd);
    container->console_fd = -1;
    int rc = fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0
                 ? err_set(&err, ERR_SYS, "the runtime brought no terminal")
                 : open_file(&container->output, container->plan->output, &err);
    if (rc == 0) {
        rc = supervisor_watch(supervisor, fd, EPOLLIN, SOURCE_OUTPUT, index, &err);
    }
    if (rc != 0) {
        // As with a disk that is full: the container goes on, and is not read.
        LOG(WARN, "output of a container is lost", LOG_TXT("path", container->plan->output),
            LOG_STR("error", err.text));
        supervisor_output_close(&container->output);
        return;
    }
    container->output.pipe_fd = fd;
    fd = -1;
}

void supervisor_output_close(struct supervisor_output *output)
{
    fd_close(output->pipe_fd);
    fd_close(output->file_fd);
    output->pipe_fd = -1;
    output->file_fd = -1;
}
