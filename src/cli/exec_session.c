#include "cli/exec_session.h"

#include "api/channel.h"
#include "api/ssm.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "channel/channel.h"
#include "cli/exec_terminal.h"
#include "cli/exec_words.h"
#include "client/websocket.h"
#include "shape/json.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES 4096
#define QUEUED_MAX (64u << 10) // of frames, before no more input is read
#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS 2000
#define LOST_MAX_MS 60000 // the server keeps a session as long for its client
#define OPEN_S 10
#define SILENT_S 15 // a server that answers no ping as long is gone, or its host is
#define SOCKET_MAX 64
#define TURN_MS 1000
#define FAREWELL_MS 2000 // for the last frames, and the other end's goodbye
#define FAREWELL_STEP_MS 5
#define INTERRUPT '\x03' // what Ctrl-C sends

enum input_kind { INPUT_POLLED, INPUT_FILE };

struct run {
    struct cli_context *context;
    uv_loop_t loop;
    struct websockets *sockets;
    struct websocket *socket; // NULL while there is none
    struct channel *channel;
    struct text session_id; // these borrow from the caller's session
    struct buf url;
    struct buf token;
    uv_timer_t timer;
    uv_signal_t signals[4];
    uv_poll_t poll;
    uv_idle_t idle;
    enum input_kind input_kind;
    bool input_is_terminal;
    bool output_is_terminal;
    bool reading;
    bool input_ended;
    bool sent_any;
    char last_byte;
    bool was_open;
    bool open;
    bool ready;
    bool said_lost;
    bool over;
    unsigned retries;
    int64_t lost_ms;  // since when there is no connection
    int64_t retry_ms; // when to try again
    int64_t over_ms;
    unsigned columns;
    unsigned rows;
    struct exec_plain plain;
    struct exec_session_end *end;
    struct err *err;
    int rc;
};

static void turn(struct run *run);

static int64_t now_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

// Nothing more comes of the session. What is queued still goes out.
static void end(struct run *run)
{
    if (run->over) {
        return;
    }
    run->over = true;
    run->over_ms = now_ms();
}

static void fail(struct run *run, int rc)
{
    if (!run->over) {
        run->rc = rc;
        end(run);
    }
}

// The connection does not come back. When the exit code is here there was nothing more to come.
static void fail_lost(struct run *run, int rc)
{
    if (run->end->has_exit_code) {
        end(run);
    } else {
        fail(run, rc);
    }
}

// ---- output -----------------------------------------------------------------------------------

// The terminal's description may be set not to block by whoever shares it.
static int write_out(int fd, struct text bytes, struct err *err)
{
    while (bytes.size > 0) {
        ssize_t wrote = write(fd, bytes.data, bytes.size);
        if (wrote > 0) {
            bytes = text_slice(bytes, (size_t)wrote, bytes.size);
        } else if (wrote < 0 && errno == EAGAIN) {
            usleep(1000);
        } else if (wrote < 0 && errno != EINTR) {
            return err_sys(err, errno, "writing the output");
        }
    }
    return 0;
}

static void show(struct run *run, int fd, struct text part)
{
    AUTO(buf_deinit) struct buf plain = {0};
    if (!run->output_is_terminal && fd == STDOUT_FILENO) {
        exec_plain_add(&run->plain, part, &plain);
        part = buf_view(&plain);
    }
    int rc = run->rc != 0 ? 0 : write_out(fd, part, run->err);
    if (rc != 0) {
        fail(run, rc);
    }
}

// ---- the channel ------------------------------------------------------------------------------

static void on_send(void *context, struct text frame)
{
    struct run *run = context;
    if (run->socket != NULL && run->open) {
        websocket_send_binary(run->socket, frame);
    }
}

static void on_data(void *context, uint32_t payload_type, struct text payload)
{
    struct run *run = context;
    int64_t code = 0;
    if (payload_type == MESSAGE_PAYLOAD_OUTPUT) {
        show(run, STDOUT_FILENO, payload);
    } else if (payload_type == MESSAGE_PAYLOAD_STDERR || payload_type == MESSAGE_PAYLOAD_ERROR) {
        show(run, STDERR_FILENO, payload);
    } else if (payload_type == MESSAGE_PAYLOAD_EXIT_CODE && text_to_i64(payload, &code) == 0) {
        run->end->has_exit_code = true;
        run->end->exit_code = (int)(code & 0xff);
    }
}

