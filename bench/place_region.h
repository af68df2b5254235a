#pragma once

#include "core/core.h"

#include "api/ecs.h"

/*
 * An engine with many nodes, for benchmarks of placement and of services.
 *
 * Each node is a container instance of the first account's cluster `c`, in one of three zones and
 * with an attribute `rack` of r0 to r39, and a host of the FARGATE pool. Every account has a
 * cluster `c` and the definitions `job` (container instances), `edge` (the same with port 8443 of
 * the host) and `web` (Fargate).
 */

#define REGION_NODES 10000 ///< unless told otherwise
#define REGION_ACCOUNTS 6  ///< a default VPC has some 12,000 addresses
#define REGION_NOW_MS INT64_C(1700000000000)

/** The engine and who asks. */
struct region {
    struct core *core;
    struct arena arena; ///< of the request being applied
    uint64_t serial;    ///< of inputs
    int64_t now_ms;     ///< of the next input
    size_t node_count;  ///< set before region_make; 0: REGION_NODES
    struct text *node_ids;
    struct core_caller caller;
    char accounts[REGION_ACCOUNTS][13];
    struct text subnets[REGION_ACCOUNTS][3];
    struct arena kept; ///< lives as long as the region
};

/** Make it; region is zeroed but for node_count. A failure ends the program. */
void region_make(struct region *region, const struct core_module *const *modules,
                 size_t module_count);

/** Free what region_make made. */
void region_free(struct region *region);

/** @return time and entropy of the next input, the same in each run */
struct core_input region_input(struct region *region);

/** Apply an operation. @return the response, valid until the next call; a refusal ends the program
 */
void *region_ask(struct region *region, const struct api_operation *operation, const void *request);
