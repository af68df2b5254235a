#include "runtime/cgroup_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "runtime/stats.h"

#include <fcntl.h>
#include <unistd.h>

#define FIGURES_BYTES_MAX (64u << 10) // of one file: a line for each device and CPU
#define NS_PER_SECOND 1000000000u
#define NS_PER_US 1000u
#define LIMIT_NONE ((uint64_t)1 << 60) // v1 writes the largest number of pages for none

/** A container's group in one hierarchy. */
struct group {
    struct text directory; ///< absent when the hierarchy is not there
    struct arena *arena;
};

// @return what a file holds, in the arena; absent when it cannot be read
static struct text read_text(const struct group *group, const char *name)
{
    struct err ignored;
    AUTO(buf_deinit) struct buf content = {0};
    if (group->directory.data == NULL) {
        return (struct text){0};
    }
    struct text path = arena_format(group->arena, "%.*s/%s", TEXT_FMT(group->directory), name);
    if (file_read(AT_FDCWD, path.data, FIGURES_BYTES_MAX, &content, &ignored) != 0) {
        return (struct text){0};
    }
    return arena_text(group->arena, text_trim(buf_view(&content)));
}

static uint64_t read_number(const struct group *group, const char *name)
{
    uint64_t value = 0;
    return text_to_u64(read_text(group, name), &value) == 0 ? value : 0;
}

static struct text file_text(const char *path, struct arena *arena)
{
    const struct group root = {TEXT(""), arena};
    return read_text(&root, path + 1);
}

static uint64_t ticks_per_second(void)
{
    long ticks = sysconf(_SC_CLK_TCK);
    return ticks > 0 ? (uint64_t)ticks : 100;
}

static void read_host(struct arena *arena, struct container_sample *sample)
{
    stats_read_host(file_text("/proc/stat", arena), ticks_per_second(), sample);
    if (sample->memory_limit_bytes == 0 || sample->memory_limit_bytes >= LIMIT_NONE) {
        sample->memory_limit_bytes = stats_find(file_text("/proc/meminfo", arena), "MemTotal:")
                                     << 10;
    }
}

static struct group group_at(const struct cgroup_task *task, const char *mount, size_t index,
                             struct text container, struct arena *arena)
{
    struct text path = cgroup_container_path(task, index, container, arena);
    return (struct group){arena_format(arena, "%s%.*s", mount, TEXT_FMT(path)), arena};
}

static struct group group_v1(const struct cgroup_task *task, const char *controller, size_t index,
                             struct text container, struct arena *arena)
{
    const struct cgroup_mount *mount = cgroup_find_mount(task->host, controller);
    return mount == NULL ? (struct group){.arena = arena}
                         : group_at(task, mount->path, index, container, arena);
}

static uint64_t from_ticks(uint64_t ticks)
{
    return ticks * (NS_PER_SECOND / ticks_per_second());
}

static void sample_v1(const struct cgroup_task *task, size_t index, struct text container,
                      struct arena *arena, struct container_sample *sample)
{
    struct group accounts = group_v1(task, "cpuacct", index, container, arena);
    struct text times = read_text(&accounts, "cpuacct.stat");
    sample->counters.cpu_ns = read_number(&accounts, "cpuacct.usage");
    sample->counters.cpu_user_ns = from_ticks(stats_find(times, "user"));
    sample->counters.cpu_system_ns = from_ticks(stats_find(times, "system"));

    struct group cpu = group_v1(task, "cpu", index, container, arena);
    struct text quota = read_text(&cpu, "cpu.stat");
    sample->counters.periods = stats_find(quota, "nr_periods");
    sample->counters.throttled_periods = stats_find(quota, "nr_throttled");
    sample->counters.throttled_ns = stats_find(quota, "throttled_time");

    struct group memory = group_v1(task, "memory", index, container, arena);
    struct text figures = read_text(&memory, "memory.stat");
    stats_read_memory(figures, arena, sample);
    sample->memory_bytes = read_number(&memory, "memory.usage_in_bytes");
    sample->memory_cache_bytes = stats_find(figures, "total_inactive_file");
    sample->memory_max_bytes = read_number(&memory, "memory.max_usage_in_bytes");
    sample->memory_failures = read_number(&memory, "memory.failcnt");
    sample->memory_limit_bytes = stats_find(figures, "hierarchical_memory_limit");

    struct group pids = group_v1(task, "pids", index, container, arena);
    sample->pids = read_number(&pids, "pids.current");
    sample->pids_limit = read_number(&pids, "pids.max");

    struct group devices = group_v1(task, "blkio", index, container, arena);
    sample->bytes_count = stats_read_blkio(
        read_text(&devices, "blkio.throttle.io_service_bytes_recursive"), sample->bytes);
    sample->operations_count = stats_read_blkio(
        read_text(&devices, "blkio.throttle.io_serviced_recursive"), sample->operations);
}

// `max` is none.
static uint64_t lower_limit(uint64_t limit, uint64_t other)
{
    return limit == 0 || (other != 0 && other < limit) ? other : limit;
}

static void sample_v2(const struct cgroup_task *task, size_t index, struct text container,
                      struct arena *arena, struct container_sample *sample)
{
    const struct group group = group_at(task, task->host->unified, index, container, arena);
    const struct group whole = {cgroup_directory(task, task->host->unified, arena), arena};
    struct text cpu = read_text(&group, "cpu.stat");
    sample->counters.cpu_ns = stats_find(cpu, "usage_usec") * NS_PER_US;
    sample->counters.cpu_user_ns = stats_find(cpu, "user_usec") * NS_PER_US;
    sample->counters.cpu_system_ns = stats_find(cpu, "system_usec") * NS_PER_US;
    sample->counters.periods = stats_find(cpu, "nr_periods");
    sample->counters.throttled_periods = stats_find(cpu, "nr_throttled");
    sample->counters.throttled_ns = stats_find(cpu, "throttled_usec") * NS_PER_US;

    struct text figures = read_text(&group, "memory.stat");
    stats_read_memory(figures, arena, sample);
    sample->memory_bytes = read_number(&group, "memory.current");
    sample->memory_cache_bytes = stats_find(figures, "inactive_file");
    sample->memory_max_bytes = read_number(&group, "memory.peak");
    sample->memory_failures = stats_find(read_text(&group, "memory.events"), "max");
    sample->memory_limit_bytes =
        lower_limit(read_number(&group, "memory.max"), read_number(&whole, "memory.max"));

    sample->pids = read_number(&group, "pids.current");
    sample->pids_limit = read_number(&group, "pids.max");
    stats_read_io(read_text(&group, "io.stat"), sample);
}

int cgroup_sample(const struct cgroup_task *task, size_t index, struct text container,
                  struct arena *arena, struct container_sample *out_sample, struct err *err)
{
    struct text directory = cgroup_memory_directory(task, index, container, arena);
    if (access(directory.data, F_OK) != 0) {
        return err_set(err, ERR_NOT_FOUND, "container '%.*s' has no cgroup", TEXT_FMT(container));
    }
    *out_sample = (struct container_sample){
        .counters.at_ms = clock_wall_ms(),
        .counters.monotonic_ms = clock_monotonic_ns() / 1000000,
    };
    if (task->host->layout == CGROUP_V2) {
        sample_v2(task, index, container, arena, out_sample);
    } else {
        sample_v1(task, index, container, arena, out_sample);
    }
    read_host(arena, out_sample);
    return 0;
}