static void on_ready(void *context)
{
    struct run *run = context;
    run->ready = true;
}

static void on_channel_closed(void *context, struct text output)
{
    struct run *run = context;
    buf_reset(&run->end->sentence);
    buf_text(&run->end->sentence, text_trim(output));
    end(run);
}

static void on_random(void *context, void *bytes, size_t size)
{
    (void)context;
    clock_entropy(bytes, size);
}

static void send_size(struct run *run)
{
    unsigned columns = 0;
    unsigned rows = 0;
    AUTO(buf_deinit) struct buf json = {0};
    if (!run->ready || run->over || !exec_terminal_size(&columns, &rows) ||
        (columns == run->columns && rows == run->rows) || channel_room(run->channel) == 0 ||
        !exec_size_json(columns, rows, &json)) {
        return;
    }
    run->columns = columns;
    run->rows = rows;
    channel_send(run->channel, clock_wall_ms(), MESSAGE_PAYLOAD_SIZE, buf_view(&json));
}

// ---- input ------------------------------------------------------------------------------------

static void on_input(struct run *run)
{
    char bytes[INPUT_BYTES];
    ssize_t size = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (size <= 0) {
        run->input_ended = true;
        struct text mark = exec_input_end(run->sent_any, run->last_byte);
        channel_send(run->channel, clock_wall_ms(), MESSAGE_PAYLOAD_OUTPUT, mark);
        return;
    }
    // Nobody is there to be interrupted, so the person means us.
    if (!run->open && run->input_is_terminal && memchr(bytes, INTERRUPT, (size_t)size) != NULL) {
        run->end->signal_number = SIGINT;
        end(run);
        return;
    }
    run->sent_any = true;
    run->last_byte = bytes[size - 1];
    channel_send(run->channel, clock_wall_ms(), MESSAGE_PAYLOAD_OUTPUT,
                 (struct text){bytes, (size_t)size});
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct run *run = CONTAINER_OF(poll, struct run, poll);
    on_input(run);
    turn(run);
}

static void on_idle(uv_idle_t *idle)
{
    struct run *run = CONTAINER_OF(idle, struct run, idle);
    on_input(run);
    turn(run);
}

static bool wants_input(const struct run *run)
{
    size_t queued = run->socket == NULL ? 0 : websocket_queued(run->socket);
    return run->ready && !run->over && !run->input_ended && queued < QUEUED_MAX &&
           channel_room(run->channel) >= INPUT_BYTES;
}

static void steer_input(struct run *run)
{
    bool wanted = wants_input(run);
    if (wanted == run->reading) {
        return;
    }
    run->reading = wanted;
    if (run->input_kind == INPUT_POLLED) {
        IGNORE(wanted ? uv_poll_start(&run->poll, UV_READABLE | UV_DISCONNECT, on_poll)
                      : uv_poll_stop(&run->poll),
               "it is open");
    } else {
        IGNORE(wanted ? uv_idle_start(&run->idle, on_idle) : uv_idle_stop(&run->idle),
               "it is open");
    }
}

// Files and /dev/null cannot be polled, and need not be: they never make us wait.
static void open_input(struct run *run)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    run->input_is_terminal = isatty(STDIN_FILENO) != 0;
    if (flags < 0) {
        run->input_ended = true; // closed: there is nothing to send, not even its end
    }
    run->input_kind = flags >= 0 && uv_poll_init(&run->loop, &run->poll, STDIN_FILENO) == 0
                          ? INPUT_POLLED
                          : INPUT_FILE;
    if (flags >= 0) {
        // The description is shared with the shell, which would not expect it not to block.
        IGNORE(fcntl(STDIN_FILENO, F_SETFL, flags), "as it was");
    }
    IGNORE(uv_idle_init(&run->loop, &run->idle), "it cannot fail");
}

// ---- the connection ---------------------------------------------------------------------------

