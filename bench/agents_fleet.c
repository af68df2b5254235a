#include "agents_fleet.h"

#include "agent/agent.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime/fake.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_CHARS 256

/** One host. */
struct host {
    struct crew *crew;
    struct agent *agent;
    struct runtime *runtime;
    char *data_dir;
    uv_poll_t moved; ///< a task was launched, or sent a command
    uv_timer_t wake;
};

/** What the forked process is. */
struct crew {
    const struct fleet_options *options;
    uv_loop_t loop;
    uv_poll_t asked;
    struct host *hosts;
    size_t ready_count;
    FILE *ask;
    FILE *answer;
};

static void stop_on(int rc, const struct err *err)
{
    if (rc != 0) {
        fprintf(stderr, "bench_agents: %s\n", err->text);
        _exit(1);
    }
}

// ---- in the process: containers -------------------------------------------------------------

static void advance(struct host *host);

static void on_wake(uv_timer_t *timer)
{
    advance(CONTAINER_OF(timer, struct host, wake));
}

static void on_moved(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    advance(CONTAINER_OF(poll, struct host, moved));
}

static void advance(struct host *host)
{
    int64_t now_ms = clock_wall_ms();
    int64_t next_ms = runtime_fake_advance(host->runtime, now_ms);
    if (next_ms == INT64_MAX) {
        uv_timer_stop(&host->wake);
        return;
    }
    uv_timer_start(&host->wake, on_wake, (uint64_t)MAX(next_ms - now_ms, INT64_C(1)), 0);
}

// ---- in the process: agents -----------------------------------------------------------------

static void on_ready(void *context)
{
    const struct host *host = context;
    struct crew *crew = host->crew;
    crew->ready_count++;
    if (crew->ready_count == crew->options->count) {
        fprintf(crew->answer, "ready\n");
        fflush(crew->answer);
    }
}

static void on_refused(void *context, const struct err *err)
{
    (void)context;
    stop_on(err->code, err);
}

static void start_host(struct crew *crew, size_t index)
{
    struct host *host = &crew->hosts[index];
    const struct fleet_options *options = crew->options;
    AUTO(arena_deinit) struct arena arena = {0};
    struct agent_identity identity = {0};
    struct err err = {0};
    *host = (struct host){.crew = crew, .runtime = runtime_fake_new()};
    host->data_dir = alloc_format("%s/host-%zu", options->folder, options->first + index);
    stop_on(file_make_dirs(host->data_dir, 0700, &err), &err);
    AUTO(alloc_string) char *name = alloc_format("host-%zu", options->first + index);
    stop_on(agent_join(host->data_dir, options->token, name, &arena, &identity, &err), &err);
    uv_timer_init(&crew->loop, &host->wake);
    uv_poll_init(&crew->loop, &host->moved, runtime_fake_fd(host->runtime));
    uv_poll_start(&host->moved, UV_READABLE, on_moved);
    const struct agent_options agent = {
        .loop = &crew->loop,
        .identity = &identity,
        .zone = "us-east-1a,us-east-1b,us-east-1c",
        .version = "bench",
        .data_dir = host->data_dir,
        .runtime = host->runtime,
        .cpu_units = options->cpu_units,
        .memory_mib = options->memory_mib,
        .on_ready = on_ready,
        .on_refused = on_refused,
        .context = host,
    };
    stop_on(agent_start(&agent, &host->agent, &err), &err);
}

static void stop_host(struct host *host)
{
    agent_free(host->agent);
    uv_close((uv_handle_t *)&host->moved, NULL);
    uv_close((uv_handle_t *)&host->wake, NULL);
}

// ---- in the process: answers ----------------------------------------------------------------

// How much of a journal is records: behind them it is filled with zeros.
static uint64_t journal_bytes(const struct host *host)
{
    AUTO(alloc_string) char *path = alloc_format("%s/journal/journal", host->data_dir);
    AUTO(buf_deinit) struct buf content = {0};
    struct err err = {0};
    stop_on(file_read(AT_FDCWD, path, (size_t)1 << 30, &content, &err), &err);
    size_t size = content.size;
    while (size > 0 && content.data[size - 1] == 0) {
        size--;
    }
    return size;
}

static void tell_tasks(struct crew *crew, struct host *host)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct runtime_found *found = NULL;
    size_t count = 0;
    struct err err = {0};
    stop_on(host->runtime->ops->list(host->runtime, &arena, &found, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        if (found[i].supervisor_alive) {
            fprintf(crew->answer, "task %.*s\n", TEXT_FMT(found[i].id));
        }
    }
}

