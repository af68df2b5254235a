#include "ecs/task_internal.h"

#include <string.h>

/*
 * Tasks and container instances as ecs_module sees them: what a capacity provider is used for, and
 * their tags.
 */

bool task_cluster_referenced(const struct core *core, int64_t cluster)
{
    static const enum task_record_task_status desired[] = {TASK_RECORD_TASK_STATUS_RUNNING,
                                                           TASK_RECORD_TASK_STATUS_STOPPED};
    const struct task_state *state = task_state(core);
    for (size_t i = 0; i < ARRAY_LEN(desired); i++) {
        struct index_key key;
        struct index_cursor cursor;
        task_list_key(&key, cluster, desired[i]);
        index_walk(state->by_cluster, &key, false, &cursor);
        if (index_step(&cursor) != 0) {
            return true;
        }
    }
    for (size_t i = 0; i < state->node_count; i++) {
        const struct task_record_node *node = core_get(core, &task_node_kind, state->nodes[i]->key);
        for (size_t j = 0; j < node->memberships.count; j++) {
            if (node->memberships.items[j].cluster == cluster) {
                return true;
            }
        }
    }
    return false;
}

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

bool task_tagged_find(const struct core *core, int64_t cluster, bool instance, struct text id,
                      struct task_tagged *out_tagged)
{
    struct task_tagged tagged = {.instance = instance};
    if (instance) {
        const struct task_node *node = task_instance_find(core, cluster, id, &tagged.index);
        if (node == NULL) {
            return false;
        }
        const struct task_record_node *record = core_get(core, &task_node_kind, node->key);
        const struct task_record_membership *membership = &record->memberships.items[tagged.index];
        tagged.key = node->key;
        tagged.tags = membership->tags.items;
        tagged.count = membership->tags.count;
        tagged.ended = membership->deregistered_at != 0;
    } else {
        const struct task_entry *entry = task_find(core, cluster, id);
        if (entry == NULL) {
            return false;
        }
        const struct task_record_task *record = core_get(core, &task_kind, entry->key);
        tagged.key = entry->key;
        tagged.tags = record->extra == NULL ? NULL : record->extra->tags.items;
        tagged.count = record->extra == NULL ? 0 : record->extra->tags.count;
        tagged.ended = record->last_status == TASK_RECORD_TASK_STATUS_STOPPED;
    }
    *out_tagged = tagged;
    return true;
}

void task_tagged_put(struct core_call *call, const struct task_tagged *tagged, struct ecs_tag *tags,
                     size_t count)
{
    // Tags are no part of a task's or an instance's version: watchers are not told.
    if (!tagged->instance) {
        struct task_record_task *record = task_edit(call, tagged->key);
        record->extra->tags.items = tags;
        record->extra->tags.count = count;
        task_put(call, tagged->key, record);
        return;
    }
    struct task_record_node *record = core_edit(call, &task_node_kind, tagged->key);
    ASSERT(tagged->index < record->memberships.count);
    struct task_record_membership *memberships =
        arena_array(call->arena, record->memberships.count, sizeof(*memberships));
    memcpy(memberships, record->memberships.items,
           record->memberships.count * sizeof(*memberships));
    memberships[tagged->index].tags.items = tags;
    memberships[tagged->index].tags.count = count;
    record->memberships.items = memberships;
    core_put(call, &task_node_kind, tagged->key, record);
}
