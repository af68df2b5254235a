#pragma once

#include "base/base.h"

/*
 * The first process of a container with initProcessEnabled: runs the container's own program as its
 * child, passes signals on to it, and takes the statuses of orphans, which would stay zombies.
 */

/**
 * Run a program to its end.
 *
 * @param arguments  name of the program, looked for in PATH, and its arguments; ends with NULL
 * @return its exit status, or 128 + the number of the signal that ended it; 127 when it is not
 *         there, 126 when it cannot be run. In the child: what to exit with when it cannot be run.
 */
int init_run(char **arguments);
