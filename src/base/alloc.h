#pragma once

#include "base/base.h"

/*
 * Memory. None of these return NULL: running out ends the process (DESIGN, Overload), so callers
 * have no error path. Sizes are multiplied with overflow checks.
 */

/** Zeroed memory of size_bytes (may be 0). Give back with alloc_free. */
void *alloc_zero(size_t size_bytes) __attribute__((malloc, returns_nonnull));

/** Zeroed array; ends the process when count * size overflows. */
void *alloc_array(size_t count, size_t size_bytes) __attribute__((malloc, returns_nonnull));

/** Change the size of a block; new bytes are not zeroed. pointer may be NULL. */
void *alloc_resize(void *pointer, size_t count, size_t size_bytes) __attribute__((returns_nonnull));

/** A terminated copy of a C string. */
char *alloc_string(const char *string) __attribute__((malloc, returns_nonnull));

/** A formatted, terminated string. */
char *alloc_format(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));

/** Release; NULL is allowed. */
void alloc_free(void *pointer);

/**
 * Give what was released back to the system. For after a library that takes much at once: without,
 * each thread that ever called it keeps that much for itself.
 */
void alloc_trim(void);

/**
 * Give back what this thread's stack took beyond what it uses now: for threads that live long and
 * once went deep. Not for the main thread, whose stack has no known end.
 */
void alloc_trim_stack(void);

AUTO_POINTER(void, alloc_free)
UNUSED static inline void alloc_string_auto(char **string)
{
    alloc_free(*string);
}

/** Allocate one zeroed struct: `struct x *x = ALLOC(struct x);` */
#define ALLOC(type) ((type *)alloc_zero(sizeof(type)))

/**
 * Memory that is freed as a whole: one for a request, a query, a parsed document.
 *
 * Zero-initialise, allocate, then arena_reset (keeps one chunk) or arena_deinit.
 */
struct arena {
    struct arena_chunk *chunk; ///< newest first
    size_t total_bytes;        ///< handed out since init or reset; for limits
};

/** Zeroed, 16-byte aligned memory that lives until reset or deinit. */
void *arena_alloc(struct arena *arena, size_t size_bytes) __attribute__((returns_nonnull));

/** Array form with an overflow check. */
void *arena_array(struct arena *arena, size_t count, size_t size_bytes)
    __attribute__((returns_nonnull));

/** A terminated copy of a text; absent stays absent. */
struct text arena_text(struct arena *arena, struct text text);

/** The parts one behind the other, in the arena: much quicker than a format. */
struct text arena_join(struct arena *arena, const struct text *parts, size_t count);

/** A formatted text in the arena. */
struct text arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/** Make everything from the arena invalid, keeping its newest chunk for reuse. */
void arena_reset(struct arena *arena);

/** Free all chunks. */
void arena_deinit(struct arena *arena);

AUTO_VALUE(struct arena, arena_deinit)

/** One zeroed struct from an arena. */
#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