static void tell_all(struct crew *crew)
{
    for (size_t i = 0; i < crew->options->count; i++) {
        struct host *host = &crew->hosts[i];
        struct agent_stats stats;
        agent_stats(host->agent, &stats);
        tell_tasks(crew, host);
        fprintf(crew->answer, "host %llu %llu %llu %llu\n", (unsigned long long)stats.report_count,
                (unsigned long long)stats.journal_write_count,
                (unsigned long long)stats.journal_record_count,
                (unsigned long long)journal_bytes(host));
    }
    fprintf(crew->answer, "end\n");
    fflush(crew->answer);
}

static void on_asked(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct crew *crew = CONTAINER_OF(poll, struct crew, asked);
    char line[LINE_CHARS];
    if (status < 0 || fgets(line, sizeof(line), crew->ask) == NULL || strcmp(line, "end\n") == 0) {
        uv_poll_stop(poll);
        uv_stop(&crew->loop);
        return;
    }
    tell_all(crew);
}

static _Noreturn void run(const struct fleet_options *options, FILE *ask, FILE *answer)
{
    struct crew crew = {.options = options, .ask = ask, .answer = answer};
    // As the programs do; each agent keeps two of them free.
    setenv("UV_THREADPOOL_SIZE", "16", 0);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    if (uv_loop_init(&crew.loop) != 0) {
        _exit(1);
    }
    crew.hosts = alloc_array(options->count, sizeof(*crew.hosts));
    for (size_t i = 0; i < options->count; i++) {
        start_host(&crew, i);
    }
    uv_poll_init(&crew.loop, &crew.asked, fileno(ask));
    uv_poll_start(&crew.asked, UV_READABLE, on_asked);
    uv_run(&crew.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < options->count; i++) {
        stop_host(&crew.hosts[i]);
    }
    uv_close((uv_handle_t *)&crew.asked, NULL);
    uv_run(&crew.loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&crew.loop);
    for (size_t i = 0; i < options->count; i++) {
        runtime_close(crew.hosts[i].runtime);
        alloc_free(crew.hosts[i].data_dir);
    }
    alloc_free(crew.hosts);
    _exit(rc == 0 ? 0 : 1);
}

// ---- in the parent --------------------------------------------------------------------------

void fleet_start(const struct fleet_options *options, struct fleet *out_fleet)
{
    int down[2];
    int up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) {
        perror("bench_agents: pipe");
        exit(1);
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("bench_agents: fork");
        exit(1);
    }
    if (pid == 0) {
        // Nothing of it stays when the parent is killed.
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(down[1]);
        close(up[0]);
        run(options, fdopen(down[0], "r"), fdopen(up[1], "w"));
    }
    close(down[0]);
    close(up[1]);
    *out_fleet =
        (struct fleet){.pid = pid, .ask = fdopen(down[1], "w"), .answer = fdopen(up[0], "r")};
}

bool fleet_wait_ready(struct fleet *fleet)
{
    char line[LINE_CHARS];
    return fgets(line, sizeof(line), fleet->answer) != NULL && strcmp(line, "ready\n") == 0;
}

static void take_line(struct fleet_report *report, const char *line)
{
    char id[LINE_CHARS];
    unsigned long long numbers[4];
    if (sscanf(line, "task %255s", id) == 1) {
        report->twice += map_put(&report->tasks, text_of(id), report) != NULL ? 1 : 0;
    } else if (sscanf(line, "host %llu %llu %llu %llu", &numbers[0], &numbers[1], &numbers[2],
                      &numbers[3]) == 4) {
        report->reports += numbers[0];
        report->journal_writes += numbers[1];
        report->journal_records += numbers[2];
        report->journal_bytes += numbers[3];
    }
}

bool fleet_ask(struct fleet *fleet, struct fleet_report *report)
{
    char line[LINE_CHARS];
    fprintf(fleet->ask, "tell\n");
    fflush(fleet->ask);
    while (fgets(line, sizeof(line), fleet->answer) != NULL) {
        if (strcmp(line, "end\n") == 0) {
            return true;
        }
        take_line(report, line);
    }
    return false;
}

bool fleet_stop(struct fleet *fleet)
{
    int status = 0;
    // The end of the pipe would not do: fleets that were forked later hold it open, too.
    fprintf(fleet->ask, "end\n");
    fclose(fleet->ask);
    bool ended = waitpid(fleet->pid, &status, 0) == fleet->pid;
    fclose(fleet->answer);
    return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
