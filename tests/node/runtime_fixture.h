#pragma once

#include "runtime/runtime.h"

#include "base/buf.h"

#include <sys/types.h>

/*
 * What the node tests of the runtime share: an instance of its own in a temporary directory, an
 * image of busybox, a network namespace, and a task to run in it. Root only.
 */

#define FIXTURE_CONTAINERS_MAX 4
#define FIXTURE_PIDS_MAX 100 ///< of a container

// A stop timeout of who has to hear its signal: a busy machine takes its time.
#define FIXTURE_PATIENCE_S 120

struct fixture {
    struct arena arena;
    char *directory; ///< temporary; run, data and the image's layers are below
    char *run_dir;
    char *data_dir;
    char instance[9];
    struct runtime *runtime;
    struct image image;
    pid_t network_pid; ///< holds the network namespace
    char *network_path;
};

/** A task of a test; fill the definitions, then call fixture_start. */
struct fixture_task {
    struct fixture *fixture;
    struct text id;
    struct ecs_container_definition definitions[FIXTURE_CONTAINERS_MAX];
    size_t count;
    struct ecs_task_definition definition;
    struct session_eni eni;
    struct session_task_spec spec;
    struct text_list environment;
    struct image image;
    bool host_network;
    int fd; ///< of the supervisor's stream, -1 before attach
    struct buf in;
    struct supervisor_state state;      ///< the newest; in the fixture's arena
    struct supervisor_exec_ended ended; ///< the last that was told; likewise
    size_t ended_count;
};

/** Run the tests of test_members.c. @return how many failed */
int members_run(void);

/** Run the tests of test_exec.c. @return how many failed */
int exec_run(void);

/** Run the tests of test_join.c. @return how many failed */
int join_run_tests(void);

/** Run the tests of test_limits.c. @return how many failed */
int limits_run(void);

/** Run the tests of test_filter.c. @return how many failed */
int filter_run(void);

/** @return whether the tests can run here; else prints why not */
bool fixture_possible(void);

/** Set up; oci_runtime may be NULL. Ends the test when that fails. */
struct fixture *fixture_new(const char *oci_runtime);

/** Tear down, and check that nothing is left: processes, mounts, cgroups. */
void fixture_free(struct fixture *fixture);

/** A task without containers yet. */
struct fixture_task *fixture_task(struct fixture *fixture);

/** Add a container that runs a line of shell. @return its definition */
struct ecs_container_definition *fixture_add(struct fixture_task *task, const char *name,
                                             const char *script);

/** @return the runtime's prepare of the task */
int fixture_prepare(struct fixture_task *task, struct err *err);

/** Prepare, launch and attach. */
void fixture_start(struct fixture_task *task);

/** Attach, or attach once more; of a task that is over, take the last state. */
void fixture_attach(struct fixture_task *task);

/** A test on a state. */
typedef bool (*fixture_when_fn)(const struct fixture_task *task);

/** How long to wait for what has to come: far longer than it takes, and longer in the guest. */
int fixture_wait_ms(void);

/** Read frames until the newest state passes; fails the test when that takes too long. */
void fixture_wait(struct fixture_task *task, fixture_when_fn when);

/** Wait until a container has written a string: it is in its file a moment later. */
void fixture_wait_output(struct fixture_task *task, const char *name, const char *wanted);

/** For fixture_wait: all containers have ended. */
bool fixture_finished(const struct fixture_task *task);

/** For fixture_wait: all containers run. */
bool fixture_running(const struct fixture_task *task);

/** Send a command with what belongs to it. */
void fixture_send(struct fixture_task *task, const struct supervisor_command *command);

/** Send a command. */
void fixture_command(struct fixture_task *task, enum supervisor_command_kind kind);

/** Wait for the end, then kill what is left, clean, and clean once more. */
void fixture_end(struct fixture_task *task);

/** Make an empty file in the root of a container that runs. */
void fixture_touch(struct fixture_task *task, size_t index, const char *name);

/** What a container wrote, in the arena; nothing before it has begun. */
struct text fixture_output(struct fixture_task *task, const char *name);

/** @return whether a text holds a string */
bool fixture_holds(struct text text, const char *string);

/** A file below a cgroup mount point, of the task or of a container's cgroup; absent if missing. */
struct text fixture_control(struct fixture_task *task, const char *controller, const char *below,
                            const char *file);

/** Stop the processes of a container's cgroup. */
void fixture_freeze(struct fixture_task *task, const char *below);

/** The supervisor's process, from its cgroup. */
pid_t fixture_supervisor(struct fixture_task *task);
