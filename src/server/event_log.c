#include "server/event_log.h"

#include "api/event.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "server/event_file.h"
#include "shape/json.h"

#include <string.h>
#include <time.h>

#define PENDING_BYTES_MAX (4u << 20) // of lines that wait for the disk
#define ENTROPY_BYTES 4096           // one system call for 256 ids
#define TIME_CHARS 20
#define SEQUENCE_MAX (INT64_MAX / 2) // a line that has a greater one was not written by us

struct event_log {
    uv_loop_t *loop;
    uint64_t bytes_max;

    // A ring of entries, oldest at `first`.
    struct event_entry **entries;
    size_t capacity;
    size_t first;
    size_t count;
    uint64_t bytes;
    uint64_t sequence; // given last
    uint64_t evicted;  // the newest one that is gone

    struct buf event;        // being written
    struct event_file *file; // NULL: in memory only
    struct buf pending;      // lines for the next job
    struct buf writing;      // of the job under way: the worker's
    uv_work_t work;
    bool busy;
    int write_rc;
    size_t written; // bytes of it
    struct err write_err;
    bool unwritable; // said so already
    struct event_log_stats stats;

    void (*on_event)(void *context);
    void *context;
    unsigned char entropy[ENTROPY_BYTES];
    size_t entropy_used;
    int64_t time_s; // that time holds
    char time[TIME_CHARS + 1];
};

// ---- the ring -----------------------------------------------------------------------------

static struct event_entry *entry_at(const struct event_log *log, size_t index)
{
    return log->entries[(log->first + index) & (log->capacity - 1)];
}

static uint64_t entry_bytes(const struct event_entry *entry)
{
    return sizeof(*entry) + entry->event.size + 256; // the other texts are short
}

static void evict(struct event_log *log)
{
    struct event_entry *oldest = entry_at(log, 0);
    log->bytes -= entry_bytes(oldest);
    log->evicted = oldest->sequence;
    alloc_free(oldest);
    log->first = (log->first + 1) & (log->capacity - 1);
    log->count--;
}

static void grow(struct event_log *log)
{
    size_t capacity = MAX((size_t)64, log->capacity * 2);
    struct event_entry **entries = alloc_array(capacity, sizeof(struct event_entry *));
    for (size_t i = 0; i < log->count; i++) {
        entries[i] = entry_at(log, i);
    }
    alloc_free(log->entries);
    log->entries = entries;
    log->capacity = capacity;
    log->first = 0;
}

static struct text put_text(char **at, struct text text)
{
    if (text.data == NULL) {
        return (struct text){0};
    }
    memcpy(*at, text.data, text.size);
    struct text copy = {*at, text.size};
    *at += text.size;
    return copy;
}

// Copies the entry and its texts into one piece of memory.
static void add(struct event_log *log, const struct event_entry *from)
{
    size_t size = from->type.size + from->resource.size + from->cluster.size + from->service.size +
                  from->event.size;
    struct event_entry *entry = alloc_zero(sizeof(*entry) + size);
    *entry = *from;
    char *at = (char *)(entry + 1);
    entry->type = put_text(&at, from->type);
    entry->resource = put_text(&at, from->resource);
    entry->cluster = put_text(&at, from->cluster);
    entry->service = put_text(&at, from->service);
    entry->event = put_text(&at, from->event);
    // These are parts of the resource.
    ASSERT(from->account.data >= from->resource.data);
    entry->account.data = entry->resource.data + (from->account.data - from->resource.data);
    entry->region.data = entry->resource.data + (from->region.data - from->resource.data);
    if (from->task.data != NULL) {
        entry->task.data = entry->resource.data + (from->task.data - from->resource.data);
    }
    if (log->count == log->capacity) {
        grow(log);
    }
    log->entries[(log->first + log->count) & (log->capacity - 1)] = entry;
    log->count++;
    log->bytes += entry_bytes(entry);
    log->sequence = entry->sequence;
    while (log->bytes > log->bytes_max && log->count > 1) {
        evict(log);
    }
}

