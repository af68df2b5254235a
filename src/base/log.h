#pragma once

#include "base/base.h"

/*
 * Log lines for the edges of the programs: constant message, data in fields, one line each on
 * standard error as `2026-01-31T12:00:00.000Z level message key=value ...`.
 *
 * Never put a secret or an environment value into a field. Not for libraries or the core.
 */

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_kind { LOG_KIND_END, LOG_KIND_TEXT, LOG_KIND_U64, LOG_KIND_I64 };

/** One field; make it with LOG_STR, LOG_TXT, LOG_U64, LOG_I64. */
struct log_field {
    const char *key;
    enum log_kind kind;
    struct text text;
    uint64_t number;
};

#define LOG_STR(name, string) ((struct log_field){name, LOG_KIND_TEXT, log_view(string), 0})
#define LOG_TXT(name, view) ((struct log_field){name, LOG_KIND_TEXT, (view), 0})
#define LOG_U64(name, value) ((struct log_field){name, LOG_KIND_U64, {0}, (uint64_t)(value)})
#define LOG_I64(name, value)                                                                       \
    ((struct log_field){name, LOG_KIND_I64, {0}, (uint64_t)(int64_t)(value)})

/** `LOG(WARN, "task did not stop in time, killing", LOG_STR("task", id));` */
#define LOG(level, ...) LOG_LINE(LOG_LEVEL_##level, __VA_ARGS__, (struct log_field){0})
#define LOG_LINE(level, message, ...)                                                              \
    log_line(level, message, (const struct log_field[]){__VA_ARGS__})

/** View a terminated string; NULL becomes absent. */
struct text log_view(const char *string);

/** Write one line; fields end with one of LOG_KIND_END. Values are quoted and escaped. */
void log_line(enum log_level level, const char *message, const struct log_field *fields);

/** Drop lines below this level; INFO at start. */
void log_set_level(enum log_level level);
