#include "agents_floor.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITERS 16        // as many workers as an agent's process has
#define ROWS_AT_ONCE 1000 // in one transaction
#define STEPS 4           // messages of a task

// The message that sends a task, its acknowledgement, the report RUNNING, its answer; in bytes, as
// in a session of one task with one container.
static const size_t step_bytes[STEPS] = {1600, 150, 1100, 250};

struct work {
    const struct floor_load *load;
    struct floor_times *times;
    size_t writer;
};

static void stop_on(bool failed, const char *what)
{
    if (failed) {
        perror(what);
        exit(1);
    }
}

static double seconds_since(int64_t begin_ns)
{
    return (double)(clock_monotonic_ns() - begin_ns) / 1e9;
}

// ---- frames ---------------------------------------------------------------------------------

static void pass(int fd, bool sends, size_t size)
{
    static const char zeros[4096];
    char bytes[4096];
    for (size_t done = 0; done < size;) {
        ssize_t rc =
            sends ? send(fd, zeros, size - done, MSG_NOSIGNAL) : recv(fd, bytes, size - done, 0);
        stop_on(rc <= 0, "bench_agents: the floor's connection");
        done += (size_t)rc;
    }
}

// One end of the talk: the server sends the first message of a task and the last.
static void talk(int fd, size_t tasks, bool server)
{
    static const bool by_server[STEPS] = {true, false, false, true};
    for (size_t i = 0; i < tasks; i++) {
        for (size_t step = 0; step < STEPS; step++) {
            pass(fd, by_server[step] == server, step_bytes[step]);
        }
    }
}

static int listen_somewhere(struct sockaddr_in *out_address)
{
    socklen_t size = sizeof(*out_address);
    *out_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    stop_on(fd < 0 || bind(fd, (struct sockaddr *)out_address, size) != 0 || listen(fd, 1) != 0 ||
                getsockname(fd, (struct sockaddr *)out_address, &size) != 0,
            "bench_agents: the floor's socket");
    return fd;
}

static void set_no_delay(int fd)
{
    int on = 1;
    stop_on(fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0,
            "bench_agents: the floor's connection");
}

struct answerer {
    int listener;
    size_t tasks;
};

static void *answer(void *context)
{
    const struct answerer *answerer = context;
    int fd = accept4(answerer->listener, NULL, NULL, SOCK_CLOEXEC);
    set_no_delay(fd);
    talk(fd, answerer->tasks, false);
    close(fd);
    return NULL;
}

static void *send_frames(void *context)
{
    struct work *work = context;
    int64_t begin_ns = clock_monotonic_ns();
    struct sockaddr_in address;
    struct answerer answerer = {.listener = listen_somewhere(&address), .tasks = work->load->tasks};
    pthread_t thread;
    stop_on(pthread_create(&thread, NULL, answer, &answerer) != 0, "bench_agents: a thread");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    stop_on(connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0,
            "bench_agents: the floor's connection");
    set_no_delay(fd);
    talk(fd, work->load->tasks, true);
    pthread_join(thread, NULL);
    close(fd);
    close(answerer.listener);
    work->times->wire_seconds = seconds_since(begin_ns);
    return NULL;
}

// ---- journals -------------------------------------------------------------------------------

// Every WRITERSth file, written as a journal is: over zeros that are there already.
static void *write_journals(void *context)
{
    const struct work *work = context;
    const struct floor_load *load = work->load;
    size_t writes = MAX(load->journal_writes / load->journals, (size_t)1);
    size_t size = MAX((size_t)(load->journal_bytes / load->journals / writes), (size_t)1);
    AUTO(alloc_free) void *bytes = alloc_zero(MAX(size, writes * size));
    for (size_t i = work->writer; i < load->journals; i += WRITERS) {
        AUTO(alloc_string) char *path = alloc_format("%s/floor-%zu", load->folder, i);
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        stop_on(fd < 0 || pwrite(fd, bytes, writes * size, 0) < 0 || fdatasync(fd) != 0, path);
        for (size_t j = 0; j < writes; j++) {
            stop_on(pwrite(fd, bytes, size, (off_t)(j * size)) < 0 || fdatasync(fd) != 0, path);
        }
        close(fd);
    }
    return NULL;
}

static void *write_all_journals(void *context)
{
    const struct work *work = context;
    int64_t begin_ns = clock_monotonic_ns();
    pthread_t threads[WRITERS];
    struct work works[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        works[i] = *work;
        works[i].writer = i;
        stop_on(pthread_create(&threads[i], NULL, write_journals, &works[i]) != 0,
                "bench_agents: a thread");
    }
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    work->times->journal_seconds = seconds_since(begin_ns);
    return NULL;
}

// ---- rows -----------------------------------------------------------------------------------

struct rows {
    struct arena arena;
    struct store_row *items;
    size_t count;
    size_t capacity;
};

static int take_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    (void)err;
    struct rows *rows = context;
    if (rows->count == rows->capacity) {
        rows->capacity = MAX(rows->capacity * 2, (size_t)1024);
        rows->items = alloc_resize(rows->items, rows->capacity, sizeof(*rows->items));
    }
    rows->items[rows->count++] = (struct store_row){key, kind, arena_text(&rows->arena, bytes)};
    return 0;
}

static void stop_on_err(int rc, const struct err *err)
{
    if (rc != 0) {
        fprintf(stderr, "bench_agents: %s\n", err->text);
        exit(1);
    }
}

static void load_rows(const char *path, struct rows *out_rows)
{
    struct store *store = NULL;
    struct err err = {0};
    uint64_t version = 0;
    stop_on_err(store_sqlite_open(path, &store, &err), &err);
    stop_on_err(store_load(store, take_row, out_rows, &version, &err), &err);
    store_close(store);
}

static void write_rows(const struct floor_load *load, const struct rows *rows)
{
    AUTO(alloc_string) char *path = alloc_format("%s/floor.db", load->folder);
    struct store *store = NULL;
    struct err err = {0};
    stop_on_err(store_sqlite_open(path, &store, &err), &err);
    uint64_t version = 1;
    for (size_t i = 0; i < rows->count; i += ROWS_AT_ONCE) {
        size_t count = MIN((size_t)ROWS_AT_ONCE, rows->count - i);
        stop_on_err(store_write(store, version, rows->items + i, count, &err), &err);
        version++;
    }
    store_close(store);
}

// ---- all ------------------------------------------------------------------------------------

void floor_measure(const struct floor_load *load, struct floor_times *out_times)
{
    struct rows rows = {0};
    load_rows(load->store, &rows);
    *out_times = (struct floor_times){.rows = rows.count};
    struct work work = {.load = load, .times = out_times};
    pthread_t wire;
    pthread_t journals;
    int64_t begin_ns = clock_monotonic_ns();
    stop_on(pthread_create(&wire, NULL, send_frames, &work) != 0, "bench_agents: a thread");
    stop_on(pthread_create(&journals, NULL, write_all_journals, &work) != 0,
            "bench_agents: a thread");
    write_rows(load, &rows);
    out_times->store_seconds = seconds_since(begin_ns);
    pthread_join(wire, NULL);
    pthread_join(journals, NULL);
    out_times->seconds = seconds_since(begin_ns);
    alloc_free(rows.items);
    arena_deinit(&rows.arena);
}