// ---- what an event is about ---------------------------------------------------------------

static struct text last_part(struct text reference)
{
    size_t slash = text_find_last(reference, '/');
    return slash == SIZE_MAX ? reference : text_slice(reference, slash + 1, reference.size);
}

// `arn:aws:ecs:REGION:ACCOUNT:TYPE/[CLUSTER/]NAME`. @return false when it is not like that
static bool read_resource(struct event_entry *entry)
{
    struct text rest = entry->resource;
    struct text arn = text_cut(&rest, ':');
    text_cut(&rest, ':');
    text_cut(&rest, ':');
    entry->region = text_cut(&rest, ':');
    entry->account = text_cut(&rest, ':');
    size_t slash = rest.data == NULL ? SIZE_MAX : text_find(rest, '/');
    if (!text_is(arn, "arn") || slash == SIZE_MAX) {
        return false;
    }
    struct text type = text_slice(rest, 0, slash);
    struct text path = text_slice(rest, slash + 1, rest.size);
    size_t inner = text_find(path, '/');
    if (entry->cluster.data == NULL && inner != SIZE_MAX) {
        entry->cluster = text_slice(path, 0, inner);
    }
    if (text_is(type, "task")) {
        entry->task = last_part(path);
    } else if (text_is(type, "service")) {
        entry->service = last_part(path);
    }
    return true;
}

static void read_task(const struct ecs_task *task, struct event_entry *entry)
{
    static const struct text prefix = TEXT("service:");
    entry->cluster = last_part(task->cluster_arn);
    if (text_starts(task->group, prefix)) {
        entry->service = text_slice(task->group, prefix.size, task->group.size);
    }
}

// ---- writing ------------------------------------------------------------------------------

static void start_job(struct event_log *log);

static void on_work(uv_work_t *work)
{
    struct event_log *log = work->data;
    log->write_rc =
        event_file_write(log->file, buf_view(&log->writing), &log->written, &log->write_err);
}

static uint64_t count_lines(const struct buf *lines, size_t from)
{
    uint64_t count = 0;
    for (size_t i = from; i < lines->size; i++) {
        count += lines->data[i] == '\n' ? 1 : 0;
    }
    return count;
}

static void note_written(struct event_log *log)
{
    if (log->write_rc != 0) {
        log->stats.unwritten += count_lines(&log->writing, log->written);
        if (!log->unwritable) {
            LOG(ERROR, "events are not written to disk; they are shown until the server ends",
                LOG_STR("reason", log->write_err.text));
        }
        log->unwritable = true;
    } else if (log->unwritable) {
        LOG(INFO, "events are written to disk again", LOG_U64("unwritten", log->stats.unwritten));
        log->unwritable = false;
    }
    buf_reset(&log->writing);
}

static void on_worked(uv_work_t *work, int status)
{
    (void)status; // it is never cancelled
    struct event_log *log = work->data;
    log->busy = false;
    note_written(log);
    start_job(log);
}

static void start_job(struct event_log *log)
{
    if (log->busy || log->pending.size == 0) {
        return;
    }
    struct buf spare = log->writing;
    log->writing = log->pending;
    log->pending = spare;
    log->work.data = log;
    log->busy = true;
    int rc = uv_queue_work(log->loop, &log->work, on_work, on_worked);
    ASSERT(rc == 0);
}

static void write_line(struct event_log *log, const struct event_entry *entry)
{
    if (log->file == NULL || log->pending.size + entry->event.size > PENDING_BYTES_MAX) {
        log->stats.unwritten++;
        return;
    }
    const struct event_stored_event line = {
        .has_sequence = true,
        .sequence = (int64_t)entry->sequence,
        .at = entry->at_ms,
        .type = entry->type,
        .resource = entry->resource,
        .cluster = entry->cluster,
        .service = entry->service,
        .event = entry->event,
    };
    json_encode(&event_stored_event_shape, &line, &log->pending);
    buf_byte(&log->pending, '\n');
    start_job(log);
}

