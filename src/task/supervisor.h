#pragma once

#include "base/err.h"

/*
 * The supervisor of one task: starts its containers by plan, keeps their output and true exit
 * codes, and tells agents how they are. It depends on no other process of Berth: an agent may come,
 * go and be replaced while the task runs.
 *
 * In the task's directory it reads `plan`, holds a lock on `lock`, listens on `socket`, keeps the
 * newest state in `state` (replaced by rename) and has its runtime's files in `oci`, `N.pid`,
 * `N.log`, `N.probe`. The first state is there before anything is started: where one is, the task
 * has a supervisor or had one, and no other takes it; nor does one take a task with the file
 * `killed`. So a task runs once, whoever tries to launch it, and where neither file is, nothing of
 * it was ever started. It has a mount namespace of its own with the containers' root file systems,
 * so that these go when the last process of the task does, however it ends.
 */

#define SUPERVISOR_STATE_NAME "state"
#define SUPERVISOR_KILLED_NAME "killed" ///< made before the task's cgroup is killed

#define SUPERVISOR_EXIT_TAKEN 3 ///< of berth-task, when the task is another's, or was

/** Called once, when agents can connect. */
typedef void (*supervisor_ready_fn)(void *context);

/** Borrowed for the run. */
struct supervisor_options {
    const char *directory; ///< absolute path
    bool in_cgroup;        ///< the process is in the plan's cgroup already
    supervisor_ready_fn ready;
    void *context;
};

/**
 * Run a task to its end. Call once, early, in a process without threads: it changes the mount
 * namespace, cgroup, signal mask and OOM score of the process, and becomes a child subreaper.
 *
 * @return 0 when all containers have ended and the last state is written; ERR_BUSY when another
 *         supervisor has the task, ERR_EXISTS when one had it or it was killed; else what kept it
 * from starting
 */
MUST_CHECK int supervisor_run(const struct supervisor_options *options, struct err *err);
