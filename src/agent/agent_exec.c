#include "agent/agent_exec.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/*
 * ECS Exec: commands that people run in containers. The server asks for one; the node opens a data
 * channel for it, and once the client is there the supervisor runs the command on a terminal whose
 * other end comes here. Nothing of a session outlives this agent: the supervisor ends commands with
 * the connection that asked for them.
 */

#define CLIENT_WAIT_MS 60000 // for a client that never comes
#define PART_MAX_MS 75000    // for one that takes nothing more of the last; it may be away for 60 s
#define STATE_WAIT_MS 300    // for word of the container's end, which comes behind the command's
#define GOODBYE_MS 5000      // for the last frames to go out, and for the server to close
#define GOODBYE_STEP_MS 5    // until it is seen whether they have
#define TURN_LAST_MS 1000
#define KILLED (128 + SIGKILL)
#define MINUTE_MS 60000
#define INPUT_HIGH_BYTES (64u << 10) // a program that reads nothing gets no more than this
#define KEEP_BYTES ((size_t)4 << 20) // of input that a program does not read yet
#define KEEP_ALL_BYTES ((size_t)16 << 20)

int64_t agent_exec_now(void)
{
    return agent_now().monotonic_ms;
}

static void enter(struct exec *exec, enum exec_phase phase)
{
    exec->phase = phase;
    exec->phase_ms = agent_exec_now();
}

static struct exec *find(const struct agent *agent, struct text session_id)
{
    struct exec *exec = agent->execs;
    while (exec != NULL && (exec->phase == EXEC_OVER || !text_is(session_id, exec->session_id))) {
        exec = exec->next;
    }
    return exec;
}

static size_t count_sessions(const struct agent *agent, struct text task_id, struct text container)
{
    size_t count = 0;
    for (const struct exec *exec = agent->execs; exec != NULL; exec = exec->next) {
        // One that parts has no process any more.
        bool counts = exec->phase < EXEC_PARTING && !exec->refused;
        count +=
            counts && text_is(task_id, exec->task_id) && text_equal(container, exec->container);
    }
    return count;
}

// ---- its life -------------------------------------------------------------------------------

static void on_timer(uv_timer_t *timer)
{
    struct exec *exec = CONTAINER_OF(timer, struct exec, timer);
    if (exec->goodbye && exec->session != NULL) {
        websocket_finish(exec->session); // the session may be gone then, and this turned
    }
    if (!uv_is_closing((uv_handle_t *)timer)) {
        agent_exec_turn(exec);
    }
}

static void exec_free(struct exec *exec)
{
    struct exec **at = &exec->agent->execs;
    while (*at != exec) {
        at = &(*at)->next;
    }
    *at = exec->next;
    channel_free(exec->channel);
    buf_deinit(&exec->input);
    arena_deinit(&exec->arena);
    alloc_free(exec);
}

static void on_timer_closed(uv_handle_t *handle)
{
    exec_free(CONTAINER_OF((uv_timer_t *)handle, struct exec, timer));
}

static void end_process(struct exec *exec)
{
    if (exec->asked && !exec->ended) {
        struct supervisor_command command = {.kind = SUPERVISOR_COMMAND_KIND_END_EXEC,
                                             .exec_session = text_of(exec->session_id)};
        IGNORE(!agent_link_send(exec->agent, text_of(exec->task_id), &command),
               "without a connection it has ended");
        exec->ended = true;
    }
    agent_exec_terminal_close(exec);
}

// ---- its start ------------------------------------------------------------------------------

/** What a worker makes ready. */
struct exec_start {
    uint32_t number; ///< of the session, which may be over by then
    struct runtime_exec what;
    struct runtime_exec_ready ready;
};

static void start_failed(struct exec *exec, struct text why)
{
    exec->ended = true;
    exec->end.reason = arena_text(&exec->arena, why);
    enter(exec, EXEC_DRAINING);
}

static void run_start(struct job *job)
{
    struct runtime *runtime = job->agent->options.runtime;
    struct err err = {0};
    job->rc = runtime->ops->exec(runtime, &job->exec->what, &job->arena, &job->exec->ready, &err);
    job->reason = arena_text(&job->arena, text_of(err.text));
}

static void ask_supervisor(struct exec *exec, const struct runtime_exec_ready *ready)
{
    struct supervisor_exec request = {.session = text_of(exec->session_id),
                                      .container = exec->container,
                                      .process = ready->process,
                                      .console = ready->console};
    struct supervisor_command command = {.kind = SUPERVISOR_COMMAND_KIND_EXEC, .exec = &request};
    agent_exec_terminal_await(exec, ready->console_fd);
    exec->asked = agent_link_send(exec->agent, text_of(exec->task_id), &command);
    if (!exec->asked) {
        start_failed(exec, TEXT("the task's supervisor cannot be reached"));
    }
}

