#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "server/server_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/*
 * The scale command: what makes and ends the hosts of an Auto Scaling group. docs/capacity.md tells
 * what it is given.
 *
 * The engine asks again every period while it has no answer, so a call that is dropped is made
 * good; of a group one runs at a time. It runs in a session of its own, so that its time limit ends
 * all of it that is still there; what it leaves behind on purpose calls setsid itself.
 */

#define RUNNING_MAX 16   // groups at a time
#define KILL_MS 5000     // between SIGTERM and SIGKILL
#define OUTPUT_TAIL 2048 // looked at for the last line
#define LINE_MAX_BYTES 200
#define EXTRA_MAX 16 // variables beside those of the server

extern char **environ;

struct scale_run {
    struct server *server;
    struct scale_run *next;
    uv_process_t process;
    uv_timer_t timer;
    int64_t scaling;
    struct text action_id;
    struct text group; // with account and region: one at a time
    struct text output_path;
    bool late; // its time was over
    bool told; // the engine knows how it ended
    int open;  // handles that are not closed yet
    struct arena texts;
};

// ---- its end ------------------------------------------------------------------------------

static void report(struct server *server, int64_t scaling, struct text action_id,
                   struct text failure, struct arena *arena)
{
    const struct scaling_report_scaling_request request = {
        .has_scaling = true, .scaling = scaling, .action_id = action_id, .failure = failure};
    const struct core_caller caller = {.account = TEXT("000000000000"),
                                       .region = text_of(server->options.region),
                                       .arn = TEXT("berth")};
    struct core_call call = {.arena = arena};
    struct scaling_empty response = {0};
    int rc =
        host_request(server->options.host, &caller, &scaling_operations[SCALING_OP_REPORT_SCALING],
                     &call, &request, &response);
    if (rc != 0) {
        LOG(WARN, "the engine did not take how the scale command ended and will ask again",
            LOG_STR("reason", err_name(rc)));
    }
}

static void on_close(uv_handle_t *handle)
{
    struct scale_run *run = handle->data;
    run->open--;
    if (run->open > 0) {
        return;
    }
    struct scale_run **at = &run->server->scale_runs;
    while (*at != run) {
        at = &(*at)->next;
    }
    *at = run->next;
    run->server->scale_count--;
    arena_deinit(&run->texts);
    alloc_free(run);
}

static void close_run(struct scale_run *run)
{
    uv_close((uv_handle_t *)&run->process, on_close);
    uv_close((uv_handle_t *)&run->timer, on_close);
}

// The last line of what it wrote, in printable characters; absent when there is none.
static struct text last_line(struct scale_run *run)
{
    int fd = open(run->output_path.data, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return (struct text){0};
    }
    char bytes[OUTPUT_TAIL];
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > OUTPUT_TAIL ? end - OUTPUT_TAIL : 0;
    ssize_t size = pread(fd, bytes, sizeof(bytes), from);
    close(fd);
    struct text text = {bytes, size > 0 ? (size_t)size : 0};
    while (text.size > 0 && (unsigned char)text.data[text.size - 1] <= ' ') {
        text.size--;
    }
    size_t line = text.size;
    while (line > 0 && text.data[line - 1] != '\n') {
        line--;
    }
    text = text_slice(text, MAX(line, text.size > LINE_MAX_BYTES ? text.size - LINE_MAX_BYTES : 0),
                      text.size);
    char *copy = arena_array(&run->texts, text.size + 1, 1);
    for (size_t i = 0; i < text.size; i++) {
        bool plain = text.data[i] >= ' ' && text.data[i] <= '~';
        copy[i] = plain ? text.data[i] : '?';
    }
    return (struct text){text.size == 0 ? NULL : copy, text.size};
}

static struct text failure_of(struct scale_run *run, int64_t status, int signal_number)
{
    if (status == 0 && signal_number == 0) {
        return (struct text){0};
    }
    struct text line = last_line(run);
    struct text how =
        run->late ? arena_format(&run->texts, "it was ended after %u s (--scale-timeout)",
                                 run->server->options.scale_timeout_ms / 1000)
        : signal_number != 0 ? arena_format(&run->texts, "signal %d ended it", signal_number)
                             : arena_format(&run->texts, "exit code %d", (int)status);
    return line.size == 0 ? how
                          : arena_format(&run->texts, "%.*s: %.*s", TEXT_FMT(how), TEXT_FMT(line));
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal_number)
{
    struct scale_run *run = process->data;
    struct text failure = failure_of(run, status, signal_number);
    if (text_empty(failure)) {
        LOG(INFO, "the scale command ended well", LOG_TXT("group", run->group));
    } else {
        LOG(WARN, "the scale command failed and will be run again", LOG_TXT("group", run->group),
            LOG_TXT("failure", failure), LOG_TXT("output", run->output_path));
    }
    if (!run->server->stopping) {
        report(run->server, run->scaling, run->action_id, failure, &run->texts);
    }
    close_run(run);
}

