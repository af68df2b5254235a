#pragma once

#include "base/base.h"

/*
 * Placement: which node runs a task.
 *
 * Pure functions over a set of nodes: the instances of a cluster in one zone, or the hosts of a
 * pool in one zone. A set is a structure of arrays in ascending node key, so that the same records
 * give the same answer whatever order they were made in. Blocks of nodes carry a summary, so that
 * a choice among 10,000 nodes usually looks at a few hundred numbers only.
 *
 * The rule is to spread: the node with the fewest tasks that has room, the lowest key among
 * equals. It loses the fewest tasks with a node, starts a burst on many nodes at once, and fills a
 * small machine as well as any rule would. The caller spreads over zones before.
 */

/** Architectures as a bit set; a node that did not say serves both. */
enum place_architecture {
    PLACE_X86_64 = 1,
    PLACE_ARM64 = 2,
    PLACE_ANY = 3,
};

/** One node as placement sees it. */
struct place_node {
    bool usable;            ///< in contact, and not going away
    uint8_t architecture;   ///< bits of enum place_architecture
    int32_t cpu_units_free; ///< may be below 0 when the host came back smaller
    int32_t memory_mib_free;
    int32_t eni_free;
    int32_t task_count;
    uint32_t capabilities; ///< see ecs/capability.h
};

/** What one task needs. */
struct place_request {
    int32_t cpu_units;
    int32_t memory_mib;
    bool eni;              ///< it needs a network interface of its own
    uint8_t architecture;  ///< any of these bits will do
    uint32_t capabilities; ///< all of these bits
};

/** Why a node does not take a task. */
enum place_reason {
    PLACE_FITS,
    PLACE_AGENT,
    PLACE_ATTRIBUTE,
    PLACE_CPU,
    PLACE_MEMORY,
    PLACE_ENI,
};

/** A set of nodes. Zero-initialised storage is a valid empty set. */
struct place_set {
    int64_t *nodes; ///< ascending
    int32_t *cpu;   ///< free; PLACE_UNUSABLE for a node that takes nothing
    int32_t *memory;
    int32_t *eni;
    int32_t *tasks;
    int32_t *architecture;
    uint32_t *capabilities;
    struct place_block *blocks;
    size_t count;
    size_t capacity;
};

#define PLACE_UNUSABLE INT32_MIN

/** Insert a node, or replace what is known of it. */
void place_set_put(struct place_set *set, int64_t node, const struct place_node *state);

/** Take a node out. No error when it is not there. */
void place_set_remove(struct place_set *set, int64_t node);

/**
 * Choose the usable node with room that has the fewest tasks, the lowest key among equals.
 *
 * Changes nothing: the caller puts the node again when it applied the placement.
 *
 * @param out_node        set on success, untouched on failure
 * @param out_task_count  tasks the node has now; may be NULL
 * @return 0, or ERR_NO_ROOM when no node fits
 */
MUST_CHECK int place_spread(const struct place_set *set, const struct place_request *request,
                            int64_t *out_node, int32_t *out_task_count);

/** @return the place of a node in the arrays, or SIZE_MAX when it is not there */
size_t place_set_find(const struct place_set *set, int64_t node);

/**
 * The same as place_spread, but the node with the fewest tasks of the caller's own: what else it
 * has decides among equals. Looks at every node.
 *
 * @param own  tasks by place in the set's arrays, as many as there are nodes
 */
MUST_CHECK int place_spread_own(const struct place_set *set, const struct place_request *request,
                                const int32_t *own, int64_t *out_node);

/** @return why a node does not take a task, the first reason in the order of the enum */
enum place_reason place_explain(const struct place_node *state,
                                const struct place_request *request);

/** @return ECS's word for a reason, such as `RESOURCE:CPU`; NULL for PLACE_FITS */
const char *place_reason_name(enum place_reason reason);

/** @return whether order and summaries agree with the arrays; for core_check */
bool place_set_valid(const struct place_set *set);

/** Free the memory. */
void place_set_deinit(struct place_set *set);
