#include "api/event.h"
#include "base/text.h"
#include "fuzz.h"
#include "server/event_log.h"
#include "shape/json.h"

/* Lines of the event log's files: what is taken in can be found, in order, and is JSON. */

static void try_entry(const struct event_log *log, const struct event_entry *entry)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct event_stored_event stored = {0};
    AUTO(buf_deinit) struct buf line = {0};
    buf_string(&line, "{\"sequence\":1,\"at\":1,\"type\":\"t\",\"resource\":\"r\",\"event\":");
    buf_text(&line, entry->event);
    buf_byte(&line, '}');
    ASSERT(json_decode(&event_stored_event_shape, buf_view(&line), &arena, &stored, &error) == 0);
    const struct event_query query = {
        .account = entry->account,
        .region = entry->region,
        .type = entry->type,
        .since_ms = entry->at_ms,
    };
    uint64_t after = entry->sequence - 1;
    ASSERT(event_log_next(log, &query, &after) == entry);
    ASSERT(after == entry->sequence);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct event_log_options options = {.segment_bytes = 4096};
    struct event_log *log = event_log_open(&options);
    struct text rest = {(const char *)data, size};
    uint64_t last = 0;
    while (rest.data != NULL) {
        const struct event_entry *entry = event_log_restore(log, text_cut(&rest, '\n'));
        if (entry != NULL) {
            ASSERT(entry->sequence > last);
            last = entry->sequence;
            try_entry(log, entry);
        }
    }
    event_log_close(log);
    return 0;
}
