#pragma once

#include "base/err.h"

#include <stdint.h>

/*
 * How a process enters a running container: health checks, readiness checks, hooks, ECS Exec. In
 * the place of `crun exec` and `runc exec`, whose child is in the container's pid namespace, where
 * it can be traced, before it has given up what it may do.
 *
 * Here everything that needs rights is done while the process is in the host's pid namespace still,
 * where no container sees it; what is cloned into the container's has nothing left that the
 * container may not have. The order:
 *
 *   1. on the host: read the record, connect to the console socket, open the container's namespaces
 *   2. cgroups, OOM score, a session keyring of its own
 *   3. namespaces, mounts last; nothing of the host's is open from here on but that socket
 *   4. terminal, resource limits, working directory
 *   5. bounding set, filter of system calls (after no_new_privs where that is set), groups, user,
 *      capabilities
 *   6. with these rights, look for the program; send the terminal away; close all but 0 to 2
 *   7. clone into the pid namespace
 *   8. the child: a session, its controlling terminal, execve
 *
 * What a container that traces the child can get from it: its own rights, three streams, a page
 * with the number of an error, and the program of berth-task, on a mount that cannot be written.
 *
 * The child is made with CLONE_PARENT, so that it is the supervisor's child from its first moment.
 * Its pid is the kernel's word, too: CLONE_PARENT_SETTID puts it into the report, a file that is
 * mapped here and, by MADV_DONTFORK, not in the child, before the child runs. With CLONE_VFORK this
 * process sleeps until the child is another program or gone; they do not share memory but that
 * page.
 */

/** Where the supervisor passes the container's first process: its directory of /proc. */
#define JOIN_PROC_FD 3

/** What comes of it, in the file that the supervisor names. */
struct join_report {
    int32_t pid;               ///< of the child, once it was made; else 0
    char reason[ERR_TEXT_MAX]; ///< why there is none, or why it has ended; terminated
};

/**
 * Called by berth-task --join PROCESS REPORT [CONSOLE]: absolute paths of a supervisor.Process, of
 * the report, which is made, and of the socket that gets the terminal's master.
 *
 * @return the exit status: 0 once the child runs its program, else 1
 */
int join_run(int argument_count, char **arguments);
