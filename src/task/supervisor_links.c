#include "task/supervisor_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "shape/cbor.h"
#include "task/frame.h"
#include "task/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES 4096
#define STATE_VERSION 1
#define STATE_NEW_NAME "state.new"
#define SOCKET_NAME "socket"

// What one agent is told apart from states: an end of each process that it asked for.
#define TOLD_BYTES_MAX (256u << 10)

int supervisor_links_open(struct supervisor *supervisor, struct err *err)
{
    for (size_t i = 0; i < SUPERVISOR_LINK_MAX; i++) {
        supervisor->links[i].fd = -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(err, errno, "making a socket");
    }
    supervisor->listen_fd = fd;
    // The address holds 108 bytes; a path through the directory's descriptor always fits.
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", supervisor->dir_fd,
             SOCKET_NAME);
    // We hold the lock: a socket that is there was left by a supervisor that is gone.
    IGNORE(unlinkat(supervisor->dir_fd, SOCKET_NAME, 0) != 0, "it need not exist");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, SUPERVISOR_LINK_MAX) != 0) {
        return err_sys(err, errno, "listening on '%s/%s'", supervisor->directory, SOCKET_NAME);
    }
    return supervisor_watch(supervisor, fd, EPOLLIN, SOURCE_LISTEN, 0, err);
}

static void close_link(struct supervisor *supervisor, size_t index)
{
    struct supervisor_link *link = &supervisor->links[index];
    fd_close(link->fd);
    buf_deinit(&link->in);
    buf_deinit(&link->out);
    buf_deinit(&link->told);
    *link = (struct supervisor_link){.fd = -1};
    supervisor_exec_link_closed(supervisor, index);
}

static void watch_writable(struct supervisor *supervisor, size_t index, bool waits)
{
    struct supervisor_link *link = &supervisor->links[index];
    if (link->waits_to_write == waits) {
        return;
    }
    struct epoll_event event = {
        .events = EPOLLIN | (waits ? EPOLLOUT : 0u),
        .data.u64 = (uint64_t)SOURCE_LINK << 32 | index,
    };
    if (epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_MOD, link->fd, &event) != 0) {
        close_link(supervisor, index);
        return;
    }
    link->waits_to_write = waits;
}

// What goes out next: what the agent is told, then the newest state. @return false for nothing
static bool fill_out(const struct supervisor *supervisor, struct supervisor_link *link)
{
    bool told = link->told.size > 0;
    if (!told && link->version == supervisor->version) {
        return false;
    }
    buf_reset(&link->out);
    link->sent_bytes = 0;
    if (told) {
        buf_text(&link->out, buf_view(&link->told));
        buf_deinit(&link->told);
    } else {
        buf_text(&link->out, buf_view(&supervisor->frame));
        link->version = supervisor->version;
    }
    return true;
}

// An agent that reads slowly misses states in between, never the newest one.
static void send_out(struct supervisor *supervisor, size_t index)
{
    struct supervisor_link *link = &supervisor->links[index];
    for (;;) {
        if (link->sent_bytes == link->out.size && !fill_out(supervisor, link)) {
            watch_writable(supervisor, index, false);
            return;
        }
        ssize_t done = send(link->fd, link->out.data + link->sent_bytes,
                            link->out.size - link->sent_bytes, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0 && errno == EAGAIN) {
            watch_writable(supervisor, index, true);
            return;
        }
        if (done < 0) {
            close_link(supervisor, index);
            return;
        }
        link->sent_bytes += (size_t)done;
    }
}

