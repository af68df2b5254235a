#pragma once

#include "net/net.h"

/*
 * Network mode bridge: each container of a task has a network namespace of its own, on a network
 * that all tasks of this Berth instance share and nobody else is on.
 *
 * The network has a router as VPCs have, with a link and a route to each container and no bridge:
 * containers are not next to each other, so none can listen to another or take its address. Those
 * of one task reach each other; those of different tasks meet through ports of the host only. The
 * gateway is the host, as on Docker's bridge.
 *
 * Ports of the host lead to ports of containers, for everybody who reaches the host, the host
 * itself and containers included. While a task has a port, a bound socket keeps others off it.
 *
 * What a task has is remembered in the run directory, so that all of it outlives this process.
 */

#define NET_TASK_CONTAINERS_MAX 16
#define NET_TASK_PORTS_MAX 4096 ///< of the host, for one task: each costs a socket

/** Ports of a container to pass on, one after the other. */
struct net_mapping {
    bool udp;
    uint16_t container_port; ///< the first
    uint16_t host_port;      ///< the first; 0: any that are free
    uint16_t count;          ///< 1 unless a range
};

/** A container to connect. */
struct net_container {
    const struct net_mapping *mappings;
    size_t mapping_count;
};

/** A task to connect. */
struct net_task {
    struct text id; ///< 32 hex digits
    const struct net_container *containers;
    size_t container_count;
};

/** How a container is connected; in the arena. */
struct net_connection {
    struct text path;           ///< absolute, of its namespace
    struct text address;        ///< IPv4
    const uint16_t *host_ports; ///< the first of each mapping
};

/**
 * Connect a task's containers; what there was of the task before is replaced. Packets pass when
 * this returns. One call per task at a time.
 *
 * @param out_connections  one for each container
 * @param out_failed       on failure: the container at fault, else container_count
 * @return 0; ERR_BUSY when a port that was asked for is taken; ERR_NO_ROOM when no port, or no
 *         address, is free; ERR_UNSUPPORTED without a range for the network
 */
MUST_CHECK int net_task_create(struct net *net, const struct net_task *task, struct arena *arena,
                               struct net_connection *out_connections, size_t *out_failed,
                               struct err *err);

/**
 * How the containers of a task are connected, without their ports; in the arena.
 *
 * @return how many there are; 0 for a task that has nothing of the network
 */
size_t net_task_find(struct net *net, struct text task_id, struct arena *arena,
                     struct net_connection out_connections[NET_TASK_CONTAINERS_MAX]);

/** Undo it; no error when there is nothing. From here on nothing passes, even if a process still
 *  holds a namespace. */
MUST_CHECK int net_task_destroy(struct net *net, struct text task_id, struct err *err);

/** Ids of all tasks that have something of the network; in the arena. */
void net_task_list(struct net *net, struct arena *arena, struct text_list *out_ids);
