#include "server/host.h"

#include "base/clock.h"
#include "core/clock.h"

#include <string.h>

#define HOST_WORK_PER_TURN 128 // a piece of work takes microseconds: a turn stays under some ms
#define HOST_BACKLOG_MAX 16384 // inputs not yet durable; a slow disk commits that in some 100 ms
#define HOST_PENDING_BYTES_MAX ((size_t)32 << 20) // of changed records and effects not yet taken
#define HOST_WAITING_MAX 65536  // replies held back: each is a connection or a stream in the end
#define HOST_ENTROPY_BYTES 4096 // one system call for 128 inputs
// Timers follow the wall clock, the loop's the monotonic one. After the wall clock jumped, a timer
// is late by this at most.
#define HOST_TIMER_MAX_MS 10000

struct host {
    struct host_options options;
    unsigned char entropy[HOST_ENTROPY_BYTES];
    size_t entropy_used;
    struct core_clock clock;
    bool stopping;
    bool failed;  // a write failed: nothing leaves any more
    bool touched; // the engine may hold something for the next batch
    uint64_t version_durable;
    struct host_wait *first; // in the order of their versions
    struct host_wait *last;
    size_t waiting_count;
    uint64_t batch_count;
    uint64_t row_count;
    uint64_t write_ns_total;

    uv_check_t turn; // behind each poll for I/O
    uv_idle_t awake; // active while another turn is due at once
    uv_timer_t timer;
    int open_handles;

    // The writer: the loop hands it a batch with `go` and gets it back with `written`; between the
    // two, what stands here belongs to the writer's thread.
    uv_thread_t writer;
    uv_sem_t go;
    uv_sem_t written;
    uv_async_t notice;        // tells the loop to look at `written`
    struct core_batch *batch; // under way, else NULL
    bool quit;
    int write_rc;
    uint64_t write_ns;
    struct err write_err;
};

// ---- inputs -------------------------------------------------------------------------------

static void make_input(struct host *host, struct core_input *out_input)
{
    if (host->entropy_used == HOST_ENTROPY_BYTES) {
        clock_entropy(host->entropy, HOST_ENTROPY_BYTES);
        host->entropy_used = 0;
    }
    unsigned char *from = host->entropy + host->entropy_used;
    out_input->now_ms =
        core_clock_take(&host->clock, clock_wall_ms(), clock_monotonic_ns() / 1000000);
    memcpy(out_input->entropy, from, sizeof(out_input->entropy));
    // What was used once must not be found in memory later.
    explicit_bzero(from, sizeof(out_input->entropy));
    host->entropy_used += sizeof(out_input->entropy);
}

static uint64_t backlog(const struct host *host)
{
    return core_version(host->options.core) - host->version_durable;
}

// More has changed than should wait in memory: the store does not keep up.
static bool is_congested(const struct host *host)
{
    return backlog(host) >= HOST_BACKLOG_MAX ||
           core_pending_bytes(host->options.core) >= HOST_PENDING_BYTES_MAX;
}

// An idle handle makes the loop poll without blocking; that is all it is for.
static void on_awake(uv_idle_t *awake)
{
    (void)awake;
}

// Have a turn soon, also when nothing else happens on the loop.
static void wake(struct host *host)
{
    host->touched = true;
    int rc = uv_idle_start(&host->awake, on_awake);
    ASSERT(rc == 0);
}

int host_request(struct host *host, const struct core_caller *caller,
                 const struct api_operation *operation, struct core_call *call, const void *request,
                 void *response)
{
    bool congested =
        host->waiting_count >= HOST_WAITING_MAX || (!operation->read_only && is_congested(host));
    if (congested || host->failed || host->stopping) {
        call->fault = NULL;
        return ERR_BUSY;
    }
    if (host->options.read_only && !operation->read_only) {
        call->fault = NULL;
        return ERR_FULL_DISK;
    }
    struct core_input input;
    make_input(host, &input);
    int rc = core_request(host->options.core, &input, caller, operation, call, request, response);
    wake(host);
    return rc;
}

// ---- waits --------------------------------------------------------------------------------

void host_wait(struct host *host, struct host_wait *wait)
{
    wait->version = core_version(host->options.core);
    wait->next = NULL;
    if (wait->version <= host->version_durable && !host->failed) {
        wait->done(wait);
        return;
    }
    if (host->last != NULL) {
        ASSERT(host->last->version <= wait->version);
        host->last->next = wait;
    } else {
        host->first = wait;
    }
    host->last = wait;
    host->waiting_count++;
}

void host_wait_cancel(struct host *host, struct host_wait *wait)
{
    struct host_wait *before = NULL;
    for (struct host_wait *at = host->first; at != NULL; at = at->next) {
        if (at != wait) {
            before = at;
            continue;
        }
        if (before == NULL) {
            host->first = at->next;
        } else {
            before->next = at->next;
        }
        host->last = host->last == at ? before : host->last;
        host->waiting_count--;
        return;
    }
}

