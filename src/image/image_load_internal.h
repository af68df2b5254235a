#pragma once

#include "image/image_internal.h"

/*
 * What the parts of loading share; see image_load.c.
 */

/** One image on its way into the store. */
struct load_image {
    struct text_list names;      ///< normalised; empty when the archive tells none
    struct text index_digest;    ///< of the index it was chosen from; absent when none
    struct text manifest_digest; ///< absent until made, for docker save
    struct text manifest_json;
    struct text config_digest;
    struct text config_json;
    struct text_list diff_ids;
    struct text *layer_paths;   ///< in the archive
    struct text *layer_digests; ///< of those files; absent where the archive tells none
};

/** One archive on its way into the store. */
struct load {
    struct image_store *store;
    struct arena arena;
    struct image_scratch scratch;
    struct image_source *source;
    struct load_image *images;
    size_t image_count;
    bool bare_tag; ///< a descriptor had a tag where a name belongs
    image_progress_fn progress;
    void *progress_context;
    uint64_t unpack_total; ///< bytes of the layers to unpack
    uint64_t unpack_done;
};

/**
 * Find the images of the archive and what each is called.
 *
 * @param rename_to  the one image's name, instead of those that the archive tells; NULL for none
 * @return 0; ERR_INVALID for what is no archive of images, is damaged, or has no name;
 *         ERR_UNSUPPORTED when none is for this machine
 */
MUST_CHECK int image_load_plan(struct load *load, const char *rename_to, struct err *err);

/** For the progress only: how much there is to unpack. */
MUST_CHECK int image_load_measure(struct load *load, struct err *err);

/**
 * Make in the scratch directory what the store lacks, and bring it to the disk: a directory for
 * each layer by its hex, `blob-HEX`, and `name-IMAGE-I` for the record of an image's name.
 *
 * @return 0; ERR_NOT_FOUND when a layer left the store meanwhile: try again; ERR_INVALID for a
 *         layer that is damaged; ERR_FULL_DISK
 */
MUST_CHECK int image_load_stage(struct load *load, struct err *err);

/** @return whether a layer is complete in a directory: the store's or the scratch */
bool image_load_has_layer(int dir_fd, struct text hex);

/** Tell how far loading is. @param context the load @param done bytes of the current layer */
void image_load_progress(void *context, uint64_t done, uint64_t unused_total);
