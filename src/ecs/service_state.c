#include "ecs/service_internal.h"

#include <string.h>

// ---- entries --------------------------------------------------------------------------------

struct service_state *service_state(const struct core *core)
{
    return core_module_state(core, &service_module);
}

struct service_entry *service_entry(const struct service_state *state, int64_t service)
{
    return map_get_u64(&state->entries, (uint64_t)service);
}

static void entry_free(struct service_entry *entry)
{
    alloc_free(entry->tasks);
    alloc_free(entry->deployments);
    service_spreads_drop(entry);
    service_told_free(entry);
    alloc_free(entry);
}

void service_entry_compact(struct service_entry *entry)
{
    if (entry->gap_count == 0) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < entry->task_count; i++) {
        if (entry->tasks[i].key != 0) {
            entry->tasks[kept] = entry->tasks[i];
            kept++;
        }
    }
    entry->task_count = kept;
    entry->gap_count = 0;
}

// The place of a task, or of the first one behind it. Gaps lie where their tasks were, so the
// search steps over them.
static size_t task_place_of(const struct service_entry *entry, int64_t key)
{
    size_t low = 0;
    size_t high = entry->task_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        size_t at = middle;
        while (at < high && entry->tasks[at].key == 0) {
            at++;
        }
        if (at == high) {
            high = middle;
        } else if (entry->tasks[at].key < key) {
            low = at + 1;
        } else {
            high = middle;
        }
    }
    while (low < entry->task_count && entry->tasks[low].key == 0) {
        low++;
    }
    return low;
}

static struct service_task *entry_task(struct service_entry *entry, int64_t key)
{
    size_t place = task_place_of(entry, key);
    return place < entry->task_count && entry->tasks[place].key == key ? &entry->tasks[place]
                                                                       : NULL;
}

static struct service_task *entry_add(struct service_entry *entry, int64_t key)
{
    if (entry->task_count == entry->task_capacity) {
        service_entry_compact(entry);
    }
    if (entry->task_count == entry->task_capacity) {
        entry->task_capacity = MAX((size_t)8, 2 * entry->task_capacity);
        entry->tasks = alloc_resize(entry->tasks, entry->task_capacity, sizeof(*entry->tasks));
    }
    // Keys ascend, so a new task is the last but where rows are loaded or a rehearsal takes one
    // back.
    size_t place = task_place_of(entry, key);
    memmove(&entry->tasks[place + 1], &entry->tasks[place],
            (entry->task_count - place) * sizeof(*entry->tasks));
    entry->task_count++;
    entry->tasks[place] = (struct service_task){.key = key};
    return &entry->tasks[place];
}

static void entry_remove(struct service_entry *entry, struct service_task *task)
{
    task->key = 0;
    entry->gap_count++;
    if (2 * entry->gap_count > entry->task_count) {
        service_entry_compact(entry);
    }
}

uint8_t service_provider_number(const struct service_state *state, struct text name)
{
    for (size_t i = 1; i < state->provider_count; i++) {
        if (text_equal(state->providers[i], name)) {
            return (uint8_t)i;
        }
    }
    return 0;
}

static uint8_t provider_number(struct service_state *state, struct text name)
{
    uint8_t known = service_provider_number(state, name);
    if (known != 0 || text_empty(name)) {
        return known;
    }
    if (state->provider_count == 0) {
        state->providers = alloc_array(UINT8_MAX, sizeof(*state->providers));
        state->provider_count = 1;
    }
    if (state->provider_count == UINT8_MAX) {
        return UINT8_MAX; // more names than a region has providers at a time: they count as one
    }
    char *data = alloc_array(name.size, 1);
    memcpy(data, name.data, name.size);
    state->providers[state->provider_count] = (struct text){data, name.size};
    state->provider_count++;
    return (uint8_t)(state->provider_count - 1);
}

// ---- what changed ---------------------------------------------------------------------------

static void name_key(struct index_key *out_key, const struct service_record_service *record)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)record->cluster);
    index_key_text(out_key, record->name);
}

static void change_index(struct index *index, const struct index_key *at, int64_t key, bool add)
{
    if (add) {
        index_add(index, at, key);
    } else {
        index_remove(index, at, key);
    }
}

static void list_service(struct service_state *state, int64_t key,
                         const struct service_record_service *record, bool add)
{
    struct index_key at;
    name_key(&at, record);
    change_index(state->by_name, &at, key, add);
    if (record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE) {
        change_index(state->active, &at, key, add);
    }
}

