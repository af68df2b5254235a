#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * Who a node is: its id, the key that may act for it only, and where its server is. Kept in the
 * agent's data directory, readable by its owner only:
 *
 *   identity.json   all but the CA
 *   ca.pem          the CA to trust, when the server speaks TLS
 */

/** Texts are terminated. */
struct agent_identity {
    struct text node_id;
    struct text key_id;
    struct text secret;
    struct text region;
    struct text endpoint; ///< http://host:port or https://host:port
    struct text ca_file;  ///< absolute path of a PEM; absent: the system's, or no TLS
};

/**
 * Read the identity.
 *
 * @param out_identity  texts in the arena
 * @return 0; ERR_NOT_FOUND when the node has not joined; ERR_CORRUPT
 */
MUST_CHECK int agent_identity_load(const char *data_dir, struct arena *arena,
                                   struct agent_identity *out_identity, struct err *err);

/**
 * Write the identity, atomically.
 *
 * @param ca_pem  the CA to trust, written to ca.pem; absent: identity->ca_file is kept as it is
 */
MUST_CHECK int agent_identity_store(const char *data_dir, const struct agent_identity *identity,
                                    struct text ca_pem, struct err *err);

/**
 * Join a server with a token (client/token.h): trust the server by the CA's hash in the token,
 * trade the token for an identity, and store that with the CA. Blocks.
 *
 * @param name          of the host, for people
 * @param out_identity  texts in the arena
 * @return 0; ERR_INVALID for a text that is no token; ERR_EXISTS when the node has joined before;
 *         ERR_FAULT with the server's reason; ERR_CLOSED or ERR_TIMEOUT when it cannot be reached
 */
MUST_CHECK int agent_join(const char *data_dir, const char *token, const char *name,
                          struct arena *arena, struct agent_identity *out_identity,
                          struct err *err);
