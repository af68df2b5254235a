#include "base/buf.h"

#include "base/alloc.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

char *buf_reserve(struct buf *buf, size_t size)
{
    size_t need = 0;
    if (__builtin_add_overflow(buf->size, size, &need) || __builtin_add_overflow(need, 1, &need)) {
        base_out_of_memory(SIZE_MAX);
    }
    if (need > buf->capacity) {
        size_t capacity = MAX(buf->capacity * 2, (size_t)256);
        capacity = MAX(capacity, need);
        buf->data = alloc_resize(buf->data, capacity, 1);
        buf->capacity = capacity;
    }
    return buf->data + buf->size;
}

void buf_add(struct buf *buf, const void *bytes, size_t size)
{
    if (buf->limit_bytes != 0 && (buf->full || size > buf->limit_bytes - buf->size)) {
        buf->full = true;
        return;
    }
    char *to = buf_reserve(buf, size);
    if (size > 0) {
        memcpy(to, bytes, size);
    }
    buf->size += size;
    buf->data[buf->size] = '\0';
}

void buf_byte(struct buf *buf, char byte)
{
    buf_add(buf, &byte, 1);
}

void buf_percent(struct buf *buf, struct text text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (text_plain(text.data[i]) || memchr("-_.~", byte, 4) != NULL) {
            buf_byte(buf, text.data[i]);
        } else {
            buf_byte(buf, '%');
            buf_byte(buf, digits[byte >> 4]);
            buf_byte(buf, digits[byte & 15]);
        }
    }
}

void buf_text(struct buf *buf, struct text text)
{
    buf_add(buf, text.data, text.size);
}

void buf_string(struct buf *buf, const char *string)
{
    buf_add(buf, string, strlen(string));
}

void buf_format(struct buf *buf, const char *format, ...)
{
    char small[256];
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(small, sizeof(small), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    if ((size_t)size < sizeof(small)) {
        buf_add(buf, small, (size_t)size);
    } else {
        char *large = alloc_zero((size_t)size + 1);
        vsnprintf(large, (size_t)size + 1, format, again);
        buf_add(buf, large, (size_t)size);
        alloc_free(large);
    }
    va_end(again);
}

void buf_consume(struct buf *buf, size_t size)
{
    ASSERT(size <= buf->size);
    if (size == 0) {
        return;
    }
    buf->size -= size;
    memmove(buf->data, buf->data + size, buf->size);
    buf->data[buf->size] = '\0';
}

struct text buf_view(const struct buf *buf)
{
    return (struct text){buf->data == NULL ? "" : buf->data, buf->size};
}

void buf_reset(struct buf *buf)
{
    buf->size = 0;
    buf->full = false;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

void buf_deinit(struct buf *buf)
{
    alloc_free(buf->data);
    *buf = (struct buf){.limit_bytes = buf->limit_bytes};
}
