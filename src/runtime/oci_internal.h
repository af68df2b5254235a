#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/runtime.h"

/*
 * The parts of the OCI driver: prepare (a task), container (a bundle), device (nodes), command
 * (what runs in a container later), exec (commands of ECS Exec), files (hosts, resolv.conf),
 * syscalls (compiled filters), and the rest in oci.c.
 *
 *   <run_dir>/tasks/<id>/            plan, state, lock, socket, log: see task/supervisor.h
 *   <run_dir>/tasks/<id>/c/<n>/      bundle of a container
 *   <data_dir>/tasks/<id>/c/<n>/     its writable layer: upper, work
 *   <data_dir>/tasks/<id>/v/<n>/     scratch volumes, and Docker volumes of the task
 *   <data_dir>/volumes/<name>/       Docker volumes that tasks share; nothing removes them
 *   <data_dir>/output/<id>/<name>/   its output; clean leaves it
 */

#define OCI_FILTERS_MAX 8 ///< sets of capabilities in use at a time; more are compiled again

/** A filter of system calls, compiled: see syscalls.h. */
struct oci_filter {
    uint32_t grants;
    struct buf program;
};

/** Those that were needed lately. */
struct oci_filters {
    pthread_mutex_t lock;
    struct oci_filter items[OCI_FILTERS_MAX];
    size_t next; ///< to be replaced
};

struct oci {
    struct runtime runtime;
    char *instance;
    char *run_dir;
    char *data_dir;
    char *supervisor;
    char *binary; ///< crun or runc
    uint64_t output_max_bytes;
    uint32_t pids_max;
    struct cgroup_host cgroups;
    pthread_mutex_t group_lock; ///< held while the instance's group comes or goes
    atomic_bool takes_programs; ///< filters of system calls are given to the runtime compiled
    struct oci_filters filters;
};

/** A task being prepared. */
struct oci_task {
    struct oci *oci;
    const struct runtime_task *task;
    const struct ecs_task_definition *definition; ///< with the volumes that images declare
    struct cgroup_task cgroup;
    struct arena *arena; ///< holds all that the plan borrows
    struct text run;     ///< <run_dir>/tasks/<id>
    struct text data;    ///< <data_dir>/tasks/<id>
};

/** @return the driver behind a runtime */
struct oci *oci_of(struct runtime *runtime);

/** The check of runtime_ops. */
MUST_CHECK int oci_check(struct runtime *runtime, struct err *err);

/** Look whether the runtime's program runs, and what it can do. */
MUST_CHECK int oci_check_binary(struct oci *oci, struct err *err);

/** @return whether what says this on `--version` takes compiled filters: crun, from 0.18 on */
bool oci_takes_programs(struct text version);

/** @return <run_dir>/tasks/<id>, in the arena */
struct text oci_run_directory(const struct oci *oci, struct text task_id, struct arena *arena);

/** @return <data_dir>/tasks/<id>, in the arena */
struct text oci_data_directory(const struct oci *oci, struct text task_id, struct arena *arena);

/** @return what names the task's cgroup */
struct cgroup_task oci_cgroup(const struct oci *oci, struct text task_id);

/** Task ids become names of files and cgroups. @return 0, or ERR_INVALID */
MUST_CHECK int oci_check_id(struct text task_id, struct err *err);

/** @return whether a supervisor holds the task's lock */
bool oci_alive(const struct oci *oci, struct text task_id);

/** The exec of runtime_ops. */
MUST_CHECK int oci_exec(struct runtime *runtime, const struct runtime_exec *exec,
                        struct arena *arena, struct runtime_exec_ready *out_ready, struct err *err);

/** Name, in a bundle, of how a command of ECS Exec is run there: all but its arguments. */
#define OCI_EXEC_TEMPLATE "exec.process"

/**
 * Write the record of a command that is to run in a container, supervisor.Process.
 *
 * @param filter  of system calls, a program; absent for none
 * @param name    of the file, in the directory
 */
MUST_CHECK int oci_command_write(const struct config_process *process, struct text filter,
                                 struct text directory, const char *name, struct arena *arena,
                                 struct err *err);

