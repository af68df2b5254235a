#include "core/agenda.h"

#include "base/alloc.h"

#include <string.h>

#define NO_TIMER UINT32_MAX

// Lives in the pool while it is queued or has a timer.
struct agenda_entity {
    int64_t key;   ///< 0 in a free place
    int64_t at_ms; ///< of the timer
    uint32_t manager;
    uint32_t heap_place; ///< NO_TIMER without a timer
    uint32_t next;       ///< handle + 1: in the queue, or of the next free place
    bool queued;
};

static size_t hash_of(uint32_t manager, int64_t key)
{
    uint64_t hash = ((uint64_t)key ^ ((uint64_t)manager << 48)) * 0x9E3779B97F4A7C15u;
    return (size_t)(hash >> 32);
}

// ---- look-up ------------------------------------------------------------------------------

// The slot that holds the entity, or the empty one where it would go.
static uint32_t find_slot(const struct agenda *agenda, uint32_t manager, int64_t key)
{
    uint32_t mask = agenda->slot_capacity - 1;
    for (uint32_t i = (uint32_t)hash_of(manager, key) & mask;; i = (i + 1) & mask) {
        if (agenda->slots[i] == 0) {
            return i;
        }
        const struct agenda_entity *entity = &agenda->entities[agenda->slots[i] - 1];
        if (entity->key == key && entity->manager == manager) {
            return i;
        }
    }
}

static void grow_slots(struct agenda *agenda)
{
    uint32_t *old = agenda->slots;
    uint32_t old_capacity = agenda->slot_capacity;
    agenda->slot_capacity = MAX(16u, old_capacity * 2);
    agenda->slots = alloc_array(agenda->slot_capacity, sizeof(*agenda->slots));
    for (uint32_t i = 0; i < old_capacity; i++) {
        if (old[i] != 0) {
            const struct agenda_entity *entity = &agenda->entities[old[i] - 1];
            agenda->slots[find_slot(agenda, entity->manager, entity->key)] = old[i];
        }
    }
    alloc_free(old);
}

// Empty a slot and move later ones of the same run up, so that no search stops short of them.
static void clear_slot(struct agenda *agenda, uint32_t hole)
{
    uint32_t mask = agenda->slot_capacity - 1;
    for (uint32_t i = (hole + 1) & mask; agenda->slots[i] != 0; i = (i + 1) & mask) {
        const struct agenda_entity *entity = &agenda->entities[agenda->slots[i] - 1];
        uint32_t home = (uint32_t)hash_of(entity->manager, entity->key) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            agenda->slots[hole] = agenda->slots[i];
            hole = i;
        }
    }
    agenda->slots[hole] = 0;
}

static uint32_t find_entity(const struct agenda *agenda, uint32_t manager, int64_t key)
{
    if (agenda->live_count == 0) {
        return 0;
    }
    return agenda->slots[find_slot(agenda, manager, key)];
}

// @return its handle
static uint32_t need_entity(struct agenda *agenda, uint32_t manager, int64_t key)
{
    ASSERT(key > 0);
    uint32_t found = find_entity(agenda, manager, key);
    if (found != 0) {
        return found - 1;
    }
    if ((agenda->live_count + 1) * 4 > agenda->slot_capacity * 3) {
        grow_slots(agenda);
    }
    uint32_t handle = agenda->free_first - 1;
    if (agenda->free_first != 0) {
        agenda->free_first = agenda->entities[handle].next;
    } else {
        if (agenda->entity_count == agenda->entity_capacity) {
            ASSERT(agenda->entity_capacity < UINT32_MAX / 4);
            agenda->entity_capacity = MAX(16u, agenda->entity_capacity * 2);
            agenda->entities =
                alloc_resize(agenda->entities, agenda->entity_capacity, sizeof(*agenda->entities));
        }
        handle = agenda->entity_count;
        agenda->entity_count++;
    }
    agenda->entities[handle] =
        (struct agenda_entity){.key = key, .manager = manager, .heap_place = NO_TIMER};
    agenda->slots[find_slot(agenda, manager, key)] = handle + 1;
    agenda->live_count++;
    return handle;
}

// Give the place back once the entity is neither queued nor has a timer.
static void release_entity(struct agenda *agenda, uint32_t handle)
{
    struct agenda_entity *entity = &agenda->entities[handle];
    if (entity->queued || entity->heap_place != NO_TIMER) {
        return;
    }
    clear_slot(agenda, find_slot(agenda, entity->manager, entity->key));
    *entity = (struct agenda_entity){.heap_place = NO_TIMER, .next = agenda->free_first};
    agenda->free_first = handle + 1;
    agenda->live_count--;
}

// ---- timers: a binary heap ----------------------------------------------------------------

static bool is_earlier(const struct agenda *agenda, uint32_t left, uint32_t right)
{
    const struct agenda_entity *a = &agenda->entities[left];
    const struct agenda_entity *b = &agenda->entities[right];
    if (a->at_ms != b->at_ms) {
        return a->at_ms < b->at_ms;
    }
    if (a->manager != b->manager) {
        return a->manager < b->manager;
    }
    return a->key < b->key;
}

static void heap_set(struct agenda *agenda, uint32_t place, uint32_t handle)
{
    agenda->heap[place] = handle;
    agenda->entities[handle].heap_place = place;
}