static void release_waits(struct host *host)
{
    // A callback may wait again or cancel others: look at the front anew each time.
    while (host->first != NULL && host->first->version <= host->version_durable) {
        struct host_wait *wait = host->first;
        host->first = wait->next;
        host->last = host->first == NULL ? NULL : host->last;
        host->waiting_count--;
        wait->next = NULL;
        wait->done(wait);
    }
}

// ---- writing ------------------------------------------------------------------------------

// On the writer's thread, or on the loop's while the writer is idle.
static void write_batch(struct host *host)
{
    struct core_batch *batch = host->batch;
    core_batch_encode(batch);
    int64_t begin_ns = clock_monotonic_ns();
    AUTO(alloc_free) void *block = alloc_array(batch->row_count, sizeof(struct store_row));
    struct store_row *rows = block;
    for (size_t i = 0; i < batch->row_count; i++) {
        rows[i] = (struct store_row){
            .key = batch->rows[i].key,
            .kind = batch->rows[i].kind,
            .bytes = batch->rows[i].bytes,
        };
    }
    host->write_rc =
        store_write(host->options.store, batch->version, rows, batch->row_count, &host->write_err);
    host->write_ns = (uint64_t)(clock_monotonic_ns() - begin_ns);
}

static void run_writer(void *context)
{
    struct host *host = context;
    for (;;) {
        uv_sem_wait(&host->go);
        if (host->quit) {
            return;
        }
        write_batch(host);
        uv_sem_post(&host->written);
        int rc = uv_async_send(&host->notice);
        ASSERT(rc == 0);
    }
}

// The batch is durable: let out what waited for it.
static void release_batch(struct host *host, struct core_batch *batch)
{
    ASSERT(batch->version >= host->version_durable);
    host->version_durable = batch->version;
    for (size_t i = 0; i < batch->effect_count; i++) {
        host->options.on_effect(host->options.context, &batch->effects[i]);
    }
    core_batch_free(batch);
    release_waits(host);
}

static void finish_write(struct host *host)
{
    struct core_batch *batch = host->batch;
    host->batch = NULL;
    uv_unref((uv_handle_t *)&host->notice);
    if (host->write_rc != 0) {
        host->failed = true;
        core_batch_free(batch);
        host->options.on_fatal(host->options.context, &host->write_err);
        return;
    }
    host->batch_count++;
    host->row_count += batch->row_count;
    host->write_ns_total += host->write_ns;
    release_batch(host, batch);
}

static void on_notice(uv_async_t *notice)
{
    // Notices may be merged or come late; the semaphore tells what is true.
    struct host *host = notice->data;
    if (host->batch != NULL && uv_sem_trywait(&host->written) == 0) {
        finish_write(host);
        // What happened meanwhile is the next batch, taken in this turn of the loop.
        host->touched = true;
    }
}

// Hand the next batch to the writer, unless one is under way.
static void flush(struct host *host)
{
    if (host->batch != NULL || !host->touched || host->failed) {
        return;
    }
    host->touched = false;
    struct core_batch *batch = core_batch_begin(host->options.core);
    if (batch == NULL) {
        return;
    }
    if (batch->row_count == 0) {
        ASSERT(batch->version == host->version_durable);
        release_batch(host, batch);
        return;
    }
    host->batch = batch;
    uv_ref((uv_handle_t *)&host->notice);
    uv_sem_post(&host->go);
}

// ---- turns of the loop --------------------------------------------------------------------

static int64_t engine_now_ms(const struct host *host)
{
    return core_clock_peek(&host->clock, clock_wall_ms(), clock_monotonic_ns() / 1000000);
}

static bool is_due(const struct host *host)
{
    if (host->options.read_only) {
        return false;
    }
    int64_t due_ms = core_next_due(host->options.core);
    return due_ms >= 0 && due_ms <= engine_now_ms(host);
}

static void on_timer(uv_timer_t *timer)
{
    wake(timer->data);
}

// Decide when the next turn must come at the latest.
static void arm(struct host *host)
{
    bool due = is_due(host) && !is_congested(host);
    bool unwritten = host->touched && host->batch == NULL;
    if (!host->failed && (due || unwritten)) {
        wake(host);
        return;
    }
    uv_idle_stop(&host->awake);
    int64_t due_ms = core_next_due(host->options.core);
    int64_t wait_ms = due_ms - engine_now_ms(host);
    if (due_ms < 0 || wait_ms <= 0 || host->failed || host->options.read_only) {
        // Nothing is to come, or it waits for the write under way.
        uv_timer_stop(&host->timer);
        return;
    }
    int rc = uv_timer_start(&host->timer, on_timer, (uint64_t)MIN(wait_ms, HOST_TIMER_MAX_MS), 0);
    ASSERT(rc == 0);
}