static void done_start(struct job *job)
{
    const struct exec_start *start = job->exec;
    struct exec *exec = job->agent->execs;
    while (exec != NULL && exec->number != start->number) {
        exec = exec->next;
    }
    bool wanted = exec != NULL && exec->phase == EXEC_STARTING;
    if (job->rc != 0 && wanted) {
        start_failed(exec, job->reason);
    } else if (job->rc == 0 && wanted) {
        ask_supervisor(exec, &start->ready);
    }
    if (job->rc == 0 && (!wanted || !exec->asked)) {
        // Nobody else takes these away.
        IGNORE(unlink(start->ready.process.data) != 0, "it goes with the task");
        IGNORE(unlink(start->ready.console.data) != 0, "it goes with the task");
        if (!wanted) {
            fd_close(start->ready.console_fd);
        }
    }
    if (wanted) {
        agent_exec_turn(exec);
    }
}

static void start(struct exec *exec)
{
    struct job *job = agent_job_new(exec->agent, text_of(exec->task_id), run_start, done_start);
    job->exec = ARENA_NEW(&job->arena, struct exec_start);
    struct text_list words = {.items =
                                  arena_array(&job->arena, exec->words.count, sizeof(struct text))};
    for (size_t i = 0; i < exec->words.count; i++) {
        words.items[words.count++] = arena_text(&job->arena, exec->words.items[i]);
    }
    job->exec->number = exec->number;
    job->exec->what = (struct runtime_exec){.task_id = text_of(job->task_id),
                                            .index = exec->index,
                                            .number = exec->number,
                                            .arguments = words};
    enter(exec, EXEC_STARTING);
    agent_job_submit(job);
}

// ---- its end --------------------------------------------------------------------------------

static void part(struct exec *exec, struct text farewell)
{
    end_process(exec);
    exec->farewell = farewell;
    enter(exec, EXEC_PARTING);
}

static void send_exit_code(struct exec *exec)
{
    if (exec->end.has_exit_code && channel_takes_exit_code(exec->channel)) {
        char digits[16];
        int size = snprintf(digits, sizeof(digits), "%d", (int)exec->end.exit_code);
        channel_send(exec->channel, agent_exec_wall(), MESSAGE_PAYLOAD_EXIT_CODE,
                     (struct text){digits, (size_t)size});
    }
}

// A command that was killed may have been so with its container.
static bool look_for_container(struct exec *exec)
{
    struct agent_task_view view;
    bool runs = agent_logic_task(exec->agent->logic, text_of(exec->task_id), &view) &&
                exec_container_runs(&view, exec->container);
    exec->end.container_ended = exec->end.container_ended || !runs;
    return exec->end.container_ended || agent_exec_now() - exec->phase_ms >= STATE_WAIT_MS;
}

static void say_farewell(struct exec *exec)
{
    bool killed = exec->end.has_exit_code && exec->end.exit_code == KILLED;
    if (text_empty(exec->farewell) && killed && !look_for_container(exec)) {
        return;
    }
    bool taken = exec->deserted || channel_idle(exec->channel) ||
                 agent_exec_wall() - channel_stale(exec->channel) > PART_MAX_MS;
    if (!exec->open || !taken) {
        return;
    }
    if (text_empty(exec->farewell)) {
        exec->farewell = exec_farewell(&exec->end, &exec->arena);
    }
    LOG(INFO, "a session of ECS Exec is over", LOG_STR("session", exec->session_id),
        LOG_STR("task", exec->task_id), LOG_TXT("said", exec->farewell));
    channel_close(exec->channel, agent_exec_wall(), exec->farewell);
    enter(exec, EXEC_LEAVING);
}

// The server closes when it has told the client. When the connection is lost before, the word that
// the channel is closed goes out again on the next one.
static void leave(struct exec *exec)
{
    if (exec->open && agent_exec_now() - exec->phase_ms > GOODBYE_MS) {
        exec->goodbye = true; // not here: this may be a handler of the websocket's
        enter(exec, EXEC_OVER);
    }
}

static void time_out(struct exec *exec)
{
    long long minutes = exec->idle_timeout_ms / MINUTE_MS;
    part(exec, minutes > 0 ? arena_format(&exec->arena,
                                          "Session timed out: %lld minutes without input and "
                                          "output.",
                                          minutes)
                           : TEXT("Session timed out: no input and no output."));
}