static void service_changed(struct service_state *state, int64_t key,
                            const struct service_record_service *before,
                            const struct service_record_service *after)
{
    bool relist = before == NULL || after == NULL || before->status != after->status;
    if (before != NULL && relist) {
        list_service(state, key, before, false);
    }
    if (after != NULL && relist) {
        list_service(state, key, after, true);
    }
    bool kept = after != NULL && after->status != SERVICE_RECORD_SERVICE_STATUS_INACTIVE;
    struct service_entry *entry = service_entry(state, key);
    if (kept && entry == NULL) {
        entry = ALLOC(struct service_entry);
        entry->key = key;
        map_put_u64(&state->entries, (uint64_t)key, entry);
    }
    if (!kept && entry != NULL) {
        map_remove_u64(&state->entries, (uint64_t)key);
        entry_free(entry);
    }
}

// A count under a key; a map's value is never NULL, so 0 is no entry.
static void count_use(struct map *uses, int64_t key, int step)
{
    uintptr_t count = (uintptr_t)map_get_u64(uses, (uint64_t)key);
    count = step > 0 ? count + 1 : count - 1;
    if (count == 0) {
        map_remove_u64(uses, (uint64_t)key);
    } else {
        map_put_u64(uses, (uint64_t)key, (void *)count);
    }
}

static void list_deployment(struct service_state *state, const struct core *core, int64_t key,
                            const struct service_record_deployment *record, bool add)
{
    struct service_entry *entry = service_entry(state, record->service);
    const struct service_record_revision *revision =
        core_get(core, &service_revision_kind, record->revision);
    count_use(&state->definition_uses, revision->definition, add ? 1 : -1);
    if (entry == NULL) {
        return;
    }
    size_t place = 0;
    while (place < entry->deployment_count && entry->deployments[place] < key) {
        place++;
    }
    if (!add) {
        memmove(&entry->deployments[place], &entry->deployments[place + 1],
                (entry->deployment_count - place - 1) * sizeof(*entry->deployments));
        entry->deployment_count--;
        return;
    }
    if (entry->deployment_count == entry->deployment_capacity) {
        entry->deployment_capacity = MAX((size_t)4, 2 * entry->deployment_capacity);
        entry->deployments = alloc_resize(entry->deployments, entry->deployment_capacity,
                                          sizeof(*entry->deployments));
    }
    memmove(&entry->deployments[place + 1], &entry->deployments[place],
            (entry->deployment_count - place) * sizeof(*entry->deployments));
    entry->deployments[place] = key;
    entry->deployment_count++;
}

static bool deployment_counts(const struct service_record_deployment *record)
{
    return record != NULL && record->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE;
}

static void deployment_changed(struct service_state *state, const struct core *core, int64_t key,
                               const struct service_record_deployment *before,
                               const struct service_record_deployment *after)
{
    struct index_key at = {.size = 0};
    const struct service_record_deployment *either = after == NULL ? before : after;
    ASSERT(either != NULL);
    index_key_u64(&at, (uint64_t)either->service);
    index_key_u64(&at, (uint64_t)either->number);
    if (before == NULL || after == NULL) {
        change_index(state->deployments, &at, key, after != NULL);
    }
    bool counted = deployment_counts(before);
    bool counts = deployment_counts(after);
    if (counted && !counts) {
        list_deployment(state, core, key, before, false);
    }
    if (counts && !counted) {
        list_deployment(state, core, key, after, true);
    }
}

// Revisions, rollouts and events: an index by service and a number each.
static void list_by_number(struct index *index, int64_t service, int64_t number, int64_t key,
                           bool add)
{
    struct index_key at = {.size = 0};
    index_key_u64(&at, (uint64_t)service);
    index_key_u64(&at, (uint64_t)number);
    change_index(index, &at, key, add);
}

static void list_rollout(struct service_state *state, int64_t key,
                         const struct service_record_rollout *record, bool add)
{
    list_by_number(state->rollouts, record->service, record->created_at, key, add);
    struct index_key at = {.size = 0};
    index_key_u64(&at, (uint64_t)record->service);
    index_key_text(&at, record->id);
    change_index(state->rollout_ids, &at, key, add);
}

