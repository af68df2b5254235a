#pragma once

#include "api/supervisor.h"
#include "base/err.h"

/*
 * The parts of joining a container: enter (what places a process there), rights (what it may do).
 */

/** Move into the cgroups of the container's first process. @return 0 or why not */
MUST_CHECK int join_cgroups(struct err *err);

/**
 * Move into its namespaces, that of processes only for children; the mounts are the container's,
 * and its root, afterwards. Closes JOIN_PROC_FD.
 */
MUST_CHECK int join_namespaces(struct err *err);

/** Make a terminal of the container's for the three streams. @param out_master_fd  its other end */
MUST_CHECK int join_terminal(uint32_t uid, int *out_master_fd, struct err *err);

/** Go to a directory of the container's; never through a link of /proc. */
MUST_CHECK int join_directory(const char *path, struct err *err);

/** Set the resource limits. */
MUST_CHECK int join_limits(const struct supervisor_process *process, struct err *err);

/** Keep the rights of the process alone, and for ever. */
MUST_CHECK int join_rights(const struct supervisor_process *process, struct err *err);
