#include "ecs/task_internal.h"

#include <stdlib.h>

/*
 * When a task came how far. The region knows of its own steps; the host tells the others, apart
 * from the states that it reports. Each moment is taken once: hosts repeat what they are not sure
 * that it arrived, and remember less after they were started again.
 */

#define TIMELINE_TASKS_MAX 100     // of one message, as of health
#define TIMELINE_EVENTS_MAX 64     // seven of a task, four of each of ten containers
#define TIMELINE_CONTAINERS_MAX 10 // of a definition
#define NOTE_MAX 16384             // bytes: fifteen limits of each of ten containers

// ---- taking -------------------------------------------------------------------------------

/** A moment in a record. */
struct moment {
    bool *has;
    int64_t *after_ms;
};

static bool learn(const struct task_record_task *record, const struct moment *moment, int64_t at_ms)
{
    if (at_ms <= 0 || *moment->has) {
        return false;
    }
    *moment->has = true;
    *moment->after_ms = at_ms - record->created_at;
    return true;
}

static bool learn_container(const struct task_record_task *record,
                            const struct session_container_timeline *told,
                            struct task_record_container *container)
{
    const struct moment moments[] = {
        {&container->has_started_after_ms, &container->started_after_ms},
        {&container->has_healthy_after_ms, &container->healthy_after_ms},
        {&container->has_finished_after_ms, &container->finished_after_ms},
    };
    const int64_t at_ms[] = {told->started_at, told->healthy_at, told->finished_at};
    bool changed = false;
    for (size_t i = 0; i < ARRAY_LEN(moments); i++) {
        changed = learn(record, &moments[i], at_ms[i]) || changed;
    }
    if (told->restart_count > container->restart_count) {
        container->has_restart_count = true;
        container->restart_count = told->restart_count;
        container->has_restarted_after_ms = told->restarted_at > 0;
        container->restarted_after_ms = told->restarted_at - record->created_at;
        changed = true;
    }
    return changed;
}

static void take(struct core_call *call, const struct task_state *state,
                 const struct task_node *node, const struct session_task_timeline *told)
{
    size_t slash = text_find_last(told->task_arn, '/');
    struct text id = slash == SIZE_MAX ? told->task_arn
                                       : text_slice(told->task_arn, slash + 1, told->task_arn.size);
    struct task_entry *entry = task_entry_by_id(state, id);
    if (entry == NULL || entry->node != node) {
        return;
    }
    struct task_record_task *record = task_edit(call, entry->key);
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    const struct moment network = {&record->has_network_after_ms, &record->network_after_ms};
    const struct moment prepared = {&record->has_prepared_after_ms, &record->prepared_after_ms};
    bool changed = learn(record, &network, told->network_ready_at);
    changed = learn(record, &prepared, told->prepared_at) || changed;
    if (!text_empty(told->note) && told->note.size <= NOTE_MAX && text_empty(record->extra->note)) {
        record->extra->note = told->note;
        changed = true;
    }
    for (size_t i = 0; i < MIN(told->containers.count, (size_t)TIMELINE_CONTAINERS_MAX); i++) {
        for (size_t k = 0; k < record->containers.count; k++) {
            if (text_equal(told->containers.items[i].container_name,
                           definition->container_definitions.items[k].name)) {
                changed = learn_container(record, &told->containers.items[i],
                                          &record->containers.items[k]) ||
                          changed;
            }
        }
    }
    if (changed) {
        task_put(call, entry->key, record);
    }
}

int task_node_timeline(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct node_node_timeline_request *request = input;
    struct task_state *state = pointer;
    const struct task_node *node = task_node_of(state, call->caller->node_id);
    for (size_t i = 0; node != NULL && i < MIN(request->tasks.count, (size_t)TIMELINE_TASKS_MAX);
         i++) {
        take(call, state, node, &request->tasks.items[i]);
    }
    return 0;
}

// ---- showing ------------------------------------------------------------------------------

static void add(struct berth_timeline_event_list *list, enum berth_timeline_step step, bool known,
                int64_t at_ms, struct text container)
{
    if (known && list->count < TIMELINE_EVENTS_MAX) {
        list->items[list->count++] =
            (struct berth_timeline_event){.step = step, .at = at_ms, .container = container};
    }
}