static void on_turn(uv_check_t *turn)
{
    struct host *host = turn->data;
    if (host->failed || host->stopping) {
        uv_idle_stop(&host->awake);
        return;
    }
    if (is_due(host) && !is_congested(host)) {
        struct core_input input;
        make_input(host, &input);
        core_advance(host->options.core, &input, HOST_WORK_PER_TURN);
        host->touched = true;
    }
    flush(host);
    arm(host);
}

// ---- life ---------------------------------------------------------------------------------

static int load_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    return core_load(context, key, kind, bytes, err);
}

static int load(struct host *host, struct err *err)
{
    uint64_t version = 0;
    int rc = store_load(host->options.store, load_row, host->options.core, &version, err);
    if (rc != 0) {
        return rc;
    }
    core_set_version(host->options.core, version);
    host->version_durable = version;
    struct core_input input;
    make_input(host, &input);
    core_recover(host->options.core, &input);
    ASSERT(!host->options.read_only || version == 0 || core_version(host->options.core) == version);
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct host *host = handle->data;
    host->open_handles--;
    if (host->open_handles == 0) {
        explicit_bzero(host->entropy, sizeof(host->entropy));
        alloc_free(host);
    }
}

static void close_handles(struct host *host)
{
    uv_sem_destroy(&host->go);
    uv_sem_destroy(&host->written);
    uv_close((uv_handle_t *)&host->turn, on_closed);
    uv_close((uv_handle_t *)&host->awake, on_closed);
    uv_close((uv_handle_t *)&host->timer, on_closed);
    uv_close((uv_handle_t *)&host->notice, on_closed);
}

static void init_handles(struct host *host)
{
    // These cannot fail: they only link the handle into the loop.
    IGNORE(uv_check_init(host->options.loop, &host->turn) != 0, "cannot fail");
    IGNORE(uv_idle_init(host->options.loop, &host->awake) != 0, "cannot fail");
    IGNORE(uv_timer_init(host->options.loop, &host->timer) != 0, "cannot fail");
    host->open_handles = 4;
    host->turn.data = host;
    host->awake.data = host;
    host->timer.data = host;
    host->notice.data = host;
    int rc = uv_check_start(&host->turn, on_turn);
    ASSERT(rc == 0);
    uv_unref((uv_handle_t *)&host->turn);
    uv_unref((uv_handle_t *)&host->timer);
    uv_unref((uv_handle_t *)&host->notice);
    rc = uv_sem_init(&host->go, 0);
    ASSERT(rc == 0);
    rc = uv_sem_init(&host->written, 0);
    ASSERT(rc == 0);
}

int host_start(const struct host_options *options, struct host **out_host, struct err *err)
{
    ASSERT(options->on_effect != NULL);
    ASSERT(options->on_fatal != NULL);
    struct host *host = ALLOC(struct host);
    host->options = *options;
    host->entropy_used = HOST_ENTROPY_BYTES;
    int rc = load(host, err);
    if (rc != 0) {
        alloc_free(host);
        return rc;
    }
    rc = uv_async_init(options->loop, &host->notice, on_notice);
    if (rc != 0) {
        alloc_free(host);
        return err_sys(err, -rc, "making the engine's notice");
    }
    init_handles(host);
    rc = uv_thread_create(&host->writer, run_writer, host);
    if (rc != 0) {
        close_handles(host);
        return err_sys(err, -rc, "starting the engine's writer");
    }
    wake(host);
    *out_host = host;
    return 0;
}

void host_stop(struct host *host)
{
    if (host == NULL) {
        return;
    }
    ASSERT(!host->stopping);
    host->stopping = true;
    if (host->batch != NULL) {
        uv_sem_wait(&host->written);
        finish_write(host);
    }
    // The writer is idle from here on. Callbacks add nothing: requests are refused by now.
    while (!host->failed && (host->batch = core_batch_begin(host->options.core)) != NULL) {
        if (host->batch->row_count > 0) {
            uv_ref((uv_handle_t *)&host->notice);
            write_batch(host);
            finish_write(host);
        } else {
            struct core_batch *batch = host->batch;
            host->batch = NULL;
            release_batch(host, batch);
        }
    }
    host->quit = true;
    uv_sem_post(&host->go);
    int rc = uv_thread_join(&host->writer);
    ASSERT(rc == 0);
    close_handles(host);
}

bool host_is_read_only(const struct host *host)
{
    return host->options.read_only;
}

struct core *host_core(struct host *host)
{
    return host->options.core;
}

void host_stats(const struct host *host, struct host_stats *out_stats)
{
    *out_stats = (struct host_stats){
        .version_applied = core_version(host->options.core),
        .version_durable = host->version_durable,
        .batch_count = host->batch_count,
        .row_count = host->row_count,
        .write_ns_total = host->write_ns_total,
        .waiting_count = host->waiting_count,
    };
}
