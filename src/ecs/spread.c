#include "ecs/spread.h"

static size_t zone_place(const struct task_group *group, const struct task_zone *zone)
{
    size_t place = 0;
    while (place < group->zone_count && group->zones[place] != zone) {
        place++;
    }
    return place;
}

struct task_spread *task_spread_new(struct arena *arena, const struct task_group *group)
{
    struct task_spread *spread = ARENA_NEW(arena, struct task_spread);
    spread->group = group;
    if (group == NULL) {
        return spread;
    }
    spread->zones = arena_array(arena, group->zone_count, sizeof(*spread->zones));
    spread->nodes = arena_array(arena, group->zone_count, sizeof(*spread->nodes));
    for (size_t i = 0; i < group->zone_count; i++) {
        spread->nodes[i] = arena_array(arena, group->zones[i]->nodes.count, sizeof(int32_t));
    }
    return spread;
}

void task_spread_add(struct task_spread *spread, const struct task_entry *entry)
{
    const struct task_group *group = spread->group;
    if (group == NULL) {
        return;
    }
    // Zones are the same places in every group: a service may have tasks in both pools.
    const struct task_zone *zone =
        entry->zone->group == group ? entry->zone : task_group_zone(group, entry->zone->name);
    if (zone != NULL) {
        spread->zones[zone_place(group, zone)]++;
    }
    const struct task_node *node = entry->node;
    for (size_t i = 0; i < node->zone_count; i++) {
        if (node->zones[i]->group == group) {
            size_t place = place_set_find(&node->zones[i]->nodes, node->key);
            ASSERT(place != SIZE_MAX);
            spread->nodes[zone_place(group, node->zones[i])][place]++;
        }
    }
}

int32_t task_spread_zone(const struct task_spread *spread, const struct task_zone *zone)
{
    size_t place = zone_place(spread->group, zone);
    ASSERT(place < spread->group->zone_count);
    return spread->zones[place];
}