// ---- turning --------------------------------------------------------------------------------

static void turn_waiting(struct exec *exec)
{
    if (exec->ready && exec->refused) {
        part(exec, exec->farewell);
    } else if (exec->ready) {
        start(exec);
    } else if (agent_exec_now() - exec->phase_ms > CLIENT_WAIT_MS) {
        enter(exec, EXEC_OVER);
    }
}

static void turn_running(struct exec *exec)
{
    IGNORE(agent_exec_terminal_turn(exec), "there will be more");
    if (exec->ended) {
        exec->hung = false; // what came since is still to be read
        enter(exec, EXEC_DRAINING);
    } else if (agent_exec_now() - exec->active_ms >= exec->idle_timeout_ms) {
        time_out(exec);
    }
}

static void turn_draining(struct exec *exec)
{
    bool all = agent_exec_terminal_turn(exec) && channel_room(exec->channel) > 0;
    if (all) {
        send_exit_code(exec);
        part(exec, (struct text){0});
    } else if (agent_exec_now() - exec->active_ms >= exec->idle_timeout_ms) {
        time_out(exec);
    }
}

static void turn_phase(struct exec *exec)
{
    switch (exec->phase) {
    case EXEC_WAITING:
        turn_waiting(exec);
        break;
    case EXEC_STARTING:
        agent_exec_terminal_look(exec);
        if (exec->has_terminal || exec->ended) {
            exec->active_ms = agent_exec_now();
            enter(exec, EXEC_RUNNING);
            turn_running(exec);
        }
        break;
    case EXEC_RUNNING:
        turn_running(exec);
        break;
    case EXEC_DRAINING:
        turn_draining(exec);
        break;
    case EXEC_PARTING:
        say_farewell(exec);
        break;
    case EXEC_LEAVING:
        leave(exec);
        break;
    case EXEC_OVER:
        break;
    }
}

// @return whether it is still there
static bool turn_over(struct exec *exec)
{
    end_process(exec);
    if (exec->session != NULL) {
        if (agent_exec_now() - exec->phase_ms > GOODBYE_MS) {
            agent_exec_channel_drop(exec);
        }
        return true;
    }
    if (!uv_is_closing((uv_handle_t *)&exec->timer)) {
        uv_close((uv_handle_t *)&exec->timer, on_timer_closed);
    }
    return false;
}

static size_t count_all(const struct agent *agent)
{
    size_t count = 0;
    for (const struct exec *exec = agent->execs; exec != NULL; exec = exec->next) {
        count++;
    }
    return count;
}

// A program that reads little is sent no more than it can be; what was kept for it comes at once.
// Amazon's plugin sends on and on meanwhile, and what is not kept it sends again at 10 KiB/s: so
// much is kept for one, and little only when many have so much to say.
static void limit_input(struct exec *exec)
{
    size_t before = exec->input.size;
    channel_keep(exec->channel, MIN(KEEP_BYTES, KEEP_ALL_BYTES / count_all(exec->agent)));
    agent_exec_channel_allow(exec, INPUT_HIGH_BYTES - MIN(before, (size_t)INPUT_HIGH_BYTES));
    if (exec->input.size > before) {
        IGNORE(agent_exec_terminal_turn(exec), "the next turn looks");
    }
}

void agent_exec_turn(struct exec *exec)
{
    if (exec->terminate && exec->phase < EXEC_PARTING) {
        part(exec, TEXT(""));
    }
    enum exec_phase before = EXEC_OVER;
    while (exec->phase != before && exec->phase != EXEC_OVER) {
        before = exec->phase;
        turn_phase(exec);
    }
    limit_input(exec);
    int64_t now_ms = agent_exec_now();
    int64_t next_ms = now_ms + TURN_LAST_MS;
    if (exec->phase != EXEC_OVER) {
        next_ms = MIN(next_ms, agent_exec_channel_turn(exec));
    }
    if (exec->phase == EXEC_OVER && !turn_over(exec)) {
        return;
    }
    if (exec->goodbye) {
        next_ms = MIN(next_ms, now_ms + GOODBYE_STEP_MS);
    }
    if (exec->phase == EXEC_PARTING) {
        next_ms = MIN(next_ms, now_ms + STATE_WAIT_MS);
    }
    if (exec->input.size > 0 && exec->has_terminal) {
        next_ms = MIN(next_ms, now_ms + MAX(exec->input_wait_ms, (int64_t)1));
    }
    if (exec->hung) {
        next_ms = MIN(next_ms, MAX(exec->hung_ms, now_ms + 1));
    }
    uv_update_time(exec->agent->options.loop);
    uv_timer_start(&exec->timer, on_timer, (uint64_t)MAX(next_ms - now_ms, (int64_t)0), 0);
}

