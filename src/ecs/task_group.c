#include "ecs/task_state.h"

#include <string.h>

/*
 * What tasks may be placed on: for each cluster and for each of the two pools a group of zones.
 */

// In state->groups; no record ever has these keys.
#define POOL_KEY 1
#define SPOT_POOL_KEY 2

struct task_group *task_group(const struct task_state *state, int64_t cluster)
{
    return map_get_u64(&state->groups, cluster == 0 ? POOL_KEY : (uint64_t)cluster);
}

struct task_group *task_pool(const struct task_state *state, bool spot)
{
    return map_get_u64(&state->groups, spot ? SPOT_POOL_KEY : POOL_KEY);
}

struct task_group *task_group_need(struct task_state *state, int64_t cluster)
{
    struct task_group *group = task_group(state, cluster);
    if (group == NULL) {
        group = ALLOC(struct task_group);
        group->cluster = cluster;
        map_put_u64(&state->groups, cluster == 0 ? POOL_KEY : (uint64_t)cluster, group);
    }
    return group;
}

struct task_group *task_pool_need(struct task_state *state, bool spot)
{
    struct task_group *group = task_pool(state, spot);
    if (group == NULL) {
        group = ALLOC(struct task_group);
        group->spot = spot;
        map_put_u64(&state->groups, spot ? SPOT_POOL_KEY : POOL_KEY, group);
    }
    return group;
}

struct task_zone *task_group_zone(const struct task_group *group, struct text name)
{
    for (size_t i = 0; i < group->zone_count; i++) {
        if (text_equal(group->zones[i]->name, name)) {
            return group->zones[i];
        }
    }
    return NULL;
}

struct task_zone *task_zone_need(struct task_group *group, struct text name)
{
    struct task_zone *zone = task_group_zone(group, name);
    if (zone != NULL) {
        return zone;
    }
    zone = ALLOC(struct task_zone);
    zone->name = task_text_own(name);
    zone->group = group;
    group->zones = alloc_resize(group->zones, group->zone_count + 1, sizeof(struct task_zone *));
    size_t place = group->zone_count;
    while (place > 0 && text_compare(group->zones[place - 1]->name, name) > 0) {
        group->zones[place] = group->zones[place - 1];
        place--;
    }
    group->zones[place] = zone;
    group->zone_count++;
    return zone;
}

void task_group_free(struct task_group *group)
{
    task_roster_free(group->roster);
    for (size_t i = 0; i < group->zone_count; i++) {
        place_set_deinit(&group->zones[i]->nodes);
        task_text_free(group->zones[i]->name);
        alloc_free(group->zones[i]);
    }
    alloc_free(group->zones);
    alloc_free(group);
}
