#include "base/err.h"
#include "endpoint/fault.h"
#include "fuzz.h"

/* The first byte chooses kind and operation, the rest is a body. What is taken is in bounds. */
static void check_ranges(const struct fault_ranges *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        ASSERT(ranges->items[i].prefix <= (ranges->items[i].ipv6 ? 128 : 32));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct fault_request request;
    struct text refusal = {0};
    if (size == 0) {
        return 0;
    }
    enum fault_kind kind = data[0] % FAULT_KINDS;
    enum fault_operation operation = data[0] / FAULT_KINDS % FAULT_OPERATIONS;
    struct text body = {(const char *)data + 1, size - 1};
    if (fault_read(kind, operation, body, &arena, &request, &refusal) != 0) {
        ASSERT(refusal.size > 0);
        return 0;
    }
    check_ranges(&request.sources);
    check_ranges(&request.spared);
    bool start = operation == FAULT_START;
    if (start && kind == FAULT_LATENCY) {
        ASSERT(request.delay_ms >= 0 && request.jitter_ms >= 0);
        ASSERT(request.delay_ms + request.jitter_ms > 0);
    }
    if (start && kind != FAULT_BLACKHOLE) {
        ASSERT(request.sources.count > 0);
        ASSERT(request.flows_percent >= 1 && request.flows_percent <= 100);
    }
    ASSERT(!start || kind != FAULT_LOSS ||
           (request.loss_percent >= 1 && request.loss_percent <= 100));
    return 0;
}
