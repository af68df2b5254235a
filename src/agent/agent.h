#pragma once

#include "agent/identity.h"
#include "image/image.h"
#include "net/net.h"
#include "runtime/runtime.h"

#include <uv.h>

/*
 * The agent of a node: registers the host, keeps its sessions with the server open, and carries
 * out what the task logic (agent/logic.h) asks for.
 *
 * Everything here is on the loop's thread; what blocks runs in libuv's workers. The workers are
 * shared with the rest of the process: a program sets UV_THREADPOOL_SIZE before it first uses the
 * loop, 16 suits an agent; two of them are left free for others.
 *
 * The data directory holds the journal, the identity and the output of containers. One agent at a
 * time uses it.
 */

struct agent;

struct agent_options {
    uv_loop_t *loop;
    const struct agent_identity *identity; ///< copied
    const char *zone;           ///< availability zone such as eu-west-1a, or several separated by
                                ///< commas that this host stands for; NULL: the region's first
    const char *cluster;        ///< to register with; NULL: a host of the pools
    const char *capacity;       ///< pools: FARGATE, FARGATE_SPOT, or both with a comma; NULL: both
    const char *scaling_group;  ///< the Auto Scaling group it is of; only with a cluster; or NULL
    const char *version;        ///< of this program, told to the server
    const char *data_dir;       ///< absolute
    struct runtime *runtime;    ///< borrowed
    struct net *net;            ///< borrowed; NULL: no interfaces are made, for fake runtimes
    struct image_store *images; ///< borrowed; NULL: no images are looked up, for fake runtimes
    bool host_route;            ///< let the host reach the VPCs; see net_vpc
    const char *environment_files; ///< where the S3 objects of environmentFiles are: a folder, or
                                   ///< an http or https URL, each with BUCKET/KEY below; or NULL
    uint32_t cpu_units;            ///< offered to tasks; 0: all of the host's
    uint32_t memory_mib;           ///< offered to tasks; 0: the host's less a reserve
    uint32_t look_ms;              ///< between looks at what containers take; 0: five seconds
    int64_t keep_output_ms;        ///< of what ended tasks wrote; 0: a day
    uint64_t output_limit_bytes;   ///< of all that tasks wrote, before that of ended ones goes
                                   ///< sooner; 0: 4 GiB
    int64_t remove_images_ms;      ///< images out of use for so long go; 0: none with a name does
    uint64_t disk_reserve_bytes;   ///< less free, and no new task is taken; 0: see garbage.h
    int64_t garbage_ms;            ///< between cycles of letting go; 0: half an hour
    /** The host is registered and its session open, for the first time. May be NULL. */
    void (*on_ready)(void *context);
    /** The server refuses this node: it was removed, for example. Tasks go on, and the agent tries
     *  again every now and then. May be NULL. */
    void (*on_refused)(void *context, const struct err *err);
    void *context;
};

/** Numbers for people and tests. */
struct agent_stats {
    size_t task_count;
    size_t job_count; ///< blocking calls under way or waiting for a worker
    bool registered;
    bool connected; ///< the ACS session is open
    bool telemetry; ///< the TCS session is open
    uint64_t report_count;
    uint64_t journal_write_count;
    uint64_t journal_record_count;
};

/**
 * Open the journal, take over the tasks that are in it, remove what belongs to none of them, and
 * begin to register and connect. Blocks for as long as reading the journal and the host takes.
 *
 * @return 0; ERR_BUSY when another agent uses the data directory; ERR_VERSION when a newer Berth
 *         wrote the journal; what the runtime returned
 */
MUST_CHECK int agent_start(const struct agent_options *options, struct agent **out_agent,
                           struct err *err);

enum agent_stop_mode {
    AGENT_STOP_KEEP,  ///< tasks go on; a later agent takes them over
    AGENT_STOP_TASKS, ///< stop all tasks first, each in its own stop timeout
};

/** Begin to stop. stopped is called once, on the loop: then uv_run may end and agent_free be
 * called. With AGENT_STOP_TASKS it comes when all tasks are gone and the server knows, or cannot be
 * told. */
void agent_stop(struct agent *agent, enum agent_stop_mode mode, void (*stopped)(void *context),
                void *context);

/** Close everything and free. Turns the loop itself until its handles are closed and its workers
 * are done: call it when uv_run has returned, never inside a callback. NULL is allowed. */
void agent_free(struct agent *agent);

/** Fill in numbers. */
void agent_stats(const struct agent *agent, struct agent_stats *out_stats);
