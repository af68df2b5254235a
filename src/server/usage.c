#include "server/usage.h"

#include "base/map.h"
#include "base/text.h"
#include "server/metrics.h"

#define SWEEP_MS 30000
#define MIB (1024.0 * 1024.0)

struct container_usage {
    char *name;
    double cpu_percent;
    double memory_mib;
};

struct task_usage {
    int64_t at_ms;
    size_t count;
    struct container_usage containers[];
};

struct usage {
    struct map tasks; // by id
    int64_t swept_ms;
};

struct usage *usage_new(void)
{
    return ALLOC(struct usage);
}

static void task_free(struct task_usage *task)
{
    for (size_t i = 0; task != NULL && i < task->count; i++) {
        alloc_free(task->containers[i].name);
    }
    alloc_free(task);
}

// Remove what is older than that.
static void sweep(struct usage *usage, int64_t oldest_ms)
{
    size_t cursor = 0;
    struct text id;
    struct task_usage *task = NULL;
    while ((task = map_next(&usage->tasks, &cursor, &id)) != NULL) {
        if (task->at_ms < oldest_ms) {
            map_remove(&usage->tasks, id);
            task_free(task);
        }
    }
}

void usage_free(struct usage *usage)
{
    if (usage != NULL) {
        sweep(usage, INT64_MAX);
        map_deinit(&usage->tasks);
        alloc_free(usage);
    }
}

static double mean(const struct session_stats_set *set)
{
    return set == NULL || set->sample_count <= 0 ? 0 : set->sum / set->sample_count;
}

void usage_put(struct usage *usage, struct text task_id, const struct session_task_metric *metric,
               int64_t now_ms)
{
    if (now_ms - usage->swept_ms > SWEEP_MS) {
        usage->swept_ms = now_ms;
        sweep(usage, now_ms - USAGE_KEPT_MS);
    }
    if (usage->tasks.count >= USAGE_TASKS_MAX && map_get(&usage->tasks, task_id) == NULL) {
        return;
    }
    size_t count = MIN(metric->container_metrics.count, (size_t)USAGE_CONTAINERS_MAX);
    struct task_usage *task = alloc_zero(sizeof(*task) + count * sizeof(task->containers[0]));
    task->at_ms = now_ms;
    task->count = count;
    for (size_t i = 0; i < count; i++) {
        const struct session_container_metric *from = &metric->container_metrics.items[i];
        task->containers[i] = (struct container_usage){
            .name = alloc_format("%.*s", TEXT_FMT(from->container_name)),
            .cpu_percent = mean(from->cpu_stats_set),
            .memory_mib = mean(from->memory_stats_set),
        };
    }
    task_free(map_put(&usage->tasks, task_id, task));
}

bool usage_get(const struct usage *usage, struct text task_id, int64_t now_ms, struct arena *arena,
               struct berth_task_usage *out_usage)
{
    const struct task_usage *task = map_get(&usage->tasks, task_id);
    if (task == NULL || now_ms - task->at_ms > USAGE_KEPT_MS) {
        return false;
    }
    struct berth_task_usage out = {
        .has_cpu_percent = true,
        .has_memory_mib = true,
        .measured_at = task->at_ms,
        .containers.items = arena_array(arena, task->count, sizeof(*out.containers.items)),
        .containers.count = task->count,
    };
    for (size_t i = 0; i < task->count; i++) {
        const struct container_usage *from = &task->containers[i];
        out.cpu_percent += from->cpu_percent;
        out.memory_mib += from->memory_mib;
        out.containers.items[i] = (struct berth_container_usage){
            .name = arena_text(arena, text_of(from->name)),
            .has_cpu_percent = true,
            .cpu_percent = from->cpu_percent,
            .has_memory_mib = true,
            .memory_mib = from->memory_mib,
        };
    }
    *out_usage = out;
    return true;
}

void usage_write(struct usage *usage, int64_t now_ms, struct buf *out)
{
    double cpu_percent = 0;
    double memory_mib = 0;
    sweep(usage, now_ms - USAGE_KEPT_MS);
    size_t cursor = 0;
    const struct task_usage *task = NULL;
    while ((task = map_next(&usage->tasks, &cursor, NULL)) != NULL) {
        for (size_t i = 0; i < task->count; i++) {
            cpu_percent += task->containers[i].cpu_percent;
            memory_mib += task->containers[i].memory_mib;
        }
    }
    metrics_write_number(out, "berth_tasks_measured", "gauge",
                         "Tasks whose usage was published within the last minute.",
                         (double)usage->tasks.count);
    metrics_write_number(out, "berth_tasks_cpu_cores", "gauge", "CPUs that those tasks take.",
                         cpu_percent / 100);
    metrics_write_number(out, "berth_tasks_memory_bytes", "gauge",
                         "Memory that those tasks take, without what is only cached.",
                         memory_mib * MIB);
}
