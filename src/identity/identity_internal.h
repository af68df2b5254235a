#pragma once

#include "base/map.h"
#include "core/index.h"
#include "identity/identity.h"

/*
 * What the parts of identity_module share.
 */

/** Derived from records, never stored. */
struct identity_state {
    struct index *realms;    ///< account, region
    int64_t realm_last;      ///< that was found last, or 0: a short cut, which changes no answer
    struct index *node_keys; ///< id of the node
    struct map keys;         ///< id of an access key to its record's key
    struct map tokens;       ///< id of a join token to its record's key
    identity_joined_fn joined;
};

/** Takes join tokens away that have expired. */
extern const struct core_manager identity_token_manager;

/** Set the timers of tokens after a start. */
void identity_token_recover(struct core_call *call, void *state);

/** Find in a map of record keys. @return the record's key, or 0 */
int64_t identity_map_get(const struct map *map, struct text id);

/** Handler of EnsureRootKey; see core_handler_fn. */
int identity_ensure_root_key(struct core_call *call, void *state, const void *request,
                             void *response);
/** Handler of EnsureSigningKey. */
int identity_ensure_signing_key(struct core_call *call, void *state, const void *request,
                                void *response);
/** Handler of CreateJoinToken. */
int identity_create_join_token(struct core_call *call, void *state, const void *request,
                               void *response);
/** Handler of JoinNode. */
int identity_join_node(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetCallerIdentity. */
int identity_get_caller_identity(struct core_call *call, void *state, const void *request,
                                 void *response);
