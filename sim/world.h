#pragma once

#include "base/buf.h"

/*
 * Virtual time, chance and the trace: what every part of the simulator stands on.
 *
 * All that happens is an event at a time; events at the same time run in the order in which they
 * were posted. Chance comes from one generator that the seed starts, so a seed is a whole run. The
 * trace tells the run in words; its hash tells whether two runs were the same.
 */

#define WORLD_TRACE_LINES 400 ///< of the trace's tail that a failure prints

struct world;

/** Something that happens. The payload is released afterwards. */
typedef void (*world_fn)(void *context, void *payload);

/** What to post. Fields that are zero take their defaults. */
struct world_event {
    int64_t delay_ms;
    const uint64_t *life; ///< the event is dropped when this number has changed; must stay valid
    world_fn run;
    void *context;
    void *payload;                  ///< owned by the event
    void (*release)(void *payload); ///< alloc_free unless told
};

struct world_slot;

struct world {
    uint64_t seed;
    uint64_t random;
    int64_t now_ms; ///< true time, which no process sees
    uint64_t step;  ///< events that ran
    struct world_slot *heap;
    size_t count;
    size_t capacity;
    uint64_t order;
    char *lines[WORLD_TRACE_LINES]; ///< owned; a ring
    size_t line_count;
    uint64_t hash;
    bool print;  ///< show the trace as it comes
    bool failed; ///< an invariant is broken
    char failure[2048];
};

/** Start at time zero. */
void world_init(struct world *world, uint64_t seed);

/** Drop all events and free. */
void world_deinit(struct world *world);

/** Have something happen. */
void world_post(struct world *world, const struct world_event *event);

/** Let the next event happen. @return false when there is none */
bool world_step(struct world *world);

/** @return 64 random bits */
uint64_t world_random(struct world *world);

/** @return a number from low to high, both included */
int64_t world_between(struct world *world, int64_t low, int64_t high);

/** @return true in so many of 1000 cases */
bool world_chance(struct world *world, int permille);

/** Add a line to the trace. */
void world_trace(struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);

/** An invariant is broken. The first one counts. */
void world_fail(struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);

/** Print the trace's tail to standard error. */
void world_print_tail(const struct world *world, size_t line_count);
