#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <linux/netfilter/nf_tables.h>

/*
 * Rules of the packet filter straight over netlink, for what is done for every task: the library
 * that reads rules as text takes milliseconds, and a megabyte in each thread that ever used it.
 *
 * A transaction is collected, then taken or refused by the kernel as a whole.
 */

struct nl_msg;
struct nlattr;

/** A transaction. Zero-initialised storage is an empty one. */
struct net_nft {
    struct buf bytes;
    uint32_t sequence;
    size_t last; ///< where the last message begins
};

/** Release. */
void net_nft_deinit(struct net_nft *nft);

AUTO_VALUE(struct net_nft, net_nft_deinit)

/** Open a socket to the packet filter of the calling thread's namespace. */
MUST_CHECK int net_nft_open(int *out_fd, struct err *err);

/**
 * Send what was collected and hear whether it was taken.
 *
 * @param out_number  errno of the first message that was refused, 0 when all is done
 */
MUST_CHECK int net_nft_commit(int fd, struct net_nft *nft, int *out_number, struct err *err);

/** Begin a message about tables; give it to net_nft_add. */
struct nl_msg *net_nft_message(struct net_nft *nft, uint8_t type, uint16_t flags, uint8_t family);

/** Append a message; takes it. */
void net_nft_add(struct net_nft *nft, struct nl_msg *message);

/** A table of a family. */
struct net_nft_table {
    uint8_t family; ///< NFPROTO_...
    const char *name;
};

/** Make the table; with exclusive the transaction fails with EEXIST when it is there. */
void net_nft_table(struct net_nft *nft, const struct net_nft_table *table, bool exclusive);

/** Delete it; it must be there. */
void net_nft_table_delete(struct net_nft *nft, const struct net_nft_table *table);

/** Hand the names of all tables of a family to a function; some come twice when others change the
 *  tables meanwhile. */
MUST_CHECK int net_nft_tables(int fd, uint8_t family,
                              void (*visit)(void *context, const char *name), void *context,
                              struct err *err);

/** Where packets meet a chain. */
struct net_nft_hook {
    uint32_t number; ///< of the family
    int32_t priority;
    bool drop;          ///< what passes no rule
    const char *device; ///< of family netdev: whose packets; else NULL
};

/** Make a chain; hook is NULL for one that others jump to. */
void net_nft_chain(struct net_nft *nft, const struct net_nft_table *table, const char *name,
                   const struct net_nft_hook *hook);

/** Empty a chain of its rules. */
void net_nft_chain_flush(struct net_nft *nft, const struct net_nft_table *table, const char *name);

/** Delete a chain that has no rules and that nothing names. */
void net_nft_chain_delete(struct net_nft *nft, const struct net_nft_table *table, const char *name);

/* Types of keys and data, as the library's listings know them. */
#define NET_NFT_IPV4 7u
#define NET_NFT_ETHER 9u
#define NET_NFT_IFNAME 41u
#define NET_NFT_VERDICT 0xffffff00u
#define NET_NFT_CONCAT(a, b, c) ((a) << 12 | (b) << 6 | (c))

/** A set, or a map when it has data. */
struct net_nft_set {
    const char *name;
    uint32_t key_type;
    uint32_t key_size;
    uint32_t data_type; ///< 0 for none
    uint32_t data_size;
};

/** Make a set. */
void net_nft_set(struct net_nft *nft, const struct net_nft_table *table,
                 const struct net_nft_set *set);

/** An element of a set. */
struct net_nft_element {
    const void *key;
    size_t key_size;
    const void *data; ///< NULL for none
    size_t data_size;
    const char *chain; ///< instead of data: jump there
};

/** Add an element, or delete it by its key. */
void net_nft_element(struct net_nft *nft, const struct net_nft_table *table, const char *set,
                     bool add, const struct net_nft_element *element);

/** A rule that is being made: what must hold, then what is done. */
struct net_nft_rule {
    struct nl_msg *message;
    struct nlattr *expressions;
};

/** Begin a rule at the end of a chain. */
void net_nft_rule(struct net_nft *nft, const struct net_nft_table *table, const char *chain,
                  struct net_nft_rule *out_rule);

/** It is complete. */
void net_nft_rule_end(struct net_nft *nft, struct net_nft_rule *rule);

/** The n-th register of four bytes; longer values take several. */
#define NET_NFT_REGISTER(n) (NFT_REG32_00 + (n))

/** Bytes of a packet. */
struct net_nft_payload {
    uint32_t base; ///< of enum nft_payload_bases
    uint32_t offset;
    uint32_t size;
};

/** Load bytes of the packet into a register. */
void net_nft_load(struct net_nft_rule *rule, uint32_t into, struct net_nft_payload from);

/** Write a register into the packet; checksum is the offset of the transport's, or 0. */
void net_nft_store(struct net_nft_rule *rule, uint32_t from, struct net_nft_payload into,
                   uint32_t checksum);

/** Load what is known of the packet: of enum nft_meta_keys. */
void net_nft_meta(struct net_nft_rule *rule, uint32_t into, uint32_t key);

/** Set what is known of the packet. */
void net_nft_meta_set(struct net_nft_rule *rule, uint32_t from, uint32_t key);

/** Load the state of its connection. */
void net_nft_ct_state(struct net_nft_rule *rule, uint32_t into);

/** Go on only if a register compares so: of enum nft_cmp_ops. */
void net_nft_compare(struct net_nft_rule *rule, uint32_t with, uint32_t how, const void *value,
                     size_t size);

/** Clear the bits of a register that the mask has not. */
void net_nft_mask(struct net_nft_rule *rule, uint32_t at, const void *mask, size_t size);

/** Put a value into a register. */
void net_nft_immediate(struct net_nft_rule *rule, uint32_t into, const void *value, size_t size);

/** Go on only if a register is in a set, or is not. */
void net_nft_in_set(struct net_nft_rule *rule, uint32_t from, const char *set, bool in);

/** Look up a map and go on only if something is found; into NFT_REG_VERDICT does it. */
void net_nft_map(struct net_nft_rule *rule, uint32_t from, const char *map, uint32_t into);

/** End: NF_ACCEPT, NF_DROP, NFT_RETURN. */
void net_nft_verdict(struct net_nft_rule *rule, int32_t verdict);

/** Go on in another chain, and never come back. */
void net_nft_goto(struct net_nft_rule *rule, const char *chain);

/** Go on with so many of a hundred packets, chosen by chance; all for 100. */
void net_nft_some_packets(struct net_nft_rule *rule, uint32_t at, uint32_t percent);

/** Go on with the packets of so many of a hundred conversations, both ways; all for 100. */
void net_nft_some_flows(struct net_nft_rule *rule, uint32_t at, uint32_t percent);

/** End: hand the packet to the link whose index a register has; of family netdev only. */
void net_nft_forward(struct net_nft_rule *rule, uint32_t from);
