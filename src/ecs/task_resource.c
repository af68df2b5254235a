#include "ecs/task_internal.h"

/*
 * Tasks and container instances as ecs_module sees them: what a capacity provider is used for.
 */

bool task_provider_in_use(const struct core *core, int64_t cluster, struct text provider)
{
    struct index_key key;
    struct index_cursor cursor;
    task_list_key(&key, cluster, TASK_RECORD_TASK_STATUS_RUNNING);
    index_walk(task_state(core)->by_cluster, &key, false, &cursor);
    for (int64_t task = index_step(&cursor); task != 0; task = index_step(&cursor)) {
        const struct task_record_task *record = core_get(core, &task_kind, task);
        if (record->extra != NULL && text_equal(record->extra->capacity_provider, provider)) {
            return true;
        }
    }
    return false;
}