// ---- effects ------------------------------------------------------------------------------

static void put_id(struct event_log *log, struct buf *out)
{
    if (log->entropy_used == ENTROPY_BYTES) {
        clock_entropy(log->entropy, ENTROPY_BYTES);
        log->entropy_used = 0;
    }
    char id[TEXT_UUID_CHARS + 1];
    text_uuid(log->entropy + log->entropy_used, id);
    log->entropy_used += 16;
    buf_add(out, id, TEXT_UUID_CHARS);
}

// EventBridge tells whole seconds.
static struct text time_text(struct event_log *log, int64_t at_ms)
{
    time_t seconds = (time_t)(at_ms / 1000);
    if (log->time_s != seconds || log->time[0] == '\0') {
        struct tm utc;
        gmtime_r(&seconds, &utc);
        strftime(log->time, sizeof(log->time), "%Y-%m-%dT%H:%M:%SZ", &utc);
        log->time_s = seconds;
    }
    return text_of(log->time);
}

static void write_event(struct event_log *log, const struct core_effect *effect,
                        const struct event_entry *entry, struct buf *out)
{
    buf_string(out, "{\"version\":\"0\",\"id\":\"");
    put_id(log, out);
    buf_string(out, "\",\"detail-type\":\"");
    buf_string(out, effect->type);
    buf_string(out, "\",\"source\":\"aws.ecs\",\"account\":\"");
    buf_text(out, entry->account);
    buf_string(out, "\",\"time\":\"");
    buf_text(out, time_text(log, entry->at_ms));
    buf_string(out, "\",\"region\":\"");
    buf_text(out, entry->region);
    buf_string(out, "\",\"resources\":[");
    json_quote(entry->resource, out);
    buf_string(out, "],\"detail\":");
    json_encode_iso(effect->shape, effect->message, out);
    buf_byte(out, '}');
}

void event_log_effect(struct event_log *log, const struct core_effect *effect)
{
    ASSERT(effect->kind == CORE_EFFECT_EVENT);
    struct event_entry entry = {
        .sequence = log->sequence + 1,
        .at_ms = clock_wall_ms(),
        .type = text_of(effect->type),
        .resource = effect->target,
    };
    if (effect->shape == &ecs_task_shape) {
        read_task(effect->message, &entry);
    }
    if (effect->shape == NULL || !read_resource(&entry)) {
        return; // about nothing that has an ARN
    }
    buf_reset(&log->event);
    write_event(log, effect, &entry, &log->event);
    entry.event = buf_view(&log->event);
    log->stats.told++;
    write_line(log, &entry);
    add(log, &entry);
    if (log->on_event != NULL) {
        log->on_event(log->context);
    }
}

// ---- reading ------------------------------------------------------------------------------

const struct event_entry *event_log_restore(struct event_log *log, struct text line)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct event_stored_event stored = {0};
    struct shape_error error = {0};
    bool good = json_decode(&event_stored_event_shape, line, &arena, &stored, &error) == 0 &&
                shape_validate(&event_stored_event_shape, &stored, &error) == 0 &&
                stored.sequence > 0 && stored.sequence < SEQUENCE_MAX &&
                (uint64_t)stored.sequence > log->sequence && !text_empty(stored.event) &&
                stored.event.data[0] == '{';
    struct event_entry entry = {
        .sequence = (uint64_t)stored.sequence,
        .at_ms = stored.at,
        .type = stored.type,
        .resource = stored.resource,
        .cluster = stored.cluster,
        .service = stored.service,
        .event = stored.event,
    };
    if (!good || !read_resource(&entry)) {
        log->stats.refused++;
        return NULL;
    }
    add(log, &entry);
    return entry_at(log, log->count - 1);
}