// Let the timer at the place rise or sink to where it belongs.
static void heap_settle(struct agenda *agenda, uint32_t place)
{
    uint32_t handle = agenda->heap[place];
    while (place > 0 && is_earlier(agenda, handle, agenda->heap[(place - 1) / 2])) {
        heap_set(agenda, place, agenda->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child + 1 < agenda->heap_count &&
            is_earlier(agenda, agenda->heap[child + 1], agenda->heap[child])) {
            child++;
        }
        if (child >= agenda->heap_count || !is_earlier(agenda, agenda->heap[child], handle)) {
            break;
        }
        heap_set(agenda, place, agenda->heap[child]);
        place = child;
    }
    heap_set(agenda, place, handle);
}

static void heap_add(struct agenda *agenda, uint32_t handle)
{
    if (agenda->heap_count == agenda->heap_capacity) {
        agenda->heap_capacity = MAX(16u, agenda->heap_capacity * 2);
        agenda->heap = alloc_resize(agenda->heap, agenda->heap_capacity, sizeof(*agenda->heap));
    }
    heap_set(agenda, agenda->heap_count, handle);
    agenda->heap_count++;
    heap_settle(agenda, agenda->heap_count - 1);
}

static void heap_remove(struct agenda *agenda, uint32_t handle)
{
    uint32_t place = agenda->entities[handle].heap_place;
    ASSERT(place < agenda->heap_count);
    agenda->entities[handle].heap_place = NO_TIMER;
    agenda->heap_count--;
    if (place < agenda->heap_count) {
        heap_set(agenda, place, agenda->heap[agenda->heap_count]);
        heap_settle(agenda, place);
    }
}

// ---- the agenda ---------------------------------------------------------------------------

void agenda_queue(struct agenda *agenda, uint32_t manager, int64_t key)
{
    uint32_t handle = need_entity(agenda, manager, key);
    struct agenda_entity *entity = &agenda->entities[handle];
    if (entity->queued) {
        return;
    }
    entity->queued = true;
    entity->next = 0;
    if (agenda->queue_last != 0) {
        agenda->entities[agenda->queue_last - 1].next = handle + 1;
    } else {
        agenda->queue_first = handle + 1;
    }
    agenda->queue_last = handle + 1;
    agenda->queue_count++;
}

void agenda_timer(struct agenda *agenda, uint32_t manager, int64_t key, int64_t at_ms)
{
    ASSERT(at_ms >= 0);
    if (at_ms == 0) {
        uint32_t found = find_entity(agenda, manager, key);
        if (found != 0 && agenda->entities[found - 1].heap_place != NO_TIMER) {
            heap_remove(agenda, found - 1);
            release_entity(agenda, found - 1);
        }
        return;
    }
    uint32_t handle = need_entity(agenda, manager, key);
    agenda->entities[handle].at_ms = at_ms;
    if (agenda->entities[handle].heap_place == NO_TIMER) {
        heap_add(agenda, handle);
    } else {
        heap_settle(agenda, agenda->entities[handle].heap_place);
    }
}

void agenda_ring(struct agenda *agenda, int64_t now_ms)
{
    while (agenda->heap_count > 0) {
        uint32_t handle = agenda->heap[0];
        struct agenda_entity *entity = &agenda->entities[handle];
        if (entity->at_ms > now_ms) {
            break;
        }
        // Queue first: an entity without a timer that is not queued gives its place back.
        agenda_queue(agenda, entity->manager, entity->key);
        heap_remove(agenda, handle);
    }
}

bool agenda_take(struct agenda *agenda, uint32_t *out_manager, int64_t *out_key)
{
    if (agenda->queue_first == 0) {
        return false;
    }
    uint32_t handle = agenda->queue_first - 1;
    struct agenda_entity *entity = &agenda->entities[handle];
    *out_manager = entity->manager;
    *out_key = entity->key;
    agenda->queue_first = entity->next;
    if (agenda->queue_first == 0) {
        agenda->queue_last = 0;
    }
    agenda->queue_count--;
    entity->queued = false;
    entity->next = 0;
    release_entity(agenda, handle);
    return true;
}

int64_t agenda_next_due(const struct agenda *agenda)
{
    return agenda->heap_count == 0 ? -1 : agenda->entities[agenda->heap[0]].at_ms;
}

bool agenda_valid(const struct agenda *agenda)
{
    uint32_t timers = 0;
    uint32_t live = 0;
    for (uint32_t i = 0; i < agenda->entity_count; i++) {
        const struct agenda_entity *entity = &agenda->entities[i];
        if (entity->key == 0) {
            continue;
        }
        live++;
        if (find_entity(agenda, entity->manager, entity->key) != i + 1) {
            return false;
        }
        if (entity->heap_place == NO_TIMER) {
            continue;
        }
        timers++;
        if (entity->heap_place >= agenda->heap_count || agenda->heap[entity->heap_place] != i) {
            return false;
        }
        if (entity->heap_place > 0 &&
            is_earlier(agenda, i, agenda->heap[(entity->heap_place - 1) / 2])) {
            return false;
        }
    }
    uint32_t queued = 0;
    for (uint32_t at = agenda->queue_first; at != 0; at = agenda->entities[at - 1].next) {
        if (!agenda->entities[at - 1].queued || queued > agenda->queue_count) {
            return false;
        }
        queued++;
    }
    return timers == agenda->heap_count && live == agenda->live_count &&
           queued == agenda->queue_count;
}

void agenda_deinit(struct agenda *agenda)
{
    alloc_free(agenda->entities);
    alloc_free(agenda->slots);
    alloc_free(agenda->heap);
    *agenda = (struct agenda){0};
}
