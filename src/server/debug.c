#include "server/debug.h"

#include "api/berth.h"
#include "base/text.h"
#include "shape/json.h"

#define PAGE_RECORDS 200
// What one answer may hold; a page ends early rather than grow past it.
#define PAGE_BYTES (1u << 20)

struct page {
    struct core_call *call;
    int64_t after;
    size_t limit;
    size_t bytes;
    struct berth_dump_records_response *response;
};

static void add_record(void *context, const struct core_kind *kind, int64_t key, const void *record)
{
    struct page *page = context;
    struct berth_dump_records_response *response = page->response;
    if (key <= page->after) {
        return;
    }
    if (response->records.count == page->limit || page->bytes > PAGE_BYTES) {
        response->has_next = true;
        response->next = response->records.items[response->records.count - 1].key;
        return;
    }
    AUTO(buf_deinit) struct buf json = {0};
    json_encode_masked(kind->type, record, &json);
    page->bytes += json.size;
    response->records.items[response->records.count++] = (struct berth_dumped_record){
        .has_key = true,
        .key = key,
        .kind = text_of(kind->name),
        .record = arena_text(page->call->arena, buf_view(&json)),
    };
}

static int dump_records(struct core_call *call, void *state, const void *request, void *response)
{
    const struct berth_dump_records_request *asked = request;
    struct berth_dump_records_response *out = response;
    struct page page = {
        .call = call,
        .after = asked->after,
        .limit = asked->has_max_records ? (size_t)asked->max_records : PAGE_RECORDS,
        .response = out,
    };
    out->records.items = arena_array(call->arena, page.limit, sizeof(*out->records.items));
    core_dump(call->core, add_record, &page);
    return 0;
}

static const struct core_handler handlers[] = {
    {&berth_operations[BERTH_OP_DUMP_RECORDS], dump_records},
};

const struct core_module debug_module = {
    .name = "debug",
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
};

void debug_line(const struct core_kind *kind, int64_t key, const void *record, struct buf *out)
{
    buf_format(out, "{\"key\":%lld,\"kind\":\"%s\",\"record\":", (long long)key, kind->name);
    json_encode_masked(kind->type, record, out);
    buf_string(out, "}\n");
}
