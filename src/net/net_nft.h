#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <netlink/msg.h>

/*
 * Rules straight over netlink, for what every task gets: the library that reads rules as text would
 * take a megabyte in each thread that ever used it, and milliseconds for each change.
 *
 * Names are those of linux/netfilter/nf_tables.h. All of it is for the namespace of the calling
 * thread.
 */

/** Messages that the kernel takes or refuses as a whole. */
struct nft_batch {
    uint8_t family; ///< NFPROTO_...: set it first
    struct buf bytes;
    uint32_t sequence;
    size_t last; ///< where the last message begins
};

/** A field of a packet. */
struct nft_field {
    uint32_t base; ///< NFT_PAYLOAD_...
    uint32_t offset;
    uint32_t size; ///< bytes
};

/** Release what a batch holds. */
void nft_batch_deinit(struct nft_batch *batch);

AUTO_VALUE(struct nft_batch, nft_batch_deinit)

/** @return a message NFT_MSG_... to be filled, and given back to nft_batch_add */
struct nl_msg *nft_batch_message(struct nft_batch *batch, uint8_t type, uint16_t flags);

/** Append a message; takes it. */
void nft_batch_add(struct nft_batch *batch, struct nl_msg *made);

/**
 * Have all of it done.
 *
 * @param out_number  0, or the error number with which the kernel refused it
 * @return 0 when the kernel answered
 */
MUST_CHECK int nft_batch_commit(struct nft_batch *batch, int *out_number, struct err *err);

/** Put a number in network order. */
void nft_put_be32(struct nl_msg *to, int attribute, uint32_t value);

/** Within NFTA_RULE_EXPRESSIONS: go on only if a field has this value. */
void nft_match(struct nl_msg *rule, const struct nft_field *field, const void *value);

/** The same with: any other value. */
void nft_match_other(struct nl_msg *rule, const struct nft_field *field, const void *value);

/** The same with: this protocol above IP. */
void nft_match_protocol(struct nl_msg *rule, uint8_t protocol);

/** Put a value into a field, and its difference into the checksum of the same header. */
void nft_replace(struct nl_msg *rule, const struct nft_field *field, uint32_t checksum_offset,
                 const void *value);

/** Put a verdict into an attribute that holds data. @param chain for NFT_JUMP, else NULL */
void nft_put_verdict(struct nl_msg *to, int attribute, int32_t code, const char *chain);

/** End a rule with NF_ACCEPT or NF_DROP. */
void nft_end_with(struct nl_msg *rule, int32_t code);