static void add_task(const struct task_record_task *record, struct berth_timeline_event_list *list)
{
    const struct {
        enum berth_timeline_step step;
        int64_t at_ms; ///< 0 when it has not come so far
    } steps[] = {
        {BERTH_TIMELINE_STEP_QUEUED, record->created_at},
        {BERTH_TIMELINE_STEP_PLACED, record->extra == NULL ? 0 : record->extra->placed_at},
        {BERTH_TIMELINE_STEP_PULLING, record->pull_started_at},
        {BERTH_TIMELINE_STEP_PULLED, record->pull_stopped_at},
        {BERTH_TIMELINE_STEP_RUNNING, record->started_at},
        {BERTH_TIMELINE_STEP_STOPPING, record->stopping_at},
        {BERTH_TIMELINE_STEP_STOPPED, record->stopped_at},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        add(list, steps[i].step, steps[i].at_ms > 0, steps[i].at_ms, (struct text){0});
    }
    add(list, BERTH_TIMELINE_STEP_NETWORK_READY, record->has_network_after_ms,
        record->created_at + record->network_after_ms, (struct text){0});
    add(list, BERTH_TIMELINE_STEP_CREATED, record->has_prepared_after_ms,
        record->created_at + record->prepared_after_ms, (struct text){0});
}

static void add_container(const struct task_record_task *record,
                          const struct task_record_container *container, struct text name,
                          struct berth_timeline_event_list *list)
{
    add(list, BERTH_TIMELINE_STEP_STARTED, container->has_started_after_ms,
        record->created_at + container->started_after_ms, name);
    add(list, BERTH_TIMELINE_STEP_RESTARTED, container->has_restarted_after_ms,
        record->created_at + container->restarted_after_ms, name);
    add(list, BERTH_TIMELINE_STEP_HEALTHY, container->has_healthy_after_ms,
        record->created_at + container->healthy_after_ms, name);
    add(list, BERTH_TIMELINE_STEP_EXITED, container->has_finished_after_ms,
        record->created_at + container->finished_after_ms, name);
}

// In the order of a life where the clocks of two hosts, or milliseconds, leave it open.
static int compare(const void *a, const void *b)
{
    const struct berth_timeline_event *left = a;
    const struct berth_timeline_event *right = b;
    if (left->at != right->at) {
        return left->at < right->at ? -1 : 1;
    }
    if (left->step != right->step) {
        return left->step < right->step ? -1 : 1;
    }
    return text_compare(left->container, right->container);
}

int task_get_timeline(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct berth_get_task_timeline_request *request = input;
    struct berth_get_task_timeline_response *response = output;
    const struct task_entry *entry = NULL;
    int rc = task_find_anywhere(call, pointer, request->cluster, request->task, &entry);
    if (rc != 0) {
        return rc;
    }
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    const struct ecs_task_definition *definition = task_definition(call->core, record->definition);
    response->task = ARENA_NEW(call->arena, struct ecs_task);
    task_show(call, entry->key, record, TASK_SHOW_TAGS, response->task);
    response->timeline.items =
        arena_array(call->arena, TIMELINE_EVENTS_MAX, sizeof(*response->timeline.items));
    response->restarts.items =
        arena_array(call->arena, record->containers.count, sizeof(*response->restarts.items));
    add_task(record, &response->timeline);
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        struct text name = definition->container_definitions.items[i].name;
        add_container(record, container, name, &response->timeline);
        if (container->restart_count > 0) {
            response->restarts.items[response->restarts.count++] =
                (struct berth_container_restarts){.name = name,
                                                  .has_restart_count = true,
                                                  .restart_count = container->restart_count};
        }
    }
    response->note = record->extra == NULL ? (struct text){0} : record->extra->note;
    struct berth_timeline_event_list *list = &response->timeline;
    qsort(list->items, list->count, sizeof(*list->items), compare);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].has_after_ms = true;
        list->items[i].after_ms = list->items[i].at - record->created_at;
    }
    return 0;
}
