#pragma once

#include "runtime/cgroup.h"

/*
 * Shared by the parts of cgroup: paths, and the tree below a task's group.
 */

/** The v1 hierarchy of a controller. @return its mount, or NULL */
const struct cgroup_mount *cgroup_find_mount(const struct cgroup_host *host,
                                             const char *controller);

/** The hierarchy in which every process of a task is found. @return its mount point */
const char *cgroup_finder(const struct cgroup_host *host);

/** The directory of a task's group below a mount point, in the arena. */
struct text cgroup_directory(const struct cgroup_task *task, const char *mount,
                             struct arena *arena);

/**
 * A group's directory and all below it, parents first.
 *
 * @return 0, with an empty list when there is none; ERR_NO_ROOM past a bound
 */
MUST_CHECK int cgroup_tree(struct text directory, struct arena *arena,
                           struct text_list *out_directories, struct err *err);
