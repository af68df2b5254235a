#pragma once

#include "base/alloc.h"
#include "base/err.h"
#include "shape/shape.h"

/*
 * Control groups of tasks: limits that bind a task as a whole, and the place where every process of
 * a task can be found and killed.
 *
 * A task's group is /berth-<instance>/<task id>, with a group of its own for the supervisor and one
 * for each container below, which the OCI runtime makes. On v2 no process is in an inner group, as
 * the kernel demands. On v1 the same path stands in every hierarchy. Every call may run twice.
 */

#define CGROUP_MOUNT_MAX 16
#define CGROUP_PATH_MAX 256

enum cgroup_layout {
    CGROUP_NONE,   ///< nothing is mounted below /sys/fs/cgroup
    CGROUP_V2,     ///< one hierarchy
    CGROUP_V1,     ///< a hierarchy for each controller
    CGROUP_HYBRID, ///< v1, and v2 beside it for systemd's bookkeeping
};

/** A v1 hierarchy. */
struct cgroup_mount {
    char path[CGROUP_PATH_MAX];
    char controllers[CGROUP_PATH_MAX]; ///< separated by commas
};

/** How this host has its control groups. */
struct cgroup_host {
    enum cgroup_layout layout;
    char unified[CGROUP_PATH_MAX];                ///< mount point of v2; empty without one
    struct cgroup_mount mounts[CGROUP_MOUNT_MAX]; ///< v1
    size_t count;
};

/** Names one task's group. Borrowed for each call. */
struct cgroup_task {
    const struct cgroup_host *host;
    const char *instance;
    struct text id;
};

/** Limits of a whole task; 0 for none. */
struct cgroup_limits {
    uint64_t cpu_units; ///< 1024 are one core
    uint64_t memory_mib;
    uint64_t swap_mib; ///< beyond memory_mib, with it; 0: none
};

/**
 * Read the layout out of the text of /proc/self/mountinfo.
 *
 * @return 0, also when there are none: see layout; ERR_INVALID for a table that is none
 */
MUST_CHECK int cgroup_detect(struct text mountinfo, struct cgroup_host *out_host);

/**
 * The layout of this host.
 *
 * @return 0, or ERR_UNSUPPORTED with what is missing: no cgroups, or no memory and cpu controllers
 */
MUST_CHECK int cgroup_host_read(struct cgroup_host *out_host, struct err *err);

/**
 * Make a task's group with its limits, and the supervisor's group in it.
 *
 * The caller keeps cgroup_remove_instance of the same instance from running meanwhile: it would
 * take the instance's group away before the task's is in it.
 */
MUST_CHECK int cgroup_create(const struct cgroup_task *task, const struct cgroup_limits *limits,
                             struct err *err);

/** @return directories whose cgroup.procs the supervisor writes itself into, in the arena */
struct text_list cgroup_supervisor_directories(const struct cgroup_task *task, struct arena *arena);

/** @return the path of a container's group below the mount points, for the OCI runtime */
struct text cgroup_container_path(const struct cgroup_task *task, size_t index,
                                  struct text container, struct arena *arena);

/** @return the directory with a container's memory figures */
struct text cgroup_memory_directory(const struct cgroup_task *task, size_t index,
                                    struct text container, struct arena *arena);

/** @return the directory that stops a container's processes; no text where the host has none */
struct text cgroup_freezer_directory(const struct cgroup_task *task, size_t index,
                                     struct text container, struct arena *arena);

/** @return whether each group can have a swappiness of its own */
bool cgroup_has_swappiness(const struct cgroup_task *task);

/** @return whether the task's group can limit swap; ask after cgroup_create */
bool cgroup_limits_swap(const struct cgroup_task *task);

/**
 * Kill every process in a task's group and wait until they are gone; no error when there is none.
 *
 * @return 0, or ERR_TIMEOUT when processes are left, stuck in the kernel
 */
MUST_CHECK int cgroup_kill(const struct cgroup_task *task, int64_t timeout_ms, struct err *err);

/** Remove a task's group; no error when there is none. @return 0, or ERR_BUSY with processes in it
 */
MUST_CHECK int cgroup_remove(const struct cgroup_task *task, struct err *err);

struct container_sample; // runtime/stats.h

/**
 * Look at what a container took of this host; texts are in the arena. Figures that this kernel or
 * layout lacks stay 0.
 *
 * @return 0, or ERR_NOT_FOUND when the container has no group: it is not there yet, or no more
 */
MUST_CHECK int cgroup_sample(const struct cgroup_task *task, size_t index, struct text container,
                             struct arena *arena, struct container_sample *out_sample,
                             struct err *err);

/** Ids of all tasks of an instance that have a group, in the arena, in no order. */
MUST_CHECK int cgroup_list(const struct cgroup_host *host, const char *instance,
                           struct arena *arena, struct text_list *out_ids, struct err *err);

/** Remove the instance's own group if no task has one in it. */
void cgroup_remove_instance(const struct cgroup_host *host, const char *instance);
