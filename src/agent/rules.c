#include "agent/rules.h"

#include "base/text.h"

void agent_rules_deinit(struct agent_rules *rules)
{
    size_t cursor = 0;
    for (void *group = map_next(&rules->groups, &cursor, NULL); group != NULL;
         group = map_next(&rules->groups, &cursor, NULL)) {
        alloc_free(group);
    }
    map_deinit(&rules->groups);
    rules->groups = (struct map){0};
}

bool agent_rules_keep(struct agent_rules *rules, const struct session_security_group *from)
{
    const struct session_security_group *known = map_get(&rules->groups, from->group_id);
    if (known != NULL && known->version >= from->version) {
        return false;
    }
    if (known == NULL && rules->groups.count >= AGENT_RULES_MAX) {
        agent_rules_deinit(rules);
    }
    struct session_security_group *group = shape_clone(&session_security_group_shape, from, NULL);
    alloc_free(map_put(&rules->groups, group->group_id, group));
    return true;
}

struct session_security_group_list agent_rules_all(const struct agent_rules *rules,
                                                   struct arena *arena)
{
    struct session_security_group_list all = {
        .items = arena_array(arena, rules->groups.count, sizeof(*all.items))};
    size_t cursor = 0;
    for (const struct session_security_group *group = map_next(&rules->groups, &cursor, NULL);
         group != NULL; group = map_next(&rules->groups, &cursor, NULL)) {
        all.items[all.count++] = *group;
    }
    return all;
}

const struct session_security_group *agent_rules_of(const struct agent_rules *rules, struct text id)
{
    return map_get(&rules->groups, id);
}
