#pragma once

#include "base/err.h"
#include "shape/shape.h"

/*
 * Mounting an image's layers and a writable one as one tree.
 */

/** Docker stops at 127 layers; overlayfs itself takes 500. */
#define OVERLAY_LAYERS_MAX 128

/** What to put together. All absolute paths; borrowed for the call. */
struct overlay {
    struct text_list layers; ///< lowest first, at least one
    struct text upper;       ///< takes what is written
    struct text work;        ///< overlayfs's own, on upper's file system
};

/**
 * Mount an overlay. Safe with other threads.
 *
 * Its source in mount tables is `overlay-` and the name of the directory that the uppermost layer
 * is in, by which the image store knows which images are in use.
 *
 * @param target  an existing directory
 * @return 0, ERR_UNSUPPORTED for too many layers, or the error of the kernel
 */
MUST_CHECK int overlay_mount(const struct overlay *overlay, const char *target, struct err *err);