// ---- what comes from outside ----------------------------------------------------------------

static struct exec *make(struct agent *agent, const struct session_execute_command_message *message)
{
    struct exec *exec = ALLOC(struct exec);
    exec->agent = agent;
    exec->next = agent->execs;
    agent->execs = exec;
    do {
        clock_entropy(&exec->number, sizeof(exec->number));
    } while (exec->number == 0);
    exec->container = arena_text(&exec->arena, message->container_name);
    exec->token = arena_text(&exec->arena, message->token);
    exec->idle_timeout_ms = message->idle_timeout_ms;
    exec->active_ms = agent_exec_now();
    IGNORE(text_copy(message->session_id, exec->session_id, sizeof(exec->session_id)) != 0,
           "its length was checked");
    IGNORE(text_copy(agent_task_id(message->task_arn), exec->task_id, sizeof(exec->task_id)) != 0,
           "one that is too long is no task's");
    enter(exec, EXEC_WAITING);
    int rc = uv_timer_init(agent->options.loop, &exec->timer);
    ASSERT(rc == 0);
    agent_exec_channel_begin(exec);
    return exec;
}

static int admit(struct exec *exec, struct text command, size_t session_count, struct err *err)
{
    struct agent_task_view view;
    bool known = agent_logic_task(exec->agent->logic, text_of(exec->task_id), &view);
    int rc = exec_admit(known ? &view : NULL, exec->container, session_count, &exec->index, err);
    return rc == 0 ? exec_split(command, &exec->arena, &exec->words, err) : rc;
}

static void begin(struct agent *agent, const struct session_execute_command_message *message)
{
    struct err err = {0};
    size_t count = count_sessions(agent, agent_task_id(message->task_arn), message->container_name);
    struct exec *exec = make(agent, message);
    // The words point into what they were split from.
    struct text command = arena_text(&exec->arena, message->command);
    exec->refused = admit(exec, command, count, &err) != 0;
    if (exec->refused) {
        exec->farewell = arena_text(&exec->arena, text_of(err.text));
    }
    LOG(INFO, "running a command for ECS Exec", LOG_STR("session", exec->session_id),
        LOG_STR("task", exec->task_id), LOG_TXT("container", exec->container),
        LOG_STR("refused", err.text));
    agent_exec_turn(exec);
}

void agent_exec_take(struct agent *agent, const struct session_execute_command_message *message)
{
    if (agent->stopping || !exec_id_valid(message->session_id)) {
        LOG(WARN, "a command is not run", LOG_TXT("session", message->session_id));
        return;
    }
    const struct session_ack_request ack = {
        .message_id = message->message_id,
        .cluster = text_of(agent->server.cluster),
        .container_instance = text_of(agent->server.container_instance),
    };
    agent_frame_send_session(agent, "AckRequest", &session_ack_request_shape, &ack);
    // It may come twice, when the acknowledgement was lost.
    if (find(agent, message->session_id) == NULL) {
        begin(agent, message);
    }
}

void agent_exec_ended(struct agent *agent, struct text task_id,
                      const struct supervisor_exec_ended *ended)
{
    struct exec *exec = find(agent, ended->session);
    if (exec == NULL || exec->ended || !text_is(task_id, exec->task_id)) {
        return;
    }
    exec->ended = true;
    exec->end.has_exit_code = ended->has_exit_code;
    exec->end.exit_code = ended->exit_code;
    exec->end.reason = arena_text(&exec->arena, ended->reason);
    agent_exec_turn(exec);
}

void agent_exec_lost(struct agent *agent, struct text task_id)
{
    // A turn frees nothing at once: the list stays.
    for (struct exec *exec = agent->execs; exec != NULL; exec = exec->next) {
        if (exec->asked && !exec->ended && text_is(task_id, exec->task_id)) {
            exec->ended = true;
            exec->end.container_ended = true;
            agent_exec_turn(exec);
        }
    }
}

void agent_exec_end(struct agent *agent)
{
    for (struct exec *exec = agent->execs; exec != NULL; exec = exec->next) {
        exec->session = NULL; // it went with the others, and tells nobody
        exec->open = false;
        enter(exec, EXEC_OVER);
        agent_exec_turn(exec);
    }
}