// Tasks that lifecycle hooks of a rollout wait for.
static void track_hooks(struct service_state *state, const struct service_record_rollout *record,
                        bool add)
{
    for (size_t i = 0; record != NULL && i < record->hooks.count; i++) {
        const struct service_record_hook *hook = &record->hooks.items[i];
        if (hook->task == 0 || hook->status != ECS_DEPLOYMENT_LIFECYCLE_HOOK_STATUS_IN_PROGRESS) {
            continue;
        }
        if (add) {
            map_put_u64(&state->hook_tasks, (uint64_t)hook->task,
                        (void *)(uintptr_t)record->service);
        } else {
            map_remove_u64(&state->hook_tasks, (uint64_t)hook->task);
        }
    }
}

static void task_changed(struct service_state *state, const struct core *core, int64_t key,
                         const struct task_record_task *before,
                         const struct task_record_task *after)
{
    const struct task_record_task *either = after == NULL ? before : after;
    if (!either->has_deployment) {
        return;
    }
    const struct service_record_deployment *deployment =
        core_get(core, &service_deployment_kind, either->deployment);
    struct service_entry *entry =
        deployment == NULL ? NULL : service_entry(state, deployment->service);
    if (entry == NULL) {
        return;
    }
    struct service_task *task = entry_task(entry, key);
    if (after == NULL || after->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        if (task != NULL) {
            service_spread_count(state, entry, task, -1);
            entry_remove(entry, task);
        }
        return;
    }
    bool made = task == NULL;
    bool stands = !made && task->desired_status == (uint8_t)after->desired_status &&
                  task->node == after->node;
    if (!made && !stands) {
        service_spread_count(state, entry, task, -1);
    }
    if (made) {
        task = entry_add(entry, key);
        task->deployment = after->deployment;
        task->created_ms = after->created_at;
        task->provider =
            after->extra == NULL ? 0 : provider_number(state, after->extra->capacity_provider);
    }
    if (made || task->node != after->node) { // it waited for its place
        task->node = after->node;
        task->host = task_node(task_state(core), after->node);
        task->zone = task_entry(task_state(core), key)->zone;
        state->unresolved_count += task->host == NULL;
        task->subnet = after->subnet;
    }
    task->started_ms = after->started_at;
    task->protected_ms = after->extra == NULL ? 0 : after->extra->protected_until;
    task->last_status = (uint8_t)after->last_status;
    task->desired_status = (uint8_t)after->desired_status;
    task->health = (uint8_t)after->health;
    if (!stands) {
        service_spread_count(state, entry, task, 1);
    }
}

// A task that waited for its place is older than its node, whose row comes later.
static void node_loaded(struct service_state *state, struct core *core, int64_t node)
{
    size_t cursor = 0;
    for (struct service_entry *entry = map_next(&state->entries, &cursor, NULL);
         entry != NULL && state->unresolved_count > 0;
         entry = map_next(&state->entries, &cursor, NULL)) {
        for (size_t i = 0; i < entry->task_count; i++) {
            struct service_task *task = &entry->tasks[i];
            if (task->key != 0 && task->host == NULL && task->node == node) {
                task->host = task_node(task_state(core), node);
                task->zone = task_entry(task_state(core), task->key)->zone;
                state->unresolved_count--;
            }
        }
    }
}

void service_state_changed(void *pointer, struct core *core, const struct core_kind *kind,
                           int64_t key, const void *before, const void *after)
{
    struct service_state *state = pointer;
    if (kind == &task_kind) {
        task_changed(state, core, key, before, after);
    } else if (kind == &task_node_kind && before == NULL) {
        node_loaded(state, core, key);
    } else if (kind == &service_kind) {
        service_changed(state, key, before, after);
    } else if (kind == &service_deployment_kind) {
        deployment_changed(state, core, key, before, after);
    } else if (kind == &service_rollout_kind) {
        track_hooks(state, before, false);
        track_hooks(state, after, true);
        if (before == NULL || after == NULL) {
            list_rollout(state, key, after == NULL ? before : after, after != NULL);
        }
    } else if (before != NULL && after != NULL) {
        return; // what the others are listed by never changes
    } else if (kind == &service_revision_kind) {
        const struct service_record_revision *record = after == NULL ? before : after;
        list_by_number(state->revisions, record->service, record->number, key, after != NULL);
    } else if (kind == &service_event_kind) {
        const struct service_record_event *record = after == NULL ? before : after;
        list_by_number(state->events, record->service, record->created_at, key, after != NULL);
    }
}

// ---- checks ---------------------------------------------------------------------------------

struct check {
    struct service_state *state;
    struct core *core;
    struct buf *violations;
    size_t task_count;
};

