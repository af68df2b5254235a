#pragma once

#include "runtime/syscalls.h"

/*
 * The table of system calls, as its two forms are made of it.
 */

#define SYSCALLS_ENTRIES_MAX 32
#define SYSCALLS_ARCHITECTURES_MAX 3

/** What an argument is asked for. */
enum syscalls_compare {
    SYSCALLS_ANY, ///< nothing
    SYSCALLS_EQ,
    SYSCALLS_LT,
    SYSCALLS_GT,
    SYSCALLS_MASKED_EQ, ///< whether the bits of `value` are `value_two`
};

/** Calls, and what becomes of them on a condition. */
struct syscalls_entry {
    const char *calls; ///< names, with a space between
    int refusal;       ///< the errno they fail with; 0: they are allowed
    enum syscalls_compare compare;
    uint32_t argument; ///< that is compared, from 0
    uint64_t value;
    uint64_t value_two;
};

/** A profile for the machine that this runs on. What no entry is about fails with EPERM. */
struct syscalls_profile {
    struct syscalls_entry entries[SYSCALLS_ENTRIES_MAX];
    size_t count;
    const char *architectures[SYSCALLS_ARCHITECTURES_MAX]; ///< libseccomp's names; NULL: no more
};

/** The profile for a set of grants. */
void syscalls_profile(uint32_t grants, struct syscalls_profile *out_profile);
