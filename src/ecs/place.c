#include "ecs/place.h"

#include "base/alloc.h"
#include "base/err.h"

#include <string.h>

#define BLOCK_NODES                                                                                \
    64 // a scan of one block and of 157 summaries (10,000 nodes) cost about the same

// The most that any usable node of the block has, and the fewest tasks of any.
struct place_block {
    int32_t cpu_max;
    int32_t memory_max;
    int32_t eni_max;
    int32_t tasks_min;
};

static size_t block_count(size_t node_count)
{
    return (node_count + BLOCK_NODES - 1) / BLOCK_NODES;
}

// ---- maintenance --------------------------------------------------------------------------

// Arrays are filled up to whole blocks with nodes that take nothing, so that loops over a block
// have a constant length: compilers make vector code of them.
static void clear(struct place_set *set, size_t place)
{
    set->cpu[place] = PLACE_UNUSABLE;
    set->memory[place] = INT32_MIN;
    set->eni[place] = INT32_MIN;
    set->tasks[place] = INT32_MAX;
    set->architecture[place] = 0;
    set->capabilities[place] = 0;
}

static struct place_block summarize(const struct place_set *set, size_t block)
{
    struct place_block summary = {
        .cpu_max = PLACE_UNUSABLE,
        .memory_max = INT32_MIN,
        .eni_max = INT32_MIN,
        .tasks_min = INT32_MAX,
    };
    size_t begin = block * BLOCK_NODES;
    for (size_t i = 0; i < BLOCK_NODES; i++) {
        // What an unusable node has makes the summary no more than less tight.
        summary.cpu_max = MAX(summary.cpu_max, set->cpu[begin + i]);
        summary.memory_max = MAX(summary.memory_max, set->memory[begin + i]);
        summary.eni_max = MAX(summary.eni_max, set->eni[begin + i]);
        summary.tasks_min = MIN(summary.tasks_min, set->tasks[begin + i]);
    }
    return summary;
}

static void summarize_from(struct place_set *set, size_t first_node)
{
    for (size_t block = first_node / BLOCK_NODES; block < block_count(set->count); block++) {
        set->blocks[block] = summarize(set, block);
    }
}

// The first place whose node is not below the given one.
static size_t find(const struct place_set *set, int64_t node)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->nodes[middle] < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void grow(struct place_set *set)
{
    set->capacity = MAX((size_t)BLOCK_NODES, set->capacity * 2);
    set->nodes = alloc_resize(set->nodes, set->capacity, sizeof(*set->nodes));
    set->cpu = alloc_resize(set->cpu, set->capacity, sizeof(*set->cpu));
    set->memory = alloc_resize(set->memory, set->capacity, sizeof(*set->memory));
    set->eni = alloc_resize(set->eni, set->capacity, sizeof(*set->eni));
    set->tasks = alloc_resize(set->tasks, set->capacity, sizeof(*set->tasks));
    set->architecture = alloc_resize(set->architecture, set->capacity, sizeof(*set->architecture));
    set->capabilities = alloc_resize(set->capabilities, set->capacity, sizeof(*set->capabilities));
    set->blocks = alloc_resize(set->blocks, block_count(set->capacity), sizeof(*set->blocks));
    for (size_t i = set->count; i < set->capacity; i++) {
        clear(set, i);
    }
}

// Move what lies from one place on to another place.
static void shift(struct place_set *set, size_t from, size_t to)
{
    size_t count = set->count - from;
    memmove(set->nodes + to, set->nodes + from, count * sizeof(*set->nodes));
    memmove(set->cpu + to, set->cpu + from, count * sizeof(*set->cpu));
    memmove(set->memory + to, set->memory + from, count * sizeof(*set->memory));
    memmove(set->eni + to, set->eni + from, count * sizeof(*set->eni));
    memmove(set->tasks + to, set->tasks + from, count * sizeof(*set->tasks));
    memmove(set->architecture + to, set->architecture + from, count * sizeof(*set->architecture));
    memmove(set->capabilities + to, set->capabilities + from, count * sizeof(*set->capabilities));
}