static void check_record(struct check *check, int64_t key, const struct task_record_task *task)
{
    if (!task->has_deployment || task->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        return;
    }
    const struct service_record_deployment *deployment =
        core_get(check->core, &service_deployment_kind, task->deployment);
    struct service_entry *entry =
        deployment == NULL ? NULL : service_entry(check->state, deployment->service);
    struct service_task *known = entry == NULL ? NULL : entry_task(entry, key);
    if (known == NULL || known->last_status != (uint8_t)task->last_status ||
        known->desired_status != (uint8_t)task->desired_status) {
        buf_format(check->violations, "task %lld: its service does not know how it stands\n",
                   (long long)key);
    }
    check->task_count++;
}

// No instance ever has two tasks of a DAEMON service.
static void check_daemon(const struct core *core, const struct service_entry *entry,
                         struct buf *violations)
{
    const struct service_record_service *record = core_get(core, &service_kind, entry->key);
    if (record->scheduling_strategy != ECS_SCHEDULING_STRATEGY_DAEMON) {
        return;
    }
    AUTO(map_deinit) struct map nodes = {0};
    for (size_t i = 0; i < entry->task_count; i++) {
        const struct service_task *task = &entry->tasks[i];
        if (task->key != 0 && map_get_u64(&nodes, (uint64_t)task->node) != NULL) {
            buf_format(violations, "node %lld has two tasks of the daemon %.*s\n",
                       (long long)task->node, TEXT_FMT(record->name));
        }
        if (task->key != 0) {
            map_put_u64(&nodes, (uint64_t)task->node, entry->tasks);
        }
    }
}

void service_state_check(void *pointer, struct core *core, struct buf *violations)
{
    struct check check = {.state = pointer, .core = core, .violations = violations};
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        check_record(&check, key, core_get(core, &task_kind, key));
    }
    size_t count = 0;
    size_t cursor = 0;
    for (struct service_entry *entry = map_next(&check.state->entries, &cursor, NULL);
         entry != NULL; entry = map_next(&check.state->entries, &cursor, NULL)) {
        count += entry->task_count - entry->gap_count;
        check_daemon(core, entry, violations);
        service_spreads_check(core, entry, violations);
    }
    if (count != check.task_count) {
        buf_format(violations, "services count %zu tasks, there are %zu\n", count,
                   check.task_count);
    }
    const struct index *indexes[] = {check.state->by_name,   check.state->active,
                                     check.state->revisions, check.state->rollouts,
                                     check.state->events,    check.state->deployments};
    for (size_t i = 0; i < ARRAY_LEN(indexes); i++) {
        if (!index_valid(indexes[i])) {
            buf_format(violations, "index %zu of the services is out of order\n", i);
        }
    }
}

// ---- the whole ------------------------------------------------------------------------------

void *service_state_new(struct core *core)
{
    struct service_state *state = ALLOC(struct service_state);
    state->core = core;
    state->settle_ms = SERVICE_SETTLE_MS;
    state->by_name = index_new();
    state->active = index_new();
    state->revisions = index_new();
    state->rollouts = index_new();
    state->rollout_ids = index_new();
    state->events = index_new();
    state->deployments = index_new();
    return state;
}

void service_state_free(void *pointer)
{
    struct service_state *state = pointer;
    if (state == NULL) {
        return;
    }
    size_t cursor = 0;
    for (struct service_entry *entry = map_next(&state->entries, &cursor, NULL); entry != NULL;
         entry = map_next(&state->entries, &cursor, NULL)) {
        entry_free(entry);
    }
    map_deinit(&state->entries);
    map_deinit(&state->definition_uses);
    map_deinit(&state->hook_tasks);
    index_free(state->by_name);
    index_free(state->active);
    index_free(state->revisions);
    index_free(state->rollouts);
    index_free(state->rollout_ids);
    index_free(state->events);
    index_free(state->deployments);
    for (size_t i = 1; i < state->provider_count; i++) {
        alloc_free((void *)(uintptr_t)state->providers[i].data);
    }
    alloc_free(state->providers);
    alloc_free(state);
}

void service_set_spot_fallback(struct core *core, bool fallback)
{
    service_state(core)->spot_fallback = fallback;
}

void service_set_settle_ms(struct core *core, int64_t settle_ms)
{
    ASSERT(settle_ms >= 0);
    service_state(core)->settle_ms = settle_ms;
}
