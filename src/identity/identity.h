#pragma once

#include "api/identity_record.h"
#include "core/core.h"

/*
 * Who may do what: realms, access keys, join tokens, and STS.
 *
 * Kinds 1 to 19 are this module's.
 */

extern const struct core_module identity_module;
extern const struct core_kind identity_realm_kind;

/** @return key of the caller's realm, or 0 when nothing was ever written in it */
int64_t identity_realm(const struct core *core, struct text account, struct text region);

/** @return key of the caller's realm, made when it is not there; 0 when LIMIT_REALMS is reached
 *          (call->fault is set then, to the given error) */
int64_t identity_realm_ensure(struct core_call *call, const struct api_error *limit_error);

/** @return the key with that id, or NULL. Valid until the next input */
const struct identity_record_access_key *identity_key(const struct core *core, struct text key_id);

/**
 * Make a key for a node, as part of an operation such as JoinNode.
 *
 * @return the key's record in the call's arena
 */
const struct identity_record_access_key *identity_node_key_create(struct core_call *call,
                                                                  struct text account,
                                                                  struct text node_id);

/** Take all keys of a node away. */
void identity_node_keys_delete(struct core_call *call, struct text node_id);

/** @return whether a text is the name of a region that AWS knows, such as eu-west-1 */
bool identity_region_known(struct text region);