static void on_open(void *context, struct websocket *socket)
{
    struct run *run = context;
    const struct channel_open_data_channel_input hello = {
        .message_schema_version = TEXT("1.0"),
        .request_id = run->session_id,
        .token_value = buf_view(&run->token),
        .client_id = TEXT("berth"),
        .client_version = TEXT("1.2.0.0"),
    };
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&channel_open_data_channel_input_shape, &hello, &json);
    websocket_send_text(socket, buf_view(&json));
    run->open = true;
    run->was_open = true;
    run->retries = 0;
    run->said_lost = false;
    channel_open(run->channel, clock_wall_ms());
    turn(run);
}

static void on_frame(void *context, struct websocket *socket, struct text frame)
{
    struct run *run = context;
    struct err why;
    (void)socket;
    if (channel_receive(run->channel, clock_wall_ms(), frame, &why) != 0) {
        fail(run, err_set(run->err, ERR_CORRUPT, "the session is broken: %s", why.text));
    }
    turn(run);
}

static void on_closed(void *context, struct websocket *socket, struct text why, bool refused)
{
    struct run *run = context;
    (void)socket;
    (void)refused;
    bool first = run->open || !run->was_open;
    run->socket = NULL;
    run->open = false;
    if (!run->was_open) {
        fail(run, err_set(run->err, ERR_CLOSED, "the data channel at %s cannot be opened: %.*s",
                          run->url.data, TEXT_FMT(why)));
    } else if (first) {
        run->lost_ms = now_ms();
    }
    run->retry_ms =
        now_ms() + MIN((int64_t)RETRY_FIRST_MS << MIN(run->retries, 6u), (int64_t)RETRY_LAST_MS);
    run->retries++;
    turn(run);
}

static void dial(struct run *run)
{
    const struct websocket_handlers handlers = {
        .open = on_open, .binary = on_frame, .closed = on_closed, .context = run};
    run->socket = websocket_open(run->sockets, buf_view(&run->url), &handlers);
    if (run->socket == NULL) {
        fail(run,
             err_set(run->err, ERR_CORRUPT, "'%s' is no address of a data channel", run->url.data));
    }
}

// A new token; none means that the session is no more. @return whether to dial
static bool resume(struct run *run)
{
    const struct ssm_resume_session_request request = {.session_id = run->session_id};
    struct ssm_resume_session_response response = {0};
    struct err why;
    int rc =
        cli_call(run->context, &ssm_operations[SSM_OP_RESUME_SESSION], &request, &response, &why);
    if (rc == ERR_CLOSED || rc == ERR_TIMEOUT) {
        return false; // the server is away, and may come back
    }
    if (rc != 0) {
        fail(run, err_set(run->err, rc, "the session cannot be resumed: %s", why.text));
        return false;
    }
    if (text_empty(response.token_value)) {
        fail_lost(run,
                  err_set(run->err, ERR_CLOSED,
                          "the connection was lost and the session is over: the server ended it, "
                          "or started again"));
        return false;
    }
    buf_reset(&run->token);
    buf_text(&run->token, response.token_value);
    arena_reset(&run->context->arena);
    return true;
}

static void come_back(struct run *run)
{
    int64_t now = now_ms();
    if (!run->said_lost && run->output_is_terminal) {
        run->said_lost = true;
        fprintf(stderr, "\r\nberth: the connection was lost; trying to get it back (Ctrl-C "
                        "leaves)\r\n");
    }
    if (now - run->lost_ms > LOST_MAX_MS) {
        fail_lost(run, err_set(run->err, ERR_CLOSED,
                               "the connection was lost and did not come back within %d s",
                               LOST_MAX_MS / 1000));
    } else if (now >= run->retry_ms) {
        if (resume(run)) {
            dial(run);
        } else {
            run->retry_ms = now_ms() + RETRY_LAST_MS;
        }
    }
}

// ---- turns ------------------------------------------------------------------------------------

static bool is_done(const struct run *run)
{
    return run->over && (run->socket == NULL || now_ms() - run->over_ms > FAREWELL_MS);
}

static void on_timer(uv_timer_t *timer)
{
    struct run *run = CONTAINER_OF(timer, struct run, timer);
    if (run->over && run->socket != NULL) {
        websocket_finish(run->socket); // it may be gone then: on_closed tells
    } else if (!run->over && run->socket == NULL) {
        come_back(run);
    }
    turn(run);
}

