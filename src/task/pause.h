#pragma once

#include "base/base.h"

/*
 * What holds the namespaces that the containers of a task share, and is the first process of their
 * pid namespace: it does nothing but take the statuses of orphans, for as long as the supervisor
 * lives. Containers see it as process 1 of theirs; so it has nothing that they could want: no
 * files but its own program, read-only, no network, no capabilities.
 */

/**
 * Wait for ever. Called by berth-task --pause, in a root that pause_enter has made.
 *
 * @return the exit status when waiting is not possible
 */
int pause_run(void);

/**
 * Turn this process, a child that was cloned into new pid and ipc namespaces, into that program.
 *
 * @param directory  where the program's root is mounted, seen by this process only
 * @return only on failure: an errno
 */
int pause_enter(const char *directory);
