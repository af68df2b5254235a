#pragma once

#include "agent/agent.h"
#include "bin/data.h"

/*
 * The node's half, wired: images, networks, OCI runtime, agent. Used by `berth up` and `berth
 * agent`.
 */

struct node;

/** Processes and threads of a container: far more than programs use, far less than a host has. */
#define NODE_PIDS_MAX 4096

struct node_options {
    struct data_dir *data; ///< borrowed; open
    uv_loop_t *loop;
    const struct agent_identity *identity; ///< borrowed for the call
    const char *zone;                      ///< or several, separated by commas
    const char *cluster;                   ///< to register with; NULL: the pools
    const char *capacity;                  ///< which pools; see agent.h
    const char *scaling_group;             ///< see agent.h
    bool host_route;                       ///< let this host reach its tasks
    const char *environment_files;         ///< see agent.h
    const char *bridge_cidr;               ///< of the bridge network; NULL: a free one
    uint16_t port_first;                   ///< see net_options
    uint16_t port_last;
    uint32_t cpu_units;     ///< offered to tasks; 0: what the host has
    uint32_t memory_mib;    ///< likewise
    uint32_t pids_max;      ///< of a container; 0: NODE_PIDS_MAX
    int64_t keep_output_ms; ///< see agent.h, as the next four
    uint64_t output_limit_bytes;
    int64_t remove_images_ms;
    uint64_t disk_reserve_bytes;
    int64_t garbage_ms;
    void (*on_ready)(void *context);
    void (*on_refused)(void *context, const struct err *err);
    void *context;
};

/** Directory of the node's data. In the data directory's arena. */
const char *node_data_dir(struct data_dir *data);

/**
 * Have the C library keep no memory for each thread apart: it does so for the speed of programs
 * that allocate much, and with an agent's workers that would be a sixth of what the agent takes.
 * The library is told at its start only, so this starts the program anew with the same arguments,
 * once (bin/anew.h); it comes back when that was done, or cannot be. Before anything is opened, in
 * an agent that is a process of its own.
 */
void node_keep_small(char *const *words);

/** Raise what the kernel lets a process have, before the loop is used first. */
void node_process_limits(void);

/** Open everything and start the agent. */
MUST_CHECK int node_start(const struct node_options *options, struct node **out_node,
                          struct err *err);

/** Begin to stop; see agent_stop. */
void node_stop(struct node *node, enum agent_stop_mode mode, void (*stopped)(void *context),
               void *context);

/** Close. remove_networks also takes away all that this Berth has in the kernel: only when no task
 *  is left. NULL is allowed. */
void node_free(struct node *node, bool remove_networks);
