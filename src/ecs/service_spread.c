#include "ecs/service_internal.h"
#include "ecs/spread.h"

/*
 * Where the tasks of a service are to run, counted for the group that its tasks are placed in: made
 * by a walk over its tasks when it is asked for first, kept up to date while tasks come and go, and
 * let go when the service rests. A service of 5,000 tasks that starts 40 at a time would otherwise
 * look at every task 125 times.
 */

static bool counts(const struct service_task *task)
{
    return task->key != 0 && task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING &&
           task->host != NULL;
}

void service_spread_count(const struct service_state *state, struct service_entry *entry,
                          const struct service_task *task, int32_t sign)
{
    for (size_t i = 0; i < ARRAY_LEN(entry->spreads) && counts(task); i++) {
        struct task_spread *spread = entry->spreads[i];
        if (spread != NULL && !task_spread_valid(task_state(state->core), spread)) {
            task_spread_free(spread);
            entry->spreads[i] = NULL;
        } else if (spread != NULL && !MUTANT("count-spread-once")) {
            task_spread_count(spread, task->zone, task->host, sign);
        }
    }
}

void service_spreads_drop(struct service_entry *entry)
{
    for (size_t i = 0; i < ARRAY_LEN(entry->spreads); i++) {
        task_spread_free(entry->spreads[i]);
        entry->spreads[i] = NULL;
    }
}

static struct task_spread *count_all(const struct core *core, const struct service_entry *entry,
                                     const struct task_group *group)
{
    struct task_spread *spread = task_spread_new(task_state(core), group);
    for (size_t i = 0; i < entry->task_count; i++) {
        if (counts(&entry->tasks[i])) {
            task_spread_count(spread, entry->tasks[i].zone, entry->tasks[i].host, 1);
        }
    }
    return spread;
}

const struct task_spread *service_entry_spread(const struct core *core, struct service_entry *entry,
                                               const struct task_group *group)
{
    // The place of the group, an empty one, or the last.
    size_t place = 0;
    while (place < ARRAY_LEN(entry->spreads) - 1 && entry->spreads[place] != NULL &&
           entry->spreads[place]->group != group) {
        place++;
    }
    struct task_spread *spread = entry->spreads[place];
    if (spread != NULL && spread->group == group && task_spread_valid(task_state(core), spread)) {
        return spread;
    }
    task_spread_free(entry->spreads[place]);
    entry->spreads[place] = count_all(core, entry, group);
    return entry->spreads[place];
}

const struct task_spread *service_spread(struct core_call *call, int64_t deployment,
                                         const struct task_group *group)
{
    struct service_entry *entry =
        service_entry(service_state(call->core), service_of(call->core, deployment));
    return entry == NULL ? NULL : service_entry_spread(call->core, entry, group);
}

void service_spreads_check(const struct core *core, const struct service_entry *entry,
                           struct buf *violations)
{
    const struct task_state *state = task_state(core);
    for (size_t i = 0; i < entry->task_count; i++) {
        const struct service_task *task = &entry->tasks[i];
        const struct task_entry *known = task->key == 0 ? NULL : task_entry(state, task->key);
        if (known != NULL && task->host != NULL &&
            (task->zone != known->zone || task->host != known->node)) {
            buf_format(violations, "task %lld is not where its service thinks\n",
                       (long long)task->key);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(entry->spreads); i++) {
        const struct task_spread *spread = entry->spreads[i];
        if (spread == NULL || !task_spread_valid(state, spread)) {
            continue;
        }
        struct task_spread *anew = count_all(core, entry, spread->group);
        if (!task_spread_equal(spread, anew)) {
            buf_format(violations, "service %lld counts its tasks by zone and host wrongly\n",
                       (long long)entry->key);
        }
        task_spread_free(anew);
    }
}