void place_set_put(struct place_set *set, int64_t node, const struct place_node *state)
{
    ASSERT(node > 0);
    size_t place = find(set, node);
    bool is_new = place == set->count || set->nodes[place] != node;
    if (is_new) {
        if (set->count == set->capacity) {
            grow(set);
        }
        shift(set, place, place + 1);
        set->count++;
        set->nodes[place] = node;
    }
    set->cpu[place] = state->usable ? state->cpu_units_free : PLACE_UNUSABLE;
    set->memory[place] = state->memory_mib_free;
    set->eni[place] = state->eni_free;
    set->tasks[place] = state->task_count;
    set->architecture[place] = state->architecture;
    set->capabilities[place] = state->capabilities;
    if (is_new) {
        summarize_from(set, place);
    } else {
        set->blocks[place / BLOCK_NODES] = summarize(set, place / BLOCK_NODES);
    }
}

void place_set_remove(struct place_set *set, int64_t node)
{
    size_t place = find(set, node);
    if (place == set->count || set->nodes[place] != node) {
        return;
    }
    shift(set, place + 1, place);
    set->count--;
    clear(set, set->count);
    summarize_from(set, place);
}

void place_set_deinit(struct place_set *set)
{
    alloc_free(set->nodes);
    alloc_free(set->cpu);
    alloc_free(set->memory);
    alloc_free(set->eni);
    alloc_free(set->tasks);
    alloc_free(set->architecture);
    alloc_free(set->capabilities);
    alloc_free(set->blocks);
    *set = (struct place_set){0};
}

bool place_set_valid(const struct place_set *set)
{
    for (size_t i = 1; i < set->count; i++) {
        if (set->nodes[i - 1] >= set->nodes[i]) {
            return false;
        }
    }
    for (size_t block = 0; block < block_count(set->count); block++) {
        struct place_block want = summarize(set, block);
        if (memcmp(&want, &set->blocks[block], sizeof(want)) != 0) {
            return false;
        }
    }
    return true;
}

// ---- choice -------------------------------------------------------------------------------

// The fewest tasks of any node of the block that fits; INT32_MAX when none does. In arithmetic
// alone, of which GCC and Clang make vector code at -O2: with a choice in it 10,000 nodes took 14
// microseconds instead of 4.
static int32_t fewest_tasks(const struct place_set *set, size_t block,
                            const struct place_request *request)
{
    const int32_t *cpu = set->cpu + block * BLOCK_NODES;
    const int32_t *memory = set->memory + block * BLOCK_NODES;
    const int32_t *eni = set->eni + block * BLOCK_NODES;
    const int32_t *tasks = set->tasks + block * BLOCK_NODES;
    const int32_t *architecture = set->architecture + block * BLOCK_NODES;
    int32_t need_cpu = request->cpu_units;
    int32_t need_memory = request->memory_mib;
    const uint32_t *capabilities = set->capabilities + block * BLOCK_NODES;
    int32_t need_eni = request->eni ? 1 : INT32_MIN;
    uint32_t need_capabilities = request->capabilities;
    int32_t need_architecture = request->architecture;
    int32_t fewest = INT32_MAX;
    for (size_t i = 0; i < BLOCK_NODES; i++) {
        int32_t misfit = (cpu[i] < need_cpu) | (memory[i] < need_memory) | (eni[i] < need_eni) |
                         ((architecture[i] & need_architecture) == 0) |
                         ((need_capabilities & ~capabilities[i]) != 0);
        int32_t score = tasks[i] | (-misfit & INT32_MAX); // INT32_MAX for what does not fit
        fewest = MIN(fewest, score);
    }
    return fewest;
}

