#pragma once

#include "base/base.h"

/*
 * What managers are to do: a queue of entities to work on now, and timers for later.
 *
 * An entity is a manager's number and a record's key. It is queued at most once and has at most
 * one timer. The queue is first in, first out; timers that are due at the same time fire in the
 * order of manager, then key. Zero-initialised storage is a valid empty agenda.
 */

struct agenda_entity;

struct agenda {
    struct agenda_entity *entities; ///< pool; places in it are the handles below
    uint32_t entity_count;          ///< places in use or free
    uint32_t entity_capacity;
    uint32_t free_first; ///< handle + 1 of the first free place, 0 for none
    uint32_t live_count;
    uint32_t *slots;        ///< open addressing: handle + 1, 0 for none
    uint32_t slot_capacity; ///< a power of two, or 0
    uint32_t *heap;         ///< handles, the earliest timer first
    uint32_t heap_count;
    uint32_t heap_capacity;
    uint32_t queue_first; ///< handle + 1, 0 for none
    uint32_t queue_last;
    uint32_t queue_count;
};

/** Queue an entity behind the others, unless it is queued already. */
void agenda_queue(struct agenda *agenda, uint32_t manager, int64_t key);

/** Set an entity's timer to at_ms, replacing an earlier one; 0 takes it away. */
void agenda_timer(struct agenda *agenda, uint32_t manager, int64_t key, int64_t at_ms);

/** Queue every entity whose timer is due at now_ms, and take those timers away. */
void agenda_ring(struct agenda *agenda, int64_t now_ms);

/** Take the first entity off the queue. @return false when the queue is empty */
bool agenda_take(struct agenda *agenda, uint32_t *out_manager, int64_t *out_key);

/** @return when the earliest timer is due, or -1 when there is none */
int64_t agenda_next_due(const struct agenda *agenda);

/** @return whether the parts agree with each other; for core_check */
bool agenda_valid(const struct agenda *agenda);

/** Free the memory. */
void agenda_deinit(struct agenda *agenda);
