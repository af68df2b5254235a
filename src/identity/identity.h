#pragma once

#include "api/identity_record.h"
#include "core/core.h"

/*
 * Who may do what: realms, access keys, join tokens, and STS.
 *
 * Kinds 1 to 19 are this module's. Internal operations are those of api/internal/identity.api.
 */

#define IDENTITY_TOKENS_MAX 1000 ///< join tokens of all accounts: each is a way in, so few

extern const struct core_module identity_module;

/** Tables of the module: the engine knows a kind by its address in this array. */
extern const struct core_kind identity_kinds[];
#define identity_realm_kind (identity_kinds[0])
#define identity_access_key_kind (identity_kinds[1])
#define identity_join_token_kind (identity_kinds[2])
#define identity_signing_key_kind (identity_kinds[3])

/** @return key of the caller's realm, or 0 when nothing was ever written in it */
int64_t identity_realm(const struct core *core, struct text account, struct text region);

/** @return key of the caller's realm, made when it is not there; 0 when LIMIT_REALMS is reached
 *          (call->fault is set then, to the given error) */
int64_t identity_realm_ensure(struct core_call *call, const struct api_error *limit_error);

/** @return the key with that id, or NULL. Valid until the next input */
const struct identity_record_access_key *identity_key(const struct core *core, struct text key_id);

/** @return what session tokens are signed with; absent before EnsureSigningKey. Valid until the
 *          next input */
struct text identity_signing_key(const struct core *core);

/**
 * Make a key for a node, as part of an operation such as JoinNode.
 *
 * @return the key's record in the call's arena
 */
const struct identity_record_access_key *
identity_node_key_create(struct core_call *call, struct text account, struct text node_id);

/** Take all keys of a node away. */
void identity_node_keys_delete(struct core_call *call, struct text node_id);

/** A node that joins. Borrowed for the call. */
struct identity_node {
    struct text node_id; ///< minted just now
    struct text name;    ///< of its host, as it says
    struct text account; ///< of the token by which it joins
    struct text region;
};

/** Told of a node within the input by which it joins: may put records, may not refuse. */
typedef void (*identity_joined_fn)(struct core_call *call, const struct identity_node *node);

/** Have joined called by JoinNode; for the module that keeps nodes, from its state_new. */
void identity_on_join(struct core *core, identity_joined_fn joined);

/** @return whether a text is the name of a region that AWS knows, such as eu-west-1. Those of the
 *          partition `aws` only, because ARNs here begin with `arn:aws:` */
bool identity_region_known(struct text region);
