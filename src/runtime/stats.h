#pragma once

#include "base/alloc.h"
#include "shape/shape.h"

/*
 * What the kernel counts of a container: read out of its control groups, and out of the network
 * namespace of its processes.
 */

#define STATS_MEMORY_MAX 64  ///< names in memory.stat; kernels have some 40
#define STATS_DEVICES_MAX 64 ///< lines about block devices
#define STATS_LINKS_MAX 16   ///< network interfaces; a task has one

/** A line of memory.stat. */
struct stats_number {
    struct text name;
    uint64_t value;
};

/** Bytes or operations on a block device. */
struct stats_device {
    uint32_t major;
    uint32_t minor;
    struct text operation; ///< `read` or `write`
    uint64_t value;
};

/** A network interface of the namespace, loopback left out. */
struct stats_link {
    struct text name;
    uint64_t rx_bytes;
    uint64_t rx_packets;
    uint64_t rx_errors;
    uint64_t rx_dropped;
    uint64_t tx_bytes;
    uint64_t tx_packets;
    uint64_t tx_errors;
    uint64_t tx_dropped;
};

/** What only grows while a container runs: two of them give rates. */
struct container_counters {
    int64_t at_ms;        ///< wall clock
    int64_t monotonic_ms; ///< for rates
    uint64_t cpu_ns;      ///< all that its processes took
    uint64_t cpu_user_ns;
    uint64_t cpu_system_ns;
    uint64_t host_cpu_ns; ///< of the whole host, idle time included
    uint32_t host_cpus;
    uint64_t periods; ///< of its CPU quota
    uint64_t throttled_periods;
    uint64_t throttled_ns;
    uint64_t rx_bytes; ///< of all links
    uint64_t tx_bytes;
};

/** One look at a container. Texts are in the arena that was given. */
struct container_sample {
    struct container_counters counters;
    uint64_t memory_bytes;       ///< files that are only cached included
    uint64_t memory_cache_bytes; ///< of them, what the kernel would give back first
    uint64_t memory_max_bytes;   ///< the most it ever was; 0 where the kernel does not tell
    uint64_t memory_limit_bytes; ///< the lowest limit that holds it; the host's memory for none
    uint64_t memory_failures;    ///< times it met its limit
    uint64_t pids;
    uint64_t pids_limit; ///< 0 for none
    struct stats_number memory[STATS_MEMORY_MAX];
    size_t memory_count;
    struct stats_device bytes[STATS_DEVICES_MAX];
    size_t bytes_count;
    struct stats_device operations[STATS_DEVICES_MAX];
    size_t operations_count;
    struct stats_link links[STATS_LINKS_MAX];
    size_t link_count;
};

/** Look up a number in lines of `name value`, such as cpu.stat. @return it, or 0 */
uint64_t stats_find(struct text lines, const char *name);

/** Take all lines of memory.stat. Names are copied into the arena. */
void stats_read_memory(struct text lines, struct arena *arena, struct container_sample *sample);

/** Take lines of blkio.throttle.io_service_bytes or io_serviced (v1): `8:0 Read 123`. */
size_t stats_read_blkio(struct text lines, struct stats_device out_devices[STATS_DEVICES_MAX]);

/** Take lines of io.stat (v2): `8:0 rbytes=1 wbytes=2 rios=3 wios=4`, bytes and operations. */
void stats_read_io(struct text lines, struct container_sample *sample);

/** Take lines of /proc/PID/net/dev. Names are copied into the arena. */
void stats_read_links(struct text lines, struct arena *arena, struct container_sample *sample);

/** Take the first lines of /proc/stat; ticks_per_second as of sysconf. */
void stats_read_host(struct text lines, uint64_t ticks_per_second, struct container_sample *sample);
