#pragma once

/*
 * What every file of Berth may rely on: fixed-width types, the few macros that the language
 * needs, assertions, and the borrowed text view.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_argument)                                                  \
    __attribute__((format(printf, format_index, first_argument)))
#define UNUSED __attribute__((unused))
#define NO_RETURN __attribute__((noreturn))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/** Ignore a result on purpose; the second argument says why. */
#define IGNORE(call, why)                                                                          \
    do {                                                                                           \
        if (call) {}                                                                               \
    } while (0)

/**
 * Release a local when it leaves scope: `AUTO(buf_deinit) struct buf buf = {0};` for storage,
 * `AUTO(task_free) struct task *task = NULL;` for pointers. The function gets what the variable's
 * release function takes: define it with AUTO_POINTER or AUTO_VALUE next to the module.
 */
#define AUTO(release) __attribute__((cleanup(release##_auto)))

/** Make `x_free(struct x *)` usable with AUTO on a `struct x *` local. */
#define AUTO_POINTER(type, release)                                                                \
    UNUSED static inline void release##_auto(type **pointer)                                       \
    {                                                                                              \
        release(*pointer);                                                                         \
    }

/** Make `x_deinit(struct x *)` usable with AUTO on a `struct x` local. */
#define AUTO_VALUE(type, release)                                                                  \
    UNUSED static inline void release##_auto(type *value)                                          \
    {                                                                                              \
        release(value);                                                                            \
    }

/** End the process: a mistake of ours was found. Stays on in release builds. */
#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            base_assert_failed(#condition, __FILE__, __LINE__);                                    \
        }                                                                                          \
    } while (0)

/** Report a failed assertion on standard error and abort. Called by ASSERT only. */
NO_RETURN void base_assert_failed(const char *condition, const char *file, int line);

/** Report that memory ran out and end the process. Called by the allocation helpers only. */
NO_RETURN void base_out_of_memory(size_t size_bytes);

/** A borrowed run of bytes. `data == NULL` means absent; an empty text has a non-NULL pointer. */
struct text {
    const char *data;
    size_t size;
};

/** A struct text of a string literal, as a constant expression's initialiser. */
#define TEXT(literal)                                                                              \
    (struct text)                                                                                  \
    {                                                                                              \
        .data = (literal), .size = sizeof(literal) - 1                                             \
    }

/** For printf: `printf("%.*s", TEXT_FMT(text))`. */
#define TEXT_FMT(text) (int)(text).size, (text).data == NULL ? "" : (text).data