// What is to be done after anything happened.
static void turn(struct run *run)
{
    if (is_done(run)) {
        uv_stop(&run->loop);
        return;
    }
    int64_t wall = clock_wall_ms();
    int64_t wait = TURN_MS;
    if (!run->over && run->open && run->socket != NULL) {
        if (websocket_queued(run->socket) == 0) {
            int64_t due = channel_tick(run->channel, wall); // what is queued need not be again
            wait = due < 0 ? TURN_MS : MIN(MAX(due - wall, (int64_t)1), (int64_t)TURN_MS);
        }
    } else if (!run->over && run->socket == NULL) {
        wait = MIN(MAX(run->retry_ms - now_ms(), (int64_t)1), (int64_t)TURN_MS);
    }
    send_size(run);
    steer_input(run);
    uv_timer_start(&run->timer, on_timer, (uint64_t)(run->over ? FAREWELL_STEP_MS : wait), 0);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct run *run = handle->data;
    if (signal_number == SIGWINCH) {
        send_size(run);
    } else {
        run->end->signal_number = signal_number;
        end(run);
    }
    turn(run);
}

static void open_signals(struct run *run)
{
    static const int numbers[] = {SIGWINCH, SIGTERM, SIGHUP, SIGINT};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        IGNORE(uv_signal_init(&run->loop, &run->signals[i]), "it cannot fail");
        run->signals[i].data = run;
        IGNORE(uv_signal_start(&run->signals[i], on_signal, numbers[i]), "it can be caught");
    }
}

// ---- the whole --------------------------------------------------------------------------------

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static void release(struct run *run)
{
    if (run->sockets != NULL) {
        websockets_close(run->sockets);
        while (!websockets_closed(run->sockets)) {
            uv_run(&run->loop, UV_RUN_ONCE);
        }
        websockets_free(run->sockets);
    }
    uv_walk(&run->loop, close_handle, NULL);
    uv_run(&run->loop, UV_RUN_DEFAULT);
    IGNORE(uv_loop_close(&run->loop), "nothing is open");
    channel_free(run->channel);
    buf_deinit(&run->url);
    buf_deinit(&run->token);
}

int exec_session_run(struct cli_context *context, const struct ecs_session *session,
                     struct exec_session_end *out_end, struct err *err)
{
    struct run run = {.context = context,
                      .session_id = session->session_id,
                      .output_is_terminal = isatty(STDOUT_FILENO) != 0,
                      .end = out_end,
                      .err = err};
    buf_text(&run.url, session->stream_url);
    buf_text(&run.token, session->token_value);
    const struct channel_handlers handlers = {.send = on_send,
                                              .data = on_data,
                                              .ready = on_ready,
                                              .closed = on_channel_closed,
                                              .random = on_random,
                                              .context = &run};
    run.channel = channel_new(CHANNEL_CLIENT, session->session_id, &handlers);
    int rc = uv_loop_init(&run.loop);
    ASSERT(rc == 0);
    const struct websockets_options options = {.loop = &run.loop,
                                               .tls = true,
                                               .ca_file = context->config.ca_file.data,
                                               .open_s = OPEN_S,
                                               .silent_s = SILENT_S,
                                               .frame_max = LIMIT_FRAME_BYTES,
                                               .socket_max = SOCKET_MAX,
                                               .quiet = true};
    rc = websockets_new(&options, &run.sockets, err);
    if (rc == 0) {
        rc = exec_terminal_raw(err);
    }
    if (rc == 0) {
        IGNORE(uv_timer_init(&run.loop, &run.timer), "it cannot fail");
        open_signals(&run);
        open_input(&run);
        dial(&run);
        turn(&run);
        while (!is_done(&run)) {
            uv_run(&run.loop, UV_RUN_DEFAULT);
        }
        rc = run.rc;
    }
    AUTO(buf_deinit) struct buf rest = {0};
    exec_plain_end(&run.plain, &rest);
    IGNORE(write_out(STDOUT_FILENO, buf_view(&rest), &(struct err){0}), "the last byte");
    exec_terminal_restore();
    release(&run);
    return rc;
}
