#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "channel/message.h"
#include "server/exec_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * Transcripts: what a session showed, in a file of its own. The newest are kept, each up to a size.
 */

#define FILE_BYTES_MAX (8u << 20)
#define FILES_MAX 1000
#define BUFFER_BYTES (16u << 10)

struct exec_log {
    int fd;
    char *path;
    int64_t next; // number of the message that comes next; older ones were sent again
    uint64_t size;
    bool full;
    bool failed;
    struct buf pending;
};

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

// Names begin with the time, so the first are the oldest.
static void make_room(const char *dir)
{
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_file, alphasort);
    for (int i = 0; i < count; i++) {
        if (count - i >= FILES_MAX) {
            char *path = alloc_format("%s/%s", dir, names[i]->d_name);
            IGNORE(unlink(path), "one more is kept");
            alloc_free(path);
        }
        free(names[i]); // scandir's
    }
    free(names);
}

static void format_time(int64_t wall_ms, const char *format, char out[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(out, 32, format, &parts);
}

static void flush(struct exec_log *log)
{
    struct err err;
    if (!log->failed && log->pending.size > 0 &&
        fd_write_all(log->fd, log->pending.data, log->pending.size, &err) != 0) {
        log->failed = true;
        LOG(WARN, "the transcript of a session of ECS Exec ends here", LOG_STR("file", log->path),
            LOG_STR("reason", err.text));
    }
    buf_reset(&log->pending);
}

struct exec_log *exec_log_open(const char *dir, const struct exec_log_head *head)
{
    struct err err;
    if (file_make_dirs(dir, 0700, &err) != 0) {
        LOG(WARN, "a session of ECS Exec has no transcript", LOG_STR("reason", err.text));
        return NULL;
    }
    make_room(dir);
    char stamp[32];
    format_time(clock_wall_ms(), "%Y%m%dT%H%M%SZ", stamp);
    char *path = alloc_format("%s/%s-%.*s.log", dir, stamp, TEXT_FMT(head->session_id));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_sys(&err, errno, "making '%s'", path);
        LOG(WARN, "a session of ECS Exec has no transcript", LOG_STR("reason", err.text));
        alloc_free(path);
        return NULL;
    }
    struct exec_log *log = ALLOC(struct exec_log);
    log->fd = fd;
    log->path = path;
    buf_format(&log->pending,
               "session %.*s\ntask %.*s\ncontainer %.*s\ncaller %.*s\ncommand %.*s\n",
               TEXT_FMT(head->session_id), TEXT_FMT(head->task_arn), TEXT_FMT(head->container),
               TEXT_FMT(head->caller_arn), TEXT_FMT(head->command));
    buf_format(&log->pending, "began %s\n\n", stamp);
    flush(log);
    return log;
}

void exec_log_frame(struct exec_log *log, struct text frame)
{
    struct message message;
    struct err err;
    if (log->full || message_decode(frame, &message, &err) != 0 ||
        !text_is(message.type, MESSAGE_TYPE_OUTPUT) || message.sequence < log->next) {
        return;
    }
    log->next = message.sequence + 1;
    if (message.payload_type != MESSAGE_PAYLOAD_OUTPUT &&
        message.payload_type != MESSAGE_PAYLOAD_STDERR) {
        return;
    }
    struct text part = text_slice(message.payload, 0, (size_t)(FILE_BYTES_MAX - log->size));
    buf_text(&log->pending, part);
    log->size += part.size;
    log->full = log->size == FILE_BYTES_MAX;
    if (log->full || log->pending.size >= BUFFER_BYTES) {
        flush(log);
    }
}

void exec_log_close(struct exec_log *log)
{
    if (log == NULL) {
        return;
    }
    char stamp[32];
    format_time(clock_wall_ms(), "%Y%m%dT%H%M%SZ", stamp);
    buf_format(&log->pending, "\n%sended %s\n", log->full ? "the rest is not kept\n" : "", stamp);
    flush(log);
    buf_deinit(&log->pending);
    fd_close(log->fd);
    alloc_free(log->path);
    alloc_free(log);
}
