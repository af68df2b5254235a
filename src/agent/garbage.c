#include "agent/garbage.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define RESERVE_MAX_BYTES (UINT64_C(1) << 30)
#define RESERVE_PART 20
#define FILES_PART 50
#define STEP_MS 60000 // less is drift, and nobody's files

/** An image out of use. */
struct unused {
    struct text digest; // owned
    int64_t since_ms;
    bool listed; // in this round
};

static void unused_free(struct unused *unused)
{
    if (unused != NULL) {
        alloc_free((void *)(uintptr_t)unused->digest.data);
        alloc_free(unused);
    }
}

void garbage_deinit(struct garbage *garbage)
{
    size_t cursor = 0;
    struct unused *unused = NULL;
    while ((unused = map_next(&garbage->unused, &cursor, NULL)) != NULL) {
        unused_free(unused);
    }
    map_deinit(&garbage->unused);
}

// Keep since when each image is out of use, and forget those that are in use or gone.
static void note(struct garbage *garbage, const struct garbage_image *images, size_t count,
                 int64_t now_ms)
{
    for (size_t i = 0; i < count; i++) {
        if (images[i].in_use) {
            continue;
        }
        struct unused *unused = map_get(&garbage->unused, images[i].digest);
        if (unused == NULL) {
            unused = ALLOC(struct unused);
            unused->digest = text_of(alloc_format("%.*s", TEXT_FMT(images[i].digest)));
            unused->since_ms = now_ms;
            map_put(&garbage->unused, unused->digest, unused);
        }
        unused->listed = true;
    }
    size_t cursor = 0;
    struct unused *unused = NULL;
    while ((unused = map_next(&garbage->unused, &cursor, NULL)) != NULL) {
        if (unused->listed) {
            unused->listed = false;
        } else {
            map_remove(&garbage->unused, unused->digest);
            unused_free(unused);
        }
    }
}

static bool is_due(const struct garbage_image *image, int64_t age_ms,
                   const struct garbage_rules *rules)
{
    if (image->named) {
        return rules->named_age_ms > 0 && age_ms >= rules->named_age_ms;
    }
    return rules->urgent || age_ms >= GARBAGE_UNNAMED_AGE_MS;
}

/** An image that may go. */
struct due {
    int64_t since_ms;
    struct text digest;
    size_t index;
};

static int compare_due(const void *a, const void *b)
{
    const struct due *one = a;
    const struct due *other = b;
    if (one->since_ms != other->since_ms) {
        return one->since_ms < other->since_ms ? -1 : 1;
    }
    return text_compare(one->digest, other->digest);
}

size_t garbage_images(struct garbage *garbage, const struct garbage_image *images, size_t count,
                      const struct garbage_rules *rules, int64_t now_ms, size_t *out_chosen)
{
    note(garbage, images, count, now_ms);
    struct due *due = alloc_array(count, sizeof(*due));
    size_t due_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct unused *unused =
            images[i].in_use ? NULL : map_get(&garbage->unused, images[i].digest);
        if (unused != NULL && is_due(&images[i], now_ms - unused->since_ms, rules)) {
            due[due_count++] = (struct due){unused->since_ms, images[i].digest, i};
        }
    }
    if (due_count > 0) {
        qsort(due, due_count, sizeof(*due), compare_due);
    }
    size_t chosen = rules->urgent ? due_count : MIN(due_count, (size_t)GARBAGE_IMAGES_MAX);
    for (size_t i = 0; i < chosen; i++) {
        out_chosen[i] = due[i].index;
    }
    alloc_free(due);
    return chosen;
}

int64_t garbage_now_s(struct garbage *garbage, int64_t wall_ms, int64_t monotonic_ms,
                      int64_t keep_ms)
{
    int64_t offset_ms = wall_ms - monotonic_ms;
    bool ahead = garbage->anchored && offset_ms > garbage->offset_ms + STEP_MS;
    if (ahead && !garbage->stepped) {
        garbage->stepped_ms = monotonic_ms;
    }
    garbage->stepped = ahead;
    if (!ahead || monotonic_ms - garbage->stepped_ms >= keep_ms) {
        garbage->anchored = true;
        garbage->offset_ms = offset_ms;
        garbage->stepped = false;
    }
    return (monotonic_ms + garbage->offset_ms) / 1000;
}

// Ended ones first, the oldest of them in front.
static int compare_outputs(const void *a, const void *b)
{
    const struct garbage_output *one = a;
    const struct garbage_output *other = b;
    if (one->live != other->live) {
        return one->live ? 1 : -1;
    }
    if (one->changed_s != other->changed_s) {
        return one->changed_s < other->changed_s ? -1 : 1;
    }
    return one->index < other->index ? -1 : one->index > other->index;
}

size_t garbage_outputs(struct garbage_output *outputs, size_t count, int64_t keep_s,
                       uint64_t limit_bytes, int64_t now_s)
{
    uint64_t total_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        total_bytes += outputs[i].bytes;
    }
    if (count > 0) {
        qsort(outputs, count, sizeof(*outputs), compare_outputs);
    }
    size_t going = 0;
    while (going < count && !outputs[going].live &&
           (now_s - outputs[going].changed_s >= keep_s || total_bytes > limit_bytes)) {
        total_bytes -= outputs[going].bytes;
        going++;
    }
    return going;
}

uint64_t garbage_reserve_bytes(const struct garbage_disk *disk, uint64_t option_bytes)
{
    return option_bytes > 0 ? option_bytes
                            : MIN(disk->total_bytes / RESERVE_PART, RESERVE_MAX_BYTES);
}

bool garbage_pressed(const struct garbage_disk *disk, uint64_t reserve_bytes, bool pressed)
{
    uint64_t reserve_files = disk->total_files / FILES_PART;
    if (pressed) {
        reserve_bytes += reserve_bytes / 4;
        reserve_files += reserve_files / 4;
    }
    return disk->free_bytes < reserve_bytes ||
           (disk->total_files > 0 && disk->free_files < reserve_files);
}
