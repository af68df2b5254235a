#include "ecs/service_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EVENT_CHARS_MAX 4096                      // forty tasks are named in one
#define EVENT_AGAIN_MS (6 * 3600 * INT64_C(1000)) // ECS repeats what still holds after six hours

static struct text compose(struct core_call *call, int64_t service, const char *format,
                           va_list arguments)
{
    const struct service_record_service *record = core_get(call->core, &service_kind, service);
    AUTO(buf_deinit) struct buf text = {.limit_bytes = EVENT_CHARS_MAX};
    buf_format(&text, "(service %.*s", TEXT_FMT(record->name));
    // A message that begins with a comma names more of what it is about: `, taskSet ecs-svc/1)
    // ...`.
    if (format[0] != ',') {
        buf_string(&text, ") ");
    }
    char rest[EVENT_CHARS_MAX];
    int size = vsnprintf(rest, sizeof(rest), format, arguments);
    ASSERT(size >= 0);
    buf_add(&text, rest, MIN((size_t)size, sizeof(rest) - 1));
    return arena_text(call->arena, buf_view(&text));
}

static void put_event(struct core_call *call, int64_t service, struct text message)
{
    const struct service_state *state = service_state(call->core);
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)service);
    struct index_cursor cursor;
    index_walk(state->events, &prefix, true, &cursor);
    size_t count = 0;
    int64_t oldest = 0;
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        oldest = key;
        count++;
    }
    if (count >= SERVICE_EVENTS_MAX) {
        core_delete(call, &service_event_kind, oldest);
    }
    const struct service_record_event record = {
        .has_service = true,
        .service = service,
        .id = core_random_uuid(call),
        .created_at = call->now_ms,
        .message = message,
    };
    core_put(call, &service_event_kind, core_new_key(call), &record);
}

void service_tell(struct core_call *call, int64_t service, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct text message = compose(call, service, format, arguments);
    va_end(arguments);
    put_event(call, service, message);
}

void service_tell_cleared(struct service_entry *entry)
{
    alloc_free((void *)(uintptr_t)entry->told.data);
    entry->told = (struct text){0};
}

bool service_tell_once(struct core_call *call, struct service_entry *entry, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct text message = compose(call, entry->key, format, arguments);
    va_end(arguments);
    if (text_equal(message, entry->told) && call->now_ms < entry->told_ms + EVENT_AGAIN_MS) {
        return false;
    }
    service_tell_cleared(entry);
    char *copy = alloc_array(message.size + 1, 1);
    memcpy(copy, message.data, message.size);
    entry->told = (struct text){copy, message.size};
    entry->told_ms = call->now_ms;
    put_event(call, entry->key, message);
    return true;
}
