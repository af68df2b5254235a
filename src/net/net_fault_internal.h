#pragma once

#include "net/net_fault.h"
#include "net/net_internal.h"
#include "net/net_nft.h"

/*
 * What the parts of faults share: net_fault.c knows what is there and whose, net_fault_rules.c
 * writes tables of the packet filter, net_fault_queue.c queueing disciplines. All work in the
 * namespace of the calling thread, or of the socket they are given.
 */

#define FAULT_KEY_SIZE 24         ///< such as ingress-udp-65535
#define FAULTS_MAX 1024           ///< in one namespace: each is a chain that all packets meet
#define FAULT_LINKS_MAX 8         ///< links of default routes
#define FAULT_HANDLE_FIRST 0x4000 ///< handles are from here to twice this

/** Links that packets leave by. */
struct fault_links {
    struct net_link items[FAULT_LINKS_MAX];
    size_t count;
};

/** What a fault is made of. */
struct fault_rules {
    const char *table; ///< its name
    bool on_host;
    const struct net_fault_place *place;
    const struct net_fault *fault;
    const struct fault_links *links; ///< of loss and latency
    uint32_t handle;                 ///< of the links' queueing discipline
};

/** Remove all faults of this instance from the host's namespace. */
MUST_CHECK int net_fault_forget(struct net *net, struct err *err);

/** Write a fault's table. @return 0; ERR_UNSUPPORTED when the kernel lacks a module */
MUST_CHECK int fault_rules_add(int filter_fd, const struct fault_rules *rules, struct err *err);

/** Delete a fault's table; none is fine. @param loss  it has a second one */
MUST_CHECK int fault_rules_remove(int filter_fd, const char *table, bool loss, struct err *err);

/** The class of packets that are to be late, in the queueing discipline of that handle. */
uint32_t fault_queue_class(uint32_t handle);

/**
 * Put a queueing discipline at the links that delays packets of its class; what one of that handle
 * was there is replaced.
 *
 * @return 0; ERR_UNSUPPORTED when the kernel lacks one; ERR_BUSY when a link has another that
 *         somebody put there
 */
MUST_CHECK int fault_queue_add(int socket_fd, const struct fault_rules *rules, struct err *err);

/** Remove it; none is fine. */
MUST_CHECK int fault_queue_remove(int socket_fd, const struct fault_links *links, uint32_t handle,
                                  struct err *err);
