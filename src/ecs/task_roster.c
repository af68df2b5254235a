#include "ecs/task_roster.h"

#include <string.h>

// ---- spots --------------------------------------------------------------------------------

// What of a spot follows from the node's record.
static void read_record(const struct core *core, const struct task_group *group,
                        struct task_spot *spot)
{
    spot->record = core_get(core, &task_node_kind, spot->node->key);
    spot->index = task_instance_in(spot->record, group->cluster);
    ASSERT(spot->index != SIZE_MAX);
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    spot->zone = task_group_zone(group, membership->zones.items[0]);
    spot->draining = membership->draining;
    spot->capabilities = task_membership_capabilities(spot->record, spot->index);
    spot->told = spot->node->told;
}

// Take over what changed of a node.
static void refresh(const struct core *core, const struct task_group *group, struct task_spot *spot)
{
    if (spot->told != spot->node->told) {
        read_record(core, group, spot);
    }
    spot->tasks_told = spot->node->tasks_told;
    spot->room = task_node_place(spot->node);
}

// The spot of a node, or NULL when it is none of the group.
static struct task_spot *find_spot(const struct task_roster *roster, int64_t key)
{
    size_t low = 0;
    size_t high = roster->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (roster->spots[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < roster->count && roster->spots[low].key == key;
    return found ? &roster->spots[low] : NULL;
}

static bool in_group(const struct task_record_node *record, const struct task_group *group)
{
    size_t index = task_instance_in(record, group->cluster);
    return index != SIZE_MAX &&
           (group->cluster != 0 ||
            task_membership_pooled(&record->memberships.items[index], group->spot));
}

static void collect(const struct task_state *state, const struct task_group *group,
                    struct task_roster *roster)
{
    if (roster->capacity < state->node_count) {
        roster->capacity = state->node_count + state->node_count / 4;
        roster->spots = alloc_resize(roster->spots, roster->capacity, sizeof(*roster->spots));
    }
    roster->count = 0;
    for (size_t i = 0; i < state->node_count; i++) {
        struct task_node *node = state->nodes[i];
        const struct task_record_node *record = core_get(state->core, &task_node_kind, node->key);
        if (!node->removed && in_group(record, group)) {
            struct task_spot *spot = &roster->spots[roster->count];
            *spot = (struct task_spot){.node = node, .key = node->key};
            refresh(state->core, group, spot);
            roster->count++;
        }
    }
    roster->stamp = state->membership_stamp;
    roster->change_seen = state->change_count;
}

struct task_roster *task_roster_look(struct core_call *call, const struct task_group *group)
{
    struct task_state *state = task_state(call->core);
    struct task_group *kept =
        group->spot ? task_pool(state, true) : task_group(state, group->cluster);
    ASSERT(kept == group);
    if (kept->roster == NULL) {
        kept->roster = ALLOC(struct task_roster);
    }
    struct task_roster *roster = kept->roster;
    if (roster->stamp != state->membership_stamp) {
        collect(state, group, roster);
    }
    if (state->change_count - roster->change_seen > TASK_CHANGES_KEPT) {
        for (size_t i = 0; i < roster->count; i++) {
            refresh(call->core, group, &roster->spots[i]);
        }
    } else {
        for (uint64_t i = roster->change_seen; i < state->change_count; i++) {
            struct task_spot *spot = find_spot(roster, state->changes[i % TASK_CHANGES_KEPT]);
            if (spot != NULL) {
                refresh(call->core, group, spot);
            }
        }
    }
    roster->change_seen = state->change_count;
    return roster;
}

// ---- columns ------------------------------------------------------------------------------

static void column_reset(struct task_column *column)
{
    alloc_free((void *)(uintptr_t)column->name.data);
    alloc_free(column->cells);
    map_deinit(&column->numbers);
    *column = (struct task_column){0};
}

void task_roster_free(struct task_roster *roster)
{
    if (roster == NULL) {
        return;
    }
    for (size_t i = 0; i < roster->column_count; i++) {
        column_reset(&roster->columns[i]);
    }
    alloc_free(roster->spots);
    alloc_free(roster);
}

static struct task_column *find_column(struct task_roster *roster, enum task_column_kind kind,
                                       struct text name)
{
    for (size_t i = 0; i < roster->column_count; i++) {
        if (roster->columns[i].kind == kind && text_equal(roster->columns[i].name, name)) {
            return &roster->columns[i];
        }
    }
    return NULL;
}

// A free column, or the one that was not asked for longest.
static struct task_column *make_column(struct task_roster *roster)
{
    if (roster->column_count < TASK_COLUMNS_MAX) {
        roster->column_count++;
        return &roster->columns[roster->column_count - 1];
    }
    struct task_column *oldest = &roster->columns[0];
    for (size_t i = 1; i < roster->column_count; i++) {
        if (roster->columns[i].used < oldest->used) {
            oldest = &roster->columns[i];
        }
    }
    column_reset(oldest);
    return oldest;
}

struct task_column *task_roster_column(struct task_state *state, struct task_roster *roster,
                                       enum task_column_kind kind, bool by_tasks, struct text name)
{
    struct task_column *column = find_column(roster, kind, name);
    // Values that came and went would add up: then all are numbered anew.
    if (column != NULL && column->number_count > 2 * roster->count + 64) {
        map_deinit(&column->numbers);
        column->number_count = 0;
        memset(column->cells, 0, column->capacity * sizeof(*column->cells));
    }
    if (column == NULL) {
        column = make_column(roster);
        char *copy = alloc_zero(name.size + 1);
        if (name.size > 0) {
            memcpy(copy, name.data, name.size);
        }
        *column =
            (struct task_column){.kind = kind, .by_tasks = by_tasks, .name = {copy, name.size}};
    }
    if (column->capacity < roster->count) {
        column->cells = alloc_resize(column->cells, roster->capacity, sizeof(*column->cells));
        memset(column->cells + column->capacity, 0,
               (roster->capacity - column->capacity) * sizeof(*column->cells));
        column->capacity = roster->capacity;
    }
    state->stamp++;
    column->used = state->stamp;
    return column;
}

int32_t task_column_number(struct task_column *column, struct text value)
{
    uintptr_t number = (uintptr_t)map_get(&column->numbers, value);
    if (number == 0) {
        column->number_count++;
        number = column->number_count;
        map_put(&column->numbers, value, (void *)number);
    }
    return (int32_t)number;
}
