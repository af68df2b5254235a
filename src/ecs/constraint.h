#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * The cluster query language: which container instances are meant.
 *
 * `subject operator [argument]`, joined by and, or, not and parentheses. A subject may have no
 * value, one, or several (the groups of an instance's tasks): a test holds when one of them passes
 * it, a negated test when none does. Parsing keeps no C stack and evaluation takes time in
 * proportion to the expression and the values: patterns are matched without backtracking.
 */

#define CONSTRAINT_CHARS_MAX 2000  ///< ECS allows 2,000 in a constraint
#define CONSTRAINT_STEPS_MAX 100   ///< tests and connectives of one expression
#define CONSTRAINT_DEPTH_MAX 32    ///< parentheses and negations within each other
#define CONSTRAINT_VALUES_MAX 50   ///< of one `in [...]`
#define CONSTRAINT_PATTERN_MAX 128 ///< characters and classes of one pattern

/** What a test is about. */
enum constraint_subject {
    CONSTRAINT_AGENT_CONNECTED,
    CONSTRAINT_AGENT_VERSION,
    CONSTRAINT_ATTRIBUTE,
    CONSTRAINT_EC2_INSTANCE_ID,
    CONSTRAINT_REGISTERED_AT, ///< milliseconds since 1970, as a number
    CONSTRAINT_RUNNING_TASKS,
    CONSTRAINT_TASK_GROUP,
};

/** Answers what an instance has. */
struct constraint_view {
    /** Give a value of a subject; name is that of an attribute. @return false when there are not so
     *  many. The value is valid until the next call. */
    bool (*value)(void *context, enum constraint_subject subject, struct text name, size_t index,
                  struct text *out_value);
    void *context;
};

struct constraint_step;

/** A parsed expression; its memory is the arena's, and it borrows from the text. */
struct constraint {
    struct constraint_step *steps; ///< operands before their connective
    size_t count;
};

/**
 * Parse an expression.
 *
 * @return 0, or ERR_INVALID with a sentence for the user in err
 */
MUST_CHECK int constraint_parse(struct text text, struct arena *arena,
                                struct constraint *out_constraint, struct err *err);

/** @return whether an instance is meant */
bool constraint_holds(const struct constraint *constraint, const struct constraint_view *view);

/** @return whether any test is about that subject */
bool constraint_asks(const struct constraint *constraint, enum constraint_subject subject);
