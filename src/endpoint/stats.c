#include "endpoint/stats.h"

// JSON of the endpoint has 63 bits; what the kernel counts stays far below.
static int64_t number(uint64_t value)
{
    return (int64_t)MIN(value, (uint64_t)INT64_MAX);
}

static struct endpoint_cpu_stats *cpu_of(const struct container_counters *sample,
                                         struct arena *arena)
{
    struct endpoint_cpu_stats *cpu = ARENA_NEW(arena, struct endpoint_cpu_stats);
    cpu->cpu_usage = ARENA_NEW(arena, struct endpoint_cpu_usage);
    cpu->throttling_data = ARENA_NEW(arena, struct endpoint_throttling_data);
    *cpu->cpu_usage = (struct endpoint_cpu_usage){
        .has_total_usage = true,
        .has_usage_in_kernelmode = true,
        .has_usage_in_usermode = true,
    };
    *cpu->throttling_data = (struct endpoint_throttling_data){
        .has_periods = true, .has_throttled_periods = true, .has_throttled_time = true};
    if (sample == NULL) {
        return cpu; // Docker shows zeros before the first look
    }
    cpu->cpu_usage->total_usage = number(sample->cpu_ns);
    cpu->cpu_usage->usage_in_kernelmode = number(sample->cpu_system_ns);
    cpu->cpu_usage->usage_in_usermode = number(sample->cpu_user_ns);
    cpu->throttling_data->periods = number(sample->periods);
    cpu->throttling_data->throttled_periods = number(sample->throttled_periods);
    cpu->throttling_data->throttled_time = number(sample->throttled_ns);
    cpu->has_system_cpu_usage = true;
    cpu->system_cpu_usage = number(sample->host_cpu_ns);
    cpu->has_online_cpus = true;
    cpu->online_cpus = (int32_t)sample->host_cpus;
    return cpu;
}

static struct endpoint_memory_stats *memory_of(const struct container_sample *sample,
                                               struct arena *arena)
{
    struct endpoint_memory_stats *memory = ARENA_NEW(arena, struct endpoint_memory_stats);
    *memory = (struct endpoint_memory_stats){
        .has_usage = true,
        .usage = number(sample->memory_bytes),
        .has_max_usage = sample->memory_max_bytes > 0,
        .max_usage = number(sample->memory_max_bytes),
        .has_limit = true,
        .limit = number(sample->memory_limit_bytes),
        .has_failcnt = sample->memory_failures > 0,
        .failcnt = number(sample->memory_failures),
    };
    memory->stats.count = sample->memory_count;
    memory->stats.items = arena_array(arena, sample->memory_count, sizeof(*memory->stats.items));
    for (size_t i = 0; i < sample->memory_count; i++) {
        memory->stats.items[i].key = sample->memory[i].name;
        memory->stats.items[i].value = number(sample->memory[i].value);
    }
    return memory;
}

static struct endpoint_blkio_entry_list devices_of(const struct stats_device *devices, size_t count,
                                                   struct arena *arena)
{
    struct endpoint_blkio_entry_list list = {.items = SHAPE_EMPTY, .count = count};
    if (count > 0) {
        list.items = arena_array(arena, count, sizeof(*list.items));
    }
    for (size_t i = 0; i < count; i++) {
        list.items[i] = (struct endpoint_blkio_entry){
            .has_major = true,
            .major = devices[i].major,
            .has_minor = true,
            .minor = devices[i].minor,
            .op = devices[i].operation,
            .has_value = true,
            .value = number(devices[i].value),
        };
    }
    return list;
}

static void add_networks(const struct container_sample *sample, struct arena *arena,
                         struct endpoint_container_stats *out)
{
    out->networks.items = arena_array(arena, sample->link_count, sizeof(*out->networks.items));
    out->networks.count = sample->link_count;
    for (size_t i = 0; i < sample->link_count; i++) {
        const struct stats_link *link = &sample->links[i];
        out->networks.items[i].key = link->name;
        out->networks.items[i].value = (struct endpoint_network_stats){
            .has_rx_bytes = true,
            .rx_bytes = number(link->rx_bytes),
            .has_rx_packets = true,
            .rx_packets = number(link->rx_packets),
            .has_rx_errors = true,
            .rx_errors = number(link->rx_errors),
            .has_rx_dropped = true,
            .rx_dropped = number(link->rx_dropped),
            .has_tx_bytes = true,
            .tx_bytes = number(link->tx_bytes),
            .has_tx_packets = true,
            .tx_packets = number(link->tx_packets),
            .has_tx_errors = true,
            .tx_errors = number(link->tx_errors),
            .has_tx_dropped = true,
            .tx_dropped = number(link->tx_dropped),
        };
    }
}

double stats_cpu_percent(const struct container_counters *now,
                         const struct container_counters *before)
{
    int64_t passed_ms = now->monotonic_ms - before->monotonic_ms;
    // A container that was started again counts anew.
    if (passed_ms <= 0 || now->cpu_ns < before->cpu_ns) {
        return 0;
    }
    return (double)(now->cpu_ns - before->cpu_ns) / 10000.0 / (double)passed_ms;
}

void stats_network_rate(const struct container_counters *now,
                        const struct container_counters *before, double *out_received,
                        double *out_sent)
{
    double seconds = (double)(now->monotonic_ms - before->monotonic_ms) / 1000.0;
    bool usable =
        seconds > 0 && now->rx_bytes >= before->rx_bytes && now->tx_bytes >= before->tx_bytes;
    *out_received = usable ? (double)(now->rx_bytes - before->rx_bytes) / seconds : 0;
    *out_sent = usable ? (double)(now->tx_bytes - before->tx_bytes) / seconds : 0;
}

void stats_describe(const struct container_sample *now, const struct container_counters *before,
                    struct text id, struct text name, struct arena *arena,
                    struct endpoint_container_stats *out_stats)
{
    struct endpoint_container_stats out = {
        .read = now->counters.at_ms,
        .preread = before == NULL ? 0 : before->at_ms,
        .pids_stats = ARENA_NEW(arena, struct endpoint_pids_stats),
        .blkio_stats = ARENA_NEW(arena, struct endpoint_blkio_stats),
        .has_num_procs = true, // Windows counts them there
        .cpu_stats = cpu_of(&now->counters, arena),
        .precpu_stats = cpu_of(before, arena),
        .memory_stats = memory_of(now, arena),
        .name = name,
        .id = id,
    };
    *out.pids_stats = (struct endpoint_pids_stats){.has_current = true,
                                                   .current = number(now->pids),
                                                   .has_limit = now->pids_limit > 0,
                                                   .limit = number(now->pids_limit)};
    out.blkio_stats->io_service_bytes_recursive = devices_of(now->bytes, now->bytes_count, arena);
    out.blkio_stats->io_serviced_recursive =
        devices_of(now->operations, now->operations_count, arena);
    add_networks(now, arena, &out);
    if (before != NULL && now->link_count > 0) {
        out.network_rate_stats = ARENA_NEW(arena, struct endpoint_network_rate_stats);
        out.network_rate_stats->has_rx_bytes_per_sec = true;
        out.network_rate_stats->has_tx_bytes_per_sec = true;
        stats_network_rate(&now->counters, before, &out.network_rate_stats->rx_bytes_per_sec,
                           &out.network_rate_stats->tx_bytes_per_sec);
    }
    *out_stats = out;
}
