#include "sim.h"

#include "base/text.h"

#include <stdio.h>

struct text sim_task_id(struct text arn)
{
    size_t slash = text_find_last(arn, '/');
    return slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
}

struct fact *fact_find(struct sim *sim, struct text id)
{
    return map_get(&sim->facts.by_id, id);
}

struct fact *fact_of(struct sim *sim, struct text id)
{
    struct fact *fact = fact_find(sim, id);
    if (fact != NULL) {
        return fact;
    }
    struct facts *facts = &sim->facts;
    fact = ALLOC(struct fact);
    snprintf(fact->id, sizeof(fact->id), "%.*s", TEXT_FMT(id));
    if (facts->count == facts->capacity) {
        facts->capacity = MAX(facts->capacity * 2, (size_t)64);
        facts->items = alloc_resize(facts->items, facts->capacity, sizeof(*facts->items));
    }
    facts->items[facts->count++] = fact;
    map_put(&facts->by_id, id, fact);
    return fact;
}

void fact_changed(struct sim *sim, struct fact *fact)
{
    struct facts *facts = &sim->facts;
    if (fact->listed) {
        return;
    }
    fact->listed = true;
    if (facts->changed_count == facts->changed_capacity) {
        facts->changed_capacity = MAX(facts->changed_capacity * 2, (size_t)64);
        facts->changed =
            alloc_resize(facts->changed, facts->changed_capacity, sizeof(*facts->changed));
    }
    facts->changed[facts->changed_count++] = fact;
}

void facts_deinit(struct facts *facts)
{
    for (size_t i = 0; i < facts->count; i++) {
        alloc_free(facts->items[i]);
    }
    alloc_free(facts->items);
    alloc_free(facts->changed);
    alloc_free(facts->tokens);
    map_deinit(&facts->by_id);
}
