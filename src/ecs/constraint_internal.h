#pragma once

#include "ecs/constraint.h"

/*
 * Patterns of the query language: characters, `.`, classes, `* + ?`, and `|` between whole
 * patterns; a value must match from its first to its last character.
 */

/** One character of a pattern, and how often it comes. */
struct constraint_atom {
    uint64_t bytes[4]; ///< bit set of those that match
    bool optional;
    bool repeats;
    bool last; ///< of its alternative
};

/** A compiled pattern. */
struct constraint_pattern {
    struct constraint_atom *atoms;
    size_t count;
};

/** Compile. @return 0, or ERR_INVALID with a sentence in err */
MUST_CHECK int constraint_pattern_compile(struct text text, struct arena *arena,
                                          struct constraint_pattern *out_pattern, struct err *err);

/** @return whether all of a text matches */
bool constraint_pattern_matches(const struct constraint_pattern *pattern, struct text text);