/** Write such a record again, with these arguments, elsewhere. */
MUST_CHECK int oci_command_copy(const char *path, struct text_list arguments, struct text directory,
                                const char *name, struct arena *arena, struct err *err);

/** The prepare of runtime_ops. */
MUST_CHECK int oci_prepare(struct runtime *runtime, const struct runtime_task *task,
                           struct err *err);

/**
 * The host name of a container: its interface's, which a task shares, else its own, else the
 * beginning of the task's id, with its number where it has an address of its own; in the arena.
 */
struct text oci_hostname(const struct runtime_task *task, size_t index, struct arena *arena);

/** @return path of a container's network namespace, its own or the task's; absent for the host's */
struct text oci_network_namespace(const struct runtime_task *task, size_t index);

/** Make a container's bundle and fill its part of the plan, which borrows from the task's arena. */
MUST_CHECK int oci_container_prepare(const struct oci_task *task, size_t index,
                                     struct supervisor_plan_container *out_plan, struct err *err);

/**
 * The devices of the host that a container gets besides the default ones: all of them when it is
 * privileged, else those that it lists, with all that lies below where a folder is listed.
 *
 * @return 0, ERR_INVALID for a path that is no device, ERR_NO_ROOM for more than a list holds
 */
MUST_CHECK int oci_devices(const struct ecs_container_definition *definition, struct arena *arena,
                           const struct config_device **out_devices, size_t *out_count,
                           struct err *err);

/** Prepare an empty cache. */
void oci_filters_init(struct oci_filters *filters);

/** Empty it. */
void oci_filters_deinit(struct oci_filters *filters);

/**
 * The default filter for a container with these capabilities, as a program; in the arena. From any
 * thread: the first who asks compiles it, and others wait.
 *
 * @return 0, or why it cannot be compiled
 */
MUST_CHECK int oci_filter(struct oci *oci, struct text_list capabilities, struct arena *arena,
                          struct text *out_program, struct err *err);

/**
 * The variables of the containers that one links to; in the task's arena.
 *
 * @return 0, or ERR_INVALID for a link to a container without a network
 */
MUST_CHECK int oci_link_environment(const struct oci_task *task, size_t index,
                                    struct text_list *out_variables, struct err *err);

/**
 * Put a file system of the task's ephemeralStorage where its layers and scratch volumes are going
 * to be, unless it is there already, or the task asks for none.
 *
 * @return 0, or why this host cannot: it takes mkfs.ext4 and loop devices
 */
MUST_CHECK int oci_storage_make(const struct oci_task *task, struct err *err);

/** Take it away again, with all that is on it; nothing there is no error. */
void oci_storage_remove(struct text data);

/**
 * The directory on this host that is a volume, made when it is absent and filled then with what the
 * image has where it is mounted first.
 *
 * @param root_fd      the root of the container that mounts it
 * @param destination  where it does
 * @return 0; ERR_INVALID for a volume that is not defined or not there, or what making it returned
 */
MUST_CHECK int oci_volume_source(const struct oci_task *task, int root_fd, struct text name,
                                 struct text destination, struct text *out_source, struct err *err);

/** The file systems in memory among the task's volumes, for the supervisor; in the arena. */
MUST_CHECK int oci_volume_mounts(const struct oci_task *task,
                                 struct supervisor_mount_list *out_mounts, struct err *err);

/**
 * Copy what a container's root has at a path into an empty directory: files, folders with their
 * owners and modes, links, nodes. Nothing to copy is no error.
 */
MUST_CHECK int oci_copy_up(int root_fd, struct text path, const char *target, struct err *err);

/** Write hosts, hostname and resolv.conf into a directory. */
MUST_CHECK int oci_files_write(const struct oci_task *task, size_t index, struct text directory,
                               struct err *err);

/** Replace a small file; after a crash of the host nobody reads it, so it is not synced. */
MUST_CHECK int oci_write_file(struct text directory, const char *name, mode_t mode,
                              struct text content, struct err *err);

/** The servers of a resolv.conf that a container can reach: not those on loopback. For tests. */
void oci_resolv_servers(struct text content, struct text_list *out_servers, struct arena *arena);
