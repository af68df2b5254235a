#include "ecs/spread.h"

#include <string.h>

static size_t zone_place(const struct task_group *group, const struct task_zone *zone)
{
    size_t place = 0;
    while (place < group->zone_count && group->zones[place] != zone) {
        place++;
    }
    return place;
}

struct task_spread *task_spread_new(const struct task_state *state, const struct task_group *group)
{
    struct task_spread *spread = ALLOC(struct task_spread);
    spread->group = group;
    spread->layout = state->layout;
    spread->zone_count = group == NULL ? 0 : group->zone_count;
    spread->zones = alloc_array(spread->zone_count, sizeof(*spread->zones));
    spread->nodes = alloc_array(spread->zone_count, sizeof(*spread->nodes));
    for (size_t i = 0; i < spread->zone_count; i++) {
        spread->nodes[i] = alloc_array(group->zones[i]->nodes.count, sizeof(int32_t));
    }
    return spread;
}

void task_spread_free(struct task_spread *spread)
{
    if (spread == NULL) {
        return;
    }
    for (size_t i = 0; i < spread->zone_count; i++) {
        alloc_free(spread->nodes[i]);
    }
    alloc_free(spread->nodes);
    alloc_free(spread->zones);
    alloc_free(spread);
}

bool task_spread_valid(const struct task_state *state, const struct task_spread *spread)
{
    return spread->layout == state->layout &&
           (spread->group == NULL || spread->zone_count == spread->group->zone_count);
}

void task_spread_count(struct task_spread *spread, const struct task_zone *zone,
                       const struct task_node *node, int32_t sign)
{
    const struct task_group *group = spread->group;
    if (group == NULL) {
        return;
    }
    // Zones are the same places in every group: a service may have tasks in both pools.
    const struct task_zone *own = zone->group == group ? zone : task_group_zone(group, zone->name);
    if (own != NULL) {
        spread->zones[zone_place(group, own)] += sign;
    }
    for (size_t i = 0; i < node->zone_count; i++) {
        if (node->zones[i]->group == group) {
            size_t place = place_set_find(&node->zones[i]->nodes, node->key);
            ASSERT(place != SIZE_MAX);
            spread->nodes[zone_place(group, node->zones[i])][place] += sign;
        }
    }
}

bool task_spread_equal(const struct task_spread *a, const struct task_spread *b)
{
    ASSERT(a->group == b->group && a->zone_count == b->zone_count);
    for (size_t i = 0; i < a->zone_count; i++) {
        size_t count = a->group->zones[i]->nodes.count;
        if (a->zones[i] != b->zones[i] ||
            (count > 0 && memcmp(a->nodes[i], b->nodes[i], count * sizeof(int32_t)) != 0)) {
            return false;
        }
    }
    return true;
}

int32_t task_spread_zone(const struct task_spread *spread, const struct task_zone *zone)
{
    size_t place = zone_place(spread->group, zone);
    ASSERT(place < spread->group->zone_count);
    return spread->zones[place];
}
