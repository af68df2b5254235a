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
    const struct service_entry *entry = service_entry(service_state(call->core), service);
    buf_format(&text, "(service %.*s", TEXT_FMT(record->name));
    if (entry != NULL && entry->speaker != 0) {
        buf_format(&text, ", taskSet %.*s", TEXT_FMT(service_deployment_id(call, entry->speaker)));
    }
    // A message that begins with a comma names more of what it is about.
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

static void forget(struct service_told *told)
{
    alloc_free((void *)(uintptr_t)told->message.data);
    *told = (struct service_told){0};
}

void service_tell_cleared(struct service_entry *entry)
{
    for (size_t i = 0; i < ARRAY_LEN(entry->told); i++) {
        if (entry->told[i].speaker == entry->speaker) {
            forget(&entry->told[i]);
        }
    }
}

void service_told_free(struct service_entry *entry)
{
    for (size_t i = 0; i < ARRAY_LEN(entry->told); i++) {
        forget(&entry->told[i]);
    }
}

// Where it is noted what a service, or one of its task sets, told last: its own place, an empty
// one, or the oldest.
static struct service_told *told_place(struct service_entry *entry)
{
    struct service_told *best = &entry->told[0];
    for (size_t i = 0; i < ARRAY_LEN(entry->told); i++) {
        struct service_told *told = &entry->told[i];
        if (told->message.data != NULL && told->speaker == entry->speaker) {
            return told;
        }
        if (best->message.data != NULL &&
            (told->message.data == NULL || told->told_ms < best->told_ms)) {
            best = told;
        }
    }
    return best;
}

bool service_tell_once(struct core_call *call, struct service_entry *entry, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct text message = compose(call, entry->key, format, arguments);
    va_end(arguments);
    struct service_told *told = told_place(entry);
    if (text_equal(message, told->message) && call->now_ms < told->told_ms + EVENT_AGAIN_MS) {
        return false;
    }
    forget(told);
    char *copy = alloc_array(message.size + 1, 1);
    memcpy(copy, message.data, message.size);
    *told = (struct service_told){
        .message = {copy, message.size}, .told_ms = call->now_ms, .speaker = entry->speaker};
    put_event(call, entry->key, message);
    return true;
}
