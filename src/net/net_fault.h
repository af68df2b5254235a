#pragma once

#include "net/net.h"

/*
 * Faults of a task's network, as ECS injects them: a port that swallows what is sent to it, packets
 * that are lost, packets that are late.
 *
 * They are put where the task's processes are: into the network namespace of its interface, or of
 * the host for a task in mode host, where they meet all that the host itself sends, as on ECS. What
 * the host passes on for others goes on unharmed, and so do the ways of tasks to their agent, and
 * of the agent to its server.
 *
 * The kernel alone remembers them, so that they outlive this process: a fault is a table of the
 * packet filter whose name tells what it is and whose. What is in a task's own namespace goes with
 * it; in the host's, net_fault_end removes a task's.
 *
 * Lost and late are packets that leave: by eth0 of a task, by the links of the host's default
 * routes. A port can be deaf in either direction.
 *
 * Sources: Amazon ECS Developer Guide, "Amazon ECS fault injection endpoints".
 */

#define NET_FAULT_DELAY_MS_MAX INT32_MAX ///< 24 days

enum net_fault_kind {
    NET_FAULT_BLACKHOLE, ///< one for each direction, protocol and port
    NET_FAULT_LOSS,
    NET_FAULT_LATENCY, ///< where the kernel has the queueing disciplines prio and netem
};

/** Addresses. */
struct net_fault_range {
    bool ipv6;
    uint8_t prefix;
    uint8_t address[16]; ///< as on the wire; bits behind the prefix mean nothing
};

/** What goes wrong. Which fault it is: kind, and for a blackhole egress, udp and port. */
struct net_fault {
    enum net_fault_kind kind;
    bool egress;
    bool udp;
    uint16_t port;
    uint32_t loss_percent;  ///< 1 to 100
    uint32_t flows_percent; ///< of conversations that meet it, 1 to 100; not of a blackhole
    int64_t delay_ms;       ///< 0 to NET_FAULT_DELAY_MS_MAX
    int64_t jitter_ms;      ///< the delay is up to so much more or less; the same
    const struct net_fault_range *sources; ///< who meets loss and latency; a blackhole swallows all
    size_t source_count;
    const struct net_fault_range *spared; ///< who never does
    size_t spared_count;
};

/** A server that is reached by TCP. */
struct net_fault_server {
    struct net_fault_range address;
    uint16_t port;
};

/** Where. */
struct net_fault_place {
    struct text path;    ///< of the task's namespace, such as net_eni_path; absent: the host's
    struct text task_id; ///< whose fault it is: 32 hex digits
    const struct net_fault_server *servers; ///< in the host's: those to which no fault cuts the way
    size_t server_count;
};

/**
 * Begin a fault.
 *
 * @param out_running  the kind that is there instead, with ERR_EXISTS
 * @return 0; ERR_EXISTS when the same one is there already, or for loss and latency either of the
 *         two; ERR_UNSUPPORTED with a sentence of what this kernel lacks; ERR_BUSY when somebody
 *         else's queueing discipline is in the way; ERR_NOT_FOUND in a host without a default
 *         route; ERR_NO_ROOM when too many are there
 */
MUST_CHECK int net_fault_start(struct net *net, const struct net_fault_place *place,
                               const struct net_fault *fault, enum net_fault_kind *out_running,
                               struct err *err);

/** End a fault, whosever it is; none is fine. */
MUST_CHECK int net_fault_stop(struct net *net, const struct net_fault_place *place,
                              const struct net_fault *fault, struct err *err);

/** See whether a fault is there, whosever it is. */
MUST_CHECK int net_fault_running(struct net *net, const struct net_fault_place *place,
                                 const struct net_fault *fault, bool *out_running, struct err *err);

/** Remove all that a task has put into the host's namespace; nothing there is fine. */
MUST_CHECK int net_fault_end(struct net *net, struct text task_id, struct err *err);

/** Ids of tasks with faults in the host's namespace, in the arena. */
MUST_CHECK int net_fault_list(struct net *net, struct arena *arena, struct text_list *out_ids,
                              struct err *err);

/**
 * See whether this kernel can do all kinds, in a namespace made for it.
 *
 * @return 0, or what net_fault_start would return
 */
MUST_CHECK int net_fault_probe(struct net *net, struct err *err);
