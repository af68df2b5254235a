#include "base/alloc.h"

#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// What an arena gave out and was reset is the allocator's memory still: AddressSanitizer sees a use
// of it only when told.
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#define FORBID(pointer, size_bytes) __asan_poison_memory_region((pointer), (size_bytes))
#define ALLOW(pointer, size_bytes) __asan_unpoison_memory_region((pointer), (size_bytes))
#else
#define FORBID(pointer, size_bytes) ((void)(pointer), (void)(size_bytes))
#define ALLOW(pointer, size_bytes) ((void)(pointer), (void)(size_bytes))
#endif

void *alloc_zero(size_t size_bytes)
{
    void *pointer = calloc(1, size_bytes == 0 ? 1 : size_bytes);
    if (pointer == NULL) {
        base_out_of_memory(size_bytes);
    }
    return pointer;
}

void *alloc_array(size_t count, size_t size_bytes)
{
    void *pointer = calloc(count == 0 ? 1 : count, size_bytes == 0 ? 1 : size_bytes);
    if (pointer == NULL) {
        base_out_of_memory(count);
    }
    return pointer;
}

void *alloc_resize(void *pointer, size_t count, size_t size_bytes)
{
    size_t total = 0;
    if (__builtin_mul_overflow(count, size_bytes, &total)) {
        base_out_of_memory(SIZE_MAX);
    }
    void *moved = realloc(pointer, total == 0 ? 1 : total);
    if (moved == NULL) {
        base_out_of_memory(total);
    }
    return moved;
}

char *alloc_string(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = alloc_zero(size);
    memcpy(copy, string, size);
    return copy;
}

char *alloc_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *string = NULL;
    int size = vasprintf(&string, format, arguments);
    va_end(arguments);
    if (size < 0) {
        base_out_of_memory(0);
    }
    return string;
}

void alloc_free(void *pointer)
{
    free(pointer);
}

void alloc_trim(void)
{
    IGNORE(malloc_trim(0) == 0, "there was nothing to give back");
}

// Below what a function may use without moving the stack's pointer, and more than madvise itself
// takes.
#define STACK_KEPT_BYTES 4096

void alloc_trim_stack(void)
{
#ifndef SANITIZED // which keeps notes of its own about stacks
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size_bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
        return;
    }
    int rc = pthread_attr_getstack(&attributes, &low, &size_bytes);
    pthread_attr_destroy(&attributes);
    char here = 0;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)low + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)&here - STACK_KEPT_BYTES) & ~(page - 1);
    if (rc == 0 && from < to && to < (uintptr_t)low + size_bytes) {
        IGNORE(madvise((void *)from, to - from, MADV_DONTNEED) != 0, "it stays as large as it was");
    }
#endif
}

// Small enough that a plain request fits in one chunk, large enough to keep chunks rare.
#define ARENA_CHUNK_BYTES 4032
#define ARENA_ALIGN 16

struct arena_chunk {
    struct arena_chunk *next;
    size_t size_bytes;
    size_t used_bytes;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

static struct arena_chunk *chunk_new(size_t size_bytes)
{
    size_t total = 0;
    if (__builtin_add_overflow(size_bytes, sizeof(struct arena_chunk), &total)) {
        base_out_of_memory(SIZE_MAX);
    }
    struct arena_chunk *chunk = malloc(total);
    if (chunk == NULL) {
        base_out_of_memory(total);
    }
    chunk->next = NULL;
    chunk->size_bytes = size_bytes;
    chunk->used_bytes = 0;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
    size_t rounded = 0;
    if (__builtin_add_overflow(size_bytes, ARENA_ALIGN - 1, &rounded)) {
        base_out_of_memory(SIZE_MAX);
    }
    rounded &= ~(size_t)(ARENA_ALIGN - 1);
    struct arena_chunk *chunk = arena->chunk;
    if (chunk == NULL || chunk->size_bytes - chunk->used_bytes < rounded) {
        // Doubling keeps the number of chunks logarithmic for large documents.
        size_t want =
            chunk == NULL ? ARENA_CHUNK_BYTES : MIN(chunk->size_bytes * 2, (size_t)1 << 20);
        chunk = chunk_new(MAX(want, rounded));
        chunk->next = arena->chunk;
        arena->chunk = chunk;
    }
    void *pointer = chunk->data + chunk->used_bytes;
    chunk->used_bytes += rounded;
    arena->total_bytes += rounded;
    ALLOW(pointer, rounded);
    memset(pointer, 0, rounded);
    return pointer;
}

void *arena_array(struct arena *arena, size_t count, size_t size_bytes)
{
    size_t total = 0;
    if (__builtin_mul_overflow(count, size_bytes, &total)) {
        base_out_of_memory(SIZE_MAX);
    }
    return arena_alloc(arena, total);
}

struct text arena_text(struct arena *arena, struct text text)
{
    if (text.data == NULL) {
        return (struct text){0};
    }
    char *copy = arena_alloc(arena, text.size + 1);
    memcpy(copy, text.data, text.size);
    return (struct text){copy, text.size};
}

struct text arena_join(struct arena *arena, const struct text *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += parts[i].size;
    }
    char *data = arena_alloc(arena, size + 1);
    char *at = data;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0) {
            memcpy(at, parts[i].data, parts[i].size);
            at += parts[i].size;
        }
    }
    return (struct text){data, size};
}

struct text arena_format(struct arena *arena, const char *format, ...)
{
    ASSERT(format != NULL);
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    char *string = arena_alloc(arena, (size_t)size + 1);
    vsnprintf(string, (size_t)size + 1, format, again);
    va_end(again);
    return (struct text){string, (size_t)size};
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *keep = arena->chunk;
    if (keep == NULL) {
        return;
    }
    struct arena_chunk *chunk = keep->next;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        ALLOW(chunk->data, chunk->size_bytes);
        free(chunk);
        chunk = next;
    }
    FORBID(keep->data, keep->size_bytes);
    keep->next = NULL;
    keep->used_bytes = 0;
    arena->total_bytes = 0;
}

void arena_deinit(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunk;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        ALLOW(chunk->data, chunk->size_bytes);
        free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}
