#pragma once

#include "base/map.h"
#include "base/text.h"

/*
 * What a node lets go of, and when its disk is too full: pure rules; agent_garbage.c looks and
 * removes.
 *
 * An image that a person loaded cannot be pulled again. So one that has a name is removed only
 * when the operator has said after how long without use; one whose names all point elsewhere by
 * now is kept for a while, as a service that was deployed with it may start another task of it, and
 * goes at once when the disk is too full. What a container shows, or was looked up lately, stays in
 * any case.
 */

#define GARBAGE_UNNAMED_AGE_MS (60 * 60 * 1000) ///< ECS_IMAGE_MINIMUM_CLEANUP_AGE of ECS's agent
#define GARBAGE_IMAGES_MAX 5                    ///< a cycle: ECS_NUM_IMAGES_DELETE_PER_CYCLE

/** An image of the node. */
struct garbage_image {
    struct text digest;
    bool named;
    bool in_use;
};

struct garbage_rules {
    int64_t named_age_ms; ///< 0: those with a name stay for ever
    bool urgent;          ///< the disk is too full
};

/** Since when images are out of use. Zero-initialised storage is valid and knows of none. */
struct garbage {
    struct map unused; ///< digest to what garbage.c keeps
    bool anchored;
    int64_t offset_ms; ///< of the wall clock to the monotonic one, as far as it is believed
    bool stepped;      ///< the wall clock is ahead of that since stepped_ms, monotonic
    int64_t stepped_ms;
};

/** Free. */
void garbage_deinit(struct garbage *garbage);

/**
 * Choose images to remove, those longest out of use first. Called with all images each time: what
 * is not in use for the first time is out of use since now.
 *
 * @param now_ms      monotonic: steps of the wall clock make nothing older
 * @param out_chosen  indexes into images; room for count
 * @return how many
 */
size_t garbage_images(struct garbage *garbage, const struct garbage_image *images, size_t count,
                      const struct garbage_rules *rules, int64_t now_ms, size_t *out_chosen);

/**
 * The time by which the age of files is told. A wall clock that was set forward makes no file
 * older: it is believed once it has stood so for as long as files are kept. Set back, it is
 * believed at once, as that keeps files longer.
 *
 * @return wall clock, in seconds
 */
int64_t garbage_now_s(struct garbage *garbage, int64_t wall_ms, int64_t monotonic_ms,
                      int64_t keep_ms);

/** What a task's containers wrote. */
struct garbage_output {
    int64_t changed_s; ///< wall clock
    uint64_t bytes;
    bool live; ///< the task is known still
    size_t index;
};

/**
 * Choose output of ended tasks to remove: what is older than keep_s, and then the oldest, until all
 * output together, that of live tasks included, is within limit_bytes.
 *
 * @param outputs  sorted in place
 * @return how many of them, at the front, are to go
 */
size_t garbage_outputs(struct garbage_output *outputs, size_t count, int64_t keep_s,
                       uint64_t limit_bytes, int64_t now_s);

/** A file system. */
struct garbage_disk {
    uint64_t total_bytes;
    uint64_t free_bytes;
    uint64_t total_files; ///< 0 where it has no such limit
    uint64_t free_files;
};

/**
 * How much of a disk is to stay free: what the operator said, or the smaller of a twentieth and
 * 1 GiB.
 */
uint64_t garbage_reserve_bytes(const struct garbage_disk *disk, uint64_t option_bytes);

/**
 * @param pressed  what was said last: once too full, there must be a quarter more than the reserve
 *                 to be well again
 * @return whether the disk is too full to take new tasks; of its files a fiftieth is reserved
 */
bool garbage_pressed(const struct garbage_disk *disk, uint64_t reserve_bytes, bool pressed);