static void on_line(void *context, struct text line)
{
    IGNORE(event_log_restore(context, line) == NULL, "what is no event is counted and left out");
}

static void open_file(struct event_log *log, const struct event_log_options *options,
                      uint64_t segment_bytes)
{
    const struct event_file_options file = {
        .dir = options->dir,
        .segment_bytes = segment_bytes,
        .on_line = on_line,
        .context = log,
    };
    struct err err;
    bool gone = false;
    if (event_file_open(&file, &log->file, &gone, &err) != 0) {
        LOG(ERROR, "events are not written to disk; they are shown until the server ends",
            LOG_STR("reason", err.text));
    }
    if (gone && log->count > 0) {
        log->evicted = MAX(log->evicted, entry_at(log, 0)->sequence - 1);
    }
    if (log->stats.refused > 0) {
        LOG(WARN, "lines of the event log that cannot be read were left out",
            LOG_STR("dir", options->dir), LOG_U64("lines", log->stats.refused));
    }
}

struct event_log *event_log_open(const struct event_log_options *options)
{
    uint64_t segment_bytes =
        options->segment_bytes == 0 ? EVENT_SEGMENT_BYTES : options->segment_bytes;
    struct event_log *log = ALLOC(struct event_log);
    log->loop = options->loop;
    log->bytes_max = 2 * segment_bytes;
    log->entropy_used = ENTROPY_BYTES;
    if (options->dir != NULL) {
        open_file(log, options, segment_bytes);
    }
    int64_t start_ms = options->start_ms > 0 ? options->start_ms : clock_wall_ms();
    log->sequence = MAX(log->sequence, (uint64_t)start_ms * 1000);
    return log;
}

void event_log_close(struct event_log *log)
{
    if (log == NULL) {
        return;
    }
    while (log->busy) {
        uv_run(log->loop, UV_RUN_ONCE);
    }
    event_file_close(log->file);
    for (size_t i = 0; i < log->count; i++) {
        alloc_free(entry_at(log, i));
    }
    alloc_free(log->entries);
    buf_deinit(&log->event);
    buf_deinit(&log->pending);
    buf_deinit(&log->writing);
    alloc_free(log);
}

void event_log_watch(struct event_log *log, void (*on_event)(void *context), void *context)
{
    log->on_event = on_event;
    log->context = context;
}

// ---- asking -------------------------------------------------------------------------------

static bool matches(const struct event_query *query, const struct event_entry *entry)
{
    return text_equal(query->account, entry->account) && text_equal(query->region, entry->region) &&
           entry->at_ms >= query->since_ms &&
           (text_empty(query->type) || text_equal(query->type, entry->type)) &&
           (text_empty(query->cluster) || text_equal(last_part(query->cluster), entry->cluster)) &&
           (text_empty(query->service) || text_equal(last_part(query->service), entry->service)) &&
           (text_empty(query->task) || text_equal(last_part(query->task), entry->task));
}

// @return place of the first entry behind a number
static size_t find(const struct event_log *log, uint64_t after)
{
    size_t low = 0;
    size_t high = log->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_at(log, middle)->sequence > after) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

const struct event_entry *event_log_next(const struct event_log *log,
                                         const struct event_query *query, uint64_t *after)
{
    for (size_t i = find(log, *after); i < log->count; i++) {
        const struct event_entry *entry = entry_at(log, i);
        if (matches(query, entry)) {
            *after = entry->sequence;
            return entry;
        }
    }
    *after = MAX(*after, log->sequence);
    return NULL;
}

bool event_log_missed(const struct event_log *log, uint64_t after)
{
    return after > 0 && after < log->evicted;
}

void event_log_stats(const struct event_log *log, struct event_log_stats *out_stats)
{
    *out_stats = log->stats;
    out_stats->kept = log->count;
}
