#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_name(int code)
{
    switch (code) {
#define ERR_CASE(name, number, text)                                                               \
    case number:                                                                                   \
        return text;
        ERR_LIST(ERR_CASE)
#undef ERR_CASE
    }
    return "unknown error";
}

int err_set(struct err *err, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err->text, sizeof(err->text), format, arguments);
    va_end(arguments);
    err->code = code;
    return code;
}

static int code_of_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL_DISK;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EPERM:
    case EACCES:
        return ERR_DENIED;
    case EBUSY:
        return ERR_BUSY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_SYS;
    }
}

int err_sys(struct err *err, int number, const char *format, ...)
{
    char reason[128];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->text, sizeof(err->text), format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof(err->text)) {
        snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s",
                 strerror_r(number, reason, sizeof(reason)));
    }
    err->code = code_of_errno(number);
    return err->code;
}

int err_wrap(struct err *err, const char *format, ...)
{
    char inner[ERR_TEXT_MAX];
    memcpy(inner, err->text, sizeof(inner));
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->text, sizeof(err->text), format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof(err->text)) {
        snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %.*s",
                 (int)(sizeof(err->text) - (size_t)used), inner);
    }
    return err->code;
}
