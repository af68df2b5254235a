#pragma once

#include "server/server_internal.h"

/*
 * The HTTP request that opens a session: who sends it, and for which node.
 */

struct lws;

/** What an upgrade request asks for. Texts are in the arena. */
struct session_upgrade {
    struct core_caller caller; ///< node_id is present
    struct text instance_arn;  ///< as the agent names itself
    struct text agent_version;
    struct text agent_hash;
    struct text docker_version;
    bool telemetry;
    bool berth;   ///< Berth's agent, not the stock one
    bool keyless; ///< a stock agent, whose node_id is what it says: see NodeAdmit
};

/** @return the path that an upgrade asks for */
struct text session_upgrade_path(struct lws *wsi, struct arena *arena);

/** Verify a request by its signature alone. Call it when session_upgrade_check may be called. */
void session_upgrade_auth(struct server *server, struct lws *wsi, struct arena *arena,
                          struct auth_result *out_result);

/**
 * Verify a request by its signature. The key of a node opens that node's sessions; any other key
 * opens those of a stock agent, for the container instance that the request names.
 *
 * Call it while the library still has the request's headers.
 *
 * @param out_refusal  set on failure; its message is in the arena
 * @return 0 or ERR_DENIED
 */
MUST_CHECK int session_upgrade_check(struct server *server, struct lws *wsi, struct arena *arena,
                                     struct session_upgrade *out_upgrade,
                                     struct refusal *out_refusal);
