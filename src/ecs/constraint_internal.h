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

// ---- values -------------------------------------------------------------------------------

/**
 * Bring a value of an expression into the form that values of that subject have: a date becomes
 * milliseconds since 1970.
 *
 * @return NULL, or what was expected when it is no value of that subject
 */
const char *constraint_value_read(enum constraint_subject subject, struct text *value,
                                  struct arena *arena);

/** Compare two values of a subject: versions part by part, numbers as numbers, else bytes. @return
 *  below, at or above 0 */
int constraint_value_compare(enum constraint_subject subject, struct text a, struct text b);

/** @return whether two values of a subject are equal: 1.7 and 1.7.0 are, as versions */
bool constraint_value_equal(enum constraint_subject subject, struct text a, struct text b);
