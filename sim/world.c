#include "world.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

struct world_slot {
    int64_t at_ms;
    uint64_t order;
    uint64_t life_number;
    struct world_event event;
};

void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){.seed = seed, .hash = FNV_START};
    // Neighbouring seeds begin far apart.
    world->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void release(const struct world_event *event)
{
    if (event->release != NULL) {
        event->release(event->payload);
    } else {
        alloc_free(event->payload);
    }
}

void world_deinit(struct world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        release(&world->heap[i].event);
    }
    alloc_free(world->heap);
    for (size_t i = 0; i < WORLD_TRACE_LINES; i++) {
        alloc_free(world->lines[i]);
    }
}

// ---- events: a heap ordered by time, then by when they were posted --------------------------

static bool before(const struct world_slot *a, const struct world_slot *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(struct world_slot *a, struct world_slot *b)
{
    struct world_slot kept = *a;
    *a = *b;
    *b = kept;
}

void world_post(struct world *world, const struct world_event *event)
{
    ASSERT(event->run != NULL);
    ASSERT(event->delay_ms >= 0);
    if (world->count == world->capacity) {
        world->capacity = MAX(world->capacity * 2, (size_t)256);
        world->heap = alloc_resize(world->heap, world->capacity, sizeof(*world->heap));
    }
    size_t at = world->count++;
    world->heap[at] = (struct world_slot){
        .at_ms = world->now_ms + event->delay_ms,
        .order = world->order++,
        .life_number = event->life == NULL ? 0 : *event->life,
        .event = *event,
    };
    while (at > 0 && before(&world->heap[at], &world->heap[(at - 1) / 2])) {
        swap(&world->heap[at], &world->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static struct world_slot take(struct world *world)
{
    struct world_slot first = world->heap[0];
    world->count--;
    world->heap[0] = world->heap[world->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= world->count) {
            break;
        }
        if (child + 1 < world->count && before(&world->heap[child + 1], &world->heap[child])) {
            child++;
        }
        if (!before(&world->heap[child], &world->heap[at])) {
            break;
        }
        swap(&world->heap[child], &world->heap[at]);
        at = child;
    }
    return first;
}

bool world_step(struct world *world)
{
    while (world->count > 0) {
        struct world_slot slot = take(world);
        const struct world_event *event = &slot.event;
        bool alive = event->life == NULL || *event->life == slot.life_number;
        ASSERT(slot.at_ms >= world->now_ms);
        if (!alive) {
            release(event);
            continue;
        }
        world->now_ms = slot.at_ms;
        world->step++;
        event->run(event->context, event->payload);
        release(event);
        return true;
    }
    return false;
}

// ---- chance: SplitMix64 -------------------------------------------------------------------

uint64_t world_random(struct world *world)
{
    world->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t bits = world->random;
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    return bits ^ (bits >> 31);
}

int64_t world_between(struct world *world, int64_t low, int64_t high)
{
    ASSERT(low <= high);
    return low + (int64_t)(world_random(world) % (uint64_t)(high - low + 1));
}

bool world_chance(struct world *world, int permille)
{
    return permille > 0 && world_between(world, 0, 999) < permille;
}

// ---- the trace ----------------------------------------------------------------------------

void world_trace(struct world *world, const char *format, ...)
{
    char text[1024];
    int size =
        snprintf(text, sizeof(text), "%8lld.%03lld #%llu ", (long long)(world->now_ms / 1000),
                 (long long)(world->now_ms % 1000), (unsigned long long)world->step);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + size, sizeof(text) - (size_t)size, format, arguments);
    va_end(arguments);
    for (const char *byte = text; *byte != '\0'; byte++) {
        world->hash = (world->hash ^ (unsigned char)*byte) * FNV_PRIME;
    }
    if (world->print) {
        puts(text);
    }
    char **line = &world->lines[world->line_count % WORLD_TRACE_LINES];
    alloc_free(*line);
    *line = alloc_string(text);
    world->line_count++;
}

void world_fail(struct world *world, const char *format, ...)
{
    if (world->failed) {
        return;
    }
    world->failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure, sizeof(world->failure), format, arguments);
    va_end(arguments);
    world_trace(world, "BROKEN: %s", world->failure);
}

void world_print_tail(const struct world *world, size_t line_count)
{
    size_t count = MIN(MIN(world->line_count, line_count), (size_t)WORLD_TRACE_LINES);
    for (size_t i = world->line_count - count; i < world->line_count; i++) {
        fprintf(stderr, "%s\n", world->lines[i % WORLD_TRACE_LINES]);
    }
}