static void on_late(uv_timer_t *timer)
{
    struct scale_run *run = timer->data;
    // It leads a session, and so a group of processes, of its own.
    kill(-run->process.pid, run->late ? SIGKILL : SIGTERM);
    run->late = true;
    uv_timer_start(timer, on_late, KILL_MS, 0);
}

// ---- its beginning ------------------------------------------------------------------------

struct variables {
    char **items;
    size_t count;
    struct arena *arena;
};

static void set(struct variables *variables, const char *name, struct text value)
{
    struct text text = arena_format(variables->arena, "%s=%.*s", name, TEXT_FMT(value));
    variables->items[variables->count] = (char *)(uintptr_t)text.data;
    variables->count++;
}

static void set_number(struct variables *variables, const char *name, int64_t number)
{
    set(variables, name, arena_format(variables->arena, "%lld", (long long)number));
}

enum host_name { HOST_NAME, HOST_NODE, HOST_EC2, HOST_INSTANCE };

// Names with spaces between them. What else a host calls itself must not split or hide in a script.
static struct text join(struct arena *arena, const struct scaling_call *call, enum host_name which)
{
    AUTO(buf_deinit) struct buf names = {0};
    for (size_t i = 0; i < call->instances.count; i++) {
        const struct scaling_host *host = &call->instances.items[i];
        struct text name = which == HOST_NAME   ? host->name
                           : which == HOST_NODE ? host->node_id
                           : which == HOST_EC2  ? host->ec2_instance_id
                                                : host->container_instance_arn;
        buf_string(&names, i == 0 ? "" : " ");
        for (size_t j = 0; j < name.size; j++) {
            char c = name.data[j];
            bool plain = text_plain(c) || text_find(TEXT(".-_:/"), c) != SIZE_MAX;
            buf_byte(&names, plain ? c : '_');
        }
    }
    return arena_text(arena, buf_view(&names));
}

static char **make_environment(struct scale_run *run, const struct scaling_call *call)
{
    size_t count = 0;
    while (environ[count] != NULL) {
        count++;
    }
    struct variables variables = {
        .items = arena_array(&run->texts, count + EXTRA_MAX + 1, sizeof(char *)),
        .arena = &run->texts,
    };
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "BERTH_SCALE_", strlen("BERTH_SCALE_")) != 0) {
            variables.items[variables.count] = environ[i];
            variables.count++;
        }
    }
    set(&variables, "BERTH_SCALE_ACTION",
        call->direction == SCALING_DIRECTION_OUT ? TEXT("out") : TEXT("in"));
    set(&variables, "BERTH_SCALE_GROUP", call->group);
    set(&variables, "BERTH_SCALE_PROVIDER", call->provider);
    set(&variables, "BERTH_SCALE_CLUSTER", call->cluster);
    set(&variables, "BERTH_SCALE_REGION", call->region);
    set(&variables, "BERTH_SCALE_ACCOUNT", call->account);
    set_number(&variables, "BERTH_SCALE_CURRENT", call->current);
    set_number(&variables, "BERTH_SCALE_DESIRED", call->desired);
    set(&variables, "BERTH_SCALE_REASON", call->reason);
    set(&variables, "BERTH_SCALE_ID", call->action_id);
    set(&variables, "BERTH_SCALE_HOSTS", join(&run->texts, call, HOST_NAME));
    set(&variables, "BERTH_SCALE_NODES", join(&run->texts, call, HOST_NODE));
    set(&variables, "BERTH_SCALE_EC2_INSTANCES", join(&run->texts, call, HOST_EC2));
    set(&variables, "BERTH_SCALE_INSTANCES", join(&run->texts, call, HOST_INSTANCE));
    set(&variables, "BERTH_SCALE_DATA", text_of(run->server->options.data_dir));
    ASSERT(variables.count <= count + EXTRA_MAX);
    return variables.items;
}

static char *argument(struct arena *arena, struct text text)
{
    return (char *)(uintptr_t)arena_text(arena, text).data;
}

