#include "base/log.h"

#include "base/buf.h"
#include "base/text.h"

#include <time.h>
#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;

struct text log_view(const char *string)
{
    return text_of(string);
}

void log_set_level(enum log_level level)
{
    threshold = level;
}

static void add_quoted(struct buf *line, struct text text)
{
    buf_byte(line, '"');
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte == '"' || byte == '\\') {
            buf_byte(line, '\\');
            buf_byte(line, (char)byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            buf_format(line, "\\x%02x", byte);
        } else {
            buf_byte(line, (char)byte);
        }
    }
    buf_byte(line, '"');
}

void log_line(enum log_level level, const char *message, const struct log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < threshold) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    AUTO(buf_deinit) struct buf line = {.limit_bytes = 8192};
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    buf_format(&line, "%s.%03ldZ %-5s %s", stamp, now.tv_nsec / 1000000, names[level], message);
    for (const struct log_field *field = fields; field->kind != LOG_KIND_END; field++) {
        buf_format(&line, " %s=", field->key);
        if (field->kind == LOG_KIND_TEXT) {
            add_quoted(&line, field->text);
        } else if (field->kind == LOG_KIND_U64) {
            buf_format(&line, "%llu", (unsigned long long)field->number);
        } else {
            buf_format(&line, "%lld", (long long)(int64_t)field->number);
        }
    }
    line.limit_bytes = 0;
    line.full = false;
    buf_byte(&line, '\n');
    // One write keeps lines of several processes whole; a log that cannot be written is no reason
    // to stop the program.
    IGNORE(write(STDERR_FILENO, line.data, line.size) < 0, "nowhere left to report to");
}
