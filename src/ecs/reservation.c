#include "ecs/reservation.h"

#define EMPTY_PERCENT 100.0 // ECS: of a group without instances that needs none
#define FIRST_PERCENT 200.0 // ECS: of one that needs some, whatever their number
#define FIRST_SIZE 2        // what that makes of it

static bool fits(const struct reservation_size *task, const struct reservation_size *instance)
{
    return task->cpu_units <= instance->cpu_units && task->memory_mib <= instance->memory_mib &&
           task->eni_slots <= instance->eni_slots && task->gpus <= instance->gpus;
}

static int64_t least(int64_t now, int64_t has, int64_t takes)
{
    return takes == 0 ? now : MIN(now, has / takes);
}

// How many of a kind go on one instance of a size.
static int64_t pack(const struct reservation_kind *kind, const struct reservation_size *instance)
{
    int64_t count = kind->alone ? 1 : kind->count;
    count = least(count, instance->cpu_units, kind->size.cpu_units);
    count = least(count, instance->memory_mib, kind->size.memory_mib);
    count = least(count, instance->eni_slots, kind->size.eni_slots);
    return least(count, instance->gpus, kind->size.gpus);
}

int64_t reservation_needed(const struct reservation_kind *kinds, size_t count,
                           const struct reservation_sizes *sizes)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        const struct reservation_kind *kind = &kinds[i];
        ASSERT(kind->count > 0);
        int64_t needed = 1;
        if (sizes->known) {
            // Largest and smallest are by processor, so that a kind may fit on only one of them.
            bool placeable =
                fits(&kind->size, &sizes->smallest) && fits(&kind->size, &sizes->largest);
            int64_t each = placeable ? pack(kind, &sizes->largest) : 0;
            needed = each == 0 ? 0 : (kind->count + each - 1) / each;
        }
        most = MAX(most, needed);
    }
    return most;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return MAX(low, MIN(value, high));
}

struct reservation reservation_compute(const struct reservation_ask *ask)
{
    ASSERT(ask->target_percent > 0);
    ASSERT(ask->step_min <= ask->step_max);
    int64_t size = ask->size;
    struct reservation result = {.needed = ask->busy + ask->needed, .desired = size};
    if (ask->needed > 0 && result.needed > size) {
        result.needed = size + clamp(result.needed - size, ask->step_min, ask->step_max);
    }
    if (size == 0) {
        result.percent = result.needed == 0 ? EMPTY_PERCENT : FIRST_PERCENT;
        result.above = result.needed > 0;
        result.desired = result.above ? clamp(FIRST_SIZE, ask->step_min, ask->step_max) : 0;
        return result;
    }
    result.percent = (double)result.needed * 100.0 / (double)size;
    result.above = result.needed * 100 > ask->target_percent * size;
    result.below = result.needed * 100 < ask->target_percent * size;
    int64_t fitting = (result.needed * 100 + ask->target_percent - 1) / ask->target_percent;
    if (result.above) {
        result.desired = size + clamp(fitting - size, ask->step_min, ask->step_max);
    } else if (result.below) {
        int64_t most = MAX(1, (size - 1) / 2);
        result.desired = MAX(fitting, size - most);
    }
    return result;
}
