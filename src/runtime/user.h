#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * Users of a container, and files in its root. Every path is resolved below the root's descriptor:
 * a link in an image, absolute or with `..`, cannot lead to a file of the host.
 */

#define USER_GROUPS_MAX 1024 ///< more than any image has; the kernel takes 65536

struct user {
    uint32_t uid;
    uint32_t gid;
    uint32_t *groups; ///< supplementary ones, in the arena
    size_t group_count;
    struct text home; ///< `/` when there is no entry
};

/**
 * Resolve `user`, `uid`, `user:group` and so on, as Docker does: names and numbers are looked for
 * in /etc/passwd and /etc/group of the root; a number need not be there. Absent is uid 0. Without a
 * group, the user's own and those that list it.
 *
 * @return 0, or ERR_NOT_FOUND with the name that is in neither file
 */
MUST_CHECK int user_resolve(int root_fd, struct text user, struct arena *arena,
                            struct user *out_user, struct err *err);

/** Make a directory and its parents below a root, mode 0755, unless they are there. */
MUST_CHECK int user_make_directory(int root_fd, struct text path, struct err *err);