// @return 0, or a code of libuv
static int spawn(struct scale_run *run, const struct scaling_call *call, int output_fd)
{
    const struct server_options *options = &run->server->options;
    struct arena *arena = &run->texts;
    char *arguments[] = {
        argument(arena, text_of(options->scale_command)),
        argument(arena, call->direction == SCALING_DIRECTION_OUT ? TEXT("out") : TEXT("in")),
        argument(arena, call->group),
        argument(arena, arena_format(arena, "%lld", (long long)call->current)),
        argument(arena, arena_format(arena, "%lld", (long long)call->desired)),
        argument(arena, call->reason),
        NULL,
    };
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data = {.fd = output_fd}},
        {.flags = UV_INHERIT_FD, .data = {.fd = output_fd}},
    };
    const uv_process_options_t process = {
        .file = arguments[0],
        .args = arguments,
        .env = make_environment(run, call),
        .exit_cb = on_exit_of,
        .flags = UV_PROCESS_DETACHED,
        .stdio = stdio,
        .stdio_count = ARRAY_LEN(stdio),
    };
    return uv_spawn(options->loop, &run->process, &process);
}

static struct scale_run *new_run(struct server *server, const struct scaling_call *call,
                                 struct text group)
{
    struct scale_run *run = ALLOC(struct scale_run);
    run->server = server;
    run->scaling = call->scaling;
    run->action_id = arena_text(&run->texts, call->action_id);
    run->group = arena_text(&run->texts, group);
    run->output_path = arena_format(&run->texts, "%s/%lld.log", server->options.scale_dir,
                                    (long long)call->scaling);
    run->process.data = run;
    run->timer.data = run;
    run->next = server->scale_runs;
    server->scale_runs = run;
    server->scale_count++;
    return run;
}

static void start(struct server *server, const struct scaling_call *call, struct text group)
{
    struct scale_run *run = new_run(server, call, group);
    LOG(INFO, "running the scale command", LOG_TXT("group", group),
        LOG_STR("action", call->direction == SCALING_DIRECTION_OUT ? "out" : "in"),
        LOG_I64("current", call->current), LOG_I64("desired", call->desired),
        LOG_TXT("reason", call->reason));
    int output_fd =
        open(run->output_path.data, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (output_fd < 0) {
        output_fd = open("/dev/null", O_WRONLY | O_CLOEXEC); // a full disk must not stop scaling
    }
    int rc = uv_timer_init(server->options.loop, &run->timer);
    ASSERT(rc == 0);
    run->open = 2;
    rc = spawn(run, call, output_fd);
    fd_close(output_fd);
    if (rc == 0) {
        uv_timer_start(&run->timer, on_late, server->options.scale_timeout_ms, 0);
        return;
    }
    struct text failure = arena_format(&run->texts, "it cannot be run: %s", uv_strerror(rc));
    LOG(WARN, "the scale command cannot be run", LOG_TXT("group", group),
        LOG_STR("command", server->options.scale_command), LOG_STR("reason", uv_strerror(rc)));
    report(server, run->scaling, run->action_id, failure, &run->texts);
    close_run(run);
}

void server_scale(struct server *server, const struct scaling_call *call)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text group = arena_format(&arena, "%.*s/%.*s/%.*s", TEXT_FMT(call->account),
                                     TEXT_FMT(call->region), TEXT_FMT(call->group));
    for (const struct scale_run *run = server->scale_runs; run != NULL; run = run->next) {
        if (text_equal(run->group, group)) {
            return;
        }
    }
    if (!server->stopping && server->options.scale_command != NULL &&
        server->scale_count < RUNNING_MAX) {
        start(server, call, group);
    }
}

void server_scale_stop(struct server *server)
{
    // The engine asks the next server for what is cut off here.
    for (const struct scale_run *run = server->scale_runs; run != NULL; run = run->next) {
        if (uv_is_active((const uv_handle_t *)&run->process)) {
            kill(-run->process.pid, SIGTERM);
        }
    }
    uint64_t end_ns = uv_hrtime() + (uint64_t)KILL_MS * 1000000;
    while (server->scale_runs != NULL) {
        if (uv_hrtime() >= end_ns) {
            for (const struct scale_run *run = server->scale_runs; run != NULL; run = run->next) {
                if (uv_is_active((const uv_handle_t *)&run->process)) {
                    kill(-run->process.pid, SIGKILL);
                }
            }
        }
        uv_run(server->options.loop, UV_RUN_ONCE);
    }
}