void supervisor_links_accept(struct supervisor *supervisor)
{
    int fd = accept4(supervisor->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    size_t index = 0;
    while (index < SUPERVISOR_LINK_MAX && supervisor->links[index].fd >= 0) {
        index++;
    }
    struct err err = {0};
    if (index == SUPERVISOR_LINK_MAX) {
        LOG(WARN, "too many agents are connected, refusing another", LOG_U64("links", index));
        close(fd);
        return;
    }
    if (supervisor_watch(supervisor, fd, EPOLLIN, SOURCE_LINK, index, &err) != 0) {
        close(fd);
        return;
    }
    supervisor->links[index] = (struct supervisor_link){.fd = fd};
    send_out(supervisor, index);
}

void supervisor_link_tell(struct supervisor *supervisor, size_t index,
                          const struct supervisor_frame *frame)
{
    if (index >= SUPERVISOR_LINK_MAX || supervisor->links[index].fd < 0) {
        return;
    }
    struct supervisor_link *link = &supervisor->links[index];
    if (link->told.size > TOLD_BYTES_MAX) {
        LOG(WARN, "an agent does not read what it is told, closing its connection");
        shutdown(link->fd, SHUT_RDWR); // closed in its turn
        return;
    }
    frame_encode(frame, &link->told);
    if (!link->waits_to_write) {
        // Not from here: what calls us may hold the link.
        watch_writable(supervisor, index, true);
    }
}

static void begin_exec(struct supervisor *supervisor, size_t link,
                       const struct supervisor_exec *request)
{
    if (request == NULL || text_empty(request->session) || text_empty(request->process) ||
        text_empty(request->console)) {
        LOG(WARN, "an agent asked for a process without saying which");
        return;
    }
    supervisor_exec_begin(supervisor, link, request);
}

static void obey(struct supervisor *supervisor, size_t link,
                 const struct supervisor_command *command)
{
    struct order_event event = {0};
    switch (command->kind) {
    case SUPERVISOR_COMMAND_KIND_STOP:
        event.kind = ORDER_STOP;
        break;
    case SUPERVISOR_COMMAND_KIND_KILL:
        event.kind = ORDER_KILL_ALL;
        break;
    case SUPERVISOR_COMMAND_KIND_EXEC:
        begin_exec(supervisor, link, command->exec);
        return;
    case SUPERVISOR_COMMAND_KIND_END_EXEC:
        supervisor_exec_end(supervisor, link, command->exec_session);
        return;
    case SUPERVISOR_COMMAND_KIND_ABSENT:
    case SUPERVISOR_COMMAND_KIND_UNRECOGNIZED:
        LOG(WARN, "an agent sent a command that this version does not know",
            LOG_I64("command", command->kind));
        return;
    }
    order_event(supervisor->order, &event, supervisor_time());
}

// @return false when the connection is to be closed
static bool take_frames(struct supervisor *supervisor, size_t index)
{
    struct supervisor_link *link = &supervisor->links[index];
    for (;;) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct supervisor_frame frame = {0};
        struct err err = {0};
        int rc = frame_next(&link->in, &arena, &frame, &err);
        if (rc == 0) {
            return true;
        }
        if (rc < 0) {
            LOG(WARN, "an agent sent something that is no frame", LOG_STR("error", err.text));
            return false;
        }
        if (frame.command != NULL) {
            obey(supervisor, index, frame.command);
        }
    }
}

static void receive(struct supervisor *supervisor, size_t index)
{
    struct supervisor_link *link = &supervisor->links[index];
    ssize_t got = read(link->fd, buf_reserve(&link->in, READ_BYTES), READ_BYTES);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        close_link(supervisor, index);
        return;
    }
    link->in.size += (size_t)got;
    if (!take_frames(supervisor, index)) {
        close_link(supervisor, index);
    }
}

void supervisor_link_event(struct supervisor *supervisor, size_t index, uint32_t events)
{
    struct supervisor_link *link = &supervisor->links[index];
    if (link->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        receive(supervisor, index);
    }
    if (link->fd >= 0 && (events & EPOLLOUT) != 0) {
        send_out(supervisor, index);
    }
}

// Replaced by rename, without a sync: when the host goes down, so does the task.
static int write_state(const struct supervisor *supervisor, struct text bytes, struct err *err)
{
    AUTO(fd_close)
    int fd =
        openat(supervisor->dir_fd, STATE_NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s'", STATE_NEW_NAME);
    }
    int rc = fd_write_all(fd, bytes.data, bytes.size, err);
    if (rc != 0) {
        return rc;
    }
    if (renameat(supervisor->dir_fd, STATE_NEW_NAME, supervisor->dir_fd, SUPERVISOR_STATE_NAME) !=
        0) {
        return err_sys(err, errno, "renaming '%s'", STATE_NEW_NAME);
    }
    return 0;
}

int supervisor_links_publish(struct supervisor *supervisor, struct err *err)
{
    if (order_version(supervisor->order) == supervisor->version) {
        return 0;
    }
    struct supervisor_state state = *order_state(supervisor->order);
    AUTO(buf_deinit) struct buf record = {0};
    cbor_encode(&supervisor_state_shape, &state, STATE_VERSION, NULL, &record);
    int rc = write_state(supervisor, buf_view(&record), err);
    buf_reset(&supervisor->frame);
    frame_encode(&(struct supervisor_frame){.state = &state}, &supervisor->frame);
    supervisor->version = state.sequence;
    for (size_t i = 0; i < SUPERVISOR_LINK_MAX; i++) {
        // One that waits to write gets the newest when its turn comes.
        if (supervisor->links[i].fd >= 0 && !supervisor->links[i].waits_to_write) {
            send_out(supervisor, i);
        }
    }
    return rc;
}

void supervisor_links_close(struct supervisor *supervisor, int64_t timeout_ms)
{
    int64_t deadline_ms = supervisor_time().monotonic_ms + timeout_ms;
    for (size_t i = 0; i < SUPERVISOR_LINK_MAX; i++) {
        struct supervisor_link *link = &supervisor->links[i];
        while (link->fd >= 0 && (link->sent_bytes < link->out.size || link->told.size > 0)) {
            int64_t left_ms = deadline_ms - supervisor_time().monotonic_ms;
            struct pollfd poll_fd = {.fd = link->fd, .events = POLLOUT};
            if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) <= 0) {
                break;
            }
            send_out(supervisor, i);
        }
        close_link(supervisor, i);
    }
    fd_close(supervisor->listen_fd);
    supervisor->listen_fd = -1;
    IGNORE(unlinkat(supervisor->dir_fd, SOCKET_NAME, 0) != 0, "nobody can connect either way");
}
