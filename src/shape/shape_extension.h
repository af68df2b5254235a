#pragma once

#include "base/alloc.h"
#include "shape/shape.h"

/*
 * What a container asks for that Amazon ECS has no member for, as labels of its dockerLabels: ECS
 * keeps them and does nothing else with them. docs/extensions.md lists them.
 *
 * A command is a line for /bin/sh, or, behind `CMD `, words that are run as they are.
 */

/** A check besides the health check; times are in seconds. */
struct shape_extension_check {
    struct text_list command; ///< empty for none
    int32_t interval;
    int32_t timeout;
    int32_t retries;
    int32_t start_period;
};

struct shape_extension {
    struct text_list post_start; ///< argument vectors; empty for none
    struct text_list pre_stop;
    struct shape_extension_check readiness;
};

/**
 * Read a container's labels.
 *
 * @param out    in the arena; commands that are absent are empty
 * @param error  path is the label, text a clause that fits behind it
 * @return 0, or ERR_INVALID for a label of Berth's that it does not know, or that says nothing
 */
MUST_CHECK int shape_extension_read(const struct text_map *labels, struct arena *arena,
                                    struct shape_extension *out, struct shape_error *error);

/** @return whether the labels have a readiness check: such a container has health */
bool shape_extension_has_readiness(const struct text_map *labels);
