#pragma once

#include "base/base.h"

/*
 * Errors: a negative code to act on, and a sentence to show.
 *
 * Pure code returns the bare code. Code at the edges also takes a `struct err`, owned by the
 * caller, of fixed size, so that reporting an error never allocates. Never compare the sentence.
 */

/** X-macro of all codes: name, number, text. Numbers are permanent: they appear in logs. */
#define ERR_LIST(X)                                                                                \
    X(ERR_INVALID, -1, "invalid input")                                                            \
    X(ERR_NOT_FOUND, -2, "not found")                                                              \
    X(ERR_EXISTS, -3, "exists already")                                                            \
    X(ERR_NO_ROOM, -4, "a limit is reached")                                                       \
    X(ERR_SYS, -5, "a system call failed")                                                         \
    X(ERR_CORRUPT, -6, "stored data is damaged")                                                   \
    X(ERR_DENIED, -7, "not allowed")                                                               \
    X(ERR_TIMEOUT, -8, "took too long")                                                            \
    X(ERR_UNSUPPORTED, -9, "not supported here")                                                   \
    X(ERR_CLOSED, -10, "the other side closed")                                                    \
    X(ERR_BUSY, -11, "in use")                                                                     \
    X(ERR_FULL_DISK, -12, "no space left on device")                                               \
    X(ERR_FAULT, -13, "the request was refused")                                                   \
    X(ERR_VERSION, -14, "written by a newer version")

enum err_code {
#define ERR_ENUM(name, number, text) name = number,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

#define ERR_TEXT_MAX 512

/** A code and a sentence; the sentence is always terminated. */
struct err {
    int code;
    char text[ERR_TEXT_MAX];
};

/** @return the fixed text of a code, "unknown error" for a number that is none */
const char *err_name(int code);

/** Start an error with a sentence. @return code */
int err_set(struct err *err, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/**
 * Start an error from an errno value: the sentence is what was being done, then strerror.
 *
 * @return ERR_FULL_DISK for ENOSPC and EDQUOT, ERR_NOT_FOUND for ENOENT, ERR_EXISTS for EEXIST,
 *         ERR_DENIED for EPERM and EACCES, ERR_BUSY for EBUSY, otherwise ERR_SYS
 */
int err_sys(struct err *err, int number, const char *format, ...) PRINTF_LIKE(3, 4);

/** Put context in front of the sentence that is there. @return the code it holds */
int err_wrap(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);
