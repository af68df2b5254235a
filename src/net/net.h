#pragma once

#include "base/alloc.h"
#include "base/err.h"
#include "shape/shape.h"

/*
 * The node's networks. Each VPC of a Berth instance has a router namespace of its own with a
 * bridge per subnet; the host sees one transit link into it. A task's network interface (ENI) is a
 * network namespace with a veth into its subnet's bridge.
 *
 * Everything bears the instance's id: namespaces are bind-mounted below the run directory, host
 * links are named `bt<instance>...`, nftables tables `berth-<instance>...`. Clean-up finds exactly
 * its own, and two instances, or overlapping VPCs, never meet. Every step comes with its undo, and
 * both may run twice. All calls block; they may come from any worker thread, and leave the
 * thread's own network namespace as it was.
 */

struct net;

struct net_options {
    const char *instance;    ///< 8 hex digits
    const char *run_dir;     ///< such as /run/berth/1a2b3c4d; namespaces are mounted below it
    uint32_t pool_size;      ///< ready network namespaces to keep, 0 for none; a thread makes them
    struct text bridge_cidr; ///< of the bridge network, see net_task.h; absent: there is none
    uint16_t port_first; ///< ports of the host that are chosen for containers: from, to; 0: those
    uint16_t port_last;  ///< that the host itself takes for outgoing connections
};

/** A VPC as a node needs it. Addresses are IPv4 in text. */
struct net_vpc {
    struct text id;   ///< vpc-...
    struct text cidr; ///< such as 172.31.0.0/16
    bool host_route;  ///< let the host itself reach the VPC through the transit link
};

struct session_security_group;

/** A network interface to make. */
struct net_eni {
    struct text id; ///< eni-...
    struct text mac_address;
    struct text address;
    uint32_t prefix_length;
    struct text gateway; ///< first address of the subnet; the bridge answers on it
    struct text subnet_id;
    struct net_vpc vpc;
    struct text_list groups; ///< ids of its security groups
    bool groups_told;        ///< a group that is not known lets nothing through, instead of all
    const struct session_security_group *known; ///< groups whose rules came with it
    size_t known_count;
};

/** Open, and prepare the host: forwarding, the instance's nftables tables. Runs after a crash, too.
 */
MUST_CHECK int net_open(const struct net_options *options, struct net **out_net, struct err *err);

/** Release memory and descriptors; leaves links and namespaces alone. NULL is allowed. */
void net_close(struct net *net);

/**
 * Make the VPC's router namespace, its transit link and its outward NAT, or complete what a crash
 * left of them.
 *
 * @return 0; ERR_INVALID for a range a VPC cannot have; ERR_EXISTS when host_route is wanted but
 *         the host routes part of the range elsewhere: the VPC works but for the host's way in,
 *         and net_eni_create does not mind
 */
MUST_CHECK int net_vpc_ensure(struct net *net, const struct net_vpc *vpc, struct err *err);

/**
 * Make a network interface: namespace with loopback, eth0 with address and MAC, default route,
 * attached to the subnet's bridge. Makes the VPC and the bridge when they are missing. What is
 * there and as wanted stays as it is, with the processes in it; what is there and differs is
 * replaced. Packets pass when this returns. One call per interface at a time.
 *
 * @param out_path  absolute path of the namespace, in the arena
 */
MUST_CHECK int net_eni_create(struct net *net, const struct net_eni *eni, struct arena *arena,
                              struct text *out_path, struct err *err);

/**
 * Undo it; no error when there is nothing.
 *
 * From here on nothing passes, even if a process still holds the namespace; the veth's slow removal
 * is left to the kernel.
 */
MUST_CHECK int net_eni_destroy(struct net *net, struct text eni_id, struct err *err);

/**
 * Take the rules of security groups, unless newer ones are known, and apply them to the interfaces
 * in them. Connections that were let through go on.
 */
MUST_CHECK int net_groups_put(struct net *net, const struct session_security_group *groups,
                              size_t count, struct err *err);

/**
 * Remember the rules of security groups, for an agent that comes after and for interfaces that are
 * made later. Never waits for anything but the disk below the run directory; net_groups_put does
 * it, too.
 */
void net_groups_keep(struct net *net, const struct session_security_group *groups, size_t count);

/**
 * Apply groups to an interface that is there from before groups were enforced: until their rules
 * are known, all passes. Nothing happens when the interface is known, or is not there.
 */
MUST_CHECK int net_eni_adopt(struct net *net, const struct net_eni *eni, struct err *err);

/** @return path where the namespace of an ENI is or would be mounted */
struct text net_eni_path(const struct net *net, struct text eni_id, struct arena *arena);

/** Ids of all network interfaces of this instance that exist, from the kernel's view. */
MUST_CHECK int net_eni_list(struct net *net, struct arena *arena, struct text_list *out_ids,
                            struct err *err);

/** Where a task's processes find their agent: the address that AWS's SDKs have built in, port 80.
 */
#define NET_ENDPOINT_ADDRESS "169.254.170.2"
/** The port behind it, which containers cannot use on that address; ECS's agent takes it, too. */
#define NET_ENDPOINT_PORT 51679

/**
 * Open a listening socket that only processes in a network namespace reach, at port 80 of
 * NET_ENDPOINT_ADDRESS. Makes there what is missing; may run again after the socket was closed.
 *
 * The address and its rules go with the namespace.
 *
 * @param path    of the namespace, such as net_eni_path
 * @param out_fd  not blocking; the caller's
 */
MUST_CHECK int net_endpoint_listen(struct text path, int *out_fd, struct err *err);

/**
 * The same for a task in the host's own namespace: at NET_ENDPOINT_PORT of an address of the host's
 * loopback, which nobody has to add. All that run in that namespace reach it.
 *
 * @param address  of 127.0.0.0/8, in the order of the host
 * @return 0, or ERR_SYS when something else has it
 */
MUST_CHECK int net_endpoint_listen_here(uint32_t address, int *out_fd, struct err *err);

/**
 * Remove everything of this instance: interfaces, routers, links, tables. Forwarding on the host
 * stays on, as others may have come to rely on it. Calls that make things may follow.
 */
MUST_CHECK int net_destroy_all(struct net *net, struct err *err);

/** What a range is for. */
enum net_use {
    NET_USE_VPC,    ///< 172.31.0.0/16 as AWS's default VPC has, then downwards
    NET_USE_BRIDGE, ///< 172.17.0.0/16 as Docker's bridge has, then upwards
};

/**
 * Choose an address range that no route or address of this host overlaps, of the private ranges.
 *
 * @param taken     further ranges to leave alone, such as those other instances have chosen but do
 *                  not route yet; what is no range in it is passed over
 * @param out_cidr  in the arena
 * @return 0, or ERR_NO_ROOM when all candidates are taken
 */
MUST_CHECK int net_free_cidr(enum net_use use, const struct text_list *taken, struct arena *arena,
                             struct text *out_cidr, struct err *err);
