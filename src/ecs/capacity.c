#include "ecs/capacity.h"

#include "base/mutant.h"

#include <string.h>

// Tasks of an item that its weight accounts for: those above its base.
static int64_t weighed(const struct capacity_item *item)
{
    return item->tasks > item->base ? item->tasks - item->base : 0;
}

size_t capacity_next(const struct capacity_item *items, size_t count)
{
    ASSERT(count <= CAPACITY_ITEMS_MAX);
    int64_t weights = 0;
    int64_t placed = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].tasks < items[i].base && !MUTANT("forget-base")) {
            return i;
        }
        if (items[i].weight > 0) {
            weights += items[i].weight;
            placed += weighed(&items[i]);
        }
    }
    if (count == 1) {
        return 0; // ECS: the weight of an only provider says nothing
    }
    size_t best = SIZE_MAX;
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        // weight * (placed + 1) / weights - tasks, times weights
        int64_t deficit = items[i].weight * (placed + 1) - weighed(&items[i]) * weights;
        if (items[i].weight > 0 && (best == SIZE_MAX || deficit > most)) {
            best = i;
            most = deficit;
        }
    }
    return best;
}

void capacity_divide(const struct capacity_item *items, size_t count, size_t tasks,
                     size_t *out_shares)
{
    ASSERT(count <= CAPACITY_ITEMS_MAX);
    struct capacity_item now[CAPACITY_ITEMS_MAX];
    memcpy(now, items, count * sizeof(*items));
    memset(out_shares, 0, count * sizeof(*out_shares));
    for (size_t i = 0; i < tasks; i++) {
        size_t next = capacity_next(now, count);
        if (next == SIZE_MAX) {
            return;
        }
        now[next].tasks++;
        out_shares[next]++;
    }
}

void capacity_split(const struct capacity_item *items, size_t count, size_t tasks,
                    size_t *out_tasks)
{
    ASSERT(count <= CAPACITY_ITEMS_MAX);
    struct capacity_item none[CAPACITY_ITEMS_MAX];
    memcpy(none, items, count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        none[i].tasks = 0;
    }
    capacity_divide(none, count, tasks, out_tasks);
}
