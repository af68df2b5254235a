#include "agent/agent_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "task/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The streams of supervisors. A supervisor's death shows as the end of its stream; so does the end
 * of its task, but then its last state said so.
 */

#define READ_BYTES 16384
#define OUT_BYTES_MAX (64u << 10)     // commands; a supervisor that does not take these is stuck
#define COMMAND_BYTES_MAX (16u << 10) // paths, at most

static void on_closed(uv_handle_t *handle)
{
    struct link *link = CONTAINER_OF(handle, struct link, poll);
    link->agent->handle_count--;
    fd_close(link->fd);
    buf_deinit(&link->in);
    buf_deinit(&link->out);
    alloc_free(link);
}

static void close_link(struct link *link)
{
    if (link->closing) {
        return;
    }
    link->closing = true;
    map_remove(&link->agent->links, text_of(link->task_id));
    agent_exec_lost(link->agent, text_of(link->task_id));
    uv_close((uv_handle_t *)&link->poll, on_closed);
}

// Nobody closed it but the other side, or an error did.
static void lose_link(struct link *link)
{
    struct agent *agent = link->agent;
    struct agent_task_view view;
    bool known = agent_logic_task(agent->logic, text_of(link->task_id), &view);
    close_link(link);
    if (known && !view.ended) {
        agent_job_read_last(agent, text_of(link->task_id));
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct link *link)
{
    int events = UV_READABLE | (link->out.size > 0 ? UV_WRITABLE : 0);
    int rc = uv_poll_start(&link->poll, events, on_poll);
    ASSERT(rc == 0);
}

// @return false when the stream is broken
static bool write_out(struct link *link)
{
    while (link->out.size > 0) {
        ssize_t done = send(link->fd, link->out.data, link->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (done < 0) {
            return false;
        }
        buf_consume(&link->out, (size_t)done);
    }
    return true;
}

// Take all whole frames. @return false when the stream is broken or closed
static bool take_frames(struct link *link)
{
    struct agent *agent = link->agent;
    for (;;) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct supervisor_frame frame = {0};
        struct err err = {0};
        int got = frame_next(&link->in, &arena, &frame, &err);
        if (got < 0) {
            LOG(WARN, "a supervisor sent what cannot be read", LOG_STR("task", link->task_id),
                LOG_STR("reason", err.text));
            return false;
        }
        if (got == 0) {
            return true;
        }
        if (frame.exec_ended != NULL) {
            agent_exec_ended(agent, text_of(link->task_id), frame.exec_ended);
        }
        if (frame.state != NULL) {
            agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_STATE,
                                                     .task_id = text_of(link->task_id),
                                                     .state = frame.state});
        }
        if (link->closing) {
            return true; // the task ended with this state
        }
    }
}

// @return false when the stream is broken or at its end
static bool read_in(struct link *link)
{
    // Read here first: room of this size in each of hundreds of links would be most of what the
    // agent takes, for frames of a few dozen bytes.
    char bytes[READ_BYTES];
    for (;;) {
        ssize_t got = read(link->fd, bytes, sizeof(bytes));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (got <= 0) {
            return false;
        }
        buf_add(&link->in, bytes, (size_t)got);
        if (!take_frames(link)) {
            return false;
        }
        if (link->in.size == 0) {
            buf_deinit(&link->in);
        }
        if (link->closing || got < READ_BYTES) {
            return true;
        }
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = CONTAINER_OF(poll, struct link, poll);
    bool alive = true;
    // An error may come with the last frames still to be read, so reading finds out.
    if (status < 0 || (events & UV_READABLE) != 0) {
        alive = read_in(link);
    }
    if (link->closing) {
        return;
    }
    if (alive && (events & UV_WRITABLE) != 0) {
        alive = write_out(link);
    }
    if (!alive || status < 0) {
        lose_link(link);
        return;
    }
    watch(link);
}

void agent_link_open(struct agent *agent, struct text task_id, int fd)
{
    agent_link_close(agent, task_id);
    fd = fd_raise(fd);
    struct link *link = ALLOC(struct link);
    link->agent = agent;
    link->fd = fd;
    link->out.limit_bytes = OUT_BYTES_MAX;
    agent_copy_id(task_id, link->task_id);
    int rc = uv_poll_init(agent->options.loop, &link->poll, fd);
    if (rc != 0) {
        LOG(WARN, "a supervisor's stream cannot be watched", LOG_STR("task", link->task_id),
            LOG_STR("reason", uv_strerror(rc)));
        fd_close(fd);
        agent_job_read_last(agent, task_id);
        alloc_free(link);
        return;
    }
    agent->handle_count++;
    map_put(&agent->links, text_of(link->task_id), link);
    watch(link);
}

bool agent_link_send(struct agent *agent, struct text task_id,
                     const struct supervisor_command *command)
{
    struct link *link = map_get(&agent->links, task_id);
    if (link == NULL || link->out.size > OUT_BYTES_MAX - COMMAND_BYTES_MAX) {
        return false;
    }
    struct supervisor_command copy = *command;
    frame_encode(&(struct supervisor_frame){.command = &copy}, &link->out);
    // A broken stream shows when it is read.
    IGNORE(!write_out(link), "reading finds out");
    watch(link);
    return true;
}

void agent_link_command(struct agent *agent, struct text task_id, enum supervisor_command_kind kind)
{
    IGNORE(!agent_link_send(agent, task_id, &(struct supervisor_command){.kind = kind}),
           "without a connection its end is on its way to the logic");
}

void agent_link_close(struct agent *agent, struct text task_id)
{
    struct link *link = map_get(&agent->links, task_id);
    if (link != NULL) {
        close_link(link);
    }
}

void agent_link_close_all(struct agent *agent)
{
    for (;;) {
        size_t cursor = 0;
        struct link *link = map_next(&agent->links, &cursor, NULL);
        if (link == NULL) {
            return;
        }
        close_link(link);
    }
}
