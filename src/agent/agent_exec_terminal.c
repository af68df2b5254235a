#include "agent/agent_exec.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The terminal of a session: bytes between it and the channel, no more in either direction than the
 * other side takes.
 */

#define READ_BYTES 4096               // a terminal gives no more at once
#define TURN_BYTES (128u << 10)       // read in one turn, so that a flood starves nobody
#define QUEUE_HIGH_BYTES (512u << 10) // of frames that the server does not take
#define INPUT_WAIT_FIRST_MS 5
#define INPUT_WAIT_LAST_MS 500
#define HUNG_MS 200 // until a terminal that nobody held is looked at again

// ---- watching -------------------------------------------------------------------------------

static void on_closed(uv_handle_t *handle)
{
    struct exec_watch *watch = CONTAINER_OF((uv_poll_t *)handle, struct exec_watch, poll);
    watch->agent->handle_count--;
    fd_close(watch->fd);
    alloc_free(watch);
}

static void watch_close(struct exec_watch *watch)
{
    if (watch != NULL) {
        watch->exec = NULL;
        uv_close((uv_handle_t *)&watch->poll, on_closed);
    }
}

// @return the watch, which has taken the descriptor over; or NULL
static struct exec_watch *watch_open(struct exec *exec, int fd)
{
    struct exec_watch *watch = ALLOC(struct exec_watch);
    watch->exec = exec;
    watch->agent = exec->agent;
    watch->fd = fd;
    int rc = uv_poll_init(exec->agent->options.loop, &watch->poll, fd);
    if (rc != 0) {
        LOG(WARN, "a session's descriptor cannot be watched", LOG_STR("session", exec->session_id),
            LOG_STR("reason", uv_strerror(rc)));
        fd_close(fd);
        alloc_free(watch);
        return NULL;
    }
    exec->agent->handle_count++;
    return watch;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct exec_watch *watch = CONTAINER_OF(poll, struct exec_watch, poll);
    (void)status;
    (void)events; // what is tried shows what is possible
    if (watch->exec != NULL) {
        agent_exec_turn(watch->exec);
    }
}

static void watch_for(struct exec_watch *watch, int events)
{
    if (watch == NULL || watch->events == events) {
        return;
    }
    watch->events = events;
    int rc =
        events == 0 ? uv_poll_stop(&watch->poll) : uv_poll_start(&watch->poll, events, on_poll);
    ASSERT(rc == 0);
}

// ---- the terminal's arrival -------------------------------------------------------------------

void agent_exec_terminal_await(struct exec *exec, int console_fd)
{
    exec->watch = watch_open(exec, console_fd);
    watch_for(exec->watch, UV_READABLE);
}

static void apply_size(const struct exec *exec)
{
    const struct winsize size = {.ws_col = (unsigned short)exec->size.cols,
                                 .ws_row = (unsigned short)exec->size.rows};
    IGNORE(ioctl(exec->watch->fd, TIOCSWINSZ, &size) != 0, "nobody holds its other end");
}

// A connection on the listening socket takes its place; then the message with the terminal does.
static void advance(struct exec *exec, int fd)
{
    watch_close(exec->watch);
    exec->watch = watch_open(exec, fd);
}

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value != 0;
}

void agent_exec_terminal_look(struct exec *exec)
{
    if (exec->has_terminal || exec->watch == NULL) {
        return;
    }
    if (is_listening(exec->watch->fd)) {
        int fd = accept4(exec->watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        advance(exec, fd);
    }
    int fd = exec->watch == NULL ? -1 : fd_receive(exec->watch->fd);
    if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0) {
        advance(exec, fd);
        exec->has_terminal = exec->watch != NULL;
        if (exec->has_terminal && exec->has_size) {
            apply_size(exec);
        }
    } else if (exec->watch != NULL && errno != EAGAIN) {
        // The runtime failed; its end tells why.
        fd_close(fd);
        watch_for(exec->watch, 0);
    } else {
        watch_for(exec->watch, UV_READABLE);
    }
}

void agent_exec_terminal_close(struct exec *exec)
{
    watch_close(exec->watch);
    exec->watch = NULL;
    exec->has_terminal = false;
    buf_deinit(&exec->input);
}

void agent_exec_terminal_resize(struct exec *exec, const struct channel_size *size)
{
    if (size->cols < 1 || size->cols > UINT16_MAX || size->rows < 1 || size->rows > UINT16_MAX) {
        return; // no terminal is like that
    }
    exec->has_size = true;
    exec->size = *size;
    if (exec->has_terminal) {
        apply_size(exec);
    }
}

// ---- bytes ------------------------------------------------------------------------------------

void agent_exec_terminal_input(struct exec *exec, struct text bytes)
{
    exec->active_ms = agent_exec_now();
    if (exec->phase <= EXEC_RUNNING) {
        buf_text(&exec->input, bytes);
    }
}

// The kernel tells of room when the reader has emptied the terminal's small buffer, but not when
// the larger one in front of it has been moved on from: without looking again input could stay
// where it is.
static void write_input(struct exec *exec)
{
    size_t before = exec->input.size;
    while (exec->has_terminal && exec->input.size > 0) {
        ssize_t done = write(exec->watch->fd, exec->input.data, exec->input.size);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            break;
        }
        buf_consume(&exec->input, (size_t)done);
    }
    exec->input_wait_ms = exec->input.size < before || before == 0
                              ? INPUT_WAIT_FIRST_MS
                              : MIN(exec->input_wait_ms * 2, (int64_t)INPUT_WAIT_LAST_MS);
}

static bool has_room(const struct exec *exec)
{
    return exec->open && channel_room(exec->channel) > 0 &&
           websocket_queued(exec->session) < QUEUE_HIGH_BYTES;
}

// @return whether all that there is was read
static bool read_output(struct exec *exec)
{
    char bytes[READ_BYTES];
    for (size_t total = 0; total < TURN_BYTES && has_room(exec);) {
        size_t most = MIN(channel_room(exec->channel), sizeof(bytes));
        ssize_t got = read(exec->watch->fd, bytes, most);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            // Without anybody at the other end it is at its end, until somebody opens it again.
            exec->hung = got == 0 || errno != EAGAIN;
            exec->hung_ms = agent_exec_now() + HUNG_MS;
            return true;
        }
        total += (size_t)got;
        exec->active_ms = agent_exec_now();
        channel_send(exec->channel, agent_exec_wall(), MESSAGE_PAYLOAD_OUTPUT,
                     (struct text){bytes, (size_t)got});
    }
    return false;
}

bool agent_exec_terminal_turn(struct exec *exec)
{
    if (!exec->has_terminal) {
        return true;
    }
    write_input(exec);
    bool hung = exec->hung && agent_exec_now() < exec->hung_ms;
    bool all = hung || read_output(exec);
    int events = (!exec->hung && has_room(exec) ? UV_READABLE : 0) |
                 (exec->input.size > 0 && !exec->hung ? UV_WRITABLE : 0);
    watch_for(exec->watch, events);
    return all;
}
