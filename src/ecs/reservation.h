#pragma once

#include "base/base.h"

/*
 * Managed scaling: how many instances an Auto Scaling group needs.
 *
 * Pure arithmetic over counts, after the reference (services §4.2): CapacityProviderReservation is
 * M / N * 100, where N is how many instances the group has and M how many it needs. The group is
 * kept where that is its target capacity.
 */

/** What an instance has, or a task takes of it. */
struct reservation_size {
    int64_t cpu_units;
    int64_t memory_mib;
    int64_t eni_slots;
    int64_t gpus;
};

/** Tasks that wait and take the same. */
struct reservation_kind {
    struct reservation_size size;
    bool alone; ///< no two of them go on one instance: a fixed port, distinctInstance
    int64_t count;
};

/** What instances a group has. */
struct reservation_sizes {
    bool known; ///< there was an instance once
    struct reservation_size smallest;
    struct reservation_size largest;
};

/**
 * How many instances the tasks that wait need: each kind is packed onto instances of the largest
 * size, and the kind that needs most decides. Kinds that do not fit on the smallest count for
 * nothing: the group may grow without ever taking them. While no size is known one instance is
 * needed, after which it is.
 */
int64_t reservation_needed(const struct reservation_kind *kinds, size_t count,
                           const struct reservation_sizes *sizes);

struct reservation_ask {
    int64_t size;   ///< N: instances of the group, those that are on their way included
    int64_t busy;   ///< of them, those with tasks that are not of daemons
    int64_t needed; ///< for what waits, beside the busy ones
    int64_t target_percent;
    int64_t step_min; ///< instances that one growth adds
    int64_t step_max;
};

struct reservation {
    int64_t needed;  ///< M
    double percent;  ///< CapacityProviderReservation
    bool above;      ///< the target
    bool below;      //
    int64_t desired; ///< instances that the group should have next
};

/**
 * Work out the reservation and what follows from it. Growing adds at least the smaller and at most
 * the larger step. Shrinking takes at least one instance and less than half, and never a busy one.
 */
struct reservation reservation_compute(const struct reservation_ask *ask);
