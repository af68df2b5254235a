#pragma once

#include "base/base.h"

/*
 * Capacity provider strategies: how many tasks go to which provider.
 *
 * Pure arithmetic over counts. ECS does not publish how it rounds; the rule here places one task at
 * a time: the base first, then where the weights leave the largest deficit (reference, services
 * §4.1). So the split of a number of tasks does not depend on the way to it.
 */

#define CAPACITY_ITEMS_MAX 20 ///< ECS: items of a strategy

/** One provider of a strategy. */
struct capacity_item {
    int32_t weight;
    int32_t base;
    int64_t tasks; ///< that it has
};

/**
 * Choose the provider of the next task. Items without weight get no more than their base; an only
 * item gets all. Among equals the first.
 *
 * @return its place, or SIZE_MAX when no item can have more
 */
size_t capacity_next(const struct capacity_item *items, size_t count);

/**
 * Divide tasks that are to be started among providers, beside those that they have.
 *
 * @param out_shares  as many as there are items; their sum is `tasks`, or less when nothing has a
 *                    weight
 */
void capacity_divide(const struct capacity_item *items, size_t count, size_t tasks,
                     size_t *out_shares);

/** How many tasks each provider has when there are that many in all: what scaling in goes back to.
 *  What items have now does not matter. */
void capacity_split(const struct capacity_item *items, size_t count, size_t tasks,
                    size_t *out_tasks);
