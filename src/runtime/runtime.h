#pragma once

#include "api/session.h"
#include "api/supervisor.h"
#include "base/alloc.h"
#include "base/err.h"
#include "image/image.h"
#include "runtime/stats.h"

#include <sys/types.h>

/*
 * How a node runs tasks: one vtable, several drivers (oci: crun or runc under a berth-task
 * supervisor; fake: none, for tests of everything above; later microvm).
 *
 * A task's directory in the run directory holds its plan, its bundles, its supervisor's socket and
 * the last state that the supervisor wrote; the data directory holds the containers' writable
 * layers and output. All calls block and may come from any worker thread, for different tasks at
 * the same time. Every step may run twice.
 */

struct runtime;

/** One container to prepare. */
struct runtime_container {
    const struct ecs_container_definition *definition;
    const struct image *image;
    struct text_list environment;  ///< NAME=value, over what the definition says: its endpoints
    struct text network_namespace; ///< path, where it has its own; absent: the task's
    struct text address;           ///< IPv4 in its own
};

/** A task to prepare. Borrowed for the call. */
struct runtime_task {
    struct text id; ///< 32 hex digits of the task's ARN
    const struct session_task_spec *spec;
    const struct runtime_container *containers; ///< in the definition's order
    size_t container_count;
    struct text network_namespace; ///< path; absent: the host's network
    struct text_list environment;  ///< NAME=value to add to every container, weakest
};

/** What exists of a task on this host. */
struct runtime_found {
    struct text id;
    bool has_state; ///< state is the last the supervisor wrote
    struct supervisor_state state;
    bool supervisor_alive;
    bool unstarted; ///< prepared, and no supervisor has begun: launch may be called
};

/** Which container to look at. */
struct runtime_sample {
    struct text task_id;
    size_t index; ///< in the definition
    struct text container;
    int32_t pid;
    bool host_network; ///< it has none of its own
};

/** A command to be run in a container, for ECS Exec. */
struct runtime_exec {
    struct text task_id;
    size_t index;               ///< of the container, in the definition
    uint32_t number;            ///< tells it from others of the task; names its files
    struct text_list arguments; ///< of the program, with its name
};

/** What the supervisor is to be told of it, in the arena, and where the terminal is to come. */
struct runtime_exec_ready {
    struct text process; ///< path of its document
    struct text console; ///< path of the socket
    int console_fd;      ///< that socket, listening, non-blocking; the caller's
};

struct runtime_ops {
    const char *name;
    /** Bundles, mounts, cgroup, plan. A failure leaves nothing that clean does not remove.
     *  ERR_UNSUPPORTED or ERR_INVALID with the parameter at fault; ERR_BUSY when the task runs. */
    int (*prepare)(struct runtime *runtime, const struct runtime_task *task, struct err *err);
    /** Start the supervisor of a prepared task, detached from this process; 0 means that attach
     *  works, and also that it runs already. ERR_NOT_FOUND when it is not prepared, ERR_EXISTS when
     *  it has run before, or was killed: a task runs once, also when one that another agent began
     *  to launch comes up meanwhile. */
    int (*launch)(struct runtime *runtime, struct text task_id, struct err *err);
    /** Connect to a task's supervisor: a non-blocking stream of supervisor frames.
     *  ERR_NOT_FOUND when there is none. */
    int (*attach)(struct runtime *runtime, struct text task_id, int *out_fd, struct err *err);
    /** The last state the supervisor wrote, into the arena. ERR_NOT_FOUND when there is none. */
    int (*read_state)(struct runtime *runtime, struct text task_id, struct arena *arena,
                      struct supervisor_state *out_state, struct err *err);
    /** Kill all processes of the task, supervisor included, and wait until they are gone; one that
     *  is just being started ends by itself. The task cannot be launched any more.
     *  ERR_TIMEOUT when the kernel holds some. */
    int (*kill)(struct runtime *runtime, struct text task_id, struct err *err);
    /** Remove all that prepare made, but output files. The task must have ended: else ERR_BUSY. */
    int (*clean)(struct runtime *runtime, struct text task_id, struct err *err);
    /** Every task of which something exists on this host. */
    int (*list)(struct runtime *runtime, struct arena *arena, struct runtime_found **out_found,
                size_t *out_count, struct err *err);
    /** Look at what a container takes of this host; pid is of its first process, from its state,
     *  or 0. ERR_NOT_FOUND when it does not run. Links are those of its network namespace; none
     *  when that is the host's. */
    int (*sample)(struct runtime *runtime, const struct runtime_sample *which, struct arena *arena,
                  struct container_sample *out_sample, struct err *err);
    /** Make ready to run a command in a container as root, on a terminal: the supervisor runs it,
     *  and takes the files away at its end. ERR_NOT_FOUND for a task that was not prepared with
     *  enableExecuteCommand. */
    int (*exec)(struct runtime *runtime, const struct runtime_exec *exec, struct arena *arena,
                struct runtime_exec_ready *out_ready, struct err *err);
    /** Whether this host can run containers now. @return 0, or why not */
    int (*check)(struct runtime *runtime, struct err *err);
    void (*close)(struct runtime *runtime);
};

/** Embed as the first member of a driver. */
struct runtime {
    const struct runtime_ops *ops;
};

struct runtime_options {
    const char *instance;      ///< 8 hex digits
    const char *run_dir;       ///< such as /run/berth/1a2b3c4d
    const char *data_dir;      ///< the agent's directory of data
    const char *supervisor;    ///< absolute path of berth-task
    uint64_t output_max_bytes; ///< per container, see supervisor.Plan
    uint32_t pids_max;         ///< processes and threads of a container; 0 for no limit
    const char *oci_runtime;   ///< absolute path of crun or runc; NULL: looked for
};

/**
 * The OCI driver: finds crun, else runc, and the host's cgroup layout (pure v2, v1, or hybrid, for
 * which the runtime gets a mount namespace that shows one hierarchy only).
 *
 * @return 0, or ERR_UNSUPPORTED with what the host lacks and how to get it
 */
MUST_CHECK int runtime_oci_open(const struct runtime_options *options, struct runtime **out_runtime,
                                struct err *err);

/** The id by which the OCI runtime knows a container, by its place in the definition: what ECS
 * calls runtimeId, in the form that Fargate gives it. In the arena. */
static inline struct text runtime_container_id(struct text task_id, size_t index,
                                               struct arena *arena)
{
    return arena_format(arena, "%.*s-%zu", TEXT_FMT(task_id), index);
}

/** Path of the file with a container's output, in the arena. The rotated part is `PATH.1`. */
struct text runtime_output_path(const char *data_dir, struct text task_id, struct text container,
                                struct arena *arena);

/** Close; NULL is allowed. */
void runtime_close(struct runtime *runtime);

/** @return the hard limit that this process may set for a resource of getrlimit, UINT64_MAX for any
 */
uint64_t runtime_hard_limit(int resource);

/**
 * What containers of a task get less of here than their definitions ask for.
 *
 * @return words for people, in the arena; absent when they get all of it
 */
struct text runtime_note(const struct ecs_task_definition *definition, struct arena *arena);
