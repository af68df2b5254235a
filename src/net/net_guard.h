#pragma once

#include "api/session.h"
#include "net/net_internal.h"
#include "net/net_nft.h"

/*
 * Security groups, where they bind: in the router of the VPC, which a task cannot reach into.
 *
 * Every packet of a task passes its port of the bridge, where two things are seen to: that it bears
 * the interface's own addresses (ARP, too), and that it goes to the router instead of straight to a
 * neighbour. So all traffic is routed, and rules, with the tracking of connections, need to be in
 * one place only. The kernel could also track what a bridge passes on, but not every kernel does.
 *
 *   table bridge berth-INSTANCE
 *     map gate      port . hardware address . address : hardware address of the bridge
 *     chain gate    prerouting, drops what is not in the map
 *   table ip berth-groups-INSTANCE
 *     map class     address : class, for every interface here
 *     map in, out   class : jump to its chain
 *     set sg-...    addresses of a group's members
 *     chain in-N    what a class may hear; out-N what it may say
 *     chain forward connections that were let through go on; then out of the sender's class, and
 *                   in of the receiver's
 *
 * A class is a set of groups that some interface here is in. So an interface is four or five
 * elements of maps and sets, whatever its groups' rules; a change of a group is its classes'
 * chains.
 *
 * All of it is level-triggered: what the kernel refuses, because something is not as it should be,
 * is made anew from what is known here, in one transaction.
 */

/** A group that interfaces here are in, or that a rule names. */
struct guard_group {
    struct guard_group *next;
    char id[NET_ID_MAX + 1];
    struct session_security_group *rules; ///< NULL until they are known
    bool open;                            ///< let all through until then
    bool set;                             ///< the kernel has its set
};

/** Interfaces with the same groups. */
struct guard_class {
    struct guard_class *next;
    uint32_t number;
    struct guard_group **groups; ///< in ascending id
    size_t group_count;
    uint32_t members;
    bool made; ///< the kernel has its chains
};

/** An interface. */
struct guard_member {
    struct guard_member *next;
    char id[NET_ID_MAX + 1];
    char link[NET_LINK_NAME_SIZE];
    uint8_t mac[6];
    uint32_t address;
    uint32_t gateway;
    struct guard_class *class;
};

/** What a router knows of groups. Zero-initialised storage is empty. */
struct net_guard {
    int fd; ///< to the packet filter of the router's namespace; 0 for none
    struct net_range cidr;
    bool made;   ///< the tables are there
    bool behind; ///< the kernel has not what is known here: writing it failed
    uint32_t class_last;
    struct guard_group *groups;
    struct guard_class *classes;
    struct guard_member *members;
    bool past_unknown; ///< there may have been interfaces that are not known
    uint64_t *past;    ///< a bit for each address that an interface gave up lately; or NULL
};

/** Release memory and descriptor. */
void net_guard_deinit(struct net_guard *guard);

// ---- net_guard.c. The lock of net is held ------------------------------------------------

/** Let an interface be heard, as its groups say; before its link is made. Again is fine. */
MUST_CHECK int net_guard_add(struct net *net, struct net_router *router, const struct net_eni *from,
                             const struct net_plug *plug, struct err *err);

/** Take an interface out; none is fine, and so is a router that is gone. */
void net_guard_remove(struct net *net, const char *eni_id);

/** Make all of a router's tables anew, if it has interfaces. */
MUST_CHECK int net_guard_restore(struct net *net, struct net_router *router, struct err *err);

/** Read what was kept of the interfaces that there are, and make the tables of their routers. */
MUST_CHECK int net_guard_adopt(struct net *net, struct err *err);

/** @return the router's interface of that id, or NULL */
struct guard_member *net_guard_member(const struct net_router *router, struct text eni_id);

// ---- net_guard_table.c: what is told the kernel ------------------------------------------

/** Everything of a router, instead of what there is. */
void net_guard_write(const struct net_guard *guard, const char *instance, struct net_nft *nft);

/** The set of a group; without members. */
void net_guard_write_set(const struct guard_group *group, const char *instance,
                         struct net_nft *nft);

/** The chains of a class; anew when they are there. */
void net_guard_write_class(const struct guard_class *class, bool anew, const char *instance,
                           struct net_nft *nft);

/** The elements of an interface. */
void net_guard_write_member(const struct guard_member *member, bool add, const char *instance,
                            struct net_nft *nft);

/** Take a class out. */
void net_guard_write_class_gone(const struct guard_class *class, const char *instance,
                                struct net_nft *nft);

// ---- net_guard_rule.c --------------------------------------------------------------------

/** Append a rule of a group to a chain, unless it is for something that there is not. verdict: of
 *  what fits it. */
void net_guard_write_rule(const struct session_security_group_rule *rule,
                          const struct net_nft_table *table, const char *chain, int32_t verdict,
                          struct net_nft *nft);

// ---- net_guard_file.c: what outlives this process, in RUN/groups -------------------------

/** Keep a group unless it is kept as it is or newer. Failing costs no more than asking the server
 *  again. From any thread. */
void net_guard_keep_group(struct net *net, const struct session_security_group *group);

/** Keep an interface. */
void net_guard_keep_member(const struct net *net, const struct net_eni *eni);

/** Forget an interface. */
void net_guard_drop_member(const struct net *net, const char *eni_id);

/** @return the group that was kept, in the arena, or NULL */
struct session_security_group *net_guard_kept_group(const struct net *net, struct text id,
                                                    struct arena *arena);

/** @return the interface that was kept, in the arena, or NULL */
struct session_eni *net_guard_kept_member(const struct net *net, const char *id,
                                          struct arena *arena);

/** Remove all that was kept. */
MUST_CHECK int net_guard_forget(const struct net *net, struct err *err);
