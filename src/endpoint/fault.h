#pragma once

#include "base/alloc.h"
#include "base/text.h"

/*
 * What a task asks its agent for when it injects a fault into its own network: requests taken apart
 * and checked, in the order and the words of Amazon's agent. Pure.
 *
 * Sources: Amazon ECS Developer Guide, "Amazon ECS fault injection endpoints"; the answers of
 * Amazon's agent, which reads requests as Go does.
 */

#define FAULT_PERIOD_MS 5000 ///< each path of a container answers once in this time

enum fault_kind {
    FAULT_BLACKHOLE,
    FAULT_LATENCY,
    FAULT_LOSS,
};
#define FAULT_KINDS 3

enum fault_operation {
    FAULT_START,
    FAULT_STOP,
    FAULT_STATUS,
};
#define FAULT_OPERATIONS 3

/** Addresses. */
struct fault_range {
    bool ipv6;
    uint8_t prefix;
    uint8_t address[16]; ///< as on the wire
};

/** Some of them; in the arena. */
struct fault_ranges {
    struct fault_range *items;
    size_t count;
};

/** A request that was checked. */
struct fault_request {
    bool egress; ///< of a blackhole, as udp and port
    bool udp;
    uint16_t port;
    int64_t delay_ms; ///< 0 to INT32_MAX
    int64_t jitter_ms;
    uint32_t loss_percent;       ///< 1 to 100
    uint32_t flows_percent;      ///< 1 to 100
    struct fault_ranges sources; ///< of latency and loss: whom it meets
    struct fault_ranges spared;  ///< SourcesToFilter
};

/** Find a kind by its word in a path, such as `network-latency`. @return whether there is one */
bool fault_find_kind(struct text word, enum fault_kind *out_kind);

/** Find an operation: start, stop, status. @return whether there is one */
bool fault_find_operation(struct text word, enum fault_operation *out_operation);

/** What Amazon's agent calls a request, such as `check status network-latency`; in the arena. */
struct text fault_name(enum fault_kind kind, enum fault_operation operation, struct arena *arena);

/**
 * Read the body of a request. Those that end latency or loss, or ask for them, need none.
 *
 * @param out_refusal  a sentence for status 400; in the arena
 * @return 0 or ERR_INVALID
 */
MUST_CHECK int fault_read(enum fault_kind kind, enum fault_operation operation, struct text body,
                          struct arena *arena, struct fault_request *out_request,
                          struct text *out_refusal);

/** When a container's paths were last answered: zero-initialised storage says never. */
struct fault_rate {
    int64_t next_ms[FAULT_KINDS][FAULT_OPERATIONS];
};

/** Take a request. @return whether it may be answered; what may not counts for nothing */
bool fault_rate_take(struct fault_rate *rate, enum fault_kind kind, enum fault_operation operation,
                     int64_t now_ms);