// The first node of the block that fits and has that many tasks; there is one.
static size_t first_with(const struct place_set *set, size_t block,
                         const struct place_request *request, int32_t tasks)
{
    int32_t eni = request->eni ? 1 : INT32_MIN;
    size_t i = block * BLOCK_NODES;
    while (set->tasks[i] != tasks || set->cpu[i] < request->cpu_units ||
           set->memory[i] < request->memory_mib || set->eni[i] < eni ||
           (set->architecture[i] & request->architecture) == 0 ||
           (request->capabilities & ~set->capabilities[i]) != 0) {
        i++;
        ASSERT(i < set->count);
    }
    return i;
}

int place_spread(const struct place_set *set, const struct place_request *request,
                 int64_t *out_node, int32_t *out_task_count)
{
    ASSERT(request->cpu_units >= 0);
    ASSERT(request->memory_mib >= 0);
    int32_t eni = request->eni ? 1 : INT32_MIN;
    int32_t below = INT32_MAX;
    size_t best_block = SIZE_MAX;
    for (size_t block = 0; block < block_count(set->count); block++) {
        const struct place_block *summary = &set->blocks[block];
        if (summary->tasks_min >= below || summary->cpu_max < request->cpu_units ||
            summary->memory_max < request->memory_mib || summary->eni_max < eni) {
            continue;
        }
        int32_t fewest = fewest_tasks(set, block, request);
        if (fewest < below) {
            best_block = block;
            below = fewest;
        }
    }
    if (best_block == SIZE_MAX) {
        return ERR_NO_ROOM;
    }
    size_t best = first_with(set, best_block, request, below);
    *out_node = set->nodes[best];
    if (out_task_count != NULL) {
        *out_task_count = set->tasks[best];
    }
    return 0;
}

size_t place_set_find(const struct place_set *set, int64_t node)
{
    size_t place = find(set, node);
    return place < set->count && set->nodes[place] == node ? place : SIZE_MAX;
}

int place_spread_own(const struct place_set *set, const struct place_request *request,
                     const int32_t *own, int64_t *out_node)
{
    int32_t eni = request->eni ? 1 : INT32_MIN;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < set->count; i++) {
        bool fits = (set->cpu[i] >= request->cpu_units) & (set->memory[i] >= request->memory_mib) &
                    (set->eni[i] >= eni) & ((set->architecture[i] & request->architecture) != 0) &
                    ((request->capabilities & ~set->capabilities[i]) == 0);
        if (fits && (best == SIZE_MAX || own[i] < own[best] ||
                     (own[i] == own[best] && set->tasks[i] < set->tasks[best]))) {
            best = i;
        }
    }
    if (best == SIZE_MAX) {
        return ERR_NO_ROOM;
    }
    *out_node = set->nodes[best];
    return 0;
}

enum place_reason place_explain(const struct place_node *state, const struct place_request *request)
{
    if (!state->usable) {
        return PLACE_AGENT;
    }
    if ((state->architecture & request->architecture) == 0 ||
        (request->capabilities & ~state->capabilities) != 0) {
        return PLACE_ATTRIBUTE;
    }
    if (state->cpu_units_free < request->cpu_units) {
        return PLACE_CPU;
    }
    if (state->memory_mib_free < request->memory_mib) {
        return PLACE_MEMORY;
    }
    if (request->eni && state->eni_free < 1) {
        return PLACE_ENI;
    }
    return PLACE_FITS;
}

const char *place_reason_name(enum place_reason reason)
{
    switch (reason) {
    case PLACE_FITS:
        return NULL;
    case PLACE_AGENT:
        return "AGENT";
    case PLACE_ATTRIBUTE:
        return "ATTRIBUTE";
    case PLACE_CPU:
        return "RESOURCE:CPU";
    case PLACE_MEMORY:
        return "RESOURCE:MEMORY";
    case PLACE_ENI:
        return "RESOURCE:ENI";
    }
    return NULL;
}
